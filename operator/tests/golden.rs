//! The objects of a cluster, as YAML to read: `golden/<case>/in.yaml` is what a user writes (and, in a second document,
//! what is there already), `out.yaml` what the operator makes of it. `UPDATE=1` rewrites the latter.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{env, fs, path::Path};

use ottla_operator::{
    cluster::{
        desired::{Objects, Wanted, pod_disruption_budget::Budget, stateful_set::Given},
        identity::{Identity, NewIdentity},
        validate::{Cluster, Pinned, Verdict, validate},
    },
    crd::KafkaCluster,
    settings::BrokerImage,
};
use serde::Deserialize;

/// What is there already.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct There {
    controllers: Option<i32>,
    version: Option<String>,
    brokers: Option<i32>,
}

fn render(input: &str) -> String {
    let mut documents = input.split("\n---\n");
    let object: KafkaCluster = serde_saphyr::from_str(documents.next().unwrap()).unwrap();
    let there: There = documents.next().map(|text| serde_saphyr::from_str(text).unwrap()).unwrap_or_default();
    let pinned = Pinned { controllers: there.controllers, version: there.version, brokers: there.brokers };
    match validate(&object, &pinned, &BrokerImage::parse("localhost/ottla/broker:0.1.0").unwrap()) {
        Verdict::Accepted(cluster) => objects(&cluster),
        Verdict::ScaleDownRefused(cluster, refusal) => format!("# {refusal}\n{}", objects(&cluster)),
        Verdict::Refused(refusals) => refusals.iter().map(|refusal| format!("# {refusal}\n")).collect(),
    }
}

fn objects(cluster: &Cluster) -> String {
    let mut next = 0;
    let voters = cluster.controller_addresses();
    let new = NewIdentity {
        controllers: cluster.controllers,
        cluster_id: cluster.cluster_id.as_ref(),
        voters: &voters,
    };
    let identity = Identity::resolve(None, &[], &new, || {
        next += 1;
        [next; 16]
    })
    .unwrap();
    let wanted: Vec<Wanted> = cluster.pools().into_iter().map(|pool| Wanted::of(cluster, pool)).collect();
    let objects = Objects::build(cluster, &identity, &wanted, Budget::Open, "ottla-system", |wanted| Given {
        template: wanted.template.clone(),
        inputs: Some(wanted.inputs.clone()),
        claim_annotations: identity.claim_annotations(),
    });
    let mut yaml = vec![serde_saphyr::to_string(&objects.service_account).unwrap()];
    yaml.extend(objects.config_maps.iter().map(|object| serde_saphyr::to_string(object).unwrap()));
    yaml.extend(objects.services.iter().map(|object| serde_saphyr::to_string(object).unwrap()));
    yaml.push(serde_saphyr::to_string(&objects.network_policy).unwrap());
    yaml.push(serde_saphyr::to_string(&objects.budget).unwrap());
    yaml.extend(objects.stateful_sets.iter().map(|object| serde_saphyr::to_string(object).unwrap()));
    yaml.iter().map(|object| format!("---\n{}\n", object.trim_end())).collect()
}

#[test]
fn what_the_operator_makes_of_each_case_is_as_recorded() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut cases: Vec<_> = fs::read_dir(&root).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    assert!(cases.len() >= 5, "the cases are gone");
    let mut stale = Vec::new();
    for case in cases {
        let made = render(&fs::read_to_string(case.join("in.yaml")).unwrap());
        let out = case.join("out.yaml");
        if env::var_os("UPDATE").is_some() {
            fs::write(&out, &made).unwrap();
        }
        if fs::read_to_string(&out).unwrap_or_default() != made {
            stale.push(case);
        }
    }
    assert!(stale.is_empty(), "not as recorded: {stale:?}; UPDATE=1 rewrites them, then read the difference");
}

/// The same manifest must never give two configurations, or every pass would restart nodes.
#[test]
fn the_same_cluster_gives_the_same_objects() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    for entry in fs::read_dir(root).unwrap() {
        let input = fs::read_to_string(entry.unwrap().path().join("in.yaml")).unwrap();
        assert_eq!(render(&input), render(&input));
    }
}
