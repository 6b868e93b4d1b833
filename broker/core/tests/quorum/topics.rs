//! Topics, partitions and configuration: what is refused with which error, and what is written.

use ottla_core::config::{AlterOp, Alteration};
use ottla_core::controller::operation::{
    CreatePartitions, CreateTopics, DeleteTopics, IncrementalAlterConfigs, MorePartitions, NewTopic,
    TopicReference,
};
use ottla_core::controller::{Operation, OperationError, Reply};
use ottla_core::ids::{NodeId, PartitionIndex, TopicId, TopicName};
use ottla_core::metadata::image::ConfigResource;
use uuid::Uuid;

use crate::rig::{Cluster, create};

const CONTROLLER: NodeId = NodeId(0);

/// One controller and brokers 1, 2 and 3 in service; broker 4 is registered and fenced.
fn cluster() -> Cluster {
    let mut cluster = Cluster::started(1);
    for broker in 1..=3 {
        cluster.broker_up(CONTROLLER, NodeId(broker));
    }
    let fenced = crate::rig::registration(NodeId(4), 1);
    cluster.call(CONTROLLER, Operation::RegisterBroker(fenced)).unwrap();
    cluster
}

fn topic(name: &str, partitions: i32, replication_factor: i16) -> NewTopic {
    // A name of its own gives an id of its own.
    let id = TopicId(Uuid::from_u128(1_000_000 + name.bytes().map(u128::from).sum::<u128>()));
    NewTopic {
        name: name.to_owned(),
        id,
        partitions,
        replication_factor,
        assignments: Vec::new(),
        configs: Vec::new(),
    }
}

fn assigned(name: &str, assignments: &[(i32, &[i32])]) -> NewTopic {
    let list = |(index, replicas): &(i32, &[i32])| {
        (PartitionIndex(*index), replicas.iter().map(|id| NodeId(*id)).collect())
    };
    NewTopic { assignments: assignments.iter().map(list).collect(), ..topic(name, -1, -1) }
}

fn configured(name: &str, configs: &[(&str, Option<&str>)]) -> NewTopic {
    let pair = |(key, value): &(&str, Option<&str>)| ((*key).to_owned(), value.map(str::to_owned));
    NewTopic { configs: configs.iter().map(pair).collect(), ..topic(name, 1, 1) }
}

fn make(cluster: &mut Cluster, topics: Vec<NewTopic>, validate_only: bool) -> Vec<Result<(i32, i16), i16>> {
    let request = Operation::CreateTopics(CreateTopics { topics, validate_only });
    let Ok(Reply::CreateTopics(results)) = cluster.call(CONTROLLER, request) else { panic!("refused") };
    let short = |result: Result<_, OperationError>| match result {
        Ok(ottla_core::controller::operation::CreatedTopic { partitions, replication_factor, .. }) => {
            Ok((partitions, replication_factor))
        }
        Err(error) => Err(error.code()),
    };
    results.into_iter().map(short).collect()
}

#[test]
fn the_defaults_are_one_partition_and_one_replica() {
    let mut cluster = cluster();
    assert_eq!(make(&mut cluster, vec![topic("a", -1, -1)], false), [Ok((1, 1))]);
}

#[test]
fn what_is_wrong_with_a_topic_is_told_with_kafkas_code() {
    let mut cluster = cluster();
    make(&mut cluster, vec![topic("taken", 1, 1), topic("a.b", 1, 1)], false);
    let table: Vec<(NewTopic, i16, &str)> = vec![
        (topic("", 1, 1), 17, "illegal"),
        (topic("no spaces", 1, 1), 17, "illegal"),
        (topic("a_b", 1, 1), 17, "collides with the existing topic \"a.b\""),
        (topic("taken", 1, 1), 36, "already exists"),
        (topic("t", 0, 1), 37, "number of partitions 0 is not positive"),
        (topic("t", -2, 1), 37, "number of partitions -2 is not positive"),
        (topic("t", 20_000, 1), 44, "at most 10000 partitions"),
        (topic("t", 1, 0), 38, "replication factor 0 is not positive"),
        (topic("t", 1, 30), 38, "replication factor 30 is larger than the number of registered brokers"),
        (NewTopic { partitions: 2, ..assigned("t", &[(0, &[1])]) }, 42, "manual assignment"),
        (NewTopic { replication_factor: 1, ..assigned("t", &[(0, &[1])]) }, 42, "manual assignment"),
        (assigned("t", &[(1, &[1])]), 39, "0, 1, 2"),
        (assigned("t", &[(0, &[1]), (0, &[2])]), 39, "0, 1, 2"),
        (assigned("t", &[(0, &[])]), 39, "empty"),
        (assigned("t", &[(0, &[9])]), 39, "broker 9, which is not registered"),
        (assigned("t", &[(0, &[1, 1])]), 39, "twice"),
        (assigned("t", &[(0, &[4])]), 39, "fenced"),
        (configured("t", &[("colour", Some("red"))]), 40, "unknown topic config \"colour\""),
        (configured("t", &[("retention.ms", Some("soon"))]), 40, "retention.ms"),
        (configured("t", &[("retention.ms", None)]), 40, "has no value"),
        (NewTopic { id: TopicId::default(), ..topic("t", 1, 1) }, 42, "cannot be given"),
    ];
    let before = cluster.image(CONTROLLER).clone();
    for (topic, code, text) in table {
        let (found, message) = cluster.refusal(CONTROLLER, topic.clone());
        assert_eq!(found, code, "{topic:?}: {message}");
        assert!(message.contains(text), "{topic:?}: {message}");
    }
    assert_eq!(*cluster.image(CONTROLLER), before, "a refusal writes nothing");
}

