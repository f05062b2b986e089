//! The store as its users see it: lookups, writes, invalidations, leads.
//!
//! Every method enters the gate that forks wait at, and leaves it before any code of the user's runs.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant, SystemTime};

use super::digest::Digest;
use super::flight::{self, Lead};
use super::fork;
use super::format;
use super::index::{AT_ONCE, FunctionStats, Index, News, Op, Row, Speaker, Target};
use super::lookup::find;
use super::options::{Options, StoreBuilder};
use super::queue::{Pending, Write};
use super::record::{Fence, Head, NewRecord, Record};
use super::shared::{Shared, count};
use super::usage::{Event, Usage};
use super::values;
use super::verify::{self, Progress, Report};
use super::watch::Watch;
use super::{LARGEST, error};
use crate::error::{Error, ErrorKind};

/// One folder that many threads and processes share. Clones are one store.
///
/// Whatever fails inside is counted in [`stats`](Self::stats); a lookup that fails is a miss. Opening an existing store
/// writes nothing, unless something was left undone, and starts no thread; the first queued `put` starts one that
/// writes. After `fork`, the child opens the folder anew by itself at its first call.
///
/// # Example
///
/// ```
/// use scrubjay::disk::{Function, KeyEncoder, NewRecord, Store};
///
/// let dir = std::env::temp_dir().join(format!("scrubjay-store-{}", std::process::id()));
/// let store = Store::open(&dir)?;
/// let digest = KeyEncoder::new("example").str("ann").finish();
/// store.put(NewRecord::new(digest, Function::new("user", "version 1")), b"Ann")?;
/// assert_eq!(store.get(&digest).unwrap().payload.into_bytes()?, b"Ann");
/// assert_eq!(store.invalidate(&digest)?, 1);
/// assert!(store.get(&digest).is_none());
/// # drop(store); std::fs::remove_dir_all(dir).unwrap();
/// # Ok::<(), scrubjay::Error>(())
/// ```
#[derive(Clone)]
pub struct Store {
    shared: Arc<Shared>,
    /// What is said through this handle and its clones is no news to their own watches.
    speaker: Speaker,
}

/// What this handle queued is written when it goes, so that whoever opens the folder next reads it: the store itself
/// may outlive its last handle, while its thread is in the middle of a batch.
impl Drop for Store {
    fn drop(&mut self) {
        self.shared.settle();
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store")
            .field("dir", &self.shared.directory.path())
            .finish_non_exhaustive()
    }
}

/// What a store holds and what this process did with it. Counters are this process's, sizes the folder's.
///
/// # Example
///
/// See [`StoreBuilder`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreStats {
    /// Entries, expired ones included until they are swept.
    pub entries: u64,
    /// Bytes in use, value files included.
    pub used_bytes: u64,
    /// Bytes of the log of the index.
    pub log_bytes: u64,
    /// The most that the folder may take.
    pub capacity_bytes: u64,
    /// What each function has, the largest first.
    pub functions: Vec<FunctionStats>,
    /// What was asked of each function by all processes since the folder was made, as far as it was
    /// [counted](Store::count); those that saved most first.
    pub usage: Vec<Usage>,
    /// Lookups that found a record.
    pub hits: u64,
    /// Lookups that found none.
    pub misses: u64,
    /// Entries committed.
    pub written: u64,
    /// Entries that were not stored because the queue was full.
    pub dropped: u64,
    /// Failures: of reading, of writing, of decoding.
    pub failures: u64,
}

/// The open stores of this process, by folder.
static OPEN: Mutex<Option<HashMap<PathBuf, Weak<Shared>>>> = Mutex::new(None);

impl Store {
    /// Opens a folder with the default options, and makes it if it is not there.
    ///
    /// # Errors
    ///
    /// As [`StoreBuilder::open`].
    ///
    /// See [`Store`] for an example.
    pub fn open(dir: impl AsRef<Path>) -> Result<Self, Error> {
        Self::builder().open(dir)
    }

