//! One pod through its life: started, probed, restarted, ended, and reported.

use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::{Value, json};

use super::api::Api;
use super::container::Container;
use super::node;
use super::probe::{Opinion, Probe};
use super::sandbox::Sandbox;
use crate::kube::Node;
use crate::site::Site;
use crate::step::say;

/// How long a container that ended waits for its next start: nothing the first time, then this, doubled each
/// time. Shorter than the real kubelet's 10 s to 5 min, so that hundreds of failures fit into minutes.
const RESTART_DELAY_MIN: Duration = Duration::from_millis(250);
const RESTART_DELAY_MAX: Duration = Duration::from_secs(2);
/// A container that ran as long as this has earned a restart without delay.
const STABLE_AFTER: Duration = Duration::from_secs(10);

/// A pod that this kubelet runs.
#[derive(Debug)]
pub(super) struct Instance {
    site: Site,
    sandbox: Sandbox,
    container: Option<Container>,
    probes: Probes,
    started_at: String,
    restarts: u32,
    quick_failures: u32,
    ended: Option<(Instant, i32)>,
    terminating: Option<Instant>,
    published: Value,
    trouble: String,
}

#[derive(Debug, Default)]
struct Probes {
    startup: Option<Probe>,
    readiness: Option<Probe>,
    liveness: Option<Probe>,
    started: bool,
    ready: bool,
}

impl Instance {
    pub(super) fn new(site: &Site, number: u16) -> Self {
        Self {
            site: site.clone(),
            sandbox: Sandbox::new(site, number),
            container: None,
            probes: Probes::default(),
            started_at: String::new(),
            restarts: 0,
            quick_failures: 0,
            ended: None,
            terminating: None,
            published: Value::Null,
            trouble: String::new(),
        }
    }

    /// Does what is due and reports what changed.
    pub(super) fn advance(&mut self, api: &Api, pod: &Value) -> Result<()> {
        self.notice_end()?;
        if !pod["metadata"]["deletionTimestamp"].is_null() {
            return self.end(api, pod);
        }
        if self.container.is_none() && self.may_start() {
            match self.start(api, pod) {
                Ok(()) => self.trouble.clear(),
                Err(error) => {
                    let trouble = format!("{}: {error:#}", pod["metadata"]["name"]);
                    if trouble != self.trouble {
                        say(&trouble);
                        self.trouble = trouble;
                    }
                }
            }
        }
        self.probe()?;
        self.publish(api, pod)
    }

    /// Ends a pod that is gone from the API server.
    pub(super) fn discard(&mut self) -> Result<()> {
        if let Some(container) = &mut self.container {
            container.signal("KILL")?;
            while container.exit_code()?.is_none() {
                std::thread::yield_now();
            }
        }
        self.sandbox.remove()
    }

    fn notice_end(&mut self) -> Result<()> {
        let Some(container) = &mut self.container else { return Ok(()) };
        let Some(code) = container.exit_code()? else { return Ok(()) };
        self.quick_failures =
            if container.started.elapsed() > STABLE_AFTER { 0 } else { self.quick_failures + 1 };
        self.container = None;
        self.probes = Probes::default();
        self.ended = Some((Instant::now(), code));
        Ok(())
    }

    fn may_start(&self) -> bool {
        let Some((ended, _)) = self.ended else { return true };
        let delay = match self.quick_failures {
            0 | 1 => Duration::ZERO,
            count => RESTART_DELAY_MIN.saturating_mul(1 << (count - 2).min(8)).min(RESTART_DELAY_MAX),
        };
        ended.elapsed() >= delay
    }

    fn start(&mut self, api: &Api, pod: &Value) -> Result<()> {
        self.sandbox.ensure_network()?;
        let spec = &pod["spec"]["containers"][0];
        let probe = |name: &str| Probe::parse(&spec[name], &spec["ports"]);
        self.probes = Probes {
            startup: probe("startupProbe")?,
            readiness: probe("readinessProbe")?,
            liveness: probe("livenessProbe")?,
            ..Probes::default()
        };
        self.container = Some(Container::start(&self.site, api, pod, &self.sandbox)?);
        self.started_at = node::now()?;
        if self.ended.is_some() {
            self.restarts += 1;
        }
        Ok(())
    }

