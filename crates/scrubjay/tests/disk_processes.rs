//! Many processes on one folder: each key is loaded once in total, and whatever dies, nothing is lost or wrong.
//!
//! The processes are this test binary, started anew with the name of a role.
#![allow(clippy::unwrap_used, reason = "a failing test should say where")]

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use scrubjay::Cache;
use scrubjay::disk::{Function, KeyEncoder, NewRecord, Store};

const ROLE: &str = "SCRUBJAY_TEST_ROLE";
const FOLDER: &str = "SCRUBJAY_TEST_FOLDER";

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("scrubjay-many-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn start(&self, role: &str) -> Child {
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "a_process_in_its_role", "--nocapture"])
            .env(ROLE, role)
            .env(FOLDER, &self.0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap()
    }

    fn loads(&self) -> Vec<String> {
        let log = std::fs::read_to_string(self.0.join("loads")).unwrap_or_default();
        log.lines().map(str::to_owned).collect()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn cache(folder: &Path) -> Cache<u64, u64> {
    let store = Store::open(folder.join("store")).unwrap();
    Cache::builder()
        .disk(store, Function::new("f", ""))
        .build()
        .unwrap()
}

/// Appends a line, in one write, so that lines of several processes do not mix.
fn note(folder: &Path, line: &str) {
    let file = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(folder.join("loads"));
    file.unwrap()
        .write_all(format!("{line}\n").as_bytes())
        .unwrap();
}

/// Waits until the process says `word` at the end of a line; what libtest prints before is skipped.
fn hear(child: &mut Child, word: &str) {
    let mut lines = BufReader::new(child.stdout.as_mut().unwrap()).lines();
    assert!(
        lines.any(|line| line.unwrap().ends_with(word)),
        "the process ended without {word}"
    );
}

fn say(word: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{word}").and_then(|()| out.flush()).unwrap();
}

fn wait_for_word() {
    std::io::stdin().read_line(&mut String::new()).unwrap();
}

/// A load that takes its time: it works, rather than sleeps, until it may end.
fn slow(n: u64) -> u64 {
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(3) {
        std::hint::spin_loop();
    }
    n * n
}

#[test]
fn a_process_in_its_role() {
    let Ok(role) = std::env::var(ROLE) else {
        return;
    };
    let folder = PathBuf::from(std::env::var_os(FOLDER).unwrap());
    match role.as_str() {
        "load" => {
            say("ready");
            wait_for_word();
            let cache = cache(&folder);
            for n in 0..20 {
                let value = cache.get_or_insert_with(&n, || {
                    note(&folder, &n.to_string());
                    slow(n)
                });
                assert_eq!(value, n * n);
            }
        }
        "lead" => {
            let cache = cache(&folder);
            cache.get_or_insert_with(&1, || {
                say("leads");
                wait_for_word();
                note(&folder, "the leader was not killed");
                1
            });
        }
        "open" => {
            say("ready");
            wait_for_word();
            let store = Store::builder()
                .write_through(true)
                .open(folder.join("store"))
                .unwrap();
            let own = u64::from(std::process::id());
            for n in 0..5 {
                let record = NewRecord::new(name(own * 10 + n), Function::new("f", ""));
                store.put(record, &payload(n)).unwrap();
            }
        }
        "invalidate" => drop(cache(&folder).invalidate(&1)),
        "write" => write_for_ever(&folder),
        other => panic!("no role {other}"),
    }
}

fn name(n: u64) -> scrubjay::disk::Digest {
    KeyEncoder::new("test").u64(n).finish()
}

/// The value of an entry says which one it is, so that a wrong one is known.
fn payload(n: u64) -> Vec<u8> {
    let size = [10, 1_000, 40_000][n as usize % 3];
    n.to_le_bytes().iter().copied().cycle().take(size).collect()
}

fn write_for_ever(folder: &Path) {
    let store = Store::builder()
        .write_through(true)
        .open(folder.join("store"))
        .unwrap();
    let first = store.iter().count() as u64;
    for n in first.. {
        store
            .put(NewRecord::new(name(n), Function::new("f", "")), &payload(n))
            .unwrap();
        // Said only after the store acknowledged it.
        say(&format!("wrote {n}"));
    }
}

#[test]
fn each_key_is_loaded_once_by_eight_processes_that_open_a_new_folder_at_once() {
    let folder = Folder::new("once");
    let mut children: Vec<_> = (0..8).map(|_| folder.start("load")).collect();
    children.iter_mut().for_each(|child| hear(child, "ready"));
    for child in &mut children {
        child.stdin.take().unwrap().write_all(b"go\n").unwrap();
    }
    for mut child in children {
        let _ = BufReader::new(child.stdout.take().unwrap()).lines().count();
        assert!(child.wait().unwrap().success());
    }
    let mut loads = folder.loads();
    loads.sort_unstable();
    let all = loads.len();
    loads.dedup();
    assert_eq!((all, loads.len()), (20, 20));
}

#[test]
fn sixty_four_processes_open_a_new_folder_and_write_at_once() {
    let folder = Folder::new("open");
    let mut children: Vec<_> = (0..64).map(|_| folder.start("open")).collect();
    children.iter_mut().for_each(|child| hear(child, "ready"));
    for child in &mut children {
        child.stdin.take().unwrap().write_all(b"go\n").unwrap();
    }
    for mut child in children {
        let _ = BufReader::new(child.stdout.take().unwrap()).lines().count();
        assert!(child.wait().unwrap().success());
    }
    let store = Store::open(folder.0.join("store")).unwrap();
    assert_eq!(store.iter().count(), 64 * 5);
    assert!(store.verify(|_| ()).unwrap().is_sound());
}

#[test]
fn a_waiter_takes_over_soon_after_its_leader_is_killed() {
    let folder = Folder::new("takeover");
    let mut leader = folder.start("lead");
    hear(&mut leader, "leads");
    let path = folder.0.clone();
    let waiter = std::thread::spawn(move || cache(&path).get_or_insert_with(&1, || 2));
    leader.kill().unwrap();
    leader.wait().unwrap();
    let killed = Instant::now();
    assert_eq!(waiter.join().unwrap(), 2);
    assert!(
        killed.elapsed() < Duration::from_secs(5),
        "it does not wait for nobody"
    );
    assert!(folder.loads().is_empty());
}

#[test]
fn the_memory_of_one_process_hears_of_an_invalidation_by_another() {
    let folder = Folder::new("hear");
    let cache = cache(&folder.0);
    assert_eq!(cache.get_or_insert_with(&1, || 1), 1);
    let mut other = folder.start("invalidate");
    let _ = BufReader::new(other.stdout.take().unwrap()).lines().count();
    assert!(other.wait().unwrap().success());
    // The event is the entry's leaving; it comes or the test's time is over.
    let begun = Instant::now();
    while cache.contains_key(&1) {
        assert!(begun.elapsed() < Duration::from_secs(10), "it never heard");
        std::thread::yield_now();
    }
    assert_eq!(cache.get_or_insert_with(&1, || 2), 2);
}

#[test]
fn no_acknowledged_entry_is_lost_when_writers_are_killed_at_random_moments() {
    let rounds = std::env::var("KILLS").map_or(10, |kills| kills.parse().unwrap());
    let folder = Folder::new("kill");
    let mut acknowledged = 0;
    for round in 0..rounds {
        let mut writer = folder.start("write");
        let mut lines = BufReader::new(writer.stdout.take().unwrap()).lines();
        // Killed after a number of acknowledgements that differs from round to round, in the middle of the next write.
        for line in lines
            .by_ref()
            .map_while(Result::ok)
            .take(20 + round * 7 % 50)
        {
            if let Some(n) = line.strip_prefix("wrote ") {
                acknowledged = n.parse::<u64>().unwrap() + 1;
            }
        }
        writer.kill().unwrap();
        for line in lines.map_while(Result::ok) {
            if let Some(n) = line.strip_prefix("wrote ") {
                acknowledged = n.parse::<u64>().unwrap() + 1;
            }
        }
        writer.wait().unwrap();
        let store = Store::open(folder.0.join("store")).unwrap();
        for n in 0..acknowledged {
            let found = store
                .get(&name(n))
                .map(|record| record.payload.into_bytes().unwrap());
            assert_eq!(found, Some(payload(n)), "entry {n} in round {round}");
        }
        assert!(store.verify(|_| ()).unwrap().is_sound(), "round {round}");
    }
    assert!(acknowledged > rounds as u64);
}
