//! A line on a terminal that says how far a long run is; nothing where standard error is not a terminal.

use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Steps done of steps known.
#[derive(Debug)]
pub struct Progress {
    total: usize,
    done: AtomicUsize,
    shown: bool,
}

impl Progress {
    #[must_use]
    pub fn of(total: usize) -> Self {
        Self {
            total,
            done: AtomicUsize::new(0),
            shown: std::io::stderr().is_terminal(),
        }
    }

    /// Says that one more step is done, and which.
    pub fn step(&self, what: &str) {
        // Relaxed: only shown.
        let done = self.done.fetch_add(1, Ordering::Relaxed) + 1;
        if self.shown {
            let end = if done == self.total { "\n" } else { "" };
            let mut stderr = std::io::stderr().lock();
            // Nobody is harmed by a line that cannot be shown.
            write!(stderr, "\r\x1b[K{done} of {}: {what}{end}", self.total).ok();
        }
    }
}
