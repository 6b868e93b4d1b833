//! A coordinator with a log beside it, and members that ask it.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use uuid::Uuid;

use crate::group::coordinator::{Coordinator, Written};
use crate::group::effects::Answer;
use crate::group::ids::{GroupId, InstanceId, MemberId};
use crate::group::record::{EncodedRecord, GroupRecord, OffsetKey};
use crate::group::request::{
    Commit, CommitItem, Description, FetchOffsets, GroupError, Heartbeat, Join, Joined, Leave, Reply,
    Request, Speaker, Sync, Synced,
};
use crate::group::settings::GroupSettings;
use crate::ids::{Offset, PartitionIndex, TopicId, TopicName};
use crate::time::{Monotonic, Wall};

/// Who asked, as a number.
pub(super) type Asked = usize;

pub(super) struct Rig {
    pub(super) coordinator: Coordinator<Asked>,
    pub(super) now: Monotonic,
    answers: BTreeMap<Asked, Answer>,
    asked: Asked,
    /// What is committed.
    pub(super) log: Vec<EncodedRecord>,
    /// Writes on their way.
    pub(super) in_flight: Vec<Vec<EncodedRecord>>,
    /// Whether writes are committed at once.
    pub(super) commits: bool,
}

pub(super) const SESSION: Duration = Duration::from_secs(10);
pub(super) const REBALANCE: Duration = Duration::from_secs(30);
const BATCH_BYTES: usize = 20_000;

fn settings() -> GroupSettings {
    GroupSettings { size_max: 5, ..GroupSettings::default() }
}

impl Rig {
    pub(super) fn new() -> Self {
        Self::of(settings(), &[], Monotonic(1_000_000))
    }

    /// One that has read this log by now.
    fn of(settings: GroupSettings, log: &[EncodedRecord], now: Monotonic) -> Self {
        let mut coordinator = Coordinator::new(settings);
        coordinator.limit_batches(BATCH_BYTES);
        for record in log {
            let decoded = GroupRecord::decode(&record.key, record.value.as_deref()).unwrap();
            coordinator.replay(decoded.expect("it is of a type that we write"));
        }
        let mut rig = Self {
            coordinator,
            now,
            answers: BTreeMap::new(),
            asked: 0,
            log: log.to_vec(),
            in_flight: Vec::new(),
            commits: true,
        };
        rig.coordinator.loaded(now, rig.wall());
        rig.settle();
        rig
    }

    /// The coordinator that takes over from this one.
    pub(super) fn next(&self) -> Self {
        Self::of(settings(), &self.log, self.now)
    }

    pub(super) fn wall(&self) -> Wall {
        Wall(1_700_000_000_000 + i64::try_from(self.now.0).unwrap())
    }

    pub(super) fn ask(&mut self, request: Request) -> Asked {
        self.asked += 1;
        self.coordinator.ask(request, self.asked, self.now, self.wall());
        self.settle();
        self.asked
    }

    fn settle(&mut self) {
        while let Some(write) = self.coordinator.take_write() {
            assert!(!write.records.is_empty());
            assert!(write.records.iter().map(EncodedRecord::bytes).sum::<usize>() <= BATCH_BYTES);
            self.in_flight.push(write.records);
            if self.commits {
                self.finish(Written::Committed);
            }
        }
        for (to, answer) in self.coordinator.take_answers() {
            assert!(self.answers.insert(to, answer).is_none(), "request {to} is answered twice");
        }
    }

    /// What comes of the first write on its way.
    pub(super) fn finish(&mut self, written: Written) {
        let records = self.in_flight.remove(0);
        if written == Written::Committed {
            self.log.extend(records);
        }
        self.coordinator.written(written, self.now, self.wall());
        self.settle();
    }

    /// Time passes, and every timer in it is due when it is.
    pub(super) fn pass(&mut self, time: Duration) {
        let end = self.now.plus(time);
        while let Some(due) = self.coordinator.next_deadline().filter(|due| *due <= end) {
            self.now = due.max(self.now);
            self.coordinator.tick(self.now, self.wall());
            self.settle();
        }
        self.now = end;
    }

