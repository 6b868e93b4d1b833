//! What one seed decides before the first event: the cluster, the load and which faults may strike.
//!
//! Swarm testing (Groce et al., 2012): each seed takes a random subset of the faults, because some bugs
//! only show where another fault does not get in their way.

use ottla_core::planted;

use crate::network::Conditions;
use crate::rng::Rng;

/// Everything about a run that is not drawn while it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The seed.
    pub seed: u64,
    /// How many nodes are controllers; their ids come first.
    pub controller_count: u32,
    /// Whether they are nothing else (`process.roles=controller`), rather than brokers too.
    pub controllers_alone: bool,
    /// How many of them vote when the cluster is new. The others follow.
    pub first_voter_count: u32,
    /// How many nodes are brokers alone; their ids follow.
    pub broker_count: u32,
    /// How far ids lie apart; the first is 0.
    pub id_step: u32,
    /// Whether nodes have two log directories, of which the second is missing after some starts.
    pub second_directories: bool,
    /// How many clients produce and read.
    pub client_count: u32,
    /// How many topics the clients make.
    pub topic_count: u32,
    /// How many replicas each partition has.
    pub replication_factor: i16,
    /// `min.insync.replicas`
    pub min_insync_replicas: i16,
    /// Whether acknowledgements wait for disks (`flush.messages=1`). Where they do not, machines keep their power and
    /// disks are good: what is only in page caches is allowed to go with them.
    pub synced: bool,
    /// How much a follower fetches of a partition at once, beyond a first batch: where it is little, catching up
    /// takes a while.
    pub replica_fetch_bytes_max: u32,
    /// Whether they also delete them.
    pub deletes_topics: bool,
    /// Whether each node stands in a rack of its own, and each client in one of those, whose replica it reads from.
    pub racks: bool,
    /// The mean time between two requests to move replicas, in simulated milliseconds; none if nobody moves any.
    pub reassignment_interval_ms: Option<u64>,
    /// The mean time between two requests for a replica in another log directory of its node, in simulated milliseconds;
    /// none if nobody makes any.
    pub directory_change_interval_ms: Option<u64>,
    /// How long faults strike, in simulated milliseconds.
    pub chaos_ms: u64,
    /// The mean time between two faults, in simulated milliseconds.
    pub fault_interval_ms: u64,
    /// Which faults may strike.
    pub faults: Faults,
    /// How the network is while faults strike.
    pub conditions: Conditions,
    /// The most one persist or sync takes, in microseconds.
    pub sync_micros_max: u64,
    /// How far the wall clock of a running process may jump, forward or back; it does not where this is none. Where it
    /// does, leaders stamp records with it.
    pub clock_jump_ms_max: Option<u64>,
    /// The mean time between two steps of a rolling restart into a later release, in simulated milliseconds; none if there
    /// is no other release; never in a build that cannot run one.
    pub upgrade_interval_ms: Option<u64>,
    /// Whether machines accept connections for processes that died, so that probes say nothing.
    pub sidecars: bool,
}

/// Which faults may strike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Faults {
    /// A process dies and starts again.
    pub process_crash: bool,
    /// A machine loses power and starts again.
    pub power_loss: bool,
    /// Every machine loses power at once.
    pub power_loss_of_all: bool,
    /// A node stands still for a while.
    pub pause: bool,
    /// A minority of the controllers loses its volume, or a broker does.
    pub lost_volume: bool,
    /// The network is cut between nodes, in one direction or both.
    pub partition: bool,
    /// Syncs fail.
    pub sync_error: bool,
    /// A disk is full for a while.
    pub disk_full: bool,
    /// A disk takes its time for a while.
    pub slow_disk: bool,
    /// A node stops in order and starts again.
    pub restart: bool,
    /// Controllers are given votes and lose them again.
    pub membership: bool,
    /// A machine loses power though acknowledgements do not wait for disks: one at a time, while every partition has
    /// another replica in sync that keeps running.
    pub unsynced_power_loss: bool,
    /// A bit of what was durable is another when its node starts again.
    pub bit_rot: bool,
    /// The same while its node leads the partition, where no start may look: a read has to find it.
    pub rot_while_running: bool,
    /// A request for another ISR comes once more, late: its connection broke, and the leader asked over another one.
    pub late_request: bool,
}

/// What of a seed's options says how many copies hold what was acknowledged.
struct Copies {
    synced: bool,
    replication_factor: i16,
    min_insync_replicas: i16,
    may_move: bool,
}

impl Faults {
    /// None of them.
    pub const NONE: Self = Self {
        process_crash: false,
        power_loss: false,
        power_loss_of_all: false,
        pause: false,
        lost_volume: false,
        partition: false,
        sync_error: false,
        disk_full: false,
        slow_disk: false,
        restart: false,
        membership: false,
        unsynced_power_loss: false,
        late_request: false,
        bit_rot: false,
        rot_while_running: false,
    };