    /// Starts to open a folder with options.
    ///
    /// See [`StoreBuilder`] for an example.
    pub fn builder() -> StoreBuilder {
        StoreBuilder::default()
    }

    fn of(shared: Arc<Shared>) -> Self {
        let speaker = Speaker::new();
        Self { shared, speaker }
    }

    /// Another handle of the same store, to which what is said through this one is news.
    pub(super) fn apart(&self) -> Self {
        Self::of(self.shared.clone())
    }

    pub(super) fn open_with(dir: &Path, options: &Options) -> Result<Self, Error> {
        let _inside = fork::enter();
        let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        let open = open.get_or_insert_default();
        open.retain(|_, shared| shared.strong_count() > 0);
        let known = dir
            .canonicalize()
            .ok()
            .and_then(|path| open.get(&path)?.upgrade())
            // Its folder may have been deleted and made anew, while somebody still holds it.
            .filter(|shared| shared.is_current());
        if let Some(shared) = known {
            return Ok(Self::of(shared));
        }
        let shared = Shared::open(dir, options)?;
        // Under the path that was asked for: the store may be in a folder inside it.
        let path = dir.canonicalize();
        let path = path.unwrap_or_else(|_| shared.directory.path().to_owned());
        open.insert(path, Arc::downgrade(&shared));
        Ok(Self::of(shared))
    }

    /// Returns the folder, without symbolic links.
    ///
    /// ```
    /// # let dir = std::env::temp_dir().join(format!("scrubjay-dir-{}", std::process::id()));
    /// let store = scrubjay::disk::Store::open(&dir)?;
    /// assert_eq!(store.dir(), dir.canonicalize().unwrap());
    /// # drop(store); std::fs::remove_dir_all(dir).unwrap();
    /// # Ok::<(), scrubjay::Error>(())
    /// ```
    #[must_use]
    pub fn dir(&self) -> PathBuf {
        self.shared.directory.path().to_owned()
    }

    /// Runs something inside the store that is current in this process.
    pub(super) fn inside<R>(
        &self,
        work: impl FnOnce(&Shared) -> Result<R, Error>,
    ) -> Result<R, Error> {
        let _inside = fork::enter();
        let shared = self.shared.current()?;
        work(shared).inspect_err(|error| shared.failed(error))
    }

    fn with_shared(&self) -> Result<Arc<Shared>, Error> {
        self.inside(|shared| Ok(shared.handle()))
    }

    /// Finds an entry. A damaged one, one in a format that is not known, and a failing disk are misses that are
    /// counted.
    ///
    /// The record may be expired: [`Head::is_fresh`] says. Costs one lookup in the index, and opening a file for
    /// payloads of [`LARGE`](super::LARGE) bytes and more.
    ///
    /// See [`Store`] for an example.
    #[must_use]
    pub fn get(&self, digest: &Digest) -> Option<Record> {
        let found = self.inside(|shared| {
            let found = find(shared, digest)?;
            let counter = match found {
                Some(_) => &shared.counters.hits,
                None => &shared.counters.misses,
            };
            count(counter, 1);
            Ok(found)
        });
        found.ok().flatten()
    }

    /// Notes the point in the store's history at which a load begins.
    ///
    /// See [`Fence`] for an example.
    #[must_use]
    pub fn fence(&self) -> Fence {
        let fence = self.inside(|shared| Ok(shared.fence_at(shared.last().number)));
        // Of no index, so that whatever was said is taken to have come later.
        fence.unwrap_or(Fence {
            number: 0,
            index: 0,
        })
    }

    /// Stores an entry in the place of any other of its digest.
    ///
    /// It can be found by this process when this returned, and with
    /// [`write_through`](super::StoreBuilder::write_through) by every other one, even if this one is killed. Else it is
    /// committed within about 5 ms, or when [`flush`](Self::flush) returned.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Option`] for a payload over [`LARGEST`](super::LARGEST) bytes, and [`ErrorKind::Io`] if the queue
    /// is full or, with `write_through`, if the commit failed. Then the entry is not stored.
    ///
    /// See [`Store`] for an example.
    pub fn put(&self, record: NewRecord, payload: &[u8]) -> Result<(), Error> {
        if payload.len() as u64 > LARGEST {
            let message = "disk tier: a value is larger than 64 MiB; use `put_file`";
            return Err(Error::new(ErrorKind::Option, message));
        }
        self.put_bytes(record, payload.to_vec())
    }

