//! The lifecycle's requests as messages to a controller, and the answers back.

mod assignments;
mod isr;

use std::sync::Arc;
use std::time::Duration;

use ottla_client::{Connection, HostPort, Options};
use ottla_core::controller::OperationError;
use ottla_core::controller::operation::{
    FetchMetadata, FetchMetadataSnapshot, FetchedMetadata, Heartbeat, HeartbeatReply, Operation,
    RegisterBroker, RegisteredBroker, Reply, SnapshotPart,
};
use ottla_core::ids::{BrokerEpoch, MetadataOffset, NodeId, Term};
use ottla_core::lifecycle::{Call, CallError, CallNumber};
use ottla_core::quorum::SnapshotId;
use ottla_wire::broker_heartbeat::with_damaged_logs;
use ottla_wire::messages::broker_registration_request::{Feature, Listener};
use ottla_wire::messages::{BrokerHeartbeatRequest, BrokerId, BrokerRegistrationRequest};
use ottla_wire::private::{FetchMetadataRequest, FetchMetadataSnapshotRequest, LeaderHint};
use ottla_wire::protocol::StrBytes;
use tokio::sync::{Mutex, mpsc};
use tracing::debug;

type Replies = mpsc::UnboundedSender<(CallNumber, Result<Reply, CallError>)>;

/// A connection to one controller, made by who needs it first.
type Slot = Arc<Mutex<Option<Arc<Connection>>>>;

/// The controller that was asked last. Who waits for one before has a slot of its own, and holds up nobody who asks this one.
#[derive(Default)]
struct LastAsked(Option<(HostPort, Slot)>);

impl LastAsked {
    fn slot(&mut self, to: &HostPort) -> Slot {
        let held = self.0.take().filter(|(address, _)| address == to);
        let (_, slot) = self.0.insert(held.unwrap_or_else(|| (to.clone(), Slot::default())));
        Arc::clone(slot)
    }
}

/// Starts requests and brings their answers home.
pub(super) struct Callers {
    options: Options,
    replies: Replies,
    /// Fetches wait at the controller; nothing else may wait behind them.
    fetching: LastAsked,
    asking: LastAsked,
}

impl Callers {
    pub(super) fn new(request_timeout: Duration, replies: Replies) -> Self {
        let options = Options {
            client_id: "ottla-broker".to_owned(),
            connect_timeout: request_timeout,
            // The machine gives up by itself; this only frees the connection.
            request_timeout: request_timeout * 2,
            ..Options::default()
        };
        Self { options, replies, fetching: LastAsked::default(), asking: LastAsked::default() }
    }

    pub(super) fn start(&mut self, call: Call) {
        let fetches =
            matches!(call.operation, Operation::FetchMetadata(_) | Operation::FetchMetadataSnapshot(_));
        let to = HostPort::new(call.to.host.clone(), call.to.port);
        let slot = if fetches { &mut self.fetching } else { &mut self.asking }.slot(&to);
        let (options, replies) = (self.options.clone(), self.replies.clone());
        tokio::spawn(async move {
            let result = match connection(&slot, &to, &options).await {
                Ok(connection) => ask(&connection, call.operation).await,
                Err(error) => Err(error),
            };
            if result == Err(CallError::Unreachable) {
                slot.lock().await.take();
            }
            // The driver is gone only when the broker has stopped.
            let _gone = replies.send((call.number, result));
        });
    }
}

async fn connection(slot: &Slot, to: &HostPort, options: &Options) -> Result<Arc<Connection>, CallError> {
    let mut held = slot.lock().await;
    if let Some(connection) = held.as_ref().filter(|held| held.closed().is_none()) {
        return Ok(Arc::clone(connection));
    }
    *held = None;
    let made = Connection::connect(to, options).await.map_err(|error| {
        debug!(controller = %to, %error, "no connection");
        CallError::Unreachable
    })?;
    let made = Arc::new(made);
    *held = Some(Arc::clone(&made));
    Ok(made)
}

