//! One connection to the index, how it waits for others, and how it reads a folder in which nothing can be made.

use std::fmt::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::inode;
use crate::tier::disk::directory::Directory;
use crate::tier::disk::os;

/// A connection, and whether it sees nothing of what changes after it was opened.
pub(super) struct Opened {
    pub(super) connection: Connection,
    pub(super) is_frozen: bool,
}

/// Opens one connection. Writes nothing.
pub(super) fn connect(directory: &Directory) -> rusqlite::Result<Opened> {
    inode::tell_apart_after_forks();
    let flags = OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let path = directory.index();
    let is_frozen = is_frozen(directory);
    let mut connection = if is_frozen {
        let flags = flags | OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
        Connection::open_with_flags(frozen(&path), flags)?
    } else {
        Connection::open_with_flags(&path, flags | OpenFlags::SQLITE_OPEN_READ_WRITE)?
    };
    be_patient(&mut connection)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    // Without this SQLite plans a statement anew for each value that is bound to it, in case a partial index fits.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.set_prepared_statement_cache_capacity(64);
    connection.execute_batch(
        "PRAGMA synchronous=NORMAL; PRAGMA mmap_size=0; PRAGMA cache_size=-32768; \
         PRAGMA wal_autocheckpoint=0; PRAGMA trusted_schema=OFF; PRAGMA temp_store=MEMORY;",
    )?;
    Ok(Opened {
        connection,
        is_frozen,
    })
}

/// Whether the index has neither a log nor the memory that its readers share, and this process cannot make them. Then
/// it is read as a file that nobody changes; whoever changes it makes a log first, and from then on this is false.
pub(super) fn is_frozen(directory: &Directory) -> bool {
    let log = std::fs::metadata(directory.log());
    let is_unused = log.is_ok_and(|log| log.len() == 0) || !directory.log().exists();
    is_unused && !directory.shared_memory().exists() && !os::may_write(directory.path())
}

/// The address of a file that SQLite is to read without locks.
fn frozen(path: &Path) -> String {
    let mut address = "file:".to_owned();
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'/' | b'-' | b'_' | b'.' => address.push(char::from(*byte)),
            byte if byte.is_ascii_alphanumeric() => address.push(char::from(*byte)),
            byte => write!(address, "%{byte:02X}").expect("a text takes all that is written"),
        }
    }
    address + "?immutable=1"
}

/// Has a connection wait for others as long as it takes, about.
pub(super) fn be_patient(connection: &mut Connection) -> rusqlite::Result<()> {
    connection.busy_handler(Some(wait_for_others))
}

/// Has a connection wait for others for about a tenth of a second: what it does can be tried again later.
pub(super) fn be_patient_for_a_moment(connection: &mut Connection) -> rusqlite::Result<()> {
    connection.busy_handler(Some(|tries| tries < 32 && wait_for_others(tries)))
}

/// Waits a little for whoever holds a lock; gives up after about half a minute.
fn wait_for_others(tries: i32) -> bool {
    let chance = crate::tier::disk::values::new_id().cast_unsigned() % 1024;
    let most = 200 << tries.clamp(0, 5);
    std::thread::sleep(Duration::from_micros(100 + chance * most / 1024));
    tries < 8_000
}
