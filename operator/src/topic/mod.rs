//! `KafkaTopic`: from the object to a topic of its cluster.
//!
//! All topics of one cluster take one pass together, because the cluster answers about hundreds of topics as fast as
//! about one: `declared` (what the objects say), `plan` (pure: what to ask of the cluster, what to report; `replicas` and
//! `spread` are its part about their number), `report` (pure: what is said), and `pass`, which talks to the cluster through
//! `crate::kafka` and writes through `crate::apply` and `crate::status`. `reconcile` says when, and `news` (pure) after
//! which changes. Must not: keep what was observed from one pass to the next.

pub mod declared;
pub mod news;
pub mod pass;
pub mod plan;
pub mod reconcile;
pub mod replicas;
pub mod report;
pub mod spread;
