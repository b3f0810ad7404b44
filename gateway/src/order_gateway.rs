//! The polling agent of order entry: accepts, reads, drives the sessions, follows the event log
//! and writes.
//!
//! Turned by a runner, alone on a thread or fused with the sequencer and the engine.
//!
//! Always holds: every step of a turn is bounded, for each connection and in all; reports leave in
//! one write for each connection and turn; a connection's slot is free again only when the engine
//! was told of its end. Does not: allocate once the buffers of a slot have been used.

mod eviction;
mod hall;

use std::cmp::Ordering;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

#[cfg(feature = "defects")]
use exahour_journal::defects::{self, Defect};
use exahour_journal::disk::{Disk, system_disk};
use exahour_journal::{Position, Reader, Verify};
use exahour_rings::{Agent, Consumer, Halt, Producer, WatermarkReader};
use exahour_wire::codes::EstablishmentRejectCode;
use exahour_wire::ids::SessionId;
use exahour_wire::message::messages;
use exahour_wire::record::Line;
use exahour_wire::session::{Establish, RetransmitRequest};
use exahour_wire::units::{Millis, Nanos};

use hall::Hall;

use crate::back_off::BackOffs;
use crate::clock::{Clock, Steady};
use crate::credentials::Keys;
use crate::directory::Directory;
use crate::duty::{Duty, Office};
use crate::error::GatewayError;
use crate::inbox::Inbox;
use crate::ingress::Ingress;
use crate::net::{Accepted, Net, Port, Received, Slot, SystemNet, Written};
use crate::opening::{Applied, Opening};
use crate::outbox::{OUTBOX_BYTES_MAX, OUTBOX_BYTES_MIN, Outbox};
use crate::retransmission::{Progress, Retransmitting};
use crate::session::{Claim, ConnectionId, Desk, Session, SessionSettings, Step};

/// Bytes read from one connection in one turn, at most.
const READ_BYTES: usize = 16 << 10;

/// Bytes written to one connection in one call, at most.
const WRITE_BYTES: usize = 64 << 10;

/// Bytes of the event log followed in one turn, at most, beyond the frame begun.
const FOLLOW_BYTES: usize = 256 << 10;

/// How often deadlines are looked at.
const SWEEP_EVERY: Nanos = Nanos(1_000_000);

/// Deadlines are looked at after so many turns too, should the clock stand still.
const TURNS_TO_SWEEP: u32 = 1_024;

/// The names of connections go up by this; the rest names the node.
const NODES_NAMED: u64 = 256;

/// Changes of duty taken in one turn, at most.
const CHANGES_PER_TURN: usize = 8;

/// How long the last bytes of a connection may take to be read by the other side.
const LINGER: Nanos = Nanos(1_000_000_000);

/// The most connections that a gateway can be set up for.
pub const CONNECTIONS_MAX: usize = 16_384;

/// What a gateway is set up with.
#[derive(Clone, Debug)]
pub struct GatewaySettings {
    /// Where to listen; port 0 lets the system choose.
    pub address: SocketAddr,
    /// Connections at a time; a further one takes the place of one that is not established, or is
    /// closed at once.
    pub connections_max: usize,
    /// Bytes that may wait for one client before it counts as a slow reader.
    pub outbox_bytes: usize,
    /// Times and promises of the sessions.
    pub session: SessionSettings,
    /// The folder of the event log.
    pub event_log: PathBuf,
    /// The disk that it is on.
    pub disk: Arc<dyn Disk>,
    /// What the engine must have applied before the port opens; `None` where the log is whole.
    pub opens_behind: Option<Applied>,
    /// The number of this node in its cluster, modulo 256: no two may give a connection the same name.
    pub node: u8,
    /// The network that clients come through.
    pub net: Arc<dyn Net>,
}

impl GatewaySettings {
    /// The defaults: 256 connections, 1 MiB for each, over the network of this machine.
    #[must_use]
    pub fn new(address: SocketAddr, event_log: &Path) -> Self {
        Self {
            address,
            connections_max: 256,
            outbox_bytes: 1 << 20,
            session: SessionSettings::default(),
            event_log: event_log.to_path_buf(),
            disk: system_disk(),
            opens_behind: None,
            node: 0,
            net: Arc::new(SystemNet),
        }
    }

