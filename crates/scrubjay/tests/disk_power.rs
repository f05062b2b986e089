//! A loss of power at any moment: nothing corrupt is served, no invalidation is undone, with `Flush` nothing is lost
//! that was acknowledged before the last flush, and with `Sync` nothing that was acknowledged at all.
//!
//! A session is recorded below SQLite and std, from the making of the folder on; then the folder is made as it would be
//! after each write, cut, rename, deletion and sync, with what was not synced there in full, in part or not at all, and
//! opened.
#![allow(clippy::unwrap_used, reason = "a failing test should say where")]

#[path = "fixtures/folder.rs"]
mod folder;
#[path = "fixtures/random.rs"]
mod random;
#[path = "fixtures/recorder.rs"]
mod recorder;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use folder::Folder;
use random::Random;
use recorder::{Event, Left, State};
use scrubjay::disk::{Digest, Durability, Function, KeyEncoder, NewRecord, Store};

/// One recording at a time: the functions that record are the process's.
static RECORDING: Mutex<()> = Mutex::new(());

fn name(key: u64) -> Digest {
    KeyEncoder::new("test").u64(key).finish()
}

fn record(key: u64) -> NewRecord {
    NewRecord::new(name(key), Function::new("f", ""))
}

/// Says whose it is, so that a wrong one is known.
fn payload(key: u64, turn: u64) -> Vec<u8> {
    let size = [20, 1_500, 40_000][key as usize % 3];
    let mut bytes = [key, turn]
        .map(u64::to_le_bytes)
        .concat()
        .repeat(size / 16 + 1);
    bytes.truncate(size);
    bytes
}

/// What a session does; each step is acknowledged before the next.
#[derive(Debug, Clone, Copy)]
enum Step {
    Put { key: u64, turn: u64 },
    Invalidate { key: u64 },
    InvalidateTag { odd: bool },
    Clear,
    Flush,
}

const KEYS: u64 = 6;

fn session() -> Vec<Step> {
    let put = |turn| (0..KEYS).map(move |key| Step::Put { key, turn });
    let mut steps: Vec<_> = put(1).collect();
    steps.push(Step::Flush);
    steps.extend([0, 1, 2].map(|key| Step::Invalidate { key }));
    steps.extend(put(2).take(4));
    steps.push(Step::Flush);
    steps.extend(put(2).skip(4));
    steps.push(Step::InvalidateTag { odd: true });
    steps.extend(put(3));
    steps.push(Step::Flush);
    steps.push(Step::Clear);
    steps.extend(put(4).take(3));
    steps.push(Step::Flush);
    steps.extend(put(4).skip(2).take(2));
    steps
}

fn take(store: &Store, step: Step) {
    match step {
        Step::Put { key, turn } => {
            let tag = if key % 2 == 1 { "odd" } else { "even" };
            let record = record(key).tag(tag).replaces(turn % 2 == 0);
            store.put(record, &payload(key, turn)).unwrap();
        }
        Step::Invalidate { key } => drop(store.invalidate(&name(key)).unwrap()),
        Step::InvalidateTag { odd } => {
            let tag = if odd { "odd" } else { "even" };
            store.invalidate_tag(tag).unwrap();
        }
        Step::Clear => drop(store.clear().unwrap()),
        Step::Flush => store.flush(Duration::MAX).unwrap(),
    }
}

impl Step {
    fn invalidates(self, key: u64) -> bool {
        match self {
            Self::Put { .. } | Self::Flush => false,
            Self::Invalidate { key: named } => named == key,
            Self::InvalidateTag { odd } => odd == (key % 2 == 1),
            Self::Clear => true,
        }
    }
}

/// What was recorded, and every value file that ever was.
struct Recording {
    events: Vec<Event>,
    values: BTreeMap<PathBuf, Vec<u8>>,
}

fn open(path: &Path, durability: Durability) -> Store {
    let builder = Store::builder()
        .capacity_bytes(2 << 20)
        .durability(durability);
    builder.write_through(true).open(path).unwrap()
}

/// The value files, by their paths inside the folder.
fn value_files(path: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let folders = std::fs::read_dir(path.join("v"))
        .into_iter()
        .flatten()
        .flatten();
    let files = folders.flat_map(|folder| std::fs::read_dir(folder.path()).unwrap().flatten());
    let files = files.map(|file| file.path());
    files
        .map(|file| {
            let inside = file.strip_prefix(path).unwrap().to_owned();
            (inside, std::fs::read(file).unwrap())
        })
        .collect()
}

fn recorded(folder: &Folder, durability: Durability) -> Recording {
    let path = folder.store();
    std::fs::create_dir(&path).unwrap();
    recorder::record(&path);
    let store = open(&path, durability);
    let mut values = BTreeMap::new();
    for step in session() {
        take(&store, step);
        recorder::note();
        values.extend(value_files(&path));
    }
    drop(store);
    Recording {
        events: recorder::events(),
        values,
    }
}

fn write(path: &Path, bytes: &[u8]) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, bytes).unwrap();
}

/// What a loss of power may leave of a file that was never synced.
fn left_of(bytes: &[u8], chance: u64) -> Option<Vec<u8>> {
    match chance % 5 {
        0 => None,
        1 => Some(vec![0; bytes.len()]),
        2 => Some(bytes[..bytes.len() / 2].to_vec()),
        // One page of the file system was not written.
        3 => {
            let mut bytes = bytes.to_vec();
            let page = (chance >> 8) as usize % (bytes.len() / 4096) * 4096;
            bytes[page..page + 4096].fill(0);
            Some(bytes)
        }
        _ => Some(bytes.to_vec()),
    }
}

