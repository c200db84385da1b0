//! Which types stand where a path has come to, in each release that it is to hold for.
//!
//! Promises: an element that no release in question has is refused, with the nearest one that there is.
//! Knows nothing of: how a path is written.

use crate::parse::fhir::Version;
use crate::parse::fhir::elements::{self, chosen, is_primitive, is_resource};

/// Farthest a name may be from what was meant, in edits.
const DISTANCE_MAX: usize = 3;

/// Types, each with its release, no pair twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Shape(Vec<(Version, &'static str)>);

/// What a name leads to.
pub(super) struct Found {
    /// The members, as in JSON.
    pub(super) names: Vec<Box<str>>,
    pub(super) shape: Shape,
    /// Whether the types are those of a choice that was not made.
    pub(super) is_open: bool,
}

impl Shape {
    /// That of a resource type; nothing where no release has it.
    pub(super) fn resource(kind: &str, versions: &[Version]) -> Option<Self> {
        let found = elements::find(kind).filter(|found| is_resource(found.name))?;
        let shape =
            versions.iter().filter(|version| found.version.is_none_or(|own| own == **version));
        let shape: Vec<_> = shape.map(|version| (*version, found.name)).collect();
        (!shape.is_empty()).then_some(Self(shape))
    }

    pub(super) fn types(&self) -> impl Iterator<Item = &'static str> {
        let mut types: Vec<_> = self.0.iter().map(|(_, of)| *of).collect();
        types.sort_unstable();
        types.dedup();
        types.into_iter()
    }

    /// Whether it is values, not objects.
    pub(super) fn is_primitive(&self) -> bool {
        self.0.iter().all(|(_, of)| is_primitive(of))
    }

    /// The same places as other resources.
    pub(super) fn narrowed(&self, to: &str) -> Option<Self> {
        let found = elements::find(to)?;
        let any = |of: &str| matches!(of, "Resource" | "DomainResource");
        let mut shape = Vec::new();
        for (version, of) in &self.0 {
            if *of == to || (any(of) && is_resource(to)) {
                shape.push((*version, found.name));
            }
        }
        (!shape.is_empty()).then_some(Self(shape))
    }

    /// Whether resources of any type stand there.
    pub(super) fn is_any_resource(&self) -> bool {
        self.0.iter().all(|(_, of)| matches!(*of, "Resource" | "DomainResource"))
    }

    /// That of extensions here.
    pub(super) fn extension(&self) -> Self {
        let mut shape = Self(Vec::new());
        self.0.iter().for_each(|(version, _)| shape.add(*version, "Extension"));
        shape
    }

    fn add(&mut self, version: Version, of: &'static str) {
        if !self.0.contains(&(version, of)) {
            self.0.push((version, of));
        }
    }

    /// An element by its name as in FHIRPath (`value`) or as in JSON (`valueQuantity`).
    ///
    /// # Errors
    /// What could stand there.
    pub(super) fn child(&self, name: &str) -> Result<Found, String> {
        let mut found = Found { names: Vec::new(), shape: Self(Vec::new()), is_open: false };
        let mut add = |version, member: String, of| {
            if !found.names.iter().any(|other| **other == *member) {
                found.names.push(member.into());
            }
            found.shape.add(version, of);
        };
        let mut is_open = false;
        for (version, around) in &self.0 {
            let around = if is_primitive(around) { "Element" } else { around };
            for (element, of) in elements::named(around, name) {
                if element.is_in(*version) {
                    add(*version, name.to_owned(), of);
                }
            }
            for element in elements::choices(around, name).filter(|one| one.is_in(*version)) {
                is_open = true;
                element.types.iter().for_each(|of| add(*version, chosen(name, of), *of));
            }
        }
        if found.names.is_empty() {
            return Err(self.hint(name));
        }
        found.is_open = is_open;
        Ok(found)
    }

    /// One of the types of a choice: the member that has it.
    ///
    /// # Errors
    /// Which types there are.
    pub(super) fn choice(&self, base: &str, of: &str) -> Result<Found, String> {
        let mut shape = Self(Vec::new());
        let mut types = Vec::new();
        for (version, around) in &self.0 {
            for element in elements::choices(around, base).filter(|one| one.is_in(*version)) {
                types.extend_from_slice(&element.types);
                let made = element.types.iter().find(|other| **other == of);
                made.into_iter().for_each(|of| shape.add(*version, of));
            }
        }
        if shape.0.is_empty() {
            types.sort_unstable();
            types.dedup();
            let near = nearest(of, types.iter().copied());
            let near =
                near.map_or_else(|| types.join(", "), |near| format!("did you mean {near}?"));
            return Err(format!("{base} cannot be of type {of}: {near}"));
        }
        Ok(Found { names: vec![chosen(base, of).into()], shape, is_open: false })
    }

    /// What to say of a name that is no element.
    fn hint(&self, name: &str) -> String {
        let around: Vec<&str> = self.types().collect();
        let around = around.join(" or ");
        let others = [Version::R4, Version::R5]
            .into_iter()
            .filter(|version| !self.0.iter().any(|(own, _)| own == version));
        for version in others {
            let is_there = |of: &str| {
                elements::named(of, name).any(|(element, _)| element.is_in(version))
                    || elements::choices(of, name).any(|element| element.is_in(version))
            };
            if self.types().any(is_there) {
                return format!("{around} has {name} in {version} alone");
            }
        }
        let versions: Vec<Version> = self.0.iter().map(|(version, _)| *version).collect();
        let elements = self.types().flat_map(elements::lineage).flat_map(|found| &found.elements);
        let elements: Vec<_> = elements
            .filter(|element| versions.iter().any(|version| element.is_in(*version)))
            .collect();
        let is_base = |base: &str| name.strip_prefix(base).is_some_and(|rest| !rest.is_empty());
        let base = elements.iter().find(|element| element.is_choice && is_base(element.name));
        let near = base.map(|element| element.name);
        match near.or_else(|| nearest(name, elements.iter().map(|element| element.name))) {
            Some(near) => format!("{around} has no element {name}: did you mean {near}?"),
            None if self.is_primitive() => {
                format!("{around} is a value and has no element {name}")
            }
            None => format!("{around} has no element {name}"),
        }
    }
}

/// The nearest of some names, if it is near.
pub(super) fn nearest<'n>(name: &str, names: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let far = |other: &str| strsim::damerau_levenshtein(name, other);
    let bound = DISTANCE_MAX.min(name.len() / 2);
    let near = names.map(|other| (far(other), other)).filter(|(far, _)| *far <= bound);
    near.min().map(|(_, other)| other)
}
