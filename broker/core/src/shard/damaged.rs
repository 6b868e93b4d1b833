//! Logs that are on the disk and cannot serve: what was durable in them is no longer whole.
//!
//! Such a log stays as it is, and so does what the directory's checkpoints say of it: without its recovery
//! point the next start would take the damage for a torn tail and cut it. Its partition answers
//! KAFKA_STORAGE_ERROR, and no empty log takes its place while the partition counts on it.
//!
//! Once another broker leads and this one is neither in sync nor eligible, in an epoch of which nothing that this process
//! fetched for the log is remembered, the log gets another name (`-damaged`), an
//! empty one follows the leader in its place, and what was kept is removed when that one is in sync and reaches as far; not
//! before, since until then it may be all that is left. A leader that was elected uncleanly may have less: then it is
//! kept aside. Nothing of this is remembered: a start finds it by the names.

use std::time::Duration;

use super::assign::Assignment;
use super::effect::{Damage, Effect};
use super::{Fate, Shard};
use crate::disk::Disk;
use crate::ids::{LeaderEpoch, Offset, PartitionIndex, TopicId, TopicName, TopicPartition};
use crate::log::{DiskError, RottenBatch, keep_aside, keep_damaged, move_aside, parse_directory_name};
use crate::partition::{Partition, PartitionError};
use crate::planted::{self, Bug};
use crate::time::Monotonic;

/// How long others wait for one that is copied anew: it may follow a leader that never gives it everything.
const PATIENCE: Duration = Duration::from_secs(600);

/// One of them.
pub(super) struct Damaged {
    pub(super) directory: String,
    pub(super) name: (TopicName, PartitionIndex),
    /// Whose it is; `None` if that is part of the damage.
    pub(super) topic_id: Option<TopicId>,
    pub(super) recovery_point: Offset,
    pub(super) log_start: Offset,
    /// The newest leader epoch in which a leader may know, from fetches of this process, what the replica had.
    pub(super) known_in: Option<LeaderEpoch>,
}

impl Damaged {
    /// The partition it is a replica of, as far as it says.
    pub(super) fn partition(&self) -> Option<TopicPartition> {
        Some(TopicPartition { topic_id: self.topic_id?, partition: self.name.1 })
    }
}

/// One that is kept under another name until the one in its place is in sync.
pub(super) struct Kept {
    pub(super) id: TopicPartition,
    pub(super) directory: String,
    /// Its recovery point: below it everything was durable.
    pub(super) reaches: Offset,
    pub(super) since: Monotonic,
}

