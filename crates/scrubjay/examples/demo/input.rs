//! What the demo works on: several versions of files that are on this machine.
//!
//! The versions come from a git history, or from several versions of one crate in cargo's registry, or, where
//! there is neither, from this program's own source in two halves. Which one it was is part of the output.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::{env, fs};

use super::analysis::Pair;

/// How much of the input is used.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    pub files: usize,
    pub versions: usize,
    pub lines: usize,
    /// The most pairs of lines that all comparisons together may look at.
    pub cells: usize,
    /// The most words that a bounded cache is asked for.
    pub words: usize,
}

/// Where versions are looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A git history first, then the registry, then this program.
    Any,
    /// A git history.
    Git,
    /// Cargo's registry.
    Registry,
    /// This program.
    Own,
}

/// Versions of one file, the oldest first.
struct History {
    path: String,
    versions: Vec<(String, Arc<[String]>)>,
}

/// The pairs of versions that are compared; there is at least one.
pub struct Input {
    /// One sentence about where they come from.
    pub origin: String,
    pub pairs: Vec<Pair>,
}

impl Input {
    /// Finds the first origin that has a file with two versions.
    pub fn find(origin: Origin, directory: Option<&Path>, bounds: Bounds) -> Self {
        let places = match directory {
            Some(directory) => vec![directory.to_owned()],
            None => vec![
                PathBuf::from("."),
                PathBuf::from(env!("CARGO_MANIFEST_DIR")),
            ],
        };
        let wants = |this| origin == Origin::Any || origin == this;
        places
            .iter()
            .filter(|_| wants(Origin::Git))
            .find_map(|place| from_git(place, bounds))
            .or_else(|| {
                wants(Origin::Registry)
                    .then(|| from_registry(bounds))
                    .flatten()
            })
            .unwrap_or_else(|| from_this_program(bounds))
    }

    /// A pair of middle size: large enough to be worth sharing, small enough to be compared a dozen times.
    pub fn middle(&self) -> &Pair {
        let mut pairs: Vec<&Pair> = self.pairs.iter().collect();
        pairs.sort_by_key(|pair| pair.cells());
        pairs[pairs.len() / 2]
    }

    /// Makes pairs of neighbouring versions, until the bound is reached; `None` if there are none.
    fn of(origin: String, histories: Vec<History>, bounds: Bounds) -> Option<Self> {
        let mut cells = bounds.cells;
        let mut pairs = Vec::new();
        for history in histories {
            for window in history.versions.windows(2) {
                let [(old, before), (new, after)] = window else {
                    continue;
                };
                let name = format!("{} {old}..{new}", history.path);
                let pair = Pair::new(name, before.clone(), after.clone());
                if pair.cells() <= cells {
                    cells -= pair.cells();
                    pairs.push(pair);
                }
            }
        }
        (!pairs.is_empty()).then_some(Self { origin, pairs })
    }
}

/// Splits a text into lines, unless it is too long to be compared here or too short to be interesting.
fn lines(text: &str, bounds: Bounds) -> Option<Arc<[String]>> {
    let lines: Arc<[String]> = text
        .lines()
        .take(bounds.lines + 1)
        .map(str::to_owned)
        .collect();
    (10..=bounds.lines).contains(&lines.len()).then_some(lines)
}

fn git(directory: &Path, arguments: &[&str]) -> Option<String> {
    let output = Command::new("git")
        .arg("-C")
        .arg(directory)
        .args(["-c", "core.quotepath=off"])
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8(output.stdout).ok())
        .flatten()
}

fn from_git(directory: &Path, bounds: Bounds) -> Option<Input> {
    let root = PathBuf::from(git(directory, &["rev-parse", "--show-toplevel"])?.trim_end());
    let log = git(
        &root,
        &[
            "log",
            "--max-count=400",
            "--format=commit %h",
            "--name-only",
        ],
    )?;
    let mut commits: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut commit = "";
    for line in log.lines().filter(|line| !line.is_empty()) {
        match line.strip_prefix("commit ") {
            Some(hash) => commit = hash,
            None => commits.entry(line).or_default().push(commit),
        }
    }
    // Those that changed most often have most to show.
    let mut files: Vec<_> = commits
        .into_iter()
        .filter(|(path, _)| is_source(path))
        .collect();
    files.sort_by_key(|(_, commits)| std::cmp::Reverse(commits.len()));
    let histories = files
        .into_iter()
        .filter_map(|(path, commits)| git_history(&root, path, &commits, bounds))
        .take(bounds.files)
        .collect();
    let origin = format!("versions of files in the git history of {}", root.display());
    Input::of(origin, histories, bounds)
}

fn is_source(path: &str) -> bool {
    let extensions = ["rs", "py", "md", "toml", "c", "h", "js", "ts", "go", "java"];
    let extension = Path::new(path)
        .extension()
        .and_then(|extension| extension.to_str());
    extension.is_some_and(|extension| extensions.contains(&extension))
}

