//! Runs coordinators: a task for each partition of `__consumer_offsets` that this broker leads.
//!
//! A task owns its coordinator, and ends when the broker leads the partition no longer, or another may have led it since. Handlers
//! ask through [`Groups`]; who asks for a group that is kept elsewhere, or is still being read, is told so.

mod coordinate;
mod load;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ottla_core::config;
use ottla_core::group::ids::GroupId;
use ottla_core::group::request::{GroupError, Request};
use ottla_core::group::{Answer, GroupSettings};
use ottla_core::ids::{LeaderEpoch, NodeId, PartitionIndex, TopicId, TopicName, TopicPartition};
use ottla_core::metadata::image::{Image, Topic};
use ottla_wire::batch::compression::Compression;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tracing::debug;

use self::coordinate::{Ask, Coordinate};
use self::load::Source;
use super::shard::Shards;

/// The topic that keeps groups and their offsets.
pub(crate) const OFFSETS_TOPIC: &str = "__consumer_offsets";

/// So many requests may wait for one coordinator. Each belongs to a connection that waits with it, and is reserved in
/// the memory budget; more wait for their turn.
const ASKS_MAX: usize = 256;

type Coordinators = BTreeMap<PartitionIndex, mpsc::Sender<Ask>>;

/// The way to ask coordinators.
#[derive(Debug, Clone)]
pub(crate) struct Groups {
    me: NodeId,
    running: watch::Receiver<Arc<Coordinators>>,
    shards: Shards,
}

impl Groups {
    /// Begins to coordinate what is in the images.
    pub(crate) fn start(
        me: NodeId,
        config: &config::Groups,
        shards: &Shards,
        images: watch::Receiver<Arc<Image>>,
    ) -> Self {
        let (publish, running) = watch::channel(Arc::default());
        let supervisor = Supervisor {
            me,
            settings: config.settings.clone(),
            compression: compression(config.codec),
            loads: Arc::new(Semaphore::new(config.loads_max.max(1))),
            shards: shards.clone(),
            running: BTreeMap::new(),
            publish,
        };
        tokio::spawn(supervisor.run(images));
        Self { me, running, shards: shards.clone() }
    }

    /// No coordinator at all.
    #[cfg(test)]
    pub(crate) fn none() -> Self {
        let (_, running) = watch::channel(Arc::default());
        Self { me: NodeId(1), running, shards: Shards::none() }
    }

    /// Asks the coordinator of a group.
    pub(crate) async fn ask(&self, image: &Image, group: &GroupId, request: Request) -> Answer {
        let topic = offsets_topic(image).ok_or(GroupError::NotCoordinator)?;
        let partitions = u32::try_from(topic.partitions.len()).unwrap_or(u32::MAX);
        let partition = i32::try_from(group.partition(partitions)).unwrap_or(i32::MAX);
        self.ask_partition(topic, PartitionIndex(partition), request).await
    }

    /// Asks every coordinator of this broker.
    pub(crate) async fn ask_all(&self, image: &Image, request: &Request) -> Result<Vec<Answer>, GroupError> {
        let Some(topic) = offsets_topic(image) else { return Ok(Vec::new()) };
        let mine = topic.partitions.iter().filter(|(_, partition)| partition.leader == Some(self.me));
        let mut answers = Vec::new();
        for (index, _) in mine {
            match self.ask_partition(topic, *index, request.clone()).await {
                // It was led when this began, and is not any more.
                Err(GroupError::NotCoordinator) => {}
                Err(error) => return Err(error),
                answer => answers.push(answer),
            }
        }
        // A list with holes would look whole.
        if self.shards.is_doubtful() { Err(GroupError::CoordinatorNotAvailable) } else { Ok(answers) }
    }

    async fn ask_partition(&self, topic: &Topic, partition: PartitionIndex, request: Request) -> Answer {
        let coordinator = self.running.borrow().get(&partition).cloned();
        let Some(coordinator) = coordinator else {
            let is_led = topic.partitions.get(&partition).is_some_and(|one| one.leader == Some(self.me));
            // Its task is about to begin.
            return Err(if is_led {
                GroupError::CoordinatorLoadInProgress
            } else {
                GroupError::NotCoordinator
            });
        };
        let reads_only = matches!(request, Request::FetchOffsets(_) | Request::Describe(_) | Request::List);
        let doubtful = reads_only && self.shards.is_doubtful();
        let (answer, answered) = oneshot::channel();
        // A coordinator that is gone drops what it was asked.
        coordinator.send(Ask { request, answer }).await.map_err(|_| GroupError::NotCoordinator)?;
        let answer = answered.await.unwrap_or(Err(GroupError::NotCoordinator));
        // Another broker may have taken over without this one having heard of it, and know more.
        if reads_only && (doubtful || self.shards.is_doubtful()) {
            return Err(GroupError::NotCoordinator);
        }
        answer
    }
}

