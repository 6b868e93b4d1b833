//! The queue of what will happen, ordered by time and then by who came first.

use std::collections::BTreeMap;

use crate::clock::SimTime;

/// Events to come.
#[derive(Debug)]
pub struct EventQueue<E> {
    now: SimTime,
    sequence: u64,
    queue: BTreeMap<(SimTime, u64), E>,
    done: u64,
}

impl<E> Default for EventQueue<E> {
    fn default() -> Self {
        Self { now: SimTime::default(), sequence: 0, queue: BTreeMap::new(), done: 0 }
    }
}

impl<E> EventQueue<E> {
    /// The time of the event that is being handled.
    pub fn now(&self) -> SimTime {
        self.now
    }

    /// How many events have been handled.
    pub fn done(&self) -> u64 {
        self.done
    }

    /// Lets something happen, not before now.
    pub fn at(&mut self, time: SimTime, event: E) {
        self.sequence += 1;
        self.queue.insert((time.max(self.now), self.sequence), event);
    }

    /// Lets something happen in so many microseconds.
    pub fn after_micros(&mut self, micros: u64, event: E) {
        self.at(self.now.plus_micros(micros), event);
    }

    /// The next event; time moves to it.
    pub fn next_event(&mut self) -> Option<E> {
        let ((time, _), event) = self.queue.pop_first()?;
        self.now = time;
        self.done += 1;
        Some(event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_by_time_and_then_in_the_order_they_were_made() {
        let mut queue = EventQueue::default();
        queue.after_micros(5, "c");
        queue.after_micros(1, "a");
        queue.after_micros(5, "d");
        queue.after_micros(1, "b");
        let mut order = Vec::new();
        while let Some(event) = queue.next_event() {
            if event == "a" {
                queue.at(SimTime(0), "never before now");
            }
            order.push((queue.now().0, event));
        }
        assert_eq!(order, [(1, "a"), (1, "b"), (1, "never before now"), (5, "c"), (5, "d")]);
        assert_eq!(queue.done(), 5);
    }
}
