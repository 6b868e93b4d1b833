//! ListGroups, key 16, versions 0–5: the groups that this broker coordinates.
//!
//! Behaviour: those in the states and of the types asked for; none named stands for all. While one of the coordinators
//! still reads its groups, COORDINATOR_LOAD_IN_PROGRESS: a list with holes would look whole.
//! Authorization: Describe on the cluster shows all groups; without it, those that may be described are.
//! Version notes: 4 brings states (KIP-518), 5 types (KIP-848): `classic` is the only one there is.
//! Not done: groups of the consumer protocol.

use bytes::Bytes;
use ottla_core::group::request::{self, Overview, Request};
use ottla_wire::ResponseError;
use ottla_wire::error::DecodeError;
use ottla_wire::messages::list_groups_response::ListedGroup;
use ottla_wire::messages::{ListGroupsRequest, ListGroupsResponse};
use ottla_wire::protocol::StrBytes;

use super::authorize::{Operation, Resource};
use super::group::text;
use super::{Call, Reply, error_code};

/// Kafka's name of the type of these groups.
const CLASSIC: &str = "classic";

pub(crate) fn serve(call: Call, body: Bytes) -> Result<Reply, DecodeError> {
    let request: ListGroupsRequest = ottla_wire::request::decode_body(call.version, body)?;
    Ok(Reply::Later(Box::pin(async move {
        let response = match list(&call, &request).await {
            Ok(groups) => ListGroupsResponse::default().with_groups(groups),
            Err(error) => ListGroupsResponse::default().with_error_code(error.code()),
        };
        call.encode::<ListGroupsRequest>(&response)
    })))
}

async fn list(call: &Call, request: &ListGroupsRequest) -> Result<Vec<ListedGroup>, ResponseError> {
    let sees_all = call.allows(Operation::Describe, Resource::Cluster, "");
    let wanted = |filter: &[StrBytes], name: &str| {
        filter.is_empty() || filter.iter().any(|wanted| wanted.eq_ignore_ascii_case(name))
    };
    let shown = |group: &Overview| {
        wanted(&request.states_filter, group.state.name())
            && wanted(&request.types_filter, CLASSIC)
            && (sees_all || call.allows(Operation::Describe, Resource::Group, group.group.as_str()))
    };
    let all = call.node.groups.ask_all(&call.node.image(), &Request::List).await;
    let mut groups = Vec::new();
    for answer in all.map_err(|error| error_code::of_group_error(&error))? {
        match answer {
            Ok(request::Reply::Listed(listed)) => {
                groups.extend(listed.into_iter().filter(shown).map(described))
            }
            Ok(other) => unreachable!("groups are listed by {other:?}"),
            Err(error) => return Err(error_code::of_group_error(&error)),
        }
    }
    Ok(groups)
}

fn described(group: Overview) -> ListedGroup {
    ListedGroup::default()
        .with_group_id(text(group.group.as_str()).into())
        .with_protocol_type(StrBytes::from_string(group.protocol_type))
        .with_group_state(StrBytes::from_static_str(group.state.name()))
        .with_group_type(StrBytes::from_static_str(CLASSIC))
}
