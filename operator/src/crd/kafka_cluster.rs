//! `KafkaCluster`: one Kafka cluster, its brokers and controllers.

#![expect(unreachable_pub, reason = "the KubeSchema derive repeats each struct inside a function")]

use std::collections::BTreeMap;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Condition, Scalar};

/// What a Kafka cluster should be. Only `storage` has to be written; everything else has a default that a
/// production cluster can live with.
#[derive(Clone, CustomResource, Debug, Deserialize, KubeSchema, PartialEq, Serialize)]
#[kube(
    group = "ottla.dev",
    version = "v1alpha1",
    kind = "KafkaCluster",
    namespaced,
    shortname = "kc",
    category = "kafka",
    status = "KafkaClusterStatus",
    derive = "PartialEq",
    doc = "A Kafka cluster run by Ottla. Its brokers are reached at the service `<name>-bootstrap`, port 9092.",
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.brokers.ready",
        label_selector_path = ".status.labelSelector"
    ),
    printcolumn(name = "Desired", type_ = "integer", json_path = ".spec.replicas", description = "Brokers asked for"),
    printcolumn(
        name = "Brokers",
        type_ = "integer",
        json_path = ".status.brokers.ready",
        description = "Brokers that are ready"
    ),
    printcolumn(
        name = "Version",
        type_ = "string",
        json_path = ".status.version",
        description = "Ottla's release that the brokers run"
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status",
        description = "Whether every broker serves clients"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason",
        description = "Why",
        priority = 1
    ),
    printcolumn(
        name = "Bootstrap",
        type_ = "string",
        json_path = ".status.bootstrap",
        description = "The address that clients start from",
        priority = 1
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    // The longest label value derived from it is `<name>-controllers-<10 characters>`, the revision that Kubernetes puts on
    // the pods of a StatefulSet; a label value holds 63 characters.
    validation = Rule::new("self.metadata.name.size() <= 40").message(
        "metadata.name is too long: at most 40 characters, because services, pods and labels derive their names from it"
    ),
    validation = Rule::new("self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')").message(
        "metadata.name must start with a letter and hold only lowercase letters, digits and hyphens, because services derive their names from it"
    )
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new(
        "self.controllers.placement != 'Combined' || !has(self.controllers.replicas) || self.controllers.replicas <= self.replicas"
    ).message("controllers.replicas must not exceed replicas while controllers.placement is Combined: lower controllers.replicas, raise replicas, or use Dedicated"),
    validation = Rule::new("has(self.controllers) == has(oldSelf.controllers) && self.controllers.placement == oldSelf.controllers.placement")
        .message("controllers.placement cannot be changed after creation")
        .field_path(".controllers.placement"),
    validation = Rule::new("has(self.clusterId) == has(oldSelf.clusterId) && (!has(self.clusterId) || self.clusterId == oldSelf.clusterId)")
        .message("clusterId cannot be changed after creation")
        .field_path(".clusterId")
)]
pub struct KafkaClusterSpec {
    /// Ottla's release that the brokers run, such as `0.1.0`. When unset, the release that the operator knows at
    /// creation; the cluster is then pinned to it, so that a newer operator restarts nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), regex(pattern = r"^[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]+)?$"))]
    pub version: Option<String>,

    /// How many brokers. Raise it to add brokers (`kubectl scale kc/NAME --replicas N`); they take the node ids
    /// that follow and receive partitions of new topics. Lowering it is not supported by this release: a
    /// condition says so and nothing is removed.
    #[serde(default = "default_replicas")]
    #[schemars(range(min = 1, max = 1000))]
    pub replicas: i32,

    /// The cluster's id in Kafka's sense, 22 characters. When unset, the one that volumes of a deleted cluster of this name
    /// carry, or a new one. It is for volumes that were restored by hand: claims with the names and labels of the cluster
    /// that are there before it. It cannot be changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 22), regex(pattern = r"^[0-9A-Za-z_-]{22}$"))]
    pub cluster_id: Option<String>,

    /// The controllers: the nodes that keep the cluster's metadata by majority.
    #[serde(default)]
    pub controllers: Controllers,

    /// The volume of each node.
    pub storage: Storage,

    /// CPU and memory of each node.
    #[serde(default)]
    pub resources: Resources,

