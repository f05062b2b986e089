//! The bytes of an entry in the index: a head, the payload or what stands for it, and a checksum over both.
//!
//! `docs/disk-format.md` has the layout. Invariants: whatever bytes are given, decoding neither panics nor allocates
//! more than they are long, but for a payload that its head says is compressed, which may take up to [`LARGEST`];
//! and what it accepts has the checksum that its writer computed, for this digest and this function.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use xxhash_rust::xxh3::Xxh3;

use super::LARGEST;
use super::digest::Digest;
use super::record::{Codec, Function, Head};
use super::values::size_of_file;

const MAGIC: [u8; 2] = *b"SJ";
/// The version of this layout.
pub(crate) const FORMAT: u8 = 1;
const FIXED: usize = 15;
const CHECKSUM: usize = 8;
/// The longest description and the longest tag.
const LONGEST_TEXT: usize = 1 << 20;

const COMPRESSED: u8 = 1;
const FAILURE: u8 = 2;
const IN_FILE: u8 = 4;
const EXPIRES: u8 = 8;
const STALE: u8 = 16;

/// What stands in the index for an entry.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Parsed<'a> {
    pub(crate) head: Head,
    pub(crate) stored: Stored<'a>,
}

/// The payload as it is kept.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Stored<'a> {
    Inline(&'a [u8]),
    /// The checksum of the value file's table.
    File(u64),
}

/// Why bytes are not an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unreadable {
    /// Damaged, or another entry's.
    Corrupt,
    /// Written in a format that is not known here.
    Version,
}

/// Writes the bytes of an entry.
pub(crate) fn encode(head: &Head, stored: Stored<'_>) -> Vec<u8> {
    let inline = match stored {
        Stored::Inline(bytes) => bytes.len(),
        Stored::File(_) => 8,
    };
    let mut out = Vec::with_capacity(FIXED + 48 + head.description.len() + inline + CHECKSUM);
    let flag = |set: bool, flag: u8| if set { flag } else { 0 };
    let tags = head.tags.iter().take(usize::from(u8::MAX));
    out.extend(MAGIC);
    out.extend([FORMAT, head.codec.0]);
    out.push(
        flag(head.is_compressed, COMPRESSED)
            | flag(head.is_failure, FAILURE)
            | flag(matches!(stored, Stored::File(_)), IN_FILE)
            | flag(head.expires.is_some(), EXPIRES)
            | flag(head.stale_until.is_some(), STALE),
    );
    out.push(u8::try_from(tags.len()).unwrap_or(u8::MAX));
    out.push(0);
    out.extend(nanos_of(head.written).to_le_bytes());
    for moment in [head.expires, head.stale_until].into_iter().flatten() {
        out.extend(nanos_of(moment).to_le_bytes());
    }
    let cost = u32::try_from(head.load_cost.as_micros()).unwrap_or(u32::MAX);
    for number in [u64::from(cost), head.born, head.len] {
        put_number(&mut out, number);
    }
    for text in tags.map(String::as_bytes).chain([&*head.description]) {
        let text = &text[..text.len().min(LONGEST_TEXT)];
        put_number(&mut out, text.len() as u64);
        out.extend(text);
    }
    match stored {
        Stored::Inline(bytes) => out.extend(bytes),
        Stored::File(sum) => out.extend(sum.to_le_bytes()),
    }
    let sum = checksum(&head.digest, &head.function, &out);
    out.extend(sum.to_le_bytes());
    out
}

/// Reads the bytes of the entry of this digest and function.
pub(crate) fn decode<'a>(
    digest: &Digest,
    function: &Arc<Function>,
    bytes: &'a [u8],
) -> Result<Parsed<'a>, Unreadable> {
    if bytes.get(..2) != Some(&MAGIC) {
        return Err(Unreadable::Corrupt);
    }
    if bytes.get(2) != Some(&FORMAT) {
        return Err(Unreadable::Version);
    }
    let (body, sum) = bytes
        .split_last_chunk::<CHECKSUM>()
        .ok_or(Unreadable::Corrupt)?;
    if checksum(digest, function, body) != u64::from_le_bytes(*sum) {
        return Err(Unreadable::Corrupt);
    }
    parse(digest, function, body).ok_or(Unreadable::Corrupt)
}

/// The payload of `len` bytes that is the end of an entry's bytes.
pub(crate) fn into_inline(mut bytes: Vec<u8>, len: usize) -> Vec<u8> {
    bytes.truncate(bytes.len() - CHECKSUM);
    bytes.drain(..bytes.len() - len);
    bytes
}

/// Reads bytes whatever their checksum, for fuzzing.
pub(crate) fn parse_unchecked<'a>(
    digest: &Digest,
    function: &Arc<Function>,
    body: &'a [u8],
) -> Option<Parsed<'a>> {
    parse(digest, function, body)
}

