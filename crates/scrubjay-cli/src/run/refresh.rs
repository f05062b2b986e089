//! Running a command in the background: this same program, asked the same, silent and on its own.
//!
//! At most one runs: the new process ends at once if somebody leads already.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use super::cycle::LEADING;
use super::{BACKGROUND, Job};

/// Starts a process that runs the command and stores its answer; false if somebody is at it, or none can be started.
pub fn start(job: &Job) -> bool {
    try_start(job).unwrap_or_else(|error| {
        crate::output::complain(&format!("no refresh in the background: {error}"));
        false
    })
}

fn try_start(job: &Job) -> io::Result<bool> {
    match job.try_lead()? {
        None => return Ok(false),
        Some(probe) => drop(probe),
    }
    let stdin = job
        .input
        .as_ref()
        .map_or(Ok(Stdio::null()), |input| input.for_command())?;
    let mut command = Command::new(std::env::current_exe()?);
    command
        .args(std::env::args_os().skip(1))
        .env(BACKGROUND, "true")
        // Nobody waits for it, so it is part of no run.
        .env_remove(LEADING)
        .stdin(stdin)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // Ctrl-C in the terminal is not meant for it.
        .process_group(0)
        .spawn()?;
    Ok(true)
}
