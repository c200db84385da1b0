//! What a message does to subjects beside saying something of one.
//!
//! Promises: a word in the store stays what it was.
//! Knows nothing of: which subjects, and what follows for their consent.

/// What a message says of two subjects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Act {
    /// They are one person, and one of them is retired.
    Merge,
    /// Something that was filed under one belongs to the other.
    Move,
    /// One is the new identifier of the other.
    Rekey,
    /// They have to do with each other.
    Link,
    /// They have nothing to do with each other, nor are they one person.
    Unlink,
}

impl Act {
    /// Every act.
    pub const ALL: [Self; 5] = [Self::Merge, Self::Move, Self::Rekey, Self::Link, Self::Unlink];

    /// The word in mappings and in the store.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Merge => "merge",
            Self::Move => "move",
            Self::Rekey => "rekey",
            Self::Link => "link",
            Self::Unlink => "unlink",
        }
    }

    /// The act of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|act| act.name() == name)
    }

    /// Whether it may narrow what leaves of either.
    #[must_use]
    pub const fn narrows(self) -> bool {
        match self {
            Self::Merge | Self::Move | Self::Rekey | Self::Unlink => true,
            Self::Link => false,
        }
    }
}
