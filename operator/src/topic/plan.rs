//! What to ask of the cluster so that its topics become what is declared, and what to say of each. Pure.
//!
//! What an object may ask is settled before anything is asked: a topic that exists and is not the object's own is
//! changed by nobody and deleted by nobody, unless it is in every respect what is declared.

use std::collections::BTreeMap;

use ottla_wire::ResponseError;
use uuid::Uuid;

use super::{
    declared::Declared,
    replicas::{Survey, chooses_brokers, left_over, may_be_moving, needs_census, room, survey},
};
use crate::{
    crd::ReplicasChange,
    kafka::{Answer, Answers, Census, ConfigChange, Move, Moved, NewTopic, PartitionFacts, TopicFacts},
    status::Why,
};

/// What was found in the cluster.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// Its topics, as far as they are declared.
    pub topics: Answers<TopicFacts>,
    /// What is on the move of all others, if [`asks_for_moves`].
    pub elsewhere: Vec<PartitionFacts>,
    /// Its brokers, if [`asks_for_census`].
    pub census: Census,
}

/// What to ask of the cluster.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Plan {
    /// Topics to create.
    pub create: Vec<NewTopic>,
    /// Topics to raise to a number of partitions.
    pub raise: Vec<(String, i32)>,
    /// Configurations to change.
    pub change: Vec<(String, Vec<ConfigChange>)>,
    /// Replicas to move.
    pub moves: Vec<Move>,
    /// Topics to delete.
    pub delete: Vec<Uuid>,
}

impl Plan {
    /// Whether there is nothing to ask.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What the cluster answered to a plan: by topic, and by id where topics were named so.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Of creating.
    pub created: Answers<TopicFacts>,
    /// Of adding partitions.
    pub raised: Answers<()>,
    /// Of changing configuration.
    pub changed: Answers<()>,
    /// Of moving replicas.
    pub moved: Moved,
    /// Of deleting.
    pub deleted: BTreeMap<Uuid, Result<(), Answer>>,
    /// Of asking the controller whether it knows a topic of this name, where a broker did not know the one to delete.
    pub free: Answers<()>,
}

impl Outcome {
    /// Whether a move began. Those that the cluster refused are no reason to look again at once.
    #[must_use]
    pub fn began_moves(&self) -> bool {
        self.moved.values().any(Result::is_ok)
    }
}

/// What becomes of an object.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// The topic is as declared.
    AsDeclared(TopicFacts),
    /// It is not, because; what is known of it.
    Not(Why, String, Option<TopicFacts>),
    /// The object may go: its topic is gone, or stays.
    LetGo,
    /// The cluster will answer otherwise soon; this is what to report if it does not.
    Later(Why, String),
}

/// An object, and what it asks of the cluster as it was found: worked out once in a pass.
#[derive(Debug)]
pub struct Asked<'a> {
    /// The object.
    pub one: &'a Declared,
    found: &'a Found,
    course: Course<'a>,
}

impl<'a> Asked<'a> {
    /// What each object asks.
    #[must_use]
    pub fn all(declared: &'a [Declared], found: &'a Found) -> Vec<Self> {
        declared.iter().map(|one| Self { one, found, course: course(one, found) }).collect()
    }
}

/// What an object asks of the cluster.
#[derive(Debug)]
enum Course<'a> {
    /// That the topic be made.
    Create,
    /// That the topic that exists be changed where it is not as declared.
    Keep { facts: &'a TopicFacts, raise: bool, changes: Vec<ConfigChange>, survey: Option<Survey> },
    /// That its topic be deleted.
    Delete(Uuid),
    /// Nothing.
    Nothing(Verdict),
}

