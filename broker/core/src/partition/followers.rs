//! What a leader knows of the other replicas: how far each has come, and since when it keeps up.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::config::Durability;
use crate::ids::{BrokerEpoch, NodeId, Offset};
use crate::time::Monotonic;

/// How long ago a follower may have fetched that is taken to live still: the owner of a partition looks at the time about
/// once a second.
const HEARD_LATELY: Duration = Duration::from_secs(3);

/// How long a follower that had no room must have taken all it was given before it joins: the ISR is not to change with each
/// batch.
const ROOM_TRUSTED_AFTER: Duration = Duration::from_secs(5);

/// What a leader must know of the cluster besides its own partition.
#[derive(Debug, Clone)]
pub struct Peers {
    /// The time, as the owner of the partition last saw it.
    pub now: Monotonic,
    /// The brokers that may enter an ISR: in service and not on their way out, each in its current life.
    pub eligible: Arc<BTreeMap<NodeId, BrokerEpoch>>,
    /// `replica.lag.time.max.ms`
    pub lag_time_max: Duration,
}

impl Default for Peers {
    /// Nobody, and Kafka's default.
    fn default() -> Self {
        Self { now: Monotonic(0), eligible: Arc::default(), lag_time_max: Duration::from_secs(30) }
    }
}

/// A follower's fetch says how far it has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FollowerFetch {
    /// Who fetches.
    pub node_id: NodeId,
    /// In which life (KIP-903).
    pub broker_epoch: BrokerEpoch,
    /// The end of its log: the offset that it fetches from.
    pub fetched_end: Offset,
    /// The end of what is durable there.
    pub flushed_end: Offset,
    /// Where its log starts.
    pub log_start: Offset,
    /// It had no room for what it was given last.
    pub lacks_room: bool,
    /// The high watermark that it knows, if it is to be told of a greater one as soon as there is one.
    pub high_watermark: Option<Offset>,
}

impl FollowerFetch {
    /// Whether it is to be told of this one: its own never exceeds the end of its log.
    pub fn lacks(&self, high_watermark: Offset) -> bool {
        self.high_watermark.is_some_and(|known| high_watermark.min(self.fetched_end) > known)
    }
}

/// One other replica, as its leader sees it; at first nothing is known of it.
#[derive(Debug, Default)]
pub(super) struct Follower {
    /// Its last fetch of this leadership.
    seen: Option<FollowerFetch>,
    /// Where the leader's log ended at that fetch, and when it was. `None` where that says nothing of the next one.
    before: Option<(Offset, Monotonic)>,
    /// When it last had all that the leader had (rule 55). `None`: not in this leadership.
    caught_up_at: Option<Monotonic>,
    /// When it last said that it had no room.
    lacked_room_at: Option<Monotonic>,
}

impl Follower {
    /// It is a member of the ISR from now on, and is taken to have kept up until now. While the ISR was below its
    /// minimum the high watermark stood still, and one that has reached it may still lack much: as a member it holds
    /// producers to its own pace, and is given its time to catch up.
    pub(super) fn joined(&mut self, now: Monotonic) {
        self.caught_up_at = self.caught_up_at.max(Some(now));
    }

    /// It is none any more, or comes back as none, and is not waited for before it has caught up again: its directory may
    /// have failed, and one that was away for less than it may lag can have missed gigabytes.
    pub(super) fn left(&mut self) {
        self.before = None;
        self.caught_up_at = None;
    }

    /// Takes a fetch. One of an earlier life of that broker says nothing any more.
    pub(super) fn fetched(
        &mut self,
        fetch: FollowerFetch,
        leader_end: Offset,
        durability: Durability,
        now: Monotonic,
    ) {
        let position = position(&fetch, durability);
        let caught_up = if position >= leader_end {
            Some(now)
        } else {
            // It may have what there was at its last fetch.
            self.before.filter(|(end, _)| position >= *end).map(|(_, at)| at)
        };
        self.caught_up_at = self.caught_up_at.max(caught_up);
        self.before = Some((leader_end, now));
        self.lacked_room_at = if fetch.lacks_room { Some(now) } else { self.lacked_room_at };
        self.seen = Some(fetch);
    }

    /// Whether a fetch is the first of a life after the last one's.
    pub(super) fn is_back(&self, fetch: &FollowerFetch) -> bool {
        self.seen.is_some_and(|seen| fetch.broker_epoch > seen.broker_epoch)
    }

    /// Whether a fetch comes from an earlier life than the last one.
    pub(super) fn is_past(&self, fetch: &FollowerFetch) -> bool {
        self.seen.is_some_and(|seen| fetch.broker_epoch < seen.broker_epoch)
    }

    /// Up to where it counts toward commitment; `None` before its first fetch.
    pub(super) fn position(&self, durability: Durability) -> Option<Offset> {
        self.seen.map(|seen| position(&seen, durability))
    }

    /// The life in which it fetches.
    pub(super) fn broker_epoch(&self) -> Option<BrokerEpoch> {
        self.seen.map(|seen| seen.broker_epoch)
    }

    /// How good a place it is to read this offset from, if its log has it: how far it has come, and how lately it had
    /// everything.
    pub(super) fn holds(&self, offset: Offset) -> Option<(Offset, Option<Monotonic>)> {
        let seen = self.seen.filter(|seen| (seen.log_start..=seen.fetched_end).contains(&offset))?;
        Some((seen.fetched_end, self.caught_up_at))
    }

    /// Whether it has fetched lately. Who fetches comes twice a second at least.
    pub(super) fn is_heard(&self, now: Monotonic) -> bool {
        self.before.is_some_and(|(_, at)| now.since(at) <= HEARD_LATELY)
    }

    /// Whether it said with its last fetch that it had no room.
    pub(super) fn lacks_room(&self) -> bool {
        self.seen.is_some_and(|seen| seen.lacks_room)
    }

    /// Whether it said so lately. A directory about as full as it may be takes a batch now and then.
    pub(super) fn lacked_room_lately(&self, now: Monotonic) -> bool {
        self.lacked_room_at.is_some_and(|at| now.since(at) <= ROOM_TRUSTED_AFTER)
    }

    /// Whether it has all that the leader has, or had at some time not too long ago.
    pub(super) fn keeps_up(&self, leader_end: Offset, durability: Durability, peers: &Peers) -> bool {
        self.position(durability).is_some_and(|position| position >= leader_end)
            || self.caught_up_at.is_some_and(|at| peers.now.since(at) <= peers.lag_time_max)
    }
}

fn position(fetch: &FollowerFetch, durability: Durability) -> Offset {
    match durability {
        Durability::Synced => fetch.flushed_end.min(fetch.fetched_end),
        Durability::PageCache { .. } => fetch.fetched_end,
    }
}
