//! The options of `#[memoize]`: each does what its line in the manual says.
#![cfg(feature = "macros")]
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod runs;

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use runs::Runs;
use scrubjay::{ManualClock, Policy, RemovalCause, memoize};

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

struct Client;

struct User {
    id: u64,
    name: String,
}

#[test]
fn ignored_arguments_are_not_in_the_key_and_need_no_traits() {
    static RUNS: Runs = Runs::new();
    struct Opaque(u32);

    #[memoize(ignore(client, opaque))]
    fn page(client: &Client, number: u32, opaque: Opaque) -> u32 {
        let (_, moved) = (client, opaque);
        RUNS.count();
        number + moved.0
    }

    assert_eq!(page(&Client, 1, Opaque(10)), 11);
    assert_eq!(page(&Client, 1, Opaque(20)), 11);
    assert_eq!(page(&Client, 2, Opaque(20)), 22);
    assert_eq!(RUNS.so_far(), 2);
    assert!(page::invalidate(&1));
}

#[test]
fn a_key_expression_takes_the_place_of_the_arguments() {
    static RUNS: Runs = Runs::new();

    #[memoize(key = (user.id, page))]
    fn pages(client: Client, user: &User, page: u32) -> String {
        let _moved = client;
        RUNS.count();
        format!("{} {page}", user.name)
    }

    let (ann, bob) = (
        User {
            id: 7,
            name: "ann".into(),
        },
        User {
            id: 7,
            name: "bob".into(),
        },
    );
    assert_eq!(pages(Client, &ann, 1), "ann 1");
    assert_eq!(pages(Client, &bob, 1), "ann 1");
    assert_eq!(pages(Client, &bob, 2), "bob 2");
    assert_eq!(RUNS.so_far(), 2);
    assert_eq!(pages::cache().len(), 2);
    assert!(pages::invalidate(&(7_u64, 2_u32)));
}

#[test]
fn a_key_expression_may_borrow_compute_and_use_floats() {
    #[memoize(key = user.name)]
    fn by_name(user: User) -> u64 {
        user.id
    }

    #[memoize(key = text.trim())]
    fn trimmed(text: &str) -> usize {
        text.trim().len()
    }

    #[memoize(key = (scale, text, text.len() + 1, [1.5_f32].len()))]
    fn mixed(scale: f64, text: &str) -> f64 {
        scale * text.len() as f64
    }

    let user = |name: &str| User {
        id: 1,
        name: name.into(),
    };
    assert_eq!(trimmed(" a "), 1);
    assert_eq!(trimmed("a"), 1);
    assert!(trimmed::invalidate(&String::from("a")));
    assert_eq!(mixed(0.5, "ab"), 1.0);
    assert_eq!(mixed(0.5, "ab"), 1.0);
    assert_eq!((trimmed::stats().hits, mixed::stats().hits), (1, 1));
    assert_eq!(by_name(user("ann")), 1);
    assert_eq!(by_name::cache().len(), 1);
}

impl Clone for User {
    fn clone(&self) -> Self {
        Self {
            id: self.id,
            name: self.name.clone(),
        }
    }
}

#[test]
fn an_invalidation_with_a_key_of_another_type_says_so() {
    #[memoize(key = n % 10)]
    fn digit(n: u64) -> u64 {
        n % 10
    }

    let panic = std::panic::catch_unwind(|| digit::invalidate(&"x")).unwrap_err();
    let message = panic.downcast_ref::<String>().unwrap();
    assert!(
        message.contains("which is `u64`, and was given `&str`"),
        "{message}"
    );
}

#[test]
fn a_key_expression_works_for_generic_and_local_functions() {
    #[memoize(key = value.to_string())]
    fn shown<T: std::fmt::Display + Clone>(value: T) -> usize {
        value.to_string().len()
    }

    #[memoize(local, key = n / 10)]
    fn tens(n: u32) -> std::rc::Rc<u32> {
        std::rc::Rc::new(n / 10)
    }

    assert_eq!((shown(12), shown("12"), shown(12)), (2, 2, 2));
    assert_eq!(
        (shown::<i32>::stats().hits, shown::<&str>::stats().hits),
        (1, 0)
    );
    assert_eq!((*tens(12), *tens(15)), (1, 1));
    assert!(tens::invalidate(&1_u32));
}

