//! What happened, as a hash always and as text on demand.

use std::cell::RefCell;
use std::fmt::{self, Write};

use crate::clock::SimTime;

thread_local! {
    /// The lines of the run on this thread. They lie outside of [`Trace`] so that they outlive a panic.
    static LINES: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// The lines of the last run on this thread.
pub fn take_lines() -> Vec<String> {
    LINES.take()
}

/// The record of one run. Two runs of one seed must have equal hashes.
#[derive(Debug)]
pub struct Trace {
    hash: u64,
    text: bool,
}

impl Trace {
    /// A trace; with `text` it keeps every line, for [`take_lines`].
    pub fn new(text: bool) -> Self {
        LINES.take();
        Self { hash: 0xcbf2_9ce4_8422_2325, text }
    }

    /// Writes down an event.
    pub fn line(&mut self, now: SimTime, text: fmt::Arguments<'_>) {
        if self.text {
            LINES.with_borrow_mut(|lines| lines.push(format!("{now} {text}")));
        }
        // A hash cannot fail to be written to.
        let _ = writeln!(self, "{now} {text}");
    }

    /// The hash of all lines so far.
    pub fn hash(&self) -> u64 {
        self.hash
    }
}

impl Write for Trace {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_tells_texts_and_times_apart() {
        let hash = |time, text: &str| {
            let mut trace = Trace::new(true);
            trace.line(SimTime(time), format_args!("{text}"));
            assert_eq!(take_lines().len(), 1);
            trace.hash()
        };
        assert_eq!(hash(1, "a"), hash(1, "a"));
        assert_ne!(hash(1, "a"), hash(2, "a"));
        assert_ne!(hash(1, "a"), hash(1, "b"));
    }
}
