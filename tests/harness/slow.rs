//! A slow way to a registry: a proxy on loopback that hands on so many bytes a second and counts.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The slow way. Its threads end with the test program.
pub struct Slow {
    /// `127.0.0.1:PORT`.
    pub address: String,
    shared: Arc<Shared>,
}

struct Shared {
    to: String,
    /// Bytes a second towards the client, all connections together about so many; 0 for no limit.
    rate: AtomicU64,
    /// Bytes handed to clients.
    down: AtomicU64,
    /// Bytes after which nothing more is handed on.
    end: AtomicU64,
    /// Requests seen.
    requests: AtomicU64,
}

/// Time between two portions.
const TICK: Duration = Duration::from_millis(2);

impl Slow {
    /// One that leads to `to`, without a limit yet.
    pub fn to(to: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let shared = Arc::new(Shared {
            to: to.to_owned(),
            rate: AtomicU64::new(0),
            down: AtomicU64::new(0),
            end: AtomicU64::new(u64::MAX),
            requests: AtomicU64::new(0),
        });
        let all = shared.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let shared = all.clone();
                std::thread::spawn(move || serve(client, &shared));
            }
        });
        Self { address, shared }
    }

    /// Sets bytes a second of each connection; 0 for no limit.
    pub fn limit(&self, rate: u64) {
        self.shared.rate.store(rate, Ordering::Relaxed);
    }

    /// Hands on so many bytes from now on, and then nothing until [`Slow::go_on`].
    pub fn stop_after(&self, bytes: u64) {
        let down = self.shared.down.load(Ordering::Relaxed);
        self.shared.end.store(down + bytes, Ordering::Relaxed);
    }

    /// Whether it hands on nothing any more.
    pub fn has_stopped(&self) -> bool {
        self.shared.room() == 0
    }

    /// Ends what [`Slow::stop_after`] has begun.
    pub fn go_on(&self) {
        self.shared.end.store(u64::MAX, Ordering::Relaxed);
    }

    /// Bytes and requests since the last call.
    pub fn taken(&self) -> (u64, u64) {
        (
            self.shared.down.swap(0, Ordering::Relaxed),
            self.shared.requests.swap(0, Ordering::Relaxed),
        )
    }
}

impl Shared {
    /// Bytes until the end that was set.
    fn room(&self) -> u64 {
        let end = self.end.load(Ordering::Relaxed);
        end.saturating_sub(self.down.load(Ordering::Relaxed))
    }
}

fn serve(client: TcpStream, shared: &Arc<Shared>) {
    let Ok(server) = TcpStream::connect(&shared.to) else {
        return;
    };
    let (Ok(mut asks), Ok(mut asked)) = (client.try_clone(), server.try_clone()) else {
        return;
    };
    let up = shared.clone();
    std::thread::spawn(move || {
        let mut buffer = [0; 16 << 10];
        while let Ok(n @ 1..) = asks.read(&mut buffer) {
            // A request of ours has no body, so this stands once in each.
            let words = buffer[..n].windows(11).filter(|w| w == b" HTTP/1.1\r\n");
            up.requests
                .fetch_add(words.count() as u64, Ordering::Relaxed);
            if asked.write_all(&buffer[..n]).is_err() {
                break;
            }
        }
        let _ = asked.shutdown(Shutdown::Both);
    });
    pour(server, client, shared);
}

fn pour(mut from: TcpStream, mut to: TcpStream, shared: &Shared) {
    let mut buffer = [0; 64 << 10];
    loop {
        if shared.room() == 0 {
            std::thread::sleep(TICK);
            continue;
        }
        let rate = shared.rate.load(Ordering::Relaxed);
        let most = match rate {
            0 => buffer.len(),
            _ => usize::try_from(rate * 2 / 1000)
                .unwrap()
                .clamp(1, buffer.len()),
        };
        let most = usize::try_from(shared.room()).map_or(most, |room| room.clamp(1, most));
        let Ok(n @ 1..) = from.read(&mut buffer[..most]) else {
            break;
        };
        if to.write_all(&buffer[..n]).is_err() {
            break;
        }
        shared.down.fetch_add(n as u64, Ordering::Relaxed);
        if rate != 0 {
            std::thread::sleep(TICK);
        }
    }
    let _ = to.shutdown(Shutdown::Both);
    let _ = from.shutdown(Shutdown::Both);
}