    /// Faults that came later, drawn apart from the others: a seed without them does what it did before.
    fn with_those_drawn_apart(self, seed: u64, copies: &Copies) -> Self {
        let mut late = Rng::new(seed).fork("late requests");
        // Somebody else must hold what was committed, whatever becomes of the rest: nobody who needs no disk, has lost
        // his volume, or is alone where a move ends.
        let spares_a_log =
            copies.synced && copies.min_insync_replicas > 1 && !self.lost_volume && !copies.may_move;
        Self {
            // Two copies must be there whenever one is lost: with a minimum of one a single one may count as all.
            unsynced_power_loss: !copies.synced
                && copies.replication_factor > 1
                && copies.min_insync_replicas > 1
                && !copies.may_move
                && late.permille(700),
            late_request: copies.replication_factor > 1 && late.permille(400),
            slow_disk: Rng::new(seed).fork("slow disks").permille(250),
            // Where one of two directories fails a broker has somewhere to go on.
            sync_error: self.sync_error || copies.synced && second_directories(seed).1,
            bit_rot: spares_a_log && Rng::new(seed).fork("bit rot").permille(800),
            rot_while_running: spares_a_log && Rng::new(seed).fork("running rot").permille(500),
            ..self
        }
    }
}

impl Options {
    /// What a seed decides.
    pub fn of(seed: u64) -> Self {
        let mut rng = Rng::new(seed).fork("options");
        let mut controller_count = *rng.pick(&[1, 3, 3, 3, 3, 5]);
        // Drawn apart, so that other seeds stay what they are.
        let mut members = Rng::new(seed).fork("membership");
        let membership = controller_count >= 3 && members.permille(250);
        let mut first_voter_count = controller_count;
        if membership {
            controller_count = 5;
            first_voter_count = *members.pick(&[1, 3, 3, 5]);
        }
        let broker_count = *rng.pick(&[0, 0, 1, 2]);
        let alone = controllers_alone(Rng::new(seed).fork("roles"));
        let broker_count = alone.unwrap_or(broker_count);
        let serving_count = if alone.is_some() { broker_count } else { controller_count + broker_count };
        let (replication_factor, min_insync_replicas) = copies(&mut rng, serving_count);
        // With a minimum of one the ISR may come down to a volume that is lost already, and nobody knows who else
        // has all of it.
        let spares_a_volume = replication_factor == 1 || min_insync_replicas > 1;
        let synced = !rng.permille(200);
        let mut often = |permille| rng.permille(permille);
        let faults = Faults {
            process_crash: often(600),
            power_loss: often(600) && synced,
            power_loss_of_all: often(300) && synced,
            pause: often(300),
            lost_volume: often(300) && controller_count >= 3 && spares_a_volume && synced,
            partition: often(500),
            sync_error: often(200) && synced,
            disk_full: often(150) && synced,
            restart: often(300),
            membership,
            ..Faults::NONE
        };
        // A volume may be lost only where a second copy holds everything, before, during and after a move.
        let may_move =
            serving_count > 1 && (!faults.lost_volume || replication_factor > 1 && min_insync_replicas > 1);
        let reassignment_interval_ms = moves(Rng::new(seed).fork("moves")).filter(|_| may_move);
        let copies = Copies {
            synced,
            replication_factor,
            min_insync_replicas,
            may_move: reassignment_interval_ms.is_some(),
        };
        let faults = faults.with_those_drawn_apart(seed, &copies);
        Self {
            seed,
            racks: replication_factor > 1 && Rng::new(seed).fork("racks").permille(300),
            reassignment_interval_ms,
            // An only replica whose directory fails on the way there has no leader until somebody decides: its copy may lack
            // what nobody knows of.
            directory_change_interval_ms: directory_changes(seed)
                .filter(|_| replication_factor > 1 || !faults.sync_error),
            controller_count,
            controllers_alone: alone.is_some(),
            first_voter_count,
            broker_count,
            replication_factor,
            min_insync_replicas,
            synced,
            replica_fetch_bytes_max: *rng.pick(&[100, 2_000, 1 << 20]),
            client_count: u32::try_from(rng.range(1..5)).expect("a small number"),
            topic_count: u32::try_from(rng.range(1..4)).expect("a small number"),
            deletes_topics: rng.permille(300),
            chaos_ms: rng.range(5_000..30_000),
            fault_interval_ms: *rng.pick(&[200, 500, 1500, 4000]),
            faults,
            conditions: conditions(&mut rng),
            sync_micros_max: *rng.pick(&[500, 5_000, 50_000]),
            id_step: *rng.pick(&[1, 1, 10]),
            // Drawn apart, too.
            second_directories: second_directories(seed).0,
            sidecars: rng.permille(200),
            upgrade_interval_ms: upgrades(Rng::new(seed).fork("upgrades")),
            clock_jump_ms_max: clock_jumps(Rng::new(seed).fork("clock jumps")),
        }
        .focused(Rng::new(seed).fork("focus"))
    }

