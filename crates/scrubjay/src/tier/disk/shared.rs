//! What all handles of one open folder share in one process.
//!
//! Invariants: one per folder and process; a forked child, and a process whose folder was deleted or set aside, opens
//! anew and leaves the old one alone.

use std::io::Write as _;
use std::mem::ManuallyDrop;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::SystemTime;

use super::ballast::Ballast;
use super::directory::Directory;
use super::fork;
use super::format::{self, Stored, nanos_of};
use super::generation::Generation;
use super::index::{Applied, Index, Last, Op, Put, Speaker, Sqlite, Target, Unusable};
use super::journal::{self, Journal};
use super::queue::{Pending, Queue, Write};
use super::record::{Fence, Head};
use super::tend::{self, Duties};
use super::usage;
use super::{Durability, LARGE, Options, error, values};
use crate::error::{Error, ErrorKind};

/// Rows note their use in steps of this many seconds.
const BUCKET_SECONDS: i64 = 600;
/// Payloads from here on are compressed if that makes them an eighth smaller.
const COMPRESSIBLE: usize = 4 << 10;

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) hits: AtomicU64,
    pub(super) misses: AtomicU64,
    pub(super) written: AtomicU64,
    pub(super) failures: AtomicU64,
    pub(super) dropped: AtomicU64,
}

pub(super) fn count(counter: &AtomicU64, amount: u64) {
    // Relaxed: only the sum counts.
    counter.fetch_add(amount, Ordering::Relaxed);
}

pub(super) struct Shared {
    pub(super) directory: Directory,
    pub(super) options: Options,
    pub(super) index: ManuallyDrop<Sqlite>,
    pub(super) generation: Generation,
    pub(super) queue: Arc<Queue>,
    pub(super) journal: Journal,
    ballast: Ballast,
    pub(super) counters: Counters,
    pub(super) usage: usage::Counts,
    pub(super) fork: u64,
    logged: AtomicBool,
    has_thread: AtomicBool,
    pub(super) duties: Mutex<Duties>,
    /// The thread ends transactions that readers keep open.
    pub(super) is_tended: AtomicBool,
    /// What stands in for this one once it is of no use.
    next: OnceLock<Result<Arc<Shared>, String>>,
    this: Weak<Shared>,
    inode: u64,
    /// Where a damaged index was moved when this was opened.
    set_aside: Option<PathBuf>,
}

impl Shared {
    /// To be called inside a store.
    pub(super) fn open(path: &Path, options: &Options) -> Result<Arc<Self>, Error> {
        fork::watch();
        let mut directory = Directory::open(path, options.allow_network)?;
        let origin = values::new_id();
        let mut aside = None;
        let index = match Sqlite::open(&directory, options, origin) {
            Ok(index) => index,
            Err(Unusable::Newer) => {
                directory = directory
                    .beside_newer()
                    .map_err(|cause| error::folder(path, cause))?;
                Sqlite::open(&directory, options, origin).map_err(Unusable::into_error)?
            }
            Err(Unusable::Damaged(_)) => {
                aside = set_aside(&directory, options, origin)?;
                Sqlite::open(&directory, options, origin).map_err(Unusable::into_error)?
            }
            Err(Unusable::Failed(error)) => return Err(error),
        };
        let generation = Generation::open(&directory.generation())
            .map_err(|cause| error::folder(path, cause))?;
        let inode = inode(&directory.index());
        let shared = Arc::new_cyclic(|this| Self {
            usage: usage::Counts::new(directory.usage()),
            journal: Journal::new(&directory, index.options().batch_bytes()),
            ballast: Ballast::new(directory.ballast(), index.options().ballast()),
            directory,
            options: index.options().clone(),
            index: ManuallyDrop::new(index),
            generation,
            queue: Arc::new(Queue::new(options.batch_bytes())),
            counters: Counters::default(),
            fork: fork::generation(),
            logged: AtomicBool::new(false),
            has_thread: AtomicBool::new(false),
            duties: Mutex::default(),
            is_tended: AtomicBool::new(false),
            next: OnceLock::new(),
            this: this.clone(),
            inode,
            set_aside: aside,
        });
        shared.compare_generation();
        shared.replay_journals();
        Ok(shared)
    }

