//! What a broker does toward the controller: find the active one, register, follow the metadata log, come into
//! service, show that it lives, stop in order.
//!
//! [`Lifecycle`] is one machine, step/ready: time and replies in; requests and images out. The driver sends each
//! [`Call`] to its address and reports what came back under its number. Nothing is ever waited for here.
//!
//! ```text
//! Starting ─registered─▶ Fenced ─caught up, logs recovered─▶ Running ─shut_down()─▶ Stopping ─▶ Stopped
//!     ▲                     │  ▲                                │
//!     └──epoch is stale─────┘  └────────fenced by controller────┘
//! ```

mod assignments;
mod finder;
#[cfg(test)]
mod fixture;
mod follower;
mod line;
mod proposals;
mod registration;
mod session;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use self::assignments::Assignments;
use self::finder::Finder;
pub use self::follower::FollowError;
use self::follower::Follower;
pub use self::proposals::ProposalAnswer;
use self::proposals::Proposals;
use self::registration::Registration;
use self::session::Session;
use crate::config::Address;
use crate::controller::OperationError;
#[cfg(doc)]
use crate::controller::operation::Heartbeat;
use crate::controller::operation::{Operation, RegisterBroker, Reply};
use crate::ids::{BrokerEpoch, DirectoryId, MetadataOffset, NodeId, TopicPartition};
use crate::metadata::image::Image;
use crate::partition::IsrProposal;
use crate::time::Monotonic;

/// The name of the follower's calls in events.
const FETCH: &str = "metadata fetch";

/// The name of a registration in events.
const REGISTER: &str = "broker registration";

/// The name of the leaders' calls in events.
const ALTER: &str = "change of an ISR";

/// The name in events of the calls that say where replicas lie.
const ASSIGN: &str = "assignment of replicas to log directories";

/// The pause after a refusal that time may heal, such as an id whose last holder's session is not over.
const REFUSED_BACKOFF: Duration = Duration::from_millis(500);

/// A broker that stops, and has heard of no controller for so long, goes without leave: when a whole cluster
/// stops, the last ones have nobody to ask. It is longer than an election takes.
const SILENCE_MAX: Duration = Duration::from_secs(4);

/// How a broker behaves toward the controller.
#[derive(Debug, Clone)]
pub struct LifecycleConfig {
    /// What it registers with. A new process has a new incarnation.
    pub registration: RegisterBroker,
    /// Where controllers may be found (`controller.quorum.bootstrap.servers`).
    pub controllers: Vec<Address>,
    /// `broker.heartbeat.interval.ms`
    pub heartbeat_interval: Duration,
    /// `broker.session.timeout.ms`
    pub session_timeout: Duration,
    /// How long to wait for a reply before asking another controller (`controller.quorum.request.timeout.ms`).
    pub request_timeout: Duration,
    /// The pause after a failure (`controller.quorum.retry.backoff.ms`).
    pub retry_backoff: Duration,
}

impl LifecycleConfig {
    /// The defaults of the configuration's table, but for a longer pause after a failure.
    pub fn new(registration: RegisterBroker, controllers: Vec<Address>) -> Self {
        Self {
            registration,
            controllers,
            heartbeat_interval: Duration::from_millis(500),
            session_timeout: Duration::from_secs(4),
            request_timeout: Duration::from_secs(2),
            retry_backoff: Duration::from_millis(50),
        }
    }
}

/// A request's own number, given back with what came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallNumber(pub u64);

/// A request to a controller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// To be given back with the reply.
    pub number: CallNumber,
    /// The controller to ask.
    pub to: Address,
    /// The request.
    pub operation: Operation,
}

/// Why there is no reply.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The controller could not be reached, or the connection broke.
    #[error("the controller cannot be reached")]
    Unreachable,
    /// The controller refused.
    #[error(transparent)]
    Refused(#[from] OperationError),
    /// The controller refused for a reason that this release does not know.
    #[error("the controller refuses with error {0}")]
    RefusedWithCode(i16),
}

/// Where a broker stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BrokerState {
    /// Not registered yet.
    Starting,
    /// Registered, and its logs are not yet recovered.
    Recovering,
    /// Registered, and not in service.
    Fenced,
    /// In service.
    Running,
    /// On its way out.
    Stopping,
    /// It may exit.
    Stopped,
}

