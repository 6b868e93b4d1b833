//! What the topics of a cluster have where nobody says otherwise: how many replicas, and how many of these must have a
//! record before it is acknowledged to a producer that asks for all of them.
//!
//! Owns both rules. The number of replicas is part of the nodes' configuration. `min.insync.replicas` is not: the
//! operator sets it in the running cluster, for all brokers, so that it changes without a restart and so that all
//! controllers decide by the same value who may lead (KIP-966).

use tracing::{debug, info, warn};

use super::{change::Scene, identity::Bootstrap, reconcile::Pass, rollout::Step, validate::Cluster};
use crate::{
    crd::PlacementOfControllers,
    kafka::{Kafka, KafkaError},
};

/// The keys.
pub const DEFAULT_REPLICATION_FACTOR: &str = "default.replication.factor";
/// See [`DEFAULT_REPLICATION_FACTOR`].
pub const OFFSETS_REPLICATION_FACTOR: &str = "offsets.topic.replication.factor";
/// See [`DEFAULT_REPLICATION_FACTOR`].
pub const MIN_INSYNC_REPLICAS: &str = "min.insync.replicas";

/// The replication factor of topics that name none, where the user sets none: three if the cluster has that many
/// brokers. A combined cluster that began with fewer than three nodes has one controller for life; scaling it up must
/// not restart that one over a default, so there it stays at one.
#[must_use]
pub fn default_replication_factor(cluster: &Cluster) -> i32 {
    let began_small = cluster.placement == PlacementOfControllers::Combined && cluster.controllers < 3;
    if cluster.brokers >= 3 && !began_small { 3 } else { 1 }
}

/// The cluster-wide `min.insync.replicas`: what the user sets, or two where topics have three replicas or more. None if what the user
/// sets is known on the nodes only, and left to them: then nothing may be set in the running cluster, since that would win.
#[must_use]
pub fn min_insync_replicas(cluster: &Cluster) -> Option<i32> {
    if let Some(value) = cluster.config.get(MIN_INSYNC_REPLICAS) {
        return value.trim().parse().ok();
    }
    let replicas = match cluster.config.get(DEFAULT_REPLICATION_FACTOR) {
        Some(value) => value.trim().parse().ok()?,
        None => default_replication_factor(cluster),
    };
    Some((replicas - 1).clamp(1, 2))
}

/// What is to be set in the running cluster: a value, or none where the nodes know their own. `None` while what was set
/// before must stay: until every node has its own value, there would be Kafka's default of one.
fn wanted_live(cluster: &Cluster, step: &Step) -> Option<Option<String>> {
    let wanted = min_insync_replicas(cluster).map(|wanted| wanted.to_string());
    (wanted.is_some() || *step == Step::Done).then_some(wanted)
}

