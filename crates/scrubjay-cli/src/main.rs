//! The program `scrubjay`; all of it is in the library beside this file, where its decoders can be fuzzed.

use std::process::ExitCode;

fn main() -> ExitCode {
    scrubjay_cli::main()
}
