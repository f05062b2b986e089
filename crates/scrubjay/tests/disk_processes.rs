//! Many processes on one folder: each key is loaded once in total, and whatever dies, nothing is lost or wrong.
//!
//! The processes are this test binary, started anew with the name of a role.
#![allow(clippy::unwrap_used, reason = "a failing test should say where")]

#[path = "fixtures/executor.rs"]
#[allow(dead_code, reason = "nothing is cancelled here")]
mod executor;
#[path = "fixtures/folder.rs"]
mod folder;

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use folder::Folder;
use scrubjay::disk::{Function, KeyEncoder, NewRecord, Store};
use scrubjay::{Cache, RemovalCause};

const ROLE: &str = "SCRUBJAY_TEST_ROLE";
const FOLDER: &str = "SCRUBJAY_TEST_FOLDER";

/// Starts this test binary in a role.
fn start(folder: &Folder, role: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_process_in_its_role", "--nocapture"])
        .env(ROLE, role)
        .env(FOLDER, &folder.0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Starts a process in each role, lets them go when all are ready, and waits until all have ended well.
fn run_at_once<'a>(folder: &Folder, roles: impl IntoIterator<Item = &'a str>) {
    let roles = roles.into_iter();
    let mut children: Vec<_> = roles.map(|role| start(folder, role)).collect();
    children.iter_mut().for_each(|child| hear(child, "ready"));
    children.iter_mut().for_each(go);
    children.into_iter().for_each(ends_well);
}

fn go(child: &mut Child) {
    child.stdin.take().unwrap().write_all(b"go\n").unwrap();
}

fn ends_well(mut child: Child) {
    let _ = BufReader::new(child.stdout.take().unwrap()).lines().count();
    assert!(child.wait().unwrap().success());
}

/// What the processes noted.
fn noted(folder: &Folder) -> Vec<String> {
    let log = std::fs::read_to_string(folder.0.join("notes")).unwrap_or_default();
    log.lines().map(str::to_owned).collect()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
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
        .open(folder.join("notes"));
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
        "load-async" => {
            say("ready");
            wait_for_word();
            let (cache, executor) = (cache(&folder), executor::Executor::default());
            let tasks: Vec<_> = (0..20)
                .map(|n| {
                    let (cache, folder) = (cache.clone(), folder.clone());
                    executor.spawn(async move {
                        let load = async || {
                            note(&folder, &n.to_string());
                            slow(n)
                        };
                        assert_eq!(cache.get_or_insert_async(&n, load).await, n * n);
                    })
                })
                .collect();
            tasks
                .into_iter()
                .for_each(|task| executor.run_until_done(task));
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
        "wait" => wait_for_another(&folder),
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
        "invalidate" => {
            let cache = cache(&folder);
            say("ready");
            while std::io::stdin().read_line(&mut String::new()).unwrap() > 0 {
                cache.invalidate(&1);
            }
        }
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
    let mut bytes = n.to_le_bytes().repeat(size / 8 + 1);
    bytes.truncate(size);
    bytes
}

/// Asks for a key, says when it has come back twice because another process loads it, and says what it got.
fn wait_for_another(folder: &Path) {
    let cache = cache(folder);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let store = Store::open(folder.join("store")).unwrap();
            while store.stats().unwrap().misses < 3 {
                std::thread::yield_now();
            }
            say("waits");
        });
        let value = cache.get_or_insert_with(&1, || {
            note(folder, "took over");
            slow(2)
        });
        say(&format!("got {value}"));
    });
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
    run_at_once(&folder, ["load", "load-async"].repeat(4));
    let mut loads = noted(&folder);
    loads.sort_unstable();
    let all = loads.len();
    loads.dedup();
    assert_eq!((all, loads.len()), (20, 20));
}

#[test]
fn sixty_four_processes_open_a_new_folder_and_write_at_once() {
    let folder = Folder::new("open");
    run_at_once(&folder, ["open"; 64]);
    let store = Store::open(folder.store()).unwrap();
    assert_eq!(store.iter().count(), 64 * 5);
    assert!(store.verify(|_| ()).unwrap().is_sound());
}

