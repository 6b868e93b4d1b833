//! On which brokers the replicas of a partition are to be when their number changes. Pure: the same facts give the same
//! brokers.
//!
//! A partition keeps what it has as far as it can. Replicas are added on brokers in service, in racks that hold the
//! fewest replicas of the partition, then where the fewest replicas of the topic lie, then where the fewest of all topics
//! do: a broker that is new and empty gets its share of each topic, not all of one. With them the preferred leadership goes to
//! whoever has least of the topic's, where it was uneven. Replicas are removed where they are not in sync, of those first
//! where the broker is out of service, never from the leader while another one can go, then where another replica in
//! service is in the same rack, then where most of the topic lie, and of those that are alike the last goes.
//! A broker that is cordoned (`cordoned.log.dirs`), or does not say, gets nothing and keeps what it has.

use std::collections::BTreeMap;

use crate::{
    kafka::{BrokerFacts, Census, Cordon, PartitionFacts},
    names::NodeId,
};

/// Why a partition cannot have the wanted number of replicas yet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Held {
    /// Too few brokers are in service.
    TooFewBrokers,
    /// Nobody leads it, so that nobody can tell which replicas hold its records: none may be removed.
    NoLeader,
}

/// What of one topic lies on each broker once all moves are over.
#[derive(Clone, Debug, Default)]
pub struct OfTopic {
    replicas: BTreeMap<NodeId, i64>,
    leaders: BTreeMap<NodeId, i64>,
}

impl OfTopic {
    /// Counts what lies where.
    #[must_use]
    pub fn new(layout: &[PartitionFacts]) -> Self {
        let mut counted = Self::default();
        layout.iter().for_each(|partition| counted.count(&stays(partition), 1));
        counted
    }

    fn count(&mut self, replicas: &[NodeId], more: i64) {
        for (position, id) in replicas.iter().enumerate() {
            *self.replicas.entry(*id).or_default() += more;
            *self.leaders.entry(*id).or_default() += if position == 0 { more } else { 0 };
        }
    }

    fn replicas_on(&self, id: NodeId) -> i64 {
        self.replicas.get(&id).copied().unwrap_or_default()
    }

    fn led_by(&self, id: NodeId) -> i64 {
        self.leaders.get(&id).copied().unwrap_or_default()
    }
}

/// The replicas that a partition keeps when its move is over.
fn stays(partition: &PartitionFacts) -> Vec<NodeId> {
    partition.replicas.iter().copied().filter(|id| !partition.removing.contains(id)).collect()
}

/// The brokers that are to hold a partition, the preferred leader first.
///
/// # Errors
/// Why that cannot be now.
pub fn target(
    partition: &PartitionFacts,
    wanted: usize,
    census: &Census,
    of_topic: &OfTopic,
) -> Result<Vec<NodeId>, Held> {
    let before = &partition.replicas;
    // The controller takes no broker that is not registered any more, and it holds nothing.
    let mut kept: Vec<NodeId> = before.iter().copied().filter(|id| census.brokers.contains_key(id)).collect();
    while kept.len() > wanted {
        let Some(position) = to_remove(partition, &kept, census, of_topic) else { break };
        kept.remove(position);
    }
    if partition.leader.is_none() && kept.len() < before.len() {
        return Err(Held::NoLeader);
    }
    let has = kept.len();
    while kept.len() < wanted {
        kept.push(to_add(&kept, census, of_topic).ok_or(Held::TooFewBrokers)?);
    }
    if kept.len() > has {
        even_out_leaders(&mut kept, of_topic);
    }
    Ok(kept)
}

/// Counts what brokers hold once a partition has moved.
pub fn count_move(
    partition: &PartitionFacts,
    target: &[NodeId],
    census: &mut Census,
    of_topic: &mut OfTopic,
) {
    count(&partition.replicas, -1, census);
    count(target, 1, census);
    of_topic.count(&stays(partition), -1);
    of_topic.count(target, 1);
}

/// Puts first whoever is preferred least often, if that is less than the first would have without this partition.
fn even_out_leaders(replicas: &mut [NodeId], of_topic: &OfTopic) {
    let least = replicas.iter().enumerate().min_by_key(|(position, id)| (of_topic.led_by(**id), *position));
    let Some((position, least)) = least else { return };
    if of_topic.led_by(*least) + 1 < of_topic.led_by(replicas[0]) {
        replicas[..=position].rotate_right(1);
    }
}

