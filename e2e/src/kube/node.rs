//! A node: containerd, kubelet and kube-proxy in a network of their own.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::json;

use crate::command::{Program, program};
use crate::control_group;
use crate::kube::certificates::Certificates;
use crate::kube::kubeconfig::{self, write_if_changed};
use crate::kube::shared;
use crate::kube::{FABRIC_ADDRESS, Node, POD_RANGE, Programs};
use crate::process::{self, Process};
use crate::registry;
use crate::site::Site;
use crate::step::Log;

/// containerd answers within a second here.
const CONTAINERD_LIMIT: Duration = Duration::from_secs(30);
/// The image of the container that holds a pod's namespaces.
pub const PAUSE_IMAGE: &str = "localhost/ottla/pause:1";

/// Starts containerd on the node and waits for it to answer.
pub fn ensure_containerd(site: &Site, node: Node) -> Result<()> {
    shared::raise_watch_limit(site)?;
    control_group::create(&format!("{}/{}", site.control_group(), node.name()))?;
    let directory = directory(site, node);
    let config = directory.join("containerd.toml");
    write_if_changed(&config, &containerd_config(site, node)?)?;
    write_if_changed(&directory.join("cni/10-ottla.conflist"), &cni_config(node, &directory))?;
    let plain_http =
        format!("[host.\"http://{}\"]\n  capabilities = [\"pull\", \"resolve\"]\n", registry::ADDRESS);
    write_if_changed(&registries(&directory).join(registry::ADDRESS).join("hosts.toml"), &plain_http)?;
    let name = format!("{}-containerd", node.name());
    Process::new(site, &name, site.node_network(&node.name()), Path::new("/usr/bin/containerd"))
        .arg("--config")
        .arg(config.display())
        .ensure()?;
    process::wait_until_it_answers(site, &name, CONTAINERD_LIMIT, || {
        ctr(site, node).arg("version").read().map(|_| ())
    })
}

/// Starts kubelet and kube-proxy on the node.
pub fn ensure_agents(
    site: &Site,
    node: Node,
    programs: &Programs,
    certificates: &Certificates,
) -> Result<()> {
    let (name, directory) = (node.name(), directory(site, node));
    let config = directory.join("kubelet.yaml");
    write_if_changed(&config, &kubelet_config(site, node, certificates))?;
    let identity = kubeconfig::write(&directory.join("kubelet.kubeconfig"), certificates, &name)?;
    Process::new(site, &kubelet_name(node), site.node_network(&name), &programs.kubernetes("kubelet"))
        .flag("config", config.display())
        .flag("kubeconfig", identity.display())
        .flag("root-dir", directory.join("kubelet").display())
        .flag("hostname-override", &name)
        .flag("node-ip", node.address())
        .flag("node-labels", format!("topology.kubernetes.io/zone={}", node.zone()))
        .ensure()?;
    let config = directory.join("kube-proxy.yaml");
    let identity = kubeconfig::write(&directory.join("kube-proxy.kubeconfig"), certificates, "kube-proxy")?;
    write_if_changed(&config, &proxy_config(&identity))?;
    Process::new(site, &format!("{name}-proxy"), site.node_network(&name), &programs.kubernetes("kube-proxy"))
        .flag("config", config.display())
        .flag("hostname-override", &name)
        .ensure()
        .map(|_| ())
}

/// Whether the node's kubelet runs.
pub fn kubelet_runs(site: &Site, node: Node) -> bool {
    process::is_running(site, &kubelet_name(node))
}

/// The log of the node's kubelet.
pub fn kubelet_log(site: &Site, node: Node) -> PathBuf {
    process::log_path(site, &kubelet_name(node))
}

fn kubelet_name(node: Node) -> String {
    format!("{}-kubelet", node.name())
}

/// Makes the image in `archive` known to the node's containerd, unless that very file is. Returns whether
/// it was loaded.
pub fn load_image(site: &Site, node: Node, archive: &Path, log: &Log) -> Result<bool> {
    let file_name = archive.file_name().context("an image archive without a file name")?;
    let loaded = directory(site, node).join("images").join(file_name);
    let kind = fs::metadata(archive).with_context(|| format!("look at {}", archive.display()))?;
    let input = format!("{} {} {:?}", archive.display(), kind.len(), kind.modified()?);
    if fs::read_to_string(&loaded).is_ok_and(|current| current == input) {
        return Ok(false);
    }
    ctr(site, node).args(["images", "import"]).arg(archive).log(log)?;
    write_if_changed(&loaded, &input)?;
    Ok(true)
}

