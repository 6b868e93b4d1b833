//! The reference page of configuration keys is what the table says.

use std::path::Path;

use ottla_core::config::reference_markdown;

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
