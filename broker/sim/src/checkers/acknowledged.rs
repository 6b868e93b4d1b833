//! An acknowledged batch is readable after any crash, with the value it was acknowledged with.
//!
//! Values are unique, so an offset that holds another value is a batch lost and replaced. Partitions whose
//! only volume was lost are excused by the simulation: their batches are forgotten here.

use std::collections::BTreeMap;

use ottla_core::ids::{Offset, TopicPartition};

use super::{Rule, Violation};

/// Every acknowledged record: what was written where.
#[derive(Debug, Default)]
pub struct Acknowledged {
    records: BTreeMap<(TopicPartition, Offset), String>,
}

impl Acknowledged {
    /// A producer got its acknowledgement.
    pub fn acknowledged(
        &mut self,
        partition: TopicPartition,
        offset: Offset,
        value: &str,
    ) -> Result<(), Violation> {
        match self.records.insert((partition, offset), value.to_owned()) {
            None => Ok(()),
            Some(first) => {
                let text = format!("offset {offset} was acknowledged with {first} and again with {value}");
                Err(broken(partition, &text))
            }
        }
    }

    /// Checks everything that can be read from a partition, in order of offset.
    pub fn readable(
        &self,
        partition: TopicPartition,
        records: &BTreeMap<Offset, String>,
    ) -> Result<(), Violation> {
        for (offset, value) in self.of(partition) {
            match records.get(&offset) {
                Some(read) if read == value => {}
                Some(read) => {
                    let text = format!("offset {offset} was acknowledged with {value} and reads {read}");
                    return Err(broken(partition, &text));
                }
                None => {
                    let end = records.last_key_value().map_or(Offset(0), |(last, _)| last.plus(1));
                    let text =
                        format!("offset {offset} was acknowledged with {value}; the log ends at {end}");
                    return Err(broken(partition, &text));
                }
            }
        }
        Ok(())
    }

    /// Checks one read that began at an offset: up to its last record nothing acknowledged is missing.
    pub fn read(
        &self,
        partition: TopicPartition,
        from: Offset,
        records: &[(Offset, String)],
    ) -> Result<(), Violation> {
        let read: BTreeMap<Offset, &String> =
            records.iter().map(|(offset, value)| (*offset, value)).collect();
        let Some((last, _)) = read.last_key_value() else { return Ok(()) };
        let expected = self.records.range((partition, from)..=(partition, *last));
        for ((_, offset), value) in expected {
            if read.get(offset) != Some(&value) {
                let text = format!(
                    "offset {offset} was acknowledged with {value}; a read from {from} to {last} has {:?} there",
                    read.get(offset)
                );
                return Err(broken(partition, &text));
            }
        }
        Ok(())
    }

    /// The partition's only volume was lost, or its topic deleted: nothing is owed.
    pub fn forget(&mut self, partition: TopicPartition) {
        self.records.retain(|(of, _), _| *of != partition);
    }

    fn of(&self, partition: TopicPartition) -> impl Iterator<Item = (Offset, &String)> {
        let range = (partition, Offset(i64::MIN))..=(partition, Offset(i64::MAX));
        self.records.range(range).map(|((_, offset), value)| (*offset, value))
    }
}

fn broken(partition: TopicPartition, text: &str) -> Violation {
    let TopicPartition { topic_id, partition } = partition;
    Violation::new(Rule::AcknowledgedBatch, format!("partition {partition} of {topic_id}: {text}"))
}

#[cfg(test)]
mod tests {
    use ottla_core::ids::{PartitionIndex, TopicId};

    use super::*;

    fn records(values: &[(i64, &str)]) -> BTreeMap<Offset, String> {
        values.iter().map(|(offset, value)| (Offset(*offset), (*value).to_owned())).collect()
    }

    #[test]
    fn a_lost_and_a_replaced_record_are_seen() {
        let partition = TopicPartition { topic_id: TopicId::default(), partition: PartitionIndex(0) };
        let mut acknowledged = Acknowledged::default();
        acknowledged.acknowledged(partition, Offset(3), "a").unwrap();
        acknowledged.readable(partition, &records(&[(2, "x"), (3, "a"), (4, "y")])).unwrap();
        assert!(acknowledged.readable(partition, &records(&[(2, "x")])).is_err());
        assert!(acknowledged.readable(partition, &records(&[(2, "x"), (3, "b")])).is_err());
        acknowledged.read(partition, Offset(4), &[(Offset(4), "y".to_owned())]).unwrap();
        acknowledged.read(partition, Offset(3), &[(Offset(3), "a".to_owned())]).unwrap();
        assert!(acknowledged.read(partition, Offset(2), &[(Offset(4), "y".to_owned())]).is_err());
        assert!(acknowledged.read(partition, Offset(3), &[(Offset(3), "b".to_owned())]).is_err());
        acknowledged.forget(partition);
        acknowledged.readable(partition, &records(&[])).unwrap();
    }
}
