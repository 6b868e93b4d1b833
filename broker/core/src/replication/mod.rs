//! Fetching what this broker's replicas follow from the brokers that lead them.
//!
//! Owns: who is asked for what and when. Replicas say from where they follow ([`crate::shard::Effect::Follow`]);
//! [`Fetchers`] turns that into requests, one at a time for each pair of a log directory and a leader, and hands what
//! comes back to the directory's shard. Knows nothing of logs and sends nothing itself.
//!
//! A request names every replica of that pair. The next one leaves when the shard has taken in what the one before
//! brought: its sync, where the topic asks for one, covers all of them, and the request that follows says so to the
//! leader. One slow directory therefore never holds up what goes to another.
//!
//! Replicas that lack committed records are asked for apart from the others ([`Lane`]), a little at a time: producers
//! wait for those that are current, and these must not wait behind gigabytes. [`recovery`] is the leader's side of that.

mod fetcher;
pub mod quota;
pub mod recovery;

use std::collections::BTreeMap;
use std::time::Duration;

use crate::config::Settings;
use crate::ids::{BrokerEpoch, NodeId, TopicPartition};
use crate::metadata::image::Image;
use crate::shard::{FollowFrom, Replicated, ReplicatedPart};
use crate::time::Monotonic;
use fetcher::Fetcher;
use quota::{FOLLOWER, ReplicationQuota};

/// How replicas are fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FetchLimits {
    /// `replica.fetch.wait.max.ms`: how long a leader waits for something new.
    pub wait_max: Duration,
    /// `replica.fetch.response.max.bytes`
    pub bytes_max: u32,
    /// `replica.fetch.max.bytes`: of one partition.
    pub partition_bytes_max: u32,
    /// `replica.fetch.backoff.ms`: the pause after a leader could not be reached.
    pub backoff: Duration,
}

impl Default for FetchLimits {
    /// Kafka's defaults.
    fn default() -> Self {
        Self {
            wait_max: Duration::from_millis(500),
            bytes_max: 10 << 20,
            partition_bytes_max: 1 << 20,
            backoff: Duration::from_secs(1),
        }
    }
}

/// The pause after a replica could not take what it got. What is wrong with it lasts, and each try costs a whole answer. The
/// first time that there was no room for it, its leader is told so with a try at once.
pub const PROBLEM_BACKOFF: Duration = Duration::from_secs(2);

/// The pause after a leader refused. Refusals come mostly from one of the two knowing newer metadata than the other, which
/// the other has in some milliseconds.
pub const REFUSED_BACKOFF: Duration = Duration::from_millis(100);

/// How many bytes are asked for at once, in all, for replicas that are [`Lane::Behind`]: each request on its way has its
/// share, and brings a first batch even if that is larger. It is what stands before current replicas in a shard's queue at
/// worst, some milliseconds' work, and still a gigabyte a second at a round trip of four milliseconds.
pub const BEHIND_BYTES_MAX: u32 = 4 << 20;

/// How long a request for current replicas waits at most while others are behind: one that has caught up is asked for with
/// the next.
pub const JOIN_WAIT: Duration = Duration::from_millis(50);

/// Which replicas a request asks for.
///
/// Whoever is behind lacks committed records: so it is no member of the ISR, since nothing is committed that a member
/// lacks, and no producer waits for it. Where nothing is known of what is committed, a replica counts as current.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// Those that have what was committed when last heard of.
    Current,
    /// Those that have yet to catch up.
    Behind,
}

impl Lane {
    const ALL: [Self; 2] = [Self::Current, Self::Behind];
}

/// A request's own number, given back with what came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FetchNumber(pub u64);

/// A request to a leader (Fetch, key 1, as a replica).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicaFetch {
    /// To be given back with the reply.
    pub number: FetchNumber,
    /// The log directory that the replicas are in: requests of one directory to one leader are in order in each lane.
    pub shard: usize,
    /// Whom to ask.
    pub leader: NodeId,
    /// For whom. The answer may take long, and those of one lane must not wait for the other's.
    pub lane: Lane,
    /// Who asks.
    pub replica: NodeId,
    /// In which life.
    pub broker_epoch: BrokerEpoch,
    /// How long it may wait.
    pub wait_max: Duration,
    /// How much at most, beyond a first batch.
    pub bytes_max: u32,
    /// How much of one partition.
    pub partition_bytes_max: u32,
    /// What it wants, in this order.
    pub partitions: Vec<(TopicPartition, FollowFrom)>,
}

