//! Where a cache gets its time from, and how a waiter is woken when a time comes.
//!
//! A clock never goes backwards. All times of one cache come from one clock, so a test that sets the
//! [`ManualClock`] decides every expiration, refresh and time-out without sleeping.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Condvar, LazyLock, Mutex, PoisonError};
use std::task::Waker;
use std::time::{Duration, Instant, SystemTime};

use crate::sync::atomic::{AtomicU64, Ordering};

/// A moment of a [`Clock`], in nanoseconds since an origin of the clock's own choice.
///
/// # Example
///
/// ```
/// use scrubjay::Timestamp;
/// use std::time::Duration;
///
/// let start = Timestamp::from_nanos(5);
/// assert_eq!(start.saturating_add(Duration::from_nanos(2)), Timestamp::from_nanos(7));
/// assert_eq!(start.saturating_add(Duration::MAX), Timestamp::NEVER);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The moment that never comes; sums that overflow (after 584 years) end here.
    pub const NEVER: Self = Self(u64::MAX);

    /// Makes a moment from its distance to the clock's origin.
    ///
    /// # Example
    ///
    /// ```
    /// use scrubjay::Timestamp;
    ///
    /// assert!(Timestamp::from_nanos(1) < Timestamp::NEVER);
    /// ```
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Returns the distance to the clock's origin.
    ///
    /// # Example
    ///
    /// ```
    /// use scrubjay::Timestamp;
    ///
    /// assert_eq!(Timestamp::from_nanos(3).as_nanos(), 3);
    /// ```
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Returns the moment `duration` later, or [`NEVER`](Self::NEVER) if that overflows.
    ///
    /// # Example
    ///
    /// ```
    /// use scrubjay::Timestamp;
    /// use std::time::Duration;
    ///
    /// let later = Timestamp::from_nanos(1).saturating_add(Duration::from_nanos(1));
    /// assert_eq!(later.as_nanos(), 2);
    /// ```
    #[must_use]
    pub fn saturating_add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(nanos(duration)))
    }

    /// The moment `duration` earlier, unless that is before the origin.
    pub(crate) fn checked_sub(self, duration: Duration) -> Option<Self> {
        self.0.checked_sub(nanos(duration)).map(Self)
    }

    /// Returns the time since `earlier`, or zero if `earlier` is later.
    ///
    /// # Example
    ///
    /// ```
    /// use scrubjay::Timestamp;
    /// use std::time::Duration;
    ///
    /// let (a, b) = (Timestamp::from_nanos(1), Timestamp::from_nanos(4));
    /// assert_eq!(b.saturating_since(a), Duration::from_nanos(3));
    /// assert_eq!(a.saturating_since(b), Duration::ZERO);
    /// ```
    #[must_use]
    pub fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// Converts a duration, saturating after 584 years.
pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// A source of time for a cache: [`SystemClock`] by default, [`ManualClock`] in tests, or your own.
///
/// # Example
///
/// A clock for a replay that runs a hundred times faster than the world:
///
/// ```
/// use scrubjay::{Cache, Clock, SystemClock, Timestamp};
///
/// #[derive(Debug, Default)]
/// struct Replay(SystemClock);
///
/// impl Clock for Replay {
///     fn now(&self) -> Timestamp {
///         Timestamp::from_nanos(self.0.now().as_nanos().saturating_mul(100))
///     }
/// }
///
/// let cache: Cache<u32, u32> = Cache::builder().clock(Replay::default()).build()?;
/// cache.insert(1, 1);
/// assert_eq!(cache.get(&1), Some(1));
/// # Ok::<(), scrubjay::Error>(())
/// ```
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// Returns the present moment. Later calls never return earlier moments.
    fn now(&self) -> Timestamp;

    /// Returns the calendar time, which snapshots note so that lives go on while a cache is away.
    fn calendar(&self) -> SystemTime {
        SystemTime::now()
    }

    /// Wakes `waker` once `now()` has reached `deadline`; it may wake earlier, never much later.
    ///
    /// Used only by callers who wait with a time limit. The default asks one timer thread that the
    /// process starts at the first such wait, and that assumes the clock runs at the world's speed.
    fn wake_at(&self, deadline: Timestamp, waker: Waker) {
        timer().wake_after(deadline.saturating_since(self.now()), waker);
    }
}

/// How long a [`SystemClock`] has run when it is made, so that lives that were over before can be said: 73 years.
const BEFORE: u64 = 1 << 61;

/// The monotonic clock of the system.
///
/// # Example
///
/// ```
/// use scrubjay::{Clock, SystemClock};
///
/// let clock = SystemClock::default();
/// assert!(clock.now() <= clock.now());
/// ```
#[derive(Debug, Clone)]
pub struct SystemClock {
    origin: Instant,
}

impl Default for SystemClock {
    fn default() -> Self {
        Self {
            origin: Instant::now(),
        }
    }
}

impl Clock for SystemClock {
    #[inline]
    fn now(&self) -> Timestamp {
        Timestamp(nanos(self.origin.elapsed()) + BEFORE)
    }
}

