//! Views on disk: a header, and what the ports know of the event log up to a frame of it.
//!
//! ```text
//!   0 magic 8       8 format u32     12 zeros u32
//!  16 log's identity 16
//!  32 start of the last frame u64    40 its end u64
//!  48 its last event u64             56 payload bytes u64
//!  64 its header as it stands in the log, 64
//! 128 BLAKE3 of all bytes before this field and of the payload, 32
//! 160 payload
//! ```
//! Little endian. Written to a draft, flushed, and only then given its name.
//!
//! Always holds: views are used only where the event log has the very frame that they end with.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytemuck::{Pod, Zeroable};
use exahour_gateway::views::{Room, VIEWS_FORMAT, Views};
use exahour_journal::disk::{Disk, Open};
use exahour_journal::{FrameHeader, Position, Reader, Verify};

use crate::draft::{Draft, entries};
use crate::error::NodeError;

const MAGIC: [u8; 8] = *b"EXAHVWS1";
const ENDING: &str = "views";

/// The longest payload that is believed before its checksum is known.
const PAYLOAD_BYTES_MAX: u64 = 1 << 36;

/// Where views stand: behind a frame of the event log.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct ViewsPlace {
    /// Where the frame begins.
    pub(crate) frame: Position,
    /// Where it ends.
    pub(crate) end: Position,
    /// The last event in it.
    pub(crate) event: u64,
    /// Its header.
    pub(crate) header: FrameHeader,
}

impl ViewsPlace {
    /// Whether the event log, which may have been cut somewhere and gone on, has the very frame; if not, why.
    pub(crate) fn stands_on(
        &self,
        events: &Reader,
        cut_at: Option<Position>,
    ) -> Result<(), String> {
        if self.end > events.appended() || cut_at.is_some_and(|cut| self.end > cut) {
            return Err("the event log ends before".to_owned());
        }
        let frame = events
            .frame_of(self.header.index, self.frame, Verify::Every)
            .map_err(|error| format!("the event log has no such frame: {error}"))?;
        match *frame.header() == self.header && frame.frame().end() == self.end {
            true => Ok(()),
            false => Err("the event log has another frame there".to_owned()),
        }
    }
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Header {
    magic: [u8; 8],
    format: u32,
    zeros: u32,
    log_id: [u8; 16],
    frame: u64,
    end: u64,
    event: u64,
    payload_bytes: u64,
    last: FrameHeader,
    checksum: [u8; 32],
}

const HEADER_BYTES: usize = size_of::<Header>();
const _: () = assert!(HEADER_BYTES == 160);

impl Header {
    fn sum(&self, payload: &[u8]) -> [u8; 32] {
        let covered = HEADER_BYTES - size_of::<[u8; 32]>();
        let mut hasher = blake3::Hasher::new();
        hasher.update(&bytemuck::bytes_of(self)[..covered]);
        hasher.update(payload);
        *hasher.finalize().as_bytes()
    }

    fn place(&self) -> ViewsPlace {
        ViewsPlace {
            frame: Position::new(self.frame),
            end: Position::new(self.end),
            event: self.event,
            header: self.last,
        }
    }
}

/// The views in a folder, oldest first; none where there is no folder.
pub(super) fn list(disk: &dyn Disk, folder: &Path) -> Result<Vec<PathBuf>, NodeError> {
    entries(disk, folder, ENDING)
}

/// Where a file says that its views stand, without a look at what it holds; if that cannot be read, why.
pub(super) fn place_of(disk: &dyn Disk, path: &Path) -> Result<ViewsPlace, String> {
    read_header(disk, path).map(|(header, _)| header.place())
}

/// Reads and verifies views of the log of this identity; what is wrong with them, in words.
pub(super) fn read(
    disk: &dyn Disk,
    path: &Path,
    log_id: [u8; 16],
    room: Room,
) -> Result<(Views, ViewsPlace), String> {
    let (header, payload) = read_checked(disk, path)?;
    if header.log_id != log_id {
        return Err("they are of another exchange".to_owned());
    }
    let views = Views::read(&payload, room).ok_or("they are not in this program's form")?;
    let place = header.place();
    match views.position() == place.end && views.last_event().0 == place.event {
        true => Ok((views, place)),
        false => Err("they are of another place than they say".to_owned()),
    }
}

/// What is wrong with a file, in words, whatever it stands on.
pub(super) fn fault(disk: &dyn Disk, path: &Path) -> Option<String> {
    read_checked(disk, path).err()
}

/// A file whose checksum is right: its header, and what follows.
fn read_checked(disk: &dyn Disk, path: &Path) -> Result<(Header, Vec<u8>), String> {
    let (header, stated) = read_header(disk, path)?;
    let file = disk
        .open(path, Open::Read)
        .map_err(|error| error.to_string())?;
    let mut payload = vec![0; stated];
    file.read_exact_at(&mut payload, HEADER_BYTES as u64)
        .map_err(|error| error.to_string())?;
    match header.sum(&payload) == header.checksum {
        true => Ok((header, payload)),
        false => Err("their checksum is wrong".to_owned()),
    }
}

/// The header, and how many bytes follow it.
fn read_header(disk: &dyn Disk, path: &Path) -> Result<(Header, usize), String> {
    let file = disk
        .open(path, Open::Read)
        .map_err(|error| error.to_string())?;
    let mut header = Header::zeroed();
    file.read_exact_at(bytemuck::bytes_of_mut(&mut header), 0)
        .map_err(|error| format!("their header cannot be read: {error}"))?;
    if header.magic != MAGIC || header.format != VIEWS_FORMAT {
        return Err("they are not in this program's form".to_owned());
    }
    let there = file.bytes().map_err(|error| error.to_string())?;
    let stated = header.payload_bytes;
    if stated > PAYLOAD_BYTES_MAX || there != HEADER_BYTES as u64 + stated {
        return Err("their length is not what their header says".to_owned());
    }
    Ok((header, stated as usize))
}

/// Begins to write views that stand between two commands.
pub(super) fn begin(
    (disk, folder): (&Arc<dyn Disk>, &Path),
    views: &Views,
    place: &ViewsPlace,
    log_id: [u8; 16],
) -> Result<Draft<Vec<u8>>, NodeError> {
    let payload = views.write();
    let mut header = Header {
        magic: MAGIC,
        format: VIEWS_FORMAT,
        zeros: 0,
        log_id,
        frame: place.frame.value(),
        end: place.end.value(),
        event: place.event,
        payload_bytes: payload.len() as u64,
        last: place.header,
        checksum: [0; 32],
    };
    header.checksum = header.sum(&payload);
    let named = folder.join(format!("{:020}.{ENDING}", place.event));
    let header = bytemuck::bytes_of(&header).to_vec();
    Draft::begin(disk, named, (header, payload))
}
