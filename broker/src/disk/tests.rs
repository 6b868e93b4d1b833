use std::net::UdpSocket;
use std::path::Path;
use std::process::Command;

use ottla_core::disk::is_no_descriptor;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::*;

fn disk_with(root: &Path, open_max: usize) -> RealDisk {
    RealDisk::new(root, open_max, Duration::ZERO).unwrap()
}

fn read(file: &RealFile) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(file.length().unwrap()).unwrap()];
    assert_eq!(file.read_at(&mut bytes, 0).unwrap(), bytes.len());
    bytes
}

/// How many descriptors of this process point below a directory.
fn descriptors_below(root: &Path) -> usize {
    let links =
        fs::read_dir("/proc/self/fd").unwrap().filter_map(|entry| fs::read_link(entry.unwrap().path()).ok());
    let root = fs::canonicalize(root).unwrap();
    links.filter(|link| link.starts_with(&root)).count()
}

#[test]
fn many_files_share_few_descriptors() {
    let root = tempfile::tempdir().unwrap();
    let disk = disk_with(root.path(), 4);
    let files: Vec<RealFile> = (0..50)
        .map(|i| {
            let file = disk.open(&format!("f{i}"), OpenMode::Create).unwrap();
            file.write_at(format!("file {i}").as_bytes(), 0).unwrap();
            if i % 2 == 0 {
                file.sync().unwrap();
            }
            file
        })
        .collect();
    for round in 0..3 {
        for (i, file) in files.iter().enumerate() {
            file.write_at(&[b'0' + round], 20).unwrap();
            assert_eq!(&read(file)[..6], format!("file {i}").as_bytes()[..6].to_vec());
            assert!(descriptors_below(root.path()) <= 4);
        }
    }
    files.iter().for_each(|file| file.sync().unwrap());
}

#[test]
fn handles_follow_renames_of_files_and_directories() {
    let root = tempfile::tempdir().unwrap();
    let disk = disk_with(root.path(), 1);
    disk.create_directory("a").unwrap();
    disk.create_directory("a").unwrap();
    let one = disk.open("a/1", OpenMode::Create).unwrap();
    one.write_at(b"one", 0).unwrap();
    let two = disk.open("a/2", OpenMode::Create).unwrap();
    two.write_at(b"two", 0).unwrap();
    disk.rename("a", "b").unwrap();
    assert_eq!((read(&one), read(&two)), (b"one".to_vec(), b"two".to_vec()));
    disk.rename("b/1", "b/2").unwrap();
    assert_eq!(read(&one), b"one");
    assert_eq!(read(&disk.open("b/2", OpenMode::Existing).unwrap()), b"one");
    assert_eq!(disk.list("b").unwrap(), ["2"]);
    assert!(disk.open("b/1", OpenMode::Existing).is_err());
    // A name that only begins the same is not below.
    disk.create_directory("bb").unwrap();
    let other = disk.open("bb/1", OpenMode::Create).unwrap();
    disk.rename("b", "c").unwrap();
    other.write_at(b"bb", 0).unwrap();
    assert_eq!(read(&disk.open("bb/1", OpenMode::Existing).unwrap()), b"bb");
}

#[test]
fn a_removed_file_takes_changes_and_a_new_one_of_its_name_is_another() {
    let root = tempfile::tempdir().unwrap();
    let disk = disk_with(root.path(), 1);
    let old = disk.open("a", OpenMode::Create).unwrap();
    old.write_at(b"old", 0).unwrap();
    old.sync().unwrap();
    // Takes the only descriptor away.
    let _other = disk.open("b", OpenMode::Create).unwrap();
    disk.remove("a").unwrap();
    assert_eq!(read_error(&old), io::ErrorKind::NotFound);
    old.write_at(b"x", 0).unwrap();
    old.sync().unwrap();
    let new = disk.open("a", OpenMode::Create).unwrap();
    assert_eq!(new.length().unwrap(), 0);
    new.write_at(b"new", 0).unwrap();
    old.write_at(b"y", 0).unwrap();
    assert_eq!(read(&new), b"new");
}

fn read_error(file: &RealFile) -> io::ErrorKind {
    file.read_at(&mut [0], 0).unwrap_err().kind()
}

