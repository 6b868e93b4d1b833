//! The only place that writes objects: server-side apply under one field manager, deletion with a precondition.
//!
//! Owns the promise that the operator writes nothing at rest: an object is applied only when what is wanted has
//! another digest than what was applied last, or when what is there no longer covers it. Status is written by
//! `crate::status`, events by `crate::events`, the Lease by `crate::lease`.

mod drift;
mod foreign;

use std::fmt::Debug;

use k8s_openapi::{NamespaceResourceScope, api::core::v1::PersistentVolumeClaim};
use kube::{
    Api, Client, Resource, ResourceExt as _,
    api::{DeleteParams, Patch, PatchParams, Preconditions},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use tracing::{info, warn};

pub use drift::first_difference;
pub use foreign::{Whose, whose, whose_of};

use crate::{
    crd::KafkaTopic,
    digest::digest_of,
    names::{ANNOTATION_APPLIED, FIELD_MANAGER, FINALIZER_TOPIC},
    run::chain,
};

/// Why a write failed.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The object has no JSON form.
    #[error("cannot render {kind} \"{name}\"")]
    Render {
        /// Its kind.
        kind: String,
        /// Its name.
        name: String,
        /// Why.
        source: serde_json::Error,
    },
    /// The API server refused.
    #[error("cannot {verb} {kind} \"{name}\"")]
    Refused {
        /// What was attempted.
        verb: &'static str,
        /// The object's kind.
        kind: String,
        /// Its name.
        name: String,
        /// Why.
        source: Box<kube::Error>,
    },
    /// The name is taken.
    #[error(
        "{kind} \"{name}\" is there already and is left alone ({whose}): remove it, or give the cluster another name"
    )]
    Foreign {
        /// The kind.
        kind: String,
        /// The name.
        name: String,
        /// Whose it is.
        whose: String,
    },
    /// The name is still taken by what a deleted cluster of this name left.
    #[error("{kind} \"{name}\" of a cluster of this name that was deleted is still being removed")]
    Leaving {
        /// The kind.
        kind: String,
        /// The name.
        name: String,
    },
}

impl ApplyError {
    /// Whether the API server refused the object for what it is: only another spec helps.
    #[must_use]
    pub fn is_invalid(&self) -> bool {
        self.code().is_some_and(|code| code == 400 || code == 422)
    }

    /// Whether the API server understood and refused, so that somebody has to see to it. Otherwise it is busy, or away,
    /// or somebody else was faster, and trying again is enough.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        self.is_invalid() || self.code().is_some_and(|code| code == 401 || code == 403)
    }

    /// What a user is told of it: the API server's own words, without the rest of its answer.
    #[must_use]
    pub fn told(&self) -> String {
        match self {
            Self::Refused { source, .. } => format!("{self}: {}", words_of(source)),
            Self::Render { .. } | Self::Foreign { .. } | Self::Leaving { .. } => chain(self),
        }
    }

    fn code(&self) -> Option<u16> {
        match self {
            Self::Refused { source, .. } => {
                if let kube::Error::Api(status) = &**source {
                    Some(status.code)
                } else {
                    None
                }
            }
            Self::Render { .. } | Self::Foreign { .. } | Self::Leaving { .. } => None,
        }
    }

    /// Whether the namespace is on its way out: then there is nothing to bring back.
    #[must_use]
    pub fn namespace_is_leaving(&self) -> bool {
        match self {
            Self::Refused { source, .. } => {
                matches!(&**source, kube::Error::Api(status) if status.code == 403 && status.message.contains("is being terminated"))
            }
            Self::Render { .. } | Self::Foreign { .. } | Self::Leaving { .. } => false,
        }
    }
}

/// The API server's own words in an error, where it has any.
#[must_use]
pub fn words_of(error: &kube::Error) -> String {
    if let kube::Error::Api(status) = error { status.message.clone() } else { chain(error) }
}

/// A kind that the operator makes in a cluster's namespace.
pub trait Owned:
    Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned + Serialize
{
}

impl<K> Owned for K where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + DeserializeOwned
        + Serialize
{
}

