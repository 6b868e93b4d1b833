//! DescribeGroups, key 15, versions 0–6: who is in classic groups, and who consumes what.
//!
//! Behaviour: each group is answered alone. What members said and were assigned is shown while the group is stable.
//! A group that nobody knows is `Dead`, and from version 6 on GROUP_ID_NOT_FOUND besides.
//! Authorization: Describe on each group, else GROUP_AUTHORIZATION_FAILED.
//! Version notes: 3 brings authorized operations; 4 what static members call themselves; 6 messages.
//! Not done: groups of the consumer protocol.

use bytes::Bytes;
use ottla_core::group::ids::GroupId;
use ottla_core::group::request::{self, DescribedMember, Description, GroupError, GroupState, Request};
use ottla_wire::ResponseError;
use ottla_wire::error::DecodeError;
use ottla_wire::messages::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use ottla_wire::messages::{self, DescribeGroupsRequest, DescribeGroupsResponse};
use ottla_wire::protocol::StrBytes;

use super::authorize::{OPERATIONS_NOT_ASKED, Operation, Resource};
use super::error_code::Refusal;
use super::group::text;
use super::{Call, Reply, error_code};

/// From here on a group that is not there is an error, and errors have messages.
const NOT_FOUND_FROM: i16 = 6;
const MESSAGES_FROM: i16 = 6;

pub(crate) fn serve(call: Call, body: Bytes) -> Result<Reply, DecodeError> {
    let request: DescribeGroupsRequest = ottla_wire::request::decode_body(call.version, body)?;
    Ok(Reply::Later(Box::pin(async move {
        let mut groups = Vec::with_capacity(request.groups.len());
        for group in &request.groups {
            let described = describe(&call, group, request.include_authorized_operations).await;
            groups.push(described.with_group_id(group.clone()));
        }
        call.encode::<DescribeGroupsRequest>(&DescribeGroupsResponse::default().with_groups(groups))
    })))
}

async fn describe(call: &Call, group: &messages::GroupId, with_operations: bool) -> DescribedGroup {
    if let Err(error) = call.check_group(Operation::Describe, group) {
        return refused(call, &Refusal::unauthorized(error));
    }
    let operations = call.authorized_operations(with_operations, Resource::Group, group);
    let id = GroupId::from(group.as_str());
    match call.ask_group(&id, Request::Describe(id.clone())).await {
        Ok(request::Reply::Described(description)) => {
            described(description).with_authorized_operations(operations)
        }
        Ok(other) => unreachable!("a group is described by {other:?}"),
        Err(error @ GroupError::GroupIdNotFound(_)) => {
            let dead = StrBytes::from_static_str(GroupState::Dead.name());
            if call.version < NOT_FOUND_FROM {
                return DescribedGroup::default()
                    .with_error_message(None)
                    .with_group_state(dead)
                    .with_authorized_operations(operations);
            }
            let refusal = Refusal::new(ResponseError::GroupIdNotFound, error.to_string());
            refused(call, &refusal).with_group_state(dead)
        }
        Err(error) => refused(call, &Refusal::new(error_code::of_group_error(&error), error.to_string())),
    }
}

fn refused(call: &Call, refusal: &Refusal) -> DescribedGroup {
    DescribedGroup::default()
        .with_error_code(refusal.code)
        .with_error_message(refusal.text().filter(|_| call.version >= MESSAGES_FROM))
        .with_authorized_operations(OPERATIONS_NOT_ASKED)
}

fn described(group: Description) -> DescribedGroup {
    let member = |member: DescribedMember| {
        DescribedGroupMember::default()
            .with_member_id(text(member.id.as_str()))
            .with_group_instance_id(member.instance.map(|instance| text(instance.as_str())))
            .with_client_id(StrBytes::from_string(member.client_id))
            .with_client_host(StrBytes::from_string(member.client_host))
            .with_member_metadata(member.metadata)
            .with_member_assignment(member.assignment)
    };
    DescribedGroup::default()
        .with_error_message(None)
        .with_group_state(StrBytes::from_static_str(group.state.name()))
        .with_protocol_type(StrBytes::from_string(group.protocol_type))
        .with_protocol_data(StrBytes::from_string(group.protocol))
        .with_members(group.members.into_iter().map(member).collect())
}
