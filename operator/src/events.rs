//! Events: what `kubectl describe` tells of the past. Their reasons are those of the conditions, of restarts, and the
//! few words here.
//!
//! Each is an event of its own. kube's `Recorder` counts events of one reason up and keeps the note of the first, so
//! that `PartitionsAdded` would tell of 5 partitions when there are 8; and what happens here happens rarely.

use k8s_openapi::{
    api::{core::v1::ObjectReference, events::v1::Event},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
    jiff::Timestamp,
};
use kube::{Api, Client, Resource, api::PostParams, runtime::events::EventType};
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
/// The replicas of a topic are being added or removed.
pub const REPLICAS_CHANGING: &str = "ReplicasChanging";
/// A topic has as many replicas as were asked for.
pub const REPLICAS_CHANGED: &str = "ReplicasChanged";
/// A topic was deleted in the cluster.
pub const TOPIC_DELETED: &str = "TopicDeleted";
/// An object went whose topic is not its own, and no topic was deleted.
pub const TOPIC_KEPT: &str = "TopicKept";

/// Publishes events.
#[derive(Clone)]
pub struct Events {
    client: Client,
    pod: String,
}

impl Events {
    /// Events published by this pod.
    #[must_use]
    pub fn new(client: Client, pod: String) -> Self {
        Self { client, pod }
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
        let namespace = about.namespace.clone().unwrap_or_else(|| "default".to_owned());
        let told = Told { about, type_, reason, note, related: secondary, by: &self.pod };
        let event = build_event(told, Timestamp::now());
        let api = Api::<Event>::namespaced(self.client.clone(), &namespace);
        let params = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
        // An event is a courtesy: that it could not be published must not hold up what it tells of.
        if let Err(error) = api.create(&params, &event).await {
            warn!(%error, reason, "an event could not be published");
        }
    }
}

struct Told<'a> {
    about: ObjectReference,
    type_: EventType,
    reason: &'a str,
    note: String,
    related: Option<ObjectReference>,
    by: &'a str,
}

fn build_event(told: Told<'_>, now: Timestamp) -> Event {
    /// The longest name of an object, and room for what makes this one's unique.
    const NAME_BYTES_MAX: usize = 253 - 33;
    let name = truncated(told.about.name.clone().unwrap_or_default(), NAME_BYTES_MAX);
    let name = name.trim_end_matches(|last: char| !last.is_ascii_alphanumeric());
    Event {
        metadata: ObjectMeta {
            name: Some(format!("{name}.{:x}", now.as_nanosecond())),
            namespace: told.about.namespace.clone(),
            ..ObjectMeta::default()
        },
        action: Some("Reconcile".to_owned()),
        event_time: Some(MicroTime(now)),
        note: Some(truncated(told.note, NOTE_BYTES_MAX)),
        reason: Some(told.reason.to_owned()),
        regarding: Some(told.about),
        related: told.related,
        reporting_controller: Some(FIELD_MANAGER.to_owned()),
        reporting_instance: Some(told.by.to_owned()),
        type_: Some(
            match told.type_ {
                EventType::Normal => "Normal",
                EventType::Warning => "Warning",
            }
            .to_owned(),
        ),
        ..Event::default()
    }
}

/// Which conditions are worth an event, once they have changed. Others say the same beside one that is.
fn event_type(condition: &Condition) -> Option<EventType> {
    /// Of `Ready: False`; told by `Progressing`, `Degraded` and `Valid`, or about to pass by itself.
    const TOLD_ELSEWHERE: [Why; 14] = [
        Why::Creating,
        Why::Scaling,
        Why::RollingOut,
        Why::NodesNotReady,
        Why::QuorumLost,
        Why::InvalidSpec,
        Why::VolumesConflict,
        Why::NameTaken,
        Why::RefusedByKubernetes,
        Why::WaitingForRemoval,
        Why::ClusterPaused,
        Why::ClusterNotReady,
        Why::Deleting,
        Why::ChangingReplicas,
    ];
    let holds = condition.status == ConditionStatus::True;
    let is = |kind: Kind| condition.kind == kind.word();
    if is(Kind::Ready) && !holds {
        let told = TOLD_ELSEWHERE.iter().any(|why| why.word() == condition.reason);
        return (!told).then_some(EventType::Warning);
    }
    let refused = condition.reason == Why::RefusedByKubernetes.word();
    if is(Kind::Degraded) && holds || is(Kind::Valid) && !holds || is(Kind::Progressing) && refused {
        return Some(EventType::Warning);
    }
    // That a topic is as declared follows from what was done to make it so, which has events of its own.
    let worth = holds
        && condition.reason != Why::AsDeclared.word()
        && (is(Kind::Ready) || is(Kind::Progressing) || is(Kind::Paused));
    worth.then_some(EventType::Normal)
}

/// The API server refuses notes above a kilobyte.
const NOTE_BYTES_MAX: usize = 1000;

fn truncated(mut text: String, bytes_max: usize) -> String {
    if text.len() > bytes_max {
        let end = (0..=bytes_max).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(name: &str, note: &str, nanosecond: i128) -> Event {
        let about = ObjectReference { name: Some(name.to_owned()), ..ObjectReference::default() };
        let note = note.to_owned();
        let told = Told {
            about,
            type_: EventType::Normal,
            reason: PARTITIONS_ADDED,
            note,
            related: None,
            by: "pod",
        };
        build_event(told, Timestamp::from_nanosecond(nanosecond).unwrap())
    }

    #[test]
    fn two_events_of_one_reason_are_two_objects_with_notes_of_their_own() {
        let (first, second) = (event("a", "now 5 partitions", 1), event("a", "now 8 partitions", 2));
        assert_ne!(first.metadata.name, second.metadata.name);
        assert_eq!(second.note.as_deref(), Some("now 8 partitions"));
    }

    #[test]
    fn names_and_notes_stay_within_what_the_api_server_takes() {
        let long = event(&"n".repeat(253), &"\u{e9}".repeat(2000), i128::from(i64::MAX));
        assert!(long.metadata.name.unwrap().len() <= 253);
        assert!(long.note.unwrap().len() <= NOTE_BYTES_MAX);
    }
}
