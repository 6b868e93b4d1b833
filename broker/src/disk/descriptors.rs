//! A bounded number of open descriptors for any number of files.
//!
//! A file's descriptor may be closed while nobody uses it, and is opened again by its path, which is kept
//! current across renames. A descriptor whose file has unsynced writes is never closed without syncing it:
//! Linux reports a failed write-back to the descriptors that are open, and a file opened later may sync
//! successfully although its bytes are lost. For the same reason a file whose sync has failed stays failed.
//!
//! Locks: the table's before a node's, never the other way round. Reading and writing take only the node's,
//! and neither is held while the disk works, but to open, rename or remove a file.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use ottla_core::disk::{NoDescriptor, OpenMode, is_no_descriptor};
use rustix::io::Errno;
use tracing::warn;

/// How often somebody else may take the descriptor that was given up for whoever wants one.
const TRIES_MAX: u32 = 64;

/// Between two tries of those who wait for one.
const PAUSE: Duration = Duration::from_millis(20);

/// One file, open or not.
#[derive(Debug)]
pub(super) struct Node {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Relative to the root.
    path: String,
    descriptor: Option<Arc<File>>,
    /// Used since eviction last came by.
    used: bool,
    /// The name is gone. Without a descriptor its bytes are gone, too.
    removed: bool,
    /// Changes begun and ended; equal when none is under way.
    begun: u64,
    ended: u64,
    durability: Durability,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Durability {
    /// This process has not changed the file; an earlier one may have, without syncing.
    Unknown,
    /// Changed since the last sync.
    Dirty,
    /// Synced, and not changed since.
    Synced,
    /// A sync has failed.
    Failed,
}

impl State {
    fn may_close(&self) -> bool {
        // After a failed sync it does not matter any more what the kernel remembers.
        self.begun == self.ended && self.durability != Durability::Dirty
    }
}

#[derive(Debug, Default)]
struct Table {
    nodes: BTreeMap<String, Weak<Node>>,
    /// Dead entries are dropped from `nodes` when it has grown to this size.
    purge_at: usize,
    /// The nodes with a descriptor, in the order in which eviction looks at them.
    open: VecDeque<Weak<Node>>,
}

/// All files of one disk.
#[derive(Debug)]
pub(super) struct Descriptors {
    root: PathBuf,
    open_max: usize,
    /// How long whoever wants a descriptor waits where there is none.
    patience: Duration,
    /// The last who wanted one has got none.
    starved: AtomicBool,
    table: Mutex<Table>,
    /// Set once the file system has said that it cannot read without waiting.
    pub(super) nowait_unsupported: AtomicBool,
}

impl Descriptors {
    pub(super) fn new(root: PathBuf, open_max: usize, patience: Duration) -> Self {
        Self {
            root,
            open_max: open_max.max(1),
            patience,
            starved: AtomicBool::new(false),
            table: Mutex::default(),
            nowait_unsupported: AtomicBool::new(false),
        }
    }

    /// The file at a path, which is made if it is not there and `mode` says so.
    pub(super) fn open(&self, path: &str, mode: OpenMode) -> io::Result<Arc<Node>> {
        let node = self.with_descriptor(|| self.open_once(path, mode))?;
        self.close_some();
        Ok(node)
    }

    fn open_once(&self, path: &str, mode: OpenMode) -> io::Result<Arc<Node>> {
        let mut table = lock(&self.table);
        if let Some(node) = table.nodes.get(path).and_then(Weak::upgrade) {
            return Ok(node);
        }
        let create = mode == OpenMode::Create;
        let file =
            OpenOptions::new().read(true).write(true).create(create).truncate(false).open(self.full(path))?;
        let state = State {
            path: path.to_owned(),
            descriptor: Some(Arc::new(file)),
            used: true,
            removed: false,
            begun: 0,
            ended: 0,
            durability: Durability::Unknown,
        };
        let node = Arc::new(Node { state: Mutex::new(state) });
        table.insert(path, &node);
        table.open.push_back(Arc::downgrade(&node));
        Ok(node)
    }

    /// A node's descriptor, if it has one at the moment.
    pub(super) fn file_if_open(&self, node: &Node) -> Option<Arc<File>> {
        lock(&node.state).take_descriptor()
    }

