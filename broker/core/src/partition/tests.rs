use super::*;
use crate::config::Limit;
use crate::ids::{DirectoryId, PartitionEpoch};
use crate::metadata::image::LeaderRecoveryState;

const ME: NodeId = NodeId(1);
const PAGE_CACHE: Durability =
    Durability::PageCache { flush_records: Limit::Unlimited, flush_wait: Limit::Unlimited };

fn registration(leader: Option<i32>, isr: &[i32], epoch: i32) -> Arc<image::Partition> {
    replicated(isr, leader, isr, epoch)
}

fn replicated(replicas: &[i32], leader: Option<i32>, isr: &[i32], epoch: i32) -> Arc<image::Partition> {
    let nodes = |ids: &[i32]| ids.iter().map(|id| NodeId(*id)).collect::<Vec<_>>();
    Arc::new(image::Partition {
        directories: vec![DirectoryId::default(); replicas.len()],
        isr: nodes(isr),
        replicas: nodes(replicas),
        adding: Vec::new(),
        removing: Vec::new(),
        elr: Vec::new(),
        last_known_elr: Vec::new(),
        leader: leader.map(NodeId),
        leader_epoch: LeaderEpoch(epoch),
        partition_epoch: PartitionEpoch(epoch),
        recovery: LeaderRecoveryState::Recovered,
    })
}

fn positions(log_end: i64, flushed_end: i64) -> Positions {
    Positions {
        log_start: Offset(0),
        log_end: Offset(log_end),
        flushed_end: Offset(flushed_end),
        established: true,
    }
}

const SYNCED: AckSettings = AckSettings { durability: Durability::Synced, min_insync_replicas: 1 };

/// A replica made from these, with nothing written down of its high watermark.
fn replica(
    registration: Arc<image::Partition>,
    positions: Positions,
    settings: AckSettings,
    peers: &Peers,
) -> Partition<u32> {
    Partition::new(ME, registration, positions, Offset(0), settings, peers)
}

fn leader(log_end: i64) -> Partition<u32> {
    replica(registration(Some(1), &[1], 3), positions(log_end, log_end), SYNCED, &Peers::default())
}

/// Other settings, and nothing else.
fn configure(partition: &mut Partition<u32>, settings: AckSettings) -> Vec<Released<u32>> {
    let registration = Arc::clone(partition.registration());
    partition.register(registration, settings, &Peers::default())
}

fn ok(waiting: u32) -> Vec<Released<u32>> {
    vec![Released { waiting, verdict: Ok(()) }]
}

#[test]
fn synced_ack_waits_for_the_flush_and_so_does_the_reader() {
    let mut partition = leader(10);
    assert_eq!(partition.check_produce(AckLevel::All, None), Ok((LeaderEpoch(3), Offset(10))));
    assert!(partition.check_produce(AckLevel::All, Some(LeaderEpoch(3))).is_ok());
    let (asked, current) = (LeaderEpoch(2), LeaderEpoch(3));
    let fenced = PartitionError::FencedLeaderEpoch { asked, current };
    assert_eq!(partition.check_produce(AckLevel::All, Some(asked)), Err(fenced));
    assert_eq!(partition.appended(Offset(15), AckLevel::All, 7, &Peers::default()), []);
    assert_eq!(
        partition.check_fetch(Offset(10), None, ReadFrom::Leader).expect("in range").end_exclusive,
        Offset(10)
    );
    assert_eq!(partition.flushed(Offset(14), &Peers::default()), [], "part of the batch is not the batch");
    assert_eq!(partition.flushed(Offset(15), &Peers::default()), ok(7));
    assert_eq!(
        partition.check_fetch(Offset(10), None, ReadFrom::Leader).expect("in range").end_exclusive,
        Offset(15)
    );
}

#[test]
fn page_cache_ack_does_not_wait() {
    let mut partition = leader(0);
    configure(&mut partition, AckSettings { durability: PAGE_CACHE, ..SYNCED });
    assert_eq!(partition.appended(Offset(1), AckLevel::All, 7, &Peers::default()), ok(7));
    assert_eq!(partition.appended(Offset(2), AckLevel::Leader, 8, &Peers::default()), ok(8));
    assert_eq!(partition.high_watermark(), Offset(2));
}

#[test]
fn acks_1_is_as_durable_as_the_topic_asks() {
    let mut partition = leader(0);
    assert_eq!(partition.appended(Offset(1), AckLevel::Leader, 7, &Peers::default()), []);
    assert_eq!(partition.flushed(Offset(1), &Peers::default()), ok(7));
}

#[test]
fn acks_0_parks_nothing() {
    let mut partition = leader(0);
    assert_eq!(partition.appended(Offset(1), AckLevel::None, 7, &Peers::default()), []);
    assert_eq!(partition.flushed(Offset(1), &Peers::default()), []);
}

