//! `tidegate decide --shadow`.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::io::IsTerminal;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use jiff::Timestamp;
use serde_json::json;

use super::journal::report;
use super::lookup::{LookupError, Whence, existing_key, master_key};
use super::{Outcome, complain, configuration, say, time};
use crate::app::decider::dry_run;
use crate::app::realms::tried;
use crate::clock;
use crate::config::Config;
use crate::deliver::dry_run::{Asked, DryRun, as_known};
use crate::deliver::shadow::Shadow;
use crate::deliver::shadow::report::{Moved, Presence, Report};
use crate::event::Subject;
use crate::secret::Key;
use crate::store::past::{Past, Span};
use crate::store::state::key_path;
use crate::store::{Filed, StoreError};

/// Which configuration is tried, on what.
#[derive(Debug, Args)]
pub struct Try {
    /// Decide about the journal's messages by this configuration, too, and say for each route what
    /// would be otherwise; instead of files.
    ///
    /// Nothing leaves, and nothing is written. Exit 0: nothing would be otherwise, 1: something.
    #[arg(long, value_name = "NEW_CONF", conflicts_with_all = ["files", "feed", "admin"])]
    shadow: Option<PathBuf>,
    /// That came in at or after this time, such as 2026-11-22T08:00:00Z, or this day (UTC).
    #[arg(long, value_name = "TIME", value_parser = time)]
    from: Option<Timestamp>,
    /// That came in before this time or day.
    #[arg(long, value_name = "TIME", value_parser = time)]
    to: Option<Timestamp>,
    /// Only one of so many messages.
    #[arg(long, value_name = "N")]
    sample: Option<NonZeroU64>,
}

/// What was gone through.
#[derive(Default)]
struct Through {
    messages: u64,
    events: u64,
    /// Events of subjects whose consent cannot be read.
    unreadable: u64,
}

impl Try {
    /// The configuration that is tried, where one is.
    pub fn wanted(&self) -> Option<&Path> {
        self.shadow.as_deref()
    }

    /// What goes with `--shadow` alone, and stands without it: of files, times say nothing.
    pub fn stray(&self) -> Option<&'static str> {
        let given = [
            ("--from", self.from.is_some()),
            ("--to", self.to.is_some()),
            ("--sample", self.sample.is_some()),
        ];
        given.into_iter().find(|(_, given)| *given && self.shadow.is_none()).map(|(name, _)| name)
    }

    /// Runs it.
    pub fn run(&self, new: &Path, whence: &Whence, json: bool) -> Outcome {
        let configurations = whence.config().and_then(|old| {
            let new = configuration(new).map_err(LookupError::Wrong)?;
            Ok((old, new))
        });
        let (old, new) = match configurations {
            Ok(configurations) => configurations,
            Err(LookupError::Wrong(lines)) => {
                lines.iter().for_each(|line| complain(line));
                return Outcome::Wrong;
            }
            Err(error) => return report(Err(error)),
        };
        match self.compare(&old, &new) {
            Ok(shadow) => {
                for found in shadow.reports() {
                    if json { print_json(found) } else { print(found) }
                }
                let differs = shadow.reports().any(Report::differs);
                if differs { Outcome::No } else { Outcome::Done }
            }
            Err(error) => report(Err(error)),
        }
    }

    fn compare(&self, old: &Config, new: &Config) -> Result<Shadow, LookupError> {
        if old.node.environment != new.node.environment {
            let text = format!(
                "the new configuration is of environment {}, and the store of {}; a mix is refused",
                new.node.environment, old.node.environment
            );
            return Err(LookupError::Wrong(vec![text]));
        }
        let state_dir = &old.node.state_dir;
        let mut past = Past::open(state_dir, &master_key(old)?)
            .map_err(|error| LookupError::Failed(error.to_string()))?;
        let keys = Keys { state_dir, made: RefCell::default() };
        let mut shadow = Shadow::new(keys.of(old)?, keys.of(new)?, clock::now());
        let gone = self.go_through(&mut past, &mut shadow);
        if !past.holds() {
            let text = "a daemon was started on state_dir meanwhile; ask again";
            return Err(LookupError::Failed(text.to_owned()));
        }
        let (through, first_at) = gone.map_err(|error| LookupError::Failed(error.to_string()))?;
        self.tell(&through, past.damaged(), first_at);
        Ok(shadow)
    }

    /// Decides about every event of the span; with when the journal begins.
    fn go_through(
        &self,
        past: &mut Past,
        shadow: &mut Shadow,
    ) -> Result<(Through, i64), StoreError> {
        let (first, last, first_at) = past.bounds()?;
        let span = Span {
            from: self.from.map_or(i64::MIN, Timestamp::as_millisecond),
            to: self.to.map_or(i64::MAX, Timestamp::as_millisecond),
            last,
            every: self.sample.unwrap_or(NonZeroU64::MIN),
        };
        let digests = past.digests().clone();
        let bar = bar(last.saturating_sub(first));
        let (mut through, mut after) = (Through::default(), first.saturating_sub(1));
        loop {
            let entries = past.read_after(after, &span)?;
            let Some(newest) = entries.last() else { break };
            after = newest.number;
            // Remembered for these entries only: memory stays bounded, and the ledger fresh.
            let mut known: HashMap<Subject, Rc<Filed>> = HashMap::new();
            let mut filed = |subject: &Subject| {
                if let Some(filed) = known.get(subject) {
                    return Ok(Rc::clone(filed));
                }
                let filed = Rc::new(past.filed(subject)?);
                known.insert(subject.clone(), Rc::clone(&filed));
                Ok(filed)
            };
            for entry in &entries {
                through.messages += 1;
                let Some(id) = entry.correlation_id else { continue };
                for fact in entry.facts(&digests) {
                    through.events += 1;
                    let (fact, filed) = match as_known(fact.clone(), &digests, &mut filed) {
                        // Nobody decides over a ledger that does not open, by neither of them.
                        Err(StoreError::Sealed { .. } | StoreError::Corrupt { .. }) => {
                            through.unreadable += 1;
                            continue;
                        }
                        known => known?,
                    };
                    let asked = Asked {
                        fact: &fact,
                        filed: &filed,
                        id,
                        number: entry.number,
                        feed: &entry.feed,
                        received_at: entry.received_at,
                        digests: &digests,
                    };
                    shadow.hold(&asked);
                }
            }
            bar.set_position(after.saturating_sub(first));
        }
        bar.finish_and_clear();
        Ok((through, first_at))
    }

    /// What the counts are of, beside them.
    fn tell(&self, through: &Through, damaged: u64, first_at: i64) {
        let Through { messages, events, unreadable } = through;
        let sample = self.sample.map(|every| format!(", one of {every}")).unwrap_or_default();
        complain(&format!("{messages} messages with {events} events{sample}"));
        let begins = Timestamp::from_millisecond(first_at).unwrap_or_default();
        if self.from.is_some_and(|from| from < begins) && first_at > 0 {
            complain(&format!("note: the journal begins at {begins}"));
        }
        if damaged > 0 {
            complain(&format!("note: {damaged} messages do not open, and were left out"));
        }
        if *unreadable > 0 {
            complain(&format!(
                "note: {unreadable} events were left out: the consent of their patients cannot be \
                 read"
            ));
        }
    }
}

