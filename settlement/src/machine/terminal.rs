//! Carries one login between its SSH channel and its shell.
//!
//! One task for each channel, started by the SSH server.
//!
//! Always holds: a slow side slows down the other; when the client goes away the shell is hung up.
//! Does not: keep the channels of one connection apart. A shell that does not read what it was sent
//! holds up its connection, and no other.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use nix::pty::Winsize;
use nix::sys::signal::Signal;
use nix::unistd::{read, write};
use russh::server::{Handle, Msg};
use russh::{Channel, ChannelMsg, ChannelReadHalf, Sig};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::shells::{Ended, Pipes, Shell, Shells, set_nonblocking};

/// The channel's number for what a command writes to its standard error.
const STANDARD_ERROR: u32 = 1;
/// The most of a shell's output that is carried at once.
pub(super) const OUTPUT_BYTES: usize = 8 << 10;
/// How long a terminal's last output may take once its shell has ended.
const DRAIN: Duration = Duration::from_millis(500);
/// What a shell's own "cannot execute" is, too.
const CANNOT_EXECUTE: u32 = 126;

/// What a client asked for before its login began.
struct Request {
    terminal: Option<(String, Winsize)>,
    command: Option<Vec<u8>>,
}

/// A login's server side.
struct Running {
    shell: Shell,
    /// Where the client's input goes; none once the client has closed it.
    input: Option<AsyncFd<OwnedFd>>,
    on_terminal: bool,
    outputs: Vec<JoinHandle<()>>,
}

/// Serves one channel until its shell, its client or its connection ends.
pub(super) async fn serve(
    channel: Channel<Msg>,
    handle: Handle,
    shells: Arc<Shells>,
    mut connection: watch::Receiver<bool>,
) {
    let id = channel.id();
    let (mut from_client, to_client) = channel.split();
    let Some(request) = wait_for_request(&mut from_client).await else {
        return;
    };
    let outputs = (
        to_client.make_writer(),
        to_client.make_writer_ext(Some(STANDARD_ERROR)),
    );
    let started = start(&shells, &request, outputs);
    drop(request);
    let status = match started {
        Ok(mut running) => {
            let ended = carry(&mut running, &mut from_client, &mut connection).await;
            finish_outputs(running, &mut connection).await;
            ended
        }
        Err(e) => {
            // The client is told why, on a channel that closes right after.
            let why = format!("{e:#}\n");
            let _ = handle
                .extended_data(id, STANDARD_ERROR, why.into_bytes())
                .await;
            Some(Ended::Code(i32::try_from(CANNOT_EXECUTE).unwrap_or(1)))
        }
    };
    // A client that is gone cannot be told, which is no error.
    match status {
        Some(Ended::Code(code)) => {
            let _ = handle
                .exit_status_request(id, u32::try_from(code).unwrap_or(1))
                .await;
        }
        Some(Ended::Signal(signal)) => {
            let name = Sig::Custom(signal.as_str().trim_start_matches("SIG").into());
            let _ = handle
                .exit_signal_request(id, name, false, String::new(), String::new())
                .await;
        }
        None => {}
    }
    let _ = handle.eof(id).await;
    let _ = handle.close(id).await;
}

async fn wait_for_request(from_client: &mut ChannelReadHalf) -> Option<Request> {
    let mut terminal = None;
    loop {
        match from_client.wait().await? {
            ChannelMsg::RequestPty {
                term,
                col_width,
                row_height,
                ..
            } => {
                terminal = Some((term, size(col_width, row_height)));
            }
            ChannelMsg::RequestShell { .. } => {
                return Some(Request {
                    terminal,
                    command: None,
                });
            }
            ChannelMsg::Exec { command, .. } => {
                return Some(Request {
                    terminal,
                    command: Some(command),
                });
            }
            ChannelMsg::Close => return None,
            _ => {}
        }
    }
}

fn size(columns: u32, rows: u32) -> Winsize {
    let cells = |n: u32| u16::try_from(n).unwrap_or(u16::MAX);
    Winsize {
        ws_row: cells(rows),
        ws_col: cells(columns),
        ws_xpixel: 0,
        ws_ypixel: 0,
    }
}

fn start(
    shells: &Shells,
    request: &Request,
    (out, err): (
        impl AsyncWrite + Send + 'static,
        impl AsyncWrite + Send + 'static,
    ),
) -> anyhow::Result<Running> {
    let command = request.command.as_deref();
    match &request.terminal {
        Some((kind, size)) => {
            let (shell, master) = shells.on_terminal(command, kind, size)?;
            let output = polled(master.try_clone()?)?;
            Ok(Running {
                shell,
                input: Some(polled(master)?),
                on_terminal: true,
                outputs: vec![tokio::spawn(copy(output, out))],
            })
        }
        None => {
            let (
                shell,
                Pipes {
                    input,
                    output,
                    errors,
                },
            ) = shells.on_pipes(command)?;
            let (output, errors) = (polled(output)?, polled(errors)?);
            Ok(Running {
                shell,
                input: Some(polled(input)?),
                on_terminal: false,
                outputs: vec![
                    tokio::spawn(copy(output, out)),
                    tokio::spawn(copy(errors, err)),
                ],
            })
        }
    }
}

