//! The way of one replica into another log directory of its broker, one step after the other (KIP-113, decision 0047).
//!
//! [`Copier`] says what is to be done next and hears what came of it; it knows neither threads nor time. Batches of the
//! replica's log are brought to its future log. When that has everything [`Replicas::caught_up`] is asked; when the
//! controller has taken the new directory the replica is frozen and handed over, what is left is brought, and the future
//! log is adopted. If that cannot be, the replica goes back to where it was.
//!
//! ```text
//! Give ⇄ Read … Decide ─Switch─▶ HandOver, Give ⇄ Read … Adopt ─▶ End
//!                                                          └────▶ Back [, AskWhetherKnown …], TakeBack
//! ```

use std::time::Duration;

#[cfg(doc)]
use super::Replicas;
use crate::ids::Offset;
#[cfg(doc)]
use crate::shard::Shard;
use crate::shard::{Copied, CopyFrom, FollowProblem};

/// How often a copy that has everything looks whether there is more, and whether the controller knows.
const IDLE: Duration = Duration::from_millis(50);

/// How often a copy that cannot go on tries again.
const PATIENCE: Duration = Duration::from_secs(1);

/// Between two tries to adopt a replica: its copy is under sync, or there is no descriptor.
const ADOPTION_WAIT: Duration = Duration::from_millis(5);

/// So often a controller is waited for in silence.
const WAITS_TOLD: u32 = 200;

/// A file that is gone once is looked for so often: it may have been cut in between.
const TRIES_MAX: u32 = 5;

/// What is to be done next.
#[derive(Debug)]
pub enum CopyStep<H> {
    /// [`Shard::copied`], in the directory of the copy: [`Heard::GoesOn`].
    Give(Option<(Offset, Copied)>),
    /// [`Shard::begin_copy`] there, if the copy is wanted still: [`Heard::Done`].
    MakeFuture,
    /// [`Shard::locate_copy`] in the directory of the replica, and what it says is to be read: [`Heard::Part`] or
    /// [`Heard::Cut`].
    Read(CopyFrom),
    /// To wait until so many more bytes may be brought (`replica.alter.log.dirs.io.max.bytes.per.second`):
    /// [`Heard::Done`].
    Pace(usize),
    /// To wait, and to tell a person if there is something to tell: [`Heard::Done`].
    Wait(Duration, Option<LongWait>),
    /// [`Replicas::caught_up`], and what follows from it: [`Heard::Next`].
    Decide,
    /// [`Shard::hand_over`] in the directory of the replica: [`Heard::HandedOver`]. From here on nobody may end the copy.
    HandOver,
    /// [`Shard::adopt`] in the directory of the copy: [`Heard::Done`] or [`Heard::NotAdopted`].
    Adopt(Box<H>),
    /// [`Replicas::moved_back`], and what follows from it: [`Heard::Done`].
    Back {
        /// Whether the controller has to know before the replica serves again: nobody knows how long that takes.
        is_long: bool,
    },
    /// [`Replicas::is_known_in`], of the directory where the replica was: [`Heard::IsKnown`].
    AskWhetherKnown,
    /// [`Shard::take_back`] where the replica was: [`Heard::Done`] or [`Heard::NotTakenBack`].
    TakeBack(Box<H>),
    /// Nothing but this: it is over.
    End(CopyOutcome<H>),
}

/// What somebody may want to know who waits for a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LongWait {
    /// It cannot take what is there, and tries again.
    Copy(FollowProblem),
    /// The controller has not taken the replica's directory for ten seconds.
    Controller,
}

/// What came of a step.
#[derive(Debug)]
pub enum Heard<H> {
    /// It was done.
    Done,
    /// From where the copy goes on; `None` if there is no future log for it.
    GoesOn(Option<CopyFrom>),
    /// What the replica's log has for it.
    Part(Copied),
    /// What was to be read is not there any more, or so it seems: the log was cut meanwhile.
    Cut(String),
    /// What the driver says about a copy that has everything.
    Next(CopyNext),
    /// What the replica takes with it; `None` if it does not serve.
    HandedOver(Option<Box<H>>),
    /// It was not adopted.
    NotAdopted {
        /// What was given to it; `None` if that is gone with its directory.
        handed: Option<Box<H>>,
        /// Whether the same may be tried again ([`Shard::may_adopt`]).
        may_retry: bool,
        /// Whether the copy may have got the replica's name all the same, so that a start would take it for that.
        may_be_in_place: bool,
    },
    /// Whether the controller knows that the replica is there again.
    IsKnown(bool),
    /// It cannot be taken back; with what was given to it unless that is gone with its directory.
    NotTakenBack(Option<Box<H>>),
    /// The directory has failed, or cannot do it: why.
    Failed(String),
    /// Nobody wants that replica here any more, or nobody is there to be asked.
    Unwanted,
}

/// What is next for a copy that has everything, by [`Replicas::caught_up`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CopyNext {
    /// To go on copying: the controller has not taken the directory yet.
    GoOn,
    /// To have the replica handed over: the routes say that it is there.
    Switch,
    /// To end.
    End,
}

