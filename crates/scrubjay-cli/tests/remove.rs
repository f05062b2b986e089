//! `scrubjay rm`, `purge` and `verify`: what goes, what stays, and what is damaged.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod fixtures;

use fixtures::{Place, fields, stderr, stdout};

#[test]
fn rm_removes_the_entries_that_are_named() {
    let place = Place::new();
    for text in ["one", "two", "three"] {
        place.remember(&[], text);
    }
    let keys = place.keys();
    let output = place.scrubjay(&["rm", &keys[0], &keys[2][..20]]);
    assert_eq!(
        (stdout(&output), output.status.code()),
        ("removed 2 entries\n", Some(0))
    );
    assert_eq!(place.keys(), keys[1..2]);
}

#[test]
fn a_key_that_is_given_twice_is_removed_once_and_an_empty_one_is_none() {
    let place = Place::new();
    place.remember(&[], "one");
    let empty = place.scrubjay(&["rm", ""]);
    assert_eq!(empty.status.code(), Some(2), "{}", stderr(&empty));
    let key = &place.keys()[0];
    let output = place.scrubjay(&["rm", key, &key[..6]]);
    assert_eq!(stdout(&output), "removed 1 entry\n");
}

#[test]
fn a_mistyped_key_removes_nothing() {
    let place = Place::new();
    place.remember(&[], "one");
    let keys = place.keys();
    let output = place.scrubjay(&["rm", &keys[0], "nonsense"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("nonsense"), "{}", stderr(&output));
    assert_eq!(place.keys(), keys);
}

#[test]
fn a_removed_answer_is_computed_again() {
    let place = Place::new();
    place.counted("work", "echo done");
    place.scrubjay(&["run", "--", "./work"]);
    assert_eq!(place.object(&["rm", &place.keys()[0]])["removed"], 1);
    place.scrubjay(&["run", "--", "./work"]);
    assert_eq!(place.runs(), 2);
}

#[test]
fn a_run_that_an_rm_overtook_is_not_stored() {
    let place = Place::new();
    place.fifo("gate");
    place.counted("work", "test ! -e again || { echo on; read _ < gate; }");
    place.scrubjay(&["run", "--", "./work"]);
    place.write("again", "");
    let mut running = place.start(&["run", "--force", "--", "./work"]);
    assert_eq!(running.line(), "on\n");
    place.scrubjay(&["rm", &place.keys()[0]]);
    place.open_gate("gate");
    assert!(running.end().status.success());
    assert_eq!(place.keys(), [""; 0]);
}

#[test]
fn purge_removes_what_all_its_options_describe() {
    let place = Place::new();
    place.remember(&["--tag", "a", "--name", "f"], "one");
    place.remember(&["--tag", "a", "--name", "g"], "two");
    place.remember(&["--tag", "b", "--name", "f"], "three");
    place.remember(&["--ttl", "0s"], "over");
    let removed = |options: &[&str]| place.object(&[&["purge"], options].concat());
    assert_eq!(
        removed(&["--tag", "a", "--function", "f", "--dry-run"])["would_remove"],
        1
    );
    assert_eq!(removed(&["--tag", "a", "--function", "f"])["removed"], 1);
    assert_eq!(removed(&["--older", "1h"])["removed"], 0);
    assert_eq!(removed(&["--expired"])["removed"], 1);
    assert_eq!(removed(&["--tag", "nobody's"])["removed"], 0);
    assert_eq!(place.keys().len(), 2);
    assert_eq!(removed(&["--older", "0s"])["removed"], 2);
    place.remember(&[], "one");
    assert_eq!(removed(&["--all"])["removed"], 1);
}

#[test]
fn purge_of_nothing_in_particular_is_refused() {
    let place = Place::new();
    place.remember(&[], "one");
    let output = place.scrubjay(&["purge"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("--all"), "{}", stderr(&output));
    assert_eq!(
        place
            .scrubjay(&["purge", "--all", "--tag", "a"])
            .status
            .code(),
        Some(2)
    );
    assert_eq!(place.keys().len(), 1);
}

#[test]
fn a_sound_store_is_said_to_be() {
    let place = Place::new();
    place.remember(&[], "one");
    place.remember(&["--ttl", "0s"], "two");
    let output = place.scrubjay(&["verify"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(
        stdout(&output).starts_with("2 entries of ")
            && stdout(&output).ends_with("checked, 0 damaged\n")
    );
    let report = place.object(&["verify"]);
    assert_eq!(
        fields(&report),
        ["bytes", "damaged", "entries", "expired", "index", "sound"]
    );
    assert_eq!(
        (&report["sound"], &report["expired"]),
        (&true.into(), &1.into())
    );
}

#[test]
fn a_damaged_entry_is_found_by_verify_never_served_and_can_be_removed() {
    let place = Place::new();
    place.counted("work", "yes remarkable | head -n 9000");
    place.remember(&[], "untouched");
    place.scrubjay(&["run", "--", "./work"]);
    let key = place.keys().remove(1);
    place.damage_values();
    let output = place.scrubjay(&["verify"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stdout(&output).contains(&format!("damaged: {key}")),
        "{}",
        stdout(&output)
    );
    assert!(
        stderr(&output).contains("never served"),
        "{}",
        stderr(&output)
    );
    let report = place.object(&["verify"]);
    assert_eq!(
        (&report["sound"], &report["damaged"][0]),
        (&false.into(), &key.as_str().into())
    );
    let output = place.scrubjay(&["run", "--", "./work"]);
    let whole = "remarkable\n".repeat(9000);
    assert!(stdout(&output) == whole, "whole, and no line twice");
    assert_eq!(place.runs(), 2);
    let sound = place.scrubjay(&["verify"]);
    assert_eq!(
        sound.status.code(),
        Some(0),
        "the new answer took its place"
    );
    place.damage_values();
    place.scrubjay(&["rm", &key]);
    assert_eq!(place.scrubjay(&["verify"]).status.code(), Some(0));
    assert_eq!(place.keys().len(), 1);
}

#[test]
fn purge_removes_what_killed_processes_left_and_nothing_that_is_in_use() {
    let place = Place::new();
    place.fifo("gate");
    place.counted("killed", "echo on; read _ < gate");
    place.counted("silent", "echo on; read _ < gate");
    let scratch = || {
        std::fs::read_dir(place.path("store/scratch"))
            .unwrap()
            .count()
    };
    let mut killed = place.start(&["run", "--", "./killed"]);
    let mut silent = place.start(&["run", "--", "./silent"]);
    assert_eq!(
        (killed.line(), silent.line()),
        ("on\n".into(), "on\n".into())
    );
    killed.signal("KILL");
    killed.end();
    place.scrubjay(&["purge", "--expired"]);
    assert_eq!(scratch(), 2, "what is new may still be wanted");
    let old = std::time::SystemTime::now() - std::time::Duration::from_secs(7200);
    for file in std::fs::read_dir(place.path("store/scratch")).unwrap() {
        let file = std::fs::File::options()
            .append(true)
            .open(file.unwrap().path());
        file.unwrap().set_modified(old).unwrap();
    }
    place.scrubjay(&["purge", "--expired"]);
    assert_eq!(
        scratch(),
        1,
        "a command that says nothing for hours still runs"
    );
    place.open_gate("gate");
    assert!(silent.end().status.success());
    assert_eq!(scratch(), 0);
}

/// A run that waits for somebody to open its gate, with this purge in between; says whether its answer was stored.
fn is_stored_in_spite_of(purge: &[&str]) -> bool {
    let place = Place::new();
    place.fifo("gate");
    place.counted("work", "echo begun; read _ < gate");
    let mut running = place.start(&["run", "--tag", "mine", "--", "./work"]);
    assert_eq!(running.line(), "begun\n");
    let purged = place.scrubjay(&[&["purge"], purge].concat());
    assert_eq!(
        stdout(&purged),
        "removed 0 entries\n",
        "{}",
        stderr(&purged)
    );
    place.open_gate("gate");
    assert!(running.end().status.success());
    !place.keys().is_empty()
}

#[test]
fn a_run_under_way_is_stored_unless_a_purge_is_about_it() {
    let others: [&[&str]; 4] = [
        &["--older", "1h"],
        &["--expired"],
        &["--tag", "another"],
        &["--function", "another"],
    ];
    for purge in others {
        assert!(is_stored_in_spite_of(purge), "{purge:?}");
    }
    let own: [&[&str]; 4] = [
        &["--tag", "mine"],
        &["--function", "work"],
        &["--function", "work", "--tag", "mine"],
        &["--all"],
    ];
    for purge in own {
        assert!(!is_stored_in_spite_of(purge), "{purge:?}");
    }
}

#[test]
fn a_run_that_a_purge_overtook_says_why_it_was_not_stored() {
    let place = Place::new();
    place.fifo("gate");
    place.script("work", "echo first; read _ < gate");
    let mut running = place.start(&["run", "--json", "--", "./work"]);
    running.line();
    place.scrubjay(&["purge", "--all"]);
    place.open_gate("gate");
    let output = running.end();
    let report: serde_json::Value = serde_json::from_slice(&output.stderr).unwrap();
    let why = report["not_stored"].as_str().unwrap();
    assert!(why.contains("removed while the command ran"), "{why}");
}
