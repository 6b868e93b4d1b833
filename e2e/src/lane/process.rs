//! The process lane: a real control plane whose pods are processes of this machine.
//!
//! It starts in seconds and a pod in a fraction of one, so hundreds of failures fit into minutes. What it leaves
//! out is what containers add: images, overlay file systems, limits.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::json;

use crate::command::program;
use crate::control_group;
use crate::go;
use crate::helm;
use crate::images;
use crate::kcat::Kcat;
use crate::kube::certificates::Certificates;
use crate::kube::kubeconfig::{self, write_if_changed};
use crate::kube::{Node, Programs, SERVICE_RANGE, control_plane, dns, network, storage};
use crate::kubectl::Kubectl;
use crate::kubelet;
use crate::lane::Lane;
use crate::packages;
use crate::process::{self, Process};
use crate::shim;
use crate::site::{self, Site};
use crate::step::{Log, Steps};

/// `kubectl proxy` answers within a second.
const PROXY_LIMIT: Duration = Duration::from_secs(30);

/// Starts what does not run. `xtask` is the program behind `cargo xtask`: the kubelet is one of its verbs.
pub fn ensure(xtask: &Path) -> Result<Lane> {
    site::require_root()?;
    let site = Site::new(site::PROCESS);
    let _lock = site.wait_for_lock()?;
    let steps = Steps::new(site.logs());
    packages::ensure(&steps, &[packages::KUBERNETES, packages::IMAGES, packages::CLIENTS])?;
    let programs = Programs::ensure(&steps)?;
    let helm_program = go::HELM.ensure(&steps)?.join("helm");
    let operator = place_binaries(&site, &steps)?;
    let kubectl = Kubectl::of_site(&site, &programs);
    steps.run("control plane", |log| start_control_plane(&site, &programs, &kubectl, log))?;
    steps.run("kubelet of processes", |_| start_kubelet(&site, &programs, xtask))?;
    shim::ensure(&site, &programs, &helm_program)?;
    let helm = || program(shim::path(&site, "helm"));
    steps.run("helm install ottla", |log| helm::ensure(helm, &operator, &[], log))?;
    let kcat = Kcat::new(shim::path(&site, "kcat"));
    Ok(Lane { site, kubectl, kcat })
}

/// Puts the binaries where pods find them; returns the operator's.
fn place_binaries(site: &Site, steps: &Steps) -> Result<PathBuf> {
    let directory = site.path("binaries");
    fs::create_dir_all(&directory).with_context(|| format!("create {}", directory.display()))?;
    let [broker, operator] = images::binaries(steps)?;
    place_binary(&broker, &directory)?;
    place_binary(&operator, &directory)
}

fn place_binary(binary: &Path, directory: &Path) -> Result<PathBuf> {
    let place = directory.join(binary.file_name().context("a binary without a name")?);
    if !program("cmp").arg("-s").arg(binary).arg(&place).succeeds() {
        // By another name first: what runs keeps its file, and a link to it stays whole.
        let unfinished = place.with_extension("unfinished");
        fs::copy(binary, &unfinished).with_context(|| format!("copy {}", binary.display()))?;
        fs::rename(&unfinished, &place).with_context(|| format!("move {} into place", place.display()))?;
    }
    Ok(place)
}

fn start_control_plane(site: &Site, programs: &Programs, kubectl: &Kubectl, log: &Log) -> Result<()> {
    control_group::create(&format!("{}/system", site.control_group()))?;
    network::ensure_fabric(site, log)?;
    let certificates = Certificates::ensure(site, 0, log)?;
    control_plane::ensure_api_server(site, programs, &certificates)?;
    control_plane::ensure_controllers(site, programs, &certificates)?;
    let mut manifests = format!("{}---{}", dns::ROLES, storage::CLASS_MANIFEST);
    for node in Node::first(kubelet::NODES) {
        manifests.push_str(&storage::volumes(site, node)?);
    }
    kubectl.apply(&manifests)?;
    dns::ensure(site, programs, &certificates)
}

/// The kubelet, and one kube-proxy in the fabric: all traffic to Services comes by there, because it is the
/// gateway of every pod.
fn start_kubelet(site: &Site, programs: &Programs, xtask: &Path) -> Result<()> {
    let fabric = site.fabric();
    Process::new(site, "api-proxy", fabric.clone(), &programs.kubernetes("kubectl"))
        .arg("proxy")
        .flag("kubeconfig", site.kubeconfig().display())
        .flag("port", kubelet::PROXY_PORT)
        .ensure()?;
    process::wait_until_it_answers(site, "api-proxy", PROXY_LIMIT, || {
        let url = format!("/dev/tcp/127.0.0.1/{}", kubelet::PROXY_PORT);
        fabric.program("bash").args(["-c", &format!("exec 3<>{url}")]).read().map(|_| ())
    })?;
    Process::new(site, "kubelet", fabric.clone(), xtask).arg("kubelet").arg(site.name()).ensure()?;
    fabric.program("sh").args(["-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"]).read()?;
    // Any route will do: what the fabric itself sends to a Service is turned to a pod on its way out.
    fabric.program("ip").args(["route", "replace", SERVICE_RANGE, "dev", "br0"]).read()?;
    let config = site.path("kube-proxy.yaml");
    let certificates = Certificates::of(site);
    let identity = kubeconfig::write(&site.path("kube-proxy.kubeconfig"), &certificates, "kube-proxy")?;
    write_if_changed(&config, &proxy_config(&identity))?;
    Process::new(site, "kube-proxy", fabric, &programs.kubernetes("kube-proxy"))
        .flag("config", config.display())
        .flag("hostname-override", "node1")
        .ensure()
        .map(|_| ())
}

/// As on a node, but everything is masqueraded: two pods lie on the same bridge, and an answer that did not come
/// back by way of the fabric would carry the wrong address.
fn proxy_config(identity: &Path) -> String {
    let config = json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "clientConnection": {"kubeconfig": identity},
        "mode": "nftables",
        "nftables": {"masqueradeAll": true},
        "oomScoreAdj": 0,
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
    });
    format!("{config:#}\n")
}
