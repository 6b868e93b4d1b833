//! Acknowledgements that wait for a position.

use std::collections::VecDeque;

use super::PartitionError;
use crate::ids::Offset;

/// A producer's `acks`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AckLevel {
    /// `acks=0`: no reply.
    None,
    /// `acks=1`: the leader has it, as durable as the topic's setting asks.
    Leader,
    /// `acks=all`: it is committed.
    All,
}

impl AckLevel {
    /// From the wire (`acks` of Produce); `None` if it is none of −1, 0 and 1.
    pub fn from_wire(acks: i16) -> Option<Self> {
        match acks {
            0 => Some(Self::None),
            1 => Some(Self::Leader),
            -1 => Some(Self::All),
            _ => None,
        }
    }
}

/// Something parked that may now be answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Released<T> {
    /// What was parked.
    pub waiting: T,
    /// The answer.
    pub verdict: Result<(), PartitionError>,
}

#[derive(Debug)]
struct Parked<T> {
    end_exclusive: Offset,
    waiting: T,
}

/// Two queues in order of offset, one for each kind of wait.
#[derive(Debug)]
pub(super) struct ParkedAcks<T> {
    leader: VecDeque<Parked<T>>,
    all: VecDeque<Parked<T>>,
}

impl<T> Default for ParkedAcks<T> {
    fn default() -> Self {
        Self { leader: VecDeque::new(), all: VecDeque::new() }
    }
}

impl<T> ParkedAcks<T> {
    pub(super) fn park(&mut self, end_exclusive: Offset, acks: AckLevel, waiting: T) {
        let queue = match acks {
            AckLevel::None => return,
            AckLevel::Leader => &mut self.leader,
            AckLevel::All => &mut self.all,
        };
        // A batch that came again ends below those that were appended since.
        let place = queue.partition_point(|parked| parked.end_exclusive <= end_exclusive);
        queue.insert(place, Parked { end_exclusive, waiting });
    }

    /// Releases what `own_position` and `high_watermark` cover. If the ISR is too small (`verdict`), the
    /// high watermark stands still and the acks=all ones are refused: their records stay in the log.
    pub(super) fn release(
        &mut self,
        own_position: Offset,
        high_watermark: Offset,
        verdict: &Result<(), PartitionError>,
    ) -> Vec<Released<T>> {
        let mut released = Vec::new();
        while self.leader.front().is_some_and(|parked| parked.end_exclusive <= own_position) {
            let parked = self.leader.pop_front().expect("the front was there");
            released.push(Released { waiting: parked.waiting, verdict: Ok(()) });
        }
        while self
            .all
            .front()
            .is_some_and(|parked| parked.end_exclusive <= high_watermark || verdict.is_err())
        {
            let parked = self.all.pop_front().expect("the front was there");
            let committed = parked.end_exclusive <= high_watermark;
            let verdict = if committed { Ok(()) } else { verdict.clone() };
            released.push(Released { waiting: parked.waiting, verdict });
        }
        released
    }

    pub(super) fn refuse_all(&mut self, error: &PartitionError) -> Vec<Released<T>> {
        let parked = self.leader.drain(..).chain(self.all.drain(..));
        parked.map(|parked| Released { waiting: parked.waiting, verdict: Err(error.clone()) }).collect()
    }
}