    fn probe(&mut self) -> Result<()> {
        let Some(container) = &self.container else { return Ok(()) };
        let (address, running_for) = (self.sandbox.address(), container.started.elapsed());
        let probes = &mut self.probes;
        if !probes.started {
            match probes.startup.as_mut().map_or(Opinion::Good, |probe| probe.ask(&address, running_for)) {
                Opinion::Good => probes.started = true,
                Opinion::Bad => return container.signal("KILL"),
                Opinion::Undecided => return Ok(()),
            }
        }
        if probes.liveness.as_mut().map(|probe| probe.ask(&address, running_for)) == Some(Opinion::Bad) {
            return container.signal("KILL");
        }
        match probes.readiness.as_mut().map_or(Opinion::Good, |probe| probe.ask(&address, running_for)) {
            Opinion::Good => probes.ready = true,
            Opinion::Bad => probes.ready = false,
            Opinion::Undecided => {}
        }
        Ok(())
    }

    /// SIGTERM, the grace period, SIGKILL; then the pod goes from the API server.
    fn end(&mut self, api: &Api, pod: &Value) -> Result<()> {
        let metadata = &pod["metadata"];
        if let Some(container) = &self.container {
            let grace = Duration::from_secs(metadata["deletionGracePeriodSeconds"].as_u64().unwrap_or(30));
            match self.terminating {
                None => {
                    self.terminating = Some(Instant::now());
                    container.signal("TERM")?;
                }
                Some(since) if since.elapsed() >= grace => container.signal("KILL")?,
                Some(_) => {}
            }
            return Ok(());
        }
        self.sandbox.remove()?;
        let options = json!({"gracePeriodSeconds": 0, "preconditions": {"uid": metadata["uid"]}});
        api.delete(&pod_path(pod), &options).map(|_| ())
    }

    fn publish(&mut self, api: &Api, pod: &Value) -> Result<()> {
        let status = self.status(pod);
        if status == self.published {
            return Ok(());
        }
        let mut change = status.clone();
        stamp(&mut change, pod, &node::now()?);
        api.patch(&format!("{}/status", pod_path(pod)), &json!({"status": change}))?;
        self.published = status;
        Ok(())
    }

    fn status(&self, pod: &Value) -> Value {
        let running = self.container.is_some();
        let state = match (&self.container, self.ended) {
            (Some(_), _) => json!({"running": {"startedAt": self.started_at}}),
            (None, Some(_)) => json!({"waiting": {"reason": "CrashLoopBackOff"}}),
            (None, None) => json!({"waiting": {"reason": "ContainerCreating", "message": self.trouble}}),
        };
        let last = match self.ended {
            Some((_, code)) => json!({"terminated": {"exitCode": code, "reason": "Error"}}),
            None => json!({}),
        };
        let container = &pod["spec"]["containers"][0];
        let ready = running && self.probes.ready;
        let word = |value: bool| if value { "True" } else { "False" };
        let node = Node::first(super::NODES).find(|node| pod["spec"]["nodeName"] == node.name().as_str());
        json!({
            "phase": if running || self.ended.is_some() { "Running" } else { "Pending" },
            "podIP": self.sandbox.address(),
            "podIPs": [{"ip": self.sandbox.address()}],
            "hostIP": node.map(Node::address),
            "conditions": [
                {"type": "PodScheduled", "status": "True"},
                {"type": "Initialized", "status": "True"},
                {"type": "ContainersReady", "status": word(ready)},
                {"type": "Ready", "status": word(ready)},
            ],
            "containerStatuses": [{
                "name": container["name"], "image": container["image"], "imageID": container["image"],
                "ready": ready, "started": running && self.probes.started, "restartCount": self.restarts,
                "state": state, "lastState": last,
            }],
        })
    }
}

fn pod_path(pod: &Value) -> String {
    let text = |field: &str| pod["metadata"][field].as_str().unwrap_or_default().to_owned();
    format!("/api/v1/namespaces/{}/pods/{}", text("namespace"), text("name"))
}

/// Gives each condition the time it last changed: the one in the pod if its status is the same, else now.
fn stamp(status: &mut Value, pod: &Value, now: &str) {
    let before = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
    for condition in status["conditions"].as_array_mut().into_iter().flatten() {
        let same = before
            .iter()
            .find(|old| old["type"] == condition["type"] && old["status"] == condition["status"]);
        condition["lastTransitionTime"] =
            same.map_or_else(|| json!(now), |old| old["lastTransitionTime"].clone());
    }
    if pod["status"]["startTime"].is_null() {
        status["startTime"] = json!(now);
    }
}
