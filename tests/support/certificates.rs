//! Authorities and certificates of a test's own, made by openssl; and peers that speak TLS.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::sender::Sender;

/// A connection of a peer that uses rustls.
pub type TlsStream = StreamOwned<ClientConnection, TcpStream>;

/// An authority: `NAME.pem`, `NAME.key` in a folder.
pub struct Authority {
    dir: PathBuf,
    name: String,
}

/// A certificate with its key.
#[derive(Clone)]
pub struct Issued {
    pub cert: PathBuf,
    pub key: PathBuf,
}

/// Runs openssl in a folder.
pub fn openssl(dir: &Path, arguments: &[&str]) -> Output {
    run(Command::new("openssl").args(arguments).current_dir(dir))
}

fn run(command: &mut Command) -> Output {
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

/// Lets the owner alone read a file, as a key has to be.
pub fn private(path: &Path) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

impl Authority {
    pub fn new(dir: &Path, name: &str) -> Self {
        let subject = format!("/CN=ZZ authority {name}");
        let (cert, key) = (format!("{name}.pem"), format!("{name}.key"));
        openssl(
            dir,
            &[
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
                "-nodes",
                "-keyout",
                &key,
                "-out",
                &cert,
                "-subj",
                &subject,
                "-days",
                "3650",
                "-addext",
                "keyUsage=critical,keyCertSign,cRLSign",
            ],
        );
        Self { dir: dir.to_path_buf(), name: name.to_owned() }
    }

    /// Its own certificate.
    pub fn cert(&self) -> PathBuf {
        self.dir.join(format!("{}.pem", self.name))
    }

    /// A certificate for a common name and alternative names such as `DNS:localhost,IP:127.0.0.1`,
    /// that is valid from now for 100 days.
    pub fn issue(&self, common: &str, alternative: &str) -> Issued {
        self.issue_at(common, alternative, None)
    }

    /// The same as made at a time such as `2020-01-01` or `10 days ago`.
    pub fn issue_at(&self, common: &str, alternative: &str, at: Option<&str>) -> Issued {
        let extensions = format!("basicConstraints=CA:FALSE\nsubjectAltName={alternative}\n");
        let extensions = if alternative.is_empty() {
            "basicConstraints=CA:FALSE\n".to_owned()
        } else {
            extensions
        };
        self.sign(common, &extensions, at)
    }

    /// An authority below it.
    pub fn intermediate(&self, name: &str) -> Self {
        let extensions =
            "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\n";
        let issued = self.sign(name, extensions, None);
        std::fs::rename(issued.cert, self.dir.join(format!("{name}.pem"))).unwrap();
        std::fs::rename(issued.key, self.dir.join(format!("{name}.key"))).unwrap();
        Self { dir: self.dir.clone(), name: name.to_owned() }
    }

    fn sign(&self, common: &str, extensions: &str, at: Option<&str>) -> Issued {
        let stem = format!("{}-of-{}", common.replace(['/', ' ', '.'], "-"), self.name);
        let path = |ending: &str| format!("{stem}.{ending}");
        let (key, request, cert, file) = (path("key"), path("csr"), path("pem"), path("ext"));
        std::fs::write(self.dir.join(&file), extensions).unwrap();
        openssl(
            &self.dir,
            &[
                "req",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
                "-nodes",
                "-keyout",
                &key,
                "-out",
                &request,
                "-subj",
                &format!("/CN={common}"),
            ],
        );
        let (ca, ca_key) = (format!("{}.pem", self.name), format!("{}.key", self.name));
        let sign = [
            "x509",
            "-req",
            "-in",
            &request,
            "-CA",
            &ca,
            "-CAkey",
            &ca_key,
            "-CAcreateserial",
            "-days",
            "100",
            "-extfile",
            &file,
            "-out",
            &cert,
        ];
        match at {
            None => openssl(&self.dir, &sign),
            Some(at) => {
                let mut command = Command::new("faketime");
                run(command.arg(at).arg("openssl").args(sign).current_dir(&self.dir))
            }
        };
        private(&self.dir.join(&key));
        Issued { cert: self.dir.join(cert), key: self.dir.join(key) }
    }

    /// A revocation list with these certificates, written to a file.
    pub fn revoke(&self, revoked: &[&Issued], to: &Path) {
        let database = self.dir.join(format!("{}.db", self.name));
        std::fs::write(&database, "").unwrap();
        let number = self.dir.join(format!("{}.crlnumber", self.name));
        if !number.exists() {
            std::fs::write(&number, "01\n").unwrap();
        }
        let config = self.dir.join(format!("{}.cnf", self.name));
        let text = format!(
            "[ca]\ndefault_ca = one\n[one]\ndatabase = {}\ncertificate = {}\nprivate_key = {}\n\
             default_md = sha256\ndefault_crl_days = 30\ncrlnumber = {}\n\
             crl_extensions = list\n[list]\nauthorityKeyIdentifier = keyid:always\n",
            database.display(),
            self.cert().display(),
            self.dir.join(format!("{}.key", self.name)).display(),
            number.display()
        );
        std::fs::write(&config, text).unwrap();
        let config = config.to_str().unwrap();
        for one in revoked {
            openssl(&self.dir, &["ca", "-config", config, "-revoke", one.cert.to_str().unwrap()]);
        }
        openssl(&self.dir, &["ca", "-config", config, "-gencrl", "-out", to.to_str().unwrap()]);
    }
}

impl Authority {
    /// What verifies by it.
    pub fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.cert()).unwrap()).unwrap();
        roots
    }
}

