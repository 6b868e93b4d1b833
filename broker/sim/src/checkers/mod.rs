//! What must hold after every step, one rule a file.
//!
//! A checker is told what can be observed from outside a node (a message handed to the network, an entry
//! applied, a reply given) and says at once when a rule is broken. It never looks at what the core thinks.

pub mod acknowledged;
pub mod committed;
pub mod history;
pub mod leaders;
pub mod replication;
pub mod votes;

use std::fmt;

/// The name of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// One leader per term of the metadata quorum, one per epoch of a partition.
    OneLeader,
    /// Committed metadata never changes or vanishes.
    CommittedMetadata,
    /// No voter votes for two candidates in one term, and a wiped one never votes as its old self.
    OneVote,
    /// An acknowledged batch is readable after any crash.
    AcknowledgedBatch,
    /// Below their high watermarks the logs of all replicas are the same, for ever; consumers read only there.
    LogMatching,
    /// Every member of the ISR holds all that was committed.
    InSync,
    /// Every eligible leader replica holds all that was committed.
    EligibleLeader,
    /// ISR and eligible leaders are replicas, and who leads is in sync.
    ReplicaSets,
    /// What clients saw fits together.
    History,
    /// After the faults end the cluster serves again within the stated time.
    Liveness,
    /// A core gave up: it panicked or refused to start on its own volume.
    NoPanic,
}

impl Rule {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::OneLeader,
        Self::CommittedMetadata,
        Self::OneVote,
        Self::AcknowledgedBatch,
        Self::LogMatching,
        Self::InSync,
        Self::EligibleLeader,
        Self::ReplicaSets,
        Self::History,
        Self::Liveness,
        Self::NoPanic,
    ];
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OneLeader => "one-leader",
            Self::CommittedMetadata => "committed-metadata",
            Self::OneVote => "one-vote",
            Self::AcknowledgedBatch => "acknowledged-batch",
            Self::LogMatching => "log-matching",
            Self::InSync => "in-sync",
            Self::EligibleLeader => "eligible-leader",
            Self::ReplicaSets => "replica-sets",
            Self::History => "history",
            Self::Liveness => "liveness",
            Self::NoPanic => "no-panic",
        })
    }
}

/// A broken rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{rule}: {text}")]
pub struct Violation {
    /// Which.
    pub rule: Rule,
    /// How.
    pub text: String,
}

impl Violation {
    /// A violation of a rule, with what was seen.
    pub fn new(rule: Rule, text: impl Into<String>) -> Self {
        Self { rule, text: text.into() }
    }
}
