//! The process of a pod.

use std::fs::{self, OpenOptions};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::api::Api;
use super::sandbox::{Sandbox, entrypoint};
use super::volume::pod_field;
use crate::command::{kill, program};
use crate::control_group;
use crate::kube::API_SERVICE_ADDRESS;
use crate::site::Site;

/// The user of our images, where a pod says nothing else.
const USER: u64 = 65_532;

/// A running process.
#[derive(Debug)]
pub(super) struct Container {
    child: Child,
    pub(super) started: Instant,
}

impl Container {
    /// Starts the pod's process in its sandbox.
    pub(super) fn start(site: &Site, api: &Api, pod: &Value, sandbox: &Sandbox) -> Result<Self> {
        let spec = &pod["spec"];
        ensure!(spec["initContainers"].is_null(), "the process lane knows no init containers");
        let containers = spec["containers"].as_array().context("a pod without containers")?;
        ensure!(containers.len() == 1, "the process lane runs pods of one container");
        let container = &containers[0];
        let mounts = sandbox.fill_root(api, pod, container)?;
        let user = [&container["securityContext"], &spec["securityContext"]]
            .iter()
            .find_map(|context| context["runAsUser"].as_u64())
            .unwrap_or(USER);
        let group = spec["securityContext"]["fsGroup"].as_u64().unwrap_or(user);
        let mut script = String::from("set -e\n");
        for mount in &mounts {
            script.push_str(&format!(
                "mount --bind '{}' '{}'\n",
                mount.source.display(),
                mount.place.display()
            ));
            if mount.source.starts_with(site.directory()) {
                program("chown").arg(format!("{user}:{group}")).arg(&mount.source).read()?;
            }
        }
        let root = sandbox.root();
        script.push_str(&format!(
            "exec chroot --userspec={user}:{group} --groups= '{}' \"$@\"",
            root.display()
        ));
        let log = site.logs().join("pods");
        fs::create_dir_all(&log).with_context(|| format!("create {}", log.display()))?;
        let name = |field: &str| pod["metadata"][field].as_str().unwrap_or_default().to_owned();
        let log = log.join(format!("{}-{}.log", name("namespace"), name("name")));
        let log = OpenOptions::new().create(true).append(true).open(&log).context("open the pod's log")?;
        let groups = control_group::process_files(&super::control_group(site))?;
        let groups: Vec<String> = groups.iter().map(|file| file.display().to_string()).collect();
        let environment = environment(pod, container, &sandbox.address())?;
        // Joins the control group first, so that tear-down finds it from its first moment on.
        let join = "set -e; for file in $1; do echo $$ > \"$file\"; done; net=$2; script=$3; shift 3; \
                    exec nsenter --net=\"$net\" -- unshare --mount -- sh -c \"$script\" pod \"$@\"";
        let child = Command::new("setsid")
            .args(["sh", "-c", join, "pod"])
            .arg(groups.join(" "))
            .arg(sandbox.network().path())
            .arg(script)
            .args(words(container, &environment))
            .env_clear()
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .envs(environment)
            .stdin(Stdio::null())
            .stdout(log.try_clone().context("share the pod's log")?)
            .stderr(log)
            .spawn()
            .context("start the pod's process")?;
        Ok(Self { child, started: Instant::now() })
    }

    /// The exit code (137 for a killed process) once it has ended.
    pub(super) fn exit_code(&mut self) -> Result<Option<i32>> {
        const KILLED: i32 = 137;
        let status = self.child.try_wait().context("look at the pod's process")?;
        Ok(status.map(|status| status.code().unwrap_or(KILLED)))
    }

    /// Sends a signal.
    pub(super) fn signal(&self, signal: &str) -> Result<()> {
        kill(signal, [self.child.id()])
    }
}

/// The container's command line, with references such as `$(POD_NAME)` resolved.
fn words(container: &Value, environment: &[(String, String)]) -> Vec<String> {
    let list = |field: &str| -> Vec<String> {
        let words = container[field].as_array().into_iter().flatten();
        words.filter_map(|word| word.as_str().map(str::to_owned)).collect()
    };
    let mut command = list("command");
    if command.is_empty() {
        command.push(entrypoint(container["image"].as_str().unwrap_or_default()).to_owned());
    }
    command.extend(list("args"));
    let resolve = |word: String| {
        environment.iter().fold(word, |word, (name, value)| word.replace(&format!("$({name})"), value))
    };
    command.into_iter().map(resolve).collect()
}

fn environment(pod: &Value, container: &Value, address: &str) -> Result<Vec<(String, String)>> {
    let mut environment = vec![
        ("KUBERNETES_SERVICE_HOST".to_owned(), API_SERVICE_ADDRESS.to_owned()),
        ("KUBERNETES_SERVICE_PORT".to_owned(), "443".to_owned()),
    ];
    for entry in container["env"].as_array().into_iter().flatten() {
        let name = entry["name"].as_str().context("a variable without a name")?.to_owned();
        let value = match entry["valueFrom"]["fieldRef"]["fieldPath"].as_str() {
            Some(field) => pod_field(pod, field, address)?,
            None => {
                ensure!(entry["valueFrom"].is_null(), "the process lane does not know the variable {entry}");
                entry["value"].as_str().unwrap_or_default().to_owned()
            }
        };
        environment.push((name, value));
    }
    Ok(environment)
}
