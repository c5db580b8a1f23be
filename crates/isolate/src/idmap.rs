//! Texts of `/proc/PID/uid_map` and `gid_map`: who is who in a pod, an app and a volume.
//!
//! A block is `slots` times 65536 ids from `base`; slot 0 is init's, each app has one. All
//! numbers are of the supervisor's user namespace.

use crate::error::{Error, Kind};
use rkt_spec::plan::{Owner, SLOT_IDS};
use std::fmt::Write;

/// One line of a map: `count` ids from `inside` are those from `outside`.
///
/// For a user namespace `inside` is what its processes see. For an idmapped mount `inside` is what
/// the disk holds and `outside` what the host's kernel sees through the mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// First id inside.
    pub inside: u32,
    /// First id outside.
    pub outside: u32,
    /// How many.
    pub count: u32,
}

/// The text that the kernel takes, a line an extent.
pub fn text(extents: &[Extent]) -> String {
    let mut out = String::new();
    for e in extents {
        // Writing into a String cannot fail.
        let _ = writeln!(out, "{} {} {}", e.inside, e.outside, e.count);
    }
    out
}

/// First id of a slot; saturates, a block ends below 2^31.
pub const fn slot_base(base: u32, slot: u32) -> u32 {
    base.saturating_add(slot.saturating_mul(SLOT_IDS))
}

/// Map of the pod's user namespace: the whole block, so that every app's id exists in it (POSIX
/// queues of an app are `EOVERFLOW` else).
pub fn pod(base: u32, slots: u32) -> Vec<Extent> {
    vec![Extent {
        inside: 0,
        outside: base,
        count: slots.saturating_mul(SLOT_IDS),
    }]
}

/// Map of the user namespace of the app in `slot`: its 65536 ids.
pub fn app(base: u32, slot: u32) -> Vec<Extent> {
    vec![Extent {
        inside: 0,
        outside: slot_base(base, slot),
        count: SLOT_IDS,
    }]
}

/// What an app may do to a volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Read only.
    Read,
    /// Read and write.
    Write,
}

/// Uid and gid maps of an idmapped volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeMap {
    /// For `uid_map`.
    pub uids: Vec<Extent>,
    /// For `gid_map`.
    pub gids: Vec<Extent>,
}

/// Says whether a volume may be given to an app in this way, before any id is reserved.
///
/// # Errors
/// When an app that may write would own what the host's root owns: it could leave a setuid-root
/// program on the host's disk. [`Owner::HostRoot`] is the explicit wish for just that.
pub fn check_owner(owner: Owner, source_uid: u32, access: Access) -> Result<(), Error> {
    if owner == Owner::App && source_uid == 0 && access == Access::Write {
        return Err(Error::new(
            Kind::Request,
            "the source belongs to the host's root, and who writes it could leave setuid-root programs on the host",
        )
        .with_hint(
            "give the source to a user (`chown`), mount it read-only, or accept the danger with `owner=host-root`",
        ));
    }
    Ok(())
}

/// Maps of the mount of a host volume for the app in `slot` whose first process is `uid:gid`;
/// `None` when the volume is mounted without a map ([`Owner::Host`]).
///
/// [`Owner::App`]: the source's owner appears as the app's user; every other id of the app keeps
/// its own number on the disk, `base + id`. The host's group 0 is never mapped writable.
///
/// # Errors
/// As [`check_owner`].
pub fn volume(
    owner: Owner,
    slot_base: u32,
    app: (u32, u32),
    source: (u32, u32),
    access: Access,
) -> Result<Option<VolumeMap>, Error> {
    check_owner(owner, source.0, access)?;
    let whole = Extent {
        inside: 0,
        outside: slot_base,
        count: SLOT_IDS,
    };
    Ok(match owner {
        Owner::Host => None,
        Owner::HostRoot => Some(VolumeMap {
            uids: vec![whole],
            gids: vec![whole],
        }),
        Owner::App => Some(VolumeMap {
            uids: swap(slot_base, app.0, source.0),
            gids: if source.1 == 0 && access == Access::Write {
                swap(slot_base, app.1, slot_base.saturating_add(app.1))
            } else {
                swap(slot_base, app.1, source.1)
            },
        }),
    })
}

