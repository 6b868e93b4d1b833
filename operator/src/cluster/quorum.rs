//! Whether the metadata quorum can have a majority again. Pure.
//!
//! A voter is a node and a directory, so a volume that is lost takes its vote along. The quorum replaces such a voter by
//! itself while a majority is left; without one nothing that the operator could do brings it back, and somebody must be
//! told. Only what is known to be gone counts: a node that does not answer may still have its volume.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::PersistentVolumeClaim;

use super::{
    identity::Bootstrap,
    observe::{NodeReport, Observed, QuorumReport, named},
};
use crate::names::{CLAIM, ClusterName, NodeId, Pool};

/// The node of a controller, and what is there of its volume.
struct Controller<'a> {
    node_id: NodeId,
    claim: String,
    has_volume: bool,
    report: Option<(&'a NodeReport, &'a QuorumReport)>,
}

impl Controller<'_> {
    /// Whether the directory of a voter is gone from this node: where it answers, by its word.
    fn has_lost(&self, directory: &str) -> bool {
        match self.report {
            Some((node, _)) => !node.directory_ids.iter().any(|id| id == directory),
            None => !self.has_volume,
        }
    }

    /// Whether this node knows of no quorum: its volume is empty, and it waits for a leader to let it in.
    fn is_blank(&self) -> bool {
        match self.report {
            Some((_, quorum)) => quorum.voters.is_empty(),
            None => !self.has_volume,
        }
    }
}

/// What to tell of a quorum that once formed and has lost the volumes of a majority of its voters, which are in this
/// pool.
#[must_use]
pub fn lost(observed: &Observed, name: &ClusterName, pool: Pool) -> Option<String> {
    let identity = observed.recorded_identity(name).ok().flatten()?;
    // Until the quorum has formed, empty volumes are what is expected.
    if identity.bootstrap != Bootstrap::Done {
        return None;
    }
    // Where the controllers' StatefulSet is missing, the same pass makes it again; then there is something to judge.
    observed.stateful_set(name, pool)?;
    let controllers: Vec<Controller<'_>> = pool
        .ids(identity.controllers)
        .map(|node_id| controller(observed, name, pool, node_id, identity.cluster_id.as_str()))
        .collect();
    let (gone, voters) = lost_majority(&controllers)?;
    let volumes: Vec<_> = gone.iter().map(|one| format!("{} of node {}", one.claim, one.node_id)).collect();
    Some(format!(
        "the metadata quorum has lost the volumes of {} of its {voters} voters ({}) and cannot form again by itself; what still runs is left alone: restore these volumes under the same claims and restart their pods, or, where nothing can be restored, delete the cluster and all of its claims to begin anew without data",
        gone.len(),
        volumes.join(", "),
    ))
}

fn controller<'a>(
    observed: &'a Observed,
    name: &ClusterName,
    pool: Pool,
    node_id: NodeId,
    cluster_id: &str,
) -> Controller<'a> {
    let pod = format!("{}-{node_id}", name.pool(pool));
    let claim = format!("{CLAIM}-{pod}");
    // An address that another pod has by now answers for another cluster.
    let ours = |report: &&NodeReport| report.cluster_id.as_deref() == Some(cluster_id);
    let report = observed.reports.get(&pod).filter(ours);
    let report = report.and_then(|report| Some((report, report.quorum.as_ref()?)));
    Controller { node_id, has_volume: has_volume(named(&observed.claims, &claim)), claim, report }
}

/// A claim that is bound to a volume which does not exist any more is `Lost`.
fn has_volume(claim: Option<&PersistentVolumeClaim>) -> bool {
    let phase = |claim: &PersistentVolumeClaim| claim.status.as_ref().and_then(|status| status.phase.clone());
    claim.is_some_and(|claim| phase(claim).as_deref() != Some("Lost"))
}

