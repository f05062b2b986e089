//! Every misuse of `#[memoize]` is a compile error that says what is wrong and what to do instead.
//!
//! Each file in `ui` must not compile, with exactly the text beside it. To write the texts anew, run this test with
//! `TRYBUILD=overwrite` and read what changed. The files in `ui/disk` are for the feature `disk`, those in `ui/no_disk`
//! for builds without it.
#![cfg(feature = "macros")]

#[test]
fn every_misuse_has_its_message() {
    let cases = trybuild::TestCases::new();
    // With the feature `disk` more types are in scope, and the compiler's own messages list others.
    #[cfg(not(feature = "disk"))]
    for folder in ["ui", "ui/no_disk"] {
        cases.compile_fail(format!("tests/{folder}/*.rs"));
    }
    #[cfg(feature = "disk")]
    cases.compile_fail("tests/ui/disk/*.rs");
}