#[test]
fn reading_stops_at_the_end_and_lengths_are_set() {
    let root = tempfile::tempdir().unwrap();
    let disk = disk_with(root.path(), 100);
    assert_eq!(disk.open("a", OpenMode::Existing).unwrap_err().kind(), io::ErrorKind::NotFound);
    let file = disk.open("a", OpenMode::Create).unwrap();
    file.write_at(b"abc", 5).unwrap();
    assert_eq!(read(&file), b"\0\0\0\0\0abc");
    let mut buffer = [1; 4];
    assert_eq!(file.read_at(&mut buffer, 6).unwrap(), 2);
    file.set_length(6).unwrap();
    assert_eq!(read(&file), b"\0\0\0\0\0a");
    file.sync().unwrap();
    disk.sync_directory("").unwrap();
}

#[test]
fn the_same_path_is_the_same_file_whoever_opened_it() {
    let root = tempfile::tempdir().unwrap();
    let disk = disk_with(root.path(), 100);
    let one = disk.open("a", OpenMode::Create).unwrap();
    let two = disk.clone().open("a", OpenMode::Existing).unwrap();
    one.write_at(b"1", 0).unwrap();
    assert_eq!(read(&two), b"1");
    assert!(Arc::ptr_eq(&one.node, &two.node));
}

#[test]
fn a_read_that_must_not_wait_is_missed_until_it_was_warmed() {
    let root = tempfile::tempdir().unwrap();
    let disk = disk_with(root.path(), 1);
    let file = disk.open("a", OpenMode::Create).unwrap();
    file.write_at(b"bytes", 0).unwrap();
    file.sync().unwrap();
    // The one descriptor goes to the other: to open the file again may wait.
    disk.open("b", OpenMode::Create).unwrap().write_at(b"x", 0).unwrap();
    assert_eq!(file.read_now(0, 5).unwrap(), None);
    let mut bytes = [0; 5];
    let (result, missed) = without_waiting(|| file.read_at(&mut bytes, 0));
    assert_eq!(result.unwrap_err().kind(), io::ErrorKind::WouldBlock);
    missed.unwrap().warm();
    let (result, missed) = without_waiting(|| file.read_at(&mut bytes, 0));
    assert_eq!((result.unwrap(), &bytes, missed.is_none()), (5, b"bytes", true));
    // Not every file system can tell whether it would wait.
    assert!(file.read_now(1, 4).unwrap().is_none_or(|bytes| bytes == "ytes"));
}

/// Takes every descriptor that is left.
fn sockets_up_to_the_limit() -> Vec<UdpSocket> {
    std::iter::from_fn(|| UdpSocket::bind("127.0.0.1:0").ok()).collect()
}

#[test]
fn where_sockets_hold_every_descriptor_files_share_those_they_have() {
    const IN_CHILD: &str = "OTTLA_TEST_FEW_DESCRIPTORS";
    if std::env::var_os(IN_CHILD).is_none() {
        // The limit is one for the whole process, and so for all the tests in it.
        let name = "disk::tests::where_sockets_hold_every_descriptor_files_share_those_they_have";
        let mut child = Command::new(std::env::current_exe().unwrap());
        let status = child.args(["--exact", name]).env(IN_CHILD, "1").status().unwrap();
        return assert!(status.success());
    }
    let (one, other, third) =
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (disk, empty) = (disk_with(one.path(), 20), disk_with(other.path(), 20));
    let patient = RealDisk::new(third.path(), 20, Duration::from_secs(60)).unwrap();
    let files: Vec<RealFile> = (0..10)
        .map(|i| {
            let file = disk.open(&format!("f{i}"), OpenMode::Create).unwrap();
            file.write_at(b"first", 0).unwrap();
            file
        })
        .collect();
    setrlimit(Resource::Nofile, Rlimit { current: Some(100), ..getrlimit(Resource::Nofile) }).unwrap();
    let mut sockets = sockets_up_to_the_limit();

    let more: Vec<RealFile> =
        (0..10).map(|i| disk.open(&format!("more{i}"), OpenMode::Create).unwrap()).collect();
    for file in files.iter().chain(&more) {
        file.write_at(b"again", 0).unwrap();
        assert_eq!(read(file), b"again");
    }
    disk.sync_directory("").unwrap();
    assert_eq!(disk.list("").unwrap().len(), 20);
    files.iter().chain(&more).for_each(|file| file.sync().unwrap());

    // What was given up for the directory, others may have taken.
    sockets.extend(sockets_up_to_the_limit());
    assert!(is_no_descriptor(&empty.open("a", OpenMode::Create).unwrap_err()));
    assert!(is_no_descriptor(&empty.sync_directory("").unwrap_err()));
    let waiting = std::thread::spawn(move || patient.open("a", OpenMode::Create).map(drop));
    drop(sockets);
    waiting.join().unwrap().unwrap();
    empty.open("a", OpenMode::Create).unwrap();
}