#[test]
fn isr_below_the_minimum_refuses_before_the_append_and_holds_the_high_watermark_after_it() {
    let mut partition =
        replica(replicated(&[1, 2], Some(1), &[1], 3), positions(0, 0), SYNCED, &Peers::default());
    assert_eq!(partition.appended(Offset(1), AckLevel::All, 7, &Peers::default()), []);
    let released = configure(&mut partition, AckSettings { min_insync_replicas: 2, ..SYNCED });
    let error = PartitionError::NotEnoughReplicasAfterAppend { isr: 1, min: 2 };
    assert_eq!(released, vec![Released { waiting: 7, verdict: Err(error) }]);
    assert_eq!(partition.flushed(Offset(1), &Peers::default()), []);
    assert_eq!(partition.high_watermark(), Offset(0), "rule 29: the high watermark stands still");
    let refused = Err(PartitionError::NotEnoughReplicas { isr: 1, min: 2 });
    assert_eq!(partition.check_produce(AckLevel::All, None), refused);
    assert!(partition.check_produce(AckLevel::Leader, None).is_ok(), "acks=1 is stored but not visible");
}

#[test]
fn no_more_replicas_are_needed_in_sync_than_there_are() {
    let mut partition = leader(0);
    assert_eq!(configure(&mut partition, AckSettings { min_insync_replicas: 2, ..SYNCED }), []);
    assert_eq!(partition.check_produce(AckLevel::All, None), Ok((LeaderEpoch(3), Offset(0))));
    assert_eq!(partition.appended(Offset(1), AckLevel::All, 7, &Peers::default()), []);
    assert_eq!(partition.flushed(Offset(1), &Peers::default()), ok(7));
    assert_eq!(partition.high_watermark(), Offset(1), "acks=1 and acks=all are visible");
}

#[test]
fn lost_leadership_refuses_what_is_parked() {
    let mut partition = leader(0);
    partition.appended(Offset(1), AckLevel::All, 7, &Peers::default());
    let released = partition.register(registration(None, &[1], 4), SYNCED, &Peers::default());
    assert_eq!(released, vec![Released { waiting: 7, verdict: Err(PartitionError::NotLeader) }]);
    assert_eq!(partition.check_produce(AckLevel::Leader, None), Err(PartitionError::NotLeader));
    assert_eq!(partition.check_fetch(Offset(0), None, ReadFrom::Leader), Err(PartitionError::NotLeader));
}

#[test]
fn a_new_epoch_of_the_sole_replica_keeps_what_is_parked() {
    let mut partition = leader(0);
    partition.appended(Offset(1), AckLevel::All, 7, &Peers::default());
    assert_eq!(partition.register(registration(Some(1), &[1], 4), SYNCED, &Peers::default()), []);
    assert_eq!(partition.flushed(Offset(1), &Peers::default()), ok(7));
}

#[test]
fn a_second_in_sync_replica_holds_the_high_watermark() {
    let partition: Partition<u32> =
        replica(registration(Some(1), &[1, 2], 3), positions(5, 5), SYNCED, &Peers::default());
    assert_eq!(partition.high_watermark(), Offset(0));
}

#[test]
fn epochs_of_clients_are_compared() {
    let partition = leader(5);
    let (asked_old, asked_new, current) = (LeaderEpoch(2), LeaderEpoch(4), LeaderEpoch(3));
    let fenced = Err(PartitionError::FencedLeaderEpoch { asked: asked_old, current });
    let unknown = Err(PartitionError::UnknownLeaderEpoch { asked: asked_new, current });
    assert_eq!(partition.check_fetch(Offset(0), Some(asked_old), ReadFrom::Leader), fenced);
    assert_eq!(partition.check_fetch(Offset(0), Some(asked_new), ReadFrom::Leader), unknown);
    assert!(partition.check_fetch(Offset(0), Some(current), ReadFrom::Leader).is_ok());
}

#[test]
fn offsets_beyond_the_log_are_out_of_range_and_the_log_end_is_not() {
    let mut partition = leader(5);
    partition.appended(Offset(8), AckLevel::Leader, 1, &Peers::default());
    assert!(
        partition.check_fetch(Offset(8), None, ReadFrom::Leader).is_ok(),
        "rule 47: above the high watermark waits"
    );
    let (log_start, log_end) = (Offset(0), Offset(8));
    for asked in [Offset(9), Offset(-1)] {
        let expected = Err(PartitionError::OffsetOutOfRange { asked, log_start, log_end });
        assert_eq!(partition.check_fetch(asked, None, ReadFrom::Leader), expected);
    }
}

#[test]
fn a_failed_directory_answers_everything_with_a_storage_error() {
    let mut partition = leader(5);
    partition.appended(Offset(6), AckLevel::All, 1, &Peers::default());
    let refused = vec![Released { waiting: 1, verdict: Err(PartitionError::Storage) }];
    assert_eq!(partition.fail(), refused);
    assert_eq!(partition.check_produce(AckLevel::Leader, None), Err(PartitionError::Storage));
    assert_eq!(partition.check_fetch(Offset(0), None, ReadFrom::Leader), Err(PartitionError::Storage));
}

#[test]
fn a_restart_shows_nothing_that_the_minimum_of_the_isr_has_held_back() {
    let new = |min| -> Partition<u32> {
        let settings = AckSettings { min_insync_replicas: min, ..SYNCED };
        replica(replicated(&[1, 2], Some(1), &[1], 3), positions(5, 5), settings, &Peers::default())
    };
    assert_eq!((new(1).high_watermark(), new(2).high_watermark()), (Offset(5), Offset(0)));
}
