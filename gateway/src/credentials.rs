//! The keys of sessions, and the codes of authentication made with them.
//!
//! Called by `session` to check a logon and by the client library to sign one.
//!
//! Always holds: a comparison takes the same time wherever codes differ; a key is never printed.
//! Does not: decide what a failure costs (that is `back_off`).

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::str::FromStr;

use exahour_journal::disk::{Disk, Entry};
use exahour_wire::ids::SessionId;
use exahour_wire::message::Digest;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::error::GatewayError;

/// Bytes of a key.
pub const KEY_BYTES: usize = 32;

/// The most bytes of a key file: every session with its key, and as much again for comments.
const KEY_FILE_BYTES_MAX: u64 = 16 << 20;

/// The secret that a client and the exchange share.
#[derive(Clone, PartialEq, Eq)]
pub struct Key([u8; KEY_BYTES]);

impl Key {
    /// A key of these bytes.
    #[must_use]
    pub const fn new(bytes: [u8; KEY_BYTES]) -> Self {
        Self(bytes)
    }

    /// HMAC-SHA256 of `signed` under this key.
    #[must_use]
    pub fn sign(&self, signed: &[u8]) -> Digest {
        Digest(self.mac(signed).finalize().into_bytes().into())
    }

    /// Whether `code` is HMAC-SHA256 of `signed` under this key, in constant time.
    #[must_use]
    pub fn accepts(&self, signed: &[u8], code: &Digest) -> bool {
        self.mac(signed).verify_slice(&code.0).is_ok()
    }

    fn mac(&self, signed: &[u8]) -> Hmac<Sha256> {
        // A key of 32 bytes fits the block of SHA-256, so no length is refused.
        let mut mac = Hmac::<Sha256>::new(&hmac_key(&self.0));
        mac.update(signed);
        mac
    }
}

/// Fills a key up to one block of SHA-256, as HMAC itself does with a short key.
fn hmac_key(key: &[u8; KEY_BYTES]) -> hmac::digest::Key<Hmac<Sha256>> {
    let mut block = hmac::digest::Key::<Hmac<Sha256>>::default();
    block[..KEY_BYTES].copy_from_slice(key);
    block
}

impl fmt::Debug for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Key(secret)")
    }
}

/// Why a text is not a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a key: expected 64 hexadecimal digits")]
pub struct NotAKey;

impl FromStr for Key {
    type Err = NotAKey;

    fn from_str(text: &str) -> Result<Self, NotAKey> {
        let digits = text.as_bytes();
        if digits.len() != 2 * KEY_BYTES {
            return Err(NotAKey);
        }
        let digit = |byte: u8| char::from(byte).to_digit(16).ok_or(NotAKey);
        let mut key = [0; KEY_BYTES];
        for (byte, pair) in key.iter_mut().zip(digits.chunks_exact(2)) {
            let value = digit(pair[0])? * 16 + digit(pair[1])?;
            *byte = u8::try_from(value).map_err(|_| NotAKey)?;
        }
        Ok(Self(key))
    }
}

/// The keys of all sessions.
#[derive(Clone, Default)]
pub struct Keys {
    keys: BTreeMap<SessionId, Key>,
}

impl fmt::Debug for Keys {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Keys({} secrets)", self.keys.len())
    }
}

impl Keys {
    /// No keys.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Gives a session its key, in place of an earlier one.
    pub fn insert(&mut self, session: SessionId, key: Key) {
        self.keys.insert(session, key);
    }

    /// The key of a session.
    #[must_use]
    pub fn key_of(&self, session: SessionId) -> Option<&Key> {
        self.keys.get(&session)
    }

    /// Reads keys from a file that only its owner may read: a session number and a key in
    /// hexadecimal digits on each line; `#` starts a comment.
    ///
    /// # Errors
    /// [`GatewayError::KeyFile`] where the file cannot be read, others may read it, or a line is
    /// not as above; the text names the line but never its content.
    pub fn load(path: &Path) -> Result<Self, GatewayError> {
        let refuse = |reason: String| GatewayError::KeyFile {
            path: path.to_path_buf(),
            reason,
        };
        let file = File::open(path).map_err(|error| refuse(error.to_string()))?;
        let about = file.metadata().map_err(|error| refuse(error.to_string()))?;
        owner_only(about.mode()).map_err(refuse)?;
        let mut text = String::new();
        file.take(KEY_FILE_BYTES_MAX)
            .read_to_string(&mut text)
            .map_err(|error| refuse(error.to_string()))?;
        Self::parse(&text).map_err(refuse)
    }

