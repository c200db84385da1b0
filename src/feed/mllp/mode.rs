//! Which acknowledgements a message gets, and where they go (chapter 2.9.2 and 2.9.3).
//!
//! Promises: one table, [`TABLE`], decides, and docs/feeds.md prints it; every message that does
//! not say otherwise itself is answered; a refusal is told once, by the first acknowledgement that
//! is asked for.
//! Knows nothing of: what was wrong, how an acknowledgement is written.

use crate::parse::hl7::Head;
use crate::verdict::{Code, Level};

/// What a feed's `ack_mode` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AckMode {
    /// As MSH-15 and MSH-16 of each message ask.
    ByMessage,
    /// One of AA, AE, AR, whatever they ask.
    Original,
    /// CA, CE or CR also where they ask nothing.
    Enhanced,
}

/// When an acknowledgement is asked for (table 0155).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// The field is empty.
    Unsaid,
    /// AL.
    Always,
    /// NE.
    Never,
    /// ER: where it is refused.
    OnError,
    /// SU: where it is taken.
    OnSuccess,
}

impl When {
    /// Every one.
    pub const ALL: [Self; 5] =
        [Self::Unsaid, Self::Always, Self::Never, Self::OnError, Self::OnSuccess];

    /// The word of table 0155; empty where nothing is said.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unsaid => "",
            Self::Always => "AL",
            Self::Never => "NE",
            Self::OnError => "ER",
            Self::OnSuccess => "SU",
        }
    }

    /// A word that table 0155 does not have counts as none: chapter 2.8 wants what a receiver does
    /// not expect to be as if it were not there. Read as AL, a sender of original mode that has
    /// something of its own in MSH-15 would hear CA, which it does not know.
    fn read(word: &[u8]) -> Self {
        let known =
            Self::ALL.into_iter().find(|when| word.eq_ignore_ascii_case(when.name().as_bytes()));
        known.unwrap_or(Self::Unsaid)
    }
}

/// What is said of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// Nothing.
    Nothing,
    /// AA, AE or AR, on the connection: original mode.
    Answer,
    /// CA, CE or CR, on the connection.
    Accept,
    /// The same, then AA, AE or AR where `application_ack` says.
    Both,
    /// AA, AE or AR, without an accept acknowledgement before it: to the other address, where
    /// `application_ack` names one, else on the connection, where it is the only answer.
    Alone,
}

use self::Said::{Accept, Alone, Answer, Both, Nothing};
use self::When::{Always, Never, OnError, OnSuccess, Unsaid};

/// MSH-15, MSH-16, what is said of a message that is taken, of one that is not.
///
/// NE and AL is what original mode is in other words (the note of chapter 2.9.2). Empty beside a
/// word counts as NE. After CE or CR there is no application acknowledgement, since no application
/// gets the message.
pub const TABLE: [(When, When, Said, Said); 25] = [
    (Unsaid, Unsaid, Answer, Answer),
    (Unsaid, Always, Answer, Answer),
    (Unsaid, Never, Nothing, Nothing),
    (Unsaid, OnError, Nothing, Answer),
    (Unsaid, OnSuccess, Answer, Nothing),
    (Always, Unsaid, Accept, Accept),
    (Always, Always, Both, Accept),
    (Always, Never, Accept, Accept),
    (Always, OnError, Accept, Accept),
    (Always, OnSuccess, Both, Accept),
    (Never, Unsaid, Nothing, Nothing),
    (Never, Always, Answer, Answer),
    (Never, Never, Nothing, Nothing),
    (Never, OnError, Nothing, Answer),
    (Never, OnSuccess, Answer, Nothing),
    (OnError, Unsaid, Nothing, Accept),
    (OnError, Always, Alone, Accept),
    (OnError, Never, Nothing, Accept),
    (OnError, OnError, Nothing, Accept),
    (OnError, OnSuccess, Alone, Accept),
    (OnSuccess, Unsaid, Accept, Nothing),
    (OnSuccess, Always, Both, Alone),
    (OnSuccess, Never, Accept, Nothing),
    (OnSuccess, OnError, Accept, Alone),
    (OnSuccess, OnSuccess, Both, Nothing),
];

/// What a message asks for, as its feed reads it. Of a message without a header nothing is known.
#[must_use]
pub fn asked(mode: AckMode, head: Option<&Head<'_>>) -> (When, When) {
    let word = |field| head.map_or(Unsaid, |head| When::read(head.field(field).trim_ascii()));
    match (mode, word(15), word(16)) {
        (AckMode::Original, _, _) => (Unsaid, Unsaid),
        (AckMode::Enhanced, Unsaid, application) => (Always, application),
        (AckMode::ByMessage | AckMode::Enhanced, accept, application) => (accept, application),
    }
}

/// Whether a message that asked so hears anything, whatever it comes to.
#[must_use]
pub fn may_hear(asked: (When, When)) -> bool {
    Code::ALL.into_iter().any(|code| said(asked, code) != Said::Nothing)
}

/// What is said of a message that asked so, and came to this.
#[must_use]
pub fn said((accept, application): (When, When), code: Code) -> Said {
    let row = TABLE.iter().find(|row| (row.0, row.1) == (accept, application));
    match (row, code) {
        (Some((_, _, taken, _)), Code::AA) => *taken,
        (Some((_, _, _, refused)), Code::AE | Code::AR) => *refused,
        // Every pair has a row, by a test; a pair without one is answered as of old.
        (None, _) => Answer,
    }
}

