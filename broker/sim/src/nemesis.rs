//! Which fault strikes next. Draws only; the cluster makes it happen and ends it.

use ottla_core::ids::NodeId;

use crate::disk::CrashKind;
use crate::network::Peer;
use crate::options::{Faults, Options};
use crate::rng::Rng;

/// The most that a slow disk takes until a piece of work is done; that it is comes up to a quarter later. With two pauses of
/// the process on top, of which each counts for two seconds at most, that stays below the 10 s after which it gives a disk up.
const SLOW_MICROS: [u64; 3] = [200_000, 1_000_000, 4_000_000];

/// Something that goes wrong, and for how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// A node stops, at once or while it writes, and starts again.
    Crash {
        /// Which.
        node: NodeId,
        /// What its disk keeps.
        kind: CrashKind,
        /// How many more changing operations of its disk it gets done; `None` stops it at once.
        after_operations: Option<u64>,
        /// How long it stays down.
        down_ms: u64,
    },
    /// A node stops in order and starts again.
    Restart {
        /// Which.
        node: NodeId,
        /// How long it stays down.
        down_ms: u64,
    },
    /// Every node stops in order at once, as a cluster that is shut down: nobody is left to ask.
    RestartOfAll {
        /// How long each stays down.
        down_ms: u64,
    },
    /// Every node stops at once.
    PowerLossOfAll {
        /// What the disks keep.
        kind: CrashKind,
        /// How long all stay down.
        down_ms: u64,
    },
    /// A node stands still.
    Pause {
        /// Which.
        node: NodeId,
        /// How long.
        ms: u64,
    },
    /// A node stops and starts again with an empty volume.
    LoseVolume {
        /// Which.
        node: NodeId,
        /// How long it stays down.
        down_ms: u64,
    },
    /// A controller is given a vote, or loses it.
    ChangeVoters {
        /// Which.
        node: NodeId,
    },
    /// Nothing passes in some directions.
    Cut {
        /// Which.
        directions: Vec<(Peer, Peer)>,
        /// How long.
        ms: u64,
    },
    /// Some syncs of a node fail.
    SyncError {
        /// Which node's.
        node: NodeId,
        /// How many of a thousand.
        permille: u32,
        /// How long.
        ms: u64,
    },
    /// Somebody sets the wall clock of a node.
    JumpClock {
        /// Which node's.
        node: NodeId,
        /// How far, forward or back.
        by_ms: i64,
    },
    /// A node's disk is full but for some bytes.
    DiskFull {
        /// Which node's.
        node: NodeId,
        /// What still fits of records.
        room_bytes: u64,
        /// What still fits besides: as long as there is some, records are refused and nothing fails.
        reserve_bytes: u64,
        /// How long.
        ms: u64,
    },
    /// A node's disk is slow.
    SlowDisk {
        /// Which node's.
        node: NodeId,
        /// The most that one piece of its work takes, in microseconds.
        work_micros_max: u64,
        /// How long.
        ms: u64,
    },
}

/// What the next fault may depend on.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    /// Every node.
    pub nodes: &'a [NodeId],
    /// Nodes whose volume may be lost without losing a majority of what the voters promised.
    pub expendable: &'a [NodeId],
}

/// Draws faults.
#[derive(Debug)]
pub struct Nemesis {
    rng: Rng,
    kinds: Vec<Kind>,
    interval_ms: u64,
    clock_jump_ms_max: u64,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    ProcessCrash,
    PowerLoss,
    PowerLossOfAll,
    Pause,
    LoseVolume,
    ChangeVoters,
    Cut,
    SyncError,
    DiskFull,
    SlowDisk,
    Restart,
    JumpClock,
}

impl Nemesis {
    /// Draws the faults that the options allow.
    pub fn new(rng: Rng, options: &Options) -> Self {
        let Faults {
            process_crash,
            power_loss,
            power_loss_of_all,
            pause,
            lost_volume,
            partition,
            sync_error,
            disk_full,
            slow_disk,
            restart,
            membership,
            unsynced_power_loss,
            // Aimed, not drawn.
            late_request: _,
            bit_rot: _,
            rot_while_running: _,
        } = options.faults;
        let kinds = [
            (process_crash, Kind::ProcessCrash),
            (power_loss || unsynced_power_loss, Kind::PowerLoss),
            (power_loss_of_all, Kind::PowerLossOfAll),
            (pause, Kind::Pause),
            (lost_volume, Kind::LoseVolume),
            (partition, Kind::Cut),
            (sync_error, Kind::SyncError),
            (disk_full, Kind::DiskFull),
            (slow_disk, Kind::SlowDisk),
            (restart, Kind::Restart),
            (membership, Kind::ChangeVoters),
            (membership, Kind::ChangeVoters),
            (options.clock_jump_ms_max.is_some(), Kind::JumpClock),
        ];
        let kinds = kinds.into_iter().filter(|(allowed, _)| *allowed).map(|(_, kind)| kind).collect();
        let clock_jump_ms_max = options.clock_jump_ms_max.unwrap_or_default();
        Self { rng, kinds, interval_ms: options.fault_interval_ms, clock_jump_ms_max }
    }