    /// Broker configuration under Kafka's property names, such as `num.partitions: 3`. Quote `"true"`, `"false"`
    /// and fractions. Names, addresses, directories and roles of nodes belong to the operator and are refused;
    /// an unknown key or a bad value is reported in the condition `Valid`, and what runs is left alone. A change
    /// restarts the brokers one at a time, each only when the cluster says that it is safe.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 256))]
    #[x_kube(validation = Rule::new("self.all(key, !key.startsWith('zookeeper.'))")
        .message("config holds a key of ZooKeeper mode (zookeeper.*): Ottla keeps metadata in its own controllers; remove the key"))]
    #[x_kube(validation = Rule::new("self.all(key, !key.startsWith('ottla.'))")
        .message("config holds a key that the operator sets itself (ottla.*): remove the key"))]
    #[x_kube(validation = Rule::new("!('node.id' in self) && !('broker.id' in self) && !('broker.id.generation.enable' in self)")
        .message("config must not hold node.id or broker.id: a node's id is the ordinal of its pod; remove the key"))]
    #[x_kube(validation = Rule::new("!('process.roles' in self)")
        .message("config must not hold process.roles: set controllers.replicas and controllers.placement instead"))]
    #[x_kube(validation = Rule::new("!('log.dirs' in self) && !('log.dir' in self) && !('metadata.log.dir' in self)")
        .message("config must not hold log.dirs, log.dir or metadata.log.dir: set storage instead"))]
    #[x_kube(validation = Rule::new("!('listeners' in self) && !('advertised.listeners' in self) && !('listener.security.protocol.map' in self) && !('inter.broker.listener.name' in self) && !('security.inter.broker.protocol' in self) && !('controller.listener.names' in self)")
        .message("config must not hold listeners or what belongs to them: the operator gives each node its addresses; remove the key"))]
    #[x_kube(validation = Rule::new("!('controller.quorum.bootstrap.servers' in self) && !('controller.quorum.voters' in self)")
        .message("config must not hold controller.quorum.bootstrap.servers or controller.quorum.voters: set controllers.replicas instead"))]
    #[x_kube(validation = Rule::new("!('cordoned.log.dirs' in self)")
        .message("config must not hold cordoned.log.dirs: set it on the broker itself while the cluster runs (kafka-configs.sh); remove the key"))]
    #[x_kube(validation = Rule::new("!('broker.rack' in self)")
        .message("config must not hold broker.rack: the rack is the zone label of the Kubernetes node; remove the key"))]
    pub config: BTreeMap<String, Scalar>,

    /// The whole image reference of the brokers, in the place of the one derived from `version`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub image: Option<String>,

    /// What to add to the objects that the operator builds.
    #[serde(default, skip_serializing_if = "Template::is_empty")]
    pub template: Template,

    /// Leaves everything as it is until set back to false, topics too: the operator changes nothing but the status. In
    /// the middle of a roll that includes a disruption budget that may allow no evictions.
    #[serde(default)]
    pub paused: bool,
}

fn default_replicas() -> i32 {
    3
}

/// The controllers of a cluster.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.replicas) || !has(oldSelf.replicas)")
    .message("controllers.replicas cannot be removed once set")
    .field_path(".replicas"))]
pub struct Controllers {
    /// How many controllers: an odd number, of which a majority must live. When unset: 3, or 1 in a cluster of
    /// fewer than 3 brokers. Resolved at creation, kept in `status.controllers.replicas`, and not changed by this
    /// release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 9))]
    #[x_kube(validation = Rule::new("self % 2 == 1")
        .message("controllers.replicas must be odd: an even number survives no more failures than the odd one below it"))]
    #[x_kube(validation = Rule::new("self == oldSelf")
        .message("controllers.replicas cannot be changed after creation by this release"))]
    pub replicas: Option<i32>,

    /// `Combined`: the brokers with the lowest node ids are controllers too. `Dedicated`: pods of their own, with
    /// node ids from 1000.
    #[serde(default)]
    pub placement: PlacementOfControllers,
}

/// Where the controllers run.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[schemars(inline)]
pub enum PlacementOfControllers {
    /// In the pods of the first brokers.
    #[default]
    Combined,
    /// In pods of their own.
    Dedicated,
}

/// The volume of each node.
#[derive(Clone, Debug, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.class) == has(oldSelf.class) && (!has(self.class) || self.class == oldSelf.class)")
    .message("storage.class cannot be changed after creation")
    .field_path(".class"))]
pub struct Storage {
    /// The size of the volume, such as `100Gi`. This release does not resize volumes.
    #[schemars(
        length(max = 32),
        regex(pattern = r"^[1-9][0-9]*(\.[0-9]+)?(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?$")
    )]
    #[x_kube(validation = Rule::new("self == oldSelf")
        .message("storage.size cannot be changed after creation by this release"))]
    pub size: String,

    /// The StorageClass of the volume; when unset, the default one of the Kubernetes cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub class: Option<String>,

    /// Whether the volumes are deleted with the cluster. When false they stay, and the same manifest applied
    /// again gets the same cluster id and the data back.
    #[serde(default)]
    pub delete_claim: bool,
}