impl<D: Disk, T, W> Shard<D, T, W> {
    /// The partitions whose logs are damaged and still in their place, as far as these say whose they are: the
    /// controller must not count on them. [`Effect::Damage`] says what changes about them.
    pub fn damaged(&self) -> impl Iterator<Item = TopicPartition> + '_ {
        self.damaged.iter().filter_map(Damaged::partition)
    }

    /// What is wrong with a partition that has no replica here.
    pub(super) fn absent(&self, id: TopicPartition) -> PartitionError {
        let is_damaged = self.damaged().any(|damaged| damaged == id);
        if is_damaged { PartitionError::Storage } else { PartitionError::NotLeader }
    }

    /// Whether a damaged log has the place of this replica, and keeps it for now. One that does not say whose it is
    /// belongs to the first that is wanted there; one of an earlier topic of that name makes way.
    pub(super) fn is_damaged(&mut self, directory: &str, wanted: &Assignment) -> Result<bool, DiskError> {
        let id = wanted.partition;
        // A copy whose original is gone has another name.
        let has_place = |damaged: &Damaged| damaged.directory == directory || damaged.partition() == Some(id);
        let Some(at) = self.damaged.iter().position(has_place) else { return Ok(false) };
        if self.removing.iter().any(|leaving| leaving.replica.log.directory() == self.damaged[at].directory) {
            // It is under sync, and must not lose its directory to that.
            self.postponed.insert(id, wanted.clone());
            return Ok(true);
        }
        if self.damaged[at].topic_id.is_none() {
            self.damaged[at].topic_id = Some(id.topic_id);
            self.effects.push(Effect::Damage { partition: id, what: Damage::Found });
        }
        if self.damaged[at].topic_id != Some(id.topic_id) {
            self.move_damaged(at, false)?;
            return Ok(false);
        }
        if !wanted.registration.does_without(self.me) && !planted::is(Bug::ReplaceEligible) {
            return Ok(true);
        }
        if self.damaged[at].known_in >= Some(wanted.registration.leader_epoch) {
            // That leader would take the empty log for what it knows. The controller begins another epoch.
            return Ok(true);
        }
        if self.repairs_another(id) {
            // The next tick asks again.
            self.postponed.insert(id, wanted.clone());
            return Ok(true);
        }
        self.replace_damaged(at, id)?;
        Ok(false)
    }

    /// Whether another partition is being copied anew in the place of a damaged log, as far as it has somebody to copy
    /// from and does not take too long: one at a time, since as long as that lasts there are two logs on the disk.
    fn repairs_another(&self, id: TopicPartition) -> bool {
        let recent = |kept: &&Kept| kept.id != id && self.ticked_at.since(kept.since) < PATIENCE;
        self.kept.iter().filter(recent).any(|kept| {
            let machine = self.replicas.get(&kept.id).and_then(|replica| replica.partition.as_ref());
            machine.is_some_and(|machine| !machine.is_leader() && machine.registration().leader.is_some())
        })
    }

    fn replace_damaged(&mut self, at: usize, id: TopicPartition) -> Result<(), DiskError> {
        if self.kept.iter().any(|kept| kept.id == id) {
            // It was a copy itself. What it was to replace may have more, and so may it, if it has led since.
            return self.move_damaged(at, true);
        }
        let Damaged { directory, name, recovery_point: reaches, .. } = &self.damaged[at];
        let reaches = *reaches;
        let kept_as = keep_damaged(&self.disk, directory, &name.0, id, reaches)?;
        self.damaged.swap_remove(at);
        self.kept.push(Kept { id, directory: kept_as.clone(), reaches, since: self.ticked_at });
        self.effects.push(Effect::Damage { partition: id, what: Damage::Replaced { kept_as } });
        Ok(())
    }

    /// What was kept of a damaged log is not needed any more once its replica is in sync with another leader and has
    /// as much.
    pub(super) fn remove_kept_if_repaired(&mut self, id: TopicPartition) {
        let Some(at) = self.kept.iter().position(|kept| kept.id == id) else { return };
        let Some(replica) = self.replicas.get(&id) else { return };
        let me = self.me;
        let in_sync = |machine: &Partition<_>| {
            let registered = machine.registration();
            registered.isr.contains(&me) && registered.leader.is_some_and(|leader| leader != me)
        };
        if !replica.partition.as_ref().is_some_and(in_sync) {
            return;
        }
        let Kept { directory: from, reaches, .. } = &self.kept[at];
        let (has_all, from) = (replica.log.log_end() >= *reaches, from.clone());
        let what = if has_all {
            self.moved(from.clone(), from.clone(), false);
            Damage::Repaired { kept_as: from }
        } else {
            match keep_aside(&self.disk, &from, id.topic_id.0) {
                // Without a descriptor the next metadata asks again.
                Err(error) => return self.fail_if_asked(&error),
                Ok(to) => {
                    self.moved = true;
                    Damage::Longer { kept_as: to }
                }
            }
        };
        self.kept.swap_remove(at);
        self.effects.push(Effect::Damage { partition: id, what });
    }

    /// A read of a log in use found a batch that is not what was appended. It is looked at again. If the read was a leader's and another replica
    /// can take over, this one leads no more: its log stays as it is, and the controller is to hear of it. A leader that is
    /// alone goes on: it has what nobody else has. A follower gives consumers nothing any more of what it has by now; its
    /// leader reads it, and knows by the next fetch. Blocks on the disk.
    ///
    /// # Errors
    /// What whoever read is to hear: it finds the records with another replica. Without an error it gets them as they are,
    /// as it would from Kafka, and finds by their checksum which of them it cannot have.
    pub fn found_rot(&mut self, id: TopicPartition, at: RottenBatch) -> Result<(), PartitionError> {
        // What a disk that failed gives back is no rot of the log.
        if self.has_failed() {
            return Err(PartitionError::Storage);
        }
        let Some(replica) = self.replicas.get_mut(&id) else { return Err(self.absent(id)) };
        let machine = replica.machine()?;
        let has_successor = machine.has_successor(&self.peers) && !planted::is(Bug::KeepLeadingWithRot);
        let is_alone = machine.is_leader() && !has_successor;
        if is_alone && replica.rot_is_told {
            // Nothing comes of looking again.
            return Ok(());
        }
        match replica.log.is_rotten(at) {
            Ok(true) => {}
            // Its log was cut and went on meanwhile, or an index is wrong: whoever asked is to ask again.
            Ok(false) => return Err(PartitionError::NotLeader),
            Err(error) => {
                self.fail_if_asked(&error);
                return Err(PartitionError::Storage);
            }
        }
        if !machine.is_leader() {
            if replica.serves_from.replace(replica.log.log_end()).is_none() {
                self.effects.push(Effect::Damage { partition: id, what: Damage::AtFollower { at } });
            }
            self.follow(id);
            return Err(PartitionError::NotLeader);
        }
        if is_alone {
            replica.rot_is_told = true;
            self.effects.push(Effect::Damage { partition: id, what: Damage::Alone { at } });
            return Ok(());
        }
        let reaches = machine.high_watermark().min(replica.log.flushed_end());
        let Some(name) = parse_directory_name(replica.log.directory()) else { return Ok(()) };
        if let Err(error) = replica.log.mark_rotten(at) {
            // Without a descriptor the next read finds it again.
            self.fail_if_asked(&error);
            return Err(PartitionError::Storage);
        }
        self.damaged.push(Damaged {
            directory: replica.log.directory().to_owned(),
            name,
            topic_id: Some(id.topic_id),
            recovery_point: reaches,
            log_start: replica.log.log_start(),
            // Whoever leads next knows nothing of it.
            known_in: None,
        });
        self.effects.push(Effect::Damage { partition: id, what: Damage::Read { at } });
        self.let_go(id, Fate::LeftInPlace);
        Err(PartitionError::Storage)
    }

    /// Looks again at what lookups could not read. Blocks on the disk.
    pub(super) fn look_at_suspects(&mut self) {
        for (id, at) in std::mem::take(&mut self.suspects) {
            // Whoever asked was told already to ask again.
            let _told = self.found_rot(id, at);
        }
    }

    /// The partition is no longer wanted here: what is left of its log goes, too, or is kept aside where
    /// nobody said that its topic is gone.
    pub(super) fn take_out_damaged(&mut self, id: TopicPartition, stray: bool) {
        let damaged = self.damaged.iter().position(|damaged| damaged.partition() == Some(id));
        let in_use = self.removing.iter_mut().find(|one| one.id == id && one.fate == Fate::LeftInPlace);
        let moved = match (damaged, in_use) {
            (Some(at), Some(leaving)) => {
                leaving.fate = Fate::of_unwanted(stray);
                self.damaged.swap_remove(at);
                self.effects.push(Effect::Damage { partition: id, what: Damage::Gone });
                Ok(())
            }
            (Some(at), None) => self.move_damaged(at, stray),
            (None, _) => Ok(()),
        };
        if let Err(error) = moved.and_then(|()| self.take_out_kept(id, stray)) {
            self.fail(&error);
        }
    }

    fn take_out_kept(&mut self, id: TopicPartition, stray: bool) -> Result<(), DiskError> {
        let Some(at) = self.kept.iter().position(|kept| kept.id == id) else { return Ok(()) };
        let kept = self.kept.swap_remove(at);
        self.take_away(kept.directory, id.topic_id, stray)
    }

    fn move_damaged(&mut self, at: usize, stray: bool) -> Result<(), DiskError> {
        let damaged = self.damaged.swap_remove(at);
        if let Some(partition) = damaged.partition() {
            self.effects.push(Effect::Damage { partition, what: Damage::Gone });
        }
        self.take_away(damaged.directory, damaged.topic_id.unwrap_or_default(), stray)
    }

    /// Takes a log's directory away, or keeps it aside.
    fn take_away(&mut self, from: String, topic_id: TopicId, stray: bool) -> Result<(), DiskError> {
        let to = if stray {
            keep_aside(&self.disk, &from, topic_id.0)?
        } else {
            let unique = self.removal(topic_id);
            move_aside(&self.disk, &from, unique)?
        };
        self.moved(from, to, stray);
        Ok(())
    }
}
