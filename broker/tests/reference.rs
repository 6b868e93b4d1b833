//! The reference page of configuration keys is what the table says, and what the table says is so.

use std::path::{Path, PathBuf};

use ottla_core::config::{Support, broker_keys, reference_markdown, topic_keys};

#[test]
fn the_reference_page_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference/configuration.md");
    let wanted = reference_markdown();
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &wanted).expect("the page can be written");
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == wanted,
        "docs/reference/configuration.md is not current: run UPDATE=1 cargo test -p ottla --test reference"
    );
}

/// The text of every source file below a directory, but for tests and the table itself.
fn sources(directory: &Path) -> String {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(directory)
        .expect("readable")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    paths.sort();
    let mut text = String::new();
    for path in paths {
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        if name.contains("tests") || name.ends_with("_keys") || name.ends_with("_keys.rs") {
            continue;
        }
        if path.is_dir() {
            text.push_str(&sources(&path));
        } else if name.ends_with(".rs") {
            let file = std::fs::read_to_string(&path).expect("readable");
            text.push_str(file.split("#[cfg(test)]\nmod tests {").next().expect("a first part"));
        }
    }
    text
}

#[test]
fn every_key_that_is_said_to_have_an_effect_is_read_somewhere() {
    let broker = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text: String = ["src", "core/src", "config/src"].map(|part| sources(&broker.join(part))).concat();
    // What only gives a topic key its default is read with that key.
    let own = broker_keys().iter().filter(|key| key.default_of.is_none());
    let live = topic_keys().iter().chain(own).filter(|key| matches!(key.support, Support::Live));
    let unread: Vec<&str> =
        live.map(|key| key.name).filter(|name| !text.contains(&format!("\"{name}\""))).collect();
    assert_eq!(
        unread,
        Vec::<&str>::new(),
        "nobody reads them: their rows must say that they are without effect"
    );
}
