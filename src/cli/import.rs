//! `tidegate consent import`.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use clap::Args;
use jiff::tz::TimeZone;
use serde_json::Value as Json;

use super::lookup::{LookupError, Whence};
use super::{complain, say};
use crate::admin::import::{append, mistakes, note, taken};
use crate::admit::DigestKey;
use crate::admit::import::{FILE_BYTES_MAX, Grounds, import};
use crate::clock;
use crate::config::Config;
use crate::secret::Key;
use crate::store::{Audit, Journal, StateDir};

/// A file of decisions, and where it goes.
#[derive(Debug, Args)]
pub struct Import {
    #[command(flatten)]
    whence: Whence,
    /// One JSON object a line; docs/consent.md says what is in it.
    file: PathBuf,
    /// Check the file, and keep nothing.
    #[arg(long)]
    dry_run: bool,
    /// The zone of dates that state none, such as Europe/Berlin; without it UTC.
    #[arg(long, value_name = "ZONE")]
    time_zone: Option<String>,
    /// What was done as JSON.
    #[arg(long)]
    json: bool,
}

impl Import {
    /// Runs it.
    ///
    /// # Errors
    /// Nothing was imported, or not all of it could be.
    pub fn run(self) -> Result<(), LookupError> {
        let name = self.file.display().to_string();
        let unreadable =
            |error: std::io::Error| LookupError::Wrong(vec![format!("{name}: {error}")]);
        let size = std::fs::metadata(&self.file).map_err(unreadable)?.len();
        if size > FILE_BYTES_MAX as u64 {
            let text = format!("{name}: it has more than {} MiB; divide it", FILE_BYTES_MAX >> 20);
            return Err(LookupError::Wrong(vec![text]));
        }
        let file = Bytes::from(std::fs::read(&self.file).map_err(unreadable)?);
        let zone = match self.time_zone.as_deref().map(TimeZone::get) {
            None => TimeZone::UTC,
            Some(Ok(zone)) => zone,
            Some(Err(_)) => {
                let text = "--time-zone is a name of the IANA database, such as Europe/Berlin";
                return Err(LookupError::Wrong(vec![text.to_owned()]));
            }
        };
        let mut query = vec![("dry_run", self.dry_run.to_string())];
        query.extend(self.time_zone.clone().map(|zone| ("zone", zone)));
        let stopped = |config: &Config| self.keep(config, &file, &zone);
        let done = self.whence.post("/api/consent/import", &query, file.clone(), stopped)?;
        if let Some(found) = done.get("mistakes").and_then(Json::as_array) {
            for mistake in found {
                let text = mistake["text"].as_str().unwrap_or_default();
                match mistake["line"].as_u64() {
                    Some(0) | None => complain(&format!("{name}: {text}")),
                    Some(line) => complain(&format!("{name}:{line}: {text}")),
                }
            }
            return Err(LookupError::Failed("nothing was imported".to_owned()));
        }
        if self.json {
            say(&done.to_string());
        } else {
            say(&sentence(&done));
        }
        Ok(())
    }

    /// Takes it into the store of a stopped daemon. That is made, if it is not there yet, once the
    /// file is known to be right.
    fn keep(&self, config: &Config, file: &Bytes, zone: &TimeZone) -> Result<Json, LookupError> {
        let failed = |error: crate::store::StoreError| LookupError::Failed(error.to_string());
        let any = Key::random().map_err(|error| LookupError::Failed(error.to_string()))?;
        match import(file, &grounds(config, zone, &DigestKey::new(&any))) {
            Err(found) => return Ok(mistakes(&found)),
            Ok(found) if self.dry_run => return Ok(taken(found.records, None)),
            Ok(_) => {}
        }
        let state = StateDir::take(&config.node.state_dir).map_err(failed)?;
        let master = match &config.master_key {
            Some(key) => key.clone(),
            None => Journal::master_key(&state).map_err(failed)?,
        };
        // Routes that were never seen begin before what is imported, so that they hear of it.
        let routes: Vec<Arc<str>> =
            config.contracts.iter().map(|contract| contract.name.as_str().into()).collect();
        let feeds = [crate::admit::import::FEED.into()];
        let (journal, threads) =
            Journal::open(&state, &master, config.journal.clone(), &feeds, &routes)
                .map_err(failed)?;
        let done = match Audit::open(&state, config.audit.store.clone()) {
            Ok((audit, evidence)) => {
                let done = keep_in((&journal, &audit), config, file, zone);
                drop(audit);
                evidence.stop().map_err(failed).and(done)
            }
            Err(error) => Err(failed(error)),
        };
        drop(journal);
        let stopped = threads.stop().map_err(failed);
        let done = done?;
        stopped?;
        Ok(done)
    }
}

fn grounds<'g>(config: &'g Config, zone: &'g TimeZone, digests: &'g DigestKey) -> Grounds<'g> {
    Grounds { policy: &config.policy, identity: &config.identity, zone, digests, now: clock::now() }
}

/// Who imports where no daemon runs.
const COMMAND: &str = "the command on a stopped daemon";

fn keep_in(
    (journal, audit): (&Journal, &Audit),
    config: &Config,
    file: &Bytes,
    zone: &TimeZone,
) -> Result<Json, LookupError> {
    let found = match import(file, &grounds(config, zone, journal.digests())) {
        Ok(found) => found,
        Err(found) => return Ok(mistakes(&found)),
    };
    journal.look_at_disk().map_err(|error| LookupError::Failed(error.to_string()))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .map_err(|error| LookupError::Failed(error.to_string()))?;
    let noted = runtime.block_on(note(audit, COMMAND, file, found.records));
    noted.map_err(|_| LookupError::Failed("the audit cannot be written".to_owned()))?;
    match runtime.block_on(append(journal, found.admissions, None)) {
        Ok(done) => Ok(taken(found.records, Some(&done))),
        Err(_) => Err(LookupError::Failed("the disk is full; import it again".to_owned())),
    }
}

fn sentence(done: &Json) -> String {
    let count = |key: &str| done[key].as_u64().unwrap_or_default();
    let entries: Vec<String> =
        done["entries"].as_array().into_iter().flatten().map(ToString::to_string).collect();
    let records = count("records");
    if done["dryRun"] == true {
        return format!("{records} records are right; nothing was kept");
    }
    match (entries.as_slice(), count("known")) {
        ([], _) => format!("{records} records, all of them known; nothing was changed"),
        (entries, 0) => format!("{records} records, in the journal as {}", entries.join(" ")),
        (entries, known) => format!(
            "{records} records, in the journal as {}; {known} parts of the file were known",
            entries.join(" ")
        ),
    }
}
