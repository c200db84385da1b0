//! TLS: from certificates and keys in files to what a handshake needs.
//!
//! Promises: TLS 1.2 and 1.3 and nothing older, by one provider; nothing falls back to plain text;
//! what is wrong with a file says which file and what would be right, never what it holds.
//! Knows nothing of: sockets, feeds.
//!
//! Reading order: [`files`] (what is read), [`pem`] and [`certificate`] (what it says), [`server`] and
//! [`client`] (what becomes of it), [`roster`] (whose certificates are let in), [`live`] (how it is
//! changed while connections last).

pub mod files;
pub mod pem;
pub mod certificate;
pub mod server;
pub mod client;
pub mod roster;
pub mod live;

use std::sync::Arc;

use rustls::SupportedProtocolVersion;
use rustls::crypto::{CryptoProvider, aws_lc_rs};

pub use files::{Contents, Files, Part, Wrong};
pub use live::Live;

/// What is spoken. SSL and TLS before 1.2 have no safe cipher left (RFC 8996), and rustls has none of
/// them.
static VERSIONS: [&SupportedProtocolVersion; 2] =
    [&rustls::version::TLS13, &rustls::version::TLS12];

/// The one provider of ciphers.
#[must_use]
pub fn provider() -> Arc<CryptoProvider> {
    CryptoProvider::get_default()
        .map_or_else(|| Arc::new(aws_lc_rs::default_provider()), Arc::clone)
}

/// Makes it the provider of every library in the process. Once, before anything else.
pub fn install() {
    // Somebody before us can only have installed the same one: there is no other in the binary.
    aws_lc_rs::default_provider().install_default().ok();
}

/// What was made of files, and what they say.
#[derive(Clone, Debug)]
pub struct Made<T> {
    /// For handshakes.
    pub config: Arc<T>,
    /// When what it rests on ends.
    pub ends: Ends,
    /// What is usable, and will trouble somebody.
    pub warnings: Vec<(Part, String)>,
}

/// When each of them ends, in seconds since 1970; of several, the first that does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ends {
    /// Our own certificate, or one of the chain that is sent with it.
    pub cert: Option<i64>,
    /// What others' certificates are verified by.
    pub ca: Option<i64>,
    /// The next update of the revocation lists.
    pub crl: Option<i64>,
}
