//! `tidegate audit find`.

use clap::Args;
use jiff::Timestamp;
use serde_json::Value as Json;

use crate::admin::api;
use crate::audit::Outcome;
use crate::cli::journal::{text, wrong};
use crate::cli::lookup::{LookupError, Whence};
use crate::cli::table::table;
use crate::cli::{complain, say};
use crate::store::audit::find::Sought;
use crate::store::query::MessageName;

/// Which records.
#[derive(Debug, Args)]
pub struct Find {
    #[command(flatten)]
    whence: Whence,
    /// About this event, and those of other sources that it told before them.
    #[arg(long, value_name = "ID")]
    event: Option<String>,
    /// About the events of the message with this correlation ID.
    #[arg(long, value_name = "ID")]
    correlation: Option<String>,
    /// About the patient that a consumer knows by this token.
    #[arg(long, value_name = "TOKEN")]
    subject_token: Option<String>,
    /// About the patients of a message: its number, its correlation ID, or the ID of an event.
    #[arg(long, value_name = "MESSAGE")]
    subject_of: Option<String>,
    /// Of this outcome: release, suppress, told, notice, in-doubt.
    #[arg(long, value_parser = ["release", "suppress", "told", "notice", "in-doubt"])]
    decision: Option<String>,
    /// That rest on this consent record, by the digest that records name it by.
    #[arg(long, value_name = "DIGEST")]
    consent: Option<String>,
    /// On this route.
    #[arg(long)]
    route: Option<String>,
    /// Acts of this name, such as start, contract or archive.
    #[arg(long, value_name = "NAME")]
    act: Option<String>,
    /// Recorded at or after this time, such as 2026-11-22T08:00:00Z.
    #[arg(long, value_name = "TIME")]
    from: Option<Timestamp>,
    /// Recorded before this time.
    #[arg(long, value_name = "TIME")]
    to: Option<Timestamp>,
    /// Below this number, where an earlier list ended.
    #[arg(long, value_name = "NUMBER")]
    below: Option<u64>,
    /// At most so many.
    #[arg(long, default_value_t = 100)]
    limit: u32,
    /// One JSON object a record, as it was written.
    #[arg(long)]
    json: bool,
}

impl Find {
    /// Runs it.
    pub fn run(self) -> Result<(), LookupError> {
        let read = |text: &String| MessageName::read(text).ok_or_else(|| wrong(text));
        let message = self.subject_of.as_ref().map(read).transpose()?;
        let sought = Sought {
            event: self.event.clone(),
            correlation: self.correlation.clone(),
            subjects: None,
            token: self.subject_token.clone(),
            consent: self.consent.clone(),
            outcome: self.decision.as_deref().and_then(Outcome::from_name),
            route: self.route.clone(),
            act: self.act.clone(),
            from: self.from,
            to: self.to,
            below: self.below,
            limit: self.limit,
        };
        let found = self.whence.ask("/api/audit", &self.query(), |lookup| {
            api::audit_records(lookup, message, sought)
        })?;
        let records = found.get("records").and_then(Json::as_array).cloned().unwrap_or_default();
        if self.json {
            records.iter().for_each(|record| say(&record.to_string()));
        } else {
            let rows: Vec<Vec<String>> = records.iter().map(row).collect();
            let heading = ["number", "at", "what", "why", "route", "type", "event"];
            table(&heading, &rows).iter().for_each(|line| say(line));
        }
        if let Some(below) = found.get("moreBelow").and_then(Json::as_u64) {
            complain(&format!("there may be more: --below {below}"));
        }
        tell_archived(&found);
        Ok(())
    }

    fn query(&self) -> Vec<(&'static str, String)> {
        let texts = [
            ("event", &self.event),
            ("correlation", &self.correlation),
            ("token", &self.subject_token),
            ("subject_of", &self.subject_of),
            ("decision", &self.decision),
            ("consent", &self.consent),
            ("route", &self.route),
            ("act", &self.act),
        ];
        let mut query: Vec<(&'static str, String)> =
            texts.into_iter().filter_map(|(key, value)| Some((key, value.clone()?))).collect();
        let times = [("from", self.from), ("to", self.to)];
        let times =
            times.into_iter().filter_map(|(key, at)| Some((key, at?.as_millisecond().to_string())));
        query.extend(times);
        query.extend(self.below.map(|below| ("below", below.to_string())));
        query.push(("limit", self.limit.to_string()));
        query
    }
}

/// Says that older records are elsewhere.
pub(super) fn tell_archived(found: &Json) {
    if let Some(number) = found["archivedUpTo"].as_u64().filter(|number| *number > 0) {
        complain(&format!(
            "records up to {number} are in audit-archive, and were not looked through"
        ));
    }
}

fn row(record: &Json) -> Vec<String> {
    let mut cells = vec![text(record, "number"), text(record, "at")];
    if let Some(one) = record.pointer("/says/decision") {
        cells.extend(["outcome", "reason", "route", "type", "event"].map(|key| text(one, key)));
        let by = text(one, "toldBy");
        if let Some(why) = cells.get_mut(3).filter(|_| !by.is_empty()) {
            why.push_str(&format!(": {by}"));
        }
    } else {
        let of_act = |key: &str| {
            let found = record.pointer(&format!("/says/act/{key}")).and_then(Json::as_str);
            found.unwrap_or_default().to_owned()
        };
        cells.extend([of_act("act"), format!("by {}", of_act("who")), of_act("with/route")]);
        cells.extend([String::new(), String::new()]);
    }
    cells
}