    /// A node's descriptor, opened again if need be.
    pub(super) fn file(&self, node: &Arc<Node>) -> io::Result<Arc<File>> {
        if let Some(file) = self.file_if_open(node) {
            return Ok(file);
        }
        let file = self.with_descriptor(|| self.file_once(node))?;
        self.close_some();
        Ok(file)
    }

    fn file_once(&self, node: &Arc<Node>) -> io::Result<Arc<File>> {
        let mut table = lock(&self.table);
        let mut state = lock(&node.state);
        // Another thread may have been quicker.
        if let Some(file) = state.take_descriptor() {
            return Ok(file);
        }
        if state.removed {
            return Err(io::ErrorKind::NotFound.into());
        }
        let file = Arc::new(OpenOptions::new().read(true).write(true).open(self.full(&state.path))?);
        state.descriptor = Some(Arc::clone(&file));
        state.used = true;
        table.open.push_back(Arc::downgrade(node));
        Ok(file)
    }

    /// Changes a file. One that has neither name nor descriptor takes any change: nobody can see it.
    pub(super) fn change(
        &self,
        node: &Arc<Node>,
        change: impl FnOnce(&File) -> io::Result<()>,
    ) -> io::Result<()> {
        // Begun first, so that the descriptor stays open from here on.
        let gone = {
            let mut state = lock(&node.state);
            state.begun += 1;
            if state.durability != Durability::Failed {
                state.durability = Durability::Dirty;
            }
            state.removed && state.descriptor.is_none()
        };
        let result = if gone { Ok(()) } else { self.file(node).and_then(|file| change(&file)) };
        lock(&node.state).ended += 1;
        result
    }

    /// Makes a file durable.
    pub(super) fn sync(&self, node: &Arc<Node>) -> io::Result<()> {
        let begun = {
            let state = lock(&node.state);
            match state.durability {
                Durability::Synced => return Ok(()),
                Durability::Failed => return Err(failed_before(&state.path)),
                Durability::Unknown | Durability::Dirty => {}
            }
            if state.removed && state.descriptor.is_none() {
                return Ok(());
            }
            // A change under way may or may not be covered.
            (state.begun == state.ended).then_some(state.begun)
        };
        let result = match self.file(node) {
            // The disk was not asked; and what this process has written has its descriptor.
            Err(error) if is_no_descriptor(&error) => return Err(error),
            file => file.and_then(|file| file.sync_data()),
        };
        let mut state = lock(&node.state);
        match &result {
            // Removed in between: nobody can see it.
            Err(error) if error.kind() == io::ErrorKind::NotFound && state.removed => return Ok(()),
            Err(_) => state.durability = Durability::Failed,
            Ok(()) if state.durability == Durability::Failed => return Err(failed_before(&state.path)),
            Ok(()) if begun == Some(state.begun) => state.durability = Durability::Synced,
            Ok(()) => {}
        }
        result
    }

    /// Renames a file or a directory, over what may be there, and follows the files within.
    pub(super) fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut table = lock(&self.table);
        fs::rename(self.full(from), self.full(to))?;
        table.forget(to);
        for (path, node) in table.take_under(from) {
            let path = format!("{to}{}", &path[from.len()..]);
            lock(&node.state).path.clone_from(&path);
            table.insert(&path, &node);
        }
        Ok(())
    }

    /// Removes a file, or a directory and all within. A directory that is removed is out of use, and its files
    /// may be large: nobody else waits for them to go.
    pub(super) fn remove(&self, path: &str) -> io::Result<()> {
        let full = self.full(path);
        if fs::symlink_metadata(&full)?.is_dir() {
            lock(&self.table).forget(path);
            return self.with_descriptor(|| fs::remove_dir_all(&full));
        }
        let mut table = lock(&self.table);
        fs::remove_file(&full)?;
        table.forget(path);
        Ok(())
    }

    fn full(&self, path: &str) -> PathBuf {
        Path::new(&self.root).join(path)
    }

