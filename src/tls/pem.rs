//! PEM (RFC 7468) to certificates, keys and revocation lists.
//!
//! Promises: a bound number of each; what is not one of them is named as what it is where that
//! helps: an encrypted key, a key where a certificate is wanted.
//! Knows nothing of: what a certificate says.

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};

use super::files::{Part, Wrong};
use crate::secret::Secret;

/// Most certificates of a chain that we send: the longest in use have four.
const CHAIN_MAX: usize = 16;
/// Most authorities, and most of their lists.
const AUTHORITIES_MAX: usize = 512;

/// The certificates of a file, one at least.
///
/// # Errors
/// There is none, too many, or one is broken.
pub fn certificates(part: Part, pem: &Secret) -> Result<Vec<CertificateDer<'static>>, Wrong> {
    let most = if part == Part::Cert { CHAIN_MAX } else { AUTHORITIES_MAX };
    let found: Result<Vec<_>, _> =
        CertificateDer::pem_slice_iter(pem.expose()).take(most + 1).collect();
    let found = found.map_err(|_| Wrong::new(part, "the PEM in it is broken"))?;
    if found.is_empty() {
        return Err(Wrong::new(part, format!("it holds no certificate; {}", instead(pem))));
    }
    if found.len() > most {
        return Err(Wrong::new(part, format!("it holds more than {most} certificates")));
    }
    Ok(found)
}

/// The private key of a file: PKCS #8, PKCS #1 (RSA) or SEC 1 (EC).
///
/// # Errors
/// There is none, or it is encrypted.
pub fn key(pem: &Secret) -> Result<PrivateKeyDer<'static>, Wrong> {
    let holds = |word: &[u8]| memchr::memmem::find(pem.expose(), word).is_some();
    // PKCS #8 says so in its label (RFC 7468, section 11), older forms in a header (RFC 1421).
    if holds(b"BEGIN ENCRYPTED PRIVATE KEY") || holds(b"Proc-Type: 4,ENCRYPTED") {
        let text = "the key is encrypted, and nobody is there to type its passphrase at a start: \
                    write it without one (openssl pkey -in KEY -out NEW; chmod 600 NEW), or let \
                    systemd keep it encrypted (systemd-creds, LoadCredentialEncrypted)";
        return Err(Wrong::new(Part::Key, text));
    }
    PrivateKeyDer::from_pem_slice(pem.expose())
        .map_err(|_| Wrong::new(Part::Key, format!("it holds no private key; {}", instead(pem))))
}

/// The revocation lists of a file, one at least.
///
/// # Errors
/// There is none, too many, or one is broken.
pub fn lists(pem: &Secret) -> Result<Vec<CertificateRevocationListDer<'static>>, Wrong> {
    let found: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(pem.expose())
        .take(AUTHORITIES_MAX + 1)
        .collect();
    let found = found.map_err(|_| Wrong::new(Part::Crl, "the PEM in it is broken"))?;
    if found.is_empty() {
        let text = format!("it holds no revocation list; {}", instead(pem));
        return Err(Wrong::new(Part::Crl, text));
    }
    if found.len() > AUTHORITIES_MAX {
        let text = format!("it holds more than {AUTHORITIES_MAX} revocation lists");
        return Err(Wrong::new(Part::Crl, text));
    }
    Ok(found)
}

/// What it holds instead, by its labels.
fn instead(pem: &Secret) -> &'static str {
    let holds = |word: &[u8]| memchr::memmem::find(pem.expose(), word).is_some();
    if holds(b"PRIVATE KEY-----") {
        "it is a private key"
    } else if holds(b"BEGIN CERTIFICATE REQUEST") {
        "it is a request for a certificate, which an authority has to sign first"
    } else if holds(b"BEGIN X509 CRL") {
        "it is a revocation list"
    } else if holds(b"BEGIN CERTIFICATE-----") {
        "it is a certificate"
    } else if pem.expose().first() == Some(&0x30) {
        "it is DER, and PEM is wanted: openssl x509 -inform der, or openssl pkey -inform der"
    } else {
        "PEM is wanted, which begins with -----BEGIN"
    }
}
