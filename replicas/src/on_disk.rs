//! What a node keeps on disk, opened: logs, promises, keys, and the newest snapshot.
//!
//! ```text
//! DATA/
//!   journal/      the commands: the raft log, the audit log, the only truth
//!   archive/      what the journal has given up, where it is to be kept
//!   events/       what they gave; derived, and written again by replay where it is lost
//!   raft-state    what this node has promised to its peers
//!   snapshots/    states at some places of the journal: what a start need not replay
//!   views/        what the ports know at some places of the events: what a start need not read
//!   identity      which exchange this is: every log of it carries the same id
//!   keys          the sessions' keys, readable by the owner only
//! ```
//! Opened by `node` at every start, created by it at the first.
//!
//! Always holds: nothing is drawn or begun anew beside an old journal without a word; an event log that
//! tells of more than the journal has is refused, unless a loss of power explains it, and so is a folder whose
//! journal is gone.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use exahour_engine::Capacity;
use exahour_gateway::credentials::Keys;
use exahour_gateway::views::{Room, Views};
use exahour_journal::disk::{Disk, Mode};
use exahour_journal::{
    Appender, Chain, Config as LogConfig, FlushBody, Flusher, Journal, LogId, MachineRun, OnDamage,
    Position, Reader, Stager, Verify,
};
use exahour_rings::{Producer, WatermarkReader};
use exahour_wire::codes::Durability;
use exahour_wire::ids::CommandSequence;
use exahour_wire::units::Nanos;

use crate::config::NodeConfig;
use crate::data_folder::{create_folder, open_identity, open_keys, random_bytes};
use crate::error::NodeError;
use crate::event_log::EventLog;
use crate::hard_state::{Base, HardStateFile, Promises};
use crate::install::install;
use crate::members::{Member, Members, NodeId};
use crate::snapshots::{self, EventsBefore, SnapshotAgent, SnapshotSettings, Standing, Start};
use crate::storage::{JournalStorage, LogEnd};
use crate::views::{self, Begun, Check, ViewKeeper, ViewSettings, Wanted};
use crate::world::World;

/// The folder of the journal in a data folder.
pub(crate) const JOURNAL: &str = "journal";

/// The folder of the event log in a data folder.
pub(crate) const EVENTS: &str = "events";

/// The folder of what the journal has given up in a data folder.
const ARCHIVE: &str = "archive";

/// The file of promises in a data folder.
pub(crate) const PROMISES: &str = "raft-state";

/// The id of the only member of a group of one.
pub(crate) const ALONE: NodeId = NodeId(1);

/// Why a part of an event log that is whole is set aside.
const MAY_BE_LOST: &str = "what follows may be of commands that were lost";

/// How often it is looked whether the snapshots are still there that the journal gives up its beginning for.
const LOOK_FOR_SNAPSHOTS_EVERY: Nanos = Nanos(1_000_000_000);

/// A part of the feed's history is made again at a start: this many bytes of it for one of events.
const HISTORY_TO_BACK: u64 = 4;

/// How a node came back.
#[derive(Clone, Debug, Default)]
pub struct Recovery {
    /// The last command that a snapshot spared replaying; zero where the whole journal is replayed.
    pub snapshot_command: u64,
    /// The last event that the ports did not read again; zero where they read all of them.
    pub views_event: u64,
    /// Snapshots that were passed over, each in a sentence.
    pub notices: Vec<String>,
}

/// Everything of one data folder.
pub(crate) struct OnDisk {
    log_id: LogId,
    /// Whether a snapshot from another node was put in place, with the events behind it.
    installed: bool,
    pub(crate) storage: JournalStorage,
    pub(crate) flusher: Flusher,
    /// Of the journal, and of the event log.
    pub(crate) stagers: Vec<Stager>,
    /// Where the journal ends.
    pub(crate) end: LogEnd,
    pub(crate) keys: Keys,
    pub(crate) keys_path: PathBuf,
    pub(crate) event_log: EventLog,
    /// As configured, with a seed of this start.
    pub(crate) capacity: Capacity,
    /// The newest snapshot that can be used.
    pub(crate) start: Option<Start>,
    /// Takes the next ones.
    pub(crate) snapshots: SnapshotAgent,
    /// What the ports begin with, where they need not read the whole event log.
    pub(crate) views: Option<Views>,
    pub(crate) recovery: Recovery,
}

