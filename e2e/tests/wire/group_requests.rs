//! Real requests about groups, which a broker answers at once.

use anyhow::{Result, bail};
use bytes::Bytes;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_delete_request::{
    OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{
    ApiKey, DeleteGroupsRequest, DescribeGroupsRequest, FindCoordinatorRequest, GroupId, HeartbeatRequest,
    JoinGroupRequest, LeaveGroupRequest, ListGroupsRequest, OffsetCommitRequest, OffsetDeleteRequest,
    OffsetFetchRequest, RequestKind, SyncGroupRequest,
};

use super::{text, topic};

/// Where in the API's history something changed, as the protocol's schemas have it.
const COORDINATORS_IN_BATCHES: i16 = 4;
const JOIN_TWICE: i16 = 4;
const LEAVE_IN_BATCHES: i16 = 3;
const FETCH_IN_BATCHES: i16 = 8;

fn group() -> GroupId {
    GroupId(text("fuzz"))
}

/// The bodies of the keys that are about groups. A member that joins gets an id and does not come back, or has one that the
/// group does not know: a real one would wait for others.
#[expect(clippy::wildcard_enum_match_arm, reason = "a key without a request here is an error that says so")]
pub(super) fn body(key: ApiKey, version: i16) -> Result<RequestKind> {
    Ok(match key {
        ApiKey::FindCoordinator => {
            let request = FindCoordinatorRequest::default();
            RequestKind::FindCoordinator(if version >= COORDINATORS_IN_BATCHES {
                request.with_coordinator_keys(vec![text("fuzz"), text("another")])
            } else {
                request.with_key(text("fuzz"))
            })
        }
        ApiKey::JoinGroup => {
            let metadata = Bytes::from_static(&[0, 3, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]);
            let protocol =
                JoinGroupRequestProtocol::default().with_name(text("range")).with_metadata(metadata);
            let mut request = JoinGroupRequest::default()
                .with_group_id(group())
                .with_session_timeout_ms(10_000)
                .with_protocol_type(text("consumer"))
                .with_member_id(text(if version < JOIN_TWICE { "nobody" } else { "" }))
                .with_protocols(vec![protocol]);
            if version >= 1 {
                request.rebalance_timeout_ms = 10_000;
            }
            RequestKind::JoinGroup(request)
        }
        ApiKey::SyncGroup => {
            let assignment = SyncGroupRequestAssignment::default()
                .with_member_id(text("nobody"))
                .with_assignment(Bytes::from_static(&[0; 8]));
            let request = SyncGroupRequest::default()
                .with_group_id(group())
                .with_generation_id(1)
                .with_member_id(text("nobody"))
                .with_assignments(vec![assignment]);
            RequestKind::SyncGroup(request)
        }
        ApiKey::Heartbeat => {
            let request = HeartbeatRequest::default().with_group_id(group()).with_generation_id(1);
            RequestKind::Heartbeat(request.with_member_id(text("nobody")))
        }
        ApiKey::LeaveGroup => {
            let request = LeaveGroupRequest::default().with_group_id(group());
            RequestKind::LeaveGroup(if version >= LEAVE_IN_BATCHES {
                let member = MemberIdentity::default()
                    .with_member_id(text("nobody"))
                    .with_group_instance_id(Some(text("fixed")));
                request.with_members(vec![member])
            } else {
                request.with_member_id(text("nobody"))
            })
        }
        ApiKey::DescribeGroups => {
            RequestKind::DescribeGroups(DescribeGroupsRequest::default().with_groups(vec![group()]))
        }
        ApiKey::ListGroups => RequestKind::ListGroups(ListGroupsRequest::default()),
        ApiKey::DeleteGroups => {
            let groups = vec![GroupId(text("no-such-group"))];
            RequestKind::DeleteGroups(DeleteGroupsRequest::default().with_groups_names(groups))
        }
        _ => offsets(key, version)?,
    })
}

#[expect(clippy::wildcard_enum_match_arm, reason = "a key without a request here is an error that says so")]
fn offsets(key: ApiKey, version: i16) -> Result<RequestKind> {
    Ok(match key {
        // Of nobody's generation: as a tool commits.
        ApiKey::OffsetCommit => {
            let partition = OffsetCommitRequestPartition::default()
                .with_committed_offset(1)
                .with_committed_metadata(Some(text("about it")));
            let topic =
                OffsetCommitRequestTopic::default().with_name(topic()).with_partitions(vec![partition]);
            let request = OffsetCommitRequest::default()
                .with_group_id(group())
                .with_generation_id_or_member_epoch(-1)
                .with_topics(vec![topic]);
            RequestKind::OffsetCommit(request)
        }
        ApiKey::OffsetFetch => {
            let request = OffsetFetchRequest::default();
            RequestKind::OffsetFetch(if version >= FETCH_IN_BATCHES {
                let wanted =
                    OffsetFetchRequestTopics::default().with_name(topic()).with_partition_indexes(vec![0, 1]);
                let one = OffsetFetchRequestGroup::default().with_group_id(group());
                let all = one.clone().with_topics(None);
                request.with_groups(vec![one.with_topics(Some(vec![wanted])), all])
            } else {
                let wanted =
                    OffsetFetchRequestTopic::default().with_name(topic()).with_partition_indexes(vec![0, 1]);
                request.with_group_id(group()).with_topics(Some(vec![wanted]))
            })
        }
        ApiKey::OffsetDelete => {
            let partition = OffsetDeleteRequestPartition::default().with_partition_index(7);
            let topic =
                OffsetDeleteRequestTopic::default().with_name(topic()).with_partitions(vec![partition]);
            RequestKind::OffsetDelete(
                OffsetDeleteRequest::default().with_group_id(group()).with_topics(vec![topic]),
            )
        }
        other => bail!("the broker serves {other:?} and this test has no request of it: add one"),
    })
}
