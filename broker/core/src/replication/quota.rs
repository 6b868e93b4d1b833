//! How much throttled replicas may take a second: Kafka's replication quota (KIP-73).
//!
//! Whoever moves replicas names the replicas that are throttled (`leader.` and `follower.replication.throttled.replicas` of
//! the topic) and the rate (`leader.` and `follower.replication.throttled.rate` of the brokers). Only a replica that is not in
//! sync is held back: a member of the ISR holds up producers. What members of the ISR take is not counted either,
//! other than in Kafka, so that a move gets the whole rate however much is produced.
//!
//! Who takes more than there is runs up a debt, and the rate pays it off before anybody takes more: a single answer may
//! be large, but over time the rate is kept exactly.

use std::time::Duration;

use crate::config::Settings;
use crate::ids::{NodeId, TopicPartition};
use crate::metadata::image::{ConfigResource, Image};
use crate::time::Monotonic;

/// How long whoever is held back waits until it looks again.
pub const THROTTLED_BACKOFF: Duration = Duration::from_millis(200);

/// One side of a throttle: what says its rate, and what says for which replicas of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ThrottleKeys {
    rate: &'static str,
    replicas: &'static str,
}

/// What a broker serves as a leader.
pub const LEADER: ThrottleKeys = ThrottleKeys {
    rate: "leader.replication.throttled.rate",
    replicas: "leader.replication.throttled.replicas",
};

/// What it fetches as a follower.
pub const FOLLOWER: ThrottleKeys = ThrottleKeys {
    rate: "follower.replication.throttled.rate",
    replicas: "follower.replication.throttled.replicas",
};

impl ThrottleKeys {
    /// The rate of a broker, in bytes a second. `fixed` is what its properties file sets.
    pub fn rate(self, image: &Image, broker: NodeId, fixed: &Settings) -> u64 {
        rate(self.rate, image, broker, fixed).unwrap_or(u64::MAX)
    }

    /// Whether what `follower` gets of a partition is throttled on `broker`.
    pub fn throttles(self, image: &Image, id: TopicPartition, broker: NodeId, follower: NodeId) -> bool {
        let Some(topic) = image.topics.get(&id.topic_id) else { return false };
        let Some(partition) = topic.partitions.get(&id.partition) else { return false };
        let configs = image.configs.get(&ConfigResource::Topic(topic.name.clone()));
        let list = configs.and_then(|configs| configs.get(self.replicas));
        list.is_some_and(|list| is_listed(list, id.partition.0, broker.0))
            && !partition.isr.contains(&follower)
    }
}

/// How much may be copied between the log directories of a broker, in bytes a second. `fixed` is what its properties file
/// sets.
pub fn between_directories(image: &Image, broker: NodeId, fixed: &Settings) -> u64 {
    rate("replica.alter.log.dirs.io.max.bytes.per.second", image, broker, fixed).unwrap_or(u64::MAX)
}

/// What a broker's own setting of a key, the cluster's or the properties file's says, if one does.
pub(super) fn rate(key: &str, image: &Image, broker: NodeId, fixed: &Settings) -> Option<u64> {
    let set = |resource| image.configs.get(&resource)?.get(key).cloned();
    let text = set(ConfigResource::Broker(broker)).or_else(|| set(ConfigResource::BrokerDefault));
    text.or_else(|| fixed.get(key).cloned()).and_then(|text| text.trim().parse().ok())
}

/// Whether a broker's replica of a partition is in a list of throttled ones: `*`, or `PARTITION:BROKER` and more of them.
fn is_listed(list: &str, partition: i32, broker: i32) -> bool {
    list.split(',').map(str::trim).any(|entry| {
        let named = entry.split_once(':').map(|(index, id)| (index.trim().parse(), id.trim().parse()));
        entry == "*" || named == Some((Ok(partition), Ok(broker)))
    })
}

/// What may be taken now.
#[derive(Debug, Default)]
pub struct ReplicationQuota {
    /// Bytes a second; none if there is no limit.
    rate: Option<u64>,
    /// Thousandths of bytes that are left, or, below zero, that were taken too much.
    left: i128,
    /// When that was so.
    at: Monotonic,
}

