//! Whether nodes may be restarted (decision 9): asked by whoever rolls the cluster, node by node.

use std::collections::BTreeSet;

use super::damaged::DamagedLogs;
use super::operation::{RestartObstacle, RestartSafety, RestartVerdict};
use super::partitions::{Partitions, serves};
use super::state::ControllerConfig;
use crate::ids::NodeId;
use crate::metadata::image::{Fencing, Image};
use crate::quorum::machine::MemberProgress;
use crate::time::Monotonic;

/// A voter counts as being there if it had the whole log within this time. Two heartbeats may be lost.
const CAUGHT_UP_WITHIN_MS: u64 = 2_000;

/// Checks it against the members of the quorum and the partitions.
pub(super) fn restart_safety(
    now: Monotonic,
    image: &Image,
    config: &ControllerConfig,
    members: &[MemberProgress],
    request: &RestartSafety,
) -> RestartVerdict {
    let nodes: BTreeSet<NodeId> = request.nodes.iter().copied().collect();
    let mut reasons = Vec::new();
    reasons.extend(quorum_obstacle(now, members, &nodes));
    reasons.extend(partition_obstacles(image, config, &nodes));
    RestartVerdict { reasons }
}

fn quorum_obstacle(
    now: Monotonic,
    members: &[MemberProgress],
    nodes: &BTreeSet<NodeId>,
) -> Option<RestartObstacle> {
    let voters: Vec<&MemberProgress> = members.iter().filter(|member| member.votes).collect();
    // A quorum of one stops with its only voter, and so it must, or it could never be updated.
    if voters.len() <= 1 || !voters.iter().any(|voter| nodes.contains(&voter.voter.node_id)) {
        return None;
    }
    let majority = voters.len() / 2 + 1;
    let current = |voter: &&&MemberProgress| {
        let recent = |at: Monotonic| now.0.saturating_sub(at.0) <= CAUGHT_UP_WITHIN_MS;
        voter.last_caught_up.is_some_and(recent)
    };
    let remaining =
        voters.iter().filter(|voter| !nodes.contains(&voter.voter.node_id)).filter(current).count();
    let left_over: Vec<String> = voters
        .iter()
        .filter(|voter| !nodes.contains(&voter.voter.node_id) && !current(voter))
        .map(|voter| voter.voter.node_id.to_string())
        .collect();
    (remaining < majority).then(|| RestartObstacle {
        code: "QUORUM",
        message: format!(
            "{remaining} of {} controllers would be left with the whole metadata log, {majority} are needed{}",
            voters.len(),
            if left_over.is_empty() { String::new() } else { format!("; not there: {}", left_over.join(", ")) }
        ),
    })
}

/// How many partitions an obstacle names.
const NAMED_MAX: usize = 5;

