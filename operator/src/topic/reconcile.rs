//! When the topics of which cluster are looked at: after a change (`super::news`), and every half minute for what clients
//! changed.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use futures::{StreamExt as _, stream::BoxStream};
use kube::{
    Api, Client, Resource, ResourceExt as _,
    runtime::{
        WatchStreamExt as _,
        reflector::{self, ObjectRef, Store},
        watcher::{self, watcher},
    },
};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep_until, timeout},
};
use tracing::{debug, warn};

use super::{
    news::News,
    pass::{Ended, Pass, PassError},
};
use crate::{
    apply::Owned,
    crd::{KafkaCluster, KafkaTopic},
    events::Events,
    http_serve::Vitals,
    kafka::Kafka,
    retry::jittered,
};

/// A burst of changes is gathered this long, so that a manifest of a hundred topics is one request to the cluster.
const GATHER: Duration = Duration::from_millis(30);
/// Clients may change topics without telling anybody; this is how long that lasts.
const DRIFT: Duration = Duration::from_secs(30);
/// After a pass that left something open; doubled with every silence up to [`RETRY_MAX`].
const RETRY: Duration = Duration::from_millis(500);
/// The longest wait for a cluster that is silent.
const RETRY_MAX: Duration = Duration::from_secs(15);

/// The longest wait while replicas are on the move: others may wait until these have room for them.
const MOVING_WAIT_MAX: Duration = Duration::from_secs(5);

/// A pass over thousands of topics takes half a minute. One that hangs must not hold up the next for ever.
const PASS_TIME_MAX: Duration = Duration::from_secs(300);

/// A cluster by namespace and name.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Key {
    namespace: String,
    name: String,
}

impl Key {
    /// The cluster of a topic.
    fn of(topic: &KafkaTopic) -> Self {
        let namespace = topic.namespace().unwrap_or_default();
        Self { namespace, name: topic.spec.cluster_ref.name.clone() }
    }
}

/// What is kept of a cluster between passes: when to look again, and a connection.
#[derive(Default)]
struct Entry {
    due: Option<Instant>,
    running: bool,
    silences: u32,
    failures: u32,
    /// Passes in a row that found replicas on the move and began to move none.
    watches: u32,
    kafka: Option<Kafka>,
}

impl Entry {
    fn soon(&mut self, at: Instant) {
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }
}

struct Finished {
    key: Key,
    kafka: Option<Kafka>,
    result: Result<Ended, PassError>,
}

/// Runs until `stop` resolves, and then until the passes under way are over.
pub async fn run(
    client: Client,
    topics: Api<KafkaTopic>,
    clusters: Api<KafkaCluster>,
    events: Events,
    vitals: &'static Vitals,
    stop: impl Future<Output = ()>,
) {
    let (topics, mut topic_changes) = reflect(topics);
    let (clusters, mut cluster_changes) = reflect(clusters);
    let mut entries: BTreeMap<Key, Entry> = BTreeMap::new();
    let mut passes: JoinSet<Finished> = JoinSet::new();
    let mut listed = Listed::default();
    let mut news = News::default();
    let mut stop = std::pin::pin!(stop);
    loop {
        let next = entries.values().filter(|entry| !entry.running).filter_map(|entry| entry.due).min();
        let next = next.filter(|_| listed.both());
        // Every arm is cancel-safe: streams and sets keep what was not taken, and a timer is made anew.
        tokio::select! {
            () = &mut stop => break,
            Some(change) = topic_changes.next() => match change {
                Change::Listed => {
                    news.keep(&topics.state());
                    listed.now(|listed| &mut listed.topics, vitals);
                }
                Change::Of(topic) => if news.is_news(&topic) {
                    entries.entry(Key::of(&topic)).or_default().soon(Instant::now() + GATHER);
                },
                Change::Gone(topic) => {
                    news.forget(&topic);
                    entries.entry(Key::of(&topic)).or_default().soon(Instant::now() + GATHER);
                }
            },
            Some(change) = cluster_changes.next() => match change {
                Change::Listed => listed.now(|listed| &mut listed.clusters, vitals),
                Change::Of(cluster) | Change::Gone(cluster) => {
                    let key = Key { namespace: cluster.namespace().unwrap_or_default(), name: cluster.name_any() };
                    entries.entry(key).or_default().soon(Instant::now());
                }
            },
            Some(finished) = passes.join_next(), if !passes.is_empty() => match finished {
                Ok(finished) => finish(&mut entries, finished, vitals),
                Err(error) => warn!(%error, "a pass over topics broke off"),
            },
            () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {
                start_due(&mut entries, &mut passes, &client, &events, &topics, &clusters);
            }
        }
    }
    while passes.join_next().await.is_some() {}
}

#[derive(Default)]
struct Listed {
    topics: bool,
    clusters: bool,
}

impl Listed {
    fn both(&self) -> bool {
        self.topics && self.clusters
    }

