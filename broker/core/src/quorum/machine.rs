//! The raft machine: messages and ticks in; messages, bytes to persist and committed entries out.
//!
//! The drive rules, the same in the binary and in the simulator:
//! 1. Inputs: [`Quorum::tick`], [`Quorum::step`], [`Quorum::propose`]. After any of them, [`Quorum::ready`].
//! 2. [`QuorumEffects::send`] leaves at once. [`QuorumEffects::persist`] goes to the disk, in order, elsewhere;
//!    [`Quorum::persisted`] reports each number. What waited for it comes with the next `ready`.
//! 3. Every committed entry is applied to the image, then [`Quorum::applied`] is called, one by one.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use raft::eraftpb::{
    ConfChangeSingle, ConfChangeType, ConfChangeV2, ConfState, Entry, EntryType, Message, MessageType,
};
use raft::{ProgressState, RawNode, ReadOnlyOption, SnapshotStatus, StateRole};

use super::guard::{self, Refusal};
use super::identity::{Address, BadVoters, Peer, RaftId, check_voters};
use super::log::MemoryLog;
use super::message::{Body, Chunk, Envelope, payload};
use super::snapshot::{self, SnapshotId};
use super::store::{HardState, LogEntry, Persist, PersistAction, Recovered};
use super::transfer::{CHUNK_BYTES_MAX, Held, Incoming};
use crate::ids::{ClusterId, DirectoryId, MetadataOffset, NodeId, Term};
use crate::metadata::image::{Image, Voter};
use crate::metadata::record::{Record, Voters};
use crate::planted::{self, Bug};
use crate::time::Monotonic;

/// The largest entry that can be proposed. Kafka's limit of a batch in its metadata log.
pub const ENTRY_BYTES_MAX: usize = 8 << 20;

/// How many bytes of entries one append carries, beyond its first entry.
pub(crate) const APPEND_BYTES_MAX: u64 = 1 << 20;

/// Appends on their way to one follower: enough for a round trip between zones at full speed.
const APPENDS_IN_FLIGHT_MAX: usize = 64;

/// A pull of a snapshot that made no progress for so long is asked for again, and given up by the leader.
const TRANSFER_STALL: Duration = Duration::from_secs(2);

/// How long the bytes of a snapshot stay in memory after the last chunk was asked for.
const SNAPSHOT_BYTES_KEPT: Duration = Duration::from_secs(30);

/// How long a join request, or any message, counts as a sign of life.
pub(crate) const SIGN_OF_LIFE: Duration = Duration::from_secs(2);

/// Addresses remembered of peers that are not in the voter table.
const STRANGERS_MAX: usize = 16;

/// Ticks made up for at once after this process did not run for a while. More would only start elections
/// before the messages that arrived meanwhile are read.
const TICKS_AT_ONCE_MAX: u64 = 2;

/// How one voter behaves.
#[derive(Debug, Clone)]
pub struct QuorumConfig {
    /// The cluster.
    pub cluster_id: ClusterId,
    /// This controller, as it tells the others.
    pub me: Peer,
    /// Where controllers may be found by one that knows no voter table (`controller.quorum.bootstrap.servers`).
    pub bootstrap: Vec<Address>,
    /// The length of one tick.
    pub tick: Duration,
    /// Ticks between heartbeats.
    pub heartbeat_ticks: usize,
    /// Ticks without a leader before this node stands for election. Each voter of a cluster needs another
    /// number, or they can split the vote for ever: see [`QuorumConfig::new`].
    pub election_ticks: usize,
    /// How many bytes of entries stay in memory behind a snapshot, so that a follower that is only a little
    /// late gets entries and not a whole snapshot.
    pub kept_bytes: usize,
}

impl QuorumConfig {
    /// The defaults: heartbeats every 200 ms, elections after 1 s to 1.8 s. Nodes whose ids follow each other,
    /// as a cluster's do, get different time-outs, so that two of them do not stand at the same moment again
    /// and again.
    pub fn new(cluster_id: ClusterId, me: Peer) -> Self {
        let rank = usize::try_from(me.node_id.0.rem_euclid(5)).expect("a remainder of 5 is small");
        Self {
            cluster_id,
            me,
            bootstrap: Vec::new(),
            tick: Duration::from_millis(100),
            heartbeat_ticks: 2,
            election_ticks: ELECTION_TICKS_MIN + 2 * rank,
            kept_bytes: 1 << 20,
        }
    }
}

/// The least time-out of an election, and how long a leader may hear of no quorum before it steps down.
pub const ELECTION_TICKS_MIN: usize = 10;

