//! The base URL of a FHIR server, and which addresses are the server's.
//!
//! Promises: an address of another scheme, host or port is none of the server's, whoever names it,
//! the server itself included.
//! Knows nothing of: what is there.

use std::fmt;
use std::net::IpAddr;

use reqwest::Url;

/// Longest address that is asked for, in bytes. Links to further pages hold a server's state; 8 KiB
/// is what servers take in a request line (RFC 9112, section 3 asks for 8000).
const URL_BYTES_MAX: usize = 8 << 10;

/// The base URL of a server, without a slash at its end.
#[derive(Clone, PartialEq, Eq)]
pub struct Base(Url);

/// Why it is no base URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadBase {
    /// No URL at all.
    #[error("is no URL, such as \"https://ehr.example/fhir\"")]
    NotUrl,
    /// `ftp:` and the like.
    #[error("is neither https nor http")]
    Scheme,
    /// `http:` to somewhere else than this machine.
    #[error("is http, by which patients and tokens would go in clear; https is wanted")]
    Clear,
    /// `https://user:password@host`
    #[error("holds a user or a password; they belong in `auth`")]
    User,
    /// `?` or `#`
    #[error("ends before `?` and `#`")]
    Query,
}

/// Why an address is not asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadLink {
    /// No address, or a longer one than is asked for.
    #[error("it is no address")]
    NotUrl,
    /// Another scheme, host or port.
    #[error("it is none of the server's own: its scheme, host or port is another")]
    OtherOrigin,
}

impl Base {
    /// Reads one. In clear only to this machine, unless `plain` is said.
    ///
    /// # Errors
    /// Why it is none.
    pub fn read(text: &str, plain: bool) -> Result<Self, BadBase> {
        let mut url = Url::parse(text).map_err(|_| BadBase::NotUrl)?;
        refuse_clear(&url, plain)?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(BadBase::User);
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(BadBase::Query);
        }
        let path = url.path().trim_end_matches('/').to_owned();
        url.set_path(&path);
        Ok(Self(url))
    }

    /// An address below it, such as `Patient/1` or `Encounter?_count=500`; the query has to be
    /// encoded already.
    ///
    /// # Errors
    /// It is none, or leads elsewhere.
    pub fn below(&self, path: &str) -> Result<Url, BadLink> {
        let root = self.0.as_str().trim_end_matches('/');
        self.own(Url::parse(&format!("{root}/{}", path.trim_start_matches('/'))))
    }

    /// An address that the server named, absolute or relative to another, and that is its own.
    ///
    /// # Errors
    /// It is none, or leads elsewhere.
    pub fn linked(&self, from: &Url, link: &str) -> Result<Url, BadLink> {
        self.own(from.join(link))
    }

    /// Whether an address is the server's: the same scheme, host and port (RFC 6454, section 5).
    #[must_use]
    pub fn admits(&self, url: &Url) -> bool {
        url.origin() == self.0.origin() && url.username().is_empty() && url.password().is_none()
    }

    /// The address itself.
    #[must_use]
    pub const fn url(&self) -> &Url {
        &self.0
    }

    fn own(&self, url: Result<Url, impl Sized>) -> Result<Url, BadLink> {
        let url = url.map_err(|_| BadLink::NotUrl)?;
        if url.as_str().len() > URL_BYTES_MAX {
            return Err(BadLink::NotUrl);
        }
        if self.admits(&url) { Ok(url) } else { Err(BadLink::OtherOrigin) }
    }
}

/// Refuses what would go in clear beyond this machine.
///
/// # Errors
/// It would, and `plain` is not said; or it is no HTTP.
pub fn refuse_clear(url: &Url, plain: bool) -> Result<(), BadBase> {
    match url.scheme() {
        "https" => Ok(()),
        "http" if plain || is_local(url) => Ok(()),
        "http" => Err(BadBase::Clear),
        _ => Err(BadBase::Scheme),
    }
}

/// Whether an address is on this machine.
fn is_local(url: &Url) -> bool {
    let Some(host) = url.host_str() else { return false };
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

impl fmt::Debug for Base {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

impl fmt::Display for Base {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.0.as_str().trim_end_matches('/'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_url_is_https_or_on_this_machine() {
        for (text, wanted) in [
            ("https://ehr.example/fhir", Ok("https://ehr.example/fhir")),
            ("https://ehr.example/fhir/r4/", Ok("https://ehr.example/fhir/r4")),
            ("HTTPS://EHR.example:443", Ok("https://ehr.example")),
            ("http://127.0.0.1:8080/fhir", Ok("http://127.0.0.1:8080/fhir")),
            ("http://[::1]/fhir", Ok("http://[::1]/fhir")),
            ("http://localhost/", Ok("http://localhost")),
            ("http://ehr.example/fhir", Err(BadBase::Clear)),
            ("http://localhost.example/fhir", Err(BadBase::Clear)),
            ("http://127.0.0.1.example/fhir", Err(BadBase::Clear)),
            ("ftp://ehr.example/fhir", Err(BadBase::Scheme)),
            ("file:///etc/passwd", Err(BadBase::Scheme)),
            ("ehr.example/fhir", Err(BadBase::NotUrl)),
            ("https://u:p@ehr.example/fhir", Err(BadBase::User)),
            ("https://ehr.example/fhir?a=b", Err(BadBase::Query)),
            ("https://ehr.example/fhir#a", Err(BadBase::Query)),
            ("", Err(BadBase::NotUrl)),
        ] {
            let read = Base::read(text, false).map(|base| base.to_string());
            assert_eq!(read, wanted.map(str::to_owned), "{text}");
        }
        assert!(Base::read("http://ehr.example/fhir", true).is_ok());
    }

    #[test]
    fn a_link_is_followed_to_the_same_scheme_host_and_port_alone() {
        let base = Base::read("https://ehr.example/fhir", false).unwrap();
        let page = base.below("Encounter?_count=2").unwrap();
        assert_eq!(page.as_str(), "https://ehr.example/fhir/Encounter?_count=2");
        for (link, wanted) in [
            ("https://ehr.example:443/fhir?_page=2", Some("https://ehr.example/fhir?_page=2")),
            ("https://ehr.example/other?_page=2", Some("https://ehr.example/other?_page=2")),
            ("Encounter?_page=2", Some("https://ehr.example/fhir/Encounter?_page=2")),
            ("?_page=2", Some("https://ehr.example/fhir/Encounter?_page=2")),
            ("//other.example/fhir", None),
            ("http://ehr.example/fhir?_page=2", None),
            ("https://ehr.example:8443/fhir?_page=2", None),
            ("https://ehr.example.evil.example/fhir", None),
            ("https://ehr.example@evil.example/fhir", None),
            ("https://user:pw@ehr.example/fhir", None),
            ("https://EHR.example/fhir", Some("https://ehr.example/fhir")),
            ("javascript:alert(1)", None),
        ] {
            let found = base.linked(&page, link).ok();
            assert_eq!(found.as_ref().map(Url::as_str), wanted, "{link}");
        }
        let long = format!("Encounter?_page={}", "2".repeat(URL_BYTES_MAX));
        assert_eq!(base.linked(&page, &long), Err(BadLink::NotUrl));
        assert_eq!(base.below("//evil.example/").map(|url| base.admits(&url)), Ok(true));
        let root = Base::read("https://ehr.example", false).unwrap();
        assert_eq!(root.below("metadata").unwrap().as_str(), "https://ehr.example/metadata");
    }
}