/// CPU and memory of each node, in Kubernetes' quantities. What is written here stands in the place of the whole default:
/// whoever writes only a request for CPU has no memory limit.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub struct Resources {
    /// What the scheduler sets aside for the node.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16))]
    pub requests: BTreeMap<String, Scalar>,
    /// What the node may use at most. The broker derives its memory budget from the memory limit; without one, from the
    /// memory of its Kubernetes node.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16))]
    pub limits: BTreeMap<String, Scalar>,
}

impl Default for Resources {
    fn default() -> Self {
        let pair = |name: &str, amount: &str| (name.to_owned(), Scalar::from(amount));
        Self {
            requests: BTreeMap::from([pair("cpu", "100m"), pair("memory", "512Mi")]),
            limits: BTreeMap::from([pair("memory", "512Mi")]),
        }
    }
}

/// What to add to the objects that the operator builds.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub struct Template {
    /// The pods of brokers and controllers.
    #[serde(default, skip_serializing_if = "PodTemplate::is_empty")]
    pub pod: PodTemplate,
}

impl Template {
    fn is_empty(&self) -> bool {
        self.pod.is_empty()
    }
}

/// What to add to pods.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub struct PodTemplate {
    /// Labels and annotations.
    #[serde(default, skip_serializing_if = "PodTemplateMetadata::is_empty")]
    pub metadata: PodTemplateMetadata,
    /// Labels that a Kubernetes node must carry to run a pod of this cluster.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    pub node_selector: BTreeMap<String, String>,
    /// Taints that the pods accept.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub tolerations: Vec<Toleration>,
    /// Kubernetes' affinity rules, as in `pod.spec.affinity`. The pods are spread over nodes and zones without
    /// any of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("type" = "object", "x-kubernetes-preserve-unknown-fields" = true))]
    pub affinity: Option<Value>,
    /// Secrets that hold the credentials of the image registry.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub image_pull_secrets: Vec<PullSecret>,
}

impl PodTemplate {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Labels and annotations of pods. Those of the operator, under `ottla.dev/` and `app.kubernetes.io/`, cannot be
/// replaced.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[schemars(inline)]
pub struct PodTemplateMetadata {
    /// Labels to add.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    pub labels: BTreeMap<String, String>,
    /// Annotations to add.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    pub annotations: BTreeMap<String, String>,
}

impl PodTemplateMetadata {
    fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.annotations.is_empty()
    }
}

/// A taint that pods accept, as in `pod.spec.tolerations`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub struct Toleration {
    /// The taint's key; when unset, with `operator: Exists`, every taint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// `Exists` or `Equal`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["Exists", "Equal"]))]
    pub operator: Option<String>,
    /// The taint's value, with `Equal`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// `NoSchedule`, `PreferNoSchedule` or `NoExecute`; when unset, all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["NoSchedule", "PreferNoSchedule", "NoExecute"]))]
    pub effect: Option<String>,
    /// How long a pod stays after a `NoExecute` taint appeared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub toleration_seconds: Option<i64>,
}

/// A secret of the cluster's namespace.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[schemars(inline)]
pub struct PullSecret {
    /// Its name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// What the operator observed.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct KafkaClusterStatus {
    /// `Ready`: every broker serves clients. `Progressing`: the operator is changing something. `Degraded`:
    /// something that ran does not. `Valid`: the spec can be carried out; while it is False, the one before is kept up.
    /// `Paused`, `Reconciling` and `Stalled` are there only while they hold; the last two repeat `Progressing` and
    /// `Valid` for tools that follow kstatus.
    #[serde(default)]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// The generation of the spec that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The cluster's id in Kafka's sense, drawn once and kept with the volumes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_id: Option<String>,
    /// Ottla's release that the brokers run, as they say themselves. In an upgrade it changes when all have the new one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The brokers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub brokers: Option<BrokersStatus>,
    /// The controllers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub controllers: Option<ControllersStatus>,
    /// The address that clients start from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bootstrap: Option<String>,
    /// Selects the pods of the brokers, for the scale subresource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label_selector: Option<String>,
    /// The restart of nodes that is under way, if one is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<RolloutStatus>,
}

/// The brokers of a cluster.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[schemars(inline)]
pub struct BrokersStatus {
    /// How many should run: what the spec asks for, and never fewer than there are.
    pub desired: i32,
    /// How many are ready.
    pub ready: i32,
}

/// The controllers of a cluster.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[schemars(inline)]
pub struct ControllersStatus {
    /// How many, as resolved at creation.
    pub replicas: i32,
}

/// A restart of nodes that is under way.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub struct RolloutStatus {
    /// How many nodes run what is wanted.
    pub updated: i32,
    /// How many nodes there are.
    pub total: i32,
    /// Why nodes are restarted.
    pub reason: String,
    /// What the next restart waits for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blocked_by: Option<String>,
}
