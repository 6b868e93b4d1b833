//! Connections to the leaders that this broker follows: one for each log directory, leader and lane, so that what one
//! directory asks for never waits behind another's, nor replicas in sync behind those that catch up.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ottla_client::{ClientError, Connection, HostPort, Options};
use ottla_core::ids::NodeId;
use ottla_core::replication::Lane;
use ottla_wire::messages::{FetchRequest, FetchResponse};
use tokio::sync::Mutex;

type Slot = Arc<Mutex<Option<Connection>>>;

/// A log directory, a leader, and which of its replicas.
type Way = (usize, NodeId, Lane);

/// See the module's text.
#[derive(Debug)]
pub(crate) struct LeaderConnections {
    options: Options,
    slots: BTreeMap<Way, Slot>,
}

/// The way to one leader, for one log directory and lane.
#[derive(Debug, Clone)]
pub(crate) struct LeaderConnection {
    options: Options,
    slot: Slot,
}

impl LeaderConnections {
    /// None yet. `node_id` is ours.
    pub(crate) fn new(node_id: NodeId, connect_timeout: Duration) -> Self {
        let client_id = format!("ottla-follower-{node_id}");
        Self { options: Options { client_id, connect_timeout, ..Options::default() }, slots: BTreeMap::new() }
    }

    /// The way to a leader, made when it is first used.
    pub(crate) fn to(&mut self, way: Way) -> LeaderConnection {
        let slot = Arc::clone(self.slots.entry(way).or_default());
        LeaderConnection { options: self.options.clone(), slot }
    }

    /// Drops the connections that nobody follows over any longer.
    pub(crate) fn keep(&mut self, follows: impl Fn(Way) -> bool) {
        self.slots.retain(|way, _| follows(*way));
    }
}

impl LeaderConnection {
    /// Sends a fetch and waits for its answer, over the connection of the one before as long as that is good.
    pub(crate) async fn fetch(
        &self,
        address: &HostPort,
        request: FetchRequest,
        within: Duration,
    ) -> Result<FetchResponse, ClientError> {
        let mut held = self.slot.lock().await;
        let good = held.take_if(|held| held.address() == address && held.closed().is_none());
        let connection = match good {
            Some(connection) => connection,
            None => Connection::connect(address, &self.options).await?,
        };
        let response = connection.request_within(request, within).await?;
        *held = Some(connection);
        Ok(response)
    }
}
