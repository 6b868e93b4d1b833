//! Who a controller is to the others.

use std::collections::BTreeSet;
use std::fmt;

pub use crate::config::Address;
use crate::ids::{DirectoryId, NodeId};
use crate::metadata::image::Voter;
use crate::metadata::record::Voters;

/// A voter's id inside raft: the first 64 bits of its directory id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RaftId(pub(crate) u64);

impl fmt::Display for RaftId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// A set of voters that cannot work together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadVoters {
    /// Raft has no voter 0.
    #[error("directory id {0} begins with 64 zero bits and cannot name a voter")]
    Zero(DirectoryId),
    /// Two directory ids that raft could not tell apart.
    #[error("directory id {0} begins like that of another member of the quorum")]
    Collision(DirectoryId),
    /// A node that votes twice.
    #[error("node {0} is listed twice among the voters")]
    SameNode(NodeId),
    /// A voter that nobody could reach.
    #[error("voter {0} has no endpoint")]
    NoEndpoint(NodeId),
    /// A quorum of nobody.
    #[error("there is no voter")]
    Nobody,
}

impl RaftId {
    /// The raft id of a directory.
    pub fn of(directory: DirectoryId) -> Result<Self, BadVoters> {
        match directory.0.as_u64_pair().0 {
            0 => Err(BadVoters::Zero(directory)),
            id => Ok(Self(id)),
        }
    }
}

/// Checks that a set of members can work together.
pub fn check_voters(table: &Voters) -> Result<(), BadVoters> {
    if table.voters.is_empty() {
        return Err(BadVoters::Nobody);
    }
    let mut ids = BTreeSet::new();
    for member in table.voters.iter().chain(&table.learners) {
        if !ids.insert(RaftId::of(member.directory_id)?) {
            return Err(BadVoters::Collision(member.directory_id));
        }
        if member.endpoints.is_empty() {
            return Err(BadVoters::NoEndpoint(member.node_id));
        }
    }
    for members in [&table.voters, &table.learners] {
        let mut nodes = BTreeSet::new();
        for member in members {
            if !nodes.insert(member.node_id) {
                return Err(BadVoters::SameNode(member.node_id));
            }
        }
    }
    Ok(())
}

/// One controller as the others address it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Peer {
    /// Its node id.
    pub node_id: NodeId,
    /// The directory its metadata log lies in.
    pub directory_id: DirectoryId,
    /// Where its controller listener is reached.
    pub address: Address,
}

impl Peer {
    /// A voter's address, if it has one.
    pub fn of(voter: &Voter) -> Option<Self> {
        let endpoint = voter.endpoints.first()?;
        Some(Self {
            node_id: voter.node_id,
            directory_id: voter.directory_id,
            address: Address { host: endpoint.host.clone(), port: endpoint.port },
        })
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::metadata::image::Endpoint;

    fn voter(node: i32, directory: u128) -> Voter {
        let endpoint =
            Endpoint { listener: "CONTROLLER".into(), host: "h".into(), port: 1, security_protocol: 0 };
        Voter {
            node_id: NodeId(node),
            directory_id: DirectoryId(Uuid::from_u128(directory)),
            endpoints: vec![endpoint],
        }
    }

    #[test]
    fn zero_and_colliding_directories_are_refused() {
        let table = |voters: Vec<Voter>| Voters { voters, ..Voters::default() };
        let (one, two) = (1u128 << 64, 2u128 << 64);
        assert_eq!(check_voters(&table(vec![voter(0, one), voter(1, two)])), Ok(()));
        assert!(matches!(check_voters(&table(vec![voter(0, 1)])), Err(BadVoters::Zero(_))));
        assert!(matches!(
            check_voters(&table(vec![voter(0, one), voter(1, one + 5)])),
            Err(BadVoters::Collision(_))
        ));
        assert!(matches!(
            check_voters(&table(vec![voter(0, one), voter(0, two)])),
            Err(BadVoters::SameNode(_))
        ));
        assert_eq!(check_voters(&table(vec![])), Err(BadVoters::Nobody));
    }
}