/// A leader's reply about one partition: what it gives, or `None` if it refuses.
pub type ReplicaReply = (TopicPartition, Option<Replicated>);

/// For a shard's [`crate::shard::Shard::replicate`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Which shard.
    pub shard: usize,
    /// Which replica.
    pub partition: TopicPartition,
    /// What its leader gave.
    pub part: ReplicatedPart,
}

/// What is to be done.
#[derive(Debug, Default)]
pub struct FetchEffects {
    /// To be sent.
    pub fetches: Vec<ReplicaFetch>,
    /// To be handed on, in order.
    pub deliveries: Vec<Delivery>,
}

/// A log directory and a leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Pair {
    shard: usize,
    leader: NodeId,
}

/// See the module's text.
#[derive(Debug)]
pub struct Fetchers {
    me: NodeId,
    limits: FetchLimits,
    /// Nothing is fetched before the broker is registered.
    broker_epoch: Option<BrokerEpoch>,
    fetchers: BTreeMap<Pair, Fetcher>,
    pair_of: BTreeMap<TopicPartition, Pair>,
    on_the_way: BTreeMap<FetchNumber, (Pair, Lane)>,
    next_number: u64,
    deliveries: Vec<Delivery>,
    /// What throttled replicas may take.
    quota: ReplicationQuota,
    /// Says which those are, and who is in sync.
    image: Image,
}

impl Fetchers {
    /// Nothing is followed yet.
    pub fn new(me: NodeId, limits: FetchLimits) -> Self {
        Self {
            me,
            limits,
            broker_epoch: None,
            fetchers: BTreeMap::new(),
            pair_of: BTreeMap::new(),
            on_the_way: BTreeMap::new(),
            next_number: 1,
            deliveries: Vec::new(),
            quota: ReplicationQuota::default(),
            image: Image::default(),
        }
    }

    /// Takes over which replicas are throttled, and to how much. `fixed` is what the properties file sets.
    pub fn configured(&mut self, now: Monotonic, image: &Image, fixed: &Settings) {
        self.quota.set_rate(now, FOLLOWER.rate(image, self.me, fixed));
        self.image = image.clone();
    }

    /// Fetches in the name of this registration from now on.
    pub fn registered(&mut self, epoch: Option<BrokerEpoch>) {
        self.broker_epoch = epoch;
    }

    /// A replica in a shard follows its leader from here on, or nobody.
    pub fn follow(
        &mut self,
        now: Monotonic,
        shard: usize,
        partition: TopicPartition,
        from: Option<FollowFrom>,
    ) {
        if from.is_some_and(|from| self.is_outdated(shard, partition, &from)) {
            return;
        }
        let pair = from.map(|from| Pair { shard, leader: from.leader });
        // What another shard says of a replica that it no longer has must not end what this one follows.
        let before =
            self.pair_of.get(&partition).copied().filter(|before| from.is_some() || before.shard == shard);
        if let Some(before) = before.filter(|before| Some(*before) != pair) {
            self.pair_of.remove(&partition);
            if let Some(fetcher) = self.fetchers.get_mut(&before) {
                fetcher.remove(partition);
                if fetcher.is_idle() {
                    self.fetchers.remove(&before);
                }
            }
        }
        if let (Some(pair), Some(from)) = (pair, from) {
            self.pair_of.insert(partition, pair);
            self.fetchers.entry(pair).or_default().follow(now, partition, from);
        }
    }

    /// Whether a shard said this of a replica that it no longer has, which another one follows for. Shards report side
    /// by side, and a replica that was taken from this broker and comes back, to another of them, begins a leader epoch: who
    /// had it before knows only earlier ones. Where it is handed over from one to the other, the one has said all that it
    /// has to say before the other has it.
    fn is_outdated(&self, shard: usize, partition: TopicPartition, from: &FollowFrom) -> bool {
        let other = self.pair_of.get(&partition).filter(|pair| pair.shard != shard);
        let epoch = other.and_then(|pair| self.fetchers.get(pair)?.leader_epoch(partition));
        epoch.is_some_and(|epoch| from.leader_epoch < epoch)
    }

