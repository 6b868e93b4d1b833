//! Timers with a key each: to set one again moves it.

use std::collections::{BTreeMap, BTreeSet};

use crate::time::Monotonic;

/// See the module's text.
#[derive(Debug)]
pub(super) struct Deadlines<K> {
    at: BTreeMap<K, Monotonic>,
    order: BTreeSet<(Monotonic, K)>,
}

impl<K> Default for Deadlines<K> {
    fn default() -> Self {
        Self { at: BTreeMap::new(), order: BTreeSet::new() }
    }
}

impl<K: Ord + Clone> Deadlines<K> {
    /// Sets a timer, or moves it.
    pub(super) fn set(&mut self, key: K, at: Monotonic) {
        self.cancel(&key);
        self.order.insert((at, key.clone()));
        self.at.insert(key, at);
    }

    /// Sets a timer that is not set.
    pub(super) fn set_if_absent(&mut self, key: K, at: Monotonic) {
        if !self.at.contains_key(&key) {
            self.set(key, at);
        }
    }

    pub(super) fn cancel(&mut self, key: &K) {
        if let Some(at) = self.at.remove(key) {
            self.order.remove(&(at, key.clone()));
        }
    }

    /// When the first one is due.
    pub(super) fn next(&self) -> Option<Monotonic> {
        self.order.first().map(|(at, _)| *at)
    }

    /// Takes the first one that is due.
    pub(super) fn take_due(&mut self, now: Monotonic) -> Option<K> {
        if self.next()? > now {
            return None;
        }
        let (_, key) = self.order.pop_first()?;
        self.at.remove(&key);
        Some(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timer_is_due_once_at_its_last_time() {
        let mut deadlines = Deadlines::default();
        deadlines.set('a', Monotonic(5));
        deadlines.set('b', Monotonic(6));
        deadlines.set('a', Monotonic(9));
        deadlines.set_if_absent('b', Monotonic(1));
        deadlines.set('c', Monotonic(2));
        deadlines.cancel(&'c');
        assert_eq!((deadlines.next(), deadlines.take_due(Monotonic(5))), (Some(Monotonic(6)), None));
        let due: Vec<_> = std::iter::from_fn(|| deadlines.take_due(Monotonic(9))).collect();
        assert_eq!(due, ['b', 'a']);
        assert_eq!(deadlines.next(), None);
    }
}
