//! A lookup in the store: the queue, then the index, then the value file.
//!
//! Invariant: what is handed out is what was written, checksums compared. What cannot be read is looked for once more,
//! in case it was replaced meanwhile, and then removed.

use std::time::SystemTime;

use super::digest::Digest;
use super::error;
use super::format::{self, Stored};
use super::index::{Index, Op, Row};
use super::queue::Write;
use super::record::{Held, Payload, Record};
use super::shared::{Shared, bucket};
use super::values;
use crate::error::{Error, ErrorKind};

/// Finds an entry, queued or in the index. Counts nothing.
pub(super) fn find(shared: &Shared, digest: &Digest) -> Result<Option<Record>, Error> {
    // First: an entry that is no longer queued was committed.
    if let Some(entry) = shared.queue.find(digest)
        // One that an invalidation may have overtaken is not shown before the index has decided about it. The page may
        // have been set back, so it is not asked.
        && entry.born >= shared.index.last()?.invalidation
    {
        let head = entry.head(entry.payload.len() as u64, false);
        let payload = Payload(Held::Memory(entry.payload.clone()));
        return Ok(Some(Record { head, payload }));
    }
    let found = shared.index.get(digest);
    shared.tend_transactions();
    let Some(row) = found? else {
        return Ok(None);
    };
    let (id, used) = (row.id, row.bucket);
    if let Ok(record) = record_of(shared, row) {
        note_use(shared, id, used);
        return Ok(Some(record));
    }
    find_anew(shared, digest)
}

/// Finds what could not be read once more: it may have been replaced since, and its value file be gone. What cannot be
/// read now either is removed.
#[cold]
fn find_anew(shared: &Shared, digest: &Digest) -> Result<Option<Record>, Error> {
    let Some(row) = shared.index.get(digest)? else {
        return Ok(None);
    };
    let (id, bytes) = (row.id, row.bytes.clone());
    let record = record_of(shared, row).inspect_err(|_| {
        shared.queue.offer(Write::Op(Op::Discard { id, bytes }));
    });
    record.map(Some)
}

/// Notes the use of a row that was not known to be used lately: written with the next batch, or never.
fn note_use(shared: &Shared, id: i64, used: i64) {
    let bucket = bucket(SystemTime::now());
    if used < bucket {
        shared.queue.offer(Write::Op(Op::Touch { id, bucket }));
    }
}

/// The record of a row, if its bytes are as they were written.
pub(super) fn record_of(shared: &Shared, row: Row) -> Result<Record, Error> {
    let corrupt = |what: &str| Error::new(ErrorKind::Corrupt, format!("disk tier: {what}"));
    let parsed = format::decode(&row.digest, &row.function, &row.bytes);
    let parsed = parsed.map_err(|why| match why {
        format::Unreadable::Corrupt => corrupt("an entry is damaged"),
        format::Unreadable::Version => Error::new(
            ErrorKind::Version,
            "disk tier: an entry is in a format that this version does not know",
        ),
    })?;
    let head = parsed.head;
    let payload = match parsed.stored {
        Stored::Inline(bytes) if head.is_compressed => {
            let len = usize::try_from(head.len).unwrap_or(usize::MAX);
            let bytes = zstd::bulk::decompress(bytes, len);
            let bytes = bytes.ok().filter(|bytes| bytes.len() == len);
            Payload::memory(bytes.ok_or_else(|| corrupt("an entry cannot be decompressed"))?)
        }
        Stored::Inline(bytes) => {
            let len = bytes.len();
            Payload::memory(format::into_inline(row.bytes, len))
        }
        Stored::File(sum) => {
            let id = row
                .file
                .ok_or_else(|| corrupt("an entry has lost its value file"))?;
            let path = values::path_of(&shared.directory, id);
            let opened = values::open(&path, &head.digest, head.len, sum);
            match opened.map_err(error::value_file)? {
                values::Opened::Whole(bytes) => Payload::memory(bytes),
                values::Opened::Large(file, trailer) => Payload(Held::File { file, trailer }),
            }
        }
    };
    Ok(Record { head, payload })
}
