//! The small files of a data folder: which exchange it is, and the keys of its sessions.
//!
//! Read by `node` at every start, written by it at the first.
//!
//! Always holds: a file is there wholly or not at all, and only its owner may read it.

use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use exahour_gateway::credentials::{KEY_BYTES, Keys};
use exahour_journal::{JournalError, LogId, Verify, inspect};

use crate::error::NodeError;
use crate::genesis::Genesis;

/// Reads which exchange this is, or draws an id for a new one: one that has no journal yet.
pub(crate) fn open_identity(path: &Path, journal: &Path) -> Result<LogId, NodeError> {
    if !path.exists() {
        match inspect(journal, Verify::Trust) {
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
        let id = LogId(random_bytes()?);
        create_file(path, &format!("{id}\n"))?;
    }
    let text = fs::read_to_string(path).map_err(NodeError::io(path, "read"))?;
    let id = u128::from_str_radix(text.trim(), 16)
        .ok()
        .filter(|_| text.trim().len() == 32);
    id.map(|id| LogId(id.to_be_bytes()))
        .ok_or_else(|| NodeError::Identity {
            path: path.to_path_buf(),
        })
}

/// Reads the keys, or draws one for each session of the genesis.
pub(crate) fn open_keys(path: &Path, genesis: &Genesis) -> Result<Keys, NodeError> {
    if !path.exists() {
        let mut text = String::from("# session, key: share each with its owner only\n");
        for session in &genesis.session {
            let key: [u8; KEY_BYTES] = random_bytes()?;
            let hex: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
            text.push_str(&format!("{} {hex}\n", session.id));
        }
        create_file(path, &text)?;
    }
    Ok(Keys::load(path)?)
}

/// Writes a small file that only its owner may read; it is there wholly or not at all.
fn create_file(path: &Path, text: &str) -> Result<(), NodeError> {
    let io = |action| NodeError::io(path, action);
    let draft = path.with_extension(format!("{}.new", std::process::id()));
    let mut options = OpenOptions::new();
    let file = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&draft);
    let mut file = file.map_err(io("create"))?;
    file.write_all(text.as_bytes()).map_err(io("write"))?;
    file.sync_all().map_err(io("flush"))?;
    // Of two first starts at once one names its file, and both read that one.
    let named = fs::hard_link(&draft, path);
    fs::remove_file(&draft).map_err(io("remove the draft of"))?;
    match named {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(io("name")(error)),
        _ => sync_folder_of(path),
    }
}

pub(crate) fn create_folder(path: &Path) -> Result<(), NodeError> {
    if path.as_os_str().is_empty() || path.exists() && !path.is_dir() {
        return Err(NodeError::NoFolder {
            path: path.to_path_buf(),
        });
    }
    let missing: Vec<_> = path.ancestors().take_while(|it| !it.exists()).collect();
    fs::create_dir_all(path).map_err(NodeError::io(path, "create the folder"))?;
    // Everything in a folder is lost with its name.
    for created in missing {
        sync_folder_of(created)?;
    }
    Ok(())
}

/// Flushes the name of a file or folder.
pub(crate) fn sync_folder_of(path: &Path) -> Result<(), NodeError> {
    let named = path.parent().filter(|it| !it.as_os_str().is_empty());
    let folder = named.unwrap_or(Path::new("."));
    fs::File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(NodeError::io(folder, "flush"))
}

/// Bytes that nobody can guess.
pub(crate) fn random_bytes<const N: usize>() -> Result<[u8; N], NodeError> {
    let path = Path::new("/dev/urandom");
    let mut bytes = [0; N];
    let read: io::Result<()> =
        fs::File::open(path).and_then(|mut source| source.read_exact(&mut bytes));
    read.map_err(NodeError::io(path, "read"))?;
    Ok(bytes)
}
