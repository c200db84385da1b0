//! The key that assertions are signed with, and its public half.
//!
//! Promises: a key is taken in one form, PKCS #8 in PEM, and what is refused says what it is and how
//! it is converted; the private half is never shown.
//! Knows nothing of: servers, what is signed.

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::PublicKeyComponents;
use aws_lc_rs::signature::{
    ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA384,
    RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Map, Value as Json};

use crate::secret::{Origin, Secret};

/// How an assertion is signed (RFC 7518, section 3; RFC 8037). SMART servers have to take the first two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-384.
    Rs384,
    /// ECDSA on P-384 with SHA-384.
    Es384,
    /// Ed25519.
    EdDsa,
}

impl Algorithm {
    /// All of them by name.
    pub const NAMES: [(&str, Self); 3] =
        [("RS384", Self::Rs384), ("ES384", Self::Es384), ("EdDSA", Self::EdDsa)];

    /// The name in a header.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rs384 => "RS384",
            Self::Es384 => "ES384",
            Self::EdDsa => "EdDSA",
        }
    }

    /// How a key for it is made.
    const fn made_by(self) -> &'static str {
        match self {
            Self::Rs384 => "openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:3072 -out NEW",
            Self::Es384 => {
                "openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-384 -out NEW"
            }
            Self::EdDsa => "openssl genpkey -algorithm ED25519 -out NEW",
        }
    }
}

/// Why it is no key that is signed with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyFault {
    /// It cannot be read.
    #[error("{0}")]
    Unreadable(String),
    /// Another form than PKCS #8 in PEM.
    #[error("{what}; {convert}")]
    Form {
        /// What it is.
        what: &'static str,
        /// What makes a key of it, or instead of it.
        convert: String,
    },
    /// A key that nobody of SMART's is signed with, or a weak one.
    #[error("it is {what}; {wanted}")]
    Kind {
        /// What it is.
        what: &'static str,
        /// Which would be right.
        wanted: String,
    },
    /// A key for another algorithm.
    #[error("it is a key for {found}, and `algorithm` is {wanted}; a key for that is made by {by}")]
    Algorithm {
        /// What it is for.
        found: &'static str,
        /// What is asked.
        wanted: &'static str,
        /// How one is made.
        by: &'static str,
    },
}

/// A key that assertions are signed with.
pub struct SigningKey {
    pair: Pair,
    kid: String,
}

enum Pair {
    Rsa(RsaKeyPair),
    Ec(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
}

impl SigningKey {
    /// Reads one from where it is; its ID is the thumbprint of its public half, unless it is said.
    ///
    /// # Errors
    /// It cannot be read or used.
    pub fn read(
        origin: &Origin,
        algorithm: Option<Algorithm>,
        kid: Option<&str>,
    ) -> Result<Self, KeyFault> {
        let secret =
            origin.read_private().map_err(|error| KeyFault::Unreadable(error.to_string()))?;
        let name = match origin {
            Origin::File(path) => path.display().to_string(),
            Origin::Env(_) | Origin::Credential(_) => "KEY".to_owned(),
        };
        let pair = pair(&secret, &name, algorithm)?;
        let mut key = Self { pair, kid: String::new() };
        key.kid = kid.map_or_else(|| thumbprint(&key.public()), str::to_owned);
        Ok(key)
    }

    /// What it signs by.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        match &self.pair {
            Pair::Rsa(_) => Algorithm::Rs384,
            Pair::Ec(_) => Algorithm::Es384,
            Pair::Ed(_) => Algorithm::EdDsa,
        }
    }

    /// Its ID.
    #[must_use]
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// Signs; the form is that of RFC 7515: of ECDSA the two numbers behind each other.
    #[must_use]
    pub fn sign(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        let random = SystemRandom::new();
        match &self.pair {
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA384, &random, bytes, &mut signature).ok()?;
                Some(signature)
            }
            Pair::Ec(pair) => Some(pair.sign(&random, bytes).ok()?.as_ref().to_vec()),
            Pair::Ed(pair) => Some(pair.sign(bytes).as_ref().to_vec()),
        }
    }

    /// Its public half as a JSON Web Key (RFC 7517), for those who verify what it signed.
    #[must_use]
    pub fn jwk(&self) -> Json {
        let mut jwk = self.public();
        for (member, value) in
            [("kid", self.kid.as_str()), ("alg", self.algorithm().name()), ("use", "sig")]
        {
            jwk.insert(member.to_owned(), value.into());
        }
        // SMART Backend Services asks for it beside `use`.
        jwk.insert("key_ops".to_owned(), vec!["verify"].into());
        Json::Object(jwk)
    }

    /// The members of its JSON Web Key that make it up, and no others.
    fn public(&self) -> Map<String, Json> {
        let text = |bytes: &[u8]| Json::from(URL_SAFE_NO_PAD.encode(bytes));
        let members = match &self.pair {
            Pair::Rsa(pair) => {
                let public = PublicKeyComponents::<Vec<u8>>::from(pair.public_key());
                vec![("kty", "RSA".into()), ("n", text(&public.n)), ("e", text(&public.e))]
            }
            Pair::Ec(pair) => {
                // Uncompressed: 4, x, y (SEC 1, section 2.3.3).
                let point = pair.public_key().as_ref().get(1..).unwrap_or_default();
                let (x, y) = point.split_at(point.len() / 2);
                vec![("kty", "EC".into()), ("crv", "P-384".into()), ("x", text(x)), ("y", text(y))]
            }
            Pair::Ed(pair) => {
                let public = text(pair.public_key().as_ref());
                vec![("kty", "OKP".into()), ("crv", "Ed25519".into()), ("x", public)]
            }
        };
        members.into_iter().map(|(member, value)| (member.to_owned(), value)).collect()
    }
}

