//! Journals: what was written through is kept at once, before the index has it, and is there once and no more.
//!
//! A copy of a folder is what a process leaves behind that is killed at that moment; the second process is this test
//! binary.
#![allow(clippy::unwrap_used, reason = "a failing test should say where")]

#[path = "fixtures/folder.rs"]
mod folder;
#[path = "fixtures/stored.rs"]
mod stored;

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use folder::Folder;
use rusqlite::Connection;
use scrubjay::disk::{Durability, Function, NewRecord, Store};
use stored::{name, open};

const FOLDER: &str = "SCRUBJAY_TEST_FOLDER";

/// Opens a new folder and commits an entry, after which the next ones are noted in a journal.
fn begin(path: &Path) -> Store {
    let store = open(path);
    put(&store, 1_000, 0);
    store
}

fn record(n: u64) -> NewRecord {
    NewRecord::new(name(n), Function::new("f", "")).replaces(true)
}

fn put(store: &Store, n: u64, value: u64) {
    store.put(record(n), &value.to_le_bytes()).unwrap();
}

fn value(store: &Store, n: u64) -> Option<u64> {
    let bytes = store.get(&name(n))?.payload.into_bytes().unwrap();
    Some(u64::from_le_bytes(bytes.try_into().unwrap()))
}

/// The files of the journals of a folder.
fn journals(path: &Path) -> Vec<PathBuf> {
    let found = std::fs::read_dir(path.join("journals"));
    let found = found.map(|found| found.map(|entry| entry.unwrap().path()).collect());
    found.unwrap_or_default()
}

fn journal_bytes(path: &Path) -> u64 {
    let sizes = journals(path);
    sizes
        .iter()
        .map(|file| file.metadata().unwrap().len())
        .sum()
}

/// Keeps everybody from committing to the index until it is dropped.
fn hold_index(path: &Path) -> Connection {
    let index = Connection::open(path.join("store.db")).unwrap();
    index.execute_batch("BEGIN IMMEDIATE").unwrap();
    index
}

/// Copies a folder as it is. By another process: one that closes a file of SQLite's loses its locks on it.
fn copy(from: &Path, to: &Path) {
    let _ = std::fs::remove_dir_all(to);
    let copied = Command::new("cp").arg("-R").args([from, to]).status();
    assert!(copied.unwrap().success());
}

#[test]
fn what_was_written_through_is_kept_before_the_index_has_it() {
    let folder = Folder::new("journal-kept");
    let store = begin(&folder.store());
    let index = hold_index(&folder.store());
    (0..5).for_each(|n| put(&store, n, n + 10));
    let killed = folder.0.join("killed");
    copy(&folder.store(), &killed);
    drop(index);
    let left = open(&killed);
    assert_eq!((0..5).map(|n| value(&left, n).unwrap()).sum::<u64>(), 60);
    assert_eq!(
        journals(&killed),
        [] as [PathBuf; 0],
        "nobody needs it any more"
    );
}

#[test]
fn an_entry_of_a_journal_does_not_come_back_after_it_was_invalidated_or_replaced() {
    let folder = Folder::new("journal-once");
    let store = begin(&folder.store());
    let index = hold_index(&folder.store());
    (0..3).for_each(|n| put(&store, n, n + 10));
    let journal = journals(&folder.store()).remove(0);
    let noted = std::fs::read(&journal).unwrap();
    drop(index);
    store.invalidate(&name(0)).unwrap();
    put(&store, 1, 99);
    store.flush(Duration::MAX).unwrap();
    let killed = folder.0.join("killed");
    copy(&folder.store(), &killed);
    std::fs::write(
        killed.join("journals").join(journal.file_name().unwrap()),
        noted,
    )
    .unwrap();
    let left = open(&killed);
    let values: Vec<_> = (0..3).map(|n| value(&left, n)).collect();
    assert_eq!(values, [None, Some(99), Some(12)]);
}

#[test]
fn the_last_of_several_values_of_a_key_is_the_one_that_is_kept() {
    let folder = Folder::new("journal-last");
    let store = open(&folder.store());
    put(&store, 1, 1);
    store.flush(Duration::MAX).unwrap();
    let index = hold_index(&folder.store());
    (2..5).for_each(|value| put(&store, 1, value));
    let killed = folder.0.join("killed");
    copy(&folder.store(), &killed);
    drop(index);
    assert_eq!(value(&open(&killed), 1), Some(4));
}

