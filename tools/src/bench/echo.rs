//! The floor of a round trip: a bare TCP echo with the sockets and the threads of the gateway, and on
//! request with a flush before each answer.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use exahour_rings::{CoreId, IdleStrategy, pin_current_thread};

use super::disk::BareFile;
use super::pace::Counterpart;

/// Bytes of an order with its framing.
const MESSAGE_BYTES: usize = 70;

/// An echo server on a thread of its own.
pub struct EchoServer {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<std::io::Result<()>>>,
}

impl EchoServer {
    /// Starts on a free loopback port; with a disk it writes and flushes before each answer.
    ///
    /// # Errors
    /// What the system says.
    pub fn start(
        core: Option<CoreId>,
        disk: Option<BareFile>,
        idle: IdleStrategy,
    ) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let stop = Arc::new(AtomicBool::new(false));
        let asked = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name("echo".into())
            .spawn(move || {
                if let Some(core) = core {
                    pin_current_thread(core).map_err(std::io::Error::other)?;
                }
                serve(&listener, disk, idle, &asked)
            })?;
        Ok(Self {
            address,
            stop,
            thread: Some(thread),
        })
    }

    /// Connects a client.
    ///
    /// # Errors
    /// What the system says.
    pub fn connect(&self) -> anyhow::Result<EchoClient> {
        EchoClient::connect(self.address)
    }

    /// Connects whoever hands messages on.
    ///
    /// # Errors
    /// What the system says.
    pub fn stream(&self) -> std::io::Result<TcpStream> {
        connected(self.address)
    }
}

impl Drop for EchoServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // The floor was measured; how its server ended changes nothing.
            let _ = thread.join();
        }
    }
}

fn connected(address: SocketAddr) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_nonblocking(true)?;
    Ok(stream)
}

fn serve(
    listener: &TcpListener,
    mut disk: Option<BareFile>,
    idle: IdleStrategy,
    stop: &AtomicBool,
) -> std::io::Result<()> {
    let mut idler = idle.idler();
    let (mut stream, _) = listener.accept()?;
    stream.set_nodelay(true)?;
    stream.set_nonblocking(true)?;
    let mut buffer = [0; 16 << 10];
    while !stop.load(Ordering::Relaxed) {
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => {
                if let Some(disk) = &mut disk {
                    disk.write_and_sync()?;
                }
                stream.write_all(&buffer[..count])?;
                idler.reset();
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => idler.idle(),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// A client of the echo.
pub struct EchoClient {
    stream: TcpStream,
    /// Bytes received in this load.
    received: usize,
}

impl EchoClient {
    /// Connects to whoever echoes.
    ///
    /// # Errors
    /// What the system says.
    pub fn connect(address: SocketAddr) -> anyhow::Result<Self> {
        Ok(Self {
            stream: connected(address)?,
            received: 0,
        })
    }
}

impl Counterpart for EchoClient {
    fn begin(&mut self) {
        self.received = 0;
    }

    fn send(&mut self, _number: u64) -> anyhow::Result<()> {
        self.stream.write_all(&[7; MESSAGE_BYTES])?;
        Ok(())
    }

    fn poll(&mut self, answered: &mut dyn FnMut(u64)) -> anyhow::Result<()> {
        let mut buffer = [0; 16 << 10];
        match self.stream.read(&mut buffer) {
            Ok(0) => anyhow::bail!("the echo server closed the connection"),
            Ok(count) => {
                let before = self.received / MESSAGE_BYTES;
                self.received += count;
                // Answers come in the order of the messages.
                (before..self.received / MESSAGE_BYTES).for_each(|number| answered(number as u64));
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}
