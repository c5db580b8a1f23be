//! A stand-in for the network of a pod that is gone.
//!
//! Plugins (ptp and bridge with `ipMasq`, for two) learn what they made on the host from the
//! addresses of the device in the pod. After a crash that is gone with its namespace, and their
//! rules of iptables would stay. So they are shown a new namespace, which has a device of that
//! name with those addresses and ends with the command.

use crate::error::{Doing, Error};
use crate::netlink::{Batch, Socket, flag};
use rkt_spec::network::Prefix;
use rkt_sys::netlink::Family;
use rkt_sys::process::{self, Cloned, flags};
use rkt_sys::{cred, socket};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{Mode, OFlags};

/// `RTM_NEWLINK`, `RTM_NEWADDR` and their attributes, `rtnetlink(7)`.
const NEWLINK: u16 = 16;
const NEWADDR: u16 = 20;
const IFLA_IFNAME: u16 = 3;
const IFLA_LINKINFO: u16 = 18;
const IFLA_INFO_KIND: u16 = 1;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
/// Number of the device: no other has so high a one in a new namespace.
const INDEX: u32 = 1000;

/// The namespace; it lives as long as the descriptor.
///
/// # Errors
/// When no namespace or device can be made.
pub(super) fn namespace(interface: &str, addresses: &[Prefix]) -> Result<OwnedFd, Error> {
    let doing = || "make a stand-in for the pod's network".to_owned();
    let (ours, theirs) = socket::pair().doing(doing)?;
    let pidfd = match process::clone3(flags::NEWNET, None).doing(doing)? {
        Cloned::Parent { pidfd, .. } => pidfd,
        Cloned::Child => {
            let _ = cred::die_with_parent();
            let status = match make(interface, addresses) {
                Ok(own) => i32::from(socket::send(&theirs, &[1], &[own.as_fd()]).is_err()),
                Err(error) => {
                    let text = error.to_string();
                    i32::from(socket::send(&theirs, text.as_bytes(), &[]).is_err())
                }
            };
            process::exit(status)
        }
    };
    drop(theirs);
    let mut said = [0u8; 512];
    let heard = socket::recv(&ours, &mut said).doing(doing);
    let _ = process::wait_pidfd(pidfd.as_fd());
    let (n, fds) = heard?;
    let text = String::from_utf8_lossy(said.get(..n).unwrap_or(&[])).into_owned();
    let none = || Error::new(crate::Kind::Host, text).while_doing(doing());
    fds.into_iter().next().ok_or_else(none)
}

fn make(interface: &str, addresses: &[Prefix]) -> Result<OwnedFd, Error> {
    let mut batch = Batch::new();
    let what = format!("make the device `{interface}`");
    let mut link = [0u8; 16];
    if let Some(index) = link.get_mut(4..8) {
        index.copy_from_slice(&INDEX.to_ne_bytes());
    }
    batch
        .message(NEWLINK, flag::CREATE | flag::EXCL, what)
        .body(&link)
        .attr_text(IFLA_IFNAME, interface)
        .nest(IFLA_LINKINFO, |info| {
            info.attr_text(IFLA_INFO_KIND, "bridge");
        });
    let kernel = Socket::open(Family::Route)?;
    kernel.run(&batch)?;
    for prefix in addresses {
        let family: u8 = if prefix.address.is_ipv4() { 2 } else { 10 };
        let [a, b, c, d] = INDEX.to_ne_bytes();
        let mut batch = Batch::new();
        batch
            .message(
                NEWADDR,
                flag::CREATE | flag::EXCL,
                format!("add `{prefix}`"),
            )
            .body(&[family, prefix.length, 0, 0, a, b, c, d])
            .attr_ip(IFA_LOCAL, prefix.address)
            .attr_ip(IFA_ADDRESS, prefix.address);
        match kernel.run(&batch) {
            // IPv6 may have been turned off since.
            Err(error) if prefix.address.is_ipv4() => return Err(error),
            _ => {}
        }
    }
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    rustix::fs::open(c"/proc/self/ns/net", flags, Mode::empty())
        .doing(|| "hold the namespace".to_owned())
}
