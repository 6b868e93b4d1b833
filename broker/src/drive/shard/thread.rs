//! The thread that owns a shard.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::Duration;

use ottla_core::disk::is_no_descriptor;
use ottla_core::ids::{LeaderEpoch, NodeId, TopicPartition};
use ottla_core::lifecycle::ProposalAnswer;
use ottla_core::log::{OpenError, RecoveryReport};
use ottla_core::partition::{IsrProposal, PartitionError};
use ottla_core::replicas::Routes;
use ottla_core::shard::{Damage, Effect, FollowFrom, OffsetFound, OffsetTarget, Opened, Produced, Shard};
use tokio::sync::{Notify, mpsc, oneshot};
use tracing::{error, info, warn};

use super::copying::Expected;
use super::handle::{Contents, FetchItem, Message, Near, ReadBy};
use super::pulse::{Pulse, SHARD_LANE};
use super::reader::Reader;
use super::reading::{Allowance, LocateResult, Tries, may_be_gone};
use super::syncer::{DESCRIPTOR_WAIT, Finished, Job, Syncer};
use crate::clock;
use crate::disk::RealDisk;

/// Enough for the deepest call on these threads, and little enough for a small process.
pub(super) const STACK_BYTES: usize = 512 * 1024;

/// How many messages are taken in before a sync round may begin. A round covers all of them.
const MESSAGES_PER_TURN_MAX: usize = 1024;

/// With less room than this a directory is called full: many a batch does not fit any more.
const ROOM_MIN: u64 = 1 << 20;

pub(super) type Answer = oneshot::Sender<Result<Produced, PartitionError>>;
type RealShard = Shard<RealDisk, Answer, Weak<Notify>>;

/// What a shard's thread tells the broker's driver.
#[derive(Debug)]
pub(crate) enum ShardEvent {
    /// The directory is open; these partitions have a log in it, and of some of them it is damaged.
    Opened {
        shard: usize,
        partitions: Vec<TopicPartition>,
        /// Those that are to take the place of logs in other directories.
        futures: Vec<TopicPartition>,
        damaged: BTreeSet<TopicPartition>,
    },
    /// The damaged logs in it are these now.
    Damaged { shard: usize, damaged: BTreeSet<TopicPartition> },
    /// The directory has failed, at the start or later.
    Failed { shard: usize },
    /// A leader here wants another ISR.
    Proposed { partition: TopicPartition, proposal: IsrProposal },
}

/// A replica follows its leader from here on, or nobody.
#[derive(Debug)]
pub(crate) struct Followed {
    pub(crate) shard: usize,
    pub(crate) partition: TopicPartition,
    pub(crate) from: Option<FollowFrom>,
}

/// Whom a shard's thread tells what.
#[derive(Debug, Clone)]
pub(crate) struct ShardReports {
    pub(crate) events: mpsc::UnboundedSender<ShardEvent>,
    pub(crate) follows: mpsc::UnboundedSender<Followed>,
}

/// Starts the shards of these directories. Each opens its logs first, which may take long after a crash,
/// and then says so.
pub(crate) fn start(
    me: NodeId,
    directories: &[PathBuf],
    open_max: usize,
    routes: tokio::sync::watch::Receiver<Routes>,
    reports: &ShardReports,
) -> io::Result<super::Shards> {
    let (mut queues, mut readers) = (Vec::new(), Vec::new());
    let pulses: Arc<[Pulse]> = directories.iter().cloned().map(Pulse::new).collect();
    for number in 0..directories.len() {
        let (queue, messages) = mpsc::unbounded_channel();
        let syncer = Syncer::start(&format!("shard-{number}"), &queue)?;
        let reader = Reader::start(&format!("shard-{number}"), &queue, (&pulses, number))?;
        readers.push(reader.clone());
        let (reports, pulses) = (reports.clone(), Arc::clone(&pulses));
        std::thread::Builder::new().name(format!("shard-{number}")).stack_size(STACK_BYTES).spawn(
            move || run((number, open_max), me, messages, &syncer, &reader, &reports, &pulses[number]),
        )?;
        queues.push(queue);
    }
    Ok(super::Shards::new(queues, pulses, readers, reports.events.clone(), routes))
}

