//! `#[memoize(disk = …)]`: results outlive the process, and belong to the function's path and code.
#![allow(clippy::unwrap_used, reason = "a failing test should say where")]

#[path = "fixtures/executor.rs"]
#[allow(dead_code, reason = "one future at a time is enough here")]
mod executor;

use std::cell::Cell;
use std::fmt::Debug;
use std::hash::Hash;
use std::path::PathBuf;
use std::sync::Arc;

use executor::block_on;
use scrubjay::disk::{Function, Store};
use scrubjay::{Bits, Cache, memoize};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

thread_local! {
    static RUNS: Cell<u32> = const { Cell::new(0) };
}

fn run() {
    RUNS.set(RUNS.get() + 1);
}

/// Each test has a folder, and functions, of its own.
fn folder(name: &str) -> String {
    let path = std::env::temp_dir().join(format!("scrubjay-memoize-{name}-{}", std::process::id()));
    path.to_str().unwrap().to_owned()
}

/// The names of the functions in a folder, which is removed.
fn functions(name: &str) -> Vec<Arc<Function>> {
    let store = Store::open(folder(name)).unwrap();
    let mut functions: Vec<_> = store.iter().map(|head| head.unwrap().function).collect();
    functions.sort();
    functions.dedup();
    drop(store);
    let _ = std::fs::remove_dir_all(PathBuf::from(folder(name)));
    functions
}

fn names(name: &str) -> Vec<String> {
    let functions = functions(name).into_iter();
    functions.map(|function| function.name.clone()).collect()
}

/// What a restart finds: the results without the memory of this process.
fn restarted<K, V>(cache: &Cache<K, V>)
where
    K: Hash + Eq + 'static,
    V: 'static,
{
    let capacity = cache.capacity();
    cache.set_capacity(0);
    cache.set_capacity(capacity);
    assert!(cache.is_empty());
}

mod first {
    use super::*;

    #[memoize(disk = folder("path"))]
    pub fn square(n: u64) -> u64 {
        run();
        n * n
    }
}

mod second {
    use super::*;

    #[memoize(disk = folder("path"), version = 7)]
    pub fn square(n: u64) -> Result<u64, String> {
        run();
        if n < 10 {
            Ok(n * n)
        } else {
            Err("too large".to_owned())
        }
    }

    #[memoize(disk = folder("path"), code = "off")]
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
    assert_eq!(first::square::cache().stats().disk_writes, 1);
    let functions = functions("path");
    let names: Vec<_> = functions.iter().map(|function| &*function.name).collect();
    let paths = ["first::square", "second::cube", "second::square"];
    assert_eq!(names, paths.map(|path| format!("disk_memoize::{path}")));
    assert!(functions[0].code.starts_with("code "));
    assert_eq!(
        (&*functions[1].code, &*functions[2].code),
        ("", "version 7")
    );
}

#[memoize(disk = folder("floats"))]
fn halves(x: f64, y: f32) -> (f64, f32) {
    run();
    (x / 2.0, y / 2.0)
}