impl OnDisk {
    /// Opens what is there, or creates it; `wanted` counts the snapshots that operators ask for. A node of a
    /// cluster whose journal begins behind a snapshot that is gone sets that journal aside, and has
    /// everything again from the others. Events that may be of commands which were lost are set aside, down to
    /// those that the snapshot stands for: the journal gives the rest again.
    ///
    /// # Errors
    /// [`NodeError`]; nothing on disk is lost then.
    pub(crate) fn open(
        config: &NodeConfig,
        world: &World,
        wanted: WatermarkReader,
    ) -> Result<Self, NodeError> {
        let mut opened = match Self::open_as_it_is(config, world, wanted.clone()) {
            Err(NodeError::SnapshotMissing { .. }) if has_again(config, world)? => {
                let journal = journal_config(&world.disk, config)?;
                Journal::set_aside(&journal, "the snapshot that it begins behind is gone")
                    .map_err(NodeError::log("journal"))?;
                Self::open_as_it_is(config, world, wanted.clone())
            }
            opened => opened,
        }?;
        if opened.tells_of_what_may_be_lost() {
            opened.storage.set_events_doubtful(true)?;
            drop(opened);
            opened = Self::open_as_it_is(config, world, wanted.clone())?;
        }
        if opened.storage.promises().events_doubtful {
            let events = events_config(&world.disk, config, opened.log_id);
            if let Some(index) = opened.first_doubtful(&events)? {
                drop(opened);
                Journal::set_aside_from(&events, index, MAY_BE_LOST)
                    .map_err(NodeError::log("event log"))?;
                opened = Self::open_as_it_is(config, world, wanted)?;
            }
            opened.storage.set_events_doubtful(false)?;
        }
        Ok(opened)
    }

    /// Whether there are events of commands that this node's journal has lost to damage. The others may have lost them
    /// too, and go on with other commands. What came with a snapshot just now is of the history that they go on with.
    fn tells_of_what_may_be_lost(&self) -> bool {
        let ahead = self.event_log.last_command() >= self.end.next;
        ahead && self.storage.forgetful() && !self.installed
    }

    /// The first frame of the event log behind what the snapshot stands for.
    fn first_doubtful(&self, events: &LogConfig) -> Result<Option<u64>, NodeError> {
        let known = self.start.as_ref().map_or(0, |start| start.place.events);
        let reader = follow(&events.disk, &events.dir, "event log")?;
        let frame = self.event_log.frame_behind(known, &reader);
        frame.map_err(NodeError::log("event log"))
    }

    fn open_as_it_is(
        config: &NodeConfig,
        world: &World,
        wanted: WatermarkReader,
    ) -> Result<Self, NodeError> {
        let (data, disk) = (&config.data, &world.disk);
        let promised = check_folder(disk.as_ref(), config)?;
        create_folder(disk.as_ref(), data)?;
        make_archive(disk.as_ref(), config)?;
        let mut journal = open_journal(disk, config)?;
        let reader = follow(disk, &data.join(JOURNAL), "journal")?;
        check_promised(config, promised, journal.appender.last_index())?;
        let mut promises = open_promises(config, world)?;
        remember_losses(config, promised, &journal, &mut promises)?;
        let doubtful = promises.kept().events_doubtful;
        if !begins_at(&promises.kept().base, &journal.appender) {
            promises.begin_at_the_first()?;
        }
        let events = events_config(disk, config, journal.recovered.log_id);
        let place = (data.as_path(), &events);
        let installed = install(place, &mut journal, &reader, &mut promises, config.notice)?;
        if let Some(index) = installed {
            (config.notice)(&format!(
                "this node goes on behind entry {index}, from a snapshot"
            ));
        }
        let first = journal.appender.first_index();
        let gives_all = config.journal_keep_bytes == 0 && first.is_none_or(|index| index == 1);
        if doubtful {
            // They may stand on what is about to be set aside.
            views::remove_all(disk.as_ref(), &data.join(views::FOLDER))?;
        }
        let (events, views, keeper) = open_events(events, config, gives_all)?;
        let ahead = doubtful || promises.kept().forgetful || promises.kept().base.index > 0;
        let (standings_in, standings_out) = snapshots::standings();
        let mut storage = JournalStorage::new(journal.appender, reader, promises, standings_out);
        let end = storage.log_end().map_err(NodeError::log("journal"))?;
        let keys_path = data.join("keys");
        let keyed = disk.exists(&keys_path);
        if end.next > CommandSequence(1) {
            tell_recovery(config, end.next.0 - 1, promised, keyed);
        }
        let keys = open_keys(disk.as_ref(), &keys_path, config)?;
        let event_log = open_event_log(disk, config, events.appender, end, ahead)?;
        storage.know_told(event_log.last_command());
        let capacity = Capacity {
            index_seed: u64::from_le_bytes(random_bytes(disk.as_ref())?),
            ..config.capacity
        };
        let (start, snapshots, mut recovery) = open_snapshots(
            (config, world),
            capacity,
            (&event_log, events.flusher, keeper),
            (wanted, standings_in),
        )?;
        let stands_behind = start.as_ref().map_or(0, |start| start.place.index);
        if stands_behind < storage.begins_behind() {
            recovery.notices.iter().for_each(|it| (config.notice)(it));
            return Err(why_no_start(config, disk, &storage, event_log.last())?);
        }
        storage.know_committed(stands_behind);
        // Raft speaks of what comes after that only, which may be nothing for long.
        storage
            .publish_commit(stands_behind)
            .map_err(NodeError::log("journal"))?;
        recovery.views_event = views.as_ref().map_or(0, |it| it.last_event().0);
        Ok(Self {
            log_id: journal.recovered.log_id,
            installed: installed.is_some(),
            storage,
            flusher: journal.flusher,
            stagers: vec![journal.stager, events.stager],
            end,
            keys,
            keys_path,
            event_log,
            capacity,
            start,
            snapshots,
            views,
            recovery,
        })
    }
}

