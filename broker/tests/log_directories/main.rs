//! A node with several log directories, as a real process: where partitions go, what a restart finds, and what
//! is left when a directory is lost while the node runs. And what a crowd of connections does to a directory.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod rig;

use rig::{Node, create, create_if_it_lives, fetch, logs, metadata, produce, wait_for, wait_until_led};

const KAFKA_STORAGE_ERROR: i16 = 56;

#[tokio::test]
async fn partitions_are_spread_over_the_directories_and_found_again() {
    let mut node = Node::formatted(&["a", "b"]);
    let client = node.start().await;
    assert_eq!(create(&client, "orders", 6).await, 0);
    wait_until_led(&client, "orders", 6).await;
    for partition in 0..6 {
        assert_eq!(produce(&client, "orders", partition, "kept").await, 0);
    }
    let spread = |node: &Node| ["a", "b"].map(|name| logs(&node.directory(name), "orders"));
    let before = spread(&node);
    assert_eq!(before.each_ref().map(Vec::len), [3, 3]);
    assert!(node.stop().success(), "{}", node.log());
    let client = node.start().await;
    wait_until_led(&client, "orders", 6).await;
    for partition in 0..6 {
        assert!(fetch(&client, "orders", partition).await.is_ok_and(|bytes| bytes > 0), "{partition}");
    }
    assert_eq!(spread(&node), before, "nothing was made anew elsewhere");
}

#[tokio::test]
async fn a_directory_that_is_lost_takes_only_its_own_partitions() {
    let mut node = Node::formatted(&["a", "b"]);
    let client = node.start().await;
    assert_eq!(create(&client, "orders", 4).await, 0);
    wait_until_led(&client, "orders", 4).await;
    let (lost, kept) = (logs(&node.directory("b"), "orders"), logs(&node.directory("a"), "orders"));
    for partition in 0..4 {
        assert_eq!(produce(&client, "orders", partition, "kept").await, 0);
    }
    // The mount goes away: nothing can be made in it any more.
    std::fs::rename(node.directory("b"), node.directory("gone")).unwrap();
    assert_eq!(create(&client, "payments", 2).await, 0);
    let shown =
        wait_for(&client, "orders", |shown| shown.iter().any(|partition| partition.leader == -1)).await;
    let led = |leads: bool| -> Vec<i32> {
        shown.iter().filter(|partition| (partition.leader == 1) == leads).map(|p| p.index).collect()
    };
    assert_eq!((led(true), led(false)), (kept.clone(), lost.clone()));
    assert_eq!(produce(&client, "orders", lost[0], "refused").await, KAFKA_STORAGE_ERROR);
    assert_eq!(fetch(&client, "orders", lost[0]).await, Err(KAFKA_STORAGE_ERROR));
    assert_eq!(produce(&client, "orders", kept[0], "taken").await, 0);
    let path = node.directory("b").display().to_string();
    let metrics = node.http("/metrics");
    assert!(metrics.contains(&format!("ottla_log_directory_online{{directory=\"{path}\"}} 0")), "{metrics}");
    let log = node.log();
    let error = log.lines().find(|line| line.contains("ERROR")).unwrap_or_default();
    assert!(error.contains("log directory has failed") && error.contains(&path), "{log}");

    // Repaired and started again, everything acknowledged is there.
    std::fs::rename(node.directory("gone"), node.directory("b")).unwrap();
    assert!(node.stop().success(), "{}", node.log());
    let client = node.start().await;
    wait_until_led(&client, "orders", 4).await;
    for partition in 0..4 {
        assert!(fetch(&client, "orders", partition).await.is_ok_and(|bytes| bytes > 0), "{partition}");
    }
    wait_until_led(&client, "payments", 2).await;
}

#[tokio::test]
async fn a_node_whose_last_directory_is_lost_ends() {
    let mut node = Node::formatted(&["a"]);
    let client = node.start().await;
    std::fs::rename(node.directory("a"), node.directory("gone")).unwrap();
    create_if_it_lives(&client, "orders", 1).await;
    assert_eq!(node.wait().code(), Some(1), "{}", node.log());
    assert!(node.log().contains("no log directory is left"), "{}", node.log());
}

