//! What a member's disk holds after a crash at any moment.

use bytes::Bytes;
use ottla_core::disk::{Disk, DiskFile, OpenMode};
use ottla_core::ids::{DirectoryId, MetadataOffset, Term};
use ottla_core::metadata::image::Image;
use ottla_core::metadata::record::{FeatureLevel, Record};
use ottla_core::quorum::store::{HardState, LogEntry, Persist, PersistAction, StoreError};
use ottla_core::quorum::{RaftId, RaftStore, Recovered, SnapshotId, snapshot};
use ottla_sim::disk::{CrashKind, SimDisk};
use ottla_sim::rng::Rng;

use crate::rig::{CLUSTER, DIRECTORY, directory};

fn me() -> DirectoryId {
    directory(1)
}

fn entry(offset: u64, term: u64) -> LogEntry {
    let payload = Bytes::from(format!("entry {offset} of term {term}"));
    LogEntry { offset: MetadataOffset(offset), term: Term(term), changes_voters: offset == 3, payload }
}

fn append(term: u64, commit: u64, offsets: std::ops::Range<u64>) -> PersistAction {
    PersistAction::Append {
        hard_state: HardState {
            term: Term(term),
            vote: Some(RaftId::of(me()).unwrap()),
            commit: MetadataOffset(commit),
        },
        entries: offsets.map(|offset| entry(offset, term)).collect(),
    }
}

fn image(offset: u64, term: u64) -> Image {
    let mut image = Image::default();
    let record = FeatureLevel { name: "level".to_owned(), level: i16::try_from(offset).unwrap() };
    image.replay_entry(MetadataOffset(offset), Term(term), &[Record::FeatureLevel(record)]).unwrap();
    image
}

fn install(offset: u64, term: u64) -> PersistAction {
    let image = image(offset, term);
    PersistAction::Install { id: SnapshotId::of(&image), bytes: snapshot::encode(&image) }
}

/// One thing that a member does at its disk.
#[derive(Clone)]
enum Step {
    Log(PersistAction),
    Snapshot(Image),
}

fn log(actions: &[PersistAction]) -> Vec<Step> {
    actions.iter().cloned().map(Step::Log).collect()
}

fn compact(offset: u64, term: u64) -> PersistAction {
    PersistAction::Compact { id: SnapshotId::of(&image(offset, term)) }
}

/// A life with everything in it: votes, entries that are replaced, snapshots taken and received.
fn life() -> Vec<Step> {
    vec![
        Step::Log(append(1, 0, 1..2)),
        Step::Log(append(1, 1, 2..6)),
        Step::Log(append(2, 2, 4..9)),
        Step::Log(append(3, 2, 9..9)),
        Step::Snapshot(image(5, 2)),
        // The log goes on before it is cut.
        Step::Log(append(3, 7, 9..12)),
        Step::Log(compact(5, 2)),
        // From the leader of term 5, whose history differs from ours after entry 7. It overtakes our own snapshot.
        Step::Log(install(10, 5)),
        Step::Snapshot(image(7, 2)),
        Step::Log(append(5, 11, 11..14)),
        Step::Log(compact(7, 2)),
        Step::Snapshot(image(12, 5)),
        Step::Log(compact(12, 5)),
        Step::Log(append(6, 12, 14..16)),
        // From a leader that is far ahead.
        Step::Log(install(40, 7)),
        Step::Log(append(7, 41, 41..43)),
    ]
}

/// What must be found after an action, by the simplest means.
fn after(mut state: Recovered, step: &Step) -> Recovered {
    match step {
        Step::Log(PersistAction::Append { hard_state, entries }) => {
            state.hard_state = *hard_state;
            for entry in entries {
                state.entries.retain(|kept| kept.offset < entry.offset);
                state.entries.push(entry.clone());
            }
        }
        Step::Log(PersistAction::Install { bytes, .. }) => {
            state.image = snapshot::decode(bytes).unwrap();
            state.entries.clear();
        }
        Step::Log(PersistAction::Compact { .. }) => {}
        Step::Snapshot(image) if image.offset < state.image.offset => {}
        Step::Snapshot(image) => {
            state.image = image.clone();
            state.entries.retain(|kept| kept.offset > image.offset);
        }
    }
    state.hard_state.commit = state.hard_state.commit.max(state.image.offset);
    state.hard_state.term = state.hard_state.term.max(state.image.term);
    state
}

fn states(steps: &[Step]) -> Vec<Recovered> {
    let mut states = vec![Recovered::default()];
    for step in steps {
        states.push(after(states.last().unwrap().clone(), step));
    }
    states
}

fn formatted(seed: u64) -> SimDisk {
    let disk = SimDisk::new(Rng::new(seed));
    RaftStore::format(&disk, DIRECTORY, CLUSTER, None).unwrap();
    disk
}

