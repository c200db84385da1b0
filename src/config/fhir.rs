//! `kind = "fhir"`: a FHIR server, and what is asked of it.
//!
//! Promises: a query that could not be polled whole is a mistake; nothing goes over the network in
//! clear unless somebody wrote that it may.
//! Knows nothing of: requests.

use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use rustls::ClientConfig;

use super::feed::bytes;
use super::fhir_auth;
use super::subscription::{self, Subscription};
use super::transport::{Tls, outbound_tls, usual_tls};
use crate::document::{Item, Table};
use crate::feed::fhir::Base;
use crate::feed::fhir::auth::Auth;
use crate::feed::fhir::cursor::Since;
use crate::feed::fhir::query::Query;
use crate::parse::fhir::Version;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);
/// Most queries of one feed: each is asked in every round, and has its cursor.
const QUERIES_MAX: usize = 32;

/// What a feed of kind `fhir` has of its own.
#[derive(Debug)]
pub struct Fhir {
    /// Where the server is.
    pub base: Base,
    /// What it is said to speak.
    pub version: Version,
    /// What is asked, in the order of their turns.
    pub queries: Vec<Query>,
    /// From the beginning of one round of a query to the next.
    pub interval: Duration,
    /// Where a query begins that has no cursor.
    pub since: Since,
    /// How late a resource may show up behind its time.
    pub overlap: Duration,
    /// Resources of one page.
    pub page_size: u32,
    /// Largest page, in bytes, unpacked.
    pub page_bytes_max: usize,
    /// Most pages of one round.
    pub pages_max: u32,
    /// For one request, to the last byte of its answer.
    pub request_timeout: Duration,
    /// Whether subjects are asked for beside what is found.
    pub subjects: bool,
    /// How old what is known of a patient may be.
    pub patient_max_age: Duration,
    /// How many patients are remembered.
    pub patients_max: u32,
    /// How old the answer may be that a patient has no consent; without it nobody is asked for any.
    pub no_consent_max_age: Option<Duration>,
    /// Within which time each Consent that may permit is asked for again; without it, never.
    pub consents_recheck: Option<Duration>,
    /// How we say who we are.
    pub auth: Auth,
    /// By whom the server is verified, and our certificate.
    pub tls: Option<Tls<ClientConfig>>,
    /// What the server tells by itself.
    pub subscription: Option<Subscription>,
}

/// Keys of other kinds of feeds, with why they say nothing here.
const ELSEWHERE: [(&str, &str); 19] = [
    ("listen", "it asks a server, at `base_url`"),
    ("connect", "it asks a server, at `base_url`"),
    ("allow", "nobody connects to it"),
    ("connections_max", "nobody connects to it"),
    ("client", "nobody connects to it"),
    ("pipeline_max", "a page is taken at a time"),
    ("rate_max", "`interval` and `page_size` say its pace"),
    ("frame_timeout", "`request_timeout` is"),
    ("frame_bytes_max", "`page_bytes_max` is"),
    ("message_bytes_max", "`page_bytes_max` is"),
    ("ack_mode", "nobody waits for an acknowledgement"),
    ("application_ack", "nobody waits for an acknowledgement"),
    ("sequence_numbers", "resources have no MSH-13"),
    ("on_busy", "a page waits by itself"),
    ("correlation", "a resource is recognized by type, ID and version"),
    ("processing_id", "resources have no MSH-11"),
    ("charset", "FHIR is in UTF-8"),
    ("charset_override", "FHIR is in UTF-8"),
    ("charset_aliases", "FHIR is in UTF-8"),
];