#[test]
fn floats_are_found_again_by_their_bits() {
    let quiet = f64::from_bits(f64::NAN.to_bits() ^ 1);
    for x in [1.5, -0.0, 0.0, f64::NAN, quiet, f64::INFINITY] {
        let (half, _) = halves(x, 1.0);
        restarted(halves::cache());
        let runs = RUNS.get();
        let found = halves(x, 1.0);
        assert_eq!(
            (Bits(found.0), found.1, RUNS.get()),
            (Bits(half), 0.5, runs)
        );
    }
    assert_eq!(
        RUNS.get(),
        6,
        "minus zero and each NaN are keys of their own"
    );
    assert_eq!(names("floats"), ["disk_memoize::halves"]);
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Circle(u32);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Square<T>(T);

trait Shape {
    fn area(&self) -> u32;
    fn twice(&self) -> u32;
}

impl Circle {
    #[memoize(disk = folder("methods"))]
    fn grown(&self, by: u32) -> u32 {
        run();
        self.0 + by
    }

    #[memoize(disk = folder("methods"), in_impl)]
    fn unit() -> u32 {
        run();
        1
    }
}

impl Shape for Circle {
    #[memoize(disk = folder("methods"), in_trait, version = 1)]
    fn area(&self) -> u32 {
        run();
        3 * self.0 * self.0
    }

    #[memoize(disk = folder("methods"), in_trait, version = 1)]
    fn twice(&self) -> u32 {
        run();
        2 * self.0
    }
}

impl Shape for Square<u32> {
    #[memoize(disk = folder("methods"), in_trait, version = 1)]
    fn area(&self) -> u32 {
        run();
        self.0 * self.0
    }

    #[memoize(disk = folder("methods"), in_trait, version = 1)]
    fn twice(&self) -> u32 {
        run();
        4 * self.0
    }
}

#[test]
fn methods_are_told_apart_by_type_and_trait() {
    for _ in 0..2 {
        assert_eq!((Circle(2).grown(1), Circle::unit()), (3, 1));
        assert_eq!((Circle(2).area(), Circle(2).twice()), (12, 4));
        assert_eq!((Square(2).area(), Square(2).twice()), (4, 8));
        restarted(Circle::grown_cache());
        restarted(Circle::unit_cache());
    }
    assert_eq!(RUNS.get(), 6);
    let names = names("methods");
    let methods = [
        "<disk_memoize::Circle as disk_memoize::Shape>::area",
        "<disk_memoize::Circle as disk_memoize::Shape>::twice",
        "<disk_memoize::Square<u32> as disk_memoize::Shape>::area",
        "<disk_memoize::Square<u32> as disk_memoize::Shape>::twice",
        "disk_memoize::Circle::grown",
        "disk_memoize::Circle::unit",
    ];
    assert_eq!(names, methods);
}

trait Kept: Clone + Debug + Hash + Eq + Send + Sync + Serialize + DeserializeOwned + 'static {}

impl<T> Kept for T where
    T: Clone + Debug + Hash + Eq + Send + Sync + Serialize + DeserializeOwned + 'static
{
}

#[memoize(disk = folder("generic"), version = 1)]
fn many<T: Kept, const N: usize>(value: T) -> Vec<T> {
    run();
    vec![value; N]
}

impl<T: Kept> Square<T> {
    #[memoize(disk = folder("generic"), version = 1)]
    fn paired<U: Kept>(&self, with: U) -> (T, U) {
        run();
        (self.0.clone(), with)
    }
}

#[test]
fn instances_of_generic_functions_are_told_apart() {
    for _ in 0..2 {
        assert_eq!(many::<u8, 2>(7), [7, 7]);
        assert_eq!(many::<u8, 3>(7), [7, 7, 7]);
        assert_eq!(many::<i64, 2>(7), [7, 7]);
        assert_eq!(Square(1_u8).paired("a".to_owned()), (1, "a".to_owned()));
        assert_eq!(Square(1_u8).paired(2_u64), (1, 2));
        restarted(many::<u8, 2>::cache());
        restarted(Square::<u8>::paired_cache::<u64>());
    }
    assert_eq!(RUNS.get(), 5);
    let expected = [
        "disk_memoize::Square<u8>::paired<alloc::string::String>",
        "disk_memoize::Square<u8>::paired<u64>",
        "disk_memoize::many<i64, 2>",
        "disk_memoize::many<u8, 2>",
        "disk_memoize::many<u8, 3>",
    ];
    assert_eq!(names("generic"), expected);
}

/// Two functions of one path, as far as the compiler shows it, and of one version.
#[test]
fn a_second_function_of_the_same_path_is_kept_in_memory_only() {
    let one = {
        #[memoize(disk = folder("twins"), version = 1)]
        fn twin(n: u64) -> u64 {
            n + 1
        }
        twin(1)
    };
    let two = {
        #[memoize(disk = folder("twins"), version = 1)]
        fn twin(n: u64) -> u64 {
            n + 2
        }
        twin(1)
    };
    assert_eq!((one, two), (2, 3));
    assert_eq!(names("twins").len(), 1);
}

#[memoize(disk = folder("async"))]
async fn fetched(name: &str) -> Option<String> {
    run();
    (!name.is_empty()).then(|| name.to_uppercase())
}

#[test]
fn an_async_function_finds_its_results_again() {
    assert_eq!(block_on(fetched("a")), Some("A".to_owned()));
    assert_eq!(block_on(fetched("")), None);
    restarted(fetched::cache());
    assert_eq!(block_on(fetched("a")), Some("A".to_owned()));
    assert_eq!(RUNS.get(), 2);
    assert_eq!(block_on(fetched("")), None);
    assert_eq!(RUNS.get(), 3, "a `None` is not stored");
    assert_eq!(names("async"), ["disk_memoize::fetched"]);
}

/// An error that serde does not know.
#[derive(Debug)]
struct Failure;

#[memoize(disk = folder("errors"))]
fn checked(n: u32) -> Result<u32, Failure> {
    run();
    n.checked_sub(1).ok_or(Failure)
}

#[test]
fn only_what_is_in_ok_needs_to_be_a_type_of_serde() {
    assert_eq!(checked(3).unwrap(), 2);
    assert!(checked(0).is_err());
    restarted(checked::cache());
    assert_eq!((checked(3).unwrap(), RUNS.get()), (2, 2));
    assert!(checked(0).is_err());
    assert_eq!(RUNS.get(), 3, "an `Err` is not stored");
    assert_eq!(names("errors"), ["disk_memoize::checked"]);
}

#[memoize(disk = folder("keys"), key = (circle.0, page))]
fn shown(circle: &Circle, page: u16) -> String {
    run();
    format!("{} {page}", circle.0)
}

#[test]
fn a_key_of_ones_own_is_stored() {
    assert_eq!(shown(&Circle(1), 2), "1 2");
    let cache = Store::open(folder("keys")).unwrap();
    cache.flush(std::time::Duration::MAX).unwrap();
    assert_eq!(cache.iter().count(), 1);
    drop(cache);
    assert_eq!(names("keys"), ["disk_memoize::shown"]);
}
