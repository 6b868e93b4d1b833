//! What is checked before a message reaches raft.
//!
//! The crate takes its peers' word: it panics when a leader believes this log to be longer than it is, and
//! overflows on absurd numbers. Peers err (a disk lost its tail, a stray process speaks our protocol), and input
//! from the network must not end this process, so what would is refused here, with a reason to log.

use raft::Raft;
use raft::eraftpb::{Message, MessageType};

use super::log::MemoryLog;
use super::message::may_travel;

/// Terms and offsets at or above this come from no cluster: one change a nanosecond takes a century to get here.
const NUMBER_MAX: u64 = 1 << 62;

/// Why a message was not given to raft.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It belongs to another cluster.
    #[error("it belongs to another cluster")]
    OtherCluster,
    /// It is meant for a directory that is not this node's, such as a disk that was wiped.
    #[error("it is meant for another directory")]
    OtherDirectory,
    /// It claims to come from this node.
    #[error("it claims to come from this very directory")]
    FromMyself,
    /// It holds what no correct peer sends.
    #[error("it holds an impossible {0}")]
    Impossible(&'static str),
    /// It comes from somebody who may not say this.
    #[error("its sender is not the leader")]
    NotLeader,
    /// The leader remembers entries as durable here that are not here. This log lost its tail: going on would
    /// break what was promised, so the node must be given an empty directory and join anew.
    #[error("the leader knows entry {acknowledged} to be durable here, but the log ends at {last}")]
    LogLost {
        /// What the leader remembers.
        acknowledged: u64,
        /// What is here.
        last: u64,
    },
}

/// Checks a raft message.
pub(crate) fn check(raft: &Raft<MemoryLog>, message: &Message) -> Result<(), Refusal> {
    if message.from == raft.id {
        return Err(Refusal::FromMyself);
    }
    if !may_travel(message.get_msg_type()) {
        return Err(Refusal::Impossible("type"));
    }
    if message.term == 0 || message.term >= NUMBER_MAX {
        return Err(Refusal::Impossible("term"));
    }
    let numbers = [message.index, message.commit, message.log_term, message.commit_term, message.reject_hint];
    if numbers.iter().any(|number| *number >= NUMBER_MAX) {
        return Err(Refusal::Impossible("index"));
    }
    if message.request_snapshot != 0 {
        return Err(Refusal::Impossible("snapshot request"));
    }
    let last = raft.raft_log.last_index();
    // The crate's enum has types that `may_travel` has refused already, and may grow others.
    #[allow(clippy::wildcard_enum_match_arm)]
    match message.get_msg_type() {
        MessageType::MsgAppend => check_entries(message),
        MessageType::MsgHeartbeat if message.term >= raft.term && message.commit > last => {
            Err(Refusal::LogLost { acknowledged: message.commit, last })
        }
        MessageType::MsgAppendResponse
            if !message.reject && message.index > last && message.term == raft.term =>
        {
            Err(Refusal::Impossible("acknowledged index"))
        }
        MessageType::MsgSnapshot => check_snapshot(message),
        MessageType::MsgTimeoutNow if raft.leader_id != message.from || raft.term != message.term => {
            Err(Refusal::NotLeader)
        }
        _ => Ok(()),
    }
}

fn check_entries(message: &Message) -> Result<(), Refusal> {
    let (mut index, mut term) = (message.index, message.log_term);
    for entry in &message.entries {
        if entry.index != index + 1 {
            return Err(Refusal::Impossible("entry index"));
        }
        if entry.term < term || entry.term > message.term {
            return Err(Refusal::Impossible("entry term"));
        }
        (index, term) = (entry.index, entry.term);
    }
    Ok(())
}

fn check_snapshot(message: &Message) -> Result<(), Refusal> {
    let metadata = message.get_snapshot().get_metadata();
    let members = metadata.get_conf_state();
    let bad = metadata.index == 0
        || metadata.index >= NUMBER_MAX
        || metadata.term == 0
        || metadata.term > message.term
        || members.voters.is_empty()
        || members.voters.iter().chain(&members.learners).any(|id| *id == 0);
    if bad { Err(Refusal::Impossible("snapshot")) } else { Ok(()) }
}