/// The thumbprint of the members that make a key up (RFC 7638): SHA-256 over them in order, without
/// blanks. `Map` keeps them in order.
fn thumbprint(members: &Map<String, Json>) -> String {
    let mut names: Vec<_> = members.iter().collect();
    names.sort_unstable_by_key(|(name, _)| name.as_str());
    let sorted: Vec<String> =
        names.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
    let canonical = format!("{{{}}}", sorted.join(","));
    URL_SAFE_NO_PAD.encode(digest(&SHA256, canonical.as_bytes()))
}

fn pair(pem: &Secret, name: &str, wanted: Option<Algorithm>) -> Result<Pair, KeyFault> {
    refuse_other_forms(pem, name)?;
    let der = PrivatePkcs8KeyDer::from_pem_slice(pem.expose()).map_err(|_| KeyFault::Form {
        what: "its PEM is broken",
        convert: "a key in PEM begins with -----BEGIN PRIVATE KEY----- and is copied whole"
            .to_owned(),
    })?;
    let der = der.secret_pkcs8_der();
    let kind = Kind::of(der);
    if let (Some(wanted), Some(found)) = (wanted, kind.algorithm())
        && wanted != found
    {
        return Err(KeyFault::Algorithm {
            found: found.name(),
            wanted: wanted.name(),
            by: wanted.made_by(),
        });
    }
    let other = |what| {
        let by = wanted.unwrap_or(Algorithm::Es384).made_by();
        KeyFault::Kind {
            what,
            wanted: format!(
                "RSA of 2048 to 8192 bits (RS384), EC on P-384 (ES384) or Ed25519 (EdDSA) is wanted: {by}"
            ),
        }
    };
    match kind {
        Kind::Rsa => match RsaKeyPair::from_pkcs8(der) {
            Ok(pair) => Ok(Pair::Rsa(pair)),
            Err(rejected) => Err(other(match rejected.description_() {
                "TooSmall" => "an RSA key of less than 2048 bits",
                "TooLarge" => "an RSA key of more than 8192 bits",
                _ => "an RSA key that is broken",
            })),
        },
        Kind::P384 => EcdsaKeyPair::from_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, der)
            .map(Pair::Ec)
            .map_err(|_| other("an EC key that is broken")),
        Kind::Ed25519 => Ed25519KeyPair::from_pkcs8(der)
            .map(Pair::Ed)
            .map_err(|_| other("an Ed25519 key that is broken")),
        Kind::RsaPss => Err(other("an RSA-PSS key, which signs by PS384 alone")),
        Kind::P256 => Err(other("an EC key on P-256, which signs by ES256")),
        Kind::P521 => Err(other("an EC key on P-521, which signs by ES512")),
        Kind::Ed448 => Err(other("an Ed448 key")),
        Kind::Other => Err(other("a key of another kind")),
    }
}

/// What a PKCS #8 structure says it holds (RFC 5208, section 5: the algorithm comes right behind the
/// version).
#[derive(Clone, Copy)]
enum Kind {
    Rsa,
    RsaPss,
    P256,
    P384,
    P521,
    Ed25519,
    Ed448,
    Other,
}

impl Kind {
    /// By the object identifiers within the first bytes: the outer lengths are four bytes each at
    /// most, the version three, and the identifiers eighteen.
    fn of(der: &[u8]) -> Self {
        let head = der.get(..der.len().min(40)).unwrap_or_default();
        let holds = |identifier: &[u8]| memchr::memmem::find(head, identifier).is_some();
        let named: [(&[u8], Self); 7] = [
            (&[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01], Self::Rsa),
            (&[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0a], Self::RsaPss),
            (&[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07], Self::P256),
            (&[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22], Self::P384),
            (&[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x23], Self::P521),
            (&[0x06, 0x03, 0x2b, 0x65, 0x70], Self::Ed25519),
            (&[0x06, 0x03, 0x2b, 0x65, 0x71], Self::Ed448),
        ];
        let found = named.into_iter().find(|(identifier, _)| holds(identifier));
        found.map_or(Self::Other, |(_, kind)| kind)
    }

