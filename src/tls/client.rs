//! The side that connects.
//!
//! Promises: the other side's certificate is verified by the authorities given and by its name, and
//! nothing turns that off.
//! Knows nothing of: addresses.

use std::sync::Arc;

use jiff::Timestamp;
use rustls::client::{Resumption, WantsClientCert};
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, ConfigBuilder, RootCertStore};

use super::files::{Contents, Part, Wrong};
use super::server::{Notes, authorities, own};
use super::{Made, VERSIONS, provider};

/// What somebody who connects needs. Without authorities those of the operating system vouch.
///
/// # Errors
/// A part is missing or broken, or two do not fit.
pub fn make(contents: &Contents, now: Timestamp) -> Result<Made<ClientConfig>, Wrong> {
    let mut notes = Notes::new(now);
    let roots = match authorities(contents, &mut notes)? {
        Some(roots) => roots,
        None => of_the_system()?,
    };
    let builder = trusting(roots)?;
    let mut config = if contents.cert.is_some() || contents.key.is_some() {
        let own = own(contents, &mut notes)?;
        builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(own)))
    } else {
        builder.with_no_client_auth()
    };
    config.resumption = Resumption::disabled();
    Ok(Made { config: Arc::new(config), ends: notes.ends, warnings: notes.warnings })
}

/// The authorities that the operating system trusts (`SSL_CERT_FILE`, `SSL_CERT_DIR`, else where the
/// distributions keep them). One of them that cannot be read is left out: there are a hundred others.
fn of_the_system() -> Result<RootCertStore, Wrong> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        let text =
            "this machine knows no authorities (Debian: ca-certificates), and `ca` names none";
        return Err(Wrong::new(Part::Ca, text));
    }
    Ok(roots)
}

/// For who speaks no TLS, with a library that wants to be told: nobody's certificate is verified by it.
///
/// # Errors
/// The provider has none of the versions.
pub fn nobody() -> Result<Arc<ClientConfig>, Wrong> {
    Ok(Arc::new(trusting(RootCertStore::empty())?.with_no_client_auth()))
}

fn trusting(roots: RootCertStore) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, Wrong> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&VERSIONS)
        .map_err(|error| Wrong::new(Part::Ca, error.to_string()))?;
    Ok(builder.with_root_certificates(roots))
}
