//! The SSH server of a machine: one key, any user name, a shell or a command.
//!
//! Runs as the last act of process 1, after every right has been given up.
//!
//! Always holds: nothing is started before the buyer's key has signed; a connection that does not
//! sign in time is closed; connections and channels are bounded.
//! Does not: forward ports or agents, nor offer subsystems.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use russh::keys::PrivateKey;
use russh::keys::ssh_key::public::{Ed25519PublicKey, KeyData};
use russh::server::{
    Auth, ChannelOpenHandle, Config, Handler, Msg, PublicKeyOffer, Session, VerifiedPublicKey,
};
use russh::{Channel, ChannelId, ChannelOpenFailure, MethodKind, MethodSet, Pty, SshId};
use tokio::sync::{Semaphore, watch};

use super::report::Orders;
use super::shells::Shells;
use super::terminal;

/// Connections at one time, those not yet logged in included.
const CONNECTIONS_MAX: usize = 32;
/// Logins at one time in one connection.
const CHANNELS_MAX: usize = 16;
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
        ..Config::default()
    });
    let buyer = Ed25519PublicKey(orders.intent.spec.access_key);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the server")?;
    runtime.block_on(accept(listener, config, buyer, shells))
}

async fn accept(
    listener: TcpListener,
    config: Arc<Config>,
    buyer: Ed25519PublicKey,
    shells: Arc<Shells>,
) -> anyhow::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener).context("cannot poll")?;
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let place = Arc::clone(&places)
            .acquire_owned()
            .await
            .context("no more connections")?;
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(_) => {
                // Out of descriptors or the peer is gone already: neither is worth dying for.
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let (config, shells, buyer) = (Arc::clone(&config), Arc::clone(&shells), buyer);
        tokio::spawn(async move {
            let _place = place;
            connection(stream, config, buyer, shells).await;
        });
    }
}

async fn connection(
    stream: tokio::net::TcpStream,
    config: Arc<Config>,
    buyer: Ed25519PublicKey,
    shells: Arc<Shells>,
) {
    let logged_in = Arc::new(AtomicBool::new(false));
    let (alive, _) = watch::channel(());
    let visitor = Visitor {
        buyer,
        shells,
        logged_in: Arc::clone(&logged_in),
        channels: Arc::new(Semaphore::new(CHANNELS_MAX)),
        alive,
    };
    let greeting = russh::server::run_stream(config, stream, visitor);
    let Ok(Ok(mut session)) = tokio::time::timeout(LOGIN_GRACE, greeting).await else {
        return;
    };
    let late = tokio::time::timeout(LOGIN_GRACE, &mut session)
        .await
        .is_err();
    if late && !logged_in.load(Ordering::Acquire) {
        let reason = russh::Disconnect::ByApplication;
        // A session that is gone needs no goodbye.
        let _ = session
            .handle()
            .disconnect(reason, "login took too long".into(), "en".into())
            .await;
    }
    if late {
        // However it ends, the place is free again.
        let _ = session.await;
    }
}

/// One connection.
struct Visitor {
    buyer: Ed25519PublicKey,
    shells: Arc<Shells>,
    logged_in: Arc<AtomicBool>,
    channels: Arc<Semaphore>,
    /// Dropped with the connection, which tells its logins to hang up.
    alive: watch::Sender<()>,
}

impl Visitor {
    fn judge(&self, key: &russh::keys::PublicKey) -> Auth {
        match key.key_data() {
            KeyData::Ed25519(offered) if *offered == self.buyer => Auth::Accept,
            _ => Auth::reject(),
        }
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
        self.logged_in.store(true, Ordering::Release);
        Ok(())
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        let Ok(place) = Arc::clone(&self.channels).try_acquire_owned() else {
            reply.reject(ChannelOpenFailure::ResourceShortage).await;
            return Ok(());
        };
        reply.accept().await;
        let (shells, handle) = (Arc::clone(&self.shells), session.handle());
        let connection = self.alive.subscribe();
        tokio::spawn(async move {
            let _place = place;
            terminal::serve(channel, handle, shells, connection).await;
        });
        Ok(())
    }

    // The requests themselves reach the login's own task; here they are only answered, in order.

    async fn pty_request(
        &mut self,
        channel: ChannelId,
        _term: &str,
        _columns: u32,
        _rows: u32,
        _width: u32,
        _height: u32,
        _modes: &[(Pty, u32)],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
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
        _command: &[u8],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        session.channel_success(channel)
    }

    async fn env_request(
        &mut self,
        channel: ChannelId,
        _name: &str,
        _value: &str,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        session.channel_failure(channel)
    }

    async fn subsystem_request(
        &mut self,
        channel: ChannelId,
        _name: &str,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        session.channel_failure(channel)
    }
}
