//! What of a node outlives its process: identity, disk, clock, and what is to happen to it.

use std::collections::BTreeMap;

use ottla_core::config::{Address, RACK_AWARE_SELECTOR, Settings};
use ottla_core::disk::Disk;
use ottla_core::ids::{ClusterId, DirectoryId, NodeId};
use ottla_core::metadata::image::{Endpoint, Voter};
use ottla_core::metadata::record::Voters;
use ottla_core::quorum::RaftStore;

use super::process::Process;
use super::upgrade::Release;
use crate::clock::{Clock, SimTime};
use crate::coverage::{Coverage, Happening};
use crate::disk::{Counts, CrashKind, SimDisk};
use crate::options::Options;
use crate::rng::Rng;

/// Where the metadata log lies on a node's disk.
pub(crate) const METADATA_DIRECTORY: &str = "metadata";

/// Where a node's log directories lie on its disk: the first is all of it, and holds the second where there is one.
pub(crate) const PLACES: [&str; 2] = ["", SECOND_DIRECTORY];

/// The second of [`PLACES`]. It is not named like a log.
pub(crate) const SECOND_DIRECTORY: &str = "second";

/// Whether leaders stamp records with their wall clock, by [`APPEND_TIME`].
pub(crate) const TIMESTAMP_TYPE: &str = "log.message.timestamp.type";

/// See [`TIMESTAMP_TYPE`].
pub(crate) const APPEND_TIME: &str = "LogAppendTime";

/// The port of every controller listener; hosts are told apart by name.
pub(crate) const CONTROLLER_PORT: u16 = 9090;

/// Who a node is.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    pub(crate) cluster_id: ClusterId,
    pub(crate) node_id: NodeId,
    /// Of the first log directory, which a controller's metadata log is in.
    pub(crate) directory_id: DirectoryId,
    /// Of all of them, in the order of [`PLACES`].
    pub(crate) log_directories: Vec<DirectoryId>,
    pub(crate) is_controller: bool,
    pub(crate) is_broker: bool,
    /// What a properties file would set.
    pub(crate) settings: Settings,
    /// The nodes that are controllers: where a node finds the quorum.
    pub(crate) controllers: Vec<NodeId>,
}

/// How a node is to stop when its disk's countdown runs out.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Planned {
    pub(crate) kind: CrashKind,
    pub(crate) down_ms: u64,
    /// It was told to stop, and does so by itself if it can.
    pub(crate) in_order: bool,
}

/// See the module's text.
pub(crate) struct Node {
    pub(crate) identity: Identity,
    rng: Rng,
    pub(crate) disk: SimDisk,
    volumes: u64,
    /// Rises with every crash; events of an earlier life are void.
    pub(crate) life: u64,
    pub(crate) process: Option<Process>,
    pub(crate) clock: Clock,
    pub(crate) paused_until: SimTime,
    /// The release that its process runs, and the one that the next will.
    pub(super) runs: Release,
    pub(super) release: Release,
    /// Whether its second log directory is not there in this life.
    pub(crate) lacks_second: bool,
    pub(crate) planned: Option<Planned>,
    /// The most that a piece of its disk's work takes while that is slow.
    pub(crate) slow_micros: Option<u64>,
    /// Numbers the faults of the disk, so that only the last one's end mends it.
    pub(crate) disk_fault: u64,
    counts_at_start: Counts,
    /// What the volumes did that this node lost.
    lost_disks: Vec<Counts>,
}

/// So small that short runs roll segments and have indexes.
fn settings(options: &Options) -> Settings {
    let stamps = options.clock_jump_ms_max.is_some();
    let settings = [
        ("log.segment.bytes", "20000".to_owned()),
        ("log.index.interval.bytes", "1000".to_owned()),
        ("min.insync.replicas", options.min_insync_replicas.to_string()),
        ("log.flush.interval.messages", if options.synced { "1" } else { "100" }.to_owned()),
        ("replica.fetch.max.bytes", options.replica_fetch_bytes_max.to_string()),
        (TIMESTAMP_TYPE, if stamps { APPEND_TIME } else { "CreateTime" }.to_owned()),
    ];
    let racks = options.racks.then(|| ("replica.selector.class", RACK_AWARE_SELECTOR.to_owned()));
    settings.into_iter().chain(racks).map(|(key, value)| (key.to_owned(), value)).collect()
}

/// Makes every node of a new cluster, formatted, not started.
pub(crate) fn form(options: &Options, rng: &Rng) -> BTreeMap<NodeId, Node> {
    let mut ids = rng.fork("identities");
    let cluster_id = ClusterId(ids.uuid());
    let numbered = |range: std::ops::Range<u32>| -> Vec<NodeId> {
        range.map(|number| NodeId(i32::try_from(number * options.id_step).expect("few nodes"))).collect()
    };
    let controllers = numbered(0..options.controller_count);
    let brokers = numbered(options.controller_count..options.controller_count + options.broker_count);
    let mut nodes = BTreeMap::new();
    for node_id in controllers.iter().chain(&brokers) {
        let directory_id = DirectoryId(ids.uuid());
        let identity = Identity {
            cluster_id,
            node_id: *node_id,
            directory_id,
            log_directories: vec![directory_id],
            is_controller: controllers.contains(node_id),
            is_broker: brokers.contains(node_id) || !options.controllers_alone,
            controllers: controllers.clone(),
            settings: settings(options),
        };
        let mut rng = rng.fork(&format!("node {node_id}"));
        let mut node = Node {
            disk: SimDisk::new(rng.fork("disk 0")),
            clock: draw_clock(&mut rng, SimTime::default()),
            identity,
            rng,
            volumes: 1,
            life: 0,
            process: None,
            paused_until: SimTime::default(),
            runs: Release::Earlier,
            release: Release::Earlier,
            lacks_second: false,
            planned: None,
            slow_micros: None,
            disk_fault: 0,
            counts_at_start: Counts::default(),
            lost_disks: Vec::new(),
        };
        if options.second_directories && node.identity.is_broker {
            node.make_second_directory();
        }
        nodes.insert(*node_id, node);
    }
    let votes = |node: &Node| {
        let first = controllers.iter().take(usize::try_from(options.first_voter_count).expect("few"));
        first.into_iter().any(|id| *id == node.identity.node_id)
    };
    let voters = nodes.values().filter(|node| votes(node)).map(|node| Voter {
        node_id: node.identity.node_id,
        directory_id: node.identity.directory_id,
        endpoints: vec![controller_endpoint(node.identity.node_id)],
    });
    let voters = Voters { voters: voters.collect(), ..Voters::default() };
    for node in nodes.values().filter(|node| node.identity.is_controller) {
        node.format(votes(node).then_some(&voters));
    }
    nodes
}

