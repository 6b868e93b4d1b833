//! Consumer groups of the classic protocol: what Kafka's tools print of them is what they print of Apache Kafka's, the log
//! they are kept in is one that Kafka reads, and they outlive their coordinator.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::attached::Attached;
use e2e::command::{Answer, wait_until};
use e2e::figures::beside_kafka::Broker;
use e2e::kafka::Kafka;
use e2e::kcat::{self, Record};
use e2e::lane::broker::cluster::{self, Role};
use e2e::lane::broker::{self, Bench, story};
use e2e::server::Server;

const CONSUMER: &str = "org.apache.kafka.tools.consumer.ConsoleConsumer";
const CONSUMER_GROUPS: &str = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand";
const GROUPS: &str = "org.apache.kafka.tools.GroupsCommand";
const DUMP: &str = "org.apache.kafka.tools.DumpLogSegments";
const TOPIC: &str = "orders";
const RECORDS: usize = 300;
const LIMIT: Duration = Duration::from_secs(60);
const INTERVAL: Duration = Duration::from_millis(100);

/// What is asked of a broker whose group `readers` has read everything and is empty, and whose group `live` has a member.
const ASKED: [(&str, &str); 13] = [
    (CONSUMER_GROUPS, "--describe --group readers"),
    (CONSUMER_GROUPS, "--describe --group readers --state"),
    (CONSUMER_GROUPS, "--describe --group nobody"),
    (CONSUMER_GROUPS, "--describe --group live --members --verbose"),
    (CONSUMER_GROUPS, "--list --state"),
    (GROUPS, "--list"),
    (CONSUMER_GROUPS, "--reset-offsets --group live --topic orders --to-earliest --execute"),
    (CONSUMER_GROUPS, "--delete-offsets --group live --topic orders"),
    (CONSUMER_GROUPS, "--delete --group live"),
    (CONSUMER_GROUPS, "--reset-offsets --group readers --topic orders --to-offset 7 --execute"),
    (CONSUMER_GROUPS, "--delete-offsets --group readers --topic orders:1"),
    (CONSUMER_GROUPS, "--delete --group readers"),
    (CONSUMER_GROUPS, "--delete --group readers"),
];

/// A consumer that reads what comes, as a member of a group.
fn member(bench: &Bench, name: &str, address: &str, group: &str) -> Attached {
    let words = ["-b", address, "-G", group, "-X", "auto.offset.reset=earliest", "-K", "\t"];
    let words = words.into_iter().chain(["-X", "auto.commit.interval.ms=200", "-u", TOPIC]);
    bench.beside(name, "kcat", words.map(OsString::from).collect())
}

fn ask(kafka: &Kafka, address: &str, (class, words): (&str, &str)) -> Result<String> {
    let output = kafka.tool(class).args(["--bootstrap-server", address]).args(words.split(' ')).output()?;
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    Ok(said.concat())
}

/// What differs from run to run, or by where a broker listens, is the same in each: ids and addresses. A table's columns
/// are as wide as what is in them. What an error is counts, and not how it is put: ours says what to do.
fn normalized(text: &str, address: &str) -> String {
    let word = |word: &str| {
        let word = word.replace(address, "ADDRESS");
        match word.strip_prefix("rdkafka-") {
            Some(rest) if rest.len() == 36 => "rdkafka-UUID".to_owned(),
            Some(_) | None => word,
        }
    };
    let line = |line: &str| line.split_whitespace().map(word).collect::<Vec<_>>().join(" ");
    let kind = |line: &str| match line.rsplit_once("Exception: ") {
        Some((kind, _)) => format!("{kind}Exception"),
        None => line.to_owned(),
    };
    let mut lines: Vec<String> =
        text.lines().map(|text| line(&kind(text))).filter(|line| !line.is_empty()).collect();
    // Rows come in the order of a hash table.
    lines.sort();
    lines.join("\n")
}

/// Everything that is asked of one broker, with what is said.
fn story_of_tools(bench: &Bench, kafka: &Kafka, name: &str, server: &Server) -> Result<Vec<String>> {
    let address = server.address();
    broker::create_topic(address, TOPIC, 3, &[])?;
    bench.kcat.produce(address, TOPIC, &kcat::records(RECORDS))?;
    kafka
        .tool(CONSUMER)
        .args(["--bootstrap-server", address, "--topic", TOPIC, "--group", "readers", "--from-beginning"])
        .args(["--max-messages", &RECORDS.to_string(), "--timeout-ms", "30000"])
        .read()?;
    let mut live = member(bench, &format!("{name}-live"), address, "live");
    live.spawn()?;
    let mut said = Vec::new();
    wait_until("the live group is stable", LIMIT, INTERVAL, || {
        match ask(kafka, address, (CONSUMER_GROUPS, "--describe --group live --state")) {
            Ok(text) if text.contains("Stable") => Answer::Yes,
            Ok(text) => Answer::NotYet(text),
            Err(error) => Answer::Never(error.to_string()),
        }
    })?;
    for asked in ASKED {
        said.push(normalized(&ask(kafka, address, asked)?, address));
    }
    live.kill()?;
    Ok(said)
}

#[test]
fn kafkas_tools_print_of_our_groups_what_they_print_of_kafkas() -> Result<()> {
    story("groups-tools", |bench| {
        let kafka = bench.kafka()?;
        let mut theirs = Broker::Kafka(bench.kafka()?).prepare(&bench.path("kafka"))?;
        theirs.start()?;
        let expected = story_of_tools(bench, &kafka, "kafka", &theirs)?;
        theirs.kill()?;
        let mut ours = bench.dev("data")?;
        ours.start()?;
        let found = story_of_tools(bench, &kafka, "ours", &ours)?;
        for ((asked, expected), found) in ASKED.iter().zip(&expected).zip(&found) {
            ensure!(expected == found, "{asked:?}:\nApache Kafka:\n{expected}\n\nOttla:\n{found}");
        }
        ours.stop()?;
        kafka_reads_where_groups_are_kept(&kafka, &bench.path("data"))
    })
}

