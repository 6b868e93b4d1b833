//! The StatefulSet of a pool: it makes pods with stable names and volumes, and never restarts one (`OnDelete`);
//! only our roller does.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::{
        apps::v1::{
            StatefulSet, StatefulSetOrdinals, StatefulSetPersistentVolumeClaimRetentionPolicy,
            StatefulSetSpec, StatefulSetUpdateStrategy,
        },
        core::v1::{
            PersistentVolumeClaim, PersistentVolumeClaimSpec, PodTemplateSpec, VolumeResourceRequirements,
        },
    },
    apimachinery::pkg::{
        api::resource::Quantity,
        apis::meta::v1::{LabelSelector, ObjectMeta},
    },
};

use super::{InputsHash, metadata};
use crate::{
    cluster::validate::Cluster,
    names::{ANNOTATION_INPUTS, ANNOTATION_VERSION, CLAIM, Pool},
};

/// What of a StatefulSet depends on what is there already.
pub struct Given {
    /// The pod template: the wanted one once a roll starts, until then the one that is there.
    pub template: PodTemplateSpec,
    /// The digest of the user's part of that template.
    pub inputs: Option<InputsHash>,
    /// The annotations of the claim template, which cannot change after creation.
    pub claim_annotations: BTreeMap<String, String>,
}

/// Builds the StatefulSet of a pool.
#[must_use]
pub fn build_stateful_set(cluster: &Cluster, pool: Pool, given: Given) -> StatefulSet {
    let mut metadata = metadata(cluster, cluster.name.pool(pool), Some(pool));
    let annotations = metadata.annotations.get_or_insert_default();
    annotations.insert(ANNOTATION_VERSION.to_owned(), cluster.version.clone());
    annotations.extend(given.inputs.map(|inputs| (ANNOTATION_INPUTS.to_owned(), inputs.0)));
    let first = pool.first_id().0;
    StatefulSet {
        metadata,
        spec: Some(StatefulSetSpec {
            service_name: Some(cluster.name.pool(pool)),
            replicas: Some(cluster.size(pool)),
            pod_management_policy: Some("Parallel".to_owned()),
            update_strategy: Some(StatefulSetUpdateStrategy {
                type_: Some("OnDelete".to_owned()),
                ..StatefulSetUpdateStrategy::default()
            }),
            revision_history_limit: Some(2),
            ordinals: (first > 0).then_some(StatefulSetOrdinals { start: Some(first) }),
            selector: LabelSelector {
                match_labels: Some(cluster.name.pool_selector(pool)),
                ..LabelSelector::default()
            },
            persistent_volume_claim_retention_policy: Some(StatefulSetPersistentVolumeClaimRetentionPolicy {
                when_deleted: Some(if cluster.delete_claim { "Delete" } else { "Retain" }.to_owned()),
                when_scaled: Some("Retain".to_owned()),
            }),
            template: given.template,
            volume_claim_templates: Some(vec![claim(cluster, pool, given.claim_annotations)]),
            ..StatefulSetSpec::default()
        }),
        ..StatefulSet::default()
    }
}

fn claim(cluster: &Cluster, pool: Pool, annotations: BTreeMap<String, String>) -> PersistentVolumeClaim {
    let size = Quantity(cluster.storage_size.clone());
    PersistentVolumeClaim {
        metadata: ObjectMeta {
            name: Some(CLAIM.to_owned()),
            labels: Some(cluster.name.pool_selector(pool)),
            annotations: Some(annotations),
            ..ObjectMeta::default()
        },
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(vec!["ReadWriteOnce".to_owned()]),
            storage_class_name: cluster.storage_class.clone(),
            resources: Some(VolumeResourceRequirements {
                requests: Some(BTreeMap::from([("storage".to_owned(), size)])),
                ..VolumeResourceRequirements::default()
            }),
            ..PersistentVolumeClaimSpec::default()
        }),
        ..PersistentVolumeClaim::default()
    }
}
