//! Standard output, whose reader may leave at any time.
//!
//! Called by every subcommand that prints, and by the command line for the exit code.
//!
//! Always holds: a reader that leaves early (`dump | head`) ends the command quietly; it is no error
//! and no panic. A pipe or connection of any other kind that breaks stays an error.

use std::error::Error;
use std::io::{self, ErrorKind, StdoutLock, Write};

use anyhow::Result;
use exahour_settlement::json;

/// Why standard output could not be written: the mark that tells it from every other pipe.
#[derive(Debug, thiserror::Error)]
#[error("cannot write to standard output: {0}")]
struct OutputError(#[source] io::Error);

/// Standard output, held for as long as this lives. Its errors are marked as its own.
#[derive(Debug)]
pub struct Output(StdoutLock<'static>);

impl Output {
    /// Takes hold of it.
    #[must_use]
    pub fn lock() -> Self {
        Self(io::stdout().lock())
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes).map_err(marked)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush().map_err(marked)
    }
}

/// The same error, of the same kind, with the mark.
fn marked(error: io::Error) -> io::Error {
    io::Error::new(error.kind(), OutputError(error))
}

/// Prints a text as it is.
///
/// # Errors
/// Where standard output cannot be written.
pub fn print(text: &str) -> Result<()> {
    let mut out = Output::lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(())
}

/// Prints a value as one JSON object on its line.
///
/// # Errors
/// Where standard output cannot be written.
pub fn print_json(value: &impl serde::Serialize) -> Result<()> {
    let mut out = Output::lock();
    write_json(&mut out, value)?;
    out.flush()?;
    Ok(())
}

/// Writes a value as one JSON object on its line.
///
/// # Errors
/// Where `out` cannot be written.
pub fn write_json(out: &mut impl Write, value: &impl serde::Serialize) -> Result<()> {
    json::write_line(out, value)?;
    Ok(())
}

/// Says a line on standard error; where nobody hears it, nothing is lost.
pub fn tell(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Makes an end of whoever reads our output no error: `dump | head` is a lawful wish.
///
/// # Errors
/// Every other error, as it was.
pub fn unless_reader_left(error: anyhow::Error) -> Result<()> {
    match reader_left(&error) {
        true => Ok(()),
        false => Err(error),
    }
}

/// Whether an error is that whoever read our output has left.
#[must_use]
pub fn reader_left(error: &anyhow::Error) -> bool {
    error.chain().any(is_departure)
}

fn is_departure(cause: &(dyn Error + 'static)) -> bool {
    let Some(error) = cause.downcast_ref::<io::Error>() else {
        return false;
    };
    let mark = error
        .get_ref()
        .is_some_and(|inner| inner.is::<OutputError>());
    mark && error.kind() == ErrorKind::BrokenPipe
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use anyhow::Context;

    use super::*;

    /// A writer whose reader has left, as the system tells it.
    struct Left;

    impl Write for Left {
        fn write(&mut self, _bytes: &[u8]) -> io::Result<usize> {
            Err(marked(ErrorKind::BrokenPipe.into()))
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_peer_that_is_gone_is_no_reader_that_left() {
        let (mut own, other) = UnixStream::pair().unwrap();
        drop(other);
        let broken = own.write_all(b"it").unwrap_err();
        assert_eq!(broken.kind(), ErrorKind::BrokenPipe);
        let error = anyhow::Error::new(broken).context("bench");
        assert!(!reader_left(&error));
        assert!(unless_reader_left(error).is_err());
    }

    #[test]
    fn a_reader_that_left_is_seen_through_what_wrote() {
        let plain = Left.write_all(b"it").context("rows").unwrap_err();
        assert!(reader_left(&plain), "{plain:?}");
        let mut buffered = io::BufWriter::new(Left);
        buffered.write_all(b"it").unwrap();
        assert!(reader_left(&buffered.flush().unwrap_err().into()));
        drop(buffered.into_parts());
        let mut table = csv::Writer::from_writer(Left);
        table.write_record(["it"]).unwrap();
        assert!(reader_left(&table.flush().unwrap_err().into()));
        let full = marked(ErrorKind::StorageFull.into());
        assert!(!reader_left(&full.into()));
    }
}
