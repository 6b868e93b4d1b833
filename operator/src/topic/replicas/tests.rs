//! A cluster with one topic, and what the operator does to it.

mod held_up;
mod record;
mod rest;
mod room;

use std::sync::Arc;

use k8s_openapi::jiff::Timestamp;
use ottla_wire::ResponseError;
use serde_json::{Value, json};
use uuid::Uuid;

use super::*;
use crate::{
    crd::KafkaTopic,
    kafka::{Answer, Answers, BrokerFacts, uuid_text},
    names::NodeId,
    topic::{
        declared::declared,
        plan::{Asked, Found, Outcome, Plan, Verdict, asks_for_cordons, asks_for_moves, plan},
        report,
    },
};

const ID: Uuid = Uuid::from_u128(7);

fn ids(ids: &[i32]) -> Vec<NodeId> {
    ids.iter().map(|id| NodeId(*id)).collect()
}

/// A cluster with one topic and the object that declares it. Moves do what they do in a real one: those that only
/// remove end at once, the others when the new replicas catch up.
struct World {
    spec: Value,
    recorded: Option<ReplicasChange>,
    /// The rest of what was reported last.
    status: Value,
    /// How many reports differed from the one before.
    writes: usize,
    /// Seconds since the beginning: no two passes are at the same time.
    clock: i64,
    layout: Vec<PartitionFacts>,
    /// What people move of other topics.
    elsewhere: Vec<PartitionFacts>,
    census: Census,
    refuses: Option<ResponseError>,
}

impl World {
    /// Brokers 0, 1, … and a topic of these partitions.
    fn new(brokers: i32, replicas: &[&[i32]]) -> Self {
        let broker = BrokerFacts { in_service: true, ..BrokerFacts::default() };
        let mut world = Self {
            spec: json!({"clusterRef": {"name": "my"}}),
            recorded: None,
            status: json!({"topicId": uuid_text(&ID)}),
            writes: 0,
            clock: 0,
            layout: Vec::new(),
            elsewhere: Vec::new(),
            census: Census { brokers: (0..brokers).map(|id| (NodeId(id), broker.clone())).collect() },
            refuses: None,
        };
        for replicas in replicas {
            world.add_partition(replicas);
        }
        world
    }

    fn broker(&mut self, id: i32) -> &mut BrokerFacts {
        self.census.brokers.get_mut(&NodeId(id)).unwrap()
    }

    fn add_partition(&mut self, replicas: &[i32]) {
        let replicas = ids(replicas);
        self.layout.push(PartitionFacts {
            index: i32::try_from(self.layout.len()).unwrap(),
            leader: replicas.first().copied(),
            isr: replicas.clone(),
            replicas,
            ..PartitionFacts::default()
        });
        self.spec["partitions"] = json!(self.layout.len());
    }

    fn declare(&mut self, replicas: i16) {
        self.spec["replicas"] = json!(replicas);
    }

    fn object(&self) -> Declared {
        let mut status = self.status.clone();
        status["replicasChange"] = json!(self.recorded);
        let object: KafkaTopic = serde_json::from_value(json!({
            "apiVersion": "ottla.dev/v1alpha1", "kind": "KafkaTopic", "spec": self.spec,
            "metadata": {"name": "t", "namespace": "ns", "uid": "t", "finalizers": ["ottla.dev/topic"]},
            "status": status,
        }))
        .unwrap();
        declared(vec![Arc::new(object)]).remove(0)
    }

    fn found(&self) -> Found {
        let facts = TopicFacts {
            id: ID,
            partitions: i32::try_from(self.layout.len()).unwrap(),
            replicas: i32::try_from(self.layout.iter().map(PartitionFacts::replicas_now).min().unwrap())
                .unwrap(),
            config: std::collections::BTreeMap::new(),
            layout: self.layout.clone(),
        };
        let (elsewhere, census) = (self.elsewhere.clone(), self.census.clone());
        Found { topics: Answers::from([("t".to_owned(), Ok(facts))]), elsewhere, census }
    }

    /// The topics as a broker knows them.
    fn found_without_moves(&self) -> Answers<TopicFacts> {
        let mut topics = self.found().topics;
        for facts in topics.values_mut().flatten() {
            for partition in &mut facts.layout {
                (partition.adding, partition.removing) = (Vec::new(), Vec::new());
            }
        }
        topics
    }