#[test]
fn a_call_that_when_refuses_is_neither_looked_up_nor_stored() {
    static RUNS: Runs = Runs::new();

    #[memoize(when = page < 100)]
    fn pages(page: u32) -> u32 {
        RUNS.count();
        page
    }

    assert_eq!(
        [pages(1), pages(1), pages(100), pages(100)],
        [1, 1, 100, 100]
    );
    assert_eq!((RUNS.so_far(), pages::cache().len()), (3, 1));
}

#[test]
fn a_key_is_not_computed_for_a_call_that_when_refuses() {
    #[memoize(when = !list.is_empty(), key = list[0])]
    fn head(list: &[u32]) -> Option<u32> {
        list.first().copied()
    }

    assert_eq!((head(&[]), head(&[4, 5])), (None, Some(4)));
    assert!(head::invalidate(&4_u32));
}

#[test]
fn tags_are_computed_on_a_miss_from_the_arguments() {
    static RUNS: Runs = Runs::new();

    fn tag(id: u64) -> String {
        RUNS.count();
        format!("user:{id}")
    }

    #[memoize(tags = [tag(user.id), "users"], key = user.id)]
    fn greeting(user: &User) -> String {
        format!("hello {}", user.name)
    }

    #[memoize(tags = names.iter().map(|name| name.as_str()))]
    fn joined(names: &[String]) -> String {
        names.join(" ")
    }

    let user = User {
        id: 7,
        name: "ann".into(),
    };
    greeting(&user);
    greeting(&user);
    assert_eq!(RUNS.so_far(), 1);
    assert_eq!(greeting::invalidate_tag("user:7"), 1);
    greeting(&user);
    assert_eq!(greeting::invalidate_tag("users"), 1);
    joined(&["a".to_owned(), "b".to_owned()]);
    assert_eq!(joined::invalidate_tag("b"), 1);
}

#[test]
fn a_weigher_is_given_what_is_in_ok_or_some() {
    #[memoize(capacity = 10, weigh = |_key, text| text.len() as u64, errors = "5s")]
    fn text(length: usize) -> Result<Arc<str>, &'static str> {
        if length == 0 {
            Err("nothing")
        } else {
            Ok("x".repeat(length).into())
        }
    }

    #[memoize(weigh = |key, length| u64::from(*key) + *length)]
    fn lengths(key: u32) -> Option<u64> {
        Some(u64::from(key))
    }

    #[memoize(weigh = |_, text| text.len() as u64)]
    fn plain(text: &str) -> String {
        text.to_owned()
    }

    text(4).unwrap();
    text(11).unwrap();
    text(0).unwrap_err();
    assert_eq!((text::cache().len(), text::cache().weight()), (2, 5));
    lengths(3);
    plain("four");
    assert_eq!((lengths::cache().weight(), plain::cache().weight()), (6, 4));
}

#[test]
fn store_if_keeps_what_it_refuses_out_of_the_cache() {
    #[memoize(store_if = |_key, value| value % 2 == 0)]
    fn number(n: u32) -> Result<u32, String> {
        Ok(n)
    }

    assert_eq!((number(1), number(2)), (Ok(1), Ok(2)));
    assert_eq!(number::cache().len(), 1);
}

#[test]
fn a_listener_hears_of_what_leaves() {
    static LEFT: Mutex<Vec<(u32, u64, RemovalCause)>> = Mutex::new(Vec::new());

    #[memoize(capacity = 1, policy = Fifo, on_removal = |key, value, cause| LEFT.lock().unwrap().push((*key, *value, cause)))]
    fn square(n: u32) -> Option<u64> {
        Some(u64::from(n) * u64::from(n))
    }

    (square(2), square(3)).1.unwrap();
    square::invalidate(&3);
    let expected = [
        (2, 4, RemovalCause::Evicted),
        (3, 9, RemovalCause::Explicit),
    ];
    assert_eq!(*LEFT.lock().unwrap(), expected);
}

