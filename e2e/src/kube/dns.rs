//! The cluster's name server, and name resolution for programs outside of pods.

use std::path::PathBuf;

use anyhow::Result;

use crate::kube::certificates::Certificates;
use crate::kube::{FABRIC_ADDRESS, Programs, kubeconfig};
use crate::process::Process;
use crate::site::Site;

/// Starts CoreDNS. Every name outside the cluster is refused at once: there is no way out.
pub fn ensure(site: &Site, programs: &Programs, certificates: &Certificates) -> Result<()> {
    let config = kubeconfig::write(&site.path("coredns.kubeconfig"), certificates, "coredns")?;
    let corefile = site.path("Corefile");
    // Two blocks: the answer for the rest of the world would come before the plugin `kubernetes`.
    let text = format!(
        "cluster.local:53 in-addr.arpa:53 {{\n  bind {FABRIC_ADDRESS}\n  errors\n  \
         kubernetes cluster.local in-addr.arpa {{\n    kubeconfig {}\n    ttl 2\n  }}\n  cache 2\n}}\n\
         .:53 {{\n  bind {FABRIC_ADDRESS}\n  template ANY ANY . {{\n    rcode NXDOMAIN\n  }}\n}}\n",
        config.display()
    );
    kubeconfig::write_if_changed(&corefile, &text)?;
    write_resolver_files(site)?;
    Process::new(site, "coredns", site.fabric(), programs.coredns())
        .arg("-conf")
        .arg(corefile.display())
        .ensure()
        .map(|_| ())
}

/// The `resolv.conf` of programs that run in the site's network but not in a pod.
#[must_use]
pub fn resolver_file(site: &Site) -> PathBuf {
    site.path("resolv.conf")
}

/// The `nsswitch.conf` beside it: a host may resolve through a daemon that knows nothing of the cluster.
#[must_use]
pub fn switch_file(site: &Site) -> PathBuf {
    site.path("nsswitch.conf")
}

fn write_resolver_files(site: &Site) -> Result<()> {
    let resolver = format!(
        "nameserver {FABRIC_ADDRESS}\nsearch default.svc.cluster.local svc.cluster.local cluster.local\n\
         options ndots:5\n"
    );
    kubeconfig::write_if_changed(&resolver_file(site), &resolver)?;
    kubeconfig::write_if_changed(&switch_file(site), "hosts: files dns\n")
}

/// What the parts of the cluster may do besides what Kubernetes grants by itself.
pub const ROLES: &str = "
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: ottla-site-apiserver-kubelet}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: system:kubelet-api-admin}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: kube-apiserver-kubelet-client}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: ottla-site-coredns}
rules:
- {apiGroups: [''], resources: [services, pods, namespaces], verbs: [list, watch]}
- {apiGroups: [discovery.k8s.io], resources: [endpointslices], verbs: [list, watch]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: ottla-site-coredns}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: ottla-site-coredns}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: coredns}]
";
