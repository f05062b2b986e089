//! `scrubjay run`: an answer from the store, from somebody who is computing it now, or from running the command.
//!
//! Invariant: whatever is wrong with the store, the command runs; the store's trouble is one line on standard error.
//!
//! A hit is the short way through [`Job::answer`]: key, lookup, replay; no thread, no lock, no signal handler.

mod answer;
mod artefact;
mod child;
mod cycle;
pub mod dependency;
pub mod frames;
pub mod key;
mod leader;
pub mod life;
pub mod live;
pub mod printer;
pub mod process;
pub mod program;
mod refresh;
pub mod replay;
pub mod stdin;
mod waiter;

use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use scrubjay::disk::{Function, Lead, Record, Store};

use crate::args::{self, Global, KeyOptions, Lives};
use crate::failure::{Failure, NOT_EXECUTABLE, NOT_FOUND, RUN, USAGE};
use crate::output::{self, complain};
use crate::store;
use answer::{Answer, Source};
use child::NotStarted;
use cycle::Ancestors;
use frames::Exit;
use key::{Key, State, Subject};
use leader::Leader;
use life::Use;
use printer::Printer;
use replay::Broken;
use stdin::Input;
use waiter::Waited;

/// Set for the process that refreshes in the background; never passed on to a command.
pub const BACKGROUND: &str = "SCRUBJAY_BACKGROUND";

/// Everything that is known about a run before it is answered.
#[derive(Debug)]
pub struct Job {
    store: Store,
    subject: Subject,
    states: Vec<State>,
    key: Key,
    input: Option<Input>,
    /// The runs that this one is part of.
    ancestors: Ancestors,
    function: Function,
    tags: Vec<String>,
    lives: Lives,
    linger: Duration,
    force: bool,
    /// Nothing is printed, whatever happens.
    silent: bool,
    /// A stale answer is at hand in case the command fails.
    keeps_stale: bool,
}

/// Runs, or replays, and ends as the command did.
pub fn run(global: &Global, arguments: &args::Run) -> ExitCode {
    let program = match program::find(&arguments.key.command[0]) {
        Ok(program) => program,
        Err(error) => return cannot_start(&arguments.key, &error),
    };
    let dependencies = match key::dependencies(&arguments.key) {
        Ok(dependencies) => dependencies,
        Err(message) => return Failure::new(USAGE, message).report(),
    };
    let job = Subject::new(&arguments.key, dependencies, program.clone())
        .map_err(Failure::from)
        .and_then(|subject| Job::prepare(global, arguments, subject));
    let mut job = match job {
        Ok(job) => job,
        Err(failure) => return run_plainly(arguments, &program, &failure),
    };
    let answer = if arguments.warm && !arguments.background {
        job.warm()
    } else {
        job.answer(arguments.background)
    };
    match answer {
        Ok(answer) => {
            if let Some(event) = answer.event() {
                job.store.count(&job.function.name, event);
            }
            if arguments.verbose || global.json {
                answer.report(global, &job);
            }
            // Closes the store: what ends by a signal drops nothing.
            drop(job);
            end(answer.exit)
        }
        Err(error)
            if error
                .get_ref()
                .is_some_and(|cause| cause.is::<NotStarted>()) =>
        {
            cannot_execute(&arguments.key, &error)
        }
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => output::die_of_broken_pipe(),
        Err(error) => Failure::new(RUN, error.to_string()).report(),
    }
}

impl Job {
    fn prepare(global: &Global, arguments: &args::Run, subject: Subject) -> Result<Self, Failure> {
        let store = store::open_or_create(&store::directory(global)?, arguments.capacity)?;
        let states = subject.states()?;
        let input = arguments
            .key
            .stdin
            .then(|| live::nameless(&store).and_then(stdin::keep))
            .transpose()?;
        let digest = match &input {
            Some(Input::Kept(_, digest)) => Some(digest.clone()),
            _ => None,
        };
        let key = subject.key(states.clone(), digest);
        let name = arguments
            .name
            .clone()
            .unwrap_or_else(|| default_name(&arguments.key));
        Ok(Self {
            store,
            subject,
            states,
            key,
            input,
            ancestors: Ancestors::of_this_process(),
            function: Function::new(name, ""),
            tags: arguments.tags.clone(),
            lives: arguments.lives.clone(),
            linger: arguments.linger,
            force: arguments.force,
            silent: arguments.background,
            keeps_stale: false,
        })
    }

