//! The second half of the demo: the disk tier at work, with real processes and real files.
//!
//! Run it: `cargo run --release -p scrubjay --features disk --example demo_disk`, or `make demo`. Each section states
//! what it expects, and the program fails if that is not what happened. Its processes are this same program, asked to
//! work.

mod crash;
mod restart;
mod worker;

#[allow(dead_code, reason = "the other demo uses the rest")]
#[path = "../demo/analysis.rs"]
mod analysis;
#[allow(dead_code, reason = "the other demo uses the rest")]
#[path = "../demo/input.rs"]
mod input;
#[path = "../demo/memory.rs"]
mod memory;
#[allow(dead_code, reason = "the other demo uses the rest")]
#[path = "../demo/report.rs"]
mod report;

use std::error::Error;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use report::Page;

/// What ends the demo early: a claim that does not hold, or a closed output.
pub type Failure = Box<dyn Error + Send + Sync>;

/// Fails unless a claim holds.
pub fn claim(holds: bool, what: impl FnOnce() -> String) -> Result<(), Failure> {
    if holds { Ok(()) } else { Err(what().into()) }
}

/// A folder of its own, removed at the end.
#[derive(Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// Names it; nothing is made yet.
    pub fn new(name: &str) -> Self {
        let name = format!("scrubjay-demo-{name}-{}", std::process::id());
        Self(std::env::temp_dir().join(name))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed stays in the folder for temporary files.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Files that are compared have at most so many lines.
const LINES: &str = "1000";

fn show() -> Result<(), Failure> {
    let is_terminal = io::stdout().is_terminal();
    let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let colour = is_terminal && !no_colour;
    print(&mut io::stdout(), is_terminal, colour, LINES)
}

/// Prints every section, with files of at most so many lines.
pub fn print(
    out: &mut dyn Write,
    is_terminal: bool,
    colour: bool,
    lines: &str,
) -> Result<(), Failure> {
    let mut page = Page::new(out, is_terminal, colour);
    restart::show(&mut page, lines)?;
    restart::show_eight(&mut page, lines)?;
    crash::show(&mut page)?;
    Ok(())
}

/// Shows what the disk tier does, or works for another process that does.
pub fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => show(),
        ["--compare", folder, first, lines] => worker::compare_all(Path::new(folder), first, lines),
        ["--write", folder] => worker::write_for_ever(Path::new(folder)),
        _ => Err("this program takes no arguments".into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let is_closed = failure.downcast_ref::<io::Error>();
            if is_closed.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe) {
                return ExitCode::SUCCESS;
            }
            let _ = writeln!(io::stderr(), "demo: {failure}");
            ExitCode::FAILURE
        }
    }
}
