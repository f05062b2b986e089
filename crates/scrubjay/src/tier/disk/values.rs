//! Value files: payloads too large for the index, one file each, and the scratch files that become them.
//!
//! ```text
//! payload ‖ checksum of each 64 KiB of it ‖ digest (32) ‖ payload length (8) ‖ checksum of all from the table on (8) ‖ magic (8)
//! ```
//! Invariant: a file is whole before its name is in `v/`, and its name is there before its row is in the index. So a
//! row without its file is a miss, and a file without a row is swept. Files are never changed: another value is another
//! file.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use xxhash_rust::xxh3::xxh3_64;

use super::digest::Digest;
use super::directory::Directory;

pub(super) const MAGIC: [u8; 8] = *b"SJvalue1";
const CHUNK: usize = 64 << 10;
/// Files up to this size are read at once.
const AT_ONCE: u64 = 256 << 10;
const FOOTER: usize = 32 + 8 + 8 + 8;
/// A file that no row names is swept after this time: whoever wrote it may still be about to name it.
const ORPHANED: Duration = Duration::from_secs(3600);

/// What the end of a value file says about it.
#[derive(Debug)]
pub(crate) struct Trailer {
    len: u64,
    /// The checksum of each chunk.
    table: Vec<u64>,
}

/// Names a value file.
pub(crate) fn path_of(directory: &Directory, id: i64) -> PathBuf {
    let name = format!("{:016x}", id.cast_unsigned());
    directory.values().join(&name[..2]).join(&name[2..])
}

/// A new number for a value file: no two files of a store have the same, as far as 63 random bits are unique.
pub(crate) fn new_id() -> i64 {
    let random = std::hash::BuildHasher::hash_one(
        &std::hash::RandomState::new(),
        (std::process::id(), SystemTime::now()),
    );
    (random >> 1).cast_signed()
}

/// Writes a payload into a scratch file, for [`adopt`].
pub(crate) fn write(directory: &Directory, payload: &[u8]) -> io::Result<PathBuf> {
    let folder = directory.scratch();
    directory.make(&folder)?;
    let path = folder.join(format!("new-{:016x}", new_id()));
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)?;
    file.write_all(payload).inspect_err(|_| {
        // A file that cannot be removed is swept later.
        let _ = fs::remove_file(&path);
    })?;
    Ok(path)
}

/// Appends the trailer to a file that holds a payload and nothing else, and moves it to its place in `v/`.
pub(crate) fn adopt(
    directory: &Directory,
    path: &Path,
    digest: &Digest,
    sync: bool,
) -> io::Result<Adopted> {
    let mut file = OpenOptions::new().read(true).write(true).open(path)?;
    let (len, table) = sums(&mut file)?;
    let mut trailer: Vec<u8> = table.iter().flat_map(|sum| sum.to_le_bytes()).collect();
    trailer.extend(digest.as_bytes());
    trailer.extend(len.to_le_bytes());
    let sum = xxh3_64(&trailer);
    trailer.extend(sum.to_le_bytes());
    trailer.extend(MAGIC);
    file.write_all(&trailer)?;
    if sync {
        file.sync_data()?;
    }
    let id = new_id();
    let place = path_of(directory, id);
    let parent = place.parent().expect("a value file is in a folder");
    directory.make(parent)?;
    fs::rename(path, &place)?;
    if sync {
        sync_names(directory, parent)?;
    }
    let bytes = len + trailer.len() as u64;
    Ok(Adopted {
        id,
        bytes,
        len,
        sum,
    })
}

/// Has the disk keep the names in a folder of value files, and its own.
pub(crate) fn sync_names(directory: &Directory, folder: &Path) -> io::Result<()> {
    let folders = [folder, &directory.values(), directory.path()];
    folders
        .into_iter()
        .try_for_each(|folder| File::open(folder)?.sync_all())
}

/// The length of a file and the checksum of each chunk of it, read once; leaves it at its end.
fn sums(file: &mut File) -> io::Result<(u64, Vec<u64>)> {
    let (mut len, mut table, mut chunk) = (0, Vec::new(), Vec::with_capacity(CHUNK));
    loop {
        chunk.clear();
        file.take(CHUNK as u64).read_to_end(&mut chunk)?;
        if chunk.is_empty() {
            return Ok((len, table));
        }
        len += chunk.len() as u64;
        table.push(xxh3_64(&chunk));
    }
}

/// The size of the value file of a payload.
pub(crate) fn size_of_file(len: u64) -> u64 {
    let table = len.div_ceil(CHUNK as u64) * 8;
    len.saturating_add(table + FOOTER as u64)
}

/// A value file that has its name.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Adopted {
    pub(crate) id: i64,
    pub(crate) bytes: u64,
    pub(crate) len: u64,
    pub(crate) sum: u64,
}

