//! The SBE reference implementation, driven only by the XML, reads what our structs write.
//!
//! `tests/decoders/Decode.java` parses the schema with warnings taken for errors and prints every
//! field of the golden bytes; then codecs are generated for the languages with the most reserved
//! words. Maven brings the jar once, into the target folder, and its digest is checked;
//! `EXAHOUR_SBE_TOOL_JAR` names another place to take it from.
//!
//! Always holds: where Java or the jar cannot be had the test says so and passes, unless
//! `EXAHOUR_REQUIRE_SBE_TOOL=1` asks it to fail.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::decoders::{beside, run, scratch, skip};
use crate::golden::folder;
use crate::samples::{Sample, samples};
use crate::schema::SCHEMA;

const JAR: &str = "sbe-all-1.38.1.jar";
const ARTIFACT: &str = "uk.co.real-logic:sbe-all:1.38.1";
const COPY: &str = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy";
const JAR_SHA256: &str = "26e29e5503faa70cc56158fcdacd6369ecfc3088b9a61c90b882feb54451c9b5";

/// The jar, fetched if need be.
fn jar() -> Result<PathBuf, String> {
    if let Some(path) = std::env::var_os("EXAHOUR_SBE_TOOL_JAR") {
        return checked(Path::new(&path));
    }
    let path = scratch().join(JAR);
    checked(&path).or_else(|_| {
        run(Command::new("mvn")
            .args(["--quiet", "--batch-mode", COPY])
            .arg(format!("-Dartifact={ARTIFACT}"))
            .arg(format!("-DoutputDirectory={}", scratch().display())))?;
        checked(&path)
    })
}

fn checked(path: &Path) -> Result<PathBuf, String> {
    let bytes = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let found: String = Sha256::digest(&bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    if found == JAR_SHA256 {
        Ok(path.to_path_buf())
    } else {
        Err(format!("{}: its SHA-256 is {found}", path.display()))
    }
}

fn decode(jar: &Path, schema: &Path) -> Result<String, String> {
    let output = run(Command::new("java")
        .args(["--add-opens", "java.base/jdk.internal.misc=ALL-UNNAMED"])
        .arg("-cp")
        .arg(jar)
        .arg(beside("tests/decoders/Decode.java"))
        .arg(schema)
        .arg(folder().join("messages.hex")))?;
    String::from_utf8(output.stdout).map_err(|error| error.to_string())
}

/// The generators that must take the schema: a name that is a reserved word stops them.
const GENERATORS: [&str; 3] = [
    "Java",
    "Cpp",
    "uk.co.real_logic.sbe.generation.csharp.CSharp",
];

fn generate(jar: &Path, language: &str) {
    let folder = scratch().join(format!("generated-{language}"));
    run(Command::new("java")
        .args(["--add-opens", "java.base/jdk.internal.misc=ALL-UNNAMED"])
        .arg("-Dsbe.validation.stop.on.error=true")
        .arg("-Dsbe.validation.warnings.fatal=true")
        .arg(format!("-Dsbe.target.language={language}"))
        .arg(format!("-Dsbe.output.dir={}", folder.display()))
        .arg("-jar")
        .arg(jar)
        .arg(beside("schema/exahour.xml")))
    .unwrap_or_else(|error| panic!("{language}: {error}"));
    assert!(folder.read_dir().unwrap().count() > 0, "{language}");
    std::fs::remove_dir_all(&folder).unwrap();
}

/// The lines that the program should print for a sample.
fn wanted(sample: &Sample) -> Vec<String> {
    let name = &sample.name;
    let mut lines = vec![format!("{name} {} 600 0", sample.message.name)];
    for (field, meaning) in &sample.meaning {
        let raw = &meaning["raw"];
        let none = meaning["none"] == true;
        match meaning["kind"].as_str().unwrap() {
            "decimal" => {
                let mantissa = if none {
                    "none".to_owned()
                } else {
                    raw.to_string()
                };
                lines.push(format!("{name} {field}.mantissa {mantissa}"));
                lines.push(format!("{name} {field}.exponent -6"));
            }
            "enum" => {
                let code = meaning["name"].as_str().unwrap_or("unknown");
                lines.push(format!("{name} {field} {code}"));
            }
            "set" => {
                let names = meaning["names"].as_array().unwrap();
                let names: Vec<&str> = names.iter().filter_map(Value::as_str).collect();
                lines.push(format!("{name} {field} [{}]", names.join(",")));
            }
            "number" if none => lines.push(format!("{name} {field} none")),
            "number" => lines.push(format!("{name} {field} {raw}")),
            _ => lines.push(format!("{name} {field} {}", raw.as_str().unwrap())),
        }
    }
    lines
}

fn sorted(mut lines: Vec<String>) -> Vec<String> {
    lines.sort_unstable();
    lines
}

fn spoiled(jar: &Path, name: &str, from: &str, to: &str) -> Result<String, String> {
    assert!(SCHEMA.contains(from));
    let path = scratch().join(format!("reference-{name}.xml"));
    std::fs::write(&path, SCHEMA.replacen(from, to, 1)).unwrap();
    decode(jar, &path)
}

#[test]
fn the_reference_implementation_agrees_on_every_field() {
    let java = run(Command::new("java").arg("-version"));
    let jar = match java.and_then(|_| jar()) {
        Ok(jar) => jar,
        Err(reason) => {
            let what = "the SBE reference implementation";
            return skip("EXAHOUR_REQUIRE_SBE_TOOL", what, &reason);
        }
    };
    let printed = decode(&jar, &beside("schema/exahour.xml")).expect("a lawful schema");
    let printed = sorted(printed.lines().map(str::to_owned).collect());
    let wanted = sorted(samples().iter().flat_map(wanted).collect());
    let differing: Vec<_> = printed
        .iter()
        .filter(|line| !wanted.contains(line))
        .collect();
    assert!(differing.is_empty(), "{differing:#?}");
    assert_eq!(printed.len(), wanted.len());
    assert_eq!(printed, wanted);
    eprintln!(
        "{} lines, the reference implementation agrees",
        printed.len()
    );

    for language in GENERATORS {
        generate(&jar, language);
    }

    // It is able to disagree, and to refuse.
    let swapped = spoiled(
        &jar,
        "code",
        r#"<validValue name="Buy""#,
        r#"<validValue name="Bid""#,
    );
    assert!(swapped.unwrap().contains(" side Bid"));
    let overlap = spoiled(
        &jar,
        "overlap",
        r#"type="Price" offset="16""#,
        r#"type="Price" offset="12""#,
    );
    assert!(overlap.unwrap_err().contains("Offset"));
}
