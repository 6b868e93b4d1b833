//! All checkers of one run, and the history.

use std::collections::{BTreeMap, BTreeSet};

use ottla_core::ids::{Offset, TopicPartition};

use crate::checkers::acknowledged::Acknowledged;
use crate::checkers::committed::Committed;
use crate::checkers::history::{self, Entry};
use crate::checkers::leaders::Leaders;
use crate::checkers::votes::Votes;
use crate::checkers::{Rule, Violation};
use crate::coverage::Coverage;
use crate::records::BadBatch;

/// See the module's text.
#[derive(Debug, Default)]
pub(crate) struct Checks {
    pub(crate) leaders: Leaders,
    pub(crate) votes: Votes,
    pub(crate) committed: Committed,
    acknowledged: Acknowledged,
    /// Partitions whose only volume was lost: nothing is owed for them any more.
    excused: BTreeSet<TopicPartition>,
    history: Vec<Entry>,
    /// What happened, as far as clients and checkers see it.
    pub(crate) coverage: Coverage,
}

impl Checks {
    pub(crate) fn acknowledged(
        &mut self,
        partition: TopicPartition,
        offset: Offset,
        value: &str,
    ) -> Result<(), Violation> {
        if self.excused.contains(&partition) {
            return Ok(());
        }
        self.acknowledged.acknowledged(partition, offset, value)
    }

    pub(crate) fn read(
        &self,
        partition: TopicPartition,
        from: Offset,
        records: &[(Offset, String)],
    ) -> Result<(), Violation> {
        if self.excused.contains(&partition) {
            return Ok(());
        }
        self.acknowledged.read(partition, from, records)
    }

    /// A broker has opened a log again: here is all of it.
    pub(crate) fn reopened(
        &self,
        partition: TopicPartition,
        records: &BTreeMap<Offset, String>,
    ) -> Result<(), Violation> {
        if self.excused.contains(&partition) {
            return Ok(());
        }
        self.acknowledged.readable(partition, records)
    }

    pub(crate) fn unreadable(&self, partition: TopicPartition, bad: &BadBatch) -> Violation {
        let TopicPartition { topic_id, partition } = partition;
        Violation::new(Rule::AcknowledgedBatch, format!("partition {partition} of {topic_id}: {bad}"))
    }

    pub(crate) fn excuse(&mut self, partition: TopicPartition) {
        self.excused.insert(partition);
        self.acknowledged.forget(partition);
    }

    pub(crate) fn excused(&self) -> &BTreeSet<TopicPartition> {
        &self.excused
    }

    pub(crate) fn history(&mut self, entry: Entry) {
        self.history.push(entry);
    }

    /// The history is judged as a whole, at the end.
    pub(crate) fn judge_history(&self) -> Result<(), Violation> {
        let excused: BTreeSet<(String, i32)> = self
            .excused
            .iter()
            .map(|partition| (partition.topic_id.to_string(), partition.partition.0))
            .collect();
        let owed = |entry: &&Entry| !excused.contains(&(entry.topic.clone(), entry.partition));
        let owed: Vec<Entry> = self.history.iter().filter(owed).cloned().collect();
        match history::check(&owed).into_iter().next() {
            None => Ok(()),
            Some(violation) => Err(violation),
        }
    }
}
