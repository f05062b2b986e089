//! What may happen to a folder: whatever it is, the answer is a miss or the value that was stored, and never a panic.
#![allow(clippy::unwrap_used, reason = "a failing test should say where")]
#![allow(unsafe_code, reason = "fork has no safe form")]

#[path = "fixtures/folder.rs"]
mod folder;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use folder::Folder;
use scrubjay::disk::{Digest, Function, KeyEncoder, NewRecord, Store};
use scrubjay::{Cache, Clock, ErrorKind, Timestamp};

fn open(path: &Path) -> Store {
    Store::builder().write_through(true).open(path).unwrap()
}

fn name(n: u64) -> Digest {
    KeyEncoder::new("test").u64(n).finish()
}

fn payload(n: u64) -> Vec<u8> {
    let size = [10, 3_000, 40_000][n as usize % 3];
    n.to_le_bytes().iter().copied().cycle().take(size).collect()
}

fn record(n: u64) -> NewRecord {
    NewRecord::new(name(n), Function::new("f", ""))
        .tag("t")
        .description("[1]")
}

const ENTRIES: u64 = 6;

/// A small store, closed, all of it in its files.
fn filled(path: &Path) {
    let store = open(path);
    for n in 0..ENTRIES {
        store.put(record(n), &payload(n)).unwrap();
    }
}

/// Moves what is in the log into the index itself, which has no checksums of its own.
fn settle(path: &Path) {
    let index = rusqlite::Connection::open(path.join("store.db")).unwrap();
    index
        .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
        .unwrap();
}

/// Every file of a store that is read.
fn files(path: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(path).unwrap().flatten() {
        match entry.file_type().unwrap().is_dir() {
            true => found.extend(files(&entry.path())),
            false => found.push(entry.path()),
        }
    }
    found.retain(|file| std::fs::metadata(file).unwrap().len() > 0);
    found.sort();
    found
}

/// Looks for every entry; says how many are there. What is there must be right.
fn check(path: &Path) -> usize {
    let Ok(store) = Store::builder().write_through(true).open(path) else {
        return 0;
    };
    let found = (0..ENTRIES).filter(|n| {
        let bytes = store
            .get(&name(*n))
            .and_then(|record| record.payload.into_bytes().ok());
        bytes.is_some_and(|bytes| {
            assert!(bytes == payload(*n), "a wrong value of entry {n}");
            true
        })
    });
    found.count()
}

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

/// Every file of a store with its bytes. What is shared memory is not read by whoever comes first.
fn contents(path: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = files(path);
    files.retain(|file| !file.ends_with("store.db-shm"));
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

/// Shows a kind of damage at every place of every file that is `meant` to `look`, which gets the damaged folder, the file's
/// name and the place. Two threads share the work.
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

/// Shows every damage of a kind to a tiny store: at every place of the log while the entries are there, and at every place
/// of every other file when they are in the index.
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

#[test]
fn a_store_of_a_newer_version_is_left_alone_and_one_beside_it_is_used() {
    let folder = Folder::new("newer");
    filled(&folder.store());
    let index = folder.store().join("store.db");
    let newer = rusqlite::Connection::open(&index).unwrap();
    newer.pragma_update(None, "user_version", 99).unwrap();
    drop(newer);
    let before = std::fs::read(&index).unwrap();
    let store = open(&folder.store());
    assert!(store.get(&name(0)).is_none());
    store.put(record(0), &payload(0)).unwrap();
    drop(store);
    assert_eq!(check(&folder.store()), 1);
    assert!(std::fs::read(&index).unwrap() == before);
}

#[test]
fn an_index_that_is_a_symbolic_link_is_not_followed() {
    let folder = Folder::new("link");
    filled(&folder.store());
    let elsewhere = folder.0.join("elsewhere.db");
    std::fs::rename(folder.store().join("store.db"), &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, folder.store().join("store.db")).unwrap();
    assert!(Store::open(folder.store()).is_err());
}

#[test]
fn folders_and_files_are_their_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new("mode");
    filled(&folder.store());
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&folder.store()), 0o700);
    for file in files(&folder.store()) {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
}

