//! A cache in front of a store: writes go through both, and other writers' events invalidate.
//!
//! Run it: `cargo run -p scrubjay --example write_through`

#![allow(clippy::print_stdout, reason = "an example shows its result")]

use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::{env, fs, io, process};

use scrubjay::Cache;

/// Names of users: the cache first, and behind it a folder with a file for each.
struct Users<'a> {
    folder: &'a Path,
    cache: Cache<u32, String>,
    changes: Receiver<u32>,
}

impl Users<'_> {
    fn set(&self, id: u32, name: &str) -> io::Result<()> {
        fs::write(self.folder.join(id.to_string()), name)?;
        self.cache.insert(id, name.to_owned());
        Ok(())
    }

    fn get(&self, id: u32) -> io::Result<String> {
        for changed in self.changes.try_iter() {
            self.cache.invalidate(&changed);
        }
        let load = || fs::read_to_string(self.folder.join(id.to_string()));
        self.cache.try_get_or_insert_in_turn(&id, load)
    }
}

/// Writes through the cache, and behind its back.
pub fn main() -> io::Result<()> {
    let folder = &env::temp_dir().join(format!("scrubjay-store-{}", process::id()));
    fs::create_dir_all(folder)?;
    let (events, changes) = channel();
    let users = Users {
        folder,
        cache: Cache::new(),
        changes,
    };

    users.set(1, "ann")?;
    assert_eq!(
        (users.get(1)?, users.cache.stats().loads),
        ("ann".into(), 0)
    );
    fs::write(folder.join("1"), "anna")?;
    events.send(1).map_err(io::Error::other)?;
    println!("after another writer's event: {}", users.get(1)?);
    assert_eq!(
        (users.get(1)?, users.cache.stats().loads),
        ("anna".into(), 1)
    );
    fs::remove_dir_all(folder)
}
