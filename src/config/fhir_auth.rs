//! How a feed of kind `fhir` shows who it is: `auth`.
//!
//! Promises: keys, tokens and passwords are looked at as at a start, so that `check` finds what a
//! start would; what is secret stands in none of its messages, and not in the configuration itself.
//! Knows nothing of: requests.

use reqwest::Url;

use super::transport::origin;
use crate::document::{Item, Table};
use crate::feed::fhir::auth::key::{Algorithm, SigningKey};
use crate::feed::fhir::auth::{Auth, Scope, Smart, header_value};
use crate::feed::fhir::base::refuse_clear;
use crate::secret::Origin;

/// Keys whose public halves are published beside that of the one that signs: the one before it and the
/// one behind it, and as many again for a change that went wrong.
const OTHER_KEYS_MAX: usize = 4;
/// Longest name, ID or scope, in bytes. Scopes of thirty types are 900.
const TEXT_BYTES_MAX: usize = 4_096;

#[derive(Clone, Copy)]
enum Kind {
    None,
    Bearer,
    Basic,
    SmartBackend,
}

/// Reads `auth`; without it nothing is shown. The types are those that the feed asks for; `plain` is
/// `allow_http`. None where it has a mistake.
pub(super) fn read(feed: &Table<'_>, types: Vec<String>, plain: bool) -> Option<Auth> {
    let Some(item) = feed.item("auth") else { return Some(Auth::None) };
    let table = item.table()?;
    let kinds = [
        ("none", Kind::None),
        ("bearer", Kind::Bearer),
        ("basic", Kind::Basic),
        ("smart-backend", Kind::SmartBackend),
    ];
    let kind = table.required_choice("kind", &kinds)?;
    let auth = match kind {
        Kind::None => Some(Auth::None),
        Kind::Bearer => secret(&table, "token", None).map(|token| Auth::Bearer { token }),
        Kind::Basic => basic(&table),
        Kind::SmartBackend => smart(&table, types, plain),
    };
    table.finish();
    auth
}

fn basic(table: &Table<'_>) -> Option<Auth> {
    let user =
        text(table, "user", |user| !user.contains(':') && !user.chars().any(char::is_control));
    if let (true, None) = (table.has("user"), &user) {
        let what = "a name without a colon (RFC 7617, section 2)";
        table.mistake(&table.place_of("user"), format!("`auth.user` is {what}"));
    } else if user.is_none() {
        table.required("user");
    }
    let password = secret(table, "password", user.as_deref().or(Some("")));
    Some(Auth::Basic { user: user?, password: password? })
}

fn smart(table: &Table<'_>, types: Vec<String>, plain: bool) -> Option<Auth> {
    let name =
        |name: &str| !name.is_empty() && name.chars().all(|it| it == ' ' || !it.is_control());
    let said = |key: &str, what: &str| {
        let found = text(table, key, name);
        if found.is_none() && table.has(key) {
            table.mistake(&table.place_of(key), format!("`auth.{key}` is {what}"));
        }
        found
    };
    let client_id = said("client_id", "the name that the server registered us by");
    if !table.has("client_id") {
        table.required("client_id");
    }
    let kid = said("kid", "the ID of the key, as the server knows it; without it, its thumbprint");
    let scope = scope(table).or_else(|| (!table.has("scope")).then_some(Scope::Types(types)));
    let names = Algorithm::NAMES;
    let algorithm = table.choice("algorithm", &names);
    let key = table.required("key").and_then(|item| {
        let origin = origin(table, &item)?;
        usable(&item, &origin, algorithm).then_some(origin)
    });
    let token_url = token_url(table, plain);
    let other_keys = other_keys(table);
    if table.has("algorithm") && algorithm.is_none() {
        return None;
    }
    Some(Auth::SmartBackend(Box::new(Smart {
        client_id: client_id?,
        key: key?,
        other_keys: other_keys?,
        algorithm,
        kid,
        token_url: token_url?,
        scope: scope?,
        plain,
    })))
}

/// A string within its bound that is what it should be.
fn text(table: &Table<'_>, key: &str, is_right: impl Fn(&str) -> bool) -> Option<String> {
    let text = table.text(key)?.value;
    (!text.is_empty() && text.len() <= TEXT_BYTES_MAX && is_right(&text)).then_some(text)
}