    /// Sees to it that the page `gen` says what the index does: after a loss of power either may be the older one, and
    /// a load that noted a number from the future would not be overtaken by what comes until then.
    fn compare_generation(&self) {
        let Some(seen) = self.generation.read() else {
            return;
        };
        // After the page: it is announced after its commit, so the index is not behind it, nor ahead for long.
        if let Ok(last) = self.index.last()
            && last != seen.last
        {
            // A page that cannot be written cannot lead to an entry that is.
            let _ = self.generation.announce(last);
        }
    }

    /// Has the index get what other processes promised to keep and had not committed yet.
    fn replay_journals(&self) {
        let apply = |ops: Vec<Op>| {
            let writes: Vec<Write> = ops.into_iter().map(Write::Op).collect();
            self.apply(&writes).map(drop).map_err(std::io::Error::other)
        };
        if let Err(cause) = journal::replay(&self.directory, apply) {
            self.failed(&error::folder(self.directory.path(), cause));
        }
    }

    /// The one to use: this, or what stands in for it.
    pub(super) fn current(&self) -> Result<&Self, Error> {
        if self.fork == fork::generation() && self.next.get().is_none() {
            return Ok(self);
        }
        let open = || {
            let opened = Self::open(self.directory.path(), &self.options);
            opened.map_err(|error| error.to_string())
        };
        match self.next.get_or_init(open) {
            Ok(next) => next.current(),
            Err(message) => Err(Error::new(ErrorKind::Io, message.clone())),
        }
    }

    /// Whether its index is still the one that its folder has.
    fn is_in_place(&self) -> bool {
        inode(&self.directory.index()) == self.inode
    }

    /// Whether the one to use is of the folder that is there now.
    pub(super) fn is_current(&self) -> bool {
        self.current().is_ok_and(Self::is_in_place)
    }

    /// Goes on with another index if the folder of this one was deleted or moved away.
    fn check_folder(&self) {
        if !self.is_in_place() && self.next.get().is_none() {
            let opened = Self::open(self.directory.path(), &self.options);
            let _ = self.next.set(opened.map_err(|error| error.to_string()));
        }
    }

    /// What is wrong with the files beside the index that no entry tells of.
    pub(super) fn check_files(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        if let Some(aside) = &self.set_aside {
            let aside = aside.display();
            wrong.push(format!(
                "the index could not be read, and was moved to {aside}"
            ));
        }
        if self.directory.is_beside_newer() {
            wrong.push("the folder's own index is of a version that is not known here".to_owned());
        }
        if self.generation.is_damaged() {
            wrong.push("the page `gen` is damaged; the next write makes it anew".to_owned());
        }
        match self.usage.damaged_slots() {
            0 => {}
            slots => wrong.push(format!("{slots} counts in the file `usage` are damaged")),
        }
        wrong
    }

    /// Counts a failure, and says so once for each open store.
    pub(super) fn failed(&self, error: &Error) {
        count(&self.counters.failures, 1);
        // Relaxed: two threads that fail first at once may both say so.
        if !self.logged.swap(true, Ordering::Relaxed) {
            let cause = std::error::Error::source(error).map(|cause| format!(": {cause}"));
            let (path, cause) = (self.directory.path().display(), cause.unwrap_or_default());
            // Not `eprintln!`: it panics where the stream cannot be written to, such as a file on the same full disk.
            let mut stream = std::io::stderr().lock();
            let _ = writeln!(
                stream,
                "scrubjay: {path}: {error}{cause}; answers are computed meanwhile"
            );
        }
    }

    /// The numbers of what was said last.
    pub(super) fn last(&self) -> Last {
        match self.generation.read() {
            Some(seen) => seen.last,
            // Numbers too low only refuse more than they must.
            None => self.index.last().unwrap_or_default(),
        }
    }

