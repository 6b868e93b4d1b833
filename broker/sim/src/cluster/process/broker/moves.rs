//! Replicas that change their log directory: what the binary's tasks do for their [`Copier`]s, some of it with each event.
//!
//! What the metadata says of a replica on its way waits for it, as in the binary. What clients and followers ask of it is
//! refused here; the binary lets that wait, too. A log is read here at once, so that it is never cut meanwhile, and no
//! directory hangs, so that nothing is gone with one.

use bytes::Bytes;
use ottla_core::ids::{DirectoryId, TopicPartition};
use ottla_core::lifecycle::ProposalAnswer;
use ottla_core::log::find_rot;
use ottla_core::replicas::copier::{Copier, CopyNext, CopyOutcome, CopyStep, Heard};
use ottla_core::replicas::{CaughtUp, Move, Order, Relocated};
use ottla_core::shard::{Copied, CopyFrom, CopyPart, Handed};
use ottla_core::time::Monotonic;

use super::super::{Died, Now, Observation, Output};
use super::{Broker, Producer};
use crate::coverage::Happening;

/// How much is brought at once.
const CHUNK_BYTES: u32 = 2_000;

/// How often in a thousand a task does not get further with an event, because others were quicker.
const INTERRUPTED_PERMILLE: u32 = 300;

/// How often in a thousand a replica cannot be adopted, though its directory works.
const NOT_ADOPTED_PERMILLE: u32 = 50;

type HandedOver = Handed<Producer>;

/// A replica on its way.
pub(super) struct Copying {
    made: Move,
    copier: Copier<HandedOver>,
    pending: Pending,
    /// The replica is handed over, or about to be: nobody can end it.
    goes_over: bool,
    /// Now and then one cannot be adopted, as for want of a place.
    is_refused: bool,
}

/// What its task is at.
enum Pending {
    /// It has yet to do this.
    Step(CopyStep<HandedOver>),
    /// It hears this then.
    Heard(Heard<HandedOver>, Monotonic),
}

/// What the metadata says of a replica that is not there yet.
pub(super) enum Kept {
    Order(Order),
    Answer(ProposalAnswer),
}

impl Broker {
    /// Somebody asks for a replica in another directory.
    pub(crate) fn relocate(
        &mut self,
        partition: TopicPartition,
        to: usize,
        observations: &mut Vec<Observation>,
    ) {
        if let Ok(relocated) = self.replicas.relocate(partition, to) {
            observations.push(Observation::Happened(Happening::DirectoryChangeAsked));
            self.relocated(partition, &relocated);
        }
    }

