//! Sections: the analysis again after a restart, and eight processes at once.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::report::{Page, Table, number, time};
use super::worker::Done;
use super::{Failure, Folder, claim};

const PROCESSES: u64 = 8;

/// Starts a process that asks for every comparison, beginning with number `first`.
fn start(folder: &Path, first: u64, lines: &str) -> Result<Child, Failure> {
    let mut command = Command::new(std::env::current_exe()?);
    let command = command.arg("--compare").arg(folder);
    let command = command.args([&first.to_string(), lines]);
    Ok(command.stdout(Stdio::piped()).spawn()?)
}

fn end(mut child: Child) -> Result<Done, Failure> {
    let out = child.stdout.take().ok_or("the process has no output")?;
    let mut line = String::new();
    BufReader::new(out).read_line(&mut line)?;
    claim(child.wait()?.success(), || "a process failed".into())?;
    Ok(Done::parse(&line).ok_or("a process said nothing")?)
}

fn row(table: &mut Table, name: &str, done: &Done) {
    table.row([
        name.to_owned(),
        number(done.asked),
        number(done.loads),
        number(done.asked - done.loads),
        time(done.time),
    ]);
}

/// One process compares, and after its end another one asks for the same.
pub fn show(page: &mut Page, lines: &str) -> Result<(), Failure> {
    page.heading("The analysis again after a restart")?;
    page.text(
        "Whole files compared by one process, in a cache with a folder below it; and when that process is gone, the same \
         questions by another one.",
    )?;
    page.progress("comparing")?;
    let folder = Folder::new("restart");
    let first = end(start(folder.path(), 0, lines)?)?;
    let second = end(start(folder.path(), 0, lines)?)?;
    let mut table = Table::new(" | asked | computed | from disk | time");
    row(&mut table, "the first process", &first);
    row(&mut table, "after the restart", &second);
    page.table(&table)?;
    claim(first.loads == first.asked, || {
        format!("the first process found something: {first:?}")
    })?;
    claim(second.loads == 0, || {
        format!("something was computed again: {second:?}")
    })?;
    claim(first.sum == second.sum, || {
        format!("the answers differ: {first:?}, {second:?}")
    })?;
    let factor = first.time.as_secs_f64() / second.time.as_secs_f64().max(1e-9);
    page.text(format!(
        "Nothing was computed again, and every answer is the same; the second time was {factor:.0} times as fast."
    ))?;
    Ok(())
}

/// Eight processes begin at different places of one list.
pub fn show_eight(page: &mut Page, lines: &str) -> Result<(), Failure> {
    page.heading("Eight processes at once on one folder")?;
    page.text(
        "Eight processes open one new folder and ask for the same comparisons, each beginning with another one. Whoever \
         asks for one that somebody else is computing waits for that.",
    )?;
    page.progress("comparing")?;
    let folder = Folder::new("eight");
    let started = (0..PROCESSES).map(|first| start(folder.path(), first, lines));
    let started = started.collect::<Result<Vec<_>, _>>()?;
    let done = started
        .into_iter()
        .map(end)
        .collect::<Result<Vec<_>, _>>()?;
    let mut table = Table::new(" | asked | computed | from others | time");
    for (place, done) in done.iter().enumerate() {
        row(&mut table, &format!("process {}", place + 1), done);
    }
    let sum = |of: fn(&Done) -> u64| done.iter().map(of).sum::<u64>();
    let (asked, loads) = (sum(|done| done.asked), sum(|done| done.loads));
    table.total([
        "all".to_owned(),
        number(asked),
        number(loads),
        number(asked - loads),
        String::new(),
    ]);
    page.table(&table)?;
    let keys = done[0].asked;
    claim(loads == keys, || {
        format!("{keys} comparisons were computed {loads} times")
    })?;
    claim(done.iter().all(|one| one.sum == done[0].sum), || {
        "the answers differ".into()
    })?;
    page.text(format!(
        "{keys} comparisons, asked for {asked} times, computed {loads} times: each once in total."
    ))?;
    Ok(())
}
