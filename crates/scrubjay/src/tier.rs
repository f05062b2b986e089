//! Tiers: the places where entries live. Memory is the only one so far.
//!
//! A lookup asks the upper tier first, and only the leader of a flight goes further down.

pub(crate) mod memory;
