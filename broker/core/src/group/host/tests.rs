use super::*;
use crate::group::ids::GroupId;
use crate::group::record::{CommittedOffset, OffsetKey};
use crate::group::request::{Commit, CommitItem, FetchOffsets, Reply, Speaker};
use crate::ids::{PartitionIndex, TopicId};

const NOW: Monotonic = Monotonic(1_000);
const WALL: Wall = Wall(1_700_000_000_000);

fn at() -> OffsetKey {
    OffsetKey { topic: TopicName::parse("t").unwrap(), partition: PartitionIndex(0) }
}

fn record(offset: i64) -> GroupRecord {
    let value = CommittedOffset {
        offset: Offset(offset),
        leader_epoch: None,
        metadata: String::new(),
        committed: WALL,
        expires: None,
        topic_id: TopicId::default(),
    };
    GroupRecord::OffsetCommit { group: GroupId::from("g"), at: at(), value: Some(value) }
}

fn commit(offset: i64) -> Request {
    let item = CommitItem {
        at: at(),
        topic_id: TopicId::default(),
        offset: Offset(offset),
        leader_epoch: None,
        metadata: String::new(),
        expires: None,
    };
    Request::Commit(Commit {
        group: GroupId::from("g"),
        speaker: Speaker { member: None, instance: None },
        generation: -1,
        knows_group_id_not_found: true,
        offsets: vec![item],
    })
}

fn ask(host: &mut Host<u32>, request: Request) -> Option<Answer> {
    host.ask(request, 7, NOW, WALL);
    host.take_answers().pop().map(|(_, answer)| answer)
}

/// The offset that it keeps.
fn kept(host: &mut Host<u32>) -> Option<i64> {
    let wanted = FetchOffsets { group: GroupId::from("g"), offsets: Some(vec![at()]) };
    match ask(host, Request::FetchOffsets(wanted)) {
        Some(Ok(Reply::Offsets(offsets))) => offsets[0].1.as_ref().map(|kept| kept.offset.0),
        other => panic!("it does not serve: {other:?}"),
    }
}

/// One that serves, with offset 5.
fn serving() -> Host<u32> {
    let mut host = Host::new(GroupSettings::default());
    load(&mut host, NOW);
    host
}

fn load(host: &mut Host<u32>, now: Monotonic) {
    assert_eq!(host.take_wishes(), [Wish::Find(Question::Bounds)]);
    host.bounds(host.life(), Ok((Offset(10), Offset(30))), now);
    assert_eq!(host.take_wishes(), [Wish::Find(Question::Committed)]);
    host.committed(host.life(), Ok(Some(Offset(30))), now, WALL);
    assert_eq!(host.take_wishes(), [Wish::Find(Question::Records(Offset(10)))]);
    host.read(host.life(), Ok((vec![record(4)], Some(Offset(20)))), now, WALL);
    assert_eq!(host.take_wishes(), [Wish::Find(Question::Records(Offset(20)))]);
    assert!(!host.is_serving());
    host.read(host.life(), Ok((vec![record(5)], Some(Offset(30)))), now, WALL);
    assert!(host.is_serving() && host.take_wishes().is_empty());
}

#[test]
fn it_serves_once_it_has_read_everything() {
    let mut host = serving();
    assert_eq!(kept(&mut host), Some(5));
}

#[test]
fn an_empty_log_is_read_at_once_and_one_compacted_to_its_end_too() {
    let mut host: Host<u32> = Host::new(GroupSettings::default());
    host.bounds(0, Ok((Offset(0), Offset(0))), NOW);
    host.committed(0, Ok(Some(Offset(0))), NOW, WALL);
    assert!(host.is_serving());
    let mut host: Host<u32> = Host::new(GroupSettings::default());
    host.bounds(0, Ok((Offset(0), Offset(9))), NOW);
    host.committed(0, Ok(Some(Offset(9))), NOW, WALL);
    host.read(0, Ok((Vec::new(), None)), NOW, WALL);
    assert!(host.is_serving());
}

