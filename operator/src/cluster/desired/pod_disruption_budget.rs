//! The disruption budget: one node of the cluster at a time.

use k8s_openapi::{
    api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec},
    apimachinery::pkg::{apis::meta::v1::LabelSelector, util::intstr::IntOrString},
};

use super::metadata;
use crate::cluster::validate::Cluster;

/// How many nodes may be evicted at once.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Budget {
    /// One.
    Open,
    /// None: an evicted pod would come back with a template that has not proved itself on any node yet.
    Closed,
}

/// Builds the budget.
#[must_use]
pub fn build_pod_disruption_budget(cluster: &Cluster, budget: Budget) -> PodDisruptionBudget {
    let most = match budget {
        Budget::Open => 1,
        Budget::Closed => 0,
    };
    PodDisruptionBudget {
        metadata: metadata(cluster, cluster.name.all_nodes(), None),
        spec: Some(PodDisruptionBudgetSpec {
            max_unavailable: Some(IntOrString::Int(most)),
            selector: Some(LabelSelector {
                match_labels: Some(cluster.name.selector()),
                ..LabelSelector::default()
            }),
            ..PodDisruptionBudgetSpec::default()
        }),
        ..PodDisruptionBudget::default()
    }
}
