//! Senders under load, what they know, and what must have come out of the files.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::adt;
use super::sender::Sender;

/// Patients of one sender.
const PATIENTS: usize = 5;

/// One sender: numbered messages of its own patients. What is not acknowledged it sends again,
/// before anything new; that is how order is kept over a crash.
#[derive(Clone, Debug)]
pub struct Line {
    name: String,
    window: usize,
    padding: usize,
    /// Everything below this was acknowledged.
    pub acked: usize,
    /// Everything below this was sent at least once.
    pub sent: usize,
    /// Messages that were sent on a connection that ended before their answer, over all.
    pub unanswered: usize,
}

impl Line {
    /// A sender that has up to `window` messages unanswered, each with `padding` bytes that no
    /// mapping wants.
    pub fn new(name: &str, window: usize, padding: usize) -> Self {
        let name = name.to_owned();
        Self { name, window, padding, acked: 0, sent: 0, unanswered: 0 }
    }

    /// The control ID of a number.
    pub fn control_id(&self, number: usize) -> String {
        format!("{}-{number}", self.name)
    }

    /// A message by its number, the same each time.
    pub fn message(&self, number: usize) -> Vec<u8> {
        let patient = format!("ZZ{}{}", self.name, number % PATIENTS);
        let mut message = adt("A08", &self.control_id(number), &patient);
        if self.padding > 0 {
            message.extend_from_slice(b"ZPD|");
            message.resize(message.len() + self.padding, b'x');
            message.push(b'\r');
        }
        message
    }

    /// Sends until the connection ends or `goes_on` says no to the next number; then what was
    /// sent is waited for.
    pub fn send_while(&mut self, feed: SocketAddr, goes_on: impl Fn(usize) -> bool) {
        let Ok(mut sender) = Sender::try_connect(feed) else { return };
        let mut next = self.acked;
        loop {
            while next < self.acked + self.window && goes_on(next) {
                if sender.send(&self.message(next)).is_err() {
                    break;
                }
                next += 1;
                self.sent = self.sent.max(next);
            }
            if next == self.acked {
                return;
            }
            match sender.ack() {
                Ok(ack) => {
                    let expected = ("AA", self.control_id(self.acked));
                    assert_eq!((ack.code.as_str(), ack.control_id), expected);
                    self.acked += 1;
                }
                Err(_) => {
                    self.unanswered += next - self.acked;
                    return;
                }
            }
        }
    }

    /// Sends what is missing below a number, and every one is acknowledged.
    pub fn send_up_to(&mut self, feed: SocketAddr, number: usize) {
        self.send_while(feed, |next| next < number);
        assert_eq!(self.acked, number, "{}: not all were acknowledged", self.name);
    }
}

/// Several senders at once.
pub struct Load {
    threads: Vec<std::thread::JoinHandle<Line>>,
    stop: Arc<AtomicBool>,
}

impl Load {
    /// Every line sends on a connection of its own until that ends, or [`Load::stop`].
    pub fn start(feed: SocketAddr, lines: Vec<Line>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let threads = lines
            .into_iter()
            .map(|mut line| {
                let stop = Arc::clone(&stop);
                std::thread::spawn(move || {
                    line.send_while(feed, |_| !stop.load(Ordering::Relaxed));
                    line
                })
            })
            .collect();
        Self { threads, stop }
    }

    /// Waits until the connections have ended.
    pub fn join(self) -> Vec<Line> {
        self.threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    }

    /// Sends nothing new; what was sent is waited for.
    pub fn stop(self) -> Vec<Line> {
        self.stop.store(true, Ordering::Relaxed);
        self.join()
    }

    /// Lets them send for a while.
    pub fn run_for(&self, time: Duration) {
        std::thread::sleep(time);
    }
}

/// Senders with names of one letter.
pub fn lines(count: usize, window: usize, padding: usize) -> Vec<Line> {
    "ABCDEFGHIJKLMNOP"
        .chars()
        .take(count)
        .map(|name| Line::new(&name.to_string(), window, padding))
        .collect()
}

/// A file of a route and those that it was rotated to, oldest first.
pub fn files(path: &Path) -> Vec<PathBuf> {
    let prefix = format!("{}.", path.file_name().unwrap().to_str().unwrap());
    let mut rotated = BTreeMap::new();
    for entry in std::fs::read_dir(path.parent().unwrap()).into_iter().flatten() {
        let found = entry.unwrap().path();
        let name = found.file_name().unwrap().to_str().unwrap();
        if let Some(number) = name.strip_prefix(&prefix) {
            rotated.insert(number.parse::<u64>().unwrap(), found.clone());
        }
    }
    let current = path.exists().then(|| path.to_path_buf());
    rotated.into_values().chain(current).collect()
}

/// Every line of a route's files, in order.
pub fn events(path: &Path) -> Vec<serde_json::Value> {
    let mut events = Vec::new();
    for file in files(path) {
        // It may be rotated away between the list and the read; then it is looked at again.
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        events.extend(whole.lines().map(|line| {
            serde_json::from_str::<serde_json::Value>(line)
                .unwrap_or_else(|error| panic!("{}: {error}", file.display()))
        }));
    }
    events
}

/// The control IDs of events.
pub fn control_ids(events: &[serde_json::Value]) -> BTreeSet<String> {
    events
        .iter()
        .map(|event| event["data"]["message"]["controlId"].as_str().unwrap().to_owned())
        .collect()
}

/// PROMISE-1, PROMISE-2, PROMISE-4: what was acknowledged came out, each once, under one ID, of
/// each patient in order; nothing came out that was not sent.
pub fn assert_exactly_once(events: &[serde_json::Value], lines: &[Line]) {
    let mut ids: HashMap<&str, &str> = HashMap::new();
    let mut of_subject: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for event in events {
        let control_id = event["data"]["message"]["controlId"].as_str().unwrap();
        let id = event["id"].as_str().unwrap();
        let other = ids.insert(id, control_id);
        assert_eq!(other, None, "{control_id} came twice, as event {id}");
        let number = control_id.split_once('-').unwrap().1.parse().unwrap();
        of_subject.entry(event["subject"].to_string()).or_default().push(number);
    }
    let found: BTreeSet<&str> = ids.values().copied().collect();
    assert_eq!(found.len(), ids.len(), "a message came under two event IDs");
    for line in lines {
        let lost: Vec<_> = (0..line.acked)
            .map(|number| line.control_id(number))
            .filter(|id| !found.contains(id.as_str()))
            .collect();
        assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
    }
    let sent: BTreeSet<String> = lines
        .iter()
        .flat_map(|line| (0..line.sent).map(|number| line.control_id(number)))
        .collect();
    let invented: Vec<_> = found.iter().filter(|id| !sent.contains(**id)).collect();
    assert!(invented.is_empty(), "never sent: {invented:?}");
    for (subject, numbers) in of_subject {
        assert!(numbers.is_sorted(), "{subject}: {numbers:?}");
    }
}
