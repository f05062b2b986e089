//! `#[memoize]` on functions: what is remembered, by which key, and what the body and the caller see.
#![cfg(feature = "macros")]
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod runs;

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::{Arc, Barrier};
use std::thread;

use runs::Runs;
use scrubjay::{Bits, memoize};

#[test]
fn a_function_runs_once_per_argument() {
    static RUNS: Runs = Runs::new();

    #[memoize]
    fn square(n: u64) -> u64 {
        RUNS.count();
        n * n
    }

    assert_eq!([square(3), square(3), square(4)], [9, 9, 16]);
    assert_eq!(RUNS.so_far(), 2);
}

#[test]
fn eight_threads_run_a_function_once_per_key() {
    static RUNS: Runs = Runs::new();

    #[memoize]
    fn slow(key: u32) -> u32 {
        RUNS.count();
        thread::yield_now();
        key + 1
    }

    let start = Barrier::new(8);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                start.wait();
                for key in 0..100 {
                    assert_eq!(slow(key), key + 1);
                }
            });
        }
    });
    assert_eq!(RUNS.so_far(), 100);
}

#[test]
fn a_recursive_function_is_linear() {
    static RUNS: Runs = Runs::new();

    #[memoize]
    fn fib(n: u64) -> u64 {
        RUNS.count();
        if n < 2 { n } else { fib(n - 1) + fib(n - 2) }
    }

    assert_eq!(fib(90), 2_880_067_194_370_816_120);
    assert_eq!(RUNS.so_far(), 91);
}

#[test]
fn functions_may_call_each_other() {
    #[memoize]
    fn is_even(n: u32) -> bool {
        n == 0 || is_odd(n - 1)
    }

    #[memoize]
    fn is_odd(n: u32) -> bool {
        n != 0 && is_even(n - 1)
    }

    assert!(is_even(100) && !is_odd(100));
    assert_eq!(is_even::cache().len() + is_odd::cache().len(), 202);
}

#[test]
fn a_function_that_needs_its_own_result_gets_a_panic_that_names_the_cycle() {
    #[memoize]
    fn ping(n: u32, name: &str) -> u32 {
        ping((n + 1) % 3, name)
    }

    let panic = thread::spawn(|| ping(0, "x")).join().unwrap_err();
    let message = panic.downcast_ref::<String>().unwrap();
    let cycle = r#"ping(0, "x") → ping(1, "x") → ping(2, "x") → ping(0, "x")"#;
    assert!(message.contains(cycle), "{message}");
}

#[test]
fn a_cycle_through_inherited_threads_is_named() {
    #[memoize]
    fn spawning(n: u32) -> u32 {
        let again = scrubjay::inherit(move || spawning(n));
        match thread::spawn(again).join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }

    let panic = thread::spawn(|| spawning(7)).join().unwrap_err();
    assert!(
        panic
            .downcast_ref::<String>()
            .unwrap()
            .contains("spawning(7)")
    );
}

#[test]
fn a_panic_is_the_callers_and_the_next_call_runs_again() {
    static RUNS: Runs = Runs::new();

    #[memoize]
    fn second_time_lucky(n: u32) -> u32 {
        assert!(RUNS.count() > 1, "not yet");
        n
    }

    assert!(thread::spawn(|| second_time_lucky(1)).join().is_err());
    assert_eq!(second_time_lucky(1), 1);
    assert_eq!(second_time_lucky(1), 1);
    assert_eq!(RUNS.so_far(), 2);
}

#[test]
fn a_function_without_arguments_runs_once() {
    static RUNS: Runs = Runs::new();

    #[memoize]
    fn answer() -> u32 {
        RUNS.count();
        42
    }

    assert_eq!(answer() + answer(), 84);
    assert_eq!(RUNS.so_far(), 1);
    assert!(answer::invalidate(&()));
}

#[test]
fn a_function_may_return_nothing() {
    static RUNS: Runs = Runs::new();

    #[memoize]
    fn once_for(_name: &str) {
        RUNS.count();
    }

    once_for("a");
    once_for("a");
    once_for("b");
    assert_eq!(RUNS.so_far(), 2);
}

