//! House rules that neither the compiler nor clippy knows, for all crates of the workspace.
//!
//! Each test lists every place that breaks its rule, so that one run shows all there is to do.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Our crates: where each lies, and on which others of ours it may depend, then on which for tests only.
const CRATES: &[(&str, &str, &[&str], &[&str])] = &[
    ("broker/wire", "ottla-wire", &[], &[]),
    ("broker/client", "ottla-client", &["ottla-wire"], &[]),
    ("broker/config", "ottla-config", &[], &[]),
    ("broker/core", "ottla-core", &["ottla-config", "ottla-wire"], &["ottla-sim"]),
    ("broker/sim", "ottla-sim", &["ottla-core", "ottla-wire"], &[]),
    ("broker", "ottla", &["ottla-client", "ottla-core", "ottla-wire"], &["ottla-sim"]),
    ("operator", "ottla-operator", &["ottla-client", "ottla-config", "ottla-wire"], &[]),
    ("e2e", "e2e", &[], &["ottla-sim"]),
];

/// Crates of others that one of ours must not use.
const FORBIDDEN: &[(&str, &[&str], &str)] = &[
    ("broker/wire", &["tokio", "rustls", "raft", "rand"], "the wire is bytes in, bytes out"),
    (
        "broker/core",
        &[
            "tokio",
            "rustls",
            "rand",
            "getrandom",
            "tracing",
            "anyhow",
            "chrono",
            "jiff",
            "socket2",
            "rustix",
            "libc",
        ],
        "the core decides; it neither waits, nor reads clocks, nor touches the system",
    ),
    ("broker/sim", &["tokio", "rustls", "getrandom"], "one seed must repeat everything"),
    ("broker", &["kube", "k8s-openapi"], "the broker works without Kubernetes"),
    ("operator", &["raft"], "the operator speaks Kafka's protocol"),
    ("e2e", &["kube", "k8s-openapi"], "the harness drives kubectl, so that it builds at once"),
];

/// Words that name no thing. A file called so grows without limit.
const EMPTY_WORDS: &[&str] =
    &["common", "helper", "helpers", "impl", "impls", "manager", "misc", "util", "utils"];

/// A file over the first number is reported, one over the second fails. Tests are not counted.
const LINES_EXPLAINED: usize = 500;
const LINES_MAX: usize = 1000;

/// What the source of some folder must not say, and why.
const BANNED_TEXT: &[(&str, &[&str], &str)] = &[
    (
        "",
        &["todo!(", "unimplemented!(", "#[ignore]", "#[ignore =", "FIXME", "XXX:"],
        "finish it, or leave it out",
    ),
    (
        "broker/core/src",
        &[
            "std::fs",
            "std::net",
            "std::thread::",
            "std::env",
            "tokio::",
            "Instant::now",
            "SystemTime",
            "rand::",
            "HashMap",
            "HashSet",
        ],
        "time, randomness and bytes are arguments of the core",
    ),
    (
        "broker/src/api",
        &["crate::disk", "crate::peer", "std::fs"],
        "an API handler knows neither files nor peers",
    ),
    ("operator/src/cluster/desired", &["kube::Client", "Api<", "Api::"], "desired state is a pure function"),
    ("operator/src/cluster/validate.rs", &["kube::Client", "Api<", "Api::"], "validation is a pure function"),
    ("operator/src/cluster/identity.rs", &["kube::Client", "Api<", "Api::"], "identity is a pure function"),
    ("operator/src/cluster/quorum.rs", &["kube::Client", "Api<", "Api::"], "what is lost is a pure function"),
    ("operator/src/cluster/report.rs", &["kube::Client", "Api<", "Api::"], "a report is a pure function"),
    (
        "operator/src/cluster/properties.rs",
        &["kube::Client", "Api<", "Api::"],
        "rendering is a pure function",
    ),
    (
        "operator/src/topic/declared.rs",
        &["kube::Client", "Api<", "Api::"],
        "what is declared is a pure function",
    ),
    (
        "operator/src/topic/plan.rs",
        &["kube::Client", "Api<", "Api::"],
        "the plan of topics is a pure function",
    ),
    ("operator/src/topic/report.rs", &["kube::Client", "Api<", "Api::"], "what is said is a pure function"),
    ("operator/src/topic/news.rs", &["kube::Client", "Api<", "Api::"], "what is news is a pure function"),
    ("operator/src/apply/drift.rs", &["kube::Client", "Api<", "Api::"], "drift is a pure function"),
    ("operator/src/apply/foreign.rs", &["kube::Client", "Api<", "Api::"], "ownership is a pure function"),
    (
        "operator/src/cluster/rollout.rs",
        &["kube::Client", "Api<", "Api::"],
        "the rollout plan is a pure function",
    ),
];

