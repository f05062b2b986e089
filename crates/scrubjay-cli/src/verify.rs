//! `scrubjay verify`: every entry read, every checksum compared.

use std::process::ExitCode;

use serde_json::json;

use crate::args::Global;
use crate::failure::Result;
use crate::{output, store};

pub fn verify(global: &Global) -> Result<ExitCode> {
    let store = store::open(global)?;
    let bar = output::progress(0, "checked");
    let report = store.verify(|progress| {
        bar.set_length(progress.total);
        bar.set_position(progress.done);
    })?;
    bar.finish_and_clear();
    let damaged: Vec<_> = report.damaged.iter().map(ToString::to_string).collect();
    if global.json {
        output::json(&json!({
            "entries": report.entries,
            "bytes": report.bytes,
            "expired": report.expired,
            "damaged": damaged,
            "index": report.index,
            "sound": report.is_sound(),
        }))?;
        return Ok(output::verdict(report.is_sound()));
    }
    for key in &damaged {
        output::line(&format!("damaged: {key}"))?;
    }
    for trouble in &report.index {
        output::line(&format!("index: {trouble}"))?;
    }
    let size = output::bytes(report.bytes);
    let entries = output::counted(report.entries, "entry", "entries");
    let damaged = damaged.len();
    output::line(&format!("{entries} of {size} checked, {damaged} damaged"))?;
    if !report.is_sound() {
        output::complain("a damaged entry is never served; `scrubjay rm KEY` removes it");
    }
    Ok(output::verdict(report.is_sound()))
}
