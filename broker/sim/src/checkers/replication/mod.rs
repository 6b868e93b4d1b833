//! What replication promises, looked at after every step: log matching below the high watermark, and that every replica
//! that may lead without loss holds all that was committed.
//!
//! A batch counts as committed when any replica's high watermark passes it. From then on
//! - every log whose high watermark is above it has that batch there and no other (log matching); consumers are given
//!   nothing else;
//! - every member of the ISR has it on its volume, in service or not (rule 57 of the protocol);
//! - and so has every eligible leader replica (KIP-966).
//!
//! Whoever calls reads the batches from the volume ([`BatchId`]): what a replica believes of its own log does not count.
//! There is neither retention nor compaction in a simulation, so that a log always begins at offset 0.

mod membership;

use std::collections::BTreeMap;

use ottla_core::ids::{LeaderEpoch, NodeId, Offset, TopicPartition};

pub use membership::well_formed;

use super::{Rule, Violation};

/// What tells a batch from every other: a batch with the same checksum, epoch and place is the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchId {
    /// The offset of its first record.
    pub base: Offset,
    /// The offset after its last one.
    pub end: Offset,
    /// The leadership it was appended in.
    pub epoch: LeaderEpoch,
    /// Of its records.
    pub crc: u32,
}

/// Why a replica must hold what was committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Member {
    /// It is in the ISR.
    InSync,
    /// It is an eligible leader replica.
    Eligible,
}

#[derive(Debug)]
struct Committed {
    batch: BatchId,
    /// The replica whose high watermark passed it first.
    by: NodeId,
}

/// See the module's text.
#[derive(Debug, Default)]
pub struct Replication {
    committed: BTreeMap<TopicPartition, Vec<Committed>>,
}

impl Replication {
    /// The offset after the last committed record.
    pub fn end(&self, partition: TopicPartition) -> Offset {
        let last = self.committed.get(&partition).and_then(|batches| batches.last());
        last.map_or(Offset(0), |last| last.batch.end)
    }

    /// A replica's high watermark stands at `high_watermark`, and was `from` when it was last looked at. `log` are the
    /// batches of its volume that end after `from`, in order.
    pub fn high_watermark(
        &mut self,
        partition: TopicPartition,
        node: NodeId,
        from: Offset,
        high_watermark: Offset,
        log: &[BatchId],
    ) -> Result<(), Violation> {
        let committed = self.committed.entry(partition).or_default();
        let mut next = from;
        for batch in log.iter().take_while(|batch| batch.base < high_watermark) {
            if batch.base > next || batch.end > high_watermark {
                break;
            }
            match committed.binary_search_by_key(&batch.base, |known| known.batch.base) {
                Ok(at) if committed[at].batch == *batch => {}
                Ok(at) => return Err(differs(partition, node, batch, &committed[at])),
                Err(at)
                    if at == committed.len()
                        && committed.last().is_none_or(|last| last.batch.end == batch.base) =>
                {
                    committed.push(Committed { batch: *batch, by: node });
                }
                Err(at) => return Err(differs(partition, node, batch, &committed[at.saturating_sub(1)])),
            }
            next = batch.end;
        }
        if next < high_watermark {
            let text = format!(
                "the high watermark of node {node} is {high_watermark}, and its log has no whole batches from {next} to there"
            );
            return Err(broken(Rule::LogMatching, partition, &text));
        }
        Ok(())
    }

    /// A replica that may lead without loss has this log from `from` on: it must hold all that was committed there.
    pub fn holds(
        &self,
        partition: TopicPartition,
        (node, member): (NodeId, Member),
        from: Offset,
        log: &[BatchId],
    ) -> Result<(), Violation> {
        let Some(committed) = self.committed.get(&partition) else { return Ok(()) };
        let begin = committed.partition_point(|known| known.batch.end <= from);
        let mut log = log.iter().skip_while(|batch| batch.end <= from);
        for known in &committed[begin..] {
            let found = log.next();
            if found != Some(&known.batch) {
                let (rule, place) = match member {
                    Member::InSync => (Rule::InSync, "in the ISR"),
                    Member::Eligible => (Rule::EligibleLeader, "an eligible leader"),
                };
                let text = format!(
                    "node {node} is {place}; {:?} was committed (node {} was the first to say so), and it has {found:?}",
                    known.batch, known.by
                );
                return Err(broken(rule, partition, &text));
            }
        }
        Ok(())
    }

    /// A replica gave a consumer records up to `end`: what is not committed may go again, or be replaced.
    pub fn gave(&self, partition: TopicPartition, node: NodeId, end: Offset) -> Result<(), Violation> {
        let committed = self.end(partition);
        if end <= committed {
            return Ok(());
        }
        let text =
            format!("node {node} gave a consumer what lies before {end}, and {committed} is committed");
        Err(broken(Rule::LogMatching, partition, &text))
    }

