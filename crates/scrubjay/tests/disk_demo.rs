//! The demo of the disk tier runs, with processes of its own, and what it prints says what Scrubjay promises.
//!
//! Those processes are this program started anew with arguments that the demo knows, so it has a `main` of its own.
#![allow(clippy::print_stdout, reason = "a test says how it went")]

#[path = "../examples/demo_disk/main.rs"]
mod demo;

use std::process::ExitCode;

fn main() -> ExitCode {
    let first = std::env::args().nth(1).unwrap_or_default();
    if ["--compare", "--write"].contains(&&*first) {
        return demo::main();
    }
    if first == "--list" {
        return ExitCode::SUCCESS;
    }
    it_says_what_the_disk_tier_does();
    println!("test it_says_what_the_disk_tier_does ... ok");
    println!("\ntest result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out");
    ExitCode::SUCCESS
}

/// The words of the line that begins with `name`, without the name.
fn cells<'a>(output: &'a str, name: &str) -> Vec<&'a str> {
    let found = (output.lines()).find_map(|line| line.trim_start().strip_prefix(name));
    let found = found.unwrap_or_else(|| panic!("{name} is not in {output}"));
    found.split_whitespace().collect()
}

fn count(cell: &str) -> u64 {
    let digits = cell.replace(',', "");
    digits.parse().expect("a cell with a count")
}

/// The counts in the first three cells of a line.
fn counts(output: &str, name: &str) -> [u64; 3] {
    let cells = cells(output, name);
    [0, 1, 2].map(|place: usize| count(cells[place]))
}

fn it_says_what_the_disk_tier_does() {
    let mut out = Vec::new();
    demo::print(&mut out, false, false, "200").expect("every claim holds");
    let output = String::from_utf8(out).expect("the demo prints text");

    let [asked, computed, from_disk] = counts(&output, "the first process");
    assert!(asked > 0 && computed == asked && from_disk == 0, "{output}");
    assert_eq!(counts(&output, "after the restart"), [asked, 0, asked]);

    let each = (1..=8).map(|number| counts(&output, &format!("process {number}")));
    let computed: u64 = each.map(|[_, computed, _]| computed).sum();
    assert_eq!(computed, asked, "each comparison once in total: {output}");
    assert_eq!(counts(&output, "all"), [8 * asked, asked, 7 * asked]);

    let acknowledged = cells(&output, "The writer had acknowledged")[0];
    assert!(count(acknowledged) >= 3_000);
    let all = format!("all {acknowledged} acknowledged entries are there");
    let words: Vec<&str> = output.split_whitespace().collect();
    assert!(words.join(" ").contains(&all), "{output}");
    for line in output.lines() {
        assert_eq!(line, line.trim_end());
        assert!(!line.contains('\x1b'));
    }
}
