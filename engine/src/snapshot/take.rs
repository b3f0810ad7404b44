//! From the state to its image.

use exahour_wire::codes::{Enumeration, Side};

use super::image::{
    AccountImage, ActivityImage, BandImage, BreakerImage, CallImage, CountersImage, GuardImage,
    HashImage, InstrumentImage, ObligationImage, OrderImage, ParticipantImage, PartyImage,
    PegImage, PegPlaceImage, PositionImage, RunningImage, SecondImage, SessionImage, StateImage,
    StopImage, StoppedImage, SwitchImage, TermsImage, ThrottleImage, TradeImage, TradingImage,
};
use crate::admit::{Admit, KillSwitch};
use crate::book::{BESIDE, HELD, ICEBERG, Reserve, Slot};
use crate::execute::{Execute, Instrument};
use crate::guards::Window;
use crate::stages::{Admission, Execution};
use crate::stops::Stop;
use crate::terms::Terms;
use crate::trade_log::{Party, Trade};
use crate::trading::{CircuitBreaker, Guard, Trading};

/// The image of a whole state, of which both stages stand behind the same command.
pub(super) fn image_of(admission: &Admission, execution: &Execution) -> StateImage {
    let (admit, execute) = (&admission.admit, &execution.execute);
    let participants = admit.registry.participants().iter().enumerate();
    let hashes = execution.hashes().map(|taken| HashImage {
        after: taken.after.0,
        hash: taken.hash.0,
    });
    StateImage {
        now: execution.now.0,
        counters: CountersImage {
            events: execute.reporter.events(),
            orders: execute.orders.serial(),
            trades: execute.trade_log.made(),
            transfers: execute.transfers,
            auction_seed: execute.auction_seed.0,
            orders_max: execute.orders.live_max(),
            day_end: execute.day_end.0,
            elect_at: execute.elect_at.0,
            peg_turn: execute.peg_turn.0,
            behaviour: execute.in_force.behaviour.0,
            behaviour_since: execute.in_force.since.0,
        },
        participants: participants
            .filter(|(_, participant)| participant.exists)
            .map(|(id, participant)| ParticipantImage {
                id: id as u32,
                kill_switch: switch(participant.kill_switch),
            })
            .collect(),
        accounts: accounts(admit, execute),
        sessions: sessions(admit, execute),
        positions: positions(execute),
        instruments: execute
            .instruments
            .iter()
            .flatten()
            .map(|instrument| instrument_image(execute, instrument))
            .collect(),
        obligations: obligations(execute),
        trades: execute.trade_log.kept().map(trade_image).collect(),
        free_slots: execute.orders.free_slots().collect(),
        hashes: hashes.collect(),
    }
}

fn switch(switch: KillSwitch) -> SwitchImage {
    match switch {
        KillSwitch::Released => SwitchImage::Released,
        KillSwitch::Engaged => SwitchImage::Engaged,
        KillSwitch::ReleaseRequested(by) => SwitchImage::ReleaseRequested(by.0),
    }
}

fn accounts(admit: &Admit, execute: &Execute) -> Vec<AccountImage> {
    let owner = |id| admit.registry.account(id).copied().unwrap_or_default();
    let accounts = execute.ledger.accounts();
    let images = accounts.map(|(id, account)| AccountImage {
        id: id.0,
        participant: account.participant.0,
        kill_switch: switch(owner(id).kill_switch),
        balance: account.balance,
        locked: account.locked,
        access_key: account.access_key.0,
        access_session: account.access_session.0,
    });
    images.collect()
}

fn sessions(admit: &Admit, execute: &Execute) -> Vec<SessionImage> {
    let images = admit.sessions.all().map(|(id, session)| {
        let flow = &execute.sessions[id.0 as usize];
        let activity = &execute.activities[id.0 as usize];
        let throttle = &session.throttle;
        SessionImage {
            id: id.0,
            participant: session.participant.0,
            permissions: session.permissions.0,
            version: session.version.0,
            connection: session.connection,
            established_at: session.established_at.0,
            expected: session.expected.0,
            next_report: execute.reporter.next_report(id).0,
            ready: session.ready,
            kill_switch: switch(session.kill_switch),
            throttle: ThrottleImage {
                rate: throttle.rate,
                burst: throttle.burst,
                tokens: throttle.tokens,
                last: throttle.last.0,
                refusals: throttle.refusals,
            },
            cancel_mode: flow.cancel_mode.repr(),
            cancel_grace_ms: flow.cancel_grace.0,
            cancel_at: flow.cancel_at.0,
            dead_man_ms: flow.dead_man.interval.0,
            heard_at: flow.dead_man.heard_at.0,
            activity: ActivityImage {
                orders: activity.orders,
                replaces: activity.replaces,
                cancels: activity.cancels,
                rejects: activity.rejects,
                trades: activity.trades,
                lots_ordered: activity.lots_ordered,
                lots_traded: activity.lots_traded,
            },
        }
    });
    images.collect()
}

