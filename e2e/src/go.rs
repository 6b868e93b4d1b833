//! Programs built from Go modules.
//!
//! Each lives in `e2e/go/<name>` as a module of its own that pins the program and everything below it
//! (`go.mod`, `go.sum`) and names it under `tool`; it is built with `-mod=readonly` and no C compiler.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use crate::cache;
use crate::command::program;
use crate::repository;
use crate::step::Steps;

/// One wrapper module and the module whose version names its cache entry.
#[derive(Debug, Clone, Copy)]
pub struct Module {
    /// Directory below `e2e/go` and name in the cache.
    pub name: &'static str,
    /// The Go module it wraps.
    pub path: &'static str,
    /// What a first build takes, so that nobody thinks it hangs.
    pub first_build: &'static str,
}

/// The Kubernetes programs of a control plane and a node, and kubectl.
pub const KUBERNETES: Module =
    Module { name: "kubernetes", path: "k8s.io/kubernetes", first_build: "about 7 minutes" };
/// The API server's database.
pub const ETCD: Module = Module { name: "etcd", path: "go.etcd.io/etcd/server/v3", first_build: "a minute" };
/// The cluster's name server.
pub const COREDNS: Module =
    Module { name: "coredns", path: "github.com/coredns/coredns", first_build: "about 3 minutes" };
/// Installs the chart.
pub const HELM: Module = Module { name: "helm", path: "helm.sh/helm/v4", first_build: "about 3 minutes" };
/// The major release before, which many still use.
pub const HELM_3: Module = Module { name: "helm3", path: "helm.sh/helm/v3", first_build: "about 2 minutes" };

impl Module {
    /// The version that the wrapper's `go.mod` asks for, without the leading `v`.
    pub fn version(&self) -> Result<String> {
        let file = self.directory().join("go.mod");
        let text = fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
        version_in(&text, self.path)
            .with_context(|| format!("{} does not require {}", file.display(), self.path))
    }

    /// The directory with the built programs; builds them if the cache does not hold them.
    pub fn ensure(&self, steps: &Steps) -> Result<PathBuf> {
        let version = self.version()?;
        cache::entry(self.name, &version, |directory| {
            let title = format!("build {} {version} ({} the first time)", self.name, self.first_build);
            steps.run(&title, |log| {
                if !program("go").arg("version").succeeds() {
                    bail!("go is not installed or not on the path: Go 1.24 or newer is needed");
                }
                program("go")
                    .args(["build", "-mod=readonly", "-trimpath", "-buildvcs=false", "-ldflags"])
                    .arg(self.linker_flags(&version))
                    .arg("-o")
                    .arg(directory)
                    .arg("tool")
                    .env("CGO_ENABLED", "0")
                    .directory(&self.directory())
                    .log(log)
            })
        })
    }

    fn directory(&self) -> PathBuf {
        repository::root().join("e2e/go").join(self.name)
    }

    /// Kubernetes must be told its version: unstamped, the API server calls itself `v0.0.0-master`, which
    /// breaks helm's `kubeVersion` and the version-skew checks.
    fn linker_flags(&self, version: &str) -> String {
        let mut flags = String::from("-s -w");
        if self.name == KUBERNETES.name {
            let mut numbers = version.split('.');
            let major = numbers.next().unwrap_or_default();
            let minor = numbers.next().unwrap_or_default();
            for package in ["k8s.io/component-base/version", "k8s.io/client-go/pkg/version"] {
                flags.push_str(&format!(
                    " -X {package}.gitVersion=v{version} -X {package}.gitMajor={major} \
                     -X {package}.gitMinor={minor} -X {package}.gitTreeState=clean \
                     -X {package}.buildDate=2026-01-01T00:00:00Z"
                ));
            }
        }
        flags
    }
}

fn version_in(go_mod: &str, module: &str) -> Option<String> {
    go_mod
        .lines()
        .map(|line| line.trim().trim_start_matches("require ").trim())
        .filter(|line| !line.contains("=>"))
        .find_map(|line| {
            let mut words = line.split_whitespace();
            (words.next() == Some(module)).then(|| words.next())?
        })
        .map(|version| version.trim_start_matches('v').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_found_in_a_block_and_in_a_line_of_its_own_but_not_in_a_replacement() {
        let go_mod = "require (\n\tx.io/a v1.2.3 // indirect\n)\nrequire x.io/b v0.1.0\nreplace x.io/c => x.io/c v9.0.0\n";
        assert_eq!(version_in(go_mod, "x.io/a").as_deref(), Some("1.2.3"));
        assert_eq!(version_in(go_mod, "x.io/b").as_deref(), Some("0.1.0"));
        assert_eq!(version_in(go_mod, "x.io/c"), None);
    }

    #[test]
    fn every_wrapper_module_names_its_version() {
        for module in [KUBERNETES, ETCD, COREDNS, HELM, HELM_3] {
            let version = module.version().unwrap();
            assert!(version.starts_with(|c: char| c.is_ascii_digit()), "{}: {version}", module.name);
        }
    }
}
