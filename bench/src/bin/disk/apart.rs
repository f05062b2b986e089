//! Parts of a measurement that run in processes of their own, and how they are started together.
//!
//! A process opens nothing before it said "ready", and begins when a line comes on its standard input.

use std::error::Error;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::{ours, peer};

/// Which cache a process uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Ours,
    Peer,
}

/// The values that one process writes.
#[derive(Debug, Clone, Copy)]
pub struct Share {
    pub first: u64,
    pub count: u64,
    pub size: u64,
}

fn command(side: Side, dir: &Path, share: Share) -> std::io::Result<Command> {
    let numbers = [share.first, share.count, share.size].map(|number| number.to_string());
    let dir = dir.to_str().expect("the folder's name is text");
    let mut args = vec!["writer", dir];
    args.extend(numbers.iter().map(String::as_str));
    Ok(match side {
        Side::Peer => peer::script(&args),
        Side::Ours => {
            let mut command = Command::new(std::env::current_exe()?);
            command.args(args);
            command
        }
    })
}

/// The process of a writer.
pub fn write(args: &[String]) -> Result<(), Box<dyn Error>> {
    let [dir, first, count, size] = args else {
        return Err("a writer needs a folder and three numbers".into());
    };
    let (first, count, size) = (first.parse()?, count.parse()?, size.parse()?);
    println!("ready");
    std::io::stdin().read_line(&mut String::new())?;
    let took = ours::put_apart(Path::new(dir), Share { first, count, size })?;
    println!("{}", took.busy);
    Ok(())
}

/// Has so many processes write at once, each its own keys; returns the time from the first start to the last end, what
/// processor time a value took, and how many processes failed.
pub fn write_together(
    side: Side,
    processes: u64,
    dir: &Path,
    share: Share,
) -> Result<(Duration, f64, usize), Box<dyn Error>> {
    let mut writers: Vec<Child> = Vec::new();
    for process in 0..processes {
        let first = share.first + process * share.count;
        let mut command = command(side, dir, Share { first, ..share })?;
        writers.push(
            command
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()?,
        );
    }
    let mut outputs: Vec<_> = writers
        .iter_mut()
        .map(|writer| BufReader::new(writer.stdout.take().expect("it was asked for")))
        .collect();
    for output in &mut outputs {
        output.read_line(&mut String::new())?;
    }
    let start = Instant::now();
    for writer in &mut writers {
        writeln!(writer.stdin.take().expect("it was asked for"), "go")?;
    }
    let mut busy = Vec::new();
    for output in &mut outputs {
        let mut answer = String::new();
        output.read_line(&mut answer)?;
        busy.extend(answer.split_whitespace().next_back().map(str::parse::<f64>));
    }
    let took = start.elapsed();
    let mut failed = 0;
    for writer in &mut writers {
        failed += usize::from(!writer.wait()?.success());
    }
    let busy = busy.into_iter().collect::<Result<Vec<f64>, _>>()?;
    let mean = busy.iter().sum::<f64>() / busy.len().max(1) as f64;
    Ok((took, mean, failed))
}
