//! Questions to the index.

use rusqlite::{Connection, OptionalExtension, Row as Found, params};

use super::schema::{CAPACITY, FORGOTTEN};
use super::{FunctionStats, Invalidation, Row, Target};
use crate::tier::disk::digest::Digest;
use crate::tier::disk::record::Function;

const COLUMNS: &str =
    "SELECT e.id, e.h, e.k, f.name, f.code, e.file, e.a, e.v FROM e JOIN f ON f.id = e.f";

pub(super) fn get(reader: &Connection, digest: &Digest) -> rusqlite::Result<Option<Row>> {
    const SQL: &str = "SELECT e.id, e.h, e.k, f.name, f.code, e.file, e.a, e.v FROM e JOIN f ON f.id = e.f \
                       WHERE e.h = ?1 AND e.k = ?2";
    let mut statement = reader.prepare_cached(SQL)?;
    let row = statement.query_row(params![digest.head(), digest.tail()], row);
    Ok(row.optional()?.flatten())
}

pub(super) fn rows(reader: &Connection, after: i64, limit: usize) -> rusqlite::Result<Vec<Row>> {
    let sql = format!("{COLUMNS} WHERE e.id > ?1 ORDER BY e.id LIMIT ?2");
    let mut statement = reader.prepare_cached(&sql)?;
    let rows = statement.query_map(params![after, limit as i64], row)?;
    Ok(rows
        .collect::<rusqlite::Result<Vec<_>>>()?
        .into_iter()
        .flatten()
        .collect())
}

/// `None` for a row whose digest is not one.
fn row(found: &Found<'_>) -> rusqlite::Result<Option<Row>> {
    let tail = found.get_ref(2)?.as_bytes_or_null()?.unwrap_or_default();
    let Some(digest) = Digest::of_parts(found.get(1)?, tail) else {
        return Ok(None);
    };
    Ok(Some(Row {
        id: found.get(0)?,
        digest,
        function: Function::new(found.get::<_, String>(3)?, found.get::<_, String>(4)?),
        file: found.get(5)?,
        bucket: found.get(6)?,
        bytes: found.get(7)?,
    }))
}

pub(super) fn last_invalidation(reader: &Connection) -> rusqlite::Result<u64> {
    const SQL: &str = "SELECT seq FROM sqlite_sequence WHERE name = 'i'";
    let mut statement = reader.prepare_cached(SQL)?;
    let number: Option<i64> = statement.query_row([], |row| row.get(0)).optional()?;
    Ok(number.unwrap_or(0).max(0).cast_unsigned())
}

pub(super) fn forgotten(reader: &Connection) -> rusqlite::Result<u64> {
    let mut statement = reader.prepare_cached("SELECT v FROM m WHERE k = ?1")?;
    let number: i64 = statement.query_row([FORGOTTEN], |row| row.get(0))?;
    Ok(number.max(0).cast_unsigned())
}

/// The capacity that the folder remembers, if any.
pub(super) fn capacity(reader: &Connection) -> rusqlite::Result<Option<u64>> {
    let sql = "SELECT v FROM m WHERE k = ?1 AND v > 0";
    reader
        .query_row(sql, [CAPACITY], |row| row.get(0))
        .optional()
}

pub(super) fn invalidations(
    reader: &Connection,
    after: u64,
) -> rusqlite::Result<(Vec<Invalidation>, u64)> {
    const SQL: &str =
        "SELECT number, kind, target, origin FROM i WHERE number > ?1 ORDER BY number";
    let transaction = reader.unchecked_transaction()?;
    let mut statement = transaction.prepare_cached(SQL)?;
    let found = statement.query_map([after.cast_signed()], |row| {
        let target = decode_target(row.get(1)?, row.get(2)?);
        let number: i64 = row.get(0)?;
        Ok(Invalidation {
            number: number.cast_unsigned(),
            target,
            origin: row.get(3)?,
        })
    })?;
    let found = found.collect::<rusqlite::Result<Vec<_>>>()?;
    Ok((found, forgotten(&transaction)?))
}

/// How a target is kept: a kind, and bytes that say which.
pub(super) fn parts(target: &Target) -> (i64, &[u8]) {
    match target {
        Target::Key(digest) => (0, digest.as_bytes()),
        Target::Tag(tag) => (1, tag.as_bytes()),
        Target::Function(name) => (2, name.as_bytes()),
        Target::All => (3, &[]),
        Target::Loads => (4, &[]),
    }
}

/// One that cannot be read may concern anything.
pub(in crate::tier::disk) fn decode_target(kind: i64, bytes: Vec<u8>) -> Target {
    let text = |bytes| String::from_utf8(bytes).ok();
    let target = match kind {
        0 => bytes
            .try_into()
            .ok()
            .map(|digest| Target::Key(Digest::from_bytes(digest))),
        1 => text(bytes).map(Target::Tag),
        2 => text(bytes).map(Target::Function),
        4 => Some(Target::Loads),
        _ => None,
    };
    target.unwrap_or(Target::All)
}

pub(super) fn functions(reader: &Connection) -> rusqlite::Result<Vec<FunctionStats>> {
    let sql = "SELECT f.name, f.code, count(*), sum(e.n) FROM e JOIN f ON f.id = e.f GROUP BY f.id ORDER BY 4 DESC";
    let mut statement = reader.prepare(sql)?;
    let rows = statement.query_map([], |row| {
        Ok(FunctionStats {
            function: Function::new(row.get::<_, String>(0)?, row.get::<_, String>(1)?),
            entries: row.get(2)?,
            bytes: row.get(3)?,
        })
    })?;
    rows.collect()
}
