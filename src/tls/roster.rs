//! Whose certificates are let in.
//!
//! Promises: a certificate that is valid and bears none of the names that are listed ends the
//! handshake with `access_denied`; without a list every valid one is let in.
//! Knows nothing of: what its bearer may say then.

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};

use super::certificate::Certificate;

/// The names of those who may connect.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Roster(Vec<String>);

impl Roster {
    /// These names: a common name, or an alternative name that is a host name or a URI.
    #[must_use]
    pub const fn new(names: Vec<String>) -> Self {
        Self(names)
    }

    /// Which entries a certificate bears the name of, by their order.
    #[must_use]
    pub fn entries_of(&self, der: &[u8]) -> Vec<usize> {
        let Some(certificate) = Certificate::read(der) else { return Vec::new() };
        let named = self.0.iter().enumerate().filter(|(_, name)| certificate.is_named(name));
        named.map(|(index, _)| index).collect()
    }

    fn lets_in(&self, der: &[u8]) -> bool {
        self.0.is_empty() || !self.entries_of(der).is_empty()
    }
}

/// Verifies as another does, and then asks the roster.
#[derive(Debug)]
pub(super) struct Listed {
    pub(super) by: Arc<dyn ClientCertVerifier>,
    pub(super) roster: Roster,
}

impl ClientCertVerifier for Listed {
    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.by.verify_client_cert(end_entity, intermediates, now)?;
        if self.roster.lets_in(end_entity) {
            Ok(verified)
        } else {
            Err(CertificateError::ApplicationVerificationFailure.into())
        }
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.by.root_hint_subjects()
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.by.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.by.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.by.supported_verify_schemes()
    }
}
