//! What a store holds for a digest: a head that says everything about the payload, and the payload.
//!
//! Invariant: a payload hands out no byte whose checksum it has not compared.

use std::fs::File;
use std::io::Read;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::digest::Digest;
use super::error;
use super::values::{Checked, Trailer};
use crate::error::Error;

/// Whose result an entry is. An entry is found only by the function that wrote it: name and code belong to the key.
///
/// # Example
///
/// ```
/// use scrubjay::disk::Function;
///
/// let function = Function::new("app::pages", "version 2");
/// assert_eq!(function.to_string(), "app::pages (version 2)");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub struct Function {
    /// The name that tells it from every other function on the store.
    pub name: String,
    /// Which state of its code: a version, a digest of its tokens, or nothing if that does not matter.
    pub code: String,
}

impl Function {
    /// Names a function and the state of its code.
    ///
    /// ```
    /// assert_eq!(scrubjay::disk::Function::new("f", "").code, "");
    /// ```
    #[must_use]
    pub fn new(name: impl Into<String>, code: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            code: code.into(),
        }
    }
}

impl std::fmt::Display for Function {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.code.as_str() {
            "" => f.write_str(&self.name),
            code => write!(f, "{} ({code})", self.name),
        }
    }
}

/// How a payload was encoded; chosen by whoever writes entries, and compared by whoever reads them.
///
/// # Example
///
/// ```
/// use scrubjay::disk::Codec;
///
/// assert_ne!(Codec::POSTCARD, Codec::RAW);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Codec(pub u8);

impl Codec {
    /// Bytes that stand for themselves.
    pub const RAW: Self = Self(0);
    /// Serde types in postcard's wire format, version 1.
    pub const POSTCARD: Self = Self(1);
    /// The frames of a command's output, as `scrubjay run` writes them.
    pub const COMMAND: Self = Self(2);
}

/// Everything about an entry but its payload.
///
/// # Example
///
/// ```
/// use scrubjay::disk::{Function, KeyEncoder, NewRecord, Store};
///
/// let dir = std::env::temp_dir().join(format!("scrubjay-head-{}", std::process::id()));
/// let store = Store::open(&dir)?;
/// let digest = KeyEncoder::new("example").u64(1).finish();
/// store.put(NewRecord::new(digest, Function::new("f", "")), b"value")?;
/// let head = store.get(&digest).unwrap().head;
/// assert_eq!((head.len, head.function.name.as_str()), (5, "f"));
/// # drop(store); std::fs::remove_dir_all(dir).unwrap();
/// # Ok::<(), scrubjay::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Head {
    /// The entry's name.
    pub digest: Digest,
    /// Whose result it is.
    pub function: Arc<Function>,
    /// When it was written.
    pub written: SystemTime,
    /// The first moment at which it is expired; `None`: never.
    pub expires: Option<SystemTime>,
    /// Until when it may be served past its life, to those who asked for that.
    pub stale_until: Option<SystemTime>,
    /// What the load took that brought it.
    pub load_cost: Duration,
    /// Labels to invalidate by.
    pub tags: Vec<String>,
    /// How the payload was encoded.
    pub codec: Codec,
    /// Whether it stands for a load that failed.
    pub is_failure: bool,
    /// Whether the payload is kept compressed; it is handed out as it was written.
    pub is_compressed: bool,
    /// Bytes of the payload.
    pub len: u64,
    /// Bytes that the entry takes in the store, without the index around it.
    pub stored_bytes: u64,
    /// How the key is shown: UTF-8, by convention JSON.
    pub description: Vec<u8>,
    /// The last invalidation that it knows of; see `docs/disk-format.md`.
    pub(crate) born: u64,
}

impl Head {
    /// Says whether the entry is within its life at `now`.
    ///
    /// An entry that can expire and claims to have been written after `now` is not: the clock was set back, and its age
    /// is not known.
    ///
    /// ```
    /// # use scrubjay::disk::{Function, KeyEncoder, NewRecord, Store};
    /// # let dir = std::env::temp_dir().join(format!("scrubjay-fresh-{}", std::process::id()));
    /// # let store = Store::open(&dir)?;
    /// # let digest = KeyEncoder::new("example").u64(1).finish();
    /// use std::time::{Duration, SystemTime};
    ///
    /// let end = SystemTime::now() + Duration::from_secs(60);
    /// store.put(NewRecord::new(digest, Function::new("f", "")).expires(end), b"value")?;
    /// let head = store.get(&digest).unwrap().head;
    /// assert!(head.is_fresh(SystemTime::now()) && !head.is_fresh(end));
    /// # drop(store); std::fs::remove_dir_all(dir).unwrap();
    /// # Ok::<(), scrubjay::Error>(())
    /// ```
    #[must_use]
    pub fn is_fresh(&self, now: SystemTime) -> bool {
        self.expires
            .is_none_or(|end| now < end && self.written <= now)
    }

