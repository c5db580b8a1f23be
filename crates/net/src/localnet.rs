//! The way from the host's own loopback address to a published port, device by device.
//!
//! A client on the host that connects to `127.0.0.1` sends from `127.0.0.1`, which the kernel lets
//! out of no device but `lo`, and whose answers it takes for forgeries (`ip_route_input_slow`). By
//! IPv4 `net.ipv4.conf.DEVICE.route_localnet` allows both for one device; `all` is never touched.
//! It also lets in what a neighbour on that device sends to `127.0.0.1` (CVE-2020-8558), so a rule
//! that drops this is there first: chain `wanted` for a pod's own device, chain `prerouting` with
//! set `localnet` for a bridge. By IPv6 a second local route for `::1` on the device, of a worse
//! metric than that of `lo`, lets the answers in; what comes from outside to `::1` the kernel drops
//! before any rule or route (`ip6_rcv_core`).

use crate::error::{Doing, Error};
use crate::netlink::{Batch, Socket, flag};
use rkt_sys::netlink::Family;
use rustix::io::Errno;
use std::net::{IpAddr, Ipv6Addr};

const NEW_ROUTE: u16 = 24;
const DELETE_ROUTE: u16 = 25;
/// Worse than every route of the kernel's own.
const METRIC: u32 = 4096;

fn setting(device: &str) -> String {
    format!("/proc/sys/net/ipv4/conf/{device}/route_localnet")
}

/// Lets the host speak from its loopback addresses to what is behind a device, for IPv4 and, where
/// the device has IPv6, for IPv6. The rules against CVE-2020-8558 must be there already.
///
/// # Errors
/// Names the setting; `ENODEV` when there is no such device.
pub fn open(device: &str) -> Result<(), Error> {
    let doing = || format!("let the host's loopback out of `{device}`");
    let path = setting(device);
    std::fs::write(&path, "1")
        .doing(|| format!("write `{path}`"))
        .doing(doing)?;
    match route(NEW_ROUTE, flag::CREATE | flag::EXCL, device) {
        Err(error) if !harmless(&error) => Err(error).doing(doing),
        _ => Ok(()),
    }
}

/// Takes back what [`open`] did; a device that is gone has taken it along.
pub fn close(device: &str) {
    let _ = std::fs::write(setting(device), "0");
    let _ = route(DELETE_ROUTE, 0, device);
}

/// It is there already, or IPv6 is not there at all, or not on this device.
fn harmless(error: &Error) -> bool {
    matches!(
        error.errno(),
        Some(Errno::EXIST | Errno::OPNOTSUPP | Errno::AFNOSUPPORT | Errno::ACCESS | Errno::INVAL)
    )
}

fn route(kind: u16, flags: u16, device: &str) -> Result<(), Error> {
    const AF_INET6: u8 = 10;
    const TABLE_LOCAL: u8 = 255;
    const PROTOCOL_STATIC: u8 = 4;
    const SCOPE_HOST: u8 = 254;
    const TYPE_LOCAL: u8 = 2;
    const DESTINATION: u16 = 1;
    const OUT: u16 = 4;
    const PRIORITY: u16 = 6;
    let index = rustix::net::netdevice::name_to_index(
        rustix::net::socket(
            rustix::net::AddressFamily::UNIX,
            rustix::net::SocketType::DGRAM,
            None,
        )?,
        device,
    )
    .doing(|| format!("look for device `{device}`"))?;
    let mut batch = Batch::new();
    batch
        .message(kind, flags, "route `::1` to the device")
        .body(&[
            AF_INET6,
            128,
            0,
            0,
            TABLE_LOCAL,
            PROTOCOL_STATIC,
            SCOPE_HOST,
            TYPE_LOCAL,
            0,
            0,
            0,
            0,
        ])
        .attr_ip(DESTINATION, IpAddr::from(Ipv6Addr::LOCALHOST))
        .attr_u32(OUT, index)
        .attr_u32(PRIORITY, METRIC);
    Socket::open(Family::Route)?.run(&batch).map(drop)
}