/// Whether the journal still begins behind this base: one that was cut before its restart mark, or set aside,
/// does not.
fn begins_at(base: &Base, journal: &Appender) -> bool {
    match journal.first_index() {
        Some(first) => first > base.index,
        None => journal.last_index() == base.index,
    }
}

/// Why nothing leads to the place that the journal begins behind.
fn why_no_start(
    config: &NodeConfig,
    disk: &Arc<dyn Disk>,
    storage: &JournalStorage,
    last: u64,
) -> Result<NodeError, NodeError> {
    let index = storage.begins_behind();
    let folder = config.data.join(snapshots::FOLDER);
    let reader = follow(disk, &config.data.join(JOURNAL), "journal")?;
    let short = snapshots::any_short_of_events((disk.as_ref(), &folder), &reader, last)?;
    // The journal is whole then, and what this node has acknowledged with it.
    Ok(match short {
        true => NodeError::EventsMissing {
            path: config.data.join(EVENTS),
            last,
            index,
        },
        false => NodeError::SnapshotMissing { index },
    })
}

/// Whether others have what only a snapshot that is gone stood for here. A snapshot that another version of
/// this program can use is not gone.
fn has_again(config: &NodeConfig, world: &World) -> Result<bool, NodeError> {
    let (disk, folder) = (world.disk.as_ref(), config.data.join(snapshots::FOLDER));
    Ok(has_peers(disk, config)? && !snapshots::any_of_another_format(disk, &folder)?)
}

/// Refuses a folder that has lost something; whether there are promises in it.
fn check_folder(disk: &dyn Disk, config: &NodeConfig) -> Result<bool, NodeError> {
    let (journal, promises) = (config.data.join(JOURNAL), config.data.join(PROMISES));
    let promised = HardStateFile::stands(disk, &promises)?;
    let journaled = disk.exists(&journal) && holds_a_log(disk, &journal)?;
    if promised && !journaled {
        return Err(match &config.cluster {
            None => NodeError::JournalLost {
                path: journal,
                promises,
            },
            Some(cluster) => NodeError::PartLost {
                path: journal,
                node: cluster.node,
            },
        });
    }
    match &config.cluster {
        Some(cluster) if !promised && cluster.founds() && !cluster.founding => {
            Err(match journaled {
                true => NodeError::PartLost {
                    path: promises,
                    node: cluster.node,
                },
                false => NodeError::EmptyFolder {
                    path: config.data.clone(),
                    node: cluster.node,
                },
            })
        }
        _ => Ok(promised),
    }
}

/// Whether a folder has anything of a log in it: where it is a place of another disk that is not there, it is
/// empty.
fn holds_a_log(disk: &dyn Disk, folder: &Path) -> Result<bool, NodeError> {
    let listed = disk.list(folder).map_err(NodeError::io(folder, "list"))?;
    Ok(listed.iter().any(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.ends_with(".log") || name.starts_with("damaged-") || name == "control"
    }))
}

