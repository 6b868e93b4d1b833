//! The table of APIs, and what a handler gets and gives.
//!
//! [`TABLE`] is the one list: dispatch, ApiVersions, version checks, metric labels and the deny-all test
//! derive from it. A key enters it only when every version in its range works. One file per API; each
//! opens with its versions, behaviour, authorization, version notes and what is not done.
//!
//! A handler knows neither files nor peers: it asks the [`Node`].

mod add_raft_voter;
mod alter_partition_reassignments;
mod alter_replica_log_dirs;
mod answer;
pub(crate) mod api_versions;
pub(crate) mod authorize;
mod create_partitions;
mod create_topics;
mod delete_groups;
mod delete_topics;
mod describe_cluster;
mod describe_configs;
mod describe_groups;
mod describe_log_dirs;
mod describe_producers;
mod describe_quorum;
mod describe_topic_partitions;
mod elect_leaders;
mod error_code;
pub(crate) mod fetch;
mod find_coordinator;
mod forward;
mod group;
mod heartbeat;
mod incremental_alter_configs;
mod init_producer_id;
mod join_group;
mod leader_hints;
mod leave_group;
mod list_groups;
mod list_offsets;
mod list_partition_reassignments;
mod metadata;
mod offset_commit;
mod offset_delete;
mod offset_fetch;
mod offset_for_leader_epoch;
mod private;
mod produce;
mod remove_raft_voter;
mod sync_group;
#[cfg(test)]
pub(crate) mod tests;
mod unregister_broker;
mod update_features;
mod update_raft_voter;

use std::future::Future;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use ottla_wire::error::DecodeError;
use ottla_wire::messages::ApiKey;
use ottla_wire::private::PrivateKey;
use ottla_wire::protocol::StrBytes;

pub(crate) use answer::Chunks;
use authorize::{Operation, Resource};
#[cfg(test)]
pub(crate) use private::{assignments, isr};

use crate::node::Node;
use crate::server::listener::ListenerContext;

/// Who sends a request: Kafka's KafkaPrincipal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Principal {
    /// `User`, so far the only type.
    pub(crate) kind: String,
    /// The name, `ANONYMOUS` without authentication.
    pub(crate) name: String,
}

impl Principal {
    /// The principal of a connection that did not authenticate.
    pub(crate) fn anonymous() -> Self {
        Self { kind: "User".to_owned(), name: "ANONYMOUS".to_owned() }
    }
}

/// What every request carries with it.
#[derive(Debug, Clone)]
pub(crate) struct RequestContext {
    pub(crate) principal: Principal,
    pub(crate) listener: Arc<ListenerContext>,
    pub(crate) client_id: StrBytes,
    pub(crate) peer: SocketAddr,
}

/// One request on its way to its handler.
#[derive(Clone)]
pub(crate) struct Call {
    pub(crate) node: Arc<Node>,
    pub(crate) context: RequestContext,
    pub(crate) key: i16,
    pub(crate) version: i16,
    pub(crate) correlation_id: i32,
}

/// A frame that comes later; `None` closes the connection.
pub(crate) type Later = Pin<Box<dyn Future<Output = Option<Chunks>> + Send>>;

/// What a handler returns. Stage one of a handler fixes its order among the connection's requests; it is
/// straight-line code, or, where that would hold the runtime's thread too long, `Staged`.
pub(crate) enum Reply {
    /// A frame, in pieces.
    Now(Chunks),
    /// A frame that comes later.
    Later(Later),
    /// Stage one is under way elsewhere: the connection's next request waits until it is over.
    Staged(Pin<Box<dyn Future<Output = Later> + Send>>),
    /// Close the connection, for this reason.
    Close(&'static str),
}

/// The kind of listener a request came in on, and so the column of the table that serves it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Clients and other brokers.
    Broker,
    /// The listener of the metadata quorum.
    Controller,
}

type Serve = fn(Call, Bytes) -> Result<Reply, DecodeError>;

/// One row of the table.
pub(crate) struct Api {
    /// Its place in the table, for counters.
    pub(crate) index: usize,
    /// Kafka's key, or one of ours from 10000.
    pub(crate) key: i16,
    /// Kafka's name.
    pub(crate) name: &'static str,
    /// Versions served.
    pub(crate) versions: RangeInclusive<i16>,
    /// What must be allowed; the handler asks for each resource it names, or drops it from its reply.
    #[cfg_attr(not(test), allow(dead_code, reason = "read by the deny-all test and the generated docs"))]
    pub(crate) authorizes: &'static [(Resource, Operation)],
    /// Who serves it on listeners of brokers.
    broker: Option<Serve>,
    /// Who serves it on listeners of controllers.
    controller: Option<Serve>,
}

impl Api {
    /// Whether a listener of this kind offers it.
    pub(crate) fn serves(&self, scope: Scope) -> bool {
        self.column(scope).is_some()
    }

