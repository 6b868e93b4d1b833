//! Real processes under real faults: three brokers, two producers and readers that nobody here wrote, one fault, and
//! afterwards the question whether anything that was promised was broken.
//!
//! Start at [`catalogue`] (which faults there are), then [`run`] (what one run does) and [`check`] (what is asked of
//! it). A series of runs lives in network, mount and process namespaces of its own ([`series`]), so that whatever
//! happens to it nothing of it is left on the machine. `docs/testing.md` says how to use it.

pub mod catalogue;
pub mod chance;
pub mod check;
pub mod clock;
pub mod cluster;
pub mod disk;
pub mod history;
pub mod ledger;
pub mod load;
pub mod nemesis;
pub mod network;
pub mod replica;
pub mod run;
pub mod series;
