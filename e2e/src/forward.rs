//! The brokers of a cluster somewhere else, reached as if we were inside of it: each broker's advertised name
//! resolves to a loopback address of its own, and behind that is a `kubectl port-forward`.

use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::command::{Answer, program, wait_until};
use crate::kcat::Kcat;
use crate::kubectl::Kubectl;
use crate::quickstart::CLIENT_PORT;

/// A port-forward answers within a second or two.
const LIMIT: Duration = Duration::from_secs(30);

/// Port-forwards to the brokers of one cluster; they end when this is dropped.
#[derive(Debug)]
pub struct Forwards {
    children: Vec<Child>,
    directory: PathBuf,
}

impl Forwards {
    /// Opens one to each of `count` brokers of `cluster`.
    pub fn open(kubectl: &Kubectl, namespace: &str, cluster: &str, count: u8) -> Result<Self> {
        let directory = std::env::temp_dir().join(format!("ottla-forward-{}", std::process::id()));
        fs::create_dir_all(&directory).with_context(|| format!("create {}", directory.display()))?;
        let mut this = Self { children: Vec::new(), directory };
        let mut hosts = String::from("127.0.0.1 localhost\n");
        for ordinal in 0..count {
            let pod = format!("{cluster}-nodes-{ordinal}");
            let address = loopback(ordinal);
            hosts.push_str(&format!("{address} {pod}.{cluster}-nodes.{namespace}.svc\n"));
            let ports = format!("{CLIENT_PORT}:{CLIENT_PORT}");
            let words = ["port-forward", "-n", namespace, "--address", &address, &pod, &ports];
            let child = Command::new(kubectl.executable())
                .args(kubectl.flags())
                .args(words)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .context("start kubectl port-forward")?;
            this.children.push(child);
            wait_until(&format!("the way to {pod} is open"), LIMIT, Duration::from_millis(100), || {
                match TcpStream::connect((address.as_str(), CLIENT_PORT)) {
                    Ok(_) => Answer::Yes,
                    Err(error) => Answer::NotYet(error.to_string()),
                }
            })?;
        }
        this.write_script(&hosts)?;
        Ok(this)
    }

    /// kcat that finds the brokers under the names they advertise.
    #[must_use]
    pub fn kcat(&self) -> Kcat {
        Kcat::new(self.script())
    }

    fn script(&self) -> PathBuf {
        self.directory.join("kcat")
    }

    /// The names are put into a hosts file that only kcat sees, in a mount namespace of its own; whoever is not
    /// root gets one by way of a user namespace.
    fn write_script(&self, hosts: &str) -> Result<()> {
        let place = self.directory.join("hosts");
        fs::write(&place, hosts).with_context(|| format!("write {}", place.display()))?;
        let root = program("id").arg("-u").read()?.trim() == "0";
        let flags = if root { "--mount" } else { "--user --map-root-user --mount" };
        let text = format!(
            "#!/bin/sh\nexec unshare {flags} -- sh -c 'mount --bind \"{}\" /etc/hosts && exec kcat \"$@\"' kcat \"$@\"\n",
            place.display()
        );
        fs::write(self.script(), text).with_context(|| format!("write {}", self.script().display()))?;
        fs::set_permissions(self.script(), fs::Permissions::from_mode(0o755))
            .context("make the script executable")
    }
}

impl Drop for Forwards {
    fn drop(&mut self) {
        for child in &mut self.children {
            // One that has ended already is what is wanted.
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// 127.0.0.2 and so on: 127.0.0.1 may be in use by somebody's Kafka.
fn loopback(ordinal: u8) -> String {
    format!("127.0.0.{}", u16::from(ordinal) + 2)
}
