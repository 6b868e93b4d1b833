//! Brokers: registering, living, losing directories, being fenced, stopping (rules 61 and 62 of the protocol,
//! decisions 6 and 14).
//!
//! ```text
//! registered → fenced ──caught up──▶ unfenced ──wants to stop──▶ in controlled shutdown
//!                 ▲                     │ session over                 │ may stop, or session over
//!                 └─────────────────────┴──────────────────────────────┘
//! ```

use std::collections::BTreeSet;
use std::sync::Arc;

use super::damaged::DamagedLogs;
use super::error::OperationError;
use super::features::check_features;
use super::operation::{Heartbeat, HeartbeatReply, RegisterBroker, RegisteredBroker, Reply};
use super::partitions::{Partitions, leads_anything};
use super::state::{ControllerConfig, Outcome, State};
use crate::ids::{BrokerEpoch, DirectoryId, NodeId};
use crate::metadata::image::{Broker, Fencing, Image};
use crate::metadata::record::{self, BrokerRegistrationChange, Record};
use crate::time::Monotonic;

impl State {
    /// BrokerRegistration. The epoch of the reply is filled in when the record has its offset.
    pub(super) fn register_broker(
        &self,
        config: &ControllerConfig,
        now: Monotonic,
        request: &RegisterBroker,
    ) -> Result<Outcome, OperationError> {
        let id = request.node_id;
        if request.cluster_id != self.image.cluster_id {
            return Err(OperationError::InconsistentClusterId);
        }
        let mut directories = request.directories.clone();
        directories.sort_unstable();
        self.check_registration(request, &directories)?;
        check_features(&self.image, &request.features)?;
        if let Some(before) = self.image.brokers.get(&id) {
            let other_process = before.incarnation_id != request.incarnation_id;
            // A process that holds one of its directories has its lock, so the one before is gone.
            let shares_directory = before.directories.iter().any(|id| directories.contains(id));
            if other_process && !shares_directory && self.has_session(now, id) {
                return Err(OperationError::DuplicateBrokerRegistration(id));
            }
        }
        // It begins fenced. The registration comes last, as in `change`.
        let before = self.image.brokers.get(&id);
        let without = with(&self.image, before.iter().map(|broker| change_of(broker, Fencing::Fenced, None)));
        let partitions = Partitions::of(&without, config, &self.damaged);
        // The same process that registers again has lost nothing. Of one that was unregistered nobody can say any more
        // how it stopped.
        let crashed = before.is_none_or(|before| {
            before.incarnation_id != request.incarnation_id && Some(before.epoch) != request.previous_epoch
        });
        let mut records = partitions.broker_registers(id, &directories, crashed);
        records.push(Record::RegisterBroker(record::RegisterBroker {
            node_id: id,
            incarnation_id: request.incarnation_id,
            endpoints: request.endpoints.clone(),
            rack: request.rack.clone(),
            directories,
            features: request.features.clone(),
            fencing: Fencing::Fenced,
            epoch: None,
            offline_directories: Vec::new(),
        }));
        Ok(Outcome { records, reply: Reply::RegisterBroker(RegisteredBroker { epoch: BrokerEpoch(-1) }) })
    }

