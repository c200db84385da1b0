//! A tidegate of its own: its folder, its configuration, its log.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::Duration;

use super::{canary, eventually};

/// The binary under test.
pub const TIDEGATE: &str = env!("CARGO_BIN_EXE_tidegate");

/// A folder with a configuration.
pub struct Setup {
    pub dir: tempfile::TempDir,
    admin: String,
    feed: String,
    listen: String,
    node: String,
    realm: String,
    sections: String,
}

impl Setup {
    /// A configuration with one feed on a free port and no route yet.
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("routes")).unwrap();
        Self {
            dir,
            admin: "dev = true".to_owned(),
            feed: "processing_id = \"any\"\n".to_owned(),
            listen: "listen = \"127.0.0.1:0\"".to_owned(),
            node: String::new(),
            realm: "tokens = \"keyed\"".to_owned(),
            sections: String::new(),
        }
    }

    /// Takes other lines for `[admin]` than `dev = true`.
    pub fn admin(mut self, lines: &str) -> Self {
        lines.clone_into(&mut self.admin);
        self
    }

    /// Takes another `processing_id` than any; none where it is empty.
    pub fn processing_id(mut self, value: &str) -> Self {
        let line =
            if value.is_empty() { String::new() } else { format!("processing_id = {value:?}\n") };
        self.feed = self.feed.replace("processing_id = \"any\"\n", &line);
        self
    }

    /// Lets the feed listen elsewhere than on a free port of 127.0.0.1.
    pub fn listening(mut self, address: &str) -> Self {
        self.listen = format!("listen = {address:?}");
        self
    }

    /// Lets the feed dial out instead of listening.
    pub fn dialing(mut self, address: &str) -> Self {
        self.listen = format!("connect = {address:?}");
        self
    }

    /// Adds lines to the feed.
    pub fn feed(mut self, lines: &str) -> Self {
        writeln!(self.feed, "{lines}").unwrap();
        self
    }

    /// Adds lines to `[node]`.
    pub fn node(mut self, lines: &str) -> Self {
        writeln!(self.node, "{lines}").unwrap();
        self
    }

    /// Takes other lines for the realm `care` than that its tokens are keyed.
    pub fn realm(mut self, lines: &str) -> Self {
        lines.clone_into(&mut self.realm);
        self
    }

    /// Puts a route that was added into another realm, whose tokens are in the vault.
    pub fn in_realm(self, route: &str, realm: &str) -> Self {
        let path = self.dir.path().join(format!("routes/{route}.toml"));
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(path, text.replace("realm = \"care\"", &format!("realm = {realm:?}")))
            .unwrap();
        self.section(&format!("[[realm]]\nname = {realm:?}\ntokens = \"vault\""))
    }

    /// Adds a section.
    pub fn section(mut self, lines: &str) -> Self {
        writeln!(self.sections, "{lines}").unwrap();
        self
    }

    /// Adds `[rabbitmq]`.
    pub fn rabbitmq(self, url: &str, lines: &str) -> Self {
        self.section(&format!("[rabbitmq]\nurl = \"{url}\"\n{lines}"))
    }

    /// Adds a route that lets everything out.
    pub fn route(self, name: &str, events: &[&str], deliver: &str) -> Self {
        let everything = "\"subject\" = \"keep\"\n\"message\" = \"keep\"\n\"patient\" = \"keep\"\n\
             \"visit\" = \"keep\"\n\"report\" = \"keep\"\n\"observations\" = \"keep\"\n";
        self.contract(name, events, "identified", "TREAT", everything, deliver)
    }

    /// Adds a route.
    pub fn contract(
        self,
        name: &str,
        events: &[&str],
        tier: &str,
        purpose: &str,
        fields: &str,
        deliver: &str,
    ) -> Self {
        let text = format!(
            "name = \"{name}\"\nversion = \"1.0.0\"\nschema = 1\nconsumer = \"c\"\nowner = \"o\"\n\
             purpose = \"{purpose}\"\nrealm = \"care\"\ntier = \"{tier}\"\nevents = {events:?}\n\
             [consent]\nrequire = \"none\"\nbasis = \"a test\"\n[fields]\n{fields}\n[deliver]\n{deliver}\n"
        );
        std::fs::write(self.dir.path().join(format!("routes/{name}.toml")), text).unwrap();
        self
    }

    /// Adds a route to a file `out/NAME.ndjson` that asks for a consent, by the lines of its
    /// `[consent]`, and lets out pseudonyms.
    pub fn pseudonymous(
        self,
        name: &str,
        purpose: &str,
        consent: &str,
        events: &[&str],
        fields: &str,
    ) -> Self {
        let deliver = format!("kind = \"file\"\npath = \"out/{name}.ndjson\"");
        self.contract(name, events, "pseudonymized", purpose, fields, &deliver)
            .asking(name, purpose, consent)
    }

    /// Lets the route that was added ask for a consent, by the lines of its `[consent]`.
    pub fn asking(self, name: &str, purpose: &str, consent: &str) -> Self {
        let path = self.dir.path().join(format!("routes/{name}.toml"));
        let text = std::fs::read_to_string(&path).unwrap();
        let text = text
            .replace("purpose = \"TREAT\"", &format!("purpose = \"{purpose}\""))
            .replace("require = \"none\"\nbasis = \"a test\"", consent);
        std::fs::write(path, text).unwrap();
        self
    }

    /// Adds lines before the tables of a route that was added.
    pub fn saying(self, name: &str, lines: &str) -> Self {
        let path = self.dir.path().join(format!("routes/{name}.toml"));
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(path, format!("{lines}\n{text}")).unwrap();
        self
    }

    /// Adds `[consent]` with a consent.toml.
    pub fn policy(self, text: &str) -> Self {
        std::fs::write(self.dir.path().join("consent.toml"), text).unwrap();
        self.section("[consent]\nfile = \"consent.toml\"")
    }

    /// Adds a route with everything to a file `out/NAME.ndjson`.
    pub fn file_route(self, name: &str, events: &[&str]) -> Self {
        let deliver = format!("kind = \"file\"\npath = \"out/{name}.ndjson\"");
        self.route(name, events, &deliver)
    }

    /// Adds a file below `mappings/sites`, over the shipped mappings, without the shipped sites.
    pub fn site(self, file: &str, text: &str) -> Self {
        let own = self.dir.path().join("mappings");
        if !own.exists() {
            std::fs::create_dir(&own).unwrap();
            let shipped = std::env::current_dir().unwrap().join("mappings");
            for folder in ["hl7", "tables", "fhir"] {
                std::os::unix::fs::symlink(shipped.join(folder), own.join(folder)).unwrap();
            }
        }
        let path = own.join("sites").join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
        self
    }

    /// The folder of everything durable.
    pub fn state_dir(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    /// Writes the configuration, and gives its path.
    pub fn config(&self) -> PathBuf {
        let own = self.dir.path().join("mappings");
        let shipped = std::env::current_dir().unwrap().join("mappings");
        let mappings = if own.exists() { own } else { shipped };
        let text = format!(
            "[node]\nname = \"gate\"\nenvironment = \"test\"\nstate_dir = \"state\"\n{}\n\
             [admin]\nlisten = \"127.0.0.1:0\"\n{}\n\
             [[feed]]\nname = \"adt\"\nkind = \"mllp\"\n{}\n{}\n\
             [[realm]]\nname = \"care\"\n{}\n\
             [mappings]\ndir = {mappings:?}\n[routes]\ndir = \"routes\"\n{}",
            self.node, self.admin, self.listen, self.feed, self.realm, self.sections
        );
        let path = self.dir.path().join("tidegate.toml");
        std::fs::write(&path, text).unwrap();
        path
    }

    /// The notices of a file route, out of what it let out.
    pub fn notices(&self, route: &str) -> Vec<serde_json::Value> {
        self.lines(route).into_iter().filter(is_notice).collect()
    }

    /// The events of a file route.
    pub fn events(&self, route: &str) -> Vec<serde_json::Value> {
        self.lines(route).into_iter().filter(|line| !is_notice(line)).collect()
    }

    /// The lines of a file route, up to its last line end: what is behind it is being written.
    pub fn lines(&self, route: &str) -> Vec<serde_json::Value> {
        let path = self.state_dir().join(format!("out/{route}.ndjson"));
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Starts a daemon, and waits until it listens.
    pub fn start(&self) -> Daemon {
        self.start_with(&mut Command::new(TIDEGATE))
    }

    /// Starts a daemon by another command, such as one that traces it.
    pub fn start_with(&self, command: &mut Command) -> Daemon {
        let mut daemon = self.spawn(command);
        let state = self.state_dir();
        eventually("the daemon listens", || {
            if let Some(status) = daemon.child.try_wait().unwrap() {
                panic!("the daemon ended with {status}:\n{}", daemon.log());
            }
            let text = std::fs::read_to_string(state.join("listening.json")).unwrap_or_default();
            match serde_json::from_str(&text) {
                Ok(addresses) => {
                    daemon.addresses = addresses;
                    true
                }
                Err(_) => false,
            }
        });
        daemon
    }

    /// Starts a daemon without waiting for anything.
    pub fn spawn(&self, command: &mut Command) -> Daemon {
        let config = self.config();
        std::fs::remove_file(self.state_dir().join("listening.json")).ok();
        let log = self.dir.path().join("log");
        let file = std::fs::File::options().create(true).append(true).open(&log).unwrap();
        // Everything is logged, so that the search for patient data sees everything.
        let child = command
            .args(["run", "--config"])
            .arg(config)
            .env("TIDEGATE_LOG", "trace")
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .unwrap();
        Daemon { child, addresses: BTreeMap::new(), log }
    }

    /// What `check` says of the configuration: its exit code, and its lines.
    pub fn check(&self) -> (i32, Vec<String>) {
        self.config();
        let output = self.command(&["check"]);
        let text = String::from_utf8(output.stderr).unwrap();
        (output.status.code().unwrap(), text.lines().map(str::to_owned).collect())
    }

    /// Runs a command that looks things up.
    pub fn command(&self, arguments: &[&str]) -> Output {
        Command::new(TIDEGATE)
            .args(arguments)
            .arg("--config")
            .arg(self.dir.path().join("tidegate.toml"))
            .output()
            .unwrap()
    }

    /// The lines of JSON that a command prints.
    pub fn json(&self, arguments: &[&str]) -> Vec<serde_json::Value> {
        let output = self.command(&[arguments, &["--json"]].concat());
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// A running daemon. When it is dropped it is killed, and its log searched for patient data.
pub struct Daemon {
    pub child: Child,
    addresses: BTreeMap<String, SocketAddr>,
    log: PathBuf,
}

impl Daemon {
    /// Where the feed listens.
    pub fn feed(&self) -> SocketAddr {
        self.addresses["adt"]
    }

    /// Where another feed listens.
    pub fn feed_named(&self, name: &str) -> SocketAddr {
        self.addresses[name]
    }

    /// Where the API listens.
    pub fn admin(&self) -> SocketAddr {
        self.addresses["admin"]
    }

    /// Everything that was logged.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// GET, with its status and body.
    pub fn get(&self, path: &str) -> (u16, String) {
        http_get(self.admin(), path)
    }

    /// A metric, by name and the labels as they are written; 0 where there is none.
    pub fn metric(&self, series: &str) -> f64 {
        let (_, text) = self.get("/metrics");
        canary::assert_none("/metrics", &text);
        let line = text
            .lines()
            .find(|line| line.strip_prefix(series).is_some_and(|rest| rest.starts_with(' ')));
        line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(0.0)
    }

    /// Ends it at once, as a crash does.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// PROMISE-10: panics where a metric, a log line or a health answer holds a marked word.
    /// A daemon that has ended, or that does not answer, has its log searched alone.
    pub fn assert_no_patient_data(&mut self) {
        if let (Some(admin), Ok(None)) = (self.addresses.get("admin"), self.child.try_wait()) {
            for path in ["/metrics", "/livez", "/readyz"] {
                if let Ok((_, body)) = try_http_get(*admin, path) {
                    canary::assert_none(path, &body);
                }
            }
        }
        canary::assert_none_in_file(&self.log);
        // The evidence is not sealed, so that it can be verified without a key.
        let state = self.log.with_file_name("state");
        for file in ["audit.db", "audit.db-wal"].map(|name| state.join(name)) {
            if file.exists() {
                canary::assert_none_in_records_of(&file);
            }
        }
    }

    /// Tells it to stop, and waits.
    pub fn stop(&mut self) -> ExitStatus {
        self.assert_no_patient_data();
        signal(self.child.id(), "TERM");
        self.wait()
    }

    /// Waits until it ends by itself.
    pub fn wait(&mut self) -> ExitStatus {
        let mut status = None;
        eventually("the daemon ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.assert_no_patient_data();
        }
        self.child.kill().ok();
        self.child.wait().ok();
        if !std::thread::panicking() {
            canary::assert_none_in_file(&self.log);
        }
    }
}

/// Sends a signal to a process.
pub fn signal(pid: u32, name: &str) {
    let status = Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status();
    assert!(status.unwrap().success());
}

/// A plain HTTP/1.1 GET.
pub fn http_get(address: SocketAddr, path: &str) -> (u16, String) {
    http(address, &format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"))
}

/// A plain HTTP/1.1 exchange.
pub fn http(address: SocketAddr, request: &str) -> (u16, String) {
    try_http(address, request, Duration::from_secs(30)).unwrap()
}

/// A GET of a daemon that may be frozen, or just gone.
pub fn try_http_get(address: SocketAddr, path: &str) -> std::io::Result<(u16, String)> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    try_http(address, &request, Duration::from_secs(2))
}

fn try_http(
    address: SocketAddr,
    request: &str,
    patience: Duration,
) -> std::io::Result<(u16, String)> {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(address)?;
    stream.set_read_timeout(Some(patience))?;
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or(std::io::ErrorKind::UnexpectedEof)?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    Ok((status.ok_or(std::io::ErrorKind::InvalidData)?, body.to_owned()))
}

/// Resident memory of a process, in KiB.
pub fn resident_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("status"));
    let status = status.unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Whether a payload is a notice.
pub fn is_notice(line: &serde_json::Value) -> bool {
    line["dataschema"] == tidegate::event::json_schema::notice_schema_uri()
}
