//! Which replicas this broker has, in which of its log directories, and what committed metadata changes about them.
//!
//! Owns: the way from images to [`Assignment`]s, and the rules of when an image may be acted on. The driver gives
//! each shard (one to a log directory) its orders, in order, and shows an image to clients only when all shards have
//! taken them in. Knows nothing of logs: a [`crate::shard::Shard`] does.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use crate::config::{Layers, Settings, TopicConfig};
use crate::ids::{BrokerEpoch, DirectoryId, NodeId, TopicPartition};
use crate::metadata::delta::Delta;
use crate::metadata::image::{ConfigResource, Image, Partition, Topic};
use crate::shard::Assignment;

/// One log directory, which a shard of the same index owns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogDirectory {
    /// Its id.
    pub id: DirectoryId,
    /// Whether this process is a controller and keeps its metadata log there.
    pub holds_metadata_log: bool,
}

/// What a shard is to do.
#[derive(Debug, Clone)]
pub enum Order {
    /// Give it a replica, or what has changed about it.
    Assign {
        /// Which shard.
        shard: usize,
        /// The replica.
        assignment: Box<Assignment>,
    },
    /// Take a replica from it, records and all.
    Remove {
        /// Which shard.
        shard: usize,
        /// The replica.
        partition: TopicPartition,
    },
    /// Take a replica from it that nobody knows of any longer, and keep its records aside.
    SetAside {
        /// Which shard.
        shard: usize,
        /// The replica.
        partition: TopicPartition,
    },
}

/// A newer image, and what it means for the shards.
#[derive(Debug, Clone)]
pub struct Step {
    /// To be shown to clients when the orders are carried out.
    pub image: Image,
    /// In order.
    pub orders: Vec<Order>,
}

/// Why a broker ends over a failed log directory, as Kafka's does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// There is nothing left to serve from.
    NoDirectoryLeft,
    /// The controller within keeps its log where nothing can be kept.
    MetadataLogLost,
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoDirectoryLeft => "no log directory is left",
            Self::MetadataLogLost => "the metadata log is in a log directory that has failed",
        })
    }
}

/// See the module's text.
#[derive(Debug)]
pub struct Replicas {
    me: NodeId,
    directories: Vec<LogDirectory>,
    /// What this broker's properties file sets.
    fixed: Settings,
    opened: BTreeSet<usize>,
    failed: BTreeSet<usize>,
    /// Which shard has which replica.
    held: BTreeMap<TopicPartition, usize>,
    /// The image that the shards know.
    image: Image,
    /// A newer one that may not be acted on yet.
    pending: Option<Image>,
}

impl Replicas {
    /// A broker none of whose directories is open yet.
    pub fn new(me: NodeId, directories: Vec<LogDirectory>, fixed: Settings) -> Self {
        Self {
            me,
            directories,
            fixed,
            opened: BTreeSet::new(),
            failed: BTreeSet::new(),
            held: BTreeMap::new(),
            image: Image::default(),
            pending: None,
        }
    }

    /// A directory is open and has logs of these.
    pub fn opened(&mut self, shard: usize, partitions: impl IntoIterator<Item = TopicPartition>) {
        self.opened.insert(shard);
        self.held.extend(partitions.into_iter().map(|partition| (partition, shard)));
    }

    /// A directory has failed, at the start or later, for ever.
    pub fn failed(&mut self, shard: usize) -> Option<End> {
        self.failed.insert(shard);
        if self.failed.len() == self.directories.len() {
            Some(End::NoDirectoryLeft)
        } else if self.directories[shard].holds_metadata_log {
            Some(End::MetadataLogLost)
        } else {
            None
        }
    }

    /// Whether every directory has been opened, or has failed: only then is it known what this broker has.
    pub fn are_known(&self) -> bool {
        self.opened.union(&self.failed).count() == self.directories.len()
    }

    /// Which shard has which replica.
    pub fn routes(&self) -> &BTreeMap<TopicPartition, usize> {
        &self.held
    }

    /// The image that the shards know.
    pub fn image(&self) -> &Image {
        &self.image
    }

    /// How many partitions this broker leads.
    pub fn led(&self) -> usize {
        let leads = |id: &&TopicPartition| {
            let partition = self.image.partition(id.topic_id, id.partition);
            partition.is_some_and(|partition| partition.leader == Some(self.me))
        };
        self.held.keys().filter(leads).count()
    }

