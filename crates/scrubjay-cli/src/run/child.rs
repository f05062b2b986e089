//! The command as a process: started with pipes, watched together with our own signals, ended with us.
//!
//! A signal that somebody sends to us goes on to the command; one that a terminal sends reaches it anyway, because it
//! is in our process group. On Linux the command gets SIGTERM if we are killed; who takes over our lead waits for its
//! end, and has the kernel end it if it takes too long.

use std::ffi::OsString;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{ChildStderr, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::flag::register_conditional_default;
use signal_hook::iterator::backend::SignalDelivery;
use signal_hook::iterator::exfiltrator::WithOrigin;
use signal_hook::low_level::siginfo::Cause;

use super::frames::{Exit, Stream};

/// What became ready.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ready {
    pub stdout: bool,
    pub stderr: bool,
    /// The stream that was asked about takes output, or never will.
    pub writable: bool,
}

/// The command was found, but the system did not start it.
#[derive(Debug)]
pub struct NotStarted(pub io::Error);

impl std::fmt::Display for NotStarted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0.kind() {
            io::ErrorKind::NotFound => f.write_str("its interpreter was not found"),
            _ => self.0.fmt(f),
        }
    }
}

impl std::error::Error for NotStarted {}

/// A command that runs, or has run.
#[derive(Debug)]
pub struct Child {
    process: std::process::Child,
    pub stdout: Option<ChildStdout>,
    pub stderr: Option<ChildStderr>,
    signals: SignalDelivery<UnixStream, WithOrigin>,
    /// How it ended, and when that was noticed.
    pub ended: Option<(Exit, Instant)>,
    /// Somebody wanted it to end.
    pub interrupted: bool,
}

/// Makes `command` what runs: with `program` found, its name as it was typed, and `environment` added.
pub fn command(program: &Path, command: &[OsString]) -> Command {
    let mut made = Command::new(program);
    made.arg0(&command[0])
        .args(&command[1..])
        .env_remove(super::BACKGROUND);
    made
}

impl Child {
    pub fn spawn(mut command: Command, stdin: Stdio) -> io::Result<Self> {
        // Watched from before the start, so that no signal falls between.
        let signals = watch_signals()?;
        die_with_parent(&mut command);
        let mut process = command
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| io::Error::new(error.kind(), NotStarted(error)))?;
        let (stdout, stderr) = (process.stdout.take(), process.stderr.take());
        Ok(Self {
            process,
            stdout,
            stderr,
            signals,
            ended: None,
            interrupted: false,
        })
    }

    /// Waits until a pipe has something, if we are `reading`, `writable` takes something, a signal came or `timeout` is
    /// over.
    pub fn wait(
        &mut self,
        reading: bool,
        writable: Option<BorrowedFd<'_>>,
        timeout: Option<Duration>,
    ) -> io::Result<Ready> {
        let stdout = self.stdout.as_ref().filter(|_| reading).map(AsFd::as_fd);
        let stderr = self.stderr.as_ref().filter(|_| reading).map(AsFd::as_fd);
        let asked = [
            (Some(self.signals.get_read().as_fd()), PollFlags::IN),
            (stdout, PollFlags::IN),
            (stderr, PollFlags::IN),
            (writable, PollFlags::OUT),
        ];
        let present = asked
            .iter()
            .filter_map(|(fd, flags)| Some((fd.as_ref()?, *flags)));
        let mut fds: Vec<_> = present.map(|(fd, flags)| PollFd::new(fd, flags)).collect();
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        let mut answers = fds.iter().map(|fd| !fd.revents().is_empty());
        let [signalled, stdout, stderr, writable] =
            asked.map(|(fd, _)| fd.is_some() && answers.next().unwrap_or(false));
        let ready = Ready {
            stdout,
            stderr,
            writable,
        };
        if signalled {
            self.take_signals()?;
        }
        Ok(ready)
    }

    fn take_signals(&mut self) -> io::Result<()> {
        let came: Vec<_> = self.signals.pending().collect();
        for origin in came {
            if origin.signal == SIGCHLD {
                self.look()?;
                continue;
            }
            self.interrupted = true;
            if origin.cause != Cause::Kernel && self.ended.is_none() {
                self.send(origin.signal);
            }
        }
        Ok(())
    }

    fn look(&mut self) -> io::Result<()> {
        if self.ended.is_none()
            && let Some(status) = self.process.try_wait()?
        {
            self.ended = Some((exit_of(status), Instant::now()));
        }
        Ok(())
    }

    /// The process, where it can be told from others.
    pub fn identity(&self) -> Option<super::process::Process> {
        super::process::Process::of(self.process.id().cast_signed())
    }

    fn send(&self, signal: i32) {
        let pid = i32::try_from(self.process.id())
            .ok()
            .and_then(Pid::from_raw);
        if let (Some(pid), Some(signal)) = (pid, Signal::from_named_raw(signal)) {
            // It may have ended by itself; then there is nobody to tell.
            let _ = kill_process(pid, signal);
        }
    }

    /// Reads what a pipe has; 0 is its end.
    pub fn read(&mut self, stream: Stream, buffer: &mut [u8]) -> io::Result<usize> {
        let read = match stream {
            Stream::Stdout => self.stdout.as_mut().map(|pipe| pipe.read(buffer)),
            Stream::Stderr => self.stderr.as_mut().map(|pipe| pipe.read(buffer)),
        };
        read.unwrap_or(Ok(0))
    }

    /// Whether it has ended, and its pipes with it.
    pub fn is_over(&self) -> bool {
        self.ended.is_some() && self.stdout.is_none() && self.stderr.is_none()
    }

    /// Closes our end of a pipe: the command learns, when it writes next, that nobody reads.
    pub fn close(&mut self, stream: Stream) {
        match stream {
            Stream::Stdout => self.stdout = None,
            Stream::Stderr => self.stderr = None,
        }
    }

    pub fn pipe(&self, stream: Stream) -> Option<BorrowedFd<'_>> {
        match stream {
            Stream::Stdout => self.stdout.as_ref().map(AsFd::as_fd),
            Stream::Stderr => self.stderr.as_ref().map(AsFd::as_fd),
        }
    }
}

