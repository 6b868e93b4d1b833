use ottla_core::config::{InitialController, Origin, Setting};
use tempfile::TempDir;

use super::*;

struct Node {
    home: TempDir,
}

impl Node {
    fn new() -> Self {
        Self { home: tempfile::tempdir().expect("a directory") }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn config(&self, log_dirs: &[&str], metadata: Option<&str>) -> BrokerConfig {
        let log_dirs: Vec<String> =
            log_dirs.iter().map(|name| self.path(name).display().to_string()).collect();
        let mut settings = vec![
            ("process.roles", "broker,controller".to_owned()),
            ("node.id", "1".to_owned()),
            ("controller.quorum.bootstrap.servers", "h:9093".to_owned()),
            ("controller.listener.names", "CONTROLLER".to_owned()),
            ("listeners", "PLAINTEXT://h:9092,CONTROLLER://h:9093".to_owned()),
            ("log.dirs", log_dirs.join(",")),
        ];
        settings.extend(metadata.map(|name| ("metadata.log.dir", self.path(name).display().to_string())));
        let settings: Vec<Setting> = settings
            .into_iter()
            .map(|(key, value)| Setting { key: key.to_owned(), value, origin: Origin::CommandLine })
            .collect();
        BrokerConfig::resolve(&settings, "h").expect("valid").0
    }

    fn format(&self, name: &str, cluster: u128, node: i32, id: u128) {
        std::fs::create_dir_all(self.path(name)).expect("made");
        let meta = MetaProperties {
            cluster_id: ClusterId(uuid::Uuid::from_u128(cluster)),
            node_id: NodeId(node),
            directory_id: directory(id),
            metadata_log_begun: false,
        };
        meta.write(&self.path(name)).expect("written");
    }

    fn refusal(&self, config: &BrokerConfig) -> String {
        let error = LoadedDirectories::load(config).expect_err("refused").to_string();
        error.replace(&self.home.path().display().to_string(), "~")
    }
}

fn directory(id: u128) -> DirectoryId {
    DirectoryId(uuid::Uuid::from_u128(id))
}

#[test]
fn formatted_directories_are_loaded_in_order() {
    let node = Node::new();
    node.format("a", 1, 1, 10);
    node.format("b", 1, 1, 11);
    let loaded = LoadedDirectories::load(&node.config(&["a", "b"], Some("b"))).expect("loaded");
    assert_eq!(loaded.cluster_id, ClusterId(uuid::Uuid::from_u128(1)));
    assert_eq!(loaded.logs.iter().map(|d| d.id).collect::<Vec<_>>(), [directory(10), directory(11)]);
    assert_eq!(loaded.metadata().path, node.path("b"));
    assert_eq!(loaded.bootstrap_voters, None);
}

#[test]
fn the_metadata_may_lie_apart() {
    let node = Node::new();
    node.format("a", 1, 1, 10);
    node.format("m", 1, 1, 12);
    let voter: InitialController = format!("1@h:9093:{}", directory(12)).parse().expect("a voter");
    BootstrapVoters(vec![voter]).write(&node.path("m")).expect("written");
    let loaded = LoadedDirectories::load(&node.config(&["a"], Some("m"))).expect("loaded");
    assert_eq!(loaded.logs.len(), 1);
    assert_eq!(loaded.metadata().id, directory(12));
    assert_eq!(loaded.bootstrap_voters.map(|voters| voters.0.len()), Some(1));
}

#[test]
fn what_is_not_this_nodes_is_refused() {
    let node = Node::new();
    node.format("mine", 1, 1, 10);
    node.format("of node 2", 1, 2, 11);
    node.format("of cluster 2", 2, 1, 12);
    node.format("copy", 1, 1, 10);
    node.format("Kafka's", 1, 1, 13);
    std::fs::write(node.path("Kafka's").join("bootstrap.checkpoint"), "").expect("written");
    let refusal = |name| node.refusal(&node.config(&["mine", name], None));
    assert_eq!(
        refusal("nowhere"),
        "log directory \"~/nowhere\" is not formatted; run \"ottla storage format\" first"
    );
    assert_eq!(refusal("of node 2"), "log directory \"~/of node 2\" belongs to node 2, but node.id is 1");
    assert_eq!(
        refusal("of cluster 2"),
        "log directory \"~/of cluster 2\" belongs to cluster AAAAAAAAAAAAAAAAAAAAAg, but \"~/mine\" to cluster AAAAAAAAAAAAAAAAAAAAAQ"
    );
    assert_eq!(
        refusal("copy"),
        "log directories \"~/copy\" and \"~/mine\" have the same id AAAAAAAAAAAAAAAAAAAACg: one is a copy of the other"
    );
    assert!(refusal("Kafka's").contains("was formatted by Apache Kafka"));
    assert!(!node.path("nowhere").exists());
}

#[test]
fn a_directory_in_use_is_refused_until_it_is_let_go() {
    let node = Node::new();
    node.format("a", 1, 1, 10);
    let config = node.config(&["a"], None);
    let first = LoadedDirectories::load(&config).expect("loaded");
    assert_eq!(node.refusal(&config), "log directory \"~/a\" is in use by another process");
    drop(first);
    LoadedDirectories::load(&config).expect("loaded");
}
