//! A copy of the memory tier's contents as bytes, for a warm start.
//!
//! The format, in full (integers little-endian):
//!
//! | bytes | what |
//! |---|---|
//! | 8 | `b"scrubjay"` |
//! | 4 | format version, 1 |
//! | 8 | calendar time of the save, nanoseconds since 1970 |
//! | then, for every entry: 4 | length of its record, at most 1 GiB |
//! | 4 | CRC-32 (IEEE) of the record |
//! | length | the record: `(key, value, remaining life in nanoseconds or none, weight, tags)` in postcard |
//! | at the end: 4 | `u32::MAX` |
//! | 8 | number of entries |
//! | 4 | CRC-32 of these 8 bytes |
//!
//! Invariant: a snapshot is loaded whole or not at all. Everything is read and checked before the first entry
//! is stored, lengths are bounded before anything is allocated, and nothing that was read is executed.
//! Postcard's wire format is stable and specified at <https://postcard.jamesmunns.com/wire-format>.

use std::hash::Hash;
use std::io::{self, Read, Write};
use std::time::{Duration, SystemTime};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::cache::Cache;
use crate::call::Own;
use crate::clock::{Timestamp, nanos};
use crate::error::{Error, ErrorKind};

const MAGIC: &[u8; 8] = b"scrubjay";
const VERSION: u32 = 1;
const LONGEST_RECORD: u32 = 1 << 30;
const END: u32 = u32::MAX;

/// Key, value, remaining life in nanoseconds, weight, tags.
type Record<K, V> = (K, V, Option<u64>, u64, Vec<String>);

fn unwritable(error: io::Error) -> Error {
    Error::new(ErrorKind::Io, "snapshot: the writer failed").with_source(error)
}

/// The reader's failure, told apart from the snapshot's end.
fn unreadable(error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => {
            corrupt("it ends in the middle; it was not written to its end")
        }
        _ => Error::new(ErrorKind::Io, "snapshot: the reader failed").with_source(error),
    }
}

fn corrupt(what: &str) -> Error {
    Error::new(
        ErrorKind::Corrupt,
        format!("snapshot: {what}; nothing was loaded, and a new one can be saved at any time"),
    )
}

impl<K, V> Cache<K, V>
where
    K: Hash + Eq + 'static,
    V: 'static,
{
    /// Writes all fresh entries to `writer`; returns how many. Remembered failures and weakly held values are
    /// left out.
    ///
    /// Loads and other calls go on meanwhile; entries that come or go may or may not be in the snapshot.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Io`] if the writer fails, [`ErrorKind::Codec`] if a key or value cannot be encoded. What was
    /// written until then is not a snapshot, and `load` says so.
    ///
    /// ```
    /// use scrubjay::Cache;
    ///
    /// let cache: Cache<String, u32> = Cache::new();
    /// cache.insert("a".into(), 1);
    /// let mut file = Vec::new();
    /// assert_eq!(cache.save(&mut file)?, 1);
    ///
    /// let restarted: Cache<String, u32> = Cache::new();
    /// assert_eq!(restarted.load(&file[..])?, 1);
    /// assert_eq!(restarted.get("a"), Some(1));
    /// # Ok::<(), scrubjay::Error>(())
    /// ```
    pub fn save(&self, mut writer: impl Write) -> Result<u64, Error>
    where
        K: Serialize,
        V: Serialize,
    {
        let mut header = Vec::from(MAGIC);
        header.extend(VERSION.to_le_bytes());
        header.extend(self.since_1970().to_le_bytes());
        writer.write_all(&header).map_err(unwritable)?;
        let count = self.save_entries(&mut writer)?;
        let mut footer = Vec::from(END.to_le_bytes());
        footer.extend(count.to_le_bytes());
        footer.extend(crc32fast::hash(&count.to_le_bytes()).to_le_bytes());
        writer.write_all(&footer).map_err(unwritable)?;
        writer.flush().map_err(unwritable)?;
        Ok(count)
    }

    fn save_entries(&self, writer: &mut impl Write) -> Result<u64, Error>
    where
        K: Serialize,
        V: Serialize,
    {
        let (core, mut count) = (&*self.core, 0);
        let pin = core.memory.pin();
        for entry in core.memory.iter(&pin).filter(|entry| core.is_fresh(entry)) {
            let end = entry.end();
            let left = (end < Timestamp::NEVER).then(|| nanos(end.saturating_since(core.now())));
            let encoded = entry.with(|value| {
                postcard::to_stdvec(&(entry.key(), value, left, entry.weight(), tags(entry.tags())))
            });
            let Some(encoded) = encoded else {
                continue;
            };
            let record = encoded.map_err(|error| {
                Error::new(ErrorKind::Codec, "snapshot: an entry cannot be encoded")
                    .with_source(error)
            })?;
            write_record(writer, &record)?;
            count += 1;
        }
        Ok(count)
    }

    /// Reads entries that [`save`](Self::save) wrote and stores them; returns how many were stored.
    ///
    /// An entry keeps the life it had left, less the calendar time that passed since the save; expired ones are
    /// skipped. Keys that are present keep their values. The capacity holds: what does not fit is left out.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Io`] if the reader fails, [`ErrorKind::Version`] for a format that this version does not
    /// know, [`ErrorKind::Corrupt`] for anything that is truncated, damaged or not a snapshot, and
    /// [`ErrorKind::Codec`] if entries are of other types. Then nothing was stored.
    ///
    /// ```
    /// use scrubjay::{Cache, ErrorKind};
    ///
    /// let cache: Cache<String, u32> = Cache::new();
    /// assert_eq!(cache.load(&b"not a snapshot"[..]).unwrap_err().kind(), ErrorKind::Corrupt);
    /// assert!(cache.is_empty());
    /// ```
    pub fn load(&self, mut reader: impl Read) -> Result<u64, Error>
    where
        K: DeserializeOwned,
        V: DeserializeOwned,
    {
        let saved_at = read_header(&mut reader)?;
        let away = self.since_1970().saturating_sub(saved_at);
        let mut records: Vec<Record<K, V>> = Vec::new();
        while let Some(record) = read_record(&mut reader)? {
            records.push(decode(&record)?);
        }
        if read_footer(&mut reader)? != records.len() as u64 {
            return Err(corrupt("its number of entries is not the one it says"));
        }
        Ok(self.store_records(records, away))
    }

    fn store_records(&self, records: Vec<Record<K, V>>, away: u64) -> u64 {
        let mut stored = 0;
        for (key, value, left, weight, tags) in records {
            let left = left.map(|left| Duration::from_nanos(left.saturating_sub(away)));
            if left == Some(Duration::ZERO) {
                continue;
            }
            let own = Own {
                time_to_live: left,
                weight: Some(weight),
                tags: tags.into_iter().map(Into::into).collect(),
                ..Own::default()
            };
            stored += u64::from(self.add_if_room(key, value, weight, own));
        }
        stored
    }

    fn since_1970(&self) -> u64 {
        let now = self.core.options.clock.calendar();
        now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, nanos)
    }
}

