//! How far a topic is on its way to another number of replicas, what to say of that, and which moves to ask for. Pure.
//!
//! Nothing about a change is kept but `status.replicasChange`, written before a move is asked for: moves that lead to a
//! number that is recorded there are the operator's own, and are led elsewhere when another number is declared. A number
//! stays recorded until the active controller shows no partition on its way there. Moves of others are waited for. The
//! rest is seen anew in each pass, so that any operator goes on where another one was killed.

use std::collections::BTreeSet;

use super::{
    declared::Declared,
    spread::{Held, OfTopic, count_move, target},
};
use crate::{
    crd::{ReplicasChange, ReplicasChangeState},
    kafka::{BrokerFacts, Census, Cordon, Move, PartitionFacts, TopicFacts},
    names::NodeId,
    status::Why,
};

/// How many partitions of a cluster get replicas at the same time, whoever moves them. Each new replica is fetched in
/// whole: with many at once all of them take long, and none of what was copied counts before its partition is done.
pub const MOVING_MAX: usize = 100;
/// How many partitions a message names.
const NAMED_MAX: usize = 10;

/// How far a topic is.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Survey {
    /// How many replicas each partition is to have.
    pub wanted: usize,
    /// How many partitions there are.
    pub total: usize,
    /// How many of them have as many replicas as are wanted.
    pub done: usize,
    /// How many are on their way there.
    pub moving: usize,
    /// Partitions that can be led there.
    open: BTreeSet<i32>,
    /// Those for which too few brokers are in service.
    too_few_brokers: Vec<i32>,
    /// Those that nobody leads.
    leaderless: Vec<i32>,
    /// Those that somebody else moves elsewhere.
    moved_by_others: Vec<i32>,
    /// Brokers that get replicas and are out of service, or gone: moves to them do not get on.
    awaited: BTreeSet<NodeId>,
    /// Why nothing may be done.
    refused: Option<String>,
}

/// How many replicas each partition is declared to have, if that is declared. The API server takes no number below one.
fn wanted(one: &Declared) -> Option<usize> {
    one.topic.replicas.and_then(|wanted| usize::try_from(wanted).ok())
}

/// Looks at a topic whose declaration names a number of replicas; none where every partition has as many.
#[must_use]
pub fn survey(one: &Declared, facts: &TopicFacts, census: &Census) -> Option<Survey> {
    let wanted = wanted(one)?;
    let mut survey = Survey { wanted, total: facts.layout.len(), ..Survey::default() };
    let of_topic = OfTopic::new(&facts.layout);
    for partition in &facts.layout {
        let reaches = partition.replicas_then() == wanted;
        if reaches && partition.replicas_now() == wanted {
            survey.done += 1;
        } else if reaches {
            survey.moving += 1;
            survey.awaited.extend(awaited(partition, census));
        } else if partition.is_moving() && !is_own(one, partition) {
            survey.moved_by_others.push(partition.index);
        } else {
            match target(partition, wanted, census, &of_topic) {
                Ok(_) => {
                    survey.open.insert(partition.index);
                }
                Err(Held::TooFewBrokers) => survey.too_few_brokers.push(partition.index),
                Err(Held::NoLeader) => survey.leaderless.push(partition.index),
            }
        }
    }
    survey.refused = below_minimum(one, facts);
    (survey.done < survey.total).then_some(survey)
}

/// Whether some partition of a topic has another number of replicas than is declared, or is on its way elsewhere: the
/// brokers have to be counted.
#[must_use]
pub fn needs_census(one: &Declared, facts: &TopicFacts) -> bool {
    let wanted = wanted(one);
    let asks =
        |partition: &PartitionFacts, wanted| partition.replicas_then() != wanted || partition.is_moving();
    wanted.is_some_and(|wanted| facts.layout.iter().any(|partition| asks(partition, wanted)))
}

/// Whether some partition of a topic is not on its way to the number that is declared, so that brokers may have to be chosen.
#[must_use]
pub fn chooses_brokers(one: &Declared, facts: &TopicFacts) -> bool {
    let wanted = wanted(one);
    wanted.is_some_and(|wanted| facts.layout.iter().any(|partition| partition.replicas_then() != wanted))
}

/// The brokers that a move brings replicas to and that are out of service, or not registered any more.
fn awaited(partition: &PartitionFacts, census: &Census) -> Vec<NodeId> {
    let arrives = |id: &&NodeId| !partition.removing.contains(id);
    let serves = |id: &NodeId| census.brokers.get(id).is_some_and(|broker| broker.in_service);
    partition.adding.iter().filter(arrives).copied().filter(|id| !serves(id)).collect()
}

/// For how many more partitions there is room on the move.
#[must_use]
pub fn room<'a>(partitions: impl Iterator<Item = &'a PartitionFacts>, census: &Census) -> usize {
    MOVING_MAX.saturating_sub(partitions.filter(|partition| takes_room(partition, census)).count())
}

