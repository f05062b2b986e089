//! The key of a run: every fact that its answer depends on, and their digest.
//!
//! The digest is over the facts' exact bytes; the description stored beside an entry shows the same facts as text, for
//! `show` and `why`. Neither contains the value of a variable or anything read from a file or standard input.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use scrubjay::disk::{Digest, KeyEncoder};
use serde::{Deserialize, Serialize};

use super::dependency::Dependency;
use super::program;
use crate::args::KeyOptions;

/// Changes whenever the same facts are encoded in another way.
const ENCODING: &str = "scrubjay run 2";

/// A fact that may change between two runs: what was looked at, and what was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    pub of: String,
    pub state: String,
}

/// The facts of a key, as they are stored beside an entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    pub command: Vec<String>,
    pub executable: State,
    /// Absent with `--any-cwd`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<String>,
    /// Absent without `--stdin`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stdin: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dependencies: Vec<State>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub out: Vec<String>,
}

impl Facts {
    /// Reads a description; `None` if it is not of a run.
    pub fn from_description(description: &[u8]) -> Option<Self> {
        serde_json::from_slice(description).ok()
    }

    /// Every fact with its name, in the order of the key.
    pub fn parts(&self) -> Vec<(&'static str, String)> {
        let mut parts = vec![
            ("command", self.command.join(" ")),
            (
                "executable",
                format!("{} {}", self.executable.of, self.executable.state),
            ),
            (
                "directory",
                self.directory.clone().unwrap_or_else(|| "any".to_owned()),
            ),
        ];
        parts.extend(self.stdin.iter().map(|digest| ("stdin", digest.clone())));
        let dependencies = self.dependencies.iter();
        parts.extend(
            dependencies.map(|found| ("depends on", format!("{} {}", found.of, found.state))),
        );
        parts.extend(self.out.iter().map(|path| ("makes", path.clone())));
        parts
    }

    pub fn to_description(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("texts and lists of texts can be written as JSON")
    }
}

/// What a run is, before its dependencies were looked at.
#[derive(Debug)]
pub struct Subject {
    pub command: Vec<OsString>,
    pub program: PathBuf,
    pub directory: Option<PathBuf>,
    pub dependencies: Vec<Dependency>,
    pub out: Vec<PathBuf>,
}

/// A key, whole.
#[derive(Debug)]
pub struct Key {
    pub digest: Digest,
    pub facts: Facts,
}

/// Understands the dependencies of `options`; the error is the user's.
pub fn dependencies(options: &KeyOptions) -> Result<Vec<Dependency>, String> {
    let variables = options.env.iter().map(|name| Dependency::variable(name));
    options
        .dependencies
        .iter()
        .map(|name| Dependency::parse(name))
        .chain(variables)
        .collect()
}

impl Subject {
    pub fn new(
        options: &KeyOptions,
        dependencies: Vec<Dependency>,
        program: PathBuf,
    ) -> io::Result<Self> {
        let directory = if options.any_cwd {
            None
        } else {
            let directory = std::env::current_dir();
            Some(directory.map_err(|error| {
                io::Error::new(error.kind(), format!("the working directory: {error}"))
            })?)
        };
        Ok(Self {
            command: options.command.clone(),
            program,
            directory,
            dependencies,
            out: options.out.clone(),
        })
    }

    /// The state of everything that may change: the executable, then the dependencies.
    pub fn states(&self) -> io::Result<Vec<State>> {
        let program = State {
            of: self.program.display().to_string(),
            state: program::state(&self.program)?,
        };
        let dependencies = self.dependencies.iter().map(|dependency| {
            Ok(State {
                of: dependency.name.display().to_string(),
                state: dependency.state()?,
            })
        });
        std::iter::once(Ok(program)).chain(dependencies).collect()
    }

    /// The key for these states; `stdin` is the digest of standard input, if it counts.
    pub fn key(&self, mut states: Vec<State>, stdin: Option<String>) -> Key {
        let mut encoder = KeyEncoder::new(ENCODING).u64(self.command.len() as u64);
        for argument in &self.command {
            encoder = encoder.bytes(argument.as_bytes());
        }
        let directory = self
            .directory
            .as_ref()
            .map_or(&b""[..], |path| path.as_os_str().as_bytes());
        encoder = encoder
            .bytes(directory)
            .str(stdin.as_deref().unwrap_or(""))
            .bytes(self.program.as_os_str().as_bytes())
            .str(&states[0].state);
        encoder = encoder.u64(self.dependencies.len() as u64);
        for (dependency, found) in self.dependencies.iter().zip(&states[1..]) {
            encoder = encoder.bytes(dependency.name.as_bytes()).str(&found.state);
        }
        for path in &self.out {
            encoder = encoder.bytes(path.as_os_str().as_bytes());
        }
        let executable = states.remove(0);
        Key {
            digest: encoder.finish(),
            facts: self.facts(executable, states, stdin),
        }
    }

    fn facts(&self, executable: State, dependencies: Vec<State>, stdin: Option<String>) -> Facts {
        Facts {
            command: self
                .command
                .iter()
                .map(|argument| argument.display().to_string())
                .collect(),
            executable,
            directory: self
                .directory
                .as_ref()
                .map(|path| path.display().to_string()),
            stdin,
            dependencies,
            out: self
                .out
                .iter()
                .map(|path| path.display().to_string())
                .collect(),
        }
    }
}
