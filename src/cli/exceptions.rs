//! `tidegate exceptions`.

use clap::{Args, Subcommand};
use serde_json::{Value as Json, json};

use super::journal::{print_message, report, text};
use super::lookup::{LookupError, Whence};
use super::table::table;
use super::{Outcome, say};
use crate::admin::api;
use crate::admit::entry::Category;

/// Look at what needs a human.
#[derive(Debug, Subcommand)]
pub enum Exceptions {
    /// List exceptions, the oldest first.
    Ls(List),
    /// Show one exception and its message.
    Show(Show),
}

/// Which exceptions.
#[derive(Debug, Args)]
pub struct List {
    #[command(flatten)]
    whence: Whence,
    /// Of this category.
    #[arg(long, value_parser = Category::ALL.map(Category::name))]
    category: Option<String>,
    /// Of this feed.
    #[arg(long)]
    feed: Option<String>,
    /// At most so many.
    #[arg(long, default_value_t = 100)]
    limit: u32,
    /// One JSON object a line.
    #[arg(long)]
    json: bool,
}

/// Which exception.
#[derive(Debug, Args)]
pub struct Show {
    #[command(flatten)]
    whence: Whence,
    /// Its number.
    id: i64,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

impl Exceptions {
    /// Runs it.
    #[must_use]
    pub fn run(self) -> Outcome {
        match self {
            Self::Ls(command) => report(command.run()),
            Self::Show(command) => report(command.run()),
        }
    }
}

impl List {
    fn run(self) -> Result<(), LookupError> {
        let mut query = vec![("limit", self.limit.to_string())];
        let wanted = [("category", &self.category), ("feed", &self.feed)];
        query.extend(wanted.into_iter().filter_map(|(key, value)| Some((key, value.clone()?))));
        let (category, feed) = (self.category.as_deref(), self.feed.as_deref());
        let found = self.whence.ask("/api/exceptions", &query, |lookup| {
            let found = lookup.exceptions(category, feed, self.limit)?;
            Ok(Some(found.iter().map(api::exception).collect()))
        })?;
        let rows: Vec<&Json> = found.as_array().into_iter().flatten().collect();
        if self.json {
            rows.iter().for_each(|row| say(&row.to_string()));
            return Ok(());
        }
        let keys =
            ["id", "category", "feed", "type", "place", "count", "lastAt", "controlId", "text"];
        let cells: Vec<Vec<String>> =
            rows.iter().map(|row| keys.map(|key| text(row, key)).into()).collect();
        let heading = [
            "id",
            "category",
            "feed",
            "type",
            "place",
            "count",
            "last",
            "control ID",
            "what is wrong",
        ];
        table(&heading, &cells).iter().for_each(|line| say(line));
        Ok(())
    }
}

impl Show {
    fn run(self) -> Result<(), LookupError> {
        let found = self.whence.ask(&format!("/api/exceptions/{}", self.id), &[], |lookup| {
            let routes = lookup.routes()?;
            Ok(lookup.exception(self.id)?.map(|(exception, shown)| {
                json!({
                    "exception": api::exception(&exception),
                    "message": api::shown(&shown, &routes),
                })
            }))
        })?;
        if self.json {
            say(&found.to_string());
            return Ok(());
        }
        let part = |name| found.get(name).unwrap_or(&Json::Null);
        let exception = part("exception");
        for key in ["id", "category", "feed", "type", "place", "text", "count", "firstAt", "lastAt"]
        {
            say(&format!("{key}: {}", text(exception, key)));
        }
        print_message(part("message"));
        Ok(())
    }
}
