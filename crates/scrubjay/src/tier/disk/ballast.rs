//! Room that is kept for a full disk, so that entries can be said to be untrue, and removed, even then.
//!
//! An invalidation is a transaction, and one that cannot be written leaves an untrue entry for all other processes. So
//! a file lies beside the index that holds nothing. Half of it is given up for what says that entries are untrue, or
//! removes them, and finds no other room; when that is used up too, the rest, for emptying the index, after which there
//! is room. Invariants: nothing else takes the second half; its length is even exactly while none is given up; and it
//! counts towards the capacity.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::directory::Directory;
use super::options::LEAST_BALLAST;
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

    /// Makes it whole: as large as it may be for an index that takes more room than that, and else as small. To be
    /// called when something was written, which says that there may be room.
    pub(super) fn keep(&self, directory: &Directory) {
        let length = |path: &Path| fs::metadata(path).map_or(0, |file| file.len());
        let left = length(&self.path);
        if left >= self.bytes {
            return;
        }
        let index = length(&directory.index()) + length(&directory.log());
        let due = if index > self.bytes {
            self.bytes
        } else {
            LEAST_BALLAST
        };
        let has_room = || os::free_bytes(directory.path()).is_ok_and(|free| free >= due);
        let is_due = left < due || !is_whole(left);
        // Two that make it at once write the same zeros.
        if is_due && has_room() && fill(&self.path, due).is_err() {
            // What could be written of it is room that others need.
            let _ = self.open().and_then(|file| file.set_len(left));
        }
    }

    fn open(&self) -> io::Result<File> {
        OpenOptions::new().write(true).open(&self.path)
    }

    /// Gives up the half for what is said to be untrue by its key; says whether that made room.
    pub(super) fn give_up_half(&self) -> bool {
        let halve = |file: File| {
            let length = file.metadata()?.len();
            let rest = is_whole(length).then_some((length / 2) | 1);
            rest.ok_or(io::ErrorKind::StorageFull.into())
                .and_then(|rest| file.set_len(rest))
        };
        self.open().and_then(halve).is_ok()
    }

    /// Gives up what is left, to empty the index; says whether that made room.
    pub(super) fn give_up(&self) -> bool {
        fs::remove_file(&self.path).is_ok()
    }
}

fn is_whole(length: u64) -> bool {
    length > 0 && length.is_multiple_of(2)
}

/// Writes zeros, because the blocks of a file that was only lengthened are not taken yet.
fn fill(path: &Path, bytes: u64) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(0o600);
    let mut file = options.open(path)?;
    io::copy(&mut io::Read::take(io::repeat(0), bytes), &mut file)?;
    // A longer one of half a larger one is cut to its size.
    file.set_len(bytes)?;
    file.flush()
}
