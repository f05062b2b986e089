//! The demo runs on little input, and what it prints says what Scrubjay promises.

#![cfg(feature = "macros")]

use std::io::{self, Write};
use std::sync::LazyLock;

#[allow(dead_code, reason = "the demo's own `main` is not run here")]
#[path = "../examples/demo/main.rs"]
mod demo;

use demo::{Asked, Failure, Options, Origin};

/// What the demo prints about its own source, and then about whatever is on this machine.
///
/// The runs share the memos of the demo's functions, so they come one after the other.
static OUTPUTS: LazyLock<[String; 2]> =
    LazyLock::new(|| [Origin::Own, Origin::Any].map(|origin| print(Options::small().from(origin))));

fn print(options: Options) -> String {
    let mut out = Vec::new();
    demo::run(&mut out, false, false, &options).expect("the demo runs to its end");
    String::from_utf8(out).expect("the demo prints text")
}

/// The words of the line that begins with `name`, without the name.
fn cells<'a>(output: &'a str, name: &str) -> Vec<&'a str> {
    let found = output
        .lines()
        .find_map(|line| line.trim_start().strip_prefix(name));
    found
        .unwrap_or_else(|| panic!("{name} is not in {output}"))
        .split_whitespace()
        .collect()
}

fn count(cell: &str) -> u64 {
    cell.replace(',', "").parse().expect("a cell with a count")
}

#[test]
fn it_says_where_its_input_is_from() {
    assert!(OUTPUTS[0].contains("Input: this program's own source"));
    assert!(OUTPUTS[1].contains("Input: "));
}

#[test]
fn ten_threads_make_one_load() {
    for output in OUTPUTS.iter() {
        let row = cells(output, "through one cache");
        assert_eq!((count(row[0]), count(row[1]) + count(row[2])), (1, 9));
        let row = cells(output, "once more");
        assert_eq!((row[0], row[1], row[2]), ("0", "0", "10"));
    }
}

#[test]
fn an_entry_ends_at_exactly_its_time_to_live() {
    for output in OUTPUTS.iter() {
        assert_eq!(cells(output, "59.999999999 s")[..3], ["1", "hit", "1"]);
        assert_eq!(cells(output, "60.000000000 s")[..3], ["0", "loaded", "2"]);
    }
}

#[test]
fn a_smaller_capacity_evicts_and_is_never_exceeded() {
    for output in OUTPUTS.iter() {
        let (all, tenth) = (cells(output, "100 %"), cells(output, "10 %"));
        // Behind the capacity and its unit: calls, loads, hits, hit ratio and its sign, evicted.
        assert_eq!((count(all[7]), all[2]), (0, tenth[2]));
        assert!(count(tenth[3]) > count(all[3]) && count(tenth[7]) > 0);
        assert!(output.contains("never above the capacity"));
    }
}

#[test]
fn waiters_share_an_error_that_is_not_stored() {
    for output in OUTPUTS.iter() {
        assert!(cells(output, "ten threads, not there").ends_with(&["10", "1", "9", "0", "0"]));
        assert!(cells(output, "4.9 s later").ends_with(&["2", "1", "0", "0", "1"]));
        assert!(cells(output, "at 5 s").ends_with(&["3", "2", "0", "0", "1"]));
    }
}

#[test]
fn the_call_tree_has_seven_misses() {
    for output in OUTPUTS.iter() {
        assert_eq!(cells(output, "fib(6) = 8")[0], "miss");
        assert!(output.contains("11 calls: 4 hits, 7 misses"));
        assert!(output.contains("demo-trace.html"));
    }
}

#[test]
fn the_lines_have_no_colour_and_no_blanks_at_their_ends() {
    for line in OUTPUTS.iter().flat_map(|output| output.lines()) {
        assert_eq!(line, line.trim_end());
        assert!(!line.contains('\x1b'));
    }
}

/// An output that somebody closed, as `head` does.
struct Closed;

impl Write for Closed {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_closed_output_ends_it_quietly() {
    let failure: Failure = demo::run(
        &mut Closed,
        false,
        false,
        &Options::small().from(Origin::Own),
    )
    .expect_err("nothing can be printed");
    assert!(demo::is_closed(&*failure));
}

#[test]
fn wrong_arguments_are_named() {
    let parse = |arguments: &[&str]| demo::parse(arguments.iter().map(|word| (*word).to_owned()));
    assert!(matches!(
        parse(&["--small", "--input", "own"]),
        Asked::Run(_)
    ));
    assert!(matches!(parse(&["--help"]), Asked::Help));
    for (arguments, named) in [
        (&["--fast"][..], "--fast"),
        (&["--input", "tape"], "tape"),
        (&["--input"], "nothing"),
        (&["/no/such/directory"], "/no/such/directory"),
    ] {
        assert!(matches!(parse(arguments), Asked::Wrong(message) if message.contains(named)));
    }
}
