//! Addresses of a network: which are given out, and to whom.
//!
//! ```text
//! RUN-DIR/net/NETWORK/lock              held for microseconds, by whoever takes or gives back
//! RUN-DIR/net/NETWORK/leases/ADDRESS    the owner's UUID; locked for as long as its supervisor lives
//! RUN-DIR/net/NETWORK/leases/UUID       the same of a pod that is there without an address
//! RUN-DIR/net/NETWORK/bridge            name of the bridge that rkt made for it
//! RUN-DIR/net/NETWORK/pool-FIRST        where to look next, and a bit an address
//! ```
//!
//! The lock on a lease is the reservation: the kernel frees it however its holder ends. A lease
//! whose lock is free is a dead pod's, and names it, so that what that pod left can be removed
//! before the address is used again. The bits only spare a search: with 10 000 addresses given
//! out, the next is found by reading 1.25 KiB.

use crate::error::{Doing, Error, Kind};
use rkt_spec::network::Pool;
use rkt_spec::{NetworkName, Uuid};
use rkt_sys::lock;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use std::net::IpAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

/// Name of the directory of all networks in the run directory.
pub const DIR: &str = "net";
const LEASES: &str = "leases";
const LOCK: &str = "lock";
const BRIDGE: &str = "bridge";
/// How many addresses of a pool have a bit, and can be given out unless they are asked for.
const TRACKED: u64 = 1 << 24;
/// Where the bits begin in a pool's file; before them, where to look next (`u64`).
const BITS: u64 = 8;
/// Bytes of bits that are read at once.
const WINDOW: usize = 4096;

/// What is given out of one network.
#[derive(Debug)]
pub struct Ledger {
    dir: OwnedFd,
    leases: OwnedFd,
}

/// A [`Ledger`] that nobody else changes meanwhile.
#[derive(Debug)]
pub struct Held<'a> {
    ledger: &'a Ledger,
    _lock: OwnedFd,
}

/// An address that is this process's until it ends or gives it back.
#[derive(Debug)]
pub struct Lease {
    /// The address; `None` of a pod that is on a network which gives none.
    pub address: Option<IpAddr>,
    /// The dead pod that had it before and did not give it back.
    pub left_by: Option<Uuid>,
    /// Its file below [`LEASES`].
    name: String,
    /// Whoever has a copy of this descriptor keeps the address.
    file: OwnedFd,
}

impl Ledger {
    /// Opens that of a network below the run directory, and makes it when there is none.
    ///
    /// # Errors
    /// When the directories cannot be made.
    pub fn open(run_dir: &Path, network: &NetworkName) -> Result<Self, Error> {
        let path = run_dir.join(DIR).join(network.as_str());
        let doing = || format!("open the directory `{}`", path.display());
        let leases = path.join(LEASES);
        let open = || -> rustix::io::Result<Self> {
            let flags = OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
            Ok(Self {
                dir: rustix::fs::open(&path, flags, Mode::empty())?,
                leases: rustix::fs::open(&leases, flags, Mode::empty())?,
            })
        };
        match open() {
            Err(Errno::NOENT) => {
                let mut builder = std::fs::DirBuilder::new();
                let made = builder.recursive(true).mode(0o700).create(&leases);
                made.doing(doing)?;
                open().doing(doing)
            }
            other => other.doing(doing),
        }
    }

    /// Writes down that rkt makes the network's bridge.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn note_bridge(&self, name: &str) -> Result<(), Error> {
        let doing = || "write down the network's bridge".to_owned();
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        let file = rustix::fs::openat(&self.dir, BRIDGE, flags, mode).doing(doing)?;
        // Never empty in between: a bridge that is there already may be noted in it.
        let length = rustix::io::write(&file, name.as_bytes()).doing(doing)?;
        rustix::fs::ftruncate(&file, length as u64).doing(doing)
    }

    /// Waits until nobody else changes it: they hold it for microseconds.
    ///
    /// # Errors
    /// When the lock's file cannot be made.
    pub fn hold(&self) -> Result<Held<'_>, Error> {
        let doing = || "lock the network's addresses".to_owned();
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let mode = Mode::RUSR | Mode::WUSR;
        let lock = rustix::fs::openat(&self.dir, LOCK, flags, mode).doing(doing)?;
        loop {
            match rustix::fs::flock(&lock, FlockOperation::LockExclusive) {
                Err(Errno::INTR) => {}
                other => break other.doing(doing)?,
            }
        }
        Ok(Held {
            ledger: self,
            _lock: lock,
        })
    }
}

