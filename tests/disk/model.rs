//! The door of the journal against a `BTreeMap`, with a crash between any two steps.
//!
//! A crash is a copy of the folder as it lies there: what kill -9 leaves. The journal behind it
//! is stopped after that and forgotten.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use tidegate::admit::entry::{Admission, Content, Correlated, Status, Stored, SubjectValue};
use tidegate::admit::{Correlation, Digest, DigestKey, Entry, Novelty, Windows};
use tidegate::event::{EventType, Tree};
use tidegate::phi::Phi;
use tidegate::secret::Key;
use tidegate::store::journal::JournalThreads;
use tidegate::store::{Journal, JournalConfig, Position, StateDir, Turn};

const ROUTES: [&str; 2] = ["first", "second"];
const NOW_MS: i64 = 1_800_000_000_000;

/// What is done to the journal.
#[derive(Clone, Debug)]
enum Step {
    /// Messages by control ID and content, all handed over before the first answer.
    Append(Vec<(u8, u8)>),
    /// A route has come to this share of the journal, in 255ths; never backwards.
    Move(usize, u8),
    /// Everything is read, from a share of the journal, so many at a time.
    Read(u8, usize),
    Stop,
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => proptest::collection::vec((0_u8..40, 0_u8..5), 1..12).prop_map(Step::Append),
        3 => (0..ROUTES.len(), any::<u8>()).prop_map(|(route, share)| Step::Move(route, share)),
        3 => (any::<u8>(), 1_usize..20).prop_map(|(share, limit)| Step::Read(share, limit)),
        1 => Just(Step::Stop),
        2 => Just(Step::Crash),
    ]
}

/// What the journal must say.
#[derive(Default)]
struct Model {
    /// Control ID and epoch, by number.
    entries: BTreeMap<u64, (u8, u32, Status)>,
    /// Contents of a control ID, by epoch from 1.
    contents: BTreeMap<u8, Vec<u8>>,
    cursors: BTreeMap<&'static str, Position>,
}

impl Model {
    fn head(&self) -> u64 {
        self.entries.last_key_value().map_or(0, |(number, _)| *number)
    }

    /// What was moved is durable.
    fn settle(&mut self, moved: &mut Moved) {
        for (route, moves) in std::mem::take(moved) {
            if let Some(newest) = moves.last() {
                self.cursors.insert(route, *newest);
            }
        }
    }

    fn share(&self, share: u8) -> u64 {
        self.head() * u64::from(share) / 255
    }
}

/// Where routes have come to since the last answer that was waited for, oldest first.
type Moved = BTreeMap<&'static str, Vec<Position>>;

pub struct Opened {
    pub state: StateDir,
    pub journal: Journal,
    pub threads: JournalThreads,
}

/// Opens the journal of a folder, or makes it.
pub fn open(dir: &Path) -> Opened {
    let state = StateDir::take(dir).unwrap();
    let config = JournalConfig {
        retention: Duration::from_secs(3_600),
        dedupe_retention: Duration::from_secs(3_600),
        watermark: 100,
        encrypt: true,
        environment: "test".to_owned(),
        policy: std::sync::Arc::default(),
        once: Vec::new(),
    };
    // Nothing is ever old here: the model does not trim.
    let config = JournalConfig {
        retention: config.retention * 24 * 3_650,
        dedupe_retention: config.dedupe_retention * 24 * 3_650,
        ..config
    };
    let master = Key::from_bytes(&[7; 32]).unwrap();
    let (journal, threads) =
        Journal::open(&state, &master, config, &["adt".into()], &ROUTES.map(Into::into)).unwrap();
    Opened { state, journal, threads }
}

/// A message of a control ID and a content.
pub fn admission(control_id: u8, content: u8) -> Admission {
    let stored = Stored {
        kind: EventType::PatientUpdated,
        place: format!("pid{content}"),
        authority: "EPIC".to_owned(),
        value: SubjectValue(Phi::new(format!("ZZ{control_id}"))),
        prior: None,
        visit: None,
        data: Arc::new(Tree::new()),
    };
    let raw = Bytes::from(vec![content; 2_000]);
    Admission {
        correlated: Some(Correlated {
            correlation: Correlation::of("adt", [format!("C{control_id}").as_str()]),
            content: Digest([content; 16]),
            windows: Windows {
                dedupe_retention: Duration::from_secs(3_600),
                control_id_reuse: Duration::from_secs(3_600),
            },
        }),
        status: Status::Admitted,
        content: Content { events: vec![stored], ..Content::default() },
        ..Admission::bare("adt".into(), NOW_MS, "ADT^A08".to_owned(), format!("C{control_id}"), raw)
    }
}

