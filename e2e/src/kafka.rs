//! Apache Kafka as released: its command-line tools, which judge our brokers, and its broker, which ours is
//! measured against.
//!
//! `e2e/kafka/pom.xml` pins it; Maven brings the jars into the cache. Nothing of it is in our binaries.
//!
//! The tools are started some hundred times by the tests, and live for a second each, most of which the JVM spends on reading
//! classes. It reads them from an archive beside the jars (JEP 350), which takes half of that away.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::cache;
use crate::command::{Program, program};
use crate::packages;
use crate::repository;
use crate::step::Steps;

/// How long a tool may take, in seconds; one that waits for an answer that never comes must not block for ever.
const LIMIT_SECONDS: u32 = 120;

/// For programs that live for a second or two: start quickly, use one core, stay small.
const SHORT_LIVED: [&str; 3] = ["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx256m"];

/// As upstream's `kafka-server-start.sh` sets it.
const SERVER: [&str; 5] =
    ["-Xms1G", "-Xmx1G", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20", "-XX:InitiatingHeapOccupancyPercent=35"];

/// As upstream's `kafka-producer-perf-test.sh` sets it.
const CLIENT: [&str; 1] = ["-Xmx512M"];

/// For three brokers beside each other and their clients, on a small machine, where nobody measures.
const SMALL_SERVER: [&str; 4] = ["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xms128m", "-Xmx384m"];

/// A tool that uses the admin client, as nearly all of them do.
const TYPICAL: [&str; 4] =
    ["org.apache.kafka.tools.TopicCommand", "--list", "--bootstrap-server", "127.0.0.1:1"];

/// The archive's name in its entry of the cache.
const ARCHIVE: &str = "tools.jsa";

/// It finds nobody, and gives up at once.
const IMPATIENT: &str = "default.api.timeout.ms=300\nrequest.timeout.ms=200\n";

/// The jars of one release.
#[derive(Debug, Clone)]
pub struct Kafka {
    libraries: PathBuf,
    /// The archive of their classes, where the JVM writes one.
    classes: Option<PathBuf>,
}

impl Kafka {
    /// The release that the pom names; Maven fetches it if the cache does not hold it.
    pub fn ensure(steps: &Steps) -> Result<Self> {
        packages::ensure(steps, &[packages::JAVA])?;
        let version = version()?;
        let entry = cache::entry("kafka", &version, |directory| {
            packages::ensure(steps, &[packages::MAVEN])?;
            steps.run(&format!("fetch Apache Kafka {version} with Maven"), |log| {
                let option = |name: &str, path: PathBuf| {
                    let mut option = OsString::from(format!("-D{name}="));
                    option.push(path);
                    option
                };
                program("mvn")
                    .args(["--quiet", "--batch-mode", "--file"])
                    .arg(source().join("pom.xml"))
                    .arg(option("maven.repo.local", cache::root()?.join("maven")))
                    .arg("dependency:copy-dependencies")
                    .arg("-DincludeScope=runtime")
                    .arg(option("outputDirectory", directory.join("libs")))
                    .log(log)
            })
        })?;
        let libraries = entry.join("libs");
        let classes = archive(steps, &version, &libraries)?;
        Ok(Self { libraries, classes })
    }

    /// One of Kafka's command-line tools, by the name of its class.
    #[must_use]
    pub fn tool(&self, class: &str) -> Program {
        program("timeout").args([&LIMIT_SECONDS.to_string(), "java"]).args(self.tool_words(class))
    }

    /// What `java` is told to run a tool.
    #[must_use]
    pub fn tool_words(&self, class: &str) -> Vec<OsString> {
        let mut words = Vec::new();
        if let Some(classes) = &self.classes {
            // An archive that does not fit is not used; nothing is to be said of that among what the tool says.
            words.extend([shared("SharedArchiveFile", classes), "-Xlog:disable".into()]);
        }
        words.extend(self.words(&SHORT_LIVED, class));
        words
    }

    /// What `java` is told to run a client that is measured.
    #[must_use]
    pub fn client_words(&self, class: &str) -> Vec<OsString> {
        self.words(&CLIENT, class)
    }

    /// What `java` is told to run Kafka's broker; a properties file follows.
    #[must_use]
    pub fn server_words(&self) -> Vec<OsString> {
        self.words(&SERVER, "kafka.Kafka")
    }

    /// The same with a small heap.
    #[must_use]
    pub fn small_server_words(&self) -> Vec<OsString> {
        self.words(&SMALL_SERVER, "kafka.Kafka")
    }

    fn words(&self, options: &[&str], class: &str) -> Vec<OsString> {
        let options = options.iter().map(OsString::from);
        options.chain(class_path(&self.libraries)).chain([class.into()]).collect()
    }
}

fn class_path(libraries: &Path) -> [OsString; 3] {
    let mut logging = OsString::from("-Dlog4j2.configurationFile=");
    logging.push(source().join("log4j2.xml"));
    ["-cp".into(), libraries.join("*").into(), logging]
}

/// An option of the JVM that names a file.
fn shared(name: &str, file: &Path) -> OsString {
    let mut option = OsString::from(format!("-XX:{name}="));
    option.push(file);
    option
}

/// The archive of the classes that a tool uses, for this JVM, which writes it as it ends. None where it writes none: the tools
/// only start more slowly then.
fn archive(steps: &Steps, version: &str, libraries: &Path) -> Result<Option<PathBuf>> {
    let entry = cache::entry("kafka", &format!("{version}-classes-{}", java_version()?), |directory| {
        steps.run("archive the classes of Kafka's tools", |log| {
            let config = directory.join("impatient.properties");
            fs::write(&config, IMPATIENT).with_context(|| format!("write {}", config.display()))?;
            let tool = program("java")
                .args(SHORT_LIVED)
                .arg(shared("ArchiveClassesAtExit", &directory.join(ARCHIVE)));
            // It fails, as nobody answers it.
            let _ =
                tool.args(class_path(libraries)).args(TYPICAL).arg("--command-config").arg(&config).log(log);
            Ok(())
        })
    })?;
    let archive = entry.join(ARCHIVE);
    Ok(archive.exists().then_some(archive))
}

/// The version that `java -version` gives between quotation marks, "17.0.15" for instance.
fn java_version() -> Result<String> {
    let told = program("java").arg("-version").output()?;
    let told = String::from_utf8_lossy(&told.stderr).into_owned();
    let version =
        told.split('"').nth(1).with_context(|| format!("java -version gives no version: {told}"))?;
    Ok(version.to_owned())
}

/// The version that the pom asks for.
pub fn version() -> Result<String> {
    let file = source().join("pom.xml");
    let text = fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
    let (_, rest) = text.split_once("<kafka.version>").context("the pom names no kafka.version")?;
    let (version, _) = rest.split_once('<').context("the pom's kafka.version has no end")?;
    Ok(version.to_owned())
}

fn source() -> PathBuf {
    repository::root().join("e2e/kafka")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pom_names_the_version() {
        assert!(version().unwrap().starts_with("4."));
    }
}
