//! One request at a time, and when the next may be sent.

use super::{CallNumber, LifecycleConfig};
use crate::time::Monotonic;

/// Of one kind of request to the active controller.
#[derive(Debug, Default)]
pub(super) struct Line {
    waits_for: Option<(CallNumber, Monotonic)>,
    next_at: Monotonic,
}

impl Line {
    /// Whether no request is on its way.
    pub(super) fn is_free(&self) -> bool {
        self.waits_for.is_none()
    }

    /// Whether it is time for the next one, and none is on its way.
    pub(super) fn is_due(&self, now: Monotonic) -> bool {
        self.is_free() && now >= self.next_at
    }

    /// Whether this is the one on its way.
    pub(super) fn awaits(&self, number: CallNumber) -> bool {
        self.waits_for.is_some_and(|(waits_for, _)| waits_for == number)
    }

    /// When it was sent.
    pub(super) fn sent_at(&self) -> Option<Monotonic> {
        self.waits_for.map(|(_, sent)| sent)
    }

    /// When one is given up, or the next may be sent if there `is_more` to say.
    pub(super) fn wakes_at(&self, config: &LifecycleConfig, is_more: bool) -> Option<Monotonic> {
        match self.waits_for {
            Some((_, since)) => Some(since.plus(config.request_timeout)),
            None => is_more.then_some(self.next_at),
        }
    }

    /// One was sent.
    pub(super) fn sent(&mut self, number: CallNumber, now: Monotonic) {
        self.waits_for = Some((number, now));
    }

    /// Its reply is there.
    pub(super) fn replied(&mut self) {
        self.waits_for = None;
    }

    /// Gives up one that takes too long, if there is one.
    pub(super) fn timed_out(&mut self, now: Monotonic, config: &LifecycleConfig) -> Option<CallNumber> {
        let late = self.waits_for.take_if(|(_, since)| now.since(*since) >= config.request_timeout);
        late.map(|(number, _)| number)
    }

    /// Sets the time of the next one.
    pub(super) fn next_at(&mut self, at: Monotonic) {
        self.next_at = at;
    }

    /// The same, unless one is on its way.
    pub(super) fn retry_at(&mut self, at: Monotonic) {
        if self.is_free() {
            self.next_at = at;
        }
    }
}