    /// Says whether the entry is past its life at `now` and within the time that it may be served stale.
    ///
    /// ```
    /// # use scrubjay::disk::{Function, KeyEncoder, NewRecord, Store};
    /// # let dir = std::env::temp_dir().join(format!("scrubjay-stale-{}", std::process::id()));
    /// # let store = Store::open(&dir)?;
    /// # let digest = KeyEncoder::new("example").u64(1).finish();
    /// use std::time::{Duration, SystemTime};
    ///
    /// let end = SystemTime::now() + Duration::from_secs(60);
    /// let record = NewRecord::new(digest, Function::new("f", ""));
    /// store.put(record.expires(end).stale_until(end + Duration::from_secs(5)), b"value")?;
    /// let head = store.get(&digest).unwrap().head;
    /// assert!(head.is_stale(end) && !head.is_stale(end + Duration::from_secs(5)));
    /// # drop(store); std::fs::remove_dir_all(dir).unwrap();
    /// # Ok::<(), scrubjay::Error>(())
    /// ```
    #[must_use]
    pub fn is_stale(&self, now: SystemTime) -> bool {
        !self.is_fresh(now)
            && self.written <= now
            && self.stale_until.is_some_and(|until| now < until)
    }
}

/// The bytes of an entry: in memory, or in a file of their own from [`LARGE`](super::LARGE) bytes on.
///
/// # Example
///
/// ```
/// # use scrubjay::disk::{Function, KeyEncoder, NewRecord, Store};
/// # let dir = std::env::temp_dir().join(format!("scrubjay-payload-{}", std::process::id()));
/// # let store = Store::open(&dir)?;
/// # let digest = KeyEncoder::new("example").u64(1).finish();
/// store.put(NewRecord::new(digest, Function::new("f", "")), b"value")?;
/// let record = store.get(&digest).unwrap();
/// assert_eq!(record.payload.into_bytes()?, b"value");
/// # drop(store); std::fs::remove_dir_all(dir).unwrap();
/// # Ok::<(), scrubjay::Error>(())
/// ```
#[derive(Debug)]
pub struct Payload(pub(crate) Held);

#[derive(Debug)]
pub(crate) enum Held {
    Memory(Arc<Vec<u8>>),
    File { file: File, trailer: Trailer },
}

impl Payload {
    pub(crate) fn memory(bytes: Vec<u8>) -> Self {
        Self(Held::Memory(Arc::new(bytes)))
    }

    /// Returns all bytes, checked.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Corrupt`](crate::ErrorKind::Corrupt) if the file does not have the bytes that were written, and
    /// [`ErrorKind::Io`](crate::ErrorKind::Io) if it cannot be read. Both are to be taken as a miss.
    ///
    /// ```
    /// # use scrubjay::disk::{Function, KeyEncoder, NewRecord, Store};
    /// # let dir = std::env::temp_dir().join(format!("scrubjay-bytes-{}", std::process::id()));
    /// # let store = Store::open(&dir)?;
    /// # let digest = KeyEncoder::new("example").u64(1).finish();
    /// store.put(NewRecord::new(digest, Function::new("f", "")), &vec![7; 100_000])?;
    /// assert_eq!(store.get(&digest).unwrap().payload.into_bytes()?.len(), 100_000);
    /// # drop(store); std::fs::remove_dir_all(dir).unwrap();
    /// # Ok::<(), scrubjay::Error>(())
    /// ```
    pub fn into_bytes(self) -> Result<Vec<u8>, Error> {
        match self.0 {
            Held::Memory(bytes) => {
                Ok(Arc::try_unwrap(bytes).unwrap_or_else(|shared| (*shared).clone()))
            }
            Held::File { file, trailer } => {
                // Grows with what is really there, not with what the trailer says.
                let mut bytes = Vec::new();
                let mut reader = Checked::new(file, trailer);
                reader.read_to_end(&mut bytes).map_err(error::value_file)?;
                Ok(bytes)
            }
        }
    }

