//! What foreign plugins have made for a pod: one small file a device, until they have unmade it.
//!
//! The file is there before a plugin is called, empty; later it has the result, as the last plugin
//! said it. Whoever ends the pod hands it to the plugins again: its supervisor, or `rkt gc` after
//! a crash. It lies in the pod's directory and not below /run, since what plugins remember
//! (leases, for one) survives a reboot as well.

use crate::error::Doing;
use crate::{Result, file};
use std::os::fd::BorrowedFd;

/// Longest result that is kept, bytes.
const LIMIT: usize = 1 << 20;

fn name(interface: &str) -> String {
    format!("network-{interface}")
}

/// Keeps what was said of a device; empty bytes before anything was.
///
/// # Errors
/// When the disk is full, for example.
pub fn put(pod_dir: BorrowedFd<'_>, interface: &str, result: &[u8]) -> Result<()> {
    file::replace(pod_dir, &name(interface), result)
}

/// What is kept of a device; `None` when its plugins have unmade it, or were never called.
///
/// # Errors
/// When it cannot be read.
pub fn get(pod_dir: BorrowedFd<'_>, interface: &str) -> Result<Option<Vec<u8>>> {
    file::read(pod_dir, &name(interface), LIMIT)
}

/// The device is unmade.
///
/// # Errors
/// When the file cannot be removed.
pub fn forget(pod_dir: BorrowedFd<'_>, interface: &str) -> Result<()> {
    let name = name(interface);
    match rustix::fs::unlinkat(pod_dir, &*name, rustix::fs::AtFlags::empty()) {
        Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(()),
        Err(error) => Err(error).doing(|| format!("remove the file `{name}` of the pod")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_known_from_before_its_making_until_it_is_unmade() {
        let dir = crate::tests::Scratch::new();
        assert_eq!(get(dir.fd(), "eth0").unwrap(), None);
        put(dir.fd(), "eth0", b"").unwrap();
        assert_eq!(get(dir.fd(), "eth0").unwrap().as_deref(), Some(&b""[..]));
        put(dir.fd(), "eth0", b"{}").unwrap();
        assert_eq!(get(dir.fd(), "eth0").unwrap().as_deref(), Some(&b"{}"[..]));
        assert_eq!(get(dir.fd(), "eth1").unwrap(), None);
        forget(dir.fd(), "eth0").unwrap();
        forget(dir.fd(), "eth0").unwrap();
        assert_eq!(get(dir.fd(), "eth0").unwrap(), None);
    }
}
