//! A trace as a text tree.
//!
//! Every call is in exactly one line: its own, that of a run of identical neighbours, that of a subtree printed before,
//! or a count of calls left out. Columns line up; calls, outcomes and times aim at 80 of them, and the marks of runs
//! and threads stand to their right.

use std::collections::HashSet;
use std::time::Duration;

use super::label::{call, call_and_result, count, grouped, time, width};
use super::recorder::Recording;
use super::shape::Shape;
use super::{Call, Outcome, Summary};

/// The levels shown unless the caller asks for more: twelve leave room for a label in 80 columns.
pub(super) const LEVELS_SHOWN: usize = 12;

/// The most lines of calls.
const ROWS_SHOWN: usize = 500;

/// Columns for the tree and its labels; outcome and time take the remaining seventeen of the eighty.
const HEAD_COLUMNS: usize = 63;

/// A label is never cut shorter than this, even where the tree takes more than its columns.
const LABEL_COLUMNS: usize = 16;

/// Renders the tree down to `levels` levels (at least one), and the totals.
pub(super) fn render(recording: &Recording, levels: usize) -> String {
    let tree = Tree::of(&recording.calls, levels.max(1));
    let column = tree.rows.iter().map(Row::column).max().unwrap_or(0);
    let mut text = String::new();
    for row in &tree.rows {
        row.write(column, &mut text);
    }
    let left_out = recording.calls.len() - tree.covered;
    if left_out > 0 {
        text += &format!("… {}\n", count(left_out, "more call", "more calls"));
    }
    if !text.is_empty() {
        text.push('\n');
    }
    text + &Summary::of(recording).to_string()
}

/// One line: what the tree and the label make up, and for a call that is shown the rest of its columns.
struct Row {
    head: String,
    columns: Option<Columns>,
}

struct Columns {
    outcome: Outcome,
    took: Duration,
    thread: usize,
    run: usize,
}

impl Row {
    /// The width of the head, if something stands to the right of it.
    fn column(&self) -> usize {
        self.columns.as_ref().map_or(0, |_| width(&self.head))
    }

    fn write(&self, column: usize, text: &mut String) {
        let Some(columns) = &self.columns else {
            text.push_str(&self.head);
            text.push('\n');
            return;
        };
        let mut line = format!("{:column$}  {:6}", self.head, columns.outcome);
        // The time of a hit would mostly be that of recording it.
        if columns.outcome != Outcome::Hit {
            line += &format!(" {:>8}", time(columns.took));
        }
        if columns.run > 1 {
            line += &format!("  × {}", grouped(columns.run));
        }
        if columns.thread > 0 {
            line += &format!("  [thread {}]", columns.thread);
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
}

/// A run of identical calls that waits for its line.
struct Pending {
    call: usize,
    run: usize,
    level: usize,
    is_last: bool,
}

/// The rows of a tree, built by a walk with its own stack.
struct Tree<'a> {
    calls: &'a [Call],
    shape: Shape,
    levels: usize,
    rows: Vec<Row>,
    /// The calls that the rows stand for.
    covered: usize,
    pending: Vec<Pending>,
    /// For each level above the current line, whether more siblings follow there.
    rails: Vec<bool>,
    /// Patterns of subtrees that are shown in full further up.
    printed: HashSet<usize>,
}

impl<'a> Tree<'a> {
    fn of(calls: &'a [Call], levels: usize) -> Self {
        let mut tree = Tree {
            calls,
            shape: Shape::of(calls),
            levels,
            rows: Vec::new(),
            covered: 0,
            pending: Vec::new(),
            rails: Vec::new(),
            printed: HashSet::new(),
        };
        let roots = tree.shape.runs(&tree.shape.roots);
        tree.push(&roots, 0);
        while tree.rows.len() < ROWS_SHOWN
            && let Some(next) = tree.pending.pop()
        {
            tree.show(&next);
        }
        tree
    }

    fn push(&mut self, runs: &[(usize, usize)], level: usize) {
        for (position, &(call, run)) in runs.iter().enumerate().rev() {
            self.pending.push(Pending {
                call,
                run,
                level,
                is_last: position + 1 == runs.len(),
            });
        }
    }

