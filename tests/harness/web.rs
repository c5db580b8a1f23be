//! A server of files over HTTPS and HTTP on an address of the loopback that is the test's own.

use crate::Rkt;
use crate::command::run;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::collections::HashMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// An answer to be given.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// Status; 0 is 200.
    pub status: u16,
    /// Headers besides the length.
    pub headers: Vec<(String, String)>,
    /// Body.
    pub body: Vec<u8>,
    /// Sends so many bytes of the body and then nothing more, until the client goes away.
    pub hold: Option<usize>,
    /// The answer from the second request on, when it is another.
    pub then: Option<Box<Page>>,
}

impl Page {
    /// A body with status 200.
    pub fn new(body: impl Into<Vec<u8>>) -> Self {
        Self {
            body: body.into(),
            ..Self::default()
        }
    }

    /// Another status.
    #[must_use]
    pub fn status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    /// A header more.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Stops after so many bytes of the body.
    #[must_use]
    pub fn hold(mut self, bytes: usize) -> Self {
        self.hold = Some(bytes);
        self
    }

    /// Another answer from the second time on.
    #[must_use]
    pub fn then(mut self, page: Page) -> Self {
        self.then = Some(Box::new(page));
        self
    }
}

#[derive(Default)]
struct Shared {
    pages: Mutex<HashMap<String, Page>>,
    asked: Mutex<Vec<String>>,
    heads: Mutex<Vec<String>>,
    held: AtomicUsize,
    over: AtomicBool,
}

/// The server; it ends with the test.
pub struct Web {
    /// Name by which the rkt of the test knows it.
    pub name: String,
    /// File with the one certificate to be believed.
    pub root: PathBuf,
    shared: Arc<Shared>,
}

impl Web {
    /// Starts one for this name and `other.` before it, and has the rkt of the test find it there: in a hosts file that
    /// lies over /etc/hosts in its mount namespace.
    pub fn start(rkt: &Rkt, name: &str) -> Self {
        let number = crate::rkt::unique() + std::process::id();
        let address = format!("127.{}.{}.{}", 1 + number % 200, 1 + number / 200 % 200, 7);
        let hosts = rkt.file("hosts");
        fs::write(
            &hosts,
            format!("127.0.0.1 localhost\n{address} {name} other.{name}\n"),
        )
        .unwrap();
        let mut mount = rkt.inside("mount");
        mount.arg("--bind").arg(&hosts).arg("/etc/hosts");
        run(mount, None).ok();
        let (root, config) = certificate(rkt, name);
        let shared = Arc::new(Shared::default());
        for (port, tls) in [(443, Some(config)), (80, None)] {
            let listener = TcpListener::bind((address.as_str(), port)).unwrap();
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || {
                for socket in listener.incoming().flatten() {
                    if shared.over.load(Ordering::Relaxed) {
                        return;
                    }
                    let (shared, tls) = (Arc::clone(&shared), tls.clone());
                    std::thread::spawn(move || serve(&shared, tls, port, socket));
                }
            });
        }
        Self {
            name: name.to_owned(),
            root,
            shared,
        }
    }

    /// Gives a page at a path, such as `https/x` or `http/x?y`: the scheme is its first part.
    pub fn put(&self, path: &str, page: Page) {
        self.shared
            .pages
            .lock()
            .unwrap()
            .insert(path.to_owned(), page);
    }

    /// The heads of all requests since the last call, names of fields in lower case.
    pub fn heads(&self) -> Vec<String> {
        std::mem::take(&mut self.shared.heads.lock().unwrap())
    }

    /// How many answers have stopped half-way, see [`Page::hold`].
    pub fn held(&self) -> usize {
        self.shared.held.load(Ordering::Relaxed)
    }

    /// What was asked for since the last time: paths as in [`Web::put`].
    pub fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.shared.asked.lock().unwrap())
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Relaxed);
    }
}

