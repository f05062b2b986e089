//! Journals: what was promised to be kept before the index has it.
//!
//! A commit of the index costs many times what one small entry does. So while no other process has the folder open, an
//! entry that is written through is appended to a file of its process, which outlives that, and the index has it a
//! moment later, in a batch. Invariants: whoever opens a folder locks a byte of the page `gen` before it reads the
//! journals, and whoever appends asks for such locks afterwards, so that either the newcomer reads the entry or its
//! writer commits it at once; what is noted finds room in the index, because nothing is while the disk is nearly full;
//! an entry is applied once, however many read it, because the index notes how far a journal was applied; and journals
//! are made, read and removed under `init.lock`, only appending takes none.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::digest::Digest;
use super::directory::Directory;
use super::fork::OwnFile;
use super::format::{self, Input, put_number};
use super::index::{Noted, Op, Put, Speaker};
use super::os;
use super::queue::Queue;
use super::record::Function;
use super::shared::{bucket, ends};
use super::values::new_id;

/// Journals of ours are shorter than this.
const LONGEST: u64 = 4 << 20;
/// With less than this free on its disk, no journal is used: more than a batch ever takes, log included.
const ROOM: u64 = 16 << 20;
/// The bytes of a record that are not counted in its length: the length, and the checksum.
const FRAME: usize = 4 + 8;
const LOAD: u8 = 1;
const REPLACES: u8 = 2;

/// The journal of this process, and whether others have the folder open.
pub(super) struct Journal {
    directory: Directory,
    /// The most bytes that it takes.
    limit: u64,
    /// Holds the lock that says that this process has the folder open. `None` if the file system has no such locks, so
    /// that nobody knows of others.
    presence: Option<OwnFile>,
    /// The last commit succeeded, and left room for more in the log and on the disk.
    has_room: AtomicBool,
    open: Mutex<Option<Open>>,
}

/// A journal that was begun.
struct Open {
    /// Locked for as long as its process lives.
    file: OwnFile,
    number: i64,
    /// The sequence of the last record, and the checksum of the last since the file was begun anew.
    sequence: u64,
    sum: u64,
    length: u64,
    /// The place in the queue of the last entry.
    queued: u64,
}

impl Journal {
    /// Says from now on that this process has the folder open. To be called inside the store.
    pub(super) fn new(directory: &Directory, limit: u64) -> Self {
        let presence = File::open(directory.generation()).ok().filter(|file| {
            let locked = os::try_share_byte(file, 0);
            locked.unwrap_or(false)
        });
        Self {
            directory: directory.clone(),
            limit,
            presence: presence.map(OwnFile::new),
            has_room: AtomicBool::new(false),
            open: Mutex::default(),
        }
    }

    /// To be called after every commit, with whether it succeeded and the log has room. Until the first, and while
    /// there is none, nothing is noted.
    pub(super) fn look_for_room(&self, has_room: bool) {
        let free = || os::free_bytes(self.directory.path()).unwrap_or(0);
        // Relaxed, here and below: a caller that sees it late notes one entry more, or one less.
        let has_room = has_room && free() >= ROOM;
        self.has_room.store(has_room, Ordering::Relaxed);
    }

    /// Whether an entry that is noted is as good as committed.
    pub(super) fn may_note(&self) -> bool {
        self.has_room.load(Ordering::Relaxed) && self.is_alone()
    }

    /// Whether no other process has the folder open, nor another store of this one.
    pub(super) fn is_alone(&self) -> bool {
        let presence = self.presence.as_ref();
        presence.is_some_and(|file| !os::is_byte_locked(file, 0).unwrap_or(true))
    }

    fn open(&self) -> MutexGuard<'_, Option<Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues an entry by `push` and appends it. Returns its number in the queue, and whether it outlives this process
    /// now.
    pub(super) fn note(
        &self,
        mut put: Put,
        queue: &Queue,
        push: impl FnOnce(Put) -> u64,
    ) -> (u64, bool) {
        let mut open = self.open();
        let begun = match &mut *open {
            Some(begun) => Ok(begun),
            empty => Open::begin(&self.directory).map(|begun| empty.insert(begun)),
        };
        let Ok(begun) = begun else {
            return (push(put), false);
        };
        begun.sequence += 1;
        let (journal, sequence) = (begun.number, begun.sequence);
        put.noted = Some(Noted { journal, sequence });
        begun.begin_anew(queue);
        let record = encode(&put, sequence, begun.sum);
        begun.queued = push(put);
        (begun.queued, begun.append(&record, self.limit))
    }

