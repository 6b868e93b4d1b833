//! How long the active controller waits for a broker that says nothing.
//!
//! On becoming active every broker's session starts anew with its full length, since nobody could have renewed it
//! meanwhile. Only the node of the controller that was active before was heard until it fell silent, and that is why there
//! is another one: for its broker the session counts from then, so that a machine that is gone is not waited for twice.
//! Heartbeats and registrations renew it; it is over before its end only for a broker that is known to be
//! dead (`failures.rs`).

use std::collections::BTreeMap;
use std::time::Duration;

use super::operation::Heartbeat;
use super::state::{ControllerEvent, State};
use crate::ids::{MetadataOffset, NodeId};
use crate::metadata::image::{Fencing, Image};
use crate::time::Monotonic;

/// A broker as the active controller hears it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Session {
    pub(super) ends: Monotonic,
    /// The last entry that the broker said it applied.
    pub(super) metadata_offset: MetadataOffset,
}

/// A session for every broker.
pub(super) fn new_sessions(image: &Image, ends: Monotonic) -> BTreeMap<NodeId, Session> {
    let session = Session { ends, metadata_offset: MetadataOffset(0) };
    image.brokers.keys().map(|id| (*id, session)).collect()
}

impl State {
    /// Whether a broker's session is not over.
    pub(super) fn has_session(&self, now: Monotonic, id: NodeId) -> bool {
        self.sessions.get(&id).is_some_and(|session| session.ends > now)
    }

    /// The node that was active before was heard last at that time. Its broker, if there is one and it lives, gets what it
    /// needs to find this controller.
    pub(super) fn take_over_silence(
        &mut self,
        now: Monotonic,
        session_timeout: Duration,
        id: NodeId,
        heard: Monotonic,
    ) {
        if let Some(session) = self.sessions.get_mut(&id) {
            session.ends = heard.plus(session_timeout).max(now.plus(session_timeout / 4)).min(session.ends);
        }
    }

    /// Takes a heartbeat.
    pub(super) fn heard(&mut self, now: Monotonic, ends: Monotonic, request: &Heartbeat) {
        let id = request.node_id;
        self.failures.heard(now, id);
        self.damaged.told(id, &request.damaged_logs);
        self.sessions.insert(id, Session { ends, metadata_offset: request.metadata_offset });
        let stopping = self.image.brokers.get(&id).map(|broker| broker.fencing);
        if stopping == Some(Fencing::InControlledShutdown) {
            self.shutdowns.entry(id).or_insert(self.image.offset);
        } else {
            self.shutdowns.remove(&id);
        }
    }

    /// If this process did not run for a while, the brokers' heartbeats wait unread; it is not their silence.
    pub(super) fn forgive_own_pause(&mut self, now: Monotonic, session_timeout: Duration) {
        let pause = now.since(self.seen);
        self.seen = self.seen.max(now);
        if pause > session_timeout / 4 {
            for session in self.sessions.values_mut() {
                session.ends = session.ends.plus(pause);
            }
        }
    }

    /// Takes a registration, which is a sign of life, too.
    pub(super) fn registered(&mut self, now: Monotonic, ends: Monotonic, id: NodeId) {
        self.failures.heard(now, id);
        self.damaged.forget(id);
        self.sessions.insert(id, Session { ends, metadata_offset: MetadataOffset(0) });
        self.shutdowns.remove(&id);
    }

    /// Cuts short the session of a broker that is known to be dead.
    pub(super) fn end_session_of_dead(&mut self, now: Monotonic) -> Option<ControllerEvent> {
        let node_id = self.failures.dead(now, &self.image)?;
        let session = self.sessions.get_mut(&node_id).filter(|session| session.ends > now)?;
        self.failures.hastened(node_id, session.ends);
        session.ends = now;
        Some(ControllerEvent::ConnectionRefused { node_id })
    }
}
