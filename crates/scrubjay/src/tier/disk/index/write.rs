//! Batches: every change of the index is one transaction of many steps.
//!
//! Invariant: a value is refused if an invalidation that concerns it came after its load began; both are decided in
//! the transaction that would store it.

use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};

use super::evict;
use super::read::{forgotten, last_invalidation, parts};
use super::schema::{CAPACITY, FILE_BYTES, FORGOTTEN};
use super::sqlite::Sqlite;
use super::{Applied, Op, Put, Target};
use crate::tier::disk::Options;
use crate::tier::disk::digest::Digest;
use crate::tier::disk::format::nanos_of;
use crate::tier::disk::record::Function;

/// An invalidation is remembered this long for loads that began before it; longer loads are not stored.
const REMEMBERED_MILLIS: i64 = 3_600_000;

pub(super) fn apply(
    index: &Sqlite,
    connection: &mut Connection,
    batch: &[Op],
    durable: bool,
) -> rusqlite::Result<Applied> {
    let synchronous = if durable { "FULL" } else { "NORMAL" };
    connection.pragma_update(None, "synchronous", synchronous)?;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut step = Step {
        invalidation: last_invalidation(&transaction)?,
        forgotten: forgotten(&transaction)?,
        transaction,
        origin: index.origin,
        applied: Applied::default(),
        file_bytes: 0,
    };
    for op in batch {
        step.run(op)?;
    }
    step.remember_capacity(&index.options)?;
    evict::make_room(&mut step, &index.options)?;
    let applied = step.commit()?;
    evict::checkpoint(index, connection);
    Ok(applied)
}

/// A batch under way.
pub(super) struct Step<'a> {
    pub(super) transaction: Transaction<'a>,
    origin: i64,
    invalidation: u64,
    forgotten: u64,
    pub(super) applied: Applied,
    /// By how much the value files grew.
    pub(super) file_bytes: i64,
}

