//! What every XML document is held to, whatever is in it: FHIR resources, CDA documents.
//!
//! Promises: no DTD, no entity but the five of XML and character references, nothing fetched; bytes,
//! depth, elements and attributes have bounds; what is refused says at which line, never a value.
//! Knows nothing of: which elements there are, how HL7 v2 is written in XML.

use std::borrow::Cow;
use std::fmt;

use quick_xml::XmlVersion;
use quick_xml::escape::EscapeError;
use quick_xml::events::attributes::Attribute;
use quick_xml::events::{BytesRef, BytesStart, Event};
use quick_xml::name::ResolveResult;
use quick_xml::reader::NsReader;

use super::hl7::{Charset, Charsets, xml::decode};

/// Most attributes of one element; schemas have ten.
pub const ATTRIBUTES_MAX: usize = 32;
/// Most elements of one document. A page of 500 resources has some 50,000.
pub const ELEMENTS_MAX: usize = 1 << 20;

/// The byte order mark in UTF-8.
const MARK: &[u8] = b"\xef\xbb\xbf";
/// Of `xsi:type`, which says a value's data type in CDA.
const INSTANCE: &str = "http://www.w3.org/2001/XMLSchema-instance";

/// What is wrong with a document, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What.
    pub wrong: Wrong,
    /// The line, from 1.
    pub line: usize,
    /// The byte of the line, from 1.
    pub column: usize,
    /// The element, by the names from the root on, as far as that is clear.
    pub place: Option<Box<str>>,
}

impl std::error::Error for Fault {}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "line {}, column {}", self.line, self.column)?;
        if let Some(place) = &self.place {
            write!(out, ", {place}")?;
        }
        write!(out, ": {}", self.wrong)
    }
}

/// What may be wrong with a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Wrong {
    /// Longer than the bound that was handed in.
    #[error("it is longer than it may be")]
    TooLong,
    /// In a character set that is not known, or not in the one that it declares.
    #[error("the bytes do not decode in the character set that the document declares")]
    Undecodable,
    /// Not well-formed.
    #[error("the XML is not well-formed")]
    NotWellFormed,
    /// A document type declaration, which could define entities.
    #[error("a DOCTYPE is not taken")]
    Doctype,
    /// An entity that XML does not have of itself.
    #[error("an entity is not known; only the five of XML and character references are")]
    Entity,
    /// A character that XML 1.0 does not allow.
    #[error("a character that XML does not allow")]
    Character,
    /// Deeper than the bound that was handed in.
    #[error("elements nest too deep")]
    TooDeep,
    /// More than [`ELEMENTS_MAX`] elements.
    #[error("it has more elements than a document may have")]
    TooMany,
    /// More than [`ATTRIBUTES_MAX`] attributes.
    #[error("an element has more than {ATTRIBUTES_MAX} attributes")]
    TooManyAttributes,
    /// An element in a namespace that has no place there.
    #[error("an element is in a namespace that does not belong there")]
    Namespace,
    /// A root that is none of what is read, or something else where a resource belongs.
    #[error("another element stands where the document's root or a resource belongs")]
    Root,
    /// Text beside elements.
    #[error("text stands beside elements")]
    Mixed,
    /// An element that is there twice, and may be there once.
    #[error("an element is there twice that may be there once")]
    Repeated,
}

/// Whether bytes are XML rather than JSON or pipes: their first character is `<`.
#[must_use]
pub fn is_xml(bytes: &[u8]) -> bool {
    let bytes = bytes.trim_ascii_start();
    bytes.strip_prefix(MARK).unwrap_or(bytes).trim_ascii_start().first() == Some(&b'<')
}

/// A document's text, by the character set that it declares, else UTF-8.
///
/// # Errors
/// It is longer than `bytes_max`, or does not decode.
pub fn text_of(bytes: &[u8], bytes_max: usize) -> Result<Cow<'_, str>, Fault> {
    let fault = |wrong| Fault { wrong, line: 1, column: 1, place: None };
    if bytes.len() > bytes_max {
        return Err(fault(Wrong::TooLong));
    }
    let lead = bytes.trim_ascii_start();
    let marked = lead.strip_prefix(MARK);
    let charsets = Charsets::from(Charset::Utf8);
    decode(marked.unwrap_or(lead), marked.is_some(), &charsets)
        .map_err(|_| fault(Wrong::Undecodable))
}

