//! Who of several operators acts: the holder of a Lease that is renewed only when somebody asks.
//!
//! A holder that renews every two seconds writes for ever, although nobody is there to take over. Here a candidate
//! *challenges* the holder by writing its name on the Lease; a holder that lives answers by renewing it and wiping the
//! challenge off. A challenge unanswered for [`TAKE_AFTER`] makes the candidate the holder. The holder looks at the
//! Lease every [`LOOK_EVERY`] and stops acting when it could not for [`STOP_AFTER`], which is shorter: so there is
//! never a moment with two. With one operator nothing is ever written. See docs/decisions/0011.

use std::{collections::BTreeMap, time::Duration};

use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
    jiff::Timestamp,
};
use kube::{Api, Client, api::PostParams};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until, timeout, timeout_at},
};
use tracing::{debug, info, warn};

use crate::settings::Settings;

/// Between two looks at the Lease, and between an answered challenge and the next one.
pub const LOOK_EVERY: Duration = Duration::from_secs(2);
/// A holder that cannot see the Lease for this long stops acting.
pub const STOP_AFTER: Duration = Duration::from_secs(10);
/// A candidate whose challenge is unanswered for this long becomes the holder.
pub const TAKE_AFTER: Duration = Duration::from_secs(15);

/// The API server answers in milliseconds; one that takes this long is asked again.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

const CHALLENGER: &str = "ottla.dev/challenger";

/// What is to be done about a Lease.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Move {
    /// It is ours and nobody asks.
    Hold,
    /// It is ours and somebody asks.
    Answer,
    /// It is free.
    Take,
    /// It is somebody's: ask.
    Challenge,
    /// It is somebody's and was asked.
    Wait,
}

/// What a candidate remembers between looks.
#[derive(Debug, Default)]
struct Memory {
    /// The version of the Lease with our challenge on it, and when we first saw it.
    challenged: Option<(String, Duration)>,
}

/// The next move, at a time since some start. Pure but for its memory.
fn next_move(me: &str, lease: &Lease, now: Duration, memory: &mut Memory) -> Move {
    let holder = lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_deref()).unwrap_or_default();
    let challenger =
        lease.metadata.annotations.as_ref().and_then(|all| all.get(CHALLENGER)).map(String::as_str);
    if holder == me {
        memory.challenged = None;
        return if challenger.is_some() { Move::Answer } else { Move::Hold };
    }
    if holder.is_empty() {
        return Move::Take;
    }
    // Any challenge will do: the holder answers whoever asked.
    if challenger.is_none() {
        memory.challenged = None;
        return Move::Challenge;
    }
    let version = lease.metadata.resource_version.clone().unwrap_or_default();
    match &memory.challenged {
        Some((seen, since)) if *seen == version => {
            if now.saturating_sub(*since) >= TAKE_AFTER {
                Move::Take
            } else {
                Move::Wait
            }
        }
        Some(_) | None => {
            memory.challenged = Some((version, now));
            Move::Wait
        }
    }
}

/// How this operator stands to the Lease.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Standing {
    /// It could not look at it yet.
    Unknown,
    /// Another holds it.
    Waiting,
    /// It holds it.
    Leading,
}

/// Waits until this operator holds the Lease, then keeps it. `standing` tells the rest of the program.
pub struct Election {
    api: Api<Lease>,
    name: String,
    me: String,
    standing: watch::Sender<Standing>,
}

/// The Lease was lost while we acted.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the lease was lost")]
pub struct LeaseLost;

impl Election {
    /// An election among the operators of one Lease.
    #[must_use]
    pub fn new(client: Client, settings: &Settings) -> (Self, watch::Receiver<Standing>) {
        let (standing, receiver) = watch::channel(Standing::Unknown);
        let api = Api::namespaced(client, &settings.namespace);
        (Self { api, name: settings.lease.clone(), me: settings.pod.clone(), standing }, receiver)
    }

