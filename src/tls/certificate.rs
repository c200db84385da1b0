//! What a certificate says (RFC 5280).
//!
//! Promises: a certificate that cannot be read says nothing; nothing here verifies a signature.
//! Knows nothing of: whom to trust.

use jiff::Timestamp;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{CertificateRevocationList, FromDer, X509Certificate};

/// What one says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// The subject's common names, and its alternative names that are host names or URIs.
    pub names: Vec<String>,
    /// Whether it names a host or an address as those who connect look for it.
    pub names_host: bool,
    /// When it begins, in seconds since 1970.
    pub begins: i64,
    /// When it ends, in seconds since 1970.
    pub ends: i64,
    /// Whether it may issue others.
    pub is_ca: bool,
    subject: Vec<u8>,
    issuer: Vec<u8>,
}

impl Certificate {
    /// Reads one; nothing where it is none.
    #[must_use]
    pub fn read(der: &[u8]) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let common = certificate.subject().iter_common_name();
        let mut names: Vec<String> =
            common.filter_map(|name| name.as_str().ok().map(str::to_owned)).collect();
        let mut names_host = false;
        if let Ok(Some(alternative)) = certificate.subject_alternative_name() {
            for name in &alternative.value.general_names {
                match name {
                    GeneralName::DNSName(name) => {
                        names_host = true;
                        names.push((*name).to_owned());
                    }
                    GeneralName::URI(name) => names.push((*name).to_owned()),
                    GeneralName::IPAddress(_) => names_host = true,
                    _ => {}
                }
            }
        }
        Some(Self {
            names,
            names_host,
            begins: certificate.validity().not_before.timestamp(),
            ends: certificate.validity().not_after.timestamp(),
            is_ca: certificate.is_ca(),
            subject: certificate.subject().as_raw().to_vec(),
            issuer: certificate.issuer().as_raw().to_vec(),
        })
    }

    /// Whether another's name is that of its issuer.
    #[must_use]
    pub fn is_issued_by(&self, other: &Self) -> bool {
        self.issuer == other.subject
    }

    /// Whether it bears a name. Host names have no case (RFC 4343); of other names there are none in
    /// use that differ in case alone.
    #[must_use]
    pub fn is_named(&self, name: &str) -> bool {
        self.names.iter().any(|own| own.eq_ignore_ascii_case(name))
    }

    /// What of its dates will trouble somebody, now or within 30 days.
    #[must_use]
    pub fn trouble(&self, now: Timestamp) -> Option<String> {
        const SOON: i64 = 30 * 86_400;
        let now = now.as_second();
        if self.begins > now {
            Some(format!("is not valid before {}", time(self.begins)))
        } else if self.ends <= now {
            Some(format!("has expired: it ended {}", time(self.ends)))
        } else if self.ends - now < SOON {
            Some(format!("expires {}", time(self.ends)))
        } else {
            None
        }
    }
}

/// When the next update of a revocation list is due, in seconds since 1970; nothing where it does not
/// say, or is none.
#[must_use]
pub fn next_update(der: &[u8]) -> Option<i64> {
    let (_, list) = CertificateRevocationList::from_der(der).ok()?;
    list.next_update().map(|time| time.timestamp())
}

/// A time in seconds, for people.
#[must_use]
pub fn time(seconds: i64) -> String {
    Timestamp::from_second(seconds)
        .map_or_else(|_| "at no time".to_owned(), |time| time.to_string())
}
