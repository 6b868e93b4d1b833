use std::time::Duration;

use ottla_core::config::{Address, InitialController};
use ottla_core::controller::operation::{FetchMetadata, FetchedMetadata};
use ottla_core::ids::{ClusterId, MetadataOffset, NodeId};
use ottla_core::quorum::{Peer, QuorumConfig};
use uuid::Uuid;

use super::*;

const DIRECTORY_ID: DirectoryId = DirectoryId(Uuid::from_u64_pair(7, 7));

fn address(port: u16) -> Address {
    Address { host: "127.0.0.1".to_owned(), port }
}

/// Controller 1 in a fresh directory, one of these first voters.
fn controller(directory: &Path, voters: &[(i32, DirectoryId)]) -> ControllerHandle {
    controller_with_snapshots(directory, voters, u64::MAX)
}

fn controller_with_snapshots(
    directory: &Path,
    voters: &[(i32, DirectoryId)],
    snapshot_after_bytes: u64,
) -> ControllerHandle {
    let cluster_id = ClusterId(Uuid::from_u128(1));
    let me = Peer { node_id: NodeId(1), directory_id: DIRECTORY_ID, address: address(1) };
    let voters = voters.iter().map(|(id, directory_id)| InitialController {
        node_id: NodeId(*id),
        address: address(1),
        directory_id: *directory_id,
    });
    let first = BootstrapVoters(voters.collect());
    let config = NodeConfig { snapshot_after_bytes, ..NodeConfig::new(QuorumConfig::new(cluster_id, me, 1)) };
    let (fatal, _) = mpsc::unbounded_channel();
    start((directory, DIRECTORY_ID), 100, Some(&first), config, fatal).expect("a controller")
}

#[tokio::test]
async fn a_controller_is_caught_up_when_the_leader_has_committed_something() {
    let directory = tempfile::tempdir().expect("a directory");
    let alone = controller(directory.path(), &[(1, DIRECTORY_ID)]);
    assert!(alone.images().borrow().offset.0 > 0, "what it was formatted with is there already");
    assert!(!alone.is_caught_up(), "and proves nothing");
    alone.caught_up.clone().wait_for(|caught_up| *caught_up).await.expect("the controller runs");
    let active = alone.active().borrow().clone();
    assert_eq!(active, Some(ActiveController { address: HostPort::new("127.0.0.1".to_owned(), 1) }));
}

#[tokio::test]
async fn a_snapshot_is_written_and_takes_the_place_of_what_came_before() {
    let directory = tempfile::tempdir().expect("a directory");
    let alone = controller_with_snapshots(directory.path(), &[(1, DIRECTORY_ID)], 1);
    alone.caught_up.clone().wait_for(|caught_up| *caught_up).await.expect("the controller runs");
    // Entry 1 is in every snapshot, so who has nothing is told of the newest.
    let from_the_start = || {
        let after = MetadataOffset(0);
        let fetch = FetchMetadata { node_id: NodeId(2), after, wait_max: Duration::ZERO, bytes_max: 1 };
        alone.request(Operation::FetchMetadata(fetch))
    };
    let newest = async {
        loop {
            match from_the_start().await {
                Ok(Reply::FetchMetadata(FetchedMetadata::UseSnapshot(id))) if id.offset.0 > 1 => break id,
                Ok(Reply::FetchMetadata(_)) => {}
                other => panic!("{other:?}"),
            }
        }
    };
    let id = tokio::time::timeout(Duration::from_secs(60), newest).await.expect("a snapshot");
    let names = std::fs::read_dir(directory.path().join(DIRECTORY)).expect("the metadata log");
    let names = names.map(|name| name.expect("a name").file_name().into_string().expect("it is text"));
    let checkpoints: Vec<String> = names.filter(|name| name.ends_with(".checkpoint")).collect();
    assert_eq!(checkpoints, [format!("{id}.checkpoint")]);
}

#[tokio::test(start_paused = true)]
async fn a_controller_without_a_majority_is_not_caught_up() {
    let directory = tempfile::tempdir().expect("a directory");
    let others = [(1, DIRECTORY_ID), (2, DirectoryId(Uuid::from_u64_pair(8, 8)))];
    let alone = controller(directory.path(), &others);
    // Nobody listens on port 1. Time is paused, so the ticks of a minute pass at once.
    let mut caught_up = alone.caught_up.clone();
    let waited = tokio::time::timeout(Duration::from_secs(60), caught_up.wait_for(|caught_up| *caught_up));
    assert!(waited.await.is_err());
    assert!(!alone.is_caught_up() && alone.active().borrow().is_none());
}
