//! A seeded simulation of a whole cluster over the same cores as the binary.
//!
//! One seed decides everything: delays, losses, crashes, torn writes, what clients do. Nothing here reads
//! a clock, starts a thread or iterates in an order that is not the same on every run.

pub mod checkers;
pub mod clock;
pub mod disk;
pub mod events;
pub mod nemesis;
pub mod network;
pub mod options;
pub mod records;
pub mod rng;
pub mod trace;
