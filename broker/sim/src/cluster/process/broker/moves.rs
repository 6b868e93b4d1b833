//! Replicas that change their log directory, as the binary's task brings them there; a piece with each step.

use ottla_core::ids::{DirectoryId, Offset, TopicPartition};
use ottla_core::log::find_rot;
use ottla_core::replicas::{CaughtUp, Move, Order, Relocated};
use ottla_core::shard::{Copied, CopyFrom, CopyPart, FollowProblem, Handed};

use super::super::{Died, Now, Observation, Output};
use super::{Broker, Producer};
use crate::coverage::Happening;

/// How much is brought at once.
const CHUNK_BYTES: u32 = 2_000;

/// How a piece of a copy went.
enum Piece {
    /// There may be more.
    Brought,
    /// The copy has everything.
    HasAll { durably: bool },
    /// Not now.
    Later,
    /// Never.
    Unusable,
}

impl Broker {
    /// Somebody asks for a replica in another directory.
    pub(crate) fn relocate(
        &mut self,
        partition: TopicPartition,
        to: usize,
        observations: &mut Vec<Observation>,
    ) {
        if let Ok(relocated) = self.replicas.relocate(partition, to) {
            observations.push(Observation::Happened(Happening::DirectoryChangeAsked));
            self.relocated(partition, &relocated);
        }
    }

