//! Credential programs, as docker names them: `docker-credential-NAME get|store|erase`.
//!
//! They are the user's own programs, found by the caller's PATH, with the caller's environment:
//! a key ring needs it. What they say is bounded in size and time.

use crate::error::{Error, Kind, Result};
use crate::options::Secret;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::{Deserialize, Serialize};
use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A key ring may ask its user first.
const PATIENCE: Duration = Duration::from_secs(60);

/// Longest answer.
const LIMIT: usize = 1 << 20;

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    #[serde(default, rename = "ServerURL")]
    server: String,
    #[serde(default)]
    username: String,
    #[serde(default)]
    secret: String,
}

/// The secret that a program keeps for a server; `None` when it has none.
pub(super) fn get(program: &str, server: &str) -> Result<Option<Secret>> {
    let (bytes, ended) = run(program, "get", server.as_bytes())?;
    if !ended {
        let said = String::from_utf8_lossy(&bytes);
        if said.contains("credentials not found") {
            return Ok(None);
        }
        return Err(refused(program, &said));
    }
    let answer: Answer = serde_json::from_slice(&bytes)
        .map_err(|_| refused(program, "it does not answer as a credential program does"))?;
    Ok(match answer.username.as_str() {
        _ if answer.secret.is_empty() => None,
        "<token>" => Some(Secret::Identity(answer.secret)),
        user => Some(Secret::Password {
            user: user.to_owned(),
            password: answer.secret,
        }),
    })
}

/// Hands a secret over to be kept.
pub(super) fn store(program: &str, server: &str, user: &str, password: &str) -> Result<()> {
    let answer = Answer {
        server: server.to_owned(),
        username: user.to_owned(),
        secret: password.to_owned(),
    };
    let bytes = serde_json::to_vec(&answer)
        .map_err(|e| Error::new(Kind::System, format!("make JSON: {e}")))?;
    match run(program, "store", &bytes)? {
        (_, true) => Ok(()),
        (said, false) => Err(refused(program, &String::from_utf8_lossy(&said))),
    }
}

/// Makes it forget; whether it had something.
pub(super) fn erase(program: &str, server: &str) -> Result<bool> {
    let had = get(program, server)?.is_some();
    match run(program, "erase", server.as_bytes())? {
        (_, true) => Ok(had),
        (said, false) => Err(refused(program, &String::from_utf8_lossy(&said))),
    }
}

fn refused(program: &str, said: &str) -> Error {
    let said: String = said
        .trim()
        .chars()
        .filter(|c| !c.is_control())
        .take(200)
        .collect();
    Error::new(
        Kind::Unauthorized,
        format!("the credential program `docker-credential-{program}` gives nothing: {said}"),
    )
}

/// Kills and reaps it when we give up.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What it printed, and whether it ended with 0.
fn run(program: &str, verb: &str, input: &[u8]) -> Result<(Vec<u8>, bool)> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    if program.is_empty() || !program.bytes().all(plain) {
        return Err(refused(
            &program.escape_debug().to_string(),
            "that is no name of one",
        ));
    }
    let child = Command::new(format!("docker-credential-{program}"))
        .arg(verb)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|e| refused(program, &e.to_string()))?;
    let mut child = Running(child);
    if let Some(mut stdin) = child.0.stdin.take() {
        // One that does not read its question may still answer.
        let _ = stdin.write_all(input);
    }
    let end = Instant::now() + PATIENCE;
    let mut bytes = Vec::new();
    if let Some(mut stdout) = child.0.stdout.take() {
        let mut buffer = [0_u8; 4096];
        loop {
            wait_for(&stdout, end).ok_or_else(|| refused(program, "it does not answer"))?;
            let n = stdout.read(&mut buffer)?;
            if n == 0 {
                break;
            }
            bytes.extend_from_slice(buffer.get(..n).unwrap_or(&[]));
            if bytes.len() > LIMIT {
                return Err(refused(program, "it does not stop to talk"));
            }
        }
    }
    loop {
        if let Some(status) = child.0.try_wait()? {
            return Ok((bytes, status.success()));
        }
        if Instant::now() > end {
            return Err(refused(program, "it does not end"));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Waits until there is something to read; `None` when it takes too long.
fn wait_for(fd: &impl std::os::fd::AsFd, end: Instant) -> Option<()> {
    loop {
        let left = end.checked_duration_since(Instant::now())?;
        let left = Timespec::try_from(left).ok()?;
        match poll(&mut [PollFd::new(fd, PollFlags::IN)], Some(&left)) {
            Ok(0) => return None,
            Err(rustix::io::Errno::INTR) => {}
            _ => return Some(()),
        }
    }
}
