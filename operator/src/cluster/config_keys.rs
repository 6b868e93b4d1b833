//! Which configuration keys a user may set, and with what.
//!
//! Owns the keys that belong to the operator and what to do instead of setting them. Which other keys exist and what
//! values they take is the broker's knowledge, shared as `ottla-config`.

use std::collections::BTreeMap;

use ottla_config::{BrokerSettingError, Settings, check_broker_setting, check_broker_settings_together};

/// Whether this operator knows every key of the release that the brokers run.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Release {
    /// It is the operator's own: a key that is unknown here is unknown there.
    Own,
    /// It may have keys of its own, which are passed on.
    Other,
}

/// Keys that describe a node or how nodes find each other; the operator sets them.
const OURS: &[(&str, &str)] = &[
    ("node.id", "a node's id is the ordinal of its pod: remove the key"),
    ("broker.id", "a node's id is the ordinal of its pod: remove the key"),
    ("broker.id.generation.enable", "a node's id is the ordinal of its pod: remove the key"),
    ("process.roles", "set controllers.replicas and controllers.placement instead"),
    ("log.dir", "set storage instead"),
    ("log.dirs", "set storage instead"),
    ("metadata.log.dir", "set storage instead"),
    ("listeners", "the operator gives each node its addresses: remove the key"),
    ("advertised.listeners", "the operator gives each node its addresses: remove the key"),
    ("listener.security.protocol.map", "the operator gives each node its listeners: remove the key"),
    ("inter.broker.listener.name", "the operator gives each node its listeners: remove the key"),
    ("security.inter.broker.protocol", "the operator gives each node its listeners: remove the key"),
    ("controller.listener.names", "the operator gives each node its listeners: remove the key"),
    ("controller.quorum.bootstrap.servers", "set controllers.replicas instead"),
    ("controller.quorum.voters", "set controllers.replicas instead"),
    (
        "cordoned.log.dirs",
        "set it on the broker itself while the cluster runs (kafka-configs.sh): remove the key",
    ),
    ("broker.rack", "the rack is the zone label of the Kubernetes node: remove the key"),
];

/// How a value quotes the environment of its pod.
const VARIABLE: &str = "${env:";
/// What there is to quote.
pub(super) const VARIABLES: [&str; 4] = ["NODE_ID", "POD_NAME", "POD_NAMESPACE", "RACK"];

/// Whether a user may set a key to a value; if not, what to do instead.
///
/// # Errors
/// The remedy.
pub fn check(key: &str, value: &str, release: Release) -> Result<(), String> {
    if key.starts_with("zookeeper.") {
        return Err("Ottla has no ZooKeeper mode and keeps metadata in its own controllers: remove the key"
            .to_owned());
    }
    if key.starts_with("ottla.") {
        return Err("the operator sets this key itself: remove it".to_owned());
    }
    if let Some((_, remedy)) = OURS.iter().find(|(ours, _)| *ours == key) {
        return Err((*remedy).to_owned());
    }
    if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte)) {
        return Err("not a key of Kafka: keys hold letters, digits, dots, hyphens and underscores".to_owned());
    }
    if value.chars().any(char::is_control) {
        return Err("a value must be one line of printable text".to_owned());
    }
    // A value filled in from the pod's environment is only known there. Anything else in braces is taken literally.
    if value.contains(VARIABLE) {
        return check_variables(value);
    }
    match (check_broker_setting(key, value), release) {
        (Ok(_), _) | (Err(BrokerSettingError::Unknown { .. }), Release::Other) => Ok(()),
        (Err(error @ BrokerSettingError::Unknown { meant: None, .. }), Release::Own) => {
            Err(format!("{error}: correct or remove it; docs/reference/configuration.md lists every key"))
        }
        (Err(error), Release::Own | Release::Other) => Err(error.to_string()),
    }
}

fn check_variables(value: &str) -> Result<(), String> {
    for after in value.split(VARIABLE).skip(1) {
        let variable = after.split_once('}').map(|(variable, _)| variable);
        if !variable.is_some_and(|variable| VARIABLES.contains(&variable)) {
            let known = VARIABLES.join(", ");
            return Err(format!(
                "a pod's environment has {known}, and is quoted as {VARIABLE}NODE_ID}}: correct it"
            ));
        }
    }
    Ok(())
}

/// Keys that are right one by one but not together, each with the rule it breaks.
pub fn check_together(config: &BTreeMap<String, String>) -> Vec<(&'static str, &'static str)> {
    let settings: Settings = config.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
    let broken = check_broker_settings_together(&settings);
    broken.into_iter().map(|broken| (broken.blamed(&settings), broken.rule)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_the_operator_are_refused_with_what_to_do_instead() {
        for (key, remedy) in OURS {
            assert_eq!(check(key, "x", Release::Own), Err((*remedy).to_owned()));
        }
        assert!(check("zookeeper.session.timeout.ms", "1", Release::Own).unwrap_err().contains("ZooKeeper"));
    }

    #[test]
    fn a_value_cannot_smuggle_in_another_line() {
        assert!(check("num.partitions", "3\nnode.id=7", Release::Own).is_err());
        assert!(check("a=b", "3", Release::Other).is_err());
        assert_eq!(check("num.partitions", "3", Release::Own), Ok(()));
    }

    #[test]
    fn a_value_may_quote_what_its_pod_has_and_nothing_else() {
        assert_eq!(check("num.partitions", "${env:NODE_ID}", Release::Own), Ok(()));
        for value in ["${env:NOPE}", "${env:NODE_ID", "${env:NODE_ID}${env:}", "${many}", "$many"] {
            assert!(check("num.partitions", value, Release::Own).is_err(), "{value}");
        }
    }

    /// What the operator refuses by name, the API server refuses at once.
    #[test]
    fn every_key_of_the_operator_is_refused_at_apply() {
        use kube::CustomResourceExt as _;
        let rules = serde_json::to_string(&crate::crd::KafkaCluster::crd()).unwrap();
        for (key, _) in OURS {
            assert!(rules.contains(&format!("!('{key}' in self)")), "no rule refuses {key}");
        }
    }

    #[test]
    fn right_values_may_be_wrong_together() {
        let config = BTreeMap::from([("broker.session.timeout.ms".to_owned(), "999".to_owned())]);
        let broken = check_together(&config);
        assert_eq!(broken.first().map(|(key, _)| *key), Some("broker.session.timeout.ms"));
        assert_eq!(check_together(&BTreeMap::new()), []);
    }

    #[test]
    fn the_brokers_own_rules_judge_the_rest() {
        assert!(check("num.partitions", "many", Release::Own).unwrap_err().contains("num.partitions"));
        assert!(check("num.partitons", "3", Release::Own).unwrap_err().contains("unknown"));
        assert_eq!(check("of.the.next.release", "3", Release::Other), Ok(()));
        let selector = |class| check("replica.selector.class", class, Release::Own);
        assert_eq!(selector("org.apache.kafka.common.replica.RackAwareReplicaSelector"), Ok(()));
        assert!(selector("com.example.Selector").unwrap_err().contains("RackAwareReplicaSelector"));
    }
}