#[test]
fn a_forked_child_uses_the_store_that_its_parent_opened() {
    let folder = Folder::new("fork");
    let store = Store::open(folder.store()).unwrap();
    store.put(record(0), &payload(0)).unwrap();
    store.flush(Duration::MAX).unwrap();
    // SAFETY: the child uses only the store, which is made for that, and ends without unwinding or destructors.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let found = store.get(&name(0)).is_some();
        let stored = store.put(record(1), &payload(1)).is_ok();
        let flushed = store.flush(Duration::MAX).is_ok();
        // SAFETY: as above.
        unsafe { libc::_exit(if found && stored && flushed { 0 } else { 1 }) };
    }
    let mut status = 0;
    // SAFETY: `status` is where the kernel may write.
    unsafe { libc::waitpid(child, &raw mut status, 0) };
    assert_eq!(status, 0);
    assert!(
        store.get(&name(1)).is_some(),
        "the parent goes on, and sees what the child stored"
    );
    store.put(record(2), &payload(2)).unwrap();
    store.flush(Duration::MAX).unwrap();
    assert!(store.verify(|_| ()).unwrap().is_sound());
}

#[test]
fn a_child_does_not_keep_the_lead_of_a_parent_that_let_go() {
    let folder = Folder::new("fork-lead");
    let store = open(&folder.store());
    let lead = store.try_lead(&name(0)).unwrap().unwrap();
    // SAFETY: the child does nothing but wait for its end.
    let child = unsafe { libc::fork() };
    if child == 0 {
        loop {
            // SAFETY: it has no memory to do with.
            unsafe { libc::pause() };
        }
    }
    drop(lead);
    // The child closes its copy as its first act after the fork, which may come after the parent's `drop`.
    let led = store.lead_or_wait(&name(0), None, |_| false).unwrap();
    // SAFETY: the child is this process's own, and not yet waited for.
    unsafe { libc::kill(child, libc::SIGKILL) };
    // SAFETY: no status is asked for.
    unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) };
    assert!(led.is_some());
}

/// Mounts a file system in memory of this size at `path`; false where that is not allowed.
fn mount(path: &Path, options: &str) -> bool {
    std::fs::create_dir_all(path).unwrap();
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", options, "none"])
        .arg(path)
        .status();
    mounted.is_ok_and(|status| status.success())
}

fn unmount(path: &Path) {
    let _ = Command::new("umount").arg("-l").arg(path).status();
}

/// A cache over a store that cannot be written gives the computed answer, and says that it could not store it.
fn computes(store: Store) {
    let cache: Cache<u64, u64> = Cache::builder()
        .disk(store, Function::new("g", ""))
        .build()
        .unwrap();
    assert_eq!(cache.get_or_insert_with(&1, || costly(1)), 1);
    assert_eq!(
        cache.get_or_insert_with(&1, || unreachable!("memory has it")),
        1
    );
    assert!(cache.stats().disk_failures > 0, "{:?}", cache.stats());
}

/// A load that is committed before it is over: it works, rather than sleeps, for two milliseconds.
fn costly(value: u64) -> u64 {
    let begun = std::time::Instant::now();
    while begun.elapsed() < Duration::from_millis(2) {
        std::hint::spin_loop();
    }
    value
}

/// Bytes that take as much room as they are long.
fn incompressible(seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..3_500).flat_map(|_| next()).collect()
}

/// Leaves no room on a disk, not even for something small.
fn take_all_room(disk: &Path) {
    let rest = std::fs::File::create(disk.join("rest")).unwrap();
    std::io::copy(&mut std::io::repeat(0), &mut &rest).unwrap_err();
}

#[test]
fn a_full_disk_is_a_counted_failure_and_what_was_stored_is_still_right() {
    let folder = Folder::new("full");
    let disk = folder.0.join("disk");
    if !mount(&disk, "size=2m") {
        eprintln!("skipped: this test mounts a file system in memory, which needs root");
        return;
    }
    {
        let store = open(&disk);
        let failed = (0..1_000).find(|n| store.put(record(*n), &payload(*n)).is_err());
        let failed = failed.expect("2 MiB are less than what was written");
        for n in 0..failed {
            let found = store
                .get(&name(n))
                .map(|record| record.payload.into_bytes().unwrap());
            assert!(found == Some(payload(n)), "entry {n}");
        }
        assert!(store.stats().unwrap().failures > 0);
        take_all_room(&disk);
        // The log has room of its own, until that is full too.
        let full = (10_000..20_000).find(|n| store.put(record(*n), b"small").is_err());
        full.expect("the log has no more room than the disk");
        computes(store);
    }
    unmount(&disk);
}

