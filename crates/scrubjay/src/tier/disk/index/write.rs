//! Batches: every change of the index is one transaction of many steps.
//!
//! Invariant: a value is refused if an invalidation that concerns it, or something newer of its key, came after its
//! load began; both are decided in the transaction that would store it.

mod said;

use std::collections::{BTreeMap, HashMap};
use std::time::Instant;

use rusqlite::{Connection, OptionalExtension, params};

use super::evict;
use super::read::{Numbers, numbers};
use super::schema::{CAPACITY, FILE_BYTES, FORGOTTEN, OLD_NEWS, PAGE};
use super::{Applied, Noted, Op, Put, Speaker, Target, sums};
use crate::tier::disk::Options;
use crate::tier::disk::digest::Digest;
use crate::tier::disk::record::Function;
use said::{LOOK, NOBODY};

pub(super) use said::Origin;

/// Entries that a tag's invalidation removes in the transaction that writes it down.
pub(crate) const AT_ONCE: usize = 512;

/// The connection that writes.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) connection: Connection,
    origin: Origin,
    is_durable: bool,
    functions: HashMap<Function, i64>,
    /// The length of the log from which on it is to be emptied.
    pub(super) empty_from: u64,
    /// What was written since that length was looked at, at a guess.
    pub(super) grown: u64,
    /// When it was last found that the log has no room and cannot be emptied.
    pub(super) stuck: Option<Instant>,
}

impl Writer {
    pub(super) fn new(connection: Connection, origin: Origin) -> Self {
        Self {
            connection,
            origin,
            is_durable: false,
            functions: HashMap::new(),
            empty_from: 0,
            grown: u64::MAX,
            stuck: None,
        }
    }

    pub(super) fn apply(
        &mut self,
        batch: &[Op],
        durable: bool,
        options: &Options,
    ) -> rusqlite::Result<Applied> {
        if durable != self.is_durable {
            let level = if durable { "FULL" } else { "NORMAL" };
            self.connection.pragma_update(None, "synchronous", level)?;
            self.is_durable = durable;
        }
        let pages = batch.len() as u64 * 4 * PAGE;
        self.grown = self.grown.saturating_add(pages);
        self.within(|step| {
            batch.iter().try_for_each(|op| step.run(op, options))?;
            step.remember_capacity(options)?;
            evict::make_room(step, options)?;
            step.close(options)
        })
    }

    /// Does something as one transaction.
    pub(super) fn within(
        &mut self,
        work: impl FnOnce(&mut Step<'_>) -> rusqlite::Result<()>,
    ) -> rusqlite::Result<Applied> {
        let connection = &self.connection;
        if !connection.is_autocommit() {
            connection.execute_batch("ROLLBACK")?;
        }
        connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        let worked = || {
            let mut step = Step {
                before: numbers(connection)?,
                connection,
                functions: &mut self.functions,
                origin: self.origin,
                numbers: Numbers::default(),
                applied: Applied::default(),
                inserted: Vec::new(),
                inserted_by: Speaker::default(),
                journals: BTreeMap::new(),
            };
            step.numbers = step.before;
            work(&mut step)?;
            connection.prepare_cached("COMMIT")?.execute([])?;
            Ok(step.applied)
        };
        let applied = worked();
        if applied.is_err() {
            self.functions.clear();
            if !self.connection.is_autocommit() {
                self.connection.execute_batch("ROLLBACK")?;
            }
        }
        applied
    }
}

/// A batch under way.
pub(super) struct Step<'a> {
    pub(super) connection: &'a Connection,
    functions: &'a mut HashMap<Function, i64>,
    origin: Origin,
    before: Numbers,
    pub(super) numbers: Numbers,
    pub(super) applied: Applied,
    /// The digests of what one inserted since the last invalidation, all under one number.
    inserted: Vec<u8>,
    inserted_by: Speaker,
    /// The last entry that was applied of each journal of which this batch has some.
    journals: BTreeMap<i64, u64>,
}

