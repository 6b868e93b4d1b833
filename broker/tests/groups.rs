//! Every version of every API of classic groups, asked of a real process: join, sync, live, commit, look, leave, delete.

use std::net::Ipv4Addr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use ottla_client::{Connection, HostPort, Options};
use ottla_wire::messages::create_topics_request::CreatableTopic;
use ottla_wire::messages::join_group_request::JoinGroupRequestProtocol;
use ottla_wire::messages::leave_group_request::MemberIdentity;
use ottla_wire::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use ottla_wire::messages::offset_delete_request::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic};
use ottla_wire::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use ottla_wire::messages::sync_group_request::SyncGroupRequestAssignment;
use ottla_wire::messages::{
    CreateTopicsRequest, DeleteGroupsRequest, DescribeGroupsRequest, FindCoordinatorRequest, GroupId,
    HeartbeatRequest, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, ListGroupsRequest,
    OffsetCommitRequest, OffsetDeleteRequest, OffsetFetchRequest, SyncGroupRequest, TopicName,
};
use ottla_wire::protocol::{Request, StrBytes};

const PATIENCE: Duration = Duration::from_secs(30);
const PORT: u16 = 29_292;
const MEMBER_ID_REQUIRED: i16 = 79;
const COORDINATOR_NOT_AVAILABLE: i16 = 15;
const COORDINATOR_LOAD_IN_PROGRESS: i16 = 14;

struct Broker {
    process: Child,
    connection: Connection,
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _it_may_have_ended = self.process.kill();
        let _it_is_ours = self.process.wait();
    }
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn topic() -> TopicName {
    TopicName(StrBytes::from_static_str("t"))
}

