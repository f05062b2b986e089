//! A cache in front of a store: writes go through both, and other writers' events invalidate.
//!
//! Run it: `cargo run -p scrubjay --example write_through`

#![allow(clippy::print_stdout, reason = "an example shows its result")]

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::{env, fs, io, process};

use scrubjay::Cache;

/// A folder with one file for each user. Whoever writes sends the number of the user.
#[derive(Clone)]
struct Store {
    folder: PathBuf,
    changes: Sender<u32>,
}

impl Store {
    fn write(&self, id: u32, name: &str) -> io::Result<()> {
        fs::write(self.folder.join(id.to_string()), name)?;
        self.changes.send(id).map_err(io::Error::other)
    }
}

/// What the program uses: the cache first, the store behind it.
struct Users {
    store: Store,
    changes: Receiver<u32>,
    cache: Cache<u32, String>,
}

impl Users {
    fn get(&self, id: u32) -> io::Result<String> {
        for changed in self.changes.try_iter() {
            self.cache.invalidate(&changed);
        }
        let load = || fs::read_to_string(self.store.folder.join(id.to_string()));
        self.cache.try_get_or_insert_in_turn(&id, load)
    }
}

/// Reads, and writes behind the cache's back.
pub fn main() -> io::Result<()> {
    let folder = env::temp_dir().join(format!("scrubjay-store-{}", process::id()));
    fs::create_dir_all(&folder)?;
    let (sender, changes) = channel();
    let store = Store {
        folder,
        changes: sender,
    };
    let users = Users {
        store: store.clone(),
        changes,
        cache: Cache::new(),
    };

    store.write(1, "ann")?;
    assert_eq!((users.get(1)?, users.get(1)?), ("ann".into(), "ann".into()));
    store.write(1, "anna")?;
    println!("after another writer's event: {}", users.get(1)?);
    assert_eq!(
        (users.get(1)?, users.cache.stats().loads),
        ("anna".into(), 2)
    );
    fs::remove_dir_all(store.folder)
}
