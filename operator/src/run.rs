//! The operator as a whole: watches, the election, and an orderly end.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use futures::{FutureExt as _, StreamExt as _, future::Shared};
use k8s_openapi::api::{
    apps::v1::StatefulSet,
    core::v1::{ConfigMap, PersistentVolumeClaim, Pod, Service, ServiceAccount},
    networking::v1::NetworkPolicy,
    policy::v1::PodDisruptionBudget,
};
use kube::{
    Api, Client, ResourceExt as _,
    runtime::{
        controller::{Action, Config, Controller},
        reflector::ObjectRef,
        watcher,
    },
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::oneshot,
};
use tracing::{debug, info, warn};

use crate::{
    apply::Owned,
    cluster::reconcile::{Context, ReconcileError, reconcile},
    crd::KafkaCluster,
    events::Events,
    http_serve::{self, Vitals},
    lease::{Election, Standing},
    names::LABEL_CLUSTER,
    retry::Failures,
    settings::Settings,
    topic,
};

/// Passes over clusters at the same time.
const CONCURRENCY: u16 = 8;
/// Pods that start or stop change many times in a moment: one pass sees all of it.
const GATHER: Duration = Duration::from_millis(30);
/// A watch is ended by the API server after 290 seconds, and begun anew.
const READ_TIMEOUT: Duration = Duration::from_secs(295);

/// Runs until told to stop by a signal.
///
/// # Errors
/// When the operator cannot start, or lost its Lease.
pub async fn run(settings: Settings) -> anyhow::Result<()> {
    let vitals: &'static Vitals = Box::leak(Box::default());
    let listener = http_serve::bind().await?;
    let server = tokio::spawn(http_serve::serve(listener, vitals));
    let stop = stop_signal()?;
    let client = client().await?;
    info!(version = env!("CARGO_PKG_VERSION"), namespace = settings.namespace, "the operator starts");

    let (election, mut standing) = Election::new(client.clone(), &settings);
    // Dropped when the work is over: the Lease is let go of last.
    let (working, over) = oneshot::channel::<()>();
    let mut election = tokio::spawn(election.run(async {
        let _ = over.await;
    }));
    let elected = async {
        standing.wait_for(|standing| *standing != Standing::Unknown).await.ok()?;
        vitals.lease_seen.store(true, Ordering::Relaxed);
        standing.wait_for(|standing| *standing == Standing::Leading).await.ok()
    };
    let elected = tokio::select! {
        led = elected => led.is_some(),
        () = stop.clone() => false,
    };
    if elected {
        vitals.leading.store(true, Ordering::Relaxed);
        tokio::select! {
            () = work(client, settings, vitals, stop) => {}
            // The Lease was lost: another may act from now on, so the work is dropped where it stands.
            lost = &mut election => lost??,
        }
    }
    drop(working);
    if !election.is_finished() {
        election.await??;
    }
    server.abort();
    info!("the operator has stopped");
    Ok(())
}

/// A connection that is silent for longer than a watch is asked to last is a broken one.
async fn client() -> anyhow::Result<Client> {
    let mut config = kube::Config::infer().await?;
    config.read_timeout = Some(READ_TIMEOUT);
    Ok(Client::try_from(config)?)
}

type Stop = Shared<futures::future::BoxFuture<'static, ()>>;

fn stop_signal() -> std::io::Result<Stop> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
    }
    .boxed()
    .shared())
}

/// The namespaces to look at: one scope for all of them, or one for each.
enum Scope {
    All,
    One(String),
}

impl Scope {
    fn api<K: Owned>(&self, client: &Client) -> Api<K> {
        match self {
            Self::All => Api::all(client.clone()),
            Self::One(namespace) => Api::namespaced(client.clone(), namespace),
        }
    }
}

