//! The network between the nodes of a torture: every link of two nodes passes through here, and can be cut.
//!
//! ```text
//!  node 1 --dials--> listener of the pair 1-2 --dials--> node 2's port for peers
//!            one thread for each connection and direction carries the bytes
//! ```
//! Set up by `wires`, cut by rounds. Nobody needs a right for it that others do not have, as they do for networks
//! of the nodes' own.
//!
//! Always holds: what was sent into a cut waits and comes in order once it is mended, as TCP would have it, or
//! the connection is broken; no byte is changed, lost or doubled.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

/// How long a thread waits before it looks whether something is cut or over.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// How long a node may take to accept.
const CONNECT_WITHIN: Duration = Duration::from_secs(1);

/// Bytes carried at once.
const CHUNK_BYTES: usize = 64 << 10;

/// The state of a pair that its threads look at.
#[derive(Default)]
struct State {
    /// Whether bytes of the dialling node wait.
    forth_cut: AtomicBool,
    /// Whether those of the other wait.
    back_cut: AtomicBool,
    /// Connections made before this number changed are broken.
    breaks: AtomicU64,
    over: AtomicBool,
}

/// The way between two nodes.
pub(super) struct Link {
    /// The node that dials, and the one that is dialled.
    pub(super) ends: (u64, u64),
    /// Where the first one dials.
    pub(super) address: SocketAddr,
    state: Arc<State>,
}

impl Link {
    /// Listens for the node that dials, and carries to `target`.
    ///
    /// # Errors
    /// Where the system refuses.
    pub(super) fn open(ends: (u64, u64), target: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("cannot listen")?;
        listener.set_nonblocking(true).context("cannot listen")?;
        let address = listener.local_addr().context("cannot listen")?;
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        thread::Builder::new()
            .name(format!("link {}-{}", ends.0, ends.1))
            .spawn(move || accept(&listener, target, &shared))
            .context("cannot start a thread")?;
        Ok(Self {
            ends,
            address,
            state,
        })
    }

    /// Whether a node is at one of its ends.
    pub(super) fn touches(&self, node: u64) -> bool {
        self.ends.0 == node || self.ends.1 == node
    }

    /// Lets what a node sends wait, and what it is sent.
    pub(super) fn cut_off(&self) {
        self.state.forth_cut.store(true, Ordering::Relaxed);
        self.state.back_cut.store(true, Ordering::Relaxed);
    }

    /// Lets only what a node is sent wait.
    pub(super) fn deafen(&self, node: u64) {
        let cut = match node == self.ends.1 {
            true => &self.state.forth_cut,
            false => &self.state.back_cut,
        };
        cut.store(true, Ordering::Relaxed);
    }

    /// Lets only what a node sends wait.
    pub(super) fn mute(&self, node: u64) {
        let cut = match node == self.ends.0 {
            true => &self.state.forth_cut,
            false => &self.state.back_cut,
        };
        cut.store(true, Ordering::Relaxed);
    }

    /// Lets everything pass again; `breaking` where connections are not to outlive the cut.
    pub(super) fn mend(&self, breaking: bool) {
        if breaking {
            self.state.breaks.fetch_add(1, Ordering::Relaxed);
        }
        self.state.forth_cut.store(false, Ordering::Relaxed);
        self.state.back_cut.store(false, Ordering::Relaxed);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.state.over.store(true, Ordering::Relaxed);
    }
}

fn accept(listener: &TcpListener, target: SocketAddr, state: &Arc<State>) {
    while !state.over.load(Ordering::Relaxed) {
        match listener.accept() {
            Ok((near, _)) => connect(near, target, state),
            Err(_) => thread::sleep(LOOK_EVERY),
        }
    }
}

