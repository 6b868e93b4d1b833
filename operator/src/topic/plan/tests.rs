use std::sync::Arc;

use serde_json::{Value, json};

use super::{super::declared::declared, *};
use crate::{
    crd::KafkaTopic,
    kafka::{BrokerFacts, PartitionFacts, uuid_text},
    names::NodeId,
};

const ID: Uuid = Uuid::from_u128(7);

/// An object of topic `t`, made in the given second, whose own topic is the given one.
fn object(name: &str, spec: Value, second: u8, own: Option<Uuid>) -> KafkaTopic {
    let mut spec = spec;
    spec["clusterRef"] = json!({"name": "my"});
    spec["topicName"] = json!("t");
    let mut object = json!({
        "apiVersion": "ottla.dev/v1alpha1", "kind": "KafkaTopic", "spec": spec,
        "metadata": {
            "name": name, "namespace": "ns", "uid": name, "finalizers": ["ottla.dev/topic"],
            "creationTimestamp": format!("2026-01-01T00:00:{second:02}Z"),
        },
    });
    if let Some(own) = own {
        object["status"] = json!({"topicId": uuid_text(&own)});
    }
    serde_json::from_value(object).unwrap()
}

fn of(object: KafkaTopic) -> Vec<Declared> {
    declared(vec![Arc::new(object)])
}

/// An object whose topic was made for it.
fn owner(spec: Value) -> Vec<Declared> {
    of(object("a", spec, 1, Some(ID)))
}

fn newcomer(spec: Value) -> Vec<Declared> {
    of(object("a", spec, 1, None))
}

fn leaving(mut object: KafkaTopic) -> KafkaTopic {
    object.metadata.deletion_timestamp = Some(serde_json::from_value(json!("2026-01-02T00:00:00Z")).unwrap());
    object
}

fn facts(partitions: i32, config: &[(&str, &str)]) -> TopicFacts {
    TopicFacts {
        id: ID,
        partitions,
        replicas: 1,
        layout: (0..partitions).map(|index| partition(index, &[index % 3])).collect(),
        config: config.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
    }
}

fn partition(index: i32, replicas: &[i32]) -> PartitionFacts {
    let replicas: Vec<NodeId> = replicas.iter().map(|id| NodeId(*id)).collect();
    PartitionFacts {
        index,
        leader: replicas.first().copied(),
        isr: replicas.clone(),
        replicas,
        ..PartitionFacts::default()
    }
}

fn found(facts: TopicFacts) -> Found {
    Found { topics: answers(facts), census: census(3), ..Found::default() }
}

fn answers(facts: TopicFacts) -> Answers<TopicFacts> {
    Answers::from([("t".to_owned(), Ok(facts))])
}

/// So many brokers, all in service.
fn census(brokers: i32) -> Census {
    let broker = BrokerFacts { in_service: true, ..BrokerFacts::default() };
    Census { brokers: (0..brokers).map(|id| (NodeId(id), broker.clone())).collect() }
}

fn answer(error: ResponseError) -> Answer {
    Answer { error, message: Some("why".into()) }
}

fn plan(declared: &[Declared], found: &Found) -> Plan {
    super::plan(&Asked::all(declared, found), found)
}

fn judge(one: &Declared, found: &Found, outcome: &Outcome) -> Verdict {
    Asked::all(std::slice::from_ref(one), found)[0].judge(outcome)
}

fn verdict(declared: &[Declared], found: &Found) -> Verdict {
    judge(&declared[0], found, &Outcome::default())
}

#[test]
fn a_topic_that_is_as_declared_is_left_alone() {
    let declared = owner(json!({"partitions": 3, "config": {"retention.ms": 5}}));
    let there = found(facts(3, &[("retention.ms", "5")]));
    assert!(plan(&declared, &there).is_empty());
    assert!(matches!(verdict(&declared, &there), Verdict::AsDeclared(_)));
}

#[test]
fn a_missing_topic_is_created_and_reported_by_what_the_cluster_says() {
    for declared in [newcomer(json!({"partitions": 3})), owner(json!({"partitions": 3}))] {
        let plan = plan(&declared, &Found::default());
        assert_eq!((plan.create[0].name.as_str(), plan.create[0].partitions), ("t", 3));
        let outcome = Outcome { created: answers(facts(3, &[])), ..Outcome::default() };
        let verdict = judge(&declared[0], &Found::default(), &outcome);
        assert_eq!(verdict, Verdict::AsDeclared(facts(3, &[])));
    }
}

