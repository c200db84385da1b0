//! The side that connects.
//!
//! Promises: the other side's certificate is verified by the authorities given and by its name, and
//! nothing turns that off.
//! Knows nothing of: addresses.

use std::sync::Arc;

use jiff::Timestamp;
use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::sign::SingleCertAndKey;

use super::files::{Contents, Part, Wrong};
use super::server::{Notes, authorities, own};
use super::{Made, VERSIONS, provider};

/// What somebody who connects needs.
///
/// # Errors
/// A part is missing or broken, or two do not fit.
pub fn make(contents: &Contents, now: Timestamp) -> Result<Made<ClientConfig>, Wrong> {
    let mut notes = Notes::new(now);
    let missing = || Wrong::new(Part::Ca, "it is not known by whom the other side is verified");
    let roots = authorities(contents, &mut notes)?.ok_or_else(missing)?;
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&VERSIONS)
        .map_err(|error| Wrong::new(Part::Ca, error.to_string()))?
        .with_root_certificates(roots);
    let mut config = if contents.cert.is_some() || contents.key.is_some() {
        let own = own(contents, &mut notes)?;
        builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(own)))
    } else {
        builder.with_no_client_auth()
    };
    config.resumption = Resumption::disabled();
    Ok(Made { config: Arc::new(config), ends: notes.ends, warnings: notes.warnings })
}
