//! The threads that wait for the disk when something is read that is not in the page cache, so that neither the
//! shard's thread, which appends, nor the runtime's, which serve connections, has to.

use std::io;
use std::sync::{Arc, Mutex, PoisonError, mpsc as blocking};

use bytes::Bytes;
use ottla_core::log::ReadPlan;
use tokio::sync::{mpsc, oneshot};

use super::handle::Message;
use super::pulse::{Pulse, READ_LANES};
use crate::disk::{Missed, RealFile};

/// A read of this much or less is done by whoever asks, if it is all in the page cache: copying it takes less
/// than waking another thread is worth.
const INLINE_BYTES_MAX: u32 = 256 * 1024;

enum Job {
    Read(ReadPlan<RealFile>, oneshot::Sender<io::Result<Bytes>>),
    /// Warm the cache, then give the shard its message again.
    Warm(Missed, Box<Message>),
}

/// The queue to the threads. It has no bound of its own: each job belongs to a request, and a connection has one
/// that reads. The threads end with the last clone.
#[derive(Debug, Clone)]
pub(super) struct Reader {
    jobs: blocking::Sender<Job>,
}

impl Reader {
    /// Starts the threads of one directory; warmed messages go to `shard`.
    pub(super) fn start(
        name: &str,
        shard: &mpsc::UnboundedSender<Message>,
        (pulses, at): (&Arc<[Pulse]>, usize),
    ) -> io::Result<Self> {
        let (jobs, queue) = blocking::channel();
        let queue = Arc::new(Mutex::new(queue));
        for (number, lane) in READ_LANES.enumerate() {
            let (queue, shard, pulses) = (Arc::clone(&queue), shard.downgrade(), Arc::clone(pulses));
            std::thread::Builder::new()
                .name(format!("{name}-read-{number}"))
                .stack_size(super::thread::STACK_BYTES)
                .spawn(move || work(&queue, &shard, &pulses[at], lane))?;
        }
        Ok(Self { jobs })
    }

    /// Reads what was planned: at once if it is in the page cache, else on a thread.
    pub(super) async fn read(&self, plan: ReadPlan<RealFile>) -> io::Result<Bytes> {
        if plan.length <= INLINE_BYTES_MAX
            && let Some(bytes) = plan.file().read_now(plan.position, plan.length)?
        {
            return Ok(bytes);
        }
        let gone = || io::Error::other("the threads that read are gone");
        let (answer, answered) = oneshot::channel();
        self.jobs.send(Job::Read(plan, answer)).map_err(|_| gone())?;
        answered.await.unwrap_or_else(|_| Err(gone()))
    }

    /// Has the shard meet `message` again once what it missed is in the page cache.
    pub(super) fn warm(&self, missed: Missed, message: Message) {
        // The threads live as long as this; a message that is dropped is answered as by a failed directory.
        let _gone = self.jobs.send(Job::Warm(missed, Box::new(message)));
    }
}

fn work(
    queue: &Mutex<blocking::Receiver<Job>>,
    shard: &mpsc::WeakUnboundedSender<Message>,
    pulse: &Pulse,
    lane: usize,
) {
    loop {
        // The lock is held while waiting: the other waits for it instead of for the queue.
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        pulse.begin(lane);
        match job {
            // The reader may have gone.
            Ok(Job::Read(plan, answer)) => drop(answer.send(plan.run())),
            Ok(Job::Warm(missed, message)) => {
                missed.warm();
                if let Some(shard) = shard.upgrade() {
                    // The shard's thread is gone only when the process ends.
                    let _gone = shard.send(*message);
                }
            }
            Err(_) => return,
        }
        pulse.rest(lane);
    }
}
