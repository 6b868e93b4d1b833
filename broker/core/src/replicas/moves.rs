//! Replicas that change their log directory (KIP-113, KIP-858).
//!
//! A copy is made first; when it has everything the controller is told of the new directory, and when an image says that it
//! knows, the copy takes the replica's place. So whichever directory fails, the controller takes the loss of those
//! replicas for granted that are in it.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Held, Order, Replicas, resolve};
use crate::config::TopicConfig;
use crate::ids::{DirectoryId, LeaderEpoch, TopicName, TopicPartition};
use crate::shard::Assignment;

/// A copy of a replica in another directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Future {
    /// Which shard has it.
    pub(super) shard: usize,
    /// Whether somebody copies.
    is_running: bool,
    /// Whether the controller was to be told of its directory: it may believe in that from then on.
    is_told: bool,
    /// Whether it has taken that since. An image alone does not say so: it may be from before the controller took
    /// another one.
    is_accepted: bool,
}

impl Future {
    fn new(shard: usize) -> Self {
        Self { shard, is_running: false, is_told: false, is_accepted: false }
    }
}

/// A copy to be made: batches of the one log are to be brought to the other until [`Replicas::caught_up`] ends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Move {
    /// Of this replica.
    pub partition: TopicPartition,
    /// The shard that has it.
    pub from: usize,
    /// The shard that is to have it.
    pub to: usize,
    /// Its topic's name.
    pub topic: TopicName,
    /// Its topic's settings.
    pub config: Arc<TopicConfig>,
}

/// What is next for a copy that has everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CaughtUp {
    /// The controller is to know of the directory; until it does the copying goes on.
    Assign(DirectoryId),
    /// From now on the replica is where the copy is: the routes say so, and what is asked of it waits there until it has
    /// been handed over.
    Switch,
    /// Nobody wants the copy any more.
    End,
}

/// Why a replica is not moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MoveRefusal {
    /// This broker has no such replica.
    #[error("this broker has no replica of the partition")]
    NotHere,
    /// Its directory, or the one that it is to go to, has failed.
    #[error("a log directory has failed")]
    Storage,
}

/// What changes about the copies of a replica.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Relocated {
    /// Whether nobody copies to where it was to be any more.
    pub is_stopped: bool,
    /// The shard that has a copy which is to go.
    pub ended: Option<usize>,
    /// The shard that has a copy of what is gone, where the controller believes the replica to be.
    pub orphaned: Option<usize>,
    /// The directory that the controller is to be told of.
    pub assign: Option<DirectoryId>,
}

impl Replicas {
    /// A directory was opened with future logs of these, whose copying goes on.
    pub fn found_futures(&mut self, shard: usize, partitions: impl IntoIterator<Item = TopicPartition>) {
        self.futures.extend(partitions.into_iter().map(|partition| (partition, Future::new(shard))));
    }

    /// Wants a replica in another directory, in place of what was wanted of it before; in its own directory it stays.
    /// [`Replicas::take_moves`] says what is to be copied.
    ///
    /// # Errors
    /// If it is not here, or cannot go there.
    pub fn relocate(&mut self, partition: TopicPartition, to: usize) -> Result<Relocated, MoveRefusal> {
        let held = self.held.get(&partition).filter(|held| held.assigned).ok_or(MoveRefusal::NotHere)?;
        let from = held.shard;
        if !self.works(from) || !self.works(to) {
            return Err(MoveRefusal::Storage);
        }
        if self.futures.get(&partition).is_some_and(|future| future.shard == to) {
            return Ok(Relocated::default());
        }
        let before = self.futures.remove(&partition);
        let relocated = before.map_or_else(Relocated::default, |future| self.abandon(partition, future));
        if from != to {
            // A copy that was to go may be there still.
            let is_told = self.abandoned.get_mut(&partition).is_some_and(|shards| shards.remove(&to));
            self.futures.insert(partition, Future { is_told, ..Future::new(to) });
        }
        Ok(relocated)
    }

