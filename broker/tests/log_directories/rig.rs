//! One node as a process of its own, with several log directories, and a client of it.

use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use ottla_client::{Connection, HostPort, Options};
use ottla_wire::batch::BatchBuilder;
use ottla_wire::messages::create_topics_request::CreatableTopic;
use ottla_wire::messages::fetch_request::{FetchPartition, FetchTopic};
use ottla_wire::messages::metadata_request::MetadataRequestTopic;
use ottla_wire::messages::produce_request::{PartitionProduceData, TopicProduceData};
use ottla_wire::messages::{CreateTopicsRequest, FetchRequest, MetadataRequest, ProduceRequest, TopicName};
use ottla_wire::protocol::StrBytes;
use uuid::Uuid;

/// What waits for something gives up after this long: the test has failed.
const PATIENCE: Duration = Duration::from_secs(30);

/// Below the ports that Linux gives to connections.
const PORT: u16 = 29_092;
const CONTROLLER_PORT: u16 = 29_093;
const HTTP_PORT: u16 = 28_080;

const CLUSTER_ID: &str = "AAAAAAAAAAAAAAAAAAAAAQ";

pub(crate) struct Node {
    root: tempfile::TempDir,
    /// Its own.
    host: Ipv4Addr,
    process: Option<Child>,
}

/// A partition as Metadata shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shown {
    pub(crate) index: i32,
    pub(crate) leader: i32,
}

/// Whether the node has closed a connection on which nothing was asked; waits if the connection may wait.
fn is_closed(stream: &mut TcpStream) -> bool {
    use std::io::{ErrorKind, Read};
    stream.set_read_timeout(Some(PATIENCE)).expect("set");
    match stream.read(&mut [0]) {
        Ok(read) => read == 0,
        Err(error) => !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
    }
}

/// A loopback address that no other node has, of this process or of another that runs these tests: a port that
/// was free when it was asked for may be anybody's by the time the node listens.
fn own_host() -> Ipv4Addr {
    static NODES: AtomicU8 = AtomicU8::new(1);
    let [.., high, low] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, high, low, NODES.fetch_add(1, Ordering::Relaxed))
}

impl Node {
    /// A node with these log directories, formatted.
    pub(crate) fn formatted(directories: &[&str]) -> Self {
        let root = tempfile::tempdir().expect("a directory");
        let node = Self { root, host: own_host(), process: None };
        node.configure(directories);
        let (status, output) = node.ottla(&["storage", "format", "--standalone", "-t", CLUSTER_ID, "-c"]);
        assert!(status.success(), "{output}");
        node
    }

    pub(crate) fn directory(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn properties_file(&self) -> PathBuf {
        self.root.path().join("server.properties")
    }

    /// Writes the properties file.
    pub(crate) fn configure(&self, directories: &[&str]) {
        let paths: Vec<String> =
            directories.iter().map(|name| self.directory(name).display().to_string()).collect();
        let host = self.host;
        let text = format!(
            "process.roles=broker,controller\nnode.id=1\nlog.dirs={}\n\
             listeners=PLAIN://{host}:{PORT},CONTROLLER://{host}:{CONTROLLER_PORT}\n\
             listener.security.protocol.map=PLAIN:PLAINTEXT,CONTROLLER:PLAINTEXT\n\
             controller.listener.names=CONTROLLER\ninter.broker.listener.name=PLAIN\n\
             controller.quorum.bootstrap.servers={host}:{CONTROLLER_PORT}\n\
             ottla.http.listener={host}:{HTTP_PORT}\n",
            paths.join(","),
        );
        std::fs::write(self.properties_file(), text).expect("written");
    }

    /// Runs the binary to its end, with the properties file as the last argument.
    pub(crate) fn ottla(&self, arguments: &[&str]) -> (ExitStatus, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_ottla"))
            .args(arguments)
            .arg(self.properties_file())
            .output()
            .expect("the binary runs");
        let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        (output.status, text.concat())
    }

    /// Starts the node and waits until it serves.
    pub(crate) async fn start(&mut self) -> Connection {
        self.start_by(Command::new(env!("CARGO_BIN_EXE_ottla"))).await
    }

    /// Starts it with so many open files as its limit.
    pub(crate) async fn start_limited(&mut self, open_files: u32) -> Connection {
        let mut shell = Command::new("sh");
        let script = format!("ulimit -n {open_files}; exec \"$0\" \"$@\"");
        shell.args(["-c", &script, env!("CARGO_BIN_EXE_ottla")]);
        self.start_by(shell).await
    }

    async fn start_by(&mut self, mut ottla: Command) -> Connection {
        let log = std::fs::File::create(self.directory("log")).expect("a log file");
        let process = ottla
            .arg("server")
            .arg(self.properties_file())
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the binary runs");
        self.process = Some(process);
        self.connect().await
    }

    pub(crate) async fn connect(&self) -> Connection {
        let address = HostPort::new(self.host.to_string(), PORT);
        let deadline = Instant::now() + PATIENCE;
        loop {
            match Connection::connect(&address, &Options::default()).await {
                Ok(connection) => return connection,
                Err(error) => assert!(Instant::now() < deadline, "{error}\n{}", self.log()),
            }
        }
    }

    /// Opens so many connections to each of the node's ports, and gives those that it has not closed.
    pub(crate) fn crowds(&self, connections: usize) -> [Vec<TcpStream>; 3] {
        [PORT, CONTROLLER_PORT, HTTP_PORT].map(|port| self.crowd(port, connections))
    }

    fn crowd(&self, port: u16, connections: usize) -> Vec<TcpStream> {
        let connect = |_| TcpStream::connect((self.host, port)).expect("it listens");
        let mut streams: Vec<TcpStream> = (0..connections).map(connect).collect();
        // They are taken in order: when the last one is closed, all have been.
        assert_eq!(streams.last_mut().map(is_closed), Some(true), "{}", self.log());
        streams.retain_mut(|stream| {
            stream.set_nonblocking(true).expect("set");
            !is_closed(stream)
        });
        streams
    }

    /// What the node has logged.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.directory("log")).unwrap_or_default()
    }

