//! Who the cluster is: its id, its first voters, and whether they have formed a quorum.
//!
//! Owns decision 3: directory ids of the first voters are drawn once and are good only until *bootstrapped* has
//! been recorded. From then on an empty volume gets a fresh id and no vote, because a voter that lost its log and
//! votes again under its old id can break the quorum's promise. Pure; the random source is an argument.

use std::{collections::BTreeMap, fmt, str::FromStr};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};

use crate::names::{
    ANNOTATION_BOOTSTRAPPED, ANNOTATION_CLUSTER_ID, ANNOTATION_CONTROLLERS, ANNOTATION_INITIAL_CONTROLLERS,
    NodeId,
};

/// The key of the identity ConfigMap, and the name of the file in the pod.
pub const IDENTITY_FILE: &str = "identity.properties";

/// An id in Kafka's form: 22 characters of base64url.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct KafkaUuid(String);

impl KafkaUuid {
    /// Draws an id as Kafka does: never one that starts with a dash, which command lines take for an option.
    pub fn draw(mut random: impl FnMut() -> [u8; 16]) -> Self {
        loop {
            let text = BASE64_URL_SAFE_NO_PAD.encode(random());
            if !text.starts_with('-') {
                return Self(text);
            }
        }
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for KafkaUuid {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, IdentityError> {
        match BASE64_URL_SAFE_NO_PAD.decode(text) {
            Ok(bytes) if bytes.len() == 16 && bytes != [0; 16] => Ok(Self(text.to_owned())),
            Ok(_) | Err(_) => Err(IdentityError::Unreadable { text: text.to_owned() }),
        }
    }
}

impl fmt::Display for KafkaUuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A voter of the first quorum.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct InitialController {
    /// Its node id.
    pub node_id: NodeId,
    /// Where the others reach it, `host:port`.
    pub address: String,
    /// The directory id it is formatted with.
    pub directory_id: KafkaUuid,
}

/// Whether the first quorum has formed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Bootstrap {
    /// Not yet known: an empty volume of one of these is formatted as that voter.
    Forming(Vec<InitialController>),
    /// It has: an empty volume gets a fresh directory id and no vote.
    Done,
}

/// Who the cluster is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Identity {
    /// The cluster id.
    pub cluster_id: KafkaUuid,
    /// How many controllers were resolved at creation.
    pub controllers: i32,
    /// Whether the first quorum has formed.
    pub bootstrap: Bootstrap,
}

/// Why the identity cannot be told.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum IdentityError {
    /// Volumes of more than one cluster carry this cluster's labels.
    #[error(
        "the volumes of this cluster belong to several clusters ({found}): remove the claims that are not wanted, or their label ottla.dev/cluster"
    )]
    ClaimsDisagree {
        /// Which claim names which cluster id.
        found: String,
    },
    /// A claim names another cluster than the identity ConfigMap does.
    #[error(
        "claim \"{claim}\" belongs to cluster {found}, this cluster is {wanted}: remove the claim if its data is not wanted"
    )]
    ClaimOfAnother {
        /// The claim.
        claim: String,
        /// What it says.
        found: KafkaUuid,
        /// What this cluster is.
        wanted: KafkaUuid,
    },
    /// Claims of a cluster deleted before are still being removed.
    #[error("claim \"{claim}\" of a cluster of this name is still being deleted")]
    ClaimLeaving {
        /// The claim.
        claim: String,
    },
    /// An id or a list of voters was changed by hand.
    #[error(
        "\"{text}\" is not what the operator wrote: restore the identity ConfigMap or the annotations of the claims"
    )]
    Unreadable {
        /// The text.
        text: String,
    },
}

/// What a claim says about the cluster it belongs to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ClaimFacts {
    /// The claim's name.
    pub name: String,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
}

/// What drawing a new identity needs.
pub struct NewIdentity<'a> {
    /// How many controllers.
    pub controllers: i32,
    /// The node ids of the first voters and where they are reached.
    pub voters: &'a [(NodeId, String)],
}