#[test]
fn an_entry_is_said_to_be_untrue_although_the_disk_is_full() {
    let folder = Folder::new("full-invalidation");
    let disk = folder.0.join("disk");
    if !mount(&disk, "size=4m") {
        eprintln!("skipped: this test mounts a file system in memory, which needs root");
        return;
    }
    {
        let store = open(&disk);
        store.put(record(0), &payload(0)).unwrap();
        let failed = (1..4_000).find(|n| store.put(record(*n), &payload(*n)).is_err());
        failed.expect("4 MiB are less than what was written");
        take_all_room(&disk);
        assert!(store.get(&name(0)).is_some());
        store.invalidate(&name(0)).unwrap();
        assert!(store.get(&name(0)).is_none());
        drop(store);
        assert!(open(&disk).get(&name(0)).is_none());
    }
    unmount(&disk);
}

/// Of many entries, more than the ballast has room to remove at once.
#[test]
fn everything_can_be_cleared_and_purged_although_the_disk_is_full() {
    let clear: [fn(&Store) -> u64; 3] = [
        |store| store.clear().unwrap(),
        |store| store.invalidate_if(|_| true).unwrap(),
        |store| store.invalidate_tag("t").unwrap(),
    ];
    for (which, clear) in clear.into_iter().enumerate() {
        let folder = Folder::new("full-clear");
        let disk = folder.0.join("disk");
        if !mount(&disk, "size=16m") {
            eprintln!("skipped: this test mounts a file system in memory, which needs root");
            return;
        }
        {
            let store = Store::builder().capacity_bytes(32 << 20);
            let store = store.write_through(true).open(&disk).unwrap();
            // Bytes that are not compressed, and no value files, whose removal would make room.
            let bytes = |n: u64| {
                (0..2_000)
                    .map(|i| (n * 31 + i * i) as u8)
                    .collect::<Vec<_>>()
            };
            let failed = (0..20_000).find(|n| store.put(record(*n), &bytes(*n)).is_err());
            let stored = failed.expect("16 MiB are less than what was written");
            take_all_room(&disk);
            let more = (stored..20_000).find(|n| store.put(record(*n), b"small").is_err());
            let stored = more.expect("the log has no more room than the disk");
            assert!(stored > 2_000, "{stored} entries");
            assert_eq!(clear(&store), stored, "way {which}");
            assert_eq!(store.iter().count(), 0);
            drop(store);
            let store = open(&disk);
            assert!((0..stored).all(|n| store.get(&name(n)).is_none()));
            assert!(store.verify(|_| ()).unwrap().is_sound());
            std::fs::remove_file(disk.join("rest")).unwrap();
            store.put(record(0), b"again").unwrap();
        }
        unmount(&disk);
    }
}

#[test]
fn nothing_waits_in_a_journal_while_the_disk_may_have_no_room_for_it_in_the_index() {
    let folder = Folder::new("nearly-full");
    let disk = folder.0.join("disk");
    if !mount(&disk, "size=12m") {
        eprintln!("skipped: this test mounts a file system in memory, which needs root");
        return;
    }
    {
        let store = open(&disk);
        (0..9).for_each(|n| store.put(record(n), &payload(n)).unwrap());
        assert!(!disk.join("journals").exists());
    }
    unmount(&disk);
}

#[test]
fn what_an_entry_was_to_replace_is_gone_although_the_disk_had_no_room_for_that() {
    let folder = Folder::new("full-replace");
    let disk = folder.0.join("disk");
    if !mount(&disk, "size=4m") {
        eprintln!("skipped: this test mounts a file system in memory, which needs root");
        return;
    }
    {
        let store = Store::open(&disk).unwrap();
        (0..200).for_each(|n| store.put(record(n), &payload(1)).unwrap());
        store.flush(Duration::MAX).unwrap();
        take_all_room(&disk);
        // Too much for what the log has of its own.
        for n in 0..3 {
            let record = record(n).replaces(true);
            store.put(record, &incompressible(n)).unwrap();
        }
        assert!(store.flush(Duration::MAX).is_err(), "the disk is full");
        assert_eq!((0..3).filter_map(|n| store.get(&name(n))).count(), 0);
        assert!(store.get(&name(3)).is_some());
    }
    unmount(&disk);
}

#[test]
fn a_read_only_folder_is_read_and_refuses_writes() {
    let folder = Folder::new("read-only");
    let disk = folder.0.join("disk");
    if !mount(&disk, "size=8m") {
        eprintln!("skipped: this test mounts a file system in memory, which needs root");
        return;
    }
    filled(&disk);
    let remounted = Command::new("mount")
        .args(["-o", "remount,ro"])
        .arg(&disk)
        .status();
    assert!(remounted.unwrap().success());
    {
        let store = open(&disk);
        for n in 0..ENTRIES {
            let found = store
                .get(&name(n))
                .map(|record| record.payload.into_bytes().unwrap());
            assert!(found == Some(payload(n)), "entry {n}");
        }
        let error = store.put(record(9), &payload(9)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Io);
        assert!(store.get(&name(9)).is_none());
        computes(store);
    }
    unmount(&disk);
}