    /// Returns a reader of all bytes that holds no more than 64 KiB of them, each checked before it is handed out.
    ///
    /// The reader fails with [`std::io::ErrorKind::InvalidData`] where the bytes are not those that were written. The
    /// file stays readable if the entry is removed meanwhile.
    ///
    /// ```
    /// # use scrubjay::disk::{Function, KeyEncoder, NewRecord, Store};
    /// # let dir = std::env::temp_dir().join(format!("scrubjay-reader-{}", std::process::id()));
    /// # let store = Store::open(&dir)?;
    /// # let digest = KeyEncoder::new("example").u64(1).finish();
    /// store.put(NewRecord::new(digest, Function::new("f", "")), b"value")?;
    /// let text = std::io::read_to_string(store.get(&digest).unwrap().payload.reader())?;
    /// assert_eq!(text, "value");
    /// # drop(store); std::fs::remove_dir_all(dir).unwrap();
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn reader(self) -> Box<dyn Read + Send> {
        match self.0 {
            Held::Memory(bytes) => {
                let bytes = Arc::try_unwrap(bytes).unwrap_or_else(|shared| (*shared).clone());
                Box::new(std::io::Cursor::new(bytes))
            }
            Held::File { file, trailer } => Box::new(Checked::new(file, trailer)),
        }
    }
}

/// What a lookup gives: an entry as it was written.
///
/// # Example
///
/// See [`Payload`].
#[derive(Debug)]
#[non_exhaustive]
pub struct Record {
    /// Everything about it.
    pub head: Head,
    /// Its bytes.
    pub payload: Payload,
}

/// The point in the store's history at which a load began: a value brought by it is not stored if an invalidation
/// that concerns it came later. Made by [`Store::fence`](super::Store::fence).
///
/// # Example
///
/// ```
/// # use scrubjay::disk::{Function, KeyEncoder, NewRecord, Store};
/// # let dir = std::env::temp_dir().join(format!("scrubjay-fence-{}", std::process::id()));
/// # let store = Store::open(&dir)?;
/// # let digest = KeyEncoder::new("example").u64(1).finish();
/// let fence = store.fence();
/// store.invalidate(&digest)?; // meanwhile, by whatever process
/// store.put(NewRecord::new(digest, Function::new("f", "")).fence(fence), b"outdated")?;
/// store.flush(std::time::Duration::from_secs(5))?;
/// assert!(store.get(&digest).is_none());
/// # drop(store); std::fs::remove_dir_all(dir).unwrap();
/// # Ok::<(), scrubjay::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fence {
    /// The last number that the index had given.
    pub(crate) number: u64,
    /// Which index that was: the folder of an open store may be deleted, and another index counts anew.
    pub(crate) index: u64,
}

/// An entry to write: all of its head that the store does not know by itself.
///
/// # Example
///
/// ```
/// use scrubjay::disk::{Codec, Function, KeyEncoder, NewRecord};
/// use std::time::Duration;
///
/// let digest = KeyEncoder::new("example").str("ann").finish();
/// let record = NewRecord::new(digest, Function::new("app::user", "version 1"))
///     .load_cost(Duration::from_millis(80))
///     .tag("team:7")
///     .codec(Codec::RAW)
///     .description("[\"ann\"]");
/// assert_eq!(record.digest(), &digest);
/// ```
#[derive(Debug, Clone)]
#[must_use = "a record is not stored until it is passed to `put`"]
pub struct NewRecord {
    pub(crate) digest: Digest,
    pub(crate) function: Arc<Function>,
    pub(crate) expires: Option<SystemTime>,
    pub(crate) stale_until: Option<SystemTime>,
    pub(crate) load_cost: Duration,
    pub(crate) tags: Vec<String>,
    pub(crate) codec: Codec,
    pub(crate) is_failure: bool,
    pub(crate) description: Vec<u8>,
    pub(crate) fence: Option<Fence>,
    pub(crate) written: Option<SystemTime>,
    pub(crate) replaces: bool,
}

