//! Conditions: their vocabulary, their transitions, and the one writer of status.
//!
//! A condition always has a reason from a fixed set and a message. Its transition time moves only with its status.
//! Status is written only where it changed, so that an operator at rest writes nothing.

use std::fmt::Debug;

use k8s_openapi::{NamespaceResourceScope, jiff::Timestamp};
use kube::{
    Api, Client, Resource, ResourceExt as _,
    api::{Patch, PatchParams},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::json;

use crate::{
    apply::ApplyError,
    crd::{Condition, ConditionStatus},
    names::FIELD_MANAGER,
};

/// What a condition is about.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// The object does what it is for.
    Ready,
    /// The operator is changing something.
    Progressing,
    /// Something that ran does not.
    Degraded,
    /// The spec can be carried out.
    Valid,
    /// The operator was told to leave things alone.
    Paused,
    /// `Progressing` in the word of kstatus, which Argo and Flux read; there only while it holds.
    Reconciling,
    /// The spec is refused or the quorum is lost, in the word of kstatus; there only while it holds.
    Stalled,
}

impl Kind {
    /// Its word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Ready => "Ready",
            Self::Progressing => "Progressing",
            Self::Degraded => "Degraded",
            Self::Valid => "Valid",
            Self::Paused => "Paused",
            Self::Reconciling => "Reconciling",
            Self::Stalled => "Stalled",
        }
    }
}

/// Why a condition holds or not: the whole vocabulary.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Why {
    /// All nodes are ready.
    AllNodesReady,
    /// The cluster is coming up for the first time.
    Creating,
    /// Nodes are being added.
    Scaling,
    /// Nodes are being restarted.
    RollingOut,
    /// Some node is not ready.
    NodesNotReady,
    /// Nothing is being changed.
    Stable,
    /// The spec is carried out.
    Accepted,
    /// The spec cannot be carried out.
    InvalidSpec,
    /// Fewer brokers were asked for.
    ScaleDownNotSupported,
    /// The volumes do not say clearly which cluster they belong to.
    VolumesConflict,
    /// A volume of the first quorum is gone before that was complete.
    VolumeLost,
    /// The volumes of a majority of the quorum's voters are gone.
    QuorumLost,
    /// An object that is not the cluster's has a name that it needs.
    NameTaken,
    /// The API server refused an object of the cluster.
    RefusedByKubernetes,
    /// What a deleted cluster of the same name left is still being removed.
    WaitingForRemoval,
    /// `spec.paused` is true.
    PausedBySpec,
    /// The topic is as declared.
    AsDeclared,
    /// The topic is on its way to another number of replicas.
    ChangingReplicas,
    /// The topic is to have more replicas than there are brokers for them.
    NotEnoughBrokers,
    /// The topic's cluster does not exist.
    ClusterNotFound,
    /// The topic's cluster does not answer.
    ClusterNotReady,
    /// What is declared cannot be done to the topic that exists.
    NotSupported,
    /// The cluster refused what is declared.
    RefusedByCluster,
    /// A topic of the name exists that was not made for this object and is not what it declares.
    TopicExists,
    /// An older object declares the same topic.
    ResourceConflict,
    /// The topic's cluster is paused.
    ClusterPaused,
    /// The topic is being deleted.
    Deleting,
}

impl Why {
    /// Its word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::AllNodesReady => "AllNodesReady",
            Self::Creating => "Creating",
            Self::Scaling => "Scaling",
            Self::RollingOut => "RollingOut",
            Self::NodesNotReady => "NodesNotReady",
            Self::Stable => "Stable",
            Self::Accepted => "Accepted",
            Self::InvalidSpec => "InvalidSpec",
            Self::ScaleDownNotSupported => "ScaleDownNotSupported",
            Self::VolumesConflict => "VolumesConflict",
            Self::VolumeLost => "VolumeLost",
            Self::QuorumLost => "QuorumLost",
            Self::NameTaken => "NameTaken",
            Self::RefusedByKubernetes => "RefusedByKubernetes",
            Self::WaitingForRemoval => "WaitingForRemoval",
            Self::PausedBySpec => "PausedBySpec",
            Self::AsDeclared => "AsDeclared",
            Self::ChangingReplicas => "ChangingReplicas",
            Self::NotEnoughBrokers => "NotEnoughBrokers",
            Self::ClusterNotFound => "ClusterNotFound",
            Self::ClusterNotReady => "ClusterNotReady",
            Self::NotSupported => "NotSupported",
            Self::RefusedByCluster => "RefusedByCluster",
            Self::TopicExists => "TopicExists",
            Self::ResourceConflict => "ResourceConflict",
            Self::ClusterPaused => "ClusterPaused",
            Self::Deleting => "Deleting",
        }
    }
}

