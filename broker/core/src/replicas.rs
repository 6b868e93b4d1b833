//! Which replicas this broker has, in which of its log directories, and what committed metadata changes about them.
//!
//! Owns: the way from images to [`Assignment`]s, and the rules of when an image may be acted on. The driver gives
//! each shard (one to a log directory) its orders, in order, and shows an image to clients only when all shards have
//! taken them in. Knows nothing of logs: a [`crate::shard::Shard`] does; [`copier`] hands pieces of them on.

pub mod copier;
mod moves;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use imbl::OrdMap;

use crate::config::{Layers, Settings, TopicConfig};
use crate::ids::{BrokerEpoch, DirectoryId, LeaderEpoch, NodeId, TopicId, TopicPartition};
use crate::metadata::delta::Delta;
use crate::metadata::image::{ConfigResource, Image, Partition, Topic};
use crate::shard::Assignment;

use self::moves::Future;
pub use self::moves::{CaughtUp, Move, MoveRefusal, Relocated};

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
    /// Take a log from it that is no replica's any longer, though nobody said so, and keep its records aside.
    SetAside {
        /// Which shard.
        shard: usize,
        /// The replica.
        partition: TopicPartition,
    },
    /// What the copy there copied is gone, and the controller believes in it: it is damaged.
    Orphan {
        /// Which shard.
        shard: usize,
        /// The replica.
        partition: TopicPartition,
        /// The newest leader epoch in which this broker may have fetched for what is gone.
        known_in: LeaderEpoch,
    },
    /// Have it give up the copy of a replica that is in another directory, and remove what it has of it.
    EndCopy {
        /// Which shard.
        shard: usize,
        /// The replica.
        partition: TopicPartition,
    },
}

impl Order {
    /// Which shard is to do it.
    pub fn shard(&self) -> usize {
        match self {
            Self::Assign { shard, .. }
            | Self::Remove { shard, .. }
            | Self::SetAside { shard, .. }
            | Self::Orphan { shard, .. }
            | Self::EndCopy { shard, .. } => *shard,
        }
    }
}

/// A newer image, and what it means for the shards.
#[derive(Debug, Clone)]
pub struct Step {
    /// To be shown to clients when the orders are carried out.
    pub image: Image,
    /// The brokers that may enter an ISR, if they are others than before: for every shard, before the orders.
    pub eligible: Option<Arc<BTreeMap<NodeId, BrokerEpoch>>>,
    /// In order.
    pub orders: Vec<Order>,
    /// Replicas that are in another directory than the controller believes, and where: it is to be told.
    pub misplaced: Vec<(TopicPartition, DirectoryId)>,
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

/// Where a replica is and what holds for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Which shard has it.
    pub shard: usize,
    /// The topic's settings as this broker resolves them; `None` for a log that the metadata has not named yet.
    pub config: Option<Arc<TopicConfig>>,
    /// Whether this process has given it to its shard; not so for a log that was found and not named yet.
    pub assigned: bool,
}

/// The replicas of a broker. A clone costs nothing: handlers get one with every image.
pub type Routes = OrdMap<TopicPartition, Held>;

/// See the module's text.
#[derive(Debug)]
pub struct Replicas {
    me: NodeId,
    directories: Vec<LogDirectory>,
    /// What this broker's properties file sets.
    fixed: Settings,
    opened: BTreeSet<usize>,
    failed: BTreeSet<usize>,
    held: Routes,
    /// How many of them each shard has.
    loads: Vec<usize>,
    /// How many of them this broker leads.
    led: usize,
    /// Logs of one replica in more than one directory, until the metadata says which of them counts.
    copies: BTreeMap<TopicPartition, BTreeSet<usize>>,
    /// Which replicas are being copied to another directory.
    futures: BTreeMap<TopicPartition, Future>,
    /// Copies that nobody wants any more, and that stay until the controller knows where their replicas are.
    abandoned: BTreeMap<TopicPartition, BTreeSet<usize>>,
    /// How many copies of each replica it goes over to, or comes back from: two shards are at it.
    going_over: BTreeMap<TopicPartition, usize>,
    /// Those of them that were taken from this broker meanwhile and given back: anew, when the earlier ones are gone.
    given_back: BTreeSet<TopicPartition>,
    /// The brokers that may enter an ISR, as the shards know them.
    eligible: Arc<BTreeMap<NodeId, BrokerEpoch>>,
    /// The image that the shards know.
    image: Image,
    /// A newer one that may not be acted on yet.
    pending: Option<Image>,
    /// See [`Step::misplaced`].
    misplaced: Vec<(TopicPartition, DirectoryId)>,
}

