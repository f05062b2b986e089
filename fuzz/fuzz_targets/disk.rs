//! Every decoder of the disk tier, given any bytes: none may panic or allocate more than it is given.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| scrubjay::disk::decode_anything(bytes));
