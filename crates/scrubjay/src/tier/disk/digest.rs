//! The name of an entry below memory: a digest of a canonical encoding of all that makes up its key.
//!
//! Invariant: two different lists of fields never have the same encoding, because each field says its kind and its
//! length before its bytes, and numbers have one width and byte order. So equal keys have equal digests on every
//! machine, and different keys different ones, as far as BLAKE3 has no collisions.

use std::fmt;
use std::hash::Hasher;
use std::str::FromStr;

use crate::error::{Error, ErrorKind};

/// The 256-bit name of an entry.
///
/// # Example
///
/// ```
/// use scrubjay::disk::{Digest, KeyEncoder};
///
/// let digest = KeyEncoder::new("example").str("ann").u64(7).finish();
/// assert_eq!(digest.to_string().parse::<Digest>()?, digest);
/// # Ok::<(), scrubjay::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest([u8; 32]);

impl Digest {
    /// Makes a digest of bytes that are one already.
    ///
    /// ```
    /// use scrubjay::disk::Digest;
    ///
    /// assert_eq!(Digest::from_bytes([7; 32]).as_bytes(), &[7; 32]);
    /// ```
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Returns its bytes.
    ///
    /// ```
    /// assert_eq!(scrubjay::disk::Digest::from_bytes([7; 32]).as_bytes()[0], 7);
    /// ```
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The part that the index looks up by.
    pub(crate) fn head(&self) -> i64 {
        let (head, _) = self
            .0
            .split_first_chunk()
            .expect("32 bytes are more than 8");
        i64::from_le_bytes(*head)
    }

    /// The rest, which decides.
    pub(crate) fn tail(&self) -> &[u8] {
        &self.0[8..]
    }

    /// Puts the two parts together again; `None` if the tail is not one.
    pub(crate) fn of_parts(head: i64, tail: &[u8]) -> Option<Self> {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&head.to_le_bytes());
        (tail.len() == 24).then(|| bytes[8..].copy_from_slice(tail))?;
        Some(Self(bytes))
    }
}

impl fmt::Display for Digest {
    /// Writes 64 hexadecimal digits, or as many of them as the precision says (`{:.12}`).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits: String = self.0.iter().map(|byte| format!("{byte:02x}")).collect();
        f.pad(&digits)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

impl FromStr for Digest {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = || Error::new(ErrorKind::Option, "a digest is 64 hexadecimal digits");
        let digits = text.as_bytes();
        if digits.len() != 64 || !digits.iter().all(u8::is_ascii_hexdigit) {
            return Err(wrong());
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| wrong())?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| wrong())?;
        }
        Ok(Self(bytes))
    }
}

/// The version of the encoding; part of it, so that another one names other entries.
const ENCODING: u64 = 1;

/// Fields are collected up to so many bytes before they are hashed.
const HASHED_AT_ONCE: usize = 1024;

/// What a field is; part of the encoding.
#[derive(Clone, Copy)]
enum Kind {
    Bytes = 1,
    Text = 2,
    Number = 3,
}

/// Makes a [`Digest`] of the fields of a key, one after the other.
///
/// Each field is encoded as its kind (1 byte), its length (8 bytes, little-endian) and its bytes; so no two lists of
/// fields are confused. The namespace says whose keys they are.
///
/// # Example
///
/// ```
/// use scrubjay::disk::KeyEncoder;
///
/// let one = KeyEncoder::new("example").str("ab").str("c").finish();
/// let other = KeyEncoder::new("example").str("a").str("bc").finish();
/// assert_ne!(one, other);
/// ```
#[derive(Debug)]
#[must_use = "an encoder does nothing until `finish`"]
pub struct KeyEncoder {
    /// What is not hashed yet: most keys are short, and cost a third if all their fields are hashed in one go.
    fields: Vec<u8>,
    hasher: Option<Box<blake3::Hasher>>,
}

impl Clone for KeyEncoder {
    /// With room for more fields, because that is what a copy is made for.
    fn clone(&self) -> Self {
        let mut fields = Vec::with_capacity(self.fields.len() + 128);
        fields.extend_from_slice(&self.fields);
        Self {
            fields,
            hasher: self.hasher.clone(),
        }
    }
}

impl KeyEncoder {
    /// Starts a key of `namespace`.
    ///
    /// ```
    /// use scrubjay::disk::KeyEncoder;
    ///
    /// assert_ne!(KeyEncoder::new("a").finish(), KeyEncoder::new("b").finish());
    /// ```
    pub fn new(namespace: &str) -> Self {
        let empty = Self {
            fields: Vec::with_capacity(128),
            hasher: None,
        };
        empty.u64(ENCODING).str(namespace)
    }

    /// Adds bytes.
    ///
    /// ```
    /// use scrubjay::disk::KeyEncoder;
    ///
    /// let key = KeyEncoder::new("example").bytes(b"raw");
    /// assert_ne!(key.finish(), KeyEncoder::new("example").str("raw").finish());
    /// ```
    pub fn bytes(self, bytes: &[u8]) -> Self {
        self.field(Kind::Bytes, bytes)
    }

