//! The size of a store: who leaves when it is exceeded, when the log is emptied, and how the folder shrinks.
//!
//! Nothing is written when an entry is read; a row carries the ten minutes in which it was last known to be used.
//! Victims are the least recently used of rows that chance picked, so no order is kept. Invariant: pages, free ones
//! included, value files and the most that the log may grow to are together no more than the capacity, after every
//! batch.

use std::time::{Duration, Instant};

use rusqlite::{Connection, params};

use super::connection::{be_patient, be_patient_for_a_moment};
use super::read::numbers;
use super::schema::PAGE;
use super::sqlite::Sqlite;
use super::write::{OLD, Old, Step, Writer, old};
use crate::tier::disk::Options;
use crate::tier::disk::format::nanos_of;
use crate::tier::disk::index::Index;

/// Rows that chance picks at a time, and how many of them leave.
const RANGES: usize = 8;
const ROWS_PER_RANGE: i64 = 8;
const LEAVE: usize = 16;
/// The longest log that is left at rest. Whoever opens the store first reads all of it: a `scrubjay run` for each
/// answer.
pub(crate) const LOG_AT_REST: u64 = 512 << 10;
/// Free pages that are given back at a time while nothing else is to be done.
const PAGES_AT_A_TIME: u64 = 256;
/// How long a batch waits for the log to be emptied; for as long after that in vain none waits.
const STUCK: Duration = Duration::from_secs(1);

/// Bytes of the pages of the index, and of those that hold something.
struct Pages {
    all: u64,
    in_use: u64,
}

fn pages(connection: &Connection) -> rusqlite::Result<Pages> {
    let number = |sql| {
        let mut statement = connection.prepare_cached(sql)?;
        statement.query_row([], |row| row.get::<_, u64>(0))
    };
    let all = number("PRAGMA page_count")?;
    let free = number("PRAGMA freelist_count")?;
    Ok(Pages {
        all: all * PAGE,
        in_use: all.saturating_sub(free) * PAGE,
    })
}

/// Bytes in use: pages that hold something, and value files.
pub(super) fn used(connection: &Connection) -> rusqlite::Result<u64> {
    Ok(pages(connection)?.in_use + numbers(connection)?.file_bytes)
}

/// Removes entries until what is left fits.
pub(super) fn make_room(step: &mut Step<'_>, options: &Options) -> rusqlite::Result<()> {
    let limit = options.data_limit();
    if pages(step.connection)?.all + step.numbers.file_bytes <= limit {
        return Ok(());
    }
    let goal = limit - limit / 50;
    sweep_expired(step)?;
    while pages(step.connection)?.in_use + step.numbers.file_bytes > goal {
        let victims = sample(step)?;
        if victims.is_empty() {
            break;
        }
        step.applied.evicted += victims.len() as u64;
        for victim in victims {
            step.remove(&victim)?;
        }
    }
    let taken = pages(step.connection)?.all + step.numbers.file_bytes;
    if taken > limit {
        step.applied.shrank = give_back(step.connection, (taken - limit).div_ceil(PAGE))?;
    }
    Ok(())
}

/// Cuts free pages off the end of the index; says whether there were any. What was at the end moves to free places.
pub(super) fn give_back(connection: &Connection, pages: u64) -> rusqlite::Result<bool> {
    let mut statement = connection.prepare(&format!("PRAGMA incremental_vacuum({pages})"))?;
    let mut cut = statement.query([])?;
    let mut any = false;
    while cut.next()?.is_some() {
        any = true;
    }
    Ok(any)
}

fn sweep_expired(step: &mut Step<'_>) -> rusqlite::Result<()> {
    let now = nanos_of(std::time::SystemTime::now()) / 1_000_000;
    let sql = format!("SELECT {OLD} FROM e WHERE x < ?1 LIMIT 256");
    let expired: Vec<Old> = {
        let mut statement = step.connection.prepare_cached(&sql)?;
        statement
            .query_map([now], old)?
            .collect::<rusqlite::Result<_>>()?
    };
    expired.iter().try_for_each(|row| step.remove(row))
}

