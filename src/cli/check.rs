//! `tidegate check`.

use std::path::{Path, PathBuf};

use clap::Args;
use jiff::Timestamp;
use serde_json::{Value as Json, json};

use super::against::{self, Held};
use super::{Outcome, complain, say};
use crate::app::not_last_run;
use crate::clock;
use crate::config::{self, Config, Realm, Source, TokenKind, Way};
use crate::contract::schemas::{NOTICE, async_api};
use crate::contract::{Broken, Contract, Destination, Once};
use crate::document::{Place, Problem, Problems};
use crate::store::state::look_at_key;
use crate::store::vault::VAULT_KEY;
use crate::tls::Ends;
use crate::tls::certificate::time;

/// Read the configuration, the mappings and the contracts, and print every mistake.
#[derive(Debug, Args)]
pub struct Check {
    /// The configuration.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Hold each contract against the one of before: in another folder, or a git revision.
    ///
    /// What breaks a consumer or lowers protection wants a new major version; exit 1 where it has none.
    #[arg(long, value_name = "REV_OR_DIR")]
    against: Option<String>,
    /// As JSON.
    #[arg(long)]
    json: bool,
    /// Write the JSON Schema of what each route lets out, and an AsyncAPI document of all of them, into
    /// this folder; it is made where it is not there.
    #[arg(long, value_name = "DIR")]
    schemas: Option<PathBuf>,
}

impl Check {
    /// Runs it.
    #[must_use]
    pub fn run(self) -> Outcome {
        let problems = Problems::default();
        let config = config::load(&self.config, &problems);
        if let Some(config) = &config {
            let place =
                Place { file: self.config.display().to_string().into(), line: 1, column: 1 };
            for text in lacking(config) {
                problems.warn(&place, text);
            }
        }
        let notes: Vec<Note<'_>> = config
            .iter()
            .flat_map(not_last_run)
            .map(|contract| Note::new(contract, &self))
            .collect();
        let held = match (&self.against, &config) {
            (Some(named), Some(config)) => match against::hold(named, &self.config, config) {
                Ok(held) => Some(held),
                Err(lines) => {
                    lines.iter().for_each(|line| complain(line));
                    return Outcome::Wrong;
                }
            },
            _ => None,
        };
        if self.json {
            let list =
                |problems: Vec<Problem>| -> Vec<Json> { problems.iter().map(problem).collect() };
            let routes: Vec<Json> =
                config.iter().flat_map(|config| &config.contracts).map(route).collect();
            say(&json!({
                "mistakes": list(problems.mistakes()),
                "warnings": list(problems.warnings()),
                "notes": notes.iter().map(Note::json).collect::<Vec<_>>(),
                "routes": routes,
                "against": held.as_ref().map(Held::json),
                "configuration": config.as_ref().map(|config| &config.hash),
                "files": config.as_ref().map(|config| &config.files),
            })
            .to_string());
        } else {
            for warning in problems.warnings() {
                complain(&format!("warning: {warning}"));
            }
            for mistake in problems.mistakes() {
                complain(&mistake.to_string());
            }
            for note in &notes {
                complain(&format!("note: route {}: {}", note.route, note.text));
            }
            match (&held, &config) {
                (Some(held), _) => held.print(),
                (None, Some(config)) => describe(config, clock::now()),
                (None, None) => {}
            }
        }
        let Some(config) = config else { return Outcome::Wrong };
        if let Some(dir) = &self.schemas
            && let Err(error) = write_schemas(dir, &config)
        {
            complain(&format!("{}: {error}", dir.display()));
            return Outcome::Wrong;
        }
        if held.is_some_and(|held| held.refused() > 0) { Outcome::No } else { Outcome::Done }
    }
}

/// `DIR/ROUTE/TYPE.json`, `DIR/ROUTE/notice.json` and `DIR/asyncapi.json`.
fn write_schemas(dir: &Path, config: &Config) -> std::io::Result<()> {
    let write = |path: PathBuf, json: &Json| std::fs::write(path, format!("{json:#}\n"));
    for contract in &config.contracts {
        let dir = dir.join(&contract.name);
        std::fs::create_dir_all(&dir)?;
        for kind in &contract.events {
            write(dir.join(format!("{kind}.json")), &contract.schema(*kind))?;
        }
        if let Some(notice) = contract.notice_schema() {
            write(dir.join(format!("{NOTICE}.json")), &notice)?;
        }
    }
    let all = async_api(&config.node.name, env!("CARGO_PKG_VERSION"), &config.contracts);
    std::fs::create_dir_all(dir)?;
    write(dir.join("asyncapi.json"), &all)
}

/// What keys of state_dir are not as they have to be: the routes of these realms would not start.
fn lacking(config: &Config) -> Vec<String> {
    let look = |realm: &Realm, name: String| {
        let why = look_at_key(&config.node.state_dir, &name).err()?;
        Some(format!("{why}; the routes of realm `{}` do not start", realm.name))
    };
    let of = |realm: &Realm| {
        let own = realm.key.is_none().then(|| format!("realm-{}", realm.name));
        let is_vault = realm.tokens == TokenKind::Vault && config.vault_key.is_none();
        let vault = is_vault.then(|| VAULT_KEY.to_owned());
        let names = own.into_iter().chain([format!("realm-{}-id", realm.name)]).chain(vault);
        names.filter_map(|name| look(realm, name)).collect::<Vec<_>>()
    };
    config.realms.iter().flat_map(of).collect()
}

/// What is right, and worth a look.
struct Note<'n> {
    route: &'n str,
    text: String,
}

