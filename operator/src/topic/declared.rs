//! What the objects of one cluster declare, and which of two that declare the same topic counts. Pure.

use std::{collections::BTreeMap, sync::Arc};

use kube::ResourceExt as _;

use crate::{
    crd::{DeletionPolicy, KafkaTopic},
    kafka::NewTopic,
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
    /// The older object that declares the same topic, if there is one: this one then has no say.
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
}

/// What the objects of one cluster declare, the oldest of each topic first.
#[must_use]
pub fn declared(mut objects: Vec<Arc<KafkaTopic>>) -> Vec<Declared> {
    // Of two that were made in the same second the uid decides, as good as any order that never changes.
    objects
        .sort_by_key(|object| (object.metadata.creation_timestamp.as_ref().map(|time| time.0), object.uid()));
    let mut owners: BTreeMap<String, String> = BTreeMap::new();
    objects
        .into_iter()
        .map(|object| {
            let spec = &object.spec;
            let name = spec.topic_name.clone().unwrap_or_else(|| object.name_any());
            let overruled_by = owners.get(&name).cloned();
            owners.entry(name.clone()).or_insert_with(|| object.name_any());
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
