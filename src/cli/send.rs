//! `tidegate send`.

use std::collections::{HashSet, VecDeque};
use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::BytesMut;
use clap::Args;
use indicatif::ProgressBar;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::codec::Decoder;

use super::messages::{read, split};
use super::tls::Tls;
use super::{Outcome, complain, say};
use crate::feed::mllp::frame::{CR, FS, Frames, Incoming, VT};
use crate::feed::mllp::handshake::Bell;
use crate::feed::mllp::mode::{AckMode, asked, may_hear};
use crate::feed::mllp::wire::Wire;
use crate::parse::hl7::head::skip_lead;
use crate::parse::hl7::wire::Extent;
use crate::parse::hl7::{self, Charset, Message};
use crate::secret::random_name;

/// Longest acknowledgement that is read.
const ACK_BYTES_MAX: usize = 1 << 20;

/// Send HL7 v2 messages over MLLP, and print each acknowledgement.
#[derive(Debug, Args)]
pub struct Send {
    /// Where to, such as 127.0.0.1:2575.
    address: String,
    /// Files with one or more messages.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Messages a second, over all connections; 0: as fast as they are answered.
    #[arg(long, default_value_t = 0)]
    rate: u32,
    /// Connections.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
    connections: u16,
    /// Messages that may be unanswered on a connection.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
    window: u16,
    /// How often everything is sent.
    #[arg(long, default_value_t = 1)]
    repeat: usize,
    /// Give each message a control ID of its own, so that none is a duplicate.
    #[arg(long)]
    unique: bool,
    /// How long an answer is waited for, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    timeout: u64,
    #[command(flatten)]
    tls: Tls,
    /// Print the summary alone.
    #[arg(long)]
    quiet: bool,
    /// One JSON object an acknowledgement, and one for the summary.
    #[arg(long)]
    json: bool,
}

/// What is sent, by whom it is next.
struct Work {
    messages: Vec<(String, Vec<u8>)>,
    next: AtomicUsize,
    total: usize,
    /// Part of every control ID, where they are to be unique.
    unique: Option<String>,
    rate: u32,
    begun: Instant,
    timeout: Duration,
    window: usize,
    /// Makes TLS of each connection, where it is wanted.
    bell: Option<Arc<Bell>>,
}

/// What came of one message.
struct Answer {
    file: String,
    /// The code, the control ID and the text of MSA; or why there is none.
    said: Result<(String, String, String), String>,
    took: Duration,
}

