//! The account of the nodes: they never talk to Kubernetes, so it carries no token.

use k8s_openapi::api::core::v1::ServiceAccount;

use super::metadata;
use crate::cluster::validate::Cluster;

/// Builds the account.
#[must_use]
pub fn build_service_account(cluster: &Cluster) -> ServiceAccount {
    ServiceAccount {
        metadata: metadata(cluster, cluster.name.all_nodes(), None),
        automount_service_account_token: Some(false),
        ..ServiceAccount::default()
    }
}
