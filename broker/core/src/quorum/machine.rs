//! The raft machine: messages and ticks in; messages, bytes to persist and committed entries out.
//!
//! The drive rules, the same in the binary and in the simulator:
//! 1. Inputs: [`Quorum::tick`], [`Quorum::step`], [`Quorum::propose`]. After any of them, [`Quorum::ready`].
//! 2. [`QuorumEffects::send`] leaves at once. [`QuorumEffects::persist`] goes to the disk, in order, elsewhere;
//!    [`Quorum::persisted`] reports a number with all before it. What waited for it comes with the next `ready`.
//! 3. Every committed entry is applied to the image, then [`Quorum::applied`] is called, one by one.

mod inspect;
mod leader;
mod peers;
mod pull;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use raft::eraftpb::{Message, MessageType};
use raft::{RawNode, ReadOnlyOption};

pub use super::config::QuorumConfig;
pub use super::effects::{
    Committed, MemberProgress, NotLeader, OpenError, Outgoing, QuorumEffects, QuorumEvent,
};
use super::identity::{Peer, RaftId, check_voters};
use super::leader_watch::LeaderWatch;
use super::log::MemoryLog;
use super::members::{conf_change, conf_state, voters_of};
use super::message::{Envelope, payload};
use super::patience::{ELECTION_TICKS_MIN, Patience};
use super::snapshot::SnapshotId;
use super::store::{HardState, LogEntry, Persist, PersistAction, Recovered};
use super::transfer::{Held, Incoming};
use crate::ids::{MetadataOffset, NodeId, Term};
use crate::metadata::image::{Image, Voter};
use crate::metadata::record::{Record, Voters};
use crate::planted::{self, Bug};
use crate::time::Monotonic;

/// The largest entry that can be proposed. Kafka's limit of a batch in its metadata log.
pub const ENTRY_BYTES_MAX: usize = 8 << 20;

/// Once so many bytes of entries wait for the disk of this member, it takes no more, neither proposals nor what the
/// leader sends: eight of the largest entries. Whoever proposes or sends tries again.
pub const UNPERSISTED_BYTES_MAX: usize = 64 << 20;

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

