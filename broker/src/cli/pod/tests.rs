use ottla_core::config::{BrokerConfig, Origin, Setting};
use tempfile::TempDir;

use super::super::meta_properties::{BootstrapVoters, MetaProperties};
use super::*;

const CLUSTER: &str = "AAAAAAAAAAAAAAAAAAAAAQ";
const DIRECTORIES: [&str; 2] = ["MkU3OEVBNTcwNTJENDM2Qg", "NkU3OEVBNTcwNTJENDM2Qg"];

struct Pod {
    home: TempDir,
    config: BrokerConfig,
}

impl Pod {
    fn new(node_id: i32) -> Self {
        let home = tempfile::tempdir().expect("a directory");
        let data = home.path().join("volume/data");
        std::fs::create_dir_all(home.path().join("volume/lost+found")).expect("made");
        std::fs::create_dir_all(home.path().join("identity")).expect("made");
        let settings = [
            ("process.roles", "broker,controller"),
            ("node.id", &node_id.to_string()),
            ("controller.quorum.bootstrap.servers", "h:9090"),
            ("controller.listener.names", "CONTROLLER"),
            ("listeners", "PLAINTEXT://h:9092,CONTROLLER://h:9090"),
            ("log.dirs", &data.display().to_string()),
        ]
        .map(|(key, value)| Setting {
            key: key.to_owned(),
            value: value.to_owned(),
            origin: Origin::CommandLine,
        });
        let (config, _) = BrokerConfig::resolve(&settings, "h").expect("valid");
        Self { home, config }
    }

    fn identify(&self, identity: &str) {
        std::fs::write(self.home.path().join("identity/identity.properties"), identity).expect("written");
    }

    /// Whether anything was formatted, or why the start is refused.
    fn start(&self, identity: &str) -> Result<bool, String> {
        self.identify(identity);
        let home = self.home.path().display().to_string();
        prepare(&self.home.path().join("server.properties"), &self.config)
            .map(|formatted| !formatted.is_empty())
            .map_err(|error| error.to_string().replace(&home, "~"))
    }

    fn meta(&self) -> MetaProperties {
        MetaProperties::read(&self.config.log_dirs[0]).expect("readable").expect("formatted")
    }

    fn votes(&self) -> bool {
        BootstrapVoters::read(&self.config.log_dirs[0]).expect("readable").is_some()
    }
}

fn new_cluster() -> String {
    format!(
        "cluster.id={CLUSTER}\nbootstrapped=false\ninitial.controllers=0@h:9090:{},1@g:9090:{}\n",
        DIRECTORIES[0], DIRECTORIES[1]
    )
}

fn bootstrapped_cluster() -> String {
    format!("cluster.id={CLUSTER}\nbootstrapped=true\n")
}

#[test]
fn the_first_start_of_a_cluster_takes_the_listed_directory_id() {
    let pod = Pod::new(1);
    assert_eq!(pod.start(&new_cluster()), Ok(true));
    assert_eq!(pod.meta().directory_id.to_string(), DIRECTORIES[1]);
    assert!(pod.votes());
}

#[test]
fn a_lost_volume_of_a_voter_that_has_served_gets_a_fresh_id_and_no_vote() {
    let pod = Pod::new(1);
    assert_eq!(pod.start(&format!("{}formatted=0,1\n", new_cluster())), Ok(true));
    assert_ne!(pod.meta().directory_id.to_string(), DIRECTORIES[1]);
    assert!(!pod.votes());
    let other = Pod::new(0);
    assert_eq!(other.start(&format!("{}formatted=1\n", new_cluster())), Ok(true));
    assert!(other.votes());
    let refused = Pod::new(0).start(&format!("{}formatted=x\n", new_cluster()));
    assert!(refused.unwrap_err().contains("\"formatted\""));
}

#[test]
fn a_node_that_is_not_listed_gets_a_fresh_id_and_no_vote() {
    let pod = Pod::new(2);
    assert_eq!(pod.start(&new_cluster()), Ok(true));
    assert!(!pod.votes());
}

#[test]
fn a_volume_lost_later_gets_a_fresh_id_and_no_vote() {
    let pod = Pod::new(1);
    assert_eq!(pod.start(&bootstrapped_cluster()), Ok(true));
    assert!(!DIRECTORIES.contains(&pod.meta().directory_id.to_string().as_str()));
    assert!(!pod.votes());
}

#[test]
fn a_volume_that_is_there_is_left_alone() {
    let pod = Pod::new(1);
    assert_eq!(pod.start(&new_cluster()), Ok(true));
    let before = pod.meta();
    assert_eq!(pod.start(&new_cluster()), Ok(false));
    assert_eq!(pod.start(&bootstrapped_cluster()), Ok(false));
    assert_eq!(pod.meta(), before);
}

#[test]
fn a_volume_of_another_cluster_is_refused() {
    let pod = Pod::new(1);
    assert_eq!(pod.start(&bootstrapped_cluster()), Ok(true));
    let other = "cluster.id=AAAAAAAAAAAAAAAAAAAAAg\nbootstrapped=true\n";
    assert_eq!(
        pod.start(other),
        Err(format!(
            "log directory \"~/volume/data\" belongs to node 1 of cluster {CLUSTER}, not to node 1 of cluster AAAAAAAAAAAAAAAAAAAAAg"
        ))
    );
}

#[test]
fn an_identity_that_cannot_be_understood_is_refused() {
    let pod = Pod::new(1);
    for (identity, problem) in [
        ("bootstrapped=true", "\"cluster.id\" is missing".to_owned()),
        (&format!("cluster.id={CLUSTER}"), "\"bootstrapped\" is missing".to_owned()),
        (
            &format!("cluster.id={CLUSTER}\nbootstrapped=perhaps"),
            "\"bootstrapped\": \"perhaps\" is not true or false".to_owned(),
        ),
        (
            &format!("cluster.id={CLUSTER}\nbootstrapped=false\ninitial.controllers=1@h"),
            "\"initial.controllers\": \"1@h\" is not ID@HOST:PORT:DIRECTORY_ID".to_owned(),
        ),
    ] {
        assert_eq!(
            pod.start(identity),
            Err(format!("the cluster's identity \"~/identity/identity.properties\" is wrong: {problem}"))
        );
    }
    assert!(!pod.config.log_dirs[0].exists());
}
