//! The files that a command makes (`--out`): kept in its frames, restored on a hit.
//!
//! Nothing read from the store chooses where to write: a path is taken only if it is one of those asked for, or below one.
//! A file appears whole or not at all, and one that is there already as it should be is left alone.

use std::fs::{self, File, Permissions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};
use walkdir::WalkDir;

use super::dependency::{digest_of, short};
use super::frames::{Frame, FrameWriter};

/// What is said of a thing before its content: the payload of a `Made` frame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Made {
    pub path: PathBuf,
    pub kind: Kind,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    File {
        mode: u32,
        length: u64,
        digest: String,
    },
    Directory {
        mode: u32,
    },
    Link {
        to: PathBuf,
    },
}

/// Appends everything at `root` to a run's frames.
pub fn capture<W: Write>(root: &Path, frames: &mut FrameWriter<W>) -> io::Result<()> {
    for entry in WalkDir::new(root).sort_by_file_name() {
        let entry = entry?;
        let path = entry.path();
        let mode = entry.metadata()?.permissions().mode() & 0o7777;
        if entry.file_type().is_dir() {
            announce(frames, path, Kind::Directory { mode })?;
        } else if entry.file_type().is_symlink() {
            announce(
                frames,
                path,
                Kind::Link {
                    to: fs::read_link(path)?,
                },
            )?;
        } else if entry.file_type().is_file() {
            capture_file(path, mode, frames)?;
        } else {
            return Err(io::Error::other(format!(
                "{} is not a file",
                path.display()
            )));
        }
    }
    Ok(())
}

fn announce<W: Write>(frames: &mut FrameWriter<W>, path: &Path, kind: Kind) -> io::Result<()> {
    let made = Made {
        path: path.to_owned(),
        kind,
    };
    frames.write(Frame::Made(&serde_json::to_vec(&made)?))
}

fn capture_file<W: Write>(path: &Path, mode: u32, frames: &mut FrameWriter<W>) -> io::Result<()> {
    let mut file = File::open(path)?;
    let (length, digest) = (file.metadata()?.len(), digest_of(&file)?);
    announce(
        frames,
        path,
        Kind::File {
            mode,
            length,
            digest: short(&digest),
        },
    )?;
    file.rewind()?;
    let mut written = blake3::Hasher::new();
    let mut piece = vec![0; 1 << 16];
    loop {
        match file.read(&mut piece)? {
            0 => break,
            read => {
                written.update(&piece[..read]);
                frames.write(Frame::Content(&piece[..read]))?;
            }
        }
    }
    if written.finalize() != digest {
        return Err(io::Error::other(format!(
            "{} changed while it was kept",
            path.display()
        )));
    }
    Ok(())
}

/// The frames are at fault, not what is done with them.
fn damaged(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.into())
}

/// Puts back what frames announce and contain. An error of the kind `InvalidData` says that these are not what a run made.
#[derive(Debug)]
pub struct Restorer<'a> {
    allowed: &'a [PathBuf],
    file: Option<Restored>,
    /// Given their modes at the end: a read-only directory could not be filled.
    directories: Vec<(PathBuf, u32)>,
}

#[derive(Debug)]
struct Restored {
    path: PathBuf,
    mode: u32,
    missing: u64,
    digest: String,
    hasher: blake3::Hasher,
    /// `None`: what is there is already as it should be.
    temporary: Option<(PathBuf, File)>,
}

impl<'a> Restorer<'a> {
    pub fn new(allowed: &'a [PathBuf]) -> Self {
        Self {
            allowed,
            file: None,
            directories: Vec::new(),
        }
    }

    /// The next frames are the first ones of another run.
    pub fn restart(&mut self) {
        *self = Self::new(self.allowed);
    }

    pub fn announce(&mut self, payload: &[u8]) -> io::Result<()> {
        self.finish_file()?;
        let made: Made = serde_json::from_slice(payload)?;
        if !self.is_allowed(&made.path) {
            return Err(damaged(format!(
                "{} was not asked for",
                made.path.display()
            )));
        }
        match made.kind {
            Kind::Directory { mode } => {
                fs::create_dir_all(&made.path)?;
                self.directories.push((made.path, mode));
                Ok(())
            }
            Kind::Link { to } => restore_link(&made.path, &to),
            Kind::File {
                mode,
                length,
                digest,
            } => {
                let temporary = open_temporary(&made.path, length, &digest)?;
                let hasher = blake3::Hasher::new();
                self.file = Some(Restored {
                    path: made.path,
                    mode,
                    missing: length,
                    digest,
                    hasher,
                    temporary,
                });
                Ok(())
            }
        }
    }

    pub fn content(&mut self, bytes: &[u8]) -> io::Result<()> {
        let file = self
            .file
            .as_mut()
            .ok_or_else(|| damaged("content of no file"))?;
        let left = file.missing.checked_sub(bytes.len() as u64);
        file.missing = left.ok_or_else(|| damaged("more content than announced"))?;
        file.hasher.update(bytes);
        file.temporary
            .as_mut()
            .map_or(Ok(()), |(_, to)| to.write_all(bytes))
    }

    pub fn finish(&mut self) -> io::Result<()> {
        self.finish_file()?;
        for (path, mode) in self.directories.drain(..).rev() {
            fs::set_permissions(path, Permissions::from_mode(mode))?;
        }
        Ok(())
    }

    fn finish_file(&mut self) -> io::Result<()> {
        let Some(file) = self.file.take() else {
            return Ok(());
        };
        let is_whole = file.missing == 0 && short(&file.hasher.finalize()) == file.digest;
        let Some((temporary, _)) = file.temporary else {
            return fs::set_permissions(&file.path, Permissions::from_mode(file.mode));
        };
        let moved = match is_whole {
            false => Err(damaged(format!("{} is not whole", file.path.display()))),
            true => fs::set_permissions(&temporary, Permissions::from_mode(file.mode))
                .and_then(|()| fs::rename(&temporary, &file.path)),
        };
        moved.inspect_err(|_| drop(fs::remove_file(&temporary)))
    }

    fn is_allowed(&self, path: &Path) -> bool {
        self.allowed.iter().any(|allowed| {
            path.strip_prefix(allowed).is_ok_and(|below| {
                below
                    .components()
                    .all(|part| matches!(part, Component::Normal(_)))
            })
        })
    }
}

impl Drop for Restorer<'_> {
    fn drop(&mut self) {
        if let Some(Restored {
            temporary: Some((path, _)),
            ..
        }) = &self.file
        {
            let _ = fs::remove_file(path);
        }
    }
}

fn restore_link(path: &Path, to: &Path) -> io::Result<()> {
    if fs::read_link(path).is_ok_and(|there| there == to) {
        return Ok(());
    }
    make_parent(path)?;
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => symlink(to, path),
    }
}

fn open_temporary(path: &Path, length: u64, digest: &str) -> io::Result<Option<(PathBuf, File)>> {
    let there = fs::symlink_metadata(path);
    let same = there.is_ok_and(|there| there.is_file() && there.len() == length)
        && File::open(path)
            .and_then(digest_of)
            .is_ok_and(|hash| short(&hash) == digest);
    if same {
        return Ok(None);
    }
    make_parent(path)?;
    let mut name = path.file_name().unwrap_or_default().as_bytes().to_vec();
    name.extend(format!(".scrubjay-{}", std::process::id()).bytes());
    let temporary = path.with_file_name(std::ffi::OsStr::from_bytes(&name));
    let file = File::create(&temporary)?;
    Ok(Some((temporary, file)))
}

fn make_parent(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), fs::create_dir_all)
}
