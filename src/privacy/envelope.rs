//! The CloudEvent around what leaves.
//!
//! Promises: the attributes stand in one order; below tier `identified` none of them holds an ID
//! or a time of the hospital's.
//! Knows nothing of: which data.

use serde::Serialize;

use crate::event::partial_date::rfc3339;
use crate::event::{EventType, View};

/// CloudEvents 1.0 with our extension attributes, in the order of design and docs/events.md.
#[derive(Serialize)]
pub(super) struct Envelope<'e> {
    pub specversion: &'static str,
    #[serde(rename = "type")]
    pub kind: EventType,
    pub source: &'e str,
    pub id: &'e str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    pub datacontenttype: &'static str,
    pub dataschema: String,
    pub correlationid: &'e str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub visitkey: Option<String>,
    pub route: &'e str,
    pub contract: &'e str,
    pub purpose: &'e str,
    pub tier: &'static str,
    /// The consent records that it leaves by; none where it leaves by there being no deny.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consentref: Option<String>,
    pub recipe: &'e str,
    pub sequence: String,
    pub data: View<'e>,
}

/// Where an event may say when it happened: what the sender says of that, else of its recording, of
/// the observation, of the sending.
const HAPPENED: [&str; 4] =
    ["message.occurredAt", "report.observedAt", "message.recordedAt", "message.sentAt"];

/// When it happened, as precise as that was given.
pub(super) fn happened(data: View<'_>) -> Option<&str> {
    HAPPENED.into_iter().find_map(|path| data.at(path)?.as_text())
}

/// When it happened. Only a time that RFC 3339 can hold.
pub(super) fn time_of(data: View<'_>) -> Option<String> {
    HAPPENED.into_iter().filter_map(|path| data.at(path)?.as_text()).find_map(rfc3339)
}
