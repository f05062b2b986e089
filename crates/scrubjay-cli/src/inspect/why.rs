//! `scrubjay why`: is the answer known, and if not, what differs from the key that comes nearest?

use std::io;
use std::process::ExitCode;
use std::time::SystemTime;

use scrubjay::disk::{Head, Store};
use serde_json::json;

use super::{SHORT_KEY, life};
use crate::args::{Global, KeyOptions, Selection, Why};
use crate::failure::{Failure, NOT_FOUND, Result, USAGE};
use crate::run::dependency::{digest_of, short};
use crate::run::key::{self, Facts, Key, Subject};
use crate::run::life::Use;
use crate::run::program;
use crate::{output, store};

/// A fact that is not the same in two keys.
#[derive(Debug, PartialEq, Eq, serde::Serialize)]
struct Difference {
    what: String,
    stored: Option<String>,
    asked: Option<String>,
}

pub fn why(global: &Global, arguments: &Why) -> Result<ExitCode> {
    let store = store::open(global)?;
    let key = key_of(&arguments.key)?;
    if let Some(record) = store.get(&key.digest)
        && arguments.lives.judge(&record.head, SystemTime::now()) == Use::Fresh
    {
        tell_hit(global, &record.head)?;
        return Ok(output::verdict(true));
    }
    let nearest = nearest(&store, &key.facts)?;
    tell_miss(global, &key, nearest)?;
    Ok(output::verdict(false))
}

fn key_of(options: &KeyOptions) -> Result<Key> {
    let name = options.command[0].display();
    let program = program::find(&options.command[0])
        .map_err(|error| Failure::new(NOT_FOUND, format!("{name}: {error}")))?;
    let dependencies =
        key::dependencies(options).map_err(|message| Failure::new(USAGE, message))?;
    let subject = Subject::new(options, dependencies, program)?;
    let stdin = options
        .stdin
        .then(|| digest_of(io::stdin().lock()))
        .transpose()?;
    Ok(subject.key(subject.states()?, stdin.map(|digest| short(&digest))))
}

/// The entry of a command whose key shares most with `asked`; the newest of several.
fn nearest(store: &Store, asked: &Facts) -> Result<Option<(Head, Vec<Difference>)>> {
    let mut best: Option<(usize, Head, Vec<Difference>)> = None;
    for head in Selection::everything().of(store)? {
        let Some(stored) = Facts::from_description(&head.description) else {
            continue;
        };
        if stored.command.first() != asked.command.first() {
            continue;
        }
        let differences = differences(&stored, asked);
        if best
            .as_ref()
            .is_none_or(|(count, ..)| differences.len() <= *count)
        {
            best = Some((differences.len(), head, differences));
        }
    }
    Ok(best.map(|(_, head, differences)| (head, differences)))
}

/// Every fact but the command's name, which is the same in all that are compared.
fn named(facts: &Facts) -> Vec<(String, String)> {
    let arguments = facts.command.iter().enumerate().skip(1);
    let mut named: Vec<(String, String)> = arguments
        .map(|(number, argument)| (format!("argument {number}"), argument.clone()))
        .collect();
    named.push(("executable".to_owned(), facts.executable.of.clone()));
    named.push((
        "executable's content".to_owned(),
        facts.executable.state.clone(),
    ));
    let directory = facts.directory.iter();
    named.extend(directory.map(|path| ("directory".to_owned(), path.clone())));
    let stdin = facts.stdin.iter();
    named.extend(stdin.map(|digest| ("standard input".to_owned(), digest.clone())));
    let dependencies = facts.dependencies.iter();
    named.extend(
        dependencies.map(|found| (format!("dependency {}", found.of), found.state.clone())),
    );
    let out = facts.out.iter();
    named.extend(out.map(|path| (format!("--out {path}"), "asked for".to_owned())));
    named
}

/// What is not the same in both, in the order of what was asked.
fn differences(stored: &Facts, asked: &Facts) -> Vec<Difference> {
    let (stored, asked) = (named(stored), named(asked));
    let value_in = |facts: &[(String, String)], what: &str| {
        let found = facts.iter().find(|(name, _)| name == what);
        found.map(|(_, value)| value.clone())
    };
    let only_stored = stored
        .iter()
        .filter(|(what, _)| value_in(&asked, what).is_none());
    let compared = asked.iter().chain(only_stored).map(|(what, _)| Difference {
        what: what.clone(),
        stored: value_in(&stored, what),
        asked: value_in(&asked, what),
    });
    compared
        .filter(|found| found.stored != found.asked)
        .collect()
}

fn tell_hit(global: &Global, head: &Head) -> Result<()> {
    let key = head.digest.to_string();
    if global.json {
        let expires = head.expires.map(output::timestamp);
        let answer = json!({"known": true, "key": key, "expires": expires});
        return Ok(output::json(&answer)?);
    }
    let left = match head.expires {
        None => "never expires".to_owned(),
        Some(_) => format!("{} left", life(head, SystemTime::now())),
    };
    let age = output::age(head.written);
    let key = &key[..SHORT_KEY];
    Ok(output::line(&format!(
        "known: {key}, written {age} ago, {left}"
    ))?)
}

fn tell_miss(global: &Global, key: &Key, nearest: Option<(Head, Vec<Difference>)>) -> Result<()> {
    let digest = key.digest.to_string();
    if global.json {
        let (near, differences) = nearest
            .map(|(head, list)| (head.digest.to_string(), list))
            .unzip();
        let answer =
            json!({"known": false, "key": digest, "nearest": near, "differences": differences});
        return Ok(output::json(&answer)?);
    }
    output::line(&format!("not known: {}", &digest[..SHORT_KEY]))?;
    let Some((head, differences)) = nearest else {
        return Ok(output::line("nothing like it is stored")?);
    };
    let age = output::age(head.written);
    if differences.is_empty() {
        let what = if head.is_failure {
            "it failed"
        } else {
            "its life is over"
        };
        return Ok(output::line(&format!(
            "its entry was written {age} ago; {what}"
        ))?);
    }
    output::line(&format!(
        "nearest: {:.*}, written {age} ago, differs in:",
        SHORT_KEY, head.digest
    ))?;
    let mut table = output::table(&["", "STORED", "ASKED"], &[]);
    let shown = |state: Option<String>| output::printable(state.as_deref().unwrap_or("(none)"));
    for difference in differences {
        table.add_row([
            format!("  {}", output::printable(&difference.what)),
            shown(difference.stored),
            shown(difference.asked),
        ]);
    }
    Ok(output::print(&output::lines_of(&table))?)
}
