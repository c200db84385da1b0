//! The answer to a message, in original mode (chapter 2.9.2).
//!
//! Promises: an acknowledgement is MSH, MSA and at most ERR, whatever the message holds: what
//! is echoed can hold neither a segment end nor a field separator (PROMISE-11); it has the
//! sender's delimiters, version and character set, and echoes MSH-10 byte for byte.
//! Knows nothing of: when it is sent.

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{BufMut, Bytes, BytesMut};
use jiff::Timestamp;

use super::frame::{CR, FS, VT};
use crate::parse::hl7::head::skip_lead;
use crate::parse::hl7::{Delimiters, Head};
use crate::secret::{SecretError, random_name};
use crate::verdict::{Code, Fault};

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

/// Writes an acknowledgement, framed. Without a head, as where the message has none, it is
/// written with the usual delimiters and echoes nothing.
#[must_use]
pub fn acknowledge(
    head: Option<&Head<'_>>,
    code: Code,
    fault: Option<&Fault>,
    control_id: &str,
    now: Timestamp,
) -> Bytes {
    let delimiters = head.map_or_else(Delimiters::default, |head| head.delimiters);
    let echo = |field| head.map_or(&b""[..], |head| head.echo(field));
    let sent_id = head.and_then(|head| head.control_id().ok()).unwrap_or_default();
    let mut out = Segment { out: BytesMut::with_capacity(256), separator: delimiters.field };
    out.out.put_u8(VT);
    write_header(&mut out, &delimiters, head, control_id, now);
    out.begin(b"MSA");
    out.field(code.name().as_bytes());
    out.field(sent_id);
    if let Some(fault) = fault {
        out.field(message_text(fault).as_bytes());
    }
    out.end();
    if let Some(fault) = fault {
        write_fault(&mut out, &delimiters, fault, echo(12));
    }
    out.out.put_slice(&[FS, CR]);
    out.out.freeze()
}

/// Segments, field by field.
struct Segment {
    out: BytesMut,
    separator: u8,
}

impl Segment {
    fn begin(&mut self, name: &[u8]) {
        self.out.put_slice(name);
    }

    fn field(&mut self, value: &[u8]) {
        self.out.put_u8(self.separator);
        self.out.put_slice(value);
    }

    fn end(&mut self) {
        self.out.put_u8(CR);
    }
}

/// MSH: application and facility swapped, the message's version, processing ID and character
/// set.
fn write_header(
    out: &mut Segment,
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
    out.field(now.strftime("%Y%m%d%H%M%S%.3f+0000").to_string().as_bytes());
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

/// MSA-3: what is wrong and where, for receivers that show nothing else.
fn message_text(fault: &Fault) -> String {
    match &fault.spot {
        Some(spot) => format!("{}: {spot}", fault.text),
        None => fault.text.to_owned(),
    }
}

/// ERR: before 2.5, ERR-1 holds segment, sequence, field and code; from 2.5 on, ERR-2 the
/// place, ERR-3 the code, ERR-4 the severity.
fn write_fault(out: &mut Segment, delimiters: &Delimiters, fault: &Fault, version: &[u8]) {
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
    matches!(version, [b'2', b'.', b'1'..=b'4', ..] | b"2")
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

    fn answer(message: &[u8], code: Code, fault: Option<&Fault>) -> String {
        let head = Head::read(message).ok();
        let bytes = acknowledge(head.as_ref(), code, fault, "ID-1", Timestamp::UNIX_EPOCH);
        let inner = bytes.strip_prefix(&[VT]).unwrap().strip_suffix(&[FS, CR]).unwrap();
        String::from_utf8_lossy(inner).replace('\r', "\n")
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
            let bytes = acknowledge(
                head.as_ref(), Code::AE, with_fault.then_some(&found), "ID-1", Timestamp::UNIX_EPOCH);
            let inner = &bytes[1..bytes.len() - 2];
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
            prop_assert!(Message::parse(&bytes[1..], Charset::Ascii).is_ok() || !bytes.is_ascii());
        }
    }
}
