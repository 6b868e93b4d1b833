//! Which broker has died before its session is over (decision 14 of the architecture).
//!
//! A broker that lives pulls metadata several times a second. One that was not heard for [`SILENCE`] is probed: the
//! driver opens a connection to it. Only a refusal says something, and it takes several of them in a row: no
//! process listens there any more, so nothing is gained by waiting for the end of its session. All else says nothing,
//! since a machine that is cut off or hangs answers as late as one that is gone, and a sidecar accepts for a process
//! that died.
//!
//! Refusals only hasten what the end of the session would do, for one broker at a time. With several lost at once it
//! is as likely that something is wrong between them and this controller; then each has the whole of its session.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::config::Address;
use crate::controller::operation::FetchMetadata;
use crate::ids::NodeId;
use crate::metadata::image::Image;
use crate::refusals::Refusals;
use crate::time::Monotonic;

/// After so long without a word a broker is probed: half as long again as one that lives lets pass between two fetches
/// of metadata.
const SILENCE: Duration =
    FetchMetadata::WAIT_MAX.saturating_mul(3).checked_div(2).expect("it is not divided by zero");

/// The pause between two probes of a broker: the next one goes with the controller's next tick, 100 ms apart.
const PROBE_INTERVAL: Duration = Duration::from_millis(50);

/// A connection is to be opened to another node, and closed again. Report what came of it with
/// [`ControllerNode::probed`](super::ControllerNode::probed).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// To be given back.
    pub id: ProbeId,
    /// Whom.
    pub node_id: NodeId,
    /// Where.
    pub address: Address,
}

/// Whose probe it is, and its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProbeId {
    /// Of a broker, by the active controller.
    Broker(u64),
    /// Of the leader of the metadata quorum, by a voter.
    Leader(u64),
}

/// What came of a [`Probe`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProbeOutcome {
    /// Its machine says that nobody listens there (ECONNREFUSED).
    Refused,
    /// Anything else, and no answer in time.
    Unknown,
}

/// What is known of a broker.
#[derive(Debug, Clone, Copy, Default)]
struct Contact {
    heard: Option<Monotonic>,
    next_probe: Monotonic,
    refusals: Refusals,
}

/// See the module's text.
#[derive(Debug, Clone, Default)]
pub(super) struct FailureDetector {
    /// Of a broker that is not in it nothing was heard since this controller became active.
    contacts: BTreeMap<NodeId, Contact>,
    numbers: u64,
    /// The last broker whose session was cut short, and when that session would have been over.
    hastened: Option<(NodeId, Monotonic)>,
}

impl FailureDetector {
    /// A broker gave a sign of life.
    pub(super) fn heard(&mut self, now: Monotonic, id: NodeId) {
        self.contacts.insert(id, Contact { heard: Some(now), ..Contact::default() });
        self.hastened.take_if(|(hastened, _)| *hastened == id);
    }

    /// Who is to be probed now, on the listener where brokers meet, or the first if there is none of that name.
    pub(super) fn probes(&mut self, now: Monotonic, image: &Image, listener: &str) -> Vec<Probe> {
        self.contacts.retain(|id, _| image.brokers.contains_key(id));
        let mut probes = Vec::new();
        for broker in image.reachable_brokers() {
            let contact = self.contacts.entry(broker.node_id).or_default();
            let silent = contact.heard.is_none_or(|heard| now.since(heard) >= SILENCE);
            let Some(endpoint) = broker.endpoint(listener).or_else(|| broker.endpoints.first()) else {
                continue;
            };
            if silent && !contact.refusals.is_asking() && contact.next_probe <= now {
                self.numbers += 1;
                contact.refusals.ask(self.numbers);
                let address = Address { host: endpoint.host.clone(), port: endpoint.port };
                probes.push(Probe { id: ProbeId::Broker(self.numbers), node_id: broker.node_id, address });
            }
        }
        probes
    }

    /// Takes what came of a probe. One that was overtaken by a sign of life means nothing.
    pub(super) fn probed(&mut self, now: Monotonic, number: u64, outcome: ProbeOutcome) {
        let Some(contact) = self.contacts.values_mut().find(|contact| contact.refusals.awaits(number)) else {
            return;
        };
        contact.next_probe = now.plus(PROBE_INTERVAL);
        contact.refusals.answered(outcome == ProbeOutcome::Refused);
    }

    /// The broker whose session need not be waited for.
    pub(super) fn dead(&self, now: Monotonic, image: &Image) -> Option<NodeId> {
        let refusals =
            |id: NodeId| self.contacts.get(&id).map(|contact| contact.refusals).unwrap_or_default();
        let mut refusing =
            image.reachable_brokers().map(|broker| broker.node_id).filter(|id| refusals(*id).any());
        // Who refused once is perhaps being lost at this moment, too, and asked a little later.
        let first = refusing.next()?;
        let another = refusing.next().is_some() || self.hastened.is_some_and(|(_, until)| until > now);
        (!another && refusals(first).are_enough()).then_some(first)
    }

    /// A broker's session was cut short, which would have been over then.
    pub(super) fn hastened(&mut self, id: NodeId, until: Monotonic) {
        self.hastened = Some((id, until));
    }
}

#[cfg(test)]
mod tests;
