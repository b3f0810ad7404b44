//! What a simulated disk keeps over a power cut, and what it may lose.

use std::path::Path;

use exahour_journal::disk::{Disk, Entry, Mode, Open};
use exahour_wire::units::{Nanos, PartsPerMillion};

use super::{Shared, Wear};
use crate::net::HostId;
use crate::trace::Trace;

fn good() -> Wear {
    Wear {
        flush: (Nanos(100_000), Nanos(200_000)),
        slow: PartsPerMillion(0),
        slow_for: Nanos(0),
        fails: PartsPerMillion(0),
    }
}

fn store(seed: u64) -> Shared {
    Shared::new(seed, HostId(0), good(), Trace::default())
}

#[test]
fn what_was_synced_survives_and_the_rest_is_old_or_new_by_sectors() {
    let (mut old, mut new, mut mixed) = (0, 0, 0);
    for seed in 0..200 {
        let store = store(seed);
        let disk = store.begin_run();
        let path = Path::new("/file");
        let file = disk.open(path, Open::Emptied(Mode::FILE)).unwrap();
        file.write_all_at(&[1; 4_096], 0).unwrap();
        file.sync_data().unwrap();
        disk.sync_folder(Path::new("/")).unwrap();
        file.write_all_at(&[2; 2_048], 1_024).unwrap();
        // A store through a map is a write like another.
        let map = file.map_write(4_096).unwrap();
        // SAFETY: the map has this byte, and nobody else touches it.
        unsafe { map.as_ptr().add(4_000).write(2) };
        store.lock().lose_power();
        assert!(file.sync_data().is_err(), "the process is gone");
        let content = store.lock().content(path).unwrap();
        assert!(content[..1_024].iter().all(|byte| *byte == 1));
        let sectors: Vec<u8> = (2..6).map(|sector| content[sector * 512]).collect();
        for (place, &byte) in sectors.iter().enumerate() {
            let sector = &content[(place + 2) * 512..(place + 3) * 512];
            assert!(sector.iter().all(|other| *other == byte), "it is torn");
        }
        assert!(content[3_584..4_000].iter().all(|byte| *byte == 1));
        let stored = content[4_000];
        match (sectors.iter().sum::<u8>(), stored) {
            (4, 1) => old += 1,
            (8, 2) => new += 1,
            _ => mixed += 1,
        }
    }
    assert!(old > 20 && new > 20 && mixed > 20, "{old} {new} {mixed}");
}

#[test]
fn a_name_survives_once_its_folder_and_those_above_are_synced() {
    let mut lost = 0;
    for seed in 0..100 {
        let store = store(seed);
        let disk = store.begin_run();
        let (folder, path) = (Path::new("/data"), Path::new("/data/file"));
        disk.create_folder(folder, Mode::FOLDER).unwrap();
        let file = disk.open(path, Open::Emptied(Mode::FILE)).unwrap();
        file.write_all_at(b"word", 0).unwrap();
        file.sync_all().unwrap();
        disk.sync_folder(folder).unwrap();
        if seed % 2 == 0 {
            disk.sync_folder(Path::new("/")).unwrap();
        }
        store.lock().lose_power();
        let content = store.lock().content(path);
        if seed % 2 == 0 {
            assert_eq!(content.unwrap(), b"word");
        } else {
            lost += usize::from(content.is_none());
        }
    }
    assert!((10..40).contains(&lost), "{lost}");
}

