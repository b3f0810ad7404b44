//! Standard output, whose reader may leave at any time.
//!
//! Called by every subcommand that prints, and by the command line for the exit code.
//!
//! Always holds: a reader that leaves early (`dump | head`) ends the command quietly; it is no error
//! and no panic.

use std::io::Write;

use anyhow::Result;

/// Prints a text as it is.
///
/// # Errors
/// Where standard output cannot be written.
pub fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(())
}

/// Prints a value as one JSON object on its line.
///
/// # Errors
/// Where standard output cannot be written.
pub fn print_json(value: &impl serde::Serialize) -> Result<()> {
    let mut text = serde_json::to_string(value)?;
    text.push('\n');
    print(&text)
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
    error.chain().any(|cause| {
        let plain = cause
            .downcast_ref::<std::io::Error>()
            .map(std::io::Error::kind);
        let within = cause.downcast_ref::<serde_json::Error>();
        let kind = plain.or_else(|| within.and_then(serde_json::Error::io_error_kind));
        kind == Some(std::io::ErrorKind::BrokenPipe)
    })
}
