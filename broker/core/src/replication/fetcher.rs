//! The replicas of one log directory that follow one leader.

use std::collections::BTreeMap;
use std::time::Duration;

use super::quota::THROTTLED_BACKOFF;
use super::{FetchNumber, Lane, PROBLEM_BACKOFF, REFUSED_BACKOFF, ReplicaReply};
use crate::ids::{LeaderEpoch, Offset, TopicPartition};
use crate::shard::{FollowFrom, Replicated, ReplicatedPart};
use crate::time::Monotonic;

/// What is going on with one replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// It waits for the next request from this time on.
    Ready(Monotonic),
    /// It is in the request on its way.
    Asked,
    /// Its shard has what the leader gave, and will say from where it goes on.
    Delivered,
}

#[derive(Debug)]
struct Followed {
    from: FollowFrom,
    stage: Stage,
    /// In which requests it is asked for.
    lane: Lane,
    /// The last of them.
    asked: Option<FetchNumber>,
    /// The least turn comes first in a request: who got records goes to the end, so that none starves.
    turn: u64,
    /// What its shard knows of the leader's high watermark and log start: what is no news is not delivered.
    known: Option<(Offset, Offset)>,
}

/// See the module's text.
#[derive(Debug, Default)]
pub(super) struct Fetcher {
    followed: BTreeMap<TopicPartition, Followed>,
    on_the_way: BTreeMap<Lane, FetchNumber>,
    /// Until when nothing is asked for in a lane.
    quiet_until: BTreeMap<Lane, Monotonic>,
    next_turn: u64,
    /// How many replicas are in [`Lane::Behind`].
    behind: usize,
}

impl Fetcher {
    /// A replica goes on from here.
    pub(super) fn follow(&mut self, now: Monotonic, partition: TopicPartition, from: FollowFrom) {
        let before = self.followed.get(&partition);
        // Its leader is to hear of that at once.
        let is_news = from.lacks_room && before.is_some_and(|before| !before.from.lacks_room);
        let at = if from.problem.is_some() && !is_news { now.plus(PROBLEM_BACKOFF) } else { now };
        let same = before.filter(|before| before.from.leader_epoch == from.leader_epoch);
        let known = same.and_then(|before| before.known);
        let turn = before.map_or(0, |before| before.turn);
        let asked = before.and_then(|before| before.asked);
        // One after the other: what a request says of a replica must not overtake what the one before says.
        let busy =
            before.filter(|before| asked.is_some() && self.on_the_way.get(&before.lane) == asked.as_ref());
        let lacks = known.is_some_and(|(high_watermark, _)| from.offset < high_watermark);
        let lane = busy.map_or(if lacks { Lane::Behind } else { Lane::Current }, |before| before.lane);
        self.remove(partition);
        self.behind += usize::from(lane == Lane::Behind);
        let stage = Stage::Ready(at);
        self.followed.insert(partition, Followed { from, stage, lane, asked, turn, known });
    }

    /// In which epoch a replica follows.
    pub(super) fn leader_epoch(&self, partition: TopicPartition) -> Option<LeaderEpoch> {
        self.followed.get(&partition).map(|followed| followed.from.leader_epoch)
    }

    pub(super) fn remove(&mut self, partition: TopicPartition) {
        let removed = self.followed.remove(&partition);
        self.behind -= usize::from(removed.is_some_and(|removed| removed.lane == Lane::Behind));
    }

    /// Whether nothing follows that leader. What is on its way does not matter any more, and must not hold up whoever
    /// follows the same leader later: it may wait for an answer that never comes.
    pub(super) fn is_idle(&self) -> bool {
        self.followed.is_empty()
    }

    /// Whether a replica here lacks what is committed.
    pub(super) fn is_behind(&self) -> bool {
        self.behind > 0
    }

    /// The lanes that somebody is in, or a request on its way.
    pub(super) fn lanes(&self) -> impl Iterator<Item = Lane> {
        let behind = self.is_behind() || self.on_the_way.contains_key(&Lane::Behind);
        let used = move |lane: &Lane| match lane {
            Lane::Current => true,
            Lane::Behind => behind,
        };
        Lane::ALL.into_iter().filter(used)
    }

    fn quiet_until(&self, lane: Lane) -> Monotonic {
        self.quiet_until.get(&lane).copied().unwrap_or(Monotonic(0))
    }

