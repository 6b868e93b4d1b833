//! Makes faults happen, and ends them.

use ottla_core::controller::operation::AlterPartition;
use ottla_core::ids::{DirectoryId, NodeId};

use super::node::{PLACES, Planned, SECOND_DIRECTORY};
use super::process::{self, StartError};
use super::{Event, LIVENESS_MS, Simulation, TICK_MICROS};
use crate::checkers::{Rule, Violation};
use crate::clock::SimTime;
use crate::coverage::Happening;
use crate::disk::CrashKind;
use crate::nemesis::{Fault, View};
use crate::network::{Conditions, Peer};

/// How long a node that was to stop while writing may go on without writing.
const PLANNED_CRASH_MS: u64 = 1_000;

/// How often in a thousand a piece of work at the disk is aimed at.
const AIMED_PERMILLE: u32 = 5;

/// How often in a thousand a replica that changes its directory is.
const AIMED_AT_ADOPTION_PERMILLE: u32 = 300;

/// How often in a thousand a request for another ISR is.
const AIMED_AT_ISR_PERMILLE: u32 = 500;

/// How often in a thousand such a request comes once more, late.
const LATE_PERMILLE: u32 = 400;

/// How often in a thousand the second log directory of a node that starts is missing.
const LACKS_SECOND_PERMILLE: u32 = 150;

/// How often in a thousand syncs fail in the second log directory alone.
const SECOND_ALONE_PERMILLE: u32 = 700;

/// How long a node may take to stop in order.
const PATIENCE_MS: u64 = 5_000;

/// How long whoever watches over a process waits before it starts it again.
const RESTART_MS: u64 = 500;

impl Simulation {
    /// The next fault, and when the one after it comes.
    pub(super) fn strike(&mut self) -> Result<(), Violation> {
        if self.calm {
            return Ok(());
        }
        let wait = self.nemesis.wait_ms();
        self.events.at(self.events.now().plus_millis(wait), Event::Strike);
        let nodes: Vec<NodeId> = self.nodes.keys().copied().collect();
        let expendable = self.expendable();
        let Some(fault) = self.nemesis.draw(View { nodes: &nodes, expendable: &expendable }) else {
            return Ok(());
        };
        if !self.leaves_a_good_copy(&fault) {
            return Ok(());
        }
        self.trace.line(self.events.now(), format_args!("FAULT {fault:?}"));
        self.count(&fault);
        if let Fault::ChangeVoters { node } = fault {
            return self.change_voters(node);
        }
        self.make_happen(fault);
        Ok(())
    }

    /// Faults drawn at random seldom hit the moment between a promise and its durability, so some are aimed.
    pub(super) fn aim_at_vote(&mut self, voter: DirectoryId, candidate: DirectoryId) {
        let allowed = self.options.faults.power_loss_of_all && !self.calm && voter != candidate;
        if !allowed || !self.rng.permille(200) {
            return;
        }
        let candidate = self.nodes.values().find(|node| node.identity.directory_id == candidate);
        if let Some(candidate) = candidate.map(|node| node.identity.node_id) {
            self.events.after_micros(1, Event::PowerLossAtVote { candidate });
        }
    }

    /// The same for a disk at work: the power goes in the middle of it.
    pub(super) fn aim_at_work(&mut self, id: NodeId, life: u64) {
        let allowed = self.options.faults.power_loss && !self.calm && self.lives(id, life);
        if !allowed || self.nodes[&id].planned.is_some() || !self.rng.permille(AIMED_PERMILLE) {
            return;
        }
        let kind = *self.rng.pick(&[CrashKind::PowerAllLost, CrashKind::PowerSomeLost]);
        let (operations, down_ms) = (self.rng.below(4), self.rng.range(30..2_000));
        let node = self.nodes.get_mut(&id).expect("nodes do not go");
        node.planned = Some(Planned { kind, down_ms, in_order: false });
        node.disk.crash_after(operations);
        self.trace.line(self.events.now(), format_args!("FAULT {id} loses power while its disk works"));
        self.checks.coverage.note(Happening::PowerLossAtWork);
        let late = self.events.now().plus_millis(PLANNED_CRASH_MS);
        self.events.at(late, Event::CrashNow { node: id, life });
    }