/// Gives `NewRecord` its setters, which differ in nothing but the field.
macro_rules! setters {
    ($($(#[$doc:meta])* $name:ident($value:ident: $ty:ty) => $field:ident = $made:expr;)*) => {
        impl NewRecord {$(
            $(#[$doc])*
            ///
            /// ```
            /// # use scrubjay::disk::{Codec, Function, KeyEncoder, NewRecord};
            /// # use std::time::{Duration, SystemTime};
            /// # let digest = KeyEncoder::new("example").finish();
            /// let record = NewRecord::new(digest, Function::new("f", ""));
            #[doc = setter_example!($name)]
            /// # assert_eq!(record.digest(), &digest);
            /// ```
            pub fn $name(mut self, $value: $ty) -> Self {
                self.$field = $made;
                self
            }
        )*}
    };
}

/// The line that shows a setter at work.
macro_rules! setter_example {
    (expires) => {
        "let record = record.expires(SystemTime::now() + Duration::from_secs(60));"
    };
    (stale_until) => {
        "let record = record.stale_until(SystemTime::now() + Duration::from_secs(90));"
    };
    (written) => {
        "let record = record.written(SystemTime::now() - Duration::from_secs(60));"
    };
    (load_cost) => {
        "let record = record.load_cost(Duration::from_millis(80));"
    };
    (codec) => {
        "let record = record.codec(Codec::RAW);"
    };
    (failure) => {
        "let record = record.failure(true);"
    };
    (replaces) => {
        "let record = record.replaces(true);"
    };
    (description) => {
        "let record = record.description(\"[1]\");"
    };
    (fence) => {
        "// See `Fence`."
    };
}

impl NewRecord {
    /// Starts an entry that never expires and has no tags, written now.
    ///
    /// ```
    /// # use scrubjay::disk::{Function, KeyEncoder, NewRecord};
    /// let digest = KeyEncoder::new("example").finish();
    /// assert_eq!(NewRecord::new(digest, Function::new("f", "")).digest(), &digest);
    /// ```
    pub fn new(digest: Digest, function: impl Into<Arc<Function>>) -> Self {
        Self {
            digest,
            function: function.into(),
            expires: None,
            stale_until: None,
            load_cost: Duration::ZERO,
            tags: Vec::new(),
            codec: Codec::RAW,
            is_failure: false,
            description: Vec::new(),
            fence: None,
            written: None,
            replaces: false,
        }
    }

    /// Returns the name of the entry.
    ///
    /// ```
    /// # use scrubjay::disk::{Function, KeyEncoder, NewRecord};
    /// let digest = KeyEncoder::new("example").finish();
    /// assert_eq!(NewRecord::new(digest, Function::new("f", "")).digest(), &digest);
    /// ```
    #[must_use]
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Adds a label to invalidate by, of up to 65,535 bytes. An entry has at most 255.
    ///
    /// ```
    /// # use scrubjay::disk::{Function, KeyEncoder, NewRecord};
    /// # let digest = KeyEncoder::new("example").finish();
    /// let record = NewRecord::new(digest, Function::new("f", "")).tag("team:7").tag("user:3");
    /// # assert_eq!(record.digest(), &digest);
    /// ```
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.tags.push(tag.into());
        self
    }
}

setters! {
    /// Sets the first moment at which the entry is expired. Default: never.
    expires(moment: SystemTime) => expires = Some(moment);
    /// Sets until when the entry may be served past its life. Default: not at all.
    stale_until(moment: SystemTime) => stale_until = Some(moment);
    /// Says when the value came to be, for entries that are brought from elsewhere. Default: now.
    written(moment: SystemTime) => written = Some(moment);
    /// Says what the load took. Default: zero. Kept in microseconds, up to 71 minutes.
    load_cost(cost: Duration) => load_cost = cost;
    /// Says how the payload is encoded. Default: [`Codec::RAW`].
    codec(codec: Codec) => codec = codec;
    /// Says that the entry stands for a load that failed. Default: it does not.
    failure(is_failure: bool) => is_failure = is_failure;
    /// Says that other values of the key are no longer true, so that the memory tiers of all processes drop
    /// theirs. Default: it is the same answer to the same question, and they keep it.
    replaces(replaces: bool) => replaces = replaces;
    /// Says how the key is shown, by convention as JSON. Default: not at all.
    description(text: impl Into<Vec<u8>>) => description = text.into();
    /// Refuses the entry if an invalidation that concerns it came after `fence`. Default: it is as new as can be.
    fence(fence: Fence) => fence = Some(fence);
}
