//! What must hold of every record with exceptions, and that they are weighed as a second reading of
//! their meaning says.

use std::fmt::Write as _;

use proptest::prelude::*;
use tidegate::consent::{Consent, Criteria, Decision, Exception, Listed, Purposes, Record};

use crate::consent::{answer, record_of};

/// What a criterion may name. `~` is a value that nobody knows.
fn criteria() -> impl Strategy<Value = String> {
    let maybe = |words: &'static [&'static str]| prop_oneof![3 => Just(""), 2 => proptest::sample::select(words)];
    (
        maybe(&["for=CLINTRCH", "for=HRESCH", "for=HMARKT", "for=CLINTRCH,~", "for=~"]),
        maybe(&["to=crm", "to=lab", "to=crm,~", "to=lab,~"]),
        maybe(&["labels=HIV", "labels=HIV,PSY", "labels=~", "up-to=normal", "up-to=restricted"]),
        maybe(&["classes=clinical", "classes=direct", "classes=clinical,~"]),
        maybe(&["from=2026-06-01", "from=2026-12", "until=2026-06-30", "until=2026-11-22"]),
        maybe(&["beyond"]),
    )
        .prop_map(|(purpose, to, labels, classes, time, beyond)| {
            [purpose, to, labels, classes, time, beyond].join(" ")
        })
}

fn decision() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(&["permit", "deny"][..])
}

/// A tree of exceptions, in the words of the cases.
fn exceptions() -> impl Strategy<Value = String> {
    let leaf =
        (decision(), criteria()).prop_map(|(decision, about)| format!("[{decision} {about}]"));
    let tree = leaf.prop_recursive(3, 8, 3, |inner| {
        (decision(), criteria(), proptest::collection::vec(inner, 1..3)).prop_map(
            |(decision, about, nested)| format!("[{decision} {about} {}]", nested.join(" ")),
        )
    });
    proptest::collection::vec(tree, 0..3).prop_map(|trees| trees.join(" "))
}

/// One record with exceptions, and what it is limited to.
fn record() -> impl Strategy<Value = String> {
    let limits = prop_oneof![
        4 => Just(""),
        1 => proptest::sample::select(
            &["only-to=crm", "only-to=lab", "only-beyond", "only-labels=HIV", "only-until=2026-06"][..]
        )
    ];
    let about = proptest::sample::select(&["", "for=every", "for=HRESCH", "for=none"][..]);
    (decision(), about, limits, exceptions()).prop_map(|(decision, about, limits, exceptions)| {
        format!("{decision} 2026-01-05 {about} {limits} {exceptions}")
    })
}

fn question() -> impl Strategy<Value = String> {
    (
        proptest::sample::select(&["", "opt-out", "named"][..]),
        proptest::sample::select(&["", "for=HMARKT", "for=HRESCH"][..]),
        proptest::sample::select(
            &[
                "",
                "labels=HIV contract=HIV",
                "labels=HIV,PSY contract=HIV,PSY",
                "labels=R contract=R",
            ][..],
        ),
        proptest::sample::select(&["", "classes=clinical", "classes=clinical,direct"][..]),
    )
        .prop_map(|(require, purpose, labels, classes)| {
            [require, purpose, labels, classes].join(" ")
        })
}

/// A second reading of what exceptions mean, for the questions above about unlabelled events with
/// no classes: for each criterion that nobody knows, both that it is met and that it is not, and
/// the worst of all that.
mod reference {
    use super::*;

    #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
    pub enum Says {
        Deny,
        Nothing,
        Permit,
    }

