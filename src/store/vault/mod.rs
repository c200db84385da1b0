//! The vault: vault.db, which tokens stand for whom in realms whose tokens are random.
//!
//! Promises: a token is durable before anyone hears of it, and stays the subject's over every
//! crash; two realms share nothing; without the vault's key the file says nothing; a vault.db that
//! is gone or another's is not begun anew; an error of an fsync ends the process.
//! Knows nothing of: contracts, routes, and why somebody wants to know.
//!
//! Reading order: this (the door), `open` (whose file it is), `rows` (what is kept), `seal` (how),
//! `remembered` (what need not be read again), `writer` (group commit).

mod open;
mod remembered;
mod rows;
mod seal;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot, watch};

pub use self::open::VaultReader;
use self::open::begin;
use self::remembered::Shared;
use self::seal::Seals;
use self::writer::{Act, Change, Command, Issue, QUEUE_COMMANDS_MAX, Writer};
use super::state::key_path;
use super::steady::Steady;
use super::{StateDir, StoreError};
use crate::clock;
use crate::event::Subject;
use crate::metrics::Pulse;
use crate::secret::Key;

/// The file's name within state_dir.
pub const FILE: &str = "vault.db";
/// The name of the key that is made for it.
pub const VAULT_KEY: &str = "vault";
/// Why no token was made or ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VaultBusy {
    /// The disk is full; that passes.
    #[error("the vault cannot be written: its disk is full")]
    Disk,
    /// The daemon is stopping, or the store has failed.
    #[error("the vault has stopped")]
    Stopped,
}

/// Which tokens of a realm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    /// This one.
    One(String),
    /// All that there are.
    All,
}

/// What became of a wish to end tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Changed {
    /// So many ended.
    Tokens(u64),
    /// There is no such token.
    Unknown,
    /// It has ended already.
    NotCurrent,
}

/// Whom a token stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolved {
    /// This subject; until then, where the token was rotated.
    Subject {
        /// The subject.
        subject: Subject,
        /// Until when it resolves.
        until: Option<Timestamp>,
    },
    /// It was rotated, and resolved until then.
    Expired(Timestamp),
    /// It was revoked.
    Revoked,
    /// It was never given in this realm, or is forgotten.
    Unknown,
}

/// The vault of one daemon.
pub struct Vault {
    commands: mpsc::Sender<Command>,
    shared: Arc<Shared>,
    seals: Arc<Seals>,
    reader: Mutex<VaultReader>,
    path: PathBuf,
}

impl std::fmt::Debug for Vault {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Vault(..)")
    }
}

/// Its thread.
#[derive(Debug)]
pub struct VaultThread {
    writer: JoinHandle<Result<(), StoreError>>,
    commands: mpsc::Sender<Command>,
    failed: watch::Receiver<bool>,
}

impl Vault {
    /// The key of a folder's vault, made with it. A vault whose key is gone keeps it from being
    /// made anew.
    ///
    /// # Errors
    /// It cannot be read or made, or is gone.
    pub fn key(state: &StateDir) -> Result<Key, StoreError> {
        let path = key_path(state.path(), VAULT_KEY);
        if state.file(FILE).exists() && !path.exists() {
            return Err(StoreError::MissingKey { path: path.display().to_string() });
        }
        state.key(VAULT_KEY)
    }