/// Something worth a line in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LifecycleEvent {
    /// The broker is part of the cluster.
    Registered {
        /// Under this epoch.
        epoch: BrokerEpoch,
    },
    /// It is in service.
    Unfenced,
    /// It is not in service.
    Fenced,
    /// A request did not succeed; it is repeated.
    Failed {
        /// Which request.
        what: &'static str,
        /// At which controller.
        at: Address,
        /// Why.
        reason: CallError,
    },
    /// The controller knows where a replica is.
    AssignmentAccepted {
        /// Which replica.
        partition: TopicPartition,
        /// The directory.
        directory: DirectoryId,
    },
    /// The controller does not believe that a replica lies there, and will not. It is not told again.
    AssignmentRefused {
        /// Of which partition.
        partition: TopicPartition,
        /// Where this broker says that it lies.
        directory: DirectoryId,
        /// Why not.
        reason: OperationError,
    },
    /// The active controller lets it exit.
    Stopped,
    /// It exits without leave: no controller answers.
    StoppedAlone,
}

/// What is to be done.
#[derive(Debug, Default)]
pub struct LifecycleEffects {
    /// To be sent.
    pub calls: Vec<Call>,
    /// The image that is committed, if it is another than before. The first one has this process's own
    /// registration in it. See [`Lifecycle::published`].
    pub image: Option<Image>,
    /// What came of what leaders here proposed.
    pub answers: Vec<ProposalAnswer>,
    /// To be logged.
    pub events: Vec<LifecycleEvent>,
    /// Why this process must exit now.
    pub fatal: Option<String>,
}

/// A broker toward the controller.
#[derive(Debug)]
pub struct Lifecycle {
    config: LifecycleConfig,
    finder: Finder,
    registration: Registration,
    follower: Follower,
    proposals: Proposals,
    assignments: Assignments,
    effects: LifecycleEffects,
    next_call: u64,
    /// Whom each call on its way was sent to.
    asked: BTreeMap<CallNumber, Address>,
    session: Session,
    in_service: bool,
    /// Whether an image with this process's own registration was reached.
    caught_up: bool,
    /// See [`Lifecycle::published`].
    published: MetadataOffset,
    /// When a controller last answered, or when this broker was told to stop.
    heard_at: Monotonic,
    now: Monotonic,
}

impl Lifecycle {
    /// A broker that just started.
    pub fn new(config: LifecycleConfig, now: Monotonic) -> Self {
        Self {
            finder: Finder::new(config.controllers.clone()),
            registration: Registration::default(),
            follower: Follower::new(config.registration.node_id),
            proposals: Proposals::default(),
            assignments: Assignments::default(),
            effects: LifecycleEffects::default(),
            next_call: 1,
            asked: BTreeMap::new(),
            session: Session::new(config.session_timeout),
            in_service: false,
            caught_up: false,
            published: MetadataOffset(0),
            heard_at: now,
            now,
            config,
        }
    }

    /// Lets time pass. Call it at least every 50 ms, or at [`Lifecycle::wakes_at`].
    pub fn tick(&mut self, now: Monotonic) {
        self.now = self.now.max(now);
    }

    /// When something is to be done without any input.
    pub fn wakes_at(&self) -> Monotonic {
        let (config, epoch) = (&self.config, self.epoch());
        let registered = self.registration.line.wakes_at(config, true);
        let asked =
            [registered, self.proposals.wakes_at(config, epoch), self.assignments.wakes_at(config, epoch)];
        let next = asked.into_iter().flatten().fold(self.follower.wakes_at(config), Ord::min);
        if self.state() == BrokerState::Stopping { next.min(self.heard_at.plus(SILENCE_MAX)) } else { next }
    }

    /// The logs are recovered: the broker may come into service.
    pub fn recovered(&mut self) {
        self.registration.recovered();
    }

    /// The broker answers by the metadata up to there: the controller is told so, takes a broker into service only then,
    /// and lets another end only when those that stay know who leads in its place.
    pub fn published(&mut self, offset: MetadataOffset) {
        self.published = self.published.max(offset);
    }

    /// A leader here wants another ISR, in place of what it wanted before.
    pub fn propose(&mut self, partition: TopicPartition, proposal: IsrProposal) {
        self.proposals.propose(partition, proposal);
    }

    /// A replica of this broker lies in this of its log directories, which the controller is told until it takes it, or
    /// refuses it for good ([`LifecycleEvent::AssignmentRefused`]); the newest wish for a partition counts. A request
    /// that was given up may be carried out after its successor: go on comparing the metadata with where the log lies.
    pub fn assign_directory(&mut self, partition: TopicPartition, directory: DirectoryId) {
        self.assignments.assign(partition, directory);
    }

    /// The controller is not told any more where that replica lies. A request on its way is not called back.
    pub fn forget_assignment(&mut self, partition: TopicPartition) {
        self.assignments.forget(partition);
    }

    /// A log directory has failed for ever: the controller is told with a heartbeat at once, and again with
    /// every later one.
    pub fn directory_failed(&mut self, directory: DirectoryId) {
        self.registration.directory_failed(directory);
    }

