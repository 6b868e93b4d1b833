//! A disk that knows what is durable, and loses, tears, refuses or fails the rest on demand.
//!
//! Owns: the state of one volume across crashes of its node. [`SimDisk`] is what the core sees (through
//! [`Disk`]); its other methods belong to the simulation. `content` holds the bytes of one file, `names`
//! the directories. Does not decide when to fail: `faults` does.

mod content;
mod names;
mod rot;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ottla_core::disk::{Disk, DiskFile, NoDescriptor, OpenMode};

use self::content::{Content, Loss};
use self::names::Names;
use crate::rng::Rng;

/// How a node stops, as its disk sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CrashKind {
    /// The process dies; the page cache lives on, still not durable.
    Process,
    /// The machine dies and nothing that was not synced survives.
    PowerAllLost,
    /// The machine dies and of what was not synced any part survives.
    PowerSomeLost,
}

/// A volume. Clones are the same volume.
#[derive(Debug, Clone)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
    /// The life of the node this handle belongs to; see [`SimDisk::crash`].
    life: u64,
    /// The directory that this handle takes for the whole; empty for all of it.
    root: String,
}

/// An open file of a [`SimDisk`].
#[derive(Debug, Clone)]
pub struct SimFile {
    disk: SimDisk,
    inode: u64,
}

#[derive(Debug)]
struct State {
    rng: Rng,
    names: Names,
    contents: BTreeMap<u64, Content>,
    /// Rises with every crash. Handles of an earlier life are dead.
    life: u64,
    /// Changing operations left until the node stops short.
    crash_after: Option<u64>,
    /// The countdown has run out: nothing works until [`SimDisk::crash`].
    stopped: bool,
    /// How many bytes fit.
    capacity_bytes: u64,
    /// How many of them records must leave to others.
    reserve_bytes: u64,
    /// How often in a thousand a sync of a file fails, and where: in all of it, or in one directory.
    sync_error_permille: u32,
    sync_error_root: String,
    /// The directory in which syncs of names fail, if they do: by the handle's, not by where in it.
    name_sync_error_root: Option<String>,
    /// How many descriptors are to be had; those of open files are as good as closed.
    descriptors: u64,
    counts: Counts,
}

/// What a disk has done, for figures and traces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Operations that change something.
    pub changes: u64,
    /// Syncs of files that succeeded.
    pub syncs: u64,
    /// Syncs of files that were made to fail.
    pub failed_syncs: u64,
    /// Writes refused for lack of space.
    pub full: u64,
    /// Files that lost something unsynced in a crash.
    pub lost: u64,
    /// Those of them that kept another part of it.
    pub torn: u64,
}

impl SimDisk {
    /// An empty volume.
    pub fn new(rng: Rng) -> Self {
        let state = State {
            rng,
            names: Names::new(),
            contents: BTreeMap::new(),
            life: 0,
            crash_after: None,
            stopped: false,
            capacity_bytes: u64::MAX,
            reserve_bytes: 0,
            sync_error_permille: 0,
            sync_error_root: String::new(),
            name_sync_error_root: None,
            descriptors: u64::MAX,
            counts: Counts::default(),
        };
        Self { state: Arc::new(Mutex::new(state)), life: 0, root: String::new() }
    }

    /// Lets the next `operations` changing operations pass, then stops the node: all later operations fail,
    /// so that the code that runs unwinds. The simulation then asks [`SimDisk::is_stopped`].
    pub fn crash_after(&self, operations: u64) {
        self.lock().crash_after = Some(operations);
    }

    /// Whether the countdown of [`SimDisk::crash_after`] has run out.
    pub fn is_stopped(&self) -> bool {
        self.lock().stopped
    }

    /// The node stops. Returns the volume as its next life finds it; this handle and every open file of
    /// this life are dead.
    #[must_use]
    pub fn crash(&self, kind: CrashKind) -> Self {
        let mut state = self.lock();
        let State { rng, names, contents, counts, .. } = &mut *state;
        let named = names.crash(kind, rng);
        contents.retain(|inode, _| named.contains(inode));
        for content in contents.values_mut() {
            let loss = content.crash(kind, rng);
            counts.lost += u64::from(loss != Loss::Nothing);
            counts.torn += u64::from(loss == Loss::Part);
        }
        state.life += 1;
        state.crash_after = None;
        state.stopped = false;
        Self { state: Arc::clone(&self.state), life: state.life, root: self.root.clone() }
    }

    /// The same volume, seen from one of its directories; from the same with `""`.
    #[must_use]
    pub fn within(&self, directory: &str) -> Self {
        Self { root: self.path(directory).into_owned(), ..self.clone() }
    }

    fn path<'a>(&'a self, path: &'a str) -> Cow<'a, str> {
        match (self.root.as_str(), path) {
            ("", path) => path.into(),
            (root, "") => root.into(),
            (root, path) => format!("{root}/{path}").into(),
        }
    }

    /// Sets how many bytes fit from now on. What is there stays.
    pub fn set_capacity_bytes(&self, bytes: u64) {
        self.lock().capacity_bytes = bytes;
    }

    /// Sets how many of the bytes that fit are none for records: as the binary keeps some of a volume.
    pub fn set_reserve_bytes(&self, bytes: u64) {
        self.lock().reserve_bytes = bytes;
    }

