//! Section: the call tree of two small recursions, as text and as a page for the browser.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use scrubjay::memoize;

use super::Failure;
use super::analysis::{Pair, distance};
use super::input::Input;
use super::report::Page;

#[memoize]
fn fib(n: u64) -> u64 {
    if n < 2 { n } else { fib(n - 1) + fib(n - 2) }
}

/// Traces `fib(6)`, and the edit distance of two lines of a file from two others.
pub fn show(page: &mut Page, input: &Input) -> Result<(), Failure> {
    page.heading("The call tree of a small recursion")?;
    fib::clear();
    let fibs = scrubjay::trace(|| fib(6));
    page.block(&fibs)?;
    let window = two_lines(input);
    page.text(format!(
        "And the edit distance of two lines from two others, of {}:",
        window.name
    ))?;
    distance::clear();
    let both = scrubjay::trace(|| distance(&window, 0, 0));
    page.block(&both)?;
    fib::clear();
    distance::clear();
    let html = scrubjay::trace(|| (fib(6), distance(&window, 0, 0))).to_html();
    match write(&html) {
        Ok(path) => page.text(format!(
            "Both as a page, with a timeline: {}",
            path.display()
        ))?,
        Err(error) => page.text(format!("The page could not be written: {error}"))?,
    }
    Ok(())
}

fn two_lines(input: &Input) -> Pair {
    let pair = input.middle();
    pair.window(pair.first_difference(), 2)
}

/// Writes the page to the project's `target` folder, or to the system's for temporary files.
fn write(html: &str) -> io::Result<PathBuf> {
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target");
    let folder = target
        .canonicalize()
        .unwrap_or_else(|_| std::env::temp_dir());
    let path = folder.join("demo-trace.html");
    fs::write(&path, html)?;
    Ok(path)
}
