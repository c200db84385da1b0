//! The keys of `[[feed]]` that say how it acknowledges.
//!
//! Promises: an address that could not be connected to is a mistake.
//! Knows nothing of: what an acknowledgement says.

use crate::document::Table;
use crate::feed::mllp::mode::AckMode;
use crate::feed::mllp::sequence::OnGap;

/// How a feed acknowledges, as meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acks {
    /// Whether MSH-15 and MSH-16 count.
    pub mode: AckMode,
    /// Where application acknowledgements of enhanced mode go.
    pub application: Application,
    /// What becomes of a message with numbers missing before that of its MSH-13.
    pub on_gap: OnGap,
}

/// What `application_ack` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Application {
    /// `"none"`
    None,
    /// `"same-connection"`
    SameConnection,
    /// `{ connect = "host:port" }`
    Connect(String),
}

/// Reads them.
pub(super) fn read(table: &Table<'_>) -> Acks {
    let modes = [
        ("by-message", AckMode::ByMessage),
        ("original", AckMode::Original),
        ("enhanced", AckMode::Enhanced),
    ];
    let gaps = [("answer", OnGap::Answer), ("require", OnGap::Require)];
    let acks = Acks {
        mode: table.choice("ack_mode", &modes).unwrap_or(AckMode::ByMessage),
        application: application(table).unwrap_or(Application::None),
        on_gap: table.choice("sequence_numbers", &gaps).unwrap_or(OnGap::Answer),
    };
    if acks.mode == AckMode::Original && acks.application != Application::None {
        let text = "`application_ack` has no effect with `ack_mode = \"original\"`";
        table.warn(&table.place_of("application_ack"), text);
    }
    acks
}

fn application(table: &Table<'_>) -> Option<Application> {
    let item = table.item("application_ack")?;
    if item.is_text() {
        let text = item.text()?.value;
        return match text.as_str() {
            "none" => Some(Application::None),
            "same-connection" => Some(Application::SameConnection),
            _ => {
                item.mistake(
                    "`feed.application_ack` is none, same-connection or { connect = \"host:port\" }",
                );
                None
            }
        };
    }
    let table = item.table()?;
    let address = table.required_text("connect");
    table.finish();
    let address = address?;
    if !is_address(&address.value) {
        let text = "`connect` is a host and a port, such as \"engine.example.org:2576\"";
        table.mistake(&address.place, text);
        return None;
    }
    Some(Application::Connect(address.value))
}

/// A name or an address, and a port other than 0. Whether anybody is there shows when it is used.
fn is_address(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let fits = |letter: char| letter.is_ascii_alphanumeric() || "-._".contains(letter);
    let is_host = !bare.is_empty() && bare.chars().all(fits)
        || bare.parse::<std::net::Ipv6Addr>().is_ok() && host.starts_with('[');
    is_host && port.parse::<u16>().is_ok_and(|port| port > 0)
}

#[cfg(test)]
mod tests {
    use super::is_address;

    #[test]
    fn an_address_is_a_host_and_a_port() {
        for text in ["127.0.0.1:2575", "engine.example.org:1", "[::1]:65535", "lab_2:80"] {
            assert!(is_address(text), "{text}");
        }
        for text in
            ["", ":2575", "host", "host:", "host:0", "host:65536", "::1:80", "a b:80", "tcp://h:1"]
        {
            assert!(!is_address(text), "{text}");
        }
    }
}