    /// In some seeds one fault has the field to itself, and time: what it shows must not be undone by others before.
    fn focused(self, mut rng: Rng) -> Self {
        let focus = rng.below(10);
        let alone = Self { reassignment_interval_ms: None, upgrade_interval_ms: None, ..self.clone() };
        match focus {
            // Followers leave their ISR and come back, and what was asked for them then comes again much later.
            0 if self.replication_factor > 1 => Self {
                chaos_ms: rng.range(20_000..30_000),
                fault_interval_ms: 4_000,
                faults: Faults { restart: true, late_request: true, ..Faults::NONE },
                ..alone
            },
            // Replicas lose the ends of their logs, one after another.
            1 if self.replication_factor > 1 && self.min_insync_replicas > 1 => Self {
                synced: false,
                fault_interval_ms: 1_500,
                faults: Faults { unsynced_power_loss: true, ..Faults::NONE },
                ..alone
            },
            _ => self,
        }
    }

    /// A cluster of three that nothing happens to.
    pub fn calm(seed: u64) -> Self {
        Self {
            controller_count: 3,
            controllers_alone: false,
            first_voter_count: 3,
            broker_count: 0,
            replication_factor: 3,
            min_insync_replicas: 2,
            synced: true,
            second_directories: false,
            id_step: 1,
            client_count: 2,
            topic_count: 2,
            deletes_topics: false,
            reassignment_interval_ms: None,
            directory_change_interval_ms: None,
            chaos_ms: 5_000,
            conditions: Conditions::CALM,
            sync_micros_max: 1_000,
            clock_jump_ms_max: None,
            upgrade_interval_ms: None,
            faults: Faults::NONE,
            ..Self::of(seed)
        }
    }
}

/// Whether nodes have two log directories, and whether syncs fail then though they otherwise would not.
fn second_directories(seed: u64) -> (bool, bool) {
    let mut rng = Rng::new(seed).fork("directories");
    let two = rng.permille(300);
    (two, two && rng.permille(600))
}

/// How often replicas change their directory.
fn directory_changes(seed: u64) -> Option<u64> {
    let mut rng = Rng::new(seed).fork("directory changes");
    let some = second_directories(seed).0 && rng.permille(700);
    some.then(|| *rng.pick(&[50, 200, 1_000]))
}

/// How often replicas are moved. Drawn apart, so that a seed without moves does what it did before there were any.
fn moves(mut rng: Rng) -> Option<u64> {
    rng.permille(350).then(|| *rng.pick(&[100, 400, 1_000, 3_000]))
}

/// How many brokers there are where controllers are nothing else.
fn controllers_alone(mut rng: Rng) -> Option<u32> {
    rng.permille(200).then(|| *rng.pick(&[1, 2, 3, 3, 4]))
}

/// How many replicas a partition has, and how many of them must be in sync.
fn copies(rng: &mut Rng, serving_count: u32) -> (i16, i16) {
    let replication_factor = match serving_count {
        1 => 1,
        2 => *rng.pick(&[1, 2, 2]),
        _ => *rng.pick(&[1, 2, 3, 3, 3]),
    };
    (replication_factor, if replication_factor > 1 { *rng.pick(&[1, 2, 2]) } else { 1 })
}

fn upgrades(mut rng: Rng) -> Option<u64> {
    (planted::AVAILABLE && rng.permille(200)).then(|| *rng.pick(&[200, 500, 1_000]))
}

/// From seconds to a day.
fn clock_jumps(mut rng: Rng) -> Option<u64> {
    rng.permille(250).then(|| *rng.pick(&[5_000, 600_000, 86_400_000]))
}

fn conditions(rng: &mut Rng) -> Conditions {
    let loses = rng.permille(500);
    let repeats = rng.permille(300);
    let slow = rng.permille(400);
    Conditions {
        delay_micros_min: 50,
        delay_micros_max: *rng.pick(&[300, 2_000, 20_000]),
        slow_permille: if slow { *rng.pick(&[5, 50, 200]) } else { 0 },
        slow_micros_max: *rng.pick(&[100_000, 1_000_000]),
        loss_permille: if loses { *rng.pick(&[5, 30, 150]) } else { 0 },
        duplicate_permille: if repeats { *rng.pick(&[10, 100]) } else { 0 },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_take_different_faults_and_a_seed_always_the_same() {
        assert_eq!(Options::of(9), Options::of(9));
        let faults: Vec<Faults> = (0..50).map(|seed| Options::of(seed).faults).collect();
        assert!(
            faults.iter().any(|faults| faults.partition) && faults.iter().any(|faults| !faults.partition)
        );
        assert!(faults.iter().any(|faults| faults.lost_volume));
    }

    #[test]
    fn controllers_alone_leave_a_broker_to_serve() {
        let alone: Vec<Options> =
            (0..300).map(Options::of).filter(|options| options.controllers_alone).collect();
        assert!(alone.len() > 30);
        assert!(alone.iter().all(|options| {
            let most = options.replication_factor.max(1);
            options.broker_count >= u32::try_from(most).unwrap()
        }));
    }

    #[test]
    fn a_volume_is_lost_only_where_a_majority_remains() {
        let few = (0..300).map(Options::of).filter(|options| options.controller_count < 3);
        assert!(few.into_iter().all(|options| !options.faults.lost_volume));
    }
}
