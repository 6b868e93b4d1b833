//! What is there: the objects of a cluster, and what its nodes say about themselves. IO, reads only.

use std::{collections::BTreeMap, net::IpAddr};

use futures::future::join_all;
use hyper::StatusCode;
use k8s_openapi::api::{
    apps::v1::StatefulSet,
    core::v1::{ConfigMap, PersistentVolumeClaim, Pod, Service, ServiceAccount},
    networking::v1::NetworkPolicy,
    policy::v1::PodDisruptionBudget,
};
use kube::{Api, Client, ResourceExt as _, api::ListParams};
use serde::Deserialize;
use tracing::debug;

use super::{
    desired::{InputsHash, Running, config_map::PROPERTIES_FILE, pod::pod_hash_of},
    identity::{ClaimFacts, IDENTITY_FILE, Identity, IdentityError},
    properties::{ConfigHash, Properties},
    rollout::{Candidate, NodeFacts, Safety},
    validate::Pinned,
};
use crate::{
    apply::{Owned, words_of},
    crd::{KafkaCluster, KafkaClusterSpec},
    http_get,
    names::{
        ANNOTATION_ACCEPTED, ANNOTATION_CLUSTER_ID, ANNOTATION_INPUTS, ANNOTATION_VERSION, CLAIM,
        ClusterName, LABEL_CLUSTER, LABEL_POOL, NodeId, PORT_HTTP, Pool,
    },
};

/// Why a cluster could not be looked at.
#[derive(Debug, thiserror::Error)]
#[error("cannot list {kind} of the cluster")]
pub struct ObserveError {
    kind: String,
    source: Box<kube::Error>,
}

impl ObserveError {
    /// Whether the API server understood and refused, so that somebody has to see to it.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        matches!(&*self.source, kube::Error::Api(status) if status.code == 401 || status.code == 403)
    }

    /// What a user is told of it.
    #[must_use]
    pub fn told(&self) -> String {
        format!("{self}: {}", words_of(&self.source))
    }
}

/// The objects of a cluster.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// StatefulSets.
    pub stateful_sets: Vec<StatefulSet>,
    /// Pods.
    pub pods: Vec<Pod>,
    /// ConfigMaps.
    pub config_maps: Vec<ConfigMap>,
    /// Services.
    pub services: Vec<Service>,
    /// ServiceAccounts.
    pub service_accounts: Vec<ServiceAccount>,
    /// PodDisruptionBudgets.
    pub budgets: Vec<PodDisruptionBudget>,
    /// NetworkPolicies.
    pub network_policies: Vec<NetworkPolicy>,
    /// PersistentVolumeClaims, those of a deleted cluster of the name too.
    pub claims: Vec<PersistentVolumeClaim>,
    /// What the nodes that answered say, by pod.
    pub reports: BTreeMap<String, NodeReport>,
}

/// What a node says about itself at `/v1/node`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct NodeReport {
    /// The cluster its volume belongs to.
    #[serde(default)]
    pub cluster_id: Option<String>,
    /// The digest of the configuration it runs.
    #[serde(default)]
    pub config_hash: Option<String>,
    /// The directories it serves.
    #[serde(default)]
    pub directory_ids: Vec<String>,
    /// Its release.
    #[serde(default)]
    pub version: Option<String>,
    /// How far it is: `starting`, `recovering`, `fenced`, `running`, `stopping`.
    #[serde(default)]
    pub state: Option<String>,
    /// What its controller knows of the quorum; none where it has no controller.
    #[serde(default)]
    pub quorum: Option<QuorumReport>,
}

/// What a controller says about the metadata quorum.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct QuorumReport {
    /// Whether it follows a leader, and has applied what that has committed.
    pub caught_up: bool,
    /// The directories of the voters that it knows, by node id.
    pub voters: BTreeMap<i32, String>,
}