#[test]
fn a_rename_happens_or_does_not_whatever_comes_of_other_names() {
    let mut seen = [0; 6];
    for seed in 0..200 {
        let store = store(seed);
        let disk = store.begin_run();
        let write = |name: &str, content: &[u8]| {
            let file = disk
                .open(Path::new(name), Open::Emptied(Mode::FILE))
                .unwrap();
            file.write_all_at(content, 0).unwrap();
            file.sync_all().unwrap();
        };
        write("/file", b"old");
        disk.sync_folder(Path::new("/")).unwrap();
        write("/next", b"new");
        disk.rename(Path::new("/next"), Path::new("/file")).unwrap();
        disk.create_folder(Path::new("/after"), Mode::FOLDER)
            .unwrap();
        store.lock().lose_power();
        let disk = store.begin_run();
        let there = |name: &str| disk.exists(Path::new(name));
        let content = disk.read(Path::new("/file")).unwrap();
        let stage = match (content == b"new", there("/next")) {
            (false, false) => 0,
            (false, true) => 1,
            (true, false) => 2,
            (true, true) => panic!("a rename is done by half"),
        };
        seen[stage + 3 * usize::from(there("/after"))] += 1;
    }
    assert!(seen.iter().all(|count| *count > 5), "{seen:?}");
}

#[test]
fn a_killed_process_loses_its_locks_and_nothing_else() {
    let store = store(1);
    let disk = store.begin_run();
    let lock = disk.lock(Path::new("/lock")).unwrap();
    assert!(lock.is_some() && disk.lock(Path::new("/lock")).unwrap().is_none());
    let file = disk
        .open(Path::new("/file"), Open::Emptied(Mode::FILE))
        .unwrap();
    file.write_all_at(b"word", 0).unwrap();
    store.lock().end_run();
    assert!(file.write_all_at(b"late", 0).is_err());
    let again = store.begin_run();
    assert_eq!(again.boot_id(), disk.boot_id());
    assert!(again.lock(Path::new("/lock")).unwrap().is_some());
    drop(lock);
    assert!(
        again.lock(Path::new("/lock")).unwrap().is_some(),
        "given back when dropped"
    );
    assert_eq!(again.read(Path::new("/file")).unwrap(), b"word");
    let before = again.boot_id();
    store.lock().lose_power();
    assert_ne!(store.begin_run().boot_id(), before);
}

#[test]
fn the_power_is_cut_over_the_call_that_was_chosen() {
    let store = store(1);
    let disk = store.begin_run();
    store.lock().die_in(3);
    let file = disk
        .open(Path::new("/file"), Open::Emptied(Mode::FILE))
        .unwrap();
    file.write_all_at(b"word", 0).unwrap();
    assert!(!store.lock().is_dead());
    assert!(file.sync_data().is_err());
    assert!(store.lock().is_dead());
    assert!(disk.entry(Path::new("/file")).is_err());
    assert!(store.begin_run().entry(Path::new("/")).is_ok());
}

#[test]
fn a_full_disk_and_one_that_does_not_answer_say_so() {
    let store = store(1);
    let disk = store.begin_run();
    let path = Path::new("/file");
    let file = disk.open(path, Open::Emptied(Mode::OWNER_FILE)).unwrap();
    store.lock().set_room(Some(100));
    file.write_all_at(&[1; 100], 0).unwrap();
    let refused = file.write_all_at(&[1; 100], 1).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::StorageFull);
    assert_eq!(
        disk.entry(path).unwrap(),
        Some(Entry::File {
            bytes: 100,
            mode: Mode::OWNER_FILE
        })
    );
    store.lock().set_room(None);
    file.set_bytes(200).unwrap();
    store.lock().set_wear(Wear {
        fails: PartsPerMillion(1_000_000),
        ..good()
    });
    assert!(file.sync_data().is_err());
    assert!(store.lock().take_cost() >= Nanos(100_000));
}

#[test]
fn a_folder_that_is_renamed_takes_along_what_is_in_it() {
    let store = store(1);
    let disk = store.begin_run();
    disk.create_folder(Path::new("/a"), Mode::FOLDER).unwrap();
    disk.open(Path::new("/a/file"), Open::Emptied(Mode::FILE))
        .unwrap();
    disk.rename(Path::new("/a"), Path::new("/b")).unwrap();
    assert_eq!(disk.list(Path::new("/b")).unwrap(), [Path::new("/b/file")]);
    assert_eq!(disk.list(Path::new("/")).unwrap(), [Path::new("/b")]);
    assert!(disk.list(Path::new("/a")).is_err());
}

