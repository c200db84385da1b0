//! TLS of the commands that connect to a feed.
//!
//! Promises: with `--tls-ca` nothing goes out in clear, and nobody is spoken to whose certificate
//! does not verify.
//! Knows nothing of: what is sent.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use rustls::pki_types::ServerName;

use crate::clock;
use crate::feed::mllp::handshake::Bell;
use crate::secret::Origin;
use crate::tls::{Files, Live, client};

/// By whom the other side is verified, and what we bring.
#[derive(Debug, Args)]
pub struct Tls {
    /// Speak TLS, and verify the other side by the authorities in this file (PEM).
    #[arg(long, value_name = "FILE")]
    tls_ca: Option<PathBuf>,
    /// Bring this certificate, with those that lead to its authority (PEM).
    #[arg(long, value_name = "FILE", requires = "tls_ca", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// Its key (PEM, not encrypted, readable by its owner alone).
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// The name that the other side's certificate has to bear, where it is not the host of ADDRESS.
    #[arg(long, value_name = "NAME", requires = "tls_ca")]
    tls_name: Option<String>,
}

impl Tls {
    /// What makes TLS of a connection to an address; nothing where none is wanted.
    ///
    /// # Errors
    /// A file is missing or wrong, or the name is none; in words.
    pub fn bell(&self, address: &str) -> Result<Option<Arc<Bell>>, String> {
        let Some(ca) = &self.tls_ca else { return Ok(None) };
        let origin = |path: &PathBuf| Origin::File(path.clone());
        let files = Files {
            cert: self.tls_cert.as_ref().map(origin),
            key: self.tls_key.as_ref().map(origin),
            ca: Some(origin(ca)),
            crl: None,
        };
        let made = files.read().and_then(|contents| client::make(&contents, clock::now()));
        let made = made.map_err(|wrong| files.say(wrong.part, &wrong.text))?;
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let name = self.tls_name.as_deref().unwrap_or(host);
        let name = ServerName::try_from(name.to_owned())
            .map_err(|_| "the other side's name is no host name and no address".to_owned())?;
        Ok(Some(Arc::new(Bell { live: Arc::new(Live::new(made.config)), name })))
    }
}
