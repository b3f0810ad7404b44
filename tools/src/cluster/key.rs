//! `exahour cluster key`: draws the secret that the nodes of a cluster share.
//!
//! Called by the command line and by `folder`.
//!
//! Always holds: the file is new, its owner's alone, and whole once it has its name; what is in it is never
//! printed.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use exahour_journal::disk::{Disk, SystemDisk};

use crate::output::{print, print_json};

/// Draw the key of a new cluster, which every node of it needs a copy of.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Example:\n  exahour cluster key cluster.key")]
pub(super) struct Arguments {
    /// The file to make.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Write JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<()> {
    let file = &arguments.file;
    draw(file)?;
    if arguments.json {
        return print_json(&serde_json::json!({ "state": "made", "file": file }));
    }
    print(&format!(
        "{} holds the key of a new cluster: copy it to every node, and to whoever operates them; nobody else \
         may have it\n",
        file.display()
    ))
}

/// Makes a key file.
///
/// # Errors
/// Where there is one, or it cannot be written.
pub(crate) fn draw(path: &Path) -> Result<()> {
    let mut secret = [0; 32];
    SystemDisk
        .random_bytes(&mut secret)
        .context("cannot draw a key")?;
    let text: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    let cannot = || format!("cannot write {}", path.display());
    let draft = path.with_extension(format!("{}.new", std::process::id()));
    let mut options = File::options();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&draft)
        .with_context(cannot)?;
    let written = writeln!(file, "{text}").and_then(|()| file.sync_all());
    // A link, unlike a new name, leaves a file alone that is there already.
    let made = written.and_then(|()| fs::hard_link(&draft, path));
    let _ = fs::remove_file(&draft);
    match made {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => bail!(
            "{} is there already: a cluster keeps its key for good, and a new one needs a file of its own",
            path.display()
        ),
        made => made.with_context(cannot),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use exahour_replicas::ClusterKey;

    use super::*;

    #[test]
    fn a_key_is_the_owners_alone_and_never_drawn_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cluster.key");
        draw(&path).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let text = fs::read_to_string(&path).unwrap();
        assert!(ClusterKey::load(&path).is_ok());
        let refused = draw(&path).unwrap_err().to_string();
        assert!(refused.contains("is there already"), "{refused}");
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
        let other = folder.path().join("other.key");
        draw(&other).unwrap();
        assert_ne!(fs::read_to_string(&other).unwrap(), text);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }
}
