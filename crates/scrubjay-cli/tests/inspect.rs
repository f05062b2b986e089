//! `scrubjay ls`, `show`, `why`, `stats` and `top`: what a store has, and what that saved.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod fixtures;

use std::time::Duration;

use fixtures::{Place, fields, lines_of_json, stderr, stdout};

#[test]
fn ls_has_a_line_for_each_entry_the_newest_last() {
    let place = Place::new();
    place.remember(&["--tag", "x", "--ttl", "1h"], "first");
    place.remember(&["--name", "other"], "it's the second");
    let listed = stdout(&place.scrubjay(&["ls"])).to_owned();
    let lines: Vec<&str> = listed.lines().collect();
    assert_eq!(lines.len(), 3, "{listed}");
    let headings = [
        "KEY", "FUNCTION", "AGE", "LEFT", "COST", "SIZE", "TAGS", "SUBJECT",
    ];
    assert_eq!(lines[0].split_whitespace().collect::<Vec<_>>(), headings);
    assert!(
        lines[1].contains(" echo ") && lines[1].ends_with("x     echo first"),
        "{listed}"
    );
    assert!(
        lines[2].contains(" other ") && lines[2].ends_with(r"echo 'it'\''s the second'"),
        "{listed}"
    );
    assert!(
        place
            .keys()
            .iter()
            .zip(&lines[1..])
            .all(|(key, line)| line.contains(&key[..12]))
    );
}

#[test]
fn the_columns_of_a_table_line_up() {
    let place = Place::new();
    place.remember(&["--name", "日本語"], "wide");
    place.remember(&["--name", "a-rather-long-name"], "long");
    let listed = stdout(&place.scrubjay(&["ls"])).to_owned();
    let width = |c: char| if c.is_ascii() { 1 } else { 2 };
    let column = |line: &str, what: &str| -> usize {
        line[..line.rfind(what).unwrap()].chars().map(width).sum()
    };
    let lines: Vec<&str> = listed.lines().collect();
    let subject = column(lines[0], "SUBJECT");
    assert_eq!(
        [column(lines[1], "echo"), column(lines[2], "echo")],
        [subject; 2],
        "{listed}"
    );
}

#[test]
fn nothing_that_an_entry_is_called_moves_the_cursor() {
    let place = Place::new();
    place.fifo("gate");
    let name = "a\x1b[2Jb\nc";
    let text = "echo done; # \x1b[2J\n read _ < gate";
    let run = ["run", "--name", name, "--tag", name, "--", "sh", "-c", text];
    let mut running = place.start(&run);
    running.line();
    let top = place.scrubjay(&["top"]);
    place.open_gate("gate");
    running.end();
    let key = &place.keys()[0];
    let others = [&["ls"][..], &["show", key], &["stats"], &["top"]];
    let others = others.map(|look| place.scrubjay(look));
    for output in others.iter().chain([&top]) {
        let shown = stdout(output);
        assert!(shown.contains("a [2Jb c"), "{shown:?}");
        assert!(!shown.contains('\x1b'), "{shown:?}");
    }
}

#[test]
fn ls_selects_sorts_and_limits() {
    let place = Place::new();
    let long = "x".repeat(500);
    place.remember(&["--tag", "t"], &long);
    place.remember(&["--name", "a"], "two");
    place.remember(&["--tag", "t"], "three");
    let subjects = |options: &[&str]| -> Vec<String> {
        let entries = place.json(&[&["ls"], options].concat());
        let commands = entries
            .iter()
            .map(|entry| &entry["description"]["command"][1]);
        commands
            .map(|text| text.as_str().unwrap().chars().take(5).collect())
            .collect()
    };
    assert_eq!(subjects(&["--tag", "t"]), ["xxxxx", "three"]);
    assert_eq!(subjects(&["--function", "a"]), ["two"]);
    assert_eq!(subjects(&["--sort", "function", "-n", "3"])[0], "two");
    assert_eq!(subjects(&["--sort", "size", "--limit", "1"]), ["xxxxx"]);
    assert_eq!(subjects(&["--older", "1h"]), [""; 0]);
    assert_eq!(subjects(&["--older", "0s"]).len(), 3);
}

#[test]
fn an_entry_as_json_has_the_documented_fields() {
    let place = Place::new();
    place.remember(&["--ttl", "1h", "--tag", "x"], "text");
    let entry = place.object(&["ls"]);
    let expected = [
        "bytes",
        "code",
        "codec",
        "compressed",
        "description",
        "expires",
        "failure",
        "function",
        "key",
        "load_cost_seconds",
        "stale_until",
        "stored_bytes",
        "tags",
        "written",
    ];
    assert_eq!(fields(&entry), expected);
    assert_eq!(place.object(&["show", &place.keys()[0]]), entry);
    assert_eq!(
        (entry["function"].as_str(), entry["tags"][0].as_str()),
        (Some("echo"), Some("x"))
    );
}

