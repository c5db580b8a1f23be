//! The child that runs plugins: a record on standard input, a record on standard output.

use super::record::{Answer, Refusal, Request};
use super::{MAX_RECORD, run};
use rkt_spec::codec::Record;
use rkt_sys::fd;
use rustix::stdio::{stdin, stdout};
use std::io;

/// The whole of it; gives the exit status, 0 whenever an answer was given.
pub fn main() -> i32 {
    let answer = match read() {
        // Children inherit every open descriptor but those that are closed at exec.
        Ok(request) => match fd::cloexec_from(3) {
            Ok(()) => run(&request),
            Err(error) => refused(error.to_string()),
        },
        Err(why) => refused(why),
    };
    i32::from(write(&answer.to_bytes()).is_err())
}

fn read() -> Result<Request, String> {
    let bytes = fd::read_all(stdin(), MAX_RECORD).map_err(|e| e.to_string())?;
    Request::from_bytes(&bytes).map_err(|e| e.to_string())
}

fn refused(why: String) -> Answer {
    Answer {
        refusal: Some(Refusal::new("take what is asked of plugins", why)),
        ..Answer::default()
    }
}

fn write(bytes: &[u8]) -> io::Result<()> {
    let mut rest = bytes;
    while !rest.is_empty() {
        let n = rustix::io::write(stdout(), rest)?;
        rest = rest.get(n..).unwrap_or(&[]);
    }
    Ok(())
}
