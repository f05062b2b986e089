//! The analysis that the demo memoizes: the edit distance between two versions of a file, line by line.
//!
//! The recurrence is written once. What differs is only what its recursive calls go through: nothing
//! (`plain`), the attribute (`distance`), or a cache with options (`compare`).

use std::cell::Cell;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use scrubjay::{Builder, Cache, Stats, memoize};

use super::memory;

/// Two versions of a text.
#[derive(Clone)]
pub struct Pair {
    /// What the pair is called in the output; also its key in the caches of whole comparisons.
    pub name: String,
    pub old: Arc<[String]>,
    pub new: Arc<[String]>,
    id: Id,
}

/// Tells pairs apart in the keys of `distance`, which then need not hold the texts.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Id(u64);

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pair {}", self.0)
    }
}

impl Pair {
    pub fn new(name: String, old: Arc<[String]>, new: Arc<[String]>) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        // Relaxed: only uniqueness is asked of the number.
        let id = Id(NEXT.fetch_add(1, Ordering::Relaxed));
        Self { name, old, new, id }
    }

    /// The first line at which the versions differ.
    pub fn first_difference(&self) -> usize {
        let same = |(old, new): &(&String, &String)| old == new;
        self.old
            .iter()
            .zip(self.new.iter())
            .take_while(same)
            .count()
    }

    /// `lines` lines of both versions, from line `start` on.
    pub fn window(&self, start: usize, lines: usize) -> Self {
        let part = |text: &[String]| text.iter().skip(start).take(lines).cloned().collect();
        Self::new(self.name.clone(), part(&self.old), part(&self.new))
    }

    fn texts(&self) -> (&[String], &[String]) {
        (&self.old, &self.new)
    }

    /// The number of different questions that the recursion can ask.
    pub fn cells(&self) -> usize {
        (self.old.len() + 1) * (self.new.len() + 1)
    }
}

impl fmt::Debug for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// The fewest lines to add, drop or change to turn the old text from line `i` on into the new one from
/// line `j` on. A text may also be a word, and its lines letters.
///
/// `rest` answers the same question for later lines.
fn recurrence<T: PartialEq>(
    (old, new): (&[T], &[T]),
    (i, j): (usize, usize),
    rest: impl Fn(usize, usize) -> u32,
) -> u32 {
    match (old.get(i), new.get(j)) {
        (None, _) => count(new.len() - j),
        (_, None) => count(old.len() - i),
        (Some(old), Some(new)) if old == new => rest(i + 1, j + 1),
        _ => 1 + rest(i + 1, j + 1).min(rest(i + 1, j)).min(rest(i, j + 1)),
    }
}

fn count(lines: usize) -> u32 {
    u32::try_from(lines).unwrap_or(u32::MAX)
}

/// The recursion as it is, counting its calls.
pub fn plain(pair: &Pair, i: usize, j: usize, calls: &Cell<u64>) -> u32 {
    calls.set(calls.get() + 1);
    recurrence(pair.texts(), (i, j), |i, j| plain(pair, i, j, calls))
}

/// The recursion with one line added.
#[memoize(key = (pair.id, i, j))]
pub fn distance(pair: &Pair, i: usize, j: usize) -> u32 {
    recurrence(pair.texts(), (i, j), |i, j| distance(pair, i, j))
}

/// What a comparison found, and what it held meanwhile.
pub struct Comparison {
    pub distance: u32,
    /// The changes as text: line numbers with `-` and `+`.
    pub script: String,
    /// What the recursion's own cache did.
    pub inner: Stats,
    /// The bytes that the program held more at its end than at its beginning.
    pub held: u64,
}

/// Starts a cache of comparisons by the names of their pairs. An entry weighs its bytes.
pub fn comparisons() -> Builder<String, Arc<Comparison>> {
    Cache::builder().weigher(|name: &String, found: &Arc<Comparison>| {
        (name.len() + size_of::<Comparison>() + found.script.len()) as u64
    })
}

/// Compares two versions in full, with a cache that lives as long as the comparison.
pub fn compare(pair: &Pair) -> Comparison {
    let held = memory::held();
    let lines = Lines {
        texts: pair.texts(),
        memo: Cache::new(),
    };
    let distance = lines.distance(0, 0);
    let script = lines.script();
    Comparison {
        distance,
        script,
        inner: lines.memo.stats(),
        held: memory::held().saturating_sub(held),
    }
}

/// The word with the least edit distance from `word`, letter by letter, that is not `word` itself.
pub fn nearest<'a>(word: &str, words: &[&'a str]) -> Option<&'a str> {
    let letters = |word: &str| word.chars().collect::<Vec<char>>();
    let (memo, old) = (Cache::new(), letters(word));
    let others = words
        .iter()
        .enumerate()
        .filter(|(_, other)| **other != word);
    let apart = |(number, other): &(usize, &&str)| {
        letters_apart(&memo, *number, (&old, &letters(other)), (0, 0))
    };
    others.min_by_key(apart).map(|(_, other)| *other)
}

/// `number` tells the words apart in the keys.
fn letters_apart(
    memo: &Cache<(usize, usize, usize), u32>,
    number: usize,
    words: (&[char], &[char]),
    (i, j): (usize, usize),
) -> u32 {
    let rest = |i, j| letters_apart(memo, number, words, (i, j));
    memo.get_or_insert_with(&(number, i, j), || recurrence(words, (i, j), rest))
}

/// A comparison in progress.
struct Lines<'a> {
    texts: (&'a [String], &'a [String]),
    memo: Cache<(usize, usize), u32>,
}

impl Lines<'_> {
    fn distance(&self, i: usize, j: usize) -> u32 {
        let load = || recurrence(self.texts, (i, j), |i, j| self.distance(i, j));
        self.memo.get_or_insert_with(&(i, j), load)
    }

    /// Walks along the shortest way, asking the cache which way that is.
    fn script(&self) -> String {
        let (old, new) = self.texts;
        let (mut i, mut j, mut script) = (0, 0, String::new());
        while i < old.len() || j < new.len() {
            let (drops, adds) = self.step(i, j);
            let changed = drops != adds || old[i] != new[j];
            if drops && changed {
                script += &format!("{}- {}\n", i + 1, old[i]);
            }
            if adds && changed {
                script += &format!("{}+ {}\n", j + 1, new[j]);
            }
            i += usize::from(drops);
            j += usize::from(adds);
        }
        script
    }

    /// Whether the shortest way takes a line from the old text, from the new one, or from both.
    fn step(&self, i: usize, j: usize) -> (bool, bool) {
        let (old, new) = self.texts;
        match (i < old.len(), j < new.len()) {
            (true, true) if old[i] == new[j] => (true, true),
            (true, true) => {
                let left = self.distance(i, j) - 1;
                let both = self.distance(i + 1, j + 1) == left;
                let drop = !both && self.distance(i + 1, j) == left;
                (both || drop, !drop)
            }
            rest => rest,
        }
    }
}