    fn show(&mut self, next: &Pending) {
        self.rails.truncate(next.level);
        self.rails.push(!next.is_last);
        let size = self.shape.size[next.call];
        if size > 1 && self.printed.contains(&self.shape.pattern[next.call]) {
            self.covered += size * next.run;
            return self.show_again(next);
        }
        self.show_call(next);
        // The run's other calls are folded with all that is below them.
        self.covered += 1 + size * (next.run - 1);
        if next.level + 1 < self.levels {
            let children = self.shape.runs(&self.shape.children[next.call]);
            self.push(&children, next.level + 1);
        } else if size > 1 {
            self.show_deeper(size - 1);
        }
        if next.level + self.shape.height[next.call] <= self.levels {
            self.printed.insert(self.shape.pattern[next.call]);
        }
    }

    fn show_call(&mut self, next: &Pending) {
        let recorded = &self.calls[next.call];
        let prefix = self.prefix(next.level);
        let room = HEAD_COLUMNS
            .saturating_sub(width(&prefix))
            .max(LABEL_COLUMNS);
        let head = prefix + &call_and_result(recorded, room);
        let columns = Columns {
            outcome: recorded.outcome,
            took: self.time_of(next),
            thread: recorded.thread,
            run: next.run,
        };
        self.rows.push(Row {
            head,
            columns: Some(columns),
        });
    }

    fn show_again(&mut self, next: &Pending) {
        let size = self.shape.size[next.call];
        let times = match next.run {
            1 => String::new(),
            run => format!(" × {}", grouped(run)),
        };
        let note = format!(
            " … as above ({}, {}){times}",
            count(size, "call", "calls"),
            time(self.time_of(next)),
        );
        let prefix = self.prefix(next.level);
        let room = 80_usize
            .saturating_sub(width(&prefix) + width(&note))
            .max(LABEL_COLUMNS);
        let head = prefix + &call(&self.calls[next.call], room) + &note;
        self.rows.push(Row {
            head,
            columns: None,
        });
    }

    fn show_deeper(&mut self, calls: usize) {
        self.covered += calls;
        self.rails.push(false);
        let prefix = self.prefix(self.rails.len() - 1);
        let head = format!("{prefix}… {}", count(calls, "deeper call", "deeper calls"));
        self.rows.push(Row {
            head,
            columns: None,
        });
    }

    /// The time of a whole run. Its calls are the consecutive siblings from the first one on.
    fn time_of(&self, next: &Pending) -> Duration {
        let siblings = match self.calls[next.call].parent {
            Some(parent) => &self.shape.children[parent],
            None => &self.shape.roots,
        };
        let first = siblings.partition_point(|&sibling| sibling < next.call);
        let run = &siblings[first..first + next.run];
        run.iter().map(|&sibling| self.calls[sibling].took).sum()
    }

    fn prefix(&self, level: usize) -> String {
        if level == 0 {
            return String::new();
        }
        let above = self.rails[1..level].iter();
        let rails: String = above
            .map(|more| if *more { "│   " } else { "    " })
            .collect();
        rails
            + if self.rails[level] {
                "├── "
            } else {
                "└── "
            }
    }
}

#[cfg(test)]
mod tests {
    use super::super::recorder::tests::{chain, hit, miss};
    use super::super::{CacheState, Trace, enter, inherit, trace};
    use super::*;

    /// The tree with every time replaced by `T` (times are not repeatable), without the totals.
    fn tree(trace: &Trace) -> String {
        let mut recording = trace.recording.clone();
        for call in &mut recording.calls {
            call.took = Duration::from_nanos(7);
        }
        let text = render(&recording, LEVELS_SHOWN);
        let (tree, _) = text.rsplit_once("\n\n").unwrap_or((&text, ""));
        tree.lines().map(|line| line.to_owned() + "\n").collect()
    }

    fn fib(n: u64, known: &mut HashSet<u64>) {
        let (args, result) = (n.to_string(), (1..n).fold((0, 1), |(a, b), _| (b, a + b)).1);
        let result = if n == 0 { 0 } else { result }.to_string();
        if known.contains(&n) {
            return hit("fib", &args, &result);
        }
        miss("fib", &args, &result, || {
            if n > 1 {
                fib(n - 1, known);
                fib(n - 2, known);
            }
        });
        known.insert(n);
    }

    #[test]
    fn calls_are_drawn_below_their_parents_in_aligned_columns() {
        let trace = trace(|| fib(5, &mut HashSet::new()));
        let expected = "\
fib(5) = 5                  miss       7 ns
├── fib(4) = 3              miss       7 ns
│   ├── fib(3) = 2          miss       7 ns
│   │   ├── fib(2) = 1      miss       7 ns
│   │   │   ├── fib(1) = 1  miss       7 ns
│   │   │   └── fib(0) = 0  miss       7 ns
│   │   └── fib(1) = 1      hit
│   └── fib(2) = 1          hit
└── fib(3) = 2              hit
";
        assert_eq!(tree(&trace), expected);
        assert!(
            trace
                .to_string()
                .contains("\n\n9 calls: 3 hits, 6 misses · ")
        );
    }

