//! Brokers that do anything, at random, and what must be true of their partition after each step.
//!
//! Beside the partition runs what its replicas would hold: how many records each has, and how many are committed. That
//! shows whether those whom the controller calls in sync or eligible do hold everything that was committed.

use std::collections::BTreeMap;

use ottla_core::controller::operation::ElectionType;
use ottla_core::ids::{LeaderEpoch, NodeId, PartitionEpoch};
use ottla_core::metadata::image::{Fencing, LeaderRecoveryState, Partition};
use ottla_sim::rng::Rng;

use crate::partitions::{Stop, Story};
use crate::rig::directory;

const CONTROLLER: NodeId = NodeId(0);

struct Walk {
    story: Story,
    rng: Rng,
    min_insync: usize,
    unclean: bool,
    committed: u64,
    /// How many of the committed records each replica has.
    holds: BTreeMap<NodeId, u64>,
    next_directory: u128,
    before: Partition,
    trace: Vec<String>,
}

impl Walk {
    fn new(seed: u64) -> Self {
        let story = Story::with(&[("min.insync.replicas", "2"), ("flush.messages", "1000")]);
        let before = story.partition();
        let holds = (1..=3).map(|id| (NodeId(id), 0)).collect();
        let (min_insync, unclean) = (2, false);
        let rng = Rng::new(seed);
        Self {
            story,
            rng,
            min_insync,
            unclean,
            committed: 0,
            holds,
            next_directory: 700,
            before,
            trace: Vec::new(),
        }
    }

    fn step(&mut self) {
        let id = 1 + i32::try_from(self.rng.below(3)).unwrap();
        let node = NodeId(id);
        let fencing = self.story.cluster.image(CONTROLLER).brokers[&node].fencing;
        let choice = self.rng.below(14);
        self.trace.push(format!("{choice} for {id}, {fencing:?}"));
        match choice {
            0..=2 => self.commit(),
            3..=5 => self.alter(),
            6 => self.story.fence(id),
            7 => self.story.beat(id, |beat| beat.want_shutdown = true),
            8 => self.story.register(id, Stop::InOrder),
            9 => {
                self.story.register(id, Stop::Crash);
                *self.holds.get_mut(&node).unwrap() /= 2;
            }
            10 => self.replace_volume(id),
            11 => self.configure(),
            12 => {
                let failed = directory(self.story.directories[&node]);
                self.story.beat(id, |beat| beat.offline_directories = vec![failed]);
            }
            _ => {
                let kind =
                    if self.rng.below(8) == 0 { ElectionType::Unclean } else { ElectionType::Preferred };
                let _ = self.story.elect(kind);
            }
        }
        if self.rng.below(3) > 0 {
            self.story.beat(id, |_| {});
        }
    }

    /// The leader writes, and everybody in sync has it before it is committed.
    fn commit(&mut self) {
        let partition = self.story.partition();
        if partition.leader.is_some() && partition.isr.len() >= self.min_insync.min(partition.replicas.len())
        {
            self.committed += 2;
            for id in partition.isr {
                self.holds.insert(id, self.committed);
            }
        }
    }

    /// The leader takes anybody into the ISR and out of it, once they have everything.
    fn alter(&mut self) {
        let partition = self.story.partition();
        let Some(leader) = partition.leader else { return };
        let mut isr = vec![leader.0];
        for id in [1, 2, 3] {
            if id != leader.0 && self.rng.below(2) == 0 {
                isr.push(id);
            }
        }
        let mut asked = self.story.wish(&isr);
        if self.rng.below(6) == 0 {
            asked.partition_epoch = PartitionEpoch(asked.partition_epoch.0 - 1);
        }
        if self.story.alter(leader.0, asked).is_ok() {
            for id in isr {
                self.holds.insert(NodeId(id), self.committed);
            }
        }
    }