/// The voters whose volumes are gone and how many voters there are, where no majority is left by what anybody knows.
fn lost_majority<'a, 'b>(controllers: &'a [Controller<'b>]) -> Option<(Vec<&'a Controller<'b>>, usize)> {
    let reports = || controllers.iter().filter_map(|one| one.report.map(|(_, quorum)| quorum));
    if reports().any(|quorum| quorum.caught_up) {
        return None;
    }
    let tables: Vec<&BTreeMap<i32, String>> =
        reports().map(|quorum| &quorum.voters).filter(|voters| !voters.is_empty()).collect();
    let mut judged: Vec<_> = tables
        .into_iter()
        .map(|table| {
            let is_gone =
                |one: &&Controller<'_>| table.get(&one.node_id.0).is_some_and(|id| one.has_lost(id));
            (controllers.iter().filter(is_gone).collect::<Vec<_>>(), table.len())
        })
        .collect();
    // Whoever has a log knows the voters. If nobody has one, all who answer are blank.
    if judged.is_empty() {
        judged.push((controllers.iter().filter(|one| one.is_blank()).collect(), controllers.len()));
    }
    // A node that was away knows voters that were replaced since: a majority by any of the lists is hope.
    let is_lost = |(gone, voters): &(Vec<_>, usize)| (voters - gone.len()) * 2 <= *voters;
    judged.iter().all(is_lost).then(|| judged.swap_remove(0))
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::{apps::v1::StatefulSet, core::v1::ConfigMap};
    use serde_json::{Value, json};

    use super::*;

    const CLUSTER_ID: &str = "AQEBAQEBAQEBAQEBAQEBAQ";

    /// A cluster of three combined nodes whose quorum has formed: which claims there are, and what nodes say.
    fn observed(bootstrapped: bool, claims: &[i32], reports: &[(i32, Value)]) -> Observed {
        let identity: ConfigMap = serde_json::from_value(json!({
            "metadata": {"name": "my-identity", "annotations": {"ottla.dev/controllers": "3"}},
            "data": {"identity.properties": format!(
                "cluster.id={CLUSTER_ID}\nbootstrapped={bootstrapped}\ninitial.controllers=0@my-nodes-0.x:9090:{CLUSTER_ID}\n"
            )},
        }))
        .unwrap();
        let set: StatefulSet = serde_json::from_value(json!({"metadata": {"name": "my-nodes"}})).unwrap();
        let claim = |id: &i32| -> PersistentVolumeClaim {
            let name = format!("data-0-my-nodes-{id}");
            serde_json::from_value(json!({"metadata": {"name": name}, "status": {"phase": "Bound"}})).unwrap()
        };
        let report = |(id, report): &(i32, Value)| {
            (format!("my-nodes-{id}"), serde_json::from_value(report.clone()).unwrap())
        };
        Observed {
            stateful_sets: vec![set],
            config_maps: vec![identity],
            claims: claims.iter().map(claim).collect(),
            reports: reports.iter().map(report).collect(),
            ..Observed::default()
        }
    }

    /// A node that serves a directory and knows these voters by theirs.
    fn node(directory: &str, voters: [&str; 3]) -> Value {
        let voters = json!({"0": voters[0], "1": voters[1], "2": voters[2]});
        json!({"clusterId": CLUSTER_ID, "directoryIds": [directory], "quorum": {"caughtUp": false, "voters": voters}})
    }

    /// A node on an empty volume.
    fn blank(directory: &str) -> Value {
        let quorum = json!({"caughtUp": false, "voters": {}});
        json!({"clusterId": CLUSTER_ID, "directoryIds": [directory], "quorum": quorum})
    }

    const FIRST: [&str; 3] = ["a", "b", "c"];

    fn judge(claims: &[i32], reports: &[(i32, Value)]) -> Option<String> {
        lost(&observed(true, claims, reports), &ClusterName::new("my"), Pool::Nodes)
    }

    #[test]
    fn a_quorum_that_lost_the_volumes_of_a_majority_is_told_with_their_claims() {
        let told = judge(&[0, 1, 2], &[(0, node("a", FIRST)), (1, blank("x")), (2, blank("y"))]).unwrap();
        assert!(
            told.contains("2 of its 3 voters (data-0-my-nodes-1 of node 1, data-0-my-nodes-2 of node 2)")
        );
        assert!(told.contains("restore these volumes"), "{told}");
        // One of them had been let in as a learner before the other was lost.
        let learner = (1, node("x", FIRST));
        assert!(judge(&[0, 1, 2], &[(0, node("a", FIRST)), learner, (2, blank("y"))]).is_some());
        // All of them; and a claim that is gone needs no node to say so.
        assert!(judge(&[0, 1, 2], &[(0, blank("x")), (1, blank("y")), (2, blank("z"))]).is_some());
        assert!(judge(&[0], &[(0, node("a", FIRST))]).is_some());
        assert!(judge(&[], &[]).is_some());
    }

    #[test]
    fn a_minority_and_nodes_that_do_not_answer_are_no_lost_quorum() {
        let all = [0, 1, 2];
        assert_eq!(judge(&all, &[(0, node("a", FIRST)), (1, node("b", FIRST)), (2, blank("z"))]), None);
        assert_eq!(
            judge(&all, &[(0, node("a", FIRST)), (1, blank("y"))]),
            None,
            "node 2 may have its volume"
        );
        assert_eq!(judge(&all, &[(1, blank("y"))]), None);
        assert_eq!(judge(&all, &[]), None);
    }

    #[test]
    fn voters_that_were_replaced_are_not_missed() {
        // Node 0 was away while the voters 1 and 2 got new volumes, one after the other.
        let now = ["a", "x", "y"];
        let reports = [(0, node("a", FIRST)), (1, node("x", now)), (2, node("y", now))];
        assert_eq!(judge(&[0, 1, 2], &reports), None);
        let mut led = [(0, node("a", FIRST)), (1, blank("x")), (2, blank("y"))];
        led[0].1["quorum"]["caughtUp"] = json!(true);
        assert_eq!(judge(&[0, 1, 2], &led), None, "who follows a leader knows better");
    }

    #[test]
    fn empty_volumes_are_expected_until_the_quorum_has_formed() {
        let forming = observed(false, &[0, 1, 2], &[(0, blank("x")), (1, blank("y")), (2, blank("z"))]);
        assert_eq!(lost(&forming, &ClusterName::new("my"), Pool::Nodes), None);
    }

    #[test]
    fn a_release_that_does_not_tell_of_its_quorum_is_not_judged() {
        let silent = |id| (id, json!({"clusterId": CLUSTER_ID, "directoryIds": ["x"]}));
        assert_eq!(judge(&[0, 1, 2], &[silent(0), silent(1), silent(2)]), None);
    }

    #[test]
    fn brokers_are_not_taken_for_controllers_while_the_statefulset_of_those_is_missing() {
        // One broker, and three controllers with pods of their own.
        let mut observed = observed(true, &[0], &[]);
        let judge = |observed: &Observed| lost(observed, &ClusterName::new("my"), Pool::Controllers);
        assert_eq!(judge(&observed), None);
        let set = json!({"metadata": {"name": "my-controllers"}});
        observed.stateful_sets.push(serde_json::from_value(set).unwrap());
        assert!(judge(&observed).unwrap().contains("data-0-my-controllers-"), "its volumes are what counts");
    }

    #[test]
    fn a_claim_without_its_volume_has_none() {
        let mut observed = observed(true, &[0, 1, 2], &[(0, node("a", FIRST))]);
        for claim in &mut observed.claims[1..] {
            claim.status.as_mut().unwrap().phase = Some("Lost".into());
        }
        assert!(lost(&observed, &ClusterName::new("my"), Pool::Nodes).is_some());
    }
}