    #[test]
    fn identical_neighbours_are_one_line() {
        let trace = trace(|| {
            for _ in 0..3 {
                hit("f", "1", "x");
            }
            hit("f", "2", "x");
        });
        assert_eq!(tree(&trace), "f(1) = x  hit     × 3\nf(2) = x  hit\n");
    }

    #[test]
    fn identical_sibling_subtrees_are_folded() {
        let load = || {
            miss("f", "1", "x", || {
                hit("g", "1", "y");
                hit("g", "2", "y");
            });
        };
        let trace = trace(|| {
            load();
            load();
            hit("h", "", "z");
            load();
        });
        let expected = "\
f(1) = x      miss       7 ns
├── g(1) = y  hit
└── g(2) = y  hit
h() = z       hit
f(1) … as above (3 calls, 7 ns)
";
        let expected = expected.replacen("miss       7 ns", "miss      14 ns  × 2", 1);
        assert_eq!(tree(&trace), expected);
    }

    #[test]
    fn a_subtree_that_was_cut_is_not_called_shown() {
        let load = || miss("f", "1", "x", || miss("g", "1", "y", || hit("h", "1", "z")));
        let trace = trace(|| {
            miss("top", "", "", load);
            load();
        });
        let text = render(&trace.recording, 2);
        assert_eq!(text.matches("… 2 deeper calls").count(), 1);
        assert_eq!(text.matches("… 1 deeper call\n").count(), 1);
        assert!(!text.contains("as above"));
    }

    #[test]
    fn calls_of_other_threads_are_marked() {
        let trace = trace(|| {
            miss("f", "1", "x", || {
                std::thread::scope(|scope| {
                    scope.spawn(inherit(|| hit("g", "1", "y")));
                });
            });
        });
        let expected = "f(1) = x      miss       7 ns\n└── g(1) = y  hit     [thread 1]\n";
        assert_eq!(tree(&trace), expected);
    }

    #[test]
    fn every_outcome_has_its_word() {
        let trace = trace(|| {
            let begin = |args: &str| enter("f", args.to_owned()).expect("traced");
            begin("1").finish(Outcome::Wait, None, CacheState::default());
            begin("2").finish(Outcome::Stale, None, CacheState::default());
            begin("3").finish(Outcome::Bypass, None, CacheState::default());
            drop(begin("4"));
        });
        let words = ["wait", "stale", "bypass", "failed"];
        for (line, word) in tree(&trace).lines().zip(words) {
            assert!(line.contains(word), "{line}");
        }
    }

    #[test]
    fn labels_of_wide_characters_line_up_by_characters_and_are_cut() {
        let trace = trace(|| {
            hit("größe", "\"日本\"", "7");
            hit("f", &"ä".repeat(200), &"ö".repeat(200));
        });
        let text = tree(&trace);
        let columns: Vec<usize> = text
            .lines()
            .map(|line| width(line.split("hit").next().unwrap_or_default()))
            .collect();
        assert_eq!(columns, [HEAD_COLUMNS + 2; 2]);
        assert!(text.contains("ä…) = ö"));
        assert!(text.lines().all(|line| width(line) <= 80));
    }

    #[test]
    fn deep_calls_are_counted_instead_of_shown() {
        let trace = chain(100_000);
        let text = trace.to_string();
        assert!(text.contains(&format!("{}└── … 99,988 deeper calls\n", "    ".repeat(11))));
        assert!(text.lines().all(|line| width(line) <= 80), "{text}");
        assert!(format!("{trace:.50}").contains("… 99,950 deeper calls\n"));
        // Deeper than any number of lines, the rest is counted at the end.
        assert!(format!("{trace:.1000}").contains("\n… 99,500 more calls\n"));
    }

    #[test]
    fn wide_traces_are_counted_instead_of_shown() {
        let trace = trace(|| {
            for n in 0..2_000 {
                hit("f", &n.to_string(), "x");
            }
        });
        let text = trace.to_string();
        assert!(text.contains("\n… 1,500 more calls\n\n2,000 calls: 2,000 hits · "));
    }

    #[test]
    fn a_trace_without_calls_is_its_totals() {
        assert!(trace(|| ()).to_string().starts_with("0 calls · "));
    }
}
