//! Completions and man pages, from the same definition as the arguments.

use std::fs;
use std::io;
use std::process::ExitCode;

use clap::CommandFactory;

use crate::args::{Arguments, Completions, Man};
use crate::failure::{Failure, Result, STORE};

pub fn completions(arguments: &Completions) -> Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(
        arguments.shell,
        &mut Arguments::command(),
        "scrubjay",
        &mut script,
    );
    write(&script)
}

pub fn man(arguments: &Man) -> Result<ExitCode> {
    let command = Arguments::command();
    match &arguments.dir {
        Some(directory) => {
            fs::create_dir_all(directory)
                .and_then(|()| clap_mangen::generate_to(command, directory))
                .map_err(|error| {
                    Failure::new(STORE, format!("{}: {error}", directory.display()))
                })?;
            Ok(ExitCode::SUCCESS)
        }
        None => {
            let mut page = Vec::new();
            clap_mangen::Man::new(command).render(&mut page)?;
            write(&page)
        }
    }
}

fn write(bytes: &[u8]) -> Result<ExitCode> {
    io::Write::write_all(&mut io::stdout().lock(), bytes)?;
    Ok(ExitCode::SUCCESS)
}
