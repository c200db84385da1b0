//! A resource through its mapping.
//!
//! Promises: the order of an event's fields is that of its declaration, whatever the order of the
//! rules; a time that states no zone gets the feed's, and is marked; who the patient of an event is
//! was resolved before anything else is looked at.
//! Knows nothing of: IDs of events, subjects, the journal.

use std::collections::BTreeSet;

use super::convert;
use super::mapping::Mapping;
use super::path::{Path, Scope, home_of};
use super::rules::{Convert, Fhir, Which};
use super::stay::{self, Seen};
use super::{Scene, place};
use crate::event::tree::{Mark, Tree};
use crate::event::{EventType, Key, PartialDate, Value};
use crate::normalize::authority::{Authorities, Named};
use crate::normalize::mapping::{
    Each, From, Leaf, Mappings, Node as Operation, Only, Origin, Source,
};
use crate::normalize::run::{PLACES_MAX, TEXT_BYTES_MAX, bounded};
use crate::normalize::taken::Taken;
use crate::normalize::trail::Trail;
use crate::normalize::{Context, Documents, Draft, Normalized, Refusal, Trace, Traced, Unmapped};
use crate::parse::fhir::{Node, Version};

/// Most elements of one list of an event: a report of a genome has some thousands.
const ELEMENTS_MAX: usize = 10_000;
/// Elements of a resource that say whom it is about, where it is no Patient.
const PATIENT_OF: [&str; 2] = ["subject", "patient"];
/// Elements that the gate itself reads: what names the message.
const READ_BY_THE_GATE: [&str; 3] = ["meta.versionId", "meta.lastUpdated", "meta.security"];

/// Maps a resource.
///
/// # Errors
/// No mapping selects it, its patient is not known, a required element is empty or cannot be, or it is
/// beyond a bound.
pub fn normalize_resource(
    mappings: &Mappings,
    scene: &Scene<'_>,
    context: &Context,
    trace: Trace,
) -> Result<(Normalized, Vec<Traced>), Refusal> {
    let (mapping, event) = chosen(mappings, scene)?;
    apply(mapping, event, scene, context, trace)
}

/// The mapping of a resource, and what it makes.
fn chosen<'m>(
    mappings: &'m Mappings,
    scene: &Scene<'_>,
) -> Result<(&'m Mapping, EventType), Refusal> {
    let kind = scene.focus.kind();
    if !mappings.fhir.has(kind) {
        return Err(Refusal::UnsupportedResource { kind: bounded(kind) });
    }
    let mapping = mappings.fhir.of(kind, scene.version, &scope(scene)?);
    let mapped = mapping.and_then(|mapping| Some((mapping, mapping.event?)));
    mapped.ok_or_else(|| Refusal::UnsupportedResource { kind: bounded(kind) })
}

/// Which rules take what of a resource: calls `found` for each of its elements, with whether the gate
/// reads it. Of one that gives no event no rule takes anything.
///
/// # Errors
/// It gives no event. `found` was called all the same.
pub(in crate::normalize) fn cover<'c>(
    mappings: &'c Mappings,
    scene: &Scene<'_>,
    context: &'c Context,
    found: &mut dyn FnMut(Node<'_>, bool, &[&'c Origin]),
) -> Result<(), Refusal> {
    let mut taken = Taken::new(scene.focus.size(), Trace::Takers);
    let outcome = chosen(mappings, scene).and_then(|(mapping, _)| {
        let mut run = Run::new(scene, mapping, context, Trace::Takers);
        run.read(mapping, &scope(scene)?)?;
        taken = run.taken;
        Ok(())
    });
    elements(scene.focus.root(), &taken, &mut |element, reach| {
        let mut by: Vec<&Origin> = Vec::new();
        if reach == Reach::Taken {
            for taker in taken.takers(element.span()) {
                if !by.iter().any(|known| std::ptr::eq(*known, taker)) {
                    by.push(taker);
                }
            }
        }
        // What is taken by no rule says whom it is about.
        found(element, reach != Reach::Nobody && by.is_empty(), &by);
    });
    outcome
}

