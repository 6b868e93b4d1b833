//! Who fetches: a consumer, or a broker that follows.

use ottla_core::ids::{BrokerEpoch, NodeId, Offset};
use ottla_core::partition::FollowerFetch;
use ottla_wire::ResponseError;
use ottla_wire::messages::FetchRequest;
use ottla_wire::messages::fetch_request::FetchPartition;
use ottla_wire::replica_fetch::flushed_offset;

use crate::api::Call;
use crate::api::authorize::{Operation, Resource};

/// From here on a follower says in which life it fetches (KIP-903).
const REPLICA_STATE_FROM: i16 = 15;

/// See the module's text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asker {
    Consumer,
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
            return Ok(Self::Consumer);
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

    /// How far a follower has come with a partition.
    pub(super) fn position(self, partition: &FetchPartition) -> Option<FollowerFetch> {
        let Self::Follower { node_id, broker_epoch } = self else { return None };
        let flushed_end = Offset(flushed_offset(partition)?);
        Some(FollowerFetch {
            node_id,
            broker_epoch,
            fetched_end: Offset(partition.fetch_offset),
            flushed_end,
        })
    }
}