    /// BrokerHeartbeat.
    pub(super) fn heartbeat(
        &self,
        config: &ControllerConfig,
        request: &Heartbeat,
    ) -> Result<Outcome, OperationError> {
        let id = request.node_id;
        let broker = self.image.brokers.get(&id).ok_or(OperationError::BrokerIdNotRegistered(id))?;
        if broker.epoch != request.epoch {
            return Err(OperationError::StaleBrokerEpoch { node_id: id });
        }
        let caught_up = i64::try_from(request.metadata_offset.0).is_ok_and(|offset| offset >= broker.epoch.0);
        let mut should_shut_down = false;
        let next = match (broker.fencing, request.want_shutdown) {
            (Fencing::Fenced, true) => {
                should_shut_down = true;
                Fencing::Fenced
            }
            (Fencing::Fenced, false) if caught_up && !request.want_fence => Fencing::Unfenced,
            (Fencing::Fenced, false) => Fencing::Fenced,
            (Fencing::Unfenced, true) => Fencing::InControlledShutdown,
            (Fencing::Unfenced, false) if request.want_fence => Fencing::Fenced,
            (Fencing::Unfenced, false) => Fencing::Unfenced,
            (Fencing::InControlledShutdown, _) if self.may_shut_down(id) => {
                should_shut_down = true;
                Fencing::Fenced
            }
            (Fencing::InControlledShutdown, _) => Fencing::InControlledShutdown,
        };
        let records = self.follow_heartbeat(config, broker, next, request);
        let fenced = next == Fencing::Fenced;
        let reply = Reply::Heartbeat(HeartbeatReply { caught_up, fenced, should_shut_down });
        Ok(Outcome { records, reply })
    }

    /// UnregisterBroker. As in Kafka it may be in service; whoever still runs registers anew. It stays the replica that
    /// it is until somebody reassigns the partitions, and an eligible leader where nobody else has everything.
    pub(super) fn unregister_broker(
        &self,
        config: &ControllerConfig,
        id: NodeId,
    ) -> Result<Outcome, OperationError> {
        let broker = self.image.brokers.get(&id).ok_or(OperationError::BrokerIdNotRegistered(id))?;
        let after = with(&self.image, [change_of(broker, Fencing::Fenced, None)]);
        // The end of the registration comes last, as in `change`.
        let mut records = Partitions::of(&after, config, &self.damaged).broker_leaves(id);
        records.push(Record::UnregisterBroker(record::UnregisterBroker { node_id: id, epoch: broker.epoch }));
        Ok(Outcome { records, reply: Reply::UnregisterBroker })
    }

    /// What fences the first broker whose session is over. None of the others whose session is over too gets anything
    /// to lead in the meantime: it could be one that lacks records, in the place of one that has them and comes back.
    pub(super) fn fence_silent_broker(
        &self,
        config: &ControllerConfig,
        now: Monotonic,
    ) -> Option<(NodeId, Vec<Record>)> {
        let serving = self.image.reachable_brokers();
        let silent: Vec<&Arc<Broker>> =
            serving.filter(|broker| !self.has_session(now, broker.node_id)).collect();
        let first = silent.first()?;
        let after = with(&self.image, silent.iter().map(|broker| change_of(broker, Fencing::Fenced, None)));
        let mut records = Partitions::of(&after, config, &self.damaged).broker_leaves(first.node_id);
        records.push(change_of(first, Fencing::Fenced, None));
        Some((first.node_id, records))
    }

    fn check_registration(
        &self,
        request: &RegisterBroker,
        directories: &[DirectoryId],
    ) -> Result<(), OperationError> {
        let id = request.node_id;
        let refuse = |text: String| Err(OperationError::InvalidRegistration(text));
        if id.0 < 0 {
            return refuse(format!("broker id {id} is negative"));
        }
        if request.endpoints.is_empty() {
            return refuse(format!("broker {id} names no listener"));
        }
        let listeners: BTreeSet<&str> =
            request.endpoints.iter().map(|endpoint| endpoint.listener.as_str()).collect();
        if listeners.len() != request.endpoints.len() {
            return refuse(format!("broker {id} names a listener twice"));
        }
        if directories.is_empty() || directories.iter().any(|directory| directory.0.is_nil()) {
            return refuse(format!("broker {id} names no log directory"));
        }
        if directories.windows(2).any(|pair| pair[0] == pair[1]) {
            return refuse(format!("broker {id} names a log directory twice"));
        }
        let shared = self.image.brokers.values().find(|other| {
            other.node_id != id && other.directories.iter().any(|directory| directories.contains(directory))
        });
        match shared {
            Some(other) => refuse(format!("broker {id} names a log directory of broker {}", other.node_id)),
            None => Ok(()),
        }
    }

