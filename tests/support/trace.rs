//! strace on a running daemon: system calls that fail, take long, or are its end.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::eventually;

/// A tracer, until it is dropped.
pub struct Trace {
    child: Child,
    output: PathBuf,
    _dir: tempfile::TempDir,
}

/// A call that was traced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    Write,
    Fsync,
    /// An fsync that said EIO.
    FailedFsync,
}

impl Call {
    /// Reads a line of strace's; a call that another thread interrupted has two, and counts by
    /// its second.
    fn read(line: &str) -> Option<Self> {
        let failed = line.contains("EIO");
        let is = |name: &str| {
            line.contains(&format!("{name}(")) || line.contains(&format!("{name} resumed"))
        };
        if !line.contains(" = ") {
            None
        } else if is("sync") {
            Some(if failed { Self::FailedFsync } else { Self::Fsync })
        } else {
            is("write").then_some(Self::Write).or(is("pwrite64").then_some(Self::Write))
        }
    }
}

impl Trace {
    /// Does something to the fsyncs of some files, as strace's `inject` says it, such as
    /// `error=EIO:when=1`, which counts for each thread.
    pub fn fsyncs(pid: u32, paths: &[PathBuf], what: &str) -> Self {
        Self::start(pid, paths, &format!("fsync,fdatasync:{what}"))
    }

    /// Does something to the writes of some files, in the same way.
    pub fn writes(pid: u32, paths: &[PathBuf], what: &str) -> Self {
        Self::start(pid, paths, &format!("write,pwrite64:{what}"))
    }

    fn start(pid: u32, paths: &[PathBuf], inject: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let output = dir.path().join("trace");
        let mut command = Command::new("strace");
        command.args(["-f", "-y", "-o"]).arg(&output);
        for path in paths {
            // A file that is not there yet is none that strace can follow.
            assert!(path.exists(), "{} is not there", path.display());
            command.arg("-P").arg(path);
        }
        let child = command
            .args(["-e", "trace=fsync,fdatasync,write,pwrite64"])
            .args(["-e", &format!("inject={inject}")])
            .args(["-p", &pid.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("these tests need strace: {error}"));
        eventually("strace holds every thread", || is_traced(pid));
        Self { child, output, _dir: dir }
    }

    /// The fsyncs and writes so far, in order; a call is there when it is over.
    pub fn calls(&self) -> Vec<Call> {
        let text = std::fs::read_to_string(&self.output).unwrap_or_default();
        text.lines().filter_map(Call::read).collect()
    }

    /// Ends the tracer, when a signal has ended what it traces in the middle of a call that it delays:
    /// it would see the call through.
    pub fn abandon(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits until the traced process has ended, and with it the tracer.
    pub fn finish(&mut self) -> Vec<Call> {
        eventually("strace ends with the daemon", || self.child.try_wait().unwrap().is_some());
        self.calls()
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        // TERM, so that it lets go of the daemon.
        if matches!(self.child.try_wait(), Ok(None)) {
            super::daemon::signal(self.child.id(), "TERM");
        }
        self.child.wait().ok();
    }
}

fn is_traced(pid: u32) -> bool {
    let tasks = std::fs::read_dir(Path::new("/proc").join(pid.to_string()).join("task")).unwrap();
    tasks.flatten().all(|task| {
        let status = std::fs::read_to_string(task.path().join("status")).unwrap_or_default();
        let is_held = |line: &str| line.starts_with("TracerPid:") && !line.ends_with("\t0");
        // What is injected may have ended it already.
        status.lines().any(|line| is_held(line) || line.starts_with("State:\tZ"))
    })
}
