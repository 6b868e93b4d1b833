//! Who may do what. Today everybody may do everything; a test with [`Authorizer::DenyAll`] proves that
//! every API asks, refuses and leaks nothing.
//!
//! Not done: access control lists and super users (`authorizer.class.name` is refused at start).

use super::Principal;

/// What an operation is done on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Resource {
    /// One topic, by name.
    Topic,
    /// The cluster as a whole; Kafka names it `kafka-cluster`.
    Cluster,
}

/// Kafka's AclOperation, as far as the served APIs ask for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    /// Code 3.
    Read,
    /// Code 4.
    Write,
    /// Code 5.
    Create,
    /// Code 6.
    Delete,
    /// Code 7.
    Alter,
    /// Code 8.
    Describe,
    /// Code 9.
    ClusterAction,
    /// Code 10.
    DescribeConfigs,
    /// Code 11.
    AlterConfigs,
}

impl Operation {
    /// Kafka's code: a bit of the "authorized operations" fields.
    pub(crate) fn code(self) -> u32 {
        match self {
            Self::Read => 3,
            Self::Write => 4,
            Self::Create => 5,
            Self::Delete => 6,
            Self::Alter => 7,
            Self::Describe => 8,
            Self::ClusterAction => 9,
            Self::DescribeConfigs => 10,
            Self::AlterConfigs => 11,
        }
    }
}

/// The operations Kafka knows on a topic, for `topic_authorized_operations`.
pub(crate) const TOPIC_OPERATIONS: &[Operation] = &[
    Operation::Read,
    Operation::Write,
    Operation::Create,
    Operation::Delete,
    Operation::Alter,
    Operation::Describe,
    Operation::DescribeConfigs,
    Operation::AlterConfigs,
];

/// The operations Kafka knows on the cluster, for `cluster_authorized_operations`.
pub(crate) const CLUSTER_OPERATIONS: &[Operation] = &[
    Operation::Create,
    Operation::Alter,
    Operation::Describe,
    Operation::ClusterAction,
    Operation::DescribeConfigs,
    Operation::AlterConfigs,
];

/// Decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Authorizer {
    /// No authorizer configured.
    AllowAll,
    /// Refuses everything; for tests.
    #[cfg(test)]
    DenyAll,
}

impl Authorizer {
    /// May `principal` do this? `name` is the topic's, or empty for the cluster.
    pub(crate) fn allows(
        self,
        _principal: &Principal,
        _operation: Operation,
        _resource: Resource,
        _name: &str,
    ) -> bool {
        match self {
            Self::AllowAll => true,
            #[cfg(test)]
            Self::DenyAll => false,
        }
    }

    /// The bit field of what is allowed among `operations`.
    pub(crate) fn authorized_operations(
        self,
        principal: &Principal,
        operations: &[Operation],
        resource: Resource,
        name: &str,
    ) -> i32 {
        let allowed =
            operations.iter().filter(|operation| self.allows(principal, **operation, resource, name));
        allowed.fold(0, |bits, operation| bits | (1 << operation.code()))
    }
}
