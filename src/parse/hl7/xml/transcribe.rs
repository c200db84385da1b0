//! An XML document to the pipe form, element by element.
//!
//! Promises: segments stand in the order of the document, whatever groups they stand in; what was
//! read before a fault is kept, so that a message with a header can be answered; MSH-1 and MSH-2
//! are the usual ones, since in XML they divide nothing.
//! Knows nothing of: bytes; `decode` made text of them.

use quick_xml::events::{BytesRef, BytesStart, Event};
use quick_xml::name::ResolveResult;
use quick_xml::reader::NsReader;

use super::name::{engine, is_data_type, is_group, is_root, numbered};
use super::part::{Kind, Part};
use super::{
    ATTRIBUTES_MAX, DEPTH_MAX, Dialect, ELEMENTS_MAX, ENGINE_ROOT, Fault, NAMESPACE,
    SEPARATORS_MAX, Wrong,
};
use crate::parse::hl7::message::FIELDS_MAX;
use crate::parse::hl7::name::is_segment_name;
use crate::parse::hl7::wire::Extent;
use crate::parse::hl7::{Malformed, Place};
use crate::parse::xml::{self, is_character, referred};

/// Longest escape, in bytes.
const ESCAPE_BYTES_MAX: usize = 256;

/// A document in the pipe form.
pub struct Transcript {
    /// Its segments; up to the fault, where there is one.
    pub text: String,
    /// How it is written.
    pub dialect: Dialect,
    /// Why it is no message.
    pub fault: Option<Malformed>,
}

/// Transcribes a document, or its header alone.
#[must_use]
pub fn transcribe(document: &str, extent: Extent) -> Transcript {
    let mut reader = NsReader::from_str(document);
    let config = reader.config_mut();
    config.expand_empty_elements = true;
    config.check_comments = true;
    let mut out = Transcriber {
        text: String::with_capacity(document.len() / 4),
        dialect: Dialect::default(),
        open: Vec::new(),
        segment: *b"MSH",
        elements: 0,
        fields: 0,
        separators: 0,
        is_done: false,
    };
    let fault = out.read(&mut reader, extent).err().map(|stop| match stop {
        Stop::Malformed(malformed) => malformed,
        Stop::Wrong(wrong) => {
            // Only what the reader itself finds has a place of its own.
            let at = match reader.error_position() {
                0 => reader.buffer_position(),
                at => at,
            };
            let at = usize::try_from(at).unwrap_or(usize::MAX);
            let before = document.as_bytes().get(..at).unwrap_or(document.as_bytes());
            let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
            Malformed::Xml(Fault { wrong, line, place: out.place() })
        }
    });
    Transcript { text: out.text, dialect: out.dialect, fault }
}

/// Why reading ends before the document does.
enum Stop {
    Wrong(Wrong),
    Malformed(Malformed),
}

impl From<Wrong> for Stop {
    fn from(wrong: Wrong) -> Self {
        Self::Wrong(wrong)
    }
}

impl From<xml::Wrong> for Stop {
    fn from(wrong: xml::Wrong) -> Self {
        Self::Wrong(wrong.into())
    }
}

impl<E: Into<quick_xml::Error>> From<E> for Stop {
    /// What the reader says quotes the document, and is dropped for that.
    fn from(_: E) -> Self {
        Self::Wrong(xml::Wrong::NotWellFormed.into())
    }
}

struct Transcriber {
    text: String,
    dialect: Dialect,
    open: Vec<Part>,
    /// The segment that is open, or was last.
    segment: [u8; 3],
    elements: usize,
    fields: usize,
    separators: usize,
    /// The root has closed.
    is_done: bool,
}

