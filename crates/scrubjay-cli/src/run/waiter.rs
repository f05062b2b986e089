//! Waiting for somebody else's run of the same key: its output is read from the live file as it grows.
//!
//! Invariant: a waiter waits for a living leader only. The kernel frees the lead of one that dies, and whoever gets it
//! first has at most a look back to make sure that the run did not end in between.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use scrubjay::disk::Lead;

use super::Job;
use super::cycle::Wait;
use super::frames::{Exit, FrameReader};
use super::live::{self, Watched};
use super::printer::Printer;
use super::replay::{self, Broken, Replay};

const SHORTEST_PAUSE: Duration = Duration::from_micros(200);
const LONGEST_PAUSE: Duration = Duration::from_millis(10);

/// What came of waiting.
#[derive(Debug)]
pub enum Waited {
    /// The leader's run ended so, and is printed.
    Ended(Exit),
    /// There is no leader any more: it is us now.
    Lead(Lead),
    /// The leader's run waits for one that we are part of, or that could not be found out.
    Circle,
    /// Leads cannot be had; the store has told why on standard error.
    InVain,
}

/// Follows whoever leads until the run ends or nobody leads.
pub fn wait(job: &Job, printer: &mut Printer) -> io::Result<Waited> {
    let scratch = match live::directory(&job.store) {
        Ok(scratch) => scratch,
        Err(_) => return Ok(Waited::InVain),
    };
    // Announced for as long as we wait.
    let Ok(Some(_wait)) = Wait::begin(&scratch, &job.ancestors, &job.key.digest) else {
        return Ok(Waited::Circle);
    };
    let mut waiter = Waiter {
        job,
        scratch,
        watched: None,
        is_damaged: false,
        replay: Replay::new(job, printer),
    };
    let mut pause = SHORTEST_PAUSE;
    loop {
        let lead = match job.try_lead() {
            // Others may be quicker than our reader: while there is something to print, the lead is theirs.
            Ok(lead) => lead.filter(|_| !waiter.is_behind()),
            Err(_) => return Ok(Waited::InVain),
        };
        // Looked at after the lead was tried for: a run that ended before it was released is seen to its end.
        match waiter.look()? {
            Progress::Ended(exit) => return Ok(Waited::Ended(exit)),
            Progress::Some => pause = SHORTEST_PAUSE,
            Progress::None => pause = (pause * 2).min(LONGEST_PAUSE),
        }
        if let Some(lead) = lead {
            waiter.replay.restart();
            return Ok(Waited::Lead(lead));
        }
        thread::sleep(pause);
    }
}

enum Progress {
    Ended(Exit),
    Some,
    None,
}

struct Waiter<'a> {
    job: &'a Job,
    scratch: PathBuf,
    watched: Option<Watched>,
    /// There is no more to be had from it.
    is_damaged: bool,
    replay: Replay<'a>,
}

impl Waiter<'_> {
    /// Sees to it that what is watched is the newest run, if there is one.
    fn watch(&mut self) -> io::Result<()> {
        if self.job.force {
            // The run that is on began before it was forced; only the next one will do.
            return Ok(());
        }
        if self.watched.as_ref().is_some_and(Watched::is_superseded) {
            self.watched = None;
            self.replay.restart();
        }
        if self.watched.is_none() {
            self.watched = Watched::open(&self.scratch, &self.job.key.digest)?;
            self.is_damaged = false;
        }
        Ok(())
    }

    /// Whether there is more in the live file than was printed.
    fn is_behind(&mut self) -> bool {
        let can_print = self.watch().is_ok() && !self.is_damaged;
        let watched = self.watched.as_mut().filter(|_| can_print);
        watched.is_some_and(|watched| watched.frames.has_next().unwrap_or(false))
    }

    /// Prints what is new in the live file.
    fn look(&mut self) -> io::Result<Progress> {
        self.watch()?;
        let Some(watched) = &mut self.watched else {
            return Ok(Progress::None);
        };
        let before = watched.frames.position();
        match self.replay.advance(&mut watched.frames) {
            Ok(Some(exit)) => {
                let frames = watched.reread()?;
                self.print_withheld(exit, frames)?;
                Ok(Progress::Ended(exit))
            }
            Ok(None) if watched.frames.position() > before => Ok(Progress::Some),
            Ok(None) => Ok(Progress::None),
            Err(Broken::Differs) => {
                self.replay.begin_anew();
                self.watched = None;
                self.look()
            }
            Err(Broken::Io(error)) => Err(error),
            // Not readable now; the answer will be in the store, or the lead will be free.
            Err(Broken::Damaged(_)) => {
                self.is_damaged = true;
                Ok(Progress::None)
            }
        }
    }
    /// Prints a run that succeeded though nothing of it was to be seen before its end.
    fn print_withheld(&mut self, exit: Exit, mut frames: FrameReader<File>) -> io::Result<()> {
        let printer = self.replay.printer();
        if !printer.muted || self.job.silent || !exit.is_success() {
            return Ok(());
        }
        printer.muted = false;
        replay::output(&mut frames, printer)
    }
}
