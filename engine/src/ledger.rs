//! The double-entry ledger: who has how much, and what of it is locked.
//!
//! Called by `execute` for every movement of money.
//!
//! Always holds: balances sum to zero, because money only moves, from one account to another.
//! Balances are 128 bits wide, so no sequence of lawful movements can overflow them.

use exahour_wire::ids::{AccountId, ParticipantId, SessionId};
use exahour_wire::limits::FIRST_ACCOUNT;
use exahour_wire::message::AccessKey;

/// One ledger account.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Account {
    /// Micro-dollars; negative is a debt.
    pub(crate) balance: i128,
    /// Micro-dollars locked by positions, open orders and obligations.
    pub(crate) locked: i128,
    /// The owner; none for the exchange's own accounts and where there is no account.
    pub(crate) participant: ParticipantId,
    /// A kill switch covers it.
    pub(crate) killed: bool,
    /// The public key that opens its machines.
    pub(crate) access_key: AccessKey,
    /// The session that registered the key, and hears of machines.
    pub(crate) access_session: SessionId,
}

/// All accounts, indexed by id.
#[derive(Default)]
pub(crate) struct Ledger {
    accounts: Vec<Account>,
}

impl Ledger {
    /// A ledger with the exchange's own accounts.
    pub(crate) fn new() -> Self {
        Self {
            accounts: vec![Account::default(); FIRST_ACCOUNT.0 as usize],
        }
    }

    /// Opens an account.
    pub(crate) fn open(&mut self, account: AccountId, participant: ParticipantId) {
        let place = account.0 as usize;
        if place >= self.accounts.len() {
            self.accounts.resize(place + 1, Account::default());
        }
        self.accounts[place].participant = participant;
    }

    /// The account with this id.
    ///
    /// # Panics
    /// If there is none: admission has checked.
    #[inline]
    pub(crate) fn account(&self, account: AccountId) -> &Account {
        &self.accounts[account.0 as usize]
    }

    /// As [`Ledger::account`], to change.
    #[inline]
    pub(crate) fn account_mut(&mut self, account: AccountId) -> &mut Account {
        &mut self.accounts[account.0 as usize]
    }

    /// What the account may still use: it may be negative.
    #[inline]
    pub(crate) fn available(&self, account: AccountId) -> i128 {
        let account = self.account(account);
        account.balance - account.locked
    }

    /// Moves money from one account to another.
    #[inline]
    pub(crate) fn transfer(&mut self, debit: AccountId, credit: AccountId, amount: i64) {
        assert!(amount > 0);
        self.account_mut(debit).balance -= i128::from(amount);
        self.account_mut(credit).balance += i128::from(amount);
    }

    /// Changes what is locked.
    #[inline]
    pub(crate) fn lock(&mut self, account: AccountId, change: i128) {
        let account = self.account_mut(account);
        account.locked += change;
        assert!(account.locked >= 0);
    }

    /// Every account that exists, by id.
    pub(crate) fn accounts(&self) -> impl Iterator<Item = (AccountId, &Account)> {
        let all = self.accounts.iter().enumerate();
        all.map(|(place, account)| (AccountId(place as u32), account))
            .filter(|(id, account)| {
                *id < FIRST_ACCOUNT || account.participant != ParticipantId::NONE
            })
    }
}
