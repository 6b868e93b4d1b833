//! One pass over all topics of one cluster.

use std::sync::Arc;

use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _, future::BoxFuture, stream};
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use tracing::{debug, info};

use super::{
    declared::{Declared, declared},
    plan::{
        Asked, Found, Outcome, Plan, Verdict, asks_for_census, asks_for_cordons, asks_for_moves, doubtful,
        plan,
    },
    report,
};
use crate::{
    apply::{ApplyError, set_topic_finalizer},
    crd::{DeletionPolicy, KafkaCluster, KafkaTopic, ReplicasChange},
    events::{CONFIG_SET, Events, PARTITIONS_ADDED, TOPIC_CREATED, TOPIC_DELETED, TOPIC_KEPT},
    kafka::{Census, Kafka, KafkaError, TopicFacts},
    names::ClusterName,
    status::{self, Kind, Now, Why},
};

/// Writes to the API server at the same time.
const WRITES: usize = 8;

/// What a pass works with.
pub struct Pass {
    /// The API server.
    pub client: Client,
    /// Events.
    pub events: Events,
    /// The cluster, unless there is none or it is going.
    pub cluster: Option<Arc<KafkaCluster>>,
    /// The objects of its topics.
    pub objects: Vec<Arc<KafkaTopic>>,
    /// How often in a row the cluster did not answer, or put us off, before this pass.
    pub silences: u32,
}

/// A cluster that is silent in a moment of leadership change is not reported; one that stays silent is.
const SILENCES_MAX: u32 = 5;

/// How a pass ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ended {
    /// Everything that can be done is done.
    Settled,
    /// Replicas are on the move: to be looked at again soon, at once where this pass `began` to move some.
    Moving {
        /// Whether it did.
        began: bool,
    },
    /// Nothing can be done before the cluster changes, and the watch tells of that.
    Waiting,
    /// The cluster did not answer, or put us off: to be looked at again soon, by another connection.
    Silent,
}

/// Why a pass did not get through.
#[derive(Debug, thiserror::Error)]
pub enum PassError {
    /// It could not write.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// It took too long.
    #[error("the pass took too long")]
    Time,
}

impl Pass {
    /// Runs the pass. `kafka` is kept from pass to pass as long as it works.
    ///
    /// # Errors
    /// When the API server does not do its part.
    pub async fn run(&self, kafka: &mut Option<Kafka>) -> Result<Ended, PassError> {
        let declared = declared(self.objects.clone());
        let Some(cluster) = &self.cluster else { return self.without_cluster(&declared).await };
        let declared = self.release(declared).await?;
        if cluster.spec.paused {
            self.leave_alone(&declared).await?;
            return Ok(Ended::Waiting);
        }
        if !accepts_topics(cluster) {
            self.wait_for_cluster(&declared, "its brokers are not ready yet").await?;
            return Ok(Ended::Waiting);
        }
        let declared = self.finalize(declared).await?;
        self.with_cluster(cluster, &declared, kafka).await
    }

    async fn with_cluster(
        &self,
        cluster: &KafkaCluster,
        declared: &[Declared],
        kafka: &mut Option<Kafka>,
    ) -> Result<Ended, PassError> {
        let (connected, found) = match self.find(cluster, declared, kafka.take()).await {
            Ok(found) => found,
            Err(error) => return self.unanswered(declared, &error).await,
        };
        let asked = Asked::all(declared, &found);
        let plan = plan(&asked, &found);
        let outcome = match ask(&connected, declared, &plan).await {
            Ok(outcome) => outcome,
            Err(error) => return self.unanswered(declared, &error).await,
        };
        *kafka = Some(connected);
        let ended = self.conclude(&asked, &plan, &outcome).await?;
        if ended == Ended::Silent {
            // It may be cut off from the controllers, and would put us off for ever.
            *kafka = None;
        }
        Ok(ended)
    }

    async fn unanswered(&self, declared: &[Declared], error: &KafkaError) -> Result<Ended, PassError> {
        debug!(error = error as &dyn std::error::Error, "the cluster did not answer about its topics");
        if self.silences >= SILENCES_MAX {
            self.wait_for_cluster(declared, &report::told_of_error(error)).await?;
        }
        Ok(Ended::Silent)
    }