fn parse<'a>(digest: &Digest, function: &Arc<Function>, body: &'a [u8]) -> Option<Parsed<'a>> {
    let mut input = Input(body.get(3..)?);
    let [codec, flags, tags, _] = input.array()?;
    let written = moment_of(i64::from_le_bytes(input.array()?));
    let mut moment = |flag: u8| -> Option<Option<SystemTime>> {
        if flags & flag == 0 {
            return Some(None);
        }
        Some(Some(moment_of(i64::from_le_bytes(input.array()?))))
    };
    let (expires, stale_until) = (moment(EXPIRES)?, moment(STALE)?);
    let cost = input.number()?;
    let (born, len) = (input.number()?, input.number()?);
    let tags = (0..tags).map(|_| String::from_utf8(input.text()?.to_vec()).ok());
    let tags = tags.collect::<Option<Vec<_>>>()?;
    let description = input.text()?.to_vec();
    let stored = match flags & IN_FILE {
        0 => Stored::Inline(input.0),
        _ => Stored::File(u64::from_le_bytes(input.0.try_into().ok()?)),
    };
    let is_compressed = flags & COMPRESSED != 0;
    let (kept, file) = match stored {
        Stored::Inline(bytes) => (bytes.len() as u64, 0),
        Stored::File(_) => (len, size_of_file(len)),
    };
    let entry = (body.len() + CHECKSUM) as u64;
    let whole = is_compressed || kept == len;
    (whole && (kept == len || len <= LARGEST)).then_some(())?;
    let head = Head {
        digest: *digest,
        function: function.clone(),
        written,
        expires,
        stale_until,
        load_cost: Duration::from_micros(cost),
        tags,
        codec: Codec(codec),
        is_failure: flags & FAILURE != 0,
        is_compressed,
        len,
        stored_bytes: entry.saturating_add(file),
        description,
        born,
    };
    Some(Parsed { head, stored })
}

fn checksum(digest: &Digest, function: &Function, body: &[u8]) -> u64 {
    let mut hasher = Xxh3::new();
    hasher.update(digest.as_bytes());
    for text in [&function.name, &function.code] {
        hasher.update(&(text.len() as u64).to_le_bytes());
        hasher.update(text.as_bytes());
    }
    hasher.update(body);
    hasher.digest()
}

/// Nanoseconds since 1970, as far as they fit (until 2262).
pub(crate) fn nanos_of(moment: SystemTime) -> i64 {
    let signed = |duration: Duration| i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX);
    match moment.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) => signed(since),
        Err(before) => -signed(before.duration()),
    }
}

pub(crate) fn moment_of(nanos: i64) -> SystemTime {
    let distance = Duration::from_nanos(nanos.unsigned_abs());
    match nanos {
        0.. => SystemTime::UNIX_EPOCH + distance,
        _ => SystemTime::UNIX_EPOCH - distance,
    }
}

/// Appends a number, seven bits to a byte, the lowest first (LEB128).
pub(super) fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// What is left to read.
pub(super) struct Input<'a>(pub(super) &'a [u8]);

impl<'a> Input<'a> {
    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*array)
    }

    pub(super) fn number(&mut self) -> Option<u64> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let [byte] = self.array()?;
            let bits = u64::from(byte & 0x7F);
            // The tenth byte has room for one bit.
            (shift < 63 || bits <= 1).then_some(())?;
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    pub(super) fn text(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.number()?).ok()?;
        let (text, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        (length <= LONGEST_TEXT).then_some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn function(name: &str, code: &str) -> Arc<Function> {
        Function::new(name, code).into()
    }

    fn head(len: u64) -> Head {
        Head {
            digest: Digest::from_bytes([7; 32]),
            function: function("f", "1"),
            written: moment_of(-5),
            expires: Some(moment_of(i64::MAX)),
            stale_until: None,
            load_cost: Duration::from_micros(300),
            tags: vec!["a".into(), String::new()],
            codec: Codec(9),
            is_failure: true,
            is_compressed: false,
            len,
            stored_bytes: 0,
            description: b"[1]".to_vec(),
            born: u64::MAX,
        }
    }

    fn read(bytes: &[u8]) -> Result<Parsed<'_>, Unreadable> {
        decode(&Digest::from_bytes([7; 32]), &function("f", "1"), bytes)
    }

    #[test]
    fn an_entry_is_read_as_it_was_written() {
        let bytes = encode(&head(3), Stored::Inline(b"abc"));
        let mut written = head(3);
        written.stored_bytes = bytes.len() as u64;
        let parsed = read(&bytes).expect("it was just written");
        assert_eq!(parsed.head, written);
        assert_eq!(parsed.stored, Stored::Inline(b"abc"));
    }

    #[test]
    fn an_entry_takes_what_its_value_file_takes() {
        let bytes = encode(&head(100_000), Stored::File(1));
        let parsed = read(&bytes).expect("it was just written");
        let file = size_of_file(100_000);
        assert!(file > 100_000);
        assert_eq!(parsed.head.stored_bytes, bytes.len() as u64 + file);
    }

    #[test]
    fn no_flipped_bit_and_no_truncation_is_read() {
        let bytes = encode(&head(3), Stored::Inline(b"abc"));
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(read(&flipped).is_err(), "bit {bit}");
        }
        for length in 0..bytes.len() {
            assert!(read(&bytes[..length]).is_err(), "length {length}");
        }
    }

    #[test]
    fn an_entry_is_read_only_by_its_own_digest_and_function() {
        let bytes = encode(&head(3), Stored::Inline(b"abc"));
        let digest = head(3).digest;
        assert!(decode(&digest, &function("f", "1"), &bytes).is_ok());
        assert!(decode(&Digest::from_bytes([8; 32]), &function("f", "1"), &bytes).is_err());
        assert!(decode(&digest, &function("f", "2"), &bytes).is_err());
        assert!(decode(&digest, &function("f1", ""), &bytes).is_err());
    }

    #[test]
    fn another_format_is_told_from_damage() {
        let mut bytes = encode(&head(0), Stored::Inline(b""));
        bytes[2] = FORMAT + 1;
        assert_eq!(read(&bytes), Err(Unreadable::Version));
    }
}
