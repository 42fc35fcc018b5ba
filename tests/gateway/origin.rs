//! Where gateways pull their configuration from: a real HTTPS server, with bad manners as options.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};

use crate::rotations::{KEY, authority, openssl};

/// A client that does not read or ask is left alone after this.
const PATIENCE: Duration = Duration::from_secs(10);

/// How the server answers.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Manner {
    /// The file with an `ETag`, or 304.
    Good,
    /// This status line and these headers, and nothing else.
    Says(&'static str),
    /// A byte a second.
    Slow,
    /// Chunks without an end.
    Endless,
    /// Half of what was announced, and then it hangs up.
    Cut,
    /// A `Content-Length` that is less than what comes.
    Short,
    /// Neither a length nor chunks.
    Unbounded,
    /// Bytes that are no UTF-8.
    Noise,
    /// No HTTP.
    Nonsense,
    /// It takes the connection and hangs up.
    HangsUp,
}

pub(crate) struct Origin {
    pub(crate) port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    text: Mutex<String>,
    /// What is beside it.
    signature: Mutex<Option<Vec<u8>>>,
    manner: Mutex<Manner>,
    /// Whole requests, and how each was answered.
    requests: Mutex<Vec<(String, u16)>>,
    /// What `Authorization` is to be.
    token: Option<String>,
    tls: Option<Arc<ServerConfig>>,
    ended: AtomicBool,
}

impl Origin {
    /// With certificates in `directory`; who has none by the authority `clients` is not let in, if there is one.
    pub(crate) fn start(directory: &Path, clients: Option<&str>, token: Option<&str>) -> Origin {
        Origin::serve(Some(tls(directory, clients)), token)
    }

    /// Without TLS.
    pub(crate) fn plain() -> Origin {
        Origin::serve(None, None)
    }

    fn serve(tls: Option<Arc<ServerConfig>>, token: Option<&str>) -> Origin {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            text: Mutex::default(),
            signature: Mutex::default(),
            manner: Mutex::new(Manner::Says("503 Service Unavailable\r\nRetry-After: 1")),
            requests: Mutex::default(),
            token: token.map(|token| format!("Bearer {token}")),
            tls,
            ended: AtomicBool::new(false),
        });
        let server = Arc::clone(&shared);
        std::thread::spawn(move || {
            for socket in listener.incoming() {
                if server.ended.load(Ordering::Relaxed) {
                    return;
                }
                let (socket, server) = (socket.unwrap(), Arc::clone(&server));
                // A client that goes away is the end of it.
                std::thread::spawn(move || server.take(socket).unwrap_or_default());
            }
        });
        Origin { port, shared }
    }

    /// Serves this text from now on, with good manners.
    pub(crate) fn offer(&self, text: &str) {
        self.hold(text);
        self.behave(Manner::Good);
    }

    /// The same, with the manners that it has.
    pub(crate) fn hold(&self, text: &str) {
        text.clone_into(&mut self.shared.text.lock().unwrap());
    }

    /// Puts this signature beside it.
    pub(crate) fn sign(&self, signature: Vec<u8>) {
        *self.shared.signature.lock().unwrap() = Some(signature);
    }

    pub(crate) fn behave(&self, manner: Manner) {
        *self.shared.manner.lock().unwrap() = manner;
    }

    /// How often it was answered so, as of now.
    pub(crate) fn answered(&self, status: u16) -> usize {
        let requests = self.shared.requests.lock().unwrap();
        requests.iter().filter(|(_, one)| *one == status).count()
    }

    pub(crate) fn last_request(&self) -> String {
        let requests = self.shared.requests.lock().unwrap();
        requests.last().map(|one| one.0.clone()).unwrap_or_default()
    }
}

impl Drop for Origin {
    /// Nobody answers there any more.
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
        drop(TcpStream::connect(("127.0.0.1", self.port)));
    }
}

trait Stream: Read + Write {}

impl<S: Read + Write> Stream for S {}

impl Shared {
    fn take(&self, socket: TcpStream) -> std::io::Result<()> {
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_write_timeout(Some(PATIENCE))?;
        let Some(tls) = &self.tls else {
            return self.answer(&mut &socket);
        };
        let server = ServerConnection::new(Arc::clone(tls)).map_err(std::io::Error::other)?;
        let mut stream = StreamOwned::new(server, socket);
        self.answer(&mut stream)?;
        stream.conn.send_close_notify();
        stream.flush()
    }

