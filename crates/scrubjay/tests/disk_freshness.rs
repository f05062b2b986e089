//! Processes that look, insert and invalidate at random: no answer is older than what was acknowledged before it was
//! asked for.
//!
//! Values come from one count that all processes share, so the larger one is the newer. What an operation brought about
//! when it returned is the floor of the keys that it was about; a lookup that begins later must bring at least that.
//! Memory hears of it a moment later, so with memory the floors are compared when all are done. The processes are this
//! test binary, started anew; some are killed on their way, and some fork. `STEPS=50000` for a long run.
#![allow(clippy::unwrap_used, reason = "a failing test should say where")]
#![allow(clippy::print_stdout, reason = "the processes say how far they are")]
#![allow(
    unsafe_code,
    reason = "memory of several processes, fork and kill have no safe form"
)]

#[path = "fixtures/folder.rs"]
mod folder;
#[path = "fixtures/random.rs"]
mod random;

use std::io::{BufRead, BufReader, PipeReader, Read};
use std::os::fd::AsRawFd;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use folder::Folder;
use random::Random;
use scrubjay::Cache;
use scrubjay::disk::{Function, Store};

const FOLDER: &str = "SCRUBJAY_TEST_FOLDER";
const PLACE: &str = "SCRUBJAY_TEST_PLACE";
const MEMORY: &str = "SCRUBJAY_TEST_MEMORY";
const SEED: &str = "SCRUBJAY_TEST_SEED";

const PROCESSES: u64 = 4;
const THREADS: u64 = 2;
/// Keys that everybody looks up and invalidates.
const COMMON: u64 = 24;
/// Of the others each thread inserts into some of its own, so that insertions of a key have an order.
const OWN: u64 = 2;
const KEYS: u64 = COMMON + PROCESSES * THREADS * OWN;
const TAGS: u64 = 4;
/// What is told of a process that neither ended well nor was killed.
const FAILED: &str = "failed";
/// Memory that has not heard the news by then never will.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the processes know of each other beside the folder.
struct Common {
    next: AtomicU64,
    steps: AtomicU64,
    floors: [AtomicU64; KEYS as usize],
}

impl Common {
    /// Maps the file that has it; all zeros at first.
    fn of(folder: &Path) -> &'static Self {
        let mut options = std::fs::File::options();
        let file = options.read(true).write(true).create(true).truncate(false);
        let file = file.open(folder.join("common")).unwrap();
        let size = size_of::<Self>();
        file.set_len(size as u64).unwrap();
        let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED);
        let descriptor = file.as_raw_fd();
        // SAFETY: a new mapping of a file that is as long and that nobody truncates.
        let place =
            unsafe { libc::mmap(std::ptr::null_mut(), size, protection, flags, descriptor, 0) };
        assert_ne!(place, libc::MAP_FAILED);
        // SAFETY: whatever its bytes are, they are atomic numbers; it is never unmapped, and pages are aligned for
        // them.
        unsafe { &*place.cast() }
    }

    fn next(&self) -> u64 {
        self.next.fetch_add(1, Ordering::SeqCst)
    }

    fn floor(&self, key: u64) -> u64 {
        self.floors[key as usize].load(Ordering::SeqCst)
    }

    fn raise(&self, keys: impl IntoIterator<Item = u64>, value: u64) {
        for key in keys {
            self.floors[key as usize].fetch_max(value, Ordering::SeqCst);
        }
    }
}

/// A value whose every byte says which it is: of no bytes more than its numbers, small, compressible, or of a value
/// file.
fn value(number: u64, key: u64) -> Vec<u8> {
    let rest = [40_000, 3_000, 0, 100, 100][number as usize % 5];
    let mut value = vec![number as u8; 16 + rest];
    value[..8].copy_from_slice(&number.to_le_bytes());
    value[8..16].copy_from_slice(&key.to_le_bytes());
    value
}

fn number_of(bytes: &[u8], key: u64) -> u64 {
    let number = u64::from_le_bytes(*bytes.first_chunk().unwrap());
    assert!(bytes == value(number, key), "a wrong value of key {key}");
    number
}