    /// What the active controller does with a move.
    fn begin(&mut self, asked: &Move) {
        let partition = &mut self.layout[usize::try_from(asked.partition).unwrap()];
        let before: Vec<NodeId> =
            partition.replicas.iter().copied().filter(|id| !partition.adding.contains(id)).collect();
        let all = partition.replicas.clone();
        let gone = all.iter().filter(|id| !asked.replicas.contains(id)).copied();
        partition.replicas = asked.replicas.iter().copied().chain(gone).collect();
        // One that an earlier target added and this one does without is both.
        partition.adding = partition.replicas.iter().copied().filter(|id| !before.contains(id)).collect();
        partition.removing =
            partition.replicas.iter().copied().filter(|id| !asked.replicas.contains(id)).collect();
        Self::end_where_in_sync(partition);
    }

    fn end_where_in_sync(partition: &mut PartitionFacts) {
        let stays = |id: &NodeId| !partition.removing.contains(id);
        if partition.replicas.iter().filter(|id| stays(id)).all(|id| partition.isr.contains(id)) {
            partition.replicas = partition.replicas.iter().copied().filter(stays).collect();
            partition.isr = partition.replicas.clone();
            (partition.adding, partition.removing) = (Vec::new(), Vec::new());
        }
    }

    /// Every replica catches up, and moves end.
    fn catch_up(&mut self) {
        for partition in &mut self.layout {
            partition.isr = partition.replicas.clone();
            Self::end_where_in_sync(partition);
        }
    }

    fn ask(&mut self) -> (Plan, Outcome, Found) {
        let found = self.found();
        // What a broker knows is enough to tell whether there may be moves.
        let known = self.found_without_moves();
        let moving = self.layout.iter().any(PartitionFacts::is_moving);
        assert!(!moving || self.spec["replicas"].is_null() || asks_for_moves(&[self.object()], &known));
        let declared = [self.object()];
        let plan = plan(&Asked::all(&declared, &found), &found);
        let answer = match self.refuses {
            Some(error) => Err(Answer { error, message: Some("why".to_owned()) }),
            None => Ok(()),
        };
        let moved =
            plan.moves.iter().map(|one| ((one.topic.clone(), one.partition), answer.clone())).collect();
        for one in plan.moves.iter().filter(|_| answer.is_ok()) {
            self.begin(one);
        }
        let raised = plan.raise.iter().map(|(topic, _)| (topic.clone(), Ok(()))).collect();
        (plan, Outcome { moved, raised, ..Outcome::default() }, found)
    }

    /// A pass over the topic: what it asked for, and what it said.
    fn pass(&mut self) -> (Plan, Verdict) {
        let declared = [self.object()];
        let (plan, outcome, found) = self.ask();
        let asked = &Asked::all(&declared, &found)[0];
        let verdict = asked.judge(&outcome);
        self.report(&declared[0], &verdict, asked.replicas_change(&outcome));
        (plan, verdict)
    }

    fn report(&mut self, one: &Declared, verdict: &Verdict, change: Option<ReplicasChange>) {
        self.clock += 7;
        let at = Timestamp::from_second(self.clock).unwrap();
        let (now, facts) = report::condition(one, verdict).unwrap();
        let status = report::status(one, now, facts, change.clone(), at);
        self.writes += usize::from(one.object.status.as_ref() != Some(&status));
        (self.status, self.recorded) = (json!(status), change);
    }

    /// A pass of an operator that is killed before it reports.
    fn pass_and_die(&mut self) -> Plan {
        self.ask().0
    }

    fn is_moving(&self) -> bool {
        Asked::all(&[self.object()], &self.found())[0].is_moving()
    }

    fn own_targets(&self) -> Vec<i16> {
        self.recorded.as_ref().unwrap().own_targets.clone()
    }

    fn replicas(&self) -> Vec<Vec<i32>> {
        let all = |partition: &PartitionFacts| partition.replicas.iter().map(|id| id.0).collect();
        self.layout.iter().map(all).collect()
    }

    /// Passes until the topic is as declared; gives how many it took.
    fn settle(&mut self) -> usize {
        for passes in 1..50 {
            if let (plan, Verdict::AsDeclared(_)) = self.pass() {
                assert!(plan.is_empty(), "{plan:?}");
                assert_eq!(self.recorded, None);
                return passes;
            }
            self.catch_up();
        }
        panic!("it never settles: {:?} {:?}", self.layout, self.recorded);
    }
}

/// What stays written down of an object when nothing was asked.
fn written_down(one: Declared, found: &Found) -> Option<ReplicasChange> {
    Asked::all(&[one], found)[0].replicas_change(&Outcome::default())
}

fn told(verdict: Verdict, wanted: Why) -> String {
    let Verdict::Not(why, message, Some(_)) = verdict else { panic!("{verdict:?}") };
    assert_eq!(why, wanted, "{message}");
    message
}