    /// A broker comes back with an empty volume once the process before is silent.
    fn replace_volume(&mut self, id: i32) {
        if self.story.cluster.image(CONTROLLER).brokers[&NodeId(id)].fencing == Fencing::Fenced {
            for _ in 0..10 {
                self.story.cluster.pass(1_000);
                self.others_live(id);
            }
            self.next_directory += 1;
            self.story.directories.insert(NodeId(id), self.next_directory);
            self.story.register(id, Stop::InOrder);
            self.holds.insert(NodeId(id), 0);
        }
    }

    /// All but one show that they live, and stay what they are.
    fn others_live(&mut self, silent: i32) {
        for id in (1..=4).filter(|id| *id != silent) {
            let fencing = self.story.cluster.image(CONTROLLER).brokers[&NodeId(id)].fencing;
            self.story.beat(id, |beat| {
                beat.want_fence = fencing == Fencing::Fenced;
                beat.want_shutdown = fencing == Fencing::InControlledShutdown;
            });
        }
    }

    fn configure(&mut self) {
        if self.rng.below(3) == 0 {
            self.unclean = !self.unclean;
            self.story.set("unclean.leader.election.enable", &self.unclean.to_string());
        } else {
            self.min_insync = 1 + self.rng.index(4);
            self.story.set("min.insync.replicas", &self.min_insync.to_string());
        }
    }

    fn check(&mut self) {
        let partition = self.story.partition();
        let image = self.story.cluster.image(CONTROLLER);
        let among = |ids: &[NodeId]| ids.iter().all(|id| partition.replicas.contains(id));
        assert!(among(&partition.isr) && among(&partition.elr), "of replicas only: {partition:?}");
        assert!(
            !partition.isr.iter().any(|id| partition.elr.contains(id)),
            "in sync or eligible: {partition:?}"
        );
        let small = partition.isr.len() < self.min_insync.min(partition.replicas.len());
        assert!(small || partition.elr.is_empty(), "eligible beside an ISR that commits: {partition:?}");
        assert!(
            partition.last_known_elr.len() <= 1
                && (partition.leader.is_none() || partition.last_known_elr.is_empty())
        );
        for id in &partition.isr {
            let broker = &image.brokers[id];
            assert_eq!(broker.fencing, Fencing::Unfenced, "{id} is in sync: {partition:?}");
            assert!(!broker.offline_directories.contains(&partition.directory_of(*id)));
        }
        match partition.leader {
            Some(leader) => assert!(partition.isr.contains(&leader), "{partition:?}"),
            None => assert!(partition.isr.is_empty(), "somebody in sync could lead: {partition:?}"),
        }
        let before = &self.before;
        let moved = i32::from(partition.leader != before.leader);
        assert!(
            partition.leader_epoch >= LeaderEpoch(before.leader_epoch.0 + moved),
            "{before:?} {partition:?}"
        );
        let changed = i32::from(partition != *before);
        assert!(partition.partition_epoch >= PartitionEpoch(before.partition_epoch.0 + changed));
        let unclean = partition.recovery == LeaderRecoveryState::Recovering;
        if unclean && partition.leader_epoch > before.leader_epoch {
            // What this leader lacks is gone, and it was allowed to be.
            let leader = partition.leader.map_or(self.committed, |leader| self.holds[&leader]);
            self.committed = self.committed.min(leader);
            self.holds.values_mut().for_each(|held| *held = (*held).min(leader));
        }
        for id in partition.isr.iter().chain(&partition.elr) {
            assert_eq!(self.holds[id], self.committed, "{id} lacks what was committed: {partition:?}");
        }
        self.before = partition;
    }
}

#[test]
fn whoever_is_in_sync_or_eligible_holds_what_was_committed_whatever_brokers_do() {
    for seed in 0..20 {
        let mut walk = Walk::new(seed);
        let mut led = 0;
        for step in 0..250 {
            walk.step();
            let checked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| walk.check()));
            assert!(
                checked.is_ok(),
                "seed {seed} step {step}: {:#?}",
                &walk.trace[walk.trace.len().saturating_sub(12)..]
            );
            led += i32::from(walk.before.leader.is_some());
        }
        assert!(led > 60, "seed {seed}: nobody led most of the time, so that little was tried: {led}");
    }
}
