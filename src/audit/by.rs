//! What a record is found by.
//!
//! Promises: the same record has the same keys for good; a key says nothing to who does not know
//! what it was made of.
//! Knows nothing of: where keys are kept.

use aws_lc_rs::digest::{Context, SHA256};

use super::record::{Decision, Says};

/// One thing that a record is found by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By<'b> {
    /// The message's correlation ID, which is what an event ID begins with.
    Correlation(&'b str),
    /// Whom it is about, as the keyed digest of the record.
    Subject(&'b str),
    /// The subject's token, the one that is no more included.
    Token(&'b str),
    /// A consent record, as the keyed digest of the record.
    Consent(&'b str),
    /// The name of an act.
    Act(&'b str),
}

impl By<'_> {
    /// The key: 64 bits, so that two things may share one and who looks compares.
    #[must_use]
    pub fn key(self) -> i64 {
        let (label, text) = match self {
            Self::Correlation(text) => ("tidegate audit key 1\ncorrelation\n", text),
            Self::Subject(text) => ("tidegate audit key 1\nsubject\n", text),
            Self::Token(text) => ("tidegate audit key 1\ntoken\n", text),
            Self::Consent(text) => ("tidegate audit key 1\nconsent\n", text),
            Self::Act(text) => ("tidegate audit key 1\nact\n", text),
        };
        let mut context = Context::new(&SHA256);
        for part in [label, text, "\n"] {
            context.update(part.as_bytes());
        }
        let digest = context.finish();
        digest.as_ref().first_chunk::<8>().map_or(0, |first| i64::from_be_bytes(*first))
    }
}

/// The correlation ID that an event ID begins with.
#[must_use]
pub fn correlation_of(event: &str) -> &str {
    event.split_once('.').map_or(event, |(correlation, _)| correlation)
}

/// Everything that a record is found by, each once.
#[must_use]
pub fn keys(says: &Says) -> Vec<i64> {
    match says {
        Says::Act(act) => vec![By::Act(&act.act).key()],
        Says::Decision(decision) => {
            keys_of(decision, keys_of_event(&decision.event, &decision.subject))
        }
    }
}

/// What all decisions about an event are found by, whatever else they say.
#[must_use]
pub fn keys_of_event(event: &str, subject: &str) -> [i64; 2] {
    [By::Correlation(correlation_of(event)).key(), By::Subject(subject).key()]
}

/// The same, of a decision about an event that is found by these keys.
#[must_use]
pub fn keys_of(decision: &Decision, of_event: [i64; 2]) -> Vec<i64> {
    let mut keys = Vec::with_capacity(5);
    keys.extend(of_event);
    keys.extend(decision.told_by.iter().map(|by| By::Correlation(correlation_of(by)).key()));
    let tokens = [&decision.token, &decision.retired].into_iter().flatten();
    keys.extend(tokens.map(|token| By::Token(token).key()));
    keys.extend(decision.consents.iter().map(|one| By::Consent(&one.record).key()));
    keys.sort_unstable();
    keys.dedup();
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_stay_as_they_are_and_tell_kinds_apart() {
        // A changed derivation would leave everything that is kept not to be found.
        assert_eq!(By::Correlation("ab-1").key(), -6_678_648_557_327_920_735);
        assert_ne!(By::Subject("ab-1").key(), By::Token("ab-1").key());
        assert_eq!(correlation_of("ab-1.patient.admitted.pid1"), "ab-1");
    }

    #[test]
    fn what_another_source_told_is_found_by_either_message() {
        let text = r#"{"decision":{"outcome":"told","reason":"told-by-another-source","route":"r","contract":"1.0.0","configuration":"sha256:00","purpose":"CLINTRCH","consumer":"crm","destination":"rabbitmq:x","recipe":"sha256:01","message":9,"event":"cd-1.patient.admitted.pid1","type":"patient.admitted","subject":"0a","epoch":4,"toldBy":"ab-1.patient.admitted.pid1"}}"#;
        let found = keys(&serde_json::from_str(text).unwrap());
        for message in ["ab-1", "cd-1"] {
            assert!(found.contains(&By::Correlation(message).key()), "{message}");
        }
    }
}
