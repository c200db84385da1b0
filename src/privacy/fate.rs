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
    /// Less of it left: what its transform made of it.
    Generalized,
    /// It did not leave: the tier forbids what it held.
    Removed,
    /// It did not leave: its transform could make nothing of it for certain.
    Undone,
    /// Of some elements of the list it left, of others it did not.
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
            Self::Generalized => "generalized",
            Self::Removed => "removed",
            Self::Undone => "undone",
            Self::PartlyRemoved => "partly-removed",
        }
    }

    /// What holds of a field where this holds of one element and that of another.
    #[must_use]
    const fn and(self, other: Self) -> Self {
        if matches!(other, Self::PartlyRemoved) || self.is_gone() != other.is_gone() {
            return Self::PartlyRemoved;
        }
        self
    }

    /// Whether nothing of it left.
    const fn is_gone(self) -> bool {
        matches!(self, Self::Removed | Self::Undone)
    }
}

/// The fates of a recipe's lines; none for what the event does not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fates(Box<[Option<Fate>]>);

impl Fates {
    pub(crate) fn of(lines: usize) -> Self {
        Self(vec![None; lines].into())
    }

    pub(crate) fn add(&mut self, line: usize, fate: Fate) {
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
        let mut fates = Fates::of(6);
        for (line, fate) in
            [(0, Fate::Kept), (0, Fate::Kept), (1, Fate::Removed), (2, Fate::Removed)]
        {
            fates.add(line, fate);
        }
        fates.add(2, Fate::Kept);
        fates.add(2, Fate::Kept);
        for fate in [Fate::Generalized, Fate::Generalized, Fate::Undone] {
            fates.add(3, fate);
        }
        for (line, fate) in [(4, Fate::Undone), (4, Fate::Removed), (5, Fate::PartlyRemoved)] {
            fates.add(line, fate);
        }
        fates.add(5, Fate::Undone);
        let found: Vec<_> = fates.iter().collect();
        let wanted = [
            (0, Fate::Kept),
            (1, Fate::Removed),
            (2, Fate::PartlyRemoved),
            (3, Fate::PartlyRemoved),
            (4, Fate::Undone),
            (5, Fate::PartlyRemoved),
        ];
        assert_eq!(found, wanted);
    }
}
