//! Attacks by way of sockets, IPC objects and descriptors that lead out of the app.

use super::Aim;
use crate::passing::{connect, receive};
use crate::trial::{End, Log, Try, errno_name};
use rkt_sys::raw::{self, Ipc};
use rustix::fs::{
    CWD, FallocateFlags, FileType, Mode, OFlags, SeekFrom, fallocate, fstat, ftruncate, mkdirat,
    openat, seek,
};
use rustix::io::Errno;
use std::collections::BTreeSet;
use std::fs;
use std::os::fd::AsRawFd;

/// Names in `/proc/net/unix`: abstract ones begin with `@`.
fn unix_sockets() -> BTreeSet<String> {
    fs::read_to_string("/proc/self/net/unix")
        .unwrap_or_default()
        .lines()
        .skip(1)
        .filter_map(|l| l.split_whitespace().nth(7))
        .map(str::to_owned)
        .collect()
}

fn connect_to(name: &str, log: &mut Log) {
    log.add(Try::of(
        format!("connect to {name}"),
        connect(name).map(drop),
    ));
}

/// D07: the sibling's, named by `--socket=@NAME`.
pub(crate) fn abstract_sockets(aim: &Aim, log: &mut Log) {
    match &aim.socket {
        Some(name) => connect_to(name, log),
        None => log.add(Try::moot("connect to a sibling", "needs --socket=@NAME")),
    }
}

/// F03: all of the network namespace, which may be the host's.
pub(crate) fn any_abstract(_: &Aim, log: &mut Log) {
    let names = unix_sockets();
    for name in names.iter().filter(|n| n.starts_with('@')) {
        connect_to(name, log);
    }
    if names.is_empty() {
        log.add(Try::new(
            "look for abstract sockets",
            End::Held("none are seen".to_owned()),
        ));
    }
}

/// D14: sockets with a path.
pub(crate) fn control_sockets(_: &Aim, log: &mut Log) {
    let mut names: BTreeSet<String> = unix_sockets()
        .into_iter()
        .filter(|n| n.starts_with('/'))
        .collect();
    for dir in ["/run", "/run/rkt", "/var/run", "/var/lib/rkt"] {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            use std::os::unix::fs::FileTypeExt;
            if entry.file_type().is_ok_and(|t| t.is_socket()) {
                names.insert(entry.path().display().to_string());
            }
        }
    }
    if names.is_empty() {
        log.add(Try::new(
            "look for sockets",
            End::Held("none are seen".to_owned()),
        ));
    }
    for name in names {
        connect_to(&name, log);
    }
}

/// What is done with a directory that a friend outside passes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Passed {
    Open,
    Climb,
    Create,
    Again,
    Stand,
}

/// D09: a friend outside passes a directory in (`--socket=PATH`, where `serve-fd` or the test
/// waits). To list it and to stand in it is possible; to open anything below it must not be.
pub(crate) fn passed_directory(aim: &Aim, log: &mut Log, what: Passed) {
    let Some(socket) = &aim.socket else {
        return log.add(Try::moot("receive a directory", "needs --socket=PATH"));
    };
    let dir = match receive(socket) {
        Ok(dir) => dir,
        Err(errno) => {
            return log.add(Try::moot(
                format!("receive from {socket}"),
                errno_name(errno),
            ));
        }
    };
    let name = aim.file.as_deref().unwrap_or("etc/passwd");
    let read = OFlags::RDONLY | OFlags::CLOEXEC;
    let directory = read | OFlags::DIRECTORY;
    let open = |path: &str, flags| openat(&dir, path, flags, Mode::empty());
    match what {
        Passed::Open => {
            for (path, flags) in [(name, read), (".", directory)] {
                log.add(Try::of(
                    format!("openat(passed, {path})"),
                    open(path, flags),
                ));
            }
        }
        Passed::Climb => {
            for (path, flags) in [
                ("..", directory),
                ("../../../../etc/passwd", read),
                ("../../../../../etc", directory),
            ] {
                log.add(Try::of(
                    format!("openat(passed, {path})"),
                    open(path, flags),
                ));
            }
        }
        Passed::Create => {
            let create = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
            let mode = Mode::from_raw_mode(0o644);
            let made = openat(&dir, "rkt-probe-was-here", create, mode);
            log.add(Try::of("openat(passed, new file)", made));
            log.add(Try::of(
                "mkdirat(passed)",
                mkdirat(&dir, "rkt-probe-directory", Mode::RWXU),
            ));
        }
        Passed::Again => {
            let again = format!("/proc/self/fd/{}/{name}", dir.as_raw_fd());
            log.add(Try::of(
                format!("open /proc/self/fd/N/{name}"),
                openat(CWD, &*again, read, Mode::empty()),
            ));
        }
        Passed::Stand => {
            let stood =
                rustix::process::fchdir(&dir).and_then(|()| openat(CWD, name, read, Mode::empty()));
            log.add(Try::of(format!("fchdir(passed), open {name}"), stood));
        }
    }
}

