//! What to ask of the cluster so that its topics become what is declared, and what to say of each. Pure.

use std::collections::BTreeMap;

use super::declared::Declared;
use crate::{
    crd::DeletionPolicy,
    kafka::{Answer, Answers, ConfigChange, NewTopic, TopicFacts},
    status::Why,
};

/// What to ask of the cluster.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Plan {
    /// Topics to create.
    pub create: Vec<NewTopic>,
    /// Topics to raise to a number of partitions.
    pub raise: Vec<(String, i32)>,
    /// Configurations to change.
    pub change: Vec<(String, Vec<ConfigChange>)>,
    /// Topics to delete.
    pub delete: Vec<String>,
}

impl Plan {
    /// Whether there is nothing to ask.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What the cluster answered to a plan, by topic.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Of creating.
    pub created: Answers<TopicFacts>,
    /// Of adding partitions.
    pub raised: Answers<()>,
    /// Of changing configuration.
    pub changed: Answers<()>,
    /// Of deleting.
    pub deleted: Answers<()>,
}

/// What becomes of an object.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// The topic is as declared.
    AsDeclared(TopicFacts),
    /// It is not, because; what is known of it.
    Not(Why, String, Option<TopicFacts>),
    /// The object may go: its topic is gone, or stays by its own wish.
    LetGo,
    /// The cluster will answer otherwise soon; nothing is reported.
    Later,
}

/// Plans what to ask.
#[must_use]
pub fn plan(declared: &[Declared], found: &Answers<TopicFacts>) -> Plan {
    let mut plan = Plan::default();
    for one in declared.iter().filter(|one| one.overruled_by.is_none()) {
        let wanted = &one.topic;
        let there = found.get(&wanted.name);
        if one.leaving() {
            if one.deletion == DeletionPolicy::Delete && one.finalized() && there.is_some() {
                plan.delete.push(wanted.name.clone());
            }
            continue;
        }
        match there {
            None => plan.create.push(wanted.clone()),
            Some(Err(_)) => {}
            Some(Ok(facts)) => {
                if facts.partitions < wanted.partitions {
                    plan.raise.push((wanted.name.clone(), wanted.partitions));
                }
                let changes = config_changes(&wanted.config, &facts.config);
                if !changes.is_empty() {
                    plan.change.push((wanted.name.clone(), changes));
                }
            }
        }
    }
    plan
}

fn config_changes(wanted: &BTreeMap<String, String>, found: &BTreeMap<String, String>) -> Vec<ConfigChange> {
    let set =
        wanted.iter().filter(|(key, value)| !found.get(*key).is_some_and(|there| same_value(there, value)));
    let unset = found.keys().filter(|key| !wanted.contains_key(*key));
    set.map(|(key, value)| (key.clone(), Some(value.clone())))
        .chain(unset.map(|key| (key.clone(), None)))
        .collect()
}

/// Whether two spellings mean the same to Kafka, which trims values and does not mind the case of booleans.
fn same_value(left: &str, right: &str) -> bool {
    let (left, right) = (left.trim(), right.trim());
    let is_boolean = ["true", "false"].iter().any(|word| word.eq_ignore_ascii_case(left));
    left == right || is_boolean && left.eq_ignore_ascii_case(right)
}

/// Judges an object after the cluster answered.
#[must_use]
pub fn judge(one: &Declared, found: &Answers<TopicFacts>, outcome: &Outcome) -> Verdict {
    let name = &one.topic.name;
    if one.leaving() {
        return judge_leaving(one, outcome);
    }
    if let Some(other) = &one.overruled_by {
        let message =
            format!("KafkaTopic \"{other}\" is older and declares topic \"{name}\" too: delete one of them");
        return Verdict::Not(Why::ResourceConflict, message, None);
    }
    let mut facts = match (found.get(name), outcome.created.get(name)) {
        (Some(Ok(facts)), _) | (None, Some(Ok(facts))) => facts.clone(),
        (Some(Err(answer)), _) | (None, Some(Err(answer))) => return refused(answer, None),
        (None, None) => return Verdict::Later,
    };
    match outcome.raised.get(name) {
        Some(Ok(())) => facts.partitions = one.topic.partitions,
        Some(Err(answer)) => return refused(answer, Some(facts)),
        None => {}
    }
    match outcome.changed.get(name) {
        Some(Ok(())) => facts.config = one.topic.config.clone(),
        Some(Err(answer)) => return refused(answer, Some(facts)),
        None => {}
    }
    if facts.partitions > one.topic.partitions {
        let (has, wants) = (facts.partitions, one.topic.partitions);
        let message = format!(
            "spec.partitions: \"{wants}\": topic \"{name}\" has {has} partitions and Kafka cannot remove any: set partitions to {has}"
        );
        return Verdict::Not(Why::NotSupported, message, Some(facts));
    }
    match one.topic.replicas.map(i32::from) {
        Some(wants) if wants != facts.replicas => {
            let has = facts.replicas;
            let message = format!(
                "spec.replicas: \"{wants}\": topic \"{name}\" has a replication factor of {has}, which this release cannot change: set replicas to {has}"
            );
            Verdict::Not(Why::NotSupported, message, Some(facts))
        }
        Some(_) | None => Verdict::AsDeclared(facts),
    }
}