fn certificate(rkt: &Rkt, name: &str) -> (PathBuf, Arc<rustls::ServerConfig>) {
    let (key, cert, config) = (
        rkt.file("tls.key"),
        rkt.file("tls.crt"),
        rkt.file("tls.cnf"),
    );
    let text = format!(
        "[req]\ndistinguished_name=dn\nx509_extensions=ext\nprompt=no\n[dn]\nCN={name}\n[ext]\nbasicConstraints=CA:FALSE\nsubjectAltName=DNS:{name},DNS:other.{name}\n"
    );
    fs::write(&config, text).unwrap();
    let mut command = Command::new("openssl");
    command.args(["req", "-x509", "-nodes", "-days", "2", "-newkey", "ec"]);
    command.args(["-pkeyopt", "ec_paramgen_curve:prime256v1", "-config"]);
    command
        .arg(&config)
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&cert);
    run(command, None).ok();
    let chain = vec![CertificateDer::from_pem_file(&cert).unwrap()];
    let key = PrivateKeyDer::from_pem_file(&key).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    (cert, Arc::new(config))
}

fn serve(shared: &Shared, tls: Option<Arc<rustls::ServerConfig>>, port: u16, socket: TcpStream) {
    let _ = socket.set_read_timeout(Some(Duration::from_secs(10)));
    match tls {
        Some(config) => {
            let connection = rustls::ServerConnection::new(config).unwrap();
            let mut stream = rustls::StreamOwned::new(connection, socket);
            answer(shared, port, &mut stream);
            stream.conn.send_close_notify();
            let _ = stream.flush();
        }
        None => answer(shared, port, &mut { socket }),
    }
}

fn answer(shared: &Shared, port: u16, stream: &mut (impl Read + Write)) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && head.len() < 16 << 10 {
        match stream.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            _ => return,
        }
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let path = head.split(' ').nth(1).unwrap_or("/");
    let scheme = if port == 443 { "https" } else { "http" };
    let path = format!("{scheme}{path}");
    shared.asked.lock().unwrap().push(path.clone());
    shared.heads.lock().unwrap().push(plain(&head));
    let page = {
        let mut pages = shared.pages.lock().unwrap();
        let found = pages.get(&path).cloned();
        if let Some(then) = found.as_ref().and_then(|p| p.then.clone()) {
            pages.insert(path, *then);
        }
        found.unwrap_or_else(|| Page::new("nothing").status(404))
    };
    let known = |tag: &str| {
        head.to_ascii_lowercase()
            .contains(&format!("if-none-match: {}", tag.to_ascii_lowercase()))
    };
    let same = page.headers.iter().any(|(n, v)| n == "ETag" && known(v));
    let first = if same {
        None
    } else {
        part(&plain(&head), &page)
    };
    let status = match (same, page.status) {
        (true, _) => 304,
        (false, 0) if first.is_some() => 206,
        (false, 0) => 200,
        (false, status) => status,
    };
    let body: &[u8] = match same {
        true => &[],
        false => &page.body[first.unwrap_or(0)..],
    };
    let mut out = format!(
        "HTTP/1.1 {status} x\r\nConnection: close\r\nContent-Length: {}\r\n",
        body.len()
    );
    for (name, value) in &page.headers {
        out.push_str(&format!("{name}: {value}\r\n"));
    }
    if let Some(first) = first {
        let (last, whole) = (page.body.len() - 1, page.body.len());
        out.push_str(&format!("Content-Range: bytes {first}-{last}/{whole}\r\n"));
    }
    out.push_str("\r\n");
    let end = page.hold.map_or(body.len(), |hold| hold.min(body.len()));
    let _ = stream
        .write_all(out.as_bytes())
        .and_then(|()| stream.write_all(&body[..end]))
        .and_then(|()| stream.flush());
    if end < body.len() {
        shared.held.fetch_add(1, Ordering::Relaxed);
        // Ends when the client does, or with the socket's time.
        let _ = stream.read(&mut [0]);
    }
}

/// A head with the names of its fields in lower case.
fn plain(head: &str) -> String {
    let lines = head.split("\r\n").map(|line| match line.split_once(": ") {
        Some((name, value)) => format!("{}: {value}", name.to_ascii_lowercase()),
        None => line.to_owned(),
    });
    lines.collect::<Vec<_>>().join("\r\n")
}

/// The first byte that is asked for, when a part of this very state is.
fn part(head: &str, page: &Page) -> Option<usize> {
    let field = |name: &str| head.lines().find_map(|l| l.strip_prefix(name));
    let first = field("range: bytes=")?.split('-').next()?.parse().ok()?;
    let (_, tag) = page.headers.iter().find(|(n, _)| n == "ETag")?;
    let same = field("if-range: ").is_none_or(|wanted| wanted == tag);
    (same && first < page.body.len()).then_some(first)
}