    /// Adds a text.
    ///
    /// ```
    /// use scrubjay::disk::KeyEncoder;
    ///
    /// assert_ne!(KeyEncoder::new("e").str("a").finish(), KeyEncoder::new("e").str("b").finish());
    /// ```
    pub fn str(self, text: &str) -> Self {
        self.field(Kind::Text, text.as_bytes())
    }

    /// Adds a number.
    ///
    /// ```
    /// use scrubjay::disk::KeyEncoder;
    ///
    /// assert_ne!(KeyEncoder::new("e").u64(1).finish(), KeyEncoder::new("e").u64(2).finish());
    /// ```
    pub fn u64(self, number: u64) -> Self {
        self.field(Kind::Number, &number.to_le_bytes())
    }

    /// Adds what a `Hash` feeds, as bytes.
    pub(super) fn fed(self, feed: &dyn Fn(&mut dyn Hasher)) -> Self {
        let mut fed = Fed(Vec::with_capacity(64));
        feed(&mut fed);
        self.bytes(&fed.0)
    }

    fn field(mut self, kind: Kind, bytes: &[u8]) -> Self {
        self.fields.reserve(9 + bytes.len().min(HASHED_AT_ONCE));
        self.fields.push(kind as u8);
        self.fields.extend((bytes.len() as u64).to_le_bytes());
        if self.fields.len() + bytes.len() > HASHED_AT_ONCE {
            let hasher = self.hasher.get_or_insert_default();
            hasher.update(&self.fields).update(bytes);
            self.fields.clear();
        } else {
            self.fields.extend(bytes);
        }
        self
    }

    /// Returns the digest of all fields.
    ///
    /// ```
    /// use scrubjay::disk::KeyEncoder;
    ///
    /// assert_eq!(KeyEncoder::new("e").finish(), KeyEncoder::new("e").finish());
    /// ```
    #[must_use]
    pub fn finish(self) -> Digest {
        let digest = match self.hasher {
            None => blake3::hash(&self.fields),
            Some(mut hasher) => hasher.update(&self.fields).finalize(),
        };
        Digest(*digest.as_bytes())
    }
}

/// Collects what a `Hash` feeds, numbers in the same way on every machine.
struct Fed(Vec<u8>);

/// Numbers little-endian; those of the machine's word as 64 bits.
macro_rules! write_numbers {
    ($($name:ident($ty:ty as $kept:ty)),*) => {
        $(fn $name(&mut self, number: $ty) {
            self.write(&(number as $kept).to_le_bytes());
        })*
    };
}

impl Hasher for Fed {
    fn write(&mut self, bytes: &[u8]) {
        self.0.extend(bytes);
    }

    fn finish(&self) -> u64 {
        0
    }

    write_numbers!(
        write_u16(u16 as u16),
        write_u32(u32 as u32),
        write_u64(u64 as u64),
        write_u128(u128 as u128),
        write_usize(usize as u64),
        write_i16(i16 as i16),
        write_i32(i32 as i32),
        write_i64(i64 as i64),
        write_i128(i128 as i128),
        write_isize(isize as i64)
    );
}

#[cfg(test)]
mod tests {
    use std::hash::Hash;

    use super::*;

    #[test]
    fn however_the_fields_are_collected_the_digest_is_that_of_their_encoding() {
        for length in [0, 5, 900, 1_015, 1_016, 1_017, 5_000] {
            let (text, tail) = ("x".repeat(length), [7; 600]);
            let encoder = KeyEncoder::new("test").str(&text).u64(3).bytes(&tail);
            let mut encoding = Vec::new();
            let fields: [(Kind, &[u8]); 5] = [
                (Kind::Number, &ENCODING.to_le_bytes()),
                (Kind::Text, b"test"),
                (Kind::Text, text.as_bytes()),
                (Kind::Number, &3_u64.to_le_bytes()),
                (Kind::Bytes, &tail),
            ];
            for (kind, bytes) in fields {
                encoding.push(kind as u8);
                encoding.extend((bytes.len() as u64).to_le_bytes());
                encoding.extend(bytes);
            }
            let expected = blake3::hash(&encoding);
            assert_eq!(encoder.finish().as_bytes(), expected.as_bytes(), "{length}");
        }
    }

    #[test]
    fn a_hash_feeds_the_same_bytes_on_every_machine() {
        let mut bytes = Fed(Vec::new());
        (7_usize, -2_isize, 0x0102_u16, "ab", Some(1_u8)).hash(&mut bytes);
        let expected: [&[u8]; 6] = [
            &7_u64.to_le_bytes(),
            &(-2_i64).to_le_bytes(),
            &[2, 1],
            b"ab\xff",
            &1_u64.to_le_bytes(),
            &[1],
        ];
        assert_eq!(bytes.0, expected.concat());
    }
}
