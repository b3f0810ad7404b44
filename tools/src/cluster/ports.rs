//! Free ports of this machine, for nodes that keep them from one start to the next.
//!
//! Called by `folder`, which writes them down.
//!
//! Always holds: none is among those that the system lends to connections, where one of them could be taken
//! by the time that a node starts again.

use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;

use anyhow::{Context, Result};
use rand::RngExt;

/// Where the system says which ports it lends.
const LENT: &str = "/proc/sys/net/ipv4/ip_local_port_range";

/// What it lends where it does not say so: the range of the system's own documentation.
const LENT_USUALLY: Range<u16> = 32_768..61_000;

/// Below are those of well-known services.
const FIRST: u16 = 10_000;

/// So many runs of free ports on the loopback, `width` in each; the first port of each run.
///
/// # Errors
/// Where there are not so many.
pub(crate) fn free_ports(runs: usize, width: u16) -> Result<Vec<u16>> {
    let lent = lent_ports();
    let firsts: Vec<u16> = (FIRST..u16::MAX - width)
        .step_by(usize::from(width))
        .filter(|first| first + width <= lent.start || *first >= lent.end)
        .collect();
    // Others look for ports, too: they should not all find the same ones first.
    let turn = match firsts.len() {
        0 => 0,
        count => rand::rng().random_range(0..count),
    };
    let (after, before) = (firsts.iter().skip(turn), firsts.iter().take(turn));
    let free: Vec<u16> = after
        .chain(before)
        .copied()
        .filter(|first| (*first..first + width).all(is_free))
        .take(runs)
        .collect();
    (free.len() == runs).then_some(free).context(
        "this machine has not enough free ports outside of those that it lends to connections",
    )
}

fn lent_ports() -> Range<u16> {
    let text = std::fs::read_to_string(LENT).unwrap_or_default();
    let mut bounds = text.split_whitespace().map(str::parse);
    match (bounds.next(), bounds.next()) {
        (Some(Ok(first)), Some(Ok(last))) => first..u16::saturating_add(last, 1),
        _ => LENT_USUALLY,
    }
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_free_and_never_lent() {
        let lent = lent_ports();
        let firsts = free_ports(3, 4).unwrap();
        assert_eq!(firsts.len(), 3);
        for first in firsts {
            for port in first..first + 4 {
                assert!(!lent.contains(&port), "{port} is lent: {lent:?}");
                assert!(is_free(port), "{port}");
            }
        }
    }

    #[test]
    fn a_port_in_use_is_passed_over() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        assert!(!is_free(taken.local_addr().unwrap().port()));
    }
}