    /// Does something that takes a descriptor. Where there is none left (others of this process have them, or of
    /// the machine), files that are not in use are closed for it.
    pub(super) fn with_descriptor<R>(&self, open: impl Fn() -> io::Result<R>) -> io::Result<R> {
        let until = Instant::now() + self.patience;
        let mut tries = 0;
        loop {
            let error = match open() {
                Err(error) if wants_descriptor(&error) => error,
                result => {
                    self.starved.store(false, Ordering::Relaxed);
                    return result;
                }
            };
            tries += 1;
            // What is closed here somebody else may be quicker to take.
            if tries < TRIES_MAX && self.close_one() {
                continue;
            }
            if Instant::now() >= until {
                if !self.starved.swap(true, Ordering::Relaxed) {
                    let root = self.root.display();
                    warn!(directory = %root, %error, "no file can be opened for now; raise the limit of open files (ulimit -n)");
                }
                return Err(NoDescriptor.into());
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// Closes files until there are no more than there may be, or all are in use.
    fn close_some(&self) {
        loop {
            let mut table = lock(&self.table);
            if table.open.len() <= self.open_max
                || (!table.close_a_synced_one() && !self.close_a_dirty_one(table))
            {
                return;
            }
        }
    }

    /// Closes a file; false if all are in use.
    fn close_one(&self) -> bool {
        let mut table = lock(&self.table);
        table.open.retain(|node| node.strong_count() > 0);
        table.close_a_synced_one() || self.close_a_dirty_one(table)
    }

    /// All files but perhaps those in use have unsynced bytes: one is synced to be closed. Nobody else waits
    /// meanwhile.
    fn close_a_dirty_one(&self, table: MutexGuard<'_, Table>) -> bool {
        let Some(node) = table.a_dirty_one() else { return false };
        drop(table);
        // The file's own next sync reports it.
        let _reported_then = self.sync(&node);
        lock(&self.table).close_a_synced_one()
    }
}

impl State {
    fn take_descriptor(&mut self) -> Option<Arc<File>> {
        let file = self.descriptor.clone()?;
        self.used = true;
        Some(file)
    }
}

impl Table {
    fn insert(&mut self, path: &str, node: &Arc<Node>) {
        if self.nodes.len() >= self.purge_at {
            self.nodes.retain(|_, node| node.strong_count() > 0);
            self.purge_at = 2 * self.nodes.len() + 1024;
        }
        self.nodes.insert(path.to_owned(), Arc::downgrade(node));
    }

    /// Closes a file whose bytes are synced, one that was not used lately if there is such a one.
    fn close_a_synced_one(&mut self) -> bool {
        // Twice around: once to take the marks of use away, once to find one without.
        for _ in 0..2 * self.open.len() {
            let Some(next) = self.open.pop_front() else { return false };
            let Some(node) = next.upgrade() else { return true };
            let mut state = lock(&node.state);
            if state.descriptor.is_none() {
                return true;
            }
            if !state.used && state.may_close() {
                state.descriptor = None;
                return true;
            }
            state.used = false;
            drop(state);
            self.open.push_back(next);
        }
        false
    }

    /// A file that a sync would make fit to be closed.
    fn a_dirty_one(&self) -> Option<Arc<Node>> {
        self.open.iter().filter_map(Weak::upgrade).find(|node| {
            let state = lock(&node.state);
            let is_at_rest = state.begun == state.ended && state.descriptor.is_some();
            is_at_rest && state.durability == Durability::Dirty
        })
    }

    /// Takes out the nodes at a path and below it.
    fn take_under(&mut self, path: &str) -> Vec<(String, Arc<Node>)> {
        // In the order of bytes "/" is followed by "0".
        let below = self.nodes.range(format!("{path}/")..format!("{path}0")).map(|(path, _)| path.clone());
        let paths: Vec<String> = std::iter::once(path.to_owned()).chain(below).collect();
        let taken = paths.into_iter().filter_map(|path| Some((self.nodes.remove(&path)?, path)));
        taken.filter_map(|(node, path)| Some((path, node.upgrade()?))).collect()
    }

    /// The names at a path and below it are gone.
    fn forget(&mut self, path: &str) {
        for (_, node) in self.take_under(path) {
            lock(&node.state).removed = true;
        }
    }
}

/// Whether an operation failed because this process, or the machine, has too many files open.
fn wants_descriptor(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE))
}

fn failed_before(path: &str) -> io::Error {
    io::Error::other(format!("an earlier sync of \"{path}\" failed"))
}

/// The state is consistent between any two statements that hold the lock, so a panic elsewhere is no reason
/// to stop.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
