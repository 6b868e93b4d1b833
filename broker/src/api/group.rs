//! What the handlers of groups share: who asks, of which group, and whether it may.

use ottla_core::group::Answer;
use ottla_core::group::ids::{GroupId, InstanceId, MemberId};
use ottla_core::group::request::{GroupError, Request, Speaker};
use ottla_wire::ResponseError;
use ottla_wire::protocol::StrBytes;

use super::authorize::{Operation, Resource};
use super::{Call, error_code};

/// A member as requests name it: an empty id is none.
pub(super) fn speaker(member_id: &str, instance: Option<&StrBytes>) -> Speaker {
    Speaker {
        member: (!member_id.is_empty()).then(|| MemberId::from(member_id)),
        instance: instance.map(|instance| InstanceId::from(instance.as_str())),
    }
}

/// A text of a response.
pub(super) fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

impl Call {
    /// May the caller do this with a group?
    pub(super) fn check_group(&self, operation: Operation, group: &str) -> Result<(), ResponseError> {
        if self.allows(operation, Resource::Group, group) {
            Ok(())
        } else {
            Err(ResponseError::GroupAuthorizationFailed)
        }
    }

    /// Asks the coordinator of a group.
    pub(super) async fn ask_group(&self, group: &GroupId, request: Request) -> Answer {
        self.node.groups.ask(&self.node.image(), group, request).await
    }

    /// May the caller read from a group that members are in, and is it one?
    pub(super) fn check_membership(&self, group: &str) -> Result<(), ResponseError> {
        self.check_group(Operation::Read, group)?;
        if group.is_empty() {
            return Err(error_code::of_group_error(&GroupError::InvalidGroupId));
        }
        Ok(())
    }
}