    /// Opens the vault of a folder, makes it where it was never made, and starts its thread.
    ///
    /// # Errors
    /// It cannot be opened, is gone or another's, or was made with another key.
    pub fn open(state: &StateDir, key: &Key) -> Result<(Self, VaultThread), StoreError> {
        let path = state.file(FILE);
        let seals = Arc::new(Seals::new(key)?);
        let connection = begin(state, &path, &seals)?;
        let shared = Arc::new(Shared::new());
        let entries = rows::count(&connection)?;
        shared.metrics.set_entries(entries);
        let reader = Mutex::new(VaultReader::of(&path, Arc::clone(&seals))?);
        let (commands, receiver) = mpsc::channel(QUEUE_COMMANDS_MAX);
        let (failed_sender, failed) = watch::channel(false);
        let writer = Writer {
            connection,
            seals: Arc::clone(&seals),
            shared: Arc::clone(&shared),
            entries,
            uncopied: 0,
            swept_at: Duration::ZERO,
            steady: Steady::default(),
        };
        let writer = std::thread::Builder::new()
            .name("vault".to_owned())
            .spawn(move || {
                let outcome = writer.run(receiver);
                failed_sender.send_replace(outcome.is_err());
                outcome
            })
            .map_err(|source| StoreError::Folder { path: "a thread".to_owned(), source })?;
        let thread = VaultThread { writer, commands: commands.clone(), failed };
        Ok((Self { commands, shared, seals, reader, path }, thread))
    }

    /// What is remembered of the subject's token, without looking at the disk.
    #[must_use]
    pub fn remembered(&self, realm: &str, subject: &Subject) -> Option<Option<Arc<str>>> {
        let digest = self.seals.subject(realm, subject);
        self.shared.get(&digest).ok()
    }

    /// The subject's token in a realm; none where it has none yet, or the last one was ended.
    ///
    /// # Errors
    /// The vault cannot be read.
    pub fn token(&self, realm: &str, subject: &Subject) -> Result<Option<Arc<str>>, StoreError> {
        let begun = clock::monotonic();
        let digest = self.seals.subject(realm, subject);
        let writes = match self.shared.get(&digest) {
            Ok(known) => return Ok(known),
            Err(writes) => writes,
        };
        let reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        let found = rows::current(&reader.connection, &self.seals, realm, &digest);
        drop(reader);
        self.shared.metrics.looked_up(clock::seconds_since(begun), &found);
        let found: Option<Arc<str>> = found?.map(Into::into);
        self.shared.put(&digest, found.clone(), writes);
        Ok(found)
    }

    /// Makes a token for each of these that has none; answers when all of them are durable. Several
    /// callers ride in one transaction.
    ///
    /// # Errors
    /// None was made.
    pub async fn issue(&self, realm: Arc<str>, subjects: Vec<Subject>) -> Result<(), VaultBusy> {
        let (answer, receiver) = oneshot::channel();
        let command = Command::Issue(Issue { realm, subjects, answer });
        self.commands.send(command).await.map_err(|_| VaultBusy::Stopped)?;
        receiver.await.map_err(|_| VaultBusy::Stopped)?
    }

    /// Ends tokens of a realm, which resolve until then. The next release of their subjects makes
    /// new ones.
    ///
    /// # Errors
    /// Nothing was ended.
    pub async fn rotate(
        &self,
        realm: &str,
        which: Which,
        until: Timestamp,
    ) -> Result<Changed, VaultBusy> {
        self.change(realm, Act::Rotate(which, until)).await
    }

    /// Ends a token at once, and forgets whom it stood for.
    ///
    /// # Errors
    /// Nothing was ended.
    pub async fn revoke(&self, realm: &str, token: &str) -> Result<Changed, VaultBusy> {
        self.change(realm, Act::Revoke(token.to_owned())).await
    }

    async fn change(&self, realm: &str, act: Act) -> Result<Changed, VaultBusy> {
        let (answer, receiver) = oneshot::channel();
        let command = Command::Change(Change { realm: realm.to_owned(), act, answer });
        self.commands.send(command).await.map_err(|_| VaultBusy::Stopped)?;
        receiver.await.map_err(|_| VaultBusy::Stopped)?
    }

