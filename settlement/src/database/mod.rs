//! The settlement process's own memory: one SQLite file, one writer.
//!
//! Used by `follow`, `settle` and `exchange`, one transaction for each step they take; read by
//! `status` from other processes.
//!
//! Always holds: a transaction that was committed is on disk (WAL, synchronous=FULL); the cursor
//! moves in the transaction that applies its events; an act outside is recorded before it is made.
//! Does not: decide anything.

mod actions;
mod commands;
mod cursor;
mod history;
mod obligations;

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};

use crate::error::SettlementError;

pub use commands::{Command, CommandKind, Outcome};
pub use cursor::{Cursor, SessionRecord};
pub use history::Change;
pub use obligations::Payment;

/// The schema, one script for each version; each brings the database from the one before to its own.
const MIGRATIONS: [&str; 3] = [
    include_str!("schema.sql"),
    include_str!("schema_2.sql"),
    include_str!("schema_3.sql"),
];

/// The file in the state folder.
const FILE: &str = "settlement.sqlite";

/// The database, open for writing.
#[derive(Debug)]
pub struct Database {
    connection: Connection,
    _lock: Flock<File>,
}

/// One step: all of it is on disk after the commit, or none.
#[derive(Debug)]
pub struct Tx<'db> {
    inner: Transaction<'db>,
}