impl Identity {
    /// The identity that is recorded, or that the volumes carry, or a new one.
    ///
    /// # Errors
    /// When volumes contradict each other or the record, or are on their way out.
    pub fn resolve(
        recorded: Option<Self>,
        claims: &[ClaimFacts],
        new: &NewIdentity<'_>,
        mut random: impl FnMut() -> [u8; 16],
    ) -> Result<Self, IdentityError> {
        let of_claims = Self::of_claims(claims)?;
        match (recorded, of_claims) {
            (Some(recorded), _) => {
                for (claim, cluster_id) in claim_ids(claims)? {
                    if cluster_id != recorded.cluster_id {
                        return Err(IdentityError::ClaimOfAnother {
                            claim: claim.name.clone(),
                            found: cluster_id,
                            wanted: recorded.cluster_id,
                        });
                    }
                }
                Ok(recorded)
            }
            (None, Some(adopted)) => match claims.iter().find(|claim| claim.deleting) {
                Some(claim) => Err(IdentityError::ClaimLeaving { claim: claim.name.clone() }),
                None => Ok(adopted),
            },
            (None, None) => Ok(Self {
                cluster_id: KafkaUuid::draw(&mut random),
                controllers: new.controllers,
                bootstrap: Bootstrap::Forming(
                    new.voters
                        .iter()
                        .map(|(node_id, address)| InitialController {
                            node_id: *node_id,
                            address: address.clone(),
                            directory_id: KafkaUuid::draw(&mut random),
                        })
                        .collect(),
                ),
            }),
        }
    }

    /// What the volumes of a cluster say, if there are any.
    ///
    /// # Errors
    /// When they contradict each other.
    pub fn of_claims(claims: &[ClaimFacts]) -> Result<Option<Self>, IdentityError> {
        let ids = claim_ids(claims)?;
        let Some((first, cluster_id)) = ids.first().cloned() else { return Ok(None) };
        if ids.iter().any(|(_, other)| *other != cluster_id) {
            let found =
                ids.iter().map(|(claim, id)| format!("{}: {id}", claim.name)).collect::<Vec<_>>().join(", ");
            return Err(IdentityError::ClaimsDisagree { found });
        }
        let bootstrapped = claims.iter().any(|claim| claim.annotations.contains_key(ANNOTATION_BOOTSTRAPPED));
        let voters = match first.annotations.get(ANNOTATION_INITIAL_CONTROLLERS) {
            Some(text) => parse_voters(text)?,
            None => Vec::new(),
        };
        let controllers = match first.annotations.get(ANNOTATION_CONTROLLERS) {
            Some(text) => text.parse().map_err(|_| IdentityError::Unreadable { text: text.clone() })?,
            None => i32::try_from(voters.len()).unwrap_or(0).max(1),
        };
        let bootstrap =
            if bootstrapped || voters.is_empty() { Bootstrap::Done } else { Bootstrap::Forming(voters) };
        Ok(Some(Self { cluster_id, controllers, bootstrap }))
    }

    /// The annotations of new claims.
    #[must_use]
    pub fn claim_annotations(&self) -> BTreeMap<String, String> {
        let mut annotations = BTreeMap::from([
            (ANNOTATION_CLUSTER_ID.to_owned(), self.cluster_id.to_string()),
            (ANNOTATION_CONTROLLERS.to_owned(), self.controllers.to_string()),
        ]);
        match &self.bootstrap {
            Bootstrap::Forming(voters) => {
                annotations.insert(ANNOTATION_INITIAL_CONTROLLERS.to_owned(), render_voters(voters));
            }
            Bootstrap::Done => {
                annotations.insert(ANNOTATION_BOOTSTRAPPED.to_owned(), "true".to_owned());
            }
        }
        annotations
    }

    /// The file that `ottla pod` formats an empty volume by.
    #[must_use]
    pub fn render(&self) -> String {
        let head = format!("cluster.id={}\n", self.cluster_id);
        match &self.bootstrap {
            Bootstrap::Forming(voters) => {
                format!("{head}bootstrapped=false\ninitial.controllers={}\n", render_voters(voters))
            }
            Bootstrap::Done => format!("{head}bootstrapped=true\n"),
        }
    }