impl Transcriber {
    fn read(&mut self, reader: &mut NsReader<&[u8]>, extent: Extent) -> Result<(), Stop> {
        loop {
            let (resolved, event) = reader.read_resolved_event()?;
            let namespace = match resolved {
                ResolveResult::Bound(namespace) if namespace.0 == NAMESPACE => Namespace::Standard,
                ResolveResult::Unbound => Namespace::None,
                ResolveResult::Bound(_) | ResolveResult::Unknown(_) => Namespace::Other,
            };
            match event {
                Event::Start(element) | Event::Empty(element) => self.begin(&element, namespace)?,
                Event::End(_) => self.end()?,
                Event::Text(text) => self.push(&text.xml10_content())?,
                Event::CData(text) => self.push(&text.xml10_content())?,
                Event::GeneralRef(reference) => self.reference(&reference)?,
                Event::DocType(_) => return Err(xml::Wrong::Doctype.into()),
                Event::Decl(_) | Event::Comment(_) | Event::PI(_) => {}
                Event::Eof if self.is_done && self.text.is_empty() => {
                    return Err(Stop::Malformed(Malformed::NoHeader));
                }
                Event::Eof if self.is_done => return Ok(()),
                Event::Eof => return Err(xml::Wrong::NotWellFormed.into()),
            }
            if extent == Extent::Header && !self.text.is_empty() {
                return Ok(());
            }
        }
    }

    fn begin(&mut self, element: &BytesStart<'_>, namespace: Namespace) -> Result<(), Stop> {
        self.elements += 1;
        if self.elements > ELEMENTS_MAX {
            return Err(Wrong::TooMany.into());
        }
        if self.open.len() >= DEPTH_MAX {
            return Err(Wrong::TooDeep.into());
        }
        let mut attributes = 0;
        for attribute in element.attributes() {
            // Each is compared with those before it, so the bound comes first.
            attributes += 1;
            if attributes > ATTRIBUTES_MAX {
                return Err(Wrong::TooManyAttributes.into());
            }
            attribute.map_err(|_| xml::Wrong::NotWellFormed)?;
        }
        if namespace == Namespace::Other {
            return Err(Wrong::Namespace.into());
        }
        let local = element.local_name();
        let name: &str = local.as_ref();
        let Some(around) = self.open.last_mut() else { return self.root(name, namespace) };
        if name == "escape" && around.kind != Kind::Group {
            return self.escape(element);
        }
        let part = match around.kind {
            Kind::Group if is_segment_name(name.as_bytes()) => return self.segment(name),
            Kind::Group if is_group(name) => Part::new(Kind::Group, 0),
            Kind::Group => return Err(Wrong::Name.into()),
            kind => {
                let (prefix, number) = numbered(name).ok_or(Wrong::Name)?;
                self.check_prefix(prefix)?;
                match kind.parts() {
                    Some(Kind::Inner) if number > 1 => return Err(Wrong::TooFine.into()),
                    Some(parts) => Part::new(parts, number),
                    None => return Err(Wrong::TooFine.into()),
                }
            }
        };
        self.open.push(part);
        Ok(())
    }

    fn root(&mut self, name: &str, namespace: Namespace) -> Result<(), Stop> {
        if self.is_done {
            return Err(xml::Wrong::NotWellFormed.into());
        }
        if !is_root(name) {
            return Err(Wrong::Name.into());
        }
        self.dialect = match namespace {
            _ if name == ENGINE_ROOT => Dialect::Engine,
            Namespace::Standard => Dialect::Standard,
            Namespace::None | Namespace::Other => Dialect::Bare,
        };
        self.open.push(Part::new(Kind::Group, 0));
        Ok(())
    }

    fn segment(&mut self, name: &str) -> Result<(), Stop> {
        if self.text.is_empty() && name != "MSH" {
            return Err(Stop::Malformed(Malformed::NoHeader));
        }
        self.segment = name.as_bytes().try_into().map_err(|_| Wrong::Name)?;
        self.open.push(Part::new(Kind::Segment, 0));
        Ok(())
    }

    /// A field is named by its segment; a part of it by its data type, all parts by the same one,
    /// or by what it is a part of.
    fn check_prefix(&mut self, prefix: &str) -> Result<(), Stop> {
        let numbers: Vec<u16> =
            self.open.iter().map(|part| part.number).filter(|number| *number > 0).collect();
        let around = self.open.last_mut().ok_or(Wrong::Name)?;
        if prefix == around.prefix {
            return Ok(());
        }
        let is_right = if around.kind == Kind::Segment {
            prefix.as_bytes() == self.segment
        } else {
            let is_type = is_data_type(prefix) && prefix.as_bytes() != self.segment;
            around.prefix.is_empty() && (is_type || prefix == engine(self.segment, &numbers))
        };
        if !is_right {
            return Err(Wrong::Name.into());
        }
        around.prefix = prefix.to_owned();
        Ok(())
    }

