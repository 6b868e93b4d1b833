//! What the controller wants of the replicas here: made, changed, removed.

use std::sync::Arc;

use uuid::Uuid;

use super::effect::Effect;
use super::replica::{Parked, Replica, ack_settings, log_config};
use super::{Fate, Leaving, Shard};
use crate::config::TopicConfig;
use crate::disk::{Disk, is_no_descriptor};
use crate::ids::{Offset, TopicId, TopicName, TopicPartition};
use crate::log::{Log, directory_name};
use crate::metadata::image;
use crate::partition::{Partition, PartitionError, Released};

/// One replica as the controller wants it.
#[derive(Debug, Clone)]
pub struct Assignment {
    /// Which partition.
    pub partition: TopicPartition,
    /// The topic's name: the log's directory is named after it.
    pub topic: TopicName,
    /// What is registered.
    pub registration: Arc<image::Partition>,
    /// The topic's settings, resolved by this broker.
    pub config: TopicConfig,
}

impl<D: Disk, T, W> Shard<D, T, W> {
    /// Makes the replica if it is not there, and takes over what is registered and configured. A directory
    /// of the same name that belongs to an earlier topic of that name is removed first.
    pub fn assign(&mut self, assignment: Assignment) {
        if self.has_failed() {
            return;
        }
        let id = assignment.partition;
        // What was wanted before this is not wanted any more, and must not come after it.
        self.postponed.remove(&id);
        // It was taken from this broker while it went elsewhere, and is wanted here again.
        self.remove_frozen(id);
        if !self.replicas.contains_key(&id) && !self.make(&assignment) {
            return;
        }
        let me = self.me;
        let Some(replica) = self.replicas.get_mut(&id) else { return };
        replica.log.configure(&log_config(&assignment.config));
        self.producers.check_every(assignment.config.producer_check_interval);
        let positions = replica.positions();
        let registration = Arc::clone(&assignment.registration);
        let epoch_before = replica.partition.as_ref().map(|partition| partition.registration().leader_epoch);
        let led_before = replica.partition.as_ref().is_some_and(Partition::is_leader);
        let in_sync = |partition: &Partition<_>| partition.registration().isr.contains(&me);
        let in_sync_before = replica.partition.as_ref().is_some_and(in_sync);
        let settings = ack_settings(&assignment.config);
        let durability_before = replica.partition.as_ref().map(Partition::durability);
        let released = match &mut replica.partition {
            Some(partition) => partition.register(registration, settings, &self.peers),
            empty @ None => {
                let high_watermark = replica.high_watermark_on_disk;
                let machine =
                    Partition::new(me, registration, positions, high_watermark, settings, &self.peers);
                *empty = Some(machine);
                Vec::new()
            }
        };
        let partition = replica.partition.as_ref().expect("it was just set");
        let leads = partition.is_leader();
        let left_isr = in_sync_before && !in_sync(partition);
        let leader_epoch = partition.registration().leader_epoch;
        if leads {
            if !led_before {
                // What it had no room for as a follower says nothing of what producers send.
                replica.refused_bytes = None;
            }
            replica.log.assign_epoch(leader_epoch);
        } else {
            replica.log.forget_begun_epoch();
        }
        if replica.log.needs_sync() {
            // A new log's name is durable before anything in it is acknowledged.
            self.commit.want_sync(id);
        }
        // Who waits at a follower hears of a new leadership, and is not kept by one that falls behind.
        let goes_on = leads && led_before || !left_isr && epoch_before == Some(leader_epoch);
        if !goes_on {
            self.wake_all(id);
        }
        self.answer(released);
        if epoch_before != Some(leader_epoch) {
            self.cut_by_high_watermark_if_planted(id);
            self.forget_producers_if_planted(id);
        }
        // Its leader counts what is durable from now on, or no longer.
        if epoch_before != Some(leader_epoch) || durability_before != Some(settings.durability) {
            self.follow(id);
        }
        self.propose(id);
        self.wake(id);
        self.remove_kept_if_repaired(id);
    }

    /// The replica is no longer wanted here: its log is moved out of the way and then removed.
    pub fn remove(&mut self, id: TopicPartition) {
        self.take_out(id, false);
    }

    /// A log was found that belongs to no replica of this broker, and nobody said that its topic was deleted:
    /// what holds records is moved out of the way and kept, as Kafka does.
    pub fn set_aside(&mut self, id: TopicPartition) {
        self.take_out(id, true);
    }

    fn take_out(&mut self, id: TopicPartition, stray: bool) {
        self.postponed.remove(&id);
        self.end_copy(id);
        self.take_out_damaged(id, stray);
        self.let_go(id, Fate::of_unwanted(stray));
    }

