//! What can be typed: the one definition behind parsing, help texts, completions and man pages.
//!
//! Nothing here acts; each subcommand's struct is handed to the module of its name.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};

const EXIT_CODES: &str = "\
Exit codes:
  0        done; for `run`: the command succeeded
  1        the answer is no: no such entry, `why` found a miss, `verify` found damage
  2        the arguments make no sense
  3        the store cannot be opened or read, or a file cannot be read or written
  `run` ends as its command did: with its exit code, or by its signal. Of its own it has:
  125      scrubjay itself failed
  126      the command was found but cannot be executed, itself or its interpreter
  127      the command was not found

Environment:
  SCRUBJAY_STORE  the store's directory, where --store is not given
  NO_COLOR        no colour, whatever the terminal";

const EXAMPLES: &str = "\
Examples:
  scrubjay run --ttl 1h -- curl -s https://example.com/rates.json
  scrubjay ls
  scrubjay why --ttl 1h -- curl -s https://example.com/rates.json
  scrubjay purge --older 7d";

/// Remember what commands returned, and look into any scrubjay store.
#[derive(Debug, Parser)]
#[command(
    name = "scrubjay",
    version,
    max_term_width = 100,
    subcommand_required = true
)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub struct Arguments {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

impl Arguments {
    /// Understands the arguments of this process; ends it if they make no sense or ask for help.
    pub fn of_this_process() -> Self {
        let is_run = std::env::args_os().nth(1).is_some_and(|name| name == "run");
        // What is not understood here is told of by the whole definition.
        match is_run.then(RunAlone::try_parse) {
            Some(Ok(RunAlone { global, command })) => {
                let RunCommand::Run(run) = command;
                let command = Command::Run(run);
                Self { global, command }
            }
            _ => Self::parse(),
        }
    }
}

/// The same with one subcommand: to define the others takes longer than to look an answer up.
#[derive(Debug, Parser)]
struct RunAlone {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: RunCommand,
}

#[derive(Debug, Subcommand)]
enum RunCommand {
    Run(Box<Run>),
}

/// Options of every subcommand.
#[derive(Clone, Debug, Args)]
pub struct Global {
    /// The store's directory [default: $XDG_CACHE_HOME/scrubjay or ~/.cache/scrubjay]
    #[arg(long, global = true, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub store: Option<PathBuf>,
    /// Write JSON, one object a line, instead of text for people; `run` writes its one to standard error
    #[arg(long, global = true)]
    pub json: bool,
    /// When to use colour
    #[arg(
        long,
        global = true,
        value_enum,
        default_value = "auto",
        value_name = "WHEN"
    )]
    pub color: Color,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal, unless NO_COLOR is set
    Auto,
    Always,
    Never,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    Run(Box<Run>),
    Ls(Ls),
    Show(Show),
    Why(Why),
    Stats(Stats),
    Top(Top),
    Rm(Rm),
    Purge(Purge),
    Verify(Verify),
    Export(Export),
    Import(Import),
    Completions(Completions),
    Man(Man),
}

const RUN_EXAMPLES: &str = "\
Examples:
  scrubjay run --ttl 1h -- curl -s https://example.com/rates.json
  scrubjay run --dep src --dep Cargo.lock -- cargo test --quiet
  scrubjay run --dep 'docs/**/*.md' --out site.tar -- make site.tar
  scrubjay run --dep git:HEAD -- git shortlog -sn
  scrubjay run --ttl 10s --stale 5m -- kubectl get pods      # in a prompt: never waits
  scrubjay run --ttl 1h --stale-if-error 1d -- ./fetch
  echo 'some text' | scrubjay run --stdin -- ./translate";

const RUN_NOTES: &str = "\
The answer is remembered under: the command and its arguments, the executable's path and content, the working
directory (unless --any-cwd), what --dep and --env name, standard input with --stdin, and the paths of --out.
The command reads an empty standard input unless --stdin is given.

However many ask at once, one command runs; the others print its output as it comes and end as it ends.
If it is killed, one of them starts it again and goes on after what was already printed.

--json says the same as --verbose as one object, the last line of standard error: key, function, source (hit, stale,
stale-if-error, waited, miss, known, warming, busy), code or signal, load_cost_seconds, and why it was not_stored.

A failing command's answer is not stored, except with --fail-ttl. A store that cannot be used is no reason
not to run: the command runs as if scrubjay were not there, with one warning on standard error.";