impl ReplicationQuota {
    /// Sets how much may be taken a second from now on. Kafka's default, the greatest of its numbers, is no limit.
    pub fn set_rate(&mut self, now: Monotonic, bytes_per_second: u64) {
        self.refill(now);
        let unlimited = i64::try_from(bytes_per_second).map_or(true, |rate| rate == i64::MAX);
        self.rate = Some(bytes_per_second).filter(|_| !unlimited);
        if unlimited {
            self.left = 0;
        }
    }

    /// So many bytes were taken.
    pub fn record(&mut self, now: Monotonic, bytes: u64) {
        self.refill(now);
        if self.rate.is_some() {
            self.left -= i128::from(bytes) * 1_000;
        }
    }

    /// So many bytes more may be taken, as if that much time had passed.
    pub fn earn(&mut self, now: Monotonic, bytes: u64) {
        self.refill(now);
        self.add(i128::from(bytes) * 1_000);
    }

    /// How long it takes until the rate has paid off what was taken too much when last looked.
    pub fn paid_in(&self) -> Duration {
        let debt = u64::try_from(self.left.saturating_neg().max(0)).unwrap_or(u64::MAX);
        Duration::from_millis(debt.div_ceil(self.rate.unwrap_or(u64::MAX).max(1)))
    }

    /// Whether there is a limit.
    pub fn is_limited(&self) -> bool {
        self.rate.is_some()
    }

    /// Whether nothing more may be taken now.
    pub fn is_exceeded(&mut self, now: Monotonic) -> bool {
        self.refill(now);
        self.left < 0
    }

    /// What is not taken is kept for a second at most.
    fn refill(&mut self, now: Monotonic) {
        let elapsed_ms = i128::try_from(now.since(self.at).as_millis()).unwrap_or(i128::MAX);
        self.at = self.at.max(now);
        self.add(i128::from(self.rate.unwrap_or(0)).saturating_mul(elapsed_ms));
    }

    fn add(&mut self, thousandths: i128) {
        let most = i128::from(self.rate.unwrap_or(0)) * 1_000;
        self.left = self.left.saturating_add(thousandths).min(most);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_kept_over_time_whatever_comes_at_once() {
        for (rate, at_once) in [(1_000, 700), (1_000, 30_000), (50_000, 10)] {
            let mut quota = ReplicationQuota::default();
            quota.set_rate(Monotonic(0), rate);
            let mut taken = 0;
            for ms in 0..100_000 {
                if !quota.is_exceeded(Monotonic(ms)) {
                    quota.record(Monotonic(ms), at_once);
                    taken += at_once;
                }
            }
            let most = 101 * rate.min(at_once * 1_000) + at_once;
            assert!(taken <= most && taken >= most - 2 * rate - 2 * at_once, "{taken} of {most}");
        }
    }

    #[test]
    fn no_rate_is_no_limit_and_a_rate_of_nothing_lets_one_answer_pass() {
        let mut quota = ReplicationQuota::default();
        quota.record(Monotonic(0), u64::MAX);
        assert!(!quota.is_exceeded(Monotonic(1)));
        quota.set_rate(Monotonic(1), 0);
        assert!(!quota.is_exceeded(Monotonic(1)));
        quota.record(Monotonic(1), 1);
        assert!(quota.is_exceeded(Monotonic(1_000_000_000)));
        quota.set_rate(Monotonic(1_000_000_000), u64::try_from(i64::MAX).unwrap());
        assert!(!quota.is_exceeded(Monotonic(1_000_000_000)));
    }

    #[test]
    fn a_changed_rate_pays_off_what_was_taken_before() {
        let mut quota = ReplicationQuota::default();
        quota.set_rate(Monotonic(0), 10);
        quota.record(Monotonic(0), 5_000);
        assert!(quota.is_exceeded(Monotonic(2_000)));
        quota.set_rate(Monotonic(2_000), 10_000);
        assert!(!quota.is_exceeded(Monotonic(2_500)));
    }

    #[test]
    fn lists_name_replicas_by_partition_and_broker() {
        for (list, expected) in [
            ("", false),
            ("*", true),
            ("0:1", false),
            ("0:1, 3:2", true),
            ("2:3", false),
            ("3:20,33:2", false),
        ] {
            assert_eq!(is_listed(list, 3, 2), expected, "{list}");
        }
    }
}