    /// Gives back the room of entries that the index has.
    pub(super) fn shrink(&self, queue: &Queue) {
        if let Some(open) = &mut *self.open()
            && open.length > 0
            && open.begin_anew(queue)
        {
            // What stays takes room, and is not applied again.
            let _ = open.file.set_len(0);
        }
    }

    /// Removes the journal, all of which was applied; `apply` does a step in the index.
    pub(super) fn close(&self, apply: impl FnOnce(Op)) {
        let Some(open) = self.open().take() else {
            return;
        };
        if let Ok(_lock) = self.directory.lock()
            && fs::remove_file(path(&self.directory, open.number)).is_ok()
        {
            apply(Op::CloseJournal(open.number));
        }
    }
}

impl Open {
    fn begin(directory: &Directory) -> io::Result<Self> {
        let _lock = directory.lock()?;
        directory.make(&directory.journals())?;
        let number = new_id();
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        let file = options.open(path(directory, number))?;
        os::try_lock_byte(&file, 0)?;
        Ok(Self {
            file: OwnFile::new(file),
            number,
            sequence: 0,
            sum: 0,
            length: 0,
            queued: 0,
        })
    }

    /// Writes from the start again if the index has all entries; says whether it does.
    fn begin_anew(&mut self, queue: &Queue) -> bool {
        let is_applied = queue.done() >= self.queued;
        if is_applied {
            (self.length, self.sum) = (0, 0);
        }
        is_applied
    }

    fn append(&mut self, record: &[u8], limit: u64) -> bool {
        let end = self.length + record.len() as u64;
        // What an attempt that failed left behind is written over by the next one.
        let is_kept = end <= limit
            && self.file.write_all_at(record, self.length).is_ok()
            // Its folder was not deleted.
            && self.file.metadata().is_ok_and(|file| file.nlink() > 0);
        if is_kept {
            self.length = end;
            self.sum = checksum_of(record);
        }
        is_kept
    }
}

fn path(directory: &Directory, number: i64) -> PathBuf {
    directory.journals().join(format!("{number:016x}"))
}

fn number_of(name: &std::ffi::OsStr) -> Option<i64> {
    let name = name.to_str().filter(|name| name.len() == 16)?;
    u64::from_str_radix(name, 16).ok().map(u64::cast_signed)
}

/// Has `apply` apply what is noted in the journals of others, and removes those of processes that died.
pub(super) fn replay(
    directory: &Directory,
    mut apply: impl FnMut(Vec<Op>) -> io::Result<()>,
) -> io::Result<()> {
    let names = match fs::read_dir(directory.journals()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        names => names?,
    };
    let mut lock = None;
    for name in names {
        let name = name?.file_name();
        let Some(number) = number_of(&name) else {
            continue;
        };
        if lock.is_none() {
            lock = Some(directory.lock()?);
        }
        let mut options = OpenOptions::new();
        let file = match options.read(true).write(true).open(path(directory, number)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            file => file?,
        };
        let is_dead = os::try_lock_byte(&file, 0)?;
        let mut bytes = Vec::new();
        (&file).take(LONGEST).read_to_end(&mut bytes)?;
        let puts = decode(&bytes, number);
        if !puts.is_empty() {
            apply(puts.into_iter().map(|put| Op::Put(Box::new(put))).collect())?;
        }
        if is_dead {
            fs::remove_file(path(directory, number))?;
            apply(vec![Op::CloseJournal(number)])?;
        }
    }
    Ok(())
}

/// The bytes of a record; `before` is the checksum of the one before it.
fn encode(put: &Put, sequence: u64, before: u64) -> Vec<u8> {
    let flag = |set: bool, flag: u8| if set { flag } else { 0 };
    let names = put.function.name.len() + put.function.code.len();
    let mut out = Vec::with_capacity(FRAME + 64 + names + put.bytes.len());
    out.extend([0; 4]);
    put_number(&mut out, sequence);
    put_number(&mut out, put.born);
    out.push(flag(put.is_load, LOAD) | flag(put.replaces, REPLACES));
    out.extend(put.digest.as_bytes());
    for text in [&put.function.name, &put.function.code] {
        put_number(&mut out, text.len() as u64);
        out.extend(text.as_bytes());
    }
    out.extend(&put.bytes);
    let length = u32::try_from(out.len() - 4).expect("payloads in journals are small");
    out[..4].copy_from_slice(&length.to_le_bytes());
    let sum = xxh3_64_with_seed(&out, before);
    out.extend(sum.to_le_bytes());
    out
}