/// A node that cannot start.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The voters cannot work together.
    #[error("the voter table is unusable")]
    Voters(#[from] BadVoters),
    /// The raft crate refuses what was found on disk.
    #[error("raft refuses to start: {0}")]
    Raft(String),
}

/// Not the leader, or a leader that cannot take proposals now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this controller is not the leader of the metadata quorum")]
pub struct NotLeader;

/// Bytes for another controller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// The node, if it is known.
    pub node_id: Option<NodeId>,
    /// Where it is reached.
    pub address: Address,
    /// The message.
    pub bytes: Bytes,
}

/// Something worth a line in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum QuorumEvent {
    /// This node leads from now on.
    BecameLeader {
        /// Since which term.
        term: Term,
    },
    /// Another node leads, or nobody does.
    Following {
        /// In which term.
        term: Term,
        /// Whom.
        leader: Option<NodeId>,
    },
    /// A message was refused.
    Refused {
        /// The node that it says it comes from.
        from: NodeId,
        /// Why.
        reason: Refusal,
    },
    /// A snapshot from the leader was no good.
    BadSnapshot {
        /// Which.
        id: SnapshotId,
        /// Why.
        reason: String,
    },
    /// The members of the quorum changed.
    VotersChanged {
        /// Those who vote now.
        voters: Vec<NodeId>,
        /// Those who follow.
        learners: Vec<NodeId>,
    },
}

/// An entry that a quorum has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// Where in the log it is.
    pub offset: MetadataOffset,
    /// The term it was written in.
    pub term: Term,
    /// Its record batch.
    pub payload: Bytes,
    /// Whether it changes who votes.
    pub(crate) changes_voters: bool,
}

/// What is to be done.
#[derive(Debug, Default)]
pub struct QuorumEffects {
    /// To be sent at once.
    pub send: Vec<Outgoing>,
    /// To be made durable; then [`Quorum::persisted`].
    pub persist: Option<Persist>,
    /// An image that came from the leader and replaces what was applied before. Comes before `committed`.
    pub installed: Option<Image>,
    /// To be applied in order.
    pub committed: Vec<Committed>,
    /// Reads that may be answered once the given offset is applied: the caller's number, and that offset.
    pub reads: Vec<(u64, MetadataOffset)>,
    /// To be logged.
    pub events: Vec<QuorumEvent>,
}

/// What the leader knows of a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberProgress {
    /// The member.
    pub voter: Arc<Voter>,
    /// Whether it votes.
    pub votes: bool,
    /// The last entry it is known to have.
    pub log_end: MetadataOffset,
    /// When it was last heard.
    pub last_contact: Option<Monotonic>,
    /// When it last had everything.
    pub last_caught_up: Option<Monotonic>,
}

#[derive(Debug)]
struct Waiting {
    number: u64,
    needs_disk: bool,
    send: Vec<Outgoing>,
    /// The snapshot that is applied, for raft, once it is durable.
    installs: Option<MetadataOffset>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Contact {
    heard: Option<Monotonic>,
    caught_up: Option<Monotonic>,
    /// When it last asked for a part of a snapshot, or was last sent a snapshot's name.
    pulled: Option<Monotonic>,
}

/// One member of the metadata quorum.
pub struct Quorum {
    raw: RawNode<MemoryLog>,
    config: QuorumConfig,
    table: Voters,
    /// Where members and strangers said that they are reached; newer than the table.
    heard_from: BTreeMap<RaftId, Peer>,
    waiting: VecDeque<Waiting>,
    outbox: Vec<Outgoing>,
    events: Vec<QuorumEvent>,
    held: Held,
    incoming: Option<Incoming>,
    arrived: Option<(SnapshotId, Image, Bytes)>,
    contacts: BTreeMap<RaftId, Contact>,
    joins: BTreeMap<NodeId, (Peer, Monotonic)>,
    now: Monotonic,
    next_tick: Monotonic,
    ticks: u64,
    reported: (Term, Option<NodeId>, bool),
}

impl std::fmt::Debug for Quorum {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Quorum")
            .field("me", &self.config.me)
            .field("term", &self.term())
            .field("leader", &self.leader())
            .field("last", &self.last())
            .finish_non_exhaustive()
    }
}