    fn check(&self) -> Result<(), GatewayError> {
        let refuse = |name, value, rule| Err(GatewayError::Setting { name, value, rule });
        let connections = self.connections_max;
        if !(1..=CONNECTIONS_MAX).contains(&connections) {
            return refuse("connections_max", connections as u64, "choose 1 to 16384");
        }
        let bytes = self.outbox_bytes;
        if !(OUTBOX_BYTES_MIN..=OUTBOX_BYTES_MAX).contains(&bytes) {
            return refuse("outbox_bytes", bytes as u64, "choose 4 KiB to 64 MiB");
        }
        let (min, max) = (self.session.keep_alive_min, self.session.keep_alive_max);
        if min == Millis(0) {
            return refuse("keep_alive_min", 0, "choose 1 ms or more");
        }
        if max < min {
            return refuse("keep_alive_max", max.0.into(), "it is below keep_alive_min");
        }
        Ok(())
    }
}

/// What stands in a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The session is alive.
    Open,
    /// The last bytes are on their way, until this time.
    Draining(Steady),
    /// Nothing more is written; bytes that still come are thrown away, until this time.
    HalfClosed(Steady),
    /// The socket is closed; the slot waits until the engine has been told.
    Closed,
}

struct Connection {
    session: Session,
    /// The session that this connection holds in the directory.
    holds: Option<SessionId>,
    stage: Stage,
    inbox: Inbox,
    outbox: Outbox,
    retransmitting: Option<Retransmitting>,
}

impl Connection {
    /// Gives back the session that it holds, if any: whoever has the slot next must not be taken for
    /// its holder.
    fn let_go(&mut self, slot: Slot, directory: &mut Directory) {
        if let Some(session) = self.holds.take() {
            directory.release(session, slot);
        }
    }
}

/// The agent.
pub struct OrderGateway<C> {
    settings: GatewaySettings,
    clock: C,
    port: Box<dyn Port>,
    connections: Box<[Connection]>,
    /// Slots in use, in no particular order.
    active: Vec<Slot>,
    directory: Directory,
    keys: Keys,
    back_offs: BackOffs,
    ingress: Ingress,
    /// Shut while the event log, and so the directory, may lack what the exchange has done.
    opening: Opening,
    office: Office,
    /// Follows the end of the event log.
    live: Reader,
    /// Reads what is sent again.
    history: Reader,
    next_connection: u64,
    next_retransmission: usize,
    first_read: usize,
    swept_at: Steady,
    turns_to_sweep: u32,
    now: Steady,
}

impl<C: Clock> OrderGateway<C> {
    /// Opens the event log and listens; clients are served from the first turn on.
    ///
    /// # Errors
    /// [`GatewayError::Setting`], [`GatewayError::Listen`], [`GatewayError::Watch`] and
    /// [`GatewayError::EventLog`].
    pub fn start(
        settings: GatewaySettings,
        keys: Keys,
        mut clock: C,
        ingress: Producer<Line>,
    ) -> Result<Self, GatewayError> {
        settings.check()?;
        // What is sent again may be read from the disk anew, and is checked every time; so is, until the door
        // opens, what an earlier run has written.
        let follow = || Reader::follow_on(&settings.disk, &settings.event_log, Verify::Every);
        let (live, history) = (follow()?, follow()?);
        let port = settings
            .net
            .listen(settings.address, settings.connections_max)?;
        let now = clock.steady();
        let connections = (0..settings.connections_max)
            .map(|_| Connection {
                session: Session::new(ConnectionId(0), now, &settings.session),
                holds: None,
                stage: Stage::Closed,
                inbox: Inbox::new(READ_BYTES),
                outbox: Outbox::new(settings.outbox_bytes),
                retransmitting: None,
            })
            .collect();
        // Names given back by events of an earlier run are lower than every new one, and those of another
        // node differ in the rest.
        let next_connection = clock.now().0 / NODES_NAMED * NODES_NAMED + u64::from(settings.node);
        Ok(Self {
            active: Vec::with_capacity(settings.connections_max),
            opening: Opening::new(&live, settings.opens_behind.clone()),
            office: Office::alone(),
            settings,
            port,
            connections,
            directory: Directory::default(),
            keys,
            back_offs: BackOffs::default(),
            ingress: Ingress::new(ingress),
            live,
            history,
            next_connection,
            clock,
            next_retransmission: 0,
            first_read: 0,
            swept_at: now,
            turns_to_sweep: TURNS_TO_SWEEP,
            now,
        })
    }

    /// Goes on with what the event log said of sessions up to a place, and does not read that part again; called
    /// before the first turn.
    ///
    /// # Errors
    /// [`GatewayError::EventLog`] where the log does not reach that far.
    pub fn begin_behind(
        &mut self,
        sessions: Directory,
        position: Position,
    ) -> Result<(), GatewayError> {
        self.live.seek(position)?;
        self.directory = sessions;
        Ok(())
    }

