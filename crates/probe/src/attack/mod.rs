//! The attacks, by the ids of rkt's acceptance suite. Each runs in a child of its own.

mod cgroups;
mod identity;
mod kernel;
mod leave;
mod masks;
mod peers;
mod siblings;
mod volumes;

use crate::trial::{Log, Try, errno_name, in_child, verdict};
use crate::value::Value;
use rkt_sys::raw;
use rustix::fs::{Mode, mkdir};
use rustix::io::Errno;

/// What to attack.
#[derive(Debug, Clone)]
pub(crate) struct Aim {
    /// Path of the volume that is mounted read-only here.
    pub volume: String,
    /// Cgroup of the host, relative to a hierarchy's root, whose process may be frozen; without
    /// one nothing is written, and to open a freezer for writing is success enough.
    pub canary: Option<String>,
    /// Unix socket of a peer: a path, or `@NAME` for an abstract one.
    pub socket: Option<String>,
    /// A file that an attack is about: a setuid program, a device node, a host's file.
    pub file: Option<String>,
    /// Descriptors that were open when the probe began.
    pub fds: Vec<i32>,
}

/// One attack.
pub(crate) struct Attack {
    /// Name in the suite.
    pub id: &'static str,
    /// What it is about.
    pub name: &'static str,
    run: fn(&Aim, &mut Log),
}

const fn attack(id: &'static str, name: &'static str, run: fn(&Aim, &mut Log)) -> Attack {
    Attack { id, name, run }
}

/// Every attack that can be made from inside.
pub(crate) const ATTACKS: &[Attack] = &[
    attack("A03", "gain by a setuid file", identity::setuid_file),
    attack("A04", "gain by file capabilities", identity::file_caps),
    attack(
        "A05",
        "raise ambient and inheritable capabilities",
        identity::ambient,
    ),
    attack("A06", "nest a user namespace", identity::nested_userns),
    attack(
        "A07",
        "lift the limit on user namespaces",
        identity::lift_limit,
    ),
    attack("A09", "remap own ids", identity::remap),
    attack("A10", "use stale groups", identity::stale_groups),
    attack("B01", "remount the volume read-write", volumes::remount),
    attack(
        "B02",
        "clear read-only by the new mount API",
        volumes::setattr,
    ),
    attack("B03", "uncover what is below the volume", volumes::uncover),
    attack(
        "B04",
        "clone the volume away and make it writable",
        volumes::clone_away,
    ),
    attack(
        "B05",
        "reopen a file of the volume for writing",
        volumes::reopen,
    ),
    attack("B06", "unmask /proc and /sys", masks::unmask),
    attack("B09", "leave the chroot", leave::chroot_break),
    attack("B12", "mount an overlay", masks::overlay),
    attack("B17", "make device nodes", masks::devices),
    attack("C01", "write to any cgroup file", cgroups::write_all),
    attack(
        "C02",
        "freeze a host process by its cgroup",
        cgroups::freeze,
    ),
    attack("C03", "mount a cgroup hierarchy anew", cgroups::mount_anew),
    attack("C04", "set a release agent", cgroups::release_agent),
    attack("C05", "move to another cgroup", cgroups::migrate),
    attack("C06", "see the host's cgroup paths", cgroups::view),
    attack("D01", "reach PID 1 through /proc", siblings::init_by_proc),
    attack(
        "D02",
        "reach a sibling through /proc",
        siblings::sibling_by_proc,
    ),
    attack("D03", "debug a sibling", siblings::debug),
    attack("D04", "signal a sibling", siblings::signal),
    attack("D05", "join a sibling's namespaces", siblings::join),
    attack(
        "D06",
        "change a sibling's scheduling and limits",
        siblings::scheduling,
    ),
    attack(
        "D07",
        "connect to a sibling's abstract socket",
        peers::abstract_sockets,
    ),
    attack("D08", "list other processes", siblings::enumerate),
    attack(
        "D09",
        "use a directory passed from outside",
        peers::passed_directory,
    ),
    attack("D10", "use a sibling's IPC objects", peers::ipc_objects),
    attack("D12", "find a leaked descriptor", peers::leaked_fds),
    attack("D13", "tamper with its own log", peers::stdio),
    attack("D14", "reach a control socket", peers::control_sockets),
    attack("F01", "open raw and packet sockets", kernel::raw_sockets),
    attack("F03", "connect to any abstract socket", peers::any_abstract),
    attack("K02", "make namespaces and mounts", kernel::namespaces),
    attack("K03", "open sockets of rare families", kernel::families),
    attack("K04", "use io_uring", kernel::io_uring),
    attack("K05", "make privileged calls", kernel::privileged),
    attack("K06", "use the kernel's keyrings", kernel::keyring),
    attack("K07", "open files by handle", kernel::handles),
    attack("K08", "inject terminal input", kernel::terminal),
    attack(
        "K09",
        "open the host's settings for writing",
        masks::settings,
    ),
    attack("K10", "leave a core dump", kernel::core_dump),
    attack("K11", "read masked files of /proc", masks::read_proc),
    attack("K12", "read masked files of /sys", masks::read_sys),
    attack("K13", "read the kernel's log", kernel::log),
];

