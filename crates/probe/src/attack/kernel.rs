//! Attacks on the kernel's surface: calls and sockets that no app needs.

use super::{Aim, new};
use crate::status::Status;
use crate::trial::{End, Log, Try, errno_name, in_child};
use rkt_sys::raw::{self, HARMLESS, Keys};
use rustix::fs::{CWD, Mode, OFlags, open};
use rustix::io::Errno;
use rustix::mount::{
    FsOpenFlags, MountFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, fsopen, mount,
    move_mount, open_tree, unmount,
};
use rustix::net::{AddressFamily, Protocol, SocketFlags, SocketType, socket_with};
use rustix::process::{Resource, getrlimit, pivot_root};
use std::num::NonZeroU32;
use std::os::fd::AsFd;

/// Opens a socket by numbers.
fn socket(family: u16, kind: u32, protocol: u32) -> Result<(), Errno> {
    socket_with(
        AddressFamily::from_raw(family),
        SocketType::from_raw(kind),
        SocketFlags::CLOEXEC,
        NonZeroU32::new(protocol).map(Protocol::from_raw),
    )
    .map(drop)
}

const UNIX: u16 = 1;
const INET: u16 = 2;
const INET6: u16 = 10;
const NETLINK: u16 = 16;
const PACKET: u16 = 17;
const XDP: u16 = 44;
const RAW: u32 = 3;

/// F01: the wire itself.
pub(crate) fn raw_sockets(_: &Aim, log: &mut Log) {
    for (name, family, kind, protocol) in [
        ("AF_INET SOCK_RAW ICMP", INET, RAW, 1),
        ("AF_INET SOCK_RAW", INET, RAW, 255),
        ("AF_INET6 SOCK_RAW", INET6, RAW, 58),
        ("AF_PACKET SOCK_RAW", PACKET, RAW, 0x0300),
        ("AF_PACKET SOCK_DGRAM", PACKET, 2, 0x0300),
        ("AF_XDP", XDP, RAW, 0),
    ] {
        log.add(Try::of(
            format!("socket({name})"),
            socket(family, kind, protocol),
        ));
    }
}

/// K03: families that images use are no find: unix, internet, some of netlink.
pub(crate) fn families(_: &Aim, log: &mut Log) {
    const HARMLESS_NETLINK: [u32; 4] = [0, 4, 15, 16];
    for family in 0..46 {
        if [UNIX, INET, INET6].contains(&family) {
            continue;
        }
        let protocols = if family == NETLINK { 0..23 } else { 0..1 };
        let mut worked = Vec::new();
        let mut last = Errno::AFNOSUPPORT;
        for protocol in protocols {
            for kind in [1, 2, 3, 5] {
                match socket(family, kind, protocol) {
                    Ok(()) if family == NETLINK && HARMLESS_NETLINK.contains(&protocol) => {}
                    Ok(()) => worked.push(format!("type {kind} protocol {protocol}")),
                    Err(errno) => last = errno,
                }
            }
        }
        let end = match worked.first() {
            None => End::Refused(last),
            Some(_) => End::Broke(worked.join(", ")),
        };
        log.add(Try::new(format!("socket(family {family})"), end));
    }
}

/// K02: the calls that build walls could take them down.
pub(crate) fn namespaces(_: &Aim, log: &mut Log) {
    for (name, flag) in [
        ("NEWNS", new::NS),
        ("NEWCGROUP", new::CGROUP),
        ("NEWUTS", new::UTS),
        ("NEWIPC", new::IPC),
        ("NEWUSER", new::USER),
        ("NEWPID", new::PID),
        ("NEWNET", new::NET),
    ] {
        for told in in_child(|log| log.add(Try::of(format!("unshare({name})"), raw::unshare(flag))))
        {
            log.add(told);
        }
        log.add(Try::of(
            format!("clone({name})"),
            raw::clone_and_exit(flag).map(drop),
        ));
    }
    let plain = match raw::clone3_and_exit(0, None) {
        Err(errno) => End::Refused(errno),
        Ok(_) => End::Held("works, without new namespaces".to_owned()),
    };
    log.add(Try::new("clone3()", plain));
    log.add(Try::of(
        "mount(tmpfs)",
        mount("tmpfs", "/", "tmpfs", MountFlags::empty(), c""),
    ));
    log.add(Try::of("umount2(/)", unmount("/", UnmountFlags::DETACH)));
    log.add(Try::of(
        "fsopen(tmpfs)",
        fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC),
    ));
    let clone = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    log.add(Try::of("open_tree(/, CLONE)", open_tree(CWD, "/", clone)));
    let moved = move_mount(CWD, "/", CWD, "/", MoveMountFlags::empty());
    log.add(Try::of("move_mount(/, /)", moved));
    log.add(Try::of("pivot_root(/, /)", pivot_root("/", "/")));
    let own = open(
        "/proc/self/ns/net",
        OFlags::RDONLY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .and_then(|fd| rustix::thread::move_into_link_name_space(fd.as_fd(), None));
    log.add(Try::of("setns(own network)", own));
}

/// Calls of the table by name; one that reaches the kernel's own checks is a find.
fn calls(log: &mut Log, wanted: impl Fn(&str) -> bool) {
    for call in HARMLESS.iter().filter(|c| wanted(c.name)) {
        let end = match call.attempt() {
            Err(errno @ (Errno::PERM | Errno::NOSYS | Errno::ACCESS)) => End::Refused(errno),
            Err(errno) => End::Broke(format!("reached the kernel: {}", errno_name(errno))),
            Ok(_) => End::Broke("it worked".to_owned()),
        };
        log.add(Try::new(call.name, end));
    }
}

