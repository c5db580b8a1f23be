//! Parts that use up what the kernel has a limited number of, for the tests of shared limits.

use crate::attack::joiner;
use crate::play::{Played, rest};
use crate::trial::{errno_name, errno_of};
use rkt_sys::raw;
use rustix::event::{EventfdFlags, epoll, eventfd};
use rustix::fs::inotify;
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::pty::{OpenptFlags, openpt};
use std::ffi::CString;
use std::io::{Seek, Write};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// One object of a kind.
fn one(kind: &str, n: usize) -> Result<Vec<OwnedFd>, Errno> {
    let io = |e: std::io::Error| errno_of(&e);
    Ok(match kind {
        "inotify" => vec![inotify::init(inotify::CreateFlags::CLOEXEC)?],
        "epoll" => vec![epoll::create(epoll::CreateFlags::CLOEXEC)?],
        "eventfd" => vec![eventfd(0, EventfdFlags::CLOEXEC)?],
        "pty" => vec![openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY)?],
        "pipe" => {
            let (from, to) = std::io::pipe().map_err(io)?;
            vec![from.into(), to.into()]
        }
        "socket" => vec![
            std::os::unix::net::UnixDatagram::unbound()
                .map_err(io)?
                .into(),
        ],
        "queue" => {
            let name = format!("/hoard-{}-{n}", std::process::id());
            vec![raw::mq_open(
                &CString::new(name).map_err(|_| Errno::INVAL)?,
                true,
            )?]
        }
        _ => return Err(Errno::INVAL),
    })
}

/// Makes up to `most` objects of a kind; tells how many there were, and why no more.
pub(crate) fn hoard(kind: &str, most: usize, stay: bool) -> Played {
    let limit = getrlimit(Resource::Nofile);
    // As many descriptors as it may have.
    let _ = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            ..limit
        },
    );
    let (mut kept, mut made) = (Vec::new(), 0);
    let why = loop {
        if made == most {
            break "enough".to_owned();
        }
        match one(kind, made) {
            Ok(some) => kept.extend(some),
            Err(errno) => break errno_name(errno),
        }
        made += 1;
    };
    say(&format!("made {made}: {why}\n"))?;
    if stay { rest(None) } else { Ok(()) }
}

/// Makes `n` children that end and are never waited for.
pub(crate) fn zombies(n: usize) -> Played {
    for _ in 0..n {
        match raw::fork() {
            Ok(None) => raw::exit_now(0),
            Ok(Some(_)) => {}
            Err(errno) => return Err(format!("fork: {}", errno_name(errno))),
        }
    }
    say("ready\n")?;
    rest(None)
}

/// Stops a process on its way into the app and tells when it is gone.
pub(crate) fn hold_up(seconds: u64) -> Played {
    let Some(pid) = joiner::hold_up(Duration::from_secs(seconds)) else {
        return Err("nobody came whom it could stop in time".to_owned());
    };
    say(&format!("stopped {pid}\n"))?;
    let begin = Instant::now();
    while joiner::exists(pid) {
        rest(Some(0.02))?;
    }
    say(&format!("gone after {} ms\n", begin.elapsed().as_millis()))
}

/// Sends a signal to everybody it may reach; it is not reached itself.
pub(crate) fn signal_all(number: i32) -> Played {
    let why = raw::signal_any(-1, number)
        .err()
        .map_or_else(|| "sent".to_owned(), errno_name);
    say(&format!("{why}\n"))
}

/// Writes a file until so many bytes are there or no more are taken; then it goes again.
pub(crate) fn fill(path: &str, bytes: usize) -> Played {
    let mut file = std::fs::File::create(path).map_err(|e| format!("{path}: {e}"))?;
    let (block, mut wrote) = (vec![1; 1 << 16], 0);
    let why = loop {
        if wrote >= bytes {
            break "enough".to_owned();
        }
        match file.write(&block) {
            Ok(n) => wrote += n,
            Err(e) => break errno_name(errno_of(&e)),
        }
    };
    let _ = std::fs::remove_file(path);
    say(&format!("wrote {wrote}: {why}\n"))
}

/// Writes a block to the disk, waits for it, and so on for ever.
pub(crate) fn storm(path: &str) -> Played {
    let failed = |e: std::io::Error| format!("{path}: {e}");
    let mut file = std::fs::File::create(path).map_err(failed)?;
    let block = [7; 4096];
    loop {
        file.rewind().map_err(failed)?;
        file.write_all(&block).map_err(failed)?;
        file.sync_all().map_err(failed)?;
    }
}

/// Sleeps 2 ms again and again; tells how late it wakes, in microseconds: the median, and what one in
/// a hundred exceeds.
pub(crate) fn latency(rounds: usize) -> Played {
    const NAP: Duration = Duration::from_millis(2);
    let mut late: Vec<u128> = (0..rounds)
        .map(|_| {
            let begin = Instant::now();
            std::thread::sleep(NAP);
            begin.elapsed().saturating_sub(NAP).as_micros()
        })
        .collect();
    late.sort_unstable();
    let at = |hundredths: usize| late.get(rounds * hundredths / 100).copied().unwrap_or(0);
    say(&format!("p50 {} p99 {}\n", at(50), at(99)))
}

/// Makes up to `most` empty files in a directory; then they go again.
pub(crate) fn litter(dir: &str, most: usize) -> Played {
    let name = |n: usize| format!("{dir}/litter-{n}");
    let mut made = 0;
    let why = loop {
        if made == most {
            break "enough".to_owned();
        }
        match std::fs::File::create(name(made)) {
            Ok(_) => made += 1,
            Err(e) => break errno_name(errno_of(&e)),
        }
    };
    for n in 0..made {
        let _ = std::fs::remove_file(name(n));
    }
    say(&format!("made {made}: {why}\n"))
}

fn say(text: &str) -> Played {
    let mut out = std::io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written.map_err(|e| format!("stdout: {e}"))
}
