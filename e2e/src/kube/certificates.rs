//! One certificate authority and a certificate for each part of a cluster.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::command::program;
use crate::kube::{API_SERVICE_ADDRESS, FABRIC_ADDRESS, Node};
use crate::site::Site;
use crate::step::Log;

/// Long enough that nobody meets the end of a development cluster.
const DAYS: &str = "3650";

/// The certificates of a site.
#[derive(Debug, Clone)]
pub struct Certificates {
    directory: PathBuf,
}

impl Certificates {
    /// Makes what is missing for the control plane and `count` nodes.
    pub fn ensure(site: &Site, count: u8, log: &Log) -> Result<Self> {
        let this = Self::of(site);
        fs::create_dir_all(&this.directory)
            .with_context(|| format!("create {}", this.directory.display()))?;
        this.ensure_authority(log)?;
        this.ensure_service_account_key(log)?;
        let names = "DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,\
                     DNS:kubernetes.default.svc.cluster.local,DNS:localhost";
        let api_server = format!("{names},IP:{API_SERVICE_ADDRESS},IP:{FABRIC_ADDRESS},IP:127.0.0.1");
        this.ensure_leaf("apiserver", "/CN=kube-apiserver", &api_server, log)?;
        this.ensure_leaf("apiserver-kubelet", "/CN=kube-apiserver-kubelet-client", "", log)?;
        this.ensure_leaf("admin", "/O=system:masters/CN=admin", "", log)?;
        for part in ["kube-controller-manager", "kube-scheduler", "kube-proxy"] {
            this.ensure_leaf(part, &format!("/CN=system:{part}"), "", log)?;
        }
        this.ensure_leaf("coredns", "/CN=coredns", "", log)?;
        for node in Node::first(count) {
            let name = node.name();
            let subject = format!("/O=system:nodes/CN=system:node:{name}");
            this.ensure_leaf(&name, &subject, &format!("DNS:{name},IP:{}", node.address()), log)?;
        }
        Ok(this)
    }

    /// Those that were made for a site.
    #[must_use]
    pub fn of(site: &Site) -> Self {
        Self { directory: site.path("pki") }
    }

    /// The certificate called `name`.
    #[must_use]
    pub fn certificate(&self, name: &str) -> PathBuf {
        self.directory.join(format!("{name}.crt"))
    }

    /// The private key called `name`.
    #[must_use]
    pub fn key(&self, name: &str) -> PathBuf {
        self.directory.join(format!("{name}.key"))
    }

    /// The public half of the key called `name`.
    #[must_use]
    pub fn public_key(&self, name: &str) -> PathBuf {
        self.directory.join(format!("{name}.pub"))
    }

    fn ensure_authority(&self, log: &Log) -> Result<()> {
        let place = self.certificate("ca");
        if place.exists() {
            return Ok(());
        }
        openssl("req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=ottla-ca")
            .args(["-days", DAYS, "-addext", "keyUsage=critical,keyCertSign,cRLSign,digitalSignature"])
            .args(["-keyout".as_ref(), self.key("ca").as_os_str()])
            .args(["-out".as_ref(), unfinished(&place).as_os_str()])
            .log(log)?;
        finish(&place)
    }

    fn ensure_service_account_key(&self, log: &Log) -> Result<()> {
        let place = self.public_key("service-accounts");
        if place.exists() {
            return Ok(());
        }
        let key = self.key("service-accounts");
        openssl("genrsa -out").arg(&key).arg("2048").log(log)?;
        openssl("rsa -pubout -in").arg(&key).arg("-out").arg(unfinished(&place)).log(log)?;
        finish(&place)
    }

    fn ensure_leaf(&self, name: &str, subject: &str, alternative_names: &str, log: &Log) -> Result<()> {
        let place = self.certificate(name);
        if place.exists() {
            return Ok(());
        }
        let request = self.directory.join(format!("{name}.csr"));
        let extensions = self.directory.join(format!("{name}.ext"));
        let mut text = String::from(
            "basicConstraints=CA:FALSE\nkeyUsage=digitalSignature,keyEncipherment\n\
             extendedKeyUsage=serverAuth,clientAuth\n",
        );
        if !alternative_names.is_empty() {
            text.push_str(&format!("subjectAltName={alternative_names}\n"));
        }
        fs::write(&extensions, text).with_context(|| format!("write {}", extensions.display()))?;
        openssl("req -new -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes")
            .args(["-subj", subject])
            .args(["-keyout".as_ref(), self.key(name).as_os_str()])
            .args(["-out".as_ref(), request.as_os_str()])
            .log(log)?;
        openssl("x509 -req -CAcreateserial")
            .args(["-days", DAYS])
            .args(["-CA".as_ref(), self.certificate("ca").as_os_str()])
            .args(["-CAkey".as_ref(), self.key("ca").as_os_str()])
            .args(["-in".as_ref(), request.as_os_str()])
            .args(["-extfile".as_ref(), extensions.as_os_str()])
            .args(["-out".as_ref(), unfinished(&place).as_os_str()])
            .log(log)?;
        finish(&place)
    }
}

fn openssl(words: &str) -> crate::command::Program {
    program("openssl").args(words.split(' '))
}

fn unfinished(place: &Path) -> PathBuf {
    place.with_extension("unfinished")
}

fn finish(place: &Path) -> Result<()> {
    fs::rename(unfinished(place), place).with_context(|| format!("move {} into place", place.display()))
}