fn exit_of(status: ExitStatus) -> Exit {
    match (status.code(), status.signal()) {
        (Some(code), _) => Exit::Code(code),
        (None, signal) => Exit::Signal(signal.unwrap_or_default()),
    }
}

/// Signals that were ignored when we started (`nohup`) stay ignored, here and in the command.
fn watch_signals() -> io::Result<SignalDelivery<UnixStream, WithOrigin>> {
    let (read, write) = UnixStream::pair()?;
    let watched = ending_signals().chain([SIGCHLD]);
    SignalDelivery::with_pipe(read, write, WithOrigin::default(), watched)
}

/// From here on what would end a process ends this one: there is no command any more to pass it on to.
pub fn let_signals_end_us() -> io::Result<()> {
    for signal in ending_signals() {
        register_conditional_default(signal, Arc::new(AtomicBool::new(true)))?;
    }
    Ok(())
}

fn ending_signals() -> impl Iterator<Item = i32> {
    let ignored = ignored_signals();
    [SIGINT, SIGTERM, SIGHUP, SIGQUIT]
        .into_iter()
        .filter(move |signal| ignored >> (signal - 1) & 1 == 0)
}

/// A bit for each ignored signal, the lowest for signal 1; none where the system does not tell.
fn ignored_signals() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or(0)
}

#[cfg(target_os = "linux")]
#[allow(
    unsafe_code,
    reason = "code between fork and exec; std offers no safe way"
)]
fn die_with_parent(command: &mut Command) {
    let parent = rustix::process::getpid();
    let prepare = move || {
        rustix::process::set_parent_process_death_signal(Some(Signal::TERM))?;
        if rustix::process::getppid() == Some(parent) {
            Ok(())
        } else {
            Err(io::ErrorKind::BrokenPipe.into())
        }
    };
    // SAFETY: the closure makes two system calls and touches no memory that another thread could have locked; its error
    // is built without allocation.
    unsafe { command.pre_exec(prepare) };
}

#[cfg(not(target_os = "linux"))]
fn die_with_parent(_command: &mut Command) {}
