//! The rules, one function each, in the order of the list in Jepsen's report on Kafka.

use std::collections::{BTreeMap, BTreeSet};

use super::{Entry, Operation, Stage};
use crate::checkers::{Rule, Violation};

/// One partition's part of a history, gathered once.
#[derive(Debug, Default)]
struct Gathered<'a> {
    /// Every value seen at an offset, by an acknowledgement or a read.
    values: BTreeMap<i64, BTreeSet<&'a str>>,
    /// Every offset a value was seen at.
    offsets: BTreeMap<&'a str, BTreeSet<i64>>,
    /// Acknowledged sends: value and offset, if one was given.
    acknowledged: Vec<(&'a str, Option<i64>)>,
    failed: BTreeSet<&'a str>,
    idempotent: BTreeSet<&'a str>,
    read: BTreeSet<&'a str>,
    highest_read: Option<i64>,
    /// The high watermark of the last final read; `None` if there was none.
    final_high_watermark: Option<i64>,
    leaders: BTreeMap<i32, BTreeSet<i32>>,
}

impl<'a> Gathered<'a> {
    fn add(&mut self, entry: &'a Entry) {
        match (&entry.operation, entry.stage) {
            (Operation::Send { value, offset, idempotent }, stage) => {
                if *idempotent {
                    self.idempotent.insert(value);
                }
                match stage {
                    Stage::Ok => {
                        self.acknowledged.push((value, *offset));
                        if let Some(offset) = offset {
                            self.saw(*offset, value);
                        }
                    }
                    Stage::Fail => {
                        self.failed.insert(value);
                    }
                    Stage::Invoke | Stage::Info => {}
                }
            }
            (Operation::Poll { records, high_watermark, is_final }, Stage::Ok) => {
                for (offset, value) in records {
                    self.saw(*offset, value);
                    self.read.insert(value);
                    self.highest_read = self.highest_read.max(Some(*offset));
                }
                if *is_final {
                    self.final_high_watermark = self.final_high_watermark.max(*high_watermark);
                }
            }
            (Operation::Leader { node, epoch }, Stage::Ok) => {
                self.leaders.entry(*epoch).or_default().insert(*node);
            }
            (
                Operation::Poll { .. }
                | Operation::Leader { .. }
                | Operation::Assign
                | Operation::ListOffsets { .. },
                _,
            ) => {}
        }
    }

    fn saw(&mut self, offset: i64, value: &'a str) {
        self.values.entry(offset).or_default().insert(value);
        self.offsets.entry(value).or_default().insert(offset);
    }
}

/// Every broken rule, empty if all hold.
pub fn check(history: &[Entry]) -> Vec<Violation> {
    let mut partitions: BTreeMap<(&str, i32), Vec<&Entry>> = BTreeMap::new();
    for entry in history {
        partitions.entry((&entry.topic, entry.partition)).or_default().push(entry);
    }
    let mut broken = Vec::new();
    for ((topic, partition), entries) in partitions {
        let mut gathered = Gathered::default();
        for entry in &entries {
            gathered.add(entry);
        }
        let found = [
            inconsistent_offsets(&gathered),
            duplicates(&gathered),
            lost_writes(&gathered),
            failed_values_read(&gathered),
            leaders_of_an_epoch(&gathered),
            nonmonotonic_polls(&entries, &gathered),
            nonmonotonic_sends(&entries),
            falling_ends(&entries),
        ];
        let found = found.into_iter().flatten();
        broken
            .extend(found.map(|text| Violation::new(Rule::History, format!("{topic}-{partition}: {text}"))));
    }
    broken
}

/// One offset never holds two values.
fn inconsistent_offsets(gathered: &Gathered<'_>) -> Vec<String> {
    let twice = gathered.values.iter().filter(|(_, values)| values.len() > 1);
    twice.map(|(offset, values)| format!("inconsistent offset: {offset} held {values:?}")).collect()
}

/// One value of an idempotent producer is never at two offsets.
fn duplicates(gathered: &Gathered<'_>) -> Vec<String> {
    let twice = gathered.offsets.iter().filter(|(_, offsets)| offsets.len() > 1);
    let counted = twice.filter(|(value, _)| gathered.idempotent.contains(*value));
    counted.map(|(value, offsets)| format!("duplicate: {value} is at {offsets:?}")).collect()
}