    /// Takes a newer committed image.
    pub fn follow(&mut self, image: Image) {
        self.pending = Some(image);
    }

    /// What the newest image asks for. Nothing is acted on before it is known what this broker has, nor before an
    /// image has the registration under `epoch`: what an older one says about leaders is history.
    pub fn step(&mut self, epoch: Option<BrokerEpoch>) -> Option<Step> {
        let own = |image: &mut Image| image.brokers.get(&self.me).map(|broker| broker.epoch);
        if !self.are_known() || epoch.is_none() {
            return None;
        }
        let image = self.pending.take_if(|image| own(image) == epoch)?;
        let mut orders = Vec::new();
        self.apply(&image, &mut orders);
        self.image = image.clone();
        Some(Step { image, orders })
    }

    /// Sets the logs aside that were found at the start and belong to no replica of this broker: their topics went
    /// while it was away, or the metadata is not theirs. Only a broker in service knows every topic.
    pub fn set_aside_stray(&mut self) -> Vec<Order> {
        let stray = |id: &TopicPartition| {
            let partition = self.image.partition(id.topic_id, id.partition);
            !partition.is_some_and(|partition| partition.replicas.contains(&self.me))
        };
        let stray = self.held.extract_if(.., |id, _| stray(id));
        stray.map(|(partition, shard)| Order::SetAside { shard, partition }).collect()
    }

    fn apply(&mut self, image: &Image, orders: &mut Vec<Order>) {
        let delta = Delta::between(&self.image, image);
        let layers = image.layers(self.me, &self.fixed);
        for change in &delta.partitions {
            let topic = image.topics.get(&change.partition.topic_id);
            let mine = change.new.as_ref().filter(|new| new.replicas.contains(&self.me));
            match topic.zip(mine) {
                Some((topic, registration)) => {
                    orders.extend(self.assign(image, &layers, topic, change.partition, registration));
                }
                None => {
                    let shard = self.held.remove(&change.partition);
                    let partition = change.partition;
                    orders.extend(shard.map(|shard| Order::Remove { shard, partition }));
                }
            }
        }
        // Settings of a topic reach its partitions; those of the brokers reach all.
        for resource in &delta.configs_changed {
            match resource {
                ConfigResource::Topic(name) => {
                    let topic = image.topic(name);
                    topic.into_iter().for_each(|topic| self.assign_all(image, &layers, topic, orders));
                }
                ConfigResource::Broker(id) if *id != self.me => {}
                ConfigResource::Broker(_) | ConfigResource::BrokerDefault => {
                    image.topics.values().for_each(|topic| self.assign_all(image, &layers, topic, orders));
                }
            }
        }
    }

    fn assign_all(&mut self, image: &Image, layers: &Layers, topic: &Topic, orders: &mut Vec<Order>) {
        for (index, registration) in &topic.partitions {
            if registration.replicas.contains(&self.me) {
                let id = TopicPartition { topic_id: topic.id, partition: *index };
                orders.extend(self.assign(image, layers, topic, id, registration));
            }
        }
    }

    fn assign(
        &mut self,
        image: &Image,
        layers: &Layers,
        topic: &Topic,
        partition: TopicPartition,
        registration: &Arc<Partition>,
    ) -> Option<Order> {
        let shard = match self.held.get(&partition) {
            Some(shard) => *shard,
            None => self.place(registration)?,
        };
        self.held.insert(partition, shard);
        let overrides = image.configs.get(&ConfigResource::Topic(topic.name.clone()));
        let config = TopicConfig::resolve(&overrides.cloned().unwrap_or_default(), layers);
        let (topic, registration) = (topic.name.clone(), Arc::clone(registration));
        let assignment = Box::new(Assignment { partition, topic, registration, config });
        Some(Order::Assign { shard, assignment })
    }

    /// Where a replica that is not there is to be made: in the directory that the controller chose, and in no
    /// other while that one has failed, since its records are there.
    fn place(&self, registration: &Partition) -> Option<usize> {
        let chosen = registration.directory_of(self.me);
        self.directories.iter().position(|directory| directory.id == chosen).or_else(|| self.emptiest())
    }

    /// The working directory with the fewest replicas.
    fn emptiest(&self) -> Option<usize> {
        let count = |shard: &usize| self.held.values().filter(|other| *other == shard).count();
        (0..self.directories.len()).filter(|shard| !self.failed.contains(shard)).min_by_key(count)
    }
}