/// The last versions of a file, the one in the working copy included.
fn git_history(root: &Path, path: &str, commits: &[&str], bounds: Bounds) -> Option<History> {
    let mut versions = Vec::new();
    if let Some(text) = fs::read_to_string(root.join(path))
        .ok()
        .and_then(|text| lines(&text, bounds))
    {
        versions.push(("now".to_owned(), text));
    }
    for commit in commits.iter().take(bounds.versions) {
        let shown = git(root, &["show", &format!("{commit}:{path}")]);
        if let Some(text) = shown.and_then(|text| lines(&text, bounds)) {
            versions.push(((*commit).to_owned(), text));
        }
    }
    // A working copy without changes is the last commit, and is called so.
    versions.dedup_by(|older, newer| {
        let is_same = older.1 == newer.1;
        if is_same {
            newer.0 = std::mem::take(&mut older.0);
        }
        is_same
    });
    versions.truncate(bounds.versions);
    versions.reverse();
    (versions.len() > 1).then(|| History {
        path: path.to_owned(),
        versions,
    })
}

/// Crates of which the registry's folder has more than one version.
fn from_registry(bounds: Bounds) -> Option<Input> {
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    #[allow(deprecated, reason = "it is right on all systems since Rust 1.85")]
    let home = home.or_else(|| env::home_dir().map(|home| home.join(".cargo")))?;
    let mut crates: BTreeMap<String, Vec<(Vec<u64>, PathBuf)>> = BTreeMap::new();
    for folder in folders(&home.join("registry/src"))
        .iter()
        .flat_map(|index| folders(index))
    {
        if let Some((name, version)) = name_and_version(&folder) {
            crates.entry(name).or_default().push((version, folder));
        }
    }
    let mut histories: Vec<History> = Vec::new();
    for (_, mut versions) in crates
        .into_iter()
        .filter(|(_, versions)| versions.len() > 1)
    {
        versions.sort();
        histories.extend(registry_histories(&versions, bounds));
    }
    histories.truncate(bounds.files);
    Input::of(
        "versions of crates in cargo's registry on this machine".into(),
        histories,
        bounds,
    )
}

fn folders(of: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(of).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.path())
        .filter(|path| path.is_dir())
        .collect()
}

/// Takes `syn-2.0.117` apart.
fn name_and_version(folder: &Path) -> Option<(String, Vec<u64>)> {
    let folder = folder.file_name()?.to_str()?;
    let at = folder.rfind('-')?;
    let version = folder[at + 1..]
        .split('.')
        .map(|part| part.parse().ok())
        .collect::<Option<_>>()?;
    Some((folder[..at].to_owned(), version))
}

/// Two files of a crate at most, so that several crates are seen.
fn registry_histories(crates: &[(Vec<u64>, PathBuf)], bounds: Bounds) -> Vec<History> {
    let Some((_, newest)) = crates.last() else {
        return Vec::new();
    };
    let mut files: Vec<PathBuf> = fs::read_dir(newest.join("src"))
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .collect();
    files.sort();
    let names = files.iter().filter_map(|path| path.file_name()?.to_str());
    names
        .filter_map(|name| registry_history(crates, name, bounds))
        .take(2)
        .collect()
}

fn registry_history(crates: &[(Vec<u64>, PathBuf)], file: &str, bounds: Bounds) -> Option<History> {
    let version = |(_, folder): &(Vec<u64>, PathBuf)| {
        let text = fs::read_to_string(folder.join("src").join(file)).ok()?;
        let label = folder.file_name()?.to_str()?.rsplit('-').next()?.to_owned();
        Some((label, lines(&text, bounds)?))
    };
    let mut versions: Vec<_> = crates.iter().filter_map(version).collect();
    versions.dedup_by(|newer, older| older.1 == newer.1);
    let (name, _) = name_and_version(&crates.last()?.1)?;
    (versions.len() > 1).then(|| History {
        path: format!("{name}/src/{file}"),
        versions,
    })
}

/// The last resort: this program's own source, the first half of each file against the second.
fn from_this_program(bounds: Bounds) -> Input {
    let sources = [
        ("input.rs", include_str!("input.rs")),
        ("analysis.rs", include_str!("analysis.rs")),
        ("report.rs", include_str!("report.rs")),
    ];
    let pair = |(name, text): &(&str, &str)| {
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let (first, second) = lines.split_at(lines.len() / 2);
        let part = |half: &[String]| half.iter().take(bounds.lines).cloned().collect();
        Pair::new(format!("{name} halves"), part(first), part(second))
    };
    let origin =
        "this program's own source, cut in halves, as there is no file with two versions here";
    Input {
        origin: origin.into(),
        pairs: sources.iter().map(pair).collect(),
    }
}