/// A partition with more than one replica must keep one that can lead, and as many in sync as its producers need. One
/// with a single replica stops with its broker whenever that is restarted, and one that needs all of its replicas
/// takes no records meanwhile: waiting does not help. A broker that is out of service already takes nothing away.
fn partition_obstacles(
    image: &Image,
    config: &ControllerConfig,
    nodes: &BTreeSet<NodeId>,
) -> Vec<RestartObstacle> {
    let in_service = |id: &&NodeId| image.brokers.get(*id).is_some_and(|it| it.fencing != Fencing::Fenced);
    let stopping: BTreeSet<NodeId> = nodes.iter().filter(in_service).copied().collect();
    // Nobody is elected here.
    let damaged = DamagedLogs::default();
    let partitions = Partitions::of(image, config, &damaged);
    let (mut stranded, mut too_few) = (Vec::new(), Vec::new());
    for topic in image.topics.values() {
        let mut min = None;
        for (index, partition) in &topic.partitions {
            let concerned = partition.replicas.iter().any(|id| stopping.contains(id));
            if !concerned || partition.replicas.len() < 2 {
                continue;
            }
            let stays = |id: &&NodeId| !nodes.contains(id) && serves(image, partition, **id);
            let left = partition.isr.iter().filter(stays).count();
            let min = *min.get_or_insert_with(|| partitions.rules(topic).min_insync_replicas);
            // What its producers need of it; with a minimum as large as the partition that is all of its replicas.
            let (needed, all) = (partition.isr_min(min), partition.isr_min(usize::MAX));
            let name = || format!("{}-{index}", topic.name);
            if left == 0 && partition.isr.iter().any(|id| nodes.contains(id)) {
                stranded.push(name());
            } else if left < needed && needed < all {
                too_few.push(format!("{} ({left} of {needed})", name()));
            }
        }
    }
    let obstacle = |code, text: &str, names: Vec<String>| {
        let more = names.len().saturating_sub(NAMED_MAX);
        let more = if more == 0 { String::new() } else { format!(" and {more} more") };
        let named = names.iter().take(NAMED_MAX).map(String::as_str).collect::<Vec<_>>().join(", ");
        (!names.is_empty()).then(|| RestartObstacle { code, message: format!("{text} {named}{more}") })
    };
    let obstacles = [
        obstacle("LAST_REPLICA", "no replica in sync would be left of", stranded),
        obstacle("UNDER_MIN_ISR", "fewer replicas than min.insync.replicas would be in sync of", too_few),
    ];
    obstacles.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::ids::{
        BrokerEpoch, DirectoryId, IncarnationId, LeaderEpoch, MetadataOffset, PartitionEpoch, PartitionIndex,
        TopicId, TopicName,
    };
    use crate::metadata::image::{ConfigResource, LeaderRecoveryState, Partition};
    use crate::metadata::record::{ConfigRecord, PartitionRecord, Record, RegisterBroker, TopicRecord};

    fn nodes(ids: &[i32]) -> Vec<NodeId> {
        ids.iter().map(|id| NodeId(*id)).collect()
    }

    /// Brokers 1 to 3, the given ones fenced, and a partition `a-0` with this minimum.
    fn image(fenced: &[i32], replicas: &[i32], isr: &[i32], min: &str) -> Image {
        let broker = |id: i32| {
            Record::RegisterBroker(RegisterBroker {
                node_id: NodeId(id),
                incarnation_id: IncarnationId(Uuid::nil()),
                endpoints: Vec::new(),
                rack: None,
                directories: Vec::new(),
                features: Vec::new(),
                fencing: if fenced.contains(&id) { Fencing::Fenced } else { Fencing::Unfenced },
                epoch: Some(BrokerEpoch(1)),
                offline_directories: Vec::new(),
            })
        };
        let (topic_id, name) = (TopicId(Uuid::from_u128(1_000)), TopicName::parse("a").expect("a name"));
        let partition = Partition {
            replicas: nodes(replicas),
            directories: vec![DirectoryId(Uuid::from_u128(1)); replicas.len()],
            isr: nodes(isr),
            adding: Vec::new(),
            removing: Vec::new(),
            elr: Vec::new(),
            last_known_elr: Vec::new(),
            leader: nodes(isr).first().copied(),
            leader_epoch: LeaderEpoch(0),
            partition_epoch: PartitionEpoch(0),
            recovery: LeaderRecoveryState::Recovered,
        };
        let records = [
            broker(1),
            broker(2),
            broker(3),
            Record::Topic(TopicRecord { id: topic_id, name: name.clone() }),
            Record::Config(ConfigRecord {
                resource: ConfigResource::Topic(name),
                name: "min.insync.replicas".to_owned(),
                value: Some(min.to_owned()),
            }),
            Record::Partition(PartitionRecord { topic_id, index: PartitionIndex(0), partition }),
        ];
        let mut image = Image::default();
        records.iter().for_each(|record| image.replay(MetadataOffset(1), record).expect("it fits"));
        image
    }

    /// The codes of what speaks against restarting these brokers.
    fn against(image: &Image, brokers: &[i32]) -> Vec<&'static str> {
        let request = RestartSafety { nodes: nodes(brokers) };
        let config = ControllerConfig::new(NodeId(1));
        let verdict = restart_safety(Monotonic(0), image, &config, &[], &request);
        verdict.reasons.iter().map(|reason| reason.code).collect()
    }

    #[test]
    fn as_many_stay_in_sync_as_producers_need() {
        let all = image(&[], &[1, 2, 3], &[1, 2, 3], "2");
        assert_eq!(against(&all, &[1]), [""; 0]);
        assert_eq!(against(&all, &[1, 2]), ["UNDER_MIN_ISR"]);
        assert_eq!(against(&all, &[1, 2, 3]), ["LAST_REPLICA"]);
        let catching_up = image(&[], &[1, 2, 3], &[1, 2], "2");
        assert_eq!(against(&catching_up, &[1]), ["UNDER_MIN_ISR"]);
        assert_eq!(against(&catching_up, &[3]), [""; 0]);
        let under = image(&[], &[1, 2, 3], &[1], "2");
        assert_eq!(against(&under, &[3]), ["UNDER_MIN_ISR"], "it is on its way back into the ISR");
    }

    #[test]
    fn what_waiting_does_not_help_is_no_reason() {
        assert_eq!(against(&image(&[], &[1], &[1], "1"), &[1]), [""; 0], "a single replica");
        let needs_all = image(&[], &[1, 2], &[1, 2], "2");
        assert_eq!(against(&needs_all, &[1]), [""; 0]);
        assert_eq!(against(&needs_all, &[1, 2]), ["LAST_REPLICA"]);
        let down = image(&[2], &[1, 2, 3], &[1], "2");
        assert_eq!(against(&down, &[2]), [""; 0], "it is out of service already");
    }

    #[test]
    fn replicas_that_a_move_adds_raise_no_minimum() {
        let moving = |isr: &[i32], replicas: &[i32], adding: &[i32]| {
            let mut image = image(&[], replicas, isr, "2");
            let topic = image.topics.values().next().expect("there is one");
            let (topic_id, mut partition) = (topic.id, topic.partitions[&PartitionIndex(0)].as_ref().clone());
            partition.adding = nodes(adding);
            let index = PartitionIndex(0);
            let record = Record::Partition(PartitionRecord { topic_id, index, partition });
            image.replay(MetadataOffset(2), &record).expect("it fits");
            image
        };
        assert_eq!(
            against(&moving(&[1, 2], &[1, 2, 3], &[3]), &[1]),
            [""; 0],
            "it needs both of its replicas"
        );
        let single = moving(&[1], &[1, 2, 3], &[2, 3]);
        assert_eq!(against(&single, &[2]), [""; 0], "one is enough until the move is over");
        assert_eq!(against(&single, &[1]), ["LAST_REPLICA"]);
        assert_eq!(against(&moving(&[1, 2], &[1, 2, 3], &[]), &[1]), ["UNDER_MIN_ISR"]);
    }

    #[test]
    fn a_few_partitions_are_named_and_the_others_counted() {
        let mut image = image(&[], &[1, 2, 3], &[1, 2], "2");
        let topic = image.topics.values().next().expect("there is one");
        let (topic_id, partition) = (topic.id, topic.partitions[&PartitionIndex(0)].as_ref().clone());
        for index in (1..8).map(PartitionIndex) {
            let record = Record::Partition(PartitionRecord { topic_id, index, partition: partition.clone() });
            image.replay(MetadataOffset(2), &record).expect("it fits");
        }
        let request = RestartSafety { nodes: nodes(&[1]) };
        let config = ControllerConfig::new(NodeId(1));
        let verdict = restart_safety(Monotonic(0), &image, &config, &[], &request);
        let message = &verdict.reasons[0].message;
        assert!(
            message.contains("a-0 (1 of 2), a-1 (1 of 2)") && message.ends_with("and 3 more"),
            "{message}"
        );
    }
}