/// What is asked for; `system/TYPE.rs` for each type of `resources` where it is not said.
fn scope(table: &Table<'_>) -> Option<Scope> {
    let scope = table.text("scope")?;
    let parts: Vec<&str> = scope.value.split(' ').collect();
    // RFC 6749, section 3.3.
    let is_right = |part: &&str| {
        let allowed = |byte: u8| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\';
        !part.is_empty() && part.bytes().all(allowed)
    };
    if scope.value.len() > TEXT_BYTES_MAX || !parts.iter().all(is_right) {
        let text = "`auth.scope` is scopes with one blank between, such as \"system/Patient.rs\"";
        table.mistake(&scope.place, text);
        return None;
    }
    if parts.iter().any(|part| writes(part)) {
        let text = "`auth.scope` asks for more than reading: whoever steals the key could change what \
                    the server holds";
        table.warn(&scope.place, text);
    }
    Some(Scope::Said(scope.value))
}

/// Whether a scope lets something be changed that is no Subscription.
fn writes(scope: &str) -> bool {
    let Some((_, rest)) = scope.split_once('/') else { return false };
    let rest = rest.split('?').next().unwrap_or_default();
    let Some((of, may)) = rest.split_once('.') else { return false };
    let reads = may == "read" || may.bytes().all(|letter| matches!(letter, b'r' | b's'));
    !reads && of != "Subscription"
}

#[expect(clippy::option_option, reason = "wrong is not the same as absent")]
fn token_url(table: &Table<'_>, plain: bool) -> Option<Option<Url>> {
    let Some(item) = table.item("token_url") else { return Some(None) };
    let text = item.text()?;
    let wrong = match Url::parse(&text.value) {
        Err(_) => Some("is no URL, such as \"https://auth.example/token\"".to_owned()),
        Ok(url) if !url.username().is_empty() || url.password().is_some() => {
            Some("holds a user or a password; the key is what is shown there".to_owned())
        }
        Ok(url) => match refuse_clear(&url, plain) {
            Ok(()) => return Some(Some(url)),
            Err(wrong) => Some(wrong.to_string()),
        },
    };
    if let Some(wrong) = wrong {
        // It is not quoted: it may hold a password.
        item.mistake(format!("`auth.token_url` {wrong}"));
    }
    None
}

fn other_keys(table: &Table<'_>) -> Option<Vec<Origin>> {
    let Some(item) = table.item("other_keys") else { return Some(Vec::new()) };
    let items = item.items();
    if items.len() > OTHER_KEYS_MAX {
        item.mistake(format!("`auth.other_keys` has more than {OTHER_KEYS_MAX} keys"));
    }
    let read = |item: &Item<'_>| {
        let origin = origin(table, item)?;
        usable(item, &origin, None).then_some(origin)
    };
    items.iter().map(read).collect()
}

/// Whether a key can be used; otherwise why not, at its place.
fn usable(item: &Item<'_>, origin: &Origin, algorithm: Option<Algorithm>) -> bool {
    let read = SigningKey::read(origin, algorithm, None);
    if let Err(fault) = &read {
        let (name, place, fault) = (item.name(), origin.place(), fault.to_string());
        let fault = fault.strip_prefix(&format!("{place}: ")).unwrap_or(&fault);
        item.mistake(format!("`{name}`: {place}: {fault}"));
    }
    read.is_ok()
}

