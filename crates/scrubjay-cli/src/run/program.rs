//! The executable behind a command: where it is, and what it is.
//!
//! An edited script or an upgraded program is another function, so its answers are not served for the new one. Neither
//! are those of an equal file in another place: what a program does may depend on where it is, as in a virtual
//! environment.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

use super::dependency::{digest_of, short};

/// Up to this length an executable is known by its content, above by its size and time of change: reading it must not
/// cost more than a hit may.
const READ_UP_TO: u64 = 1 << 20;

/// Finds `name` as a shell would. The error's kind is `NotFound` or `PermissionDenied`.
pub fn find(name: &OsStr) -> io::Result<PathBuf> {
    if name.is_empty() {
        return Err(io::ErrorKind::NotFound.into());
    }
    if name.as_encoded_bytes().contains(&b'/') {
        let path = PathBuf::from(name);
        return check(&path).map(|()| path);
    }
    let search = std::env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into());
    let mut outcome = Err(io::ErrorKind::NotFound.into());
    for directory in std::env::split_paths(&search) {
        let path = directory.join(name);
        match check(&path) {
            Ok(()) => return Ok(path),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => outcome = Err(error),
            Err(_) => {}
        }
    }
    outcome
}

fn check(path: &Path) -> io::Result<()> {
    if fs::metadata(path)?.is_dir() {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    access(path, Access::EXEC_OK)?;
    Ok(())
}

/// What changes when the executable changes.
pub fn state(path: &Path) -> io::Result<String> {
    let metadata = fs::metadata(path)?;
    if metadata.len() <= READ_UP_TO
        && let Ok(file) = File::open(path)
    {
        return Ok(short(&digest_of(file)?));
    }
    let (size, seconds, nanos) = (metadata.len(), metadata.mtime(), metadata.mtime_nsec());
    Ok(format!("{size} bytes, changed {seconds}.{nanos:09}"))
}
