//! Two budgets of bytes for everything that peers can make this process hold: one for the listeners of
//! brokers, one for the listener of controllers, so that no client can take what the quorum runs on.
//!
//! A request's bytes are reserved while they arrive and until it is answered; the records of a Fetch before they
//! are read, and replies to Metadata and DescribeConfigs, which may be much larger than what asks for them, before
//! they are made, until they are written. When a budget is used up, readers wait: the kernel's socket buffers fill
//! and the peers' sending slows down. Whoever waits may hold something that others wait for, so at each of the two
//! stages, reading and answering, one at a time goes on without: the most that is held is the budget, one request and
//! one reply, and as an answer ends by itself, none waits for ever. Not counted: other replies, which are about as large as their requests, or as
//! the list of brokers and controllers; and what batches inflate to while they are validated, at most 64 MiB for
//! each processor.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::api::Scope;

/// The unit of the budget. A semaphore counts in `u32`; in KiB that reaches 4 TiB.
const UNIT_BYTES: usize = 1024;

/// The budgets when the cgroup says nothing: enough for two of Kafka's largest requests.
const FALLBACK_BYTES: usize = 256 << 20;

/// The part of the whole that is for the listener of controllers. Its peers are few and what they send is
/// small, but for forwarded requests, of which each is one that a broker has already let in.
const CONTROLLER_SHARE: usize = 8;

/// See the module's text.
#[derive(Debug)]
pub(crate) struct MemoryBudgets {
    brokers: MemoryBudget,
    controllers: MemoryBudget,
}

impl MemoryBudgets {
    /// Budgets of so many bytes together.
    pub(crate) fn new(bytes: usize) -> Self {
        let controllers = bytes / CONTROLLER_SHARE;
        Self { brokers: MemoryBudget::new(bytes - controllers), controllers: MemoryBudget::new(controllers) }
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

    /// The budget of listeners of this kind.
    pub(crate) fn of(&self, scope: Scope) -> &MemoryBudget {
        match scope {
            Scope::Broker => &self.brokers,
            Scope::Controller => &self.controllers,
        }
    }
}

/// One of the budgets.
#[derive(Debug, Clone)]
pub(crate) struct MemoryBudget {
    units: Arc<Semaphore>,
    total_units: u32,
    /// Whose request is read without the bytes it takes.
    request_overdraft: Arc<Semaphore>,
    /// Whose reply is made without the bytes it takes. Not the same one: a request that is in by the first would wait
    /// for itself.
    reply_overdraft: Arc<Semaphore>,
}

/// Bytes taken from a budget until this is dropped.
#[derive(Debug, Default)]
pub(crate) struct Reservation {
    permit: Option<OwnedSemaphorePermit>,
    overdraft: Option<OwnedSemaphorePermit>,
}

impl Reservation {
    /// Gives back what is beyond so many bytes.
    pub(crate) fn shrink(&mut self, bytes: usize) {
        if let Some(permit) = &mut self.permit {
            let spare = permit.num_permits().saturating_sub(bytes.div_ceil(UNIT_BYTES));
            drop(permit.split(spare));
        }
    }

    fn merge(&mut self, permit: Option<OwnedSemaphorePermit>) {
        match (&mut self.permit, permit) {
            (Some(held), Some(more)) => held.merge(more),
            (held, more) => *held = more,
        }
    }
}

impl MemoryBudget {
    /// A budget of so many bytes, at least one unit.
    pub(crate) fn new(bytes: usize) -> Self {
        let total_units = u32::try_from((bytes / UNIT_BYTES).max(1)).unwrap_or(u32::MAX >> 4);
        let units = usize::try_from(total_units).expect("a u32 fits a usize here");
        Self {
            units: Arc::new(Semaphore::new(units)),
            total_units,
            request_overdraft: Arc::new(Semaphore::new(1)),
            reply_overdraft: Arc::new(Semaphore::new(1)),
        }
    }

    /// Waits until a reply can have so many bytes, of which the whole budget is the most, or until it may go on without.
    /// Whoever calls this must hold no other reply's, and give it back without waiting for anything but its writing.
    pub(crate) async fn reserve(&self, bytes: usize) -> Reservation {
        let mut reservation = Reservation::default();
        self.take_or_overdraw(&mut reservation, bytes, &self.reply_overdraft).await;
        reservation
    }

    /// Waits until the reservation of a request that arrives holds so many bytes in all, or until it may go on
    /// without. Cancel-safe: what the reservation holds it keeps.
    pub(crate) async fn grow(&self, reservation: &mut Reservation, bytes: usize) {
        self.take_or_overdraw(reservation, bytes, &self.request_overdraft).await;
    }

