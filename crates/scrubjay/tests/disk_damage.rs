//! Damage at every place of a folder's files: the answer is a miss or the value that was stored, and never a panic.
#![allow(clippy::unwrap_used, reason = "a failing test should say where")]

#[path = "fixtures/folder.rs"]
mod folder;
#[path = "fixtures/stored.rs"]
mod stored;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use folder::Folder;
use scrubjay::disk::Store;
use stored::{ENTRIES, check, files, filled, name, open, payload, record, settle};

/// A tiny store, of pages of 512 bytes: an entry as it is, a compressed one, and a value file.
fn tiny(path: &Path) {
    drop(open(path));
    let index = rusqlite::Connection::open(path.join("store.db")).unwrap();
    let pages =
        "PRAGMA journal_mode=DELETE; PRAGMA page_size=512; VACUUM; PRAGMA journal_mode=WAL;";
    index.execute_batch(pages).unwrap();
    drop(index);
    let store = open(path);
    for n in 0..TINY {
        match n {
            2 => {
                let file = store.scratch().unwrap().join("value");
                std::fs::write(&file, tiny_payload(n)).unwrap();
                store.put_file(record(n), file).unwrap();
            }
            _ => store.put(record(n), &tiny_payload(n)).unwrap(),
        }
    }
    drop(store);
    let _ = std::fs::remove_file(path.join("store.db-shm"));
}

const TINY: u64 = 3;

fn tiny_payload(n: u64) -> Vec<u8> {
    [&[7; 20][..], &[8; 5_000], &[9; 40]][n as usize].to_vec()
}

/// Every file of a store with its bytes, but for what nobody reads who comes first: shared memory, and the ballast,
/// which is room and nothing else.
fn contents(path: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = files(path);
    files.retain(|file| !file.ends_with("store.db-shm") && !file.ends_with("ballast"));
    let read = |file: PathBuf| {
        let bytes = std::fs::read(&file).unwrap();
        (file.strip_prefix(path).unwrap().to_owned(), bytes)
    };
    files.into_iter().map(read).collect()
}

/// Makes a folder of these files, one of which has other bytes.
fn make(path: &Path, files: &[(PathBuf, Vec<u8>)], other: usize, bytes: &[u8]) {
    let _ = std::fs::remove_dir_all(path);
    for (place, (file, own)) in files.iter().enumerate() {
        let target = path.join(file);
        std::fs::create_dir_all(target.parent().unwrap()).unwrap();
        std::fs::write(target, if place == other { bytes } else { own }).unwrap();
    }
}

/// Looks for every entry; says how many are there. What is there must be right, and no look may panic.
fn tiny_check(path: &Path, what: &dyn Fn() -> String) -> u64 {
    let Ok(store) = Store::open(path) else {
        return 0;
    };
    let mut found = 0;
    for n in 0..TINY {
        let bytes = store
            .get(&name(n))
            .and_then(|record| record.payload.into_bytes().ok());
        let Some(bytes) = bytes else { continue };
        assert!(
            bytes == tiny_payload(n),
            "{}: a wrong value of entry {n}",
            what()
        );
        found += 1;
    }
    found
}

/// Shows a kind of damage at every place of every file that is `meant` to `look`, which gets the damaged folder, the
/// file's name and the place. Two threads share the work.
fn damage(
    folder: &Folder,
    files: &[(PathBuf, Vec<u8>)],
    meant: impl Fn(&Path) -> bool + Sync,
    kind: impl Fn(&[u8], usize) -> Vec<u8> + Sync,
    look: impl Fn(&Path, &Path, usize) + Sync,
) {
    let work = |half: usize| {
        let damaged = folder.0.join(format!("damaged-{half}"));
        for (which, (file, bytes)) in files.iter().enumerate() {
            let places = if meant(file) { half..bytes.len() } else { 0..0 };
            for place in places.step_by(2) {
                make(&damaged, files, which, &kind(bytes, place));
                look(&damaged, file, place);
            }
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(|| work(0));
        work(1);
    });
}

fn flip(bytes: &[u8], place: usize) -> Vec<u8> {
    let mut flipped = bytes.to_vec();
    flipped[place] ^= 0xFF;
    flipped
}

/// Shows every damage of a kind to a tiny store: at every place of the log while the entries are there, and at every
/// place of every other file when they are in the index.
fn damage_all(name: &str, kind: impl Fn(&[u8], usize) -> Vec<u8> + Sync) {
    let folder = Folder::in_memory(name);
    tiny(&folder.store());
    let in_log = contents(&folder.store());
    settle(&folder.store());
    let in_index = contents(&folder.store());
    let (tried, found) = (AtomicU64::new(0), AtomicU64::new(0));
    let look = |damaged: &Path, file: &Path, place| {
        let what = || format!("{} at {place}", file.display());
        found.fetch_add(tiny_check(damaged, &what), Ordering::Relaxed);
        tried.fetch_add(1, Ordering::Relaxed);
    };
    let is_log = |file: &Path| file.ends_with("store.db-wal");
    damage(&folder, &in_log, is_log, &kind, look);
    damage(&folder, &in_index, |_| true, &kind, look);
    let (tried, found) = (tried.into_inner(), found.into_inner());
    eprintln!(
        "{name}: {tried} damages, {found} of {} entries found",
        tried * TINY
    );
    make(&folder.store(), &in_index, usize::MAX, &[]);
    assert_eq!(tiny_check(&folder.store(), &String::new), TINY);
    assert!(found < tried * TINY, "some damages are noticed");
}

