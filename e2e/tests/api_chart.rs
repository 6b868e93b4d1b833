//! The chart installs with helm 3 and 4, refuses wrong values by name, and gives the operator no right too many.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use e2e::command::Program;
use e2e::go;
use e2e::helm;
use e2e::lane::api::ApiLane;
use e2e::step::Steps;

/// The oldest release that the chart says it runs on.
const OLDEST_KUBERNETES: &str = "1.35.0";
const OPERATOR: &str = "system:serviceaccount:ottla-system:ottla";

/// Values a user may give, and the words of the answer if they are wrong.
const VALUES: [(&str, Option<&str>); 9] = [
    ("replicas=2", None),
    ("crds.enabled=false", None),
    ("watchNamespaces={default}", None),
    ("logging.level=debug", None),
    ("image.repository=registry.example/ottla/operator", None),
    ("replicas=two", Some("replicas")),
    ("replica=2", Some("replica")),
    ("watchNamespaces=default", Some("watchNamespaces")),
    ("image.pullPolicy=Sometimes", Some("pullPolicy")),
];

struct Helm {
    major: &'static str,
    executable: PathBuf,
}

/// Both releases that people use, and a namespace to install into.
fn begin(lane: &ApiLane) -> Result<[Helm; 2]> {
    let steps = Steps::new(lane.site.logs());
    let namespace = format!("{{apiVersion: v1, kind: Namespace, metadata: {{name: {}}}}}", helm::NAMESPACE);
    lane.kubectl.apply(&namespace)?;
    Ok([
        Helm { major: "v3.", executable: go::HELM_3.ensure(&steps)?.join("helm") },
        Helm { major: "v4.", executable: go::HELM.ensure(&steps)?.join("helm") },
    ])
}

impl Helm {
    fn program(&self, lane: &ApiLane, words: &[&str]) -> Program {
        let base = lane.site.fabric().program(&self.executable).env("KUBECONFIG", lane.site.kubeconfig());
        base.args(words).args(["--namespace", helm::NAMESPACE])
    }

    fn template(&self, lane: &ApiLane, setting: &str) -> Program {
        // Left to itself, helm takes the release of Kubernetes that it was built with.
        let words = ["template", helm::RELEASE, "--kube-version", OLDEST_KUBERNETES];
        self.program(lane, &words).arg(helm::chart()).args(["--set", setting])
    }
}

/// Whether the operator may; `resource` is `name.group` or `name.group/subresource`.
fn may(lane: &ApiLane, verb: &str, resource: &str, namespace: &str) -> Result<bool> {
    let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
    let subresource = format!("--subresource={subresource}");
    let words = ["auth", "can-i", verb, resource, &subresource, "--as", OPERATOR, "--namespace", namespace];
    // "no" is told by the exit code as well.
    let output = lane.kubectl.program(&words).output()?;
    let text = String::from_utf8(output.stdout).context("an answer that is not text")?;
    match text.trim() {
        "yes" => Ok(true),
        "no" => Ok(false),
        other => anyhow::bail!("kubectl auth can-i {verb} {resource}: {other:?}"),
    }
}

#[test]
fn every_right_value_renders_to_what_the_api_server_takes_and_every_wrong_one_is_named() -> Result<()> {
    let lane = ApiLane::ensure()?;
    for helm in begin(&lane)? {
        let version = helm.program(&lane, &["version", "--short"]).read()?;
        ensure!(version.starts_with(helm.major), "helm {} says it is {version}", helm.major);
        for (setting, refusal) in VALUES {
            let rendered = helm.template(&lane, setting).read();
            let Some(word) = refusal else {
                let manifest = rendered.with_context(|| format!("helm {} {setting}", helm.major))?;
                let definitions = manifest.matches("kind: CustomResourceDefinition").count();
                assert_eq!(definitions, if setting == "crds.enabled=false" { 0 } else { 2 }, "{setting}");
                // The lane has the definitions already, by another way.
                let words = ["apply", "--server-side", "--force-conflicts", "--dry-run=server", "-f", "-"];
                lane.kubectl.program(&words).stdin(manifest).read().with_context(|| setting.to_owned())?;
                continue;
            };
            let text = rendered.err().map(|error| format!("{error:#}")).unwrap_or_default();
            ensure!(text.contains(word), "helm {} and {setting}: {word:?} is not in {text:?}", helm.major);
        }
    }
    Ok(())
}

#[test]
fn it_installs_and_the_operator_has_the_rights_it_needs_and_no_others() -> Result<()> {
    let lane = ApiLane::ensure()?;
    for helm in begin(&lane)? {
        for (namespaces, elsewhere) in [("watchNamespaces=null", true), ("watchNamespaces={default}", false)]
        {
            let install = helm.program(&lane, &["install", helm::RELEASE]).arg(helm::chart());
            install.args(["--set", namespaces, "--take-ownership"]).read()?;
            let rights = check_rights(&lane, elsewhere);
            helm.program(&lane, &["uninstall", helm::RELEASE]).read()?;
            rights.with_context(|| format!("helm {} with {namespaces}", helm.major))?;
            ensure!(!may(&lane, "list", "pods", "default")?, "rights outlive the release");
            let kept = lane.kubectl.read(&["get", "crd", "-o", "name"])?;
            assert_eq!(kept.matches(".ottla.dev").count(), 2, "the definitions must stay: {kept}");
        }
    }
    Ok(())
}

fn check_rights(lane: &ApiLane, everywhere: bool) -> Result<()> {
    for (verb, resource) in [
        ("list", "kafkaclusters.ottla.dev"),
        ("watch", "kafkatopics.ottla.dev"),
        ("patch", "kafkaclusters.ottla.dev/status"),
        ("patch", "statefulsets.apps"),
        ("create", "services"),
        ("delete", "pods"),
        ("patch", "persistentvolumeclaims"),
        ("create", "events.events.k8s.io"),
    ] {
        ensure!(may(lane, verb, resource, "default")?, "it may not {verb} {resource}");
        assert_eq!(may(lane, verb, resource, "kube-system")?, everywhere, "{verb} {resource} in a namespace");
    }
    for (verb, resource) in [
        ("get", "secrets"),
        ("list", "secrets"),
        ("create", "pods"),
        ("create", "pods/exec"),
        ("delete", "persistentvolumeclaims"),
        ("delete", "persistentvolumes"),
        ("delete", "namespaces"),
        ("get", "nodes"),
        ("patch", "kafkaclusters.ottla.dev"),
        ("delete", "kafkaclusters.ottla.dev"),
        ("delete", "kafkatopics.ottla.dev"),
        ("create", "clusterroles.rbac.authorization.k8s.io"),
        ("escalate", "roles.rbac.authorization.k8s.io"),
    ] {
        ensure!(!may(lane, verb, resource, "default")?, "it may {verb} {resource}");
    }
    Ok(())
}
