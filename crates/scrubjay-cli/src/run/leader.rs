//! The one run of a key: starts the command, passes its output on as it comes, keeps it, stores it.
//!
//! Invariant: a run is stored only whole, and only if nothing that its key names changed meanwhile. Whoever waits sees
//! the last frame only then too; a run that was interrupted or could not be kept has none, so a waiter begins again.

use std::collections::VecDeque;
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
use super::frames::{Exit, Frame, FrameReader, LONGEST, Stream};
use super::live::{self, Live, Start, Started};
use super::printer::{Printer, Stop, target};
use super::{Job, replay};

/// How long the command of a leader that was killed may take to end before it is killed, too.
const GRACE: Duration = Duration::from_secs(2);
/// A pipe whose other end may be written to takes so much without blocking.
const PIPE_BUF: usize = 4096;
/// Bytes of output that are read though our own reader does not take them yet: others may wait for them who do.
const MOST_AHEAD: usize = 8 << 20;

/// The command is run by us.
#[derive(Debug)]
pub struct Leader<'a> {
    job: &'a Job,
    printer: &'a mut Printer,
    /// Others wait for this to be dropped.
    lead: Option<Lead>,
    live: Option<Live>,
    fence: Fence,
    ahead: Ahead,
    began: Instant,
}

/// What was read and kept, but not printed yet, in its order.
#[derive(Debug, Default)]
struct Ahead {
    /// The end of a piece whose beginning was printed.
    rest: Option<(Stream, Vec<u8>)>,
    pieces: VecDeque<(Stream, Vec<u8>)>,
    bytes: usize,
}

impl Ahead {
    fn is_empty(&self) -> bool {
        self.pieces.is_empty() && self.rest.is_none()
    }

    fn has_room(&self) -> bool {
        // What each piece takes by itself counts too.
        self.bytes + self.pieces.len() * 64 < MOST_AHEAD
    }

    fn push(&mut self, stream: Stream, bytes: &[u8]) {
        self.bytes += bytes.len();
        match self.pieces.back_mut() {
            Some((last, piece)) if *last == stream && piece.len() < LONGEST => piece.extend(bytes),
            _ => self.pieces.push_back((stream, bytes.to_vec())),
        }
    }

    fn pop(&mut self) -> Option<(Stream, Vec<u8>)> {
        let piece = self.pieces.pop_front()?;
        self.bytes -= piece.1.len();
        Some(piece)
    }
}

/// What to do about output when our reader takes it, or does not.
#[derive(Debug)]
enum Next {
    Write,
    /// The command has ended because it was told to, and nobody reads.
    GiveUp,
    /// The command has ended and all is kept: others need not wait for our reader.
    Postpone,
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
            ahead: Ahead::default(),
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
            ahead: Ahead::default(),
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
        self.give_up();
        self.print_rest(&mut child)?;
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
            let ready = child.wait(true, None, patience)?;
            let passed = self.pass_ready(child, ready, &mut buffer)?;
            self.catch_up(child)?;
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
        let length = self.read(child, stream, buffer)?;
        let bytes = &buffer[..length];
        match self.ahead.is_empty() {
            _ if bytes.is_empty() => {}
            true => self.show(child, stream, bytes)?,
            false => self.ahead.push(stream, bytes),
        }
        Ok(length)
    }

    /// Reads and keeps what one stream has.
    fn read(&mut self, child: &mut Child, stream: Stream, buffer: &mut [u8]) -> io::Result<usize> {
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
        Ok(length)
    }

    /// Prints what was kept; all of it if it is not what was printed before.
    fn show(&mut self, child: &mut Child, stream: Stream, bytes: &[u8]) -> io::Result<()> {
        match self.print(child, stream, bytes) {
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
        Ok(())
    }

    /// Prints what was read ahead.
    fn catch_up(&mut self, child: &mut Child) -> io::Result<()> {
        while self.ahead.rest.is_none()
            && let Some((stream, bytes)) = self.ahead.pop()
        {
            self.show(child, stream, &bytes)?;
        }
        Ok(())
    }

    /// Prints what is left, when nobody waits for us any more.
    fn print_rest(&mut self, child: &mut Child) -> io::Result<()> {
        if let Some((stream, rest)) = self.ahead.rest.take() {
            self.printer.write(stream, &rest)?;
        }
        self.catch_up(child)
    }

    /// Reads and keeps what others may wait for, while our own reader takes nothing.
    fn read_ahead(&mut self, child: &mut Child, ready: Ready) -> io::Result<()> {
        let streams = [
            (ready.stdout, Stream::Stdout),
            (ready.stderr, Stream::Stderr),
        ];
        let mut buffer = [0; PIPE_BUF];
        for (_, stream) in streams.into_iter().filter(|(is_ready, _)| *is_ready) {
            let length = self.read(child, stream, &mut buffer)?;
            self.ahead.push(stream, &buffer[..length]);
        }
        Ok(())
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
            let next = match step {
                PIPE_BUF => self.wait_for_reader(child, fd)?,
                _ => Next::Write,
            };
            match next {
                Next::Write => {}
                Next::GiveUp => return Ok(()),
                Next::Postpone => {
                    self.ahead.rest = Some((stream, rest.to_vec()));
                    return Ok(());
                }
            }
            match rustix::io::write(fd, &rest[..rest.len().min(step)]) {
                Ok(written) => rest = &rest[written..],
                Err(Errno::INTR | Errno::AGAIN) => {}
                Err(errno) => return Err(Stop::Io(errno)),
            }
        }
        Ok(())
    }

    /// Waits until somebody takes output.
    fn wait_for_reader(&mut self, child: &mut Child, fd: BorrowedFd<'_>) -> Result<Next, Stop> {
        loop {
            let is_abandoned = child.interrupted && child.ended.is_some();
            let is_kept = self.live.is_some() && !child.interrupted;
            let is_all_kept = is_kept && child.is_over() && !self.printer.compares();
            let patience = (is_abandoned || is_all_kept).then_some(Duration::ZERO);
            let reading = is_kept && self.ahead.has_room();
            let failed = |error| Stop::Io(Errno::from_io_error(&error).unwrap_or(Errno::IO));
            let ready = child.wait(reading, Some(fd), patience).map_err(failed)?;
            if ready.writable {
                return Ok(Next::Write);
            }
            if is_abandoned {
                return Ok(Next::GiveUp);
            }
            if is_all_kept {
                return Ok(Next::Postpone);
            }
            self.read_ahead(child, ready).map_err(failed)?;
        }
    }

    fn print_anew(&mut self) -> io::Result<()> {
        self.printer.begin_anew();
        // It was kept, and is printed with all the rest.
        self.ahead = Ahead::default();
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
