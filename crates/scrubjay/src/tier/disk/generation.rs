//! The page `gen`: what every process reads to see that something changed, without asking the index.
//!
//! ```text
//! magic (8) ‖ token (8) ‖ last number (8) ‖ last invalidation (8) ‖ checksum (8)
//! ```
//! Whoever commits writes a token that nobody wrote before, after the commit. So a process that reads the same token
//! twice knows that no commit was announced between. The numbers are never ahead of the index, as whoever opens it sees
//! to after a loss of power; a late writer may set them back, which only makes fences stricter. Read with `pread` and
//! not through a mapping, because a truncated mapping would kill the process.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use xxhash_rust::xxh3::xxh3_64;

use super::index::Last;
use super::values::new_id;

const MAGIC: [u8; 8] = *b"SJgen\0\0\x01";
const SIZE: usize = 40;
/// How often a page is read that does not look like one before it is called damaged.
const LOOKS: u32 = 100;

/// What the page says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) token: u64,
    pub(crate) last: Last,
}

/// The open page.
#[derive(Debug)]
pub(crate) struct Generation {
    /// `None` where there is none and none can be made.
    file: Option<File>,
    next: AtomicU64,
}

impl Generation {
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let file = options.mode(0o600).open(path);
        let file = file.or_else(|_| File::open(path));
        let file = match file {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            file => Some(file?),
        };
        Ok(Self {
            file,
            next: AtomicU64::new(new_id().cast_unsigned()),
        })
    }

    /// `None` if it is not readable as a page, for example while it is written: then the index has to be asked.
    pub(crate) fn read(&self) -> Option<Seen> {
        let mut bytes = [0; SIZE];
        self.file.as_ref()?.read_exact_at(&mut bytes, 0).ok()?;
        decode(&bytes)
    }

    /// Whether there is something else than a page. One that is being written is looked at again.
    pub(crate) fn is_damaged(&self) -> bool {
        let file = self.file.as_ref().map(File::metadata);
        let length = file.and_then(Result::ok).map_or(0, |file| file.len());
        let is_read = || (0..LOOKS).any(|_| self.read().is_some());
        length > 0 && (length != SIZE as u64 || !is_read())
    }

    /// Announces a commit after which the last numbers were these.
    pub(crate) fn announce(&self, last: Last) -> io::Result<()> {
        // Relaxed: only the number counts, and nobody gets the same.
        let token = self.next.fetch_add(1, Ordering::Relaxed);
        let seen = Seen { token, last };
        let file = self.file.as_ref().ok_or(io::ErrorKind::NotFound)?;
        file.write_all_at(&encode(seen), 0)
    }
}

fn encode(seen: Seen) -> [u8; SIZE] {
    let mut bytes = [0; SIZE];
    bytes[..8].copy_from_slice(&MAGIC);
    bytes[8..16].copy_from_slice(&seen.token.to_le_bytes());
    bytes[16..24].copy_from_slice(&seen.last.number.to_le_bytes());
    bytes[24..32].copy_from_slice(&seen.last.invalidation.to_le_bytes());
    let sum = xxh3_64(&bytes[..32]);
    bytes[32..].copy_from_slice(&sum.to_le_bytes());
    bytes
}

pub(crate) fn decode(bytes: &[u8; SIZE]) -> Option<Seen> {
    let number = |range: std::ops::Range<usize>| {
        let bytes = bytes[range].try_into().expect("8 of 40 bytes");
        u64::from_le_bytes(bytes)
    };
    let is_whole = bytes[..8] == MAGIC && number(32..40) == xxh3_64(&bytes[..32]);
    is_whole.then(|| Seen {
        token: number(8..16),
        last: Last {
            number: number(16..24),
            invalidation: number(24..32),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_flipped_bit_of_the_page_is_believed() {
        let seen = Seen {
            token: 3,
            last: Last {
                number: 9,
                invalidation: 7,
            },
        };
        let page = encode(seen);
        assert_eq!(decode(&page), Some(seen));
        for bit in 0..SIZE * 8 {
            let mut flipped = page;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode(&flipped), None, "bit {bit}");
        }
    }
}
