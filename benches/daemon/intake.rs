//! Durable acknowledgements at 1, 16 and 64 connections, beside a group commit of the same bytes.

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use super::client::{self, Sample, Shared};
use super::commit::{GroupCommit, Rows};
use super::figures::{Series, Table, Target};
use super::process;
use super::support::daemon::{Daemon, Setup, TIDEGATE};

const CONNECTIONS: [usize; 3] = [1, 16, 64];
const ROUNDS: usize = 5;
/// Messages that tell how much the journal keeps of one.
const TOLD_BY: u64 = 64;
/// What an idle daemon is given to settle.
const SETTLE: Duration = Duration::from_secs(1);

/// Starts a daemon that logs what an operator's does.
pub fn start(setup: &Setup) -> Daemon {
    let mut command = Command::new("sh");
    setup.start_with(command.args(["-c", "TIDEGATE_LOG=info exec \"$0\" \"$@\"", TIDEGATE]))
}

/// Rates and processor times of one of the four.
#[derive(Default)]
struct Runs {
    rate: Series,
    cpu: Series,
}

impl Runs {
    fn push(&mut self, sample: Sample) {
        self.rate.push(sample.rate);
        self.cpu.push(sample.cpu);
    }
}

pub fn measure(table: &mut Table) {
    let mut idle = Series::default();
    let mut loaded = Series::default();
    for connections in CONNECTIONS {
        let setup = Setup::new();
        let daemon = start(&setup);
        let pid = daemon.child.id();
        std::thread::sleep(SETTLE);
        idle.push(process::memory(pid).0);
        let journal = setup.state_dir().join("journal.db");
        let bare = GroupCommit::new(&journal, Rows::Bare);
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_io().build().unwrap();
        let shared: [Arc<Shared>; 4] = std::array::from_fn(|_| Shared::new());
        client::send(&shared[0], daemon.feed(), 1, TOLD_BY);
        let rows = GroupCommit::new(&journal, Rows::Journal);
        let gate = rows.serve(&runtime);
        let mut runs: [Runs; 4] = Default::default();
        for round in 0..ROUNDS {
            // Who goes first changes, so that nobody always follows another's fsyncs.
            for which in (0..4).map(|place| (place + round) % 4) {
                let shared = &shared[which];
                runs[which].push(match which {
                    0 => {
                        let cpu = || process::cpu(pid);
                        client::measure(shared, daemon.feed(), connections, cpu)
                    }
                    1 => bare.measure(shared, connections),
                    2 => rows.measure(shared, connections),
                    _ => client::measure(shared, gate, connections, || Duration::ZERO),
                });
            }
        }
        runtime.shutdown_background();
        if connections == CONNECTIONS[CONNECTIONS.len() - 1] {
            loaded.push(process::memory(pid).1);
        }
        let [daemon, bare, rows, gate] = &runs;
        let name = format!("durable ACKs, {connections} connections");
        let target = Target::Least(0.7);
        table.ratio(&name, "1/s", &daemon.rate, ("SQLite over TCP", &gate.rate), target);
        for beside in [("without TCP", &rows.rate), ("raw bytes alone", &bare.rate)] {
            table.ratio("  the same", "1/s", &daemon.rate, beside, Target::None);
        }
        table.figure("  processor time a message", "µs", &daemon.cpu, Target::None);
    }
    table.figure("memory, idle", "MiB", &idle, Target::Most(40.0));
    table.figure("memory, 64 connections, peak", "MiB", &loaded, Target::Most(150.0));
}
