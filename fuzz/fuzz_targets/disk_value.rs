//! A value file of the disk tier, whatever its bytes.
#![no_main]

use std::path::PathBuf;
use std::sync::LazyLock;

static SCRATCH: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = ["/dev/shm".into(), std::env::temp_dir()];
    let folder = folder.into_iter().find(|folder| folder.is_dir());
    let name = format!("scrubjay-fuzz-{}", std::process::id());
    folder
        .expect("there is a folder for temporary files")
        .join(name)
});

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| scrubjay::disk::fuzzing::value_file(bytes, &SCRATCH));