fn course<'a>(one: &Declared, found: &'a Found) -> Course<'a> {
    let wanted = &one.topic;
    if one.leaving() {
        return one.to_delete().map_or(Course::Nothing(Verdict::LetGo), Course::Delete);
    }
    if let Some(other) = &one.overruled_by {
        let message = format!(
            "KafkaTopic \"{other}\" is older, declares topic \"{}\" too, and counts: delete the one that is not wanted, the topic stays",
            wanted.name
        );
        return Course::Nothing(Verdict::Not(Why::ResourceConflict, message, None));
    }
    if !one.finalized() {
        // Without it nobody would delete the topic again.
        let message = "the object was changed while it was looked at".to_owned();
        return Course::Nothing(Verdict::Later(Why::ClusterNotReady, message));
    }
    match found.topics.get(&wanted.name) {
        None => Course::Create,
        Some(Err(answer)) => Course::Nothing(refused(answer, None)),
        Some(Ok(facts)) if one.own() == Some(facts.id) => course_of_own(one, facts, &found.census),
        Some(Ok(facts)) => match other_than(wanted, facts) {
            None => Course::Keep { facts, raise: false, changes: Vec::new(), survey: None },
            Some(difference) => Course::Nothing(Verdict::Not(Why::TopicExists, difference, None)),
        },
    }
}

fn course_of_own<'a>(one: &Declared, facts: &'a TopicFacts, census: &Census) -> Course<'a> {
    let wanted = &one.topic;
    let name = &wanted.name;
    if facts.partitions > wanted.partitions {
        let (has, wants) = (facts.partitions, wanted.partitions);
        let message = format!(
            "spec.partitions: \"{wants}\": topic \"{name}\" has {has} partitions and Kafka cannot remove any: set partitions to {has}"
        );
        return Course::Nothing(Verdict::Not(Why::NotSupported, message, Some(facts.clone())));
    }
    Course::Keep {
        facts,
        raise: facts.partitions < wanted.partitions,
        changes: config_changes(&wanted.config, &facts.config),
        survey: survey(one, facts, census),
    }
}

/// In what a topic that exists is other than declared, and what to do about it.
fn other_than(wanted: &NewTopic, facts: &TopicFacts) -> Option<String> {
    let mut differences = Vec::new();
    if facts.partitions != wanted.partitions {
        differences.push(format!("partitions: {}", facts.partitions));
    }
    if wanted.replicas.is_some_and(|replicas| !facts.has_replicas(replicas)) {
        differences.push(format!("replicas: {}", facts.replicas));
    }
    for (key, value) in config_changes(&wanted.config, &facts.config) {
        differences.push(match (facts.config.get(&key), value) {
            (Some(there), _) => format!("config {key}: {there}"),
            (None, _) => format!("no config {key}"),
        });
    }
    (!differences.is_empty()).then(|| {
        format!(
            "topic \"{}\" exists, was not made for this object, and is left alone: to take it over, declare what it has ({})",
            wanted.name,
            differences.join(", ")
        )
    })
}

