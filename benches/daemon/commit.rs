//! The limit of intake: what SQLite itself makes durable.
//!
//! One thread writes; whatever waits rides in its next transaction, with the journal's settings:
//! write-ahead log, a full fsync at each commit, its page size, as much log between two
//! checkpoints. The limit is of the same bytes: a row as long as what the journal keeps of a
//! message, and a digest to find it by; and behind the same connections: a frame comes, its row
//! is durable, an answer goes. It reads nothing of what is in a frame.
//!
//! For scale there are the two halves alone: the same rows without connections, and rows of a
//! message's bytes as they came, which is what a journal of raw bytes would be.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel, sync_channel};
use std::time::Duration;

use rusqlite::Connection;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::client::{Sample, Shared};

/// Most rows in one transaction, as in the journal.
const ROWS_MAX: usize = 512;
/// Bytes of log between two checkpoints, as in the journal.
const LOG_BYTES: i64 = 48 << 20;
const ACK: &[u8] = b"\x0bMSH|^~\\&|TIDEGATE|GATE|EHR|NORTH|20261122081500||ACK^A01^ACK|1|P|2.5.1\r\
    MSA|AA|ZZC00000001\r\x1c\r";

/// What is written of a message.
#[derive(Clone, Copy, Debug)]
pub enum Rows {
    /// Its bytes.
    Bare,
    /// As many bytes as the journal keeps of one, and a digest to find it by.
    Journal,
}

/// A row that waits, and who is told when it is durable.
type Waiting = (Vec<u8>, Box<dyn FnOnce() + Send>);

/// A store with its writer. It ends with this.
pub struct GroupCommit {
    queue: Sender<Waiting>,
    _dir: tempfile::TempDir,
}

impl GroupCommit {
    /// A new store, beside the others, with the page size of a journal.
    pub fn new(journal: &Path, rows: Rows) -> Self {
        let journal = Connection::open(journal).unwrap();
        let page: i64 = journal.pragma_query_value(None, "page_size", |row| row.get(0)).unwrap();
        let kept = "SELECT CAST(avg(length(content) + length(raw)) AS INTEGER) FROM messages";
        let kept: i64 = match rows {
            Rows::Bare => 0,
            Rows::Journal => journal.query_row(kept, [], |row| row.get(0)).unwrap(),
        };
        let kept = usize::try_from(kept).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let connection = Connection::open(dir.path().join("bare.db")).unwrap();
        connection.pragma_update(None, "page_size", page).unwrap();
        connection.pragma_update(None, "journal_mode", "wal").unwrap();
        connection.pragma_update(None, "synchronous", "full").unwrap();
        connection.pragma_update(None, "wal_autocheckpoint", LOG_BYTES / page).unwrap();
        connection
            .execute_batch(
                "CREATE TABLE messages (number INTEGER PRIMARY KEY, raw BLOB NOT NULL);
                 CREATE TABLE digests (key BLOB PRIMARY KEY, number INTEGER) WITHOUT ROWID;",
            )
            .unwrap();
        let (queue, waiting) = channel();
        std::thread::spawn(move || write(&connection, kept, &waiting));
        Self { queue, _dir: dir }
    }

    /// The rate with so many threads, each with one row outstanding.
    pub fn measure(&self, shared: &Arc<Shared>, threads: usize) -> Sample {
        shared.begin(u64::MAX);
        let threads: Vec<_> = (0..threads)
            .map(|_| {
                let (shared, queue) = (Arc::clone(shared), self.queue.clone());
                std::thread::spawn(move || {
                    let (sender, receiver) = sync_channel(1);
                    while let Some(message) = shared.next() {
                        let sender = sender.clone();
                        let durable = Box::new(move || sender.send(()).unwrap());
                        queue.send((message, durable)).unwrap();
                        receiver.recv().unwrap();
                        shared.count();
                    }
                })
            })
            .collect();
        let sample = shared.sample(|| Duration::ZERO);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        sample
    }

    /// Puts it behind MLLP that reads nothing of what is in a frame. It ends with the runtime.
    pub fn serve(&self, runtime: &tokio::runtime::Runtime) -> SocketAddr {
        let listener = runtime.block_on(TcpListener::bind(("127.0.0.1", 0))).unwrap();
        let address = listener.local_addr().unwrap();
        let queue = self.queue.clone();
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(stream, queue.clone()));
            }
        });
        address
    }
}

/// Writes until nobody can ask any more; at least `kept` bytes a row.
fn write(connection: &Connection, kept: usize, waiting: &Receiver<Waiting>) {
    let mut number = 0_i64;
    while let Ok(first) = waiting.recv() {
        connection.execute_batch("BEGIN IMMEDIATE").unwrap();
        let mut told = Vec::new();
        {
            let insert = "INSERT INTO messages (number, raw) VALUES (?, ?)";
            let mut insert = connection.prepare_cached(insert).unwrap();
            let digest = "INSERT INTO digests (key, number) VALUES (randomblob(16), ?)";
            let mut digest = connection.prepare_cached(digest).unwrap();
            let mut next = Some(first);
            while let Some((mut raw, tell)) = next {
                number += 1;
                if kept > 0 {
                    raw.resize(raw.len().max(kept), 0);
                    digest.execute([number]).unwrap();
                }
                insert.execute(rusqlite::params![number, raw]).unwrap();
                told.push(tell);
                next = if told.len() < ROWS_MAX { waiting.try_recv().ok() } else { None };
            }
        }
        connection.execute_batch("COMMIT").unwrap();
        told.into_iter().for_each(|tell| tell());
    }
}

/// One connection: a frame, a row, an answer that is always the same.
async fn answer(mut stream: TcpStream, queue: Sender<Waiting>) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut frame = Vec::with_capacity(4096);
    loop {
        frame.clear();
        while !frame.ends_with(b"\x1c\r") {
            if stream.read_buf(&mut frame).await? == 0 {
                return Ok(());
            }
        }
        let (told, durable) = tokio::sync::oneshot::channel();
        let raw = frame[1..frame.len() - 2].to_vec();
        let tell = Box::new(move || told.send(()).unwrap_or_default());
        if queue.send((raw, tell)).is_err() || durable.await.is_err() {
            return Ok(());
        }
        stream.write_all(ACK).await?;
    }
}