#[test]
fn an_empty_store_is_listed_as_such_and_an_absent_one_is_an_error_that_says_what_to_do() {
    let place = Place::new();
    for subcommand in [
        &["ls"][..],
        &["stats"],
        &["top"],
        &["verify"],
        &["rm", "00"],
        &["purge", "--all"],
        &["export"],
    ] {
        let output = place.scrubjay(subcommand);
        assert_eq!(output.status.code(), Some(3), "{subcommand:?}");
        assert!(
            stderr(&output).contains("there is no store in") && stderr(&output).contains("--store")
        );
    }
    assert!(!place.path("store").exists(), "looking makes no store");
    place.remember(&[], "x");
    place.scrubjay(&["purge", "--all"]);
    let output = place.scrubjay(&["ls"]);
    assert_eq!((stdout(&output), output.status.code()), ("", Some(0)));
    assert_eq!(place.json(&["ls"]).len(), 0);
}

#[test]
fn a_directory_that_is_no_store_is_left_as_it_is() {
    let place = Place::new();
    place.write("store/letter.txt", "mine");
    assert_eq!(place.scrubjay(&["ls"]).status.code(), Some(3));
    let names = std::fs::read_dir(place.path("store")).unwrap().count();
    assert_eq!(names, 1);
}

#[test]
fn show_tells_all_parts_of_a_key_and_how_the_command_ended() {
    let place = Place::new();
    place.write("input", "1");
    place.counted("work", "echo out; echo err >&2; exit 3");
    let options = [
        "--dep",
        "input",
        "--env",
        "HOME",
        "--ttl",
        "1h",
        "--fail-ttl",
        "1h",
        "--tag",
        "x",
    ];
    place.scrubjay(&[&["run"], &options[..], &["--", "./work", "a b"]].concat());
    let key = &place.keys()[0];
    let shown = stdout(&place.scrubjay(&["show", &key[..6]])).to_owned();
    let parts = [
        &format!("key         {key}"),
        "function    work",
        "subject     ./work 'a b'",
        "depends on  input ",
        "depends on  env:HOME ",
        "load cost   ",
        "tags        x",
        "ended with  exit code 3",
    ];
    for part in parts {
        assert!(
            shown.lines().any(|line| line.starts_with(part)),
            "{part} in\n{shown}"
        );
    }
    assert!(
        !shown.contains(&std::env::var("HOME").unwrap()),
        "values of variables are not shown"
    );
}

#[test]
fn show_prints_what_the_command_printed_to_its_streams() {
    let place = Place::new();
    place.counted("work", r"printf 'out\000\377'; echo err >&2");
    place.scrubjay(&["run", "--", "./work"]);
    let output = place.scrubjay(&["show", "--output", &place.keys()[0]]);
    assert_eq!(
        (&output.stdout[..], stderr(&output)),
        (&b"out\0\xff"[..], "err\n")
    );
}