    fn leads(&self) -> bool {
        *self.standing.borrow() == Standing::Leading
    }

    /// Takes part until `stop` resolves, then lets go of the Lease.
    ///
    /// # Errors
    /// When the Lease was lost; the program must end, because what it has begun may now be done by another.
    pub async fn run(self, stop: impl Future<Output = ()>) -> Result<(), LeaseLost> {
        let result = tokio::select! {
            result = self.take_part() => result,
            // Nothing is half-done between two requests: a request cut off was either taken or not.
            () = stop => Ok(()),
        };
        if result.is_ok() && self.leads() {
            self.release().await;
        }
        result
    }

    async fn take_part(&self) -> Result<(), LeaseLost> {
        let start = Instant::now();
        let mut memory = Memory::default();
        let mut confirmed = start;
        loop {
            // The moment before the question: the answer is at least as new.
            let asked = Instant::now();
            let leading = self.leads();
            let patience = asked + ANSWER_WITHIN;
            let deadline = if leading { patience.min(confirmed + STOP_AFTER) } else { patience };
            match timeout_at(deadline, self.look(start.elapsed(), &mut memory)).await {
                Ok(Ok(true)) => {
                    confirmed = asked;
                    if self.standing.send_replace(Standing::Leading) != Standing::Leading {
                        info!(lease = self.name, "this operator acts now");
                    }
                }
                Ok(Ok(false)) if leading => return Err(LeaseLost),
                Ok(Ok(false)) => {
                    self.standing.send_replace(Standing::Waiting);
                }
                Ok(Err(error)) => warn!(lease = self.name, %error, "cannot look at the lease"),
                Err(_) => warn!(lease = self.name, "the API server does not answer"),
            }
            if self.leads() && confirmed.elapsed() >= STOP_AFTER {
                return Err(LeaseLost);
            }
            let next = Instant::now() + LOOK_EVERY;
            sleep_until(if leading { next.min(confirmed + STOP_AFTER) } else { next }).await;
        }
    }

    /// One look, and what it asks for. Gives whether the Lease is ours.
    async fn look(&self, now: Duration, memory: &mut Memory) -> Result<bool, kube::Error> {
        let Some(lease) = self.api.get_opt(&self.name).await? else {
            let fresh = Lease {
                metadata: ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() },
                spec: Some(self.held(0)),
            };
            return taken(self.api.create(&PostParams::default(), &fresh).await);
        };
        let step = next_move(&self.me, &lease, now, memory);
        debug!(?step, "looked at the lease");
        match step {
            Move::Hold => Ok(true),
            Move::Wait => Ok(false),
            Move::Answer => {
                let transitions = lease.spec.as_ref().and_then(|spec| spec.lease_transitions).unwrap_or(0);
                self.replace(lease, Some(self.held(transitions)), None).await
            }
            Move::Take => {
                let transitions = lease.spec.as_ref().and_then(|spec| spec.lease_transitions).unwrap_or(0);
                self.replace(lease, Some(self.held(transitions.saturating_add(1))), None).await
            }
            Move::Challenge => {
                let spec = lease.spec.clone();
                self.replace(lease, spec, Some(&self.me)).await?;
                Ok(false)
            }
        }
    }

    /// Writes the Lease back under the version that was read, so that of two writers one fails.
    async fn replace(
        &self,
        mut lease: Lease,
        spec: Option<LeaseSpec>,
        challenger: Option<&str>,
    ) -> Result<bool, kube::Error> {
        lease.spec = spec;
        let annotations = lease.metadata.annotations.get_or_insert_with(BTreeMap::new);
        annotations.remove(CHALLENGER);
        if let Some(challenger) = challenger {
            annotations.insert(CHALLENGER.to_owned(), challenger.to_owned());
        }
        lease.metadata.managed_fields = None;
        taken(self.api.replace(&self.name, &PostParams::default(), &lease).await)
    }

    async fn release(&self) {
        let released = async {
            let Some(mut lease) = self.api.get_opt(&self.name).await? else { return Ok(()) };
            let spec = lease.spec.get_or_insert_default();
            if spec.holder_identity.as_deref() == Some(&self.me) {
                spec.holder_identity = Some(String::new());
                lease.metadata.managed_fields = None;
                self.api.replace(&self.name, &PostParams::default(), &lease).await?;
            }
            Ok::<_, kube::Error>(())
        };
        match timeout(ANSWER_WITHIN, released).await {
            Ok(Ok(())) => info!(lease = self.name, "let go of the lease"),
            Ok(Err(error)) => warn!(lease = self.name, %error, "could not let go of the lease"),
            Err(_) => warn!(lease = self.name, "could not let go of the lease in time"),
        }
    }

    fn held(&self, transitions: i32) -> LeaseSpec {
        let now = MicroTime(Timestamp::now());
        LeaseSpec {
            holder_identity: Some(self.me.clone()),
            lease_duration_seconds: i32::try_from(TAKE_AFTER.as_secs()).ok(),
            acquire_time: Some(now.clone()),
            renew_time: Some(now),
            lease_transitions: Some(transitions),
            ..LeaseSpec::default()
        }
    }
}