    pub(crate) fn put_bytes(&self, record: NewRecord, payload: Vec<u8>) -> Result<(), Error> {
        self.inside(|shared| {
            let entry = self.pending(shared, record, payload);
            if shared.options.write_through {
                return shared.write_through(entry);
            }
            shared.ensure_thread();
            let (_, is_full) = shared.queue.push(Write::Entry(Arc::new(entry)));
            if is_full {
                // The disk is slower than what is written to it: this caller helps, and waits meanwhile.
                shared.drain(&[])?;
            }
            Ok(())
        })
    }

    fn pending(&self, shared: &Shared, record: NewRecord, payload: Vec<u8>) -> Pending {
        let born = match record.fence {
            Some(fence) => shared.number_of(fence),
            None => shared.last().number,
        };
        Pending {
            record,
            by: self.speaker,
            payload: Arc::new(payload),
            born,
            written: SystemTime::now(),
            row: None,
        }
    }

    /// Stores the content of a file under [`scratch`](Self::scratch), which is moved, not copied. Committed when this
    /// returns.
    ///
    /// The file is read once, for its checksums; whoever has it open may go on reading it, with some bytes appended
    /// that are not the value's.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Io`] if the file cannot be read or moved, or the commit failed.
    ///
    /// ```
    /// # use scrubjay::disk::{Function, KeyEncoder, NewRecord, Store};
    /// # let dir = std::env::temp_dir().join(format!("scrubjay-put-file-{}", std::process::id()));
    /// # let store = Store::open(&dir)?;
    /// # let digest = KeyEncoder::new("example").u64(1).finish();
    /// let path = store.scratch()?.join("live");
    /// std::fs::write(&path, b"a large value")?;
    /// store.put_file(NewRecord::new(digest, Function::new("f", "")), &path)?;
    /// assert_eq!(store.get(&digest).unwrap().payload.into_bytes()?, b"a large value");
    /// # drop(store); std::fs::remove_dir_all(dir).unwrap();
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn put_file(&self, record: NewRecord, path: impl AsRef<Path>) -> Result<(), Error> {
        self.inside(|shared| {
            let entry = self.pending(shared, record, Vec::new());
            let put = shared.adopt(&entry, path.as_ref())?;
            shared
                .drain(&[Write::Op(Op::Put(Box::new(put)))])
                .map(|_| ())
        })
    }

    /// Returns a folder for files that are being written, on the file system of the store. Files older than an hour may
    /// be swept, but not one named `live-` and a digest while that digest is led, nor one that is locked.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Io`] if the folder cannot be made.
    ///
    /// See [`put_file`](Self::put_file) for an example.
    pub fn scratch(&self) -> Result<PathBuf, Error> {
        self.inside(|shared| {
            let path = shared.directory.scratch();
            let made = shared.directory.make(&path);
            made.map_err(|cause| error::folder(&path, cause))?;
            Ok(path)
        })
    }

    /// Commits all that was queued before, within `deadline`. With [`Durability::Flush`](super::Durability::Flush) it
    /// survives a power loss then, too; a flush of the disk that has begun is waited for.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Io`] if a batch failed since the last call, or if the time is over: then what is queued is
    /// committed later.
    ///
    /// See [`Fence`] for an example.
    pub fn flush(&self, deadline: Duration) -> Result<(), Error> {
        let deadline = Instant::now().checked_add(deadline);
        let shared = self.with_shared()?;
        if let Some(number) = shared.queue.unfinished() {
            // No gate is held while this waits: the thread may have to enter it behind a fork.
            let in_time = match deadline {
                Some(deadline) if shared.has_thread() => {
                    shared.queue.wait_for(number, Some(deadline))
                }
                _ => self.inside(|shared| shared.drain(&[]).map(|_| true))?,
            };
            if !in_time {
                let message = "disk tier: not all that was queued could be committed in time";
                return Err(Error::new(ErrorKind::Io, message));
            }
        }
        self.inside(|shared| {
            shared.flush_disk()?;
            shared.queue.take_failure()
        })
    }