/// Plans what to ask of the cluster.
#[must_use]
pub fn plan(asked: &[Asked<'_>], found: &Found) -> Plan {
    let mut plan = Plan::default();
    let mut census = found.census.clone();
    let partitions = found.topics.values().flatten().flat_map(|facts| &facts.layout);
    let mut room = room(partitions.chain(&found.elsewhere), &census);
    for Asked { one, course, .. } in asked {
        let wanted = &one.topic;
        match course {
            Course::Create => plan.create.push(wanted.clone()),
            Course::Keep { facts, raise, changes, survey } => {
                if let Some(survey) = survey {
                    plan.moves.extend(survey.moves(one, facts, &mut census, &mut room));
                }
                if *raise {
                    plan.raise.push((wanted.name.clone(), wanted.partitions));
                }
                if !changes.is_empty() {
                    plan.change.push((wanted.name.clone(), changes.clone()));
                }
            }
            Course::Delete(id) => plan.delete.push(*id),
            Course::Nothing(_) => {}
        }
    }
    // Two objects on their way out may name the same topic.
    plan.delete.sort();
    plan.delete.dedup();
    plan
}

/// Keys that tools set on a topic while they move its replicas, and remove afterwards: not declared, they are left to them.
const THROTTLED_REPLICAS: [&str; 2] =
    ["leader.replication.throttled.replicas", "follower.replication.throttled.replicas"];

fn config_changes(wanted: &BTreeMap<String, String>, found: &BTreeMap<String, String>) -> Vec<ConfigChange> {
    let set =
        wanted.iter().filter(|(key, value)| !found.get(*key).is_some_and(|there| same_value(there, value)));
    let left = |key: &&String| wanted.contains_key(*key) || THROTTLED_REPLICAS.contains(&key.as_str());
    let unset = found.keys().filter(|key| !left(key));
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

impl Asked<'_> {
    /// Judges the object after the cluster answered.
    #[must_use]
    pub fn judge(&self, outcome: &Outcome) -> Verdict {
        let name = &self.one.topic.name;
        match &self.course {
            Course::Nothing(verdict) => verdict.clone(),
            Course::Delete(id) => judge_deleted(self.one, *id, self.found, outcome),
            Course::Create => match outcome.created.get(name) {
                Some(Ok(facts)) => Verdict::AsDeclared(facts.clone()),
                Some(Err(answer)) => refused(answer, None),
                None => unanswered(),
            },
            Course::Keep { facts, raise, changes, survey } => {
                let mut facts = (*facts).clone();
                if *raise {
                    match outcome.raised.get(name) {
                        Some(Ok(())) => facts.partitions = self.one.topic.partitions,
                        Some(Err(answer)) => return refused(answer, Some(facts)),
                        None => return unanswered(),
                    }
                }
                if !changes.is_empty() {
                    match outcome.changed.get(name) {
                        Some(Ok(())) => facts.config = self.one.topic.config.clone(),
                        Some(Err(answer)) => return refused(answer, Some(facts)),
                        None => return unanswered(),
                    }
                }
                match (survey, self.refused_moves(outcome)) {
                    (None, _) => Verdict::AsDeclared(facts),
                    (Some(_), Some(answer)) => refused(answer, Some(facts)),
                    (Some(survey), None) => {
                        let asked = self.moved(outcome).count();
                        let (why, message) = survey.told(self.one, &self.found.census, asked);
                        Verdict::Not(why, message, Some(facts))
                    }
                }
            }
        }
    }

    /// What the cluster said to the moves of the object's topic.
    fn moved<'o>(&self, outcome: &'o Outcome) -> impl Iterator<Item = &'o Result<(), Answer>> + use<'o> {
        let at = |partition| (self.one.topic.name.clone(), partition);
        outcome.moved.range(at(i32::MIN)..=at(i32::MAX)).map(|(_, answer)| answer)
    }

    /// Why the cluster refused to move the first of them that it refused.
    fn refused_moves<'o>(&self, outcome: &'o Outcome) -> Option<&'o Answer> {
        self.moved(outcome).find_map(|answer| answer.as_ref().err())
    }

    /// What is to be written down about the replicas of the object's own topic. What was stays where the cluster told
    /// nothing.
    #[must_use]
    pub fn replicas_change(&self, outcome: &Outcome) -> Option<ReplicasChange> {
        let one = self.one;
        match &self.course {
            Course::Keep { survey: Some(survey), facts, .. } => {
                let message = match self.refused_moves(outcome) {
                    Some(answer) => answer.to_string(),
                    None => survey.told(one, &self.found.census, self.moved(outcome).count()).1,
                };
                let begun = self.moved(outcome).filter(|answer| answer.is_ok()).count();
                Some(survey.progress(one, facts, begun, message))
            }
            Course::Keep { survey: None, facts, .. } => left_over(one, facts),
            Course::Nothing(Verdict::Not(_, _, Some(facts))) => left_over(one, facts),
            // The topic is not, or no more, the object's own.
            Course::Create
            | Course::Nothing(Verdict::Not(Why::TopicExists | Why::ResourceConflict, _, None)) => None,
            Course::Delete(_) | Course::Nothing(_) => one.recorded().cloned(),
        }
    }

    /// Whether replicas are on the move, or about to be, so that the topic is to be looked at again soon.
    #[must_use]
    pub fn is_moving(&self) -> bool {
        matches!(&self.course, Course::Keep { survey: Some(survey), .. } if survey.is_under_way())
    }
}