impl Replicas {
    /// A broker none of whose directories is open yet.
    pub fn new(me: NodeId, directories: Vec<LogDirectory>, fixed: Settings) -> Self {
        Self {
            me,
            loads: vec![0; directories.len()],
            directories,
            fixed,
            opened: BTreeSet::new(),
            failed: BTreeSet::new(),
            held: Routes::new(),
            led: 0,
            copies: BTreeMap::new(),
            futures: BTreeMap::new(),
            abandoned: BTreeMap::new(),
            going_over: BTreeMap::new(),
            given_back: BTreeSet::new(),
            eligible: Arc::default(),
            image: Image::default(),
            pending: None,
            misplaced: Vec::new(),
        }
    }

    /// A directory is open and has logs of these.
    pub fn opened(&mut self, shard: usize, partitions: impl IntoIterator<Item = TopicPartition>) {
        self.opened.insert(shard);
        for partition in partitions {
            match self.held.get(&partition).map(|held| held.shard) {
                Some(other) => self.copies.entry(partition).or_default().extend([other, shard]),
                None => self.hold(partition, Held { shard, config: None, assigned: false }),
            }
        }
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
    pub fn routes(&self) -> &Routes {
        &self.held
    }

    /// The image that the shards know.
    pub fn image(&self) -> &Image {
        &self.image
    }

    /// How many partitions this broker leads.
    pub fn led(&self) -> usize {
        self.led
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
        let live = image.live_brokers().map(|broker| (broker.node_id, broker.epoch)).collect();
        let eligible = (*self.eligible != live).then(|| Arc::new(live));
        if let Some(eligible) = &eligible {
            self.eligible = Arc::clone(eligible);
        }
        self.image = image.clone();
        Some(Step { image, eligible, orders, misplaced: std::mem::take(&mut self.misplaced) })
    }

    /// Sets the logs aside that were found at the start and belong to no replica of this broker: their topics went
    /// while it was away, or the metadata is not theirs. Only a broker in service knows every topic.
    pub fn set_aside_stray(&mut self) -> Vec<Order> {
        let stray = |id: &TopicPartition| {
            let partition = self.image.partition(id.topic_id, id.partition);
            !partition.is_some_and(|partition| partition.replicas.contains(&self.me))
        };
        let stray: Vec<TopicPartition> = self.held.keys().copied().filter(stray).collect();
        let mut orders = Vec::new();
        for partition in stray {
            orders.extend(self.release(partition).map(|shard| Order::SetAside { shard, partition }));
            self.end_copies(partition, &mut orders);
        }
        self.end_stray_copies(&mut orders);
        orders
    }

    fn apply(&mut self, image: &Image, orders: &mut Vec<Order>) {
        let delta = Delta::between(&self.image, image);
        let layers = image.layers(self.me, &self.fixed);
        let mut configs = BTreeMap::new();
        // What is registered and what is set reach a shard together: either alone may release acknowledgements that
        // the other forbids.
        let changed: BTreeSet<&ConfigResource> = delta.configs_changed.iter().collect();
        let all_changed = changed.iter().any(|resource| match resource {
            ConfigResource::Topic(_) => false,
            ConfigResource::Broker(id) => *id == self.me,
            ConfigResource::BrokerDefault => true,
        });
        for change in &delta.partitions {
            let leads = |partition: &Option<Arc<Partition>>| {
                usize::from(partition.as_ref().is_some_and(|partition| partition.leader == Some(self.me)))
            };
            self.led = self.led + leads(&change.new) - leads(&change.old);
            let topic = image.topics.get(&change.partition.topic_id);
            let mine = change.new.as_ref().filter(|new| new.replicas.contains(&self.me));
            match topic.zip(mine) {
                Some((topic, registration)) => {
                    let resource = ConfigResource::Topic(topic.name.clone());
                    if all_changed || changed.contains(&resource) {
                        self.forget_config(change.partition);
                    }
                    let config = self.config_of(change.partition, &mut configs, image, &layers, topic);
                    self.assign(topic, change.partition, registration, config, orders);
                }
                None => {
                    let (shards, partition) = (self.release(change.partition), change.partition);
                    orders.extend(shards.map(|shard| Order::Remove { shard, partition }));
                    self.end_copies(partition, orders);
                    self.given_back.remove(&partition);
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
        let config = resolve(image, layers, topic);
        for (index, registration) in &topic.partitions {
            if registration.replicas.contains(&self.me) {
                let id = TopicPartition { topic_id: topic.id, partition: *index };
                self.assign(topic, id, registration, Arc::clone(&config), orders);
            }
        }
    }

    fn forget_config(&mut self, partition: TopicPartition) {
        if let Some(held) = self.held.get_mut(&partition) {
            held.config = None;
        }
    }

    /// The settings of a partition's topic, resolved once for all of its partitions.
    fn config_of(
        &self,
        partition: TopicPartition,
        resolved: &mut BTreeMap<TopicId, Arc<TopicConfig>>,
        image: &Image,
        layers: &Layers,
        topic: &Topic,
    ) -> Arc<TopicConfig> {
        if let Some(config) = self.held.get(&partition).and_then(|held| held.config.clone()) {
            return config;
        }
        Arc::clone(resolved.entry(topic.id).or_insert_with(|| resolve(image, layers, topic)))
    }

    fn assign(
        &mut self,
        topic: &Topic,
        partition: TopicPartition,
        registration: &Arc<Partition>,
        config: Arc<TopicConfig>,
        orders: &mut Vec<Order>,
    ) {
        if self.going_over.contains_key(&partition) && !self.held.contains_key(&partition) {
            self.given_back.insert(partition);
            return;
        }
        let chosen = self.chosen(registration);
        let mut copies = self.copies.remove(&partition).unwrap_or_default();
        let assigned = self.held.get(&partition).is_some_and(|held| held.assigned);
        let held = self.held.get(&partition).map(|held| held.shard);
        copies.extend(held);
        let shard = match (held, chosen) {
            // The copy in the directory that the controller named is the one that was written last.
            (Some(_), Some(chosen)) if copies.contains(&chosen) => {
                let others = copies.into_iter().filter(|shard| *shard != chosen);
                orders.extend(others.map(|shard| Order::SetAside { shard, partition }));
                chosen
            }
            // Nobody said that its records are not wanted.
            (Some(_), Some(chosen))
                if !assigned
                    && self.works(chosen)
                    && self.is_obsolete(registration)
                    && !self.is_copied_to(partition, chosen) =>
            {
                orders.extend(copies.into_iter().map(|shard| Order::SetAside { shard, partition }));
                chosen
            }
            (Some(held), _) => held,
            (None, Some(chosen)) => chosen,
            (None, None) => match self.emptiest() {
                Some(emptiest) => emptiest,
                None => return,
            },
        };
        self.hold(partition, Held { shard, config: Some(Arc::clone(&config)), assigned: true });
        self.forget_future(partition, shard);
        // One that has failed may hold what this one lacks.
        let elsewhere =
            |chosen| chosen != shard && self.works(chosen) && !self.is_copied_to(partition, chosen);
        if self.works(shard) && chosen.is_some_and(elsewhere) {
            self.misplaced.push((partition, self.directories[shard].id));
        }
        let orphan = self.take_orphan(partition, chosen);
        orders.extend(orphan.map(|shard| self.orphan(shard, partition)));
        let (topic, registration) = (topic.name.clone(), Arc::clone(registration));
        let config = *config;
        let assignment = Box::new(Assignment { partition, topic, registration, config });
        orders.push(Order::Assign { shard, assignment });
    }

    /// Whether a log that was found elsewhere than the controller chose is that of an earlier replica, which was taken
    /// from this broker before it was given another: a failure of the chosen directory is what the controller would take
    /// for the loss of this one, and the other way about. Not while it is in sync or eligible, since then the log is
    /// what the partition consists of, nor while nobody leads, since then there may be no better one. Never asked about
    /// a replica that this process serves: a leader may have proposed it for the ISR for what it fetched, and would
    /// learn from no epoch that it lost that.
    fn is_obsolete(&self, registration: &Partition) -> bool {
        registration.does_without(self.me)
    }

    fn hold(&mut self, partition: TopicPartition, held: Held) {
        let shard = held.shard;
        let before = self.held.insert(partition, held);
        if let Some(before) = before {
            self.loads[before.shard] -= 1;
        }
        self.loads[shard] += 1;
    }

    /// Holds it no longer; the shards that have a log of it.
    fn release(&mut self, partition: TopicPartition) -> impl Iterator<Item = usize> + use<> {
        let mut shards = self.copies.remove(&partition).unwrap_or_default();
        if let Some(held) = self.held.remove(&partition) {
            self.loads[held.shard] -= 1;
            shards.insert(held.shard);
        }
        shards.into_iter()
    }

    /// The directory that the controller chose: a replica that is not there is made in it, and in no other while
    /// it has failed, since its records are there.
    fn chosen(&self, registration: &Partition) -> Option<usize> {
        let chosen = registration.directory_of(self.me);
        self.directories.iter().position(|directory| directory.id == chosen)
    }

    fn works(&self, shard: usize) -> bool {
        self.opened.contains(&shard) && !self.failed.contains(&shard)
    }

    /// The working directory with the fewest replicas.
    fn emptiest(&self) -> Option<usize> {
        (0..self.directories.len())
            .filter(|shard| !self.failed.contains(shard))
            .min_by_key(|shard| self.loads[*shard])
    }
}

fn resolve(image: &Image, layers: &Layers, topic: &Topic) -> Arc<TopicConfig> {
    let overrides = image.configs.get(&ConfigResource::Topic(topic.name.clone()));
    Arc::new(TopicConfig::resolve(&overrides.cloned().unwrap_or_default(), layers))
}
