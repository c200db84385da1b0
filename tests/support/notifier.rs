//! The Subscriptions of a FHIR server of the tests, and the notifications that it sends.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::{Value, json};

/// The Subscriptions of a server.
#[derive(Default)]
pub struct Subscriptions {
    all: BTreeMap<String, Value>,
    count: usize,
    /// What it answers to whoever wants to make or change one.
    pub refuses: Option<u16>,
    /// It ends each after so many seconds, whatever is asked for.
    pub ends_after: Option<i64>,
}

impl Subscriptions {
    /// The IDs of those that are there.
    pub fn ids(&self) -> Vec<String> {
        self.all.keys().cloned().collect()
    }

    /// One of them.
    pub fn get(&self, id: &str) -> Option<Value> {
        self.all.get(id).cloned()
    }

    /// How one stands, from now on.
    pub fn set_status(&mut self, id: &str, status: &str) {
        self.all.get_mut(id).unwrap()["status"] = json!(status);
    }

    /// Forgets one.
    pub fn forget(&mut self, id: &str) {
        self.all.remove(id);
    }

    /// The status, the body, and the ID of what was made.
    pub fn answer(
        &mut self,
        method: &str,
        id: &str,
        query: &[(&str, &str)],
        body: &str,
    ) -> (u16, Value, Option<String>) {
        let issue = json!({ "severity": "error", "code": "forbidden" });
        let outcome = json!({ "resourceType": "OperationOutcome", "issue": [issue] });
        if let (Some(status), "POST" | "PUT") = (self.refuses, method) {
            return (status, outcome, None);
        }
        match method {
            "POST" => {
                self.count += 1;
                let id = format!("sub{}", self.count);
                let made = self.hold(&id, body);
                (201, made, Some(id))
            }
            "PUT" if self.all.contains_key(id) => (200, self.hold(id, body), None),
            "DELETE" => {
                self.all.remove(id);
                (200, outcome, None)
            }
            "GET" if id.is_empty() => {
                let url = query.iter().find(|(name, _)| *name == "url").unwrap().1;
                let of = |it: &&Value| it["endpoint"] == url || it["channel"]["endpoint"] == url;
                let entries: Vec<Value> =
                    self.all.values().filter(of).map(|it| json!({ "resource": it })).collect();
                let page =
                    json!({ "resourceType": "Bundle", "type": "searchset", "entry": entries });
                (200, page, None)
            }
            _ => match self.all.get(id) {
                Some(found) => (200, found.clone(), None),
                None => (404, outcome, None),
            },
        }
    }

    fn hold(&mut self, id: &str, body: &str) -> Value {
        let mut made: Value = serde_json::from_str(body).unwrap();
        made["id"] = json!(id);
        made["status"] = json!("active");
        if let Some(seconds) = self.ends_after {
            let end = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(seconds);
            made["end"] = json!(format!("{end:.0}"));
        }
        self.all.insert(id.to_owned(), made.clone());
        made
    }
}

/// In which form a notification is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    R5,
    R4B,
    Backport,
}

/// A notification of `kind`: how many events there were, those of this one by number and focus, and what
/// comes beside.
pub fn notification(
    form: Form,
    (id, kind): (&str, &str),
    since: u64,
    events: &[(u64, Option<&str>)],
    resources: &[Value],
) -> Value {
    let reference = json!({ "reference": format!("Subscription/{id}") });
    let status = match form {
        Form::R5 | Form::R4B => {
            let event = |(number, focus): &(u64, Option<&str>)| {
                let mut event = json!({ "eventNumber": number.to_string() });
                if let Some(focus) = focus {
                    event["focus"] = json!({ "reference": focus });
                }
                event
            };
            json!({ "resourceType": "SubscriptionStatus", "status": "active", "type": kind,
                "eventsSinceSubscriptionStart": since.to_string(), "subscription": reference,
                "notificationEvent": events.iter().map(event).collect::<Vec<_>>() })
        }
        Form::Backport => {
            let since = since.to_string();
            let mut all = vec![
                json!({ "name": "subscription", "valueReference": reference }),
                json!({ "name": "status", "valueCode": "active" }),
                json!({ "name": "type", "valueCode": kind }),
                json!({ "name": "events-since-subscription-start", "valueString": since }),
            ];
            for (number, focus) in events {
                let number = number.to_string();
                let mut part = vec![json!({ "name": "event-number", "valueString": number })];
                if let Some(focus) = focus {
                    let focus = json!({ "reference": focus });
                    part.push(json!({ "name": "focus", "valueReference": focus }));
                }
                all.push(json!({ "name": "notification-event", "part": part }));
            }
            json!({ "resourceType": "Parameters", "parameter": all })
        }
    };
    let mut entries = vec![json!({ "resource": status })];
    entries.extend(resources.iter().map(|it| json!({ "resource": it })));
    let kind = if form == Form::R5 { "subscription-notification" } else { "history" };
    json!({ "resourceType": "Bundle", "type": kind, "entry": entries })
}

/// A request as a server of FHIR sends it.
#[derive(Clone, Copy)]
pub struct Notify<'n> {
    pub method: &'n str,
    pub path: &'n str,
    pub headers: &'n [(&'n str, &'n str)],
    pub body: &'n str,
}

impl Notify<'_> {
    /// As it goes over the wire.
    pub fn bytes(&self) -> Vec<u8> {
        let Self { method, path, headers, body } = self;
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: gate\r\nConnection: close\r\n");
        for (name, value) in *headers {
            head += &format!("{name}: {value}\r\n");
        }
        if !headers.iter().any(|(name, _)| *name == "Content-Length") {
            head += &format!("Content-Length: {}\r\n", body.len());
        }
        (head + "\r\n" + body).into_bytes()
    }

    /// Sends it, and gives the status and the text of the answer; nothing where there is none.
    pub fn send(&self, to: SocketAddr) -> Option<(u16, String)> {
        let mut stream = TcpStream::connect(to).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        exchange(&mut stream, &self.bytes())
    }
}

/// One request and its answer, on a connection that ends behind it.
pub fn exchange(stream: &mut (impl Read + Write), request: &[u8]) -> Option<(u16, String)> {
    // What is refused early is not read to its end.
    stream.write_all(request).ok();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok();
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
}