#[derive(Debug)]
struct Waiting {
    number: u64,
    needs_disk: bool,
    /// The size of its entries.
    bytes: usize,
    send: Vec<Outgoing>,
    /// The snapshot that is applied, for raft, once it is durable.
    installs: Option<MetadataOffset>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Contact {
    heard: Option<Monotonic>,
    caught_up: Option<Monotonic>,
    /// The latest read of this process that it answered.
    answered: Option<u64>,
    /// When it last asked for a part of a snapshot, or was last sent a snapshot's name.
    pulled: Option<Monotonic>,
}

/// One member of the metadata quorum.
pub struct Quorum {
    raw: RawNode<MemoryLog>,
    config: QuorumConfig,
    table: Voters,
    patience: Patience,
    /// Whom this node followed last.
    followed: Option<RaftId>,
    /// Where members and strangers said that they are reached; newer than the table.
    heard_from: BTreeMap<RaftId, Peer>,
    waiting: VecDeque<Waiting>,
    /// The size of the entries taken since the last `ready`.
    taken_bytes: usize,
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
    watch: LeaderWatch,
    probe: Option<(u64, Peer)>,
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
            // The crate draws the time-out of each election from [min, max), out of the thread's generator. Ours
            // is set before each tick, and only a tick looks at it: see `one_tick`.
            election_tick: ELECTION_TICKS_MIN,
            min_election_tick: ELECTION_TICKS_MIN,
            max_election_tick: usize::MAX,
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
        let patience = Patience::new(config.seed, config.me.directory_id, &table);
        let mut quorum = Self {
            raw,
            config,
            table,
            patience,
            followed: None,
            heard_from: BTreeMap::new(),
            waiting: VecDeque::new(),
            taken_bytes: 0,
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
            watch: LeaderWatch::default(),
            probe: None,
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
        if !self.leads() || self.is_full() {
            return Err(NotLeader);
        }
        let bytes = payload.len();
        self.raw.propose(Vec::new(), payload.into()).map_err(|_| NotLeader)?;
        self.taken_bytes += bytes;
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
    /// leadership is lost meanwhile; numbers rise. Who answered it is known by [`Quorum::answered`].
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
            let change = conf_change(&self.table, &table);
            self.raw.apply_conf_change(&change).expect("members change one voter at a time");
            self.step_down_if_removed();
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

    /// Takes over a snapshot of the applied image that is durable: the log before it may go. One that the
    /// leader's snapshot has overtaken on its way to the disk is of no use: others would ask for what follows it.
    pub fn compact(&mut self, image: Image) {
        let id = SnapshotId::of(&image);
        if id.offset <= self.raw.store().snapshot_id().offset {
            return;
        }
        let members = conf_state(&voters_of(&image));
        self.raw.mut_store().compact(id, members, self.config.kept_bytes);
        self.held.hold(image);
    }

    /// Whether there is anything to be done.
    pub fn has_ready(&self) -> bool {
        self.raw.has_ready() || !self.outbox.is_empty() || self.probe.is_some()
    }

    /// What is to be done now.
    pub fn ready(&mut self) -> QuorumEffects {
        let mut effects = QuorumEffects::default();
        let mut actions = Vec::new();
        let mut number = None;
        while self.raw.has_ready() {
            let mut ready = self.raw.ready();
            let needs_disk = ready.must_sync();
            let bytes = ready.entries().iter().map(|entry| payload(entry).len()).sum();
            let mut waiting =
                Waiting { number: ready.number(), needs_disk, bytes, send: Vec::new(), installs: None };
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
        self.taken_bytes = 0;
        effects.persist = number.map(|number| Persist { number, actions });
        effects.send.append(&mut self.outbox);
        effects.probe = self.probe.take();
        self.report_role();
        effects.events = std::mem::take(&mut self.events);
        effects
    }
}

impl Quorum {
    fn one_tick(&mut self) {
        self.ticks += 1;
        // While a snapshot is on its way to the disk, raft's log has a hole that it must not campaign over.
        if !self.installing() {
            self.raw.raft.set_randomized_election_timeout(self.patience.ticks());
            self.raw.tick();
            if !self.leads() && self.raw.raft.election_elapsed == 0 {
                // It stood.
                self.patience.draw();
            }
            self.watch_leader();
        }
        self.hasten_first_election();
        self.ask_to_join();
        self.pull_again();
        self.report_stalled_snapshots();
        self.held.forget_bytes(Monotonic(self.now.0.saturating_sub(SNAPSHOT_BYTES_KEPT.as_millis() as u64)));
    }

    /// Whether as much waits for the disk as may.
    fn is_full(&self) -> bool {
        let unpersisted: usize =
            self.waiting.iter().filter(|waiting| waiting.needs_disk).map(|waiting| waiting.bytes).sum();
        unpersisted + self.taken_bytes >= UNPERSISTED_BYTES_MAX
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

    fn set_table(&mut self, table: Voters) {
        self.table = table;
        self.patience.follow(self.config.me.directory_id, &self.table);
        let mut contacts = std::mem::take(&mut self.contacts);
        contacts.retain(|id, _| self.is_member(*id));
        self.contacts = contacts;
        let nodes = |members: &[Voter]| members.iter().map(|member| member.node_id).collect();
        self.events.push(QuorumEvent::VotersChanged {
            voters: nodes(&self.table.voters),
            learners: nodes(&self.table.learners),
        });
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

fn read_number(state: &raft::ReadState) -> Option<(u64, MetadataOffset)> {
    let number = <[u8; 8]>::try_from(state.request_ctx.as_slice()).ok()?;
    Some((u64::from_be_bytes(number), MetadataOffset(state.index)))
}