/// A character that XML 1.0 allows.
#[must_use]
pub const fn is_character(letter: char) -> bool {
    matches!(letter, '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
}

/// What a reference stands for: a character reference, or one of XML's five entities.
///
/// # Errors
/// It is none of those.
pub fn referred(reference: &BytesRef<'_>) -> Result<char, Wrong> {
    if reference.is_char_ref() {
        let letter = reference.resolve_char_ref().map_err(|_| Wrong::NotWellFormed)?;
        return letter.filter(|letter| is_character(*letter)).ok_or(Wrong::Character);
    }
    match reference.as_ref() {
        "amp" => Ok('&'),
        "lt" => Ok('<'),
        "gt" => Ok('>'),
        "quot" => Ok('"'),
        "apos" => Ok('\''),
        _ => Err(Wrong::Entity),
    }
}

/// What comes next in a document.
pub enum Token<'d> {
    /// An element begins.
    Open(Tag),
    /// Text; of what an element says there may be several pieces.
    Text(Cow<'d, str>),
    /// The element that began last ends.
    Close,
    /// The document ends, and was whole.
    End,
}

/// An element as it begins.
pub struct Tag {
    /// The namespace: one of those handed in, `""` for none, nothing for another.
    pub namespace: Option<&'static str>,
    /// The name without a prefix.
    pub name: String,
    /// Attributes without a prefix, and `xsi:type`.
    pub attributes: Vec<(String, String)>,
}

impl Tag {
    /// The value of an attribute.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }
}

/// A document that is read from its beginning to its end.
pub struct Document<'d> {
    text: &'d str,
    reader: NsReader<&'d [u8]>,
    namespaces: &'static [&'static str],
    depth: usize,
    depth_max: usize,
    elements: usize,
    /// Where what came last begins.
    from: usize,
    is_done: bool,
}

impl<'d> Document<'d> {
    /// Begins a document whose elements are in one of some namespaces.
    #[must_use]
    pub fn new(text: &'d str, depth_max: usize, namespaces: &'static [&'static str]) -> Self {
        let mut reader = NsReader::from_str(text);
        let config = reader.config_mut();
        config.expand_empty_elements = true;
        config.check_comments = true;
        let (depth, elements, from, is_done) = (0, 0, 0, false);
        Self { text, reader, namespaces, depth, depth_max, elements, from, is_done }
    }

    /// What comes next. Comments, instructions and the declaration are passed over.
    ///
    /// # Errors
    /// What is wrong there.
    pub fn token(&mut self) -> Result<Token<'d>, Wrong> {
        loop {
            self.from = self.position();
            let (resolved, event) =
                self.reader.read_resolved_event().map_err(|_| Wrong::NotWellFormed)?;
            let namespace = match resolved {
                ResolveResult::Bound(found) => {
                    self.namespaces.iter().find(|known| **known == found.0).copied()
                }
                ResolveResult::Unbound => Some(""),
                ResolveResult::Unknown(_) => None,
            };
            let text = match event {
                Event::Start(element) | Event::Empty(element) => {
                    self.count()?;
                    let name = element.local_name().as_ref().to_owned();
                    let attributes = attributes(&self.reader, &element)?;
                    return Ok(Token::Open(Tag { namespace, name, attributes }));
                }
                Event::End(_) => {
                    self.close();
                    return Ok(Token::Close);
                }
                Event::Text(text) => text.xml10_content(),
                Event::CData(text) => text.xml10_content(),
                Event::GeneralRef(reference) => Cow::Owned(referred(&reference)?.to_string()),
                Event::DocType(_) => return Err(Wrong::Doctype),
                Event::Decl(_) | Event::Comment(_) | Event::PI(_) => continue,
                Event::Eof if self.is_done && self.depth == 0 => return Ok(Token::End),
                Event::Eof => return Err(Wrong::NotWellFormed),
            };
            if !text.chars().all(is_character) {
                return Err(Wrong::Character);
            }
            if self.depth > 0 {
                return Ok(Token::Text(text));
            }
            if !text.trim_ascii().is_empty() {
                return Err(Wrong::NotWellFormed);
            }
        }
    }