/// What to write for an object, or nothing if what is there covers it. Pure.
///
/// # Errors
/// When the object has no JSON form.
pub fn plan_apply<K: Owned>(wanted: &K, found: Option<&K>) -> Result<Option<Value>, serde_json::Error> {
    let hash = digest_of(wanted)?;
    let mut body = serde_json::to_value(wanted)?;
    body["metadata"]["annotations"][ANNOTATION_APPLIED] = json!(hash);
    let Some(found) = found else { return Ok(Some(body)) };
    let same = found.annotations().get(ANNOTATION_APPLIED) == Some(&hash);
    let drift = first_difference(&body, &serde_json::to_value(found)?);
    match (same, drift) {
        (true, None) => Ok(None),
        (true, Some(path)) => {
            info!(kind = %K::kind(&()), name = %wanted.name_any(), path, "an object was changed by another hand");
            Ok(Some(body))
        }
        (false, _) => Ok(Some(body)),
    }
}

/// Applies an object if that changes something.
///
/// # Errors
/// When the API server refuses.
pub async fn apply<K: Owned>(client: &Client, wanted: &K, found: Option<&K>) -> Result<(), ApplyError> {
    let (kind, name) = (K::kind(&()).into_owned(), wanted.name_any());
    let Some(body) = body(wanted, found)? else { return Ok(()) };
    let api = Api::<K>::namespaced(client.clone(), &wanted.namespace().unwrap_or_default());
    let polite = PatchParams::apply(FIELD_MANAGER);
    let result = match api.patch(&name, &polite, &Patch::Apply(&body)).await {
        Err(kube::Error::Api(status)) if status.code == 409 => {
            warn!(%kind, %name, error = %status.message, "taking back fields that another manager set");
            api.patch(&name, &polite.force(), &Patch::Apply(&body)).await
        }
        other => other,
    };
    result.map_err(|source| refused("apply", &kind, &name, source))?;
    Ok(())
}

/// Asks the API server whether it would take an object, without changing anything.
///
/// # Errors
/// When it would not.
pub async fn rehearse<K: Owned>(client: &Client, wanted: &K, found: Option<&K>) -> Result<(), ApplyError> {
    let (kind, name) = (K::kind(&()).into_owned(), wanted.name_any());
    let Some(body) = body(wanted, found)? else { return Ok(()) };
    let api = Api::<K>::namespaced(client.clone(), &wanted.namespace().unwrap_or_default());
    let params = PatchParams::apply(FIELD_MANAGER).dry_run().force();
    let result = api.patch(&name, &params, &Patch::Apply(&body)).await;
    result.map_err(|source| refused("apply", &kind, &name, source))?;
    Ok(())
}

fn body<K: Owned>(wanted: &K, found: Option<&K>) -> Result<Option<Value>, ApplyError> {
    plan_apply(wanted, found).map_err(|source| ApplyError::Render {
        kind: K::kind(&()).into_owned(),
        name: wanted.name_any(),
        source,
    })
}

/// Makes sure that an object's name is free or the object that has it is ours. `found` is what carries our label; what
/// does not is looked up by name.
///
/// # Errors
/// When the name is taken, or the API server does not say.
pub async fn claim_name<K: Owned>(client: &Client, wanted: &K, found: Option<&K>) -> Result<(), ApplyError> {
    let (kind, name) = (K::kind(&()).into_owned(), wanted.name_any());
    let judged = match found {
        Some(found) => whose(wanted, found),
        None => {
            let api = Api::<K>::namespaced(client.clone(), &wanted.namespace().unwrap_or_default());
            match api.get_opt(&name).await.map_err(|source| refused("look up", &kind, &name, source))? {
                Some(found) => whose(wanted, &found),
                None => Whose::Ours,
            }
        }
    };
    match judged {
        Whose::Ours => Ok(()),
        Whose::Predecessors => Err(ApplyError::Leaving { kind, name }),
        Whose::Foreign(whose) => Err(ApplyError::Foreign { kind, name, whose }),
    }
}

/// Deletes this very object, not one of the same name that came after it.
///
/// # Errors
/// When the API server refuses; that it is gone already is no error.
pub async fn delete<K: Owned>(client: &Client, object: &K) -> Result<(), ApplyError> {
    let api = Api::<K>::namespaced(client.clone(), &object.namespace().unwrap_or_default());
    let preconditions = Some(Preconditions { uid: object.uid(), resource_version: None });
    match api.delete(&object.name_any(), &DeleteParams { preconditions, ..DeleteParams::default() }).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 || status.code == 409 => Ok(()),
        Err(source) => Err(refused("delete", &K::kind(&()), &object.name_any(), source)),
    }
}