    /// And for a replica on its way to another directory: that one's disk fails as it is adopted.
    pub(super) fn aim_at_adoption(&mut self, id: NodeId, to: usize) {
        let allowed = self.options.faults.sync_error && !self.calm;
        if !allowed || !self.rng.permille(AIMED_AT_ADOPTION_PERMILLE) {
            return;
        }
        // Before its copy has its name, or after.
        let names = self.rng.permille(500);
        let what = if names { "names" } else { "files" };
        self.trace.line(self.events.now(), format_args!("FAULT {id} cannot sync {what} in directory {to}"));
        let node = self.nodes.get_mut(&id).expect("nodes do not go");
        let directory = node.disk.within(PLACES[to]);
        match names {
            true => directory.set_name_sync_error(true),
            false => directory.set_sync_error_permille(1_000),
        }
        let ms = self.rng.range(20..200);
        self.mend_disk_after(id, ms);
        if self.options.faults.process_crash && self.rng.permille(500) {
            self.crash_soon(id);
        }
    }

    /// A process dies within a tenth of a second.
    fn crash_soon(&mut self, id: NodeId) {
        let (wait, down_ms) = (self.rng.range(100..100_000), self.rng.range(30..12_000));
        let node = self.nodes.get_mut(&id).expect("nodes do not go");
        node.planned = Some(Planned { kind: CrashKind::Process, down_ms, in_order: false });
        let life = node.life;
        self.events.after_micros(wait, Event::CrashNow { node: id, life });
    }

    /// And for a change of the ISR: the leader that asks for it dies about when the controller decides.
    pub(super) fn aim_at_isr_change(&mut self, leader: NodeId) {
        let allowed = self.options.faults.process_crash && !self.calm && !self.watch.anybody_in_doubt();
        if !allowed || !self.rng.permille(AIMED_AT_ISR_PERMILLE) {
            return;
        }
        self.trace.line(self.events.now(), format_args!("FAULT {leader} dies as its ISR changes"));
        self.checks.coverage.note(Happening::CrashAtIsrChange);
        self.crash_soon(leader);
    }

    /// And one more: a request for another ISR has a late copy, and the follower that it adds is away from its leader
    /// when that one arrives. Returns after how long it does, in microseconds.
    pub(super) fn aim_late_request(&mut self, leader: NodeId, asked: &AlterPartition) -> Option<u64> {
        let allowed = self.options.faults.late_request && !self.calm;
        if !allowed || !self.rng.permille(LATE_PERMILLE) {
            return None;
        }
        let joins = asked.partitions.iter().find_map(|asked| {
            let image = self.checks.committed.newest()?;
            let isr = &image.partition(asked.partition.topic_id, asked.partition.partition)?.isr;
            asked.isr.iter().map(|(id, _)| *id).find(|id| !isr.contains(id))
        });
        let late_ms = match joins {
            None => self.rng.range(1_000..12_000),
            Some(one) => {
                // By then the follower has left the ISR again, and others have gone on.
                let (wait_ms, ms) = (self.rng.range(50..1_000), self.rng.range(8_500..13_000));
                self.events.after_micros(wait_ms * 1_000, Event::Separate { one, other: leader, ms });
                ms
            }
        };
        self.checks.coverage.note(Happening::LateRequest);
        let text = format_args!("FAULT what {leader} asks for comes again after {late_ms} ms");
        self.trace.line(self.events.now(), text);
        Some(late_ms * 1_000)
    }

    /// Two nodes do not reach each other.
    pub(super) fn separate(&mut self, one: NodeId, other: NodeId, ms: u64) {
        if self.calm {
            return;
        }
        self.trace.line(self.events.now(), format_args!("FAULT {one} and {other} do not reach each other"));
        self.checks.coverage.note(Happening::Cut);
        self.network.cut(Peer::Node(one), Peer::Node(other));
        self.network.cut(Peer::Node(other), Peer::Node(one));
        self.cuts += 1;
        self.events.at(self.events.now().plus_millis(ms), Event::Heal { cut: self.cuts });
    }

    /// Where acknowledgements do not wait for disks, nobody stops while a machine that lost power has not registered
    /// again, and none loses power unless everything is in order and others in sync hold what it has.
    fn leaves_a_good_copy(&self, fault: &Fault) -> bool {
        if !self.options.faults.unsynced_power_loss {
            return true;
        }
        match fault {
            Fault::Crash { kind: CrashKind::Process, .. }
            | Fault::Restart { .. }
            | Fault::RestartOfAll { .. } => !self.watch.anybody_in_doubt(),
            Fault::Crash { node, .. } => {
                !self.watch.anybody_in_doubt()
                    && self.nodes.values().all(|node| node.planned.is_none())
                    && self.all_know_the_newest_metadata()
                    && self.checks.committed.spares(*node)
                    && self.checks.committed.partitions_only_on(*node).is_empty()
            }
            Fault::PowerLossOfAll { .. }
            | Fault::Pause { .. }
            | Fault::LoseVolume { .. }
            | Fault::ChangeVoters { .. }
            | Fault::Cut { .. }
            | Fault::SyncError { .. }
            | Fault::JumpClock { .. }
            | Fault::SlowDisk { .. }
            | Fault::DiskFull { .. } => true,
        }
    }