/// Maps a resource by a mapping at hand.
pub(in crate::normalize) fn apply(
    mapping: &Mapping,
    event: EventType,
    scene: &Scene<'_>,
    context: &Context,
    trace: Trace,
) -> Result<(Normalized, Vec<Traced>), Refusal> {
    let scope = scope(scene)?;
    let mut run = Run::new(scene, mapping, context, trace);
    run.read(mapping, &scope)?;
    let mut tree = std::mem::take(&mut run.tree);
    run.trail.finish(&mut tree, 0);
    let unmapped = run.unmapped();
    let draft = |kind, data| Draft {
        kind,
        place: scene.focus.kind().to_ascii_lowercase(),
        data,
        act: mapping.act,
        ranges: Vec::new(),
        doubtful: Vec::new(),
    };
    let mut traced = run.trail.traced;
    let drafts = if mapping.transitions {
        let steps = stay::steps(scene.before, &Seen::of(tree.root()));
        let first = std::mem::take(&mut traced);
        for (index, _) in steps.iter().enumerate() {
            traced.extend(first.iter().map(|it| Traced { event: index, ..it.clone() }));
        }
        let told = |step: EventType| draft(step, stay::told(&tree, step, scene.before));
        steps.into_iter().map(told).collect()
    } else {
        vec![draft(event, tree)]
    };
    let invalid = run.invalid.into_iter().take(PLACES_MAX).collect();
    Ok((Normalized { drafts, unmapped, invalid }, traced))
}

/// Where paths begin.
fn scope<'s>(scene: &Scene<'s>) -> Result<Scope<'s>, Refusal> {
    let focus = scene.focus.root();
    let around = scene.around;
    let mut scope = Scope { focus, patient: None, home: focus, element: None, around };
    if scene.focus.kind() == "Patient" {
        scope.patient = Some(focus);
        return Ok(scope);
    }
    scope.patient = patient(scene, &scope)?;
    Ok(scope)
}

/// The patient that a resource is about: who was handed in, else one that is contained or came with it.
fn patient<'s>(scene: &Scene<'s>, scope: &Scope<'s>) -> Result<Option<Node<'s>>, Refusal> {
    let is_said = |name: &&&str| scope.focus.get(name).is_some_and(|it| !it.is_null());
    let name = PATIENT_OF.iter().find(is_said);
    let place = || {
        let name = name.unwrap_or(&PATIENT_OF[0]);
        format!("{}.{name}", bounded(scene.focus.kind()))
    };
    let reference = name.and_then(|name| scope.focus.get(name));
    if let Some(reference) = reference
        && place::kind_of_target(reference, scope).is_some_and(|kind| kind != "Patient")
    {
        return Err(Refusal::NoPatient { place: place() });
    }
    let found = reference.and_then(|reference| scope.find(reference));
    let patient = scene.patient.map(crate::parse::fhir::Resource::root).or(found);
    match patient {
        Some(patient) => Ok(Some(patient)),
        None => Err(Refusal::UnknownPatient { place: place() }),
    }
}

/// One pass over one resource.
pub(super) struct Run<'s, 'c> {
    /// The event that is being written.
    pub tree: Tree,
    pub focus: Node<'s>,
    pub version: Version,
    context: &'c Context,
    pub trail: Trail<'c>,
    /// What rules took, by position.
    taken: Taken<'c>,
    invalid: BTreeSet<String>,
    /// How often a value could not be.
    refusals: usize,
    authorities: Option<&'c Authorities>,
}

impl<'s, 'c> Run<'s, 'c> {
    fn new(scene: &Scene<'s>, mapping: &'c Mapping, context: &'c Context, trace: Trace) -> Self {
        Self {
            tree: Tree::with_capacity(scene.focus.size(), scene.focus.size() * 12),
            focus: scene.focus.root(),
            version: scene.version,
            context,
            trail: Trail::new(trace, context.zone.as_ref()),
            taken: Taken::new(scene.focus.size(), trace),
            invalid: BTreeSet::new(),
            refusals: 0,
            authorities: mapping.authorities.as_deref(),
        }
    }

    /// All that a mapping makes of it.
    fn read(&mut self, mapping: &'c Mapping, scope: &Scope<'s>) -> Result<(), Refusal> {
        PATIENT_OF.iter().filter_map(|name| scope.focus.get(name)).for_each(|by| self.take(by));
        self.fields(&mapping.fields, scope)?;
        if self.tree.text_len() > TEXT_BYTES_MAX { Err(Refusal::TooLarge) } else { Ok(()) }
    }

    fn fields(
        &mut self,
        fields: &'c [(Key, Operation<Fhir>)],
        scope: &Scope<'s>,
    ) -> Result<(), Refusal> {
        for (key, operation) in fields {
            match operation {
                Operation::Leaf { leaf, .. } => self.leaf(key, leaf, scope)?,
                Operation::Each(each) => self.each(key, each, scope)?,
                Operation::Object(fields) => {
                    let open = self.tree.open_object(key);
                    self.fields(fields, scope)?;
                    self.tree.close(open);
                }
            }
        }
        Ok(())
    }

