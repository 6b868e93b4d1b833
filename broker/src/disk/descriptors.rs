//! A bounded number of open descriptors for any number of files.
//!
//! A file's descriptor may be closed while nobody uses it, and is opened again by its path, which is kept
//! current across renames. A descriptor whose file has unsynced writes is never closed without syncing it:
//! Linux reports a failed write-back to the descriptors that are open, and a file opened later may sync
//! successfully although its bytes are lost. For the same reason a file whose sync has failed stays failed.
//!
//! Locks: the table's before a node's, never the other way round. Reading and writing take only the node's,
//! and not while the disk works.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use ottla_core::disk::OpenMode;

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
        self.begun == self.ended && matches!(self.durability, Durability::Unknown | Durability::Synced)
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
    table: Mutex<Table>,
    /// Set once the file system has said that it cannot read without waiting.
    pub(super) nowait_unsupported: AtomicBool,
}

impl Descriptors {
    pub(super) fn new(root: PathBuf, open_max: usize) -> Self {
        Self {
            root,
            open_max: open_max.max(1),
            table: Mutex::default(),
            nowait_unsupported: AtomicBool::new(false),
        }
    }

    /// The file at a path, which is made if it is not there and `mode` says so.
    pub(super) fn open(&self, path: &str, mode: OpenMode) -> io::Result<Arc<Node>> {
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
        self.opened(&mut table, &node)?;
        Ok(node)
    }

    /// A node's descriptor, if it has one at the moment.
    pub(super) fn file_if_open(&self, node: &Node) -> Option<Arc<File>> {
        lock(&node.state).take_descriptor()
    }

    /// A node's descriptor, opened again if need be.
    pub(super) fn file(&self, node: &Arc<Node>) -> io::Result<Arc<File>> {
        if let Some(file) = lock(&node.state).take_descriptor() {
            return Ok(file);
        }
        let mut table = lock(&self.table);
        let file = {
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
            file
        };
        self.opened(&mut table, node)?;
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
        let result = self.file(node).and_then(|file| file.sync_data());
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
            return fs::remove_dir_all(&full);
        }
        let mut table = lock(&self.table);
        fs::remove_file(&full)?;
        table.forget(path);
        Ok(())
    }

    fn full(&self, path: &str) -> PathBuf {
        Path::new(&self.root).join(path)
    }

    /// Notes that a node has a descriptor, and closes others if there are too many.
    fn opened(&self, table: &mut Table, node: &Arc<Node>) -> io::Result<()> {
        table.open.push_back(Arc::downgrade(node));
        // Twice around: once to take the marks of use away, once to find one without.
        let mut looks = 2 * table.open.len();
        while table.open.len() > self.open_max && looks > 0 {
            looks -= 1;
            let Some(next) = table.open.pop_front() else { break };
            let Some(other) = next.upgrade() else { continue };
            let mut state = lock(&other.state);
            if state.descriptor.is_none() {
                continue;
            }
            if state.used || !state.may_close() {
                state.used = false;
                drop(state);
                table.open.push_back(next);
            } else {
                state.descriptor = None;
            }
        }
        if table.open.len() > self.open_max { self.close_a_dirty_one(table, node) } else { Ok(()) }
    }

    /// All descriptors but perhaps those in use have unsynced bytes: one is synced to be closed.
    fn close_a_dirty_one(&self, table: &mut Table, opened: &Arc<Node>) -> io::Result<()> {
        for at in 0..table.open.len() {
            let Some(node) = table.open[at].upgrade() else { continue };
            let mut state = lock(&node.state);
            if Arc::ptr_eq(&node, opened) || state.begun != state.ended {
                continue;
            }
            if state.durability == Durability::Dirty
                && let Some(file) = &state.descriptor
            {
                // The file's own next sync reports it.
                let synced = file.sync_data().is_ok();
                state.durability = if synced { Durability::Synced } else { Durability::Failed };
            }
            state.descriptor = None;
            drop(state);
            table.open.remove(at);
            return Ok(());
        }
        // Every one is in use by some thread: there are not many threads.
        Ok(())
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

fn failed_before(path: &str) -> io::Error {
    io::Error::other(format!("an earlier sync of \"{path}\" failed"))
}

/// The state is consistent between any two statements that hold the lock, so a panic elsewhere is no reason
/// to stop.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
