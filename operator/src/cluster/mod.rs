//! `KafkaCluster`: from the spec to running nodes.
//!
//! `observe` (IO) → `validate` → `identity`, `quorum`, `desired`, `rollout` (pure) → `change`, which writes, and `report` (pure).
//! `reconcile` is the pass that strings them together. Must not: restart a pod anywhere but through `rollout`, or write
//! but through `crate::apply` and `crate::status`.

mod change;
pub mod config_keys;
pub mod desired;
pub mod durability;
pub mod identity;
pub mod observe;
pub mod properties;
pub mod quorum;
pub mod reconcile;
pub mod report;
pub mod rollout;
mod taken;
pub mod validate;
