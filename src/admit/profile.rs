//! How a message describes a patient, so that another under the same identifier is noticed.
//!
//! Promises: it holds digests that are bound to the subject and shows neither what somebody is called
//! nor who is called the same; what is not said is no difference.
//! Knows nothing of: how the patient was described before.

use crate::event::{Subject, View};

use super::{Digest, DigestKey};

/// Name, birth date and sex, 8 bytes of a keyed digest each; 0 where a message does not say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Profile(pub [[u8; 8]; 3]);

/// How a message describes one subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Described {
    /// Whom.
    pub subject: Digest,
    /// How.
    pub profile: Profile,
}

const UNSAID: [u8; 8] = [0; 8];

impl Profile {
    /// Whether this is another person: all three are said, before and now, and none is the same. Two
    /// of them change together where somebody marries or is corrected; a newborn gets a name.
    #[must_use]
    pub fn clashes(&self, before: &Self) -> bool {
        let pairs = self.0.iter().zip(&before.0);
        pairs.clone().all(|(now, then)| *now != UNSAID && *then != UNSAID && now != then)
    }

    /// What is known with what a later message says.
    #[must_use]
    pub fn then(&self, later: &Self) -> Self {
        let mut all = self.0;
        for (known, said) in all.iter_mut().zip(later.0).filter(|(_, said)| *said != UNSAID) {
            *known = said;
        }
        Self(all)
    }
}

/// The descriptions of one message, each once: the groups of a report repeat their patient.
#[derive(Debug, Default)]
pub(super) struct Descriptions {
    seen: Vec<(Subject, [String; 3])>,
    pub described: Vec<Described>,
}

impl Descriptions {
    /// Takes what an event says of its subject.
    pub fn take(&mut self, digests: &DigestKey, subject: &Subject, data: View<'_>) {
        let said = said(data);
        let is_known = |(other, words): &(Subject, _)| other == subject && *words == said;
        if said.iter().all(String::is_empty) || self.seen.iter().any(is_known) {
            return;
        }
        let of = digests.subject(subject);
        let mut profile = Profile::default();
        let labels = ["name", "birth date", "sex"];
        for ((digest, label), words) in profile.0.iter_mut().zip(labels).zip(&said) {
            if !words.is_empty() {
                *digest = digests.described(&of, label, words);
            }
        }
        self.described.push(Described { subject: of, profile });
        self.seen.push((subject.clone(), said));
    }
}

/// Family and first given name, birth date and sex, in small letters and with single spaces; empty
/// where nothing is said.
fn said(data: View<'_>) -> [String; 3] {
    let text = |path: &str| {
        data.at(path).and_then(|found| found.as_text()).map(folded).unwrap_or_default()
    };
    let names = data.at("patient.names");
    let legal = names.and_then(|names| {
        let is_legal =
            |name: &View<'_>| name.get("use").and_then(|found| found.as_text()) == Some("legal");
        names.children().find(is_legal).or_else(|| names.children().next())
    });
    let part = |name: &View<'_>, path: &str| {
        name.at(path).and_then(|found| found.as_text()).map(folded).unwrap_or_default()
    };
    let name = legal.map(|name| (part(&name, "family"), part(&name, "given[0]")));
    let name = name.filter(|(family, _)| !family.is_empty());
    let sex = text("patient.sex.code");
    [
        name.map(|(family, given)| format!("{family}\n{given}")).unwrap_or_default(),
        text("patient.birthDate"),
        if sex.is_empty() { text("patient.sex.source") } else { sex },
    ]
}

fn folded(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Tree;
    use crate::phi::Phi;
    use crate::secret::Key;

    fn described(value: &str, patient: &[&str]) -> Vec<Described> {
        let digests = DigestKey::new(&Key::from_bytes(&[3; 32]).unwrap());
        let subject = Subject { authority: "A".to_owned(), value: Phi::new(value.to_owned()) };
        let mut all = Descriptions::default();
        for patient in patient {
            let tree: Tree =
                serde_json::from_str(&format!("{{\"patient\":{{{patient}}}}}")).unwrap();
            all.take(&digests, &subject, tree.root());
        }
        all.described
    }

    fn profile(patient: &str) -> Profile {
        described("1", &[patient]).first().map(|one| one.profile).unwrap_or_default()
    }

    const MARA: &str = r#""names":[{"family":"ZZQuillon","given":["ZZMara","ZZL"]}],
        "birthDate":"1980-01-02","sex":{"code":"female","source":"F"}"#;

    #[test]
    fn only_where_all_three_are_said_and_none_is_the_same_it_is_somebody_else() {
        let mara = profile(MARA);
        for (patient, is_other) in [
            (MARA, false),
            (
                r#""names":[{"family":"ZZB","given":["ZZT"]}],"birthDate":"1970-01-02","sex":{"code":"male"}"#,
                true,
            ),
            (
                r#""names":[{"family":"ZZB","given":["ZZT"]}],"birthDate":"1970-01-02","sex":{"code":"female"}"#,
                false,
            ),
            (
                r#""names":[{"family":"ZZB","given":["ZZT"]}],"birthDate":"1980-01-02","sex":{"code":"male"}"#,
                false,
            ),
            (
                r#""names":[{"family":" ZZQUILLON ","given":["zzmara"]}],"birthDate":"1970-01-02","sex":{"code":"male"}"#,
                false,
            ),
            (
                r#""names":[{"family":"ZZB"},{"family":"ZZQUILLON","given":["ZZMARA"],"use":"legal"}],"birthDate":"1970-01-02","sex":{"code":"male"}"#,
                false,
            ),
            (r#""names":[{"family":"ZZB","given":["ZZT"]}],"birthDate":"1970-01-02""#, false),
            (
                r#""names":[{"given":["ZZT"]}],"birthDate":"1970-01-02","sex":{"code":"male"}"#,
                false,
            ),
            (r#""names":[{"family":"ZZB"}],"birthDate":null,"sex":{"source":"M"}"#, false),
            (r#""names":[{"family":"ZZB"}],"birthDate":"1970","sex":{"source":"9"}"#, true),
            ("", false),
        ] {
            assert_eq!(profile(patient).clashes(&mara), is_other, "{patient}");
            assert_eq!(mara.clashes(&profile(patient)), is_other, "{patient}");
        }
        assert!(!mara.clashes(&Profile::default()));
    }

    #[test]
    fn what_is_said_later_counts_and_what_is_not_said_stays() {
        let mara = profile(MARA);
        let married = profile(r#""names":[{"family":"ZZBriar","given":["ZZMara"]}]"#);
        let after = mara.then(&married);
        assert_eq!((after.0[0], after.0[1..].to_vec()), (married.0[0], mara.0[1..].to_vec()));
        assert_eq!(mara.then(&Profile::default()), mara);
    }

    #[test]
    fn a_message_describes_each_once_and_no_digest_tells_who_is_called_the_same() {
        assert_eq!(described("1", &[MARA, MARA, MARA]).len(), 1);
        assert_eq!(described("1", &[MARA, r#""birthDate":"1970""#]).len(), 2);
        assert_eq!(described("1", &["", ""]).len(), 0);
        let (one, other) = (described("1", &[MARA])[0], described("2", &[MARA])[0]);
        assert!(one.profile.0.iter().zip(other.profile.0).all(|(one, other)| *one != other));
    }
}
