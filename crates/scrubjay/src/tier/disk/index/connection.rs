//! One connection to the index, and how it waits for others.

use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use crate::tier::disk::directory::Directory;

/// Opens one connection. Writes nothing.
pub(super) fn connect(directory: &Directory) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let path = directory.index();
    let mut connection =
        Connection::open_with_flags(&path, flags | OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    be_patient(&mut connection)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    // Without this SQLite plans a statement anew for each value that is bound to it, in case a partial index fits.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.set_prepared_statement_cache_capacity(64);
    connection.execute_batch(
        "PRAGMA synchronous=NORMAL; PRAGMA mmap_size=0; PRAGMA cache_size=-16384; \
         PRAGMA wal_autocheckpoint=0; PRAGMA trusted_schema=OFF; PRAGMA temp_store=MEMORY;",
    )?;
    Ok(connection)
}

/// Has a connection wait for others as long as it takes, about.
pub(super) fn be_patient(connection: &mut Connection) -> rusqlite::Result<()> {
    connection.busy_handler(Some(wait_for_others))
}

/// Waits a little for whoever holds a lock; gives up after about half a minute.
fn wait_for_others(tries: i32) -> bool {
    let chance = crate::tier::disk::values::new_id().cast_unsigned() % 1024;
    let most = 200 << tries.clamp(0, 5);
    std::thread::sleep(Duration::from_micros(100 + chance * most / 1024));
    tries < 8_000
}
