//! What a running process is to its request handlers: who it is, what it knows, whom it asks.
//!
//! A handler sees a [`Node`] and nothing behind it: no file, no peer's socket, no machine. Everything here
//! is either immutable, a snapshot of the metadata, or the sending end of a task that owns its state.

use ottla_core::config::{BrokerConfig, Layers, Value, broker_key};
use ottla_core::ids::{ClusterId, DirectoryId, LeaderEpoch, NodeId, TopicPartition};
use ottla_core::metadata::image::{Endpoint, Fencing, Image};
use std::sync::Arc;
use tokio::sync::{Semaphore, watch};

use crate::api::authorize::{Authorizer, Operation, Resource};
use crate::api::fetch::{LeaderThrottle, Recovery};
use crate::api::{Call, Principal};
use crate::drive::auto_topics::{Asker, AutoTopics};
use crate::drive::controller::ControllerHandle;
use crate::drive::directory_moves::DirectoryMoves;
use crate::drive::groups::Groups;
use crate::drive::producer_ids::ProducerIds;
use crate::drive::shard::Shards;
use crate::metrics::Metrics;
use crate::peer::ControllerClient;
use crate::server::listener::OpenConnections;
use crate::server::memory::MemoryBudgets;

/// Where a node is in its life; what `/v1/node` and the probes show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NodeState {
    /// Logs are being opened or recovered.
    Recovering,
    /// Not registered yet, or not caught up.
    Starting,
    /// Registered, but fenced by the controller.
    Fenced,
    /// In service.
    Running,
    /// Asked to stop; leaders are being moved.
    Stopping,
}

/// What the broker's lifecycle publishes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BrokerStatus {
    /// Where it is in its life.
    pub(crate) state: NodeState,
    /// The epoch of its registration, if it has one.
    pub(crate) broker_epoch: Option<i64>,
}

/// The leader of a partition and where it is reached.
pub(crate) struct LeaderHint<'a> {
    pub(crate) leader: NodeId,
    pub(crate) epoch: LeaderEpoch,
    pub(crate) endpoint: Option<&'a Endpoint>,
}

/// See the module's text.
pub(crate) struct Node {
    pub(crate) id: NodeId,
    pub(crate) cluster_id: ClusterId,
    pub(crate) config: Arc<BrokerConfig>,
    pub(crate) directory_ids: Vec<DirectoryId>,
    pub(crate) memory: MemoryBudgets,
    /// What throttled followers may be served.
    pub(crate) leader_throttle: LeaderThrottle,
    /// What replicas that are behind may be served.
    pub(crate) recovery: Recovery,
    pub(crate) authorizer: Authorizer,
    pub(crate) metrics: Arc<Metrics>,
    /// Those that `max.connections` counts.
    pub(crate) connections: OpenConnections,
    /// Those where brokers and controllers meet.
    pub(crate) peer_connections: OpenConnections,
    /// As many validations of large or compressed batches at once as there are processors: more would only take
    /// more memory.
    pub(crate) validations: Arc<Semaphore>,
    /// The newest image; on a node without the broker role, the controller's committed one.
    pub(crate) images: watch::Receiver<Arc<Image>>,
    /// The life of the broker part.
    pub(crate) status: watch::Receiver<BrokerStatus>,
    /// The partitions of the broker part; empty without that role.
    pub(crate) shards: Shards,
    /// The way to have replicas moved between the log directories of the broker part.
    pub(crate) directory_moves: DirectoryMoves,
    /// The way to have topics made that are asked for.
    pub(crate) auto_topics: AutoTopics,
    /// The coordinators of groups, of the broker part.
    pub(crate) groups: Groups,
    /// The way to the active controller.
    pub(crate) controllers: ControllerClient,
    /// The ids of idempotent producers that this broker has to give out.
    pub(crate) producer_ids: ProducerIds,
    /// The controller part, if this node has that role.
    pub(crate) controller: Option<ControllerHandle>,
}

impl Node {
    /// The newest image.
    pub(crate) fn image(&self) -> Arc<Image> {
        Arc::clone(&self.images.borrow())
    }

    /// What a controller judges requests by: what it has committed, where this node is one. What its broker part
    /// has published is older, and nothing while that part recovers its logs.
    pub(crate) fn controller_image(&self) -> Arc<Image> {
        match &self.controller {
            Some(controller) => Arc::clone(&controller.images().borrow()),
            None => self.image(),
        }
    }

    /// A broker in service: this one if it is, else the first. Stands for "the controller" in replies,
    /// since every broker forwards what is for the controller (rule 10).
    pub(crate) fn any_live_broker(&self, image: &Image) -> Option<NodeId> {
        let live = |id: &NodeId| image.brokers.get(id).is_some_and(|b| b.fencing == Fencing::Unfenced);
        if live(&self.id) { Some(self.id) } else { image.live_brokers().next().map(|broker| broker.node_id) }
    }

    /// The endpoint of a broker that is not fenced, on a listener.
    pub(crate) fn live_endpoint<'a>(
        &self,
        image: &'a Image,
        id: NodeId,
        listener: &str,
    ) -> Option<&'a Endpoint> {
        let broker = image.brokers.get(&id)?;
        if broker.fencing == Fencing::Fenced { None } else { broker.endpoint(listener) }
    }

    /// Who leads a partition, for KIP-951.
    pub(crate) fn leader_hint<'a>(
        &self,
        image: &'a Image,
        partition: TopicPartition,
        listener: &str,
    ) -> Option<LeaderHint<'a>> {
        let registered = image.partition(partition.topic_id, partition.partition)?;
        let leader = registered.leader?;
        let endpoint = self.live_endpoint(image, leader, listener);
        Some(LeaderHint { leader, epoch: registered.leader_epoch, endpoint })
    }

    /// `max.connections` as it is now: it can be changed while the broker runs.
    pub(crate) fn connections_max(&self) -> usize {
        self.live_number(&self.image(), "max.connections").unwrap_or(usize::MAX)
    }

    /// A number of the configuration as it is now, for a key that can be changed while the broker runs.
    pub(crate) fn live_number(&self, image: &Image, key: &str) -> Option<usize> {
        match self.layers(image).broker_value(broker_key(key)?)? {
            Value::Number(number) => usize::try_from(number).ok(),
            Value::Boolean(_) | Value::Decimal(_) | Value::Text(_) | Value::List(_) => None,
        }
    }

    /// The configuration below a topic's own, as this broker resolves it.
    pub(crate) fn layers(&self, image: &Image) -> Layers {
        image.layers(self.id, &self.config.fixed)
    }
}

impl Call {
    /// Asks the authorizer for the caller of this request.
    pub(crate) fn allows(&self, operation: Operation, resource: Resource, name: &str) -> bool {
        self.node.authorizer.allows(self.principal(), operation, resource, name)
    }

    /// Who asks, as the controller is to see it.
    pub(crate) fn asker(&self) -> Asker {
        Asker {
            principal: self.context.principal.clone(),
            client_id: self.context.client_id.to_string(),
            listener: self.context.listener.name.clone(),
            host: self.context.peer.ip().to_string(),
        }
    }

    /// Who asks.
    pub(crate) fn principal(&self) -> &Principal {
        &self.context.principal
    }
}

/// The way to nobody.
#[cfg(test)]
pub(crate) fn no_controllers() -> ControllerClient {
    let (_, nobody) = watch::channel(None);
    ControllerClient::new(nobody, ottla_client::Options::default())
}
