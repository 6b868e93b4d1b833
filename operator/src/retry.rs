//! How long to wait after a pass that failed: doubled with every failure in a row, up to a limit, and never the same for
//! all clusters at once, because what failed for one often failed for all.

use std::{
    collections::BTreeMap,
    hash::{BuildHasher as _, RandomState},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use kube::{Resource, ResourceExt as _};

/// After the first failure.
const FIRST: Duration = Duration::from_secs(1);
/// After many.
const LONGEST: Duration = Duration::from_secs(30);

/// How often in a row passes over each object failed.
#[derive(Debug, Default)]
pub struct Failures(Mutex<BTreeMap<String, u32>>);

impl Failures {
    /// Takes down a failure, and gives how long to wait before the next pass.
    pub fn after_another<K: Resource>(&self, object: &K) -> Duration {
        let mut failures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = failures.entry(object.uid().unwrap_or_default()).or_insert(0);
        *count = count.saturating_add(1);
        jittered(backoff(*count))
    }

    /// A pass got through.
    pub fn forget<K: Resource>(&self, object: &K) {
        let mut failures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        failures.remove(&object.uid().unwrap_or_default());
    }
}

/// A wait, and up to a quarter more by chance: what began at one moment for all does not stay in step.
#[must_use]
pub fn jittered(wait: Duration) -> Duration {
    wait + wait.mul_f64(share(RandomState::new().hash_one(wait)) / 4.0)
}

fn backoff(failures: u32) -> Duration {
    FIRST.saturating_mul(1 << failures.saturating_sub(1).min(8)).min(LONGEST)
}

/// A number from 0 to 1 out of random bits.
fn share(bits: u64) -> f64 {
    f64::from(u8::try_from(bits & 0xff).unwrap_or_default()) / 255.0
}

#[cfg(test)]
mod tests {
    use kube::api::ObjectMeta;

    use super::*;
    use crate::crd::{KafkaCluster, KafkaClusterSpec};

    fn object(uid: &str) -> KafkaCluster {
        let spec = serde_json::json!({"storage": {"size": "1Gi"}});
        KafkaCluster {
            metadata: ObjectMeta { uid: Some(uid.into()), ..ObjectMeta::default() },
            spec: serde_json::from_value::<KafkaClusterSpec>(spec).unwrap(),
            status: None,
        }
    }

    #[test]
    fn waits_that_begin_together_end_apart() {
        let wait = Duration::from_secs(300);
        let waits: Vec<_> = (0..32).map(|_| jittered(wait)).collect();
        assert!(waits.iter().all(|one| (wait..=wait.mul_f64(1.25)).contains(one)));
        assert!(waits.iter().any(|one| *one != waits[0]));
    }

    #[test]
    fn the_wait_grows_with_failures_in_a_row_to_its_limit() {
        let failures = Failures::default();
        for _ in 0..10 {
            failures.after_another(&object("a"));
        }
        assert!(failures.after_another(&object("a")) >= LONGEST);
        assert!(failures.after_another(&object("a")) <= LONGEST.mul_f64(1.25));
        assert!(failures.after_another(&object("b")) < 2 * FIRST, "each object by itself");
        failures.forget(&object("a"));
        assert!(failures.after_another(&object("a")) < 2 * FIRST);
    }
}
