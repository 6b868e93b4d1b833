use super::*;

fn counter() -> impl FnMut() -> [u8; 16] {
    let mut next = 0;
    move || {
        next += 1;
        [next; 16]
    }
}

fn voters() -> Vec<(NodeId, String)> {
    (0..3).map(|id| (NodeId(id), format!("my-nodes-{id}.my-nodes.ns.svc:9090"))).collect()
}

fn drawn() -> Identity {
    Identity::resolve(
        None,
        &[],
        &NewIdentity { controllers: 3, cluster_id: None, voters: &voters() },
        counter(),
    )
    .unwrap()
}

fn claim(name: &str, identity: &Identity) -> ClaimFacts {
    let annotations = identity.claim_annotations();
    ClaimFacts { name: name.into(), uid: format!("uid of {name}"), deleting: false, annotations }
}

/// Takes down that these voters serve from the volumes that the claims stand for.
fn mark(identity: &mut Identity, nodes: &[i32], claims: &[ClaimFacts]) -> Vec<String> {
    let Bootstrap::Forming(voters) = identity.bootstrap.clone() else { panic!("{identity:?}") };
    let serving: Vec<(String, Vec<String>)> = voters
        .iter()
        .filter(|voter| nodes.contains(&voter.node_id.0))
        .map(|voter| (voter.pod().to_owned(), vec![voter.directory_id.to_string()]))
        .collect();
    let serving: Vec<_> = serving.iter().map(|(pod, ids)| (pod.as_str(), ids.as_slice())).collect();
    identity.mark_formatted(&serving, claims)
}

fn resolve(recorded: Option<Identity>, claims: &[ClaimFacts]) -> Result<Identity, IdentityError> {
    Identity::resolve(
        recorded,
        claims,
        &NewIdentity { controllers: 3, cluster_id: None, voters: &voters() },
        || [9; 16],
    )
}

#[test]
fn a_new_cluster_draws_an_id_and_one_directory_id_for_each_voter() {
    let identity = drawn();
    let Bootstrap::Forming(voters) = &identity.bootstrap else { panic!("{identity:?}") };
    let mut ids: Vec<_> = voters.iter().map(|voter| voter.directory_id.clone()).collect();
    ids.push(identity.cluster_id.clone());
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 4);
}

#[test]
fn the_file_reads_back_as_it_was_written() {
    let forming = drawn();
    let read = |identity: &Identity| Identity::parse(&identity.render(), &identity.record_annotations());
    assert_eq!(read(&forming).unwrap(), forming);
    let mut started = forming.clone();
    mark(&mut started, &[1], &[claim("data-0-my-nodes-1", &forming)]);
    started.came_up = true;
    assert!(started.render().contains("\nformatted=1\n"), "{}", started.render());
    assert_eq!(read(&started).unwrap(), started);
    let done = started.bootstrapped();
    assert_eq!(read(&done).unwrap(), done);
    assert!(!done.render().contains("initial.controllers"));
}

#[test]
fn what_is_recorded_wins_and_is_not_drawn_again() {
    let identity = drawn();
    assert_eq!(resolve(Some(identity.clone()), &[claim("data-0-my-nodes-0", &identity)]).unwrap(), identity);
}

#[test]
fn volumes_of_a_deleted_cluster_are_adopted_without_the_first_voters_ids() {
    let done = Identity { bootstrap: Bootstrap::Done, ..drawn() };
    let mut claims = vec![claim("data-0-my-nodes-0", &drawn()), claim("data-0-my-nodes-1", &drawn())];
    claims[1].annotations.insert(ANNOTATION_BOOTSTRAPPED.into(), "true".into());
    assert_eq!(resolve(None, &claims).unwrap(), done);
}

#[test]
fn volumes_of_a_cluster_deleted_before_its_quorum_formed_keep_the_first_voters_ids() {
    assert_eq!(resolve(None, &[claim("data-0-my-nodes-0", &drawn())]).unwrap(), drawn());
}

#[test]
fn volumes_that_disagree_are_refused() {
    let other = Identity { cluster_id: KafkaUuid::draw(|| [77; 16]), ..drawn() };
    let claims = [claim("a", &drawn()), claim("b", &other)];
    assert!(matches!(resolve(None, &claims), Err(IdentityError::ClaimsDisagree { .. })));
    assert_eq!(resolve(Some(drawn()), &claims), Ok(drawn()));
    let conflict = drawn().conflict(&claims);
    assert!(
        matches!(&conflict, Some(IdentityError::ClaimOfAnother { claim, .. }) if claim == "b"),
        "{conflict:?}"
    );
    assert_eq!(drawn().conflict(&claims[..1]), None);
}