/// Reads it.
pub(super) fn read(table: &Table<'_>, zone: Option<&TimeZone>) -> Option<Fhir> {
    for (key, why) in ELSEWHERE {
        if table.item(key).is_some() {
            let text = format!("`{key}` is not for feeds of kind fhir: {why}");
            table.mistake(&table.place_of(key), text);
        }
    }
    let base = base(table);
    let version = table.required_choice("version", &[("R4", Version::R4), ("R5", Version::R5)]);
    let queries = queries(table);
    let interval = table.duration("interval", 30 * SECOND, SECOND..=10 * MINUTE);
    let since = table.item("since").map_or(Some(Since::Now), |item| since(&item, zone));
    let overlap = table.duration("overlap", 5 * MINUTE, Duration::ZERO..=DAY);
    let page_size = narrow(table.integer("page_size", 500, 1..=1_000));
    let page_bytes_max = bytes(table, "page_bytes_max", 64 << 20, 64 << 10..=1 << 30);
    let pages_max = narrow(table.integer("pages_max", 10_000, 1..=1_000_000));
    let request_timeout = table.duration("request_timeout", 30 * SECOND, SECOND..=10 * MINUTE);
    let subjects = table.choice("include", &[("subjects", true), ("none", false)]).unwrap_or(true);
    let patient_max_age = table.duration("patient_max_age", DAY, Duration::ZERO..=365 * DAY);
    let patients_max = narrow(table.integer("patients_max", 100_000, 100..=10_000_000));
    let no_consent_max_age = no_consent_max_age(table, &queries);
    let consents_recheck = consents_recheck(table, &queries);
    let auth =
        fhir_auth::read(table, types(&queries, subjects), table.boolean("allow_http", false));
    let by_https = |base: &Base| {
        base.url().scheme() == "https" || auth.as_ref().is_some_and(Auth::asks_by_https)
    };
    let tls = match (table.table("tls"), &base) {
        (Some(tls), _) => Some(outbound_tls(&tls)),
        (None, Some(base)) if by_https(base) => Some(usual_tls(table, "base_url")),
        (None, _) => None,
    };
    let subscription = table.table("subscription");
    let subscription = subscription.map(|table| subscription::read(&table, version, &queries));
    if subscription.iter().flatten().any(|it| it.body_bytes_max > page_bytes_max) {
        let text = "`page_bytes_max` is smaller than `subscription.body_bytes_max`";
        table.mistake(&table.place_of("page_bytes_max"), text);
    }
    if overlap < MINUTE && table.has("overlap") {
        let text = "`overlap` is short: what a server shows later than that after its time is missed, \
                    and so is what a machine of it stamps whose clock is behind by more";
        table.warn(&table.place_of("overlap"), text);
    }
    // Never without the authorities or the certificate that were asked for.
    let tls = match tls {
        Some(None) => return None,
        Some(Some(tls)) => Some(tls),
        None => None,
    };
    Some(Fhir {
        base: base?,
        version: version?,
        queries,
        interval,
        since: since?,
        overlap,
        page_size,
        page_bytes_max,
        pages_max,
        request_timeout,
        subjects,
        patient_max_age,
        patients_max,
        no_consent_max_age,
        consents_recheck,
        auth: auth?,
        tls,
        subscription: subscription.flatten(),
    })
}

/// What is found on demand has to be followed from then on, or a revocation would never come.
// PROMISE-6
fn no_consent_max_age(table: &Table<'_>, queries: &[Query]) -> Option<Duration> {
    const KEY: &str = "no_consent_max_age";
    if !table.has(KEY) {
        return None;
    }
    let age = table.duration(KEY, DAY, SECOND..=365 * DAY);
    if !queries.iter().any(|query| query.resource == "Consent") {
        let text = "`no_consent_max_age` wants \"Consent\" among `resources`: what becomes of a consent \
                    that was asked for is found by that query alone";
        table.mistake(&table.place_of(KEY), text);
    }
    Some(age)
}

/// How often a Consent is asked for again; 0s says never.
fn consents_recheck(table: &Table<'_>, queries: &[Query]) -> Option<Duration> {
    let recheck = table.duration("consents_recheck", DAY, Duration::ZERO..=365 * DAY);
    if recheck.is_zero() && queries.iter().any(|query| query.resource == "Consent") {
        let text = "`consents_recheck` is 0s: a Consent that is deleted on the server permits on, unless \
                    the server tells of it";
        table.warn(&table.place_of("consents_recheck"), text);
    }
    Some(recheck).filter(|recheck| !recheck.is_zero())
}

/// The types that are asked for, each once: what a token has to be good for.
fn types(queries: &[Query], subjects: bool) -> Vec<String> {
    let asked = queries.iter().map(|query| query.resource).chain(subjects.then_some("Patient"));
    let mut types: Vec<String> = asked.map(str::to_owned).collect();
    types.sort_unstable();
    types.dedup();
    types
}

fn base(table: &Table<'_>) -> Option<Base> {
    let plain = table.boolean("allow_http", false);
    let text = table.required_text("base_url")?;
    match Base::read(&text.value, plain) {
        Ok(base) => {
            if plain && Base::read(&text.value, false).is_err() {
                let text = "`base_url` is http, beyond this machine: patients and what proves who we \
                            are go over the network in clear";
                table.warn(&table.place_of("base_url"), text);
            }
            Some(base)
        }
        Err(wrong) => {
            // It is not quoted: an address may hold a password.
            table.mistake(&text.place, format!("`base_url` {wrong}"));
            None
        }
    }
}

