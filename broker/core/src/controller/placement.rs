//! Which brokers a new partition's replicas go to (plan: no memory, no state).
//!
//! A topic's leaders are spread evenly over the brokers first, then over the racks, then towards brokers that
//! lead little; its replicas likewise, no two in one rack as long as there are racks left. As in Kafka a broker that is
//! out of service gets a replica only where those in service are too few, and never the first: topics are made while a
//! broker restarts, and it joins the ISR when it is back.

use std::collections::BTreeMap;

use crate::ids::NodeId;

/// A broker that may get replicas.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) node_id: NodeId,
    /// Whether it is in service.
    pub(crate) is_live: bool,
    pub(crate) rack: Option<String>,
    /// Partitions that it leads, of any topic.
    pub(crate) leads: usize,
    /// Partitions of the topic at hand that it leads already.
    pub(crate) leads_of_topic: usize,
    /// Replicas of the topic at hand that it has already.
    pub(crate) replicas_of_topic: usize,
}

/// The replicas of each of `partitions` new partitions, the leader first. There must be at least
/// `replication_factor` candidates, and that must be at least 1.
pub(crate) fn plan_placement(
    mut candidates: Vec<Candidate>,
    partitions: usize,
    replication_factor: usize,
) -> Vec<Vec<NodeId>> {
    (0..partitions).map(|_| place_one(&mut candidates, replication_factor)).collect()
}

fn place_one(candidates: &mut [Candidate], replication_factor: usize) -> Vec<NodeId> {
    let mut chosen: Vec<usize> = Vec::new();
    let leads_by_rack = by_rack(candidates, |candidate| candidate.leads_of_topic);
    let leader = (0..candidates.len()).min_by_key(|index| {
        let candidate = &candidates[*index];
        let in_rack = leads_by_rack.get(&candidate.rack).copied().unwrap_or(0);
        (!candidate.is_live, candidate.leads_of_topic, in_rack, candidate.leads, candidate.node_id)
    });
    chosen.extend(leader);
    while chosen.len() < replication_factor {
        let taken = |rack: &Option<String>| chosen.iter().any(|index| candidates[*index].rack == *rack);
        let next = (0..candidates.len()).filter(|index| !chosen.contains(index)).min_by_key(|index| {
            let candidate = &candidates[*index];
            let same_rack = candidate.rack.is_some() && taken(&candidate.rack);
            let filled = (candidate.replicas_of_topic, candidate.leads, candidate.node_id);
            (!candidate.is_live, same_rack, filled)
        });
        let Some(next) = next else { break };
        chosen.push(next);
    }
    if let Some(leader) = chosen.first() {
        candidates[*leader].leads += 1;
        candidates[*leader].leads_of_topic += 1;
    }
    for index in &chosen {
        candidates[*index].replicas_of_topic += 1;
    }
    chosen.iter().map(|index| candidates[*index].node_id).collect()
}

fn by_rack(candidates: &[Candidate], count: impl Fn(&Candidate) -> usize) -> BTreeMap<Option<String>, usize> {
    let mut racks = BTreeMap::new();
    for candidate in candidates.iter().filter(|candidate| candidate.rack.is_some()) {
        *racks.entry(candidate.rack.clone()).or_insert(0) += count(candidate);
    }
    racks
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(id: i32, rack: Option<&str>, leads: usize) -> Candidate {
        Candidate {
            node_id: NodeId(id),
            is_live: true,
            rack: rack.map(str::to_owned),
            leads,
            leads_of_topic: 0,
            replicas_of_topic: 0,
        }
    }

    fn leaders(plan: &[Vec<NodeId>]) -> Vec<i32> {
        plan.iter().map(|replicas| replicas[0].0).collect()
    }

    #[test]
    fn a_broker_out_of_service_gets_what_the_others_are_too_few_for_and_never_the_first_replica() {
        let dead = |id, rack| Candidate { is_live: false, ..candidate(id, Some(rack), 0) };
        let brokers = vec![dead(0, "a"), candidate(1, Some("b"), 0), candidate(2, Some("b"), 0)];
        let plan = plan_placement(brokers.clone(), 6, 3);
        assert_eq!(leaders(&plan), [1, 2, 1, 2, 1, 2]);
        assert!(plan.iter().all(|replicas| replicas[2] == NodeId(0)), "{plan:?}");
        let plan = plan_placement(brokers, 6, 2);
        assert!(plan.iter().flatten().all(|id| *id != NodeId(0)), "{plan:?}");
    }

    #[test]
    fn a_topic_is_spread_evenly_even_if_one_broker_is_empty() {
        let plan = plan_placement(vec![candidate(0, None, 100), candidate(1, None, 0)], 6, 1);
        assert_eq!(leaders(&plan), [1, 0, 1, 0, 1, 0]);
    }

    #[test]
    fn leaders_alternate_between_racks() {
        let brokers = vec![
            candidate(0, Some("a"), 0),
            candidate(1, Some("a"), 0),
            candidate(2, Some("b"), 0),
            candidate(3, Some("b"), 0),
        ];
        assert_eq!(leaders(&plan_placement(brokers, 4, 1)), [0, 2, 1, 3]);
    }

    #[test]
    fn single_partition_topics_do_not_pile_up_on_the_first_broker() {
        let plan = plan_placement(vec![candidate(0, None, 1), candidate(1, None, 0)], 1, 1);
        assert_eq!(leaders(&plan), [1]);
    }

    #[test]
    fn replicas_avoid_a_rack_twice_and_a_broker_always() {
        let brokers =
            vec![candidate(0, Some("a"), 0), candidate(1, Some("a"), 0), candidate(2, Some("b"), 0)];
        for replicas in plan_placement(brokers.clone(), 6, 2) {
            assert!(replicas.contains(&NodeId(2)), "one of two replicas is in rack b: {replicas:?}");
        }
        for mut replicas in plan_placement(brokers, 6, 3) {
            replicas.sort_unstable();
            assert_eq!(replicas, [NodeId(0), NodeId(1), NodeId(2)]);
        }
    }
}