impl<'n> Note<'n> {
    /// A contract that is not the one that last ran.
    fn new(contract: &'n Contract, check: &Check) -> Self {
        let text = format!(
            "the contract is not the one that last ran; tidegate decide --config OLD --shadow {} \
             --from TIME --to TIME shows what would change",
            check.config.display()
        );
        Self { route: &contract.name, text }
    }

    fn json(&self) -> Json {
        json!({ "route": self.route, "text": self.text })
    }
}

fn problem(problem: &Problem) -> Json {
    json!({
        "file": problem.place.file.as_ref(),
        "line": problem.place.line,
        "column": problem.place.column,
        "text": problem.text,
    })
}

fn route(contract: &Contract) -> Json {
    let fields: Vec<Json> = contract
        .recipe
        .lines
        .iter()
        .map(|line| {
            json!({
                "field": line.path, "as": line.leaves_as, "transform": line.transform.to_string(),
                "class": line.class.name(), "required": line.required,
            })
        })
        .collect();
    json!({
        "name": contract.name,
        "version": contract.version,
        "consumer": contract.consumer,
        "purpose": contract.purpose,
        "tier": contract.recipe.tier.name(),
        "events": contract.events,
        "once": contract.once.map(Once::name),
        "recipe": contract.recipe.hash,
        "deliver": contract.deliver.kind(),
        "fields": fields,
        "when": contract.when.fields().iter().map(|it| json!({
            "field": it.path, "class": it.class.name(), "presence": it.presence,
        })).collect::<Vec<Json>>(),
        "ends": contract.terms.ends().map(|ends| ends.to_string()),
        "breakGlass": contract.broken.iter().map(|broken| json!({
            "field": broken.glass.wanted.path.value,
            "transform": broken.glass.wanted.transform.to_string(),
            "approvedBy": broken.glass.approved_by,
            "reason": broken.glass.reason,
            "ends": broken.glass.ends.to_string(),
            "recipe": broken.recipe.hash,
        })).collect::<Vec<Json>>(),
    })
}

/// From where a feed's messages come.
fn way(way: &Way) -> String {
    let until =
        |ends: Ends| ends.cert.map_or_else(String::new, |ends| format!(" until {}", time(ends)));
    match way {
        Way::Listen(listen) => {
            let tls = match &listen.tls {
                None => String::new(),
                Some(tls) if tls.files.ca.is_none() => {
                    format!(", TLS{}", until(tls.made.ends))
                }
                Some(tls) => {
                    let whose = match listen.clients.len() {
                        0 => "any of its authorities".to_owned(),
                        count => format!("{count} names"),
                    };
                    format!(", TLS{}, with client certificates of {whose}", until(tls.made.ends))
                }
            };
            format!("on {}{tls}", listen.address)
        }
        Way::Connect(connect) => {
            let tls = connect.tls.as_ref().map_or_else(String::new, |(tls, name)| {
                format!(", TLS{}, as {}", until(tls.made.ends), name.to_str())
            });
            format!("from {} port {}{tls}", connect.host, connect.port)
        }
    }
}

fn describe(config: &Config, now: Timestamp) {
    for feed in &config.feeds {
        let site = feed.site.as_ref().map(|site| format!(", site {}", site.value));
        let from = match &feed.source {
            Source::Mllp(mllp) => format!("mllp {}", way(&mllp.transport.way)),
            Source::File(file) => format!("files of {}", file.dir.display()),
            Source::Fhir(fhir) => {
                let queries: Vec<&str> = fhir.queries.iter().map(|it| &**it.text()).collect();
                format!("FHIR {} of {}: {}", fhir.version, fhir.base, queries.join(", "))
            }
        };
        say(&format!("feed {}: {from}{}", feed.name, site.unwrap_or_default()));
    }
    let mapped = config.mappings.selected().len();
    say(&format!("mappings: {mapped} message types and triggers"));
    for contract in &config.contracts {
        let to = match &contract.deliver {
            Destination::RabbitMq { exchange, .. } => format!("exchange {exchange}"),
            Destination::File { path, .. } => path.display().to_string(),
        };
        let kinds: Vec<&str> = contract.events.iter().map(|kind| kind.name()).collect();
        say(&format!(
            "route {} {}: {} for {}, tier {}, to {to}",
            contract.name,
            contract.version,
            kinds.join(", "),
            contract.purpose,
            contract.recipe.tier.name(),
        ));
        for line in &contract.recipe.lines {
            let class = line.class.name();
            let renamed = if *line.leaves_as == *line.path {
                String::new()
            } else {
                format!(" as {}", line.leaves_as)
            };
            say(&format!("  {} {}{renamed} ({class})", line.transform, line.path));
        }
        if contract.once == Some(Once::Visit) {
            say("  each transition of a visit once, of whichever feed comes first");
        }
        for filter in contract.when.fields() {
            say(&format!("  discloses by `when` {} ({})", filter.path, filter.class.name()));
        }
        if let Some(ends) = contract.terms.ends() {
            let word = if ends <= now { "HAS ENDED" } else { "ends" };
            say(&format!("  {word} {ends}"));
        }
        for Broken { glass, .. } in &contract.broken {
            let word = if glass.ends <= now { "ended" } else { "BREAK GLASS until" };
            say(&format!(
                "  {word} {}: {} {}, approved by {}: {}",
                glass.ends,
                glass.wanted.transform,
                glass.wanted.path.value,
                glass.approved_by.join(" and "),
                glass.reason
            ));
        }
    }
    say(&format!("configuration {}", config.hash));
    say("no mistakes");
}