#[test]
fn it_waits_until_all_that_is_there_is_committed() {
    let mut host: Host<u32> = Host::new(GroupSettings::default());
    host.take_wishes();
    host.bounds(0, Ok((Offset(0), Offset(9))), NOW);
    assert_eq!(host.take_wishes(), [Wish::Find(Question::Committed)]);
    let mut now = NOW;
    for committed in [Ok(None), Ok(Some(Offset(3))), Ok(Some(Offset(8)))] {
        host.committed(0, committed, now, WALL);
        assert!(host.take_wishes().is_empty(), "not at once");
        assert_eq!(ask(&mut host, commit(1)), Some(Err(GroupError::CoordinatorLoadInProgress)));
        now = host.next_deadline().expect("it looks again");
        host.tick(now, WALL);
        assert_eq!(host.take_wishes(), [Wish::Find(Question::Committed)]);
    }
    host.committed(0, Ok(Some(Offset(9))), now, WALL);
    assert_eq!(host.take_wishes(), [Wish::Find(Question::Records(Offset(0)))]);
}

#[test]
fn what_cannot_be_read_is_tried_again_later() {
    for step in 0..3 {
        let mut host: Host<u32> = Host::new(GroupSettings::default());
        host.take_wishes();
        let bounds = if step == 0 { Err(Unreadable) } else { Ok((Offset(0), Offset(9))) };
        host.bounds(0, bounds, NOW);
        let committed = if step == 1 { Err(Unreadable) } else { Ok(Some(Offset(9))) };
        host.committed(0, committed, NOW, WALL);
        host.read(0, Err(Unreadable), NOW, WALL);
        assert!(host.take_wishes().is_empty() && !host.is_loading(), "step {step}");
        let now = host.next_deadline().expect("it tries again");
        assert!(now > NOW);
        host.tick(now, WALL);
        load(&mut host, now);
    }
}

#[test]
fn an_append_in_doubt_sends_everybody_away_and_the_log_decides() {
    let mut host = serving();
    assert_eq!(ask(&mut host, commit(6)), None);
    assert_eq!(ask(&mut host, commit(7)), None);
    assert_eq!(host.take_wishes().len(), 1, "they share a batch");
    let life = host.life();
    host.appended(life, Appended::Doubtful, NOW, WALL);
    let answers = host.take_answers();
    assert_eq!(answers.len(), 2);
    assert!(answers.iter().all(|(_, answer)| *answer == Err(GroupError::NotCoordinator)));
    assert_eq!(ask(&mut host, commit(8)), Some(Err(GroupError::CoordinatorLoadInProgress)));
    let now = host.next_deadline().expect("it begins again");
    host.tick(now, WALL);
    host.appended(life, Appended::Committed, now, WALL);
    load(&mut host, now);
    host.appended(life, Appended::Committed, now, WALL);
    assert_eq!(kept(&mut host), Some(5), "what comes of the old one's writes is in the log, or is not");
}

#[test]
fn an_append_that_was_refused_is_only_that() {
    let mut host = serving();
    assert_eq!(ask(&mut host, commit(6)), None);
    assert_eq!(host.take_wishes().len(), 1);
    host.appended(host.life(), Appended::Refused, NOW, WALL);
    let answers = host.take_answers();
    assert_eq!(answers[0].1, Err(GroupError::CoordinatorNotAvailable));
    assert_eq!(kept(&mut host), Some(5));
    assert_eq!(ask(&mut host, commit(6)), None);
    assert_eq!(host.take_wishes().len(), 1);
    host.appended(host.life(), Appended::Committed, NOW, WALL);
    assert_eq!(kept(&mut host), Some(6));
}

#[test]
fn at_its_end_everybody_is_sent_away() {
    let mut host = serving();
    assert_eq!(ask(&mut host, commit(6)), None);
    host.end();
    assert_eq!(host.take_answers(), [(7, Err(GroupError::NotCoordinator))]);
}
