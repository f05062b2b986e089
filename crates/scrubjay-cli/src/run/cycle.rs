//! Finds runs that would wait for each other for ever, before they do.
//!
//! A run hands the keys of all runs that it is part of, its own included, to its command in a variable; where a command
//! takes it away, the leaders among the processes above tell. A `scrubjay run`
//! inside a command that is about to wait for somebody else's run says so in a file of the scratch folder, and only
//! then looks for a way from what it waits for back to a run that it is part of. Invariant: of the waits that close a
//! circle the last one to be announced sees all others, so at least one of them does not wait.
//!
//! A wait is alive as long as its file is locked, which the kernel ends with the process.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::process::{Pid, test_kill_process};
use scrubjay::disk::Digest;

use super::live::Start;
use super::process;

/// The runs that a process is part of: `KEY@PID`, the outermost first, separated by spaces.
pub const LEADING: &str = "SCRUBJAY_LEADING";

const PREFIX: &str = "wait-";
/// Longest list of keys that is read.
const LONGEST: u64 = 64 << 10;

/// The keys of the runs that a process is part of.
#[derive(Clone, Debug, Default)]
pub struct Ancestors(Vec<(Digest, i32)>);

impl Ancestors {
    /// Those of this process. A run that has ended left its key to what it left behind; it counts no more.
    pub fn of_this_process() -> Self {
        let list = std::env::var(LEADING).unwrap_or_default();
        let mut ancestors = Self::parse(&list);
        ancestors.0.retain(|(_, pid)| is_alive(*pid));
        ancestors
    }

    /// Adds the runs whose leaders started this process, directly or through others: a command that clears its
    /// environment is part of them all the same.
    pub fn add_leaders_above(&mut self, running: &[(Digest, Start)]) {
        let above = process::ancestors();
        for (key, start) in running {
            let leads = start.leader.as_ref();
            if let Some(leader) = leads.filter(|leader| above.contains(leader))
                && !self.include(key)
            {
                self.0.push((*key, leader.pid));
            }
        }
    }

    fn parse(list: &str) -> Self {
        let parts = list.split(' ').filter_map(|part| part.split_once('@'));
        let parts = parts.filter_map(|(key, pid)| Some((key.parse().ok()?, pid.parse().ok()?)));
        Self(parts.collect())
    }

    /// Whether a run of this key is among them.
    pub fn include(&self, key: &Digest) -> bool {
        self.0.iter().any(|(other, _)| other == key)
    }

    /// What a command gets that this process runs under `key`.
    pub fn and(&self, key: &Digest) -> OsString {
        let mut list = String::new();
        for (key, pid) in &self.0 {
            list += &format!("{key}@{pid} ");
        }
        (list + &format!("{key}@{}", std::process::id())).into()
    }
}

fn is_alive(pid: i32) -> bool {
    let answer = Pid::from_raw(pid).map(test_kill_process);
    // A process of another user exists too.
    !matches!(answer, None | Some(Err(rustix::io::Errno::SRCH)))
}

