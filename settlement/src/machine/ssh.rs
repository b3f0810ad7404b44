//! The SSH server of a machine: one key, any user name, a shell or a command.
//!
//! Runs as the last act of process 1, after every right has been given up.
//!
//! Always holds: nothing is started before the buyer's key has signed; a connection that does not
//! sign in time is closed, and earlier when its place is needed; connections and channels are
//! bounded, and what all of them together can make this process hold is less than the memory it has
//! for itself.
//! Does not: forward ports or agents, nor offer subsystems.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io;
use std::net::{Shutdown, TcpListener};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context;
use russh::keys::PrivateKey;
use russh::keys::ssh_key::public::{Ed25519PublicKey, KeyData};
use russh::server::{
    Auth, ChannelOpenHandle, Config, Handler, Msg, PublicKeyOffer, Session, VerifiedPublicKey,
};
use russh::{
    Channel, ChannelId, ChannelOpenFailure, MethodKind, MethodSet, Preferred, Pty, Sig, SshId,
    compression,
};
use tokio::io::Ready;
use tokio::io::unix::AsyncFd;
use tokio::sync::{Semaphore, watch};

use crate::provision::cgroup::SERVER_MEMORY_BYTES;

use super::report::Orders;
use super::shells::{INPUT_PIPE_BYTES, Shells};
use super::terminal::{self, OUTPUT_BYTES};

/// Connections at one time, those not yet logged in included.
const CONNECTIONS_MAX: usize = 12;
/// Logins at one time in one connection.
const CHANNELS_MAX: usize = 16;
/// Logins at one time in the machine.
const ALL_CHANNELS_MAX: usize = 64;
/// The most that a client may send, or ask for, in one message.
const MESSAGE_MAX: usize = 32 << 10;
/// What a client may send ahead in one channel. It is not kept: a channel whose shell does not read
/// holds up its connection long before.
const WINDOW: usize = 256 << 10;
/// Messages that wait in one channel for its login.
const CHANNEL_BUFFER: usize = 1;
/// Messages of all logins of a connection that wait to be sent.
const EVENT_BUFFER: usize = 4;
/// What the kernel keeps of a connection in either direction, before it doubles it.
const SOCKET_BUFFER: usize = 64 << 10;

/// A packet that is read whole before its length can be refused: 256 KiB and what surrounds it.
const PACKET_READ_MAX: usize = 257 << 10;
/// What a connection can make this process hold: the longest packet, its buffer grown by doubling,
/// decrypted, decoded and copied; what waits to be sent; the kernel's part; and the rest.
const CONNECTION_BYTES: usize =
    5 * PACKET_READ_MAX + EVENT_BUFFER * OUTPUT_BYTES + 2 * 2 * SOCKET_BUFFER + (32 << 10);
/// The same of a login: messages that wait and the one being carried, two outputs with a buffer and
/// a message each, its pipe, and the rest.
const CHANNEL_BYTES: usize =
    (CHANNEL_BUFFER + 1) * MESSAGE_MAX + 2 * 2 * OUTPUT_BYTES + INPUT_PIPE_BYTES + (8 << 10);
/// What this process needs when nobody is there.
const OWN_BYTES: usize = 4 << 20;
const _: () = assert!(
    (OWN_BYTES + CONNECTIONS_MAX * CONNECTION_BYTES + ALL_CHANNELS_MAX * CHANNEL_BYTES) as u64
        <= SERVER_MEMORY_BYTES
);

/// How long a connection may take to log in.
const LOGIN_GRACE: Duration = Duration::from_secs(20);
/// How often a silent client is asked whether it is there; three silences end it.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// Serves logins until the process ends.
pub(super) fn serve(
    listener: TcpListener,
    orders: &Orders,
    shells: Arc<Shells>,
) -> anyhow::Result<()> {
    listener
        .set_nonblocking(true)
        .context("cannot poll the listener")?;
    set_options(&listener).context("cannot bound what the kernel keeps")?;
    let key = PrivateKey::from_openssh(&orders.host_key).context("the host key is damaged")?;
    let config = Arc::new(Config {
        server_id: SshId::Standard("SSH-2.0-exahour_1".into()),
        methods: MethodSet::from(&[MethodKind::PublicKey][..]),
        auth_rejection_time: Duration::from_millis(500),
        auth_rejection_time_initial: Some(Duration::ZERO),
        max_auth_attempts: 6,
        keys: vec![key],
        inactivity_timeout: None,
        keepalive_interval: Some(KEEPALIVE),
        nodelay: true,
        window_size: u32::try_from(WINDOW)?,
        maximum_packet_size: u32::try_from(MESSAGE_MAX)?,
        channel_buffer_size: CHANNEL_BUFFER,
        event_buffer_size: EVENT_BUFFER,
        // Packing needs hundreds of kilobytes for each connection.
        preferred: Preferred {
            compression: Cow::Borrowed(&[compression::NONE]),
            ..Preferred::default()
        },
        ..Config::default()
    });
    let buyer = Ed25519PublicKey(orders.intent.spec.access_key);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the server")?;
    runtime.block_on(accept(listener, config, buyer, shells))
}