#[tokio::test]
async fn the_directory_of_the_metadata_log_takes_the_node_with_it() {
    let mut node = Node::formatted(&["a", "b"]);
    let client = node.start().await;
    std::fs::rename(node.directory("a"), node.directory("gone")).unwrap();
    create_if_it_lives(&client, "orders", 2).await;
    assert_eq!(node.wait().code(), Some(1), "{}", node.log());
}

#[tokio::test]
async fn a_missing_or_foreign_directory_is_refused_with_a_sentence() {
    let mut node = Node::formatted(&["a", "b"]);
    let client = node.start().await;
    metadata(&client, "none").await;
    assert!(node.stop().success(), "{}", node.log());

    node.configure(&["a", "c"]);
    let (status, output) = node.ottla(&["server"]);
    assert_eq!(status.code(), Some(1), "{output}");
    let path = node.directory("c").display().to_string();
    assert!(output.contains(&path) && output.contains("is not formatted"), "{output}");

    let other = Node::formatted(&["d"]);
    let text = std::fs::read_to_string(other.directory("d").join("meta.properties")).unwrap();
    std::fs::create_dir(node.directory("c")).unwrap();
    let foreign = text.replace("AAAAAAAAAAAAAAAAAAAAAQ", "AAAAAAAAAAAAAAAAAAAAAg");
    std::fs::write(node.directory("c").join("meta.properties"), foreign).unwrap();
    let (status, output) = node.ottla(&["server"]);
    assert_eq!(status.code(), Some(1), "{output}");
    assert!(output.contains(&path) && output.contains("belongs to cluster"), "{output}");
}

#[tokio::test]
async fn a_controller_whose_metadata_log_is_gone_does_not_vote_as_its_old_self() {
    let mut node = Node::formatted(&["a"]);
    let client = node.start().await;
    assert_eq!(create(&client, "orders", 1).await, 0);
    assert!(node.stop().success(), "{}", node.log());
    std::fs::remove_dir_all(node.directory("a").join("cluster-metadata")).unwrap();
    let (status, output) = node.ottla(&["server"]);
    assert_eq!(status.code(), Some(1), "{output}");
    assert!(output.contains("cluster-metadata\" is gone") && output.contains("format it anew"), "{output}");
    assert!(!node.directory("a").join("cluster-metadata").exists(), "nothing was made");
}

#[tokio::test]
async fn connections_up_to_the_limit_of_open_files_take_none_from_the_logs() {
    let mut node = Node::formatted(&["a"]);
    let client = node.start_limited(192).await;
    // Three files each: more than there may be open at once.
    assert_eq!(create(&client, "orders", 30).await, 0);
    wait_until_led(&client, "orders", 30).await;
    let crowds = node.crowds(100);
    let held = crowds.each_ref().map(Vec::len);
    assert!(held.iter().all(|held| (5..90).contains(held)), "{held:?}");

    assert_eq!(create(&client, "payments", 10).await, 0);
    wait_until_led(&client, "payments", 10).await;
    for (topic, partitions) in [("orders", 30), ("payments", 10)] {
        for partition in 0..partitions {
            assert_eq!(produce(&client, topic, partition, "taken").await, 0, "{}", node.log());
            assert!(fetch(&client, topic, partition).await.is_ok_and(|bytes| bytes > 0), "{}", node.log());
        }
    }
    let log = node.log();
    assert!(!log.contains("ERROR") && !log.contains("no file can be opened"), "{log}");
    let lines = log.matches("too many").count();
    assert!((3..10).contains(&lines), "{lines}; each of three listeners has one in ten seconds: {log}");
    drop(crowds);
    // There is room again as soon as the node has seen them go.
    node.connect().await;
    assert!(node.stop().success(), "{}", node.log());
}
