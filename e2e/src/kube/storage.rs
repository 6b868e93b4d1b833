//! Volumes: a few directories per node, each a `local` PersistentVolume.

use std::fs;

use anyhow::{Context, Result};

use crate::kube::Node;
use crate::site::Site;

/// How many volumes a node has: one for each broker the tests put on a node at the same time, and some
/// that are kept by clusters already deleted.
const VOLUMES_PER_NODE: u8 = 8;

/// The name of the StorageClass.
pub const CLASS: &str = "local";

/// The StorageClass. A claim binds once its pod is placed, else the volume would place the pod.
pub const CLASS_MANIFEST: &str = "
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata:
  name: local
  annotations: {storageclass.kubernetes.io/is-default-class: 'true'}
provisioner: kubernetes.io/no-provisioner
volumeBindingMode: WaitForFirstConsumer
reclaimPolicy: Retain
";

/// Makes the directories of a node's volumes and returns their manifests.
pub fn volumes(site: &Site, node: Node) -> Result<String> {
    let name = node.name();
    let mut manifests = String::new();
    for number in 0..VOLUMES_PER_NODE {
        let directory = site.path(&format!("volumes/{name}-{number}"));
        fs::create_dir_all(&directory).with_context(|| format!("create {}", directory.display()))?;
        manifests.push_str(&format!(
            "---
apiVersion: v1
kind: PersistentVolume
metadata: {{name: {name}-{number}}}
spec:
  capacity: {{storage: 10Gi}}
  accessModes: [ReadWriteOnce]
  persistentVolumeReclaimPolicy: Retain
  storageClassName: {CLASS}
  local: {{path: '{}'}}
  nodeAffinity:
    required:
      nodeSelectorTerms:
      - matchExpressions: [{{key: kubernetes.io/hostname, operator: In, values: [{name}]}}]
",
            directory.display()
        ));
    }
    Ok(manifests)
}
