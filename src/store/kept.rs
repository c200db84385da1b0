//! What feeds remember over a restart: how far they have come, whom they know, what they saw last.
//!
//! Promises: what is kept with a message is durable with it or not at all; of each kind a feed keeps a
//! bounded number, and what was written longest ago goes first; nobody reads from the store whose it is.
//! Knows nothing of: what is remembered.

use std::collections::HashMap;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, params};

use super::StoreError;
use super::reader::Reader;
use super::seal::{Clear, Part, Sealer};
use crate::admit::entry::Kept;
use crate::admit::{Digest, DigestKey};
use crate::phi::Phi;

/// What is kept, by feed and kind: how many there are.
#[derive(Debug, Default)]
pub(super) struct Shelves {
    counts: HashMap<(Arc<str>, &'static str), u32>,
    /// The highest mark that was given; none before the first is.
    mark: Option<i64>,
}

impl Shelves {
    /// Writes into the open transaction.
    pub fn write(
        &mut self,
        (connection, sealer, digests): (&Connection, &mut Sealer, &DigestKey),
        (feed, at): (&Arc<str>, i64),
        kept: &[Kept],
    ) -> Result<(), StoreError> {
        for Kept { kind, key, value, most } in kept {
            let key = digests.kept(kind, key);
            let count = self.count(connection, feed, kind)?;
            let removed = connection
                .prepare_cached("DELETE FROM kept WHERE feed = ? AND kind = ? AND key = ?")?
                .execute(params![feed, kind, key.0])?;
            let mut left = count.saturating_sub(u32::try_from(removed).unwrap_or(0));
            if let Some(value) = value {
                let mark = self.next_mark(connection)?;
                let shown = key.to_string();
                let clear = clear((mark, at), feed, kind, &shown);
                let sealed = sealer.seal(&clear, Part::Kept, value.expose())?;
                connection
                    .prepare_cached(
                        "INSERT INTO kept (feed, kind, key, mark, at, value) VALUES (?, ?, ?, ?, ?, ?)",
                    )?
                    .execute(params![feed, kind, key.0, mark, at, sealed])?;
                left += 1;
            }
            left -= trim(connection, feed, kind, left.saturating_sub((*most).max(1)))?;
            self.counts.insert((Arc::clone(feed), kind), left);
        }
        Ok(())
    }

    /// Forgets what was counted: it was taken back.
    pub fn forget(&mut self) {
        *self = Self::default();
    }

    fn count(
        &self,
        connection: &Connection,
        feed: &Arc<str>,
        kind: &'static str,
    ) -> Result<u32, StoreError> {
        if let Some(count) = self.counts.get(&(Arc::clone(feed), kind)) {
            return Ok(*count);
        }
        let mut statement =
            connection.prepare_cached("SELECT count(*) FROM kept WHERE feed = ? AND kind = ?")?;
        Ok(statement.query_row(params![feed, kind], |row| row.get(0))?)
    }

