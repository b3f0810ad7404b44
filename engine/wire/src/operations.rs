//! What operators, risk desks and the settlement process send.
//!
//! Same session layer, same journal, same checks of sequence as orders. An operator may do all of
//! it; [`crate::codes::Permissions`] says who may do what.
//!
//! Always holds: session and sequence come first; `request` is the sender's own name, given back.

use crate::codes::{
    Allocation, ContractKind, Firmness, KillAction, Permissions, Raw, ResourceClass, Scope,
};
use crate::ids::{
    AccountId, ClientOrderId, InstrumentId, MessageSequence, ObligationId, ParticipantId,
    SessionId, TradeId,
};
use crate::message::{AccessKey, Digest, Evidence, Ipv4, Pad, Text8, Text16, Text32, message};
use crate::units::{Hours, Millis, Money, Nanos, PartsPerMillion, Price, Quantity};

message! {
    /// Admits a member firm.
    CreateParticipant = 150 {
        /// The session.
        session: SessionId,
        /// The number of this message.
        sequence: MessageSequence,
        /// The sender's name for this request.
        request: ClientOrderId,
        /// The new id.
        participant: ParticipantId,
        /// Zero.
        pad_1: Pad<4>,
        /// Its name.
        name: Text32,
    }
}

message! {
    /// Opens an account of a participant.
    CreateAccount = 151 {
        /// The session.
        session: SessionId,
        /// The number of this message.
        sequence: MessageSequence,
        /// The sender's name for this request.
        request: ClientOrderId,
        /// The new id.
        account: AccountId,
        /// The owner.
        participant: ParticipantId,
        /// Its name.
        name: Text32,
    }
}

message! {
    /// Opens a session for a participant. Its key is not sent: gateways are given keys apart.
    CreateSession = 152 {
        /// The session.
        session: SessionId,
        /// The number of this message.
        sequence: MessageSequence,
        /// The sender's name for this request.
        request: ClientOrderId,
        /// The new id.
        new_session: SessionId,
        /// The owner.
        participant: ParticipantId,
        /// What it may do.
        permissions: Permissions,
        /// Messages a second, sustained; zero for no throttle.
        throttle_rate: u32,
        /// Messages at once.
        throttle_burst: u32,
        /// Zero.
        pad_1: Pad<4>,
        /// Zero.
        pad_2: Pad<16>,
    }
}

