//! A node whose authorizer refuses everything: every API asks it, and no answer tells what exists.
//!
//! Each case is sent twice, about a topic that exists and about one that does not. The two answers must be the
//! same byte for byte, but for the name and the id that the request itself holds.

mod cluster;
mod groups;
mod records;
mod topics;

use std::sync::Arc;

use bytes::Bytes;
use ottla_core::ids::TopicId;
use ottla_wire::messages::ApiKey;
use ottla_wire::private::{PrivateKey, RestartSafetyRequest};
use ottla_wire::protocol::Request;
use tokio::sync::watch;

use super::rig::{
    Asked, KEY_PASSWORD, MISSING, PRESENT, RETENTION_OF_BROKERS, RETENTION_OF_FILE, RETENTION_OF_TOPIC,
    image, node, node_that_knows, read, send,
};
use crate::api::authorize::{Authorizer, Resource};
use crate::api::{Api, Scope, TABLE};
use crate::drive::controller::ControllerHandle;
use crate::node::Node;

const OK: i16 = 0;
const TOPIC_DENIED: i16 = 29;
const GROUP_DENIED: i16 = 30;
const CLUSTER_DENIED: i16 = 31;
const TRANSACTIONAL_ID_DENIED: i16 = 53;
const ID_UNKNOWN: i16 = 100;

#[tokio::test]
async fn every_api_refuses_and_tells_nothing() {
    let node = node(Authorizer::DenyAll);
    for api in TABLE {
        let private = PrivateKey::from_code(api.key);
        match ApiKey::try_from(api.key) {
            Ok(key) => kafkas(&node, api, key).await,
            Err(()) => ours(&node, api, private.expect("a key of Kafka's or ours")).await,
        }
    }
}

/// One API: what is asked about a topic, and the error codes in the answer.
struct Case<'a> {
    node: &'a Arc<Node>,
    api: &'a Api,
    scope: Scope,
}

impl Case<'_> {
    async fn check<R: Request>(
        &self,
        request: impl Fn(i16, &Asked) -> R,
        codes: impl Fn(&R::Response) -> Vec<i16>,
        expected: impl Fn(i16) -> Vec<i16>,
    ) {
        assert_eq!(R::KEY, self.api.key);
        for version in self.api.versions.clone() {
            let what = format!("{} v{version}", self.api.name);
            let present = send(self.node, self.scope, version, &request(version, &PRESENT)).await;
            let missing = send(self.node, self.scope, version, &request(version, &MISSING)).await;
            let told = codes(&read::<R>(version, present.clone()));
            assert_eq!(told, expected(version), "{what}");
            self.check_row(&told);
            assert_eq!(as_if_missing(&present), missing, "{what} tells whether the topic exists");
            let secrets = [RETENTION_OF_TOPIC, RETENTION_OF_BROKERS, RETENTION_OF_FILE, KEY_PASSWORD];
            for secret in secrets {
                assert!(!contains(&present, secret.as_bytes()), "{what} tells {secret}");
            }
        }
    }
}

impl Case<'_> {
    /// What was refused is what the row says is asked for.
    fn check_row(&self, codes: &[i16]) {
        let names = |resource| self.api.authorizes.iter().any(|(named, _)| *named == resource);
        for code in codes {
            let named = match *code {
                TOPIC_DENIED | ID_UNKNOWN => names(Resource::Topic),
                GROUP_DENIED => names(Resource::Group),
                CLUSTER_DENIED => names(Resource::Cluster),
                TRANSACTIONAL_ID_DENIED => names(Resource::TransactionalId),
                _ => true,
            };
            assert!(named, "{} refuses with {code}, which its row does not say", self.api.name);
        }
    }
}

fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}

fn as_if_missing(bytes: &Bytes) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    // The name, the id, and the id as a message writes it.
    let forms = |asked: &Asked| {
        let id = TopicId(asked.id).to_string();
        [asked.name.as_bytes().to_vec(), asked.id.as_bytes().to_vec(), id.into_bytes()]
    };
    for (from, to) in forms(&PRESENT).iter().zip(forms(&MISSING)) {
        for start in 0..bytes.len().saturating_sub(from.len() - 1) {
            if bytes[start..].starts_with(from) {
                bytes[start..start + to.len()].copy_from_slice(&to);
            }
        }
    }
    bytes
}

