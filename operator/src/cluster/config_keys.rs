//! Which configuration keys a user may set, and with what.
//!
//! Owns the keys that belong to the operator and what to do instead of setting them. Which keys exist and what
//! values they take is the broker's knowledge: `config_keys.json` is written by a test of the broker's own table.

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
    ("broker.rack", "the rack is the zone label of the Kubernetes node: remove the key"),
];

/// Whether a user may set a key to a value; if not, what to do instead.
///
/// # Errors
/// The remedy.
pub fn check(key: &str, value: &str) -> Result<(), String> {
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
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_the_operator_are_refused_with_what_to_do_instead() {
        for (key, remedy) in OURS {
            assert_eq!(check(key, "x"), Err((*remedy).to_owned()));
        }
        assert!(check("zookeeper.session.timeout.ms", "1").unwrap_err().contains("ZooKeeper"));
    }

    #[test]
    fn a_value_cannot_smuggle_in_another_line() {
        assert!(check("num.partitions", "3\nnode.id=7").is_err());
        assert!(check("a=b", "3").is_err());
        assert_eq!(check("num.partitions", "3"), Ok(()));
    }
}
