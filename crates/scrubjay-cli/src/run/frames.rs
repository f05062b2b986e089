//! The frames of a run: what a command printed and made, in one file, in the order in which it came.
//!
//! A file is `MAGIC` and then frames, each `kind u8 · length u32 · checksum u32 · payload`, little endian. The checksum
//! is a CRC-32 over the checksum of the frame before, the kind, the length and the payload, so a frame that was
//! changed, lost or moved breaks the chain. A run is whole if and only if its last frame is `End`.
//!
//! The format is the same while the command runs (others read the file as it grows) and in the store.
//! Nothing read is trusted: a length is bounded before anything is allocated for it.

use std::io::{self, Read, Write};

/// The first bytes of every file of frames; the last of them is the version.
pub const MAGIC: [u8; 8] = *b"SJFRAME\x01";

/// The longest payload of a frame.
pub const LONGEST: usize = 1 << 20;

const HEADER: usize = 9;

/// Where a command wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    Stdout,
    Stderr,
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Code(i32),
    Signal(i32),
}

impl Exit {
    pub fn is_success(self) -> bool {
        self == Exit::Code(0)
    }
}

impl std::fmt::Display for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Exit::Code(code) => write!(f, "exit code {code}"),
            Exit::Signal(signal) => match signal_hook::low_level::signal_name(*signal) {
                Some(name) => write!(f, "signal {signal} ({name})"),
                None => write!(f, "signal {signal}"),
            },
        }
    }
}

