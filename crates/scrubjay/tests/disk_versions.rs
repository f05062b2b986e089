//! Folders that older versions wrote, which are kept beside these tests, are read, verified and written to.
#![allow(clippy::unwrap_used, reason = "a failing test should say where")]

#[path = "fixtures/folder.rs"]
mod folder;

use std::path::Path;
use std::time::Duration;

use folder::Folder;
use scrubjay::disk::{Codec, Digest, Event, Function, NewRecord, Store};

/// A copy of a folder that is kept with the tests.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().flatten() {
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(std::fs::copy(entry.path(), target).unwrap()),
        }
    }
}

fn first_version(name: &str) -> Folder {
    let folder = Folder::new(name);
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/format_1");
    copy(&fixture, &folder.store());
    folder
}

fn name(number: u8) -> Digest {
    Digest::from_bytes([number; 32])
}

fn payload(store: &Store, number: u8) -> Option<Vec<u8>> {
    let record = store.get(&name(number))?;
    Some(record.payload.into_bytes().unwrap())
}

fn version(folder: &Folder) -> i64 {
    let index = rusqlite::Connection::open(folder.store().join("store.db")).unwrap();
    let number = index.pragma_query_value(None, "user_version", |row| row.get(0));
    number.unwrap()
}

#[test]
fn a_folder_of_the_first_version_is_read_and_verified() {
    let folder = first_version("version-1-read");
    let store = Store::open(folder.store()).unwrap();
    let report = store.verify(|_| ()).unwrap();
    assert!(report.is_sound() && report.entries == 4, "{report:?}");
    assert_eq!(version(&folder), 1);
    assert_eq!(payload(&store, 1), Some(b"small".to_vec()));
    assert_eq!(payload(&store, 2), Some(vec![8; 5_000]));
    assert_eq!(payload(&store, 3), Some(vec![9; 33_000]));
    assert!(payload(&store, 4).is_none(), "it was invalidated");
    let commands = store.iter().map(Result::unwrap);
    let commands = commands.filter(|head| head.codec == Codec::COMMAND);
    assert_eq!(commands.count(), 1);
    let usage = &store.stats().unwrap().usage;
    let counted = usage
        .iter()
        .map(|usage| (&*usage.function, usage.hits, usage.loads));
    assert_eq!(counted.collect::<Vec<_>>(), [("echo", 1, 1)]);
}

#[test]
fn a_folder_of_the_first_version_becomes_one_of_this_version_when_it_is_written_to() {
    let folder = first_version("version-1-write");
    let store = Store::builder().write_through(true);
    let store = store.open(folder.store()).unwrap();
    let record = NewRecord::new(name(5), Function::new("f", "1")).tag("t");
    store.put(record, b"new").unwrap();
    assert_eq!(version(&folder), 2);
    store.count("echo", Event::MemoryHits(5, Duration::from_secs(1)));
    let usage = &store.stats().unwrap().usage[0];
    assert_eq!((usage.hits, usage.loads, usage.memory_hits), (1, 1, 5));
    assert_eq!(payload(&store, 1), Some(b"small".to_vec()));
    assert!(store.verify(|_| ()).unwrap().is_sound());
    assert_eq!(store.invalidate_tag("t").unwrap(), 3);
    assert_eq!(payload(&store, 2), Some(vec![8; 5_000]));
    drop(store);
    let store = Store::open(folder.store()).unwrap();
    let report = store.verify(|_| ()).unwrap();
    assert!(report.is_sound() && report.entries == 2, "{report:?}");
}