    /// A list with an object for each element.
    fn each(&mut self, key: Key, each: &'c Each<Fhir>, scope: &Scope<'s>) -> Result<(), Refusal> {
        if each.unless.as_ref().is_some_and(|path| path.first(scope).is_some()) {
            return Ok(());
        }
        let list = self.tree.open_list(key);
        let mut count = 0;
        for (source, elements) in each.sources.iter().enumerate() {
            if !holds(elements.only.as_deref(), scope) {
                continue;
            }
            let mut outcome = Ok(());
            elements.path.resolve(scope, |element, by| {
                count += 1;
                if count > ELEMENTS_MAX {
                    outcome = Err(Refusal::TooLarge);
                    return false;
                }
                if let Some(by) = by {
                    self.taken.by(&each.origin);
                    self.take(by);
                }
                let inner =
                    Scope { home: home_of(element), element: Some((element, source)), ..*scope };
                let object = self.tree.open_object("");
                outcome = self.fields(&each.element, &inner);
                self.tree.close(object);
                outcome.is_ok() && self.tree.text_len() <= TEXT_BYTES_MAX
            });
            outcome?;
        }
        if self.tree.close(list) || !each.required {
            return Ok(());
        }
        let place = each.sources.first().map(|source| source.path.place().to_owned());
        Err(Refusal::MissingElement { place: place.unwrap_or_default() })
    }

    fn leaf(&mut self, key: Key, leaf: &'c Leaf<Fhir>, scope: &Scope<'s>) -> Result<(), Refusal> {
        if leaf.unless.as_ref().is_some_and(|path| path.first(scope).is_some()) {
            return Ok(());
        }
        let mark = self.tree.mark();
        let refusals_before = self.refusals;
        self.taken.by(&leaf.origin);
        if leaf.many {
            self.list(key, leaf, scope);
        } else {
            self.first(key, leaf, scope);
        }
        if !self.tree.grew(mark)
            && let Some(default) = &leaf.default
        {
            default.write(&mut self.tree, key);
            self.trail.note(&self.tree, mark, &leaf.origin, String::new);
        }
        if leaf.required {
            let found = self.tree.since(mark).map(|view| view.value());
            if matches!(found, None | Some(Value::Null)) {
                let path = leaf.sources.iter().find_map(|source| match &source.from {
                    From::Path(path, _) => Some(path.place().to_owned()),
                    From::Constant(_) => None,
                });
                let place = path.unwrap_or_default();
                return Err(if self.refusals > refusals_before {
                    Refusal::ImpossibleElement { place }
                } else {
                    Refusal::MissingElement { place }
                });
            }
        }
        Ok(())
    }

    /// The value of the first source that is there.
    fn first(&mut self, key: Key, leaf: &'c Leaf<Fhir>, scope: &Scope<'s>) {
        let mark = self.tree.mark();
        for source in leaf.sources.iter().filter(|it| holds(it.only.as_deref(), scope)) {
            match &source.from {
                From::Constant(constant) => {
                    constant.write(&mut self.tree, key);
                    self.trail.note(&self.tree, mark, &leaf.origin, String::new);
                }
                From::Path(path, Convert::Location(which)) if *which != Which::First => {
                    self.one_of_places(*which, path, (key, leaf), scope);
                }
                From::Path(path, convert) => path.resolve(scope, |node, by| {
                    self.write((source, convert), (node, by), (key, leaf), scope);
                    // A value that says nothing lets the next one speak.
                    !self.tree.grew(mark)
                }),
            }
            if self.tree.grew(mark) {
                return;
            }
        }
    }

    /// The values of every source, without those that say the same again.
    fn list(&mut self, key: Key, leaf: &'c Leaf<Fhir>, scope: &Scope<'s>) {
        let list = self.tree.open_list(key);
        let several = leaf.sources.len() > 1;
        for source in leaf.sources.iter().filter(|it| holds(it.only.as_deref(), scope)) {
            match &source.from {
                From::Constant(constant) => {
                    let mark = self.tree.mark();
                    constant.write(&mut self.tree, "");
                    self.trail.note(&self.tree, mark, &leaf.origin, String::new);
                }
                From::Path(path, convert) => {
                    let mut count = 0;
                    path.resolve(scope, |node, by| {
                        count += 1;
                        let mark = self.tree.mark();
                        self.write((source, convert), (node, by), ("", leaf), scope);
                        if several && self.tree.repeats(list, mark) {
                            self.tree.rewind(mark);
                        }
                        count < ELEMENTS_MAX
                    });
                }
            }
        }
        self.tree.close(list);
    }

