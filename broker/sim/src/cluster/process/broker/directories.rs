//! The log directories of a broker: how they are opened, and which of them has what.

use ottla_core::disk::{Disk, DiskFile, OpenMode};
use ottla_core::ids::{BrokerEpoch, DirectoryId, NodeId, TopicPartition};
use ottla_core::log::OpenError;
use ottla_core::log::checkpoints::{CLEAN_SHUTDOWN, parse_clean_shutdown};
use ottla_core::partition::PartitionError;
use ottla_core::replicas::{LogDirectory, Order, Replicas};

use super::moves::Kept;
use super::{Broker, SimShard};
use crate::cluster::node::{Identity, PLACES, in_place};
use crate::cluster::process::{Now, Observation, StartError};
use crate::coverage::Happening;
use crate::disk::SimDisk;

/// What a broker finds at its start.
pub(super) struct Directories {
    /// One to each log directory; none to one that cannot be opened.
    pub(super) shards: Vec<Option<SimShard>>,
    pub(super) replicas: Replicas,
    /// Those that cannot be opened.
    pub(super) failed: Vec<DirectoryId>,
    /// The epoch of the broker that last stopped in order, if all directories say so.
    pub(super) clean: Option<BrokerEpoch>,
}

/// Opens them. One may fail at that, and the broker goes on without it if it can.
pub(super) fn open(
    identity: &Identity,
    disk: &SimDisk,
    lacks_second: bool,
    now: Now,
    observations: &mut Vec<Observation>,
) -> Result<Directories, StartError> {
    let ids = &identity.log_directories;
    let known = ids.iter().map(|id| LogDirectory {
        id: *id,
        holds_metadata_log: identity.is_controller && *id == identity.directory_id,
    });
    let mut replicas = Replicas::new(identity.node_id, known.collect(), identity.settings.clone());
    // What the logs are opened with takes the mark away.
    let marks: Vec<Option<BrokerEpoch>> =
        PLACES.iter().zip(ids).map(|(place, _)| closed_by(&disk.within(place))).collect();
    let (mut shards, mut failed, mut all) = (Vec::new(), Vec::new(), Vec::new());
    for (index, (place, id)) in PLACES.iter().zip(ids).enumerate() {
        let opened = if index > 0 && lacks_second {
            observations.push(Observation::Happened(Happening::DirectoryMissing));
            Err(StartError::Disk("it is not there".to_owned()))
        } else {
            open_one(identity.node_id, disk, place, now, observations)
        };
        match opened {
            Ok((shard, found)) => {
                replicas.opened(index, shard.partitions());
                replicas.found_futures(index, shard.futures());
                all.extend(found);
                shards.push(Some(shard));
            }
            Err(StartError::Disk(_)) if !disk.is_stopped() && replicas.failed(index).is_none() => {
                failed.push(*id);
                shards.push(None);
            }
            Err(error) => return Err(error),
        }
    }
    // What is in a directory that is missing is not lost.
    if failed.is_empty() {
        observations.push(Observation::Opened(all));
    }
    let clean = marks.iter().all(|mark| *mark == marks[0]).then_some(marks[0]).flatten();
    Ok(Directories { shards, replicas, failed, clean })
}

fn closed_by(disk: &SimDisk) -> Option<BrokerEpoch> {
    let file = disk.open(CLEAN_SHUTDOWN, OpenMode::Existing).ok()?;
    let mut bytes = vec![0; usize::try_from(file.length().ok()?).ok()?];
    file.read_at(&mut bytes, 0).ok()?;
    parse_clean_shutdown(&String::from_utf8(bytes).ok()?)
}

type Found = Vec<(String, TopicPartition)>;

fn open_one(
    node_id: NodeId,
    disk: &SimDisk,
    place: &str,
    now: Now,
    observations: &mut Vec<Observation>,
) -> Result<(SimShard, Found), StartError> {
    let opened = SimShard::open(node_id, disk.within(place), now.monotonic)
        .map_err(|error| StartError::Disk(error.to_string()))?;
    let mut found = Vec::new();
    for log in opened.logs {
        match log.result {
            Ok((partition, report)) => {
                let clean = opened.clean.is_some();
                let how = if clean { Happening::LogOpenedClean } else { Happening::LogRecovered };
                observations.push(Observation::Happened(how));
                if report.cut_bytes > 0 {
                    observations.push(Observation::Happened(Happening::TailCut));
                }
                found.push((in_place(place, &log.directory), partition));
            }
            // Nothing in it was ever acknowledged; the checker will say so if that is wrong.
            Err(OpenError::Unfinished { .. }) => {}
            Err(OpenError::Corrupt { directory, .. }) => {
                observations.push(Observation::Damaged(in_place(place, &directory)));
            }
            Err(OpenError::Disk(error)) => return Err(StartError::Disk(format!("{error:?}"))),
        }
    }
    Ok((opened.shard, found))
}

impl Broker {
    /// The shard that has a replica.
    ///
    /// # Errors
    /// As the binary's handles answer: nobody has it, or whoever had it is gone with its directory.
    pub(super) fn shard(&mut self, partition: TopicPartition) -> Result<&mut SimShard, PartitionError> {
        let held = self.replicas.routes().get(&partition).ok_or(PartitionError::NotLeader)?;
        self.shards[held.shard].as_mut().ok_or(PartitionError::Storage)
    }

    /// The shards of the directories that could be opened.
    pub(super) fn open_shards(&self) -> impl Iterator<Item = &SimShard> {
        self.shards.iter().flatten()
    }

    /// The same, to be told something.
    pub(super) fn open_shards_mut(&mut self) -> impl Iterator<Item = &mut SimShard> {
        self.shards.iter_mut().flatten()
    }

    pub(super) fn order(&mut self, order: Order) {
        let waits_for = match &order {
            Order::EndCopy { partition, .. } => {
                self.stop_copies(*partition);
                self.lifecycle.forget_assignment(*partition);
                None
            }
            Order::Orphan { partition, .. } => {
                self.stop_copies(*partition);
                None
            }
            Order::Assign { assignment, .. } => Some(assignment.partition),
            Order::Remove { partition, .. } | Order::SetAside { partition, .. } => Some(*partition),
        };
        let order = match waits_for {
            Some(partition) => match self.keep(order.shard(), partition, Kept::Order(order)) {
                Some(Kept::Order(order)) => order,
                Some(Kept::Answer(_)) | None => return,
            },
            None => order,
        };
        self.carry_out(order);
    }

    /// Has a shard do it, if somebody is there.
    pub(super) fn carry_out(&mut self, order: Order) {
        let place = order.shard();
        let Some(shard) = &mut self.shards[place] else { return };
        match order {
            Order::Assign { assignment, .. } => shard.assign(*assignment),
            Order::Remove { partition, .. } => shard.remove(partition),
            Order::SetAside { partition, .. } => shard.set_aside(partition),
            Order::Orphan { partition, known_in, .. } => {
                shard.orphan(partition, known_in);
                self.arrived(place, partition);
            }
            Order::EndCopy { partition, .. } => shard.end_copy(partition),
        }
    }

    /// The disk failed under a directory. The error says why the process must end, if it must.
    pub(super) fn directory_failed(&mut self, shard: usize) -> Result<(), ottla_core::replicas::End> {
        if let Some(end) = self.replicas.failed(shard) {
            return Err(end);
        }
        self.lacks_directory = true;
        self.lifecycle.directory_failed(self.directory_ids[shard]);
        Ok(())
    }
}
