//! Obligations on disk.

use std::str::FromStr;

use exahour_wire::ids::{AccountId, InstrumentId, ObligationId};
use exahour_wire::message::{AccessKey, Digest, Evidence};
use exahour_wire::units::{Money, Nanos, Price, Quantity};
use rusqlite::{OptionalExtension, Row};

use super::{Tx, loaded, stored};
use crate::error::SettlementError;
use crate::obligation::{Ending, Move, Obligation, Place, Removal, State, Window};

const COLUMNS: &str = "id, instrument, buyer, seller, lots, price, window_start, window_end, \
    access_key, state, provider, address, host_key, up_since, first_up, announced, failures, \
    retry_at, look_at, measure_at, verified, evidence, ending, error, due_at, keyless, \
    (SELECT state FROM actions WHERE actions.key = 'release/' || obligations.id)";

/// Who received what at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Payment {
    /// What the seller received.
    pub paid: Money,
    /// What the buyer got back.
    pub refunded: Money,
    /// What the seller paid for what was not delivered.
    pub compensated: Money,
}

impl Tx<'_> {
    /// Records a new obligation; one that is known already stays as it is.
    ///
    /// # Errors
    /// The database's.
    pub fn add_obligation(&self, it: &Obligation, now: Nanos) -> Result<(), SettlementError> {
        let mut insert = self.inner.prepare_cached(
            "INSERT OR IGNORE INTO obligations (id, instrument, buyer, seller, lots, price,
                window_start, window_end, access_key, state, evidence)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
        )?;
        let added = insert.execute((
            it.id.0.cast_signed(),
            it.instrument.0,
            it.buyer.0,
            it.seller.0,
            it.quantity.0.cast_signed(),
            it.price.0,
            stored(it.window.start),
            stored(it.window.end),
            it.key.map(|key| key.0),
            it.state.name(),
            it.evidence.0,
        ))?;
        if added == 1 {
            let why = match it.key {
                Some(_) => "the exchange has assigned it",
                None => "the exchange has assigned it; waits for the buyer's access key",
            };
            self.remember(it.id, now, (None, it.state), why)?;
        }
        Ok(())
    }

    /// An obligation.
    ///
    /// # Errors
    /// [`SettlementError::UnknownObligation`].
    pub fn obligation(&self, id: ObligationId) -> Result<Obligation, SettlementError> {
        let sql = format!("SELECT {COLUMNS} FROM obligations WHERE id = ?1");
        let mut query = self.inner.prepare_cached(&sql)?;
        let found = query
            .query_row([id.0.cast_signed()], |row| Ok(read(row)))
            .optional()?;
        found.ok_or(SettlementError::UnknownObligation(id))?
    }

    /// Up to `limit` obligations that are due, those due longest first.
    ///
    /// # Errors
    /// The database's.
    pub fn due_obligations(
        &self,
        now: Nanos,
        limit: usize,
    ) -> Result<Vec<Obligation>, SettlementError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM obligations WHERE due_at <= ?1 ORDER BY due_at, id LIMIT ?2"
        );
        let mut query = self.inner.prepare_cached(&sql)?;
        let rows = query.query_map((stored(now), limit as i64), |row| Ok(read(row)))?;
        rows.map(|row| row?).collect()
    }

    /// All obligations, in the order they were assigned.
    ///
    /// # Errors
    /// The database's.
    pub fn obligations(&self) -> Result<Vec<Obligation>, SettlementError> {
        let sql = format!("SELECT {COLUMNS} FROM obligations ORDER BY id");
        let mut query = self.inner.prepare_cached(&sql)?;
        let rows = query.query_map([], |row| Ok(read(row)))?;
        rows.map(|row| row?).collect()
    }

    /// Obligations of a buyer that wait for his key.
    ///
    /// # Errors
    /// The database's.
    pub fn keyless_of(&self, buyer: AccountId) -> Result<Vec<ObligationId>, SettlementError> {
        let mut query = self.inner.prepare_cached(
            "SELECT id FROM obligations WHERE buyer = ?1 AND access_key IS NULL AND state = ?2",
        )?;
        let rows = query.query_map((buyer.0, State::Assigned.name()), |row| {
            Ok(ObligationId(row.get::<_, i64>(0)?.cast_unsigned()))
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Saves what has changed about an obligation.
    ///
    /// # Errors
    /// The database's.
    pub fn save_obligation(&self, it: &Obligation) -> Result<(), SettlementError> {
        let mut update = self.inner.prepare_cached(
            "UPDATE obligations SET access_key = ?2, state = ?3, provider = ?4, address = ?5,
                host_key = ?6, up_since = ?7, first_up = ?8, announced = ?9, failures = ?10,
                retry_at = ?11, look_at = ?12, measure_at = ?13, verified = ?14, evidence = ?15,
                ending = ?16, error = ?17, due_at = ?18, keyless = ?19
             WHERE id = ?1",
        )?;
        update.execute(rusqlite::params![
            it.id.0.cast_signed(),
            it.key.map(|key| key.0),
            it.state.name(),
            it.provider,
            it.place.map(|place| place.address.to_string()),
            it.place.map(|place| place.host_key.0),
            stored(it.up_since),
            stored(it.first_up),
            it.announced,
            it.failures,
            stored(it.retry_at),
            stored(it.look_at),
            stored(it.measure_at),
            stored(it.verified),
            it.evidence.0,
            it.ending.map(Ending::name),
            it.error,
            stored(it.due_at),
            stored(it.keyless),
        ])?;
        Ok(())
    }

    /// Makes a legal move and writes it down; `it` is not saved yet.
    ///
    /// # Errors
    /// [`SettlementError::IllegalMove`], after which nothing has changed.
    pub fn change(
        &self,
        it: &mut Obligation,
        step: Move,
        now: Nanos,
        why: &str,
    ) -> Result<(), SettlementError> {
        let from = it.state;
        it.state = from.after(step)?;
        it.due_at = Nanos(0);
        self.remember(it.id, now, (Some(from), it.state), why)
    }

    /// Writes down something that changed no state.
    ///
    /// # Errors
    /// The database's.
    pub fn remark(&self, it: &Obligation, now: Nanos, what: &str) -> Result<(), SettlementError> {
        self.remember(it.id, now, (Some(it.state), it.state), what)
    }

    /// Notes who received what.
    ///
    /// # Errors
    /// The database's.
    pub fn save_payment(&self, id: ObligationId, it: Payment) -> Result<(), SettlementError> {
        let mut update = self.inner.prepare_cached(
            "UPDATE obligations SET paid = ?2, refunded = ?3, compensated = ?4 WHERE id = ?1",
        )?;
        let amounts = (it.paid.0, it.refunded.0, it.compensated.0);
        update.execute((id.0.cast_signed(), amounts.0, amounts.1, amounts.2))?;
        Ok(())
    }

    /// Who received what; none before it is settled.
    ///
    /// # Errors
    /// The database's.
    pub fn payment(&self, id: ObligationId) -> Result<Option<Payment>, SettlementError> {
        let mut query = self.inner.prepare_cached(
            "SELECT paid, refunded, compensated FROM obligations WHERE id = ?1 AND paid IS NOT NULL",
        )?;
        let found = query.query_row([id.0.cast_signed()], |row| {
            Ok(Payment {
                paid: Money(row.get(0)?),
                refunded: Money(row.get(1)?),
                compensated: Money(row.get(2)?),
            })
        });
        Ok(found.optional()?)
    }

    /// Makes everything due that is not over.
    ///
    /// # Errors
    /// The database's.
    pub fn wake_all(&self) -> Result<(), SettlementError> {
        self.inner.execute(
            "UPDATE obligations SET due_at = 0 WHERE state <> 'Settled' OR EXISTS
                (SELECT 1 FROM actions WHERE key = 'release/' || id AND state = 'intent')",
            [],
        )?;
        Ok(())
    }

    /// Makes everything due, whatever it was to wait for: after a start nobody knows what was under
    /// way, nor whether the clock by which it was to wait still goes as it did.
    ///
    /// # Errors
    /// The database's.
    pub fn forget_waits(&self) -> Result<(), SettlementError> {
        self.inner.execute(
            "UPDATE obligations SET retry_at = 0, look_at = 0, measure_at = 0
             WHERE retry_at + look_at + measure_at > 0",
            [],
        )?;
        self.inner.execute(
            "UPDATE commands SET not_before = 0 WHERE state IN ('queued', 'sent')",
            [],
        )?;
        self.wake_all()
    }
}

fn read(row: &Row<'_>) -> Result<Obligation, SettlementError> {
    let time = |column: &str| row.get(column).map(loaded);
    let id = |column: &str| row.get::<_, i64>(column).map(i64::cast_unsigned);
    let address: Option<String> = row.get("address")?;
    let host_key: Option<[u8; 32]> = row.get("host_key")?;
    let place = match (address, host_key) {
        (Some(address), Some(host_key)) => Some(Place {
            address: named("address", &address, |text| FromStr::from_str(text).ok())?,
            host_key: Digest(host_key),
        }),
        _ => None,
    };
    let ending: Option<String> = row.get("ending")?;
    let ending = ending.map(|name| named("ending", &name, Ending::by_name));
    let removal: Option<String> = row.get(26)?;
    let state: String = row.get("state")?;
    Ok(Obligation {
        id: ObligationId(id("id")?),
        instrument: InstrumentId(row.get("instrument")?),
        buyer: AccountId(row.get("buyer")?),
        seller: AccountId(row.get("seller")?),
        quantity: Quantity(id("lots")?),
        price: Price(row.get("price")?),
        window: Window {
            start: time("window_start")?,
            end: time("window_end")?,
        },
        key: row.get::<_, Option<[u8; 32]>>("access_key")?.map(AccessKey),
        state: named("state", &state, State::by_name)?,
        provider: row.get("provider")?,
        place,
        up_since: time("up_since")?,
        first_up: time("first_up")?,
        announced: row.get("announced")?,
        failures: row.get("failures")?,
        retry_at: time("retry_at")?,
        look_at: time("look_at")?,
        measure_at: time("measure_at")?,
        keyless: time("keyless")?,
        verified: time("verified")?,
        evidence: Evidence(row.get("evidence")?),
        ending: ending.transpose()?,
        removal: match removal.as_deref() {
            None => Removal::NotIntended,
            Some("done") => Removal::Done,
            Some(_) => Removal::Due,
        },
        error: row.get("error")?,
        due_at: time("due_at")?,
    })
}

/// The value that a stored name stands for.
fn named<T>(
    what: &'static str,
    name: &str,
    read: impl Fn(&str) -> Option<T>,
) -> Result<T, SettlementError> {
    read(name).ok_or_else(|| SettlementError::Stored {
        what,
        value: name.to_owned(),
    })
}
