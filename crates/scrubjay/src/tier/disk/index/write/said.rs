//! What a batch says of entries, invalidations and insertions, and how long that is remembered.
//!
//! Invariants: a row that says something has a number greater than all before it; and what is forgotten leaves a number
//! behind: loads that began before it are refused, and who asks for news since then is told that there is a gap.

use rusqlite::params;

use super::Step;
use crate::tier::disk::Options;
use crate::tier::disk::digest::Digest;
use crate::tier::disk::format::nanos_of;
use crate::tier::disk::index::read::parts;
use crate::tier::disk::index::{Speaker, Target, sums};

/// An invalidation is remembered this long for loads that began before it; longer loads are not stored.
const REMEMBERED_MILLIS: i64 = 3_600_000;
/// For so long others can learn which keys were inserted; who asks later must take all for untrue.
const NEWS_MILLIS: i64 = 60_000;
/// What is remembered is looked through once for so many numbers.
pub(super) const LOOK: u64 = 1024;
/// The origin of what every process is to hear.
pub(super) const NOBODY: i64 = -1;

/// A process that says something: the numbers of its speakers follow one another.
#[derive(Debug, Clone, Copy)]
pub(in crate::tier::disk::index) struct Origin(i64);

impl Origin {
    pub(in crate::tier::disk::index) fn new(number: i64) -> Self {
        Self(number & !i64::from(Speaker::MOST))
    }

    pub(in crate::tier::disk::index) fn of(self, speaker: Speaker) -> i64 {
        self.0 | i64::from(speaker.0)
    }

    /// The last number that one of the process may have.
    fn last(self) -> i64 {
        self.0 | i64::from(Speaker::MOST)
    }
}

impl Step<'_> {
    /// Whether this was said after a number, by others than a process.
    pub(super) fn is_said(
        &self,
        target: &Target,
        after: u64,
        but: Option<Origin>,
    ) -> rusqlite::Result<bool> {
        let sql = "SELECT EXISTS(SELECT 1 FROM i WHERE kind = ?1 AND target = ?2 AND number > ?3 \
                   AND (origin | ?4) IS NOT ?5)";
        let (kind, bytes) = parts(target);
        let (speakers, last) = (Speaker::MOST, but.map(Origin::last));
        let values = params![kind, bytes, after.cast_signed(), speakers, last];
        let mut statement = self.connection.prepare_cached(sql)?;
        statement.query_row(values, |row| row.get(0))
    }

    fn next_number(&mut self) -> u64 {
        self.numbers.last.number += 1;
        self.numbers.last.number
    }

    /// Notes an insertion, and returns its number.
    pub(super) fn insert(&mut self, digest: &Digest, by: Speaker) -> rusqlite::Result<u64> {
        if self.inserted_by != by {
            self.announce_inserted()?;
            self.inserted_by = by;
        }
        if self.inserted.is_empty() {
            self.next_number();
        }
        self.inserted.extend(digest.as_bytes());
        Ok(self.numbers.last.number)
    }

    pub(super) fn announce_inserted(&mut self) -> rusqlite::Result<()> {
        if self.inserted.is_empty() {
            return Ok(());
        }
        let sql = "INSERT INTO n(number, at, digests, origin, c) VALUES (?1, ?2, ?3, ?4, ?5)";
        let (number, at) = (self.numbers.last.number.cast_signed(), now());
        let origin = self.origin.of(self.inserted_by);
        let sum = sums::of_insertions(number, at, &self.inserted, origin);
        let values = params![number, at, self.inserted, origin, sum];
        self.connection.prepare_cached(sql)?.execute(values)?;
        self.inserted.clear();
        Ok(())
    }

    /// Writes an invalidation down, for other processes than its origin and for loads that began before it; returns its
    /// number.
    pub(super) fn say(&mut self, target: &Target, origin: i64) -> rusqlite::Result<u64> {
        self.announce_inserted()?;
        let number = self.next_number();
        self.numbers.last.invalidation = number;
        let (kind, bytes) = parts(target);
        let sql =
            "INSERT INTO i(number, at, kind, target, origin, c) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
        let (row, at) = (number.cast_signed(), now());
        let sum = sums::of_invalidation(row, at, kind, bytes, origin);
        let values = params![row, at, kind, bytes, origin, sum];
        self.connection.prepare_cached(sql)?.execute(values)?;
        Ok(number)
    }

    /// Forgets what is long ago, or more than an eighth of a hundredth of the capacity.
    pub(super) fn forget(&mut self, options: &Options) -> rusqlite::Result<()> {
        let most = options.capacity_bytes / 800;
        let sql = "SELECT coalesce(max(number), 0) FROM i WHERE at < ?1 OR number <= ?2";
        let oldest = self.numbers.last.number.saturating_sub(most / 16);
        let values = params![now() - REMEMBERED_MILLIS, oldest.cast_signed()];
        let forgotten: i64 = self.connection.query_row(sql, values, |row| row.get(0))?;
        let forgotten = forgotten.cast_unsigned();
        self.numbers.forgotten = self.numbers.forgotten.max(forgotten);
        let sql = "DELETE FROM i WHERE number <= ?1";
        self.connection.execute(sql, [forgotten.cast_signed()])?;

        let sql = "SELECT coalesce(sum(length(digests)), 0), coalesce(max(number) FILTER (WHERE at < ?1), 0) FROM n";
        let values = params![now() - NEWS_MILLIS];
        let news = |row: &rusqlite::Row<'_>| Ok((row.get::<_, u64>(0)?, row.get::<_, i64>(1)?));
        let (bytes, old) = self.connection.query_row(sql, values, news)?;
        let recent = self.numbers.last.number.saturating_sub(LOOK / 16);
        let old = if bytes > most {
            recent
        } else {
            old.cast_unsigned()
        };
        self.connection
            .execute("DELETE FROM n WHERE number <= ?1", [old.cast_signed()])?;
        self.numbers.old_news = self.numbers.old_news.max(old).max(forgotten);
        Ok(())
    }
}

fn now() -> i64 {
    nanos_of(std::time::SystemTime::now()) / 1_000_000
}
