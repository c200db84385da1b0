//! The files that TLS is made of.
//!
//! Promises: each is read whole and within a bound; a key must be its owner's alone; two readings
//! can be compared, so that a change is seen by what is in a file and not by its date.
//! Knows nothing of: certificates.

use std::fmt;

use crate::secret::{Origin, Secret, SecretError};

/// Most bytes of certificates or revocation lists. The lists of a national authority are a few hundred
/// KiB.
const PUBLIC_BYTES_MAX: u64 = 4 << 20;

/// Which of the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// Our own certificate, with what leads to its authority.
    Cert,
    /// Its private key.
    Key,
    /// The authorities that the other side's certificate is verified by.
    Ca,
    /// What they have revoked.
    Crl,
}

/// Where each comes from.
#[derive(Clone, Debug, Default)]
pub struct Files {
    /// See [`Part::Cert`].
    pub cert: Option<Origin>,
    /// See [`Part::Key`].
    pub key: Option<Origin>,
    /// See [`Part::Ca`].
    pub ca: Option<Origin>,
    /// See [`Part::Crl`].
    pub crl: Option<Origin>,
}

/// What they hold.
pub struct Contents {
    pub(super) cert: Option<Secret>,
    pub(super) key: Option<Secret>,
    pub(super) ca: Option<Secret>,
    pub(super) crl: Option<Secret>,
}

/// What is wrong, and with which.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Wrong {
    /// The file.
    pub part: Part,
    /// What is wrong with it, and what would be right.
    pub text: String,
}

impl Wrong {
    pub(super) fn new(part: Part, text: impl Into<String>) -> Self {
        Self { part, text: text.into() }
    }
}

impl Files {
    /// What is wrong, with the file that it is wrong with.
    #[must_use]
    pub fn say(&self, part: Part, text: &str) -> String {
        let origin = match part {
            Part::Cert => &self.cert,
            Part::Key => &self.key,
            Part::Ca => &self.ca,
            Part::Crl => &self.crl,
        };
        match origin.as_ref().map(Origin::place) {
            Some(place) if !text.starts_with(&place) => format!("{place}: {text}"),
            _ => text.to_owned(),
        }
    }

    /// Reads them all.
    ///
    /// # Errors
    /// One is not there, not readable, too long; or the key is readable by others.
    pub fn read(&self) -> Result<Contents, Wrong> {
        let public = |origin: &Origin| origin.read_at_most(PUBLIC_BYTES_MAX);
        Ok(Contents {
            cert: read(Part::Cert, self.cert.as_ref(), public)?,
            key: read(Part::Key, self.key.as_ref(), Origin::read_private)?,
            ca: read(Part::Ca, self.ca.as_ref(), public)?,
            crl: read(Part::Crl, self.crl.as_ref(), public)?,
        })
    }
}

fn read(
    part: Part,
    origin: Option<&Origin>,
    how: impl Fn(&Origin) -> Result<Secret, SecretError>,
) -> Result<Option<Secret>, Wrong> {
    origin.map(how).transpose().map_err(|error| Wrong::new(part, error.to_string()))
}

impl PartialEq for Contents {
    fn eq(&self, other: &Self) -> bool {
        self.bytes() == other.bytes()
    }
}

impl Contents {
    fn bytes(&self) -> [Option<&[u8]>; 4] {
        [&self.cert, &self.key, &self.ca, &self.crl].map(|part| part.as_ref().map(Secret::expose))
    }
}

impl fmt::Debug for Contents {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Contents(..)")
    }
}
