//! What is wrong with a properties file or a data directory is said before anything is touched, and `ottla storage`
//! answers as Kafka's StorageTool does.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::lane::broker::cluster::{self, Node, Role};
use e2e::lane::broker::{Bench, story};

/// What a properties file says wrongly, and what must be said of it: the line, the key, and what was wanted.
const WRONG: [(&str, &str, &str); 8] = [
    (
        "process.roles=broker,controller",
        "process.roles=broker,boss",
        "invalid value \"broker,boss\" for config \"process.roles\": wanted a comma-separated list of broker, controller",
    ),
    (
        "node.id=1",
        "node.id=-4",
        "invalid value \"-4\" for config \"node.id\": wanted a whole number from 0 to 2147483647",
    ),
    (
        "node.id=1",
        "node.id=1\nzookeeper.connect=localhost:2181",
        "config \"zookeeper.connect\" belongs to ZooKeeper mode: Ottla runs in KRaft mode only, with process.roles, \
         node.id and controller.quorum.bootstrap.servers",
    ),
    (
        "node.id=1",
        "node.id=1\nnum.io.threads=many",
        "invalid value \"many\" for config \"num.io.threads\": wanted a whole number from 1 to 2147483647",
    ),
    (
        "node.id=1",
        "node.id=1\nlog.segment.bytes=12",
        "invalid value \"12\" for config \"log.segment.bytes\": wanted a whole number from 1048576 to 2147483647",
    ),
    (
        "node.id=1",
        "node.id=1\nnum.partitions=${env:OTTLA_NO_SUCH_VARIABLE}",
        "config \"num.partitions\" asks for the environment variable \"OTTLA_NO_SUCH_VARIABLE\", which is not set",
    ),
    ("listeners=PLAINTEXT://", "listeners=PLAINTEXT:", "is not NAME://HOST:PORT"),
    ("controller.listener.names=CONTROLLER", "controller.listener.names=", "controller.listener.names"),
];

/// Every file below a directory with its content.
fn files(directory: &Path) -> Result<BTreeMap<PathBuf, Vec<u8>>> {
    let mut found = BTreeMap::new();
    let entries = fs::read_dir(directory).with_context(|| format!("list {}", directory.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(files(&path)?);
        } else {
            let content = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
            found.insert(path, content);
        }
    }
    Ok(found)
}

/// One combined node whose directory is formatted.
fn formatted(bench: &Bench) -> Result<Node> {
    cluster::format(bench, &[Role::Combined])?.pop().context("one was asked for")
}

fn said(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned()).concat()
}

/// Runs `ottla` to its end, for at most 20 s: one that starts in spite of everything must not run for ever.
fn run(bench: &Bench, words: &[&str], file: &Path) -> Result<Output> {
    bench.ottla_within(20, words).arg(file).output()
}

#[test]
fn a_bad_property_is_named_with_its_line_and_nothing_is_touched() -> Result<()> {
    story("refused-properties", |bench| {
        let node = formatted(bench)?;
        let good = fs::read_to_string(&node.properties).context("read the properties")?;
        let bad = bench.path("bad.properties");
        for (right, wrong, wanted) in WRONG {
            ensure!(good.contains(right), "the example has no {right}");
            let text = good.replacen(right, wrong, 1);
            fs::write(&bad, &text).context("write the bad properties")?;
            let line = 1 + text.lines().zip(good.lines()).take_while(|(now, before)| now == before).count();
            let before = files(&bench.path("node-1"))?;
            let id = "AAAAAAAAAAAAAAAAAAAAAQ";
            for words in [
                &["server"][..],
                &["pod"],
                &["storage", "format", "--standalone", "-t", id, "-c"],
                &["storage", "info", "-c"],
            ] {
                let output = run(bench, words, &bad)?;
                let said = said(&output);
                ensure!(output.status.code() == Some(2), "{words:?} with {wrong}: {}\n{said}", output.status);
                let line = said.lines().find(|text| text.contains(&format!("line {line}: ")));
                let line = line.with_context(|| format!("{words:?}: no line is named:\n{said}"))?;
                ensure!(line.contains(wanted), "{words:?}: wanted {wanted:?}, not\n{said}");
            }
            ensure!(files(&bench.path("node-1"))? == before, "{wrong}: a file was touched");
        }
        Ok(())
    })
}