/// How a copy ended.
#[derive(Debug)]
pub enum CopyOutcome<H> {
    /// Nobody wanted it any more.
    Unwanted,
    /// The replica stays where it is, and why ([`Replicas::give_up`]).
    Stays(String),
    /// The replica is in the other directory: [`Shard::remove_frozen`] where it was. What the other has of it by now is
    /// durable under its name.
    WentOver,
    /// The replica is where it was. What waits for it in the other directory is refused.
    Back,
    /// The replica was gone before it could be handed over, or before it could go back: what was handed over is an orphan
    /// where it was, and so is the copy ([`Shard::orphan`]).
    Gone(Option<Box<H>>),
    /// The replica is lost on its way, with its directory: orphans as above.
    Lost(Option<Box<H>>),
}

/// What the answer to the last step is needed for.
#[derive(Debug)]
enum State {
    /// The copy takes something.
    Giving,
    /// The copy takes the last of a frozen log: where that begins.
    GivingLast,
    /// There is no future log, and nobody looks for a while.
    Missing,
    MakingFuture,
    /// The copy could not take something, and nobody tries for a while.
    Stalled(CopyFrom),
    Reading(CopyFrom),
    /// This is there, and is to be given when the time for it has come.
    Bringing(Offset, Copied),
    Deciding,
    WaitingForController,
    HandingOver,
    Adopting,
    WaitingToAdopt,
    GoingBack {
        is_long: bool,
    },
    Asking,
    WaitingUntilKnown,
    TakingBack,
    Ended,
}

/// See the module's text.
#[derive(Debug)]
pub struct Copier<H> {
    state: State,
    /// What was handed over, but while a directory has it.
    handed: Option<Box<H>>,
    /// Whether the replica was handed over: nothing is appended to it.
    is_frozen: bool,
    /// How often in a row it did not go on.
    tries: u32,
    /// How often the controller was waited for.
    waits: u32,
    had_everything: bool,
}

impl<H> Copier<H> {
    /// A copier, and its first step.
    pub fn begin() -> (Self, CopyStep<H>) {
        let state = State::Giving;
        let copier =
            Self { state, handed: None, is_frozen: false, tries: 0, waits: 0, had_everything: false };
        (copier, CopyStep::Give(None))
    }

    /// Whether it is to have a turn (`num.replica.alter.log.dirs.threads`) for its next step. It needs one until the copy has
    /// everything for the first time: what is appended from then on is little, and must not wait for the copies of others;
    /// nor must others wait for one that cannot go on.
    pub fn needs_turn(&self) -> bool {
        let brings = matches!(self.state, State::Giving | State::Reading(_) | State::Bringing(..));
        brings && !self.had_everything
    }

    /// Hears what came of the last step, and says which one is next.
    ///
    /// # Panics
    /// If that is no answer to that step.
    pub fn next(&mut self, heard: Heard<H>) -> CopyStep<H> {
        match (std::mem::replace(&mut self.state, State::Ended), heard) {
            (State::Giving, Heard::GoesOn(Some(from))) => self.goes_on(from),
            (State::Giving, Heard::GoesOn(None)) if self.is_frozen => {
                self.cannot("its copy is gone".to_owned())
            }
            (State::Giving, Heard::GoesOn(None)) => self.wait(State::Missing, PATIENCE, None),
            (State::GivingLast, Heard::GoesOn(_)) => self.adopt(),
            (State::Missing, Heard::Done) => self.step(State::MakingFuture, CopyStep::MakeFuture),
            (State::MakingFuture | State::WaitingForController, Heard::Done) => self.give(None),
            (State::Stalled(from), Heard::Done) => self.step(State::Reading(from), CopyStep::Read(from)),
            (State::Reading(from), Heard::Part(part)) => self.brought(from, part),
            (State::Reading(_), Heard::Cut(_)) if self.tries < TRIES_MAX => {
                self.tries += 1;
                self.give(None)
            }
            (State::Reading(_), Heard::Cut(why))
            | (State::Giving | State::GivingLast | State::Reading(_), Heard::Failed(why)) => self.cannot(why),
            (State::Bringing(from, part), Heard::Done) => self.give(Some((from, part))),
            (State::Deciding, Heard::Next(next)) => self.decided(next),
            (State::HandingOver, Heard::HandedOver(None)) => CopyStep::End(CopyOutcome::Gone(None)),
            (State::HandingOver, Heard::HandedOver(Some(handed))) => {
                (self.handed, self.is_frozen, self.tries) = (Some(handed), true, 0);
                self.give(None)
            }
            (State::Adopting, Heard::Done) => CopyStep::End(CopyOutcome::WentOver),
            (State::Adopting, Heard::NotAdopted { handed: None, .. }) => {
                CopyStep::End(CopyOutcome::Lost(None))
            }
            (State::Adopting, Heard::NotAdopted { handed, may_retry, may_be_in_place }) => {
                self.handed = handed;
                match may_retry {
                    true => self.wait(State::WaitingToAdopt, ADOPTION_WAIT, None),
                    false => self.back(may_be_in_place),
                }
            }
            (State::WaitingToAdopt, Heard::Done) => self.adopt(),
            (State::GoingBack { is_long: false }, Heard::Done) | (State::Asking, Heard::IsKnown(true)) => {
                self.with_handed(State::TakingBack, CopyStep::TakeBack)
            }
            (State::GoingBack { is_long: true } | State::WaitingUntilKnown, Heard::Done) => {
                self.step(State::Asking, CopyStep::AskWhetherKnown)
            }
            (State::Asking, Heard::IsKnown(false)) => self.wait_for_controller(State::WaitingUntilKnown),
            (State::TakingBack, Heard::Done) => CopyStep::End(CopyOutcome::Back),
            (State::TakingBack, Heard::NotTakenBack(handed)) => CopyStep::End(CopyOutcome::Lost(handed)),
            (State::MakingFuture | State::Deciding, Heard::Unwanted) => CopyStep::End(CopyOutcome::Unwanted),
            (State::GoingBack { .. } | State::Asking, Heard::Unwanted) => {
                CopyStep::End(CopyOutcome::Gone(self.handed.take()))
            }
            (_, _) => unreachable!("each step has answers of its own"),
        }
    }