/// Looks at a cluster.
///
/// # Errors
/// When the API server does not answer or refuses. Nodes that do not answer are simply absent.
pub async fn observe(client: &Client, namespace: &str, name: &ClusterName) -> Result<Observed, ObserveError> {
    let (stateful_sets, pods, config_maps, services, service_accounts, budgets, network_policies, claims) = tokio::try_join!(
        list(client, namespace, name),
        list::<Pod>(client, namespace, name),
        list(client, namespace, name),
        list(client, namespace, name),
        list(client, namespace, name),
        list(client, namespace, name),
        list(client, namespace, name),
        list(client, namespace, name),
    )?;
    // Nodes that are not ready, too: one that recovers its logs answers, and must be left alone.
    let asked =
        pods.iter().filter(|pod| is_running(pod)).filter_map(|pod| Some((pod.name_any(), address(pod)?)));
    let reports = join_all(asked.map(|(pod, ip)| async move { Some((pod, report(ip).await?)) })).await;
    Ok(Observed {
        stateful_sets,
        pods,
        config_maps,
        services,
        service_accounts,
        budgets,
        network_policies,
        claims,
        reports: reports.into_iter().flatten().collect(),
    })
}

async fn list<K: Owned>(
    client: &Client,
    namespace: &str,
    name: &ClusterName,
) -> Result<Vec<K>, ObserveError> {
    let params = ListParams::default().labels(&format!("{LABEL_CLUSTER}={name}"));
    match Api::<K>::namespaced(client.clone(), namespace).list(&params).await {
        Ok(list) => Ok(list.items),
        Err(source) => Err(ObserveError { kind: K::kind(&()).into_owned(), source: Box::new(source) }),
    }
}

async fn report(ip: IpAddr) -> Option<NodeReport> {
    match http_get::get(ip, PORT_HTTP, "/v1/node").await {
        Ok((StatusCode::OK, body)) => serde_json::from_slice(&body).ok(),
        Ok((status, _)) => {
            debug!(%ip, %status, "a node did not describe itself");
            None
        }
        Err(error) => {
            debug!(%ip, error = &error as &dyn std::error::Error, "a node did not answer");
            None
        }
    }
}

impl Observed {
    /// The StatefulSet of a pool.
    #[must_use]
    pub fn stateful_set(&self, name: &ClusterName, pool: Pool) -> Option<&StatefulSet> {
        named(&self.stateful_sets, &name.pool(pool))
    }

    /// What a pool's StatefulSet runs.
    #[must_use]
    pub fn running(&self, name: &ClusterName, pool: Pool) -> Option<Running> {
        let set = self.stateful_set(name, pool)?;
        let template = set.spec.as_ref()?.template.clone();
        let mounted =
            template.spec.as_ref()?.volumes.as_ref()?.iter().find(|volume| volume.name == "config")?;
        let config_map = &mounted.config_map.as_ref()?.name;
        let (_, hash) = config_map.rsplit_once('-')?;
        let text = named(&self.config_maps, config_map)?.data.as_ref()?.get(PROPERTIES_FILE)?.clone();
        Some(Running {
            properties: Properties { text, hash: ConfigHash(hash.to_owned()) },
            hash: pod_hash_of(template.metadata.as_ref()?.annotations.as_ref())?,
            inputs: set.annotations().get(ANNOTATION_INPUTS).cloned().map(InputsHash)?,
            template,
        })
    }

    /// How many nodes each pool that is there has.
    #[must_use]
    pub fn sizes(&self, name: &ClusterName) -> Vec<(Pool, i32)> {
        let size = |pool| Some((pool, self.stateful_set(name, pool)?.spec.as_ref()?.replicas?));
        [Pool::Nodes, Pool::Controllers].into_iter().filter_map(size).collect()
    }

    /// The identity that was recorded.
    ///
    /// # Errors
    /// When the record was changed by hand.
    pub fn recorded_identity(&self, name: &ClusterName) -> Result<Option<Identity>, IdentityError> {
        let Some(map) = named(&self.config_maps, &name.identity()) else { return Ok(None) };
        let file = map.data.as_ref().and_then(|data| data.get(IDENTITY_FILE)).map_or("", String::as_str);
        Identity::parse(file, map.annotations()).map(Some)
    }

    /// The spec that was carried out last.
    #[must_use]
    pub fn accepted_spec(&self, name: &ClusterName) -> Option<KafkaClusterSpec> {
        let map = named(&self.config_maps, &name.identity())?;
        serde_json::from_str(map.annotations().get(ANNOTATION_ACCEPTED)?).ok()
    }

