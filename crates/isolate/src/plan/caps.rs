//! Capabilities of an app: exactly one of default, retain-set and remove-set.

use super::report::Report;
use super::{Insecure, WallsRequest};
use crate::defaults::{CAPABILITIES, INERT, Instead};
use crate::defences::id;
use crate::error::{Error, Kind};
use rkt_spec::capability::CapSet;
use rkt_spec::manifest::Isolator;
use rkt_spec::plan::{Net, UserSpace};

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

pub(super) fn decide(
    request: &WallsRequest<'_>,
    space: UserSpace,
    report: &mut Report,
) -> Result<Granted, Error> {
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
    let flag = request.caps_flag.unwrap_or(flag);
    let open = request.insecure.has(Insecure::CAPABILITIES);
    if !open {
        inert(request, space, explicit, report)?;
    }
    let (bounding, explicit) = if open {
        (CapSet::ALL, CapSet::EMPTY)
    } else {
        (wanted, explicit)
    };
    if open {
        let flag = "--insecure-options=capabilities";
        let wanted = wanted.to_string();
        report.lost(
            id::BOUNDING,
            "bounding capabilities",
            wanted,
            "all",
            "the user",
            flag,
        );
    } else {
        let wanted = wanted.to_string();
        report.held(
            id::BOUNDING,
            "bounding capabilities",
            wanted,
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
    let by = match space {
        UserSpace::Own => "the app's own user namespace",
        UserSpace::Pod => "the pod's user namespace",
    };
    report.held(id::SETS, "capabilities at start", held, by, flag);
    Ok(Granted {
        bounding,
        permitted,
        ambient,
    })
}

/// What is granted by name has to be of use: who asks for NET_ADMIN and gets a name without a
/// power would look for the fault elsewhere. `all` is no name.
fn inert(
    request: &WallsRequest<'_>,
    space: UserSpace,
    explicit: CapSet,
    report: &mut Report,
) -> Result<(), Error> {
    let of_pod = space == UserSpace::Pod && request.net.is_own();
    for (number, why, instead) in INERT {
        let one = CapSet(1 << number);
        let acts = of_pod && matches!(instead, Instead::Pod | Instead::Needless);
        if !explicit.contains(one) || acts {
            continue;
        }
        let what = format!("capability {one}");
        if explicit == CapSet::ALL {
            let held = "granted, but it cannot act";
            report.lost(id::SETS, what, "granted", held, *why, "--caps-retain");
            continue;
        }
        let error = Error::new(
            Kind::Request,
            format!("the capability {one} could not act: {why}"),
        );
        let rest = explicit.without(one);
        return Err(match instead {
            Instead::Needless if request.net.is_own() => {
                report.held(id::SETS, what, "granted", *why, "--caps-retain");
                continue;
            }
            Instead::Needless => {
                let host = "with `--net=host` low ports are the host's; set the sysctl `net.ipv4.ip_unprivileged_port_start` there";
                Error::new(Kind::Request, format!("the capability {one} could not act"))
                    .with_hint(host)
            }
            Instead::Pod if request.net == Net::Host => Error::new(
                Kind::Request,
                format!("the capability {one} could not act: the network is the host's"),
            )
            .with_hint("an app has no power over the host's network; leave out `--net=host`"),
            Instead::Pod => error.with_hint(format!(
                "`--userns=pod` lets it act, on the pod's own namespaces; else leave {one} out: --caps-retain={}",
                list(rest)
            )),
            Instead::Flag(flag) => error.with_hint(format!(
                "`{flag}` does its work; leave {one} out: --caps-retain={}",
                list(rest)
            )),
            Instead::Nothing => {
                error.with_hint(format!("leave {one} out: --caps-retain={}", list(rest)))
            }
        });
    }
    Ok(())
}

fn list(set: CapSet) -> String {
    set.names().collect::<Vec<_>>().join(",")
}