fn polled(fd: OwnedFd) -> anyhow::Result<AsyncFd<OwnedFd>> {
    set_nonblocking(&fd)?;
    // SAFETY: an owned descriptor stays open, and stays the same, until it is dropped.
    Ok(unsafe { AsyncFd::register(fd) }?)
}

/// Copies what the shell says until it says no more or the client hears no more.
async fn copy(from: AsyncFd<OwnedFd>, to: impl AsyncWrite) {
    let mut to = std::pin::pin!(to);
    let mut buffer = vec![0u8; OUTPUT_BYTES];
    loop {
        let Ok(mut ready) = from.readable().await else {
            return;
        };
        let got = ready.try_io(|fd| Ok(read(fd.get_ref(), &mut buffer)?));
        match got {
            Err(_would_block) => {}
            Ok(Err(e)) if e.kind() == io::ErrorKind::Interrupted => {}
            // A terminal whose last user is gone answers EIO: its way to say the end.
            Ok(Ok(0) | Err(_)) => return,
            Ok(Ok(count)) => {
                if to.write_all(&buffer[..count]).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// Carries the client's side until the shell ends; none when it is the client that went away.
async fn carry(
    running: &mut Running,
    from_client: &mut ChannelReadHalf,
    connection: &mut watch::Receiver<bool>,
) -> Option<Ended> {
    loop {
        let message = tokio::select! {
            ended = &mut running.shell.ended => return ended.ok(),
            () = gone(connection) => None,
            message = from_client.wait() => message,
        };
        match message {
            Some(ChannelMsg::Data { data }) => {
                let Some(input) = &running.input else {
                    continue;
                };
                tokio::select! {
                    ended = &mut running.shell.ended => return ended.ok(),
                    () = gone(connection) => {}
                    written = write_all(input, &data) => {
                        if written.is_err() {
                            running.input = None;
                        }
                    }
                }
            }
            Some(ChannelMsg::Eof) if !running.on_terminal => running.input = None,
            Some(ChannelMsg::WindowChange {
                col_width,
                row_height,
                ..
            }) => {
                resize(running, &size(col_width, row_height));
            }
            Some(ChannelMsg::Signal { signal }) => {
                if let Some(signal) = known(&signal) {
                    running.shell.signal(signal);
                }
            }
            None | Some(ChannelMsg::Close) => {
                running.shell.signal(Signal::SIGHUP);
                for output in &running.outputs {
                    output.abort();
                }
                return None;
            }
            Some(_) => {}
        }
    }
}

/// Waits until the client is gone, or its connection has ended.
async fn gone(connection: &mut watch::Receiver<bool>) {
    // Either answer means it.
    let _ = connection.wait_for(|gone| *gone).await;
}

async fn write_all(to: &AsyncFd<OwnedFd>, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let mut ready = to.writable().await?;
        match ready.try_io(|fd| Ok(write(fd.get_ref(), bytes)?)) {
            Err(_would_block) => {}
            Ok(Err(e)) if e.kind() == io::ErrorKind::Interrupted => {}
            Ok(written) => bytes = &bytes[written?..],
        }
    }
    Ok(())
}

fn resize(running: &Running, size: &Winsize) {
    if let (Some(terminal), true) = (&running.input, running.on_terminal) {
        // SAFETY: the descriptor is open and the size outlives the call. A terminal that refuses
        // keeps its size.
        unsafe { libc::ioctl(terminal.get_ref().as_raw_fd(), libc::TIOCSWINSZ, size) };
    }
}

fn known(signal: &Sig) -> Option<Signal> {
    match signal {
        Sig::HUP => Some(Signal::SIGHUP),
        Sig::INT => Some(Signal::SIGINT),
        Sig::KILL => Some(Signal::SIGKILL),
        Sig::QUIT => Some(Signal::SIGQUIT),
        Sig::TERM => Some(Signal::SIGTERM),
        Sig::USR1 => Some(Signal::SIGUSR1),
        _ => None,
    }
}

/// Lets the last output reach the client. Pipes end when their last holder closes them, as with
/// any SSH server; a terminal that a background job still holds is not waited for.
async fn finish_outputs(running: Running, connection: &mut watch::Receiver<bool>) {
    drop(running.input);
    for mut output in running.outputs {
        match running.on_terminal {
            true => {
                if tokio::time::timeout(DRAIN, &mut output).await.is_err() {
                    output.abort();
                }
            }
            // A client that takes nothing more may be gone; an aborted copy is one that nobody
            // listens to.
            false => tokio::select! {
                _ = &mut output => {}
                () = gone(connection) => output.abort(),
            },
        }
    }
}
