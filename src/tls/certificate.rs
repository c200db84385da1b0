//! What a certificate says (RFC 5280).
//!
//! Promises: a certificate that cannot be read says nothing; nothing here verifies a signature.
//! Knows nothing of: whom to trust.

use jiff::Timestamp;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{CertificateRevocationList, FromDer, X509Certificate};

use crate::bug;

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
        // PROMISE-11: what a peer sends ends its handshake at most.
        bug::contain(|| Self::parse(der)).flatten()
    }

    fn parse(der: &[u8]) -> Option<Self> {
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::secret::Secret;
    use crate::tls::{Part, pem};

    /// `CN=ZZ gate, O=ZZ hospital`; a host name, an address, a URI, a mail address; from
    /// 2026-11-22T20:20:22Z for 36,500 days; an authority.
    fn gate() -> Vec<u8> {
        let text = Secret::new(include_bytes!("../../fixtures/tls/gate.pem").to_vec());
        pem::certificates(Part::Cert, &text).unwrap()[0].to_vec()
    }

    #[test]
    fn a_certificate_is_known_by_its_common_name_its_host_names_and_its_uris() {
        let certificate = Certificate::read(&gate()).unwrap();
        assert_eq!(certificate.names, ["ZZ gate", "gate.example", "urn:oid:1.2.3"]);
        assert!(certificate.names_host && certificate.is_ca);
        assert!(certificate.is_issued_by(&certificate));
        for (name, is) in [
            ("GATE.example", true),
            ("zz gate", true),
            ("urn:oid:1.2.3", true),
            ("example", false),
            ("*.example", false),
            ("ZZ hospital", false),
            ("zz@example.org", false),
            ("127.0.0.1", false),
            ("", false),
        ] {
            assert_eq!(certificate.is_named(name), is, "{name}");
        }
    }

    #[test]
    fn its_dates_trouble_from_thirty_days_before_its_end() {
        let certificate = Certificate::read(&gate()).unwrap();
        let said = |time: &str| certificate.trouble(time.parse().unwrap());
        let end = "2126-10-29T20:20:22Z";
        for (now, words) in [
            ("2026-11-22T20:20:21Z", Some("is not valid before 2026-11-22T20:20:22Z".to_owned())),
            ("2026-11-22T20:20:22Z", None),
            ("2126-09-29T20:20:22Z", None),
            ("2126-09-29T20:20:23Z", Some(format!("expires {end}"))),
            ("2126-10-29T20:20:21Z", Some(format!("expires {end}"))),
            (end, Some(format!("has expired: it ended {end}"))),
        ] {
            assert_eq!(said(now), words, "{now}");
        }
    }

    proptest! {
        /// PROMISE-11: whatever a peer sends as its certificate.
        #[test]
        fn bytes_that_are_no_certificate_say_nothing_and_harm_nothing(
            at in 0_usize..600,
            with in proptest::collection::vec(any::<u8>(), 0..8),
            end in 0_usize..600,
        ) {
            let mut bytes = gate();
            let at = at.min(bytes.len());
            let to = (at + with.len()).min(bytes.len());
            bytes.splice(at..to, with.iter().copied());
            bytes.truncate(end.max(1));
            if let Some(read) = Certificate::parse(&bytes) {
                prop_assert!(read.names.len() <= 8);
            }
            prop_assert!(next_update(&bytes).is_none());
            prop_assert_eq!(Certificate::parse(&with), None);
        }
    }
}
