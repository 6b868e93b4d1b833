//! The only place where this process asks what time it is.

use std::sync::LazyLock;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use ottla_core::time::{Monotonic, Wall};

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Time since this process first asked.
pub(crate) fn monotonic() -> Monotonic {
    Monotonic(u64::try_from(START.elapsed().as_millis()).unwrap_or(u64::MAX))
}

/// The time of day. Before 1970 it is 1970.
pub(crate) fn wall() -> Wall {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Wall(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