#[test]
fn a_volume_lost_before_the_quorum_was_recorded_gets_no_vote_and_is_told() {
    let names = ["data-0-my-nodes-0", "data-0-my-nodes-1", "data-0-my-nodes-2"];
    let mut claims: Vec<ClaimFacts> = names.iter().map(|name| claim(name, &drawn())).collect();
    let mut identity = drawn();
    // The third pod waits for room: its volume is not formatted, and may still be.
    assert_eq!(mark(&mut identity, &[0, 1], &claims), &names[..2]);
    assert_eq!(mark(&mut identity, &[0, 1], &claims), [""; 0], "told once");
    assert_eq!(identity.conflict(&claims), None);
    let elsewhere: &[String] = &["of another cluster".to_owned()];
    assert_eq!(identity.mark_formatted(&[("my-nodes-2", elsewhere)], &claims), [""; 0]);
    claims[1].uid = "of another volume".into();
    assert_eq!(mark(&mut identity, &[1], &claims), [""; 0], "what was lost stays so");
    let lost = Some(IdentityError::VolumeLost { claim: names[1].into() });
    assert_eq!(identity.conflict(&claims), lost);
    claims.remove(1);
    assert_eq!(identity.conflict(&claims), lost);
    claims.remove(1);
    assert_eq!(identity.conflict(&claims), lost, "a volume never started on is not lost");
    assert_eq!(identity.bootstrapped().conflict(&claims), None);
}

#[test]
fn a_volume_lost_with_a_cluster_deleted_before_its_quorum_formed_is_told() {
    let mut claims = vec![claim("data-0-my-nodes-0", &drawn()), claim("data-0-my-nodes-2", &drawn())];
    assert_eq!(resolve(None, &claims).unwrap().conflict(&claims), None, "no node had started");
    claims[0].annotations.insert(ANNOTATION_FORMATTED.into(), "true".into());
    let adopted = resolve(None, &claims).unwrap();
    let lost = Some(IdentityError::VolumeLost { claim: "data-0-my-nodes-1".into() });
    assert_eq!(adopted.conflict(&claims), lost);
    assert!(adopted.render().contains("\nformatted=0,1\n"), "{}", adopted.render());
}

#[test]
fn volumes_on_their_way_out_are_waited_for() {
    let mut leaving = claim("a", &drawn());
    leaving.deleting = true;
    assert_eq!(resolve(None, &[leaving]), Err(IdentityError::ClaimLeaving { claim: "a".into() }));
}

#[test]
fn a_record_changed_by_hand_is_refused() {
    for file in ["", "cluster.id=x\nbootstrapped=true\n", "bootstrapped=true\n"] {
        assert!(Identity::parse(file, &drawn().record_annotations()).is_err(), "{file}");
    }
}

#[test]
fn an_id_never_starts_with_a_dash() {
    let mut values = [[0xfb; 16], [1; 16]].into_iter();
    assert_eq!(KafkaUuid::draw(|| values.next().unwrap()).as_str(), "AQEBAQEBAQEBAQEBAQEBAQ");
}

#[test]
fn volumes_restored_by_hand_are_taken_under_the_id_that_is_named_and_never_formatted_as_voters() {
    let named = KafkaUuid::draw(|| [77; 16]);
    let voters = voters();
    let new = NewIdentity { controllers: 3, cluster_id: Some(&named), voters: &voters };
    let resolve = |claims: &[ClaimFacts]| Identity::resolve(None, claims, &new, || [9; 16]);
    let fresh = resolve(&[]).unwrap();
    assert_eq!(fresh.cluster_id, named);
    assert!(matches!(fresh.bootstrap, Bootstrap::Forming(_)));
    let restored = ClaimFacts { annotations: BTreeMap::new(), ..claim("data-0-my-nodes-0", &drawn()) };
    let taken = resolve(&[restored]).unwrap();
    assert_eq!((taken.cluster_id, taken.bootstrap), (named.clone(), Bootstrap::Done));
    let other = resolve(&[claim("data-0-my-nodes-0", &drawn())]);
    assert!(
        matches!(&other, Err(IdentityError::ClaimOfAnother { wanted, .. }) if *wanted == named),
        "{other:?}"
    );
}