/// Where a token or a password is, which does not stand in the configuration.
fn secret(table: &Table<'_>, key: &str, user: Option<&str>) -> Option<Origin> {
    let item = table.required(key)?;
    if item.is_text() {
        let text =
            "stands apart: { credential = \"NAME\" }, { file = \"PATH\" } or { env = \"NAME\" }";
        item.mistake(format!("`{}` {text}", item.name()));
        return None;
    }
    let origin = item.origin()?;
    match header_value(&origin, user) {
        Ok(_) => Some(origin),
        Err(fault) => {
            item.mistake(format!("`{}`: {fault}", item.name()));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;
    use std::process::Command;

    use super::*;
    use crate::document::{Document, Problems};

    fn lines(dir: &Path, text: &str) -> (Option<Auth>, Vec<String>, Vec<String>) {
        let problems = Problems::default();
        let document = Document::from_text("x.toml", dir, text);
        let auth = document.read(&problems, |table| {
            let auth = read(table, vec!["Patient".to_owned(), "Encounter".to_owned()], false);
            table.finish();
            auth
        });
        let shown =
            |all: Vec<crate::document::Problem>| all.iter().map(ToString::to_string).collect();
        (auth, shown(problems.mistakes()), shown(problems.warnings()))
    }

    fn write(dir: &Path, name: &str, text: &str) {
        std::fs::write(dir.join(name), text).unwrap();
        let mode = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(dir.join(name), mode).unwrap();
    }

    fn key(dir: &Path, name: &str, curve: &str) {
        let output = Command::new("openssl")
            .args(["genpkey", "-algorithm", "EC", "-pkeyopt"])
            .args([format!("ec_paramgen_curve:{curve}").as_str(), "-out", name])
            .current_dir(dir)
            .output()
            .unwrap();
        assert!(output.status.success());
    }

    #[test]
    fn each_kind_is_read() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "secret", "abc\n");
        key(dir.path(), "one.key", "P-384");
        key(dir.path(), "two.key", "P-384");
        let read = |text: &str| {
            let (auth, mistakes, warnings) = lines(dir.path(), text);
            assert_eq!((mistakes, warnings), (Vec::<String>::new(), Vec::new()), "{text}");
            auth.unwrap()
        };
        assert!(matches!(read(""), Auth::None));
        assert!(matches!(read("auth = { kind = \"none\" }"), Auth::None));
        let bearer = read("auth = { kind = \"bearer\", token = { file = \"secret\" } }");
        assert!(
            matches!(bearer, Auth::Bearer { token: Origin::File(path) } if path.ends_with("secret"))
        );
        let basic =
            read("auth = { kind = \"basic\", user = \"gate\", password = { file = \"secret\" } }");
        assert!(matches!(basic, Auth::Basic { user, .. } if user == "gate"));
        let smart = "[auth]\nkind = \"smart-backend\"\nclient_id = \"gate\"\nkey = \"one.key\"\n";
        let Auth::SmartBackend(short) = read(smart) else { panic!() };
        assert!(short.token_url.is_none() && short.kid.is_none() && short.algorithm.is_none());
        assert!(matches!(short.scope, Scope::Types(types) if types == ["Patient", "Encounter"]));
        let Auth::SmartBackend(long) = read(&format!(
            "{smart}token_url = \"https://auth.example/token\"\nalgorithm = \"ES384\"\nkid = \"k1\"\n\
             scope = \"system/*.rs system/Subscription.cruds\"\nother_keys = [{{ file = \"two.key\" }}]\n"
        )) else {
            panic!()
        };
        assert_eq!(long.token_url.unwrap().as_str(), "https://auth.example/token");
        assert_eq!((long.algorithm, long.kid.as_deref()), (Some(Algorithm::Es384), Some("k1")));
        assert_eq!(long.other_keys.len(), 1);
    }

    /// PROMISE-10
    #[test]
    fn each_mistake_is_said_at_its_place_and_no_secret_with_it() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "two", "ZZSECRET with blanks");
        key(dir.path(), "p256.key", "P-256");
        key(dir.path(), "p384.key", "P-384");
        let at = |name: &str| dir.path().join(name).display().to_string();
        for (text, wanted) in [
            ("auth = \"none\"", vec!["1:8: `auth` is string here; a table is wanted".to_owned()]),
            ("auth = {}", vec!["1:8: `auth.kind` is missing".to_owned()]),
            (
                "auth = { kind = \"oauth\" }",
                vec!["1:17: `auth.kind` is one of none, bearer, basic, smart-backend".to_owned()],
            ),
            (
                "auth = { kind = \"bearer\", tokn = 1 }",
                vec![
                    "1:8: `auth.token` is missing".to_owned(),
                    "1:27: `auth.tokn` is not known; did you mean `token`?".to_owned(),
                ],
            ),
            (
                "auth = { kind = \"bearer\", token = \"ZZSECRET\" }",
                vec!["1:35: `auth.token` stands apart: { credential = \"NAME\" }, { file = \"PATH\" } \
                      or { env = \"NAME\" }".to_owned()],
            ),
            (
                "auth = { kind = \"bearer\", token = { file = \"two\" } }",
                vec![format!(
                    "1:35: `auth.token`: {}: it holds a blank or a character that no token has (RFC \
                     6750, 2.1)",
                    at("two")
                )],
            ),
            (
                "auth = { kind = \"basic\", user = \"a:b\", password = { env = \"TIDEGATE_NO_SUCH\" } }",
                vec![
                    "1:26: `auth.user` is a name without a colon (RFC 7617, section 2)".to_owned(),
                    "1:51: `auth.password`: environment variable TIDEGATE_NO_SUCH is not set".to_owned(),
                ],
            ),
            (
                "[auth]\nkind = \"smart-backend\"\nkey = \"p256.key\"\nalgorithm = \"RS256\"\n\
                 token_url = \"http://user:ZZSECRET@auth.example\"\nscope = \"system/*.rs  x\"\nkid = \"\"\n",
                vec![
                    "1:1: `auth.client_id` is missing".to_owned(),
                    format!(
                        "3:7: `auth.key`: {}: it is an EC key on P-256, which signs by ES256; RSA of 2048 \
                         to 8192 bits (RS384), EC on P-384 (ES384) or Ed25519 (EdDSA) is wanted: openssl \
                         genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-384 -out NEW",
                        at("p256.key")
                    ),
                    "4:13: `auth.algorithm` is one of RS384, ES384, EdDSA".to_owned(),
                    "5:13: `auth.token_url` holds a user or a password; the key is what is shown there"
                        .to_owned(),
                    "6:9: `auth.scope` is scopes with one blank between, such as \"system/Patient.rs\""
                        .to_owned(),
                    "7:1: `auth.kid` is the ID of the key, as the server knows it; without it, its \
                     thumbprint".to_owned(),
                ],
            ),
            (
                "[auth]\nkind = \"smart-backend\"\nclient_id = \"gate\"\nkey = \"absent.key\"\n\
                 token_url = \"http://auth.example/token\"\nother_keys = [\"p256.key\"]\nuser = \"x\"\n",
                vec![
                    format!("4:7: `auth.key`: {}: No such file or directory (os error 2)", at("absent.key")),
                    "5:13: `auth.token_url` is http, by which patients and tokens would go in clear; https \
                     is wanted".to_owned(),
                    format!(
                        "6:15: `auth.other_keys`: {}: it is an EC key on P-256, which signs by ES256; RSA of \
                         2048 to 8192 bits (RS384), EC on P-384 (ES384) or Ed25519 (EdDSA) is wanted: openssl \
                         genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-384 -out NEW",
                        at("p256.key")
                    ),
                    "7:1: `auth.user` is not known; known here: algorithm, client_id, key, kid, kind, \
                     other_keys, scope, token_url".to_owned(),
                ],
            ),
            (
                "[auth]\nkind = \"smart-backend\"\nclient_id = \"gate\"\nkey = \"p384.key\"\nalgorithm = \"EdDSA\"\n",
                vec![format!(
                    "4:7: `auth.key`: {}: it is a key for ES384, and `algorithm` is EdDSA; a key for that is \
                     made by openssl genpkey -algorithm ED25519 -out NEW",
                    at("p384.key")
                )],
            ),
        ] {
            let (auth, mistakes, _) = lines(dir.path(), text);
            let wanted: Vec<String> =
                wanted.into_iter().map(|line| format!("x.toml:{line}")).collect();
            assert_eq!(mistakes, wanted, "{text}");
            assert!(auth.is_none() && !mistakes.concat().contains("ZZ"), "{text}");
        }
    }

    #[test]
    fn a_scope_that_writes_is_warned_of_but_for_subscriptions() {
        for (scope, wanted) in [
            ("system/*.rs", false),
            ("system/*.read launch openid", false),
            ("system/Observation.rs?category=laboratory", false),
            ("system/Subscription.cruds", false),
            ("system/*.*", true),
            ("system/Patient.write", true),
            ("system/Patient.cruds", true),
        ] {
            let dir = tempfile::tempdir().unwrap();
            key(dir.path(), "one.key", "P-384");
            let (_, mistakes, warnings) = lines(
                dir.path(),
                &format!(
                    "[auth]\nkind = \"smart-backend\"\nclient_id = \"gate\"\nkey = \"one.key\"\nscope = \"{scope}\"\n"
                ),
            );
            assert_eq!(mistakes, Vec::<String>::new());
            assert_eq!(warnings.len(), usize::from(wanted), "{scope}: {warnings:?}");
        }
    }
}
