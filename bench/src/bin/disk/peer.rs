//! diskcache in a process of its own, which answers one command at a time.

use std::error::Error;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use crate::cost::Cost;

const SCRIPT: &str = include_str!("peer.py");

/// The running peer.
pub struct Peer {
    child: Child,
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
}

/// The interpreter that has diskcache; `PYTHON` names it.
fn python() -> PathBuf {
    std::env::var_os("PYTHON").map_or_else(|| "python3".into(), PathBuf::from)
}

/// A command that runs the peer's script.
pub fn script(args: &[&str]) -> Command {
    let mut command = Command::new(python());
    command.args(["-c", SCRIPT]).args(args);
    command
}

/// Says which diskcache is measured.
pub fn version() -> Result<String, Box<dyn Error>> {
    let ask =
        "import sys, diskcache; print(diskcache.__version__, 'on CPython', sys.version.split()[0])";
    let output = Command::new(python()).args(["-c", ask]).output()?;
    if !output.status.success() {
        let advice = "PYTHON must name an interpreter that has diskcache 5.6.3";
        return Err(format!("{advice}: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

impl Peer {
    pub fn start() -> Result<Self, Box<dyn Error>> {
        let mut child = script(&[])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let questions = child.stdin.take().expect("it was asked for");
        let answers = BufReader::new(child.stdout.take().expect("it was asked for"));
        Ok(Self {
            child,
            questions,
            answers,
        })
    }

    /// Has something done and returns what one operation cost.
    pub fn ask(&mut self, command: &str, dir: &Path, numbers: &[u64]) -> Cost {
        let mut line = format!("{command}\t{}", dir.display());
        for number in numbers {
            line.push_str(&format!("\t{number}"));
        }
        writeln!(self.questions, "{line}").expect("the peer reads");
        let mut answer = String::new();
        let read = self.answers.read_line(&mut answer);
        read.expect("the peer answers");
        let cost = answer.trim().split_once(' ').and_then(|(wall, busy)| {
            Some(Cost {
                wall: wall.parse().ok()?,
                busy: busy.parse().ok()?,
            })
        });
        cost.unwrap_or_else(|| panic!("the peer failed at `{line}`: its message is above"))
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // One that is gone already needs no end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
