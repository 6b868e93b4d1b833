//! The thread that owns a shard.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use ottla_core::ids::NodeId;
use ottla_core::partition::PartitionError;
use ottla_core::shard::{Effect, Opened, Produced, Shard};
use tokio::sync::{Notify, mpsc, oneshot};
use tracing::{error, info, warn};

use super::handle::{FetchItem, FetchResult, Fetched, Message};
use super::pulse::Pulse;
use super::syncer::{Finished, Job, Syncer};
use crate::clock;
use crate::disk::RealDisk;

/// Enough for the deepest call on these threads, and little enough for a small process.
pub(super) const STACK_BYTES: usize = 512 * 1024;

/// How many messages are taken in before a sync round may begin. A round covers all of them.
const MESSAGES_PER_TURN_MAX: usize = 1024;

/// With less room than this a directory is called full: many a batch does not fit any more.
const ROOM_MIN: u64 = 1 << 20;

type Answer = oneshot::Sender<Result<Produced, PartitionError>>;
type RealShard = Shard<RealDisk, Answer, Weak<Notify>>;

/// What a shard's thread tells the broker's driver.
#[derive(Debug)]
pub(crate) enum ShardEvent {
    /// The directory is open; these partitions have a log in it.
    Opened { shard: usize, partitions: Vec<ottla_core::ids::TopicPartition> },
    /// The directory has failed, at the start or later.
    Failed { shard: usize },
}

/// Starts the shards of these directories. Each opens its logs first, which may take long after a crash,
/// and then says so.
pub(crate) fn start(
    me: NodeId,
    directories: &[PathBuf],
    routes: tokio::sync::watch::Receiver<Arc<super::ShardRoutes>>,
    events: &mpsc::UnboundedSender<ShardEvent>,
) -> io::Result<super::Shards> {
    let mut queues = Vec::new();
    let pulses: Arc<[Pulse]> = directories.iter().cloned().map(Pulse::new).collect();
    for (number, directory) in directories.iter().enumerate() {
        let (queue, messages) = mpsc::unbounded_channel();
        let syncer = Syncer::start(&format!("shard-{number}"), &queue)?;
        let (directory, events, pulses) = (directory.clone(), events.clone(), Arc::clone(&pulses));
        std::thread::Builder::new()
            .name(format!("shard-{number}"))
            .stack_size(STACK_BYTES)
            .spawn(move || run(number, me, &directory, messages, &syncer, &events, &pulses[number]))?;
        queues.push(queue);
    }
    Ok(super::Shards::new(queues, pulses, events.clone(), routes))
}

fn run(
    number: usize,
    me: NodeId,
    directory: &Path,
    mut messages: mpsc::UnboundedReceiver<Message>,
    syncer: &Syncer,
    events: &mpsc::UnboundedSender<ShardEvent>,
    pulse: &Pulse,
) {
    let opened = RealDisk::new(directory)
        .and_then(|disk| Ok((disk.clone(), RealShard::open(me, disk, clock::monotonic())?)));
    let (disk, shard) = match opened {
        Ok((disk, opened)) => (disk, report_opened(directory, opened)),
        Err(error) => {
            log_failure(directory, &error);
            let _gone = events.send(ShardEvent::Failed { shard: number });
            return;
        }
    };
    let partitions = shard.partitions().collect();
    let _gone = events.send(ShardEvent::Opened { shard: number, partitions });
    let mut driver = Driver { number, directory, shard, disk, has_room: true, syncer, events };
    driver.measure_room();
    let mut batch = Vec::with_capacity(64);
    while messages.blocking_recv_many(&mut batch, MESSAGES_PER_TURN_MAX) > 0 {
        let mut closing = None;
        for message in batch.drain(..) {
            if let Message::Close { epoch, done } = message {
                closing = Some((epoch, done));
            } else {
                pulse.begin();
                driver.take(message);
            }
        }
        if pulse.is_stuck() {
            // The controller has been told already; what was written meanwhile is not acknowledged.
            driver.shard.disk_failed(&io::ErrorKind::TimedOut.into());
        }
        pulse.rest();
        driver.shard.begin_round(clock::monotonic());
        driver.perform();
        if let Some((epoch, done)) = closing {
            if let Err(error) = driver.shard.close(epoch) {
                warn!(%error, "log directory could not be closed properly; the next start recovers it");
            }
            driver.perform();
            let _nobody_waits = done.send(());
            return;
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
            Err(error) => error!(log = %log.directory, %error, "log cannot be opened and is left alone"),
        }
    }
    info!(directory = %directory.display(), logs = opened.logs.len(), clean = opened.clean, "log directory opened");
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

struct Driver<'a> {
    number: usize,
    directory: &'a Path,
    shard: RealShard,
    disk: RealDisk,
    /// Whether there was room for records when it was last measured.
    has_room: bool,
    syncer: &'a Syncer,
    events: &'a mpsc::UnboundedSender<ShardEvent>,
}

impl Driver<'_> {
    fn take(&mut self, message: Message) {
        match message {
            Message::Produce { partition, batch, acks, answer } => {
                self.shard.produce(partition, batch, acks, answer, clock::wall());
            }
            Message::Fetch { items, max_bytes, answer } => {
                let results = self.fetch(&items, max_bytes);
                // The reader may have gone.
                let _gone = answer.send(results);
            }
            Message::Watch { partition, beyond, reader } => {
                self.shard.watch(partition, beyond, reader, |reader| reader.strong_count() > 0);
            }
            Message::ListOffset { partition, epoch, target, answer } => {
                let _gone = answer.send(self.shard.list_offset(partition, epoch, target));
            }
            Message::Assign(assignment) => self.shard.assign(*assignment),
            Message::Remove(partition) => self.shard.remove(partition),
            Message::Barrier(done) => {
                self.perform();
                let _gone = done.send(());
            }
            Message::Tick => {
                self.measure_room();
                self.shard.tick(clock::monotonic());
            }
            Message::SyncFinished(Finished::Sync(id, number, result)) => {
                self.shard.sync_finished(id, number, result);
            }
            Message::SyncFinished(Finished::Checkpoint(logs, result)) => {
                self.shard.checkpoint_finished(logs, result);
            }
            Message::Close { .. } => unreachable!("the loop takes these itself"),
        }
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
    fn fetch(&mut self, items: &[FetchItem], max_bytes: u32) -> Vec<FetchResult> {
        let mut left = max_bytes;
        let mut read_any = false;
        let mut read = |item: &FetchItem| {
            let max = item.max_bytes.min(left);
            let located = self.shard.locate(item.partition, item.offset, item.epoch, max, !read_any)?;
            if located.plan.length == 0 {
                return Ok(Fetched { readable: located.readable, records: bytes::Bytes::new() });
            }
            let records = located.plan.run().map_err(|error| {
                self.shard.disk_failed(&error);
                PartitionError::Storage
            })?;
            read_any = true;
            left = left.saturating_sub(u32::try_from(records.len()).unwrap_or(u32::MAX));
            Ok(Fetched { readable: located.readable, records })
        };
        items.iter().map(&mut read).collect()
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
                Effect::Sync(jobs) => {
                    jobs.into_iter().for_each(|(id, job)| self.syncer.send(Job::Sync(id, job)));
                }
                Effect::Checkpoint(job) => self.syncer.send(Job::Checkpoint(job)),
                Effect::Remove(directory) => self.syncer.send(Job::Remove(self.disk.clone(), directory)),
                Effect::Failed { error } => {
                    log_failure(self.directory, &error);
                    let _gone = self.events.send(ShardEvent::Failed { shard: self.number });
                }
            }
        }
    }
}