    pub struct Asked<'a> {
        pub purpose: &'a str,
        pub grantee: &'a str,
        pub now: jiff::Timestamp,
    }

    /// Whether it is met: nothing where nobody knows.
    fn met(listed: Option<&Listed>, value: &str, under: Option<&str>) -> Option<bool> {
        let Some(Listed { these, others }) = listed else { return Some(true) };
        if these.iter().any(|it| it == value) {
            Some(true)
        } else if *others || these.iter().any(|it| Some(it.as_str()) == under) {
            None
        } else {
            Some(false)
        }
    }

    impl Asked<'_> {
        /// A no covers what is below the purpose that it names; a yes may, by what its sender
        /// meant, and does not by what it names.
        fn spoken(&self, listed: Option<&Listed>, decision: Decision) -> Option<bool> {
            let above = (self.purpose == "CLINTRCH").then_some("HRESCH");
            match (met(listed, self.purpose, None), decision) {
                (Some(false), Decision::Deny) if met(listed, self.purpose, above).is_none() => {
                    Some(true)
                }
                (Some(false), Decision::Permit) => met(listed, self.purpose, above),
                (known, _) => known,
            }
        }

        /// `carried` are the purposes of what the exception is to.
        fn about(&self, exception: &Exception, carried: Option<&Listed>) -> Option<bool> {
            let Exception { decision, about, .. } = exception;
            let purposes = self.spoken(about.purposes.as_ref().or(carried), *decision);
            self.criteria(about, purposes)
        }

        fn criteria(&self, about: &Criteria, purposes: Option<bool>) -> Option<bool> {
            let in_time = about.from.is_none_or(|from| from.span().earliest <= self.now)
                && about.to.is_none_or(|to| to.span().latest >= self.now);
            let labels = match &about.labels {
                None => Some(true),
                Some(Listed { others: true, .. }) => None,
                Some(_) => Some(false),
            };
            // Which classes leave, the question does not say.
            let classes = about.classes.is_none().then_some(true);
            let grantees = met(about.grantees.as_ref(), self.grantee, None);
            let beyond = (!about.beyond).then_some(true);
            let all = [purposes, grantees, labels, classes, Some(in_time), beyond];
            if all.contains(&Some(false)) {
                Some(false)
            } else if all.contains(&None) {
                None
            } else {
                Some(true)
            }
        }

        pub fn record(&self, consent: &Consent) -> Says {
            let Consent { purposes, within, exceptions, decision, .. } = consent;
            let listed = match purposes {
                Purposes::Every => None,
                Purposes::These(these) => Some(Listed { these: these.clone(), others: false }),
            };
            let spoken = self.spoken(listed.as_ref(), *decision);
            let applies = within.as_ref().map_or(Some(true), |it| self.criteria(it, Some(true)));
            let exceptions: Vec<&Exception> = exceptions.iter().collect();
            let mut worst = Says::Permit;
            for applies in both(applies) {
                for spoken in both(spoken) {
                    let own = match decision {
                        _ if !spoken => Says::Nothing,
                        Decision::Permit => Says::Permit,
                        Decision::Deny => Says::Deny,
                    };
                    let says = || self.tree(&exceptions, own, listed.as_ref());
                    worst = worst.min(if applies { says() } else { Says::Nothing });
                }
            }
            worst
        }

        /// The worst of all worlds: of each exception that nobody knows of whether it is met, one
        /// in which it is and one in which it is not.
        fn tree(&self, exceptions: &[&Exception], own: Says, carried: Option<&Listed>) -> Says {
            let is_met: Vec<Option<bool>> =
                exceptions.iter().map(|it| self.about(it, carried)).collect();
            let unknown = is_met.iter().filter(|it| it.is_none()).count();
            let worlds = 0..1_u32 << unknown;
            let says = worlds.map(|world| {
                let mut bits = (0..unknown).map(|bit| world & (1 << bit) != 0);
                let mut says = Vec::new();
                for (exception, is_met) in exceptions.iter().zip(&is_met) {
                    if !is_met.unwrap_or_else(|| bits.next().unwrap()) {
                        continue;
                    }
                    let own = match exception.decision {
                        Decision::Permit => Says::Permit,
                        Decision::Deny => Says::Deny,
                    };
                    let nested: Vec<&Exception> = exception.exceptions.iter().collect();
                    let inner = self.tree(&nested, own, None);
                    // What an exception to a refusal gives back is what was there without it.
                    if own == Says::Permit || inner == Says::Deny {
                        says.push(inner);
                    }
                }
                says.into_iter().min().unwrap_or(own)
            });
            says.min().unwrap_or(own)
        }
    }

    fn both(known: Option<bool>) -> Vec<bool> {
        known.map_or(vec![false, true], |known| vec![known])
    }
}

