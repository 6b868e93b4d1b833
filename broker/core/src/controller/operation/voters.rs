//! What is asked about the voters of the metadata quorum (KIP-853).

use std::time::Duration;

use crate::ids::{DirectoryId, NodeId};
use crate::metadata::image::Voter;

/// One voter: a node with a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VoterKey {
    /// The controller's node id.
    pub node_id: NodeId,
    /// The directory its metadata log lies in.
    pub directory_id: DirectoryId,
}

/// Another set of voters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VoterChange {
    /// A controller that has the log is to vote (AddRaftVoter, key 80).
    Add {
        /// Which, and where it is reached.
        voter: Voter,
        /// How long to wait until it has the log and the change is committed.
        wait_max: Duration,
    },
    /// A voter is to vote no more (RemoveRaftVoter, key 81).
    Remove(VoterKey),
    /// A voter is reached elsewhere (UpdateRaftVoter, key 82).
    Update(Voter),
}

impl VoterChange {
    /// How long a change may take whose sender does not say: as long as Kafka's controllers wait.
    const WAIT_MAX: Duration = Duration::from_secs(10);

    /// No client waits longer for an answer, and while one waits no other change can be made.
    const WAIT_LONGEST: Duration = Duration::from_secs(60);

    /// How long it may take.
    pub fn wait_max(&self) -> Duration {
        match self {
            Self::Add { wait_max, .. } => (*wait_max).min(Self::WAIT_LONGEST),
            Self::Remove(_) | Self::Update(_) => Self::WAIT_MAX,
        }
    }
}
