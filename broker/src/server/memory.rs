//! One budget of bytes for everything that peers can make this process hold.
//!
//! A request's bytes are reserved before its body is read, a reply's before it is built. When the budget
//! is used up, readers wait: the kernel's socket buffers fill and the peers' sending slows down.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The unit of the budget. A semaphore counts in `u32`; in KiB that reaches 4 TiB.
const UNIT_BYTES: usize = 1024;

/// The budget when the cgroup says nothing: enough for two of Kafka's largest requests.
const FALLBACK_BYTES: usize = 256 << 20;

/// See the module's text.
#[derive(Debug, Clone)]
pub(crate) struct MemoryBudget {
    units: Arc<Semaphore>,
    total_units: u32,
}

/// Bytes taken from the budget until this is dropped.
#[derive(Debug)]
pub(crate) struct Reservation {
    _permit: OwnedSemaphorePermit,
}

impl MemoryBudget {
    /// A budget of so many bytes, at least one unit.
    pub(crate) fn new(bytes: usize) -> Self {
        let total_units = u32::try_from((bytes / UNIT_BYTES).max(1)).unwrap_or(u32::MAX >> 4);
        let units = usize::try_from(total_units).expect("a u32 fits a usize here");
        Self { units: Arc::new(Semaphore::new(units)), total_units }
    }

    /// Half of what the cgroup allows this process, so that the other half is left to the page cache,
    /// which cgroups count too, and to everything that is not a request.
    pub(crate) fn from_cgroup() -> Self {
        let limit = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"]
            .iter()
            .filter_map(|path| std::fs::read_to_string(path).ok())
            .find_map(|text| text.trim().parse::<usize>().ok())
            // cgroup v1 writes "no limit" as a number near 2^63.
            .filter(|limit| *limit < 1 << 60);
        Self::new(limit.map_or(FALLBACK_BYTES, |limit| limit / 2))
    }

    /// Waits until so many bytes are free and takes them. More than the whole budget takes the whole: one
    /// large request then runs alone instead of waiting for ever.
    pub(crate) async fn reserve(&self, bytes: usize) -> Reservation {
        let units = u32::try_from(bytes.div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX).min(self.total_units);
        let permit = Arc::clone(&self.units).acquire_many_owned(units).await;
        Reservation { _permit: permit.expect("the semaphore is never closed") }
    }

    /// Bytes not reserved.
    #[cfg(test)]
    fn available_bytes(&self) -> usize {
        self.units.available_permits() * UNIT_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn more_than_the_whole_budget_runs_alone() {
        let budget = MemoryBudget::new(10 * 1024);
        let all = budget.reserve(1 << 30).await;
        assert_eq!(budget.available_bytes(), 0);
        drop(all);
        assert_eq!(budget.available_bytes(), 10 * 1024);
    }
}