    /// Whom a token stands for, by the wall clock.
    ///
    /// # Errors
    /// The vault cannot be read.
    pub fn resolve(
        &self,
        realm: &str,
        token: &str,
        now: Timestamp,
    ) -> Result<Resolved, StoreError> {
        let begun = clock::monotonic();
        let reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        let found = reader.resolve(realm, token, now);
        drop(reader);
        let is_known = |found: &Resolved| matches!(found, Resolved::Subject { .. });
        let known = found.as_ref().ok().map(is_known);
        self.shared.metrics.resolved(clock::seconds_since(begun), known);
        found
    }

    /// Whether a token was revoked, so that nothing may be linked with it.
    ///
    /// # Errors
    /// The vault cannot be read.
    pub fn is_revoked(&self, realm: &str, token: &str) -> Result<bool, StoreError> {
        let reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        rows::is_revoked(&reader.connection, &self.seals, realm, token)
    }

    /// Lets the writer look for what resolves no more, and counts the bytes of the store.
    pub fn tick(&self) {
        let size = |path: &Path| std::fs::metadata(path).map_or(0, |found| found.len());
        let log = self.path.with_extension("db-wal");
        self.shared.metrics.set_size(size(&self.path) + size(&log));
        // A full queue means that the writer goes round anyway.
        drop(self.commands.try_send(Command::Tick));
    }

    /// The writer's heartbeat.
    #[must_use]
    pub fn pulse(&self) -> Pulse {
        self.shared.pulse.clone()
    }
}

impl VaultThread {
    /// Becomes true when the thread has ended by an error. The process must end then.
    #[must_use]
    pub fn failed(&self) -> watch::Receiver<bool> {
        self.failed.clone()
    }

    /// Writes what waits, and ends the thread.
    ///
    /// # Errors
    /// The store failed, now or before.
    pub fn stop(self) -> Result<(), StoreError> {
        // The writer may have ended by itself, by the error that is returned then.
        drop(self.commands.blocking_send(Command::Stop));
        self.writer.join().unwrap_or(Err(StoreError::Stopped))
    }
}

#[cfg(test)]
mod tests {
    use super::super::connection::{self, Schema};
    use super::*;
    use crate::phi::Phi;

    fn key(byte: u8) -> Key {
        Key::from_bytes(&[byte; 32]).unwrap()
    }

    fn patient(value: &str) -> Subject {
        Subject { authority: "MRN".to_owned(), value: Phi::new(value.to_owned()) }
    }

    fn at(seconds_from_now: i64) -> Timestamp {
        clock::now() + jiff::SignedDuration::from_secs(seconds_from_now)
    }

    /// A vault that is open.
    struct Open {
        vault: Vault,
        thread: VaultThread,
        state: StateDir,
    }

    impl Open {
        fn at(dir: &Path) -> Self {
            let state = StateDir::take(dir).unwrap();
            let (vault, thread) = Vault::open(&state, &key(1)).unwrap();
            Self { vault, thread, state }
        }

        async fn token(&self, realm: &str, value: &str) -> String {
            self.vault.issue(realm.into(), vec![patient(value)]).await.unwrap();
            self.vault.token(realm, &patient(value)).unwrap().unwrap().to_string()
        }

        fn stop(self) {
            drop((self.vault, self.state));
            tokio::task::block_in_place(|| self.thread.stop()).unwrap();
        }

        fn resolved(&self, token: &str, at: Timestamp) -> Resolved {
            self.vault.resolve("care", token, at).unwrap()
        }
    }

