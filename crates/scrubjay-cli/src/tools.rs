//! The tools of a store for another program, `python -m scrubjay`: the same subcommands, with the store's directory as
//! their first argument.
//!
//! Invariant: the arguments and help texts are those of [`args`](crate::args); only the directory is added.

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Arg, ArgMatches, CommandFactory, FromArgMatches, ValueHint, value_parser};

use crate::args::Arguments;

const PROGRAM: &str = "python -m scrubjay";
const DIRECTORY: &str = "directory";
/// Each with its positional arguments, which come after the directory.
const TOOLS: [(&str, &[&str]); 8] = [
    ("ls", &[]),
    ("show", &["key"]),
    ("stats", &[]),
    ("top", &[]),
    ("rm", &["keys"]),
    ("purge", &[]),
    ("verify", &[]),
    ("export", &["file"]),
];

const EXAMPLES: &str = "\
Examples:
  python -m scrubjay stats ~/.cache/app
  python -m scrubjay ls ~/.cache/app --sort size
  python -m scrubjay purge ~/.cache/app --function app.pages
  python -m scrubjay verify ~/.cache/app
  python -m scrubjay import /var/cache/app --into ~/.cache/app-scrubjay";

/// Does what the arguments ask for, the program's name first. The status to exit with.
#[must_use]
pub fn tools(arguments: Vec<OsString>) -> u8 {
    let matches = match command().try_get_matches_from(arguments) {
        Ok(matches) => matches,
        Err(error) => {
            // That nobody can read it is no reason to fail.
            let _ = error.print();
            return u8::try_from(error.exit_code()).unwrap_or(u8::MAX);
        }
    };
    let code = run(&matches);
    // The program around does not know of this buffer.
    let _ = std::io::stdout().flush();
    number_of(code)
}

fn run(matches: &ArgMatches) -> ExitCode {
    let directory = matches
        .subcommand()
        .and_then(|(_, tool)| tool.get_one::<PathBuf>(DIRECTORY));
    let mut arguments =
        Arguments::from_arg_matches(matches).expect("the definition is the one that was parsed by");
    arguments.global.store = directory.cloned();
    crate::act(arguments)
}

/// The command with what is offered here, and nothing else.
fn command() -> clap::Command {
    let whole = Arguments::command();
    let mut command = clap::Command::new("scrubjay")
        .bin_name(PROGRAM)
        .version(env!("CARGO_PKG_VERSION"))
        .max_term_width(100)
        .about("Looks into the folders of `disk=`, and brings what diskcache kept.")
        .after_help(EXAMPLES)
        .subcommand_required(true);
    for argument in whole
        .get_arguments()
        .filter(|argument| argument.get_id() != "store")
    {
        command = command.arg(argument.clone());
    }
    for (name, positional) in TOOLS {
        let tool = whole
            .find_subcommand(name)
            .expect("each tool is a subcommand")
            .clone();
        command = command.subcommand(with_directory(tool, positional));
    }
    // For the list only: the package has it.
    let about = "Bring the entries of a folder that diskcache wrote";
    command.subcommand(clap::Command::new("import").about(about))
}

fn with_directory(tool: clap::Command, positional: &[&str]) -> clap::Command {
    let directory = Arg::new(DIRECTORY)
        .value_name("DIR")
        .help("The folder, as `disk=` names it")
        .value_parser(value_parser!(PathBuf))
        .value_hint(ValueHint::DirPath)
        .required(true)
        .index(1);
    let moved = positional
        .iter()
        .zip(2..)
        .fold(tool, |tool, (name, index)| {
            tool.mut_arg(*name, |argument| argument.index(index))
        });
    // Its examples are those of the other program.
    moved.arg(directory).after_help(None::<&str>)
}

/// std keeps the number to itself, but compares.
fn number_of(code: ExitCode) -> u8 {
    (0..u8::MAX)
        .find(|number| ExitCode::from(*number) == code)
        .unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn exit_codes_keep_their_number() {
        for number in [0, 1, 2, 3, 255] {
            assert_eq!(number_of(ExitCode::from(number)), number);
        }
    }
}
