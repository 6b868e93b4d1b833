//! Reads that do not wait for the disk: what is in the page cache is given at once (`RWF_NOWAIT`), and for
//! anything else somebody with a thread to spare must go.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, IoSliceMut};

use rustix::io::{Errno, ReadWriteFlags, preadv2};

use super::RealFile;

/// A read that would have had to wait.
#[derive(Debug)]
pub(crate) struct Missed {
    file: RealFile,
    position: u64,
    length: usize,
}

impl Missed {
    /// Brings it into the page cache; blocks on the disk. An error is not reported here: whoever reads next
    /// meets it, too.
    pub(crate) fn warm(&self) {
        use ottla_core::disk::DiskFile;
        let _met_again = self.file.read_at(&mut vec![0; self.length], self.position);
    }
}

enum Waiting {
    Allowed,
    Forbidden(Option<Missed>),
}

thread_local! {
    static WAITING: RefCell<Waiting> = const { RefCell::new(Waiting::Allowed) };
}

/// Runs `reads` on this thread with every read of a [`RealFile`] that would wait for the disk failing with
/// [`io::ErrorKind::WouldBlock`] instead. Gives the first such read, if there was one. The core's lookups read
/// through a trait that knows nothing of this, so it is the thread that carries it.
pub(crate) fn without_waiting<R>(reads: impl FnOnce() -> R) -> (R, Option<Missed>) {
    WAITING.set(Waiting::Forbidden(None));
    let result = reads();
    match WAITING.replace(Waiting::Allowed) {
        Waiting::Allowed | Waiting::Forbidden(None) => (result, None),
        Waiting::Forbidden(missed) => (result, missed),
    }
}

/// Whether this thread must not wait now.
pub(super) fn is_forbidden() -> bool {
    WAITING.with_borrow(|waiting| matches!(waiting, Waiting::Forbidden(_)))
}

/// Notes what could not be read.
pub(super) fn missed(file: &RealFile, position: u64, length: usize) {
    WAITING.with_borrow_mut(|waiting| {
        if let Waiting::Forbidden(missed @ None) = waiting {
            *missed = Some(Missed { file: file.clone(), position, length });
        }
    });
}

/// What became of a read that must not wait.
pub(super) enum Attempt {
    /// So much is in the buffer; it is less than asked for only at the file's end.
    Read(usize),
    WouldWait,
    /// The file system cannot tell.
    Unsupported,
}

/// Fills `buffer` as far as the file goes, if that does not wait for the disk.
pub(super) fn read(file: &File, buffer: &mut [u8], position: u64) -> io::Result<Attempt> {
    let mut read = 0;
    while read < buffer.len() {
        let rest = &mut [IoSliceMut::new(&mut buffer[read..])];
        match preadv2(file, rest, position + read as u64, ReadWriteFlags::NOWAIT) {
            Ok(0) => break,
            Ok(count) => read += count,
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return Ok(Attempt::WouldWait),
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => return Ok(Attempt::Unsupported),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Attempt::Read(read))
}
