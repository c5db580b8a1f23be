//! A registry that does what a test wants, on a real socket.

use super::make::{Made, OCI_MANIFEST, digest};
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

#[derive(Debug, Clone)]
pub struct Request {
    pub method: String,
    pub path: String,
    pub headers: HashMap<String, String>,
    pub body: String,
    /// How often this method and path came, this time included.
    pub nth: usize,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }
}

#[derive(Debug, Clone, Default)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// Closes the connection after so many bytes of the body.
    pub cut: Option<usize>,
    /// Sends nothing more after so many bytes of the body, and keeps the connection.
    pub stall: Option<usize>,
    /// Sends a few bytes, waits so long, and so on.
    pub drip: Option<Duration>,
}

impl Reply {
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status,
            body: body.into(),
            ..Self::default()
        }
    }

    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.retain(|(n, _)| n != name);
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    pub fn error(status: u16, code: &str) -> Self {
        Self::new(
            status,
            format!(r#"{{"errors":[{{"code":"{code}","message":"so it is"}}]}}"#),
        )
    }
}

/// What is in the registry.
#[derive(Clone, Default)]
pub struct Shelf {
    pub blobs: HashMap<String, Vec<u8>>,
    /// By tag or digest: type and bytes.
    pub manifests: HashMap<String, (String, Vec<u8>)>,
}

impl Shelf {
    pub fn of(tag: &str, made: &Made) -> Self {
        let mut shelf = Self::default();
        shelf.add(tag, made);
        shelf
    }

    pub fn add(&mut self, tag: &str, made: &Made) {
        self.blobs.insert(digest(&made.config), made.config.clone());
        for layer in &made.layers {
            self.blobs.insert(digest(layer), layer.clone());
        }
        self.document(tag, OCI_MANIFEST, &made.manifest);
    }

    pub fn document(&mut self, tag: &str, media_type: &str, bytes: &[u8]) {
        let entry = (media_type.to_owned(), bytes.to_vec());
        self.manifests.insert(digest(bytes), entry.clone());
        self.manifests.insert(tag.to_owned(), entry);
    }

    /// What a good registry answers.
    pub fn answer(&self, request: &Request) -> Reply {
        let last = request.path.rsplit('/').next().unwrap();
        if request.path.contains("/manifests/") {
            return match self.manifests.get(last) {
                Some((media_type, bytes)) => Reply::new(200, bytes.clone())
                    .with("content-type", media_type)
                    .with("docker-content-digest", digest(bytes)),
                None => Reply::error(404, "MANIFEST_UNKNOWN"),
            };
        }
        let Some(blob) = self
            .blobs
            .get(last)
            .filter(|_| request.path.contains("/blobs/"))
        else {
            return Reply::error(404, "BLOB_UNKNOWN");
        };
        if let Some(range) = request.header("range") {
            let (first, last) = range
                .strip_prefix("bytes=")
                .unwrap()
                .split_once('-')
                .unwrap();
            let (first, last): (usize, usize) = (first.parse().unwrap(), last.parse().unwrap());
            return Reply::new(206, blob[first..=last].to_vec()).with(
                "content-range",
                format!("bytes {first}-{last}/{}", blob.len()),
            );
        }
        Reply::new(200, blob.clone())
    }
}

type Handler = dyn Fn(&Request) -> Reply + Send + Sync;

pub struct Fake {
    pub address: SocketAddr,
    log: Arc<Mutex<Vec<Request>>>,
}

impl Fake {
    /// Answers from now on, for the life of the test process.
    pub fn start(handler: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let log: Arc<Mutex<Vec<Request>>> = Arc::default();
        let shared = log.clone();
        let handler: Arc<Handler> = Arc::new(handler);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (log, handler) = (shared.clone(), handler.clone());
                std::thread::spawn(move || serve(stream.unwrap(), &log, &*handler));
            }
        });
        Self { address, log }
    }

    /// `127.0.0.1:PORT/NAME`.
    pub fn name(&self, rest: &str) -> String {
        format!("docker://{}/{rest}", self.address)
    }

    pub fn log(&self) -> Vec<Request> {
        self.log.lock().unwrap().clone()
    }

    pub fn count(&self, part: &str) -> usize {
        self.log().iter().filter(|r| r.path.contains(part)).count()
    }
}

/// Serves requests on one connection until it ends; a broken one is the test's own doing.
fn serve(stream: TcpStream, log: &Mutex<Vec<Request>>, handler: &Handler) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut stream = stream;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return;
        }
        let mut words = line.split_ascii_whitespace().map(str::to_owned);
        let (Some(method), Some(path)) = (words.next(), words.next()) else {
            return;
        };
        let mut headers = HashMap::new();
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            let Some((name, value)) = line.trim_end().split_once(':') else {
                break;
            };
            headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
        }
        let length = headers
            .get("content-length")
            .map_or(0, |l| l.parse().unwrap());
        let mut body = vec![0; length];
        if reader.read_exact(&mut body).is_err() {
            return;
        }
        let body = String::from_utf8(body).unwrap();
        let request = {
            let mut log = log.lock().unwrap();
            let nth = 1 + log
                .iter()
                .filter(|r| r.path == path && r.method == method)
                .count();
            let request = Request {
                method,
                path,
                headers,
                body,
                nth,
            };
            log.push(request.clone());
            request
        };
        let reply = handler(&request);
        let mut head = format!("HTTP/1.1 {} X\r\n", reply.status);
        if !reply.headers.iter().any(|(n, _)| n == "content-length") {
            head.push_str(&format!("content-length: {}\r\n", reply.body.len()));
        }
        for (name, value) in &reply.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        if stream.write_all(head.as_bytes()).is_err() {
            return;
        }
        if request.method == "HEAD" {
            continue;
        }
        if let Some(pause) = reply.drip {
            for few in reply.body.chunks(16) {
                if stream.write_all(few).is_err() {
                    return;
                }
                std::thread::sleep(pause);
            }
        }
        let end = reply
            .cut
            .or(reply.stall)
            .unwrap_or(reply.body.len())
            .min(reply.body.len());
        if stream.write_all(&reply.body[..end]).is_err() || reply.cut.is_some() {
            return;
        }
        if reply.stall.is_some() {
            std::thread::sleep(Duration::from_secs(60));
            return;
        }
    }
}
