//! Looking at everything that a store holds.

use std::time::SystemTime;

use super::digest::Digest;
use super::store::Store;
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