fn judge_leaving(one: &Declared, outcome: &Outcome) -> Verdict {
    if one.overruled_by.is_some() || one.deletion == DeletionPolicy::Retain {
        return Verdict::LetGo;
    }
    match outcome.deleted.get(&one.topic.name) {
        Some(Err(answer)) if answer.error.is_retriable() => Verdict::Later,
        Some(Err(answer)) => {
            Verdict::Not(Why::Deleting, format!("the cluster refused to delete the topic: {answer}"), None)
        }
        // Deleted now, or not there when it was looked for.
        Some(Ok(())) | None => Verdict::LetGo,
    }
}

fn refused(answer: &Answer, facts: Option<TopicFacts>) -> Verdict {
    // Somebody else created it, or it went, since it was looked for; or leadership is moving.
    use ottla_wire::ResponseError::{TopicAlreadyExists, UnknownTopicOrPartition};
    if answer.error.is_retriable() || matches!(answer.error, TopicAlreadyExists | UnknownTopicOrPartition) {
        return Verdict::Later;
    }
    Verdict::Not(Why::RefusedByCluster, answer.to_string(), facts)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use ottla_wire::ResponseError;
    use serde_json::json;
    use uuid::Uuid;

    use super::{super::declared::declared, *};

    fn object(
        name: &str,
        spec: serde_json::Value,
        created: &str,
        leaving: bool,
    ) -> Arc<crate::crd::KafkaTopic> {
        let mut metadata = json!({
            "name": name, "namespace": "ns", "uid": name, "creationTimestamp": created,
            "finalizers": ["ottla.dev/topic"],
        });
        if leaving {
            metadata["deletionTimestamp"] = json!("2026-01-02T00:00:00Z");
        }
        let object = json!({
            "apiVersion": "ottla.dev/v1alpha1", "kind": "KafkaTopic", "metadata": metadata, "spec": spec,
        });
        Arc::new(serde_json::from_value(object).unwrap())
    }

    fn topic(name: &str, mut spec: serde_json::Value) -> Arc<crate::crd::KafkaTopic> {
        spec["clusterRef"] = json!({"name": "my"});
        object(name, spec, "2026-01-01T00:00:00Z", false)
    }

    fn leaving(name: &str, policy: &str) -> Arc<crate::crd::KafkaTopic> {
        object(
            name,
            json!({"clusterRef": {"name": "my"}, "deletionPolicy": policy}),
            "2026-01-01T00:00:00Z",
            true,
        )
    }

    fn facts(partitions: i32, config: &[(&str, &str)]) -> TopicFacts {
        TopicFacts {
            id: Uuid::from_u128(7),
            partitions,
            replicas: 1,
            config: config.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
        }
    }

    fn found(name: &str, facts: TopicFacts) -> Answers<TopicFacts> {
        Answers::from([(name.to_owned(), Ok(facts))])
    }

    fn answer(error: ResponseError) -> Answer {
        Answer { error, message: Some("why".into()) }
    }

    #[test]
    fn a_topic_that_is_as_declared_is_left_alone() {
        let declared = declared(vec![topic("a", json!({"partitions": 3, "config": {"retention.ms": 5}}))]);
        let there = found("a", facts(3, &[("retention.ms", "5")]));
        assert!(plan(&declared, &there).is_empty());
        assert!(matches!(judge(&declared[0], &there, &Outcome::default()), Verdict::AsDeclared(_)));
    }

    #[test]
    fn a_missing_topic_is_created_and_reported_by_what_the_cluster_says() {
        let declared = declared(vec![topic("a", json!({"partitions": 3, "topicName": "A_b"}))]);
        let plan = plan(&declared, &Answers::new());
        assert_eq!((plan.create[0].name.as_str(), plan.create[0].partitions), ("A_b", 3));
        let outcome = Outcome { created: found("A_b", facts(3, &[])), ..Outcome::default() };
        assert_eq!(judge(&declared[0], &Answers::new(), &outcome), Verdict::AsDeclared(facts(3, &[])));
    }

    #[test]
    fn drift_is_brought_back() {
        let declared = declared(vec![topic(
            "a",
            json!({"partitions": 5, "config": {"retention.ms": 5, "preallocate": "true"}}),
        )]);
        let there = found(
            "a",
            facts(3, &[("retention.ms", "6"), ("cleanup.policy", "compact"), ("preallocate", "TRUE")]),
        );
        let plan = plan(&declared, &there);
        assert_eq!(plan.raise, [("a".to_owned(), 5)]);
        let set = ("retention.ms".to_owned(), Some("5".to_owned()));
        assert_eq!(plan.change, [("a".to_owned(), vec![set, ("cleanup.policy".to_owned(), None)])]);
    }

    #[test]
    fn more_partitions_than_declared_cannot_be_brought_back() {
        let declared = declared(vec![topic("a", json!({"partitions": 3}))]);
        let there = found("a", facts(8, &[]));
        assert!(plan(&declared, &there).is_empty());
        let Verdict::Not(Why::NotSupported, message, Some(_)) =
            judge(&declared[0], &there, &Outcome::default())
        else {
            panic!("supported")
        };
        assert!(message.contains("set partitions to 8"), "{message}");
    }

    #[test]
    fn what_the_cluster_refuses_is_reported_in_its_words_and_what_passes_by_itself_is_not() {
        let declared = declared(vec![topic("a", json!({"replicas": 3}))]);
        let refused = |error| Outcome {
            created: Answers::from([("a".to_owned(), Err(answer(error)))]),
            ..Outcome::default()
        };
        let outcome = refused(ResponseError::InvalidReplicationFactor);
        let verdict = judge(&declared[0], &Answers::new(), &outcome);
        let Verdict::Not(Why::RefusedByCluster, message, None) = verdict else { panic!("{verdict:?}") };
        assert_eq!(message, "InvalidReplicationFactor: why");
        let outcome = refused(ResponseError::NotController);
        assert_eq!(judge(&declared[0], &Answers::new(), &outcome), Verdict::Later);
    }

    #[test]
    fn the_older_of_two_objects_wins_and_the_other_can_go_without_harm() {
        let spec = json!({"clusterRef": {"name": "my"}, "topicName": "t"});
        let young = object("a", spec.clone(), "2026-01-01T00:00:02Z", false);
        let old = object("b", spec.clone(), "2026-01-01T00:00:01Z", false);
        let both = declared(vec![young, old.clone()]);
        assert_eq!(plan(&both, &Answers::new()).create.len(), 1);
        let verdict = judge(&both[1], &Answers::new(), &Outcome::default());
        assert!(matches!(verdict, Verdict::Not(Why::ResourceConflict, _, None)), "{verdict:?}");
        let gone = declared(vec![old, object("a", spec, "2026-01-01T00:00:02Z", true)]);
        assert!(plan(&gone, &found("t", facts(1, &[]))).is_empty());
        assert_eq!(judge(&gone[1], &Answers::new(), &Outcome::default()), Verdict::LetGo);
    }

    #[test]
    fn a_deleted_object_takes_its_topic_along_unless_it_is_retained() {
        let there = found("a", facts(1, &[]));
        let deleted = declared(vec![leaving("a", "Delete")]);
        assert_eq!(plan(&deleted, &there).delete, ["a"]);
        let failed = Outcome {
            deleted: Answers::from([("a".to_owned(), Err(answer(ResponseError::TopicDeletionDisabled)))]),
            ..Outcome::default()
        };
        assert!(matches!(judge(&deleted[0], &there, &failed), Verdict::Not(Why::Deleting, _, None)));
        let done = Outcome { deleted: Answers::from([("a".to_owned(), Ok(()))]), ..Outcome::default() };
        assert_eq!(judge(&deleted[0], &there, &done), Verdict::LetGo);
        let retained = declared(vec![leaving("a", "Retain")]);
        assert!(plan(&retained, &there).is_empty());
        assert_eq!(judge(&retained[0], &there, &Outcome::default()), Verdict::LetGo);
    }
}
