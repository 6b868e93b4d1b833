//! Heartbeat, key 12, versions 0–4: a member of a classic group lives.
//!
//! Behaviour: rule 65. REBALANCE_IN_PROGRESS tells it to join again. While the coordinator still reads its groups
//! the answer is that all is well.
//! Authorization: Read on the group, else GROUP_AUTHORIZATION_FAILED.
//! Version notes: 3 brings static members.
//! Not done: groups of the consumer protocol have a heartbeat of their own.

use bytes::Bytes;
use ottla_core::group::ids::GroupId;
use ottla_core::group::request::{self, Request};
use ottla_wire::ResponseError;
use ottla_wire::error::DecodeError;
use ottla_wire::messages::{HeartbeatRequest, HeartbeatResponse};

use super::group::speaker;
use super::{Call, Reply, error_code};

pub(crate) fn serve(call: Call, body: Bytes) -> Result<Reply, DecodeError> {
    let request: HeartbeatRequest = ottla_wire::request::decode_body(call.version, body)?;
    Ok(Reply::Later(Box::pin(async move {
        let code = match heartbeat(&call, &request).await {
            // As in Kafka: it lives for all that anybody knows, and is not to join again for that.
            Ok(()) | Err(ResponseError::CoordinatorLoadInProgress) => 0,
            Err(error) => error.code(),
        };
        call.encode::<HeartbeatRequest>(&HeartbeatResponse::default().with_error_code(code))
    })))
}

async fn heartbeat(call: &Call, request: &HeartbeatRequest) -> Result<(), ResponseError> {
    call.check_membership(&request.group_id)?;
    let group = GroupId::from(request.group_id.as_str());
    let heartbeat = request::Heartbeat {
        group: group.clone(),
        speaker: speaker(&request.member_id, request.group_instance_id.as_ref()),
        generation: request.generation_id,
    };
    let answer = call.ask_group(&group, Request::Heartbeat(heartbeat)).await;
    answer.map(|_| ()).map_err(|error| error_code::of_group_error(&error))
}
