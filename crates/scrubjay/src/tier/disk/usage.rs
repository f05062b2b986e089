//! What was asked of each function, by all processes on the folder: hits, waits, loads, and the time that they saved
//! and took.
//!
//! A lookup writes nothing: a process adds up what it counts, and adds that to the file `usage` when a handle of the
//! store goes and before that at most once a second. Invariants: counts decide nothing, so a slot that cannot be
//! believed is an empty one, and a folder that cannot be written to costs the counts; and the file is bounded, because
//! functions beyond [`MOST`] are counted together.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

const MAGIC: [u8; 8] = *b"SJuse\0\0\x02";
/// Of the first version, which did not know of hits in memory.
const FIRST: [u8; 8] = *b"SJuse\0\0\x01";
const SLOT: usize = 192;
/// Functions that have a slot of their own; the last slot is everybody else's.
const MOST: usize = 512;
const OTHERS: &str = "(others)";
/// Longest part of a name that is kept; functions are told apart by all of it.
const LONGEST_NAME: usize = 111;
/// Where the length of a name is, behind the numbers; in the first version, and now.
const NAME_OF_FIRST: usize = 56;
const NAME: usize = 72;
const PAUSE: Duration = Duration::from_secs(1);
/// How often a lock is tried for that somebody else has, who needs it for microseconds.
const TRIES: usize = 100;

/// What a caller got, or did.
///
/// # Example
///
/// See [`Store::count`](super::Store::count).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// An answer came from the store; loading it had taken so long.
    Hit(Duration),
    /// An answer came from somebody else's load of it, waited for.
    Wait,
    /// The function ran, so long.
    Load(Duration),
    /// So many answers came from the memory of a cache above the store; loading them had taken so long, all together.
    MemoryHits(u64, Duration),
}

/// What was asked of one function since the folder was made, by all processes on it.
///
/// # Example
///
/// See [`Store::count`](super::Store::count).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Usage {
    /// The function's name, whatever its code; its first 111 bytes if it is longer.
    pub function: String,
    /// Answers that came from the store.
    pub hits: u64,
    /// Answers that came from somebody else's load, waited for.
    pub waits: u64,
    /// Times that the function ran.
    pub loads: u64,
    /// What the loads had taken whose answers were hits.
    pub time_saved: Duration,
    /// What the loads took.
    pub time_loading: Duration,
    /// Answers that came from the memory of caches above the store, as far as they told of them.
    pub memory_hits: u64,
    /// What the loads had taken whose answers those were, as the caches estimate it.
    pub memory_time_saved: Duration,
}

impl Usage {
    fn add(&mut self, event: Event) {
        match event {
            Event::Hit(saved) => {
                self.hits += 1;
                self.time_saved += saved;
            }
            Event::Wait => self.waits += 1,
            Event::Load(took) => {
                self.loads += 1;
                self.time_loading += took;
            }
            Event::MemoryHits(hits, saved) => {
                self.memory_hits += hits;
                self.memory_time_saved += saved;
            }
        }
    }

    fn merge(&mut self, other: &Self) {
        self.hits = self.hits.saturating_add(other.hits);
        self.waits = self.waits.saturating_add(other.waits);
        self.loads = self.loads.saturating_add(other.loads);
        self.time_saved = self.time_saved.saturating_add(other.time_saved);
        self.time_loading = self.time_loading.saturating_add(other.time_loading);
        self.memory_hits = self.memory_hits.saturating_add(other.memory_hits);
        let saved = self.memory_time_saved;
        self.memory_time_saved = saved.saturating_add(other.memory_time_saved);
    }

    fn encode(&self, name: &str) -> [u8; SLOT] {
        self.slot(identity(name), name)
    }

    fn slot(&self, identity: [u8; 16], name: &str) -> [u8; SLOT] {
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let numbers = [
            self.hits,
            self.waits,
            self.loads,
            micros(self.time_saved),
            micros(self.time_loading),
            self.memory_hits,
            micros(self.memory_time_saved),
        ];
        let shown = &name[..name.floor_char_boundary(LONGEST_NAME)];
        let mut slot = [0; SLOT];
        slot[..16].copy_from_slice(&identity);
        for (place, number) in numbers.iter().enumerate() {
            slot[16 + place * 8..][..8].copy_from_slice(&number.to_le_bytes());
        }
        slot[NAME] = shown.len() as u8;
        slot[NAME + 1..][..shown.len()].copy_from_slice(shown.as_bytes());
        let sum = xxh3_64(&slot[..SLOT - 8]);
        slot[SLOT - 8..].copy_from_slice(&sum.to_le_bytes());
        slot
    }

