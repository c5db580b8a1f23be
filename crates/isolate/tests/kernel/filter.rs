//! The default seccomp program in the kernel.

use super::child::{Dir, Outcome, Try, check, ended, errno, expect, in_child, outcome};
use rkt_isolate::seccomp::{self, NATIVE};
use rkt_spec::capability::CapSet;
use rkt_sys::process::{CStrings, Ended, flags};
use rkt_sys::{cred, ns, process, raw};
use rustix::fd::AsFd;
use rustix::io::Errno;
use rustix::net::{AddressFamily, Protocol, SocketFlags, SocketType};
use rustix::pty::OpenptFlags;
use std::time::{Duration, Instant};

/// Loads the default program as an app with no_new_privs does.
fn enter() -> Try {
    let program = seccomp::default_program(CapSet::EMPTY)?;
    cred::no_new_privs()?;
    rkt_sys::seccomp::load(&program)?;
    Ok(())
}

fn socket(family: u16, protocol: u32) -> Result<rustix::fd::OwnedFd, Errno> {
    rustix::net::socket_with(
        AddressFamily::from_raw(family),
        SocketType::DGRAM,
        SocketFlags::CLOEXEC,
        rustix::net::RawProtocol::new(protocol).map(Protocol::from_raw),
    )
}

pub(crate) fn refuses() -> Outcome {
    outcome(in_child(|| {
        // Control: without the filter these reach the kernel and work.
        expect("unshare before", errno(ns::unshare(ns::kind::UTS)), None)?;
        enter()?;
        for kind in [
            ns::kind::USER,
            ns::kind::MOUNT,
            ns::kind::NET,
            ns::kind::PID,
            ns::kind::UTS,
            ns::kind::IPC,
            ns::kind::CGROUP,
        ] {
            expect("unshare", errno(ns::unshare(kind)), Some(Errno::PERM))?;
            let flags = u32::try_from(kind)?;
            expect("clone", raw::clone_and_exit(flags), Some(Errno::PERM))?;
            expect("setns", setns(kind), Some(Errno::PERM))?;
        }
        expect("clone3", raw::clone3_and_exit(0, None), Some(Errno::NOSYS))?;
        let clone3 = process::clone3(flags::NEWUSER, None);
        expect("clone3", errno(clone3), Some(Errno::NOSYS))?;
        let unmount = rustix::mount::unmount(c"/", rustix::mount::UnmountFlags::empty());
        expect("umount2", unmount, Some(Errno::PERM))?;
        let chroot = rustix::process::chroot(c"/");
        expect("chroot", chroot, Some(Errno::PERM))?;
        for family in 0..46 {
            let want = match family {
                1 | 2 | 10 | 16 => None,
                _ => Some(Errno::AFNOSUPPORT),
            };
            expect(&format!("socket {family}"), socket(family, 0), want)?;
        }
        for protocol in 0..23 {
            let got = socket(16, protocol);
            let name = format!("netlink {protocol}");
            match protocol {
                // SOCK_DIAG may not be built; the filter's own errno is what matters.
                0 | 4 | 15 | 16 => check(got.err() != Some(Errno::AFNOSUPPORT), || name)?,
                _ => expect(&name, got, Some(Errno::PROTONOSUPPORT))?,
            }
        }
        // A fork, a thread-like clone and a program still work.
        let pid = raw::clone_and_exit(0)?;
        rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty())?;
        let out = std::process::Command::new("/bin/true").status()?;
        check(out.success(), || {
            format!("/bin/true under the filter: {out}")
        })
    }))
}

fn setns(kind: i32) -> Result<(), Errno> {
    let here = std::fs::File::open("/proc/self/ns/uts").map_err(|_| Errno::IO)?;
    errno(ns::enter(here.as_fd(), kind))
}

pub(crate) fn harmless() -> Outcome {
    outcome(in_child(|| {
        enter()?;
        for call in raw::HARMLESS {
            let got = call.attempt().err();
            check(matches!(got, Some(Errno::PERM | Errno::NOSYS)), || {
                format!("{}: {got:?}", call.name)
            })?;
        }
        Ok(())
    }))
}

pub(crate) fn terminal() -> Outcome {
    outcome(in_child(|| {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = rustix::pty::openpt(flags)?;
        rustix::pty::unlockpt(&master)?;
        let slave = rustix::pty::ioctl_tiocgptpeer(&master, OpenptFlags::RDWR)?;
        // Control: root may fake input on any terminal.
        expect("TIOCSTI before", raw::push_input(slave.as_fd(), b'x'), None)?;
        enter()?;
        let push = raw::push_input(slave.as_fd(), b'x');
        expect("TIOCSTI", push, Some(Errno::PERM))?;
        let paste = raw::paste_input(slave.as_fd());
        expect("TIOCLINUX", paste, Some(Errno::PERM))?;
        rustix::termios::tcgetattr(&slave)?;
        Ok(())
    }))
}

