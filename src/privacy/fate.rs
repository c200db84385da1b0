//! What became of each field that a recipe names.
//!
//! Promises: of a field in a list, what is said holds for all of its elements.
//! Knows nothing of: the names of the fields; a fate stands at the place of its line.

use serde::{Deserialize, Serialize};

/// What became of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fate {
    /// It left as it was; of a code, its system and code.
    Kept,
    /// The subject's token left instead.
    Token,
    /// A keyed hash left instead.
    Hashed,
    /// It did not leave: the tier forbids what it held.
    Removed,
    /// Of some elements of the list it left, of others the tier forbids what it held.
    PartlyRemoved,
}

impl Fate {
    /// The word in records and sentences.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::Token => "token",
            Self::Hashed => "hashed",
            Self::Removed => "removed",
            Self::PartlyRemoved => "partly-removed",
        }
    }

    /// What holds of a field where this holds of one element and that of another.
    #[must_use]
    const fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Removed, Self::Removed) => Self::Removed,
            (Self::Removed | Self::PartlyRemoved, _) | (_, Self::Removed | Self::PartlyRemoved) => {
                Self::PartlyRemoved
            }
            (one, _) => one,
        }
    }
}

/// The fates of a recipe's lines; none for what the event does not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fates(Box<[Option<Fate>]>);

impl Fates {
    pub(super) fn of(lines: usize) -> Self {
        Self(vec![None; lines].into())
    }

    pub(super) fn add(&mut self, line: usize, fate: Fate) {
        if let Some(slot) = self.0.get_mut(line) {
            *slot = Some(slot.map_or(fate, |known| known.and(fate)));
        }
    }

    /// The fates with the places of their lines.
    pub fn iter(&self) -> impl Iterator<Item = (usize, Fate)> + '_ {
        self.0.iter().enumerate().filter_map(|(line, fate)| Some((line, (*fate)?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_of_a_list_holds_for_all_of_it() {
        let mut fates = Fates::of(4);
        for (line, fate) in
            [(0, Fate::Kept), (0, Fate::Kept), (1, Fate::Removed), (2, Fate::Removed)]
        {
            fates.add(line, fate);
        }
        fates.add(2, Fate::Kept);
        fates.add(2, Fate::Kept);
        let found: Vec<_> = fates.iter().collect();
        assert_eq!(found, [(0, Fate::Kept), (1, Fate::Removed), (2, Fate::PartlyRemoved)]);
    }
}
