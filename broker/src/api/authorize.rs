//! Who may do what. Today everybody may do everything; a test with [`Authorizer::DenyAll`] proves that
//! every API asks, refuses and leaks nothing.
//!
//! Not done: access control lists and super users (`authorizer.class.name` is refused at start).

use super::{Call, Principal};

/// What an operation is done on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Resource {
    /// One topic, by name.
    Topic,
    /// One group, by its id.
    Group,
    /// One producer's transactions, by its `transactional.id`.
    TransactionalId,
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
    /// Code 12.
    IdempotentWrite,
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
            Self::IdempotentWrite => 12,
        }
    }
}

/// The operations Kafka knows on a topic, for `topic_authorized_operations`.
const TOPIC_OPERATIONS: &[Operation] = &[
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
const CLUSTER_OPERATIONS: &[Operation] = &[
    Operation::Create,
    Operation::Alter,
    Operation::Describe,
    Operation::ClusterAction,
    Operation::DescribeConfigs,
    Operation::AlterConfigs,
    Operation::IdempotentWrite,
];

/// The operations Kafka knows on a group, for `authorized_operations` of DescribeGroups.
const GROUP_OPERATIONS: &[Operation] = &[
    Operation::Read,
    Operation::Delete,
    Operation::Describe,
    Operation::DescribeConfigs,
    Operation::AlterConfigs,
];

/// "Not asked for" in the fields of authorized operations.
pub(crate) const OPERATIONS_NOT_ASKED: i32 = i32::MIN;

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
    /// May `principal` do this? `name` is the topic's or the group's, or empty for the cluster.
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
}

impl Call {
    /// The bit field of what the caller may do on a resource, if it `asked` for that; `name` is the topic's, or
    /// empty for the cluster.
    pub(crate) fn authorized_operations(&self, asked: bool, resource: Resource, name: &str) -> i32 {
        if !asked {
            return OPERATIONS_NOT_ASKED;
        }
        let operations = match resource {
            Resource::Topic => TOPIC_OPERATIONS,
            Resource::Group => GROUP_OPERATIONS,
            Resource::Cluster => CLUSTER_OPERATIONS,
            // No response has a field for it.
            Resource::TransactionalId => &[],
        };
        let allowed = operations.iter().filter(|operation| {
            self.node.authorizer.allows(&self.context.principal, **operation, resource, name)
        });
        allowed.fold(0, |bits, operation| bits | (1 << operation.code()))
    }
}