#[test]
fn policies_are_named_with_or_without_their_path() {
    #[memoize(capacity = 1, policy = Lru)]
    fn short(n: u32) -> u32 {
        n
    }

    #[memoize(capacity = CAPACITY, policy = Policy::Fifo)]
    fn long(n: u32) -> u32 {
        n
    }
    const CAPACITY: u64 = 2;

    for n in 0..5 {
        assert_eq!((short(n), long(n)), (n, n));
    }
    assert_eq!((short::cache().len(), long::cache().len()), (1, 2));
}

static CLOCK: LazyLock<ManualClock> = LazyLock::new(ManualClock::new);

#[test]
fn results_live_as_long_as_ttl_says() {
    static RUNS: Runs = Runs::new();
    static CLOCK: LazyLock<ManualClock> = LazyLock::new(ManualClock::new);

    #[memoize(ttl = "1m30s", clock = CLOCK.clone())]
    fn now(n: u32) -> usize {
        let _ = n;
        RUNS.count()
    }

    assert_eq!((now(1), now(1)), (1, 1));
    CLOCK.advance(secs(90) - Duration::from_nanos(1));
    assert_eq!(now(1), 1);
    CLOCK.advance(Duration::from_nanos(1));
    assert_eq!(now(1), 2);
}

#[test]
fn results_live_while_they_are_used_if_idle_says_so() {
    static RUNS: Runs = Runs::new();
    static CLOCK: LazyLock<ManualClock> = LazyLock::new(ManualClock::new);

    #[memoize(idle = secs(10), jitter = 0.0, clock = CLOCK.clone())]
    fn now() -> usize {
        RUNS.count()
    }

    for _ in 0..3 {
        assert_eq!(now(), 1);
        CLOCK.advance(secs(9));
    }
    CLOCK.advance(secs(1));
    assert_eq!(now(), 2);
}

type Answer<T> = std::result::Result<T, Down>;

#[derive(Clone, Debug, PartialEq)]
struct Down(usize);

#[test]
fn errors_are_not_stored() {
    static RUNS: Runs = Runs::new();

    #[memoize]
    fn ask(n: u32) -> Answer<u32> {
        match RUNS.count() {
            run @ 1..=2 => Err(Down(run)),
            _ => Ok(n),
        }
    }

    assert_eq!(
        (ask(1), ask(1), ask(1), ask(1)),
        (Err(Down(1)), Err(Down(2)), Ok(1), Ok(1))
    );
    assert_eq!((RUNS.so_far(), ask::stats().load_failures), (3, 2));
}

#[test]
fn errors_are_remembered_as_long_as_errors_says() {
    static RUNS: Runs = Runs::new();
    static CLOCK: LazyLock<ManualClock> = LazyLock::new(ManualClock::new);

    #[memoize(errors = "5s", clock = CLOCK.clone())]
    fn ask() -> Answer<u32> {
        Err(Down(RUNS.count()))
    }

    assert_eq!((ask(), ask()), (Err(Down(1)), Err(Down(1))));
    CLOCK.advance(secs(5));
    assert_eq!(ask(), Err(Down(2)));
}

#[test]
fn none_is_not_stored_unless_none_says_so() {
    static RUNS: Runs = Runs::new();

    type Maybe = Option<u32>;

    #[memoize]
    fn forgotten(n: u32) -> Maybe {
        (RUNS.count() > 1).then_some(n)
    }

    #[memoize(none = "5s", clock = CLOCK.clone())]
    fn remembered(n: u32) -> Maybe {
        RUNS.count();
        (n > 9).then_some(n)
    }

    assert_eq!(
        (forgotten(1), forgotten(1), forgotten(1)),
        (None, Some(1), Some(1))
    );
    assert_eq!((remembered(1), remembered(1)), (None, None));
    assert_eq!(RUNS.so_far(), 3);
    CLOCK.advance(secs(5));
    assert_eq!(remembered(1), None);
    assert_eq!(RUNS.so_far(), 4);
}

