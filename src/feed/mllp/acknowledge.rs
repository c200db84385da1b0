//! An acknowledgement of a message, as it is written (chapter 2.9.2 and 2.9.3).
//!
//! Promises: an acknowledgement is MSH, MSA and at most ERR, whatever the message holds: what
//! is echoed can hold neither a segment end nor a field separator (PROMISE-11); it has the
//! sender's delimiters, version and character set, and echoes MSH-10 byte for byte.
//! Knows nothing of: whether one is sent, when and where to; that is `mode` and `session`.

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{BufMut, Bytes, BytesMut};
use jiff::Timestamp;

use super::frame::{CR, FS, VT};
use crate::parse::hl7::head::skip_lead;
use crate::parse::hl7::{Delimiters, Head};
use crate::secret::{SecretError, random_name};
use crate::verdict::{Code, Fault, Level};

/// Names acknowledgements: each has a control ID of its own.
#[derive(Debug)]
pub struct ControlIds {
    start: String,
    next: AtomicU64,
}

impl ControlIds {
    /// Begins a sequence that no other start of the daemon uses.
    ///
    /// # Errors
    /// The operating system gives no randomness.
    pub fn begin() -> Result<Self, SecretError> {
        let start = random_name(8)?.to_uppercase();
        Ok(Self { start, next: AtomicU64::new(1) })
    }

    /// The next one; at most 20 characters, which is what 2.6 and before allow, for the first
    /// hundred billion.
    #[must_use]
    pub fn next(&self) -> String {
        format!("{}-{}", self.start, self.next.fetch_add(1, Ordering::Relaxed))
    }
}

/// What an acknowledgement says.
#[derive(Clone, Copy, Debug)]
pub struct Reply<'r> {
    /// CA or AA, and their like.
    pub level: Level,
    /// What became of the message.
    pub code: Code,
    /// What is wrong with it.
    pub fault: Option<&'r Fault>,
    /// The number that MSH-13 of the next message is to have (MSA-4), where numbers are used.
    pub expected: Option<i64>,
}

/// Writes an acknowledgement, without a frame. Without a head, as where the message has none, it is
/// written with the usual delimiters and echoes nothing.
pub fn acknowledge(
    out: &mut BytesMut,
    head: Option<&Head<'_>>,
    reply: &Reply<'_>,
    control_id: &str,
    now: Timestamp,
) {
    let delimiters = head.map_or_else(Delimiters::default, |head| head.delimiters);
    let echo = |field| head.map_or(&b""[..], |head| head.echo(field));
    let sent_id = head.and_then(|head| head.control_id().ok()).unwrap_or_default();
    let mut out = Segment { out, separator: delimiters.field };
    write_header(&mut out, &delimiters, head, control_id, now);
    out.begin(b"MSA");
    out.field(reply.code.name(reply.level).as_bytes());
    out.field(sent_id);
    if reply.fault.is_some() || reply.expected.is_some() {
        let text = reply.fault.map(message_text).unwrap_or_default();
        out.field(plain(&text, &delimiters).as_bytes());
    }
    if let Some(expected) = reply.expected {
        out.field(expected.to_string().as_bytes());
    }
    out.end();
    if let Some(fault) = reply.fault {
        write_fault(&mut out, &delimiters, fault, echo(12));
    }
}

/// Puts a frame around what is written by `write`.
pub fn framed(out: &mut BytesMut, write: impl FnOnce(&mut BytesMut)) {
    out.put_u8(VT);
    write(out);
    out.put_slice(&[FS, CR]);
}

/// Segments, field by field.
pub(super) struct Segment<'o> {
    pub(super) out: &'o mut BytesMut,
    pub(super) separator: u8,
}

impl Segment<'_> {
    pub(super) fn begin(&mut self, name: &[u8]) {
        self.out.put_slice(name);
    }

    pub(super) fn field(&mut self, value: &[u8]) {
        self.out.put_u8(self.separator);
        self.out.put_slice(value);
    }

    pub(super) fn end(&mut self) {
        self.out.put_u8(CR);
    }
}

