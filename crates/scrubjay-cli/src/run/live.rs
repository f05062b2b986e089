//! The live file of a run: its frames while the command runs, where everybody who waits for it can read them.
//!
//! It is named by the key's digest and lies in the store's scratch directory. Only who leads the key's flight creates
//! it, under a new inode, so whoever has the file of a leader that died still has it as it was.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use scrubjay::disk::{Digest, Store};
use serde::{Deserialize, Serialize};

use super::frames::{Frame, FrameReader, FrameWriter, LONGEST};
use super::process::Process;

const PREFIX: &str = "live-";

/// The first frame: who runs what, since when.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Start {
    pub pid: u32,
    /// Milliseconds since 1970.
    pub since: u64,
    pub function: String,
    pub command: Vec<String>,
    /// Who leads, where that can be told.
    #[serde(default)]
    pub leader: Option<Process>,
}

/// The second frame, where that can be told: which process runs the command.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Started {
    pub child: Process,
}

impl Start {
    pub fn now(function: &str, command: &[String]) -> Self {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Self {
            pid: std::process::id(),
            since: since.as_millis() as u64,
            function: function.to_owned(),
            command: command.to_vec(),
            leader: Process::this(),
        }
    }

    /// How long ago that was.
    pub fn age(&self) -> Duration {
        let start = UNIX_EPOCH + Duration::from_millis(self.since);
        SystemTime::now().duration_since(start).unwrap_or_default()
    }
}

/// A live file that is being written; gone when it is dropped, unless the store has adopted it.
#[derive(Debug)]
pub struct Live {
    pub path: PathBuf,
    pub frames: FrameWriter<File>,
}

impl Live {
    /// Begins one, in place of what an earlier leader may have left.
    pub fn create(store: &Store, digest: &Digest, start: &Start) -> io::Result<Self> {
        let path = path(&directory(store)?, digest);
        remove(&path)?;
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        let mut live = Self {
            path,
            frames: FrameWriter::new(file)?,
        };
        live.say(start)?;
        Ok(live)
    }

    /// Appends a frame of the first kind.
    pub fn say(&mut self, what: &impl Serialize) -> io::Result<()> {
        let what = serde_json::to_vec(what).expect("texts and numbers can be written as JSON");
        self.frames
            .write(Frame::Start(&what[..what.len().min(LONGEST)]))
    }

    /// How long it is.
    pub fn len(&self) -> io::Result<u64> {
        Ok(self.frames.get_ref().metadata()?.len())
    }

    /// Its frames from the beginning, as far as they were written.
    pub fn read(&self) -> io::Result<FrameReader<File>> {
        File::open(&self.path).map(FrameReader::new)
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        // Whoever leads next removes what is left.
        let _ = remove(&self.path);
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Where a store keeps its scratch files.
pub fn directory(store: &Store) -> io::Result<PathBuf> {
    store.scratch().map_err(io::Error::other)
}

/// An empty file without a name, gone when it is closed.
pub fn nameless(store: &Store) -> io::Result<File> {
    let path = directory(store)?.join(format!("stdin-{}", std::process::id()));
    let mut options = OpenOptions::new();
    let file = options
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&path)?;
    fs::remove_file(&path)?;
    Ok(file)
}

fn path(scratch: &Path, digest: &Digest) -> PathBuf {
    scratch.join(format!("{PREFIX}{digest}"))
}

/// Somebody else's live file, and whether it is still the one that is written.
#[derive(Debug)]
pub struct Watched {
    path: PathBuf,
    inode: u64,
    pub frames: FrameReader<File>,
}

impl Watched {
    /// Opens the live file of a key; `None` if there is none.
    pub fn open(scratch: &Path, digest: &Digest) -> io::Result<Option<Self>> {
        let path = path(scratch, digest);
        match File::open(&path) {
            Ok(file) => {
                let inode = file.metadata()?.ino();
                Ok(Some(Self {
                    path,
                    inode,
                    frames: FrameReader::new(file),
                }))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Its frames, from the first one again. What was read so far is at its end.
    pub fn reread(&self) -> io::Result<FrameReader<File>> {
        let mut file = self.frames.get_ref().try_clone()?;
        file.rewind()?;
        Ok(FrameReader::new(file))
    }

    /// Whether another leader has begun another file.
    pub fn is_superseded(&self) -> bool {
        fs::metadata(&self.path).is_ok_and(|metadata| metadata.ino() != self.inode)
    }
}

/// Every live file in a store: the digest of its key and its first frame. Leaders that were killed leave theirs behind.
pub fn all(scratch: &Path) -> Vec<(Digest, Start)> {
    let files = fs::read_dir(scratch).into_iter().flatten().flatten();
    files.filter_map(|file| read_start(&file.path())).collect()
}

/// The command of a leader that died, if it runs still. To be asked by who leads now: the kernel frees the lead of a
/// leader that was killed before it shows it as ended, so nobody asks whether that one runs.
pub fn orphan(store: &Store, digest: &Digest) -> Option<Process> {
    let mut frames = FrameReader::new(File::open(path(&directory(store).ok()?, digest)).ok()?);
    let Ok(Some(Frame::Start(_))) = frames.next() else {
        return None;
    };
    match frames.next() {
        Ok(Some(Frame::Start(started))) => {
            Some(serde_json::from_slice::<Started>(started).ok()?.child)
        }
        _ => None,
    }
}

fn read_start(path: &Path) -> Option<(Digest, Start)> {
    let digest = path
        .file_name()?
        .to_str()?
        .strip_prefix(PREFIX)?
        .parse()
        .ok()?;
    let mut frames = FrameReader::new(File::open(path).ok()?);
    match frames.next() {
        Ok(Some(Frame::Start(start))) => Some((digest, serde_json::from_slice(start).ok()?)),
        _ => None,
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn the_command_of_a_leader_that_seems_to_run_still_is_an_orphan_of_who_leads_now() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let key = scrubjay::disk::KeyEncoder::new("test").finish();
        // This process is both, as it is neither killed nor over.
        let mut live = Live::create(&store, &key, &Start::now("f", &[])).unwrap();
        assert_eq!(orphan(&store, &key), None, "its command has not begun");
        let child = Process::this().unwrap();
        live.say(&Started {
            child: child.clone(),
        })
        .unwrap();
        assert_eq!(orphan(&store, &key), Some(child));
    }
}
