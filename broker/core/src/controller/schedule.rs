//! When the active controller elects leaders without being asked (rule 58 of the protocol).
//!
//! A broker that comes into service is given what it can lead at once. What is done in turn is what an earlier active
//! controller left undone, what a replica that lacks records may lead though none could when that was allowed, and
//! giving leadership back to the preferred replicas.

use std::time::Duration;

use super::damaged::DamagedLogs;
use super::partitions::Partitions;
use super::state::ControllerConfig;
use crate::metadata::image::Image;
use crate::metadata::record::Record;
use crate::time::Monotonic;

/// How often partitions without a leader are looked at: `unclean.leader.election.interval.ms` of Kafka.
const ELECTION_INTERVAL: Duration = Duration::from_secs(300);

/// So many leaders go back to the preferred replicas in one tick, as in Kafka: the clients of each look for it anew.
const ELECTIONS_PER_TICK_MAX: usize = 1_000;

/// See the module's text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ElectionSchedule {
    elections_due: Monotonic,
    rebalance_due: Monotonic,
}

impl ElectionSchedule {
    /// That of a controller that becomes active.
    pub(super) fn new(config: &ControllerConfig, now: Monotonic) -> Self {
        Self { elections_due: now, rebalance_due: now.plus(config.leader_imbalance_check_interval) }
    }

    /// What is to be elected now, and the schedule once that is written.
    pub(super) fn elect(
        self,
        image: &Image,
        config: &ControllerConfig,
        damaged: &DamagedLogs,
        now: Monotonic,
    ) -> (Vec<Record>, Self) {
        if self.elections_due <= now {
            let records = Partitions::of(image, config, damaged).elect_leaders();
            return (records, Self { elections_due: now.plus(ELECTION_INTERVAL), ..self });
        }
        if self.rebalance_due > now {
            return (Vec::new(), self);
        }
        let mut records = Vec::new();
        if config.auto_leader_rebalance {
            records = Partitions::of(image, config, damaged).elect_preferred_leaders(ELECTIONS_PER_TICK_MAX);
        }
        // With so many there may be more, for the next tick.
        let next = match records.len() {
            ELECTIONS_PER_TICK_MAX.. => now,
            _ => now.plus(config.leader_imbalance_check_interval),
        };
        (records, Self { rebalance_due: next, ..self })
    }
}
