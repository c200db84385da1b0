//! A message through its mapping.
//!
//! Promises: the order of an event's fields is that of its declaration, whatever the order of
//! the rules; each rule's source is looked up in the group of segments that the event is made
//! of; a time that states no zone gets the message's, else the feed's, and is marked.
//! Knows nothing of: IDs, subjects, the journal.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;

use jiff::tz::TimeZone;

use crate::event::tree::{Mark, Tree};
use crate::event::{Act, EventType, Key, PartialDate, Value};
use crate::parse::hl7::{Content, Hit, Message, Path, Scope, Segment, datetime, name};

use super::authority::{Authorities, Named};
use super::group::{Group, groups};
use super::mapping::{Constant, Each, Elements, From, Leaf, Mapping, Mappings, Node, Only, Source};
use super::segments::Hl7;
use super::taken::Taken;
use super::trail::Trail;
use super::{Refusal, Spot, cda, convert};

/// Most text that the events of one message may hold together, in bytes: four times the
/// largest frame that is usual. Each event repeats the patient, so that a message of many
/// order groups could otherwise grow a thousandfold.
pub(super) const TEXT_BYTES_MAX: usize = 64 << 20;
/// Longest message type or trigger that is named in a refusal; table 0076 has three letters.
pub(super) const NAME_CHARS_MAX: usize = 16;
/// Most places that are listed as unmapped or invalid, each.
pub(super) const PLACES_MAX: usize = 1_000;

/// What a message cannot say of itself.
#[derive(Clone, Debug, Default)]
pub struct Context {
    /// The zone of times that state none, where the message states none either.
    pub zone: Option<TimeZone>,
    /// What becomes of the content of embedded documents.
    pub documents: Documents,
}

/// What an event holds of an embedded document.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Documents {
    /// What it is: for people who look at an event.
    #[default]
    Described,
    /// Its content, too, since a contract may name it: for a feed.
    Kept,
}

/// An event before it has an ID.
#[derive(Clone, Debug, PartialEq)]
pub struct Draft {
    /// What it says.
    pub kind: EventType,
    /// Its place in the message, such as `obr2`.
    pub place: String,
    /// Its fields.
    pub data: Tree,
    /// What the message does to its subject and another.
    pub act: Option<Act>,
    /// Positions of the segments that it is made of.
    pub ranges: Vec<Range<usize>>,
    /// Fields of what it is about, such as `consent.decidedAt`, that are not what the sender said:
    /// a value cannot be, or there are several where one is meant.
    pub doubtful: Vec<String>,
}

/// What a message gives.
#[derive(Clone, Debug, PartialEq)]
pub struct Normalized {
    /// One or more events.
    pub drafts: Vec<Draft>,
    /// Fields that hold something and that no rule took, each once.
    pub unmapped: Vec<Unmapped>,
    /// Where a value stands that cannot be, such as `PID-7`.
    pub invalid: Vec<String>,
}

/// What no rule took.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unmapped {
    /// A field of an HL7 v2 message.
    Field(FieldPlace),
    /// An element of a FHIR resource, such as `Observation.component.interpretation`.
    Element(String),
}

impl fmt::Display for Unmapped {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Field(place) => place.fmt(out),
            Self::Element(element) => out.write_str(element),
        }
    }
}

/// A field by segment and number. A segment without a legal name goes by its position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FieldPlace {
    segment: Label,
    field: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Label {
    Name([u8; 3]),
    Position(u32),
}

impl Label {
    fn of(segment: &Segment<'_>) -> Self {
        let position = u32::try_from(segment.index() + 1).unwrap_or(u32::MAX);
        segment.legal_name().map_or(Self::Position(position), Self::Name)
    }
}

impl FieldPlace {
    fn new(segment: Label, field: usize) -> Self {
        Self { segment, field: u32::try_from(field).unwrap_or(u32::MAX) }
    }
}