/// Appends, and checks every answer.
fn append(opened: &Opened, model: &mut Model, messages: &[(u8, u8)]) -> Result<(), TestCaseError> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let answers = runtime.block_on(async {
        let mut waiting = Vec::new();
        for (control_id, content) in messages {
            waiting.push(
                opened
                    .journal
                    .append(admission(*control_id, *content), &Turn::default())
                    .await
                    .unwrap(),
            );
        }
        let mut answers = Vec::new();
        for receiver in waiting {
            answers.push(receiver.await.unwrap().unwrap());
        }
        answers
    });
    for ((control_id, content), admitted) in messages.iter().zip(answers) {
        let known = model.contents.entry(*control_id).or_default();
        let again = known.contains(content);
        let first = known.is_empty();
        match admitted.novelty {
            Some(Novelty::Duplicate { .. }) => prop_assert!(again, "not a duplicate"),
            Some(Novelty::New { .. }) => prop_assert!(first && !again),
            Some(Novelty::Conflict { .. }) => prop_assert!(!first && !again),
            other => prop_assert!(false, "{other:?}"),
        }
        prop_assert_eq!(admitted.number.is_none(), again);
        if let Some(number) = admitted.number {
            prop_assert!(number > model.entries.last_key_value().map_or(0, |(last, _)| *last));
            known.push(*content);
            let epoch = u32::try_from(known.len()).unwrap();
            let status = if first { Status::Admitted } else { Status::Parked };
            model.entries.insert(number, (*control_id, epoch, status));
        }
    }
    Ok(())
}

/// Reads everything after a number, and compares.
fn read(opened: &Opened, model: &Model, after: u64, limit: usize) -> Result<(), TestCaseError> {
    let mut found: Vec<Arc<Entry>> = Vec::new();
    loop {
        let from = found.last().map_or(after, |entry| entry.number);
        let more = opened.journal.read_after(from, limit).unwrap();
        prop_assert!(more.len() <= limit);
        if more.is_empty() {
            break;
        }
        found.extend(more);
    }
    let digests = DigestKey::new(&Key::from_bytes(&[1; 32]).unwrap());
    let found: Vec<_> = found
        .iter()
        .map(|entry| {
            let id = entry.correlation_id.unwrap();
            (entry.number, id.correlation, id.epoch, entry.status, entry.facts(&digests).len())
        })
        .collect();
    let wanted: Vec<_> = model
        .entries
        .range(after + 1..)
        .map(|(number, (control_id, epoch, status))| {
            let correlation = Correlation::of("adt", [format!("C{control_id}").as_str()]);
            (*number, correlation, *epoch, *status, usize::from(*status == Status::Admitted))
        })
        .collect();
    prop_assert_eq!(found, wanted);
    prop_assert_eq!(*opened.journal.head().borrow(), model.head());
    Ok(())
}

/// What a crash leaves of a folder, in another.
pub fn copy(from: &Path, to: &Path) {
    super::support::disk::run(
        std::process::Command::new("cp").arg("-a").arg(from.join(".")).arg(to),
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    /// PROMISE-1, PROMISE-2, PROMISE-3
    #[test]
    fn whatever_is_done_and_crashes_the_journal_says_what_a_list_of_everything_says(
        steps in proptest::collection::vec(step(), 1..30),
    ) {
        let mut dir = tempfile::tempdir().unwrap();
        let mut model = Model::default();
        let mut opened = open(dir.path());
        // A cursor that was moved is durable with the next append that is answered.
        let mut moved: Moved = BTreeMap::new();
        for step in steps {
            match step {
                Step::Append(messages) => {
                    append(&opened, &mut model, &messages)?;
                    model.settle(&mut moved);
                }
                Step::Move(route, share) => {
                    let route = ROUTES[route];
                    let number = model.share(share);
                    let newest = moved.get(route).and_then(|moves| moves.last());
                    let before = newest.or(model.cursors.get(route)).copied().unwrap_or_default();
                    if number > before.number {
                        let position = Position { number, sequence: before.sequence + 1 };
                        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                        runtime.block_on(opened.journal.move_cursor(&route.into(), position.into())).unwrap();
                        moved.entry(route).or_default().push(position);
                    }
                }
                Step::Read(share, limit) => read(&opened, &model, model.share(share), limit)?,
                Step::Stop => {
                    let Opened { state, journal, threads } = opened;
                    threads.stop().unwrap();
                    drop((journal, state));
                    model.settle(&mut moved);
                    opened = open(dir.path());
                }
                Step::Crash => {
                    let after = tempfile::tempdir().unwrap();
                    copy(dir.path(), after.path());
                    let Opened { state, journal, threads } = opened;
                    threads.stop().unwrap();
                    drop((journal, state));
                    dir = after;
                    opened = open(dir.path());
                    // Of the moves that nobody waited for the first ones are there, or none, and
                    // nothing in between.
                    for (route, moves) in std::mem::take(&mut moved) {
                        let found = opened.journal.cursor(route);
                        let before = model.cursors.get(route).copied().unwrap_or_default();
                        prop_assert!(found == before || moves.contains(&found), "{found:?}");
                        model.cursors.insert(route, found);
                    }
                }
            }
            let unsettled = !moved.is_empty();
            for route in ROUTES {
                let wanted = model.cursors.get(route).copied().unwrap_or_default();
                let found = opened.journal.cursor(route);
                // `cursor` says what was found at the start.
                prop_assert!(unsettled || found.number <= wanted.number);
            }
        }
        read(&opened, &model, 0, 7)?;
        let Opened { state, journal, threads } = opened;
        threads.stop().unwrap();
        drop((journal, state));
        let opened = open(dir.path());
        model.settle(&mut moved);
        for route in ROUTES {
            let wanted = model.cursors.get(route).copied().unwrap_or_default();
            prop_assert_eq!(opened.journal.cursor(route), wanted);
        }
        read(&opened, &model, 0, 1_000)?;
        opened.threads.stop().unwrap();
    }
}
