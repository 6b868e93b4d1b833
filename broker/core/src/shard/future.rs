//! Replicas on their way from one log directory of a broker to another (KIP-113).
//!
//! The directory that a replica is to go to has a future log of it, which takes over batch by batch what the replica's
//! own log has, committed or not, and is cut where that one was cut. When it has everything the replica is frozen: its
//! machine is handed over, with the producers that wait in it, and what is left is copied; then the future log gets the
//! replica's name, durably, and goes on where the other stopped. Only then the other is removed. Whoever drives the two
//! shards holds back meanwhile what is asked of the replica.
//!
//! ```text
//! from:  locate_copy … locate_copy, hand_over, locate_copy,         remove
//! to:    begin_copy, copied … copied,                 copied, adopt
//! ```
//!
//! A future log is never read by anybody, and counts for nothing. One that is found at a start goes on. If the log that it
//! copied is gone by then it lacks what nobody knows of: it counts as damaged (see [`super::damaged`]).

use bytes::Bytes;

use super::assign::Assignment;
use super::damaged::Damaged;
use super::effect::{Damage, Effect};
use super::follow::{are_good, cut_to};
use super::replica::{Parked, Replica, log_config};
use super::{Fate, FollowProblem, Leaving, Shard};
use crate::config::TopicConfig;
use crate::disk::{Disk, is_no_descriptor};
use crate::ids::{LeaderEpoch, Offset, PartitionIndex, TopicName, TopicPartition};
use crate::log::{
    AppendError, ChangeError, DiskError, EpochEnd, Log, LogConfig, OpenError, ReadError, ReadPlan, SyncJob,
    directory_name, future_name, make_place,
};
use crate::partition::{Partition, PartitionError};
use crate::time::{Monotonic, Wall};

/// So many bytes of a future log may be in the page cache only: the last of them are synced while clients wait.
const UNSYNCED_MAX: u64 = 8 << 20;

/// A log that is to take the place of its replica's log in another directory.
pub(super) struct Future<D: Disk> {
    pub(super) log: Log<D>,
    /// Its topic's name, once the metadata has said it.
    topic: Option<TopicName>,
    unsynced_bytes: u64,
    /// The replica is frozen, and waits for it.
    is_expected: bool,
    /// A sync of its adoption for which there was no descriptor.
    unfinished: Option<SyncJob<D>>,
}

impl<D: Disk> Future<D> {
    pub(super) fn new(log: Log<D>) -> Self {
        Self { log, topic: None, unsynced_bytes: 0, is_expected: false, unfinished: None }
    }
}

/// From where a future log goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CopyFrom {
    /// The end of what it has.
    pub offset: Offset,
    /// The epoch of its last record.
    pub last_epoch: Option<LeaderEpoch>,
    /// Whether it may be adopted when it has everything: little of it is not durable, so that adopting takes little time.
    pub is_ready: bool,
    /// Why it could not take what was given.
    pub problem: Option<FollowProblem>,
}

/// What the log that is copied has for the copy.
#[derive(Debug)]
pub enum CopyPart<F> {
    /// These batches; none if the copy has all.
    Records {
        /// Where they lie.
        plan: ReadPlan<F>,
        /// The log's first offset.
        log_start: Offset,
        /// What [`Shard::cuts`] says still if what was read is what was planned.
        cuts: u64,
    },
    /// The logs last agree here.
    Diverging(EpochEnd),
    /// It has nothing before this offset any more.
    BelowLogStart(Offset),
}

/// The same, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Copied {
    /// Whole batches, or none.
    Records {
        /// The batches.
        bytes: Bytes,
        /// The log's first offset.
        log_start: Offset,
    },
    /// The logs last agree here.
    Diverging(EpochEnd),
    /// It has nothing before this offset any more.
    BelowLogStart(Offset),
}

/// What a replica takes with it into another directory.
#[derive(Debug)]
pub struct Handed<T> {
    machine: Partition<Parked<T>>,
    high_watermark: Offset,
    config: LogConfig,
}

