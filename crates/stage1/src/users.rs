//! User namespaces, made by a short-lived child that holds one until we have a descriptor of it.

use crate::error::{Doing, Failure};
use crate::host::{Host, MAKE_DEADLINE, wait_readable};
use rkt_isolate::idmap::{self, Extent};
use rkt_sys::{cred, process, signal};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{Mode, OFlags};
use std::time::Instant;

/// A child in a new user namespace, waiting for its maps.
#[derive(Debug)]
pub(crate) struct Holder {
    pid: u32,
    pidfd: OwnedFd,
    /// Written once the maps are in; its end of file also ends the child.
    go: OwnedFd,
}

impl Holder {
    /// Starts the child. `max_user_namespaces` is written from inside, where only a process with
    /// CAP_SYS_RESOURCE in the new namespace can, so that the app cannot raise it again.
    ///
    /// The namespace belongs to `owner`, an id of the pod's own. What the kernel counts by user
    /// (watches of files, bytes of queues, nested namespaces) it counts for a namespace's owner
    /// too: were all of them root's, one app could use up what root and every other pod have. An
    /// owner has every capability over its namespace, but nobody who has an id of a pod's is in
    /// the host's user namespace, where that would count.
    pub(crate) fn start(
        host: &Host,
        owner: u32,
        max_user_namespaces: Option<u32>,
    ) -> Result<Self, Failure> {
        let (wait, go) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
            .doing(|| "make a pipe".into())?;
        let body = || {
            if cred::die_with_parent().is_err() || !host.is_parent() {
                return 1;
            }
            let mut byte = [0u8];
            if rustix::io::read(&wait, &mut byte) != Ok(1) {
                return 1;
            }
            match max_user_namespaces.map(|n| write_limit(host, n)) {
                None | Some(Ok(())) => 0,
                Some(Err(_)) => 2,
            }
        };
        let own = rustix::process::geteuid().as_raw();
        cred::effective_uid(owner).doing(|| format!("become user {owner} for a moment"))?;
        let made = process::fork_with(process::flags::NEWUSER, body);
        cred::effective_uid(own).doing(|| format!("become user {own} again"))?;
        let (pid, pidfd) = made
            .doing(|| "make a user namespace".into())
            .map_err(|f| f.hint("`rkt doctor` tells whether this host allows user namespaces"))?;
        Ok(Self { pid, pidfd, go })
    }

    /// Writes the maps and gives the namespace, which is complete when [`Mapped::ended`] says so.
    pub(crate) fn mapped(
        self,
        host: &Host,
        uids: &[Extent],
        gids: &[Extent],
    ) -> Result<Mapped, Failure> {
        let namespace = self.map(host, uids, gids);
        let Self { pidfd, .. } = self;
        let mapped = Mapped {
            namespace: namespace.inspect_err(|_| {
                let _ = signal::send(pidfd.as_fd(), 9);
                let _ = process::wait_pidfd(pidfd.as_fd());
            })?,
            pidfd: Some(pidfd),
        };
        Ok(mapped)
    }

    /// Writes the maps, waits for the child's end and gives the namespace.
    pub(crate) fn finish(
        self,
        host: &Host,
        uids: &[Extent],
        gids: &[Extent],
    ) -> Result<OwnedFd, Failure> {
        let mut mapped = self.mapped(host, uids, gids)?;
        mapped.ended()?;
        Ok(mapped.namespace)
    }

    fn map(&self, host: &Host, uids: &[Extent], gids: &[Extent]) -> Result<OwnedFd, Failure> {
        write_maps(host, self.pid, uids, gids)?;
        let namespace = host.namespace(self.pid, "user")?;
        rustix::io::write(&self.go, &[1]).doing(|| "talk to a set-up child".into())?;
        Ok(namespace)
    }
}

/// A user namespace whose ids are mapped; its child may still have the door to close.
#[derive(Debug)]
pub(crate) struct Mapped {
    pub(crate) namespace: OwnedFd,
    /// `None` once it was waited for.
    pidfd: Option<OwnedFd>,
}

impl Mapped {
    /// Waits for the child: no app may run before nested user namespaces are limited.
    pub(crate) fn ended(&mut self) -> Result<(), Failure> {
        let Some(pidfd) = self.pidfd.take() else {
            return Ok(());
        };
        if !wait_readable(&pidfd, Instant::now() + MAKE_DEADLINE) {
            let _ = signal::send(pidfd.as_fd(), 9);
        }
        let ended = process::wait_pidfd(pidfd.as_fd()).doing(|| "wait for a child".into())?;
        if ended == process::Ended::Exited(0) {
            return Ok(());
        }
        Err(Failure::new(
            "close the door to nested user namespaces",
            format!("`user.max_user_namespaces` could not be set ({ended:?})"),
        ))
    }
}

/// Writes both maps of a child's new user namespace.
pub(crate) fn write_maps(
    host: &Host,
    pid: u32,
    uids: &[Extent],
    gids: &[Extent],
) -> Result<(), Failure> {
    for (name, extents) in [("uid_map", uids), ("gid_map", gids)] {
        host.write_pid(pid, name, &idmap::text(extents))
            .doing(|| format!("write the {name} of a user namespace"))?;
    }
    Ok(())
}

/// Through the host's procfs, but for the writer's own namespace: the sysctl is per reader.
fn write_limit(host: &Host, limit: u32) -> rustix::io::Result<()> {
    let path = c"sys/user/max_user_namespaces";
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    let file = rustix::fs::openat(&host.proc, path, flags, Mode::empty())?;
    rustix::io::write(&file, limit.to_string().as_bytes())?;
    Ok(())
}
