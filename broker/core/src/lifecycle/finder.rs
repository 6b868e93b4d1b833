//! Which controller to ask.

use std::collections::BTreeMap;

use crate::config::Address;
use crate::ids::NodeId;
use crate::metadata::image::Image;

/// Candidates, and the one that is asked at the moment.
#[derive(Debug)]
pub(super) struct Finder {
    bootstrap: Vec<Address>,
    voters: BTreeMap<NodeId, Address>,
    current: Address,
}

impl Finder {
    pub(super) fn new(bootstrap: Vec<Address>) -> Self {
        let nowhere = Address { host: String::new(), port: 0 };
        let current = bootstrap.first().cloned().unwrap_or(nowhere);
        Self { bootstrap, voters: BTreeMap::new(), current }
    }

    pub(super) fn current(&self) -> &Address {
        &self.current
    }

    /// Takes the voters of an image: they may have moved since the properties file was written.
    pub(super) fn learn(&mut self, image: &Image) {
        let address = |endpoint: &crate::metadata::image::Endpoint| Address {
            host: endpoint.host.clone(),
            port: endpoint.port,
        };
        self.voters = image
            .voters
            .iter()
            .filter_map(|(id, voter)| Some((*id, address(voter.endpoints.first()?))))
            .collect();
    }

    /// The one that was asked did not answer.
    pub(super) fn try_next(&mut self, asked: &Address) {
        if *asked != self.current {
            return;
        }
        let mut candidates = self.bootstrap.clone();
        candidates.extend(self.voters.values().filter(|voter| !self.bootstrap.contains(voter)).cloned());
        let at = candidates.iter().position(|candidate| candidate == asked);
        let next = at.map_or(0, |at| at + 1) % candidates.len().max(1);
        if let Some(next) = candidates.get(next) {
            self.current = next.clone();
        }
    }

    /// The one that was asked is not active, and may know who is.
    pub(super) fn redirect(&mut self, asked: &Address, leader: Option<NodeId>) {
        if *asked != self.current {
            return;
        }
        match leader.and_then(|leader| self.voters.get(&leader)) {
            Some(address) if address != asked => self.current = address.clone(),
            Some(_) | None => self.try_next(asked),
        }
    }
}
