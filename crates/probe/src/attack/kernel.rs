//! Attacks on the kernel's surface: calls and sockets that no app needs.

use super::{Aim, new};
use crate::trial::{End, Log, Try, errno_name, in_child};
use rkt_sys::raw::{self, HARMLESS, Keys};
use rustix::fs::{CWD, Mode, OFlags, open};
use rustix::io::Errno;
use rustix::mount::{
    FsOpenFlags, MountFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, fsopen, mount,
    move_mount, open_tree, unmount,
};
use rustix::net::{AddressFamily, Protocol, SocketFlags, SocketType, socket_with};
use rustix::process::{Resource, getrlimit};
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
const RAW: u32 = 3;

/// A socket by its numbers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Numbers(u16, u32, u32);

/// `SOCK_RAW` over IPv4, two protocols of it.
pub(crate) const RAW4: &[Numbers] = &[Numbers(INET, RAW, 1), Numbers(INET, RAW, 255)];
/// `SOCK_RAW` over IPv6.
pub(crate) const RAW6: &[Numbers] = &[Numbers(INET6, RAW, 58)];
/// `AF_PACKET`, with and without the header.
pub(crate) const PACKETS: &[Numbers] = &[Numbers(PACKET, RAW, 0x0300), Numbers(PACKET, 2, 0x0300)];

/// F01: the wire itself.
pub(crate) fn raw_sockets(_: &Aim, log: &mut Log, which: &[Numbers]) {
    for Numbers(family, kind, protocol) in which {
        log.add(Try::of(
            format!("socket(family {family}, type {kind}, protocol {protocol})"),
            socket(*family, *kind, *protocol),
        ));
    }
}

/// K03: families that images use are no find: unix, internet, some of netlink.
pub(crate) fn families(_: &Aim, log: &mut Log) {
    for family in (0..46).filter(|f| ![UNIX, INET, INET6, NETLINK].contains(f)) {
        any_of(family, &[0], log);
    }
}

/// K03: protocols of netlink by which the host is configured.
pub(crate) fn netlink(_: &Aim, log: &mut Log) {
    const HARMLESS: [u32; 4] = [0, 4, 15, 16];
    let rare: Vec<u32> = (0..23).filter(|p| !HARMLESS.contains(p)).collect();
    any_of(NETLINK, &rare, log);
}

fn any_of(family: u16, protocols: &[u32], log: &mut Log) {
    let mut worked = Vec::new();
    let mut last = Errno::AFNOSUPPORT;
    for protocol in protocols {
        for kind in [1, 2, 3, 5] {
            match socket(family, kind, *protocol) {
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

/// K02: a namespace of one kind, by both calls.
pub(crate) fn namespace(_: &Aim, log: &mut Log, flag: u32) {
    for told in in_child(|log| log.add(Try::of("unshare", raw::unshare(flag)))) {
        log.add(told);
    }
    log.add(Try::of("clone", raw::clone_and_exit(flag).map(drop)));
}

/// A call that changes the tree of mounts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tree {
    Mount,
    Unmount,
    FsOpen,
    Copy,
    Move,
}

/// K02: mounts.
pub(crate) fn mounts(_: &Aim, log: &mut Log, how: Tree) {
    let none = MountFlags::empty();
    log.add(match how {
        Tree::Mount => Try::of(
            "mount(tmpfs)",
            mount("tmpfs", "/dev/shm", "tmpfs", none, c""),
        ),
        Tree::Unmount => Try::of(
            "umount2(/dev/shm)",
            unmount("/dev/shm", UnmountFlags::DETACH),
        ),
        Tree::FsOpen => Try::of(
            "fsopen(tmpfs)",
            fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC),
        ),
        Tree::Copy => {
            let clone = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
            Try::of(
                "open_tree(/dev/shm, CLONE)",
                open_tree(CWD, "/dev/shm", clone),
            )
        }
        Tree::Move => {
            let to = "/dev/mqueue";
            let moved = move_mount(CWD, "/dev/shm", CWD, to, MoveMountFlags::empty());
            Try::of("move_mount(/dev/shm)", moved)
        }
    });
}

/// K02: namespaces that exist, its own first of all.
pub(crate) fn rejoin(_: &Aim, log: &mut Log) {
    for name in ["net", "ipc", "uts"] {
        let path = format!("/proc/self/ns/{name}");
        let own = open(&*path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .and_then(|fd| rustix::thread::move_into_link_name_space(fd.as_fd(), None));
        log.add(Try::of(format!("setns({path})"), own));
    }
}

/// K02: clone3, whose flags no filter can read; without new namespaces it would be no find.
pub(crate) fn clone3(_: &Aim, log: &mut Log) {
    for flag in [new::NS, new::NET, new::CGROUP] {
        let made = raw::clone3_and_exit(u64::from(flag), None);
        log.add(Try::of(format!("clone3({flag:#x})"), made.map(drop)));
    }
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

/// K04 and K05: calls of these names.
pub(crate) fn rare(_: &Aim, log: &mut Log, names: &[&str]) {
    calls(log, |name| names.contains(&name));
}

/// K06.
pub(crate) fn keyring(_: &Aim, log: &mut Log, operation: Keys) {
    let end = match raw::keys(operation) {
        // The key does not exist, but it was looked for.
        Err(Errno::NOKEY) => End::Broke("searched, and not found".to_owned()),
        Err(errno) => End::Refused(errno),
        Ok(serial) => End::Broke(format!("serial {serial}")),
    };
    log.add(Try::new(
        format!("{operation:?} by keyctl and its like"),
        end,
    ));
}

/// K07: handles are guessed: inode 2 is the top of most file systems.
pub(crate) fn handles(aim: &Aim, log: &mut Log) {
    for path in ["/", "/dev/shm", &*aim.volume] {
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
pub(crate) fn log_files(_: &Aim, log: &mut Log) {
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
}
