//! Section: a process that is killed while it writes.

use std::collections::HashMap;
use std::io::Read;
use std::process::{Command, Stdio};
use std::time::Instant;

use scrubjay::disk::Store;

use super::report::{Page, bytes, number, time};
use super::worker::entry;
use super::{Failure, Folder, claim};

/// Entries that are waited for before the writer is killed.
const ENOUGH: u64 = 3_000;

/// Kills a writer and looks for everything that it had said was written.
pub fn show(page: &mut Page) -> Result<(), Failure> {
    page.heading("A kill in the middle of writing")?;
    page.text(
        "A process writes entries of 1 KiB one after the other and says of each when it is committed. After some thousand it \
         is killed with SIGKILL, wherever it is. Another process then opens the folder.",
    )?;
    page.progress("writing")?;
    let folder = Folder::new("kill");
    let mut command = Command::new(std::env::current_exe()?);
    let command = command.arg("--write").arg(folder.path());
    let mut writer = command.stdout(Stdio::piped()).spawn()?;
    let mut out = writer.stdout.take().ok_or("the writer has no output")?;
    let mut said = [0; 8];
    for _ in 0..ENOUGH {
        out.read_exact(&mut said)?;
    }
    writer.kill()?;
    let status = writer.wait()?;
    claim(!status.success(), || "the writer ended by itself".into())?;
    let mut rest = Vec::new();
    out.read_to_end(&mut rest)?;
    let acknowledged = ENOUGH + rest.len() as u64 / 8;
    page.progress("looking")?;
    look(page, &folder, acknowledged)
}

fn look(page: &mut Page, folder: &Folder, acknowledged: u64) -> Result<(), Failure> {
    let began = Instant::now();
    let store = Store::open(folder.path())?;
    let opened = began.elapsed();
    let report = store.verify(|_| ())?;
    claim(report.is_sound(), || {
        format!("the folder is damaged: {report:?}")
    })?;
    let mut missing = HashMap::new();
    for number in 0..acknowledged {
        let (digest, value) = entry(number);
        let found = store.get(&digest).map(|record| record.payload.into_bytes());
        if !matches!(&found, Some(Ok(bytes)) if *bytes == value) {
            missing.insert(number, found.is_some());
        }
    }
    claim(missing.is_empty(), || {
        format!("acknowledged entries are not there: {missing:?}")
    })?;
    page.text(format!(
        "The writer had acknowledged {} entries when it died. Opening the folder took {}; every checksum of {} entries, {}, \
         is right, and all {} acknowledged entries are there.",
        number(acknowledged),
        time(opened),
        number(report.entries),
        bytes(report.bytes),
        number(acknowledged),
    ))?;
    Ok(())
}