/// The least recently used of some rows that chance picks.
fn sample(step: &Step<'_>) -> rusqlite::Result<Vec<Old>> {
    let bounds =
        "SELECT coalesce((SELECT min(id) FROM e), 0), coalesce((SELECT max(id) FROM e), 0)";
    let mut bounds = step.connection.prepare_cached(bounds)?;
    let (first, last): (i64, i64) = bounds.query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let sql = format!("SELECT {OLD}, a FROM e WHERE id >= ?1 ORDER BY id LIMIT ?2");
    let mut statement = step.connection.prepare_cached(&sql)?;
    let mut seen: Vec<(i64, Old)> = Vec::with_capacity(RANGES * 8);
    for _ in 0..RANGES {
        let chance = crate::tier::disk::values::new_id();
        let start = first + chance % (last - first + 1).max(1);
        let rows = statement.query_map(params![start, ROWS_PER_RANGE], |row| {
            Ok((row.get(7)?, old(row)?))
        })?;
        for row in rows {
            seen.push(row?);
        }
    }
    seen.sort_by_key(|(bucket, row)| (*bucket, row.id));
    seen.dedup_by_key(|(_, row)| row.id);
    Ok(seen.into_iter().take(LEAVE).map(|(_, row)| row).collect())
}

/// Moves the log into the index; says whether others kept it from being done wholly.
fn checkpoint(connection: &Connection, mode: &str) -> rusqlite::Result<bool> {
    let sql = format!("PRAGMA wal_checkpoint({mode})");
    connection.query_row(&sql, [], |row| row.get(0))
}

impl Sqlite {
    pub(super) fn log_length(&self) -> u64 {
        std::fs::metadata(self.directory.log()).map_or(0, |log| log.len())
    }

    /// Empties the log if it has grown to half of what it may, or the index has become smaller. Readers of others may
    /// prevent it; then it is tried again when the log has grown further.
    pub(super) fn keep_small(&self, writer: &mut Writer, shrank: bool) {
        let half = self.options.log_limit() / 2;
        if !shrank && writer.grown < half / 8 {
            return;
        }
        writer.grown = 0;
        let log = self.log_length();
        if !shrank && log <= half.max(writer.empty_from) {
            return;
        }
        if !self.empty_log(writer) {
            writer.empty_from = log + half / 4;
        } else {
            writer.empty_from = 0;
        }
    }

    /// Sees to it that the log has room for a batch: who writes while others do waits until one of them has emptied it.
    /// False if somebody keeps it from that, such as a process that was stopped while it read.
    pub(super) fn find_room_in_log(&self, writer: &mut Writer) -> bool {
        if self.has_room_in_log() {
            return true;
        }
        if writer.stuck.is_some_and(|since| since.elapsed() < STUCK) {
            return false;
        }
        let begun = Instant::now();
        while !self.empty_log(writer) && !self.has_room_in_log() {
            if begun.elapsed() >= STUCK {
                writer.stuck = Some(Instant::now());
                return false;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        true
    }

    /// Says whether the log is empty now.
    fn empty_log(&self, writer: &mut Writer) -> bool {
        // First without keeping anybody waiting. Readers see that it went on and begin anew, and then need nothing of
        // the log.
        if checkpoint(&writer.connection, "PASSIVE").is_err() {
            return false;
        }
        self.release(Duration::ZERO);
        let patient = be_patient_for_a_moment(&mut writer.connection);
        let is_busy = checkpoint(&writer.connection, "TRUNCATE").unwrap_or(true);
        let restored = be_patient(&mut writer.connection);
        patient.is_ok() && restored.is_ok() && !is_busy
    }

    /// One step of what is done while nothing else is: gives free pages back and empties the log. Says whether there is
    /// more to do.
    pub(super) fn tidy(&self, writer: &mut Writer) -> rusqlite::Result<bool> {
        let pages = pages(&writer.connection)?;
        let free = pages.all - pages.in_use;
        if free > pages.all / 32 && free > 8 * PAGE {
            let applied = writer.within(|step| {
                step.applied.shrank = give_back(step.connection, PAGES_AT_A_TIME)?;
                Ok(())
            })?;
            return Ok(applied.shrank);
        }
        if self.log_length() > LOG_AT_REST {
            self.empty_log(writer);
        }
        Ok(false)
    }
}
