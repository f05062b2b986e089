//! Why a subcommand could not do its work: a message for people and an exit code for scripts.

use std::fmt;
use std::io;
use std::process::ExitCode;

use crate::output;

/// The answer is no.
pub const NO: u8 = 1;
/// The arguments make no sense.
pub const USAGE: u8 = 2;
/// The store or a file cannot be used.
pub const STORE: u8 = 3;
/// `run` itself failed.
pub const RUN: u8 = 125;
/// The command cannot be executed.
pub const NOT_EXECUTABLE: u8 = 126;
/// The command does not exist.
pub const NOT_FOUND: u8 = 127;

pub type Result<T, E = Failure> = std::result::Result<T, E>;

/// An error on its way to standard error.
#[derive(Debug)]
pub struct Failure {
    code: u8,
    message: String,
}

impl Failure {
    pub fn new(code: u8, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }

    /// Prints the message and gives the exit code.
    pub fn report(&self) -> ExitCode {
        if !self.message.is_empty() {
            output::complain(&self.message);
        }
        ExitCode::from(self.code)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

impl From<io::Error> for Failure {
    /// Whoever reads our output has seen enough: that ends the command, silently.
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            output::die_of_broken_pipe();
        }
        Self::new(STORE, error.to_string())
    }
}

impl From<scrubjay::Error> for Failure {
    fn from(error: scrubjay::Error) -> Self {
        Self::new(STORE, error.to_string())
    }
}