#[test]
fn no_topic_is_made_for_an_object_without_our_finalizer() {
    let mut bare = object("a", json!({}), 1, None);
    bare.metadata.finalizers = None;
    assert!(plan(&of(bare.clone()), &Found::default()).is_empty());
    assert!(matches!(verdict(&of(bare), &Found::default()), Verdict::Later(..)));
}

#[test]
fn drift_is_brought_back() {
    let declared = owner(json!({"partitions": 5, "config": {"retention.ms": 5, "preallocate": "true"}}));
    let there =
        found(facts(3, &[("retention.ms", "6"), ("cleanup.policy", "compact"), ("preallocate", "TRUE")]));
    let plan = plan(&declared, &there);
    assert_eq!(plan.raise, [("t".to_owned(), 5)]);
    let set = ("retention.ms".to_owned(), Some("5".to_owned()));
    assert_eq!(plan.change, [("t".to_owned(), vec![set, ("cleanup.policy".to_owned(), None)])]);
}

#[test]
fn what_cannot_be_brought_back_is_told_and_nothing_else_is_changed() {
    let declared = owner(json!({"partitions": 3, "config": {"retention.ms": 5}}));
    let there = found(facts(8, &[]));
    assert!(plan(&declared, &there).is_empty());
    let verdict = verdict(&declared, &there);
    let Verdict::Not(Why::NotSupported, message, Some(_)) = verdict else { panic!("{verdict:?}") };
    assert!(message.contains("set partitions to 8"), "{message}");
}

#[test]
fn a_topic_made_by_others_is_neither_changed_nor_deleted_by_an_object_that_declares_another() {
    let there = found(facts(12, &[("cleanup.policy", "compact")]));
    for (spec, difference) in [
        (json!({}), "partitions: 12, config cleanup.policy: compact"),
        (json!({"partitions": 12}), "(config cleanup.policy: compact)"),
        (json!({"partitions": 12, "replicas": 2, "config": {"cleanup.policy": "compact"}}), "(replicas: 1)"),
        (
            json!({"partitions": 12, "config": {"cleanup.policy": "compact", "retention.ms": 5}}),
            "(no config retention.ms)",
        ),
    ] {
        let object = object("a", spec, 1, None);
        assert!(plan(&of(object.clone()), &there).is_empty());
        let verdict = verdict(&of(object.clone()), &there);
        let Verdict::Not(Why::TopicExists, message, None) = verdict else { panic!("{verdict:?}") };
        assert!(message.contains(difference), "{message}");
        let gone = of(leaving(object));
        assert!(plan(&gone, &there).is_empty(), "it is not its own to delete");
        assert_eq!(judge(&gone[0], &there, &Outcome::default()), Verdict::LetGo);
    }
}

#[test]
fn a_topic_made_by_others_that_is_as_declared_is_taken_over() {
    let declared = newcomer(json!({"partitions": 12, "config": {"cleanup.policy": "compact"}}));
    let there = found(facts(12, &[("cleanup.policy", "compact")]));
    assert!(plan(&declared, &there).is_empty());
    assert!(matches!(verdict(&declared, &there), Verdict::AsDeclared(facts) if facts.id == ID));
}

#[test]
fn what_the_cluster_refuses_is_reported_in_its_words_and_what_passes_by_itself_is_not() {
    let declared = newcomer(json!({"replicas": 3}));
    let refused = |error| {
        let created = Answers::from([("t".to_owned(), Err(answer(error)))]);
        judge(&declared[0], &Found::default(), &Outcome { created, ..Outcome::default() })
    };
    let verdict = refused(ResponseError::InvalidReplicationFactor);
    let Verdict::Not(Why::RefusedByCluster, message, None) = verdict else { panic!("{verdict:?}") };
    assert_eq!(message, "InvalidReplicationFactor: why");
    let verdict = refused(ResponseError::RequestTimedOut);
    let Verdict::Later(Why::ClusterNotReady, message) = verdict else { panic!("{verdict:?}") };
    assert!(message.contains("RequestTimedOut"), "{message}");
}

