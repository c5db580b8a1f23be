//! A connection to systemd: over the system bus, or to systemd itself where no bus runs.

use super::wire::{FIXED, Kind, Message, Writer, call};
use crate::error::{Doing, Error};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

const SYSTEM_BUS: &str = "/run/dbus/system_bus_socket";
/// systemd's own end, for root only; what `systemctl` takes before a bus runs.
const PRIVATE: &str = "/run/systemd/private";
const SYSTEMD: (&str, &str) = ("org.freedesktop.systemd1", "/org/freedesktop/systemd1");
const BUS: (&str, &str) = ("org.freedesktop.DBus", "/org/freedesktop/DBus");
const MATCH: &str = "type='signal',sender='org.freedesktop.systemd1',\
                     interface='org.freedesktop.systemd1.Manager',member='JobRemoved'";
/// Longest line of the authentication, bytes.
const MAX_LINE: usize = 512;

/// An authenticated connection.
#[derive(Debug)]
pub(super) struct Bus {
    stream: UnixStream,
    deadline: Instant,
    serial: u32,
    /// Name of a service to speak to; none on systemd's own end.
    destination: &'static str,
    /// Signals that came while an answer was awaited.
    signals: Vec<Message>,
}

impl Bus {
    /// Connects, says who we are and asks for the ends of jobs. Everything that follows has to be
    /// done by `deadline`.
    ///
    /// # Errors
    /// When neither the bus nor systemd answers.
    pub(super) fn connect(deadline: Instant) -> Result<Self, Error> {
        let doing = |place: &str| format!("speak to systemd at `{place}`");
        match UnixStream::connect(SYSTEM_BUS) {
            Ok(stream) => Self::greet(stream, deadline, SYSTEMD.0)
                .map_err(|e| e.while_doing(doing(SYSTEM_BUS))),
            Err(_) => UnixStream::connect(PRIVATE)
                .doing(|| format!("connect to `{SYSTEM_BUS}` or `{PRIVATE}`"))
                .and_then(|stream| Self::greet(stream, deadline, ""))
                .map_err(|e| e.while_doing(doing(PRIVATE))),
        }
    }

    fn greet(
        stream: UnixStream,
        deadline: Instant,
        destination: &'static str,
    ) -> Result<Self, Error> {
        let mut bus = Self {
            stream,
            deadline,
            serial: 0,
            destination,
            signals: Vec::new(),
        };
        bus.authenticate()?;
        if !destination.is_empty() {
            bus.ask(BUS, (BUS.0, "Hello"), "", &[])?;
            let mut rule = Writer::default();
            rule.string(MATCH);
            bus.ask(BUS, (BUS.0, "AddMatch"), "s", &rule.into_bytes())?;
        }
        bus.call(super::MANAGER, "Subscribe", "", &[])?;
        Ok(bus)
    }

    /// SASL, mechanism EXTERNAL: the kernel says who we are; the words carry our uid in hexadecimal
    /// of its decimal digits.
    fn authenticate(&mut self) -> Result<(), Error> {
        let uid = rustix::process::geteuid().as_raw().to_string();
        let hex: String = uid.bytes().map(|b| format!("{b:02x}")).collect();
        self.send(format!("\0AUTH EXTERNAL {hex}\r\n").as_bytes())?;
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            let mut byte = [0u8];
            self.receive(&mut byte)?;
            line.extend(byte);
            if line.len() > MAX_LINE {
                break;
            }
        }
        if !line.starts_with(b"OK ") {
            let line = String::from_utf8_lossy(&line);
            return Err(Error::new(format!(
                "it does not let us in: `{}`",
                line.trim_end().escape_default()
            )));
        }
        self.send(b"BEGIN\r\n")
    }

    /// Calls a method of systemd's manager and waits for the answer.
    ///
    /// # Errors
    /// What systemd answers, or the deadline.
    pub(super) fn call(
        &mut self,
        interface: &str,
        member: &str,
        signature: &str,
        body: &[u8],
    ) -> Result<Message, Error> {
        let to = (self.destination, SYSTEMD.1);
        self.ask(to, (interface, member), signature, body)
            .map_err(|e| e.while_doing(format!("call `{member}`")))
    }

    fn ask(
        &mut self,
        to: (&str, &str),
        what: (&str, &str),
        signature: &str,
        body: &[u8],
    ) -> Result<Message, Error> {
        self.serial = self.serial.saturating_add(1);
        let serial = self.serial;
        self.send(&call(serial, to, what, signature, body))?;
        loop {
            let message = self.message()?;
            match message.kind {
                Kind::Return if message.answers == serial => return Ok(message),
                Kind::Error if message.answers == serial => {
                    let (name, text) = (&message.error, message.text());
                    return Err(Error::new(format!(
                        "{} ({})",
                        text.escape_debug(),
                        name.escape_debug()
                    )));
                }
                Kind::Signal => self.signals.push(message),
                _ => {}
            }
        }
    }

    /// Waits for the end of a job, by its object's path, and tells how it ended: `done`, or one
    /// of the words of `org.freedesktop.systemd1(5)`.
    ///
    /// # Errors
    /// The deadline.
    pub(super) fn job_removed(&mut self, job: String) -> Result<String, Error> {
        loop {
            let message = match self.signals.pop() {
                Some(message) => message,
                None => self.message()?,
            };
            if message.kind != Kind::Signal || message.member != "JobRemoved" {
                continue;
            }
            let mut values = message.values();
            let (_id, path) = (values.u32()?, values.string()?);
            let (_unit, result) = (values.string()?, values.string()?);
            if path == job {
                return Ok(result);
            }
        }
    }

    fn message(&mut self) -> Result<Message, Error> {
        let mut bytes = vec![0; FIXED];
        self.receive(&mut bytes)?;
        let fixed = bytes.first_chunk().copied().unwrap_or([0; FIXED]);
        let mut rest = vec![0; Message::rest(&fixed)?];
        self.receive(&mut rest)?;
        bytes.extend(rest);
        Message::read(&bytes)
    }

    fn left(&self) -> Result<Duration, Error> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Error::new("no answer came in time"));
        }
        Ok(left)
    }

    fn send(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let left = self.left()?;
        let sent = self.stream.set_write_timeout(Some(left));
        sent.and_then(|()| self.stream.write_all(bytes))
            .map_err(timed)
    }

    fn receive(&mut self, bytes: &mut [u8]) -> Result<(), Error> {
        let left = self.left()?;
        let set = self.stream.set_read_timeout(Some(left));
        set.and_then(|()| self.stream.read_exact(bytes))
            .map_err(timed)
    }
}

fn timed(error: std::io::Error) -> Error {
    match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => Error::new("no answer came in time"),
        ErrorKind::UnexpectedEof => Error::new("it hung up"),
        _ => error.into(),
    }
}
