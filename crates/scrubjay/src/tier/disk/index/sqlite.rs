//! SQLite as an index: its connections, and what an engine is asked for in SQL.
//!
//! Invariants: opening an index that is there writes nothing; one connection writes, under a lock; readers have one
//! each, from a pool; and no connection outlives its process: a forked child leaks those it inherited.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode};

use super::check;
use super::connection::connect;
use super::evict;
use super::readers::Readers;
use super::schema::{self, Kind};
use super::write::{Origin, Writer};
use super::{Applied, FunctionStats, Guides, Index, Last, News, Op, Row, Speaker, Target, read};
use crate::error::{Error, ErrorKind};
use crate::tier::disk::digest::Digest;
use crate::tier::disk::directory::Directory;
use crate::tier::disk::options::SMALLEST;
use crate::tier::disk::{Options, error};

pub(crate) struct Sqlite {
    pub(super) directory: Directory,
    pub(super) options: Options,
    origin: Origin,
    readers: Readers,
    writer: Mutex<Option<Writer>>,
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
        let opened = connect(directory).map_err(unusable)?;
        let reader = &opened.connection;
        match schema::kind(reader).map_err(unusable)? {
            Kind::Ours => {}
            Kind::Newer => return Err(Unusable::Newer),
            Kind::Foreign => {
                let message = "disk tier: store.db in this folder is another program's database; choose another \
                               folder";
                return Err(Unusable::Failed(Error::new(ErrorKind::Version, message)));
            }
        }
        let mut options = options.clone();
        if let Some(capacity) = read::capacity(reader).map_err(unusable)?
            && !options.is_capacity_given
        {
            options.capacity_bytes = capacity.max(SMALLEST);
        }
        Ok(Self {
            directory: directory.clone(),
            options,
            origin: Origin::new(origin),
            readers: Readers::new(opened),
            writer: Mutex::new(None),
        })
    }

    pub(crate) fn options(&self) -> &Options {
        &self.options
    }

    pub(super) fn release(&self, age: Duration) {
        self.readers.release(age);
    }

    fn write<R>(&self, work: impl FnOnce(&mut Writer) -> rusqlite::Result<R>) -> Result<R, Error> {
        let mut writer = lock(&self.writer);
        let writer = match &mut *writer {
            Some(writer) => writer,
            empty => {
                let opened = connect(&self.directory).map_err(error::index)?;
                if opened.is_frozen {
                    let message = "disk tier: the folder is read-only";
                    return Err(Error::new(ErrorKind::Io, message));
                }
                let connection = opened.connection;
                schema::upgrade(&connection).map_err(error::index)?;
                empty.insert(Writer::new(connection, self.origin))
            }
        };
        work(writer).map_err(error::index)
    }

    fn read<R>(&self, ask: impl FnOnce(&Connection) -> rusqlite::Result<R>) -> Result<R, Error> {
        self.readers
            .ask(&self.directory, |reader| ask(&reader.connection))
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

impl Index for Sqlite {
    fn get(&self, digest: &Digest) -> Result<Option<Row>, Error> {
        self.readers
            .look_up(&self.directory, |reader| read::get(reader, digest))
    }

    fn keeps_transactions(&self) -> bool {
        self.readers.is_any_kept()
    }

    fn release_transactions(&self, age: Duration) {
        self.release(age);
    }

    fn apply(&self, batch: &[Op], durable: bool) -> Result<Applied, Error> {
        let can_wait = batch.iter().any(Op::is_put) && batch.iter().all(Op::can_be_lost);
        let applied = self.write(|writer| {
            if can_wait && !self.find_room_in_log(writer) {
                return Ok(None);
            }
            writer.apply(batch, durable, &self.options).map(Some)
        });
        applied?.ok_or_else(|| {
            let message = "disk tier: the log of the index is full, and a process that reads it keeps it from being emptied";
            Error::new(ErrorKind::Io, message)
        })
    }

    fn has_room_in_log(&self) -> bool {
        self.log_length() <= self.options.log_limit() / 4 * 3
    }

    fn keep_small(&self, shrank: bool) -> Result<(), Error> {
        self.write(|writer| {
            self.keep_small(writer, shrank);
            Ok(())
        })
    }

    fn tidy(&self) -> Result<bool, Error> {
        self.write(|writer| self.tidy(writer))
    }

    fn concerned(&self, target: &Target, before: u64, after: i64) -> Result<Vec<i64>, Error> {
        self.read(|reader| read::concerned(reader, target, before, after))
    }

    fn rows(&self, after: i64, limit: usize) -> Result<Vec<Row>, Error> {
        self.readers
            .ask(&self.directory, |reader| read::rows(reader, after, limit))
    }

    fn news(&self, after: u64, but: Speaker) -> Result<News, Error> {
        let origin = self.origin.of(but);
        self.read(|reader| read::news(reader, after, origin))
    }

    fn last(&self) -> Result<Last, Error> {
        self.read(read::last)
    }

    fn functions(&self) -> Result<Vec<FunctionStats>, Error> {
        self.read(read::functions)
    }

    fn len(&self) -> Result<u64, Error> {
        self.read(|reader| reader.query_row("SELECT count(*) FROM e", [], |row| row.get(0)))
    }

    fn used(&self) -> Result<u64, Error> {
        self.read(evict::used)
    }

    fn names_file(&self, id: i64) -> Result<bool, Error> {
        let sql = "SELECT EXISTS(SELECT 1 FROM e WHERE file = ?)";
        self.read(|reader| reader.query_row(sql, [id], |row| row.get(0)))
    }

    fn guides(&self, id: i64) -> Result<Option<Guides>, Error> {
        self.read(|reader| read::guides(reader, id))
    }

    fn check(&self) -> Result<Vec<String>, Error> {
        self.read(check::check)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;
    use crate::tier::disk::digest::KeyEncoder;
    use crate::tier::disk::index::{AT_ONCE, Put};
    use crate::tier::disk::record::Function;

    struct Folder(std::path::PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let name = format!("scrubjay-index-{name}-{}", std::process::id());
            Self(std::env::temp_dir().join(name))
        }

        fn index(&self) -> Sqlite {
            self.index_of(1)
        }

        /// The index as another process has it.
        fn index_of(&self, origin: i64) -> Sqlite {
            let directory = Directory::open(&self.0, false).unwrap();
            Sqlite::open(&directory, &Options::default(), origin << 32).unwrap()
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn key(number: u64) -> Digest {
        KeyEncoder::new("test").u64(number).finish()
    }

    fn put(number: u64, born: u64) -> Op {
        Op::Put(Box::new(Put {
            digest: key(number),
            function: Function::new("f", "").into(),
            tags: vec!["t".into()],
            born,
            is_load: true,
            replaces: false,
            by: Speaker::default(),
            ends: None,
            bucket: 0,
            file: None,
            noted: None,
            bytes: vec![7; 20],
        }))
    }

    /// More entries than one transaction removes, an invalidation of all of them that was written down and has not gone
    /// through them yet, and then two loads that began as it was said and after it.
    #[test]
    fn what_was_loaded_after_a_large_invalidation_began_survives_the_rest_of_it() {
        let many = AT_ONCE as u64 + 100;
        let targets = [
            Target::All,
            Target::Function("f".into()),
            Target::Tag("t".into()),
        ];
        for target in targets {
            let folder = Folder::new("large");
            let index = folder.index();
            let old: Vec<Op> = (0..many).map(|key| put(key, 0)).collect();
            index.apply(&old, false).unwrap();
            let said = index.apply(&[Op::Invalidate(target.clone(), Speaker::default())], true);
            let before = said.unwrap().last.invalidation;
            let new = [put(3, before), put(many, before)];
            index.apply(&new, false).unwrap();
            let newer = [index.id_of(3), index.id_of(many)];

            let mut after = i64::MIN;
            loop {
                let ids = index.concerned(&target, before, after).unwrap();
                assert!(newer.iter().all(|id| !ids.contains(id)), "{target:?}");
                let Some(last) = ids.last() else { break };
                after = *last;
                index.apply(&[Op::Remove { ids, before }], false).unwrap();
            }
            // Nor are they removed by somebody who found them before they were written anew.
            let ids = newer.to_vec();
            let removed = index.apply(&[Op::Remove { ids, before }], false).unwrap();
            assert_eq!(removed.invalidated, 0, "{target:?}");
            assert_eq!(index.len().unwrap(), 2, "{target:?}");
        }
    }

    fn insertion(number: u64, born: u64) -> Op {
        match put(number, born) {
            Op::Put(put) => Op::Put(Box::new(Put {
                is_load: false,
                replaces: true,
                ..*put
            })),
            other => other,
        }
    }

    #[test]
    fn an_insertion_that_is_refused_takes_what_it_was_to_replace_with_it() {
        let folder = Folder::new("refused");
        let (ours, theirs) = (folder.index_of(1), folder.index_of(2));
        ours.apply(&[put(1, 0), put(2, 0)], false).unwrap();
        let said = theirs.apply(&[Op::Invalidate(Target::Loads, Speaker::default())], true);
        let number = said.unwrap().last.number;
        let too_large = match insertion(2, number) {
            Op::Put(put) => Op::Put(Box::new(Put {
                bytes: vec![7; Options::default().largest_entry() as usize + 1],
                ..*put
            })),
            other => other,
        };
        let refused = ours.apply(&[insertion(1, 0), too_large], false).unwrap();
        assert_eq!((refused.stored, refused.fenced), (0, 2));
        assert!(ours.find(1).is_none() && ours.find(2).is_none());
        // Nor does a load bring it back. No memory keeps it, but for what is too large only for the folder.
        let late = ours.apply(&[put(1, number), put(2, number)], false);
        assert_eq!(late.unwrap().fenced, 2);
        let news = |index: &Sqlite| index.news(number, Speaker::default()).unwrap().targets;
        assert_eq!(news(&ours), [key(1)].map(Target::Key));
        assert_eq!(news(&theirs), [key(1), key(2)].map(Target::Key));
    }

    #[test]
    fn the_memory_of_whoever_loaded_hears_that_its_load_was_refused_for_what_nobody_could_ask() {
        let folder = Folder::new("refused-load");
        let (ours, theirs) = (folder.index_of(1), folder.index_of(2));
        let said = theirs.apply(&[Op::Invalidate(Target::Loads, Speaker::default())], true);
        let number = said.unwrap().last.number;
        assert_eq!(ours.apply(&[put(1, 0)], false).unwrap().fenced, 1);
        let news = ours.news(number, Speaker::default()).unwrap().targets;
        assert_eq!(news, [Target::Key(key(1))]);
    }

    #[test]
    fn a_row_that_was_replaced_since_it_could_not_be_read_stays() {
        let folder = Folder::new("discard");
        let index = folder.index();
        index.apply(&[put(1, 0)], false).unwrap();
        let id = index.id_of(1);
        let discard = |bytes: &[u8]| Op::Discard {
            id,
            bytes: bytes.to_vec(),
        };
        index.apply(&[discard(&[8; 20])], false).unwrap();
        assert!(index.find(1).is_some());
        index.apply(&[discard(&[7; 20])], false).unwrap();
        assert!(index.find(1).is_none());
    }

    impl Sqlite {
        fn find(&self, number: u64) -> Option<Row> {
            self.get(&key(number)).unwrap()
        }

        fn id_of(&self, number: u64) -> i64 {
            self.find(number).unwrap().id
        }
    }
}