    /// As [`Keys::load`], for a node, which reads its file from the disk that it is on.
    ///
    /// # Errors
    /// As [`Keys::load`], and where the file is longer than any with a key for each session.
    pub fn load_from(disk: &dyn Disk, path: &Path) -> Result<Self, GatewayError> {
        let refuse = |reason: String| GatewayError::KeyFile {
            path: path.to_path_buf(),
            reason,
        };
        let failed = |error: io::Error| refuse(error.to_string());
        let Some(Entry::File { bytes, mode }) = disk.entry(path).map_err(failed)? else {
            return Err(refuse("there is no such file".to_owned()));
        };
        owner_only(mode.0).map_err(refuse)?;
        if bytes > KEY_FILE_BYTES_MAX {
            return Err(refuse(format!(
                "it has {bytes} bytes, and only {KEY_FILE_BYTES_MAX} are read"
            )));
        }
        let text = String::from_utf8(disk.read(path).map_err(failed)?);
        Self::parse(&text.map_err(|error| refuse(error.to_string()))?).map_err(refuse)
    }

    fn parse(text: &str) -> Result<Self, String> {
        let mut keys = Self::new();
        for (index, line) in text.lines().enumerate() {
            let number = index + 1;
            let content = line.split('#').next().unwrap_or("").trim();
            if content.is_empty() {
                continue;
            }
            let wrong = || format!("line {number}: expected a session number and 64 hex digits");
            let (session, key) = content.split_once(char::is_whitespace).ok_or_else(wrong)?;
            let session = SessionId(session.parse().map_err(|_| wrong())?);
            let key: Key = key.trim().parse().map_err(|_| wrong())?;
            if keys.keys.insert(session, key).is_some() {
                return Err(format!(
                    "line {number}: session {session} has a key already"
                ));
            }
        }
        Ok(keys)
    }
}

/// Whether only its owner may use a file of this mode.
///
/// # Errors
/// What to do, in words.
pub fn owner_only(mode: u32) -> Result<(), String> {
    match mode & 0o077 {
        0 => Ok(()),
        _ => Err(format!(
            "others may use it (mode {:o}): chmod 600 it",
            mode & 0o777
        )),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use exahour_journal::disk::SystemDisk;

    use super::*;

    const HEX: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191A1B1C1D1E1F";

    #[test]
    fn codes_are_hmac_sha256() {
        // RFC 4231 test case 2 has a short key; ours is that key filled with zeros, as HMAC does.
        let mut bytes = [0; KEY_BYTES];
        bytes[..4].copy_from_slice(b"Jefe");
        let code = Key::new(bytes).sign(b"what do ya want for nothing?");
        assert_eq!(code.0[..4], [0x5b, 0xdc, 0xc1, 0x46]);
        assert_eq!(code.0[28..], [0x64, 0xec, 0x38, 0x43]);
        assert!(Key::new(bytes).accepts(b"what do ya want for nothing?", &code));
        assert!(!Key::new(bytes).accepts(b"what do ya want for something?", &code));
        assert!(!Key::new([1; 32]).accepts(b"what do ya want for nothing?", &code));
    }

    #[test]
    fn keys_are_never_printed() {
        let key: Key = HEX.parse().unwrap();
        let mut keys = Keys::new();
        keys.insert(SessionId(1), key.clone());
        assert_eq!(format!("{key:?} {keys:?}"), "Key(secret) Keys(1 secrets)");
    }

    #[test]
    fn a_key_file_is_read_only_if_it_is_private_and_right() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        std::fs::write(&path, format!("# desk\n\n7 {HEX} # seven\n8\t{HEX}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        for keys in [Keys::load(&path), Keys::load_from(&SystemDisk, &path)] {
            let error = keys.unwrap_err().to_string();
            assert!(error.contains("chmod 600"), "{error}");
        }
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        for keys in [Keys::load(&path), Keys::load_from(&SystemDisk, &path)] {
            let keys = keys.unwrap();
            assert_eq!(keys.key_of(SessionId(7)), Some(&HEX.parse().unwrap()));
            assert!(keys.key_of(SessionId(8)).is_some() && keys.key_of(SessionId(9)).is_none());
        }
    }

    #[test]
    fn a_wrong_line_is_named_and_not_shown() {
        for (text, line) in [
            (format!("7 {HEX}\n7 {HEX}"), "line 2"),
            (format!("x {HEX}"), "line 1"),
            (format!("7 {}z", &HEX[1..]), "line 1"),
            ("\n\n7".to_string(), "line 3"),
        ] {
            let error = Keys::parse(&text).unwrap_err();
            assert!(error.contains(line) && !error.contains("0102"), "{error}");
        }
    }
}
