//! Any sequence of operations gets the same answers from the cache and from the small reference beside it.

#![no_main]

#[path = "../../crates/scrubjay/tests/fixtures/model.rs"]
#[allow(dead_code, reason = "tests look at the parts as well")]
mod model;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| model::run(bytes, "fuzz"));