/// Every value of every row of an index, as SQLite reads it; `None` if it does not.
fn rows(path: &Path) -> Option<Vec<rusqlite::types::Value>> {
    use rusqlite::OpenFlags;
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
    // Changes nothing, and makes no files beside it.
    let uri = format!("file:{}?immutable=1", path.join("store.db").display());
    let index = rusqlite::Connection::open_with_flags(uri, flags).ok()?;
    let mut values = Vec::new();
    let numbers = [
        "PRAGMA application_id",
        "PRAGMA user_version",
        "PRAGMA auto_vacuum",
    ];
    let tables = ["f", "e", "t", "i", "n", "m"].map(|table| format!("SELECT * FROM {table}"));
    for sql in numbers.map(str::to_owned).into_iter().chain(tables) {
        let mut statement = index.prepare(&sql).ok()?;
        let columns = statement.column_count();
        let mut rows = statement.query([]).ok()?;
        while let Some(row) = rows.next().ok()? {
            for column in 0..columns {
                values.push(row.get(column).ok()?);
            }
        }
    }
    Some(values)
}

/// Whether the store says that something is wrong with it: when it is opened, or when it is verified.
fn is_reported(path: &Path) -> bool {
    let report = Store::open(path).and_then(|store| store.verify(|_| ()));
    !report.is_ok_and(|report| report.is_sound())
}

/// Of a small store: invalidations, insertions, tags, lives, and entries of every kind.
fn varied(path: &Path) {
    tiny(path);
    let store = open(path);
    let end = SystemTime::now() + Duration::from_secs(3_600);
    let inserted = record(7).replaces(true).expires(end).tag("u");
    store.put(inserted, &payload(0)).unwrap();
    store.invalidate(&name(8)).unwrap();
    store.invalidate_tag("v").unwrap();
    store.count("f", scrubjay::disk::Event::Wait);
    drop(store);
    settle(path);
    let _ = std::fs::remove_file(path.join("store.db-shm"));
}

/// Bytes of the index that SQLite does not read, which are free pages and gaps between the cells of a page, may be
/// flipped unseen, and so may what only it reads about its own past, such as the version that wrote last: with these no
/// value of no row is another one. The ballast is zeros that nobody reads.
#[test]
fn every_flipped_byte_that_changes_what_a_store_says_is_found_by_verify() {
    let folder = Folder::in_memory("flip-verify");
    varied(&folder.store());
    let files = contents(&folder.store());
    let right = rows(&folder.store()).unwrap();
    let (changed, unread) = (AtomicU64::new(0), AtomicU64::new(0));
    damage(
        &folder,
        &files,
        |_| true,
        flip,
        |damaged, file, place| {
            let is_index = file.ends_with("store.db");
            let is_other = !is_index || rows(damaged).as_ref() != Some(&right);
            // Asked first: a lookup removes what it finds damaged.
            let reported = is_reported(damaged);
            let counter = if is_other { &changed } else { &unread };
            counter.fetch_add(1, Ordering::Relaxed);
            let what = || format!("{} at {place}", file.display());
            assert!(reported || !is_other, "{}: not reported", what());
            if !reported {
                assert_eq!(tiny_check(damaged, &what), TINY, "{}: a miss", what());
            }
        },
    );
    eprintln!("{changed:?} flips change something, {unread:?} do not");
    make(&folder.store(), &files, usize::MAX, &[]);
    assert!(!is_reported(&folder.store()));
    assert!(changed.into_inner() > unread.into_inner() / 4);
}

#[test]
fn a_flipped_byte_anywhere_makes_misses_and_no_wrong_value() {
    damage_all("flip", flip);
}

#[test]
fn a_file_of_any_shorter_length_makes_misses_and_no_wrong_value() {
    damage_all("truncate", |bytes, length| bytes[..length].to_vec());
}

/// The same for a store of usual pages and large values, at every byte if `make soak` asks for it.
#[test]
fn a_flipped_byte_of_a_large_store_makes_misses_and_no_wrong_value() {
    let every = std::env::var("FLIP_EVERY").map_or(4_999, |every| every.parse().unwrap());
    let folder = Folder::in_memory("flip-large");
    filled(&folder.store());
    settle(&folder.store());
    assert_eq!(check(&folder.store()), ENTRIES as usize);
    let files = contents(&folder.store());
    let damaged = folder.0.join("damaged");
    for (which, (_, bytes)) in files.iter().enumerate() {
        for place in (0..bytes.len()).step_by(every) {
            make(&damaged, &files, which, &flip(bytes, place));
            check(&damaged);
        }
    }
}

#[test]
fn a_flipped_bit_of_a_payload_is_found_by_verify() {
    let folder = Folder::new("verify");
    filled(&folder.store());
    let values = files(&folder.store().join("v"));
    assert_eq!(values.len(), 2);
    let mut bytes = std::fs::read(&values[0]).unwrap();
    bytes[20_000] ^= 1;
    std::fs::write(&values[0], bytes).unwrap();
    let report = open(&folder.store()).verify(|_| ()).unwrap();
    assert_eq!(report.damaged.len(), 1);
    assert_eq!(report.entries, ENTRIES);
}