#[test]
fn exactly_one_of_eight_waiters_takes_over_soon_after_their_leader_is_killed() {
    let takes_over = |_| {
        let folder = Folder::new("takeover");
        let mut leader = start(&folder, "lead");
        hear(&mut leader, "leads");
        let mut waiters: Vec<_> = (0..8).map(|_| start(&folder, "wait")).collect();
        waiters.iter_mut().for_each(|child| hear(child, "waits"));
        let killed = Instant::now();
        leader.kill().unwrap();
        waiters.iter_mut().for_each(|child| hear(child, "got 4"));
        let took = killed.elapsed();
        leader.wait().unwrap();
        waiters.into_iter().for_each(ends_well);
        assert_eq!(noted(&folder), ["took over"]);
        took
    };
    let times: Vec<_> = (0..5).map(takes_over).collect();
    eprintln!("after the leader's death all eight had the value within {times:?}");
    // At least once: nine processes beside other tests wait for a processor, too.
    assert!(times.iter().min() < Some(&Duration::from_millis(100)));
}

#[test]
fn the_memory_of_one_process_hears_of_an_invalidation_by_another_within_100_ms() {
    let folder = Folder::new("hear");
    let store = Store::open(folder.store()).unwrap();
    let (tell, told) = mpsc::channel();
    let cache: Cache<u64, u64> = Cache::builder()
        .disk(store, Function::new("f", ""))
        .on_removal(move |key, _, cause| tell.send((*key, cause)).unwrap_or_default())
        .build()
        .unwrap();
    let mut other = start(&folder, "invalidate");
    hear(&mut other, "ready");
    let mut hears = |round| {
        assert_eq!(
            cache.get_or_insert_with(&1, || round),
            round,
            "the old value is gone"
        );
        assert_eq!(cache.get(&1), Some(round));
        // Longer than what is promised, which counts from when the other's call returned.
        let begun = Instant::now();
        other.stdin.as_mut().unwrap().write_all(b"now\n").unwrap();
        let removed = told.recv_timeout(Duration::from_secs(10)).unwrap();
        assert_eq!(removed, (1, RemovalCause::Explicit));
        assert!(!cache.contains_key(&1));
        begun.elapsed()
    };
    let times: Vec<_> = (0..11).map(&mut hears).collect();
    eprintln!("an invalidation was heard of after {times:?}");
    assert!(median(times) < Duration::from_millis(100));
    drop(other.stdin.take());
    ends_well(other);
}

#[test]
fn no_acknowledged_entry_is_lost_when_writers_are_killed_at_random_moments() {
    let kills: usize = std::env::var("KILLS").map_or(10, |kills| kills.parse().unwrap());
    let (mut killed, mut acknowledged) = (0, 0);
    while killed < kills {
        // A new folder now and then, because every entry is looked for after every kill.
        let some = (kills - killed).min(20);
        acknowledged += kill_writers(killed, some);
        killed += some;
    }
    eprintln!(
        "{killed} writers were killed; {acknowledged} entries were acknowledged, and none was lost"
    );
    assert!(acknowledged > 10 * kills as u64);
}

/// Kills writers of one folder, one after another; returns how many entries were acknowledged.
fn kill_writers(first: usize, count: usize) -> u64 {
    let folder = Folder::new("kill");
    let mut acknowledged = 0;
    for round in first..first + count {
        let mut writer = start(&folder, "write");
        let lines = BufReader::new(writer.stdout.take().unwrap()).lines();
        let mut written = lines
            .map_while(Result::ok)
            .filter_map(|line| line.strip_prefix("wrote ")?.parse::<u64>().ok());
        // Killed after a number of acknowledgements that differs from round to round, in the middle of the next write.
        let before = written.by_ref().take(20 + round * 7 % 50).last();
        writer.kill().unwrap();
        let last = written.last().or(before);
        acknowledged = last.map_or(acknowledged, |last| last + 1);
        writer.wait().unwrap();
        let store = Store::open(folder.store()).unwrap();
        for n in 0..acknowledged {
            let found = store.get(&name(n));
            let found = found.map(|record| record.payload.into_bytes().unwrap());
            assert!(found == Some(payload(n)), "entry {n} in round {round}");
        }
        assert!(store.verify(|_| ()).unwrap().is_sound(), "round {round}");
    }
    acknowledged
}
