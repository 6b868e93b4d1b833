//! A rolling restart into a later release, under load and faults, and what follows: its formats are put to use
//! (KIP-584), and nobody goes back.
//!
//! Nodes begin with the release there is; one after another is stopped in order and started with a later one, which
//! knows one level of `ottla.version` more (`ottla_core::release`), and now and then one is put back. When all run the
//! later release, or too early, somebody asks for the new level. From then on the earlier release must not follow: who
//! is started with it all the same ends itself, and a request for the old level is refused.

use ottla_core::controller::operation::{FeatureUpdate, UpdateFeatures, UpgradeType};
use ottla_core::controller::{Operation, OperationError};
use ottla_core::ids::NodeId;
use ottla_core::lifecycle::CallError;
use ottla_core::metadata::image::Image;
use ottla_core::release::{self, FORMATS, LEVEL_FIRST};

use super::node::Node;
use super::process::CallResult;
use super::{Event, Simulation};
use crate::checkers::{Rule, Violation};
use crate::coverage::Happening;
use crate::options::Options;
use crate::rng::Rng;

/// The level that the later release knows, and the earlier one does not.
const LEVEL_NEXT: i16 = LEVEL_FIRST + 1;

/// How often in a thousand a node is put back to the earlier release, instead of another being restarted.
const BACK_PERMILLE: u32 = 150;

/// How often in a thousand the level is asked for while some run the earlier release.
const TOO_EARLY_PERMILLE: u32 = 100;

/// Replies to it go to a life that no node has.
pub(super) const NOBODY: u64 = u64::MAX - 1;

/// See the module's text.
#[derive(Debug)]
pub(super) struct Upgrade {
    rng: Rng,
    interval_ms: u64,
    /// Whether somebody has asked for the new level, and may have got it.
    asked: bool,
}

impl Upgrade {
    pub(super) fn new(rng: Rng, options: &Options) -> Option<Self> {
        Some(Self { rng, interval_ms: options.upgrade_interval_ms?, asked: false })
    }

    /// How long until the next step.
    pub(super) fn wait_ms(&mut self) -> u64 {
        self.rng.range(self.interval_ms / 2..self.interval_ms * 2)
    }
}

/// A release of the software.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Release {
    Earlier,
    Later,
}

impl Release {
    /// The highest level that it knows.
    fn level_max(self) -> i16 {
        match self {
            Self::Earlier => LEVEL_FIRST,
            Self::Later => LEVEL_NEXT,
        }
    }

    /// From here on this thread runs it.
    pub(super) fn run(self) {
        release::run_as(self.level_max());
    }
}

fn level(image: Option<&Image>) -> i16 {
    image.and_then(|image| image.features.get(FORMATS)).copied().unwrap_or_default()
}

impl Simulation {
    /// The next step of the way to the later release.
    pub(super) fn upgrade(&mut self) -> Result<(), Violation> {
        let level = level(self.checks.committed.newest());
        let Some(upgrade) = &mut self.upgrade else { return Ok(()) };
        let wait = upgrade.wait_ms();
        self.events.at(self.events.now().plus_millis(wait), Event::Upgrade);
        if level == 0 {
            // A cluster begins with all that its first controller knows.
            return Ok(());
        }
        let earlier = self.nodes.values().find(|node| node.release == Release::Earlier);
        let earlier = earlier.map(|node| node.identity.node_id);
        let all_later = self.nodes.values().all(|node| node.runs == Release::Later);
        if self.calm {
            return if all_later && level < LEVEL_NEXT { self.ask_for(LEVEL_NEXT) } else { Ok(()) };
        }
        let back = upgrade.rng.permille(BACK_PERMILLE);
        // A controller that is no broker tells nobody what it can run.
        let too_early = upgrade.rng.permille(TOO_EARLY_PERMILLE) && !self.options.controllers_alone;
        match earlier {
            _ if back => self.put_back(),
            Some(_) if too_early => return self.ask_for(LEVEL_NEXT),
            Some(earlier) => self.restart_as(earlier, Release::Later),
            None if level == LEVEL_NEXT => return self.ask_for(LEVEL_FIRST),
            None if all_later => return self.ask_for(LEVEL_NEXT),
            None => {}
        }
        Ok(())
    }

    /// A node gets the earlier release again.
    fn put_back(&mut self) {
        let Some(upgrade) = &mut self.upgrade else { return };
        // While the level may be on its way, the earlier release is not started where nobody would know of it.
        if upgrade.asked && self.options.controllers_alone {
            return;
        }
        let later: Vec<NodeId> = self
            .nodes
            .values()
            .filter(|node| node.release == Release::Later)
            .map(|node| node.identity.node_id)
            .collect();
        if !later.is_empty() {
            let node = *upgrade.rng.pick(&later);
            self.restart_as(node, Release::Earlier);
        }
    }

