//! How keys and values become the bytes of a payload and come back: postcard, chosen where their types are known.
//!
//! Invariant: what an encoding decodes, it or one of the same type encoded; other bytes are an error, and nothing is
//! executed or allocated for lengths that are not there.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Reads a value from the start of some bytes; returns it and the rest of them.
type Decode<T> = fn(&[u8]) -> postcard::Result<(T, &[u8])>;

/// How values of one type are encoded.
pub struct Encoding<T> {
    encode: fn(&T, Vec<u8>) -> postcard::Result<Vec<u8>>,
    decode: Decode<T>,
}

impl<T: Serialize + DeserializeOwned> Encoding<T> {
    /// By the type's own serde.
    #[must_use]
    pub fn whole() -> Self {
        Self {
            encode: |value, bytes| postcard::to_extend(value, bytes),
            decode: |bytes| postcard::take_from_bytes(bytes),
        }
    }
}

/// What postcard writes before the content of an `Ok`.
const OK: u8 = 0;

impl<T: Serialize + DeserializeOwned, E> Encoding<Result<T, E>> {
    /// As the whole `Result` is encoded if it can be, and nothing but `Ok`: failures are not stored.
    #[must_use]
    pub fn of_ok() -> Self {
        Self {
            encode: |result, mut bytes| match result {
                Ok(value) => {
                    bytes.push(OK);
                    postcard::to_extend(value, bytes)
                }
                Err(_) => Err(postcard::Error::SerdeSerCustom),
            },
            decode: |bytes| match bytes.split_first() {
                Some((&OK, rest)) => {
                    let (value, rest) = postcard::take_from_bytes(rest)?;
                    Ok((Ok(value), rest))
                }
                _ => Err(postcard::Error::DeserializeBadEnum),
            },
        }
    }
}

impl<T> Encoding<T> {
    /// Appends the bytes of a value.
    pub(crate) fn encode(&self, value: &T, bytes: Vec<u8>) -> postcard::Result<Vec<u8>> {
        (self.encode)(value, bytes)
    }

    /// Reads a value from the start of some bytes; returns it and the rest of them.
    pub(crate) fn decode<'a>(&self, bytes: &'a [u8]) -> postcard::Result<(T, &'a [u8])> {
        (self.decode)(bytes)
    }
}

impl<T> std::fmt::Debug for Encoding<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Encoding").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ok_is_the_same_bytes_with_and_without_its_error() {
        let (whole, of_ok) = (
            Encoding::<Result<u64, String>>::whole(),
            Encoding::<Result<u64, std::fmt::Error>>::of_ok(),
        );
        let bytes = whole.encode(&Ok(300), Vec::new()).expect("encodes");
        assert_eq!(of_ok.encode(&Ok(300), Vec::new()), Ok(bytes.clone()));
        let (value, rest) = of_ok.decode(&bytes).expect("decodes");
        assert_eq!((value, rest), (Ok(300), &[][..]));
    }

    #[test]
    fn an_error_is_neither_written_nor_read() {
        let encoding = Encoding::<Result<u64, String>>::of_ok();
        assert!(encoding.encode(&Err("no".into()), Vec::new()).is_err());
        let whole = Encoding::whole();
        let bytes = whole.encode(&Err::<u64, _>("no".to_owned()), Vec::new());
        assert!(encoding.decode(&bytes.expect("encodes")).is_err());
        assert!(encoding.decode(&[]).is_err());
    }
}
