//! The settings of a node, and the table of keys they come from.
//!
//! Owns: what a properties file comes to ([`BrokerConfig`]), with the rules between keys, and the forms of
//! addresses and listeners. The keys themselves, and all about topics, are in `ottla-config`, which the
//! operator shares; its names are repeated here.

mod address;
mod broker;
mod file;
mod groups;
mod listeners;

pub use ottla_config::*;

pub use address::{
    Address, BadAddress, InitialController, ListenerAddress, ListenerName, SecurityProtocol, StaticVoter,
};
pub use broker::{BrokerConfig, Limits, ReplicaSelector, Replication, Roles, Timeouts, TopicRules};
pub use file::{BrokerConfigError, Origin, Problem, Setting, Warning, WarningKind};
pub use groups::{Groups, OffsetsTopic};
pub use listeners::Listener;
