//! Every change of state, with its time and reason: what an operator asks about later.

use exahour_wire::ids::ObligationId;
use exahour_wire::units::Nanos;

use super::{Tx, loaded, stored};
use crate::error::SettlementError;
use crate::obligation::State;

/// One change of state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Its number in this database.
    pub id: i64,
    /// Whose.
    pub obligation: ObligationId,
    /// When.
    pub at: Nanos,
    /// From where; empty at the beginning.
    pub from: String,
    /// To where; the same as before for a remark.
    pub to: String,
    /// Why.
    pub why: String,
}

impl Tx<'_> {
    /// Writes a change down.
    ///
    /// # Errors
    /// The database's.
    pub(super) fn remember(
        &self,
        id: ObligationId,
        at: Nanos,
        (from, to): (Option<State>, State),
        why: &str,
    ) -> Result<(), SettlementError> {
        let mut insert = self.inner.prepare_cached(
            "INSERT INTO history (obligation, at, from_state, to_state, why)
             VALUES (?1, ?2, ?3, ?4, ?5)",
        )?;
        insert.execute((
            id.0.cast_signed(),
            stored(at),
            from.map(State::name),
            to.name(),
            why,
        ))?;
        Ok(())
    }

    /// Up to a hundred changes after the one numbered `after`.
    ///
    /// # Errors
    /// The database's.
    pub fn changes_after(&self, after: i64) -> Result<Vec<Change>, SettlementError> {
        self.changes("WHERE id > ?1 ORDER BY id LIMIT 100", after)
    }

    /// All changes of an obligation.
    ///
    /// # Errors
    /// The database's.
    pub fn changes_of(&self, id: ObligationId) -> Result<Vec<Change>, SettlementError> {
        self.changes("WHERE obligation = ?1 ORDER BY id", id.0.cast_signed())
    }

    /// The number of the last change.
    ///
    /// # Errors
    /// The database's.
    pub fn last_change(&self) -> Result<i64, SettlementError> {
        let query = "SELECT coalesce(max(id), 0) FROM history";
        Ok(self.inner.query_row(query, [], |row| row.get(0))?)
    }

    fn changes(&self, which: &str, parameter: i64) -> Result<Vec<Change>, SettlementError> {
        let mut query = self.inner.prepare_cached(&format!(
            "SELECT id, obligation, at, from_state, to_state, why FROM history {which}"
        ))?;
        let rows = query.query_map([parameter], |row| {
            Ok(Change {
                id: row.get(0)?,
                obligation: ObligationId(row.get::<_, i64>(1)?.cast_unsigned()),
                at: loaded(row.get(2)?),
                from: row.get::<_, Option<String>>(3)?.unwrap_or_default(),
                to: row.get(4)?,
                why: row.get(5)?,
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}
