//! From what a user wrote to a cluster that can be built, or to what stands in the way.
//!
//! Pure. What CEL can say is said in `crd/`; here is the rest: what depends on other objects, on what was pinned
//! at creation, or on the table of configuration keys. After this module no code looks at the raw spec again.

use std::{collections::BTreeMap, fmt};

use k8s_openapi::{
    api::core::v1::{Affinity, ResourceRequirements, Toleration},
    apimachinery::pkg::{api::resource::Quantity as KubeQuantity, apis::meta::v1::OwnerReference},
};
use kube::{Resource as _, ResourceExt as _};

use super::{
    config_keys::{self, Release},
    identity::KafkaUuid,
};
use crate::{
    crd::{self, KafkaCluster, PlacementOfControllers, Scalar},
    names::{ClusterName, LABEL_CLUSTER, NodeId, PORT_CONTROLLER, Pool},
    quantity::Quantity,
    settings::BrokerImage,
};

/// A cluster that can be built.
#[derive(Clone, Debug, PartialEq)]
pub struct Cluster {
    /// Its name.
    pub name: ClusterName,
    /// Its namespace.
    pub namespace: String,
    /// What makes its objects go with it.
    pub owner: OwnerReference,
    /// Ottla's release.
    pub version: String,
    /// The image of the brokers.
    pub image: String,
    /// How many brokers run: never fewer than there are.
    pub brokers: i32,
    /// The id that the user wants it to have.
    pub cluster_id: Option<KafkaUuid>,
    /// How many controllers.
    pub controllers: i32,
    /// Where the controllers run.
    pub placement: PlacementOfControllers,
    /// The size of a volume.
    pub storage_size: String,
    /// The class of a volume.
    pub storage_class: Option<String>,
    /// Whether the volumes go with the cluster.
    pub delete_claim: bool,
    /// CPU and memory.
    pub resources: ResourceRequirements,
    /// The user's part of the configuration.
    pub config: BTreeMap<String, String>,
    /// The user's part of the pods.
    pub pod: PodExtras,
    /// The spec it was made from, as JSON: what is kept up while another one is refused.
    pub accepted: String,
}

impl Cluster {
    /// The pools, in the order in which a change goes through them.
    #[must_use]
    pub fn pools(&self) -> Vec<Pool> {
        match self.placement {
            PlacementOfControllers::Combined => vec![Pool::Nodes],
            PlacementOfControllers::Dedicated => vec![Pool::Controllers, Pool::Nodes],
        }
    }

    /// How many nodes a pool has.
    #[must_use]
    pub fn size(&self, pool: Pool) -> i32 {
        match pool {
            Pool::Nodes => self.brokers,
            Pool::Controllers => self.controllers,
        }
    }

    /// The pool that holds the controllers.
    #[must_use]
    pub fn pool_of_controllers(&self) -> Pool {
        pool_of_controllers(self.placement)
    }

    /// Where the controllers are reached, by node id.
    #[must_use]
    pub fn controller_addresses(&self) -> Vec<(NodeId, String)> {
        let pool = self.pool_of_controllers();
        let address = |id| format!("{}:{PORT_CONTROLLER}", self.name.host(&self.namespace, pool, id));
        pool.ids(self.controllers).map(|id| (id, address(id))).collect()
    }
}

/// The pool that holds the controllers, by where they are placed.
#[must_use]
pub fn pool_of_controllers(placement: PlacementOfControllers) -> Pool {
    match placement {
        PlacementOfControllers::Combined => Pool::Nodes,
        PlacementOfControllers::Dedicated => Pool::Controllers,
    }
}

/// The user's part of the pods.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PodExtras {
    /// Labels to add.
    pub labels: BTreeMap<String, String>,
    /// Annotations to add.
    pub annotations: BTreeMap<String, String>,
    /// Labels that a Kubernetes node must carry.
    pub node_selector: BTreeMap<String, String>,
    /// Taints that the pods accept.
    pub tolerations: Vec<Toleration>,
    /// Affinity rules.
    pub affinity: Option<Affinity>,
    /// Secrets of the image registry.
    pub image_pull_secrets: Vec<String>,
}

/// What was resolved at creation, and what runs.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Pinned {
    /// The number of controllers.
    pub controllers: Option<i32>,
    /// The release.
    pub version: Option<String>,
    /// The size of the StatefulSet of brokers.
    pub brokers: Option<i32>,
}

/// A field that cannot be carried out as written.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Refusal {
    /// The field.
    pub field: String,
    /// What it says.
    pub value: String,
    /// What to write instead, and why.
    pub remedy: String,
}

impl Refusal {
    fn new(field: impl Into<String>, value: impl fmt::Display, remedy: impl Into<String>) -> Self {
        Self { field: field.into(), value: value.to_string(), remedy: remedy.into() }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: \"{}\": {}", self.field, self.value, self.remedy)
    }
}