impl Broker {
    /// A broker with a topic `t` of one partition, on a loopback address of this process's own.
    async fn start() -> Self {
        let [.., high, low] = std::process::id().to_be_bytes();
        let host = Ipv4Addr::new(127, high, low, 77);
        let process = Command::new(env!("CARGO_BIN_EXE_ottla"))
            .args(["dev", "--listen", &format!("{host}:{PORT}")])
            .stdout(Stdio::null())
            .spawn()
            .expect("the binary runs");
        let (address, begun) = (HostPort::new(host.to_string(), PORT), Instant::now());
        let connection = loop {
            match Connection::connect(&address, &Options::default()).await {
                Ok(connection) => break connection,
                Err(error) => assert!(begun.elapsed() < PATIENCE, "the broker does not come up: {error}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        let broker = Self { process, connection };
        let topic =
            CreatableTopic::default().with_name(topic()).with_num_partitions(1).with_replication_factor(1);
        let request = CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(10_000);
        let made = broker.ask(7, &request).await;
        assert_eq!(made.topics[0].error_code, 0, "{made:?}");
        broker
    }

    /// Asks in the given version, or in the nearest one that is served.
    async fn ask<R: Request>(&self, version: i16, request: &R) -> R::Response {
        let version = self.version::<R>(version);
        let body = ottla_wire::request::encode_body(version, request).expect("the version carries it");
        let answer = self.connection.request_raw(R::KEY, version, body).await.expect("an answer");
        ottla_wire::response::decode_body::<R>(version, answer).expect("it is of that version")
    }

    fn version<R: Request>(&self, version: i16) -> i16 {
        let range = self.connection.versions(R::KEY).expect("it is served");
        version.clamp(range.min, range.max)
    }

    async fn find_coordinator(&self, version: i16, group: &str) {
        let begun = Instant::now();
        let version = self.version::<FindCoordinatorRequest>(version);
        let request = FindCoordinatorRequest::default();
        let request = match version {
            ..4 => request.with_key(text(group)),
            4.. => request.with_coordinator_keys(vec![text(group)]),
        };
        loop {
            let found = self.ask(version, &request).await;
            let (code, node) = match found.coordinators.first() {
                Some(one) => (one.error_code, one.node_id.0),
                None => (found.error_code, found.node_id.0),
            };
            if code == 0 {
                assert_eq!(node, 1);
                return;
            }
            assert_eq!(code, COORDINATOR_NOT_AVAILABLE, "v{version}: {found:?}");
            assert!(begun.elapsed() < PATIENCE, "the topic of groups is not made");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn join(&self, version: i16, group: &str) -> JoinGroupResponse {
        let version = self.version::<JoinGroupRequest>(version);
        let begun = Instant::now();
        let protocol = JoinGroupRequestProtocol::default()
            .with_name(StrBytes::from_static_str("range"))
            .with_metadata(Bytes::from_static(&[0, 0, 0, 0, 0, 1, 0, 1, b't']));
        let mut request = JoinGroupRequest::default()
            .with_group_id(GroupId(text(group)))
            .with_session_timeout_ms(10_000)
            .with_protocol_type(StrBytes::from_static_str("consumer"))
            .with_protocols(vec![protocol]);
        if version >= 1 {
            request = request.with_rebalance_timeout_ms(10_000);
        }
        loop {
            let joined = self.ask(version, &request).await;
            match joined.error_code {
                0 => return joined,
                MEMBER_ID_REQUIRED => {
                    assert!(version >= 4 && request.member_id.is_empty(), "v{version}");
                    request.member_id = joined.member_id;
                }
                other => {
                    assert_eq!(other, COORDINATOR_LOAD_IN_PROGRESS, "v{version}");
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
            assert!(begun.elapsed() < PATIENCE, "v{version}: the groups are not loaded");
        }
    }

    async fn sync(&self, version: i16, group: &str, joined: &JoinGroupResponse) {
        let version = self.version::<SyncGroupRequest>(version);
        let assignment = SyncGroupRequestAssignment::default()
            .with_member_id(joined.member_id.clone())
            .with_assignment(Bytes::from_static(b"all"));
        let mut request = SyncGroupRequest::default()
            .with_group_id(GroupId(text(group)))
            .with_generation_id(joined.generation_id)
            .with_member_id(joined.member_id.clone())
            .with_assignments(vec![assignment]);
        if version >= 5 {
            request.protocol_type = Some(StrBytes::from_static_str("consumer"));
            request.protocol_name = Some(StrBytes::from_static_str("range"));
        }
        let synced = self.ask(version, &request).await;
        assert_eq!((synced.error_code, &synced.assignment[..]), (0, &b"all"[..]), "v{version}");
    }

    async fn commit(&self, version: i16, group: &str, joined: &JoinGroupResponse, offset: i64) {
        let version = self.version::<OffsetCommitRequest>(version);
        let partition = |index| {
            OffsetCommitRequestPartition::default()
                .with_partition_index(index)
                .with_committed_offset(offset)
                .with_committed_metadata(Some(StrBytes::from_static_str("note")))
        };
        let topic = OffsetCommitRequestTopic::default()
            .with_name(topic())
            .with_partitions(vec![partition(0), partition(9)]);
        let request = OffsetCommitRequest::default()
            .with_group_id(GroupId(text(group)))
            .with_generation_id_or_member_epoch(joined.generation_id)
            .with_member_id(joined.member_id.clone())
            .with_topics(vec![topic]);
        let committed = self.ask(version, &request).await;
        let codes: Vec<i16> = committed.topics[0].partitions.iter().map(|one| one.error_code).collect();
        assert_eq!(codes, [0, 3], "v{version}: partition 9 does not exist");
    }

    /// The offset and the metadata kept of partition 0, and of partition 5.
    async fn fetch(&self, version: i16, group: &str) -> Vec<(i64, String)> {
        let version = self.version::<OffsetFetchRequest>(version);
        if version < 8 {
            let topic =
                OffsetFetchRequestTopic::default().with_name(topic()).with_partition_indexes(vec![0, 5]);
            let request = OffsetFetchRequest::default()
                .with_group_id(GroupId(text(group)))
                .with_topics(Some(vec![topic]));
            let fetched = self.ask(version, &request).await;
            assert_eq!(fetched.error_code, 0);
            let kept = fetched.topics[0].partitions.iter();
            return kept
                .map(|one| {
                    (one.committed_offset, one.metadata.as_ref().map(|m| m.to_string()).unwrap_or_default())
                })
                .collect();
        }
        let topics =
            OffsetFetchRequestTopics::default().with_name(topic()).with_partition_indexes(vec![0, 5]);
        let of_group = OffsetFetchRequestGroup::default()
            .with_group_id(GroupId(text(group)))
            .with_topics(Some(vec![topics]));
        let all = OffsetFetchRequestGroup::default().with_group_id(GroupId(text(group))).with_topics(None);
        let fetched =
            self.ask(version, &OffsetFetchRequest::default().with_groups(vec![of_group, all])).await;
        assert!(fetched.groups.iter().all(|group| group.error_code == 0));
        assert_eq!(fetched.groups[1].topics[0].partitions.len(), 1, "v{version}: all there is");
        let kept = fetched.groups[0].topics[0].partitions.iter();
        kept.map(|one| {
            (one.committed_offset, one.metadata.as_ref().map(|m| m.to_string()).unwrap_or_default())
        })
        .collect()
    }

    async fn state(&self, version: i16, group: &str) -> (i16, String, usize) {
        let request = DescribeGroupsRequest::default().with_groups(vec![GroupId(text(group))]);
        let mut described = self.ask(version, &request).await;
        let group = described.groups.remove(0);
        (group.error_code, group.group_state.to_string(), group.members.len())
    }

    async fn leave(&self, version: i16, group: &str, joined: &JoinGroupResponse) {
        let version = self.version::<LeaveGroupRequest>(version);
        let request = LeaveGroupRequest::default().with_group_id(GroupId(text(group)));
        let member = joined.member_id.clone();
        let request = match version {
            ..3 => request.with_member_id(member),
            3.. => request.with_members(vec![MemberIdentity::default().with_member_id(member)]),
        };
        let left = self.ask(version, &request).await;
        let codes: Vec<i16> = left.members.iter().map(|one| one.error_code).collect();
        assert_eq!((left.error_code, codes), (0, if version < 3 { vec![] } else { vec![0] }), "v{version}");
    }
}

#[tokio::test]
async fn a_group_lives_and_dies_in_every_version() {
    let broker = Broker::start().await;
    for version in 0..=9 {
        let group = format!("g{version}");
        broker.find_coordinator(version, &group).await;
        let joined = broker.join(version, &group).await;
        assert_eq!((joined.generation_id, joined.members.len()), (1, 1), "v{version}");
        assert_eq!(joined.leader, joined.member_id);
        assert_eq!(joined.protocol_name.as_deref(), Some("range"));
        broker.sync(version, &group, &joined).await;
        let beat = HeartbeatRequest::default()
            .with_group_id(GroupId(text(&group)))
            .with_generation_id(1)
            .with_member_id(joined.member_id.clone());
        assert_eq!(broker.ask(version, &beat).await.error_code, 0, "v{version}");
        let offset = i64::from(version) + 100;
        broker.commit(version, &group, &joined, offset).await;
        let expected = [(offset, "note".to_owned()), (-1, String::new())];
        assert_eq!(broker.fetch(version, &group).await, expected, "v{version}");
        assert_eq!(broker.state(version, &group).await, (0, "Stable".to_owned(), 1), "v{version}");
        let listed = broker.ask(version, &ListGroupsRequest::default()).await;
        let listed: Vec<&str> = listed.groups.iter().map(|one| one.group_id.as_str()).collect();
        assert_eq!((listed, 0), (vec![group.as_str()], 0), "v{version}");
        broker.leave(version, &group, &joined).await;
        assert_eq!(broker.state(version, &group).await, (0, "Empty".to_owned(), 0), "v{version}");
        delete(&broker, version, &group).await;
        let gone = if version < 6 { 0 } else { 69 };
        assert_eq!(broker.state(version, &group).await, (gone, "Dead".to_owned(), 0), "v{version}");
    }
}

async fn delete(broker: &Broker, version: i16, group: &str) {
    let partition = OffsetDeleteRequestPartition::default().with_partition_index(0);
    let topic = OffsetDeleteRequestTopic::default().with_name(topic()).with_partitions(vec![partition]);
    let request = OffsetDeleteRequest::default().with_group_id(GroupId(text(group))).with_topics(vec![topic]);
    let deleted = broker.ask(version, &request).await;
    assert_eq!((deleted.error_code, deleted.topics[0].partitions[0].error_code), (0, 0), "v{version}");
    let request = DeleteGroupsRequest::default().with_groups_names(vec![GroupId(text(group))]);
    let deleted = broker.ask(version, &request).await;
    assert_eq!(deleted.results[0].error_code, 0, "v{version}");
}