    /// The source of the element that began last, to its end, which is passed. What is inside it is
    /// not looked at, but for its bounds.
    ///
    /// # Errors
    /// It is not well-formed, or too deep or too long.
    pub fn source(&mut self) -> Result<&'d str, Wrong> {
        let (from, outside) = (self.from, self.depth.saturating_sub(1));
        while self.depth > outside {
            match self.reader.read_event().map_err(|_| Wrong::NotWellFormed)? {
                Event::Start(_) | Event::Empty(_) => self.count()?,
                Event::End(_) => self.close(),
                Event::DocType(_) => return Err(Wrong::Doctype),
                Event::Eof => return Err(Wrong::NotWellFormed),
                Event::Text(_)
                | Event::CData(_)
                | Event::GeneralRef(_)
                | Event::Decl(_)
                | Event::Comment(_)
                | Event::PI(_) => {}
            }
        }
        self.text.get(from..self.position()).ok_or(Wrong::NotWellFormed)
    }

    /// A fault here.
    #[must_use]
    pub fn fault(&self, wrong: Wrong, place: Option<Box<str>>) -> Fault {
        // Only what the reader itself finds has a place of its own.
        let at = match usize::try_from(self.reader.error_position()) {
            Ok(0) | Err(_) => self.position(),
            Ok(at) => at,
        };
        let before = self.text.as_bytes().get(..at).unwrap_or(self.text.as_bytes());
        let (line, column) = line_and_column(before);
        Fault { wrong, line, column, place }
    }

    fn position(&self) -> usize {
        usize::try_from(self.reader.buffer_position()).unwrap_or(usize::MAX)
    }

    fn count(&mut self) -> Result<(), Wrong> {
        if self.is_done {
            return Err(Wrong::NotWellFormed);
        }
        self.elements += 1;
        if self.elements > ELEMENTS_MAX {
            return Err(Wrong::TooMany);
        }
        if self.depth >= self.depth_max {
            return Err(Wrong::TooDeep);
        }
        self.depth += 1;
        Ok(())
    }

    const fn close(&mut self) {
        self.depth = self.depth.saturating_sub(1);
        self.is_done = self.depth == 0;
    }
}

/// Line and column, from 1, behind some bytes.
#[must_use]
pub fn line_and_column(before: &[u8]) -> (usize, usize) {
    let line = memchr::memchr_iter(b'\n', before).count() + 1;
    let start = memchr::memrchr(b'\n', before).map_or(0, |at| at + 1);
    (line, before.len() - start + 1)
}

fn attributes(
    reader: &NsReader<&[u8]>,
    element: &BytesStart<'_>,
) -> Result<Vec<(String, String)>, Wrong> {
    let mut found = Vec::new();
    // Each is compared with those before it, so the bound comes first.
    for (number, attribute) in element.attributes().enumerate() {
        if number >= ATTRIBUTES_MAX {
            return Err(Wrong::TooManyAttributes);
        }
        let attribute = attribute.map_err(|_| Wrong::NotWellFormed)?;
        if attribute.key.as_namespace_binding().is_some() {
            continue;
        }
        let name = attribute.key.local_name().as_ref().to_owned();
        if attribute.key.prefix().is_none() {
            found.push((name, value(&attribute)?));
            continue;
        }
        let (resolved, _) = reader.resolver().resolve_attribute(attribute.key);
        let is_instance = matches!(resolved, ResolveResult::Bound(found) if found.0 == INSTANCE);
        if is_instance && name == "type" {
            found.push(("xsi:type".to_owned(), value(&attribute)?));
        }
    }
    Ok(found)
}

/// An attribute's value: line breaks and tabs that are not references are blanks (XML 1.0, 3.3.3).
fn value(attribute: &Attribute<'_>) -> Result<String, Wrong> {
    let text =
        attribute.normalized_value(XmlVersion::Explicit1_0).map_err(|error| match error {
            quick_xml::Error::Escape(EscapeError::UnrecognizedEntity(..)) => Wrong::Entity,
            quick_xml::Error::Escape(EscapeError::InvalidCharRef(_)) => Wrong::Character,
            _ => Wrong::NotWellFormed,
        })?;
    if text.chars().all(is_character) { Ok(text.into_owned()) } else { Err(Wrong::Character) }
}
