//! The pod of a node: one container, restricted, with a volume, its configuration and its identity.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{
        Capabilities, ConfigMapVolumeSource, Container, ContainerPort, EnvVar, EnvVarSource, HTTPGetAction,
        LocalObjectReference, ObjectFieldSelector, PodSecurityContext, PodSpec, PodTemplateSpec, Probe,
        SeccompProfile, SecurityContext, TopologySpreadConstraint, Volume, VolumeMount,
    },
    apimachinery::pkg::{
        apis::meta::v1::{LabelSelector, ObjectMeta},
        util::intstr::IntOrString,
    },
};

use super::{config_map::config_map_name, filled};
use crate::{
    cluster::{
        properties::{Properties, VOLUME},
        validate::Cluster,
    },
    crd::PlacementOfControllers,
    digest::digest_of_bytes,
    names::{
        ANNOTATION_POD_HASH, CLAIM, LABEL_POOL, PORT_CLIENT, PORT_CONTROLLER, PORT_HTTP, PORT_REPLICATION,
        Pool,
    },
};

/// The digest of a pod template: two pods of the same digest run the same thing.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct PodHash(pub String);

/// The user and group of the image.
const USER: i64 = 65532;
/// A broker hands over its leaders and syncs its logs before it exits.
const GRACE_SECONDS: i64 = 300;
/// A week: a log recovery that is killed starts over, and never ends if it is killed again.
const RECOVERY_SECONDS_MAX: i32 = 7 * 24 * 3600;

/// Builds the template of a pool's pods and its digest.
#[must_use]
pub fn build_pod_template(
    cluster: &Cluster,
    pool: Pool,
    properties: &Properties,
) -> (PodTemplateSpec, PodHash) {
    let mut labels = cluster.pod.labels.clone();
    labels.extend(cluster.name.labels());
    labels.insert(LABEL_POOL.to_owned(), pool.name().to_owned());
    let mut template = PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some(labels),
            annotations: filled(cluster.pod.annotations.clone()),
            ..ObjectMeta::default()
        }),
        spec: Some(pod_spec(cluster, pool, properties)),
    };
    // Of a k8s-openapi type's own derive: field order is fixed and maps are sorted, so the text is stable.
    let hash = PodHash(digest_of_bytes(serde_json::to_string(&template).unwrap_or_default().as_bytes()));
    let metadata = template.metadata.get_or_insert_default();
    metadata.annotations.get_or_insert_default().insert(ANNOTATION_POD_HASH.to_owned(), hash.0.clone());
    (template, hash)
}

fn pod_spec(cluster: &Cluster, pool: Pool, properties: &Properties) -> PodSpec {
    PodSpec {
        service_account_name: Some(cluster.name.all_nodes()),
        automount_service_account_token: Some(false),
        enable_service_links: Some(false),
        termination_grace_period_seconds: Some(GRACE_SECONDS),
        security_context: Some(PodSecurityContext {
            run_as_non_root: Some(true),
            run_as_user: Some(USER),
            run_as_group: Some(USER),
            fs_group: Some(USER),
            fs_group_change_policy: Some("OnRootMismatch".to_owned()),
            seccomp_profile: Some(SeccompProfile {
                type_: "RuntimeDefault".to_owned(),
                ..SeccompProfile::default()
            }),
            ..PodSecurityContext::default()
        }),
        topology_spread_constraints: Some(vec![
            spread(cluster, pool, "kubernetes.io/hostname"),
            spread(cluster, pool, "topology.kubernetes.io/zone"),
        ]),
        affinity: cluster.pod.affinity.clone(),
        tolerations: (!cluster.pod.tolerations.is_empty()).then(|| cluster.pod.tolerations.clone()),
        node_selector: filled(cluster.pod.node_selector.clone()),
        image_pull_secrets: (!cluster.pod.image_pull_secrets.is_empty()).then(|| {
            cluster
                .pod
                .image_pull_secrets
                .iter()
                .map(|name| LocalObjectReference { name: name.clone() })
                .collect()
        }),
        containers: vec![container(cluster, pool)],
        volumes: Some(vec![
            config_volume("config", config_map_name(cluster, pool, &properties.hash)),
            config_volume("identity", cluster.name.identity()),
        ]),
        ..PodSpec::default()
    }
}