/// The slot's ids as themselves, but disk id `source` shows as the app's `id`. When `source` is
/// an id of the same slot the two change places, so that the map stays one to one.
fn swap(base: u32, id: u32, source: u32) -> Vec<Extent> {
    let shown = base.saturating_add(id);
    let one = |inside, outside| Extent {
        inside,
        outside,
        count: 1,
    };
    let mut special = vec![one(source, shown)];
    if source != shown && (base..base.saturating_add(SLOT_IDS)).contains(&source) {
        special.push(one(shown, source));
    }
    if source == shown {
        special.clear();
    }
    special.sort_by_key(|e| e.outside);
    // The identity, cut at the ids that are special.
    let mut extents = Vec::with_capacity(5);
    let mut next = base;
    let end = base.saturating_add(SLOT_IDS);
    for e in special {
        if e.outside > next {
            extents.push(Extent {
                inside: next,
                outside: next,
                count: e.outside - next,
            });
        }
        next = e.outside.saturating_add(1);
        extents.push(e);
    }
    if next < end {
        extents.push(Extent {
            inside: next,
            outside: next,
            count: end - next,
        });
    }
    extents
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: u32 = 1 << 20;

    /// Extents must not overlap on either side: the kernel refuses the whole map else.
    fn one_to_one(extents: &[Extent]) {
        for side in [|e: &Extent| e.inside, |e: &Extent| e.outside] {
            let mut ranges: Vec<_> = extents
                .iter()
                .map(|e| (u64::from(side(e)), u64::from(side(e)) + u64::from(e.count)))
                .collect();
            ranges.sort_unstable();
            for pair in ranges.windows(2) {
                assert!(pair[0].1 <= pair[1].0, "{extents:?}");
            }
        }
        assert!(extents.len() <= 340, "the kernel takes 340 extents");
        assert!(extents.iter().all(|e| e.count > 0));
    }

    fn disk_id(extents: &[Extent], shown: u32) -> Option<u32> {
        extents
            .iter()
            .find(|e| (e.outside..e.outside + e.count).contains(&shown))
            .map(|e| e.inside + (shown - e.outside))
    }

    #[test]
    fn pod_covers_every_app_and_apps_are_disjoint() {
        assert_eq!(text(&pod(BASE, 16)), "0 1048576 1048576\n");
        let mut seen = std::collections::HashSet::new();
        for slot in 0..16 {
            let map = app(BASE, slot);
            one_to_one(&map);
            assert!(seen.insert(map[0].outside));
            assert!(map[0].outside + map[0].count <= BASE + 16 * SLOT_IDS);
        }
        assert_eq!(text(&app(BASE, 2)), "0 1179648 65536\n");
    }

    #[test]
    fn a_volume_shows_its_owner_as_the_apps_user() {
        for id in [0, 1, 999, 65_534, 65_535] {
            for source in [
                1,
                1000,
                100_000,
                BASE,
                BASE + id,
                BASE + 7,
                BASE + 65_535,
                BASE + 65_536,
            ] {
                let map = volume(Owner::App, BASE, (id, id), (source, source), Access::Write)
                    .unwrap()
                    .unwrap();
                for extents in [&map.uids, &map.gids] {
                    one_to_one(extents);
                    assert_eq!(disk_id(extents, BASE + id), Some(source));
                    let total: u32 = extents.iter().map(|e| e.count).sum();
                    assert_eq!(total, SLOT_IDS, "every id of the app has a place");
                    let other = if id == 5 { 6 } else { 5 };
                    if source != BASE + other {
                        assert_eq!(disk_id(extents, BASE + other), Some(BASE + other));
                    }
                }
            }
        }
    }

    #[test]
    fn nobody_writes_as_the_hosts_root_unasked() {
        let root = (0, 0);
        let refused = volume(Owner::App, BASE, root, root, Access::Write).unwrap_err();
        assert!(refused.hint().unwrap().contains("owner=host-root"));
        let read = volume(Owner::App, BASE, root, root, Access::Read)
            .unwrap()
            .unwrap();
        assert_eq!(disk_id(&read.uids, BASE), Some(0));
        let group = volume(Owner::App, BASE, root, (1000, 0), Access::Write)
            .unwrap()
            .unwrap();
        assert!(group.gids.iter().all(|e| e.inside != 0));
        let asked = volume(Owner::HostRoot, BASE, root, root, Access::Write)
            .unwrap()
            .unwrap();
        assert_eq!(text(&asked.uids), "0 1048576 65536\n");
        assert!(
            volume(Owner::Host, BASE, root, root, Access::Write)
                .unwrap()
                .is_none()
        );
    }
}
