//! Runs the controller machine: one task owns it, one thread its log, and one writes its snapshots.
//!
//! The order is the machine's: its `ready` says what may be sent now, and what must be durable first is sent
//! with a later one, after `persisted`. A write that fails ends the process; what the disk then holds is for
//! the next start to find out.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc as blocking;
use std::time::Duration;

use bytes::Bytes;
use ottla_client::HostPort;
use ottla_core::controller::state::ControllerEvent;
use ottla_core::controller::{
    ControllerNode, Effects, NodeConfig, NodeEvent, Operation, OperationError, PersistOutcome, Probe,
    ProbeId, ProbeOutcome, Reply, Ticket,
};
use ottla_core::ids::DirectoryId;
use ottla_core::log::commit::STALL_MAX;
use ottla_core::metadata::image::{Endpoint, Image, Voter};
use ottla_core::metadata::record::Voters;
use ottla_core::quorum::machine::QuorumEvent;
use ottla_core::quorum::store::{Persist, StoreError};
use ottla_core::quorum::{RaftStore, Recovered, Refusal};
use ottla_core::time::Stall;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::MissedTickBehavior;
use tracing::{debug, error, info, warn};

use crate::cli::meta_properties::{BootstrapVoters, MetaProperties, SmallFileError};
use crate::clock;
use crate::disk::RealDisk;
use crate::peer::{ActiveController, RaftSenders};

/// The metadata log's place in its log directory. Not named like a partition's directory.
const DIRECTORY: &str = "cluster-metadata";

/// Requests and messages that wait for the machine. Each answers before its connection's next; more than
/// this many means more connections than the limit allows.
const QUEUE_MAX: usize = 4096;

/// A probed node's machine that has not answered by then says nothing.
const PROBE_TIMEOUT: Duration = Duration::from_millis(500);

/// How many inputs the machine takes before it says what is to be done: one sync covers all of them.
const INPUTS_PER_TURN_MAX: usize = 256;

type Answer = oneshot::Sender<Result<Reply, OperationError>>;

enum Input {
    Request(Box<Operation>, Answer),
    Message(Bytes),
    Persisted(u64, PersistOutcome),
    SnapshotWritten(PersistOutcome),
    Probed(ProbeId, ProbeOutcome),
    Resign,
}

/// The way to this node's controller.
#[derive(Debug, Clone)]
pub(crate) struct ControllerHandle {
    inputs: mpsc::Sender<Input>,
    images: watch::Receiver<Arc<Image>>,
    active: watch::Receiver<Option<ActiveController>>,
    caught_up: watch::Receiver<bool>,
}

impl ControllerHandle {
    /// A controller that has committed this and is gone.
    #[cfg(test)]
    pub(crate) fn gone(image: Image) -> Self {
        let (inputs, _) = mpsc::channel(1);
        let (_, images) = watch::channel(Arc::new(image));
        let ((_, active), (_, caught_up)) = (watch::channel(None), watch::channel(false));
        Self { inputs, images, active, caught_up }
    }

    /// A controller that is gone, too, and knew this one to be active.
    #[cfg(test)]
    pub(crate) fn following(image: Image, (host, port): (&str, u16)) -> Self {
        let address = HostPort::new(host.to_owned(), port);
        let (_, active) = watch::channel(Some(ActiveController { address }));
        Self { active, ..Self::gone(image) }
    }

    /// An active controller that has nothing to do but to say so: every DeleteTopics is one of no topics.
    #[cfg(test)]
    pub(crate) fn idle(image: Image) -> Self {
        let (inputs, mut queue) = mpsc::channel(1);
        tokio::spawn(async move {
            while let Some(Input::Request(operation, answer)) = queue.recv().await {
                assert!(matches!(*operation, Operation::DeleteTopics(asked) if asked.topics.is_empty()));
                // Whoever asked may have gone.
                drop(answer.send(Ok(Reply::DeleteTopics(Vec::new()))));
            }
        });
        Self { inputs, ..Self::gone(image) }
    }

    /// Asks the machine. A machine that is gone is no controller.
    pub(crate) async fn request(&self, operation: Operation) -> Result<Reply, OperationError> {
        let gone = || OperationError::NotController { leader: None };
        let (answer, answered) = oneshot::channel();
        self.inputs.send(Input::Request(Box::new(operation), answer)).await.map_err(|_| gone())?;
        answered.await.unwrap_or_else(|_| Err(gone()))
    }

