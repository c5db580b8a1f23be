//! Conversations in network namespaces: servers that say who came, and clients.
//!
//! Each runs in a thread that has entered the namespace of a path such as `/proc/1/ns/net`.

use rkt_sys::ns;
use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

/// Long enough for an answer that is expected, on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(20);
/// Long enough for one that is not: a packet that was not dropped arrives within this time.
const SHORT: Duration = Duration::from_millis(700);

/// Runs something in a network namespace.
pub fn inside<T: Send>(path: &str, job: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let run = scope.spawn(|| {
            let space = File::open(path).unwrap();
            ns::enter(space.as_fd(), ns::kind::NET).unwrap();
            job()
        });
        run.join().unwrap()
    })
}

/// The network namespace of a process.
pub fn of(pid: i32) -> String {
    format!("/proc/{pid}/ns/net")
}

/// A server by TCP and UDP on one address, until the test ends: it answers with the address of
/// whoever came, and counts datagrams.
pub fn serve(path: &str, address: &str) -> Arc<AtomicUsize> {
    let address: SocketAddr = address.parse().unwrap();
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    inside(path, move || {
        let tcp = TcpListener::bind(address).unwrap();
        let udp = UdpSocket::bind(address).unwrap();
        std::thread::spawn(move || {
            for stream in tcp.incoming() {
                let Ok(mut stream) = stream else { continue };
                let from = stream.peer_addr().map(|a| a.ip().to_string());
                let _ = stream.write_all(from.unwrap_or_default().as_bytes());
            }
        });
        std::thread::spawn(move || {
            let mut bytes = [0; 64];
            while let Ok((_, from)) = udp.recv_from(&mut bytes) {
                counted.fetch_add(1, Ordering::SeqCst);
                let _ = udp.send_to(from.ip().to_string().as_bytes(), from);
            }
        });
    });
    count
}

/// Connects by TCP: the client's address as the server saw it.
pub fn reach(path: &str, address: &str) -> Option<String> {
    connect(path, address, PATIENCE)
}

/// Whether a connection that should not be possible is not.
pub fn misses(path: &str, address: &str) -> bool {
    connect(path, address, SHORT).is_none()
}

fn connect(path: &str, address: &str, time: Duration) -> Option<String> {
    let address: SocketAddr = address.parse().unwrap();
    inside(path, move || {
        let mut stream = TcpStream::connect_timeout(&address, time).ok()?;
        stream.set_read_timeout(Some(time)).ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        (!text.is_empty()).then_some(text)
    })
}

/// A client by UDP with one port, so that all it sends is one connection to the kernel.
pub struct Client(UdpSocket);

impl Client {
    /// From this address, in this namespace.
    pub fn new(path: &str, from: &str) -> Self {
        let from: SocketAddr = from.parse().unwrap();
        Self(inside(path, move || {
            let socket = UdpSocket::bind(from).unwrap();
            socket.set_read_timeout(Some(SHORT)).unwrap();
            socket
        }))
    }

    /// Sends and forgets.
    pub fn send(&self, to: &str) {
        let _ = self.0.send_to(b"?", to);
    }

    /// The answer to a question that is asked again and again.
    pub fn ask(&self, to: &str) -> Option<String> {
        (0..20).find_map(|_| self.ask_once(to))
    }

    /// The answer to a question, if it comes at once.
    pub fn ask_once(&self, to: &str) -> Option<String> {
        let mut bytes = [0; 64];
        self.0.send_to(b"?", to).ok()?;
        let (n, _) = self.0.recv_from(&mut bytes).ok()?;
        Some(String::from_utf8_lossy(bytes.get(..n)?).into_owned())
    }
}

/// Whether a server has got more datagrams than these, waiting as long as one may take.
pub fn arrived(count: &AtomicUsize, before: usize) -> bool {
    let (say, hear) = mpsc::channel::<()>();
    let _ = hear.recv_timeout(SHORT);
    drop(say);
    count.load(Ordering::SeqCst) > before
}