    /// The replicas that are on their way to another directory.
    pub(crate) fn moving(&self) -> impl Iterator<Item = TopicPartition> + '_ {
        self.copies.values().map(|copying| copying.made.partition)
    }

    fn relocated(&mut self, partition: TopicPartition, relocated: &Relocated) {
        if relocated.is_stopped {
            self.stop_copies(partition);
            self.lifecycle.forget_assignment(partition);
        }
        if let Some(shard) = relocated.ended.and_then(|shard| self.shards[shard].as_mut()) {
            shard.end_copy(partition);
        }
        if let Some(shard) = relocated.orphaned {
            let order = self.replicas.orphan(shard, partition);
            self.order(order);
        }
        if let Some(directory) = relocated.assign {
            self.lifecycle.assign_directory(partition, directory);
        }
    }

    /// Nobody wants copies any more that the replica does not go over to.
    pub(super) fn stop_copies(&mut self, partition: TopicPartition) {
        self.copies.retain(|_, copying| copying.goes_over || copying.made.partition != partition);
    }

    /// The controller knows where a replica is.
    pub(super) fn assignment_accepted(&mut self, partition: TopicPartition, directory: DirectoryId) {
        for order in self.replicas.assignment_accepted(partition, directory) {
            if let Some(shard) = &mut self.shards[order.shard()] {
                shard.end_copy(partition);
            }
        }
    }

    /// What the metadata says waits from now on until the replica is there.
    fn expect(&mut self, shard: usize, partition: TopicPartition) {
        if let Some(expecting) = &mut self.shards[shard] {
            expecting.expect(partition);
        }
        self.expected.entry((shard, partition)).or_default();
    }

    /// Keeps it for a replica on its way there; gives it back if there is none.
    pub(super) fn keep(&mut self, shard: usize, partition: TopicPartition, kept: Kept) -> Option<Kept> {
        let works = self.shards[shard].as_ref().is_some_and(|shard| !shard.has_failed());
        match self.expected.get_mut(&(shard, partition)).filter(|_| works) {
            Some(expected) => {
                expected.push(kept);
                None
            }
            None => Some(kept),
        }
    }

    /// The replica is there, or will not come: what was kept for it is done, in order.
    pub(super) fn arrived(&mut self, shard: usize, partition: TopicPartition) {
        for kept in self.expected.remove(&(shard, partition)).unwrap_or_default() {
            match kept {
                Kept::Order(order) => self.order(order),
                Kept::Answer(answer) => self.proposal_answered(answer),
            }
        }
    }

    /// What came of a proposal, for the shard that has the replica.
    pub(super) fn proposal_answered(&mut self, answer: ProposalAnswer) {
        let partition = answer.partition;
        let Some(held) = self.replicas.routes().get(&partition).map(|held| held.shard) else { return };
        let Some(Kept::Answer(answer)) = self.keep(held, partition, Kept::Answer(answer)) else { return };
        if let Some(shard) = &mut self.shards[held] {
            shard.proposal_answered(partition, answer.made, answer.outcome);
        }
    }

    /// Goes on with each copy.
    pub(super) fn copy(
        &mut self,
        now: Now,
        outputs: &mut Vec<Output>,
        observations: &mut Vec<Observation>,
    ) -> Result<(), Died> {
        // Nothing comes to a directory that has failed.
        let has_failed = |shard: usize| self.shards[shard].as_ref().is_none_or(|shard| shard.has_failed());
        let given_up: Vec<_> =
            self.expected.keys().copied().filter(|(shard, _)| has_failed(*shard)).collect();
        given_up.into_iter().for_each(|(shard, partition)| self.arrived(shard, partition));
        for made in self.replicas.take_moves() {
            self.make_future(&made);
            let (copier, step) = Copier::begin();
            let is_refused = self.rng.permille(NOT_ADOPTED_PERMILLE);
            let copying =
                Copying { made, copier, pending: Pending::Step(step), goes_over: false, is_refused };
            self.next_copy += 1;
            self.copies.insert(self.next_copy, copying);
        }
        let numbers: Vec<u64> = self.copies.keys().copied().collect();
        for number in numbers {
            // One may have ended another.
            let Some(mut copying) = self.copies.remove(&number) else { continue };
            if self.go_on(&mut copying, now, outputs, observations)? {
                self.copies.insert(number, copying);
            }
        }
        Ok(())
    }

    /// Whether it goes on later.
    fn go_on(
        &mut self,
        copying: &mut Copying,
        now: Now,
        outputs: &mut Vec<Output>,
        observations: &mut Vec<Observation>,
    ) -> Result<bool, Died> {
        loop {
            // Something to have in its place.
            let pending = std::mem::replace(&mut copying.pending, Pending::Heard(Heard::Done, Monotonic(0)));
            let step = match pending {
                Pending::Step(step) => step,
                Pending::Heard(heard, at) if at <= now.monotonic => copying.copier.next(heard),
                later @ Pending::Heard(..) => {
                    copying.pending = later;
                    return Ok(true);
                }
            };
            let mut at = now.monotonic;
            if let CopyStep::Wait(time, _) = &step {
                at = at.plus(*time);
            }
            let interrupted = self.rng.permille(INTERRUPTED_PERMILLE) || matches!(step, CopyStep::Read(_));
            let hands_over = matches!(step, CopyStep::HandOver);
            match self.take_step(copying, step, now, observations) {
                Ok(heard) => copying.pending = Pending::Heard(heard, at),
                Err(outcome) => {
                    self.copy_ended(&copying.made, outcome, observations);
                    return Ok(false);
                }
            }
            if hands_over {
                // What it has to say of the replica comes before what the other has.
                self.perform(now, outputs, observations)?;
            }
            if interrupted {
                return Ok(true);
            }
        }
    }

    /// Does a step, or says how the copy ended.
    fn take_step(
        &mut self,
        copying: &mut Copying,
        step: CopyStep<HandedOver>,
        now: Now,
        observations: &mut Vec<Observation>,
    ) -> Result<Heard<HandedOver>, CopyOutcome<HandedOver>> {
        let made = &copying.made;
        let Move { partition, from, to, .. } = *made;
        Ok(match step {
            CopyStep::Give(given) => {
                let shard = self.shards[to].as_mut().filter(|shard| !shard.has_failed());
                let given = shard.map(|shard| (shard.copied(partition, given, now.wall), shard.has_failed()));
                match given {
                    Some((goes_on, false)) => Heard::GoesOn(goes_on),
                    Some((_, true)) | None => failed("its other log directory"),
                }
            }
            CopyStep::MakeFuture => {
                self.make_future(made);
                Heard::Done
            }
            CopyStep::Read(goes_on) => self.read_copy(made, goes_on),
            CopyStep::Pace(_) | CopyStep::Wait(..) => Heard::Done,
            CopyStep::Decide => Heard::Next(self.decide(copying)),
            CopyStep::HandOver => {
                observations.push(Observation::HandedOver { to });
                let shard = self.shards[from].as_mut();
                Heard::HandedOver(shard.and_then(|shard| shard.hand_over(partition)))
            }
            CopyStep::Adopt(handed) if copying.is_refused => {
                Heard::NotAdopted { handed: Some(handed), may_retry: false, may_be_in_place: false }
            }
            CopyStep::Adopt(handed) => self.adopt(made, handed, observations),
            CopyStep::Back { .. } => match self.move_back(made) {
                true => Heard::Done,
                false => Heard::Unwanted,
            },
            CopyStep::AskWhetherKnown => {
                observations.push(Observation::Happened(Happening::DirectoryAwaited));
                self.replicas.is_known_in(partition, from).map_or(Heard::Unwanted, Heard::IsKnown)
            }
            CopyStep::TakeBack(handed) => {
                let taken = match &mut self.shards[from] {
                    Some(shard) => shard.take_back(partition, handed),
                    None => Err(handed),
                };
                match taken {
                    Ok(()) => {
                        self.arrived(from, partition);
                        Heard::Done
                    }
                    Err(handed) => Heard::NotTakenBack(Some(handed)),
                }
            }
            CopyStep::End(outcome) => return Err(outcome),
        })
    }

    fn make_future(&mut self, made: &Move) {
        if let Some(shard) = &mut self.shards[made.to] {
            shard.begin_copy(made.partition, &made.topic, &made.config);
        }
    }

    fn read_copy(&mut self, made: &Move, goes_on: CopyFrom) -> Heard<HandedOver> {
        let partition = made.partition;
        let Some(shard) = &mut self.shards[made.from] else { return failed("its log directory") };
        let (plan, log_start) = match shard.locate_copy(partition, goes_on, CHUNK_BYTES) {
            Ok(CopyPart::Diverging(end)) => return Heard::Part(Copied::Diverging(end)),
            Ok(CopyPart::BelowLogStart(offset)) => return Heard::Part(Copied::BelowLogStart(offset)),
            Ok(CopyPart::Records { plan, log_start, .. }) if plan.length == 0 => {
                return Heard::Part(Copied::Records { bytes: Bytes::new(), log_start });
            }
            Ok(CopyPart::Records { plan, log_start, .. }) => (plan, log_start),
            Err(error) => return Heard::Failed(error.to_string()),
        };
        let bytes = match plan.run() {
            Ok(bytes) => bytes,
            Err(error) => {
                shard.disk_failed(&error);
                return failed("its log directory");
            }
        };
        if let Some(at) = find_rot(plan.segment, plan.position, &bytes) {
            let _whatever_comes_of_it = shard.found_rot(partition, at);
            return Heard::Failed("its log is rotten".to_owned());
        }
        Heard::Part(Copied::Records { bytes, log_start })
    }

    fn decide(&mut self, copying: &mut Copying) -> CopyNext {
        let Move { partition, to, .. } = copying.made;
        match self.replicas.caught_up(partition, to) {
            CaughtUp::End => {
                let relocated = self.replicas.give_up(partition, to);
                self.relocated(partition, &relocated);
                CopyNext::End
            }
            CaughtUp::Assign(directory) => {
                self.lifecycle.assign_directory(partition, directory);
                CopyNext::GoOn
            }
            CaughtUp::Switch => {
                copying.goes_over = true;
                self.expect(to, partition);
                CopyNext::Switch
            }
        }
    }

    fn adopt(
        &mut self,
        made: &Move,
        handed: Box<HandedOver>,
        observations: &mut Vec<Observation>,
    ) -> Heard<HandedOver> {
        let (partition, to) = (made.partition, made.to);
        let Some(shard) = &mut self.shards[to] else { unreachable!("it has a copy") };
        match shard.adopt(partition, handed) {
            Ok(()) => {
                observations.push(Observation::Happened(Happening::DirectoryChanged));
                self.arrived(to, partition);
                Heard::Done
            }
            Err(handed) => {
                let (may_retry, may_be_in_place) = (shard.may_adopt(partition), shard.has_failed());
                Heard::NotAdopted { handed: Some(handed), may_retry, may_be_in_place }
            }
        }
    }

    /// False if it is not wanted any more.
    fn move_back(&mut self, made: &Move) -> bool {
        let Move { partition, from, to, .. } = *made;
        self.stop_copies(partition);
        let Some((order, relocated)) = self.replicas.moved_back(partition, from, to) else {
            let is_held = self.replicas.routes().contains_key(&partition);
            if let Some(shard) = self.shards[from].as_mut().filter(|_| !is_held) {
                shard.remove_frozen(partition);
            }
            return false;
        };
        self.expect(from, partition);
        self.order(order);
        self.lifecycle.forget_assignment(partition);
        // This copy has yet to have the replica taken back.
        self.relocated(partition, &Relocated { is_stopped: false, ..relocated });
        true
    }

    fn copy_ended(
        &mut self,
        made: &Move,
        outcome: CopyOutcome<HandedOver>,
        observations: &mut Vec<Observation>,
    ) {
        let Move { partition, from, to, .. } = *made;
        match outcome {
            CopyOutcome::Unwanted => return,
            CopyOutcome::Stays(_) => {
                let relocated = self.replicas.give_up(partition, to);
                return self.relocated(partition, &relocated);
            }
            CopyOutcome::WentOver => {
                if let Some(shard) = &mut self.shards[from] {
                    shard.remove_frozen(partition);
                }
            }
            CopyOutcome::Back => {
                observations.push(Observation::Happened(Happening::DirectoryChangeTakenBack));
                // What the metadata says of it is said where it is.
                self.expected.remove(&(to, partition));
            }
            CopyOutcome::Gone(handed) | CopyOutcome::Lost(handed) => {
                if let Some((handed, shard)) = handed.zip(self.shards[from].as_mut()) {
                    shard.give_up(handed);
                    self.arrived(from, partition);
                }
                let order = self.replicas.orphan(to, partition);
                self.carry_out(order);
            }
        }
        let orders = self.replicas.switch_ended(partition);
        orders.into_iter().for_each(|order| self.order(order));
    }
}

fn failed(what: &str) -> Heard<HandedOver> {
    Heard::Failed(format!("{what} has failed"))
}
