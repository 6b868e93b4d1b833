//! Probes: `httpGet`, with Kubernetes' periods and thresholds.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::api::parse_answer;

/// One probe of a container and what came of it so far.
#[derive(Debug)]
pub(super) struct Probe {
    path: String,
    port: u16,
    initial_delay: Duration,
    period: Duration,
    timeout: Duration,
    failure_threshold: u64,
    success_threshold: u64,
    asked: Option<Instant>,
    failures: u64,
    successes: u64,
}

/// What a probe thinks after enough answers of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Opinion {
    Good,
    Bad,
    Undecided,
}

impl Probe {
    /// The probe that `spec` describes; `None` if the container has none of its kind.
    pub(super) fn parse(spec: &Value, ports: &Value) -> Result<Option<Self>> {
        if spec.is_null() {
            return Ok(None);
        }
        let get = &spec["httpGet"];
        if get.is_null() {
            bail!("the process lane knows httpGet probes only, not {spec}");
        }
        let seconds =
            |field: &str, default: u64| Duration::from_secs(spec[field].as_u64().unwrap_or(default));
        Ok(Some(Self {
            path: get["path"].as_str().unwrap_or("/").to_owned(),
            port: resolve_port(&get["port"], ports)?,
            initial_delay: seconds("initialDelaySeconds", 0),
            period: seconds("periodSeconds", 10),
            timeout: seconds("timeoutSeconds", 1),
            failure_threshold: spec["failureThreshold"].as_u64().unwrap_or(3),
            success_threshold: spec["successThreshold"].as_u64().unwrap_or(1),
            asked: None,
            failures: 0,
            successes: 0,
        }))
    }

    /// Asks if it is time to, and says what it thinks now. A container without a good answer yet is asked more
    /// often, as the real kubelet asks at once when a container's startup probe has passed.
    pub(super) fn ask(&mut self, address: &str, running_for: Duration) -> Opinion {
        let due = match self.asked {
            None => running_for >= self.initial_delay,
            Some(asked) => asked.elapsed() >= self.period,
        };
        if due {
            self.asked = Some(Instant::now());
            match self.is_healthy(address) {
                Ok(()) => (self.successes, self.failures) = (self.successes + 1, 0),
                Err(_) => (self.successes, self.failures) = (0, self.failures + 1),
            }
        }
        if self.failures >= self.failure_threshold {
            Opinion::Bad
        } else if self.successes >= self.success_threshold {
            Opinion::Good
        } else {
            Opinion::Undecided
        }
    }

    fn is_healthy(&self, address: &str) -> Result<()> {
        let address: SocketAddr = format!("{address}:{}", self.port).parse().context("the pod's address")?;
        let mut stream = TcpStream::connect_timeout(&address, self.timeout)?;
        stream.set_read_timeout(Some(self.timeout))?;
        let head = format!("GET {} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n", self.path);
        stream.write_all(head.as_bytes())?;
        let mut answer = Vec::new();
        // A probe's answer is a word; what goes beyond the limit is not looked at.
        stream.take(1 << 16).read_to_end(&mut answer)?;
        let (status, body) = parse_answer(&answer)?;
        if !(200..400).contains(&status) {
            bail!("{status} {body}");
        }
        Ok(())
    }
}

fn resolve_port(port: &Value, ports: &Value) -> Result<u16> {
    let number = match port.as_str() {
        None => port.as_u64(),
        Some(name) => {
            let found = ports.as_array().into_iter().flatten().find(|port| port["name"] == name);
            found.and_then(|port| port["containerPort"].as_u64())
        }
    };
    let number = number.with_context(|| format!("the container has no port {port}"))?;
    u16::try_from(number).context("a port beyond 65535")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_port_is_found_by_number_and_by_name() {
        let ports = json!([{"name": "http", "containerPort": 8090}]);
        assert_eq!(resolve_port(&json!(81), &ports).unwrap(), 81);
        assert_eq!(resolve_port(&json!("http"), &ports).unwrap(), 8090);
        assert!(resolve_port(&json!("other"), &ports).is_err());
    }

    #[test]
    fn a_probe_is_bad_only_after_as_many_failures_as_its_threshold() {
        // Port 1 of this machine refuses.
        let spec = json!({"httpGet": {"port": 1}, "periodSeconds": 0, "failureThreshold": 2});
        let mut probe = Probe::parse(&spec, &Value::Null).unwrap().unwrap();
        assert_eq!(probe.ask("127.0.0.1", Duration::ZERO), Opinion::Undecided);
        assert_eq!(probe.ask("127.0.0.1", Duration::ZERO), Opinion::Bad);
    }

    #[test]
    fn a_probe_of_another_kind_is_refused() {
        assert!(Probe::parse(&json!({"exec": {"command": ["true"]}}), &Value::Null).is_err());
    }
}
