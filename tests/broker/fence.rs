//! A revocation is a wall: what reaches the broker's socket behind its acknowledgement, as a proxy
//! before the broker sees it, with senders that go on and a broker that misbehaves.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tidegate::audit::{Outcome, Says};
use tidegate::store::audit::read::AuditReader;

use crate::support::daemon::{Daemon, Setup};
use crate::support::proxy::{Arrival, Manner, Proxy};
use crate::support::sender::Sender;
use crate::support::{adt, consent, eventually, rabbit};

/// Events of a subject in a round: some before its revocation, one beside it, some behind it.
const EVENTS: usize = 6;

/// Three routes: `NAME-treat` and the file `NAME-file` for the purpose that is revoked, and
/// `NAME-claim`, also to the broker, for another.
fn setup(proxy: &Proxy, name: &str, lines: &str) -> Setup {
    let [treat, claim, file] = ["treat", "claim", "file"].map(|route| format!("{name}-{route}"));
    let to = |route: &str| format!("kind = \"rabbitmq\"\nexchange = \"{route}\"");
    let updates = &["patient.updated"];
    Setup::new()
        .policy("[codes]\n\"L/ZZ9\" = [\"TREAT\"]\n")
        .rabbitmq(&proxy.url(), lines)
        .route(&treat, updates, &to(&treat))
        .asking(&treat, "TREAT", "require = \"opt-out\"")
        .route(&claim, updates, &to(&claim))
        .asking(&claim, "HPAYMT", "require = \"opt-out\"")
        .file_route(&file, updates)
        .asking(&file, "TREAT", "require = \"opt-out\"")
}

/// Rounds of several workers against one daemon, and what became of each.
struct Trial<'t> {
    name: &'t str,
    setup: &'t Setup,
    proxy: &'t Proxy,
    daemon: &'t Daemon,
    /// How long a round waits until the route of the other purpose has all of it, so that the
    /// routes are where the senders are.
    patience: Duration,
    revoked: Mutex<HashMap<String, Revoked>>,
    next: AtomicUsize,
}

/// What was when the acknowledgement of a revocation had been read.
struct Revoked {
    at: Instant,
    clock: Timestamp,
    /// The length of the file that a route writes.
    file: usize,
}