    /// `<escape V=".br"/>`. It is opened as a part that may hold nothing.
    fn escape(&mut self, element: &BytesStart<'_>) -> Result<(), Stop> {
        let mut found = None;
        for attribute in element.attributes() {
            let attribute = attribute.map_err(|_| xml::Wrong::NotWellFormed)?;
            if attribute.key.as_ref() == "V" {
                found = Some(attribute.value.into_owned());
            }
        }
        let value = found.ok_or(Wrong::Escape)?;
        let divides = |byte: u8| b"|^~\\&<>'\"".contains(&byte);
        let is_escape = !value.is_empty()
            && value.len() <= ESCAPE_BYTES_MAX
            && value
                .bytes()
                .all(|byte| (byte == b' ' || byte.is_ascii_graphic()) && !divides(byte));
        let around = self.open.last_mut().ok_or(Wrong::Escape)?;
        if !is_escape || !around.push_escape(&value) {
            return Err(Wrong::Escape.into());
        }
        self.open.push(Part::new(Kind::Escape, 0));
        Ok(())
    }

    fn end(&mut self) -> Result<(), Stop> {
        let Some(part) = self.open.pop() else { return Err(xml::Wrong::NotWellFormed.into()) };
        let (kind, number) = (part.kind, part.number);
        match kind {
            Kind::Group => self.is_done = self.open.is_empty(),
            Kind::Escape => {}
            Kind::Segment => return self.end_segment(part),
            Kind::Field | Kind::Component | Kind::Subcomponent | Kind::Inner => {
                let (value, separators) = match part.value() {
                    Ok(closed) => closed,
                    Err(wrong) => {
                        // Its place is wanted, and it is closed already.
                        self.open.push(Part::new(kind, number));
                        return Err(wrong.into());
                    }
                };
                self.separators += separators;
                if self.separators > SEPARATORS_MAX {
                    return Err(Wrong::TooMany.into());
                }
                if let Some(around) = self.open.last_mut() {
                    around.take(number, &value);
                }
            }
        }
        Ok(())
    }

    fn end_segment(&mut self, part: Part) -> Result<(), Stop> {
        let has_fields = part.has_parts();
        let (value, separators) = part.value()?;
        self.fields += separators + 1;
        if self.fields > FIELDS_MAX {
            return Err(Stop::Malformed(Malformed::TooManyFields));
        }
        let is_header = [*b"MSH", *b"FHS", *b"BHS"].contains(&self.segment);
        self.text.extend(self.segment.iter().map(|byte| char::from(*byte)));
        if is_header {
            // The third field and what follows; before it stand the two that say what divides.
            let rest = value.splitn(3, '|').nth(2);
            self.text.push_str("|^~\\&");
            if let Some(rest) = rest {
                self.text.push('|');
                self.text.push_str(rest);
            }
        } else if has_fields {
            self.text.push('|');
            self.text.push_str(&value);
        }
        self.text.push('\r');
        Ok(())
    }

    fn push(&mut self, text: &str) -> Result<(), Stop> {
        if !text.chars().all(is_character) {
            return Err(xml::Wrong::Character.into());
        }
        let (is_taken, otherwise) = match self.open.last_mut() {
            Some(part) => (part.push(text), Wrong::Mixed),
            None => (text.trim_ascii().is_empty(), xml::Wrong::NotWellFormed.into()),
        };
        if is_taken { Ok(()) } else { Err(otherwise.into()) }
    }

    fn reference(&mut self, reference: &BytesRef<'_>) -> Result<(), Stop> {
        let letter = referred(reference)?;
        self.push(letter.encode_utf8(&mut [0; 4]))
    }

    /// Where reading is.
    fn place(&self) -> Option<Place> {
        let number = |wanted: Kind| {
            self.open.iter().find(|part| part.kind == wanted).map(|part| part.number)
        };
        number(Kind::Segment)?;
        let [field, component] = [Kind::Field, Kind::Component].map(number);
        let (field, component) = (field.unwrap_or(0), component.unwrap_or(0));
        Some(Place { segment: self.segment, field, component })
    }
}