impl Held<'_> {
    /// Takes an address of a pool: the one that is wanted, or the next that is free.
    ///
    /// # Errors
    /// [`Kind::Taken`] with the owner, [`Kind::Full`], or [`Kind::Request`] for an address that
    /// the pool cannot give.
    pub fn take(&self, pool: &Pool, owner: Uuid) -> Result<Lease, Error> {
        let bits = Bits::open(self.ledger, pool)?;
        if let Some(wanted) = pool.wanted {
            check_wanted(pool, wanted)?;
            let lease = self.claim(wanted, owner)?.ok_or_else(|| {
                let by = self.owner(wanted).map(|u| format!("the pod `{u}`"));
                let by = by.unwrap_or_else(|| "somebody else".to_owned());
                Error::new(Kind::Taken, format!("it is taken by {by}"))
                    .while_doing(format!("take the address `{wanted}`"))
            })?;
            bits.set(bits.number(wanted), Bit::Taken)?;
            return Ok(lease);
        }
        let end = bits.count(pool);
        let next = bits.next()?.min(end);
        let mut tried = 0u64;
        while let Some(bit) = match bits.free(next, end)? {
            Some(bit) => Some(bit),
            None => bits.free(0, next)?,
        } {
            tried += 1;
            // Each turn sets the bit that it found, so this ends; a damaged file must not hold us.
            if tried > end {
                break;
            }
            let address = nth(pool.first, bit);
            let lease = match can_be_given(pool, address) {
                true => self.claim(address, owner)?,
                false => None,
            };
            bits.set(Some(bit), Bit::Taken)?;
            if let Some(lease) = lease {
                bits.look_next(bit + 1)?;
                return Ok(lease);
            }
        }
        // What dead pods left is looked for only now: it needs a look at each.
        let dead = |address: &IpAddr| bits.number(*address).is_some_and(|n| n < end);
        for address in self.addresses()?.filter(dead) {
            if let Some(lease) = self.claim(address, owner)? {
                return Ok(lease);
            }
        }
        Err(Error::new(
            Kind::Full,
            format!(
                "every address from `{}` to `{}` is taken",
                pool.first, pool.last
            ),
        )
        .while_doing(format!("take an address of `{}`", pool.subnet)))
    }

    /// Notes a pod that joins without an address.
    ///
    /// # Errors
    /// When its file cannot be made.
    pub fn join(&self, owner: Uuid) -> Result<Lease, Error> {
        let lease = self.claim_name(owner.to_string(), owner)?;
        lease.ok_or_else(|| Error::new(Kind::Taken, format!("the pod `{owner}` is on it already")))
    }

    /// Gives an address back.
    ///
    /// # Errors
    /// When the files cannot be changed; the address is free all the same.
    pub fn give_back(&self, lease: Lease) -> Result<(), Error> {
        let doing = || format!("give back the address `{}`", lease.name);
        if let Some(address) = lease.address {
            for bits in self.bits()? {
                bits.set(bits.number(address), Bit::Free).doing(doing)?;
            }
        }
        let name = lease.name.as_str();
        rustix::fs::unlinkat(&self.ledger.leases, name, AtFlags::empty()).doing(doing)
    }

    /// Takes over every lease of a dead pod, so that nobody else uses the address while what the
    /// pod left is removed; then give them back.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn dead(&self) -> Result<Vec<Lease>, Error> {
        let mut found = Vec::new();
        for name in self.names()? {
            if let Some(lease) = self.lock(name, OFlags::empty())? {
                found.push(lease);
            }
        }
        Ok(found)
    }

    /// The bridge that rkt made for the network, when no pod has an address there.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn bridge_without_pods(&self) -> Result<Option<String>, Error> {
        let doing = || "look for the network's bridge".to_owned();
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = match rustix::fs::openat(&self.ledger.dir, BRIDGE, flags, Mode::empty()) {
            Err(Errno::NOENT) => return Ok(None),
            other => other.doing(doing)?,
        };
        if self.names()?.next().is_some() {
            return Ok(None);
        }
        let mut bytes = [0u8; 64];
        let n = rustix::io::read(&file, &mut bytes).doing(doing)?;
        let name = String::from_utf8_lossy(bytes.get(..n).unwrap_or(&[]));
        // Who wrote it was killed before the first byte, and so before there was a bridge.
        Ok((!name.is_empty()).then(|| name.into_owned()))
    }

    /// Forgets the bridge: it is gone.
    ///
    /// # Errors
    /// When the file cannot be removed.
    pub fn forget_bridge(&self) -> Result<(), Error> {
        rustix::fs::unlinkat(&self.ledger.dir, BRIDGE, AtFlags::empty())
            .doing(|| "forget the network's bridge".to_owned())
    }

    /// The pod that has or had an address.
    pub fn owner(&self, address: IpAddr) -> Option<Uuid> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let name = address.to_string();
        let file = rustix::fs::openat(&self.ledger.leases, name, flags, Mode::empty()).ok()?;
        owner_in(&file)
    }

    /// Leases of living and dead pods, by their files.
    fn names(&self) -> Result<impl Iterator<Item = String> + use<>, Error> {
        let dir = rustix::fs::Dir::read_from(&self.ledger.leases);
        let dir = dir.doing(|| "list the network's addresses".to_owned())?;
        let names = dir.filter_map(|e| Some(e.ok()?.file_name().to_str().ok()?.to_owned()));
        Ok(names.filter(|n| n != "." && n != ".."))
    }

    /// Addresses among them.
    fn addresses(&self) -> Result<impl Iterator<Item = IpAddr> + use<>, Error> {
        Ok(self.names()?.filter_map(|n| n.parse().ok()))
    }

    /// The bits of every pool that this network has or had.
    fn bits(&self) -> Result<Vec<Bits>, Error> {
        let dir = rustix::fs::Dir::read_from(&self.ledger.dir);
        let dir = dir.doing(|| "list the network's pools".to_owned())?;
        let first = |name: &str| name.strip_prefix(POOL)?.parse().ok();
        dir.filter_map(|entry| first(entry.ok()?.file_name().to_str().ok()?))
            .map(|first| Bits::open_at(self.ledger, first))
            .collect()
    }

    /// Makes a lease; `None` when somebody alive has it.
    fn claim(&self, address: IpAddr, owner: Uuid) -> Result<Option<Lease>, Error> {
        self.claim_name(address.to_string(), owner)
    }

    fn claim_name(&self, name: String, owner: Uuid) -> Result<Option<Lease>, Error> {
        let Some(lease) = self.lock(name, OFlags::CREATE)? else {
            return Ok(None);
        };
        let doing = || format!("take the address `{}`", lease.name);
        let text = format!("{owner}\n");
        rustix::fs::ftruncate(&lease.file, 0).doing(doing)?;
        rustix::io::pwrite(&lease.file, text.as_bytes(), 0).doing(doing)?;
        Ok(Some(lease))
    }

    fn lock(&self, name: String, create: OFlags) -> Result<Option<Lease>, Error> {
        let doing = || format!("open the lease of `{name}`");
        let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW | create;
        let mode = Mode::RUSR | Mode::WUSR;
        let file = match rustix::fs::openat(&self.ledger.leases, name.as_str(), flags, mode) {
            Err(Errno::NOENT) if create.is_empty() => return Ok(None),
            other => other.doing(doing)?,
        };
        match lock::try_lock(file.as_fd(), 0, 1) {
            Ok(()) => Ok(Some(Lease {
                address: name.parse().ok(),
                left_by: owner_in(&file),
                name,
                file,
            })),
            Err(Errno::AGAIN) => Ok(None),
            Err(e) => Err(e).doing(doing),
        }
    }
}

