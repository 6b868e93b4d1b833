//! Events: what `kubectl describe` tells of the past. Their reasons are those of the conditions, of restarts, and the
//! few words here.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::{
    Client, Resource,
    runtime::events::{Event, EventType, Recorder, Reporter},
};
use tracing::warn;

use crate::{
    crd::{Condition, ConditionStatus},
    names::FIELD_MANAGER,
    status::{Kind, Why},
};

/// The first quorum has formed.
pub const QUORUM_FORMED: &str = "QuorumFormed";
/// A topic was created in the cluster.
pub const TOPIC_CREATED: &str = "TopicCreated";
/// Partitions were added to a topic.
pub const PARTITIONS_ADDED: &str = "PartitionsAdded";
/// The configuration of a topic was set to what is declared.
pub const CONFIG_SET: &str = "ConfigSet";
/// A topic was deleted in the cluster.
pub const TOPIC_DELETED: &str = "TopicDeleted";
/// An object went whose topic is not its own, and no topic was deleted.
pub const TOPIC_KEPT: &str = "TopicKept";

/// Publishes events.
#[derive(Clone)]
pub struct Events(Recorder);

impl Events {
    /// Events published by this pod.
    #[must_use]
    pub fn new(client: Client, pod: String) -> Self {
        Self(Recorder::new(client, Reporter { controller: FIELD_MANAGER.to_owned(), instance: Some(pod) }))
    }

    /// Tells of something that went as it should.
    pub async fn tell<K: Resource<DynamicType = ()>>(&self, about: &K, reason: &str, note: String) {
        self.publish(about.object_ref(&()), EventType::Normal, reason, note, None).await;
    }

    /// Tells of something done to another object on this one's behalf, such as a restarted pod.
    pub async fn tell_of<K: Resource<DynamicType = ()>, S: Resource<DynamicType = ()>>(
        &self,
        about: &K,
        other: &S,
        reason: &str,
        note: String,
    ) {
        self.publish(about.object_ref(&()), EventType::Normal, reason, note, Some(other.object_ref(&())))
            .await;
    }

    /// Tells of conditions that changed.
    pub async fn tell_transitions<K: Resource<DynamicType = ()>>(&self, about: &K, changed: &[&Condition]) {
        for condition in changed {
            if let Some(kind) = event_type(condition) {
                self.publish(about.object_ref(&()), kind, &condition.reason, condition.message.clone(), None)
                    .await;
            }
        }
    }

    async fn publish(
        &self,
        about: ObjectReference,
        type_: EventType,
        reason: &str,
        note: String,
        secondary: Option<ObjectReference>,
    ) {
        let note = truncated(note);
        let event = Event {
            type_,
            reason: reason.to_owned(),
            note: Some(note),
            action: "Reconcile".to_owned(),
            secondary,
        };
        // An event is a courtesy: that it could not be published must not hold up what it tells of.
        if let Err(error) = self.0.publish(&event, &about).await {
            warn!(%error, reason, "an event could not be published");
        }
    }
}

/// Which conditions are worth an event, once they have changed. Others say the same beside one that is.
fn event_type(condition: &Condition) -> Option<EventType> {
    /// Of `Ready: False`; told by `Progressing`, `Degraded` and `Valid`, or about to pass by itself.
    const TOLD_ELSEWHERE: [Why; 7] = [
        Why::Creating,
        Why::Scaling,
        Why::RollingOut,
        Why::NodesNotReady,
        Why::InvalidSpec,
        Why::ClusterNotReady,
        Why::Deleting,
    ];
    let holds = condition.status == ConditionStatus::True;
    let is = |kind: Kind| condition.kind == kind.word();
    if is(Kind::Ready) && !holds {
        let told = TOLD_ELSEWHERE.iter().any(|why| why.word() == condition.reason);
        return (!told).then_some(EventType::Warning);
    }
    if is(Kind::Degraded) && holds || is(Kind::Valid) && !holds {
        return Some(EventType::Warning);
    }
    // That a topic is as declared follows from what was done to make it so, which has events of its own.
    let worth = holds
        && condition.reason != Why::AsDeclared.word()
        && (is(Kind::Ready) || is(Kind::Progressing) || is(Kind::Paused));
    worth.then_some(EventType::Normal)
}

/// The API server refuses notes above a kilobyte.
fn truncated(mut note: String) -> String {
    const NOTE_BYTES_MAX: usize = 1000;
    if note.len() > NOTE_BYTES_MAX {
        let end = (0..=NOTE_BYTES_MAX).rev().find(|at| note.is_char_boundary(*at)).unwrap_or(0);
        note.truncate(end);
    }
    note
}