    /// As much time passes as it takes until somebody is answered.
    pub(super) fn pass_until_answered(&mut self, asked: Asked) {
        while !self.is_answered(asked) {
            self.pass(Duration::from_millis(100));
        }
    }

    /// What came of a request so far.
    pub(super) fn answer(&mut self, asked: Asked) -> Option<Answer> {
        self.answers.remove(&asked)
    }

    pub(super) fn is_answered(&self, asked: Asked) -> bool {
        self.answers.contains_key(&asked)
    }

    pub(super) fn joined(&mut self, asked: Asked) -> Joined {
        match self.answer(asked) {
            Some(Ok(Reply::Joined(joined))) => joined,
            other => panic!("request {asked} did not join: {other:?}"),
        }
    }

    pub(super) fn synced(&mut self, asked: Asked) -> Synced {
        match self.answer(asked) {
            Some(Ok(Reply::Synced(synced))) => synced,
            other => panic!("request {asked} did not sync: {other:?}"),
        }
    }

    pub(super) fn error(&mut self, asked: Asked) -> GroupError {
        match self.answer(asked) {
            Some(Err(error)) => error,
            other => panic!("request {asked} was not refused: {other:?}"),
        }
    }

    pub(super) fn now_error(&mut self, request: Request) -> GroupError {
        let asked = self.ask(request);
        self.error(asked)
    }

    pub(super) fn heartbeat(&mut self, member: &MemberId, generation: i32) -> Result<(), GroupError> {
        let asked = self.ask(heartbeat(member, generation));
        match self.answer(asked).expect("a heartbeat is answered at once") {
            Ok(Reply::Alive) => Ok(()),
            Ok(other) => panic!("{other:?}"),
            Err(error) => Err(error),
        }
    }

    pub(super) fn commit(&mut self, request: Request) -> Result<Vec<Result<(), GroupError>>, GroupError> {
        let asked = self.ask(request);
        match self.answer(asked).expect("it is committed") {
            Ok(Reply::Committed(results)) => Ok(results),
            Ok(other) => panic!("{other:?}"),
            Err(error) => Err(error),
        }
    }

