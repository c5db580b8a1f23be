//! Namespaces, cgroups, filters: what a process can be put into.

use super::Finding;
use crate::attempt::{attempt, attempt_in, user_namespace};
use crate::cgroup::{Controller, Pod, Shape, Version};
use crate::error::{Doing, Error, Kind};
use crate::host::Host;
use crate::landlock::{MIN_ABI, SCOPES_ABI};
use crate::{landlock, seccomp};
use rkt_spec::capability::CapSet;
use rkt_spec::uuid::Uuid;
use rkt_sys::process::flags;
use rkt_sys::{cred, ns};
use rustix::fd::AsFd;
use rustix::fs::{Mode, OFlags};
use std::time::Duration;

pub(super) fn examine(host: &Host) -> Vec<Finding> {
    let mut findings = vec![
        user_namespaces(),
        namespaces(),
        seccomp(),
        landlock_domain(host),
        into_cgroup(host),
    ];
    findings.extend(Controller::ALL.map(|c| controller(host, c)));
    findings.push(cgroup_kill(host));
    findings
}

fn user_namespaces() -> Finding {
    const NAME: &str = "user namespaces";
    // The map of an app's: 65536 ids that are no process's own.
    match attempt(|| user_namespace("0 1048576 65536", "0 1048576 65536").map(|_| String::new())) {
        Ok(_) => Finding::ok(NAME, "made, with a map of 65536 ids"),
        Err(e) => Finding::missing(NAME, e.to_string())
            .remedy("set the sysctl `user.max_user_namespaces` to 10000 or more, and run as root"),
    }
}

fn namespaces() -> Finding {
    const NAME: &str = "namespaces";
    let all = flags::NEWPID
        | flags::NEWNS
        | flags::NEWNET
        | flags::NEWIPC
        | flags::NEWUTS
        | flags::NEWCGROUP;
    match attempt_in(all, None, || Ok(String::new())) {
        Ok(_) => Finding::ok(NAME, "pid, mount, network, ipc, host name and cgroup"),
        Err(e) => Finding::missing(NAME, e.to_string())
            .remedy("run as root on a kernel built with all namespaces"),
    }
}

fn seccomp() -> Finding {
    const NAME: &str = "seccomp";
    let program = match seccomp::default_program(CapSet::EMPTY) {
        Ok(program) => program,
        Err(e) => return Finding::missing(NAME, e.to_string()),
    };
    let tried = attempt(|| {
        cred::no_new_privs().doing(|| "set no_new_privs".into())?;
        rkt_sys::seccomp::load(&program).doing(|| "load the default filter".into())?;
        match ns::unshare(ns::kind::UTS) {
            Err(e) if e.raw_os_error() == Some(rustix::io::Errno::PERM.raw_os_error()) => {
                Ok(String::new())
            }
            other => Err(Error::new(
                Kind::Host,
                format!("unshare under the filter: {other:?}"),
            )),
        }
    });
    let size = program.len() / rkt_sys::seccomp::INSTRUCTION;
    match tried {
        Ok(_) => Finding::ok(
            NAME,
            format!("the default filter loads ({size} instructions) and holds"),
        ),
        Err(e) => Finding::missing(NAME, e.to_string())
            .remedy("use a kernel with CONFIG_SECCOMP_FILTER, or `--insecure-options=seccomp`"),
    }
}

