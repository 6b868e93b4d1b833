//! The Kubernetes operator of Ottla.
//!
//! Every kind takes the same way: *observe* (IO) → *validate* → *desired* → *rollout* (these three are pure) →
//! *apply* (the only writer). Start reading at [`crd`] for the words, then `cluster` for the steps.

pub mod crd;