#[test]
fn a_path_that_is_a_file_is_an_error_that_says_so() {
    let folder = Folder::new("file");
    std::fs::write(folder.store(), b"a file").unwrap();
    let error = Store::open(folder.store()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io);
    assert!(error.to_string().contains("check that it is a folder"));
}

/// A child has one thread of its parent, and whatever the others had locked stays locked in it: so none forks while another
/// one of these tests works.
static FORKING: std::sync::Mutex<()> = std::sync::Mutex::new(());

/// Runs `work` in a child of this process that is somebody else; fails if it does. Skipped unless root runs the tests.
fn as_nobody(work: impl FnOnce()) {
    // SAFETY: asks a number of the process.
    if unsafe { libc::geteuid() } != 0 {
        eprintln!("skipped: this test becomes another user, which needs root");
        return;
    }
    let _alone = FORKING
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    // SAFETY: the child uses what is made for that, and ends without unwinding out of this function or destructors.
    let child = unsafe { libc::fork() };
    if child == 0 {
        // SAFETY: these change nothing but who the child is.
        let is_nobody = unsafe { libc::setgid(65_534) == 0 && libc::setuid(65_534) == 0 };
        let worked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        // SAFETY: as above.
        unsafe { libc::_exit(i32::from(!(is_nobody && worked.is_ok()))) };
    }
    let mut status = 0;
    // SAFETY: `status` is where the kernel may write.
    unsafe { libc::waitpid(child, &raw mut status, 0) };
    assert_eq!(status, 0, "see what the child printed");
}

fn set_mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_folder_of_somebody_else_is_an_error_that_says_what_to_do() {
    let folder = Folder::new("permission");
    filled(&folder.store());
    let path = folder.store();
    as_nobody(move || {
        let error = Store::open(&path).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Io);
        assert!(
            error
                .to_string()
                .contains("check that it is a folder of yours"),
            "{error}"
        );
        let inside = Store::open(path.join("new")).unwrap_err();
        assert_eq!(inside.kind(), ErrorKind::Io);
    });
}

/// Lets everybody read a folder, and its owner alone write.
fn make_readable(folder: &Folder) {
    let mut paths = vec![folder.0.clone(), folder.store(), folder.store().join("v")];
    paths.extend(
        std::fs::read_dir(folder.store().join("v"))
            .unwrap()
            .flatten()
            .map(|e| e.path()),
    );
    paths.iter().for_each(|path| set_mode(path, 0o755));
    files(&folder.store())
        .iter()
        .for_each(|file| set_mode(file, 0o644));
}

fn has_all(store: &Store) {
    for n in 0..ENTRIES {
        let found = store
            .get(&name(n))
            .map(|record| record.payload.into_bytes().unwrap());
        assert!(found == Some(payload(n)), "entry {n}");
    }
}

/// A folder as somebody would hand it on: everything is in the index, and nothing is beside it that readers share.
fn handed_on(path: &Path) {
    filled(path);
    settle(path);
    for file in ["store.db-wal", "store.db-shm", "gen"] {
        let _ = std::fs::remove_file(path.join(file));
    }
}

#[test]
fn a_folder_that_was_handed_on_to_be_read_serves_what_it_has() {
    let folder = Folder::new("handed on, 100 %?#");
    handed_on(&folder.store());
    make_readable(&folder);
    let path = folder.store();
    as_nobody(move || {
        let store = open(&path);
        has_all(&store);
        assert_eq!(store.iter().count(), ENTRIES as usize);
        assert!(store.verify(|_| ()).unwrap().is_sound());
        let error = store.put(record(9), &payload(9)).unwrap_err();
        assert!(error.to_string().contains("read-only"), "{error}");
        assert!(store.invalidate(&name(0)).is_err());
        computes(store);
    });
}

