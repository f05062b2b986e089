//! Standard input with `--stdin`: kept in a file, so that it can be part of the key and still reach the command.
//!
//! If it cannot be kept (a full disk), nothing that was read is lost: the command gets what was kept, then what was
//! read last, then the rest as it comes.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::process::Stdio;
use std::thread;

use super::dependency::short;

/// Standard input, read to its end or as far as it could be kept.
#[derive(Debug)]
pub enum Input {
    /// Whole, in a file, with its digest.
    Kept(File, String),
    /// The file that could not hold more, and what was read but not kept.
    Broken(File, Vec<u8>),
}

/// Reads standard input into `file`, which is empty.
pub fn keep(mut file: File) -> io::Result<Input> {
    let mut stdin = io::stdin().lock();
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; 1 << 16];
    let mut kept = 0;
    loop {
        match stdin.read(&mut buffer) {
            Ok(0) => return Ok(Input::Kept(file, short(&hasher.finalize()))),
            Ok(length) => {
                hasher.update(&buffer[..length]);
                if file.write_all(&buffer[..length]).is_err() {
                    file.set_len(kept)?;
                    buffer.truncate(length);
                    return Ok(Input::Broken(file, buffer));
                }
                kept += length as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

impl Input {
    /// What the command reads.
    pub fn for_command(&self) -> io::Result<Stdio> {
        match self {
            Input::Kept(file, _) => {
                let mut file = file.try_clone()?;
                file.rewind()?;
                Ok(file.into())
            }
            Input::Broken(file, rest) => {
                let mut file = file.try_clone()?;
                file.rewind()?;
                feed(file.chain(io::Cursor::new(rest.clone())))
            }
        }
    }
}

/// A pipe that gives `first` and then the rest of standard input.
fn feed(mut first: impl Read + Send + 'static) -> io::Result<Stdio> {
    let (reader, mut writer) = io::pipe()?;
    thread::spawn(move || {
        // A command that stops reading ends this, and that is no error.
        io::copy(&mut first, &mut writer)
            .and_then(|_| io::copy(&mut io::stdin().lock(), &mut writer))
    });
    Ok(reader.into())
}