impl Recording {
    /// Makes a folder as each loss of power would leave it, and shows it to `check`, with how many steps were
    /// acknowledged.
    fn lose_power(&self, path: &Path, mut check: impl FnMut(usize, &str)) -> usize {
        let (mut state, mut chance) = (State::default(), Random::new(7));
        let (mut acknowledged, mut folders) = (0, 0);
        for (number, event) in self.events.iter().enumerate() {
            state.pass(event);
            acknowledged += usize::from(matches!(event, Event::Done));
            // Of what was not synced, nothing is left; all; or what chance says.
            for way in 0..3 {
                let mut keeps = || match way {
                    0 => 5,
                    1 => 4,
                    _ => chance.number(),
                };
                self.restore(path, &state, &mut keeps);
                check(acknowledged, &format!("after event {number}, way {way}"));
                folders += 1;
            }
        }
        folders
    }

    fn restore(&self, path: &Path, state: &State<'_>, keeps: &mut dyn FnMut() -> u64) {
        let _ = std::fs::remove_dir_all(path);
        std::fs::create_dir_all(path).unwrap();
        for (name, bytes) in state.after_power_loss(|| keeps().is_multiple_of(2)) {
            write(&path.join(name), &bytes);
        }
        for (name, bytes) in &self.values {
            let left = match state.left(name) {
                Left::Whole => Some(bytes.clone()),
                // Not the way in which the file is not there.
                Left::Name => left_of(bytes, keeps() / 5 * 5 + 1 + keeps() % 4),
                Left::Anything => left_of(bytes, keeps()),
            };
            if let Some(left) = left {
                write(&path.join(name), &left);
            }
        }
    }
}

/// What may be found of a key, the turn of a value or nothing, when the first `acknowledged` steps are over and the
/// next has begun.
fn allowed(key: u64, acknowledged: usize, durability: Durability) -> BTreeSet<Option<u64>> {
    let steps = session();
    let flushed = |step: &Step| matches!(step, Step::Flush);
    let kept = match durability {
        Durability::Sync => acknowledged,
        Durability::Flush(_) => steps[..acknowledged].iter().rposition(flushed).unwrap_or(0),
        _ => 0,
    };
    let mut found = BTreeSet::from([None]);
    for (number, step) in steps.iter().take(acknowledged + 1).enumerate() {
        match step {
            Step::Put { key: put, turn } if *put == key => {
                if number < kept {
                    found.clear();
                } else if durability != Durability::Sync {
                    // The row may be the old or the new one, and its value file gone.
                    found.insert(None);
                }
                found.insert(Some(*turn));
            }
            step if step.invalidates(key) => {
                if number < acknowledged {
                    found.clear();
                }
                found.insert(None);
            }
            _ => {}
        }
    }
    found
}

/// Opens a folder after a loss of power; says how many entries it has.
fn check(path: &Path, acknowledged: usize, durability: Durability, at: &str) -> usize {
    let store = open(path, Durability::Process);
    let mut count = 0;
    for key in 0..KEYS {
        let record = store.get(&name(key));
        let bytes = record.and_then(|record| record.payload.into_bytes().ok());
        count += usize::from(bytes.is_some());
        let is_there = |turn: &Option<u64>| bytes == turn.map(|turn| payload(key, turn));
        let allowed = allowed(key, acknowledged, durability);
        let what = bytes.as_ref().map_or("nothing", |_| "a value");
        assert!(
            allowed.iter().any(is_there),
            "{at}, {acknowledged} steps: of key {key} there is {what}, and not {allowed:?}"
        );
    }
    let report = store.verify(|_| ()).unwrap();
    assert!(report.index.is_empty(), "{at}: {:?}", report.index);
    // And the folder is of use again: an insertion is stored, and a load that an invalidation overtakes is not.
    let overtaken = record(98).fence(store.fence());
    store.put(record(99), b"new").unwrap();
    assert!(store.get(&name(99)).is_some(), "{at}");
    store.invalidate(&name(98)).unwrap();
    store.put(overtaken, b"old").unwrap();
    assert!(store.get(&name(98)).is_none(), "{at}");
    let names = std::fs::read_dir(path).unwrap().flatten();
    let mut names = names.map(|entry| entry.file_name().into_string().unwrap());
    assert!(
        !names.any(|name| name.starts_with("corrupt-")),
        "{at}: the index was damaged"
    );
    count
}

/// Records a session, and looks at every folder that a loss of power may leave of it.
fn survives(durability: Durability, name: &str) {
    let _turn = RECORDING.lock().unwrap_or_else(PoisonError::into_inner);
    let (folder, after) = (
        Folder::new(name),
        Folder::in_memory(&format!("{name}-after")),
    );
    let recording = recorded(&folder, durability);
    let mut served = 0;
    let folders = recording.lose_power(&after.store(), |acknowledged, at| {
        served += check(&after.store(), acknowledged, durability, at);
    });
    eprintln!("{name}: {folders} folders, {served} entries served");
    assert!(served > folders, "most of what was stored is there");
}

#[test]
fn a_loss_of_power_at_any_write_leaves_nothing_corrupt_and_undoes_no_invalidation() {
    survives(Durability::Process, "power");
}

#[test]
fn with_flush_no_loss_of_power_loses_what_was_acknowledged_before_the_last_flush() {
    // The session flushes by itself.
    survives(Durability::Flush(Duration::from_secs(3_600)), "power-flush");
}

#[test]
fn with_sync_no_loss_of_power_loses_what_was_acknowledged() {
    survives(Durability::Sync, "power-sync");
}
