//! JoinGroup, key 11, versions 0–9: a member comes into a classic group.
//!
//! Behaviour: rules 63 and 64. The answer comes when everybody has joined, or has had the time for it; the leader's has
//! all members with what they said. What members say, and what they call their protocols, is theirs: nothing here looks
//! into it but for the topics of consumers.
//! Authorization: Read on the group, else GROUP_AUTHORIZATION_FAILED.
//! Version notes: 0 has no time for joining again: the session's counts; 4 has a member without id and instance id
//! come back with the id it is given (MEMBER_ID_REQUIRED); 5 brings static members; 7 the protocol type; 8 a reason,
//! which is for people; 9 tells a leader that came back to assign nothing.
//! Not done: groups of the consumer protocol, so that nobody migrates.

use bytes::Bytes;
use ottla_core::group::ids::GroupId;
use ottla_core::group::request::{self, GroupError, Join, Joined, JoinedMember, Request};
use ottla_wire::ResponseError;
use ottla_wire::error::DecodeError;
use ottla_wire::messages::join_group_response::JoinGroupResponseMember;
use ottla_wire::messages::{JoinGroupRequest, JoinGroupResponse};
use ottla_wire::protocol::StrBytes;

use super::group::{speaker, text};
use super::{Call, Reply, error_code};
use crate::random::random_uuid;

/// From here on a member brings its own time to join again.
const REBALANCE_TIMEOUT_FROM: i16 = 1;
/// From here on a member comes back with the id that it is given.
const KNOWN_ID_FROM: i16 = 4;
/// From here on there may be no protocol in an answer.
const NO_PROTOCOL_FROM: i16 = 7;
/// From here on a leader understands that it is to assign nothing.
const SKIP_ASSIGNMENT_FROM: i16 = 9;

pub(crate) fn serve(call: Call, body: Bytes) -> Result<Reply, DecodeError> {
    let request: JoinGroupRequest = ottla_wire::request::decode_body(call.version, body)?;
    Ok(Reply::Later(Box::pin(async move {
        let response = match join(&call, &request).await {
            Ok(joined) => accepted(&call, joined),
            Err(refused) => refused,
        };
        call.encode::<JoinGroupRequest>(&response)
    })))
}

async fn join(call: &Call, request: &JoinGroupRequest) -> Result<Joined, JoinGroupResponse> {
    let refuse = |error: ResponseError| refused(call, error, request.member_id.clone());
    call.check_membership(&request.group_id).map_err(refuse)?;
    // Without randomness nobody can be told from anybody.
    let fresh = random_uuid().map_err(|_| refuse(ResponseError::UnknownServerError))?;
    let group = GroupId::from(request.group_id.as_str());
    let protocols = request.protocols.iter().map(|said| (said.name.to_string(), said.metadata.clone()));
    let join = Join {
        group: group.clone(),
        speaker: speaker(&request.member_id, request.group_instance_id.as_ref()),
        client_id: call.context.client_id.to_string(),
        client_host: format!("/{}", call.context.peer.ip()),
        session_timeout_ms: request.session_timeout_ms,
        rebalance_timeout_ms: if call.version >= REBALANCE_TIMEOUT_FROM {
            request.rebalance_timeout_ms
        } else {
            request.session_timeout_ms
        },
        protocol_type: request.protocol_type.to_string(),
        protocols: protocols.collect(),
        needs_known_id: call.version >= KNOWN_ID_FROM,
        may_skip_assignment: call.version >= SKIP_ASSIGNMENT_FROM,
        fresh,
    };
    match call.ask_group(&group, Request::Join(join)).await {
        Ok(request::Reply::Joined(joined)) => Ok(joined),
        Ok(other) => unreachable!("a join is answered by {other:?}"),
        Err(error) => {
            let member = if let GroupError::MemberIdRequired(member) = &error {
                text(member.as_str())
            } else if error == GroupError::GroupMaxSizeReached {
                StrBytes::new()
            } else {
                request.member_id.clone()
            };
            Err(refused(call, error_code::of_group_error(&error), member))
        }
    }
}

fn refused(call: &Call, error: ResponseError, member_id: StrBytes) -> JoinGroupResponse {
    JoinGroupResponse::default()
        .with_error_code(error.code())
        .with_generation_id(-1)
        .with_protocol_type(None)
        .with_protocol_name((call.version < NO_PROTOCOL_FROM).then(StrBytes::new))
        .with_member_id(member_id)
}

fn accepted(call: &Call, joined: Joined) -> JoinGroupResponse {
    let member = |member: JoinedMember| {
        JoinGroupResponseMember::default()
            .with_member_id(text(member.id.as_str()))
            .with_group_instance_id(member.instance.map(|instance| text(instance.as_str())))
            .with_metadata(member.metadata)
    };
    let protocol = joined.protocol.map(StrBytes::from_string);
    JoinGroupResponse::default()
        .with_generation_id(joined.generation)
        .with_protocol_type(joined.protocol_type.map(StrBytes::from_string))
        .with_protocol_name(protocol.or_else(|| (call.version < NO_PROTOCOL_FROM).then(StrBytes::new)))
        .with_leader(text(joined.leader.as_str()))
        .with_skip_assignment(joined.skip_assignment && call.version >= SKIP_ASSIGNMENT_FROM)
        .with_member_id(text(joined.member.as_str()))
        .with_members(joined.members.into_iter().map(member).collect())
}
