//! `scrubjay top`: what runs now, what was written last, what each function takes; drawn again and again.
//!
//! The terminal is given back as it was, however this ends.

use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use comfy_table::{ContentArrangement, Table};
use console::Term;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use scrubjay::disk::{Head, Store};
use serde_json::json;
use signal_hook::consts::{SIGINT, SIGTERM};

use super::{SHORT_KEY, stats, subject, to_json, typed};
use crate::args::{Global, Selection, Top};
use crate::failure::Result;
use crate::run::live::{self, Start};
use crate::{output, store};

pub fn top(global: &Global, arguments: &Top) -> Result<ExitCode> {
    let store = store::open(global)?;
    let is_screen = Term::stdout().is_term() && !global.json;
    let count = arguments
        .count
        .unwrap_or(if is_screen { u64::MAX } else { 1 });
    let screen = is_screen.then(Screen::open).transpose()?;
    let end = watch_end()?;
    for picture in 0..count {
        if let Some(screen) = &screen {
            screen.clear()?;
        }
        draw(global, &store, is_screen)?;
        if picture + 1 == count || is_over(&end, screen.is_some(), arguments.interval)? {
            break;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// A socket that becomes readable when somebody wants an end.
fn watch_end() -> io::Result<UnixStream> {
    let (read, write) = UnixStream::pair()?;
    for signal in [SIGINT, SIGTERM] {
        signal_hook::low_level::pipe::register(signal, write.try_clone()?)?;
    }
    // Kept open by the handlers' copies.
    drop(write);
    Ok(read)
}

/// Waits for the next picture's time; true if a signal or `q` came first.
fn is_over(end: &UnixStream, reads_keys: bool, interval: Duration) -> io::Result<bool> {
    let stdin = rustix::stdio::stdin();
    let mut fds = vec![PollFd::new(end, PollFlags::IN)];
    if reads_keys {
        fds.push(PollFd::new(&stdin, PollFlags::IN));
    }
    let timeout = Timespec::try_from(interval).ok();
    match poll(&mut fds, timeout.as_ref()) {
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(errno) => return Err(errno.into()),
    }
    if !fds[0].revents().is_empty() {
        return Ok(true);
    }
    if fds.get(1).is_some_and(|fd| !fd.revents().is_empty()) {
        let mut key = [0];
        let read = rustix::io::read(stdin, &mut key)?;
        return Ok(read == 0 || key[0].eq_ignore_ascii_case(&b'q'));
    }
    Ok(false)
}

/// The terminal while it shows pictures: keys come at once and unseen, the cursor is hidden.
struct Screen {
    before: Option<Termios>,
}

impl Screen {
    fn open() -> io::Result<Self> {
        let before = tcgetattr(rustix::stdio::stdin()).ok();
        if let Some(before) = &before {
            let mut modes = before.clone();
            modes.local_modes -= LocalModes::ICANON | LocalModes::ECHO;
            tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, &modes)?;
        }
        Term::stdout().write_str("\x1b[?1049h\x1b[?25l")?;
        Ok(Self { before })
    }

    fn clear(&self) -> io::Result<()> {
        Term::stdout().write_str("\x1b[H\x1b[J")
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // Nothing can be done about a terminal that is gone.
        let _ = Term::stdout().write_str("\x1b[?25h\x1b[?1049l");
        if let Some(before) = &self.before {
            let _ = tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, before);
        }
    }
}

fn draw(global: &Global, store: &Store, is_screen: bool) -> Result<()> {
    let running = running(store);
    let recent = recent(store)?;
    let total = store.stats()?;
    if global.json {
        let running: Vec<_> = running
            .iter()
            .map(|(key, start)| json!({"key": key, "run": start}))
            .collect();
        let recent: Vec<_> = recent.iter().map(to_json).collect();
        return Ok(output::json(&json!({
            "time": output::timestamp(SystemTime::now()),
            "entries": total.entries,
            "bytes": total.used_bytes,
            "running": running,
            "recent": recent,
        }))?);
    }
    let functions = stats::table(&stats::shares(store, &total.usage)?);
    let mut tables = [running_table(&running), recent_table(&recent), functions];
    if is_screen {
        // What is cut off at the side is easier to read than what is broken into pieces.
        for table in &mut tables {
            table.set_content_arrangement(ContentArrangement::Disabled);
        }
    }
    let [runs, recent, functions] = tables.each_ref().map(output::lines_of);
    let mut lines = stats::tier(&total);
    lines.push(String::new());
    lines.push(format!("running now: {}", running.len()));
    lines.extend(runs.into_iter().filter(|_| !running.is_empty()));
    lines.extend([String::new(), "written last:".to_owned()]);
    lines.extend(recent);
    lines.push(String::new());
    lines.extend(functions);
    if is_screen {
        let (rows, columns) = Term::stdout().size();
        fit(&mut lines, rows.into(), columns.into());
    }
    output::print(&lines)?;
    Ok(io::stdout().flush()?)
}

/// Cuts a picture to the size of a screen, whose last row is left empty, and says in the row above how it ends.
fn fit(lines: &mut Vec<String>, rows: usize, columns: usize) {
    lines.truncate(rows.saturating_sub(3));
    lines.extend([String::new(), "q ends".to_owned()]);
    for line in lines {
        *line = console::truncate_str(line, columns, "…").into_owned();
    }
}

/// The live files whose leader lives.
fn running(store: &Store) -> Vec<(String, Start)> {
    let Ok(directory) = live::directory(store) else {
        return Vec::new();
    };
    let all = live::all(&directory).into_iter();
    let mut running: Vec<_> = all
        .filter(|(digest, _)| store.is_led(digest).unwrap_or(false))
        .map(|(digest, start)| (digest.to_string(), start))
        .collect();
    running.sort_by_key(|(_, start)| start.since);
    running
}

fn recent(store: &Store) -> Result<Vec<Head>> {
    let mut heads = Selection::everything().of(store)?;
    heads.sort_by_key(|head| std::cmp::Reverse(head.written));
    heads.truncate(5);
    Ok(heads)
}

fn running_table(running: &[(String, Start)]) -> Table {
    let mut table = output::table(&["  KEY", "PID", "SINCE", "FUNCTION", "COMMAND"], &[1, 2]);
    for (key, start) in running {
        table.add_row([
            format!("  {}", &key[..SHORT_KEY]),
            start.pid.to_string(),
            output::duration(start.age()),
            output::printable(&start.function),
            typed(&start.command),
        ]);
    }
    table
}

fn recent_table(recent: &[Head]) -> Table {
    let mut table = output::table(&["  KEY", "AGE", "SIZE", "SUBJECT"], &[1, 2]);
    for head in recent {
        table.add_row([
            format!("  {}", &head.digest.to_string()[..SHORT_KEY]),
            output::age(head.written),
            output::bytes(head.stored_bytes),
            subject(head),
        ]);
    }
    table
}
