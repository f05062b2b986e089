//! Finds loads that would wait for each other for ever, before they do.
//!
//! A *chain* is the loads that are running on this thread right now, outermost first: each needs the next to
//! end. A caller that is about to wait says which flight it waits for and on behalf of which chain. Waiting is
//! refused if the flight leads back to that chain, through whatever flights, caches, threads and tasks. So the
//! waits that are allowed never form a cycle, and somebody can always go on.
//!
//! A caller without a chain is waited for by nobody and takes no part. A future's loads are in the chain while
//! the future is polled. Work handed to another thread is in its parent's chain if it was wrapped in
//! [`inherit`](crate::trace::inherit); without that, and through locks or channels of the user's own, a
//! cycle cannot be seen.

use std::cell::{Cell, RefCell};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::Flight;

/// A load as seen from outside its cache.
pub(crate) trait Led {
    fn label(&self) -> String;
}

impl<K, V> Led for Flight<K, V> {
    fn label(&self) -> String {
        Flight::label(self)
    }
}

struct Link {
    flight: u64,
    called: Called,
}

/// How a load of a chain is called in messages.
#[derive(Clone)]
enum Called {
    /// By its key, or by what somebody named its cache.
    Named(Arc<dyn Led>),
    /// By the types of its cache.
    Typed(fn() -> String),
    /// Another thread leads it, and handed it on.
    HandedOver,
}

impl Called {
    fn label(&self) -> String {
        match self {
            Self::Named(led) => led.label(),
            Self::Typed(name) => name(),
            Self::HandedOver => "a load of the parent thread".to_owned(),
        }
    }
}

crate::sync::thread_local! {
    static CHAIN: RefCell<Vec<Link>> = const { RefCell::new(Vec::new()) };
    static IDS: Cell<(u64, u64)> = const { Cell::new((0, 0)) };
}

/// A number that no other flight of the process has or had.
///
/// Threads take numbers by the block, so that beginning a flight writes nothing that threads share.
pub(crate) fn new_flight_id() -> u64 {
    static NEXT_BLOCK: AtomicU64 = AtomicU64::new(0);
    const BLOCK: u64 = 1 << 16;
    // Relaxed: only uniqueness is asked of the number, nothing is published with it.
    let new_block = || NEXT_BLOCK.fetch_add(BLOCK, Ordering::Relaxed);
    let next = |(next, end): (u64, u64)| {
        let (id, end) = if next < end {
            (next, end)
        } else {
            let start = new_block();
            (start, start + BLOCK)
        };
        (id, (id + 1, end))
    };
    IDS.try_with(|ids| {
        let (id, rest) = next(ids.get());
        ids.set(rest);
        id
    })
    .unwrap_or_else(|_| new_block())
}

/// Puts a load at the end of this thread's chain for as long as the returned value lives.
pub(crate) fn enter<K: 'static, V: 'static>(flight: &Arc<Flight<K, V>>) -> Entered {
    // Only what has a name of its own must be kept for it: counting owners is dear.
    let called = match flight.is_named() {
        true => Called::Named(flight.clone()),
        false => Called::Typed(super::typed::<K, V>),
    };
    push([Link {
        flight: flight.id,
        called,
    }])
}

fn push(links: impl IntoIterator<Item = Link>) -> Entered {
    with_chain(|chain| {
        let length_before = chain.len();
        chain.extend(links);
        Entered { length_before }
    })
}

/// A thread that is being torn down has no chain any more; its loads go unseen.
fn with_chain<R: Default>(work: impl FnOnce(&mut Vec<Link>) -> R) -> R {
    CHAIN
        .try_with(|chain| work(&mut chain.borrow_mut()))
        .unwrap_or_default()
}

/// Takes the load, and whatever came after it, off the chain when dropped.
#[derive(Debug, Default)]
pub(crate) struct Entered {
    length_before: usize,
}

impl Drop for Entered {
    fn drop(&mut self) {
        // Dropped after the chain is released: the last owner of a flight drops the user's key.
        while let Some(link) = with_chain(|chain| {
            (chain.len() > self.length_before)
                .then(|| chain.pop())
                .flatten()
        }) {
            drop(link);
        }
    }
}

/// The flights of a chain, to go on with on another thread.
#[derive(Debug, Clone)]
pub(crate) struct Handover(Vec<u64>);