#[test]
fn an_error_need_not_be_clone() {
    use std::path::Path;

    static RUNS: Runs = Runs::new();

    #[memoize]
    fn read(path: &Path) -> std::io::Result<String> {
        RUNS.count();
        std::fs::read_to_string(path)
    }

    let there = Path::new(env!("CARGO_MANIFEST_PATH"));
    assert!(read(there).unwrap().contains("scrubjay"));
    assert!(read(there).is_ok());
    let missing = Path::new("/no/such/file");
    assert_eq!(
        read(missing).unwrap_err().kind(),
        std::io::ErrorKind::NotFound
    );
    assert!(read(missing).is_err());
    assert_eq!((RUNS.so_far(), read::cache().len()), (3, 1));
}

#[test]
fn an_error_that_is_not_clone_is_nobody_elses() {
    static RUNS: Runs = Runs::new();

    #[memoize]
    fn fails(n: u32) -> std::io::Result<u32> {
        RUNS.count();
        std::thread::yield_now();
        Err(std::io::Error::other(n.to_string()))
    }

    let start = std::sync::Barrier::new(4);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                start.wait();
                assert_eq!(fails(7).unwrap_err().to_string(), "7");
            });
        }
    });
    assert_eq!(RUNS.so_far(), 4);
}

#[test]
fn an_ignored_argument_is_moved_unless_something_else_mentions_it() {
    struct Unique(u32);

    #[memoize(ignore(c), tags = ["cats and c", format!("{n}")])]
    fn consumed(c: Unique, n: u32) -> u32 {
        c.0 + n
    }

    assert_eq!(consumed(Unique(1), 2), 3);
    assert_eq!(consumed::invalidate_tag("2"), 1);
}

#[test]
fn a_stale_result_stands_in_for_a_failed_load() {
    static RUNS: Runs = Runs::new();
    static CLOCK: LazyLock<ManualClock> = LazyLock::new(ManualClock::new);

    #[memoize(ttl = "10s", stale_if_error = "1h", clock = CLOCK.clone())]
    fn ask() -> Answer<usize> {
        match RUNS.count() {
            1 => Ok(1),
            run => Err(Down(run)),
        }
    }

    assert_eq!(ask(), Ok(1));
    CLOCK.advance(secs(10));
    assert_eq!(ask(), Ok(1));
    CLOCK.advance(secs(3_600));
    assert_eq!(ask(), Err(Down(3)));
}

/// Tells a test that a function ran, and on what thread.
struct Bell(Mutex<Option<Sender<String>>>);

impl Bell {
    const fn new() -> Self {
        Self(Mutex::new(None))
    }

    fn listen(&self) -> Receiver<String> {
        let (sender, receiver) = channel();
        *self.0.lock().unwrap() = Some(sender);
        receiver
    }

    fn ring(&self) {
        if let Some(sender) = &*self.0.lock().unwrap() {
            let thread = std::thread::current();
            sender
                .send(thread.name().unwrap_or("unnamed").to_owned())
                .unwrap();
        }
    }
}

#[test]
fn a_stale_result_is_refreshed_in_the_background_with_the_same_arguments() {
    static BELL: Bell = Bell::new();
    static CLOCK: LazyLock<ManualClock> = LazyLock::new(ManualClock::new);

    #[memoize(ttl = "10s", stale_while_refresh = "1m", tags = [text], clock = CLOCK.clone())]
    fn joined<'a>(text: &'a str, (a, b): (u32, String), x: &f64) -> Answer<String>
    where
        'a: 'a,
    {
        BELL.ring();
        Ok(format!("{text} {a} {b} {x} {:?}", CLOCK.clone())
            .chars()
            .take(9)
            .collect())
    }

    let call = || joined("x", (1, "y".into()), &0.5).unwrap();
    assert_eq!(call(), "x 1 y 0.5");
    CLOCK.advance(secs(10));
    let bell = BELL.listen();
    assert_eq!(call(), "x 1 y 0.5");
    assert_eq!(bell.recv().unwrap(), "scrubjay-refresh");
    let key = ("x".to_owned(), (1, "y".to_owned()), scrubjay::Bits(0.5));
    while joined::cache().get(&key).is_none() {
        std::thread::yield_now();
    }
    assert_eq!(joined::invalidate_tag("x"), 1);
}

