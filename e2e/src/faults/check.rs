//! The history checker: from what clients saw and what lies on the replicas' disks to the promises that were broken.
//!
//! The rules are those of Jepsen's workload for Kafka, without transactions, and what Kafka promises beyond them. It is
//! pure: it reads no file and asks no clock. A send of which nobody knows what came of it may be there or not.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::history::{Event, What};
use super::replica::Replica;

/// How many cases of one rule are told in full.
const CASES_MAX: usize = 5;

/// What a run leaves behind.
#[derive(Debug, Default)]
pub struct Evidence {
    /// What the clients wrote down, in the order in which each did.
    pub events: Vec<Event>,
    /// The process that read everything at the end.
    pub last_reader: String,
    /// What lies on the disks, by partition and then by broker. None where nothing could be read.
    pub replicas: BTreeMap<u32, BTreeMap<u32, Replica>>,
    /// How many replicas each partition has.
    pub replication_factor: usize,
    /// Whether all producers were idempotent, so that nothing may be there twice.
    pub idempotent: bool,
    /// The producers that keep the order of what they send, whatever happens.
    pub ordered: BTreeSet<String>,
}

/// A promise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// One offset of a partition has one value for ever.
    InconsistentOffset,
    /// What an idempotent producer sent is there once at most.
    Duplicate,
    /// What was acknowledged is read by whoever reads everything.
    LostWrite,
    /// What was refused is not there.
    RefusedWrite,
    /// What is there was sent by somebody.
    NeverSent,
    /// Offsets rise for a reader that goes on.
    NonmonotonicPoll,
    /// A reader that goes on misses nothing.
    PollSkip,
    /// Offsets rise for a producer that keeps the order of what it sends.
    NonmonotonicSend,
    /// At the end the high watermark is not below what anybody was told before.
    HighWatermarkFell,
    /// Offsets on a disk are those from 0 on, without a hole.
    Sparse,
    /// All replicas hold the same bytes.
    ReplicasDiffer,
    /// Whoever read everything read what is on the disks.
    ReadDiffersFromDisk,
}

/// A broken promise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which promise.
    pub rule: Rule,
    /// How often.
    pub count: usize,
    /// The first cases.
    pub cases: Vec<String>,
}

impl fmt::Display for Violation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:?} {} times, such as: {}", self.rule, self.count, self.cases.join("; "))
    }
}

/// What was counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Acknowledged records.
    pub acknowledged: usize,
    /// Records of which nobody knows what came of them.
    pub unknown: usize,
    /// Records that are there more than once, which only idempotence prevents.
    pub repeated: usize,
}

type Broken = BTreeMap<Rule, Vec<String>>;
/// The values by partition and offset.
type Log = BTreeMap<(u32, u64), String>;

/// Checks everything.
#[must_use]
pub fn check(evidence: &Evidence) -> (Counts, Vec<Violation>) {
    let mut broken = Broken::new();
    let everything = read_by(evidence, &evidence.last_reader);
    check_offsets(evidence, &mut broken);
    let counts = check_values(evidence, &everything, &mut broken);
    check_readers(evidence, &everything, &mut broken);
    check_producers(evidence, &mut broken);
    check_high_watermarks(evidence, &mut broken);
    check_replicas(evidence, &everything, &mut broken);
    let violations = broken
        .into_iter()
        .map(|(rule, cases)| Violation {
            rule,
            count: cases.len(),
            cases: cases.into_iter().take(CASES_MAX).collect(),
        })
        .collect();
    (counts, violations)
}

fn say(broken: &mut Broken, rule: Rule, text: String) {
    broken.entry(rule).or_default().push(text);
}

fn read_by(evidence: &Evidence, process: &str) -> Log {
    let mut log = Log::new();
    for event in evidence.events.iter().filter(|event| event.process == process) {
        if let What::Read { partition, records, .. } = &event.what {
            log.extend(records.iter().map(|(offset, value)| ((*partition, *offset), value.clone())));
        }
    }
    log
}

