//! `[[feed]]`.
//!
//! Promises: a feed of a kind that this version does not have is a mistake.
//! Knows nothing of: sockets and folders.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;

use super::acks::{self, Acks};
use super::fhir::{self, Fhir};
use super::transport::{self, Transport};
use crate::admit::Windows;
use crate::admit::assess::{OnUnmappable, OnUnsupported};
use crate::contract::check::is_name;
use crate::document::{Place, Placed, Table, hint};
use crate::feed::fhir::auth::{Auth, Smart};
use crate::feed::file::FileConfig;
use crate::parse::hl7::charset::fold;
use crate::parse::hl7::{Charset, Charsets, Path};
use crate::verdict::OnBusy;

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);

/// A feed, as meant.
#[derive(Debug)]
pub struct Feed {
    /// Its name.
    pub name: Arc<str>,
    /// Where its messages come from.
    pub source: Source,
    /// The site whose messages these are: a file of mappings/sites, words of consent.toml, or both.
    pub site: Option<Placed<String>>,
    /// The zone of times that state none.
    pub zone: Option<TimeZone>,
    /// The MSH-11.1 that is taken; every one where it is none.
    pub processing_id: Option<String>,
    /// Longest message, in bytes.
    pub frame_bytes_max: usize,
    /// What becomes of a message whose required fields are empty.
    pub on_unmappable: OnUnmappable,
    /// What becomes of a message that no mapping selects.
    pub on_unsupported: OnUnsupported,
    /// What happens when the store cannot take a message.
    pub on_busy: OnBusy,
    /// What a message is recognized by.
    pub correlation: Vec<Path>,
    /// Whose control IDs these are.
    pub sender_domain: String,
    /// How long earlier messages count.
    pub windows: Windows,
    /// The character sets of its messages.
    pub charsets: Charsets,
    /// Where it stands.
    pub place: Place,
}

impl Feed {
    /// What its assertions are signed with, if it signs any, beside its name.
    #[must_use]
    pub fn signs(&self) -> Option<(Arc<str>, Smart)> {
        match &self.source {
            Source::Mllp(_) | Source::File(_) => None,
            Source::Fhir(fhir) => match &fhir.auth {
                Auth::SmartBackend(smart) => Some((Arc::clone(&self.name), (**smart).clone())),
                Auth::None | Auth::Bearer { .. } | Auth::Basic { .. } => None,
            },
        }
    }
}

/// Where the messages of a feed come from.
#[derive(Debug)]
pub enum Source {
    /// `kind = "mllp"`
    Mllp(Box<Mllp>),
    /// `kind = "file"`
    File(FileConfig),
    /// `kind = "fhir"`
    Fhir(Box<Fhir>),
}

/// What a feed of kind `mllp` has of its own.
#[derive(Debug)]
pub struct Mllp {
    /// How they come.
    pub transport: Transport,
    /// Frames of one connection that may be under way.
    pub pipeline_max: usize,
    /// From a frame's first byte to its last.
    pub frame_timeout: Duration,
    /// How it acknowledges.
    pub acks: Acks,
}

#[derive(Clone, Copy)]
enum Kind {
    Mllp,
    File,
    Fhir,
}