#[test]
fn borrowed_arguments_are_keys_by_what_they_borrow() {
    #[memoize]
    fn measure(text: &str, items: &[u32], path: &Path, number: &u64, twice: &&str) -> usize {
        text.len() + items.len() + path.as_os_str().len() + *number as usize + twice.len()
    }

    assert_eq!(measure("abc", &[1, 2], Path::new("/x"), &4, &"zz"), 13);
    let (text, items) = (String::from("abc"), vec![1, 2]);
    assert_eq!(
        measure(
            &text,
            &items,
            &PathBuf::from("/x"),
            &4,
            &&*String::from("zz")
        ),
        13
    );
    assert_eq!(measure::stats().hits, 1);
    let key = (text, items, PathBuf::from("/x"), 4, String::from("zz"));
    assert!(measure::invalidate(&key));
}

#[test]
fn one_borrowed_argument_is_asked_for_in_its_borrowed_form() {
    #[memoize]
    fn length(text: &str) -> usize {
        text.len()
    }

    assert_eq!(length("four"), 4);
    assert_eq!(length::cache().get("four"), Some(4));
    assert!(length::invalidate("four"));
    assert!(!length::invalidate("four"));
}

#[test]
fn named_and_static_lifetimes_are_fine() {
    #[memoize]
    fn longer<'a, 'b: 'a>(one: &'a str, other: &'b str) -> Cow<'static, str> {
        Cow::Owned(if one.len() < other.len() { other } else { one }.to_owned())
    }

    #[memoize]
    fn name(code: &'static str) -> &'static str {
        code
    }

    assert_eq!(longer("a", "bb"), "bb");
    assert_eq!(name("x"), "x");
}

#[test]
fn a_body_may_move_and_change_its_arguments() {
    #[memoize]
    fn grown(mut text: String, mut by: &str, items: Vec<u8>) -> (String, usize) {
        if by.is_empty() {
            by = "nothing";
        }
        text.push_str(by);
        (text, items.into_iter().map(usize::from).sum())
    }

    for _ in 0..2 {
        assert_eq!(grown("a".into(), "b", vec![1]), ("ab".to_owned(), 1));
        assert_eq!(grown("a".into(), "", vec![]), ("anothing".to_owned(), 0));
    }
    assert_eq!(grown::stats().hits, 2);
}

struct Point {
    x: u32,
    y: u32,
}

#[test]
fn arguments_may_be_destructured() {
    #[memoize]
    fn sum((a, b): (u32, u32), [c, mut d]: [u32; 2], &e: &u32, _: u8) -> u32 {
        d += 1;
        a + b + c + d + e
    }

    assert_eq!(sum((1, 2), [3, 4], &5, 6), 16);
    assert_eq!(sum((1, 2), [3, 4], &5, 6), 16);
    assert_eq!(sum::stats().hits, 1);
    assert!(sum::invalidate(&((1, 2), [3, 4], 5, 6)));

    #[memoize(key = x + y, when = *x < 100)]
    fn manhattan(Point { x, y }: &Point) -> u32 {
        x + y
    }

    assert_eq!(manhattan(&Point { x: 1, y: 2 }), 3);
    assert_eq!(manhattan(&Point { x: 2, y: 1 }), 3);
    assert_eq!(manhattan::stats().hits, 1);
}

#[test]
fn names_of_the_body_and_of_the_wrapper_do_not_meet() {
    #[memoize]
    #[allow(
        clippy::too_many_arguments,
        reason = "as many names as the wrapper might use"
    )]
    fn hygiene(
        key: u32,
        cache: u32,
        value: u32,
        __cache: u32,
        __site: u32,
        __load: u32,
        __asked: u32,
        load: u32,
        site: u32,
        __arg0: u32,
    ) -> u32 {
        key + cache + value + __cache + __site + __load + __asked + load + site + __arg0
    }

    assert_eq!(hygiene(1, 2, 3, 4, 5, 6, 7, 8, 9, 10), 55);
    assert_eq!(hygiene(1, 2, 3, 4, 5, 6, 7, 8, 9, 10), 55);
    assert_eq!(hygiene::stats().hits, 1);
}

