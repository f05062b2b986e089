//! Who calls, and how a test holds a load up: crews of blocking callers and of callers that block on futures, and
//! gates.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{self, Receiver, Sender};

use scrubjay::Cache;

use crate::executor;
use crate::watchdog::{until, watched};

/// How a caller waits.
#[derive(Clone, Copy)]
pub(crate) enum Caller {
    Blocking,
    Future,
}

use Caller::{Blocking, Future};

pub(crate) const CREWS: [[Caller; 2]; 4] = [
    [Blocking, Blocking],
    [Future, Future],
    [Blocking, Future],
    [Future, Blocking],
];

impl Caller {
    pub(crate) fn get(self, cache: &Cache<u32, u32>, key: u32, load: impl FnOnce() -> u32) -> u32 {
        match self {
            Blocking => cache.get_or_insert_with(&key, load),
            Future => executor::block_on(cache.get_or_insert_async(&key, || async { load() })),
        }
    }

    pub(crate) fn try_get<E: Clone + Send + Sync + 'static>(
        self,
        cache: &Cache<u32, u32>,
        key: u32,
        load: impl FnOnce() -> Result<u32, E>,
    ) -> Result<u32, E> {
        match self {
            Blocking => cache.try_get_or_insert_with(&key, load),
            Future => executor::block_on(cache.try_get_or_insert_async(&key, || async { load() })),
        }
    }

    pub(crate) fn try_in_turn<E>(
        self,
        cache: &Cache<u32, u32>,
        key: u32,
        load: impl FnOnce() -> Result<u32, E>,
    ) -> Result<u32, E> {
        match self {
            Blocking => cache.try_get_or_insert_in_turn(&key, load),
            Future => {
                executor::block_on(cache.try_get_or_insert_async_in_turn(&key, || async { load() }))
            }
        }
    }
}

/// Runs a protocol once for each crew: the leader's kind and the waiters'.
pub(crate) fn for_each_crew(protocol: impl Fn(Caller, Caller) + Send + 'static) {
    watched(move || {
        for [leader, waiter] in CREWS {
            protocol(leader, waiter);
        }
    });
}

/// Holds a load up until the test lets it go.
pub(crate) struct Gate {
    begun: Receiver<()>,
    go: Sender<()>,
}

/// The side of the gate that a loader passes.
pub(crate) struct Passage {
    begun: Sender<()>,
    go: Receiver<()>,
}

pub(crate) fn gate() -> (Gate, Passage) {
    let (to_test, begun) = mpsc::channel();
    let (go, from_test) = mpsc::channel();
    let passage = Passage {
        begun: to_test,
        go: from_test,
    };
    (Gate { begun, go }, passage)
}

impl Passage {
    pub(crate) fn pass<T>(self, value: T) -> T {
        self.begun.send(()).unwrap();
        self.go.recv().unwrap();
        value
    }
}

impl Gate {
    pub(crate) fn wait_for_load(&self) {
        self.begun.recv().unwrap();
    }

    pub(crate) fn open(&self) {
        self.go.send(()).unwrap();
    }
}

pub(crate) fn until_waiting(cache: &Cache<u32, u32>, callers: u64) {
    until(|| cache.stats().waits >= callers);
}

pub(crate) fn named(name: &str) -> Cache<u32, u32> {
    Cache::builder()
        .name(name)
        .describe_keys(|key: &u32| key.to_string())
        .build()
        .unwrap()
}

pub(crate) fn message_of(panic: &(dyn Any + Send)) -> String {
    match panic.downcast_ref::<String>() {
        Some(message) => message.clone(),
        None => (*panic.downcast_ref::<&str>().unwrap()).to_owned(),
    }
}

/// The message of the panic that `work` must end in.
pub(crate) fn panic_of<T>(work: impl FnOnce() -> T) -> String {
    let Err(panic) = catch_unwind(AssertUnwindSafe(work)) else {
        panic!("expected a panic");
    };
    message_of(&*panic)
}

pub(crate) fn nobody_loads() -> u32 {
    panic!("this loader must not run")
}
