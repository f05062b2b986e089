//! What the benchmark programs share.
//!
//! The programs are `src/bin/hit_ratio.rs`, `src/bin/memory/`, `src/bin/speed/`, `src/bin/disk/` and
//! `src/bin/command.rs`; each says in its first lines what it measures and how to read it.

pub mod exact;
pub mod peer;
pub mod progress;
pub mod rounds;
pub mod table;
pub mod trace;
pub mod zipf;
