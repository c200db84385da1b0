//! A sender of HL7 v2 over MLLP that keeps its own ledger.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// A connection to a feed.
pub struct Sender {
    pub stream: TcpStream,
    buffer: Vec<u8>,
}

/// An acknowledgement, as its segments and fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ack {
    pub code: String,
    pub control_id: String,
    pub text: String,
    /// ERR as it came; empty where there is none.
    pub err: String,
    /// The whole of it.
    pub raw: Vec<u8>,
}

impl Sender {
    pub fn connect(address: SocketAddr) -> Self {
        Self::try_connect(address).unwrap()
    }

    pub fn try_connect(address: SocketAddr) -> std::io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::new() })
    }

    /// Sends a message, framed.
    pub fn send(&mut self, message: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(&frame(message))
    }

    /// Sends bytes as they are.
    pub fn send_raw(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// The next acknowledgement; an error where the connection ends first.
    pub fn ack(&mut self) -> std::io::Result<Ack> {
        self.answer().map(|bytes| parse(&bytes))
    }

    /// The next frame, in whatever form; an error where the connection ends first.
    pub fn answer(&mut self) -> std::io::Result<Vec<u8>> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|pair| pair == b"\x1c\r") {
                let frame: Vec<u8> = self.buffer.drain(..end + 2).collect();
                assert_eq!(frame[0], 0x0b, "an answer begins with VT");
                return Ok(frame[1..frame.len() - 2].to_vec());
            }
            let mut chunk = [0; 4096];
            let read = self.stream.read(&mut chunk)?;
            if read == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            self.buffer.extend_from_slice(&chunk[..read]);
        }
    }

    /// Sends a message and waits for its acknowledgement.
    pub fn exchange(&mut self, message: &[u8]) -> std::io::Result<Ack> {
        self.send(message)?;
        self.ack()
    }

    /// Whether the other side has closed, without an answer.
    pub fn is_closed(&mut self) -> bool {
        matches!(self.stream.read(&mut [0; 1]), Ok(0) | Err(_))
    }
}

/// VT, the message, FS, CR.
pub fn frame(message: &[u8]) -> Vec<u8> {
    [b"\x0b", message, b"\x1c\r"].concat()
}

fn parse(bytes: &[u8]) -> Ack {
    let text = String::from_utf8_lossy(bytes);
    let segments: Vec<&str> = text.split('\r').filter(|segment| !segment.is_empty()).collect();
    assert!(segments[0].starts_with("MSH"), "{text}");
    assert!((2..=3).contains(&segments.len()), "MSH, MSA and at most ERR: {text}");
    let separator = segments[0].chars().nth(3).unwrap();
    let fields: Vec<&str> = segments[1].split(separator).collect();
    assert_eq!(fields[0], "MSA");
    let field = |number: usize| fields.get(number).copied().unwrap_or_default().to_owned();
    Ack {
        code: field(1),
        control_id: field(2),
        text: field(3),
        err: segments.get(2).copied().unwrap_or_default().to_owned(),
        raw: bytes.to_vec(),
    }
}
