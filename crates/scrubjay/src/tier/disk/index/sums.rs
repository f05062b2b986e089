//! Checksums of what the index keeps beside entries: the column `c` of its tables.
//!
//! An entry has a checksum of its own, and most other columns are in two places, which the engine's own check compares.
//! Invariant: each sum here covers what is in one place only, and is written with it in one statement. A sum that is
//! NULL was written by a version without them, and says nothing.

use xxhash_rust::xxh3::Xxh3;

/// The checksum of the fields of a row.
#[derive(Clone)]
pub(super) struct Sum(Xxh3);

impl Sum {
    /// `table` says whose rows these are.
    fn new(table: u8) -> Self {
        let mut hasher = Xxh3::new();
        hasher.update(&[table]);
        Self(hasher)
    }

    fn number(mut self, number: i64) -> Self {
        self.0.update(&number.to_le_bytes());
        self
    }

    fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.update(&(bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
        self
    }

    fn finish(self) -> i64 {
        self.0.digest().cast_signed()
    }
}

/// Of a row of `e`: when it was last used, and what it knew of.
pub(super) fn of_row(h: i64, k: &[u8], a: i64, b: i64) -> i64 {
    Sum::new(b'e')
        .number(h)
        .bytes(k)
        .number(a)
        .number(b)
        .finish()
}

/// Of a row of `i`.
pub(super) fn of_invalidation(number: i64, at: i64, kind: i64, target: &[u8], origin: i64) -> i64 {
    let sum = Sum::new(b'i').number(number).number(at).number(kind);
    sum.bytes(target).number(origin).finish()
}

/// Of a row of `n`.
pub(super) fn of_insertions(number: i64, at: i64, digests: &[u8], origin: i64) -> i64 {
    let sum = Sum::new(b'n').number(number).number(at);
    sum.bytes(digests).number(origin).finish()
}

/// Of a row of `j`.
pub(super) fn of_journal(journal: i64, applied: i64) -> i64 {
    Sum::new(b'j').number(journal).number(applied).finish()
}

/// Of a row of `m`.
pub(super) fn of_setting(k: i64, v: i64) -> i64 {
    Sum::new(b'm').number(k).number(v).finish()
}
