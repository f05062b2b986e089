//! Room that is kept for a full disk, so that entries can be said to be untrue, and removed, even then.
//!
//! An invalidation is a transaction, and one that cannot be written leaves an untrue entry for all other processes. So a
//! file lies beside the index that holds nothing, and is given up for an invalidation, or what removes entries, that finds no other room.
//! Invariant: nothing else takes this room, and it counts towards the capacity. A small index has none: its
//! log keeps as much room as it ever took.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use super::directory::Directory;

#[derive(Debug)]
pub(super) struct Ballast {
    path: PathBuf,
    bytes: u64,
    /// Whether this process has seen it whole.
    is_kept: AtomicBool,
}

impl Ballast {
    pub(super) fn new(path: PathBuf, bytes: u64) -> Self {
        Self {
            path,
            bytes,
            is_kept: AtomicBool::new(false),
        }
    }

    /// Makes it, unless it is there, for an index that takes more room than this by now. To be called when something was
    /// written, which says that there may be room.
    pub(super) fn keep(&self, directory: &Directory) {
        let taken = |path| fs::metadata(path).map_or(0, |file| file.len());
        let index = || taken(directory.index()) + taken(directory.log());
        // Relaxed, here and below: two that make it at once write the same zeros.
        if self.is_kept.load(Ordering::Relaxed) || index() <= self.bytes {
            return;
        }
        let is_there = fs::metadata(&self.path).is_ok_and(|file| file.len() == self.bytes);
        if is_there || fill(&self.path, self.bytes).is_ok() {
            self.is_kept.store(true, Ordering::Relaxed);
        } else {
            // What could be written of it is room that others need.
            let _ = fs::remove_file(&self.path);
        }
    }

    /// Gives it up; says whether that made room.
    pub(super) fn give_up(&self) -> bool {
        self.is_kept.store(false, Ordering::Relaxed);
        fs::remove_file(&self.path).is_ok()
    }
}

/// Writes zeros, because the blocks of a file that was only lengthened are not taken yet.
fn fill(path: &Path, bytes: u64) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options.open(path)?;
    io::copy(&mut io::Read::take(io::repeat(0), bytes), &mut file)?;
    file.flush()
}