    pub(super) fn power_loss_at_vote(&mut self, candidate: NodeId) {
        if self.calm {
            return;
        }
        self.trace.line(self.events.now(), format_args!("FAULT power is lost after a vote for {candidate}"));
        self.checks.coverage.note(Happening::PowerLossAtVote);
        let nodes: Vec<NodeId> = self.nodes.keys().copied().collect();
        for node in nodes {
            let down_ms = if node == candidate { 6_000 } else { self.rng.range(30..200) };
            self.crash(node, CrashKind::PowerAllLost, down_ms);
        }
    }

    fn count(&mut self, fault: &Fault) {
        self.checks.coverage.note(match fault {
            Fault::Crash { kind: CrashKind::Process, .. } => Happening::ProcessCrash,
            Fault::Crash { .. } => Happening::PowerLoss,
            Fault::PowerLossOfAll { .. } => Happening::PowerLossOfAll,
            Fault::Restart { .. } => Happening::Restart,
            Fault::RestartOfAll { .. } => Happening::RestartOfAll,
            Fault::Pause { .. } => Happening::Pause,
            Fault::LoseVolume { .. } => Happening::LostVolume,
            Fault::Cut { .. } => Happening::Cut,
            Fault::JumpClock { .. } => Happening::ClockJumped,
            // Counted where they are felt.
            Fault::SyncError { .. }
            | Fault::DiskFull { .. }
            | Fault::SlowDisk { .. }
            | Fault::ChangeVoters { .. } => return,
        });
    }

    fn make_happen(&mut self, fault: Fault) {
        let now = self.events.now();
        match fault {
            Fault::Crash { node, kind, after_operations, down_ms } => {
                let stopping = self.nodes.get_mut(&node).expect("faults strike nodes there are");
                stopping.planned = Some(Planned { kind, down_ms, in_order: false });
                // Later others may have stopped, too.
                let at_once = self.options.faults.unsynced_power_loss && kind != CrashKind::Process;
                match after_operations.filter(|_| !at_once) {
                    Some(operations) if stopping.process.is_some() => {
                        stopping.disk.crash_after(operations);
                        let life = stopping.life;
                        self.events.at(now.plus_millis(PLANNED_CRASH_MS), Event::CrashNow { node, life });
                    }
                    Some(_) | None => self.crash_as_planned(node),
                }
            }
            Fault::Restart { node, down_ms } => self.stop_in_order(node, down_ms),
            Fault::RestartOfAll { down_ms } => {
                let nodes: Vec<NodeId> = self.nodes.keys().copied().collect();
                nodes.into_iter().for_each(|node| self.stop_in_order(node, down_ms));
            }
            Fault::PowerLossOfAll { kind, down_ms } => {
                let nodes: Vec<NodeId> = self.nodes.keys().copied().collect();
                for node in nodes {
                    self.crash(node, kind, down_ms);
                }
            }
            Fault::Pause { node, ms } => {
                let node = self.nodes.get_mut(&node).expect("faults strike nodes there are");
                // What came in an earlier pause has been put off to its end.
                node.paused_until = node.paused_until.max(now.plus_millis(ms));
            }
            Fault::LoseVolume { node, down_ms } => self.lose_volume(node, down_ms),
            Fault::ChangeVoters { .. } => unreachable!("it is asked for, and does not just happen"),
            Fault::Cut { directions, ms } => {
                self.network.heal();
                for (from, to) in directions {
                    self.network.cut(from, to);
                }
                self.cuts += 1;
                self.events.at(now.plus_millis(ms), Event::Heal { cut: self.cuts });
            }
            Fault::SyncError { node, permille, ms } => {
                let second_alone =
                    self.options.second_directories && self.rng.permille(SECOND_ALONE_PERMILLE);
                let faulty = self.nodes.get_mut(&node).expect("faults strike nodes there are");
                match second_alone {
                    true => faulty.disk.within(SECOND_DIRECTORY).set_sync_error_permille(permille),
                    false => faulty.disk.set_sync_error_permille(permille),
                }
                self.mend_disk_after(node, ms);
            }
            Fault::JumpClock { node, by_ms } => {
                self.nodes.get_mut(&node).expect("faults strike nodes there are").clock.jump(by_ms);
            }
            Fault::DiskFull { node, room_bytes, reserve_bytes, ms } => {
                let full = self.nodes.get_mut(&node).expect("faults strike nodes there are");
                full.disk.set_capacity_bytes(full.disk.used_bytes() + reserve_bytes + room_bytes);
                full.disk.set_reserve_bytes(reserve_bytes);
                self.mend_disk_after(node, ms);
            }
            Fault::SlowDisk { node, work_micros_max, ms } => {
                self.nodes.get_mut(&node).expect("faults strike nodes there are").slow_micros =
                    Some(work_micros_max);
                self.mend_disk_after(node, ms);
            }
        }
    }