    /// Lets somebody behind close the intake; see [`Ingress::follow_intake`].
    pub fn follow_intake(&mut self, intake: WatermarkReader) {
        self.ingress.follow_intake(intake);
    }

    /// Lets somebody say what this node is; nobody is let in before the first word. A gateway that
    /// is told nothing is that of a node that always leads.
    pub fn follow_duty(&mut self, news: Consumer<Duty>) {
        self.office = Office::following(news);
    }

    /// The address that clients connect to.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// How many connections are in use.
    #[must_use]
    pub fn connection_count(&self) -> usize {
        self.active.len()
    }

    fn turn(&mut self) -> Result<usize, GatewayError> {
        self.now = self.clock.steady();
        // Reports that are ready leave before anything else costs time.
        let mut work = self.follow(FOLLOW_BYTES)?;
        work += self.retransmit()?;
        work += self.write_all();
        self.port.poll_ready()?;
        if self.opening.is_open(&self.live) {
            self.live.trust();
            if self.office.is_known() {
                work += self.accept();
            }
        }
        work += self.read_all();
        self.turns_to_sweep -= 1;
        if self.turns_to_sweep == 0 || self.now >= self.swept_at.after(SWEEP_EVERY) {
            self.sweep();
        }
        Ok(work)
    }

    /// Follows the event log for about `bytes`; gives the number of frames.
    fn follow(&mut self, bytes: usize) -> Result<usize, GatewayError> {
        // A lost lead is heard of before the log tells what a later leader did.
        let end = self.live.appended();
        self.take_up_duty();
        let (mut frames, mut followed) = (0, 0);
        while followed < bytes {
            let Some(frame) = self.live.next(end)? else {
                break;
            };
            frames += 1;
            followed += frame.payload.len();
            let mut hall = Hall {
                now: self.now,
                settings: &self.settings.session,
                connections: &mut self.connections,
                active: &self.active,
                directory: &mut self.directory,
                keys: &self.keys,
                back_offs: &mut self.back_offs,
                ingress: &mut self.ingress,
                duty: self.office.duty(),
                is_crowded: false,
            };
            #[cfg(feature = "defects")]
            if defects::strikes(Defect::LostReports, 100) {
                continue;
            }
            for event in messages(frame.payload) {
                hall.on_event(event, frame.position);
            }
            if hall.is_crowded {
                self.relieve();
            }
        }
        Ok(frames)
    }

    /// Learns what this node is now, and cuts its sessions off where it has lost the lead.
    fn take_up_duty(&mut self) {
        for _ in 0..CHANGES_PER_TURN {
            match self.office.poll(&self.live) {
                Some(Duty::Follows(_)) => self.on_lead_lost(),
                Some(Duty::Leads) => {}
                None => return,
            }
        }
    }

    fn on_lead_lost(&mut self) {
        for index in 0..self.active.len() {
            let slot = self.active[index];
            self.with_desk(slot, |session, desk| {
                session.on_lead_lost(desk);
            });
            let connection = &mut self.connections[slot.0];
            if !connection.session.is_claimed() {
                connection.let_go(slot, &mut self.directory);
            }
        }
    }

    /// Writes to whoever has much waiting as long as the socket takes it: a burst of its own reports
    /// does not make a slow reader of a client that reads.
    fn relieve(&mut self) {
        for index in 0..self.active.len() {
            let slot = self.active[index];
            while !self.connections[slot.0].outbox.has_ample_room() && self.write_to(slot) > 0 {}
        }
    }

    /// Goes on with one of the retransmissions under way.
    fn retransmit(&mut self) -> Result<usize, GatewayError> {
        for _ in 0..self.active.len() {
            self.next_retransmission = (self.next_retransmission + 1) % self.active.len();
            let slot = self.active[self.next_retransmission];
            let connection = &mut self.connections[slot.0];
            let Some(retransmitting) = &mut connection.retransmitting else {
                continue;
            };
            if connection.session.ends() {
                connection.retransmitting = None;
                continue;
            }
            if !connection.outbox.has_ample_room() {
                continue;
            }
            match retransmitting.turn(&mut self.history, &mut connection.outbox)? {
                Progress::More => {}
                Progress::Done => {
                    connection.retransmitting = None;
                    connection.session.on_retransmitted();
                }
                Progress::Unavailable => {
                    let request = *retransmitting.request();
                    connection.retransmitting = None;
                    self.with_desk(slot, |session, desk| {
                        session.on_unavailable(&request, desk);
                    });
                }
            }
            return Ok(1);
        }
        Ok(0)
    }

