//! What `scrubjay run` costs beside bkt, which remembers commands too, and beside the command by itself.
//!
//! The first table times whole processes from their start to their end, and sums up the processor time of each with its
//! children. In a *hit* the answer of `seq 100` is known, in a store of one answer or of 2,000; in a *miss* it is not.
//! The second table passes 256 MiB of output on, and has the most memory that the process itself held. The third starts
//! eight processes that ask for the same 100 ms of work and counts how often that was done.
//!
//! Competitors take turns; figures are medians. Output: Markdown. Usage: `command SCRUBJAY BKT [ROUNDS]`.

use std::error::Error;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use scrubjay_bench::progress::Progress;
use scrubjay_bench::rounds::median;
use scrubjay_bench::table::Table;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Rounds of the first table for each round that is asked for: its turns are short.
const TURNS: usize = 40;
const LARGE: u64 = 256 << 20;
const AT_ONCE: usize = 8;

/// What one process took.
#[derive(Debug, Clone, Copy)]
struct Took {
    wall: Duration,
    processor: Duration,
    /// The most memory that it held.
    resident_bytes: u64,
    read: u64,
}

/// Runs a process to its end and reads what it prints.
fn run(command: &mut Command) -> Outcome<Took> {
    let began = Instant::now();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut out = child.stdout.take().ok_or("the process has no output")?;
    let read = io::copy(&mut out, &mut io::sink())?;
    let usage = wait(&child)?;
    let time = |time: libc::timeval| {
        Duration::from_secs(time.tv_sec as u64) + Duration::from_micros(time.tv_usec as u64)
    };
    Ok(Took {
        wall: began.elapsed(),
        processor: time(usage.ru_utime) + time(usage.ru_stime),
        resident_bytes: usage.ru_maxrss as u64 * 1024,
        read,
    })
}

/// Waits for a process, which must succeed; std does not tell what it used.
fn wait(child: &Child) -> Outcome<libc::rusage> {
    let pid = libc::pid_t::try_from(child.id())?;
    let (mut status, mut usage) = (0, std::mem::MaybeUninit::zeroed());
    // SAFETY: the kernel writes to both places and to nothing else; nobody else waits for this process.
    let waited = unsafe { libc::wait4(pid, &raw mut status, 0, usage.as_mut_ptr()) };
    if waited != pid || status != 0 {
        return Err(format!("a process ended with status {status}").into());
    }
    // SAFETY: wait4 succeeded, so it is written; and all zeros are an `rusage` too.
    Ok(unsafe { usage.assume_init() })
}

/// A way to run a command.
struct Runner {
    name: &'static str,
    program: Option<PathBuf>,
    options: Vec<String>,
}

impl Runner {
    fn command(&self, command: &[&str]) -> Command {
        let mut made = match &self.program {
            Some(program) => Command::new(program),
            None => Command::new(command[0]),
        };
        if self.program.is_some() {
            made.args(&self.options).arg("--").args(command);
        } else {
            made.args(&command[1..]);
        }
        made
    }
}

/// Scrubjay, bkt and the command by itself, each with a store below `place`.
fn runners(scrubjay: &Path, bkt: &Path, place: &Path) -> Vec<Runner> {
    let path = |name: &str| place.join(name).display().to_string();
    let options = |words: &[&str], store: String| {
        let words = words.iter().map(|word| (*word).to_owned());
        words.chain([store]).collect()
    };
    vec![
        Runner {
            name: "scrubjay",
            program: Some(scrubjay.to_owned()),
            options: options(&["run", "--ttl", "1d", "--store"], path("scrubjay")),
        },
        Runner {
            name: "bkt",
            program: Some(bkt.to_owned()),
            options: options(&["--ttl", "1d", "--cache-dir"], path("bkt")),
        },
        Runner {
            name: "the command itself",
            program: None,
            options: Vec::new(),
        },
    ]
}

/// What each runner took, round by round; the order of the runners is kept within a round.
fn compete(
    rounds: usize,
    runners: &[Runner],
    mut turn: impl FnMut(&Runner, usize) -> Outcome<Took>,
) -> Outcome<Vec<Vec<Took>>> {
    let mut figures = vec![Vec::new(); runners.len()];
    for round in 0..=rounds {
        for (runner, figures) in runners.iter().zip(&mut figures) {
            let took = turn(runner, round)?;
            if round > 0 {
                figures.push(took);
            }
        }
    }
    Ok(figures)
}

fn middle(figures: &[Took], of: impl Fn(&Took) -> f64) -> f64 {
    median(figures.iter().map(of))
}