    /// Starts a run in the background unless the answer is known.
    fn warm(&self) -> io::Result<Answer> {
        let known = !self.force && self.stored().is_some_and(|(_, how)| how == Use::Fresh);
        let source = if known {
            Source::Known
        } else if refresh::start(self) {
            Source::Warming
        } else {
            Source::Busy
        };
        Ok(Answer::absent(source))
    }

    fn answer(&mut self, background: bool) -> io::Result<Answer> {
        let mut printer = Printer::new(background);
        if let Some(Input::Broken(..)) = self.input {
            complain("the store does not take standard input; the answer is not remembered");
            return self.run_alone(&mut printer);
        }
        let mut fallback = None;
        if !self.force {
            match self.stored() {
                Some((record, Use::Fresh)) => {
                    if let Some(answer) = self.replay(record, &mut printer, Source::Hit)? {
                        return Ok(answer);
                    }
                }
                Some((record, Use::Stale)) if !background => {
                    refresh::start(self);
                    if let Some(answer) = self.replay(record, &mut printer, Source::Stale)? {
                        return Ok(answer);
                    }
                }
                Some((_, Use::Stale)) => self.keeps_stale = true,
                Some((record, Use::IfError)) => {
                    self.keeps_stale = true;
                    fallback = (!background).then_some(record);
                }
                Some((_, Use::None)) | None => {}
            }
        }
        printer.muted |= fallback.is_some();
        let mut answer = self.compute(background, &mut printer)?;
        if let Some(record) = fallback {
            self.choose(&mut answer, record)?;
        }
        Ok(answer)
    }

    /// Leads, or waits for who does.
    fn compute(&mut self, background: bool, printer: &mut Printer) -> io::Result<Answer> {
        let lead = match self.try_lead() {
            Ok(Some(lead)) => lead,
            // Somebody refreshes already; there is nothing to wait for.
            Ok(None) if background => return Ok(Answer::absent(Source::Busy)),
            Ok(None) => match self.wait(printer)? {
                Waited::Ended(exit) => {
                    return Ok(Answer::new(exit, Source::Waited, Duration::ZERO));
                }
                Waited::Lead(lead) => lead,
                Waited::Circle => return Ok(Leader::without_store(self, printer).run()?.into()),
                Waited::InVain => return self.run_alone(printer),
            },
            // The store has told why on standard error.
            Err(_) => return self.run_alone(printer),
        };
        // Somebody may have stored the answer between our lookup and our lead.
        if !self.force
            && let Some((record, Use::Fresh)) = self.stored()
        {
            // A failure is withheld like one of our own.
            printer.muted &= self.silent || record.head.is_failure;
            if let Some(answer) = self.replay(record, printer, Source::Hit)? {
                return Ok(answer);
            }
        }
        Ok(Leader::new(self, lead, printer).run()?.into())
    }

    fn wait(&mut self, printer: &mut Printer) -> io::Result<Waited> {
        if let Ok(scratch) = live::directory(&self.store) {
            self.ancestors.add_leaders_above(&live::all(&scratch));
        }
        self.refuse_to_wait_for_itself()?;
        waiter::wait(self, printer)
    }

    /// Runs the command though the store cannot be written to.
    fn run_alone(&self, printer: &mut Printer) -> io::Result<Answer> {
        // Nobody would notice the circle further down.
        self.refuse_to_wait_for_itself()?;
        printer.muted = self.silent;
        Ok(Leader::without_store(self, printer).run()?.into())
    }

    /// With a stale answer in hand nothing of a failure was printed: prints the stale answer instead.
    fn choose(&self, answer: &mut Answer, fallback: Record) -> io::Result<()> {
        if answer.exit.is_success() || answer.interrupted {
            return Ok(());
        }
        complain(&format!(
            "the command failed with {}; its last good answer follows",
            answer.exit
        ));
        let mut printer = Printer::new(false);
        if let Some(replayed) = self.replay(fallback, &mut printer, Source::StaleIfError)? {
            let not_stored = answer.not_stored.take();
            *answer = Answer {
                not_stored,
                ..replayed
            };
        }
        Ok(())
    }