impl fmt::Display for FieldPlace {
    /// `PID-31`; `#7-2` for the second field of the seventh segment; `#7` for all of it.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.segment {
            Label::Name(name) => out.write_str(std::str::from_utf8(&name).unwrap_or("???"))?,
            Label::Position(number) => write!(out, "#{number}")?,
        }
        if self.field > 0 { write!(out, "-{}", self.field) } else { Ok(()) }
    }
}

/// One field of an event and where it comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Traced {
    /// Which event, from 0.
    pub event: usize,
    /// The field, such as `patient.identifiers[0].value`.
    pub field: String,
    /// File and line of the rule.
    pub rule: String,
    /// Where in the message, such as `PID-3[2]`; nothing for a constant.
    pub source: String,
}

/// Whether to note where each field comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trace {
    /// No: the daemon's way.
    Off,
    /// Yes: for `map --explain`.
    On,
    /// No, but which rule took each field of the message: for `map --coverage`.
    Takers,
}

/// The message type and trigger that select a mapping: MSH-9.1 and MSH-9.2, else EVN-1, which
/// is what 2.1 to 2.3 had.
#[must_use]
pub fn selector<'m>(message: &'m Message<'_>) -> (Cow<'m, str>, Cow<'m, str>) {
    let kind = message.text_at(b"MSH", 9, 1).unwrap_or_default();
    let trigger = message.text_at(b"MSH", 9, 2).or_else(|| message.text_at(b"EVN", 1, 1));
    (kind, trigger.unwrap_or_default())
}

/// A name that may be printed: it is the sender's text, so only what a code can hold is kept.
pub(super) fn bounded(text: &str) -> String {
    text.chars().filter(char::is_ascii_alphanumeric).take(NAME_CHARS_MAX).collect()
}

/// Maps a message.
///
/// # Errors
/// No mapping selects it, a required field is empty or cannot be, or it is beyond a bound.
pub fn normalize(
    mappings: &Mappings,
    message: &Message<'_>,
    context: &Context,
    trace: Trace,
) -> Result<(Normalized, Vec<Traced>), Refusal> {
    let documents = cda::consents(message);
    let (mut normalized, traced) = match chosen(mappings, message) {
        // A document alone gives events as well.
        Err(Refusal::Unsupported { .. }) if !documents.is_empty() => (
            Normalized { drafts: Vec::new(), unmapped: Vec::new(), invalid: Vec::new() },
            Vec::new(),
        ),
        chosen => apply(&chosen?, message, context, trace)?,
    };
    cda::add(mappings, message, context, &documents, &mut normalized)?;
    Ok((normalized, traced))
}

/// The mappings of a message, and what they make.
pub(super) fn chosen<'m>(
    mappings: &'m Mappings,
    message: &'m Message<'_>,
) -> Result<Vec<(&'m Mapping, EventType)>, Refusal> {
    let (kind, trigger) = selector(message);
    let chosen: Vec<(&Mapping, EventType)> = mappings
        .of(&kind, &trigger, message)
        .filter_map(|mapping| Some((mapping, mapping.event?)))
        .collect();
    if chosen.is_empty() {
        return Err(Refusal::Unsupported { kind: bounded(&kind), trigger: bounded(&trigger) });
    }
    Ok(chosen)
}

/// Maps a message by mappings at hand, one after the other.
pub(super) fn apply(
    chosen: &[(&Mapping, EventType)],
    message: &Message<'_>,
    context: &Context,
    trace: Trace,
) -> Result<(Normalized, Vec<Traced>), Refusal> {
    let mut run = Run::new(message, context, trace, Strictness::Required);
    let drafts = drafts(&mut run, chosen)?;
    let unmapped = run.unmapped().into_iter().map(Unmapped::Field).collect();
    let invalid = run.invalid.into_iter().take(PLACES_MAX).collect();
    Ok((Normalized { drafts, unmapped, invalid }, run.trail.traced))
}