/// Whoever names a value at an offset, names the same: producers, readers and disks.
fn check_offsets(evidence: &Evidence, broken: &mut Broken) {
    let mut known: BTreeMap<(u32, u64), (&str, String)> = BTreeMap::new();
    let mut look = |partition: u32, offset: u64, value, who: String| match known.get(&(partition, offset)) {
        None => {
            known.insert((partition, offset), (value, who));
        }
        Some((before, _)) if *before == value => {}
        Some((before, other)) => {
            let text =
                format!("partition {partition} offset {offset}: {before} for {other}, {value} for {who}");
            say(broken, Rule::InconsistentOffset, text);
        }
    };
    for event in &evidence.events {
        match &event.what {
            What::Sent { partition, offset, value } => {
                look(*partition, *offset, value, event.process.clone())
            }
            What::Read { partition, records, .. } => {
                records
                    .iter()
                    .for_each(|(offset, value)| look(*partition, *offset, value, event.process.clone()));
            }
            What::Sending { .. }
            | What::Refused { .. }
            | What::Unknown { .. }
            | What::NotRead { .. }
            | What::End => {}
        }
    }
    for (partition, replicas) in &evidence.replicas {
        for (broker, replica) in replicas {
            replica.records.iter().for_each(|(offset, value)| {
                look(*partition, *offset, value, format!("the disk of broker {broker}"));
            });
        }
    }
}

/// Each value that was sent against what is there at the end.
fn check_values(evidence: &Evidence, everything: &Log, broken: &mut Broken) -> Counts {
    let mut counts = Counts::default();
    let mut places: BTreeMap<&str, Vec<(u32, u64)>> = BTreeMap::new();
    for (place, value) in everything {
        places.entry(value).or_default().push(*place);
    }
    for (value, places) in places.iter().filter(|(_, places)| places.len() > 1) {
        counts.repeated += 1;
        if evidence.idempotent {
            say(broken, Rule::Duplicate, format!("{value} at {places:?} (partition, offset)"));
        }
    }
    // Only some producers tell before they send; by their names the values of the others are known.
    let mut sent: BTreeSet<&str> = BTreeSet::new();
    let mut tell_before: BTreeSet<&str> = BTreeSet::new();
    for event in &evidence.events {
        match &event.what {
            What::Sending { value } => {
                sent.insert(value);
                tell_before.insert(prefix(value));
            }
            What::Sent { partition, offset, value } => {
                counts.acknowledged += 1;
                if !places.contains_key(value.as_str()) {
                    let text = format!(
                        "{value}, acknowledged to {} at partition {partition} offset {offset}",
                        event.process
                    );
                    say(broken, Rule::LostWrite, text);
                }
            }
            What::Refused { value } if places.contains_key(value.as_str()) => {
                say(broken, Rule::RefusedWrite, value.clone());
            }
            What::Unknown { .. } => counts.unknown += 1,
            What::Refused { .. } | What::Read { .. } | What::NotRead { .. } | What::End => {}
        }
    }
    let strange = places.keys().filter(|value| tell_before.contains(prefix(value)) && !sent.contains(*value));
    strange.for_each(|value| say(broken, Rule::NeverSent, (*value).to_owned()));
    counts
}

fn prefix(value: &str) -> &str {
    value.split('.').next().unwrap_or(value)
}

fn check_readers(evidence: &Evidence, everything: &Log, broken: &mut Broken) {
    let mut last: BTreeMap<(&str, u32), u64> = BTreeMap::new();
    for event in &evidence.events {
        let What::Read { partition, records, .. } = &event.what else { continue };
        for (offset, _) in records {
            let before = last.insert((&event.process, *partition), *offset);
            let next = before.map_or(0, |before| before + 1);
            if *offset < next {
                let text = format!(
                    "{} read offset {offset} of partition {partition} after {before:?}",
                    event.process
                );
                say(broken, Rule::NonmonotonicPoll, text);
            } else if let Some((skipped, value)) =
                everything.range((*partition, next)..(*partition, *offset)).next()
            {
                let text =
                    format!("{} went from {before:?} to {offset} past {value} at {skipped:?}", event.process);
                say(broken, Rule::PollSkip, text);
            }
        }
    }
}