    fn known(value: &str, until: Option<Timestamp>) -> Resolved {
        let until = until.map(|at| Timestamp::from_millisecond(at.as_millisecond()).unwrap());
        Resolved::Subject { subject: patient(value), until }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_token_is_random_and_stays_the_subjects_in_its_realm() {
        let dir = tempfile::tempdir().unwrap();
        let open = Open::at(dir.path());
        assert_eq!(open.vault.token("care", &patient("1")).unwrap(), None);
        let token = open.token("care", "1").await;
        assert!(token.len() == 32 && token.bytes().all(|byte| byte.is_ascii_hexdigit()));
        for (realm, value) in [("care", "2"), ("research", "1")] {
            assert_ne!(open.token(realm, value).await, token, "{realm} {value}");
        }
        open.stop();
        let open = Open::at(dir.path());
        assert_eq!(open.token("care", "1").await, token);
        assert_eq!(open.resolved(&token, at(0)), known("1", None));
        assert_eq!(open.vault.resolve("research", &token, at(0)).unwrap(), Resolved::Unknown);
        open.stop();
        let reader = VaultReader::open(dir.path(), &key(1)).unwrap().unwrap();
        assert_eq!(reader.token("care", &patient("1")).unwrap().as_deref(), Some(&*token));
        assert!(VaultReader::open(dir.path(), &key(2)).is_err());
        // The file alone says nothing, not even which tokens there are.
        let bytes = std::fs::read(dir.path().join(FILE)).unwrap();
        let raw = crate::secret::unhex(&token).unwrap();
        for word in [token.as_bytes(), &raw, b"MRN"] {
            assert!(!bytes.windows(word.len()).any(|found| found == word));
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_rotated_resolves_until_its_date_and_is_then_deleted() {
        let dir = tempfile::tempdir().unwrap();
        let open = Open::at(dir.path());
        let (first, other) = (open.token("care", "1").await, open.token("care", "2").await);
        let foreign = open.token("research", "1").await;
        let (soon, late) = (at(1), at(3600));
        let one = |token: &str| Which::One(token.to_owned());
        let vault = &open.vault;
        assert_eq!(vault.rotate("care", one(&first), soon).await, Ok(Changed::Tokens(1)));
        assert_eq!(vault.rotate("care", one(&first), late).await, Ok(Changed::NotCurrent));
        assert_eq!(vault.rotate("care", one(&foreign), late).await, Ok(Changed::Unknown));
        assert_eq!(vault.token("care", &patient("1")).unwrap(), None);
        let second = open.token("care", "1").await;
        assert_ne!(second, first);
        assert_eq!(vault.rotate("care", Which::All, late).await, Ok(Changed::Tokens(2)));
        let third = open.token("care", "1").await;
        assert!(third != second && third != first);
        // Each by the rotation that ended it.
        assert_eq!(open.resolved(&first, at(0)), known("1", Some(soon)));
        assert_eq!(open.resolved(&second, at(0)), known("1", Some(late)));
        assert_eq!(open.resolved(&other, at(0)), known("2", Some(late)));
        assert_eq!(open.resolved(&third, at(9999)), known("1", None));
        assert!(matches!(open.resolved(&first, soon), Resolved::Expired(_)));
        assert!(matches!(open.resolved(&other, at(3601)), Resolved::Expired(_)));
        let begun = clock::monotonic();
        while open.resolved(&first, at(0)) != Resolved::Unknown {
            assert!(clock::monotonic() < begun + Duration::from_secs(30), "it is never deleted");
            open.vault.tick();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(open.resolved(&second, at(0)), known("1", Some(late)));
        assert_eq!(open.vault.resolve("research", &foreign, at(0)).unwrap(), known("1", None));
        open.stop();
        let open = Open::at(dir.path());
        assert_eq!(open.token("care", "1").await, third);
        open.stop();
    }

    #[test]
    fn a_rotation_of_all_is_swept_in_steps_and_takes_its_own_realm_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        let connection = connection::open_for_writing(&path, Schema::Vault).unwrap();
        let seals = Seals::new(&key(1)).unwrap();
        let now = at(0);
        connection.execute_batch("BEGIN").unwrap();
        for nth in 0..1_500 {
            let realm = if nth % 2 == 0 { "care" } else { "research" };
            rows::issue(&connection, &seals, realm, &patient(&nth.to_string()), now).unwrap();
        }
        let rotation = (&Which::All, at(10));
        let ended = rows::rotate(&connection, &seals, "care", rotation, now).unwrap();
        assert_eq!(ended, Changed::Tokens(750));
        rows::issue(&connection, &seals, "care", &patient("0"), now).unwrap();
        // A second one does not take over what the first has ended, though it ends earlier.
        rows::rotate(&connection, &seals, "care", (&Which::All, at(5)), now).unwrap();
        connection.execute_batch("COMMIT").unwrap();
        assert!(!rows::is_due(&connection, now).unwrap());
        let mut steps = 0;
        while rows::is_due(&connection, at(6)).unwrap() {
            rows::sweep(&connection, at(6)).unwrap();
            steps += 1;
        }
        assert_eq!((steps, rows::count(&connection).unwrap()), (1, 1_500));
        while rows::is_due(&connection, at(11)).unwrap() {
            rows::sweep(&connection, at(11)).unwrap();
            steps += 1;
        }
        assert_eq!((steps, rows::count(&connection).unwrap()), (3, 750));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_revoked_resolves_no_more_and_leaves_nothing_to_link_it_by() {
        let dir = tempfile::tempdir().unwrap();
        let open = Open::at(dir.path());
        let token = open.token("care", "1").await;
        assert_eq!(open.vault.revoke("care", &token).await, Ok(Changed::Tokens(1)));
        assert_eq!(open.resolved(&token, at(0)), Resolved::Revoked);
        assert!(open.vault.is_revoked("care", &token).unwrap());
        assert_eq!(open.vault.revoke("care", &token).await, Ok(Changed::NotCurrent));
        let until = at(60);
        let rotated = open.vault.rotate("care", Which::One(token.clone()), until).await;
        assert_eq!(rotated, Ok(Changed::NotCurrent));
        let next = open.token("care", "1").await;
        assert_ne!(next, token);
        assert!(!open.vault.is_revoked("care", &next).unwrap());
        let reader = open.vault.reader.lock().unwrap();
        let left: i64 = reader
            .connection
            .query_row(
                "SELECT count(*) FROM tokens WHERE subject IS NULL AND sealed IS NULL",
                [],
                |row| row.get(0),
            )
            .unwrap();
        assert_eq!(left, 1);
        drop(reader);
        open.stop();
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn whoever_asks_at_once_for_one_subject_gets_one_token() {
        let dir = tempfile::tempdir().unwrap();
        let open = Open::at(dir.path());
        let asking = (0..40).map(|_| open.token("care", "1"));
        let tokens = futures_util::future::join_all(asking).await;
        assert!(tokens.iter().all(|token| *token == tokens[0]));
        open.stop();
    }

    /// Fault 22
    #[tokio::test(flavor = "multi_thread")]
    async fn fault_22_a_vault_that_is_gone_another_s_or_of_another_key_is_not_begun_anew() {
        let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for dir in [&dir, &other] {
            Open::at(dir.path()).stop();
        }
        let path = dir.path().join(FILE);
        let state = StateDir::take(dir.path()).unwrap();
        let refused = |byte, words: &str| {
            let error = Vault::open(&state, &key(byte)).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        };
        refused(2, "was made with another key");
        std::fs::rename(&path, dir.path().join("away")).unwrap();
        refused(1, "is not the store that the keys");
        assert!(!path.exists(), "none was made");
        std::fs::copy(other.path().join(FILE), &path).unwrap();
        refused(1, "is not the store that the keys");
        std::fs::write(&path, "").unwrap();
        refused(1, "is not the store that the keys");
        std::fs::rename(dir.path().join("away"), &path).unwrap();
        let (_, thread) = Vault::open(&state, &key(1)).unwrap();
        tokio::task::block_in_place(|| thread.stop()).unwrap();
        // Its key is not made anew where the file is there.
        let gone = Vault::key(&state).unwrap_err().to_string();
        assert!(gone.ends_with("keys/vault.key is gone; put it back"), "{gone}");
    }
}
