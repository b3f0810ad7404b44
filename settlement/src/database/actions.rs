//! The outbox: what is done outside, recorded before it is done and completed after.
//!
//! Always holds: one key is one action, however often it is attempted, and asks for the same thing
//! at every attempt.

use exahour_wire::ids::ObligationId;
use exahour_wire::units::Nanos;
use rusqlite::OptionalExtension;

use super::{Tx, stored};
use crate::error::SettlementError;
use crate::provision::MachineSpec;

const PROVISION: &str = "provision";
const RELEASE: &str = "release";

impl Tx<'_> {
    /// Records that a machine is to be brought up.
    ///
    /// # Errors
    /// The database's.
    pub fn intend_machine(
        &self,
        id: ObligationId,
        provider: &str,
        spec: &MachineSpec,
        now: Nanos,
    ) -> Result<(), SettlementError> {
        let spec = serde_json::to_string(spec).map_err(|error| SettlementError::Stored {
            what: "spec",
            value: error.to_string(),
        })?;
        self.intend(id, PROVISION, provider, Some(&spec), now)
    }

    /// Records that a machine is to be removed.
    ///
    /// # Errors
    /// The database's.
    pub fn intend_removal(
        &self,
        id: ObligationId,
        provider: &str,
        now: Nanos,
    ) -> Result<(), SettlementError> {
        self.intend(id, RELEASE, provider, None, now)
    }

    fn intend(
        &self,
        id: ObligationId,
        kind: &str,
        provider: &str,
        spec: Option<&str>,
        now: Nanos,
    ) -> Result<(), SettlementError> {
        let mut insert = self.inner.prepare_cached(
            "INSERT OR IGNORE INTO actions (key, obligation, kind, provider, spec, state, intended_at)
             VALUES (?1, ?2, ?3, ?4, ?5, 'intent', ?6)",
        )?;
        let name = id.0.cast_signed();
        insert.execute((key(kind, id), name, kind, provider, spec, stored(now)))?;
        Ok(())
    }

    /// What was asked of the provider.
    ///
    /// # Errors
    /// [`SettlementError::Stored`] where nothing that makes sense was.
    pub fn spec_of(&self, id: ObligationId) -> Result<MachineSpec, SettlementError> {
        let mut query = self
            .inner
            .prepare_cached("SELECT spec FROM actions WHERE key = ?1")?;
        let text: Option<String> = query
            .query_row([key(PROVISION, id)], |row| row.get(0))
            .optional()?;
        let text = text.unwrap_or_default();
        serde_json::from_str(&text).map_err(|_| SettlementError::Stored {
            what: "spec",
            value: text,
        })
    }

    /// Counts an attempt to bring the machine up, before it is made.
    ///
    /// # Errors
    /// The database's.
    pub fn attempt_machine(&self, id: ObligationId) -> Result<(), SettlementError> {
        self.attempt(PROVISION, id)
    }

    /// Counts an attempt to remove the machine, before it is made.
    ///
    /// # Errors
    /// The database's.
    pub fn attempt_removal(&self, id: ObligationId) -> Result<(), SettlementError> {
        self.attempt(RELEASE, id)
    }

    fn attempt(&self, kind: &str, id: ObligationId) -> Result<(), SettlementError> {
        let mut update = self.inner.prepare_cached(
            "UPDATE actions SET state = 'intent', attempts = attempts + 1, done_at = NULL
             WHERE key = ?1",
        )?;
        update.execute([key(kind, id)])?;
        Ok(())
    }

    /// Completes the bringing up of a machine.
    ///
    /// # Errors
    /// The database's.
    pub fn complete_machine(&self, id: ObligationId, now: Nanos) -> Result<(), SettlementError> {
        self.complete(PROVISION, id, now)
    }

    /// Completes the removal of a machine.
    ///
    /// # Errors
    /// The database's.
    pub fn complete_removal(&self, id: ObligationId, now: Nanos) -> Result<(), SettlementError> {
        self.complete(RELEASE, id, now)
    }

    fn complete(&self, kind: &str, id: ObligationId, now: Nanos) -> Result<(), SettlementError> {
        let mut update = self.inner.prepare_cached(
            "UPDATE actions SET state = 'done', error = NULL, done_at = ?2 WHERE key = ?1",
        )?;
        update.execute((key(kind, id), stored(now)))?;
        Ok(())
    }

    /// Notes why the last attempt at either failed.
    ///
    /// # Errors
    /// The database's.
    pub fn save_action_error(&self, id: ObligationId, error: &str) -> Result<(), SettlementError> {
        let mut update = self.inner.prepare_cached(
            "UPDATE actions SET error = ?2 WHERE obligation = ?1 AND state = 'intent'",
        )?;
        update.execute((id.0.cast_signed(), error))?;
        Ok(())
    }
}

fn key(kind: &str, id: ObligationId) -> String {
    format!("{kind}/{id}")
}