    /// Hands a request to its handler. The caller has checked the version and the scope.
    pub(crate) fn serve(&self, scope: Scope, call: Call, body: Bytes) -> Result<Reply, DecodeError> {
        match self.column(scope) {
            Some(serve) => serve(call, body),
            None => Ok(Reply::Close("the api is not served on this listener")),
        }
    }

    fn column(&self, scope: Scope) -> Option<Serve> {
        match scope {
            Scope::Broker => self.broker,
            Scope::Controller => self.controller,
        }
    }
}

/// The row of a key.
pub(crate) fn find(key: i16) -> Option<&'static Api> {
    TABLE.iter().find(|api| api.key == key)
}

const NOTHING: &[(Resource, Operation)] = &[];

macro_rules! table {
    ($($key:expr, $name:literal, $versions:expr, $authorizes:expr, $broker:expr, $controller:expr;)*) => {
        /// Every API this process serves, in order of key.
        pub(crate) static TABLE: &[Api] = &{
            let mut rows = [$(Api {
                index: 0,
                key: $key,
                name: $name,
                versions: $versions,
                authorizes: $authorizes,
                broker: $broker,
                controller: $controller,
            }),*];
            let mut index = 0;
            while index < rows.len() {
                rows[index].index = index;
                index += 1;
            }
            rows
        };
    };
}

use Operation::{
    Alter, AlterConfigs, ClusterAction, Create, Delete, Describe, DescribeConfigs, IdempotentWrite, Read,
    Write,
};
use Resource::{Cluster, Group, Topic, TransactionalId};

