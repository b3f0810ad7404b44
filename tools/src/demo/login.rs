//! Logs in to a delivered machine as its buyer would with `ssh`.
//!
//! Called by `demo::delivery`.
//!
//! Always holds: the private key never leaves this process; a machine whose host key is not the one
//! that the exchange told is not talked to.

use std::net::SocketAddrV4;
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use exahour_wire::message::Digest;
use russh::ChannelMsg;
use russh::client::{self, Config};
use russh::keys::ssh_key::private::Ed25519Keypair;
use russh::keys::{HashAlg, PrivateKey, PrivateKeyWithHashAlg, PublicKeyOrCertificate};

use super::site::PATIENCE;

/// A buyer's own key, drawn for one demo.
pub(super) struct BuyerKey(Ed25519Keypair);

impl BuyerKey {
    /// Draws one.
    pub(super) fn new() -> Self {
        Self(Ed25519Keypair::from_seed(&rand::random()))
    }

    /// The half that the exchange is told.
    pub(super) fn public(&self) -> [u8; 32] {
        self.0.public.0
    }
}

/// Runs a command on the machine; what it printed.
///
/// # Errors
/// Where the machine does not answer, is another, refuses the key, or the command fails.
pub(super) fn log_in(
    address: SocketAddrV4,
    host_key: &Digest,
    key: &BuyerKey,
    command: &str,
) -> Result<String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot wait for the machine")?;
    let work = async {
        let visit = visit(address, Visitor(*host_key), key, command);
        tokio::time::timeout(PATIENCE, visit).await
    };
    let answer = runtime.block_on(work);
    answer
        .with_context(|| format!("no answer within {} s", PATIENCE.as_secs()))
        .flatten()
        .with_context(|| format!("the machine at {address}"))
}

async fn visit(
    address: SocketAddrV4,
    visitor: Visitor,
    key: &BuyerKey,
    command: &str,
) -> Result<String> {
    let config = Arc::new(Config::default());
    let mut session = client::connect(config, address, visitor).await?;
    let key = PrivateKey::from(key.0.clone());
    let key = PrivateKeyWithHashAlg::new(Arc::new(key), None);
    let answer = session.authenticate_publickey("compute", key).await?;
    ensure!(answer.success(), "it refuses the buyer's key");
    let mut channel = session.channel_open_session().await?;
    channel.exec(true, command).await?;
    channel.eof().await?;
    let (mut said, mut code) = (Vec::new(), None);
    while let Some(message) = channel.wait().await {
        match message {
            ChannelMsg::Data { data } => said.extend_from_slice(&data),
            ChannelMsg::ExitStatus { exit_status } => code = Some(exit_status),
            _ => {}
        }
    }
    let said = String::from_utf8_lossy(&said).trim().to_owned();
    match code {
        Some(0) => Ok(said),
        other => bail!("`{command}` ended with {other:?}: {said}"),
    }
}

/// A client that insists on the host key it was told.
struct Visitor(Digest);

impl client::Handler for Visitor {
    type Error = russh::Error;

    async fn check_server_key(
        &mut self,
        key: &PublicKeyOrCertificate,
    ) -> Result<bool, Self::Error> {
        let PublicKeyOrCertificate::PublicKey { key, .. } = key else {
            return Ok(false);
        };
        Ok(key.fingerprint(HashAlg::Sha256).sha256() == Some(self.0.0))
    }
}
