//! Questions to the index.

use std::collections::HashMap;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Row as Found, params};

use super::readers::Reader;
use super::schema::{CAPACITY, has_sums};
use super::sums;
use super::write::AT_ONCE;
use super::{FunctionStats, Guides, Last, News, Row, Target};
use crate::tier::disk::digest::Digest;
use crate::tier::disk::record::Function;

pub(super) fn get(reader: &mut Reader, digest: &Digest) -> rusqlite::Result<Option<Row>> {
    const SQL: &str = "SELECT id, f, file, a, v FROM e WHERE h = ?1 AND k = ?2";
    let Reader {
        connection,
        functions,
        ..
    } = reader;
    let mut statement = connection.prepare_cached(SQL)?;
    let mut rows = statement.query(params![digest.head(), digest.tail()])?;
    match rows.next()? {
        Some(found) => row(connection, functions, *digest, found),
        None => Ok(None),
    }
}

pub(super) fn rows(reader: &mut Reader, after: i64, limit: usize) -> rusqlite::Result<Vec<Row>> {
    const SQL: &str = "SELECT id, f, file, a, v, h, k FROM e WHERE id > ?1 ORDER BY id LIMIT ?2";
    let Reader {
        connection,
        functions,
        ..
    } = reader;
    let mut statement = connection.prepare_cached(SQL)?;
    let mut found = statement.query(params![after, limit as i64])?;
    let mut rows = Vec::new();
    while let Some(one) = found.next()? {
        let tail = one.get_ref(6)?.as_bytes_or_null()?.unwrap_or_default();
        if let Some(digest) = Digest::of_parts(one.get(5)?, tail) {
            rows.extend(row(connection, functions, digest, one)?);
        }
    }
    Ok(rows)
}

/// `None` for a row that is of no function.
fn row(
    connection: &Connection,
    functions: &mut HashMap<i64, Arc<Function>>,
    digest: Digest,
    found: &Found<'_>,
) -> rusqlite::Result<Option<Row>> {
    let Some(function) = function(connection, functions, found.get(1)?)? else {
        return Ok(None);
    };
    Ok(Some(Row {
        id: found.get(0)?,
        digest,
        function,
        file: found.get(2)?,
        bucket: found.get(3)?,
        bytes: found.get(4)?,
    }))
}

fn function(
    connection: &Connection,
    known: &mut HashMap<i64, Arc<Function>>,
    id: i64,
) -> rusqlite::Result<Option<Arc<Function>>> {
    if let Some(function) = known.get(&id) {
        return Ok(Some(function.clone()));
    }
    let mut statement = connection.prepare_cached("SELECT name, code FROM f WHERE id = ?1")?;
    let names = |row: &Found<'_>| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?));
    let Some((name, code)) = statement.query_row([id], names).optional()? else {
        return Ok(None);
    };
    let function = Arc::new(Function::new(name, code));
    known.insert(id, function.clone());
    Ok(Some(function))
}

/// The capacity that the folder remembers, if any.
pub(super) fn capacity(reader: &Connection) -> rusqlite::Result<Option<u64>> {
    let sql = "SELECT v FROM m WHERE k = ?1 AND v > 0";
    reader
        .query_row(sql, [CAPACITY], |row| row.get(0))
        .optional()
}

pub(super) fn guides(reader: &Connection, id: i64) -> rusqlite::Result<Option<Guides>> {
    let sum = if has_sums(reader)? { "c" } else { "NULL" };
    let tags = "(SELECT count(*) FROM t WHERE t.id = e.id)";
    let sql = format!("SELECT x, a, n, g, {tags}, h, k, b, {sum} FROM e WHERE id = ?1");
    let mut statement = reader.prepare_cached(&sql)?;
    let guides = statement.query_row([id], |row| {
        let tail = row.get_ref(6)?.as_bytes_or_null()?.unwrap_or_default();
        let sum = sums::of_row(row.get(5)?, tail, row.get(1)?, row.get(7)?);
        Ok(Guides {
            is_whole: row.get::<_, Option<i64>>(8)?.is_none_or(|kept| kept == sum),
            ends: row.get(0)?,
            bucket: row.get(1)?,
            bytes: row.get(2)?,
            tags: (row.get(3)?, row.get(4)?),
        })
    });
    guides.optional()
}