impl Send {
    /// Runs it.
    #[must_use]
    pub fn run(self) -> Outcome {
        let mut messages = Vec::new();
        for file in &self.files {
            let Some(bytes) = read(file) else { return Outcome::Wrong };
            let name = file.display().to_string();
            // Receivers need no mark in front of MSH, and some take it for a part of it.
            let parts = split(&bytes);
            messages.extend(parts.iter().map(|one| (name.clone(), skip_lead(one).to_vec())));
        }
        if self.unique && messages.iter().any(|(_, one)| !one.starts_with(b"MSH")) {
            complain(
                "tidegate: --unique is for messages that begin with MSH, not for XML or UTF-16",
            );
            return Outcome::Wrong;
        }
        let bell = match self.tls.bell(&self.address) {
            Ok(bell) => bell,
            Err(wrong) => {
                complain(&format!("tidegate: {wrong}"));
                return Outcome::Wrong;
            }
        };
        let unique = if self.unique {
            match random_name(6) {
                Ok(name) => Some(name),
                Err(error) => {
                    complain(&format!("tidegate: {error}"));
                    return Outcome::No;
                }
            }
        } else {
            None
        };
        let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => {
                complain(&format!("tidegate: {error}"));
                return Outcome::No;
            }
        };
        let total = messages.len().saturating_mul(self.repeat);
        runtime.block_on(self.send(messages, total, unique, bell))
    }

    async fn send(
        &self,
        messages: Vec<(String, Vec<u8>)>,
        total: usize,
        unique: Option<String>,
        bell: Option<Arc<Bell>>,
    ) -> Outcome {
        let work = Arc::new(Work {
            messages,
            next: AtomicUsize::new(0),
            total,
            unique,
            rate: self.rate,
            begun: Instant::now(),
            timeout: Duration::from_secs(self.timeout),
            window: self.window.into(),
            bell,
        });
        let (sender, mut answers) = mpsc::channel(1024);
        for _ in 0..self.connections {
            let (work, sender, address) = (Arc::clone(&work), sender.clone(), self.address.clone());
            tokio::spawn(async move { connection(&address, &work, &sender).await });
        }
        drop(sender);
        let bar = if std::io::stderr().is_terminal() && total > 1 && (self.quiet || self.json) {
            ProgressBar::new(total as u64)
        } else {
            ProgressBar::hidden()
        };
        let mut summary = Summary::default();
        while let Some(answer) = answers.recv().await {
            bar.inc(1);
            if !self.quiet {
                self.print(&answer);
            }
            summary.take(answer);
        }
        bar.finish_and_clear();
        summary.print(work.begun.elapsed(), total, self.json);
        if summary.positive == total { Outcome::Done } else { Outcome::No }
    }

    fn print(&self, answer: &Answer) {
        let millis = answer.took.as_secs_f64() * 1000.0;
        match (&answer.said, self.json) {
            (Ok((code, control_id, text)), false) => {
                say(format!("{} {code} {control_id} {text}", answer.file).trim_end());
            }
            (Ok((code, control_id, text)), true) => say(&json!({
                "file": answer.file, "code": code, "controlId": control_id, "text": text,
                "millis": millis,
            })
            .to_string()),
            (Err(error), false) => say(&format!("{} no answer: {error}", answer.file)),
            (Err(error), true) => {
                say(&json!({ "file": answer.file, "error": error }).to_string());
            }
        }
    }
}

/// Counts and times over all answers.
#[derive(Default)]
struct Summary {
    took: Vec<Duration>,
    positive: usize,
    by_code: std::collections::BTreeMap<String, usize>,
}

impl Summary {
    fn take(&mut self, answer: Answer) {
        let code = match answer.said {
            Ok((code, _, _)) => {
                self.took.push(answer.took);
                self.positive += usize::from(matches!(code.as_str(), "AA" | "CA"));
                code
            }
            Err(_) => "none".to_owned(),
        };
        *self.by_code.entry(code).or_default() += 1;
    }

    fn print(&mut self, elapsed: Duration, total: usize, as_json: bool) {
        self.took.sort_unstable();
        let quantile = |share: usize| {
            let at = (self.took.len().saturating_sub(1)) * share / 100;
            self.took.get(at).map_or(0.0, |took| took.as_secs_f64() * 1000.0)
        };
        let (p50, p99, most) = (quantile(50), quantile(99), quantile(100));
        #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
        let rate = self.took.len() as f64 / elapsed.as_secs_f64().max(1e-9);
        if as_json {
            say(&json!({ "summary": {
                "sent": total, "answers": self.by_code, "seconds": elapsed.as_secs_f64(),
                "perSecond": rate, "p50Millis": p50, "p99Millis": p99, "maxMillis": most,
            } })
            .to_string());
            return;
        }
        let codes: Vec<String> =
            self.by_code.iter().map(|(code, count)| format!("{count} {code}")).collect();
        complain(&format!(
            "{} in {:.2} s, {rate:.0} a second; answered within {p50:.2} ms (half), {p99:.2} ms \
             (99 of 100), {most:.2} ms (all)",
            codes.join(", "),
            elapsed.as_secs_f64(),
        ));
    }
}