/// The keys of realms, those that no daemon has made yet by stand-ins: of what they key, only whether
/// it is the same is told.
struct Keys<'k> {
    state_dir: &'k Path,
    made: RefCell<BTreeMap<String, Key>>,
}

impl Keys<'_> {
    /// What the routes of a configuration decide by. A realm that both name has one key, unless they
    /// say where it is.
    fn of(&self, config: &Config) -> Result<DryRun, LookupError> {
        let realms = tried(config, |name| self.key(name));
        // A key that is not to be had here is no answer about what would leave with it.
        for contract in &config.contracts {
            let realm = &contract.realm.value;
            if let Some(Err(why)) = realms.get(realm) {
                return Err(LookupError::Failed(format!("realm {realm}: {why}")));
            }
        }
        dry_run(config, &realms).map_err(|error| LookupError::Failed(error.to_string()))
    }

    fn key(&self, name: &str) -> Result<Key, LookupError> {
        let path = key_path(self.state_dir, name);
        let failed = |text: String| LookupError::Failed(format!("{}: {text}", path.display()));
        if path.try_exists().map_err(|error| failed(error.to_string()))? {
            return existing_key(&path);
        }
        if let Some(key) = self.made.borrow().get(name) {
            return Ok(key.clone());
        }
        let key = Key::random().map_err(|error| failed(error.to_string()))?;
        self.made.borrow_mut().insert(name.to_owned(), key.clone());
        Ok(key)
    }
}

fn bar(length: u64) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:40} {percent}% of the journal {eta}");
    ProgressBar::new(length).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

fn print_json(found: &Report) {
    let mut line = json!(found);
    if let Some(object) = line.as_object_mut() {
        object.insert("differs".to_owned(), found.differs().into());
    }
    say(&line.to_string());
}

fn print(found: &Report) {
    let route = &found.route;
    let stands = match found.presence {
        Presence::Both if !found.differs() => "nothing would be otherwise",
        Presence::Both => "otherwise",
        Presence::Removed => "only in the configuration that holds",
        Presence::Added => "only in the new configuration",
    };
    say(&format!("route {route}: {stands}"));
    for (term, [old, new]) in &found.terms {
        say(&format!("  {term}: {old} -> {new}"));
    }
    let of = |counts: &crate::deliver::shadow::report::Tally| {
        format!(
            "released {}, withheld {}, unselected {}",
            counts.released,
            counts.withheld.values().sum::<u64>(),
            counts.unselected
        )
    };
    say(&format!("  before: {}", of(&found.old)));
    say(&format!("  after: {}", of(&found.new)));
    if !found.differs() {
        return;
    }
    say(&format!("  newly selected: {}", found.newly_selected));
    say(&format!("  no longer selected: {}", found.no_longer_selected));
    say(&format!("  newly released: {}", moved(&found.newly_released, "before")));
    say(&format!("  newly withheld: {}", moved(&found.newly_withheld, "now")));
    say(&format!("  changed: {}", found.changed));
    for (path, change) in &found.fields {
        let counts = [
            ("appears", change.appears),
            ("disappears", change.disappears),
            ("value", change.value),
        ];
        let counts = counts.into_iter().filter(|(_, count)| *count > 0);
        let counts = counts.map(|(what, count)| format!("{what} {count}"));
        let forms = change.form.iter().map(|(form, count)| format!("{form} {count}"));
        let all: Vec<String> = counts.chain(forms).collect();
        say(&format!("    {path}: {}", all.join(", ")));
    }
}

fn moved(moved: &Moved, when: &str) -> String {
    let reasons: Vec<String> =
        moved.reasons.iter().map(|(reason, count)| format!("{reason} {count}")).collect();
    match reasons.as_slice() {
        [] => "0".to_owned(),
        reasons => format!("{} ({when}: {})", moved.count, reasons.join(", ")),
    }
}
