//! Rot under a running leader, and somebody who reads there until it is found: a consumer that is none of the clients, since
//! these seldom read again what they have.

use ottla_core::ids::{NodeId, Offset, TopicPartition};

use super::{Found, Rot};
use crate::checkers::Violation;
use crate::cluster::client_messages::{ClientReply, ClientRequest};
use crate::cluster::{Event, Simulation};
use crate::network::Peer;
use crate::options::Options;
use crate::records;
use crate::rng::Rng;

/// Who reads it: no client has this number.
pub(in crate::cluster) const VISITOR: u32 = u32::MAX;

/// How often in a thousand something rots when nothing is rotten.
const OFTEN_PERMILLE: u32 = 800;

/// The times between two strikes or visits, in simulated milliseconds.
const WAIT_MS: std::ops::Range<u64> = 200..2_000;

/// See the module's text.
#[derive(Debug)]
pub(in crate::cluster) struct RunningRot {
    rng: Rng,
    /// Numbers the visits.
    visits: u64,
    /// What the last of them is to read.
    asked: Option<(TopicPartition, Offset)>,
}

impl RunningRot {
    pub(in crate::cluster) fn new(options: &Options) -> Option<Self> {
        let rng = Rng::new(options.seed).fork("rot under leaders");
        options.faults.rot_while_running.then_some(Self { rng, visits: 0, asked: None })
    }

    /// How long until the next strike or visit.
    pub(in crate::cluster) fn wait_ms(&mut self) -> u64 {
        self.rng.range(WAIT_MS)
    }
}

impl Simulation {
    /// Something rots, or somebody reads what has.
    pub(in crate::cluster) fn running_rot(&mut self) {
        let Some(mut running) = self.running_rot.take() else { return };
        if self.is_rot_unknown() {
            self.visit(&mut running);
        } else if !self.calm && !self.is_rotten() && running.rng.permille(OFTEN_PERMILLE) {
            self.forget_rot();
            self.rot_under_leader(&mut running.rng);
        }
        if !self.calm || self.is_rot_unknown() {
            let next = self.events.now().plus_millis(running.wait_ms());
            self.events.at(next, Event::RunningRot);
        }
        self.running_rot = Some(running);
    }

    fn is_rot_unknown(&self) -> bool {
        self.rot_lies_there() && self.rot.as_ref().is_some_and(|rot| rot.found == Found::No)
    }

    /// Asks whoever leads now for the batch that has rotted.
    fn visit(&mut self, running: &mut RunningRot) {
        let Some(Rot { at: partition, batch, .. }) = self.rot.as_ref() else { return };
        let (partition, offset) = (*partition, batch.base);
        let newest = self.checks.committed.newest();
        let registered = newest.and_then(|image| image.partition(partition.topic_id, partition.partition));
        let Some((leader, epoch)) =
            registered.and_then(|registered| Some((registered.leader?, registered.leader_epoch)))
        else {
            return;
        };
        running.visits += 1;
        running.asked = Some((partition, offset));
        let (client, number) = (VISITOR, running.visits);
        let request = ClientRequest::Fetch { partition, offset, epoch, rack: None };
        if let Some(delay) = self.network.send(Peer::Client(client), Peer::Node(leader)).first() {
            let event = Event::ClientRequest { client, to: leader, number, request };
            self.events.after_micros(*delay, event);
        }
    }

    /// What was read is what was written, or was found not to be.
    pub(in crate::cluster) fn visitor_is_told(
        &mut self,
        number: u64,
        reply: Option<ClientReply>,
    ) -> Result<(), Violation> {
        if let Some(reply) = &reply {
            self.trace.line(self.events.now(), format_args!("visitor #{number} {}", reply.name()));
        }
        let last = self.running_rot.as_ref().filter(|running| running.visits == number);
        let Some((partition, from)) = last.and_then(|running| running.asked) else { return Ok(()) };
        let Some(ClientReply::Fetched { records, .. }) = reply else { return Ok(()) };
        let mut read = records::decode(&records).map_err(|bad| self.checks.unreadable(partition, &bad))?;
        read.retain(|(offset, _)| *offset >= from);
        self.checks.read(partition, from, &read)
    }

    /// A leader that is alone goes on with rot and gives it away as it is. Whoever asked finds it by its checksum, and has to
    /// ask again, as after a refusal.
    pub(in crate::cluster) fn refused_if_rotten(&self, node: NodeId, reply: ClientReply) -> ClientReply {
        let ClientReply::Fetched { records, .. } = &reply else { return reply };
        let is_in = |rot: &Rot| {
            let batch = &rot.batch.bytes;
            rot.node == node && records.windows(batch.len()).any(|bytes| bytes == batch.as_slice())
        };
        if self.rot.as_ref().is_some_and(is_in) {
            return ClientReply::Refused { certain: true, reason: "a wrong checksum".to_owned() };
        }
        reply
    }
}
