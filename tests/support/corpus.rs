//! The messages of others, what independent parsers read in them, and sending them as a feed.

use std::collections::HashMap;

use serde::Deserialize;

use tidegate::feed::mllp::mode::{AckMode, Way, asked, said};
use tidegate::parse::hl7::Head;
use tidegate::parse::hl7::{Composite, Content, Message};
use tidegate::verdict::{Code, Level};

use super::canary::forms::LONG_BYTES;
use super::daemon::Daemon;
use super::sender::Sender;

/// Files that no receiver can take, and why; every other one with a type and a control ID can
/// be.
pub const UNREADABLE: [(&str, &str); 2] = [
    ("cosyte/batch-malformed-mid-batch-002.hl7", "it ends within MSH-2"),
    ("ipf/iti8-iti8-a40-iso-8859-iti8-a40-iso-8859-1.hl7", "Latin 1 without MSH-18"),
];

/// The file whose message protects a visit (PV2-22) of nobody: a protection that cannot be kept is
/// not taken.
pub const PROTECTS_NOBODY: &str = "reportstream/id-ID-to-Encounter-pv2-22-F.hl7";

/// The file whose message is marked as history (MSH-11.2), which no route here asks for.
pub const HISTORY: &str = "linuxforhealth/SegmentUtilTest-lit005.hl7";

/// One message of a file.
#[derive(Clone)]
pub struct Sample {
    /// The file, below fixtures/corpus.
    pub path: String,
    pub bytes: Vec<u8>,
    pub expect: Expect,
    /// What the parsers do not agree on.
    pub disagree: Vec<String>,
}

/// What the parsers read; dates, codes and names as they stand in the message.
#[derive(Clone, Debug, Deserialize)]
pub struct Expect {
    #[serde(rename = "type")]
    pub kind: Option<String>,
    pub trigger: Option<String>,
    pub structure: Option<String>,
    pub control_id: Option<String>,
    pub processing_id: Option<String>,
    pub version: Option<String>,
    pub sending_app: Option<String>,
    pub sending_facility: Option<String>,
    pub n_pid: usize,
    pub n_obr: usize,
    pub n_obx: usize,
    pub patient_ids: Vec<Identifier>,
    pub birth_date: Option<String>,
    pub family: Option<String>,
    pub given: Option<String>,
    pub sex: Option<String>,
    pub class: Option<String>,
    pub visit_number: Option<String>,
    pub point_of_care: Option<String>,
    pub admit_dt: Option<String>,
    pub discharge_dt: Option<String>,
    pub first_obr_code: Option<String>,
    pub result_status: Option<String>,
    pub first_obx_code: Option<String>,
    pub first_obx_status: Option<String>,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct Identifier {
    pub value: Option<String>,
    pub authority: Option<String>,
    pub authority_id: Option<String>,
    pub authority_id_type: Option<String>,
    #[serde(rename = "type")]
    pub kind: Option<String>,
}

#[derive(Deserialize)]
struct Row {
    file: String,
    expect: Expect,
    #[serde(default)]
    disagree: HashMap<String, serde_json::Value>,
}

/// Every HL7 v2 message of the corpus, in the order of PROVENANCE.tsv.
pub fn samples() -> Vec<Sample> {
    let rows = std::fs::read_to_string("fixtures/corpus/EXPECT.jsonl").unwrap();
    let mut rows: HashMap<String, Row> = rows
        .lines()
        .map(|line| serde_json::from_str::<Row>(line).unwrap())
        .map(|row| (row.file.clone(), row))
        .collect();
    let list = std::fs::read_to_string("fixtures/corpus/PROVENANCE.tsv").unwrap();
    let paths = list.lines().skip(1).map(|line| line.split('\t').next().unwrap().to_owned());
    let paths = paths.filter(|path| path.ends_with(".hl7"));
    let samples: Vec<Sample> = paths
        .map(|path| {
            let Row { expect, disagree, .. } = rows.remove(&path).unwrap();
            let bytes = std::fs::read(format!("fixtures/corpus/{path}")).unwrap();
            // Two files hold the framing, too.
            let bytes = bytes.trim_ascii_start();
            let bytes = bytes.strip_prefix(b"\x0b").unwrap_or(bytes);
            let end = bytes.iter().position(|byte| *byte == 0x1c).unwrap_or(bytes.len());
            let bytes = bytes[..end].to_vec();
            assert!(!bytes.contains(&0x0b), "{path} holds several frames");
            Sample { path, bytes, expect, disagree: disagree.into_keys().collect() }
        })
        .collect();
    assert!(rows.is_empty(), "expected of no file: {:?}", rows.keys());
    samples
}

impl Sample {
    /// What the sender is to hear: an acknowledgement is not acknowledged; what has no type or
    /// no control ID, or cannot be read, is AE; everything else is taken.
    pub fn answer(&self) -> &'static str {
        if self.expect.kind.as_deref() == Some("ACK") {
            "none"
        } else if self.expect.kind.is_none()
            || self.expect.control_id.is_none()
            || self.path == PROTECTS_NOBODY
            || UNREADABLE.iter().any(|(path, _)| *path == self.path)
        {
            "AE"
        } else {
            "AA"
        }
    }

