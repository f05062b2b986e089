//! Room that is kept for a full disk, so that entries can be said to be untrue, and removed, even then.
//!
//! An invalidation is a transaction, and one that cannot be written leaves an untrue entry for all other processes. So
//! a file lies beside the index that holds nothing. Half of it is given up for what says that entries are untrue, or
//! removes them, and finds no other room; when that is used up too, the rest, for emptying the index, after which there
//! is room. Invariants: nothing else takes the second half; and it counts towards the capacity. A small index has none:
//! its log keeps as much room as it ever took.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::directory::Directory;
use super::os;

#[derive(Debug)]
pub(super) struct Ballast {
    path: PathBuf,
    bytes: u64,
}

impl Ballast {
    pub(super) fn new(path: PathBuf, bytes: u64) -> Self {
        Self { path, bytes }
    }

    /// Makes it whole, for an index that takes more room than this by now. To be called when something was written,
    /// which says that there may be room.
    pub(super) fn keep(&self, directory: &Directory) {
        let length = |path: &Path| fs::metadata(path).map_or(0, |file| file.len());
        let index = || length(&directory.index()) + length(&directory.log());
        let has_room = || os::free_bytes(directory.path()).is_ok_and(|free| free >= self.bytes);
        let left = length(&self.path);
        let is_due = left < self.bytes && index() > self.bytes && has_room();
        // Two that make it at once write the same zeros.
        if is_due && fill(&self.path, self.bytes).is_err() {
            // What could be written of it is room that others need.
            let _ = self.open().and_then(|file| file.set_len(left));
        }
    }

    fn open(&self) -> io::Result<File> {
        OpenOptions::new().write(true).open(&self.path)
    }

    /// Gives up the half for what is said to be untrue by its key; says whether that made room.
    pub(super) fn give_up_half(&self) -> bool {
        let is_whole = |file: &File| file.metadata().is_ok_and(|data| data.len() >= self.bytes);
        self.open()
            .is_ok_and(|file| is_whole(&file) && file.set_len(self.bytes / 2).is_ok())
    }

    /// Gives up what is left, to empty the index; says whether that made room.
    pub(super) fn give_up(&self) -> bool {
        fs::remove_file(&self.path).is_ok()
    }
}

/// Writes zeros, because the blocks of a file that was only lengthened are not taken yet.
fn fill(path: &Path, bytes: u64) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(0o600);
    let mut file = options.open(path)?;
    io::copy(&mut io::Read::take(io::repeat(0), bytes), &mut file)?;
    file.flush()
}
