use super::super::file::Origin;
use super::*;

/// Settings as if each stood on the line of its place in `text`.
fn settings(text: &str) -> Vec<Setting> {
    text.lines()
        .zip(1..)
        .filter_map(|(line, number)| {
            let (key, value) = line.trim().split_once('=')?;
            Some(Setting { key: key.to_owned(), value: value.to_owned(), origin: Origin::Line(number) })
        })
        .collect()
}

fn resolve(text: &str) -> (BrokerConfig, Vec<String>) {
    match BrokerConfig::resolve(&settings(text), "laptop") {
        Ok((config, warnings)) => (config, warnings.iter().map(Warning::to_string).collect()),
        Err(problems) => {
            panic!("{}", problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("\n"))
        }
    }
}

/// What is wrong with `text`, one line for each problem.
fn problems(text: &str) -> Vec<String> {
    let problems = BrokerConfig::resolve(&settings(text), "laptop").expect_err("refused");
    problems.iter().map(Problem::to_string).collect()
}

const COMBINED: &str = "process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=localhost:9093
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://:9092,CONTROLLER://:9093
log.dirs=/data/a,/data/b
";

fn combined_and(more: &str) -> String {
    format!("{COMBINED}{more}")
}

fn shown(listeners: &[Listener]) -> Vec<String> {
    listeners.iter().map(Listener::to_string).collect()
}

#[test]
fn kafkas_own_quickstart_file_is_understood() {
    let (config, warnings) = resolve(COMBINED);
    assert_eq!(warnings, Vec::<String>::new());
    assert_eq!((config.node_id, config.roles), (NodeId(1), Roles::Combined));
    assert_eq!(shown(&config.listeners), ["PLAINTEXT://:9092", "CONTROLLER://:9093"]);
    assert_eq!(shown(&config.advertised_listeners), ["PLAINTEXT://laptop:9092", "CONTROLLER://laptop:9093"]);
    assert_eq!(config.controller_listener.as_str(), "CONTROLLER");
    assert_eq!(config.inter_broker_listener.as_ref().map(ListenerName::as_str), Some("PLAINTEXT"));
    assert_eq!(config.metadata_log_dir, PathBuf::from("/data/a"));
    assert_eq!(config.directories().len(), 2);
    assert_eq!(config.timeouts.broker_session, Duration::from_secs(4));
    assert_eq!(config.limits.request_size_max, ByteCount(100 * 1024 * 1024));
}

#[test]
fn the_operators_file_is_understood() {
    let (config, warnings) = resolve(
        "process.roles=broker,controller
node.id=0
broker.rack=
log.dirs=/var/lib/ottla/data
controller.listener.names=CONTROLLER
inter.broker.listener.name=REPLICATION
listeners=CONTROLLER://:9090,REPLICATION://:9091,PLAIN://:9092
advertised.listeners=CONTROLLER://my-0.my.ns.svc:9090,REPLICATION://my-0.my.ns.svc:9091,PLAIN://my-0.my.ns.svc:9092
listener.security.protocol.map=CONTROLLER:PLAINTEXT,REPLICATION:PLAINTEXT,PLAIN:PLAINTEXT
controller.quorum.bootstrap.servers=my-0.my.ns.svc:9090,my-1.my.ns.svc:9090
ottla.http.listener=:8090
ottla.config.hash=abc",
    );
    assert_eq!(warnings, Vec::<String>::new());
    assert_eq!(config.rack, None, "an empty rack is no rack");
    assert_eq!(config.inter_broker_listener.as_ref().map(ListenerName::as_str), Some("REPLICATION"));
    assert_eq!(config.controllers.len(), 2);
    assert_eq!(config.http_listener.map(|address| address.to_string()), Some(":8090".to_owned()));
    assert_eq!(config.config_hash.as_deref(), Some("abc"));
}

#[test]
fn the_static_list_of_voters_is_a_list_of_bootstrap_servers() {
    let text = COMBINED.replace(
        "controller.quorum.bootstrap.servers=localhost:9093",
        "controller.quorum.voters=1@a:9093,2@b:9093",
    );
    let (config, _) = resolve(&text);
    assert_eq!(config.controllers.iter().map(Address::to_string).collect::<Vec<_>>(), ["a:9093", "b:9093"]);
    assert_eq!(
        problems(&text.replace("1@a", "3@a")),
        ["line 3: config \"controller.quorum.voters\": node.id 1 is a controller and must be listed"]
    );
    assert_eq!(
        problems(&text.replace("2@b:9093", "b:9093")),
        ["line 3: config \"controller.quorum.voters\": \"b:9093\" is not ID@HOST:PORT"]
    );
}