fn run(
    (number, open_max): (usize, usize),
    me: NodeId,
    mut messages: mpsc::UnboundedReceiver<Message>,
    syncer: &Syncer,
    reader: &Reader,
    reports: &ShardReports,
    pulse: &Pulse,
) {
    let directory = &pulse.directory;
    let opened = RealDisk::new(directory, open_max, Duration::ZERO)
        .and_then(|disk| Ok((disk.clone(), open_patiently(me, &disk)?)));
    let (disk, shard) = match opened {
        Ok((disk, opened)) => (disk, report_opened(directory, opened)),
        Err(error) => {
            log_failure(directory, &error);
            let _gone = reports.events.send(ShardEvent::Failed { shard: number });
            return;
        }
    };
    let (partitions, damaged) = (shard.partitions().collect(), shard.damaged().collect());
    let futures = shard.futures().collect();
    let _gone = reports.events.send(ShardEvent::Opened { shard: number, partitions, futures, damaged });
    let mut driver = Driver {
        number,
        directory,
        shard,
        disk,
        has_room: true,
        expected: BTreeMap::new(),
        syncer,
        reader,
        reports,
    };
    driver.measure_room();
    let mut batch = Vec::with_capacity(64);
    let mut closing = None;
    while messages.blocking_recv_many(&mut batch, MESSAGES_PER_TURN_MAX) > 0 {
        for message in batch.drain(..) {
            if let Message::Close { epoch, done } = message {
                closing = Some((epoch, done));
            } else {
                pulse.begin(SHARD_LANE);
                driver.take(message);
            }
        }
        if pulse.is_stuck() {
            // The controller has been told already; what was written meanwhile is not acknowledged.
            driver.shard.disk_failed(&io::ErrorKind::TimedOut.into());
        }
        driver.give_up_waiting();
        pulse.rest(SHARD_LANE);
        if closing.is_none() {
            driver.shard.begin_round(clock::monotonic());
        }
        driver.perform();
        // Only what every job at the disk has ended with may be called clean.
        if let Some((epoch, done)) = closing.take_if(|_| driver.shard.is_idle()) {
            if let Err(error) = driver.shard.close(epoch) {
                warn!(%error, "log directory could not be closed properly; the next start recovers it");
            }
            driver.perform();
            let _nobody_waits = done.send(());
            return;
        }
    }
}

/// Opens every log, from the beginning again while there are no descriptors for it.
fn open_patiently(me: NodeId, disk: &RealDisk) -> io::Result<Opened<RealDisk, Answer, Weak<Notify>>> {
    loop {
        match RealShard::open(me, disk.clone(), clock::monotonic()) {
            Err(error) if is_no_descriptor(&error) => std::thread::sleep(DESCRIPTOR_WAIT),
            opened => return opened,
        }
    }
}

fn report_opened(directory: &Path, opened: Opened<RealDisk, Answer, Weak<Notify>>) -> RealShard {
    for log in &opened.logs {
        match &log.result {
            Ok((_, report)) if report.cut_bytes > 0 => {
                warn!(log = %log.directory, cut_bytes = report.cut_bytes, flaw = ?report.flaw, "torn tail cut");
            }
            Ok(_) => {}
            Err(error @ OpenError::Unfinished { .. }) => {
                info!(log = %log.directory, %error, "log holds nothing; it is made anew where it is assigned");
            }
            Err(error @ OpenError::Corrupt { .. }) => {
                error!(log = %log.directory, %error, "log is damaged: it is copied anew from the partition's leader as soon as another broker leads; if no other replica has its records, restore it from a backup and restart this broker");
            }
            Err(error @ OpenError::Disk(_)) => {
                error!(log = %log.directory, %error, "log cannot be opened and is left alone");
            }
        }
    }
    for log in &opened.futures {
        match &log.result {
            Ok((_, RecoveryReport { recovered_bytes, cut_bytes, .. })) => {
                info!(log = %log.directory, recovered_bytes, cut_bytes, "copy of a replica found");
            }
            Err(error) => {
                info!(log = %log.directory, %error, "copy of a replica is not whole, and was removed");
            }
        }
    }
    info!(directory = %directory.display(), logs = opened.logs.len(), clean = opened.clean.is_some(), "log directory opened");
    opened.shard
}