    /// Tries to become the leader of a key among all threads and processes; `None` if somebody else is. Never waits.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Io`] if the lock cannot be asked for; then nobody is kept from loading.
    ///
    /// See [`Lead`] for an example.
    pub fn try_lead(&self, digest: &Digest) -> Result<Option<Lead>, Error> {
        self.inside(|shared| {
            let lead = flight::try_lead(&shared.directory, digest);
            lead.map_err(|cause| error::folder(shared.directory.path(), cause))
        })
    }

    /// Says whether somebody leads a key, without taking the lead even for a moment.
    ///
    /// # Errors
    ///
    /// As [`try_lead`](Self::try_lead).
    ///
    /// ```
    /// # let dir = std::env::temp_dir().join(format!("scrubjay-is-led-{}", std::process::id()));
    /// # let store = scrubjay::disk::Store::open(&dir)?;
    /// # let digest = scrubjay::disk::KeyEncoder::new("example").u64(1).finish();
    /// let lead = store.try_lead(&digest)?;
    /// assert!(store.is_led(&digest)?);
    /// drop(lead);
    /// assert!(!store.is_led(&digest)?);
    /// # drop(store); std::fs::remove_dir_all(dir).unwrap();
    /// # Ok::<(), scrubjay::Error>(())
    /// ```
    pub fn is_led(&self, digest: &Digest) -> Result<bool, Error> {
        self.inside(|shared| {
            let led = flight::is_led(&shared.directory, digest);
            led.map_err(|cause| error::folder(shared.directory.path(), cause))
        })
    }

    /// Becomes the leader of a key, or waits until there is an entry that `suffices`: then `Ok(None)`, and the caller
    /// asks for it. Waits at most until `deadline`; then, too, the caller may load, and is not the leader.
    ///
    /// The store is asked again after 0.2 to 10 ms, so a leader that dies is succeeded within some 10 ms.
    ///
    /// # Errors
    ///
    /// As [`try_lead`](Self::try_lead).
    ///
    /// ```
    /// # let dir = std::env::temp_dir().join(format!("scrubjay-wait-{}", std::process::id()));
    /// # let store = scrubjay::disk::Store::open(&dir)?;
    /// # let digest = scrubjay::disk::KeyEncoder::new("example").u64(1).finish();
    /// let lead = store.lead_or_wait(&digest, None, |_| true)?;
    /// assert!(lead.is_some(), "nobody else loads it");
    /// # drop(lead); drop(store); std::fs::remove_dir_all(dir).unwrap();
    /// # Ok::<(), scrubjay::Error>(())
    /// ```
    pub fn lead_or_wait(
        &self,
        digest: &Digest,
        deadline: Option<Instant>,
        suffices: impl Fn(&Head) -> bool,
    ) -> Result<Option<Lead>, Error> {
        let mut tries = 0;
        loop {
            if let Some(lead) = self.try_lead(digest)? {
                return Ok(Some(lead));
            }
            let is_over = deadline.is_some_and(|deadline| Instant::now() >= deadline);
            if is_over
                || self
                    .get(digest)
                    .is_some_and(|record| suffices(&record.head))
            {
                return Ok(None);
            }
            std::thread::sleep(flight::pause(tries));
            tries += 1;
        }
    }

    /// Discards a key's entry; returns how many went. A load of it that is under way is not stored.
    ///
    /// When this returned, every process sees it, and it survives a power loss. On a full disk without room for it,
    /// everything is discarded instead.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Io`] if the commit failed: then nothing was discarded.
    ///
    /// See [`Store`] for an example.
    pub fn invalidate(&self, digest: &Digest) -> Result<u64, Error> {
        self.invalidate_target(Target::Key(*digest))
    }