    /// The replicas that are on their way to another directory.
    pub(crate) fn moving(&self) -> impl Iterator<Item = TopicPartition> + '_ {
        self.moves.iter().map(|made| made.partition)
    }

    fn relocated(&mut self, partition: TopicPartition, relocated: &Relocated) {
        if relocated.is_stopped {
            self.moves.retain(|made| made.partition != partition);
            self.lifecycle.forget_assignment(partition);
        }
        if let Some(shard) = relocated.ended.and_then(|shard| self.shards[shard].as_mut()) {
            shard.end_copy(partition);
        }
        if let Some(shard) = relocated.orphaned {
            self.order(Order::Orphan { shard, partition });
        }
        if let Some(directory) = relocated.assign {
            self.lifecycle.assign_directory(partition, directory);
        }
    }

    /// The controller knows where a replica is.
    pub(super) fn assignment_accepted(&mut self, partition: TopicPartition, directory: DirectoryId) {
        for order in self.replicas.assignment_accepted(partition, directory) {
            if let Some(shard) = &mut self.shards[order.shard()] {
                shard.end_copy(partition);
            }
        }
    }

    /// Brings a piece of each copy, and ends those that are wanted in their place by now.
    pub(super) fn copy(
        &mut self,
        now: Now,
        outputs: &mut Vec<Output>,
        observations: &mut Vec<Observation>,
    ) -> Result<(), Died> {
        self.moves.extend(self.replicas.take_moves());
        for made in self.moves.clone() {
            let Move { partition, to, .. } = made;
            let ended = match self.piece(&made, now) {
                Piece::Brought | Piece::Later | Piece::HasAll { durably: false } => false,
                Piece::HasAll { durably: true } => match self.replicas.caught_up(partition, to) {
                    CaughtUp::End => {
                        let relocated = self.replicas.give_up(partition, to);
                        self.relocated(partition, &relocated);
                        true
                    }
                    CaughtUp::Assign(directory) => {
                        self.lifecycle.assign_directory(partition, directory);
                        false
                    }
                    CaughtUp::Switch => {
                        self.switch(&made, now, outputs, observations)?;
                        true
                    }
                },
                Piece::Unusable => {
                    let relocated = self.replicas.give_up(partition, to);
                    self.relocated(partition, &relocated);
                    true
                }
            };
            if ended {
                self.moves.retain(|other| *other != made);
            }
        }
        Ok(())
    }

    fn piece(&mut self, made: &Move, now: Now) -> Piece {
        let Move { partition, from, to, topic, config } = made;
        let partition = *partition;
        let Some(goes_on) = self.copied(made, None, now) else {
            let Some(shard) = self.shards[*to].as_mut().filter(|shard| !shard.has_failed()) else {
                return Piece::Unusable;
            };
            shard.begin_copy(partition, topic, config);
            return Piece::Later;
        };
        let Some(shard) = &mut self.shards[*from] else { return Piece::Unusable };
        let Ok(part) = shard.locate_copy(partition, goes_on, CHUNK_BYTES) else { return Piece::Unusable };
        let given = match part {
            CopyPart::Diverging(end) => Copied::Diverging(end),
            CopyPart::BelowLogStart(offset) => Copied::BelowLogStart(offset),
            CopyPart::Records { plan, log_start, .. } if plan.length == 0 => {
                let given = Copied::Records { bytes: bytes::Bytes::new(), log_start };
                let goes_on = self.copied(made, Some((goes_on.offset, given)), now);
                let durably = goes_on.is_some_and(|goes_on| goes_on.is_durable);
                return Piece::HasAll { durably };
            }
            CopyPart::Records { plan, log_start, .. } => {
                let bytes = match plan.run() {
                    Ok(bytes) => bytes,
                    Err(error) => {
                        shard.disk_failed(&error);
                        return Piece::Unusable;
                    }
                };
                if let Some(at) = find_rot(plan.segment, plan.position, &bytes) {
                    let _whatever_comes_of_it = shard.found_rot(partition, at);
                    return Piece::Unusable;
                }
                Copied::Records { bytes, log_start }
            }
        };
        match self.copied(made, Some((goes_on.offset, given)), now).map(|goes_on| goes_on.problem) {
            Some(None) => Piece::Brought,
            None | Some(Some(FollowProblem::Full | FollowProblem::NoDescriptor)) => Piece::Later,
            Some(Some(_)) => Piece::Unusable,
        }
    }

    fn copied(&mut self, made: &Move, given: Option<(Offset, Copied)>, now: Now) -> Option<CopyFrom> {
        self.shards[made.to].as_mut()?.copied(made.partition, given, now.wall)
    }

    /// Has a replica go over at once: in between nothing else happens here.
    fn switch(
        &mut self,
        made: &Move,
        now: Now,
        outputs: &mut Vec<Output>,
        observations: &mut Vec<Observation>,
    ) -> Result<(), Died> {
        let partition = made.partition;
        let handed = self.shards[made.from].as_mut().and_then(|shard| shard.hand_over(partition));
        // What it has to say of the replica comes before what the other has.
        self.perform(now, outputs, observations)?;
        let whole = handed.is_some() && self.bring_rest(made, now);
        let Some(shard) = &mut self.shards[made.to] else { return Ok(()) };
        let Some(handed) = handed else {
            shard.orphan(partition, None);
            return Ok(());
        };
        // Now and then it cannot be adopted, as for want of a descriptor.
        let refused = self.rng.permille(50);
        let adopted = if whole && !refused { shard.adopt(partition, handed) } else { Err(handed) };
        match adopted {
            Ok(()) => {
                observations.push(Observation::Happened(Happening::DirectoryChanged));
                if let Some(shard) = &mut self.shards[made.from] {
                    shard.remove_frozen(partition);
                }
            }
            Err(handed) => self.go_back(made, handed, observations),
        }
        Ok(())
    }

    /// Nothing was appended since the replica was handed over: it goes on where it was.
    fn go_back(&mut self, made: &Move, handed: Box<Handed<Producer>>, observations: &mut Vec<Observation>) {
        let Move { partition, from, to, .. } = *made;
        let back = self.replicas.moved_back(partition, from, to);
        let taken = match self.shards[from].as_mut().zip(back) {
            Some((shard, back)) => shard.take_back(partition, handed).map(|()| back),
            None => Err(handed),
        };
        match taken {
            Ok((order, relocated)) => {
                observations.push(Observation::Happened(Happening::DirectoryChangeTakenBack));
                self.order(order);
                self.relocated(partition, &relocated);
            }
            Err(handed) => {
                if let Some(shard) = &mut self.shards[to] {
                    shard.orphan(partition, Some(handed));
                }
            }
        }
    }

    /// Whether everything was brought.
    fn bring_rest(&mut self, made: &Move, now: Now) -> bool {
        loop {
            match self.piece(made, now) {
                Piece::Brought => {}
                Piece::HasAll { .. } => return true,
                Piece::Later | Piece::Unusable => return false,
            }
        }
    }
}