// key, name, versions, what is authorized, served on broker listeners by, on controller listeners by
table! {
    ApiKey::Produce as i16, "Produce", 3..=13, &[(Topic, Write)], Some(produce::serve), None;
    ApiKey::Fetch as i16, "Fetch", 4..=18, &[(Topic, Read)], Some(fetch::serve), None;
    ApiKey::ListOffsets as i16, "ListOffsets", 1..=11, &[(Topic, Describe)], Some(list_offsets::serve), None;
    ApiKey::Metadata as i16, "Metadata", 0..=13, &[(Topic, Describe)], Some(metadata::serve), None;
    ApiKey::OffsetCommit as i16, "OffsetCommit", 2..=9, &[(Group, Read), (Topic, Read)], Some(offset_commit::serve), None;
    ApiKey::OffsetFetch as i16, "OffsetFetch", 1..=9, &[(Group, Describe), (Topic, Describe)], Some(offset_fetch::serve), None;
    ApiKey::FindCoordinator as i16, "FindCoordinator", 0..=6, &[(Group, Describe), (TransactionalId, Describe)], Some(find_coordinator::serve), None;
    ApiKey::JoinGroup as i16, "JoinGroup", 0..=9, &[(Group, Read)], Some(join_group::serve), None;
    ApiKey::Heartbeat as i16, "Heartbeat", 0..=4, &[(Group, Read)], Some(heartbeat::serve), None;
    ApiKey::LeaveGroup as i16, "LeaveGroup", 0..=5, &[(Group, Read)], Some(leave_group::serve), None;
    ApiKey::SyncGroup as i16, "SyncGroup", 0..=5, &[(Group, Read)], Some(sync_group::serve), None;
    ApiKey::DescribeGroups as i16, "DescribeGroups", 0..=6, &[(Group, Describe)], Some(describe_groups::serve), None;
    ApiKey::ListGroups as i16, "ListGroups", 0..=5, &[(Cluster, Describe), (Group, Describe)], Some(list_groups::serve), None;
    ApiKey::ApiVersions as i16, "ApiVersions", 0..=4, NOTHING, Some(api_versions::serve), Some(api_versions::serve);
    ApiKey::CreateTopics as i16, "CreateTopics", 2..=7, &[(Cluster, Create), (Topic, Create)], Some(forward::serve), Some(create_topics::serve);
    ApiKey::DeleteTopics as i16, "DeleteTopics", 1..=6, &[(Topic, Delete)], Some(forward::serve), Some(delete_topics::serve);
    ApiKey::InitProducerId as i16, "InitProducerId", 0..=5, &[(TransactionalId, Write), (Cluster, IdempotentWrite), (Topic, Write)], Some(init_producer_id::serve), None;
    ApiKey::OffsetForLeaderEpoch as i16, "OffsetForLeaderEpoch", 2..=4, &[(Topic, Describe), (Cluster, ClusterAction)], Some(offset_for_leader_epoch::serve), None;
    ApiKey::DescribeConfigs as i16, "DescribeConfigs", 1..=4, &[(Topic, DescribeConfigs), (Cluster, DescribeConfigs)], Some(describe_configs::serve), None;
    ApiKey::AlterReplicaLogDirs as i16, "AlterReplicaLogDirs", 1..=2, &[(Cluster, Alter)], Some(alter_replica_log_dirs::serve), None;
    ApiKey::DescribeLogDirs as i16, "DescribeLogDirs", 1..=4, &[(Cluster, Describe)], Some(describe_log_dirs::serve), None;
    ApiKey::CreatePartitions as i16, "CreatePartitions", 0..=3, &[(Topic, Alter)], Some(forward::serve), Some(create_partitions::serve);
    ApiKey::DeleteGroups as i16, "DeleteGroups", 0..=2, &[(Group, Delete)], Some(delete_groups::serve), None;
    ApiKey::ElectLeaders as i16, "ElectLeaders", 0..=2, &[(Cluster, Alter)], Some(forward::serve), Some(elect_leaders::serve);
    ApiKey::IncrementalAlterConfigs as i16, "IncrementalAlterConfigs", 0..=1, &[(Topic, AlterConfigs), (Cluster, AlterConfigs)], Some(forward::serve), Some(incremental_alter_configs::serve);
    ApiKey::AlterPartitionReassignments as i16, "AlterPartitionReassignments", 0..=1, &[(Cluster, Alter)], Some(forward::serve), Some(alter_partition_reassignments::serve);
    ApiKey::ListPartitionReassignments as i16, "ListPartitionReassignments", 0..=0, &[(Cluster, Describe)], Some(forward::serve), Some(list_partition_reassignments::serve);
    ApiKey::OffsetDelete as i16, "OffsetDelete", 0..=0, &[(Group, Delete), (Topic, Read)], Some(offset_delete::serve), None;
    ApiKey::DescribeQuorum as i16, "DescribeQuorum", 0..=2, &[(Cluster, Describe)], Some(forward::serve), Some(describe_quorum::serve);
    ApiKey::AlterPartition as i16, "AlterPartition", 2..=3, &[(Cluster, ClusterAction)], None, Some(private::alter_partition);
    ApiKey::UpdateFeatures as i16, "UpdateFeatures", 0..=2, &[(Cluster, Alter)], Some(forward::serve), Some(update_features::serve);
    ApiKey::DescribeCluster as i16, "DescribeCluster", 0..=2, &[(Cluster, Describe), (Cluster, Alter)], Some(describe_cluster::serve), Some(describe_cluster::serve_controllers);
    ApiKey::DescribeProducers as i16, "DescribeProducers", 0..=0, &[(Topic, Read)], Some(describe_producers::serve), None;
    ApiKey::BrokerRegistration as i16, "BrokerRegistration", 0..=4, &[(Cluster, ClusterAction)], None, Some(private::register_broker);
    ApiKey::BrokerHeartbeat as i16, "BrokerHeartbeat", 0..=1, &[(Cluster, ClusterAction)], None, Some(private::heartbeat);
    ApiKey::UnregisterBroker as i16, "UnregisterBroker", 0..=0, &[(Cluster, Alter)], Some(forward::serve), Some(unregister_broker::serve);
    ApiKey::AllocateProducerIds as i16, "AllocateProducerIds", 0..=0, &[(Cluster, ClusterAction)], None, Some(private::allocate_producer_ids);
    ApiKey::AssignReplicasToDirs as i16, "AssignReplicasToDirs", 0..=0, &[(Cluster, ClusterAction)], None, Some(private::assign_replicas_to_dirs);
    ApiKey::DescribeTopicPartitions as i16, "DescribeTopicPartitions", 0..=0, &[(Topic, Describe)], Some(describe_topic_partitions::serve), None;
    ApiKey::AddRaftVoter as i16, "AddRaftVoter", 0..=0, &[(Cluster, Alter)], Some(forward::serve), Some(add_raft_voter::serve);
    ApiKey::RemoveRaftVoter as i16, "RemoveRaftVoter", 0..=0, &[(Cluster, Alter)], Some(forward::serve), Some(remove_raft_voter::serve);
    ApiKey::UpdateRaftVoter as i16, "UpdateRaftVoter", 0..=0, &[(Cluster, ClusterAction)], None, Some(update_raft_voter::serve);
    PrivateKey::RaftMessage as i16, "RaftMessage", 0..=0, &[(Cluster, ClusterAction)], None, Some(private::raft_message);
    PrivateKey::FetchMetadata as i16, "FetchMetadata", 0..=0, &[(Cluster, ClusterAction)], None, Some(private::fetch_metadata);
    PrivateKey::FetchMetadataSnapshot as i16, "FetchMetadataSnapshot", 0..=0, &[(Cluster, ClusterAction)], None, Some(private::fetch_metadata_snapshot);
    PrivateKey::Forward as i16, "Forward", 0..=0, &[(Cluster, ClusterAction)], None, Some(private::forward);
    PrivateKey::RestartSafety as i16, "RestartSafety", 0..=0, &[(Cluster, ClusterAction)], None, Some(private::restart_safety);
}
