//! What can be refused is refused at `kubectl apply`, with a message that names field, value and remedy.
//!
//! The tables lie in `tests/manifests`: a case is a title, a manifest (after `---` the change that is judged)
//! and, after `#>`, what the API server must say of it, word for word. `UPDATE=1` writes down what it says.

use std::path::{Path, PathBuf};
use std::{env, fs};

use anyhow::{Context, Result, ensure};
use e2e::lane::api::{ApiLane, Verdict};

/// Both tables have more.
const CASES_MIN: usize = 10;

struct Case {
    title: String,
    manifests: String,
    said: String,
}

fn table(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/manifests").join(name)
}

fn parse(text: &str) -> Vec<Case> {
    let blocks = text.split("\n\n").filter(|block| !block.trim().is_empty());
    blocks
        .map(|block| {
            let part =
                |wanted: fn(&&str) -> bool| block.lines().filter(wanted).collect::<Vec<_>>().join("\n");
            Case {
                title: part(|line| line.starts_with("# ")),
                manifests: part(|line| !line.starts_with('#')),
                said: part(|line| line.starts_with("#>")),
            }
        })
        .collect()
}

fn judge(lane: &ApiLane, case: &Case) -> Result<String> {
    lane.kubectl.read(&["delete", "kafkacluster,kafkatopic", "--all", "--wait=true"])?;
    let verdict = match case.manifests.split_once("\n---\n") {
        Some((before, change)) => {
            let kept = lane.keep(before)?;
            ensure!(kept == Verdict::Accepted, "{}: {kept:?}", case.title);
            lane.judge(change)?
        }
        None => lane.judge(&case.manifests)?,
    };
    let text = match verdict {
        Verdict::Accepted => "accepted".to_owned(),
        Verdict::Refused(text) => text,
    };
    Ok(text.lines().map(|line| format!("#> {}", line.trim_end())).collect::<Vec<_>>().join("\n"))
}

fn every_case_is_judged_as_written(lane: &ApiLane, name: &str) -> Result<()> {
    let path = table(name);
    let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let cases = parse(&text);
    // A table that is empty, or split in the wrong places, would agree with anything.
    ensure!(cases.len() >= CASES_MIN, "{name}: only {} cases", cases.len());
    let judged = cases.iter().map(|case| judge(lane, case)).collect::<Result<Vec<_>>>()?;
    if env::var_os("UPDATE").is_some() {
        let blocks = cases.iter().zip(&judged);
        let blocks = blocks.map(|(case, said)| format!("{}\n{}\n{said}\n", case.title, case.manifests));
        fs::write(&path, blocks.collect::<Vec<_>>().join("\n")).context("write down what was said")?;
        return Ok(());
    }
    for (case, said) in cases.iter().zip(&judged) {
        assert_eq!(said, &case.said, "{name}: {}", case.title);
    }
    Ok(())
}

/// One test for both kinds: they share the API server's namespace.
#[test]
fn good_and_bad_manifests_are_judged_as_written() -> Result<()> {
    let lane = ApiLane::ensure()?;
    every_case_is_judged_as_written(&lane, "kafkacluster.yaml")?;
    every_case_is_judged_as_written(&lane, "kafkatopic.yaml")
}
