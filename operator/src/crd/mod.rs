//! The custom resources: one file per kind, each the source of truth for its schema.
//!
//! Owns the words a user writes, their defaults and every rule that CEL can say. `crds/` and the chart's copy
//! are generated from here by `tests/generated.rs`. It must not hold behaviour: what a field does is decided in
//! `cluster/` and `topic/`, after `validate` has turned a spec into a type that cannot be wrong.

mod condition;
mod kafka_cluster;
mod kafka_topic;
mod scalar;

pub use condition::{Condition, ConditionStatus};
pub use kafka_cluster::{
    BrokersStatus, Controllers, ControllersStatus, KafkaCluster, KafkaClusterSpec, KafkaClusterStatus,
    PlacementOfControllers, PodTemplate, PodTemplateMetadata, PullSecret, Resources, RolloutStatus, Storage,
    Template, Toleration,
};
pub use kafka_topic::{
    ClusterRef, DeletionPolicy, KafkaTopic, KafkaTopicSpec, KafkaTopicStatus, ReplicasChange,
    ReplicasChangeState,
};
pub use scalar::Scalar;