    /// The point at which its index had given a number.
    pub(super) fn fence_at(&self, number: u64) -> Fence {
        Fence {
            number,
            index: self.inode,
        }
    }

    pub(super) fn is_of_this_index(&self, fence: Fence) -> bool {
        fence.index == self.inode
    }

    /// The number of a fence; that of another index says nothing here, so all that was said came later.
    pub(super) fn number_of(&self, fence: Fence) -> u64 {
        if self.is_of_this_index(fence) {
            fence.number
        } else {
            0
        }
    }

    /// Applies what is queued, and then `last`, whose outcome is returned.
    pub(super) fn drain(&self, last: &[Write]) -> Result<Applied, Error> {
        self.queue.drain(last, |batch| self.commit(batch))
    }

    /// Returns once an entry outlives this process, and is what every other one finds.
    pub(super) fn write_through(&self, entry: Pending) -> Result<(), Error> {
        if !self.may_note(&entry) {
            let (number, _) = self.queue.push(Write::Entry(Arc::new(entry)));
            return self.commit_up_to(number);
        }
        let row = self.encode(&entry)?;
        let push = |row| {
            let row = Some(row);
            let (number, _) = self
                .queue
                .push(Write::Entry(Arc::new(Pending { row, ..entry })));
            number
        };
        let (number, is_kept) = self.journal.note(row, &self.queue, push);
        if !is_kept || !self.journal.is_alone() {
            return self.commit_up_to(number);
        }
        self.ensure_thread();
        Ok(())
    }

    /// Whether an entry can wait for the index in the journal.
    fn may_note(&self, entry: &Pending) -> bool {
        let is_small = (entry.payload.len() as u64) < LARGE;
        // One that an invalidation may have overtaken is found only once the index has decided about it.
        let is_current = || entry.record.fence.is_none() || entry.born >= self.last().invalidation;
        is_small
            && self.options.durability != Durability::Sync
            && is_current()
            && self.journal.may_note()
    }

    /// Commits what was queued up to a number, and what others queued meanwhile in the same transaction.
    fn commit_up_to(&self, number: u64) -> Result<(), Error> {
        self.queue.apply_up_to(number, |batch| self.commit(batch))
    }

    fn commit(&self, batch: &[Write]) -> Result<Applied, Error> {
        self.check_folder();
        let current = self.current()?;
        let elsewhere: Vec<Write>;
        let batch = if current.inode == self.inode {
            batch
        } else {
            elsewhere = batch.iter().filter_map(Write::elsewhere).collect();
            &elsewhere
        };
        let applied = current.apply(batch);
        let has_room = applied.is_ok() && current.index.has_room_in_log();
        current.journal.look_for_room(has_room);
        applied.inspect_err(|error| {
            count(&self.counters.dropped, batch.len() as u64);
            self.failed(error);
            current.disown(batch);
        })
    }

    /// Sees to it that what a lost entry was to replace is not taken for the latest: where there is no room to say so
    /// of each, everything is discarded.
    fn disown(&self, lost: &[Write]) {
        let keys = lost.iter().filter_map(|write| match write {
            Write::Entry(entry) if entry.record.replaces => Some((entry.record.digest, entry.by)),
            _ => None,
        });
        let invalidate = |(digest, by)| Write::Op(Op::Invalidate(Target::Key(digest), by));
        let writes: Vec<Write> = keys.map(invalidate).collect();
        // That the batch could not be written was counted and said.
        if !writes.is_empty()
            && let Err(full) = self.apply(&writes)
            && error::is_full(&full)
        {
            let _ = self.apply(&[Write::Op(Op::Clear(Speaker::default()))]);
        }
    }

