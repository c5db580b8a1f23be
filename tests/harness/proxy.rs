//! A CONNECT proxy on loopback that knows names nobody else knows, and sees what goes through it.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// The proxy. Its threads end with the test program.
pub struct Proxy {
    /// `127.0.0.1:PORT`.
    pub address: String,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// Where `host:port` really is.
    ways: HashMap<String, String>,
    /// What `Proxy-Authorization` has to say, if anything.
    wants: Option<&'static str>,
    heads: Mutex<Vec<String>>,
    sent: Mutex<Vec<u8>>,
}

impl Proxy {
    /// One that leads from names (`host:port`) to addresses and nowhere else. With `wants`, only
    /// for those who show it, such as `Basic cDpxIQ==`.
    pub fn start(ways: &[(&str, &str)], wants: Option<&'static str>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let shared = Arc::new(Shared {
            ways: ways
                .iter()
                .map(|(n, a)| ((*n).into(), (*a).into()))
                .collect(),
            wants,
            ..Shared::default()
        });
        let all = shared.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let shared = all.clone();
                std::thread::spawn(move || shared.serve(client));
            }
        });
        Self { address, shared }
    }

    /// The heads of all requests to the proxy itself since the last call.
    pub fn heads(&self) -> Vec<String> {
        std::mem::take(&mut *self.shared.heads.lock().unwrap())
    }

    /// What clients have sent through it, all connections mixed.
    pub fn sent(&self) -> String {
        String::from_utf8_lossy(&self.shared.sent.lock().unwrap()).into_owned()
    }
}

impl Shared {
    fn serve(&self, mut client: TcpStream) {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            if client.read(&mut byte).unwrap_or(0) == 0 {
                return;
            }
            head.push(byte[0]);
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        self.heads.lock().unwrap().push(head.clone());
        let mut words = head.split(' ');
        let (method, name) = (words.next(), words.next().unwrap_or(""));
        let shown = head.lines().find_map(|l| {
            let (key, value) = l.split_once(": ")?;
            key.eq_ignore_ascii_case("proxy-authorization")
                .then_some(value)
        });
        let status = match self.ways.get(name) {
            _ if method != Some("CONNECT") => "405 Method Not Allowed",
            _ if self.wants.is_some() && shown != self.wants => "407 Proxy Authentication Required",
            None => "502 Bad Gateway",
            Some(way) => {
                let Ok(server) = TcpStream::connect(way) else {
                    return;
                };
                let _ = client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n");
                self.tunnel(&client, &server);
                return;
            }
        };
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        let _ = client.write_all(answer.as_bytes());
    }

    fn tunnel(&self, client: &TcpStream, server: &TcpStream) {
        let copy = |mut from: &TcpStream, mut to: &TcpStream, log: Option<&Mutex<Vec<u8>>>| {
            let mut buffer = vec![0; 64 << 10];
            while let Ok(n @ 1..) = from.read(&mut buffer) {
                if let Some(log) = log {
                    log.lock().unwrap().extend_from_slice(&buffer[..n]);
                }
                if to.write_all(&buffer[..n]).is_err() {
                    break;
                }
            }
            let _ = to.shutdown(Shutdown::Write);
        };
        std::thread::scope(|scope| {
            scope.spawn(|| copy(client, server, Some(&self.sent)));
            copy(server, client, None);
        });
    }
}