#[test]
fn without_a_live_broker_there_are_no_topics() {
    let mut cluster = Cluster::started(1);
    let (code, message) = cluster.refusal(CONTROLLER, topic("t", 1, 1));
    assert_eq!((code, message.as_str()), (38, "no broker is registered"));
}

#[test]
fn topics_of_one_request_see_each_other() {
    let mut cluster = cluster();
    let topics = vec![topic("a.b", 1, 1), topic("a_b", 1, 1), topic("c", 1, 1), topic("c", 2, 1)];
    assert_eq!(make(&mut cluster, topics, false), [Ok((1, 1)), Err(17), Err(42), Err(42)]);
    assert_eq!(cluster.image(CONTROLLER).topics.len(), 1);
}

#[test]
fn validating_tells_everything_and_writes_nothing() {
    let mut cluster = cluster();
    let before = cluster.image(CONTROLLER).offset;
    assert_eq!(make(&mut cluster, vec![topic("a", 4, 1), topic("b", 1, 30)], true), [Ok((4, 1)), Err(38)]);
    assert_eq!(cluster.image(CONTROLLER).offset, before);
}

#[test]
fn leaders_are_spread_over_live_brokers_and_configuration_is_kept() {
    let mut cluster = cluster();
    let wanted = NewTopic { partitions: 6, ..configured("a", &[("retention.ms", Some("1000"))]) };
    make(&mut cluster, vec![wanted], false);
    let image = cluster.image(CONTROLLER);
    let name = TopicName::parse("a").unwrap();
    let topic = image.topic(&name).unwrap();
    let led_by = |broker| topic.partitions.values().filter(|p| p.leader == Some(NodeId(broker))).count();
    assert_eq!([1, 2, 3, 4].map(led_by), [2, 2, 2, 0]);
    let configs = &image.configs[&ConfigResource::Topic(name)];
    assert_eq!(configs.get("retention.ms").map(String::as_str), Some("1000"));
}

#[test]
fn partitions_are_added_where_the_topic_has_fewest() {
    let mut cluster = cluster();
    make(&mut cluster, vec![assigned("a", &[(0, &[1]), (1, &[1])])], false);
    let more = |count, assignments| {
        let topics = vec![MorePartitions { name: "a".to_owned(), count, assignments }];
        Operation::CreatePartitions(CreatePartitions { topics, validate_only: false })
    };
    let mut ask = |operation| match cluster.call(CONTROLLER, operation) {
        Ok(Reply::CreatePartitions(results)) => results[0].clone().map_err(|error| error.code()),
        other => panic!("{other:?}"),
    };
    assert_eq!(ask(more(1, None)), Err(37), "it never shrinks");
    assert_eq!(ask(more(2, None)), Err(37), "it has two");
    assert_eq!(ask(more(3, Some(vec![]))), Err(39));
    assert_eq!(ask(more(4, None)), Ok(()));
    assert_eq!(ask(more(5, Some(vec![vec![NodeId(3)]]))), Ok(()));
    let image = cluster.image(CONTROLLER);
    let topic = image.topics.values().next().unwrap();
    let leaders: Vec<i32> = topic.partitions.values().map(|p| p.leader.unwrap().0).collect();
    assert_eq!(leaders, [1, 1, 2, 3, 3]);
}