fn open(disk: &SimDisk) -> (RaftStore<SimDisk>, Recovered) {
    RaftStore::open(disk.clone(), DIRECTORY, me()).unwrap_or_else(|error| panic!("{error}"))
}

/// Carries actions out, one after the other, until one fails. Returns how many did not.
fn live(store: &mut RaftStore<SimDisk>, steps: &[Step]) -> usize {
    let done = |step: &&Step| match step {
        Step::Log(action) => store.persist(&Persist { number: 1, actions: vec![action.clone()] }).is_ok(),
        Step::Snapshot(image) => store.snapshot_writer().write(image).is_ok(),
    };
    steps.iter().take_while(done).count()
}

#[test]
fn everything_is_found_again() {
    let disk = formatted(1);
    let (mut store, found) = open(&disk);
    assert_eq!(found, Recovered::default());
    let actions = life();
    for (action, expected) in actions.iter().zip(states(&actions).into_iter().skip(1)) {
        assert_eq!(live(&mut store, std::slice::from_ref(action)), 1);
        assert_eq!(open(&disk).1, expected);
    }
}

#[test]
fn a_crash_after_any_operation_loses_nothing_that_was_acknowledged() {
    let actions = life();
    let states = states(&actions);
    for kind in [CrashKind::Process, CrashKind::PowerAllLost, CrashKind::PowerSomeLost] {
        for operations in 0.. {
            let disk = formatted(operations);
            let (mut store, _) = open(&disk);
            disk.crash_after(operations);
            let acknowledged = live(&mut store, &actions);
            if acknowledged == actions.len() {
                break;
            }
            let disk = disk.crash(kind);
            let (mut store, found) = open(&disk);
            let at = states[acknowledged..].iter().take(2).position(|state| *state == found);
            let Some(at) = at else {
                panic!(
                    "{kind:?} after {operations} operations, {acknowledged} acknowledged: {found:?} is neither \
                     {:?} nor {:?}",
                    states[acknowledged],
                    states[acknowledged + 1]
                )
            };
            // Life goes on, and what it brings is found again.
            let rest = &actions[acknowledged + at..];
            assert_eq!(live(&mut store, rest), rest.len());
            assert_eq!(Some(&open(&disk).1), states.last(), "{kind:?} after {operations} operations");
        }
    }
}

#[test]
fn a_failed_sync_is_final() {
    let disk = formatted(1);
    let (mut store, _) = open(&disk);
    assert_eq!(live(&mut store, &log(&[append(1, 0, 1..3)])), 1);
    disk.set_sync_error_permille(1_000);
    assert_eq!(live(&mut store, &log(&[append(1, 1, 3..4)])), 0);
    disk.set_sync_error_permille(0);
    assert_eq!(live(&mut store, &log(&[append(1, 1, 4..5)])), 0, "nothing is written after a failed sync");
}

fn flip(disk: &SimDisk, name: &str, position: u64) {
    let file = disk.open(&format!("{DIRECTORY}/{name}"), OpenMode::Existing).unwrap();
    let mut byte = [0];
    file.read_at(&mut byte, position).unwrap();
    file.write_at(&[byte[0] ^ 1], position).unwrap();
}

#[test]
fn damage_before_the_end_is_refused_and_not_cut_off() {
    let disk = formatted(1);
    let (mut store, _) = open(&disk);
    let actions = log(&[append(1, 0, 1..3), append(1, 1, 3..4), append(2, 1, 4..5)]);
    assert_eq!(live(&mut store, &actions), 3);
    let log = "00000000000000000000.log";
    let length = disk.open(&format!("{DIRECTORY}/{log}"), OpenMode::Existing).unwrap().length().unwrap();
    let mut cut = 0;
    for position in 0..length {
        flip(&disk, log, position);
        match RaftStore::open(disk.clone(), DIRECTORY, me()) {
            Err(StoreError::Damaged { .. }) => {}
            Err(error) => panic!("{error}"),
            // Only the last frame may be taken for one that a crash tore; the test puts it back.
            Ok((_, found)) => {
                assert_eq!(found, states(&actions)[2]);
                cut += 1;
                let (mut store, _) = open(&disk);
                assert_eq!(live(&mut store, &actions[2..]), 1);
                continue;
            }
        }
        flip(&disk, log, position);
    }
    assert!(cut > 0 && cut < length / 2, "{cut} of {length}");
}

#[test]
fn a_log_of_another_directory_is_refused() {
    let disk = formatted(1);
    let (mut store, _) = open(&disk);
    assert_eq!(live(&mut store, &log(&[append(1, 0, 1..3), append(1, 1, 3..4)])), 2);
    let error = RaftStore::open(disk.clone(), DIRECTORY, directory(2)).unwrap_err();
    assert!(error.to_string().contains("it belongs to another directory"), "{error}");
    assert_eq!(open(&disk).1.entries.len(), 3);
}