    /// The replica serves no more; its log is closed when it is not under sync.
    pub(super) fn let_go(&mut self, id: TopicPartition, fate: Fate) {
        let Some(mut replica) = self.replicas.remove(&id) else { return };
        if let Some(mut partition) = replica.partition.take() {
            let mut released = partition.fail();
            for released in &mut released {
                released.verdict = Err(PartitionError::NotLeader);
            }
            self.answer(released);
        }
        if replica.take_follows() {
            self.effects.push(Effect::Follow { partition: id, from: None });
        }
        let watchers = std::mem::take(&mut replica.watchers);
        self.effects.extend(watchers.into_iter().map(|watcher| Effect::Wake(watcher.token)));
        self.removing.push(Leaving { id, replica, fate });
        self.remove_idle();
    }

    /// Removes the logs that wait for it and are not under sync.
    pub(super) fn remove_idle(&mut self) {
        let mut index = 0;
        while index < self.removing.len() {
            if self.removing[index].replica.log.sync_running() {
                index += 1;
                continue;
            }
            let Leaving { mut replica, fate, .. } = self.removing.swap_remove(index);
            if fate == Fate::LeftInPlace {
                continue;
            }
            let topic_id = replica.log.topic_id();
            let keep = fate == Fate::KeptAside && replica.log.holds_records();
            let from = replica.log.directory().to_owned();
            let to = if keep {
                replica.log.set_aside(topic_id.0)
            } else {
                replica.log.remove(self.removal(topic_id))
            };
            match to {
                Ok(to) => self.moved(from, to, keep),
                Err(error) => self.fail(&error),
            }
        }
        for assignment in std::mem::take(&mut self.postponed).into_values() {
            self.assign(assignment);
        }
    }

    /// What makes the name of a removed log unlike every other's: a replica may be moved away, back and away again before
    /// what it left the first time is removed.
    pub(super) fn removal(&mut self, topic_id: TopicId) -> Uuid {
        self.removals += 1;
        Uuid::from_u128(topic_id.0.as_u128() ^ u128::from(self.removals) << 64)
    }

    /// A log's directory has another name, not durably yet.
    pub(super) fn moved(&mut self, from: String, to: String, keep: bool) {
        self.moved = true;
        if keep {
            self.effects.push(Effect::SetAside { from, to });
        } else {
            self.unwanted.push(to);
        }
    }

    /// Makes the replica's log; false if it cannot be made now.
    fn make(&mut self, assignment: &Assignment) -> bool {
        let directory = directory_name(&assignment.topic, assignment.partition.partition);
        let earlier: Vec<TopicPartition> = self
            .replicas
            .iter()
            .filter(|(_, replica)| replica.log.directory() == directory)
            .map(|(id, _)| *id)
            .collect();
        for id in earlier {
            self.remove(id);
        }
        if self.removing.iter().any(|leaving| leaving.replica.log.directory() == directory) {
            // The log of an earlier topic of that name is under sync, and must not lose its directory to this.
            self.postponed.insert(assignment.partition, assignment.clone());
            return false;
        }
        self.orphan_if_copied(assignment);
        match self.is_damaged(&directory, assignment) {
            Ok(false) => {}
            Ok(true) => return false,
            Err(error) => {
                self.not_made(assignment, &error);
                return false;
            }
        }
        let config = log_config(&assignment.config);
        let (name, topic_id) = (assignment.topic.clone(), assignment.partition.topic_id);
        let recovery_point = self.recovery_point_on_disk(&(name, assignment.partition.partition));
        match Log::create(self.disk.clone(), &directory, topic_id, &config, recovery_point) {
            Ok(mut log) => {
                log.count_producers_from(self.peers.now);
                self.replicas.insert(assignment.partition, Replica::new(log, Offset(0)));
                true
            }
            Err(error) => {
                self.not_made(assignment, &error);
                false
            }
        }
    }

    fn not_made(&mut self, assignment: &Assignment, error: &(dyn std::error::Error + 'static)) {
        if is_no_descriptor(error) {
            // The next tick tries again.
            self.postponed.insert(assignment.partition, assignment.clone());
        }
        self.fail_if_asked(error);
    }

    pub(super) fn answer(&mut self, released: Vec<Released<Parked<T>>>) {
        self.effects.extend(released.into_iter().map(|released| Effect::Answer {
            waiting: released.waiting.waiting,
            result: released.verdict.map(|()| released.waiting.produced),
        }));
    }

    /// Wakes the readers that there is something for.
    pub(super) fn wake(&mut self, id: TopicPartition) {
        let Some(replica) = self.replicas.get_mut(&id) else { return };
        self.effects.extend(replica.take_woken().into_iter().map(Effect::Wake));
    }

    pub(super) fn wake_all(&mut self, id: TopicPartition) {
        let Some(replica) = self.replicas.get_mut(&id) else { return };
        let watchers = std::mem::take(&mut replica.watchers);
        self.effects.extend(watchers.into_iter().map(|watcher| Effect::Wake(watcher.token)));
    }
}
