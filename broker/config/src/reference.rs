//! The reference page of all keys, made from the table.

use std::fmt::Write;

use super::key::{DefaultValue, Key, Support, Validator};
use super::{broker_keys, topic_keys};

const INTRODUCTION: &str = "\
# Configuration keys

This page is generated from the table in `broker/config`; do not edit it. How to set keys is told in
[configuration.md](../configuration.md).

Keys have the names, types and defaults of Apache Kafka 4.3 wherever Kafka has them, with two exceptions:
`flush.messages` (broker key `log.flush.interval.messages`) is 1, so that an acknowledged record is on disk, and
`log.dirs` has no default, since Kafka's is a temporary directory. Keys that start with `ottla.` are Ottla's own.

*Without effect* means that the key is accepted, kept and shown, so that tools and existing files go on working,
and changes nothing; a broker whose properties file sets such a key says so when it starts. *Default only* means
that any other value is refused, because ignoring it would mislead.
";

/// The reference page as Markdown.
pub fn reference_markdown() -> String {
    let mut page = INTRODUCTION.to_owned();
    page.push_str("\n## Topics\n\nSet on a topic, at any time. Where a topic does not set a key, the broker key named counts.\n");
    topic_keys().iter().for_each(|key| describe(&mut page, key, UpdateShown::No));
    page.push_str(
        "\n## Brokers and controllers\n\nSet in the properties file. Keys marked *cluster-wide* or *per-broker* can also be set while the cluster runs.\n",
    );
    broker_keys().iter().for_each(|key| describe(&mut page, key, UpdateShown::Yes));
    page
}

/// Whether the update mode is worth a word: topic keys always change at once.
#[derive(Clone, Copy, PartialEq, Eq)]
enum UpdateShown {
    Yes,
    No,
}

fn describe(page: &mut String, key: &Key, update: UpdateShown) {
    let doc = match key.default_of {
        Some(topic_key) => format!("What topics that do not set `{topic_key}` get. {}", key.doc),
        None => key.doc.to_owned(),
    };
    let mut facts = vec![key.kind.word().to_owned(), default(key)];
    if !matches!(key.validator, Validator::Any) {
        facts.push(key.wanted());
    }
    if update == UpdateShown::Yes {
        facts.push(key.update.word().to_owned());
    }
    facts.push(format!("importance {}", key.importance.word()));
    let names: Vec<String> = key.synonyms.iter().map(|synonym| format!("`{}`", synonym.name)).collect();
    let names = match names.as_slice() {
        [] => String::new(),
        names => format!(" Otherwise from {}.", names.join(", then ")),
    };
    let support = match key.support {
        Support::Live => String::new(),
        Support::Inert(why) => format!(" **Without effect:** {why}."),
        Support::DefaultOnly(why) => format!(" **Default only:** {why}."),
    };
    // Writing to a String cannot fail.
    let _ = write!(page, "\n### `{}`\n\n{doc}{names}{support}\n\n*{}*\n", key.name, facts.join("; "));
}

fn default(key: &Key) -> String {
    match key.default {
        DefaultValue::Required => "required".to_owned(),
        DefaultValue::Null => "no default".to_owned(),
        DefaultValue::Text("") => "default empty".to_owned(),
        DefaultValue::Text(text) => format!("default `{text}`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_has_its_heading() {
        let page = reference_markdown();
        for key in topic_keys().iter().chain(broker_keys()) {
            assert!(page.contains(&format!("\n### `{}`\n", key.name)), "{}", key.name);
        }
    }

    #[test]
    fn a_key_is_described_by_its_row() {
        let mut text = String::new();
        describe(&mut text, crate::topic_key("retention.ms").expect("a row"), UpdateShown::No);
        assert!(text.contains("Otherwise from `log.retention.ms`, then `log.retention.minutes`"), "{text}");
        assert!(text.contains("*long; default `604800000`; a whole number from -1 to"), "{text}");
        text.clear();
        describe(&mut text, crate::broker_key("authorizer.class.name").expect("a row"), UpdateShown::Yes);
        assert!(text.contains("**Default only:** authorization is not built yet"), "{text}");
    }
}
