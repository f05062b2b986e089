//! What people see: tables that line up, colour where it is wanted, durations and sizes as they are read, complaints.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use console::{Style, Term};
use indicatif::{ProgressBar, ProgressStyle};

use crate::args::Color;

/// Takes the user's wish; without one, `console` looks at the terminal and at NO_COLOR.
pub fn set_color(color: Color) {
    if color != Color::Auto {
        console::set_colors_enabled(color == Color::Always);
        console::set_colors_enabled_stderr(color == Color::Always);
    }
}

/// One line on standard error. That nobody can read it is no reason to fail.
pub fn complain(message: &str) {
    let name = Style::new()
        .yellow()
        .bold()
        .for_stderr()
        .apply_to("scrubjay:");
    let _ = writeln!(io::stderr(), "{name} {message}");
}

/// Ends as a program does whose output nobody wants any more.
pub fn die_of_broken_pipe() -> ! {
    die_of(signal_hook::consts::SIGPIPE)
}

/// Ends by a signal, leaving no core file of our own.
pub fn die_of(signal: i32) -> ! {
    use rustix::process::{Resource, Rlimit, setrlimit};
    let _ = setrlimit(
        Resource::Core,
        Rlimit {
            current: Some(0),
            maximum: Some(0),
        },
    );
    // Returns only for signals that end nobody; a shell reports those in the same way.
    let _ = signal_hook::low_level::emulate_default_handler(signal);
    std::process::exit(128 + signal)
}

/// Writes one line to standard output.
pub fn line(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.write_all(b"\n")
}

/// Writes one JSON object as a line.
pub fn json(value: &serde_json::Value) -> io::Result<()> {
    line(&value.to_string())
}

/// A table with these headings; the columns named in `right` hold numbers.
pub fn table(headings: &[&str], right: &[usize]) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_header(headings.iter().copied());
    if Term::stdout().is_term() {
        table.set_content_arrangement(ContentArrangement::Dynamic);
        table.set_width(Term::stdout().size().1);
    }
    for column in right {
        if let Some(column) = table.column_mut(*column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

/// The lines of a table, its headings in bold.
pub fn lines_of(table: &Table) -> Vec<String> {
    let mut lines: Vec<String> = table
        .lines()
        .map(|text| text.trim_end().to_owned())
        .collect();
    if let Some(headings) = lines.first_mut() {
        *headings = Style::new().bold().apply_to(&*headings).to_string();
    }
    lines
}

/// Prints lines.
pub fn print(lines: &[String]) -> io::Result<()> {
    lines.iter().try_for_each(|text| line(text))
}

/// Text that somebody else chose, as it can be shown: nothing in it moves a cursor or begins a line.
pub fn printable(text: &str) -> String {
    let shown = |c: char| if c.is_control() { ' ' } else { c };
    text.chars().map(shown).collect()
}

/// A bar of `width` characters, filled to `share`.
pub fn bar(share: f64, width: usize) -> String {
    let eighths = (share.clamp(0.0, 1.0) * width as f64 * 8.0).round() as usize;
    let mut bar = "█".repeat(eighths / 8);
    if !eighths.is_multiple_of(8) {
        bar.push(['▏', '▎', '▍', '▌', '▋', '▊', '▉'][eighths % 8 - 1]);
    }
    format!("{bar:<width$}")
}

/// A number of bytes in units of 1024.
pub fn bytes(number: u64) -> String {
    indicatif::BinaryBytes(number).to_string()
}

/// A number and what it counts: `1 entry`, `2 entries`.
pub fn counted(number: u64, one: &str, many: &str) -> String {
    let noun = if number == 1 { one } else { many };
    format!("{number} {noun}")
}

/// A duration in its largest unit: `3m`, `2h`, `850ms`.
pub fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0 if duration.is_zero() => "0s".to_owned(),
        0 if duration.as_millis() == 0 => format!("{}µs", duration.as_micros()),
        0 => format!("{}ms", duration.as_millis()),
        1..10 => format!("{:.1}s", duration.as_secs_f64()),
        10..120 => format!("{seconds}s"),
        120..7200 => format!("{}m", seconds / 60),
        7200..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// How long ago `moment` was.
pub fn age(moment: SystemTime) -> String {
    SystemTime::now()
        .duration_since(moment)
        .map_or_else(|_| "in the future".to_owned(), duration)
}

/// A time as it is written for machines.
pub fn timestamp(moment: SystemTime) -> String {
    humantime::format_rfc3339_millis(moment).to_string()
}

/// The exit code for an answer that is yes or no.
pub fn verdict(yes: bool) -> ExitCode {
    ExitCode::from(if yes { 0 } else { crate::failure::NO })
}

/// A progress bar on a terminal, nothing elsewhere.
pub fn progress(length: u64, what: &'static str) -> ProgressBar {
    styled(
        length,
        format!("{what} {{pos}} of {{len}} {{wide_bar}} {{eta}}"),
    )
}

/// The same, counting bytes.
pub fn progress_bytes(length: u64, what: &'static str) -> ProgressBar {
    styled(
        length,
        format!("{what} {{bytes}} of {{total_bytes}} {{wide_bar}} {{eta}}"),
    )
}

fn styled(length: u64, template: String) -> ProgressBar {
    let bar = ProgressBar::new(length);
    bar.set_style(ProgressStyle::with_template(&template).expect("the template is well formed"));
    bar
}