#[test]
fn a_refresh_that_fails_leaves_the_stale_result() {
    static RUNS: Runs = Runs::new();
    static CLOCK: LazyLock<ManualClock> = LazyLock::new(ManualClock::new);

    #[memoize(ttl = "10s", stale_while_refresh = "1m", clock = CLOCK.clone())]
    fn once() -> std::io::Result<usize> {
        match RUNS.count() {
            1 => Ok(1),
            _ => Err(std::io::ErrorKind::TimedOut.into()),
        }
    }

    assert_eq!(once().unwrap(), 1);
    CLOCK.advance(secs(10));
    assert_eq!(once().unwrap(), 1);
    while once::stats().load_failures == 0 {
        std::thread::yield_now();
    }
    assert_eq!(once().unwrap(), 1);
    CLOCK.advance(secs(60));
    assert_eq!(once().unwrap_err().kind(), std::io::ErrorKind::TimedOut);
}

#[test]
fn a_result_that_is_due_is_refreshed_inline_if_arguments_are_not_in_the_key() {
    static BELL: Bell = Bell::new();
    static CLOCK: LazyLock<ManualClock> = LazyLock::new(ManualClock::new);

    #[memoize(ignore(offset), refresh = "5s", ttl = "10s", clock = CLOCK.clone())]
    fn sum(n: u32, offset: u32) -> u32 {
        BELL.ring();
        n + offset
    }

    assert_eq!(sum(1, 1), 2);
    let bell = BELL.listen();
    CLOCK.advance(secs(5));
    assert_eq!(sum(1, 2), 3);
    assert_ne!(bell.recv().unwrap(), "scrubjay-refresh");
}

#[test]
fn a_waiter_takes_over_after_the_timeout() {
    #[memoize(timeout = "1ms", share_errors = false, version = 2)]
    fn slow(n: u32) -> u32 {
        if n == 1
            && !std::thread::current()
                .name()
                .unwrap_or("")
                .starts_with("other")
        {
            let other = std::thread::Builder::new().name("other".into());
            assert_eq!(other.spawn(|| slow(1)).unwrap().join().unwrap(), 2);
            return 1;
        }
        2
    }

    assert_eq!((slow(1), slow(1)), (1, 2));
}

#[test]
fn a_name_is_shown_in_messages_and_traces() {
    #[memoize(name = "users")]
    fn load(n: u32) -> u32 {
        n
    }

    let trace = scrubjay::trace(|| load(1));
    assert_eq!(load::cache().name(), "users");
    assert_eq!(trace.calls()[0].function, "users");
}

#[test]
fn options_that_make_no_sense_panic_at_the_first_call_with_the_functions_name() {
    #[memoize(jitter = f64::NAN)]
    fn nonsense(n: u32) -> u32 {
        n
    }

    let panic = std::panic::catch_unwind(|| nonsense(1)).unwrap_err();
    let message = panic.downcast_ref::<String>().unwrap();
    assert!(
        message.starts_with("scrubjay: the cache of `nonsense`: jitter is NaN"),
        "{message}"
    );
}

#[test]
fn every_method_of_the_handle_reaches_the_cache() {
    #[memoize(tags = ["all"])]
    fn square(n: u32) -> u32 {
        n * n
    }

    let fill = || (0..10).map(square).sum::<u32>();
    assert_eq!(fill(), 285);
    assert_eq!(
        square::invalidate_if(|n, square| n % 2 == 0 && *square > 10),
        3
    );
    assert_eq!((fill(), square::invalidate_tag("all")), (285, 10));
    fill();
    square::clear();
    assert!(square::cache().is_empty());
    assert_eq!(square::stats().loads, 23);
}
