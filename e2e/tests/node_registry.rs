//! `cargo xtask up --context NAME --image-prefix REGISTRY/...` brings both images through a registry: the nodes have
//! them from nowhere else.

use anyhow::{Result, ensure};
use e2e::command::program;
use e2e::lane::{Lane, node};
use e2e::step::Steps;
use e2e::{quickstart, registry, shim};

#[test]
fn up_with_an_image_prefix_pushes_both_images_and_the_nodes_pull_them() -> Result<()> {
    let lane = node::ensure()?;
    // What another test left: with records in its topic there would be nothing to prove.
    quickstart::remove(&lane.kubectl)?;
    let pusher = registry::ensure(&lane.site, &Steps::new(lane.site.logs()))?;
    let context = lane.kubectl.read(&["config", "current-context"])?.trim().to_owned();
    let prefix = format!("{}/team/ottla", registry::ADDRESS);
    // The API server and the registry can be reached from inside the site's network only.
    let printed = program(shim::path(&lane.site, "enter"))
        .arg(env!("CARGO_BIN_EXE_e2e"))
        .args(["up", "--context", &context, "--image-prefix", &prefix])
        .env("KUBECONFIG", lane.site.kubeconfig())
        .env(registry::PUSHER_CONFIG, pusher)
        .read()?;
    let promised = "1000 records sent through broker 0, read back through broker 1 and found equal";
    ensure!(printed.contains(promised), "{promised:?} is not in\n{printed}");
    runs_from(&lane, "ottla-system", "ottla-operator", &format!("{prefix}/operator:"), 1)?;
    runs_from(&lane, "default", "ottla", &format!("{prefix}/broker:"), 3)?;
    quickstart::remove(&lane.kubectl)?;
    // What comes next installs the operator from the nodes' own images again.
    program(shim::path(&lane.site, "helm"))
        .args(["uninstall", "ottla", "--namespace", "ottla-system", "--wait"])
        .read()?;
    Ok(())
}

/// Each of the `count` pods of `namespace` that are labelled with `name` runs an image of `repository` that its node
/// pulled by digest from the registry.
fn runs_from(lane: &Lane, namespace: &str, name: &str, repository: &str, count: usize) -> Result<()> {
    let columns = "custom-columns=I:.spec.containers[*].image,D:.status.containerStatuses[*].imageID";
    let label = format!("app.kubernetes.io/name={name}");
    let table =
        lane.kubectl.read(&["get", "pods", "-n", namespace, "-l", &label, "--no-headers", "-o", columns])?;
    let of_registry = table
        .lines()
        .filter(|line| {
            let mut words = line.split_whitespace();
            words.next().is_some_and(|image| image.starts_with(repository))
                && words.next().is_some_and(|id| id.contains(registry::ADDRESS))
        })
        .count();
    ensure!(of_registry == count, "{count} pods of {name} should run {repository}...:\n{table}");
    Ok(())
}