impl Pass<'_> {
    /// Sees that the running cluster has the `min.insync.replicas` that it should have. Gives whether it is known to.
    /// `step` is the next of the roll.
    pub(super) async fn keeps_min_insync_replicas(&self, scene: &Scene, step: &Step) -> bool {
        let serves = scene.identity.bootstrap == Bootstrap::Done && scene.nodes.iter().any(|node| node.ready);
        let Some(wanted) = wanted_live(&scene.cluster, step).filter(|_| serves) else { return serves };
        match self.set_min_insync_replicas(&scene.cluster, wanted.as_deref()).await {
            Ok(()) => true,
            Err(error @ KafkaError::Refused { .. }) => {
                warn!(cluster = %self.name, error = &error as &dyn std::error::Error, "the cluster is less safe than declared");
                false
            }
            Err(error @ (KafkaError::Client(_) | KafkaError::OtherCluster { .. })) => {
                debug!(cluster = %self.name, error = &error as &dyn std::error::Error, "cannot ask for min.insync.replicas");
                false
            }
        }
    }

    async fn set_min_insync_replicas(
        &self,
        cluster: &Cluster,
        wanted: Option<&str>,
    ) -> Result<(), KafkaError> {
        let kafka = Kafka::connect(&cluster.name.bootstrap(), &cluster.namespace).await?;
        if kafka.config_of_all_brokers(MIN_INSYNC_REPLICAS).await?.as_deref() != wanted {
            kafka.set_for_all_brokers(MIN_INSYNC_REPLICAS, wanted).await?;
            info!(cluster = %self.name, value = wanted, "set min.insync.replicas for all brokers");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        cluster::{
            properties::render,
            validate::{Pinned, Verdict, validate},
        },
        names::Pool,
        settings::BrokerImage,
    };

    fn of(spec: &serde_json::Value, controllers: Option<i32>) -> (i32, Option<i32>) {
        let cluster = cluster(spec, controllers);
        (default_replication_factor(&cluster), min_insync_replicas(&cluster))
    }

    fn cluster(spec: &serde_json::Value, controllers: Option<i32>) -> Cluster {
        let object = serde_json::from_value(json!({
            "apiVersion": "ottla.dev/v1alpha1", "kind": "KafkaCluster",
            "metadata": {"name": "a", "namespace": "n", "uid": "1"}, "spec": spec,
        }));
        let pinned = Pinned { controllers, ..Pinned::default() };
        let image = BrokerImage::parse("localhost/ottla/broker:0.1.0").unwrap();
        match validate(&object.unwrap(), &pinned, &image) {
            Verdict::Accepted(cluster) => cluster,
            other @ (Verdict::ScaleDownRefused(..) | Verdict::Refused(_)) => panic!("{other:?}"),
        }
    }

    fn spec(replicas: i32, config: serde_json::Value) -> serde_json::Value {
        json!({"replicas": replicas, "storage": {"size": "1Gi"}, "config": config})
    }

    #[test]
    fn three_brokers_keep_three_replicas_of_which_two_are_enough() {
        assert_eq!(of(&spec(3, json!({})), None), (3, Some(2)));
        assert_eq!(of(&spec(5, json!({})), None), (3, Some(2)));
        assert_eq!(of(&spec(1, json!({})), None), (1, Some(1)));
        assert_eq!(of(&spec(2, json!({})), None), (1, Some(1)));
    }

    #[test]
    fn a_cluster_that_began_small_is_not_restarted_over_a_default() {
        assert_eq!(of(&spec(3, json!({})), Some(1)), (1, Some(1)));
        let mut dedicated = spec(3, json!({}));
        dedicated["controllers"] = json!({"replicas": 1, "placement": "Dedicated"});
        assert_eq!(of(&dedicated, Some(1)), (3, Some(2)));
    }

    #[test]
    fn a_value_that_only_the_nodes_know_takes_back_what_was_set_once_they_run_it() {
        let cluster = |value: &str| cluster(&spec(3, json!({"min.insync.replicas": value})), None);
        let rolling = Step::Wait { why: String::new() };
        assert_eq!(wanted_live(&cluster("1"), &rolling), Some(Some("1".to_owned())));
        assert_eq!(wanted_live(&cluster("${env:NODE_ID}"), &rolling), None, "what was set holds meanwhile");
        assert_eq!(wanted_live(&cluster("${env:NODE_ID}"), &Step::Done), Some(None), "and is taken back");
    }

    #[test]
    fn another_value_changes_no_nodes_configuration() {
        let rendered = |config| render(&cluster(&spec(3, config), None), Pool::Nodes);
        let unset = rendered(json!({}));
        for value in ["1", "2", "3"] {
            let set = rendered(json!({MIN_INSYNC_REPLICAS: value}));
            assert_eq!(set, unset, "{value}: a node with another configuration is restarted");
        }
        assert_ne!(rendered(json!({MIN_INSYNC_REPLICAS: "${env:NODE_ID}"})), unset);
        assert_ne!(rendered(json!({"log.retention.hours": 24})), unset);
    }

    #[test]
    fn what_the_user_sets_counts() {
        assert_eq!(of(&spec(3, json!({"min.insync.replicas": 1})), None).1, Some(1));
        assert_eq!(of(&spec(3, json!({"default.replication.factor": 2})), None).1, Some(1));
        assert_eq!(of(&spec(5, json!({"default.replication.factor": 5})), None).1, Some(2));
        assert_eq!(of(&spec(3, json!({"min.insync.replicas": "${env:NODE_ID}"})), None).1, None);
    }
}
