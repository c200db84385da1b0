//! The side that is connected to.
//!
//! Promises: a certificate and a key that do not belong together are not used; with authorities
//! given, who brings no certificate of theirs is not let in; what is wrong with dates or order is
//! told and used all the same, since a listener that does not start helps nobody whose peer would
//! have looked away.
//! Knows nothing of: addresses.

use std::sync::Arc;

use jiff::Timestamp;
use rustls::pki_types::CertificateDer;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig};

use super::certificate::{Certificate, next_update, time};
use super::files::{Contents, Part, Wrong};
use super::roster::{Listed, Roster};
use super::{Ends, Made, VERSIONS, pem, provider};

/// What a listener needs.
///
/// # Errors
/// A part is missing or broken, or two do not fit.
pub fn make(
    contents: &Contents,
    roster: &Roster,
    now: Timestamp,
) -> Result<Made<ServerConfig>, Wrong> {
    let mut notes = Notes::new(now);
    let own = own(contents, &mut notes)?;
    let verifier = verifier(contents, roster, &mut notes)?;
    let builder = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&VERSIONS)
        .map_err(|error| Wrong::new(Part::Cert, error.to_string()))?;
    let builder = match verifier {
        Some(verifier) => builder.with_client_cert_verifier(verifier),
        None => builder.with_no_client_auth(),
    };
    let mut config =
        builder.with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(own)));
    // A connection of a feed lasts for days, so resumption saves little; and a resumed session would
    // not be held against a list or an authority that changed since.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Made { config: Arc::new(config), ends: notes.ends, warnings: notes.warnings })
}

/// What is learnt on the way.
pub(super) struct Notes {
    now: Timestamp,
    pub(super) ends: Ends,
    pub(super) warnings: Vec<(Part, String)>,
}

impl Notes {
    pub(super) const fn new(now: Timestamp) -> Self {
        let ends = Ends { cert: None, ca: None, crl: None };
        Self { now, ends, warnings: Vec::new() }
    }

    fn end(&mut self, part: Part, ends: i64) {
        let first = match part {
            Part::Cert | Part::Key => &mut self.ends.cert,
            Part::Ca => &mut self.ends.ca,
            Part::Crl => &mut self.ends.crl,
        };
        *first = Some(first.map_or(ends, |first| first.min(ends)));
    }

    fn warn(&mut self, part: Part, text: String) {
        self.warnings.push((part, text));
    }
}

/// Our own certificate with its key.
pub(super) fn own(contents: &Contents, notes: &mut Notes) -> Result<CertifiedKey, Wrong> {
    let missing = |part| Wrong::new(part, "a certificate and its key go together");
    let cert = contents.cert.as_ref().ok_or_else(|| missing(Part::Cert))?;
    let key = contents.key.as_ref().ok_or_else(|| missing(Part::Key))?;
    let chain = pem::certificates(Part::Cert, cert)?;
    let key = provider().key_provider.load_private_key(pem::key(key)?).map_err(|_| {
        let text = "it is a key that TLS is not spoken with here: RSA of 2048 to 8192 bits, ECDSA on \
                    P-256, P-384 or P-521, or Ed25519 is wanted";
        Wrong::new(Part::Key, text)
    })?;
    let own = CertifiedKey::new(chain, key);
    if fits(&own) {
        note_chain(&own.cert, notes)?;
        return Ok(own);
    }
    let later = own
        .cert
        .iter()
        .skip(1)
        .position(|cert| fits(&CertifiedKey::new(vec![cert.clone()], Arc::clone(&own.key))));
    Err(match later {
        Some(index) => Wrong::new(
            Part::Cert,
            format!(
                "the key is that of certificate {} of the file; its certificate comes first, then \
                 the one that issued it, and so on",
                index + 2
            ),
        ),
        None => Wrong::new(
            Part::Key,
            "it is not the key of the certificate: both have to come from the same request",
        ),
    })
}

