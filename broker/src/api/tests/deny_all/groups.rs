//! Groups, their members and their offsets.

use ottla_wire::messages::leave_group_request::MemberIdentity;
use ottla_wire::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use ottla_wire::messages::offset_delete_request::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic};
use ottla_wire::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use ottla_wire::messages::{
    ApiKey, DeleteGroupsRequest, DescribeGroupsRequest, FindCoordinatorRequest, GroupId, HeartbeatRequest,
    JoinGroupRequest, LeaveGroupRequest, ListGroupsRequest, OffsetCommitRequest, OffsetDeleteRequest,
    OffsetFetchRequest, SyncGroupRequest,
};
use ottla_wire::protocol::StrBytes;

use super::{Case, GROUP_DENIED, OK, TRANSACTIONAL_ID_DENIED};
use crate::api::tests::rig::Asked;

const GROUP: StrBytes = StrBytes::from_static_str("g");

fn group() -> GroupId {
    GroupId(GROUP)
}

pub(super) async fn find_coordinator(case: Case<'_>) {
    for (key_type, denied) in [(0, GROUP_DENIED), (1, TRANSACTIONAL_ID_DENIED)] {
        let request = |version, _: &Asked| {
            let request = FindCoordinatorRequest::default();
            let request = if version >= 1 { request.with_key_type(key_type) } else { request };
            if version < 4 { request.with_key(GROUP) } else { request.with_coordinator_keys(vec![GROUP]) }
        };
        case.check(
            request,
            |answer| {
                let several: Vec<i16> = answer.coordinators.iter().map(|one| one.error_code).collect();
                if several.is_empty() { vec![answer.error_code] } else { several }
            },
            |version| vec![if version < 1 { GROUP_DENIED } else { denied }],
        )
        .await;
    }
}

pub(super) async fn members(key: ApiKey, case: Case<'_>) {
    let denied = |_| vec![GROUP_DENIED];
    if key == ApiKey::JoinGroup {
        let request = |_, _: &Asked| JoinGroupRequest::default().with_group_id(group());
        case.check(request, |answer| vec![answer.error_code], denied).await;
    } else if key == ApiKey::SyncGroup {
        let request = |_, _: &Asked| SyncGroupRequest::default().with_group_id(group());
        case.check(request, |answer| vec![answer.error_code], denied).await;
    } else if key == ApiKey::Heartbeat {
        let request = |_, _: &Asked| HeartbeatRequest::default().with_group_id(group());
        case.check(request, |answer| vec![answer.error_code], denied).await;
    } else {
        let request = |version, _: &Asked| {
            let request = LeaveGroupRequest::default().with_group_id(group());
            if version < 3 { request } else { request.with_members(vec![MemberIdentity::default()]) }
        };
        case.check(request, |answer| vec![answer.error_code], denied).await;
    }
}

pub(super) async fn offsets(key: ApiKey, case: Case<'_>) {
    let denied = |_| vec![GROUP_DENIED];
    if key == ApiKey::OffsetCommit {
        let request = |_, asked: &Asked| {
            let topic = OffsetCommitRequestTopic::default()
                .with_name(asked.topic())
                .with_partitions(vec![OffsetCommitRequestPartition::default()]);
            OffsetCommitRequest::default().with_group_id(group()).with_topics(vec![topic])
        };
        case.check(
            request,
            |answer| {
                let partitions = answer.topics.iter().flat_map(|topic| &topic.partitions);
                partitions.map(|partition| partition.error_code).collect()
            },
            denied,
        )
        .await;
    } else if key == ApiKey::OffsetFetch {
        case.check(
            fetch,
            |answer| {
                let of_groups = answer.groups.iter().map(|group| group.error_code);
                let partitions = answer.topics.iter().flat_map(|topic| &topic.partitions);
                let codes: Vec<i16> = of_groups.chain(partitions.map(|one| one.error_code)).collect();
                if codes.is_empty() { vec![answer.error_code] } else { codes }
            },
            denied,
        )
        .await;
    } else {
        let request = |_, asked: &Asked| {
            let topic = OffsetDeleteRequestTopic::default()
                .with_name(asked.topic())
                .with_partitions(vec![OffsetDeleteRequestPartition::default()]);
            OffsetDeleteRequest::default().with_group_id(group()).with_topics(vec![topic])
        };
        case.check(request, |answer| vec![answer.error_code], denied).await;
    }
}

fn fetch(version: i16, asked: &Asked) -> OffsetFetchRequest {
    let request = OffsetFetchRequest::default();
    if version < 8 {
        let topic =
            OffsetFetchRequestTopic::default().with_name(asked.topic()).with_partition_indexes(vec![0]);
        return request.with_group_id(group()).with_topics(Some(vec![topic]));
    }
    let topic = OffsetFetchRequestTopics::default().with_name(asked.topic()).with_partition_indexes(vec![0]);
    let of_group = OffsetFetchRequestGroup::default().with_group_id(group()).with_topics(Some(vec![topic]));
    request.with_groups(vec![of_group])
}

pub(super) async fn administration(key: ApiKey, case: Case<'_>) {
    let denied = |_| vec![GROUP_DENIED];
    if key == ApiKey::DescribeGroups {
        let request = |_, _: &Asked| DescribeGroupsRequest::default().with_groups(vec![group()]);
        case.check(request, |answer| answer.groups.iter().map(|one| one.error_code).collect(), denied).await;
    } else if key == ApiKey::DeleteGroups {
        let request = |_, _: &Asked| DeleteGroupsRequest::default().with_groups_names(vec![group()]);
        case.check(request, |answer| answer.results.iter().map(|one| one.error_code).collect(), denied).await;
    } else {
        // Whoever may see no group sees a list without any.
        let request = |_, _: &Asked| ListGroupsRequest::default();
        case.check(
            request,
            |answer| {
                assert!(answer.groups.is_empty());
                vec![answer.error_code]
            },
            |_| vec![OK],
        )
        .await;
    }
}
