//! Bits that change by themselves.

use super::SimDisk;

impl SimDisk {
    /// Flips the bits of a mask in one byte of a file, in all that is known of it: nothing was written, and no crash
    /// brings the old byte back.
    pub fn flip(&self, path: &str, position: u64, mask: u8) {
        let mut state = self.lock();
        if let Ok(inode) = state.names.file(&self.path(path)) {
            state.content(inode).flip(position, mask);
        }
    }

    /// Makes durable which names a directory has, as a disk does by itself at any time: no crash takes that back.
    pub fn write_back_names(&self, path: &str) {
        let path = self.path(path).into_owned();
        // Of what is not there nothing can come back.
        let _may_be_gone = self.lock().names.sync_directory(&path);
    }
}