/// One connection: sends what is next until nothing is left.
async fn connection(address: &str, work: &Work, answers: &mpsc::Sender<Answer>) {
    let mut waiting: VecDeque<(usize, Instant)> = VecDeque::new();
    if let Err(error) = exchange(address, work, answers, &mut waiting).await {
        // What this connection had taken on is not answered; and with no connection at all,
        // what is left is nobody's.
        let first = waiting
            .front()
            .map_or_else(|| work.next.fetch_add(1, Ordering::Relaxed), |next| next.0);
        let unanswered: Vec<usize> = if waiting.is_empty() {
            vec![first]
        } else {
            waiting.iter().map(|next| next.0).collect()
        };
        for index in unanswered.into_iter().filter(|index| *index < work.total) {
            let file = work.message(index).map_or_else(String::new, |(file, _)| file.to_owned());
            let answer = Answer { file, said: Err(error.to_string()), took: Duration::ZERO };
            // Nobody counts any more when this fails.
            answers.send(answer).await.ok();
        }
    }
}

impl Work {
    fn message(&self, index: usize) -> Option<(&str, &[u8])> {
        let (file, bytes) = self.messages.get(index % self.messages.len().max(1))?;
        Some((file, bytes))
    }

    /// The next message to send, framed.
    fn take(&self) -> Option<(usize, Vec<u8>)> {
        let index = self.next.fetch_add(1, Ordering::Relaxed);
        if index >= self.total {
            return None;
        }
        let (_, bytes) = self.message(index)?;
        let mut frame = vec![VT];
        match &self.unique {
            Some(run) => frame.extend(with_control_id(bytes, &format!("{run}-{index}"))),
            None => frame.extend_from_slice(bytes),
        }
        frame.extend([FS, CR]);
        Some((index, frame))
    }

    /// What is said of a message that nobody answers.
    fn unanswered(&self, index: usize, why: &str) -> Answer {
        let file = self.message(index).map_or_else(String::new, |(file, _)| file.to_owned());
        Answer { file, said: Err(why.to_owned()), took: Duration::ZERO }
    }

    /// When a message may go.
    fn due(&self, index: usize) -> Instant {
        if self.rate == 0 {
            return self.begun;
        }
        #[expect(clippy::cast_precision_loss, reason = "a pace")]
        let after = index as f64 / f64::from(self.rate);
        self.begun + Duration::from_secs_f64(after)
    }
}

async fn exchange(
    address: &str,
    work: &Work,
    answers: &mpsc::Sender<Answer>,
    waiting: &mut VecDeque<(usize, Instant)>,
) -> std::io::Result<()> {
    let connected = timeout(work.timeout, TcpStream::connect(address)).await;
    let stream = connected.map_err(|_| std::io::ErrorKind::TimedOut)??;
    stream.set_nodelay(true)?;
    let mut stream = match &work.bell {
        Some(bell) => {
            let shaken = bell.shake(stream).await.map_err(std::io::Error::other)?;
            Wire::Tls(Box::new(shaken.into()))
        }
        None => Wire::Plain(stream),
    };
    let mut frames = Frames::new(ACK_BYTES_MAX);
    let mut buffer = BytesMut::with_capacity(4096);
    let mut done = false;
    let mut told = HashSet::new();
    loop {
        let mut out = Vec::new();
        while !done && waiting.len() < work.window {
            match work.take() {
                Some((index, frame)) => {
                    if work.rate > 0 {
                        stream.send(&std::mem::take(&mut out)).await?;
                        sleep_until(work.due(index)).await;
                    }
                    if let Some(why) = unanswered(&frame) {
                        // Who answers all the same answers nothing else by it.
                        told.extend(control_id(&frame));
                        answers
                            .send(work.unanswered(index, why))
                            .await
                            .map_err(std::io::Error::other)?;
                    } else {
                        waiting.push_back((index, Instant::now()));
                    }
                    out.extend(frame);
                }
                None => done = true,
            }
        }
        stream.send(&out).await?;
        if waiting.is_empty() {
            return stream.shutdown().await;
        }
        let read = timeout(work.timeout, stream.read_buf(&mut buffer)).await;
        if read.map_err(|_| std::io::ErrorKind::TimedOut)?? == 0 {
            return Err(std::io::Error::other("the connection was closed"));
        }
        while let Some(incoming) = frames.decode(&mut buffer).map_err(std::io::Error::other)? {
            let Incoming::Frame(frame) = incoming else { continue };
            let said = read_ack(&frame);
            if is_more(&said, &mut told) {
                continue;
            }
            let Some((index, sent)) = waiting.pop_front() else { continue };
            let file = work.message(index).map_or_else(String::new, |(file, _)| file.to_owned());
            let answer = Answer { file, said, took: sent.elapsed() };
            answers.send(answer).await.map_err(std::io::Error::other)?;
        }
    }
}