    /// Nobody wants a copy any more. While the controller may believe in its directory it stays: without it a start that
    /// finds neither this nor the replica's own log would make an empty one, and count.
    fn abandon(&mut self, partition: TopicPartition, future: Future) -> Relocated {
        let Future { shard, is_told, .. } = future;
        let registered = self.image.partition(partition.topic_id, partition.partition);
        let is_believed = registered
            .is_some_and(|registered| registered.directory_of(self.me) == self.directories[shard].id);
        let mut relocated = Relocated { is_stopped: true, ..Relocated::default() };
        if is_told || is_believed {
            self.abandoned.entry(partition).or_default().insert(shard);
        } else {
            relocated.ended = Some(shard);
        }
        // Also of an earlier copy the controller may yet believe that it is the replica.
        if self.abandoned.contains_key(&partition) {
            relocated.assign = self.held.get(&partition).map(|held| self.directories[held.shard].id);
        }
        relocated
    }

    /// The controller knows that a replica is in that directory: copies elsewhere that nobody wants may go.
    pub fn assignment_accepted(&mut self, partition: TopicPartition, directory: DirectoryId) -> Vec<Order> {
        if let Some(future) = self.futures.get_mut(&partition) {
            future.is_accepted = future.is_told && self.directories[future.shard].id == directory;
        }
        let Some(shards) = self.abandoned.remove(&partition) else { return Vec::new() };
        let (kept, ended): (BTreeSet<usize>, BTreeSet<usize>) =
            shards.into_iter().partition(|shard| self.directories[*shard].id == directory);
        if !kept.is_empty() {
            self.abandoned.insert(partition, kept);
        }
        ended.into_iter().map(|shard| Order::EndCopy { shard, partition }).collect()
    }

    /// The copies that nobody makes yet: those that were asked for, and those that a start found.
    pub fn take_moves(&mut self) -> Vec<Move> {
        let mut moves = Vec::new();
        for (partition, future) in &mut self.futures {
            let Some(Held { shard: from, config: Some(config), assigned: true }) = self.held.get(partition)
            else {
                continue;
            };
            let Some(topic) = self.image.topics.get(&partition.topic_id) else { continue };
            if future.is_running || [*from, future.shard].iter().any(|shard| self.failed.contains(shard)) {
                continue;
            }
            future.is_running = true;
            let (topic, config) = (topic.name.clone(), Arc::clone(config));
            moves.push(Move { partition: *partition, from: *from, to: future.shard, topic, config });
        }
        moves
    }

    /// A copy has everything that its replica has.
    pub fn caught_up(&mut self, partition: TopicPartition, to: usize) -> CaughtUp {
        let future = self.futures.get(&partition).copied().filter(|future| future.shard == to);
        let is_wanted = future.is_some();
        let is_accepted = future.is_some_and(|future| future.is_accepted);
        let registered = self.image.partition(partition.topic_id, partition.partition);
        let held = self.held.get(&partition).filter(|_| is_wanted && self.works(to)).cloned();
        let Some((held, registered)) = held.zip(registered) else { return CaughtUp::End };
        let id = self.directories[to].id;
        if registered.directory_of(self.me) != id || !is_accepted {
            if let Some(future) = self.futures.get_mut(&partition) {
                future.is_told = true;
            }
            return CaughtUp::Assign(id);
        }
        self.futures.remove(&partition);
        self.hold(partition, Held { shard: to, ..held });
        *self.going_over.entry(partition).or_default() += 1;
        CaughtUp::Switch
    }

    /// A copy that was to be switched to has ended, whatever came of it. What is to be done with a replica that was taken
    /// from this broker and given back before: what its shards have of the earlier one is on its way out by now.
    pub fn switch_ended(&mut self, partition: TopicPartition) -> Vec<Order> {
        let mut orders = Vec::new();
        if let Some(count) = self.going_over.get_mut(&partition) {
            *count -= 1;
            if *count == 0 {
                self.going_over.remove(&partition);
            }
        }
        if !self.going_over.contains_key(&partition) && self.given_back.remove(&partition) {
            let image = self.image.clone();
            let topic = image.topics.get(&partition.topic_id);
            if let Some((topic, registration)) =
                topic.and_then(|topic| Some((topic, topic.partitions.get(&partition.partition)?)))
            {
                let config = resolve(&image, &image.layers(self.me, &self.fixed), topic);
                self.assign(topic, partition, registration, config, &mut orders);
            }
        }
        orders
    }

