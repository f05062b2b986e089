//! The totals of a trace.
//!
//! The counts by outcome always add up to the number of calls.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use super::label::{count, time};
use super::recorder::Recording;
use super::{Call, Outcome};

/// The totals of a [`Trace`](crate::trace::Trace). `Display` writes them as one line.
///
/// # Example
///
/// ```
/// use scrubjay::memoize;
///
/// #[memoize]
/// fn cube(n: u64) -> u64 {
///     n * n * n
/// }
///
/// let summary = scrubjay::trace(|| [cube(1), cube(2), cube(1)]).summary();
/// assert_eq!((summary.calls, summary.hits, summary.misses), (3, 1, 2));
/// assert!(summary.to_string().starts_with("3 calls: 1 hit, 2 misses · "));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Summary {
    /// All calls.
    pub calls: usize,
    /// Calls served from memory.
    pub hits: usize,
    /// Calls that loaded.
    pub misses: usize,
    /// Calls served by another caller's load.
    pub waits: usize,
    /// Calls that were served a stale value.
    pub stale: usize,
    /// Calls that were not memoized.
    pub bypassed: usize,
    /// Calls whose load panicked or was dropped.
    pub failed: usize,
    /// Calls still running when the trace ended.
    pub unfinished: usize,
    /// The time from the start of the trace to its end.
    pub took: Duration,
    /// An estimate of the time that loads would have taken in place of the hits and stale hits: for each, the time of
    /// the recorded load of the same call, or the mean of that function's recorded loads, or nothing.
    pub saved: Duration,
}

impl Summary {
    pub(super) fn of(recording: &Recording) -> Self {
        let loads = Loads::of(&recording.calls);
        let mut summary = Summary {
            calls: recording.calls.len(),
            took: recording.took,
            ..Summary::default()
        };
        for call in &recording.calls {
            *summary.counter(call.outcome) += 1;
            if matches!(call.outcome, Outcome::Hit | Outcome::Stale) {
                summary.saved = summary.saved.saturating_add(loads.estimate(call));
            }
        }
        summary
    }

    fn counter(&mut self, outcome: Outcome) -> &mut usize {
        match outcome {
            Outcome::Hit => &mut self.hits,
            Outcome::Miss => &mut self.misses,
            Outcome::Wait => &mut self.waits,
            Outcome::Stale => &mut self.stale,
            Outcome::Bypass => &mut self.bypassed,
            Outcome::Failed => &mut self.failed,
            Outcome::Unfinished => &mut self.unfinished,
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = [
            (self.hits, "hit", "hits"),
            (self.misses, "miss", "misses"),
            (self.waits, "wait", "waits"),
            (self.stale, "stale", "stale"),
            (self.bypassed, "bypassed", "bypassed"),
            (self.failed, "failed", "failed"),
            (self.unfinished, "unfinished", "unfinished"),
        ];
        out.write_str(&count(self.calls, "call", "calls"))?;
        let shown = counts.into_iter().filter(|(number, ..)| *number > 0);
        for (position, (number, one, many)) in shown.enumerate() {
            let separator = if position == 0 { ": " } else { ", " };
            write!(out, "{separator}{}", count(number, one, many))?;
        }
        write!(out, " · {}", time(self.took))?;
        if self.saved > Duration::ZERO {
            write!(out, " · about {} saved", time(self.saved))?;
        }
        Ok(())
    }
}

/// The recorded loads, by call and by function.
struct Loads<'a> {
    by_call: HashMap<(&'a str, &'a str), Duration>,
    by_function: HashMap<&'a str, (Duration, u32)>,
}

impl<'a> Loads<'a> {
    fn of(calls: &'a [Call]) -> Self {
        let mut loads = Loads {
            by_call: HashMap::new(),
            by_function: HashMap::new(),
        };
        for call in calls.iter().filter(|call| call.outcome == Outcome::Miss) {
            loads.by_call.insert((call.function, &call.args), call.took);
            let (total, number) = loads.by_function.entry(call.function).or_default();
            *total = total.saturating_add(call.took);
            *number = number.saturating_add(1);
        }
        loads
    }

    fn estimate(&self, call: &Call) -> Duration {
        if let Some(took) = self.by_call.get(&(call.function, &call.args)) {
            return *took;
        }
        let mean = |(total, number): &(Duration, u32)| *total / *number;
        self.by_function
            .get(call.function)
            .map_or(Duration::ZERO, mean)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(function: &'static str, args: &str, outcome: Outcome, millis: u64) -> Call {
        Call {
            function,
            args: args.to_owned(),
            outcome,
            result: None,
            parent: None,
            depth: 0,
            thread: 0,
            started: Duration::ZERO,
            took: Duration::from_millis(millis),
        }
    }

    fn summary(calls: Vec<Call>) -> Summary {
        Summary::of(&Recording {
            calls,
            steps: Vec::new(),
            took: Duration::from_millis(50),
        })
    }

    #[test]
    fn a_hit_saves_the_load_of_its_own_call() {
        let calls = vec![
            call("f", "1", Outcome::Miss, 10),
            call("f", "2", Outcome::Miss, 30),
            call("f", "2", Outcome::Hit, 0),
        ];
        assert_eq!(summary(calls).saved, Duration::from_millis(30));
    }

    #[test]
    fn a_hit_without_a_recorded_load_saves_the_mean_of_its_function() {
        let calls = vec![
            call("f", "1", Outcome::Miss, 10),
            call("f", "2", Outcome::Miss, 30),
            call("f", "3", Outcome::Stale, 0),
            call("g", "1", Outcome::Hit, 0),
        ];
        assert_eq!(summary(calls).saved, Duration::from_millis(20));
    }

    #[test]
    fn the_line_names_only_what_happened() {
        let calls = vec![
            call("f", "1", Outcome::Miss, 10),
            call("f", "1", Outcome::Hit, 0),
            call("f", "1", Outcome::Wait, 5),
            call("f", "1", Outcome::Wait, 5),
        ];
        let line = summary(calls).to_string();
        assert_eq!(
            line,
            "4 calls: 1 hit, 1 miss, 2 waits · 50.0 ms · about 10.0 ms saved"
        );
        assert_eq!(summary(Vec::new()).to_string(), "0 calls · 50.0 ms");
    }
}
