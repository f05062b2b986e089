//! The `#[memoize]` attribute of the `scrubjay` crate, which re-exports it; the manual is at [`macro@memoize`].
//!
//! A call is read in four steps: `options` (what was written), `function` (what it stands on), `validate` (whether
//! the two make sense) and `expand` (the memoized function). Invariant: whatever is wrong is a compile error at the
//! tokens that are wrong, and the function itself stays in the program.

use proc_macro::TokenStream;
use syn::ItemFn;

mod expand;
mod function;
mod options;
mod validate;

use function::Function;
use options::Options;

/// Memoizes a function: it runs once per key, and every other call is answered with what it returned.
///
/// ```
/// use scrubjay::memoize;
///
/// #[memoize]
/// fn fib(n: u64) -> u64 {
///     if n < 2 { n } else { fib(n - 1) + fib(n - 2) }
/// }
///
/// assert_eq!(fib(90), 2_880_067_194_370_816_120);
/// assert_eq!(fib::stats().loads, 91);
/// ```
///
/// Without options a function remembers everything for as long as the process lives. It may be called from any
/// number of threads and tasks: those that call with one key at the same time share one run. The function keeps its
/// signature, attributes and documentation. What it returns must be `Clone`, because every call but one gets a
/// clone; return an [`Arc`](std::sync::Arc) of what is expensive to clone.
///
/// # What is the key
///
/// All arguments, in their owned form: of one argument its own type, of several a tuple, of none `()`. They need
/// [`Hash`], [`Eq`] and [`Clone`]. Keys are compared by `Eq`, never only hashed.
///
/// - `ignore(client, verbose)` leaves arguments out. They need none of these traits, and they are not shown in
///   traces. Calls that differ only in them share a result.
/// - `key = EXPR` takes the place of all arguments: an expression over their names, most often a tuple of up to 12
///   parts. A part that is a reference is kept in its owned form. Arguments taken by value that it mentions must be
///   `Clone`.
/// - `f32` and `f64` arguments are compared by their bits (`scrubjay::Bits`), so a NaN is found again, and `0.0` and
///   `-0.0` are two keys. Inside other types, or through an alias, floats have no `Hash` and need `key = …`.
/// - `when = EXPR` decides about a call: where it is false the function just runs, and nothing is looked up or stored.
///
/// ```
/// use scrubjay::{Bits, memoize};
///
/// struct Client;
/// struct User { id: u64, name: String }
///
/// #[memoize(ignore(client))]
/// fn rate(client: &Client, currency: &str, amount: f64) -> f64 {
///     let _ = client;
///     amount * currency.len() as f64
/// }
///
/// #[memoize(key = (user.id, page), when = page < 100)]
/// fn title(user: &User, page: u32) -> String {
///     format!("{}, page {page}", user.name)
/// }
///
/// rate(&Client, "EUR", 2.0);
/// assert!(rate::invalidate(&("EUR".to_owned(), Bits(2.0))));
///
/// let ann = User { id: 7, name: "Ann".to_owned() };
/// assert_eq!((title(&ann, 1), title(&ann, 100)), ("Ann, page 1".to_owned(), "Ann, page 100".to_owned()));
/// assert_eq!(title::cache().len(), 1);
/// ```
///
/// # Borrowed arguments
///
/// A hit clones no argument and allocates nothing: keys are asked for by reference, and only a call that runs the
/// function makes one. A `&str` is kept as a `String`, a `&[T]` as a `Vec<T>`, a `&Path` as a `PathBuf`, and any
/// other `&T` as a `T` ([`ToOwned`]). An argument that is taken by value is cloned when the function runs: once into
/// the key and once for the body, so that the body may move it. Types that borrow inside (`Option<&str>`,
/// `Cow<'_, str>`) cannot be kept; use `key = …`.
///
/// ```
/// use scrubjay::memoize;
///
/// #[memoize]
/// fn words(text: &str) -> usize {
///     text.split_whitespace().count()
/// }
///
/// assert_eq!(words("a stitch in time"), 4);
/// assert!(words::cache().contains_key("a stitch in time"));
/// ```
///
/// # Results and options
///
/// An `Err` or a `None` is a failure: it is returned and, unless asked for, not stored. What the function returns
/// is told by its type and not by its name, so aliases of `Result` are fine. (A bare type parameter is never taken
/// for a failure.)
///
/// - Callers that waited for a run that failed share its error, or, with `share_errors = false`, run in turn. An
///   error that is not `Clone` is not shared: they run in turn.
/// - `errors = "5s"` remembers an `Err`, which must then be `Clone`, for five seconds; `none = "5s"` does it for
///   `None`.
/// - `stale_if_error = "1h"` answers with an expired result, up to an hour old, where the run fails.
/// - `weigh`, `store_if` and `on_removal` are given what is in `Ok` or `Some`, and are not asked about failures.
///
/// ```
/// use scrubjay::memoize;
/// use std::path::Path;
///
/// #[memoize(capacity = 1 << 20, weigh = |_path, text| text.len() as u64)]
/// fn read(path: &Path) -> std::io::Result<String> {
///     std::fs::read_to_string(path)
/// }
///
/// assert!(read(Path::new("/no/such/file")).is_err());
/// assert!(read::cache().is_empty());
/// ```
///
/// # Methods
///
/// `self` is part of the key, like any argument, unless it is ignored. Beside a method stands a function that
/// returns its cache, `Type::name_cache()`, as visible as the method.
///
/// A macro cannot see what surrounds a function. A method in a trait, or in the `impl` of a trait, must say
/// `in_trait`: there is no room for a function beside it, so its cache cannot be reached. A function without `self`
/// that stands in an `impl` and does not mention `Self` must say `in_impl`.
///
/// ```
/// use scrubjay::memoize;
///
/// #[derive(Clone, PartialEq, Eq, Hash)]
/// struct Grid { width: u32, cells: Vec<u8> }
///
/// impl Grid {
///     #[memoize]
///     fn row(&self, row: u32) -> u32 {
///         let start = (row * self.width) as usize;
///         self.cells[start..].iter().take(self.width as usize).map(|cell| u32::from(*cell)).sum()
///     }
///
///     #[memoize(in_impl)]
///     fn side(area: u32) -> u32 {
///         area.isqrt()
///     }
/// }
///
/// trait Scale {
///     fn scale(&self, by: u32) -> Vec<u32>;
/// }
///
/// impl Scale for Grid {
///     #[memoize(in_trait)]
///     fn scale(&self, by: u32) -> Vec<u32> {
///         self.cells.iter().map(|cell| u32::from(*cell) * by).collect()
///     }
/// }
///
/// let grid = Grid { width: 2, cells: vec![1, 2, 3, 4] };
/// assert_eq!((grid.row(1), grid.scale(2), Grid::side(9)), (7, vec![2, 4, 6, 8], 3));
/// assert_eq!(Grid::row_cache().len(), 1);
/// ```
///
/// # Generics
///
/// Every instance of a generic function, and of a method of a generic type, has a cache of its own, also where the
/// type is not in the key. Types that are in the key or in what is returned need `Send`, `Sync` and `'static` (and
/// `Hash`, `Eq`, `Clone`); write these bounds at the function. Finding the cache takes time in proportion to the
/// number of instances; the first one that is used is the fastest.
///
/// ```
/// use scrubjay::memoize;
/// use std::hash::Hash;
///
/// #[memoize]
/// fn sorted<T: Ord + Hash + Clone + Send + Sync + 'static>(items: &[T]) -> Vec<T> {
///     let mut items = items.to_vec();
///     items.sort();
///     items
/// }
///
/// assert_eq!((sorted(&[2, 1]), sorted(&["b", "a"])), (vec![1, 2], vec!["a", "b"]));
/// assert_eq!(sorted::<&str>::cache().len(), 1);
/// ```
///
/// # Async
///
/// An `async fn` stays one. Callers wait without blocking their thread, whatever the runtime. If the future that
/// runs the function is dropped, one of those who wait runs it instead. The future is `Send` if the body's is and
/// the arguments in the key are `Sync`.
///
/// ```
/// use scrubjay::memoize;
///
/// #[memoize(ttl = "5m")]
/// async fn length(url: &str) -> usize {
///     url.len()
/// }
///
/// # use std::{pin::pin, task::{Context, Poll, Waker}};
/// # let mut future = pin!(length("https://example.com"));
/// # let Poll::Ready(length) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) else { panic!() };
/// # /*
/// let length = length("https://example.com").await;
/// # */
/// assert_eq!(length, 19);
/// ```
///
/// # Options
///
/// Times are texts (`"500ms"`, `"5s"`, `"1h30m"`, `"1d"`) or expressions of type `Duration`. Everything to the right
/// of an `=` may be an expression; it is evaluated when the function is first called, but for `key`, `when` and
/// `tags`, which are about a call and may use its arguments.
///
/// | option | what it does | default |
/// |---|---|---|
/// | `key = EXPR` | the key of a call, in the place of all arguments | all arguments |
/// | `ignore(a, b)` | arguments that are not in the key | none |
/// | `when = EXPR` | whether a call is memoized at all | `true` |
/// | `capacity = N` | the most results, or with `weigh` their most weight | unbounded |
/// | `weigh = \|key, value\| EXPR` | the weight of a result, a `u64` | 1 each |
/// | `policy = Adaptive` | who leaves when the capacity is exceeded: `Adaptive`, `Lru`, `Fifo` | `Adaptive` |
/// | `ttl = "5m"` | the life of a result | endless |
/// | `idle = "1m"` | the most time without a hit | endless |
/// | `jitter = 0.1` | shortens lives by a random part, so that results do not expire together | 0 |
/// | `refresh = "4m"` | runs the function again for a result of this age, before it expires | never |
/// | `stale_while_refresh = "1m"` | serves an expired result for this long while one caller refreshes it | zero |
/// | `stale_if_error = "1h"` | serves an expired result for this long if the function fails | zero |
/// | `errors = "5s"` | remembers an `Err` | not at all |
/// | `none = "5s"` | remembers a `None` | not at all |
/// | `share_errors = false` | lets those who waited for a failure run in turn | `true` |
/// | `store_if = \|key, value\| EXPR` | whether a result is stored | always |
/// | `timeout = "10s"` | how long to wait for another caller's run before running oneself | endless |
/// | `tags = [EXPR, …]` | labels for `invalidate_tag`, computed when the function runs | none |
/// | `on_removal = \|key, value, cause\| …` | is told of results that leave | nobody |
/// | `clock = EXPR` | where the time comes from, for tests a `ManualClock` | the system's |
/// | `name = "users"` | the name in messages and traces | the function's |
/// | `disk = "app"` | keeps results in a folder too, which processes share; needs the feature `disk`, see [On disk](#on-disk) | in memory only |
/// | `version = 2` | stands in for the function's code in its identity on disk | its code |
/// | `code = "off"` | results on disk outlive changes of the function's code | they do not |
/// | `local` | a cache for every thread, for what is not `Send` and `Sync`; not for async functions | shared |
/// | `in_impl`, `in_trait` | where the function stands, see [Methods](#methods) | found out |
///
/// # On disk
///
/// `disk = "app"` is the folder `scrubjay/app` in the user's folder of caches (`$XDG_CACHE_HOME` or `~/.cache`); a text
/// with a slash is a path. Arguments in the key and results must be serde types that borrow nothing; of a `Result`,
/// what is in `Ok`. Floats are stored by their bits. Methods, traits' methods, generic and async functions can have it
/// too; type parameters need the bounds `serde::Serialize + serde::de::DeserializeOwned`.
///
/// Entries belong to the function's path (with its `impl`, its trait and the types of a generic instance, as
/// `std::any::type_name` writes them) and a digest of its tokens, so a changed function does not find what its old self
/// stored; changes of what it calls are not seen, which is what `version` is for. If two functions of a process have
/// one path, which only functions inside the blocks of another one can have, the first that is called has the folder
/// and the other is kept in memory only; with one `version` for both, give them different names. An `Err` or `None` is
/// never stored on disk. If the folder cannot be used, that is said once, on standard error, and results are kept in
/// memory only.
///
/// A refresh runs in the background, on a thread that ends when there is nothing left to refresh, if the function is
/// neither async nor a method nor `local` and its key is all its arguments; otherwise the call that finds the
/// result due runs the function, and the other callers are served meanwhile.
///
/// Closures among the options are given `&key` and `&value`. What makes no sense (a `jitter` of 2) is a compile error
/// where it can be seen, and otherwise a panic at the first call, with the function's name.
///
/// # The handle
///
/// A function `f` has a type `f` beside it, as visible as the function, with
///
/// - `f::cache()`: its `Cache`, with all that a cache can do;
/// - `f::invalidate(&key)`, `f::invalidate_if(|key, value| …)`, `f::invalidate_tag("…")`, `f::clear()`;
/// - `f::stats()`.
///
/// Of a generic function it is `f::<T>::cache()`. Where the key is a `key = …` expression its type has no name: the
/// cache is then a `Cache<impl Hash + Eq + …, _>`, `invalidate` panics if it is given a key of another type than the
/// expression's owned form, and `invalidate_if` is to be had from the cache. Of a `local` function all of this is
/// about the cache of the calling thread.
///
/// ```
/// use scrubjay::memoize;
///
/// #[memoize(tags = [format!("user:{user}")])]
/// fn pages(user: u64, page: u32) -> String {
///     format!("page {page} of {user}")
/// }
///
/// pages(7, 1);
/// pages(7, 2);
/// assert!(pages::invalidate(&(7, 1)));
/// assert_eq!(pages::invalidate_tag("user:7"), 1);
/// ```
///
/// # What is refused
///
/// With a message that says what to do instead: `const`, `unsafe` and `extern` functions, `&mut` and `impl Trait`
/// arguments, what is borrowed or `impl Trait` in the return type, and options that make no sense together or for the
/// function.
///
/// # Recursion and cycles
///
/// A function may call itself, and memoized functions may call each other; each level of recursion takes some hundred
/// bytes of stack more than without the attribute. A call that needs its own result, directly or through other
/// functions, threads and tasks, would never end: it panics, and the message names the cycle.
///
/// ```
/// use scrubjay::memoize;
///
/// #[memoize]
/// fn ping(n: u32) -> u32 {
///     ping(1 - n)
/// }
///
/// let panic = std::panic::catch_unwind(|| ping(0)).unwrap_err();
/// assert!(panic.downcast_ref::<String>().unwrap().contains("ping(0) → ping(1) → ping(0)"));
/// ```
#[proc_macro_attribute]
pub fn memoize(options: TokenStream, item: TokenStream) -> TokenStream {
    match memoized(options, item.clone()) {
        Ok(tokens) => tokens.into(),
        Err(error) => {
            // The function itself stays, so that nothing else in the program seems to be wrong.
            let mut tokens = TokenStream::from(error.into_compile_error());
            tokens.extend(item);
            tokens
        }
    }
}

fn memoized(options: TokenStream, item: TokenStream) -> syn::Result<proc_macro2::TokenStream> {
    let options: Options = syn::parse(options)?;
    let item: ItemFn = syn::parse(item).map_err(|error| {
        let message =
            format!("`#[memoize]` is for functions and methods that have a body: {error}");
        syn::Error::new(error.span(), message)
    })?;
    let function = Function::of(&item, &options);
    validate::validate(&function, &options)?;
    Ok(expand::expand(&function, &options))
}
