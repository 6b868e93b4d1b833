//! What happened in a run, counted. Rules hold easily where nothing happens: a kind of fault that never strikes, or
//! a path that is never taken, must be seen.

use std::collections::BTreeMap;

/// Something that runs are there to take a cluster through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Happening {
    /// A process died.
    ProcessCrash,
    /// A machine lost power.
    PowerLoss,
    /// Either of the two in the middle of what a step wrote.
    CrashWhileWriting,
    /// Every machine lost power.
    PowerLossOfAll,
    /// The same just after a vote.
    PowerLossAtVote,
    /// A machine lost power while its disk worked.
    PowerLossAtWork,
    /// A leader died as its ISR changed.
    CrashAtIsrChange,
    /// A node was told to stop in order.
    Restart,
    /// All of them were.
    RestartOfAll,
    /// A node did so.
    OrderlyStop,
    /// And did so without leave, since no controller answered.
    StoppedAlone,
    /// A node stood still.
    Pause,
    /// A node lost its volume.
    LostVolume,
    /// A controller was to vote.
    VoterAdded,
    /// A voter was to vote no more.
    VoterRemoved,
    /// The network was cut.
    Cut,
    /// A node got a later release.
    Upgraded,
    /// A node was put back to the earlier one.
    PutBack,
    /// A new level of formats was asked for too early, and refused.
    LevelRefused,
    /// It was finalised.
    LevelFinalised,
    /// The level before was asked for, and refused.
    DowngradeRefused,
    /// A process of an earlier release than the cluster's ended itself.
    OutdatedEnded,
    /// Somebody set the wall clock of a node.
    ClockJumped,
    /// A request for another ISR came once more, late.
    LateRequest,
    /// A message was lost, without a cut.
    MessageLost,
    /// A message came twice.
    MessageRepeated,
    /// A message took long.
    MessageSlow,
    /// A file lost something that was not synced.
    UnsyncedLost,
    /// And kept another part of it: a torn write.
    TornWrite,
    /// A sync failed.
    FailedSync,
    /// A write found no room.
    DiskFull,
    /// A follower refused what its leader gave, since its disk is full.
    NoRoomToFollow,
    /// A leader refused records, since its disk is full, and asked that another leads.
    WayMadeForRoom,
    /// A piece of work began or ended at a slow disk.
    DiskSlow,
    /// A bit of a log was another when its node started.
    BitRot,
    /// One was another in a log whose leader runs.
    RotWhileRunning,
    /// And a read found that, and its leader made way.
    RotFoundByRead,
    /// A damaged log was copied anew.
    CopiedAnew,
    /// A log directory was missing at a start.
    DirectoryMissing,
    /// A broker went on without one that failed.
    DirectoryFailed,
    /// A process ended itself over its disk.
    EndedItself,
    /// A vote was cast.
    Vote,
    /// A term had a leader.
    Election,
    /// The members of the quorum changed.
    VotersChanged,
    /// A controller took a snapshot.
    SnapshotTaken,
    /// A controller took over another's.
    SnapshotInstalled,
    /// A broker pulled one.
    SnapshotPulled,
    /// A broker registered.
    Registered,
    /// A broker came into service.
    Unfenced,
    /// A broker was taken out of service.
    Fenced,
    /// A broker or a leader of the quorum was found dead, before its session or a time-out was over.
    FoundDead,
    /// A log was opened after a proper stop.
    LogOpenedClean,
    /// A log was opened after a crash.
    LogRecovered,
    /// And its tail was torn.
    TailCut,
    /// A client's topic was made.
    TopicMade,
    /// A client deleted one.
    TopicDeleted,
    /// A client changed a setting of one.
    TopicConfigured,
    /// Replicas of a partition began to be moved.
    MoveBegun,
    /// They were where they were to be, or back.
    MoveEnded,
    /// A replica was to be in another log directory.
    DirectoryChangeAsked,
    /// And is there.
    DirectoryChanged,
    /// It could not go there, and is where it was.
    DirectoryChangeTakenBack,
    /// And waited there until the controller knew.
    DirectoryAwaited,
    /// A batch was acknowledged.
    BatchAcknowledged,
    /// A batch was refused.
    BatchRefused,
    /// No answer came for a batch in time.
    BatchUnanswered,
    /// An idempotent producer sent a batch again.
    BatchSentAgain,
    /// And it was acknowledged then.
    BatchAcknowledgedLate,
    /// A batch was given up, and its producer began its next epoch.
    BatchGivenUp,
    /// A leader told the end of its partition.
    EndTold,
    /// One that may have been replaced did.
    EndInDoubt,
    /// Records were read from a follower.
    ReadFromFollower,
    /// Records were read.
    Read,
}