/// Whether replicas of a partition are being copied. One that waits for its brokers only holds up no others.
fn takes_room(partition: &PartitionFacts, census: &Census) -> bool {
    let arrives = |id: &NodeId| !partition.removing.contains(id);
    partition.adding.iter().any(|id| arrives(id) && is_copied(*id, partition, census))
}

/// Whether a replica on this broker is to be fetched, and can be.
fn is_copied(id: NodeId, partition: &PartitionFacts, census: &Census) -> bool {
    let serves = census.brokers.get(&id).is_some_and(|broker| broker.in_service);
    serves && !partition.isr.contains(&id)
}

/// Whether a move takes room that its partition does not take yet. One at rest takes it even where nothing is copied,
/// so that the controller is asked for so much at a time.
fn needs_room(partition: &PartitionFacts, target: &[NodeId], census: &Census) -> bool {
    let is_copied = || target.iter().any(|id| is_copied(*id, partition, census));
    !partition.is_moving() || !takes_room(partition, census) && is_copied()
}

/// Whether replicas of a topic may be on the move, by what a broker knows of it: where one partition has another number of
/// replicas than is declared, or one that is not in sync. A move with neither is over.
///
/// While a change is recorded the active controller is asked in any case: a broker that lags behind shows a topic at rest.
#[must_use]
pub fn may_be_moving(one: &Declared, facts: &TopicFacts) -> bool {
    let wanted = wanted(one);
    let moves = |partition: &PartitionFacts| {
        wanted.is_some_and(|wanted| partition.replicas.len() != wanted)
            || partition.isr.len() != partition.replicas.len()
    };
    one.recorded().is_some() || facts.layout.iter().any(moves)
}

/// Whether a move is one that the operator asked for, by what it wrote down before.
fn is_own(one: &Declared, partition: &PartitionFacts) -> bool {
    i16::try_from(partition.replicas_then()).is_ok_and(|replicas| one.leads_to(replicas))
}

/// The recorded numbers that partitions are still on their way to.
fn targets_under_way(one: &Declared, facts: &TopicFacts) -> Vec<i16> {
    let own = facts.layout.iter().filter(|partition| partition.is_moving() && is_own(one, partition));
    let targets: BTreeSet<i16> =
        own.filter_map(|partition| i16::try_from(partition.replicas_then()).ok()).collect();
    targets.into_iter().collect()
}

/// What stays written down of a topic that asks for no change: what was, while own moves go on.
#[must_use]
pub fn left_over(one: &Declared, facts: &TopicFacts) -> Option<ReplicasChange> {
    let own_targets = targets_under_way(one, facts);
    let recorded = one.recorded()?;
    (!own_targets.is_empty()).then(|| ReplicasChange { own_targets, ..recorded.clone() })
}

/// The topic's own `min.insync.replicas` would be more than there are replicas. Ottla then asks for all of them, Kafka for more than
/// there can be; either way it is not what was meant.
fn below_minimum(one: &Declared, facts: &TopicFacts) -> Option<String> {
    let wanted = one.topic.replicas?;
    let declared = one.topic.config.get("min.insync.replicas")?;
    let has = facts.layout.iter().map(PartitionFacts::replicas_now).max()?;
    let is_shrinking = usize::try_from(wanted).is_ok_and(|wanted| has > wanted);
    let is_above = declared.trim().parse::<i16>().is_ok_and(|minimum| minimum > wanted);
    (is_shrinking && is_above).then(|| {
        format!(
            "spec.replicas: \"{wanted}\": topic \"{}\" keeps its {has} replicas, since spec.config asks for min.insync.replicas {declared}: set that to {wanted} at most, or remove it",
            one.topic.name
        )
    })
}

impl Survey {
    /// The moves to ask for, of which at most `room` begin to copy. Counts them in `census`.
    #[must_use]
    pub fn moves(
        &self,
        one: &Declared,
        facts: &TopicFacts,
        census: &mut Census,
        room: &mut usize,
    ) -> Vec<Move> {
        if self.refused.is_some() {
            return Vec::new();
        }
        // What is about to be done is written down first, by which it is known for our own afterwards.
        if !one.topic.replicas.is_some_and(|wanted| one.leads_to(wanted)) {
            return Vec::new();
        }
        let mut of_topic = OfTopic::new(&facts.layout);
        let mut moves = Vec::new();
        for partition in facts.layout.iter().filter(|partition| self.open.contains(&partition.index)) {
            let Ok(replicas) = target(partition, self.wanted, census, &of_topic) else { continue };
            let needs_room = needs_room(partition, &replicas, census);
            if needs_room && *room == 0 {
                continue;
            }
            *room -= usize::from(needs_room);
            count_move(partition, &replicas, census, &mut of_topic);
            moves.push(Move { topic: one.topic.name.clone(), partition: partition.index, replicas });
        }
        moves
    }

    /// Whether something happens, or is about to.
    #[must_use]
    pub fn is_under_way(&self) -> bool {
        self.refused.is_none() && (self.moving > 0 || !self.open.is_empty())
    }