fn landlock_domain(host: &Host) -> Finding {
    const NAME: &str = "landlock";
    let abi = host.landlock_abi;
    if abi < MIN_ABI {
        let detail = if abi == 0 {
            "not there".to_owned()
        } else {
            format!("ABI {abi}, and {MIN_ABI} is needed")
        };
        return Finding::missing(NAME, detail).remedy(
            "boot with `landlock` in the list of `lsm=`, or use `--insecure-options=landlock`",
        );
    }
    let tried = attempt(|| {
        let open = |path: &str| {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            rustix::fs::open(path, flags, Mode::empty())
        };
        let root = open("/proc/self").doing(|| "open /proc/self".into())?;
        let ruleset = landlock::ruleset(root.as_fd(), abi)?;
        // Without no_new_privs, as a launcher enters it.
        rkt_sys::landlock::restrict_self(ruleset.as_fd()).doing(|| "enter a domain".into())?;
        match open("/") {
            Err(rustix::io::Errno::ACCESS) => Ok(String::new()),
            other => Err(Error::new(
                Kind::Host,
                format!("open outside the domain: {other:?}"),
            )),
        }
    });
    match tried {
        Ok(_) if abi >= SCOPES_ABI => Finding::ok(
            NAME,
            format!("ABI {abi}: files, signals and abstract sockets"),
        ),
        Ok(_) => Finding::degraded(
            NAME,
            format!("ABI {abi}: files only; signals between apps are held by ids alone"),
        )
        .remedy("a kernel 6.12 or later has ABI 6"),
        Err(e) => Finding::missing(NAME, e.to_string()).remedy("run as root"),
    }
}

/// A name for a cgroup that lives for a few milliseconds.
fn scratch_uuid() -> Uuid {
    let mut bytes = [0; 16];
    // Zeroes would do too: the name only has to be nobody else's.
    let _ = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    Uuid::from_random(bytes)
}

fn into_cgroup(host: &Host) -> Finding {
    const NAME: &str = "cgroup at birth";
    if host.cgroups.v2.is_none() {
        return Finding::degraded(
            NAME,
            "no v2 tree: no clone into it, no kill of one app at once",
        )
        .remedy("mount the v2 tree (`mount -t cgroup2 none /sys/fs/cgroup/unified`)");
    }
    let uuid = scratch_uuid();
    let tried = Pod::create(&host.cgroups, "", &uuid, &[]).and_then(|mut pod| {
        let born = attempt_in(0, pod.init(), || {
            std::fs::read_to_string("/proc/self/cgroup").doing(|| "read its cgroup".into())
        });
        pod.remove(Duration::from_secs(1))?;
        born
    });
    match tried {
        Ok(text) if text.contains(&uuid.to_string()) => {
            Finding::ok(NAME, "clone3 puts a child into its v2 cgroup")
        }
        Ok(_) => Finding::degraded(NAME, "clone3 does not put a child into its v2 cgroup"),
        Err(e) => Finding::degraded(NAME, e.to_string()).remedy("run as root"),
    }
}

fn controller(host: &Host, controller: Controller) -> Finding {
    let name = match controller {
        Controller::Memory => "cgroup memory",
        Controller::Pids => "cgroup pids",
        Controller::Cpu => "cgroup cpu",
    };
    match (host.cgroups.version_of(controller), host.cgroups.shape()) {
        (Some(Version::V2), _) => Finding::ok(name, "v2"),
        (Some(Version::V1), _) => Finding::ok(name, "v1; the first process of a pod waits 10-15 ms for it"),
        (None, Shape::None) => Finding::degraded(name, "no cgroups are mounted: no such limit")
            .remedy("mount them (`mount -t cgroup2 none /sys/fs/cgroup`)"),
        (None, _) => Finding::degraded(name, "not there: limits on it are refused")
            .remedy(format!(
                "enable it at boot (`cgroup_enable={0}`) or mount its v1 hierarchy on /sys/fs/cgroup/{0}",
                controller.name()
            )),
    }
}

fn cgroup_kill(host: &Host) -> Finding {
    const NAME: &str = "cgroup kill";
    if host.cgroups.v2.is_none() {
        return Finding::degraded(NAME, "no v2 tree: processes are killed one by one");
    }
    if host.kernel >= (5, 14) {
        Finding::ok(NAME, "`cgroup.kill` takes all at once")
    } else {
        Finding::degraded(NAME, "before 5.14: processes are killed one by one")
    }
}