/// The events of a message.
pub(super) fn drafts<'c>(
    run: &mut Run<'_, 'c>,
    chosen: &[(&'c Mapping, EventType)],
) -> Result<Vec<Draft>, Refusal> {
    let mut drafts = Vec::new();
    for (mapping, kind) in chosen {
        for group in groups(run.message, mapping.per)? {
            let event = drafts.len();
            let draft = run.group(mapping, &[&mapping.fields], *kind, group, event)?;
            drafts.push(Draft { act: mapping.act, ..draft });
        }
    }
    Ok(drafts)
}

/// Whether a required field must be there.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Strictness {
    /// Yes.
    Required,
    /// No: what can be read is read.
    Salvage,
}

/// One pass over one message.
pub(super) struct Run<'m, 'c> {
    /// The event that is being written.
    pub tree: Tree,
    pub message: &'m Message<'m>,
    context: &'c Context,
    /// The offset of MSH-7, which is the default of the whole message (chapter 2.14.9.7).
    offset: Option<i16>,
    /// The fields that rules took, by their position among all.
    pub taken: Taken<'c>,
    invalid: BTreeSet<String>,
    trail: Trail<'c>,
    strictness: Strictness,
    /// Text of the events so far, in bytes.
    text_bytes: usize,
    /// The segment that the event is about, where it is about one.
    about: Option<usize>,
    /// What the site calls authorities.
    authorities: Option<&'c Authorities>,
    /// How often a value could not be.
    refusals: usize,
    doubtful: Vec<String>,
}

impl<'m, 'c> Run<'m, 'c> {
    pub(super) fn new(
        message: &'m Message<'m>,
        context: &'c Context,
        trace: Trace,
        strictness: Strictness,
    ) -> Self {
        let sent_at = message.text_at(b"MSH", 7, 1).and_then(|text| datetime::parse(&text));
        Self {
            tree: Tree::default(),
            message,
            context,
            offset: sent_at.and_then(|date| date.offset_minutes()),
            taken: Taken::new(message.field_count(), trace),
            invalid: BTreeSet::new(),
            trail: Trail::new(trace, context.zone.as_ref()),
            strictness,
            text_bytes: 0,
            about: None,
            authorities: None,
            refusals: 0,
            doubtful: Vec::new(),
        }
    }

