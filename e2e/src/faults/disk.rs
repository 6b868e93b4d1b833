//! What a broker's data lie on: a directory, a file system so small that it can be filled, or a disk that forgets what
//! was not flushed when it loses power.
//!
//! The last is `nbdkit` with a cache that writes to its file only when it is told to flush, shown as a file by
//! `nbdfuse`, as a block device by a loop device, with ext4 on it. Killing `nbdkit` is the loss of power.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::catalogue::Storage;
use crate::attached::Attached;
use crate::command::{Answer, program, wait_until};

/// Small enough to be filled at once, and several times what a run writes.
const SMALL_BYTES: u64 = 256 << 20;
/// Of the sparse image below a disk that can lose power.
const IMAGE_BYTES: u64 = 512 << 20;
/// Of a disk that is to be full: what is filled block by block.
const MARGIN_BYTES: u64 = 1 << 20;
/// How long a disk may take to appear.
const LIMIT: Duration = Duration::from_secs(10);
const INTERVAL: Duration = Duration::from_millis(20);

/// The disk of one broker.
#[derive(Debug)]
pub struct Disk {
    storage: Storage,
    /// Of its own, for images and sockets.
    directory: PathBuf,
    mounted: bool,
    /// What answers for the image, and what shows it as a file.
    servers: Vec<Attached>,
}

impl Disk {
    /// A disk with nothing on it, ready for use.
    pub fn make(storage: Storage, directory: &Path) -> Result<Self> {
        fs::create_dir_all(directory.join("data"))
            .with_context(|| format!("create {}", directory.display()))?;
        let mut disk = Self { storage, directory: directory.to_owned(), mounted: false, servers: Vec::new() };
        let bytes = match storage {
            Storage::Directory => return Ok(disk),
            Storage::Small => SMALL_BYTES,
            Storage::PowerCut => IMAGE_BYTES,
        };
        let image = disk.image();
        let made = File::create(&image).and_then(|file| file.set_len(bytes));
        made.with_context(|| format!("create {}", image.display()))?;
        program("mkfs.ext4")
            .args(["-q", "-m", "0", "-E", "lazy_itable_init=1,nodiscard"])
            .arg(&image)
            .read()?;
        disk.power_on()?;
        Ok(disk)
    }

    /// Where data may be written.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        // Not the top of a file system, where ext4 has a directory of its own.
        self.mount_point().join("log")
    }

    fn mount_point(&self) -> PathBuf {
        self.directory.join("data")
    }

    fn image(&self) -> PathBuf {
        self.directory.join("image")
    }

    /// Power is lost: everything that was not flushed is gone, and nothing more reaches the disk.
    pub fn stop_serving(&mut self) -> Result<()> {
        ensure!(self.storage == Storage::PowerCut, "a disk that cannot lose power");
        self.servers.first_mut().context("the disk has no power")?.kill()
    }

    /// Takes away what is left of the disk. Nothing may run on it any more.
    pub fn power_off(&mut self) -> Result<()> {
        program("umount").arg("--lazy").arg(self.mount_point()).read()?;
        self.mounted = false;
        self.servers.clear();
        program("umount").arg("--lazy").arg(self.directory.join("nbd")).read().map(drop)
    }

    /// Makes the disk's data appear in their place.
    pub fn power_on(&mut self) -> Result<()> {
        let device = match self.storage {
            Storage::Directory => return Ok(()),
            Storage::Small => self.image(),
            Storage::PowerCut => self.serve()?,
        };
        let device = program("losetup").args(["--find", "--show", "--direct-io=on"]).arg(device).read()?;
        let device = device.trim();
        let mounted = program("mount").arg(device).arg(self.mount_point()).read();
        // It stays until the file system is unmounted, and goes then, whatever becomes of this process.
        program("losetup").args(["--detach", device]).read()?;
        mounted?;
        self.mounted = true;
        // Room that ext4 keeps for itself and df tells as free.
        let name = device.trim_start_matches("/dev/");
        let reserved = format!("/sys/fs/ext4/{name}/reserved_clusters");
        fs::write(&reserved, "0").with_context(|| format!("write {reserved}"))
    }

    fn serve(&mut self) -> Result<PathBuf> {
        let place = |name: &str| self.directory.join(name);
        let (socket, file, log) = (place("socket"), place("nbd"), place("disk.log"));
        if socket.exists() {
            fs::remove_file(&socket).with_context(|| format!("remove {}", socket.display()))?;
        }
        let words = ["--foreground", "--unix"].map(Into::into).into_iter();
        let words = words.chain([socket.clone().into()]).chain(["--filter=cache", "file"].map(Into::into));
        let words = words.chain([self.image().into(), "cache=writeback".into()]).collect();
        let mut server = Attached::new("nbdkit", "nbdkit".into(), words, log.clone());
        server.spawn()?;
        server.wait_until("listens", || {
            if socket.exists() { Ok(()) } else { Err(anyhow::anyhow!("no socket")) }
        })?;
        File::create(&file).with_context(|| format!("create {}", file.display()))?;
        let words = vec![file.clone().into(), "--unix".into(), socket.into()];
        let mut shown = Attached::new("nbdfuse", "nbdfuse".into(), words, log);
        shown.spawn()?;
        self.servers = vec![server, shown];
        wait_until("the image is shown as a file", LIMIT, INTERVAL, || {
            let length = fs::metadata(&file).map_or(0, |metadata| metadata.len());
            if length == IMAGE_BYTES { Answer::Yes } else { Answer::NotYet(format!("it has {length} bytes")) }
        })?;
        Ok(file)
    }

    /// Fills the disk until so many bytes are free.
    pub fn fill(&self, leave_bytes: u64) -> Result<()> {
        ensure!(self.storage == Storage::Small, "a disk that is too large to be filled");
        let filler = self.mount_point().join("filler");
        // Others write meanwhile; what fallocate leaves, dd takes.
        let bytes = self.free_bytes()?.saturating_sub(leave_bytes.max(MARGIN_BYTES));
        program("fallocate").args(["--length", &bytes.to_string()]).arg(&filler).read()?;
        if leave_bytes == 0 {
            // It ends with an error, since it is told no length.
            let rest = format!("of={}", filler.display());
            program("dd").args(["if=/dev/zero", "bs=4k", "oflag=append", "conv=notrunc", &rest]).output()?;
        }
        Ok(())
    }

    /// Makes room again.
    pub fn make_room(&self) -> Result<()> {
        let filler = self.mount_point().join("filler");
        fs::remove_file(&filler).with_context(|| format!("remove {}", filler.display()))
    }

    fn free_bytes(&self) -> Result<u64> {
        let text = program("df").args(["--output=avail", "-B1"]).arg(self.mount_point()).read()?;
        text.lines().last().unwrap_or_default().trim().parse().context("df says no number")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if self.mounted {
            // It may have gone with what served it; a second try is for one that was just being used.
            for _ in 0..2 {
                if program("umount").arg(self.mount_point()).succeeds() {
                    break;
                }
                thread::sleep(INTERVAL);
                let _ = program("umount").arg("--lazy").arg(self.mount_point()).succeeds();
            }
        }
        if !self.servers.is_empty() {
            let _ = program("umount").arg("--lazy").arg(self.directory.join("nbd")).succeeds();
        }
    }
}
