//! Operations that find no descriptor, at each place where they want one.

use ottla_core::disk::{Disk, is_no_descriptor};
use ottla_core::ids::Offset;
use ottla_core::log::{Log, LogConfig};
use ottla_core::time::Wall;
use ottla_sim::disk::CrashKind;

use crate::rig::{Batch, DIRECTORY, append, check_producers, contents, create, disk, open, sync, topic_id};

/// More than any operation below asks for.
const ENOUGH: u64 = 20;

#[test]
fn an_append_that_finds_none_leaves_the_log_as_it_was() {
    let full = LogConfig { segment_bytes: 1, ..LogConfig::default() };
    for left in 0..ENOUGH {
        let disk = disk(left);
        let mut log = create(&disk, &full);
        append(&mut log, Batch::at(0));
        sync(&mut log);
        let names = disk.list(DIRECTORY).unwrap();
        disk.set_descriptors(left);
        let rolled = log.append(&[Batch::at(1).bytes()], Wall(0));
        disk.set_descriptors(u64::MAX);
        if let Err(error) = rolled {
            assert!(is_no_descriptor(&error) && !log.has_failed(), "{left}: {error}");
            let made = log.segments().count() > 1;
            assert!(made || disk.list(DIRECTORY).unwrap() == names, "{left}: nothing is left of the roll");
            // It fits into the segment before: the next one, if any, begins elsewhere.
            log.configure(&LogConfig::default());
            append(&mut log, Batch::at(1));
        }
        append(&mut log, Batch::at(2));
        sync(&mut log);
        let bytes = contents(&log);
        let (log, report) = open(&disk.crash(CrashKind::PowerAllLost), &LogConfig::default(), 3);
        assert_eq!((log.log_end(), report.cut_bytes), (Offset(3), 0), "{left}");
        assert_eq!(contents(&log), bytes, "{left}");
    }
}

#[test]
fn a_sync_that_finds_none_is_done_again() {
    for left in 0..ENOUGH {
        let disk = disk(left);
        let mut log = create(&disk, &LogConfig { segment_bytes: 1, ..LogConfig::default() });
        (0..3).for_each(|offset| append(&mut log, Batch::at(offset)));
        let job = log.take_sync().unwrap();
        disk.set_descriptors(left);
        let first = job.run();
        disk.set_descriptors(u64::MAX);
        assert!(first.is_ok() || first.is_err_and(|error| is_no_descriptor(&error)), "{left}");
        assert_eq!(log.sync_finished(job.number(), job.run()).unwrap(), Offset(3), "{left}");
        let (log, _) = open(&disk.crash(CrashKind::PowerAllLost), &LogConfig::default(), 3);
        assert_eq!(log.log_end(), Offset(3), "{left}");
    }
}

#[test]
fn a_log_that_could_not_be_made_is_made_later() {
    for left in 0..ENOUGH {
        let disk = disk(left);
        disk.set_descriptors(left);
        let make = || Log::create(disk.clone(), DIRECTORY, topic_id(), &LogConfig::default(), Offset(0));
        let first = make();
        disk.set_descriptors(u64::MAX);
        let mut log = first.unwrap_or_else(|error| {
            assert!(is_no_descriptor(&error), "{left}: {error}");
            make().unwrap()
        });
        append(&mut log, Batch::at(0));
        assert_eq!(sync(&mut log), Offset(1), "{left}");
    }
}

#[test]
fn a_cut_that_finds_none_leaves_the_log_as_it_was_or_is_done() {
    let config = LogConfig { segment_bytes: 1_000, index_interval_bytes: 200, ..LogConfig::default() };
    for left in 0..2 * ENOUGH {
        let disk = disk(left);
        let mut log = create(&disk, &config);
        (0..40).for_each(|offset| append(&mut log, Batch::at(offset)));
        sync(&mut log);
        let before = contents(&log);
        disk.set_descriptors(left);
        let cut = log.truncate_to(Offset(15));
        // Until what was removed is durably gone, nothing takes its place.
        let starved = log.append(&[Batch { epoch: 1, ..Batch::at(log.log_end().0) }.bytes()], Wall(0));
        disk.set_descriptors(u64::MAX);
        match cut {
            Ok(end) => assert_eq!(end, Offset(15), "{left}"),
            Err(error) => {
                assert!(is_no_descriptor(&error), "{left}: {error}");
                assert!(starved.is_ok() || contents(&log) == before, "{left}: nothing was changed");
                assert_eq!(log.truncate_to(Offset(15)).unwrap(), Offset(15), "{left}: it is done again");
            }
        }
        assert!(!log.has_failed(), "{left}");
        check_producers(&log);
        if log.log_end() == Offset(15) {
            append(&mut log, Batch { epoch: 1, ..Batch::at(15) });
        }
        sync(&mut log);
        let bytes = contents(&log);
        let (log, _) = open(&disk.crash(CrashKind::PowerAllLost), &config, 0);
        assert_eq!((contents(&log), log.log_end()), (bytes, Offset(16)), "{left}");
    }
}

#[test]
fn a_log_that_finds_none_to_begin_anew_is_as_it_was_or_begins() {
    for left in 0..ENOUGH {
        let disk = disk(left);
        let mut log = create(&disk, &LogConfig { segment_bytes: 1_000, ..LogConfig::default() });
        (0..40).for_each(|offset| append(&mut log, Batch::at(offset)));
        sync(&mut log);
        let before = contents(&log);
        disk.set_descriptors(left);
        let restarted = log.restart_at(Offset(100));
        disk.set_descriptors(u64::MAX);
        if let Err(error) = restarted {
            assert!(is_no_descriptor(&error) && !log.has_failed(), "{left}: {error}");
            assert_eq!(contents(&log), before, "{left}");
            log.restart_at(Offset(100)).unwrap();
        }
        append(&mut log, Batch::at(100));
        sync(&mut log);
        let (log, _) = open(&disk.crash(CrashKind::PowerAllLost), &LogConfig::default(), 0);
        assert_eq!((log.log_start(), log.log_end()), (Offset(100), Offset(101)), "{left}");
    }
}