fn consent(record: &Record) -> &Consent {
    record.consent().unwrap()
}

/// The text with one more word in one of its exceptions, counted from the first.
fn with_word(record: &str, word: &str, at: usize) -> Option<String> {
    let starts: Vec<usize> = ["[permit ", "[deny "]
        .iter()
        .flat_map(|mark| record.match_indices(mark))
        .map(|(at, mark)| at + mark.len())
        .collect();
    let at = *starts.get(at.checked_rem(starts.len())?)?;
    let (before, after) = record.split_at(at);
    Some(format!("{before}{word} {after}"))
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 3_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// PROMISE-5
    #[test]
    fn what_cannot_be_told_never_opens(record in record(), question in question(), at in 0..20_usize) {
        let Some(more) = with_word(&record, "beyond", at) else { return Ok(()) };
        let limited = record.replacen("2026-01-05", "2026-01-05 only-beyond", 1);
        let before = answer(&record, &question);
        for narrower in [more, limited] {
            let after = answer(&narrower, &question);
            prop_assert!(
                before.starts_with("permit") || !after.starts_with("permit"),
                "{before}, then {after}: {narrower}"
            );
        }
    }

    /// PROMISE-5. With whatever nested in it.
    #[test]
    fn an_exception_that_denies_never_opens(
        record in record(), about in criteria(), nested in exceptions(), question in question(), inside in any::<bool>()
    ) {
        let exception = format!("[deny {about} {nested}]");
        let more = match record.find(']').filter(|_| inside) {
            Some(at) => {
                let (before, after) = record.split_at(at);
                format!("{before} {exception}{after}")
            }
            None => format!("{record} {exception}"),
        };
        let before = answer(&record, &question);
        let after = answer(&more, &question);
        prop_assert!(
            before.starts_with("permit") || !after.starts_with("permit"),
            "{before}, then {after}: {more}"
        );
    }

    /// The answers are those of a second reading of what exceptions mean.
    #[test]
    fn exceptions_are_weighed_as_the_reference_weighs_them(
        text in record(), purpose in proptest::sample::select(&["CLINTRCH", "HRESCH", "HMARKT"][..])
    ) {
        let text = text.replace("up-to=normal", "").replace("up-to=restricted", "");
        let record = record_of(&text, "r1");
        let now = "2026-11-22T12:00:00Z".parse().unwrap();
        let asked = reference::Asked { purpose, grantee: "crm", now };
        let wanted = match asked.record(consent(&record)) {
            reference::Says::Permit => "permit: r1",
            reference::Says::Nothing => "missing",
            reference::Says::Deny => "refused: r1",
        };
        let found = answer(&text, &format!("for={purpose} in="));
        prop_assert_eq!(found, wanted, "{}", text);
    }

    /// A record that is written and read says the same, and one without exceptions holds no trace
    /// of them.
    #[test]
    fn exceptions_are_kept_as_they_were(text in record(), plain in decision()) {
        let record = record_of(&text, "r1");
        let json = serde_json::to_string(&record).unwrap();
        prop_assert!(serde_json::from_str::<Record>(&json).unwrap() == record);
        let plain = serde_json::to_string(&record_of(&format!("{plain} 2026-01-05"), "r1")).unwrap();
        prop_assert!(!plain.contains("within") && !plain.contains("xception"), "{plain}");
    }
}

#[test]
fn a_sentence_names_the_exception_that_decided() {
    let mut text = String::from("permit key=C-1 v=4 2026-03-01 [deny for=HMARKT]");
    write!(text, " [deny for=HRESCH [permit to=lab] [deny to=crm]]").unwrap();
    let found = crate::consent::sentence(&text, "");
    assert_eq!(
        found,
        "The patient refused CLINTRCH. Record adt/C-1 version 4, decided 2026-03-01, by its \
         exception 2.2."
    );
}
