//! Senders that each have one message outstanding, and the rate at which they are answered.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::messages::Messages;
use super::support::sender::frame;

/// Left out before a sample: connections open, caches fill.
const WARM_UP: Duration = Duration::from_millis(250);
/// Long enough for hundreds of transactions at the slowest.
const SAMPLE: Duration = Duration::from_millis(1_000);

/// What senders share: the number of the next message, the last that they may send, and how
/// many were answered.
#[derive(Debug)]
pub struct Shared {
    pub messages: Messages,
    next: AtomicU64,
    answered: AtomicU64,
    last: AtomicU64,
}

/// A rate, and the processor time of the other side.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// Answers in a second.
    pub rate: f64,
    /// Microseconds of processor time an answer.
    pub cpu: f64,
}

impl Shared {
    pub fn new() -> Arc<Self> {
        Self::of(Messages::new(), 1)
    }

    /// Of messages from a number on.
    pub fn of(messages: Messages, first: u64) -> Arc<Self> {
        Arc::new(Self {
            messages,
            next: AtomicU64::new(first),
            answered: AtomicU64::new(0),
            last: AtomicU64::new(0),
        })
    }

    /// Begins anew, for so many messages at most; the numbers go on.
    pub fn begin(&self, count: u64) {
        let next = self.next.load(Ordering::Relaxed);
        self.last.store(next.saturating_add(count).saturating_sub(1), Ordering::Relaxed);
    }

    /// The next message; none when it is over.
    pub fn next(&self) -> Option<Vec<u8>> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let is_over = number > self.last.load(Ordering::Relaxed);
        (!is_over).then(|| self.messages.message(number))
    }

    /// Counts an answer.
    pub fn count(&self) {
        self.answered.fetch_add(1, Ordering::Relaxed);
    }

    fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// What is answered within a sample's time; then it is over.
    pub fn sample(&self, cpu: impl Fn() -> Duration) -> Sample {
        std::thread::sleep(WARM_UP);
        let (begun, answered, used) = (Instant::now(), self.answered(), cpu());
        std::thread::sleep(SAMPLE);
        let count = (self.answered() - answered) as f64;
        let (elapsed, used) = (begun.elapsed(), cpu() - used);
        self.last.store(0, Ordering::Relaxed);
        Sample {
            rate: count / elapsed.as_secs_f64(),
            cpu: used.as_secs_f64() * 1e6 / count.max(1.0),
        }
    }
}

/// Senders over TCP, all in one thread, which costs the least beside what is measured.
pub fn measure(
    shared: &Arc<Shared>,
    address: SocketAddr,
    connections: usize,
    cpu: impl Fn() -> Duration,
) -> Sample {
    shared.begin(u64::MAX);
    let senders = senders(shared, address, connections);
    let sample = shared.sample(cpu);
    senders.join().unwrap();
    sample
}

/// Sends so many, as fast as they are taken.
pub fn send(shared: &Arc<Shared>, address: SocketAddr, connections: usize, count: u64) {
    shared.begin(count);
    senders(shared, address, connections).join().unwrap();
}

/// Senders, until it is over.
fn senders(
    shared: &Arc<Shared>,
    address: SocketAddr,
    connections: usize,
) -> std::thread::JoinHandle<()> {
    let shared = Arc::clone(shared);
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
        let tasks = tokio::task::LocalSet::new();
        for _ in 0..connections {
            let shared = Arc::clone(&shared);
            tasks.spawn_local(async move {
                sender(&shared, address).await.unwrap();
            });
        }
        runtime.block_on(tasks);
    })
}

async fn sender(shared: &Shared, address: SocketAddr) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let mut answer = Vec::with_capacity(1024);
    while let Some(message) = shared.next() {
        stream.write_all(&frame(&message)).await?;
        answer.clear();
        while !answer.ends_with(b"\x1c\r") {
            assert!(stream.read_buf(&mut answer).await? > 0, "the connection was closed");
        }
        let taken = answer.windows(7).any(|bytes| bytes == b"MSA|AA|");
        assert!(taken, "{}", String::from_utf8_lossy(&answer));
        shared.count();
    }
    Ok(())
}