fn positions(execute: &Execute) -> Vec<PositionImage> {
    let images = execute
        .positions
        .all()
        .iter()
        .map(|position| PositionImage {
            account: position.account.0,
            instrument: position.instrument.0,
            net: position.net,
            open_buy: *position.open.at(Side::Buy),
            open_sell: *position.open.at(Side::Sell),
            adverse_buy: *position.adverse.at(Side::Buy),
            adverse_sell: *position.adverse.at(Side::Sell),
            lock: position.lock,
            position_max: position.position_max,
        });
    images.collect()
}

fn instrument_image(execute: &Execute, instrument: &Instrument) -> InstrumentImage {
    let parked = instrument.stops.as_deref();
    let waiting = parked.iter().flat_map(|stops| {
        let [buys, sells] = [Side::Buy, Side::Sell].map(|side| stops.waiting(side));
        buys.chain(sells)
    });
    let elected = parked.iter().flat_map(|stops| stops.elected());
    InstrumentImage {
        id: instrument.id.0,
        terms: terms_image(&instrument.terms),
        settlement: instrument.settlement.0,
        last_trade: instrument.last_trade.map(|price| price.0),
        expired: instrument.expired,
        trading: trading_image(&instrument.trading),
        bids: orders(execute, instrument, Side::Buy),
        asks: orders(execute, instrument, Side::Sell),
        waiting: stops(execute, waiting),
        elected: stops(execute, elected),
        pegs: pegs(execute, instrument),
    }
}

fn pegs(execute: &Execute, instrument: &Instrument) -> Vec<PegImage> {
    let listed = instrument.pegs.iter();
    let live = listed.flat_map(|pegs| pegs.live(&execute.orders));
    let images = live.map(|peg| PegImage {
        reference: peg.lead.reference.repr(),
        offset: peg.lead.offset.0,
        place: match peg.stands_for(&execute.orders) {
            Some(aim) => PegPlaceImage::Stands {
                order: peg.order.0,
                aim: aim.0,
            },
            None => PegPlaceImage::Waits {
                side: execute.orders.at(peg.slot).side.repr(),
                order: order_image(execute, peg.slot),
            },
        },
    });
    images.collect()
}

fn trading_image(trading: &Trading) -> TradingImage {
    let calendar = &trading.calendar;
    let call = trading.call.as_ref().map(|call| CallImage {
        reference: call.reference.0,
        low: call.low.0,
        high: call.high.0,
        drawn: call.drawn,
        reopening: call.reopening as u8,
        told_price: call.told.price.0,
        told: [
            call.told.quantity.0,
            call.told.buy_surplus.0,
            call.told.sell_surplus.0,
        ],
        tell_at: call.tell_at.0,
    });
    TradingImage {
        day: calendar.day.map_or([0; 4], |day| {
            [
                day.call_start.0,
                day.uncross.0,
                day.closing_call.0,
                day.closing_uncross.0,
            ]
        }),
        random_end_ms: calendar.random_end.0,
        collar_ppm: calendar.collar.0,
        allocation: calendar.allocation.repr(),
        phase: trading.phase.repr(),
        due: trading.due.0,
        call,
        guard: trading.guard.as_deref().map(guard_image),
    }
}

fn guard_image(guard: &Guard) -> GuardImage {
    GuardImage {
        breaker: guard.breaker.as_ref().map(breaker_image),
        band: guard.band.as_ref().map(|band| BandImage {
            width_ppm: band.width.0,
            seconds: seconds(&band.window),
            since: band.state.since().map(|since| since.0),
            told: band
                .told
                .map(|told| (told.band.low.0, told.band.high.0, told.pauses_at.0)),
            look_at: band.look_at.0,
        }),
    }
}

