//! Other people's decoders, driven only by the XML, read what our structs write.
//!
//! `tests/decoders/decode.py` runs two of them over the golden files. They are installed once into
//! the target folder, pinned by hash.
//!
//! Always holds: where Python or a package cannot be had the test says so and passes, unless
//! `EXAHOUR_REQUIRE_DECODERS=1` asks it to fail.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::golden::folder;
use crate::schema::SCHEMA;

const REQUIREMENTS: &str = include_str!("../decoders/requirements.txt");

/// Where tests may keep files between runs.
pub(crate) fn scratch() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
}

/// A file of this crate.
pub(crate) fn beside(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Runs a command; what it could not do is the error.
pub(crate) fn run(command: &mut Command) -> Result<Output, String> {
    let output = command
        .output()
        .map_err(|error| format!("{:?} cannot be run: {error}", command.get_program()))?;
    if output.status.success() {
        return Ok(output);
    }
    let said = [&output.stdout[..], &output.stderr[..]].concat();
    let said = String::from_utf8_lossy(&said).trim().to_owned();
    Err(format!("{:?} failed: {said}", command.get_program()))
}

/// Installs the decoders and gives the folder they lie in.
fn install() -> Result<PathBuf, String> {
    let folder = scratch().join("sbe-decoders");
    let stamp = folder.join("installed.txt");
    if std::fs::read_to_string(&stamp).is_ok_and(|installed| installed == REQUIREMENTS) {
        return Ok(folder);
    }
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
    let requirements = beside("tests/decoders/requirements.txt");
    let pip = |python: &Path| {
        run(Command::new(python)
            .args(["-m", "pip", "install", "--quiet", "--no-input"])
            .args(["--disable-pip-version-check", "--require-hashes"])
            .args(["--retries", "1", "--timeout", "20", "--target"])
            .arg(&folder)
            .arg("-r")
            .arg(&requirements))
    };
    pip(Path::new("python3")).or_else(|without| {
        // Some systems ship no pip but can make an environment that has one.
        let environment = scratch().join("sbe-decoders-pip");
        run(Command::new("python3")
            .args(["-m", "venv"])
            .arg(&environment))
        .and_then(|_| pip(&environment.join("bin/python")))
        .map_err(|within| format!("{without}\n{within}"))
    })?;
    std::fs::write(&stamp, REQUIREMENTS).map_err(|error| error.to_string())?;
    Ok(folder)
}

fn decode(packages: &Path, schema: &Path) -> Result<String, String> {
    let output = run(Command::new("python3")
        .env("PYTHONPATH", packages)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .arg(beside("tests/decoders/decode.py"))
        .arg(schema)
        .arg(folder().join("messages.hex"))
        .arg(folder().join("messages.json")))?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Says that a check was left out, or fails where `variable` requires it.
pub(crate) fn skip(variable: &str, what: &str, reason: &str) {
    let required = std::env::var_os(variable).is_some_and(|value| value == "1");
    assert!(
        !required,
        "{variable}=1, but {what} could not be run: {reason}"
    );
    // Straight to the stream: the harness hides what a passing test prints.
    let _ = writeln!(
        std::io::stderr(),
        "SKIPPED: {what} could not be run: {reason}"
    );
}

#[test]
fn third_party_decoders_agree_on_every_field() {
    let packages = match install() {
        Ok(packages) => packages,
        Err(reason) => {
            return skip(
                "EXAHOUR_REQUIRE_DECODERS",
                "the third-party decoders",
                &reason,
            );
        }
    };
    let totals = decode(&packages, &beside("schema/exahour.xml")).expect("agreement");
    eprintln!("{totals}");

    // The comparison is able to fail: each decoder must notice a schema that is wrong.
    for (name, first, second, told) in [
        (
            "swapped",
            r#"name="order" id="37""#,
            r#"name="clientOrderId" id="41""#,
            "CancelOrder.order",
        ),
        (
            "renumbered",
            r#"name="Buy""#,
            r#"name="Sell""#,
            "NewOrder.side",
        ),
    ] {
        assert!(SCHEMA.contains(first) && SCHEMA.contains(second));
        let wrong = SCHEMA
            .replacen(first, "@", 1)
            .replacen(second, first, 1)
            .replacen('@', second, 1);
        let path = scratch().join(format!("{name}.xml"));
        std::fs::write(&path, &wrong).unwrap();
        let noticed = decode(&packages, &path).expect_err("a wrong schema");
        for decoder in ["sbe", "sbedecoder"] {
            let line = format!("{decoder}: {told}");
            assert!(noticed.contains(&line), "{name}: {noticed}");
        }
    }
}
