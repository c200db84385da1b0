//! A proxy between a daemon and the broker: it writes down what the daemon published and when that
//! came, and dawdles, hangs and breaks as a test says.

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::rabbit::Rabbit;

/// How often a connection looks whether it is to behave otherwise.
const GLANCE: Duration = Duration::from_millis(5);
const METHOD: u8 = 1;
const HEADER: u8 = 2;
const BODY: u8 = 3;
const FRAME_END: u8 = 0xCE;
/// `basic.publish`: class 60, method 40.
const PUBLISH: [u8; 4] = [0, 60, 0, 40];

/// How the proxy treats what a daemon writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// It reads and forwards at once.
    Prompt,
    /// It sleeps for so long before each read: what is written stays in the kernel meanwhile.
    Slow(Duration),
    /// It reads, and forwards nothing.
    Withholding,
    /// It reads nothing: what is written stays in the kernel.
    Frozen,
}

/// A payload that came.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// When its last byte was read.
    pub at: Instant,
    pub route: String,
    pub id: String,
    pub subject: String,
    pub is_notice: bool,
}

/// A proxy on a free port.
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    broker: u16,
    manner: Mutex<Manner>,
    kept: Mutex<Kept>,
    open: Mutex<Vec<TcpStream>>,
}

#[derive(Default)]
struct Kept {
    arrivals: Vec<Arrival>,
    /// How many different events came, by route and subject.
    events: HashMap<(String, String), Vec<String>>,
}

impl Proxy {
    /// Begins to listen, for connections to a broker.
    pub fn start(broker: &Rabbit) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            broker: broker.port(),
            manner: Mutex::new(Manner::Prompt),
            kept: Mutex::default(),
            open: Mutex::default(),
        });
        let serving = Arc::clone(&shared);
        // It ends with the process: each connection with its daemon.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                serve(stream.unwrap(), &serving);
            }
        });
        Self { port, shared }
    }

    /// For `[rabbitmq] url`.
    pub fn url(&self) -> String {
        format!("amqp://guest:guest@127.0.0.1:{}/%2f", self.port)
    }

    /// Behaves otherwise from now on, on every connection.
    pub fn be(&self, manner: Manner) {
        *self.shared.manner.lock().unwrap() = manner;
        // Whoever was about to read has read.
        std::thread::sleep(2 * GLANCE);
    }

    /// Resets every connection.
    pub fn reset(&self) {
        for stream in self.shared.open.lock().unwrap().drain(..) {
            // Closed with a linger of nothing it is reset, and what was not read is lost.
            socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
            stream.shutdown(Shutdown::Both).ok();
        }
    }

    /// What came so far, in the order of arrival.
    pub fn arrivals(&self) -> Vec<Arrival> {
        self.shared.kept.lock().unwrap().arrivals.clone()
    }

    /// How many different events of a subject came on a route.
    pub fn events_of(&self, route: &str, subject: &str) -> usize {
        let key = (route.to_owned(), subject.to_owned());
        self.shared.kept.lock().unwrap().events.get(&key).map_or(0, Vec::len)
    }
}

impl Shared {
    fn manner(&self) -> Manner {
        *self.manner.lock().unwrap()
    }

    fn note(&self, body: &[u8], at: Instant) {
        let payload: serde_json::Value = serde_json::from_slice(body).unwrap();
        let text = |name: &str| payload[name].as_str().unwrap_or_default().to_owned();
        let is_notice = super::daemon::is_notice(&payload);
        let (route, id, subject) = (text("route"), text("id"), text("subject"));
        let mut kept = self.kept.lock().unwrap();
        if !is_notice {
            let events = kept.events.entry((route.clone(), subject.clone())).or_default();
            if !events.contains(&id) {
                events.push(id.clone());
            }
        }
        kept.arrivals.push(Arrival { at, route, id, subject, is_notice });
    }
}

fn serve(daemon: TcpStream, shared: &Arc<Shared>) {
    // Without a broker there is no connection either.
    let Ok(broker) = TcpStream::connect(("127.0.0.1", shared.broker)) else { return };
    for stream in [&daemon, &broker] {
        stream.set_nodelay(true).unwrap();
    }
    let copies = || (daemon.try_clone().unwrap(), broker.try_clone().unwrap());
    shared.open.lock().unwrap().push(daemon.try_clone().unwrap());
    let (from, to) = copies();
    let carrier = Arc::clone(shared);
    std::thread::spawn(move || {
        carry(&from, &to, &carrier);
        close([&from, &to]);
    });
    let (mut to, mut from) = copies();
    std::thread::spawn(move || {
        std::io::copy(&mut from, &mut to).ok();
        close([&from, &to]);
    });
}

