//! `KafkaTopic`: one topic of a `KafkaCluster` in the same namespace.

#![expect(unreachable_pub, reason = "the KubeSchema derive repeats each struct inside a function")]

use std::collections::BTreeMap;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Condition, Scalar};

/// What a topic should be. What is declared here wins: a topic that a Kafka client changed or deleted is brought
/// back.
#[derive(Clone, CustomResource, Debug, Deserialize, KubeSchema, PartialEq, Serialize)]
#[kube(
    group = "ottla.dev",
    version = "v1alpha1",
    kind = "KafkaTopic",
    namespaced,
    shortname = "kt",
    category = "kafka",
    status = "KafkaTopicStatus",
    derive = "PartialEq",
    doc = "A topic of a Kafka cluster in the same namespace.",
    printcolumn(
        name = "Cluster",
        type_ = "string",
        json_path = ".spec.clusterRef.name",
        description = "The KafkaCluster that holds the topic"
    ),
    printcolumn(name = "Topic", type_ = "string", json_path = ".status.topicName", description = "The topic's name in Kafka", priority = 1),
    printcolumn(name = "Partitions", type_ = "integer", json_path = ".status.partitions", description = "How many partitions the topic has"),
    printcolumn(
        name = "Replicas",
        type_ = "integer",
        json_path = ".status.replicas",
        description = "The topic's replication factor"
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status",
        description = "Whether the topic is as declared"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason",
        description = "Why",
        priority = 1
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new("has(self.spec.topicName) || self.metadata.name.size() <= 249").message(
        "metadata.name is too long for a topic: at most 249 characters; shorten it or set spec.topicName"
    )
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.topicName) == has(oldSelf.topicName) && (!has(self.topicName) || self.topicName == oldSelf.topicName)")
    .message("topicName cannot be changed: Kafka cannot rename a topic; create another KafkaTopic")
    .field_path(".topicName"))]
pub struct KafkaTopicSpec {
    /// The cluster that holds the topic. It cannot be changed.
    #[x_kube(validation = Rule::new("self == oldSelf")
        .message("clusterRef cannot be changed: create another KafkaTopic"))]
    pub cluster_ref: ClusterRef,

    /// The topic's name in Kafka, where it differs from the name of this object (Kafka allows `_` and capitals).
    /// It cannot be changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 249), regex(pattern = r"^[a-zA-Z0-9._-]+$"))]
    #[x_kube(validation = Rule::new("self != '.' && self != '..'").message("topicName must not be . or .."))]
    pub topic_name: Option<String>,

    /// How many partitions. It can be raised, and the topic gets the partitions that are missing; records keep
    /// their partitions, but keys may then map to others. It cannot be lowered.
    #[serde(default = "default_partitions")]
    #[schemars(range(min = 1, max = 100_000))]
    #[x_kube(validation = Rule::new("self >= oldSelf")
        .message("partitions cannot be lowered: Kafka cannot remove partitions; create another topic"))]
    pub partitions: i32,

    /// The replication factor: on how many brokers each partition lies. It can be changed while clients go on:
    /// replicas are added on brokers, and in racks, that have the fewest, or removed, and what a partition has stays
    /// where it is. When unset, a new topic has the cluster's `default.replication.factor`, and one that exists
    /// keeps what it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub replicas: Option<i16>,

    /// Topic configuration under Kafka's names, such as `retention.ms: 604800000`. Quote `"true"`, `"false"` and
    /// fractions. A key that is not declared here has the cluster's default.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 128))]
    pub config: BTreeMap<String, Scalar>,

    /// What happens to the topic when this object is deleted. `Delete`: the topic goes with its records.
    /// `Retain`: it stays. A topic that was neither made for this object nor taken over by it always stays.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
}

fn default_partitions() -> i32 {
    1
}

/// A `KafkaCluster` in the same namespace.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct ClusterRef {
    /// Its name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// What happens to the topic when its object is deleted.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[schemars(inline)]
pub enum DeletionPolicy {
    /// The topic goes with its records.
    #[default]
    Delete,
    /// The topic stays.
    Retain,
}

/// What the operator observed.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct KafkaTopicStatus {
    /// `Ready`: the topic exists and is as declared.
    #[serde(default)]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// The generation of the spec that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The topic's name in Kafka.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic_name: Option<String>,
    /// The id of the topic that was made for this object or taken over by it. Only that topic is changed, and only
    /// that one is deleted with this object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic_id: Option<String>,
    /// How many partitions the topic has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partitions: Option<i32>,
    /// The topic's replication factor: the lowest of its partitions. Replicas that are still being added do not
    /// count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<i32>,
    /// The change of the replication factor that is under way, or waits; absent where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas_change: Option<ReplicasChange>,
}

/// How far a change of the replication factor is.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReplicasChange {
    /// Whether replicas are being added or removed.
    pub state: ReplicasChangeState,
    /// The replication factor that it leads to.
    pub target_replicas: i16,
    /// The replication factors that the operator leads partitions to, or is about to: the one above, and earlier ones
    /// while a partition is still on its way there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub own_targets: Vec<i16>,
    /// How many partitions have as many replicas as it leads to.
    pub done: i32,
    /// How many partitions the topic has.
    pub total: i32,
    /// What is done, or waited for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// Whether a change of the replication factor has begun.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub enum ReplicasChangeState {
    /// It is about to begin, or waits for what its message says.
    Pending,
    /// Replicas are being added or removed.
    Ongoing,
}
