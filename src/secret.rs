//! Keys and passwords: where they come from, and that they are wiped and never printed.
//!
//! Promises: a secret's bytes are zeroed when it is dropped and never shown by `Debug`; an
//! error names the file, its mode or its length, never the content.
//! Knows nothing of: what a key is for.

use std::fmt;
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use aws_lc_rs::rand;
use zeroize::Zeroizing;

/// Largest secret, in bytes: a private key in PEM form is below 8 KiB.
const SECRET_BYTES_MAX: u64 = 64 << 10;
/// Length of every key that tidegate makes or takes: AES-256 and HMAC-SHA-256.
pub const KEY_BYTES: usize = 32;

/// Secret bytes, wiped on drop.
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Wraps bytes.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The bytes.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Secret(..)")
    }
}

/// A 256-bit key, wiped on drop.
#[derive(Clone)]
pub struct Key(Zeroizing<[u8; KEY_BYTES]>);

impl Key {
    /// A new random key.
    ///
    /// # Errors
    /// The operating system gives no randomness.
    pub fn random() -> Result<Self, SecretError> {
        let mut bytes = Zeroizing::new([0; KEY_BYTES]);
        rand::fill(bytes.as_mut_slice()).map_err(|_| SecretError::NoRandomness)?;
        Ok(Self(bytes))
    }

    /// A key from exactly 32 bytes.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Some(Self(Zeroizing::new(bytes.try_into().ok()?)))
    }

    /// A key from a credential: 32 raw bytes, or 64 hexadecimal digits with or without a line end.
    ///
    /// # Errors
    /// Any other length.
    pub fn from_secret(secret: &Secret) -> Result<Self, SecretError> {
        let bytes = secret.expose();
        if let Some(key) = Self::from_bytes(bytes) {
            return Ok(key);
        }
        let wrong = || SecretError::Length { found: bytes.len() };
        let digits = std::str::from_utf8(bytes).map_err(|_| wrong())?.trim_end();
        let decoded = Zeroizing::new(unhex(digits).ok_or_else(wrong)?);
        Self::from_bytes(&decoded).ok_or_else(wrong)
    }

    /// The bytes.
    #[must_use]
    pub fn expose(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Key(..)")
    }
}

/// What can go wrong with a secret.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The environment variable is not set.
    #[error("environment variable {0} is not set")]
    NotSet(String),
    /// systemd gave no credentials folder.
    #[error("there is no credential {0}: CREDENTIALS_DIRECTORY is not set")]
    NoCredentials(String),
    /// The file cannot be read or written.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// The file is larger than what is wanted can be.
    #[error("{path} is {length} bytes; at most {bytes_max} are read")]
    TooLong {
        /// The file.
        path: String,
        /// Its length in bytes.
        length: u64,
        /// The bound, in bytes.
        bytes_max: u64,
    },
    /// Others than the owner may read the file.
    #[error("{path} has mode {mode:04o}; others than its owner can read it, and 0600 is wanted")]
    Mode {
        /// The file.
        path: String,
        /// Its permission bits.
        mode: u32,
    },
    /// A key file holds something else.
    #[error("{path} is {found} bytes; a key is 32 raw bytes or 64 hexadecimal digits")]
    KeyLength {
        /// The file.
        path: String,
        /// The length found, in bytes.
        found: usize,
    },
    /// Not 32 bytes nor 64 hexadecimal digits.
    #[error("it is {found} bytes; a key is 32 raw bytes or 64 hexadecimal digits")]
    Length {
        /// The length found, in bytes.
        found: usize,
    },
    /// The operating system gives no randomness.
    #[error("the operating system gives no randomness")]
    NoRandomness,
}

/// Where a secret comes from.
#[derive(Clone, Debug)]
pub enum Origin {
    /// An environment variable.
    Env(String),
    /// A file of systemd's credentials folder.
    Credential(String),
    /// A file.
    File(PathBuf),
}

impl Origin {
    /// Reads a password or a key: of a file, its owner alone may read it. systemd's credentials
    /// folder is closed to others as a whole.
    ///
    /// # Errors
    /// As for [`Origin::read`], or others may read the file.
    pub fn read_private(&self) -> Result<Secret, SecretError> {
        if let Self::File(path) = self {
            refuse_readable(path)?;
        }
        self.read()
    }

    /// Reads a key; what is wrong with it names where it is.
    ///
    /// # Errors
    /// As for [`Origin::read_private`], or it is not a key.
    // PROMISE-10: path, mode and length, never the content.
    pub fn read_key(&self) -> Result<Key, SecretError> {
        Key::from_secret(&self.read_private()?).map_err(|error| match error {
            SecretError::Length { found } => SecretError::KeyLength { path: self.place(), found },
            other => other,
        })
    }

    /// Where it is, in words.
    #[must_use]
    pub fn place(&self) -> String {
        match self {
            Self::Env(name) => format!("environment variable {name}"),
            Self::Credential(name) => credential_path(name)
                .map_or_else(|| format!("credential {name}"), |path| path.display().to_string()),
            Self::File(path) => path.display().to_string(),
        }
    }

    /// Reads it.
    ///
    /// # Errors
    /// It is not there, not readable, or longer than any secret.
    pub fn read(&self) -> Result<Secret, SecretError> {
        self.read_at_most(SECRET_BYTES_MAX)
    }

