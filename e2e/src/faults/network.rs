//! The network of a series: a bridge in the namespace of the rig itself, where clients are, and a namespace for each
//! broker, so that what a broker hears and says can be cut and slowed by address.

use anyhow::Result;

use crate::command::{Program, program};

const BRIDGE: &str = "brokers";
const RIG: &str = "10.77.0.254/24";

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

fn here(broker: u32, words: &[&str]) -> Program {
    let [enter, namespace] = inside(broker);
    program(enter).arg(namespace).arg("--").args(words)
}

fn run(script: &str) -> Result<()> {
    program("sh").args(["-c", script]).read().map(drop)
}