    /// Nothing is owed for it any more.
    pub fn forget(&mut self, partition: TopicPartition) {
        self.committed.remove(&partition);
    }
}

fn differs(partition: TopicPartition, node: NodeId, batch: &BatchId, known: &Committed) -> Violation {
    let text = format!(
        "below the high watermark node {node} has {batch:?}, where node {} had {:?}",
        known.by, known.batch
    );
    broken(Rule::LogMatching, partition, &text)
}

fn broken(rule: Rule, partition: TopicPartition, text: &str) -> Violation {
    let TopicPartition { topic_id, partition } = partition;
    Violation::new(rule, format!("partition {partition} of {topic_id}: {text}"))
}

#[cfg(test)]
mod tests {
    use ottla_core::ids::{PartitionIndex, TopicId};

    use super::*;

    const PARTITION: TopicPartition =
        TopicPartition { topic_id: TopicId(uuid::Uuid::nil()), partition: PartitionIndex(0) };
    const A: NodeId = NodeId(1);
    const B: NodeId = NodeId(2);

    fn batch(base: i64, end: i64, epoch: i32) -> BatchId {
        BatchId { base: Offset(base), end: Offset(end), epoch: LeaderEpoch(epoch), crc: 7 }
    }

    fn committed(log: &[BatchId]) -> Replication {
        let mut replication = Replication::default();
        let end = log.last().unwrap().end;
        replication.high_watermark(PARTITION, A, Offset(0), end, log).unwrap();
        replication
    }

    #[test]
    fn two_logs_that_differ_below_the_high_watermark_are_seen_and_above_it_they_may() {
        let log = [batch(0, 2, 1), batch(2, 5, 1), batch(5, 6, 1)];
        let mut replication = committed(&log[..2]);
        let other = [batch(0, 2, 1), batch(2, 5, 1), batch(5, 9, 2)];
        replication.high_watermark(PARTITION, B, Offset(0), Offset(5), &other).unwrap();
        replication.high_watermark(PARTITION, B, Offset(5), Offset(9), &other[2..]).unwrap();
        let seen = replication.high_watermark(PARTITION, A, Offset(5), Offset(6), &log[2..]).unwrap_err();
        assert_eq!(seen.rule, Rule::LogMatching);
        let split = [batch(0, 1, 1), batch(1, 5, 1)];
        let seen = replication.high_watermark(PARTITION, B, Offset(0), Offset(5), &split).unwrap_err();
        assert_eq!(seen.rule, Rule::LogMatching, "other batches, the same offsets");
    }

    #[test]
    fn a_consumer_that_is_given_what_is_not_committed_is_seen() {
        let replication = committed(&[batch(0, 2, 1), batch(2, 5, 1)]);
        replication.gave(PARTITION, B, Offset(5)).unwrap();
        let seen = replication.gave(PARTITION, B, Offset(6)).unwrap_err();
        assert_eq!(seen.rule, Rule::LogMatching);
    }

    #[test]
    fn a_high_watermark_above_what_the_volume_holds_is_seen() {
        let mut replication = Replication::default();
        let seen = replication.high_watermark(PARTITION, A, Offset(0), Offset(5), &[batch(0, 2, 1)]);
        assert_eq!(seen.unwrap_err().rule, Rule::LogMatching);
        let seen = replication.high_watermark(PARTITION, A, Offset(2), Offset(5), &[batch(3, 5, 1)]);
        assert_eq!(seen.unwrap_err().rule, Rule::LogMatching, "there is a hole");
    }

    #[test]
    fn a_member_that_lacks_what_was_committed_is_seen_by_the_rule_of_its_place() {
        let log = [batch(0, 2, 1), batch(2, 5, 1)];
        let replication = committed(&log);
        let longer = [log[0], log[1], batch(5, 6, 2)];
        replication.holds(PARTITION, (B, Member::InSync), Offset(0), &longer).unwrap();
        replication.holds(PARTITION, (B, Member::InSync), Offset(2), &longer[1..]).unwrap();
        for (member, rule) in [(Member::InSync, Rule::InSync), (Member::Eligible, Rule::EligibleLeader)] {
            for lacking in [&log[..1], &[log[0], batch(2, 5, 2)], &[]] {
                let seen = replication.holds(PARTITION, (B, member), Offset(0), lacking).unwrap_err();
                assert_eq!(seen.rule, rule);
            }
        }
    }

    #[test]
    fn what_is_forgotten_is_not_owed() {
        let mut replication = committed(&[batch(0, 2, 1)]);
        assert_eq!(replication.end(PARTITION), Offset(2));
        replication.forget(PARTITION);
        assert_eq!(replication.end(PARTITION), Offset(0));
        replication.holds(PARTITION, (B, Member::InSync), Offset(0), &[]).unwrap();
    }
}