/// Another writer was faster: not ours now, and the next look tells.
fn taken(result: Result<Lease, kube::Error>) -> Result<bool, kube::Error> {
    match result {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(holder: &str, challenger: Option<&str>, version: u32) -> Lease {
        Lease {
            metadata: ObjectMeta {
                annotations: challenger.map(|name| BTreeMap::from([(CHALLENGER.into(), name.into())])),
                resource_version: Some(version.to_string()),
                ..ObjectMeta::default()
            },
            spec: Some(LeaseSpec { holder_identity: Some(holder.into()), ..LeaseSpec::default() }),
        }
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_holder_alone_writes_nothing() {
        for second in 0..1000 {
            assert_eq!(
                next_move("a", &lease("a", None, 1), seconds(second), &mut Memory::default()),
                Move::Hold
            );
        }
    }

    #[test]
    fn a_holder_answers_whoever_asks() {
        assert_eq!(
            next_move("a", &lease("a", Some("b"), 2), seconds(0), &mut Memory::default()),
            Move::Answer
        );
    }

    #[test]
    fn a_candidate_takes_over_only_after_an_unanswered_challenge() {
        let mut memory = Memory::default();
        assert_eq!(next_move("b", &lease("a", None, 1), seconds(0), &mut memory), Move::Challenge);
        assert_eq!(next_move("b", &lease("a", Some("b"), 2), seconds(2), &mut memory), Move::Wait);
        assert_eq!(next_move("b", &lease("a", Some("b"), 2), seconds(16), &mut memory), Move::Wait);
        assert_eq!(next_move("b", &lease("a", Some("b"), 2), seconds(17), &mut memory), Move::Take);
    }

    #[test]
    fn an_answer_starts_the_wait_anew() {
        let mut memory = Memory::default();
        next_move("b", &lease("a", Some("b"), 2), seconds(0), &mut memory);
        assert_eq!(next_move("b", &lease("a", None, 3), seconds(14), &mut memory), Move::Challenge);
        assert_eq!(next_move("b", &lease("a", Some("b"), 4), seconds(16), &mut memory), Move::Wait);
        assert_eq!(next_move("b", &lease("a", Some("b"), 4), seconds(30), &mut memory), Move::Wait);
    }

    #[test]
    fn a_lease_let_go_of_is_taken_at_once() {
        assert_eq!(next_move("b", &lease("", None, 5), seconds(0), &mut Memory::default()), Move::Take);
    }

    #[test]
    fn a_holder_stops_before_a_candidate_may_take_over() {
        assert!(STOP_AFTER + LOOK_EVERY < TAKE_AFTER);
    }
}
