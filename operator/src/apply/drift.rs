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
        // Lists of objects are merged by a key, so that others may add elements; lists of plain values are ours.
        (Value::Array(wanted), Value::Array(found)) if wanted.iter().all(Value::is_object) => {
            wanted.iter().enumerate().find_map(|(at, value)| {
                let there =
                    found.iter().any(|element| difference(String::new(), value, Some(element)).is_none());
                (!there).then(|| format!("{path}[{at}]"))
            })
        }
        (Value::String(left), Value::String(right)) if left != right => {
            let same = matches!((left.parse::<Quantity>(), right.parse::<Quantity>()), (Ok(left), Ok(right)) if left == right);
            (!same).then_some(path)
        }
        (wanted, found) if wanted == found => None,
        (wanted, found) => (!(is_empty(wanted) && is_empty(found))).then_some(path),
    }
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
