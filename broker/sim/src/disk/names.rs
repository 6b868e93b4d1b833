//! The names of a disk: directories as the cache shows them and as they are durable.
//!
//! A change of names is one atomic step (a rename takes a name away and gives another). A crash keeps
//! any of the steps not yet synced, in their order; it may keep a later one without an earlier one, since
//! no step is promised before its directory is synced.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use super::CrashKind;
use crate::rng::Rng;

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Node {
    File(u64),
    Directory(u64),
}

const ROOT: u64 = 0;

type Entries = BTreeMap<String, Node>;

#[derive(Debug, Clone)]
struct Change {
    directory: u64,
    name: String,
    to: Option<Node>,
}

/// The tree of names.
#[derive(Debug, Clone)]
pub(super) struct Names {
    cached: BTreeMap<u64, Entries>,
    durable: BTreeMap<u64, Entries>,
    /// Steps since, oldest first.
    pending: Vec<Vec<Change>>,
    next: u64,
}

impl Names {
    pub(super) fn new() -> Self {
        let root = BTreeMap::from([(ROOT, Entries::new())]);
        Self { cached: root.clone(), durable: root, pending: Vec::new(), next: ROOT + 1 }
    }

    pub(super) fn file(&self, path: &str) -> io::Result<u64> {
        match self.node(path)? {
            Node::File(inode) => Ok(inode),
            Node::Directory(_) => Err(io::ErrorKind::IsADirectory.into()),
        }
    }

    pub(super) fn create_file(&mut self, path: &str) -> io::Result<u64> {
        let inode = self.next;
        self.create(path, Node::File(inode))?;
        Ok(inode)
    }

    pub(super) fn create_directory(&mut self, path: &str) -> io::Result<()> {
        match self.node(path) {
            Ok(Node::Directory(_)) => return Ok(()),
            Ok(Node::File(_)) => return Err(io::ErrorKind::AlreadyExists.into()),
            Err(_) => {}
        }
        let inode = self.next;
        self.create(path, Node::Directory(inode))?;
        self.cached.insert(inode, Entries::new());
        self.durable.insert(inode, Entries::new());
        Ok(())
    }

    fn create(&mut self, path: &str, node: Node) -> io::Result<()> {
        let (directory, name) = self.place(path)?;
        self.next += 1;
        self.apply(vec![Change { directory, name, to: Some(node) }]);
        Ok(())
    }

    pub(super) fn list(&self, path: &str) -> io::Result<Vec<String>> {
        Ok(self.cached[&self.directory(path)?].keys().cloned().collect())
    }

    pub(super) fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        let node = self.node(from)?;
        let (old_directory, old_name) = self.place(from)?;
        let (directory, name) = self.place(to)?;
        if (old_directory, &old_name) == (directory, &name) {
            return Ok(());
        }
        // As POSIX has it.
        if matches!(self.node(to), Ok(Node::Directory(_))) && !self.list(to)?.is_empty() {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        self.apply(vec![
            Change { directory: old_directory, name: old_name, to: None },
            Change { directory, name, to: Some(node) },
        ]);
        Ok(())
    }

    /// Removes a file, or a directory from its leaves up: a crash may leave any part of it.
    pub(super) fn remove(&mut self, path: &str) -> io::Result<()> {
        if let Node::Directory(_) = self.node(path)? {
            for name in self.list(path)? {
                self.remove(&format!("{path}/{name}"))?;
            }
        }
        let (directory, name) = self.place(path)?;
        self.apply(vec![Change { directory, name, to: None }]);
        Ok(())
    }

    /// Makes the steps that touch a directory durable, and with them the earlier steps of any directory
    /// that a rename ties to it.
    pub(super) fn sync_directory(&mut self, path: &str) -> io::Result<()> {
        let mut directories = BTreeSet::from([self.directory(path)?]);
        let mut synced = vec![false; self.pending.len()];
        for (i, step) in self.pending.iter().enumerate().rev() {
            if step.iter().any(|change| directories.contains(&change.directory)) {
                directories.extend(step.iter().map(|change| change.directory));
                synced[i] = true;
            }
        }
        let mut keep = Vec::new();
        for (step, synced) in std::mem::take(&mut self.pending).into_iter().zip(synced) {
            if synced {
                apply_to(&mut self.durable, &step);
            } else {
                keep.push(step);
            }
        }
        self.pending = keep;
        Ok(())
    }

    /// What is left after a crash; returns the files that still have a name.
    pub(super) fn crash(&mut self, kind: CrashKind, rng: &mut Rng) -> BTreeSet<u64> {
        match kind {
            CrashKind::Process => {}
            CrashKind::PowerAllLost => self.pending.clear(),
            CrashKind::PowerSomeLost => {
                let steps = std::mem::take(&mut self.pending);
                // A journal keeps a prefix; the contract promises less, so half of the crashes keep any subset.
                let prefix = rng.permille(500).then(|| rng.index(steps.len() + 1));
                for (i, step) in steps.iter().enumerate() {
                    if prefix.map_or_else(|| rng.permille(500), |kept| i < kept) {
                        apply_to(&mut self.durable, step);
                    }
                }
            }
        }
        if kind != CrashKind::Process {
            self.cached = self.durable.clone();
        }
        self.forget_unnamed()
    }

    /// Drops directories without a name; returns the files that have one, in cache or durably.
    fn forget_unnamed(&mut self) -> BTreeSet<u64> {
        let mut files = BTreeSet::new();
        let mut directories = BTreeSet::from([ROOT]);
        let mut open = vec![ROOT];
        while let Some(directory) = open.pop() {
            let entries = self.cached[&directory].values().chain(self.durable[&directory].values());
            let pending = self.pending.iter().flatten().filter(|change| change.directory == directory);
            for node in entries.chain(pending.filter_map(|change| change.to.as_ref())) {
                match node {
                    Node::File(inode) => {
                        files.insert(*inode);
                    }
                    Node::Directory(inode) => {
                        if directories.insert(*inode) {
                            open.push(*inode);
                        }
                    }
                }
            }
        }
        self.cached.retain(|directory, _| directories.contains(directory));
        self.durable.retain(|directory, _| directories.contains(directory));
        files
    }

    fn apply(&mut self, step: Vec<Change>) {
        apply_to(&mut self.cached, &step);
        self.pending.push(step);
    }

    fn node(&self, path: &str) -> io::Result<Node> {
        if path.is_empty() {
            return Ok(Node::Directory(ROOT));
        }
        let (directory, name) = self.place(path)?;
        self.cached[&directory].get(&name).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn directory(&self, path: &str) -> io::Result<u64> {
        match self.node(path)? {
            Node::Directory(inode) => Ok(inode),
            Node::File(_) => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    /// The directory a path's last part lies in, and that part.
    fn place(&self, path: &str) -> io::Result<(u64, String)> {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        if matches!(name, "" | "." | "..") {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        Ok((self.directory(parent)?, name.to_owned()))
    }
}

fn apply_to(tree: &mut BTreeMap<u64, Entries>, step: &[Change]) {
    for change in step {
        // A directory that lost its own name may be gone already.
        let Some(entries) = tree.get_mut(&change.directory) else { continue };
        match change.to {
            Some(node) => entries.insert(change.name.clone(), node),
            None => entries.remove(&change.name),
        };
    }
}