#[test]
fn whatever_happens_to_a_journal_what_is_read_from_it_was_written() {
    let folder = Folder::in_memory("journal-damage");
    let store = begin(&folder.store());
    let index = hold_index(&folder.store());
    (0..4).for_each(|n| put(&store, n, n + 10));
    let image = folder.0.join("image");
    copy(&folder.store(), &image);
    drop(index);
    let journal = journals(&image).remove(0);
    let whole = std::fs::read(&journal).unwrap();
    let killed = folder.0.join("killed");
    let check = |bytes: &[u8], what: String| {
        copy(&image, &killed);
        std::fs::write(
            killed.join("journals").join(journal.file_name().unwrap()),
            bytes,
        )
        .unwrap();
        let left = open(&killed);
        let found: Vec<_> = (0..4).map_while(|n| value(&left, n)).collect();
        let right: Vec<u64> = (10..10 + found.len() as u64).collect();
        assert_eq!(found, right, "{what}");
        let later = (found.len() as u64..4).filter_map(|n| value(&left, n));
        assert_eq!(later.count(), 0, "{what}: nothing after a gap");
        found.len()
    };
    assert_eq!(check(&whole, "untouched".into()), 4);
    for byte in 0..whole.len() {
        let mut flipped = whole.clone();
        flipped[byte] ^= 1 << (byte % 8);
        assert!(check(&flipped, format!("byte {byte} flipped")) < 4);
        assert!(check(&whole[..byte], format!("cut at {byte}")) < 4);
    }
}

#[test]
fn an_entry_that_knows_more_than_an_index_whose_commits_were_undone_is_not_taken() {
    let folder = Folder::new("journal-undone");
    let store = begin(&folder.store());
    let undone = folder.0.join("undone");
    copy(&folder.store(), &undone);
    for _ in 0..5 {
        store.invalidate(&name(9)).unwrap();
    }
    let index = hold_index(&folder.store());
    // One that keeps the number of its load, where an insertion gets a new one.
    let loaded = record(1).replaces(false);
    store.put(loaded, &1_u64.to_le_bytes()).unwrap();
    let _ = std::fs::remove_dir_all(undone.join("journals"));
    copy(&folder.store().join("journals"), &undone.join("journals"));
    drop(index);
    let left = open(&undone);
    left.invalidate(&name(1)).unwrap();
    assert_eq!(value(&left, 1), None);
}

#[test]
fn a_journal_takes_little_room_and_none_at_rest() {
    let folder = Folder::new("journal-room");
    let store = Store::builder()
        .write_through(true)
        .capacity_bytes(4 << 20)
        .open(folder.store())
        .unwrap();
    let mut most = 0;
    for n in 0..2_000 {
        store.put(record(n), &[7; 1_000]).unwrap();
        most = most.max(journal_bytes(&folder.store()));
    }
    assert!((1_000..=64 << 10).contains(&most), "{most} bytes");
    drop(store);
    assert_eq!(journal_bytes(&folder.store()), 0);
    assert!(
        Store::open(folder.store())
            .unwrap()
            .get(&name(1_999))
            .is_some()
    );
}

#[test]
fn nothing_is_noted_that_must_survive_a_power_loss_at_once() {
    let folder = Folder::new("journal-sync");
    let builder = Store::builder().write_through(true);
    let store = builder.durability(Durability::Sync).open(folder.store());
    put(&store.unwrap(), 1, 1);
    assert!(!folder.store().join("journals").exists());
}

/// Answers with what it finds for each number that it is told.
#[test]
fn a_second_process() {
    let Some(folder) = std::env::var_os(FOLDER) else {
        return;
    };
    let store = open(Path::new(&folder));
    say("ready");
    for line in std::io::stdin().lines() {
        let found = value(&store, line.unwrap().parse().unwrap());
        say(&format!("found {}", found.unwrap_or(0)));
    }
}

fn say(words: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{words}").and_then(|()| out.flush()).unwrap();
}

fn start(folder: &Path) -> (Child, impl FnMut(&str) -> String + use<>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_second_process", "--nocapture"])
        .env(FOLDER, folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    // What libtest prints before is on the same line as the first word.
    let hear = move |word: &str| {
        let line = lines.find(|line| line.as_ref().unwrap().contains(word));
        let line = line.expect("the process says something").unwrap();
        line.rsplit(' ').next().unwrap().to_owned()
    };
    (child, hear)
}

#[test]
fn another_process_finds_at_once_what_was_written_through_before_and_after_it_came() {
    let folder = Folder::new("journal-shared");
    let store = open(&folder.store());
    put(&store, 1, 101);
    let (mut other, mut hear) = start(&folder.store());
    hear("ready");
    for n in 1..200 {
        put(&store, n, n + 100);
        writeln!(other.stdin.as_mut().unwrap(), "{n}").unwrap();
        assert_eq!(hear("found"), (n + 100).to_string(), "entry {n}");
    }
    drop(other.stdin.take());
    assert!(other.wait().unwrap().success());
}

#[test]
fn a_process_that_comes_between_two_writes_finds_the_first_and_then_the_second() {
    let folder = Folder::new("journal-newcomer");
    let store = open(&folder.store());
    for n in 0..10 {
        let first = 2 * n + 1;
        put(&store, first, first);
        let (mut other, mut hear) = start(&folder.store());
        hear("ready");
        put(&store, first + 1, first + 1);
        for n in [first, first + 1] {
            writeln!(other.stdin.as_mut().unwrap(), "{n}").unwrap();
            assert_eq!(hear("found"), n.to_string());
        }
        drop(other.stdin.take());
        assert!(other.wait().unwrap().success());
    }
}