fn seconds(window: &Window) -> Vec<SecondImage> {
    let seconds = window.seconds().map(|second| SecondImage {
        number: second.number,
        low: second.low.0,
        high: second.high.0,
        sum: second.sum,
        count: second.count,
    });
    seconds.collect()
}

fn breaker_image(breaker: &CircuitBreaker) -> BreakerImage {
    let intervals = &breaker.seen.intervals;
    let past = intervals.past.iter().map(|(end, price)| (end.0, price.0));
    BreakerImage {
        threshold_ppm: breaker.threshold.0,
        linked: breaker.linked.0,
        seconds: seconds(&breaker.seen.window),
        running: intervals.running.map(|running| RunningImage {
            end: running.end.0,
            value: running.value,
            lots: running.lots,
            trades: running.trades,
            last: running.last.0,
        }),
        intervals: past.collect(),
    }
}

fn terms_image(terms: &Terms) -> TermsImage {
    TermsImage {
        kind: terms.kind.repr(),
        hours: terms.hours.0,
        tick: terms.tick.0,
        price_cap: terms.price_cap.0,
        position_cap: terms.position_cap.0,
        initial_margin: terms.initial_margin.0,
        quantity_max: terms.quantity_max.0,
        notional_max: terms.notional_max.0,
        collar_ppm: terms.collar.0,
        protection_ppm: terms.protection.0,
        reference_price: terms.reference_price.0,
        delivery_start: terms.delivery_start.0,
        last_trade_at: terms.last_trade_at.0,
    }
}

fn orders(execute: &Execute, instrument: &Instrument, side: Side) -> Vec<OrderImage> {
    let mut images = Vec::new();
    instrument.book.side(side).walk(&execute.orders, |slot| {
        images.push(order_image(execute, slot));
        true
    });
    images
}

fn order_image(execute: &Execute, slot: Slot) -> OrderImage {
    let (order, extent) = (execute.orders.at(slot), execute.orders.extent(slot));
    let reserve = match order.flags.contains(ICEBERG) {
        true => execute.orders.reserve(slot),
        false => Reserve::default(),
    };
    let held = match order.flags.contains(HELD) {
        true => execute.orders.held_at(slot).0,
        false => 0,
    };
    OrderImage {
        id: order.id.0,
        price: order.price.0,
        leaves: order.leaves.0,
        total: extent.total.0,
        client_order_id: order.client_order_id.0,
        expire_at: extent.expire_at.0,
        session: order.session.0,
        account: execute.positions.at(order.position).account.0,
        position: order.position,
        time_in_force: order.time_in_force.repr(),
        self_trade_prevention: order.self_trade_prevention.repr(),
        flags: order.flags.0,
        display: reserve.display.0,
        hidden: reserve.hidden.0,
        held,
    }
}

fn stops<'a>(execute: &Execute, stops: impl Iterator<Item = &'a Stop>) -> Vec<StopImage> {
    let images = stops.map(|stop| StopImage {
        stop_price: stop.price.0,
        side: stop.side.repr(),
        order: stopped_image(execute, stop),
    });
    images.collect()
}

fn stopped_image(execute: &Execute, stop: &Stop) -> StoppedImage {
    let in_book = execute.orders.at(stop.slot).flags.contains(BESIDE);
    if !in_book {
        return StoppedImage::Parked(order_image(execute, stop.slot));
    }
    let beside = execute.orders.beside(stop.slot);
    StoppedImage::InBook {
        id: stop.order.0,
        limit: beside.limit.0,
        unpriced: beside.unpriced,
    }
}

fn trade_image(trade: &Trade) -> TradeImage {
    let party = |party: &Party| PartyImage {
        order: party.order.0,
        session: party.session.0,
        account: party.account.0,
    };
    TradeImage {
        time: trade.time.0,
        instrument: trade.instrument.0,
        price: trade.price.0,
        quantity: trade.quantity.0,
        buyer: party(&trade.buyer),
        seller: party(&trade.seller),
    }
}

fn obligations(execute: &Execute) -> Vec<ObligationImage> {
    let images = execute
        .obligations
        .iter()
        .map(|obligation| ObligationImage {
            buyer: obligation.buyer.0,
            seller: obligation.seller.0,
            hours: obligation.hours.0,
            value: obligation.value,
            collateral: obligation.collateral,
            settled: obligation.settled,
        });
    images.collect()
}