/// Every segment of `__consumer_offsets` that holds something.
fn segments(data: &Path) -> Result<Vec<PathBuf>> {
    let mut segments = Vec::new();
    for entry in fs::read_dir(data).context("list the data directory")? {
        let directory = entry.context("list the data directory")?.path();
        let name = directory.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let segment = directory.join("00000000000000000000.log");
        if name.starts_with("__consumer_offsets-") && segment.metadata().is_ok_and(|found| found.len() > 0) {
            segments.push(segment);
        }
    }
    Ok(segments)
}

fn kafka_reads_where_groups_are_kept(kafka: &Kafka, data: &Path) -> Result<()> {
    let mut text = String::new();
    for segment in segments(data)? {
        text += &kafka.tool(DUMP).args(["--offsets-decoder", "--files"]).arg(&segment).read()?;
    }
    for wanted in [
        "\"group\":\"readers\"",
        "\"group\":\"live\"",
        "\"protocolType\":\"consumer\"",
        "\"topic\":\"orders\"",
    ] {
        ensure!(text.contains(wanted), "DumpLogSegments does not print {wanted}:\n{text}");
    }
    ensure!(!text.contains("isvalid: false") && !text.contains("Found non"), "a complaint:\n{text}");
    Ok(())
}

fn lines(path: &Path) -> usize {
    fs::read_to_string(path).map_or(0, |text| text.lines().filter(|line| line.contains('\t')).count())
}

/// The node that coordinates a group.
fn coordinator(kafka: &Kafka, address: &str, group: &str) -> Result<usize> {
    let said = ask(kafka, address, (CONSUMER_GROUPS, &format!("--describe --group {group} --state")))?;
    let id = |word: &str| word.strip_prefix('(')?.strip_suffix(')')?.parse().ok();
    let id: Option<usize> = said.split_whitespace().find_map(id);
    id.filter(|id| *id > 0).with_context(|| format!("no coordinator in {said}"))
}

#[test]
fn a_group_outlives_its_coordinator() -> Result<()> {
    story("groups-failover", |bench| {
        let kafka = bench.kafka()?;
        let mut nodes = cluster::start(bench, &[Role::Combined, Role::Combined, Role::Combined])?;
        let all = nodes.iter().map(|node| node.server.address().to_owned()).collect::<Vec<_>>().join(",");
        broker::create_replicated_topic(nodes[0].server.address(), TOPIC, 3, 3, &[])?;
        let records = kcat::records(3 * RECORDS);
        let rounds: Vec<&[Record]> = records.chunks(RECORDS).collect();
        let mut members = [member(bench, "one", &all, "g"), member(bench, "two", &all, "g")];
        members.iter_mut().try_for_each(Attached::spawn)?;
        let read = || lines(&bench.path("one.out")) + lines(&bench.path("two.out"));
        let wait_for = |count: usize| {
            wait_until("the group has read everything", LIMIT, INTERVAL, || {
                if read() >= count { Answer::Yes } else { Answer::NotYet(format!("{} of {count}", read())) }
            })
        };
        bench.kcat.produce(&all, TOPIC, rounds[0])?;
        wait_for(RECORDS)?;
        let dead = coordinator(&kafka, &all, "g")? - 1;
        nodes[dead].server.kill()?;
        bench.kcat.produce(&all, TOPIC, rounds[1])?;
        wait_for(2 * RECORDS)?;
        ensure!(coordinator(&kafka, &all, "g")? - 1 != dead, "a dead node coordinates");
        nodes[dead].server.start()?;
        bench.kcat.produce(&all, TOPIC, rounds[2])?;
        wait_for(3 * RECORDS)?;
        // The last offsets are committed by and by.
        wait_until("nothing is left to read", LIMIT, INTERVAL, || {
            match ask(&kafka, &all, (CONSUMER_GROUPS, "--describe --group g")) {
                Ok(text) if lag(&text) == Some(0) => Answer::Yes,
                Ok(text) => Answer::NotYet(text),
                Err(error) => Answer::Never(error.to_string()),
            }
        })?;
        members.iter_mut().try_for_each(Attached::kill)?;
        thread::sleep(INTERVAL);
        let unread = kcat::lost(&records, &everything(bench)?);
        ensure!(unread.is_empty(), "{} records were not read: {unread:?}", unread.len());
        nodes.iter_mut().try_for_each(|node| node.server.kill())
    })
}

/// The sum of the LAG column; none if a row has none.
fn lag(text: &str) -> Option<u64> {
    let rows = text.lines().filter(|line| line.starts_with("g ") && line.contains(TOPIC));
    let lags: Vec<Option<u64>> = rows.map(|row| row.split_whitespace().nth(5)?.parse().ok()).collect();
    if lags.len() == 3 { lags.into_iter().sum() } else { None }
}

/// What both members have read.
fn everything(bench: &Bench) -> Result<Vec<Record>> {
    let mut read = Vec::new();
    for name in ["one.out", "two.out"] {
        let text = fs::read_to_string(bench.path(name)).with_context(|| format!("read {name}"))?;
        let pairs = text.lines().filter_map(|line| line.split_once('\t'));
        read.extend(pairs.map(|(key, value)| Record { key: key.to_owned(), value: value.to_owned() }));
    }
    Ok(read)
}