    /// Reads the file back, and the number of controllers from beside it.
    ///
    /// # Errors
    /// When it was changed by hand.
    pub fn parse(file: &str, controllers: &str) -> Result<Self, IdentityError> {
        let unreadable = || IdentityError::Unreadable { text: file.trim().to_owned() };
        let fields: BTreeMap<&str, &str> = file.lines().filter_map(|line| line.split_once('=')).collect();
        let cluster_id = fields.get("cluster.id").ok_or_else(unreadable)?.parse()?;
        let controllers =
            controllers.parse().map_err(|_| IdentityError::Unreadable { text: controllers.to_owned() })?;
        let bootstrap = match fields.get("bootstrapped").copied() {
            Some("true") => Bootstrap::Done,
            Some("false") => {
                Bootstrap::Forming(parse_voters(fields.get("initial.controllers").ok_or_else(unreadable)?)?)
            }
            Some(_) | None => return Err(unreadable()),
        };
        Ok(Self { cluster_id, controllers, bootstrap })
    }
}

fn claim_ids(claims: &[ClaimFacts]) -> Result<Vec<(&ClaimFacts, KafkaUuid)>, IdentityError> {
    claims
        .iter()
        .filter_map(|claim| claim.annotations.get(ANNOTATION_CLUSTER_ID).map(|id| Ok((claim, id.parse()?))))
        .collect()
}

fn render_voters(voters: &[InitialController]) -> String {
    voters
        .iter()
        .map(|voter| format!("{}@{}:{}", voter.node_id, voter.address, voter.directory_id))
        .collect::<Vec<_>>()
        .join(",")
}

fn parse_voters(text: &str) -> Result<Vec<InitialController>, IdentityError> {
    text.split(',')
        .map(|voter| {
            let (node_id, rest) = voter.split_once('@')?;
            let (address, directory_id) = rest.rsplit_once(':')?;
            Some(InitialController {
                node_id: NodeId(node_id.parse().ok()?),
                address: address.to_owned(),
                directory_id: directory_id.parse().ok()?,
            })
        })
        .collect::<Option<Vec<_>>>()
        .ok_or_else(|| IdentityError::Unreadable { text: text.to_owned() })
}

#[cfg(test)]
mod tests {
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
        Identity::resolve(None, &[], &NewIdentity { controllers: 3, voters: &voters() }, counter()).unwrap()
    }

    fn claim(name: &str, identity: &Identity) -> ClaimFacts {
        ClaimFacts { name: name.into(), deleting: false, annotations: identity.claim_annotations() }
    }

    fn resolve(recorded: Option<Identity>, claims: &[ClaimFacts]) -> Result<Identity, IdentityError> {
        Identity::resolve(recorded, claims, &NewIdentity { controllers: 3, voters: &voters() }, || [9; 16])
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
        assert_eq!(Identity::parse(&forming.render(), "3").unwrap(), forming);
        let done = Identity { bootstrap: Bootstrap::Done, ..forming };
        assert_eq!(Identity::parse(&done.render(), "3").unwrap(), done);
        assert!(!done.render().contains("initial.controllers"));
    }

    #[test]
    fn what_is_recorded_wins_and_is_not_drawn_again() {
        let identity = drawn();
        assert_eq!(
            resolve(Some(identity.clone()), &[claim("data-0-my-nodes-0", &identity)]).unwrap(),
            identity
        );
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
        let refused = resolve(Some(drawn()), &claims[1..]);
        assert!(
            matches!(&refused, Err(IdentityError::ClaimOfAnother { claim, .. }) if claim == "b"),
            "{refused:?}"
        );
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
            assert!(Identity::parse(file, "3").is_err(), "{file}");
        }
    }

    #[test]
    fn an_id_never_starts_with_a_dash() {
        let mut values = [[0xfb; 16], [1; 16]].into_iter();
        assert_eq!(KafkaUuid::draw(|| values.next().unwrap()).as_str(), "AQEBAQEBAQEBAQEBAQEBAQ");
    }
}