/// One frame. `Start` and `Made` carry JSON; `Start` is for those who watch a run and is absent from nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// Who runs the command, since when: see [`super::live::Start`].
    Start(&'a [u8]),
    /// What the command printed.
    Output(Stream, &'a [u8]),
    /// A file, directory or link that the command made: see [`super::artefact::Made`].
    Made(&'a [u8]),
    /// The next bytes of the file last announced.
    Content(&'a [u8]),
    /// The last frame.
    End(Exit),
}

impl Frame<'_> {
    fn kind(&self) -> u8 {
        match self {
            Frame::Start(_) => 0,
            Frame::Output(Stream::Stdout, _) => 1,
            Frame::Output(Stream::Stderr, _) => 2,
            Frame::Made(_) => 3,
            Frame::Content(_) => 4,
            Frame::End(_) => 5,
        }
    }
}

fn checksum(before: u32, kind_and_length: &[u8], payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&before.to_le_bytes());
    hasher.update(kind_and_length);
    hasher.update(payload);
    hasher.finalize()
}

fn end_payload(exit: Exit) -> [u8; 5] {
    let (kind, number) = match exit {
        Exit::Code(code) => (0, code),
        Exit::Signal(signal) => (1, signal),
    };
    let [a, b, c, d] = number.to_le_bytes();
    [kind, a, b, c, d]
}

/// Appends frames to `W`.
#[derive(Debug)]
pub struct FrameWriter<W> {
    to: W,
    checksum: u32,
    buffer: Vec<u8>,
}

impl<W: Write> FrameWriter<W> {
    /// Begins a file.
    pub fn new(mut to: W) -> io::Result<Self> {
        to.write_all(&MAGIC)?;
        Ok(Self {
            to,
            checksum: 0,
            buffer: Vec::new(),
        })
    }

    /// Appends one frame; its payload must be [`LONGEST`] or shorter.
    pub fn write(&mut self, frame: Frame<'_>) -> io::Result<()> {
        let end;
        let payload = match frame {
            Frame::Start(bytes) | Frame::Output(_, bytes) | Frame::Made(bytes) => bytes,
            Frame::Content(bytes) => bytes,
            Frame::End(exit) => {
                end = end_payload(exit);
                &end[..]
            }
        };
        assert!(
            payload.len() <= LONGEST,
            "callers hand over pieces no longer than a frame may be"
        );
        self.buffer.clear();
        self.buffer.push(frame.kind());
        self.buffer.extend((payload.len() as u32).to_le_bytes());
        self.checksum = checksum(self.checksum, &self.buffer, payload);
        self.buffer.extend(self.checksum.to_le_bytes());
        self.buffer.extend(payload);
        self.to.write_all(&self.buffer)
    }

    pub fn get_ref(&self) -> &W {
        &self.to
    }
}

/// What reading found where a frame should be.
#[derive(Debug)]
pub enum Trouble {
    /// These bytes are no run, or one of another version, or damaged.
    Damaged(&'static str),
    /// The file could not be read.
    Io(io::Error),
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Trouble::Damaged(what) => write!(f, "{what}"),
            Trouble::Io(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for Trouble {}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Trouble::Io(error)
    }
}

/// Reads frames from `R`, which may still grow.
#[derive(Debug)]
pub struct FrameReader<R> {
    from: R,
    checksum: u32,
    began: bool,
    buffer: Vec<u8>,
    /// Where in the buffer the next frame begins.
    at: usize,
    /// How many frames were handed out.
    frames: u64,
}

impl<R: Read> FrameReader<R> {
    pub fn new(from: R) -> Self {
        Self {
            from,
            checksum: 0,
            began: false,
            buffer: Vec::new(),
            at: 0,
            frames: 0,
        }
    }

    pub fn get_ref(&self) -> &R {
        &self.from
    }

    /// How many frames were handed out.
    pub fn position(&self) -> u64 {
        self.frames
    }

    /// Whether the source has a whole frame more.
    pub fn has_next(&mut self) -> Result<bool, Trouble> {
        if !self.begin()? || !self.fill(HEADER)? {
            return Ok(false);
        }
        let length = &self.buffer[self.at + 1..self.at + 5];
        let length = u32::from_le_bytes([length[0], length[1], length[2], length[3]]) as usize;
        Ok(length <= LONGEST && self.fill(HEADER + length)?)
    }

    /// The next frame; `None` if the source has no whole one (yet).
    pub fn next(&mut self) -> Result<Option<Frame<'_>>, Trouble> {
        if !self.begin()? || !self.fill(HEADER)? {
            return Ok(None);
        }
        let header = &self.buffer[self.at..self.at + HEADER];
        let kind = header[0];
        let length = u32::from_le_bytes([header[1], header[2], header[3], header[4]]) as usize;
        let expected = u32::from_le_bytes([header[5], header[6], header[7], header[8]]);
        if length > LONGEST {
            return Err(Trouble::Damaged("a frame is longer than frames are"));
        }
        if !self.fill(HEADER + length)? {
            return Ok(None);
        }
        let start = self.at;
        let payload = start + HEADER..start + HEADER + length;
        let sum = checksum(
            self.checksum,
            &self.buffer[start..start + 5],
            &self.buffer[payload.clone()],
        );
        if sum != expected {
            return Err(Trouble::Damaged("a frame's checksum is wrong"));
        }
        self.checksum = sum;
        self.at = payload.end;
        self.frames += 1;
        decode(kind, &self.buffer[payload]).map(Some)
    }

    fn begin(&mut self) -> Result<bool, Trouble> {
        if !self.began && self.fill(MAGIC.len())? {
            if self.buffer[..MAGIC.len()] != MAGIC {
                return Err(Trouble::Damaged(
                    "this is not a run, or one of another version",
                ));
            }
            self.at = MAGIC.len();
            self.began = true;
        }
        Ok(self.began)
    }

    /// Whether the buffer has `length` bytes from `at` on, after reading what is missing.
    fn fill(&mut self, length: usize) -> io::Result<bool> {
        if self.at > 0 && self.buffer.len() - self.at < length {
            self.buffer.drain(..self.at);
            self.at = 0;
        }
        while self.buffer.len() - self.at < length {
            let old = self.buffer.len();
            let missing = length - (old - self.at);
            // What is read at a time grows with what was read: most answers are short.
            let some = self.buffer.capacity().clamp(4 << 10, 64 << 10);
            self.buffer.resize(old + missing.max(some), 0);
            let read = self.from.read(&mut self.buffer[old..]);
            self.buffer.truncate(old + *read.as_ref().unwrap_or(&0));
            match read {
                Ok(0) => return Ok(false),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }
}

fn decode(kind: u8, payload: &[u8]) -> Result<Frame<'_>, Trouble> {
    Ok(match kind {
        0 => Frame::Start(payload),
        1 => Frame::Output(Stream::Stdout, payload),
        2 => Frame::Output(Stream::Stderr, payload),
        3 => Frame::Made(payload),
        4 => Frame::Content(payload),
        5 => Frame::End(decode_exit(payload)?),
        _ => return Err(Trouble::Damaged("a frame is of no known kind")),
    })
}

fn decode_exit(payload: &[u8]) -> Result<Exit, Trouble> {
    let [kind, a, b, c, d] = *payload else {
        return Err(Trouble::Damaged("the last frame has a wrong length"));
    };
    let number = i32::from_le_bytes([a, b, c, d]);
    match kind {
        0 => Ok(Exit::Code(number)),
        1 => Ok(Exit::Signal(number)),
        _ => Err(Trouble::Damaged("the last frame is of no known kind")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    const RUN: [Frame<'static>; 6] = [
        Frame::Start(b"{}"),
        Frame::Output(Stream::Stdout, b"one\n"),
        Frame::Output(Stream::Stderr, b"\xff\x00"),
        Frame::Made(b"{}"),
        Frame::Content(b"content"),
        Frame::End(Exit::Signal(15)),
    ];

    fn encoded() -> Vec<u8> {
        let mut writer = FrameWriter::new(Vec::new()).unwrap();
        for frame in RUN {
            writer.write(frame).unwrap();
        }
        writer.to
    }

    /// How many frames of `bytes` are as they were written, and what came after them.
    fn read(bytes: &[u8]) -> (usize, Result<(), Trouble>) {
        let mut reader = FrameReader::new(bytes);
        for (number, expected) in RUN.iter().enumerate() {
            match reader.next() {
                Ok(Some(frame)) => assert_eq!(frame, *expected, "a wrong frame was handed out"),
                Ok(None) => return (number, Ok(())),
                Err(trouble) => return (number, Err(trouble)),
            }
        }
        (RUN.len(), Ok(()))
    }

    #[test]
    fn frames_come_back_as_they_were_written() {
        assert_eq!(read(&encoded()).0, RUN.len());
    }

    #[test]
    fn a_truncated_file_gives_its_whole_frames_and_waits_for_more() {
        let bytes = encoded();
        for length in 0..bytes.len() {
            let (frames, end) = read(&bytes[..length]);
            assert!(frames < RUN.len() && end.is_ok(), "cut at {length}");
        }
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let bytes = encoded();
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(read(&damaged).0 < RUN.len(), "bit {bit}");
        }
    }

    #[test]
    fn a_frame_that_was_lost_breaks_the_chain() {
        let mut bytes = encoded();
        let first = MAGIC.len() + HEADER + 2;
        bytes.drain(first..first + HEADER + 4);
        assert!(matches!(read(&bytes), (1, Err(Trouble::Damaged(_)))));
    }

    #[test]
    fn a_file_that_grows_is_read_as_it_grows() {
        let bytes = encoded();
        let source = std::cell::RefCell::new(std::collections::VecDeque::new());
        struct Growing<'a>(&'a std::cell::RefCell<std::collections::VecDeque<u8>>);
        impl Read for Growing<'_> {
            fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
                self.0.borrow_mut().read(to)
            }
        }
        let mut reader = FrameReader::new(Growing(&source));
        let mut seen = 0;
        for byte in bytes {
            source.borrow_mut().push_back(byte);
            while let Some(frame) = reader.next().unwrap() {
                assert_eq!(frame, RUN[seen]);
                seen += 1;
            }
        }
        assert_eq!(seen, RUN.len());
    }

    #[test]
    fn a_length_beyond_the_bound_is_refused_before_anything_is_allocated() {
        let mut bytes = MAGIC.to_vec();
        bytes.extend([1, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]);
        let mut reader = FrameReader::new(&bytes[..]);
        assert!(matches!(reader.next(), Err(Trouble::Damaged(_))));
        assert!(reader.buffer.capacity() < LONGEST);
    }
}