#[test]
fn whoever_reads_a_folder_that_was_handed_on_sees_what_its_owner_writes() {
    let _alone = FORKING
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let folder = Folder::new("handed-on-written");
    handed_on(&folder.store());
    let view = folder.0.join("view");
    std::fs::create_dir_all(&view).unwrap();
    let run = |arguments: &[&str]| {
        let mut mount = Command::new("mount");
        let mount = mount.args(arguments).arg(&view);
        mount.status().is_ok_and(|status| status.success())
    };
    if !run(&["--bind", folder.store().to_str().unwrap()]) {
        eprintln!("skipped: this test mounts a folder a second time, which needs root");
        return;
    }
    assert!(run(&["-o", "remount,ro,bind"]));
    {
        let reader = open(&view);
        has_all(&reader);
        let owner = open(&folder.store());
        has_all(&reader);
        owner.invalidate(&name(0)).unwrap();
        assert!(reader.get(&name(0)).is_none());
        owner.put(record(0), b"another").unwrap();
        // Nobody knows of a reader who can lock nothing, so what is written through is in the index a moment later.
        owner.flush(Duration::MAX).unwrap();
        let found = reader.get(&name(0)).unwrap().payload.into_bytes();
        assert_eq!(found.unwrap(), b"another");
    }
    unmount(&view);
}

#[test]
fn a_folder_that_may_be_read_and_not_written_serves_what_it_has() {
    let folder = Folder::new("readable");
    filled(&folder.store());
    make_readable(&folder);
    let path = folder.store();
    as_nobody(move || {
        let store = open(&path);
        has_all(&store);
        assert!(store.put(record(9), &payload(9)).is_err());
        assert!(
            store.invalidate(&name(0)).is_err(),
            "it says that it could not"
        );
        computes(store);
    });
    assert_eq!(check(&folder.store()), ENTRIES as usize);
}

/// Mounts a folder of this machine as if it were another one's; false where there is no sshfs.
fn mount_over_network(from: &Path, at: &Path) -> bool {
    std::fs::create_dir_all(at).unwrap();
    // What speaks with the server is the server itself, through its pipes.
    let server = at.with_extension("server");
    std::fs::write(&server, "#!/bin/sh\nexec /usr/lib/openssh/sftp-server\n").unwrap();
    set_mode(&server, 0o755);
    let mut sshfs = Command::new("sshfs");
    let sshfs = sshfs.arg(format!("host:{}", from.display())).arg(at);
    let command = format!("ssh_command={}", server.display());
    let mounted = sshfs.args(["-o", &command]).status();
    mounted.is_ok_and(|status| status.success())
}

#[test]
fn on_a_network_file_system_a_machine_has_a_folder_of_its_own() {
    let folder = Folder::new("network");
    let (far, near) = (folder.0.join("far"), folder.0.join("near"));
    // What another machine had there is no business of this one's.
    filled(&far);
    if !mount_over_network(&far, &near) {
        eprintln!("skipped: this test mounts a folder with sshfs");
        return;
    }
    {
        let store = open(&near);
        assert_ne!(store.dir(), near.canonicalize().unwrap());
        assert!(store.get(&name(0)).is_none());
        store.put(record(0), b"ours").unwrap();
        store.put(record(2), &payload(2)).unwrap();
        let again = open(&near);
        assert_eq!(again.dir(), store.dir());
        assert!(again.get(&name(0)).is_some());
    }
    {
        let store = open(&near);
        let ours = store.get(&name(0)).unwrap().payload.into_bytes();
        assert_eq!(ours.unwrap(), b"ours");
        assert!(store.get(&name(2)).is_some());
        assert_eq!(store.invalidate(&name(0)).unwrap(), 1);
        assert!(store.verify(|_| ()).unwrap().is_sound());
    }
    unmount(&near);
    assert_eq!(check(&far), ENTRIES as usize);
}

#[test]
fn foreign_files_in_the_folder_are_left_alone() {
    let folder = Folder::new("foreign");
    filled(&folder.store());
    let foreign = [
        "notes.txt",
        "v/readme",
        "v/ab/readme",
        "v/ab/0123456789abcd.txt",
        "locks/readme",
    ];
    for file in foreign {
        let file = folder.store().join(file);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, b"foreign").unwrap();
        let long_ago = SystemTime::now() - Duration::from_secs(86_400);
        std::fs::File::options()
            .write(true)
            .open(&file)
            .unwrap()
            .set_modified(long_ago)
            .unwrap();
    }
    let store = open(&folder.store());
    store.sweep().unwrap();
    store.clear().unwrap();
    store.put(record(0), &payload(0)).unwrap();
    assert!(store.verify(|_| ()).unwrap().is_sound());
    for file in foreign {
        assert_eq!(
            std::fs::read(folder.store().join(file)).unwrap(),
            b"foreign",
            "{file}"
        );
    }
}