message! {
    /// Lists a contract.
    CreateInstrument = 153 {
        /// The session.
        session: SessionId,
        /// The number of this message.
        sequence: MessageSequence,
        /// The sender's name for this request.
        request: ClientOrderId,
        /// The new id.
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

message! {
    /// Limits the position of an account in an instrument.
    SetPositionLimit = 154 {
        /// The session.
        session: SessionId,
        /// The number of this message.
        sequence: MessageSequence,
        /// The sender's name for this request.
        request: ClientOrderId,
        /// Whose position.
        account: AccountId,
        /// In what.
        instrument: InstrumentId,
        /// The largest position, long or short, open orders counted at their worst.
        position_max: Quantity,
        /// Zero.
        pad_1: Pad<24>,
    }
}

message! {
    /// Credits money that came in from outside.
    Deposit = 155 {
        /// The session.
        session: SessionId,
        /// The number of this message.
        sequence: MessageSequence,
        /// The sender's name for this request.
        request: ClientOrderId,
        /// Whose account.
        account: AccountId,
        /// Zero.
        pad_1: Pad<4>,
        /// How much.
        amount: Money,
        /// Zero.
        pad_2: Pad<24>,
    }
}

message! {
    /// Debits money that goes out.
    Withdraw = 156 {
        /// The session.
        session: SessionId,
        /// The number of this message.
        sequence: MessageSequence,
        /// The sender's name for this request.
        request: ClientOrderId,
        /// Whose account.
        account: AccountId,
        /// Zero.
        pad_1: Pad<4>,
        /// How much.
        amount: Money,
        /// Zero.
        pad_2: Pad<24>,
    }
}

message! {
    /// Stops a session, account or participant, or asks that it may trade again.
    KillSwitch = 157 {
        /// The session.
        session: SessionId,
        /// The number of this message.
        sequence: MessageSequence,
        /// The sender's name for this request.
        request: ClientOrderId,
        /// The session, account or participant.
        target: u32,
        /// What `target` names.
        scope: Raw<Scope>,
        /// Engage, or ask for the release.
        action: Raw<KillAction>,
        /// Zero.
        pad_1: Pad<2>,
        /// Zero.
        pad_2: Pad<32>,
    }
}

message! {
    /// Marks every position in an instrument to a price and moves the variation margin.
    SettlePrice = 158 {
        /// The session.
        session: SessionId,
        /// The number of this message.
        sequence: MessageSequence,
        /// The sender's name for this request.
        request: ClientOrderId,
        /// Which contract.
        instrument: InstrumentId,
        /// Zero.
        pad_1: Pad<4>,
        /// The settlement price.
        price: Price,
        /// Zero.
        pad_2: Pad<24>,
    }
}

message! {
    /// Registers the public key that opens the machines delivered to an account.
    RegisterAccessKey = 159 {
        /// The session.
        session: SessionId,
        /// The number of this message.
        sequence: MessageSequence,
        /// The sender's name for this request.
        request: ClientOrderId,
        /// Whose machines.
        account: AccountId,
        /// Zero.
        pad_1: Pad<4>,
        /// The public half; the private half never leaves its owner.
        key: AccessKey,
    }
}

message! {
    /// Settlement reports that the machine of an obligation answers.
    DeliveryStarted = 160 {
        /// The session.
        session: SessionId,
        /// The number of this message.
        sequence: MessageSequence,
        /// The obligation.
        obligation: ObligationId,
        /// SHA-256 of the machine's SSH host key, for the buyer to compare.
        host_key: Digest,
        /// Where it listens.
        address: Ipv4,
        /// On which port.
        port: u16,
        /// Zero.
        pad_1: Pad<2>,
    }
}

message! {
    /// Settlement reports how long delivery was verified; the seller is paid for it.
    ConfirmDelivery = 161 {
        /// The session.
        session: SessionId,
        /// The number of this message.
        sequence: MessageSequence,
        /// The sender's name for this request.
        request: ClientOrderId,
        /// The obligation.
        obligation: ObligationId,
        /// Time verified within the window: a span.
        verified: Nanos,
        /// What the report rests on.
        evidence: Evidence,
    }
}

message! {
    /// Settlement reports that delivery failed; the buyer is made whole.
    DeliveryFailed = 162 {
        /// The session.
        session: SessionId,
        /// The number of this message.
        sequence: MessageSequence,
        /// The sender's name for this request.
        request: ClientOrderId,
        /// The obligation.
        obligation: ObligationId,
        /// Time verified before the failure: a span.
        verified: Nanos,
        /// What the report rests on.
        evidence: Evidence,
    }
}

message! {
    /// Confirms that what a kill switch stopped may trade again, as another session has asked.
    ConfirmRelease = 163 {
        /// The session.
        session: SessionId,
        /// The number of this message.
        sequence: MessageSequence,
        /// The sender's name for this request.
        request: ClientOrderId,
        /// The session, account or participant.
        target: u32,
        /// What `target` names.
        scope: Raw<Scope>,
        /// Zero.
        pad_1: Pad<3>,
        /// Zero.
        pad_2: Pad<32>,
    }
}

message! {
    /// Asks what a session has sent and traded since the UTC day began.
    SessionActivityRequest = 164 {
        /// The session.
        session: SessionId,
        /// The number of this message.
        sequence: MessageSequence,
        /// The sender's name for this request.
        request: ClientOrderId,
        /// The session that is meant.
        target: u32,
        /// Zero.
        pad_1: Pad<4>,
        /// Zero.
        pad_2: Pad<32>,
    }
}

message! {
    /// Undoes a trade: as if its two sides had made the opposite one at the same price.
    BustTrade = 165 {
        /// The session.
        session: SessionId,
        /// The number of this message.
        sequence: MessageSequence,
        /// The sender's name for this request.
        request: ClientOrderId,
        /// The trade.
        trade: TradeId,
        /// Zero.
        pad_1: Pad<32>,
    }
}

message! {
    /// Undoes a trade and makes it anew at another price, or of fewer lots.
    CorrectTrade = 166 {
        /// The session.
        session: SessionId,
        /// The number of this message.
        sequence: MessageSequence,
        /// The sender's name for this request.
        request: ClientOrderId,
        /// The trade.
        trade: TradeId,
        /// What its price should have been.
        price: Price,
        /// How many lots it should have been; not more than it is.
        quantity: Quantity,
        /// Zero.
        pad_1: Pad<16>,
    }
}

message! {
    /// Asks for the terms of a contract and how it trades now.
    InstrumentStatusRequest = 167 {
        /// The session.
        session: SessionId,
        /// The number of this message.
        sequence: MessageSequence,
        /// The sender's name for this request.
        request: ClientOrderId,
        /// Which contract.
        instrument: InstrumentId,
        /// Zero.
        pad_1: Pad<4>,
        /// Zero.
        pad_2: Pad<32>,
    }
}

message! {
    /// Sets the trading day and the auctions of a contract; with all times zero it has none.
    SetCalendar = 170 {
        /// The session.
        session: SessionId,
        /// The number of this message.
        sequence: MessageSequence,
        /// The sender's name for this request.
        request: ClientOrderId,
        /// Which contract.
        instrument: InstrumentId,
        /// When orders are collected for the opening auction: a span after midnight UTC.
        call_start: Millis,
        /// When the opening auction is held: a span after midnight UTC.
        uncross: Millis,
        /// When orders are collected for the closing auction: a span after midnight UTC.
        closing_call: Millis,
        /// When the closing auction is held: a span after midnight UTC.
        closing_uncross: Millis,
        /// How much later, by chance, an auction may be held.
        random_end: Millis,
        /// How far an auction's price may be from the reference price; zero for any distance.
        collar: PartsPerMillion,
        /// Who trades at the last price that an auction serves.
        allocation: Raw<Allocation>,
        /// Zero.
        pad_1: Pad<3>,
        /// Zero.
        pad_2: Pad<4>,
        /// Zero.
        pad_3: Pad<4>,
    }
}

message! {
    /// Sets the secret from which the random ends of auctions are drawn. It is never published.
    SetAuctionSeed = 171 {
        /// The session.
        session: SessionId,
        /// The number of this message.
        sequence: MessageSequence,
        /// The sender's name for this request.
        request: ClientOrderId,
        /// The secret.
        seed: Digest,
        /// Zero.
        pad_1: Pad<4>,
        /// Zero.
        pad_2: Pad<4>,
    }
}

message! {
    /// Halts trading in a contract: orders are collected until an auction ends the halt.
    HaltTrading = 172 {
        /// The session.
        session: SessionId,
        /// The number of this message.
        sequence: MessageSequence,
        /// The sender's name for this request.
        request: ClientOrderId,
        /// Which contract.
        instrument: InstrumentId,
        /// For how long; zero until it is resumed.
        duration: Millis,
        /// Zero.
        pad_1: Pad<32>,
    }
}

message! {
    /// Ends a halt with an auction.
    ResumeTrading = 173 {
        /// The session.
        session: SessionId,
        /// The number of this message.
        sequence: MessageSequence,
        /// The sender's name for this request.
        request: ClientOrderId,
        /// Which contract.
        instrument: InstrumentId,
        /// Zero.
        pad_1: Pad<4>,
        /// Zero.
        pad_2: Pad<32>,
    }
}

message! {
    /// Sets the price band of a contract, or takes it away.
    SetPriceBand = 175 {
        /// The session.
        session: SessionId,
        /// The number of this message.
        sequence: MessageSequence,
        /// The sender's name for this request.
        request: ClientOrderId,
        /// Which contract.
        instrument: InstrumentId,
        /// How far from the mean price of the last 300 s trades may be made; zero for no band.
        width: PartsPerMillion,
        /// Zero.
        pad_1: Pad<32>,
    }
}

message! {
    /// Sets the circuit breaker of a contract, or takes it away.
    SetCircuitBreaker = 174 {
        /// The session.
        session: SessionId,
        /// The number of this message.
        sequence: MessageSequence,
        /// The sender's name for this request.
        request: ClientOrderId,
        /// Which contract.
        instrument: InstrumentId,
        /// The contract whose halts it follows, or zero.
        linked: InstrumentId,
        /// How far prices may move within 300 s; zero for no breaker.
        threshold: PartsPerMillion,
        /// Zero.
        pad_1: Pad<4>,
        /// Zero.
        pad_2: Pad<24>,
    }
}