/// The attack of this id.
pub(crate) fn by_id(id: &str) -> Option<&'static Attack> {
    ATTACKS.iter().find(|a| a.id.eq_ignore_ascii_case(id))
}

impl Attack {
    /// Runs it in a child.
    pub(crate) fn run(&self, aim: &Aim) -> Vec<Try> {
        in_child(|log| (self.run)(aim, log))
    }

    /// Runs it and tells the outcome as data.
    pub(crate) fn report(&self, aim: &Aim) -> (Value, &'static str) {
        let tries = self.run(aim);
        let result = verdict(&tries);
        let decisive = tries.iter().find(|t| t.verdict() == result);
        let value = Value::map([
            ("id", Value::text(self.id)),
            ("name", Value::text(self.name)),
            ("tried", Value::Number(tries.len() as u64)),
            ("result", Value::text(result)),
            (
                "errno",
                Value::text(decisive.map(Try::note).unwrap_or_default()),
            ),
            ("tries", Value::List(tries.iter().map(Try::value).collect())),
        ]);
        (value, result)
    }
}

/// `CLONE_NEW*` flags of the kernel.
mod new {
    pub(super) const NS: u32 = 0x2_0000;
    pub(super) const CGROUP: u32 = 0x200_0000;
    pub(super) const UTS: u32 = 0x400_0000;
    pub(super) const IPC: u32 = 0x800_0000;
    pub(super) const USER: u32 = 0x1000_0000;
    pub(super) const PID: u32 = 0x2000_0000;
    pub(super) const NET: u32 = 0x4000_0000;
}

/// Makes a directory of the probe's own where this process may, for mounts and roots.
fn scratch() -> Option<String> {
    let pid = rustix::process::getpid();
    ["/tmp", "/dev/shm", "/run", "/var/tmp", ""]
        .iter()
        .map(|dir| format!("{dir}/.rkt-probe-{pid}"))
        .find(|path| matches!(mkdir(&**path, Mode::RWXU), Ok(()) | Err(Errno::EXIST)))
}

/// Says that there is no directory to work in.
fn no_scratch() -> Try {
    Try::moot("make a directory to work in", "nothing here is writable")
}

/// Runs the attempts in this mount namespace and then in each kind of new one that can be
/// had: with CAP_SYS_ADMIN, or by way of a nested user namespace.
fn everywhere(log: &mut Log, attempts: impl Fn(&mut Log, &str)) {
    attempts(log, "");
    for (flags, name) in [
        (new::NS, "unshare(NEWNS)"),
        (new::USER | new::NS, "unshare(NEWUSER|NEWNS)"),
    ] {
        let told = in_child(|log| match raw::unshare(flags) {
            Ok(()) => attempts(log, &format!("{name}, ")),
            Err(errno) => {
                let words = format!("not to be had: {}", errno_name(errno));
                log.add(Try::moot(name, words));
            }
        });
        for attempt in told {
            log.add(attempt);
        }
    }
}
