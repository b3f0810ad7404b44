//! The small files of a data folder: which exchange it is, and the keys of its sessions.
//!
//! Read by `node` at every start, written by it at the first.
//!
//! Always holds: a file is there wholly or not at all, and only its owner may read it.

use std::io;
use std::path::Path;

use exahour_gateway::credentials::{KEY_BYTES, Keys};
use exahour_journal::disk::{Disk, Entry, Mode, Open};
use exahour_journal::{JournalError, LogId, Verify, inspect_on};

use crate::config::NodeConfig;
use crate::error::NodeError;

/// Reads which exchange this is. A new one, which has no journal yet, has the id of its cluster, or draws
/// one where the node is alone.
pub(crate) fn open_identity(
    disk: &dyn Disk,
    path: &Path,
    journal: &Path,
    config: &NodeConfig,
) -> Result<LogId, NodeError> {
    if !disk.exists(path) {
        match inspect_on(disk, journal, Verify::Trust) {
            Err(JournalError::Missing { .. }) => {}
            Err(JournalError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(NodeError::log("journal")(error)),
            Ok(recovered) => {
                return Err(NodeError::IdentityLost {
                    path: path.to_path_buf(),
                    id: recovered.log_id.to_string(),
                });
            }
        }
        let id = match &config.cluster {
            Some(cluster) => cluster.key.log_id(),
            None => LogId(random_bytes(disk)?),
        };
        create_file(disk, path, &format!("{id}\n"))?;
    }
    let content = disk.read(path).map_err(NodeError::io(path, "read"))?;
    // What is no text is no identity either.
    let text = String::from_utf8(content).unwrap_or_default();
    let id = u128::from_str_radix(text.trim(), 16)
        .ok()
        .filter(|_| text.trim().len() == 32);
    id.map(|id| LogId(id.to_be_bytes()))
        .ok_or_else(|| NodeError::Identity {
            path: path.to_path_buf(),
        })
}

/// Reads the keys, or makes one for each session of the genesis: drawn where the node is alone, and the
/// same on every node of a cluster.
pub(crate) fn open_keys(
    disk: &dyn Disk,
    path: &Path,
    config: &NodeConfig,
) -> Result<Keys, NodeError> {
    if !disk.exists(path) {
        let mut text = String::from("# session, key: share each with its owner only\n");
        for session in &config.genesis.session {
            let key: [u8; KEY_BYTES] = match &config.cluster {
                Some(cluster) => cluster.key.session_key(session.id),
                None => random_bytes(disk)?,
            };
            let hex: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
            text.push_str(&format!("{} {hex}\n", session.id));
        }
        create_file(disk, path, &text)?;
    }
    Ok(Keys::load_from(disk, path)?)
}

/// Writes a small file that only its owner may read; it is there wholly or not at all.
fn create_file(disk: &dyn Disk, path: &Path, text: &str) -> Result<(), NodeError> {
    let io = |action| NodeError::io(path, action);
    let draft = path.with_extension(format!("{}.new", std::process::id()));
    let file = disk
        .open(&draft, Open::Emptied(Mode::OWNER_FILE))
        .map_err(io("create"))?;
    file.write_all_at(text.as_bytes(), 0).map_err(io("write"))?;
    file.sync_all().map_err(io("flush"))?;
    // Of two first starts at once one names its file, and both read that one.
    let named = disk.link(&draft, path);
    disk.remove(&draft).map_err(io("remove the draft of"))?;
    match named {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(io("name")(error)),
        _ => sync_folder_of(disk, path),
    }
}

/// Makes a folder, and those above it that are missing, durably.
pub(crate) fn create_folder(disk: &dyn Disk, path: &Path) -> Result<(), NodeError> {
    let io = |action| NodeError::io(path, action);
    let stands = disk.entry(path).map_err(io("look at"))?;
    if path.as_os_str().is_empty() || matches!(stands, Some(Entry::File { .. })) {
        return Err(NodeError::NoFolder {
            path: path.to_path_buf(),
        });
    }
    let named = path.ancestors().filter(|it| !it.as_os_str().is_empty());
    let missing: Vec<_> = named.take_while(|it| !disk.exists(it)).collect();
    for folder in missing.into_iter().rev() {
        match disk.create_folder(folder, Mode::FOLDER) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => made.map_err(io("create the folder"))?,
        }
        // Everything in a folder is lost with its name.
        sync_folder_of(disk, folder)?;
    }
    Ok(())
}

/// Makes a folder that is its owner's alone, durably, unless it is there: what is in it tells of everybody.
pub(crate) fn make_own_folder(disk: &dyn Disk, folder: &Path) -> Result<(), NodeError> {
    match disk.create_folder(folder, Mode::OWNER_FOLDER) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        made => made.map_err(NodeError::io(folder, "create the folder"))?,
    }
    // The journal is given up for what is in it, and that is lost with its name: one that is there may be
    // another process's, which ended before it came to this.
    sync_folder_of(disk, folder)
}

/// Flushes the name of a file or folder.
pub(crate) fn sync_folder_of(disk: &dyn Disk, path: &Path) -> Result<(), NodeError> {
    let named = path.parent().filter(|it| !it.as_os_str().is_empty());
    let folder = named.unwrap_or(Path::new("."));
    disk.sync_folder(folder)
        .map_err(NodeError::io(folder, "flush"))
}

/// Bytes that nobody can guess.
pub(crate) fn random_bytes<const N: usize>(disk: &dyn Disk) -> Result<[u8; N], NodeError> {
    let mut bytes = [0; N];
    disk.random_bytes(&mut bytes)
        .map_err(NodeError::io(Path::new("/dev/urandom"), "read"))?;
    Ok(bytes)
}
