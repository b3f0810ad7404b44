//! The clearing price is the one that a look at every single tick finds.
//!
//! The search here knows nothing of stretches or plateaus: it lists the candidates and drops those
//! that a rule beats, rule by rule.

use exahour_engine::auction::{
    Claim, Clearing, Frame, Interest, Level, allot, allot_by_size, clear,
};
use exahour_twin::seeds::seeds;
use exahour_wire::codes::Side;
use exahour_wire::units::{Price, Quantity};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Both sides of a small book, and its frame.
#[derive(Clone, Debug)]
struct Case {
    bids: Vec<Level>,
    asks: Vec<Level>,
    unpriced: (u64, u64),
    frame: Frame,
}

fn level_at(price: i64, random: &mut ChaCha8Rng) -> Level {
    Level {
        price: Price(price),
        lots: Quantity(random.random_range(1..6)),
    }
}

fn case(random: &mut ChaCha8Rng) -> Case {
    let tick = random.random_range(1..5);
    let span = random.random_range(1..30);
    let share = random.random_range(0..100);
    let side = |random: &mut ChaCha8Rng| -> Vec<Level> {
        let prices = (1..=span).filter(|_| random.random_range(0..100) < share);
        let prices: Vec<i64> = prices.collect();
        prices
            .into_iter()
            .map(|step| level_at(step * tick, random))
            .collect()
    };
    let mut bids = side(random);
    let asks = side(random);
    bids.reverse();
    let unpriced = match random.random_range(0..3) {
        0 => (random.random_range(0..9), random.random_range(0..9)),
        1 => (random.random_range(0..9), 0),
        _ => (0, 0),
    };
    let low = random.random_range(1..=span);
    let high = random.random_range(low..=span);
    let reference = random.random_range(1..=span * tick + 3);
    Case {
        bids,
        asks,
        unpriced,
        frame: Frame {
            tick: Price(tick),
            low: Price(low * tick),
            high: Price(high * tick),
            reference: (random.random_range(0..4) > 0).then_some(Price(reference)),
        },
    }
}

impl Case {
    fn interest(&self) -> Interest<'_> {
        Interest {
            bids: &self.bids,
            asks: &self.asks,
            unpriced_bids: Quantity(self.unpriced.0),
            unpriced_asks: Quantity(self.unpriced.1),
        }
    }

    /// What buyers want and sellers offer at a price.
    fn wanted_and_offered(&self, price: i64) -> (i64, i64) {
        let bids = self.bids.iter().filter(|bid| bid.price.0 >= price);
        let asks = self.asks.iter().filter(|ask| ask.price.0 <= price);
        let lots = |level: &Level| level.lots.0 as i64;
        (
            self.unpriced.0 as i64 + bids.map(lots).sum::<i64>(),
            self.unpriced.1 as i64 + asks.map(lots).sum::<i64>(),
        )
    }

    fn every_tick(&self) -> Vec<i64> {
        let Frame {
            tick,
            low,
            high,
            reference,
        } = self.frame;
        let frame = || (low.0..=high.0).step_by(tick.0 as usize);
        let limits: Vec<i64> = [&self.bids, &self.asks]
            .into_iter()
            .flatten()
            .map(|level| level.price.0.clamp(low.0, high.0))
            .collect();
        match (limits.iter().min(), limits.iter().max()) {
            (Some(from), Some(to)) => frame().filter(|tick| (from..=to).contains(&tick)).collect(),
            _ => reference.map_or(Vec::new(), |reference| {
                closest(&frame().collect::<Vec<_>>(), reference.0)
                    .into_iter()
                    .collect()
            }),
        }
    }

    fn slow(&self) -> Option<Clearing> {
        let volume = |price: &i64| {
            let (wanted, offered) = self.wanted_and_offered(*price);
            wanted.min(offered)
        };
        let surplus = |price: &i64| {
            let (wanted, offered) = self.wanted_and_offered(*price);
            wanted - offered
        };
        let mut left = self.every_tick();
        let most = left.iter().map(volume).max()?;
        left.retain(|price| volume(price) == most);
        let least = left.iter().map(|price| surplus(price).abs()).min()?;
        left.retain(|price| surplus(price).abs() == least);
        let price = if left.iter().all(|price| surplus(price) > 0) {
            *left.last()?
        } else if left.iter().all(|price| surplus(price) < 0) {
            *left.first()?
        } else if let Some(reference) = self.frame.reference {
            closest(&left, reference.0)?
        } else {
            let middle = (left.first()? + left.last()?) / 2;
            middle - middle % self.frame.tick.0
        };
        (most > 0).then_some(Clearing {
            price: Price(price),
            volume: Quantity(most as u64),
            surplus: Quantity(least as u64),
            side: match surplus(&price) {
                1.. => Some(Side::Buy),
                0 => None,
                _ => Some(Side::Sell),
            },
        })
    }
}

/// The closest of rising prices; the higher one of two.
fn closest(prices: &[i64], to: i64) -> Option<i64> {
    prices
        .iter()
        .rev()
        .copied()
        .min_by_key(|price| (price - to).abs())
}

#[test]
fn with_a_look_at_every_tick() {
    let (mut cleared, mut pressed) = (0, 0);
    for seed in seeds(4) {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        for _ in 0..20_000 {
            let case = case(&mut random);
            let found = clear(&case.interest(), &case.frame);
            assert_eq!(found, case.slow(), "EXAHOUR_SEED={seed} {case:?}");
            cleared += u32::from(found.is_some());
            pressed += u32::from(found.is_some_and(|found| found.side.is_some()));
        }
    }
    assert!(cleared > 10_000 && pressed > 5_000 && pressed < cleared);
}

#[test]
fn every_lot_of_the_volume_is_given_and_nobody_gets_more_than_he_asks_for() {
    for seed in seeds(4) {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        for _ in 0..5_000 {
            let orders = random.random_range(1..12);
            let mut price = 20;
            let claims: Vec<Claim<usize>> = (0..orders)
                .map(|key| {
                    price -= random.random_range(0..3) / 2;
                    Claim {
                        key,
                        price: Price(price),
                        lots: Quantity(random.random_range(1..700)),
                    }
                })
                .collect();
            let asked: u64 = claims.iter().map(|claim| claim.lots.0).sum();
            let volume = Quantity(random.random_range(1..=asked));
            let (mut by_time, mut by_size) = (Vec::new(), Vec::new());
            allot(claims.iter().copied(), volume, &mut by_time);
            allot_by_size(&claims, volume, &mut by_size);
            for given in [&by_time, &by_size] {
                let sum: u64 = given.iter().map(|one| one.lots.0).sum();
                assert_eq!(sum, volume.0, "EXAHOUR_SEED={seed} {claims:?}");
                let mut worst_served = None;
                for one in given {
                    let claim = &claims[one.key];
                    assert!(
                        one.lots.0 > 0 && one.lots <= claim.lots,
                        "EXAHOUR_SEED={seed}"
                    );
                    worst_served = Some(claim.price);
                }
                let wholly = |claim: &&Claim<usize>| Some(claim.price) > worst_served;
                for claim in claims.iter().filter(wholly) {
                    let served = given.iter().find(|one| one.key == claim.key);
                    assert_eq!(
                        served.map(|one| one.lots),
                        Some(claim.lots),
                        "EXAHOUR_SEED={seed}"
                    );
                }
            }
        }
    }
}
