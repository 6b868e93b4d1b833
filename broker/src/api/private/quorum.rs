//! RaftMessage, key 10000, and RestartSafety, key 10004, version 0.
//!
//! Behaviour: a raft message is handed to this controller's machine, which checks who it is from and for; the
//! answer only says whether it was taken. One of another cluster is INCONSISTENT_CLUSTER_ID. Restart safety is
//! answered by the active controller, after it has made sure that it still is: no reason against it is a yes,
//! and an error is never a yes.
//! Authorization: ClusterAction on the cluster.
//! Not done: nothing.

use bytes::Bytes;
use ottla_core::controller::operation::RestartSafety;
use ottla_core::controller::{self, Operation};
use ottla_core::ids::NodeId;
use ottla_wire::ResponseError;
use ottla_wire::error::{DecodeError, NONE};
use ottla_wire::private::{
    RaftMessageRequest, RaftMessageResponse, RestartReason, RestartSafetyRequest, RestartSafetyResponse,
};

use super::serve;
use crate::api::{Call, Reply, forward};

pub(crate) fn raft_message(call: Call, body: Bytes) -> Result<Reply, DecodeError> {
    serve(call, body, raft_answer, |call, request: RaftMessageRequest| async move {
        match &call.node.controller {
            None => raft_answer(ResponseError::NotController.code()),
            Some(_) if request.cluster_id != call.node.cluster_id.to_string() => {
                raft_answer(ResponseError::InconsistentClusterId.code())
            }
            Some(controller) => {
                controller.message(request.payload);
                raft_answer(NONE)
            }
        }
    })
}

fn raft_answer(error_code: i16) -> RaftMessageResponse {
    RaftMessageResponse { error_code }
}

pub(crate) fn restart_safety(call: Call, body: Bytes) -> Result<Reply, DecodeError> {
    serve(call, body, safety_refused, |call, request: RestartSafetyRequest| async move {
        let nodes = request.brokers.into_iter().map(NodeId).collect();
        match forward::ask(&call, Operation::RestartSafety(RestartSafety { nodes })).await {
            Ok(controller::Reply::RestartSafety(verdict)) => {
                let reasons = verdict.reasons.into_iter().map(|obstacle| RestartReason {
                    code: obstacle.code.to_owned(),
                    message: obstacle.message,
                });
                RestartSafetyResponse { error_code: 0, reasons: reasons.collect() }
            }
            Ok(other) => unreachable!("RestartSafety answered by {other:?}"),
            Err(error) => safety_refused(error.code()),
        }
    })
}

fn safety_refused(error_code: i16) -> RestartSafetyResponse {
    RestartSafetyResponse { error_code, ..RestartSafetyResponse::default() }
}