    /// A kind was listed, for the first time or again.
    fn now(&mut self, kind: impl Fn(&mut Self) -> &mut bool, vitals: &Vitals) {
        let before = self.both();
        *kind(self) = true;
        if self.both() && !before {
            vitals.lists_done.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn start_due(
    entries: &mut BTreeMap<Key, Entry>,
    passes: &mut JoinSet<Finished>,
    client: &Client,
    events: &Events,
    topics: &Store<KafkaTopic>,
    clusters: &Store<KafkaCluster>,
) {
    let now = Instant::now();
    let mut idle = Vec::new();
    for (key, entry) in entries.iter_mut() {
        if entry.running || entry.due.is_none_or(|due| due > now) {
            continue;
        }
        entry.due = None;
        let of_cluster = |topic: &Arc<KafkaTopic>| {
            topic.metadata.namespace.as_deref() == Some(&key.namespace)
                && topic.spec.cluster_ref.name == key.name
        };
        let objects: Vec<_> = topics.state().into_iter().filter(of_cluster).collect();
        if objects.is_empty() {
            idle.push(key.clone());
            continue;
        }
        let cluster = clusters.get(&ObjectRef::new(&key.name).within(&key.namespace));
        let pass = Pass {
            client: client.clone(),
            events: events.clone(),
            cluster: cluster.filter(|cluster| cluster.metadata.deletion_timestamp.is_none()),
            objects,
            silences: entry.silences,
        };
        entry.running = true;
        let (key, mut kafka) = (key.clone(), entry.kafka.take());
        passes.spawn(async move {
            let result = match timeout(PASS_TIME_MAX, pass.run(&mut kafka)).await {
                Ok(result) => result,
                Err(_) => {
                    kafka = None;
                    Err(PassError::Time)
                }
            };
            Finished { key, kafka, result }
        });
    }
    idle.iter().for_each(|key| {
        entries.remove(key);
    });
}

fn finish(entries: &mut BTreeMap<Key, Entry>, finished: Finished, vitals: &Vitals) {
    let entry = entries.entry(finished.key.clone()).or_default();
    entry.running = false;
    entry.kafka = finished.kafka;
    vitals
        .count_topics(matches!(finished.result, Ok(Ended::Settled | Ended::Moving { .. } | Ended::Waiting)));
    let wait = match finished.result {
        Ok(Ended::Settled | Ended::Waiting) => {
            (entry.silences, entry.failures, entry.watches) = (0, 0, 0);
            DRIFT
        }
        Ok(Ended::Moving { began }) => {
            (entry.silences, entry.failures) = (0, 0);
            entry.watches = if began { 0 } else { entry.watches.saturating_add(1) };
            backoff(entry.watches).min(MOVING_WAIT_MAX)
        }
        Ok(Ended::Silent) => {
            (entry.silences, entry.failures) = (entry.silences.saturating_add(1), 0);
            backoff(entry.silences)
        }
        Err(error) => {
            entry.failures = entry.failures.saturating_add(1);
            warn!(
                cluster = finished.key.name,
                namespace = finished.key.namespace,
                error = crate::run::chain(&error),
                "a pass over topics failed"
            );
            backoff(entry.failures)
        }
    };
    // What failed for one cluster often failed for all.
    let wait = jittered(wait);
    debug!(cluster = finished.key.name, namespace = finished.key.namespace, ?wait, "passed over topics");
    entry.soon(Instant::now() + wait);
}

fn backoff(silences: u32) -> Duration {
    RETRY.saturating_mul(1 << silences.min(8)).min(RETRY_MAX)
}

enum Change<K> {
    Listed,
    Of(K),
    Gone(K),
}

/// A store of all objects, and the stream that fills it. What the operator does not read is not kept.
fn reflect<K>(api: Api<K>) -> (Store<K>, BoxStream<'static, Change<K>>)
where
    K: Owned + Resource<DynamicType = ()> + Send + Sync + 'static,
{
    let (reader, writer) = reflector::store();
    let stream = watcher(api, watcher::Config::default())
        .default_backoff()
        .modify(|object| {
            object.managed_fields_mut().clear();
            object.annotations_mut().clear();
        })
        .reflect(writer)
        .filter_map(|event| async move {
            match event {
                Ok(watcher::Event::Apply(object) | watcher::Event::InitApply(object)) => {
                    Some(Change::Of(object))
                }
                Ok(watcher::Event::Delete(object)) => Some(Change::Gone(object)),
                Ok(watcher::Event::InitDone) => Some(Change::Listed),
                Ok(watcher::Event::Init) => None,
                Err(error) => {
                    warn!(error = crate::run::chain(&error), "a watch broke and is set up again");
                    None
                }
            }
        })
        .boxed();
    (reader, stream)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_for_a_silent_cluster_grows_to_its_limit() {
        assert_eq!(backoff(0), RETRY);
        assert_eq!(backoff(1), 2 * RETRY);
        assert_eq!(backoff(40), RETRY_MAX);
    }
}
