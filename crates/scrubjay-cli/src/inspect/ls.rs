//! `scrubjay ls`: one line for each entry.

use std::process::ExitCode;
use std::time::SystemTime;

use scrubjay::disk::Head;

use super::{SHORT_KEY, life, subject, to_json};
use crate::args::{Global, Ls, Sort};
use crate::failure::Result;
use crate::{output, store};

pub fn ls(global: &Global, arguments: &Ls) -> Result<ExitCode> {
    let store = store::open(global)?;
    let mut heads = arguments.selection.of(&store)?;
    sort(&mut heads, arguments.sort);
    let skipped = arguments
        .limit
        .map_or(0, |limit| heads.len().saturating_sub(limit));
    let heads = &heads[skipped..];
    if global.json {
        heads
            .iter()
            .try_for_each(|head| output::json(&to_json(head)))?;
    } else if heads.is_empty() {
        output::complain("no entries");
    } else {
        print(heads)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn sort(heads: &mut [Head], by: Sort) {
    match by {
        Sort::Written => heads.sort_by_key(|head| head.written),
        Sort::Size => heads.sort_by_key(|head| head.stored_bytes),
        Sort::Cost => heads.sort_by_key(|head| head.load_cost),
        // What never expires comes last.
        Sort::Expires => heads.sort_by_key(|head| (head.expires.is_none(), head.expires)),
        Sort::Function => heads.sort_by(|a, b| a.function.name.cmp(&b.function.name)),
    }
}

fn print(heads: &[Head]) -> Result<()> {
    let now = SystemTime::now();
    let mut table = output::table(
        &[
            "KEY", "FUNCTION", "AGE", "LEFT", "COST", "SIZE", "TAGS", "SUBJECT",
        ],
        &[2, 3, 4, 5],
    );
    for head in heads {
        let failed = if head.is_failure { " (failed)" } else { "" };
        table.add_row([
            head.digest.to_string()[..SHORT_KEY].to_owned(),
            output::printable(&head.function.name),
            output::age(head.written),
            life(head, now),
            output::duration(head.load_cost),
            output::bytes(head.stored_bytes),
            output::printable(&head.tags.join(",")),
            subject(head) + failed,
        ]);
    }
    Ok(output::print(&output::lines_of(&table))?)
}
