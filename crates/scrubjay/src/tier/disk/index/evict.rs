//! The size of a store: who leaves when it is exceeded, and when the log is emptied.
//!
//! Nothing is written when an entry is read; a row carries the ten minutes in which it was last known to be used. Victims
//! are the least recently used of rows that chance picked, so no order is kept. Invariant: pages in use, value files
//! and the most that the log may grow to are together no more than the capacity, after every batch.

use std::time::Duration;

use rusqlite::{Connection, params};

use super::schema::FILE_BYTES;
use super::sqlite::Sqlite;
use super::write::{OLD, Old, Step, old};
use crate::tier::disk::Options;
use crate::tier::disk::format::nanos_of;

/// Rows that chance picks at a time, and how many of them leave.
const RANGES: usize = 8;
const ROWS_PER_RANGE: i64 = 8;
const LEAVE: usize = 16;

/// Bytes in use: pages that hold something, and value files.
pub(super) fn used(connection: &Connection) -> rusqlite::Result<u64> {
    let number = |name| connection.pragma_query_value(None, name, |row| row.get::<_, u64>(0));
    let pages = number("page_count")?.saturating_sub(number("freelist_count")?);
    let mut files = connection.prepare_cached("SELECT v FROM m WHERE k = ?1")?;
    let files: u64 = files.query_row([FILE_BYTES], |row| row.get(0))?;
    Ok(pages * number("page_size")? + files)
}

fn used_in(step: &Step<'_>) -> rusqlite::Result<u64> {
    Ok(used(&step.transaction)?.saturating_add_signed(step.file_bytes))
}

/// Removes entries until what is left fits.
pub(super) fn make_room(step: &mut Step<'_>, options: &Options) -> rusqlite::Result<()> {
    let limit = options.data_limit();
    if used_in(step)? <= limit {
        return Ok(());
    }
    let goal = limit - limit / 50;
    sweep_expired(step)?;
    while used_in(step)? > goal {
        let victims = sample(step)?;
        if victims.is_empty() {
            return Ok(());
        }
        step.applied.evicted += victims.len() as u64;
        for victim in victims {
            step.remove(&victim)?;
        }
    }
    Ok(())
}

fn sweep_expired(step: &mut Step<'_>) -> rusqlite::Result<()> {
    let now = nanos_of(std::time::SystemTime::now()) / 1_000_000;
    let sql = format!("SELECT {OLD} FROM e WHERE x < ?1 LIMIT 256");
    let expired: Vec<Old> = {
        let mut statement = step.transaction.prepare_cached(&sql)?;
        statement
            .query_map([now], old)?
            .collect::<rusqlite::Result<_>>()?
    };
    expired.iter().try_for_each(|row| step.remove(row))
}

/// The least recently used of some rows that chance picks.
fn sample(step: &Step<'_>) -> rusqlite::Result<Vec<Old>> {
    let bounds = "SELECT coalesce(min(id), 0), coalesce(max(id), 0) FROM e";
    let bounds = step
        .transaction
        .query_row(bounds, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let (first, last): (i64, i64) = bounds;
    let sql = format!("SELECT {OLD}, a FROM e WHERE id >= ?1 ORDER BY id LIMIT ?2");
    let mut statement = step.transaction.prepare_cached(&sql)?;
    let mut seen: Vec<(i64, Old)> = Vec::with_capacity(RANGES * 8);
    for _ in 0..RANGES {
        let chance = crate::tier::disk::values::new_id();
        let start = first + chance % (last - first + 1).max(1);
        let rows = statement.query_map(params![start, ROWS_PER_RANGE], |row| {
            Ok((row.get(4)?, old(row)?))
        })?;
        for row in rows {
            seen.push(row?);
        }
    }
    seen.sort_by_key(|(bucket, row)| (*bucket, row.id));
    seen.dedup_by_key(|(_, row)| row.id);
    Ok(seen.into_iter().take(LEAVE).map(|(_, row)| row).collect())
}

/// The longest log that a closed store leaves. Whoever opens it first reads all of it: a `scrubjay run` for each answer.
const LOG_AT_REST: u64 = 512 << 10;

/// Empties a longer log when a store is closed, unless others use the folder: then the last of them does.
pub(super) fn tidy(index: &Sqlite, connection: &Connection) {
    let log = std::fs::metadata(index.directory.log()).map_or(0, |log| log.len());
    if log > LOG_AT_REST && connection.busy_timeout(Duration::ZERO).is_ok() {
        let emptied = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        // A log that stays costs time, nothing else.
        drop(emptied);
    }
}

/// Empties the log if it has grown to half of what it may. Others that read or write may prevent it; then the next
/// batch tries again.
pub(super) fn checkpoint(index: &Sqlite, connection: &Connection) {
    let log = std::fs::metadata(index.directory.log()).map_or(0, |log| log.len());
    if log > index.options.log_limit() / 2 {
        let emptied = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        // A log that stays is no failure of this batch, which is committed.
        drop(emptied);
    }
}
