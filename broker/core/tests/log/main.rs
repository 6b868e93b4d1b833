//! The log on the simulated disk: what it stores, and what survives a crash at every step.

mod rig;
mod storing;