/// One thread of one process, with a cache of its own.
struct Worker {
    common: &'static Common,
    cache: Cache<u64, Vec<u8>>,
    random: Random,
    own: [u64; OWN as usize],
    has_memory: bool,
    /// The steps of all processes together.
    most: u64,
    /// Hears of each entry that leaves memory.
    removed: mpsc::Receiver<()>,
}

impl Worker {
    fn new(folder: &Path, thread: u64) -> Self {
        let number = |name| std::env::var(name).unwrap().parse::<u64>().unwrap();
        let has_memory = std::env::var_os(MEMORY).is_some();
        let store = Store::builder().write_through(true);
        let store = store.open(folder.join("store")).unwrap();
        let (tell, removed) = mpsc::channel();
        let cache = Cache::builder()
            .capacity(if has_memory { 1_000 } else { 0 })
            .disk(store, Function::new("f", ""))
            .tag_with(|key: &u64, _: &Vec<u8>| [tag(*key)])
            .on_removal(move |_, _, _| tell.send(()).unwrap_or_default());
        let first = COMMON + (number(PLACE) * THREADS + thread) * OWN;
        Self {
            common: Common::of(folder),
            cache: cache.build().unwrap(),
            random: Random::new(number(SEED) * THREADS + thread),
            own: std::array::from_fn(|place| first + place as u64),
            has_memory,
            most: std::env::var("STEPS").map_or(8_000, |steps| steps.parse().unwrap()),
            removed,
        }
    }

    fn look(&self, key: u64) {
        let floor = self.common.floor(key);
        let load = || value(self.common.next(), key);
        let found = number_of(&self.cache.get_or_insert_with(&key, load), key);
        assert!(
            self.has_memory || found >= floor,
            "key {key}: {found} is older than {floor}"
        );
    }

    fn step(&mut self) {
        let (common, key) = (self.common, u64::from(self.random.below(KEYS as u32)));
        let number = common.next();
        let own = self.own[self.random.below(OWN as u32) as usize];
        match self.random.below(100) {
            0..64 => self.look(key),
            64..78 => {
                self.cache.insert(own, value(number, own));
                common.raise([own], number);
            }
            78..92 => {
                let key = if key < COMMON { key } else { own };
                self.cache.invalidate(&key);
                common.raise([key], number);
            }
            92..95 => {
                self.cache.invalidate_tag(&tag(key));
                common.raise((0..COMMON).filter(|other| tag(*other) == tag(key)), number);
            }
            95..97 => {
                self.cache.invalidate_if(|key, _| key.is_multiple_of(3));
                common.raise((0..COMMON).filter(|key| key.is_multiple_of(3)), number);
            }
            97 => {
                self.cache.clear();
                common.raise(0..COMMON, number);
            }
            98 => self.look_in_a_child(),
            _ if self.may_die() => die(),
            _ => {}
        }
    }

    /// Now and then, and not near the end, when its other thread may have said that it is done.
    fn may_die(&self) -> bool {
        let steps = self.common.steps.load(Ordering::SeqCst);
        steps.is_multiple_of(5) && steps < self.most / 10 * 9
    }

    fn look_in_a_child(&mut self) {
        // SAFETY: the child uses what is made for that, and ends without unwinding or destructors.
        let child = unsafe { libc::fork() };
        if child == 0 {
            // SAFETY: a child that hangs is ended, and so told from one that ends.
            unsafe { libc::alarm(60) };
            let keys: [u64; 8] = std::array::from_fn(|_| u64::from(self.random.below(KEYS as u32)));
            let look = || keys.iter().for_each(|key| self.look(*key));
            let looked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(look));
            // SAFETY: as above.
            unsafe { libc::_exit(i32::from(looked.is_err())) };
        }
        let mut status = 0;
        // SAFETY: `status` is where the kernel may write.
        unsafe { libc::waitpid(child, &raw mut status, 0) };
        assert_eq!(status, 0, "a child ends well");
    }

    /// Waits until all are done, and then until memory is rid of all that is older than the floors.
    fn check_memory(&self) {
        std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
        for key in 0..KEYS {
            let floor = self.common.floor(key);
            let stale = || {
                let found = self.cache.peek(&key).map(|bytes| number_of(&bytes, key));
                found.filter(|found| *found < floor)
            };
            while let Some(found) = stale() {
                let heard = self.removed.recv_timeout(PATIENCE);
                assert!(heard.is_ok(), "key {key}: {found} is older than {floor}");
            }
        }
    }
}