/// D10: System V objects of other apps have other owners; ids are small numbers.
pub(crate) fn ipc_objects(_: &Aim, log: &mut Log, kind: Ipc) {
    let mut denied = 0;
    let mut used = Vec::new();
    // The kernel counts ids up by the size of its table with every reuse.
    for id in (0..64).flat_map(|slot| (0..32).map(move |round| slot + round * 32_768)) {
        match raw::ipc_use(kind, id) {
            Ok(()) | Err(Errno::NOMSG) => used.push(id.to_string()),
            Err(Errno::ACCESS | Errno::PERM) => denied += 1,
            Err(_) => {}
        }
    }
    let end = match (used.first(), denied) {
        (Some(_), _) => End::Broke(format!("ids {}", used.join(" "))),
        (None, 0) => End::Moot("there are none".to_owned()),
        (None, _) => End::Refused(Errno::ACCESS),
    };
    log.add(Try::new(format!("use System V {kind:?} of others"), end));
}

/// D10: a POSIX message queue, by its name.
pub(crate) fn message_queue(_: &Aim, log: &mut Log) {
    let opened = raw::mq_open(c"/rkt-probe-victim", false);
    log.add(match opened {
        Err(Errno::NOENT) => Try::moot("mq_open(/rkt-probe-victim)", "there is none"),
        other => Try::of("mq_open(/rkt-probe-victim)", other),
    });
}

/// D12: three descriptors and no more.
pub(crate) fn leaked_fds(aim: &Aim, log: &mut Log) {
    let extra: Vec<String> = aim
        .fds
        .iter()
        .filter(|fd| **fd > 2)
        .map(ToString::to_string)
        .collect();
    let end = if extra.is_empty() {
        End::Held("none".to_owned())
    } else {
        End::Broke(extra.join(" "))
    };
    log.add(Try::new("look for descriptors past 2", end));
}

/// D12: none of the three is a file or a directory of the host.
pub(crate) fn standard_files(_: &Aim, log: &mut Log) {
    for (name, fd) in standard() {
        let end = match fstat(fd).map(|s| FileType::from_raw_mode(s.st_mode)) {
            Err(errno) => End::Refused(errno),
            Ok(kind @ (FileType::RegularFile | FileType::Directory | FileType::BlockDevice)) => {
                End::Broke(format!("{kind:?}"))
            }
            Ok(kind) => End::Held(format!("{kind:?}")),
        };
        log.add(Try::new(format!("look at {name}"), end));
    }
}

fn standard() -> [(&'static str, std::os::fd::BorrowedFd<'static>); 3] {
    [
        ("stdin", rustix::stdio::stdin()),
        ("stdout", rustix::stdio::stdout()),
        ("stderr", rustix::stdio::stderr()),
    ]
}

/// How it tampers with what it has said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tamper {
    Truncate,
    Rewind,
    Punch,
    Again,
}

/// D13: the log must keep what was said.
pub(crate) fn stdio(_: &Aim, log: &mut Log, how: Tamper) {
    for (name, fd) in &standard()[1..] {
        let result = match how {
            Tamper::Truncate => ftruncate(fd, 0),
            Tamper::Rewind => seek(fd, SeekFrom::Start(0)).map(drop),
            Tamper::Punch => fallocate(fd, FallocateFlags::empty(), 0, 4096),
            Tamper::Again => {
                // To open one's own pipe again gains nothing; a file would be a find.
                let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
                let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NONBLOCK;
                let again = openat(CWD, &*path, flags, Mode::empty()).and_then(fstat);
                let end = match again.map(|s| FileType::from_raw_mode(s.st_mode)) {
                    Err(errno) => End::Refused(errno),
                    Ok(FileType::RegularFile) => End::Broke("it is a file".to_owned()),
                    Ok(kind) => End::Held(format!("its own {kind:?} again")),
                };
                log.add(Try::new(format!("open {path} to write"), end));
                continue;
            }
        };
        log.add(Try::of(format!("{how:?} {name}"), result));
    }
}

/// F04: a service that listens on the host's loopback (`--socket=ADDRESS:PORT`).
pub(crate) fn host_service(aim: &Aim, log: &mut Log) {
    let Some(address) = aim.socket.as_deref().and_then(|s| s.parse().ok()) else {
        return log.add(Try::moot("connect", "needs --socket=ADDRESS:PORT"));
    };
    let wait = std::time::Duration::from_secs(2);
    let done = std::net::TcpStream::connect_timeout(&address, wait);
    let what = format!("connect to {address}");
    log.add(match done {
        // Nobody is there, or no way leads there: the same to who attacks.
        Err(e) if e.raw_os_error().is_none() => Try::new(what, End::Refused(Errno::TIMEDOUT)),
        other => Try::of_io(what, other),
    });
}