impl Quorum {
    /// Starts a member from what its disk held.
    pub fn open(recovered: Recovered, config: QuorumConfig, now: Monotonic) -> Result<Self, OpenError> {
        let id = RaftId::of(config.me.directory_id)?;
        let table = voters_of(&recovered.image);
        if !table.voters.is_empty() {
            check_voters(&table)?;
        }
        let snapshot = SnapshotId::of(&recovered.image);
        let mut log = MemoryLog::new(recovered.hard_state.to_raft(), snapshot, conf_state(&table));
        log.append(&recovered.entries.iter().map(LogEntry::to_raft).collect::<Vec<_>>());
        let raft_config = raft::Config {
            id: id.0,
            // The crate draws the time-out of each election from [min, max): one number, so nothing is drawn.
            election_tick: ELECTION_TICKS_MIN.min(config.election_ticks),
            min_election_tick: config.election_ticks,
            max_election_tick: config.election_ticks + 1,
            heartbeat_tick: config.heartbeat_ticks,
            applied: snapshot.offset.0,
            max_size_per_msg: APPEND_BYTES_MAX,
            max_inflight_msgs: APPENDS_IN_FLIGHT_MAX,
            check_quorum: true,
            pre_vote: true,
            read_only_option: ReadOnlyOption::Safe,
            batch_append: true,
            ..raft::Config::default()
        };
        let logger = slog::Logger::root(slog::Discard, slog::o!());
        let raw =
            RawNode::new(&raft_config, log, &logger).map_err(|error| OpenError::Raft(error.to_string()))?;
        let mut held = Held::default();
        if snapshot.offset.0 > 0 {
            held.hold(recovered.image);
        }
        let next_tick = now.plus(config.tick);
        let mut quorum = Self {
            raw,
            config,
            table,
            heard_from: BTreeMap::new(),
            waiting: VecDeque::new(),
            outbox: Vec::new(),
            events: Vec::new(),
            held,
            incoming: None,
            arrived: None,
            contacts: BTreeMap::new(),
            joins: BTreeMap::new(),
            now,
            next_tick,
            ticks: 0,
            reported: (Term(0), None, false),
        };
        quorum.stand_at_once_if_alone();
        Ok(quorum)
    }

    /// Lets time pass.
    pub fn tick(&mut self, now: Monotonic) {
        self.now = self.now.max(now);
        let mut ticks = 0;
        while self.next_tick <= self.now {
            self.next_tick = self.next_tick.plus(self.config.tick);
            ticks += 1;
        }
        for _ in 0..ticks.min(TICKS_AT_ONCE_MAX) {
            self.one_tick();
        }
    }

    /// Takes a message.
    pub fn step(&mut self, now: Monotonic, envelope: Envelope) {
        self.now = self.now.max(now);
        let from = envelope.from.node_id;
        if let Err(reason) = self.take(envelope) {
            self.events.push(QuorumEvent::Refused { from, reason });
        }
    }

    /// Proposes a record batch; it is in the log at the offset returned, if it is ever committed there.
    pub fn propose(&mut self, payload: Bytes) -> Result<MetadataOffset, NotLeader> {
        assert!(payload.len() <= ENTRY_BYTES_MAX, "whoever decides keeps entries below the limit");
        if !self.leads() {
            return Err(NotLeader);
        }
        self.raw.propose(Vec::new(), payload.into()).map_err(|_| NotLeader)?;
        Ok(self.last())
    }

    /// Proposes another set of members, one voter apart from the current one.
    pub fn propose_voters(&mut self, table: Voters) -> Result<MetadataOffset, NotLeader> {
        if !self.leads() || self.raw.raft.has_pending_conf() {
            return Err(NotLeader);
        }
        let change = conf_change(&self.table, &table);
        let payload = Record::encode_batch(&[Record::Voters(table)]);
        if change.changes.is_empty() {
            return self.propose(payload);
        }
        self.raw.propose_conf_change(payload.into(), change).map_err(|_| NotLeader)?;
        Ok(self.last())
    }

    /// Whether another change of members can be proposed.
    pub fn can_change_voters(&self) -> bool {
        self.leads() && !self.raw.raft.has_pending_conf()
    }

    /// Asks whether this node still leads. The answer comes in [`QuorumEffects::reads`] under `number`, unless
    /// leadership is lost meanwhile; numbers must not be used twice.
    pub fn read_index(&mut self, number: u64) -> Result<(), NotLeader> {
        if !self.leads() || !self.raw.raft.commit_to_current_term() {
            return Err(NotLeader);
        }
        self.raw.read_index(number.to_be_bytes().to_vec());
        Ok(())
    }

    /// Hands leadership to the follower that is furthest, if this node leads.
    pub fn resign(&mut self) {
        if !self.leads() {
            return;
        }
        let me = self.raw.raft.id;
        let candidates = self.table.voters.iter().filter_map(|voter| RaftId::of(voter.directory_id).ok());
        let alive = |id: &RaftId| self.heard_lately(*id);
        let best = candidates
            .filter(|id| id.0 != me && alive(id))
            .max_by_key(|id| self.raw.raft.prs().get(id.0).map_or(0, |progress| progress.matched));
        if let Some(best) = best {
            self.raw.transfer_leader(best.0);
        }
    }