    /// The same message under another control ID.
    pub fn renamed(&self, control_id: &str) -> Vec<u8> {
        let start = self.bytes.windows(3).position(|name| name == b"MSH").unwrap();
        let header = &self.bytes[start..];
        let separator = header[3];
        let end = header.iter().position(|byte| matches!(byte, b'\r' | b'\n'));
        let (line, rest) = header.split_at(end.unwrap_or(header.len()));
        let mut fields: Vec<&[u8]> = line.split(|byte| *byte == separator).collect();
        fields[9] = control_id.as_bytes();
        [&self.bytes[..start], &fields.join(&separator), rest].concat()
    }
}

/// Sends messages on one connection; the code of each answer in the words of original mode, or `none`.
/// A message that asks for no answer is not heard of, and stands there as it should be.
pub fn send<'m>(
    daemon: &Daemon,
    messages: impl IntoIterator<Item = (&'m Sample, Vec<u8>)>,
) -> Vec<String> {
    let mut sender = Sender::connect(daemon.feed());
    let mut codes = Vec::new();
    for (sample, message) in messages {
        sender.send(&message).unwrap();
        let wanted = sample.answer();
        codes.push(if is_answered(&message, wanted) {
            sender.ack().unwrap().code.replace('C', "A")
        } else {
            wanted.to_owned()
        });
    }
    codes
}

/// Whether a message is answered on its connection: once, as its MSH-15 and MSH-16 ask.
fn is_answered(message: &[u8], wanted: &str) -> bool {
    let Some(code) = Code::ALL.into_iter().find(|code| code.name(Level::Application) == wanted)
    else {
        return false;
    };
    let asked = asked(AckMode::ByMessage, Head::read(message).ok().as_ref());
    let here = said(asked, code).acknowledgements().iter().filter(|(_, way)| *way != Way::ByFeed);
    here.count() == 1
}

/// Every value of a message by its field (`PID-5`): of each component and subcomponent, unescaped, and
/// of a text its longer words, too. The delimiters themselves are none.
pub fn values_of(message: &Message<'_>) -> Vec<(String, String)> {
    let mut values = Vec::new();
    for segment in message.segments() {
        let first = if segment.name() == "MSH" { 3 } else { 1 };
        for number in first..=segment.field_count() {
            let place = format!("{}-{number}", segment.label());
            let mut take = |raw: &str| {
                let Content::Text(text) = message.content(raw) else { return };
                let words = text.split_whitespace().filter(|word| word.len() >= LONG_BYTES);
                values.extend(words.map(|word| (place.clone(), word.to_owned())));
                values.push((place.clone(), text.trim().to_owned()));
            };
            for raw in message.repetitions(segment.field(number).unwrap_or_default()) {
                let whole = Composite::of_field(raw, message.delimiters());
                // No more parts than there are signs that could stand between them.
                let signs =
                    |text: &str| text.bytes().filter(|it| !it.is_ascii_alphanumeric()).count();
                for component in 1..=PARTS_MAX.min(signs(raw) + 1) {
                    let component = whole.part(component);
                    for part in 1..=PARTS_MAX.min(signs(component.raw()) + 1) {
                        take(component.part(part).first());
                    }
                }
            }
        }
    }
    values.sort();
    values.dedup();
    values
}

/// Components and subcomponents that are looked at; the widest type (XAD, XPN, XCN) has 25.
const PARTS_MAX: usize = 30;
