//! What systemd would hear: a socket that takes what a service notifies.

use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Listens in a thread of its own.
pub struct Supervisor {
    path: PathBuf,
    pings: Arc<Mutex<Vec<Instant>>>,
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
    _dir: tempfile::TempDir,
}

impl Supervisor {
    pub fn listen() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let pings = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let (into, stopped) = (Arc::clone(&pings), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while !stopped.load(Ordering::Relaxed) {
                let Ok(length) = socket.recv(&mut buffer) else { continue };
                if String::from_utf8_lossy(&buffer[..length]).contains("WATCHDOG=1") {
                    into.lock().unwrap().push(Instant::now());
                }
            }
        });
        Self { path, pings, stop, thread: Some(thread), _dir: dir }
    }

    /// What `NOTIFY_SOCKET` is to be.
    pub fn path(&self) -> &std::path::Path {
        &self.path
    }

    /// When the watchdog was fed.
    pub fn pings(&self) -> Vec<Instant> {
        self.pings.lock().unwrap().clone()
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}
