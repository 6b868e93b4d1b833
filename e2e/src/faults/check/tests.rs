//! Each rule is broken on purpose, and only by that rule's own case.

use super::*;

const LAST: &str = "last";

fn event(process: &str, what: What) -> Event {
    Event { process: process.to_owned(), time_ms: 0, what }
}

fn sending(value: &str) -> Event {
    event("a", What::Sending { value: value.to_owned() })
}

fn sent(offset: u64, value: &str) -> Event {
    event("a", What::Sent { partition: 0, offset, value: value.to_owned() })
}

fn read(process: &str, records: &[(u64, &str)], high_watermark: u64) -> Event {
    let records = records.iter().map(|(offset, value)| (*offset, (*value).to_owned())).collect();
    event(process, What::Read { partition: 0, records, high_watermark: Some(high_watermark) })
}

fn replica(records: &[(u64, &str)]) -> Replica {
    Replica {
        batches: records.iter().map(|(offset, _)| (*offset, offset + 1)).collect(),
        records: records.iter().map(|(offset, value)| (*offset, (*value).to_owned())).collect(),
        bytes: records.iter().flat_map(|(_, value)| value.bytes()).collect(),
    }
}

/// Three records sent, acknowledged, read while they came and at the end, and lying on two disks.
fn fine() -> Evidence {
    let values = [(0, "a.0"), (1, "a.1"), (2, "a.2")];
    let mut events: Vec<Event> = Vec::new();
    for (offset, value) in values {
        events.extend([sending(value), sent(offset, value)]);
    }
    events.extend([
        read("watcher", &values[..2], 2),
        read("watcher", &values[2..], 3),
        read(LAST, &values, 3),
    ]);
    let replicas = [1, 2].map(|broker| (broker, replica(&values)));
    Evidence {
        events,
        last_reader: LAST.to_owned(),
        replicas: BTreeMap::from([(0, BTreeMap::from(replicas))]),
        replication_factor: 2,
        idempotent: true,
        ordered: BTreeSet::from(["a".to_owned()]),
    }
}

fn rules(evidence: &Evidence) -> Vec<Rule> {
    check(evidence).1.into_iter().map(|violation| violation.rule).collect()
}

/// The same history, in which the last reader and the disks have these records instead.
fn holding(values: &[(u64, &str)]) -> Evidence {
    let mut evidence = fine();
    evidence.events.pop();
    let end = values.last().map_or(0, |(offset, _)| offset + 1);
    evidence.events.push(read(LAST, values, end.max(3)));
    for replica_of in evidence.replicas.values_mut().flat_map(BTreeMap::values_mut) {
        *replica_of = replica(values);
    }
    evidence
}

#[test]
fn a_history_in_which_everything_is_as_it_should_be_breaks_no_rule() {
    let (counts, violations) = check(&fine());
    assert_eq!(violations, []);
    assert_eq!(counts, Counts { acknowledged: 3, unknown: 0, repeated: 0 });
}

#[test]
fn two_values_at_one_offset_are_found_wherever_they_were_seen() {
    let mut evidence = fine();
    evidence.events.insert(6, read("other", &[(0, "a.0"), (1, "a.2")], 3));
    assert_eq!(rules(&evidence), [Rule::InconsistentOffset]);
    let mut evidence = fine();
    evidence.events[1] = sent(5, "a.0");
    evidence.events.insert(0, read("other", &[(0, "a.0")], 3));
    assert!(rules(&evidence).contains(&Rule::NonmonotonicSend));
}

#[test]
fn a_value_at_two_offsets_is_a_duplicate_only_under_idempotence() {
    let mut evidence = holding(&[(0, "a.0"), (1, "a.1"), (2, "a.2"), (3, "a.1")]);
    assert_eq!(rules(&evidence), [Rule::Duplicate]);
    evidence.idempotent = false;
    assert_eq!(rules(&evidence), []);
    assert_eq!(check(&evidence).0.repeated, 1);
}

#[test]
fn what_was_acknowledged_and_is_not_there_is_lost() {
    let evidence = holding(&[(0, "a.0"), (1, "a.1")]);
    let (_, violations) = check(&evidence);
    assert_eq!(violations[0].rule, Rule::LostWrite);
    assert!(violations[0].to_string().contains("a.2, acknowledged to a at partition 0 offset 2"));
    assert_eq!(violations.len(), 1);
}

