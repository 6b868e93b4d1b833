//! Which changes of topics' objects are worth a pass at once. Pure.
//!
//! What an object declares is, and that it goes. What a pass reports of it is not, or each report would cause the next
//! pass: nothing comes of looking again at what was just written. The one exception is a number of replicas that is
//! newly written down, because the pass that wrote it left the moves to the next one.

use std::{collections::BTreeMap, sync::Arc};

use kube::ResourceExt as _;

use crate::crd::KafkaTopic;

/// What of an object the passes after it know of.
#[derive(Debug)]
struct Seen {
    uid: Option<String>,
    generation: Option<i64>,
    is_leaving: bool,
    own_targets: Vec<i16>,
}

impl Seen {
    fn of(topic: &KafkaTopic) -> Self {
        let change = topic.status.as_ref().and_then(|status| status.replicas_change.as_ref());
        Self {
            uid: topic.uid(),
            generation: topic.metadata.generation,
            is_leaving: topic.metadata.deletion_timestamp.is_some(),
            own_targets: change.map(|change| change.own_targets.clone()).unwrap_or_default(),
        }
    }

    fn is_news_after(&self, before: &Self) -> bool {
        self.uid != before.uid
            || self.generation != before.generation
            || self.is_leaving != before.is_leaving
            || self.own_targets.iter().any(|target| !before.own_targets.contains(target))
    }
}

/// What was seen of each object, by namespace and name.
#[derive(Debug, Default)]
pub struct News(BTreeMap<(Option<String>, String), Seen>);

impl News {
    /// Takes note of an object as it is now. Gives whether that is worth a pass.
    pub fn is_news(&mut self, topic: &KafkaTopic) -> bool {
        let now = Seen::of(topic);
        let is_news = self.0.get(&key(topic)).is_none_or(|before| now.is_news_after(before));
        self.0.insert(key(topic), now);
        is_news
    }

    /// An object is gone.
    pub fn forget(&mut self, topic: &KafkaTopic) {
        self.0.remove(&key(topic));
    }

    /// These are all objects there are: what went while nobody watched is forgotten.
    pub fn keep(&mut self, topics: &[Arc<KafkaTopic>]) {
        let mut gone = std::mem::take(&mut self.0);
        self.0 = topics.iter().filter_map(|topic| gone.remove_entry(&key(topic))).collect();
    }
}

fn key(topic: &KafkaTopic) -> (Option<String>, String) {
    (topic.namespace(), topic.name_any())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn topic(generation: i64, status: Value) -> KafkaTopic {
        let object = json!({
            "apiVersion": "ottla.dev/v1alpha1", "kind": "KafkaTopic", "spec": {"clusterRef": {"name": "my"}},
            "metadata": {"name": "t", "namespace": "ns", "uid": "u", "generation": generation}, "status": status,
        });
        serde_json::from_value(object).unwrap()
    }

    fn change(own_targets: &[i16], done: i32) -> Value {
        json!({"replicasChange": {
            "state": "ongoing", "targetReplicas": own_targets.last(), "ownTargets": own_targets, "done": done, "total": 9,
        }})
    }

    #[test]
    fn what_is_declared_is_news_and_what_is_reported_is_not() {
        let mut news = News::default();
        assert!(news.is_news(&topic(1, json!({}))), "it is new");
        assert!(!news.is_news(&topic(1, json!({"topicId": "a", "partitions": 9, "replicas": 1}))));
        assert!(news.is_news(&topic(2, json!({}))));
        assert!(!news.is_news(&topic(2, json!({"observedGeneration": 2}))));
        let mut leaving = topic(2, json!({}));
        leaving.metadata.deletion_timestamp = serde_json::from_value(json!("2026-01-02T00:00:00Z")).unwrap();
        assert!(news.is_news(&leaving));
        let mut another = topic(2, json!({}));
        another.metadata.uid = Some("another".to_owned());
        assert!(news.is_news(&another));
    }

    #[test]
    fn a_number_that_is_written_down_is_news_and_the_way_there_is_not() {
        let mut news = News::default();
        news.is_news(&topic(1, json!({})));
        assert!(news.is_news(&topic(1, change(&[3], 0))), "its moves are to begin");
        for done in 0..9 {
            assert!(!news.is_news(&topic(1, change(&[3], done))));
        }
        assert!(news.is_news(&topic(1, change(&[3, 2], 0))), "they are to be led elsewhere");
        assert!(!news.is_news(&topic(1, change(&[2], 5))));
        assert!(!news.is_news(&topic(1, json!({}))), "it is over");
    }

    #[test]
    fn what_went_while_nobody_watched_is_forgotten() {
        let mut news = News::default();
        news.is_news(&topic(1, json!({})));
        news.keep(&[Arc::new(topic(1, json!({})))]);
        assert!(!news.is_news(&topic(1, json!({}))), "a list that was read again tells nothing new");
        news.keep(&[]);
        assert!(news.is_news(&topic(1, json!({}))));
        news.forget(&topic(1, json!({})));
        assert!(news.is_news(&topic(1, json!({}))));
    }
}
