//! Tiers: the places where entries live: memory and, below it, a folder on disk.
//!
//! A lookup asks the upper tier first, and only the leader of a flight goes further down.

pub(crate) mod below;
#[cfg(feature = "disk")]
pub mod disk;
pub(crate) mod memory;
