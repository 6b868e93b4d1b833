//! `crds/` and the chart's copy are what the Rust types say. `UPDATE=1 cargo test -p ottla-operator --test
//! generated` rewrites them.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{env, fs, path::PathBuf};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use ottla_operator::{
    crd::{KafkaCluster, KafkaTopic},
    names::OPERATOR_APP,
};

const HEAD: &str = "# Generated from operator/src/crd by operator/tests/generated.rs; do not edit.\n";
/// A client-side `kubectl apply` keeps the whole object in an annotation, which holds no more than this.
const JSON_BYTES_MAX: usize = 256 * 1024;

fn crds() -> [CustomResourceDefinition; 2] {
    [KafkaCluster::crd(), KafkaTopic::crd()]
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn expect_file(path: &str, wanted: &str) {
    let file = root().join(path);
    if env::var_os("UPDATE").is_some() {
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, wanted).unwrap();
    }
    let found = fs::read_to_string(&file).unwrap_or_default();
    assert!(
        found == wanted,
        "{path} is not current: run UPDATE=1 cargo test -p ottla-operator --test generated"
    );
}

fn yaml(crd: &CustomResourceDefinition) -> String {
    let mut value = serde_json::to_value(crd).unwrap();
    value.as_object_mut().unwrap().remove("status");
    serde_saphyr::to_string(&value).unwrap()
}

#[test]
fn generated_crds_are_current() {
    for crd in crds() {
        let singular = crd.spec.names.singular.clone().unwrap();
        expect_file(&format!("crds/{singular}.yaml"), &format!("{HEAD}{}", yaml(&crd)));
    }
}

#[test]
fn the_charts_copy_is_current() {
    for mut crd in crds() {
        let singular = crd.spec.names.singular.clone().unwrap();
        crd.metadata
            .annotations
            .get_or_insert_default()
            .insert("helm.sh/resource-policy".into(), "keep".into());
        let body = yaml(&crd);
        assert!(!body.contains("{{"), "a template action in a schema would be run by helm");
        let text = format!("{{{{- if .Values.crds.enabled }}}}\n{HEAD}{}\n{{{{- end }}}}\n", body.trim_end());
        expect_file(&format!("charts/ottla/templates/crd-{singular}.yaml"), &text);
    }
}

/// Brokers let the operator in by this label; the chart puts it on the operator's pods.
#[test]
fn the_charts_pods_carry_the_label_that_network_policies_trust() {
    let helpers = fs::read_to_string(root().join("charts/ottla/templates/_helpers.tpl")).unwrap();
    let label = format!("app.kubernetes.io/name: {OPERATOR_APP}\n");
    let labels =
        helpers.split("define \"ottla.selectorLabels\"").nth(1).unwrap().split("{{- end").next().unwrap();
    assert!(labels.contains(&label), "{labels}");
    let deployment = fs::read_to_string(root().join("charts/ottla/templates/deployment.yaml")).unwrap();
    let pod = deployment.split("\n  template:").nth(1).unwrap();
    assert!(pod.contains("include \"ottla.labels\""), "the pods carry other labels");
}

#[test]
fn each_crd_fits_the_annotation_of_kubectl_apply() {
    for crd in crds() {
        let bytes = serde_json::to_vec(&crd).unwrap().len();
        assert!(bytes < JSON_BYTES_MAX, "{} has {bytes} bytes", crd.spec.names.kind);
    }
}

#[test]
fn every_field_is_documented() {
    fn walk(path: &str, schema: &serde_json::Value, missing: &mut Vec<String>) {
        if let Some(properties) = schema.get("properties").and_then(|value| value.as_object()) {
            for (name, child) in properties {
                let path = format!("{path}.{name}");
                if child.get("description").is_none() {
                    missing.push(path.clone());
                }
                walk(&path, child, missing);
            }
        }
        if let Some(items) = schema.get("items") {
            walk(&format!("{path}[]"), items, missing);
        }
    }
    let mut missing = Vec::new();
    for crd in crds() {
        let schema = serde_json::to_value(&crd.spec.versions[0].schema).unwrap();
        let properties = &schema["openAPIV3Schema"]["properties"];
        for part in ["spec", "status"] {
            walk(&format!("{}.{part}", crd.spec.names.kind), &properties[part], &mut missing);
        }
    }
    assert!(missing.is_empty(), "without a description in kubectl explain: {missing:?}");
}
