//! What the newest records are found by, before it is in the index.
//!
//! Promises: what a record is found by is durable with it; what is moved into the index is at no
//! moment in neither; what is not moved yet is bounded.
//! Knows nothing of: what a key is made of.
//!
//! Things lie anywhere in a part of the index, so that each record would write a page of it for each of
//! its three or four; of some thousand records at once many share one. Until then each transaction has
//! what it is found by in one row.

use std::sync::{Arc, PoisonError, RwLock};

use rusqlite::{Connection, params, params_from_iter};

use super::super::StoreError;

/// Most of what waits to be moved, in things and records: those of some four thousand records, which
/// is moved in a hundredth of a second, while whoever records waits.
const KEYS_MAX: usize = 12_288;
/// Most transactions of which it waits; who looks something up looks at each of them.
const RUNS_MAX: usize = 256;
/// Bytes of a key and of a number.
const HALF: usize = 8;

/// Rows that one statement adds to the index: a third of what as many statements take.
const ROWS_AT_ONCE: usize = 64;

/// A key, and the number of a record that is found by it.
pub(super) type Pair = (i64, i64);

/// What the records of one transaction are found by, in order.
#[derive(Clone, Debug)]
pub(super) struct Run {
    /// The first of the records.
    first: i64,
    pairs: Vec<Pair>,
}

/// What is not in the index yet, as the writer shares it with who reads in its process.
#[derive(Debug, Default)]
pub(super) struct Lately(RwLock<Arc<Vec<Arc<Run>>>>);

impl Lately {
    /// The runs, the oldest first.
    pub fn runs(&self) -> Arc<Vec<Arc<Run>>> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Adds what has become durable.
    pub fn push(&self, run: Run) {
        let mut runs = self.0.write().unwrap_or_else(PoisonError::into_inner);
        Arc::make_mut(&mut runs).push(Arc::new(run));
    }

    /// Whether it is time to move it.
    pub fn is_full(&self) -> bool {
        let runs = self.runs();
        runs.len() >= RUNS_MAX || pairs(&runs) >= KEYS_MAX
    }

    /// Moves all of it into the index, in one transaction; how many things and records that were.
    pub fn move_all(&self, connection: &Connection) -> Result<usize, StoreError> {
        let runs = self.runs();
        if runs.is_empty() {
            return Ok(0);
        }
        connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        move_runs(connection, &runs)?;
        connection.prepare_cached("COMMIT")?.execute([])?;
        // Not before: who looks in between finds it here, and in the index once more.
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::default();
        Ok(pairs(&runs))
    }
}

impl Run {
    /// Of records from a number on.
    pub fn new(first: u64, mut pairs: Vec<Pair>) -> Self {
        pairs.sort_unstable();
        Self { first: first.cast_signed(), pairs }
    }

    /// Writes it, in the transaction that is open.
    pub fn write(&self, connection: &Connection) -> Result<(), StoreError> {
        let Some((key, last)) = self.pairs.iter().max_by_key(|(_, number)| *number) else {
            return Ok(());
        };
        let mut bytes = Vec::with_capacity(self.pairs.len() * 2 * HALF);
        for (key, number) in &self.pairs {
            bytes.extend_from_slice(&key.to_be_bytes());
            bytes.extend_from_slice(&number.to_be_bytes());
        }
        connection
            .prepare_cached("INSERT INTO lately (first, last, key, keys) VALUES (?, ?, ?, ?)")?
            .execute(params![self.first, last, key, bytes])?;
        Ok(())
    }

    /// What it is made of.
    pub fn pairs(&self) -> &[Pair] {
        &self.pairs
    }

    /// The numbers above one that are found by a key, the newest first.
    fn numbers(&self, key: i64, above: i64) -> impl Iterator<Item = i64> + '_ {
        let from = self.pairs.partition_point(|pair| *pair <= (key, above));
        let behind = self.pairs.get(from..).unwrap_or_default();
        let length = behind.partition_point(|(other, _)| *other == key);
        behind.get(..length).unwrap_or_default().iter().rev().map(|(_, number)| *number)
    }
}

/// The numbers above one that some runs find by a key, the newest first.
pub(super) fn numbers(runs: &[Arc<Run>], key: i64, above: i64) -> impl Iterator<Item = i64> + '_ {
    runs.iter().rev().flat_map(move |run| run.numbers(key, above))
}

/// Below which number the index has everything.
pub(super) fn below(runs: &[Arc<Run>]) -> i64 {
    runs.first().map_or(i64::MAX, |run| run.first)
}

