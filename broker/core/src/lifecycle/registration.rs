//! Registering, heartbeats, and stopping in order.

use std::collections::BTreeSet;
use std::time::Duration;

use super::line::Line;
use super::{BrokerState, CallError, CallNumber, LifecycleConfig, REGISTER};
use crate::controller::OperationError;
use crate::controller::operation::{Heartbeat, Operation, Reply};
use crate::ids::{BrokerEpoch, DirectoryId, MetadataOffset, NodeId, TopicPartition};
use crate::metadata::image::{Broker, Fencing, Image};
use crate::time::Monotonic;

/// How often a broker that wants to stop asks whether it may. Others must hear of its new leaders first, which
/// takes them a round trip.
const STOP_INTERVAL: Duration = Duration::from_millis(50);

#[derive(Debug, Default)]
pub(super) struct Registration {
    epoch: Option<BrokerEpoch>,
    logs_recovered: bool,
    wants_shutdown: bool,
    /// Log directories that have failed, sorted.
    offline_directories: Vec<DirectoryId>,
    /// Replicas whose logs are damaged: the first of them.
    damaged_logs: Vec<TopicPartition>,
    stopped: bool,
    /// What the last heartbeat said.
    said: Option<Heartbeat>,
    pub(super) line: Line,
}

impl Registration {
    pub(super) fn epoch(&self) -> Option<BrokerEpoch> {
        self.epoch
    }

    pub(super) fn recovered(&mut self) {
        self.logs_recovered = true;
    }

    pub(super) fn directory_failed(&mut self, directory: DirectoryId) {
        if let Err(place) = self.offline_directories.binary_search(&directory) {
            self.offline_directories.insert(place, directory);
        }
    }

    pub(super) fn damaged(&mut self, logs: BTreeSet<TopicPartition>) {
        self.damaged_logs = logs.into_iter().take(Heartbeat::DAMAGED_MAX).collect();
    }

    pub(super) fn shut_down(&mut self) {
        self.wants_shutdown = true;
        // Nobody knows of it, so nobody needs to be told.
        self.stopped |= self.epoch.is_none() && self.line.is_free();
    }

    /// Nobody is left to ask.
    pub(super) fn stop_alone(&mut self) {
        self.stopped = true;
    }

    pub(super) fn is_in_service(&self, me: Option<&Broker>) -> bool {
        me.is_some_and(|me| Some(me.epoch) == self.epoch && me.fencing == Fencing::Unfenced)
    }

    pub(super) fn state(&self, in_service: bool) -> BrokerState {
        match (self.epoch, in_service) {
            _ if self.stopped => BrokerState::Stopped,
            _ if self.wants_shutdown => BrokerState::Stopping,
            (None, _) => BrokerState::Starting,
            (Some(_), true) => BrokerState::Running,
            (Some(_), false) if !self.logs_recovered => BrokerState::Recovering,
            (Some(_), false) => BrokerState::Fenced,
        }
    }

    pub(super) fn name(&self) -> &'static str {
        if self.epoch.is_none() { REGISTER } else { "broker heartbeat" }
    }

    pub(super) fn next(
        &mut self,
        now: Monotonic,
        config: &LifecycleConfig,
        image: &Image,
        published: MetadataOffset,
    ) -> Option<Operation> {
        if self.stopped || !self.line.is_free() {
            return None;
        }
        if !self.line.is_due(now) && !self.has_news(config.registration.node_id, image, published) {
            return None;
        }
        let Some(epoch) = self.epoch else {
            return Some(Operation::RegisterBroker(config.registration.clone()));
        };
        let heartbeat = Heartbeat {
            node_id: config.registration.node_id,
            epoch,
            metadata_offset: published,
            want_fence: !self.logs_recovered,
            want_shutdown: self.wants_shutdown,
            offline_directories: self.offline_directories.clone(),
            damaged_logs: self.damaged_logs.clone(),
        };
        self.said = Some(heartbeat.clone());
        Some(Operation::Heartbeat(heartbeat))
    }

    pub(super) fn replied(
        &mut self,
        number: CallNumber,
        result: Result<Reply, CallError>,
        now: Monotonic,
        config: &LifecycleConfig,
    ) -> Result<(), CallError> {
        debug_assert!(self.line.awaits(number), "the caller asks first");
        self.line.replied();
        match result {
            Ok(Reply::RegisterBroker(registered)) => {
                self.epoch = Some(registered.epoch);
                self.said = None;
                self.line.next_at(now);
                Ok(())
            }
            Ok(Reply::Heartbeat(heard)) => {
                self.stopped = self.wants_shutdown && heard.should_shut_down;
                let pause = if self.wants_shutdown { STOP_INTERVAL } else { config.heartbeat_interval };
                self.line.next_at(now.plus(pause));
                Ok(())
            }
            Ok(_) => Err(CallError::Unreachable),
            Err(error) => {
                let lost = matches!(
                    error,
                    CallError::Refused(
                        OperationError::StaleBrokerEpoch { .. } | OperationError::BrokerIdNotRegistered(_)
                    )
                );
                if lost {
                    self.epoch = None;
                    self.said = None;
                    // Whoever took the id over, or unregistered it, wants this broker gone anyway.
                    self.stopped = self.wants_shutdown;
                }
                Err(error)
            }
        }
    }

    /// Whether a heartbeat now would say something that the last did not, and that somebody waits for: the controller,
    /// or another broker that may not end before everybody knows who leads in its place.
    fn has_news(&self, me: NodeId, image: &Image, published: MetadataOffset) -> bool {
        let (Some(epoch), Some(said)) = (self.epoch, &self.said) else { return false };
        let caught_up =
            |offset: MetadataOffset| i64::try_from(offset.0).is_ok_and(|offset| offset >= epoch.0);
        let stops = |broker: &Broker| broker.node_id != me && broker.fencing == Fencing::InControlledShutdown;
        said.want_fence == self.logs_recovered
            || said.want_shutdown != self.wants_shutdown
            || said.offline_directories != self.offline_directories
            || said.damaged_logs != self.damaged_logs
            || (caught_up(published) && !caught_up(said.metadata_offset))
            || (published > said.metadata_offset && image.brokers.values().any(|broker| stops(broker)))
    }
}
