//! What changed between two images.
//!
//! Computed from the images themselves, which share what did not change, so that a snapshot and a single entry
//! reach whoever listens by the same path.

use std::sync::Arc;

use imbl::ordmap::DiffItem;

use super::image::{ConfigResource, Image, Partition, Topic};
use crate::ids::{PartitionIndex, TopicName, TopicPartition};

/// One partition that appeared, changed or went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionDelta {
    /// Which one.
    pub partition: TopicPartition,
    /// The topic's name.
    pub topic: TopicName,
    /// As it was.
    pub old: Option<Arc<Partition>>,
    /// As it is.
    pub new: Option<Arc<Partition>>,
}

/// What of a broker's work differs from one image to a later one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Delta {
    /// Partitions that appeared, changed or went, in order of topic id and index.
    pub partitions: Vec<PartitionDelta>,
    /// Resources whose configuration changed.
    pub configs_changed: Vec<ConfigResource>,
}

impl Delta {
    /// What leads from `old` to `new`.
    pub fn between(old: &Image, new: &Image) -> Self {
        let mut delta = Self::default();
        for item in old.configs.diff(&new.configs) {
            let (DiffItem::Add(resource, _)
            | DiffItem::Update { new: (resource, _), .. }
            | DiffItem::Remove(resource, _)) = item;
            delta.configs_changed.push(resource.clone());
        }
        for item in old.topics.diff(&new.topics) {
            match item {
                DiffItem::Add(_, topic) => delta.topic(None, Some(topic)),
                DiffItem::Update { old: (_, old), new: (_, new) } => delta.topic(Some(old), Some(new)),
                DiffItem::Remove(_, topic) => delta.topic(Some(topic), None),
            }
        }
        delta
    }

    fn topic(&mut self, old: Option<&Arc<Topic>>, new: Option<&Arc<Topic>>) {
        let Some(topic) = new.or(old) else { return };
        let partitions_of =
            |topic: Option<&Arc<Topic>>| topic.map(|topic| topic.partitions.clone()).unwrap_or_default();
        let (before, after) = (partitions_of(old), partitions_of(new));
        for item in before.diff(&after) {
            let (index, old, new): (PartitionIndex, _, _) = match item {
                DiffItem::Add(index, new) => (*index, None, Some(new.clone())),
                DiffItem::Update { old: (_, old), new: (index, new) } => {
                    (*index, Some(old.clone()), Some(new.clone()))
                }
                DiffItem::Remove(index, old) => (*index, Some(old.clone()), None),
            };
            self.partitions.push(PartitionDelta {
                partition: TopicPartition { topic_id: topic.id, partition: index },
                topic: topic.name.clone(),
                old,
                new,
            });
        }
    }
}
