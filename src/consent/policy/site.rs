//! What a site calls consents, beside consent.toml.
//!
//! Promises: a site's word for a consent type stands for a code of `[codes]` and opens nothing by
//! itself; a word that means two things is a mistake at its place.
//! Knows nothing of: where the words were read.

use super::read::STATUSES;
use super::{Policy, from_table_0498};
use crate::document::{Placed, Problems, hint};

impl Policy {
    /// Takes a site's words of CON-11 and CON-2 in. Mistakes go to `problems`.
    pub fn add_site(
        &mut self,
        site: &str,
        statuses: &[(Placed<String>, Placed<String>)],
        types: &[(Placed<String>, Placed<String>)],
        problems: &Problems,
    ) {
        for (word, means) in statuses {
            let known = STATUSES.iter().find(|(name, _)| *name == means.value);
            if from_table_0498(&word.value).is_some() {
                let text = format!("`{}` is a word of table 0498, which stands", word.value);
                problems.mistake(&word.place, text);
            } else if self.statuses.get(site).is_some_and(|words| words.contains_key(&word.value)) {
                let text = format!("`{}` stands in [status.{site}] of consent.toml", word.value);
                problems.mistake(&word.place, text);
            } else if let Some((_, status)) = known {
                let words = self.statuses.entry(site.to_owned()).or_default();
                words.insert(word.value.clone(), *status);
            }
            if known.is_none() {
                let names = STATUSES.map(|(name, _)| name);
                let hint = hint(&means.value, &names);
                let text = format!("`{}` is no status of a consent{hint}", means.value);
                problems.mistake(&means.place, text);
            }
        }
        let known: Vec<String> = self.codes.keys().cloned().collect();
        let known: Vec<&str> = known.iter().map(String::as_str).collect();
        for (word, means) in types {
            for code in [word, means] {
                let parts = code.value.rsplit_once('/');
                if !parts.is_some_and(|(system, code)| !system.is_empty() && !code.is_empty()) {
                    let text = "a code is named \"SYSTEM/CODE\", such as \"HL70496/109\"";
                    problems.mistake(&code.place, text);
                }
            }
            if self.codes.contains_key(&word.value) {
                let text = format!("`{}` stands in [codes] of consent.toml, too", word.value);
                problems.mistake(&word.place, text);
                continue;
            }
            if !self.codes.contains_key(&means.value) {
                // Kept, speaks about no purpose, and is an exception: nothing is opened by it.
                let hint = hint(&means.value, &known);
                let text = format!(
                    "no row of [codes] in consent.toml says what `{}` is{hint}",
                    means.value
                );
                problems.warn(&means.place, text);
            }
            let of_site = self.types.entry(site.to_owned()).or_default();
            of_site.insert(word.value.clone(), means.value.clone());
        }
    }

    /// What a site's code of a consent type stands for, SYSTEM and CODE; nothing where it stands for
    /// itself.
    #[must_use]
    pub fn stands_for(&self, site: &str, system: &str, code: &str) -> Option<(&str, &str)> {
        let means = self.types.get(site)?.get(&format!("{system}/{code}"))?;
        means.rsplit_once('/')
    }

    /// The sites that have words in consent.toml or by their files.
    pub fn sites(&self) -> impl Iterator<Item = &str> {
        self.statuses.keys().chain(self.types.keys()).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::consent::decision::Status;
    use crate::document::{Document, Place};

    fn rows(rows: &[(&str, &str)]) -> Vec<(Placed<String>, Placed<String>)> {
        let placed = |value: &str, line, column| Placed {
            value: value.to_owned(),
            place: Place { file: "s.toml".into(), line, column },
        };
        let numbered = rows.iter().zip(1..);
        numbered
            .map(|((word, means), line)| (placed(word, line, 1), placed(means, line, 9)))
            .collect()
    }

    fn policy(problems: &Problems) -> Policy {
        let text = "[codes]\n\"HL70496/109\" = [\"HRESCH\"]\n\"L/OWN\" = []\n[status.north]\nJA = \"active\"";
        Policy::of(&Document::from_text("c.toml", Path::new("."), text), problems)
    }

    /// PROMISE-5
    #[test]
    fn a_sites_words_hold_for_that_site_and_open_nothing_by_themselves() {
        let problems = Problems::default();
        let mut policy = policy(&problems);
        let statuses = rows(&[("SIGNED", "active"), ("TERUG", "revoked")]);
        let types = rows(&[("L/HIE", "HL70496/109"), ("L/NEW", "HL70496/110")]);
        policy.add_site("north", &statuses, &types, &problems);
        assert!(problems.is_clean(), "{:?}", problems.mistakes());
        for (site, word, status) in [
            ("north", "SIGNED", Status::Active),
            ("north", "TERUG", Status::Revoked),
            ("north", "JA", Status::Active),
            ("south", "SIGNED", Status::Unknown),
            ("", "SIGNED", Status::Unknown),
        ] {
            assert_eq!(policy.status(site, word), status, "{site} {word}");
        }
        assert_eq!(policy.stands_for("north", "L", "HIE"), Some(("HL70496", "109")));
        assert_eq!(policy.stands_for("south", "L", "HIE"), None);
        assert_eq!(policy.spoken_of("L", "HIE"), None);
        // What nobody says what it is speaks about nothing, and is told.
        assert_eq!(policy.spoken_of("HL70496", "110"), None);
        let warnings: Vec<String> = problems.warnings().iter().map(ToString::to_string).collect();
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(warnings.iter().all(|line| line.starts_with("s.toml:2:9: no row of [codes]")));
    }

    #[test]
    fn a_word_that_means_two_things_or_nothing_is_a_mistake_at_its_place() {
        for (statuses, types, wanted) in [
            (&[("A", "active")][..], &[][..], "s.toml:1:1: `A` is a word of table 0498"),
            (&[("JA", "rejected")], &[], "s.toml:1:1: `JA` stands in [status.north]"),
            (
                &[("X1", "activ")],
                &[],
                "s.toml:1:9: `activ` is no status of a consent; did you mean",
            ),
            (&[], &[("L/OWN", "HL70496/109")], "s.toml:1:1: `L/OWN` stands in [codes]"),
            (&[], &[("HIE", "HL70496/109")], "s.toml:1:1: a code is named"),
            (&[], &[("L/HIE", "109")], "s.toml:1:9: a code is named"),
        ] {
            let problems = Problems::default();
            policy(&problems).add_site("north", &rows(statuses), &rows(types), &problems);
            let mistakes: Vec<String> =
                problems.mistakes().iter().map(ToString::to_string).collect();
            assert!(mistakes.iter().any(|line| line.starts_with(wanted)), "{wanted}: {mistakes:?}");
        }
    }
}
