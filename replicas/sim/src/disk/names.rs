//! The names on a simulated disk: the folders as programs see them, and as a power cut would leave them.
//!
//! Asked by the disk for every call that names a file.
//!
//! Always holds: a name whose folder was flushed since it changed last is kept; a change of two names is kept
//! whole or not at all; of two changes of one name the later is not kept without the earlier. A folder keeps what
//! is in it whatever it is called. Does not: keep unflushed changes in the order in which they were made: some file
//! systems do, others only where two of them are of one name.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Component, Path, PathBuf};

use crate::chance::Chance;

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Named {
    /// A file, by its place.
    File(usize),
    /// A folder, by its place.
    Folder(usize),
}

/// The folder in which all others are.
const ROOT: usize = 0;

/// The names in each folder. One that nothing leads to has no path.
#[derive(Clone, Debug)]
pub(super) struct Tree(Vec<BTreeMap<OsString, Named>>);

impl Tree {
    /// What stands at a path.
    pub(super) fn at(&self, path: &Path) -> Option<Named> {
        let mut found = Named::Folder(ROOT);
        for part in path.components() {
            if let Component::Normal(name) = part {
                found = self.in_folder(found)?.get(name).copied()?;
            }
        }
        Some(found)
    }

    /// The file of a path.
    pub(super) fn file_at(&self, path: &Path) -> Option<usize> {
        match self.at(path) {
            Some(Named::File(file)) => Some(file),
            _ => None,
        }
    }

    /// The paths in a folder, in order, where there is one.
    pub(super) fn list(&self, folder: &Path) -> Option<Vec<PathBuf>> {
        let inside = self.in_folder(self.at(folder)?)?;
        Some(inside.keys().map(|name| folder.join(name)).collect())
    }

    /// Every file that a path leads to, with that path.
    pub(super) fn files(&self) -> Vec<(PathBuf, usize)> {
        let (mut files, mut folders) = (Vec::new(), vec![(PathBuf::from("/"), ROOT)]);
        while let Some((path, folder)) = folders.pop() {
            for (name, named) in &self.0[folder] {
                match named {
                    Named::File(file) => files.push((path.join(name), *file)),
                    Named::Folder(inner) => folders.push((path.join(name), *inner)),
                }
            }
        }
        files
    }

    fn in_folder(&self, named: Named) -> Option<&BTreeMap<OsString, Named>> {
        match named {
            Named::Folder(folder) => self.0.get(folder),
            Named::File(_) => None,
        }
    }

    fn apply(&mut self, change: &Change) {
        if let Some(gone) = &change.gone {
            self.0[gone.folder].remove(&gone.name);
        }
        if let Some((made, named)) = &change.made {
            self.0[made.folder].insert(made.name.clone(), *named);
        }
    }
}

/// A name in a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    folder: usize,
    name: OsString,
}

/// A change of names, of one folder or of two.
#[derive(Clone, Debug)]
struct Change {
    gone: Option<Place>,
    made: Option<(Place, Named)>,
}

impl Change {
    fn places(&self) -> impl Iterator<Item = &Place> {
        let made = self.made.as_ref().map(|(place, _)| place);
        self.gone.iter().chain(made)
    }

    /// Whether flushing this folder makes it survive.
    fn lies_in(&self, folder: usize) -> bool {
        let made = self.made.as_ref().map(|(place, _)| place);
        let place = made.or(self.gone.as_ref());
        place.is_some_and(|place| place.folder == folder)
    }
}

/// The names of a disk.
#[derive(Debug)]
pub(super) struct Names {
    seen: Tree,
    kept: Tree,
    /// What is seen and may not be kept, in the order in which it came.
    changes: Vec<Change>,
}

impl Names {
    /// An empty disk.
    pub(super) fn new() -> Self {
        Self {
            seen: Tree(vec![BTreeMap::new()]),
            kept: Tree(vec![BTreeMap::new()]),
            changes: Vec::new(),
        }
    }

    /// As programs see them.
    pub(super) fn seen(&self) -> &Tree {
        &self.seen
    }

    /// As a power cut would leave them that takes everything it may.
    pub(super) fn kept(&self) -> &Tree {
        &self.kept
    }

    /// A name for something.
    ///
    /// # Errors
    /// The folder is not there.
    pub(super) fn make(&mut self, path: &Path, named: Named) -> io::Result<()> {
        let made = Some((self.place(path)?, named));
        self.change(Change { gone: None, made });
        Ok(())
    }

    /// A new folder of this name.
    ///
    /// # Errors
    /// The folder that it should be in is not there.
    pub(super) fn make_folder(&mut self, path: &Path) -> io::Result<()> {
        let place = self.place(path)?;
        let folder = self.seen.0.len();
        self.seen.0.push(BTreeMap::new());
        self.kept.0.push(BTreeMap::new());
        let made = Some((place, Named::Folder(folder)));
        self.change(Change { gone: None, made });
        Ok(())
    }

