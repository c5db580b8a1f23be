//! Settings of a pod's own network namespace that stand in for capabilities.
//!
//! Apps hold no capability over the pod's network (it belongs to the pod's user namespace, apps
//! have siblings of it), so NET_BIND_SERVICE and NET_RAW could not help them. Two make what
//! people use them for work: low ports and ping. The others keep the pod from being led astray.

use rustix::fd::BorrowedFd;
use rustix::fs::{Mode, OFlags};
use std::io;

/// What is written, below `/proc/sys`.
///
/// `ping_group_range` is read in the writer's user namespace: the pod's, whose map ends at the
/// pod's block, so `last_id` is the block's last id.
fn settings(last_id: u32) -> [(&'static str, String); 5] {
    [
        ("sys/net/ipv4/ip_unprivileged_port_start", "0".to_owned()),
        ("sys/net/ipv4/ping_group_range", format!("0 {last_id}")),
        ("sys/net/ipv4/conf/all/accept_redirects", "0".to_owned()),
        ("sys/net/ipv4/conf/all/send_redirects", "0".to_owned()),
        // A pod of several networks may be answered by another than it asked.
        ("sys/net/ipv4/conf/all/rp_filter", "2".to_owned()),
    ]
}

/// What a device of the pod is born with: it believes no router, and uses its addresses at once.
const BIRTH: [(&str, &str); 5] = [
    ("sys/net/ipv4/conf/default/accept_redirects", "0"),
    ("sys/net/ipv4/conf/default/send_redirects", "0"),
    ("sys/net/ipv6/conf/default/accept_redirects", "0"),
    ("sys/net/ipv6/conf/default/accept_ra", "0"),
    // Nobody else can have the address: it was given out once.
    ("sys/net/ipv6/conf/default/accept_dad", "0"),
];

/// Says what devices are to be born with in the calling process's network namespace, through a
/// descriptor of a procfs.
///
/// # Errors
/// As [`apply`].
pub fn before_devices(proc: BorrowedFd<'_>) -> Result<(), (&'static str, io::Error)> {
    BIRTH
        .iter()
        .try_for_each(|(path, value)| write(proc, path, value))
}

/// Writes the settings through a descriptor of a procfs, for the calling process's network
/// namespace. `last_id` is the last id of the writer's user namespace.
///
/// # Errors
/// Names the setting that could not be written. A setting the kernel does not have is skipped.
pub fn apply(proc: BorrowedFd<'_>, last_id: u32) -> Result<(), (&'static str, io::Error)> {
    let all = settings(last_id);
    all.iter()
        .try_for_each(|(path, value)| write(proc, path, value))
}

fn write(
    proc: BorrowedFd<'_>,
    path: &'static str,
    value: &str,
) -> Result<(), (&'static str, io::Error)> {
    let write = || -> rustix::io::Result<()> {
        let file = rustix::fs::openat(proc, path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
        rustix::io::write(&file, value.as_bytes())?;
        Ok(())
    };
    match write() {
        Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(()),
        Err(error) => Err((path, error.into())),
    }
}