    /// What the volumes say.
    #[must_use]
    pub fn claim_facts(&self) -> Vec<ClaimFacts> {
        let facts = |claim: &PersistentVolumeClaim| ClaimFacts {
            name: claim.name_any(),
            uid: claim.uid().unwrap_or_default(),
            deleting: claim.metadata.deletion_timestamp.is_some() || self.is_orphan(claim),
            annotations: claim.annotations().clone(),
        };
        self.claims.iter().map(facts).collect()
    }

    /// Whether a claim is to go with a StatefulSet that is gone already: the garbage collector is about to take it.
    fn is_orphan(&self, claim: &PersistentVolumeClaim) -> bool {
        let there = |uid: &str| self.stateful_sets.iter().any(|set| set.uid().as_deref() == Some(uid));
        claim.owner_references().iter().any(|owner| owner.kind == "StatefulSet" && !there(&owner.uid))
    }

    /// The directories that nodes serve, by pod. A node that answers has formatted its volume; that its container was
    /// started does not tell, because a bad property ends it before.
    #[must_use]
    pub fn serving(&self) -> Vec<(&str, &[String])> {
        self.reports.iter().map(|(pod, report)| (pod.as_str(), report.directory_ids.as_slice())).collect()
    }

    /// What was resolved at creation, from wherever it survived.
    #[must_use]
    pub fn pinned(&self, object: &KafkaCluster, name: &ClusterName) -> Pinned {
        let status = object.status.as_ref();
        let recorded = self.recorded_identity(name).ok().flatten();
        let adopted = Identity::of_claims(&self.claim_facts()).ok().flatten();
        let set = self.stateful_set(name, Pool::Nodes);
        let of_status =
            status.and_then(|status| status.controllers.as_ref()).map(|controllers| controllers.replicas);
        let version_of_set = set.and_then(|set| set.annotations().get(ANNOTATION_VERSION).cloned());
        Pinned {
            controllers: recorded.or(adopted).map(|identity| identity.controllers).or(of_status),
            version: version_of_set.or_else(|| status.and_then(|status| status.version.clone())),
            brokers: set
                .and_then(|set| set.spec.as_ref()?.replicas)
                .or_else(|| self.brokers_of_volumes(name)),
        }
    }

    /// How many brokers a deleted cluster had, by the volumes it left: the partitions of each are still assigned.
    fn brokers_of_volumes(&self, name: &ClusterName) -> Option<i32> {
        let prefix = format!("{CLAIM}-{}-", name.pool(Pool::Nodes));
        let kept = self.claims.iter().filter(|claim| claim.annotations().contains_key(ANNOTATION_CLUSTER_ID));
        let ordinals = kept.filter_map(|claim| claim.name_any().strip_prefix(&prefix)?.parse::<i32>().ok());
        ordinals.max().map(|highest| highest.saturating_add(1))
    }

    /// What is there of each node.
    #[must_use]
    pub fn node_facts(&self, name: &ClusterName) -> Vec<NodeFacts> {
        let identity = self.recorded_identity(name).ok().flatten();
        let cluster_id = identity.map(|identity| identity.cluster_id.to_string());
        let facts = |pod| self.facts_of(pod, cluster_id.as_deref());
        let mut facts: Vec<_> = self.pods.iter().filter_map(facts).collect();
        facts.sort_by_key(|node| (node.pool, node.node_id));
        facts
    }

    fn facts_of(&self, pod: &Pod, cluster_id: Option<&str>) -> Option<NodeFacts> {
        let name = pod.name_any();
        let pool = match pod.labels().get(LABEL_POOL)?.as_str() {
            "nodes" => Pool::Nodes,
            "controllers" => Pool::Controllers,
            _ => return None,
        };
        let (_, ordinal) = name.rsplit_once('-')?;
        let node_id = NodeId(ordinal.parse().ok()?);
        let report = self.reports.get(&name);
        // An address that another pod has by now, or a volume of another cluster: no node of this one.
        let is_other = |said: &String| cluster_id.is_some_and(|ours| ours != said);
        let other = report.and_then(|report| report.cluster_id.as_ref()).is_some_and(is_other);
        let report = report.filter(|_| !other);
        Some(NodeFacts {
            pool,
            node_id,
            pod_hash: pod_hash_of(pod.metadata.annotations.as_ref()),
            ready: is_ready(pod) && !other,
            deleting: pod.metadata.deletion_timestamp.is_some(),
            recovering: report.is_some_and(|report| report.state.as_deref() == Some("recovering")),
            running: report.and_then(|report| report.config_hash.clone()).map(ConfigHash),
            version: report.and_then(|report| report.version.clone()),
            pod: name,
        })
    }

