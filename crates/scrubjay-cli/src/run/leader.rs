//! The one run of a key: starts the command, passes its output on as it comes, keeps it, stores it.
//!
//! Invariant: a run is stored only whole, and only if nothing that its key names changed meanwhile. Whoever waits sees the
//! last frame only then too; a run that was interrupted or could not be kept has none, so a waiter begins again.

use std::fs::{self, File};
use std::io;
use std::os::fd::BorrowedFd;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use scrubjay::disk::{Codec, Fence, LARGE, Lead, NewRecord};

use super::artefact;
use super::child::{self, Child, Ready};
use super::cycle::LEADING;
use super::frames::{Exit, Frame, FrameReader, Stream};
use super::live::{self, Live, Start, Started};
use super::printer::{Printer, Stop, target};
use super::{Job, replay};

/// How long the command of a leader that was killed may take to end before it is killed, too.
const GRACE: Duration = Duration::from_secs(2);
/// A pipe whose other end may be written to takes so much without blocking.
const PIPE_BUF: usize = 4096;

/// The command is run by us.
#[derive(Debug)]
pub struct Leader<'a> {
    job: &'a Job,
    printer: &'a mut Printer,
    /// Others wait for this to be dropped.
    lead: Option<Lead>,
    live: Option<Live>,
    fence: Fence,
    began: Instant,
}

/// How a run ended, and why it was not stored, if it was not.
#[derive(Debug)]
pub struct Outcome {
    pub exit: Exit,
    /// What it took.
    pub cost: Duration,
    /// Somebody wanted it to end.
    pub interrupted: bool,
    pub not_stored: Option<String>,
}

impl<'a> Leader<'a> {
    pub fn new(job: &'a Job, lead: Lead, printer: &'a mut Printer) -> Self {
        end_orphan(job);
        let start = Start::now(&job.function.name, &job.key.facts.command);
        let live = Live::create(&job.store, &job.key.digest, &start);
        let live = live.inspect_err(warn_not_kept).ok();
        // What is not kept cannot be printed later.
        printer.muted &= live.is_some() || job.silent;
        let fence = job.store.fence();
        let lead = live.is_some().then_some(lead);
        Self {
            job,
            printer,
            lead,
            live,
            fence,
            began: Instant::now(),
        }
    }

    /// Runs the command without a key: nobody waits, and nothing is kept.
    pub fn without_store(job: &'a Job, printer: &'a mut Printer) -> Self {
        Self {
            job,
            printer,
            lead: None,
            live: None,
            fence: job.store.fence(),
            began: Instant::now(),
        }
    }

    /// Runs the command to its end. The error says why it could not be started.
    pub fn run(mut self) -> io::Result<Outcome> {
        let mut child = self.spawn()?;
        self.keep_child(&child)?;
        self.pump(&mut child)?;
        child::let_signals_end_us()?;
        let (exit, _) = child.ended.expect("pumping ends after the command");
        let cost = self.began.elapsed();
        let interrupted = child.interrupted;
        let withheld = self.withheld(exit)?;
        let not_stored = if interrupted {
            self.give_up();
            Some("it was interrupted".into())
        } else {
            self.finish(exit, cost)?
        };
        if let Some(mut frames) = withheld {
            self.printer.muted = false;
            replay::output(&mut frames, self.printer)?;
        }
        Ok(Outcome {
            exit,
            cost,
            interrupted,
            not_stored,
        })
    }

    /// What a run printed that succeeded though nothing of it was to be seen before its end.
    fn withheld(&self, exit: Exit) -> io::Result<Option<FrameReader<File>>> {
        let is_wanted = self.printer.muted && !self.job.silent && exit.is_success();
        let kept = self.live.as_ref().filter(|_| is_wanted);
        kept.map(Live::read).transpose()
    }

    /// Keeps and stores a run that ended by itself; says why not, if it is not stored.
    fn finish(&mut self, exit: Exit, cost: Duration) -> io::Result<Option<String>> {
        let mut not_stored = self.keep_artefacts(exit).err();
        if let Some(live) = &mut self.live
            && let Err(error) = live.frames.write(Frame::End(exit))
        {
            warn_not_kept(&error);
            self.give_up();
        }
        self.finish_printing()?;
        not_stored = not_stored.or_else(|| self.reason_not_to_store(exit));
        if not_stored.is_none() {
            not_stored = match self.store(exit, cost) {
                Err(error) => Some(error.to_string()),
                Ok(()) => self.reason_not_to_be_found(),
            };
        }
        Ok(not_stored)
    }

    fn spawn(&self) -> io::Result<Child> {
        let mut command = child::command(&self.job.subject.program, &self.job.subject.command);
        command.env(LEADING, self.job.ancestors.and(&self.job.key.digest));
        let stdin = self
            .job
            .input
            .as_ref()
            .map_or(Ok(Stdio::null()), |input| input.for_command())?;
        Child::spawn(command, stdin)
    }

