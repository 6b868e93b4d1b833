//! A group's record: written by one coordinator, read by the next.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;

use crate::group::ids::{GroupId, MemberId};
use crate::group::record::{ClassicGroupValue, ClassicMemberValue, EncodedRecord, GroupRecord};
use crate::group::request::GroupState;

use super::join::milliseconds;
use super::member::Member;
use super::{ClassicGroup, Step};

fn wire_milliseconds(duration: Duration) -> i32 {
    i32::try_from(duration.as_millis()).unwrap_or(i32::MAX)
}

impl<T> ClassicGroup<T> {
    /// What is to be written of it; with these assignments rather than those that hold.
    pub(super) fn record(&self, assignments: Option<&BTreeMap<MemberId, Bytes>>) -> EncodedRecord {
        let member = |(id, member): (&MemberId, &Member<T>)| ClassicMemberValue {
            id: id.clone(),
            instance: member.instance.clone(),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            rebalance_timeout_ms: wire_milliseconds(member.rebalance_timeout),
            session_timeout_ms: wire_milliseconds(member.session_timeout),
            subscription: member.metadata(self.protocol.as_deref()),
            assignment: match assignments {
                Some(assignments) => assignments.get(id).cloned().unwrap_or_default(),
                None => member.assignment.clone(),
            },
        };
        let value = ClassicGroupValue {
            protocol_type: self.protocol_type().to_owned(),
            generation: self.generation,
            protocol: self.protocol.clone(),
            leader: self.leader.clone(),
            state_since: self.state_since,
            members: self.members.iter().map(member).collect(),
        };
        GroupRecord::ClassicGroup { group: self.id.clone(), value: Some(value) }.encode()
    }

    /// The group that a record says.
    pub(in crate::group) fn restore(id: GroupId, value: ClassicGroupValue) -> Self {
        let mut group = Self::new(id);
        let protocol = value.protocol.clone().unwrap_or_default();
        for member in value.members {
            if let Some(instance) = &member.instance {
                group.instances.insert(instance.clone(), member.id.clone());
            }
            let restored = Member {
                instance: member.instance,
                client_id: member.client_id,
                client_host: member.client_host,
                session_timeout: milliseconds(member.session_timeout_ms),
                rebalance_timeout: milliseconds(member.rebalance_timeout_ms),
                protocols: vec![(protocol.clone(), member.subscription)],
                assignment: member.assignment,
                is_new: false,
                joining: None,
                syncing: None,
            };
            group.members.insert(member.id, restored);
        }
        group.state = if group.members.is_empty() { GroupState::Empty } else { GroupState::Stable };
        group.state_since = value.state_since;
        group.generation = value.generation;
        group.protocol_type = Some(value.protocol_type).filter(|text| !text.is_empty());
        group.protocol = value.protocol;
        group.leader = value.leader;
        group.subscribed = group.subscribed_topics();
        group
    }

    /// Everything there is to know has been read: sessions begin anew.
    pub(in crate::group) fn loaded(&mut self, step: &mut Step<'_, T>) {
        let ids: Vec<MemberId> = self.members.keys().cloned().collect();
        ids.iter().for_each(|id| self.keep_alive(id, step));
        if self.members.len() > step.settings.size_max {
            self.rebalance(step);
        }
    }
}
