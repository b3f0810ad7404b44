//! The record of a machine: a line for each beat, written by its supervisor, read by its provider.
//!
//! Called with the path of the file by `folder`.
//!
//! Always holds: however long the record, reading it takes the memory of one line; a line that was
//! torn by a crash is no beat.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use super::metering::{Beat, parse_beat};

/// No beat is longer: six numbers of at most twenty digits, and what ends them.
const LINE_BYTES_MAX: u64 = 160;

/// Hands on every beat, in order; none where there is no record.
///
/// # Errors
/// When it cannot be read.
pub(super) fn each_beat(path: &Path, mut take: impl FnMut(Beat)) -> io::Result<()> {
    let Some(file) = open(path)? else {
        return Ok(());
    };
    let mut reader = BufReader::new(file);
    let mut line = Vec::new();
    loop {
        line.clear();
        let mut read = reader.by_ref().take(LINE_BYTES_MAX);
        if read.read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        match line.ends_with(b"\n") {
            true => beat_of(&line).into_iter().for_each(&mut take),
            // Longer than any beat: none of its pieces is one.
            false => skip_line(&mut reader)?,
        }
    }
}

fn skip_line(reader: &mut impl BufRead) -> io::Result<()> {
    loop {
        let bytes = reader.fill_buf()?;
        let end = bytes.iter().position(|byte| *byte == b'\n');
        let (passed, over) = match end {
            Some(end) => (end + 1, true),
            None => (bytes.len(), bytes.is_empty()),
        };
        reader.consume(passed);
        if over {
            return Ok(());
        }
    }
}

/// The last beat, if there is any among the last lines.
///
/// # Errors
/// When it cannot be read.
pub(super) fn last_beat(path: &Path) -> io::Result<Option<Beat>> {
    let Some(mut file) = open(path)? else {
        return Ok(None);
    };
    let length = file.seek(SeekFrom::End(0))?;
    let tail = length.min(4 * LINE_BYTES_MAX);
    file.seek(SeekFrom::Start(length - tail))?;
    let mut bytes = Vec::new();
    file.take(tail).read_to_end(&mut bytes)?;
    // The first piece may be the rest of a line, whose numbers would be others.
    let whole = bytes.split_inclusive(|byte| *byte == b'\n').skip(1);
    Ok(whole.filter_map(beat_of).last())
}

/// BLAKE3 of the record, byte for byte; none where there is none or it is empty.
///
/// # Errors
/// When it cannot be read.
pub(super) fn digest(path: &Path) -> io::Result<Option<[u8; 32]>> {
    let Some(file) = open(path)? else {
        return Ok(None);
    };
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(file)?;
    Ok((hasher.count() > 0).then(|| *hasher.finalize().as_bytes()))
}

fn open(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn beat_of(line: &[u8]) -> Option<Beat> {
    let line = line.strip_suffix(b"\n")?;
    parse_beat(std::str::from_utf8(line).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn torn_lines_are_no_beats_and_the_last_whole_one_is_found() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("heartbeats");
        assert_eq!(last_beat(&path).expect("no record"), None);
        assert_eq!(digest(&path).expect("no record"), None);
        // As a supervisor leaves it that was killed twice in a line, and one that writes now.
        let text = format!(
            "\n1 1 1 1 1 1 .\n2 2\n\n3 3 3 3 3 3 .\n{}6 6 6 6 6 6 .\n4 4 4 4 4 4 .\n5 5 5",
            "9".repeat(LINE_BYTES_MAX as usize)
        );
        std::fs::write(&path, &text).expect("write");
        let mut seen = Vec::new();
        each_beat(&path, |beat| seen.push(beat.at_ns)).expect("read");
        assert_eq!(seen, [1, 3, 4]);
        let last = last_beat(&path).expect("read").expect("some");
        assert_eq!(last.at_ns, 4);
        let whole = digest(&path).expect("read").expect("some");
        assert_eq!(&whole, blake3::hash(text.as_bytes()).as_bytes());
    }
}