    /// One event, of one group, by parts of a mapping.
    pub(super) fn group(
        &mut self,
        mapping: &'c Mapping,
        parts: &[&'c [(Key, Node<Hl7>)]],
        kind: EventType,
        group: Group,
        event: usize,
    ) -> Result<Draft, Refusal> {
        let message = self.message;
        self.tree = group.tree(message);
        self.about = group.about;
        self.authorities = mapping.authorities.as_deref();
        let scope = Scope::new(message, &group.ranges);
        for fields in parts {
            match group.about.and_then(|at| message.segment(at)) {
                None => self.fields(fields, &scope)?,
                Some(about) => {
                    let own = [about.index()..about.index() + 1];
                    self.fields(fields, &scope.within(&own, &[about.packed_name()]))?;
                }
            }
        }
        self.text_bytes += self.tree.text_len();
        if self.text_bytes > TEXT_BYTES_MAX {
            return Err(Refusal::TooLarge);
        }
        let doubtful = std::mem::take(&mut self.doubtful);
        let Group { place, ranges, .. } = group;
        Ok(Draft { kind, place, data: self.finish(event), act: None, ranges, doubtful })
    }

    fn fields(
        &mut self,
        fields: &'c [(Key, Node<Hl7>)],
        scope: &Scope<'m, '_>,
    ) -> Result<(), Refusal> {
        for (key, node) in fields {
            match node {
                Node::Leaf { needs: Some(spot), .. } if scope.lacks(*spot) => {}
                Node::Leaf { leaf, .. } => self.leaf(key, leaf, scope)?,
                Node::Each(each) => self.each(key, each, scope)?,
                Node::Object(fields) => {
                    let open = self.tree.open_object(key);
                    self.fields(fields, scope)?;
                    self.tree.close(open);
                }
            }
        }
        Ok(())
    }

    /// A list with an object for each segment, and what follows it and belongs to it.
    fn each(
        &mut self,
        key: Key,
        each: &'c Each<Hl7>,
        scope: &Scope<'m, '_>,
    ) -> Result<(), Refusal> {
        if each.unless.as_ref().is_some_and(|path| has_value(path, scope)) {
            return Ok(());
        }
        let list = self.tree.open_list(key);
        for Elements { path, .. } in
            each.sources.iter().filter(|it| holds(it.only.as_deref(), scope))
        {
            let mut own = vec![name::pack_name(path.segment().as_bytes())];
            own.extend(&each.with);
            let mut outcome = Ok(());
            path.segments(scope, |segment| {
                let at = segment.index();
                let element = [at..self.end_of(at, &each.with)];
                let object = self.tree.open_object("");
                outcome = self.fields(&each.element, &scope.within(&element, &own));
                self.tree.close(object);
                outcome.is_ok()
            });
            outcome?;
        }
        if self.tree.close(list) || !each.required || self.strictness == Strictness::Salvage {
            Ok(())
        } else {
            Err(Refusal::Missing { spot: spot(each.sources.first().map(|source| &source.path)) })
        }
    }

    /// The position behind a segment and those that follow and belong to it.
    fn end_of(&self, at: usize, with: &[u32]) -> usize {
        behind(self.message, at, |next| with.contains(&next.packed_name()))
    }

    fn leaf(
        &mut self,
        key: Key,
        leaf: &'c Leaf<Hl7>,
        scope: &Scope<'m, '_>,
    ) -> Result<(), Refusal> {
        if leaf.unless.as_ref().is_some_and(|path| has_value(path, scope)) {
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
            self.constant(key, leaf, default);
        }
        let is_doubtful = self.refusals > refusals_before;
        if is_doubtful && self.about.is_some() {
            self.doubt(leaf);
        }
        if leaf.required && self.strictness == Strictness::Required {
            let found = self.tree.since(mark).map(|view| view.value());
            if matches!(found, None | Some(Value::Null)) {
                let spot = first_spot(&leaf.sources);
                return Err(if is_doubtful {
                    Refusal::Impossible { spot }
                } else {
                    Refusal::Missing { spot }
                });
            }
        }
        Ok(())
    }

    /// The value of the first source that is there.
    fn first(&mut self, key: Key, leaf: &'c Leaf<Hl7>, scope: &Scope<'m, '_>) {
        let mark = self.tree.mark();
        for source in leaf.sources.iter().filter(|it| holds(it.only.as_deref(), scope)) {
            match &source.from {
                From::Constant(constant) => self.constant(key, leaf, constant),
                From::Path(path, convert) => {
                    if let Some(hit) = &path.first(scope) {
                        self.take(hit);
                        convert::convert(convert, source, hit, self, key, &leaf.origin.target);
                        self.note(mark, leaf, Some(hit));
                        if self.about == Some(hit.segment.index()) && self.repeats(hit) {
                            self.doubt(leaf);
                        }
                    }
                }
            }
            if self.tree.grew(mark) {
                return;
            }
        }
    }

    /// The values of every source, without those that say the same again: PID-2 often repeats
    /// PID-3. A list that is `""` is null, not a list of null.
    fn list(&mut self, key: Key, leaf: &'c Leaf<Hl7>, scope: &Scope<'m, '_>) {
        let list = self.tree.open_list(key);
        let several = leaf.sources.len() > 1;
        let mut null = false;
        for source in leaf.sources.iter().filter(|it| holds(it.only.as_deref(), scope)) {
            match &source.from {
                From::Constant(constant) => self.constant("", leaf, constant),
                From::Path(path, convert) => resolve(source, path, scope, |hit| {
                    self.take(&hit);
                    let mark = self.tree.mark();
                    convert::convert(convert, source, &hit, self, "", &leaf.origin.target);
                    let is_null =
                        self.tree.since(mark).is_some_and(|view| view.value() == Value::Null);
                    null |= is_null;
                    if is_null || (several && self.tree.repeats(list, mark)) {
                        self.tree.rewind(mark);
                    }
                    self.note(mark, leaf, Some(&hit));
                    true
                }),
            }
        }
        if !self.tree.close(list) && null {
            self.tree.null(key);
        }
    }

    fn constant(&mut self, key: Key, leaf: &Leaf<Hl7>, constant: &Constant) {
        let mark = self.tree.mark();
        constant.write(&mut self.tree, key);
        self.note(mark, leaf, None);
    }

    /// Whether the content of documents is to be in the event.
    pub(super) fn keeps_documents(&self) -> bool {
        self.context.documents == Documents::Kept
    }

    /// What a raw value says.
    pub(super) fn content(&self, raw: &'m str) -> Content<'m> {
        self.message.content(raw)
    }

    /// A time with an offset: its own, the message's, or the feed's, which is marked.
    pub(super) fn zoned(&mut self, date: PartialDate, target: &'c str) -> PartialDate {
        self.trail.zoned(date, self.offset, target)
    }

    /// Writes the authority that the site gives instead of the one that a number names (HD);
    /// false where that stands. `kind` is the number's type.
    pub(super) fn other_authority(
        &mut self,
        named: [&'m str; 3],
        kind: &str,
        target: &str,
    ) -> bool {
        let Some(authorities) = self.authorities else { return false };
        let message = self.message;
        let [namespace, universal, universal_type] = named.map(|raw| match message.content(raw) {
            Content::Text(text) => text,
            Content::Absent | Content::Null => Cow::Borrowed(""),
        });
        let named = Named {
            namespace: &namespace,
            universal: &universal,
            universal_type: &universal_type,
            kind,
        };
        let Some(given) = authorities.given(named, target) else { return false };
        let mark = self.tree.mark();
        given.write(&mut self.tree);
        self.trail.note_constant(&self.tree, mark, &given.place);
        true
    }

    /// Whether a field holds more than one value.
    fn repeats(&self, hit: &Hit<'m>) -> bool {
        self.message.repetitions(hit.whole_field()).nth(1).is_some()
    }

    /// Notes that a field is not what the sender said.
    fn doubt(&mut self, leaf: &Leaf<Hl7>) {
        if !self.doubtful.contains(&leaf.origin.target) {
            self.doubtful.push(leaf.origin.target.clone());
        }
    }

    /// Notes that a value cannot be.
    pub(super) fn refuse(&mut self, hit: &Hit<'m>) {
        self.refusals += 1;
        if self.invalid.len() < PLACES_MAX {
            self.invalid.insert(hit.place());
        }
    }

    /// Notes that another field of a segment was read, too.
    pub(super) fn take_field(&mut self, hit: &Hit<'m>, field: usize) {
        if let Some(id) = hit.segment.field_id(field) {
            self.taken.add(id);
        }
    }

    fn take(&mut self, hit: &Hit<'m>) {
        self.taken.add(hit.field_id);
    }

    /// The fields that hold something and that nothing took, each place once.
    fn unmapped(&self) -> Vec<FieldPlace> {
        let mut unmapped: Vec<FieldPlace> = Vec::with_capacity(32);
        for segment in self.message.segments() {
            let label = Label::of(&segment);
            if segment.field_count() == 0 && unmapped.len() < PLACES_MAX {
                unmapped.push(FieldPlace::new(label, 0));
            }
            let header = segment.index() == 0;
            let of_its_like = unmapped.iter().any(|place| place.segment == label);
            for number in segment.filled() {
                let taken = segment.field_id(number).is_some_and(|id| self.taken.has(id))
                    || (header && READ_BY_THE_GATE.contains(&number))
                    || is_read_without_rule(&segment, number);
                let says_something = || {
                    let raw = segment.field(number).unwrap_or_default();
                    self.message.content(raw) != Content::Absent
                };
                if taken || !says_something() {
                    continue;
                }
                let place = FieldPlace::new(label, number);
                let is_new = !of_its_like || !unmapped.contains(&place);
                if is_new && unmapped.len() < PLACES_MAX {
                    unmapped.push(place);
                }
            }
        }
        unmapped
    }

    /// Ends the event, and hands it out.
    fn finish(&mut self, event: usize) -> Tree {
        let mut tree = std::mem::take(&mut self.tree);
        self.trail.finish(&mut tree, event);
        tree
    }

    /// Notes who wrote what stands behind a mark.
    #[inline]
    fn note(&mut self, mark: Mark, leaf: &Leaf<Hl7>, hit: Option<&Hit<'m>>) {
        let source = || hit.map(Hit::place).unwrap_or_default();
        self.trail.note(&self.tree, mark, &leaf.origin, source);
    }
}

/// Fields of MSH that the gate itself reads, so that they are not lost: the delimiters, what
/// selects a mapping, what names the message, the character set.
pub(super) const READ_BY_THE_GATE: [usize; 7] = [1, 2, 9, 10, 11, 12, 18];

/// Whether a field is one that `admit` reads whatever the mapping: protections and labels.
fn is_read_without_rule(segment: &Segment<'_>, field: usize) -> bool {
    matches!(
        (segment.name(), field),
        ("PD1", 12 | 13)
            | ("PV2", 22)
            | ("ARV", 2 | 3 | 4 | 6)
            | ("DG1", 17)
            | ("ORC", 28)
            | ("TXA", 18)
    )
}

/// Whether the conditions of a source hold.
#[inline]
fn holds(only: Option<&Only<Hl7>>, scope: &Scope<'_, '_>) -> bool {
    only.is_none_or(|only| counts(only, scope))
}

fn counts(only: &Only<Hl7>, scope: &Scope<'_, '_>) -> bool {
    only.when.as_ref().is_none_or(|path| has_value(path, scope))
        && !only.unless.as_ref().is_some_and(|path| has_value(path, scope))
}

/// Whether a path has a value; null is none.
fn has_value(path: &Path, scope: &Scope<'_, '_>) -> bool {
    let mut there = false;
    path.resolve(scope, |hit| {
        there = matches!(scope.message().content(hit.value.raw()), Content::Text(_));
        !there
    });
    there
}

/// Every value of a source's path in its scope, or in the segments that its `after` leaves of it.
fn resolve<'m>(
    source: &Source<Hl7>,
    path: &Path,
    scope: &Scope<'m, '_>,
    take: impl FnMut(Hit<'m>) -> bool,
) {
    let after = source.only.as_ref().and_then(|only| only.after.as_ref());
    let Some(after) = after else { return path.resolve(scope, take) };
    let message = scope.message();
    let named =
        |at: &usize, name: &str| message.segment(*at).is_some_and(|found| found.name() == name);
    let Some(at) = scope.indices().find(|at| named(at, after)) else { return };
    let end = behind(message, at, |next| next.name() == path.segment());
    let ranges = [at + 1..end];
    path.resolve(&Scope::new(message, &ranges), take);
}

/// The position behind a segment and those that follow and belong to it. A site's own segments
/// (chapter 2.5.2: Z) may stand anywhere between, and part nothing.
fn behind(message: &Message<'_>, at: usize, belongs: impl Fn(&Segment<'_>) -> bool) -> usize {
    let mut end = at + 1;
    for next in (end..).map_while(|at| message.segment(at)) {
        if belongs(&next) {
            end = next.index() + 1;
        } else if !next.name().starts_with('Z') {
            break;
        }
    }
    end
}

fn first_spot(sources: &[Source<Hl7>]) -> Spot {
    spot(sources.iter().find_map(|source| match &source.from {
        From::Path(path, _) => Some(path),
        From::Constant(_) => None,
    }))
}

fn spot(path: Option<&Path>) -> Spot {
    let (segment, field) = path.map_or(("", 0), |path| (path.segment(), path.field()));
    Spot { segment: segment.to_owned(), field }
}