    /// Passes output on until the command has ended and its pipes are closed, or nobody closes them for too long.
    fn pump(&mut self, child: &mut Child) -> io::Result<()> {
        let mut buffer = vec![0; 1 << 16];
        let mut owed = None;
        while let Some(patience) = self.patience(child, &mut owed) {
            let ready = child.wait(None, patience)?;
            let passed = self.pass_ready(child, ready, &mut buffer)?;
            let is_dry = !(ready.stdout || ready.stderr);
            owed = owed.map(|owed| {
                if is_dry {
                    0
                } else {
                    owed.saturating_sub(passed)
                }
            });
        }
        Ok(())
    }

    /// How long to wait for more output: `None` if there is none to wait for, `Some(None)` if as long as it takes.
    ///
    /// What the command itself left in its pipes, `owed`, is part of its answer, however long reading it takes.
    fn patience(&self, child: &Child, owed: &mut Option<u64>) -> Option<Option<Duration>> {
        let Some((_, at)) = &child.ended else {
            return Some(None);
        };
        if child.stdout.is_none() && child.stderr.is_none() {
            return None;
        }
        if *owed.get_or_insert_with(|| in_pipes(child)) > 0 {
            return Some(Some(Duration::ZERO));
        }
        let left = self.job.linger.saturating_sub(at.elapsed());
        (!left.is_zero()).then_some(Some(left))
    }

    /// Passes on what came; gives the number of bytes.
    fn pass_ready(
        &mut self,
        child: &mut Child,
        ready: Ready,
        buffer: &mut [u8],
    ) -> io::Result<u64> {
        let mut passed = 0;
        if ready.stdout {
            passed += self.pass_on(child, Stream::Stdout, buffer)?;
        }
        if ready.stderr {
            passed += self.pass_on(child, Stream::Stderr, buffer)?;
        }
        Ok(passed as u64)
    }

    /// Passes on what can be read from one stream at once.
    fn pass_on(
        &mut self,
        child: &mut Child,
        stream: Stream,
        buffer: &mut [u8],
    ) -> io::Result<usize> {
        let length = match child.read(stream, buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(0),
            read => read?,
        };
        if length == 0 {
            child.close(stream);
            return Ok(0);
        }
        // What a command says about being interrupted is no part of its answer: whoever takes over will not say it.
        if !child.interrupted {
            self.keep(Frame::Output(stream, &buffer[..length]))?;
        }
        match self.print(child, stream, &buffer[..length]) {
            Ok(()) => {}
            Err(Stop::Differs) => self.print_anew()?,
            Err(Stop::Io(Errno::PIPE)) => {
                // The command gets to know what it would know without us.
                child.close(stream);
                child.interrupted = true;
                self.give_up();
            }
            Err(stop) => return Err(stop.into()),
        }
        Ok(length)
    }

    /// Appends to the live file. If that cannot take it, nothing will be stored, and whoever waits runs the command.
    fn keep(&mut self, frame: Frame<'_>) -> io::Result<()> {
        let written = (self.live.as_mut()).map_or(Ok(()), |live| live.frames.write(frame));
        self.kept(written)
    }

    fn kept(&mut self, written: io::Result<()>) -> io::Result<()> {
        if let Err(error) = written {
            warn_not_kept(&error);
            if self.printer.muted && !self.job.silent {
                self.printer.muted = false;
                self.print_so_far()?;
            }
            self.give_up();
        }
        Ok(())
    }

    /// Notes which process runs the command, for who leads if we are killed.
    fn keep_child(&mut self, child: &Child) -> io::Result<()> {
        let (Some(live), Some(child)) = (&mut self.live, child.identity()) else {
            return Ok(());
        };
        let said = live.say(&Started { child });
        self.kept(said)
    }

    fn give_up(&mut self) {
        self.live = None;
        self.lead = None;
    }

    /// Prints without ever being deaf to signals; gives up when the command was told to end and did.
    fn print(&mut self, child: &mut Child, stream: Stream, bytes: &[u8]) -> Result<(), Stop> {
        let mut rest = self.printer.admit(stream, bytes)?;
        let fd = target(stream);
        let step = match is_regular(stream) {
            true => usize::MAX,
            false => PIPE_BUF,
        };
        while !rest.is_empty() {
            if step == PIPE_BUF && !is_writable(child, fd)? {
                return Ok(());
            }
            match rustix::io::write(fd, &rest[..rest.len().min(step)]) {
                Ok(written) => rest = &rest[written..],
                Err(Errno::INTR | Errno::AGAIN) => {}
                Err(errno) => return Err(Stop::Io(errno)),
            }
        }
        Ok(())
    }

