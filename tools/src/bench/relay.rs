//! The floor of a replicated round trip: client -> A -> B -> A -> client, bare, over the sockets and the
//! waiting of the nodes, without anything of ours in between.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use exahour_rings::{IdleStrategy, Idler};

use super::echo::{EchoClient, EchoServer};

/// A, which hands everything on to B and B's answers back.
pub struct Relay {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<std::io::Result<()>>>,
    _echo: EchoServer,
}

impl Relay {
    /// Starts A and B on free loopback ports.
    ///
    /// # Errors
    /// What the system says.
    pub fn start(idle: IdleStrategy) -> anyhow::Result<Self> {
        let echo = EchoServer::start(None, None, idle)?;
        let mut far = echo.stream()?;
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let stop = Arc::new(AtomicBool::new(false));
        let asked = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name("relay".into())
            .spawn(move || {
                let (mut near, _) = listener.accept()?;
                near.set_nodelay(true)?;
                near.set_nonblocking(true)?;
                hand_on(&mut near, &mut far, idle.idler(), &asked)
            })?;
        Ok(Self {
            address,
            stop,
            thread: Some(thread),
            _echo: echo,
        })
    }

    /// Connects a client.
    ///
    /// # Errors
    /// What the system says.
    pub fn connect(&self) -> anyhow::Result<EchoClient> {
        EchoClient::connect(self.address)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // The floor was measured; how its relay ended changes nothing.
            let _ = thread.join();
        }
    }
}

fn hand_on(
    near: &mut TcpStream,
    far: &mut TcpStream,
    mut idler: Idler,
    stop: &AtomicBool,
) -> std::io::Result<()> {
    let mut buffer = [0; 16 << 10];
    while !stop.load(Ordering::Relaxed) {
        let mut work = 0;
        for forth in [true, false] {
            let (from, to) = match forth {
                true => (&mut *near, &mut *far),
                false => (&mut *far, &mut *near),
            };
            match from.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(count) => {
                    to.write_all(&buffer[..count])?;
                    work += 1;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        idler.on_turn(work);
    }
    Ok(())
}