    /// Discards every entry that carries a tag; returns how many went. As [`invalidate`](Self::invalidate). Costs time
    /// in proportion to those; others can write meanwhile.
    ///
    /// # Errors
    ///
    /// As [`invalidate`](Self::invalidate).
    ///
    /// ```
    /// # use scrubjay::disk::{Function, KeyEncoder, NewRecord, Store};
    /// # let dir = std::env::temp_dir().join(format!("scrubjay-tag-{}", std::process::id()));
    /// # let store = Store::open(&dir)?;
    /// # let digest = KeyEncoder::new("example").u64(1).finish();
    /// store.put(NewRecord::new(digest, Function::new("f", "")).tag("team:7"), b"value")?;
    /// assert_eq!(store.invalidate_tag("team:7")?, 1);
    /// # drop(store); std::fs::remove_dir_all(dir).unwrap();
    /// # Ok::<(), scrubjay::Error>(())
    /// ```
    pub fn invalidate_tag(&self, tag: &str) -> Result<u64, Error> {
        self.invalidate_target(Target::Tag(tag.to_owned()))
    }

    /// Discards every entry of the functions of this name, whatever their code. As
    /// [`invalidate_tag`](Self::invalidate_tag).
    ///
    /// # Errors
    ///
    /// As [`invalidate`](Self::invalidate).
    ///
    /// ```
    /// # let dir = std::env::temp_dir().join(format!("scrubjay-function-{}", std::process::id()));
    /// # let store = scrubjay::disk::Store::open(&dir)?;
    /// assert_eq!(store.invalidate_function("app::pages")?, 0);
    /// # drop(store); std::fs::remove_dir_all(dir).unwrap();
    /// # Ok::<(), scrubjay::Error>(())
    /// ```
    pub fn invalidate_function(&self, name: &str) -> Result<u64, Error> {
        self.invalidate_target(Target::Function(name.to_owned()))
    }

    /// Discards everything; returns how many entries went. As [`invalidate_tag`](Self::invalidate_tag).
    ///
    /// # Errors
    ///
    /// As [`invalidate`](Self::invalidate).
    ///
    /// ```
    /// # let dir = std::env::temp_dir().join(format!("scrubjay-clear-{}", std::process::id()));
    /// # let store = scrubjay::disk::Store::open(&dir)?;
    /// assert_eq!(store.clear()?, 0);
    /// # drop(store); std::fs::remove_dir_all(dir).unwrap();
    /// # Ok::<(), scrubjay::Error>(())
    /// ```
    pub fn clear(&self) -> Result<u64, Error> {
        self.invalidate_target(Target::All)
    }

    /// Discards every entry that `matches`; returns how many went. No load that is under way is stored, because what it
    /// brings cannot be asked yet. It looks at every entry.
    ///
    /// # Errors
    ///
    /// As [`invalidate`](Self::invalidate).
    ///
    /// ```
    /// # let dir = std::env::temp_dir().join(format!("scrubjay-if-{}", std::process::id()));
    /// # let store = scrubjay::disk::Store::open(&dir)?;
    /// assert_eq!(store.invalidate_if(|head| head.len > 1_000_000)?, 0);
    /// # drop(store); std::fs::remove_dir_all(dir).unwrap();
    /// # Ok::<(), scrubjay::Error>(())
    /// ```
    pub fn invalidate_if(&self, mut matches: impl FnMut(&Head) -> bool) -> Result<u64, Error> {
        // What was queued and cannot be committed is not there.
        self.inside(|shared| shared.drain(&[]))?;
        self.invalidate_target(Target::Loads)?;
        let mut concerned = Vec::new();
        for head in self.iter() {
            let head = head?;
            if matches(&head) {
                concerned.push(head.digest);
            }
        }
        self.invalidate_keys(&concerned)
    }