fn tag(key: u64) -> String {
    format!("t{}", key % TAGS)
}

/// Ends this process in the middle of whatever its other thread does.
fn die() {
    // SAFETY: a signal to this process.
    unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
}

/// Not a test of its own: what the processes run that the other ones start.
#[test]
fn a_process_in_its_place() {
    let Some(folder) = std::env::var_os(FOLDER) else {
        return;
    };
    let folder = Path::new(&folder);
    let work = |thread| {
        let mut worker = Worker::new(folder, thread);
        while worker.common.steps.fetch_add(1, Ordering::SeqCst) < worker.most {
            worker.step();
        }
        println!("done");
        if worker.has_memory {
            worker.check_memory();
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(|| work(1));
        work(0);
    });
}

/// One of the places, to which processes belong one after the other.
#[derive(Clone, Copy)]
struct Place<'a> {
    folder: &'a Folder,
    has_memory: bool,
    number: u64,
    /// Ends when all are done.
    end: &'a PipeReader,
}

impl Place<'_> {
    fn start(self, seed: u64) -> Child {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["--exact", "a_process_in_its_place", "--nocapture"])
            .env(FOLDER, &self.folder.0)
            .env(PLACE, self.number.to_string())
            .env(SEED, seed.to_string());
        if self.has_memory {
            command.env(MEMORY, "");
        }
        let command = command.stdin(self.end.try_clone().unwrap());
        command.stdout(Stdio::piped()).spawn().unwrap()
    }

    /// Runs one process until it ends, and others after it as long as they are killed; tells each line they print.
    fn keep(self, tell: &mpsc::Sender<String>) {
        for round in 0.. {
            let mut child = self.start(round * PROCESSES + self.number);
            let lines = BufReader::new(child.stdout.take().unwrap()).lines();
            lines.for_each(|line| tell.send(line.unwrap()).unwrap());
            let status = child.wait().unwrap();
            if status.signal() != Some(libc::SIGKILL) {
                tell.send(format!("place {}: {status}", self.number))
                    .unwrap();
                assert!(status.success(), "place {}: {status}", self.number);
                return;
            }
        }
    }
}

fn run(folder: &Folder, has_memory: bool) {
    let common = Common::of(&folder.0);
    common.next.store(1, Ordering::SeqCst);
    let (tell, lines) = mpsc::channel();
    let (end, all_are_done) = std::io::pipe().unwrap();
    std::thread::scope(|scope| {
        for number in 0..PROCESSES {
            let (tell, end) = (tell.clone(), &end);
            let place = Place {
                folder,
                has_memory,
                number,
                end,
            };
            scope.spawn(move || place.keep(&tell));
        }
        drop(tell);
        let until_one_fails = lines.iter().take_while(|line| line != FAILED);
        let done = until_one_fails.filter(|line| line.ends_with("done"));
        let done = done.take((PROCESSES * THREADS) as usize).count() as u64;
        drop(all_are_done);
        assert_eq!(done, PROCESSES * THREADS, "all say it before they end");
        lines.iter().for_each(drop);
    });
    let store = Store::open(folder.store()).unwrap();
    let report = store.verify(|_| ()).unwrap();
    assert!(report.is_sound(), "{report:?}");
    assert!(common.next.load(Ordering::SeqCst) > 4_000);
}

#[test]
fn no_process_finds_in_the_folder_what_is_older_than_what_was_acknowledged() {
    run(&Folder::new("fresh"), false);
}

#[test]
fn no_memory_keeps_what_is_older_than_what_was_acknowledged_once_it_has_heard_the_news() {
    run(&Folder::new("fresh-memory"), true);
}
