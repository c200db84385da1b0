//! What the operating system says of a process, and of this machine.

use std::path::Path;
use std::time::Duration;

/// Ticks of `/proc/PID/stat` in a second; of user space this has always been Linux's.
const TICKS: u64 = 100;

/// Time of all processors that a process has used, in user space and in the kernel.
pub fn cpu(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // The name, in brackets, may hold anything.
    let (_, rest) = stat.rsplit_once(')').unwrap();
    let field = |number: usize| -> u64 {
        rest.split_whitespace().nth(number - 3).unwrap().parse().unwrap()
    };
    Duration::from_millis((field(14) + field(15)) * 1000 / TICKS)
}

/// Resident memory, now and at its greatest, in MiB.
pub fn memory(pid: u32) -> (f64, f64) {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let mib = |name: &str| -> f64 {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.split_whitespace().next().unwrap().parse::<f64>().unwrap() / 1024.0
    };
    (mib("VmRSS:"), mib("VmHWM:"))
}

/// Says what this is measured on.
pub fn describe_machine() {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split_whitespace().next().unwrap_or("?").to_owned();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let (device, kind) = disk(&std::env::temp_dir());
    println!("{cores} cores, load {load}; temporary files on {device} ({kind})");
    if kind == "tmpfs" {
        println!("nothing is durable on tmpfs: set TMPDIR to a folder on a disk");
    }
}

fn disk(path: &Path) -> (String, String) {
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap_or_default();
    let mounted = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ');
        let (device, at, kind) = (words.next()?, words.next()?, words.next()?);
        path.starts_with(at).then_some((at.len(), device.to_owned(), kind.to_owned()))
    });
    mounted
        .max_by_key(|(length, _, _)| *length)
        .map_or_else(|| ("?".to_owned(), "?".to_owned()), |(_, device, kind)| (device, kind))
}