/// The topic that keeps groups, if it is there.
pub(crate) fn offsets_topic(image: &Image) -> Option<&Topic> {
    let name = TopicName::parse(OFFSETS_TOPIC).ok()?;
    image.topics.get(image.topic_ids.get(&name)?).map(AsRef::as_ref)
}

fn compression(codec: u8) -> Compression {
    match codec {
        1 => Compression::Gzip { level: -1 },
        2 => Compression::Snappy,
        3 => Compression::Lz4,
        4 => Compression::Zstd { level: 3 },
        _ => Compression::None,
    }
}

/// A coordinator's task. It ends when this is dropped.
struct Running {
    partition: TopicPartition,
    epoch: watch::Sender<LeaderEpoch>,
    asks: mpsc::Sender<Ask>,
    deleted: mpsc::UnboundedSender<Arc<BTreeSet<TopicName>>>,
    _stop: oneshot::Sender<()>,
}

impl Running {
    /// Whether it is the coordinator of what is led in that epoch. In the one right after its own nobody has led between:
    /// what it knows is all there is.
    fn goes_on(&self, (partition, epoch): (TopicPartition, LeaderEpoch)) -> bool {
        let before = *self.epoch.borrow();
        let goes_on = partition == self.partition
            && (before..=LeaderEpoch(before.0.saturating_add(1))).contains(&epoch);
        if goes_on {
            self.epoch.send_replace(epoch);
        }
        goes_on
    }
}

/// Begins and ends coordinators.
struct Supervisor {
    me: NodeId,
    settings: GroupSettings,
    compression: Compression,
    loads: Arc<Semaphore>,
    shards: Shards,
    running: BTreeMap<PartitionIndex, Running>,
    publish: watch::Sender<Arc<Coordinators>>,
}

impl Supervisor {
    async fn run(mut self, mut images: watch::Receiver<Arc<Image>>) {
        let mut before = Arc::new(Image::default());
        // It ends with the broker, which publishes images.
        while images.changed().await.is_ok() {
            let image = Arc::clone(&images.borrow_and_update());
            self.follow(&image);
            self.tell_of_deletions(&before, &image);
            before = image;
        }
    }

    fn follow(&mut self, image: &Image) {
        let led: BTreeMap<PartitionIndex, (TopicPartition, LeaderEpoch)> = offsets_topic(image)
            .into_iter()
            .flat_map(|topic| {
                topic.partitions.iter().map(move |(index, partition)| (topic, index, partition))
            })
            .filter(|(_, _, partition)| partition.leader == Some(self.me))
            .map(|(topic, index, partition)| {
                let place = TopicPartition { topic_id: topic.id, partition: *index };
                (*index, (place, partition.leader_epoch))
            })
            .collect();
        let count = self.running.len();
        self.running.retain(|index, running| led.get(index).is_some_and(|place| running.goes_on(*place)));
        let mut changed = self.running.len() != count;
        for (index, place) in led {
            if !self.running.contains_key(&index) {
                let running = self.begin(place);
                self.running.insert(index, running);
                changed = true;
            }
        }
        if changed {
            let asks = self.running.iter().map(|(index, running)| (*index, running.asks.clone()));
            self.publish.send_replace(Arc::new(asks.collect()));
        }
    }

    fn begin(&self, place: (TopicPartition, LeaderEpoch)) -> Running {
        let (partition, epoch) = place;
        debug!(partition = partition.partition.0, epoch = epoch.0, "coordinates groups");
        let (asks, asked) = mpsc::channel(ASKS_MAX);
        let (deleted, deletions) = mpsc::unbounded_channel();
        let (stop, stopped) = oneshot::channel();
        let (epoch, epochs) = watch::channel(epoch);
        let coordinate = Coordinate {
            source: Source { partition, epochs, shards: self.shards.clone() },
            settings: self.settings.clone(),
            compression: self.compression,
            loads: Arc::clone(&self.loads),
            asked,
            deletions,
        };
        tokio::spawn(coordinate.run(stopped));
        Running { partition, epoch, asks, deleted, _stop: stop }
    }

    /// What was committed of topics that are gone goes with them, also where one of the same name was made since.
    fn tell_of_deletions(&self, before: &Image, now: &Image) {
        if self.running.is_empty() || before.topic_ids.ptr_eq(&now.topic_ids) {
            return;
        }
        let is_gone = |(name, id): &(&TopicName, &TopicId)| now.topic_ids.get(*name) != Some(*id);
        let gone: BTreeSet<TopicName> =
            before.topic_ids.iter().filter(is_gone).map(|(name, _)| name.clone()).collect();
        if gone.is_empty() {
            return;
        }
        let gone = Arc::new(gone);
        for running in self.running.values() {
            // A task that has ended has no offsets.
            let _ended = running.deleted.send(Arc::clone(&gone));
        }
    }
}
