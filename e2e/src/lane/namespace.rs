//! A namespace of a lane's cluster, and what a test does in it.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::command::{Answer, Program, kill, program, wait_until};
use crate::control_group;
use crate::lane::Lane;
use crate::quickstart;

/// The spec of the cluster that most tests begin with.
pub const THREE_BROKERS: &str = "{replicas: 3, storage: {size: 1Gi}}";
/// Far more than anything takes: a machine that compiles at the same time is slow.
pub const LIMIT: Duration = Duration::from_secs(180);
/// How often a test asks again.
const INTERVAL: Duration = Duration::from_millis(250);

/// A namespace and what a test does in it.
#[derive(Debug)]
pub struct Namespace<'a> {
    lane: &'a Lane,
    name: String,
}

impl<'a> Namespace<'a> {
    /// A fresh namespace: one of that name that is there is removed first.
    pub(super) fn create(lane: &'a Lane, name: &str) -> Result<Self> {
        let namespace = Self { lane, name: name.to_owned() };
        namespace.remove()?;
        lane.kubectl.read(&["create", "namespace", name])?;
        Ok(namespace)
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// `kubectl` with this namespace as default.
    pub fn kubectl(&self, words: &[&str]) -> Result<String> {
        let mut all = vec!["--namespace", self.name.as_str()];
        all.extend(words);
        self.lane.kubectl.read(&all)
    }

    /// An object (or a list) as JSON.
    pub fn object(&self, words: &[&str]) -> Result<Value> {
        let mut all = vec!["--namespace", self.name.as_str()];
        all.extend(words);
        self.lane.kubectl.object(&all)
    }

    /// Applies a manifest as a user would.
    pub fn apply(&self, manifest: &str) -> Result<()> {
        let words = ["--namespace", self.name.as_str(), "apply", "-f", "-"];
        self.lane.kubectl.program(&words).stdin(manifest).read().map(|_| ())
    }

    /// Applies a `KafkaCluster` called `my` with `spec` (YAML in braces).
    pub fn apply_cluster(&self, spec: &str) -> Result<()> {
        self.apply(&manifest("KafkaCluster", "my", spec))
    }

    /// Applies a `KafkaTopic` of the cluster `my` with as many partitions.
    pub fn apply_topic(&self, name: &str, partitions: u32) -> Result<()> {
        let spec = format!("{{clusterRef: {{name: my}}, partitions: {partitions}, replicas: 1}}");
        self.apply(&manifest("KafkaTopic", name, &spec))
    }

    /// Applies what most tests begin with, three brokers called `my` and the topic `orders` of six partitions, and
    /// waits until both are Ready.
    pub fn start_cluster(&self) -> Result<()> {
        self.apply_cluster(THREE_BROKERS)?;
        self.apply_topic("orders", 6)?;
        self.wait_ready("kafkacluster/my")?;
        self.wait_ready("kafkatopic/orders")
    }

    /// Waits for an object's condition `Ready`.
    pub fn wait_ready(&self, object: &str) -> Result<()> {
        self.lane.kubectl.wait(&self.name, object, "condition=Ready", LIMIT).or_else(|error| {
            let seen = self.kubectl(&["get", object, "-o", "yaml"]).unwrap_or_default();
            let pods = self.kubectl(&["get", "pods", "-o", "wide"]).unwrap_or_default();
            bail!("{error:#}\n{seen}\n{pods}")
        })
    }

    /// Waits until `question` about an object holds.
    pub fn wait_for(&self, what: &str, object: &str, question: impl Fn(&Value) -> bool) -> Result<Value> {
        let mut last = Value::Null;
        wait_until(what, LIMIT, INTERVAL, || match self.object(&[object]) {
            Ok(value) => {
                let holds = question(&value);
                let text = format!("{:#}", value["status"]);
                last = value;
                if holds { Answer::Yes } else { Answer::NotYet(text) }
            }
            Err(error) => Answer::NotYet(format!("{error:#}")),
        })?;
        Ok(last)
    }

    /// The address of one broker of the cluster `my`.
    #[must_use]
    pub fn broker(&self, ordinal: u32) -> String {
        quickstart::broker_address("my", &self.name, ordinal)
    }

    /// The addresses of the three brokers that [`Namespace::start_cluster`] starts: of these a client finds one
    /// whichever are away.
    #[must_use]
    pub fn brokers(&self) -> String {
        [0, 1, 2].map(|ordinal| self.broker(ordinal)).join(",")
    }

    /// The address clients start from.
    #[must_use]
    pub fn bootstrap(&self) -> String {
        quickstart::bootstrap_address("my", &self.name)
    }

    /// Kills the process of a broker without a word, as a crash would.
    pub fn crash(&self, pod: &str) -> Result<()> {
        self.signal(pod, "KILL")
    }

    /// Sends a signal to the process of a broker: `STOP` freezes it, `CONT` lets it go on.
    pub fn signal(&self, pod: &str, signal: &str) -> Result<()> {
        let id = self.process(pod)?;
        kill(signal, [id])
    }

    /// Cuts a broker off: no packet reaches it or leaves it. Connections stay open on both sides.
    pub fn cut_off(&self, pod: &str) -> Result<()> {
        let rules = "table inet cut {\n\
                     chain input { type filter hook input priority 0; iifname != \"lo\" drop; }\n\
                     chain output { type filter hook output priority 0; oifname != \"lo\" drop; }\n}\n";
        self.in_network_of(pod, &["nft", "-f", "-"])?.stdin(rules).read().map(|_| ())
    }

    /// Lets a broker that was cut off back on the network.
    pub fn reconnect(&self, pod: &str) -> Result<()> {
        self.in_network_of(pod, &["nft", "delete", "table", "inet", "cut"])?.read().map(|_| ())
    }

    fn in_network_of(&self, pod: &str, words: &[&str]) -> Result<Program> {
        let network = format!("--net=/proc/{}/ns/net", self.process(pod)?);
        Ok(program("nsenter").arg(network).arg("--").args(words))
    }

    fn process(&self, pod: &str) -> Result<u32> {
        let wanted = [format!("POD_NAME={pod}"), format!("POD_NAMESPACE={}", self.name)];
        let processes = control_group::processes(&self.lane.site.control_group())?;
        let found = processes.into_iter().find(|id| {
            let environment = fs::read(format!("/proc/{id}/environ")).unwrap_or_default();
            wanted
                .iter()
                .all(|entry| environment.split(|byte| *byte == 0).any(|have| have == entry.as_bytes()))
        });
        found.with_context(|| format!("no process of the pod {pod} runs"))
    }

    /// Removes the namespace with everything in it and makes its volumes usable again.
    ///
    /// Our objects go first, and their pods: a namespace that is deleted with pods in it looks again only
    /// after half of their grace period, which is two and a half minutes.
    pub fn remove(&self) -> Result<()> {
        let limit = format!("--timeout={}s", LIMIT.as_secs());
        if !self.lane.kubectl.program(&["get", "namespace", &self.name]).succeeds() {
            return self.recycle_volumes();
        }
        self.kubectl(&["delete", "kafkatopics,kafkaclusters", "--all", &limit])?;
        self.kubectl(&["wait", "pods", "--all", "--for=delete", &limit])?;
        self.lane.kubectl.read(&[
            "delete",
            "namespace",
            &self.name,
            "--ignore-not-found",
            "--wait",
            &limit,
        ])?;
        self.recycle_volumes()
    }

    /// Empties the volumes that claims of this namespace have left and offers them again.
    fn recycle_volumes(&self) -> Result<()> {
        let volumes = self.lane.kubectl.object(&["persistentvolumes"])?;
        for volume in volumes["items"].as_array().into_iter().flatten() {
            if volume["spec"]["claimRef"]["namespace"] != self.name.as_str() {
                continue;
            }
            let path = volume["spec"]["local"]["path"].as_str().context("a volume without a path")?;
            fs::remove_dir_all(path).with_context(|| format!("empty {path}"))?;
            fs::create_dir_all(path).with_context(|| format!("create {path}"))?;
            let name = volume["metadata"]["name"].as_str().context("a volume without a name")?;
            let patch = r#"[{"op": "remove", "path": "/spec/claimRef"}]"#;
            self.lane.kubectl.read(&["patch", "persistentvolume", name, "--type=json", "-p", patch])?;
        }
        Ok(())
    }
}

fn manifest(kind: &str, name: &str, spec: &str) -> String {
    format!("{{apiVersion: ottla.dev/v1alpha1, kind: {kind}, metadata: {{name: {name}}}, spec: {spec}}}\n")
}

/// The status of an object's condition, empty if it has none of that type.
#[must_use]
pub fn condition<'a>(object: &'a Value, kind: &str) -> &'a str {
    field(object, kind, "status")
}

/// What an object's condition says to people.
#[must_use]
pub fn message<'a>(object: &'a Value, kind: &str) -> &'a str {
    field(object, kind, "message")
}

fn field<'a>(object: &'a Value, kind: &str, name: &str) -> &'a str {
    let conditions = object["status"]["conditions"].as_array();
    let found = conditions.into_iter().flatten().find(|condition| condition["type"] == kind);
    found.and_then(|condition| condition[name].as_str()).unwrap_or_default()
}
