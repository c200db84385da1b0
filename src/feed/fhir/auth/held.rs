//! A password or a token that somebody else sees to, in a file.
//!
//! Promises: what is replaced in the file is shown within seconds, and at once after a refusal; what
//! cannot be shown in a header is refused, and never quoted.
//! Knows nothing of: who asks for it.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::Shown;
use crate::clock;
use crate::feed::fhir::fault::TokenFault;
use crate::secret::{Origin, Secret};

/// How long what was read is shown before it is looked at again: as often as certificates are.
const LOOK_INTERVAL: Duration = Duration::from_secs(10);
/// Longest token or password, in bytes. Tokens that hold claims are a few KiB; servers take 8 KiB of
/// headers together.
pub(super) const TOKEN_BYTES_MAX: usize = 16 << 10;

/// What is read, and shown.
pub struct Held {
    origin: Origin,
    /// The name that goes before a password.
    user: Option<String>,
    last: Mutex<Option<Last>>,
}

struct Last {
    read_at: Duration,
    number: u64,
    value: Arc<Secret>,
}

impl Held {
    /// A token.
    pub(super) const fn bearer(origin: Origin) -> Self {
        Self { origin, user: None, last: Mutex::new(None) }
    }

    /// A password.
    pub(super) const fn basic(user: String, origin: Origin) -> Self {
        Self { origin, user: Some(user), last: Mutex::new(None) }
    }

    /// What is shown.
    pub(super) async fn show(self: Arc<Self>) -> Result<Shown, TokenFault> {
        {
            let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(last) = &*last
                && clock::monotonic().saturating_sub(last.read_at) < LOOK_INTERVAL
            {
                return Ok(last.shown());
            }
        }
        self.look().await
    }

    /// What is shown once that one was refused, if it is another.
    pub(super) async fn renew(self: Arc<Self>, refused: u64) -> Result<Option<Shown>, TokenFault> {
        let newest = self.look().await?;
        Ok((newest.number != refused).then_some(newest))
    }

    /// Reads it, on a thread that may wait: the file's disk may hang.
    async fn look(self: Arc<Self>) -> Result<Shown, TokenFault> {
        let looked = tokio::task::spawn_blocking(move || {
            let value = Arc::new(value(&self.origin, self.user.as_deref())?);
            let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
            let number = match &*last {
                Some(last) if last.value.expose() == value.expose() => last.number,
                Some(last) => last.number + 1,
                None => 0,
            };
            let newest = Last { read_at: clock::monotonic(), number, value };
            let shown = newest.shown();
            *last = Some(newest);
            Ok(shown)
        });
        looked.await.map_err(|_| TokenFault::Key("it could not be looked at".to_owned()))?
    }
}

impl Last {
    fn shown(&self) -> Shown {
        Shown { value: Secret::new(self.value.expose().to_vec()), number: self.number }
    }
}

/// What a token or a password is shown as, or why it cannot be.
///
/// # Errors
/// It cannot be read, is empty, too long, or holds what no header holds.
pub fn value(origin: &Origin, user: Option<&str>) -> Result<Secret, TokenFault> {
    let read = origin.read_private().map_err(|error| TokenFault::Key(error.to_string()))?;
    let wrong = |what: &str| TokenFault::Key(format!("{}: {what}", origin.place()));
    let bytes = trimmed(read.expose());
    if bytes.is_empty() {
        return Err(wrong("it is empty"));
    }
    if bytes.len() > TOKEN_BYTES_MAX {
        return Err(wrong("it is longer than 16 KiB, which no server takes"));
    }
    match user {
        None if bytes.iter().all(u8::is_ascii_graphic) => {
            Ok(Secret::new([b"Bearer ".as_slice(), bytes].concat()))
        }
        None => Err(wrong("it holds a blank or a character that no token has (RFC 6750, 2.1)")),
        Some(user) => {
            // RFC 7617, section 2.1: UTF-8, as all servers of today take it.
            let both = Zeroizing::new([user.as_bytes(), b":", bytes].concat());
            let encoded = Zeroizing::new(STANDARD.encode(&both));
            Ok(Secret::new([b"Basic ", encoded.as_bytes()].concat()))
        }
    }
}

/// Without the end of a line that editors leave.
fn trimmed(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().rposition(|byte| !matches!(byte, b'\n' | b'\r')).map_or(0, |at| at + 1);
    bytes.get(..end).unwrap_or_default()
}

impl fmt::Debug for Held {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Held({})", self.origin.place())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    use super::*;

    fn write(path: &Path, text: &str) -> Origin {
        std::fs::write(path, text).unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
        Origin::File(path.to_path_buf())
    }

    #[test]
    fn a_token_and_a_password_are_shown_as_their_standards_say() {
        let dir = tempfile::tempdir().unwrap();
        let origin = write(&dir.path().join("secret"), "abc.DEF-123_~+/==\r\n");
        let shown = |user| String::from_utf8(value(&origin, user).unwrap().expose().to_vec());
        assert_eq!(shown(None).unwrap(), "Bearer abc.DEF-123_~+/==");
        let origin = write(&dir.path().join("secret"), "open sesame\n");
        // RFC 7617, section 2.
        let basic = value(&origin, Some("Aladdin")).unwrap();
        assert_eq!(basic.expose(), b"Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
    }

    /// PROMISE-10
    #[test]
    fn what_cannot_be_shown_is_refused_by_its_place_and_not_quoted() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        for (text, wanted) in [
            ("", "it is empty"),
            ("\n", "it is empty"),
            ("ZZSECRET two", "it holds a blank or a character that no token has (RFC 6750, 2.1)"),
            ("ZZSECRET\nX-Evil: 1", "it holds a blank"),
            (&"Z".repeat(TOKEN_BYTES_MAX + 1), "it is longer than 16 KiB"),
        ] {
            let said = value(&write(&path, text), None).unwrap_err().to_string();
            assert!(said.contains(wanted) && !said.contains("ZZ"), "{said}");
            assert!(said.starts_with(&path.display().to_string()), "{said}");
        }
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let said = value(&Origin::File(path), None).unwrap_err().to_string();
        assert!(said.contains("has mode 0644"), "{said}");
    }

    #[tokio::test]
    async fn what_is_replaced_in_the_file_is_shown_after_a_refusal() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        let held = Arc::new(Held::bearer(write(&path, "first")));
        let first = Arc::clone(&held).show().await.unwrap();
        assert_eq!(first.header().unwrap(), "Bearer first");
        assert!(Arc::clone(&held).renew(first.number).await.unwrap().is_none());
        write(&path, "second");
        let second = Arc::clone(&held).renew(first.number).await.unwrap().unwrap();
        assert_eq!(second.header().unwrap(), "Bearer second");
        assert!(!format!("{second:?} {held:?}").contains("second"));
        assert!(second.header().unwrap().is_sensitive());
        // Who was refused with the first finds the second.
        let again = Arc::clone(&held).renew(first.number).await.unwrap().unwrap();
        assert_eq!(again.number, second.number);
    }
}