/// Run a command, or print what it printed when it ran before
///
/// Its standard output and standard error are replayed byte for byte and in their order, its files (--out)
/// restored, and its exit code or signal kept.
#[derive(Debug, Args)]
#[command(after_help = RUN_EXAMPLES, after_long_help = format!("{RUN_NOTES}\n\n{RUN_EXAMPLES}\n\n{EXIT_CODES}"))]
pub struct Run {
    #[command(flatten)]
    pub lives: Lives,
    /// Run the command even if its answer is known
    #[arg(long)]
    pub force: bool,
    /// Run the command in the background unless its answer is known; print nothing, return at once
    #[arg(long)]
    pub warm: bool,
    /// The function under which `ls`, `stats` and `purge` list the entry [default: the command's name]
    #[arg(long)]
    pub name: Option<String>,
    /// A label to purge by; may be given several times
    #[arg(long = "tag", value_name = "TAG")]
    pub tags: Vec<String>,
    /// How long to wait for output of processes that the command leaves behind
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "100ms")]
    pub linger: Duration,
    /// Most bytes the store may take, such as 500M or 2G [default: the store's own, 1G at first]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub capacity: Option<u64>,
    /// Say on standard error what was done: hit, miss, stale or waited; and why an answer was not stored
    #[arg(long, short)]
    pub verbose: bool,
    #[command(flatten)]
    pub key: KeyOptions,
    /// Set by scrubjay for the refresh that it starts in the background.
    #[arg(long, hide = true, env = crate::run::BACKGROUND, hide_env = true)]
    pub background: bool,
}

/// How long answers are good for something.
#[derive(Clone, Debug, Args)]
pub struct Lives {
    /// How long an answer is fresh, such as 10s, 5m, 1h, 7d [default: until something in its key changes]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub ttl: Option<Duration>,
    /// For how long after --ttl the old answer is still given at once, while one refresh runs in the background
    #[arg(long, value_name = "TIME", value_parser = duration, requires = "ttl")]
    pub stale: Option<Duration>,
    /// For how long after --ttl the old answer is given if the command fails; until it ends, nothing is printed
    #[arg(long, value_name = "TIME", value_parser = duration, requires = "ttl")]
    pub stale_if_error: Option<Duration>,
    /// Remember failures too (any exit code but 0, any signal), for so long
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub fail_ttl: Option<Duration>,
}

/// What makes the key of a run.
#[derive(Debug, Args)]
pub struct KeyOptions {
    /// What else the answer depends on; may be given several times
    ///
    /// FILE or DIRECTORY: its contents (a directory: every file below it, symlinks as such).
    /// 'GLOB': the contents of the files it matches, ** for any depth.
    /// env:NAME: the variable's value.
    /// git:REV: the commit or object that REV names.
    /// cmd:COMMAND: what `sh -c COMMAND` prints and how it ends.
    /// A file that does not exist is a state like any other. Dependencies are looked at again after the run; if one
    /// changed meanwhile, the answer is not stored.
    #[arg(long = "dep", value_name = "DEPENDENCY", value_hint = ValueHint::AnyPath)]
    pub dependencies: Vec<OsString>,
    /// An environment variable that the answer depends on; the same as --dep env:NAME
    #[arg(long, value_name = "NAME")]
    pub env: Vec<OsString>,
    /// The answer is the same in every working directory
    #[arg(long)]
    pub any_cwd: bool,
    /// Hand standard input to the command; its content is part of the key
    #[arg(long)]
    pub stdin: bool,
    /// A file or directory that the command makes, stored with its mode and restored on a hit
    #[arg(long, value_name = "PATH", value_hint = ValueHint::AnyPath)]
    pub out: Vec<PathBuf>,
    /// The command and its arguments
    #[arg(required = true, trailing_var_arg = true, value_name = "COMMAND")]
    #[arg(value_hint = ValueHint::CommandWithArguments)]
    pub command: Vec<OsString>,
}

/// Which entries of a store are meant.
#[derive(Debug, Args)]
pub struct Selection {
    /// Only entries of this function
    #[arg(long, value_name = "NAME")]
    pub function: Option<String>,
    /// Only entries with this tag
    #[arg(long, value_name = "TAG")]
    pub tag: Option<String>,
    /// Only entries written longer ago than this
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub older: Option<Duration>,
}

/// List entries, the newest last
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  scrubjay ls --function curl --sort size\n  scrubjay ls --json | jq .key"
)]
pub struct Ls {
    #[command(flatten)]
    pub selection: Selection,
    /// What to sort by; the greatest comes last
    #[arg(long, value_enum, default_value = "written")]
    pub sort: Sort,
    /// At most so many entries, the last ones of the order
    #[arg(long, short = 'n', value_name = "N")]
    pub limit: Option<usize>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Sort {
    Written,
    Size,
    Cost,
    Expires,
    Function,
}

/// Show one entry: its key's parts, its times, its size
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  scrubjay show 3f9a\n  scrubjay show --output 3f9a > report.txt"
)]
pub struct Show {
    /// The entry's key, or as much of its beginning as no other key shares
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub key: String,
    /// Print what the command printed, nothing else
    #[arg(long)]
    pub output: bool,
}

/// Say whether a command's answer is known, and if not, what differs from the nearest stored key
///
/// Takes the options that `run` takes for its key and for the life of its answer. Exit code 0: it is known; 1: it is
/// not.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  scrubjay why --dep Cargo.lock -- cargo tree")]
pub struct Why {
    #[command(flatten)]
    pub lives: Lives,
    #[command(flatten)]
    pub key: KeyOptions,
}

