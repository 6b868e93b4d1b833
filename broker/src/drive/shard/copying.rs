//! What a replica's way to another log directory asks of the two shards, and how their threads answer.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ottla_core::config::TopicConfig;
use ottla_core::ids::{LeaderEpoch, Offset, TopicName, TopicPartition};
use ottla_core::log::find_rot;
use ottla_core::partition::PartitionError;
use ottla_core::replicas::Move;
use ottla_core::shard::{Copied, CopyFrom, CopyPart, Handed};
use tokio::sync::oneshot;

use super::handle::{Message, Shards};
use super::reading::{Tries, may_be_gone};
use super::thread::{Answer, Driver};
use crate::clock;
use crate::disk::RealFile;

/// What a replica takes with it into another directory.
pub(in crate::drive) type HandedOver = Handed<Answer>;

/// A replica that was not adopted.
#[derive(Debug)]
pub(in crate::drive) struct NotAdopted {
    /// The replica; `None` if it is gone with the directory.
    pub(in crate::drive) handed: Option<Box<HandedOver>>,
    /// Whether the same may be tried again.
    pub(in crate::drive) may_retry: bool,
    /// Whether its copy may have got its name all the same, so that a start would take that for it.
    pub(in crate::drive) may_be_in_place: bool,
}

/// A replica on its way to a directory.
#[derive(Debug, Default)]
pub(super) struct Expected {
    /// Whether nobody knows how long: then clients do not wait.
    is_long: bool,
    /// What was asked of it meanwhile.
    pub(super) kept: Vec<Message>,
}

impl Expected {
    /// Whether a message is to wait for the replica. Another copy of it waits in any case: it would have a frozen replica
    /// handed over.
    pub(super) fn keeps(&self, message: &Message) -> bool {
        !self.is_long || !message.is_asked() || matches!(message, Message::Move(..))
    }
}

/// One step on the way.
#[derive(Debug)]
pub(super) enum MoveStep {
    /// To copy it from another directory.
    BeginCopy(TopicName, Arc<TopicConfig>),
    /// Not any more.
    EndCopy,
    /// What a copy of the log here goes on with.
    LocateCopy {
        from: CopyFrom,
        max_bytes: u32,
        tries: Tries,
        answer: oneshot::Sender<Result<CopyPart<RealFile>, PartitionError>>,
    },
    /// How often the log was cut.
    Cuts(oneshot::Sender<Option<u64>>),
    /// What the copied log had for the copy here.
    Copied { given: Option<(Offset, Copied)>, answer: oneshot::Sender<Option<CopyFrom>> },
    /// What is asked of it waits here from now on, until it has been adopted or is an orphan; or only what the metadata says
    /// of it, where nobody knows how long that takes.
    Expect { is_long: bool },
    /// To freeze it, since it goes to another directory.
    HandOver(oneshot::Sender<Option<Box<HandedOver>>>),
    /// To make the copy here the replica.
    Adopt { handed: Box<HandedOver>, answer: oneshot::Sender<Result<(), NotAdopted>> },
    /// To go on with it here after all, where it was handed over; what cannot be taken back is given back.
    TakeBack { handed: Box<HandedOver>, answer: oneshot::Sender<Result<(), Box<HandedOver>>> },
    /// To remove what is left of it here: it went on elsewhere.
    RemoveFrozen,
    /// It does not come: what was asked of it is done as far as that goes.
    Forget,
    /// What was handed over here is not taken by anybody.
    GiveUp(Box<HandedOver>),
    /// The log that was copied is gone, with what the copy here lacks.
    Orphan(LeaderEpoch),
}

impl MoveStep {
    /// Whether it is for the replica, and not for a copy.
    pub(super) fn is_of_replica(&self) -> bool {
        match self {
            Self::LocateCopy { .. } | Self::Cuts(_) | Self::HandOver(_) => true,
            Self::BeginCopy(..)
            | Self::EndCopy
            | Self::Copied { .. }
            | Self::Expect { .. }
            | Self::Adopt { .. }
            | Self::TakeBack { .. }
            | Self::RemoveFrozen
            | Self::Forget
            | Self::GiveUp(_)
            | Self::Orphan(_) => false,
        }
    }
}

