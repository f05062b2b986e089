//! The head of an entry as it is exported: names and times as text, so that both formats can be read by people.

use std::io;
use std::time::{Duration, SystemTime};

use scrubjay::disk::{Codec, Digest, Function, Head, NewRecord};
use serde::{Deserialize, Serialize};

use crate::output::timestamp;

/// Everything about an entry but its payload.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    pub key: String,
    pub function: String,
    #[serde(default)]
    pub code: String,
    pub written: String,
    pub expires: Option<String>,
    pub stale_until: Option<String>,
    pub load_cost_seconds: f64,
    #[serde(default)]
    pub tags: Vec<String>,
    pub codec: u8,
    #[serde(default)]
    pub failure: bool,
    /// Length of the payload.
    pub bytes: u64,
    pub description: String,
}

impl From<&Head> for Entry {
    fn from(head: &Head) -> Self {
        Self {
            key: head.digest.to_string(),
            function: head.function.name.clone(),
            code: head.function.code.clone(),
            written: timestamp(head.written),
            expires: head.expires.map(timestamp),
            stale_until: head.stale_until.map(timestamp),
            load_cost_seconds: head.load_cost.as_secs_f64(),
            tags: head.tags.clone(),
            codec: head.codec.0,
            failure: head.is_failure,
            bytes: head.len,
            description: String::from_utf8_lossy(&head.description).into_owned(),
        }
    }
}

impl Entry {
    /// Whether its time, stale time included, is not over yet.
    pub fn is_worth_keeping(&self, now: SystemTime) -> bool {
        let last = self.stale_until.as_ref().or(self.expires.as_ref());
        last.is_none_or(|end| humantime::parse_rfc3339(end).is_ok_and(|end| now < end))
    }

    /// What the store is to write.
    pub fn record(&self) -> io::Result<NewRecord> {
        let digest: Digest = self.key.parse().map_err(io::Error::other)?;
        let time = |text: &String| humantime::parse_rfc3339(text).map_err(io::Error::other);
        let cost = Duration::try_from_secs_f64(self.load_cost_seconds).map_err(io::Error::other)?;
        let mut record = NewRecord::new(digest, Function::new(&self.function, &self.code))
            .written(time(&self.written)?)
            .load_cost(cost)
            .codec(Codec(self.codec))
            .failure(self.failure)
            .replaces(true)
            .description(self.description.as_str());
        if let Some(end) = &self.expires {
            record = record.expires(time(end)?);
        }
        if let Some(end) = &self.stale_until {
            record = record.stale_until(time(end)?);
        }
        Ok(self.tags.iter().fold(record, |record, tag| record.tag(tag)))
    }
}