/// The files of the broker that may know what time of day it is, and what for. All else goes by a clock that nobody can set:
/// no lease, session, time-out or order hangs on the other.
const WALL_CLOCK: &[(&str, &str)] = &[
    ("broker/core/src/time.rs", "what it is"),
    ("broker/src/clock.rs", "asks for it"),
    ("broker/core/src/log/segment/mod.rs", "how old a segment is whose records have no times (segment.ms)"),
    ("broker/core/src/log/append.rs", "the same, where the next one begins"),
    ("broker/core/src/shard/produce.rs", "the same, handed on"),
    ("broker/core/src/shard/follow.rs", "the same, of a follower"),
    ("broker/core/src/shard/future.rs", "the same, of a copy in another directory"),
    ("broker/src/drive/shard/thread.rs", "the same, asked for"),
    ("broker/src/drive/shard/copying.rs", "the same, asked for"),
    (
        "broker/src/api/produce.rs",
        "stamps records (message.timestamp.type), and refuses those from the future",
    ),
    (
        "broker/core/src/group/record/codec.rs",
        "when offsets were committed: the log keeps it, for coordinators to come (offsets.retention.minutes)",
    ),
    ("broker/core/src/group/offsets.rs", "the same: which of them have expired"),
    ("broker/core/src/group/request.rs", "the same, as a client says it (OffsetCommit 2 to 4)"),
    ("broker/core/src/group/coordinator.rs", "the same, handed on"),
    ("broker/core/src/group/host.rs", "the same, handed on"),
    ("broker/core/src/group/classic.rs", "the same: when a group became empty"),
    ("broker/src/drive/groups/coordinate.rs", "the same, asked for"),
    ("broker/src/api/offset_commit.rs", "the same, asked for"),
    ("broker/src/api/describe_quorum.rs", "tells people when a voter last fetched"),
];

#[test]
fn only_what_writes_times_down_knows_the_wall_clock() {
    let texts = ["Wall", "clock::wall", "SystemTime", "UNIX_EPOCH", ".modified()"];
    let is_broker = |name: &str| name.starts_with("broker/") && name.contains("/src/");
    let is_product = |name: &str| is_broker(name) && !name.starts_with("broker/sim/");
    let knows = |path: &&PathBuf| {
        let source = read(path);
        let mut code = source.lines().take(lines_without_tests(&source));
        code.any(|line| texts.iter().any(|text| says(line, text)))
    };
    let sources = sources();
    let product = sources.iter().filter(|path| is_product(&shown(path)) && !is_test_file(path));
    let knowing: BTreeSet<String> = product.filter(knows).map(|path| shown(path)).collect();
    let allowed: BTreeSet<String> = WALL_CLOCK.iter().map(|(name, _)| (*name).to_owned()).collect();
    let broken = knowing.difference(&allowed).map(|name| format!("{name} goes by the wall clock"));
    let stale = allowed.difference(&knowing).map(|name| format!("{name} does not: strike it off the list"));
    report(broken.chain(stale).collect());
}

#[test]
fn crates_depend_on_each_other_only_as_the_architecture_says() {
    let ours: BTreeSet<&str> = CRATES.iter().map(|(_, name, ..)| *name).collect();
    let mut broken = Vec::new();
    for (folder, name, allowed, allowed_in_tests) in CRATES {
        let manifest = read(&root().join(folder).join("Cargo.toml"));
        assert!(
            manifest.contains(&format!("name = \"{name}\"")),
            "{folder} is no longer {name}: update this test"
        );
        for (dependency, kind) in dependencies(&manifest) {
            let fine = allowed.contains(&dependency)
                || (kind == Kind::Test && allowed_in_tests.contains(&dependency));
            if ours.contains(dependency) && !fine {
                broken.push(format!("{name} must not depend on {dependency}"));
            }
        }
    }
    report(broken);
}

#[test]
fn every_crate_of_the_workspace_is_known_here() {
    let manifest = read(&root().join("Cargo.toml"));
    let members =
        manifest.lines().find_map(|line| line.strip_prefix("members = ")).expect("members on one line");
    let mut members: Vec<&str> = members.split('"').skip(1).step_by(2).collect();
    let mut known: Vec<&str> = CRATES.iter().map(|(folder, ..)| *folder).collect();
    members.sort_unstable();
    known.sort_unstable();
    assert_eq!(members, known, "a crate exists only if the compiler must refuse an import across it");
}

#[test]
fn crates_stay_away_from_what_is_not_theirs() {
    let mut broken = Vec::new();
    for (folder, forbidden, why) in FORBIDDEN {
        let manifest = read(&root().join(folder).join("Cargo.toml"));
        for (dependency, kind) in dependencies(&manifest) {
            if kind == Kind::Normal && forbidden.contains(&dependency) {
                broken.push(format!("{folder} uses {dependency}: {why}"));
            }
        }
    }
    report(broken);
}

