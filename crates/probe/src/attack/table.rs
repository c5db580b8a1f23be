//! The attacks that can be made from inside, one row each.
//!
//! Ids are those of the acceptance suite with a number behind a point; L is for PID 1, launchers
//! and the supervisor. Defences stand beside an attack when each of them refuses it alone; a test
//! takes all others away and looks (`tests/isolation/table.rs`).

use super::identity::{Call, Set};
use super::joiner::Want;
use super::kernel::Tree;
use super::masks::Second;
use super::peers::{Passed, Tamper};
use super::siblings::{Hold, Of, Send, Share};
use super::volumes::{Away, By, Reopen};
use super::{Aim, Attack, Needs};
use super::{cgroups, identity, joiner, kernel, leave, masks, new, peers, siblings, volumes};
use crate::trial::Log;
use rkt_sys::raw::{Ipc, Keys};
use rustix::fs::FileType;
use rustix::mount::{MountFlags, UnmountFlags};

const CAPS: &str = "caps";
const PRIVS: &str = "no-new-privs";
const SECCOMP: &str = "seccomp";
const LANDLOCK: &str = "landlock";
const USERNS: &str = "userns";
const LOCKS: &str = "locks";
const MASKS: &str = "masks";
const HIDEPID: &str = "hidepid";
const IDS: &str = "disjoint-ids";
const VIEW: &str = "cgroup-view";
const PIVOT: &str = "pivot";
/// Flags of the volume's mount but the one that matters.
const KEPT: MountFlags = MountFlags::BIND
    .union(MountFlags::NOSUID)
    .union(MountFlags::NODEV);

/// An attack on a pod of two apps.
const fn pod(
    id: &'static str,
    name: &'static str,
    held: &'static [&'static str],
    run: fn(&Aim, &mut Log),
) -> Attack {
    Attack {
        id,
        name,
        held,
        // In a chroot the kernel makes no user namespace.
        keep: &[PIVOT],
        needs: Needs::Pod,
        own: false,
        run,
    }
}

/// As [`pod`]; with every capability granted, what it reaches is the app's own.
const fn own(
    id: &'static str,
    name: &'static str,
    held: &'static [&'static str],
    run: fn(&Aim, &mut Log),
) -> Attack {
    Attack {
        own: true,
        ..pod(id, name, held, run)
    }
}

/// As [`pod`]; the control keeps other switches.
const fn keeping(keep: &'static [&'static str], attack: Attack) -> Attack {
    Attack { keep, ..attack }
}

/// As [`pod`], on hosts with cgroup version 1.
const fn v1(
    id: &'static str,
    name: &'static str,
    held: &'static [&'static str],
    run: fn(&Aim, &mut Log),
) -> Attack {
    Attack {
        needs: Needs::V1,
        ..pod(id, name, held, run)
    }
}

/// An attack that a test makes a stage for.
const fn stage(id: &'static str, name: &'static str, run: fn(&Aim, &mut Log)) -> Attack {
    Attack {
        needs: Needs::Stage,
        ..pod(id, name, &[], run)
    }
}

/// What is kept where the mounts of an app are attacked, or what is hidden from its ids: host
/// ids are none of an idmapped mount's, and locks need a user namespace.
const OF_IDS: &[&str] = &[PIVOT, USERNS, IDS];
/// What is kept where the ids of two apps are what counts.
const OF_USERNS: &[&str] = &[PIVOT, USERNS];
/// What is kept where masks are attacked.
const OF_MASKS: &[&str] = &[PIVOT, USERNS, IDS, MASKS];