    /// What a heartbeat leads to. Of damaged logs it comes first who counts on them no more: none of them must lead when
    /// the broker comes into service.
    fn follow_heartbeat(
        &self,
        config: &ControllerConfig,
        broker: &Broker,
        next: Fencing,
        request: &Heartbeat,
    ) -> Vec<Record> {
        let (id, offline) = (broker.node_id, offline_of(broker, request));
        if request.damaged_logs.is_empty() && self.damaged.of(id).next().is_none() {
            return change(&self.image, config, &self.damaged, broker, next, &offline);
        }
        let mut damaged = self.damaged.clone();
        damaged.told(id, &request.damaged_logs);
        let mut records = Partitions::of(&self.image, config, &damaged).logs_are_damaged(id, &self.damaged);
        let image = with(&self.image, records.clone());
        records.extend(change(&image, config, &damaged, broker, next, &offline));
        if self.damaged.of(id).any(|at| !damaged.contains(id, at)) {
            // What it could not lead it may be the only one to.
            let image = with(&self.image, records.clone());
            records.extend(Partitions::of(&image, config, &damaged).elect_leaders());
        }
        records
    }

    /// A broker may stop when it leads nothing and every other broker in service knows so.
    fn may_shut_down(&self, id: NodeId) -> bool {
        let Some(since) = self.shutdowns.get(&id) else { return false };
        let others_know = self.image.live_brokers().filter(|broker| broker.node_id != id).all(|broker| {
            self.sessions.get(&broker.node_id).is_some_and(|session| session.metadata_offset >= *since)
        });
        others_know && !leads_anything(&self.image, id)
    }
}

/// What it takes to make a broker this, with these directories failed.
///
/// It may take more than one entry (see `Controller::write`), and be cut short there. A broker that goes is
/// therefore out of service only with the last record: until then its session, its heartbeat or its registration
/// leads here again, and does what is left. One that comes is in service with the first record, so that at no time
/// somebody leads who is not; what is left is then done with all else that nobody leads, see `Controller::tick`.
fn change(
    image: &Image,
    config: &ControllerConfig,
    damaged: &DamagedLogs,
    broker: &Broker,
    next: Fencing,
    offline: &[DirectoryId],
) -> Vec<Record> {
    let id = broker.node_id;
    let directories_fail_too = broker.offline_directories != offline;
    if broker.fencing == next && !directories_fail_too {
        return Vec::new();
    }
    let change = change_of(broker, next, directories_fail_too.then(|| offline.to_vec()));
    let after = with(image, [change.clone()]);
    let partitions = Partitions::of(&after, config, damaged);
    let mut records = match (broker.fencing, next) {
        (before, after) if before == after => partitions.directories_fail(id, offline),
        (_, Fencing::Fenced | Fencing::InControlledShutdown) => partitions.broker_leaves(id),
        (_, Fencing::Unfenced) => {
            let mut records = vec![change];
            records.extend(partitions.elect_leaders());
            return records;
        }
    };
    records.push(change);
    records
}

/// An image after changes that fit it.
fn with(image: &Image, changes: impl IntoIterator<Item = Record>) -> Image {
    let mut image = image.clone();
    for change in changes {
        image.replay(image.offset, &change).expect("it was decided on this image");
    }
    image
}

fn change_of(broker: &Broker, fencing: Fencing, offline_directories: Option<Vec<DirectoryId>>) -> Record {
    let (node_id, epoch) = (broker.node_id, broker.epoch);
    Record::BrokerRegistrationChange(BrokerRegistrationChange {
        node_id,
        epoch,
        fencing,
        offline_directories,
    })
}

/// The failed directories of a broker after its heartbeat: a directory that has failed stays so until the
/// broker registers anew. Ids that are none of its directories mean nothing.
fn offline_of(broker: &Broker, request: &Heartbeat) -> Vec<DirectoryId> {
    let failed = |id: &&DirectoryId| {
        broker.offline_directories.contains(id) || request.offline_directories.contains(id)
    };
    broker.directories.iter().filter(failed).copied().collect()
}
