//! Fetches what this broker's replicas follow from the brokers that lead them.
//!
//! One task owns the machine ([`Fetchers`]). Shards say from where each replica goes on; each request runs as a task
//! of its own, over the connection of its log directory, leader and lane, and what comes back goes to the shard.

mod message;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use ottla_client::HostPort;
use ottla_core::config::Settings;
use ottla_core::ids::{BrokerEpoch, NodeId, TopicPartition};
use ottla_core::metadata::image::Image;
use ottla_core::replication::{FetchLimits, FetchNumber, Fetchers, Lane, ReplicaFetch, ReplicaReply};
use ottla_core::shard::FollowProblem;
use tokio::sync::{mpsc, watch};
use tracing::{debug, warn};

use super::shard::{Followed, Shards};
use crate::clock;
use crate::node::BrokerStatus;
use crate::peer::{LeaderConnection, LeaderConnections};

/// How many reports of shards are taken in before anything is asked for: one request covers all of them.
const FOLLOWS_PER_TURN_MAX: usize = 4096;

/// How long a leader's address may take to become known: it comes with the image that made it the leader.
const ADDRESS_WAIT_MAX: Duration = Duration::from_secs(1);

/// How long nothing is to be done at most, so that no time-out has to be found out.
const SLEEP_MAX: Duration = Duration::from_secs(1);

/// What the driver is built from.
pub(crate) struct ReplicationParts {
    pub(crate) me: NodeId,
    pub(crate) limits: FetchLimits,
    /// `replica.socket.timeout.ms`, beyond what a leader may wait.
    pub(crate) answer_timeout: Duration,
    /// `inter.broker.listener.name`
    pub(crate) listener: String,
    pub(crate) shards: Shards,
    pub(crate) follows: mpsc::UnboundedReceiver<Followed>,
    /// What the properties file sets.
    pub(crate) fixed: Settings,
    pub(crate) images: watch::Receiver<Arc<Image>>,
    pub(crate) status: watch::Receiver<BrokerStatus>,
}

type Replies = mpsc::UnboundedSender<(FetchNumber, Option<Vec<ReplicaReply>>)>;

/// Runs until the shards are gone.
pub(crate) async fn run(mut parts: ReplicationParts) {
    let mut fetchers = Fetchers::new(parts.me, parts.limits);
    let mut connections = LeaderConnections::new(parts.me, parts.answer_timeout);
    let (replies, mut replied) = mpsc::unbounded_channel();
    let mut followed = Vec::new();
    let mut problems = BTreeMap::new();
    let mut known: Option<Arc<Image>> = None;
    loop {
        let image = Arc::clone(&parts.images.borrow_and_update());
        if known.as_ref().is_none_or(|known| !Arc::ptr_eq(known, &image)) {
            fetchers.configured(clock::monotonic(), &image, &parts.fixed);
            known = Some(image);
        }
        let epoch = parts.status.borrow_and_update().broker_epoch.map(BrokerEpoch);
        fetchers.registered(epoch);
        let effects = fetchers.ready(clock::monotonic());
        effects.deliveries.into_iter().for_each(|delivery| parts.shards.replicate(delivery));
        for fetch in effects.fetches {
            let connection = connections.to((fetch.shard, fetch.leader, fetch.lane));
            tokio::spawn(ask(parts.asking(), connection, fetch, replies.clone()));
        }
        let ways: BTreeSet<(usize, NodeId, Lane)> = fetchers.ways().collect();
        connections.keep(|way| ways.contains(&way));
        let now = clock::monotonic();
        let sleep = fetchers.wakes_at().map_or(SLEEP_MAX, |at| at.since(now).min(SLEEP_MAX));
        // Cancel-safe: recv_many, recv, changed and sleep all are.
        tokio::select! {
            count = parts.follows.recv_many(&mut followed, FOLLOWS_PER_TURN_MAX) => {
                if count == 0 {
                    return;
                }
                let now = clock::monotonic();
                for Followed { shard, partition, from } in followed.drain(..) {
                    note(&mut problems, partition, from.and_then(|from| from.problem));
                    fetchers.follow(now, shard, partition, from);
                }
            }
            Some((number, reply)) = replied.recv() => fetchers.replied(clock::monotonic(), number, reply),
            Ok(()) = parts.status.changed() => {}
            Ok(()) = parts.images.changed() => {}
            () = tokio::time::sleep(sleep) => {}
        }
    }
}

/// Says what keeps a replica from following, once.
fn note(
    problems: &mut BTreeMap<TopicPartition, FollowProblem>,
    partition: TopicPartition,
    problem: Option<FollowProblem>,
) {
    let before = match problem {
        Some(problem) => problems.insert(partition, problem),
        None => problems.remove(&partition),
    };
    if let Some(problem) = problem.filter(|problem| before != Some(*problem)) {
        warn!(topic_id = %partition.topic_id, partition = partition.partition.0, %problem, "a replica cannot take what its leader gives");
    }
}

/// What a request needs of the broker.
struct Asking {
    images: watch::Receiver<Arc<Image>>,
    listener: String,
    answer_timeout: Duration,
}

impl ReplicationParts {
    fn asking(&self) -> Asking {
        let (images, listener) = (self.images.clone(), self.listener.clone());
        Asking { images, listener, answer_timeout: self.answer_timeout }
    }
}

async fn ask(mut asking: Asking, connection: LeaderConnection, fetch: ReplicaFetch, replies: Replies) {
    let reply = match address(&mut asking, fetch.leader).await {
        None => None,
        Some(address) => {
            let within = fetch.wait_max + asking.answer_timeout;
            match connection.fetch(&address, message::request(&fetch), within).await {
                Ok(response) => message::reply(&fetch, response),
                Err(error) => {
                    debug!(leader = %fetch.leader, %error, "a leader cannot be fetched from");
                    None
                }
            }
        }
    };
    // The driver is gone only when the broker has stopped.
    let _gone = replies.send((fetch.number, reply));
}

/// Where a leader is reached by other brokers.
async fn address(asking: &mut Asking, leader: NodeId) -> Option<HostPort> {
    let find = |image: &Image| {
        let endpoint = image.brokers.get(&leader)?.endpoint(&asking.listener)?;
        Some(HostPort::new(endpoint.host.clone(), endpoint.port))
    };
    let known = asking.images.wait_for(|image| find(image).is_some());
    let image = tokio::time::timeout(ADDRESS_WAIT_MAX, known).await.ok()?.ok()?;
    find(&image)
}