    /// Discards the entries of these keys; returns how many went. As [`invalidate`](Self::invalidate) of each, with one
    /// commit for hundreds.
    ///
    /// # Errors
    ///
    /// As [`invalidate`](Self::invalidate); some of them may be discarded then.
    ///
    /// ```
    /// # let dir = std::env::temp_dir().join(format!("scrubjay-keys-{}", std::process::id()));
    /// # let store = scrubjay::disk::Store::open(&dir)?;
    /// let old: Vec<_> = store.iter().map(|head| Ok(head?.digest)).collect::<Result<_, scrubjay::Error>>()?;
    /// assert_eq!(store.invalidate_keys(&old)?, 0);
    /// # drop(store); std::fs::remove_dir_all(dir).unwrap();
    /// # Ok::<(), scrubjay::Error>(())
    /// ```
    pub fn invalidate_keys(&self, keys: &[Digest]) -> Result<u64, Error> {
        let mut count = 0;
        for some in keys.chunks(AT_ONCE) {
            let ops = some
                .iter()
                .map(|digest| Op::Invalidate(Target::Key(*digest), self.speaker));
            let ops: Vec<Write> = ops.map(Write::Op).collect();
            match self.inside(|shared| Ok(shared.drain(&ops)?.invalidated)) {
                Err(full) if error::is_full(&full) => {
                    return Ok(count + self.clear_at_once()?);
                }
                gone => count += gone?,
            }
        }
        Ok(count)
    }

    /// Writes an invalidation down, and then removes what it is about, some at a time so that others can write between.
    fn invalidate_target(&self, target: Target) -> Result<u64, Error> {
        let apply = |op| self.inside(|shared| shared.drain(&[Write::Op(op)]));
        let first = match apply(Op::Invalidate(target.clone(), self.speaker)) {
            Err(full) if error::is_full(&full) => return self.clear_at_once(),
            first => first?,
        };
        let (before, mut count) = (first.last.invalidation, first.invalidated);
        let is_done = match target {
            Target::Key(_) | Target::Loads => true,
            Target::Tag(_) => count < AT_ONCE as u64,
            Target::Function(_) | Target::All => false,
        };
        if is_done {
            return Ok(count);
        }
        let mut after = i64::MIN;
        loop {
            let ids = self.inside(|shared| shared.index.concerned(&target, before, after))?;
            let Some(last) = ids.last() else {
                return Ok(count);
            };
            after = *last;
            match apply(Op::Remove { ids, before }) {
                Err(full) if error::is_full(&full) => {
                    return Ok(count + self.clear_at_once()?);
                }
                removed => count += removed?.invalidated,
            }
        }
    }

    /// Discards everything, which a full disk has room for when it has none for what was asked.
    fn clear_at_once(&self) -> Result<u64, Error> {
        self.inside(|shared| {
            Ok(shared
                .drain(&[Write::Op(Op::Clear(self.speaker))])?
                .invalidated)
        })
    }

    /// Goes through the heads of all entries, in the order in which their digests first came. What is queued is
    /// committed before; entries that come or go meanwhile may or may not be seen; damaged ones are left out. If the
    /// index cannot be read any further, the last item is the error that says so.
    ///
    /// ```
    /// # use scrubjay::disk::{Function, KeyEncoder, NewRecord, Store};
    /// # let dir = std::env::temp_dir().join(format!("scrubjay-iter-{}", std::process::id()));
    /// # let store = Store::open(&dir)?;
    /// for n in 0..3 {
    ///     let digest = KeyEncoder::new("example").u64(n).finish();
    ///     store.put(NewRecord::new(digest, Function::new("f", "")).description(n.to_string()), b"")?;
    /// }
    /// let shown: Vec<_> = store.iter().map(|head| Ok(head?.description)).collect::<Result<_, scrubjay::Error>>()?;
    /// assert_eq!(shown, [b"0", b"1", b"2"]);
    /// # drop(store); std::fs::remove_dir_all(dir).unwrap();
    /// # Ok::<(), scrubjay::Error>(())
    /// ```
    #[must_use]
    pub fn iter(&self) -> Heads {
        // What cannot be committed was counted, and is not there.
        let _ = self.flush(Duration::MAX);
        self.rows()
    }

