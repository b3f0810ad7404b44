//! What became of instruments: their phases and auctions, settlement and delivery; the hash of the state,
//! and which rules are in force.
//!
//! Always holds: facts, but for `MachineReady`, which is a report to the buyer's session.

use crate::codes::{Allocation, DeliveryOutcome, Phase, Raw};
use crate::ids::{
    AccountId, Behaviour, CommandSequence, EventSequence, InstrumentId, MessageSequence,
    ObligationId, SessionId,
};
use crate::message::{AccessKey, Digest, Ipv4, Pad, message};
use crate::units::{Hours, Millis, Money, Nanos, PartsPerMillion, Price, Quantity};

event! {
    /// Every position in an instrument was marked to a price.
    InstrumentSettled = 350 {
        /// Which contract.
        instrument: InstrumentId,
        /// Zero.
        pad_1: Pad<4>,
        /// The settlement price.
        price: Price,
        /// Lots held long, which equal the lots held short.
        open_interest: Quantity,
    }
}

event! {
    /// Trading in an instrument ended; its orders are cancelled and its positions go to delivery.
    InstrumentExpired = 351 {
        /// Which contract.
        instrument: InstrumentId,
        /// Zero.
        pad_1: Pad<4>,
        /// The final settlement price.
        price: Price,
        /// Lots held long, which equal the lots held short.
        open_interest: Quantity,
    }
}

event! {
    /// A buyer and a seller were paired: a machine is owed.
    DeliveryAssigned = 352 {
        /// The obligation, and the idempotency key of everything done for it.
        obligation: ObligationId,
        /// Which contract.
        instrument: InstrumentId,
        /// The length of the window.
        hours: Hours,
        /// The buyer's account.
        buyer: AccountId,
        /// The seller's account.
        seller: AccountId,
        /// Lots: Compute Hours per hour.
        quantity: Quantity,
        /// The price that verified time is paid at.
        price: Price,
        /// When the window begins.
        delivery_start: Nanos,
        /// The public key that opens the machine; zero where the buyer registered none.
        key: AccessKey,
    }
}

event! {
    /// The machine of an obligation answers.
    MachineReady = 353 {
        /// The obligation.
        obligation: ObligationId,
        /// The buyer's account.
        buyer: AccountId,
        /// Where it listens.
        address: Ipv4,
        /// SHA-256 of the machine's SSH host key.
        host_key: Digest,
        /// On which port.
        port: u16,
        /// Zero.
        pad_1: Pad<6>,
    }
}

event! {
    /// An obligation is closed and paid.
    DeliverySettled = 354 {
        /// The obligation.
        obligation: ObligationId,
        /// Time verified: a span.
        verified: Nanos,
        /// What the seller received.
        paid: Money,
        /// What the buyer got back.
        refunded: Money,
        /// What the seller paid for what was not delivered.
        compensated: Money,
        /// How it ended.
        outcome: Raw<DeliveryOutcome>,
        /// Zero.
        pad_1: Pad<7>,
    }
}

event! {
    /// What the whole state hashed to, after the command that caused this.
    StateHashed = 360 {
        /// The hash.
        state_hash: Digest,
    }
}

event! {
    /// From the next command on the engine follows other rules.
    BehaviourActivated = 361 {
        /// The behaviour that is in force now.
        behaviour: Behaviour,
        /// The one that was in force before.
        former: Behaviour,
    }
}

event! {
    /// The trading hours of a contract were set.
    CalendarSet = 370 {
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
    }
}

event! {
    /// The state of trading in a contract changed.
    PhaseChanged = 371 {
        /// Which contract.
        instrument: InstrumentId,
        /// The state.
        phase: Raw<Phase>,
        /// Zero.
        pad_1: Pad<3>,
        /// When it is to end, chance apart; zero where nothing says so.
        ends_at: Nanos,
        /// In a call the price that the auction stays close to, otherwise none.
        reference_price: Price,
        /// In a call the lowest price of the auction, otherwise none.
        low_price: Price,
        /// In a call the highest price of the auction, otherwise none.
        high_price: Price,
    }
}

event! {
    /// An auction was held; its trades follow. Lots of one owner meet without a trade.
    AuctionUncrossed = 372 {
        /// Which contract.
        instrument: InstrumentId,
        /// Zero.
        pad_1: Pad<4>,
        /// The price, or none where nothing can trade.
        price: Price,
        /// Lots that trade.
        quantity: Quantity,
        /// Lots of buyers that find nobody at this price.
        buy_surplus: Quantity,
        /// Lots of sellers that find nobody at this price.
        sell_surplus: Quantity,
    }
}

event! {
    /// What the auction would come to if it were held now.
    IndicativePrice = 373 {
        /// Which contract.
        instrument: InstrumentId,
        /// Zero.
        pad_1: Pad<4>,
        /// The price, or none where nothing can trade.
        price: Price,
        /// Lots that trade.
        quantity: Quantity,
        /// Lots of buyers that find nobody at this price.
        buy_surplus: Quantity,
        /// Lots of sellers that find nobody at this price.
        sell_surplus: Quantity,
    }
}

event! {
    /// The price band of a contract was set.
    PriceBandSet = 355 {
        /// Which contract.
        instrument: InstrumentId,
        /// How far from the mean price of the last 300 s trades may be made; zero for no band.
        width: PartsPerMillion,
    }
}

event! {
    /// The price band of a contract moved, or its best quotes came to its edge or left it.
    PriceBandMoved = 356 {
        /// Which contract.
        instrument: InstrumentId,
        /// Zero.
        pad_1: Pad<4>,
        /// The mean price that the band is around.
        reference_price: Price,
        /// The lowest price at which trades may be made.
        low_price: Price,
        /// The highest price at which trades may be made.
        high_price: Price,
        /// When trading pauses if the best quote stays at the edge; zero where none is there.
        pauses_at: Nanos,
    }
}

event! {
    /// The circuit breaker of a contract was set.
    CircuitBreakerSet = 374 {
        /// Which contract.
        instrument: InstrumentId,
        /// The contract whose halts it follows, or zero.
        linked: InstrumentId,
        /// How far prices may move within 300 s; zero for no breaker.
        threshold: PartsPerMillion,
        /// Zero.
        pad_1: Pad<4>,
    }
}

event! {
    /// What trades of a contract with a circuit breaker cost in 30 s that are over.
    IntervalPriced = 375 {
        /// Which contract.
        instrument: InstrumentId,
        /// Zero.
        pad_1: Pad<4>,
        /// When the interval ended.
        ends_at: Nanos,
        /// The price of a lot on average, rounded down.
        price: Price,
        /// The price of the last trade.
        last_price: Price,
        /// Lots that traded.
        quantity: Quantity,
        /// How many trades.
        trades: u64,
    }
}
