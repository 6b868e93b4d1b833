//! Which replicas this broker has, in which shard, and what an image changes about them.

use std::collections::BTreeSet;
use std::sync::Arc;

use ottla_core::config::{Layers, Settings, TopicConfig};
use ottla_core::ids::{DirectoryId, NodeId, TopicPartition};
use ottla_core::metadata::delta::Delta;
use ottla_core::metadata::image::{ConfigResource, Image, Partition, Topic};
use ottla_core::shard::Assignment;
use tokio::sync::watch;

use crate::drive::shard::{ShardRoutes, Shards};

pub(super) struct Replicas {
    me: NodeId,
    /// Of each shard.
    directories: Vec<DirectoryId>,
    shards: Shards,
    routes: watch::Sender<Arc<ShardRoutes>>,
    /// As published, to be changed and published again.
    current: ShardRoutes,
    failed: BTreeSet<usize>,
    opened: BTreeSet<usize>,
    /// What this broker's properties file sets.
    fixed: Settings,
}

impl Replicas {
    pub(super) fn new(
        me: NodeId,
        directories: Vec<DirectoryId>,
        shards: Shards,
        routes: watch::Sender<Arc<ShardRoutes>>,
        fixed: Settings,
    ) -> Self {
        let (failed, opened) = (BTreeSet::new(), BTreeSet::new());
        Self { me, directories, shards, routes, current: ShardRoutes::new(), failed, opened, fixed }
    }

    /// A directory is open and holds these.
    pub(super) fn found(&mut self, shard: usize, partitions: Vec<TopicPartition>) {
        self.opened.insert(shard);
        self.current.extend(partitions.into_iter().map(|partition| (partition, shard)));
    }

    /// A directory has failed; true if it never opened.
    pub(super) fn failed(&mut self, shard: usize) -> bool {
        self.failed.insert(shard);
        !self.opened.contains(&shard)
    }

    pub(super) fn all_failed(&self) -> bool {
        self.failed.len() >= self.shards.count()
    }

    /// Gives the shards what differs between two images and waits until they have taken it in.
    pub(super) async fn apply(&mut self, before: &Image, after: &Image) {
        let delta = Delta::between(before, after);
        let layers = after.layers(self.me, &self.fixed);
        for change in &delta.partitions {
            let mine = change.new.as_ref().filter(|new| new.replicas.contains(&self.me));
            match mine {
                Some(registration) => {
                    if let Some(topic) = after.topics.get(&change.partition.topic_id) {
                        self.assign(after, &layers, topic, change.partition, registration);
                    }
                }
                None => self.remove(change.partition),
            }
        }
        // Settings of a topic reach its partitions; those of the brokers reach all.
        for resource in &delta.configs_changed {
            match resource {
                ConfigResource::Topic(name) => {
                    if let Some(topic) = after.topic(name) {
                        self.assign_all(after, &layers, topic);
                    }
                }
                ConfigResource::Broker(id) if *id != self.me => {}
                ConfigResource::Broker(_) | ConfigResource::BrokerDefault => {
                    after.topics.values().for_each(|topic| self.assign_all(after, &layers, topic));
                }
            }
        }
        self.publish();
        self.shards.settle().await;
    }

    /// Removes the logs that were found at the start and belong to no replica of this broker. Only when this
    /// broker has caught up: an older image does not know every topic.
    pub(super) fn remove_stray(&mut self, image: &Image) -> Vec<TopicPartition> {
        let wanted = |id: &TopicPartition| {
            image.partition(id.topic_id, id.partition).is_some_and(|p| p.replicas.contains(&self.me))
        };
        let stray: Vec<TopicPartition> = self.current.keys().filter(|id| !wanted(id)).copied().collect();
        stray.iter().for_each(|id| self.remove(*id));
        if !stray.is_empty() {
            self.publish();
        }
        stray
    }

    /// How many partitions this broker leads.
    pub(super) fn led(&self, image: &Image) -> usize {
        let leads = |id: &&TopicPartition| {
            image.partition(id.topic_id, id.partition).is_some_and(|p| p.leader == Some(self.me))
        };
        self.current.keys().filter(leads).count()
    }

    fn assign_all(&mut self, image: &Image, layers: &Layers, topic: &Topic) {
        for (index, registration) in &topic.partitions {
            if registration.replicas.contains(&self.me) {
                let id = TopicPartition { topic_id: topic.id, partition: *index };
                self.assign(image, layers, topic, id, registration);
            }
        }
    }

    fn assign(
        &mut self,
        image: &Image,
        layers: &Layers,
        topic: &Topic,
        id: TopicPartition,
        registration: &Arc<Partition>,
    ) {
        let shard = match self.current.get(&id) {
            Some(shard) => *shard,
            None => {
                let Some(shard) = self.place(registration) else { return };
                self.current.insert(id, shard);
                shard
            }
        };
        let overrides = image.configs.get(&ConfigResource::Topic(topic.name.clone()));
        let config = TopicConfig::resolve(&overrides.cloned().unwrap_or_default(), layers);
        let (topic, registration) = (topic.name.clone(), Arc::clone(registration));
        self.shards.assign(shard, Assignment { partition: id, topic, registration, config });
    }

    fn remove(&mut self, id: TopicPartition) {
        if let Some(shard) = self.current.remove(&id) {
            self.shards.remove(shard, id);
        }
    }

    /// Where a replica that is not there is to be made: in the directory that the controller chose, and in no
    /// other while that one has failed, since its records are there.
    fn place(&self, registration: &Partition) -> Option<usize> {
        let chosen = registration.directory_of(self.me);
        self.directories.iter().position(|directory| *directory == chosen).or_else(|| self.emptiest())
    }

    /// The working directory with the fewest replicas.
    fn emptiest(&self) -> Option<usize> {
        let count = |shard: &usize| self.current.values().filter(|other| *other == shard).count();
        (0..self.shards.count()).filter(|shard| !self.failed.contains(shard)).min_by_key(count)
    }

    fn publish(&self) {
        self.routes.send_replace(Arc::new(self.current.clone()));
    }
}
