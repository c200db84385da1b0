//! A server of HTTP, in clear or by TLS, that answers as a test says, and misbehaves as it says.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// How long one that hangs does so: longer than any test waits.
const HANG: Duration = Duration::from_secs(120);

/// What was asked.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    pub target: String,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// A member of a form.
    pub fn form(&self, name: &str) -> Option<String> {
        let form = reqwest::Url::parse(&format!("form:?{}", self.body)).unwrap();
        form.query_pairs().find(|(known, _)| known == name).map(|(_, value)| value.into_owned())
    }
}

/// What is answered.
pub enum Reply {
    /// These bytes; the connection is kept.
    Send(Vec<u8>),
    /// These bytes, and the connection ends in order.
    End(Vec<u8>),
    /// These bytes, and the connection is reset.
    Reset(Vec<u8>),
    /// These bytes, then one more now and again, for ever.
    Drip(Vec<u8>),
    /// Nothing, for ever.
    Hang,
}

/// An answer with its length.
pub fn answer(status: u16, headers: &[(&str, &str)], body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let mut head = format!("HTTP/1.1 {status} Made Up\r\ncontent-length: {}\r\n", body.len());
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    [head.as_bytes(), b"\r\n", body].concat()
}

/// FHIR JSON.
pub fn json(body: impl AsRef<[u8]>) -> Reply {
    Reply::Send(answer(200, &[("content-type", "application/fhir+json")], body))
}

type Answers = dyn Fn(&Request) -> Reply + Send + Sync;

/// A server on a free port; it ends with the test's process.
pub struct Site {
    port: u16,
    scheme: &'static str,
    seen: Arc<Mutex<Vec<Request>>>,
    connections: Arc<AtomicUsize>,
}

impl Site {
    pub fn start(answers: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        Self::begin(None, Arc::new(answers))
    }

    pub fn start_tls(
        config: ServerConfig,
        answers: impl Fn(&Request) -> Reply + Send + Sync + 'static,
    ) -> Self {
        Self::begin(Some(Arc::new(config)), Arc::new(answers))
    }

    /// One that answers the same, always.
    pub fn always(bytes: Vec<u8>) -> Self {
        Self::start(move |_| Reply::Send(bytes.clone()))
    }

    pub fn url(&self, path: &str) -> String {
        let host = if self.scheme == "https" { "localhost" } else { "127.0.0.1" };
        format!("{}://{host}:{}{path}", self.scheme, self.port)
    }

    pub const fn port(&self) -> u16 {
        self.port
    }

    /// What was asked so far.
    pub fn seen(&self) -> Vec<Request> {
        self.seen.lock().unwrap().clone()
    }

    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    fn begin(tls: Option<Arc<ServerConfig>>, answers: Arc<Answers>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let site = Self {
            port,
            scheme: if tls.is_some() { "https" } else { "http" },
            seen: Arc::default(),
            connections: Arc::default(),
        };
        let (seen, connections) = (Arc::clone(&site.seen), Arc::clone(&site.connections));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { return };
                connections.fetch_add(1, Ordering::SeqCst);
                let (tls, answers, seen) = (tls.clone(), Arc::clone(&answers), Arc::clone(&seen));
                std::thread::spawn(move || match tls {
                    None => {
                        let writer = stream.try_clone().unwrap();
                        serve(&stream, BufReader::new(writer), &stream, &*answers, &seen);
                    }
                    Some(config) => {
                        let socket = stream.try_clone().unwrap();
                        let Ok(connection) = ServerConnection::new(config) else { return };
                        let tls = Arc::new(Mutex::new(StreamOwned::new(connection, stream)));
                        let (reader, writer) = (Shared(Arc::clone(&tls)), Shared(tls));
                        serve(&socket, BufReader::new(reader), writer, &*answers, &seen);
                    }
                });
            }
        });
        site
    }
}

/// Both halves of a TLS stream, taken in turns.
struct Shared(Arc<Mutex<StreamOwned<ServerConnection, TcpStream>>>);

impl Read for Shared {
    fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().read(bytes)
    }
}

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.lock().unwrap().flush()
    }
}

fn serve(
    socket: &TcpStream,
    mut reader: impl BufRead,
    mut writer: impl Write,
    answers: &Answers,
    seen: &Mutex<Vec<Request>>,
) {
    while let Some(request) = read(&mut reader) {
        seen.lock().unwrap().push(request.clone());
        // The other side may be gone, which is what some tests are about.
        match answers(&request) {
            Reply::Send(bytes) => {
                if writer.write_all(&bytes).and_then(|()| writer.flush()).is_err() {
                    return;
                }
            }
            Reply::End(bytes) => {
                writer.write_all(&bytes).and_then(|()| writer.flush()).ok();
                return;
            }
            Reply::Reset(bytes) => {
                writer.write_all(&bytes).and_then(|()| writer.flush()).ok();
                // What was written has to arrive first.
                std::thread::sleep(Duration::from_millis(100));
                socket2::SockRef::from(socket).set_linger(Some(Duration::ZERO)).unwrap();
                return;
            }
            Reply::Drip(bytes) => {
                let mut written = writer.write_all(&bytes);
                while written.is_ok() {
                    std::thread::sleep(Duration::from_millis(20));
                    written = writer.write_all(b" ").and_then(|()| writer.flush());
                }
                return;
            }
            Reply::Hang => {
                std::thread::sleep(HANG);
                return;
            }
        }
    }
}

fn read(reader: &mut impl BufRead) -> Option<Request> {
    let mut line = || {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
        Some(line.trim_end().to_owned())
    };
    let first = line()?;
    let mut parts = first.split(' ');
    let (method, target) = (parts.next()?.to_owned(), parts.next()?.to_owned());
    let mut headers = Vec::new();
    loop {
        let header = line()?;
        let Some((name, value)) = header.split_once(':') else { break };
        headers.push((name.to_owned(), value.trim().to_owned()));
    }
    let mut request = Request { method, target, headers, body: String::new() };
    let length = request.header("content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    request.body = String::from_utf8(body).unwrap();
    Some(request)
}
