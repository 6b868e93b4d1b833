//! Which replicas cannot lead because their logs are damaged, as their brokers' heartbeats say (decision 0044).
//!
//! Such a replica leaves the ISR and the eligible leaders, which is written down, as soon as another is among them. The
//! last one stays what it is, since whoever restores its log has everything; it is only not elected. That is not
//! written down: a broker says it with every heartbeat, and one that starts says it before it is in service. Right after
//! a change of controllers such a partition may be given a leader that serves nothing, until it is heard.

use std::collections::{BTreeMap, BTreeSet};

use crate::ids::{NodeId, TopicPartition};
use crate::planted::{self, Bug};

/// See the module's text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct DamagedLogs(BTreeMap<NodeId, BTreeSet<TopicPartition>>);

impl DamagedLogs {
    /// A broker says that these of its logs are damaged, and no others.
    pub(super) fn told(&mut self, broker: NodeId, logs: &[TopicPartition]) {
        if planted::is(Bug::LeadWithDamage) {
            return;
        }
        if logs.is_empty() {
            self.0.remove(&broker);
        } else {
            self.0.insert(broker, logs.iter().copied().collect());
        }
    }

    /// A broker begins anew, or is gone.
    pub(super) fn forget(&mut self, broker: NodeId) {
        self.0.remove(&broker);
    }

    /// The damaged logs of a broker.
    pub(super) fn of(&self, broker: NodeId) -> impl Iterator<Item = TopicPartition> + '_ {
        self.0.get(&broker).into_iter().flatten().copied()
    }

    /// Whether a broker's replica is damaged.
    pub(super) fn contains(&self, broker: NodeId, at: TopicPartition) -> bool {
        self.0.get(&broker).is_some_and(|logs| logs.contains(&at))
    }
}