/// Sets what all connections that the listener will give have in common. Clients that vanish
/// without a word are found by the kernel, also while nothing is read from them.
fn set_options(listener: &TcpListener) -> io::Result<()> {
    let buffer = libc::c_int::try_from(SOCKET_BUFFER).map_err(io::Error::other)?;
    let silence = libc::c_int::try_from(KEEPALIVE.as_secs()).map_err(io::Error::other)?;
    let options = [
        (libc::SOL_SOCKET, libc::SO_RCVBUF, buffer),
        (libc::SOL_SOCKET, libc::SO_SNDBUF, buffer),
        (libc::SOL_SOCKET, libc::SO_KEEPALIVE, 1),
        (libc::IPPROTO_TCP, libc::TCP_KEEPIDLE, silence),
        (libc::IPPROTO_TCP, libc::TCP_KEEPINTVL, silence),
        (libc::IPPROTO_TCP, libc::TCP_KEEPCNT, 3),
    ];
    for (level, option, value) in options {
        let length = libc::socklen_t::try_from(size_of_val(&value)).map_err(io::Error::other)?;
        let socket = listener.as_raw_fd();
        // SAFETY: the socket is open and the kernel only reads a number as long as is said.
        let set =
            unsafe { libc::setsockopt(socket, level, option, (&raw const value).cast(), length) };
        if set != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

async fn accept(
    listener: TcpListener,
    config: Arc<Config>,
    buyer: Ed25519PublicKey,
    shells: Arc<Shells>,
) -> anyhow::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener).context("cannot poll")?;
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let logins = Arc::new(Semaphore::new(ALL_CHANNELS_MAX));
    let strangers = Arc::new(Strangers::default());
    loop {
        let accepted = listener.accept().await;
        let watched = accepted.and_then(|(stream, _)| Ok((watched(&stream)?, stream)));
        let Ok((peer, stream)) = watched else {
            // Out of descriptors or the peer is gone already: neither is worth dying for.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        if places.available_permits() == 0 {
            strangers.send_away_oldest();
        }
        let place = Arc::clone(&places)
            .acquire_owned()
            .await
            .context("no more connections")?;
        let (peer, gone) = (Arc::new(peer), Arc::new(watch::Sender::new(false)));
        let guest = Guest {
            number: strangers.let_in(&peer),
            strangers: Arc::clone(&strangers),
        };
        let visitor = Visitor {
            buyer,
            shells: Arc::clone(&shells),
            guest: guest.clone(),
            channels: Arc::new(Semaphore::new(CHANNELS_MAX)),
            all_channels: Arc::clone(&logins),
            gone: Arc::clone(&gone),
        };
        let config = Arc::clone(&config);
        tokio::spawn(async move {
            let _place = place;
            tokio::select! {
                () = connection(stream, config, visitor, &guest) => {}
                () = tell_when_gone(&peer, &gone) => {}
            }
            guest.strangers.forget(guest.number);
        });
    }
}

/// A connection's socket once more, apart from whoever serves it.
type Peer = AsyncFd<std::net::TcpStream>;

fn watched(stream: &tokio::net::TcpStream) -> io::Result<Peer> {
    let peer = std::net::TcpStream::from(stream.as_fd().try_clone_to_owned()?);
    // SAFETY: an owned socket stays open, and stays the same, until it is dropped.
    Ok(unsafe { AsyncFd::register(peer) }?)
}

/// The connections that have not logged in yet, by their number, which grows.
#[derive(Default)]
struct Strangers(Mutex<(u64, BTreeMap<u64, Arc<Peer>>)>);

impl Strangers {
    fn lock(&self) -> MutexGuard<'_, (u64, BTreeMap<u64, Arc<Peer>>)> {
        // Nothing is left half done by a panic in another holder.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn let_in(&self, peer: &Arc<Peer>) -> u64 {
        let mut inner = self.lock();
        inner.0 += 1;
        let number = inner.0;
        inner.1.insert(number, Arc::clone(peer));
        number
    }

    /// Whether it was still one of them.
    fn forget(&self, number: u64) -> bool {
        self.lock().1.remove(&number).is_some()
    }

    fn send_away_oldest(&self) {
        if let Some((_, peer)) = self.lock().1.pop_first() {
            hang_up(&peer);
        }
    }

    fn send_away(&self, number: u64) {
        if let Some(peer) = self.lock().1.remove(&number) {
            hang_up(&peer);
        }
    }
}

/// Whatever the session is at, it finds its connection closed.
fn hang_up(peer: &Peer) {
    // One that is closed already needs no more.
    let _ = peer.get_ref().shutdown(Shutdown::Both);
}

/// A connection's place among those that have not logged in yet.
#[derive(Clone)]
struct Guest {
    number: u64,
    strangers: Arc<Strangers>,
}

