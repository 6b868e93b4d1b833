//! Until when a broker may believe what it knows of its own leaderships.
//!
//! Who was frozen or cut off for longer than its session (`broker.session.timeout.ms`) leads nothing any more, and does
//! not know it: its metadata is from before. What it says about what it has stays true, and what it takes alone it cannot
//! acknowledge; only what it says about what it does not have may be wrong. So a session counts here from when
//! the last accepted heartbeat was sent, which is never later than from when the controller got it. One that was over
//! goes on when a heartbeat was accepted and all metadata fetched that was committed by then: the reply to a heartbeat
//! leaves after everything that was decided before it is committed.
//!
//! It lasts half as long as the controller's own. A controller that is cut off from the others, with the broker of its own
//! node, say, takes heartbeats until it sees that nobody follows it, which takes up to two election time-outs; by then its
//! successor may have counted for as long.

use std::time::Duration;

use crate::time::Monotonic;

/// See the module's text.
#[derive(Debug)]
pub(super) struct Session {
    length: Duration,
    /// When the last heartbeat was sent that was accepted.
    accepted: Option<Monotonic>,
    /// When the first heartbeat was accepted after a session that was over, until all metadata of that time is there.
    lacks_metadata_of: Option<Monotonic>,
}

impl Session {
    /// None yet. `timeout`: `broker.session.timeout.ms`, which is the controller's own setting in Kafka; here it is taken
    /// from this node's file, so that the two have to agree.
    pub(super) fn new(timeout: Duration) -> Self {
        Self { length: timeout / 2, accepted: None, lacks_metadata_of: None }
    }

    /// A heartbeat, or a registration, was accepted that was sent at that time.
    pub(super) fn accepted(&mut self, sent: Monotonic, now: Monotonic) {
        // The controller may have got it as late as now.
        if self.accepted.is_none_or(|before| now.since(before) >= self.length) {
            self.lacks_metadata_of = Some(now);
        }
        self.accepted = Some(sent);
    }

    /// The metadata is there that was committed at that time.
    pub(super) fn knows_metadata_of(&mut self, time: Monotonic) {
        self.lacks_metadata_of = self.lacks_metadata_of.filter(|lacks| time < *lacks);
    }

    /// The registration is over.
    pub(super) fn lost(&mut self) {
        self.accepted = None;
    }

    /// When it ends, if no heartbeat is accepted any more; the beginning of time if it is over.
    pub(super) fn ends(&self) -> Monotonic {
        match (self.accepted, self.lacks_metadata_of) {
            (Some(accepted), None) => accepted.plus(self.length),
            (Some(_) | None, _) => Monotonic(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Address;
    use crate::controller::operation::{FetchedMetadata, HeartbeatReply, Operation, RegisteredBroker, Reply};
    use crate::ids::{BrokerEpoch, MetadataOffset};
    use crate::lifecycle::fixture::registration;
    use crate::lifecycle::{Call, Lifecycle, LifecycleConfig};
    use crate::metadata::feed::encode_feed;

    const OVER: Monotonic = Monotonic(0);

    fn session() -> Session {
        let mut session = Session::new(Duration::from_secs(8));
        session.accepted(Monotonic(1_000), Monotonic(1_010));
        session.knows_metadata_of(Monotonic(1_020));
        session
    }

    #[test]
    fn it_counts_from_when_the_last_accepted_heartbeat_was_sent() {
        assert_eq!(session().ends(), Monotonic(5_000));
        let mut renewed = session();
        renewed.accepted(Monotonic(1_500), Monotonic(4_900));
        assert_eq!(renewed.ends(), Monotonic(5_500));
        renewed.lost();
        assert_eq!(renewed.ends(), OVER);
    }

    #[test]
    fn one_that_was_over_goes_on_with_the_metadata_of_after_it() {
        let mut frozen = session();
        // The reply had come before the process was stopped, and is read after.
        frozen.accepted(Monotonic(1_500), Monotonic(9_000));
        frozen.accepted(Monotonic(9_000), Monotonic(9_020));
        assert_eq!(frozen.ends(), OVER, "it does not know who leads by now");
        frozen.knows_metadata_of(Monotonic(9_019));
        assert_eq!(frozen.ends(), OVER, "nor after a fetch that was sent before");
        frozen.knows_metadata_of(Monotonic(9_020));
        assert_eq!(frozen.ends(), Monotonic(13_000));
    }

    fn broker() -> Lifecycle {
        let controller = Address { host: "c0".to_owned(), port: 9090 };
        Lifecycle::new(LifecycleConfig::new(registration(), vec![controller]), Monotonic(0))
    }

    /// What it asks for by now.
    fn asks(broker: &mut Lifecycle, now: u64) -> Vec<Call> {
        broker.tick(Monotonic(now));
        broker.ready().calls
    }

    /// Answers what is asked: a fetch with nothing, and with how far the metadata goes.
    fn answer(broker: &mut Lifecycle, now: u64, calls: &[Call], committed: u64) {
        for call in calls {
            let reply = if matches!(call.operation, Operation::RegisterBroker(_)) {
                Reply::RegisterBroker(RegisteredBroker { epoch: BrokerEpoch(0) })
            } else if matches!(call.operation, Operation::Heartbeat(_)) {
                let (caught_up, fenced, should_shut_down) = (true, false, false);
                Reply::Heartbeat(HeartbeatReply { caught_up, fenced, should_shut_down })
            } else {
                assert!(matches!(call.operation, Operation::FetchMetadata(_)), "{call:?}");
                let bytes = encode_feed([].into_iter());
                Reply::FetchMetadata(FetchedMetadata::Entries { bytes, committed: MetadataOffset(committed) })
            };
            broker.replied(Monotonic(now), call.number, Ok(reply));
        }
    }

    #[test]
    fn a_broker_that_was_frozen_does_not_believe_what_it_knew_before_it_has_heard_the_news() {
        let mut broker = broker();
        for now in (0..=2_000).step_by(500) {
            let calls = asks(&mut broker, now);
            answer(&mut broker, now, &calls, 0);
        }
        assert_eq!(broker.session_ends(), Monotonic(4_000));
        // The process stands still, and meanwhile another leads.
        let heartbeat = asks(&mut broker, 9_000);
        assert!(broker.session_ends() < Monotonic(9_000));
        answer(&mut broker, 9_010, &heartbeat, 0);
        assert_eq!(broker.session_ends(), OVER, "the heartbeat was accepted, but nothing is known yet");
        let news = asks(&mut broker, 9_100);
        answer(&mut broker, 9_110, &news, 3);
        assert_eq!(broker.session_ends(), OVER, "and this is not all");
        let rest = asks(&mut broker, 9_200);
        answer(&mut broker, 9_210, &rest, 0);
        assert_eq!(broker.session_ends(), Monotonic(11_000));
    }
}