    pub(super) fn rows(&self) -> Heads {
        Heads {
            store: self.clone(),
            after: i64::MIN,
            rows: Vec::new().into_iter(),
            has_failed: false,
        }
    }

    /// Returns what the store holds. Looks at every entry for its function.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Io`] or [`ErrorKind::Corrupt`] if the index cannot be asked.
    ///
    /// See [`StoreBuilder`] for an example.
    pub fn stats(&self) -> Result<StoreStats, Error> {
        self.flush(Duration::MAX).ok();
        self.inside(|shared| {
            // Relaxed: each counter only grows, and they are not one moment.
            let counter = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
            let log = std::fs::metadata(shared.directory.log());
            let counters = &shared.counters;
            Ok(StoreStats {
                entries: shared.index.len()?,
                used_bytes: shared.index.used()?,
                log_bytes: log.map_or(0, |log| log.len()),
                capacity_bytes: shared.options.capacity_bytes,
                functions: shared.index.functions()?,
                usage: shared.usage.read(),
                hits: counter(&counters.hits),
                misses: counter(&counters.misses),
                written: counter(&counters.written),
                dropped: counter(&counters.dropped),
                failures: counter(&counters.failures),
            })
        })
    }

    /// Counts what a caller got, for the statistics of a function. Caches that have this store below them count by
    /// themselves.
    ///
    /// Costs the lock of a table in memory; at most once a second, and when a handle of the store goes, the counts are
    /// added to a file in the folder. What a process counted in its last second is lost if it is killed.
    ///
    /// ```
    /// # use scrubjay::disk::{Event, Store};
    /// # use std::time::Duration;
    /// # let dir = std::env::temp_dir().join(format!("scrubjay-count-{}", std::process::id()));
    /// let store = Store::open(&dir)?;
    /// store.count("report", Event::Load(Duration::from_secs(3)));
    /// store.count("report", Event::Hit(Duration::from_secs(3)));
    /// let usage = &store.stats()?.usage[0];
    /// assert_eq!((usage.function.as_str(), usage.hits, usage.loads), ("report", 1, 1));
    /// assert_eq!(usage.time_saved, Duration::from_secs(3));
    /// # drop(store); std::fs::remove_dir_all(dir).unwrap();
    /// # Ok::<(), scrubjay::Error>(())
    /// ```
    pub fn count(&self, function: &str, event: Event) {
        let _ = self.inside(|shared| {
            shared.usage.count(function, event);
            Ok(())
        });
    }

    /// Compares every byte of every entry with its checksum, and has the index check itself. Changes nothing.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Io`] or [`ErrorKind::Corrupt`] if the index cannot be read at all.
    ///
    /// ```
    /// # use scrubjay::disk::{Function, KeyEncoder, NewRecord, Store};
    /// # let dir = std::env::temp_dir().join(format!("scrubjay-verify-{}", std::process::id()));
    /// # let store = Store::open(&dir)?;
    /// # let digest = KeyEncoder::new("example").u64(1).finish();
    /// store.put(NewRecord::new(digest, Function::new("f", "")), b"value")?;
    /// store.flush(std::time::Duration::from_secs(5))?;
    /// let report = store.verify(|progress| assert!(progress.done <= progress.total))?;
    /// assert!(report.is_sound() && report.entries == 1);
    /// # drop(store); std::fs::remove_dir_all(dir).unwrap();
    /// # Ok::<(), scrubjay::Error>(())
    /// ```
    pub fn verify(&self, progress: impl FnMut(Progress)) -> Result<Report, Error> {
        verify::verify(self, progress)
    }

