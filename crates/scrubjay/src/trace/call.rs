//! One recorded call and what became of it.
//!
//! A call names its parent by position, never by pointer, so that a trace of any depth is a flat list.

use std::fmt;
use std::time::Duration;

/// One call of a memoized function, as recorded by [`trace`](crate::trace()).
///
/// # Example
///
/// ```
/// use scrubjay::memoize;
/// use scrubjay::trace::Outcome;
///
/// #[memoize]
/// fn double(n: u64) -> u64 {
///     n * 2
/// }
///
/// let trace = scrubjay::trace(|| double(4));
/// let call = &trace.calls()[0];
/// assert_eq!(call.function, "double");
/// assert_eq!(call.outcome, Outcome::Miss);
/// assert_eq!((call.parent, call.depth, call.thread), (None, 0, 0));
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Call {
    /// The function's name.
    pub function: &'static str,
    /// Its arguments as text, separated by commas; cut after 1,000 characters.
    pub args: String,
    /// What became of the call.
    pub outcome: Outcome,
    /// What it returned as text, if it returned and the result can be shown; cut after 1,000 characters.
    pub result: Option<String>,
    /// The position in [`Trace::calls`](crate::trace::Trace::calls) of the call during whose load this one was made.
    pub parent: Option<usize>,
    /// The number of calls above this one.
    pub depth: usize,
    /// The number of the thread on which the call began: 0 is the thread of the trace, the next one that calls is 1.
    pub thread: usize,
    /// When the call began, counted from the start of the trace.
    pub started: Duration,
    /// How long the call took; for an unfinished one, until the end of the trace.
    pub took: Duration,
}

/// What became of a call.
///
/// # Example
///
/// ```
/// use scrubjay::trace::Outcome;
///
/// assert_eq!(Outcome::Hit.to_string(), "hit");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Outcome {
    /// Served from memory.
    Hit,
    /// Loaded by this call.
    Miss,
    /// Served by the load of another caller, for which this one waited.
    Wait,
    /// Served a stale value.
    Stale,
    /// Not memoized, because the function's `when` said so.
    Bypass,
    /// The load panicked or was dropped.
    Failed,
    /// Still running when the trace ended.
    Unfinished,
}

impl Outcome {
    pub(super) fn name(self) -> &'static str {
        match self {
            Outcome::Hit => "hit",
            Outcome::Miss => "miss",
            Outcome::Wait => "wait",
            Outcome::Stale => "stale",
            Outcome::Bypass => "bypass",
            Outcome::Failed => "failed",
            Outcome::Unfinished => "unfinished",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(self.name())
    }
}
