//! A peer that speaks as much AMQP 0-9-1 as a publisher needs, and confirms what and when a test
//! says: late, out of order, twice, several at once, never.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

/// How long a publish is waited for.
const WAIT: Duration = Duration::from_secs(60);
const FRAME_END: u8 = 0xCE;
const METHOD: u8 = 1;
const HEADER: u8 = 2;
const BODY: u8 = 3;

/// A peer on a free port.
pub struct Peer {
    port: u16,
    published: Receiver<Publish>,
}

/// A message that was published, and the connection it came by.
pub struct Publish {
    /// Its delivery tag: its place among those of its channel, from 1.
    pub tag: u64,
    /// The event.
    pub event: serde_json::Value,
    stream: TcpStream,
    /// Exchange and routing key, as they came.
    route: Vec<u8>,
    header: Vec<u8>,
    body: Vec<u8>,
}

impl Peer {
    /// Begins to listen.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (sender, published) = channel();
        // It ends with the process: each connection with its daemon.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let sender = sender.clone();
                std::thread::spawn(move || serve(stream.unwrap(), &sender));
            }
        });
        Self { port, published }
    }

    /// For `[rabbitmq] url`.
    pub fn url(&self) -> String {
        format!("amqp://127.0.0.1:{}/%2f", self.port)
    }

    /// The next one that is no notice; notices are confirmed.
    pub fn next_event(&self) -> Publish {
        loop {
            let publish = self.next();
            if !super::daemon::is_notice(&publish.event) {
                return publish;
            }
            publish.ack(publish.tag, false);
        }
    }

    /// The next message that is published.
    pub fn next(&self) -> Publish {
        self.published.recv_timeout(WAIT).expect("a publish")
    }

    /// Whether nothing more was published so far.
    pub fn is_quiet(&self) -> bool {
        self.published.try_recv().is_err()
    }
}

impl Publish {
    /// The number in the control ID.
    pub fn number(&self) -> usize {
        self.event["data"]["message"]["controlId"].as_str().unwrap()[1..].parse().unwrap()
    }

    /// Confirms a tag of this channel, and with `multiple` all before it.
    pub fn ack(&self, tag: u64, multiple: bool) {
        let mut arguments = tag.to_be_bytes().to_vec();
        arguments.push(u8::from(multiple));
        self.write(&[frame(METHOD, 1, &method(60, 80, &arguments))]);
    }

    /// Closes the connection.
    pub fn close(&self) {
        self.stream.shutdown(std::net::Shutdown::Both).ok();
    }

    /// Gives this message back as unroutable.
    pub fn give_back(&self) {
        let mut arguments = 312_u16.to_be_bytes().to_vec();
        arguments.extend(short("NO_ROUTE"));
        arguments.extend(&self.route);
        self.write(&[
            frame(METHOD, 1, &method(60, 50, &arguments)),
            frame(HEADER, 1, &self.header),
            frame(BODY, 1, &self.body),
        ]);
    }

    fn write(&self, frames: &[Vec<u8>]) {
        // In one write: what belongs together arrives together. A connection that was cut
        // meanwhile needs no answer.
        (&self.stream).write_all(&frames.concat()).ok();
    }
}

/// One connection, until it ends.
fn serve(mut stream: TcpStream, published: &Sender<Publish>) -> Option<()> {
    stream.set_nodelay(true).unwrap();
    let mut preamble = [0; 8];
    stream.read_exact(&mut preamble).ok()?;
    assert_eq!(&preamble, b"AMQP\0\0\x09\x01");
    let start = [&[0, 9][..], &0_u32.to_be_bytes(), &long("PLAIN"), &long("en_US")].concat();
    stream.write_all(&frame(METHOD, 0, &method(10, 10, &start))).ok()?;
    let mut tag = 0;
    loop {
        let (kind, channel, payload) = read_frame(&mut stream)?;
        if kind != METHOD {
            continue;
        }
        let (class, name) = (u16_at(&payload, 0), u16_at(&payload, 2));
        let answer = match (class, name) {
            // start-ok: tune, without heartbeats
            (10, 11) => {
                method(10, 30, &[&[7, 255][..], &131_072_u32.to_be_bytes(), &[0, 0]].concat())
            }
            (10, 31) => continue,
            (10, 40) => method(10, 41, &short("")),
            (10, 50) => method(10, 51, &[]),
            (20, 10) => method(20, 11, &long("")),
            (20, 40) => method(20, 41, &[]),
            (40, 10) => method(40, 11, &[]),
            (85, 10) => method(85, 11, &[]),
            (60, 40) => {
                tag += 1;
                let publish = read_publish(&mut stream, tag, &payload)?;
                published.send(publish).ok()?;
                continue;
            }
            other => panic!("the peer does not know method {other:?}"),
        };
        stream.write_all(&frame(METHOD, channel, &answer)).ok()?;
    }
}

fn read_publish(stream: &mut TcpStream, tag: u64, payload: &[u8]) -> Option<Publish> {
    // Behind class, method and two reserved bytes: exchange, routing key, flags.
    let route = payload[6..payload.len() - 1].to_vec();
    let (_, _, header) = read_frame(stream)?;
    let size = usize::try_from(u64::from_be_bytes(header[4..12].try_into().unwrap())).unwrap();
    let mut body = Vec::new();
    while body.len() < size {
        let (kind, _, part) = read_frame(stream)?;
        assert_eq!(kind, BODY);
        body.extend(part);
    }
    let event = serde_json::from_slice(&body).unwrap();
    let stream = stream.try_clone().unwrap();
    Some(Publish { tag, event, stream, route, header, body })
}

fn read_frame(stream: &mut TcpStream) -> Option<(u8, u16, Vec<u8>)> {
    let mut head = [0; 7];
    stream.read_exact(&mut head).ok()?;
    let size = u32::from_be_bytes(head[3..7].try_into().unwrap());
    let mut payload = vec![0; size as usize + 1];
    stream.read_exact(&mut payload).ok()?;
    assert_eq!(payload.pop(), Some(FRAME_END));
    Some((head[0], u16_at(&head, 1), payload))
}

fn frame(kind: u8, channel: u16, payload: &[u8]) -> Vec<u8> {
    let size = u32::try_from(payload.len()).unwrap();
    [&[kind][..], &channel.to_be_bytes(), &size.to_be_bytes(), payload, &[FRAME_END]].concat()
}

fn method(class: u16, name: u16, arguments: &[u8]) -> Vec<u8> {
    [&class.to_be_bytes()[..], &name.to_be_bytes(), arguments].concat()
}

fn short(text: &str) -> Vec<u8> {
    [&[u8::try_from(text.len()).unwrap()][..], text.as_bytes()].concat()
}

fn long(text: &str) -> Vec<u8> {
    [&u32::try_from(text.len()).unwrap().to_be_bytes()[..], text.as_bytes()].concat()
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}