    /// Why the topic is not as declared. `asked` moves of it were asked for in this pass.
    #[must_use]
    pub fn told(&self, one: &Declared, census: &Census, asked: usize) -> (Why, String) {
        if let Some(refused) = &self.refused {
            return (Why::NotSupported, refused.clone());
        }
        let held_up_only =
            !self.is_under_way() && self.leaderless.is_empty() && self.moved_by_others.is_empty();
        if held_up_only && !self.too_few_brokers.is_empty() {
            return (Why::NotEnoughBrokers, self.too_few(one, census));
        }
        let name = &one.topic.name;
        let mut message = format!(
            "{} of {} partitions of topic \"{name}\" have {} replicas, as declared",
            self.done, self.total, self.wanted
        );
        if self.moving > 0 {
            message += &format!("; {} are on their way", self.moving);
        }
        if let Some(waits) = self.told_of_awaited() {
            message += &format!("; {waits}");
        }
        let waiting = self.open.len().saturating_sub(asked);
        if waiting > 0 && one.topic.replicas.is_some_and(|wanted| one.leads_to(wanted)) {
            message += &format!("; {waiting} wait until others have moved (at most {MOVING_MAX} at a time)");
        }
        if !self.moved_by_others.is_empty() {
            let partitions = list(&self.moved_by_others);
            message += &format!("; partitions {partitions}: somebody else moves them, which is waited for");
        }
        if !self.leaderless.is_empty() {
            let partitions = list(&self.leaderless);
            message += &format!(
                "; partitions {partitions}: no replica leads them, and none is removed before one does"
            );
        }
        if !self.too_few_brokers.is_empty() {
            message += "; ";
            message += &self.too_few(one, census);
        }
        (Why::ChangingReplicas, message)
    }

    fn told_of_awaited(&self) -> Option<String> {
        let ids: Vec<i32> = self.awaited.iter().map(|id| id.0).collect();
        match ids.as_slice() {
            [] => None,
            [id] => Some(format!("waits for broker {id}, which is out of service")),
            ids => Some(format!("waits for brokers {}, which are out of service", list(ids))),
        }
    }

    fn too_few(&self, one: &Declared, census: &Census) -> String {
        let wanted = self.wanted;
        let registered = census.brokers.len();
        if registered >= wanted {
            let (partitions, brokers) = (list(&self.too_few_brokers), told_of_unavailable(census));
            return format!("spec.replicas: \"{wanted}\": partitions {partitions} wait for {brokers}");
        }
        let cluster = &one.object.spec.cluster_ref.name;
        format!(
            "spec.replicas: \"{wanted}\": the cluster has {registered} brokers, and each replica of a partition takes one of its own: set replicas to {registered} at most, or raise spec.replicas of KafkaCluster \"{cluster}\""
        )
    }

    /// What to write down. `moves` were asked for.
    #[must_use]
    pub fn progress(
        &self,
        one: &Declared,
        facts: &TopicFacts,
        moves_count: usize,
        message: String,
    ) -> ReplicasChange {
        let begun = self.moving + moves_count > 0;
        let target = one.topic.replicas.unwrap_or_default();
        let mut own_targets = targets_under_way(one, facts);
        own_targets.retain(|earlier| *earlier != target);
        own_targets.push(target);
        ReplicasChange {
            state: if begun { ReplicasChangeState::Ongoing } else { ReplicasChangeState::Pending },
            target_replicas: target,
            own_targets,
            done: i32::try_from(self.done).unwrap_or(i32::MAX),
            total: i32::try_from(self.total).unwrap_or(i32::MAX),
            message: Some(message),
        }
    }
}

/// The brokers that get no new replicas, and why.
fn told_of_unavailable(census: &Census) -> String {
    type Is = fn(&BrokerFacts) -> bool;
    let reasons: [(Is, &str); 3] = [
        (|broker| !broker.in_service, "which are out of service"),
        (
            |broker| broker.in_service && broker.cordon == Cordon::Cordoned,
            "which are cordoned (cordoned.log.dirs)",
        ),
        (
            |broker| broker.in_service && broker.cordon == Cordon::Unknown,
            "which do not say whether they are cordoned",
        ),
    ];
    let told = reasons.iter().filter_map(|(is, why)| {
        let ids: Vec<i32> =
            census.brokers.iter().filter(|(_, broker)| is(broker)).map(|(id, _)| id.0).collect();
        (!ids.is_empty()).then(|| format!("brokers {}, {why}", list(&ids)))
    });
    told.collect::<Vec<_>>().join(", and ")
}

fn list(ids: &[i32]) -> String {
    let named: Vec<String> = ids.iter().take(NAMED_MAX).map(i32::to_string).collect();
    let more = if ids.len() > NAMED_MAX { ", …" } else { "" };
    format!("{}{more}", named.join(", "))
}

#[cfg(test)]
mod tests;