    /// One write for each connection that has something to say.
    fn write_all(&mut self) -> usize {
        let mut work = 0;
        for index in (0..self.active.len()).rev() {
            work += usize::from(self.write_to(self.active[index]) > 0);
        }
        work
    }

    /// Writes some of what waits for one connection; how many bytes.
    #[inline]
    fn write_to(&mut self, slot: Slot) -> usize {
        let connection = &mut self.connections[slot.0];
        let front = connection.outbox.front();
        if front.is_empty() {
            return 0;
        }
        let piece = &front[..front.len().min(WRITE_BYTES)];
        match self.port.try_write(slot, piece) {
            Written::Bytes(count) => {
                connection.outbox.sent(count);
                return count;
            }
            Written::Nothing => {}
            Written::Ended => self.on_lost(slot),
        }
        0
    }

    fn accept(&mut self) -> usize {
        let mut count = 0;
        while let Some(accepted) = self.port.accept() {
            count += 1;
            match accepted {
                Accepted::Connection(slot) => self.open(slot),
                Accepted::Full => self.make_room(),
                Accepted::Refused => {}
            }
        }
        count
    }

    fn open(&mut self, slot: Slot) {
        self.next_connection += NODES_NAMED;
        let id = ConnectionId(self.next_connection);
        let connection = &mut self.connections[slot.0];
        connection.session = Session::new(id, self.now, &self.settings.session);
        connection.holds = None;
        connection.stage = Stage::Open;
        connection.inbox.clear();
        connection.outbox.clear();
        connection.retransmitting = None;
        self.active.push(slot);
    }

    /// One bounded read from each connection that may have something. Each turn another one is the
    /// first: what room there is in the ring goes round.
    fn read_all(&mut self) -> usize {
        let mut work = 0;
        let count = self.active.len();
        self.first_read = if self.first_read + 1 < count {
            self.first_read + 1
        } else {
            0
        };
        for index in (self.first_read..count).chain(0..self.first_read) {
            let slot = self.active[index];
            let connection = &mut self.connections[slot.0];
            if connection.stage == Stage::Closed {
                continue;
            }
            match self.port.try_read(slot, connection.inbox.room()) {
                Received::Nothing => {}
                Received::Bytes(count) => {
                    work += 1;
                    self.on_bytes(slot, count);
                }
                Received::Ended => {
                    work += 1;
                    self.on_lost(slot);
                }
            }
        }
        work
    }

    fn on_bytes(&mut self, slot: Slot, count: usize) {
        if self.connections[slot.0].stage != Stage::Open {
            self.connections[slot.0].inbox.clear();
            return;
        }
        self.connections[slot.0].inbox.filled(count);
        loop {
            let connection = &mut self.connections[slot.0];
            let mut desk = Desk {
                now: self.now,
                ingress: &mut self.ingress,
                outbox: &mut connection.outbox,
                keys: &self.keys,
                back_offs: &mut self.back_offs,
                settings: &self.settings.session,
                duty: self.office.duty(),
            };
            let step = match connection.inbox.next_message() {
                Ok(Some(message)) => connection.session.on_message(message, &mut desk),
                Ok(None) => return,
                Err(frame) => connection.session.on_breach(frame.into(), &mut desk),
            };
            match step {
                Step::Continue => {}
                Step::Claim(request) => self.on_claim(slot, &request),
                Step::Retransmit(request) => self.on_retransmit(slot, &request),
                Step::End => {}
            }
            if self.connections[slot.0].session.ends() {
                self.connections[slot.0].inbox.clear();
                return;
            }
        }
    }

    /// Decides on a client's proven wish to have a session on this connection.
    ///
    /// A firm that recovers from a crash must not wait for its dead connection to time out: the
    /// newer establishment wins. One that is not newer is a recording played back. Versions only grow: of one below
    /// the present it is certain that it is past. One above it may have been opened by another leader, while this
    /// node stood still and does not know yet that it leads no more: only the log says that there is none.
    fn on_claim(&mut self, slot: Slot, request: &Establish) {
        let holder = self.directory.holder(request.session);
        let other = holder.filter(|other| *other != slot);
        let held = other.is_some_and(|other| self.connections[other.0].session.is_claimed());
        let newer = request.timestamp > self.directory.claimed(request.session);
        let version = request
            .version
            .cmp(&self.directory.version(request.session));
        let mut claim = match (version, newer) {
            // A recording of an earlier version must not stand in the owner's way.
            (Ordering::Less, _) => Claim::Refused(EstablishmentRejectCode::Unnegotiated),
            (Ordering::Equal, false) if held => {
                Claim::Refused(EstablishmentRejectCode::AlreadyEstablished)
            }
            (Ordering::Equal, false) => Claim::Refused(EstablishmentRejectCode::Credentials),
            (Ordering::Equal, true) | (Ordering::Greater, _) => Claim::Granted,
        };
        if let Some(other) = other
            && claim == Claim::Granted
        {
            self.with_desk(other, |session, desk| {
                session.on_taken_over(desk);
            });
            // What the old connection owes must reach the engine before the new one is ready.
            if self.connections[other.0].session.owes() {
                claim = Claim::Refused(EstablishmentRejectCode::Busy);
            }
        }
        if claim == Claim::Granted {
            self.connections[slot.0].let_go(slot, &mut self.directory);
            self.connections[slot.0].holds = Some(request.session);
            self.directory
                .hold(request.session, slot, request.timestamp);
        }
        self.with_desk(slot, |session, desk| {
            session.on_claim(request, claim, desk);
        });
        let connection = &mut self.connections[slot.0];
        if !connection.session.is_claimed() {
            // It was granted, and the ring had no room for it.
            connection.let_go(slot, &mut self.directory);
        }
    }