    /// What came of a request; `None` if the leader could not be reached or refused all of it.
    pub fn replied(&mut self, now: Monotonic, number: FetchNumber, reply: Option<Vec<ReplicaReply>>) {
        let Some((pair, lane)) = self.on_the_way.remove(&number) else { return };
        self.count(now, reply.iter().flatten());
        let Some(fetcher) = self.fetchers.get_mut(&pair) else { return };
        let parts = fetcher.replied(now, (lane, number), reply, self.limits.backoff);
        let deliver = |(partition, part)| Delivery { shard: pair.shard, partition, part };
        self.deliveries.extend(parts.into_iter().map(deliver));
        if fetcher.is_idle() {
            self.fetchers.remove(&pair);
        }
    }

    /// What is to be done now.
    pub fn ready(&mut self, now: Monotonic) -> FetchEffects {
        let mut effects =
            FetchEffects { fetches: Vec::new(), deliveries: std::mem::take(&mut self.deliveries) };
        let Some(broker_epoch) = self.broker_epoch else { return effects };
        let exceeded = self.quota.is_exceeded(now);
        let behind = self.fetchers.values().filter(|fetcher| fetcher.is_behind()).count();
        let behind_bytes_max = BEHIND_BYTES_MAX / u32::try_from(behind.max(1)).unwrap_or(u32::MAX);
        for (pair, fetcher) in &mut self.fetchers {
            for lane in Lane::ALL {
                let number = FetchNumber(self.next_number);
                let held = |id| exceeded && FOLLOWER.throttles(&self.image, id, self.me, self.me);
                let partitions = fetcher.next(now, lane, number, held);
                if partitions.is_empty() {
                    continue;
                }
                self.next_number += 1;
                self.on_the_way.insert(number, (*pair, lane));
                let (wait_max, bytes_max) = (self.limits.wait_max, self.limits.bytes_max);
                let (wait_max, bytes_max) = match lane {
                    Lane::Current if fetcher.is_behind() => (wait_max.min(JOIN_WAIT), bytes_max),
                    Lane::Current => (wait_max, bytes_max),
                    Lane::Behind => (wait_max, bytes_max.min(behind_bytes_max)),
                };
                effects.fetches.push(ReplicaFetch {
                    number,
                    shard: pair.shard,
                    leader: pair.leader,
                    lane,
                    replica: self.me,
                    broker_epoch,
                    wait_max,
                    bytes_max,
                    partition_bytes_max: self.limits.partition_bytes_max,
                    partitions,
                });
            }
        }
        effects
    }

    fn count<'a>(&mut self, now: Monotonic, replies: impl Iterator<Item = &'a ReplicaReply>) {
        if !self.quota.is_limited() {
            return;
        }
        let (image, me) = (&self.image, self.me);
        let bytes: usize = replies
            .filter(|(id, _)| FOLLOWER.throttles(image, *id, me, me))
            .map(|(_, given)| match given {
                Some(Replicated::Records { bytes, .. }) => bytes.len(),
                Some(Replicated::Diverging(_) | Replicated::BelowLogStart(_)) | None => 0,
            })
            .sum();
        self.quota.record(now, u64::try_from(bytes).unwrap_or(u64::MAX));
    }

    /// When something is to be done without any input.
    pub fn wakes_at(&self) -> Option<Monotonic> {
        let registered = self.broker_epoch.is_some();
        self.fetchers.values().filter(|_| registered).filter_map(Fetcher::wakes_at).min()
    }

    /// Which shards follow whom at the moment, and in which lanes.
    pub fn ways(&self) -> impl Iterator<Item = (usize, NodeId, Lane)> + '_ {
        let of = |(pair, fetcher): (&Pair, &Fetcher)| {
            let (shard, leader) = (pair.shard, pair.leader);
            fetcher.lanes().map(move |lane| (shard, leader, lane)).collect::<Vec<_>>()
        };
        self.fetchers.iter().flat_map(of)
    }
}

#[cfg(test)]
mod tests;
