//! Processes by more than their numbers, which other ones may have by now: when they began, and among which numbers.
//!
//! Known on Linux; elsewhere none is.

use std::io;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

/// Longest way up that is followed.
const GENERATIONS: usize = 256;

/// A process of this machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    pub pid: i32,
    /// When it began, in the kernel's own unit.
    began: u64,
    /// The namespace in which `pid` is its number.
    namespace: String,
}

impl Process {
    pub fn this() -> Option<Self> {
        Self::of(std::process::id().cast_signed())
    }

    /// `None` if there is none, or it has ended and nobody has asked how.
    pub fn of(pid: i32) -> Option<Self> {
        Status::of(pid)
            .filter(|status| !status.has_ended)?
            .process()
    }

    pub fn is_running(&self) -> bool {
        Self::of(self.pid).is_some_and(|process| process == *self)
    }

    /// Waits until it has ended, for so long, and then has the kernel end it; says whether that was necessary.
    pub fn end_within(&self, grace: Duration) -> io::Result<bool> {
        let pid = Pid::from_raw(self.pid).ok_or(io::ErrorKind::NotFound)?;
        let Ok(handle) = pidfd_open(pid, PidfdFlags::empty()) else {
            return Ok(false);
        };
        // Asked behind the handle: from here on it is this process or nobody.
        if !self.is_running() {
            return Ok(false);
        }
        let has_ended = |within: Duration| {
            let timeout = Timespec::try_from(within).ok();
            poll(&mut [PollFd::new(&handle, PollFlags::IN)], timeout.as_ref())
        };
        if has_ended(grace)? > 0 {
            return Ok(false);
        }
        pidfd_send_signal(&handle, Signal::KILL)?;
        has_ended(grace)?;
        Ok(true)
    }
}

/// The process that started this one, the one that started that, and so on.
pub fn ancestors() -> Vec<Process> {
    let parent = |pid| Status::of(pid).map(|status| status.parent);
    let above = std::iter::successors(parent(std::process::id().cast_signed()), |pid| parent(*pid));
    let above = above.take_while(|pid| *pid > 0).take(GENERATIONS);
    above.filter_map(Process::of).collect()
}

/// What the kernel tells of a process.
struct Status {
    pid: i32,
    parent: i32,
    began: u64,
    has_ended: bool,
}

impl Status {
    fn of(pid: i32) -> Option<Self> {
        let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name, in brackets, may have brackets and spaces of its own.
        let (_, rest) = text.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        Some(Self {
            pid,
            has_ended: matches!(*fields.first()?, "Z" | "X"),
            parent: fields.get(1)?.parse().ok()?,
            began: fields.get(19)?.parse().ok()?,
        })
    }

    fn process(&self) -> Option<Process> {
        let namespace = std::fs::read_link("/proc/self/ns/pid").ok()?;
        Some(Process {
            pid: self.pid,
            began: self.began,
            namespace: namespace.to_str()?.to_owned(),
        })
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn a_process_is_not_taken_for_another_one_of_its_number() {
        let this = Process::this().unwrap();
        assert!(this.is_running());
        let earlier = Process {
            began: this.began - 1,
            ..this.clone()
        };
        assert!(!earlier.is_running());
        assert!(!earlier.end_within(Duration::ZERO).unwrap());
        assert!(!ancestors().contains(&this));
    }

    #[test]
    fn what_does_not_end_by_itself_is_ended_and_what_does_is_not() {
        for (command, is_killed) in [("read _", true), ("exit", false)] {
            let mut shell = std::process::Command::new("sh");
            let shell = shell
                .args(["-c", command])
                .stdin(std::process::Stdio::piped());
            let mut child = shell.spawn().unwrap();
            let process = Process::of(child.id().cast_signed());
            if !is_killed {
                child.wait().unwrap();
            }
            let killed = process
                .is_some_and(|process| process.end_within(Duration::from_millis(50)).unwrap());
            assert_eq!(killed, is_killed, "{command}");
            child.wait().unwrap();
        }
    }
}
