//! Which segments have come in on each feed, ever.
//!
//! Promises: a segment is new on a feed once, also over a restart and a crash: it is noted in the
//! transaction of the message that held it, and counted when that is durable; names are bounded in form
//! and number, so that no sender fills the store or the log with them.
//! Knows nothing of: what is in a segment.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rusqlite::{Connection, params};

use super::StoreError;
use crate::admit::entry::SegmentName;
use crate::metrics::SegmentMetrics;

/// Most names that are remembered of a feed: more than all that the standard and a site together
/// have. What comes beyond is a sender that makes up names, and is neither kept nor counted.
const NAMES_MAX: usize = 500;

/// The segments of all feeds.
#[derive(Debug, Default)]
pub(super) struct Segments {
    feeds: BTreeMap<Arc<str>, OfFeed>,
    /// Noted in the open transaction, with the message.
    fresh: Vec<(Arc<str>, SegmentName, u64)>,
}

#[derive(Debug)]
struct OfFeed {
    known: BTreeSet<SegmentName>,
    metrics: SegmentMetrics,
}

impl Segments {
    /// Those that the store knows of the configured feeds.
    pub fn open(connection: &Connection, feeds: &[Arc<str>]) -> Result<Self, StoreError> {
        let mut found = BTreeMap::new();
        let mut statement = connection.prepare("SELECT name FROM segments WHERE feed = ?")?;
        for feed in feeds {
            let names = statement.query_map([feed.as_ref()], |row| row.get::<_, String>(0))?;
            let mut known = BTreeSet::new();
            for name in names {
                known.extend(SegmentName::read(&name?));
            }
            let metrics = SegmentMetrics::new(feed);
            metrics.known.set(count(&known));
            found.insert(Arc::clone(feed), OfFeed { known, metrics });
        }
        Ok(Self { feeds: found, fresh: Vec::new() })
    }

    /// Notes what a message holds into the open transaction.
    pub fn note(
        &mut self,
        connection: &Connection,
        feed: &Arc<str>,
        names: &[SegmentName],
        (number, at): (u64, i64),
    ) -> Result<(), StoreError> {
        let Some(of_feed) = self.feeds.get_mut(feed) else { return Ok(()) };
        for name in names {
            if of_feed.known.contains(name) || of_feed.known.len() >= NAMES_MAX {
                continue;
            }
            connection
                .prepare_cached(
                    "INSERT INTO segments (feed, name, number, at) VALUES (?, ?, ?, ?)",
                )?
                .execute(params![feed, name.as_str(), number.cast_signed(), at])?;
            of_feed.known.insert(*name);
            self.fresh.push((Arc::clone(feed), *name, number));
        }
        Ok(())
    }

    /// What was noted is durable: it is counted, and said.
    pub fn committed(&mut self) {
        for (feed, name, number) in self.fresh.drain(..) {
            let Some(of_feed) = self.feeds.get(&feed) else { continue };
            of_feed.metrics.new.increment(1);
            of_feed.metrics.known.set(count(&of_feed.known));
            tracing::info!(%feed, segment = name.as_str(), number,
                "a segment that never came in on this feed before");
            if of_feed.known.len() == NAMES_MAX {
                tracing::warn!(%feed, "so many different segments that further ones are not noted");
            }
        }
    }

    /// What was noted was taken back.
    pub fn forget(&mut self) {
        for (feed, name, _) in self.fresh.drain(..) {
            if let Some(of_feed) = self.feeds.get_mut(&feed) {
                of_feed.known.remove(&name);
            }
        }
    }
}

/// The segments that came in with a message for the first time on its feed, by name. A store of an
/// earlier version knows none.
pub(super) fn first_in(connection: &Connection, number: u64) -> Result<Vec<String>, StoreError> {
    let tables = "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'segments'";
    if connection.query_row(tables, [], |row| row.get::<_, i64>(0))? == 0 {
        return Ok(Vec::new());
    }
    let mut statement =
        connection.prepare_cached("SELECT name FROM segments WHERE number = ? ORDER BY name")?;
    let names = statement.query_map([number.cast_signed()], |row| row.get(0))?;
    Ok(names.collect::<Result<_, _>>()?)
}

#[expect(clippy::cast_precision_loss, reason = "at most NAMES_MAX")]
fn count(known: &BTreeSet<SegmentName>) -> f64 {
    known.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::connection::{Schema, open_for_writing};

    fn names(names: &[&str]) -> Vec<SegmentName> {
        names.iter().map(|name| SegmentName::read(name).unwrap()).collect()
    }

    #[test]
    fn a_segment_is_new_once_whatever_is_taken_back_or_begins_anew() {
        let dir = tempfile::tempdir().unwrap();
        let connection = open_for_writing(&dir.path().join("j.db"), Schema::Journal).unwrap();
        let feeds: Vec<Arc<str>> = vec!["adt".into(), "lab".into()];
        let mut segments = Segments::open(&connection, &feeds).unwrap();
        let take = |segments: &mut Segments, feed: usize, held: &[&str], number, durable| {
            connection.execute_batch("BEGIN").unwrap();
            segments.note(&connection, &feeds[feed], &names(held), (number, 1)).unwrap();
            let fresh = segments.fresh.len();
            connection.execute_batch(if durable { "COMMIT" } else { "ROLLBACK" }).unwrap();
            if durable {
                segments.committed()
            } else {
                segments.forget()
            }
            fresh
        };
        assert_eq!(take(&mut segments, 0, &["MSH", "PID", "MSH"], 1, true), 2);
        assert_eq!(take(&mut segments, 0, &["MSH", "ZPD"], 2, false), 1);
        assert_eq!(take(&mut segments, 0, &["MSH", "ZPD"], 3, true), 1, "it was taken back");
        assert_eq!(take(&mut segments, 1, &["ZPD"], 4, true), 1, "each feed for itself");
        assert_eq!(first_in(&connection, 3).unwrap(), ["ZPD"]);
        assert_eq!(first_in(&connection, 2).unwrap(), Vec::<String>::new());
        let mut segments = Segments::open(&connection, &feeds).unwrap();
        assert_eq!(take(&mut segments, 0, &["MSH", "ZPD", "PID"], 5, true), 0);
        let unknown: Arc<str> = "tidegate".into();
        segments.note(&connection, &unknown, &names(&["ZZZ"]), (6, 1)).unwrap();
        assert!(segments.fresh.is_empty());
    }

    #[test]
    fn a_sender_that_makes_up_names_fills_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let connection = open_for_writing(&dir.path().join("j.db"), Schema::Journal).unwrap();
        let feeds: Vec<Arc<str>> = vec!["adt".into()];
        let mut segments = Segments::open(&connection, &feeds).unwrap();
        let name = |at: usize| {
            format!("{}{:02}", ["A", "B", "C", "D", "E", "F", "G", "H", "I"][at / 100], at % 100)
        };
        let made_up: Vec<String> = (0..900).map(name).collect();
        let made_up: Vec<SegmentName> =
            made_up.iter().filter_map(|it| SegmentName::read(it)).collect();
        assert_eq!(made_up.len(), 900);
        segments.note(&connection, &feeds[0], &made_up, (1, 1)).unwrap();
        segments.committed();
        let kept: i64 =
            connection.query_row("SELECT count(*) FROM segments", [], |row| row.get(0)).unwrap();
        assert_eq!(usize::try_from(kept).unwrap(), NAMES_MAX);
    }
}
