//! Debian packages the harness needs.

use std::path::Path;

use anyhow::{Result, bail};

use crate::command::program;
use crate::step::{Log, Steps};

/// A file and the package that brings it.
type Need = (&'static str, &'static str);

/// What building the two images takes.
pub const IMAGES: &[Need] = &[
    ("/usr/bin/buildah", "buildah"),
    ("/usr/bin/cc", "gcc"),
    ("/usr/lib/x86_64-linux-gnu/libc.a", "libc6-dev"),
];

/// What checking a cluster from outside takes.
pub const CLIENTS: &[Need] = &[("/usr/bin/kcat", "kcat")];

/// What letting system calls of a process fail takes.
pub const TRACING: &[Need] = &[("/usr/bin/strace", "strace")];

/// What running processes under faults takes.
pub const FAULTS: &[Need] = &[
    ("/usr/lib/python3/dist-packages/confluent_kafka/__init__.py", "python3-confluent-kafka"),
    ("/usr/sbin/iptables", "iptables"),
    ("/bin/ip", "iproute2"),
    ("/usr/bin/nsenter", "util-linux"),
    ("/bin/mount", "mount"),
    ("/sbin/mkfs.ext4", "e2fsprogs"),
    ("/usr/bin/nbdkit", "nbdkit"),
    ("/usr/bin/nbdfuse", "libnbd-bin"),
    ("/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1", "libfaketime"),
    ("/usr/bin/wirefilter", "vde-wirefilter"),
    ("/usr/bin/dpipe", "vdeplug"),
];

/// What building librdkafka and its tests takes.
pub const LIBRDKAFKA: &[Need] = &[
    ("/usr/bin/gcc", "gcc"),
    ("/usr/bin/g++", "g++"),
    ("/usr/bin/make", "make"),
    ("/usr/bin/python3", "python3"),
    ("/usr/include/zlib.h", "zlib1g-dev"),
    ("/usr/include/zstd.h", "libzstd-dev"),
    ("/usr/include/rapidjson/schema.h", "rapidjson-dev"),
];

/// What running Kafka's own tools takes.
pub const JAVA: &[Need] = &[("/usr/bin/java", "default-jre-headless")];

/// What fetching them takes.
pub const MAVEN: &[Need] = &[("/usr/bin/mvn", "maven")];

/// What a registry for images takes.
pub const REGISTRY: &[Need] = &[("/usr/bin/docker-registry", "docker-registry")];

/// What running Kubernetes nodes takes.
pub const KUBERNETES: &[Need] = &[
    ("/usr/bin/containerd", "containerd"),
    ("/usr/sbin/runc", "runc"),
    ("/usr/lib/cni/bridge", "containernetworking-plugins"),
    ("/usr/sbin/iptables", "iptables"),
    ("/usr/sbin/nft", "nftables"),
    ("/bin/ip", "iproute2"),
    ("/usr/sbin/conntrack", "conntrack"),
    ("/usr/bin/socat", "socat"),
    ("/bin/mount", "mount"),
    ("/usr/bin/nsenter", "util-linux"),
    ("/usr/bin/openssl", "openssl"),
    ("/bin/busybox", "busybox-static"),
];

/// Installs the packages whose file is not there; asks nothing when there is nothing to do.
pub fn ensure(steps: &Steps, needs: &[&[Need]]) -> Result<()> {
    let mut missing: Vec<&str> = needs
        .iter()
        .flat_map(|group| group.iter())
        .filter(|(file, _)| !Path::new(file).exists())
        .map(|(_, package)| *package)
        .collect();
    missing.dedup();
    if missing.is_empty() {
        return Ok(());
    }
    if !Path::new("/usr/bin/apt-get").exists() {
        bail!("this is not a Debian system: install {} and start again", missing.join(", "));
    }
    steps.run(&format!("install {}", missing.join(" ")), |log| install(log, &missing))
}

fn install(log: &Log, packages: &[&str]) -> Result<()> {
    let apt = || program("apt-get").env("DEBIAN_FRONTEND", "noninteractive");
    apt().args(["update", "-q"]).log(log)?;
    apt().args(["install", "-q", "-y", "--no-install-recommends"]).args(packages).log(log)
}