fn close(both: [&TcpStream; 2]) {
    for stream in both {
        stream.shutdown(Shutdown::Both).ok();
    }
}

/// Carries what a daemon writes to the broker, until either is gone.
fn carry(mut daemon: &TcpStream, mut broker: &TcpStream, shared: &Shared) {
    daemon.set_read_timeout(Some(GLANCE)).unwrap();
    let (mut publishes, mut chunk) = (Publishes::default(), vec![0; 1 << 16]);
    let mut withheld = Vec::new();
    loop {
        let manner = shared.manner();
        match manner {
            Manner::Frozen => {
                std::thread::sleep(GLANCE);
                continue;
            }
            Manner::Slow(delay) => std::thread::sleep(delay),
            Manner::Prompt | Manner::Withholding => {}
        }
        match daemon.read(&mut chunk) {
            Ok(0) => return,
            Ok(read) => {
                let at = Instant::now();
                publishes.take(&chunk[..read], |body| shared.note(body, at));
                withheld.extend_from_slice(&chunk[..read]);
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => return,
        }
        if manner != Manner::Withholding
            && broker.write_all(&std::mem::take(&mut withheld)).is_err()
        {
            return;
        }
    }
}

/// Finds the payloads in what a client of AMQP 0-9-1 writes on one channel.
#[derive(Default)]
struct Publishes {
    greeted: bool,
    buffer: Vec<u8>,
    /// The payload that is under way, and how long it will be.
    body: Option<(Vec<u8>, usize)>,
}

impl Publishes {
    /// Takes more bytes; `note` gets each payload with which they end.
    fn take(&mut self, bytes: &[u8], mut note: impl FnMut(&[u8])) {
        self.buffer.extend_from_slice(bytes);
        if !self.greeted && self.buffer.len() >= 8 {
            assert_eq!(self.buffer.drain(..8).collect::<Vec<_>>(), b"AMQP\0\0\x09\x01");
            self.greeted = true;
        }
        while self.greeted
            && let Some((kind, payload)) = self.next_frame()
        {
            match (kind, &mut self.body) {
                (METHOD, body) if payload.starts_with(&PUBLISH) => *body = Some((Vec::new(), 0)),
                (HEADER, Some((_, length))) => {
                    let size = u64::from_be_bytes(payload[4..12].try_into().unwrap());
                    *length = usize::try_from(size).unwrap();
                }
                (BODY, Some((body, length))) => {
                    body.extend_from_slice(&payload);
                    if body.len() == *length {
                        note(body);
                        self.body = None;
                    }
                }
                _ => {}
            }
        }
    }

    /// The next frame that is whole: its type and what it bears.
    fn next_frame(&mut self) -> Option<(u8, Vec<u8>)> {
        let size = u32::from_be_bytes(self.buffer.get(3..7)?.try_into().unwrap()) as usize;
        let end = 7 + size;
        assert_eq!(*self.buffer.get(end)?, FRAME_END);
        let frame: Vec<u8> = self.buffer.drain(..=end).collect();
        Some((frame[0], frame[7..end].to_vec()))
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_payload_is_found_however_its_bytes_arrive() {
        use super::{BODY, FRAME_END, HEADER, METHOD, PUBLISH, Publishes};
        let frame = |kind: u8, payload: &[u8]| {
            let size = u32::try_from(payload.len()).unwrap();
            [&[kind, 0, 1][..], &size.to_be_bytes(), payload, &[FRAME_END]].concat()
        };
        let header = [&[0, 60, 0, 0][..], &6_u64.to_be_bytes(), &[0, 0]].concat();
        let bytes = [
            b"AMQP\0\0\x09\x01".to_vec(),
            frame(METHOD, &[0, 10, 0, 11]),
            frame(METHOD, &PUBLISH),
            frame(HEADER, &header),
            frame(BODY, b"abcd"),
            frame(BODY, b"ef"),
            frame(8, &[]),
        ]
        .concat();
        for step in 1..=bytes.len() {
            let (mut publishes, mut found) = (Publishes::default(), Vec::new());
            for part in bytes.chunks(step) {
                publishes.take(part, |body| found.push(body.to_vec()));
            }
            assert_eq!(found, [b"abcdef".to_vec()], "in steps of {step}");
        }
    }
}
