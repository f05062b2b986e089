//! Looking for damage in the index: SQLite's own check, its schema, and the sums of what it does not keep twice.
//!
//! Invariant: whatever value of whatever row is not what was written, a line says so. What SQLite never reads, such as
//! free pages and the gaps between the cells of a page, is not looked at.

use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row};

use super::schema::{self, has_sums};
use super::sums;

/// What is wrong.
pub(super) fn check(reader: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut wrong = engine(reader)?;
    let mut found = schema::tables(reader)?;
    if !has_sums(reader)? {
        // Came within the first version; who writes makes it anew with the sums.
        found.retain(|[_, name, ..]| name != "j");
    }
    if found != schema::expected(has_sums(reader)?)? {
        wrong.push("the tables are not those of a store".to_owned());
    }
    if reader.pragma_query_value(None, "auto_vacuum", |row| row.get::<_, i64>(0))? != 2 {
        wrong.push("the index is not one that gives pages back".to_owned());
    }
    let nameless = "SELECT count(*) FROM e LEFT JOIN f ON f.id = e.f \
                    WHERE f.id IS NULL OR typeof(k) <> 'blob' OR length(k) <> 24";
    let nameless: u64 = reader.query_row(nameless, [], |row| row.get(0))?;
    if nameless > 0 {
        wrong.push(format!("{nameless} rows have no digest or no function"));
    }
    if has_sums(reader)? {
        wrong.extend(tables(reader)?);
    }
    Ok(wrong)
}

fn engine(reader: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut statement = reader.prepare("PRAGMA integrity_check")?;
    let lines = statement.query_map([], |row| row.get::<_, String>(0))?;
    let lines: Vec<String> = lines.collect::<Result<_, _>>()?;
    Ok(lines.into_iter().filter(|line| line != "ok").collect())
}

/// A table, what of it is read, and the sum of a row; `None` for one of another kind than was written.
type Summed = (&'static str, &'static str, fn(&Row<'_>) -> Option<i64>);

const SUMMED: [Summed; 4] = [
    (
        "invalidations",
        "SELECT c, number, at, kind, target, origin FROM i",
        |row| {
            let [number, at, kind, origin] = numbers(row, [1, 2, 3, 5])?;
            Some(sums::of_invalidation(
                number,
                at,
                kind,
                blob(row, 4)?,
                origin,
            ))
        },
    ),
    (
        "insertions",
        "SELECT c, number, at, digests, origin FROM n",
        |row| {
            let [number, at, origin] = numbers(row, [1, 2, 4])?;
            Some(sums::of_insertions(number, at, blob(row, 3)?, origin))
        },
    ),
    ("journals", "SELECT c, journal, applied FROM j", |row| {
        let [journal, applied] = numbers(row, [1, 2])?;
        Some(sums::of_journal(journal, applied))
    }),
    ("settings", "SELECT c, k, v FROM m", |row| {
        let [k, v] = numbers(row, [1, 2])?;
        Some(sums::of_setting(k, v))
    }),
];

fn tables(reader: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut wrong = Vec::new();
    for (what, sql, sum) in SUMMED {
        let mut statement = reader.prepare(sql)?;
        let mut rows = statement.query([])?;
        let mut count = 0;
        while let Some(row) = rows.next()? {
            let is_right = match row.get_ref(0)? {
                ValueRef::Null => true,
                ValueRef::Integer(kept) => sum(row) == Some(kept),
                _ => false,
            };
            count += u64::from(!is_right);
        }
        if count > 0 {
            wrong.push(format!("{count} rows of the {what} are damaged"));
        }
    }
    Ok(wrong)
}

fn numbers<const N: usize>(row: &Row<'_>, places: [usize; N]) -> Option<[i64; N]> {
    let mut numbers = [0; N];
    for (number, place) in numbers.iter_mut().zip(places) {
        *number = row.get_ref(place).ok()?.as_i64().ok()?;
    }
    Some(numbers)
}

fn blob<'a>(row: &'a Row<'_>, place: usize) -> Option<&'a [u8]> {
    row.get_ref(place).ok()?.as_blob().ok()
}