fn to_remove(
    partition: &PartitionFacts,
    kept: &[NodeId],
    census: &Census,
    of_topic: &OfTopic,
) -> Option<usize> {
    let serves = |id: &NodeId| census.brokers.get(id).is_some_and(|broker| broker.in_service);
    let in_service: Vec<NodeId> = kept.iter().copied().filter(serves).collect();
    let goes_first = |(position, id): &(usize, &NodeId)| {
        let in_sync = partition.isr.contains(id);
        let leads = partition.leader == Some(**id);
        let in_same_rack = in_rack_of(**id, &in_service, census) > 1;
        (!in_sync, !in_service.contains(id), !leads, in_same_rack, of_topic.replicas_on(**id), *position)
    };
    kept.iter().enumerate().max_by_key(goes_first).map(|(position, _)| position)
}

fn to_add(kept: &[NodeId], census: &Census, of_topic: &OfTopic) -> Option<NodeId> {
    let may_get = |broker: &BrokerFacts| broker.in_service && broker.cordon == Cordon::Open;
    let candidates = census.brokers.iter().filter(|(id, broker)| may_get(broker) && !kept.contains(id));
    let least = |(id, broker): &(&NodeId, &BrokerFacts)| {
        let of_topic = of_topic.replicas_on(**id);
        (in_rack_of(**id, kept, census), of_topic, broker.replicas, broker.leaders, **id)
    };
    candidates.min_by_key(least).map(|(id, _)| *id)
}

/// How many of these brokers are in the rack of one. Those without a rack count as one rack.
fn in_rack_of(id: NodeId, brokers: &[NodeId], census: &Census) -> usize {
    let rack = |id| census.brokers.get(&id).and_then(|broker| broker.rack.as_deref());
    brokers.iter().filter(|other| rack(**other) == rack(id)).count()
}

