//! Settings of the host's network that are files below /proc/sys.
//!
//! Of its own devices rkt sets what it needs; of all the host's, forwarding alone.

use crate::error::{Doing, Error};
use rkt_spec::network::{Driver, NetworkPlan};
use rustix::fd::BorrowedFd;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

/// Lets the host pass packets on for pods, when it does not.
pub(super) fn forward(proc: BorrowedFd<'_>, plans: &[NetworkPlan]) -> Result<(), Error> {
    let routed = |p: &&NetworkPlan| match p.driver {
        Driver::Ptp => true,
        Driver::Bridge => p.gateway,
        Driver::Macvlan | Driver::Cni | Driver::Pasta => false,
    };
    let pools = || plans.iter().filter(routed).flat_map(|p| &p.pools);
    if pools().any(|p| p.subnet.address.is_ipv4()) {
        turn_on(proc, "net/ipv4/ip_forward")?;
    }
    const IPV6: &str = "net/ipv6/conf/all/forwarding";
    if pools().any(|p| p.subnet.address.is_ipv6()) && read(proc, IPV6)? == b"0" {
        keep_listening(proc)?;
        turn_on(proc, IPV6)?;
    }
    Ok(())
}

/// A router does not listen to routers: a host that got its own address and default route from one
/// would lose them. 2 says to listen all the same (`ip-sysctl.rst`, `accept_ra`).
fn keep_listening(proc: BorrowedFd<'_>) -> Result<(), Error> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let conf = "sys/net/ipv6/conf";
    let dir = rustix::fs::openat(proc, conf, flags, Mode::empty())
        .doing(|| format!("open `/proc/{conf}`"))?;
    let list = rustix::fs::Dir::read_from(&dir).doing(|| format!("list `/proc/{conf}`"))?;
    for entry in list.flatten() {
        let Ok(name) = entry.file_name().to_str() else {
            continue;
        };
        if matches!(name, "." | ".." | "all" | "lo") {
            continue;
        }
        let path = format!("net/ipv6/conf/{name}/accept_ra");
        // A device may go meanwhile.
        if read(proc, &path).is_ok_and(|v| v == b"1") {
            let _ = write(proc, &path, "2");
        }
    }
    Ok(())
}

/// Whether a device of the host speaks IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ipv6 {
    On,
    Off,
}

/// Settings of IPv6 that no message has: nothing that comes from the pod is believed, and the
/// device can be used at once.
pub(super) fn wary(proc: BorrowedFd<'_>, device: &str, ipv6: Ipv6) -> Result<(), Error> {
    let path = |name: &str| format!("net/ipv6/conf/{device}/{name}");
    for (name, value) in [
        ("accept_ra", "0"),
        ("accept_redirects", "0"),
        ("accept_dad", "0"),
    ] {
        match write(proc, &path(name), value) {
            // No IPv6 in this kernel.
            Err(e) if e.errno() == Some(Errno::NOENT) && ipv6 == Ipv6::Off => return Ok(()),
            other => other?,
        }
    }
    let wanted = match ipv6 {
        Ipv6::On => "0",
        Ipv6::Off => "1",
    };
    // Written only where it differs: a write waits for the lock of all network devices.
    if read(proc, &path("disable_ipv6"))? != wanted.as_bytes() {
        write(proc, &path("disable_ipv6"), wanted)?;
    }
    Ok(())
}

fn turn_on(proc: BorrowedFd<'_>, path: &str) -> Result<(), Error> {
    if read(proc, path)? == b"0" {
        write(proc, path, "1")?;
    }
    Ok(())
}

fn read(proc: BorrowedFd<'_>, path: &str) -> Result<Vec<u8>, Error> {
    let read = || -> rustix::io::Result<Vec<u8>> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let file = rustix::fs::openat(proc, format!("sys/{path}"), flags, Mode::empty())?;
        let mut bytes = [0u8; 32];
        let n = rustix::io::read(&file, &mut bytes)?;
        Ok(bytes.get(..n).unwrap_or(&[]).trim_ascii_end().to_vec())
    };
    read().doing(|| format!("read `/proc/sys/{path}`"))
}

fn write(proc: BorrowedFd<'_>, path: &str, value: &str) -> Result<(), Error> {
    let write = || -> rustix::io::Result<()> {
        let flags = OFlags::WRONLY | OFlags::CLOEXEC;
        let file = rustix::fs::openat(proc, format!("sys/{path}"), flags, Mode::empty())?;
        rustix::io::write(&file, value.as_bytes())?;
        Ok(())
    };
    write().doing(|| format!("write `{value}` to `/proc/sys/{path}`"))
}
