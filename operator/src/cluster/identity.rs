//! Who the cluster is: its id, its first voters, and whether they have formed a quorum.
//!
//! Owns decision 3: directory ids of the first voters are drawn once and are good only until *bootstrapped* has
//! been recorded. From then on an empty volume gets a fresh id and no vote, because a voter that lost its log and
//! votes again under its old id can break the quorum's promise. Pure; the random source is an argument.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    fmt,
    str::FromStr,
};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};

use crate::names::{
    ANNOTATION_BOOTSTRAPPED, ANNOTATION_CAME_UP, ANNOTATION_CLUSTER_ID, ANNOTATION_CONTROLLERS,
    ANNOTATION_FORMATTED, ANNOTATION_INITIAL_CONTROLLERS, CLAIM, NodeId,
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

impl InitialController {
    /// Its pod, which is the first part of its host's name.
    #[must_use]
    pub fn pod(&self) -> &str {
        self.address.split('.').next().unwrap_or_default()
    }

    /// The claim of its volume.
    #[must_use]
    pub fn claim(&self) -> String {
        format!("{CLAIM}-{}", self.pod())
    }
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
    /// Until it has: the first voters that have served, and the uids of the claims they served from. A volume
    /// that is gone after that held what its node voted for.
    pub formatted: BTreeMap<NodeId, String>,
    /// Whether all nodes of the cluster have been ready at once.
    pub came_up: bool,
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
    /// The volume of a first voter is gone before the quorum was complete.
    #[error(
        "claim \"{claim}\" held the log of a controller and is gone, before the first quorum of this cluster was complete: its node starts without a vote; restore the volume, or delete the cluster and all of its claims to begin anew without data"
    )]
    VolumeLost {
        /// The claim.
        claim: String,
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
    /// Its uid: a claim of the same name that came later is another volume.
    pub uid: String,
    /// Whether it is being deleted, or about to be with a StatefulSet that is gone.
    pub deleting: bool,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
}

