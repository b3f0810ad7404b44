//! The floor of a replicated round trip, bare, over the sockets and the waiting of the nodes, without anything of
//! ours in between: client -> A -> B and C -> A -> client, where A answers as soon as a quorum has.
//!
//! On request each of them writes and flushes before it answers, as nodes that keep what they acknowledge do.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use exahour_rings::{IdleStrategy, Idler};

use super::disk::BareFile;
use super::echo::{EchoClient, EchoServer};

/// A, which hands everything on to the others and what a quorum has answered back.
pub struct Relay {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<std::io::Result<()>>>,
    _others: Vec<EchoServer>,
}

impl Relay {
    /// Starts A and `others` more on free loopback ports; with a folder all of them flush files in it.
    ///
    /// # Errors
    /// What the system says.
    pub fn start(idle: IdleStrategy, others: usize, disk: Option<&Path>) -> anyhow::Result<Self> {
        let file = |name: usize| {
            disk.map(|folder| {
                let folder = folder.join(format!("relay-{name}"));
                std::fs::create_dir_all(&folder)?;
                BareFile::create(&folder)
            })
            .transpose()
        };
        let (mut echoes, mut far) = (Vec::new(), Vec::new());
        for name in 1..=others {
            let echo = EchoServer::start(None, file(name)?, idle)?;
            far.push(Other {
                stream: echo.stream()?,
                answered: 0,
            });
            echoes.push(echo);
        }
        let own = file(0)?;
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let stop = Arc::new(AtomicBool::new(false));
        let asked = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name("relay".into())
            .spawn(move || {
                let (near, _) = listener.accept()?;
                near.set_nodelay(true)?;
                near.set_nonblocking(true)?;
                let hub = Hub {
                    near,
                    others: far,
                    disk: own,
                    answered: 0,
                };
                hub.run(idle.idler(), &asked)
            })?;
        Ok(Self {
            address,
            stop,
            thread: Some(thread),
            _others: echoes,
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

/// The way to another one.
struct Other {
    stream: TcpStream,
    /// Bytes that it has answered.
    answered: usize,
}

/// What A has.
struct Hub {
    near: TcpStream,
    others: Vec<Other>,
    disk: Option<BareFile>,
    /// Bytes that the client was answered.
    answered: usize,
}

impl Hub {
    fn run(mut self, mut idler: Idler, stop: &AtomicBool) -> std::io::Result<()> {
        let mut buffer = [0; 16 << 10];
        while !stop.load(Ordering::Relaxed) {
            let mut work = 0;
            if let Some(count) = read(&mut self.near, &mut buffer)? {
                if count == 0 {
                    return Ok(());
                }
                for other in &mut self.others {
                    other.stream.write_all(&buffer[..count])?;
                }
                if let Some(disk) = &mut self.disk {
                    disk.write_and_sync()?;
                }
                work += 1;
            }
            for other in &mut self.others {
                if let Some(count) = read(&mut other.stream, &mut buffer)? {
                    other.answered += count;
                    work += 1;
                }
            }
            let mut due = agreed(&self.others).saturating_sub(self.answered);
            self.answered += due;
            while due > 0 {
                let count = due.min(buffer.len());
                self.near.write_all(&buffer[..count])?;
                due -= count;
            }
            idler.on_turn(work);
        }
        Ok(())
    }
}

/// How many bytes so many of the others have answered that they are a quorum with A.
fn agreed(others: &[Other]) -> usize {
    let needed = others.len().div_ceil(2);
    let reached = |bytes: usize| others.iter().filter(|it| it.answered >= bytes).count();
    let answers = others.iter().map(|it| it.answered);
    answers
        .filter(|it| reached(*it) >= needed)
        .max()
        .unwrap_or(0)
}

/// The bytes that came, none at the end; `None` where nothing came.
fn read(stream: &mut TcpStream, buffer: &mut [u8]) -> std::io::Result<Option<usize>> {
    match stream.read(buffer) {
        Ok(count) => Ok(Some(count)),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}