fn checksum_of(record: &[u8]) -> u64 {
    let sum = record
        .last_chunk()
        .expect("a record ends with its checksum");
    u64::from_le_bytes(*sum)
}

/// The entries of a journal, up to the first record that is not whole or does not follow the one before it.
pub(super) fn decode(bytes: &[u8], journal: i64) -> Vec<Put> {
    let (mut rest, mut before) = (bytes, 0);
    let mut puts = Vec::new();
    while let Some((record, after)) = split_record(rest)
        && xxh3_64_with_seed(&record[..record.len() - 8], before) == checksum_of(record)
        && let Some(put) = parse(&record[4..record.len() - 8], journal)
    {
        (rest, before) = (after, checksum_of(record));
        puts.push(put);
    }
    puts
}

fn split_record(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let length = u32::from_le_bytes(*bytes.first_chunk()?);
    bytes.split_at_checked(usize::try_from(length).ok()?.checked_add(FRAME)?)
}

/// Reads what is between the length and the checksum.
pub(super) fn parse(body: &[u8], journal: i64) -> Option<Put> {
    let mut input = Input(body);
    let (sequence, born) = (input.number()?, input.number()?);
    let [flags] = input.array()?;
    let digest = Digest::from_bytes(input.array()?);
    let mut text = || String::from_utf8(input.text()?.to_vec()).ok();
    let function = Arc::new(Function::new(text()?, text()?));
    let head = format::decode(&digest, &function, input.0).ok()?.head;
    Some(Put {
        // Nobody's in the process that reads it, so news to all there.
        by: Speaker::default(),
        digest,
        function,
        ends: ends(&head),
        bucket: bucket(head.written),
        tags: head.tags,
        born,
        is_load: flags & LOAD != 0,
        replaces: flags & REPLACES != 0,
        file: None,
        noted: Some(Noted { journal, sequence }),
        bytes: input.0.to_vec(),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failing test should say where")]
mod tests {
    use std::collections::HashSet;
    use std::sync::atomic::AtomicU64;

    use super::*;
    use crate::disk::{KeyEncoder, NewRecord, Store};

    fn digest(n: u64) -> Digest {
        KeyEncoder::new("test").u64(n).finish()
    }

    /// The digests of all that is in journals.
    fn noted(directory: &Directory) -> HashSet<Digest> {
        let files = fs::read_dir(directory.journals()).into_iter().flatten();
        let bytes = files.map(|file| fs::read(file.unwrap().path()).unwrap());
        bytes
            .flat_map(|bytes| decode(&bytes, 0))
            .map(|put| put.digest)
            .collect()
    }

    #[test]
    fn a_newcomer_finds_every_entry_in_a_journal_or_in_the_index() {
        let path = std::env::temp_dir().join(format!("scrubjay-newcomer-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        let store = Store::builder().write_through(true).open(&path).unwrap();
        let directory = Directory::open(&path, false).unwrap();
        let index = rusqlite::Connection::open(directory.index()).unwrap();
        let is_there = |digest: &Digest| {
            let mut find = index
                .prepare_cached("SELECT 1 FROM e WHERE h = ?1")
                .unwrap();
            find.exists([digest.head()]).unwrap()
        };
        let (written, has_ended) = (AtomicU64::new(0), AtomicBool::new(false));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for n in 1.. {
                    let function = Function::new("f", "");
                    store
                        .put(NewRecord::new(digest(n), function), b"v")
                        .unwrap();
                    // SeqCst, here and below: nobody cares how fast a test is.
                    written.store(n, Ordering::SeqCst);
                    if has_ended.load(Ordering::SeqCst) {
                        return;
                    }
                }
            });
            for _ in 0..500 {
                let newcomer = Journal::new(&directory, 0);
                let noted = noted(&directory);
                let now = written.load(Ordering::SeqCst);
                while written.load(Ordering::SeqCst) < now + 1 {
                    std::hint::spin_loop();
                }
                let lost = (now.saturating_sub(9)..=now + 1)
                    .filter(|n| *n > 0)
                    .map(digest)
                    .filter(|digest| !noted.contains(digest) && !is_there(digest));
                let lost = lost.count();
                if lost > 0 {
                    has_ended.store(true, Ordering::SeqCst);
                }
                assert_eq!(lost, 0, "entries up to {}", now + 1);
                drop(newcomer);
            }
            has_ended.store(true, Ordering::SeqCst);
        });
        drop(store);
        fs::remove_dir_all(path).unwrap();
    }
}