    /// Reports that everything up to this number is durable.
    pub fn persisted(&mut self, number: u64) {
        for waiting in &mut self.waiting {
            if waiting.number <= number {
                waiting.needs_disk = false;
            }
        }
        self.release();
    }

    /// Reports that an entry was applied, and how the members stand after it.
    pub fn applied(&mut self, entry: &Committed, image: &Image) {
        if entry.changes_voters {
            let table = voters_of(image);
            let change = conf_change(&self.table_of_raft(), &table);
            self.raw.apply_conf_change(&change).expect("members change one voter at a time");
        }
        let table = voters_of(image);
        if table != self.table {
            self.set_table(table);
        }
        self.raw.advance_apply_to(entry.offset.0);
    }

    /// What writes down how much is known to be committed, without waiting for an entry to go along with.
    pub fn note_commit(&self) -> PersistAction {
        let hard_state = HardState::from_raft(self.raw.store().hard_state());
        PersistAction::Append { hard_state, entries: Vec::new() }
    }

    /// Takes over a snapshot of the applied image that is durable: the log before it may go.
    pub fn compact(&mut self, image: Image) {
        let id = SnapshotId::of(&image);
        let members = conf_state(&voters_of(&image));
        self.raw.mut_store().compact(id, members, self.config.kept_bytes);
        self.held.hold(image);
    }

    /// Whether there is anything to be done.
    pub fn has_ready(&self) -> bool {
        self.raw.has_ready() || !self.outbox.is_empty()
    }

    /// What is to be done now.
    pub fn ready(&mut self) -> QuorumEffects {
        let mut effects = QuorumEffects::default();
        let mut actions = Vec::new();
        let mut number = None;
        while self.raw.has_ready() {
            let mut ready = self.raw.ready();
            let needs_disk = ready.must_sync();
            let mut waiting =
                Waiting { number: ready.number(), needs_disk, send: Vec::new(), installs: None };
            if !ready.snapshot().is_empty() {
                let (id, image, bytes) = self.arrived.take().expect("raft only restores what arrived");
                self.raw.mut_store().install(id, conf_state(&voters_of(&image)));
                waiting.installs = Some(id.offset);
                actions.push(PersistAction::Install { id, bytes });
                self.set_table(voters_of(&image));
                self.held.hold(image.clone());
                effects.committed.clear();
                effects.installed = Some(image);
            }
            let entries = ready.take_entries();
            if let Some(hard_state) = ready.hs() {
                self.raw.mut_store().set_hard_state(hard_state.clone());
            }
            self.raw.mut_store().append(&entries);
            if needs_disk {
                // The commit index alone is never worth a sync: it goes along with what is.
                let hard_state = HardState::from_raft(self.raw.store().hard_state());
                let entries = entries.iter().map(LogEntry::from_raft).collect();
                actions.push(PersistAction::Append { hard_state, entries });
                number = Some(ready.number());
            }
            for message in ready.take_messages() {
                effects.send.extend(self.address(message));
            }
            for message in ready.take_persisted_messages() {
                let too_early = may_leave_before_sync(&message);
                let outgoing = self.address(message);
                if too_early { effects.send.extend(outgoing) } else { waiting.send.extend(outgoing) }
            }
            effects.committed.extend(ready.take_committed_entries().iter().map(Committed::from_raft));
            effects.reads.extend(ready.take_read_states().iter().filter_map(read_number));
            self.raw.advance_append_async(ready);
            self.waiting.push_back(waiting);
            self.release();
        }
        effects.persist = number.map(|number| Persist { number, actions });
        effects.send.append(&mut self.outbox);
        self.report_role();
        effects.events = std::mem::take(&mut self.events);
        effects
    }
}

/// What can be asked of a member.
impl Quorum {
    /// Whether this node leads, as far as it knows.
    pub fn leads(&self) -> bool {
        self.raw.raft.state == StateRole::Leader
    }

    /// The term this node is in.
    pub fn term(&self) -> Term {
        Term(self.raw.raft.term)
    }

    /// The leader of this term, as far as known.
    pub fn leader(&self) -> Option<Peer> {
        self.peer(RaftId(self.raw.raft.leader_id))
    }

    /// The last entry in this node's log, committed or not.
    pub fn last(&self) -> MetadataOffset {
        MetadataOffset(self.raw.raft.raft_log.last_index())
    }

    /// The last entry known to be committed.
    pub fn committed(&self) -> MetadataOffset {
        MetadataOffset(self.raw.raft.raft_log.committed)
    }

