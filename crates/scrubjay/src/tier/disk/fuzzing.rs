//! The decoders of all that is read from a folder, for the fuzzer: whatever the bytes are, none may panic, or allocate
//! more than it is given.
//!
//! A fuzzer does not guess checksums, so each decoder is also shown bytes whose checksum is right.

use std::io::{Read, Seek, Write};
use std::path::Path;
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64;

use super::digest::Digest;
use super::format::{self, Stored};
use super::index::Target;
use super::record::Function;
use super::values::{self, Checked};
use super::{generation, index, journal, usage};

/// An entry, as it is in the index: once it was written by us, it is read as it was written.
pub fn record(bytes: &[u8]) {
    let (digest, function) = (
        Digest::from_bytes([0; 32]),
        Arc::new(Function::new("f", "")),
    );
    let _ = format::decode(&digest, &function, bytes);
    if let Some(parsed) = format::parse_unchecked(&digest, &function, bytes) {
        // Numbers that are larger than ours ever are become the largest.
        let written = format::encode(&parsed.head, parsed.stored);
        let ours = format::decode(&digest, &function, &written).expect("what was written is read");
        assert_eq!(ours.stored, parsed.stored);
        let again = format::encode(&ours.head, ours.stored);
        assert_eq!(again, written);
        if let (Stored::Inline(bytes), true) = (parsed.stored, parsed.head.is_compressed) {
            let most = usize::try_from(parsed.head.len).expect("lengths were bounded");
            let _ = zstd::bulk::decompress(bytes, most);
        }
    }
}

/// A value file, with the end that it has and with one whose checksum is right. `scratch` is overwritten.
pub fn value_file(bytes: &[u8], scratch: &Path) {
    read_value(bytes, scratch);
    // The last 16 bytes are its checksum and its magic.
    if bytes.len() > 16 {
        let mut sealed = bytes.to_vec();
        let end = sealed.len() - 16;
        sealed[end + 8..].copy_from_slice(&values::MAGIC);
        if let Some(length) = length_of(&sealed) {
            let table = usize::try_from(length).unwrap_or(end).min(end);
            let sum = xxh3_64(&sealed[table..end]);
            sealed[end..end + 8].copy_from_slice(&sum.to_le_bytes());
        }
        read_value(&sealed, scratch);
    }
}

/// The length of the payload, as the end of a value file says it.
fn length_of(bytes: &[u8]) -> Option<u64> {
    let end = bytes.len().checked_sub(24)?;
    Some(u64::from_le_bytes(bytes[end..end + 8].try_into().ok()?))
}

fn read_value(bytes: &[u8], scratch: &Path) {
    let mut file = std::fs::File::create(scratch).expect("the fuzzer has a file");
    file.write_all(bytes)
        .and_then(|()| file.rewind())
        .expect("the fuzzer's file is written");
    let Some(at) = bytes.len().checked_sub(56) else {
        return;
    };
    let digest = Digest::from_bytes(bytes[at..at + 32].try_into().expect("32 bytes"));
    let sum = u64::from_le_bytes(bytes[at + 40..at + 48].try_into().expect("8 bytes"));
    let length = length_of(bytes).expect("it is longer than that");
    match values::open(scratch, &digest, length, sum) {
        Ok(values::Opened::Whole(out)) => assert!(out.len() <= bytes.len()),
        Ok(values::Opened::Large(file, trailer)) => {
            let mut out = Vec::new();
            let _ = Checked::new(file, trailer).read_to_end(&mut out);
            assert!(out.len() <= bytes.len());
        }
        Err(_) => {}
    }
}

/// The page that tells of changes.
pub fn page(bytes: &[u8]) {
    if let Some(page) = bytes.first_chunk() {
        let _ = generation::decode(page);
    }
}

/// A journal, and a record of one whatever its checksum.
pub fn journal(bytes: &[u8]) {
    let read: usize = journal::decode(bytes, 0)
        .iter()
        .map(|put| put.bytes.len())
        .sum();
    assert!(read <= bytes.len());
    let _ = journal::parse(bytes, 0);
}

/// What a process counted, as its slot of the file of counters has it.
pub fn usage(bytes: &[u8]) {
    if let Some(slot) = bytes.first_chunk() {
        usage::decode(slot);
    }
}

/// A line of the log of invalidations: what is not known concerns everything.
pub fn invalidation(bytes: &[u8]) {
    if let Some((kind, target)) = bytes.split_first() {
        let target = index::decode_target(i64::from(*kind), target.to_vec());
        assert!(*kind < 5 || target == Target::All);
    }
}