/// A condition as it should be now.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Now {
    /// What it is about.
    pub kind: Kind,
    /// Whether it holds.
    pub holds: bool,
    /// Why.
    pub why: Why,
    /// Why, in a sentence.
    pub message: String,
}

impl Now {
    /// A condition as it should be now.
    #[must_use]
    pub fn new(kind: Kind, holds: bool, why: Why, message: impl Into<String>) -> Self {
        Self { kind, holds, why, message: message.into() }
    }
}

/// The conditions to report: transition times stay where the status did not change.
#[must_use]
pub fn conditions(
    before: &[Condition],
    now: Vec<Now>,
    generation: Option<i64>,
    at: Timestamp,
) -> Vec<Condition> {
    // Kubernetes' own conditions have whole seconds.
    let at = Timestamp::from_second(at.as_second()).unwrap_or(at);
    now.into_iter()
        .map(|now| {
            let status = if now.holds { ConditionStatus::True } else { ConditionStatus::False };
            let same = find(before, now.kind).filter(|condition| condition.status == status);
            Condition {
                kind: now.kind.word().to_owned(),
                status,
                observed_generation: generation,
                last_transition_time: same.map_or(at, |condition| condition.last_transition_time),
                reason: now.why.word().to_owned(),
                message: now.message,
            }
        })
        .collect()
}

/// The condition of a kind.
#[must_use]
pub fn find(conditions: &[Condition], kind: Kind) -> Option<&Condition> {
    conditions.iter().find(|condition| condition.kind == kind.word())
}

/// Whether the condition of a kind holds.
#[must_use]
pub fn holds(conditions: &[Condition], kind: Kind) -> bool {
    find(conditions, kind).is_some_and(|condition| condition.status == ConditionStatus::True)
}

/// The conditions that say something new: those are worth an event.
#[must_use]
pub fn transitions<'a>(before: &[Condition], after: &'a [Condition]) -> Vec<&'a Condition> {
    after
        .iter()
        .filter(|condition| {
            let old = before.iter().find(|old| old.kind == condition.kind);
            old.is_none_or(|old| (old.status, &old.reason) != (condition.status, &condition.reason))
        })
        .collect()
}

/// Writes the status of an object where it changed. Gives whether it did.
///
/// # Errors
/// When the API server refuses.
pub async fn write<K, S>(
    client: &Client,
    object: &K,
    before: Option<&S>,
    after: &S,
) -> Result<bool, ApplyError>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
    S: Serialize + PartialEq,
{
    if before == Some(after) {
        return Ok(false);
    }
    let name = object.name_any();
    let api = Api::<K>::namespaced(client.clone(), &object.namespace().unwrap_or_default());
    let body = json!({
        "apiVersion": K::api_version(&()), "kind": K::kind(&()),
        // The uid keeps a status from landing on an object of the same name that came after this one.
        "metadata": {"name": name, "uid": object.uid()}, "status": after,
    });
    let params = PatchParams::apply(FIELD_MANAGER).force();
    match api.patch_status(&name, &params, &Patch::Apply(&body)).await {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(false),
        Err(source) => Err(ApplyError::Refused {
            verb: "report on",
            kind: K::kind(&()).into_owned(),
            name,
            source: Box::new(source),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_transition_time_moves_only_with_the_status() {
        let first =
            conditions(&[], vec![Now::new(Kind::Ready, false, Why::Creating, "0 of 3")], Some(1), at(1));
        let second = conditions(
            &first,
            vec![Now::new(Kind::Ready, false, Why::NodesNotReady, "1 of 3")],
            Some(2),
            at(2),
        );
        assert_eq!(second[0].last_transition_time, at(1));
        assert_eq!((second[0].reason.as_str(), second[0].observed_generation), ("NodesNotReady", Some(2)));
        let third = conditions(
            &second,
            vec![Now::new(Kind::Ready, true, Why::AllNodesReady, "3 of 3")],
            Some(2),
            at(3),
        );
        assert_eq!(third[0].last_transition_time, at(3));
    }

    #[test]
    fn only_a_new_status_or_reason_is_worth_an_event() {
        let before =
            conditions(&[], vec![Now::new(Kind::Ready, false, Why::Creating, "0 of 3")], Some(1), at(1));
        let message =
            conditions(&before, vec![Now::new(Kind::Ready, false, Why::Creating, "1 of 3")], Some(1), at(2));
        assert!(transitions(&before, &message).is_empty());
        let reason =
            conditions(&before, vec![Now::new(Kind::Ready, false, Why::Scaling, "1 of 3")], Some(1), at(2));
        assert_eq!(transitions(&before, &reason).len(), 1);
    }
}