    /// The members, as of the last applied entry.
    pub fn voters(&self) -> &Voters {
        &self.table
    }

    /// Whether this node votes.
    pub fn votes(&self) -> bool {
        self.raw.raft.promotable()
    }

    /// Whether a snapshot from the leader is on its way to the disk.
    pub fn installing(&self) -> bool {
        self.waiting.iter().any(|waiting| waiting.installs.is_some())
    }

    /// Committed entries after an offset, as many as fit; none if the log no longer reaches back that far.
    pub fn read(&self, after: MetadataOffset, bytes_max: usize) -> Option<Vec<LogEntry>> {
        let log = self.raw.store();
        let low = after.0.saturating_add(1);
        if low < log.first() {
            return None;
        }
        let high = self.raw.raft.raft_log.applied + 1;
        Some(log.read(low, high.max(low), bytes_max).iter().map(LogEntry::from_raft).collect())
    }

    /// The newest snapshot that can be pulled.
    pub fn latest_snapshot(&self) -> Option<SnapshotId> {
        self.held.latest()
    }

    /// Whether a member came after the newest snapshot: it could not be brought in with that one.
    pub fn snapshot_lacks_member(&self) -> bool {
        let mut members = ids(&self.table.voters).into_iter().chain(ids(&self.table.learners));
        members.any(|id| !self.raw.store().snapshot_names(id))
    }

    /// A part of a snapshot.
    pub fn snapshot_chunk(&mut self, id: SnapshotId, position: u64, bytes_max: usize) -> Option<Chunk> {
        self.held.chunk(self.now, id, position, bytes_max)
    }

    /// What the leader knows of each member; empty if this node does not lead.
    pub fn progress(&self) -> Vec<MemberProgress> {
        if !self.leads() {
            return Vec::new();
        }
        let voters = self.table.voters.iter().map(|voter| (voter, true));
        let learners = self.table.learners.iter().map(|learner| (learner, false));
        voters.chain(learners).filter_map(|(member, votes)| self.progress_of(member, votes)).collect()
    }

    /// Controllers that ask to become members, and were heard lately.
    pub fn joins(&self) -> impl Iterator<Item = &Peer> {
        self.joins.values().filter(|(_, at)| self.now.since(*at) <= SIGN_OF_LIFE).map(|(peer, _)| peer)
    }

    /// Whether a member was heard lately. This node always is.
    pub fn heard_lately(&self, id: RaftId) -> bool {
        let heard = || self.contacts.get(&id).and_then(|contact| contact.heard);
        id.0 == self.raw.raft.id || heard().is_some_and(|at| self.now.since(at) <= SIGN_OF_LIFE)
    }
}

impl Quorum {
    fn one_tick(&mut self) {
        self.ticks += 1;
        // While a snapshot is on its way to the disk, raft's log has a hole that it must not campaign over.
        if !self.installing() {
            self.raw.tick();
        }
        self.hasten_first_election();
        self.ask_to_join();
        self.pull_again();
        self.report_stalled_snapshots();
        self.held.forget_bytes(Monotonic(self.now.0.saturating_sub(SNAPSHOT_BYTES_KEPT.as_millis() as u64)));
    }

    /// A quorum of one has nobody to wait for.
    fn stand_at_once_if_alone(&mut self) {
        let alone = self.table.voters.len() == 1 && self.votes();
        if alone {
            let result = self.raw.campaign();
            debug_assert!(result.is_ok(), "standing for election only fails for what is not a voter");
        }
    }

    /// In a cluster that never had a leader, nobody can be disturbed: the first voter stands every few ticks,
    /// so that a new cluster need not wait out an election time-out.
    fn hasten_first_election(&mut self) {
        let never_led = self.raw.raft.leader_id == raft::INVALID_ID && self.last().0 <= 1 && self.votes();
        let first = self.table.voters.first().map(|voter| voter.directory_id);
        if never_led && first == Some(self.config.me.directory_id) && self.ticks.is_multiple_of(3) {
            let result = self.raw.campaign();
            debug_assert!(result.is_ok(), "standing for election only fails for what is not a voter");
        }
    }

    fn ask_to_join(&mut self) {
        let me = self.config.me.directory_id;
        let member =
            self.table.voters.iter().chain(&self.table.learners).any(|known| known.directory_id == me);
        if member || !self.ticks.is_multiple_of(5) {
            return;
        }
        let known: Vec<Peer> = self.table.voters.iter().filter_map(Peer::of).collect();
        let mut addresses = self.config.bootstrap.clone();
        addresses.extend(known.into_iter().map(|peer| peer.address));
        addresses.sort_unstable();
        addresses.dedup();
        for address in addresses.into_iter().filter(|address| *address != self.config.me.address) {
            let bytes = self.envelope(DirectoryId::default(), Body::Join).encode();
            self.outbox.push(Outgoing { node_id: None, address, bytes });
        }
    }

