//! An answer that was kept, printed: output in its order, files where they belong, the end as it was.

use std::io::{self, Read};

use super::Job;
use super::artefact::Restorer;
use super::frames::{Exit, Frame, FrameReader, Trouble};
use super::printer::{Printer, Stop};

/// Prints the output in `frames`, to the end of the run or as far as there are frames.
pub fn output<R: Read>(frames: &mut FrameReader<R>, printer: &mut Printer) -> io::Result<()> {
    while let Some(frame) = frames.next().map_err(io::Error::other)? {
        match frame {
            Frame::Output(stream, bytes) => printer.print(stream, bytes)?,
            Frame::End(_) => break,
            Frame::Start(_) | Frame::Made(_) | Frame::Content(_) => {}
        }
    }
    Ok(())
}

/// Why an answer could not be replayed to its end.
#[derive(Debug)]
pub enum Broken {
    /// The bytes are not those that were stored, or they end too early.
    Damaged(Trouble),
    /// It goes on otherwise than what was already printed.
    Differs,
    /// Somebody else's side failed: standard output, or a file to be restored.
    Io(io::Error),
}

impl Broken {
    fn restoring(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::InvalidData => Broken::Damaged(Trouble::Io(error)),
            _ => Broken::Io(error),
        }
    }
}

impl From<Stop> for Broken {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Differs => Broken::Differs,
            stop => Broken::Io(stop.into()),
        }
    }
}

/// Takes frames one by one, prints and restores.
#[derive(Debug)]
pub struct Replay<'a> {
    printer: &'a mut Printer,
    restorer: Restorer<'a>,
}

impl<'a> Replay<'a> {
    pub fn new(job: &'a Job, printer: &'a mut Printer) -> Self {
        Self {
            printer,
            restorer: Restorer::new(&job.subject.out),
        }
    }

    pub fn printer(&mut self) -> &mut Printer {
        self.printer
    }

    /// The next frames are the first ones of another run.
    pub fn restart(&mut self) {
        self.restorer.restart();
        self.printer.restart();
    }

    /// The next frames are the first ones of a run that printed something else; it is printed from its beginning.
    pub fn begin_anew(&mut self) {
        self.restorer.restart();
        self.printer.begin_anew();
    }

    /// Goes on as far as `frames` has any; gives the end if it is reached.
    pub fn advance<R: Read>(
        &mut self,
        frames: &mut FrameReader<R>,
    ) -> Result<Option<Exit>, Broken> {
        while let Some(frame) = frames.next().map_err(Broken::Damaged)? {
            match frame {
                Frame::Start(_) => {}
                Frame::Output(stream, bytes) => self.printer.print(stream, bytes)?,
                Frame::Made(what) => self.restorer.announce(what).map_err(Broken::restoring)?,
                Frame::Content(bytes) => self.restorer.content(bytes).map_err(Broken::restoring)?,
                Frame::End(exit) => {
                    self.restorer.finish().map_err(Broken::restoring)?;
                    self.printer.finish()?;
                    return Ok(Some(exit));
                }
            }
        }
        Ok(None)
    }
}

/// Replays a stored answer, which must have an end.
pub fn stored(
    payload: Box<dyn Read + Send>,
    job: &Job,
    printer: &mut Printer,
) -> Result<Exit, Broken> {
    let mut frames = FrameReader::new(payload);
    match Replay::new(job, printer).advance(&mut frames)? {
        Some(exit) => Ok(exit),
        None => Err(Broken::Damaged(Trouble::Damaged("it has no end"))),
    }
}
