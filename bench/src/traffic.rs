//! Bytes through one connection: who takes them, and who sends them and stops the time.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    time::Instant,
};

use crate::fault::{Doing, Result};

const BUFFER: usize = 128 << 10;

/// Says a line when it listens, takes what one client sends, and ends.
pub(crate) fn take(address: SocketAddr) -> Result<()> {
    let doing = || format!("take what comes to `{address}`");
    let listener = TcpListener::bind(address).doing(doing)?;
    crate::say("listening\n")?;
    let (mut client, _) = listener.accept().doing(doing)?;
    let mut buffer = vec![0; BUFFER];
    while client.read(&mut buffer).doing(doing)? != 0 {}
    Ok(())
}

/// Sends so many bytes, waits until the other side has taken the last, and prints the microseconds.
pub(crate) fn send(address: SocketAddr, bytes: u64) -> Result<()> {
    let doing = || format!("send to `{address}`");
    let mut server = TcpStream::connect(address).doing(doing)?;
    let buffer = vec![0x5a; BUFFER];
    let began = Instant::now();
    let mut left = bytes;
    while left > 0 {
        let n = usize::try_from(left).map_or(BUFFER, |left| left.min(BUFFER));
        server.write_all(&buffer[..n]).doing(doing)?;
        left -= n as u64;
    }
    server.shutdown(std::net::Shutdown::Write).doing(doing)?;
    while server.read(&mut [0; 1]).doing(doing)? != 0 {}
    crate::say(&format!("{}\n", began.elapsed().as_micros()))
}