/// A wait that closes no circle; over when it is dropped.
#[derive(Debug)]
pub struct Wait(#[allow(dead_code, reason = "only its drop counts")] Option<Announced>);

#[derive(Debug)]
struct Announced {
    path: PathBuf,
    /// Keeps the lock.
    _file: File,
}

impl Drop for Announced {
    fn drop(&mut self) {
        // What stays is not locked, and removed by whoever sees it next.
        let _ = fs::remove_file(&self.path);
    }
}

impl Wait {
    /// Announces that the runs of `ancestors` wait for the one of `target`; `None` if they must not, because that one
    /// waits for one of them. A process that is part of no run can wait for any.
    pub fn begin(
        scratch: &Path,
        ancestors: &Ancestors,
        target: &Digest,
    ) -> io::Result<Option<Self>> {
        if ancestors.0.is_empty() {
            return Ok(Some(Self(None)));
        }
        let wait = Announced::new(scratch, ancestors, target)?;
        let closes_circle = leads_back(&others(scratch, &wait.path), ancestors, target);
        Ok((!closes_circle).then_some(Self(Some(wait))))
    }
}

impl Announced {
    /// The file gets the name under which others look for it when it is locked and complete.
    fn new(scratch: &Path, ancestors: &Ancestors, target: &Digest) -> io::Result<Self> {
        // Not the number of the process alone: two containers can have the same.
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let unique = now.unwrap_or_default().as_nanos();
        let path = scratch.join(format!("{PREFIX}{}-{unique}", std::process::id()));
        let new = path.with_extension("new");
        let mut options = OpenOptions::new();
        let options = options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.open(&new)?;
        file.lock()?;
        let keys = ancestors.0.iter().map(|(key, _)| format!(" {key}"));
        file.write_all(format!("{target}{}", keys.collect::<String>()).as_bytes())?;
        fs::rename(&new, &path)?;
        Ok(Self { path, _file: file })
    }
}

/// What a run waits for, and the runs that it is part of.
type Edge = (Digest, Vec<Digest>);

/// The waits of other processes; removes what dead ones left.
fn others(scratch: &Path, own: &Path) -> Vec<Edge> {
    let files = fs::read_dir(scratch).into_iter().flatten().flatten();
    let paths = files.map(|file| file.path());
    paths
        .filter(|path| path != own && is_wait(path))
        .filter_map(|path| read(&path))
        .collect()
}

fn is_wait(path: &Path) -> bool {
    let name = path.file_name().and_then(OsStr::to_str);
    name.is_some_and(|name| name.starts_with(PREFIX) && !name.contains('.'))
}

fn read(path: &Path) -> Option<Edge> {
    let file = File::open(path).ok()?;
    if !matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)) {
        let _ = fs::remove_file(path);
        return None;
    }
    let mut text = String::new();
    file.take(LONGEST).read_to_string(&mut text).ok()?;
    decode(&text)
}

fn decode(text: &str) -> Option<Edge> {
    let mut keys = text.split(' ').map(|key| key.parse().ok());
    let target = keys.next()??;
    Some((target, keys.collect::<Option<_>>()?))
}

/// For fuzzing.
pub fn decode_anything(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = (decode(text), Ancestors::parse(text));
    }
}

/// Whether `target`, or a run that it waits for directly or through others, is one of `ancestors`.
fn leads_back(edges: &[Edge], ancestors: &Ancestors, target: &Digest) -> bool {
    let (mut seen, mut ahead) = (HashSet::new(), vec![*target]);
    while let Some(key) = ahead.pop() {
        if ancestors.include(&key) {
            return true;
        }
        if seen.insert(key) {
            let from_here = edges.iter().filter(|(_, runs)| runs.contains(&key));
            ahead.extend(from_here.map(|(next, _)| *next));
        }
    }
    false
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    fn key(number: u64) -> Digest {
        scrubjay::disk::KeyEncoder::new("test").u64(number).finish()
    }

    fn ancestors(numbers: &[u64]) -> Ancestors {
        Ancestors(numbers.iter().map(|number| (key(*number), 1)).collect())
    }

    #[test]
    fn a_command_gets_the_keys_of_all_runs_that_it_is_part_of() {
        let list = ancestors(&[1, 2]).and(&key(3));
        let parsed = Ancestors::parse(list.to_str().unwrap());
        assert!((1..=3).all(|number| parsed.include(&key(number))));
        assert!(!parsed.include(&key(4)));
    }

    #[test]
    fn a_circle_is_seen_by_the_last_that_closes_it_and_by_no_one_before() {
        // Run 1 waits for 2, whose inner run 3 waits for 4.
        let edges = [(key(2), vec![key(1)]), (key(4), vec![key(2), key(3)])];
        assert!(leads_back(&edges, &ancestors(&[4]), &key(1)));
        assert!(leads_back(&edges, &ancestors(&[9, 4]), &key(2)));
        assert!(!leads_back(&edges[..1], &ancestors(&[4]), &key(1)));
        assert!(!leads_back(&edges, &ancestors(&[4]), &key(9)));
    }

    #[test]
    fn a_circle_that_others_wait_in_is_left() {
        let edges = [(key(2), vec![key(1)]), (key(1), vec![key(2)])];
        assert!(!leads_back(&edges, &ancestors(&[3]), &key(1)));
    }
}