    /// `None` for a slot that is empty or damaged.
    fn decode(slot: &[u8; SLOT]) -> Option<Self> {
        Self::decode_with_name_at(slot, NAME)
    }

    /// A slot of the first version as one of this.
    fn renew(slot: &[u8; SLOT]) -> [u8; SLOT] {
        let usage = Self::decode_with_name_at(slot, NAME_OF_FIRST);
        let identity = slot.first_chunk().copied().unwrap_or_default();
        usage.map_or([0; SLOT], |usage| usage.slot(identity, &usage.function))
    }

    fn decode_with_name_at(slot: &[u8; SLOT], place: usize) -> Option<Self> {
        let number = |at: usize| {
            slot[at..]
                .first_chunk()
                .map(|bytes| u64::from_le_bytes(*bytes))
        };
        if number(SLOT - 8)? != xxh3_64(&slot[..SLOT - 8]) {
            return None;
        }
        let name = slot[place + 1..SLOT - 8].get(..slot[place].into())?;
        let is_first = place == NAME_OF_FIRST;
        Some(Self {
            function: std::str::from_utf8(name).ok()?.to_owned(),
            hits: number(16)?,
            waits: number(24)?,
            loads: number(32)?,
            time_saved: Duration::from_micros(number(40)?),
            time_loading: Duration::from_micros(number(48)?),
            memory_hits: if is_first { 0 } else { number(56)? },
            memory_time_saved: Duration::from_micros(if is_first { 0 } else { number(64)? }),
        })
    }
}

fn identity(name: &str) -> [u8; 16] {
    xxh3_128(name.as_bytes()).to_le_bytes()
}

/// The counts of one process, and the file.
#[derive(Debug)]
pub(super) struct Counts {
    path: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    functions: HashMap<String, Usage>,
    written: Option<Instant>,
}

impl Counts {
    pub(super) fn new(path: PathBuf) -> Self {
        Self {
            path,
            state: Mutex::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn count(&self, function: &str, event: Event) {
        let mut state = self.state();
        match state.functions.get_mut(function) {
            Some(usage) => usage.add(event),
            None => state
                .functions
                .entry(function.to_owned())
                .or_default()
                .add(event),
        }
        if state
            .written
            .is_none_or(|written| written.elapsed() >= PAUSE)
        {
            drop(state);
            self.write();
        }
    }

    /// Adds what was counted to the file. What cannot be written is kept for the next time.
    pub(super) fn write(&self) {
        let counted = {
            let mut state = self.state();
            state.written = Some(Instant::now());
            std::mem::take(&mut state.functions)
        };
        if !counted.is_empty() && add(&self.path, &counted).is_err() {
            let mut state = self.state();
            for (name, usage) in counted {
                state.functions.entry(name).or_default().merge(&usage);
            }
        }
    }

    /// How many slots of the file are damaged; if its beginning is, that is all of them.
    pub(super) fn damaged_slots(&self) -> usize {
        let Ok(mut file) = File::open(&self.path) else {
            return 0;
        };
        let (mut bytes, locked) = (Vec::new(), lock(&file));
        if locked.and_then(|()| file.read_to_end(&mut bytes)).is_err() || bytes.is_empty() {
            return 0;
        }
        let (slots, name) = match (bytes.strip_prefix(&MAGIC), bytes.strip_prefix(&FIRST)) {
            (Some(slots), _) => (slots, NAME),
            (None, Some(slots)) => (slots, NAME_OF_FIRST),
            (None, None) => return bytes.len().div_ceil(SLOT),
        };
        let (whole, rest) = slots.as_chunks();
        let is_damaged = |slot: &&[u8; SLOT]| Usage::decode_with_name_at(slot, name).is_none();
        let damaged = whole.iter().filter(is_damaged);
        damaged.count() + usize::from(!rest.is_empty())
    }

    /// What all processes have counted, the functions that saved most first.
    pub(super) fn read(&self) -> Vec<Usage> {
        self.write();
        let slots = File::open(&self.path).and_then(|file| read(&file));
        let mut usage: Vec<Usage> = slots
            .unwrap_or_default()
            .iter()
            .filter_map(Usage::decode)
            .collect();
        usage.sort_by(|a, b| (b.time_saved, &a.function).cmp(&(a.time_saved, &b.function)));
        usage
    }
}

fn add(path: &Path, counted: &HashMap<String, Usage>) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    let file = options.mode(0o600).open(path)?;
    lock(&file)?;
    let mut slots = read(&file)?;
    let mut magic = [0; MAGIC.len()];
    if slots.is_empty() || file.read_exact_at(&mut magic, 0).is_err() || magic != MAGIC {
        file.write_all_at(&MAGIC, 0)?;
        file.write_all_at(slots.as_flattened(), MAGIC.len() as u64)?;
    }
    for (name, usage) in counted {
        let (place, name) = place_of(&slots, name);
        let mut sum = slots.get(place).and_then(Usage::decode).unwrap_or_default();
        sum.merge(usage);
        let slot = sum.encode(name);
        file.write_all_at(&slot, (MAGIC.len() + place * SLOT) as u64)?;
        match slots.get_mut(place) {
            Some(old) => *old = slot,
            None => slots.push(slot),
        }
    }
    Ok(())
}

/// Where a function is counted, and under what name.
fn place_of<'a>(slots: &[[u8; SLOT]], name: &'a str) -> (usize, &'a str) {
    let identity = identity(name);
    let is_its = |slot: &[u8; SLOT]| slot[..16] == identity && Usage::decode(slot).is_some();
    let is_free = |slot: &[u8; SLOT]| Usage::decode(slot).is_none();
    let place = slots
        .iter()
        .position(is_its)
        .or_else(|| slots.iter().position(is_free));
    match place.unwrap_or(slots.len()) {
        place if place < MOST => (place, name),
        _ => (MOST, OTHERS),
    }
}