#[test]
fn a_value_file_that_is_a_link_to_another_one_is_not_taken_for_it() {
    let folder = Folder::new("linked-value");
    filled(&folder.store());
    let values = files(&folder.store().join("v"));
    std::fs::remove_file(&values[0]).unwrap();
    std::os::unix::fs::symlink(&values[1], &values[0]).unwrap();
    assert_eq!(check(&folder.store()), ENTRIES as usize - 1);
}

/// Time of day that a test sets, also back.
#[derive(Debug, Clone, Default)]
struct WallClock(Arc<AtomicU64>);

impl Clock for WallClock {
    fn now(&self) -> Timestamp {
        Timestamp::default()
    }

    fn calendar(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(self.0.load(Ordering::SeqCst))
    }
}

#[test]
fn an_entry_from_the_future_is_loaded_anew_and_never_lives_longer_than_it_may() {
    let folder = Folder::new("backwards");
    let clock = WallClock::default();
    let cache = || {
        let cache = Cache::<u64, u64>::builder().clock(clock.clone());
        let cache = cache.time_to_live(Duration::from_secs(10));
        cache
            .disk(Store::open(folder.store()).unwrap(), Function::new("f", ""))
            .build()
            .unwrap()
    };
    let at = |seconds, value| {
        clock.0.store(seconds, Ordering::SeqCst);
        cache().get_or_insert_with(&1, || value)
    };
    assert_eq!(at(1_000, 1), 1);
    assert_eq!(at(1_009, 2), 1);
    assert_eq!(at(500, 3), 3, "its end is 510 seconds away");
    assert_eq!(at(509, 4), 3);
    assert_eq!(at(1_005, 5), 5);
    assert_eq!(at(1_014, 6), 5);
    // What was invalidated stays so, whatever the time.
    cache().invalidate(&1);
    assert_eq!(at(400, 7), 7);
}

#[test]
fn an_entry_of_a_format_that_is_not_known_is_a_miss_and_stays_until_it_is_replaced() {
    let folder = Folder::new("format");
    filled(&folder.store());
    let index = rusqlite::Connection::open(folder.store().join("store.db")).unwrap();
    let (id, mut bytes): (i64, Vec<u8>) = index
        .query_row("SELECT id, v FROM e ORDER BY id LIMIT 1", [], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .unwrap();
    bytes[2] = 9;
    index
        .execute(
            "UPDATE e SET v = ?2 WHERE id = ?1",
            rusqlite::params![id, bytes],
        )
        .unwrap();
    drop(index);
    let store = open(&folder.store());
    assert!(store.get(&name(0)).is_none());
    assert!(store.get(&name(1)).is_some());
    assert_eq!(store.stats().unwrap().failures, 1);
    store.put(record(0), &payload(0)).unwrap();
    drop(store);
    assert_eq!(check(&folder.store()), ENTRIES as usize);
}

#[test]
fn without_the_page_that_tells_of_changes_invalidations_are_still_kept() {
    let folder = Folder::new("gen");
    filled(&folder.store());
    for page in [&b""[..], b"a page of another program, which is longer"] {
        let store = open(&folder.store());
        let fence = store.fence();
        store.invalidate(&name(1)).unwrap();
        std::fs::write(folder.store().join("gen"), page).unwrap();
        store.put(record(1).fence(fence), b"outdated").unwrap();
        assert!(store.get(&name(1)).is_none());
        let fence = store.fence();
        store.put(record(1).fence(fence), &payload(1)).unwrap();
        drop(store);
        assert_eq!(check(&folder.store()), ENTRIES as usize);
    }
}

#[test]
fn a_folder_that_is_deleted_while_it_is_read_makes_misses_or_right_values() {
    let folder = Folder::new("deleted");
    filled(&folder.store());
    let store = open(&folder.store());
    assert!(store.get(&name(0)).is_some());
    std::fs::remove_dir_all(folder.store()).unwrap();
    for n in 0..ENTRIES {
        let bytes = store
            .get(&name(n))
            .and_then(|record| record.payload.into_bytes().ok());
        assert!(bytes.is_none_or(|bytes| bytes == payload(n)), "entry {n}");
    }
    store.put(record(0), &payload(0)).unwrap();
    assert!(store.get(&name(0)).is_some());
    assert!(
        store.get(&name(1)).is_none(),
        "the new folder has what came after"
    );
    assert!(store.invalidate(&name(0)).is_ok());
    assert!(store.try_lead(&name(0)).unwrap().is_some());
}