/// Show what the store holds and what it saves, by function
#[derive(Debug, Args)]
pub struct Stats {}

/// Watch the store: what runs, what was written last, how much each function takes
///
/// Ends with q or Ctrl-C. Away from a terminal it prints one picture and ends, unless --count says otherwise.
#[derive(Debug, Args)]
pub struct Top {
    /// Time between two pictures
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "1s")]
    pub interval: Duration,
    /// End after so many pictures
    #[arg(long, value_name = "N")]
    pub count: Option<u64>,
}

/// Remove entries by key
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  scrubjay rm 3f9a 77c0\n  scrubjay ls --json | jq -r .key | xargs scrubjay rm"
)]
pub struct Rm {
    /// Keys, or as much of their beginnings as no other key shares
    #[arg(required = true, value_name = "KEY", value_parser = NonEmptyStringValueParser::new())]
    pub keys: Vec<String>,
}

/// Remove entries by tag, age or function
///
/// Several options together remove the entries that all of them describe. What killed processes left in the store goes
/// too, once it is an hour old.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  scrubjay purge --tag rates\n  scrubjay purge --older 7d --dry-run\n  scrubjay purge --all"
)]
pub struct Purge {
    #[command(flatten)]
    pub selection: Selection,
    /// Only entries whose life is over
    #[arg(long)]
    pub expired: bool,
    /// Every entry
    #[arg(long, conflicts_with_all = ["function", "tag", "older", "expired"])]
    pub all: bool,
    /// Say what would be removed, and remove nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// Read every entry and check every checksum
///
/// Exit code 1 if anything is damaged. A damaged entry is never served: asking for it is a miss.
#[derive(Debug, Args)]
pub struct Verify {}

/// Write entries to a file, to keep them or to carry them to another machine
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  scrubjay export cache.sjar\n  scrubjay export --format jsonl --function curl | gzip > curl.jsonl.gz"
)]
pub struct Export {
    /// Where to; standard output if absent or -
    #[arg(value_hint = ValueHint::FilePath)]
    pub file: Option<PathBuf>,
    /// JSON lines, or a binary archive (smaller, and checksummed) [default: by the file's name, else archive]
    #[arg(long, value_enum)]
    pub format: Option<Format>,
    #[command(flatten)]
    pub selection: Selection,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Jsonl,
    Archive,
}

/// Read entries from a file that `export` wrote, of either format
///
/// An entry replaces one of the same key. Times are kept: what is over by now is left out.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  scrubjay import cache.sjar\n  ssh host scrubjay export | scrubjay import"
)]
pub struct Import {
    /// Where from; standard input if absent or -
    #[arg(value_hint = ValueHint::FilePath)]
    pub file: Option<PathBuf>,
}

/// Print the completions for a shell
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  scrubjay completions bash > ~/.local/share/bash-completion/completions/scrubjay\n  scrubjay completions fish > ~/.config/fish/completions/scrubjay.fish"
)]
pub struct Completions {
    #[arg(value_enum)]
    pub shell: clap_complete::Shell,
}

/// Print the man page, or write one for every subcommand
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  scrubjay man | man -l -\n  scrubjay man --dir ~/.local/share/man/man1"
)]
pub struct Man {
    /// Write scrubjay.1 and a page for each subcommand into this directory
    #[arg(long, value_hint = ValueHint::DirPath)]
    pub dir: Option<PathBuf>,
}

fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|error| format!("{error}; write 10s, 5m, 1h 30m or 7d"))
}

/// A number of bytes with an optional K, M, G or T, each 1024 times the one before.
fn size(text: &str) -> Result<u64, String> {
    let upper = text.trim().to_ascii_uppercase();
    let upper = upper.trim_end_matches("IB").trim_end_matches('B');
    let (digits, power) = match upper.chars().last().and_then(|unit| "KMGT".find(unit)) {
        Some(place) => (&upper[..upper.len() - 1], place as u32 + 1),
        None => (upper, 0),
    };
    let number: u64 = digits
        .trim()
        .parse()
        .map_err(|_| "write a number, or one with K, M, G or T".to_owned())?;
    number
        .checked_mul(1024_u64.pow(power))
        .ok_or_else(|| "that is too much".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        use clap::CommandFactory;
        Arguments::command().debug_assert();
        RunAlone::command().debug_assert();
    }

    #[test]
    fn sizes_are_read_with_their_unit() {
        assert_eq!(size("17"), Ok(17));
        assert_eq!(size("2k"), Ok(2048));
        assert_eq!(size("3 MiB"), Ok(3 << 20));
        assert_eq!(size("1GB"), Ok(1 << 30));
        assert!(size("G").is_err() && size("-1").is_err() && size("99999999999T").is_err());
    }
}