/// Reads one.
pub(super) fn read(table: &Table<'_>) -> Option<Feed> {
    let name = table.required_text("name");
    if let Some(name) = &name
        && (!is_name(&name.value) || name.value == "admin")
    {
        let text = "`name` is small letters, digits and hyphens, at most 64, and not admin";
        table.mistake(&name.place, text);
    }
    let kinds = [("mllp", Kind::Mllp), ("file", Kind::File), ("fhir", Kind::Fhir)];
    let kind = table.required_choice("kind", &kinds);
    let site = table.text("site");
    let zone = zone(table);
    let source = match kind {
        Some(Kind::File) => Some(Source::File(file(table))),
        Some(Kind::Fhir) => {
            fhir::read(table, zone.as_ref()).map(|fhir| Source::Fhir(Box::new(fhir)))
        }
        Some(Kind::Mllp) | None => Some(Source::Mllp(Box::new(mllp(table)))),
    };
    let frame_bytes_max = match &source {
        Some(Source::Fhir(fhir)) => fhir.page_bytes_max,
        Some(Source::File(_)) => bytes(table, "message_bytes_max", 16 << 20, 1 << 10..=1 << 30),
        Some(Source::Mllp(_)) => bytes(table, "frame_bytes_max", 16 << 20, 1 << 10..=1 << 30),
        None => 0,
    };
    let on_busy = match kind {
        // A file and a page wait by themselves.
        Some(Kind::File | Kind::Fhir) => OnBusy::Close,
        Some(Kind::Mllp) | None => table
            .choice("on_busy", &[("close", OnBusy::Close), ("reject", OnBusy::Reject)])
            .unwrap_or(OnBusy::Close),
    };
    let (processing_id, charsets, correlation) = match kind {
        // A resource says none of it.
        Some(Kind::Fhir) => ("any".to_owned(), Charset::Utf8.into(), Vec::new()),
        Some(Kind::Mllp | Kind::File) | None => {
            let id = table.text("processing_id").map_or_else(|| "P".to_owned(), |id| id.value);
            (id, charsets(table), correlation(table))
        }
    };
    let sender_domain = table.text("sender_domain").map(|domain| domain.value);
    let on_unmappable = table
        .choice("on_unmappable", &[("park", OnUnmappable::Park), ("nak", OnUnmappable::Nak)])
        .unwrap_or(OnUnmappable::Park);
    let on_unsupported = table
        .choice(
            "on_unsupported",
            &[("park", OnUnsupported::Park), ("reject", OnUnsupported::Reject)],
        )
        .unwrap_or(OnUnsupported::Park);
    let windows = Windows {
        dedupe_retention: table.duration("dedupe_retention", 90 * DAY, MINUTE..=3650 * DAY),
        control_id_reuse: table.duration("control_id_reuse", DAY, Duration::ZERO..=365 * DAY),
    };
    table.finish();
    let name: Arc<str> = name?.value.into();
    Some(Feed {
        place: table.place(),
        source: source?,
        site,
        zone,
        processing_id: (processing_id != "any").then_some(processing_id),
        frame_bytes_max,
        on_unmappable,
        on_unsupported,
        on_busy,
        correlation,
        sender_domain: sender_domain.unwrap_or_else(|| name.to_string()),
        windows,
        charsets,
        name,
    })
}

fn mllp(table: &Table<'_>) -> Mllp {
    Mllp {
        transport: transport::read(table),
        pipeline_max: count(table, "pipeline_max", 64, 1..=1_024),
        frame_timeout: table.duration(
            "frame_timeout",
            Duration::from_secs(30),
            Duration::from_millis(100)..=10 * MINUTE,
        ),
        acks: acks::read(table),
    }
}

fn file(table: &Table<'_>) -> FileConfig {
    if table.required("dir").is_some_and(|item| item.is_text())
        && let Some(dir) = table.file("dir")
        && !dir.value.is_dir()
    {
        // It may be mounted later; until then nothing comes in.
        table.warn(&dir.place, "`dir` is no folder now; nothing comes in until it is");
    }
    let dir = table.file("dir").map(|dir| dir.value).unwrap_or_default();
    let second = Duration::from_secs(1);
    FileConfig {
        dir,
        settle: table.duration("settle", 5 * second, Duration::ZERO..=10 * MINUTE),
        interval: table.duration("interval", second, second / 10..=10 * MINUTE),
    }
}

/// A socket address that has to be there.
pub(super) fn address(table: &Table<'_>, key: &str) -> Option<SocketAddr> {
    let text = table.required_text(key)?;
    let parsed = text.value.parse();
    if parsed.is_err() {
        let example = "an IP address and a port, such as \"127.0.0.1:2575\"";
        table.mistake(&text.place, format!("`{key}` is not {example}"));
    }
    parsed.ok()
}

fn zone(table: &Table<'_>) -> Option<TimeZone> {
    let name = table.text("time_zone")?;
    match TimeZone::get(&name.value) {
        Ok(zone) => Some(zone),
        Err(_) => {
            table.mistake(
                &name.place,
                "`time_zone` is no IANA time zone, such as \"Europe/Berlin\"",
            );
            None
        }
    }
}

/// How the character set of a message is found: `charset` where MSH-18 is silent,
/// `charset_override` whatever it says, `charset_aliases` for names of a sender's own.
fn charsets(table: &Table<'_>) -> Charsets {
    let read = |key: &str| {
        let name = table.text(key)?;
        let found = Charset::from_name(&name.value);
        if found.is_none() {
            table
                .mistake(&name.place, format!("`{key}` is not known{}", charset_hint(&name.value)));
        }
        found
    };
    let silent = read("charset").unwrap_or(Charset::Utf8);
    let always = read("charset_override");
    Charsets { silent, always, aliases: aliases(table) }
}

fn charset_hint(name: &str) -> String {
    hint(&name.to_ascii_uppercase(), &Charset::names())
}

/// Most names of its own that one sender has for character sets.
const ALIASES_MAX: usize = 64;