    /// Whether a lane's next request waits for what came of the one before.
    fn is_busy(&self, lane: Lane) -> bool {
        let delivered = |one: &Followed| one.stage == Stage::Delivered && one.lane == lane;
        self.on_the_way.contains_key(&lane) || self.followed.values().any(delivered)
    }

    /// What to ask for now in one lane; nothing while a request is on its way there or a shard has not taken in what
    /// came. Those that are `held` wait.
    pub(super) fn next(
        &mut self,
        now: Monotonic,
        lane: Lane,
        number: FetchNumber,
        held: impl Fn(TopicPartition) -> bool,
    ) -> Vec<(TopicPartition, FollowFrom)> {
        if lane == Lane::Behind && !self.is_behind() || now < self.quiet_until(lane) || self.is_busy(lane) {
            return Vec::new();
        }
        let is_ready =
            |one: &Followed| one.lane == lane && matches!(one.stage, Stage::Ready(at) if at <= now);
        let mut ready: Vec<(u64, TopicPartition, FollowFrom)> = Vec::new();
        for (id, followed) in self.followed.iter_mut().filter(|(_, followed)| is_ready(followed)) {
            if held(*id) {
                followed.stage = Stage::Ready(now.plus(THROTTLED_BACKOFF));
                continue;
            }
            followed.stage = Stage::Asked;
            followed.asked = Some(number);
            ready.push((followed.turn, *id, followed.from));
        }
        ready.sort_by_key(|(turn, id, _)| (*turn, *id));
        if !ready.is_empty() {
            self.on_the_way.insert(lane, number);
        }
        ready.into_iter().map(|(_, id, from)| (id, from)).collect()
    }

    /// Takes a reply, and gives what shards are to take in.
    pub(super) fn replied(
        &mut self,
        now: Monotonic,
        (lane, number): (Lane, FetchNumber),
        reply: Option<Vec<ReplicaReply>>,
        backoff: Duration,
    ) -> Vec<(TopicPartition, ReplicatedPart)> {
        if self.on_the_way.get(&lane) != Some(&number) {
            return Vec::new();
        }
        self.on_the_way.remove(&lane);
        if reply.is_none() {
            self.quiet_until.insert(lane, now.plus(backoff));
        }
        let is_asked = |one: &Followed| one.stage == Stage::Asked && one.asked == Some(number);
        let mut parts = Vec::new();
        for (id, given) in reply.into_iter().flatten() {
            let Some(followed) = self.followed.get_mut(&id).filter(|one| is_asked(one)) else {
                continue;
            };
            let Some(given) = given else {
                followed.stage = Stage::Ready(now.plus(REFUSED_BACKOFF));
                continue;
            };
            if let Replicated::Records { bytes, high_watermark, log_start } = &given {
                let news = Some((*high_watermark, *log_start));
                // Its shard may have dropped what it was told last.
                let rises = (*high_watermark).min(followed.from.offset) > followed.from.high_watermark;
                if bytes.is_empty() && followed.known == news && !rises {
                    followed.stage = Stage::Ready(now);
                    continue;
                }
                followed.known = news;
                if !bytes.is_empty() {
                    self.next_turn += 1;
                    followed.turn = self.next_turn;
                }
            }
            followed.stage = Stage::Delivered;
            let (leader_epoch, from) = (followed.from.leader_epoch, followed.from.offset);
            parts.push((id, ReplicatedPart { leader_epoch, from, given }));
        }
        // Those that the reply does not mention, or all if there is none.
        for followed in self.followed.values_mut().filter(|followed| is_asked(followed)) {
            followed.stage = Stage::Ready(now);
        }
        parts
    }

    pub(super) fn wakes_at(&self) -> Option<Monotonic> {
        let of_lane = |lane: Lane| {
            let ready = self.followed.values().filter_map(move |followed| match followed.stage {
                Stage::Ready(at) if followed.lane == lane => Some(at),
                Stage::Ready(_) | Stage::Asked | Stage::Delivered => None,
            });
            let due = (!self.is_busy(lane)).then(|| ready.min()).flatten();
            due.map(|at| at.max(self.quiet_until(lane)))
        };
        self.lanes().filter_map(of_lane).min()
    }
}