    /// The stored answer and what it is good for.
    fn stored(&self) -> Option<(Record, Use)> {
        let record = self.store.get(&self.key.digest)?;
        let how = self.lives.judge(&record.head, SystemTime::now());
        Some((record, how))
    }

    /// Replays a stored answer; `None` if it turned out to be damaged: then it is a miss, and what was printed stays.
    fn replay(
        &self,
        record: Record,
        printer: &mut Printer,
        source: Source,
    ) -> io::Result<Option<Answer>> {
        let cost = record.head.load_cost;
        match replay::stored(record.payload.reader(), self, printer) {
            Ok(exit) => Ok(Some(Answer::new(exit, source, cost))),
            Err(Broken::Io(error)) => Err(error),
            Err(Broken::Damaged(trouble)) => {
                complain(&format!(
                    "the stored answer cannot be used ({trouble}); the command runs again"
                ));
                printer.restart();
                Ok(None)
            }
            Err(Broken::Differs) => {
                printer.begin_anew();
                match self.store.get(&self.key.digest) {
                    Some(record) => self.replay(record, printer, source),
                    None => Ok(None),
                }
            }
        }
    }

    fn try_lead(&self) -> io::Result<Option<Lead>> {
        self.store
            .try_lead(&self.key.digest)
            .map_err(io::Error::other)
    }

    /// A run that asks for its own answer must not wait for it.
    fn refuse_to_wait_for_itself(&self) -> io::Result<()> {
        if !self.ancestors.include(&self.key.digest) {
            return Ok(());
        }
        let command = self.key.facts.command.join(" ");
        Err(io::Error::other(format!(
            "`{command}` asks for its own answer and would wait for itself"
        )))
    }
}

/// For fuzzing: frames, and the JSON in some of them.
pub fn decode_anything(bytes: &[u8]) {
    let _ = key::Facts::from_description(bytes);
    cycle::decode_anything(bytes);
    let mut frames = frames::FrameReader::new(bytes);
    // Nothing is allowed, so nothing is restored.
    let mut restorer = artefact::Restorer::new(&[]);
    while let Ok(Some(frame)) = frames.next() {
        match frame {
            frames::Frame::Start(start) => {
                drop(serde_json::from_slice::<live::Start>(start));
                drop(serde_json::from_slice::<live::Started>(start));
            }
            frames::Frame::Made(what) => drop(restorer.announce(what)),
            frames::Frame::Content(content) => drop(restorer.content(content)),
            frames::Frame::Output(..) | frames::Frame::End(_) => {}
        }
    }
}

fn default_name(options: &KeyOptions) -> String {
    let command = Path::new(&options.command[0]);
    command
        .file_name()
        .unwrap_or(command.as_os_str())
        .display()
        .to_string()
}

/// Without a usable store or key the command takes our place.
fn run_plainly(arguments: &args::Run, program: &Path, failure: &Failure) -> ExitCode {
    complain(&format!(
        "{failure}; the command runs, and its answer is not remembered"
    ));
    if arguments.background {
        return ExitCode::SUCCESS;
    }
    let error = child::command(program, &arguments.key.command).exec();
    cannot_execute(&arguments.key, &NotStarted(error))
}

/// The command was found.
fn cannot_execute(options: &KeyOptions, why: &impl std::fmt::Display) -> ExitCode {
    let name = options.command[0].display();
    Failure::new(NOT_EXECUTABLE, format!("{name}: cannot be executed: {why}")).report()
}

fn cannot_start(options: &KeyOptions, error: &io::Error) -> ExitCode {
    let name = options.command[0].display();
    let failure = match error.kind() {
        io::ErrorKind::NotFound => Failure::new(NOT_FOUND, format!("{name}: command not found")),
        io::ErrorKind::PermissionDenied => {
            Failure::new(NOT_EXECUTABLE, format!("{name}: cannot be executed"))
        }
        _ => Failure::new(NOT_EXECUTABLE, format!("{name}: {error}")),
    };
    failure.report()
}

/// Ends as the command did.
fn end(exit: Exit) -> ExitCode {
    match exit {
        Exit::Code(code) => ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX)),
        Exit::Signal(signal) => output::die_of(signal),
    }
}
