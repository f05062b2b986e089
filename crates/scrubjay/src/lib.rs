//! scrubjay

mod builder;
mod cache;
mod call;
mod clock;
mod entry;
mod error;
mod expiration;
mod flight;
mod invalidation;
mod key;
mod policy;
mod refresh;
mod removal;
mod stats;
mod sync;
mod tier;
pub mod trace;

pub use builder::Builder;
pub use cache::{Action, Cache, EntryOptions};
pub use clock::{Clock, ManualClock, SystemClock, Timestamp};
pub use error::{Error, ErrorKind};
pub use policy::Policy;
pub use removal::RemovalCause;
pub use stats::Stats;
pub use trace::{Trace, inherit, trace, trace_async};
