//! What Ottla writes to disk is Kafka's format: Kafka's DumpLogSegments reads segments, offset indexes and time
//! indexes of a log of several segments and all codecs without a complaint.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use e2e::kafka::Kafka;
use e2e::kcat::Record;
use e2e::lane::broker::{self, Bench, story};

const DUMP: &str = "org.apache.kafka.tools.DumpLogSegments";
const CODECS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];
/// Per codec; with values of hard-to-compress text they fill several segments.
const RECORDS: usize = 6_000;

/// Records whose values repeat little, so that also a compressed log has several segments.
fn records(codec: &str) -> Vec<Record> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut word = || {
        // xorshift64: any stream of bits that no codec can guess.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let record = |number: usize| {
        let noise: String = (0..12).map(|_| format!("{:016x}", word())).collect();
        Record { key: format!("{codec}-{number}"), value: format!("{codec} {number} {noise}") }
    };
    (0..RECORDS).map(record).collect()
}

fn produce(bench: &Bench, address: &str, codec: &str) -> Result<()> {
    let kcat = bench.kcat.with(&format!("compression.codec={codec}")).with("batch.size=32768");
    kcat.produce(address, "log", &records(codec))
}

/// The files of a log with this suffix, the oldest first.
fn files(log: &Path, suffix: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(log).with_context(|| format!("list {}", log.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == suffix) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Everything that DumpLogSegments says of some files.
fn dump(kafka: &Kafka, files: &[PathBuf], options: &[&str]) -> Result<String> {
    let list = files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>().join(",");
    let output = kafka.tool(DUMP).args(options).args(["--files", &list]).output()?;
    let said =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    ensure!(output.status.success(), "DumpLogSegments: {}\n{said}", output.status);
    Ok(said)
}

/// Every line that is a complaint but the tool's one false one: of each segment but the first it says that its base
/// offset follows -1.
fn complaints(said: &str) -> Vec<String> {
    const WORDS: [&str; 8] =
        ["Exception", "Error", "Found", "ismatch", "orrupt", "isvalid: false", "nvalid", "is followed by"];
    const GAPS: &str = "Non-consecutive offsets in ";
    let mut base = "";
    let mut found = Vec::new();
    for line in said.lines() {
        if let Some(path) = line.strip_prefix(GAPS) {
            let name = Path::new(path).file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
            base = name.trim_start_matches('0');
        } else if !base.is_empty() && line.trim() == format!("-1 is followed by {base}") {
            base = "";
        } else if WORDS.iter().any(|word| line.contains(word)) {
            found.push(line.to_owned());
        }
    }
    found
}

#[test]
fn kafkas_own_tool_reads_every_file_of_a_log_without_a_complaint() -> Result<()> {
    story("dump-log", |bench| {
        let kafka = bench.kafka()?;
        let mut server = bench.dev("data")?;
        server.start()?;
        let configs = [("segment.bytes", "1048576"), ("index.interval.bytes", "1024")];
        broker::create_topic(server.address(), "log", 1, &configs)?;
        for codec in CODECS {
            produce(bench, server.address(), codec)?;
        }
        server.stop()?;
        let log = bench.path("data/log-0");
        check_segments(&kafka, &log)?;
        for suffix in ["index", "timeindex"] {
            check_indexes(&kafka, &log, suffix)?;
        }
        check_small_files(&log)
    })
}

fn check_segments(kafka: &Kafka, log: &Path) -> Result<()> {
    let segments = files(log, "log")?;
    ensure!(segments.len() > 4, "only {} segments: the test shows little", segments.len());
    let said = dump(kafka, &segments, &["--deep-iteration"])?;
    let bad = complaints(&said);
    ensure!(bad.is_empty(), "{bad:#?}");
    for codec in CODECS {
        ensure!(said.contains(&format!("compresscodec: {codec} ")), "no batch of {codec} is in the dump");
    }
    let offsets = said.lines().filter_map(|line| line.strip_prefix("| offset: ")?.split(' ').next());
    let offsets: Vec<usize> = offsets.map(str::parse).collect::<Result<_, _>>()?;
    ensure!(offsets.len() == RECORDS * CODECS.len(), "{} records are in the dump", offsets.len());
    ensure!(offsets.iter().copied().eq(0..offsets.len()), "the offsets are not those from 0 on");
    Ok(())
}

fn check_indexes(kafka: &Kafka, log: &Path, suffix: &str) -> Result<()> {
    let (indexes, segments) = (files(log, suffix)?, files(log, "log")?.len());
    ensure!(indexes.len() == segments, "{} of .{suffix}, {segments} segments", indexes.len());
    for options in [&["--index-sanity-check"][..], &["--verify-index-only"], &[]] {
        let said = dump(kafka, &indexes, options)?;
        let bad = complaints(&said);
        ensure!(bad.is_empty(), "{options:?} of .{suffix}: {bad:#?}");
        match options {
            ["--index-sanity-check"] => {
                let passed = said.matches(" passed sanity check.").count();
                ensure!(passed == segments, "{passed} of {segments} passed:\n{said}");
            }
            [] => ensure!(said.lines().count() > 5 * segments, "too few entries:\n{said}"),
            _ => {}
        }
    }
    Ok(())
}

/// What DumpLogSegments does not read: files of text whose format Kafka documents by its code.
fn check_small_files(log: &Path) -> Result<()> {
    let read = |name: &str| fs::read_to_string(log.join(name)).with_context(|| format!("read {name}"));
    let epochs = read("leader-epoch-checkpoint")?;
    let epochs: Vec<&str> = epochs.lines().collect();
    ensure!(epochs.first() == Some(&"0") && epochs.get(1) == Some(&"1"), "epochs: {epochs:?}");
    ensure!(
        epochs.get(2).is_some_and(|line| line.ends_with(" 0")),
        "the first epoch begins at 0: {epochs:?}"
    );
    let metadata = read("partition.metadata")?;
    let lines: Vec<&str> = metadata.lines().collect();
    ensure!(lines.first() == Some(&"version: 0"), "partition.metadata: {metadata}");
    ensure!(
        lines.get(1).is_some_and(|line| line.starts_with("topic_id: ")),
        "partition.metadata: {metadata}"
    );
    Ok(())
}

#[test]
fn a_gap_is_a_complaint_but_not_the_one_before_a_later_segment() {
    let gaps = "Non-consecutive offsets in /x/00000000000000000007.log\n  -1 is followed by 7\n";
    assert!(complaints(gaps).is_empty());
    assert_eq!(complaints(&format!("{gaps}  9 is followed by 11\n")), ["  9 is followed by 11"]);
    let first = "Non-consecutive offsets in /x/00000000000000000000.log\n  -1 is followed by 0\n";
    assert_eq!(complaints(first).len(), 1);
    assert_eq!(complaints("Found timestamp mismatch in :x\n").len(), 1);
}
