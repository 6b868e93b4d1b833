//! One test: librdkafka's runner as a process, the topics it expects, a limit of time, and the verdict.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::Value;

use super::catalogue::{Test, Topics};
use super::verdicts::Verdict;
use crate::attached::Attached;
use crate::faults::cluster::{self, Cluster, NODES};
use crate::librdkafka::Librdkafka;
use crate::wire;

/// How long a test may take; the longest is given 120 s by its authors.
const LIMIT: Duration = Duration::from_secs(180);
/// How often we look for new names of topics. Brokers that make topics take longer.
const INTERVAL: Duration = Duration::from_millis(10);
/// Waits of the tests are so much longer than their authors thought: both products share a small machine with the test.
const PATIENCE: &str = "2";
/// The release of Kafka that the tests are told of: what they expect does not differ between it and the newest.
const KAFKA_VERSION: &str = "4.1.0";
/// As `num.partitions` is in librdkafka's own clusters.
const PARTITIONS: u32 = 4;
/// How much of what a test said about its failure is kept.
const LINE_CHARACTERS_MAX: usize = 200;

/// What running tests takes.
#[derive(Debug)]
pub struct Stand<'a> {
    /// The built release.
    pub release: &'a Librdkafka,
    /// Where what the tests say is kept.
    pub directory: &'a Path,
}

impl Stand<'_> {
    /// Runs a test. An error is the rig's own, not the test's.
    pub fn run(&self, test: &Test, topics: Topics) -> Result<Verdict> {
        let place = self.directory.join(test.label().replace(' ', "-"));
        fs::create_dir_all(&place).with_context(|| format!("create {}", place.display()))?;
        let configuration =
            format!("bootstrap.servers={}\ntest.timeout.multiplier={PATIENCE}\n", Cluster::bootstrap());
        let file = place.join("test.conf");
        fs::write(&file, configuration).with_context(|| format!("write {}", file.display()))?;
        let (report, errors) = (place.join("report.json"), place.join("errors.log"));
        let mut process = Attached::new(
            &test.label(),
            "env".into(),
            self.words(test, topics, &place),
            place.join("out.log"),
        )
        .with_errors_in(errors.clone());
        process.spawn()?;
        let mut output = Output { path: errors.clone(), read: 0 };
        let deadline = Instant::now() + LIMIT;
        while process.check_alive().is_ok() {
            for name in topic_names(&output.new_lines()?).into_iter().filter(|name| topics.makes(name)) {
                make(name)?;
            }
            if Instant::now() > deadline {
                process.kill()?;
                return Ok(Verdict::Failed(format!("it did not end within {} s", LIMIT.as_secs())));
            }
            thread::sleep(INTERVAL);
        }
        let status = process.wait_until_it_ends(INTERVAL)?;
        let read = |path: &Path| fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        Ok(verdict(test, status, &read(&report).unwrap_or_default(), &read(&errors)?))
    }

    fn words(&self, test: &Test, topics: Topics, place: &Path) -> Vec<OsString> {
        let mut words: Vec<OsString> = ["--chdir".into(), place.into()].into();
        let mut set = |name: &str, value: &str| words.push(format!("{name}={value}").into());
        set("LD_LIBRARY_PATH", &self.release.libraries());
        set("TEST_KAFKA_VERSION", KAFKA_VERSION);
        set("TEST_REPORT", "report.json");
        set("TESTS", test.number());
        if let Some(part) = test.part {
            // The name of a part is followed by its line.
            set("SUBTESTS", &format!("{part}:"));
        }
        if topics == Topics::Refused {
            set("TEST_SCENARIO", "noautocreate");
        }
        words.push(self.release.runner().into());
        words.extend(["-L", "-p1"].map(OsString::from));
        // What is a part of a test in its full mode may be left out in its quick one.
        words.extend(test.part.is_none().then(|| OsString::from("-Q")));
        words
    }
}

impl Topics {
    /// Whether it is for us to make a topic of this name.
    fn makes(self, name: &str) -> bool {
        match self {
            Self::Named => true,
            Self::NamedBut(part) => !name.contains(part),
            Self::Own | Self::Refused => false,
        }
    }
}

/// A file that grows.
struct Output {
    path: PathBuf,
    read: u64,
}

