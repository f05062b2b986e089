//! `#[memoize(disk = …)]`: results outlive the process, and belong to the function's path and code.
#![allow(clippy::unwrap_used, reason = "a failing test should say where")]

use std::cell::Cell;
use std::path::PathBuf;

use scrubjay::disk::Store;
use scrubjay::memoize;

thread_local! {
    static RUNS: Cell<u32> = const { Cell::new(0) };
}

fn folder() -> String {
    let path = std::env::temp_dir().join(format!("scrubjay-memoize-{}", std::process::id()));
    path.to_str().unwrap().to_owned()
}

mod first {
    use super::*;

    #[memoize(disk = folder())]
    pub fn square(n: u64) -> u64 {
        RUNS.set(RUNS.get() + 1);
        n * n
    }
}

mod second {
    use super::*;

    #[memoize(disk = folder(), version = 7)]
    pub fn square(n: u64) -> Result<u64, String> {
        RUNS.set(RUNS.get() + 1);
        if n < 10 {
            Ok(n * n)
        } else {
            Err("too large".to_owned())
        }
    }

    #[memoize(disk = folder(), code = "off")]
    pub fn cube(n: u64) -> u64 {
        n * n * n
    }
}

#[test]
fn results_are_stored_under_the_functions_path_and_code() {
    assert_eq!((first::square(3), first::square(3), RUNS.get()), (9, 9, 1));
    assert_eq!((second::square(3), RUNS.get()), (Ok(9), 2));
    assert_eq!(second::square(10), Err("too large".to_owned()));
    assert_eq!(second::cube(2), 8);
    let store = Store::open(folder()).unwrap();
    let mut functions: Vec<_> = store.iter().map(|head| head.function).collect();
    functions.sort();
    let names: Vec<_> = functions.iter().map(|function| &*function.name).collect();
    let paths = ["first::square", "second::cube", "second::square"];
    assert_eq!(names, paths.map(|path| format!("disk_memoize::{path}")));
    assert!(functions[0].code.starts_with("code "));
    assert_eq!(
        (&*functions[1].code, &*functions[2].code),
        ("", "version 7")
    );
    assert_eq!(first::square::cache().stats().disk_writes, 1);
    let _ = std::fs::remove_dir_all(PathBuf::from(folder()));
}
