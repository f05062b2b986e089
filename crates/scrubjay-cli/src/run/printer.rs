//! What reaches the user's standard output and standard error, and how far that got.
//!
//! Invariant: no byte of an answer is printed twice. When a run is begun again, by whomever, its output is compared
//! with what was printed of the run before and goes on after it; if it differs, that is an error for the caller to
//! explain.

use std::io;
use std::os::fd::BorrowedFd;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use super::frames::Stream;

/// Why a piece of output was not printed.
#[derive(Debug)]
pub enum Stop {
    /// It is not what was printed before it was begun again.
    Differs,
    /// Standard output or standard error does not take it.
    Io(Errno),
}

impl From<Stop> for io::Error {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Differs => io::Error::other("the output differs from what was already printed"),
            Stop::Io(errno) => {
                let error = io::Error::from(errno);
                io::Error::new(
                    error.kind(),
                    format!("the output cannot be written: {error}"),
                )
            }
        }
    }
}

/// A position in one stream, and the digest of all before it.
#[derive(Debug, Default)]
struct Position {
    bytes: u64,
    hasher: blake3::Hasher,
}

impl Position {
    fn advance(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        self.hasher.update(bytes);
    }
}

#[derive(Debug, Default)]
struct Progress {
    now: Position,
    /// How far the run before this one was printed, until this one gets there.
    before: Option<Position>,
}

impl Progress {
    /// The part of `bytes` that was not printed yet.
    fn admit<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], Stop> {
        let Some(before) = &self.before else {
            self.now.advance(bytes);
            return Ok(bytes);
        };
        let missing = (before.bytes - self.now.bytes).min(bytes.len() as u64);
        let (known, new) = bytes.split_at(missing as usize);
        self.now.advance(known);
        if self.now.bytes == before.bytes {
            if self.now.hasher.finalize() != before.hasher.finalize() {
                return Err(Stop::Differs);
            }
            self.before = None;
            self.now.advance(new);
        }
        Ok(new)
    }

    fn restart(&mut self) {
        let now = std::mem::take(&mut self.now);
        if self.before.is_none() && now.bytes > 0 {
            self.before = Some(now);
        }
    }
}

/// Prints an answer, once.
#[derive(Debug)]
pub struct Printer {
    /// Prints nothing: the answer is not wanted, or not yet.
    pub muted: bool,
    streams: [Progress; 2],
}

impl Printer {
    pub fn new(muted: bool) -> Self {
        Self {
            muted,
            streams: Default::default(),
        }
    }

    /// What of `bytes` is to be printed; the caller prints it.
    pub fn admit<'a>(&mut self, stream: Stream, bytes: &'a [u8]) -> Result<&'a [u8], Stop> {
        if self.muted {
            Ok(&[])
        } else {
            self.streams[stream as usize].admit(bytes)
        }
    }

    /// Prints what of `bytes` was not printed yet, however long that takes.
    pub fn print(&mut self, stream: Stream, bytes: &[u8]) -> Result<(), Stop> {
        let rest = self.admit(stream, bytes)?;
        self.write(stream, rest)
    }

    /// Prints what was admitted.
    pub fn write(&self, stream: Stream, mut rest: &[u8]) -> Result<(), Stop> {
        while !rest.is_empty() {
            match rustix::io::write(target(stream), rest) {
                Ok(written) => rest = &rest[written..],
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => wait_until_writable(stream).map_err(Stop::Io)?,
                Err(errno) => return Err(Stop::Io(errno)),
            }
        }
        Ok(())
    }

    /// The next bytes are the first ones of another run.
    pub fn restart(&mut self) {
        self.streams.iter_mut().for_each(Progress::restart);
    }

    /// Whether what was printed of the run before is not reached yet.
    pub fn compares(&self) -> bool {
        self.streams
            .iter()
            .any(|progress| progress.before.is_some())
    }

    /// The run is over; it must not have printed less than the one before.
    pub fn finish(&self) -> Result<(), Stop> {
        if self.compares() {
            Err(Stop::Differs)
        } else {
            Ok(())
        }
    }

    /// Says that what follows is not a continuation, and prints all of it.
    pub fn begin_anew(&mut self) {
        crate::output::complain(
            "the command was started again and prints something else than before; its output follows, from its beginning",
        );
        self.streams = Default::default();
    }
}

/// The user's stream.
pub fn target(stream: Stream) -> BorrowedFd<'static> {
    match stream {
        Stream::Stdout => rustix::stdio::stdout(),
        Stream::Stderr => rustix::stdio::stderr(),
    }
}

fn wait_until_writable(stream: Stream) -> Result<(), Errno> {
    let fd = target(stream);
    poll(&mut [PollFd::new(&fd, PollFlags::OUT)], None).map(drop)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    fn printed(printer: &mut Printer, bytes: &[u8]) -> Result<Vec<u8>, Stop> {
        printer.admit(Stream::Stdout, bytes).map(<[u8]>::to_vec)
    }

    #[test]
    fn a_run_begun_again_goes_on_after_what_was_printed() {
        let mut printer = Printer::new(false);
        assert_eq!(printed(&mut printer, b"one two ").unwrap(), b"one two ");
        printer.restart();
        assert_eq!(printed(&mut printer, b"one ").unwrap(), b"");
        printer.restart();
        assert_eq!(printed(&mut printer, b"one tw").unwrap(), b"");
        assert_eq!(printed(&mut printer, b"o three").unwrap(), b"three");
        assert!(printer.finish().is_ok());
    }

    #[test]
    fn a_run_begun_again_that_prints_something_else_is_noticed() {
        let mut printer = Printer::new(false);
        printed(&mut printer, b"10:31").unwrap();
        printer.restart();
        assert_eq!(printed(&mut printer, b"10:3").unwrap(), b"");
        assert!(matches!(printed(&mut printer, b"2"), Err(Stop::Differs)));
    }

    #[test]
    fn a_run_begun_again_that_prints_less_is_noticed_at_its_end() {
        let mut printer = Printer::new(false);
        printed(&mut printer, b"one two").unwrap();
        printer.restart();
        assert_eq!(printed(&mut printer, b"one").unwrap(), b"");
        assert!(matches!(printer.finish(), Err(Stop::Differs)));
    }
}
