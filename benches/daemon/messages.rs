//! One ADT of 1 KB, as often as it is wanted, each with a control ID of its own.

use std::ops::Range;

/// How many patients there are: enough that those of a window differ, as in a hospital's feed.
const PATIENTS: u64 = 10_000;
/// The number of the first of them, as it stands behind `ZZ`; there is room for 900 000.
pub const FIRST_PATIENT: u64 = 100_000;

/// Makes messages.
#[derive(Clone, Debug)]
pub struct Messages {
    template: Vec<u8>,
    control_id: Range<usize>,
    patients: Vec<Range<usize>>,
    /// Which patient a message is about, by its number.
    about: fn(u64) -> u64,
}

impl Messages {
    /// Of one patient after the other, in turns.
    pub fn new() -> Self {
        Self::about(|number| number % PATIENTS)
    }

    /// Of the patients that are said.
    pub fn about(about: fn(u64) -> u64) -> Self {
        let template = std::fs::read("fixtures/bench/adt-1k.hl7").unwrap();
        let digits = |word: &[u8], skip: usize| -> Vec<Range<usize>> {
            let at = template.windows(word.len()).enumerate().filter(|(_, found)| *found == word);
            at.map(|(at, _)| at + skip..at + word.len()).collect()
        };
        let control_id = digits(b"ZZC00000001", 3).remove(0);
        let patients = digits(b"ZZ100001", 2);
        assert!(!patients.is_empty());
        Self { control_id, patients, template, about }
    }

    /// The message of a number.
    pub fn message(&self, number: u64) -> Vec<u8> {
        let mut message = self.template.clone();
        message[self.control_id.clone()].copy_from_slice(format!("{number:08}").as_bytes());
        let patient = format!("{:06}", FIRST_PATIENT + (self.about)(number));
        for place in &self.patients {
            message[place.clone()].copy_from_slice(patient.as_bytes());
        }
        message
    }
}
