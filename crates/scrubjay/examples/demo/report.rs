//! How the demo prints: headings, paragraphs, aligned tables, and numbers for people.
//!
//! Colour is used only where the caller found a terminal; a table is the same text without it.

use std::fmt::Display;
use std::io::{self, Write};
use std::time::Duration;

/// The widest line of a paragraph.
const COLUMNS: usize = 96;

/// Where the demo prints to.
pub struct Page<'a> {
    out: &'a mut dyn Write,
    is_terminal: bool,
    colour: bool,
    /// Whether the last line is empty, so that no two ever follow each other.
    is_spaced: bool,
}

impl<'a> Page<'a> {
    pub fn new(out: &'a mut dyn Write, is_terminal: bool, colour: bool) -> Self {
        Self {
            out,
            is_terminal,
            colour,
            is_spaced: false,
        }
    }

    fn styled(&self, style: &str, text: &str) -> String {
        match self.colour {
            true => format!("\x1b[{style}m{text}\x1b[0m"),
            false => text.to_owned(),
        }
    }

    fn line(&mut self, line: &str) -> io::Result<()> {
        self.is_spaced = line.is_empty();
        writeln!(self.out, "{line}")
    }

    /// Prints an empty line, unless there is one.
    fn space(&mut self) -> io::Result<()> {
        if self.is_spaced {
            Ok(())
        } else {
            self.line("")
        }
    }

    pub fn heading(&mut self, title: &str) -> io::Result<()> {
        self.space()?;
        self.line(&self.styled("1;34", title))?;
        self.space()?;
        self.out.flush()
    }

    /// Prints a paragraph, wrapped.
    pub fn text(&mut self, text: impl Display) -> io::Result<()> {
        let mut line = String::new();
        for word in text.to_string().split_whitespace() {
            if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > COLUMNS {
                self.line(&line)?;
                line.clear();
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line += word;
        }
        self.line(&line)?;
        self.space()?;
        self.out.flush()
    }

    /// Prints lines as they are, indented.
    pub fn block(&mut self, text: impl Display) -> io::Result<()> {
        for line in text.to_string().lines() {
            self.line(format!("  {line}").trim_end())?;
        }
        self.space()?;
        self.out.flush()
    }

    pub fn table(&mut self, table: &Table) -> io::Result<()> {
        let widths = table.widths();
        for (number, row) in std::iter::once(&table.head).chain(&table.rows).enumerate() {
            let line = table.line(row, &widths);
            let line = line.trim_end();
            let line = match number {
                0 => self.styled("2", line),
                _ if table.has_total && number == table.rows.len() => self.styled("1", line),
                _ => line.to_owned(),
            };
            self.line(&format!("  {line}"))?;
        }
        self.space()?;
        self.out.flush()
    }

    /// Says on a terminal what is being worked on; the next thing printed takes its place.
    pub fn progress(&mut self, text: &str) -> io::Result<()> {
        if self.is_terminal {
            let text: String = text.chars().take(70).collect();
            write!(self.out, "  {text} …\r")?;
            self.out.flush()?;
            write!(self.out, "\x1b[2K")?;
        }
        Ok(())
    }
}

/// Rows of text; the first column is aligned to the left, the others to the right.
pub struct Table {
    head: Vec<String>,
    rows: Vec<Vec<String>>,
    has_total: bool,
    lefts: usize,
}

impl Table {
    /// Starts a table; `head` names the columns, separated by bars.
    pub fn new(head: &str) -> Self {
        let head = head.split('|').map(|name| name.trim().to_owned()).collect();
        Self {
            head,
            rows: Vec::new(),
            has_total: false,
            lefts: 1,
        }
    }

    /// Aligns this many columns to the left, instead of one.
    pub fn left(mut self, columns: usize) -> Self {
        self.lefts = columns;
        self
    }

    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.to_vec());
    }

    /// Adds the last row, which sums up the others.
    pub fn total<const N: usize>(&mut self, cells: [String; N]) {
        self.row(cells);
        self.has_total = true;
    }

    /// Drops all but the last rows.
    pub fn keep_last(&mut self, rows: usize) {
        let first = self.rows.len().saturating_sub(rows);
        self.rows.drain(..first);
    }

    fn widths(&self) -> Vec<usize> {
        let mut widths = vec![0; self.head.len()];
        for row in std::iter::once(&self.head).chain(&self.rows) {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = cell.chars().count().max(*width);
            }
        }
        widths
    }

    fn line(&self, row: &[String], widths: &[usize]) -> String {
        let cell = |(column, (cell, width)): (usize, (&String, &usize))| match column < self.lefts {
            true => format!("{cell:<width$}"),
            false => format!("{cell:>width$}"),
        };
        let cells: Vec<String> = row.iter().zip(widths).enumerate().map(cell).collect();
        cells.join("  ")
    }
}

/// `1234567` as `1,234,567`.
pub fn number(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A duration with three digits and a unit.
pub fn time(duration: Duration) -> String {
    let nanos = duration.as_secs_f64() * 1e9;
    match nanos {
        n if n < 1e3 => format!("{n:.0} ns"),
        n if n < 1e6 => format!("{} µs", three_digits(n / 1e3)),
        n if n < 1e9 => format!("{} ms", three_digits(n / 1e6)),
        n => format!("{} s", three_digits(n / 1e9)),
    }
}

/// Bytes in binary units.
#[allow(clippy::cast_precision_loss, reason = "three digits are shown")]
pub fn bytes(bytes: u64) -> String {
    match bytes as f64 {
        n if n < 1024.0 => format!("{bytes} B"),
        n if n < 1024.0 * 1024.0 => format!("{} KiB", three_digits(n / 1024.0)),
        n => format!("{} MiB", three_digits(n / 1024.0 / 1024.0)),
    }
}

fn three_digits(number: f64) -> String {
    let decimals = match number {
        n if n < 9.995 => 2,
        n if n < 99.95 => 1,
        _ => 0,
    };
    format!("{number:.decimals$}")
}

/// A part of 1 in per cent, or a dash.
pub fn percent(part: Option<f64>) -> String {
    part.map_or("-".to_owned(), |part| format!("{:.1} %", part * 100.0))
}

/// Cuts a name from the left to at most `columns` characters.
pub fn short(name: &str, columns: usize) -> String {
    let length = name.chars().count();
    match length > columns {
        true => format!(
            "…{}",
            name.chars().skip(length + 1 - columns).collect::<String>()
        ),
        false => name.to_owned(),
    }
}

/// `1 load`, `2 loads`.
pub fn counted(count: u64, thing: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{} {thing}{plural}", number(count))
}
