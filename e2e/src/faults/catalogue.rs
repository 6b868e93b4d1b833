//! The faults there are.

use std::fmt;

/// What is done to a cluster under load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing: what is wrong here is wrong without any fault.
    Steady,
    /// SIGKILL to the leader of a partition, which comes back.
    KillLeader,
    /// SIGKILL to the active controller, which comes back.
    KillController,
    /// SIGKILL to all at once.
    KillAll,
    /// SIGSTOP to the leader of a partition.
    PauseLeader,
    /// SIGSTOP to a broker that leads other partitions than this one.
    PauseFollower,
    /// SIGSTOP to the active controller.
    PauseController,
    /// The leader of a partition and the other brokers do not hear each other; clients reach all, or the others only.
    PartitionLeader,
    /// Packets pass in one direction only.
    PartitionAsymmetric,
    /// One broker's link has a thousandth of the usual bandwidth.
    SlowLink,
    /// One broker is far away: what it hears and says takes its time.
    FarLink,
    /// Every broker is stopped and started, one after the other.
    RollingRestart,
    /// One broker's disk fills up, nearly or to its end.
    DiskFull,
    /// One broker's syncs fail.
    SyncError,
    /// One broker's syncs take long.
    SlowDisk,
    /// All brokers lose power at once, and what they had not synced.
    PowerLoss,
    /// Each partition loses a replica and gets it back, in another order; the active controller may die meanwhile.
    Reassign,
    /// Each node leaves the metadata quorum and joins it again; the active controller may die meanwhile.
    Voters,
    /// The wall clocks of one node or of all are set, by seconds to a day, forth and back.
    ClockJump,
}

/// What a broker's data lie on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Storage {
    /// A directory of this machine.
    Directory,
    /// A file system of its own, so small that it can be filled.
    Small,
    /// A disk that forgets what was not flushed when it loses power.
    PowerCut,
}

/// What a broker's wall clock is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Time {
    /// The machine's.
    Machine,
    /// One of its own, which can be set.
    Own,
}

/// What a seed's topic asks of an acknowledgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Durability {
    /// The record is on the disks.
    Synced,
    /// The record is in the page caches.
    PageCache,
}

impl Fault {
    /// All, in order of their names' appearance in the issue, with the name a person types and what a run proves.
    pub const ALL: [(&'static str, Self, &'static str); 19] = [
        ("steady", Self::Steady, "nothing is lost or reordered where nothing fails"),
        ("kill-leader", Self::KillLeader, "an acknowledged record is on another broker, and that one leads"),
        ("kill-controller", Self::KillController, "the next controller knows what the last one decided"),
        ("kill-all", Self::KillAll, "logs are recovered and led by brokers that hold everything"),
        ("pause-leader", Self::PauseLeader, "a leader that was away acknowledges nothing in its old epoch"),
        ("pause-follower", Self::PauseFollower, "the ISR shrinks and grows without losing anything"),
        ("pause-controller", Self::PauseController, "a controller that was away decides nothing any more"),
        ("partition-leader", Self::PartitionLeader, "a leader that is cut off acknowledges nothing alone"),
        ("partition-asymmetric", Self::PartitionAsymmetric, "the same where only one side is deaf"),
        ("slow-link", Self::SlowLink, "a follower that falls behind does not count as in sync for ever"),
        ("far-link", Self::FarLink, "packets that come late change nothing but the time it takes"),
        ("rolling-restart", Self::RollingRestart, "leaders move before their broker ends"),
        ("disk-full", Self::DiskFull, "what cannot be written is not acknowledged, and room is noticed"),
        ("eio-on-sync", Self::SyncError, "after a failed sync nothing is acknowledged or led from that disk"),
        (
            "slow-disk",
            Self::SlowDisk,
            "a slow sync delays acknowledgements and breaks nothing; one of more than 10 s fails the disk",
        ),
        ("power-loss", Self::PowerLoss, "what was acknowledged as synced is on the disk"),
        (
            "reassign",
            Self::Reassign,
            "replicas go and come under load, over a change of controllers, and nothing is lost",
        ),
        (
            "voters",
            Self::Voters,
            "controllers leave the quorum and join it, the active one too, and decide nothing twice",
        ),
        ("clock-jump", Self::ClockJump, "no lease, session or order hangs on a wall clock"),
    ];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, fault, _)| *fault == self).map_or("unnamed", |(name, ..)| name)
    }

    /// The fault of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(its, ..)| *its == name).map(|(_, fault, _)| *fault)
    }

    /// The faults in which a real process shows that planted bug; all for one of which nothing is known.
    #[must_use]
    pub fn that_show(bug: &str) -> Vec<Self> {
        match bug {
            "ack_before_sync" | "vote_before_sync" => vec![Self::PowerLoss],
            "ack_before_followers" => vec![Self::PartitionLeader],
            "truncate_by_high_watermark" => vec![Self::KillAll],
            _ => Self::ALL.map(|(_, fault, _)| fault).to_vec(),
        }
    }

    /// What it needs.
    #[must_use]
    pub fn storage(self) -> Storage {
        match self {
            Self::DiskFull => Storage::Small,
            Self::PowerLoss => Storage::PowerCut,
            Self::Steady
            | Self::KillLeader
            | Self::KillController
            | Self::KillAll
            | Self::PauseLeader
            | Self::PauseFollower
            | Self::PauseController
            | Self::PartitionLeader
            | Self::PartitionAsymmetric
            | Self::SlowLink
            | Self::FarLink
            | Self::RollingRestart
            | Self::SyncError
            | Self::SlowDisk
            | Self::Reassign
            | Self::Voters
            | Self::ClockJump => Storage::Directory,
        }
    }

    /// What time its brokers live by.
    #[must_use]
    pub fn time(self) -> Time {
        if self == Self::ClockJump { Time::Own } else { Time::Machine }
    }

    /// Who stamps the records of its topic (`message.timestamp.type`): the leader where its clock is what is wrong.
    #[must_use]
    pub fn timestamps(self) -> &'static str {
        if self == Self::ClockJump { "LogAppendTime" } else { "CreateTime" }
    }

    /// What acknowledgements mean in the run of that seed: both in turn, but no record in a page cache outlives the
    /// power of all.
    #[must_use]
    pub fn durability(self, seed: u64) -> Durability {
        if self == Self::PowerLoss || seed % 2 == 1 { Durability::Synced } else { Durability::PageCache }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(self.name())
    }
}

impl Durability {
    /// The value of `flush.messages` that means it.
    #[must_use]
    pub fn flush_messages(self) -> &'static str {
        match self {
            Self::Synced => "1",
            Self::PageCache => "9223372036854775807",
        }
    }

    /// For tables.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::Synced => "synced",
            Self::PageCache => "page cache",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_is_found_by_its_name() {
        for (name, fault, _) in Fault::ALL {
            assert_eq!(Fault::named(name), Some(fault));
            assert_eq!(fault.to_string(), name);
        }
        assert_eq!(Fault::named("unnamed"), None);
    }

    #[test]
    fn seeds_take_turns_in_what_an_acknowledgement_means() {
        assert_eq!(Fault::KillAll.durability(1), Durability::Synced);
        assert_eq!(Fault::KillAll.durability(2), Durability::PageCache);
        assert_eq!(Fault::PowerLoss.durability(2), Durability::Synced);
    }
}