    /// The offset kept of a partition.
    pub(super) fn offset(&mut self, group: &str, topic: &str, partition: i32) -> Option<i64> {
        let wanted = FetchOffsets { group: GroupId::from(group), offsets: Some(vec![at(topic, partition)]) };
        let asked = self.ask(Request::FetchOffsets(wanted));
        match self.answer(asked) {
            Some(Ok(Reply::Offsets(offsets))) => offsets[0].1.as_ref().map(|kept| kept.offset.0),
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn describe(&mut self, group: &str) -> Result<Description, GroupError> {
        let asked = self.ask(Request::Describe(GroupId::from(group)));
        match self.answer(asked).expect("it is answered at once") {
            Ok(Reply::Described(description)) => Ok(description),
            Ok(other) => panic!("{other:?}"),
            Err(error) => Err(error),
        }
    }

    pub(super) fn state(&mut self, group: &str) -> &'static str {
        self.describe(group).map_or("none", |description| description.state.name())
    }

    /// Somebody joins with the id that it is given at first.
    pub(super) fn join_new(&mut self, join: Join) -> (MemberId, Asked) {
        let join = Join { fresh: Uuid::from_u128(self.asked as u128), ..join };
        let asked = self.ask(Request::Join(join.clone()));
        let GroupError::MemberIdRequired(member) = self.error(asked) else { panic!("an id is required") };
        let speaker = Speaker { member: Some(member.clone()), ..join.speaker };
        let asked = self.ask(Request::Join(Join { speaker, ..join }));
        (member, asked)
    }

    /// A stable group `g` of so many members; the first one leads.
    pub(super) fn stable(&mut self, count: usize) -> Vec<MemberId> {
        let joins: Vec<_> = (0..count).map(|i| self.join_new(join(&format!("c{i}")))).collect();
        self.pass_until_answered(joins[0].1);
        let joined: Vec<_> = joins.iter().map(|(_, asked)| self.joined(*asked)).collect();
        let leader = joined[0].leader.clone();
        let assignments: Vec<_> = joins.iter().map(|(id, _)| (id.clone(), assignment(id))).collect();
        let mut syncs = Vec::new();
        for (id, _) in &joins {
            let assignments = if *id == leader { assignments.clone() } else { Vec::new() };
            syncs.push(self.ask(sync(id, joined[0].generation, assignments)));
        }
        syncs.into_iter().for_each(|asked| drop(self.synced(asked)));
        joins.into_iter().map(|(id, _)| id).collect()
    }
}

pub(super) fn assignment(id: &MemberId) -> Bytes {
    Bytes::from(format!("of {id}"))
}

pub(super) fn at(topic: &str, partition: i32) -> OffsetKey {
    OffsetKey { topic: TopicName::parse(topic).unwrap(), partition: PartitionIndex(partition) }
}

pub(super) fn by(member: &MemberId) -> Speaker {
    Speaker { member: Some(member.clone()), instance: None }
}

/// A subscription to topic `t`.
pub(super) fn subscription() -> Bytes {
    Bytes::from_static(&[0, 0, 0, 0, 0, 1, 0, 1, b't', 255, 255, 255, 255])
}

pub(super) fn join(client: &str) -> Join {
    Join {
        group: GroupId::from("g"),
        speaker: Speaker { member: None, instance: None },
        client_id: client.to_owned(),
        client_host: "/127.0.0.1".to_owned(),
        session_timeout_ms: i32::try_from(SESSION.as_millis()).unwrap(),
        rebalance_timeout_ms: i32::try_from(REBALANCE.as_millis()).unwrap(),
        protocol_type: "consumer".to_owned(),
        protocols: vec![("range".to_owned(), subscription())],
        needs_known_id: true,
        may_skip_assignment: true,
        fresh: Uuid::from_u128(7),
    }
}

/// A static member joins.
pub(super) fn join_static(instance: &str, fresh: u128) -> Join {
    let speaker = Speaker { member: None, instance: Some(InstanceId::from(instance)) };
    Join { speaker, fresh: Uuid::from_u128(fresh), ..join("c") }
}

pub(super) fn rejoin(member: &MemberId, join: Join) -> Request {
    Request::Join(Join { speaker: Speaker { member: Some(member.clone()), ..join.speaker }, ..join })
}

pub(super) fn sync(member: &MemberId, generation: i32, assignments: Vec<(MemberId, Bytes)>) -> Request {
    Request::Sync(Sync {
        group: GroupId::from("g"),
        speaker: by(member),
        generation,
        protocol_type: Some("consumer".to_owned()),
        protocol: Some("range".to_owned()),
        assignments,
    })
}

pub(super) fn heartbeat(member: &MemberId, generation: i32) -> Request {
    Request::Heartbeat(Heartbeat { group: GroupId::from("g"), speaker: by(member), generation })
}

pub(super) fn leave(members: &[Speaker]) -> Request {
    Request::Leave(Leave { group: GroupId::from("g"), members: members.to_vec() })
}

pub(super) fn commit(speaker: Speaker, generation: i32, offsets: &[(&str, i32, i64)]) -> Request {
    let item = |(topic, partition, offset): &(&str, i32, i64)| CommitItem {
        at: at(topic, *partition),
        topic_id: TopicId::default(),
        offset: Offset(*offset),
        leader_epoch: None,
        metadata: String::new(),
        expires: None,
    };
    Request::Commit(Commit {
        group: GroupId::from("g"),
        speaker,
        generation,
        knows_group_id_not_found: true,
        offsets: offsets.iter().map(item).collect(),
    })
}

pub(super) fn nobody() -> Speaker {
    Speaker { member: None, instance: None }
}
