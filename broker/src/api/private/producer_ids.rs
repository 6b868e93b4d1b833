//! AllocateProducerIds, key 67, version 0: a broker asks for producer ids (KIP-730).
//!
//! Behaviour: a block of 1,000 ids, which is durable in the metadata log before it is answered. A broker epoch that is
//! over is STALE_BROKER_EPOCH.
//! Authorization: ClusterAction on the cluster.
//! Not done: nothing.

use bytes::Bytes;
use ottla_core::controller::operation::AllocateProducerIds;
use ottla_core::controller::{self, Operation};
use ottla_core::ids::{BrokerEpoch, NodeId};
use ottla_wire::error::DecodeError;
use ottla_wire::messages::{AllocateProducerIdsRequest, AllocateProducerIdsResponse, ProducerId};

use super::serve;
use crate::api::{Call, Reply, forward};

pub(crate) fn allocate_producer_ids(call: Call, body: Bytes) -> Result<Reply, DecodeError> {
    serve(call, body, refused, |call, request: AllocateProducerIdsRequest| async move {
        let operation = Operation::AllocateProducerIds(AllocateProducerIds {
            node_id: NodeId(request.broker_id.0),
            epoch: BrokerEpoch(request.broker_epoch),
        });
        match forward::ask(&call, operation).await {
            Ok(controller::Reply::AllocateProducerIds(block)) => AllocateProducerIdsResponse::default()
                .with_producer_id_start(ProducerId(block.first.0))
                .with_producer_id_len(i32::try_from(block.count).unwrap_or(i32::MAX)),
            Ok(other) => unreachable!("AllocateProducerIds answered by {other:?}"),
            Err(error) => refused(error.code()),
        }
    })
}

fn refused(code: i16) -> AllocateProducerIdsResponse {
    AllocateProducerIdsResponse::default().with_error_code(code)
}
