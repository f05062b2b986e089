//! Entries as a binary archive.

use std::io::{self, Read, Write};

use super::entry::Entry;
use super::{LONGEST_HEAD, Reader, Writer};

/// The first bytes; the first one begins no line of JSON, the last one is the version.
pub const MAGIC: [u8; 8] = *b"\x89SJARCH\x01";

#[derive(Debug)]
pub struct ArchiveWriter<W>(W);

impl<W: Write> ArchiveWriter<W> {
    pub fn new(mut to: W) -> io::Result<Self> {
        to.write_all(&MAGIC)?;
        Ok(Self(to))
    }
}

impl<W: Write> Writer for ArchiveWriter<W> {
    fn entry(&mut self, entry: &Entry, payload: &mut dyn Read) -> io::Result<()> {
        let head = serde_json::to_vec(entry)?;
        let length = u32::try_from(head.len()).map_err(io::Error::other)?;
        self.0.write_all(&length.to_le_bytes())?;
        self.0.write_all(&head)?;
        let mut hasher = blake3::Hasher::new();
        hasher.update(&head);
        let mut hashed = Hashed {
            to: &mut self.0,
            hasher,
        };
        io::copy(payload, &mut hashed)?;
        let digest = hashed.hasher.finalize();
        self.0.write_all(digest.as_bytes())
    }

    fn finish(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Passes bytes on and digests them.
struct Hashed<W> {
    to: W,
    hasher: blake3::Hasher,
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.to.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

#[derive(Debug)]
pub struct ArchiveReader<R> {
    from: R,
    hasher: blake3::Hasher,
}

impl<R: Read> ArchiveReader<R> {
    pub fn new(mut from: R) -> io::Result<Self> {
        let mut magic = [0; MAGIC.len()];
        from.read_exact(&mut magic).map_err(cut_off)?;
        if magic != MAGIC {
            return Err(io::Error::other(
                "this is no archive, or one of another version",
            ));
        }
        Ok(Self {
            from,
            hasher: blake3::Hasher::new(),
        })
    }
}

/// An end that comes too early is a damage to be told of; other errors tell of themselves.
fn cut_off(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => io::Error::other("the archive was cut off"),
        _ => error,
    }
}

impl<R: Read> Reader for ArchiveReader<R> {
    fn head(&mut self) -> io::Result<Option<Entry>> {
        let mut length = Vec::new();
        if (&mut self.from).take(4).read_to_end(&mut length)? == 0 {
            return Ok(None);
        }
        let length: [u8; 4] = length
            .try_into()
            .map_err(|_| io::ErrorKind::UnexpectedEof.into())
            .map_err(cut_off)?;
        let length = u32::from_le_bytes(length) as usize;
        if length > LONGEST_HEAD {
            return Err(io::Error::other("an entry's head is longer than heads are"));
        }
        // Grows with what is really there.
        let mut head = Vec::new();
        if (&mut self.from)
            .take(length as u64)
            .read_to_end(&mut head)?
            < length
        {
            return Err(cut_off(io::ErrorKind::UnexpectedEof.into()));
        }
        self.hasher.reset();
        self.hasher.update(&head);
        Ok(Some(serde_json::from_slice(&head)?))
    }

    fn payload(&mut self, entry: &Entry, to: &mut dyn Write) -> io::Result<()> {
        let mut hashed = Hashed {
            to,
            hasher: self.hasher.clone(),
        };
        let copied = io::copy(&mut (&mut self.from).take(entry.bytes), &mut hashed)?;
        let mut digest = [0; 32];
        self.from.read_exact(&mut digest).map_err(cut_off)?;
        if copied != entry.bytes || hashed.hasher.finalize() != digest {
            return Err(io::Error::other(format!(
                "the entry {} is damaged",
                entry.key
            )));
        }
        Ok(())
    }
}
