//! The answer of a run: how it ended, where it came from, and what is told of it.

use std::fmt;
use std::time::Duration;

use scrubjay::disk::Event;
use serde::Serialize;

use super::Job;
use super::frames::Exit;
use super::leader::Outcome;
use crate::args::Global;
use crate::output;

/// Where an answer came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// The store, within its life.
    Hit,
    /// The store, past its life; a refresh was started.
    Stale,
    /// The store, past its life, because the command failed.
    StaleIfError,
    /// Somebody else's run.
    Waited,
    /// A run of the command.
    Miss,
    /// None: it is in the store, within its life.
    Known,
    /// None: a run was started in the background.
    Warming,
    /// None: somebody else is at it already.
    Busy,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Source::Hit => "hit",
            Source::Stale => "stale",
            Source::StaleIfError => "stale, for the command failed",
            Source::Waited => "waited",
            Source::Miss => "miss",
            Source::Known => "known",
            Source::Warming => "warming",
            Source::Busy => "busy",
        })
    }
}

/// What a run comes to.
#[derive(Debug)]
pub struct Answer {
    pub exit: Exit,
    pub source: Source,
    /// What the run took that brought it.
    pub cost: Duration,
    /// Somebody wanted the run to end that brought it.
    pub interrupted: bool,
    pub not_stored: Option<String>,
}

impl Answer {
    pub fn new(exit: Exit, source: Source, cost: Duration) -> Self {
        Self {
            exit,
            source,
            cost,
            interrupted: false,
            not_stored: None,
        }
    }

    /// One that is none.
    pub fn absent(source: Source) -> Self {
        Self::new(Exit::Code(0), source, Duration::ZERO)
    }

    /// What it is for the statistics of the store.
    pub fn event(&self) -> Option<Event> {
        match self.source {
            Source::Hit | Source::Stale | Source::StaleIfError => Some(Event::Hit(self.cost)),
            Source::Waited => Some(Event::Wait),
            Source::Miss => Some(Event::Load(self.cost)),
            Source::Known | Source::Warming | Source::Busy => None,
        }
    }

    /// Says on standard error what was done: a line for people, or an object with `--json`.
    pub fn report(&self, global: &Global, job: &Job) {
        if global.json {
            return eprintln!("{}", self.to_json(job));
        }
        let key = job.key.digest.to_string();
        let mut line = format!("{}, key {:.12}, {}", self.source, key, self.exit);
        if let Some(why) = &self.not_stored {
            line += &format!("; not stored: {why}");
        }
        output::complain(&line);
    }

    fn to_json(&self, job: &Job) -> serde_json::Value {
        let (code, signal) = match self.exit {
            Exit::Code(code) => (Some(code), None),
            Exit::Signal(signal) => (None, Some(signal)),
        };
        serde_json::json!({
            "key": job.key.digest.to_string(),
            "function": job.function.name,
            "source": self.source,
            "code": code,
            "signal": signal,
            "load_cost_seconds": self.cost.as_secs_f64(),
            "not_stored": self.not_stored,
        })
    }
}

impl From<Outcome> for Answer {
    fn from(outcome: Outcome) -> Self {
        Self {
            exit: outcome.exit,
            source: Source::Miss,
            cost: outcome.cost,
            interrupted: outcome.interrupted,
            not_stored: outcome.not_stored,
        }
    }
}
