//! The picture of the cluster that committed metadata records build.
//!
//! An image is immutable and cheap to clone: maps share structure with the image before, so a broker can
//! hand the one it has to every connection while it builds the next. Iteration order is the keys' order,
//! the same on every node.

use std::collections::BTreeSet;
use std::sync::Arc;

use imbl::{OrdMap, OrdSet};

use crate::config::{Layers, Settings};
use crate::ids::{
    BrokerEpoch, ClusterId, DirectoryId, IncarnationId, LeaderEpoch, MetadataOffset, NodeId, PartitionEpoch,
    PartitionIndex, ProducerId, Term, TopicId, TopicName, TopicPartition,
};

/// The key by which a broker gets no new replicas.
pub const CORDONED_LOG_DIRS: &str = "cordoned.log.dirs";
/// Its value for every directory of a broker, the only one that is taken.
const ALL_DIRECTORIES: &str = "*";

/// A place to connect to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint {
    /// The listener's name, such as `PLAIN`.
    pub listener: String,
    /// Host name or address as advertised.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Kafka's code of the security protocol: 0 PLAINTEXT, 1 SSL, 2 SASL_PLAINTEXT, 3 SASL_SSL.
    pub security_protocol: i16,
}

/// Whether clients and new partitions may use a broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fencing {
    /// Not caught up, or its session is over: it leads nothing.
    Fenced,
    /// In service.
    Unfenced,
    /// Asked to stop; its leaders are being moved (KIP-841).
    InControlledShutdown,
}

/// The levels of one feature that a broker can run.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FeatureRange {
    /// The feature's name, such as `metadata.version`.
    pub name: String,
    /// The lowest level it can run.
    pub level_min: i16,
    /// The highest level it can run.
    pub level_max: i16,
}

/// A broker as it registered (BrokerRegistration, key 62).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broker {
    /// Its id.
    pub node_id: NodeId,
    /// The offset of its registration record.
    pub epoch: BrokerEpoch,
    /// The process that registered.
    pub incarnation_id: IncarnationId,
    /// Where clients and peers reach it, one per listener.
    pub endpoints: Vec<Endpoint>,
    /// `broker.rack`.
    pub rack: Option<String>,
    /// Its log directories, sorted.
    pub directories: Vec<DirectoryId>,
    /// Those of them that have failed while it runs, sorted (KIP-858).
    pub offline_directories: Vec<DirectoryId>,
    /// The range of levels of each feature that it can run (KIP-584), by name.
    pub features: Vec<FeatureRange>,
    /// In service or not.
    pub fencing: Fencing,
}

impl Broker {
    /// The endpoint of a listener.
    pub fn endpoint(&self, listener: &str) -> Option<&Endpoint> {
        self.endpoints.iter().find(|endpoint| endpoint.listener == listener)
    }
}

/// Whether a partition's leader had to be chosen from outside the ISR (KIP-704).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaderRecoveryState {
    /// The leader is known to hold all that was committed.
    Recovered,
    /// An unclean leader that has not yet recovered.
    Recovering,
}

/// A partition as the controller registered it (PartitionRecord of KIP-631 and KIP-966).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// Every replica in order of preference.
    pub replicas: Vec<NodeId>,
    /// The log directory of each replica, in the order of `replicas`; the nil id is "not yet assigned".
    pub directories: Vec<DirectoryId>,
    /// Replicas in sync with the leader.
    pub isr: Vec<NodeId>,
    /// Replicas that a reassignment adds.
    pub adding: Vec<NodeId>,
    /// Replicas that a reassignment removes.
    pub removing: Vec<NodeId>,
    /// Eligible leader replicas (KIP-966).
    pub elr: Vec<NodeId>,
    /// The last known eligible leaders (KIP-966).
    pub last_known_elr: Vec<NodeId>,
    /// Who leads, if anybody.
    pub leader: Option<NodeId>,
    /// Rises with every change of leader.
    pub leader_epoch: LeaderEpoch,
    /// Rises with every change at all.
    pub partition_epoch: PartitionEpoch,
    /// See [`LeaderRecoveryState`].
    pub recovery: LeaderRecoveryState,
}

impl Partition {
    /// The log directory that a broker keeps its replica in; the nil id if none is assigned.
    pub fn directory_of(&self, broker: NodeId) -> DirectoryId {
        let place = self.replicas.iter().position(|replica| *replica == broker);
        place.and_then(|place| self.directories.get(place).copied()).unwrap_or_default()
    }

    /// Whether another broker leads, and nothing that was committed counts on what this one holds: it is neither in sync
    /// nor eligible. While nobody leads there may be no better log than its own.
    pub fn does_without(&self, broker: NodeId) -> bool {
        self.leader.is_some_and(|leader| leader != broker)
            && !self.isr.contains(&broker)
            && !self.elr.contains(&broker)
    }

    /// Whether its replicas are being moved (KIP-455).
    pub fn is_moving(&self) -> bool {
        !self.adding.is_empty() || !self.removing.is_empty()
    }

    /// The replicas once a move under way is over; all of them if there is none.
    pub fn target_replicas(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.replicas.iter().copied().filter(|id| !self.removing.contains(id))
    }

    /// How many of `replicas` must be in sync where the topic asks for `min_insync_replicas`. A partition with fewer
    /// replicas needs all of them and no more, as in Kafka: one value for brokers must not make every small topic
    /// unwritable. Those that a move adds count only when it is over: they begin with nothing, and a topic that gets more
    /// replicas would take no records until the first of them had caught up.
    pub fn isr_min(&self, min_insync_replicas: usize) -> usize {
        isr_min(&self.replicas, &self.adding, min_insync_replicas)
    }
}

