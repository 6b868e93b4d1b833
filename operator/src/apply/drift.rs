//! Whether what is there covers what is wanted. Pure.
//!
//! The API server adds defaults and others add fields; neither is drift. A wanted field that is missing or differs
//! is.

use serde_json::Value;

use crate::quantity::Quantity;

/// The path of the first wanted field that is not there as wanted.
#[must_use]
pub fn first_difference(wanted: &Value, found: &Value) -> Option<String> {
    difference(String::new(), wanted, Some(found))
}

fn difference(path: String, wanted: &Value, found: Option<&Value>) -> Option<String> {
    let Some(found) = found else { return (!is_empty(wanted)).then_some(path) };
    match (wanted, found) {
        (Value::Object(wanted), Value::Object(found)) => {
            wanted.iter().find_map(|(key, value)| difference(format!("{path}.{key}"), value, found.get(key)))
        }
        (Value::Array(wanted), Value::Array(found)) if wanted.iter().all(Value::is_object) => {
            if is_keyed(&path) { missing(&path, wanted, found) } else { other(path, wanted, found) }
        }
        (Value::String(left), Value::String(right)) if left != right => {
            let same = matches!((left.parse::<Quantity>(), right.parse::<Quantity>()), (Ok(left), Ok(right)) if left == right);
            (!same).then_some(path)
        }
        (wanted, found) if wanted == found => None,
        (wanted, found) => (!(is_empty(wanted) && is_empty(found))).then_some(path),
    }
}

/// Whether a list is merged by a key, so that others may add elements to it. All other lists are ours as a whole; in a
/// NetworkPolicy that is even the list of ports.
fn is_keyed(path: &str) -> bool {
    const KEYED: [&str; 9] = [
        "containers",
        "env",
        "imagePullSecrets",
        "initContainers",
        "ownerReferences",
        "ports",
        "topologySpreadConstraints",
        "volumeMounts",
        "volumes",
    ];
    let name = path.rsplit('.').next().unwrap_or_default();
    KEYED.contains(&name) && !is_exact(path)
}

/// Whether the API server adds no defaults below a path, so that any field that is not wanted was put there by hand. It
/// matters where a field that is added means more rights or fewer.
fn is_exact(path: &str) -> bool {
    path.starts_with(".spec.ingress") || path.ends_with(".tolerations")
}

/// The first wanted element that no element there covers.
fn missing(path: &str, wanted: &[Value], found: &[Value]) -> Option<String> {
    wanted.iter().enumerate().find_map(|(at, value)| {
        let there = found.iter().any(|element| difference(String::new(), value, Some(element)).is_none());
        (!there).then(|| format!("{path}[{at}]"))
    })
}

/// The first difference between two lists that should be the same, element by element.
fn other(path: String, wanted: &[Value], found: &[Value]) -> Option<String> {
    if wanted.len() != found.len() {
        return Some(path);
    }
    wanted.iter().zip(found).enumerate().find_map(|(at, (wanted, found))| {
        let here = format!("{path}[{at}]");
        let back = is_exact(&path).then(|| difference(here.clone(), found, Some(wanted))).flatten();
        difference(here, wanted, Some(found)).or(back)
    })
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.values().all(is_empty),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_others_add_is_no_drift() {
        let wanted = json!({"spec": {"ports": [{"port": 9092}], "cpu": "1000m", "labels": {}}});
        let found =
            json!({"spec": {"ports": [{"port": 1}, {"port": 9092, "protocol": "TCP"}], "cpu": "1", "x": 2}});
        assert_eq!(first_difference(&wanted, &found), None);
    }

    #[test]
    fn a_network_policy_that_somebody_widened_or_narrowed_is_drift() {
        let rule = |port: i32| json!({"ports": [{"port": port, "protocol": "TCP"}]});
        let policy = |rules: Value| json!({"spec": {"ingress": rules}});
        let wanted = policy(json!([rule(9092), rule(8090)]));
        assert_eq!(first_difference(&wanted, &wanted), None);
        let all = policy(json!([rule(9092), rule(8090), {}]));
        assert_eq!(first_difference(&wanted, &all).as_deref(), Some(".spec.ingress"));
        let mut two = rule(9092);
        two["ports"].as_array_mut().unwrap().push(json!({"port": 9090, "protocol": "TCP"}));
        let two = policy(json!([two, rule(8090)]));
        assert_eq!(first_difference(&wanted, &two).as_deref(), Some(".spec.ingress[0].ports"));
        let mut narrow = rule(9092);
        narrow["from"] = json!([{"podSelector": {"matchLabels": {"app": "x"}}}]);
        let narrow = policy(json!([narrow, rule(8090)]));
        assert!(first_difference(&wanted, &narrow).is_some());
    }

    #[test]
    fn a_list_without_a_key_is_ours_as_a_whole() {
        let pod = |tolerations: Value| json!({"spec": {"tolerations": tolerations}});
        let wanted = pod(json!([{"key": "a", "operator": "Exists"}]));
        let more = pod(json!([{"key": "a", "operator": "Exists"}, {"operator": "Exists"}]));
        assert_eq!(first_difference(&wanted, &more).as_deref(), Some(".spec.tolerations"));
    }

    #[test]
    fn what_is_missing_or_differs_is_named() {
        let wanted = json!({"spec": {"ports": [{"port": 9092}], "args": ["a"], "size": 3}});
        for (found, path) in [
            (json!({}), ".spec"),
            (json!({"spec": {"ports": [{"port": 9093}], "args": ["a"], "size": 3}}), ".spec.ports[0]"),
            (json!({"spec": {"ports": [{"port": 9092}], "args": ["a", "b"], "size": 3}}), ".spec.args"),
            (json!({"spec": {"ports": [{"port": 9092}], "args": ["a"], "size": 4}}), ".spec.size"),
        ] {
            assert_eq!(first_difference(&wanted, &found).as_deref(), Some(path), "{found}");
        }
    }
}