    fn answer(&self, stream: &mut dyn Stream) -> std::io::Result<()> {
        let request = head(stream)?;
        if request.contains("/gateway.toml.sig ") {
            return self.answer_with_signature(stream);
        }
        let text = self.text.lock().unwrap().clone();
        let manner = *self.manner.lock().unwrap();
        let etag = format!("\"{}\"", version_of(&text));
        let is_let_in = self
            .token
            .as_ref()
            .is_none_or(|token| request.contains(token.as_str()));
        let (status, line) = match manner {
            _ if !is_let_in => (401, "401 Unauthorized"),
            Manner::Good if request.contains(&etag) => (304, "304 Not Modified"),
            Manner::Says(line) => (line[..3].parse().unwrap(), line),
            Manner::Good
            | Manner::Slow
            | Manner::Endless
            | Manner::Cut
            | Manner::Short
            | Manner::Unbounded
            | Manner::Noise
            | Manner::Nonsense
            | Manner::HangsUp => (200, ""),
        };
        self.requests.lock().unwrap().push((request, status));
        if status == 200 {
            self.send(stream, manner, &text, &etag)?;
        } else {
            write!(stream, "HTTP/1.1 {line}\r\nContent-Length: 0\r\n\r\n")?;
        }
        stream.flush()
    }

    fn answer_with_signature(&self, stream: &mut dyn Stream) -> std::io::Result<()> {
        match &*self.signature.lock().unwrap() {
            None => write!(
                stream,
                "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
            )?,
            Some(signature) => {
                let length = signature.len();
                write!(
                    stream,
                    "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n"
                )?;
                stream.write_all(signature)?;
            }
        }
        stream.flush()
    }

    fn send(
        &self,
        stream: &mut dyn Stream,
        manner: Manner,
        text: &str,
        etag: &str,
    ) -> std::io::Result<()> {
        let length = text.len();
        let ok = |headers: &str| format!("HTTP/1.1 200 OK\r\n{headers}\r\n\r\n");
        let of = |length: usize| ok(&format!("Content-Length: {length}\r\nETag: {etag}"));
        match manner {
            Manner::Good => write!(stream, "{}{text}", of(length)),
            Manner::Slow => {
                write!(stream, "{}", of(length))?;
                slowly(stream, text.as_bytes())
            }
            Manner::Endless => {
                write!(stream, "{}", ok("Transfer-Encoding: chunked"))?;
                let chunk = format!("1000\r\n{}\r\n", "#".repeat(0x1000));
                while !self.ended.load(Ordering::Relaxed) {
                    stream.write_all(chunk.as_bytes())?;
                }
                Ok(())
            }
            Manner::Cut => write!(stream, "{}{}", of(length), &text[..length / 2]),
            Manner::Short => write!(stream, "{}{text}", of(length / 2)),
            Manner::Unbounded => write!(stream, "{}{text}", ok("Server: old")),
            Manner::Noise => {
                write!(stream, "{}", of(4))?;
                stream.write_all(&[0xff, 0xfe, 0, 1])
            }
            Manner::Nonsense => write!(stream, "220 ready when you are\r\n"),
            Manner::HangsUp | Manner::Says(_) => Ok(()),
        }
    }
}

fn slowly(stream: &mut dyn Stream, bytes: &[u8]) -> std::io::Result<()> {
    for byte in bytes {
        stream.write_all(&[*byte])?;
        stream.flush()?;
        std::thread::park_timeout(Duration::from_secs(1));
    }
    Ok(())
}

/// A request's head.
fn head(stream: &mut dyn Stream) -> std::io::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

/// A name for a version of the file.
fn version_of(text: &str) -> String {
    format!("{:016x}", xxhash_rust::xxh3::xxh3_64(text.as_bytes()))
}

fn tls(directory: &Path, clients: Option<&str>) -> Arc<ServerConfig> {
    let provider = Arc::new(default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider));
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(name) => {
            let mut roots = RootCertStore::empty();
            let file = directory.join(format!("{name}.crt"));
            roots
                .add(CertificateDer::from_pem_file(file).unwrap())
                .unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
            builder.with_client_cert_verifier(verifier.build().unwrap())
        }
    };
    let certificate = CertificateDer::from_pem_file(directory.join("server.crt")).unwrap();
    let key = PrivateKeyDer::from_pem_file(directory.join("server.key")).unwrap();
    Arc::new(builder.with_single_cert(vec![certificate], key).unwrap())
}

/// Authorities `ca` and `other`, a `server` by `ca`, and the gateway's own by either: `client` and `stranger`.
pub(crate) fn certificates(directory: &Path) {
    for name in ["ca", "other"] {
        authority(directory, name);
    }
    let extensions = "basicConstraints=CA:FALSE\nsubjectAltName=DNS:localhost,IP:127.0.0.1\n";
    fs::write(directory.join("extensions"), extensions).unwrap();
    for (name, by) in [("server", "ca"), ("client", "ca"), ("stranger", "other")] {
        let files = format!("-keyout {name}.key -out {name}.csr");
        openssl(directory, &format!("req {KEY} -subj /CN={name} {files}"));
        let sign =
            format!("-CA {by}.crt -CAkey {by}.key -set_serial 7 -days 30 -extfile extensions");
        openssl(
            directory,
            &format!("x509 -req -in {name}.csr -out {name}.crt {sign}"),
        );
    }
}
