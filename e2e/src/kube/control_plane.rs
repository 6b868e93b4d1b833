//! etcd, API server, controller manager and scheduler of a site.

use std::time::Duration;

use anyhow::Result;

use crate::kube::certificates::Certificates;
use crate::kube::{FABRIC_ADDRESS, Programs, SERVICE_RANGE, kubeconfig};
use crate::kubectl::Kubectl;
use crate::process::{self, Process};
use crate::site::Site;

const ETCD: &str = "http://127.0.0.1:2379";
/// The API server is up in 5 to 35 s here; in 70 s where a release is compiled beside it.
const API_SERVER_LIMIT: Duration = Duration::from_secs(180);

/// Starts etcd and the API server and waits for it to answer.
pub fn ensure_api_server(site: &Site, programs: &Programs, certificates: &Certificates) -> Result<()> {
    ensure_etcd(site, programs)?;
    let leaf = |name: &str| (certificates.certificate(name), certificates.key(name));
    let (certificate, key) = leaf("apiserver");
    let (client_certificate, client_key) = leaf("apiserver-kubelet");
    Process::new(site, "kube-apiserver", site.fabric(), &programs.kubernetes("kube-apiserver"))
        .flag("etcd-servers", ETCD)
        .flag("advertise-address", FABRIC_ADDRESS)
        .flag("secure-port", 6443)
        .flag("allow-privileged", true)
        .flag("authorization-mode", "Node,RBAC")
        .flag("enable-admission-plugins", "NodeRestriction")
        .flag("service-cluster-ip-range", SERVICE_RANGE)
        .flag("tls-cert-file", certificate.display())
        .flag("tls-private-key-file", key.display())
        .flag("client-ca-file", certificates.certificate("ca").display())
        .flag("kubelet-certificate-authority", certificates.certificate("ca").display())
        .flag("kubelet-client-certificate", client_certificate.display())
        .flag("kubelet-client-key", client_key.display())
        .flag("kubelet-preferred-address-types", "InternalIP")
        .flag("service-account-issuer", "https://kubernetes.default.svc.cluster.local")
        .flag("service-account-key-file", certificates.public_key("service-accounts").display())
        .flag("service-account-signing-key-file", certificates.key("service-accounts").display())
        // A pod leaves a dead node after this many seconds (300 by default): tests wait for it.
        .flag("default-not-ready-toleration-seconds", 15)
        .flag("default-unreachable-toleration-seconds", 15)
        .flag("audit-policy-file", write_audit_policy(site)?)
        .flag("audit-log-path", site.logs().join("audit.log").display())
        .flag("audit-log-maxsize", 100)
        .flag("audit-log-maxbackup", 1)
        .ensure()?;
    kubeconfig::write(&site.kubeconfig(), certificates, "admin")?;
    let kubectl = Kubectl::of_site(site, programs);
    process::wait_until_it_answers(site, "kube-apiserver", API_SERVER_LIMIT, || {
        kubectl.read(&["get", "--raw", "/readyz"]).map(|_| ())
    })
}

/// Starts the controller manager and the scheduler.
pub fn ensure_controllers(site: &Site, programs: &Programs, certificates: &Certificates) -> Result<()> {
    for name in ["kube-controller-manager", "kube-scheduler"] {
        let place = site.path(&format!("{name}.kubeconfig"));
        let config = kubeconfig::write(&place, certificates, name)?;
        let mut process = Process::new(site, name, site.fabric(), &programs.kubernetes(name))
            .flag("kubeconfig", config.display())
            .flag("authentication-kubeconfig", config.display())
            .flag("authorization-kubeconfig", config.display())
            .flag("bind-address", "127.0.0.1")
            .flag("leader-elect", false);
        if name == "kube-controller-manager" {
            process = process
                .flag("root-ca-file", certificates.certificate("ca").display())
                .flag("service-account-private-key-file", certificates.key("service-accounts").display())
                .flag("use-service-account-credentials", true)
                .flag("cluster-signing-cert-file", certificates.certificate("ca").display())
                .flag("cluster-signing-key-file", certificates.key("ca").display())
                .flag("allocate-node-cidrs", false)
                .flag("node-monitor-period", "2s")
                .flag("node-monitor-grace-period", "16s");
        }
        process.ensure()?;
    }
    Ok(())
}

fn ensure_etcd(site: &Site, programs: &Programs) -> Result<()> {
    Process::new(site, "etcd", site.fabric(), programs.etcd())
        .flag("data-dir", site.path("etcd").display())
        .flag("listen-client-urls", ETCD)
        .flag("advertise-client-urls", ETCD)
        .flag("listen-peer-urls", "http://127.0.0.1:2380")
        .arg("--unsafe-no-fsync")
        .ensure()?;
    Ok(())
}

/// Who wrote what, one line per write: how a test counts the operator's writes.
fn write_audit_policy(site: &Site) -> Result<String> {
    let place = site.path("audit-policy.yaml");
    let policy = "apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\nrules:\n\
                  - {level: None, users: [system:apiserver, system:kube-controller-manager, system:kube-scheduler]}\n\
                  - {level: None, userGroups: [system:nodes]}\n\
                  - {level: Metadata, verbs: [create, update, patch, delete, deletecollection]}\n";
    kubeconfig::write_if_changed(&place, policy)?;
    Ok(place.display().to_string())
}