/// Spread where there is room; a cluster of fewer Kubernetes nodes or zones than brokers still comes up.
fn spread(cluster: &Cluster, pool: Pool, key: &str) -> TopologySpreadConstraint {
    TopologySpreadConstraint {
        max_skew: 1,
        topology_key: key.to_owned(),
        when_unsatisfiable: "ScheduleAnyway".to_owned(),
        label_selector: Some(LabelSelector {
            match_labels: Some(cluster.name.pool_selector(pool)),
            ..LabelSelector::default()
        }),
        ..TopologySpreadConstraint::default()
    }
}

fn config_volume(name: &str, config_map: String) -> Volume {
    Volume {
        name: name.to_owned(),
        config_map: Some(ConfigMapVolumeSource { name: config_map, ..ConfigMapVolumeSource::default() }),
        ..Volume::default()
    }
}

fn container(cluster: &Cluster, pool: Pool) -> Container {
    let mut ports = Vec::new();
    if pool == Pool::Controllers || cluster.placement == PlacementOfControllers::Combined {
        ports.push(("controller", PORT_CONTROLLER));
    }
    if pool == Pool::Nodes {
        ports.push(("replication", PORT_REPLICATION));
        ports.push(("plain", PORT_CLIENT));
    }
    ports.push(("http", PORT_HTTP));
    Container {
        name: "broker".to_owned(),
        image: Some(cluster.image.clone()),
        image_pull_policy: Some("IfNotPresent".to_owned()),
        args: Some(vec!["pod".to_owned(), "/etc/ottla/server.properties".to_owned()]),
        env: Some(vec![
            // Kubernetes puts the ordinal on the pod as this label, and since 1.35 the topology of its node.
            env("NODE_ID", "metadata.labels['apps.kubernetes.io/pod-index']"),
            env("POD_NAME", "metadata.name"),
            env("POD_NAMESPACE", "metadata.namespace"),
            env("RACK", "metadata.labels['topology.kubernetes.io/zone']"),
        ]),
        ports: Some(
            ports
                .into_iter()
                .map(|(name, number)| ContainerPort {
                    name: Some(name.to_owned()),
                    container_port: i32::from(number),
                    protocol: Some("TCP".to_owned()),
                    ..ContainerPort::default()
                })
                .collect(),
        ),
        resources: Some(cluster.resources.clone()),
        volume_mounts: Some(vec![
            mount(CLAIM, VOLUME, false),
            mount("config", "/etc/ottla", true),
            mount("identity", "/etc/ottla/identity", true),
        ]),
        startup_probe: Some(probe("/startupz", 1, RECOVERY_SECONDS_MAX)),
        liveness_probe: Some(probe("/livez", 10, 6)),
        readiness_probe: Some(probe("/readyz", 1, 2)),
        // What a broker says last is why it stopped; conditions quote it.
        termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            read_only_root_filesystem: Some(true),
            run_as_non_root: Some(true),
            capabilities: Some(Capabilities {
                drop: Some(vec!["ALL".to_owned()]),
                ..Capabilities::default()
            }),
            ..SecurityContext::default()
        }),
        ..Container::default()
    }
}

fn env(name: &str, field: &str) -> EnvVar {
    EnvVar {
        name: name.to_owned(),
        value_from: Some(EnvVarSource {
            field_ref: Some(ObjectFieldSelector {
                field_path: field.to_owned(),
                ..ObjectFieldSelector::default()
            }),
            ..EnvVarSource::default()
        }),
        ..EnvVar::default()
    }
}

fn mount(name: &str, path: &str, read_only: bool) -> VolumeMount {
    VolumeMount {
        name: name.to_owned(),
        mount_path: path.to_owned(),
        read_only: read_only.then_some(true),
        ..VolumeMount::default()
    }
}

fn probe(path: &str, period_seconds: i32, failure_threshold: i32) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::Int(i32::from(PORT_HTTP)),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(period_seconds),
        timeout_seconds: Some(period_seconds.clamp(2, 5)),
        failure_threshold: Some(failure_threshold),
        ..Probe::default()
    }
}

/// The digest that a pod, or a StatefulSet's template, was made with.
#[must_use]
pub fn pod_hash_of(annotations: Option<&BTreeMap<String, String>>) -> Option<PodHash> {
    annotations?.get(ANNOTATION_POD_HASH).cloned().map(PodHash)
}
