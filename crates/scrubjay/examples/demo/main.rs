//! The demo: Scrubjay at work on files of this machine, with numbers that are all measured while it runs.
//!
//! Run it: `cargo run --release -p scrubjay --example demo`, or `make demo`; `-- --help` lists the arguments.
//! Nothing here sleeps or needs a network.

mod analysis;
mod capacity;
mod failure;
mod files;
mod input;
mod lifetime;
mod memory;
mod recursion;
mod report;
mod threads;
mod totals;
mod tree;

use std::error::Error;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

pub use input::Origin;
use input::{Bounds, Input};
use report::{Page, counted, time};
use totals::Totals;

/// What can end the demo early: a closed output, or a bug.
pub type Failure = Box<dyn Error + Send + Sync>;

/// The recursion goes as deep as two files have lines.
const STACK: usize = 64 << 20;

const USAGE: &str = "\
Runs Scrubjay on versions of files that are on this machine and prints what it did.

Usage: demo [OPTIONS] [DIRECTORY]

Arguments:
  [DIRECTORY]        take the versions from this directory's git history

Options:
  --input ORIGIN     any (default), git, registry (crates that cargo has downloaded) or own (this program's source)
  --small            use little input and end within a second or two
  -h, --help         print this

Colour is used on a terminal unless NO_COLOR is set.
";

/// What the arguments say.
#[derive(Debug)]
pub struct Options {
    origin: Origin,
    directory: Option<PathBuf>,
    bounds: Bounds,
    /// How long the recursion without memoization should take at least.
    patience: Duration,
}

impl Options {
    fn full() -> Self {
        Self {
            origin: Origin::Any,
            directory: None,
            bounds: Bounds {
                files: 8,
                versions: 4,
                lines: 1_000,
                cells: 4_000_000,
                words: 6_000,
            },
            patience: Duration::from_millis(700),
        }
    }

    /// Little input, for tests.
    pub fn small() -> Self {
        Self {
            bounds: Bounds {
                files: 3,
                versions: 2,
                lines: 200,
                cells: 25_000,
                words: 120,
            },
            patience: Duration::from_millis(5),
            ..Self::full()
        }
    }

    /// The same, with versions from somewhere else.
    pub fn from(self, origin: Origin) -> Self {
        Self { origin, ..self }
    }
}

/// Runs all sections.
pub fn run(
    out: &mut (dyn Write + Send),
    is_terminal: bool,
    colour: bool,
    options: &Options,
) -> Result<(), Failure> {
    thread::scope(|scope| {
        let sections = || sections(&mut Page::new(out, is_terminal, colour), options);
        let thread = thread::Builder::new()
            .stack_size(STACK)
            .spawn_scoped(scope, sections)?;
        thread
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn sections(page: &mut Page, options: &Options) -> Result<(), Failure> {
    let began = Instant::now();
    page.progress("looking for versions of files")?;
    let input = Input::find(options.origin, options.directory.as_deref(), options.bounds);
    let mut totals = Totals::default();
    page.heading("Scrubjay demo")?;
    page.text(format!(
        "Input: {}; {} of versions.",
        input.origin,
        counted(input.pairs.len() as u64, "pair")
    ))?;
    if cfg!(debug_assertions) {
        page.text("This program was built without --release; it takes several times as long.")?;
    }
    recursion::show(page, &input, options.patience)?;
    files::show(page, &input, &mut totals)?;
    threads::show(page, &input, &mut totals)?;
    lifetime::show(page, &input, &mut totals)?;
    capacity::show(page, &input, options.bounds.words, &mut totals)?;
    failure::show(page, &mut totals)?;
    tree::show(page, &input)?;
    totals.show(page)?;
    page.text(format!(
        "Everything above was measured in this run, which took {}.",
        time(began.elapsed())
    ))?;
    Ok(())
}

/// What the arguments ask for, or what is wrong with the arguments.
#[derive(Debug)]
pub enum Asked {
    /// The sections, with these options.
    Run(Options),
    /// How to use it.
    Help,
    /// Something that is not known; the message names it.
    Wrong(String),
}

/// Reads the arguments.
pub fn parse(arguments: impl IntoIterator<Item = String>) -> Asked {
    let mut arguments = arguments.into_iter();
    let (mut options, mut origin, mut directory) = (Options::full(), Origin::Any, None);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "-h" | "--help" => return Asked::Help,
            "--small" => options = Options::small(),
            "--input" => match arguments.next().as_deref() {
                Some("any") => origin = Origin::Any,
                Some("git") => origin = Origin::Git,
                Some("registry") => origin = Origin::Registry,
                Some("own") => origin = Origin::Own,
                other => {
                    return Asked::Wrong(format!(
                        "--input is any, git, registry or own, not {}",
                        other.unwrap_or("nothing")
                    ));
                }
            },
            unknown if unknown.starts_with('-') => {
                return Asked::Wrong(format!("unknown option {unknown}"));
            }
            path if directory.is_none() && PathBuf::from(path).is_dir() => {
                directory = Some(PathBuf::from(path))
            }
            other => {
                return Asked::Wrong(format!("{other} is not a directory, or not the only one"));
            }
        }
    }
    Asked::Run(Options {
        directory,
        ..options.from(origin)
    })
}

/// Runs the demo as the arguments ask.
pub fn main() -> ExitCode {
    let arguments = std::env::args_os()
        .skip(1)
        .map(|argument| argument.to_string_lossy().into_owned());
    let options = match parse(arguments) {
        Asked::Run(options) => options,
        // A closed output takes nothing away from a text that nobody reads.
        Asked::Help => {
            let _ = io::stdout().write_all(USAGE.as_bytes());
            return ExitCode::SUCCESS;
        }
        Asked::Wrong(message) => {
            let _ = writeln!(io::stderr(), "demo: {message}; see --help");
            return ExitCode::from(2);
        }
    };
    let is_terminal = io::stdout().is_terminal();
    let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    match run(
        &mut io::stdout(),
        is_terminal,
        is_terminal && !no_colour,
        &options,
    ) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) if is_closed(&*failure) => ExitCode::SUCCESS,
        Err(failure) => {
            let _ = writeln!(io::stderr(), "demo: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// Whether nobody reads the output any more, as with `| head`.
pub fn is_closed(failure: &(dyn Error + Send + Sync + 'static)) -> bool {
    failure
        .downcast_ref::<io::Error>()
        .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
