//! The broker understands every properties file that the operator writes.
//!
//! Two crates that may not know each other have to agree on that file. The operator's golden files show what it
//! writes; the binary says whether it can use it.

use std::path::{Path, PathBuf};
use std::process::Command;

const KEY: &str = "server.properties: |";

/// Every `server.properties` of the operator's golden files, with the file it comes from.
fn properties_files() -> Vec<(PathBuf, String)> {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../operator/tests/golden");
    let mut found = Vec::new();
    for case in std::fs::read_dir(golden).expect("the operator has golden files") {
        let path = case.expect("a golden case").path().join("out.yaml");
        let Ok(text) = std::fs::read_to_string(&path) else { continue };
        found.extend(blocks(&text).into_iter().map(|block| (path.clone(), block)));
    }
    found
}

/// The literal blocks of YAML behind [`KEY`], without their indentation.
fn blocks(yaml: &str) -> Vec<String> {
    let lines: Vec<&str> = yaml.lines().collect();
    let starts = (0..lines.len()).filter(|at| lines[*at].trim_start().starts_with(KEY));
    let block = |start: usize| {
        let indent = lines.get(start + 1).map_or(0, |line| line.len() - line.trim_start().len());
        let inside = |line: &&&str| line.trim().is_empty() || line.len() - line.trim_start().len() >= indent;
        let body = lines[start + 1..].iter().take_while(inside);
        body.map(|line| line.get(indent..).unwrap_or_default()).collect::<Vec<_>>().join("\n")
    };
    starts.map(block).collect()
}

#[test]
fn the_broker_takes_what_the_operator_writes() {
    let directory = tempfile::tempdir().expect("a directory");
    let files = properties_files();
    assert!(files.len() >= 4, "the golden files are found: {}", files.len());
    for (origin, text) in files {
        let file = directory.path().join("server.properties");
        let text = text.replace("/var/lib/ottla", &directory.path().display().to_string());
        std::fs::write(&file, &text).expect("written");
        let output = Command::new(env!("CARGO_BIN_EXE_ottla"))
            .args(["storage", "format", "--no-initial-controllers", "-t", "AAAAAAAAAAAAAAAAAAAAAQ", "-c"])
            .arg(&file)
            .envs([("NODE_ID", "0"), ("POD_NAME", "pod-0"), ("POD_NAMESPACE", "default"), ("RACK", "")])
            .output()
            .expect("the binary runs");
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{}: {err}\n{text}", origin.display());
        assert!(!out.contains("is unknown"), "{}: {out}", origin.display());
        std::fs::remove_dir_all(directory.path().join("data")).expect("formatted");
    }
}