/// `ctr` against the node's containerd, in Kubernetes' namespace of it.
pub fn ctr(site: &Site, node: Node) -> Program {
    program("ctr").arg("--address").arg(containerd_socket(site, node)).args(["--namespace", "k8s.io"])
}

fn directory(site: &Site, node: Node) -> PathBuf {
    site.path(&node.name())
}

/// What containerd knows of registries: a directory each.
fn registries(directory: &Path) -> PathBuf {
    directory.join("registries")
}

fn containerd_socket(site: &Site, node: Node) -> PathBuf {
    directory(site, node).join("containerd.sock")
}

/// `restrict_oom_score_adj` and `oom_score = 0` let it work without the right to make processes less
/// likely to be killed; `netns_mounts_under_state_dir` keeps the networks of pods below the site's
/// directory, where tear-down looks.
fn containerd_config(site: &Site, node: Node) -> Result<String> {
    let directory = directory(site, node).display().to_string();
    let socket = containerd_socket(site, node).display().to_string();
    let snapshotter = snapshotter(site)?;
    let registries = registries(&self::directory(site, node)).display().to_string();
    Ok(format!(
        r#"version = 2
root = "{directory}/containerd"
state = "{directory}/run"
oom_score = 0
[grpc]
  address = "{socket}"
[plugins."io.containerd.internal.v1.opt"]
  path = "{directory}/opt"
[plugins."io.containerd.grpc.v1.cri"]
  restrict_oom_score_adj = true
  sandbox_image = "{PAUSE_IMAGE}"
  stream_server_address = "127.0.0.1"
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "{snapshotter}"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = "{registries}"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{directory}/cni"
"#
    ))
}

/// The overlay file system cannot lie on itself, which is what a container's own root often is.
fn snapshotter(site: &Site) -> Result<&'static str> {
    let kind = program("stat").args(["-f", "-c", "%T"]).arg(site.directory()).read()?;
    Ok(if kind.trim() == "overlayfs" { "native" } else { "overlayfs" })
}

fn cni_config(node: Node, directory: &Path) -> String {
    let config = json!({
        "cniVersion": "0.4.0",
        "name": "ottla",
        "plugins": [
            {
                "type": "bridge",
                "bridge": "cni0",
                "isGateway": true,
                "hairpinMode": true,
                "ipMasq": false,
                "ipam": {
                    "type": "host-local",
                    "dataDir": directory.join("cni-addresses"),
                    "ranges": [[{"subnet": node.pod_range()}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": true}},
        ],
    });
    format!("{config:#}\n")
}

fn kubelet_config(site: &Site, node: Node, certificates: &Certificates) -> String {
    let directory = directory(site, node);
    let config = json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "containerRuntimeEndpoint": format!("unix://{}", containerd_socket(site, node).display()),
        "cgroupDriver": "cgroupfs",
        // Kubelets that share a root kill each other's pods.
        "cgroupRoot": format!("/{}/{}", site.control_group(), node.name()),
        "failCgroupV1": false,
        "failSwapOn": false,
        "oomScoreAdj": 0,
        "maxOpenFiles": 20_000,
        "clusterDomain": "cluster.local",
        "clusterDNS": [FABRIC_ADDRESS],
        // Not the host's: its name servers cannot be reached from here.
        "resolvConf": site.path("resolv-node.conf"),
        "authentication": {
            "anonymous": {"enabled": false},
            "webhook": {"enabled": true},
            "x509": {"clientCAFile": certificates.certificate("ca")},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": certificates.certificate(&node.name()),
        "tlsPrivateKeyFile": certificates.key(&node.name()),
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        // An image that was collected cannot be pulled again.
        "imageGCHighThresholdPercent": 100,
        "makeIPTablesUtilChains": false,
        "nodeStatusUpdateFrequency": "4s",
        "nodeLeaseDurationSeconds": 10,
        "podLogsDir": directory.join("pods"),
        "volumePluginDir": directory.join("volume-plugins"),
    });
    format!("{config:#}\n")
}

/// The limits of connection tracking are zeros because they cannot be set inside a network namespace.
fn proxy_config(identity: &Path) -> String {
    let config = json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "clientConnection": {"kubeconfig": identity},
        "mode": "nftables",
        "clusterCIDR": POD_RANGE,
        "oomScoreAdj": 0,
        "conntrack": {
            "maxPerCore": 0,
            "min": 0,
            "tcpEstablishedTimeout": "0s",
            "tcpCloseWaitTimeout": "0s",
        },
    });
    format!("{config:#}\n")
}