impl Database {
    /// Opens the database in a state folder as its only writer, creating or migrating it.
    ///
    /// # Errors
    /// [`SettlementError::InUse`], [`SettlementError::NewerSchema`], [`SettlementError::Io`].
    pub fn open(state: &Path) -> Result<Database, SettlementError> {
        // Machines' users pass through to what is theirs, and see nothing of the rest.
        let made = fs::DirBuilder::new()
            .recursive(true)
            .mode(0o711)
            .create(state);
        made.map_err(SettlementError::io("create the folder", state))?;
        let lock = lock(state)?;
        let path = state.join(FILE);
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false);
        file.mode(0o600)
            .open(&path)
            .map_err(SettlementError::io("create", &path))?;
        let mut connection = Connection::open(&path)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "foreign_keys", true)?;
        migrate(&mut connection, &path)?;
        Ok(Database {
            connection,
            _lock: lock,
        })
    }

    /// Makes one step.
    ///
    /// # Errors
    /// Those of the step, after which nothing has changed.
    pub fn step<T>(
        &mut self,
        work: impl FnOnce(&Tx<'_>) -> Result<T, SettlementError>,
    ) -> Result<T, SettlementError> {
        let behavior = TransactionBehavior::Immediate;
        let tx = Tx {
            inner: self.connection.transaction_with_behavior(behavior)?,
        };
        let done = work(&tx)?;
        tx.inner.commit()?;
        Ok(done)
    }

    /// Looks, changing nothing.
    ///
    /// # Errors
    /// Those of the look.
    pub fn look<T>(
        &mut self,
        work: impl FnOnce(&Tx<'_>) -> Result<T, SettlementError>,
    ) -> Result<T, SettlementError> {
        work(&Tx {
            inner: self.connection.transaction()?,
        })
    }
}

/// Opens the database in a state folder to look at it, whoever writes.
///
/// # Errors
/// [`SettlementError::Io`] where there is none.
pub fn open_to_read(state: &Path) -> Result<Connection, SettlementError> {
    let path = state.join(FILE);
    fs::metadata(&path).map_err(SettlementError::io("find the settlement database", &path))?;
    let connection = Connection::open_with_flags(&path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    check_version(&connection, &path)?;
    Ok(connection)
}

/// As [`Database::look`], on a connection that only reads.
///
/// # Errors
/// Those of the look.
pub fn look_at<T>(
    connection: &mut Connection,
    work: impl FnOnce(&Tx<'_>) -> Result<T, SettlementError>,
) -> Result<T, SettlementError> {
    work(&Tx {
        inner: connection.transaction()?,
    })
}

fn lock(state: &Path) -> Result<Flock<File>, SettlementError> {
    let path = state.join("lock");
    let mut options = OpenOptions::new();
    let file = options.read(true).write(true).create(true).truncate(false);
    let file = file
        .open(&path)
        .map_err(SettlementError::io("open", &path))?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| match errno {
        nix::errno::Errno::EWOULDBLOCK => SettlementError::InUse {
            path: state.to_path_buf(),
        },
        errno => SettlementError::io("lock", path)(errno.into()),
    })
}

fn check_version(connection: &Connection, path: &Path) -> Result<usize, SettlementError> {
    let found: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    match usize::try_from(found) {
        Ok(version) if version <= MIGRATIONS.len() => Ok(version),
        _ => Err(SettlementError::NewerSchema {
            path: PathBuf::from(path),
            found,
            known: MIGRATIONS.len() as i64,
        }),
    }
}

fn migrate(connection: &mut Connection, path: &Path) -> Result<(), SettlementError> {
    let version = check_version(connection, path)?;
    for (place, script) in MIGRATIONS.iter().enumerate().skip(version) {
        let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        tx.execute_batch(script)?;
        tx.pragma_update(None, "user_version", place as i64 + 1)?;
        tx.commit()?;
    }
    Ok(())
}

/// A time or span as it is stored: what lies beyond the year 2262 is never.
fn stored(nanos: exahour_wire::units::Nanos) -> i64 {
    i64::try_from(nanos.0).unwrap_or(i64::MAX)
}

/// The time that was stored.
fn loaded(stored: i64) -> exahour_wire::units::Nanos {
    match u64::try_from(stored) {
        Ok(nanos) if stored != i64::MAX => exahour_wire::units::Nanos(nanos),
        _ => exahour_wire::units::Nanos::NEVER,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_writer_at_a_time_and_no_newer_schema() {
        let dir = tempfile::tempdir().expect("dir");
        let first = Database::open(dir.path()).expect("first");
        let second = Database::open(dir.path()).expect_err("in use").to_string();
        assert!(second.contains("in use"), "{second}");
        assert!(open_to_read(dir.path()).is_ok(), "readers may look");
        first
            .connection
            .pragma_update(None, "user_version", 99)
            .expect("version");
        drop(first);
        let newer = Database::open(dir.path()).expect_err("newer").to_string();
        assert!(newer.contains("version 99"), "{newer}");
    }

    #[test]
    fn a_database_of_the_first_version_is_carried_over() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("settlement.sqlite");
        let old = Connection::open(&path).expect("old");
        old.execute_batch(MIGRATIONS[0]).expect("schema");
        old.execute_batch(
            "PRAGMA user_version = 1;
             INSERT INTO obligations (id, instrument, buyer, seller, lots, price, window_start,
                window_end, state, evidence, ending)
             VALUES (7, 1, 100, 200, 1, 1, 0, 9, 'Failed', zeroblob(24), 'AttemptsUsedUp')",
        )
        .expect("row");
        drop(old);
        let mut database = Database::open(dir.path()).expect("open");
        let id = exahour_wire::ids::ObligationId(7);
        let kept = database.look(|tx| tx.obligation(id)).expect("kept");
        assert_eq!((kept.buyer.0, kept.keyless.0), (100, 0));
        assert_eq!(kept.ending, Some(crate::obligation::Ending::Refused));
    }

    #[test]
    fn a_step_that_fails_leaves_nothing() {
        let dir = tempfile::tempdir().expect("dir");
        let mut database = Database::open(dir.path()).expect("open");
        let record = SessionRecord {
            version: exahour_wire::ids::SessionVersion(u64::MAX),
            ..SessionRecord::default()
        };
        let refused: Result<(), _> = database.step(|tx| {
            tx.save_session(&record)?;
            Err(SettlementError::NoProvider)
        });
        assert!(refused.is_err());
        let found = database.look(|tx| tx.session()).expect("look");
        assert_eq!(found, SessionRecord::default());
        database.step(|tx| tx.save_session(&record)).expect("save");
        assert_eq!(database.look(|tx| tx.session()).expect("look"), record);
    }
}