fn ratio(figures: &[Took], ours: &[Took], of: impl Fn(&Took) -> f64) -> f64 {
    let pairs = figures.iter().zip(ours);
    median(pairs.map(|(one, ours)| of(one) / of(ours)))
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// One row of the first table for each runner.
fn times(table: &mut Table, task: &str, runners: &[Runner], figures: &[Vec<Took>]) {
    let wall = |took: &Took| millis(took.wall);
    let processor = |took: &Took| millis(took.processor);
    for (runner, own) in runners.iter().zip(figures) {
        table.row(&[
            format!("{task}, {}", runner.name),
            format!("{:.2}", middle(own, wall)),
            format!("{:.2}", ratio(own, &figures[0], wall)),
            format!("{:.2}", middle(own, processor)),
        ]);
    }
}

fn short_commands(runners: &[Runner], rounds: usize, progress: &Progress) -> Outcome<()> {
    let hit = |runner: &Runner, _| run(&mut runner.command(&["seq", "100"]));
    let mut table = Table::new(&["", "ms, wall", "× ours", "ms, processor"]);
    let figures = compete(rounds * TURNS, runners, hit)?;
    times(&mut table, "hit", runners, &figures);
    progress.step("hits");
    let miss = |runner: &Runner, round: usize| {
        run(&mut runner.command(&["seq", &(1000 + round).to_string()]))
    };
    let figures = compete(rounds * TURNS, runners, miss)?;
    times(&mut table, "miss", runners, &figures);
    progress.step("misses");
    for number in 0..2_000_usize.saturating_sub(rounds * TURNS) {
        for runner in &runners[..2] {
            run(&mut runner.command(&["seq", &(100_000 + number).to_string()]))?;
        }
    }
    let figures = compete(rounds * TURNS, runners, hit)?;
    times(&mut table, "hit, 2,000 stored", runners, &figures);
    progress.step("hits among many");
    table.print();
    Ok(())
}

fn large_outputs(runners: &[Runner], rounds: usize, progress: &Progress) -> Outcome<()> {
    let mut table = Table::new(&["", "ms, wall", "× ours", "MiB resident"]);
    let length = LARGE.to_string();
    let mut first = vec![Vec::new(); runners.len()];
    let figures = compete(rounds, runners, |runner, round| {
        let took = run(&mut runner.command(&["head", "-c", &length, "/dev/zero"]))?;
        if took.read != LARGE {
            return Err(format!("{} printed {} bytes", runner.name, took.read).into());
        }
        if round == 0 {
            first[runners
                .iter()
                .position(|one| one.name == runner.name)
                .unwrap_or(0)]
            .push(took);
        }
        Ok(took)
    })?;
    for (task, figures) in [("first run", &first), ("hit", &figures)] {
        for (runner, own) in runners.iter().zip(figures) {
            table.row(&[
                format!("{task}, {}", runner.name),
                format!("{:.0}", middle(own, |took| millis(took.wall))),
                format!("{:.2}", ratio(own, &figures[0], |took| millis(took.wall))),
                format!(
                    "{:.1}",
                    middle(own, |took| took.resident_bytes as f64 / f64::from(1 << 20))
                ),
            ]);
        }
    }
    progress.step("large outputs");
    println!();
    table.print();
    Ok(())
}

fn at_once(runners: &[Runner], place: &Path, rounds: usize, progress: &Progress) -> Outcome<()> {
    let mut table = Table::new(&["", "ms, wall", "runs of the command"]);
    for runner in runners {
        let (mut walls, mut runs) = (Vec::new(), Vec::new());
        for round in 0..rounds {
            let ran = place.join(format!("ran-{}-{round}", runner.name.len()));
            let script = format!("echo >> '{}'; sleep 0.1", ran.display());
            let began = Instant::now();
            let start = |_| {
                runner
                    .command(&["sh", "-c", &script])
                    .stdin(Stdio::null())
                    .spawn()
            };
            let children = (0..AT_ONCE).map(start).collect::<io::Result<Vec<_>>>()?;
            children
                .iter()
                .try_for_each(|child| wait(child).map(drop))?;
            walls.push(millis(began.elapsed()));
            let mut lines = String::new();
            fs::File::open(ran)?.read_to_string(&mut lines)?;
            runs.push(lines.len() as f64);
        }
        let (wall, runs) = (median(walls.into_iter()), median(runs.into_iter()));
        table.row(&[
            runner.name.to_owned(),
            format!("{wall:.0}"),
            format!("{runs:.0}"),
        ]);
    }
    progress.step("eight at once");
    println!();
    table.print();
    Ok(())
}

fn measure(scrubjay: &Path, bkt: &Path, rounds: usize) -> Outcome<()> {
    let place = std::env::temp_dir().join(format!("scrubjay-bench-{}", std::process::id()));
    fs::create_dir_all(&place)?;
    let runners = runners(scrubjay, bkt, &place);
    let progress = Progress::of(5);
    let measured = short_commands(&runners, rounds, &progress)
        .and_then(|()| large_outputs(&runners, rounds, &progress))
        .and_then(|()| at_once(&runners, &place, rounds, &progress));
    fs::remove_dir_all(&place)?;
    measured
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (scrubjay, bkt, rounds) = match &arguments[..] {
        [scrubjay, bkt] => (scrubjay, bkt, Some(9)),
        [scrubjay, bkt, rounds] => (
            scrubjay,
            bkt,
            rounds.parse().ok().filter(|rounds| *rounds > 0),
        ),
        _ => {
            eprintln!("usage: command SCRUBJAY BKT [ROUNDS]");
            return ExitCode::from(2);
        }
    };
    let Some(rounds) = rounds else {
        eprintln!("command: the number of rounds must be at least 1");
        return ExitCode::from(2);
    };
    match measure(Path::new(scrubjay), Path::new(bkt), rounds) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("command: {error}");
            ExitCode::FAILURE
        }
    }
}
