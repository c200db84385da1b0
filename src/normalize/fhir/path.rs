//! A path of a rule: that of `parse::fhir`, from the resource or an element of a list on, and through
//! references.
//!
//! Promises: a reference is followed within the resource and what came with it, never to a server.
//! Knows nothing of: what is done with a value.

use crate::parse::fhir::{Node, Path as Plain, Version};

use super::Around;
use super::load::Selector;
use super::rules::Fhir;
use crate::normalize::load::Select;
use crate::normalize::mapping::Within;

/// Between what is found and what a reference there leads to.
const RESOLVE: &str = ".resolve()";
/// What has to follow it, since a reference may lead anywhere.
const OF_TYPE: &str = ".ofType(";
/// Stands for the type of the resource that is mapped.
const ANY: &str = "Resource";
/// Both releases: what a path may be of where its mapping does not say.
const BOTH: [Version; 2] = [Version::R4, Version::R5];
/// A part is compiled for its cases without knowing who uses it; every resource has what a path from
/// [`ANY`] on can name there.
const SOME_KIND: &str = "Patient";
/// Most references that are followed one behind the other.
const HOPS_MAX: usize = 4;

/// A path, compiled.
#[derive(Clone, Debug)]
pub(in crate::normalize) struct Path {
    text: String,
    start: Start,
    /// Behind a reference each, from the resource that it leads to.
    hops: Vec<Plain>,
}

#[derive(Clone, Debug)]
enum Start {
    /// From a resource of a type on.
    Resource(Plain),
    /// From an element on, by the source of the list that it is of; nothing where that has no such.
    Element(Vec<Option<Plain>>),
}

/// Where a path begins.
#[derive(Clone, Copy)]
pub(super) struct Scope<'s> {
    pub focus: Node<'s>,
    pub patient: Option<Node<'s>>,
    /// The resource that the element is of.
    pub home: Node<'s>,
    /// The element, and which source of the list it came from.
    pub element: Option<(Node<'s>, usize)>,
    pub around: &'s Around<'s>,
}

impl Path {
    pub(super) fn read(text: &str, within: &Within<'_, Fhir>) -> Result<Self, String> {
        let selector = match within.select {
            Some(Select::Resource(selector)) => Some(selector),
            _ => None,
        };
        let versions = selector.map_or(&BOTH[..], Selector::versions);
        let mut parts = text.split(RESOLVE);
        let first = parts.next().unwrap_or_default();
        let is_relative = !first.starts_with(|letter: char| letter.is_ascii_uppercase());
        let start = if is_relative && !within.around.is_empty() {
            Start::Element(relative(first, within.around)?)
        } else {
            let kind = selector.map_or(SOME_KIND, Selector::resource);
            let of_any =
                first.strip_prefix(ANY).filter(|rest| rest.is_empty() || rest.starts_with('.'));
            let named = of_any.map(|rest| format!("{kind}{rest}"));
            let named = named.as_deref().unwrap_or(first);
            Start::Resource(Plain::read(named, versions).map_err(|wrong| wrong.to_string())?)
        };
        let mut hops = Vec::new();
        for part in parts {
            let typed = part.strip_prefix(OF_TYPE).and_then(|rest| rest.split_once(')'));
            let Some((kind, rest)) = typed else {
                return Err(format!(
                    "behind resolve() stands ofType(), such as resolve().ofType(Observation), in `{text}`"
                ));
            };
            let hop = format!("{}{rest}", kind.trim());
            hops.push(Plain::read(&hop, versions).map_err(|wrong| format!("`{hop}`: {wrong}"))?);
        }
        if hops.len() > HOPS_MAX {
            return Err(format!("more than {HOPS_MAX} references one behind the other"));
        }
        Ok(Self { text: text.trim().to_owned(), start, hops })
    }

    /// What it names, where that is an object: the last path of it.
    fn last(&self) -> impl Iterator<Item = &Plain> {
        let start = match &self.start {
            Start::Resource(path) => vec![path],
            Start::Element(paths) => paths.iter().flatten().collect(),
        };
        match self.hops.last() {
            Some(hop) => vec![hop],
            None => start,
        }
        .into_iter()
    }

