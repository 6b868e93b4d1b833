//! ConfigMaps: the configuration, immutable and named by its digest, so that a pod that comes back early never
//! runs what was not meant for it; and the identity, mutable and outside the pod's digest, because no pod must
//! restart when the first quorum is recorded.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;

use super::metadata;
use crate::{
    cluster::{
        identity::{IDENTITY_FILE, Identity},
        properties::{ConfigHash, Properties},
        validate::Cluster,
    },
    names::{ANNOTATION_ACCEPTED, Pool},
};

/// The key of the configuration, and the name of the file in the pod.
pub const PROPERTIES_FILE: &str = "server.properties";

/// The name of a pool's configuration.
#[must_use]
pub fn config_map_name(cluster: &Cluster, pool: Pool, hash: &ConfigHash) -> String {
    format!("{}-config-{}", cluster.name.pool(pool), hash.0)
}

/// Builds a pool's configuration.
#[must_use]
pub fn build_config_map(cluster: &Cluster, pool: Pool, properties: &Properties) -> ConfigMap {
    ConfigMap {
        metadata: metadata(cluster, config_map_name(cluster, pool, &properties.hash), Some(pool)),
        immutable: Some(true),
        data: Some(BTreeMap::from([(PROPERTIES_FILE.to_owned(), properties.text.clone())])),
        ..ConfigMap::default()
    }
}

/// An object's annotations together hold no more than 256 KiB. A longer spec is carried out and not taken down.
const ACCEPTED_BYTES_MAX: usize = 200 * 1024;

/// Builds the identity, with the operator's own records of the cluster beside it.
#[must_use]
pub fn build_identity(cluster: &Cluster, identity: &Identity) -> ConfigMap {
    let mut metadata = metadata(cluster, cluster.name.identity(), None);
    let mut annotations = identity.record_annotations();
    if cluster.accepted.len() <= ACCEPTED_BYTES_MAX {
        annotations.insert(ANNOTATION_ACCEPTED.to_owned(), cluster.accepted.clone());
    }
    metadata.annotations = Some(annotations);
    ConfigMap {
        metadata,
        data: Some(BTreeMap::from([(IDENTITY_FILE.to_owned(), identity.render())])),
        ..ConfigMap::default()
    }
}
