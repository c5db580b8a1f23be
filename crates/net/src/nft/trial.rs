//! Whether this kernel takes all that the firewall needs: tried, in a network that is thrown away.

use super::{Firewall, Link};
use crate::error::{Doing, Error, Kind};
use rkt_spec::Uuid;
use rkt_spec::network::{Mac, Prefix};
use rkt_sys::ns;

/// Puts a pod that does not exist into both tables, in a network namespace of its own, which ends
/// with this call. A thread does it, so that the caller's network stays its own.
///
/// # Errors
/// [`Kind::Host`] when the kernel has no nf_tables, or not all of it; else what the kernel says,
/// such as `EPERM` without CAP_NET_ADMIN and CAP_SYS_ADMIN.
pub fn firewall() -> Result<(), Error> {
    let tried = std::thread::spawn(|| {
        ns::unshare(ns::kind::NET).doing(|| "make a network to try it in".to_owned())?;
        let link = |bridge: Option<&str>, device: &str, address: [u8; 4]| {
            let prefix = Prefix::new(address.into(), 24)?;
            Ok::<_, Error>(Link {
                device: device.to_owned(),
                bridge: bridge.map(str::to_owned),
                mac: Mac([2, 0, 0, 0, 0, address[3]]),
                addresses: vec![prefix],
                gates: vec![],
                masquerade: true,
                isolated: false,
                restricted: false,
                metadata: false,
                guest: false,
            })
        };
        let links = [
            link(None, "rkttry0", [192, 0, 2, 2])?,
            link(Some("rkttry"), "rkttry1", [192, 0, 2, 3])?,
        ];
        let nobody = Uuid::from_random([1; 16]);
        Firewall::open()?.add(&nobody, &links, &[], &|_| false)
    });
    let ended = tried.join();
    ended.unwrap_or_else(|_| Err(Error::new(Kind::System, "the trial did not end well")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_pods_are_made_with_passes_and_leaves_nothing_here() {
        let before = std::fs::read_link("/proc/thread-self/ns/net").unwrap();
        firewall().unwrap();
        assert_eq!(
            std::fs::read_link("/proc/thread-self/ns/net").unwrap(),
            before
        );
    }
}