    /// Where a required value should stand.
    pub(super) fn place(&self) -> &str {
        &self.text
    }

    /// Calls `take` for each value that it names, with the references that led there, until that
    /// returns false.
    pub(super) fn resolve<'s>(
        &self,
        scope: &Scope<'s>,
        mut take: impl FnMut(Node<'s>, Option<Node<'s>>) -> bool,
    ) {
        let hops = &self.hops;
        let mut start = |path: &Plain, from: Node<'s>| {
            path.resolve(from, |node| follow(hops, node, None, scope, &mut take));
        };
        match &self.start {
            Start::Resource(path) => {
                if let Some(from) = scope.resource(path.kind().unwrap_or_default()) {
                    start(path, from);
                }
            }
            Start::Element(paths) => {
                if let Some((element, source)) = scope.element
                    && let Some(Some(path)) = paths.get(source)
                {
                    start(path, element);
                }
            }
        }
    }

    /// The first value that it names.
    pub(super) fn first<'s>(&self, scope: &Scope<'s>) -> Option<(Node<'s>, Option<Node<'s>>)> {
        let mut found = None;
        self.resolve(scope, |node, by| {
            found = Some((node, by));
            false
        });
        found
    }
}

/// A path from the elements of a list on: at least one of its sources has such.
fn relative(text: &str, around: &[Path]) -> Result<Vec<Option<Plain>>, String> {
    let mut wrong = String::new();
    let mut read = |around: &Plain| {
        Plain::read_within(text, around).map_err(|found| wrong = found.to_string()).ok()
    };
    let paths: Vec<Option<Plain>> =
        around.iter().map(|path| path.last().find_map(&mut read)).collect();
    if paths.iter().all(Option::is_none) { Err(wrong) } else { Ok(paths) }
}

/// Goes on behind references.
fn follow<'s>(
    hops: &[Plain],
    node: Node<'s>,
    by: Option<Node<'s>>,
    scope: &Scope<'s>,
    take: &mut dyn FnMut(Node<'s>, Option<Node<'s>>) -> bool,
) -> bool {
    let Some((hop, rest)) = hops.split_first() else { return take(node, by) };
    let Some(resource) = scope.find(node) else { return true };
    let mut goes_on = true;
    hop.resolve(resource, |found| {
        // The first of several references is the one that stands in what is mapped.
        goes_on = follow(rest, found, by.or(Some(node)), scope, take);
        goes_on
    });
    goes_on
}

impl<'s> Scope<'s> {
    /// The resource of a type that a path begins at.
    fn resource(&self, kind: &str) -> Option<Node<'s>> {
        let home = Some(self.home).filter(|home| kind_of(*home) == Some(kind));
        let focus = || Some(self.focus).filter(|focus| kind_of(*focus) == Some(kind));
        home.or_else(focus).or_else(|| self.patient.filter(|_| kind == "Patient"))
    }

    /// The resource that a Reference leads to, or a CodeableReference.
    pub(super) fn find(&self, reference: Node<'s>) -> Option<Node<'s>> {
        let inner = reference.get("reference")?;
        let text = match inner.text() {
            Some(text) => text,
            None => inner.get("reference")?.text()?,
        };
        match text.strip_prefix('#') {
            Some("") => Some(self.focus),
            Some(_) => reference.resource().contained(text),
            None => self.around.find(text).map(|resource| resource.root()),
        }
    }
}

/// The type of a resource, contained or not.
pub(super) fn kind_of(node: Node<'_>) -> Option<&str> {
    match node.around() {
        None => Some(node.resource().kind()),
        Some(_) => node.get("resourceType").and_then(Node::text),
    }
}

/// The resource that a value stands in: a contained one, or all of it.
pub(super) fn home_of(node: Node<'_>) -> Node<'_> {
    let mut at = node;
    loop {
        let Some(around) = at.around() else { return at };
        let is_contained = around.is_list()
            && around.name() == Some("contained")
            && around.around().is_some_and(|root| root.around().is_none());
        if is_contained {
            return at;
        }
        at = around;
    }
}
