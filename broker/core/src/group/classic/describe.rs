//! What is shown of a group.

use bytes::Bytes;

use crate::group::request::{DescribedMember, Description, GroupState, Overview};

use super::ClassicGroup;

impl<T> ClassicGroup<T> {
    /// As DescribeGroups shows it: what members said and were assigned only while it is stable.
    pub(in crate::group) fn describe(&self) -> Description {
        let is_stable = self.state == GroupState::Stable;
        let protocol = self.protocol.as_deref().filter(|_| is_stable);
        let members = self.members.iter().map(|(id, member)| DescribedMember {
            id: id.clone(),
            instance: member.instance.clone(),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            metadata: member.metadata(protocol),
            assignment: if is_stable { member.assignment.clone() } else { Bytes::new() },
        });
        Description {
            state: self.state,
            protocol_type: self.protocol_type().to_owned(),
            protocol: protocol.unwrap_or_default().to_owned(),
            members: members.collect(),
        }
    }

    /// As ListGroups shows it.
    pub(in crate::group) fn overview(&self) -> Overview {
        Overview { group: self.id.clone(), protocol_type: self.protocol_type().to_owned(), state: self.state }
    }
}
