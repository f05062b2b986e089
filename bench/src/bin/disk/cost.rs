//! What an operation costs: by the clock on the wall, and by the processor time of the process.
//!
//! On a machine with others at work the second is the steadier one. It leaves out waiting for the disk, and counts the
//! work of all threads.

use std::time::{Duration, Instant};

/// Nanoseconds for one operation.
#[derive(Debug, Clone, Copy)]
pub struct Cost {
    pub wall: f64,
    pub busy: f64,
}

/// A measurement under way.
#[derive(Debug)]
pub struct Watch {
    start: Instant,
    busy: Duration,
}

impl Watch {
    pub fn start() -> Self {
        Self {
            busy: processor_time(),
            start: Instant::now(),
        }
    }

    /// Ends it, after so many operations.
    pub fn stop(self, count: u64) -> Cost {
        let (wall, busy) = (self.start.elapsed(), processor_time() - self.busy);
        let each = |duration: Duration| duration.as_nanos() as f64 / count as f64;
        Cost {
            wall: each(wall),
            busy: each(busy),
        }
    }
}

/// What the clock of the process' processor time says.
fn processor_time() -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is a place to write to, and every Linux has this clock.
    let failed = unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
    assert_eq!(failed, 0, "the clock of the process answers");
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