/// Refuses a journal of a cluster beside which the promises are gone. They are made last, so a first start
/// that was cut short leaves a journal that is empty.
fn check_promised(config: &NodeConfig, promised: bool, last: u64) -> Result<(), NodeError> {
    match &config.cluster {
        Some(cluster) if !promised && last > 0 => Err(NodeError::PartLost {
            path: config.data.join(PROMISES),
            node: cluster.node,
        }),
        _ => Ok(()),
    }
}

/// Opens what the node has promised; a new one has promised nothing.
fn open_promises(config: &NodeConfig, world: &World) -> Result<HardStateFile, NodeError> {
    let founders = match &config.cluster {
        Some(cluster) => cluster.founders.clone(),
        None => vec![Member {
            id: ALONE,
            peers: SocketAddr::from(([0, 0, 0, 0], 0)),
            orders: config.listen.orders,
        }],
    };
    let new = Promises {
        incarnation: u64::from_le_bytes(world.random_bytes()?),
        members: Members::founders(&founders),
        ..Promises::default()
    };
    let path = config.data.join(PROMISES);
    let promises = HardStateFile::open(world.disk.as_ref(), &path, &new)?;
    if promises.mended() {
        (config.notice)(&format!(
            "one of the two copies in {} was not whole, and was made again from the other: nothing is lost. Unless the \
             power was cut while it was written, find out what became of the disk",
            path.display()
        ));
    }
    Ok(promises)
}

/// Writes down that a node may have lost what it acknowledged, before it speaks to anybody: by damage to its
/// journal, or with the machine where nothing waits for the disk.
fn remember_losses(
    config: &NodeConfig,
    promised: bool,
    journal: &Journal,
    promises: &mut HardStateFile,
) -> Result<(), NodeError> {
    let recovered = &journal.recovered;
    let restarted = recovered.run == MachineRun::Another;
    // How it ran counts, not how it will.
    let unflushed = restarted && promised && promises.kept().replicated;
    if unflushed {
        // Clients were told of what was only in memory.
        promises.set_events_doubtful(true)?;
    }
    let own = config.cluster.as_ref().map_or(ALONE, |it| it.node);
    let alone = promises.kept().members.alone(own.0);
    if !alone && (recovered.damage.is_some() || unflushed) {
        promises.set_forgetful(true)?;
    }
    promises.set_replicated(config.durability == Durability::Replicated)?;
    if let Some(damage) = &recovered.damage {
        (config.notice)(&format!(
            "the journal is damaged at position {} ({}): from entry {} on it is had again from the \
             others, and until then this node does not vote; what was there is kept in \
             {}/{JOURNAL}/damaged-{:020}",
            damage.position,
            damage.why,
            damage.index,
            config.data.display(),
            damage.position.value()
        ));
    }
    journal.told().map_err(NodeError::log("journal"))
}

/// A reader of a log that is being written.
fn follow(disk: &Arc<dyn Disk>, path: &Path, log: &'static str) -> Result<Reader, NodeError> {
    Reader::follow_on(disk, path, Verify::Trust).map_err(NodeError::log(log))
}

/// Whether there are others who have what this node loses.
fn has_peers(disk: &dyn Disk, config: &NodeConfig) -> Result<bool, NodeError> {
    let Some(cluster) = &config.cluster else {
        return Ok(false);
    };
    let promises = config.data.join(PROMISES);
    let members = match HardStateFile::stands(disk, &promises)? {
        true => HardStateFile::peek(disk, &promises)?.members,
        false => Members::founders(&cluster.founders),
    };
    Ok(!members.alone(cluster.node.0))
}

/// Makes the folder of what the journal gives up: it tells of everybody, so it is its owner's alone.
fn make_archive(disk: &dyn Disk, config: &NodeConfig) -> Result<(), NodeError> {
    let archive = config.data.join(ARCHIVE);
    if !config.journal_archive || disk.exists(&archive) {
        return Ok(());
    }
    disk.create_folder(&archive, Mode::OWNER_FOLDER)
        .map_err(NodeError::io(&archive, "create the folder"))?;
    disk.sync_folder(&config.data)
        .map_err(NodeError::io(&config.data, "flush"))
}

fn open_journal(disk: &Arc<dyn Disk>, config: &NodeConfig) -> Result<Journal, NodeError> {
    let journal = journal_config(disk, config)?;
    Journal::open_or_create(&journal).map_err(NodeError::log("journal"))
}

