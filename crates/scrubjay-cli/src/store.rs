//! Where the store is, and opening it.

use std::path::{Path, PathBuf};

use scrubjay::disk::Store;

use crate::args::Global;
use crate::failure::{Failure, Result, STORE};

/// Names the store's directory; one that is empty is as good as none.
const VARIABLE: &str = "SCRUBJAY_STORE";

/// The store's directory: as given, else the user's cache directory.
pub fn directory(global: &Global) -> Result<PathBuf> {
    let variable = || std::env::var_os(VARIABLE).map(PathBuf::from);
    let given = global.store.clone().or_else(variable);
    if let Some(directory) = given.filter(|path| !path.as_os_str().is_empty()) {
        return Ok(directory);
    }
    let absolute = |name| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    absolute("XDG_CACHE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".cache")))
        .map(|cache| cache.join("scrubjay"))
        .ok_or_else(|| {
            Failure::new(
                STORE,
                "no place for the store: set HOME, or name one with --store DIR",
            )
        })
}

/// Opens the store for a run, or makes it. Writes go through before they return, so no thread is started.
pub fn open_or_create(directory: &Path, capacity: Option<u64>) -> Result<Store> {
    let mut builder = Store::builder().write_through(true);
    if let Some(bytes) = capacity {
        builder = builder.capacity_bytes(bytes);
    }
    Ok(builder.open(directory)?)
}

/// Whether a directory has a store, or one of some machine where it is on a network file system.
fn is_store(directory: &Path) -> bool {
    let has_index = |path: &Path| std::fs::symlink_metadata(path.join("store.db")).is_ok();
    let inside = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let mut machines = inside.filter(|entry| {
        entry
            .file_name()
            .as_encoded_bytes()
            .starts_with(b"machine-")
    });
    has_index(directory) || machines.any(|entry| has_index(&entry.path()))
}

/// Opens a store that is there, to look at it or to change it.
pub fn open(global: &Global) -> Result<Store> {
    let directory = directory(global)?;
    if !is_store(&directory) {
        let hint = "`scrubjay run` makes one; --store or SCRUBJAY_STORE names another directory";
        return Err(Failure::new(
            STORE,
            format!("there is no store in {}: {hint}", directory.display()),
        ));
    }
    open_or_create(&directory, None)
}
