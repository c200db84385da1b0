//! How each subject was last described.
//!
//! Promises: a message that describes somebody else under a subject's identifier is noticed, also
//! after a restart; what such a message says is not kept.
//! Knows nothing of: what was described.

use rusqlite::{Connection, OptionalExtension, params};

use super::StoreError;
use super::recent::{Limit, Recent};
use crate::admit::Digest;
use crate::admit::profile::{Described, Profile};

/// Most subjects whose profile is remembered: what a large hospital's feeds speak about in a day or
/// two, and some 6 MiB.
const SUBJECTS_MAX: usize = 1 << 16;

/// The profiles of the subjects that messages lately were about.
#[derive(Debug)]
pub(super) struct Profiles(Recent<Profile>);

/// What a message changes, to be kept if it is taken.
pub(super) type Changes = Vec<(Digest, Profile)>;

impl Default for Profiles {
    fn default() -> Self {
        Self(Recent::new(Limit { subjects: SUBJECTS_MAX, bytes: usize::MAX }))
    }
}

impl Profiles {
    /// Holds what a message says against what is known; nothing where it describes somebody else.
    pub fn weigh(
        &mut self,
        connection: &Connection,
        described: &[Described],
    ) -> Result<Option<Changes>, StoreError> {
        let mut changes = Changes::new();
        for Described { subject, profile } in described {
            let in_message = changes.iter().rev().find(|(of, _)| of == subject);
            let known = match in_message {
                Some((_, profile)) => *profile,
                None => self.known(connection, subject)?,
            };
            if profile.clashes(&known) {
                return Ok(None);
            }
            let after = known.then(profile);
            if after != known {
                changes.push((*subject, after));
            }
        }
        Ok(Some(changes))
    }

    /// Writes what changed into the open transaction.
    pub fn write(
        &mut self,
        connection: &Connection,
        changes: &[(Digest, Profile)],
    ) -> Result<(), StoreError> {
        for (subject, profile) in changes {
            connection
                .prepare_cached(
                    "INSERT INTO profiles (subject, profile) VALUES (?1, ?2)
                     ON CONFLICT (subject) DO UPDATE SET profile = ?2",
                )?
                .execute(params![subject.0, profile.0.as_flattened()])?;
            self.remember(subject, *profile);
        }
        Ok(())
    }

    /// Forgets everything: what was written was taken back.
    pub fn forget(&mut self) {
        *self = Self::default();
    }

    fn known(&mut self, connection: &Connection, subject: &Digest) -> Result<Profile, StoreError> {
        if let Some(profile) = self.0.get(subject) {
            return Ok(profile);
        }
        let profile = read(connection, subject)?;
        self.remember(subject, profile);
        Ok(profile)
    }

    fn remember(&mut self, subject: &Digest, profile: Profile) {
        self.0.put(subject, profile, size_of::<Profile>());
    }
}

fn read(connection: &Connection, subject: &Digest) -> Result<Profile, StoreError> {
    let mut statement =
        connection.prepare_cached("SELECT profile FROM profiles WHERE subject = ?")?;
    let found: Option<[u8; 24]> = statement.query_row([&subject.0], |row| row.get(0)).optional()?;
    let mut profile = Profile::default();
    if let Some(bytes) = found {
        profile.0.as_flattened_mut().copy_from_slice(&bytes);
    }
    Ok(profile)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::connection;

    fn described(subject: usize, name: u8, birth: u8, sex: u8) -> Described {
        let mut digest = [0; 16];
        digest[..8].copy_from_slice(&subject.to_be_bytes());
        Described {
            subject: Digest(digest),
            profile: Profile([name, birth, sex].map(|one| [one; 8])),
        }
    }

    /// Whether a message is taken.
    fn take(profiles: &mut Profiles, connection: &Connection, described: &[Described]) -> bool {
        let changes = profiles.weigh(connection, described).unwrap();
        changes.is_some_and(|changes| {
            profiles.write(connection, &changes).unwrap();
            true
        })
    }

    #[test]
    fn somebody_else_is_noticed_also_after_a_restart_and_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let connection = connection::open_for_writing(
            &dir.path().join("journal.db"),
            connection::Schema::Journal,
        )
        .unwrap();
        let mut profiles = Profiles::default();
        assert!(take(&mut profiles, &connection, &[described(1, 1, 1, 0)]));
        assert!(take(&mut profiles, &connection, &[described(1, 2, 2, 2)]), "the sex was not said");
        for _ in 0..2 {
            assert!(!take(&mut profiles, &connection, &[described(1, 3, 3, 3)]));
            assert!(!take(
                &mut profiles,
                &connection,
                &[described(2, 9, 9, 9), described(1, 3, 3, 3)]
            ));
            profiles.forget();
        }
        assert!(take(&mut profiles, &connection, &[described(2, 8, 8, 8)]), "9 was not kept");
        // One after the other each may change.
        for step in [(3, 2, 2), (3, 3, 2), (3, 3, 3), (4, 0, 4), (4, 4, 4)] {
            assert!(take(&mut profiles, &connection, &[described(1, step.0, step.1, step.2)]));
        }
        assert!(!take(&mut profiles, &connection, &[described(1, 3, 3, 3)]));
        assert!(!take(&mut profiles, &connection, &[described(5, 1, 1, 1), described(5, 2, 2, 2)]));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut profiles = Profiles::default();
        for subject in 0..2 * SUBJECTS_MAX {
            profiles.remember(&described(subject, 1, 1, 1).subject, Profile::default());
            assert!(profiles.0.held().0 <= SUBJECTS_MAX + 1);
        }
    }
}