/// What drawing a new identity needs.
pub struct NewIdentity<'a> {
    /// How many controllers.
    pub controllers: i32,
    /// The cluster id that the user wants.
    pub cluster_id: Option<&'a KafkaUuid>,
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
        if let Some(recorded) = recorded {
            return Ok(recorded);
        }
        if let Some(claim) = claims.iter().find(|claim| claim.deleting) {
            return Err(IdentityError::ClaimLeaving { claim: claim.name.clone() });
        }
        match (Self::of_claims(claims)?, new.cluster_id) {
            (Some(adopted), wanted) => {
                let other = wanted.filter(|wanted| **wanted != adopted.cluster_id);
                match (other, claim_ids(claims)?.into_iter().next()) {
                    (Some(wanted), Some((claim, found))) => {
                        let (claim, wanted) = (claim.name.clone(), wanted.clone());
                        Err(IdentityError::ClaimOfAnother { claim, found, wanted })
                    }
                    (Some(_) | None, _) => Ok(adopted),
                }
            }
            // Volumes restored by hand carry no record, and data: none of them may be formatted as a first voter.
            (None, Some(wanted)) if !claims.is_empty() => Ok(Self {
                cluster_id: wanted.clone(),
                controllers: new.controllers,
                bootstrap: Bootstrap::Done,
                formatted: BTreeMap::new(),
                came_up: false,
            }),
            (None, wanted) => Ok(Self {
                formatted: BTreeMap::new(),
                came_up: false,
                cluster_id: wanted.cloned().unwrap_or_else(|| KafkaUuid::draw(&mut random)),
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

    /// What speaks against this identity among the volumes. What runs goes on; somebody has to see to it.
    #[must_use]
    pub fn conflict(&self, claims: &[ClaimFacts]) -> Option<IdentityError> {
        for (claim, id) in claims_with(claims, ANNOTATION_CLUSTER_ID) {
            let found = match id.parse() {
                Ok(found) => found,
                Err(error) => return Some(error),
            };
            if found != self.cluster_id {
                let (claim, wanted) = (claim.name.clone(), self.cluster_id.clone());
                return Some(IdentityError::ClaimOfAnother { claim, found, wanted });
            }
        }
        self.lost(claims).first().map(|voter| IdentityError::VolumeLost { claim: voter.claim() })
    }

    /// The first voters whose volumes are gone although they have served from them.
    #[must_use]
    pub fn lost(&self, claims: &[ClaimFacts]) -> Vec<&InitialController> {
        let Bootstrap::Forming(voters) = &self.bootstrap else { return Vec::new() };
        let there =
            |claim: String, uid: &String| claims.iter().any(|one| one.name == claim && one.uid == *uid);
        let is_lost = |voter: &&InitialController| {
            self.formatted.get(&voter.node_id).is_some_and(|uid| !there(voter.claim(), uid))
        };
        voters.iter().filter(is_lost).collect()
    }

    /// Takes down on which volumes first voters serve, by pod and directory id. Gives the claims that are new among them.
    pub fn mark_formatted(&mut self, serving: &[(&str, &[String])], claims: &[ClaimFacts]) -> Vec<String> {
        let Bootstrap::Forming(voters) = &self.bootstrap else { return Vec::new() };
        let serves = |voter: &&InitialController| {
            let directory = voter.directory_id.as_str();
            serving.iter().any(|(pod, ids)| *pod == voter.pod() && ids.iter().any(|id| id == directory))
        };
        let mut marked = Vec::new();
        for voter in voters.iter().filter(serves) {
            let Some(claim) = claims.iter().find(|claim| claim.name == voter.claim()) else { continue };
            if let Entry::Vacant(entry) = self.formatted.entry(voter.node_id) {
                entry.insert(claim.uid.clone());
                marked.push(claim.name.clone());
            }
        }
        marked
    }

    /// The same cluster, now that its first quorum has formed.
    #[must_use]
    pub fn bootstrapped(&self) -> Self {
        Self { bootstrap: Bootstrap::Done, formatted: BTreeMap::new(), ..self.clone() }
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
        let formatted = if bootstrapped { BTreeMap::new() } else { formatted_of_claims(&voters, claims) };
        let bootstrap =
            if bootstrapped || voters.is_empty() { Bootstrap::Done } else { Bootstrap::Forming(voters) };
        Ok(Some(Self { cluster_id, controllers, bootstrap, formatted, came_up: false }))
    }

    /// The annotations of the identity's record: what the operator needs to know and nodes do not.
    #[must_use]
    pub fn record_annotations(&self) -> BTreeMap<String, String> {
        let mut annotations =
            BTreeMap::from([(ANNOTATION_CONTROLLERS.to_owned(), self.controllers.to_string())]);
        if self.came_up {
            annotations.insert(ANNOTATION_CAME_UP.to_owned(), "true".to_owned());
        }
        if !self.formatted.is_empty() {
            let volumes = self.formatted.iter().map(|(node_id, uid)| format!("{node_id}={uid}"));
            annotations.insert(ANNOTATION_FORMATTED.to_owned(), volumes.collect::<Vec<_>>().join(","));
        }
        annotations
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
                let voters = render_voters(voters);
                let formatted: Vec<_> = self.formatted.keys().map(ToString::to_string).collect();
                let formatted = match formatted.as_slice() {
                    [] => String::new(),
                    nodes => format!("formatted={}\n", nodes.join(",")),
                };
                format!("{head}bootstrapped=false\ninitial.controllers={voters}\n{formatted}")
            }
            Bootstrap::Done => format!("{head}bootstrapped=true\n"),
        }
    }

    /// Reads the record back.
    ///
    /// # Errors
    /// When it was changed by hand.
    pub fn parse(file: &str, annotations: &BTreeMap<String, String>) -> Result<Self, IdentityError> {
        let unreadable = || IdentityError::Unreadable { text: file.trim().to_owned() };
        let fields: BTreeMap<&str, &str> = file.lines().filter_map(|line| line.split_once('=')).collect();
        let cluster_id = fields.get("cluster.id").ok_or_else(unreadable)?.parse()?;
        let controllers = annotations.get(ANNOTATION_CONTROLLERS).map_or("", String::as_str);
        let controllers =
            controllers.parse().map_err(|_| IdentityError::Unreadable { text: controllers.to_owned() })?;
        let formatted = annotations.get(ANNOTATION_FORMATTED).map_or("", String::as_str);
        let volume = |text: &str| {
            let (node_id, uid) = text.split_once('=')?;
            Some((NodeId(node_id.parse().ok()?), uid.to_owned()))
        };
        let formatted = formatted.split(',').filter_map(volume).collect();
        let bootstrap = match fields.get("bootstrapped").copied() {
            Some("true") => Bootstrap::Done,
            Some("false") => {
                Bootstrap::Forming(parse_voters(fields.get("initial.controllers").ok_or_else(unreadable)?)?)
            }
            Some(_) | None => return Err(unreadable()),
        };
        let came_up = annotations.contains_key(ANNOTATION_CAME_UP);
        Ok(Self { cluster_id, controllers, bootstrap, formatted, came_up })
    }
}

fn claims_with<'a>(
    claims: &'a [ClaimFacts],
    annotation: &str,
) -> impl Iterator<Item = (&'a ClaimFacts, &'a String)> {
    claims.iter().filter_map(move |claim| Some((claim, claim.annotations.get(annotation)?)))
}

fn claim_ids(claims: &[ClaimFacts]) -> Result<Vec<(&ClaimFacts, KafkaUuid)>, IdentityError> {
    claims_with(claims, ANNOTATION_CLUSTER_ID).map(|(claim, id)| Ok((claim, id.parse()?))).collect()
}

/// From which volumes first voters had served, by the claims that a deleted cluster left. Where any had, a claim that is
/// missing is one that was lost: under a uid that no claim has.
fn formatted_of_claims(voters: &[InitialController], claims: &[ClaimFacts]) -> BTreeMap<NodeId, String> {
    let marked: Vec<&ClaimFacts> =
        claims_with(claims, ANNOTATION_FORMATTED).map(|(claim, _)| claim).collect();
    if marked.is_empty() {
        return BTreeMap::new();
    }
    let state = |voter: &InitialController| {
        let claim = voter.claim();
        match marked.iter().find(|one| one.name == claim) {
            Some(marked) => Some((voter.node_id, marked.uid.clone())),
            None if claims.iter().any(|one| one.name == claim) => None,
            None => Some((voter.node_id, "gone".to_owned())),
        }
    };
    voters.iter().filter_map(state).collect()
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
mod tests;
