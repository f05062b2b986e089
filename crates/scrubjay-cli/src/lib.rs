//! The `scrubjay` command: remembers what commands returned, and looks into stores.
//!
//! The plot is here; each subcommand is in the module of its name or of its group. This is a library only so that the
//! program is small and its decoders can be fuzzed; nothing here is for other programs.

mod archive;
mod args;
mod failure;
mod generate;
mod inspect;
mod output;
mod remove;
mod run;
mod store;
mod tools;
mod verify;

use std::process::ExitCode;

use args::{Arguments, Command};

pub use tools::tools;

/// Decodes bytes as every decoder of the command would, for fuzzing: whatever they are, nothing panics, and nothing is
/// written.
#[doc(hidden)]
pub fn decode_anything(bytes: &[u8]) {
    run::decode_anything(bytes);
    archive::decode_anything(bytes);
}

/// Does what the arguments of this process ask for.
pub fn main() -> ExitCode {
    act(Arguments::of_this_process())
}

fn act(arguments: Arguments) -> ExitCode {
    let Arguments { global, command } = arguments;
    output::set_color(global.color);
    let outcome = match command {
        Command::Run(run) => Ok(run::run(&global, &run)),
        Command::Ls(ls) => inspect::ls::ls(&global, &ls),
        Command::Show(show) => inspect::show::show(&global, &show),
        Command::Why(why) => inspect::why::why(&global, &why),
        Command::Stats(_) => inspect::stats::stats(&global),
        Command::Top(top) => inspect::top::top(&global, &top),
        Command::Rm(rm) => remove::rm(&global, &rm),
        Command::Purge(purge) => remove::purge(&global, &purge),
        Command::Verify(_) => verify::verify(&global),
        Command::Export(export) => archive::export(&global, &export),
        Command::Import(import) => archive::import(&global, &import),
        Command::Completions(completions) => generate::completions(&completions),
        Command::Man(man) => generate::man(&man),
    };
    outcome.unwrap_or_else(|failure| failure.report())
}
