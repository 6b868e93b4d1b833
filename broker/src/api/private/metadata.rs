//! FetchMetadata and FetchMetadataSnapshot, keys 10001 and 10002, version 0: how brokers and learners pull
//! what the quorum has committed.
//!
//! Behaviour: entries from the offset asked for, waiting up to `max_wait_ms` for the first; or, where the log
//! no longer reaches back that far, the snapshot to fetch instead, in parts. `max_wait_ms` and `max_bytes` count as far
//! as a broker of this release asks for. A controller that does not lead answers NOT_CONTROLLER and names who does.
//! Authorization: ClusterAction on the cluster.
//! Not done: `broker_epoch` is ignored (a pull changes nothing, and a broker must read its own registration
//! before it knows its epoch), and a descriptor's `size` is 0: each part of the snapshot tells it.

use std::time::Duration;

use bytes::Bytes;
use ottla_core::controller::operation::{FetchMetadata, FetchMetadataSnapshot, FetchedMetadata};
use ottla_core::controller::{self, Operation, OperationError};
use ottla_core::ids::{MetadataOffset, NodeId, Term};
use ottla_core::quorum::SnapshotId;
use ottla_wire::error::DecodeError;
use ottla_wire::private::{
    FetchMetadataRequest, FetchMetadataResponse, FetchMetadataSnapshotRequest, FetchMetadataSnapshotResponse,
    LeaderHint, SnapshotDescriptor,
};

use super::serve;
use crate::api::{Call, Reply, forward};

pub(crate) fn fetch_metadata(call: Call, body: Bytes) -> Result<Reply, DecodeError> {
    serve(call, body, fetch_refused, |call, request: FetchMetadataRequest| async move {
        match forward::ask(&call, Operation::FetchMetadata(fetch(&request))).await {
            Ok(controller::Reply::FetchMetadata(fetched)) => fetched_response(fetched),
            Ok(other) => unreachable!("FetchMetadata answered by {other:?}"),
            Err(error) => {
                let leader = leader_hint(&call, &error);
                FetchMetadataResponse { leader, ..fetch_refused(error.code()) }
            }
        }
    })
}

fn fetch_refused(error_code: i16) -> FetchMetadataResponse {
    FetchMetadataResponse { error_code, ..FetchMetadataResponse::default() }
}

fn fetch(request: &FetchMetadataRequest) -> FetchMetadata {
    FetchMetadata {
        node_id: node_id(request.node_id),
        after: MetadataOffset(request.from_offset.saturating_sub(1)),
        wait_max: Duration::from_millis(request.max_wait_ms.into()),
        bytes_max: bytes_max(request.max_bytes),
    }
}

/// Ids travel unsigned; one beyond what `node.id` can be is nobody's.
fn node_id(id: u32) -> NodeId {
    NodeId(i32::try_from(id).unwrap_or(-1))
}

fn bytes_max(asked: u32) -> usize {
    usize::try_from(asked).unwrap_or(usize::MAX)
}

fn fetched_response(fetched: FetchedMetadata) -> FetchMetadataResponse {
    match fetched {
        FetchedMetadata::Entries { bytes, committed } => FetchMetadataResponse {
            high_watermark: committed.0,
            entries: bytes,
            ..FetchMetadataResponse::default()
        },
        FetchedMetadata::UseSnapshot(id) => FetchMetadataResponse {
            snapshot: Some(SnapshotDescriptor { offset: id.offset.0, term: id.term.0, size: 0 }),
            ..FetchMetadataResponse::default()
        },
    }
}

/// Where the asker should go instead: the leader's endpoint on the listener it asked on.
fn leader_hint(call: &Call, error: &OperationError) -> Option<LeaderHint> {
    let OperationError::NotController { leader: Some(leader) } = error else { return None };
    let image = call.node.controller_image();
    let voter = image.voters.values().find(|voter| voter.node_id == *leader)?;
    let listener = call.context.listener.name.as_str();
    let same = voter.endpoints.iter().find(|endpoint| endpoint.listener == listener);
    let endpoint = same.or_else(|| voter.endpoints.first())?;
    let node_id = u32::try_from(leader.0).ok()?;
    Some(LeaderHint { node_id, host: endpoint.host.clone(), port: endpoint.port })
}

pub(crate) fn fetch_metadata_snapshot(call: Call, body: Bytes) -> Result<Reply, DecodeError> {
    serve(call, body, snapshot_refused, |call, request: FetchMetadataSnapshotRequest| async move {
        let operation = Operation::FetchMetadataSnapshot(FetchMetadataSnapshot {
            id: SnapshotId { offset: MetadataOffset(request.offset), term: Term(request.term) },
            position: request.position,
            bytes_max: bytes_max(request.max_bytes),
        });
        match forward::ask(&call, operation).await {
            Ok(controller::Reply::FetchMetadataSnapshot(part)) => FetchMetadataSnapshotResponse {
                error_code: 0,
                size: part.size,
                position: part.position,
                bytes: part.bytes,
            },
            Ok(other) => unreachable!("FetchMetadataSnapshot answered by {other:?}"),
            Err(error) => snapshot_refused(error.code()),
        }
    })
}

fn snapshot_refused(error_code: i16) -> FetchMetadataSnapshotResponse {
    FetchMetadataSnapshotResponse { error_code, ..FetchMetadataSnapshotResponse::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_missing_entry_follows_the_last_applied_one() {
        let request = |from_offset| FetchMetadataRequest {
            node_id: 4,
            broker_epoch: -1,
            from_offset,
            max_bytes: 10,
            max_wait_ms: 500,
        };
        let after = |from_offset| fetch(&request(from_offset)).after;
        assert_eq!((after(8), after(1), after(0)), (MetadataOffset(7), MetadataOffset(0), MetadataOffset(0)));
        assert_eq!(fetch(&request(1)).wait_max, Duration::from_millis(500));
    }
}
