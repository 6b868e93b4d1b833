use std::sync::Arc;

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
        plan::{Found, Outcome, Plan, Verdict, asks_for_moves, is_moving, judge, plan, replicas_change},
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
    layout: Vec<PartitionFacts>,
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
            layout: Vec::new(),
            census: Census { brokers: (0..brokers).map(|id| (NodeId(id), broker.clone())).collect() },
            refuses: None,
        };
        for replicas in replicas {
            world.add_partition(replicas);
        }
        world
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
        let object: KafkaTopic = serde_json::from_value(json!({
            "apiVersion": "ottla.dev/v1alpha1", "kind": "KafkaTopic", "spec": self.spec,
            "metadata": {"name": "t", "namespace": "ns", "uid": "t", "finalizers": ["ottla.dev/topic"]},
            "status": {"topicId": uuid_text(&ID), "replicasChange": self.recorded},
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
        Found { topics: Answers::from([("t".to_owned(), Ok(facts))]), census: self.census.clone() }
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
        let plan = plan(&[self.object()], &found);
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
        let object = self.object();
        let (plan, outcome, found) = self.ask();
        self.recorded = replicas_change(&object, &found, &outcome);
        (plan, judge(&object, &found, &outcome))
    }

    /// A pass of an operator that is killed before it reports.
    fn pass_and_die(&mut self) -> Plan {
        self.ask().0
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

fn told(verdict: Verdict, wanted: Why) -> String {
    let Verdict::Not(why, message, Some(_)) = verdict else { panic!("{verdict:?}") };
    assert_eq!(why, wanted, "{message}");
    message
}

#[test]
fn a_change_is_written_down_then_begun_and_followed_to_its_end() {
    let mut world = World::new(3, &[&[0], &[1], &[2]]);
    world.declare(3);
    let (plan, verdict) = world.pass();
    assert!(plan.is_empty(), "nothing is moved before it is written down: {plan:?}");
    told(verdict, Why::ChangingReplicas);
    let recorded = world.recorded.clone().unwrap();
    assert_eq!((recorded.state, recorded.target_replicas), (ReplicasChangeState::Pending, 3));

    let (plan, _) = world.pass();
    assert_eq!(plan.moves.len(), 3);
    assert_eq!(world.recorded.as_ref().unwrap().state, ReplicasChangeState::Ongoing);
    assert!(is_moving(&[world.object()], &world.found()));

    world.layout[0].isr = world.layout[0].replicas.clone();
    World::end_where_in_sync(&mut world.layout[0]);
    let (plan, verdict) = world.pass();
    assert!(plan.is_empty(), "what is on its way is left alone: {plan:?}");
    let message = told(verdict, Why::ChangingReplicas);
    assert_eq!(message, "1 of 3 partitions of topic \"t\" have 3 replicas, as declared; 2 are on their way");
    let recorded = world.recorded.clone().unwrap();
    assert_eq!((recorded.state, recorded.done, recorded.total), (ReplicasChangeState::Ongoing, 1, 3));

    world.settle();
    assert_eq!(world.replicas(), [[0, 1, 2], [1, 0, 2], [2, 0, 1]]);
    world.declare(1);
    assert_eq!(world.settle(), 3, "written down, begun, seen");
    assert_eq!(world.replicas(), [[0], [1], [2]]);
}

#[test]
fn another_mind_in_the_middle_leads_moves_elsewhere_or_back() {
    for (then, expected) in [(1, 1), (2, 2), (4, 4)] {
        let mut world = World::new(4, &[&[0], &[1], &[2]]);
        world.declare(3);
        world.pass();
        world.pass();
        // One partition is there already, the others are under way.
        world.layout[0].isr = world.layout[0].replicas.clone();
        World::end_where_in_sync(&mut world.layout[0]);
        world.declare(then);
        let (plan, _) = world.pass();
        assert!(plan.is_empty(), "the new number is written down first: {plan:?}");
        assert_eq!(world.own_targets(), [3, then]);
        let (plan, _) = world.pass();
        let moved: Vec<i32> = plan.moves.iter().map(|one| one.partition).collect();
        assert_eq!(moved, [0, 1, 2], "what is the operator's own is led elsewhere");
        world.settle();
        assert!(world.replicas().iter().all(|replicas| replicas.len() == expected), "{:?}", world.replicas());
    }
    let mut world = World::new(3, &[&[0, 1, 2]]);
    world.layout[0].isr = ids(&[0, 1]);
    world.declare(1);
    world.pass();
    world.pass();
    world.declare(3);
    world.settle();
    assert_eq!(world.replicas()[0][0], 0);
}

#[test]
fn another_operator_goes_on_where_one_was_killed() {
    let mut world = World::new(3, &[&[0], &[1]]);
    world.declare(3);
    world.pass();
    world.pass_and_die();
    assert_eq!(world.recorded.as_ref().unwrap().state, ReplicasChangeState::Pending);
    let (plan, _) = world.pass();
    assert!(plan.is_empty(), "the moves of the other one are its own: {plan:?}");
    // Killed again after it led the moves elsewhere, and yet another number is declared meanwhile.
    world.declare(2);
    world.pass();
    assert_eq!(world.pass_and_die().moves.len(), 2);
    world.declare(1);
    world.pass();
    assert_eq!(world.own_targets(), [2, 1]);
    assert_eq!(world.pass().0.moves.len(), 2, "the moves of the other one are its own");
    world.settle();
    assert!(world.replicas().iter().all(|replicas| replicas.len() == 1), "{:?}", world.replicas());
}

#[test]
fn a_number_that_cannot_be_reached_makes_no_stranger_of_what_is_under_way() {
    let mut world = World::new(3, &[&[0], &[1]]);
    world.declare(3);
    world.pass();
    world.pass();
    world.declare(5);
    for _ in 0..3 {
        let (plan, verdict) = world.pass();
        assert!(plan.is_empty());
        told(verdict, Why::NotEnoughBrokers);
        assert_eq!(world.own_targets(), [3, 5]);
    }
    world.declare(1);
    world.pass();
    let (plan, _) = world.pass();
    assert_eq!(plan.moves.len(), 2, "they are led back");
    assert_eq!(world.settle(), 1);
    assert_eq!(world.replicas(), [[0], [1]]);
}

#[test]
fn what_is_under_way_stays_written_down_while_the_declaration_asks_for_nothing() {
    for what in ["partitions", "replicas"] {
        let mut world = World::new(3, &[&[0], &[1]]);
        world.declare(3);
        world.pass();
        world.pass();
        let before = world.spec[what].clone();
        world.spec[what] = if what == "partitions" { json!(1) } else { Value::Null };
        world.pass();
        assert_eq!(world.own_targets(), [3], "{what}");
        world.spec[what] = before;
        world.declare(2);
        world.pass();
        assert_eq!(world.pass().0.moves.len(), 2, "{what}: they are the operator's own");
        world.settle();
        world.spec[what] = if what == "partitions" { json!(1) } else { Value::Null };
        world.pass();
        assert_eq!(world.recorded, None, "{what}");
    }
}

#[test]
fn the_controller_is_asked_while_a_change_is_recorded() {
    let mut world = World::new(3, &[&[0]]);
    world.declare(3);
    world.pass();
    world.pass();
    // One number and back again, seen through a broker that has not heard of the move.
    world.declare(1);
    let lagging = World::new(3, &[&[0]]).found().topics;
    assert!(asks_for_moves(&[world.object()], &lagging));
}

#[test]
fn a_record_goes_with_the_topic_it_is_about() {
    let mut world = World::new(3, &[&[0]]);
    world.declare(3);
    world.pass();
    let mut found = world.found();
    let Some(Ok(facts)) = found.topics.get_mut("t") else { panic!() };
    facts.id = Uuid::from_u128(8);
    assert_eq!(replicas_change(&world.object(), &found, &Outcome::default()), None, "somebody else's topic");
    let overruled = Declared { overruled_by: Some("older".to_owned()), ..world.object() };
    assert_eq!(replicas_change(&overruled, &world.found(), &Outcome::default()), None);
    found.topics.insert(
        "t".to_owned(),
        Err(Answer { error: ResponseError::TopicAuthorizationFailed, message: None }),
    );
    assert_eq!(replicas_change(&world.object(), &found, &Outcome::default()), world.recorded);
}

#[test]
fn what_somebody_else_moves_is_waited_for() {
    let mut world = World::new(5, &[&[0, 1], &[1, 2]]);
    world.declare(3);
    let by_hand = Move { topic: "t".to_owned(), partition: 0, replicas: ids(&[3, 4]) };
    world.begin(&by_hand);
    world.pass();
    let (plan, verdict) = world.pass();
    assert_eq!(plan.moves.iter().map(|one| one.partition).collect::<Vec<_>>(), [1]);
    let message = told(verdict, Why::ChangingReplicas);
    assert!(message.contains("partitions 0: somebody else moves them"), "{message}");
    assert_eq!(world.layout[0].replicas, ids(&[3, 4, 0, 1]));
    world.settle();
    let replicas = world.replicas();
    assert_eq!(replicas[0][..2], [3, 4], "what was moved by hand stays there: {replicas:?}");
    assert_eq!(replicas[0].len(), 3);
}

#[test]
fn a_move_by_hand_that_keeps_the_number_is_nobodys_business() {
    let mut world = World::new(5, &[&[0, 1]]);
    world.declare(2);
    world.begin(&Move { topic: "t".to_owned(), partition: 0, replicas: ids(&[3, 4]) });
    let (plan, verdict) = world.pass();
    assert!(plan.is_empty());
    assert!(matches!(verdict, Verdict::AsDeclared(_)), "{verdict:?}");
}

#[test]
fn more_replicas_than_brokers_are_told_with_the_remedy_and_hold_up_nothing_else() {
    let mut world = World::new(3, &[&[0], &[1]]);
    world.spec["config"] = json!({"retention.ms": 5});
    world.declare(5);
    world.pass();
    world.spec["partitions"] = json!(4);
    let (plan, _) = world.pass();
    assert_eq!((plan.moves.len(), plan.raise.len(), plan.change.len()), (0, 1, 1));
    world.spec["partitions"] = json!(2);
    world.spec["config"] = json!({});
    let (_, verdict) = world.pass();
    let message = told(verdict, Why::NotEnoughBrokers);
    assert!(message.contains("the cluster has 3 brokers"), "{message}");
    assert!(message.contains("set replicas to 3 at most, or raise spec.replicas of KafkaCluster \"my\""));
    assert_eq!(world.recorded.as_ref().unwrap().state, ReplicasChangeState::Pending);
    assert!(!is_moving(&[world.object()], &world.found()), "nothing comes of looking again at once");
    // The wrong value is mended.
    world.declare(3);
    world.settle();
    assert!(world.replicas().iter().all(|replicas| replicas.len() == 3));
}

#[test]
fn a_broker_out_of_service_is_waited_for() {
    let mut world = World::new(3, &[&[0], &[2]]);
    world.census.brokers.get_mut(&NodeId(2)).unwrap().in_service = false;
    world.declare(3);
    world.pass();
    let (plan, verdict) = world.pass();
    assert_eq!(plan.moves.iter().map(|one| one.partition).collect::<Vec<_>>(), [1], "what it has it keeps");
    let message = told(verdict, Why::ChangingReplicas);
    assert!(message.contains("partitions 0 wait for brokers 2, which are out of service"), "{message}");
    world.catch_up();
    let (_, verdict) = world.pass();
    told(verdict, Why::NotEnoughBrokers);
    world.census.brokers.get_mut(&NodeId(2)).unwrap().in_service = true;
    world.settle();
}

#[test]
fn nothing_is_removed_while_nobody_leads() {
    let mut world = World::new(3, &[&[0, 1, 2], &[0, 1, 2]]);
    world.layout[1].leader = None;
    world.declare(2);
    world.pass();
    let (plan, verdict) = world.pass();
    assert_eq!(plan.moves.iter().map(|one| one.partition).collect::<Vec<_>>(), [0]);
    let message = told(verdict, Why::ChangingReplicas);
    assert!(message.contains("partitions 1: no replica leads them"), "{message}");
}

#[test]
fn only_so_many_partitions_move_at_the_same_time() {
    let mut world = World::new(3, &[&[0][..]; MOVING_MAX * 2 + 7]);
    world.declare(2);
    world.pass();
    assert_eq!(world.pass().0.moves.len(), MOVING_MAX);
    let (plan, verdict) = world.pass();
    assert_eq!(plan.moves.len(), 0);
    let message = told(verdict, Why::ChangingReplicas);
    assert!(message.ends_with("107 wait until others have moved (at most 100 at a time)"), "{message}");
    for _ in 0..7 {
        let partition = world.layout.iter_mut().find(|partition| partition.is_moving()).unwrap();
        partition.isr = partition.replicas.clone();
        World::end_where_in_sync(partition);
    }
    assert_eq!(world.pass().0.moves.len(), 7);
    // All that is under way can be led back at once.
    world.declare(1);
    world.pass();
    assert_eq!(world.pass().0.moves.len(), MOVING_MAX);
    world.settle();
}

#[test]
fn a_broker_lost_in_the_middle_is_named_and_holds_up_no_other_moves() {
    for is_gone in [false, true] {
        let mut world = World::new(4, &[&[0][..]; MOVING_MAX + 7]);
        (1..4).for_each(|id| {
            world.census.brokers.get_mut(&NodeId(id)).unwrap().replicas = i64::from(id) * 1000
        });
        world.declare(2);
        world.pass();
        assert_eq!(world.pass().0.moves.len(), MOVING_MAX);
        assert_eq!(world.layout[0].adding, ids(&[1]));
        match is_gone {
            true => drop(world.census.brokers.remove(&NodeId(1))),
            false => world.census.brokers.get_mut(&NodeId(1)).unwrap().in_service = false,
        }
        let (plan, verdict) = world.pass();
        assert_eq!(plan.moves.len(), 7);
        let message = told(verdict, Why::ChangingReplicas);
        assert!(message.contains("waits for broker 1, which is out of service"), "{message}");
        // The way out: the old number takes the moves back.
        world.declare(1);
        world.settle();
        assert!(world.replicas().iter().all(|replicas| *replicas == [0]));
    }
}

#[test]
fn the_new_replicas_of_many_topics_are_spread_together() {
    let mut world = World::new(4, &[&[0]]);
    world.declare(2);
    world.pass();
    let one = world.object();
    let mut other = one.clone();
    other.topic.name = "u".to_owned();
    let facts = world.found().topics["t"].clone();
    let topics = Answers::from([("t".to_owned(), facts.clone()), ("u".to_owned(), facts)]);
    let plan = plan(&[one, other], &Found { topics, census: world.census.clone() });
    let added: Vec<NodeId> = plan.moves.iter().map(|one| one.replicas[1]).collect();
    assert_eq!(added, ids(&[1, 2]));
}

#[test]
fn fewer_replicas_than_the_topics_own_minimum_in_sync_are_refused() {
    let mut world = World::new(3, &[&[0, 1, 2], &[0]]);
    world.spec["config"] = json!({"min.insync.replicas": 2});
    world.declare(1);
    for _ in 0..2 {
        let (plan, _) = world.pass();
        assert!(plan.moves.is_empty());
    }
    let found = world.found();
    let one = world.object();
    let survey = survey(&one, found.topics["t"].as_ref().unwrap(), &found.census).unwrap();
    let (why, message) = survey.told(&one, &found.census, 0);
    assert_eq!(why, Why::NotSupported);
    assert!(message.contains("asks for min.insync.replicas 2: set that to 1 at most"), "{message}");
    world.spec["config"] = json!({"min.insync.replicas": 1});
    assert_eq!(world.pass().0.moves.len(), 1);
}

#[test]
fn topics_at_rest_are_judged_without_the_active_controller() {
    let mut world = World::new(3, &[&[0, 1], &[1, 2]]);
    world.declare(2);
    assert!(!asks_for_moves(&[world.object()], &world.found().topics));
    world.layout[1].isr = ids(&[1]);
    assert!(asks_for_moves(&[world.object()], &world.found().topics));
    world.spec["replicas"] = Value::Null;
    assert!(asks_for_moves(&[world.object()], &world.found().topics), "what is being added does not count");
    world.layout[1].isr = ids(&[1, 2]);
    assert!(!asks_for_moves(&[world.object()], &world.found().topics));
}

#[test]
fn a_topic_that_names_no_number_of_replicas_keeps_what_it_has() {
    let mut world = World::new(3, &[&[0, 1], &[1]]);
    let (plan, verdict) = world.pass();
    assert!(plan.is_empty());
    assert!(matches!(verdict, Verdict::AsDeclared(_)));
}

#[test]
fn partitions_that_were_added_meanwhile_get_their_replicas_too() {
    let mut world = World::new(3, &[&[0]]);
    world.declare(3);
    world.pass();
    world.pass();
    world.add_partition(&[1]);
    world.settle();
    assert!(world.replicas().iter().all(|replicas| replicas.len() == 3), "{:?}", world.replicas());
}

#[test]
fn what_the_cluster_refuses_is_told_and_asked_again() {
    let mut world = World::new(3, &[&[0]]);
    world.declare(2);
    world.refuses = Some(ResponseError::InvalidReplicaAssignment);
    world.pass();
    let (_, outcome, _) = world.ask();
    assert!(!outcome.moved.is_empty() && !outcome.began_moves(), "{outcome:?}");
    let (_, verdict) = world.pass();
    assert_eq!(told(verdict, Why::RefusedByCluster), "InvalidReplicaAssignment: why");
    assert_eq!(world.recorded.as_ref().unwrap().state, ReplicasChangeState::Pending);
    world.refuses = None;
    world.settle();
}
