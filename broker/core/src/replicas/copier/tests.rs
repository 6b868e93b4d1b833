use bytes::Bytes;

use super::*;
use crate::ids::LeaderEpoch;
use crate::log::EpochEnd;

type Step = CopyStep<&'static str>;

fn from(offset: i64) -> CopyFrom {
    CopyFrom { offset: Offset(offset), last_epoch: None, is_ready: true, problem: None }
}

fn troubled(problem: FollowProblem) -> Heard<&'static str> {
    Heard::GoesOn(Some(CopyFrom { problem: Some(problem), ..from(0) }))
}

fn records(bytes: &'static str) -> Heard<&'static str> {
    Heard::Part(Copied::Records { bytes: Bytes::from_static(bytes.as_bytes()), log_start: Offset(0) })
}

/// What a step is, in a word, with what it carries.
fn said(step: &Step) -> String {
    match step {
        CopyStep::Give(None) => "give nothing".to_owned(),
        CopyStep::Give(Some((Offset(at), Copied::Records { bytes, .. }))) => {
            format!("give {:?} at {at}", String::from_utf8_lossy(bytes))
        }
        CopyStep::Give(Some((Offset(at), _))) => format!("give a cut at {at}"),
        CopyStep::Read(from) => format!("read {}", from.offset.0),
        CopyStep::Wait(time, told) => format!("wait {time:?} {told:?}"),
        CopyStep::MakeFuture
        | CopyStep::Pace(_)
        | CopyStep::Decide
        | CopyStep::HandOver
        | CopyStep::Adopt(_)
        | CopyStep::Back { .. }
        | CopyStep::AskWhetherKnown
        | CopyStep::TakeBack(_)
        | CopyStep::End(_) => format!("{step:?}"),
    }
}

/// A copier under way.
struct Way {
    copier: Copier<&'static str>,
    last: String,
}

impl Way {
    fn begin() -> Self {
        let (copier, step) = Copier::begin();
        Self { copier, last: said(&step) }
    }

    /// Hears each of these, and says what is next after the last of them.
    fn hears(&mut self, heard: impl IntoIterator<Item = Heard<&'static str>>) -> &str {
        for heard in heard {
            self.last = said(&self.copier.next(heard));
        }
        &self.last
    }

    /// One that has everything, and whose replica has been handed over.
    fn frozen() -> Self {
        let mut way = Self::begin();
        way.hears([Heard::GoesOn(Some(from(4))), records(""), Heard::Next(CopyNext::Switch)]);
        assert_eq!(way.last, "HandOver");
        assert_eq!(way.hears([Heard::HandedOver(Some(Box::new("replica")))]), "give nothing");
        way
    }

    /// One whose adoption was tried.
    fn adopted() -> Self {
        let mut way = Self::frozen();
        let tried = way.hears([Heard::GoesOn(Some(from(4))), records(""), Heard::GoesOn(Some(from(4)))]);
        assert_eq!(tried, "Adopt(\"replica\")");
        way
    }
}

fn not_adopted(may_retry: bool, may_be_in_place: bool) -> Heard<&'static str> {
    Heard::NotAdopted { handed: Some(Box::new("replica")), may_retry, may_be_in_place }
}