    fn next_mark(&mut self, connection: &Connection) -> Result<i64, StoreError> {
        let highest = match self.mark {
            Some(mark) => mark,
            None => connection
                .query_row("SELECT coalesce(max(mark), 0) FROM kept", [], |row| row.get(0))?,
        };
        self.mark = Some(highest + 1);
        Ok(highest + 1)
    }
}

/// Removes as many as are too many, those first that were written longest ago.
fn trim(connection: &Connection, feed: &str, kind: &str, many: u32) -> Result<u32, StoreError> {
    if many == 0 {
        return Ok(0);
    }
    let removed = connection
        .prepare_cached(
            "DELETE FROM kept WHERE feed = ?1 AND kind = ?2 AND key IN
             (SELECT key FROM kept WHERE feed = ?1 AND kind = ?2 ORDER BY mark LIMIT ?3)",
        )?
        .execute(params![feed, kind, many])?;
    Ok(u32::try_from(removed).unwrap_or(many))
}

/// What is kept under a key, if anything is.
pub(super) fn read(
    reader: &mut Reader,
    digests: &DigestKey,
    feed: &str,
    kind: &str,
    key: &str,
) -> Result<Option<Phi<Vec<u8>>>, StoreError> {
    let key = digests.kept(kind, key);
    let found: Option<(i64, i64, Vec<u8>)> = reader
        .connection
        .prepare_cached("SELECT mark, at, value FROM kept WHERE feed = ? AND kind = ? AND key = ?")?
        .query_row(params![feed, kind, key.0], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .optional()?;
    let Some((mark, at, sealed)) = found else { return Ok(None) };
    let shown = key.to_string();
    let value = reader.open_sealed(&clear((mark, at), feed, kind, &shown), Part::Kept, &sealed)?;
    Ok(Some(Phi::new(value)))
}

/// What is kept, as its place in time has it.
#[derive(Debug)]
pub struct Oldest {
    /// Its place among all that is kept: what is kept later has a higher one.
    pub mark: i64,
    /// When it was kept, in milliseconds since 1970.
    pub at: i64,
    /// What is kept.
    pub value: Phi<Vec<u8>>,
}

/// What was kept longest ago of a kind, of what stands behind a mark.
pub(super) fn oldest(
    reader: &mut Reader,
    feed: &str,
    kind: &str,
    behind: i64,
) -> Result<Option<Oldest>, StoreError> {
    let found: Option<(i64, i64, [u8; 16], Vec<u8>)> = reader
        .connection
        .prepare_cached(
            "SELECT mark, at, key, value FROM kept WHERE feed = ? AND kind = ? AND mark > ?
             ORDER BY mark LIMIT 1",
        )?
        .query_row(params![feed, kind, behind], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
        })
        .optional()?;
    let Some((mark, at, key, sealed)) = found else { return Ok(None) };
    let shown = Digest(key).to_string();
    let value = reader.open_sealed(&clear((mark, at), feed, kind, &shown), Part::Kept, &sealed)?;
    Ok(Some(Oldest { mark, at, value: Phi::new(value) }))
}

/// How much a feed keeps of a kind.
pub(super) fn count(reader: &Reader, feed: &str, kind: &str) -> Result<u32, StoreError> {
    let mut statement = reader
        .connection
        .prepare_cached("SELECT count(*) FROM kept WHERE feed = ? AND kind = ?")?;
    Ok(statement.query_row(params![feed, kind], |row| row.get(0))?)
}

/// What a row says in clear: with the digest of its key, so that it opens in its own row alone.
fn clear<'c>((mark, at): (i64, i64), feed: &'c str, kind: &'c str, key: &'c str) -> Clear<'c> {
    Clear { number: mark.cast_unsigned(), at, feed, kind, status: key, epoch: 0 }
}

#[cfg(test)]
mod tests {
    use super::super::harness::Harness;
    use super::*;

    struct Shelf {
        harness: Harness,
        shelves: Shelves,
    }

    impl Shelf {
        fn new() -> Self {
            Self { harness: Harness::default(), shelves: Shelves::default() }
        }

        fn keep(&mut self, feed: &str, key: &str, value: Option<&str>, most: u32) {
            let value = value.map(|value| Phi::new(value.as_bytes().to_vec()));
            let kept = [Kept { kind: "patient", key: key.to_owned(), value, most }];
            let Harness { connection, sealer, digests, .. } = &mut self.harness;
            let by = (&*connection, sealer, &*digests);
            self.shelves.write(by, (&feed.into(), 5), &kept).unwrap();
        }

        fn read(&self, feed: &str, kind: &str, key: &str) -> Option<String> {
            let mut reader = self.harness.reader.lock().unwrap();
            let found = read(&mut reader, &self.harness.digests, feed, kind, key).unwrap();
            found.map(|found| String::from_utf8(found.into_exposed()).unwrap())
        }
    }

    #[test]
    fn what_is_kept_is_read_back_by_its_feed_its_kind_and_its_key() {
        let mut shelf = Shelf::new();
        shelf.keep("ehr", "Patient/1", Some("ZZA"), 10);
        shelf.keep("ehr", "Patient/2", Some("ZZB"), 10);
        shelf.keep("ehr", "Patient/1", Some("ZZC"), 10);
        assert_eq!(shelf.read("ehr", "patient", "Patient/1").as_deref(), Some("ZZC"));
        assert_eq!(shelf.read("ehr", "patient", "Patient/2").as_deref(), Some("ZZB"));
        assert_eq!(shelf.read("lab", "patient", "Patient/1"), None);
        assert_eq!(shelf.read("ehr", "cursor", "Patient/1"), None);
        shelf.keep("ehr", "Patient/1", None, 10);
        assert_eq!(shelf.read("ehr", "patient", "Patient/1"), None);
    }

