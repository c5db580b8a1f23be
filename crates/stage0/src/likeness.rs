//! A prepared pod in the walls of another: what `rkt selftest --in` attacks.
//!
//! Taken over are walls, grants, limits, mounts and users; the programs stay, and with them the
//! images. Nothing of the other pod is touched: its volumes of the host are opened again, to read
//! only, and the others are new.

use crate::error::Error;
use crate::prepare::Prepared;
use crate::sources;
use rkt_spec::codec::Bytes;
use rkt_spec::manifest::{PodManifest, VolumeKind as Kind};
use rkt_spec::plan::{
    AppPlan, MountPlan, Net, Plan, Process, Setting, Stdio, UserSpace, VolumeKind, VolumePlan,
    Walls,
};

/// Gives the apps of `prepared`, but the first, the walls of those of `worn`, in order.
///
/// # Errors
/// When a volume of the host cannot be opened any more.
pub fn wear(prepared: &mut Prepared, manifest: &PodManifest, worn: &Plan) -> Result<(), Error> {
    let mut to_read = manifest.clone();
    for volume in &mut to_read.volumes {
        volume.read_only |= volume.kind == Kind::Host;
    }
    prepared.sources.extend(sources::open_all(&to_read)?);
    let plan = &mut prepared.planned.plan;
    let before = u32::try_from(plan.volumes.len()).unwrap_or(u32::MAX);
    for (own, app) in plan.apps.iter_mut().skip(1).zip(&worn.apps) {
        dress(own, app, before);
    }
    plan.volumes.extend(worn.volumes.iter().map(|v| VolumePlan {
        source: -1,
        read_only: v.read_only || v.kind == VolumeKind::Host,
        ..v.clone()
    }));
    plan.sysctls = worn
        .sysctls
        .iter()
        .filter(|s| can_be(s, worn.net))
        .cloned()
        .collect();
    plan.limits.clone_from(&worn.limits);
    plan.weaken = worn.weaken;
    Ok(())
}

fn dress(own: &mut AppPlan, app: &AppPlan, before: u32) {
    if app.walls.user_space == UserSpace::Pod {
        own.slot = 0;
    }
    own.read_only = app.read_only;
    own.root_bytes = app.root_bytes;
    own.stdio = Stdio::Log;
    own.process = Process {
        argv: std::mem::take(&mut own.process.argv),
        cwd: "/".to_owned(),
        make_cwd: false,
        ..app.process.clone()
    };
    own.mounts.extend(app.mounts.iter().map(|m| MountPlan {
        volume: m.volume.saturating_add(before),
        ..m.clone()
    }));
    // Parents before children, as ever.
    own.mounts
        .sort_by(|a, b| a.target.split('/').cmp(b.target.split('/')));
    own.walls = Walls {
        // Nobody is there to tell of denials, and the probe's image has no paths of its own.
        traced: Bytes(Vec::new()),
        asked_paths: Vec::new(),
        ..app.walls.clone()
    };
    own.limits.clone_from(&app.limits);
}

/// Whether a setting can be made without the devices of the other pod's network.
fn can_be(setting: &Setting, net: Net) -> bool {
    let mut parts = setting.path.split('/');
    let of_device = parts.next() == Some("net")
        && parts.next().is_some_and(|p| p == "ipv4" || p == "ipv6")
        && parts.next().is_some_and(|p| p == "conf" || p == "neigh");
    let everywhere = |name: &str| matches!(name, "all" | "default" | "lo");
    net == Net::Host || !of_device || parts.next().is_some_and(everywhere)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_of_devices_that_are_not_there_are_left_out() {
        let set = |path: &str| Setting {
            path: path.to_owned(),
            value: "1".to_owned(),
        };
        for (path, wanted) in [
            ("net/ipv4/conf/eth0/rp_filter", false),
            ("net/ipv4/conf/all/rp_filter", true),
            ("net/core/somaxconn", true),
            ("net/ipv6/neigh/eth0/retrans_time_ms", false),
            ("kernel/shmmax", true),
        ] {
            assert_eq!(can_be(&set(path), Net::Private), wanted, "{path}");
        }
    }
}
