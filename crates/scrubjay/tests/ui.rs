//! Every misuse of `#[memoize]` is a compile error that says what is wrong and what to do instead.
//!
//! Each file in `ui` must not compile, with exactly the text beside it. To write the texts anew, run this test with
//! `TRYBUILD=overwrite` and read what changed.
#![cfg(feature = "macros")]

#[test]
fn every_misuse_has_its_message() {
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}