#[expect(clippy::wildcard_enum_match_arm, reason = "Kafka's keys without a row need no case")]
async fn kafkas(node: &Arc<Node>, api: &Api, key: ApiKey) {
    let on_broker = Case { node, api, scope: Scope::Broker };
    let on_controller = Case { node, api, scope: Scope::Controller };
    match key {
        ApiKey::Produce => records::produce(on_broker).await,
        ApiKey::Fetch => records::fetch(on_broker).await,
        ApiKey::ListOffsets => records::list_offsets(on_broker).await,
        ApiKey::Metadata => topics::metadata(on_broker).await,
        ApiKey::ApiVersions => {
            cluster::api_versions(on_broker).await;
            cluster::api_versions(on_controller).await;
        }
        ApiKey::CreateTopics => topics::create_topics(on_controller).await,
        ApiKey::DeleteTopics => {
            // Who is not the active controller knows of no topic that it may be asked about by its id.
            let (_, images) = watch::channel(Arc::new(image()));
            let active = ControllerHandle::idle(image());
            let node = node_that_knows(images, Authorizer::DenyAll, Some(active));
            topics::delete_topics(Case { node: &node, ..on_controller }).await;
        }
        ApiKey::OffsetForLeaderEpoch => records::offset_for_leader_epoch(on_broker).await,
        ApiKey::DescribeConfigs => topics::describe_configs(on_broker).await,
        ApiKey::AlterReplicaLogDirs => topics::alter_log_dirs(on_broker).await,
        ApiKey::DescribeLogDirs => topics::describe_log_dirs(on_broker).await,
        ApiKey::CreatePartitions => topics::create_partitions(on_controller).await,
        ApiKey::IncrementalAlterConfigs => topics::alter_configs(on_controller).await,
        ApiKey::AlterPartitionReassignments => topics::reassign(on_controller).await,
        ApiKey::ListPartitionReassignments => topics::list_reassignments(on_controller).await,
        ApiKey::DescribeQuorum => cluster::describe_quorum(on_controller).await,
        ApiKey::ElectLeaders => topics::elect_leaders(on_controller).await,
        ApiKey::AlterPartition => cluster::alter_partition(on_controller).await,
        ApiKey::UnregisterBroker => cluster::unregister_broker(on_controller).await,
        ApiKey::UpdateFeatures => cluster::update_features(on_controller).await,
        ApiKey::DescribeTopicPartitions => topics::describe_topic_partitions(on_broker).await,
        ApiKey::DescribeCluster => {
            cluster::describe_cluster(on_broker).await;
            cluster::describe_controllers(on_controller).await;
        }
        ApiKey::AddRaftVoter | ApiKey::RemoveRaftVoter | ApiKey::UpdateRaftVoter => {
            cluster::change_voters(key, on_controller).await;
        }
        ApiKey::BrokerRegistration => cluster::register_broker(on_controller).await,
        ApiKey::BrokerHeartbeat => cluster::heartbeat(on_controller).await,
        ApiKey::InitProducerId => records::init_producer_id(on_broker).await,
        ApiKey::DescribeProducers => records::describe_producers(on_broker).await,
        ApiKey::AssignReplicasToDirs => cluster::assign_replicas_to_dirs(on_controller).await,
        ApiKey::AllocateProducerIds => cluster::allocate_producer_ids(on_controller).await,
        ApiKey::FindCoordinator => groups::find_coordinator(on_broker).await,
        ApiKey::JoinGroup | ApiKey::SyncGroup | ApiKey::Heartbeat | ApiKey::LeaveGroup => {
            groups::members(key, on_broker).await;
        }
        ApiKey::OffsetCommit | ApiKey::OffsetFetch | ApiKey::OffsetDelete => {
            groups::offsets(key, on_broker).await;
        }
        ApiKey::DescribeGroups | ApiKey::ListGroups | ApiKey::DeleteGroups => {
            groups::administration(key, on_broker).await;
        }
        other => panic!("{other:?} has a row in the table and no case here"),
    }
}

async fn ours(node: &Arc<Node>, api: &Api, key: PrivateKey) {
    let case = Case { node, api, scope: Scope::Controller };
    let denied = |_| vec![CLUSTER_DENIED];
    match key {
        PrivateKey::RaftMessage => {
            case.check(cluster::raft_message, |answer| vec![answer.error_code], denied).await
        }
        PrivateKey::FetchMetadata => {
            let codes = |answer: &ottla_wire::private::FetchMetadataResponse| {
                assert!(answer.entries.is_empty() && answer.snapshot.is_none() && answer.leader.is_none());
                vec![answer.error_code]
            };
            case.check(cluster::fetch_metadata, codes, denied).await;
        }
        PrivateKey::FetchMetadataSnapshot => {
            let codes = |answer: &ottla_wire::private::FetchMetadataSnapshotResponse| {
                assert!(answer.bytes.is_empty() && answer.size == 0);
                vec![answer.error_code]
            };
            case.check(cluster::fetch_snapshot, codes, denied).await;
        }
        PrivateKey::Forward => {
            let codes = |answer: &ottla_wire::private::ForwardResponse| {
                assert!(answer.body.is_empty());
                vec![answer.error_code]
            };
            case.check(cluster::forward, codes, denied).await;
        }
        PrivateKey::RestartSafety => {
            let request = |_, _: &Asked| RestartSafetyRequest { brokers: vec![1] };
            case.check(request, |answer| vec![answer.error_code], denied).await;
        }
    }
}