#[test]
fn what_nobody_knows_of_may_be_there_or_not_but_what_was_refused_may_not() {
    let mut evidence = holding(&[(0, "a.0"), (1, "a.1"), (2, "a.2"), (3, "a.3")]);
    evidence.events.push(sending("a.3"));
    evidence.events.push(event("a", What::Unknown { value: "a.3".to_owned(), error: "late".to_owned() }));
    assert_eq!(rules(&evidence), []);
    evidence.events.push(event("a", What::Refused { value: "a.3".to_owned() }));
    assert_eq!(rules(&evidence), [Rule::RefusedWrite]);
}

#[test]
fn a_value_that_nobody_sent_is_found_unless_its_producer_never_tells_before() {
    assert_eq!(rules(&holding(&[(0, "a.0"), (1, "a.1"), (2, "a.2"), (3, "a.9")])), [Rule::NeverSent]);
    assert_eq!(rules(&holding(&[(0, "a.0"), (1, "a.1"), (2, "a.2"), (3, "java.9")])), []);
}

#[test]
fn a_reader_must_neither_go_back_nor_pass_over_what_is_there() {
    let mut evidence = fine();
    evidence.events.insert(6, read("other", &[(0, "a.0"), (1, "a.1"), (1, "a.1")], 3));
    assert_eq!(rules(&evidence), [Rule::NonmonotonicPoll]);
    let mut evidence = fine();
    evidence.events.insert(6, read("other", &[(0, "a.0"), (2, "a.2")], 3));
    assert_eq!(rules(&evidence), [Rule::PollSkip]);
    let mut evidence = fine();
    evidence.events.insert(6, read("other", &[(1, "a.1")], 3));
    assert_eq!(rules(&evidence), [Rule::PollSkip]);
}

#[test]
fn offsets_of_one_producers_acknowledgements_rise_with_what_it_sent() {
    let mut evidence = holding(&[(0, "a.1"), (1, "a.0"), (2, "a.2")]);
    evidence.events = vec![sending("a.0"), sending("a.1"), sending("a.2")];
    evidence.events.extend([sent(1, "a.0"), sent(0, "a.1"), sent(2, "a.2")]);
    evidence.events.push(read(LAST, &[(0, "a.1"), (1, "a.0"), (2, "a.2")], 3));
    assert_eq!(rules(&evidence), [Rule::NonmonotonicSend]);
    evidence.ordered.clear();
    assert_eq!(rules(&evidence), []);
}

#[test]
fn a_high_watermark_may_dip_but_not_stay_below_what_somebody_was_told() {
    let mut evidence = fine();
    evidence.events.insert(6, read("other", &[(0, "a.0")], 3));
    evidence.events.insert(7, read("other", &[(1, "a.1")], 2));
    assert_eq!(rules(&evidence), []);
    evidence.events.insert(8, read("other", &[(2, "a.2")], 4));
    assert_eq!(rules(&evidence), [Rule::HighWatermarkFell]);
}

#[test]
fn holes_differences_and_missing_replicas_are_found_on_the_disks() {
    let change = |change: &dyn Fn(&mut BTreeMap<u32, Replica>)| {
        let mut evidence = fine();
        change(evidence.replicas.get_mut(&0).unwrap());
        rules(&evidence)
    };
    let hole = |replicas: &mut BTreeMap<u32, Replica>| {
        replicas.values_mut().for_each(|replica| replica.batches[1] = (1, 5));
    };
    assert_eq!(change(&hole), [Rule::Sparse]);
    let shorter = replica(&[(0, "a.0"), (1, "a.1")]);
    assert_eq!(change(&|replicas| drop(replicas.insert(2, shorter.clone()))), [Rule::ReplicasDiffer]);
    assert_eq!(change(&|replicas| drop(replicas.remove(&2))), [Rule::ReplicasDiffer]);
    let both = |replicas: &mut BTreeMap<u32, Replica>| {
        replicas.values_mut().for_each(|replica| *replica = shorter.clone());
    };
    assert_eq!(change(&both), [Rule::ReadDiffersFromDisk]);
}