/// The lock is freed with the file. Somebody who was stopped while he had it costs the counts, not the caller.
fn lock(file: &File) -> io::Result<()> {
    for _ in 0..TRIES {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            Err(std::fs::TryLockError::WouldBlock) => {
                std::thread::sleep(Duration::from_micros(100))
            }
            Err(std::fs::TryLockError::Error(error)) => return Err(error),
        }
    }
    Err(io::ErrorKind::WouldBlock.into())
}

/// The slots; none if the file is empty or not one of these.
fn read(file: &File) -> io::Result<Vec<[u8; SLOT]>> {
    let mut bytes = Vec::new();
    file.take((MAGIC.len() + (MOST + 1) * SLOT) as u64)
        .read_to_end(&mut bytes)?;
    if let Some(slots) = bytes.strip_prefix(&FIRST) {
        return Ok(slots.as_chunks().0.iter().map(Usage::renew).collect());
    }
    let slots = bytes.strip_prefix(&MAGIC).unwrap_or_default();
    Ok(slots.as_chunks().0.to_vec())
}

/// For fuzzing.
pub(super) fn decode(slot: &[u8; SLOT]) {
    let _ = (Usage::decode(slot), Usage::renew(slot));
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    fn usage(hits: u64) -> Usage {
        Usage {
            hits,
            time_saved: Duration::from_secs(hits),
            ..Usage::default()
        }
    }

    #[test]
    fn no_flipped_bit_of_a_slot_is_believed() {
        let slot = usage(7).encode("function");
        assert_eq!(Usage::decode(&slot).unwrap().function, "function");
        for bit in 0..SLOT * 8 {
            let mut flipped = slot;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Usage::decode(&flipped), None, "bit {bit}");
        }
    }

    #[test]
    fn functions_beyond_the_bound_are_counted_together() {
        let slots: Vec<_> = (0..MOST).map(|n| usage(1).encode(&n.to_string())).collect();
        assert_eq!(place_of(&slots, "3"), (3, "3"));
        assert_eq!(place_of(&slots, "new"), (MOST, OTHERS));
    }

    #[test]
    fn a_damaged_slot_is_used_anew_and_long_names_are_cut_between_letters() {
        let mut slots: Vec<_> = (0..3).map(|n| usage(1).encode(&n.to_string())).collect();
        slots[1][20] ^= 1;
        assert_eq!(place_of(&slots, "1"), (1, "1"));
        let long = "é".repeat(100);
        let slot = usage(1).encode(&long);
        assert_eq!(Usage::decode(&slot).unwrap().function, "é".repeat(55));
        slots.push(slot);
        assert_eq!(place_of(&slots, &long), (3, &*long));
    }
}