    const fn algorithm(self) -> Option<Algorithm> {
        match self {
            Self::Rsa => Some(Algorithm::Rs384),
            Self::P384 => Some(Algorithm::Es384),
            Self::Ed25519 => Some(Algorithm::EdDsa),
            Self::RsaPss | Self::P256 | Self::P521 | Self::Ed448 | Self::Other => None,
        }
    }
}

/// Refuses what is no PKCS #8 in PEM, by its label, with the command that makes one of it.
fn refuse_other_forms(pem: &Secret, name: &str) -> Result<(), KeyFault> {
    let bytes = pem.expose();
    let holds = |word: &[u8]| memchr::memmem::find(bytes, word).is_some();
    let pkcs8 = |what| KeyFault::Form {
        what,
        convert: format!("openssl pkcs8 -topk8 -nocrypt -in {name} -out NEW; chmod 600 NEW"),
    };
    let instead = |what| KeyFault::Form {
        what,
        convert:
            "the private key is wanted, in a file that begins with -----BEGIN PRIVATE KEY-----"
                .to_owned(),
    };
    if holds(b"-----BEGIN ENCRYPTED PRIVATE KEY-----") || holds(b"Proc-Type: 4,ENCRYPTED") {
        return Err(pkcs8(
            "the key is encrypted, and nobody is there to type its passphrase: it has to be without one",
        ));
    }
    if holds(b"-----BEGIN PRIVATE KEY-----") {
        return Ok(());
    }
    if holds(b"-----BEGIN RSA PRIVATE KEY-----") {
        return Err(pkcs8("it is a key in the older form of PKCS #1, and PKCS #8 is wanted"));
    }
    if holds(b"-----BEGIN EC PRIVATE KEY-----") {
        return Err(pkcs8("it is a key in the older form of SEC 1, and PKCS #8 is wanted"));
    }
    if holds(b"-----BEGIN OPENSSH PRIVATE KEY-----") {
        return Err(KeyFault::Form {
            what: "it is a key in the form of OpenSSH, and PKCS #8 is wanted",
            convert: format!("another is made by {}", Algorithm::Es384.made_by()),
        });
    }
    if holds(b"PUBLIC KEY-----") {
        return Err(instead("it is a public key, which signs nothing"));
    }
    if holds(b"-----BEGIN CERTIFICATE-----") {
        return Err(instead("it is a certificate, which signs nothing"));
    }
    if holds(b"\"kty\"") {
        return Err(KeyFault::Form {
            what: "it is a JSON Web Key, and PKCS #8 in PEM is wanted",
            convert: format!("another is made by {}", Algorithm::Es384.made_by()),
        });
    }
    if bytes.first() == Some(&0x30) {
        return Err(KeyFault::Form {
            what: "it is DER, and PEM is wanted",
            convert: format!("openssl pkey -inform der -in {name} -out NEW; chmod 600 NEW"),
        });
    }
    Err(instead("it holds no key in PEM"))
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "SigningKey({}, {})", self.algorithm().name(), self.kid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(text: &str) -> Map<String, Json> {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn thumbprints_are_those_of_the_standards() {
        // RFC 7638, section 3.1.
        let rsa = members(
            r#"{"kty":"RSA","n":"0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw","e":"AQAB"}"#,
        );
        assert_eq!(thumbprint(&rsa), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
        // RFC 8037, appendix A.3.
        let ed = members(
            r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#,
        );
        assert_eq!(thumbprint(&ed), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    }

    /// RFC 8037, appendix A.4, whose key stands in appendix A.1.
    #[test]
    fn a_signature_is_that_of_the_standard() {
        let seed = URL_SAFE_NO_PAD.decode("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A").unwrap();
        let head = b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20".as_slice();
        let der = base64::engine::general_purpose::STANDARD.encode([head, &seed].concat());
        let pem = format!("-----BEGIN PRIVATE KEY-----\n{der}\n-----END PRIVATE KEY-----\n");
        let pair = pair(&Secret::new(pem.into_bytes()), "KEY", Some(Algorithm::EdDsa)).unwrap();
        let key = SigningKey { pair, kid: String::new() };
        assert_eq!(thumbprint(&key.public()), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
        let signed = key.sign(b"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc").unwrap();
        assert_eq!(
            URL_SAFE_NO_PAD.encode(signed),
            "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
        );
        assert_eq!(format!("{key:?}"), "SigningKey(EdDSA, )");
    }
}
