//! What a pod's volumes hold.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::api::Api;

/// How a volume gets to its place in the pod's root.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// Files that were written there.
    Written,
    /// A directory of this machine to be mounted there.
    Directory(PathBuf),
}

/// Puts the volume called `name` of `pod` at `place`.
pub(super) fn provide(api: &Api, pod: &Value, name: &str, place: &Path) -> Result<Content> {
    let volumes = pod["spec"]["volumes"].as_array().into_iter().flatten();
    let volume = volumes.clone().find(|volume| volume["name"] == name);
    let volume = volume.with_context(|| format!("the pod has no volume {name}"))?;
    let namespace = pod["metadata"]["namespace"].as_str().context("a pod without a namespace")?;
    fs::create_dir_all(place).with_context(|| format!("create {}", place.display()))?;
    if let Some(source) = volume.get("configMap") {
        write_config_map(api, namespace, source, place)?;
    } else if let Some(source) = volume.get("projected") {
        for source in source["sources"].as_array().into_iter().flatten() {
            write_projection(api, pod, namespace, source, place)?;
        }
    } else if let Some(source) = volume.get("persistentVolumeClaim") {
        let claim = source["claimName"].as_str().context("a claim without a name")?;
        return claimed_directory(api, namespace, claim).map(Content::Directory);
    } else if volume.get("emptyDir").is_none() {
        bail!("the process lane does not know the volume {volume}");
    }
    Ok(Content::Written)
}

fn write_config_map(api: &Api, namespace: &str, source: &Value, place: &Path) -> Result<()> {
    let name = source["name"].as_str().context("a config map without a name")?;
    let map = api.get(&format!("/api/v1/namespaces/{namespace}/configmaps/{name}"));
    let map = match map {
        Ok(map) => map,
        Err(_) if source["optional"] == true => return Ok(()),
        Err(error) => return Err(error),
    };
    let Some(items) = source["items"].as_array() else {
        for (key, value) in map["data"].as_object().into_iter().flatten() {
            write(place, key, value.as_str().unwrap_or_default())?;
        }
        return Ok(());
    };
    for item in items {
        let key = item["key"].as_str().context("an item without a key")?;
        let value = map["data"][key].as_str().with_context(|| format!("{name} has no key {key}"))?;
        write(place, item["path"].as_str().unwrap_or(key), value)?;
    }
    Ok(())
}

fn write_projection(api: &Api, pod: &Value, namespace: &str, source: &Value, place: &Path) -> Result<()> {
    if let Some(token) = source.get("serviceAccountToken") {
        let account = pod["spec"]["serviceAccountName"].as_str().unwrap_or("default");
        let request = json!({
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
            "spec": {"audiences": [], "expirationSeconds": 86_400, "boundObjectRef": {
                "apiVersion": "v1", "kind": "Pod",
                "name": pod["metadata"]["name"], "uid": pod["metadata"]["uid"],
            }},
        });
        let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token");
        let answer = api.ask(&path, &request)?;
        let text = answer["status"]["token"].as_str().context("an answer without a token")?;
        write(place, token["path"].as_str().unwrap_or("token"), text)
    } else if let Some(map) = source.get("configMap") {
        write_config_map(api, namespace, map, place)
    } else if let Some(fields) = source.get("downwardAPI") {
        for item in fields["items"].as_array().into_iter().flatten() {
            let path = item["path"].as_str().context("an item without a path")?;
            let field = item["fieldRef"]["fieldPath"].as_str().context("an item without a field")?;
            write(place, path, &pod_field(pod, field, "")?)?;
        }
        Ok(())
    } else {
        bail!("the process lane does not know the projection {source}")
    }
}

fn claimed_directory(api: &Api, namespace: &str, claim: &str) -> Result<PathBuf> {
    let claim = api.get(&format!("/api/v1/namespaces/{namespace}/persistentvolumeclaims/{claim}"))?;
    let volume = claim["spec"]["volumeName"].as_str().context("the claim is not bound yet")?;
    let volume = api.get(&format!("/api/v1/persistentvolumes/{volume}"))?;
    let path = volume["spec"]["local"]["path"].as_str().context("the volume is not a local one")?;
    Ok(PathBuf::from(path))
}

fn write(place: &Path, name: &str, text: &str) -> Result<()> {
    let path = place.join(name);
    fs::write(&path, text).with_context(|| format!("write {}", path.display()))
}

/// A field of the pod as the downward API names it.
pub(super) fn pod_field(pod: &Value, path: &str, address: &str) -> Result<String> {
    let entry = |map: &Value, rest: &str| {
        let key = rest.trim_start_matches("['").trim_end_matches("']").to_owned();
        map[key].as_str().unwrap_or_default().to_owned()
    };
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    Ok(match path {
        "metadata.name" => text(&pod["metadata"]["name"]),
        "metadata.namespace" => text(&pod["metadata"]["namespace"]),
        "metadata.uid" => text(&pod["metadata"]["uid"]),
        "spec.nodeName" => text(&pod["spec"]["nodeName"]),
        "spec.serviceAccountName" => text(&pod["spec"]["serviceAccountName"]),
        "status.podIP" | "status.podIPs" => address.to_owned(),
        _ => match (path.strip_prefix("metadata.labels"), path.strip_prefix("metadata.annotations")) {
            (Some(rest), _) => entry(&pod["metadata"]["labels"], rest),
            (_, Some(rest)) => entry(&pod["metadata"]["annotations"], rest),
            (None, None) => bail!("the process lane does not know the field {path}"),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_found_by_their_whole_name() {
        let pod = json!({"metadata": {"labels": {"topology.kubernetes.io/zone": "z1"}, "name": "a"}});
        assert_eq!(pod_field(&pod, "metadata.labels['topology.kubernetes.io/zone']", "").unwrap(), "z1");
        assert_eq!(pod_field(&pod, "metadata.name", "").unwrap(), "a");
        assert!(pod_field(&pod, "spec.unknown", "").is_err());
    }
}
