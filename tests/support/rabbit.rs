//! A RabbitMQ of our own: its node name, its ports, its folder; on loopback; started once for a
//! test binary, and stopped with it.
//!
//! It is a child of a shell that reads a pipe from this process and kills it when that closes:
//! also when a test is killed, no node stays behind.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::eventually;

const BIN: &str = "/usr/lib/rabbitmq/bin";

/// The broker of this test binary.
pub struct Rabbit {
    dir: tempfile::TempDir,
    port: u16,
    epmd_port: u16,
    dist_port: u16,
    node: String,
    process: Mutex<Option<Child>>,
    used: RwLock<()>,
}

/// The broker, for a test that does nothing to it that others would feel.
pub fn shared() -> (&'static Rabbit, RwLockReadGuard<'static, ()>) {
    let rabbit = instance();
    (rabbit, rabbit.used.read().unwrap_or_else(PoisonError::into_inner))
}

/// The broker, for a test that kills, blocks or freezes it.
pub fn alone() -> (&'static Rabbit, RwLockWriteGuard<'static, ()>) {
    let rabbit = instance();
    let guard = rabbit.used.write().unwrap_or_else(PoisonError::into_inner);
    rabbit.start();
    (rabbit, guard)
}

fn instance() -> &'static Rabbit {
    static RABBIT: OnceLock<Rabbit> = OnceLock::new();
    RABBIT.get_or_init(|| {
        assert!(
            PathBuf::from(BIN).join("rabbitmq-server").exists(),
            "these tests need Debian's rabbitmq-server; `make test` installs it"
        );
        let dir = tempfile::tempdir().unwrap();
        let [port, epmd_port, dist_port] = free_ports();
        let node = format!("tidegate{}@localhost", std::process::id());
        // Its own data and no plugins; every user of this machine may use it as guest.
        std::fs::write(dir.path().join("enabled_plugins"), "[].\n").unwrap();
        std::fs::write(dir.path().join("rabbitmq.conf"), "log.file.level = error\n").unwrap();
        let rabbit = Rabbit {
            dir,
            port,
            epmd_port,
            dist_port,
            node,
            process: Mutex::new(None),
            used: RwLock::new(()),
        };
        rabbit.start();
        rabbit
    })
}

impl Rabbit {
    /// Where it is.
    pub fn url(&self) -> String {
        format!("amqp://guest:guest@127.0.0.1:{}/%2f", self.port)
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Starts it where it does not run, and waits until it serves.
    pub fn start(&self) {
        let mut process = self.process.lock().unwrap_or_else(PoisonError::into_inner);
        if process.is_some() {
            return;
        }
        let log = std::fs::File::create(self.dir.path().join("output")).unwrap();
        // setsid: the node is a group of its own, which is killed whole. The port mapper is
        // started here, since one that the node started would stay behind.
        let script = format!(
            "epmd & mapper=$!; setsid {BIN}/rabbitmq-server & server=$!; cat > /dev/null; \
             kill -9 -$server $mapper"
        );
        let child = self
            .command("sh")
            .args(["-c", &script])
            .stdin(Stdio::piped())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        *process = Some(child);
        eventually("RabbitMQ serves", || self.serves());
    }

    /// Kills it at once.
    pub fn kill(&self) {
        let mut process = self.process.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(mut child) = process.take() else { return };
        drop(child.stdin.take());
        child.wait().unwrap();
        eventually("RabbitMQ is gone", || {
            std::net::TcpStream::connect(("127.0.0.1", self.port)).is_err()
        });
    }

    /// Stops (`STOP`) or continues (`CONT`) its process.
    pub fn signal(&self, name: &str) {
        super::daemon::signal(self.pid(), name);
    }

    /// Runs rabbitmqctl.
    pub fn ctl(&self, arguments: &[&str]) -> String {
        let output = self
            .command(&format!("{BIN}/rabbitmqctl"))
            .args(["--quiet", "--node", &self.node])
            .args(arguments)
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{arguments:?}: {}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    }

    fn serves(&self) -> bool {
        use std::io::{Read, Write};
        let Ok(mut stream) = std::net::TcpStream::connect(("127.0.0.1", self.port)) else {
            return false;
        };
        stream.set_read_timeout(Some(std::time::Duration::from_secs(2))).unwrap();
        // A wrong header makes a broker that serves say which one it wants.
        stream.write_all(b"AMQP\x00\x00\x00\x00").is_ok()
            && matches!(stream.read(&mut [0; 8]), Ok(8))
    }

    fn command(&self, program: &str) -> Command {
        let dir = self.dir.path();
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin")
            .env("HOME", dir)
            .env("LANG", "C.UTF-8")
            .env("HOSTNAME", "localhost")
            .env("RABBITMQ_NODENAME", &self.node)
            .env("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1")
            .env("RABBITMQ_NODE_PORT", self.port.to_string())
            .env("RABBITMQ_DIST_PORT", self.dist_port.to_string())
            .env("RABBITMQ_MNESIA_BASE", dir.join("mnesia"))
            .env("RABBITMQ_LOG_BASE", dir.join("log"))
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", dir.join("enabled_plugins"))
            .env("RABBITMQ_CONFIG_FILE", dir.join("rabbitmq.conf"))
            .env("RABBITMQ_CONF_ENV_FILE", dir.join("none"))
            .env("RABBITMQ_PID_FILE", dir.join("pid"))
            .env(
                "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS",
                "-kernel inet_dist_use_interface {127,0,0,1}",
            )
            .env("ERL_EPMD_PORT", self.epmd_port.to_string())
            .env("ERL_EPMD_ADDRESS", "127.0.0.1");
        command
    }

    /// The process of the node, which its start script notes.
    fn pid(&self) -> u32 {
        let text = std::fs::read_to_string(self.dir.path().join("pid")).unwrap();
        text.trim().parse().unwrap()
    }
}

/// Ports that were free a moment ago, all different.
fn free_ports<const N: usize>() -> [u16; N] {
    let listeners: [TcpListener; N] =
        std::array::from_fn(|_| TcpListener::bind(("127.0.0.1", 0)).unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}
