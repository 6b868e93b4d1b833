//! The tests that librdkafka's authors wrote for librdkafka, run against three brokers of Ottla or of Apache Kafka.
//!
//! Start at [`catalogue`] (which tests there are, and what those that are not run lack), then [`run`] (how one is run)
//! and [`series`] (all of them, in namespaces of their own). [`verdicts`] is what came of them and [`page`] what is told
//! about it in `docs/reference/librdkafka.md`.

pub mod catalogue;
pub mod page;
pub mod run;
pub mod series;
pub mod verdicts;
