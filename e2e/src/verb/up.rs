//! `cargo xtask up`: from a checkout to a running cluster with acknowledged records in it.

use std::fs;

use anyhow::{Context, Result, bail};

use crate::command::program;
use crate::go;
use crate::helm;
use crate::images::{self, Images};
use crate::kcat::Kcat;
use crate::kube::{Node, Programs, cluster, node};
use crate::kubectl::Kubectl;
use crate::packages;
use crate::quickstart;
use crate::shim;
use crate::site::{self, Site};
use crate::step::{Steps, say};
use crate::verb::elsewhere;

/// What the user asked for.
#[derive(Debug, Default)]
pub struct Options {
    context: Option<String>,
    image_prefix: Option<String>,
}

impl Options {
    /// Reads the command line.
    pub fn parse(words: &[&str]) -> Result<Self> {
        let mut options = Self::default();
        let mut rest = words;
        loop {
            rest = match rest {
                [] => return Ok(options),
                ["--context", name, rest @ ..] => {
                    options.context = Some((*name).to_owned());
                    rest
                }
                ["--image-prefix", prefix, rest @ ..] => {
                    options.image_prefix = Some((*prefix).to_owned());
                    rest
                }
                [other, ..] => bail!("up takes --context NAME and --image-prefix PREFIX, not {other}"),
            }
        }
    }
}

/// Starts what does not run.
pub fn run(options: &Options) -> Result<()> {
    match (&options.context, &options.image_prefix) {
        (Some(context), prefix) => {
            say(&format!("installing Ottla in the cluster of the context {context}"));
            elsewhere::run(context, prefix.as_deref())
        }
        (None, Some(_)) => {
            bail!("--image-prefix goes with --context: our own cluster takes images from files")
        }
        (None, None) => {
            say("bringing up a Kubernetes with Ottla; `cargo xtask down` removes it again");
            site::require_root()?;
            start(&Site::new(site::DEVELOPMENT))
        }
    }
}

/// Starts what does not run of `site`, with the example in it.
pub fn start(site: &Site) -> Result<()> {
    let _lock = site.lock()?;
    let steps = Steps::new(site.logs());
    let running = start_kubernetes(site, &steps)?;
    let kcat = || Ok(Kcat::new(shim::path(site, "kcat")));
    if let Some(proof) = quickstart::ensure(&running.kubectl, kcat, &steps)? {
        fs::write(site.path("proof"), proof.to_string()).context("note what was proven")?;
    }
    summarize(site, &running.kubectl)
}

/// What [`start_kubernetes`] leaves behind.
#[derive(Debug)]
pub struct Running {
    /// The administrator.
    pub kubectl: Kubectl,
}

/// Starts what does not run of Kubernetes and the operator.
pub fn start_kubernetes(site: &Site, steps: &Steps) -> Result<Running> {
    packages::ensure(steps, &[packages::KUBERNETES, packages::IMAGES, packages::CLIENTS])?;
    let programs = Programs::ensure(steps)?;
    let helm_program = go::HELM.ensure(steps)?.join("helm");
    let pause = images::ensure_pause(steps)?;
    let images = images::ensure(steps, images::LOCAL_PREFIX)?;
    let kubectl = cluster::ensure(site, &programs, &[pause], steps)?;
    shim::ensure(site, &programs, &helm_program)?;
    load(site, &images, steps)?;
    let helm = || program(shim::path(site, "helm"));
    steps.run("helm install ottla", |log| helm::ensure(helm, &images.operator.archive, &[], log))?;
    Ok(Running { kubectl })
}

/// Loads both images into every node that does not have them.
fn load(site: &Site, images: &Images, steps: &Steps) -> Result<()> {
    let renewed = steps.run("load the images into the nodes", |log| {
        let mut renewed = false;
        for node in Node::first(cluster::NODES) {
            for image in [&images.broker, &images.operator] {
                renewed |= node::load_image(site, node, &image.archive, log)?;
            }
        }
        Ok(renewed)
    })?;
    if renewed {
        say("          brokers that run keep the image they have; delete a pod to renew it");
    }
    Ok(())
}

/// Says what runs where and how to go on.
fn summarize(site: &Site, kubectl: &Kubectl) -> Result<()> {
    let version = go::KUBERNETES.version()?;
    say(&format!("\nKubernetes {version}, three nodes, in the network {}:", site.fabric().name()));
    let columns = "NAMESPACE:.metadata.namespace,POD:.metadata.name,NODE:.spec.nodeName,ADDRESS:.status.podIP,PHASE:.status.phase";
    say(kubectl.read(&["get", "pods", "-A", "-o", &format!("custom-columns={columns}")])?.trim_end());
    say("");
    say(kubectl.read(&["get", "kafkacluster,kafkatopic", "-A"])?.trim_end());
    let bootstrap = quickstart::bootstrap_address(quickstart::CLUSTER, quickstart::NAMESPACE);
    say(&format!("\nbootstrap   {bootstrap} (inside the cluster's network)"));
    say(&format!("kubeconfig  {}", site.kubeconfig().display()));
    say(&format!("logs        {}", site.logs().display()));
    if let Ok(proof) = fs::read_to_string(site.path("proof")) {
        say(&format!("proven      {proof}"));
    }
    say("\nTo go on:");
    let bin = |name: &str| shim::path(site, name).display().to_string();
    say(&format!("  {} describe kafkacluster {}", bin("kubectl"), quickstart::CLUSTER));
    say(&format!("  echo 'a key:a value' | {} -b {bootstrap} -P -t {} -K:", bin("kcat"), quickstart::TOPIC));
    say(&format!("  {} -b {bootstrap} -C -t {} -o beginning -e", bin("kcat"), quickstart::TOPIC));
    say("  (`cargo xtask down` removes all of it)");
    Ok(())
}