    fn mend_disk_after(&mut self, id: NodeId, ms: u64) {
        let node = self.nodes.get_mut(&id).expect("faults strike nodes there are");
        node.disk_fault += 1;
        let fault = node.disk_fault;
        self.events.at(self.events.now().plus_millis(ms), Event::DiskMended { node: id, fault });
    }

    pub(super) fn stop_in_order(&mut self, id: NodeId, down_ms: u64) {
        let now = self.events.now();
        let node = self.nodes.get_mut(&id).expect("faults strike nodes there are");
        let clocks = node.now(now);
        let Some(process) = &mut node.process else { return };
        process.shut_down(clocks);
        // Whoever stops a process in order loses patience at last.
        node.planned = Some(Planned { kind: CrashKind::Process, down_ms, in_order: true });
        let life = node.life;
        self.events.at(now.plus_millis(PATIENCE_MS), Event::CrashNow { node: id, life });
    }

    /// Then nobody acts on an ISR that the controller has changed already.
    pub(super) fn all_know_the_newest_metadata(&self) -> bool {
        let last = self.checks.committed.last();
        self.nodes.values().all(|node| {
            node.process.as_ref().is_some_and(|process| process.is_running() && process.applied() >= last)
        })
    }

    /// Stops a node the way it was planned.
    pub(super) fn crash_as_planned(&mut self, node: NodeId) {
        let planned = self.nodes[&node].planned;
        let (kind, down_ms) =
            planned.map_or((CrashKind::Process, RESTART_MS), |Planned { kind, down_ms, .. }| (kind, down_ms));
        self.crash(node, kind, down_ms);
    }

    pub(super) fn crash(&mut self, id: NodeId, kind: CrashKind, down_ms: u64) {
        let now = self.events.now();
        self.trace.line(now, format_args!("{id} crashes: {kind:?}, back in {down_ms} ms"));
        let node = self.nodes.get_mut(&id).expect("nodes do not go");
        node.process = None;
        node.planned = None;
        node.life += 1;
        node.disk = node.disk.crash(kind);
        node.paused_until = SimTime::default();
        let (life, is_broker) = (node.life, node.identity.is_broker);
        self.events.at(now.plus_millis(down_ms), Event::Start { node: id, life });
        self.watch.touch(id);
        if kind != CrashKind::Process && !self.options.synced && is_broker {
            self.watch.lost_power(id, self.checks.committed.newest());
        }
    }

    /// If the disk's countdown ran out, the node stops here.
    pub(super) fn crash_if_disk_stopped(&mut self, node: NodeId) -> bool {
        let stopped = self.nodes[&node].disk.is_stopped();
        if stopped {
            self.checks.coverage.note(Happening::CrashWhileWriting);
            self.crash_as_planned(node);
        }
        stopped
    }

    fn lose_volume(&mut self, id: NodeId, down_ms: u64) {
        self.crash(id, CrashKind::PowerAllLost, down_ms);
        let node = self.nodes.get_mut(&id).expect("nodes do not go");
        let lost = node.identity.directory_id;
        node.replace_volume();
        self.checks.votes.wiped(lost);
        for partition in self.checks.committed.partitions_only_on(id) {
            self.checks.excuse(partition);
        }
        let new = self.nodes[&id].identity.directory_id;
        self.trace.line(self.events.now(), format_args!("{id} lost {lost} and has {new} now"));
    }

    pub(super) fn mend_disk(&mut self, node: NodeId, fault: u64) {
        let mended = self.nodes.get_mut(&node).expect("nodes do not go");
        if mended.disk_fault == fault {
            mended.mend_disk();
            self.trace.line(self.events.now(), format_args!("{node} has a good disk again"));
        }
    }

