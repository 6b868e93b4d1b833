use super::super::meta_properties::BootstrapVoters;
use super::*;
use tempfile::TempDir;

const CLUSTER: &str = "AAAAAAAAAAAAAAAAAAAAAQ";
const DIRECTORY: &str = "MkU3OEVBNTcwNTJENDM2Qg";
const OTHER_DIRECTORY: &str = "NkU3OEVBNTcwNTJENDM2Qg";

/// A properties file in a directory of its own, whose data lies in `a` and `b` beside it.
struct Node {
    home: TempDir,
}

impl Node {
    fn new(roles: &str) -> Self {
        let home = tempfile::tempdir().expect("a directory");
        let node = Self { home };
        node.write(roles, 1);
        node
    }

    fn write(&self, roles: &str, id: i32) {
        let listeners = match roles {
            "broker" => "PLAINTEXT://h:9092",
            "controller" => "CONTROLLER://h:9093",
            _ => "PLAINTEXT://h:9092,CONTROLLER://h:9093",
        };
        let text = format!(
            "process.roles={roles}\nnode.id={id}\nlisteners={listeners}\ncontroller.listener.names=CONTROLLER\ncontroller.quorum.bootstrap.servers=h:9093\nlog.dirs={},{}\n",
            self.data("a").display(),
            self.data("b").display()
        );
        std::fs::write(self.file(), text).expect("written");
    }

    fn file(&self) -> PathBuf {
        self.home.path().join("server.properties")
    }