    fn step(&mut self, state: State, step: CopyStep<H>) -> CopyStep<H> {
        self.state = state;
        step
    }

    fn wait(&mut self, state: State, time: Duration, told: Option<LongWait>) -> CopyStep<H> {
        self.step(state, CopyStep::Wait(time, told))
    }

    fn wait_for_controller(&mut self, state: State) -> CopyStep<H> {
        self.waits += 1;
        self.wait(state, IDLE, (self.waits == WAITS_TOLD).then_some(LongWait::Controller))
    }

    fn give(&mut self, given: Option<(Offset, Copied)>) -> CopyStep<H> {
        self.step(State::Giving, CopyStep::Give(given))
    }

    fn with_handed(&mut self, state: State, step: fn(Box<H>) -> CopyStep<H>) -> CopyStep<H> {
        match self.handed.take() {
            Some(handed) => self.step(state, step(handed)),
            None => unreachable!("nobody else has it"),
        }
    }

    fn adopt(&mut self) -> CopyStep<H> {
        self.with_handed(State::Adopting, CopyStep::Adopt)
    }

    /// Nothing was appended since the replica was handed over: it goes on where it was. If the copy may have got its name, a
    /// start would take that for the replica while the controller believes in its directory: so that is told first.
    fn back(&mut self, is_long: bool) -> CopyStep<H> {
        self.waits = 0;
        self.step(State::GoingBack { is_long }, CopyStep::Back { is_long })
    }

    fn cannot(&mut self, why: String) -> CopyStep<H> {
        if self.is_frozen { self.back(false) } else { CopyStep::End(CopyOutcome::Stays(why)) }
    }

    fn goes_on(&mut self, from: CopyFrom) -> CopyStep<H> {
        match from.problem {
            None => self.step(State::Reading(from), CopyStep::Read(from)),
            Some(problem @ (FollowProblem::Full | FollowProblem::NoDescriptor))
                if !self.is_frozen || self.tries < TRIES_MAX =>
            {
                self.tries = self.tries.saturating_add(1);
                let told = (self.tries == TRIES_MAX).then_some(LongWait::Copy(problem));
                self.wait(State::Stalled(from), PATIENCE, told)
            }
            Some(problem) => self.cannot(problem.to_string()),
        }
    }

    fn brought(&mut self, from: CopyFrom, part: Copied) -> CopyStep<H> {
        let length = match &part {
            Copied::Records { bytes, .. } => bytes.len(),
            Copied::Diverging(_) | Copied::BelowLogStart(_) => 0,
        };
        let has_all = length == 0 && matches!(part, Copied::Records { .. }) && from.problem.is_none();
        if from.problem.is_none() {
            self.tries = 0;
        }
        let given = (from.offset, part);
        match (has_all, self.is_frozen) {
            (true, true) => self.step(State::GivingLast, CopyStep::Give(Some(given))),
            (true, false) if from.is_ready => {
                self.had_everything = true;
                self.step(State::Deciding, CopyStep::Decide)
            }
            (true, false) => {
                self.had_everything = true;
                self.wait(State::Bringing(given.0, given.1), IDLE, None)
            }
            (false, false) if length > 0 => {
                self.step(State::Bringing(given.0, given.1), CopyStep::Pace(length))
            }
            (false, _) => self.give(Some(given)),
        }
    }

    fn decided(&mut self, next: CopyNext) -> CopyStep<H> {
        match next {
            CopyNext::End => CopyStep::End(CopyOutcome::Unwanted),
            CopyNext::Switch => self.step(State::HandingOver, CopyStep::HandOver),
            CopyNext::GoOn => {
                self.tries = 0;
                self.wait_for_controller(State::WaitingForController)
            }
        }
    }
}

#[cfg(test)]
mod tests;