fn log_failure(directory: &Path, error: &io::Error) {
    let directory = directory.display();
    if error.kind() == io::ErrorKind::StorageFull {
        error!(%directory, %error, "log directory is full and has failed: make room, then restart this broker");
    } else {
        error!(%directory, %error, "log directory has failed: repair the disk, then restart this broker");
    }
}

pub(super) struct Driver<'a> {
    number: usize,
    directory: &'a Path,
    pub(super) shard: RealShard,
    disk: RealDisk,
    /// Whether there was room for records when it was last measured.
    has_room: bool,
    /// Replicas on their way here from another directory, and what was asked of them meanwhile.
    pub(super) expected: BTreeMap<TopicPartition, Expected>,
    syncer: &'a Syncer,
    pub(super) reader: &'a Reader,
    reports: &'a ShardReports,
}

impl Driver<'_> {
    /// Takes a message in, or keeps it for a replica that is on its way here.
    pub(super) fn take(&mut self, message: Message) {
        let waits = !self.shard.has_failed();
        let keeps = |(id, expected): &(&TopicPartition, &mut Expected)| {
            waits && message.concerns(**id) && expected.keeps(&message)
        };
        match self.expected.iter_mut().find(keeps) {
            Some((_, expected)) => expected.kept.push(message),
            None => self.act(message),
        }
    }

    /// The replica is here, or will not come: what was kept for it is done, in order.
    pub(super) fn arrived(&mut self, id: TopicPartition) {
        let kept = self.expected.remove(&id).unwrap_or_default().kept;
        kept.into_iter().for_each(|message| self.take(message));
    }

    /// Nothing comes to a directory that has failed.
    fn give_up_waiting(&mut self) {
        if self.shard.has_failed() && !self.expected.is_empty() {
            let kept = std::mem::take(&mut self.expected).into_values().flat_map(|expected| expected.kept);
            kept.for_each(|message| self.act(message));
        }
    }

    fn act(&mut self, message: Message) {
        match message {
            Message::Produce { partition, batch, acks, answer } => {
                self.shard.produce(partition, batch, acks, answer, clock::wall());
            }
            Message::Locate { items, near, allowance, tries, answer } => {
                self.locate((items, near), allowance, tries, answer);
            }
            Message::ReadFailed { item, place, error, answer } => {
                // The reader may have gone.
                let _gone = answer.send(self.read_failed(&item, place, &error));
            }
            Message::FoundRot { partition, at, answer } => {
                // The reader may have gone.
                let _gone = answer.send(self.shard.found_rot(partition, at));
            }
            Message::Watch { partition, reads_to, beyond, reader } => {
                self.shard.watch(partition, reads_to, beyond, reader, |reader| reader.strong_count() > 0);
            }
            Message::ListOffset { partition, epoch, target, tries, answer } => {
                self.list_offset(partition, epoch, target, tries, answer);
            }
            Message::Describe(answer) => {
                // Whoever asked may have gone.
                let _gone = answer.send(self.describe());
            }
            Message::EndOfEpoch { partition, current, asked, answer } => {
                // Who asked may have gone.
                drop(answer.send(self.shard.end_of_epoch(partition, current, asked)));
            }
            Message::Producers { partition, answer } => {
                // Whoever asked may have gone.
                let _gone = answer.send(self.shard.producers(partition));
            }
            Message::Assign(assignment) => self.shard.assign(*assignment),
            Message::Remove(partition) => self.shard.remove(partition),
            Message::SetAside(partition) => self.shard.set_aside(partition),
            Message::Move(partition, step) => self.move_step(partition, step),
            Message::DiskFailed(error) => self.shard.disk_failed(&error),
            Message::Peers(eligible, lag_time_max) => self.shard.set_peers(eligible, lag_time_max),
            Message::Replicate(partition, part) => self.shard.replicate(partition, *part, clock::wall()),
            Message::ProposalAnswered(ProposalAnswer { partition, made, outcome }) => {
                self.shard.proposal_answered(partition, made, outcome);
            }
            Message::Barrier(done) => {
                self.perform();
                let _gone = done.send(());
            }
            Message::Tick => {
                self.measure_room();
                self.shard.tick(clock::monotonic());
            }
            Message::SyncPostponed(id, job) => {
                self.shard.sync_postponed(id, job.number());
                self.syncer.send(Job::Sync(id, job));
            }
            Message::SyncFinished(Finished::Sync(id, number, result)) => {
                self.shard.sync_finished(id, number, result);
            }
            Message::SyncFinished(Finished::Removal(error)) => self.shard.disk_failed(&error),
            Message::SyncFinished(Finished::Checkpoint(logs, result)) => {
                self.shard.checkpoint_finished(logs, result);
            }
            Message::Close { .. } => unreachable!("the loop takes these itself"),
        }
    }

    fn describe(&self) -> io::Result<Contents> {
        if self.shard.has_failed() {
            return Err(io::ErrorKind::Other.into());
        }
        Ok(Contents {
            space: self.disk.space()?,
            logs: self.shard.logs().chain(self.shard.future_logs()).collect(),
        })
    }

    /// Tells the shard how much fits, and whoever reads the log when records begin to be refused.
    fn measure_room(&mut self) {
        if self.shard.has_failed() {
            return;
        }
        let room = match self.disk.room() {
            Ok(room) => room,
            Err(error) => return self.shard.disk_failed(&error),
        };
        self.shard.set_room(room);
        let had_room = std::mem::replace(&mut self.has_room, room >= ROOM_MIN);
        let directory = self.directory.display();
        match (had_room, self.has_room) {
            (true, false) => error!(
                %directory,
                "log directory is full: records are refused until there is room again; delete topics or enlarge the volume"
            ),
            (false, true) => info!(%directory, "log directory has room again: records are taken"),
            (true, true) | (false, false) => {}
        }
    }

    /// The first partition with data yields at least one batch; the others share what is left (rule 46).
    fn locate(
        &mut self,
        (items, near): (Vec<FetchItem>, Option<Near>),
        allowance: Allowance,
        tries: Tries,
        answer: oneshot::Sender<Vec<LocateResult>>,
    ) {
        let (located, missed) = tries.read(|| {
            let mut left = allowance;
            let mut locate = |item: &FetchItem| {
                let max = if item.withheld { 0 } else { item.max_bytes.min(left.bytes) };
                let first = left.first && !item.withheld;
                let located = locate_one(&mut self.shard, item, near.as_deref(), max, first);
                left.spend(located.as_ref().map_or(0, |located| located.plan.length));
                located
            };
            items.iter().map(&mut locate).collect()
        });
        match missed {
            Some(missed) => {
                let tries = tries.next();
                self.reader.warm(missed, Message::Locate { items, near, allowance, tries, answer });
            }
            // The reader may have gone.
            None => drop(answer.send(located)),
        }
    }

    /// Fails the directory, unless the log has only gone in between.
    fn read_failed(&mut self, item: &FetchItem, place: (u64, u32), error: &io::Error) -> PartitionError {
        if may_be_gone(error) {
            // Looked up as before, but for the size, which may be another now.
            match locate_one(&mut self.shard, item, None, place.1, true) {
                Ok(located) if located.plan.position != place.0 => return PartitionError::NotLeader,
                Ok(_) => {}
                Err(error) => return error,
            }
        }
        self.shard.disk_failed(error);
        PartitionError::Storage
    }

    fn list_offset(
        &mut self,
        partition: TopicPartition,
        epoch: Option<LeaderEpoch>,
        target: OffsetTarget,
        tries: Tries,
        answer: oneshot::Sender<Result<OffsetFound, PartitionError>>,
    ) {
        match tries.read(|| self.shard.list_offset(partition, epoch, target)) {
            (_, Some(missed)) => {
                let tries = tries.next();
                self.reader.warm(missed, Message::ListOffset { partition, epoch, target, tries, answer });
            }
            // The reader may have gone.
            (found, None) => drop(answer.send(found)),
        }
    }

    fn perform(&mut self) {
        for effect in self.shard.take_effects() {
            match effect {
                // Whoever waited may have gone; what was written stays.
                Effect::Answer { waiting, result } => drop(waiting.send(result)),
                Effect::Wake(reader) => {
                    if let Some(reader) = reader.upgrade() {
                        reader.notify_waiters();
                    }
                }
                // Whoever took these is gone only when the broker has stopped.
                Effect::AlterIsr { partition, proposal } => {
                    let _gone = self.reports.events.send(ShardEvent::Proposed { partition, proposal });
                }
                Effect::Follow { partition, from } => {
                    let _gone = self.reports.follows.send(Followed { shard: self.number, partition, from });
                }
                Effect::Sync(jobs) => {
                    jobs.into_iter().for_each(|(id, job)| self.syncer.send(Job::Sync(id, job)));
                }
                Effect::Checkpoint(job) => self.syncer.send(Job::Checkpoint(job)),
                Effect::Remove(job) => self.syncer.remove(job),
                Effect::SetAside { from, to } => {
                    warn!(log = %from, kept_as = %to, "no replica of this broker: its records are kept aside; remove them when nobody misses them");
                }
                Effect::Damage { partition, what } => self.damage(partition, what),
                Effect::Failed { error } => {
                    log_failure(self.directory, &error);
                    let _gone = self.reports.events.send(ShardEvent::Failed { shard: self.number });
                }
            }
        }
    }

    /// Tells the controller which logs are damaged now, and whoever reads the log what has become of this one.
    fn damage(&mut self, id: TopicPartition, what: Damage) {
        let (topic_id, partition) = (id.topic_id, id.partition.0);
        match what {
            Damage::Found | Damage::Gone => {}
            Damage::Read { at } => {
                error!(%topic_id, partition, segment = %at.segment, position = at.position, "log is damaged: a read found a batch that is not what was written; another replica takes over, and this one is copied anew from it");
            }
            Damage::AtFollower { at } => {
                error!(%topic_id, partition, segment = %at.segment, position = at.position, "log is damaged: a consumer's read found a batch that is not what was written; this replica follows, and leaves consumers to its leader");
            }
            Damage::Alone { at } => {
                error!(%topic_id, partition, segment = %at.segment, position = at.position, "log is damaged: a read found a batch that is not what was written, and no other replica is in sync; readers of that batch fail on its checksum until it is restored from a backup");
            }
            Damage::Orphan => {
                error!(%topic_id, partition, "a replica was changing its log directory, and the one that it was in is gone: its copy may lack the last records, and is copied anew from the partition's leader; if no other replica is left, repair that directory");
            }
            Damage::Replaced { kept_as } => {
                warn!(%topic_id, partition, %kept_as, "damaged log is kept aside while it is copied anew from the leader");
            }
            Damage::Longer { kept_as } => {
                warn!(%topic_id, partition, %kept_as, "damaged log is replaced by a copy that ends before it: what it still has may be lost elsewhere; remove it when nobody misses it");
            }
            Damage::Repaired { kept_as } => {
                info!(%topic_id, partition, removed = %kept_as, "damaged log is replaced: its copy is in sync");
            }
        }
        let damaged = self.shard.damaged().collect();
        let _gone = self.reports.events.send(ShardEvent::Damaged { shard: self.number, damaged });
    }
}

/// Plans the read of one partition, for a consumer or a follower.
fn locate_one(
    shard: &mut RealShard,
    item: &FetchItem,
    near: Option<&BTreeSet<NodeId>>,
    max_bytes: u32,
    at_least_one_batch: bool,
) -> LocateResult {
    let FetchItem { partition, from, .. } = *item;
    match item.read_by {
        ReadBy::Consumer(replicas) => {
            let nearer = near.and_then(|near| shard.locate_nearer(partition, from, near));
            nearer.map_or_else(|| shard.locate(partition, from, replicas, max_bytes, at_least_one_batch), Ok)
        }
        ReadBy::Follower(fetch) => {
            shard.locate_for_follower(partition, fetch, from, max_bytes, at_least_one_batch, item.behind)
        }
    }
}