pub(crate) fn hand_over() -> Handover {
    Handover(chain())
}

impl Handover {
    /// Runs `work` as a part of the loads of the chain that was handed over.
    pub(crate) fn run<R>(&self, work: impl FnOnce() -> R) -> R {
        let _entered = push(self.0.iter().map(|&flight| Link {
            flight,
            called: Called::HandedOver,
        }));
        work()
    }
}

fn chain() -> Vec<u64> {
    with_chain(|chain| chain.iter().map(|link| link.flight).collect())
}

/// Whether this thread is inside one of these loads.
#[cfg_attr(
    not(feature = "disk"),
    allow(dead_code, reason = "a tier below memory asks")
)]
pub(crate) fn is_inside(any: impl Fn(u64) -> bool) -> bool {
    with_chain(|chain| chain.iter().any(|link| any(link.flight)))
}

struct Wait {
    number: u64,
    chain: Vec<u64>,
    target: u64,
    label: String,
}

#[derive(Default)]
struct Waits {
    next: u64,
    waits: Vec<Wait>,
}

impl Waits {
    /// The waits that lead from a flight back to a chain, if any do.
    fn path_to(&self, chain: &[u64], target: u64) -> Option<(u64, Vec<&Wait>)> {
        let mut seen = vec![target];
        let mut open = vec![(target, Vec::new())];
        while let Some((flight, path)) = open.pop() {
            if chain.contains(&flight) {
                return Some((flight, path));
            }
            for wait in &self.waits {
                if wait.chain.contains(&flight) && !seen.contains(&wait.target) {
                    seen.push(wait.target);
                    let mut longer = path.clone();
                    longer.push(wait);
                    open.push((wait.target, longer));
                }
            }
        }
        None
    }
}

/// All waits of the process on behalf of a chain. Held for look-ups only; never across a wait or user code.
static WAITS: Mutex<Waits> = Mutex::new(Waits {
    next: 0,
    waits: Vec::new(),
});

fn waits() -> std::sync::MutexGuard<'static, Waits> {
    WAITS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A wait that leads to no cycle, for as long as it lives.
#[derive(Debug)]
pub(crate) struct Registered(Option<u64>);

impl Drop for Registered {
    fn drop(&mut self) {
        if let Some(number) = self.0 {
            let mut waits = waits();
            let place = waits.waits.iter().position(|wait| wait.number == number);
            let wait = place.map(|place| waits.waits.swap_remove(place));
            drop(waits);
            drop(wait);
        }
    }
}

/// Announces that this thread's chain is about to wait for a flight, which is called `label`.
///
/// # Errors
///
/// The cycle that this wait would close, in words, if it would close one.
pub(crate) fn register(target: u64, label: impl FnOnce() -> String) -> Result<Registered, String> {
    let chain = chain();
    if chain.is_empty() {
        return Ok(Registered(None));
    }
    let label = label();
    let (reached, middle) = {
        let mut waits = waits();
        let Some((reached, path)) = waits.path_to(&chain, target) else {
            waits.next += 1;
            let number = waits.next;
            waits.waits.push(Wait {
                number,
                chain,
                target,
                label,
            });
            return Ok(Registered(Some(number)));
        };
        let labels: Vec<String> = path.iter().map(|wait| wait.label.clone()).collect();
        (reached, labels)
    };
    Err(in_words(reached, label, middle))
}

/// Names the loads of a cycle: this thread's from the one reached on, then those it would wait for.
fn in_words(reached: u64, target: String, middle: Vec<String>) -> String {
    let own: Vec<Called> = with_chain(|chain| {
        let start = chain.iter().position(|link| link.flight == reached);
        chain[start.unwrap_or(0)..]
            .iter()
            .map(|link| link.called.clone())
            .collect()
    });
    let mut names: Vec<String> = own.iter().map(Called::label).collect();
    names.push(target);
    names.extend(middle);
    if names.len() > SHOWN {
        let hidden = names.len() - SHOWN;
        names.splice(
            SHOWN / 2..SHOWN / 2 + hidden,
            [format!("… {hidden} more …")],
        );
    }
    format!(
        "scrubjay: a load would wait for itself for ever: {}; \
         make one of these functions not call the next with the same key, or leave it unmemoized",
        names.join(" → ")
    )
}

const SHOWN: usize = 16;