    /// Gives it another controller's message. Messages may be lost; so may this one, when the queue is full.
    pub(crate) fn message(&self, bytes: Bytes) {
        if self.inputs.try_send(Input::Message(bytes)).is_err() {
            debug!("a raft message was dropped: the controller is busy");
        }
    }

    /// What the quorum has committed, as far as this controller has applied it.
    pub(crate) fn images(&self) -> watch::Receiver<Arc<Image>> {
        self.images.clone()
    }

    /// Whom this controller knows to be active.
    pub(crate) fn active(&self) -> watch::Receiver<Option<ActiveController>> {
        self.active.clone()
    }

    /// Whether there is a leader and this controller has applied something that it committed: before, nothing
    /// says whether a majority is there or how far behind this one is.
    pub(crate) fn is_caught_up(&self) -> bool {
        *self.caught_up.borrow()
    }

    /// Hands leadership on before a planned stop.
    pub(crate) async fn resign(&self) {
        // A machine that is gone leads nothing.
        let _gone = self.inputs.send(Input::Resign).await;
    }
}

/// Why a controller did not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    /// The metadata log cannot be read.
    #[error("the metadata log cannot be opened")]
    Store(#[from] StoreError),
    /// The disk failed.
    #[error("the metadata log cannot be prepared")]
    Io(#[from] std::io::Error),
    /// The directory's mark cannot be read or written.
    #[error(transparent)]
    Mark(#[from] SmallFileError),
    /// Somebody emptied it, or a restore missed it.
    #[error(
        "the metadata log \"{}\" is gone: without it this node could vote twice in one term; bring it back, or save what else is in \"{}\", empty it, and format it anew",
        log.display(), directory.display()
    )]
    LogGone {
        /// Where it was.
        log: PathBuf,
        /// The log directory.
        directory: PathBuf,
    },
    /// What the log says makes no sense.
    #[error("the metadata quorum cannot start")]
    Quorum(#[from] ottla_core::quorum::machine::OpenError),
}

/// Opens the metadata log in a log directory, with at most so many files, and starts the machine. `fatal` is told if it must end the process.
pub(crate) fn start(
    directory: (&Path, DirectoryId),
    open_max: usize,
    first_voters: Option<&BootstrapVoters>,
    config: NodeConfig,
    fatal: mpsc::UnboundedSender<String>,
) -> Result<ControllerHandle, StartError> {
    let (store, recovered) = open_store(directory, open_max, first_voters, &config)?;
    let (inputs, queue) = mpsc::channel(QUEUE_MAX);
    let disk = start_disk(store, &inputs)?;
    let node = ControllerNode::open(recovered, config.clone(), clock::monotonic())?;
    let (images, known_images) = watch::channel(Arc::new(node.image().clone()));
    let (active, known_active) = watch::channel(None);
    let (caught_up, known_caught_up) = watch::channel(false);
    let driver = Driver {
        node,
        queue,
        disk,
        senders: RaftSenders::new(&config.quorum.me, config.quorum.cluster_id),
        answers: BTreeMap::new(),
        next_ticket: 0,
        images,
        active,
        caught_up,
        persisting: None,
        stall: Stall::default(),
        fatal,
        inputs: inputs.downgrade(),
    };
    tokio::spawn(driver.run(config.tick()));
    Ok(ControllerHandle { inputs, images: known_images, active: known_active, caught_up: known_caught_up })
}

fn open_store(
    (path, id): (&Path, DirectoryId),
    open_max: usize,
    first_voters: Option<&BootstrapVoters>,
    config: &NodeConfig,
) -> Result<(RaftStore<RealDisk>, Recovered), StartError> {
    // Whoever waits for longer has the driver's time run out.
    let disk = RealDisk::new(path, open_max, STALL_MAX)?;
    let log = path.join(DIRECTORY);
    let mark = MetaProperties::read(path)?;
    if is_new(&log)? {
        if mark.is_some_and(|mark| mark.metadata_log_begun) {
            return Err(StartError::LogGone { log, directory: path.to_owned() });
        }
        let voters = first_voters.map(voters);
        RaftStore::format(&disk, DIRECTORY, config.quorum.cluster_id, voters.as_ref())?;
    }
    // Before the first vote, so that no vote is without the mark.
    if let Some(mark) = mark.filter(|mark| !mark.metadata_log_begun) {
        MetaProperties { metadata_log_begun: true, ..mark }.write(path)?;
    }
    Ok(RaftStore::open(disk, DIRECTORY, id)?)
}

/// Whether no log is there. What a crash left of the very first start is written anew.
fn is_new(path: &Path) -> std::io::Result<bool> {
    match std::fs::read_dir(path) {
        Ok(names) => {
            for name in names {
                if !name?.file_name().to_string_lossy().ends_with(".tmp") {
                    return Ok(false);
                }
            }
            Ok(true)
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(error),
    }
}

fn voters(first: &BootstrapVoters) -> Voters {
    let voters = first.0.iter().map(|voter| Voter {
        node_id: voter.node_id,
        directory_id: voter.directory_id,
        endpoints: vec![Endpoint {
            // Not this node's own name of that listener: every first voter must write the very same snapshot.
            listener: "CONTROLLER".to_owned(),
            host: voter.address.host.clone(),
            port: voter.address.port,
            security_protocol: 0,
        }],
    });
    Voters { voters: voters.collect(), ..Voters::default() }
}

/// The ways to the threads that wait for the disk.
struct DiskThreads {
    persists: blocking::SyncSender<Persist>,
    snapshots: blocking::SyncSender<Image>,
}

fn start_disk(mut store: RaftStore<RealDisk>, inputs: &mpsc::Sender<Input>) -> std::io::Result<DiskThreads> {
    let writer = store.snapshot_writer();
    let persists = start_thread("metadata-log", inputs.clone(), move |persist: Persist| {
        Input::Persisted(persist.number, store.persist(&persist).into())
    })?;
    // Of its own, because an image of a large cluster takes long, and votes must not wait for it.
    let snapshots = start_thread("metadata-snapshot", inputs.clone(), move |image: Image| {
        Input::SnapshotWritten(writer.write(&image).into())
    })?;
    Ok(DiskThreads { persists, snapshots })
}

/// A thread that does one piece of work after the other, and tells the machine of each.
fn start_thread<W: Send + 'static>(
    name: &str,
    inputs: mpsc::Sender<Input>,
    mut work: impl FnMut(W) -> Input + Send + 'static,
) -> std::io::Result<blocking::SyncSender<W>> {
    let (sender, queue) = blocking::sync_channel(1);
    std::thread::Builder::new().name(name.to_owned()).stack_size(512 * 1024).spawn(move || {
        for piece in queue {
            if inputs.blocking_send(work(piece)).is_err() {
                return;
            }
        }
    })?;
    Ok(sender)
}

struct Driver {
    node: ControllerNode,
    queue: mpsc::Receiver<Input>,
    disk: DiskThreads,
    /// What the thread of the metadata log has not done yet.
    persisting: Option<u64>,
    stall: Stall<u64>,
    senders: RaftSenders,
    answers: BTreeMap<Ticket, Answer>,
    next_ticket: u64,
    images: watch::Sender<Arc<Image>>,
    active: watch::Sender<Option<ActiveController>>,
    caught_up: watch::Sender<bool>,
    fatal: mpsc::UnboundedSender<String>,
    /// For tasks that report back; weak, so that the driver ends with the last handle.
    inputs: mpsc::WeakSender<Input>,
}

impl Driver {
    async fn run(mut self, tick: Duration) {
        let mut ticks = tokio::time::interval(tick);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut inputs = Vec::with_capacity(INPUTS_PER_TURN_MAX);
        loop {
            // Cancel-safe: an interval's tick and recv_many are.
            tokio::select! {
                _ = ticks.tick() => {
                    if self.disk_is_stuck() {
                        return;
                    }
                    self.node.tick(clock::monotonic());
                }
                taken = self.queue.recv_many(&mut inputs, INPUTS_PER_TURN_MAX) => {
                    if taken == 0 {
                        return;
                    }
                    inputs.drain(..).for_each(|input| self.take(input));
                }
            }
            let effects = self.node.ready();
            if !self.perform(effects) {
                return;
            }
        }
    }

    fn take(&mut self, input: Input) {
        let now = clock::monotonic();
        match input {
            Input::Request(operation, answer) => {
                let ticket = Ticket(self.next_ticket);
                self.next_ticket += 1;
                self.answers.insert(ticket, answer);
                self.node.request(now, ticket, *operation);
            }
            Input::Message(bytes) => self.node.message(now, &bytes),
            Input::Persisted(number, outcome) => {
                self.persisting = None;
                self.node.persisted(now, number, outcome);
            }
            Input::SnapshotWritten(outcome) => self.node.snapshot_written(now, outcome),
            Input::Probed(id, outcome) => self.node.probed(now, id, outcome),
            Input::Resign => self.node.resign(),
        }
    }

    /// A disk that takes this long has failed, as for any log directory: the other controllers must be able to
    /// go on without this one, and a leader whose disk hangs would still be heard.
    fn disk_is_stuck(&mut self) -> bool {
        let stuck = self.stall.tick(clock::monotonic(), self.persisting) > STALL_MAX;
        if stuck {
            error!("the controller must stop: its disk does not answer");
            let seconds = STALL_MAX.as_secs();
            let _ending = self.fatal.send(format!("writing the metadata log takes more than {seconds} s"));
        }
        stuck
    }

    /// False if the process must end.
    fn perform(&mut self, effects: Effects) -> bool {
        if let Some(reason) = effects.fatal {
            error!(%reason, "the controller must stop");
            // The process ends whether or not anybody still listens.
            let _ending = self.fatal.send(reason);
            return false;
        }
        effects.send.into_iter().for_each(|outgoing| self.senders.send(outgoing));
        effects.probes.into_iter().for_each(|probe| self.probe(probe));
        if !self.give_to_disk(effects.persist, effects.snapshot) {
            let _ending = self.fatal.send("a thread of the metadata log is gone".to_owned());
            return false;
        }
        if let Some(image) = effects.image {
            self.images.send_replace(Arc::new(image));
        }
        self.report();
        for (ticket, result) in effects.replies {
            if let Some(answer) = self.answers.remove(&ticket) {
                // Whoever asked may have gone.
                let _gone = answer.send(result);
            }
        }
        effects.events.iter().for_each(log);
        true
    }

    /// Sees whether anybody listens at a node.
    fn probe(&self, probe: Probe) {
        let inputs = self.inputs.clone();
        tokio::spawn(async move {
            let address = (probe.address.host.as_str(), probe.address.port);
            let connected = tokio::time::timeout(PROBE_TIMEOUT, TcpStream::connect(address)).await;
            let outcome = match connected {
                Ok(Err(error)) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
                    ProbeOutcome::Refused
                }
                Ok(_) | Err(_) => ProbeOutcome::Unknown,
            };
            // A machine that is gone wants to know nothing.
            if let Some(inputs) = inputs.upgrade() {
                let _gone = inputs.send(Input::Probed(probe.id, outcome)).await;
            }
        });
    }

    /// Each thread has at most one piece of work, so neither channel is ever full, and nothing waits here.
    fn give_to_disk(&mut self, persist: Option<Persist>, snapshot: Option<Image>) -> bool {
        if let Some(persist) = &persist {
            self.persisting = Some(persist.number);
        }
        persist.is_none_or(|persist| self.disk.persists.try_send(persist).is_ok())
            && snapshot.is_none_or(|image| self.disk.snapshots.try_send(image).is_ok())
    }

    /// Tells whom this controller follows, when that changes.
    fn report(&mut self) {
        let leader = self.node.leader();
        let caught_up = leader.is_some() && self.node.has_applied_of_term();
        self.caught_up.send_if_modified(|known| std::mem::replace(known, caught_up) != caught_up);
        let active = leader.map(|leader| ActiveController {
            address: HostPort::new(leader.address.host, leader.address.port),
        });
        self.active.send_if_modified(|known| {
            let changed = *known != active;
            *known = active;
            changed
        });
    }
}

fn log(event: &NodeEvent) {
    match event {
        NodeEvent::BadMessage { reason } => info!(%reason, "a controller sent a message that cannot be read"),
        NodeEvent::SnapshotTaken(id) => {
            info!(offset = id.offset.0, term = id.term.0, "metadata snapshot taken")
        }
        // Somebody must act, and soon: the node has no vote worth anything.
        NodeEvent::Quorum(QuorumEvent::Refused { from, reason: reason @ Refusal::LogLost { .. } }) => {
            error!(?from, %reason, "this node's metadata log has lost its end: stop it, empty its directory, format it anew");
        }
        NodeEvent::Quorum(event) => info!(?event, "metadata quorum"),
        NodeEvent::Controller(ControllerEvent::UncleanElection { partition, leader }) => warn!(
            topic_id = %partition.topic_id, partition = %partition.partition, %leader,
            "a replica leads that may lack records, no better one was left"
        ),
        NodeEvent::Controller(event) => info!(?event, "controller"),
    }
}

#[cfg(test)]
mod tests;