    /// How many bytes of records fit, as a broker measures it.
    pub fn room(&self) -> u64 {
        let (capacity, reserve) = {
            let state = self.lock();
            (state.capacity_bytes, state.reserve_bytes)
        };
        // Without a reserve somebody else fills the volume faster than a broker looks.
        match (capacity, reserve) {
            (u64::MAX, _) | (_, 0) => u64::MAX,
            (capacity, reserve) => capacity.saturating_sub(reserve).saturating_sub(self.used_bytes()),
        }
    }

    /// How many bytes the files take.
    pub fn used_bytes(&self) -> u64 {
        self.lock().contents.values().map(Content::allocated_bytes).sum()
    }

    /// Sets how often in a thousand a sync of a file fails from now on: of any file, or of those alone that are opened
    /// through a handle for the same directory.
    pub fn set_sync_error_permille(&self, often: u32) {
        let mut state = self.lock();
        state.sync_error_permille = often;
        state.sync_error_root.clone_from(&self.root);
    }

    /// Sets whether syncs of directories, which make names durable, fail from now on through handles for the same directory.
    pub fn set_name_sync_error(&self, fails: bool) {
        self.lock().name_sync_error_root = fails.then(|| self.root.clone());
    }

    /// Sets how many more operations find a descriptor, where they need one; all, with `u64::MAX`. What was written
    /// and not yet synced keeps its own.
    pub fn set_descriptors(&self, left: u64) {
        self.lock().descriptors = left;
    }

    /// What the disk has done so far.
    pub fn counts(&self) -> Counts {
        self.lock().counts
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state, if this handle's node lives.
    fn living(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.lock();
        if state.stopped || state.life != self.life {
            return Err(io::Error::other("the simulated node has crashed"));
        }
        Ok(state)
    }

    /// As [`SimDisk::living`], for what needs a descriptor.
    fn with_descriptor(&self) -> io::Result<()> {
        let mut state = self.living()?;
        if state.descriptors < u64::MAX {
            state.descriptors = state.descriptors.checked_sub(1).ok_or(NoDescriptor)?;
        }
        Ok(())
    }

    /// As [`SimDisk::living`], and counts down to a crash.
    fn changing(&self) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.living()?;
        match &mut state.crash_after {
            Some(0) => {
                state.stopped = true;
                return Err(io::Error::other("the simulated node crashes here"));
            }
            Some(left) => *left -= 1,
            None => {}
        }
        state.counts.changes += 1;
        Ok(state)
    }
}

impl State {
    fn content(&mut self, inode: u64) -> &mut Content {
        self.contents.get_mut(&inode).expect("a file of this life has content")
    }
}

impl Disk for SimDisk {
    type File = SimFile;

    fn open(&self, path: &str, mode: OpenMode) -> io::Result<SimFile> {
        self.with_descriptor()?;
        let existing = self.living()?.names.file(&self.path(path));
        let inode = match (existing, mode) {
            (Err(error), OpenMode::Create) if error.kind() == io::ErrorKind::NotFound => {
                let mut state = self.changing()?;
                let inode = state.names.create_file(&self.path(path))?;
                state.contents.insert(inode, Content::default());
                inode
            }
            (existing, OpenMode::Create | OpenMode::Existing) => existing?,
        };
        Ok(SimFile { disk: self.clone(), inode })
    }

    fn list(&self, directory: &str) -> io::Result<Vec<String>> {
        self.with_descriptor()?;
        self.living()?.names.list(&self.path(directory))
    }

    fn create_directory(&self, path: &str) -> io::Result<()> {
        self.changing()?.names.create_directory(&self.path(path))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.changing()?.names.rename(&self.path(from), &self.path(to))
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        self.changing()?.names.remove(&self.path(path))
    }

    fn sync_directory(&self, directory: &str) -> io::Result<()> {
        self.with_descriptor()?;
        let mut state = self.changing()?;
        if state.name_sync_error_root.as_ref() == Some(&self.root) {
            state.counts.failed_syncs += 1;
            return Err(io::Error::other("simulated EIO from fsync of a directory"));
        }
        state.names.sync_directory(&self.path(directory))
    }
}

impl DiskFile for SimFile {
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        self.disk.with_descriptor()?;
        Ok(self.disk.living()?.content(self.inode).read(buffer, position))
    }

    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        self.disk.with_descriptor()?;
        let mut state = self.disk.changing()?;
        let growth = state.content(self.inode).growth_bytes(position, bytes.len() as u64);
        if growth > 0 && state.capacity_bytes < u64::MAX {
            let used: u64 = state.contents.values().map(Content::allocated_bytes).sum();
            if used + growth > state.capacity_bytes {
                state.counts.full += 1;
                // As much as fits may have been written.
                let written = state.rng.index(bytes.len());
                let room = state.content(self.inode).growth_bytes(position, written as u64);
                if used + room <= state.capacity_bytes {
                    state.content(self.inode).write(&bytes[..written], position);
                }
                return Err(io::ErrorKind::StorageFull.into());
            }
        }
        state.content(self.inode).write(bytes, position);
        Ok(())
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        self.disk.changing()?.content(self.inode).set_length(length);
        Ok(())
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.disk.living()?.content(self.inode).length())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.changing()?;
        let struck = state.sync_error_root.is_empty() || state.sync_error_root == self.disk.root;
        let often = if struck { state.sync_error_permille } else { 0 };
        if often > 0 && state.rng.permille(often) {
            state.counts.failed_syncs += 1;
            let State { rng, contents, .. } = &mut *state;
            if let Some(content) = contents.get_mut(&self.inode) {
                content.fail_sync(rng);
            }
            return Err(io::Error::other("simulated EIO from fdatasync"));
        }
        state.counts.syncs += 1;
        state.content(self.inode).sync();
        Ok(())
    }
}