#[test]
fn the_prelude_may_be_shadowed() {
    #![allow(dead_code, reason = "they are there to be in the way")]
    #![allow(non_camel_case_types, reason = "as above")]
    struct Option;
    struct Vec;
    struct String;
    struct Clone;
    struct Box;
    #[derive(Clone, PartialEq, Debug, Hash, Eq)]
    struct Result(u32);
    mod std {}
    mod core {}

    #[memoize(ttl = "1h", tags = ["x"], name = "shadowed")]
    fn shadowed(n: u32) -> Result {
        Result(n)
    }

    assert_eq!(shadowed(1), Result(1));
    assert_eq!(shadowed::invalidate_tag("x"), 1);
}

#[test]
fn attributes_and_documentation_are_kept() {
    /// Doubles.
    #[memoize]
    #[must_use]
    #[inline]
    #[cfg(not(any()))]
    #[deprecated = "for the test"]
    #[doc(alias = "twice")]
    fn double(n: u32) -> u32 {
        n * 2
    }

    #[memoize]
    #[cfg(any())]
    fn absent(n: NoSuchType) -> u32 {
        n
    }

    #[allow(deprecated, reason = "this is what is tested")]
    let four = double(2);
    assert_eq!(four, 4);
}

#[test]
fn a_generic_function_has_a_cache_for_each_instance() {
    #[memoize]
    fn shown<T>(value: &T) -> String
    where
        T: std::fmt::Debug + std::hash::Hash + Eq + Clone + Send + Sync + 'static,
    {
        format!("{value:?}")
    }

    assert_eq!(
        (shown(&1_u8), shown(&1_u16), shown(&"1")),
        ("1".into(), "1".into(), "\"1\"".into())
    );
    assert_eq!(shown(&1_u16), "1");
    assert_eq!(shown::<u16>::stats().hits, 1);
    assert_eq!(shown::<u8>::cache().len(), 1);
    assert!(shown::<&str>::invalidate(&"1"));
}

#[test]
fn instances_are_told_apart_by_parameters_that_are_not_in_the_key() {
    #[memoize]
    fn size<T>() -> usize {
        size_of::<T>()
    }

    #[memoize]
    fn filled<const N: usize>(byte: u8) -> Vec<u8> {
        vec![byte; N]
    }

    assert_eq!(
        [size::<u8>(), size::<u64>(), size::<u8>(), size::<Rc<u8>>()],
        [1, 8, 1, 8]
    );
    assert_eq!(
        (filled::<1>(7), filled::<2>(7), filled::<1>(7)),
        (vec![7], vec![7, 7], vec![7])
    );
    assert_eq!(filled::<1>::stats().hits, 1);
}

#[test]
fn functions_in_functions_may_use_local_types() {
    #[derive(Clone, PartialEq, Eq, Hash, Debug)]
    struct Local(u32);

    #[memoize]
    fn next(local: &Local) -> Local {
        Local(local.0 + 1)
    }

    assert_eq!(next(&Local(1)), Local(2));
    assert_eq!(next::cache().get(&Local(1)), Some(Local(2)));
}

#[test]
fn floats_are_keys_by_their_bits() {
    static RUNS: Runs = Runs::new();

    #[memoize]
    fn sign(x: f64, y: &f32) -> bool {
        RUNS.count();
        x.is_sign_negative() == y.is_sign_negative()
    }

    assert!(sign(0.0, &0.0));
    assert!(!sign(-0.0, &0.0));
    assert!(sign(f64::NAN, &1.0));
    assert!(sign(f64::NAN, &1.0));
    assert_eq!(RUNS.so_far(), 3);
    assert!(sign::invalidate(&(Bits(-0.0), Bits(0.0))));
    assert!(sign::invalidate(&(f64::NAN.into(), 1.0.into())));
}