impl Step<'_> {
    fn run(&mut self, op: &Op) -> rusqlite::Result<()> {
        match op {
            Op::Put(put) => self.put(put),
            Op::Invalidate(target) => {
                self.announce(target)?;
                self.remove_all(target)
            }
            Op::Touch { id, bucket } => {
                let sql = "UPDATE e SET a = ?2 WHERE id = ?1 AND a < ?2";
                self.transaction
                    .prepare_cached(sql)?
                    .execute(params![id, bucket])?;
                Ok(())
            }
            Op::Discard { id, digest } => {
                let found = self.find(digest)?.filter(|old| old.id == *id);
                found.map_or(Ok(()), |old| self.remove(&old))
            }
        }
    }

    /// Notes a capacity that somebody asked for, for those who do not.
    fn remember_capacity(&self, options: &Options) -> rusqlite::Result<()> {
        if options.is_capacity_given {
            let sql = "INSERT INTO m(k, v) VALUES (?1, ?2) ON CONFLICT(k) DO UPDATE SET v = ?2 WHERE v <> ?2";
            let mut statement = self.transaction.prepare_cached(sql)?;
            statement.execute(params![
                CAPACITY,
                options.capacity_bytes.min(i64::MAX as u64)
            ])?;
        }
        Ok(())
    }

    fn commit(self) -> rusqlite::Result<Applied> {
        if self.file_bytes != 0 {
            let sql = "UPDATE m SET v = max(v + ?2, 0) WHERE k = ?1";
            let mut statement = self.transaction.prepare_cached(sql)?;
            statement.execute(params![FILE_BYTES, self.file_bytes])?;
        }
        let mut applied = self.applied;
        applied.invalidation = self.invalidation;
        self.transaction.commit()?;
        Ok(applied)
    }

    fn put(&mut self, put: &Put) -> rusqlite::Result<()> {
        if self.is_fenced(put)? {
            self.applied.fenced += 1;
            self.applied.unnamed.extend(put.file.map(|(id, _)| id));
            return Ok(());
        }
        if put.replaces {
            self.announce(&Target::Key(put.digest))?;
        }
        let file_bytes = put.file.map_or(0, |(_, bytes)| bytes.cast_signed());
        let row_bytes = put.bytes.len() as i64 + file_bytes;
        let function = self.function(&put.function)?;
        let values = params![
            put.digest.head(),
            put.digest.tail(),
            function,
            put.ends,
            put.bucket,
            row_bytes,
            put.tags.len() as i64,
            put.file.map(|(id, _)| id),
            put.bytes,
        ];
        let old = self.find_head(&put.digest)?;
        if let Some(old) = &old {
            self.forget_parts(old)?;
        }
        let sql = "INSERT INTO e(h, k, f, x, a, n, g, file, v) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) \
                   ON CONFLICT(h) DO UPDATE SET k = ?2, f = ?3, x = ?4, a = ?5, n = ?6, g = ?7, file = ?8, v = ?9";
        self.transaction.prepare_cached(sql)?.execute(values)?;
        let id = old.map_or_else(|| self.transaction.last_insert_rowid(), |old| old.id);
        for tag in &put.tags {
            let sql = "INSERT OR IGNORE INTO t(tag, id) VALUES (?1, ?2)";
            self.transaction
                .prepare_cached(sql)?
                .execute(params![tag, id])?;
        }
        self.file_bytes += file_bytes;
        self.applied.stored += 1;
        Ok(())
    }

    /// Whether something was said about an entry after its load began.
    fn is_fenced(&self, put: &Put) -> rusqlite::Result<bool> {
        if put.born >= self.invalidation {
            return Ok(false);
        }
        if put.born < self.forgotten {
            return Ok(true);
        }
        let key = Target::Key(put.digest);
        let function = Target::Function(put.function.name.clone());
        let tags = put.tags.iter().map(|tag| Target::Tag(tag.clone()));
        let all = [key, function, Target::All, Target::Loads];
        let sql = "SELECT EXISTS(SELECT 1 FROM i WHERE kind = ?1 AND target = ?2 AND number > ?3)";
        let mut statement = self.transaction.prepare_cached(sql)?;
        for target in all.into_iter().chain(tags) {
            let (kind, bytes) = parts(&target);
            if statement.query_row(params![kind, bytes, put.born.cast_signed()], |row| {
                row.get(0)
            })? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn function(&self, function: &Function) -> rusqlite::Result<i64> {
        let mut find = self
            .transaction
            .prepare_cached("SELECT id FROM f WHERE name = ?1 AND code = ?2")?;
        let names = params![function.name, function.code];
        if let Some(id) = find.query_row(names, |row| row.get(0)).optional()? {
            return Ok(id);
        }
        self.transaction
            .execute("INSERT INTO f(name, code) VALUES (?1, ?2)", names)?;
        Ok(self.transaction.last_insert_rowid())
    }

    /// Writes an invalidation down, for other processes and for loads that began before it.
    fn announce(&mut self, target: &Target) -> rusqlite::Result<()> {
        let (kind, bytes) = parts(target);
        let now = nanos_of(std::time::SystemTime::now()) / 1_000_000;
        let sql = "INSERT INTO i(at, kind, target, origin) VALUES (?1, ?2, ?3, ?4)";
        let values = params![now, kind, bytes, self.origin];
        self.transaction.prepare_cached(sql)?.execute(values)?;
        self.invalidation = self.transaction.last_insert_rowid().cast_unsigned();
        if self.invalidation.is_multiple_of(256) {
            self.forget_invalidations(now - REMEMBERED_MILLIS)?;
        }
        Ok(())
    }

    fn forget_invalidations(&mut self, before: i64) -> rusqlite::Result<()> {
        let sql = "UPDATE m SET v = max(v, (SELECT coalesce(max(number), 0) FROM i WHERE at < ?2)) WHERE k = ?1";
        self.transaction.execute(sql, params![FORGOTTEN, before])?;
        let sql = "DELETE FROM i WHERE number <= (SELECT v FROM m WHERE k = ?1)";
        self.transaction.execute(sql, [FORGOTTEN])?;
        self.forgotten = forgotten(&self.transaction)?;
        Ok(())
    }

    fn remove_all(&mut self, target: &Target) -> rusqlite::Result<()> {
        let found = match target {
            Target::Loads => Vec::new(),
            Target::Key(digest) => self.find(digest)?.into_iter().collect(),
            Target::Tag(tag) => self.select("id IN (SELECT id FROM t WHERE tag = ?1)", tag)?,
            Target::Function(name) => {
                self.select("f IN (SELECT id FROM f WHERE name = ?1)", name)?
            }
            Target::All => self.select("?1 IS NOT NULL", "")?,
        };
        self.applied.invalidated += found.len() as u64;
        found.iter().try_for_each(|old| self.remove(old))
    }

    fn select(&self, test: &str, value: &str) -> rusqlite::Result<Vec<Old>> {
        let sql = format!("SELECT {OLD} FROM e WHERE {test}");
        let mut statement = self.transaction.prepare_cached(&sql)?;
        statement.query_map([value], old)?.collect()
    }

    fn find(&self, digest: &Digest) -> rusqlite::Result<Option<Old>> {
        let sql = format!("SELECT {OLD} FROM e WHERE h = ?1 AND k = ?2");
        let mut statement = self.transaction.prepare_cached(&sql)?;
        let names = params![digest.head(), digest.tail()];
        statement.query_row(names, old).optional()
    }

    /// What stands where the entry of this digest would.
    fn find_head(&self, digest: &Digest) -> rusqlite::Result<Option<Old>> {
        const SQL: &str = "SELECT id, n, g, file FROM e WHERE h = ?1";
        let mut statement = self.transaction.prepare_cached(SQL)?;
        statement.query_row([digest.head()], old).optional()
    }

    pub(super) fn remove(&mut self, row: &Old) -> rusqlite::Result<()> {
        self.forget_parts(row)?;
        let mut statement = self
            .transaction
            .prepare_cached("DELETE FROM e WHERE id = ?1")?;
        statement.execute([row.id])?;
        Ok(())
    }

    /// Forgets what belongs to a row: its tags and its value file.
    fn forget_parts(&mut self, row: &Old) -> rusqlite::Result<()> {
        if row.tags > 0 {
            let sql = "DELETE FROM t WHERE id = ?1";
            self.transaction.prepare_cached(sql)?.execute([row.id])?;
        }
        if let Some(file) = row.file {
            self.file_bytes -= row.bytes;
            self.applied.unnamed.push(file);
        }
        Ok(())
    }
}

/// What must be known of a row to remove it.
#[derive(Debug)]
pub(super) struct Old {
    pub(super) id: i64,
    bytes: i64,
    tags: i64,
    file: Option<i64>,
}

pub(super) const OLD: &str = "id, n, g, file";

pub(super) fn old(row: &rusqlite::Row<'_>) -> rusqlite::Result<Old> {
    Ok(Old {
        id: row.get(0)?,
        bytes: row.get(1)?,
        tags: row.get(2)?,
        file: row.get(3)?,
    })
}
