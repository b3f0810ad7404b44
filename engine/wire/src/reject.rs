//! Why a command of a client was refused: the client's fault, numbered, sequenced and replayed.
//!
//! Every value has a script that earns it. Numbers are never reused.

use crate::codes::enumeration;

enumeration! {
    /// Why a command was refused.
    Reject: u16 {
        /// No such session.
        UnknownSession = 1,
        /// The session may not do this.
        NotPermitted = 2,
        /// No such account, or not the participant's own.
        UnknownAccount = 3,
        /// No such instrument.
        UnknownInstrument = 4,
        /// The instrument has expired.
        InstrumentClosed = 5,
        /// The side is neither buy nor sell.
        InvalidSide = 6,
        /// The order type is not one that is known.
        InvalidOrderType = 7,
        /// The time in force is not one that is known, or does not fit the order type.
        InvalidTimeInForce = 8,
        /// The self-trade prevention mode is not one that is known.
        InvalidSelfTradePrevention = 9,
        /// A flag is set that is not known, or does not fit the order.
        InvalidFlags = 10,
        /// The price is not a multiple of the tick.
        PriceNotOnTick = 11,
        /// The price is not positive, above the limit, or given for a market order.
        PriceOutOfRange = 12,
        /// The price is further from the reference than the collar allows.
        PriceOutsideCollar = 13,
        /// The quantity is zero.
        QuantityZero = 14,
        /// The quantity is above the instrument's largest order, or above the trade's.
        QuantityTooLarge = 15,
        /// The value is above the instrument's largest order value.
        NotionalTooLarge = 16,
        /// The position could exceed its limit if all open orders traded.
        PositionLimit = 17,
        /// The account's free funds do not cover the margin.
        InsufficientFunds = 18,
        /// The session sent more messages than its throttle allows.
        Throttled = 19,
        /// A kill switch covers the session, account or participant.
        KillSwitchEngaged = 20,
        /// A live order of the session has this client order id.
        DuplicateClientOrderId = 21,
        /// No such live order of this session's participant.
        UnknownOrder = 22,
        /// The expire time has passed, or none is given.
        ExpireTimeInvalid = 23,
        /// The exchange holds as many orders as it can.
        TooManyOrders = 24,
        /// No such participant.
        UnknownParticipant = 25,
        /// The id is taken.
        AlreadyExists = 26,
        /// The id is zero, reserved or above the limit.
        IdOutOfRange = 27,
        /// The amount is not positive or above the limit.
        AmountOutOfRange = 28,
        /// The free funds do not cover what would go out.
        BalanceTooLow = 29,
        /// No such obligation.
        UnknownObligation = 30,
        /// The obligation is already settled.
        ObligationSettled = 31,
        /// More time is claimed than the window holds.
        VerifiedTimeTooLong = 32,
        /// It contradicts itself or the rules; nothing was created or changed.
        InvalidDefinition = 33,
        /// The scope is not one that is known here.
        InvalidScope = 34,
        /// The action is not one that is known.
        InvalidAction = 35,
        /// The template is not a command.
        UnknownTemplate = 36,
        /// The balance would leave its range.
        BalanceOutOfRange = 37,
        /// The request changes nothing.
        NothingToChange = 39,
        /// Nobody has asked for the release of this kill switch.
        ReleaseNotRequested = 40,
        /// The release of this kill switch was asked for already; another session must confirm it.
        ReleaseAlreadyRequested = 41,
        /// Who asked cannot confirm, nor can another session of the same participant.
        SecondOperatorNeeded = 42,
        /// No such trade.
        UnknownTrade = 43,
        /// The trade was made before yesterday, or too many were made since.
        TradeTooOld = 44,
        /// The trade was busted before.
        TradeAlreadyBusted = 45,
        /// The order asks for something that is not served, or not for its type.
        NotSupported = 46,
        /// The stop price is missing, out of range, off the tick, or on the side of the limit.
        StopPriceInvalid = 47,
        /// No reference, or an offset off the tick, or, with market, below one tick.
        PegInvalid = 48,
        /// The instrument, or the participant in it, has as many pegged orders as it may.
        TooManyPegged = 49,
        /// Nothing stands on the other side to take a price from.
        NothingToMeet = 51,
        /// The limit from the stop price on is out of range or not a multiple of the tick.
        StopLimitInvalid = 56,
        /// The displayed quantity does not fit the order's, or it never rests.
        DisplayInvalid = 53,
        /// The bid of a quote is at its offer or above.
        CrossedQuote = 55,
        /// The minimum quantity is above the order's, or it is never to trade at once.
        MinimumInvalid = 54,
        /// Orders are only collected for an auction: nothing trades at once.
        ImmediateInCall = 60,
        /// The calendar says that no order may be entered or changed now.
        MarketClosed = 61,
        /// An order that is good for an auction needs a call under way.
        NoCall = 62,
        /// Orders are being collected for an auction, whose rules cannot change.
        CallUnderWay = 63,
        /// The order has no limit of its own, so it cannot be replaced.
        UnpricedOrder = 64,
        /// The order takes its price from what it meets, which is nobody in a call.
        PriceUnknownInCall = 65,
        /// This behaviour or a newer one is in force, and none is ever taken back.
        BehaviourNotNewer = 70,
    }
}
