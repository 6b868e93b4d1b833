//! Sync rounds: what was appended becomes durable, and then, never before, is acknowledged.

use std::error::Error;
use std::io;

use super::Shard;
use super::effect::Effect;
use super::replica::Replica;
use crate::disk::{Disk, is_no_descriptor};
use crate::ids::TopicPartition;
use crate::log::SyncNumber;
use crate::log::commit::RoundEnd;
use crate::time::Monotonic;

impl<D: Disk, T, W> Shard<D, T, W> {
    /// Begins the next sync round if one is due: call it when everything that has arrived is appended, so
    /// that a round covers as much as it can.
    pub fn begin_round(&mut self, now: Monotonic) {
        self.peers.now = self.peers.now.max(now);
        let (replicas, futures) = (&mut self.replicas, &mut self.futures);
        let jobs = self.commit.begin(now, |id| match replicas.get_mut(&id) {
            Some(replica) => replica.log.take_sync(),
            None => futures.get_mut(&id)?.log.take_sync(),
        });
        if !jobs.is_empty() {
            self.effects.push(Effect::Sync(jobs));
        }
        self.end_rounds();
    }

    /// Takes the result of one job of a round.
    pub fn sync_finished(&mut self, id: TopicPartition, number: SyncNumber, result: io::Result<()>) {
        if let Some(leaving) = self.removing.iter_mut().find(|leaving| leaving.id == id) {
            // Nobody waits for a log on its way out. If the disk failed, the round says so below.
            let outcome = if result.is_ok() { Ok(()) } else { Err(io::ErrorKind::Other.into()) };
            let _ends_with_the_round = leaving.replica.log.sync_finished(number, outcome);
        }
        self.commit.finished(id, number, result);
        self.end_rounds();
        self.remove_idle();
    }

    /// Fails the directory if its round takes too long. Call it about once a second.
    pub(super) fn check_round(&mut self, now: Monotonic) {
        self.commit.tick(now);
        self.end_rounds();
    }

    /// A job of the round found no descriptor and is to be done again; the acknowledgements of the round wait for it.
    pub fn sync_postponed(&mut self, id: TopicPartition, number: SyncNumber) {
        self.commit.postponed(id, number);
    }

    /// The driver could not run a read that was planned here: the disk has failed, if it was asked at all.
    pub fn disk_failed(&mut self, error: &io::Error) {
        self.fail_if_asked(error);
    }

    /// As [`Shard::fail`], but for want of a descriptor: then whoever asked may ask again.
    pub(super) fn fail_if_asked(&mut self, error: &(dyn Error + 'static)) {
        if !is_no_descriptor(error) {
            self.fail(error);
        }
    }

    /// The disk failed under an append, a read or a name: so has the directory.
    pub(super) fn fail(&mut self, error: &(dyn Error + 'static)) {
        let cause = error.source().map(|source| format!(": {source}")).unwrap_or_default();
        self.commit.fail(None, io::Error::new(kind_of(error), format!("{error}{cause}")));
        self.end_rounds();
    }

    fn end_rounds(&mut self) {
        while let Some(end) = self.commit.take_end() {
            match end {
                RoundEnd::Durable { logs } => {
                    for (id, number) in logs {
                        self.flushed(id, number);
                    }
                }
                RoundEnd::Failed { log, error } => self.failed(log, &error),
            }
        }
    }

    fn flushed(&mut self, id: TopicPartition, number: SyncNumber) {
        // One that was removed since its job ended, while others of the round ran: nobody else tells its log.
        let leaving = self.removing.iter_mut().find(|leaving| leaving.id == id);
        if let Some(leaving) = leaving.filter(|leaving| leaving.replica.log.sync_running()) {
            let _nobody_waits = leaving.replica.log.sync_finished(number, Ok(()));
            return;
        }
        if let Some(future) = self.futures.get_mut(&id).filter(|future| future.log.sync_running()) {
            let finished = future.log.sync_finished(number, Ok(()));
            return finished.map_or_else(|error| self.fail(&error), |_| ());
        }
        // One that was removed and made again meanwhile is not the log that was synced.
        let awaits = |replica: &&mut Replica<D, T, W>| replica.log.sync_running();
        let Some(replica) = self.replicas.get_mut(&id).filter(awaits) else { return };
        let flushed_end = match replica.log.sync_finished(number, Ok(())) {
            Ok(flushed_end) => flushed_end,
            Err(error) => return self.fail(&error),
        };
        let released =
            replica.partition.as_mut().map(|partition| partition.flushed(flushed_end, &self.peers));
        let follows = std::mem::take(&mut replica.follows_after_sync);
        self.answer(released.unwrap_or_default());
        if follows {
            self.follow(id);
        }
        self.wake(id);
    }

    fn failed(&mut self, log: Option<TopicPartition>, error: &io::Error) {
        let name =
            log.and_then(|id| self.replicas.get(&id)).map(|replica| replica.log.directory().to_owned());
        let ids: Vec<TopicPartition> = self.replicas.keys().copied().collect();
        for id in ids {
            let Some(replica) = self.replicas.get_mut(&id) else { continue };
            let watchers = std::mem::take(&mut replica.watchers);
            let released = replica.partition.as_mut().map(|partition| partition.fail());
            let follows = replica.take_follows();
            self.answer(released.unwrap_or_default());
            if follows {
                self.effects.push(Effect::Follow { partition: id, from: None });
            }
            self.effects.extend(watchers.into_iter().map(|watcher| Effect::Wake(watcher.token)));
        }
        let text = name.map_or_else(|| error.to_string(), |name| format!("log \"{name}\": {error}"));
        let error = io::Error::new(error.kind(), text);
        self.effects.push(Effect::Failed { error });
    }
}

/// What kind of I/O error it is, or wraps.
fn kind_of(error: &(dyn Error + 'static)) -> io::ErrorKind {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return error.kind();
        }
        next = error.source();
    }
    io::ErrorKind::Other
}