fn journal_config(disk: &Arc<dyn Disk>, config: &NodeConfig) -> Result<LogConfig, NodeError> {
    let path = config.data.join(JOURNAL);
    let identity = config.data.join("identity");
    let log_id = open_identity(disk.as_ref(), &identity, &path, config)?;
    let mut journal = LogConfig::new(&path, log_id).with_segment_bytes(config.segment_bytes);
    journal.disk = Arc::clone(disk);
    journal.flush = config.flush;
    journal.archive = config.journal_archive.then(|| config.data.join(ARCHIVE));
    journal.on_damage = match has_peers(disk.as_ref(), config)? {
        false => OnDamage::Refuse,
        true => OnDamage::SetAside,
    };
    Ok(journal)
}

fn events_config(disk: &Arc<dyn Disk>, config: &NodeConfig, log_id: LogId) -> LogConfig {
    let path = config.data.join(EVENTS);
    let mut events = LogConfig::new(&path, log_id).with_segment_bytes(config.segment_bytes);
    events.disk = Arc::clone(disk);
    events.chain = Chain::Off;
    events.flush = FlushBody::Map;
    events.on_damage = OnDamage::SetAside;
    events
}

/// Opens the log of what the commands in `journal` gave, and finds what the ports begin with. One that is damaged is
/// cut there: the journal gives what stood behind it again. What stands before the views is not looked at now,
/// unless nobody has looked at it since an earlier start did not, and the journal could mend it.
///
/// `gives_all`: whether the journal gives every event again.
fn open_events(
    mut events: LogConfig,
    config: &NodeConfig,
    gives_all: bool,
) -> Result<(Journal, Option<Views>, ViewKeeper), NodeError> {
    let (disk, path) = (&Arc::clone(&events.disk), events.dir.clone());
    let folder = config.data.join(views::FOLDER);
    let wanted = wanted_views(disk, config, (&folder, &path), events.log_id.0);
    let opened = views::open_folder(disk.as_ref(), &config.data);
    let found = spared(config, opened.and_then(|_| wanted.find())).flatten();
    let believe = |begun: &Begun| {
        let noted = views::set_unchecked(disk.as_ref(), &folder, true);
        spared(config, noted).map(|()| begun.place.frame)
    };
    // Damage that the journal cannot mend is not looked for: it may be in a part that nobody asks for.
    if let Some(begun) = &found
        && !(gives_all && views::unchecked(disk.as_ref(), &folder))
    {
        events.believed_before = believe(begun).unwrap_or(Position::ZERO);
    }
    let open = |events: &LogConfig| open_log_of_events(config, events, &folder);
    let mut opened = open(&events)?;
    let reader = follow(disk, &path, "event log")?;
    let (mut begun, mut believed) = (found, events.believed_before);
    let cut_at = opened.recovered.damage.as_ref().map(|it| it.position);
    if let Some(Begun { place, .. }) = &begun
        && let Err(reason) = place.stands_on(&reader, cut_at)
    {
        (config.notice)(&format!("the views of the ports are not used: {reason}"));
        views::remove_all(disk.as_ref(), &folder)?;
        drop(opened);
        (begun, believed) = (None, Position::ZERO);
        events.believed_before = believed;
        opened = open(&events)?;
    }
    let check = match believed > Position::ZERO {
        true => Some(Check::new(disk, &path, (believed, gives_all))?),
        false => {
            spared(config, views::set_unchecked(disk.as_ref(), &folder, false));
            None
        }
    };
    let settings = ViewSettings {
        disk: Arc::clone(disk),
        folder,
        events: path,
        back: back_of(config),
        notice: config.notice,
    };
    let keeper = ViewKeeper::new(settings, check);
    Ok((opened, begun.map(|it| it.views), keeper))
}

/// What came of something that has to do with views. They may go at any time, so where it fails the start goes on
/// without, and says so.
fn spared<T>(config: &NodeConfig, tried: Result<T, NodeError>) -> Option<T> {
    tried
        .inspect_err(|error| {
            (config.notice)(&format!("the views of the ports are not used: {error}"))
        })
        .ok()
}

fn wanted_views<'a>(
    disk: &'a Arc<dyn Disk>,
    config: &NodeConfig,
    (folder, events): (&'a Path, &'a Path),
    log_id: [u8; 16],
) -> Wanted<'a> {
    Wanted {
        disk,
        folder,
        events,
        log_id,
        room: Room {
            history_bytes: config.sessions.market_data_history_bytes,
            // As many orders may rest as live at all.
            orders: config.capacity.orders as usize,
        },
        back: back_of(config),
        notice: config.notice,
    }
}

