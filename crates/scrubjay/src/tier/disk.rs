//! The disk tier: one folder that many processes share.
//!
//! A [`Store`] holds records by [`Digest`]. `docs/disk-format.md` describes its files byte by byte. Invariants: nothing
//! that is read is trusted before its checksum was compared, and nothing that was read is executed; what fails is a
//! miss that is counted; an invalidation is seen by every process once the call that brought it returned.
//!
//! A cache uses a store through [`Builder::disk`](crate::Builder::disk).

mod attached;
mod ballast;
mod digest;
mod directory;
mod encoding;
mod error;
mod flight;
mod fork;
pub(crate) mod format;
#[doc(hidden)]
pub mod fuzzing;
mod generation;
mod index;
mod journal;
mod lookup;
mod options;
mod os;
mod queue;
mod record;
mod shared;
mod store;
mod tend;
mod usage;
mod values;
mod verify;
mod watch;

pub use digest::{Digest, KeyEncoder};
pub use flight::Lead;
pub use index::FunctionStats;
pub use options::{Durability, StoreBuilder};
pub use record::{Codec, Fence, Function, Head, NewRecord, Payload, Record};
pub use store::{Heads, Store, StoreStats};
pub use usage::{Event, Usage};
pub use verify::{Progress, Report};
pub use watch::{Invalidation, Watch};

pub(crate) use attached::Attached;
#[doc(hidden)]
pub use encoding::Encoding;
pub(crate) use options::Options;

/// Payloads of this many bytes and more are kept in files of their own.
pub const LARGE: u64 = 32 << 10;
/// The largest payload that [`Store::put`] takes. [`Store::put_file`] has no limit but the capacity.
pub const LARGEST: u64 = 64 << 20;
