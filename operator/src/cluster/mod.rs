//! `KafkaCluster`: from the spec to running nodes.
//!
//! `observe` (IO) → `validate` → `identity`, `desired`, `rollout` (pure) → `reconcile`, which asks, applies and
//! reports. Must not: restart a pod anywhere but through `rollout`, or write but through `crate::apply` and
//! `crate::status`.

pub mod config_keys;
pub mod desired;
pub mod identity;
pub mod observe;
pub mod properties;
pub mod reconcile;
pub mod report;
pub mod rollout;
pub mod validate;