/// What came of a spec.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// It is carried out.
    Accepted(Cluster),
    /// It is carried out but for a lower number of brokers.
    ScaleDownRefused(Cluster, Refusal),
    /// Nothing of it is carried out, and what runs is left alone.
    Refused(Vec<Refusal>),
}

/// Judges a spec.
#[must_use]
pub fn validate(object: &KafkaCluster, pinned: &Pinned, image: &BrokerImage) -> Verdict {
    let spec = &object.spec;
    let mut refusals = Vec::new();

    let controllers = controllers(spec, pinned, &mut refusals);
    let cluster_id = cluster_id(spec.cluster_id.as_deref(), &mut refusals);
    let resources = resources(&spec.resources, &mut refusals);
    let version =
        spec.version.clone().or_else(|| pinned.version.clone()).unwrap_or_else(|| image.release().to_owned());
    let release = if version == env!("CARGO_PKG_VERSION") { Release::Own } else { Release::Other };
    let config = config(&spec.config, release, &mut refusals);
    let pod = pod_extras(&spec.template.pod, &mut refusals);
    let Some(mut owner) = object.controller_owner_ref(&()) else {
        // Only an object that never came from the API server has no uid.
        refusals.push(Refusal::new("metadata.uid", "", "the object was not read from the API server"));
        return Verdict::Refused(refusals);
    };
    // `kubectl delete --cascade=foreground` waits until everything of the cluster is gone.
    owner.block_owner_deletion = Some(true);
    if !refusals.is_empty() {
        return Verdict::Refused(refusals);
    }

    let running = pinned.brokers.unwrap_or(0);
    let brokers = spec.replicas.max(running);
    if spec.controllers.placement == PlacementOfControllers::Combined && controllers > brokers {
        let remedy = format!(
            "this cluster has {controllers} controllers among its brokers, by its volumes: set replicas to {controllers} or more, and restore the claims that are missing; or remove those that are left, to begin anew without data"
        );
        return Verdict::Refused(vec![Refusal::new("spec.replicas", spec.replicas, remedy)]);
    }
    let cluster = Cluster {
        name: ClusterName::new(object.name_any()),
        namespace: object.namespace().unwrap_or_default(),
        owner,
        image: spec.image.clone().unwrap_or_else(|| image.of_release(&version)),
        version,
        brokers,
        cluster_id,
        controllers,
        placement: spec.controllers.placement,
        storage_size: spec.storage.size.clone(),
        storage_class: spec.storage.class.clone(),
        delete_claim: spec.storage.delete_claim,
        resources,
        config,
        pod,
        accepted: accepted(spec),
    };
    if spec.replicas < running {
        let remedy = format!(
            "removing brokers is not supported by this release, and all {running} are kept: set replicas to {running}"
        );
        return Verdict::ScaleDownRefused(cluster, Refusal::new("spec.replicas", spec.replicas, remedy));
    }
    Verdict::Accepted(cluster)
}

/// A pause is no part of what is kept up.
fn accepted(spec: &crd::KafkaClusterSpec) -> String {
    let spec = crd::KafkaClusterSpec { paused: false, ..spec.clone() };
    serde_json::to_string(&spec).unwrap_or_default()
}

fn controllers(spec: &crd::KafkaClusterSpec, pinned: &Pinned, refusals: &mut Vec<Refusal>) -> i32 {
    match (pinned.controllers, spec.controllers.replicas) {
        (Some(pinned), Some(wanted)) if pinned != wanted => {
            refusals.push(Refusal::new(
                "spec.controllers.replicas",
                wanted,
                format!("this cluster was created with {pinned} controllers, which this release cannot change: set {pinned}"),
            ));
            pinned
        }
        (Some(pinned), _) => pinned,
        (None, Some(wanted)) => wanted,
        (None, None) => match spec.controllers.placement {
            PlacementOfControllers::Combined if spec.replicas < 3 => 1,
            PlacementOfControllers::Combined | PlacementOfControllers::Dedicated => 3,
        },
    }
}

fn cluster_id(written: Option<&str>, refusals: &mut Vec<Refusal>) -> Option<KafkaUuid> {
    let written = written?;
    let parsed = written.parse().ok();
    if parsed.is_none() {
        let remedy =
            "wanted an id in Kafka's form, such as `ottla storage random-uuid` prints: correct or remove it";
        refusals.push(Refusal::new("spec.clusterId", written, remedy));
    }
    parsed
}

