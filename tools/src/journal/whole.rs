//! A journal together with what it has given up, as one folder that can be read like any other.
//!
//! ```text
//! TEMPORARY/journal/NNN.log    links to the segments in DATA/archive, and to those of DATA/journal as they are open
//! TEMPORARY/snapshots          a link to those beside the journal
//! ```
//! Used by `replay`, `audit`, `journal dump` and the torture's check.
//!
//! Always holds: nothing is copied, and nothing written beside the journal; of the archive only those segments
//! are taken that the journal goes on from without a gap, by their running hash. A node may run: its own segments
//! are held open before the archive is looked at, so one that moves meanwhile is read all the same.
//! Does not: believe them; whoever reads verifies the chain over all.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use exahour_journal::{Position, leading_to};

/// The folder of what a journal has given up, beside it.
const ARCHIVE: &str = "archive";

/// How often a journal is looked at whose segments move meanwhile.
const LOOKS_MAX: usize = 100;

/// A journal to be read.
#[derive(Debug)]
pub(crate) struct Whole {
    folder: PathBuf,
    /// Segments that were taken from the archive.
    pub(crate) archived: usize,
    /// The links, where there are any, and what they lead to.
    _links: Option<(tempfile::TempDir, Vec<File>)>,
}

impl Whole {
    /// The journal in `folder`, with what is beside it in an archive.
    ///
    /// # Errors
    /// Where it cannot be looked at, or links cannot be made.
    pub(crate) fn of(folder: &Path) -> Result<Self> {
        let beside = folder.canonicalize();
        let beside = beside.with_context(|| format!("cannot look into {}", folder.display()))?;
        let archive = beside.parent().unwrap_or(Path::new("/")).join(ARCHIVE);
        let as_it_is = || Self {
            folder: folder.to_path_buf(),
            archived: 0,
            _links: None,
        };
        if !archive.is_dir() {
            return Ok(as_it_is());
        }
        let own = open_segments(&beside)?;
        let Some((_, (first, _))) = own.first_key_value() else {
            return Ok(as_it_is());
        };
        let taken = leading_to(&archive, first).context("archive")?;
        if taken.is_empty() {
            return Ok(as_it_is());
        }
        let links = link(&beside, &taken, &own)?;
        let held = own.into_values().map(|(_, file)| file).collect();
        Ok(Self {
            folder: links.path().join("journal"),
            archived: taken.len(),
            _links: Some((links, held)),
        })
    }

    /// Where it is read.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }
}

/// The segments of a journal by where they begin, each as this process can still reach it where a node has taken its
/// name away.
///
/// One that goes while this is looked at belongs to the archive by now: all are looked at again.
fn open_segments(folder: &Path) -> Result<BTreeMap<u64, (PathBuf, File)>> {
    let failed = || format!("cannot look into {}", folder.display());
    for _ in 0..LOOKS_MAX {
        match try_open_segments(folder) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            opened => return opened.with_context(failed),
        }
    }
    bail!("{}: segments go faster than they can be opened", failed())
}

fn try_open_segments(folder: &Path) -> io::Result<BTreeMap<u64, (PathBuf, File)>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let Some(start) = place_of(&path) else {
            continue;
        };
        let file = File::open(&path)?;
        let held = Path::new("/proc/self/fd").join(file.as_raw_fd().to_string());
        found.insert(start, (held, file));
    }
    Ok(found)
}

/// Reads `PLACE.log`.
fn place_of(path: &Path) -> Option<u64> {
    let name = path.file_name()?.to_str()?;
    name.strip_suffix(".log")?.parse().ok()
}

/// Makes the links.
fn link(
    journal: &Path,
    taken: &[(Position, PathBuf)],
    own: &BTreeMap<u64, (PathBuf, File)>,
) -> Result<tempfile::TempDir> {
    let failed = "cannot make links to the journal and its archive in the system's folder for temporary files";
    let links = tempfile::Builder::new()
        .prefix("exahour-journal-")
        .tempdir();
    let links = links.context(failed)?;
    let folder = links.path().join("journal");
    fs::create_dir(&folder).context(failed)?;
    let own = own.iter().map(|(start, (path, _))| (*start, path));
    let taken = taken.iter().map(|(start, path)| (start.value(), path));
    for (start, path) in taken.chain(own) {
        symlink(path, folder.join(format!("{start:020}.log"))).context(failed)?;
    }
    let control = journal.join("control");
    if control.exists() {
        symlink(&control, folder.join("control")).context(failed)?;
    }
    let snapshots = journal.with_file_name("snapshots");
    if snapshots.exists() {
        symlink(&snapshots, links.path().join("snapshots")).context(failed)?;
    }
    Ok(links)
}
