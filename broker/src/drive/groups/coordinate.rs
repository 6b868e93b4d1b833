//! The task of one coordinator: does what its [`Host`] wishes, and tells it what comes of that.
//!
//! What is asked while a batch is on its way is decided at once, and shares the next batch with what else was asked
//! then. Only the leader of the epoch in which the coordinator is at work appends what it writes: one that has not heard
//! yet that another began after it writes nothing.

use std::collections::{BTreeSet, VecDeque};
use std::future::pending;
use std::pin::Pin;
use std::sync::Arc;

use ottla_core::group::record::GroupRecord;
use ottla_core::group::request::Request;
use ottla_core::group::{Answer, Appended, GroupSettings, Host, Question, Unreadable, Wish, Write};
use ottla_core::ids::{Offset, TopicName};
use ottla_core::partition::{AckLevel, PartitionError};
use ottla_core::shard::{Batch, Produced};
use ottla_core::time::Monotonic;
use ottla_wire::batch::BatchBuilder;
use ottla_wire::batch::compression::Compression;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tracing::debug;

use super::load::Source;
use crate::clock;

/// So many requests are decided before what they want written goes out.
const ASKS_AT_ONCE: usize = 256;

/// What a handler asks.
#[derive(Debug)]
pub(super) struct Ask {
    pub(super) request: Request,
    pub(super) answer: oneshot::Sender<Answer>,
}

/// Whom an answer goes to.
type To = oneshot::Sender<Answer>;

/// See the module's text.
pub(super) struct Coordinate {
    pub(super) source: Source,
    pub(super) settings: GroupSettings,
    pub(super) compression: Compression,
    /// So many partitions are read at once.
    pub(super) loads: Arc<Semaphore>,
    pub(super) asked: mpsc::Receiver<Ask>,
    pub(super) deletions: mpsc::UnboundedReceiver<Arc<BTreeSet<TopicName>>>,
}

/// The answer to a question of the host.
enum Found {
    Bounds(Result<(Offset, Offset), Unreadable>),
    Committed(Result<Option<Offset>, Unreadable>),
    /// With the permit to read.
    Read(Result<(Vec<GroupRecord>, Option<Offset>), Unreadable>, Option<OwnedSemaphorePermit>),
}

/// A question that is being answered, and the life of the host that asked.
type Finding = (u64, Pin<Box<dyn Future<Output = Found> + Send>>);

/// An append on its way, and the life of the host that wished it.
type OnItsWay = (u64, oneshot::Receiver<Result<Produced, PartitionError>>);

impl Coordinate {
    /// Goes on until `stop` is dropped.
    pub(super) async fn run(mut self, mut stop: oneshot::Receiver<()>) {
        let mut host: Host<To> = Host::new(self.settings.clone());
        let mut finding: Option<Finding> = None;
        let mut permit = None;
        let mut on_their_way: VecDeque<OnItsWay> = VecDeque::new();
        let mut asks = Vec::with_capacity(ASKS_AT_ONCE);
        loop {
            host.limit_batches(self.source.batch_bytes_max());
            for wish in host.take_wishes() {
                match wish {
                    Wish::Append(write) => on_their_way.push_back((host.life(), self.append(&write))),
                    Wish::Find(question) => finding = Some((host.life(), self.find(question, permit.take()))),
                }
            }
            answer_all(&mut host);
            if !host.is_loading() {
                permit = None;
            }
            let due = until(host.next_deadline());
            // Cancel-safe: recv and recv_many are, and so are a oneshot and a future that stay where they are. What
            // is asked comes last, since it may not end.
            tokio::select! {
                biased;
                _ = &mut stop => break,
                (life, result) = first(&mut on_their_way) => {
                    on_their_way.pop_front();
                    host.appended(life, came_of(&result), clock::monotonic(), clock::wall());
                }
                (life, found) = answer_to(&mut finding) => {
                    finding = None;
                    let (now, wall) = (clock::monotonic(), clock::wall());
                    match found {
                        Found::Bounds(found) => host.bounds(life, found, now),
                        Found::Committed(found) => host.committed(life, found, now, wall),
                        Found::Read(read, may_read) => {
                            permit = may_read;
                            host.read(life, read, now, wall);
                        }
                    }
                }
                Some(topics) = self.deletions.recv() => host.topics_deleted(&topics),
                () = due => {
                    let (now, wall) = (clock::monotonic(), clock::wall());
                    // A sign of life that has come counts before the session of who gave it is over.
                    for _ in 0..ASKS_AT_ONCE {
                        let Ok(Ask { request, answer }) = self.asked.try_recv() else { break };
                        host.ask(request, answer, now, wall);
                    }
                    host.tick(now, wall);
                }
                count = self.asked.recv_many(&mut asks, ASKS_AT_ONCE) => {
                    if count == 0 {
                        break;
                    }
                    let (now, wall) = (clock::monotonic(), clock::wall());
                    for Ask { request, answer } in asks.drain(..) {
                        host.ask(request, answer, now, wall);
                    }
                }
            }
        }
        drop(permit);
        host.end();
        answer_all(&mut host);
    }

