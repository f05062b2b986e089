//! An entry of the disk tier, a line of its log of invalidations, its page of changes, its journals and its counters,
//! whatever their bytes.
#![no_main]

use scrubjay::disk::fuzzing;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    fuzzing::record(bytes);
    fuzzing::invalidation(bytes);
    fuzzing::page(bytes);
    fuzzing::usage(bytes);
    fuzzing::journal(bytes);
});
