//! Random lives: what was committed stays, whatever happens.

use ottla_core::controller::{OperationError, Reply, Ticket};
use ottla_core::ids::{BrokerEpoch, NodeId, TopicName};
use ottla_sim::disk::CrashKind;
use ottla_sim::rng::Rng;

use crate::rig::{Cluster, create, directory, heartbeat};

struct Life {
    cluster: Cluster,
    rng: Rng,
    /// Of the only broker.
    epoch: BrokerEpoch,
    /// Topics asked for and not yet answered.
    asked: Vec<(NodeId, Ticket, String)>,
    /// Topics whose creation was acknowledged.
    acknowledged: Vec<String>,
    next: u128,
}

impl Life {
    fn new(seed: u64) -> Self {
        let rng = Rng::new(seed);
        let mut cluster = Cluster::new(3);
        cluster.snapshot_after_bytes = 600;
        for id in cluster.ids() {
            cluster.start(id);
        }
        let active = cluster.wait_active();
        let epoch = cluster.broker_up(active, NodeId(9));
        cluster.bad_network = Some(rng.fork("network"));
        Self { cluster, rng, epoch, asked: Vec::new(), acknowledged: Vec::new(), next: 1 }
    }

    fn step(&mut self) {
        let ids = self.cluster.ids();
        let id = *self.rng.pick(&ids);
        let up = self.cluster.members[&id].running.is_some();
        let kinds = [CrashKind::Process, CrashKind::PowerAllLost, CrashKind::PowerSomeLost];
        match self.rng.below(60) {
            0 if up => self.cluster.stop(id, *self.rng.pick(&kinds)),
            20..40 if !up => self.cluster.start(id),
            4 if up && self.may_wipe(id) => {
                self.next += 1;
                self.cluster.stop(id, CrashKind::Process);
                self.cluster.add(id, directory(10_000 + self.next), None);
                self.cluster.start(id);
            }
            5 => self.cluster.isolate(id),
            6 | 7 | 40..46 => self.cluster.cut.clear(),
            8 => {
                let other = *self.rng.pick(&ids);
                self.cluster.cut.insert((id, other));
            }
            9 if up => self.cluster.members.get_mut(&id).unwrap().hold_disk = true,
            10 | 11 | 46..50 => self.cluster.release_disk(id),
            12 if up => self.cluster.resign(id),
            13..40 if up => {
                self.next += 1;
                let name = format!("topic-{}", self.next);
                let ticket = self.cluster.ask(id, create(&name, self.next, 2));
                self.asked.push((id, ticket, name));
            }
            _ => {}
        }
        if let Some(active) = self.cluster.active() {
            self.cluster.ask(active, heartbeat(NodeId(9), self.epoch));
        }
        let pause = self.rng.range(10..400);
        self.cluster.pass(pause);
        self.collect();
    }

    /// Two of three volumes must be left, or what was committed is lost with them.
    fn may_wipe(&self, id: NodeId) -> bool {
        let Some(active) = self.cluster.active() else { return false };
        let image = self.cluster.image(active);
        let whole = |other: &NodeId| {
            let member = &self.cluster.members[other];
            let votes =
                image.voters.get(other).is_some_and(|voter| voter.directory_id == member.directory_id);
            votes && member.running.is_some() && self.cluster.image(*other).offset == image.offset
        };
        active != id && image.learners.is_empty() && self.cluster.ids().iter().all(whole)
    }

    fn collect(&mut self) {
        for (id, ticket, name) in std::mem::take(&mut self.asked) {
            match self.cluster.reply(id, ticket) {
                None => self.asked.push((id, ticket, name)),
                Some(Ok(Reply::CreateTopics(results))) => match &results[0] {
                    Ok(_) => self.acknowledged.push(name),
                    // No broker is in service: its session is over.
                    Err(OperationError::InvalidReplicationFactor(_)) => {}
                    Err(error) => panic!("{error}"),
                },
                Some(Err(OperationError::NotController { .. })) => {}
                Some(other) => panic!("{other:?}"),
            }
        }
    }

    fn heal(&mut self) {
        self.cluster.cut.clear();
        self.cluster.bad_network = None;
        for id in self.cluster.ids() {
            if self.cluster.members[&id].running.is_none() {
                self.cluster.start(id);
            }
            self.cluster.release_disk(id);
        }
        self.cluster.pass_until("all agree and vote", |cluster| {
            let Some(active) = cluster.active() else { return false };
            let agrees = |id: &NodeId| cluster.image(*id) == cluster.image(active);
            let ids = cluster.ids();
            ids.iter().all(|id| agrees(id) && cluster.node(*id).quorum().votes())
        });
        let image = self.cluster.image(self.cluster.active().unwrap());
        assert_eq!((image.voters.len(), image.learners.len()), (3, 0));
        for name in &self.acknowledged {
            assert!(image.topic(&TopicName::parse(name).unwrap()).is_some(), "{name} was acknowledged");
        }
    }
}

#[test]
fn random_lives_lose_nothing_that_was_acknowledged() {
    let mut acknowledged = 0;
    for seed in 0..SEEDS {
        eprintln!("seed {seed}");
        let mut life = Life::new(seed);
        for _ in 0..250 {
            life.step();
        }
        life.heal();
        acknowledged += life.acknowledged.len();
    }
    assert!(
        acknowledged > 5 * usize::try_from(SEEDS).unwrap(),
        "lives in which nothing happens prove nothing"
    );
}

/// Each takes a fraction of a second; the simulator runs many more, with brokers.
const SEEDS: u64 = 6;
