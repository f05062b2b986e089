//! Recorded requests: files `NAME.u32.zst`, zstd-compressed little-endian key ids, dense from 0.

use std::error::Error;
use std::path::{Path, PathBuf};

/// One recorded trace.
#[derive(Debug)]
pub struct Trace {
    pub name: String,
    /// The keys asked for, in order.
    pub requests: Vec<u32>,
    /// How many different keys there are.
    pub distinct: usize,
}

impl Trace {
    /// Reads one file.
    ///
    /// # Errors
    ///
    /// When it cannot be read, is not zstd, or is no sequence of 32-bit numbers.
    pub fn read(path: &Path) -> Result<Self, Box<dyn Error>> {
        let bytes = zstd::decode_all(std::fs::File::open(path)?)?;
        let (words, rest) = bytes.as_chunks::<4>();
        if !rest.is_empty() {
            return Err(format!("{}: ends within a number", path.display()).into());
        }
        let requests: Vec<u32> = words.iter().map(|word| u32::from_le_bytes(*word)).collect();
        let mut seen = vec![false; requests.iter().max().map_or(0, |max| *max as usize + 1)];
        for key in &requests {
            seen[*key as usize] = true;
        }
        Ok(Self {
            name: name_of(path).unwrap_or_default().to_owned(),
            distinct: seen.iter().filter(|seen| **seen).count(),
            requests,
        })
    }

    /// Reads every trace of a folder, by name.
    ///
    /// # Errors
    ///
    /// When the folder or one of its traces cannot be read, or there is none.
    pub fn read_folder(folder: &Path) -> Result<Vec<Self>, Box<dyn Error>> {
        let mut paths: Vec<PathBuf> = std::fs::read_dir(folder)
            .map_err(|error| format!("{}: {error}", folder.display()))?
            .map(|file| Ok(file?.path()))
            .collect::<Result<_, std::io::Error>>()?;
        paths.retain(|path| name_of(path).is_some());
        paths.sort();
        if paths.is_empty() {
            return Err(format!("{}: no file named NAME.u32.zst", folder.display()).into());
        }
        paths.iter().map(|path| Self::read(path)).collect()
    }
}

fn name_of(path: &Path) -> Option<&str> {
    path.file_name()?.to_str()?.strip_suffix(".u32.zst")
}