    /// A replica that was to go over is where it was: the routes are to say so, and its shard what is registered by now.
    /// Nobody copies to where it was to go; a copy to a third directory, wanted meanwhile, is to be made from here.
    /// `None` if it is not wanted here any more, or cannot be there.
    pub fn moved_back(
        &mut self,
        partition: TopicPartition,
        from: usize,
        to: usize,
    ) -> Option<(Order, Relocated)> {
        let held = self.held.get(&partition).filter(|held| held.shard == to && self.works(from))?.clone();
        let topic = self.image.topics.get(&partition.topic_id)?;
        let registration = Arc::clone(topic.partitions.get(&partition.partition)?);
        let (topic, config) = (topic.name.clone(), **held.config.as_ref()?);
        self.hold(partition, Held { shard: from, ..held });
        let wanted = self.futures.remove(&partition).filter(|future| future.shard != from);
        self.futures.extend(wanted.map(|future| (partition, Future { is_running: false, ..future })));
        let relocated = self.abandon(partition, Future { is_told: true, ..Future::new(to) });
        let assignment = Box::new(Assignment { partition, topic, registration, config });
        Some((Order::Assign { shard: from, assignment }, relocated))
    }

    /// Whether the controller knows, as far as this broker has heard, that a replica is in that shard's directory. `None`
    /// if it is there no more, or lost with its directory.
    pub fn is_known_in(&self, partition: TopicPartition, shard: usize) -> Option<bool> {
        self.held.get(&partition).filter(|held| held.shard == shard && self.works(shard))?;
        let registered = self.image.partition(partition.topic_id, partition.partition)?;
        Some(registered.directory_of(self.me) == self.directories[shard].id)
    }

    /// A copy cannot be made: the replica stays where it is. If that is gone, what the copy has is kept: it is all there is
    /// on this broker.
    pub fn give_up(&mut self, partition: TopicPartition, to: usize) -> Relocated {
        let Some(future) = self.futures.get_mut(&partition).filter(|future| future.shard == to) else {
            return Relocated::default();
        };
        future.is_running = false;
        let future = *future;
        if self.held.get(&partition).is_none_or(|held| self.works(held.shard)) {
            self.futures.remove(&partition);
            return self.abandon(partition, future);
        }
        let registered = self.image.partition(partition.topic_id, partition.partition);
        let chosen = registered.and_then(|registered| self.chosen(registered));
        Relocated { orphaned: self.take_orphan(partition, chosen), ..Relocated::default() }
    }

    /// What a copy there copied is gone.
    pub fn orphan(&self, shard: usize, partition: TopicPartition) -> Order {
        let registered = self.image.partition(partition.topic_id, partition.partition);
        let known_in = registered.map_or(LeaderEpoch(0), |registered| registered.leader_epoch);
        Order::Orphan { shard, partition, known_in }
    }

    /// The shard that has a copy of a replica whose own directory has failed, if the controller believes in that one.
    pub(super) fn take_orphan(&mut self, partition: TopicPartition, chosen: Option<usize>) -> Option<usize> {
        let is_gone = self.held.get(&partition).is_some_and(|held| self.failed.contains(&held.shard));
        let future = self.futures.get(&partition).filter(|future| is_gone && chosen == Some(future.shard))?;
        let shard = future.shard;
        self.futures.remove(&partition);
        Some(shard)
    }

    /// Whether a replica is being copied to there.
    pub(super) fn is_copied_to(&self, partition: TopicPartition, shard: usize) -> bool {
        self.futures.get(&partition).is_some_and(|future| future.shard == shard)
    }

    /// A replica was given to the shard that had a copy of it.
    pub(super) fn forget_future(&mut self, partition: TopicPartition, shard: usize) {
        if self.is_copied_to(partition, shard) {
            self.futures.remove(&partition);
        }
    }

    /// A replica is not wanted here any more, nor are its copies.
    pub(super) fn end_copies(&mut self, partition: TopicPartition, orders: &mut Vec<Order>) {
        let future = self.futures.remove(&partition).map(|future| future.shard);
        let shards = self.abandoned.remove(&partition).into_iter().flatten().chain(future);
        orders.extend(shards.map(|shard| Order::EndCopy { shard, partition }));
    }

    /// Copies of replicas that this broker has not.
    pub(super) fn end_stray_copies(&mut self, orders: &mut Vec<Order>) {
        let image = &self.image;
        let stray = |id: &TopicPartition| {
            let partition = image.partition(id.topic_id, id.partition);
            !partition.is_some_and(|partition| partition.replicas.contains(&self.me))
        };
        let ended: Vec<TopicPartition> = self.futures.keys().copied().filter(stray).collect();
        ended.into_iter().for_each(|partition| self.end_copies(partition, orders));
    }
}