/// Carries a connection on; where the other node does not listen the first one sees its end.
fn connect(near: TcpStream, target: SocketAddr, state: &Arc<State>) {
    let Ok(far) = TcpStream::connect_timeout(&target, CONNECT_WITHIN) else {
        return;
    };
    let carry = |from: &TcpStream, to: &TcpStream, forth: bool| {
        let (from, to) = (from.try_clone()?, to.try_clone()?);
        from.set_nonblocking(false)?;
        from.set_read_timeout(Some(LOOK_EVERY))?;
        to.set_nodelay(true)?;
        let state = Arc::clone(state);
        thread::Builder::new()
            .name("carrier".to_owned())
            .spawn(move || carry_on(from, to, &state, forth))
            .map(drop)
    };
    // Where one direction cannot be carried the streams are dropped, which ends the other.
    if carry(&near, &far, true)
        .and_then(|()| carry(&far, &near, false))
        .is_err()
    {
        let _ = near.shutdown(Shutdown::Both);
    }
}

/// Carries bytes one way until an end is closed, the connection is broken, or all is over.
fn carry_on(mut from: TcpStream, mut to: TcpStream, state: &State, forth: bool) {
    let breaks = state.breaks.load(Ordering::Relaxed);
    let cut = match forth {
        true => &state.forth_cut,
        false => &state.back_cut,
    };
    let mut chunk = vec![0; CHUNK_BYTES];
    while !state.over.load(Ordering::Relaxed) && state.breaks.load(Ordering::Relaxed) == breaks {
        if cut.load(Ordering::Relaxed) {
            thread::sleep(LOOK_EVERY);
            continue;
        }
        match from.read(&mut chunk) {
            Ok(0) => break,
            Ok(count) => {
                // What was read before a cut that came meanwhile waits here.
                while cut.load(Ordering::Relaxed) && !state.over.load(Ordering::Relaxed) {
                    thread::sleep(LOOK_EVERY);
                }
                if to.write_all(&chunk[..count]).is_err() {
                    break;
                }
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => break,
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes within a while; empty where nothing does.
    fn heard(stream: &mut TcpStream) -> Vec<u8> {
        stream.set_read_timeout(Some(LOOK_EVERY * 10)).unwrap();
        let mut bytes = vec![0; 64];
        let count = stream.read(&mut bytes).unwrap_or(0);
        bytes.truncate(count);
        bytes
    }

    /// Reads so much, in however many parts it comes; less at the end of the connection.
    fn hears(stream: &mut TcpStream, expected: &[u8]) -> bool {
        let patience = Some(Duration::from_secs(20));
        stream.set_read_timeout(patience).unwrap();
        let mut bytes = Vec::new();
        let mut part = Read::take(stream, expected.len().max(1) as u64);
        part.read_to_end(&mut bytes).unwrap();
        bytes == expected
    }

    #[test]
    fn bytes_wait_in_a_cut_and_come_once_it_is_mended() {
        let target = TcpListener::bind("127.0.0.1:0").unwrap();
        let link = Link::open((1, 2), target.local_addr().unwrap()).unwrap();
        assert!(link.touches(1) && link.touches(2) && !link.touches(3));
        let mut near = TcpStream::connect(link.address).unwrap();
        let (mut far, _) = target.accept().unwrap();
        near.write_all(b"one").unwrap();
        assert!(hears(&mut far, b"one"));
        link.deafen(2);
        near.write_all(b"two").unwrap();
        far.write_all(b"back").unwrap();
        assert!(hears(&mut near, b"back"));
        assert_eq!(heard(&mut far), b"");
        link.mute(2);
        far.write_all(b"!").unwrap();
        assert_eq!(heard(&mut near), b"", "neither hears the other");
        link.cut_off();
        far.write_all(b"more").unwrap();
        assert_eq!(heard(&mut near), b"");
        link.mend(false);
        assert!(hears(&mut far, b"two"));
        assert!(hears(&mut near, b"!more"));
        link.cut_off();
        link.mend(true);
        assert!(hears(&mut far, b""), "the connection is broken");
    }
}
