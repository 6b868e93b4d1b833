//! What the objects of one cluster declare, and which of two that declare the same topic counts. Pure.

use std::{collections::BTreeMap, sync::Arc};

use kube::ResourceExt as _;
use uuid::Uuid;

use crate::{
    crd::{DeletionPolicy, KafkaTopic, ReplicasChange},
    kafka::{NewTopic, uuid_of},
    names::FINALIZER_TOPIC,
};

/// A topic as an object declares it.
#[derive(Clone, Debug)]
pub struct Declared {
    /// The object.
    pub object: Arc<KafkaTopic>,
    /// The topic.
    pub topic: NewTopic,
    /// What the object's end means for the topic.
    pub deletion: DeletionPolicy,
    /// The object that has the say about this topic, if it is another one: the oldest that is not on its way out.
    pub overruled_by: Option<String>,
}

impl Declared {
    /// Whether the object is on its way out.
    #[must_use]
    pub fn leaving(&self) -> bool {
        self.object.metadata.deletion_timestamp.is_some()
    }

    /// Whether our finalizer is on the object.
    #[must_use]
    pub fn finalized(&self) -> bool {
        self.object.finalizers().iter().any(|name| name == FINALIZER_TOPIC)
    }

    /// The topic that is this object's own: it was made for it, or was found to be what is declared. No other
    /// topic is changed or deleted on its behalf, whatever its name.
    #[must_use]
    pub fn own(&self) -> Option<Uuid> {
        uuid_of(self.object.status.as_ref()?.topic_id.as_deref()?)
    }

    /// What the operator wrote down of a change of replicas.
    #[must_use]
    pub fn recorded(&self) -> Option<&ReplicasChange> {
        self.object.status.as_ref()?.replicas_change.as_ref()
    }

    /// Whether the operator wrote down that it leads partitions to this number of replicas, before it began to.
    #[must_use]
    pub fn leads_to(&self, replicas: i16) -> bool {
        self.recorded().is_some_and(|change| {
            change.target_replicas == replicas || change.own_targets.contains(&replicas)
        })
    }

    /// The topic to delete so that the object may go. None where the topic stays: by the object's wish, because
    /// another object declares it too, or because it is not the object's own.
    #[must_use]
    pub fn to_delete(&self) -> Option<Uuid> {
        let takes_it_along = self.leaving()
            && self.finalized()
            && self.deletion == DeletionPolicy::Delete
            && self.overruled_by.is_none();
        self.own().filter(|_| takes_it_along)
    }
}

/// What the objects of one cluster declare, the oldest of each topic first.
#[must_use]
pub fn declared(mut objects: Vec<Arc<KafkaTopic>>) -> Vec<Declared> {
    // Of two that were made in the same second the uid decides, as good as any order that never changes.
    objects
        .sort_by_key(|object| (object.metadata.creation_timestamp.as_ref().map(|time| time.0), object.uid()));
    let name_of = |object: &KafkaTopic| object.spec.topic_name.clone().unwrap_or_else(|| object.name_any());
    let mut owners: BTreeMap<String, String> = BTreeMap::new();
    for object in objects.iter().filter(|object| object.metadata.deletion_timestamp.is_none()) {
        owners.entry(name_of(object)).or_insert_with(|| object.name_any());
    }
    objects
        .into_iter()
        .map(|object| {
            let spec = &object.spec;
            let name = name_of(&object);
            let overruled_by = owners.get(&name).filter(|owner| **owner != object.name_any()).cloned();
            let topic = NewTopic {
                name,
                partitions: spec.partitions,
                replicas: spec.replicas,
                config: spec.config.iter().map(|(key, value)| (key.clone(), value.to_string())).collect(),
            };
            Declared { topic, deletion: spec.deletion_policy, overruled_by, object }
        })
        .collect()
}
