//! A certificate authority of a test, and a token service over TLS that it vouches for.

use crate::command::tool;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::json;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

/// An authority and one certificate of it, for `127.0.0.1`, `localhost` and `registry.test`.
pub struct Ca {
    /// Its own certificate.
    pub root: PathBuf,
    /// The server's certificate.
    pub certificate: PathBuf,
    /// The server's key.
    pub key: PathBuf,
}

impl Ca {
    /// Makes both in a new directory, by the program `openssl`.
    pub fn new(dir: &Path) -> Self {
        fs::create_dir_all(dir).unwrap();
        let path = |name: &str| dir.join(name);
        let text = |name: &str| path(name).display().to_string();
        let openssl = |line: String| tool("openssl", &line.split(' ').collect::<Vec<_>>());
        openssl(format!(
            "req -x509 -newkey rsa:2048 -nodes -keyout {} -out {} -days 2 -subj /CN=lab-root",
            text("ca.key"),
            text("ca.crt")
        ));
        openssl(format!(
            "req -newkey rsa:2048 -nodes -keyout {} -out {} -subj /CN=localhost",
            text("server.key"),
            text("server.csr")
        ));
        fs::write(
            path("ext"),
            "subjectAltName=DNS:localhost,DNS:registry.test,IP:127.0.0.1\n",
        )
        .unwrap();
        openssl(format!(
            "x509 -req -in {} -CA {} -CAkey {} -CAcreateserial -out {} -days 2 -extfile {}",
            text("server.csr"),
            text("ca.crt"),
            text("ca.key"),
            text("server.crt"),
            text("ext")
        ));
        Self {
            root: path("ca.crt"),
            certificate: path("server.crt"),
            key: path("server.key"),
        }
    }
}

/// A service that gives tokens to `me` with `secret`. Its threads end with the test program.
pub struct Tokens {
    /// `127.0.0.1:PORT`.
    pub address: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Tokens {
    /// One that signs by the authority's server key.
    pub fn start(ca: &Ca) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let certificate = CertificateDer::from_pem_file(&ca.certificate).unwrap();
        let key = PrivateKeyDer::from_pem_file(&ca.key).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.clone()], key)
            .unwrap();
        let config = Arc::new(config);
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let log = asked.clone();
        let key = ca.key.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (config, log, key) = (config.clone(), log.clone(), key.clone());
                let chain = base64(&certificate, STANDARD);
                std::thread::spawn(move || serve(client, config, &log, &key, &chain));
            }
        });
        Self { address, asked }
    }

    /// First line and `Authorization` of all requests.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

fn serve(
    client: TcpStream,
    config: Arc<ServerConfig>,
    log: &Mutex<Vec<String>>,
    key: &Path,
    chain: &str,
) {
    let connection = ServerConnection::new(config).unwrap();
    let mut stream = BufReader::new(StreamOwned::new(connection, client));
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        // Plain HTTP, and clients that do not believe the certificate, end here.
        if stream.read_line(&mut head).unwrap_or(0) == 0 {
            return;
        }
    }
    let first = head.lines().next().unwrap_or("").to_owned();
    let shown = head
        .lines()
        .find(|l| l.to_ascii_lowercase().starts_with("authorization:"))
        .unwrap_or("");
    log.lock().unwrap().push(format!("{first} {shown}"));
    // base64 of `me:secret`.
    let (status, body) = match shown.split(' ').next_back() {
        Some("bWU6c2VjcmV0") => (
            200,
            json!({ "token": token(&first, key, chain), "expires_in": 300 }),
        ),
        _ => (
            401,
            json!({ "errors": [{ "code": "UNAUTHORIZED", "message": "no" }] }),
        ),
    };
    let body = body.to_string();
    let answer = format!(
        "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    let stream = stream.get_mut();
    let _ = stream
        .write_all(answer.as_bytes())
        .and_then(|()| stream.flush());
    stream.conn.send_close_notify();
    let _ = stream.flush();
}

/// A token for what a request asks for: a JWT that the registry believes by its chain.
fn token(request: &str, key: &Path, chain: &str) -> String {
    let query = request
        .split(' ')
        .nth(1)
        .unwrap_or("")
        .split_once('?')
        .map_or("", |(_, q)| q);
    let mut access = Vec::new();
    for (name, value) in query.split('&').filter_map(|p| p.split_once('=')) {
        let value = value
            .replace("%3A", ":")
            .replace("%2F", "/")
            .replace("%2C", ",");
        if let (true, [kind, name, actions]) = (
            name == "scope",
            value.split(':').collect::<Vec<_>>().as_slice(),
        ) {
            let actions: Vec<&str> = actions.split(',').collect();
            access.push(json!({ "type": kind, "name": name, "actions": actions }));
        }
    }
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs();
    let header = json!({ "typ": "JWT", "alg": "RS256", "x5c": [chain] });
    let claims = json!({
        "iss": "lab", "sub": "me", "aud": "lab", "jti": "1",
        "iat": now, "nbf": now - 60, "exp": now + 300, "access": access,
    });
    let part = |v: &serde_json::Value| base64(v.to_string().as_bytes(), URL);
    let signed = format!("{}.{}", part(&header), part(&claims));
    let mut openssl = Command::new("openssl")
        .args(["dgst", "-sha256", "-sign"])
        .arg(key)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    openssl
        .stdin
        .take()
        .unwrap()
        .write_all(signed.as_bytes())
        .unwrap();
    let signature = openssl.wait_with_output().unwrap().stdout;
    format!("{signed}.{}", base64(&signature, URL))
}

const STANDARD: [char; 2] = ['+', '/'];
const URL: [char; 2] = ['-', '_'];

/// Base64: with padding in the standard alphabet, without in that of URLs.
fn base64(bytes: &[u8], last: [char; 2]) -> String {
    let alphabet: Vec<char> = ('A'..='Z')
        .chain('a'..='z')
        .chain('0'..='9')
        .chain(last)
        .collect();
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let bits =
            chunk.iter().fold(0_u32, |all, b| all << 8 | u32::from(*b)) << (8 * (3 - chunk.len()));
        for i in 0..=chunk.len() {
            out.push(alphabet[usize::try_from(bits >> (18 - 6 * i) & 63).unwrap()]);
        }
        if last == STANDARD {
            out.extend(std::iter::repeat_n('=', 3 - chunk.len()));
        }
    }
    out
}

/// Files over plain HTTP, for a registry that sends its clients away. Gives its address and the
/// heads of all requests.
pub fn files(top: &Path) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let heads: Arc<Mutex<Vec<String>>> = Arc::default();
    let (log, top) = (heads.clone(), top.to_owned());
    std::thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                if client.read(&mut byte).unwrap_or(0) == 0 {
                    break;
                }
                head.push(byte[0]);
            }
            let head = String::from_utf8_lossy(&head).into_owned();
            let path = head.split(' ').nth(1).unwrap_or("/").to_owned();
            log.lock().unwrap().push(head);
            let body = fs::read(top.join(path.trim_start_matches('/'))).unwrap_or_default();
            let status = if body.is_empty() { 404 } else { 200 };
            let head = format!(
                "HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                body.len()
            );
            let _ = client
                .write_all(head.as_bytes())
                .and_then(|()| client.write_all(&body));
        }
    });
    (address, heads)
}
