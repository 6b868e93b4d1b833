//! What the topics of a cluster have where nobody says otherwise: how many replicas, and how many of these must have a
//! record before it is acknowledged to a producer that asks for all of them.
//!
//! Owns both rules. The number of replicas is part of the nodes' configuration. `min.insync.replicas` is not: the
//! operator sets it in the running cluster, for all brokers, so that it changes without a restart and so that all
//! controllers decide by the same value who may lead (KIP-966).

use tracing::{debug, info, warn};

use super::{change::Scene, identity::Bootstrap, reconcile::Pass, validate::Cluster};
use crate::{
    crd::PlacementOfControllers,
    kafka::{Kafka, KafkaError},
};

/// The keys.
pub const DEFAULT_REPLICATION_FACTOR: &str = "default.replication.factor";
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
/// sets is known on the nodes only, and left to them.
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

impl Pass<'_> {
    /// Sees that the running cluster has the `min.insync.replicas` that it should have. Gives whether it is known to.
    pub(super) async fn keeps_min_insync_replicas(&self, scene: &Scene) -> bool {
        let serves = scene.identity.bootstrap == Bootstrap::Done && scene.nodes.iter().any(|node| node.ready);
        let Some(wanted) = min_insync_replicas(&scene.cluster).filter(|_| serves) else { return serves };
        match self.set_min_insync_replicas(&scene.cluster, &wanted.to_string()).await {
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

    async fn set_min_insync_replicas(&self, cluster: &Cluster, wanted: &str) -> Result<(), KafkaError> {
        let kafka = Kafka::connect(&cluster.name.bootstrap(), &cluster.namespace).await?;
        if kafka.config_of_all_brokers(MIN_INSYNC_REPLICAS).await?.as_deref() != Some(wanted) {
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
        cluster::validate::{Pinned, Verdict, validate},
        settings::BrokerImage,
    };

    fn of(spec: &serde_json::Value, controllers: Option<i32>) -> (i32, Option<i32>) {
        let object = serde_json::from_value(json!({
            "apiVersion": "ottla.dev/v1alpha1", "kind": "KafkaCluster",
            "metadata": {"name": "a", "namespace": "n", "uid": "1"}, "spec": spec,
        }));
        let pinned = Pinned { controllers, ..Pinned::default() };
        let image = BrokerImage::parse("localhost/ottla/broker:0.1.0").unwrap();
        match validate(&object.unwrap(), &pinned, &image) {
            Verdict::Accepted(cluster) => {
                (default_replication_factor(&cluster), min_insync_replicas(&cluster))
            }
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
    fn what_the_user_sets_counts() {
        assert_eq!(of(&spec(3, json!({"min.insync.replicas": 1})), None).1, Some(1));
        assert_eq!(of(&spec(3, json!({"default.replication.factor": 2})), None).1, Some(1));
        assert_eq!(of(&spec(5, json!({"default.replication.factor": 5})), None).1, Some(2));
        assert_eq!(of(&spec(3, json!({"min.insync.replicas": "${env:NODE_ID}"})), None).1, None);
    }
}
