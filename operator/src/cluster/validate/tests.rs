use super::*;

fn object(spec: serde_json::Value) -> KafkaCluster {
    serde_json::from_value(serde_json::json!({
        "apiVersion": "ottla.dev/v1alpha1", "kind": "KafkaCluster",
        "metadata": {"name": "my", "namespace": "ns", "uid": "u"}, "spec": spec,
    }))
    .unwrap()
}

fn judge(spec: serde_json::Value, pinned: &Pinned) -> Verdict {
    validate(&object(spec), pinned, &BrokerImage::parse("localhost/ottla/broker:0.1.0").unwrap())
}

fn refusal(spec: serde_json::Value) -> String {
    match judge(spec, &Pinned::default()) {
        Verdict::Refused(refusals) => refusals.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "),
        other @ (Verdict::Accepted(_) | Verdict::ScaleDownRefused(..)) => panic!("{other:?}"),
    }
}

#[test]
fn the_number_of_controllers_follows_the_brokers_at_creation_and_never_after() {
    for (replicas, controllers) in [(1, 1), (2, 1), (3, 3), (5, 3)] {
        let spec = serde_json::json!({"replicas": replicas, "storage": {"size": "1Gi"}});
        let Verdict::Accepted(cluster) = judge(spec, &Pinned::default()) else { panic!("refused") };
        assert_eq!(cluster.controllers, controllers);
    }
    let pinned = Pinned { controllers: Some(1), version: None, brokers: Some(1) };
    let spec = serde_json::json!({"replicas": 5, "storage": {"size": "1Gi"}});
    let Verdict::Accepted(cluster) = judge(spec, &pinned) else { panic!("refused") };
    assert_eq!((cluster.controllers, cluster.brokers), (1, 5));
}

#[test]
fn a_release_is_pinned_when_it_was_not_written() {
    let pinned = Pinned { version: Some("0.0.9".into()), ..Pinned::default() };
    let Verdict::Accepted(cluster) = judge(serde_json::json!({"storage": {"size": "1Gi"}}), &pinned) else {
        panic!("refused")
    };
    assert_eq!((cluster.version.as_str(), cluster.image.as_str()), ("0.0.9", "localhost/ottla/broker:0.0.9"));
}

#[test]
fn fewer_brokers_are_refused_and_all_are_kept() {
    let pinned = Pinned { controllers: Some(3), version: None, brokers: Some(4) };
    let Verdict::ScaleDownRefused(cluster, refusal) =
        judge(serde_json::json!({"replicas": 3, "storage": {"size": "1Gi"}}), &pinned)
    else {
        panic!("not refused")
    };
    assert_eq!(cluster.brokers, 4);
    assert_eq!(
        refusal.to_string(),
        "spec.replicas: \"3\": removing brokers is not supported by this release, and all 4 are kept: set replicas to 4"
    );
}

#[test]
fn another_number_of_controllers_is_refused() {
    let pinned = Pinned { controllers: Some(3), version: None, brokers: Some(5) };
    let spec = serde_json::json!({"replicas": 5, "controllers": {"replicas": 5}, "storage": {"size": "1Gi"}});
    let Verdict::Refused(refusals) = judge(spec, &pinned) else { panic!("accepted") };
    assert_eq!(refusals[0].field, "spec.controllers.replicas");
}

#[test]
fn fewer_brokers_than_the_volumes_have_controllers_are_refused() {
    let pinned = Pinned { controllers: Some(3), version: None, brokers: Some(1) };
    let spec = serde_json::json!({"replicas": 1, "storage": {"size": "1Gi"}});
    let Verdict::Refused(refusals) = judge(spec, &pinned) else { panic!("accepted") };
    assert!(refusals[0].to_string().contains("set replicas to 3 or more"), "{}", refusals[0]);
}

#[test]
fn a_field_that_affinity_does_not_have_is_refused() {
    let text = refusal(serde_json::json!({
        "storage": {"size": "1Gi"},
        "template": {"pod": {"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
            {"topologyKey": "kubernetes.io/hostname", "labelSelectr": {}}
        ]}}}},
    }));
    let path = "podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].labelSelectr: ";
    assert!(text.contains(path), "{text}");
}

#[test]
fn every_refusal_names_field_value_and_remedy_and_all_are_told_at_once() {
    let text = refusal(serde_json::json!({
        "storage": {"size": "1Gi"}, "clusterId": "-".repeat(21) + "?",
        "resources": {"requests": {"cpu": "much", "memory": "2Gi"}, "limits": {"memory": "1Gi"}},
        "config": {"zookeeper.connect": "zk:2181", "line": "a\nb"},
        "template": {"pod": {"metadata": {"labels": {"ottla.dev/cluster": "other"}}, "affinity": {"nodeAffinity": 3}}},
    }));
    for part in [
        "spec.clusterId: \"---------------------?\": wanted an id",
        "spec.resources.requests.cpu: \"much\": wanted a quantity",
        "spec.resources.limits.memory: \"1Gi\": a limit must not be below the request",
        "spec.config[\"zookeeper.connect\"]: \"zk:2181\": ",
        "spec.template.pod.metadata.labels[\"ottla.dev/cluster\"]: \"other\": ",
        "spec.template.pod.affinity: ",
    ] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
}
