//! Evidence of one's own: an audit.db without a daemon.

use std::path::Path;
use std::time::Duration;

use tidegate::audit::{Act, Common, Consulted, Decision, Fields, Outcome, Says, Under};
use tidegate::event::EventType;
use tidegate::privacy::Fate;
use tidegate::store::audit::AuditThreads;
use tidegate::store::audit::verify::{Report, Wanted, verify};
use tidegate::store::{Audit, AuditBusy, AuditConfig, StateDir};

/// A configuration of `[audit]`.
pub fn config(retention: Duration) -> AuditConfig {
    AuditConfig {
        retention,
        every: 4,
        or_after: Duration::from_secs(3600),
        file: "checkpoints.ndjson".into(),
        node: "gate-1".to_owned(),
    }
}

/// What a route decided, made up.
pub fn decision(nth: u64, subject: u64, route: &str, outcome: Outcome) -> Says {
    let released = outcome == Outcome::Release;
    Says::Decision(Box::new(Decision {
        outcome,
        reason: if outcome == Outcome::Suppress { "missing" } else { "permitted" }.into(),
        under: Common::new(Under {
            route: route.to_owned(),
            contract: "1.0.0".to_owned(),
            configuration: format!("sha256:{}", "0c".repeat(32)),
            purpose: "CLINTRCH".to_owned(),
            consumer: "crm-research".to_owned(),
            agreement: Some("BAA-2026-014".to_owned()),
            protocol: None,
            allowed_use: None,
            retention: None,
            destination: "rabbitmq:tidegate.research".to_owned(),
            recipe: format!("sha256:{}", "0d".repeat(32)),
        }),
        glass: Vec::new(),
        message: nth,
        event: format!("{nth:032x}-1.patient.admitted.pid1").into(),
        kind: EventType::PatientAdmitted,
        subject: format!("{subject:032x}").into(),
        token: released.then(|| format!("token-{subject}")),
        retired: None,
        visit: None,
        labels: Vec::new(),
        consents: vec![Consulted {
            record: format!("{subject:031x}c"),
            version: Some("2".to_owned()),
        }],
        epoch: nth,
        fields: Fields::new(if released {
            vec![("visit.class".into(), Fate::Kept), ("patient.names".into(), Fate::Removed)]
        } else {
            Vec::new()
        }),
        instead: None,
        of: None,
        told_by: None,
        place: None,
    }))
}

/// What somebody did, made up.
pub fn act(name: &str) -> Says {
    Says::Act(Act { act: name.to_owned(), who: "dev".to_owned(), with: [].into() })
}

/// Evidence that is open, with a runtime to ask it in.
pub struct Evidence {
    pub audit: Audit,
    threads: AuditThreads,
    runtime: tokio::runtime::Runtime,
    _state: StateDir,
}

impl Evidence {
    /// Opens that of a folder.
    pub fn open(dir: &Path, config: AuditConfig) -> Self {
        let state = StateDir::take(dir).unwrap();
        let (audit, threads) = Audit::open(&state, config).unwrap();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        Self { audit, threads, runtime, _state: state }
    }

    /// Records these, now.
    pub fn append(&self, says: Vec<Says>) -> Vec<u64> {
        self.try_append(says).unwrap()
    }

    /// Records these, now, where it can.
    pub fn try_append(&self, says: Vec<Says>) -> Result<Vec<u64>, AuditBusy> {
        let now = jiff::Timestamp::now();
        let entries = says.into_iter().map(|says| (now, says)).collect();
        self.runtime.block_on(self.audit.append(entries))
    }

    /// Its threads.
    pub fn threads(&self) -> &AuditThreads {
        &self.threads
    }

    /// Stops in order.
    pub fn stop(self) {
        self.threads.stop().unwrap();
    }
}

/// Verifies a folder, against checkpoints kept elsewhere where there are any.
pub fn verified(dir: &Path, kept: Option<&str>) -> Result<Report, String> {
    let wanted = Wanted {
        dir: dir.to_path_buf(),
        file: "checkpoints.ndjson".into(),
        kept: kept.map(|text| ("kept".to_owned(), text.to_owned())),
        key: None,
    };
    verify(&wanted, &mut |_, _| {}).map_err(|error| error.to_string())
}

/// What is wrong with a folder, as one text; empty where nothing is.
pub fn problems(dir: &Path, kept: Option<&str>) -> String {
    match verified(dir, kept) {
        Ok(report) => report.problems.join("\n"),
        Err(error) => format!("audit.db cannot be read: {error}"),
    }
}
