//! `cargo xtask up --context NAME`: the same on a cluster the user already has.

use std::cell::OnceCell;
use std::path::PathBuf;

use anyhow::Result;

use crate::command::{Program, program};
use crate::forward::Forwards;
use crate::go;
use crate::helm;
use crate::images::{self, Images};
use crate::kcat::Kcat;
use crate::kubectl::Kubectl;
use crate::packages;
use crate::quickstart;
use crate::step::{Steps, say};

/// How many brokers the example has.
const BROKERS: u8 = 3;

/// Installs the operator and the example in the cluster of `context`.
pub fn run(context: &str, image_prefix: Option<&str>) -> Result<()> {
    let steps = super::steps();
    packages::ensure(&steps, &[packages::IMAGES, packages::CLIENTS])?;
    let kubectl = Kubectl::of_context(kubectl_program(&steps)?, context);
    steps.run(&format!("reach the cluster of the context {context}"), |_| {
        kubectl.read(&["version"]).map(|_| ())
    })?;
    let images = images::ensure(&steps, image_prefix.unwrap_or(images::LOCAL_PREFIX))?;
    bring_images(&images, image_prefix, &steps)?;
    let helm_program = go::HELM.ensure(&steps)?.join("helm");
    let helm = || -> Program { program(&helm_program).args(["--kube-context", context]) };
    let repository = |name: &str| name.rsplit_once(':').map_or(name, |(repository, _)| repository).to_owned();
    let settings = [
        format!("image.repository={}", repository(&images.operator.name)),
        format!("brokerImage.repository={}", repository(&images.broker.name)),
    ];
    steps.run("helm install ottla", |log| helm::ensure(helm, &images.operator.archive, &settings, log))?;
    let forwards = OnceCell::new();
    let kcat = || -> Result<Kcat> {
        let opened = Forwards::open(&kubectl, quickstart::NAMESPACE, quickstart::CLUSTER, BROKERS)?;
        Ok(forwards.get_or_init(|| opened).kcat())
    };
    if let Some(proof) = quickstart::ensure(&kubectl, kcat, &steps)? {
        say(&format!("          {proof}"));
    }
    summarize(&kubectl, context)
}

/// The user's own kubectl, which may know plugins for logging in; else ours.
fn kubectl_program(steps: &Steps) -> Result<PathBuf> {
    if program("kubectl").args(["version", "--client"]).succeeds() {
        return Ok(PathBuf::from("kubectl"));
    }
    Ok(go::KUBERNETES.ensure(steps)?.join("kubectl"))
}

fn bring_images(images: &Images, prefix: Option<&str>, steps: &Steps) -> Result<()> {
    let both = [&images.broker, &images.operator];
    if prefix.is_some() {
        return steps
            .run("push the images", |log| both.iter().try_for_each(|image| images::push(image, log)));
    }
    say("          without --image-prefix nothing is pushed: the nodes must have the images already, from");
    for image in both {
        say(&format!("          {}", image.archive.display()));
    }
    Ok(())
}

fn summarize(kubectl: &Kubectl, context: &str) -> Result<()> {
    say("");
    say(kubectl.read(&["get", "pods", "-n", helm::NAMESPACE, "-o", "wide"])?.trim_end());
    say(kubectl.read(&["get", "kafkacluster,kafkatopic", "-n", quickstart::NAMESPACE])?.trim_end());
    let bootstrap = quickstart::bootstrap_address(quickstart::CLUSTER, quickstart::NAMESPACE);
    say(&format!("\nbootstrap   {bootstrap} (inside the cluster)\n\nTo go on:"));
    let namespace = quickstart::NAMESPACE;
    say(&format!(
        "  kubectl --context {context} -n {namespace} describe kafkacluster {}",
        quickstart::CLUSTER
    ));
    say(&format!("  kubectl --context {context} -n {namespace} get events"));
    say(&format!("  kubectl --context {context} -n {} logs deployment/{}", helm::NAMESPACE, helm::OPERATOR));
    say("To remove it: delete the KafkaTopic and the KafkaCluster, then `helm uninstall ottla`");
    Ok(())
}