#[test]
fn dedicated_roles() {
    let (broker, _) = resolve(
        "process.roles=broker
node.id=5
controller.quorum.bootstrap.servers=c:9093
controller.listener.names=CONTROLLER
listeners=PLAIN://0.0.0.0:9092
advertised.listeners=PLAIN://host:9092
listener.security.protocol.map=PLAIN:PLAINTEXT
log.dir=/data",
    );
    assert_eq!(broker.roles, Roles::Broker);
    assert_eq!(broker.log_dirs, [PathBuf::from("/data")]);
    let (controller, _) = resolve(
        "process.roles=controller
node.id=1000
controller.quorum.bootstrap.servers=c:9093
controller.listener.names=CONTROLLER
listeners=CONTROLLER://:9093
log.dirs=/data
metadata.log.dir=/fast",
    );
    assert_eq!(controller.inter_broker_listener, None);
    assert_eq!(controller.directories(), [PathBuf::from("/data"), PathBuf::from("/fast")]);
}

#[test]
fn an_empty_file_names_all_that_is_missing() {
    assert_eq!(
        problems(""),
        [
            "config \"log.dirs\" is missing: wanted a comma-separated list with at least one entry",
            "config \"node.id\" is missing: wanted a whole number from 0 to 2147483647",
            "config \"process.roles\" is missing: wanted a comma-separated list of broker, controller, each at most once",
        ]
    );
}

#[test]
fn a_bad_value_names_its_line_and_what_was_wanted() {
    assert_eq!(
        problems(&combined_and("num.partitions=many\nlog.cleanup.policy=shred")),
        [
            "line 7: invalid value \"many\" for config \"num.partitions\": wanted a whole number from 1 to 2147483647",
            "line 8: invalid value \"shred\" for config \"log.cleanup.policy\": wanted a comma-separated list of compact, delete, each at most once",
        ]
    );
}

#[test]
fn zookeeper_mode_is_refused() {
    let found = problems("broker.id=1\nzookeeper.connect=localhost:2181\nlog.dirs=/data");
    assert_eq!(
        found[0],
        "line 2: config \"zookeeper.connect\" belongs to ZooKeeper mode: Ottla runs in KRaft mode only, with process.roles, node.id and controller.quorum.bootstrap.servers"
    );
    for key in ["zookeeper.metadata.migration.enable", "control.plane.listener.name"] {
        assert!(problems(&combined_and(&format!("{key}=true")))[0].contains("KRaft mode only"), "{key}");
    }
}

#[test]
fn a_broker_is_cordoned_while_the_cluster_runs_and_not_by_its_file() {
    assert!(problems(&combined_and("cordoned.log.dirs=*"))[0].contains("while the cluster runs"));
    assert!(problems(&combined_and("cordoned.log.dirs=/data"))[0].contains("single ones cannot be cordoned"));
    let nothing = settings(&combined_and("cordoned.log.dirs="));
    assert!(BrokerConfig::resolve(&nothing, "laptop").is_ok());
}

