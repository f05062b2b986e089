//! How failures below become the crate's one error, each saying what to do next.

use std::io;
use std::path::Path;

use crate::error::{Error, ErrorKind};

pub(super) fn folder(path: &Path, cause: io::Error) -> Error {
    let message = format!(
        "disk tier: {} cannot be used; check that it is a folder of yours and has room",
        path.display()
    );
    Error::new(ErrorKind::Io, message).with_source(cause)
}

pub(super) fn index(cause: rusqlite::Error) -> Error {
    use rusqlite::ErrorCode;
    let (kind, message) = match cause.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            (ErrorKind::Corrupt, "the index is damaged")
        }
        Some(ErrorCode::DiskFull) => (ErrorKind::Io, "the disk is full"),
        Some(ErrorCode::ReadOnly) => (ErrorKind::Io, "the folder is read-only"),
        Some(ErrorCode::DatabaseBusy) => (ErrorKind::Io, "others kept writing for too long"),
        _ => (ErrorKind::Io, "the index failed"),
    };
    Error::new(kind, format!("disk tier: {message}")).with_source(cause)
}

/// Whether the index had no room on its disk.
pub(super) fn is_full(error: &Error) -> bool {
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref());
    cause.and_then(rusqlite::Error::sqlite_error_code) == Some(rusqlite::ErrorCode::DiskFull)
}

pub(super) fn value_file(cause: io::Error) -> Error {
    let kind = match cause.kind() {
        io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => ErrorKind::Corrupt,
        _ => ErrorKind::Io,
    };
    Error::new(kind, "disk tier: a value file cannot be read").with_source(cause)
}