/// The namespace of an element.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Namespace {
    Standard,
    None,
    Other,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse::hl7::xml::Wrong::{
        Document, Escape, Mixed, Name, Repeated, TooFine, TooMany,
    };
    use crate::parse::hl7::{Charset, Message};
    use crate::parse::xml::Wrong::{Character, Doctype, Entity, NotWellFormed};

    const MSH: &str = "<MSH><MSH.1>|</MSH.1><MSH.2>^~\\&amp;</MSH.2><MSH.10>7</MSH.10></MSH>";

    fn whole(rest: &str) -> Transcript {
        transcribe(&format!("<A_B>{MSH}\n{rest}\n</A_B>"), Extent::Whole)
    }

    #[test]
    fn every_form_of_a_value_is_transcribed() {
        for (xml, pipes) in [
            (
                "<PID><PID.5><XPN.1><FN.1>A</FN.1><FN.2>B</FN.2></XPN.1><XPN.2>C</XPN.2></PID.5></PID>",
                "PID|||||A&B^C",
            ),
            (
                "<PID><PID.3><CX.1>1</CX.1></PID.3><PID.3><CX.4><HD.2>2</HD.2></CX.4></PID.3></PID>",
                "PID|||1~^^^&2",
            ),
            ("<PID><PID.3/><PID.8>\"\"</PID.8></PID>", "PID||||||||\"\""),
            ("<PID><PID.3><PID.3.4><PID.3.4.1>E</PID.3.4.1></PID.3.4></PID.3></PID>", "PID|||^^^E"),
            (
                "<PID><PID.5><XPN.10><DR.1><TS.1>2026</TS.1></DR.1></XPN.10></PID.5></PID>",
                "PID|||||^^^^^^^^^2026",
            ),
            ("<PID><PID.8>F</PID.8><PID.7><TS.1>1980</TS.1></PID.7></PID>", "PID|||||||1980|F"),
            (
                "<NTE><NTE.3>a<escape V=\".br\"/>b &lt;&#x41;&gt; R&amp;H<![CDATA[<|>]]></NTE.3></NTE>",
                r"NTE|||a\.br\b <A> R\T\H<\F\>",
            ),
            ("<NTE><NTE.3>\n    text\r\n two\n  </NTE.3></NTE>", r"NTE|||text\X0A\ two"),
            ("<A_B.C><A_B.D><ZZ1/></A_B.D></A_B.C><!-- nothing --><?nor this?>", "ZZ1"),
        ] {
            let found = whole(xml);
            assert_eq!(found.fault, None, "{xml}");
            assert_eq!(found.text, format!("MSH|^~\\&||||||||7\r{pipes}\r"), "{xml}");
        }
    }

    #[test]
    fn a_namespace_may_have_a_prefix_or_be_absent() {
        for (document, dialect) in [
            (
                "<n:A_B xmlns:n=\"urn:hl7-org:v2xml\"><n:MSH><n:MSH.9><n:CM_MSG.1>ORU</n:CM_MSG.1></n:MSH.9></n:MSH></n:A_B>",
                Dialect::Standard,
            ),
            ("<A_B><MSH><MSH.9><CM_MSG.1>ORU</CM_MSG.1></MSH.9></MSH></A_B>", Dialect::Bare),
            (
                "<HL7Message><MSH><MSH.9><MSH.9.1>ORU</MSH.9.1></MSH.9></MSH></HL7Message>",
                Dialect::Engine,
            ),
        ] {
            let found = transcribe(document, Extent::Whole);
            assert_eq!((found.fault, found.dialect), (None, dialect), "{document}");
            assert_eq!(found.text, "MSH|^~\\&|||||||ORU\r");
        }
    }

    #[test]
    fn what_is_no_message_is_refused_with_its_line_and_its_place() {
        for (xml, wrong, place) in [
            ("<PID>\n<PID.5><XPN.1>ZZA</XPN.1>ZZB</PID.5></PID>", Mixed, "line 3, PID-5"),
            ("<PID>ZZA</PID>", Mixed, "line 2, PID"),
            ("ZZA", Mixed, "line 3"),
            ("<PID><PV1.5/></PID>", Name, "line 2, PID"),
            ("<PID><PID.0/></PID>", Name, "line 2, PID"),
            ("<PID><PID.5><ZZNAME/></PID.5></PID>", Name, "line 2, PID-5"),
            ("<PID><PID.5><XPN.1/><CX.2/></PID.5></PID>", Name, "line 2, PID-5"),
            ("<PID><PID.5><PID.4/></PID.5></PID>", Name, "line 2, PID-5"),
            ("<ZZLONGNAME/>", Name, "line 2"),
            (
                "<PID><PID.5><XPN.1>A</XPN.1><XPN.1>B</XPN.1></PID.5></PID>",
                Repeated,
                "line 2, PID-5",
            ),
            ("<PID><PID.5><A.1><B.1><C.2/></B.1></A.1></PID.5></PID>", TooFine, "line 2, PID-5.1"),
            ("<PID><PID.5>&ZZNAME;</PID.5></PID>", Document(Entity), "line 2, PID-5"),
            ("<PID><PID.5>&#1;</PID.5></PID>", Document(Character), "line 2, PID-5"),
            ("<PID><PID.5>\u{b}</PID.5></PID>", Document(Character), "line 2, PID-5"),
            ("<PID><PID.5><escape/></PID.5></PID>", Escape, "line 2, PID-5"),
            ("<PID><PID.5><escape V=\"a|b\"/></PID.5></PID>", Escape, "line 2, PID-5"),
            ("<PID><escape V=\"H\"/></PID>", Escape, "line 2, PID"),
            ("<PID><PID.5><escape V=\"H\"><PID.1/></escape></PID.5></PID>", Name, "line 2, PID-5"),
            ("<x:PID/>", Wrong::Namespace, "line 2"),
            ("<PID xmlns=\"urn:hl7-org:v3\"/>", Wrong::Namespace, "line 2"),
            ("</A_B><A_B>", Document(NotWellFormed), "line 2"),
            ("<PID></PV1>", Document(NotWellFormed), "line 2, PID"),
            ("<PID", Document(NotWellFormed), "line 3"),
            ("<PID a='1' a='2'/>", Document(NotWellFormed), "line 2"),
            ("<!DOCTYPE ZZNAME>", Document(Doctype), "line 2"),
        ] {
            let Some(Malformed::Xml(fault)) = whole(xml).fault else { panic!("{xml}") };
            assert_eq!(fault.wrong, wrong, "{xml}");
            assert_eq!(fault.to_string(), format!("{place}: {wrong}"), "{xml}");
        }
    }

    #[test]
    fn a_part_that_stands_for_many_empty_ones_is_bounded() {
        let many = "<ZZZ.1><A.999/></ZZZ.1>".repeat(SEPARATORS_MAX / 998 + 1);
        let Some(Malformed::Xml(fault)) = whole(&format!("<ZZZ>{many}</ZZZ>")).fault else {
            panic!("taken")
        };
        assert_eq!(fault.wrong, TooMany);
        let many = "<ZZZ><ZZZ.999/></ZZZ>".repeat(FIELDS_MAX / 998 + 1);
        assert_eq!(whole(&many).fault, Some(Malformed::TooManyFields));
    }

    #[test]
    fn what_stands_before_a_fault_is_kept_and_a_header_is_enough_for_an_answer() {
        let found = whole("<PID><PID.3>ZZ1</PID.3></PID><nothing/>");
        assert!(found.fault.is_some());
        assert_eq!(found.text, "MSH|^~\\&||||||||7\rPID|||ZZ1\r");
        let found = transcribe(&format!("<A_B>{MSH}<PID><not XML"), Extent::Header);
        assert_eq!((found.text.as_str(), found.fault), ("MSH|^~\\&||||||||7\r", None));
        // Found by fuzzing: a document without a segment.
        assert_eq!(transcribe("<OR/>", Extent::Whole).fault, Some(Malformed::NoHeader));
        for headless in ["<PID><PID.1>1</PID.1></PID>", "<HL7Message><PID/></HL7Message>", "<a/>"] {
            assert!(Message::parse(headless.as_bytes(), Charset::Utf8).is_err(), "{headless}");
        }
    }
}
