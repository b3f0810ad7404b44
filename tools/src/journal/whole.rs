//! A journal together with what it has given up, as one folder that can be read like any other.
//!
//! ```text
//! TEMPORARY/journal/NNN.log    links to the segments in DATA/archive and DATA/journal
//! TEMPORARY/snapshots          a link to those beside the journal
//! ```
//! Used by `replay`, `audit`, `journal dump` and the torture's check.
//!
//! Always holds: nothing is copied, and nothing written beside the journal; of the archive only those segments
//! are taken that the journal goes on from without a gap, and of two for one place the one that came last.
//! Does not: believe them; whoever reads verifies the chain over all.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The folder of what a journal has given up, beside it.
const ARCHIVE: &str = "archive";

/// What the name of a segment ends with.
const SEGMENT: &str = "log";

/// A journal to be read.
#[derive(Debug)]
pub(crate) struct Whole {
    folder: PathBuf,
    /// Segments that were taken from the archive.
    pub(crate) archived: usize,
    /// The links, where there are any.
    _links: Option<tempfile::TempDir>,
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
        let (kept, own) = (segments(&archive)?, segments(&beside)?);
        let taken = before(&kept, &own);
        if taken.is_empty() {
            return Ok(as_it_is());
        }
        let links = link(&beside, &taken, &own)?;
        Ok(Self {
            folder: links.path().join("journal"),
            archived: taken.len(),
            _links: Some(links),
        })
    }

    /// Where it is read.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }
}

/// The segments in a folder by where they begin; of several for one place the last.
fn segments(folder: &Path) -> Result<BTreeMap<u64, PathBuf>> {
    let failed = || format!("cannot look into {}", folder.display());
    let mut found: BTreeMap<u64, (u64, PathBuf)> = BTreeMap::new();
    for entry in fs::read_dir(folder).with_context(failed)? {
        let path = entry.with_context(failed)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let Some((start, life)) = place_and_life(&name) else {
            continue;
        };
        if found.get(&start).is_none_or(|(known, _)| *known < life) {
            found.insert(start, (life, path));
        }
    }
    let newest = found.into_iter();
    Ok(newest.map(|(start, (_, path))| (start, path)).collect())
}

/// Reads `PLACE.log` and `PLACE.LIFE.log`.
fn place_and_life(name: &str) -> Option<(u64, u64)> {
    let (stem, ending) = name.rsplit_once('.')?;
    let (place, life) = stem.split_once('.').unwrap_or((stem, "1"));
    (ending == SEGMENT).then_some(())?;
    Some((place.parse().ok()?, life.parse().ok()?))
}

/// What of the archive lies before a journal, back to the first gap.
fn before<'a>(
    kept: &'a BTreeMap<u64, PathBuf>,
    own: &BTreeMap<u64, PathBuf>,
) -> BTreeMap<u64, &'a PathBuf> {
    let mut taken = BTreeMap::new();
    let Some((first, path)) = own.first_key_value() else {
        return taken;
    };
    // Every segment of a log has the same size.
    let bytes = path.metadata().map_or(0, |file| file.len());
    let mut start = *first;
    while bytes > 0
        && let Some(place) = start.checked_sub(bytes)
        && let Some(path) = kept.get(&place)
    {
        taken.insert(place, path);
        start = place;
    }
    taken
}

/// Makes the links.
fn link(
    journal: &Path,
    taken: &BTreeMap<u64, &PathBuf>,
    own: &BTreeMap<u64, PathBuf>,
) -> Result<tempfile::TempDir> {
    let failed = "cannot make links to the journal and its archive in the system's folder for temporary files";
    let links = tempfile::Builder::new()
        .prefix("exahour-journal-")
        .tempdir();
    let links = links.context(failed)?;
    let folder = links.path().join("journal");
    fs::create_dir(&folder).context(failed)?;
    let own = own.iter().map(|(start, path)| (*start, path));
    for (start, path) in taken.iter().map(|(start, path)| (*start, *path)).chain(own) {
        symlink(path, folder.join(format!("{start:020}.{SEGMENT}"))).context(failed)?;
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
