//! Shares the volume of an auction out among the orders of one side.
//!
//! Called once for each side, with its orders in the order in which they trade.
//!
//! Always holds: what is given adds up to the volume, and nobody gets more than he asks for; who is
//! better priced is served wholly before anybody at the next price gets a lot.

use exahour_wire::units::{Price, Quantity};

/// An order that may trade: unpriced ones first, then best price first, oldest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim<K> {
    /// Whose it is: given back in the allotment.
    pub key: K,
    /// The limit; none for an unpriced order.
    pub price: Price,
    /// Lots it asks for.
    pub lots: Quantity,
}

/// What an order gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allotment<K> {
    /// Whose.
    pub key: K,
    /// Lots, above zero.
    pub lots: Quantity,
}

/// What everybody gets for certain before size counts, in lots.
const FIRST_SHARE: u64 = 100;

/// Gives in the order of the claims until the volume is used up: price, then time.
///
/// Appends to `given`; the claims must ask for at least the volume.
pub fn allot<K: Copy>(
    claims: impl IntoIterator<Item = Claim<K>>,
    volume: Quantity,
    given: &mut Vec<Allotment<K>>,
) {
    let mut left = volume.0;
    for claim in claims {
        if left == 0 {
            return;
        }
        let lots = claim.lots.0.min(left);
        left -= lots;
        given.push(Allotment {
            key: claim.key,
            lots: Quantity(lots),
        });
    }
}

/// As [`allot`], except that the last price served is shared by size instead of time: 100 lots to
/// each, the largest first; then to each a half of what it still asks for, rounded down; then the
/// rest to the largest. Equal sizes go by time.
///
/// # Source
/// Oracle O-12: the Korea Exchange's allocation at a price limit.
pub fn allot_by_size<K: Copy>(
    claims: &[Claim<K>],
    volume: Quantity,
    given: &mut Vec<Allotment<K>>,
) {
    let mut left = volume.0;
    for level in claims.chunk_by(|one, next| one.price == next.price) {
        let asked: u64 = level.iter().map(|claim| claim.lots.0).sum();
        if asked <= left {
            left -= asked;
            allot(level.iter().copied(), Quantity(asked), given);
            continue;
        }
        share_by_size(level, left, given);
        return;
    }
}

fn share_by_size<K: Copy>(level: &[Claim<K>], volume: u64, given: &mut Vec<Allotment<K>>) {
    let mut by_size: Vec<usize> = (0..level.len()).collect();
    by_size.sort_by_key(|place| std::cmp::Reverse(level[*place].lots));
    let mut shares = vec![0; level.len()];
    let mut left = volume;
    let rounds: [fn(u64) -> u64; 3] = [|open| open.min(FIRST_SHARE), |open| open / 2, |open| open];
    for round in rounds {
        for place in &by_size {
            let open = level[*place].lots.0 - shares[*place];
            let lots = round(open).min(left);
            shares[*place] += lots;
            left -= lots;
        }
    }
    let served = level.iter().zip(shares).filter(|(_, lots)| *lots > 0);
    given.extend(served.map(|(claim, lots)| Allotment {
        key: claim.key,
        lots: Quantity(lots),
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims(all: &[(i64, u64)]) -> Vec<Claim<usize>> {
        let numbered = all.iter().enumerate();
        numbered
            .map(|(key, (price, lots))| Claim {
                key,
                price: Price(*price),
                lots: Quantity(*lots),
            })
            .collect()
    }

    fn lots(given: &[Allotment<usize>]) -> Vec<(usize, u64)> {
        given.iter().map(|one| (one.key, one.lots.0)).collect()
    }

    #[test]
    fn the_last_price_goes_by_time() {
        let mut given = Vec::new();
        allot(
            claims(&[(12, 5), (10, 4), (10, 9)]),
            Quantity(11),
            &mut given,
        );
        assert_eq!(lots(&given), [(0, 5), (1, 4), (2, 2)]);
    }

    /// Source: oracle O-12, the Korea Exchange's example.
    #[test]
    fn the_last_price_may_go_by_size() {
        let mut given = Vec::new();
        let at_the_limit = [
            (20_150, 1_000),
            (20_150, 200),
            (20_150, 10_000),
            (20_150, 5_000),
        ];
        allot_by_size(&claims(&at_the_limit), Quantity(13_100), &mut given);
        assert_eq!(lots(&given), [(0, 550), (1, 150), (2, 9_850), (3, 2_550)]);
    }

    #[test]
    fn better_prices_are_served_wholly_before_size_counts() {
        let mut given = Vec::new();
        let mixed = [(21, 30), (20, 100), (20, 400)];
        allot_by_size(&claims(&mixed), Quantity(150), &mut given);
        assert_eq!(lots(&given), [(0, 30), (1, 20), (2, 100)]);
        given.clear();
        allot_by_size(&claims(&mixed), Quantity(530), &mut given);
        assert_eq!(lots(&given), [(0, 30), (1, 100), (2, 400)]);
    }
}