impl Driver<'_> {
    /// Whoever copies is gone only when the process ends, or the copy: nobody misses an answer then.
    pub(super) fn move_step(&mut self, id: TopicPartition, step: MoveStep) {
        match step {
            MoveStep::BeginCopy(topic, config) => self.shard.begin_copy(id, &topic, &config),
            MoveStep::EndCopy => self.shard.end_copy(id),
            MoveStep::LocateCopy { from, max_bytes, tries, answer } => {
                match tries.read(|| self.shard.locate_copy(id, from, max_bytes)) {
                    (_, Some(missed)) => {
                        let tries = tries.next();
                        let again = MoveStep::LocateCopy { from, max_bytes, tries, answer };
                        self.reader.warm(missed, Message::Move(id, again));
                    }
                    (located, None) => drop(answer.send(located)),
                }
            }
            MoveStep::Cuts(answer) => drop(answer.send(self.shard.cuts(id))),
            MoveStep::Copied { given, answer } => {
                let goes_on = self.shard.copied(id, given, clock::wall());
                if !self.shard.has_failed() {
                    let _gone = answer.send(goes_on);
                }
            }
            MoveStep::Expect { is_long } => {
                self.shard.expect(id);
                self.expected.entry(id).or_default().is_long = is_long;
            }
            MoveStep::HandOver(answer) => {
                if let Err(Some(handed)) = answer.send(self.shard.hand_over(id)) {
                    self.shard.give_up(handed);
                }
            }
            MoveStep::Adopt { handed, answer } => {
                let adopted = self.shard.adopt(id, handed);
                if adopted.is_ok() {
                    self.arrived(id);
                }
                let (may_retry, may_be_in_place) = (self.shard.may_adopt(id), self.shard.has_failed());
                let not_adopted = |handed| NotAdopted { handed: Some(handed), may_retry, may_be_in_place };
                let _gone = answer.send(adopted.map_err(not_adopted));
            }
            MoveStep::TakeBack { handed, answer } => {
                let taken = self.shard.take_back(id, handed);
                if taken.is_ok() {
                    self.arrived(id);
                }
                let _gone = answer.send(taken);
            }
            MoveStep::RemoveFrozen => self.shard.remove_frozen(id),
            MoveStep::Forget => {
                let kept = self.expected.remove(&id).unwrap_or_default().kept;
                // What the metadata says of it is said where it is.
                kept.into_iter().filter(Message::is_asked).for_each(|message| self.take(message));
            }
            MoveStep::GiveUp(handed) => {
                self.shard.give_up(handed);
                self.arrived(id);
            }
            MoveStep::Orphan(known_in) => {
                self.shard.orphan(id, known_in);
                self.arrived(id);
            }
        }
    }
}

/// How often whoever waits for a shard looks whether its disk hangs.
const STUCK_CHECK: Duration = Duration::from_secs(1);

/// Why a copy gets nothing of the log that it copies.
#[derive(Debug)]
pub(in crate::drive) enum CopyEnd {
    /// There is no such log, or it cannot be read.
    Refused(PartitionError),
    /// It was cut in between, or so it seems: its file is not there, or is shorter.
    Gone(io::Error),
}

/// The directory has failed.
#[derive(Debug)]
pub(in crate::drive) struct DirectoryFailed;

impl Shards {
    fn step(&self, shard: usize, partition: TopicPartition, step: MoveStep) {
        self.send(shard, Message::Move(partition, step));
    }

    /// Makes the future log that a move needs, unless it is there.
    pub(in crate::drive) fn begin_copy(&self, made: &Move) {
        let Move { partition, to, topic, config, .. } = made;
        self.step(*to, *partition, MoveStep::BeginCopy(topic.clone(), Arc::clone(config)));
    }

    /// Gives a future log what the copied one had, and asks from where it goes on; `None` if it is not there yet.
    pub(in crate::drive) async fn copied(
        &self,
        to: usize,
        partition: TopicPartition,
        given: Option<(Offset, Copied)>,
    ) -> Result<Option<CopyFrom>, DirectoryFailed> {
        let (answer, answered) = oneshot::channel();
        self.step(to, partition, MoveStep::Copied { given, answer });
        let answered = self.unless_stuck(to, answered).await.ok_or(DirectoryFailed)?;
        answered.map_err(|_| DirectoryFailed)
    }