fn queries(table: &Table<'_>) -> Vec<Query> {
    let mut queries: Vec<Query> = Vec::new();
    if table.required("resources").is_none() {
        return queries;
    }
    let texts = table.texts("resources");
    if texts.is_empty() || texts.len() > QUERIES_MAX {
        let text = format!("`resources` lists queries, 1 to {QUERIES_MAX}, such as \"Encounter\"");
        table.mistake(&table.place_of("resources"), text);
    }
    for text in texts {
        match Query::read(&text.value) {
            Ok(query) if queries.iter().any(|known| known.text() == query.text()) => {
                table.mistake(&text.place, format!("`{}` is there twice", text.value));
            }
            Ok(query) => queries.push(query),
            Err(wrong) => table.mistake(&text.place, wrong),
        }
    }
    queries.sort_by_key(Query::rank);
    queries
}

/// `now`, `all`, or the day with which the first poll begins, in the feed's zone.
fn since(item: &Item<'_>, zone: Option<&TimeZone>) -> Option<Since> {
    if item.is_text() {
        match item.text()?.value.as_str() {
            "now" => return Some(Since::Now),
            "all" => return Some(Since::All),
            text if !text.starts_with(|digit: char| digit.is_ascii_digit()) => {
                item.mistake("`since` is now, all, or a day, such as 2026-11-22");
                return None;
            }
            _ => {}
        }
    }
    let day = item.date()?.value;
    let zone = zone.cloned().unwrap_or(TimeZone::UTC);
    let begin: Option<Timestamp> = day.to_zoned(zone).ok().map(|begin| begin.timestamp());
    if begin.is_none() {
        item.mistake("`since` is out of the calendar");
    }
    begin.map(Since::At)
}

