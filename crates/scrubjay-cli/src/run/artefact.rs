//! The files that a command makes (`--out`): kept in its frames, restored on a hit.
//!
//! Nothing read from the store chooses where to write: a path is taken only if it is one of those asked for, or below
//! one, and no link below it is followed. A path that was asked for may itself be a link: what it leads to is kept with
//! it, and written through it only if it was there before, or leads to something beside it. A file appears whole or not
//! at all, and one that is there already as it should be is left alone.

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
    if let Ok(to) = fs::read_link(root) {
        announce(frames, root, Kind::Link { to })?;
        match fs::metadata(root) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            there if there.as_ref().is_ok_and(fs::Metadata::is_file) => {
                return capture_file(root, mode_of(&there?), frames);
            }
            _ => {}
        }
    }
    for entry in WalkDir::new(root).sort_by_file_name() {
        let entry = entry?;
        let path = entry.path();
        let mode = mode_of(&entry.metadata()?);
        if entry.file_type().is_dir() {
            announce(frames, path, Kind::Directory { mode })?;
        } else if entry.file_type().is_symlink() {
            let to = fs::read_link(path)?;
            // That of a path that was asked for was announced.
            if entry.depth() > 0 {
                announce(frames, path, Kind::Link { to })?;
            }
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

fn mode_of(metadata: &fs::Metadata) -> u32 {
    metadata.permissions().mode() & 0o7777
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

/// Puts back what frames announce and contain. An error of the kind `InvalidData` says that these are not what a run
/// made.
#[derive(Debug)]
pub struct Restorer<'a> {
    allowed: &'a [PathBuf],
    file: Option<Restored>,
    /// Given their modes at the end: a read-only directory could not be filled.
    directories: Vec<(PathBuf, u32)>,
    /// Links that were not there before and lead away from their directory: nothing is changed behind them.
    lead_away: Vec<PathBuf>,
}

#[derive(Debug)]
struct Restored {
    path: PathBuf,
    /// `None`: it is left as it is.
    mode: Option<u32>,
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
            lead_away: Vec::new(),
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
        let is_root = self.allowed.contains(&made.path);
        let is_behind = |link: &PathBuf| made.path.starts_with(link);
        let is_away = self.lead_away.iter().any(is_behind);
        match made.kind {
            Kind::Directory { .. } if is_away => match made.path.is_dir() {
                true => Ok(()),
                false => Err(away(&made.path)),
            },
            Kind::Directory { .. } if !is_root && made.path.is_symlink() => {
                Err(damaged(format!("{} is a link by now", made.path.display())))
            }
            Kind::Directory { mode } => {
                fs::create_dir_all(&made.path)?;
                self.directories.push((made.path, mode));
                Ok(())
            }
            Kind::Link { to } => {
                let is_new = restore_link(&made.path, &to)?;
                if is_new && is_root && !leads_beside(&made.path, &to) {
                    self.lead_away.push(made.path);
                }
                Ok(())
            }
            Kind::File {
                mode,
                length,
                digest,
            } => {
                let target = match is_root {
                    true => behind_links(&made.path),
                    false => made.path,
                };
                let is_there = is_as_it_should_be(&target, length, &digest);
                if is_away && !is_there {
                    return Err(away(&target));
                }
                let mode = (!is_away).then_some(mode);
                let temporary = match is_there {
                    true => None,
                    false => Some(open_temporary(&target)?),
                };
                let hasher = blake3::Hasher::new();
                self.file = Some(Restored {
                    path: target,
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
        let set_mode = |path: &Path| match file.mode {
            Some(mode) => fs::set_permissions(path, Permissions::from_mode(mode)),
            None => Ok(()),
        };
        let Some((temporary, _)) = file.temporary else {
            return set_mode(&file.path);
        };
        let moved = match is_whole {
            false => Err(damaged(format!("{} is not whole", file.path.display()))),
            true => set_mode(&temporary).and_then(|()| fs::rename(&temporary, &file.path)),
        };
        moved.inspect_err(|_| drop(fs::remove_file(&temporary)))
    }

    fn is_allowed(&self, path: &Path) -> bool {
        self.allowed.iter().any(|allowed| {
            path.strip_prefix(allowed)
                .is_ok_and(|below| is_downward(below) && !passes_link(allowed, below))
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

fn away(path: &Path) -> io::Error {
    let path = path.display();
    damaged(format!("{path} is behind a link that was not there before"))
}

fn is_downward(path: &Path) -> bool {
    path.components()
        .all(|part| matches!(part, Component::Normal(_)))
}

/// Whether a link leads, without other links, to something in its own directory or below it.
fn leads_beside(link: &Path, to: &Path) -> bool {
    let directory = link.parent().unwrap_or(Path::new(""));
    let is_link = directory.join(to).is_symlink();
    is_downward(to) && !is_link && !passes_link(directory, to)
}

/// Whether there is a link on the way from `root` to what is `below` it. At the end of the way there may be one for a
/// link or a file to replace.
fn passes_link(root: &Path, below: &Path) -> bool {
    let way = below.ancestors().skip(1);
    let mut way = way.filter(|part| !part.as_os_str().is_empty());
    way.any(|part| root.join(part).is_symlink())
}

/// Where a path leads if it is a link, be there something or not.
fn behind_links(path: &Path) -> PathBuf {
    match (fs::canonicalize(path), fs::read_link(path)) {
        (_, Err(_)) => path.to_owned(),
        (Ok(target), _) => target,
        (Err(_), Ok(to)) => path.parent().map_or(to.clone(), |parent| parent.join(&to)),
    }
}

/// Says whether it was not there before.
fn restore_link(path: &Path, to: &Path) -> io::Result<bool> {
    if fs::read_link(path).is_ok_and(|there| there == to) {
        return Ok(false);
    }
    make_parent(path)?;
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => symlink(to, path).map(|()| true),
    }
}

fn is_as_it_should_be(path: &Path, length: u64, digest: &str) -> bool {
    let there = fs::symlink_metadata(path);
    there.is_ok_and(|there| there.is_file() && there.len() == length)
        && File::open(path)
            .and_then(digest_of)
            .is_ok_and(|hash| short(&hash) == digest)
}

fn open_temporary(path: &Path) -> io::Result<(PathBuf, File)> {
    make_parent(path)?;
    let mut name = path.file_name().unwrap_or_default().as_bytes().to_vec();
    name.extend(format!(".scrubjay-{}", std::process::id()).bytes());
    let temporary = path.with_file_name(std::ffi::OsStr::from_bytes(&name));
    let file = File::create(&temporary)?;
    Ok((temporary, file))
}

fn make_parent(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), fs::create_dir_all)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    fn frame(path: &Path, kind: Kind) -> Vec<u8> {
        let path = path.to_owned();
        serde_json::to_vec(&Made { path, kind }).unwrap()
    }

    fn file(path: &Path, content: &[u8]) -> Vec<u8> {
        let kind = Kind::File {
            mode: 0o666,
            length: content.len() as u64,
            digest: short(&blake3::hash(content)),
        };
        frame(path, kind)
    }

    #[test]
    fn no_link_of_a_stored_answer_leads_to_where_something_is_written() {
        let place = tempfile::tempdir().unwrap();
        let (outside, out) = (place.path().join("outside"), place.path().join("here/out"));
        fs::create_dir_all(&outside).unwrap();
        fs::write(outside.join("file"), "precious").unwrap();
        fs::set_permissions(&outside, Permissions::from_mode(0o700)).unwrap();
        let to_outside = |path: &Path| {
            frame(
                path,
                Kind::Link {
                    to: outside.clone(),
                },
            )
        };
        let directory = |path: &Path| frame(path, Kind::Directory { mode: 0o777 });
        let inner = out.join("inner");
        let attacks = [
            vec![to_outside(&out), file(&out.join("file"), b"other")],
            vec![to_outside(&out), file(&out.join("new"), b"other")],
            vec![to_outside(&out), directory(&out.join("new"))],
            vec![directory(&out), to_outside(&inner), directory(&inner)],
            vec![
                directory(&out),
                to_outside(&inner),
                file(&inner.join("new"), b"other"),
            ],
        ];
        let allowed = [out.clone()];
        for attack in attacks {
            let _ = fs::remove_file(&out).or_else(|_| fs::remove_dir_all(&out));
            let mut restorer = Restorer::new(&allowed);
            let (last, before) = attack.split_last().unwrap();
            for frame in before {
                restorer.announce(frame).unwrap();
            }
            let refused = restorer.announce(last).unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::InvalidData, "{refused}");
            restorer.finish().unwrap();
            let mode = mode_of(&fs::metadata(&outside).unwrap());
            assert_eq!(mode, 0o700);
            assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
            assert_eq!(fs::read(outside.join("file")).unwrap(), b"precious");
        }
    }
}