fn tags(tags: &[crate::entry::Tag]) -> Vec<&str> {
    tags.iter().map(|tag| &**tag).collect()
}

fn write_record(writer: &mut impl Write, record: &[u8]) -> Result<(), Error> {
    let length = u32::try_from(record.len())
        .ok()
        .filter(|length| *length <= LONGEST_RECORD)
        .ok_or_else(|| Error::new(ErrorKind::Codec, "snapshot: an entry is longer than 1 GiB"))?;
    let mut head = Vec::from(length.to_le_bytes());
    head.extend(crc32fast::hash(record).to_le_bytes());
    writer.write_all(&head).map_err(unwritable)?;
    writer.write_all(record).map_err(unwritable)
}

fn read_array<const N: usize>(reader: &mut impl Read) -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    reader.read_exact(&mut bytes).map_err(unreadable)?;
    Ok(bytes)
}

/// Returns the time of the save.
fn read_header(reader: &mut impl Read) -> Result<u64, Error> {
    if read_array::<8>(reader)? != *MAGIC {
        return Err(corrupt("it does not begin like one"));
    }
    let version = u32::from_le_bytes(read_array(reader)?);
    if version != VERSION {
        return Err(Error::new(
            ErrorKind::Version,
            format!(
                "snapshot: format {version} is not known to this version, which reads format {VERSION}"
            ),
        ));
    }
    Ok(u64::from_le_bytes(read_array(reader)?))
}

/// Returns the next record, or `None` at the end mark.
fn read_record(reader: &mut impl Read) -> Result<Option<Vec<u8>>, Error> {
    let length = u32::from_le_bytes(read_array(reader)?);
    if length == END {
        return Ok(None);
    }
    if length > LONGEST_RECORD {
        return Err(corrupt("an entry says it is longer than 1 GiB"));
    }
    let checksum = u32::from_le_bytes(read_array(reader)?);
    let mut record = Vec::new();
    // `take` and not an allocation of what the file says: memory grows only with what is really there.
    reader
        .take(u64::from(length))
        .read_to_end(&mut record)
        .map_err(unreadable)?;
    if record.len() != length as usize {
        return Err(corrupt("it ends in the middle of an entry"));
    }
    if crc32fast::hash(&record) != checksum {
        return Err(corrupt("the checksum of an entry is wrong"));
    }
    Ok(Some(record))
}

fn read_footer(reader: &mut impl Read) -> Result<u64, Error> {
    let count: [u8; 8] = read_array(reader)?;
    let checksum = u32::from_le_bytes(read_array(reader)?);
    if crc32fast::hash(&count) != checksum {
        return Err(corrupt("the checksum of its end is wrong"));
    }
    Ok(u64::from_le_bytes(count))
}

fn decode<K: DeserializeOwned, V: DeserializeOwned>(record: &[u8]) -> Result<Record<K, V>, Error> {
    let (decoded, rest) = postcard::take_from_bytes(record).map_err(|error| {
        Error::new(
            ErrorKind::Codec,
            "snapshot: an entry is not of this cache's key and value types; nothing was loaded",
        )
        .with_source(error)
    })?;
    if !rest.is_empty() {
        return Err(Error::new(
            ErrorKind::Codec,
            "snapshot: an entry is longer than this cache's key and value types; nothing was loaded",
        ));
    }
    Ok(decoded)
}