    fn on_retransmit(&mut self, slot: Slot, request: &RetransmitRequest) {
        let place = self.directory.find(request.session, request.from_sequence);
        match place {
            Some((position, opened)) => {
                let answer = Retransmitting::new(request, position, opened);
                self.connections[slot.0].retransmitting = Some(answer);
            }
            None => self.with_desk(slot, |session, desk| {
                session.on_unavailable(request, desk);
            }),
        }
    }

    fn on_lost(&mut self, slot: Slot) {
        self.with_desk(slot, Session::on_lost);
        self.port.close(slot);
        let connection = &mut self.connections[slot.0];
        connection.stage = Stage::Closed;
        connection.outbox.clear();
    }

    fn with_desk<T>(
        &mut self,
        slot: Slot,
        act: impl FnOnce(&mut Session, &mut Desk<'_>) -> T,
    ) -> T {
        let connection = &mut self.connections[slot.0];
        let mut desk = Desk {
            now: self.now,
            ingress: &mut self.ingress,
            outbox: &mut connection.outbox,
            keys: &self.keys,
            back_offs: &mut self.back_offs,
            settings: &self.settings.session,
            duty: self.office.duty(),
        };
        act(&mut connection.session, &mut desk)
    }

    /// Looks at every connection's deadlines, and takes ended ones down step by step.
    fn sweep(&mut self) {
        self.swept_at = self.now;
        self.turns_to_sweep = TURNS_TO_SWEEP;
        for index in (0..self.active.len()).rev() {
            let slot = self.active[index];
            self.with_desk(slot, Session::on_time);
            self.take_down(index, slot);
        }
    }

    fn take_down(&mut self, index: usize, slot: Slot) {
        let now = self.now;
        let connection = &mut self.connections[slot.0];
        if connection.session.ends() {
            // Until the engine was told of the end, nobody may overtake the news.
            if !connection.session.owes() {
                connection.let_go(slot, &mut self.directory);
            }
            connection.retransmitting = None;
        }
        match connection.stage {
            Stage::Open if connection.session.ends() => {
                connection.stage = Stage::Draining(now.after(LINGER));
            }
            Stage::Draining(until) => {
                if connection.outbox.waiting() == 0 {
                    // Closing with bytes unread would reset the connection and could take the
                    // last message with it.
                    self.port.end_writing(slot);
                    connection.stage = Stage::HalfClosed(until);
                } else if now > until {
                    self.on_lost(slot);
                }
            }
            Stage::HalfClosed(until) if now > until => self.on_lost(slot),
            Stage::Closed if !connection.session.owes() => {
                self.active.swap_remove(index);
                self.port.release(slot);
            }
            _ => {}
        }
    }

    fn stop(&mut self) {
        self.now = self.clock.steady();
        for index in 0..self.active.len() {
            let slot = self.active[index];
            self.with_desk(slot, |session, desk| {
                session.on_node_stopping(desk);
            });
        }
        self.write_all();
        for index in 0..self.active.len() {
            self.port.end_writing(self.active[index]);
        }
    }
}

impl<C: Clock> Agent for OrderGateway<C> {
    fn name(&self) -> &'static str {
        "order-gateway"
    }

    fn do_work(&mut self) -> Result<usize, Halt> {
        self.turn().map_err(Halt::new)
    }

    /// Follows the event log to its present end, so that every report can be found again.
    fn on_start(&mut self) -> Result<(), Halt> {
        while self.follow(FOLLOW_BYTES).map_err(Halt::new)? > 0 {}
        Ok(())
    }

    fn on_close(&mut self) {
        self.stop();
    }
}
