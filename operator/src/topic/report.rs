//! What is said of a topic: its object's status, and events about its replicas. Pure.

use k8s_openapi::jiff::Timestamp;

use super::{declared::Declared, plan::Verdict};
use crate::{
    crd::{KafkaTopicStatus, ReplicasChange, ReplicasChangeState},
    events::{REPLICAS_CHANGED, REPLICAS_CHANGING},
    kafka::{KafkaError, PartitionFacts, TopicFacts, uuid_text},
    status::{self, Kind, Now, Why},
};

/// The condition that a verdict comes to, and what is known of the topic. None where the object may go.
#[must_use]
pub fn condition<'a>(one: &Declared, verdict: &'a Verdict) -> Option<(Now, Option<&'a TopicFacts>)> {
    let not = |why: Why, message: &str| Now::new(Kind::Ready, false, why, message);
    match verdict {
        Verdict::AsDeclared(facts) => {
            let message = format!("topic \"{}\" is as declared", one.topic.name);
            Some((Now::new(Kind::Ready, true, Why::AsDeclared, message), Some(facts)))
        }
        Verdict::Not(why, message, facts) => Some((not(*why, message), facts.as_ref())),
        Verdict::Later(why, message) => Some((not(*why, message), None)),
        Verdict::LetGo => None,
    }
}

/// The status of an object. What is not known of the topic stays as it was said last.
#[must_use]
pub fn status(
    one: &Declared,
    now: Now,
    facts: Option<&TopicFacts>,
    change: Option<ReplicasChange>,
    at: Timestamp,
) -> KafkaTopicStatus {
    let before = one.object.status.as_ref();
    let generation = one.object.metadata.generation;
    let conditions_before = before.map_or(&[][..], |status| &status.conditions);
    KafkaTopicStatus {
        conditions: status::conditions(conditions_before, vec![now], generation, at),
        observed_generation: generation,
        topic_name: Some(one.topic.name.clone()),
        topic_id: facts.map(|facts| uuid_text(&facts.id)).or_else(|| before?.topic_id.clone()),
        partitions: facts.map(|facts| facts.partitions).or_else(|| before?.partitions),
        replicas: facts.map(|facts| facts.replicas).or_else(|| before?.replicas),
        replicas_change: change,
    }
}

/// What to tell of a change of replicas that began, or is over.
#[must_use]
pub fn told_of_replicas(
    one: &Declared,
    facts: Option<&TopicFacts>,
    after: Option<&ReplicasChange>,
) -> Option<(&'static str, String)> {
    let name = &one.topic.name;
    let is_ongoing = |change: &&ReplicasChange| change.state == ReplicasChangeState::Ongoing;
    let before = one.recorded();
    match after {
        Some(change) if is_ongoing(&change) => {
            let target = change.target_replicas;
            let is_known = before.filter(is_ongoing).is_some_and(|before| before.target_replicas == target);
            let note = || format!("leading topic \"{name}\" to {target} replicas of each partition");
            (!is_known).then(|| (REPLICAS_CHANGING, note()))
        }
        Some(_) => None,
        None => {
            let target = before?.target_replicas;
            let is_at_rest = |facts: &TopicFacts| !facts.layout.iter().any(PartitionFacts::is_moving);
            let is_reached = facts.is_some_and(|facts| facts.has_replicas(target) && is_at_rest(facts));
            let note = || format!("topic \"{name}\" now has {target} replicas of each partition");
            is_reached.then(|| (REPLICAS_CHANGED, note()))
        }
    }
}

/// Why a cluster does not answer: an error and its cause, and no more. What lies behind that is another with every
/// attempt, and each other message would be written.
#[must_use]
pub fn told_of_error(error: &KafkaError) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::{crd::KafkaTopic, names::NodeId, topic::declared::declared};

    #[test]
    fn an_error_is_told_with_its_cause_if_it_has_one() {
        let other = KafkaError::OtherCluster { found: "a".to_owned(), wanted: "b".to_owned() };
        assert_eq!(told_of_error(&other), "its address leads to cluster a, and its own id is b");
        let away = KafkaError::Client(ottla_client::ClientError::NoAddress);
        let told = told_of_error(&away);
        assert_eq!(told, format!("the cluster does not answer: {}", ottla_client::ClientError::NoAddress));
    }

    #[test]
    fn a_change_is_told_to_be_over_only_where_all_partitions_have_the_number_and_none_moves() {
        let object: KafkaTopic = serde_json::from_value(json!({
            "apiVersion": "ottla.dev/v1alpha1", "kind": "KafkaTopic", "metadata": {"name": "t"},
            "spec": {"clusterRef": {"name": "my"}},
            "status": {"replicasChange": {"state": "ongoing", "targetReplicas": 3, "done": 0, "total": 2}},
        }))
        .unwrap();
        let one = declared(vec![Arc::new(object)]).remove(0);
        let partition = |replicas: i32, adding: &[i32]| PartitionFacts {
            replicas: (0..replicas).map(NodeId).collect(),
            adding: adding.iter().map(|id| NodeId(*id)).collect(),
            ..PartitionFacts::default()
        };
        let is_told = |replicas, layout: [PartitionFacts; 2]| {
            let config = std::collections::BTreeMap::new();
            let facts =
                TopicFacts { id: uuid::Uuid::nil(), partitions: 2, replicas, config, layout: layout.into() };
            told_of_replicas(&one, Some(&facts), None).is_some()
        };
        assert!(is_told(3, [partition(3, &[]), partition(3, &[])]));
        assert!(!is_told(3, [partition(3, &[]), partition(4, &[])]), "one of them has more");
        assert!(!is_told(3, [partition(3, &[]), partition(4, &[3])]), "one of them moves");
        assert!(told_of_replicas(&one, None, None).is_none(), "nothing is known of the topic");
    }
}
