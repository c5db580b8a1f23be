//! The filter table of iptables-legacy, read (`struct ipt_getinfo`, `struct ipt_get_entries`).
//!
//! Those rules are no part of nf_tables. They are read only when the table is there already, since
//! asking for it would make it.

use crate::fd::check;
use rustix::fd::{AsRawFd, OwnedFd};
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, socket_with};
use std::io;

const NAME: &[u8] = b"filter\0";
/// `XT_TABLE_MAXNAMELEN`.
const NAME_LENGTH: usize = 32;
/// `IPT_SO_GET_INFO`, `IP6T_SO_GET_INFO`.
const GET_INFO: i32 = 64;
/// `IPT_SO_GET_ENTRIES`, `IP6T_SO_GET_ENTRIES`.
const GET_ENTRIES: i32 = 65;
/// `NF_INET_FORWARD`.
const FORWARD: usize = 2;
/// Longest table that is read, bytes.
const MOST: usize = 64 << 20;

/// A filter table.
#[derive(Debug)]
pub struct Table {
    v4: bool,
    /// Where the policy of the forward chain is.
    policy: usize,
    entries: Vec<u8>,
}

/// Reads the filter table of the calling process's network namespace, for IPv4 or IPv6; `None`
/// when nobody has made it.
///
/// # Errors
/// `EPERM` without CAP_NET_ADMIN.
pub fn filter_table(v4: bool) -> io::Result<Option<Table>> {
    let names = match v4 {
        true => "/proc/thread-self/net/ip_tables_names",
        false => "/proc/thread-self/net/ip6_tables_names",
    };
    let there = std::fs::read_to_string(names).is_ok_and(|t| t.lines().any(|l| l == "filter"));
    if !there {
        return Ok(None);
    }
    let family = if v4 {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    };
    let kind = SocketType::RAW;
    let socket = socket_with(family, kind, SocketFlags::CLOEXEC, Some(ipproto::RAW))?;
    // name, valid_hooks, hook_entry[5], underflow[5], num_entries, size.
    let mut info = vec![0u8; NAME_LENGTH + 4 * 13];
    name(&mut info);
    get(&socket, v4, GET_INFO, &mut info)?;
    let word = |at: usize| {
        let bytes = info
            .get(NAME_LENGTH + at * 4..)
            .and_then(|b| b.first_chunk());
        bytes.map_or(0, |b| u32::from_ne_bytes(*b) as usize)
    };
    let (policy, size) = (word(6 + FORWARD), word(12));
    if size > MOST {
        return Err(io::Error::from_raw_os_error(libc::EFBIG));
    }
    // name, size, and the entries at the next multiple of eight.
    const HEAD: usize = (NAME_LENGTH + 4).next_multiple_of(8);
    let mut all = vec![0u8; HEAD + size];
    name(&mut all);
    let length = u32::try_from(size).unwrap_or(0).to_ne_bytes();
    if let Some(place) = all.get_mut(NAME_LENGTH..NAME_LENGTH + 4) {
        place.copy_from_slice(&length);
    }
    match get(&socket, v4, GET_ENTRIES, &mut all) {
        // It has changed meanwhile: whoever changed it is at work on it.
        Err(e) if e.raw_os_error() == Some(libc::EAGAIN) => return Ok(None),
        other => other?,
    }
    Ok(Some(Table {
        v4,
        policy,
        entries: all.split_off(HEAD),
    }))
}

fn name(bytes: &mut [u8]) {
    for (to, from) in bytes.iter_mut().zip(NAME) {
        *to = *from;
    }
}

fn get(socket: &OwnedFd, v4: bool, option: i32, bytes: &mut [u8]) -> io::Result<()> {
    let level = if v4 {
        libc::IPPROTO_IP
    } else {
        libc::IPPROTO_IPV6
    };
    let mut length = libc::socklen_t::try_from(bytes.len()).unwrap_or(0);
    // SAFETY: the kernel reads and writes at most `length` bytes of `bytes`, which is that long and
    // borrowed mutably across the call.
    let got = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            level,
            option,
            bytes.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    check(got.into())?;
    Ok(())
}

impl Table {
    /// Offsets of `target_offset` and `next_offset` in an entry (`struct ipt_entry`,
    /// `struct ip6t_entry`): behind the addresses and `nfcache`.
    fn offsets(&self) -> usize {
        if self.v4 { 88 } else { 140 }
    }

    fn half(&self, at: usize) -> Option<usize> {
        let bytes = self.entries.get(at..)?.first_chunk()?;
        Some(u16::from_ne_bytes(*bytes).into())
    }

    /// Whether the policy of chain FORWARD is ACCEPT.
    pub fn forward_policy_accepts(&self) -> bool {
        /// `-NF_ACCEPT - 1`: a standard target's verdict.
        const ACCEPT: i32 = -2;
        /// `struct xt_entry_target`.
        const TARGET: usize = 32;
        let verdict = || {
            let target = self.policy + self.half(self.policy + self.offsets())?;
            let bytes = self.entries.get(target + TARGET..)?.first_chunk()?;
            Some(i32::from_ne_bytes(*bytes))
        };
        verdict() == Some(ACCEPT)
    }

    /// Whether a rule names this network as source or destination, or a device whose name begins
    /// `device`'s (as `-i veth+` does).
    pub fn names(&self, network: &[u8], device: &str) -> bool {
        let length = network.len();
        // source, destination, two masks; then names of two devices and two masks.
        let mut at = 0;
        while let Some(entry) = self.entries.get(at..) {
            let address = |n: usize| entry.get(n * length..(n + 1) * length) == Some(network);
            let named = |n: usize| {
                let from = 4 * length + n * 16;
                let name = entry.get(from..from + 16).unwrap_or(&[]);
                let name = name.split(|b| matches!(b, 0 | b'+')).next().unwrap_or(&[]);
                name.len() >= 3 && device.as_bytes().starts_with(name)
            };
            if address(0) || address(1) || named(0) || named(1) {
                return true;
            }
            match self.half(at + self.offsets() + 2) {
                Some(next) if next > 0 => at += next,
                _ => return false,
            }
        }
        false
    }
}