#[test]
fn a_broker_that_lags_behind_its_controller_is_asked_again() {
    let declared = owner(json!({"partitions": 5}));
    let raised = Answers::from([("t".to_owned(), Err(answer(ResponseError::InvalidPartitions)))]);
    let outcome = Outcome { raised, ..Outcome::default() };
    let verdict = judge(&declared[0], &found(facts(3, &[])), &outcome);
    assert!(matches!(verdict, Verdict::Later(Why::RefusedByCluster, _)), "{verdict:?}");
    let gone = of(leaving(object("a", json!({}), 1, Some(ID))));
    assert_eq!(plan(&gone, &Found::default()).delete, [ID], "deleted although this broker does not see it");
    let deleted = BTreeMap::from([(ID, Err(answer(ResponseError::UnknownTopicId)))]);
    assert_eq!(doubtful(&gone, &deleted), ["t"]);
    let judged = |said| {
        let free = Answers::from([("t".to_owned(), said)]);
        judge(&gone[0], &Found::default(), &Outcome { deleted: deleted.clone(), free, ..Outcome::default() })
    };
    let taken = judged(Err(answer(ResponseError::TopicAlreadyExists)));
    assert!(matches!(taken, Verdict::Later(Why::Deleting, _)), "{taken:?}");
    assert_eq!(judged(Ok(())), Verdict::LetGo);
}

#[test]
fn the_older_of_two_objects_wins() {
    let both = declared(vec![
        Arc::new(object("young", json!({}), 2, None)),
        Arc::new(object("old", json!({}), 1, None)),
    ]);
    assert_eq!(plan(&both, &Found::default()).create.len(), 1);
    let verdict = judge(&both[1], &Found::default(), &Outcome::default());
    let Verdict::Not(Why::ResourceConflict, message, None) = verdict else { panic!("{verdict:?}") };
    assert!(message.contains("KafkaTopic \"old\" is older"), "{message}");
}

#[test]
fn whichever_of_two_objects_goes_the_topic_stays_with_the_other() {
    let there = found(facts(1, &[]));
    let (old, young) = (object("old", json!({}), 1, Some(ID)), object("young", json!({}), 2, None));
    for (objects, goes) in [([leaving(old.clone()), young.clone()], 0), ([old, leaving(young)], 1)] {
        let declared = declared(objects.map(Arc::new).to_vec());
        assert!(plan(&declared, &there).is_empty());
        assert_eq!(judge(&declared[goes], &there, &Outcome::default()), Verdict::LetGo);
        let stays = judge(&declared[1 - goes], &there, &Outcome::default());
        assert!(matches!(stays, Verdict::AsDeclared(_)), "{stays:?}");
    }
}

#[test]
fn a_deleted_object_takes_its_own_topic_along_unless_it_is_retained() {
    let there = found(facts(1, &[]));
    let deleted = of(leaving(object("a", json!({}), 1, Some(ID))));
    assert_eq!(plan(&deleted, &there).delete, [ID]);
    let judged = |result| {
        let deleted_so = BTreeMap::from([(ID, result)]);
        judge(&deleted[0], &there, &Outcome { deleted: deleted_so, ..Outcome::default() })
    };
    assert_eq!(judged(Ok(())), Verdict::LetGo);
    let disabled = judged(Err(answer(ResponseError::TopicDeletionDisabled)));
    assert!(matches!(disabled, Verdict::Not(Why::Deleting, _, None)), "{disabled:?}");
    let retained = of(leaving(object("a", json!({"deletionPolicy": "Retain"}), 1, Some(ID))));
    assert!(plan(&retained, &there).is_empty());
    assert_eq!(judge(&retained[0], &there, &Outcome::default()), Verdict::LetGo);
}

#[test]
fn a_topic_that_replaced_an_objects_own_is_not_deleted_with_it() {
    let there = found(TopicFacts { id: Uuid::from_u128(9), ..facts(1, &[]) });
    let gone = of(leaving(object("a", json!({}), 1, Some(ID))));
    assert_eq!(plan(&gone, &there).delete, [ID]);
    let deleted = BTreeMap::from([(ID, Err(answer(ResponseError::UnknownTopicId)))]);
    let taken = Answers::from([("t".to_owned(), Err(answer(ResponseError::TopicAlreadyExists)))]);
    let outcome = Outcome { deleted, free: taken, ..Outcome::default() };
    assert_eq!(judge(&gone[0], &there, &outcome), Verdict::LetGo);
}

#[test]
fn the_throttles_of_a_move_by_hand_are_no_drift_unless_declared() {
    const KEY: &str = "leader.replication.throttled.replicas";
    let there = found(facts(1, &[(KEY, "*"), ("follower.replication.throttled.replicas", "*")]));
    assert!(plan(&owner(json!({})), &there).is_empty());
    let declared = owner(json!({"config": {KEY: "0:1"}}));
    assert_eq!(
        plan(&declared, &there).change,
        [("t".to_owned(), vec![(KEY.to_owned(), Some("0:1".to_owned()))])]
    );
}