/// Whether the brokers have to be counted before anything can be planned.
#[must_use]
pub fn asks_for_census(declared: &[Declared], topics: &Answers<TopicFacts>) -> bool {
    any_own(declared, topics, needs_census)
}

/// Whether brokers have to be chosen, so that each is to be asked whether it is cordoned.
#[must_use]
pub fn asks_for_cordons(declared: &[Declared], topics: &Answers<TopicFacts>) -> bool {
    any_own(declared, topics, chooses_brokers)
}

/// Whether the active controller has to be asked about moves. Topics at rest can be judged while there is none.
#[must_use]
pub fn asks_for_moves(declared: &[Declared], topics: &Answers<TopicFacts>) -> bool {
    any_own(declared, topics, may_be_moving)
}

fn any_own(
    declared: &[Declared],
    topics: &Answers<TopicFacts>,
    asks: impl Fn(&Declared, &TopicFacts) -> bool,
) -> bool {
    declared.iter().any(|one| {
        let facts = topics.get(&one.topic.name).and_then(|found| found.as_ref().ok());
        facts.is_some_and(|facts| one.own() == Some(facts.id) && asks(one, facts))
    })
}

fn judge_deleted(one: &Declared, id: Uuid, found: &Found, outcome: &Outcome) -> Verdict {
    let later = |answer: &Answer| {
        Verdict::Later(Why::Deleting, format!("the cluster did not delete the topic: {answer}"))
    };
    match outcome.deleted.get(&id) {
        Some(Ok(())) => Verdict::LetGo,
        Some(Err(answer)) if answer.error == ResponseError::UnknownTopicId => {
            // Gone, or so new that this broker does not know it yet; the controller knows whether the name is taken.
            match (found.topics.get(&one.topic.name), outcome.free.get(&one.topic.name)) {
                (Some(Ok(other)), _) if other.id != id => Verdict::LetGo,
                (_, Some(Err(taken)))
                    if taken.error == ResponseError::TopicAlreadyExists || taken.error.is_retriable() =>
                {
                    later(taken)
                }
                (_, Some(Ok(()) | Err(_))) => Verdict::LetGo,
                (_, None) => unanswered(),
            }
        }
        Some(Err(answer)) if answer.error.is_retriable() => later(answer),
        Some(Err(answer)) => {
            Verdict::Not(Why::Deleting, format!("the cluster refused to delete the topic: {answer}"), None)
        }
        None => unanswered(),
    }
}

/// The names to ask the controller about: those of topics that a broker did not know when they were to be deleted.
#[must_use]
pub fn doubtful(declared: &[Declared], deleted: &BTreeMap<Uuid, Result<(), Answer>>) -> Vec<String> {
    let unknown =
        |id| matches!(deleted.get(&id), Some(Err(answer)) if answer.error == ResponseError::UnknownTopicId);
    let doubtful = declared.iter().filter(|one| one.to_delete().is_some_and(unknown));
    doubtful.map(|one| one.topic.name.clone()).collect()
}

fn unanswered() -> Verdict {
    Verdict::Later(Why::ClusterNotReady, "the cluster left a question unanswered".to_owned())
}

fn refused(answer: &Answer, facts: Option<TopicFacts>) -> Verdict {
    use ResponseError::{InvalidPartitions, TopicAlreadyExists, UnknownTopicOrPartition};
    if answer.error.is_retriable() || answer.error == UnknownTopicOrPartition {
        return Verdict::Later(Why::ClusterNotReady, format!("the cluster does not do it: {answer}"));
    }
    // A broker that lags behind does not show yet what the controller already knows: the topic, or its partitions.
    if matches!(answer.error, TopicAlreadyExists | InvalidPartitions) {
        return Verdict::Later(Why::RefusedByCluster, answer.to_string());
    }
    Verdict::Not(Why::RefusedByCluster, answer.to_string(), facts)
}

#[cfg(test)]
mod tests;
