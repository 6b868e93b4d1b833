//! A real Kubernetes in network namespaces: one control plane and any number of nodes.
//!
//! The network `ottla-<site>` holds a bridge, etcd, the API server, controller manager, scheduler, name
//! server and the tests; each node is a network of its own with a containerd, a kubelet and a kube-proxy.
//! No network has a way out of the machine.

pub mod certificates;
pub mod cluster;
pub mod control_plane;
pub mod dns;
pub mod kubeconfig;
pub mod network;
pub mod node;
mod shared;
pub mod storage;
pub mod teardown;

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::go;
use crate::step::Steps;

/// The node a number stands for: `node1`, `node2` and so on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Node {
    /// From 1.
    pub number: u8,
}

impl Node {
    /// The nodes of a cluster of `count`.
    pub fn first(count: u8) -> impl Iterator<Item = Self> {
        (1..=count).map(|number| Self { number })
    }

    /// Its name in Kubernetes and in paths.
    #[must_use]
    pub fn name(self) -> String {
        format!("node{}", self.number)
    }

    /// Its address on the bridge.
    #[must_use]
    pub fn address(self) -> String {
        format!("172.30.0.{}", 10 + self.number)
    }

    /// The addresses of its pods.
    #[must_use]
    pub fn pod_range(self) -> String {
        format!("10.244.{}.0/24", self.number)
    }

    /// Its availability zone: one per node.
    #[must_use]
    pub fn zone(self) -> String {
        format!("z{}", self.number)
    }
}

/// The address of the control plane and name server on the bridge.
pub const FABRIC_ADDRESS: &str = "172.30.0.1";
/// All pods.
pub const POD_RANGE: &str = "10.244.0.0/16";
/// All Services.
pub const SERVICE_RANGE: &str = "10.96.0.0/16";
/// The Service `kubernetes`: the first address of the range.
pub const API_SERVICE_ADDRESS: &str = "10.96.0.1";
/// Where the API server listens.
pub const API_SERVER: &str = "https://172.30.0.1:6443";

/// The programs a cluster is made of.
#[derive(Debug, Clone)]
pub struct Programs {
    kubernetes: PathBuf,
    etcd: PathBuf,
    coredns: PathBuf,
}

impl Programs {
    /// Builds what the cache does not hold.
    pub fn ensure(steps: &Steps) -> Result<Self> {
        Ok(Self {
            kubernetes: go::KUBERNETES.ensure(steps)?,
            etcd: go::ETCD.ensure(steps)?.join("server"),
            coredns: go::COREDNS.ensure(steps)?.join("coredns"),
        })
    }

    /// One of the Kubernetes programs, such as `kubelet`.
    #[must_use]
    pub fn kubernetes(&self, name: &str) -> PathBuf {
        self.kubernetes.join(name)
    }

    /// etcd.
    #[must_use]
    pub fn etcd(&self) -> &Path {
        &self.etcd
    }

    /// CoreDNS.
    #[must_use]
    pub fn coredns(&self) -> &Path {
        &self.coredns
    }
}