async fn ask(connection: &Connection, operation: Operation) -> Result<Reply, CallError> {
    match operation {
        Operation::RegisterBroker(request) => register(connection, request).await,
        Operation::Heartbeat(request) => heartbeat(connection, request).await,
        Operation::FetchMetadata(request) => fetch(connection, request).await,
        Operation::FetchMetadataSnapshot(request) => fetch_snapshot(connection, request).await,
        Operation::AlterPartition(request) => isr::alter(connection, request).await,
        Operation::AssignReplicasToDirs(request) => assignments::assign(connection, request).await,
        Operation::CreateTopics(_)
        | Operation::DeleteTopics(_)
        | Operation::CreatePartitions(_)
        | Operation::IncrementalAlterConfigs(_)
        | Operation::ElectLeaders(_)
        | Operation::AlterPartitionReassignments(_)
        | Operation::ListPartitionReassignments(_)
        | Operation::UnregisterBroker(_)
        | Operation::UpdateFeatures(_)
        | Operation::AllocateProducerIds(_)
        | Operation::DescribeQuorum
        | Operation::ChangeVoters(_)
        | Operation::RestartSafety(_) => unreachable!("a broker's life asks for none of these"),
    }
}

fn lost(error: ottla_client::ClientError) -> CallError {
    debug!(%error, "request to a controller failed");
    CallError::Unreachable
}

async fn register(connection: &Connection, request: RegisterBroker) -> Result<Reply, CallError> {
    let listeners = request.endpoints.iter().map(|endpoint| {
        Listener::default()
            .with_name(StrBytes::from_string(endpoint.listener.clone()))
            .with_host(StrBytes::from_string(endpoint.host.clone()))
            .with_port(endpoint.port)
            .with_security_protocol(endpoint.security_protocol)
    });
    let features = request.features.iter().map(|feature| {
        Feature::default()
            .with_name(StrBytes::from_string(feature.name.clone()))
            .with_min_supported_version(feature.level_min)
            .with_max_supported_version(feature.level_max)
    });
    let message = BrokerRegistrationRequest::default()
        .with_broker_id(BrokerId(request.node_id.0))
        .with_cluster_id(StrBytes::from_string(request.cluster_id.to_string()))
        .with_incarnation_id(request.incarnation_id.0)
        .with_listeners(listeners.collect())
        .with_features(features.collect())
        .with_rack(request.rack.map(StrBytes::from_string))
        .with_log_dirs(request.directories.iter().map(|directory| directory.0).collect())
        .with_previous_broker_epoch(request.previous_epoch.map_or(-1, |epoch| epoch.0));
    let response = connection.request(message).await.map_err(lost)?;
    check(response.error_code, request.node_id, None)?;
    Ok(Reply::RegisterBroker(RegisteredBroker { epoch: BrokerEpoch(response.broker_epoch) }))
}

async fn heartbeat(connection: &Connection, request: Heartbeat) -> Result<Reply, CallError> {
    let message = BrokerHeartbeatRequest::default()
        .with_broker_id(BrokerId(request.node_id.0))
        .with_broker_epoch(request.epoch.0)
        .with_current_metadata_offset(i64::try_from(request.metadata_offset.0).unwrap_or(i64::MAX))
        .with_want_fence(request.want_fence)
        .with_want_shut_down(request.want_shutdown)
        .with_offline_log_dirs(request.offline_directories.iter().map(|directory| directory.0).collect());
    let damaged = request.damaged_logs.iter().map(|log| (log.topic_id.0, log.partition.0));
    let message = with_damaged_logs(message, damaged);
    let response = connection.request(message).await.map_err(lost)?;
    check(response.error_code, request.node_id, None)?;
    Ok(Reply::Heartbeat(HeartbeatReply {
        caught_up: response.is_caught_up,
        fenced: response.is_fenced,
        should_shut_down: response.should_shut_down,
    }))
}

async fn fetch(connection: &Connection, request: FetchMetadata) -> Result<Reply, CallError> {
    let message = FetchMetadataRequest {
        node_id: u32::try_from(request.node_id.0).unwrap_or_default(),
        broker_epoch: -1,
        from_offset: request.after.0 + 1,
        max_bytes: u32::try_from(request.bytes_max).unwrap_or(u32::MAX),
        max_wait_ms: u32::try_from(request.wait_max.as_millis()).unwrap_or(u32::MAX),
    };
    let response = connection.request(message).await.map_err(lost)?;
    check(response.error_code, request.node_id, response.leader.as_ref())?;
    Ok(Reply::FetchMetadata(match response.snapshot {
        Some(id) => FetchedMetadata::UseSnapshot(SnapshotId {
            offset: MetadataOffset(id.offset),
            term: Term(id.term),
        }),
        None => FetchedMetadata::Entries {
            bytes: response.entries,
            committed: MetadataOffset(response.high_watermark),
        },
    }))
}