#[test]
fn a_copy_is_brought_at_its_pace_and_goes_over_once_the_controller_knows() {
    let mut way = Way::begin();
    assert_eq!(way.last, "give nothing");
    assert_eq!(way.hears([Heard::GoesOn(Some(from(0)))]), "read 0");
    assert_eq!(way.hears([records("abc")]), "Pace(3)");
    assert_eq!(way.hears([Heard::Done]), "give \"abc\" at 0");
    assert_eq!(way.hears([Heard::GoesOn(Some(from(3)))]), "read 3");
    let diverging = Copied::Diverging(EpochEnd { epoch: LeaderEpoch(1), end: Offset(2) });
    assert_eq!(way.hears([Heard::Part(diverging)]), "give a cut at 3");
    assert!(way.copier.needs_turn());
    assert_eq!(way.hears([Heard::GoesOn(Some(from(2))), records("")]), "Decide");
    assert!(!way.copier.needs_turn());
    assert_eq!(way.hears([Heard::Next(CopyNext::GoOn)]), "wait 50ms None");
    assert_eq!(way.hears([Heard::Done]), "give nothing", "more may have been appended");
    way.hears([Heard::GoesOn(Some(from(2))), records("d"), Heard::Done, Heard::GoesOn(Some(from(3)))]);
    assert_eq!(way.hears([records(""), Heard::Next(CopyNext::Switch)]), "HandOver");
    assert_eq!(way.hears([Heard::HandedOver(Some(Box::new("replica")))]), "give nothing");
    // The last is brought as fast as it goes, and where the frozen log begins is said at the end.
    assert_eq!(way.hears([Heard::GoesOn(Some(from(3))), records("ef")]), "give \"ef\" at 3");
    assert_eq!(way.hears([Heard::GoesOn(Some(from(5))), records("")]), "give \"\" at 5");
    assert_eq!(way.hears([Heard::GoesOn(Some(from(5)))]), "Adopt(\"replica\")");
    assert_eq!(way.hears([not_adopted(true, false)]), "wait 5ms None");
    assert_eq!(way.hears([Heard::Done]), "Adopt(\"replica\")");
    assert_eq!(way.hears([Heard::Done]), "End(WentOver)");
}

#[test]
fn a_copy_that_has_all_but_may_not_be_adopted_yet_looks_again_and_leaves_its_turn_to_others() {
    let mut way = Way::begin();
    let not_ready = || Heard::GoesOn(Some(CopyFrom { is_ready: false, ..from(4) }));
    assert_eq!(way.hears([not_ready(), records("")]), "wait 50ms None");
    assert!(!way.copier.needs_turn());
    assert_eq!(way.hears([Heard::Done]), "give \"\" at 4");
    assert_eq!(way.hears([Heard::GoesOn(Some(from(4))), records("")]), "Decide");
}

#[test]
fn a_missing_future_log_is_made_again_in_nobodys_turn_while_it_is_wanted() {
    let mut way = Way::begin();
    assert_eq!(way.hears([Heard::GoesOn(None)]), "wait 1s None");
    assert!(!way.copier.needs_turn());
    assert_eq!(way.hears([Heard::Done]), "MakeFuture");
    assert_eq!(way.hears([Heard::Done]), "give nothing");
    assert!(way.copier.needs_turn());
    assert_eq!(way.hears([Heard::GoesOn(None), Heard::Done, Heard::Unwanted]), "End(Unwanted)");
}

#[test]
fn a_full_disk_is_waited_for_and_told_once_but_not_by_a_frozen_replica() {
    let mut way = Way::begin();
    for time in 1..20 {
        way.hears([troubled(FollowProblem::Full)]);
        let told = if time == TRIES_MAX { "Some(Copy(Full))" } else { "None" };
        assert_eq!(way.last, format!("wait 1s {told}"));
        assert!(!way.copier.needs_turn());
        assert_eq!(way.hears([Heard::Done, records("abc"), Heard::Done]), "give \"abc\" at 0");
    }
    let mut way = Way::frozen();
    for _ in 0..TRIES_MAX {
        // Nobody keeps pace here.
        way.hears([troubled(FollowProblem::Full), Heard::Done, records("abc")]);
    }
    assert_eq!(way.hears([troubled(FollowProblem::Full)]), "Back { is_long: false }");
    let stays = format!("End(Stays({:?}))", FollowProblem::Damaged.to_string());
    assert_eq!(Way::begin().hears([troubled(FollowProblem::Damaged)]), stays);
}

#[test]
fn what_was_cut_as_it_was_read_is_looked_for_anew_some_times() {
    let cut = || Heard::Cut("gone".to_owned());
    let mut way = Way::begin();
    for _ in 0..TRIES_MAX {
        assert_eq!(way.hears([Heard::GoesOn(Some(from(0))), cut()]), "give nothing");
    }
    assert_eq!(way.hears([Heard::GoesOn(Some(from(0))), cut()]), "End(Stays(\"gone\"))");
    // Each that is read begins the count anew.
    let mut way = Way::begin();
    for _ in 0..2 * TRIES_MAX {
        way.hears([Heard::GoesOn(Some(from(0))), cut(), Heard::GoesOn(Some(from(0))), records("a")]);
        assert_eq!(way.hears([Heard::Done]), "give \"a\" at 0");
    }
}