    fn take(&mut self, envelope: Envelope) -> Result<(), Refusal> {
        if envelope.cluster_id != self.config.cluster_id {
            return Err(Refusal::OtherCluster);
        }
        let to_anybody = matches!(envelope.body, Body::Join);
        if envelope.to != self.config.me.directory_id && !to_anybody {
            return Err(Refusal::OtherDirectory);
        }
        let from = RaftId::of(envelope.from.directory_id).map_err(|_| Refusal::Impossible("directory"))?;
        if from.0 == self.raw.raft.id {
            return Err(Refusal::FromMyself);
        }
        match envelope.body {
            Body::Raft(message) => self.take_raft(from, envelope.from, *message),
            Body::Join => {
                let now = self.now;
                self.joins.retain(|_, (_, at)| now.since(*at) <= SIGN_OF_LIFE);
                if self.leads() && self.joins.len() < STRANGERS_MAX {
                    self.joins.insert(envelope.from.node_id, (envelope.from, self.now));
                }
                Ok(())
            }
            Body::SnapshotRequest { id, position } => {
                self.contacts.entry(from).or_default().pulled = Some(self.now);
                if let Some(chunk) = self.held.chunk(self.now, id, position, CHUNK_BYTES_MAX) {
                    self.send(&envelope.from, Body::SnapshotChunk(chunk));
                }
                Ok(())
            }
            Body::SnapshotChunk(chunk) => {
                self.take_chunk(&chunk);
                Ok(())
            }
        }
    }

    fn take_raft(&mut self, from: RaftId, peer: Peer, message: Message) -> Result<(), Refusal> {
        guard::check(&self.raw.raft, &message)?;
        if self.installing() && message.get_msg_type() == MessageType::MsgTimeoutNow {
            return Ok(());
        }
        self.remember(from, peer.clone());
        if message.get_msg_type() == MessageType::MsgSnapshot {
            self.start_pull(message, peer);
            return Ok(());
        }
        self.step_raft(message);
        let caught_up =
            self.raw.raft.prs().get(from.0).is_some_and(|progress| progress.matched >= self.last().0);
        let contact = self.contacts.entry(from).or_default();
        contact.heard = Some(self.now);
        if caught_up {
            contact.caught_up = Some(self.now);
        }
        Ok(())
    }

    fn step_raft(&mut self, message: Message) {
        // Errors are answers of peers that are no members any more, and nothing is owed to those.
        let _not_a_member = self.raw.step(message);
    }

    fn start_pull(&mut self, message: Message, from: Peer) {
        let metadata = message.get_snapshot().get_metadata();
        let id = SnapshotId { offset: MetadataOffset(metadata.index), term: Term(metadata.term) };
        if message.term < self.raw.raft.term || self.installing() {
            return;
        }
        if id.offset <= self.committed() {
            // Raft answers that it is further already.
            self.step_raft(message);
            return;
        }
        if self.incoming.as_ref().is_some_and(|incoming| incoming.id == id && incoming.from == from) {
            return;
        }
        self.incoming = Some(Incoming::new(message, from, id, self.now));
        self.pull();
    }

    fn pull(&mut self) {
        let Some(incoming) = &mut self.incoming else { return };
        incoming.asked_at = self.now;
        let (peer, body) =
            (incoming.from.clone(), Body::SnapshotRequest { id: incoming.id, position: incoming.position() });
        self.send(&peer, body);
    }

    fn pull_again(&mut self) {
        let Some(incoming) = &self.incoming else { return };
        if incoming.message.term < self.raw.raft.term {
            self.incoming = None;
        } else if self.now.since(incoming.asked_at) >= TRANSFER_STALL / 2 {
            self.pull();
        }
    }

    fn take_chunk(&mut self, chunk: &Chunk) {
        let Some(incoming) = &mut self.incoming else { return };
        let before = incoming.position();
        if !incoming.take(chunk) {
            if incoming.position() > before {
                self.pull();
            }
            return;
        }
        let Some(incoming) = self.incoming.take() else { return };
        let id = incoming.id;
        let (message, bytes) = incoming.into_bytes();
        match self.check_snapshot(id, &message, &bytes) {
            Ok(image) => {
                self.arrived = Some((id, image, bytes));
                self.step_raft(message);
                if self.raw.snap().is_none() {
                    self.arrived = None;
                    if self.committed() < id.offset {
                        let reason = "raft does not take it".to_owned();
                        self.events.push(QuorumEvent::BadSnapshot { id, reason });
                    }
                }
            }
            Err(reason) => self.events.push(QuorumEvent::BadSnapshot { id, reason }),
        }
    }