/// A clock that moves only when it is told to, for tests without sleeping. Clones share one time.
///
/// # Example
///
/// ```
/// use scrubjay::{Cache, ManualClock};
/// use std::time::Duration;
///
/// let clock = ManualClock::new();
/// let cache = Cache::builder().time_to_live(Duration::from_secs(10)).clock(clock.clone()).build()?;
/// cache.insert("k", 1);
/// clock.advance(Duration::from_secs(10));
/// assert_eq!(cache.get("k"), None);
/// # Ok::<(), scrubjay::Error>(())
/// ```
#[derive(Clone, Default)]
pub struct ManualClock {
    state: std::sync::Arc<ManualState>,
}

#[derive(Default)]
struct ManualState {
    nanos: AtomicU64,
    alarms: crate::sync::Mutex<Vec<(Timestamp, Waker)>>,
}

impl ManualClock {
    /// Makes a clock that stands at zero, which is 1970 in calendar time.
    ///
    /// # Example
    ///
    /// ```
    /// use scrubjay::{Clock, ManualClock, Timestamp};
    ///
    /// assert_eq!(ManualClock::new().now(), Timestamp::default());
    /// ```
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Moves the clock forward and wakes everyone whose time has come.
    ///
    /// # Example
    ///
    /// ```
    /// use scrubjay::{Clock, ManualClock};
    /// use std::time::Duration;
    ///
    /// let clock = ManualClock::new();
    /// clock.advance(Duration::from_nanos(7));
    /// assert_eq!(clock.now().as_nanos(), 7);
    /// ```
    pub fn advance(&self, duration: Duration) {
        let step = nanos(duration);
        let due = {
            let mut alarms = self.state.alarms.lock();
            let now = self.state.nanos.load(Ordering::SeqCst).saturating_add(step);
            self.state.nanos.store(now, Ordering::SeqCst);
            let (due, later) = std::mem::take(&mut *alarms)
                .into_iter()
                .partition::<Vec<_>, _>(|(deadline, _)| deadline.0 <= now);
            *alarms = later;
            due
        };
        for (_, waker) in due {
            waker.wake();
        }
    }
}

impl fmt::Debug for ManualClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ManualClock").field(&self.now()).finish()
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.state.nanos.load(Ordering::SeqCst))
    }

    fn calendar(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + self.now().saturating_since(Timestamp::default())
    }

    fn wake_at(&self, deadline: Timestamp, waker: Waker) {
        let mut alarms = self.state.alarms.lock();
        if self.now() < deadline {
            alarms.push((deadline, waker));
        } else {
            drop(alarms);
            waker.wake();
        }
    }
}

/// Waits without blocking a thread, by the world's time and not by a cache's clock.
#[cfg_attr(
    not(feature = "disk"),
    allow(dead_code, reason = "what is waited for is another process")
)]
pub(crate) async fn pause(duration: Duration) {
    let end = Instant::now() + duration;
    std::future::poll_fn(|context| match end.checked_duration_since(Instant::now()) {
        None | Some(Duration::ZERO) => std::task::Poll::Ready(()),
        Some(left) => {
            timer().wake_after(left, context.waker().clone());
            std::task::Poll::Pending
        }
    })
    .await;
}

/// The timer thread of the process: wakes wakers when their time comes.
#[derive(Default)]
struct Timer {
    alarms: Mutex<BTreeMap<(Instant, u64), Waker>>,
    changed: Condvar,
}

fn timer() -> &'static Timer {
    static TIMER: LazyLock<&'static Timer> = LazyLock::new(|| {
        let timer: &'static Timer = Box::leak(Box::default());
        std::thread::Builder::new()
            .name("scrubjay-timer".into())
            .spawn(move || timer.run())
            .expect("the system can start one thread for time-outs");
        timer
    });
    &TIMER
}

impl Timer {
    fn wake_after(&self, delay: Duration, waker: Waker) {
        static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
        // Deadlines that the clock cannot express are too far away to ever be waited for.
        let Some(deadline) = Instant::now().checked_add(delay) else {
            return;
        };
        // Relaxed: only uniqueness is asked of the number, nothing is published with it.
        let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let mut alarms = self.alarms.lock().unwrap_or_else(PoisonError::into_inner);
        alarms.insert((deadline, number), waker);
        self.changed.notify_one();
    }

    fn run(&self) -> ! {
        let mut alarms = self.alarms.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let now = Instant::now();
            match alarms.first_entry() {
                None => {
                    alarms = self
                        .changed
                        .wait(alarms)
                        .unwrap_or_else(PoisonError::into_inner);
                }
                Some(first) if first.key().0 <= now => {
                    let waker = first.remove();
                    drop(alarms);
                    waker.wake();
                    alarms = self.alarms.lock().unwrap_or_else(PoisonError::into_inner);
                }
                Some(first) => {
                    let wait = first.key().0 - now;
                    alarms = self
                        .changed
                        .wait_timeout(alarms, wait)
                        .unwrap_or_else(PoisonError::into_inner)
                        .0;
                }
            }
        }
    }
}