    /// Reads what is no secret, and may be longer than one.
    ///
    /// # Errors
    /// It is not there, not readable, or longer.
    pub fn read_at_most(&self, bytes_max: u64) -> Result<Secret, SecretError> {
        match self {
            Self::Env(name) => match std::env::var_os(name) {
                Some(value) => Ok(Secret::new(value.into_encoded_bytes())),
                None => Err(SecretError::NotSet(name.clone())),
            },
            Self::Credential(name) => match credential_path(name) {
                Some(path) => read_file(&path, bytes_max),
                None => Err(SecretError::NoCredentials(name.clone())),
            },
            Self::File(path) => read_file(path, bytes_max),
        }
    }
}

fn credential_path(name: &str) -> Option<PathBuf> {
    std::env::var_os("CREDENTIALS_DIRECTORY").map(|dir| Path::new(&dir).join(name))
}

/// Whether others than its owner can read a file is asked of its permission bits.
fn refuse_readable(path: &Path) -> Result<(), SecretError> {
    let fail = |source| SecretError::File { path: path.display().to_string(), source };
    let mode = std::fs::metadata(path).map_err(fail)?.mode() & 0o7777;
    if mode & 0o077 == 0 {
        Ok(())
    } else {
        Err(SecretError::Mode { path: path.display().to_string(), mode })
    }
}

fn read_file(path: &Path, bytes_max: u64) -> Result<Secret, SecretError> {
    let fail = |source| SecretError::File { path: path.display().to_string(), source };
    let file = std::fs::File::open(path).map_err(fail)?;
    let length = file.metadata().map_err(fail)?.len();
    if length > bytes_max {
        return Err(SecretError::TooLong { path: path.display().to_string(), length, bytes_max });
    }
    let mut bytes = Vec::new();
    file.take(bytes_max).read_to_end(&mut bytes).map_err(fail)?;
    Ok(Secret::new(bytes))
}

/// Reads a key file of ours, or makes it with mode 0600 where it is not there, durably: the
/// file and its folder are fsynced before the key is used.
///
/// # Errors
/// The file cannot be read or made, is readable by others, or is not a key.
pub fn key_file(path: &Path) -> Result<Key, SecretError> {
    let fail = |source| SecretError::File { path: path.display().to_string(), source };
    match std::fs::metadata(path) {
        Ok(_) => Origin::File(path.to_path_buf()).read_key(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let key = Key::random()?;
            write_new(path, key.expose()).map_err(fail)?;
            Ok(key)
        }
        Err(error) => Err(fail(error)),
    }
}

/// Writes a new file with mode 0600 so that it is there whole or not at all, also after a power
/// cut.
fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let partial = path.with_extension("partial");
    if let Err(error) = std::fs::remove_file(&partial)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(error);
    }
    let mut file =
        std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&partial)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&partial, path)?;
    let dir = path.parent().unwrap_or_else(|| Path::new("."));
    std::fs::File::open(dir)?.sync_all()
}

/// A name that nothing else has, of so many small hexadecimal digits, 64 at most.
///
/// # Errors
/// The operating system gives no randomness.
pub fn random_name(digits: usize) -> Result<String, SecretError> {
    let mut name = hex(Key::random()?.expose());
    name.truncate(digits);
    Ok(name)
}

/// Bytes as small hexadecimal digits, two each.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    write_hex(bytes, &mut text).unwrap_or_default();
    text
}

/// The same, written somewhere. By itself and not by `{:02x}`, which costs a call for each byte where
/// each event has a dozen digests.
///
/// # Errors
/// It cannot be written there.
pub fn write_hex(bytes: &[u8], out: &mut impl std::fmt::Write) -> std::fmt::Result {
    // Without a branch, so that many are made at once.
    let digit = |nibble: u8| nibble + b'0' + u8::from(nibble > 9) * (b'a' - b'0' - 10);
    for chunk in bytes.chunks(16) {
        let mut digits = [0; 32];
        for (two, byte) in digits.chunks_exact_mut(2).zip(chunk) {
            two.copy_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
        }
        let written = digits.get(..chunk.len() * 2).unwrap_or_default();
        out.write_str(std::str::from_utf8(written).unwrap_or_default())?;
    }
    Ok(())
}

/// Bytes from hexadecimal digits, two each.
#[must_use]
pub fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    text.as_bytes()
        .chunks_exact(2)
        .map(|pair| match pair {
            [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_32_bytes_or_64_digits() {
        let raw = Secret::new(vec![7; 32]);
        let digits = Secret::new(format!("{}\n", "07".repeat(32)).into_bytes());
        assert_eq!(
            Key::from_secret(&raw).unwrap().expose(),
            Key::from_secret(&digits).unwrap().expose()
        );
        let wrong = Key::from_secret(&Secret::new(b"hunter2".to_vec())).unwrap_err().to_string();
        assert_eq!(wrong, "it is 7 bytes; a key is 32 raw bytes or 64 hexadecimal digits");
    }

    /// PROMISE-10
    #[test]
    fn secrets_do_not_print() {
        let key = Key::from_bytes(&[7; 32]).unwrap();
        let shown = format!("{:?} {key:?}", Secret::new(b"hunter2".to_vec()));
        assert_eq!(shown, "Secret(..) Key(..)");
    }

    #[test]
    fn a_key_file_is_made_once_and_refused_when_others_can_read_it() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("master.key");
        let first = key_file(&path).unwrap();
        assert_eq!(first.expose(), key_file(&path).unwrap().expose());
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let refused = key_file(&path).unwrap_err().to_string();
        assert!(refused.contains("has mode 0644"), "{refused}");
    }
}
