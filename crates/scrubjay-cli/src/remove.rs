//! `scrubjay rm` and `scrubjay purge`: removing entries by key, or by what they have in common.

use std::process::ExitCode;
use std::time::SystemTime;

use serde_json::json;

use crate::args::{Global, Purge, Rm};
use crate::failure::{Failure, Result, USAGE};
use crate::inspect::find;
use crate::{output, store};

pub fn rm(global: &Global, arguments: &Rm) -> Result<ExitCode> {
    let store = store::open(global)?;
    // All are looked up before one is removed: a mistyped key removes nothing.
    let heads = arguments
        .keys
        .iter()
        .map(|key| find(&store, key))
        .collect::<Result<Vec<_>>>()?;
    let mut removed = 0;
    for head in &heads {
        removed += store.invalidate(&head.digest)?;
    }
    tell(global, "removed", removed)
}

pub fn purge(global: &Global, arguments: &Purge) -> Result<ExitCode> {
    let narrowed = arguments.expired || !arguments.selection.is_everything();
    if !narrowed && !arguments.all {
        let hint = "say which entries: --tag, --older, --function, --expired, or --all";
        return Err(Failure::new(USAGE, hint));
    }
    let store = store::open(global)?;
    let now = SystemTime::now();
    let is_meant = |head: &scrubjay::disk::Head| {
        arguments.selection.includes(head, now) && (!arguments.expired || !head.is_fresh(now))
    };
    if arguments.dry_run {
        let heads = arguments.selection.of(&store)?;
        return tell(
            global,
            "would_remove",
            heads.iter().filter(|head| is_meant(head)).count() as u64,
        );
    }
    // What killed processes left is nobody's entry.
    store.sweep()?;
    let removed = match (&arguments.selection.function, &arguments.selection.tag) {
        _ if arguments.all => store.clear()?,
        _ if arguments.expired || arguments.selection.older.is_some() => {
            // What is being computed now is neither.
            let heads = arguments.selection.of(&store)?;
            let meant = heads.iter().filter(|head| is_meant(head));
            store.invalidate_keys(&meant.map(|head| head.digest).collect::<Vec<_>>())?
        }
        (Some(function), None) => store.invalidate_function(function)?,
        (None, Some(tag)) => store.invalidate_tag(tag)?,
        _ => store.invalidate_if(is_meant)?,
    };
    tell(global, "removed", removed as u64)
}

fn tell(global: &Global, what: &str, number: u64) -> Result<ExitCode> {
    if global.json {
        output::json(&json!({ what: number }))?;
    } else {
        let entries = output::counted(number, "entry", "entries");
        output::line(&format!("{} {entries}", what.replace('_', " ")))?;
    }
    Ok(ExitCode::SUCCESS)
}
