//! The threads that block on the disk for a shard.

use std::io;
use std::sync::{Arc, Mutex, PoisonError, mpsc as blocking};
use std::thread::JoinHandle;
use std::time::Duration;

use ottla_core::disk::is_no_descriptor;
use ottla_core::ids::{Offset, TopicPartition};
use ottla_core::log::{SyncJob, SyncNumber};
use ottla_core::shard::{CheckpointJob, RemovalJob};
use tokio::sync::mpsc;

use super::handle::Message;
use crate::disk::RealDisk;

/// How many syncs of one directory run at once. A round of many small files gains from it up to about
/// here: 64 files of 4 KB took 13–101 ms one by one and 7 ms on 16 threads; most rounds have few.
const THREADS: usize = 4;

/// Between two tries of a job for which there is no descriptor.
pub(super) const DESCRIPTOR_WAIT: Duration = Duration::from_millis(100);

/// What a thread has done.
#[derive(Debug)]
pub(super) enum Finished {
    Sync(TopicPartition, SyncNumber, io::Result<()>),
    Checkpoint(Vec<(TopicPartition, Offset)>, io::Result<()>),
    /// The names of removed logs could not be made durable.
    Removal(io::Error),
}

/// One thing to do.
pub(super) enum Job {
    Sync(TopicPartition, SyncJob<RealDisk>),
    Checkpoint(CheckpointJob<RealDisk>),
}

/// The sending end; dropping it ends the threads when they have done what was sent.
pub(super) struct Syncer {
    jobs: Option<blocking::Sender<Job>>,
    removals: Option<blocking::Sender<RemovalJob<RealDisk>>>,
    threads: Vec<JoinHandle<()>>,
}

impl Syncer {
    /// Starts the threads; results go to `shard`.
    pub(super) fn start(name: &str, shard: &mpsc::UnboundedSender<Message>) -> io::Result<Self> {
        let (jobs, queue) = blocking::channel();
        let queue = Arc::new(Mutex::new(queue));
        let threads = (0..THREADS).map(|number| {
            let (queue, shard) = (Arc::clone(&queue), shard.downgrade());
            std::thread::Builder::new()
                .name(format!("{name}-sync-{number}"))
                .stack_size(super::thread::STACK_BYTES)
                .spawn(move || work(&queue, &shard))
        });
        let mut threads: Vec<JoinHandle<()>> = threads.collect::<io::Result<_>>()?;
        let (removals, unwanted) = blocking::channel();
        let shard = shard.downgrade();
        let remover = std::thread::Builder::new()
            .name(format!("{name}-remove"))
            .stack_size(super::thread::STACK_BYTES)
            .spawn(move || remove(&unwanted, &shard))?;
        threads.push(remover);
        Ok(Self { jobs: Some(jobs), removals: Some(removals), threads })
    }

    pub(super) fn send(&self, job: Job) {
        let jobs = self.jobs.as_ref().expect("taken only when dropped");
        jobs.send(job).expect("the threads live as long as this does");
    }

    /// Removals have a thread of their own: to unlink large files takes seconds on some file systems, and no
    /// sync shall wait for that.
    pub(super) fn remove(&self, job: RemovalJob<RealDisk>) {
        let removals = self.removals.as_ref().expect("taken only when dropped");
        removals.send(job).expect("the thread lives as long as this does");
    }
}

impl Drop for Syncer {
    fn drop(&mut self) {
        self.jobs.take();
        self.removals.take();
        for thread in self.threads.drain(..) {
            // A panic was printed by its own thread, and the process aborts on it.
            let _panicked = thread.join();
        }
    }
}

fn work(queue: &Mutex<blocking::Receiver<Job>>, shard: &mpsc::WeakUnboundedSender<Message>) {
    loop {
        // The lock is held while waiting: the others wait for it instead of for the queue.
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = job else { return };
        let message = match job {
            Job::Sync(id, job) => sync(id, job),
            Job::Checkpoint(job) => {
                Message::SyncFinished(Finished::Checkpoint(job.logs(), patiently(shard, || job.run())))
            }
        };
        if let Some(shard) = shard.upgrade() {
            // The shard's thread is gone only when the process ends.
            let _gone = shard.send(message);
        }
    }
}

/// Does a sync. One for which there is no descriptor goes back to the shard, which sends it again: whatever waits for
/// a thread comes first, so that no sync looks as if it hung.
fn sync(id: TopicPartition, job: SyncJob<RealDisk>) -> Message {
    match job.run() {
        Err(error) if is_no_descriptor(&error) => {
            std::thread::sleep(DESCRIPTOR_WAIT);
            Message::SyncPostponed(id, job)
        }
        result => Message::SyncFinished(Finished::Sync(id, job.number(), result)),
    }
}

/// Does a job that no round waits for, and again while there is no descriptor for it.
fn patiently(shard: &mpsc::WeakUnboundedSender<Message>, job: impl Fn() -> io::Result<()>) -> io::Result<()> {
    loop {
        match job() {
            Err(error) if is_no_descriptor(&error) && shard.strong_count() > 0 => {
                std::thread::sleep(DESCRIPTOR_WAIT);
            }
            result => return result,
        }
    }
}

fn remove(queue: &blocking::Receiver<RemovalJob<RealDisk>>, shard: &mpsc::WeakUnboundedSender<Message>) {
    for job in queue {
        if let Err(error) = patiently(shard, || job.sync()) {
            if let Some(shard) = shard.upgrade() {
                let _gone = shard.send(Message::SyncFinished(Finished::Removal(error)));
            }
            continue;
        }
        for (directory, result) in job.remove() {
            if let Err(error) = result {
                tracing::warn!(%directory, %error, "a removed log could not be deleted; the next start tries again");
            }
        }
    }
}