    /// Waits until all that is queued is applied, and what was counted is written. In a forked child there is nothing:
    /// the queue is its parent's.
    pub(super) fn settle(&self) {
        if self.fork == fork::generation() {
            let _inside = fork::enter();
            // A failure was counted and said.
            let _ = self.drain(&[]);
            self.journal.shrink(&self.queue);
            self.usage.write();
        }
    }

    fn apply(&self, batch: &[Write]) -> Result<Applied, Error> {
        let mut ops = Vec::with_capacity(batch.len());
        let mut unwritable = None;
        for (place, write) in batch.iter().enumerate() {
            match write {
                Write::Entry(entry) => match self.row_of(entry) {
                    Ok(put) => ops.push(Op::Put(Box::new(put))),
                    // The last is the one that somebody waits for.
                    Err(error) if place + 1 == batch.len() => unwritable = Some(error),
                    Err(error) => self.failed(&error),
                },
                Write::Op(op) => ops.push(op.clone()),
            }
        }
        let invalidates = ops.iter().any(Op::invalidates);
        let durable = invalidates || self.options.durability == Durability::Sync;
        let mut applied = self.index.apply(&ops, durable);
        let is_full = applied.as_ref().is_err_and(error::is_full);
        let give_up = || match ops[..] {
            [Op::Clear(_)] => self.ballast.give_up(),
            _ => self.ballast.give_up_half(),
        };
        if is_full && ops.iter().all(Op::makes_room) && give_up() {
            applied = self.index.apply(&ops, durable);
        }
        let applied = applied.inspect_err(|_| {
            let files = ops.iter().filter_map(|op| match op {
                Op::Put(put) => put.file,
                _ => None,
            });
            files.for_each(|(id, _)| self.unlink(id));
        })?;
        let announced = self.generation.announce(applied.last);
        announced.map_err(|cause| error::folder(self.directory.path(), cause))?;
        applied.unnamed.iter().for_each(|id| self.unlink(*id));
        count(&self.counters.written, applied.stored);
        // What was committed is, whether or not the log could be emptied.
        let _ = self.index.keep_small(applied.shrank);
        self.ballast.keep(&self.directory);
        self.remember_duties(&ops);
        unwritable.map_or(Ok(applied), Err)
    }

    fn unlink(&self, id: i64) {
        // A file that cannot be removed is swept later.
        let _ = std::fs::remove_file(values::path_of(&self.directory, id));
    }

    fn row_of(&self, entry: &Pending) -> Result<Put, Error> {
        entry.row.clone().map_or_else(|| self.encode(entry), Ok)
    }

    /// Makes the row of an entry, and its value file if it is large.
    fn encode(&self, entry: &Pending) -> Result<Put, Error> {
        let payload = entry.payload.as_slice();
        let failed = |cause| error::folder(self.directory.path(), cause);
        if payload.len() as u64 >= LARGE {
            let path = values::write(&self.directory, payload).map_err(failed)?;
            return self.adopt(entry, &path).inspect_err(|_| {
                // A file that cannot be removed is swept later.
                let _ = std::fs::remove_file(&path);
            });
        }
        let smaller = compressed(payload);
        let stored = smaller.as_deref().unwrap_or(payload);
        let head = entry.head(payload.len() as u64, smaller.is_some());
        Ok(entry.row(&head, format::encode(&head, Stored::Inline(stored)), None))
    }

    /// Makes the row of an entry whose payload is a file, and moves that to its place.
    pub(super) fn adopt(&self, entry: &Pending, path: &Path) -> Result<Put, Error> {
        let sync = self.options.durability == Durability::Sync;
        let adopted = values::adopt(&self.directory, path, &entry.record.digest, sync)
            .map_err(|cause| error::folder(self.directory.path(), cause))?;
        let head = entry.head(adopted.len, false);
        let bytes = format::encode(&head, Stored::File(adopted.sum));
        Ok(entry.row(&head, bytes, Some((adopted.id, adopted.bytes))))
    }

    pub(super) fn handle(&self) -> Arc<Self> {
        self.this.upgrade().expect("whoever asks holds it")
    }