impl Issued {
    /// What a handshake takes.
    pub fn read(&self) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let chain: Result<Vec<_>, _> = CertificateDer::pem_file_iter(&self.cert).unwrap().collect();
        (chain.unwrap(), PrivateKeyDer::from_pem_file(&self.key).unwrap())
    }
}

/// A sender over TLS, by rustls; who verifies by an authority and brings what it has.
pub fn connect(
    to: SocketAddr,
    authority: &Authority,
    own: Option<&Issued>,
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> std::io::Result<Sender<TlsStream>> {
    over(TcpStream::connect(to)?, authority, own, versions)
}

/// The same on a connection that is there.
pub fn over(
    stream: TcpStream,
    authority: &Authority,
    own: Option<&Issued>,
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> std::io::Result<Sender<TlsStream>> {
    let roots = authority.roots();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots);
    let config = match own {
        Some(own) => {
            let (chain, key) = own.read();
            builder.with_client_auth_cert(chain, key).unwrap()
        }
        None => builder.with_no_client_auth(),
    };
    let name = ServerName::try_from("localhost").unwrap();
    let connection = ClientConnection::new(Arc::new(config), name).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    let mut stream = StreamOwned::new(connection, stream);
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock)?;
    }
    Ok(Sender::by(stream))
}

/// Both versions.
pub static VERSIONS: [&rustls::SupportedProtocolVersion; 2] =
    [&rustls::version::TLS13, &rustls::version::TLS12];

/// Sends bytes by `openssl s_client`, and waits for so many frames of answers: what it printed, and
/// what it said of the connection.
pub fn s_client(
    to: SocketAddr,
    arguments: &[&str],
    bytes: &[u8],
    frames: usize,
) -> (Vec<u8>, String) {
    use std::io::Read;
    let mut child = Command::new("openssl")
        .args(["s_client", "-connect", &to.to_string(), "-nocommands", "-ign_eof", "-verify_quiet"])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // It may have ended by then, where it is not let in.
    stdin.write_all(bytes).ok();
    stdin.flush().ok();
    let mut stdout = child.stdout.take().unwrap();
    let (mut out, mut chunk) = (Vec::new(), [0; 4096]);
    while frames > 0 && out.windows(2).filter(|pair| pair == b"\x1c\r").count() < frames {
        match stdout.read(&mut chunk).unwrap() {
            0 => break,
            read => out.extend_from_slice(&chunk[..read]),
        }
    }
    if frames > 0 {
        child.kill().ok();
    }
    drop(stdin);
    stdout.read_to_end(&mut out).unwrap();
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    child.wait().unwrap();
    (out, said)
}
