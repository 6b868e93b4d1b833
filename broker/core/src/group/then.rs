//! What is done when records are committed, or refused.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;

use super::ids::{GroupId, MemberId};
use super::record::{CommittedOffset, OffsetKey};
use super::request::Reply;

/// See the module's text.
#[derive(Debug)]
pub(super) enum Then<T> {
    /// Offsets are kept, or no longer.
    Offsets {
        group: GroupId,
        offsets: Vec<(OffsetKey, Option<CommittedOffset>)>,
        /// Whom to answer, if anybody asked.
        answer: Option<(T, Reply)>,
    },
    /// A leader's assignments hold.
    Assigned { group: GroupId, generation: i32, assignments: BTreeMap<MemberId, Bytes> },
    /// A static member that came back has the place of the one that there was.
    Returned { group: GroupId, returned: Returned },
    /// Nobody waits: a group without members is written down for the next coordinator only.
    Emptied,
    /// A group is no more.
    Deleted { group: GroupId, answer: Option<T> },
}

/// A static member that came back.
#[derive(Debug)]
pub(super) struct Returned {
    /// In which generation.
    pub(super) generation: i32,
    /// What it is called now.
    pub(super) member: MemberId,
    /// Who it is told leads, if that is not who does.
    pub(super) leader_told: Option<MemberId>,
    /// What is restored if that cannot be written.
    pub(super) before: Before,
}

/// A static member before another process took its place.
#[derive(Debug)]
pub(super) struct Before {
    pub(super) id: MemberId,
    pub(super) client_id: String,
    pub(super) client_host: String,
    pub(super) session_timeout: Duration,
    pub(super) rebalance_timeout: Duration,
    pub(super) protocols: Vec<(String, Bytes)>,
}
