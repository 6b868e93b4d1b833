//! The harness behind `cargo xtask`: a Kubernetes of our own, images, clients, faults.
//!
//! It drives `kubectl`, YAML and processes and depends on neither the operator nor the broker, so that
//! `cargo xtask up` compiles in seconds and prints its first line at once. Start reading at [`site`] (what
//! a running cluster is called and where its files lie) and [`verb`] (what each `cargo xtask` verb does).

pub mod attached;
pub mod bench;
pub mod cache;
pub mod command;
pub mod control_group;
pub mod faults;
pub mod figures;
pub mod forward;
pub mod go;
pub mod helm;
pub mod images;
pub mod isolation;
pub mod kafka;
pub mod kcat;
pub mod kube;
pub mod kubectl;
pub mod kubelet;
pub mod lane;
pub mod librdkafka;
pub mod packages;
pub mod ports;
pub mod process;
pub mod quickstart;
pub mod registry;
pub mod repository;
pub mod server;
pub mod shim;
pub mod site;
pub mod step;
pub mod strace;
pub mod suite;
pub mod verb;
pub mod wire;
