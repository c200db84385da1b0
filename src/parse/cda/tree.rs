//! The elements of a document, narratives left out.
//!
//! Promises: their number, depth, texts and attributes have bounds.
//! Knows nothing of: which elements a document has, but that `text` of a section is a narrative.

use super::{DEPTH_MAX, ELEMENTS_MAX, NAMESPACE, TEXT_BYTES_MAX};
use crate::parse::fhir::PLACE_BYTES_MAX;
use crate::parse::xml::{self, Fault, Token, Wrong};

/// Elements, each before what is inside it.
pub(super) struct Tree {
    elements: Vec<Kept>,
}

struct Kept {
    name: String,
    attributes: Vec<(String, String)>,
    text: String,
    /// How much text there was, blanks left out where there was nothing else.
    bytes: usize,
    /// The first element behind it that is not inside it.
    end: usize,
}

impl Tree {
    /// Reads a document whose root has a name.
    pub(super) fn read(bytes: &[u8], bytes_max: usize, root: &str) -> Result<Self, Fault> {
        let text = xml::text_of(bytes, bytes_max)?;
        let mut document = xml::Document::new(&text, DEPTH_MAX, &[NAMESPACE]);
        let mut tree = Self { elements: Vec::new() };
        let mut open: Vec<usize> = Vec::new();
        loop {
            let step =
                document.token().and_then(|token| tree.step(token, &mut open, &mut document, root));
            match step {
                Ok(true) => return Ok(tree),
                Ok(false) => {}
                Err(wrong) => return Err(document.fault(wrong, tree.place(&open))),
            }
        }
    }

    /// Takes what comes next; true at the end.
    fn step(
        &mut self,
        token: Token<'_>,
        open: &mut Vec<usize>,
        document: &mut xml::Document<'_>,
        root: &str,
    ) -> Result<bool, Wrong> {
        match token {
            Token::End => return Ok(true),
            Token::Close => {
                if let Some(kept) = open.pop().and_then(|at| {
                    let end = self.elements.len();
                    self.elements.get_mut(at).map(|kept| (kept, end))
                }) {
                    kept.0.end = kept.1;
                }
            }
            Token::Text(text) => {
                if let Some(kept) = open.last().and_then(|at| self.elements.get_mut(*at)) {
                    kept.bytes += text.trim_ascii().len();
                    if kept.text.len() + text.len() <= TEXT_BYTES_MAX {
                        kept.text.push_str(&text);
                    }
                }
            }
            Token::Open(tag) => {
                let around = open.last().and_then(|at| self.elements.get(*at));
                if around.is_none() && (tag.name != root || tag.namespace != Some(NAMESPACE)) {
                    return Err(Wrong::Root);
                }
                let is_narrative =
                    tag.name == "text" && around.is_some_and(|around| around.name == "section");
                if tag.namespace != Some(NAMESPACE) || is_narrative {
                    // Extensions of others say nothing of consent that could be read here.
                    document.source()?;
                    return Ok(false);
                }
                if self.elements.len() >= ELEMENTS_MAX {
                    return Err(Wrong::TooMany);
                }
                let mut attributes = tag.attributes;
                attributes.retain(|(_, value)| value.len() <= TEXT_BYTES_MAX);
                open.push(self.elements.len());
                let (text, bytes, end) = (String::new(), 0, 0);
                self.elements.push(Kept { name: tag.name, attributes, text, bytes, end });
            }
        }
        Ok(false)
    }

    fn place(&self, open: &[usize]) -> Option<Box<str>> {
        let names = open.iter().filter_map(|at| self.elements.get(*at));
        let names: Vec<&str> = names.map(|kept| kept.name.as_str()).collect();
        let place = names.join("/");
        // CDA's names are letters; what is none, or too long to be one, is not printed.
        let is_plain = place.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'/');
        let is_short = (1..=PLACE_BYTES_MAX).contains(&place.len());
        (is_plain && is_short).then(|| place.into())
    }

    /// The root.
    pub(super) const fn root(&self) -> Element<'_> {
        Element { tree: self, at: 0 }
    }
}

/// An element.
#[derive(Clone, Copy)]
pub(super) struct Element<'t> {
    tree: &'t Tree,
    at: usize,
}

impl<'t> Element<'t> {
    fn kept(self) -> Option<&'t Kept> {
        self.tree.elements.get(self.at)
    }

    pub(super) fn name(self) -> &'t str {
        self.kept().map_or("", |kept| &kept.name)
    }

    pub(super) fn attribute(self, name: &str) -> Option<&'t str> {
        let attributes = &self.kept()?.attributes;
        attributes.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    /// Its text without the blanks around it; nothing where there is none, or too much.
    pub(super) fn text(self) -> Option<&'t str> {
        let kept = self.kept().filter(|kept| kept.bytes <= TEXT_BYTES_MAX)?;
        Some(kept.text.trim()).filter(|text| !text.is_empty())
    }

    /// How many bytes of text it has.
    pub(super) fn bytes(self) -> usize {
        self.kept().map_or(0, |kept| kept.bytes)
    }

    pub(super) fn children(self) -> impl Iterator<Item = Self> + use<'t> {
        let end = self.kept().map_or(0, |kept| kept.end);
        let tree = self.tree;
        let first = Some(self.at + 1).filter(|next| *next < end);
        let next = move |at: &usize| {
            tree.elements.get(*at).map(|kept| kept.end).filter(|next| *next < end)
        };
        std::iter::successors(first, next).map(move |at| Element { tree, at })
    }

    /// The children of a name.
    pub(super) fn all(self, name: &'static str) -> impl Iterator<Item = Self> + use<'t> {
        self.children().filter(move |child| child.name() == name)
    }

    /// The first child of a name.
    pub(super) fn child(self, name: &'static str) -> Option<Self> {
        self.all(name).next()
    }
}
