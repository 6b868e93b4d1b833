use super::*;

fn disk() -> SimDisk {
    SimDisk::new(Rng::new(1))
}

fn read(disk: &SimDisk, path: &str) -> Vec<u8> {
    let file = disk.open(path, OpenMode::Existing).unwrap();
    let mut bytes = vec![0xee; usize::try_from(file.length().unwrap()).unwrap()];
    assert_eq!(file.read_at(&mut bytes, 0).unwrap(), bytes.len());
    bytes
}

/// A file with a durable name.
fn durable_file(disk: &SimDisk, path: &str, bytes: &[u8]) -> SimFile {
    let file = disk.open(path, OpenMode::Create).unwrap();
    file.write_at(bytes, 0).unwrap();
    file.sync().unwrap();
    disk.sync_directory("").unwrap();
    file
}

#[test]
fn a_directory_of_a_disk_is_a_disk_of_its_own_that_shares_its_fate() {
    let whole = disk();
    whole.create_directory("second").unwrap();
    whole.sync_directory("").unwrap();
    let second = whole.within("second");
    durable_file(&whole, "a", b"whole");
    durable_file(&second, "a", b"second");
    second.open("b", OpenMode::Create).unwrap();
    second.rename("a", "c").unwrap();
    assert_eq!((read(&whole, "a"), read(&whole, "second/c")), (b"whole".to_vec(), b"second".to_vec()));
    assert_eq!(second.within("").list("").unwrap(), ["b", "c"]);
    let whole = whole.crash(CrashKind::PowerAllLost);
    assert_eq!(whole.within("second").list("").unwrap(), ["a"], "the newer names were not durable");
    assert!(second.list("").is_err(), "it is of an earlier life");
}

#[test]
fn syncs_fail_in_one_directory_and_not_in_the_other() {
    let whole = disk();
    whole.create_directory("second").unwrap();
    let second = whole.within("second");
    second.set_sync_error_permille(1000);
    let file = |disk: &SimDisk| disk.open("a", OpenMode::Create).unwrap();
    assert!(file(&whole).sync().is_ok());
    assert!(file(&second).sync().is_err());
    whole.set_sync_error_permille(1000);
    assert!(file(&whole).sync().is_err());
    assert!(file(&second).sync().is_err());
}