/// Bytes of events that ports read again at a start at least, so that who was a little behind in the feed finds what
/// it missed.
fn back_of(config: &NodeConfig) -> u64 {
    config.sessions.market_data_history_bytes as u64 / HISTORY_TO_BACK
}

/// Opens the event log. What is cut for damage takes the views with it, before it is forgotten that it was.
fn open_log_of_events(
    config: &NodeConfig,
    events: &LogConfig,
    folder: &Path,
) -> Result<Journal, NodeError> {
    let opened = Journal::open_or_create(events).map_err(NodeError::log("event log"))?;
    if let Some(damage) = &opened.recovered.damage {
        let cut = match damage.why == MAY_BE_LOST {
            true => "cut",
            false => "damaged",
        };
        (config.notice)(&format!(
            "the event log is {cut} at position {} ({}): what follows is written again from the journal; what \
             was there is kept in {}/{EVENTS}/damaged-{:020}",
            damage.position,
            damage.why,
            config.data.display(),
            damage.position.value()
        ));
        views::remove_all(events.disk.as_ref(), folder)?;
    }
    opened.told().map_err(NodeError::log("event log"))?;
    Ok(opened)
}

/// Opens the event log, which tells of nothing that the journal does not have; a node that lost a part of
/// its journal gets that again, and the same events with it.
fn open_event_log(
    disk: &Arc<dyn Disk>,
    config: &NodeConfig,
    appender: Appender,
    end: LogEnd,
    ahead: bool,
) -> Result<EventLog, NodeError> {
    let path = config.data.join(EVENTS);
    let reader = follow(disk, &path, "event log")?;
    let event_log = EventLog::new(appender, &reader).map_err(NodeError::log("event log"))?;
    let told = event_log.last_command();
    // They may have come with a snapshot, and the journal gets from its peers what they are of; or they are cut.
    if told >= end.next && !ahead {
        return Err(NodeError::EventsAhead {
            path,
            told: told.0,
            last: end.next.0 - 1,
        });
    }
    Ok(event_log)
}

/// Finds the newest snapshot before which no event came that the event log does not have, and what takes
/// the next one.
fn open_snapshots(
    (config, world): (&NodeConfig, &World),
    capacity: Capacity,
    (event_log, flusher, keeper): (&EventLog, Flusher, ViewKeeper),
    marks: (WatermarkReader, Producer<Standing>),
) -> Result<(Option<Start>, SnapshotAgent, Recovery), NodeError> {
    let disk = &world.disk;
    let folder = snapshots::open_folder(disk.as_ref(), &config.data)?;
    let journal = config.data.join(JOURNAL);
    let reader = follow(disk, &journal, "journal")?;
    let found = snapshots::newest(
        (disk.as_ref(), &folder),
        &reader,
        event_log.last(),
        &capacity,
    )?;
    let place = found.start.as_ref().map(|start| start.place);
    let settings = SnapshotSettings {
        disk: Arc::clone(disk),
        folder,
        journal,
        journal_bytes: config.snapshots.journal_bytes,
        keep: config.snapshots.keep,
        capacity,
        look_every: (config.journal_keep_bytes > 0).then_some(LOOK_FOR_SNAPSHOTS_EVERY),
        clock: (world.clocks)(),
        notice: config.notice,
    };
    let recovery = Recovery {
        snapshot_command: place.map_or(0, |place| place.command),
        views_event: 0,
        notices: found.passed_over,
    };
    let events = EventsBefore {
        written: follow(disk, &config.data.join(EVENTS), "event log")?,
        flusher,
    };
    let agent = SnapshotAgent::new(settings, (reader, events, keeper), place.as_ref(), marks);
    Ok((found.start, agent, recovery))
}

/// Tells an operator what a start on an old journal does, and which files it has to begin anew.
fn tell_recovery(config: &NodeConfig, commands: u64, promised: bool, keyed: bool) {
    let data = config.data.display();
    (config.notice)(&format!(
        "recovering {commands} commands from {data}/{JOURNAL}"
    ));
    if !promised {
        (config.notice)(&format!(
            "{data}/raft-state is missing: a node that is alone has promised nothing to others, so it \
             is begun anew"
        ));
    }
    if !keyed {
        (config.notice)(&format!(
            "{data}/keys is missing: new keys are drawn for the sessions of the genesis; give them to \
             their owners, and add those of other sessions"
        ));
    }
}