#[test]
fn what_nobody_wants_or_a_directory_cannot_do_ends_a_copy_before_its_replica_is_frozen() {
    let caught_up = || [Heard::GoesOn(Some(from(0))), records("")];
    let failed = || Heard::Failed("no disk".to_owned());
    let mut way = Way::begin();
    way.hears(caught_up());
    assert_eq!(way.hears([Heard::Next(CopyNext::End)]), "End(Unwanted)");
    let mut way = Way::begin();
    way.hears(caught_up());
    assert_eq!(way.hears([Heard::Unwanted]), "End(Unwanted)");
    assert_eq!(Way::begin().hears([failed()]), "End(Stays(\"no disk\"))");
    assert_eq!(Way::begin().hears([Heard::GoesOn(Some(from(0))), failed()]), "End(Stays(\"no disk\"))");
    let mut way = Way::begin();
    way.hears(caught_up());
    assert_eq!(way.hears([Heard::Next(CopyNext::Switch), Heard::HandedOver(None)]), "End(Gone(None))");
}

#[test]
fn a_frozen_replica_goes_back_where_its_copy_cannot_be_finished() {
    let failed = || Heard::Failed("no disk".to_owned());
    let reading = || Heard::GoesOn(Some(from(4)));
    for story in [
        vec![Heard::GoesOn(None)],
        vec![failed()],
        vec![reading(), failed()],
        vec![reading(), records(""), failed()],
        vec![reading(), records(""), reading(), not_adopted(false, false)],
    ] {
        let mut way = Way::frozen();
        assert_eq!(way.hears(story), "Back { is_long: false }");
        assert_eq!(way.hears([Heard::Done]), "TakeBack(\"replica\")");
        assert_eq!(way.hears([Heard::Done]), "End(Back)");
    }
}

#[test]
fn a_replica_whose_copy_may_have_its_name_serves_again_only_when_the_controller_knows_where() {
    let mut way = Way::begin();
    // How long it was waited for on the way there does not count on the way back.
    for _ in 0..10 {
        way.hears([Heard::GoesOn(Some(from(4))), records(""), Heard::Next(CopyNext::GoOn), Heard::Done]);
    }
    way.hears([Heard::GoesOn(Some(from(4))), records(""), Heard::Next(CopyNext::Switch)]);
    way.hears([Heard::HandedOver(Some(Box::new("replica"))), Heard::GoesOn(Some(from(4))), records("")]);
    assert_eq!(way.hears([Heard::GoesOn(Some(from(4)))]), "Adopt(\"replica\")");
    assert_eq!(way.hears([not_adopted(false, true)]), "Back { is_long: true }");
    assert_eq!(way.hears([Heard::Done]), "AskWhetherKnown");
    for time in 1..2 * WAITS_TOLD {
        way.hears([Heard::IsKnown(false)]);
        let told = if time == WAITS_TOLD { "Some(Controller)" } else { "None" };
        assert_eq!(way.last, format!("wait 50ms {told}"));
        assert_eq!(way.hears([Heard::Done]), "AskWhetherKnown");
    }
    assert_eq!(way.hears([Heard::IsKnown(true)]), "TakeBack(\"replica\")");
    let mut way = Way::adopted();
    way.hears([not_adopted(false, true), Heard::Done]);
    assert_eq!(way.hears([Heard::Unwanted]), "End(Gone(Some(\"replica\")))");
}

#[test]
fn a_replica_that_is_gone_with_a_directory_is_lost_and_its_copy_an_orphan() {
    let lost = || Heard::NotAdopted { handed: None, may_retry: false, may_be_in_place: true };
    assert_eq!(Way::adopted().hears([lost()]), "End(Lost(None))");
    let mut way = Way::adopted();
    assert_eq!(way.hears([not_adopted(false, false), Heard::Unwanted]), "End(Gone(Some(\"replica\")))");
    let not_taken = |handed| [not_adopted(false, false), Heard::Done, Heard::NotTakenBack(handed)];
    assert_eq!(Way::adopted().hears(not_taken(None)), "End(Lost(None))");
    assert_eq!(Way::adopted().hears(not_taken(Some(Box::new("replica")))), "End(Lost(Some(\"replica\")))");
}
