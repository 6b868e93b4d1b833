//! Connections to the leaders that this broker follows: one for each log directory and leader, so that what one
//! directory asks for never waits behind another's.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ottla_client::{ClientError, Connection, HostPort, Options};
use ottla_core::ids::NodeId;
use ottla_wire::messages::{FetchRequest, FetchResponse};
use tokio::sync::Mutex;

type Slot = Arc<Mutex<Option<Connection>>>;

/// See the module's text.
#[derive(Debug)]
pub(crate) struct LeaderConnections {
    options: Options,
    slots: BTreeMap<(usize, NodeId), Slot>,
}

/// The way to one leader, for one log directory.
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
    pub(crate) fn to(&mut self, shard: usize, leader: NodeId) -> LeaderConnection {
        let slot = Arc::clone(self.slots.entry((shard, leader)).or_default());
        LeaderConnection { options: self.options.clone(), slot }
    }

    /// Drops the connections of directories that follow those leaders no longer.
    pub(crate) fn keep(&mut self, follows: impl Fn((usize, NodeId)) -> bool) {
        self.slots.retain(|pair, _| follows(*pair));
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