/// Where an acknowledgement goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// The connection that the message came by.
    Here,
    /// Where the feed's `application_ack` says.
    ByFeed,
    /// To the other address where `application_ack` names one, else as [`Way::Here`]. Its sender would
    /// hear nothing otherwise, and can take it for no other answer.
    HereUnlessElsewhere,
}

impl Said {
    /// The acknowledgements, in their order.
    #[must_use]
    pub const fn acknowledgements(self) -> &'static [(Level, Way)] {
        match self {
            Nothing => &[],
            Answer => &[(Level::Application, Way::Here)],
            Accept => &[(Level::Accept, Way::Here)],
            Both => &[(Level::Accept, Way::Here), (Level::Application, Way::ByFeed)],
            Alone => &[(Level::Application, Way::HereUnlessElsewhere)],
        }
    }
}

/// [`TABLE`] in Markdown, as docs/feeds.md has it.
#[must_use]
pub fn markdown() -> String {
    let word = |when: When| if when == Unsaid { "empty" } else { when.name() };
    let cell = |said: Said, accept: &str, application: &str| match said {
        Nothing => "–".to_owned(),
        Answer => application.to_owned(),
        Accept => accept.to_owned(),
        Both => format!("{accept}, then ({application})"),
        Alone => format!("{application}\\*"),
    };
    let mut out =
        "| MSH-15 | MSH-16 | taken | wrong | not here |\n|---|---|---|---|---|\n".to_owned();
    for (accept, application, taken, refused) in TABLE {
        let cells = [
            word(accept).to_owned(),
            word(application).to_owned(),
            cell(taken, "CA", "AA"),
            cell(refused, "CE", "AE"),
            cell(refused, "CR", "AR"),
        ];
        out.push_str(&format!("| {} |\n", cells.join(" | ")));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether the condition asks for an acknowledgement of this.
    fn wants(when: When, code: Code) -> bool {
        match when {
            Always => true,
            Never | Unsaid => false,
            OnError => code != Code::AA,
            OnSuccess => code == Code::AA,
        }
    }

    #[test]
    fn every_mode_pair_of_words_and_outcome_gets_what_the_standard_says() {
        for (mode, accept, application, code) in
            [AckMode::ByMessage, AckMode::Original, AckMode::Enhanced]
                .into_iter()
                .flat_map(|mode| When::ALL.map(|accept| (mode, accept)))
                .flat_map(|(mode, accept)| When::ALL.map(|application| (mode, accept, application)))
                .flat_map(|(mode, one, two)| Code::ALL.map(|code| (mode, one, two, code)))
        {
            let text = format!(
                "MSH|^~\\&|A|B|||2026||ADT^A01|1|P|2.5|||{}|{}",
                accept.name(),
                application.name().to_lowercase()
            );
            let head = Head::read(text.as_bytes()).unwrap();
            let found = said(asked(mode, Some(&head)), code);
            let levels: Vec<Level> =
                found.acknowledgements().iter().map(|(level, _)| *level).collect();
            let mut wanted = Vec::new();
            let original = mode == AckMode::Original
                || mode == AckMode::ByMessage && (accept, application) == (Unsaid, Unsaid);
            let accept =
                if mode == AckMode::Enhanced && accept == Unsaid { Always } else { accept };
            if original {
                wanted.push(Level::Application);
            } else {
                if wants(accept, code) {
                    wanted.push(Level::Accept);
                }
                // No application gets what was refused, and its sender has heard it.
                let told = code != Code::AA && wants(accept, code);
                if wants(application, code) && !told {
                    wanted.push(Level::Application);
                }
            }
            assert_eq!(levels, wanted, "{mode:?} {text} {code:?}");
            // Where no accept acknowledgement is wanted, the other can be taken for no answer to
            // another message.
            let alone = original || matches!(accept, Never | Unsaid);
            for (level, way) in found.acknowledgements() {
                let wanted = match level {
                    Level::Accept => Way::Here,
                    Level::Application if alone => Way::Here,
                    Level::Application if levels.len() == 1 => Way::HereUnlessElsewhere,
                    Level::Application => Way::ByFeed,
                };
                assert_eq!(*way, wanted, "{mode:?} {text}");
            }
        }
    }

    #[test]
    fn every_pair_of_words_has_one_row() {
        for accept in When::ALL {
            for application in When::ALL {
                let rows = TABLE.iter().filter(|row| (row.0, row.1) == (accept, application));
                assert_eq!(rows.count(), 1, "{accept:?} {application:?}");
            }
        }
    }

    #[test]
    fn a_word_of_another_table_counts_as_none_and_so_does_a_message_without_header() {
        for (word, wanted) in [("Y", Unsaid), ("ALWAYS", Unsaid), (" al ", Always), ("", Unsaid)] {
            let text = format!("MSH|^~\\&|A|B|||2026||ADT^A01|1|P|2.5|||{word}");
            let head = Head::read(text.as_bytes()).unwrap();
            assert_eq!(asked(AckMode::ByMessage, Some(&head)), (wanted, Unsaid), "{word}");
        }
        assert_eq!(asked(AckMode::ByMessage, None), (Unsaid, Unsaid));
        assert_eq!(asked(AckMode::Enhanced, None), (Always, Unsaid));
    }
}
