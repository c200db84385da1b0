//! What a message says of how sensitive it is: ARV-3 and ARV-4, DG1-17, ORC-28, TXA-18.
//!
//! Promises: no mapping is needed for a label, so that none loses it; a code that nobody mapped
//! labels, too; an event has at least the labels of what it is made of, and of its patient.
//! Knows nothing of: who may see what is labelled.

use std::ops::Range;

use crate::consent::Policy;
use crate::consent::policy::labels::{Labelling, UNKNOWN};
use crate::event::schema::{DATA, LABELS};
use crate::event::{Tree, View};
use crate::normalize::Draft;
use crate::normalize::fhir::Scene;
use crate::parse::fhir::{Node, Resource};
use crate::parse::hl7::name::{ARV, DG1, OBR, ORC, PD1, PID, PV1, PV2, TXA};
use crate::parse::hl7::{Composite, Content, Message, Segment};

/// Most labels of one event; a contract names at most as many. What is beyond is [`UNKNOWN`].
const LABELS_MAX: usize = 64;

/// A label of an event, and what the message says it of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Label<'p> {
    about: &'static str,
    code: &'p str,
}

/// What one segment says.
#[derive(Debug)]
struct Said<'p> {
    /// Where it stands.
    at: usize,
    /// Where its patient stands; none: before them all.
    patient: Option<usize>,
    kind: u32,
    labels: Vec<Label<'p>>,
}

/// A code that nobody mapped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unmapped {
    /// Its field, such as `ORC-28`.
    pub field: &'static str,
    /// Its system and the code, as `[labels]` of consent.toml names them.
    pub code: String,
}

/// The labels of a message, by their places.
#[derive(Debug, Default)]
pub struct Labels<'p> {
    said: Vec<Said<'p>>,
    /// Where each ORC stands, if any of them says something.
    orders: Vec<usize>,
    unmapped: Option<Unmapped>,
}

impl<'p> Labels<'p> {
    /// Reads a message.
    #[must_use]
    pub fn of(message: &Message<'_>, policy: &'p Policy) -> Self {
        let mut labels = Self::default();
        let (mut patient, mut about) = (None, "message");
        for segment in message.segments() {
            let kind = segment.packed_name();
            match kind {
                PID => (patient, about) = (Some(segment.index()), "person"),
                PD1 => about = "person",
                PV1 | PV2 => about = "visit",
                ARV | DG1 | ORC | TXA => {
                    let mut reader = Reader { message, policy, unmapped: &mut labels.unmapped };
                    let found = reader.read(&segment, about);
                    if !found.is_empty() {
                        let at = segment.index();
                        labels.said.push(Said { at, patient, kind, labels: found });
                    }
                }
                _ => {}
            }
        }
        if labels.said.iter().any(|said| said.kind == ORC) {
            let orders = message.segments().filter(|it| it.packed_name() == ORC);
            labels.orders = orders.map(|it| it.index()).collect();
        }
        labels
    }

    /// The first code that nobody mapped.
    #[must_use]
    pub const fn unmapped(&self) -> Option<&Unmapped> {
        self.unmapped.as_ref()
    }

    /// Gives an event the labels of the segments that it is made of. What is said of patient, visit or
    /// document is said of every event of that patient.
    // PROMISE-5
    pub fn label(&self, message: &Message<'_>, draft: &mut Draft) {
        let data = std::mem::take(&mut draft.data);
        draft.data = self.labelled(message, &draft.ranges, data);
    }

    fn labelled(&self, message: &Message<'_>, ranges: &[Range<usize>], data: Tree) -> Tree {
        let within = |at: usize| ranges.iter().any(|range| range.contains(&at));
        let order = self.order_of(message, ranges);
        let mut found: Vec<Label<'_>> = self
            .said
            .iter()
            .filter(|said| {
                let of_patient = matches!(said.kind, ARV | TXA) && said.patient.is_none_or(within);
                within(said.at) || of_patient || order == Some(said.at)
            })
            .flat_map(|said| said.labels.iter().copied())
            .collect();
        if found.is_empty() {
            return data;
        }
        found.sort_unstable();
        found.dedup();
        if found.len() > LABELS_MAX {
            found.truncate(LABELS_MAX);
            found.push(Label { about: "message", code: UNKNOWN });
        }
        with(&data, &found)
    }