    async fn take_or_overdraw(
        &self,
        reservation: &mut Reservation,
        bytes: usize,
        overdraft: &Arc<Semaphore>,
    ) {
        let missing = self.missing(reservation, bytes);
        if missing == 0 || reservation.overdraft.is_some() {
            return;
        }
        // Cancel-safe: a permit is given or it is not. In this order, so that the overdraft is the last resort.
        tokio::select! {
            biased;
            permit = self.take(missing) => reservation.merge(permit),
            turn = Arc::clone(overdraft).acquire_owned() => reservation.overdraft = turn.ok(),
        }
    }

    /// Lets the reservation grow to so many bytes if half of the budget stays free, and says whether it did: what
    /// is only quicker must not take what others need.
    pub(crate) fn try_grow(&self, reservation: &mut Reservation, bytes: usize) -> bool {
        let missing = self.missing(reservation, bytes);
        let free = self.units.available_permits();
        if free < usize::try_from(missing.saturating_add(self.total_units / 2)).unwrap_or(usize::MAX) {
            return false;
        }
        let Ok(more) = Arc::clone(&self.units).try_acquire_many_owned(missing) else { return false };
        reservation.merge(Some(more));
        true
    }

    fn missing(&self, reservation: &Reservation, bytes: usize) -> u32 {
        let wanted = u32::try_from(bytes.div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX).min(self.total_units);
        let held = reservation.permit.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        wanted.saturating_sub(u32::try_from(held).unwrap_or(u32::MAX))
    }

    async fn take(&self, units: u32) -> Option<OwnedSemaphorePermit> {
        let permit = Arc::clone(&self.units).acquire_many_owned(units).await;
        Some(permit.expect("the semaphore is never closed"))
    }

    /// Bytes not reserved.
    #[cfg(test)]
    pub(crate) fn available_bytes(&self) -> usize {
        self.units.available_permits() * UNIT_BYTES
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::task::{Context, Poll, Waker};

    use super::*;

    #[tokio::test]
    async fn more_than_the_whole_budget_runs_alone() {
        let budget = MemoryBudget::new(10 * 1024);
        let all = budget.reserve(1 << 30).await;
        assert_eq!(budget.available_bytes(), 0);
        drop(all);
        assert_eq!(budget.available_bytes(), 10 * 1024);
    }

    #[tokio::test]
    async fn growth_that_is_only_quicker_leaves_half_of_the_budget_and_gives_back_what_it_does_not_need() {
        let budget = MemoryBudget::new(10 * 1024);
        let mut reply = budget.reserve(1024).await;
        assert!(!budget.try_grow(&mut reply, 6 * 1024));
        assert!(budget.try_grow(&mut reply, 5 * 1024));
        assert_eq!(budget.available_bytes(), 5 * 1024);
        reply.shrink(2 * 1024);
        assert_eq!(budget.available_bytes(), 8 * 1024);
        drop(reply);
        assert_eq!(budget.available_bytes(), 10 * 1024);
    }

    #[tokio::test]
    async fn beginnings_that_fill_the_budget_do_not_wait_for_each_other() {
        let budget = MemoryBudget::new(10 * 1024);
        let (mut first, mut second) = (Reservation::default(), Reservation::default());
        budget.grow(&mut first, 5 * 1024).await;
        budget.grow(&mut second, 5 * 1024).await;
        assert_eq!(budget.available_bytes(), 0);
        budget.grow(&mut first, 9 * 1024).await;
        {
            let mut waits = std::pin::pin!(budget.grow(&mut second, 9 * 1024));
            let mut context = Context::from_waker(Waker::noop());
            assert!(waits.as_mut().poll(&mut context).is_pending(), "one at a time");
            drop(first);
            assert!(waits.as_mut().poll(&mut context).is_ready());
        }
        drop(second);
        assert_eq!(budget.available_bytes(), 10 * 1024);
    }

    #[tokio::test]
    async fn replies_do_not_wait_for_the_requests_that_wait_for_them() {
        let budget = MemoryBudget::new(10 * 1024);
        let mut context = Context::from_waker(Waker::noop());
        let mut requests = [Reservation::default(), Reservation::default(), Reservation::default()];
        for request in &mut requests {
            budget.grow(request, 5 * 1024).await;
        }
        assert!(requests[2].overdraft.is_some(), "the third is in by the overdraft of requests");
        let mut first = Box::pin(budget.reserve(usize::MAX));
        let Poll::Ready(reply) = first.as_mut().poll(&mut context) else { panic!("it waits for itself") };
        let mut second = Box::pin(budget.reserve(1));
        assert!(second.as_mut().poll(&mut context).is_pending(), "one at a time");
        drop(reply);
        assert!(second.as_mut().poll(&mut context).is_ready());
        drop((second, requests));
        assert_eq!(budget.available_bytes(), 10 * 1024);
    }

    #[tokio::test]
    async fn clients_cannot_take_what_controllers_need() {
        let budgets = MemoryBudgets::new(1 << 20);
        let _all = budgets.of(Scope::Broker).reserve(usize::MAX).await;
        assert_eq!(budgets.of(Scope::Broker).available_bytes(), 0);
        assert!(budgets.of(Scope::Controller).available_bytes() > 0);
    }
}
