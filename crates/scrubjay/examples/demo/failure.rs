//! Section: inputs that fail, what their callers get, and what is remembered of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use scrubjay::{Cache, ManualClock};

use super::Failure;
use super::report::{Page, Table, counted, number, short};
use super::totals::Totals;

const THREADS: usize = 10;
const ERROR_LIFE: Duration = Duration::from_secs(5);

type Texts = Cache<PathBuf, String>;

/// Asks for a file that is not there and for one that is not text.
pub fn show(page: &mut Page, totals: &mut Totals) -> Result<(), Failure> {
    page.heading("Inputs that fail")?;
    page.text(
        "A file that does not exist, and this program's own executable, which is no text. The first load ends only \
         when all ten threads have asked, so that nine of them wait for it.",
    )?;
    let clock = ManualClock::new();
    let forgets: Texts = Cache::new();
    let remembers: Texts = Cache::builder()
        .error_time_to_live(ERROR_LIFE)
        .clock(clock.clone())
        .build()?;
    let missing = std::env::temp_dir().join("scrubjay-demo/no-such-file.rs");
    let program = std::env::current_exe()?;

    let mut table = Table::new(" | answer | calls | loads | waits | values | weight").left(2);
    let shared = together(&forgets, &missing)?;
    row(&mut table, "ten threads, not there", &shared, &forgets);
    row(
        &mut table,
        "asked again",
        &read(&forgets, &missing),
        &forgets,
    );
    row(&mut table, "not text", &read(&forgets, &program), &forgets);
    row(
        &mut table,
        "errors kept for 5 s",
        &read(&remembers, &missing),
        &remembers,
    );
    for (name, step) in [("4.9 s later", 4_900), ("at 5 s", 100)] {
        clock.advance(Duration::from_millis(step));
        row(&mut table, name, &read(&remembers, &missing), &remembers);
    }
    page.table(&table)?;
    page.text(
        "By default an error goes to those who wait for it and is then forgotten. With an error time to live it \
         answers further calls without a load, until its time is over; that clock, too, was moved by hand.",
    )?;
    for (name, cache) in [
        ("failing, forgotten", &forgets),
        ("failing, remembered", &remembers),
    ] {
        totals.note(name, cache.stats(), cache.stats().time_saved());
    }
    Ok(())
}

fn read(cache: &Texts, path: &Path) -> Result<String, String> {
    cache.try_get_or_insert_with(path, || load(path))
}

fn load(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| error.to_string())
}

/// Asks on ten threads at once. All get one answer, which is returned.
fn together(cache: &Texts, path: &Path) -> Result<Result<String, String>, Failure> {
    let start = Barrier::new(THREADS);
    let ask = || {
        start.wait();
        cache.try_get_or_insert_with(path, || {
            while cache.stats().waits + 1 < THREADS as u64 {
                thread::yield_now();
            }
            load(path)
        })
    };
    let answers: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(ask)).collect();
        threads.into_iter().map(|thread| thread.join()).collect()
    });
    let mut answers = answers.into_iter().flatten();
    let first = answers.next().ok_or("no thread answered")?;
    match answers.all(|answer| answer == first) {
        true => Ok(first),
        false => Err("the waiters got another answer than the leader".into()),
    }
}

fn row(table: &mut Table, name: &str, answer: &Result<String, String>, cache: &Texts) {
    let stats = cache.stats();
    table.row([
        name.to_owned(),
        match answer {
            Ok(text) => counted(text.len() as u64, "byte"),
            Err(error) => short(error, 48),
        },
        number(stats.hits + stats.misses),
        number(stats.loads),
        number(stats.waits),
        number(cache.len() as u64),
        number(cache.weight()),
    ]);
}