impl<D: Disk, T, W> Shard<D, T, W> {
    /// The future logs here.
    pub fn futures(&self) -> impl Iterator<Item = TopicPartition> + '_ {
        self.futures.keys().copied()
    }

    /// Makes a future log, unless there is one. Without a descriptor there is none yet: [`Shard::copied`] says so.
    pub fn begin_copy(&mut self, id: TopicPartition, topic: &TopicName, config: &TopicConfig) {
        if self.has_failed() || self.replicas.contains_key(&id) {
            return;
        }
        if !self.futures.contains_key(&id) {
            let directory = match self.free_future_name(id, topic) {
                Ok(name) => name,
                Err(error) => return self.fail_if_asked(&error),
            };
            let made = Log::create_future(self.disk.clone(), &directory, id.topic_id, &log_config(config));
            match made {
                Ok(log) => self.futures.insert(id, Future::new(log)),
                Err(error) => return self.fail_if_asked(&error),
            };
            self.commit.want_sync(id);
        }
        if let Some(future) = self.futures.get_mut(&id) {
            future.log.configure(&log_config(config));
            future.topic = Some(topic.clone());
        }
    }

    /// A name that no earlier copy has, also none on its way out.
    fn free_future_name(&mut self, id: TopicPartition, topic: &TopicName) -> Result<String, DiskError> {
        let taken = self.disk.list("").map_err(|source| DiskError {
            attempted: "list",
            path: String::new(),
            source,
        })?;
        loop {
            let name = future_name(topic, id.partition, self.removal(id.topic_id));
            if !taken.contains(&name) {
                return Ok(name);
            }
        }
    }

    /// No checkpoint of the directory names the future logs: each keeps its own recovery point, so that a start need not look
    /// at all of it.
    pub(super) fn owe_recovery_points(&mut self) {
        for (id, future) in &mut self.futures {
            if future.log.owe_recovery_point() {
                self.commit.want_sync(*id);
            }
        }
    }

    /// The replica of a future log is about to be frozen.
    pub fn expect(&mut self, id: TopicPartition) {
        if let Some(future) = self.futures.get_mut(&id) {
            future.is_expected = true;
        }
    }

    /// Gives a future log up, and what it has.
    pub fn end_copy(&mut self, id: TopicPartition) {
        let Some(future) = self.futures.remove(&id).filter(|_| !self.has_failed()) else { return };
        let replica = Replica::new(future.log, Offset(0));
        self.removing.push(Leaving { id, replica, fate: Fate::Removed });
        self.remove_idle();
    }

    /// What a copy of a log here goes on with: at most `max_bytes`, but whole batches and one at least.
    ///
    /// # Errors
    /// If there is no such log, or if it cannot be read.
    pub fn locate_copy(
        &mut self,
        id: TopicPartition,
        from: CopyFrom,
        max_bytes: u32,
    ) -> Result<CopyPart<D::File>, PartitionError> {
        // A log that is itself being copied anew lacks what the one has that it replaces.
        if self.kept.iter().any(|kept| kept.id == id) {
            return Err(PartitionError::Storage);
        }
        let log = &self.replica(id)?.log;
        let (log_start, log_end, cuts) = (log.log_start(), log.log_end(), log.cuts());
        if from.offset < log_start {
            return Ok(CopyPart::BelowLogStart(log_start));
        }
        if let Some(epoch) = from.last_epoch {
            // An epoch that it knows nothing of was cut off altogether.
            let all = || EpochEnd { epoch: log.latest_epoch().unwrap_or_default(), end: log_end };
            let end = log.end_offset_for_epoch(epoch).unwrap_or_else(all);
            if end.epoch < epoch || end.end < from.offset {
                return Ok(CopyPart::Diverging(end));
            }
        }
        match log.read(from.offset, max_bytes, log_end, true) {
            Ok(plan) => Ok(CopyPart::Records { plan, log_start, cuts }),
            Err(error) => Err(self.read_failed(id, &error)),
        }
    }

    /// How often the log of a replica was cut: see [`CopyPart`].
    pub fn cuts(&self, id: TopicPartition) -> Option<u64> {
        Some(self.replicas.get(&id)?.log.cuts())
    }

    /// Takes over what the copied log had for a copy that ended there, if anything was asked of it yet, and says from where to
    /// go on. What was asked for another copy is not taken. `None` if there is no such future log, or not for long.
    pub fn copied(
        &mut self,
        id: TopicPartition,
        given: Option<(Offset, Copied)>,
        now: Wall,
    ) -> Option<CopyFrom> {
        if self.has_failed() {
            return None;
        }
        let log = &self.futures.get(&id)?.log;
        let before = log.log_end();
        if log.has_failed() {
            // It stopped half-way, for want of a descriptor.
            let (offset, last_epoch, problem) =
                (before, log.last_record_epoch(), Some(FollowProblem::Damaged));
            return Some(CopyFrom { offset, last_epoch, is_ready: false, problem });
        }
        let problem = match given.filter(|(from, _)| *from == before).map(|(_, given)| given) {
            None => None,
            Some(Copied::Records { bytes, log_start }) => self.take_copied(id, bytes, log_start, now)?,
            Some(Copied::Diverging(end)) => {
                let cut = cut_to(&mut self.futures.get_mut(&id)?.log, end);
                self.copy_changed(cut)?
            }
            Some(Copied::BelowLogStart(log_start)) => {
                let restarted = self.futures.get_mut(&id)?.log.restart_at(log_start);
                self.copy_changed(restarted.map(|()| None))?
            }
        };
        let future = self.futures.get_mut(&id)?;
        let offset = future.log.log_end();
        let has_all = offset == before;
        if future.log.needs_sync() && (has_all || future.unsynced_bytes >= UNSYNCED_MAX) {
            future.unsynced_bytes = 0;
            self.commit.want_sync(id);
        }
        let future = self.futures.get(&id)?;
        let last_epoch = future.log.last_record_epoch();
        // A recovery point of an earlier log of that name would be taken for one of this.
        let name = (future.topic.clone()?, id.partition);
        let is_free = self.recovery_point_on_disk(&name) == Offset(0) && self.is_free(&name);
        let is_ready = is_free && future.log.is_established() && future.unsynced_bytes < UNSYNCED_MAX / 8;
        Some(CopyFrom { offset, last_epoch, is_ready, problem })
    }

    /// Whether no log that anybody knows has the name that a copy is to get.
    fn is_free(&self, name: &(TopicName, PartitionIndex)) -> bool {
        let directory = directory_name(&name.0, name.1);
        let leaving = self.removing.iter().map(|leaving| &leaving.replica);
        let used = self.replicas.values().chain(leaving).map(|replica| replica.log.directory());
        used.chain(self.damaged.iter().map(|damaged| &damaged.directory[..])).all(|used| used != directory)
    }

    fn take_copied(
        &mut self,
        id: TopicPartition,
        bytes: Bytes,
        log_start: Offset,
        now: Wall,
    ) -> Option<Option<FollowProblem>> {
        let future = self.futures.get_mut(&id)?;
        let size = bytes.len() as u64;
        // The little that a frozen replica waits for may take of what is kept free.
        if size > self.room && !future.is_expected {
            return Some(Some(FollowProblem::Full));
        }
        if !are_good(&bytes, LeaderEpoch(i32::MAX)) {
            return Some(Some(FollowProblem::Flawed));
        }
        if !bytes.is_empty() {
            self.room = self.room.saturating_sub(size);
            future.unsynced_bytes += size;
            future.log.tell_time(self.peers.now);
            match future.log.append(&[bytes], now) {
                Ok(_) => {}
                Err(error @ (AppendError::Disk(_) | AppendError::Failed(_))) => {
                    return self.no_descriptor(&error);
                }
                Err(
                    AppendError::Flawed { .. }
                    | AppendError::OffsetBehind { .. }
                    | AppendError::EpochBehind { .. },
                ) => return Some(Some(FollowProblem::Flawed)),
            }
        }
        future.log.advance_log_start(log_start);
        Some(None)
    }

    fn copy_changed(
        &mut self,
        changed: Result<Option<FollowProblem>, ChangeError>,
    ) -> Option<Option<FollowProblem>> {
        match changed {
            Ok(problem) => Some(problem),
            Err(ChangeError::Read(ReadError::Corrupt { .. })) => Some(Some(FollowProblem::Damaged)),
            Err(error) => self.no_descriptor(&error),
        }
    }

    /// That there was no descriptor; `None` if the disk has failed.
    fn no_descriptor(&mut self, error: &(dyn std::error::Error + 'static)) -> Option<Option<FollowProblem>> {
        self.fail_if_asked(error);
        (!self.has_failed()).then_some(Some(FollowProblem::NoDescriptor))
    }

    /// Takes the machine of a replica, and freezes its log: nothing is appended to it any more, and nobody but a copy reads
    /// it. `None` if there is no replica that serves.
    pub fn hand_over(&mut self, id: TopicPartition) -> Option<Box<Handed<T>>> {
        if self.has_failed() {
            return None;
        }
        let replica = self.replicas.get_mut(&id)?;
        let machine = replica.partition.take()?;
        replica.is_frozen = true;
        let (high_watermark, config) = (machine.high_watermark(), replica.log.config().clone());
        replica.high_watermark_on_disk = high_watermark;
        if replica.take_follows() {
            self.effects.push(Effect::Follow { partition: id, from: None });
        }
        self.wake_all(id);
        Some(Box::new(Handed { machine, high_watermark, config }))
    }

    /// Makes a future log the replica's, with all that was handed over with it: from here on it is served here. It is to
    /// have everything that the log has which was handed over. Blocks on the disk.
    ///
    /// # Errors
    /// What was handed over, if it cannot be now, while the future log is under sync or for want of a descriptor, or never:
    /// see [`Shard::may_adopt`].
    pub fn adopt(&mut self, id: TopicPartition, handed: Box<Handed<T>>) -> Result<(), Box<Handed<T>>> {
        if self.has_failed() {
            return Err(handed);
        }
        let idle = |future: &&mut Future<D>| !future.log.sync_running() || future.unfinished.is_some();
        let Some(topic) = self.futures.get(&id).and_then(|future| future.topic.clone()) else {
            return Err(handed);
        };
        let name = (topic, id.partition);
        if !self.is_free(&name) {
            return Err(handed);
        }
        let Some(future) = self.futures.get_mut(&id).filter(idle) else { return Err(handed) };
        let directory = directory_name(&name.0, id.partition);
        let has_name = future.log.directory() == directory;
        let ready = if has_name { Ok(()) } else { make_place(&self.disk, &directory, id.topic_id.0) };
        let renamed = ready.and_then(|()| future.log.rename(&directory, &mut future.unfinished));
        let opened = renamed.map_err(OpenError::Disk).and_then(|()| future.log.reopen());
        let mut log = match opened {
            Ok(log) => log,
            Err(error) => {
                if !is_no_descriptor(&error) {
                    self.fail(&error);
                }
                return Err(handed);
            }
        };
        self.futures.remove(&id);
        log.count_producers_from(self.peers.now);
        self.producers.opened(&log);
        let Handed { mut machine, high_watermark, config } = *handed;
        log.configure(&config);
        if machine.is_leader() {
            log.assign_epoch(machine.registration().leader_epoch);
        }
        let released = machine.flushed(log.flushed_end(), &self.peers);
        let mut replica = Replica::new(log, high_watermark);
        replica.partition = Some(machine);
        self.replicas.insert(id, replica);
        if self.replicas[&id].log.needs_sync() {
            self.commit.want_sync(id);
        }
        // Until a checkpoint names it a start looks at all of it.
        self.checkpointed_at = Monotonic::default();
        self.bound_producers();
        self.answer(released);
        self.follow(id);
        self.propose(id);
        self.wake(id);
        Ok(())
    }

    /// Whether a future log may yet become its replica's: it is there, and no later topic of that name has its place.
    pub fn may_adopt(&self, id: TopicPartition) -> bool {
        let Some(topic) = self.futures.get(&id).and_then(|future| future.topic.as_ref()) else {
            return false;
        };
        let directory = directory_name(topic, id.partition);
        let in_place = |replica: &Replica<D, T, W>| replica.log.directory() == directory;
        !self.has_failed() && !self.replicas.values().any(in_place)
    }

    /// A replica goes on here after all.
    ///
    /// # Errors
    /// What was handed over, if its log is not here any more.
    pub fn take_back(&mut self, id: TopicPartition, handed: Box<Handed<T>>) -> Result<(), Box<Handed<T>>> {
        let failed = self.has_failed();
        let frozen = |replica: &&mut Replica<D, T, W>| replica.is_frozen && !failed;
        let Some(replica) = self.replicas.get_mut(&id).filter(frozen) else { return Err(handed) };
        replica.is_frozen = false;
        let mut machine = handed.machine;
        // A sync may have ended while nobody was there to hear of it.
        let released = machine.flushed(replica.log.flushed_end(), &self.peers);
        replica.partition = Some(machine);
        self.answer(released);
        self.follow(id);
        self.propose(id);
        self.wake(id);
        Ok(())
    }

    /// Removes the log of a replica that was handed over, and went on elsewhere.
    pub fn remove_frozen(&mut self, id: TopicPartition) {
        if self.replicas.get(&id).is_some_and(|replica| replica.is_frozen) {
            self.let_go(id, Fate::Removed);
        }
    }

    /// What was handed over is not taken by anybody: whoever waits in it hears that the log directory has failed.
    pub fn give_up(&mut self, mut handed: Box<Handed<T>>) {
        let released = handed.machine.fail();
        self.answer(released);
    }

    /// The log that a future log copied is gone, and with it what the copy lacks: it stays where it is, and the controller
    /// is to hear of it. `known_in` is the newest leader epoch in which this broker may have fetched for the log that is
    /// gone.
    pub fn orphan(&mut self, id: TopicPartition, known_in: LeaderEpoch) {
        let Some(topic) = self.futures.get(&id).and_then(|future| future.topic.clone()) else { return };
        let Some(Future { log, .. }) = self.futures.remove(&id) else { return };
        self.damaged.push(Damaged {
            directory: log.directory().to_owned(),
            name: (topic, id.partition),
            topic_id: Some(id.topic_id),
            recovery_point: log.flushed_end(),
            log_start: log.log_start(),
            known_in: Some(known_in),
        });
        // Nobody moves it while it is under sync.
        self.removing.push(Leaving { id, replica: Replica::new(log, Offset(0)), fate: Fate::LeftInPlace });
        self.remove_idle();
        self.effects.push(Effect::Damage { partition: id, what: Damage::Orphan });
    }

    /// An assignment of a replica whose log is elsewhere, or gone: what copied it here is an orphan.
    pub(super) fn orphan_if_copied(&mut self, assignment: &Assignment) {
        let id = assignment.partition;
        if let Some(future) = self.futures.get_mut(&id) {
            future.topic = Some(assignment.topic.clone());
            self.orphan(id, assignment.registration.leader_epoch);
        }
    }
}
