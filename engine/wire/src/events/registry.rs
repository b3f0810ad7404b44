//! Who takes part, what is listed, who may do what, and whose money moved.
//!
//! Always holds: facts, addressed to nobody.

use crate::codes::{
    ContractKind, Firmness, KillAction, Permissions, Raw, ResourceClass, Scope, TransferKind,
};
use crate::ids::{
    AccountId, CommandSequence, EventSequence, InstrumentId, MessageSequence, ParticipantId,
    SessionId, TransferId,
};
use crate::message::{AccessKey, Pad, Text8, Text16, Text32, message};
use crate::units::{Hours, Money, Nanos, PartsPerMillion, Price, Quantity};

event! {
    /// A member firm was admitted.
    ParticipantCreated = 330 {
        /// Its id.
        participant: ParticipantId,
        /// Zero.
        pad_1: Pad<4>,
        /// Its name.
        name: Text32,
    }
}

event! {
    /// An account was opened.
    AccountCreated = 331 {
        /// Its id.
        account: AccountId,
        /// Its owner.
        participant: ParticipantId,
        /// Its name.
        name: Text32,
    }
}

event! {
    /// A session was created.
    SessionCreated = 332 {
        /// Its id.
        new_session: SessionId,
        /// Its owner.
        participant: ParticipantId,
        /// What it may do.
        permissions: Permissions,
        /// Messages a second, sustained; zero for no throttle.
        throttle_rate: u32,
        /// Messages at once.
        throttle_burst: u32,
        /// Zero.
        pad_1: Pad<4>,
    }
}

event! {
    /// A contract was listed.
    InstrumentListed = 333 {
        /// Its id.
        instrument: InstrumentId,
        /// Spot or future.
        kind: Raw<ContractKind>,
        /// The kind of machine.
        class: Raw<ResourceClass>,
        /// The lowest performance grade: 1 is A, the best.
        grade_performance: u8,
        /// The lowest reliability grade: 1 is the best.
        grade_reliability: u8,
        /// The lowest energy grade: 1 is X, the best.
        grade_energy: u8,
        /// Whether delivery may be interrupted.
        firmness: Raw<Firmness>,
        /// The version of the reference system that grades refer to.
        reference_version: u16,
        /// The length of the delivery window.
        hours: Hours,
        /// Its name.
        symbol: Text16,
        /// Where it is delivered.
        zone: Text8,
        /// The step between prices.
        tick: Price,
        /// When delivery begins.
        delivery_start: Nanos,
        /// The last moment of trading.
        last_trade_at: Nanos,
        /// Initial margin for one lot.
        initial_margin: Money,
        /// The price that collars start from, until there is a trade.
        reference_price: Price,
        /// The largest order in lots.
        quantity_max: Quantity,
        /// The largest value of an order.
        notional_max: Money,
        /// How far a limit may be from the reference price.
        collar: PartsPerMillion,
        /// How far a market order may trade from the best price.
        protection: PartsPerMillion,
    }
}

event! {
    /// The position limit of an account was set.
    PositionLimitSet = 334 {
        /// Whose position.
        account: AccountId,
        /// In what.
        instrument: InstrumentId,
        /// The largest position, long or short.
        position_max: Quantity,
    }
}

event! {
    /// A kill switch was engaged or released.
    KillSwitchSet = 335 {
        /// The session, account or participant.
        target: u32,
        /// What `target` names.
        scope: Raw<Scope>,
        /// Engaged or released.
        action: Raw<KillAction>,
        /// Zero.
        pad_1: Pad<2>,
    }
}

event! {
    /// The key that opens the machines of an account was registered.
    AccessKeyRegistered = 336 {
        /// Whose machines.
        account: AccountId,
        /// Zero.
        pad_1: Pad<4>,
        /// The public half.
        key: AccessKey,
    }
}

event! {
    /// The release of a kill switch was asked for; another session must confirm it.
    KillSwitchReleaseRequested = 337 {
        /// The session, account or participant.
        target: u32,
        /// The session that asked; zero is the exchange itself.
        requested_by: SessionId,
        /// What `target` names.
        scope: Raw<Scope>,
        /// Zero.
        pad_1: Pad<7>,
    }
}

event! {
    /// Money moved: one debit and one credit of the same amount.
    MoneyMoved = 340 {
        /// The posting.
        transfer: TransferId,
        /// The account it came from.
        debit: AccountId,
        /// The account it went to.
        credit: AccountId,
        /// How much; never negative.
        amount: Money,
        /// What it belongs to: a trade, an obligation, an instrument or a request.
        reference: u64,
        /// Why.
        kind: Raw<TransferKind>,
        /// Zero.
        pad_1: Pad<7>,
    }
}