/// A producer's values end in a number that rises; so must their offsets in each partition.
fn check_producers(evidence: &Evidence, broken: &mut Broken) {
    let mut sent: BTreeMap<(&str, u32), Vec<(u64, u64)>> = BTreeMap::new();
    for event in &evidence.events {
        if let What::Sent { partition, offset, value } = &event.what
            && evidence.ordered.contains(&event.process)
            && let Some(number) = value.rsplit('.').next().and_then(|number| number.parse().ok())
        {
            sent.entry((&event.process, *partition)).or_default().push((number, *offset));
        }
    }
    for ((process, partition), mut sends) in sent {
        sends.sort_unstable();
        for (one, next) in sends.iter().zip(sends.iter().skip(1)).filter(|(one, next)| one.1 >= next.1) {
            let text =
                format!("{process} in partition {partition}: number and offset {one:?}, then {next:?}");
            say(broken, Rule::NonmonotonicSend, text);
        }
    }
}

/// For a while after an election a reader may be told less, since a new leader learns of the high watermark one fetch
/// later. In the end it may not.
fn check_high_watermarks(evidence: &Evidence, broken: &mut Broken) {
    let mut most: BTreeMap<u32, u64> = BTreeMap::new();
    let mut at_last: BTreeMap<u32, u64> = BTreeMap::new();
    for event in &evidence.events {
        if let What::Read { partition, high_watermark: Some(told), .. } = &event.what {
            let known = most.entry(*partition).or_default();
            *known = (*known).max(*told);
            if event.process == evidence.last_reader {
                at_last.insert(*partition, *told);
            }
        }
    }
    for (partition, told) in at_last {
        let known = most.get(&partition).copied().unwrap_or_default();
        if told < known {
            say(broken, Rule::HighWatermarkFell, format!("partition {partition}: {known}, at last {told}"));
        }
    }
}

fn check_replicas(evidence: &Evidence, everything: &Log, broken: &mut Broken) {
    for (partition, replicas) in &evidence.replicas {
        if replicas.len() != evidence.replication_factor {
            let text = format!("partition {partition} lies on brokers {:?} only", replicas.keys());
            say(broken, Rule::ReplicasDiffer, text);
        }
        for (broker, replica) in replicas {
            let mut next = 0;
            for (from, end) in &replica.batches {
                if *from != next {
                    let text = format!(
                        "broker {broker} partition {partition}: a batch at {from}, where {next} was due"
                    );
                    say(broken, Rule::Sparse, text);
                }
                next = *end;
            }
        }
        for ((one, mine), (other, theirs)) in replicas.iter().zip(replicas.iter().skip(1)) {
            if let Some(difference) = mine.difference(theirs) {
                let text = format!("partition {partition} of brokers {one} and {other}: {difference}");
                say(broken, Rule::ReplicasDiffer, text);
            }
        }
        let Some((broker, replica)) = replicas.first_key_value() else { continue };
        let read: BTreeSet<u64> = everything
            .range((*partition, 0)..=(*partition, u64::MAX))
            .map(|((_, offset), _)| *offset)
            .collect();
        let lie: BTreeSet<u64> = replica.records.iter().map(|(offset, _)| *offset).collect();
        if let Some(offset) = read.symmetric_difference(&lie).next() {
            let text = format!(
                "partition {partition}: {} read, {} on broker {broker}; the first that only one has is {offset}",
                read.len(),
                lie.len()
            );
            say(broken, Rule::ReadDiffersFromDisk, text);
        }
    }
}

#[cfg(test)]
mod tests;