    /// How long until the next fault.
    pub fn wait_ms(&mut self) -> u64 {
        self.rng.range(1..2 * self.interval_ms)
    }

    /// The next fault, if one is possible.
    pub fn draw(&mut self, view: View<'_>) -> Option<Fault> {
        if self.kinds.is_empty() {
            return None;
        }
        let kind = *self.rng.pick(&self.kinds);
        let node = *self.rng.pick(view.nodes);
        let ms = self.duration_ms();
        let down_ms = ms;
        Some(match kind {
            Kind::ProcessCrash => {
                let after_operations = self.operations();
                Fault::Crash { node, kind: CrashKind::Process, after_operations, down_ms }
            }
            Kind::PowerLoss => {
                let after_operations = self.operations();
                Fault::Crash { node, kind: self.power_loss(), after_operations, down_ms }
            }
            Kind::PowerLossOfAll => Fault::PowerLossOfAll { kind: self.power_loss(), down_ms },
            Kind::Pause => Fault::Pause { node, ms },
            Kind::LoseVolume => {
                if view.expendable.is_empty() {
                    return None;
                }
                Fault::LoseVolume { node: *self.rng.pick(view.expendable), down_ms }
            }
            Kind::ChangeVoters => Fault::ChangeVoters { node },
            Kind::Cut => Fault::Cut { directions: self.directions(view.nodes), ms },
            Kind::SyncError => {
                Fault::SyncError { node, permille: *self.rng.pick(&[20, 200, 1000]), ms: ms.min(2_000) }
            }
            // So long that the last one to stop does not see the first one again.
            Kind::Restart if self.rng.permille(200) => Fault::RestartOfAll { down_ms: down_ms.max(6_000) },
            Kind::Restart => Fault::Restart { node, down_ms },
            Kind::JumpClock => {
                let by_ms = self.rng.below(2 * self.clock_jump_ms_max + 1).cast_signed();
                Fault::JumpClock { node, by_ms: by_ms - self.clock_jump_ms_max.cast_signed() }
            }
            Kind::DiskFull => {
                let (room_bytes, reserve_bytes) = (self.rng.below(64 << 10), *self.rng.pick(&[0, 1 << 20]));
                Fault::DiskFull { node, room_bytes, reserve_bytes, ms }
            }
            Kind::SlowDisk => Fault::SlowDisk { node, work_micros_max: *self.rng.pick(&SLOW_MICROS), ms },
        })
    }

    fn duration_ms(&mut self) -> u64 {
        let most = *self.rng.pick(&[50, 500, 3_000, 12_000]);
        self.rng.range(1..most)
    }

    fn operations(&mut self) -> Option<u64> {
        self.rng.permille(700).then(|| self.rng.below(30))
    }

    fn power_loss(&mut self) -> CrashKind {
        *self.rng.pick(&[CrashKind::PowerAllLost, CrashKind::PowerSomeLost])
    }

    /// One node from all others, or two sides, or a random mesh; whole or in one direction.
    fn directions(&mut self, nodes: &[NodeId]) -> Vec<(Peer, Peer)> {
        let side: Vec<bool> = match self.rng.below(3) {
            0 => {
                let alone = self.rng.index(nodes.len());
                (0..nodes.len()).map(|i| i == alone).collect()
            }
            _ => nodes.iter().map(|_| self.rng.permille(500)).collect(),
        };
        let both = self.rng.permille(600);
        let mesh = self.rng.permille(200);
        let mut directions = Vec::new();
        for (i, from) in nodes.iter().enumerate() {
            for (j, to) in nodes.iter().enumerate() {
                let cut = if mesh { self.rng.permille(300) } else { side[i] != side[j] && (both || side[i]) };
                if i != j && cut {
                    directions.push((Peer::Node(*from), Peer::Node(*to)));
                }
            }
        }
        directions
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_allowed_faults_are_drawn_and_all_of_them() {
        let nodes = [NodeId(0), NodeId(1), NodeId(2)];
        let view = View { nodes: &nodes, expendable: &nodes[..1] };
        let mut options = Options::calm(1);
        assert_eq!(Nemesis::new(Rng::new(1), &options).draw(view), None);
        options.faults.lost_volume = true;
        options.faults.pause = true;
        let mut nemesis = Nemesis::new(Rng::new(1), &options);
        let drawn: Vec<Fault> = (0..50).filter_map(|_| nemesis.draw(view)).collect();
        assert!(drawn.iter().any(|fault| matches!(fault, Fault::Pause { .. })));
        let lost = |fault: &Fault| matches!(fault, Fault::LoseVolume { node: NodeId(0), .. });
        assert!(drawn.iter().all(|fault| matches!(fault, Fault::Pause { .. }) || lost(fault)));
    }
}
