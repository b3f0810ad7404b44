//! The floor of a round trip: a bare TCP echo with the sockets and the threads of the gateway, and on
//! request with a flush before each answer.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use exahour_rings::{CoreId, pin_current_thread};

use super::disk::BareFile;
use super::pace::Counterpart;

/// Bytes of an order with its framing.
const MESSAGE_BYTES: usize = 70;

/// An echo server that spins on one core.
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
    pub fn start(core: Option<CoreId>, disk: Option<BareFile>) -> anyhow::Result<Self> {
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
                serve(&listener, disk, &asked)
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
        let stream = TcpStream::connect(self.address)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        Ok(EchoClient {
            stream,
            received: 0,
        })
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

fn serve(
    listener: &TcpListener,
    mut disk: Option<BareFile>,
    stop: &AtomicBool,
) -> std::io::Result<()> {
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
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => std::hint::spin_loop(),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// A client of the echo.
pub struct EchoClient {
    stream: TcpStream,
    /// Bytes received so far.
    received: usize,
}

impl Counterpart for EchoClient {
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