async fn work(client: Client, settings: Settings, vitals: &'static Vitals, stop: Stop) {
    let scopes = if settings.watch_namespaces.is_empty() {
        vec![Scope::All]
    } else {
        settings.watch_namespaces.iter().cloned().map(Scope::One).collect()
    };
    vitals.lists_wanted.store(scopes.len(), Ordering::Relaxed);
    let events = Events::new(client.clone(), settings.pod.clone());
    let failures = Failures::default();
    let context = Arc::new(Context { client: client.clone(), settings, events: events.clone(), failures });
    let work = scopes.iter().map(|scope| async {
        let clusters = clusters(scope, &client, Arc::clone(&context), vitals, stop.clone());
        let topics = topic::reconcile::run(
            client.clone(),
            scope.api(&client),
            scope.api(&client),
            events.clone(),
            vitals,
            stop.clone(),
        );
        futures::join!(clusters, topics);
    });
    futures::future::join_all(work).await;
}

async fn clusters(
    scope: &Scope,
    client: &Client,
    context: Arc<Context>,
    vitals: &'static Vitals,
    stop: Stop,
) {
    let ours = || watcher::Config::default().labels(LABEL_CLUSTER);
    Controller::new(scope.api::<KafkaCluster>(client), watcher::Config::default())
        .owns(scope.api::<StatefulSet>(client), ours())
        .owns(scope.api::<Service>(client), ours())
        .owns(scope.api::<ConfigMap>(client), ours())
        .owns(scope.api::<ServiceAccount>(client), ours())
        .owns(scope.api::<PodDisruptionBudget>(client), ours())
        .owns(scope.api::<NetworkPolicy>(client), ours())
        .watches(scope.api::<Pod>(client), ours(), |pod| cluster_of(&pod))
        // A claim that somebody removes, as a condition told them to, and one that is on its way out.
        .watches(scope.api::<PersistentVolumeClaim>(client), ours(), |claim| cluster_of(&claim))
        .with_config(Config::default().concurrency(CONCURRENCY).debounce(GATHER))
        .graceful_shutdown_on(stop)
        .run(reconcile_or_leave, retry, context)
        .for_each(|result| async move {
            vitals.count_cluster(result.is_ok());
            match result {
                Ok((cluster, action)) => debug!(%cluster, ?action, "passed over a cluster"),
                // An object that is gone by the time its turn comes.
                Err(kube::runtime::controller::Error::ObjectNotFound(_)) => {}
                Err(error) => warn!(error = chain(&error), "a pass over a cluster failed"),
            }
        })
        .await;
}

/// The cluster that an object of its namespace is labelled for.
fn cluster_of<K: Owned>(object: &K) -> Option<ObjectRef<KafkaCluster>> {
    let name = object.labels().get(LABEL_CLUSTER)?;
    Some(ObjectRef::new(name).within(&object.namespace().unwrap_or_default()))
}

async fn reconcile_or_leave(
    cluster: Arc<KafkaCluster>,
    context: Arc<Context>,
) -> Result<Action, ReconcileError> {
    match reconcile(cluster, context).await {
        // Its own deletion is next, and comes by the watch.
        Err(ReconcileError::Apply(error) | ReconcileError::Change(error)) if error.namespace_is_leaving() => {
            Ok(Action::await_change())
        }
        other => other,
    }
}

fn retry(cluster: Arc<KafkaCluster>, _: &ReconcileError, context: Arc<Context>) -> Action {
    Action::requeue(context.failures.after_another(&*cluster))
}

/// An error with all its causes; a formatter of JSON lines writes the first only.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| {
        let cause = cause.to_string();
        // Some errors of libraries repeat their cause.
        if text.ends_with(&cause) { text } else { format!("{text}: {cause}") }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot write: full")]
    struct Repeats(#[source] Full);

    #[derive(Debug, thiserror::Error)]
    #[error("full")]
    struct Full(#[source] std::io::Error);

    #[test]
    fn every_cause_is_told_once() {
        let error = Repeats(Full(std::io::Error::other("no space")));
        assert_eq!(chain(&error), "cannot write: full: no space");
    }
}