fn narrow(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::document::{Document, Problems};

    fn mistakes_of(text: &str) -> (Option<Fhir>, Vec<String>, Vec<String>) {
        let problems = Problems::default();
        let document = Document::from_text("x.toml", Path::new("."), text);
        let fhir = document.read(&problems, |table| {
            let fhir = read(table, None);
            table.finish();
            fhir
        });
        let mistakes = problems.mistakes().iter().map(ToString::to_string).collect();
        let warnings = problems.warnings().iter().map(ToString::to_string).collect();
        (fhir, mistakes, warnings)
    }

    #[test]
    fn a_server_is_read_with_its_defaults_and_its_queries_in_the_order_of_their_turns() {
        let (fhir, mistakes, warnings) = mistakes_of(
            "base_url = \"https://ehr.example/fhir/\"\nversion = \"R4\"\n\
             resources = [\"Observation?category=laboratory\", \"Encounter\", \"Consent\", \"Patient\"]\n",
        );
        assert_eq!((mistakes, warnings), (Vec::<String>::new(), Vec::new()));
        let fhir = fhir.unwrap();
        let queries: Vec<&str> = fhir.queries.iter().map(|query| &**query.text()).collect();
        assert_eq!(queries, ["Patient", "Consent", "Encounter", "Observation?category=laboratory"]);
        assert_eq!(fhir.base.to_string(), "https://ehr.example/fhir");
        assert_eq!((fhir.page_size, fhir.pages_max), (500, 10_000));
        assert_eq!((fhir.interval, fhir.overlap), (30 * SECOND, 5 * MINUTE));
        assert_eq!((fhir.since, fhir.subjects), (Since::Now, true));
        assert_eq!(fhir.consents_recheck, Some(DAY));
        let types = types(&fhir.queries, true);
        assert_eq!(types, ["Consent", "Encounter", "Observation", "Patient"]);
    }

    #[test]
    fn each_mistake_is_said_at_its_place() {
        let (_, mistakes, warnings) = mistakes_of(
            "base_url = \"http://ehr.example/fhir\"\nversion = \"R6\"\n\
             resources = [\"Observatoin\", \"Patient\", \"Patient\", \"Encounter?_count=1\"]\n\
             since = \"yesterday\"\npage_size = 5000\ninterval = \"0s\"\noverlap = \"1s\"\n\
             frame_timeout = \"1s\"\ncharset = \"UTF-8\"\nintervall = \"1s\"\n",
        );
        assert_eq!(
            mistakes,
            [
                "x.toml:1:12: `base_url` is http, by which patients and tokens would go in clear; https is wanted",
                "x.toml:2:11: `version` is one of R4, R5",
                "x.toml:3:14: `Observatoin` is no resource type that becomes events; did you mean `Observation`?",
                "x.toml:3:40: `Patient` is there twice",
                "x.toml:3:51: `_count` is for the poller to say; a query may say _id, _tag, _security, \
                 _profile, _source, _list, `_has` and the search parameters of Encounter",
                "x.toml:4:9: `since` is now, all, or a day, such as 2026-11-22",
                "x.toml:5:13: `page_size` is out of bounds; from 1 to 1000",
                "x.toml:6:12: `interval` is out of bounds; from 1s to 10m",
                "x.toml:8:1: `frame_timeout` is not for feeds of kind fhir: `request_timeout` is",
                "x.toml:9:1: `charset` is not for feeds of kind fhir: FHIR is in UTF-8",
                "x.toml:10:1: `intervall` is not known; did you mean `interval`?",
            ]
        );
        assert!(warnings.iter().any(|it| it.contains("`overlap` is short")), "{warnings:?}");
        let (_, mistakes, _) = mistakes_of("resources = []\n");
        assert_eq!(
            mistakes,
            [
                "x.toml:1:1: `base_url` is missing",
                "x.toml:1:1: `resources` lists queries, 1 to 32, such as \"Encounter\"",
                "x.toml:1:1: `version` is missing",
            ]
        );
    }

    #[test]
    fn the_first_poll_begins_now_at_a_day_or_with_all_there_is() {
        let since = |line: &str| {
            let text = format!(
                "base_url = \"http://127.0.0.1/fhir\"\nversion = \"R5\"\nresources = [\"Patient\"]\n{line}"
            );
            mistakes_of(&text).0.map(|fhir| fhir.since)
        };
        assert_eq!(since(""), Some(Since::Now));
        assert_eq!(since("since = \"all\""), Some(Since::All));
        let day = Some(Since::At("2026-11-22T00:00:00Z".parse().unwrap()));
        assert_eq!(since("since = 2026-11-22"), day);
        assert_eq!(since("since = \"2026-11-22\""), day);
        assert_eq!(since("since = \"2026-11-32\""), None);
    }

    /// PROMISE-6
    #[test]
    fn consents_are_asked_for_where_that_is_written_and_their_changes_are_found() {
        let read = |resources: &str, line: &str| {
            let text = format!(
                "base_url = \"http://127.0.0.1/fhir\"\nversion = \"R4\"\nresources = [{resources}]\n{line}"
            );
            let (fhir, mistakes, _) = mistakes_of(&text);
            (fhir.unwrap().no_consent_max_age, mistakes)
        };
        let both = "\"Observation\", \"Consent?category=59284-0\"";
        assert_eq!(read(both, ""), (None, vec![]));
        assert_eq!(read(both, "no_consent_max_age = \"1h\"\n"), (Some(60 * MINUTE), vec![]));
        let (_, mistakes) = read("\"Observation\"", "no_consent_max_age = \"1h\"\n");
        assert!(mistakes[0].contains("wants \"Consent\" among `resources`"), "{mistakes:?}");
        let (_, mistakes) = read(both, "no_consent_max_age = \"0s\"\n");
        assert!(mistakes[0].contains("out of bounds; from 1s to 365d"), "{mistakes:?}");
    }

    /// PROMISE-5
    #[test]
    fn that_consents_are_never_asked_for_again_is_written_down_and_warned_of() {
        let of = |resource: &str| {
            let text = format!(
                "base_url = \"http://127.0.0.1/fhir\"\nversion = \"R4\"\nresources = [{resource:?}]\n\
                 consents_recheck = \"0s\"\n"
            );
            let (fhir, mistakes, warnings) = mistakes_of(&text);
            assert_eq!((fhir.unwrap().consents_recheck, mistakes), (None, Vec::new()));
            warnings
        };
        assert!(of("Consent")[0].contains("permits on"));
        assert_eq!(of("Patient"), Vec::<String>::new());
    }

    #[test]
    fn http_beyond_this_machine_is_written_down_and_warned_of() {
        let text = "base_url = \"http://ehr.example/fhir\"\nallow_http = true\nversion = \"R4\"\n\
                    resources = [\"Patient\"]\n";
        let (fhir, mistakes, warnings) = mistakes_of(text);
        assert!(fhir.is_some() && mistakes.is_empty(), "{mistakes:?}");
        assert!(warnings[0].contains("in clear"), "{warnings:?}");
    }
}