fn count(replicas: &[NodeId], more: i64, census: &mut Census) {
    for (position, id) in replicas.iter().enumerate() {
        if let Some(broker) = census.brokers.get_mut(id) {
            broker.replicas += more;
            broker.leaders += if position == 0 { more } else { 0 };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(ids: &[i32]) -> Vec<NodeId> {
        ids.iter().map(|id| NodeId(*id)).collect()
    }

    /// Brokers 0, 1, … in these racks, an empty name standing for none.
    fn census(racks: &[&str]) -> Census {
        let broker = |rack: &&str| BrokerFacts {
            rack: (!rack.is_empty()).then(|| (*rack).to_owned()),
            in_service: true,
            ..BrokerFacts::default()
        };
        Census { brokers: (0..).map(NodeId).zip(racks.iter().map(broker)).collect() }
    }

    /// A partition whose first replica leads and all of whose replicas are in sync.
    fn partition(replicas: &[i32]) -> PartitionFacts {
        let replicas = ids(replicas);
        PartitionFacts {
            leader: replicas.first().copied(),
            isr: replicas.clone(),
            replicas,
            ..PartitionFacts::default()
        }
    }

    /// Of a topic with one partition.
    fn target(partition: &PartitionFacts, wanted: usize, census: &Census) -> Result<Vec<NodeId>, Held> {
        super::target(partition, wanted, census, &OfTopic::new(std::slice::from_ref(partition)))
    }

    fn of(partition: &PartitionFacts, wanted: usize, racks: &[&str]) -> Result<Vec<i32>, Held> {
        let target = target(partition, wanted, &census(racks))?;
        Ok(target.into_iter().map(|id| id.0).collect())
    }

    #[test]
    fn a_partition_keeps_what_it_has() {
        assert_eq!(of(&partition(&[2]), 3, &["", "", "", ""]), Ok(vec![2, 0, 1]));
        assert_eq!(of(&partition(&[2, 3, 1]), 2, &["", "", "", ""]), Ok(vec![2, 3]));
        assert_eq!(of(&partition(&[2, 3]), 2, &["", "", "", ""]), Ok(vec![2, 3]));
    }

    #[test]
    fn replicas_are_added_in_racks_that_have_none() {
        assert_eq!(of(&partition(&[0]), 2, &["a", "a", "b"]), Ok(vec![0, 2]));
        assert_eq!(of(&partition(&[0]), 3, &["a", "a", "b", "b", "c"]), Ok(vec![0, 2, 4]));
        assert_eq!(of(&partition(&[0, 2, 4]), 4, &["a", "a", "b", "b", "c"]), Ok(vec![0, 2, 4, 1]));
    }

    #[test]
    fn replicas_are_removed_where_a_rack_has_another_one() {
        assert_eq!(of(&partition(&[0, 1, 2]), 2, &["a", "a", "b"]), Ok(vec![0, 2]));
        assert_eq!(of(&partition(&[0, 1, 2]), 1, &["a", "a", "b"]), Ok(vec![0]));
    }

    #[test]
    fn the_leader_and_replicas_in_sync_are_kept() {
        let led_by_the_last = PartitionFacts { leader: Some(NodeId(2)), ..partition(&[0, 1, 2]) };
        assert_eq!(of(&led_by_the_last, 2, &["", "", ""]), Ok(vec![0, 2]));
        let behind = PartitionFacts { isr: ids(&[2, 1]), leader: Some(NodeId(1)), ..partition(&[0, 1, 2]) };
        assert_eq!(of(&behind, 2, &["", "", ""]), Ok(vec![1, 2]), "0 is not in sync");
        let alone = PartitionFacts { isr: ids(&[2]), leader: Some(NodeId(2)), ..partition(&[0, 1, 2]) };
        assert_eq!(of(&alone, 1, &["", "", ""]), Ok(vec![2]));
        assert_eq!(of(&alone, 2, &["", "", ""]), Ok(vec![0, 2]));
    }

    #[test]
    fn replicas_on_brokers_out_of_service_go_before_those_that_catch_up() {
        let mut brokers = census(&["a", "b", "b"]);
        brokers.brokers.get_mut(&NodeId(1)).unwrap().in_service = false;
        let behind = PartitionFacts { isr: ids(&[0]), ..partition(&[0, 1, 2]) };
        assert_eq!(target(&behind, 2, &brokers), Ok(ids(&[0, 2])));
        let mut brokers = census(&["a", "b", "a", "b"]);
        brokers.brokers.get_mut(&NodeId(3)).unwrap().in_service = false;
        assert_eq!(target(&partition(&[0, 1, 2, 3]), 2, &brokers), Ok(ids(&[0, 1])));
    }

    #[test]
    fn nothing_is_removed_while_nobody_leads() {
        let nobody = PartitionFacts { leader: None, isr: ids(&[1]), ..partition(&[0, 1, 2]) };
        assert_eq!(of(&nobody, 2, &["", "", ""]), Err(Held::NoLeader));
        assert_eq!(of(&nobody, 4, &["", "", "", ""]), Ok(vec![0, 1, 2, 3]));
        let gone = PartitionFacts { leader: None, ..partition(&[0, 9]) };
        assert_eq!(of(&gone, 2, &["", "", ""]), Err(Held::NoLeader), "9 may come back and lead");
    }

    #[test]
    fn brokers_out_of_service_get_nothing_and_keep_what_they_have() {
        let mut brokers = census(&["", "", "", ""]);
        for id in [1, 3] {
            brokers.brokers.get_mut(&NodeId(id)).unwrap().in_service = false;
        }
        assert_eq!(target(&partition(&[1]), 3, &brokers), Ok(ids(&[1, 0, 2])));
        assert_eq!(target(&partition(&[0]), 3, &brokers), Err(Held::TooFewBrokers));
        assert_eq!(target(&partition(&[0]), 5, &brokers), Err(Held::TooFewBrokers));
    }

    #[test]
    fn cordoned_brokers_get_nothing_and_keep_what_they_have() {
        for cordon in [Cordon::Cordoned, Cordon::Unknown] {
            let mut brokers = census(&["", "", "", ""]);
            for id in [1, 3] {
                brokers.brokers.get_mut(&NodeId(id)).unwrap().cordon = cordon;
            }
            assert_eq!(target(&partition(&[1]), 3, &brokers), Ok(ids(&[1, 0, 2])));
            assert_eq!(target(&partition(&[0, 1, 2]), 3, &brokers), Ok(ids(&[0, 1, 2])));
            assert_eq!(target(&partition(&[0]), 3, &brokers), Err(Held::TooFewBrokers));
        }
    }

    #[test]
    fn a_broker_that_is_not_registered_any_more_is_replaced() {
        assert_eq!(of(&partition(&[0, 9]), 3, &["", "", ""]), Ok(vec![0, 1, 2]));
        assert_eq!(of(&partition(&[0, 9, 1]), 2, &["", "", ""]), Ok(vec![0, 1]));
    }

    #[test]
    fn a_move_that_is_under_way_is_led_elsewhere_from_all_replicas_there_are() {
        // From one to three, and then two are wanted: whoever has caught up already stays.
        let growing = PartitionFacts {
            replicas: ids(&[0, 1, 2]),
            adding: ids(&[1, 2]),
            isr: ids(&[0, 2]),
            ..partition(&[0])
        };
        assert_eq!(of(&growing, 2, &["", "", ""]), Ok(vec![0, 2]));
        assert_eq!(of(&growing, 1, &["", "", ""]), Ok(vec![0]));
        let shrinking = PartitionFacts { removing: ids(&[1, 2]), ..partition(&[0, 1, 2]) };
        assert_eq!(of(&shrinking, 3, &["", "", ""]), Ok(vec![0, 1, 2]));
    }

    /// All partitions of a topic go from one number of replicas to another; gives what each broker then has.
    fn change_all(topic: &mut [PartitionFacts], wanted: usize, brokers: &mut Census) -> Vec<i64> {
        let mut of_topic = OfTopic::new(topic);
        for one in topic {
            let replicas = super::target(one, wanted, brokers, &of_topic).unwrap();
            count_move(one, &replicas, brokers, &mut of_topic);
            let distinct: std::collections::BTreeSet<_> = replicas.iter().collect();
            assert_eq!(distinct.len(), wanted, "{replicas:?}");
            one.isr.clone_from(&replicas);
            one.replicas = replicas;
        }
        brokers.brokers.values().map(|broker| broker.replicas).collect()
    }

    #[test]
    fn what_is_added_is_spread_evenly_over_brokers_and_racks() {
        for racks in [&["", "", "", "", ""][..], &["a", "b", "c", "a", "b", "c"], &["a", "a", "b", "b"]] {
            let mut brokers = census(racks);
            let brokers_count = i32::try_from(racks.len()).unwrap();
            let mut topic: Vec<_> = (0..60).map(|index| partition(&[index % brokers_count])).collect();
            topic.iter().for_each(|one| count(&one.replicas, 1, &mut brokers));
            for wanted in [2, 3] {
                let has = change_all(&mut topic, wanted, &mut brokers);
                let spread = has.iter().max().unwrap() - has.iter().min().unwrap();
                assert!(spread <= 2, "{wanted} replicas in {racks:?}: {has:?}");
            }
            let racks_of = |one: &PartitionFacts| {
                let rack = |id: &NodeId| brokers.brokers[id].rack.clone();
                one.replicas.iter().map(rack).collect::<std::collections::BTreeSet<_>>().len()
            };
            let racks_count = racks.iter().collect::<std::collections::BTreeSet<_>>().len();
            assert!(topic.iter().all(|one| racks_of(one) == racks_count.min(3)), "{racks:?}");
        }
    }

    /// How many replicas of a topic, and how many preferred leaders, are on each of so many brokers.
    fn spread(topic: &[PartitionFacts], brokers: i32) -> (Vec<i64>, Vec<i64>) {
        let counted = OfTopic::new(topic);
        let ids = || (0..brokers).map(NodeId);
        (ids().map(|id| counted.replicas_on(id)).collect(), ids().map(|id| counted.led_by(id)).collect())
    }

    fn is_even(counts: &[i64]) -> bool {
        counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 1
    }

    #[test]
    fn a_new_broker_gets_its_share_of_a_topic_and_not_all_of_it() {
        let mut brokers = census(&["", "", "", ""]);
        for id in [0, 1, 2] {
            brokers.brokers.get_mut(&NodeId(id)).unwrap().replicas = 1000;
        }
        let mut topic: Vec<_> = (0..9).map(|index| partition(&[index % 3])).collect();
        change_all(&mut topic, 2, &mut brokers);
        let (replicas, _) = spread(&topic, 4);
        assert!(is_even(&replicas), "{replicas:?}");
        assert_eq!(replicas[3], 5, "where that makes no difference, the emptier one gets more: {replicas:?}");
    }

    #[test]
    fn a_topic_that_grew_on_one_broker_is_led_by_all_that_get_it() {
        let mut topic = vec![partition(&[0]); 9];
        change_all(&mut topic, 3, &mut census(&["", "", ""]));
        assert_eq!(spread(&topic, 3), (vec![9, 9, 9], vec![3, 3, 3]));
        let mut topic: Vec<_> = (0..12).map(|index| partition(&[index % 3, (index + 1) % 3])).collect();
        let before: Vec<_> = topic.iter().map(|one| one.replicas[0]).collect();
        change_all(&mut topic, 3, &mut census(&["", "", ""]));
        let after: Vec<_> = topic.iter().map(|one| one.replicas[0]).collect();
        assert_eq!(after, before, "what is even stays");
    }

    #[test]
    fn what_is_left_of_a_topic_is_spread_evenly() {
        let on = |index: i32| partition(&[index % 4, (index + 1) % 4, 4]);
        let mut topic: Vec<_> = (0..20).map(on).collect();
        change_all(&mut topic, 2, &mut census(&["", "", "", "", ""]));
        let (replicas, leaders) = spread(&topic, 5);
        assert!(is_even(&replicas), "{replicas:?}");
        assert_eq!(leaders, [5, 5, 5, 5, 0], "who leads stays");
    }

    #[test]
    fn the_same_facts_give_the_same_brokers() {
        let run = || {
            let mut topic: Vec<_> = (0..20).map(|index| partition(&[index % 5])).collect();
            let mut brokers = census(&["a", "b", "a", "b", "c"]);
            change_all(&mut topic, 3, &mut brokers);
            topic
        };
        assert_eq!(run(), run());
    }
}