/// MSH: application and facility swapped, the message's version, processing ID and character
/// set.
fn write_header(
    out: &mut Segment<'_>,
    delimiters: &Delimiters,
    head: Option<&Head<'_>>,
    control_id: &str,
    now: Timestamp,
) {
    let echo = |field| head.map_or(&b""[..], |head| head.echo(field));
    out.begin(b"MSH");
    out.field(head.map_or(&b"^~\\&"[..], |head| head.field(2)));
    for swapped in [5, 6, 3, 4] {
        out.field(echo(swapped));
    }
    out.field(written_at(now).as_bytes());
    out.field(b"");
    let trigger = head.map_or(&b""[..], |head| head.component(9, 2));
    let mut kind = b"ACK".to_vec();
    if !trigger.is_empty() && trigger.iter().all(u8::is_ascii_alphanumeric) {
        kind.push(delimiters.component);
        kind.extend(trigger);
        // MSH-9.3 is there from 2.3.1 on; earlier receivers ignore it.
        kind.push(delimiters.component);
        kind.extend(b"ACK");
    }
    out.field(&kind);
    out.field(control_id.as_bytes());
    let or = |value: &'static [u8], field| match echo(field) {
        b"" => value,
        echoed => echoed,
    };
    out.field(or(b"P", 11));
    out.field(or(b"2.5.1", 12));
    if !echo(18).is_empty() {
        for _ in 13..18 {
            out.field(b"");
        }
        out.field(echo(18));
    }
    out.end();
}

/// The time of an answer, as MSH-7, BHS-7 and FHS-7 have it.
pub(super) fn written_at(now: Timestamp) -> String {
    now.strftime("%Y%m%d%H%M%S%.3f+0000").to_string()
}

/// MSA-3: what is wrong and where, for receivers that show nothing else.
fn message_text(fault: &Fault) -> String {
    match &fault.spot {
        Some(spot) => format!("{}: {spot}", fault.text),
        None => fault.text.to_owned(),
    }
}

/// A text of ours with nothing in it that divides a message of these delimiters.
pub(super) fn plain(text: &str, delimiters: &Delimiters) -> String {
    let Delimiters { field, component, repetition, escape, subcomponent, truncation } = *delimiters;
    let divides =
        [Some(field), Some(component), Some(repetition), Some(escape), subcomponent, truncation];
    let plain = |letter: char| {
        let is_one = divides.iter().flatten().any(|byte| char::from(*byte) == letter);
        if is_one { ' ' } else { letter }
    };
    text.chars().map(plain).collect()
}

/// ERR: before 2.5, ERR-1 holds segment, sequence, field and code; from 2.5 on, ERR-2 the
/// place, ERR-3 the code, ERR-4 the severity.
fn write_fault(out: &mut Segment<'_>, delimiters: &Delimiters, fault: &Fault, version: &[u8]) {
    let component = [delimiters.component];
    let part = [delimiters.subcomponent.unwrap_or(delimiters.component)];
    let number = |number: usize| if number == 0 { String::new() } else { number.to_string() };
    let (segment, field) = match &fault.spot {
        Some(spot) => (spot.segment.as_str(), number(spot.field)),
        None => ("", String::new()),
    };
    let place = match (segment, field.as_str(), fault.component) {
        ("", _, _) => Vec::new(),
        (_, "", _) => [segment.as_bytes(), b"1"].join(&component[..]),
        (_, _, 0) => [segment.as_bytes(), b"1", field.as_bytes()].join(&component[..]),
        // Repetition 1, then the component.
        (_, _, at) => [segment.as_bytes(), b"1", field.as_bytes(), b"1", at.to_string().as_bytes()]
            .join(&component[..]),
    };
    let code = fault.code.to_string();
    let coded =
        |separator: &[u8]| [code.as_bytes(), fault.text.as_bytes(), b"HL70357"].join(separator);
    out.begin(b"ERR");
    if is_before_2_5(version) {
        let whole = [segment.as_bytes(), b"1", field.as_bytes(), &coded(&part)];
        out.field(&whole.join(&component[..]));
    } else {
        out.field(b"");
        out.field(&place);
        out.field(&coded(&component));
        out.field(b"E");
    }
    out.end();
}