fn aliases(table: &Table<'_>) -> Vec<(String, Charset)> {
    let mut aliases: Vec<(String, Charset)> = Vec::new();
    let Some(rows) = table.item("charset_aliases").and_then(|item| item.table()) else {
        return aliases;
    };
    let entries = rows.entries();
    if entries.len() > ALIASES_MAX {
        let text = format!("`charset_aliases` has more than {ALIASES_MAX} names");
        rows.mistake(&rows.place(), text);
        return aliases;
    }
    for (name, item) in entries {
        let Some(encoding) = item.text() else { continue };
        let Some(charset) = Charset::from_name(&encoding.value) else {
            let hint = charset_hint(&encoding.value);
            let text = format!("`{}` is no character set that is known{hint}", encoding.value);
            rows.mistake(&encoding.place, text);
            continue;
        };
        match fold(&name.value) {
            None => {
                let text = "an alias is 1 to 64 ASCII characters, a letter or digit among them";
                rows.mistake(&name.place, text);
            }
            Some(folded) if aliases.iter().any(|(known, _)| *known == folded) => {
                let text = format!("`{}` is there already, written another way", name.value);
                rows.mistake(&name.place, text);
            }
            Some(folded) => aliases.push((folded, charset)),
        }
    }
    aliases
}

fn correlation(table: &Table<'_>) -> Vec<Path> {
    if table.item("correlation").is_none() {
        let usual = ["MSH-3", "MSH-4", "MSH-10"];
        return usual.into_iter().filter_map(|path| Path::read(path).ok()).collect();
    }
    let texts = table.texts("correlation");
    let mut paths = Vec::new();
    for text in &texts {
        match Path::read(&text.value) {
            Ok(path) if path.field() > 0 => paths.push(path),
            Ok(_) => table.mistake(&text.place, "`correlation` names fields, such as MSH-10"),
            Err(wrong) => table.mistake(&text.place, wrong),
        }
    }
    if !texts.iter().any(|text| text.value == "MSH-10") {
        // Without the control ID, different messages of one sender would be one.
        let text = "`correlation` does not hold MSH-10, which tells a sender's messages apart";
        table.mistake(&table.place_of("correlation"), text);
    }
    paths
}

pub(super) fn count(
    table: &Table<'_>,
    key: &str,
    usual: u64,
    bounds: std::ops::RangeInclusive<u64>,
) -> usize {
    usize::try_from(table.integer(key, usual, bounds)).unwrap_or(usize::MAX)
}

pub(super) fn bytes(
    table: &Table<'_>,
    key: &str,
    usual: u64,
    bounds: std::ops::RangeInclusive<u64>,
) -> usize {
    usize::try_from(table.size(key, usual, bounds)).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use std::path::Path as FilePath;

    use super::*;
    use crate::document::{Document, Problems};

    fn charsets_of(text: &str) -> (Charsets, Vec<String>) {
        let problems = Problems::default();
        let document = Document::from_text("x.toml", FilePath::new("."), text);
        let found = document.read(&problems, charsets);
        (found, problems.mistakes().iter().map(ToString::to_string).collect())
    }

    #[test]
    fn character_sets_are_read_with_the_mistakes_in_them() {
        let (found, mistakes) = charsets_of(
            "charset = \"8859/1\"\ncharset_override = \"Shift_JIS\"\n\
             charset_aliases = { \"CNS 11643-1992\" = \"BIG-5\", \"OURS\" = \"utf8\" }\n",
        );
        assert_eq!(mistakes, Vec::<String>::new());
        assert_eq!(Some(found.silent), Charset::from_name("8859/1"));
        assert_eq!(found.always, Charset::from_name("SHIFT-JIS"));
        assert_eq!(found.named(b"ours"), Some(Charset::Utf8));
        assert_eq!(found.named(b"CNS 11643-1992"), Charset::from_name("BIG-5"));

        let (_, mistakes) = charsets_of(
            "charset = \"UFT-8\"\ncharset_override = \"SHIFTJIZ\"\n\
             [charset_aliases]\n\"A\" = \"BIG5X\"\n\"B-1\" = \"BIG5\"\n\"b 1\" = \"BIG5\"\n\"-\" = \"BIG5\"\nC = 1\n",
        );
        assert_eq!(
            mistakes,
            [
                "x.toml:1:11: `charset` is not known; did you mean `UTF-8`?",
                "x.toml:2:20: `charset_override` is not known; did you mean `SHIFT-JIS`?",
                "x.toml:4:7: `BIG5X` is no character set that is known; did you mean `BIG-5`?",
                "x.toml:6:1: `b 1` is there already, written another way",
                "x.toml:7:1: an alias is 1 to 64 ASCII characters, a letter or digit among them",
                "x.toml:8:5: `charset_aliases.C` is integer here; a string is wanted",
            ]
        );
        let many: String = (0..=ALIASES_MAX).map(|at| format!("A{at} = \"UTF-8\"\n")).collect();
        let (_, mistakes) = charsets_of(&format!("[charset_aliases]\n{many}"));
        assert_eq!(mistakes, ["x.toml:1:1: `charset_aliases` has more than 64 names"]);
    }
}