async fn fetch_snapshot(connection: &Connection, request: FetchMetadataSnapshot) -> Result<Reply, CallError> {
    let message = FetchMetadataSnapshotRequest {
        offset: request.id.offset.0,
        term: request.id.term.0,
        position: request.position,
        max_bytes: u32::try_from(request.bytes_max).unwrap_or(u32::MAX),
    };
    let response = connection.request(message).await.map_err(lost)?;
    check(response.error_code, NodeId(-1), None)?;
    Ok(Reply::FetchMetadataSnapshot(SnapshotPart {
        id: request.id,
        size: response.size,
        position: response.position,
        bytes: response.bytes,
    }))
}

/// The refusal that a code stands for. One that is not listed has no meaning here and must not be given one: a
/// controller of a later release may have reasons that this broker has never heard of.
fn check(code: i16, node_id: NodeId, leader: Option<&LeaderHint>) -> Result<(), CallError> {
    let leader = leader.and_then(|hint| i32::try_from(hint.node_id).ok()).map(NodeId);
    let text = || "the controller says so".to_owned();
    let error = match code {
        0 => return Ok(()),
        35 => OperationError::UnsupportedVersion(text()),
        41 => OperationError::NotController { leader },
        77 => OperationError::StaleBrokerEpoch { node_id },
        98 => OperationError::SnapshotNotFound,
        101 => OperationError::DuplicateBrokerRegistration(node_id),
        102 => OperationError::BrokerIdNotRegistered(node_id),
        104 => OperationError::InconsistentClusterId,
        119 => OperationError::InvalidRegistration(text()),
        other => return Err(CallError::RefusedWithCode(other)),
    };
    Err(CallError::Refused(error))
}

/// What the controller decided about one of several things that it was asked for, or why it has decided nothing.
type Decision<T> = Result<Result<T, OperationError>, CallError>;

/// What came of each thing that was asked for, in order. An answer that decides nothing is a refusal of all: that makes
/// the broker pause, and look for another controller if this one does not know enough. If others were decided they must
/// not wait for these.
fn settle<T>(decisions: Vec<Decision<T>>) -> Result<Vec<Result<T, OperationError>>, CallError> {
    if let Some(Err(first)) = decisions.first()
        && decisions.iter().all(Result::is_err)
    {
        return Err(first.clone());
    }
    let results = decisions.into_iter().map(|decision| {
        decision.unwrap_or_else(|undecided| {
            debug!(error = %undecided, "a part of a request was neither granted nor refused");
            // The one refusal after which it is asked for again.
            Err(OperationError::NotController { leader: None })
        })
    });
    Ok(results.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A fetch of the metadata from the controller on that port of this machine.
    fn fetch_from(number: u64, port: u16) -> Call {
        let (wait_max, bytes_max) = (FetchMetadata::WAIT_MAX, FetchMetadata::BYTES_MAX);
        let fetch = FetchMetadata { node_id: NodeId(1), after: MetadataOffset(0), wait_max, bytes_max };
        let to = ottla_core::config::Address { host: "127.0.0.1".to_owned(), port };
        Call { number: CallNumber(number), to, operation: Operation::FetchMetadata(fetch) }
    }

    #[tokio::test]
    async fn who_waits_for_a_controller_that_does_not_answer_holds_up_nobody_who_asks_another() {
        // It takes connections and says nothing; nobody is at the other's port.
        let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let gone = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let [silent_port, gone_port] = [&silent, &gone].map(|at| at.local_addr().unwrap().port());
        drop(gone);
        let (replies, mut heard) = mpsc::unbounded_channel();
        let mut callers = Callers::new(Duration::from_secs(2), replies);
        callers.start(fetch_from(1, silent_port));
        let _connected = silent.accept().await.unwrap();
        callers.start(fetch_from(2, gone_port));
        let first = heard.recv().await.unwrap();
        assert_eq!(first, (CallNumber(2), Err(CallError::Unreachable)));
        assert_eq!(heard.recv().await.unwrap(), (CallNumber(1), Err(CallError::Unreachable)));
    }

    #[test]
    fn a_code_that_nobody_knows_keeps_its_number() {
        assert_eq!(check(0, NodeId(1), None), Ok(()));
        assert_eq!(check(-1, NodeId(1), None), Err(CallError::RefusedWithCode(-1)));
        assert_eq!(check(31, NodeId(1), None), Err(CallError::RefusedWithCode(31)));
    }

    #[test]
    fn every_code_that_is_read_is_one_that_a_controller_writes() {
        for code in (-1..=200).filter(|code| *code != 0) {
            match check(code, NodeId(1), None) {
                Err(CallError::Refused(error)) => assert_eq!(error.code(), code),
                other => assert_eq!(other, Err(CallError::RefusedWithCode(code))),
            }
        }
    }
}