/// K04.
pub(crate) fn io_uring(_: &Aim, log: &mut Log) {
    calls(log, |name| name.starts_with("io_uring"));
}

/// K05.
pub(crate) fn privileged(_: &Aim, log: &mut Log) {
    calls(log, |name| !name.starts_with("io_uring"));
}

/// K06.
pub(crate) fn keyring(_: &Aim, log: &mut Log) {
    for (name, operation) in [
        ("keyctl(GET_KEYRING_ID, session)", Keys::Session),
        ("add_key(user)", Keys::Add),
        ("request_key(user)", Keys::Request),
        ("keyctl(JOIN_SESSION_KEYRING)", Keys::Join),
    ] {
        let end = match raw::keys(operation) {
            // The key does not exist, but it was looked for.
            Err(Errno::NOKEY) => End::Broke("searched, and not found".to_owned()),
            Err(errno) => End::Refused(errno),
            Ok(serial) => End::Broke(format!("serial {serial}")),
        };
        log.add(Try::new(name, end));
    }
}

/// K07: handles are guessed: inode 2 is the top of most file systems.
pub(crate) fn handles(aim: &Aim, log: &mut Log) {
    for path in ["/", &*aim.volume] {
        let top = match open(
            path,
            OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        ) {
            Ok(top) => top,
            Err(errno) => {
                log.add(Try::moot(format!("open {path}"), errno_name(errno)));
                continue;
            }
        };
        let mut last = Errno::STALE;
        let mut opened = None;
        for inode in 1..=128u8 {
            // Kind 1 is an inode's number and generation, which is 0 for the first ones.
            match raw::open_by_handle(top.as_fd(), 1, &[inode, 0, 0, 0, 0, 0, 0, 0]) {
                Ok(_) => opened = Some(inode),
                Err(errno) => last = errno,
            }
        }
        let end = match opened {
            Some(inode) => End::Broke(format!("inode {inode} opened")),
            None if last == Errno::STALE => {
                End::Broke("it may, though no guess was right".to_owned())
            }
            None => End::Refused(last),
        };
        log.add(Try::new(format!("open_by_handle_at on {path}"), end));
    }
}

/// K08: keys that nobody pressed.
pub(crate) fn terminal(_: &Aim, log: &mut Log) {
    for path in ["/proc/self/fd/0", "/dev/tty", "/dev/console"] {
        match open(
            path,
            OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC | OFlags::NONBLOCK,
            Mode::empty(),
        ) {
            Err(errno) => log.add(Try::of::<()>(format!("open {path}"), Err(errno))),
            Ok(tty) if !rustix::termios::isatty(&tty) => {
                log.add(Try::moot(format!("open {path}"), "no terminal"))
            }
            Ok(tty) => {
                log.add(Try::of(
                    format!("TIOCSTI on {path}"),
                    raw::push_input(tty.as_fd(), b'#'),
                ));
                log.add(Try::of(
                    format!("TIOCLINUX on {path}"),
                    raw::paste_input(tty.as_fd()),
                ));
            }
        }
    }
    let input = rustix::stdio::stdin();
    let end = match raw::push_input(input, b'#') {
        Err(Errno::PERM) => End::Refused(Errno::PERM),
        Err(errno) => End::Moot(format!("stdin is no terminal: {}", errno_name(errno))),
        Ok(()) => End::Broke("a byte was pushed".to_owned()),
    };
    log.add(Try::new("TIOCSTI on stdin", end));
}

/// K10: the limit, and a crash to see whether it is kept.
pub(crate) fn core_dump(_: &Aim, log: &mut Log) {
    let limit = getrlimit(Resource::Core);
    let end = match (limit.current, limit.maximum) {
        (Some(0), Some(0)) => End::Held("0".to_owned()),
        (soft, hard) => End::Broke(format!("soft {soft:?} hard {hard:?}")),
    };
    log.add(Try::new("limit of core dumps", end));
    let crashed = in_child(|_| {
        raw::default_signal(11);
        let _ = raw::signal_any(rustix::process::getpid().as_raw_pid(), 11);
    });
    let left = std::fs::read_dir(".")
        .into_iter()
        .flatten()
        .flatten()
        .map(|e| e.file_name().to_string_lossy().into_owned())
        .find(|n| n == "core" || n.starts_with("core."));
    let end = match left {
        Some(file) if !crashed.is_empty() => End::Broke(file),
        _ => End::Held("no file".to_owned()),
    };
    log.add(Try::new("crash", end));
}

/// K13.
pub(crate) fn log(_: &Aim, log: &mut Log) {
    calls(log, |name| name == "syslog");
    for path in ["/dev/kmsg", "/proc/kmsg"] {
        let opened = open(
            path,
            OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC,
            Mode::empty(),
        );
        let opened = opened.and_then(|fd| match rustix::io::read(fd, &mut [0; 64]) {
            Ok(0) => Err(Errno::ACCESS),
            other => other,
        });
        log.add(Try::of(format!("read {path}"), opened));
    }
    if Status::own().field("Seccomp") == Some("0") {
        log.add(Try::moot("seccomp", "no filter is loaded"));
    }
}
