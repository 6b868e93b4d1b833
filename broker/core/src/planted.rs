//! Bugs planted on purpose, to prove that the simulator's checkers and the rig of real processes can fail.
//!
//! Without the feature `planted-bugs` [`is`] is the constant `false` and nothing of this reaches a broker.
//! Only the simulator's own tests and `cargo xtask faults --planted` turn the feature on. The simulator's choice is
//! the thread's, since one thread runs one simulation; a broker's is the whole process's.

/// A bug that can be planted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    /// A produce is acknowledged once it is written, before it is synced.
    AckBeforeSync,
    /// A controller sends its vote before the vote is durable.
    VoteBeforeSync,
    /// A produce is acknowledged once the leader has it, whatever the rest of the ISR has.
    AckBeforeFollowers,
    /// A follower of a new leader cuts its log at its own high watermark, whatever the epochs say.
    TruncateByHighWatermark,
    /// A leader asks nothing about the sequence numbers of idempotent producers.
    NoSequenceCheck,
    /// A replica forgets its idempotent producers when the leader changes.
    ForgetProducersOnLeaderChange,
    /// A follower joins the ISR at the high watermark that its leader knows, though that leadership began further on.
    IsrBeforeEpochStart,
    /// The controller takes an ISR that was asked for in place of another than the one there is.
    NoPartitionEpochCheck,
    /// The controller takes an ISR from who led before: it looks whether the epochs differ, and not which is older.
    StaleLeader,
    /// A replica that may have lost the end of its log in a crash stays an eligible leader.
    EligibleAfterLoss,
    /// A damaged log is replaced by an empty one though its partition counts on what it holds.
    ReplaceEligible,
    /// The controller lets a replica lead whose log is damaged.
    LeadWithDamage,
    /// A leader whose log is found rotten by a read goes on, whoever could take over.
    KeepLeadingWithRot,
    /// A controller writes down the term that it voted in, and not for whom.
    ForgetVote,
    /// A controller of a later release writes a record of its own level before that level is finalised.
    RecordBeforeFeature,
}

impl Bug {
    /// Every bug, with the name the simulator's command line knows it by.
    pub const ALL: [(&'static str, Self); 15] = [
        ("ack_before_sync", Self::AckBeforeSync),
        ("vote_before_sync", Self::VoteBeforeSync),
        ("ack_before_followers", Self::AckBeforeFollowers),
        ("truncate_by_high_watermark", Self::TruncateByHighWatermark),
        ("no_sequence_check", Self::NoSequenceCheck),
        ("forget_producers_on_leader_change", Self::ForgetProducersOnLeaderChange),
        ("isr_before_epoch_start", Self::IsrBeforeEpochStart),
        ("no_partition_epoch_check", Self::NoPartitionEpochCheck),
        ("stale_leader", Self::StaleLeader),
        ("eligible_after_loss", Self::EligibleAfterLoss),
        ("replace_eligible", Self::ReplaceEligible),
        ("lead_with_damage", Self::LeadWithDamage),
        ("keep_leading_with_rot", Self::KeepLeadingWithRot),
        ("forget_vote", Self::ForgetVote),
        ("record_before_feature", Self::RecordBeforeFeature),
    ];
}

/// Whether this build can plant bugs at all.
pub const AVAILABLE: bool = cfg!(feature = "planted-bugs");

#[cfg(feature = "planted-bugs")]
std::thread_local! {
    static PLANTED: std::cell::Cell<Option<Bug>> = const { std::cell::Cell::new(None) };
}

/// Plants a bug, or none, on this thread.
#[cfg(feature = "planted-bugs")]
pub fn plant(bug: Option<Bug>) {
    PLANTED.set(bug);
}

#[cfg(feature = "planted-bugs")]
static PLANTED_EVERYWHERE: std::sync::OnceLock<Bug> = std::sync::OnceLock::new();

/// Plants a bug on every thread of this process, for good.
#[cfg(feature = "planted-bugs")]
pub fn plant_everywhere(bug: Bug) {
    // The first one stays: a process has one bug at most.
    let _ = PLANTED_EVERYWHERE.set(bug);
}

/// Without the feature nothing is ever planted.
#[cfg(not(feature = "planted-bugs"))]
pub fn plant(_bug: Option<Bug>) {}

/// Whether a bug is planted on this thread.
#[cfg(feature = "planted-bugs")]
#[must_use]
pub fn is(bug: Bug) -> bool {
    PLANTED.get() == Some(bug) || PLANTED_EVERYWHERE.get() == Some(&bug)
}

/// Without the feature nothing is ever planted.
#[cfg(not(feature = "planted-bugs"))]
#[must_use]
pub const fn is(_bug: Bug) -> bool {
    false
}