    /// These logs of its replicas are damaged, in place of what was said before: the controller is told with a heartbeat at
    /// once, and with every later one, of [`Heartbeat::DAMAGED_MAX`] at most.
    pub fn damaged(&mut self, logs: BTreeSet<TopicPartition>) {
        self.registration.damaged(logs);
    }

    /// Stops in order: the controller moves what this broker leads, then [`BrokerState::Stopped`] is reached. It
    /// is reached, too, if no controller answers for long enough.
    pub fn shut_down(&mut self, now: Monotonic) {
        self.now = self.now.max(now);
        self.heard_at = self.now;
        self.registration.shut_down();
    }

    /// Takes what came of a call.
    pub fn replied(&mut self, now: Monotonic, number: CallNumber, result: Result<Reply, CallError>) {
        self.now = self.now.max(now);
        if result.is_ok() {
            self.heard_at = self.now;
        }
        let Some(at) = self.asked.remove(&number) else { return };
        let keeps_session = self.registration.line.awaits(number);
        match self.came_of(number, result) {
            Ok(()) if keeps_session => self.give_up_at_others_than(&at),
            Ok(()) => {}
            Err((what, reason)) => self.failed(what, at, reason),
        }
    }

    /// Gives what came of a call to who made it; nobody did whose call was given up.
    fn came_of(
        &mut self,
        number: CallNumber,
        result: Result<Reply, CallError>,
    ) -> Result<(), (&'static str, CallError)> {
        if self.follower.awaits(number) {
            self.followed(number, result).map_err(|reason| (FETCH, reason))
        } else if self.proposals.line.awaits(number) {
            let answers = self.proposals.replied(result, self.now.plus(self.config.retry_backoff));
            answers.map(|answers| self.effects.answers.extend(answers)).map_err(|reason| (ALTER, reason))
        } else if self.assignments.line.awaits(number) {
            let refused = self.assignments.replied(result, self.now.plus(self.config.retry_backoff));
            refused.map(|refused| self.effects.events.extend(refused)).map_err(|reason| (ASSIGN, reason))
        } else if self.registration.line.awaits(number) {
            let what = self.registration.name();
            self.registered(number, result).map_err(|reason| (what, reason))
        } else {
            Ok(())
        }
    }

    /// Who takes registrations and heartbeats is the active controller. What is on its way to another would wait there
    /// until its time is over, if that one is cut off or stands still: it is asked again.
    fn give_up_at_others_than(&mut self, active: &Address) {
        if active != self.finder.current() {
            return;
        }
        let elsewhere = self.asked.extract_if(.., |_, at| at != active).map(|(number, _)| number);
        for number in elsewhere.collect::<Vec<_>>() {
            // Nobody has failed: whoever made the call makes it again at once, at the one that answers.
            let _given_up = self.came_of(number, Err(CallError::Unreachable));
        }
    }

    /// What is to be done now.
    pub fn ready(&mut self) -> LifecycleEffects {
        let now = self.now;
        let late = [
            (FETCH, self.follower.timed_out(now, &self.config)),
            (ALTER, self.proposals.timed_out(now, &self.config)),
            (ASSIGN, self.assignments.line.timed_out(now, &self.config)),
            (self.registration.name(), self.registration.line.timed_out(now, &self.config)),
        ];
        for (what, number) in late {
            if let Some(at) = number.and_then(|number| self.asked.remove(&number)) {
                self.failed(what, at, CallError::Unreachable);
            }
        }
        if self.state() == BrokerState::Stopping && now.since(self.heard_at) >= SILENCE_MAX {
            self.registration.stop_alone();
            self.effects.events.push(LifecycleEvent::StoppedAlone);
        }
        let image = self.follower.image();
        if let Some(operation) = self.registration.next(now, &self.config, image, self.published) {
            let number = self.call(operation);
            self.registration.line.sent(number, now);
        }
        if self.registration.state(false) != BrokerState::Stopped {
            let epoch = self.registration.epoch();
            if let Some(operation) = self.follower.next(now) {
                let number = self.call(operation);
                self.follower.sent(number, now);
            }
            if let Some(operation) = self.proposals.next(now, &self.config, epoch) {
                let number = self.call(operation);
                self.proposals.line.sent(number, now);
            }
            if let Some(operation) = self.assignments.next(now, &self.config, epoch) {
                let number = self.call(operation);
                self.assignments.line.sent(number, now);
            }
        }
        std::mem::take(&mut self.effects)
    }

    /// Where the broker stands.
    pub fn state(&self) -> BrokerState {
        self.registration.state(self.in_service)
    }

    /// The epoch of the current registration.
    pub fn epoch(&self) -> Option<BrokerEpoch> {
        self.registration.epoch()
    }

    /// Until when this broker may believe what it knows of its own leaderships: at that time the active controller may take
    /// it out of service, for want of a heartbeat. In the past while it may have done so.
    pub fn session_ends(&self) -> Monotonic {
        self.session.ends()
    }

