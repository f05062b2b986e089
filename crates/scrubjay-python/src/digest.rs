//! Digests of buffers, for arguments whose content would be too large to keep as a key.
//!
//! A large buffer is hashed by several threads. They begin with the digest and end with it, because a pool would be
//! gone in the child of a fork; and nobody waits for one that comes too late to take part. The digest is BLAKE3's of
//! the whole buffer, however many took part: its tree is put together from the roots of equal pieces.

#![allow(unsafe_code, reason = "reads a buffer in place")]

use blake3::hazmat::{
    ChainingValue, HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root,
};
use blake3::{Hash, Hasher};
use pyo3::buffer::PyUntypedBuffer;
use pyo3::exceptions::PyBufferError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, OnceLock};

/// Buffers of this length and more are hashed by several threads: below, to begin one costs what it saves.
const LARGE: usize = 4 << 20;

/// What a thread takes at a time: a power of two, so that each is a whole subtree.
const PIECE: usize = 1 << 18;

const MOST_THREADS: usize = 4;

/// The BLAKE3 digest of a contiguous buffer. Other threads run meanwhile.
#[pyfunction]
pub(crate) fn digest<'py>(
    py: Python<'py>,
    object: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyBytes>> {
    let buffer = PyUntypedBuffer::get(object)?;
    if !buffer.is_c_contiguous() {
        return Err(PyBufferError::new_err("the buffer is not contiguous"));
    }
    let (start, length) = (buffer.buf_ptr() as usize, buffer.len_bytes());
    let digest = py.detach(|| {
        let bytes = match length {
            0 => &[][..],
            // SAFETY: the buffer is held, so its memory stays. Its owner may write to it meanwhile, as to any array
            // that is passed to a function while another thread changes it: then the digest is of something in between.
            length => unsafe { std::slice::from_raw_parts(start as *const u8, length) },
        };
        if length < LARGE {
            blake3::hash(bytes)
        } else {
            hash_large(bytes)
        }
    });
    Ok(PyBytes::new(py, digest.as_bytes()))
}

fn threads() -> usize {
    static THREADS: OnceLock<usize> = OnceLock::new();
    *THREADS.get_or_init(|| {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        cores.min(MOST_THREADS)
    })
}

/// The digest of a buffer of more than one piece.
fn hash_large(bytes: &[u8]) -> Hash {
    let pieces = Arc::new(Pieces::of(bytes));
    let (done, roots) = channel();
    for _ in 1..threads() {
        let (pieces, done) = (Arc::clone(&pieces), done.clone());
        let thread = std::thread::Builder::new().name("scrubjay-digest".into());
        // Where no thread can be had, fewer take part.
        drop(thread.spawn(move || pieces.work(&done)));
    }
    pieces.work(&done);
    drop(done);
    // This waits for every piece that was taken, so the buffer is there for as long as anybody reads it.
    let mut roots: Vec<_> = roots.iter().take(pieces.count()).collect();
    assert_eq!(roots.len(), pieces.count(), "hashing does not panic");
    roots.sort_unstable_by_key(|(number, _)| *number);
    let roots: Vec<ChainingValue> = roots.into_iter().map(|(_, root)| root).collect();
    let (left, right) = halves(&roots);
    merge_subtrees_root(&merge(left), &merge(right), Mode::Hash)
}

/// A buffer in pieces, each of which is hashed by whoever takes it.
struct Pieces {
    start: usize,
    length: usize,
    next: AtomicUsize,
}

impl Pieces {
    fn of(bytes: &[u8]) -> Self {
        Self {
            start: bytes.as_ptr().addr(),
            length: bytes.len(),
            next: AtomicUsize::new(0),
        }
    }

    fn count(&self) -> usize {
        self.length.div_ceil(PIECE)
    }

    /// Takes pieces for as long as there are any, and tells the root of each.
    fn work(&self, done: &Sender<(usize, ChainingValue)>) {
        loop {
            // Relaxed: a number is taken once, and the buffer was there before the threads began.
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            if number >= self.count() {
                return;
            }
            let begin = number * PIECE;
            let length = PIECE.min(self.length - begin);
            // SAFETY: `hash_large` keeps the buffer until the root of every piece was told.
            let piece =
                unsafe { std::slice::from_raw_parts((self.start + begin) as *const u8, length) };
            let mut hasher = Hasher::new();
            hasher.set_input_offset(begin as u64);
            let root = hasher.update(piece).finalize_non_root();
            done.send((number, root))
                .expect("whoever hashes waits for every root");
        }
    }
}

fn merge(roots: &[ChainingValue]) -> ChainingValue {
    if let [root] = roots {
        return *root;
    }
    let (left, right) = halves(roots);
    merge_subtrees_non_root(&merge(left), &merge(right), Mode::Hash)
}

/// The left half is the largest whole tree that leaves something for the right one.
fn halves(roots: &[ChainingValue]) -> (&[ChainingValue], &[ChainingValue]) {
    roots.split_at(roots.len().next_power_of_two() / 2)
}