fn is_before_2_5(version: &[u8]) -> bool {
    match version {
        b"2" => true,
        // Not 2.10, should there ever be one.
        [b'2', b'.', b'1'..=b'4', rest @ ..] => !rest.first().is_some_and(u8::is_ascii_digit),
        _ => false,
    }
}

/// The beginning of a message that was cut off, to its last whole field: half a control ID is no
/// control ID.
#[must_use]
pub fn whole_fields(head: &Bytes) -> Bytes {
    if memchr::memchr2(b'\r', b'\n', skip_lead(head)).is_some() {
        return head.clone();
    }
    let separator = skip_lead(head).get(3).copied().unwrap_or(b'|');
    head.slice(..memchr::memrchr(separator, head).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::normalize::Spot;
    use crate::parse::hl7::{Charset, Message};

    fn fault() -> Fault {
        let spot = Some(Spot { segment: "PID".to_owned(), field: 3 });
        Fault { spot, component: 0, code: 101, text: "Required field missing" }
    }

    fn written(head: Option<&Head<'_>>, reply: &Reply<'_>) -> BytesMut {
        let mut out = BytesMut::new();
        acknowledge(&mut out, head, reply, "ID-1", Timestamp::UNIX_EPOCH);
        out
    }

    fn answer(message: &[u8], code: Code, fault: Option<&Fault>) -> String {
        let head = Head::read(message).ok();
        let reply = Reply { level: Level::Application, code, fault, expected: None };
        let bytes = written(head.as_ref(), &reply);
        String::from_utf8_lossy(&bytes).replace('\r', "\n")
    }

    #[test]
    fn an_acknowledgement_goes_back_the_way_the_message_came() {
        assert_eq!(
            answer(
                b"MSH|^~\\&|EHR|NORTH|GATE|HUB|2026||ADT^A01^ADT_A01|42 7|T|2.5.1||||||8859/1\rPID|1",
                Code::AA,
                None
            ),
            "MSH|^~\\&|GATE|HUB|EHR|NORTH|19700101000000.000+0000||ACK^A01^ACK|ID-1|T|2.5.1||||||8859/1\n\
             MSA|AA|42 7\n"
        );
    }

    #[test]
    fn an_error_is_written_as_the_version_of_the_message_has_it() {
        assert_eq!(
            answer(b"MSH|^~\\&|A|B|C|D|2026||ADT^A01|7|P|2.5\r", Code::AE, Some(&fault())),
            "MSH|^~\\&|C|D|A|B|19700101000000.000+0000||ACK^A01^ACK|ID-1|P|2.5\n\
             MSA|AE|7|Required field missing: PID-3\n\
             ERR||PID^1^3|101^Required field missing^HL70357|E\n"
        );
        assert_eq!(
            answer(b"MSH$*@!%$A$B$C$D$2026$$ADT*A01$7$P$2.3\r", Code::AE, Some(&fault())),
            "MSH$*@!%$C$D$A$B$19700101000000.000+0000$$ACK*A01*ACK$ID-1$P$2.3\n\
             MSA$AE$7$Required field missing: PID-3\n\
             ERR$PID*1*3*101%Required field missing%HL70357\n"
        );
        let whole =
            Fault { spot: None, component: 0, code: 207, text: "Application internal error" };
        assert!(
            answer(b"MSH|^~\\&|||||||ADT|7|P|2.7", Code::AR, Some(&whole))
                .ends_with("ERR|||207^Application internal error^HL70357|E\n")
        );
    }

    #[test]
    fn what_cannot_be_echoed_is_left_empty() {
        assert_eq!(
            answer(b"no header at all", Code::AE, Some(&fault())).lines().nth(1),
            Some("MSA|AE||Required field missing: PID-3")
        );
        assert_eq!(
            answer(b"MSH|^~\\&|A\x0b|B|||2026||ADT^A01|4\x1c2|P|2.5\r", Code::AE, None),
            "MSH|^~\\&||||B|19700101000000.000+0000||ACK^A01^ACK|ID-1|P|2.5\nMSA|AE|\n"
        );
    }

    #[test]
    fn control_ids_are_short_and_differ() {
        let [one, two] = [(); 2].map(|()| ControlIds::begin().unwrap());
        assert_ne!(one.next(), one.next());
        assert_ne!(one.next(), two.next());
        assert!(one.next().len() <= 20);
    }

    #[test]
    fn an_accept_acknowledgement_says_what_number_is_expected_next() {
        let head = Head::read(b"MSH|^~\\&|A|B|C|D|2026||ADT^A01|7|P|2.9|12|").unwrap();
        let fault = fault();
        let said = |code, fault, expected| {
            let reply = Reply { level: Level::Accept, code, fault, expected };
            let bytes = written(Some(&head), &reply);
            let text = String::from_utf8(bytes.to_vec()).unwrap();
            text.split('\r').nth(1).unwrap().to_owned()
        };
        assert_eq!(said(Code::AA, None, Some(13)), "MSA|CA|7||13");
        assert_eq!(said(Code::AA, None, None), "MSA|CA|7");
        assert_eq!(
            said(Code::AE, Some(&fault), Some(-1)),
            "MSA|CE|7|Required field missing: PID-3|-1"
        );
        assert_eq!(said(Code::AR, None, None), "MSA|CR|7");
    }

    /// ERR-1 holds it all up to 2.4; ERR-2 to ERR-4 do from 2.5 on, and where the version cannot be read.
    #[test]
    fn every_version_gets_the_form_of_err_that_it_knows() {
        for (versions, begin) in [
            (&["2", "2.1", "2.2", "2.3", "2.3.1", "2.4", "2.4^USA"][..], "ERR|PID^1^3^101&"),
            (
                &[
                    "2.5", "2.5.1", "2.6", "2.7", "2.7.1", "2.8", "2.8.2", "2.9", "2.10", "",
                    "3.0", "x",
                ],
                "ERR||PID^1^3|101^",
            ),
        ] {
            for version in versions {
                let text = answer(
                    format!("MSH|^~\\&|||||||ADT^A01|7|P|{version}").as_bytes(),
                    Code::AE,
                    Some(&fault()),
                );
                assert!(text.lines().nth(2).unwrap().starts_with(begin), "{version}: {text}");
                let header = text.lines().next().unwrap();
                let echoed = if version.is_empty() { "2.5.1" } else { version };
                assert!(header.ends_with(&format!("|P|{echoed}")), "{header}");
            }
        }
    }

    proptest! {
        /// PROMISE-11: nothing in a message can forge a second segment of its answer.
        #[test]
        fn an_acknowledgement_always_parses_to_msh_msa_and_at_most_err(
            fields in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..12), 10..20),
            with_fault in any::<bool>(),
        ) {
            let mut message = b"MSH|^~\\&|".to_vec();
            message.extend(fields.join(&b'|'));
            let head = Head::read(&message).ok();
            let found = fault();
            let reply = Reply {
                level: Level::Application, code: Code::AE,
                fault: with_fault.then_some(&found), expected: None,
            };
            let bytes = written(head.as_ref(), &reply);
            let inner = &bytes[..];
            prop_assert!(!inner.contains(&VT) && !inner.contains(&FS));
            // Latin-1 takes every byte, so that the segments show whatever was echoed.
            let latin = Charset::from_name("8859/1").unwrap();
            let text = latin.decode(inner).unwrap();
            let names: Vec<&str> =
                text.split(['\r', '\n']).filter(|line| !line.is_empty()).map(|line| line.split('|').next().unwrap_or_default()).collect();
            let wanted: &[&str] = if with_fault { &["MSH", "MSA", "ERR"] } else { &["MSH", "MSA"] };
            prop_assert_eq!(names, wanted);
            let count = text.split('\r').nth(1).unwrap().split('|').count();
            prop_assert_eq!(count, if with_fault { 4 } else { 3 });
            prop_assert!(Message::parse(&bytes, Charset::Ascii).is_ok() || !bytes.is_ascii());
        }
    }
}