    pub(super) fn has_thread(&self) -> bool {
        // Relaxed: whoever is told a moment too early applies what is queued by itself.
        self.has_thread.load(Ordering::Relaxed)
    }

    /// Starts the thread that writes, unless it runs.
    pub(super) fn ensure_thread(&self) {
        // Relaxed: whoever swaps first starts it.
        if self.has_thread.swap(true, Ordering::Relaxed) {
            return;
        }
        let (queue, this) = (self.queue.clone(), self.this.clone());
        let started = std::thread::Builder::new()
            .name("scrubjay-disk".into())
            .spawn(move || tend::run(&queue, &this));
        if started.is_err() {
            // Relaxed: the next put tries again; until then the queue is applied by whoever must wait.
            self.has_thread.store(false, Ordering::Relaxed);
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.queue.close();
        if self.fork != fork::generation() {
            // The connections are another process's: neither used nor closed here.
            return;
        }
        let _inside = fork::enter();
        self.settle();
        self.journal.close(|op| {
            let _ = self.apply(&[Write::Op(op)]);
        });
        self.leave_tidy();
        drop_index(&mut self.index);
    }
}

/// Closes the connections.
#[allow(unsafe_code, reason = "a forked child must be able not to close them")]
fn drop_index(index: &mut ManuallyDrop<Sqlite>) {
    // SAFETY: only called by `Shared::drop`, after which nothing uses the index.
    unsafe { ManuallyDrop::drop(index) }
}

fn inode(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(path).map_or(0, |metadata| metadata.ino())
}

/// Moves a damaged index away, unless another process did so already; returns where to.
fn set_aside(
    directory: &Directory,
    options: &Options,
    origin: i64,
) -> Result<Option<PathBuf>, Error> {
    let failed = |cause| error::folder(directory.path(), cause);
    let _lock = directory.lock().map_err(failed)?;
    if let Err(Unusable::Damaged(error)) = Sqlite::open(directory, options, origin) {
        let aside = directory.set_aside().map_err(failed)?;
        eprintln!(
            "scrubjay: {error}; it was moved to {}, and a new one begins empty",
            aside.display()
        );
        return Ok(Some(aside));
    }
    Ok(None)
}

pub(super) fn bucket(now: SystemTime) -> i64 {
    nanos_of(now) / 1_000_000_000 / BUCKET_SECONDS
}

/// When nothing of an entry is of use any more, in milliseconds since 1970.
pub(super) fn ends(head: &Head) -> Option<i64> {
    let expires = head.expires?;
    let end = head.stale_until.unwrap_or(expires).max(expires);
    Some(nanos_of(end) / 1_000_000 + 1)
}

fn compressed(payload: &[u8]) -> Option<Vec<u8>> {
    if payload.len() < COMPRESSIBLE {
        return None;
    }
    let smaller = zstd::bulk::compress(payload, 1).ok()?;
    (smaller.len() <= payload.len() / 8 * 7).then_some(smaller)
}

impl Pending {
    pub(super) fn head(&self, len: u64, is_compressed: bool) -> Head {
        let record = &self.record;
        Head {
            digest: record.digest,
            function: record.function.clone(),
            written: record.written.unwrap_or(self.written),
            expires: record.expires,
            stale_until: record.stale_until,
            load_cost: record.load_cost,
            tags: record.tags.clone(),
            codec: record.codec,
            is_failure: record.is_failure,
            is_compressed,
            len,
            stored_bytes: len,
            description: record.description.clone(),
            born: self.born,
        }
    }

    fn row(&self, head: &Head, bytes: Vec<u8>, file: Option<(i64, u64)>) -> Put {
        Put {
            digest: head.digest,
            function: head.function.clone(),
            tags: head.tags.clone(),
            born: head.born,
            is_load: self.record.fence.is_some(),
            replaces: self.record.replaces,
            by: self.by,
            ends: ends(head),
            bucket: bucket(self.written),
            file,
            noted: None,
            bytes,
        }
    }
}