#[test]
fn reads_see_writes_before_any_sync_and_stop_at_the_end() {
    let disk = disk();
    let file = disk.open("a", OpenMode::Create).unwrap();
    file.write_at(&[7; 700], 300).unwrap();
    assert_eq!(file.length().unwrap(), 1000);
    let mut bytes = [1; 100];
    assert_eq!(file.read_at(&mut bytes, 250).unwrap(), 100);
    assert_eq!((&bytes[..50], &bytes[50..]), (&[0; 50][..], &[7; 50][..]));
    assert_eq!(file.read_at(&mut bytes, 990).unwrap(), 10);
    assert_eq!(file.read_at(&mut bytes, 5000).unwrap(), 0);
    file.set_length(301).unwrap();
    file.set_length(310).unwrap();
    assert_eq!(read(&disk, "a")[298..], [0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn a_process_crash_keeps_the_page_cache_but_does_not_make_it_durable() {
    let disk = disk();
    let file = durable_file(&disk, "a", b"old");
    file.write_at(b"new", 0).unwrap();
    let disk = disk.crash(CrashKind::Process);
    assert_eq!(read(&disk, "a"), b"new");
    let disk = disk.crash(CrashKind::PowerAllLost);
    assert_eq!(read(&disk, "a"), b"old");
}

#[test]
fn power_loss_takes_what_was_not_synced_and_leaves_what_was() {
    let disk = disk();
    let file = durable_file(&disk, "a", &[1; 2000]);
    file.write_at(&[2; 2000], 0).unwrap();
    file.set_length(600).unwrap();
    let disk = disk.crash(CrashKind::PowerAllLost);
    assert_eq!(read(&disk, "a"), [1; 2000]);
}

#[test]
fn power_loss_tears_writes_at_sectors_and_invents_nothing() {
    let mut seen_mixed = false;
    for seed in 0..50 {
        let disk = SimDisk::new(Rng::new(seed));
        let file = durable_file(&disk, "a", &[1; 1024]);
        file.write_at(&[2; 2048], 0).unwrap();
        let bytes = read(&disk.crash(CrashKind::PowerSomeLost), "a");
        assert!(bytes.len() == 1024 || bytes.len() == 2048);
        for (i, sector) in bytes.chunks(512).enumerate() {
            let old = if i < 2 { 1 } else { 0 };
            assert!(sector.iter().all(|b| *b == 2) || sector.iter().all(|b| *b == old), "sector {i}");
        }
        seen_mixed |= bytes[0] != bytes[512];
    }
    assert!(seen_mixed, "no write was ever torn");
}

#[test]
fn unsynced_writes_are_kept_in_any_order() {
    let mut kept = std::collections::BTreeSet::new();
    for seed in 0..50 {
        let disk = SimDisk::new(Rng::new(seed));
        let file = durable_file(&disk, "a", &[0; 1024]);
        file.write_at(b"1", 0).unwrap();
        file.write_at(b"2", 512).unwrap();
        let bytes = read(&disk.crash(CrashKind::PowerSomeLost), "a");
        kept.insert((bytes[0] == b'1', bytes[512] == b'2'));
    }
    assert_eq!(kept.len(), 4, "{kept:?}");
}

#[test]
fn a_name_is_durable_only_after_its_directory_is_synced() {
    let disk = disk();
    disk.create_directory("d").unwrap();
    let file = disk.open("d/a", OpenMode::Create).unwrap();
    file.write_at(b"x", 0).unwrap();
    file.sync().unwrap();
    disk.sync_directory("d").unwrap();
    let crashed = disk.crash(CrashKind::PowerAllLost);
    assert!(crashed.list("").unwrap().is_empty(), "the directory's own name was never synced");

    crashed.create_directory("d").unwrap();
    durable_file(&crashed, "b", b"b");
    let file = crashed.open("d/a", OpenMode::Create).unwrap();
    file.write_at(b"x", 0).unwrap();
    file.sync().unwrap();
    crashed.rename("b", "c").unwrap();
    let crashed = crashed.crash(CrashKind::PowerAllLost);
    assert_eq!(crashed.list("").unwrap(), ["b", "d"], "the rename was not synced");
    assert!(crashed.list("d").unwrap().is_empty(), "syncing a file does not sync its name");
}

#[test]
fn names_that_a_disk_wrote_back_by_itself_are_durable() {
    let whole = disk();
    whole.create_directory("logs").unwrap();
    whole.sync_directory("").unwrap();
    let logs = whole.within("logs");
    durable_file(&logs, "a", b"a");
    logs.remove("a").unwrap();
    logs.open("b", OpenMode::Create).unwrap();
    whole.write_back_names("logs");
    whole.write_back_names("gone");
    assert_eq!(whole.crash(CrashKind::PowerAllLost).list("logs").unwrap(), ["b"]);
}

#[test]
fn a_rename_is_seen_whole_or_not_at_all() {
    let mut outcomes = std::collections::BTreeSet::new();
    for seed in 0..50 {
        let disk = SimDisk::new(Rng::new(seed));
        durable_file(&disk, "a", b"old");
        durable_file(&disk, "a.tmp", b"new");
        disk.rename("a.tmp", "a").unwrap();
        assert_eq!(read(&disk, "a"), b"new");
        let disk = disk.crash(CrashKind::PowerSomeLost);
        outcomes.insert((disk.list("").unwrap(), read(&disk, "a")));
    }
    let old = (vec!["a".to_owned(), "a.tmp".to_owned()], b"old".to_vec());
    let new = (vec!["a".to_owned()], b"new".to_vec());
    assert_eq!(outcomes, [old, new].into());
}

#[test]
fn a_file_synced_and_renamed_over_before_a_directory_sync_is_safe_across_directories() {
    let disk = disk();
    disk.create_directory("x").unwrap();
    disk.create_directory("y").unwrap();
    disk.sync_directory("").unwrap();
    let file = disk.open("x/a", OpenMode::Create).unwrap();
    file.write_at(b"1", 0).unwrap();
    file.sync().unwrap();
    disk.rename("x/a", "y/b").unwrap();
    disk.sync_directory("y").unwrap();
    let disk = disk.crash(CrashKind::PowerSomeLost);
    assert!(disk.list("x").unwrap().is_empty());
    assert_eq!(read(&disk, "y/b"), b"1");
}

#[test]
fn removing_a_directory_may_be_left_half_done() {
    let mut left = std::collections::BTreeSet::new();
    for seed in 0..50 {
        let disk = SimDisk::new(Rng::new(seed));
        disk.create_directory("d").unwrap();
        disk.open("d/a", OpenMode::Create).unwrap();
        disk.open("d/b", OpenMode::Create).unwrap();
        disk.sync_directory("").unwrap();
        disk.sync_directory("d").unwrap();
        disk.remove("d").unwrap();
        assert!(disk.list("d").is_err());
        let disk = disk.crash(CrashKind::PowerSomeLost);
        left.insert(disk.list("d").ok());
    }
    assert!(left.len() >= 4, "{left:?}");
}

#[test]
fn after_a_failed_sync_the_next_succeeds_and_proves_nothing() {
    let mut lost = false;
    for seed in 0..20 {
        let disk = SimDisk::new(Rng::new(seed));
        let file = durable_file(&disk, "a", b"old");
        file.write_at(b"new", 0).unwrap();
        disk.set_sync_error_permille(1000);
        assert!(file.sync().is_err());
        disk.set_sync_error_permille(0);
        file.sync().unwrap();
        let disk = disk.crash(CrashKind::PowerAllLost);
        lost |= read(&disk, "a") == b"old";
    }
    assert!(lost, "a second sync always repaired the first");
}

#[test]
fn a_full_disk_refuses_growth_but_not_overwriting() {
    let disk = disk();
    let file = durable_file(&disk, "a", &[1; 512]);
    disk.set_capacity_bytes(1024);
    file.write_at(&[2; 512], 0).unwrap();
    file.write_at(&[3; 512], 512).unwrap();
    let error = file.write_at(&[4; 513], 1024).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    assert_eq!(disk.used_bytes(), 1024);
    disk.set_capacity_bytes(2_000);
    disk.set_reserve_bytes(500);
    assert_eq!(disk.room(), 476);
    disk.set_reserve_bytes(1_000);
    assert_eq!(disk.room(), 0);
    disk.set_capacity_bytes(u64::MAX);
    assert_eq!(disk.room(), u64::MAX);
    file.write_at(&[4; 513], 1024).unwrap();
}

#[test]
fn a_countdown_stops_the_node_and_old_handles_stay_dead() {
    let disk = disk();
    let file = durable_file(&disk, "a", b"1");
    disk.crash_after(1);
    file.write_at(b"2", 0).unwrap();
    assert!(!disk.is_stopped());
    assert!(file.sync().is_err());
    assert!(disk.is_stopped());
    assert!(file.length().is_err());
    assert!(disk.open("a", OpenMode::Existing).is_err());
    let next = disk.crash(CrashKind::PowerAllLost);
    assert_eq!(read(&next, "a"), b"1");
    assert!(file.write_at(b"3", 0).is_err(), "a handle of an earlier life");
    assert!(disk.list("").is_err(), "a volume of an earlier life");
}