    /// Looks at the cluster, by the connection that there is or a new one.
    async fn find(
        &self,
        cluster: &KafkaCluster,
        declared: &[Declared],
        kafka: Option<Kafka>,
    ) -> Result<(Kafka, Found), KafkaError> {
        let metadata = &cluster.metadata;
        let name = ClusterName::new(metadata.name.clone().unwrap_or_default());
        let namespace = metadata.namespace.clone().unwrap_or_default();
        let connected = match kafka {
            Some(kafka) => kafka,
            None => Kafka::connect(&name.bootstrap(), &namespace).await?,
        };
        let mut names: Vec<String> = declared.iter().map(|one| one.topic.name.clone()).collect();
        names.sort();
        names.dedup();
        let cluster_id = cluster.status.as_ref().and_then(|status| status.cluster_id.as_deref());
        let mut topics = connected.topics(&names, cluster_id.unwrap_or_default()).await?;
        let elsewhere = if asks_for_moves(declared, &topics) {
            connected.add_moves(&mut topics).await?
        } else {
            Vec::new()
        };
        let mut census =
            if asks_for_census(declared, &topics) { connected.census().await? } else { Census::default() };
        if asks_for_cordons(declared, &topics) {
            connected.add_cordons(&mut census).await;
        }
        Ok((connected, Found { topics, elsewhere, census }))
    }

