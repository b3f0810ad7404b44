//! A relay between a client and the gateway that cuts the connection after so many bytes.
#![allow(unreachable_pub, clippy::unwrap_used)] // What cannot be set up fails the test.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub struct Proxy {
    pub address: SocketAddr,
    allowed: Arc<AtomicU64>,
}

impl Proxy {
    pub fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let allowed = Arc::new(AtomicU64::new(0));
        let budget = Arc::clone(&allowed);
        // Ends with the test's process.
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let client = client.unwrap();
                let Ok(server) = TcpStream::connect(target) else {
                    continue;
                };
                for (from, to) in [(&client, &server), (&server, &client)] {
                    from.set_nodelay(true).unwrap();
                    let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    let budget = Arc::clone(&budget);
                    std::thread::spawn(move || relay(from, to, &budget));
                }
            }
        });
        Self { address, allowed }
    }

    /// How many bytes may pass from now on, both ways together.
    pub fn allow(&self, bytes: u64) {
        self.allowed.store(bytes, Ordering::SeqCst);
    }
}

fn relay(mut from: TcpStream, mut to: TcpStream, budget: &AtomicU64) {
    let mut buffer = [0; 4_096];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        let take = |left: u64| Some(left.saturating_sub(count as u64));
        let left = budget
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, take)
            .unwrap();
        let passed = usize::try_from(left).unwrap_or(usize::MAX).min(count);
        if to.write_all(&buffer[..passed]).is_err() || passed < count {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
