//! `scrubjay export` and `import`: entries in a file, as JSON lines or as a binary archive.
//!
//! JSON lines: for each entry a line `{"entry": …}` with its head, then lines `{"data": "<base64>"}` until the head's
//! `bytes` are there. Archive: `MAGIC`, then for each entry the length of its head (u32, little endian), the head as
//! the same JSON, the payload, and the BLAKE3 digest of head and payload. Neither format needs an entry in memory as a
//! whole; nothing read is trusted, and lengths are bounded before anything is allocated.

mod binary;
mod entry;
mod lines;

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::SystemTime;

use indicatif::ProgressBar;
use scrubjay::disk::{Head, LARGE, Store};
use serde_json::json;

use crate::args::{Export, Format, Global, Import};
use crate::failure::{Failure, Result, STORE};
use crate::{output, store};
use entry::Entry;

/// Longest head of an entry that is read.
const LONGEST_HEAD: usize = 16 << 20;

/// Where entries are written to.
trait Writer {
    fn entry(&mut self, entry: &Entry, payload: &mut dyn Read) -> io::Result<()>;
    fn finish(&mut self) -> io::Result<()>;
}

/// Where entries are read from.
trait Reader {
    /// The next entry's head.
    fn head(&mut self) -> io::Result<Option<Entry>>;
    /// Copies the payload of the entry whose head was read last; fails if it is not what was exported.
    fn payload(&mut self, entry: &Entry, to: &mut dyn Write) -> io::Result<()>;
}

pub fn export(global: &Global, arguments: &Export) -> Result<ExitCode> {
    let store = store::open(global)?;
    let heads = arguments.selection.of(&store)?;
    let file = path(&arguments.file);
    let format = arguments.format.unwrap_or_else(|| format_of(file));
    let to: Box<dyn Write> = match file {
        Some(path) => Box::new(File::create(path).map_err(|error| at(path, &error))?),
        None => Box::new(io::stdout().lock()),
    };
    let bar = output::progress(heads.len() as u64, "exported");
    let exported = give_all(&store, &heads, BufWriter::new(to), format, &bar);
    bar.finish_and_clear();
    let exported = exported.map_err(|error| match file {
        Some(path) => at(path, &error),
        None => error.into(),
    })?;
    tell(global, file.is_none(), "exported", exported)
}

fn give_all(
    store: &Store,
    heads: &[Head],
    to: impl Write,
    format: Format,
    bar: &ProgressBar,
) -> io::Result<u64> {
    let mut writer: Box<dyn Writer> = match format {
        Format::Jsonl => Box::new(lines::LineWriter(to)),
        Format::Archive => Box::new(binary::ArchiveWriter::new(to)?),
    };
    let mut exported = 0;
    for head in heads {
        // An entry that was removed, or whose life ended, since it was listed is left out.
        if let Some(record) = store.get(&head.digest) {
            writer.entry(&Entry::from(&record.head), &mut record.payload.reader())?;
            exported += 1;
        }
        bar.inc(1);
    }
    writer.finish()?;
    Ok(exported)
}

pub fn import(global: &Global, arguments: &Import) -> Result<ExitCode> {
    let store = store::open_or_create(&store::directory(global)?, None)?;
    let file = path(&arguments.file);
    let (from, length): (Box<dyn Read>, u64) = match file {
        Some(path) => {
            let file = File::open(path).map_err(|error| at(path, &error))?;
            let length = file.metadata()?.len();
            (Box::new(file), length)
        }
        None => (Box::new(io::stdin().lock()), 0),
    };
    let bar = output::progress_bytes(length, "imported");
    let mut imported = 0;
    let taken = reader_of(BufReader::new(bar.wrap_read(from)))
        .map_err(Failure::from)
        .and_then(|mut reader| take_all(&store, reader.as_mut(), &mut imported));
    bar.finish_and_clear();
    taken.map_err(|failure| {
        let from = file.map_or("standard input".into(), Path::to_string_lossy);
        let before = output::counted(imported, "entry", "entries");
        let message = format!("{from}: {failure}; {before} imported before that");
        Failure::new(STORE, message)
    })?;
    tell(global, false, "imported", imported)
}

/// Tells the formats apart by the first byte.
fn reader_of<'a>(mut from: impl BufRead + 'a) -> io::Result<Box<dyn Reader + 'a>> {
    let is_archive = from.fill_buf()?.starts_with(&binary::MAGIC[..1]);
    Ok(match is_archive {
        true => Box::new(binary::ArchiveReader::new(from)?),
        false => Box::new(lines::LineReader::new(from)),
    })
}

/// For fuzzing: reads as `import` does, and keeps nothing.
pub fn decode_anything(bytes: &[u8]) {
    let Ok(mut reader) = reader_of(bytes) else {
        return;
    };
    while let Ok(Some(entry)) = reader.head() {
        let _ = entry.record();
        if reader.payload(&entry, &mut io::sink()).is_err() {
            return;
        }
    }
}

fn take_all(store: &Store, reader: &mut dyn Reader, imported: &mut u64) -> Result<()> {
    let now = SystemTime::now();
    while let Some(entry) = reader.head()? {
        if !entry.is_worth_keeping(now) {
            reader.payload(&entry, &mut io::sink())?;
            continue;
        }
        let record = entry.record()?;
        if entry.bytes < LARGE {
            let mut payload = Vec::new();
            reader.payload(&entry, &mut payload)?;
            store.put(record, &payload)?;
        } else {
            let mut incoming = Incoming::create(store)?;
            reader.payload(&entry, &mut incoming.file)?;
            store.put_file(record, &incoming.path)?;
        }
        *imported += 1;
    }
    Ok(())
}

/// A large payload on its way into the store; gone when it is dropped, unless the store has adopted it.
struct Incoming {
    path: PathBuf,
    file: File,
}

impl Incoming {
    fn create(store: &Store) -> Result<Self> {
        let name = format!("import-{}", std::process::id());
        let path = store.scratch()?.join(name);
        let mut options = OpenOptions::new();
        let options = options.write(true).create(true).truncate(true).mode(0o600);
        let file = options.open(&path)?;
        Ok(Self { path, file })
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        // What stays is swept.
        let _ = fs::remove_file(&self.path);
    }
}

fn path(file: &Option<PathBuf>) -> Option<&Path> {
    file.as_deref().filter(|path| *path != Path::new("-"))
}

fn format_of(file: Option<&Path>) -> Format {
    let extension = file
        .and_then(Path::extension)
        .and_then(|extension| extension.to_str());
    match extension {
        Some("jsonl" | "json" | "ndjson") => Format::Jsonl,
        _ => Format::Archive,
    }
}

fn at(path: &Path, error: &io::Error) -> Failure {
    Failure::new(STORE, format!("{}: {error}", path.display()))
}

/// What was done; on standard error where standard output has the entries.
fn tell(global: &Global, on_stderr: bool, what: &str, number: u64) -> Result<ExitCode> {
    let line = format!("{what} {}", output::counted(number, "entry", "entries"));
    match (global.json, on_stderr) {
        (true, true) => eprintln!("{}", json!({ what: number })),
        (true, false) => output::json(&json!({ what: number }))?,
        (false, true) => output::complain(&line),
        (false, false) => output::line(&line)?,
    }
    Ok(ExitCode::SUCCESS)
}