#[test]
fn what_is_kept_in_a_folder_stays_in_it_where_a_rename_of_it_is_kept_or_lost() {
    let (mut before, mut after) = (0, 0);
    for seed in 0..100 {
        let store = store(seed);
        let disk = store.begin_run();
        let (a, b, root) = (Path::new("/a"), Path::new("/b"), Path::new("/"));
        disk.create_folder(a, Mode::OWNER_FOLDER).unwrap();
        let file = disk.open(&a.join("x"), Open::Emptied(Mode::FILE)).unwrap();
        file.write_all_at(&[7; 100], 0).unwrap();
        file.sync_all().unwrap();
        disk.sync_folder(a).unwrap();
        disk.sync_folder(root).unwrap();
        disk.rename(a, b).unwrap();
        if seed % 2 == 0 {
            // The folder's own name is what changes, and it stands in the folder above.
            disk.sync_folder(root).unwrap();
        }
        store.lock().lose_power();
        let disk = store.begin_run();
        assert!(disk.exists(a) != disk.exists(b));
        assert!(seed % 2 == 1 || disk.exists(b));
        let at = if disk.exists(a) { a } else { b };
        assert_eq!(disk.read(&at.join("x")).unwrap(), [7; 100]);
        match at == a {
            true => before += 1,
            false => after += 1,
        }
    }
    assert!(before > 10 && after > 60, "{before}, {after}");
}

#[test]
fn a_folder_that_takes_anothers_place_is_kept_once_the_name_is() {
    for seed in 0..50 {
        let store = store(seed);
        let disk = store.begin_run();
        let path = Path::new;
        for folder in ["/old", "/new", "/away"] {
            disk.create_folder(path(folder), Mode::OWNER_FOLDER)
                .unwrap();
        }
        for (name, content) in [("/old/x", [1; 10]), ("/new/x", [2; 10])] {
            let file = disk.open(path(name), Open::Emptied(Mode::FILE)).unwrap();
            file.write_all_at(&content, 0).unwrap();
            file.sync_all().unwrap();
            disk.sync_folder(path(name).parent().unwrap()).unwrap();
        }
        disk.sync_folder(path("/")).unwrap();
        disk.rename(path("/old"), path("/away/old")).unwrap();
        disk.rename(path("/new"), path("/old")).unwrap();
        disk.sync_folder(path("/")).unwrap();
        disk.sync_folder(path("/away")).unwrap();
        store.lock().lose_power();
        let disk = store.begin_run();
        assert_eq!(disk.read(path("/old/x")).unwrap(), [2; 10]);
        assert_eq!(disk.read(path("/away/old/x")).unwrap(), [1; 10]);
    }
}

#[test]
fn damage_is_where_a_node_can_tell_and_shows_when_it_should() {
    use super::image::{Image, SECTOR, Shows};
    use crate::chance::{Chance, Stream};
    let mut chance = Chance::new(1, Stream::Disk, 0);
    for shows in [Shows::AtOnce, Shows::Later, Shows::UntilRestart] {
        let mut image = Image::new(Mode::FILE);
        image.write(0, &[1; 2 * SECTOR]);
        assert!(!image.is_clean(0), "nothing of it is on disk");
        image.sync(super::image::Sync::Done, &mut chance);
        assert!(image.is_clean(0) && image.is_clean(1) && !image.is_clean(2));
        image.harm(1, &[9; SECTOR], shows);
        let mut seen = [0; 2 * SECTOR];
        image.read(0, &mut seen);
        assert_eq!(seen[..SECTOR], [1; SECTOR]);
        assert_eq!(seen[SECTOR] == 9, shows != Shows::Later, "{shows:?}");
        image.lose_power(super::image::Fate::Lost, &mut chance);
        image.read(0, &mut seen);
        assert_eq!(seen[SECTOR] == 9, shows != Shows::UntilRestart, "{shows:?}");
    }
}