    /// What keeps pods from becoming ready, as Kubernetes tells it.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        self.pods
            .iter()
            .filter(|pod| !is_ready(pod))
            .filter_map(|pod| Some(format!("{}: {}", pod.name_any(), problem(pod)?)))
            .collect()
    }

    /// Asks the cluster whether it can spare a node: any node that is ready passes the question to the active
    /// controller.
    pub async fn restart_safety(&self, candidate: &Candidate) -> Safety {
        let path = format!("/v1/restart-safety?brokers={}", candidate.node_id);
        for ip in self.pods.iter().filter(|pod| is_ready(pod)).filter_map(address) {
            match http_get::get(ip, PORT_HTTP, &path).await {
                Ok((StatusCode::OK, body)) => {
                    if let Ok(answer) = serde_json::from_slice::<SafetyAnswer>(&body) {
                        return answer.into();
                    }
                }
                Ok((status, _)) => debug!(%ip, %status, "a node could not tell whether a restart is safe"),
                Err(error) => debug!(%ip, error = &error as &dyn std::error::Error, "a node did not answer"),
            }
        }
        Safety::NobodyAnswers
    }
}

#[derive(Deserialize)]
struct SafetyAnswer {
    safe: bool,
    #[serde(default)]
    reasons: Vec<SafetyReason>,
}

#[derive(Deserialize)]
struct SafetyReason {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

impl From<SafetyAnswer> for Safety {
    fn from(answer: SafetyAnswer) -> Self {
        if answer.safe {
            return Self::Safe;
        }
        let reasons: Vec<_> =
            answer.reasons.iter().map(|reason| format!("{} ({})", reason.message, reason.code)).collect();
        Self::Unsafe(reasons.join("; "))
    }
}

/// The object of a name.
#[must_use]
pub fn named<'a, K: Owned>(objects: &'a [K], name: &str) -> Option<&'a K> {
    objects.iter().find(|object| object.meta().name.as_deref() == Some(name))
}

fn address(pod: &Pod) -> Option<IpAddr> {
    pod.status.as_ref()?.pod_ip.as_ref()?.parse().ok()
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.is_some_and(|all| all.iter().any(|one| one.type_ == "Ready" && one.status == "True"))
}

fn is_running(pod: &Pod) -> bool {
    let containers = pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
    containers.filter_map(|container| container.state.as_ref()).any(|state| state.running.is_some())
}

