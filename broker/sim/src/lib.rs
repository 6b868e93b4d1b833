//! A seeded simulation of a whole cluster over the same cores.

pub mod disk;
pub mod rng;