    #[test]
    fn what_was_written_longest_ago_goes_first_also_after_a_restart() {
        let mut shelf = Shelf::new();
        for key in ["1", "2", "3", "1", "4"] {
            shelf.keep("ehr", key, Some(key), 3);
            shelf.keep("lab", key, Some(key), 9);
        }
        shelf.shelves.forget();
        shelf.keep("ehr", "5", Some("5"), 3);
        let left =
            |feed| ["1", "2", "3", "4", "5"].map(|key| shelf.read(feed, "patient", key).is_some());
        assert_eq!(left("ehr"), [true, false, false, true, true]);
        assert_eq!(left("lab"), [true, true, true, true, false]);
    }

    #[test]
    fn what_was_kept_longest_ago_is_found_first_and_goes_behind_when_it_is_kept_again() {
        let mut shelf = Shelf::new();
        for key in ["1", "2", "3"] {
            shelf.keep("ehr", key, Some(key), 9);
            shelf.keep("lab", key, Some("ZZ"), 9);
        }
        let oldest = |shelf: &Shelf, behind| {
            let mut reader = shelf.harness.reader.lock().unwrap();
            let found = oldest(&mut reader, "ehr", "patient", behind).unwrap();
            found.map(|it| (it.mark, String::from_utf8(it.value.into_exposed()).unwrap()))
        };
        let (mark, first) = oldest(&shelf, 0).unwrap();
        assert_eq!(first, "1");
        assert_eq!(oldest(&shelf, mark).unwrap().1, "2");
        shelf.keep("ehr", "1", Some("1"), 9);
        // Also after a restart.
        shelf.shelves.forget();
        shelf.keep("ehr", "2", Some("2"), 9);
        assert_eq!(oldest(&shelf, 0).unwrap().1, "3");
        shelf.keep("ehr", "3", None, 9);
        let (mark, first) = oldest(&shelf, 0).unwrap();
        assert_eq!((first.as_str(), oldest(&shelf, mark + 3)), ("1", None));
        let reader = shelf.harness.reader.lock().unwrap();
        assert_eq!(count(&reader, "ehr", "patient").unwrap(), 2);
    }

    #[test]
    fn fewer_may_be_kept_from_one_day_to_the_next() {
        let mut shelf = Shelf::new();
        for key in 0..50 {
            shelf.keep("ehr", &key.to_string(), Some("ZZ"), 100);
        }
        shelf.keep("ehr", "last", Some("ZZ"), 2);
        let left: u32 = (0..50)
            .map(|key: u32| u32::from(shelf.read("ehr", "patient", &key.to_string()).is_some()))
            .sum();
        assert_eq!((left, shelf.read("ehr", "patient", "last").is_some()), (1, true));
    }

    /// PROMISE-10
    #[test]
    fn what_is_kept_names_nobody_and_opens_in_no_other_row() {
        let mut shelf = Shelf::new();
        shelf.keep("ehr", "Patient/ZZCANARY", Some("ZZSECRET"), 10);
        shelf.keep("ehr", "Patient/2", Some("ZZOTHER"), 10);
        let Harness { connection, .. } = &shelf.harness;
        let rows: Vec<(Vec<u8>, Vec<u8>)> = connection
            .prepare("SELECT key, value FROM kept ORDER BY mark")
            .unwrap()
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap();
        for (key, value) in &rows {
            let text = String::from_utf8_lossy(&[&key[..], value].concat()).into_owned();
            assert!(!text.contains("ZZ"), "{text:?}");
        }
        let swap = "UPDATE kept SET value = ? WHERE key = ?";
        connection.execute(swap, params![rows[1].1, rows[0].0]).unwrap();
        let mut reader = shelf.harness.reader.lock().unwrap();
        let found = read(&mut reader, &shelf.harness.digests, "ehr", "patient", "Patient/ZZCANARY");
        assert!(matches!(found, Err(StoreError::Sealed { .. })));
    }
}
