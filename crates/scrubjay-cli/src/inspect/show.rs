//! `scrubjay show`: one entry, all of it.

use std::io;
use std::process::ExitCode;
use std::time::SystemTime;

use scrubjay::disk::{Codec, Head, Record, Store};

use super::{find, life, subject, to_json};
use crate::args::{Global, Show};
use crate::failure::{Failure, NO, Result};
use crate::run::frames::{Exit, Frame, FrameReader};
use crate::run::key::Facts;
use crate::run::printer::Printer;
use crate::run::replay;
use crate::{output, store};

pub fn show(global: &Global, arguments: &Show) -> Result<ExitCode> {
    let store = store::open(global)?;
    let head = find(&store, &arguments.key)?;
    if arguments.output {
        return print_output(read(&store, &head)?);
    }
    if global.json {
        output::json(&to_json(&head))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut lines = lines(&head);
    if head.codec == Codec::COMMAND
        && let Ok(record) = read(&store, &head)
    {
        lines.push((
            "ended with",
            end_of(record).map_or_else(|| "damaged".to_owned(), |exit| exit.to_string()),
        ));
    }
    let width = lines.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    for (name, value) in lines {
        let value = output::printable(&value);
        output::line(&format!("{name:<width$}  {value}"))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn read(store: &Store, head: &Head) -> Result<Record> {
    let gone = || {
        Failure::new(
            NO,
            "the entry is over, damaged or just removed; its content is not served",
        )
    };
    store.get(&head.digest).ok_or_else(gone)
}

/// Prints what the command printed, or the payload as it is.
fn print_output(record: Record) -> Result<ExitCode> {
    if record.head.codec == Codec::COMMAND {
        replay::output(
            &mut FrameReader::new(record.payload.reader()),
            &mut Printer::new(false),
        )?;
    } else {
        io::copy(&mut record.payload.reader(), &mut io::stdout().lock())?;
    }
    Ok(ExitCode::SUCCESS)
}

fn end_of(record: Record) -> Option<Exit> {
    let mut frames = FrameReader::new(record.payload.reader());
    loop {
        if let Frame::End(exit) = frames.next().ok()?? {
            return Some(exit);
        }
    }
}

fn lines(head: &Head) -> Vec<(&'static str, String)> {
    let now = SystemTime::now();
    let mut lines = vec![
        ("key", head.digest.to_string()),
        ("function", head.function.to_string()),
        ("subject", subject(head)),
    ];
    if let Some(facts) = Facts::from_description(&head.description) {
        lines.extend(
            facts
                .parts()
                .into_iter()
                .filter(|(name, _)| *name != "command"),
        );
    }
    let written = format!(
        "{} ({} ago)",
        output::timestamp(head.written),
        output::age(head.written)
    );
    lines.push(("written", written));
    if let Some(end) = head.expires {
        lines.push((
            "expires",
            format!("{} ({})", output::timestamp(end), life(head, now)),
        ));
    }
    if let Some(end) = head.stale_until {
        lines.push(("stale until", output::timestamp(end)));
    }
    lines.push(("load cost", output::duration(head.load_cost)));
    let stored = output::bytes(head.stored_bytes);
    let how = if head.is_compressed {
        ", compressed"
    } else {
        ""
    };
    lines.push((
        "size",
        format!("{} ({stored} in the store{how})", output::bytes(head.len)),
    ));
    if !head.tags.is_empty() {
        lines.push(("tags", head.tags.join(", ")));
    }
    lines
}
