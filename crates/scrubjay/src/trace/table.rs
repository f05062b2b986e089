//! A trace as a table of cache states, one row for each call that ended.
//!
//! Columns line up by characters. A key is marked as new or gone only where that is certain: both the list that has it
//! and the list that lacks it are of the same function, and the one that lacks it is complete.

use std::collections::HashMap;

use super::label::{call, grouped, one_line, shorten, width};
use super::recorder::{CacheState, Recording, Step};

const CALL_COLUMNS: usize = 32;
const KEY_COLUMNS: usize = 20;

/// Stands where a state is unknown.
const UNKNOWN: &str = "–";

/// Renders the table; an empty trace has only the header.
pub(super) fn render(recording: &Recording) -> String {
    let columns = Columns::of(&recording.steps);
    let mut rows = vec![columns.header()];
    let mut previous: HashMap<&str, &CacheState> = HashMap::new();
    for (position, step) in recording.steps.iter().enumerate() {
        let recorded = &recording.calls[step.call];
        let before = previous.get(recorded.function).copied();
        let mut row = vec![
            grouped(position + 1),
            call(recorded, CALL_COLUMNS),
            recorded.outcome.to_string(),
        ];
        row.extend(columns.cells(step.state.as_ref(), before));
        rows.push(row);
        if let Some(state) = &step.state {
            previous.insert(recorded.function, state);
        }
    }
    align(&rows)
}

/// Which of the optional columns say something.
struct Columns {
    weight: bool,
    capacity: bool,
}

impl Columns {
    fn of(steps: &[Step]) -> Self {
        let states = || steps.iter().filter_map(|step| step.state.as_ref());
        Columns {
            weight: states().any(|state| state.weight != state.entries as u64),
            capacity: states().any(|state| state.capacity.is_some()),
        }
    }

    fn header(&self) -> Vec<String> {
        let names = [
            ("step", true),
            ("call", true),
            ("outcome", true),
            ("entries", true),
            ("weight", self.weight),
            ("capacity", self.capacity),
            ("keys", true),
        ];
        let shown = names.into_iter().filter(|(_, shown)| *shown);
        shown.map(|(name, _)| name.to_owned()).collect()
    }

    fn cells(&self, state: Option<&CacheState>, before: Option<&CacheState>) -> Vec<String> {
        let number = |of: fn(&CacheState) -> Option<u64>| {
            state
                .and_then(of)
                .map_or_else(|| UNKNOWN.to_owned(), grouped)
        };
        let mut cells = vec![number(|state| Some(state.entries as u64))];
        if self.weight {
            cells.push(number(|state| Some(state.weight)));
        }
        if self.capacity {
            cells.push(number(|state| state.capacity));
        }
        cells.push(state.map_or_else(|| UNKNOWN.to_owned(), |state| keys(state, before)));
        cells
    }
}

/// The keys of a state, with the changes since the function's previous step.
fn keys(state: &CacheState, before: Option<&CacheState>) -> String {
    let mut labels = Vec::new();
    for key in &state.keys {
        let is_new = before.is_some_and(|before| lacks(before, key));
        let mark = if is_new { "+" } else { "" };
        labels.push(format!("{mark}{}", shorten(&one_line(key), KEY_COLUMNS)));
    }
    for key in before.map_or(&[][..], |before| &before.keys) {
        if lacks(state, key) {
            labels.push(format!("−{}", shorten(&one_line(key), KEY_COLUMNS)));
        }
    }
    if state.more_keys > 0 {
        labels.push(format!("… {} more", grouped(state.more_keys)));
    }
    labels.join(" · ")
}

/// Tells whether the key was certainly not in the cache. A key that an incomplete list leaves out may be there.
fn lacks(state: &CacheState, key: &String) -> bool {
    state.more_keys == 0 && !state.keys.contains(key)
}

/// Lines up the cells below a header and a rule.
fn align(rows: &[Vec<String>]) -> String {
    let widths: Vec<usize> = (0..rows[0].len())
        .map(|column| {
            rows.iter()
                .map(|row| width(&row[column]))
                .max()
                .unwrap_or(0)
        })
        .collect();
    let rules = widths.iter().map(|&width| "─".repeat(width)).collect();
    let mut text = String::new();
    for row in [&rows[0], &rules].into_iter().chain(&rows[1..]) {
        text.push_str(padded(row, &widths).trim_end());
        text.push('\n');
    }
    text
}