/// The endpoint at which a controller is reached.
pub(crate) fn controller_endpoint(node: NodeId) -> Endpoint {
    Endpoint {
        listener: "CONTROLLER".to_owned(),
        host: host(node),
        port: CONTROLLER_PORT,
        security_protocol: 0,
    }
}

/// A node's host name.
pub(crate) fn host(node: NodeId) -> String {
    format!("node-{node}")
}

/// The node with a host name.
pub(crate) fn node_of_host(host: &str) -> Option<NodeId> {
    host.strip_prefix("node-")?.parse().ok().map(NodeId)
}

fn draw_clock(rng: &mut Rng, now: SimTime) -> Clock {
    let drift = i64::try_from(rng.below(401)).expect("a small number") - 200;
    // Wall clocks may be wrong by a day.
    let wrong = i64::try_from(rng.below(86_400_000)).expect("a small number");
    Clock::new(now, drift, 1_700_000_000_000 + wrong)
}

impl Node {
    /// A new process has a new monotonic clock, and a clean record of its disk.
    pub(crate) fn restart_clock(&mut self, now: SimTime) {
        self.clock = draw_clock(&mut self.rng, now);
        self.counts_at_start = self.disk.counts();
    }

    /// The volume is gone; an empty one with a fresh id is in its place.
    pub(crate) fn replace_volume(&mut self) {
        self.lost_disks.push(self.disk.counts());
        self.disk = SimDisk::new(self.rng.fork(&format!("disk {}", self.volumes)));
        self.volumes += 1;
        self.identity.directory_id = DirectoryId(self.rng.uuid());
        let had_second = self.identity.log_directories.len() > 1;
        self.identity.log_directories = vec![self.identity.directory_id];
        if had_second {
            self.make_second_directory();
        }
        if self.identity.is_controller {
            self.format(None);
        }
    }

    fn make_second_directory(&mut self) {
        self.identity.log_directories.push(DirectoryId(self.rng.uuid()));
        let made = self.disk.create_directory(SECOND_DIRECTORY).and_then(|()| self.disk.sync_directory(""));
        made.expect("a new disk takes what is written to it");
    }

    /// Where a log is to be looked for: where the controller chose, and where else it may have been left (decision
    /// 0031). Of two logs of one replica the first counts, as at a start.
    pub(crate) fn places_of(&self, chosen: DirectoryId, log: &str) -> Vec<String> {
        let places = self.identity.log_directories.iter().zip(PLACES);
        let (first, others): (Vec<_>, Vec<_>) = places.partition(|(id, _)| **id == chosen);
        first.into_iter().chain(others).map(|(_, place)| in_place(place, log)).collect()
    }

    /// The same, without a directory that was missing when the process started: of what lies there it knows nothing.
    pub(crate) fn places_in_use(&self, chosen: DirectoryId, log: &str) -> Vec<String> {
        let mut places = self.places_of(chosen, log);
        let missing = in_place(SECOND_DIRECTORY, log);
        places.retain(|place| !self.lacks_second || *place != missing);
        places
    }

    /// Whether this process has no fault of its disk to blame.
    pub(crate) fn disk_was_good(&self) -> bool {
        let counts = self.disk.counts();
        counts.failed_syncs == self.counts_at_start.failed_syncs && counts.full == self.counts_at_start.full
    }

    /// What its volumes did.
    pub(crate) fn coverage(&self) -> Coverage {
        let mut coverage = Coverage::default();
        for counts in self.lost_disks.iter().copied().chain([self.disk.counts()]) {
            coverage.add(Happening::FailedSync, counts.failed_syncs);
            coverage.add(Happening::DiskFull, counts.full);
            coverage.add(Happening::UnsyncedLost, counts.lost);
            coverage.add(Happening::TornWrite, counts.torn);
        }
        coverage
    }

    /// The disk behaves from now on.
    pub(crate) fn mend_disk(&mut self) {
        self.disk.set_sync_error_permille(0);
        self.disk.set_name_sync_error(false);
        self.disk.set_capacity_bytes(u64::MAX);
        self.disk.set_reserve_bytes(0);
        self.slow_micros = None;
    }

    fn format(&self, first_voters: Option<&Voters>) {
        RaftStore::format(&self.disk, METADATA_DIRECTORY, self.identity.cluster_id, first_voters)
            .expect("a new disk takes what is written to it");
    }
}

/// The path of what is in one of [`PLACES`].
pub(crate) fn in_place(place: &str, name: &str) -> String {
    if place.is_empty() { name.to_owned() } else { format!("{place}/{name}") }
}

/// Where a controller is reached.
pub(crate) fn controller_address(node: NodeId) -> Address {
    Address { host: host(node), port: CONTROLLER_PORT }
}
