//! Orders with a stop price as their reports tell: what each waits for, and that a trade has been there.

use exahour_wire::codes::{OrderType, Side};
use exahour_wire::events::{OrderTriggered, StopEntered};
use exahour_wire::units::Price;

use super::{Books, Order, Violation, must, rank};

impl Books {
    /// What an order waits for, told once, behind its acceptance.
    pub(super) fn on_stop_entered(&mut self, entered: &StopEntered) -> Result<(), Violation> {
        let id = entered.order.0;
        let order = self.order(id)?;
        let stopped = self.stopped.get_mut(&id);
        let stopped = stopped.ok_or("only an order that waits has a stop price")?;
        let stop = entered.stop_price.0;
        must(stopped.told.is_none() && order.traded == 0, || {
            "a stop price is told once, before anything happens".to_owned()
        })?;
        let apart = rank(order.side, stop) > rank(order.side, order.limit);
        must(apart || !stopped.in_book, || {
            format!(
                "limit {} and stop price {stop} are on one side",
                order.limit
            )
        })?;
        stopped.told = Some((stop, entered.stop_limit));
        Ok(())
    }

    /// A stop order comes into the market: not before a trade has been at its stop price.
    pub(super) fn on_triggered(&mut self, triggered: &OrderTriggered) -> Result<(), Violation> {
        let id = triggered.order.0;
        let order = self.order(id)?;
        if self.stopped.get(&id).is_some_and(|it| it.in_book) {
            self.rest_arrived()?;
            self.take_from_book(id, &order);
        }
        let stopped = self.stopped.remove(&id);
        let stopped = stopped.ok_or("only an order that waits is triggered, once")?;
        let (stop, stop_limit) = stopped.told.ok_or("a stop price is told at entry")?;
        must(triggered.stop_price.0 == stop, || {
            format!("it is the stop price {stop} that was reached")
        })?;
        let open = !self.called.contains(&order.instrument);
        must(open, || "a call triggers nothing".to_owned())?;
        let (low, high) = stopped
            .reached
            .ok_or("a stop order is triggered by a trade")?;
        let reached = match order.side {
            Side::Buy => high >= triggered.stop_price.0,
            Side::Sell => low <= triggered.stop_price.0,
        };
        must(reached, || {
            format!("no trade has been at {}", triggered.stop_price.0)
        })?;
        let limit = triggered.price.0;
        let market = triggered.order_type == OrderType::Market.into();
        must(market == (stop_limit == Price::NONE), || {
            format!("it comes as what was told: {stop_limit}")
        })?;
        let worst = match stop_limit {
            Price::NONE if stopped.in_book => limit,
            Price::NONE => order.limit,
            // A stop-limit order may have been replaced meanwhile.
            _ if !stopped.in_book => order.limit,
            told => told.0,
        };
        let no_worse = rank(order.side, limit) <= rank(order.side, worst);
        must(no_worse && triggered.quantity.0 == order.leaves, || {
            format!("{order:?} is what comes, at its limit or, by a price band, a better one")
        })?;
        self.orders.insert(
            id,
            Order {
                limit,
                order_type: triggered.order_type,
                time_in_force: triggered.time_in_force,
                ..order
            },
        );
        self.arrive(id)
    }
}
