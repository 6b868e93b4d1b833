//! The metadata as a request that makes topics and partitions is about to leave them, and what placing them
//! needs to know: counted once for each request, and kept while it is decided. A request can name ten thousand
//! topics of a cluster that has a hundred thousand partitions; nothing here costs one for each of the other.

use std::collections::BTreeMap;

use super::directories::DirectoryLoads;
use super::error::OperationError;
use super::partitions::new_partition;
use super::placement::{Candidate, plan_placement};
use crate::ids::{NodeId, PartitionIndex, TopicId, TopicName};
use crate::metadata::image::{Fencing, Image, Partition, Topic};
use crate::metadata::record::{PartitionRecord, Record};

/// See the module's text.
#[derive(Debug)]
pub(super) struct Draft {
    image: Image,
    /// How many partitions each broker leads; counted when the first is placed.
    leads: Option<BTreeMap<NodeId, usize>>,
    /// Counted when the first directory is chosen.
    loads: Option<DirectoryLoads>,
    /// The topics by what [`metric_name`] makes of their names; made when the first name could collide.
    metric_names: Option<BTreeMap<String, TopicName>>,
}

/// Metric names map '.' to '_', so two topics that differ only in these could not be told apart.
fn metric_name(name: &TopicName) -> String {
    name.as_str().replace('.', "_")
}

fn counted_leader(partition: &Partition) -> Option<NodeId> {
    partition.leader.or_else(|| partition.replicas.first().copied())
}

fn count_leads(image: &Image) -> BTreeMap<NodeId, usize> {
    let mut leads = BTreeMap::new();
    let partitions = image.topics.values().flat_map(|topic| topic.partitions.values());
    partitions
        .filter_map(|partition| counted_leader(partition))
        .for_each(|id| *leads.entry(id).or_insert(0) += 1);
    leads
}

impl Draft {
    /// Begins with what there is.
    pub(super) fn of(image: &Image) -> Self {
        Self { image: image.clone(), leads: None, loads: None, metric_names: None }
    }

    /// The metadata after the records so far.
    pub(super) fn image(&self) -> &Image {
        &self.image
    }

    /// Takes over records that were decided on this.
    pub(super) fn add(&mut self, records: &[Record]) {
        for record in records {
            self.image.replay(self.image.offset, record).expect("records decided on this image fit it");
            match (record, &mut self.leads, &mut self.metric_names) {
                (Record::Partition(made), Some(leads), _) => {
                    if let Some(leader) = counted_leader(&made.partition) {
                        *leads.entry(leader).or_insert(0) += 1;
                    }
                }
                (Record::Topic(made), _, Some(names)) => {
                    names.insert(metric_name(&made.name), made.name.clone());
                }
                _ => {}
            }
        }
    }

    /// A topic that this name differs from only in '.' and '_'.
    pub(super) fn collides(&mut self, name: &TopicName) -> Option<&TopicName> {
        if !name.as_str().contains(['.', '_']) {
            return None;
        }
        let topics = &self.image.topic_ids;
        let names = self
            .metric_names
            .get_or_insert_with(|| topics.keys().map(|topic| (metric_name(topic), topic.clone())).collect());
        names.get(&metric_name(name))
    }

    /// The replicas of so many new partitions, of a new topic or of one that there is.
    pub(super) fn place(
        &mut self,
        existing: Option<&Topic>,
        count: usize,
        factor: usize,
    ) -> Result<Vec<Vec<NodeId>>, OperationError> {
        let image = &self.image;
        let leads = self.leads.get_or_insert_with(|| count_leads(image));
        let mut candidates: BTreeMap<NodeId, Candidate> = image
            .brokers
            .values()
            .filter(|broker| !image.is_cordoned(broker.node_id))
            .map(|broker| {
                let candidate = Candidate {
                    node_id: broker.node_id,
                    is_live: broker.fencing == Fencing::Unfenced,
                    rack: broker.rack.clone(),
                    leads: leads.get(&broker.node_id).copied().unwrap_or(0),
                    leads_of_topic: 0,
                    replicas_of_topic: 0,
                };
                (broker.node_id, candidate)
            })
            .collect();
        if candidates.len() < factor || candidates.values().all(|candidate| !candidate.is_live) {
            return Err(too_few(image, candidates.len(), factor));
        }
        for partition in existing.iter().flat_map(|topic| topic.partitions.values()) {
            for (position, replica) in partition.replicas.iter().enumerate() {
                if let Some(candidate) = candidates.get_mut(replica) {
                    candidate.replicas_of_topic += 1;
                    candidate.leads_of_topic += usize::from(position == 0);
                }
            }
        }
        Ok(plan_placement(candidates.into_values().collect(), count, factor))
    }

    /// The records of new partitions from `first` on, with these replicas.
    pub(super) fn partitions(
        &mut self,
        topic_id: TopicId,
        first: i32,
        replicas: Vec<Vec<NodeId>>,
    ) -> Vec<Record> {
        let image = &self.image;
        let loads = self.loads.get_or_insert_with(|| DirectoryLoads::of(image));
        let made = (first..).zip(replicas).map(|(index, replicas)| {
            let partition = new_partition(image, loads, replicas);
            Record::Partition(PartitionRecord { topic_id, index: PartitionIndex(index), partition })
        });
        made.collect()
    }
}

fn too_few(image: &Image, usable: usize, factor: usize) -> OperationError {
    let registered = image.brokers.len();
    let cordoned = match registered - usable {
        0 => String::new(),
        cordoned => format!(
            "; of {registered} registered ones {cordoned} have all their log directories cordoned (cordoned.log.dirs)"
        ),
    };
    OperationError::InvalidReplicationFactor(if registered == 0 {
        "no broker is registered".to_owned()
    } else if usable < factor && usable < registered {
        format!(
            "replication factor {factor} is larger than the number of brokers that may get replicas, {usable}{cordoned}"
        )
    } else if usable < factor {
        format!("replication factor {factor} is larger than the number of registered brokers, {registered}")
    } else {
        let which = if usable < registered { "all brokers that may get replicas" } else { "all brokers" };
        format!("{which} are currently fenced or shutting down{cordoned}")
    })
}
