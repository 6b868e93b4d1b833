//! Who fetches: a consumer, or a broker that follows.

use ottla_core::config::ReplicaSelector;
use ottla_core::ids::{BrokerEpoch, NodeId, Offset};
use ottla_core::partition::{FollowerFetch, ReadFrom};
use ottla_wire::ResponseError;
use ottla_wire::messages::FetchRequest;
use ottla_wire::messages::fetch_request::FetchPartition;
use ottla_wire::replica_fetch::{flushed_offset, lacks_room};

use crate::api::Call;
use crate::api::authorize::{Operation, Resource};
use crate::drive::shard::ReadBy;

/// From here on a follower says in which life it fetches (KIP-903).
const REPLICA_STATE_FROM: i16 = 15;

/// From here on consumers read from any replica, and say in which rack they are (KIP-392).
const RACK_ID_FROM: i16 = 11;

/// See the module's text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asker {
    Consumer(ReadFrom),
    Follower { node_id: NodeId, broker_epoch: BrokerEpoch },
}

/// Why a request that claims to be a follower's is none.
pub(super) enum Refused {
    Close(&'static str),
    Code(ResponseError),
}

impl Asker {
    /// What a follower's fetch says decides what is acknowledged. So it is believed only where brokers meet, and
    /// only of those that may act for the cluster.
    pub(super) fn of(call: &Call, request: &FetchRequest) -> Result<Self, Refused> {
        let state = &request.replica_state;
        if request.replica_id.0 < 0 && state.replica_id.0 < 0 {
            let knows_racks = call.version >= RACK_ID_FROM;
            return Ok(Self::Consumer(if knows_racks { ReadFrom::AnyReplica } else { ReadFrom::Leader }));
        }
        if call.version < REPLICA_STATE_FROM {
            return Err(Refused::Close("a follower must fetch in version 15 or later"));
        }
        let meets = call.node.config.inter_broker_listener.as_ref();
        if meets.is_none_or(|listener| listener.as_str() != call.context.listener.name) {
            return Err(Refused::Close("followers fetch on the listener of inter.broker.listener.name"));
        }
        if !call.allows(Operation::ClusterAction, Resource::Cluster, "") {
            return Err(Refused::Code(ResponseError::ClusterAuthorizationFailed));
        }
        let says_what_is_durable = |partition: &FetchPartition| flushed_offset(partition).is_some();
        if !request.topics.iter().flat_map(|topic| &topic.partitions).all(says_what_is_durable) {
            return Err(Refused::Close("a follower must say how much of its log is durable"));
        }
        let broker_epoch = BrokerEpoch(state.replica_epoch);
        Ok(Self::Follower { node_id: NodeId(state.replica_id.0), broker_epoch })
    }

    pub(super) fn is_follower(self) -> bool {
        matches!(self, Self::Follower { .. })
    }

    /// Who reads a partition, and how far it has come if it is a follower; whether that is to be told of every rise of the
    /// high watermark depends on whether `consumers` may read there.
    pub(super) fn read_by(self, partition: &FetchPartition, consumers: ReplicaSelector) -> ReadBy {
        let (node_id, broker_epoch) = match self {
            Self::Consumer(replicas) => return ReadBy::Consumer(replicas),
            Self::Follower { node_id, broker_epoch } => (node_id, broker_epoch),
        };
        ReadBy::Follower(FollowerFetch {
            node_id,
            broker_epoch,
            fetched_end: Offset(partition.fetch_offset),
            // It was asked whether they say so.
            flushed_end: Offset(flushed_offset(partition).unwrap_or(0)),
            log_start: Offset(partition.log_start_offset),
            lacks_room: lacks_room(partition),
            high_watermark: match consumers {
                ReplicaSelector::Leader => None,
                ReplicaSelector::RackAware => Some(Offset(partition.high_watermark)),
            },
        })
    }
}