/// Every attack that can be made from inside.
pub(crate) const ATTACKS: &[Attack] = &[
    pod(
        "A03.1",
        "gain a user by a setuid program",
        &[PRIVS],
        |a, l| identity::setuid_file(a, l, 0o4000),
    ),
    pod(
        "A03.2",
        "gain a group by a setgid program",
        &[PRIVS],
        |a, l| identity::setuid_file(a, l, 0o2000),
    ),
    pod(
        "A04.1",
        "gain a capability of the bounding set by a file",
        &[PRIVS],
        |a, l| identity::file_caps(a, l, false),
    ),
    pod(
        "A04.2",
        "gain a capability beyond the bounding set by a file",
        &[CAPS, PRIVS],
        |a, l| identity::file_caps(a, l, true),
    ),
    stage(
        "A05.1",
        "find capabilities that survive execve",
        identity::surviving,
    ),
    own(
        "A05.2",
        "raise SYS_ADMIN in the inheritable set",
        &[CAPS],
        |a, l| identity::raise(a, l, Set::Inheritable),
    ),
    own(
        "A05.3",
        "raise SYS_ADMIN in the permitted set",
        &[CAPS],
        |a, l| identity::raise(a, l, Set::Permitted),
    ),
    own(
        "A05.4",
        "raise SYS_ADMIN in the effective set",
        &[CAPS],
        |a, l| identity::raise(a, l, Set::Effective),
    ),
    own(
        "A05.5",
        "raise SYS_ADMIN in the ambient set",
        &[CAPS],
        |a, l| identity::raise(a, l, Set::Ambient),
    ),
    pod(
        "A06.1",
        "nest a user namespace by unshare",
        &[SECCOMP, USERNS],
        |a, l| identity::nested_userns(a, l, Call::Unshare, 0),
    ),
    pod(
        "A06.2",
        "nest a user namespace by clone",
        &[SECCOMP, USERNS],
        |a, l| identity::nested_userns(a, l, Call::Clone, 0),
    ),
    pod(
        "A06.3",
        "nest a user namespace by clone3",
        &[SECCOMP, USERNS],
        |a, l| identity::nested_userns(a, l, Call::Clone3, 0),
    ),
    pod(
        "A06.4",
        "nest a user and a mount namespace",
        &[SECCOMP, USERNS],
        |a, l| identity::nested_userns(a, l, Call::Clone, new::NS),
    ),
    pod(
        "A06.5",
        "nest a user and a network namespace",
        &[SECCOMP, USERNS],
        |a, l| identity::nested_userns(a, l, Call::Clone, new::NET),
    ),
    pod(
        "A06.6",
        "nest a user and a PID namespace",
        &[SECCOMP, USERNS],
        |a, l| identity::nested_userns(a, l, Call::Clone, new::PID),
    ),
    keeping(
        OF_USERNS,
        pod(
            "A07.1",
            "lift the limit on user namespaces",
            &[CAPS, MASKS],
            identity::lift_limit,
        ),
    ),
    stage("A09.1", "write its own uid_map", |a, l| {
        identity::remap(a, l, "uid_map")
    }),
    stage("A09.2", "write its own gid_map", |a, l| {
        identity::remap(a, l, "gid_map")
    }),
    stage("A09.3", "write its own setgroups", |a, l| {
        identity::remap(a, l, "setgroups")
    }),
    stage("A10.1", "use groups of the caller", identity::stale_groups),
    keeping(
        OF_IDS,
        pod(
            "B01.1",
            "remount the volume read-write",
            &[CAPS, SECCOMP, LANDLOCK, LOCKS],
            |a, l| volumes::remount(a, l, MountFlags::BIND),
        ),
    ),
    keeping(
        OF_IDS,
        pod(
            "B01.2",
            "remount the volume with its other flags kept",
            &[CAPS, SECCOMP, LANDLOCK, LOCKS],
            |a, l| volumes::remount(a, l, KEPT),
        ),
    ),
    keeping(
        OF_IDS,
        pod(
            "B02.1",
            "clear read-only by mount_setattr",
            &[CAPS, SECCOMP, LOCKS],
            |a, l| volumes::setattr(a, l, By::Path),
        ),
    ),
    keeping(
        OF_IDS,
        pod(
            "B02.2",
            "clear read-only of the whole tree",
            &[CAPS, SECCOMP, LOCKS],
            |a, l| volumes::setattr(a, l, By::Tree),
        ),
    ),
    keeping(
        OF_IDS,
        pod(
            "B02.3",
            "clear read-only by a descriptor",
            &[CAPS, SECCOMP, LOCKS],
            |a, l| volumes::setattr(a, l, By::Descriptor),
        ),
    ),
    keeping(
        OF_IDS,
        pod(
            "B03.1",
            "unmount the volume",
            &[CAPS, SECCOMP, LANDLOCK, LOCKS],
            |a, l| volumes::uncover(a, l, UnmountFlags::empty()),
        ),
    ),
    keeping(
        OF_IDS,
        pod(
            "B03.2",
            "detach the volume",
            &[CAPS, SECCOMP, LANDLOCK, LOCKS],
            |a, l| volumes::uncover(a, l, UnmountFlags::DETACH),
        ),
    ),
    keeping(
        OF_IDS,
        pod(
            "B03.3",
            "unmount the volume without links",
            &[CAPS, SECCOMP, LANDLOCK, LOCKS],
            |a, l| volumes::uncover(a, l, UnmountFlags::NOFOLLOW),
        ),
    ),
    keeping(
        OF_IDS,
        pod(
            "B03.4",
            "let the volume expire",
            &[CAPS, SECCOMP, LANDLOCK, LOCKS],
            |a, l| volumes::uncover(a, l, UnmountFlags::EXPIRE),
        ),
    ),
    keeping(
        OF_IDS,
        pod(
            "B04.1",
            "bind the volume elsewhere and remount that",
            &[CAPS, SECCOMP, LANDLOCK, LOCKS],
            |a, l| volumes::clone_away(a, l, Away::Bind),
        ),
    ),
    keeping(
        OF_IDS,
        pod(
            "B04.2",
            "clone the volume by open_tree",
            &[CAPS, SECCOMP, LANDLOCK, LOCKS],
            |a, l| volumes::clone_away(a, l, Away::Clone),
        ),
    ),
    keeping(
        OF_IDS,
        pod(
            "B04.3",
            "clone the tree of the volume",
            &[CAPS, SECCOMP, LANDLOCK, LOCKS],
            |a, l| volumes::clone_away(a, l, Away::CloneTree),
        ),
    ),
    keeping(
        OF_IDS,
        pod(
            "B04.4",
            "move the volume elsewhere",
            &[CAPS, SECCOMP, LANDLOCK, LOCKS],
            |a, l| volumes::clone_away(a, l, Away::Move),
        ),
    ),
    stage("B05.1", "reopen a read descriptor to write", |a, l| {
        volumes::reopen(a, l, Reopen::Read)
    }),
    stage("B05.2", "reopen a path descriptor to write", |a, l| {
        volumes::reopen(a, l, Reopen::Path)
    }),
    stage("B05.3", "link a file of the volume", |a, l| {
        volumes::reopen(a, l, Reopen::Link)
    }),
    stage("B05.4", "append to a file of the volume", |a, l| {
        volumes::reopen(a, l, Reopen::Append)
    }),
    keeping(
        OF_MASKS,
        pod(
            "B06.1",
            "unmount the masks of /proc and /sys",
            &[CAPS, SECCOMP, LANDLOCK, LOCKS],
            masks::uncover,
        ),
    ),
    pod(
        "B06.2",
        "remount /proc and /sys read-write",
        &[CAPS, SECCOMP, LANDLOCK, USERNS],
        masks::remount,
    ),
    pod(
        "B06.3",
        "bind /proc elsewhere, without masks",
        &[SECCOMP, LANDLOCK],
        |a, l| masks::second_view(a, l, Second::Bind),
    ),
    pod(
        "B06.4",
        "mount a second /proc",
        &[CAPS, SECCOMP, LANDLOCK, USERNS],
        |a, l| masks::second_view(a, l, Second::Proc),
    ),
    pod(
        "B06.5",
        "make a /proc by fsopen",
        &[CAPS, SECCOMP, USERNS],
        |a, l| masks::second_view(a, l, Second::FsOpen),
    ),
    pod(
        "B06.6",
        "mount a second /sys",
        &[CAPS, SECCOMP, LANDLOCK, USERNS],
        |a, l| masks::second_view(a, l, Second::SysFs),
    ),
    pod(
        "B06.7",
        "mount the /proc of a nested PID namespace",
        &[SECCOMP, LANDLOCK, USERNS, MASKS],
        |a, l| masks::second_view(a, l, Second::Nested),
    ),
    stage("B07.1", "mount over a directory of a volume", volumes::over),
    keeping(
        &[],
        pod(
            "B09.1",
            "leave the root by a second chroot",
            &[CAPS, SECCOMP, PIVOT],
            leave::chroot_break,
        ),
    ),
    keeping(
        &[],
        pod(
            "B09.2",
            "leave the root by a descriptor of it",
            &[CAPS, SECCOMP, PIVOT],
            leave::chroot_break_by_descriptor,
        ),
    ),
    keeping(
        OF_IDS,
        pod(
            "B10.1",
            "remount /etc/hosts read-write",
            &[CAPS, SECCOMP, LANDLOCK, LOCKS],
            |a, l| masks::injected(a, l, Second::Bind),
        ),
    ),
    keeping(
        OF_IDS,
        pod(
            "B10.2",
            "unmount /etc/hosts",
            &[CAPS, SECCOMP, LANDLOCK, LOCKS],
            |a, l| masks::injected(a, l, Second::Proc),
        ),
    ),
    pod("B12.1", "mount an overlay", &[SECCOMP], |a, l| {
        masks::overlay(a, l, c"overlay")
    }),
    pod("B12.2", "mount a tmpfs", &[SECCOMP], |a, l| {
        masks::overlay(a, l, c"tmpfs")
    }),
    pod("B17.1", "make a node of a disk", &[CAPS, USERNS], |a, l| {
        masks::devices(a, l, FileType::BlockDevice)
    }),
    pod(
        "B17.2",
        "make a node of the memory",
        &[CAPS, USERNS],
        |a, l| masks::devices(a, l, FileType::CharacterDevice),
    ),
    stage(
        "B17.3",
        "open a node that lies in a volume",
        masks::open_device,
    ),
    pod(
        "C01.1",
        "write to any cgroup file",
        &[USERNS, VIEW],
        cgroups::write_all,
    ),
    pod(
        "C02.1",
        "freeze a host process by paths to its cgroup",
        &[USERNS, VIEW],
        cgroups::freeze,
    ),
    pod(
        "C02.2",
        "freeze a host process by a mount of its own",
        &[SECCOMP, LANDLOCK, USERNS],
        cgroups::freeze_anew,
    ),
    v1(
        "C03.1",
        "mount a cgroup hierarchy of version 1",
        &[SECCOMP, LANDLOCK, USERNS],
        |a, l| cgroups::mount_anew(a, l, cgroups::V1),
    ),
    pod(
        "C03.2",
        "mount the cgroup hierarchy of version 2",
        &[SECCOMP, LANDLOCK, USERNS],
        |a, l| cgroups::mount_anew(a, l, cgroups::V2),
    ),
    v1(
        "C04.1",
        "set a release agent",
        &[USERNS],
        cgroups::release_agent,
    ),
    pod(
        "C05.1",
        "move itself to another cgroup",
        &[USERNS],
        cgroups::migrate,
    ),
    pod(
        "C05.2",
        "bear a child in another cgroup",
        &[SECCOMP, LANDLOCK, USERNS],
        cgroups::born_elsewhere,
    ),
    stage("C06.1", "see the host's cgroup paths", cgroups::view),
    pod(
        "C07.1",
        "raise a limit of its own",
        &[SECCOMP, LANDLOCK, USERNS],
        cgroups::raise_limits,
    ),
    stage("C14.1", "kill a host process by its cgroup", cgroups::kill),
    pod(
        "D01.1",
        "list the files of PID 1",
        &[LANDLOCK, USERNS],
        |a, l| siblings::init_by_proc(a, l, Of::Files),
    ),
    pod(
        "D01.2",
        "plant a file in PID 1",
        &[LANDLOCK, USERNS],
        |a, l| siblings::init_by_proc(a, l, Of::Plant),
    ),
    pod(
        "D01.3",
        "follow the descriptors of PID 1",
        &[LANDLOCK, USERNS],
        |a, l| siblings::init_by_proc(a, l, Of::Descriptors),
    ),
    pod(
        "D01.4",
        "read the environment of PID 1",
        &[USERNS],
        |a, l| siblings::init_by_proc(a, l, Of::Told),
    ),
    pod(
        "D01.5",
        "read and write the memory of PID 1",
        &[USERNS],
        |a, l| siblings::init_by_proc(a, l, Of::Memory),
    ),
    pod(
        "D01.6",
        "open the namespaces of PID 1",
        &[LANDLOCK, USERNS],
        |a, l| siblings::init_by_proc(a, l, Of::Namespaces),
    ),
    pod(
        "D02.1",
        "list the files of a sibling",
        &[LANDLOCK, USERNS],
        |a, l| siblings::sibling_by_proc(a, l, Of::Files),
    ),
    pod(
        "D02.2",
        "plant a file in a sibling",
        &[LANDLOCK, USERNS],
        |a, l| siblings::sibling_by_proc(a, l, Of::Plant),
    ),
    pod(
        "D02.3",
        "follow the descriptors of a sibling",
        &[LANDLOCK, USERNS],
        |a, l| siblings::sibling_by_proc(a, l, Of::Descriptors),
    ),
    pod(
        "D02.4",
        "read the environment of a sibling",
        &[USERNS],
        |a, l| siblings::sibling_by_proc(a, l, Of::Told),
    ),
    pod(
        "D02.5",
        "read and write the memory of a sibling",
        &[USERNS],
        |a, l| siblings::sibling_by_proc(a, l, Of::Memory),
    ),
    pod(
        "D02.6",
        "open the namespaces of a sibling",
        &[LANDLOCK, USERNS],
        |a, l| siblings::sibling_by_proc(a, l, Of::Namespaces),
    ),
    pod(
        "D03.1",
        "seize a sibling by ptrace",
        &[LANDLOCK, USERNS],
        |a, l| siblings::debug(a, l, Hold::Seize),
    ),
    pod(
        "D03.2",
        "attach to a sibling by ptrace",
        &[LANDLOCK, USERNS],
        |a, l| siblings::debug(a, l, Hold::Attach),
    ),
    pod(
        "D03.3",
        "read the memory of a sibling by a call",
        &[LANDLOCK, USERNS],
        |a, l| siblings::debug(a, l, Hold::Memory),
    ),
    pod(
        "D03.4",
        "compare descriptors with a sibling",
        &[SECCOMP, LANDLOCK, USERNS],
        |a, l| siblings::debug(a, l, Hold::Compare),
    ),
    pod(
        "D03.5",
        "take a descriptor of a sibling",
        &[SECCOMP, LANDLOCK, USERNS],
        |a, l| siblings::debug(a, l, Hold::Descriptor),
    ),
    keeping(
        OF_USERNS,
        pod(
            "D04.1",
            "signal others by kill",
            &[LANDLOCK, IDS],
            |a, l| siblings::signal(a, l, Send::Kill),
        ),
    ),
    keeping(
        OF_USERNS,
        pod(
            "D04.2",
            "signal others by tgkill",
            &[LANDLOCK, IDS],
            |a, l| siblings::signal(a, l, Send::Thread),
        ),
    ),
    keeping(
        OF_USERNS,
        pod(
            "D04.3",
            "signal others by sigqueue",
            &[LANDLOCK, IDS],
            |a, l| siblings::signal(a, l, Send::Queue),
        ),
    ),
    keeping(
        OF_USERNS,
        pod(
            "D04.4",
            "signal others by a pidfd",
            &[LANDLOCK, IDS],
            |a, l| siblings::signal(a, l, Send::Pidfd),
        ),
    ),
    keeping(
        OF_USERNS,
        pod("D04.5", "stop a sibling", &[LANDLOCK, IDS], siblings::stop),
    ),
    pod(
        "D05.1",
        "join the namespaces of others by /proc",
        &[SECCOMP, LANDLOCK, USERNS],
        siblings::join,
    ),
    pod(
        "D05.2",
        "join the namespaces of others by a pidfd",
        &[CAPS, SECCOMP, LANDLOCK, USERNS],
        siblings::join_by_pidfd,
    ),
    keeping(
        OF_USERNS,
        pod(
            "D06.1",
            "change the priority of a sibling",
            &[IDS],
            |a, l| siblings::scheduling(a, l, Share::Nice),
        ),
    ),
    keeping(
        OF_USERNS,
        pod(
            "D06.2",
            "change the processors of a sibling",
            &[IDS],
            |a, l| siblings::scheduling(a, l, Share::Processors),
        ),
    ),
    keeping(
        OF_USERNS,
        pod(
            "D06.3",
            "change the disk priority of a sibling",
            &[IDS],
            |a, l| siblings::scheduling(a, l, Share::Disk),
        ),
    ),
    keeping(
        OF_USERNS,
        pod("D06.4", "change the limits of a sibling", &[IDS], |a, l| {
            siblings::scheduling(a, l, Share::Limit)
        }),
    ),
    pod(
        "D07.1",
        "connect to a sibling's abstract socket",
        &[LANDLOCK],
        peers::abstract_sockets,
    ),
    keeping(
        OF_IDS,
        pod(
            "D08.1",
            "list other processes",
            &[HIDEPID],
            siblings::enumerate,
        ),
    ),
    stage("D09.1", "open a file of a passed directory", |a, l| {
        peers::passed_directory(a, l, Passed::Open)
    }),
    stage("D09.2", "climb above a passed directory", |a, l| {
        peers::passed_directory(a, l, Passed::Climb)
    }),
    stage("D09.3", "create a file in a passed directory", |a, l| {
        peers::passed_directory(a, l, Passed::Create)
    }),
    stage("D09.4", "open a passed directory again by /proc", |a, l| {
        peers::passed_directory(a, l, Passed::Again)
    }),
    stage(
        "D09.5",
        "stand in a passed directory and open a file",
        |a, l| peers::passed_directory(a, l, Passed::Stand),
    ),
    keeping(
        OF_USERNS,
        pod("D10.1", "use a sibling's shared memory", &[IDS], |a, l| {
            peers::ipc_objects(a, l, Ipc::Memory)
        }),
    ),
    keeping(
        OF_USERNS,
        pod("D10.2", "use a sibling's message queues", &[IDS], |a, l| {
            peers::ipc_objects(a, l, Ipc::Messages)
        }),
    ),
    keeping(
        OF_USERNS,
        pod("D10.3", "use a sibling's semaphores", &[IDS], |a, l| {
            peers::ipc_objects(a, l, Ipc::Semaphores)
        }),
    ),
    keeping(
        OF_USERNS,
        pod(
            "D10.4",
            "open a sibling's POSIX queue",
            &[IDS],
            peers::message_queue,
        ),
    ),
    stage("D12.1", "find a leaked descriptor", peers::leaked_fds),
    stage(
        "D12.2",
        "find a file of the host at a standard descriptor",
        peers::standard_files,
    ),
    stage("D13.1", "truncate its own log", |a, l| {
        peers::stdio(a, l, Tamper::Truncate)
    }),
    stage("D13.2", "rewind its own log", |a, l| {
        peers::stdio(a, l, Tamper::Rewind)
    }),
    stage("D13.3", "punch its own log", |a, l| {
        peers::stdio(a, l, Tamper::Punch)
    }),
    stage("D13.4", "reopen its own log", |a, l| {
        peers::stdio(a, l, Tamper::Again)
    }),
    stage("D14.1", "reach a control socket", peers::control_sockets),
    stage("E01.1", "open rkt's program through who enters", |a, l| {
        joiner::running(a, l, Want::Overwrite)
    }),
    stage(
        "E03.1",
        "see the files of who enters, before its execve",
        |a, l| joiner::running(a, l, Want::Files),
    ),
    stage("E03.2", "read what /proc tells of who enters", |a, l| {
        joiner::running(a, l, Want::Told)
    }),
    stage("E03.3", "read the memory of who enters", |a, l| {
        joiner::running(a, l, Want::Memory)
    }),
    stage("E03.4", "take descriptors of who enters", |a, l| {
        joiner::running(a, l, Want::Descriptors)
    }),
    stage("E03.5", "open the namespaces of who enters", |a, l| {
        joiner::running(a, l, Want::Namespaces)
    }),
    stage("E03.6", "debug who enters", |a, l| {
        joiner::running(a, l, Want::Debug)
    }),
    pod("F01.1", "open raw sockets of IPv4", &[USERNS], |a, l| {
        kernel::raw_sockets(a, l, kernel::RAW4)
    }),
    pod("F01.2", "open raw sockets of IPv6", &[USERNS], |a, l| {
        kernel::raw_sockets(a, l, kernel::RAW6)
    }),
    pod(
        "F01.3",
        "open packet sockets",
        &[SECCOMP, USERNS],
        |a, l| kernel::raw_sockets(a, l, kernel::PACKETS),
    ),
    pod(
        "F03.1",
        "connect to any abstract socket",
        &[LANDLOCK],
        peers::any_abstract,
    ),
    stage(
        "F04.1",
        "reach a service on the host's loopback",
        peers::host_service,
    ),
    pod(
        "K02.1",
        "make a mount namespace",
        &[CAPS, SECCOMP],
        |a, l| kernel::namespace(a, l, new::NS),
    ),
    pod(
        "K02.2",
        "make a cgroup namespace",
        &[CAPS, SECCOMP],
        |a, l| kernel::namespace(a, l, new::CGROUP),
    ),
    pod("K02.3", "make a UTS namespace", &[CAPS, SECCOMP], |a, l| {
        kernel::namespace(a, l, new::UTS)
    }),
    pod(
        "K02.4",
        "make an IPC namespace",
        &[CAPS, SECCOMP],
        |a, l| kernel::namespace(a, l, new::IPC),
    ),
    pod("K02.5", "make a PID namespace", &[CAPS, SECCOMP], |a, l| {
        kernel::namespace(a, l, new::PID)
    }),
    pod(
        "K02.6",
        "make a network namespace",
        &[CAPS, SECCOMP],
        |a, l| kernel::namespace(a, l, new::NET),
    ),
    pod("K02.7", "mount", &[CAPS, SECCOMP, LANDLOCK], |a, l| {
        kernel::mounts(a, l, Tree::Mount)
    }),
    pod("K02.8", "unmount", &[CAPS, SECCOMP, LANDLOCK], |a, l| {
        kernel::mounts(a, l, Tree::Unmount)
    }),
    pod(
        "K02.9",
        "make a file system by fsopen",
        &[CAPS, SECCOMP],
        |a, l| kernel::mounts(a, l, Tree::FsOpen),
    ),
    pod(
        "K02.10",
        "clone a mount by open_tree",
        &[CAPS, SECCOMP],
        |a, l| kernel::mounts(a, l, Tree::Copy),
    ),
    pod(
        "K02.11",
        "move a mount",
        &[CAPS, SECCOMP, LANDLOCK],
        |a, l| kernel::mounts(a, l, Tree::Move),
    ),
    pod(
        "K02.12",
        "join a namespace again",
        &[CAPS, SECCOMP, USERNS],
        kernel::rejoin,
    ),
    pod(
        "K02.13",
        "hide new namespaces from the filter in clone3",
        &[CAPS, SECCOMP],
        kernel::clone3,
    ),
    pod(
        "K03.1",
        "open sockets of rare families",
        &[SECCOMP],
        kernel::families,
    ),
    pod(
        "K03.2",
        "open netlink sockets that configure the host",
        &[SECCOMP],
        kernel::netlink,
    ),
    pod("K04.1", "use io_uring_setup", &[SECCOMP], |a, l| {
        kernel::rare(a, l, &["io_uring_setup"])
    }),
    pod("K04.2", "use io_uring_enter", &[SECCOMP], |a, l| {
        kernel::rare(a, l, &["io_uring_enter"])
    }),
    pod("K04.3", "use io_uring_register", &[SECCOMP], |a, l| {
        kernel::rare(a, l, &["io_uring_register"])
    }),
    own("K05.1", "load a BPF program", &[SECCOMP], |a, l| {
        kernel::rare(a, l, &["bpf"])
    }),
    own(
        "K05.2",
        "watch the host by performance events",
        &[SECCOMP],
        |a, l| kernel::rare(a, l, &["perf_event_open"]),
    ),
    pod("K05.3", "handle page faults", &[SECCOMP], |a, l| {
        kernel::rare(a, l, &["userfaultfd"])
    }),
    pod("K05.4", "replace the kernel", &[SECCOMP], |a, l| {
        kernel::rare(a, l, &["kexec_load", "kexec_file_load"])
    }),
    pod(
        "K05.5",
        "load or unload a kernel module",
        &[SECCOMP],
        |a, l| kernel::rare(a, l, &["init_module", "finit_module", "delete_module"]),
    ),
    pod(
        "K05.6",
        "swap on a file",
        &[CAPS, SECCOMP, USERNS],
        |a, l| kernel::rare(a, l, &["swapon", "swapoff"]),
    ),
    pod("K05.7", "reboot", &[CAPS, SECCOMP, USERNS], |a, l| {
        kernel::rare(a, l, &["reboot"])
    }),
    own("K05.8", "change quotas", &[SECCOMP], |a, l| {
        kernel::rare(a, l, &["quotactl"])
    }),
    pod(
        "K05.9",
        "account processes to a file",
        &[CAPS, SECCOMP, USERNS],
        |a, l| kernel::rare(a, l, &["acct"]),
    ),
    own("K05.10", "get at I/O ports", &[SECCOMP], |a, l| {
        kernel::rare(a, l, &["iopl", "ioperm"])
    }),
    own("K05.11", "set the clock", &[SECCOMP], |a, l| {
        kernel::rare(a, l, &["settimeofday", "clock_settime"])
    }),
    pod(
        "K05.12",
        "watch all files by fanotify",
        &[CAPS, SECCOMP, USERNS],
        |a, l| kernel::rare(a, l, &["fanotify_init"]),
    ),
    pod("K05.13", "splice memory into pipes", &[SECCOMP], |a, l| {
        kernel::rare(a, l, &["vmsplice"])
    }),
    own("K05.14", "advise memory of others", &[SECCOMP], |a, l| {
        kernel::rare(a, l, &["process_madvise"])
    }),
    pod(
        "K05.15",
        "change descriptor tables of the processor",
        &[SECCOMP],
        |a, l| kernel::rare(a, l, &["modify_ldt"]),
    ),
    pod("K05.16", "change the personality", &[SECCOMP], |a, l| {
        kernel::rare(a, l, &["personality"])
    }),
    pod("K05.17", "set the host name", &[SECCOMP, USERNS], |a, l| {
        kernel::rare(a, l, &["sethostname"])
    }),
    stage("K05.18", "call what nobody needs any more", |a, l| {
        kernel::rare(a, l, &["lookup_dcookie", "uselib", "nfsservctl"])
    }),
    pod("K06.1", "find the session keyring", &[SECCOMP], |a, l| {
        kernel::keyring(a, l, Keys::Session)
    }),
    pod("K06.2", "add a key", &[SECCOMP], |a, l| {
        kernel::keyring(a, l, Keys::Add)
    }),
    pod("K06.3", "search for a key", &[SECCOMP], |a, l| {
        kernel::keyring(a, l, Keys::Request)
    }),
    pod("K06.4", "join a keyring", &[SECCOMP], |a, l| {
        kernel::keyring(a, l, Keys::Join)
    }),
    pod(
        "K07.1",
        "open files by guessed handles",
        &[CAPS, SECCOMP, USERNS],
        kernel::handles,
    ),
    stage("K08.1", "inject terminal input", kernel::terminal),
    pod(
        "K09.1",
        "open settings of the kernel to write",
        &[MASKS],
        |a, l| masks::settings(a, l, "/proc/sys"),
    ),
    pod(
        "K09.2",
        "open settings of devices to write",
        &[USERNS, VIEW],
        |a, l| masks::settings(a, l, "/sys"),
    ),
    pod(
        "K09.3",
        "open what the host's kernel obeys",
        &[USERNS, MASKS],
        masks::levers,
    ),
    stage("K10.1", "leave a core dump", kernel::core_dump),
    pod("K11.1", "read addresses of the kernel", &[MASKS], |a, l| {
        masks::read(a, l, masks::ADDRESSES)
    }),
    pod(
        "K11.2",
        "read keys and messages of the kernel",
        &[USERNS, MASKS],
        |a, l| masks::read(a, l, masks::KEYS),
    ),
    pod("K11.3", "read timers and interrupts", &[MASKS], |a, l| {
        masks::read(a, l, masks::TIMES)
    }),
    pod(
        "K11.4",
        "read how memory is used",
        &[USERNS, MASKS],
        |a, l| masks::read(a, l, masks::MEMORY),
    ),
    pod(
        "K11.5",
        "read what the kernel is made of",
        &[MASKS],
        |a, l| masks::read(a, l, masks::BUILD),
    ),
    pod("K12.1", "list the disks of the host", &[MASKS], |a, l| {
        masks::read(a, l, masks::DISKS)
    }),
    pod(
        "K12.2",
        "read modules and notes of the kernel",
        &[MASKS],
        |a, l| masks::read(a, l, masks::MODULES),
    ),
    pod(
        "K12.3",
        "read firmware and file systems of the kernel",
        &[MASKS],
        |a, l| masks::read(a, l, masks::REST),
    ),
    pod(
        "K13.1",
        "read the kernel's log by a call",
        &[CAPS, SECCOMP, USERNS],
        |a, l| kernel::rare(a, l, &["syslog"]),
    ),
    pod(
        "K13.2",
        "read the kernel's log by files",
        &[CAPS, USERNS, MASKS],
        kernel::log_files,
    ),
    pod("L01.1", "kill PID 1", &[LANDLOCK, USERNS], |a, l| {
        siblings::signal_init(a, l, 9)
    }),
    pod("L01.2", "stop PID 1", &[LANDLOCK, USERNS], |a, l| {
        siblings::signal_init(a, l, 19)
    }),
    pod(
        "L02.1",
        "seize PID 1 by ptrace",
        &[LANDLOCK, USERNS],
        |a, l| siblings::debug_init(a, l, Hold::Seize),
    ),
    pod(
        "L02.2",
        "attach to PID 1 by ptrace",
        &[LANDLOCK, USERNS],
        |a, l| siblings::debug_init(a, l, Hold::Attach),
    ),
    pod(
        "L02.3",
        "read the memory of PID 1 by a call",
        &[LANDLOCK, USERNS],
        |a, l| siblings::debug_init(a, l, Hold::Memory),
    ),
    pod(
        "L02.4",
        "compare descriptors with PID 1",
        &[SECCOMP, LANDLOCK, USERNS],
        |a, l| siblings::debug_init(a, l, Hold::Compare),
    ),
    pod(
        "L02.5",
        "take a descriptor of PID 1",
        &[SECCOMP, LANDLOCK, USERNS],
        |a, l| siblings::debug_init(a, l, Hold::Descriptor),
    ),
    stage(
        "L03.1",
        "signal the supervisor or the launcher",
        siblings::parent,
    ),
    pod(
        "L04.1",
        "change the priority of PID 1",
        &[USERNS],
        |a, l| siblings::starve_init(a, l, Share::Nice),
    ),
    pod(
        "L04.2",
        "change the processors of PID 1",
        &[USERNS],
        |a, l| siblings::starve_init(a, l, Share::Processors),
    ),
    pod(
        "L04.3",
        "change the disk priority of PID 1",
        &[USERNS],
        |a, l| siblings::starve_init(a, l, Share::Disk),
    ),
    pod("L04.4", "change the limits of PID 1", &[USERNS], |a, l| {
        siblings::starve_init(a, l, Share::Limit)
    }),
    stage(
        "L05.1",
        "see the files of a stopped set-up child",
        |a, l| joiner::stopped(a, l, Want::Files),
    ),
    stage(
        "L05.2",
        "read what /proc tells of a stopped set-up child",
        |a, l| joiner::stopped(a, l, Want::Told),
    ),
    stage(
        "L05.3",
        "read the memory of a stopped set-up child",
        |a, l| joiner::stopped(a, l, Want::Memory),
    ),
    stage(
        "L05.4",
        "take descriptors of a stopped set-up child",
        |a, l| joiner::stopped(a, l, Want::Descriptors),
    ),
    stage(
        "L05.5",
        "open the namespaces of a stopped set-up child",
        |a, l| joiner::stopped(a, l, Want::Namespaces),
    ),
    stage("L05.6", "debug a stopped set-up child", |a, l| {
        joiner::stopped(a, l, Want::Debug)
    }),
    stage(
        "L05.7",
        "open rkt's program through a stopped set-up child",
        |a, l| joiner::stopped(a, l, Want::Overwrite),
    ),
];
