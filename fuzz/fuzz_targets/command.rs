//! Every decoder of the command, given any bytes: none may panic or allocate more than it is given.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| scrubjay_cli::decode_anything(bytes));