#[test]
fn a_function_may_take_and_return_all_sorts_of_types() {
    type Table = HashMap<String, Vec<u32>>;

    #[memoize]
    fn table(names: Vec<String>, pair: (u8, &'static str), apply: fn(&str) -> usize) -> Arc<Table> {
        let row = |name: String| (name.clone(), vec![u32::from(pair.0); apply(&name)]);
        Arc::new(names.into_iter().map(row).collect())
    }

    let first = table(vec!["ab".into()], (1, "x"), str::len);
    assert_eq!(first["ab"], [1, 1]);
    assert!(Arc::ptr_eq(
        &first,
        &table(vec!["ab".into()], (1, "x"), str::len)
    ));
}

#[test]
fn a_local_function_has_a_cache_on_every_thread() {
    static RUNS: Runs = Runs::new();

    #[memoize(local, capacity = 10)]
    fn shared(n: u32) -> Rc<u32> {
        RUNS.count();
        Rc::new(n)
    }

    assert!(Rc::ptr_eq(&shared(1), &shared(1)));
    thread::spawn(|| assert_eq!(*shared(1), 1)).join().unwrap();
    assert_eq!(RUNS.so_far(), 2);
    assert_eq!(shared::cache().len(), 1);
    assert!(shared::invalidate(&1));
}

#[test]
fn a_local_generic_function_tells_its_instances_apart() {
    #[memoize(local)]
    fn wrapped<T: Clone + std::hash::Hash + Eq + 'static>(value: T) -> Rc<T> {
        Rc::new(value)
    }

    assert_eq!((*wrapped(1_u8), *wrapped(2_u16), *wrapped(1_u8)), (1, 2, 1));
    assert_eq!(wrapped::<u8>::stats().hits, 1);
}

mod visibility {
    use scrubjay::memoize;

    #[memoize]
    pub(super) fn half(n: u32) -> u32 {
        n / 2
    }
}

#[test]
fn the_handle_is_as_visible_as_the_function() {
    assert_eq!(visibility::half(4), 2);
    assert_eq!(visibility::half::cache().len(), 1);
}

#[test]
fn raw_names_are_fine() {
    #[memoize]
    fn r#type(r#match: u32) -> u32 {
        r#match
    }

    assert_eq!(r#type(1), 1);
    assert_eq!(r#type::cache().name(), "type");
}

#[test]
fn a_body_may_return_early_and_use_the_question_mark() {
    #[memoize]
    fn parsed(text: &str) -> Result<i32, std::num::ParseIntError> {
        if text.is_empty() {
            return Ok(0);
        }
        let number: i32 = text.parse()?;
        Ok(number)
    }

    assert_eq!((parsed(""), parsed("7")), (Ok(0), Ok(7)));
    assert!(parsed("x").is_err());
    assert_eq!(parsed::cache().len(), 2);
}

macro_rules! memoized_by_macro {
    ($name:ident, $argument:ident: $type:ty, $body:expr) => {
        #[memoize]
        fn $name($argument: $type) -> $type {
            $body
        }
    };
}

memoized_by_macro!(tripled, n: u64, n * 3);
memoized_by_macro!(tripled_float, x: f64, x * 3.0);

#[test]
fn functions_made_by_macros_can_be_memoized() {
    assert_eq!((tripled(2), tripled(2)), (6, 6));
    assert_eq!(tripled_float(0.5), 1.5);
    assert_eq!(tripled::stats().hits, 1);
}

#[test]
fn a_trace_shows_the_calls_of_memoized_functions() {
    use scrubjay::trace::Outcome;

    #[derive(Clone, PartialEq, Eq, Hash)]
    struct Secret;

    #[memoize(ignore(token), when = n != 7)]
    fn guarded(n: u32, text: &str, secret: Secret, token: &str) -> Secret {
        let _ = (n, text, token);
        secret
    }

    let trace = scrubjay::trace(|| {
        guarded(1, "a", Secret, "hunter2");
        guarded(1, "a", Secret, "other");
        guarded(7, "a", Secret, "other");
    });
    let calls = trace.calls();
    assert_eq!(calls[0].args, r#"1, "a", …"#);
    assert_eq!(calls[0].result, None);
    let outcomes: Vec<Outcome> = calls.iter().map(|call| call.outcome).collect();
    assert_eq!(outcomes, [Outcome::Miss, Outcome::Hit, Outcome::Bypass]);
    assert!(!trace.to_json().contains("hunter2"));
}
