//! A host volume's maps on a real idmapped mount.

use super::child::{Dir, Held, Outcome, Try, check, in_child, outcome};
use rkt_isolate::idmap::{self, Access};
use rkt_spec::plan::Owner;
use rkt_sys::mount::{self, Change};
use rkt_sys::process::flags;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{Mode, OFlags};
use std::os::unix::fs::{MetadataExt, chown};

const SLOT: u32 = 5 << 20;

pub(crate) fn volume() -> Outcome {
    outcome(run_volume())
}

fn run_volume() -> Try {
    for (app, source) in [
        ((0, 0), (1000, 1000)),
        ((999, 998), (1000, 100)),
        ((101, 101), (SLOT + 7, SLOT + 101)),
    ] {
        let dir = Dir::new("idmap")?;
        let volume = dir.0.join("volume");
        std::fs::create_dir(&volume)?;
        chown(&volume, Some(source.0), Some(source.1))?;
        let maps = idmap::volume(Owner::App, SLOT, app, source, Access::Write)?;
        let Some(maps) = maps else {
            return check(false, || "no map".to_owned());
        };
        let holder = Held::start(flags::NEWUSER, None, || Ok(String::new()))?;
        holder.hear()?;
        let proc = |file: &str| format!("/proc/{}/{file}", holder.pid);
        std::fs::write(proc("uid_map"), idmap::text(&maps.uids))?;
        std::fs::write(proc("gid_map"), idmap::text(&maps.gids))?;
        let users = OwnedFd::from(std::fs::File::open(proc("ns/user"))?);
        holder.end()?;
        in_child(|| {
            let path = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let tree = mount::clone_tree(rustix::fs::open(&volume, path, Mode::empty())?, false)?;
            let change = Change {
                idmap: Some(users.as_fd()),
                ..Change::default()
            };
            mount::set_attr(tree.as_fd(), &change)?;
            let seen = rustix::fs::fstat(&tree)?;
            let shown = (SLOT + app.0, SLOT + app.1);
            check((seen.st_uid, seen.st_gid) == shown, || {
                format!("shows {}:{}, wanted {shown:?}", seen.st_uid, seen.st_gid)
            })?;
            // Root of the app owns nothing here but may write with its own number.
            std::fs::set_permissions(&volume, std::os::unix::fs::PermissionsExt::from_mode(0o777))?;
            for (name, id) in [("user", app), ("other", (5, 6))] {
                in_child(|| {
                    rkt_sys::cred::become_ids(SLOT + id.0, SLOT + id.1, &[])?;
                    let create = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
                    rustix::fs::openat(&tree, name, create, Mode::from_raw_mode(0o600))?;
                    Ok(())
                })?;
            }
            Ok(())
        })?;
        let on_disk = |name: &str| -> Try<(u32, u32)> {
            let meta = std::fs::metadata(volume.join(name))?;
            Ok((meta.uid(), meta.gid()))
        };
        check(on_disk("user")? == source, || {
            format!("{:?}, wanted {source:?}", on_disk("user").ok())
        })?;
        check(on_disk("other")? == (SLOT + 5, SLOT + 6), || {
            format!("{:?}", on_disk("other").ok())
        })?;
    }
    Ok(())
}