    fn write(
        &mut self,
        (source, convert): (&'c Source<Fhir>, &'c Convert),
        (node, by): (Node<'s>, Option<Node<'s>>),
        (key, leaf): (Key, &'c Leaf<Fhir>),
        scope: &Scope<'s>,
    ) {
        let mark = self.tree.mark();
        // Of the resource as a whole a conversion takes what the gate reads anyhow.
        if node.around().is_some() {
            self.take(node);
        }
        if let Some(by) = by {
            self.take(by);
        }
        let target = &leaf.origin.target;
        convert::convert(convert, source.table.as_deref(), node, self, (key, target), scope);
        self.trail.note(&self.tree, mark, &leaf.origin, || node.place().to_string());
    }

    /// The place among several that a rule asks for.
    fn one_of_places(
        &mut self,
        which: Which,
        path: &Path,
        (key, leaf): (Key, &'c Leaf<Fhir>),
        scope: &Scope<'s>,
    ) {
        let mut all = Vec::new();
        path.resolve(scope, |node, _| {
            all.push(node);
            all.len() < ELEMENTS_MAX
        });
        all.iter().for_each(|node| self.take(*node));
        if let Some(node) = place::choose(which, &all) {
            let mark = self.tree.mark();
            place::location(node, self, key, scope);
            self.trail.note(&self.tree, mark, &leaf.origin, || node.place().to_string());
        }
    }

    /// Whether the content of documents is to be in the event.
    pub(super) fn keeps_documents(&self) -> bool {
        self.context.documents == Documents::Kept
    }

    /// A time with an offset: its own, or the feed's, which is marked.
    pub(super) fn zoned(&mut self, date: PartialDate, target: &'c str) -> PartialDate {
        self.trail.zoned(date, None, target)
    }

    /// Writes the authority that the site gives instead of the one that a number names; false where
    /// that stands.
    pub(super) fn other_authority(&mut self, named: Named<'_>, target: &str) -> bool {
        let given = self.authorities.and_then(|authorities| authorities.given(named, target));
        let Some(given) = given else { return false };
        let mark = self.tree.mark();
        given.write(&mut self.tree);
        self.trail.note_constant(&self.tree, mark, &given.place);
        true
    }

    /// Notes that a value cannot be.
    pub(super) fn refuse(&mut self, node: Node<'s>) {
        self.refusals += 1;
        if self.invalid.len() < PLACES_MAX {
            self.invalid.insert(node.place().to_string());
        }
    }

    /// Notes that a rule read a value and what is inside it.
    pub(super) fn take(&mut self, node: Node<'s>) {
        if std::ptr::eq(node.resource(), self.focus.resource()) {
            node.span().for_each(|at| self.taken.add(at));
        }
    }

    /// The position since which something was written, for conversions.
    pub(super) const fn mark(&self) -> Mark {
        self.tree.mark()
    }

    /// The elements that hold something and that nothing took, each once; one that was taken in part
    /// by its parts.
    fn unmapped(&self) -> Vec<Unmapped> {
        let mut found = BTreeSet::new();
        elements(self.focus, &self.taken, &mut |element, reach| {
            if reach == Reach::Nobody && found.len() < PLACES_MAX {
                found.insert(element.element().to_string());
            }
        });
        found.into_iter().map(Unmapped::Element).collect()
    }
}

/// How far a rule or the gate came into an element.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// All of it is taken.
    Taken,
    /// No rule took it, and the gate reads it.
    Gate,
    /// Nothing of it is taken.
    Nobody,
}

/// Calls `found` for each element inside one that says something: whole where it is taken whole or not at
/// all, by its parts where some of these are taken.
fn elements<'s>(around: Node<'s>, taken: &Taken<'_>, found: &mut dyn FnMut(Node<'s>, Reach)) {
    for child in around.children().flat_map(Node::items) {
        if taken.has(child.position()) {
            found(child, Reach::Taken);
            continue;
        }
        if child.span().any(|at| taken.has(at)) {
            elements(child, taken, found);
            continue;
        }
        // What these say holds nothing of the resource's content, wherever they stand.
        if matches!(child.name(), Some("resourceType" | "id")) || is_name(child, around) {
            continue;
        }
        let element = child.element().to_string();
        let inner = element.split_once('.').map_or("", |(_, inner)| inner);
        if inner == "meta" {
            // As the gate reads a part of it.
            elements(child, taken, found);
        } else if READ_BY_THE_GATE.contains(&inner) {
            found(child, Reach::Gate);
        } else if !child.is_null() {
            found(child, Reach::Nobody);
        }
    }
}

/// Whether an element is the URL of an extension, which is what that is called. Where nothing of an
/// extension was taken, it is listed itself.
fn is_name(node: Node<'_>, around: Node<'_>) -> bool {
    let list = around.around().filter(|list| list.is_list()).unwrap_or(around);
    node.name() == Some("url") && matches!(list.name(), Some("extension" | "modifierExtension"))
}

/// Whether the conditions of a source hold.
fn holds(only: Option<&Only<Fhir>>, scope: &Scope<'_>) -> bool {
    only.is_none_or(|only| {
        let is_there = |path: &Path| path.first(scope).is_some();
        only.when.as_ref().is_none_or(is_there) && !only.unless.as_ref().is_some_and(is_there)
    })
}