fn resources(resources: &crd::Resources, refusals: &mut Vec<Refusal>) -> ResourceRequirements {
    let mut amounts = |part: &str, amounts: &BTreeMap<String, Scalar>| {
        for (name, amount) in amounts {
            if amount.to_string().parse::<Quantity>().is_err() {
                let field = format!("spec.resources.{part}.{name}");
                refusals.push(Refusal::new(field, amount, "wanted a quantity such as 500m, 2 or 4Gi"));
            }
        }
        let amounts: BTreeMap<_, _> =
            amounts.iter().map(|(name, amount)| (name.clone(), KubeQuantity(amount.to_string()))).collect();
        (!amounts.is_empty()).then_some(amounts)
    };
    let requests = amounts("requests", &resources.requests);
    let limits = amounts("limits", &resources.limits);
    for (name, limit) in &resources.limits {
        let request = resources.requests.get(name).map(ToString::to_string);
        let parsed = (request.as_deref().map(str::parse::<Quantity>), limit.to_string().parse::<Quantity>());
        if let (Some(Ok(request)), Ok(most)) = parsed
            && request > most
        {
            let field = format!("spec.resources.limits.{name}");
            refusals.push(Refusal::new(
                field,
                limit,
                "a limit must not be below the request: raise it or lower the request",
            ));
        }
    }
    ResourceRequirements { requests, limits, ..ResourceRequirements::default() }
}

fn config(
    config: &BTreeMap<String, Scalar>,
    release: Release,
    refusals: &mut Vec<Refusal>,
) -> BTreeMap<String, String> {
    for (key, value) in config {
        if let Err(remedy) = config_keys::check(key, &value.to_string(), release) {
            refusals.push(Refusal::new(format!("spec.config[\"{key}\"]"), value, remedy));
        }
    }
    let config: BTreeMap<String, String> =
        config.iter().map(|(key, value)| (key.clone(), value.to_string())).collect();
    for (key, rule) in config_keys::check_together(&config) {
        refusals.push(Refusal::new(
            format!("spec.config[\"{key}\"]"),
            config.get(key).map_or("", |v| v),
            rule,
        ));
    }
    config
}

fn pod_extras(pod: &crd::PodTemplate, refusals: &mut Vec<Refusal>) -> PodExtras {
    for (part, names) in [("labels", &pod.metadata.labels), ("annotations", &pod.metadata.annotations)] {
        for (name, value) in names {
            let prefix = name.split_once('/').map_or("", |(prefix, _)| prefix);
            let ours = prefix == "app.kubernetes.io"
                || prefix == "apps.kubernetes.io"
                || prefix.ends_with("ottla.dev");
            if ours || name == LABEL_CLUSTER {
                let field = format!("spec.template.pod.metadata.{part}[\"{name}\"]");
                refusals.push(Refusal::new(
                    field,
                    value,
                    "names under this prefix are set by the operator: remove it",
                ));
            }
        }
    }
    let affinity =
        pod.affinity.as_ref().and_then(|written| match serde_json::from_value::<Affinity>(written.clone()) {
            Ok(affinity) => {
                let kept = serde_json::to_value(&affinity).unwrap_or_default();
                if let Some(path) = first_dropped(String::new(), written, &kept) {
                    let field = format!("spec.template.pod.affinity{path}");
                    refusals.push(Refusal::new(
                        field,
                        "",
                        "there is no such field in pod.spec.affinity: correct it",
                    ));
                }
                Some(affinity)
            }
            Err(error) => {
                let remedy = format!("not an affinity as in pod.spec.affinity: {error}");
                refusals.push(Refusal::new("spec.template.pod.affinity", written, remedy));
                None
            }
        });
    PodExtras {
        labels: pod.metadata.labels.clone(),
        annotations: pod.metadata.annotations.clone(),
        node_selector: pod.node_selector.clone(),
        tolerations: pod.tolerations.iter().map(toleration).collect(),
        affinity,
        image_pull_secrets: pod.image_pull_secrets.iter().map(|secret| secret.name.clone()).collect(),
    }
}

/// The path of the first field that was not taken in, because the type has none of its name.
fn first_dropped(path: String, written: &serde_json::Value, kept: &serde_json::Value) -> Option<String> {
    use serde_json::Value;
    match (written, kept) {
        (Value::Object(written), Value::Object(kept)) => written.iter().find_map(|(key, value)| {
            let path = format!("{path}.{key}");
            match kept.get(key) {
                Some(kept) => first_dropped(path, value, kept),
                None => (!value.is_null()).then_some(path),
            }
        }),
        (Value::Array(written), Value::Array(kept)) => {
            let pairs = written.iter().zip(kept).enumerate();
            pairs
                .filter_map(|(at, (written, kept))| first_dropped(format!("{path}[{at}]"), written, kept))
                .next()
        }
        _ => None,
    }
}

fn toleration(written: &crd::Toleration) -> Toleration {
    Toleration {
        key: written.key.clone(),
        operator: written.operator.clone(),
        value: written.value.clone(),
        effect: written.effect.clone(),
        toleration_seconds: written.toleration_seconds,
    }
}

#[cfg(test)]
mod tests;
