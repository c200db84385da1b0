//! How one payload of an event differs from another.
//!
//! Promises: what differs is named by path, and never by value; what differs only since the keys of
//! the realm do is a change of `subject`, and said once.
//! Knows nothing of: why either leaves.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use crate::privacy::recipe::{Line, SUBJECT, SubjectForm};
use crate::privacy::{Recipe, Transform};

/// What a recipe does to each field, by the path that it leaves under.
#[derive(Clone, Debug, Default)]
pub struct Forms {
    fields: BTreeMap<String, Form>,
    /// By what tokens are made, where the subject leaves as one.
    tokens: Option<String>,
}

/// What is done to a field.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Form {
    /// As `check` prints it.
    text: String,
    /// Whether another key gives another result.
    keyed: bool,
}

impl Forms {
    /// Of a recipe, where tokens are made by this.
    #[must_use]
    pub fn of(recipe: &Recipe, tokens: Option<String>) -> Self {
        let form = |text: String, keyed| Form { text, keyed };
        let mut fields = BTreeMap::new();
        for line in &recipe.lines {
            let Line { leaves_as, transform, .. } = line;
            fields.insert(leaves_as.clone(), form(transform.to_string(), transform.is_keyed()));
        }
        let subject = match recipe.subject {
            SubjectForm::Hidden => None,
            SubjectForm::Clear => Some(form(Transform::Keep.to_string(), false)),
            SubjectForm::Token => Some(form(Transform::Token.to_string(), true)),
        };
        fields.extend(subject.map(|subject| (SUBJECT.to_owned(), subject)));
        let is_token = recipe.subject == SubjectForm::Token;
        Self { fields, tokens: tokens.filter(|_| is_token) }
    }

    /// What is done to a field: what is said of it, or of the nearest part that it is of.
    fn at(&self, path: &str) -> Option<&Form> {
        let mut path = path;
        loop {
            if let Some(form) = self.fields.get(path) {
                return Some(form);
            }
            path = match path.strip_suffix("[]") {
                Some(list) => list,
                None => path.rsplit_once('.')?.0,
            };
        }
    }
}

/// How a field differs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Difference {
    /// It was not there, and is.
    Appears,
    /// It was there, and is not.
    Disappears,
    /// Something else is done to it: what was, and what is.
    Form(String),
    /// It holds something else in the same form.
    Value,
}

/// Attributes of the envelope that stand for themselves. `contract` and `recipe` differ with every
/// change, and the others are about the event and not of the contract.
const ATTRIBUTES: [&str; 5] = ["source", "time", "purpose", "tier", "dataschema"];
/// Attributes that below tier identified are keyed.
const IDS: [&str; 2] = ["id", "correlationid"];
const CONSENT: &str = "consentref";

/// The fields of two CloudEvents that differ, by path; each with what its recipe does to them.
#[must_use]
pub fn differences(
    (old, of_old): (&Json, &Forms),
    (new, of_new): (&Json, &Forms),
) -> BTreeMap<String, Difference> {
    let mut found = BTreeMap::new();
    let mut keyed = false;
    let both = |key: &str| (old.get(key), new.get(key));
    for key in ATTRIBUTES {
        let (old, new) = both(key);
        if let Some(differs) = presence(old.is_some(), new.is_some()) {
            found.insert(key.to_owned(), differs);
        } else if old != new {
            found.insert(key.to_owned(), Difference::Value);
        }
    }
    let same_tier = old.get("tier") == new.get("tier");
    for key in IDS {
        let (old, new) = both(key);
        match (old == new, same_tier) {
            (true, _) => {}
            (false, true) => keyed = true,
            (false, false) => {
                found.insert(key.to_owned(), Difference::Value);
            }
        }
    }
    // Which records it names is the ledger's, and the same for both.
    let (old_consent, new_consent) = both(CONSENT);
    if let Some(differs) = presence(old_consent.is_some(), new_consent.is_some()) {
        found.insert(CONSENT.to_owned(), differs);
    }
    let subject = form(of_old.at(SUBJECT), of_new.at(SUBJECT));
    match (subject, both(SUBJECT)) {
        (Some(form), (Some(_), Some(_))) => {
            found.insert(SUBJECT.to_owned(), form);
        }
        (_, (old, new)) => match presence(old.is_some(), new.is_some()) {
            Some(differs) => {
                found.insert(SUBJECT.to_owned(), differs);
            }
            // Of a vault, which stays closed, two tokens look the same.
            None => keyed |= old != new || of_old.tokens != of_new.tokens,
        },
    }
    keyed |= data((old, of_old), (new, of_new), &mut found);
    if keyed {
        found.entry(SUBJECT.to_owned()).or_insert(Difference::Value);
    }
    found
}

/// Compares the data; whether something differs there by its key alone.
fn data(
    (old, forms_of_old): (&Json, &Forms),
    (new, forms_of_new): (&Json, &Forms),
    found: &mut BTreeMap<String, Difference>,
) -> bool {
    let (of_old, of_new) = (leaves(old), leaves(new));
    let mut keyed = false;
    for (path, values) in &of_old {
        let Some(others) = of_new.get(path) else {
            found.insert(path.clone(), Difference::Disappears);
            continue;
        };
        let now = forms_of_new.at(path);
        if let Some(form) = form(forms_of_old.at(path), now) {
            found.insert(path.clone(), form);
        } else if values != others {
            if now.is_some_and(|form| form.keyed) {
                keyed = true;
            } else {
                found.insert(path.clone(), Difference::Value);
            }
        }
    }
    for path in of_new.keys().filter(|path| !of_old.contains_key(*path)) {
        found.insert(path.clone(), Difference::Appears);
    }
    keyed
}