#[test]
fn a_deleted_topic_takes_its_configuration_along_and_its_name_is_free() {
    let mut cluster = cluster();
    make(&mut cluster, vec![configured("a", &[("retention.ms", Some("1000"))])], false);
    let id = *cluster.image(CONTROLLER).topics.keys().next().unwrap();
    let delete = |topics| Operation::DeleteTopics(DeleteTopics { topics });
    let by_name = TopicReference::Name("a".to_owned());
    let request = delete(vec![TopicReference::Id(id), by_name, TopicReference::Id(TopicId::default())]);
    let Ok(Reply::DeleteTopics(results)) = cluster.call(CONTROLLER, request) else { panic!("refused") };
    let codes: Vec<Option<i16>> =
        results.iter().map(|result| result.as_ref().err().map(OperationError::code)).collect();
    assert_eq!(codes, [None, Some(3), Some(100)]);
    let image = cluster.image(CONTROLLER);
    assert!(image.topics.is_empty() && image.topic_ids.is_empty() && image.configs.is_empty());
    assert!(cluster.call(CONTROLLER, create("a", 7, 1)).is_ok());
}

#[test]
fn configuration_changes_wholly_or_not_at_all_for_each_resource() {
    let mut cluster = cluster();
    make(&mut cluster, vec![topic("a", 1, 1)], false);
    let set = |key: &str, value: &str| Alteration {
        key: key.to_owned(),
        op: AlterOp::Set,
        value: Some(value.to_owned()),
    };
    let name = |name| ConfigResource::Topic(TopicName::parse(name).unwrap());
    let request = IncrementalAlterConfigs {
        resources: vec![
            (name("a"), vec![set("retention.ms", "5"), set("colour", "red")]),
            (name("nowhere"), vec![set("retention.ms", "5")]),
            (ConfigResource::BrokerDefault, vec![set("log.retention.ms", "7")]),
            (ConfigResource::Broker(NodeId(9)), vec![set("log.retention.ms", "7")]),
        ],
        validate_only: false,
    };
    let reply = cluster.call(CONTROLLER, Operation::IncrementalAlterConfigs(request));
    let Ok(Reply::IncrementalAlterConfigs(results)) = reply else { panic!("refused") };
    let codes: Vec<i16> =
        results.iter().map(|result| result.as_ref().err().map_or(0, OperationError::code)).collect();
    assert_eq!(codes, [40, 3, 0, 102]);
    let resources: Vec<&ConfigResource> = cluster.image(CONTROLLER).configs.keys().collect();
    assert_eq!(resources, [&ConfigResource::BrokerDefault]);
}

#[test]
fn requests_that_change_nothing_write_nothing() {
    let mut cluster = cluster();
    let before = cluster.image(CONTROLLER).offset;
    cluster.pass(2_000);
    make(&mut cluster, vec![topic("t", 1, 30)], false);
    assert_eq!(cluster.image(CONTROLLER).offset, before);
}

#[test]
fn names_that_differ_only_in_dots_and_underscores_collide_within_a_request_too() {
    let mut cluster = cluster();
    make(&mut cluster, vec![topic("a.b_c", 1, 1)], false);
    let names = ["a_b.c", "x.y", "x_y", "x-y", "xy"];
    let topics = names.iter().map(|name| topic(name, 1, 1)).collect();
    let made = make(&mut cluster, topics, false);
    assert_eq!(made, [Err(17), Ok((1, 1)), Err(17), Ok((1, 1)), Ok((1, 1))]);
}

#[test]
fn topics_of_one_request_are_spread_like_those_of_many() {
    let mut cluster = cluster();
    let names = ["a", "b", "c", "d", "e", "f"];
    make(&mut cluster, names.iter().map(|name| topic(name, 1, 1)).collect(), false);
    let image = cluster.image(CONTROLLER);
    let mut led: Vec<i32> =
        image.topics.values().map(|t| t.partitions[&PartitionIndex(0)].leader.unwrap().0).collect();
    led.sort_unstable();
    assert_eq!(led, [1, 1, 2, 2, 3, 3]);
}

#[test]
fn a_request_with_more_topics_than_it_may_make_partitions_is_refused_unread() {
    let mut cluster = cluster();
    let before = cluster.image(CONTROLLER).offset;
    // Each is refused for another reason if it is looked at.
    let made = make(&mut cluster, vec![topic("no name", 1, 1); 10_001], false);
    assert!(made.len() == 10_001 && made.iter().all(|result| *result == Err(44)));
    assert_eq!(cluster.image(CONTROLLER).offset, before);
}
