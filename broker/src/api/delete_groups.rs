//! DeleteGroups, key 42, versions 0–2: groups without members go, with all they have committed.
//!
//! Behaviour: each group is answered alone, when it is gone from the log: NON_EMPTY_GROUP while somebody is in it,
//! GROUP_ID_NOT_FOUND if nobody knows it. One that is in the request twice is deleted once, and not found then.
//! Authorization: Delete on each group, else GROUP_AUTHORIZATION_FAILED.
//! Not done: groups of the consumer protocol.

use bytes::Bytes;
use ottla_core::group::ids::GroupId;
use ottla_core::group::request::Request;
use ottla_wire::ResponseError;
use ottla_wire::error::DecodeError;
use ottla_wire::messages::delete_groups_response::DeletableGroupResult;
use ottla_wire::messages::{DeleteGroupsRequest, DeleteGroupsResponse};

use super::authorize::Operation;
use super::{Call, Reply, error_code};

pub(crate) fn serve(call: Call, body: Bytes) -> Result<Reply, DecodeError> {
    let request: DeleteGroupsRequest = ottla_wire::request::decode_body(call.version, body)?;
    Ok(Reply::Later(Box::pin(async move {
        let mut results = Vec::with_capacity(request.groups_names.len());
        for group in &request.groups_names {
            let code = delete(&call, group).await.err().map_or(0, |error| error.code());
            results.push(DeletableGroupResult::default().with_group_id(group.clone()).with_error_code(code));
        }
        call.encode::<DeleteGroupsRequest>(&DeleteGroupsResponse::default().with_results(results))
    })))
}

async fn delete(call: &Call, group: &str) -> Result<(), ResponseError> {
    call.check_group(Operation::Delete, group)?;
    let group = GroupId::from(group);
    let answer = call.ask_group(&group, Request::Delete(group.clone())).await;
    answer.map(|_| ()).map_err(|error| error_code::of_group_error(&error))
}
