//! The network of a series: a bridge in the namespace of the rig itself, where clients are, and a namespace for each
//! broker, so that what a broker hears and says can be cut and slowed by address.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use crate::attached::Attached;
use crate::command::{Answer, Program, program, wait_until};

const BRIDGE: &str = "brokers";
const RIG: &str = "10.77.0.254/24";
/// How long a longer way may take to be made or to be gone.
const WAY_LIMIT: Duration = Duration::from_secs(10);
const INTERVAL: Duration = Duration::from_millis(10);

/// Where a broker is reached.
#[must_use]
pub fn address(broker: u32) -> String {
    format!("10.77.0.{broker}")
}

/// Which packets between a broker and others are dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// Those to it and those from it.
    Both,
    /// Those to it.
    Deaf,
    /// Those from it.
    Mute,
}

/// Whom a cut is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    /// The other brokers; clients are heard as before.
    Brokers,
    /// Everybody.
    All,
}

/// Makes the network of these brokers in the namespaces of this process, which must be its own.
pub fn make(brokers: &[u32]) -> Result<()> {
    // Of a mount namespace of its own, so that nobody else sees these names.
    run("mkdir -p /run/netns && mount -t tmpfs rig /run/netns && ip link set lo up")?;
    run(&format!(
        "ip link add {BRIDGE} type bridge && ip addr add {RIG} dev {BRIDGE} && ip link set {BRIDGE} up"
    ))?;
    brokers.iter().try_for_each(|broker| {
        run(&format!(
            "ip netns add b{broker} && ip link add l{broker} type veth peer name eth0 netns b{broker} && \
             ip link set l{broker} master {BRIDGE} up && ip -n b{broker} link set lo up && \
             ip -n b{broker} addr add {}/24 dev eth0 && ip -n b{broker} link set eth0 up",
            address(*broker)
        ))
    })
}

/// The words before a program that make it run where the broker is.
#[must_use]
pub fn inside(broker: u32) -> [String; 2] {
    ["nsenter".to_owned(), format!("--net=/run/netns/b{broker}")]
}

/// Drops packets between a broker and others from now on.
pub fn cut(broker: u32, cut: Cut, from: From, others: &[u32]) -> Result<()> {
    let ranges = match from {
        From::All => vec!["10.77.0.0/24".to_owned()],
        From::Brokers => others.iter().map(|other| address(*other)).collect(),
    };
    for range in ranges {
        if cut != Cut::Mute {
            here(broker, &["iptables", "-A", "INPUT", "-i", "eth0", "-s", &range, "-j", "DROP"]).read()?;
        }
        if cut != Cut::Deaf {
            here(broker, &["iptables", "-A", "OUTPUT", "-o", "eth0", "-d", &range, "-j", "DROP"]).read()?;
        }
    }
    Ok(())
}

/// Ends every cut of a broker.
pub fn mend(broker: u32) -> Result<()> {
    here(broker, &["iptables", "-F"]).read().map(drop)
}

/// Lets a broker send so many kilobits a second.
pub fn slow(broker: u32, kilobits: u64) -> Result<()> {
    let rate = format!("{kilobits}kbit");
    let words = [
        "tc", "qdisc", "add", "dev", "eth0", "root", "tbf", "rate", &rate, "burst", "32kb", "latency",
        "400ms",
    ];
    here(broker, &words).read().map(drop)
}

/// Ends that.
pub fn hurry(broker: u32) -> Result<()> {
    here(broker, &["tc", "qdisc", "del", "dev", "eth0", "root"]).read().map(drop)
}

/// A way to a broker that takes longer than a bridge does. It is for faults, not for measuring: each packet passes
/// through a process.
#[derive(Debug)]
pub struct LongWay {
    broker: u32,
    filter: Attached,
}

/// Lets each packet to and from a broker take that long, half more or half less. None overtakes another.
pub fn move_away(broker: u32, delay: Duration, log: &Path) -> Result<LongWay> {
    let delay = format!("{}+{}", delay.as_millis(), delay.as_millis() / 2);
    let (near, far) = (format!("tap://near{broker}"), format!("tap://far{broker}"));
    let words = ["vde_plug", &near, "=", "wirefilter", "--delay", &delay, "=", "vde_plug", &far];
    let words = words.map(Into::into).to_vec();
    let mut filter = Attached::new("wirefilter", "dpipe".into(), words, log.to_owned());
    filter.spawn()?;
    wait_until("the longer way has two ends", WAY_LIMIT, INTERVAL, || {
        Answer::from(run(&format!("ip link show near{broker} && ip link show far{broker}")))
    })?;
    run(&format!(
        "ip link add away{broker} type bridge && ip link set away{broker} up && \
         ip link set near{broker} master away{broker} up && ip link set far{broker} master {BRIDGE} up && \
         ip link set l{broker} master away{broker}"
    ))?;
    Ok(LongWay { broker, filter })
}

impl LongWay {
    /// Ends it; connections live on.
    pub fn come_back(mut self) -> Result<()> {
        let broker = self.broker;
        run(&format!("ip link set l{broker} master {BRIDGE} && ip link del away{broker}"))?;
        self.filter.signal_and_wait("TERM", WAY_LIMIT).map(drop)
    }
}

fn here(broker: u32, words: &[&str]) -> Program {
    let [enter, namespace] = inside(broker);
    program(enter).arg(namespace).arg("--").args(words)
}

fn run(script: &str) -> Result<()> {
    program("sh").args(["-c", script]).read().map(drop)
}
