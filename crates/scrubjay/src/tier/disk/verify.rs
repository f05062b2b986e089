//! Looking at everything that a store holds.

use std::time::SystemTime;

use super::digest::Digest;
use super::index::{Index, Row};
use super::lookup::record_of;
use super::record::Head;
use super::shared::{bucket, ends};
use super::store::Store;
use super::values;
use crate::error::Error;

/// How far a long piece of work is.
///
/// # Example
///
/// See [`Store::verify`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// Entries looked at.
    pub done: u64,
    /// Entries that there were at the start.
    pub total: u64,
}

/// What [`Store::verify`] found.
///
/// # Example
///
/// See [`Store::verify`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// Entries looked at.
    pub entries: u64,
    /// Bytes of their payloads.
    pub bytes: u64,
    /// Entries past their life, not yet swept.
    pub expired: u64,
    /// Entries whose bytes are not those that were written, or written in a format that is not known.
    pub damaged: Vec<Digest>,
    /// What the index finds wrong with itself, and where what it keeps beside an entry is not what the entry says.
    pub index: Vec<String>,
}

impl Report {
    /// Says whether nothing was wrong.
    ///
    /// See [`Store::verify`] for an example.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.damaged.is_empty() && self.index.is_empty()
    }
}

pub(super) fn verify(store: &Store, mut progress: impl FnMut(Progress)) -> Result<Report, Error> {
    let mut report = Report {
        index: store.check_index()?,
        ..Report::default()
    };
    let (total, now) = (store.len()?, SystemTime::now());
    let mut rows = store.rows();
    while let Some(row) = rows.next_row()? {
        report.entries += 1;
        match store.check_row(&row) {
            Some(head) => {
                report.bytes += head.len;
                report.expired += u64::from(!head.is_fresh(now));
                if let Some(what) = store.misguided(&row, &head)? {
                    let digest = row.digest;
                    let line = format!("{what} in the index is not what entry {digest} says");
                    report.index.push(line);
                }
            }
            None => report.damaged.push(row.digest),
        }
        let done = report.entries;
        progress(Progress { done, total });
    }
    Ok(report)
}

impl Store {
    fn check_index(&self) -> Result<Vec<String>, Error> {
        self.inside(|shared| {
            let mut wrong = shared.index.check()?;
            wrong.extend(shared.check_files());
            Ok(wrong)
        })
    }

    fn len(&self) -> Result<u64, Error> {
        self.inside(|shared| shared.index.len())
    }

    /// The head of a row all of whose bytes are as they were written.
    fn check_row(&self, row: &Row) -> Option<Head> {
        let read = self.inside(|shared| {
            let Ok(record) = record_of(shared, row.clone()) else {
                return Ok(None);
            };
            let read = std::io::copy(&mut record.payload.reader(), &mut std::io::sink());
            Ok(read.is_ok().then_some(record.head))
        });
        read.ok().flatten()
    }

    /// What the index keeps beside a row that is not what the row's entry says.
    fn misguided(&self, row: &Row, head: &Head) -> Result<Option<&'static str>, Error> {
        let guides = self.inside(|shared| shared.index.guides(row.id))?;
        let file = row.file.map_or(0, |_| values::size_of_file(head.len));
        let wrong = guides.and_then(|guides| match guides {
            _ if !guides.is_whole => Some("its last use or its number"),
            _ if guides.ends != ends(head) => Some("its end"),
            _ if guides.bucket > bucket(SystemTime::now()) + 1 => Some("its last use"),
            _ if guides.bytes != row.bytes.len() as u64 + file => Some("its size"),
            _ if guides.tags != (head.tags.len() as u64, head.tags.len() as u64) => {
                Some("its tags")
            }
            _ => None,
        });
        if wrong.is_none() {
            return Ok(None);
        }
        // An entry that was removed or replaced meanwhile is not wrong.
        let still = self.inside(|shared| shared.index.get(&row.digest))?;
        Ok(wrong.filter(|_| still.is_some_and(|still| still.bytes == row.bytes)))
    }
}