impl<'t> Trial<'t> {
    fn new(
        name: &'t str,
        (setup, proxy, daemon): (&'t Setup, &'t Proxy, &'t Daemon),
        patience: Duration,
    ) -> Self {
        let revoked = Mutex::default();
        Self { name, setup, proxy, daemon, patience, revoked, next: AtomicUsize::new(0) }
    }

    fn rounds(&self) -> usize {
        self.revoked.lock().unwrap().len()
    }

    /// Goes through rounds, with so many workers, while there is something to do.
    fn run(&self, workers: usize, goes_on: impl Fn(usize) -> bool + Sync) {
        std::thread::scope(|scope| {
            for _ in 0..workers {
                scope.spawn(|| {
                    let mut senders = [(); 3].map(|()| Sender::connect(self.daemon.feed()));
                    loop {
                        let round = self.next.fetch_add(1, Ordering::Relaxed);
                        if !goes_on(round) {
                            break;
                        }
                        self.round(round, &mut senders);
                    }
                });
            }
        });
    }

    /// A subject's events come by two connections, and by a third its revocation.
    fn round(&self, round: usize, [one, two, third]: &mut [Sender; 3]) {
        let patient = format!("ZZ{round:06}");
        let event = |nth: usize| adt("A08", &format!("R{round}E{nth}"), &patient);
        one.send(&event(0)).unwrap();
        two.send(&event(1)).unwrap();
        one.send(&event(2)).unwrap();
        // From before the first of them is committed to behind the last one's delivery.
        std::thread::sleep(Duration::from_micros((round as u64 * 7_919) % 25_000));
        third.send(&consent("X", "20261102", &format!("R{round}C"), &patient)).unwrap();
        two.send(&event(3)).unwrap();
        assert_eq!(third.ack().unwrap().code, "AA");
        let revoked = Revoked { at: Instant::now(), clock: now(), file: self.file_length() };
        self.revoked.lock().unwrap().insert(format!("EPIC|{patient}"), revoked);
        one.send(&event(4)).unwrap();
        two.send(&event(5)).unwrap();
        for sender in [one, two] {
            for _ in 0..EVENTS / 2 {
                assert_eq!(sender.ack().unwrap().code, "AA");
            }
        }
        let (claim, subject) = (self.route("claim"), format!("EPIC|{patient}"));
        let begun = Instant::now();
        while begun.elapsed() < self.patience && self.proxy.events_of(&claim, &subject) < EVENTS {
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn route(&self, kind: &str) -> String {
        format!("{}-{kind}", self.name)
    }

    fn file(&self) -> std::path::PathBuf {
        self.setup.state_dir().join(format!("out/{}.ndjson", self.route("file")))
    }

    fn file_length(&self) -> usize {
        std::fs::metadata(self.file()).map_or(0, |found| usize::try_from(found.len()).unwrap())
    }

    /// How many late ones the daemon itself counted.
    fn counted(&self) -> f64 {
        let late = "tidegate_revocation_late_publish_total";
        let of = |kind| self.daemon.metric(&format!("{late}{{route=\"{}\"}}", self.route(kind)));
        ["treat", "claim", "file"].into_iter().map(of).sum()
    }

    /// Waits until every route has passed everything.
    fn settle(&self) {
        for kind in ["treat", "claim", "file"] {
            let lag = format!("tidegate_route_lag_events{{route=\"{}\"}}", self.route(kind));
            eventually("all is decided and delivered", || self.daemon.metric(&lag) == 0.0);
        }
        let claim = self.route("claim");
        for subject in self.revoked.lock().unwrap().keys() {
            eventually("the other purpose goes on", || {
                self.proxy.events_of(&claim, subject) == EVENTS
            });
        }
    }

    /// Looks at all that came, once all is settled.
    fn verdict(&self) -> Seen {
        let treat = self.route("treat");
        let audit = AuditReader::open(&self.setup.state_dir().join("audit.db")).unwrap();
        let (file, revoked) = (std::fs::read_to_string(self.file()).unwrap(), &self.revoked);
        let revoked = revoked.lock().unwrap();
        let mut seen = Seen { rounds: revoked.len(), ..Seen::default() };
        let mut late: HashMap<String, (usize, &Revoked)> = HashMap::new();
        for arrival in self.proxy.arrivals() {
            let Arrival { at, route, id, subject, is_notice } = arrival;
            let at_all = route == treat && !is_notice;
            let Some(revoked) = revoked.get(&subject).filter(|_| at_all) else { continue };
            if at <= revoked.at {
                seen.before += 1;
            } else {
                late.entry(id).or_insert((0, revoked)).0 += 1;
            }
        }
        for (id, (copies, revoked)) in late {
            // Each of them was handed over once, and given up before the acknowledgement.
            let records = audit.of_event(&id, &treat).unwrap();
            let doubts = records.iter().filter(|record| {
                let says_so = matches!(&record.says, Says::Decision(decision)
                    if decision.outcome == Outcome::InDoubt);
                says_so && record.at <= revoked.clock
            });
            let doubts = doubts.count();
            seen.listed += copies.min(doubts);
            seen.late += copies - copies.min(doubts);
        }
        // The file: what it holds of a subject by then is all that it will ever hold.
        let mut at = 0;
        for line in file.split_inclusive('\n') {
            let payload: serde_json::Value = serde_json::from_str(line).unwrap();
            let of = payload["subject"].as_str().and_then(|subject| revoked.get(subject));
            if let Some(revoked) = of.filter(|_| !crate::support::daemon::is_notice(&payload)) {
                if at < revoked.file { seen.in_file += 1 } else { seen.late_in_file += 1 }
            }
            at += line.len();
        }
        seen
    }
}

/// What was seen of the purpose that was revoked.
#[derive(Debug, Default)]
struct Seen {
    rounds: usize,
    /// Payloads that came to the broker before the acknowledgement.
    before: usize,
    /// That came after it and that the audit has as in doubt since before it.
    listed: usize,
    /// That came after it, without.
    late: usize,
    in_file: usize,
    late_in_file: usize,
}

fn now() -> Timestamp {
    Timestamp::now()
}

fn cuts(daemon: &Daemon, route: &str) -> f64 {
    let cut = "tidegate_publish_attempts_total";
    daemon.metric(&format!("{cut}{{route=\"{route}\",result=\"cut\"}}"))
}

/// While the broker confirms in the end, nothing is cut, and every payload that came is one that
/// was confirmed before the acknowledgement: there is no moment at which a late one is excused.
/// A proxy that reads late shows whoever does not wait for what is on its way.
///
/// PROMISE-6
#[test]
fn fault_59_in_thousands_of_revocations_under_load_nothing_is_published_behind_the_acknowledgement()
{
    const PROMPT: usize = 1_500;
    const SLOW: usize = 500;
    let _busy = crate::alone_with_the_processors();
    let (broker, _guard) = rabbit::shared();
    let proxy = Proxy::start(broker);
    let setup = setup(&proxy, "wall", "fence_timeout = \"60s\"\nconfirm_timeout = \"60s\"");
    let mut daemon = setup.start();
    let begun = Instant::now();
    let trial = Trial::new("wall", (&setup, &proxy, &daemon), Duration::from_secs(60));
    trial.run(8, |round| round < PROMPT);
    proxy.be(Manner::Slow(Duration::from_millis(12)));
    trial.run(8, |round| round < PROMPT + SLOW);
    proxy.be(Manner::Prompt);
    trial.settle();
    let cut = cuts(&daemon, "wall-treat");
    let seen = trial.verdict();
    println!("{seen:?} in {:?}", begun.elapsed());
    assert_eq!(cut, 0.0);
    assert_eq!((seen.late, seen.listed, seen.late_in_file), (0, 0, 0), "{seen:?}");
    assert!(
        2 * seen.before > seen.rounds && 2 * seen.in_file > seen.rounds,
        "too few to say: {seen:?}"
    );
    assert!(daemon.stop().success());
}

/// Whatever surfaces behind an acknowledgement was in a kernel by then, and the audit has had it as
/// in doubt since before: each copy of it by a record of its own.
///
/// PROMISE-6, PROMISE-9; faults 30 to 33
#[test]
fn fault_60_what_a_broker_in_trouble_lets_surface_late_is_in_the_audit_as_in_doubt() {
    let (broker, _guard) = rabbit::alone();
    let proxy = Proxy::start(broker);
    let setup = setup(&proxy, "doubt", "fence_timeout = \"150ms\"\nconfirm_timeout = \"3s\"");
    let mut daemon = setup.start();
    let begun = Instant::now();
    let trial = Trial::new("doubt", (&setup, &proxy, &daemon), Duration::from_millis(150));
    let nap = |millis| std::thread::sleep(Duration::from_millis(millis));
    let during = |what: &str, trouble: &dyn Fn()| {
        let (before, in_trouble) = (trial.rounds(), AtomicBool::new(true));
        std::thread::scope(|scope| {
            scope.spawn(|| trial.run(6, |_| in_trouble.load(Ordering::Relaxed)));
            nap(300);
            trouble();
            nap(300);
            in_trouble.store(false, Ordering::Relaxed);
        });
        let rounds = trial.rounds() - before;
        println!("{what}: {rounds} rounds, {} cut so far", cuts(&daemon, "doubt-treat"));
    };
    let turns = |count: usize, one: &dyn Fn(), other: &dyn Fn()| {
        for _ in 0..count {
            one();
            nap(500);
            other();
            nap(500);
        }
    };
    let prompt = || proxy.be(Manner::Prompt);
    during("frozen", &|| turns(6, &|| proxy.be(Manner::Frozen), &prompt));
    during("withheld", &|| turns(3, &|| proxy.be(Manner::Withholding), &prompt));
    during("reset", &|| turns(6, &|| proxy.reset(), &|| proxy.reset()));
    during("stopped", &|| turns(3, &|| broker.signal("STOP"), &|| broker.signal("CONT")));
    let watermark = |value: &str| drop(broker.ctl(&["set_vm_memory_high_watermark", value]));
    during("blocked", &|| turns(1, &|| watermark("0.00001"), &|| watermark("0.4")));
    during("killed", &|| turns(1, &|| broker.kill(), &|| broker.start()));
    trial.settle();
    let cut = cuts(&daemon, "doubt-treat");
    let seen = trial.verdict();
    println!("{seen:?}, {cut} cut, in {:?}", begun.elapsed());
    assert_eq!((seen.late, seen.late_in_file), (0, 0), "{seen:?}");
    assert_eq!(trial.counted(), 0.0);
    assert!(cut > 0.0 && seen.listed > 0 && seen.before > 0, "too little: {seen:?}");
    assert!(daemon.stop().success());
}

/// A frozen broker delays the acknowledgement of a revocation by `fence_timeout` and a reconnect at
/// most, that of its copy on another connection as long, and nobody else's.
///
/// PROMISE-6, PROMISE-12
#[test]
fn fault_31_a_frozen_broker_delays_revocations_until_the_fence_and_nobody_else() {
    const FENCE: Duration = Duration::from_secs(3);
    let (broker, _guard) = rabbit::shared();
    let proxy = Proxy::start(broker);
    let setup = setup(&proxy, "frost", "fence_timeout = \"3s\"\nconfirm_timeout = \"60s\"");
    let mut daemon = setup.start();
    let took = |message: &[u8]| {
        let mut sender = Sender::connect(daemon.feed());
        let begun = Instant::now();
        assert_eq!(sender.exchange(message).unwrap().code, "AA");
        begun.elapsed()
    };
    took(&adt("A08", "A1", "ZZ100001"));
    eventually("the routes are up", || {
        proxy.events_of("frost-treat", "EPIC|ZZ100001") == 1
            && daemon.metric("tidegate_route_lag_events{route=\"frost-treat\"}") == 0.0
    });
    proxy.be(Manner::Frozen);
    took(&adt("A08", "A2", "ZZ100001"));
    let inflight = "tidegate_publish_inflight{route=\"frost-treat\"}";
    eventually("it is on its way", || daemon.metric(inflight) == 1.0);
    let revocation = consent("X", "20261102", "C1", "ZZ100001");
    let waits = AtomicBool::new(true);
    let (revoked, mut others) = std::thread::scope(|scope| {
        let copies = [(); 2].map(|()| scope.spawn(|| took(&revocation)));
        let others = scope.spawn(|| {
            let mut others = Vec::new();
            while waits.load(Ordering::Relaxed) {
                let nth = others.len();
                others.push(took(&adt("A08", &format!("B{nth}"), "ZZ100002")));
            }
            others
        });
        let revoked = copies.map(|copy| copy.join().unwrap());
        waits.store(false, Ordering::Relaxed);
        (revoked, others.join().unwrap())
    });
    // Nothing is on its way any more: the next one waits for nothing.
    let next = took(&consent("X", "20261102", "C2", "ZZ100002"));
    others.sort_unstable();
    let (middle, most) = (others[others.len() / 2], others[others.len() - 1]);
    println!("{revoked:?}, then {next:?}; {} others: {middle:?}, at most {most:?}", others.len());
    for revoked in revoked {
        assert!(revoked >= FENCE.mul_f64(0.9), "it does not wait: {revoked:?}");
        assert!(revoked < FENCE + Duration::from_secs(15), "{revoked:?}");
        assert!(middle < revoked / 10 && most < revoked / 2, "{middle:?}, {most:?}");
    }
    assert!(others.len() >= 10 && next < FENCE / 2, "{next:?}");
    assert_eq!(cuts(&daemon, "frost-treat"), 2.0, "of either subject one was on its way");
    proxy.be(Manner::Prompt);
    eventually("the other purpose goes on", || {
        proxy.events_of("frost-claim", "EPIC|ZZ100001") == 2
    });
    assert!(daemon.stop().success());
}