    /// Removes files that nobody names, left by processes that died. Looks at every file.
    ///
    /// # Errors
    ///
    /// None that matter: what cannot be removed stays until the next time.
    ///
    /// ```
    /// # let dir = std::env::temp_dir().join(format!("scrubjay-sweep-{}", std::process::id()));
    /// # let store = scrubjay::disk::Store::open(&dir)?;
    /// store.sweep()?;
    /// # drop(store); std::fs::remove_dir_all(dir).unwrap();
    /// # Ok::<(), scrubjay::Error>(())
    /// ```
    pub fn sweep(&self) -> Result<(), Error> {
        self.inside(|shared| {
            let is_named = |id| shared.index.names_file(id).unwrap_or(true);
            let is_led =
                |digest: &Digest| flight::is_led(&shared.directory, digest).unwrap_or(true);
            values::sweep(&shared.directory, is_named, is_led);
            Ok(())
        })
    }

    /// Starts to hear of what others invalidate, from a point in the store's history on: take it before the first
    /// entry is read.
    ///
    /// See [`Watch`] for an example.
    #[must_use]
    pub fn watch(&self, since: Fence) -> Watch {
        Watch::new(self.clone(), since)
    }

    /// What every process reads to see that something changed; `None` if the index has to be asked.
    pub(crate) fn token(&self) -> Option<u64> {
        let token = self.inside(|shared| Ok(shared.generation.read().map(|seen| seen.token)));
        token.ok().flatten()
    }

    /// What other stores said after a point in the store's history, and the point up to which that goes.
    pub(crate) fn news(&self, after: Fence) -> Result<(News, Fence), Error> {
        self.inside(|shared| {
            let mut news = shared.index.news(after.number, self.speaker)?;
            news.has_gap |= !shared.is_of_this_index(after);
            let at = shared.fence_at(news.last);
            Ok((news, at))
        })
    }

    /// Counts a failure of whoever uses the store, such as a value that cannot be decoded.
    pub(crate) fn note_failure(&self, error: &Error) {
        let _ = self.inside(|shared| {
            shared.failed(error);
            Ok(())
        });
    }
}

/// An iterator over the heads of a store; made by [`Store::iter`]. It ends with an error if the index cannot be read.
#[derive(Debug)]
pub struct Heads {
    store: Store,
    after: i64,
    rows: std::vec::IntoIter<Row>,
    has_failed: bool,
}

impl Heads {
    pub(super) fn next_row(&mut self) -> Result<Option<Row>, Error> {
        if self.rows.as_slice().is_empty() {
            let rows = self
                .store
                .inside(|shared| shared.index.rows(self.after, 128))?;
            self.rows = rows.into_iter();
        }
        let row = self.rows.next();
        if let Some(row) = &row {
            self.after = row.id;
        }
        Ok(row)
    }
}

impl Iterator for Heads {
    type Item = Result<Head, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.has_failed {
            return None;
        }
        loop {
            match self.next_row() {
                Ok(row) => {
                    let row = row?;
                    if let Ok(parsed) = format::decode(&row.digest, &row.function, &row.bytes) {
                        return Some(Ok(parsed.head));
                    }
                }
                Err(error) => {
                    self.has_failed = true;
                    return Some(Err(error));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;
    use crate::tier::disk::index::Sqlite;

    #[test]
    fn what_waits_is_not_found_past_an_invalidation_although_a_late_writer_set_the_page_back() {
        let path = std::env::temp_dir().join(format!("scrubjay-late-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        let store = Store::open(&path).unwrap();
        let shared = &store.shared;
        let other = Sqlite::open(&shared.directory, &Options::default(), 1 << 32).unwrap();
        let late = shared.last();
        let digest = crate::disk::KeyEncoder::new("test").finish();
        let record = NewRecord::new(digest, crate::disk::Function::new("f", ""));
        let entry = store.pending(shared, record.fence(store.fence()), b"v".to_vec());
        shared.queue.push(Write::Entry(Arc::new(entry)));
        assert!(store.get(&digest).is_some());
        let said = Op::Invalidate(Target::Key(digest), Speaker::default());
        let said = other.apply(&[said], true).unwrap();
        shared.generation.announce(said.last).unwrap();
        shared.generation.announce(late).unwrap();
        assert!(store.get(&digest).is_none());
        drop((other, store));
        std::fs::remove_dir_all(path).unwrap();
    }
}
