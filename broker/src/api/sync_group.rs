//! SyncGroup, key 14, versions 0–5: a member of a classic group fetches its assignment; the leader brings everybody's.
//!
//! Behaviour: rule 65. The answers come when the leader's assignments are committed. A member that has joined and does
//! not sync in time is out.
//! Authorization: Read on the group, else GROUP_AUTHORIZATION_FAILED.
//! Version notes: 3 brings static members; 5 the protocol type and the protocol, which must be there and the group's
//! (INCONSISTENT_GROUP_PROTOCOL).
//! Not done: groups of the consumer protocol.

use bytes::Bytes;
use ottla_core::group::ids::{GroupId, MemberId};
use ottla_core::group::request::{self, Request, Sync, Synced};
use ottla_wire::ResponseError;
use ottla_wire::error::DecodeError;
use ottla_wire::messages::{SyncGroupRequest, SyncGroupResponse};
use ottla_wire::protocol::StrBytes;

use super::group::speaker;
use super::{Call, Reply, error_code};

/// From here on a member says which protocol it believes in.
const PROTOCOL_FROM: i16 = 5;

pub(crate) fn serve(call: Call, body: Bytes) -> Result<Reply, DecodeError> {
    let request: SyncGroupRequest = ottla_wire::request::decode_body(call.version, body)?;
    Ok(Reply::Later(Box::pin(async move {
        let response = match sync(&call, request).await {
            Ok(synced) => SyncGroupResponse::default()
                .with_protocol_type(synced.protocol_type.map(StrBytes::from_string))
                .with_protocol_name(synced.protocol.map(StrBytes::from_string))
                .with_assignment(synced.assignment),
            Err(error) => SyncGroupResponse::default()
                .with_error_code(error.code())
                .with_protocol_type(None)
                .with_protocol_name(None),
        };
        call.encode::<SyncGroupRequest>(&response)
    })))
}

async fn sync(call: &Call, request: SyncGroupRequest) -> Result<Synced, ResponseError> {
    call.check_membership(&request.group_id)?;
    if call.version >= PROTOCOL_FROM && (request.protocol_type.is_none() || request.protocol_name.is_none()) {
        return Err(ResponseError::InconsistentGroupProtocol);
    }
    let group = GroupId::from(request.group_id.as_str());
    let assigned = request.assignments.into_iter();
    let sync = Sync {
        group: group.clone(),
        speaker: speaker(&request.member_id, request.group_instance_id.as_ref()),
        generation: request.generation_id,
        protocol_type: request.protocol_type.map(|text| text.to_string()),
        protocol: request.protocol_name.map(|text| text.to_string()),
        assignments: assigned.map(|one| (MemberId::from(one.member_id.as_str()), one.assignment)).collect(),
    };
    match call.ask_group(&group, Request::Sync(sync)).await {
        Ok(request::Reply::Synced(synced)) => Ok(synced),
        Ok(other) => unreachable!("a sync is answered by {other:?}"),
        Err(error) => Err(error_code::of_group_error(&error)),
    }
}