    /// One at a time, and only while all others work.
    fn restart_as(&mut self, id: NodeId, release: Release) {
        let works = |node: &Node| {
            node.planned.is_none() && node.process.as_ref().is_some_and(super::Process::is_running)
        };
        let Some(upgrade) = self.upgrade.as_mut().filter(|_| self.nodes.values().all(works)) else { return };
        let down_ms = upgrade.rng.range(30..1_000);
        self.trace.line(self.events.now(), format_args!("{id} gets {release:?}"));
        self.checks.coverage.note(match release {
            Release::Later => Happening::Upgraded,
            Release::Earlier => Happening::PutBack,
        });
        self.nodes.get_mut(&id).expect("nodes do not go").release = release;
        self.stop_in_order(id, down_ms);
    }

    /// Asks every controller for a level: one of them may be active.
    fn ask_for(&mut self, level: i16) -> Result<(), Violation> {
        let Some(upgrade) = &mut self.upgrade else { return Ok(()) };
        upgrade.asked |= level == LEVEL_NEXT;
        let kind = match level {
            LEVEL_NEXT => UpgradeType::Upgrade,
            _ => *upgrade.rng.pick(&[UpgradeType::SafeDowngrade, UpgradeType::UnsafeDowngrade]),
        };
        let asked = FeatureUpdate { name: FORMATS.to_owned(), level, kind };
        self.trace.line(self.events.now(), format_args!("{asked:?}"));
        let controllers = self.nodes.values().filter(|node| node.identity.is_controller);
        let controllers: Vec<NodeId> = controllers.map(|node| node.identity.node_id).collect();
        for to in controllers {
            let updates = vec![asked.clone()];
            let operation = Operation::UpdateFeatures(UpdateFeatures { updates, validate_only: false });
            let number = level.unsigned_abs().into();
            self.step(to, |process, now| process.rpc(now, to, NOBODY, number, operation))?;
        }
        Ok(())
    }

    /// What came of a request for a level.
    pub(super) fn level_answered(&mut self, number: u64, reply: &CallResult) {
        let refused = matches!(reply, Err(CallError::Refused(OperationError::InvalidUpdateVersion(_))));
        if refused {
            let first = number == u64::from(LEVEL_FIRST.unsigned_abs());
            let what = if first { Happening::DowngradeRefused } else { Happening::LevelRefused };
            self.checks.coverage.note(what);
        }
    }

    /// A process shows a picture: of a level that its release knows, and not of a lower one than there was.
    pub(super) fn check_level(&mut self, id: NodeId, image: &Image) -> Result<(), Violation> {
        if self.upgrade.is_none() {
            return Ok(());
        }
        let (runs, shown) = (self.nodes[&id].runs, level(Some(image)));
        let newest = self.checks.committed.newest();
        if shown > runs.level_max() {
            let text = format!("node {id} runs {runs:?} and follows metadata of level {shown}");
            return Err(Violation::new(Rule::CommittedMetadata, text));
        }
        if newest.is_some_and(|newest| newest.offset < image.offset && level(Some(newest)) > shown) {
            let text = format!("node {id} shows level {shown} after a higher one");
            return Err(Violation::new(Rule::CommittedMetadata, text));
        }
        if shown == LEVEL_NEXT && level(newest) < LEVEL_NEXT {
            self.checks.coverage.note(Happening::LevelFinalised);
        }
        Ok(())
    }

    /// Whether a process may end itself, or not start, since its release is an earlier one than the cluster's. Whoever
    /// watches over it starts the later one then.
    pub(super) fn is_outdated(&mut self, id: NodeId, reason: &str) -> bool {
        let asked = self.upgrade.as_ref().is_some_and(|upgrade| upgrade.asked);
        let node = self.nodes.get_mut(&id).expect("nodes do not go");
        // What it does not know is the level, as it reads or as the controller says to it, or a record of that level.
        let is_said = [FORMATS, "this release"].iter().any(|said| reason.contains(said));
        if !asked || node.runs != Release::Earlier || !is_said {
            return false;
        }
        node.release = Release::Later;
        self.checks.coverage.note(Happening::OutdatedEnded);
        true
    }

    /// When faults end every node gets the later release.
    pub(super) fn finish_upgrade(&mut self) {
        if self.upgrade.is_some() {
            self.nodes.values_mut().for_each(|node| node.release = Release::Later);
        }
    }

    /// What is not done yet of the upgrade.
    pub(super) fn unfinished_upgrade(&self) -> Option<String> {
        let level = level(self.checks.committed.newest());
        (self.upgrade.is_some() && level < LEVEL_NEXT).then(|| format!("{FORMATS} is at level {level}"))
    }
}