    fn check_snapshot(&self, id: SnapshotId, message: &Message, bytes: &[u8]) -> Result<Image, String> {
        let image = snapshot::decode(bytes).map_err(|error| error.to_string())?;
        let table = voters_of(&image);
        check_voters(&table).map_err(|error| error.to_string())?;
        let members = message.get_snapshot().get_metadata().get_conf_state();
        if SnapshotId::of(&image) != id || image.cluster_id != self.config.cluster_id {
            return Err("it is another snapshot than was asked for".to_owned());
        }
        if !raft_members_equal(members, &conf_state(&table)) {
            return Err("its voters are not those that the leader named".to_owned());
        }
        Ok(image)
    }

    /// A follower that stopped pulling is sent the snapshot's name again: the first may have been lost.
    fn report_stalled_snapshots(&mut self) {
        if !self.leads() {
            return;
        }
        let now = self.now;
        let pulling =
            self.raw.raft.prs().iter().filter(|(_, progress)| progress.state == ProgressState::Snapshot);
        let pulling: Vec<u64> = pulling.map(|(id, _)| *id).collect();
        for id in pulling {
            let contact = self.contacts.entry(RaftId(id)).or_default();
            let since = *contact.pulled.get_or_insert(now);
            if now.since(since) >= TRANSFER_STALL {
                contact.pulled = None;
                self.raw.report_snapshot(id, SnapshotStatus::Failure);
            }
        }
    }

    /// Lets go of what no longer waits for the disk, in order.
    fn release(&mut self) {
        let mut persisted = None;
        while self.waiting.front().is_some_and(|waiting| !waiting.needs_disk) {
            let Some(mut waiting) = self.waiting.pop_front() else { break };
            self.outbox.append(&mut waiting.send);
            persisted = Some((waiting.number, waiting.installs));
            if let Some(installed) = waiting.installs {
                self.raw.on_persist_ready(waiting.number);
                self.raw.advance_apply_to(installed.0);
            }
        }
        if let Some((number, None)) = persisted {
            self.raw.on_persist_ready(number);
        }
    }

    fn address(&mut self, message: Message) -> Option<Outgoing> {
        if !super::message::may_travel(message.get_msg_type()) {
            return None;
        }
        let to = RaftId(message.to);
        if message.get_msg_type() == MessageType::MsgSnapshot {
            self.contacts.entry(to).or_default().pulled = Some(self.now);
        }
        let peer = self.peer(to)?;
        Some(self.outgoing(&peer, Body::Raft(Box::new(message))))
    }

    fn send(&mut self, peer: &Peer, body: Body) {
        let outgoing = self.outgoing(peer, body);
        self.outbox.push(outgoing);
    }

    fn outgoing(&self, peer: &Peer, body: Body) -> Outgoing {
        let bytes = self.envelope(peer.directory_id, body).encode();
        Outgoing { node_id: Some(peer.node_id), address: peer.address.clone(), bytes }
    }

    fn envelope(&self, to: DirectoryId, body: Body) -> Envelope {
        Envelope { cluster_id: self.config.cluster_id, from: self.config.me.clone(), to, body }
    }

    fn peer(&self, id: RaftId) -> Option<Peer> {
        if id.0 == self.raw.raft.id {
            return Some(self.config.me.clone());
        }
        let members = self.table.voters.iter().chain(&self.table.learners);
        let member =
            || members.clone().filter(|member| RaftId::of(member.directory_id) == Ok(id)).find_map(Peer::of);
        self.heard_from.get(&id).cloned().or_else(member)
    }

    /// The members with the addresses that they give themselves.
    pub(crate) fn members_as_heard(&self) -> Voters {
        let mut table = self.table.clone();
        for member in table.voters.iter_mut().chain(&mut table.learners) {
            let peer = RaftId::of(member.directory_id).ok().and_then(|id| self.peer(id));
            if let (Some(peer), Some(endpoint)) = (peer, member.endpoints.first_mut()) {
                endpoint.host = peer.address.host;
                endpoint.port = peer.address.port;
            }
        }
        table
    }

    fn remember(&mut self, id: RaftId, peer: Peer) {
        if self.heard_from.get(&id) == Some(&peer) {
            return;
        }
        let members = || self.table.voters.iter().chain(&self.table.learners);
        let known = members().any(|member| member.directory_id == peer.directory_id);
        let strangers = self.heard_from.len().saturating_sub(members().count());
        if known || strangers < STRANGERS_MAX {
            self.heard_from.insert(id, peer);
        }
    }