fn owner_in(file: &OwnedFd) -> Option<Uuid> {
    let mut bytes = [0u8; 64];
    let n = rustix::io::pread(file, &mut bytes, 0).ok()?;
    let text = std::str::from_utf8(bytes.get(..n)?).ok()?;
    Uuid::new(text.trim()).ok()
}

fn check_wanted(pool: &Pool, wanted: IpAddr) -> Result<(), Error> {
    let range = || format!("`{}` to `{}`", pool.first, pool.last);
    let because = if !pool.subnet.contains(wanted) {
        format!("it is not in the subnet `{}`", pool.subnet)
    } else if pool.gateway == Some(wanted) {
        "it is the gateway's".to_owned()
    } else if !can_be_given(pool, wanted) {
        format!("it names the subnet `{}` itself", pool.subnet)
    } else if wanted < pool.first || wanted > pool.last {
        format!("pods get those from {}", range())
    } else {
        return Ok(());
    };
    Err(Error::new(Kind::Request, because)
        .while_doing(format!("take the address `{wanted}`"))
        .with_hint(format!("ask for another of {}", range())))
}

/// Whether it is neither the gateway's, nor the subnet's own, nor its broadcast address.
fn can_be_given(pool: &Pool, address: IpAddr) -> bool {
    let (bits, spare) = match address {
        IpAddr::V4(_) => (32, 31),
        IpAddr::V6(_) => (128, 127),
    };
    let length = pool.subnet.length;
    if pool.gateway == Some(address) {
        return false;
    }
    if length >= spare {
        return true;
    }
    let ones = u128::MAX
        .checked_shr(128 - (bits - u32::from(length)))
        .unwrap_or(0);
    let host = number(address) & ones;
    host != 0 && !(address.is_ipv4() && host == ones)
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(a) => u32::from(a).into(),
        IpAddr::V6(a) => a.into(),
    }
}