/// An app without no_new_privs: the filter goes in while CAP_SYS_ADMIN is there, the sets are
/// dropped under it, then the program starts. Also tells how long the load takes.
pub(crate) fn order() -> Outcome {
    outcome(run_order())
}

fn run_order() -> Try {
    let program = seccomp::default_program(CapSet::EMPTY)?.into_owned();
    let argv = CStrings::new([&b"true"[..]])?;
    let envp = CStrings::new(Vec::<Vec<u8>>::new())?;
    let mut best = Duration::MAX;
    for _ in 0..20 {
        let (how, text) = ended(None, || {
            let start = Instant::now();
            rkt_sys::seccomp::load(&program)?;
            let took = start.elapsed();
            cred::limit_bounding(0)?;
            cred::become_ids(0, 0, &[])?;
            cred::capset(0, 0, 0)?;
            // The word goes out before exec closes the pipe.
            Err(super::child::Wrong(took.as_nanos().to_string()))
        })?;
        check(how == Ended::Exited(1), || format!("{how:?}: {text}"))?;
        let nanos: u64 = text.parse().map_err(|_| super::child::Wrong(text))?;
        best = best.min(Duration::from_nanos(nanos));
    }
    super::super::say(&format!(
        "  the default filter has {} instructions and loads in {best:?} (best of 20)",
        program.len() / rkt_sys::seccomp::INSTRUCTION
    ));
    let (how, text) = ended(None, || {
        rkt_sys::seccomp::load(&program)?;
        cred::capset(0, 0, 0)?;
        Err(process::execve(c"/bin/true", &argv, &envp).into())
    })?;
    check(how == Ended::Exited(0), || format!("{how:?}: {text}"))?;
    let unprivileged = ended(None, || {
        cred::capset(0, 0, 0)?;
        let load = rkt_sys::seccomp::load(&program);
        expect("load without the privilege", load, Some(Errno::ACCESS))
    })?;
    check(unprivileged.0 == Ended::Exited(0), || unprivileged.1)?;
    for bad in [&program[..7], &[], &[0u8; 8 * 4097][..]] {
        expect(
            "a malformed program",
            rkt_sys::seccomp::load(bad),
            Some(Errno::INVAL),
        )?;
    }
    Ok(())
}

/// A 32-bit program that makes one call: `exit(7)` by `int 0x80`.
fn i386_program() -> Vec<u8> {
    const BASE: u32 = 0x0804_8000;
    let mut elf = b"\x7fELF\x01\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    let half = |out: &mut Vec<u8>, values: &[u16]| {
        values.iter().for_each(|v| out.extend(v.to_le_bytes()));
    };
    let word = |out: &mut Vec<u8>, values: &[u32]| {
        values.iter().for_each(|v| out.extend(v.to_le_bytes()));
    };
    half(&mut elf, &[2, 3]); // executable, i386
    word(&mut elf, &[1, BASE + 84, 52, 0, 0]); // entry, program headers
    half(&mut elf, &[52, 32, 1, 0, 0, 0]);
    word(&mut elf, &[1, 0, BASE, BASE, 96, 96, 5, 0x1000]); // one loadable segment
    elf.extend([0x31, 0xc0, 0x40]); // eax = 1, exit
    elf.extend([0xbb, 7, 0, 0, 0]); // ebx = 7
    elf.extend([0xcd, 0x80, 0xf4, 0x90]); // int 0x80; hlt
    elf
}

pub(crate) fn foreign() -> Outcome {
    match run_foreign() {
        Ok(Some(why)) => Outcome::Skip(why),
        other => outcome(other.map(drop)),
    }
}

fn run_foreign() -> Try<Option<String>> {
    use std::os::unix::fs::PermissionsExt;
    if NATIVE != seccomp::Arch::X86_64 {
        return Ok(Some("only x86-64 has a second architecture".to_owned()));
    }
    let dir = Dir::new("i386")?;
    let path = dir.0.join("program");
    std::fs::write(&path, i386_program())?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))?;
    let name = std::ffi::CString::new(path.to_string_lossy().into_owned())?;
    let argv = CStrings::new([&b"program"[..]])?;
    let envp = CStrings::new(Vec::<Vec<u8>>::new())?;
    let run = |load: bool| {
        ended(None, || {
            if load {
                enter()?;
            }
            Err(process::execve(&name, &argv, &envp).into())
        })
    };
    // Control: without the filter it runs.
    match run(false)? {
        (Ended::Exited(7), _) => {}
        (how, text) => return Ok(Some(format!("no 32-bit programs here: {how:?} {text}"))),
    }
    let (how, text) = run(true)?;
    let sigsys = 31;
    check(how == Ended::Killed(sigsys), || format!("{how:?}: {text}"))?;
    Ok(None)
}
