//! Entries as JSON lines.

use std::io::{self, BufRead, Read, Write};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::entry::Entry;
use super::{LONGEST_HEAD, Reader, Writer};

/// Bytes of payload in a line; divisible by three, so that only an entry's last line is padded.
const PIECE: usize = 48 << 10;

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Line {
    Entry(Entry),
    Data(String),
}

#[derive(Debug)]
pub struct LineWriter<W>(pub W);

impl<W: Write> LineWriter<W> {
    fn line(&mut self, line: &Line) -> io::Result<()> {
        serde_json::to_writer(&mut self.0, line)?;
        self.0.write_all(b"\n")
    }
}

impl<W: Write> Writer for LineWriter<W> {
    fn entry(&mut self, entry: &Entry, payload: &mut dyn Read) -> io::Result<()> {
        self.line(&Line::Entry(entry.clone()))?;
        let mut piece = Vec::with_capacity(PIECE);
        loop {
            piece.clear();
            if payload.take(PIECE as u64).read_to_end(&mut piece)? == 0 {
                return Ok(());
            }
            self.line(&Line::Data(STANDARD.encode(&piece)))?;
        }
    }

    fn finish(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[derive(Debug)]
pub struct LineReader<R> {
    from: R,
    number: u64,
}

impl<R: BufRead> LineReader<R> {
    pub fn new(from: R) -> Self {
        Self { from, number: 0 }
    }

    fn line(&mut self) -> io::Result<Option<Line>> {
        let mut text = Vec::new();
        let read = (&mut self.from)
            .take(LONGEST_HEAD as u64)
            .read_until(b'\n', &mut text)?;
        self.number += 1;
        if read == 0 {
            return Ok(None);
        }
        if self.number == 1 && !text.starts_with(b"{") {
            return Err(io::Error::other(
                "this is nothing that `scrubjay export` wrote; what was compressed must be decompressed first",
            ));
        }
        serde_json::from_slice(&text)
            .map(Some)
            .map_err(|error| self.wrong(&error.to_string()))
    }

    fn wrong(&self, what: &str) -> io::Error {
        io::Error::other(format!("line {}: {what}", self.number))
    }
}

impl<R: BufRead> Reader for LineReader<R> {
    fn head(&mut self) -> io::Result<Option<Entry>> {
        match self.line()? {
            None => Ok(None),
            Some(Line::Entry(entry)) => Ok(Some(entry)),
            Some(Line::Data(_)) => Err(self.wrong("more data than the entry announced")),
        }
    }

    fn payload(&mut self, entry: &Entry, to: &mut dyn Write) -> io::Result<()> {
        let mut missing = entry.bytes;
        while missing > 0 {
            let Some(Line::Data(text)) = self.line()? else {
                return Err(self.wrong("less data than the entry announced"));
            };
            let bytes = STANDARD
                .decode(text)
                .map_err(|error| self.wrong(&error.to_string()))?;
            let left = missing.checked_sub(bytes.len() as u64);
            missing = left.ok_or_else(|| self.wrong("more data than the entry announced"))?;
            to.write_all(&bytes)?;
        }
        Ok(())
    }
}
