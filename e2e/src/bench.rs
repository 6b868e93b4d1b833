//! A cluster of three brokers measured beside one of Apache Kafka's, in the same run, by rules that make it fair.
//!
//! All brokers share one core and all clients another; both products have the same client, the same file system, fresh
//! directories and the same settings. They take turns, and a figure is the median of all turns with its range. What an
//! acknowledgement means stands beside every figure. Where the ranges of the two touch, nothing is concluded.
//!
//! Start at [`figure`] (what is measured and what is to be reached), then [`measure`] (how) and [`turns`] (in which
//! order).

pub mod figure;
pub mod measure;
pub mod producer;
pub mod turns;