    async fn conclude(
        &self,
        asked: &[Asked<'_>],
        plan: &Plan,
        outcome: &Outcome,
    ) -> Result<Ended, PassError> {
        if !plan.is_empty() {
            info!(
                created = plan.create.len(),
                raised = plan.raise.len(),
                changed = plan.change.len(),
                moved = plan.moves.len(),
                deleted = plan.delete.len(),
                "asked the cluster to change topics"
            );
        }
        let verdicts: Vec<(&Asked<'_>, Verdict)> =
            asked.iter().map(|asked| (asked, asked.judge(outcome))).collect();
        let silent = verdicts.iter().any(|(_, verdict)| matches!(verdict, Verdict::Later(..)));
        let writes = verdicts.into_iter().map(|(asked, verdict)| {
            let write = async move {
                self.tell(asked.one, outcome).await;
                self.carry_out(asked.one, verdict, asked.replicas_change(outcome)).await
            };
            write.boxed()
        });
        a_few_at_a_time(writes.collect()).await?;
        if silent {
            return Ok(Ended::Silent);
        }
        Ok(if asked.iter().any(Asked::is_moving) {
            Ended::Moving { began: outcome.began_moves() }
        } else {
            Ended::Settled
        })
    }

    async fn carry_out(
        &self,
        one: &Declared,
        verdict: Verdict,
        change: Option<ReplicasChange>,
    ) -> Result<(), ApplyError> {
        let is_settled = !matches!(verdict, Verdict::Later(..));
        match report::condition(one, &verdict) {
            None => self.let_go(one).await,
            Some((now, facts)) if is_settled => self.report_with(one, now, facts, change).await,
            Some((now, _)) if self.silences >= SILENCES_MAX => self.report(one, now).await,
            Some(_) => Ok(()),
        }
    }

    async fn let_go(&self, one: &Declared) -> Result<(), ApplyError> {
        if one.finalized() {
            set_topic_finalizer(&self.client, &one.object, false).await?;
        }
        Ok(())
    }

    async fn tell(&self, one: &Declared, outcome: &Outcome) {
        if one.overruled_by.is_some() {
            return;
        }
        let name = &one.topic.name;
        let object = &*one.object;
        if let Some(Ok(facts)) = outcome.created.get(name) {
            let note = format!("created topic \"{name}\" with {} partitions", facts.partitions);
            self.events.tell(object, TOPIC_CREATED, note).await;
        }
        if outcome.raised.get(name).is_some_and(Result::is_ok) {
            let note = format!("topic \"{name}\" now has {} partitions", one.topic.partitions);
            self.events.tell(object, PARTITIONS_ADDED, note).await;
        }
        if outcome.changed.get(name).is_some_and(Result::is_ok) {
            let note = format!("set the configuration of topic \"{name}\" to what is declared");
            self.events.tell(object, CONFIG_SET, note).await;
        }
        let deleted = one.to_delete().and_then(|id| outcome.deleted.get(&id));
        if deleted.is_some_and(Result::is_ok) {
            self.events.tell(object, TOPIC_DELETED, format!("deleted topic \"{name}\"")).await;
        }
    }

    /// Lets those objects go that need nothing of the cluster for it, and gives the others.
    async fn release(&self, declared: Vec<Declared>) -> Result<Vec<Declared>, ApplyError> {
        let (going, others): (Vec<_>, Vec<_>) =
            declared.into_iter().partition(|one| one.leaving() && one.to_delete().is_none());
        for one in going.iter().filter(|one| one.finalized()) {
            if one.deletion == DeletionPolicy::Delete {
                let note = match &one.overruled_by {
                    Some(other) => {
                        format!("topic \"{}\" stays with KafkaTopic \"{other}\"", one.topic.name)
                    }
                    None => {
                        format!("no topic \"{}\" was made for this object: none is deleted", one.topic.name)
                    }
                };
                self.events.tell(&*one.object, TOPIC_KEPT, note).await;
            }
            self.let_go(one).await?;
        }
        Ok(others)
    }

    /// Puts our finalizer on the objects before their topics are made. Gives them as they then are.
    async fn finalize(&self, declared: Vec<Declared>) -> Result<Vec<Declared>, ApplyError> {
        let all = declared.into_iter().map(|one| async move {
            if one.leaving() || one.finalized() {
                return Ok(one);
            }
            let patched = set_topic_finalizer(&self.client, &one.object, true).await?;
            Ok(match patched {
                Some(object) => Declared { object: Arc::new(object), ..one },
                None => one,
            })
        });
        stream::iter(all).buffered(WRITES).try_collect().await
    }

    /// The cluster is paused: what is new is told so, and of the rest what was said last stays true.
    async fn leave_alone(&self, declared: &[Declared]) -> Result<(), ApplyError> {
        for one in declared {
            let observed = one.object.status.as_ref().and_then(|status| status.observed_generation);
            if one.leaving() || observed != one.object.metadata.generation {
                let cluster = &one.object.spec.cluster_ref.name;
                let message = format!(
                    "KafkaCluster \"{cluster}\" is paused: its topics are left alone until spec.paused is false"
                );
                self.report(one, Now::new(Kind::Ready, false, Why::ClusterPaused, message)).await?;
            }
        }
        Ok(())
    }

    /// There is no cluster: objects that are going may go, whatever they wished for.
    async fn without_cluster(&self, declared: &[Declared]) -> Result<Ended, PassError> {
        for one in declared {
            if one.leaving() {
                self.let_go(one).await?;
                continue;
            }
            let cluster = &one.object.spec.cluster_ref.name;
            let message = format!(
                "spec.clusterRef.name: \"{cluster}\": there is no such KafkaCluster in this namespace"
            );
            self.report(one, Now::new(Kind::Ready, false, Why::ClusterNotFound, message)).await?;
        }
        Ok(Ended::Settled)
    }

    async fn wait_for_cluster(&self, declared: &[Declared], why: &str) -> Result<(), ApplyError> {
        for one in declared {
            let cluster = &one.object.spec.cluster_ref.name;
            let message = format!("KafkaCluster \"{cluster}\" does not answer: {why}");
            self.report(one, Now::new(Kind::Ready, false, Why::ClusterNotReady, message)).await?;
        }
        Ok(())
    }

    /// Reports what is known without the cluster.
    async fn report(&self, one: &Declared, now: Now) -> Result<(), ApplyError> {
        self.report_with(one, now, None, one.recorded().cloned()).await
    }

    async fn report_with(
        &self,
        one: &Declared,
        now: Now,
        facts: Option<&TopicFacts>,
        change: Option<ReplicasChange>,
    ) -> Result<(), ApplyError> {
        let object = &*one.object;
        let before = object.status.as_ref();
        let conditions_before = before.map_or(&[][..], |status| &status.conditions);
        let after = report::status(one, now, facts, change, Timestamp::now());
        if status::write(&self.client, object, before, &after).await? {
            let changed = status::transitions(conditions_before, &after.conditions);
            self.events.tell_transitions(object, &changed).await;
            if let Some((reason, note)) = report::told_of_replicas(one, facts, after.replicas_change.as_ref())
            {
                self.events.tell(object, reason, note).await;
            }
        }
        Ok(())
    }
}

/// Asks the cluster for what is planned.
async fn ask(kafka: &Kafka, declared: &[Declared], plan: &Plan) -> Result<Outcome, KafkaError> {
    // Deleted before created: an object that replaces another of the same topic gets a topic of its own.
    let deleted = kafka.delete_topics(&plan.delete).await?;
    Ok(Outcome {
        free: kafka.are_free(&doubtful(declared, &deleted)).await?,
        deleted,
        created: kafka.create_topics(&plan.create).await?,
        raised: kafka.raise_partitions(&plan.raise).await?,
        changed: kafka.change_config(&plan.change).await?,
        moved: kafka.reassign(&plan.moves).await?,
    })
}

async fn a_few_at_a_time(writes: Vec<BoxFuture<'_, Result<(), ApplyError>>>) -> Result<(), ApplyError> {
    stream::iter(writes).buffer_unordered(WRITES).try_collect().await
}

/// Whether the cluster has come up once. Before that, topics would land on the few brokers that are there already.
fn accepts_topics(cluster: &KafkaCluster) -> bool {
    let Some(status) = &cluster.status else { return false };
    let some_ready = status.brokers.as_ref().is_some_and(|brokers| brokers.ready > 0);
    let ready = status::find(&status.conditions, Kind::Ready);
    let came_up = [Why::AllNodesReady, Why::Scaling, Why::RollingOut, Why::NodesNotReady];
    some_ready && ready.is_some_and(|ready| came_up.iter().any(|why| why.word() == ready.reason))
}