impl Happening {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Self; 73] = [
        Self::ProcessCrash,
        Self::PowerLoss,
        Self::CrashWhileWriting,
        Self::PowerLossOfAll,
        Self::PowerLossAtVote,
        Self::PowerLossAtWork,
        Self::CrashAtIsrChange,
        Self::Restart,
        Self::RestartOfAll,
        Self::OrderlyStop,
        Self::StoppedAlone,
        Self::Pause,
        Self::LostVolume,
        Self::VoterAdded,
        Self::VoterRemoved,
        Self::Cut,
        Self::Upgraded,
        Self::PutBack,
        Self::LevelRefused,
        Self::LevelFinalised,
        Self::DowngradeRefused,
        Self::OutdatedEnded,
        Self::ClockJumped,
        Self::LateRequest,
        Self::MessageLost,
        Self::MessageRepeated,
        Self::MessageSlow,
        Self::UnsyncedLost,
        Self::TornWrite,
        Self::FailedSync,
        Self::DiskFull,
        Self::NoRoomToFollow,
        Self::WayMadeForRoom,
        Self::DiskSlow,
        Self::BitRot,
        Self::RotWhileRunning,
        Self::RotFoundByRead,
        Self::CopiedAnew,
        Self::DirectoryMissing,
        Self::DirectoryFailed,
        Self::EndedItself,
        Self::Vote,
        Self::Election,
        Self::VotersChanged,
        Self::SnapshotTaken,
        Self::SnapshotInstalled,
        Self::SnapshotPulled,
        Self::Registered,
        Self::Unfenced,
        Self::Fenced,
        Self::FoundDead,
        Self::LogOpenedClean,
        Self::LogRecovered,
        Self::TailCut,
        Self::TopicMade,
        Self::TopicDeleted,
        Self::TopicConfigured,
        Self::MoveBegun,
        Self::MoveEnded,
        Self::DirectoryChangeAsked,
        Self::DirectoryChanged,
        Self::DirectoryChangeTakenBack,
        Self::DirectoryAwaited,
        Self::BatchAcknowledged,
        Self::BatchRefused,
        Self::BatchUnanswered,
        Self::BatchSentAgain,
        Self::BatchAcknowledgedLate,
        Self::BatchGivenUp,
        Self::EndTold,
        Self::EndInDoubt,
        Self::ReadFromFollower,
        Self::Read,
    ];

    /// What it is called in a summary.
    #[expect(clippy::too_many_lines, reason = "one line for each")]
    pub fn name(self) -> &'static str {
        match self {
            Self::ProcessCrash => "process crashed",
            Self::PowerLoss => "machine lost power",
            Self::CrashWhileWriting => "crashed while writing",
            Self::PowerLossOfAll => "all machines lost power",
            Self::PowerLossAtVote => "all lost power at a vote",
            Self::PowerLossAtWork => "lost power amid disk work",
            Self::CrashAtIsrChange => "leader died at ISR change",
            Self::Restart => "told to stop in order",
            Self::RestartOfAll => "all told to stop in order",
            Self::OrderlyStop => "stopped in order",
            Self::StoppedAlone => "stopped without leave",
            Self::Pause => "stood still",
            Self::LostVolume => "node lost its volume",
            Self::VoterAdded => "controller to get a vote",
            Self::VoterRemoved => "voter to lose its vote",
            Self::Cut => "network cut",
            Self::Upgraded => "later release started",
            Self::PutBack => "earlier release put back",
            Self::LevelRefused => "level refused too early",
            Self::LevelFinalised => "level finalised",
            Self::DowngradeRefused => "downgrade of formats refused",
            Self::OutdatedEnded => "outdated release ended itself",
            Self::ClockJumped => "wall clock jumped",
            Self::LateRequest => "request came again late",
            Self::MessageLost => "message lost",
            Self::MessageRepeated => "message came twice",
            Self::MessageSlow => "message slow",
            Self::UnsyncedLost => "file lost unsynced bytes",
            Self::TornWrite => "write torn",
            Self::FailedSync => "sync failed",
            Self::DiskFull => "disk full",
            Self::NoRoomToFollow => "follower without room",
            Self::WayMadeForRoom => "leader without room makes way",
            Self::DiskSlow => "disk slow",
            Self::BitRot => "bit of a log rotted",
            Self::RotWhileRunning => "bit rotted under a leader",
            Self::RotFoundByRead => "rot found by a read",
            Self::CopiedAnew => "damaged log copied anew",
            Self::DirectoryMissing => "log directory missing at a start",
            Self::DirectoryFailed => "log directory failed alone",
            Self::EndedItself => "ended itself over its disk",
            Self::Vote => "vote cast",
            Self::Election => "term with a leader",
            Self::VotersChanged => "voters changed",
            Self::SnapshotTaken => "snapshot taken",
            Self::SnapshotInstalled => "snapshot taken over",
            Self::SnapshotPulled => "snapshot pulled by a broker",
            Self::Registered => "broker registered",
            Self::Unfenced => "broker in service",
            Self::Fenced => "broker fenced",
            Self::FoundDead => "node found dead",
            Self::LogOpenedClean => "log opened after a stop",
            Self::LogRecovered => "log recovered",
            Self::TailCut => "torn tail cut",
            Self::TopicMade => "topic made",
            Self::TopicDeleted => "topic deleted",
            Self::TopicConfigured => "setting changed",
            Self::MoveBegun => "move of replicas begun",
            Self::MoveEnded => "move of replicas ended",
            Self::DirectoryChangeAsked => "change of directory asked for",
            Self::DirectoryChanged => "log directory changed",
            Self::DirectoryChangeTakenBack => "change of directory taken back",
            Self::DirectoryAwaited => "directory awaited by a replica",
            Self::BatchAcknowledged => "batch acknowledged",
            Self::BatchRefused => "batch refused",
            Self::BatchUnanswered => "batch unanswered",
            Self::BatchSentAgain => "batch sent again",
            Self::BatchAcknowledgedLate => "batch acknowledged when sent again",
            Self::BatchGivenUp => "batch given up",
            Self::EndTold => "end of a partition told",
            Self::EndInDoubt => "end told in doubt",
            Self::ReadFromFollower => "records read from a follower",
            Self::Read => "records read",
        }
    }
}

