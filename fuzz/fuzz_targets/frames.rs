//! The file of a run of the command, whatever its bytes; and one that was written is read as it was written.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../crates/scrubjay-cli/src/run/frames.rs"]
#[allow(dead_code, reason = "the command uses more of it")]
mod frames;

use frames::{Exit, Frame, FrameReader, FrameWriter, Stream};

fuzz_target!(|bytes: &[u8]| {
    let mut reader = FrameReader::new(bytes);
    while let Ok(Some(_)) = reader.next() {}

    // Each byte says which kind of frame comes, and how many of the bytes behind it are its payload.
    let mut rest = bytes;
    let mut written = Vec::new();
    while let Some((head, behind)) = rest.split_first() {
        let (payload, behind) = behind.split_at(behind.len().min(usize::from(head >> 3)));
        rest = behind;
        written.push(match head % 6 {
            0 => Frame::Start(payload),
            1 => Frame::Output(Stream::Stdout, payload),
            2 => Frame::Output(Stream::Stderr, payload),
            3 => Frame::Made(payload),
            4 => Frame::Content(payload),
            _ => Frame::End(Exit::Signal(i32::from(*head))),
        });
    }
    let mut writer = FrameWriter::new(Vec::new()).expect("memory is written to");
    for frame in &written {
        writer.write(*frame).expect("memory is written to");
    }
    let mut reader = FrameReader::new(&**writer.get_ref());
    for frame in written {
        assert_eq!(reader.next().expect("it is whole"), Some(frame));
    }
    assert_eq!(reader.next().expect("it is whole"), None);
});