    /// Looks for what is asked; with a permit, if there is one by now.
    fn find(
        &self,
        question: Question,
        permit: Option<OwnedSemaphorePermit>,
    ) -> Pin<Box<dyn Future<Output = Found> + Send>> {
        let (source, loads) = (self.source.clone(), Arc::clone(&self.loads));
        Box::pin(async move {
            match question {
                // Nobody waits for those that wait for their replicas.
                Question::Bounds => Found::Bounds(source.bounds().await),
                Question::Committed => Found::Committed(source.committed().await),
                Question::Records(from) => {
                    let permit = match permit {
                        Some(permit) => Some(permit),
                        // The semaphore is never closed.
                        None => loads.acquire_owned().await.ok(),
                    };
                    Found::Read(source.read(from).await, permit)
                }
            }
        })
    }

    fn append(&self, write: &Write) -> oneshot::Receiver<Result<Produced, PartitionError>> {
        let now = clock::wall().0;
        let mut builder = BatchBuilder::new().compression(self.compression);
        for record in &write.records {
            builder = builder.record(now, Some(&record.key), record.value.as_deref());
        }
        match builder.build() {
            Ok((bytes, header)) => {
                let record_count = u32::try_from(header.record_count).unwrap_or(0);
                let only_in = Some(self.source.epoch());
                let batch = Batch { bytes, record_count, log_append_time: None, only_in };
                self.source.shards.produce(self.source.partition, batch, AckLevel::All)
            }
            // A codec writes to memory only, and does not fail.
            Err(error) => {
                debug!(%error, "a batch of groups is not made");
                oneshot::channel().1
            }
        }
    }
}

fn came_of(appended: &Result<Produced, PartitionError>) -> Appended {
    match appended {
        Ok(_) => Appended::Committed,
        Err(PartitionError::NotEnoughReplicas { .. } | PartitionError::DirectoryFull) => Appended::Refused,
        Err(_) => Appended::Doubtful,
    }
}

/// What comes of the first append on its way; never anything if there is none.
async fn first(on_their_way: &mut VecDeque<OnItsWay>) -> (u64, Result<Produced, PartitionError>) {
    match on_their_way.front_mut() {
        Some((life, result)) => (*life, result.await.unwrap_or(Err(PartitionError::Storage))),
        None => pending().await,
    }
}

async fn answer_to(finding: &mut Option<Finding>) -> (u64, Found) {
    match finding {
        Some((life, found)) => (*life, found.as_mut().await),
        None => pending().await,
    }
}

async fn until(deadline: Option<Monotonic>) {
    match deadline {
        Some(at) => tokio::time::sleep(at.since(clock::monotonic())).await,
        None => pending().await,
    }
}

fn answer_all(host: &mut Host<To>) {
    for (to, answer) in host.take_answers() {
        let _gave_up = to.send(answer);
    }
}