/// Adds an annotation to a claim, which is not otherwise ours: Kubernetes made it from the template.
///
/// # Errors
/// When the API server refuses.
pub async fn annotate_claim(
    client: &Client,
    claim: &PersistentVolumeClaim,
    annotation: &str,
    value: &str,
) -> Result<(), ApplyError> {
    let api =
        Api::<PersistentVolumeClaim>::namespaced(client.clone(), &claim.namespace().unwrap_or_default());
    let body = json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim",
        "metadata": {"name": claim.name_any(), "uid": claim.uid(), "annotations": {annotation: value}},
    });
    match api.patch(&claim.name_any(), &PatchParams::apply(FIELD_MANAGER).force(), &Patch::Apply(&body)).await
    {
        Ok(_) => Ok(()),
        Err(source) => Err(refused("annotate", "PersistentVolumeClaim", &claim.name_any(), source)),
    }
}

/// Puts our finalizer on a topic, or takes it away. Gives the topic as it then is; none when it is gone or was changed
/// since it was read: then there is an event about it, and with that another pass.
///
/// # Errors
/// When the API server refuses.
pub async fn set_topic_finalizer(
    client: &Client,
    topic: &KafkaTopic,
    present: bool,
) -> Result<Option<KafkaTopic>, ApplyError> {
    let api = Api::<KafkaTopic>::namespaced(client.clone(), &topic.namespace().unwrap_or_default());
    // A merge patch under the version that was read: an apply could not take away a finalizer that another manager
    // put there, and the version keeps a finalizer that came meanwhile.
    let mut finalizers: Vec<&str> =
        topic.finalizers().iter().map(String::as_str).filter(|name| *name != FINALIZER_TOPIC).collect();
    if present {
        finalizers.push(FINALIZER_TOPIC);
    }
    let body = json!({"metadata": {"finalizers": finalizers, "resourceVersion": topic.resource_version()}});
    let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    match api.patch(&topic.name_any(), &params, &Patch::Merge(&body)).await {
        Ok(patched) => Ok(Some(patched)),
        Err(kube::Error::Api(status)) if status.code == 404 || status.code == 409 => Ok(None),
        Err(source) => Err(refused("finalize", "KafkaTopic", &topic.name_any(), source)),
    }
}

fn refused(verb: &'static str, kind: &str, name: &str, source: kube::Error) -> ApplyError {
    ApplyError::Refused { verb, kind: kind.to_owned(), name: name.to_owned(), source: Box::new(source) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use k8s_openapi::api::core::v1::ConfigMap;

    use super::*;

    fn wanted(value: &str) -> ConfigMap {
        let mut object =
            ConfigMap { data: Some(BTreeMap::from([("k".into(), value.into())])), ..ConfigMap::default() };
        object.metadata.name = Some("a".into());
        object
    }

    fn as_applied(object: &ConfigMap) -> ConfigMap {
        let mut found: ConfigMap =
            serde_json::from_value(plan_apply(object, None).unwrap().unwrap()).unwrap();
        found.metadata.resource_version = Some("7".into());
        found.metadata.uid = Some("u".into());
        found
    }

    #[test]
    fn a_user_is_told_what_the_api_server_said_and_no_more() {
        let status = kube::core::Status::failure("the label is invalid", "Invalid").with_code(422);
        let refused = refused("apply", "StatefulSet", "my-nodes", kube::Error::Api(status.boxed()));
        assert_eq!(refused.told(), "cannot apply StatefulSet \"my-nodes\": the label is invalid");
        assert!(refused.is_invalid() && refused.is_refusal());
    }

    #[test]
    fn an_object_that_is_as_wanted_is_not_written_again() {
        assert_eq!(plan_apply(&wanted("1"), Some(&as_applied(&wanted("1")))).unwrap(), None);
    }

    #[test]
    fn a_change_a_removed_field_and_a_foreign_hand_are_each_a_reason_to_write() {
        let found = as_applied(&wanted("1"));
        assert!(plan_apply(&wanted("2"), Some(&found)).unwrap().is_some());
        let mut less = wanted("1");
        less.data = None;
        assert!(
            plan_apply(&less, Some(&found)).unwrap().is_some(),
            "a field that is no longer wanted is given up"
        );
        let mut changed = found;
        changed.data = Some(BTreeMap::from([("k".into(), "by hand".into())]));
        assert!(plan_apply(&wanted("1"), Some(&changed)).unwrap().is_some());
    }
}
