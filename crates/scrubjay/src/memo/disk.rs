//! `disk = …` of a memoized function: whose results they are, and how they are encoded.
//!
//! Invariant: no two functions of a process have one identity, so none is given what another one returned.

use std::any::{TypeId, type_name};
use std::collections::BTreeMap;
use std::hash::Hash;
use std::marker::PhantomData;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::probe::TypeOf;
use crate::builder::Builder;
use crate::disk::{Attached, Encoding, Function, Store};
use crate::error::{Error, ErrorKind};

/// `disk = …`: keeps a function's results in a folder, or in memory only if that cannot be used.
pub fn below<K, V>(
    mut builder: Builder<K, V>,
    place: impl AsRef<str>,
    identity: Identity,
    keys: Encoding<K>,
    values: Encoding<V>,
) -> Builder<K, V>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
{
    let name = identity.function.name.clone();
    let store = identity
        .claim()
        .and_then(|function| Ok((Store::open(folder_of(place.as_ref()))?, function)));
    match store {
        Ok((store, function)) => {
            builder.below = Some(Box::new(Attached::new(store, function, keys, values)));
        }
        Err(error) => eprintln!("scrubjay: {name}: {error}; its results are kept in memory only"),
    }
    builder
}

/// Which function it is whose results are on disk.
#[derive(Debug)]
pub struct Identity {
    function: Function,
    instance: TypeId,
}

/// Who has which identity in this process: as many as there are instances of functions with `disk`.
static IDENTITIES: Mutex<BTreeMap<Function, TypeId>> = Mutex::new(BTreeMap::new());

impl Identity {
    /// The identity of the function around a closure, whose type has a path with the types of that instance in it. The
    /// path ends in `companion`, if the closure is in one, which stands beside the function `name`.
    pub fn of<C: 'static>(_: &C, companion: &str, name: &str, code: String) -> Self {
        let path = type_name::<C>().trim_end_matches("::{{closure}}");
        let path = match path.rfind(companion) {
            Some(at) if !companion.is_empty() => {
                let rest = &path[at + companion.len()..];
                format!("{}{name}{rest}", &path[..at])
            }
            _ => path.to_owned(),
        };
        Self {
            function: Function::new(path, code),
            instance: TypeId::of::<C>(),
        }
    }

    /// Two types may have one path, and would find each other's entries: only the first has them.
    fn claim(self) -> Result<Function, Error> {
        let mut identities = IDENTITIES.lock().unwrap_or_else(PoisonError::into_inner);
        let first = identities
            .entry(self.function.clone())
            .or_insert(self.instance);
        if *first == self.instance {
            return Ok(self.function);
        }
        let message = "disk tier: another function of this path has `disk` too; rename one of them";
        Err(Error::new(ErrorKind::Option, message))
    }
}

/// A path, or the folder of this name in the user's folder of caches.
fn folder_of(place: &str) -> PathBuf {
    if place.contains('/') {
        return PathBuf::from(place);
    }
    let variable = |name| std::env::var_os(name).map(PathBuf::from);
    let caches = variable("XDG_CACHE_HOME").filter(|path| path.is_absolute());
    let home = || variable("HOME").map(|home| home.join(".cache"));
    let caches = caches.or_else(home).unwrap_or_else(std::env::temp_dir);
    caches.join("scrubjay").join(place)
}

/// What `disk` stores: arguments and results.
#[diagnostic::on_unimplemented(
    message = "`disk` stores arguments and results, and `{Self}` cannot be stored",
    label = "this must be a type of serde that borrows nothing",
    note = "derive `serde::Serialize` and `serde::Deserialize` for it; of a `Result`, only for what is in `Ok`; give a type \
            parameter the bounds `serde::Serialize + serde::de::DeserializeOwned`",
    note = "an argument that need not be in the key is left out with `ignore(…)`"
)]
pub trait Stored {}

/// Asks about the type of a cache's keys.
pub fn key_of<K, V>(_: &Builder<K, V>) -> TypeOf<K> {
    TypeOf(PhantomData)
}

/// Asks about the type of a cache's values.
pub fn value_of<K, V>(_: &Builder<K, V>) -> TypeOf<V> {
    TypeOf(PhantomData)
}

/// Encodes a type: as a whole.
pub trait EncodedWhole<T> {
    /// Returns how.
    fn scrubjay_encoding(&self) -> Encoding<T>;
}

impl<T: Serialize + DeserializeOwned> EncodedWhole<T> for &&TypeOf<T> {
    fn scrubjay_encoding(&self) -> Encoding<T> {
        Encoding::whole()
    }
}

/// Encodes a type: what is in `Ok`, because errors are not stored.
pub trait EncodedOk<T> {
    /// Returns how.
    fn scrubjay_encoding(&self) -> Encoding<T>;
}

impl<T: Serialize + DeserializeOwned, E> EncodedOk<Result<T, E>> for &TypeOf<Result<T, E>> {
    fn scrubjay_encoding(&self) -> Encoding<Result<T, E>> {
        Encoding::of_ok()
    }
}

/// Encodes a type: not at all, which is an error.
pub trait EncodedNothing<T> {
    /// Is never called.
    fn scrubjay_encoding(&self) -> Encoding<T>
    where
        T: Stored;
}

impl<T> EncodedNothing<T> for TypeOf<T> {
    fn scrubjay_encoding(&self) -> Encoding<T>
    where
        T: Stored,
    {
        unreachable!("nothing is `Stored`")
    }
}