/// How often each thing happened.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Coverage {
    counts: BTreeMap<Happening, u64>,
}

impl Coverage {
    /// It happened.
    pub fn note(&mut self, happening: Happening) {
        self.add(happening, 1);
    }

    /// It happened so often.
    pub fn add(&mut self, happening: Happening, times: u64) {
        if times > 0 {
            *self.counts.entry(happening).or_default() += times;
        }
    }

    /// Adds what happened elsewhere.
    pub fn merge(&mut self, other: &Self) {
        other.counts.iter().for_each(|(happening, times)| self.add(*happening, *times));
    }

    /// How often it happened.
    pub fn times(&self, happening: Happening) -> u64 {
        self.counts.get(&happening).copied().unwrap_or_default()
    }

    /// Whether it happened at all.
    pub fn has(&self, happening: Happening) -> bool {
        self.counts.contains_key(&happening)
    }

    /// What never happened.
    pub fn missing(&self) -> Vec<&'static str> {
        let missing = Happening::ALL.into_iter().filter(|happening| !self.has(*happening));
        missing.map(Happening::name).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_happening_is_listed_once_and_in_order() {
        assert!(Happening::ALL.windows(2).all(|pair| pair[0] < pair[1]));
        assert_eq!(Happening::ALL.len(), Happening::Read as usize + 1);
    }

    #[test]
    fn counts_add_up_and_what_is_missing_shows() {
        let (mut all, mut one) = (Coverage::default(), Coverage::default());
        one.note(Happening::Pause);
        one.add(Happening::Cut, 0);
        all.merge(&one);
        all.merge(&one);
        assert_eq!((all.times(Happening::Pause), all.times(Happening::Cut)), (2, 0));
        assert_eq!(all.missing().len(), Happening::ALL.len() - 1);
        assert!(all.missing().contains(&"network cut"));
    }
}