impl Output {
    /// The whole lines that came since the last time.
    fn new_lines(&mut self) -> Result<String> {
        let mut bytes = Vec::new();
        File::open(&self.path)
            .and_then(|mut file| {
                file.seek(SeekFrom::Start(self.read))?;
                file.read_to_end(&mut bytes)
            })
            .with_context(|| format!("read {}", self.path.display()))?;
        let end = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
        bytes.truncate(end);
        self.read += u64::try_from(end)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

/// The names of topics that a test says it will use.
fn topic_names(text: &str) -> Vec<&str> {
    let lines = text.lines().filter_map(|line| line.split_once("Using topic \""));
    lines.filter_map(|(_, rest)| rest.split_once('"')).map(|(name, _)| name).collect()
}

fn make(name: &str) -> Result<()> {
    /// An earlier test has named it, too; or its name is what is wrong with it, and the test wants to see that.
    const HARMLESS: [&str; 2] = ["error 36:", "error 17:"];
    let replicas = u16::try_from(NODES.len())?;
    let request = wire::create_topic(name, PARTITIONS, replicas, &[]);
    let made = wire::send(&cluster::address(NODES[0]), &request).and_then(|answer| wire::created(&answer));
    match made {
        Err(error) if HARMLESS.iter().any(|code| error.to_string().starts_with(code)) => Ok(()),
        other => other.with_context(|| format!("make the topic {name}")),
    }
}

fn verdict(test: &Test, status: ExitStatus, report: &str, errors: &str) -> Verdict {
    let errors = plain(errors);
    let report: Value = serde_json::from_str(report).unwrap_or_default();
    let state = report["tests"][test.name]["state"].as_str().unwrap_or("lost");
    let line = |marker: &str| {
        let mut lines = errors.lines().skip_while(|line| !line.contains(marker));
        let found = (lines.next(), lines.next());
        found.0.map(|line| (shortened(line), shortened(found.1.unwrap_or_default())))
    };
    if state == "SKIPPED" {
        let why = line("SKIPPING TEST: ").map(|(line, _)| line).unwrap_or_default();
        return Verdict::Skipped(why.split_once("SKIPPING TEST: ").map_or("", |(_, why)| why).to_owned());
    }
    if state == "PASSED" && status.success() {
        return match test.part {
            Some(part) if !errors.contains(&format!("[ {part}:")) => {
                Verdict::Failed("there is no such part any more".to_owned())
            }
            _ => Verdict::Passed,
        };
    }
    // Also where a test passed and left threads behind.
    Verdict::Failed(line("### Test \"").map_or_else(
        || {
            let last = errors.lines().last().map(shortened).unwrap_or_default();
            format!("its state was {state} and it ended with {status}: {last}")
        },
        |(place, what)| {
            let place = place.split_once(" failed at ").map_or("", |(_, place)| place);
            let place = place.split_once(" at ").map_or(place, |(place, _)| place);
            format!("{place}: {what}")
        },
    ))
}

fn shortened(line: &str) -> String {
    line.trim().chars().take(LINE_CHARACTERS_MAX).collect()
}

/// Without the colours of a terminal.
fn plain(text: &str) -> String {
    let mut pieces = text.split('\x1b');
    let first = pieces.next().unwrap_or_default().to_owned();
    pieces.fold(first, |mut plain, piece| {
        plain.push_str(piece.split_once('m').map_or(piece, |(_, rest)| rest));
        plain
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    const SUCCESS: i32 = 0;
    const ABORTED: i32 = 6;

    fn judged(label: &str, state: &str, status: i32, errors: &str) -> Verdict {
        let test = Test::named(&[label]).unwrap()[0];
        let report = format!("{{\"tests\": {{\"{}\": {{\"state\": \"{state}\"}}}}}}", test.name);
        verdict(test, ExitStatus::from_raw(status), &report, errors)
    }

    #[test]
    fn topics_are_found_by_what_a_test_says() {
        let text =
            "\x1b[36m[0001_multiobj / 0.000s] Using topic \"rdkafkatest_0001\"\n\x1b[0mUsing topic \"cut off";
        assert_eq!(topic_names(text), ["rdkafkatest_0001"]);
        assert!(Topics::NamedBut("own").makes("rdkafkatest_0011"));
        assert!(!Topics::NamedBut("own").makes("rdkafkatest_my_own"));
        assert!(!Topics::Own.makes("rdkafkatest_0001"));
    }

    #[test]
    fn a_test_has_passed_if_its_report_says_so_and_the_runner_ended_well() {
        assert_eq!(judged("0001", "PASSED", SUCCESS, ""), Verdict::Passed);
        let failure = "\x1b[31m### Test \"0001_multiobj (x)\" failed at 0001-multiobj.c:70:main_0001() at Mon Nov 23 \
                       00:00:00 2026: ###\nFailed to produce: no\n\x1b[36mlater\n";
        let failed = Verdict::Failed("0001-multiobj.c:70:main_0001(): Failed to produce: no".to_owned());
        assert_eq!(judged("0001", "FAILED", ABORTED, failure), failed);
        assert_eq!(judged("0001", "PASSED", ABORTED, failure), failed);
        let Verdict::Failed(line) = judged("0001", "RUNNING", 9, "last words\n") else { panic!("it passed") };
        assert!(line.contains("RUNNING") && line.ends_with("last words"), "{line}");
    }

    #[test]
    fn a_part_has_passed_only_if_it_was_run() {
        let label = "0081_admin do_test_DescribeTopics";
        let said = "\x1b[35m[ do_test_DescribeTopics:3434: x DescribeTopics with temp queue ]\n";
        assert_eq!(judged(label, "PASSED", SUCCESS, said), Verdict::Passed);
        assert!(matches!(judged(label, "PASSED", SUCCESS, ""), Verdict::Failed(_)));
    }

    #[test]
    fn a_test_that_skips_itself_says_why() {
        let said = "\x1b[33m[0110] SKIPPING TEST: RapidJSON >=1.1.0 not available\n";
        let verdict = judged("0110", "SKIPPED", SUCCESS, said);
        assert_eq!(verdict, Verdict::Skipped("RapidJSON >=1.1.0 not available".to_owned()));
    }
}