    /// The ORC of an event whose OBR has none of its own: the last before it, since several OBR of
    /// one order may follow one ORC.
    fn order_of(&self, message: &Message<'_>, ranges: &[Range<usize>]) -> Option<usize> {
        let start = ranges.last().filter(|_| !self.orders.is_empty())?.start;
        if message.segment(start)?.packed_name() != OBR {
            return None;
        }
        let last = self.orders.iter().rev().find(|at| **at < start).copied()?;
        let is_patient = |at: usize| message.segment(at).is_some_and(|it| it.packed_name() == PID);
        (!(last..start).any(is_patient)).then_some(last)
    }
}

/// What the security labels of a FHIR resource and of its patient say (`meta.security`).
#[derive(Debug, Default)]
pub struct Security<'p> {
    labels: Vec<Label<'p>>,
    unmapped: Option<Unmapped>,
}

impl<'p> Security<'p> {
    /// Reads them.
    #[must_use]
    pub fn of(scene: &Scene<'_>, policy: &'p Policy) -> Self {
        let mut security = Self::default();
        security.read(scene.focus, "message", policy);
        if let Some(patient) = scene.patient {
            security.read(patient, "person", policy);
        }
        security.labels.sort_unstable();
        security.labels.dedup();
        if security.labels.len() > LABELS_MAX {
            security.labels.truncate(LABELS_MAX);
            security.labels.push(Label { about: "message", code: UNKNOWN });
        }
        security
    }

    fn read(&mut self, resource: &Resource<'_>, about: &'static str, policy: &'p Policy) {
        let codings = resource.root().get("meta").and_then(|meta| meta.get("security"));
        for coding in codings.into_iter().flat_map(Node::items) {
            let text = |name: &str| coding.get(name).and_then(Node::text).map(str::trim);
            let system = text("system").map(system_of);
            let code = text("code").unwrap_or_default();
            match policy.labels_of(system, system.unwrap_or_default(), code) {
                Labelling::Labels(labels) => {
                    self.labels.extend(labels.into_iter().map(|code| Label { about, code }));
                }
                Labelling::Unknown => {
                    let code = format!("{}/{code}", system.unwrap_or_default());
                    self.unmapped.get_or_insert(Unmapped { field: "meta.security", code });
                    self.labels.push(Label { about, code: UNKNOWN });
                }
            }
        }
    }

    /// The first code that nobody mapped.
    #[must_use]
    pub const fn unmapped(&self) -> Option<&Unmapped> {
        self.unmapped.as_ref()
    }

    /// Gives an event what they say.
    // PROMISE-5
    #[must_use]
    pub fn label(&self, data: Tree) -> Tree {
        if self.labels.is_empty() { data } else { with(&data, &self.labels) }
    }
}

/// The name of a code system as tables and `[labels]` call it: the last word of HL7's own URIs.
fn system_of(uri: &str) -> &str {
    uri.strip_prefix("http://terminology.hl7.org/CodeSystem/v3-")
        .or_else(|| uri.strip_prefix("http://hl7.org/fhir/v3/"))
        .unwrap_or(uri)
}

/// The labels of an event, each once.
#[must_use]
pub fn labels_of(data: View<'_>) -> Vec<&str> {
    let list = data.get(LABELS);
    let codes = list.iter().flat_map(View::children).filter_map(|label| label.get("code"));
    let mut codes: Vec<&str> = codes.filter_map(|code| code.as_text()).collect();
    codes.sort_unstable();
    codes.dedup();
    codes
}

/// A copy of an event's fields with labels.
fn with(data: &Tree, labels: &[Label<'_>]) -> Tree {
    let mut labelled = Tree::new();
    for part in DATA.fields {
        if part.name == LABELS {
            let list = labelled.open_list(LABELS);
            for label in labels {
                let open = labelled.open_object("");
                labelled.text("code", label.code);
                labelled.text("about", label.about);
                labelled.close(open);
            }
            labelled.close(list);
        } else if let Some(given) = data.root().get(part.name) {
            labelled.copy(part.name, given);
        }
    }
    labelled
}

struct Reader<'m, 'p, 'u> {
    message: &'m Message<'m>,
    policy: &'p Policy,
    unmapped: &'u mut Option<Unmapped>,
}

