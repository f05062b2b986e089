//! The tables, and how an index comes to be.
//!
//! Invariant: `store.db` is whole from the moment it has its name: it is made under another one, by one process at a
//! time.

use std::fs;
use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use super::sums;
use crate::error::Error;
use crate::tier::disk::directory::Directory;
use crate::tier::disk::error;

/// "SJay": says that a database is ours.
pub(super) const APPLICATION: i64 = 0x534A_6179;
/// The version of the tables.
pub(super) const VERSION: i64 = 2;
/// The oldest version of the tables that is read, and becomes [`VERSION`] with the first write.
const OLDEST: i64 = 1;

/// The size of a page.
pub(super) const PAGE: u64 = 8192;
/// The keys of table `m`.
pub(super) const FILE_BYTES: i64 = 1;
pub(super) const FORGOTTEN: i64 = 2;
pub(super) const CAPACITY: i64 = 3;
pub(super) const OLD_NEWS: i64 = 4;

const TABLES: &str = "
CREATE TABLE f(id INTEGER PRIMARY KEY, name TEXT NOT NULL, code TEXT NOT NULL, UNIQUE(name, code));
CREATE TABLE e(id INTEGER PRIMARY KEY, h INTEGER NOT NULL, k BLOB NOT NULL, f INTEGER NOT NULL, x INTEGER,
  a INTEGER NOT NULL, n INTEGER NOT NULL, g INTEGER NOT NULL, b INTEGER NOT NULL, file INTEGER, v BLOB NOT NULL);
CREATE UNIQUE INDEX e_h ON e(h);
CREATE INDEX e_x ON e(x) WHERE x IS NOT NULL;
CREATE UNIQUE INDEX e_file ON e(file) WHERE file IS NOT NULL;
CREATE TABLE t(tag TEXT NOT NULL, id INTEGER NOT NULL, PRIMARY KEY(tag, id)) WITHOUT ROWID;
CREATE INDEX t_id ON t(id);
CREATE TABLE i(number INTEGER PRIMARY KEY, at INTEGER NOT NULL, kind INTEGER NOT NULL, target BLOB NOT NULL,
  origin INTEGER NOT NULL);
CREATE INDEX i_target ON i(kind, target);
CREATE TABLE n(number INTEGER PRIMARY KEY, at INTEGER NOT NULL, digests BLOB NOT NULL, origin INTEGER NOT NULL);
CREATE TABLE m(k INTEGER PRIMARY KEY, v INTEGER NOT NULL);
INSERT INTO m VALUES (1, 0), (2, 0), (4, 0);
";

/// What version 2 has more than version 1: how far each journal was applied, and the sums of rows.
const SUMS: &str = "
CREATE TABLE IF NOT EXISTS j(journal INTEGER PRIMARY KEY, applied INTEGER NOT NULL);
ALTER TABLE j ADD COLUMN c INTEGER;
ALTER TABLE e ADD COLUMN c INTEGER;
ALTER TABLE i ADD COLUMN c INTEGER;
ALTER TABLE n ADD COLUMN c INTEGER;
ALTER TABLE m ADD COLUMN c INTEGER;
";

/// What a database turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Ours,
    Newer,
    /// Ours in a version from before the first, or no store at all.
    Foreign,
}

/// Makes the index unless there is one.
pub(super) fn create(directory: &Directory) -> Result<(), Error> {
    let failed = |cause| error::folder(directory.path(), cause);
    if is_there(&directory.index()) {
        return Ok(());
    }
    let _lock = directory.lock().map_err(failed)?;
    if is_there(&directory.index()) {
        return Ok(());
    }
    let new = directory.path().join("store.new");
    match fs::remove_file(&new) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    fill(&new).map_err(error::index)?;
    restrict(&new).map_err(failed)?;
    // A leftover of an index that somebody removed by hand must not be taken for the new one's.
    for name in ["store.db-wal", "store.db-shm"] {
        let _ = fs::remove_file(directory.path().join(name));
    }
    let _ = fs::remove_dir_all(directory.journals());
    let named = fs::rename(&new, directory.index());
    // Its name survives a loss of power, or what will be acknowledged would not.
    named
        .and_then(|()| fs::File::open(directory.path())?.sync_all())
        .map_err(failed)
}

fn is_there(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

fn restrict(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))
}

fn fill(path: &Path) -> rusqlite::Result<()> {
    let connection = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    connection.pragma_update(None, "page_size", PAGE.cast_signed())?;
    connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    connection.pragma_update(None, "secure_delete", false)?;
    connection.execute_batch(&format!(
        "BEGIN; {TABLES} PRAGMA application_id={APPLICATION};"
    ))?;
    add_sums(&connection)?;
    connection.execute_batch("COMMIT")?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.close().map_err(|(_, error)| error)
}

/// Makes version 2 of version 1, inside a transaction.
fn add_sums(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(SUMS)?;
    let mut settings = connection.prepare("SELECT k, v FROM m")?;
    let settings = settings.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let settings: Vec<(i64, i64)> = settings.collect::<rusqlite::Result<_>>()?;
    for (k, v) in settings {
        let sum = sums::of_setting(k, v);
        connection.execute("UPDATE m SET c = ?2 WHERE k = ?1", [k, sum])?;
    }
    connection.pragma_update(None, "user_version", VERSION)
}

/// Makes this version of an older one, for whoever is about to write.
pub(super) fn upgrade(connection: &Connection) -> rusqlite::Result<()> {
    if has_sums(connection)? {
        return Ok(());
    }
    connection.execute_batch("BEGIN IMMEDIATE")?;
    // Somebody else may have done it meanwhile.
    let done = match has_sums(connection) {
        Ok(false) => add_sums(connection),
        other => other.map(|_| ()),
    };
    let end = if done.is_ok() { "COMMIT" } else { "ROLLBACK" };
    connection.execute_batch(end).and(done)
}

/// Whether rows have the sums that came with version 2.
pub(super) fn has_sums(connection: &Connection) -> rusqlite::Result<bool> {
    let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    Ok(version > OLDEST)
}

/// What the tables and their indexes are, as they are said to be.
pub(super) fn tables(connection: &Connection) -> rusqlite::Result<Vec<[String; 4]>> {
    let sql =
        "SELECT type, name, tbl_name, coalesce(sql, '') FROM sqlite_schema ORDER BY type, name";
    let mut statement = connection.prepare(sql)?;
    let rows = statement.query_map([], |row| {
        Ok([row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?])
    })?;
    rows.collect()
}

/// What they should be, with sums or without.
pub(super) fn expected(with_sums: bool) -> rusqlite::Result<Vec<[String; 4]>> {
    let memory = Connection::open_in_memory()?;
    memory.execute_batch(TABLES)?;
    if with_sums {
        memory.execute_batch(SUMS)?;
    }
    tables(&memory)
}

/// Says what an open database is.
pub(super) fn kind(connection: &Connection) -> rusqlite::Result<Kind> {
    let number = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    if number("application_id")? != APPLICATION {
        return Ok(Kind::Foreign);
    }
    Ok(match number("user_version")? {
        OLDEST..=VERSION => Kind::Ours,
        newer if newer > VERSION => Kind::Newer,
        _ => Kind::Foreign,
    })
}
