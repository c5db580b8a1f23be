//! Capabilities of an app: exactly one of default, retain-set and remove-set.

use super::report::Report;
use super::{Insecure, WallsRequest};
use crate::defaults::{CAPABILITIES, INERT};
use crate::defences::id;
use crate::error::{Error, Kind};
use rkt_spec::capability::CapSet;
use rkt_spec::manifest::Isolator;

/// The sets of an app; inheritable is always the ambient set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Granted {
    pub(super) bounding: CapSet,
    pub(super) permitted: CapSet,
    pub(super) ambient: CapSet,
}

fn parse(set: &[String]) -> Result<CapSet, Error> {
    let mut all = CapSet::EMPTY;
    for name in set {
        all = all.union(CapSet::parse_one(name)?);
    }
    Ok(all)
}

pub(super) fn decide(request: &WallsRequest<'_>, report: &mut Report) -> Result<Granted, Error> {
    let (mut retain, mut remove) = (None, None);
    for isolator in request.isolators {
        let (slot, name, set) = match isolator {
            Isolator::CapabilitiesRetain { set } => (&mut retain, "retain", set),
            Isolator::CapabilitiesRemove { set } => (&mut remove, "remove", set),
            _ => continue,
        };
        if slot.replace(parse(set)?).is_some() {
            return Err(Error::new(
                Kind::Request,
                format!("`os/linux/capabilities-{name}-set` is given twice"),
            ));
        }
    }
    let (wanted, explicit, flag) = match (retain, remove) {
        (Some(_), Some(_)) => {
            return Err(Error::new(
                Kind::Request,
                "capabilities are given both as the set to retain and as the set to remove",
            )
            .with_hint("name the whole set with `--caps-retain` alone"));
        }
        (Some(set), None) => (set, set, "--caps-retain"),
        (None, Some(set)) => (CAPABILITIES.without(set), CapSet::EMPTY, "--caps-remove"),
        (None, None) => (CAPABILITIES, CapSet::EMPTY, "--caps-retain"),
    };
    let open = request.insecure.has(Insecure::CAPABILITIES);
    let (bounding, explicit) = if open {
        (CapSet::ALL, CapSet::EMPTY)
    } else {
        (wanted, explicit)
    };
    if open {
        let flag = "--insecure-options=capabilities";
        report.lost(
            id::BOUNDING,
            "bounding capabilities",
            wanted.to_string(),
            "all",
            "the user",
            flag,
        );
    } else {
        report.held(
            id::BOUNDING,
            "bounding capabilities",
            wanted.to_string(),
            "bounding set",
            flag,
        );
    }
    // A program of another uid than 0 gets capabilities through the ambient set only, and only
    // what was asked for by name.
    let (permitted, ambient) = if request.uid == 0 {
        (bounding, CapSet::EMPTY)
    } else {
        (CapSet::EMPTY, explicit)
    };
    let held = format!("{} (uid {})", permitted.union(ambient), request.uid);
    report.held(
        id::SETS,
        "capabilities at start",
        held,
        "the app's own user namespace",
        flag,
    );
    for (number, why) in INERT {
        let one = CapSet(1 << number);
        if !open && explicit.contains(one) {
            report.lost(
                id::SETS,
                format!("capability {one}"),
                "granted",
                "granted, but it cannot act",
                *why,
                flag,
            );
        }
    }
    Ok(Granted {
        bounding,
        permitted,
        ambient,
    })
}