/// Pads call, outcome and keys on their right, and the numbers, which are all others, on their left.
fn padded(row: &[String], widths: &[usize]) -> String {
    let mut line = String::new();
    for (column, (cell, &width)) in row.iter().zip(widths).enumerate() {
        let is_text = matches!(column, 1 | 2) || column + 1 == row.len();
        line += &if is_text {
            format!("{cell:width$}  ")
        } else {
            format!("{cell:>width$}  ")
        };
    }
    line
}

#[cfg(test)]
mod tests {
    use super::super::recorder::tests::chain;
    use super::super::{KEYS_SHOWN, Outcome, enter, trace};
    use super::*;

    fn state(keys: &[&str]) -> CacheState {
        CacheState {
            entries: keys.len(),
            weight: keys.len() as u64,
            capacity: None,
            keys: keys.iter().map(|&key| key.to_owned()).collect(),
            more_keys: 0,
        }
    }

    fn step(function: &'static str, args: &str, outcome: Outcome, state: CacheState) {
        let span = enter(function, args.to_owned()).expect("traced");
        span.finish(outcome, None, state);
    }

    #[test]
    fn keys_are_marked_as_they_come_and_go() {
        let trace = trace(|| {
            step("f", "1", Outcome::Miss, state(&["1"]));
            step("f", "2", Outcome::Miss, state(&["1", "2"]));
            step("g", "9", Outcome::Hit, state(&["9"]));
            step("f", "3", Outcome::Miss, state(&["2", "3"]));
            drop(enter("f", "4".to_owned()));
        });
        let expected = "\
step  call  outcome  entries  keys
────  ────  ───────  ───────  ───────────
   1  f(1)  miss           1  1
   2  f(2)  miss           2  1 · +2
   3  g(9)  hit            1  9
   4  f(3)  miss           2  2 · +3 · −1
   5  f(4)  failed         –  –
";
        assert_eq!(trace.to_table(), expected);
    }

    #[test]
    fn weight_and_capacity_are_shown_where_they_say_something() {
        let heavy = CacheState {
            weight: 12,
            capacity: Some(100),
            ..state(&["\"日本\"", "ß"])
        };
        let trace = trace(|| {
            step("größe", "日本", Outcome::Miss, heavy);
            step("f", "1", Outcome::Bypass, state(&[]));
        });
        let expected = "\
step  call       outcome  entries  weight  capacity  keys
────  ─────────  ───────  ───────  ──────  ────────  ────────
   1  größe(日本)  miss           2      12       100  \"日本\" · ß
   2  f(1)       bypass         0       0         –
";
        assert_eq!(trace.to_table(), expected);
    }

    #[test]
    fn an_incomplete_list_of_keys_marks_only_what_is_certain() {
        let names: Vec<String> = (10..10 + KEYS_SHOWN).map(|n| n.to_string()).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let full = CacheState {
            more_keys: 3,
            ..state(&names)
        };
        let trace = trace(|| {
            step("f", "10", Outcome::Miss, state(&names[1..]));
            step("f", "10", Outcome::Miss, full);
            step("f", "10", Outcome::Miss, state(&names[2..]));
        });
        let table = trace.to_table();
        let lines: Vec<&str> = table.lines().collect();
        assert!(lines[3].contains("+10 · 11 · 12"));
        assert!(lines[3].ends_with("· … 3 more"));
        assert!(!lines[3].contains('−'));
        assert!(lines[4].ends_with("· −10 · −11"));
        assert!(!lines[4].contains('+'));
    }

    #[test]
    fn a_chain_of_a_hundred_thousand_calls_is_a_hundred_thousand_rows() {
        assert_eq!(chain(100_000).to_table().lines().count(), 100_002);
    }

    #[test]
    fn a_trace_without_calls_is_a_header() {
        assert!(
            trace(|| ())
                .to_table()
                .starts_with("step  call  outcome  entries  keys\n")
        );
    }
}