const fn presence(old: bool, new: bool) -> Option<Difference> {
    match (old, new) {
        (false, true) => Some(Difference::Appears),
        (true, false) => Some(Difference::Disappears),
        (true, true) | (false, false) => None,
    }
}

/// Another form, where both leave.
fn form(old: Option<&Form>, new: Option<&Form>) -> Option<Difference> {
    let (old, new) = (&old?.text, &new?.text);
    (old != new).then(|| Difference::Form(format!("{old} to {new}")))
}

/// What stands in the data, by path, the elements of lists together.
fn leaves(body: &Json) -> BTreeMap<String, Vec<&Json>> {
    let mut found = BTreeMap::new();
    if let Some(data) = body.get("data") {
        collect(data, &mut String::new(), &mut found);
    }
    found
}

fn collect<'j>(value: &'j Json, path: &mut String, found: &mut BTreeMap<String, Vec<&'j Json>>) {
    let length = path.len();
    match value {
        Json::Object(object) if !object.is_empty() => {
            for (key, value) in object {
                if length > 0 {
                    path.push('.');
                }
                path.push_str(key);
                collect(value, path, found);
                path.truncate(length);
            }
        }
        Json::Array(list) if !list.is_empty() => {
            path.push_str("[]");
            for value in list {
                collect(value, path, found);
            }
            path.truncate(length);
        }
        // An empty part says nothing that its absence would not.
        Json::Object(_) | Json::Array(_) => {}
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => {
            found.entry(path.clone()).or_default().push(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn forms(lines: &[(&str, &Transform)]) -> Forms {
        let form = |(path, transform): &(&str, &Transform)| {
            let keyed = matches!(transform, Transform::Hash | Transform::Token);
            ((*path).to_owned(), Form { text: transform.to_string(), keyed })
        };
        Forms { fields: lines.iter().map(form).collect(), tokens: None }
    }

    fn found(old: (&Json, &Forms), new: (&Json, &Forms)) -> Vec<(String, Difference)> {
        differences(old, new).into_iter().collect()
    }

    #[test]
    fn a_field_appears_disappears_takes_another_form_or_holds_something_else() {
        let old = json!({ "tier": "identified", "id": "1", "recipe": "a", "time": "t", "data": {
            "visit": { "class": { "code": "IMP" }, "number": "7" },
            "diagnoses": [{ "code": "A" }, { "code": "B", "type": "f" }] } });
        let new = json!({ "tier": "identified", "id": "1", "recipe": "b", "data": {
            "patient": { "sex": null },
            "visit": { "class": {}, "number": "x" },
            "diagnoses": [{ "code": "A" }, { "code": "C", "type": "f" }] } });
        let by =
            |number| forms(&[("visit.number", number), ("diagnoses[].code", &Transform::Keep)]);
        let (keep, mask) = (by(&Transform::Keep), by(&Transform::Mask { last: 4 }));
        let form = Difference::Form("keep to mask last=4".to_owned());
        let wanted = [
            ("diagnoses[].code", Difference::Value),
            ("patient.sex", Difference::Appears),
            ("time", Difference::Disappears),
            ("visit.class.code", Difference::Disappears),
            ("visit.number", form),
        ];
        assert_eq!(found((&old, &keep), (&new, &mask)), wanted.map(|(at, it)| (at.to_owned(), it)));
        assert_eq!(found((&old, &keep), (&old, &keep)), []);
    }

    #[test]
    fn what_only_a_key_changes_is_a_change_of_the_subject_and_said_once() {
        let of = |key: &str| {
            let keyed = |text: &str| format!("{text}{key}");
            json!({ "tier": "pseudonymized", "id": keyed("i"), "subject": keyed("s"),
                "consentref": keyed("c"), "data": { "a": { "b": keyed("b") } } })
        };
        let (one, two) = (of("1"), of("2"));
        let hash = ("a.b", &Transform::Hash);
        let token = forms(&[(SUBJECT, &Transform::Token), hash]);
        let subject = |it| vec![(SUBJECT.to_owned(), it)];
        assert_eq!(found((&one, &token), (&two, &token)), subject(Difference::Value));
        let mut hidden = one.clone();
        hidden.as_object_mut().unwrap().remove(SUBJECT);
        let gone = found((&one, &token), (&hidden, &forms(&[hash])));
        assert_eq!(gone, subject(Difference::Disappears));
        let clear = forms(&[(SUBJECT, &Transform::Keep), hash]);
        let form = Difference::Form("keep to token".to_owned());
        assert_eq!(found((&one, &clear), (&two, &token)), subject(form));
    }

    #[test]
    fn a_field_below_a_line_is_of_it_and_one_of_a_longer_name_is_not() {
        let forms = forms(&[("a[].value", &Transform::Keep), ("b", &Transform::Year)]);
        let at = |path| forms.at(path).map(|form| form.text.as_str());
        assert_eq!(at("a[].value.numbers[]"), Some("keep"));
        assert_eq!(at("b[].c"), Some("year"));
        assert_eq!((at("a[].valued"), at("a")), (None, None));
    }
}