/// What is not in the index yet, the oldest first.
///
/// # Errors
/// It cannot be read, or is not as it is written.
pub(super) fn read(connection: &Connection) -> Result<Vec<Arc<Run>>, StoreError> {
    let mut statement =
        connection.prepare_cached("SELECT first, keys FROM lately ORDER BY first")?;
    let mut rows = statement.query([])?;
    let mut runs = Vec::new();
    while let Some(row) = rows.next()? {
        let first: i64 = row.get(0)?;
        let corrupt = || StoreError::Corrupt {
            what: format!("what the audit records from {first} on are found by"),
        };
        let bytes = row.get_ref(1)?.as_blob().map_err(|_| corrupt())?;
        let number = |half: &[u8]| half.try_into().map(i64::from_be_bytes).ok();
        let pair = |pair: &[u8]| {
            let (key, of) = pair.split_at_checked(HALF)?;
            Some((number(key)?, number(of)?))
        };
        let pairs: Option<Vec<Pair>> = bytes.chunks(2 * HALF).map(pair).collect();
        let pairs = pairs.filter(|pairs| pairs.is_sorted()).ok_or_else(corrupt)?;
        runs.push(Arc::new(Run { first, pairs }));
    }
    Ok(runs)
}

/// Moves what an earlier run of the daemon left, in one transaction.
pub(super) fn move_what_is_left(connection: &Connection) -> Result<(), StoreError> {
    let runs = read(connection)?;
    if runs.is_empty() {
        return Ok(());
    }
    let transaction = connection.unchecked_transaction()?;
    move_runs(&transaction, &runs)?;
    Ok(transaction.commit()?)
}

/// Moves runs into the index, in the transaction that is open.
// PROMISE-9: in the transaction in which it leaves, it is there.
fn move_runs(connection: &Connection, runs: &[Arc<Run>]) -> Result<(), StoreError> {
    let mut all: Vec<Pair> = Vec::with_capacity(pairs(runs));
    all.extend(runs.iter().flat_map(|run| run.pairs()));
    // In the order of the index, so that each page of it is looked for once.
    all.sort_unstable_by_key(|(key, number)| (part_of(*number), *key, *number));
    let (whole, rest) = all.split_at(all.len() - all.len() % ROWS_AT_ONCE);
    insert_rows::<ROWS_AT_ONCE>(connection, whole)?;
    insert_rows::<1>(connection, rest)?;
    connection.prepare_cached("DELETE FROM lately")?.execute([])?;
    Ok(())
}

/// Adds rows to the index, as many at a time as one statement has. One that fails ends the transaction,
/// so that SQLite need not remember how each page was before it.
fn insert_rows<const ROWS: usize>(
    connection: &Connection,
    rows: &[Pair],
) -> Result<(), StoreError> {
    let places = vec!["(?, ?, ?)"; ROWS].join(", ");
    let sql = format!("INSERT OR ROLLBACK INTO found (part, key, number) VALUES {places}");
    let mut insert = connection.prepare_cached(&sql)?;
    for rows in rows.chunks(ROWS) {
        let values = rows.iter().flat_map(|(key, number)| [part_of(*number), *key, *number]);
        insert.execute(params_from_iter(values))?;
    }
    Ok(())
}

/// The part of the index that a record is found in: 131 072 records, some 10 MB. Of a move each page of
/// that is written once for a dozen things; ninety days of a million records each are 700 parts to look
/// in, a millisecond or two.
pub(super) const fn part_of(number: i64) -> i64 {
    number >> 17
}

fn pairs(runs: &[Arc<Run>]) -> usize {
    runs.iter().map(|run| run.pairs.len()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// PROMISE-9
    #[test]
    fn what_is_not_in_the_index_yet_is_found_the_newest_first() {
        let runs = [
            Run::new(1, vec![(7, 1), (-3, 1), (7, 2)]),
            Run::new(3, vec![(7, 3), (8, 3), (6, 4), (7, 5)]),
        ]
        .map(Arc::new);
        let found = |key, above| numbers(&runs, key, above).collect::<Vec<_>>();
        assert_eq!(found(7, 0), [5, 3, 2, 1]);
        assert_eq!(found(7, 2), [5, 3]);
        assert_eq!((found(-3, 0), found(6, 0), found(9, 0)), (vec![1], vec![4], vec![]));
        assert_eq!((below(&runs), below(&[])), (1, i64::MAX));
    }
}
