//! The shipped mappings with what a site says otherwise.
//!
//! Promises: each rule of a site takes effect in a mapping at least, or is a mistake; one that
//! changes nothing, or gives up what was required, is a warning.
//! Knows nothing of: how a rule is compiled.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::document::{Problems, hint};
use crate::event::Declaration;
use crate::event::schema::EXTENSION;

use super::SiteFile;
use crate::normalize::compile::{self, Compiling, Rules};
use crate::normalize::load::{File, Rule, mapping, select};
use crate::normalize::mapping::Mappings;
use crate::normalize::table::Tables;

pub(super) fn compile(
    site: &SiteFile,
    [files, resources]: [&BTreeMap<String, File>; 2],
    tables: &mut Tables<'_>,
    declared: Declaration,
    problems: &Problems,
) -> Mappings {
    // What is wrong with the shipped mappings was said when they were loaded.
    let muted = Problems::default();
    let mut all: Vec<(&File, Rules<'_>)> = files
        .values()
        .filter(|file| file.event.is_some())
        .map(|file| (file, compile::gather(file, files, &muted)))
        .collect();
    let looked = Looked { site, all: &all, files, problems };
    looked.rules();
    looked.own();
    looked.extensions();
    for (file, rules) in &mut all {
        for rule in &site.rules {
            if is_extension(rule) || rules.contains_key(rule.target.value.as_str()) {
                compile::stand_in(rules, rule);
            }
        }
        let own = site.own.iter().filter(|(name, _)| name.value == file.name);
        for rule in own.flat_map(|(_, own)| own) {
            compile::stand_in(rules, rule);
        }
    }
    let mut mappings = Mappings { declared, ..Mappings::default() };
    let around = Compiling { declared, problems };
    for (file, rules) in all {
        let authorities = site.authorities.clone();
        let mapping = Arc::new(mapping(file, &rules, tables, around, authorities));
        select(file, &mapping, &mut mappings, &muted);
        mappings.files.push((file.place.file.to_string(), mapping, Vec::new()));
    }
    // A site's rules speak of segments; of resources it renames authorities and codes.
    for file in resources.values().filter(|file| file.event.is_some()) {
        let rules = compile::gather(file, resources, &muted);
        mappings.fhir.add(file, &rules, tables, around, site.authorities.clone());
    }
    mappings.fhir.select(&muted);
    mappings
}

fn is_extension(rule: &Rule) -> bool {
    rule.target.value.split('.').next() == Some(EXTENSION.name)
}

/// A site's rules beside those of the shipped mappings.
struct Looked<'s, 'f> {
    site: &'s SiteFile,
    all: &'s [(&'f File, Rules<'f>)],
    files: &'f BTreeMap<String, File>,
    problems: &'s Problems,
}

impl Looked<'_, '_> {
    /// `[rules]`: each stands in for a rule that some mapping has, or makes a field of the site's own.
    fn rules(&self) {
        let known: BTreeSet<&str> =
            self.all.iter().flat_map(|(_, rules)| rules.keys().copied()).collect();
        for rule in self.site.rules.iter().filter(|rule| !is_extension(rule)) {
            let target = rule.target.value.as_str();
            let shipped: Vec<&Rule> = self
                .all
                .iter()
                .filter_map(|(_, rules)| rules.get(target).map(|ruled| ruled.rule))
                .collect();
            if shipped.is_empty() {
                let known: Vec<&str> = known.iter().copied().collect();
                self.problems.mistake(&rule.target.place, no_target(target, &known));
            }
            self.weigh(rule, &shipped);
        }
    }

    /// `[mapping.NAME]`: of a mapping that there is.
    fn own(&self) {
        for (name, own) in &self.site.own {
            let Some((_, rules)) = self.all.iter().find(|(file, _)| file.name == name.value) else {
                let text = if self.files.contains_key(&name.value) {
                    format!("`{}` is a part of several mappings; [rules] is for those", name.value)
                } else {
                    let known: Vec<&str> =
                        self.all.iter().map(|(file, _)| file.name.as_str()).collect();
                    format!("there is no mapping `{}`{}", name.value, hint(&name.value, &known))
                };
                self.problems.mistake(&name.place, text);
                continue;
            };
            for rule in own {
                let shipped = rules.get(rule.target.value.as_str()).map(|ruled| ruled.rule);
                self.weigh(rule, shipped.as_slice());
            }
        }
    }

    /// Fields of the site's own are declared in its file, and some rule makes each.
    fn extensions(&self) {
        let own = self.site.own.iter().flat_map(|(_, own)| own);
        let rules: Vec<&Rule> =
            self.site.rules.iter().chain(own).filter(|rule| is_extension(rule)).collect();
        let target = |name: &str| format!("{}.{name}", EXTENSION.name);
        let declared: Vec<String> =
            self.site.extensions.iter().map(|it| target(&it.value.name)).collect();
        let known: Vec<&str> = declared.iter().map(String::as_str).collect();
        for rule in &rules {
            let named = plain(&rule.target.value);
            if !known.contains(&named) {
                let hint = hint(named, &known);
                let text = format!("`{named}` is not declared in this file, as [{named}]{hint}");
                self.problems.mistake(&rule.target.place, text);
            }
        }
        for (extension, name) in self.site.extensions.iter().zip(&known) {
            if !rules.iter().any(|rule| plain(&rule.target.value) == *name) {
                self.problems.warn(&extension.place, format!("no rule makes `{name}`"));
            }
        }
    }

    /// What weakens or does nothing.
    fn weigh(&self, rule: &Rule, shipped: &[&Rule]) {
        let place = &rule.target.place;
        if !shipped.is_empty() && shipped.iter().all(|other| rule.says_what(other)) {
            let text = format!("`{}` says what the shipped rule says", rule.target.value);
            self.problems.warn(place, text);
        }
        if let Some(other) = shipped.iter().find(|other| other.required && !rule.required) {
            let text = format!(
                "`{}` is required in {}:{}, and not here: a message without it gives an event",
                rule.target.value, other.target.place.file, other.target.place.line
            );
            self.problems.warn(place, text);
        }
    }
}

fn plain(target: &str) -> &str {
    target.strip_suffix("[]").unwrap_or(target)
}

/// What is wrong with a target that no mapping makes.
fn no_target(target: &str, known: &[&str]) -> String {
    let inside = |whole: &&&str| {
        let rest = target.strip_prefix(plain(whole));
        rest.is_some_and(|rest| rest.starts_with('.') || rest.starts_with("[]."))
    };
    if let Some(whole) = known.iter().find(inside) {
        return format!(
            "`{target}` is made with `{whole}`, whole; a rule for that stands in for it"
        );
    }
    let near = hint(target, known);
    format!("no mapping has a rule for `{target}`, so there is none to stand in for{near}")
}
