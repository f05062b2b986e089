//! A loss of power at any moment: nothing corrupt is served, no invalidation is undone, and with `Sync` nothing that was
//! acknowledged is lost.
//!
//! A session is recorded below SQLite; then the folder is made as it would be after each write, cut and sync, with what was
//! not synced there in full, in part or not at all, and opened.
#![allow(clippy::unwrap_used, reason = "a failing test should say where")]

#[path = "fixtures/folder.rs"]
mod folder;
#[path = "fixtures/recorder.rs"]
mod recorder;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use folder::Folder;
use recorder::{Event, Files, State};
use scrubjay::disk::{Digest, Durability, Function, KeyEncoder, NewRecord, Store};

/// One recording at a time: the layer below SQLite is the process's.
static RECORDING: Mutex<()> = Mutex::new(());

fn name(key: u64) -> Digest {
    KeyEncoder::new("test").u64(key).finish()
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
}

const KEYS: u64 = 6;

fn session() -> Vec<Step> {
    let put = |turn| (0..KEYS).map(move |key| Step::Put { key, turn });
    let mut steps: Vec<_> = put(1).collect();
    steps.extend([0, 1, 2].map(|key| Step::Invalidate { key }));
    steps.extend(put(2));
    steps.push(Step::InvalidateTag { odd: true });
    steps.extend(put(3));
    steps.push(Step::Clear);
    steps.extend(put(4).take(4));
    steps
}

fn take(store: &Store, step: Step) {
    match step {
        Step::Put { key, turn } => {
            let tag = if key % 2 == 1 { "odd" } else { "even" };
            let record = NewRecord::new(name(key), Function::new("f", "")).tag(tag);
            store.put(record, &payload(key, turn)).unwrap();
        }
        Step::Invalidate { key } => drop(store.invalidate(&name(key)).unwrap()),
        Step::InvalidateTag { odd } => {
            let tag = if odd { "odd" } else { "even" };
            store.invalidate_tag(tag).unwrap();
        }
        Step::Clear => drop(store.clear().unwrap()),
    }
}

impl Step {
    fn invalidates(self, key: u64) -> bool {
        match self {
            Self::Put { .. } => false,
            Self::Invalidate { key: named } => named == key,
            Self::InvalidateTag { odd } => odd == (key % 2 == 1),
            Self::Clear => true,
        }
    }
}

/// What was recorded, and every value file that ever was.
struct Recording {
    start: Files,
    events: Vec<Event>,
    values: BTreeMap<PathBuf, Vec<u8>>,
}

fn open(path: &Path, durability: Durability) -> Store {
    let builder = Store::builder()
        .capacity_bytes(1 << 20)
        .durability(durability);
    builder.write_through(true).open(path).unwrap()
}

fn read(path: &Path) -> Files {
    let index = ["store.db", "store.db-wal"];
    let files = index.map(|name| (name.to_owned(), std::fs::read(path.join(name))));
    let there = files
        .into_iter()
        .filter_map(|(name, bytes)| Some((name, bytes.ok()?)));
    there.collect()
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
    drop(open(&path, durability));
    let start = read(&path);
    recorder::record(&path);
    let store = open(&path, durability);
    let mut values = BTreeMap::new();
    for step in session() {
        take(&store, step);
        recorder::note();
        values.extend(value_files(&path));
    }
    Recording {
        start,
        events: recorder::events(),
        values,
    }
}

/// A small generator of pseudo-random numbers (SplitMix64; Steele, Lea and Flood, 2014).
fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
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
    /// Makes a folder as each loss of power would leave it, and shows it to `check`, with how many steps were acknowledged.
    fn lose_power(
        &self,
        path: &Path,
        synced_values: bool,
        mut check: impl FnMut(usize, &str),
    ) -> usize {
        let (mut state, mut chance) = (State::new(self.start.clone()), 7);
        let (mut acknowledged, mut folders) = (0, 0);
        for (number, event) in self.events.iter().enumerate() {
            state.pass(event);
            acknowledged += usize::from(matches!(event, Event::Done));
            // Of what was not synced, nothing is left; all; or what chance says.
            for way in 0..3 {
                let mut keeps = || match way {
                    0 => 5,
                    1 => 4,
                    _ => random(&mut chance),
                };
                let files = state.after_power_loss(|| keeps() % 2 == 0);
                self.restore(path, &files, synced_values, &mut keeps);
                check(acknowledged, &format!("after event {number}, way {way}"));
                folders += 1;
            }
        }
        folders
    }

    fn restore(
        &self,
        path: &Path,
        files: &Files,
        synced_values: bool,
        keeps: &mut dyn FnMut() -> u64,
    ) {
        let _ = std::fs::remove_dir_all(path);
        std::fs::create_dir_all(path).unwrap();
        for (name, bytes) in files {
            std::fs::write(path.join(name), bytes).unwrap();
        }
        for (name, bytes) in &self.values {
            let left = match synced_values {
                true => Some(bytes.clone()),
                false => left_of(bytes, keeps()),
            };
            std::fs::create_dir_all(path.join(name).parent().unwrap()).unwrap();
            if let Some(left) = left {
                std::fs::write(path.join(name), left).unwrap();
            }
        }
    }
}