    fn data(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn meta(&self, name: &str) -> Option<MetaProperties> {
        MetaProperties::read(&self.data(name)).expect("readable")
    }

    /// Runs `ottla storage` on the file; `~` in the output stands for the directory.
    fn run(&self, arguments: &str) -> (ExitCode, String, String) {
        let mut arguments: Vec<String> = arguments.split_whitespace().map(str::to_owned).collect();
        arguments.extend(["-c".to_owned(), self.file().display().to_string()]);
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let code = run(&arguments, &mut out, &mut err);
        let home = self.home.path().display().to_string();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text").replace(&home, "~");
        (code, text(out), text(err))
    }

    #[track_caller]
    fn formats(&self, arguments: &str) -> String {
        let (code, out, err) = self.run(&format!("format -t {CLUSTER} {arguments}"));
        assert_eq!((code, err.as_str()), (ExitCode::SUCCESS, ""));
        out
    }

    #[track_caller]
    fn refuses(&self, arguments: &str, code: u8, error: &str) {
        let (found, _, err) = self.run(arguments);
        assert_eq!((found, err.lines().next()), (ExitCode::from(code), Some(error)), "{err}");
    }
}

#[test]
fn random_uuid_prints_another_id_each_time() {
    let print = || {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        assert_eq!(run(&["random-uuid".to_owned()], &mut out, &mut err), ExitCode::SUCCESS);
        String::from_utf8(out).expect("text")
    };
    let (one, other) = (print(), print());
    assert_ne!(one, other);
    assert_eq!(one.len(), 23);
    assert!(one.trim().parse::<ClusterId>().is_ok(), "{one}");
}

#[test]
fn standalone_makes_the_node_the_only_voter() {
    let node = Node::new("broker,controller");
    let out = node.formats("--standalone");
    let (a, b) = (node.meta("a").expect("formatted"), node.meta("b").expect("formatted"));
    assert_eq!(
        out,
        format!(
            "Formatting dynamic metadata voter directory ~/a with directory id {}.\nFormatting data directory ~/b with directory id {}.\n",
            a.directory_id, b.directory_id
        )
    );
    assert_eq!((a.cluster_id.to_string().as_str(), a.node_id.0), (CLUSTER, 1));
    assert_ne!(a.directory_id, b.directory_id);
    let voters = BootstrapVoters::read(&node.data("a")).expect("readable").expect("there").0;
    assert_eq!(voters.len(), 1);
    assert_eq!(voters[0].to_string(), format!("1@h:9093:{}", a.directory_id));
    assert_eq!(BootstrapVoters::read(&node.data("b")).expect("readable"), None);
}

#[test]
fn initial_controllers_fix_the_id_of_the_metadata_directory() {
    let node = Node::new("broker,controller");
    node.formats(&format!("--initial-controllers 1@h:9093:{DIRECTORY},2@g:9093:{OTHER_DIRECTORY}"));
    assert_eq!(node.meta("a").map(|meta| meta.directory_id.to_string()).as_deref(), Some(DIRECTORY));
    let voters = BootstrapVoters::read(&node.data("a")).expect("readable").expect("there");
    assert_eq!(voters.0.len(), 2);
}

#[test]
fn a_broker_needs_no_word_about_voters() {
    let node = Node::new("broker");
    let out = node.formats("");
    assert!(out.starts_with("Formatting metadata directory ~/a "), "{out}");
    assert_eq!(BootstrapVoters::read(&node.data("a")).expect("readable"), None);
}

#[test]
fn a_formatted_directory_is_not_formatted_again() {
    let node = Node::new("broker");
    node.formats("");
    let before = node.meta("a");
    node.refuses(
        &format!("format -t {CLUSTER}"),
        1,
        "log directory \"~/a\" is already formatted; use --ignore-formatted to ignore it and format the others",
    );
    assert_eq!(node.formats("--ignore-formatted"), "All of the log directories are already formatted.\n");
    std::fs::remove_dir_all(node.data("b")).expect("removed");
    assert!(node.formats("-g").starts_with("Formatting data directory ~/b "));
    assert_eq!(node.meta("a"), before);
}

#[test]
fn somebody_elses_directory_is_refused_whatever_is_said() {
    let node = Node::new("broker");
    node.formats("");
    let other_cluster = "AAAAAAAAAAAAAAAAAAAAAg";
    node.refuses(
        &format!("format -g -t {other_cluster}"),
        1,
        &format!(
            "log directory \"~/a\" belongs to node 1 of cluster {CLUSTER}, not to node 1 of cluster {other_cluster}"
        ),
    );
    node.write("broker", 2);
    node.refuses(
        &format!("format -g -t {CLUSTER}"),
        1,
        &format!(
            "log directory \"~/a\" belongs to node 1 of cluster {CLUSTER}, not to node 2 of cluster {CLUSTER}"
        ),
    );
}

#[test]
fn data_is_not_formatted_over_and_nothing_is_formatted_beside_it() {
    let node = Node::new("broker");
    std::fs::create_dir_all(node.data("b").join("orders-0")).expect("made");
    node.refuses(
        &format!("format -t {CLUSTER}"),
        1,
        "log directory \"~/b\" is not formatted but holds \"orders-0\"; formatting it could hide data, so give an empty directory",
    );
    assert_eq!(node.meta("a"), None);
    assert!(!node.data("a").exists());
}

#[test]
fn an_interrupted_formatting_is_finished_by_the_next() {
    let node = Node::new("broker,controller");
    std::fs::create_dir_all(node.data("a").join("lost+found")).expect("made");
    std::fs::write(node.data("a").join("bootstrap.properties"), "version=1\nvoters=half").expect("written");
    std::fs::write(node.data("a").join("meta.properties.tmp"), "clus").expect("written");
    node.formats("-s");
    assert_eq!(BootstrapVoters::read(&node.data("a")).expect("readable").expect("there").0.len(), 1);
}

#[test]
fn a_wrong_command_line_exits_with_2_and_shows_the_usage() {
    let node = Node::new("broker,controller");
    node.refuses("format", 2, "-t CLUSTER_ID is missing");
    node.refuses("shred", 2, "there is no command \"shred\"");
    node.refuses("info --standalone", 2, "\"--standalone\" is not understood");
    node.refuses(
        &format!("format -t {CLUSTER} -s -N"),
        2,
        "only one of --standalone, --initial-controllers and --no-initial-controllers can be given",
    );
    node.refuses(
        "format -s -t short",
        2,
        "id \"short\" is not 22 characters of base64url, such as `storage random-uuid` prints",
    );
    node.refuses(
        &format!("format -t {CLUSTER}"),
        2,
        "node 1 is a controller: say who votes first with --standalone, --initial-controllers or --no-initial-controllers",
    );
    let (_, _, err) = node.run("format");
    assert!(err.contains("usage: ottla storage random-uuid"), "{err}");
    assert!(!node.data("a").exists());
}

#[test]
fn voters_that_make_no_quorum_are_refused() {
    let node = Node::new("broker,controller");
    let with = |list: &str| format!("format -t {CLUSTER} -I {list}");
    node.refuses(
        &with(&format!("2@h:9093:{DIRECTORY}")),
        1,
        "node 1 is not among the initial controllers; use --no-initial-controllers, it can be added later",
    );
    node.refuses(
        &with(&format!("1@h:9093:{DIRECTORY},1@g:9093:{OTHER_DIRECTORY}")),
        1,
        "the initial controllers cannot make a quorum: node 1 is listed twice among the voters",
    );
    node.refuses(
        &with(&format!("1@h:9093:{DIRECTORY},2@g:9093:{DIRECTORY}")),
        1,
        &format!("the initial controllers cannot make a quorum: directory id {DIRECTORY} begins like that of another member of the quorum"),
    );
    node.refuses(
        &with(&format!("1@h:9093:{CLUSTER}")),
        1,
        &format!("the initial controllers cannot make a quorum: directory id {CLUSTER} begins with 64 zero bits and cannot name a voter"),
    );
    node.refuses(&with("1@h:9093"), 2, "\"1@h:9093\" is not ID@HOST:PORT:DIRECTORY_ID");
    let broker = Node::new("broker");
    broker.refuses(
        &with(&format!("1@h:9093:{DIRECTORY}")),
        1,
        "node 1 has no \"controller\" in its process.roles and cannot be an initial controller",
    );
}

#[test]
fn a_bad_property_exits_with_2_and_touches_nothing() {
    let node = Node::new("broker,controller");
    std::fs::write(node.file(), "node.id=one\nzookeeper.connect=h:2181\n").expect("written");
    let (code, _, err) = node.run(&format!("format -s -t {CLUSTER}"));
    assert_eq!(code, ExitCode::from(2));
    let lines: Vec<&str> = err.lines().collect();
    assert_eq!(lines[0], "cannot use \"~/server.properties\":");
    assert!(lines[1].starts_with("  line 1: invalid value \"one\" for config \"node.id\""), "{err}");
    assert!(
        lines[2].starts_with("  line 2: config \"zookeeper.connect\" belongs to ZooKeeper mode"),
        "{err}"
    );
    assert!(!node.data("a").exists());
}

#[test]
fn info_shows_whose_the_directories_are() {
    let node = Node::new("broker");
    node.formats("");
    let (code, out, _) = node.run("info");
    let (a, b) = (node.meta("a").expect("formatted"), node.meta("b").expect("formatted"));
    assert_eq!(code, ExitCode::SUCCESS);
    assert_eq!(
        out,
        format!("Found log directories:\n  ~/a\n  ~/b\n\nFound metadata: {a}\nFound metadata: {b}\n")
    );
    assert!(a.to_string().starts_with(&format!("{{cluster.id={CLUSTER}, directory.id=")), "{a}");
}

#[test]
fn info_shows_problems() {
    let node = Node::new("broker");
    node.formats("");
    std::fs::remove_dir_all(node.data("b")).expect("removed");
    node.write("broker", 2);
    let (code, out, _) = node.run("info");
    assert_eq!(code, ExitCode::FAILURE);
    let id = node.meta("a").expect("formatted").directory_id;
    assert!(
        out.ends_with(&format!(
            "\nFound problems:\n  ~/b is not formatted.\n  Directory {id} belongs to node 1, not to node 2.\n"
        )),
        "{out}"
    );
}

#[test]
fn a_damaged_meta_properties_is_not_taken_for_an_empty_directory() {
    let node = Node::new("broker");
    node.formats("");
    for (text, problem) in [
        ("version=1\nnode.id=1\n", "\"cluster.id\" is missing"),
        ("version=0\n", "it has version 0, this release knows version 1"),
        ("", "\"version\" is missing"),
    ] {
        std::fs::write(node.data("a").join("meta.properties"), text).expect("written");
        node.refuses(
            &format!("format -g -t {CLUSTER}"),
            1,
            &format!("\"~/a/meta.properties\" is damaged: {problem}"),
        );
    }
}
