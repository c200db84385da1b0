//! Whether a message bears a consent or a restriction.
//!
//! Promises: what bears one is seen, whatever the message's type and whether or not it is mapped.
//! Knows nothing of: what they say. Restrictions are looked at only so that a message with one that
//! gives no events closes; CON is read by its mapping.

use crate::parse::hl7::name::pack;
use crate::parse::hl7::{Content, Message, Segment};

const CON: u32 = pack(b"CON");
const ARV: u32 = pack(b"ARV");
const PD1: u32 = pack(b"PD1");
const PV2: u32 = pack(b"PV2");

/// Whether a message has a CON.
pub(super) fn has_consent(message: &Message<'_>) -> bool {
    message.segments().any(|segment| segment.packed_name() == CON)
}

/// The restrictions that a message bears, by their fields: PD1-12 and PV2-22 (table 0136) but for `N`
/// and `""`, which end one; ARV (chapter 3.4.13) but for ARV-2 = `D` (table 0206). An end that is not
/// applied leaves closed what is closed.
pub(super) fn restrictions(message: &Message<'_>) -> Vec<&'static str> {
    let text = |segment: &Segment<'_>, field| match message.content(segment.field(field)?) {
        Content::Text(text) => Some(text.trim().to_owned()),
        Content::Absent | Content::Null => None,
    };
    let mut found = Vec::new();
    for segment in message.segments() {
        let restricts = |field| text(&segment, field).is_some_and(|said| said != "N");
        let carrier = match segment.packed_name() {
            PD1 if restricts(12) => "PD1-12",
            PV2 if restricts(22) => "PV2-22",
            ARV if text(&segment, 2).is_none_or(|action| action != "D") => "ARV",
            _ => continue,
        };
        if !found.contains(&carrier) {
            found.push(carrier);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse::hl7::Charset;

    #[test]
    fn what_begins_a_restriction_bears_one_and_what_ends_it_does_not() {
        let field = |segment: &str, number: usize, value: &str| {
            format!("{segment}{}{value}", "|".repeat(number))
        };
        for (segment, wanted) in [
            (field("PD1", 12, "Y"), Some("PD1-12")),
            (field("PD1", 12, "what"), Some("PD1-12")),
            (field("PD1", 12, "N"), None),
            (field("PD1", 12, "\"\""), None),
            (field("PD1", 12, ""), None),
            (field("PV2", 22, "Y"), Some("PV2-22")),
            (field("PV2", 22, "N"), None),
            (field("ARV", 2, "A"), Some("ARV")),
            (field("ARV", 2, ""), Some("ARV")),
            (field("ARV", 2, "D"), None),
            (field("PV1", 22, "Y"), None),
        ] {
            let text = format!("MSH|^~\\&|A|B|||2026||ADT^A01|1|P|2.7\r{segment}");
            let message = Message::parse(text.as_bytes(), Charset::Utf8).unwrap();
            assert_eq!(restrictions(&message).first().copied(), wanted, "{segment}");
            assert!(!has_consent(&message));
        }
    }
}