/// The numbers in table `m`, and the last ones that were given.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Numbers {
    pub(super) file_bytes: u64,
    /// Whatever was loaded before this number is refused.
    pub(super) forgotten: u64,
    /// News up to this number are gone.
    pub(super) old_news: u64,
    pub(super) last: Last,
}

pub(super) fn numbers(connection: &Connection) -> rusqlite::Result<Numbers> {
    const SQL: &str = "SELECT (SELECT v FROM m WHERE k = 1), (SELECT v FROM m WHERE k = 2), (SELECT v FROM m WHERE k = 4), \
                       (SELECT coalesce(max(number), 0) FROM i), (SELECT coalesce(max(number), 0) FROM n)";
    let mut statement = connection.prepare_cached(SQL)?;
    statement.query_row([], |row| {
        let number = |place| -> rusqlite::Result<u64> {
            Ok(row.get::<_, i64>(place)?.max(0).cast_unsigned())
        };
        let (forgotten, old_news) = (number(1)?, number(2)?);
        let invalidation = number(3)?.max(forgotten);
        Ok(Numbers {
            file_bytes: number(0)?,
            forgotten,
            old_news,
            last: Last {
                number: number(4)?.max(old_news).max(invalidation),
                invalidation,
            },
        })
    })
}

pub(super) fn last(reader: &Connection) -> rusqlite::Result<Last> {
    Ok(numbers(reader)?.last)
}

pub(super) fn news(reader: &Connection, after: u64, origin: i64) -> rusqlite::Result<News> {
    let transaction = reader.unchecked_transaction()?;
    let numbers = numbers(&transaction)?;
    let mut news = News {
        targets: Vec::new(),
        has_gap: numbers.old_news > after,
        last: numbers.last.number,
    };
    let after = params![after.cast_signed(), origin];
    let sql = "SELECT kind, target FROM i WHERE number > ?1 AND origin != ?2 ORDER BY number";
    let mut statement = transaction.prepare_cached(sql)?;
    let mut found = statement.query(after)?;
    while let Some(row) = found.next()? {
        news.targets.push(decode_target(row.get(0)?, row.get(1)?));
    }
    let sql = "SELECT digests FROM n WHERE number > ?1 AND origin != ?2";
    let mut statement = transaction.prepare_cached(sql)?;
    let mut found = statement.query(after)?;
    while let Some(row) = found.next()? {
        let digests = row.get_ref(0)?.as_bytes_or_null()?.unwrap_or_default();
        let digests = digests.as_chunks::<32>().0.iter();
        let keys = digests.map(|digest| Target::Key(Digest::from_bytes(*digest)));
        news.targets.extend(keys);
    }
    Ok(news)
}

/// Some rows after one that an invalidation of this number is about. None that is older comes once it was written down.
pub(super) fn concerned(
    reader: &Connection,
    target: &Target,
    before: u64,
    after: i64,
) -> rusqlite::Result<Vec<i64>> {
    let (test, value) = match target {
        Target::Tag(tag) => ("id IN (SELECT id FROM t WHERE tag = ?3)", tag.as_str()),
        Target::Function(name) => ("f IN (SELECT id FROM f WHERE name = ?3)", name.as_str()),
        Target::All => ("?3 = ''", ""),
        Target::Key(_) | Target::Loads => return Ok(Vec::new()),
    };
    let sql =
        format!("SELECT id FROM e WHERE {test} AND id > ?1 AND b < ?2 ORDER BY id LIMIT {AT_ONCE}");
    let mut statement = reader.prepare_cached(&sql)?;
    let values = params![after, before.cast_signed().saturating_mul(2), value];
    statement.query_map(values, |row| row.get(0))?.collect()
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