#[test]
fn a_directory_of_another_node_or_cluster_is_refused_and_left_alone() -> Result<()> {
    story("refused-directories", |bench| {
        let node = formatted(bench)?;
        let directory = bench.path("node-1");
        let good = fs::read_to_string(&node.properties).context("read the properties")?;
        let changed = bench.path("changed.properties");
        let before = files(&directory)?;
        let refuse = |words: &[&str], text: String, wanted: &str| -> Result<()> {
            fs::write(&changed, text).context("write the properties")?;
            let output = run(bench, words, &changed)?;
            let said = said(&output);
            ensure!(output.status.code() == Some(1), "{words:?}: {}\n{said}", output.status);
            ensure!(said.contains(wanted), "{words:?}: wanted {wanted:?}, not\n{said}");
            // A lock file is no data.
            let after: BTreeMap<_, _> =
                files(&directory)?.into_iter().filter(|(path, _)| !path.ends_with(".lock")).collect();
            ensure!(after == before, "{words:?}: a file was touched");
            Ok(())
        };
        let other_node = good.replacen("node.id=1", "node.id=2", 1);
        refuse(&["server"], other_node.clone(), "belongs to node 1, but node.id is 2")?;
        let id = "AAAAAAAAAAAAAAAAAAAAAQ";
        let format = ["storage", "format", "--standalone", "--ignore-formatted", "-t", id, "-c"];
        refuse(&format, other_node, "node 1")?;
        refuse(&format, good.clone(), id)?;
        let again = ["storage", "format", "--standalone", "-t", id, "-c"];
        refuse(&again, good.clone(), "")?;
        let empty = good.replacen("/node-1\n", "/nothing-here\n", 1);
        refuse(&["server"], empty, "is not formatted; run \"ottla storage format\" first")?;

        // Two directories, each of another cluster.
        let second = good.replacen("/node-1\n", "/second\n", 1);
        fs::write(&changed, second).context("write the properties")?;
        let made = run(bench, &["storage", "format", "--standalone", "-t", id, "-c"], &changed)?;
        ensure!(made.status.success(), "{}", said(&made));
        let both = format!("/node-1,{}\n", bench.path("second").display());
        refuse(&["server"], good.replacen("/node-1\n", &both, 1), "belongs to cluster")
    })
}

#[test]
fn a_broker_of_another_cluster_is_turned_away_by_the_controllers() -> Result<()> {
    story("refused-cluster", |bench| {
        let mut nodes = cluster::format(bench, &[Role::Controller, Role::Broker])?;
        fs::remove_dir_all(bench.path("node-2")).context("remove a directory")?;
        let id = "AAAAAAAAAAAAAAAAAAAAAQ";
        let made = run(bench, &["storage", "format", "-t", id, "-c"], &nodes[1].properties)?;
        ensure!(made.status.success(), "{}", said(&made));
        cluster::spawn_all(&mut nodes)?;
        let status = nodes[1].server.wait_until_it_ends(Duration::from_secs(60))?;
        let log = nodes[1].server.log()?;
        ensure!(status.code() == Some(1), "{status}\n{log}");
        let reason = "the controller refuses this broker: the broker belongs to another cluster";
        ensure!(log.contains(reason), "the reason is not said:\n{log}");
        bench.expect_error(reason);
        nodes[0].server.stop()
    })
}

#[test]
fn storage_answers_as_kafkas_tool_does() -> Result<()> {
    story("storage-tool", |bench| {
        let kafka = bench.kafka()?;
        let node = formatted(bench)?;
        let theirs = |words: &[&str]| -> Result<Output> {
            kafka.tool("kafka.tools.StorageTool").args(words).arg(&node.properties).output()
        };
        let lines = |output: &Output| -> Vec<String> {
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
        };
        let info = ["storage", "info", "-c"];
        let (ours, kafkas) = (run(bench, &info, &node.properties)?, theirs(&info[1..])?);
        ensure!(lines(&ours) == lines(&kafkas), "info: ours {ours:?}, Kafka's {kafkas:?}");
        ensure!(ours.status.code() == Some(0) && kafkas.status.code() == Some(0), "{ours:?} {kafkas:?}");

        let cluster = lines(&ours).last().cloned().context("no answer")?;
        let (_, cluster) = cluster.split_once("cluster.id=").context("no cluster id")?;
        let cluster = cluster.split(',').next().unwrap_or_default();
        let again = ["storage", "format", "--standalone", "-t", cluster, "-c"];
        let (ours, kafkas) = (run(bench, &again, &node.properties)?, theirs(&again[1..])?);
        ensure!(ours.status.code() == kafkas.status.code(), "format: ours {ours:?}, Kafka's {kafkas:?}");
        for said in [said(&ours), said(&kafkas)] {
            ensure!(said.contains("is already formatted"), "{said}");
            ensure!(said.contains("--ignore-formatted"), "{said}");
        }
        let ignored = ["storage", "format", "--standalone", "--ignore-formatted", "-t", cluster, "-c"];
        let (ours, kafkas) = (run(bench, &ignored, &node.properties)?, theirs(&ignored[1..])?);
        ensure!(lines(&ours).last() == lines(&kafkas).last(), "ours {ours:?}, Kafka's {kafkas:?}");

        let mut drawn = vec![kafka.tool("kafka.tools.StorageTool").arg("random-uuid").read()?];
        for _ in 0..20 {
            drawn.push(bench.ottla(&["storage", "random-uuid"]).read()?);
        }
        for id in &drawn {
            let text = id.trim_end();
            let fine = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
            ensure!(text.len() == 22 && text.chars().all(fine) && !text.starts_with('-'), "{id:?}");
        }
        drawn.sort();
        drawn.dedup();
        ensure!(drawn.len() == 21, "an id was drawn twice");
        Ok(())
    })
}