    /// A text of its HTTP endpoint.
    pub(crate) fn http(&self, path: &str) -> String {
        use std::io::{Read, Write};
        let mut stream = TcpStream::connect((self.host, HTTP_PORT)).expect("an endpoint");
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("sent");
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("an answer");
        text
    }

    /// Asks it to stop, and waits until it has.
    pub(crate) fn stop(&mut self) -> ExitStatus {
        let id = self.process.as_ref().expect("it runs").id().to_string();
        // The shell's own: a Debian without procps has no program of that name.
        Command::new("sh").args(["-c", "kill -TERM \"$0\"", &id]).status().expect("a shell");
        self.wait()
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        self.process.take().expect("it runs").wait().expect("its status")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().expect("killed");
            process.wait().expect("its status");
        }
    }
}

fn name(topic: &str) -> TopicName {
    TopicName(StrBytes::from_string(topic.to_owned()))
}

pub(crate) async fn create(client: &Connection, topic: &str, partitions: i32) -> i16 {
    client.request(creation(topic, partitions)).await.expect("an answer").topics[0].error_code
}

/// The same where the node may end before it answers.
pub(crate) async fn create_if_it_lives(client: &Connection, topic: &str, partitions: i32) {
    let _answer = tokio::time::timeout(PATIENCE, client.request(creation(topic, partitions))).await;
}

fn creation(topic: &str, partitions: i32) -> CreateTopicsRequest {
    let topic = CreatableTopic::default()
        .with_name(name(topic))
        .with_num_partitions(partitions)
        .with_replication_factor(1);
    CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(10_000)
}

/// A topic's id and its partitions in order.
pub(crate) async fn metadata(client: &Connection, topic: &str) -> (Uuid, Vec<Shown>) {
    let asked = MetadataRequestTopic::default().with_name(Some(name(topic)));
    let request = MetadataRequest::default().with_topics(Some(vec![asked]));
    let response = client.request(request).await.expect("an answer");
    let topic = &response.topics[0];
    let mut shown: Vec<Shown> = topic
        .partitions
        .iter()
        .map(|partition| Shown { index: partition.partition_index, leader: partition.leader_id.0 })
        .collect();
    shown.sort_by_key(|partition| partition.index);
    (topic.topic_id, shown)
}

/// Asks for the metadata until it is as wanted. Each round trip is the wait for the next.
pub(crate) async fn wait_for(
    client: &Connection,
    topic: &str,
    wanted: impl Fn(&[Shown]) -> bool,
) -> Vec<Shown> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let (_, shown) = metadata(client, topic).await;
        if wanted(&shown) {
            return shown;
        }
        assert!(Instant::now() < deadline, "{shown:?}");
    }
}

/// Waits until every partition of a topic has a leader.
pub(crate) async fn wait_until_led(client: &Connection, topic: &str, partitions: usize) {
    let led =
        |shown: &[Shown]| shown.len() == partitions && shown.iter().all(|partition| partition.leader == 1);
    wait_for(client, topic, led).await;
}

/// Produces one record with `acks=all`; gives the error code.
pub(crate) async fn produce(client: &Connection, topic: &str, partition: i32, value: &str) -> i16 {
    let (id, _) = metadata(client, topic).await;
    let (batch, _) = BatchBuilder::new().record(1, None, Some(value.as_bytes())).build().expect("a batch");
    let data = PartitionProduceData::default().with_index(partition).with_records(Some(batch.freeze()));
    let topic =
        TopicProduceData::default().with_name(name(topic)).with_topic_id(id).with_partition_data(vec![data]);
    let request =
        ProduceRequest::default().with_acks(-1).with_timeout_ms(10_000).with_topic_data(vec![topic]);
    client.request(request).await.expect("an answer").responses[0].partition_responses[0].error_code
}

/// How many bytes of records a partition gives from its beginning, or the error code.
pub(crate) async fn fetch(client: &Connection, topic: &str, partition: i32) -> Result<usize, i16> {
    let (id, _) = metadata(client, topic).await;
    let wanted = FetchPartition::default().with_partition(partition).with_partition_max_bytes(1 << 20);
    let topic = FetchTopic::default().with_topic(name(topic)).with_topic_id(id).with_partitions(vec![wanted]);
    let request = FetchRequest::default()
        .with_replica_id((-1).into())
        .with_max_wait_ms(0)
        .with_max_bytes(1 << 20)
        .with_topics(vec![topic]);
    let response = client.request(request).await.expect("an answer");
    let partition = &response.responses[0].partitions[0];
    match partition.error_code {
        0 => Ok(partition.records.as_ref().map_or(0, |records| records.len())),
        code => Err(code),
    }
}

/// The directories of a topic's partitions below a log directory.
pub(crate) fn logs(directory: &Path, topic: &str) -> Vec<i32> {
    let names = std::fs::read_dir(directory).expect("a directory");
    let mut found: Vec<i32> = names
        .filter_map(|entry| entry.expect("an entry").file_name().into_string().ok())
        .filter_map(|name| name.strip_prefix(&format!("{topic}-"))?.parse().ok())
        .collect();
    found.sort_unstable();
    found
}
