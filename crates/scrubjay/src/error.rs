//! What can go wrong, as one opaque error with a kind.
//!
//! A failing load is the user's own error type and never becomes this one.

use std::error::Error as StdError;
use std::fmt;

/// What kind of thing went wrong. More kinds may come.
///
/// # Example
///
/// ```
/// use scrubjay::{Cache, ErrorKind};
/// use std::time::Duration;
///
/// let error = Cache::<u32, u32>::builder().time_to_live(Duration::ZERO).build().unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::Option);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// An option of the builder makes no sense, alone or with another one.
    Option,
    /// Something could not be read or written: a snapshot's reader or writer failed, or a store's folder or disk.
    Io,
    /// A snapshot or a store is truncated, damaged, or not one of ours.
    Corrupt,
    /// A snapshot or a store was written in a format that this version does not know.
    Version,
    /// A key or a value could not be encoded or decoded.
    Codec,
}

/// The error of everything in this crate that can fail by itself.
///
/// It says what was attempted and what to do next; `source()` has the cause where there is one.
///
/// # Example
///
/// ```
/// use scrubjay::Cache;
/// use std::time::Duration;
///
/// let error = Cache::<u32, u32>::builder().jitter(1.5).build().unwrap_err();
/// assert!(error.to_string().contains("jitter"));
/// ```
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            source: None,
        }
    }

    #[cfg(any(feature = "snapshot", feature = "disk"))]
    pub(crate) fn with_source(mut self, source: impl StdError + Send + Sync + 'static) -> Self {
        self.source = Some(Box::new(source));
        self
    }

    /// Returns what kind of thing went wrong.
    ///
    /// # Example
    ///
    /// ```
    /// use scrubjay::{Cache, ErrorKind};
    ///
    /// let error = Cache::<u32, u32>::builder().jitter(-0.1).build().unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::Option);
    /// ```
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_ref().map(|source| &**source as _)
    }
}
