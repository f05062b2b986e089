//! The folder of a store: its layout, its creation, and what is not ours in it.
//!
//! Invariants: folders are 0700; nothing that is found damaged or foreign is deleted, it is moved into a folder named
//! `corrupt-…` or left alone; and whoever creates or moves an index holds `init.lock`.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::error;
use super::format::nanos_of;
use super::os;
use crate::error::Error;

/// The folder inside one of a newer version in which this version keeps its store.
const BESIDE: &str = "format-2";

/// What the folder of one machine on a network file system begins with.
const MACHINE: &str = "machine-";

/// Where a store is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Directory(PathBuf);

impl Directory {
    /// Finds a folder, or makes it; a path through symbolic links stands for the folder they lead to, and one on a
    /// network file system for the folder that this machine has there.
    pub(crate) fn open(path: &Path, allow_network: bool) -> Result<Self, Error> {
        let failed = |cause| error::folder(path, cause);
        make(path).map_err(failed)?;
        let found = path.canonicalize().map_err(failed)?;
        let network = os::network_file_system(&found).map_err(failed)?;
        match network.filter(|_| !allow_network) {
            Some(kind) => Self::of_this_machine(&found, &kind).map_err(failed),
            None => Ok(Self(found)),
        }
    }

    /// Locks and shared memory on a network file system do not reach other machines, which would read what somebody
    /// said to be untrue. So each machine has a folder of its own there, and says so when it makes it.
    fn of_this_machine(outer: &Path, kind: &str) -> io::Result<Self> {
        let name = format!("{MACHINE}{:016x}", os::machine(outer)?);
        if outer.ends_with(&name) {
            return Ok(Self(outer.to_owned()));
        }
        let inner = outer.join(name);
        if !inner.is_dir() {
            make(&inner)?;
            let (outer, inner) = (outer.display(), inner.display());
            let mut stream = io::stderr().lock();
            // A stream that cannot be written to keeps nobody from the folder.
            let _ = writeln!(
                stream,
                "scrubjay: {outer} is on a network file system ({kind}), and the machines there cannot share a store; this \
                 one has {inner} for itself. A local folder is faster"
            );
        }
        Ok(Self(inner))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn index(&self) -> PathBuf {
        self.0.join("store.db")
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.0.join("store.db-wal")
    }

    pub(crate) fn shared_memory(&self) -> PathBuf {
        self.0.join("store.db-shm")
    }

    pub(crate) fn values(&self) -> PathBuf {
        self.0.join("v")
    }

    pub(crate) fn scratch(&self) -> PathBuf {
        self.0.join("scratch")
    }

    pub(crate) fn locks(&self) -> PathBuf {
        self.0.join("locks")
    }

    pub(crate) fn journals(&self) -> PathBuf {
        self.0.join("journals")
    }

    pub(crate) fn generation(&self) -> PathBuf {
        self.0.join("gen")
    }

    pub(crate) fn ballast(&self) -> PathBuf {
        self.0.join("ballast")
    }

    pub(crate) fn usage(&self) -> PathBuf {
        self.0.join("usage")
    }

    /// The folder inside in which this version keeps its store when a newer one has the outer.
    pub(crate) fn beside_newer(&self) -> io::Result<Self> {
        let path = self.0.join(BESIDE);
        make(&path)?;
        Ok(Self(path))
    }

    /// Whether the folder around this one has a store of a newer version.
    pub(crate) fn is_beside_newer(&self) -> bool {
        let outer = self.0.parent().map(|outer| outer.join("store.db"));
        self.0.ends_with(BESIDE) && outer.is_some_and(|index| index.exists())
    }

    /// Makes a folder inside, unless it is there.
    pub(crate) fn make(&self, path: &Path) -> io::Result<()> {
        make(path)
    }

    /// Waits for the right to create or move an index; held until the file is dropped.
    pub(crate) fn lock(&self) -> io::Result<File> {
        let mut options = OpenOptions::new();
        let file = options
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(self.0.join("init.lock"))?;
        file.lock()?;
        Ok(file)
    }

    /// Moves the index and all that belongs to it into a folder of its own.
    pub(crate) fn set_aside(&self) -> io::Result<PathBuf> {
        let name = format!("corrupt-{}", nanos_of(SystemTime::now()));
        let aside = self.0.join(name);
        make(&aside)?;
        for name in [
            "store.db",
            "store.db-wal",
            "store.db-shm",
            "gen",
            "v",
            "journals",
        ] {
            match fs::rename(self.0.join(name), aside.join(name)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(aside)
    }
}

fn make(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn a_machine_finds_the_folder_that_it_made_on_a_network_and_opens_none_inside_it() {
        let outer = std::env::temp_dir().join(format!("scrubjay-machine-{}", std::process::id()));
        make(&outer).unwrap();
        let first = Directory::of_this_machine(&outer, "NFS").unwrap();
        assert_eq!(first.path().parent(), Some(&*outer));
        assert_eq!(Directory::of_this_machine(&outer, "NFS").unwrap(), first);
        let again = Directory::of_this_machine(first.path(), "NFS").unwrap();
        assert_eq!(again, first);
        fs::remove_dir_all(outer).unwrap();
    }
}
