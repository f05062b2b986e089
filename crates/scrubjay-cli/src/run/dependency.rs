//! What an answer depends on besides its command: files, patterns, directories, variables, git, other commands.
//!
//! A dependency has a *state*, a short text that changes when what it names changes. No state contains a secret:
//! contents and values of variables appear as BLAKE3 digests only. What does not exist has a state too.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, FileType};
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use walkdir::WalkDir;

/// The state of what does not exist.
pub const ABSENT: &str = "absent";

/// One `--dep`, understood.
#[derive(Clone, Debug)]
pub struct Dependency {
    /// As it was given.
    pub name: OsString,
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    Path(PathBuf),
    Glob(String),
    Variable(OsString),
    Git(OsString),
    Command(OsString),
}

impl Dependency {
    /// Understands `FILE`, `DIRECTORY`, `GLOB`, `env:NAME`, `git:REV` and `cmd:COMMAND`.
    pub fn parse(name: &OsStr) -> Result<Self, String> {
        let after = |prefix: &str| {
            name.as_bytes()
                .strip_prefix(prefix.as_bytes())
                .map(OsStr::from_bytes)
        };
        let kind = if let Some(variable) = after("env:") {
            return Self::variable(variable);
        } else if let Some(revision) = after("git:") {
            Kind::Git(revision.to_owned())
        } else if let Some(command) = after("cmd:") {
            Kind::Command(command.to_owned())
        } else {
            Self::parse_path(after("file:").unwrap_or(name))?
        };
        Ok(Self {
            name: name.to_owned(),
            kind,
        })
    }

    pub fn variable(name: &OsStr) -> Result<Self, String> {
        // No variable has such a name, so its value would never change.
        if name.is_empty() || name.as_bytes().contains(&b'=') {
            let name = name.display();
            return Err(format!(
                "`{name}` is not the name of a variable; write --env NAME, and its value is looked up"
            ));
        }
        Ok(Self {
            name: OsString::from_vec([b"env:", name.as_bytes()].concat()),
            kind: Kind::Variable(name.to_owned()),
        })
    }

    /// A path that exists is that path, even if its name has the characters of a pattern.
    fn parse_path(path: &OsStr) -> Result<Kind, String> {
        let text = path.to_str().filter(|text| text.contains(['*', '?', '[']));
        match text.filter(|_| fs::symlink_metadata(path).is_err()) {
            None => Ok(Kind::Path(path.into())),
            Some(pattern) => match glob::Pattern::new(pattern) {
                Ok(_) => Ok(Kind::Glob(pattern.to_owned())),
                Err(error) => Err(format!("--dep {pattern}: {error}")),
            },
        }
    }

    /// What changes when the thing changes.
    pub fn state(&self) -> io::Result<String> {
        match &self.kind {
            Kind::Path(path) => path_state(path),
            Kind::Glob(pattern) => glob_state(pattern),
            Kind::Variable(name) => Ok(match std::env::var_os(name) {
                Some(value) => short(&blake3::hash(value.as_bytes())),
                None => ABSENT.to_owned(),
            }),
            Kind::Git(revision) => git_state(revision),
            Kind::Command(command) => command_state(command),
        }
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", self.name.display())))
    }
}

/// Half of a digest, in hexadecimal: 128 bits are enough to tell states apart.
pub fn short(hash: &blake3::Hash) -> String {
    hash.to_hex()[..32].to_owned()
}

/// The digest of everything that `reader` gives.
pub fn digest_of(mut reader: impl Read) -> io::Result<blake3::Hash> {
    let mut hasher = blake3::Hasher::new();
    // Small: each page that is touched for the first time costs a hit more than the hashing of its bytes.
    let mut buffer = vec![0; 16 << 10];
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return Ok(hasher.finalize()),
            Ok(length) => drop(hasher.update(&buffer[..length])),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn path_state(path: &Path) -> io::Result<String> {
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(ABSENT.to_owned()),
        Err(error) => Err(error),
        Ok(metadata) if metadata.is_dir() => tree_state(path),
        Ok(metadata) if metadata.is_file() => Ok(short(&digest_of(File::open(path)?)?)),
        Ok(_) => Err(io::Error::other("neither a file nor a directory")),
    }
}

/// Length before content, so that no two lists of names and contents look alike.
fn add(hasher: &mut blake3::Hasher, bytes: &[u8]) {
    hasher
        .update(&(bytes.len() as u64).to_le_bytes())
        .update(bytes);
}

fn tree_state(root: &Path) -> io::Result<String> {
    let mut hasher = blake3::Hasher::new();
    let mut files = 0;
    for entry in WalkDir::new(root).min_depth(1).sort_by_file_name() {
        let entry = entry?;
        let name = entry
            .path()
            .strip_prefix(root)
            .expect("walked from the root");
        add(&mut hasher, name.as_os_str().as_bytes());
        add_content(&mut hasher, entry.path(), entry.file_type())?;
        files += usize::from(!entry.file_type().is_dir());
    }
    Ok(format!("{} ({files} files)", short(&hasher.finalize())))
}

/// Adds what is at `path`: a file by its content and whether it can be executed, a link by where it leads.
fn add_content(hasher: &mut blake3::Hasher, path: &Path, kind: FileType) -> io::Result<()> {
    if kind.is_dir() {
        add(hasher, b"directory");
    } else if kind.is_symlink() {
        add(hasher, b"link");
        add(hasher, fs::read_link(path)?.as_os_str().as_bytes());
    } else if kind.is_file() {
        let file = File::open(path)?;
        let executable = file.metadata()?.mode() & 0o111 != 0;
        add(hasher, if executable { b"executable" } else { b"file" });
        add(hasher, digest_of(file)?.as_bytes());
    } else {
        add(hasher, b"special");
    }
    Ok(())
}

fn glob_state(pattern: &str) -> io::Result<String> {
    let mut hasher = blake3::Hasher::new();
    let mut files = 0;
    let matches = glob::glob(pattern).map_err(io::Error::other)?;
    for path in matches {
        let path = path.map_err(io::Error::from)?;
        if path.is_file() {
            add(&mut hasher, path.as_os_str().as_bytes());
            add(&mut hasher, digest_of(File::open(&path)?)?.as_bytes());
            files += 1;
        }
    }
    Ok(format!("{} ({files} files)", short(&hasher.finalize())))
}

fn git_state(revision: &OsStr) -> io::Result<String> {
    let output = Command::new("git")
        .args(["rev-parse", "--verify", "--quiet", "--end-of-options"])
        .arg(revision)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| io::Error::new(error.kind(), format!("cannot run git: {error}")))?;
    if !output.status.success() {
        return Err(io::Error::other("names nothing in a git repository here"));
    }
    Ok(String::from_utf8_lossy(output.stdout.trim_ascii()).into_owned())
}

fn command_state(command: &OsStr) -> io::Result<String> {
    let output = Command::new("sh")
        .arg("-c")
        .arg(command)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()?;
    Ok(format!(
        "{} ({})",
        short(&blake3::hash(&output.stdout)),
        output.status
    ))
}