impl Step<'_> {
    fn run(&mut self, op: &Op, options: &Options) -> rusqlite::Result<()> {
        match op {
            Op::Put(put) => self.put(put, options),
            Op::Invalidate(target, by) => self.invalidate(target, *by),
            Op::Clear(by) => self.clear(*by),
            Op::Remove { ids, before } => {
                for id in ids {
                    let old = self.find("id = ?1", params![id])?;
                    self.invalidate_row(old, *before)?;
                }
                Ok(())
            }
            Op::Touch { id, bucket } => {
                let old = self.find("id = ?1 AND a < ?2", params![id, bucket])?;
                old.map_or(Ok(()), |old| self.touch(&old, *bucket))
            }
            Op::Discard { id, bytes } => {
                let found = self.find("id = ?1 AND v = ?2", params![id, bytes])?;
                found.map_or(Ok(()), |old| self.remove(&old))
            }
            Op::CloseJournal(journal) => {
                let sql = "DELETE FROM j WHERE journal = ?1";
                self.connection.execute(sql, [journal]).map(drop)
            }
        }
    }

    /// Whether an entry of a journal is applied for the first time.
    fn is_first(&mut self, noted: Noted) -> rusqlite::Result<bool> {
        let applied = match self.journals.get(&noted.journal) {
            Some(applied) => *applied,
            None => {
                let sql = "SELECT applied FROM j WHERE journal = ?1";
                let mut statement = self.connection.prepare_cached(sql)?;
                let applied = statement.query_row([noted.journal], |row| row.get::<_, i64>(0));
                applied.optional()?.unwrap_or(0).cast_unsigned()
            }
        };
        let last = applied.max(noted.sequence);
        self.journals.insert(noted.journal, last);
        Ok(noted.sequence > applied)
    }

    fn note_applied(&self) -> rusqlite::Result<()> {
        let sql = "INSERT INTO j(journal, applied, c) VALUES (?1, ?2, ?3) \
                   ON CONFLICT DO UPDATE SET applied = ?2, c = ?3";
        for (journal, applied) in &self.journals {
            let applied = applied.cast_signed();
            let values = params![journal, applied, sums::of_journal(*journal, applied)];
            self.connection.prepare_cached(sql)?.execute(values)?;
        }
        Ok(())
    }

    /// Notes a capacity that somebody asked for, for those who do not.
    fn remember_capacity(&self, options: &Options) -> rusqlite::Result<()> {
        if options.is_capacity_given {
            let capacity = options.capacity_bytes.min(i64::MAX as u64).cast_signed();
            let sum = sums::of_setting(CAPACITY, capacity);
            let sql = "INSERT INTO m(k, v, c) VALUES (?1, ?2, ?3) \
                       ON CONFLICT(k) DO UPDATE SET v = ?2, c = ?3 WHERE v <> ?2";
            let mut statement = self.connection.prepare_cached(sql)?;
            statement.execute(params![CAPACITY, capacity, sum])?;
        }
        Ok(())
    }

    /// Writes down what the batch is to be remembered for.
    fn close(&mut self, options: &Options) -> rusqlite::Result<()> {
        self.announce_inserted()?;
        self.note_applied()?;
        let last = self.numbers.last.number;
        if last / LOOK != self.before.last.number / LOOK {
            self.forget(options)?;
        }
        self.applied.last = self.numbers.last;
        let sql = "UPDATE m SET v = ?2, c = ?3 WHERE k = ?1";
        for (key, before, now) in [
            (FILE_BYTES, self.before.file_bytes, self.numbers.file_bytes),
            (FORGOTTEN, self.before.forgotten, self.numbers.forgotten),
            (OLD_NEWS, self.before.old_news, self.numbers.old_news),
        ] {
            if before != now {
                let mut statement = self.connection.prepare_cached(sql)?;
                let now = now.cast_signed();
                statement.execute(params![key, now, sums::of_setting(key, now)])?;
            }
        }
        Ok(())
    }

    fn put(&mut self, put: &Put, options: &Options) -> rusqlite::Result<()> {
        if let Some(noted) = put.noted {
            if !self.is_first(noted)? {
                return Ok(());
            }
            if put.born > self.before.last.number {
                // A loss of power undid what it knew of. Those numbers come again, and would not be newer than it.
                self.applied.fenced += 1;
                return Ok(());
            }
        }
        let file_bytes = put.file.map_or(0, |(_, bytes)| bytes);
        let bytes = put.bytes.len() as u64 + file_bytes;
        let old = self.find("h = ?1", params![put.digest.head()])?;
        if bytes > options.largest_entry() {
            return self.refuse(put, old, self.origin.of(put.by));
        }
        if self.is_fenced(put, old.as_ref())? {
            return self.refuse(put, old, NOBODY);
        }
        let was_inserted = old.as_ref().is_some_and(Old::was_inserted);
        let born = if put.replaces {
            self.insert(&put.digest, put.by)?
        } else {
            put.born
        };
        let born = born.cast_signed() * 2 + i64::from(put.replaces || was_inserted);
        self.write_row(put, old.as_ref(), bytes, born)?;
        self.numbers.file_bytes += file_bytes;
        self.applied.stored += 1;
        Ok(())
    }

    /// Writes the row of an entry, in the place of an old one if there is one, and its tags.
    fn write_row(
        &mut self,
        put: &Put,
        old: Option<&Old>,
        bytes: u64,
        born: i64,
    ) -> rusqlite::Result<()> {
        let (head, tail) = (put.digest.head(), put.digest.tail());
        let values = params![
            head,
            tail,
            self.function(&put.function)?,
            put.ends,
            put.bucket,
            bytes.cast_signed(),
            put.tags.len() as i64,
            born,
            put.file.map(|(id, _)| id),
            put.bytes,
            old.map(|old| old.id),
            sums::of_row(head, tail, put.bucket, born),
        ];
        let id = match old {
            Some(old) => {
                self.forget_parts(old)?;
                let sql = "UPDATE e SET h = ?1, k = ?2, f = ?3, x = ?4, a = ?5, n = ?6, g = ?7, b = ?8, file = ?9, \
                           v = ?10, c = ?12 WHERE id = ?11";
                self.connection.prepare_cached(sql)?.execute(values)?;
                old.id
            }
            None => {
                let sql = "INSERT INTO e(id, h, k, f, x, a, n, g, b, file, v, c) \
                           VALUES (?11, ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?12)";
                self.connection.prepare_cached(sql)?.execute(values)?;
                self.connection.last_insert_rowid()
            }
        };
        for tag in &put.tags {
            let sql = "INSERT OR IGNORE INTO t(tag, id) VALUES (?1, ?2)";
            self.connection
                .prepare_cached(sql)?
                .execute(params![tag, id])?;
        }
        Ok(())
    }

    /// Does not store an entry. What an insertion was to replace is outdated all the same. And what was overtaken may
    /// be in its writer's memory, where an `invalidate_if` of others, which asks what is stored, did not find it: so
    /// its key is said to be untrue.
    fn refuse(&mut self, put: &Put, old: Option<Old>, origin: i64) -> rusqlite::Result<()> {
        self.applied.fenced += 1;
        self.applied.unnamed.extend(put.file.map(|(id, _)| id));
        if put.replaces || self.is_said(&Target::Loads, put.born, None)? {
            self.say(&Target::Key(put.digest), origin)?;
        }
        let is_its_own = |old: &Old| put.replaces && old.tail == *put.digest.tail();
        old.filter(is_its_own)
            .map_or(Ok(()), |old| self.remove(&old))
    }

    /// Whether something was said about an entry after its load began.
    fn is_fenced(&self, put: &Put, old: Option<&Old>) -> rusqlite::Result<bool> {
        let is_newer = |old: &Old| old.born() > put.born && old.tail == *put.digest.tail();
        if put.is_load && (put.born < self.numbers.forgotten || old.is_some_and(is_newer)) {
            return Ok(true);
        }
        if put.born >= self.numbers.last.invalidation {
            return Ok(false);
        }
        let key = Target::Key(put.digest);
        let function = Target::Function(put.function.name.clone());
        let tags = put.tags.iter().map(|tag| Target::Tag(tag.clone()));
        let all = [key, function, Target::All, Target::Loads];
        // What this process said is in the order in which it was queued, and only a load began before it was queued.
        let but = (!put.is_load).then_some(self.origin);
        for target in all.into_iter().chain(tags) {
            if self.is_said(&target, put.born, but)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Notes a use of a row.
    fn touch(&self, row: &Old, bucket: i64) -> rusqlite::Result<()> {
        let sum = sums::of_row(row.head, &row.tail, bucket, row.born);
        let sql = "UPDATE e SET a = ?2, c = ?3 WHERE id = ?1";
        let mut statement = self.connection.prepare_cached(sql)?;
        statement.execute(params![row.id, bucket, sum])?;
        Ok(())
    }

    fn function(&mut self, function: &Function) -> rusqlite::Result<i64> {
        if let Some(id) = self.functions.get(function) {
            return Ok(*id);
        }
        let mut find = self
            .connection
            .prepare_cached("SELECT id FROM f WHERE name = ?1 AND code = ?2")?;
        let names = params![function.name, function.code];
        let found = find.query_row(names, |row| row.get(0)).optional()?;
        let id = match found {
            Some(id) => id,
            None => {
                let sql = "INSERT INTO f(name, code) VALUES (?1, ?2)";
                self.connection.execute(sql, names)?;
                self.connection.last_insert_rowid()
            }
        };
        self.functions.insert(function.clone(), id);
        Ok(id)
    }

    /// Writes an invalidation down, and removes what is found at once.
    fn invalidate(&mut self, target: &Target, by: Speaker) -> rusqlite::Result<()> {
        let number = self.say(target, self.origin.of(by))?;
        match target {
            Target::Key(digest) => {
                let old = self.find_digest(digest)?;
                self.invalidate_row(old, number)
            }
            Target::Tag(tag) => {
                let sql = "SELECT id FROM t WHERE tag = ?1 LIMIT ?2";
                let mut statement = self.connection.prepare_cached(sql)?;
                let ids = statement.query_map(params![tag, AT_ONCE as i64], |row| row.get(0))?;
                let ids: Vec<i64> = ids.collect::<rusqlite::Result<_>>()?;
                for id in ids {
                    let old = self.find("id = ?1", params![id])?;
                    self.invalidate_row(old, number)?;
                }
                Ok(())
            }
            Target::Function(_) | Target::All | Target::Loads => Ok(()),
        }
    }

    /// Says that all is untrue, and empties the tables. Nothing is written of pages that the file does not keep.
    fn clear(&mut self, by: Speaker) -> rusqlite::Result<()> {
        // Loads that began before are refused, inserted or not.
        self.say(&Target::All, self.origin.of(by))?;
        let mut files = (self.connection).prepare("SELECT file FROM e WHERE file IS NOT NULL")?;
        let files = files.query_map([], |row| row.get(0))?;
        let files: Vec<i64> = files.collect::<rusqlite::Result<_>>()?;
        self.connection.execute("DELETE FROM t", [])?;
        let removed = self.connection.execute("DELETE FROM e", [])?;
        self.applied.invalidated += removed as u64;
        self.applied.unnamed.extend(files);
        self.numbers.file_bytes = 0;
        self.applied.shrank = evict::give_back(self.connection, u64::from(u32::MAX))?;
        Ok(())
    }

    /// Removes a row unless it is newer than the invalidation of this number.
    fn invalidate_row(&mut self, old: Option<Old>, before: u64) -> rusqlite::Result<()> {
        if let Some(old) = old.filter(|old| old.born() < before) {
            self.remove(&old)?;
            self.applied.invalidated += 1;
        }
        Ok(())
    }

    fn find(&self, test: &str, value: &[&dyn rusqlite::ToSql]) -> rusqlite::Result<Option<Old>> {
        let sql = format!("SELECT {OLD} FROM e WHERE {test}");
        let mut statement = self.connection.prepare_cached(&sql)?;
        statement.query_row(value, old).optional()
    }

    fn find_digest(&self, digest: &Digest) -> rusqlite::Result<Option<Old>> {
        let found = self.find("h = ?1", params![digest.head()])?;
        Ok(found.filter(|old| old.tail == *digest.tail()))
    }

    pub(super) fn remove(&mut self, row: &Old) -> rusqlite::Result<()> {
        self.forget_parts(row)?;
        if row.was_inserted() {
            // Nothing says any more that loads which began before the insertion are outdated.
            self.numbers.forgotten = self.numbers.forgotten.max(row.born());
        }
        let mut statement = self
            .connection
            .prepare_cached("DELETE FROM e WHERE id = ?1")?;
        statement.execute([row.id])?;
        Ok(())
    }

    /// Forgets what belongs to a row: its tags and its value file.
    fn forget_parts(&mut self, row: &Old) -> rusqlite::Result<()> {
        if row.tags > 0 {
            let sql = "DELETE FROM t WHERE id = ?1";
            self.connection.prepare_cached(sql)?.execute([row.id])?;
        }
        if let Some(file) = row.file {
            let bytes = row.bytes.max(0).cast_unsigned();
            self.numbers.file_bytes = self.numbers.file_bytes.saturating_sub(bytes);
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
    /// Twice the number that it knew of, and 1 more if it or one before it was inserted.
    born: i64,
    head: i64,
    tail: [u8; 24],
}

impl Old {
    fn born(&self) -> u64 {
        (self.born >> 1).max(0).cast_unsigned()
    }

    fn was_inserted(&self) -> bool {
        self.born & 1 == 1
    }
}

pub(super) const OLD: &str = "id, n, g, file, b, k, h";

pub(super) fn old(row: &rusqlite::Row<'_>) -> rusqlite::Result<Old> {
    let tail = row.get_ref(5)?.as_bytes_or_null()?.unwrap_or_default();
    Ok(Old {
        id: row.get(0)?,
        bytes: row.get(1)?,
        tags: row.get(2)?,
        file: row.get(3)?,
        born: row.get(4)?,
        head: row.get(6)?,
        tail: tail.try_into().unwrap_or_default(),
    })
}
