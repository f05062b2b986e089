//! SQLite as an index: its connections, and what an engine is asked for in SQL.
//!
//! Invariants: opening an index that is there writes nothing; one connection writes, under a lock; readers have one
//! each, from a pool; and no connection outlives its process: a forked child leaks those it inherited.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::schema::{self, Kind};
use super::{Applied, FunctionStats, Index, Invalidation, Op, Row};
use super::{read, write};
use crate::error::{Error, ErrorKind};
use crate::tier::disk::digest::Digest;
use crate::tier::disk::directory::Directory;
use crate::tier::disk::options::SMALLEST;
use crate::tier::disk::{Options, error};

pub(crate) struct Sqlite {
    pub(super) directory: Directory,
    pub(super) options: Options,
    pub(super) origin: i64,
    readers: Mutex<Vec<Connection>>,
    writer: Mutex<Option<Connection>>,
}

/// What opening found that is no index to use.
#[derive(Debug)]
pub(crate) enum Unusable {
    Newer,
    Damaged(Error),
    Failed(Error),
}

impl Unusable {
    pub(crate) fn into_error(self) -> Error {
        match self {
            Self::Damaged(error) | Self::Failed(error) => error,
            Self::Newer => Error::new(
                ErrorKind::Version,
                "disk tier: the folder was written by a newer version; choose another one",
            ),
        }
    }
}

impl Sqlite {
    pub(crate) fn open(
        directory: &Directory,
        options: &Options,
        origin: i64,
    ) -> Result<Self, Unusable> {
        schema::create(directory).map_err(Unusable::Failed)?;
        let reader = connect(directory).map_err(unusable)?;
        match schema::kind(&reader).map_err(unusable)? {
            Kind::Ours => {}
            Kind::Newer => return Err(Unusable::Newer),
            Kind::Foreign => {
                let message = "disk tier: store.db in this folder is another program's database; choose another \
                               folder";
                return Err(Unusable::Failed(Error::new(ErrorKind::Version, message)));
            }
        }
        let mut options = options.clone();
        if let Some(capacity) = read::capacity(&reader).map_err(unusable)?
            && !options.is_capacity_given
        {
            options.capacity_bytes = capacity.max(SMALLEST);
        }
        Ok(Self {
            directory: directory.clone(),
            options,
            origin,
            readers: Mutex::new(vec![reader]),
            writer: Mutex::new(None),
        })
    }

    pub(crate) fn options(&self) -> &Options {
        &self.options
    }

    /// To be called when the store is closed.
    pub(crate) fn tidy(&self) {
        let writer = lock(&self.writer).take();
        if let Some(connection) = writer.or_else(|| lock(&self.readers).pop()) {
            super::evict::tidy(self, &connection);
        }
    }

    fn read<R>(&self, ask: impl FnOnce(&Connection) -> rusqlite::Result<R>) -> Result<R, Error> {
        let pooled = lock(&self.readers).pop();
        let reader = match pooled {
            Some(reader) => reader,
            None => connect(&self.directory).map_err(error::index)?,
        };
        let answer = ask(&reader).map_err(error::index);
        lock(&self.readers).push(reader);
        answer
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn unusable(cause: rusqlite::Error) -> Unusable {
    match cause.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            Unusable::Damaged(error::index(cause))
        }
        _ => Unusable::Failed(error::index(cause)),
    }
}

/// Opens one connection. Writes nothing.
fn connect(directory: &Directory) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let path = directory.index();
    let mut connection =
        Connection::open_with_flags(&path, flags | OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    connection.busy_handler(Some(wait_for_others))?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    connection.set_prepared_statement_cache_capacity(32);
    connection.execute_batch(
        "PRAGMA synchronous=NORMAL; PRAGMA mmap_size=0; PRAGMA cache_size=-16384; \
         PRAGMA wal_autocheckpoint=0; PRAGMA trusted_schema=OFF; PRAGMA temp_store=MEMORY;",
    )?;
    Ok(connection)
}

/// Waits a little for whoever holds a lock; gives up after about half a minute.
fn wait_for_others(tries: i32) -> bool {
    let chance = crate::tier::disk::values::new_id().cast_unsigned() % 1024;
    let most = 200 << tries.clamp(0, 5);
    std::thread::sleep(Duration::from_micros(100 + chance * most / 1024));
    tries < 8_000
}

impl Index for Sqlite {
    fn get(&self, digest: &Digest) -> Result<Option<Row>, Error> {
        self.read(|reader| read::get(reader, digest))
    }

    fn apply(&self, batch: &[Op], durable: bool) -> Result<Applied, Error> {
        let mut writer = lock(&self.writer);
        let connection = match &mut *writer {
            Some(connection) => connection,
            empty => empty.insert(connect(&self.directory).map_err(error::index)?),
        };
        write::apply(self, connection, batch, durable).map_err(error::index)
    }

    fn rows(&self, after: i64, limit: usize) -> Result<Vec<Row>, Error> {
        self.read(|reader| read::rows(reader, after, limit))
    }

    fn invalidations(&self, after: u64) -> Result<(Vec<Invalidation>, u64), Error> {
        self.read(|reader| read::invalidations(reader, after))
    }

    fn last_invalidation(&self) -> Result<u64, Error> {
        self.read(read::last_invalidation)
    }

    fn functions(&self) -> Result<Vec<FunctionStats>, Error> {
        self.read(read::functions)
    }

    fn len(&self) -> Result<u64, Error> {
        self.read(|reader| reader.query_row("SELECT count(*) FROM e", [], |row| row.get(0)))
    }

    fn used(&self) -> Result<u64, Error> {
        self.read(super::evict::used)
    }

    fn names_file(&self, id: i64) -> Result<bool, Error> {
        let sql = "SELECT EXISTS(SELECT 1 FROM e WHERE file = ?)";
        self.read(|reader| reader.query_row(sql, [id], |row| row.get(0)))
    }

    fn check(&self) -> Result<Vec<String>, Error> {
        self.read(|reader| {
            let mut statement = reader.prepare("PRAGMA integrity_check")?;
            let lines = statement.query_map([], |row| row.get::<_, String>(0))?;
            let lines: Vec<String> = lines.collect::<Result<_, _>>()?;
            Ok(lines.into_iter().filter(|line| line != "ok").collect())
        })
    }
}