#[test]
fn a_key_that_is_none_or_not_the_only_one_is_said() {
    let place = Place::new();
    for number in 0..40 {
        place.remember(&[], &number.to_string());
    }
    let output = place.scrubjay(&["show", "xyz"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("no entry's key begins with xyz"),
        "{}",
        stderr(&output)
    );
    // Two of forty keys begin with the same of sixteen digits.
    let keys = place.keys();
    let first = |key: &String| key[..1].to_owned();
    let shared = keys
        .iter()
        .map(first)
        .find(|one| keys.iter().map(first).filter(|other| other == one).count() > 1);
    let output = place.scrubjay(&["show", &shared.unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("give more of it"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn why_names_what_differs_from_the_nearest_key() {
    let place = Place::new();
    place.write("input", "1");
    place.counted("work", "cat input");
    let key = ["--dep", "input", "--", "./work", "a", "b"];
    place.scrubjay(&[&["run"], &key[..]].concat());
    let why = |key: &[&str]| place.scrubjay(&[&["why"], key].concat());
    let known = why(&key);
    assert_eq!(known.status.code(), Some(0));
    assert!(stdout(&known).starts_with("known: ") && stdout(&known).contains("never expires"));
    place.write("input", "2");
    let changed = why(&["--dep", "input", "--", "./work", "a", "c"]);
    assert_eq!(changed.status.code(), Some(1));
    for part in ["differs in:", "argument 2", "dependency input"] {
        assert!(
            stdout(&changed).contains(part),
            "{part} in\n{}",
            stdout(&changed)
        );
    }
    assert!(!stdout(&changed).contains("argument 1"));
    assert_eq!(place.runs(), 1, "why runs nothing");
    let nothing = why(&["--", "true"]);
    assert!(stdout(&nothing).contains("nothing like it is stored"));
}

#[test]
fn why_as_json_lists_the_differences() {
    let place = Place::new();
    place.remember(&["--ttl", "1h"], "one");
    let why = |text: &str| {
        let output = place.scrubjay(&["why", "--json", "--", "echo", text]);
        lines_of_json(&output).remove(0)
    };
    let known = why("one");
    assert_eq!(fields(&known), ["expires", "key", "known"]);
    assert_eq!(
        (&known["known"], known["key"].as_str()),
        (&true.into(), Some(&*place.keys()[0]))
    );
    let miss = why("two");
    assert_eq!(fields(&miss), ["differences", "key", "known", "nearest"]);
    assert_eq!(miss["nearest"], known["key"]);
    let differences = serde_json::json!([{"what": "argument 1", "stored": "one", "asked": "two"}]);
    assert_eq!(miss["differences"], differences);
}

#[test]
fn an_answer_that_is_over_is_told_so() {
    let place = Place::new();
    place.remember(&["--ttl", "0s"], "gone");
    let output = place.scrubjay(&["why", "--", "echo", "gone"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stdout(&output).contains("its life is over"),
        "{}",
        stdout(&output)
    );
    let listed = place.scrubjay(&["ls"]);
    assert!(stdout(&listed).contains(" expired "), "{}", stdout(&listed));
}

#[test]
fn why_judges_an_answer_by_the_same_options_as_run() {
    let place = Place::new();
    place.script("work", "exit 1");
    place.remember(&[], "old");
    place.scrubjay(&["run", "--fail-ttl", "1h", "--", "./work"]);
    let why = |options: &[&str], command: &[&str]| {
        let output = place.scrubjay(&[&["why"], options, &["--"], command].concat());
        (output.status.code(), stdout(&output).to_owned())
    };
    let echo = ["echo", "old"];
    assert_eq!(why(&["--ttl", "1h"], &echo).0, Some(0));
    let (code, text) = why(&["--ttl", "0s", "--stale", "1h"], &echo);
    assert_eq!(code, Some(1));
    assert!(text.contains("its life is over"), "{text}");
    assert_eq!(why(&["--fail-ttl", "1h"], &["./work"]).0, Some(0));
    let (code, text) = why(&[], &["./work"]);
    assert_eq!(code, Some(1));
    assert!(text.contains("it failed"), "{text}");
}

#[test]
fn stats_count_hits_waits_and_loads_of_all_processes_and_the_time_they_saved() {
    let place = Place::new();
    place.fifo("gate");
    place.counted("work", "echo first; read _ < gate");
    let run = ["run", "--name", "report", "--", "./work"];
    let mut leader = place.start(&run);
    leader.line();
    let mut waiter = place.start(&run);
    waiter.line();
    place.open_gate("gate");
    assert!(leader.end().status.success() && waiter.end().status.success());
    for _ in 0..3 {
        assert_eq!(stdout(&place.scrubjay(&run)), "first\n");
    }
    let stats = place.object(&["stats"]);
    let report = &stats["functions"]["report"];
    let counts = ["entries", "hits", "waits", "loads"].map(|name| report[name].as_u64().unwrap());
    assert_eq!(counts, [1, 3, 1, 1]);
    let seconds = |name: &str| report[name].as_f64().unwrap();
    assert!(seconds("load_cost_seconds") > 0.0);
    assert!((seconds("time_saved_seconds") - 3.0 * seconds("load_cost_seconds")).abs() < 1e-5);
    assert_eq!(seconds("hit_ratio"), 0.8);
    assert_eq!(stats["hits"], 3);
}

#[test]
fn a_hit_that_ends_by_a_signal_is_counted_too() {
    let place = Place::new();
    place.counted("work", "kill -TERM $$");
    for _ in 0..3 {
        place.scrubjay(&["run", "--fail-ttl", "1h", "--", "./work"]);
    }
    let stats = place.object(&["stats"]);
    assert_eq!(
        (stats["hits"].as_u64(), stats["loads"].as_u64()),
        (Some(2), Some(1))
    );
}

#[test]
fn looking_at_entries_counts_as_no_hit() {
    let place = Place::new();
    place.remember(&[], "text");
    let key = place.keys().remove(0);
    for look in [
        &["ls"][..],
        &["show", &key],
        &["show", "--output", &key],
        &["export"],
        &["verify"],
        &["why", "--", "echo", "text"],
    ] {
        assert!(place.scrubjay(look).status.success(), "{look:?}");
    }
    assert_eq!(place.object(&["stats"])["hits"], 0);
}

#[test]
fn stats_have_a_bar_for_each_tier_and_each_function_and_remember_functions_without_entries() {
    let place = Place::new();
    place.counted("work", "true");
    for _ in 0..4 {
        place.scrubjay(&["run", "--name", "busy", "--", "./work"]);
    }
    place.remember(&[], "idle");
    place.scrubjay(&["purge", "--function", "busy"]);
    // What a cache above the store tells of its memory.
    let store = scrubjay::disk::Store::open(place.path("store")).unwrap();
    let hits = scrubjay::disk::Event::MemoryHits(8, Duration::from_secs(8));
    store.count("busy", hits);
    drop(store);
    let shown = stdout(&place.scrubjay(&["stats"])).to_owned();
    let line = |start: &str| {
        shown
            .lines()
            .find(|line| line.trim_start().starts_with(start))
            .unwrap_or_else(|| panic!("{start} in\n{shown}"))
    };
    assert!(line("store").contains("1 entry") && line("store").contains("of 1.00 GiB"));
    for (source, share) in [
        ("memory", "61.5 %  8 answers"),
        ("disk", "23.1 %  3 answers"),
        ("waited", "0.0 %  0 answers"),
        ("computed", "15.4 %  2 answers"),
    ] {
        assert!(line(source).contains(share), "{}", line(source));
        assert_eq!(line(source).contains("█"), !share.starts_with("0.0"));
    }
    assert!(line("time").contains("8.") && line("time").contains("saved"));
    assert!(line("busy").contains(" 92 %") && line("busy").contains("████████▓▓▓░"));
    assert!(line("echo").contains("░░░░░░░░░░░░") && line("echo").contains(" 0 %"));
    let top = stdout(&place.scrubjay(&["top"])).to_owned();
    assert!(
        top.contains("████████▓▓▓░") && top.contains("61.5 %"),
        "{top}"
    );
    let busy = &place.object(&["stats"])["functions"]["busy"];
    assert_eq!(
        (&busy["memory_hits"], &busy["memory_time_saved_seconds"]),
        (&8.into(), &8.0.into())
    );
    assert_eq!(place.object(&["stats"])["functions"]["busy"]["entries"], 0);
}

#[test]
fn a_capacity_that_was_asked_for_once_is_the_stores_own() {
    let place = Place::new();
    place.remember(&["--capacity", "64M"], "one");
    place.remember(&[], "two");
    assert_eq!(place.object(&["stats"])["capacity_bytes"], 64 << 20);
    place.remember(&["--capacity", "2G"], "three");
    assert_eq!(place.object(&["stats"])["capacity_bytes"], 2_u64 << 30);
    let output = place.scrubjay(&["run", "--capacity", "5", "--", "echo", "four"]);
    assert_eq!((stdout(&output), output.status.code()), ("four\n", Some(0)));
    assert!(
        stderr(&output).contains("at least 1 MiB"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn top_shows_what_runs_now() {
    let place = Place::new();
    place.fifo("gate");
    place.counted("work", "echo first; read _ < gate");
    let mut running = place.start(&["run", "--name", "slow", "--", "./work"]);
    running.line();
    let shown = stdout(&place.scrubjay(&["top"])).to_owned();
    assert!(
        shown.contains("running now: 1") && shown.contains("slow"),
        "{shown}"
    );
    let picture = place.object(&["top"]);
    assert_eq!(
        fields(&picture),
        ["bytes", "entries", "recent", "running", "time"]
    );
    assert_eq!(picture["running"][0]["run"]["pid"], running.child.id());
    place.open_gate("gate");
    running.end();
    let picture = place.object(&["top"]);
    assert_eq!(picture["running"].as_array().unwrap().len(), 0);
    assert_eq!(picture["recent"].as_array().unwrap().len(), 1);
}

#[test]
fn top_prints_as_many_pictures_as_it_is_asked_for() {
    let place = Place::new();
    place.remember(&[], "x");
    assert_eq!(
        place
            .json(&["top", "--count", "3", "--interval", "1ms"])
            .len(),
        3
    );
}