    /// Something has this name now, and not that one any more.
    ///
    /// # Errors
    /// It is not there, or the folder is not.
    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let named = self.seen.at(from).ok_or(io::ErrorKind::NotFound)?;
        let gone = Some(self.place(from)?);
        let made = Some((self.place(to)?, named));
        self.change(Change { gone, made });
        Ok(())
    }

    /// Nothing has this name any more.
    ///
    /// # Errors
    /// The folder is not there.
    pub(super) fn remove(&mut self, path: &Path) -> io::Result<()> {
        let gone = Some(self.place(path)?);
        self.change(Change { gone, made: None });
        Ok(())
    }

    /// What was changed in a folder is kept, and what came before it of the same names.
    ///
    /// # Errors
    /// It is not there.
    pub(super) fn sync(&mut self, folder: &Path) -> io::Result<()> {
        let Some(Named::Folder(folder)) = self.seen.at(folder) else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let mut needed: Vec<Place> = Vec::new();
        let (mut kept, mut others) = (Vec::new(), Vec::new());
        for change in std::mem::take(&mut self.changes).into_iter().rev() {
            if change.lies_in(folder) || change.places().any(|place| needed.contains(place)) {
                needed.extend(change.places().cloned());
                kept.push(change);
            } else {
                others.push(change);
            }
        }
        for change in kept.iter().rev() {
            self.kept.apply(change);
        }
        others.reverse();
        self.changes = others;
        Ok(())
    }

    /// The power is cut: some of what was not flushed is kept.
    pub(super) fn lose_power(&mut self, chance: &mut Chance) {
        for change in survivors(std::mem::take(&mut self.changes), chance) {
            self.kept.apply(&change);
        }
        self.seen = self.kept.clone();
    }

    fn change(&mut self, change: Change) {
        self.seen.apply(&change);
        self.changes.push(change);
    }

    fn place(&self, path: &Path) -> io::Result<Place> {
        let folder = path.parent().and_then(|folder| self.seen.at(folder));
        match (folder, path.file_name().map(OsStr::to_os_string)) {
            (Some(Named::Folder(folder)), Some(name)) => Ok(Place { folder, name }),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

/// What a power cut leaves of changes that were not flushed: on half of them the first ones, as where the file
/// system has a log; else each for itself, but none of a name of which an earlier one is lost.
fn survivors(mut changes: Vec<Change>, chance: &mut Chance) -> Vec<Change> {
    if chance.coin() {
        changes.truncate(chance.below(changes.len() + 1));
        return changes;
    }
    let mut lost: Vec<Place> = Vec::new();
    changes.retain(|change| {
        let rests_on_lost = change.places().any(|place| lost.contains(place));
        let survives = !rests_on_lost && chance.coin();
        if !survives {
            lost.extend(change.places().cloned());
        }
        survives
    });
    changes
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::chance::Stream;

    fn path(path: &str) -> &Path {
        Path::new(path)
    }

    /// What is left of some changes, over many power cuts: which of these paths are there.
    fn left(make: impl Fn(&mut Names), paths: &[&str]) -> BTreeSet<Vec<bool>> {
        let cut = |seed| {
            let mut names = Names::new();
            make(&mut names);
            names.lose_power(&mut Chance::new(seed, Stream::Disk, 0));
            let there = paths.iter().map(|it| names.seen().at(path(it)).is_some());
            there.collect()
        };
        (0..200).map(cut).collect()
    }

    #[test]
    fn of_two_names_any_may_be_kept_without_the_other() {
        let two = |names: &mut Names| {
            names.make(path("/a"), Named::File(0)).unwrap();
            names.make(path("/b"), Named::File(1)).unwrap();
        };
        assert_eq!(left(two, &["/a", "/b"]).len(), 4);
    }

    #[test]
    fn a_removal_may_be_kept_though_the_name_that_came_before_it_is_lost() {
        let replaced = |names: &mut Names| {
            names.make(path("/old"), Named::File(0)).unwrap();
            names.sync(path("/")).unwrap();
            names.make(path("/new"), Named::File(1)).unwrap();
            names.remove(path("/old")).unwrap();
        };
        assert!(left(replaced, &["/old", "/new"]).contains(&vec![false, false]));
        let in_order = |names: &mut Names| {
            names.make(path("/old"), Named::File(0)).unwrap();
            names.make(path("/new"), Named::File(1)).unwrap();
            names.sync(path("/")).unwrap();
            names.remove(path("/old")).unwrap();
        };
        let two = BTreeSet::from([vec![false, true], vec![true, true]]);
        assert_eq!(left(in_order, &["/old", "/new"]), two);
    }

    #[test]
    fn a_rename_is_kept_whole_or_not_at_all_and_not_without_the_name_before() {
        let renamed = |names: &mut Names| {
            names.make(path("/draft"), Named::File(0)).unwrap();
            names.rename(path("/draft"), path("/named")).unwrap();
        };
        let three = [[false, false], [true, false], [false, true]].map(Vec::from);
        assert_eq!(left(renamed, &["/draft", "/named"]), BTreeSet::from(three));
    }

    #[test]
    fn what_was_flushed_in_a_folder_stays_in_it_under_either_of_its_names() {
        let moved = |names: &mut Names| {
            names.make_folder(path("/a")).unwrap();
            names.sync(path("/")).unwrap();
            names.rename(path("/a"), path("/b")).unwrap();
            names.make(path("/b/x"), Named::File(0)).unwrap();
            names.sync(path("/b")).unwrap();
        };
        let two = [[true, false], [false, true]].map(Vec::from);
        assert_eq!(left(moved, &["/a/x", "/b/x"]), BTreeSet::from(two));
    }

    #[test]
    fn a_flush_keeps_what_came_before_of_the_same_name_in_another_folder() {
        let moved = |names: &mut Names| {
            for folder in ["/a", "/b"] {
                names.make_folder(path(folder)).unwrap();
            }
            names.sync(path("/")).unwrap();
            names.make(path("/a/x"), Named::File(0)).unwrap();
            names.rename(path("/a/x"), path("/b/x")).unwrap();
            names.make(path("/a/y"), Named::File(1)).unwrap();
            names.sync(path("/b")).unwrap();
        };
        let two = [[false, true, false], [false, true, true]].map(Vec::from);
        let paths = ["/a/x", "/b/x", "/a/y"];
        assert_eq!(left(moved, &paths), BTreeSet::from(two));
    }
}