    fn set_table(&mut self, table: Voters) {
        self.table = table;
        let nodes = |members: &[Voter]| members.iter().map(|member| member.node_id).collect();
        self.events.push(QuorumEvent::VotersChanged {
            voters: nodes(&self.table.voters),
            learners: nodes(&self.table.learners),
        });
    }

    /// The members as raft has them; they differ from the table only while an entry is being applied.
    fn table_of_raft(&self) -> Voters {
        self.table.clone()
    }

    fn progress_of(&self, member: &Voter, votes: bool) -> Option<MemberProgress> {
        let id = RaftId::of(member.directory_id).ok()?;
        let myself = id.0 == self.raw.raft.id;
        let progress = self.raw.raft.prs().get(id.0)?;
        let contact = self.contacts.get(&id).copied().unwrap_or_default();
        Some(MemberProgress {
            voter: Arc::new(member.clone()),
            votes,
            log_end: MetadataOffset(if myself { self.last().0 } else { progress.matched }),
            last_contact: if myself { Some(self.now) } else { contact.heard },
            last_caught_up: if myself { Some(self.now) } else { contact.caught_up },
        })
    }

    fn report_role(&mut self) {
        let role = (self.term(), self.leader().map(|leader| leader.node_id), self.leads());
        if role == self.reported {
            return;
        }
        let (term, leader, leads) = role;
        if leads && !self.reported.2 {
            self.events.push(QuorumEvent::BecameLeader { term });
        } else if !leads && (self.reported.2 || self.reported.1 != leader) {
            self.events.push(QuorumEvent::Following { term, leader });
        }
        if !leads {
            self.joins.clear();
        }
        self.reported = role;
    }
}

/// Nothing may, but for a bug planted to prove that the simulator finds it.
fn may_leave_before_sync(message: &Message) -> bool {
    planted::is(Bug::VoteBeforeSync) && message.get_msg_type() == MessageType::MsgRequestVoteResponse
}

impl Committed {
    fn from_raft(entry: &Entry) -> Self {
        Self {
            offset: MetadataOffset(entry.index),
            term: Term(entry.term),
            payload: payload(entry),
            changes_voters: entry.get_entry_type() != EntryType::EntryNormal,
        }
    }
}

fn read_number(state: &raft::ReadState) -> Option<(u64, MetadataOffset)> {
    let number = <[u8; 8]>::try_from(state.request_ctx.as_slice()).ok()?;
    Some((u64::from_be_bytes(number), MetadataOffset(state.index)))
}

/// The members that an image names.
pub(crate) fn voters_of(image: &Image) -> Voters {
    let list =
        |members: &imbl::OrdMap<NodeId, Arc<Voter>>| members.values().map(|m| Voter::clone(m)).collect();
    Voters { voters: list(&image.voters), learners: list(&image.learners) }
}

fn ids(members: &[Voter]) -> Vec<u64> {
    let id = |member: &Voter| RaftId::of(member.directory_id).map_or(0, |id| id.0);
    members.iter().map(id).filter(|id| *id != 0).collect()
}

fn conf_state(table: &Voters) -> ConfState {
    ConfState::from((ids(&table.voters), ids(&table.learners)))
}

fn raft_members_equal(one: &ConfState, other: &ConfState) -> bool {
    let sorted = |ids: &[u64]| {
        let mut ids = ids.to_vec();
        ids.sort_unstable();
        ids
    };
    sorted(&one.voters) == sorted(&other.voters) && sorted(&one.learners) == sorted(&other.learners)
}

/// What raft must be told to get from one set of members to another.
fn conf_change(old: &Voters, new: &Voters) -> ConfChangeV2 {
    let (old_voters, old_learners) = (ids(&old.voters), ids(&old.learners));
    let (new_voters, new_learners) = (ids(&new.voters), ids(&new.learners));
    let mut changes = Vec::new();
    let mut push = |kind: ConfChangeType, id: u64| {
        let mut change = ConfChangeSingle::default();
        change.set_change_type(kind);
        change.node_id = id;
        changes.push(change);
    };
    for id in old_voters.iter().chain(&old_learners) {
        if !new_voters.contains(id) && !new_learners.contains(id) {
            push(ConfChangeType::RemoveNode, *id);
        }
    }
    for id in new_learners.iter().filter(|id| !old_learners.contains(id)) {
        push(ConfChangeType::AddLearnerNode, *id);
    }
    for id in new_voters.iter().filter(|id| !old_voters.contains(id)) {
        push(ConfChangeType::AddNode, *id);
    }
    let mut change = ConfChangeV2::default();
    change.set_changes(changes.into());
    change
}