    /// Reads what a copy goes on with.
    pub(in crate::drive) async fn read_copy(
        &self,
        from: usize,
        partition: TopicPartition,
        goes_on: CopyFrom,
        max_bytes: u32,
    ) -> Result<Copied, CopyEnd> {
        let (answer, answered) = oneshot::channel();
        let tries = Tries::default();
        self.step(from, partition, MoveStep::LocateCopy { from: goes_on, max_bytes, tries, answer });
        let part = answered.await.unwrap_or(Err(PartitionError::Storage)).map_err(CopyEnd::Refused)?;
        let (plan, log_start, cuts) = match part {
            CopyPart::Diverging(end) => return Ok(Copied::Diverging(end)),
            CopyPart::BelowLogStart(offset) => return Ok(Copied::BelowLogStart(offset)),
            CopyPart::Records { plan, log_start, .. } if plan.length == 0 => {
                return Ok(Copied::Records { bytes: Bytes::new(), log_start });
            }
            CopyPart::Records { plan, log_start, cuts } => (plan, log_start, cuts),
        };
        let (segment, position) = (plan.segment, plan.position);
        let bytes = match self.readers[from].read(plan).await {
            Ok(bytes) => bytes,
            Err(error) if may_be_gone(&error) => return Err(CopyEnd::Gone(error)),
            Err(error) => {
                self.send(from, Message::DiskFailed(error));
                return Err(CopyEnd::Refused(PartitionError::Storage));
            }
        };
        let (answer, answered) = oneshot::channel();
        self.step(from, partition, MoveStep::Cuts(answer));
        if answered.await.ok().flatten() != Some(cuts) {
            return Err(CopyEnd::Gone(io::Error::other("the log was cut as it was read")));
        }
        if let Some(at) = find_rot(segment, position, &bytes) {
            let (answer, answered) = oneshot::channel();
            self.send(from, Message::FoundRot { partition, at, answer });
            // Whatever it comes to, a copy of that is none.
            let found = answered.await.unwrap_or(Err(PartitionError::Storage));
            return Err(CopyEnd::Refused(found.err().unwrap_or(PartitionError::Storage)));
        }
        Ok(Copied::Records { bytes, log_start })
    }

    /// What is asked of a replica waits in that directory from now on; where that may be long, clients are refused meanwhile.
    /// Say so before the routes do.
    pub(in crate::drive) fn expect(&self, to: usize, partition: TopicPartition, is_long: bool) {
        self.step(to, partition, MoveStep::Expect { is_long });
    }

    /// Has a replica frozen and handed over; `None` if it does not serve, or if its disk hangs.
    pub(in crate::drive) async fn hand_over(
        &self,
        from: usize,
        partition: TopicPartition,
    ) -> Option<Box<HandedOver>> {
        let (answer, answered) = oneshot::channel();
        self.step(from, partition, MoveStep::HandOver(answer));
        self.unless_stuck(from, answered).await?.ok().flatten()
    }

    /// Has a copy that has everything become the replica.
    ///
    /// # Errors
    /// What was handed over, if it cannot now or ever.
    pub(in crate::drive) async fn adopt(
        &self,
        to: usize,
        partition: TopicPartition,
        handed: Box<HandedOver>,
    ) -> Result<(), NotAdopted> {
        let (answer, answered) = oneshot::channel();
        self.step(to, partition, MoveStep::Adopt { handed, answer });
        let lost = Err(NotAdopted { handed: None, may_retry: false, may_be_in_place: true });
        self.unless_stuck(to, answered).await.and_then(Result::ok).unwrap_or(lost)
    }

    /// Has a replica go on where it was handed over.
    ///
    /// # Errors
    /// What was handed over, if it cannot; nothing, if that is gone with its directory.
    pub(in crate::drive) async fn take_back(
        &self,
        from: usize,
        partition: TopicPartition,
        handed: Box<HandedOver>,
    ) -> Result<(), Option<Box<HandedOver>>> {
        let (answer, answered) = oneshot::channel();
        self.step(from, partition, MoveStep::TakeBack { handed, answer });
        match self.unless_stuck(from, answered).await {
            Some(Ok(Ok(()))) => Ok(()),
            Some(Ok(Err(handed))) => Err(Some(handed)),
            Some(Err(_)) | None => Err(None),
        }
    }

    /// Removes the log of a replica that went on elsewhere.
    pub(in crate::drive) fn remove_frozen(&self, from: usize, partition: TopicPartition) {
        self.step(from, partition, MoveStep::RemoveFrozen);
    }

    /// A replica does not come: what was asked of it there is refused.
    pub(in crate::drive) fn forget(&self, to: usize, partition: TopicPartition) {
        self.step(to, partition, MoveStep::Forget);
    }

    /// What comes of it, unless a directory's disk hangs meanwhile for so long that it is given up.
    pub(in crate::drive) async fn unless_stuck<R>(
        &self,
        shard: usize,
        result: impl Future<Output = R>,
    ) -> Option<R> {
        let mut result = std::pin::pin!(result);
        loop {
            match tokio::time::timeout(STUCK_CHECK, &mut result).await {
                Ok(result) => return Some(result),
                Err(_) if self.is_stuck(shard) => return None,
                Err(_) => {}
            }
        }
    }

    /// A replica that was handed over there is lost.
    pub(in crate::drive) fn give_up(&self, from: usize, partition: TopicPartition, handed: Box<HandedOver>) {
        self.step(from, partition, MoveStep::GiveUp(handed));
    }
}
