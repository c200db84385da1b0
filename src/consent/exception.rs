//! Exceptions to a decision: FHIR Consent's provisions, as a bounded tree.
//!
//! Promises: what a sender named and nobody here can tell is marked as such, and never left out: a
//! criterion that is left out would make an exception wider, and a list without one of its values
//! narrower; the tree is bounded.
//! Knows nothing of: what is asked; see `weigh`.

use serde::{Deserialize, Serialize};

use super::decision::Decision;
use super::moment::Moment;

/// Deepest nesting of exceptions. HL7's examples nest two.
pub const DEPTH_MAX: usize = 8;
/// Most exceptions of one record, all levels together. HL7's largest example has twelve; each is
/// weighed at every question.
pub const COUNT_MAX: usize = 256;
/// Most values of one list of a criterion.
pub const VALUES_MAX: usize = 64;

/// Values of one criterion, any of which will do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Listed {
    /// Those that are known here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub these: Vec<String>,
    /// Whether there are others, of which nobody knows whether they are what is asked about.
    #[serde(default, skip_serializing_if = "is_false")]
    pub others: bool,
}

/// Confidentiality up to which data is meant (HL7 v3 Confidentiality, a high-water mark).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Confidentiality {
    /// `N`: what bears no label.
    Normal,
    /// `R`, and what is below it.
    Restricted,
    /// `V`, and what is below it.
    VeryRestricted,
}

/// Whom, what and when something is about: all of it at once. What is not there limits nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Criteria {
    /// Purposes of use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purposes: Option<Listed>,
    /// Who receives, as contracts call the consumer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grantees: Option<Listed>,
    /// Sensitivity labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<Listed>,
    /// Confidentiality.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confidentiality: Option<Confidentiality>,
    /// Classes of fields by their names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub classes: Option<Listed>,
    /// From when on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Moment>,
    /// Until when, all of that day or minute included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Moment>,
    /// Whether there are criteria that cannot be told here, such as an author or one document.
    #[serde(default, skip_serializing_if = "is_false")]
    pub beyond: bool,
}

impl Criteria {
    /// Whether it limits nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Its lists.
    fn lists(&self) -> impl Iterator<Item = &Listed> {
        [&self.purposes, &self.grantees, &self.labels, &self.classes].into_iter().flatten()
    }

    /// Whether nobody can tell that it is about anything.
    pub(super) fn is_unsure(&self) -> bool {
        self.beyond || self.lists().any(|list| list.others && list.these.is_empty())
    }

    /// Whether something of it cannot be told here.
    #[must_use]
    pub fn has_others(&self) -> bool {
        self.beyond || self.lists().any(|list| list.others)
    }
}

/// An exception to a decision, or to another exception.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Exception {
    /// Opens or closes what it is about.
    pub decision: Decision,
    /// What it is about, within what it is an exception to.
    #[serde(default, skip_serializing_if = "Criteria::is_empty")]
    pub about: Criteria,
    /// Exceptions to it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exceptions: Vec<Exception>,
}

/// All of a tree, each before its own exceptions.
pub fn all(exceptions: &[Exception]) -> Vec<&Exception> {
    let mut all: Vec<&Exception> = Vec::new();
    let mut open: Vec<&Exception> = exceptions.iter().rev().collect();
    while let Some(exception) = open.pop() {
        all.push(exception);
        open.extend(exception.exceptions.iter().rev());
    }
    all
}

/// Whether a tree is within the bounds.
#[must_use]
pub fn is_bounded(exceptions: &[Exception]) -> bool {
    let mut level: Vec<&Exception> = exceptions.iter().collect();
    let mut count = 0;
    for _ in 0..DEPTH_MAX {
        count += level.len();
        let small = |it: &&Exception| it.about.lists().all(|list| list.these.len() <= VALUES_MAX);
        if count > COUNT_MAX || !level.iter().all(small) {
            return false;
        }
        level = level.into_iter().flat_map(|it| &it.exceptions).collect();
    }
    level.is_empty()
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands it so")]
const fn is_false(flag: &bool) -> bool {
    !*flag
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nested(depth: usize, width: usize) -> Vec<Exception> {
        let exceptions = if depth > 1 { nested(depth - 1, 1) } else { Vec::new() };
        let about = Criteria::default();
        vec![Exception { decision: Decision::Deny, about, exceptions }; width]
    }

    #[test]
    fn depth_number_and_lists_are_bounded() {
        assert!(is_bounded(&nested(DEPTH_MAX, 1)) && !is_bounded(&nested(DEPTH_MAX + 1, 1)));
        assert!(is_bounded(&nested(1, COUNT_MAX)) && !is_bounded(&nested(1, COUNT_MAX + 1)));
        assert!(!is_bounded(&nested(2, COUNT_MAX / 2 + 1)));
        let mut long = nested(1, 1);
        let these = vec!["HRESCH".to_owned(); VALUES_MAX + 1];
        long[0].about.purposes = Some(Listed { these, others: false });
        assert!(!is_bounded(&long));
        assert_eq!(all(&nested(3, 2)).len(), 6);
    }

    #[test]
    fn an_exception_is_kept_with_what_it_says_and_no_more() {
        let text = r#"{"decision":"permit","about":{"purposes":{"these":["HRESCH"]},"grantees":{"others":true},"beyond":true},"exceptions":[{"decision":"deny"}]}"#;
        let read: Exception = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), text);
        // PROMISE-5: a criterion of a later version is not read over.
        let later = text.replace("\"beyond\"", "\"weekdays\":true,\"beyond\"");
        assert!(serde_json::from_str::<Exception>(&later).is_err());
    }
}
