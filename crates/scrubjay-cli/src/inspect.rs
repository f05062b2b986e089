//! Looking into a store: which entries are meant, and how an entry is told in one line.

pub mod ls;
pub mod show;
pub mod stats;
pub mod top;
pub mod why;

use std::time::{Duration, SystemTime};

use scrubjay::disk::{Head, Store};
use serde_json::json;

use crate::args::Selection;
use crate::failure::{Failure, NO, Result};
use crate::output;
use crate::run::key::Facts;

/// Digits of a key that are shown where a line is short.
pub const SHORT_KEY: usize = 12;

impl Selection {
    /// All of them.
    pub fn everything() -> Self {
        Self {
            function: None,
            tag: None,
            older: None,
        }
    }

    /// Whether nothing narrows it.
    pub fn is_everything(&self) -> bool {
        self.function.is_none() && self.tag.is_none() && self.older.is_none()
    }

    /// Whether an entry is meant.
    pub fn includes(&self, head: &Head, now: SystemTime) -> bool {
        let age = now.duration_since(head.written).unwrap_or(Duration::ZERO);
        self.function
            .as_ref()
            .is_none_or(|name| *name == head.function.name)
            && self.tag.as_ref().is_none_or(|tag| head.tags.contains(tag))
            && self.older.is_none_or(|older| age > older)
    }

    /// The entries that are meant, oldest first.
    pub fn of(&self, store: &Store) -> Result<Vec<Head>> {
        let now = SystemTime::now();
        let mut heads = store.iter().collect::<Result<Vec<_>, _>>()?;
        heads.retain(|head| self.includes(head, now));
        Ok(heads)
    }
}

/// The one entry whose key begins with `start`.
pub fn find(store: &Store, start: &str) -> Result<Head> {
    let start = start.to_ascii_lowercase();
    let mut found = store.iter().collect::<Result<Vec<_>, _>>()?;
    found.retain(|head| head.digest.to_string().starts_with(&start));
    match found.len() {
        0 => Err(Failure::new(
            NO,
            format!("no entry's key begins with {start}; `scrubjay ls` lists them"),
        )),
        1 => Ok(found.remove(0)),
        many => Err(Failure::new(
            NO,
            format!("{many} entries' keys begin with {start}; give more of it"),
        )),
    }
}

/// What an entry is an answer to, in one line.
pub fn subject(head: &Head) -> String {
    match Facts::from_description(&head.description) {
        Some(facts) => typed(&facts.command),
        None => output::printable(&String::from_utf8_lossy(&head.description)),
    }
}

/// A command as it could be typed, in one line.
pub fn typed(command: &[String]) -> String {
    let arguments: Vec<String> = command.iter().map(|argument| quoted(argument)).collect();
    output::printable(&arguments.join(" "))
}

/// An argument as it could be typed.
fn quoted(argument: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "-_./=:,@%+".contains(c);
    if !argument.is_empty() && argument.chars().all(is_plain) {
        return argument.to_owned();
    }
    format!("'{}'", argument.replace('\'', "'\\''"))
}

/// How long an entry still lives, or what became of it.
pub fn life(head: &Head, now: SystemTime) -> String {
    match head.expires {
        None => "-".to_owned(),
        Some(end) if head.is_fresh(now) => {
            output::duration(end.duration_since(now).unwrap_or_default())
        }
        Some(_) if head.is_stale(now) => "stale".to_owned(),
        Some(_) => "expired".to_owned(),
    }
}

/// An entry as JSON.
pub fn to_json(head: &Head) -> serde_json::Value {
    let description: serde_json::Value = serde_json::from_slice(&head.description)
        .unwrap_or_else(|_| String::from_utf8_lossy(&head.description).into());
    json!({
        "key": head.digest.to_string(),
        "function": head.function.name,
        "code": head.function.code,
        "written": output::timestamp(head.written),
        "expires": head.expires.map(output::timestamp),
        "stale_until": head.stale_until.map(output::timestamp),
        "load_cost_seconds": head.load_cost.as_secs_f64(),
        "tags": head.tags,
        "codec": head.codec.0,
        "failure": head.is_failure,
        "compressed": head.is_compressed,
        "bytes": head.len,
        "stored_bytes": head.stored_bytes,
        "description": description,
    })
}