/// Whether a key is that of the first certificate. Of a key that cannot say, handshakes show it.
fn fits(own: &CertifiedKey) -> bool {
    use rustls::{Error, InconsistentKeys};
    matches!(own.keys_match(), Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)))
}

/// What there is to say of a chain that is sent.
fn note_chain(chain: &[CertificateDer<'_>], notes: &mut Notes) -> Result<(), Wrong> {
    let mut before: Option<Certificate> = None;
    for (index, der) in chain.iter().enumerate() {
        let number = index + 1;
        let Some(certificate) = Certificate::read(der) else {
            return Err(Wrong::new(Part::Cert, format!("certificate {number} cannot be read")));
        };
        if let Some(trouble) = certificate.trouble(notes.now) {
            notes.warn(Part::Cert, format!("certificate {number} {trouble}"));
        }
        notes.end(Part::Cert, certificate.ends);
        match &before {
            None if !certificate.names_host => notes.warn(
                Part::Cert,
                "certificate 1 names no host or address (subjectAltName); most peers refuse it"
                    .to_owned(),
            ),
            Some(before) if !before.is_issued_by(&certificate) => notes.warn(
                Part::Cert,
                format!(
                    "certificate {number} is not the issuer of certificate {index}; the chain goes \
                     from one's own to its issuer's, and peers may refuse another order"
                ),
            ),
            None | Some(_) => {}
        }
        before = Some(certificate);
    }
    Ok(())
}

/// The authorities of a file.
pub(super) fn authorities(
    contents: &Contents,
    notes: &mut Notes,
) -> Result<Option<RootCertStore>, Wrong> {
    let Some(ca) = &contents.ca else { return Ok(None) };
    let mut roots = RootCertStore::empty();
    for (index, der) in pem::certificates(Part::Ca, ca)?.into_iter().enumerate() {
        let number = index + 1;
        let wrong = |what: &str| Wrong::new(Part::Ca, format!("certificate {number} {what}"));
        let certificate = Certificate::read(&der).ok_or_else(|| wrong("cannot be read"))?;
        // It would let in whom its owner issues one to.
        if !certificate.is_ca {
            return Err(wrong(
                "is not that of an authority (basicConstraints CA:TRUE); the certificate of whoever \
                 issued it is wanted",
            ));
        }
        if let Some(trouble) = certificate.trouble(notes.now) {
            notes.warn(Part::Ca, format!("certificate {number} {trouble}"));
        }
        notes.end(Part::Ca, certificate.ends);
        roots.add(der).map_err(|_| wrong("cannot be used as an authority's"))?;
    }
    Ok(Some(roots))
}

fn verifier(
    contents: &Contents,
    roster: &Roster,
    notes: &mut Notes,
) -> Result<Option<Arc<dyn ClientCertVerifier>>, Wrong> {
    let Some(roots) = authorities(contents, notes)? else { return Ok(None) };
    let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider());
    if let Some(crl) = &contents.crl {
        let lists = pem::lists(crl)?;
        for (index, list) in lists.iter().enumerate() {
            let Some(ends) = next_update(list) else { continue };
            notes.end(Part::Crl, ends);
            if ends <= notes.now.as_second() {
                let text = format!(
                    "list {} is out of date: its next one was due {}; what was revoked since is let in",
                    index + 1,
                    time(ends)
                );
                notes.warn(Part::Crl, text);
            }
        }
        // The list of whoever issued the sender's own certificate has to be there; of those between
        // it and the root many publish none. An old list is better than none and better than a feed
        // that stands still: its age is told.
        builder = builder.with_crls(lists).only_check_end_entity_revocation();
    }
    let by = builder.build().map_err(|error| {
        let text =
            format!("{error}; lists of version 2 with a number are wanted (RFC 5280, section 5.2)");
        Wrong::new(Part::Crl, text)
    })?;
    Ok(Some(Arc::new(Listed { by, roster: roster.clone() })))
}