fn problem(pod: &Pod) -> Option<String> {
    /// What every pod goes through.
    const PASSING: [&str; 2] = ["ContainerCreating", "PodInitializing"];
    let status = pod.status.as_ref()?;
    let unschedulable =
        status.conditions.iter().flatten().find(|one| one.type_ == "PodScheduled" && one.status == "False");
    if let Some(condition) = unschedulable {
        return Some(condition.message.clone().unwrap_or_else(|| "cannot be scheduled".to_owned()));
    }
    let container = status.container_statuses.iter().flatten().next()?;
    let waiting = container.state.as_ref().and_then(|state| state.waiting.as_ref());
    let last = container.last_state.as_ref().and_then(|state| state.terminated.as_ref());
    let ended = container.state.as_ref().and_then(|state| state.terminated.as_ref()).or(last);
    let said = ended
        .and_then(|ended| ended.message.as_deref())
        .and_then(|text| text.lines().rev().find(|line| !line.is_empty()));
    match (waiting.and_then(|waiting| waiting.reason.as_deref()), said) {
        (Some(reason), _) if PASSING.contains(&reason) => None,
        (Some(reason), Some(said)) => Some(format!("{reason}: {said}")),
        (Some(reason), None) => {
            let message = waiting.and_then(|waiting| waiting.message.as_deref()).unwrap_or_default();
            Some(format!("{reason}: {message}"))
        }
        (None, said) => said.map(str::to_owned),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(name: &str, annotations: serde_json::Value) -> PersistentVolumeClaim {
        serde_json::from_value(serde_json::json!({"metadata": {"name": name, "annotations": annotations}}))
            .unwrap()
    }

    fn pod(status: serde_json::Value) -> Pod {
        serde_json::from_value(serde_json::json!({"metadata": {"name": "my-nodes-0"}, "status": status}))
            .unwrap()
    }

    #[test]
    fn volumes_tell_how_many_brokers_a_deleted_cluster_had() {
        let id = serde_json::json!({"ottla.dev/cluster-id": "x"});
        let observed = Observed {
            claims: vec![
                claim("data-0-my-nodes-0", id.clone()),
                claim("data-0-my-nodes-3", id.clone()),
                claim("data-0-my-nodes-7", serde_json::json!({})),
                claim("data-0-my-controllers-1000", id),
            ],
            ..Observed::default()
        };
        assert_eq!(observed.brokers_of_volumes(&ClusterName::new("my")), Some(4));
        assert_eq!(Observed::default().brokers_of_volumes(&ClusterName::new("my")), None);
    }

    #[test]
    fn a_claim_that_goes_with_a_dead_stateful_set_is_on_its_way_out() {
        let mut owned = claim("data-0-my-nodes-0", serde_json::json!({}));
        owned.metadata.owner_references = serde_json::from_value(serde_json::json!([
            {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "my-nodes", "uid": "old"}
        ]))
        .unwrap();
        let set = |uid: &str| -> StatefulSet {
            serde_json::from_value(serde_json::json!({"metadata": {"name": "my-nodes", "uid": uid}})).unwrap()
        };
        let leaving = |sets| {
            let observed =
                Observed { claims: vec![owned.clone()], stateful_sets: sets, ..Observed::default() };
            observed.claim_facts()[0].deleting
        };
        assert!(!leaving(vec![set("old")]));
        assert!(leaving(vec![set("new")]));
        assert!(leaving(Vec::new()));
    }

    #[test]
    fn a_node_of_another_cluster_does_not_count_as_ready() {
        let identity: ConfigMap = serde_json::from_value(serde_json::json!({
            "metadata": {"name": "my-identity", "annotations": {"ottla.dev/controllers": "1"}},
            "data": {"identity.properties": "cluster.id=AQEBAQEBAQEBAQEBAQEBAQ\nbootstrapped=true\n"},
        }))
        .unwrap();
        let mut pod = pod(serde_json::json!({"conditions": [{"type": "Ready", "status": "True"}]}));
        pod.metadata.labels = Some(BTreeMap::from([(LABEL_POOL.to_owned(), "nodes".to_owned())]));
        let ready = |cluster_id: &str| {
            let report = serde_json::json!({"clusterId": cluster_id, "configHash": "x"});
            let reports =
                BTreeMap::from([("my-nodes-0".to_owned(), serde_json::from_value(report).unwrap())]);
            let (config_maps, pods) = (vec![identity.clone()], vec![pod.clone()]);
            let observed = Observed { config_maps, pods, reports, ..Observed::default() };
            let facts = observed.node_facts(&ClusterName::new("my")).remove(0);
            (facts.ready, facts.running.is_some())
        };
        assert_eq!(ready("AQEBAQEBAQEBAQEBAQEBAQ"), (true, true));
        assert_eq!(ready("AgICAgICAgICAgICAgICAg"), (false, false));
    }

    #[test]
    fn a_broker_that_stops_at_once_is_quoted() {
        let crashing = pod(serde_json::json!({"containerStatuses": [{
            "name": "broker", "image": "", "imageID": "", "ready": false, "restartCount": 3,
            "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 40s"}},
            "lastState": {"terminated": {"exitCode": 2, "message": "starting\nline 3: config \"x\" is unknown\n"}},
        }]}));
        assert_eq!(problem(&crashing).as_deref(), Some("CrashLoopBackOff: line 3: config \"x\" is unknown"));
        let starting = pod(serde_json::json!({"containerStatuses": [{
            "name": "broker", "image": "", "imageID": "", "ready": false, "restartCount": 0,
            "state": {"waiting": {"reason": "ContainerCreating"}},
        }]}));
        assert_eq!(problem(&starting), None);
    }
}