/// Why a framed message gets no answer: MSH-9.1 is ACK, or MSH-15 and MSH-16 ask for none.
fn unanswered(frame: &[u8]) -> Option<&'static str> {
    let opened = opened(frame);
    let head = opened.head().ok()?;
    if head.component(9, 1) == b"ACK" {
        return Some("an acknowledgement is never acknowledged");
    }
    let asked = asked(AckMode::ByMessage, Some(&head));
    (!may_hear(asked)).then_some("it asks for no acknowledgement")
}

/// Whether it answers a message of which all is told: the application acknowledgement behind an accept
/// acknowledgement, or the answer to a message that asked for none.
fn is_more(said: &Result<(String, String, String), String>, told: &mut HashSet<String>) -> bool {
    let Ok((code, id, _)) = said else { return false };
    if code == "CA" {
        told.insert(id.clone());
        return false;
    }
    code.starts_with('A') && told.remove(id)
}

/// The header of a framed message, in whatever form.
fn opened(frame: &[u8]) -> hl7::Wire<'_> {
    let bytes = frame.get(1..).unwrap_or_default();
    hl7::Wire::open_to(bytes, &Charset::Utf8.into(), Extent::Header)
}

/// MSH-10 of a framed message.
fn control_id(frame: &[u8]) -> Option<String> {
    let opened = opened(frame);
    let head = opened.head().ok()?;
    Some(String::from_utf8_lossy(head.control_id().ok()?).into_owned())
}

/// MSA-1, MSA-2 and MSA-3.
fn read_ack(bytes: &[u8]) -> Result<(String, String, String), String> {
    let utf8 = Message::parse(bytes, Charset::Utf8).map_err(|error| error.to_string())?;
    let field = |number| utf8.text_at(b"MSA", number, 1).unwrap_or_default().into_owned();
    let code = field(1);
    if code.is_empty() {
        return Err("the answer has no MSA-1".to_owned());
    }
    Ok((code, field(2), field(3)))
}

/// The message with another MSH-10.
fn with_control_id(bytes: &[u8], id: &str) -> Vec<u8> {
    let Some(separator) = bytes.get(3).copied() else { return bytes.to_vec() };
    let header = bytes.iter().position(|byte| matches!(byte, b'\r' | b'\n')).unwrap_or(bytes.len());
    let (head, rest) = bytes.split_at_checked(header).unwrap_or((bytes, b""));
    // MSH-1 is the separator itself, so that the tenth field is the tenth part.
    let parts = head.split(|byte| *byte == separator).enumerate();
    let parts: Vec<&[u8]> =
        parts.map(|(index, part)| if index == 9 { id.as_bytes() } else { part }).collect();
    let mut out = parts.join(&separator);
    out.extend_from_slice(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_control_id_is_replaced_and_nothing_else() {
        assert_eq!(
            with_control_id(b"MSH|^~\\&|A|B|C|D|2026||ADT^A01|42|P|2.5\rPID|1|42", "new"),
            b"MSH|^~\\&|A|B|C|D|2026||ADT^A01|new|P|2.5\rPID|1|42"
        );
    }

    #[test]
    fn an_acknowledgement_is_read() {
        let ack = b"MSH|^~\\&|||||2026||ACK|1|P|2.5\rMSA|AE|42|wrong\r";
        assert_eq!(read_ack(ack), Ok(("AE".to_owned(), "42".to_owned(), "wrong".to_owned())));
        assert!(read_ack(b"MSH|^~\\&|||||2026||ACK|1|P|2.5\r").is_err());
        assert!(read_ack(b"hello").is_err());
    }
}