    fn print_anew(&mut self) -> io::Result<()> {
        self.printer.begin_anew();
        self.print_so_far()
    }

    fn print_so_far(&mut self) -> io::Result<()> {
        let Some(live) = &self.live else {
            return Ok(());
        };
        replay::output(&mut live.read()?, self.printer)
    }

    fn finish_printing(&mut self) -> io::Result<()> {
        match self.printer.finish() {
            Err(Stop::Differs) if !self.printer.muted => self.print_anew(),
            _ => Ok(()),
        }
    }

    /// Appends what `--out` names; the error says what could not be kept.
    fn keep_artefacts(&mut self, exit: Exit) -> Result<(), String> {
        let Some(live) = &mut self.live else {
            return Ok(());
        };
        for path in &self.job.subject.out {
            let is_there = fs::symlink_metadata(path).is_ok();
            if !is_there && exit.is_success() {
                return Err(format!("the command did not make {}", path.display()));
            }
            if is_there {
                let kept = artefact::capture(path, &mut live.frames);
                kept.map_err(|error| format!("{}: {error}", path.display()))?;
            }
        }
        Ok(())
    }

    fn reason_not_to_store(&self, exit: Exit) -> Option<String> {
        if self.live.is_none() {
            return Some("the store did not take it".into());
        }
        if !exit.is_success() && (self.job.lives.fail_ttl.is_none() || self.job.keeps_stale) {
            return Some(format!("the command failed with {exit}"));
        }
        match self.job.subject.states() {
            Ok(states) if states == self.job.states => None,
            Ok(states) => {
                let changed = states
                    .iter()
                    .zip(&self.job.states)
                    .find(|(now, then)| now != then);
                let name = changed.map_or("a dependency", |(now, _)| &now.of);
                Some(format!("{name} changed while the command ran"))
            }
            Err(error) => Some(error.to_string()),
        }
    }

    /// The store refuses in silence what came too late or is too large.
    fn reason_not_to_be_found(&self) -> Option<String> {
        let found = self.job.store.get(&self.job.key.digest);
        let why = "it was removed while the command ran, or is larger than the store takes";
        found.is_none().then(|| why.into())
    }

    fn store(&mut self, exit: Exit, cost: Duration) -> Result<(), scrubjay::Error> {
        let live = self
            .live
            .take()
            .expect("there is a reason not to store a run that was not kept");
        let record = self.record(exit, cost);
        if live.len().is_ok_and(|length| length < LARGE)
            && let Ok(payload) = fs::read(&live.path)
        {
            return self.job.store.put(record, &payload);
        }
        self.job.store.put_file(record, &live.path)
    }

    fn record(&self, exit: Exit, cost: Duration) -> NewRecord {
        let job = self.job;
        let record = NewRecord::new(job.key.digest, job.function.clone())
            .load_cost(cost)
            .codec(Codec::COMMAND)
            .failure(!exit.is_success())
            .description(job.key.facts.to_description())
            .fence(self.fence);
        let record = job.lives.give_to(record, exit.is_success());
        job.tags.iter().fold(record, |record, tag| record.tag(tag))
    }
}

/// Sees to it that the command of a leader that was killed has ended.
fn end_orphan(job: &Job) {
    let orphan = live::orphan(&job.store, &job.key.digest);
    let ended = orphan.map(|orphan| orphan.end_within(GRACE));
    if matches!(ended, Some(Ok(true))) {
        crate::output::complain(
            "an earlier run, whose leader was killed, did not end by itself, and was killed too",
        );
    }
}

/// Bytes that the command left in its pipes when it ended.
fn in_pipes(child: &Child) -> u64 {
    let pipes = [Stream::Stdout, Stream::Stderr]
        .into_iter()
        .filter_map(|stream| child.pipe(stream));
    pipes
        .map(|pipe| rustix::io::ioctl_fionread(pipe).unwrap_or(0))
        .sum()
}

/// Waits until somebody takes output; false if nobody does and the command has ended because it was told to.
fn is_writable(child: &mut Child, fd: BorrowedFd<'_>) -> Result<bool, Stop> {
    loop {
        let is_abandoned = child.interrupted && child.ended.is_some();
        let patience = is_abandoned.then_some(Duration::ZERO);
        let ready = child.wait(Some(fd), patience);
        if ready.map_err(|_| Stop::Io(Errno::IO))?.writable {
            return Ok(true);
        }
        if is_abandoned {
            return Ok(false);
        }
    }
}

fn warn_not_kept(error: &io::Error) {
    crate::output::complain(&format!(
        "the store does not take the output, which will not be remembered: {error}"
    ));
}

fn is_regular(stream: Stream) -> bool {
    use rustix::fs::{FileType, fstat};
    fstat(target(stream))
        .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile)
}