/// The address `by` further on; stays in the family.
fn nth(first: IpAddr, by: u64) -> IpAddr {
    match first {
        IpAddr::V4(a) => {
            let by = u32::try_from(by).unwrap_or(u32::MAX);
            IpAddr::V4(u32::from(a).saturating_add(by).into())
        }
        IpAddr::V6(a) => IpAddr::V6(u128::from(a).saturating_add(by.into()).into()),
    }
}

const POOL: &str = "pool-";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bit {
    Free,
    Taken,
}

/// Which addresses of a pool are worth a look.
#[derive(Debug)]
struct Bits {
    first: IpAddr,
    file: OwnedFd,
}

impl Bits {
    fn open(ledger: &Ledger, pool: &Pool) -> Result<Self, Error> {
        Self::open_at(ledger, pool.first)
    }

    fn open_at(ledger: &Ledger, first: IpAddr) -> Result<Self, Error> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let mode = Mode::RUSR | Mode::WUSR;
        let file = rustix::fs::openat(&ledger.dir, format!("{POOL}{first}"), flags, mode)
            .doing(|| format!("open the pool from `{first}`"))?;
        Ok(Self { first, file })
    }

    /// How many bits the pool has.
    fn count(&self, pool: &Pool) -> u64 {
        let span = number(pool.last).checked_sub(number(pool.first));
        let span = span.map_or(0, |s| s.saturating_add(1));
        u64::try_from(span).unwrap_or(u64::MAX).min(TRACKED)
    }

    /// The bit of an address; `None` when it has none.
    fn number(&self, address: IpAddr) -> Option<u64> {
        if address.is_ipv4() != self.first.is_ipv4() {
            return None;
        }
        let by = number(address).checked_sub(number(self.first))?;
        u64::try_from(by).ok().filter(|n| *n < TRACKED)
    }

    fn next(&self) -> Result<u64, Error> {
        let mut bytes = [0u8; 8];
        rustix::io::pread(&self.file, &mut bytes, 0).doing(doing_bits)?;
        Ok(u64::from_ne_bytes(bytes))
    }

    fn look_next(&self, bit: u64) -> Result<(), Error> {
        rustix::io::pwrite(&self.file, &bit.to_ne_bytes(), 0).doing(doing_bits)?;
        Ok(())
    }

    fn set(&self, bit: Option<u64>, to: Bit) -> Result<(), Error> {
        let Some(bit) = bit else {
            return Ok(());
        };
        let (at, mask) = (BITS + bit / 8, 1u8 << (bit % 8));
        let mut byte = [0u8];
        rustix::io::pread(&self.file, &mut byte, at).doing(doing_bits)?;
        let [old] = byte;
        let new = match to {
            Bit::Taken => old | mask,
            Bit::Free => old & !mask,
        };
        if new != old {
            rustix::io::pwrite(&self.file, &[new], at).doing(doing_bits)?;
        }
        Ok(())
    }

    /// The first free bit in `from..to`.
    fn free(&self, from: u64, to: u64) -> Result<Option<u64>, Error> {
        let mut window = vec![0u8; WINDOW];
        let mut byte = from / 8;
        while byte * 8 < to {
            window.fill(0);
            // What is behind the end of the file was never given out.
            rustix::io::pread(&self.file, &mut window[..], BITS + byte).doing(doing_bits)?;
            for (bits, at) in window.iter().zip(byte..) {
                if *bits == u8::MAX {
                    continue;
                }
                let in_range = |bit: &u64| (from..to).contains(bit);
                let free = |bit: &u64| bits & (1 << (bit % 8)) == 0;
                if let Some(bit) = (at * 8..at * 8 + 8).find(|b| in_range(b) && free(b)) {
                    return Ok(Some(bit));
                }
            }
            byte += WINDOW as u64;
        }
        Ok(None)
    }
}

fn doing_bits() -> String {
    "look for a free address".to_owned()
}

#[cfg(test)]
mod tests;
