//! LeaveGroup, key 13, versions 0–5: members of a classic group leave, or an administrator removes them.
//!
//! Behaviour: each member is answered alone; the others rebalance at once. A static member can be named by what it
//! calls itself. Of a group that is not there everybody is UNKNOWN_MEMBER_ID.
//! Authorization: Read on the group, else GROUP_AUTHORIZATION_FAILED.
//! Version notes: 0–2 name one member, and its error is the response's; 3 names several (KIP-345); 5 brings reasons,
//! which are for people.
//! Not done: groups of the consumer protocol.

use bytes::Bytes;
use ottla_core::group::ids::GroupId;
use ottla_core::group::request::{self, GroupError, Leave, Request};
use ottla_wire::ResponseError;
use ottla_wire::error::DecodeError;
use ottla_wire::messages::leave_group_request::MemberIdentity;
use ottla_wire::messages::leave_group_response::MemberResponse;
use ottla_wire::messages::{LeaveGroupRequest, LeaveGroupResponse};

use super::group::speaker;
use super::{Call, Reply, error_code};

/// From here on a request names several members.
const MEMBERS_FROM: i16 = 3;

pub(crate) fn serve(call: Call, body: Bytes) -> Result<Reply, DecodeError> {
    let request: LeaveGroupRequest = ottla_wire::request::decode_body(call.version, body)?;
    Ok(Reply::Later(Box::pin(async move {
        let members = members(&call, &request);
        let response = match leave(&call, &request, &members).await {
            Err(error) => LeaveGroupResponse::default().with_error_code(error.code()),
            Ok(codes) if call.version < MEMBERS_FROM => {
                LeaveGroupResponse::default().with_error_code(codes.first().copied().unwrap_or(0))
            }
            Ok(codes) => {
                let answered = members.into_iter().zip(codes).map(|(member, code)| {
                    MemberResponse::default()
                        .with_member_id(member.member_id)
                        .with_group_instance_id(member.group_instance_id)
                        .with_error_code(code)
                });
                LeaveGroupResponse::default().with_members(answered.collect())
            }
        };
        call.encode::<LeaveGroupRequest>(&response)
    })))
}

fn members(call: &Call, request: &LeaveGroupRequest) -> Vec<MemberIdentity> {
    if call.version >= MEMBERS_FROM {
        return request.members.clone();
    }
    vec![MemberIdentity::default().with_member_id(request.member_id.clone()).with_group_instance_id(None)]
}

/// The code of each member.
async fn leave(
    call: &Call,
    request: &LeaveGroupRequest,
    members: &[MemberIdentity],
) -> Result<Vec<i16>, ResponseError> {
    call.check_membership(&request.group_id)?;
    let group = GroupId::from(request.group_id.as_str());
    let named = members.iter().map(|one| speaker(&one.member_id, one.group_instance_id.as_ref())).collect();
    let code = |error: &GroupError| error_code::of_group_error(error).code();
    match call.ask_group(&group, Request::Leave(Leave { group: group.clone(), members: named })).await {
        Ok(request::Reply::Left(left)) => {
            Ok(left.iter().map(|one| one.as_ref().err().map_or(0, code)).collect())
        }
        Ok(other) => unreachable!("leaving is answered by {other:?}"),
        Err(error @ GroupError::UnknownMemberId) => Ok(vec![code(&error); members.len()]),
        Err(error) => Err(error_code::of_group_error(&error)),
    }
}