#[test]
fn modules_are_named_after_things() {
    let mut broken = Vec::new();
    for path in sources() {
        let name = shown(&path);
        let words = name.trim_end_matches(".rs").split(['/', '_', '-']);
        for word in words.filter(|word| EMPTY_WORDS.contains(word)) {
            broken.push(format!("{name}: \"{word}\" names no thing"));
        }
    }
    report(broken);
}

#[test]
fn files_have_one_subject_and_end() {
    let mut broken = Vec::new();
    for path in sources().iter().filter(|path| !is_test_file(path)) {
        let lines = lines_without_tests(&read(path));
        if lines > LINES_MAX {
            broken.push(format!("{} has {lines} lines, tests not counted: split it", shown(path)));
        } else if lines > LINES_EXPLAINED {
            println!("{} has {lines} lines, tests not counted: is it one subject?", shown(path));
        }
    }
    report(broken);
}

#[test]
fn every_file_says_what_it_is_about() {
    let undocumented = |path: &&PathBuf| !is_test_file(path) && !read(path).starts_with("//!");
    report(
        sources()
            .iter()
            .filter(undocumented)
            .map(|path| format!("{} does not begin with //!", shown(path)))
            .collect(),
    );
}

#[test]
fn nothing_banned_is_said() {
    let mut broken = Vec::new();
    for path in sources() {
        let name = shown(&path);
        if name == "broker/tests/tidy.rs" {
            continue;
        }
        let source = read(&path);
        for (line, number) in source.lines().zip(1..) {
            for (folder, texts, why) in BANNED_TEXT {
                let found = texts.iter().find(|text| name.starts_with(folder) && says(line, text));
                broken.extend(found.map(|text| format!("{name}:{number}: {text} ({why})")));
            }
        }
    }
    report(broken);
}

#[test]
fn the_scanners_of_this_test_see_what_they_are_for() {
    let manifest = "[package]\nname = \"x\"\n[dependencies]\n# a comment\nbytes.workspace = true\nraft = \"0.7\"\n[dev-dependencies]\nottla-sim = { path = \"..\" }\n[lints]\nworkspace = true\n";
    let found: Vec<_> = dependencies(manifest).collect();
    assert_eq!(found, [("bytes", Kind::Normal), ("raft", Kind::Normal), ("ottla-sim", Kind::Test)]);
    assert_eq!(lines_without_tests("a\nb\n#[cfg(test)]\nmod tests {\nc\n}\n"), 2);
    assert_eq!(lines_without_tests("a\n#[cfg(test)]\nuse b;\nc\n"), 4, "only the module at the end is tests");
    assert!(says("    let x = std::fs::read(y);", "std::fs"));
    assert!(!says("    // std::fs is not for us", "std::fs"), "a comment may talk about it");
    assert!(!says("operand::parse(x)", "rand::"), "a longer word is another word");
    assert!(sources().len() > 50, "the sources are found");
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Normal,
    Test,
}

/// The names in the dependency tables of a manifest. Our manifests write one dependency a line.
fn dependencies(manifest: &str) -> impl Iterator<Item = (&str, Kind)> {
    let mut table = None;
    manifest.lines().filter_map(move |line| {
        if let Some(header) = line.trim().strip_prefix('[') {
            let header = header.trim_end_matches(']');
            table = match header.rsplit('.').next() {
                Some("dependencies" | "build-dependencies") if header != "workspace.dependencies" => {
                    Some(Kind::Normal)
                }
                Some("dev-dependencies") => Some(Kind::Test),
                Some(_) | None => None,
            };
            return None;
        }
        let name = line.split(['.', ' ', '=']).next()?;
        (!name.is_empty() && !name.starts_with('#')).then_some((name, table?))
    })
}

/// Whether a line of code, not of comment, contains a text that is not the end of a longer word.
fn says(line: &str, text: &str) -> bool {
    let code = line.split_once("//").map_or(line, |(code, _)| code);
    code.match_indices(text)
        .any(|(at, _)| !code[..at].ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_'))
}

fn lines_without_tests(source: &str) -> usize {
    let tests = source.find("#[cfg(test)]\nmod ").unwrap_or(source.len());
    source[..tests].lines().count()
}

fn is_test_file(path: &Path) -> bool {
    let name = shown(path);
    name.ends_with("/tests.rs") || name.contains("/tests/")
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).expect("a source file can be read")
}

/// Every Rust file of the workspace.
fn sources() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders: Vec<PathBuf> = ["broker", "operator", "e2e"].map(|top| root().join(top)).into();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder can be listed") {
            let path = entry.expect("a folder can be listed").path();
            if path.is_dir() && !path.ends_with("target") {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

#[track_caller]
fn report(broken: Vec<String>) {
    assert!(broken.is_empty(), "\n{}\n", broken.join("\n"));
}