fn damaged(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// A value file that is the one that its entry tells of.
#[derive(Debug)]
pub(crate) enum Opened {
    /// All of it was read and compared.
    Whole(Vec<u8>),
    Large(File, Trailer),
}

/// Opens the value file of an entry, and reads its trailer and, of a small one, its payload.
pub(crate) fn open(path: &Path, digest: &Digest, len: u64, sum: u64) -> io::Result<Opened> {
    let file = File::open(path)?;
    let is_small = size_of_file(len) <= AT_ONCE;
    let from = if is_small { 0 } else { len };
    let mut bytes = read_end(&file, from, len)?;
    let payload = usize::try_from(len - from).map_err(|_| damaged("a value file is too large"))?;
    let table = table_of(&bytes[payload..], digest, len, sum);
    let table = table.ok_or_else(|| damaged("a value file is damaged or another entry's"))?;
    if !is_small {
        return Ok(Opened::Large(file, Trailer { len, table }));
    }
    bytes.truncate(payload);
    let mut chunks = bytes.chunks(CHUNK).zip(&table);
    if !chunks.all(|(chunk, sum)| xxh3_64(chunk) == *sum) {
        return Err(damaged("the checksum of a value file is wrong"));
    }
    Ok(Opened::Whole(bytes))
}

/// Reads the value file of a payload of `len` bytes from some byte on, if it has the size for that.
fn read_end(file: &File, from: u64, len: u64) -> io::Result<Vec<u8>> {
    let wrong = || damaged("a value file has not the size that its entry says");
    let size = size_of_file(len);
    // Nothing large is allocated for what is not there, and a small file is not asked for its size.
    if size > AT_ONCE && file.metadata()?.len() != size {
        return Err(wrong());
    }
    let length = usize::try_from(size - from).map_err(|_| damaged("a value file is too large"))?;
    // With room for one byte that should not be there.
    let mut bytes = vec![0; length + 1];
    let mut read = 0;
    while read < length {
        match file.read_at(&mut bytes[read..], from + read as u64) {
            Ok(0) => break,
            Ok(more) => read += more,
            Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
            Err(cause) => return Err(cause),
        }
    }
    if read != length {
        return Err(wrong());
    }
    bytes.truncate(length);
    Ok(bytes)
}

/// The checksums in a trailer, if it is the one that an entry tells of.
fn table_of(trailer: &[u8], digest: &Digest, len: u64, sum: u64) -> Option<Vec<u64>> {
    let (table, footer) = trailer.split_at_checked(trailer.len().checked_sub(FOOTER)?)?;
    let is_ours = footer[..32] == *digest.as_bytes()
        && footer[32..40] == len.to_le_bytes()
        && footer[40..48] == sum.to_le_bytes()
        && footer[48..] == MAGIC
        && xxh3_64(&trailer[..table.len() + 40]) == sum;
    let table = table.as_chunks::<8>().0.iter();
    is_ours.then(|| table.map(|sum| u64::from_le_bytes(*sum)).collect())
}

/// Reads a value file, chunk by chunk, each compared with its checksum before any of it is handed out.
pub(crate) struct Checked {
    file: File,
    trailer: Trailer,
    next: usize,
    chunk: Vec<u8>,
    given: usize,
}

impl Checked {
    pub(crate) fn new(file: File, trailer: Trailer) -> Self {
        Self {
            file,
            trailer,
            next: 0,
            chunk: Vec::new(),
            given: 0,
        }
    }

    fn read_chunk(&mut self) -> io::Result<()> {
        let begin = self.next as u64 * CHUNK as u64;
        let length = (self.trailer.len - begin).min(CHUNK as u64);
        self.chunk
            .resize(usize::try_from(length).unwrap_or(CHUNK), 0);
        self.given = self.chunk.len();
        self.file.read_exact_at(&mut self.chunk, begin)?;
        if xxh3_64(&self.chunk) != self.trailer.table[self.next] {
            return Err(damaged("the checksum of a value file is wrong"));
        }
        self.given = 0;
        self.next += 1;
        Ok(())
    }
}

impl Read for Checked {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.given == self.chunk.len() {
            if self.next == self.trailer.table.len() {
                return Ok(0);
            }
            self.read_chunk()?;
        }
        let left = &self.chunk[self.given..];
        let count = left.len().min(out.len());
        out[..count].copy_from_slice(&left[..count]);
        self.given += count;
        Ok(count)
    }
}

/// Removes scratch and value files that nobody will name any more: `is_named` asks the index, and `is_led` whether
/// somebody still writes the scratch file of a digest, which is named `live-` and the digest. Locked files stay too.
pub(crate) fn sweep(
    directory: &Directory,
    mut is_named: impl FnMut(i64) -> bool,
    is_led: impl Fn(&Digest) -> bool,
) {
    let is_old = |entry: &fs::DirEntry| {
        let modified = entry.metadata().and_then(|metadata| metadata.modified());
        let age = modified.map(|modified| modified.elapsed().unwrap_or_default());
        age.is_ok_and(|age| age > ORPHANED)
    };
    for entry in list(&directory.scratch()).filter(is_old) {
        let name = entry.file_name();
        let live = name.to_str().and_then(|name| name.strip_prefix("live-"));
        let digest = live.and_then(|digits| digits.parse().ok());
        let is_led = digest.is_some_and(|digest| is_led(&digest));
        if !is_led && !is_locked(&entry.path()) {
            let _ = fs::remove_file(entry.path());
        }
    }
    for folder in list(&directory.values()) {
        for entry in list(&folder.path()).filter(is_old) {
            if id_of(&folder, &entry).is_some_and(|id| !is_named(id)) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}

/// Whether somebody has a lock on a file, and so is still there.
fn is_locked(path: &Path) -> bool {
    let tried = File::open(path).map(|file| file.try_lock_shared());
    matches!(tried, Ok(Err(fs::TryLockError::WouldBlock)))
}

/// The number in the name of a file; `None` for a foreign one, which is left alone.
fn id_of(folder: &fs::DirEntry, file: &fs::DirEntry) -> Option<i64> {
    let (head, tail) = (folder.file_name(), file.file_name());
    let digits = format!("{}{}", head.to_str()?, tail.to_str()?);
    (digits.len() == 16).then_some(())?;
    Some(u64::from_str_radix(&digits, 16).ok()?.cast_signed())
}

fn list(path: &Path) -> impl Iterator<Item = fs::DirEntry> {
    fs::read_dir(path).into_iter().flatten().flatten()
}