    /// A process has stopped in order.
    pub(super) fn stopped(&mut self, id: NodeId) {
        self.trace.line(self.events.now(), format_args!("{id} has stopped in order"));
        self.checks.coverage.note(Happening::OrderlyStop);
        self.crash_as_planned(id);
    }

    /// Whoever watches over a process that goes on without one of its log directories, or with an earlier release than it
    /// should, starts it again at last.
    pub(super) fn start_again(&mut self, id: NodeId) {
        self.crash(id, CrashKind::Process, RESTART_MS);
    }

    /// A process ended itself, as it must when its disk fails; whoever watches over it starts it again.
    pub(super) fn ended_itself(&mut self, id: NodeId, reason: &str) -> Result<(), Violation> {
        self.trace.line(self.events.now(), format_args!("{id} ends itself: {reason}"));
        if self.is_outdated(id, reason) {
            self.crash(id, CrashKind::Process, RESTART_MS);
            return Ok(());
        }
        if self.nodes[&id].disk_was_good() {
            let text = format!("node {id} ends itself though its disk is good: {reason}");
            return Err(Violation::new(Rule::NoPanic, text));
        }
        self.checks.coverage.note(Happening::EndedItself);
        self.crash(id, CrashKind::Process, RESTART_MS);
        Ok(())
    }

    /// Starts a node on what its disk holds.
    pub(super) fn start(&mut self, id: NodeId, life: u64) -> Result<(), Violation> {
        let now = self.events.now();
        let seed = self.rng.fork(&format!("process {id} {life}"));
        let node = &self.nodes[&id];
        if node.life != life || node.process.is_some() {
            return Ok(());
        }
        // An only replica that is on its way has no leader without the directory that it comes from (decision 0047).
        let spares_second =
            self.options.replication_factor > 1 || self.options.directory_change_interval_ms.is_none();
        let may_lack = !self.calm && self.options.second_directories && spares_second;
        let lacks_second = may_lack && self.rng.permille(LACKS_SECOND_PERMILLE);
        self.nodes.get_mut(&id).expect("nodes do not go").lacks_second = lacks_second;
        self.rot(id);
        let node = self.nodes.get_mut(&id).expect("nodes do not go");
        node.restart_clock(now);
        node.runs = node.release;
        node.runs.run();
        match process::start(node, node.now(now), seed) {
            Ok(process) => {
                self.trace.line(now, format_args!("{id} starts its life {life}"));
                node.process = Some(process);
                self.events.after_micros(TICK_MICROS, Event::Tick { node: id, life });
                self.step(id, |process, now| process.settle(now))
            }
            Err(StartError::Disk(error)) => {
                self.trace.line(now, format_args!("{id} cannot start: {error}"));
                if !node.disk.is_stopped() {
                    return self.ended_itself(id, &error);
                }
                self.crash_as_planned(id);
                Ok(())
            }
            Err(StartError::Refused(error)) => {
                if self.is_outdated(id, &error) {
                    self.trace.line(now, format_args!("{id} does not start: {error}"));
                    self.crash(id, CrashKind::Process, RESTART_MS);
                    return Ok(());
                }
                let text = format!("node {id} refuses to start on its volume: {error}");
                Err(Violation::new(Rule::NoPanic, text))
            }
        }
    }

    /// Everything is mended; now the cluster must come back.
    pub(super) fn calm_down(&mut self) {
        let now = self.events.now();
        self.trace.line(now, format_args!("CALM"));
        self.calm = true;
        self.network.heal();
        self.network.set_conditions(Conditions::CALM);
        let ids: Vec<NodeId> = self.nodes.keys().copied().collect();
        for id in ids {
            let node = self.nodes.get_mut(&id).expect("nodes do not go");
            // Who stands still goes on when it would have: what reached it meanwhile waits until then.
            node.mend_disk();
            // A stop in order goes on: that is no fault.
            let strikes = self.nodes[&id].planned.is_some_and(|planned| !planned.in_order);
            if strikes && self.nodes[&id].process.is_some() {
                self.crash_as_planned(id);
            }
            let life = self.nodes[&id].life;
            self.events.at(now, Event::Start { node: id, life });
        }
        self.finish_upgrade();
        for client in self.clients.values_mut() {
            client.finish();
        }
        self.events.at(now.plus_millis(LIVENESS_MS), Event::Deadline);
    }
}