/// What was acknowledged below the highest offset anybody read, or below the end of a final full read, or
/// at all once there was one, is read by somebody.
fn lost_writes(gathered: &Gathered<'_>) -> Vec<String> {
    let mut lost = Vec::new();
    for (value, offset) in &gathered.acknowledged {
        if gathered.read.contains(value) {
            continue;
        }
        let passed = offset.is_some_and(|offset| Some(offset) <= gathered.highest_read);
        if let Some(end) = gathered.final_high_watermark {
            lost.push(format!("lost write: {value} ({offset:?}) in no read; the final one ends at {end}"));
        } else if passed {
            lost.push(format!("lost write: {value} at {offset:?} was passed over by every read"));
        }
    }
    lost
}

/// What a send said certainly did not happen is never read.
fn failed_values_read(gathered: &Gathered<'_>) -> Vec<String> {
    let read = gathered.failed.intersection(&gathered.read);
    read.map(|value| format!("failed send read: {value}")).collect()
}

/// An epoch has one leader.
fn leaders_of_an_epoch(gathered: &Gathered<'_>) -> Vec<String> {
    let twice = gathered.leaders.iter().filter(|(_, nodes)| nodes.len() > 1);
    twice.map(|(epoch, nodes)| format!("two leaders: epoch {epoch} is led by {nodes:?}")).collect()
}

/// Within one assignment offsets rise, and what a read skips holds nothing known to be committed; the
/// high watermark a process sees does not fall.
fn nonmonotonic_polls(entries: &[&Entry], gathered: &Gathered<'_>) -> Vec<String> {
    let committed: BTreeMap<i64, &str> = gathered
        .acknowledged
        .iter()
        .filter_map(|(value, offset)| offset.map(|offset| (offset, *value)))
        .collect();
    let mut last: BTreeMap<u32, i64> = BTreeMap::new();
    let mut watermarks: BTreeMap<u32, i64> = BTreeMap::new();
    let mut found = Vec::new();
    for entry in entries {
        let process = entry.process;
        if matches!(entry.operation, Operation::Assign) {
            last.remove(&process);
        }
        let Operation::Poll { records, high_watermark, .. } = &entry.operation else { continue };
        if entry.stage != Stage::Ok {
            continue;
        }
        for (offset, _) in records {
            if let Some(before) = last.insert(process, *offset) {
                if *offset <= before {
                    found.push(format!("nonmonotonic poll: process {process} reads {offset} after {before}"));
                } else if let Some((skipped, value)) = committed.range(before + 1..*offset).next() {
                    found.push(format!(
                        "skipped: process {process} goes from {before} to {offset} past {value} at {skipped}"
                    ));
                }
            }
        }
        if let Some(now) = high_watermark
            && let Some(before) = watermarks.insert(process, *now)
            && *now < before
        {
            found.push(format!("falling high watermark: process {process} sees {now} after {before}"));
        }
    }
    found
}

/// One producer's acknowledgements have rising offsets.
fn nonmonotonic_sends(entries: &[&Entry]) -> Vec<String> {
    let mut last: BTreeMap<u32, i64> = BTreeMap::new();
    let mut found = Vec::new();
    for entry in entries {
        if let (Operation::Send { offset: Some(offset), .. }, Stage::Ok) = (&entry.operation, entry.stage)
            && let Some(before) = last.insert(entry.process, *offset)
            && *offset <= before
        {
            found.push(format!("nonmonotonic send: process {} gets {offset} after {before}", entry.process));
        }
    }
    found
}

/// ListOffsets, asked after an acknowledgement came, lies beyond the acknowledged offset.
fn falling_ends(entries: &[&Entry]) -> Vec<String> {
    let mut acknowledged: Option<i64> = None;
    let mut at_invoke: BTreeMap<u32, Option<i64>> = BTreeMap::new();
    let mut found = Vec::new();
    for entry in entries {
        match (&entry.operation, entry.stage) {
            (Operation::Send { offset: Some(offset), .. }, Stage::Ok) => {
                acknowledged = acknowledged.max(Some(*offset));
            }
            (Operation::ListOffsets { .. }, Stage::Invoke) => {
                at_invoke.insert(entry.process, acknowledged);
            }
            (Operation::ListOffsets { end_exclusive: Some(end) }, Stage::Ok) => {
                if let Some(Some(acknowledged)) = at_invoke.remove(&entry.process)
                    && *end <= acknowledged
                {
                    found.push(format!("early end: ListOffsets says {end}, {acknowledged} was acknowledged"));
                }
            }
            (
                Operation::Send { .. }
                | Operation::Poll { .. }
                | Operation::Assign
                | Operation::ListOffsets { .. }
                | Operation::Leader { .. },
                _,
            ) => {}
        }
    }
    found
}