#[test]
#[expect(clippy::too_many_lines, reason = "one case for each rule")]
fn rules_between_keys() {
    for (change, to, problem) in [
        (
            "node.id=1",
            "node.id=1\nbroker.id=2",
            "line 3: config \"broker.id\": it is another name of node.id and must be 1 too",
        ),
        (
            "process.roles=broker,controller",
            "process.roles=broker",
            "line 5: config \"listeners\": CONTROLLER is a controller listener; a node that is no controller must not listen on it",
        ),
        (
            "process.roles=broker,controller",
            "process.roles=controller",
            "line 5: config \"listeners\": PLAINTEXT is not in controller.listener.names; a node that is no broker must not listen on it",
        ),
        (
            "process.roles=broker,controller",
            "process.roles=",
            "line 1: config \"process.roles\": wanted \"broker\", \"controller\" or \"broker,controller\"",
        ),
        (
            ",CONTROLLER://:9093",
            "",
            "line 5: config \"listeners\": a controller must listen on one of controller.listener.names",
        ),
        (
            ":9093\nlog",
            ":9092\nlog",
            "line 5: config \"listeners\": PLAINTEXT and CONTROLLER have the same port 9092",
        ),
        (
            "PLAINTEXT://:",
            "PLAIN://:",
            "line 5: config \"listeners\": listener PLAIN has no entry in listener.security.protocol.map",
        ),
        (
            "PLAINTEXT://:",
            "PLAINTEXT:",
            "line 5: config \"listeners\": \"PLAINTEXT:9092\" is not NAME://HOST:PORT",
        ),
        (
            "PLAINTEXT://:",
            "PLAINTEXT://0.0.0.0:",
            "line 5: config \"listeners\": PLAINTEXT://0.0.0.0:9092 cannot be reached from elsewhere: set advertised.listeners to a name or address of this machine",
        ),
        (
            "PLAINTEXT://:",
            "SSL://:",
            "config \"listener.security.protocol.map\": listener SSL asks for SSL, which is not built yet: only PLAINTEXT works",
        ),
        (
            "localhost:9093",
            "localhost",
            "line 3: config \"controller.quorum.bootstrap.servers\": \"localhost\" is not HOST:PORT",
        ),
        ("/data/b", "/data/a", "line 6: config \"log.dirs\": \"/data/a\" is listed twice"),
    ] {
        assert!(COMBINED.contains(change), "{change}");
        assert_eq!(problems(&COMBINED.replacen(change, to, 1))[0], problem);
    }
    for (more, problem) in [
        (
            "advertised.listeners=OTHER://a:1",
            "line 7: config \"advertised.listeners\": listener OTHER is not in listeners",
        ),
        (
            "inter.broker.listener.name=CONTROLLER",
            "line 7: config \"inter.broker.listener.name\": CONTROLLER is a controller listener; brokers need another one",
        ),
        (
            "inter.broker.listener.name=OTHER",
            "line 7: config \"inter.broker.listener.name\": OTHER is not in listeners and advertised.listeners",
        ),
        ("ottla.http.listener=8090", "line 7: config \"ottla.http.listener\": \"8090\" is not HOST:PORT"),
        (
            "broker.session.timeout.ms=900",
            "line 7: config \"broker.session.timeout.ms\": broker.heartbeat.interval.ms must be at most half of broker.session.timeout.ms, so that one lost heartbeat ends no session",
        ),
    ] {
        assert_eq!(problems(&combined_and(more)), [problem]);
    }
}

#[test]
fn odd_settings_are_warned_of() {
    let (config, warnings) = resolve(&combined_and(
        "colour=blue\nretention.ms=5\nnum.io.threads=64\nnum.network.threads=3\nnum.partitions=1\nnum.partitions=6",
    ));
    assert_eq!(
        warnings,
        [
            "line 7: config \"colour\" is unknown and ignored",
            "line 8: config \"retention.ms\" is unknown and ignored: brokers call it \"log.retention.ms\"",
            "line 9: config \"num.io.threads\" has no effect: connections share one pool of threads, one per core",
        ]
    );
    assert_eq!(config.topics.partitions, 6, "the last of two settings counts");
}

#[test]
fn what_would_mislead_if_it_were_ignored_is_refused() {
    assert_eq!(
        problems(&combined_and(
            "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer"
        )),
        [
            "line 7: invalid value \"org.apache.kafka.metadata.authorizer.StandardAuthorizer\" for config \"authorizer.class.name\": wanted nothing: authorization is not built yet, every client may do everything"
        ]
    );
}

#[test]
fn a_controller_listener_is_advertised_although_the_file_leaves_it_out() {
    let (config, _) = resolve(&combined_and("advertised.listeners=PLAINTEXT://host:19092"));
    assert_eq!(shown(&config.advertised_listeners), ["PLAINTEXT://host:19092", "CONTROLLER://laptop:9093"]);
}

#[test]
fn consumers_read_from_the_leader_unless_the_selector_is_kafkas_of_racks() {
    let selector = |class: &str| {
        let (config, warnings) = resolve(&combined_and(&format!("replica.selector.class={class}")));
        assert_eq!(warnings, [""; 0]);
        config.replication.selector
    };
    assert_eq!(resolve(COMBINED).0.replication.selector, ReplicaSelector::Leader);
    assert_eq!(selector(""), ReplicaSelector::Leader);
    assert_eq!(
        selector(" org.apache.kafka.common.replica.RackAwareReplicaSelector "),
        ReplicaSelector::RackAware
    );
    let refused = problems(&combined_and("replica.selector.class=com.example.Mine"));
    assert_eq!(
        refused,
        [
            "line 7: invalid value \"com.example.Mine\" for config \"replica.selector.class\": wanted org.apache.kafka.common.replica.RackAwareReplicaSelector, or nothing: Ottla loads no Java classes"
        ]
    );
}