/// Tells the logins of a connection when their client is gone, and does not return. While one of
/// them does not read, the session waits for it and would not notice.
async fn tell_when_gone(peer: &Peer, gone: &watch::Sender<bool>) {
    while let Ok(mut ready) = peer.readable().await {
        if ready.ready().is_read_closed() {
            break;
        }
        ready.clear_ready_matching(Ready::READABLE);
    }
    gone.send_replace(true);
    std::future::pending().await
}

async fn connection(
    stream: tokio::net::TcpStream,
    config: Arc<Config>,
    visitor: Visitor,
    guest: &Guest,
) {
    let greeting = russh::server::run_stream(config, stream, visitor);
    let Ok(Ok(mut session)) = tokio::time::timeout(LOGIN_GRACE, greeting).await else {
        return;
    };
    let late = tokio::time::timeout(LOGIN_GRACE, &mut session)
        .await
        .is_err();
    if late {
        guest.strangers.send_away(guest.number);
        // However it ends, the place is free again.
        let _ = session.await;
    }
}

/// One connection.
struct Visitor {
    buyer: Ed25519PublicKey,
    shells: Arc<Shells>,
    guest: Guest,
    channels: Arc<Semaphore>,
    all_channels: Arc<Semaphore>,
    /// Set when the client is gone, dropped with the connection: both tell its logins to hang up.
    gone: Arc<watch::Sender<bool>>,
}

impl Visitor {
    fn judge(&self, key: &russh::keys::PublicKey) -> Auth {
        match key.key_data() {
            KeyData::Ed25519(offered) if *offered == self.buyer => Auth::Accept,
            _ => Auth::reject(),
        }
    }
}

/// Ends the connection of a client that sends more in one message than it was told it may.
fn fits(length: usize) -> Result<(), russh::Error> {
    match length {
        0..=MESSAGE_MAX => Ok(()),
        _ => Err(russh::Error::PacketSize(length)),
    }
}

impl Handler for Visitor {
    type Error = russh::Error;

    async fn auth_publickey_offered(
        &mut self,
        _user: &str,
        offer: PublicKeyOffer<'_>,
    ) -> Result<Auth, Self::Error> {
        Ok(self.judge(offer.public_key))
    }

    async fn auth_publickey(
        &mut self,
        _user: &str,
        key: VerifiedPublicKey<'_>,
    ) -> Result<Auth, Self::Error> {
        Ok(self.judge(key.public_key))
    }

    async fn auth_succeeded(&mut self, _session: &mut Session) -> Result<(), Self::Error> {
        match self.guest.strangers.forget(self.guest.number) {
            true => Ok(()),
            // It has just been sent away.
            false => Err(russh::Error::Disconnect),
        }
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        let connection = self.gone.subscribe();
        if *connection.borrow() {
            return Err(russh::Error::Disconnect);
        }
        let (Ok(place), Ok(of_all)) = (
            Arc::clone(&self.channels).try_acquire_owned(),
            Arc::clone(&self.all_channels).try_acquire_owned(),
        ) else {
            reply.reject(ChannelOpenFailure::ResourceShortage).await;
            return Ok(());
        };
        reply.accept().await;
        let (shells, handle) = (Arc::clone(&self.shells), session.handle());
        tokio::spawn(async move {
            let _places = (place, of_all);
            terminal::serve(channel, handle, shells, connection).await;
        });
        Ok(())
    }

    // What follows reaches the login's own task; here it is only measured and answered, in order.

    async fn data(
        &mut self,
        _channel: ChannelId,
        data: &[u8],
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        fits(data.len())
    }

    async fn extended_data(
        &mut self,
        _channel: ChannelId,
        _code: u32,
        data: &[u8],
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        fits(data.len())
    }

    async fn signal(
        &mut self,
        _channel: ChannelId,
        signal: Sig,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        match signal {
            Sig::Custom(name) => fits(name.len()),
            _ => Ok(()),
        }
    }

    async fn x11_request(
        &mut self,
        channel: ChannelId,
        _single_connection: bool,
        protocol: &str,
        cookie: &str,
        _screen: u32,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        fits(protocol.len() + cookie.len())?;
        session.channel_failure(channel)
    }

    async fn pty_request(
        &mut self,
        channel: ChannelId,
        term: &str,
        _columns: u32,
        _rows: u32,
        _width: u32,
        _height: u32,
        _modes: &[(Pty, u32)],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        fits(term.len())?;
        session.channel_success(channel)
    }

    async fn shell_request(
        &mut self,
        channel: ChannelId,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        session.channel_success(channel)
    }

    async fn exec_request(
        &mut self,
        channel: ChannelId,
        command: &[u8],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        fits(command.len())?;
        session.channel_success(channel)
    }

    async fn env_request(
        &mut self,
        channel: ChannelId,
        name: &str,
        value: &str,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        fits(name.len() + value.len())?;
        session.channel_failure(channel)
    }

    async fn subsystem_request(
        &mut self,
        channel: ChannelId,
        name: &str,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        fits(name.len())?;
        session.channel_failure(channel)
    }
}
