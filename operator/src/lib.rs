//! The Kubernetes operator of Ottla.
//!
//! Every kind takes the same way: *observe* (IO) → *validate* → *desired* → *rollout* (these three are pure) →
//! *apply* (the only writer). Start reading at [`crd`] for the words, then [`cluster`] for the steps.

pub mod apply;
pub mod cluster;
pub mod crd;
pub mod digest;
pub mod events;
pub mod http_get;
pub mod http_serve;
pub mod kafka;
pub mod lease;
pub mod names;
pub mod quantity;
pub mod retry;
pub mod run;
pub mod settings;
pub mod status;
pub mod topic;