    /// The committed metadata, as far as it was pulled.
    pub fn image(&self) -> &Image {
        self.follower.image()
    }

    /// The controller that is asked at the moment: where requests of clients are forwarded to.
    pub fn controller(&self) -> &Address {
        self.finder.current()
    }

    /// The broker's id.
    pub fn node_id(&self) -> NodeId {
        self.config.registration.node_id
    }

    fn call(&mut self, operation: Operation) -> CallNumber {
        let number = CallNumber(self.next_call);
        self.next_call += 1;
        let to = self.finder.current().clone();
        self.asked.insert(number, to.clone());
        self.effects.calls.push(Call { number, to, operation });
        number
    }

    fn followed(&mut self, number: CallNumber, result: Result<Reply, CallError>) -> Result<(), CallError> {
        let before = self.follower.image().offset;
        match self.follower.replied(number, result) {
            Ok(()) => {}
            Err(FollowError::Call(error)) => return Err(error),
            Err(FollowError::Contents(reason)) => {
                self.effects.fatal = Some(format!("the cluster's metadata cannot be used: {reason}"));
            }
        }
        if self.follower.image().offset != before {
            self.new_image();
        }
        if let Some(time) = self.follower.complete_as_of() {
            self.session.knows_metadata_of(time);
        }
        Ok(())
    }

    fn new_image(&mut self) {
        let image = self.follower.image();
        self.finder.learn(image);
        let me = image.brokers.get(&self.config.registration.node_id);
        let in_service = self.registration.is_in_service(me.map(AsRef::as_ref));
        self.caught_up |= me.is_some_and(|me| Some(me.epoch) == self.registration.epoch());
        if in_service != self.in_service {
            self.in_service = in_service;
            self.effects.events.push(if in_service {
                LifecycleEvent::Unfenced
            } else {
                LifecycleEvent::Fenced
            });
        }
        // What lies before the own registration is the past, of which this broker's disk holds the future:
        // led by it, in an epoch long over; topics since deleted, whose directories others now have.
        if self.caught_up {
            self.effects.image = Some(self.follower.image().clone());
        }
    }

    fn registered(&mut self, number: CallNumber, result: Result<Reply, CallError>) -> Result<(), CallError> {
        let before = (self.registration.epoch(), self.registration.state(false));
        let sent = self.registration.line.sent_at();
        let result = self.registration.replied(number, result, self.now, &self.config);
        match (&result, sent) {
            (Ok(()), Some(sent)) => self.session.accepted(sent, self.now),
            (Ok(()) | Err(_), _) if self.registration.epoch().is_none() => self.session.lost(),
            (Ok(()) | Err(_), _) => {}
        }
        if let Some(epoch) = self.registration.epoch().filter(|epoch| before.0 != Some(*epoch)) {
            self.effects.events.push(LifecycleEvent::Registered { epoch });
            let (caught_up, image) = (self.caught_up, self.effects.image.take());
            self.new_image();
            if caught_up {
                // The image is no other than before.
                self.effects.image = image;
            }
        }
        if self.registration.state(false) == BrokerState::Stopped && before.1 != BrokerState::Stopped {
            self.effects.events.push(LifecycleEvent::Stopped);
        }
        result
    }

    fn failed(&mut self, what: &'static str, at: Address, reason: CallError) {
        match &reason {
            CallError::Unreachable => self.finder.try_next(&at),
            CallError::Refused(OperationError::NotController { leader }) => {
                self.finder.redirect(&at, *leader)
            }
            // Repeating that registration cannot help. In reply to anything else the same words mean less than
            // the end of a broker that serves.
            CallError::Refused(
                OperationError::InconsistentClusterId
                | OperationError::InvalidRegistration(_)
                | OperationError::UnsupportedVersion(_),
            ) if what == REGISTER => {
                self.effects.fatal = Some(format!("the controller refuses this broker: {reason}"));
            }
            CallError::Refused(_) | CallError::RefusedWithCode(_) => {}
        }
        let pause = match &reason {
            CallError::Unreachable | CallError::Refused(OperationError::NotController { .. }) => {
                self.config.retry_backoff
            }
            CallError::Refused(_) | CallError::RefusedWithCode(_) => REFUSED_BACKOFF,
        };
        match what {
            FETCH => self.follower.retry_at(self.now.plus(pause)),
            ALTER => self.proposals.line.retry_at(self.now.plus(pause)),
            ASSIGN => self.assignments.line.retry_at(self.now.plus(pause)),
            _ => self.registration.line.retry_at(self.now.plus(pause)),
        }
        self.effects.events.push(LifecycleEvent::Failed { what, at, reason });
    }
}