/// See [`Partition::isr_min`].
pub(crate) fn isr_min(replicas: &[NodeId], adding: &[NodeId], min_insync_replicas: usize) -> usize {
    min_insync_replicas.min(replicas.iter().filter(|id| !adding.contains(id)).count())
}

/// A topic and its partitions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topic {
    /// Its id.
    pub id: TopicId,
    /// Its name.
    pub name: TopicName,
    /// Its partitions, by index from 0 without a gap.
    pub partitions: OrdMap<PartitionIndex, Arc<Partition>>,
}

/// What dynamic configuration can be set on (the codes of Kafka's ConfigResource).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ConfigResource {
    /// One topic (2).
    Topic(TopicName),
    /// One broker (4).
    Broker(NodeId),
    /// Every broker (4 with an empty name).
    BrokerDefault,
}

/// A member of the metadata quorum.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Voter {
    /// The controller's node id.
    pub node_id: NodeId,
    /// The directory its metadata log lies in: another directory is another voter (KIP-853).
    pub directory_id: DirectoryId,
    /// Where its controller listener is reached.
    pub endpoints: Vec<Endpoint>,
}

/// The whole picture up to one metadata offset.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Image {
    /// The offset of the last entry in this image; 0 if none is.
    pub offset: MetadataOffset,
    /// The term of that entry.
    pub term: Term,
    /// The cluster's id.
    pub cluster_id: ClusterId,
    /// Finalised features (KIP-584): name to level, such as `metadata.version` to 30.
    pub features: OrdMap<String, i16>,
    /// Registered brokers.
    pub brokers: OrdMap<NodeId, Arc<Broker>>,
    /// Topics by id.
    pub topics: OrdMap<TopicId, Arc<Topic>>,
    /// Ids of topics by name.
    pub topic_ids: OrdMap<TopicName, TopicId>,
    /// Dynamic configuration: key to value for each resource.
    pub configs: OrdMap<ConfigResource, OrdMap<String, String>>,
    /// The first producer id that no broker was given yet.
    pub next_producer_id: ProducerId,
    /// The voters of the metadata quorum.
    pub voters: OrdMap<NodeId, Arc<Voter>>,
    /// Controllers that follow the metadata log without a vote. One of them may bear the id of a voter whose
    /// volume was lost: it is about to take that voter's place (KIP-853).
    pub learners: OrdMap<NodeId, Arc<Voter>>,
    /// Of the learners, those that are about to take nobody's place.
    pub observers: OrdSet<NodeId>,
}

impl Image {
    /// A topic by name.
    pub fn topic(&self, name: &TopicName) -> Option<&Arc<Topic>> {
        self.topics.get(self.topic_ids.get(name)?)
    }

    /// A partition by topic id and index.
    pub fn partition(&self, topic: TopicId, partition: PartitionIndex) -> Option<&Arc<Partition>> {
        self.topics.get(&topic)?.partitions.get(&partition)
    }

    /// The partition that a peer means by a topic's name and an index, if there is one.
    pub fn named_partition(&self, topic: &str, index: i32) -> Option<TopicPartition> {
        let topic = self.topic(&TopicName::parse(topic).ok()?)?;
        let partition = PartitionIndex(index);
        let known = topic.partitions.contains_key(&partition);
        known.then_some(TopicPartition { topic_id: topic.id, partition })
    }

    /// The configuration below a topic's own, as one node resolves it. `fixed` is what its properties file sets.
    pub fn layers(&self, node_id: NodeId, fixed: &Settings) -> Layers {
        let settings = |resource: ConfigResource| self.configs.get(&resource).cloned().unwrap_or_default();
        Layers {
            broker: settings(ConfigResource::Broker(node_id)),
            cluster: settings(ConfigResource::BrokerDefault),
            fixed: fixed.clone(),
        }
    }

    /// Whether a broker is to get no new replicas, by `cordoned.log.dirs` (KIP-1066).
    pub fn is_cordoned(&self, node_id: NodeId) -> bool {
        let set = |resource| self.configs.get(&resource)?.get(CORDONED_LOG_DIRS);
        let text = set(ConfigResource::Broker(node_id)).or_else(|| set(ConfigResource::BrokerDefault));
        text.is_some_and(|text| text.split(',').any(|entry| entry.trim() == ALL_DIRECTORIES))
    }

    /// The brokers that clients are told of: those in service, and those on their way out.
    pub fn reachable_brokers(&self) -> impl Iterator<Item = &Arc<Broker>> {
        self.brokers.values().filter(|broker| broker.fencing != Fencing::Fenced)
    }

    /// The brokers in service, in order of id.
    pub fn live_brokers(&self) -> impl Iterator<Item = &Arc<Broker>> {
        self.brokers.values().filter(|broker| broker.fencing == Fencing::Unfenced)
    }

    /// The brokers in service that stand in this rack and can be reached on this listener.
    pub fn live_in_rack(&self, rack: &str, listener: &str) -> BTreeSet<NodeId> {
        let near = |broker: &&Arc<Broker>| {
            broker.rack.as_deref() == Some(rack) && broker.endpoint(listener).is_some()
        };
        self.live_brokers().filter(near).map(|broker| broker.node_id).collect()
    }
}
