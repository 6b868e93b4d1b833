//! Names that are derived from a cluster's name, and the labels and annotations that tie objects to it.
//!
//! Owns every such text, so that no two places can spell one differently.

use std::{collections::BTreeMap, fmt};

/// The field manager of everything that the operator writes.
pub const FIELD_MANAGER: &str = "ottla-operator";
/// The label `app.kubernetes.io/name` of the operator's own pods, as the chart writes it.
pub const OPERATOR_APP: &str = "ottla-operator";
/// The cluster that an object belongs to.
pub const LABEL_CLUSTER: &str = "ottla.dev/cluster";
/// The pool that a pod or claim belongs to.
pub const LABEL_POOL: &str = "ottla.dev/pool";
/// Hash of what the operator last applied to an object.
pub const ANNOTATION_APPLIED: &str = "ottla.dev/applied-hash";
/// Hash of a pod's template: what a restart brings.
pub const ANNOTATION_POD_HASH: &str = "ottla.dev/pod-hash";
/// Ottla's release that the pods run, on a StatefulSet.
pub const ANNOTATION_VERSION: &str = "ottla.dev/version";
/// Digest of the user's part of the pods, on a StatefulSet.
pub const ANNOTATION_INPUTS: &str = "ottla.dev/inputs-hash";
/// The cluster id, on a claim: volumes that a deleted cluster left are adopted by it.
pub const ANNOTATION_CLUSTER_ID: &str = "ottla.dev/cluster-id";
/// The number of controllers, on a claim.
pub const ANNOTATION_CONTROLLERS: &str = "ottla.dev/controllers";
/// The first voters and their directory ids, on a claim.
pub const ANNOTATION_INITIAL_CONTROLLERS: &str = "ottla.dev/initial-controllers";
/// On a claim: the quorum has formed, so that the directory ids of the first voters are used up.
pub const ANNOTATION_BOOTSTRAPPED: &str = "ottla.dev/bootstrapped";
/// On a claim: a first voter has served from this volume, so that it holds a voter's log. On the identity: which volumes those
/// are.
pub const ANNOTATION_FORMATTED: &str = "ottla.dev/formatted";
/// On the identity: all nodes of the cluster have been ready at once.
pub const ANNOTATION_CAME_UP: &str = "ottla.dev/came-up";
/// On the identity: the spec that was carried out last, which is what is kept up while another is refused.
pub const ANNOTATION_ACCEPTED: &str = "ottla.dev/accepted-spec";
/// The finalizer of a `KafkaTopic`.
pub const FINALIZER_TOPIC: &str = "ottla.dev/topic";

/// The name of the claim template, and of the volume made from it.
pub const CLAIM: &str = "data-0";
/// Controllers speak to each other, and brokers to them.
pub const PORT_CONTROLLER: u16 = 9090;
/// Brokers speak to each other.
pub const PORT_REPLICATION: u16 = 9091;
/// Clients.
pub const PORT_CLIENT: u16 = 9092;
/// Probes, restart safety, metrics.
pub const PORT_HTTP: u16 = 8090;

/// The name of a `KafkaCluster`.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct ClusterName(String);

impl ClusterName {
    /// A name as the API server accepted it.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self(name.into())
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The StatefulSet of a pool, its headless Service.
    #[must_use]
    pub fn pool(&self, pool: Pool) -> String {
        format!("{}-{}", self.0, pool.name())
    }

    /// The Service that clients start from.
    #[must_use]
    pub fn bootstrap(&self) -> String {
        format!("{}-bootstrap", self.0)
    }

    /// The ConfigMap that holds the cluster's identity.
    #[must_use]
    pub fn identity(&self) -> String {
        format!("{}-identity", self.0)
    }

    /// The ServiceAccount, NetworkPolicy and PodDisruptionBudget of all nodes.
    #[must_use]
    pub fn all_nodes(&self) -> String {
        self.pool(Pool::Nodes)
    }

    /// The DNS name of a node, as it resolves inside the Kubernetes cluster.
    #[must_use]
    pub fn host(&self, namespace: &str, pool: Pool, node_id: NodeId) -> String {
        let set = self.pool(pool);
        format!("{set}-{node_id}.{set}.{namespace}.svc")
    }

    /// The labels of every object of the cluster.
    #[must_use]
    pub fn labels(&self) -> BTreeMap<String, String> {
        BTreeMap::from([
            ("app.kubernetes.io/instance".to_owned(), self.0.clone()),
            ("app.kubernetes.io/managed-by".to_owned(), FIELD_MANAGER.to_owned()),
            ("app.kubernetes.io/name".to_owned(), "ottla".to_owned()),
            (LABEL_CLUSTER.to_owned(), self.0.clone()),
        ])
    }

    /// What selects the pods of the whole cluster.
    #[must_use]
    pub fn selector(&self) -> BTreeMap<String, String> {
        BTreeMap::from([(LABEL_CLUSTER.to_owned(), self.0.clone())])
    }

    /// What selects the pods of a pool. A StatefulSet's selector cannot change, so this never may either.
    #[must_use]
    pub fn pool_selector(&self, pool: Pool) -> BTreeMap<String, String> {
        let mut selector = self.selector();
        selector.insert(LABEL_POOL.to_owned(), pool.name().to_owned());
        selector
    }
}

impl fmt::Display for ClusterName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A group of equal nodes.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Pool {
    /// The short form's brokers.
    Nodes,
    /// Controllers with pods of their own.
    Controllers,
}

impl Pool {
    /// The pool's name, part of the names of its objects.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Nodes => "nodes",
            Self::Controllers => "controllers",
        }
    }

    /// The pool's first node id, which is also its first pod ordinal.
    #[must_use]
    pub fn first_id(self) -> NodeId {
        match self {
            Self::Nodes => NodeId(0),
            Self::Controllers => NodeId(1000),
        }
    }

    /// The node ids of the pool's first `count` nodes.
    pub fn ids(self, count: i32) -> impl Iterator<Item = NodeId> {
        let first = self.first_id().0;
        (first..first + count).map(NodeId)
    }
}

/// A node's id: the ordinal of its pod.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct NodeId(pub i32);

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