/// Which turns of a key may be found when the first `acknowledged` steps are over and the next has begun.
fn allowed(key: u64, acknowledged: usize) -> BTreeSet<u64> {
    let mut turns = BTreeSet::new();
    for (number, step) in session().iter().take(acknowledged + 1).enumerate() {
        match step {
            // An entry that was replaced may be the old one again.
            Step::Put { key: put, turn } if *put == key => _ = turns.insert(*turn),
            step if step.invalidates(key) && number < acknowledged => turns.clear(),
            _ => {}
        }
    }
    turns
}

/// Opens a folder after a loss of power, and says which keys it has.
fn check(path: &Path, acknowledged: usize, at: &str) -> BTreeMap<u64, u64> {
    let store = open(path, Durability::Process);
    let mut found = BTreeMap::new();
    for key in 0..KEYS {
        let bytes = store
            .get(&name(key))
            .and_then(|record| record.payload.into_bytes().ok());
        let Some(bytes) = bytes else { continue };
        let allowed = allowed(key, acknowledged);
        let turn = allowed
            .into_iter()
            .find(|turn| bytes == payload(key, *turn));
        let turn =
            turn.unwrap_or_else(|| panic!("{at}: key {key} has a value that it must not have"));
        found.insert(key, turn);
    }
    let report = store.verify(|_| ()).unwrap();
    assert!(report.index.is_empty(), "{at}: {:?}", report.index);
    // And the folder is of use again.
    store
        .put(NewRecord::new(name(99), Function::new("f", "")), b"new")
        .unwrap();
    assert!(store.get(&name(99)).is_some(), "{at}");
    let names = std::fs::read_dir(path).unwrap().flatten();
    let mut names = names.map(|entry| entry.file_name().into_string().unwrap());
    assert!(
        !names.any(|name| name.starts_with("corrupt-")),
        "{at}: the index was damaged"
    );
    found
}

#[test]
fn a_loss_of_power_at_any_write_leaves_nothing_corrupt_and_undoes_no_invalidation() {
    let _turn = RECORDING.lock().unwrap_or_else(PoisonError::into_inner);
    let (folder, after) = (Folder::new("power"), Folder::in_memory("power-after"));
    let recording = recorded(&folder, Durability::Process);
    let mut served = 0;
    let folders = recording.lose_power(&after.store(), false, |acknowledged, at| {
        served += check(&after.store(), acknowledged, at).len();
    });
    eprintln!("{folders} folders, {served} entries served");
    assert!(served > folders, "most of what was stored is there");
}

#[test]
fn with_sync_no_loss_of_power_loses_what_was_acknowledged() {
    let _turn = RECORDING.lock().unwrap_or_else(PoisonError::into_inner);
    let (folder, after) = (
        Folder::new("power-sync"),
        Folder::in_memory("power-sync-after"),
    );
    let recording = recorded(&folder, Durability::Sync);
    // Value files are synced before they have their names, and have them before their rows are committed.
    recording.lose_power(&after.store(), true, |acknowledged, at| {
        let found = check(&after.store(), acknowledged, at);
        for key in 0..KEYS {
            let concerns = |step: &&Step| match step {
                Step::Put { key: put, .. } => *put == key,
                step => step.invalidates(key),
            };
            let steps = session();
            if steps.get(acknowledged).as_ref().is_some_and(concerns) {
                // The next may have been done as well.
                continue;
            }
            let turn = match steps[..acknowledged].iter().rfind(concerns) {
                Some(Step::Put { turn, .. }) => Some(turn),
                _ => None,
            };
            assert_eq!(found.get(&key), turn, "{at}: key {key}");
        }
    });
}