impl<'p> Reader<'_, 'p, '_> {
    fn read(&mut self, segment: &Segment<'_>, about: &'static str) -> Vec<Label<'p>> {
        match segment.packed_name() {
            // What is taken back (table 0206) is sensitive no more.
            ARV if self.is_deleted(segment) => Vec::new(),
            ARV => {
                let mut labels = self.field(segment, ("ARV-3", 3, "HL70717"), about);
                labels.extend(self.field(segment, ("ARV-4", 4, "HL70719"), about));
                labels
            }
            DG1 => self.field(segment, ("DG1-17", 17, "HL70136"), "diagnosis"),
            ORC => self.field(segment, ("ORC-28", 28, "HL70177"), "order"),
            TXA => self.field(segment, ("TXA-18", 18, "HL70272"), "document"),
            _ => Vec::new(),
        }
    }

    fn is_deleted(&self, segment: &Segment<'_>) -> bool {
        let raw = segment.field(2).unwrap_or_default();
        let mut words = self.message.repetitions(raw);
        let word = words.next().map(|raw| self.component(raw, 1)).unwrap_or_default();
        word.as_deref() == Some("D") && words.next().is_none()
    }

    /// The labels of each repetition of a field (CWE, IS, ID): its first coding with a meaning.
    fn field(
        &mut self,
        segment: &Segment<'_>,
        (field, number, table): (&'static str, usize, &str),
        about: &'static str,
    ) -> Vec<Label<'p>> {
        let Some(raw) = segment.field(number) else { return Vec::new() };
        let mut found = Vec::new();
        for raw in self.message.repetitions(raw) {
            if matches!(self.message.content(raw), Content::Absent | Content::Null)
                || self.is_hollow(raw)
            {
                continue;
            }
            let codings = [(1, 3), (4, 6)].map(|(code, system)| {
                let system = self.component(raw, system);
                self.component(raw, code).map(|code| (system, code))
            });
            let meaning = codings.iter().flatten().find_map(|(system, code)| {
                match self.policy.labels_of(system.as_deref(), table, code) {
                    Labelling::Labels(labels) => Some(labels),
                    Labelling::Unknown => None,
                }
            });
            let labels = meaning.unwrap_or_else(|| {
                let (system, code) = codings.into_iter().flatten().next().unwrap_or_default();
                let code = format!("{}/{code}", system.as_deref().unwrap_or(table));
                self.unmapped.get_or_insert(Unmapped { field, code });
                vec![UNKNOWN]
            });
            found.extend(labels.into_iter().map(|code| Label { about, code }));
        }
        found
    }

    /// Whether a repetition holds nothing but what divides it.
    fn is_hollow(&self, raw: &str) -> bool {
        let delimiters = self.message.delimiters();
        let divides =
            |byte: u8| byte == delimiters.component || Some(byte) == delimiters.subcomponent;
        raw.bytes().all(|byte| byte == b' ' || divides(byte))
    }

    /// What a component of a repetition says.
    fn component(&self, raw: &str, number: usize) -> Option<String> {
        let part = Composite::of_field(raw, self.message.delimiters()).part(number);
        match self.message.content(part.first()) {
            Content::Text(text) => Some(text.trim().to_owned()).filter(|text| !text.is_empty()),
            Content::Absent | Content::Null => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::normalize::group::groups;
    use crate::normalize::mapping::Per;
    use crate::parse::hl7::Charset;

    /// Place and labels of each event, and the first field with a code that is unmapped.
    fn labelled(per: Per, segments: &[&str]) -> (Vec<String>, Option<&'static str>) {
        let text = format!("MSH|^~\\&|A|B|||2026||ADT^A01|1|P|2.8\r{}", segments.join("\r"));
        let message = Message::parse(text.as_bytes(), Charset::Utf8).unwrap();
        let policy = Policy::default();
        let labels = Labels::of(&message, &policy);
        let shown = groups(&message, per).unwrap().into_iter().map(|group| {
            let data = labels.labelled(&message, &group.ranges, Tree::new());
            let list = data.root().get(LABELS);
            let text = |it: View<'_>, key| it.get(key).unwrap().as_text().unwrap().to_owned();
            let each = list.iter().flat_map(View::children);
            let each = each.map(|it| format!("{}:{}", text(it, "about"), text(it, "code")));
            format!("{} {}", group.place, each.collect::<Vec<_>>().join(" "))
        });
        (shown.collect(), labels.unmapped().map(|it| it.field))
    }

    fn at(segment: &str, number: usize, value: &str) -> String {
        format!("{segment}{}{value}", "|".repeat(number))
    }

    #[test]
    fn each_field_labels_by_what_it_is_about() {
        let (dg1, txa) = (at("DG1", 17, "Y"), at("TXA", 18, "V"));
        let orc = at("ORC", 28, "AID^AIDS^HL70177");
        let all = [
            "ARV|1|A|STD",
            "PID|1",
            "ARV|1|A|HIV~PSY^x^HL70717|PAT",
            "PV1|1",
            "ARV|1||DRG|VIP",
            &dg1,
            &orc,
            &txa,
        ];
        let (found, unmapped) = labelled(Per::Message, &all);
        assert_eq!(
            found,
            ["pid1 diagnosis:R document:V message:STD order:HIV person:HIV person:PSY visit:SUD \
              visit:VIP"]
        );
        assert_eq!(unmapped, None);
    }

    #[test]
    fn what_says_that_nothing_is_sensitive_labels_nothing() {
        for segment in [
            at("DG1", 17, "N"),
            at("DG1", 17, "\"\""),
            at("ORC", 28, "U^Usual control^HL70177"),
            at("TXA", 18, "U"),
            "ARV|1|A|ALL|PAT".to_owned(),
            "ARV|1|D|HIV^^HL70717".to_owned(),
            at("ORC", 28, ""),
            at("ORC", 28, "^^~&~ "),
        ] {
            let (found, unmapped) = labelled(Per::Message, &["PID|1", &segment]);
            assert_eq!((found.join(""), unmapped), ("pid1 ".to_owned(), None), "{segment}");
        }
    }

    /// PROMISE-5
    #[test]
    fn a_code_that_nobody_mapped_labels_as_what_nothing_opens() {
        for (segment, field) in [
            (at("DG1", 17, "C"), "DG1-17"),
            (at("ORC", 28, "^very secret"), "ORC-28"),
            (at("ORC", 28, "&x"), "ORC-28"),
            (at("ORC", 28, "U^usual^L"), "ORC-28"),
            (at("TXA", 18, "HR"), "TXA-18"),
            ("ARV|1|A|WHAT".to_owned(), "ARV-3"),
            ("ARV|1|D~A|WHAT".to_owned(), "ARV-3"),
            ("ARV|1|Q|ALL|WHY".to_owned(), "ARV-4"),
        ] {
            let (found, unmapped) = labelled(Per::Message, &["PID|1", &segment]);
            assert!(found[0].ends_with(":unknown"), "{segment}: {found:?}");
            assert_eq!(unmapped, Some(field), "{segment}");
        }
        // The second coding has a meaning, so the first needs none.
        let (found, unmapped) =
            labelled(Per::Message, &["PID|1", &at("ORC", 28, "ZZ9^x^L^HIV^y^HL70177")]);
        assert_eq!((found[0].as_str(), unmapped), ("pid1 order:HIV", None));
    }

    #[test]
    fn an_event_has_the_labels_of_its_own_order_and_of_its_patient() {
        let (hiv, psy) = (at("ORC", 28, "HIV"), at("ORC", 28, "PSY"));
        let (found, _) = labelled(
            Per::Obr,
            &[
                "PID|1",
                "PV1|1",
                &hiv,
                "OBR|1",
                "OBX|1",
                "OBR|2",
                "OBX|1",
                &psy,
                "OBR|3",
                "ORC|RE",
                "OBR|4",
                "ARV|1|A|STD",
                "PID|2",
                "OBR|5",
            ],
        );
        assert_eq!(
            found,
            [
                "obr1 order:HIV visit:STD",
                // One ORC, two OBR: of which of them it speaks nobody knows.
                "obr2 order:HIV visit:STD",
                "obr3 order:PSY visit:STD",
                "obr4 visit:STD",
                "obr5 ",
            ]
        );
    }

    /// PROMISE-11
    #[test]
    fn labels_beyond_the_bound_are_one_that_nothing_opens() {
        let mut policy = Policy::default();
        let names: Vec<String> = (0..=LABELS_MAX).map(|number| format!("L{number:03}")).collect();
        policy.extend_labels("L/ALL", &names);
        let text =
            format!("MSH|^~\\&|A|B|||2026||ADT^A01|1|P|2.8\rPID|1\r{}", at("ORC", 28, "ALL^^L"));
        let message = Message::parse(text.as_bytes(), Charset::Utf8).unwrap();
        let labels = Labels::of(&message, &policy);
        let data = labels.labelled(&message, &[0..message.len()], Tree::new());
        let found = labels_of(data.root());
        assert_eq!((found.len(), found.contains(&UNKNOWN)), (LABELS_MAX + 1, true));
    }
}
