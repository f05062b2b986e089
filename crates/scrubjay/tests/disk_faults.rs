//! What may happen to a folder: whatever it is, the answer is a miss or the value that was stored, and never a panic.
#![allow(clippy::unwrap_used, reason = "a failing test should say where")]
#![allow(unsafe_code, reason = "fork has no safe form")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use scrubjay::disk::{Digest, Function, KeyEncoder, NewRecord, Store};
use scrubjay::{Cache, ErrorKind};

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("scrubjay-fault-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn store(&self) -> PathBuf {
        self.0.join("store")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

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

/// Copies what makes up a store. Locks and what was set aside do not belong to it.
fn copy(from: &Path, to: &Path) {
    let _ = std::fs::remove_dir_all(to);
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().flatten() {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
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

#[test]
fn a_flipped_byte_anywhere_makes_misses_and_no_wrong_value() {
    let folder = Folder::new("flip");
    let (whole, damaged) = (folder.store(), folder.0.join("damaged"));
    filled(&whole);
    flip_all(&whole, &damaged);
    settle(&whole);
    flip_all(&whole, &damaged);
}

fn flip_all(whole: &Path, damaged: &Path) {
    assert_eq!(check(whole), ENTRIES as usize);
    let every = std::env::var("FLIP_EVERY").map_or(997, |every| every.parse().unwrap());
    for file in files(whole) {
        let bytes = std::fs::read(&file).unwrap();
        for place in (0..bytes.len()).step_by(every) {
            copy(whole, damaged);
            let mut flipped = bytes.clone();
            flipped[place] ^= 0xFF;
            std::fs::write(damaged.join(file.strip_prefix(whole).unwrap()), flipped).unwrap();
            check(damaged);
        }
    }
}

#[test]
fn a_truncated_file_makes_misses_and_no_wrong_value() {
    let folder = Folder::new("truncate");
    let (whole, damaged) = (folder.store(), folder.0.join("damaged"));
    filled(&whole);
    settle(&whole);
    for file in files(&whole) {
        let bytes = std::fs::read(&file).unwrap();
        for length in (0..bytes.len()).step_by(4_999) {
            copy(&whole, &damaged);
            let target = damaged.join(file.strip_prefix(&whole).unwrap());
            std::fs::write(target, &bytes[..length]).unwrap();
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
        let cache: Cache<u64, u64> = Cache::builder()
            .disk(store, Function::new("g", ""))
            .build()
            .unwrap();
        assert_eq!(
            cache.get_or_insert_with(&1, || 1),
            1,
            "the answer is computed all the same"
        );
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
    if let Ok(store) = Store::builder().write_through(true).open(&disk) {
        assert!(store.put(record(9), &payload(9)).is_err());
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
