//! The rows.

use super::state::{self, always};
use super::{Defence, Seen};
use crate::audit::Group;

/// Ids, by the name that code uses for them.
pub(crate) mod id {
    pub(crate) const USER: &str = "W01";
    pub(crate) const RANGES: &str = "W02";
    pub(crate) const INIT: &str = "W03";
    pub(crate) const BOUNDING: &str = "W04";
    pub(crate) const SETS: &str = "W05";
    pub(crate) const NO_NEW_PRIVS: &str = "W06";
    pub(crate) const SECCOMP: &str = "W07";
    pub(crate) const FAMILIES: &str = "W08";
    pub(crate) const NESTED: &str = "W09";
    pub(crate) const DOMAIN: &str = "W10";
    pub(crate) const SCOPES: &str = "W11";
    pub(crate) const LOCKS: &str = "W12";
    pub(crate) const MASKS: &str = "W13";
    pub(crate) const READ_ONLY: &str = "W14";
    pub(crate) const HIDEPID: &str = "W15";
    pub(crate) const LIMITS: &str = "W16";
    pub(crate) const CGROUP_VIEW: &str = "W17";
    pub(crate) const PIVOT: &str = "W18";
    pub(crate) const DEVICES: &str = "W19";
    pub(crate) const DESCRIPTORS: &str = "W20";
    pub(crate) const RLIMITS: &str = "W21";
    pub(crate) const OOM: &str = "W22";
    pub(crate) const KEYRING: &str = "W23";
    pub(crate) const SPACES: &str = "W24";
    pub(crate) const MOUNTS: &str = "W25";
    pub(crate) const VOLUMES: &str = "W26";
    pub(crate) const ROOT_FLAGS: &str = "W27";
    pub(crate) const SYSCTLS: &str = "W28";
    pub(crate) const CGROUPS: &str = "W29";
    pub(crate) const SURROUNDINGS: &str = "W30";
    pub(crate) const START: &str = "W31";
}

pub(super) use id::INIT;

/// Every defence, by id.
pub const DEFENCES: &[Defence] = &[
    Defence {
        id: id::USER,
        name: "user namespace",
        holds: "An app's root is nobody on the host; its capabilities govern nothing but what is the app's own",
        by: "a user namespace for each app, a sibling of the pod's (stage1::users)",
        flag: "--userns",
        audit: Seen::Fields(&[
            (Group::Namespaces, "user"),
            (Group::Ids, "uid_map"),
            (Group::Ids, "gid_map"),
        ]),
        weaken: &["userns"],
        tests: &[
            "isolation::isolators::in_the_pods_user_namespace_capabilities_act_on_its_network",
            "isolation::inventory::apps_hold_what_they_were_granted_and_nothing_over_the_host",
            "isolation::siblings::without_user_namespaces_and_landlock_a_sibling_is_at_mercy",
        ],
        planned: state::user,
    },
    Defence {
        id: id::RANGES,
        name: "disjoint ids",
        holds: "No two apps of the host share an id: no signal, file, queue or quota of one is another's",
        by: "65536 ids from a block that is locked on the host (isolate::blocks)",
        flag: "--userns",
        audit: Seen::Fields(&[(Group::Ids, "range"), (Group::Ids, "ids")]),
        weaken: &["disjoint-ids", "userns"],
        tests: &["isolation::inventory::two_pods_share_nothing"],
        planned: state::user,
    },
    Defence {
        id: id::INIT,
        name: "powerless init",
        holds: "The pod's PID 1 has no capability, no files, an id that no app maps, and five system calls; it cannot be read or traced",
        by: "stage1::sandbox and stage1::init",
        flag: "",
        audit: Seen::Fields(&[
            (Group::Program, "*"),
            (Group::Capabilities, "*"),
            (Group::Privileges, "*"),
            (Group::Ids, "*"),
            (Group::Namespaces, "*"),
            (Group::Cgroups, "*"),
            (Group::Mounts, "*"),
            (Group::Descriptors, "*"),
        ]),
        weaken: &["init"],
        tests: &["isolation::inventory::init_has_no_power_at_all"],
        planned: always,
    },
    Defence {
        id: id::BOUNDING,
        name: "bounding capabilities",
        holds: "No process of an app can ever hold a capability that the app was not granted",
        by: "the bounding set, reduced before execve (stage2)",
        flag: "--caps-retain, --caps-remove, --pod-caps-retain",
        audit: Seen::Fields(&[(Group::Capabilities, "bounding")]),
        weaken: &["caps"],
        tests: &["isolation::inventory::grants_are_exact"],
        planned: state::bounding,
    },
    Defence {
        id: id::SETS,
        name: "capabilities at start",
        holds: "The first process holds its grant and nothing is inheritable or ambient unless granted to a user by name",
        by: "capset and the ambient set (stage2)",
        flag: "--caps-retain, --caps-remove",
        audit: Seen::Fields(&[
            (Group::Capabilities, "inheritable"),
            (Group::Capabilities, "permitted"),
            (Group::Capabilities, "effective"),
            (Group::Capabilities, "ambient"),
        ]),
        weaken: &["caps"],
        tests: &["isolation::inventory::grants_are_exact"],
        planned: always,
    },
    Defence {
        id: id::NO_NEW_PRIVS,
        name: "no_new_privs",
        holds: "execve gives no privilege: setuid programs and file capabilities do nothing",
        by: "prctl(PR_SET_NO_NEW_PRIVS) (stage2)",
        flag: "--no-new-privs",
        audit: Seen::Fields(&[(Group::Privileges, "no_new_privs")]),
        weaken: &["no-new-privs"],
        tests: &["isolation::surroundings::nosuid_goes_with_no_new_privs"],
        planned: state::no_new_privs,
    },
    Defence {
        id: id::SECCOMP,
        name: "system calls",
        holds: "What programs do not need of the kernel does not answer: mounts, namespaces, keys, io_uring, bpf and the rest",
        by: "a seccomp filter, loaded last (isolate::seccomp)",
        flag: "--seccomp",
        audit: Seen::Fields(&[
            (Group::Privileges, "seccomp"),
            (Group::Privileges, "seccomp filters"),
            (Group::Privileges, "seccomp filter"),
        ]),
        weaken: &["seccomp"],
        tests: &[
            "isolation::isolators::what_rkt_always_refuses_no_list_opens",
            "isolation::suite::seccomp_is_what_keeps_rare_calls_and_sockets_away",
        ],
        planned: state::system_calls,
    },
    Defence {
        id: id::FAMILIES,
        name: "socket families",
        holds: "Sockets are UNIX, INET, INET6 and four netlink protocols; the others have no code to attack",
        by: "arguments of socket and socketpair in the seccomp filter",
        flag: "--socket-family",
        audit: Seen::Fields(&[(Group::Privileges, "seccomp filter")]),
        weaken: &["seccomp"],
        tests: &[
            "isolation::isolators::socket_families_are_added_and_taken_away",
            "isolation::suite::seccomp_is_what_keeps_rare_calls_and_sockets_away",
        ],
        planned: state::seccomp,
    },
    Defence {
        id: id::NESTED,
        name: "nested user namespaces",
        holds: "An app makes no user namespace, in which it would have every capability",
        by: "user.max_user_namespaces of the app's own namespace, which it cannot raise; clone and unshare in the filter",
        flag: "--userns-nested",
        audit: Seen::Fields(&[(Group::Namespaces, "max_user_namespaces")]),
        weaken: &[],
        tests: &[
            "isolation::isolators::user_namespaces_are_nested_only_when_it_is_said",
            "isolation::surroundings::nested_user_namespaces_are_off",
        ],
        planned: state::nested,
    },
    Defence {
        id: id::DOMAIN,
        name: "file domain",
        holds: "Nothing can be opened but below the app's own /, whatever descriptor somebody passes in; no mount can be made",
        by: "Landlock, one rule (isolate::landlock)",
        flag: "--landlock",
        audit: Seen::Fields(&[(Group::Privileges, "landlock")]),
        weaken: &["landlock"],
        tests: &["isolation::stages::a_directory_passed_from_outside_opens_nothing"],
        planned: state::landlock,
    },
    Defence {
        id: id::SCOPES,
        name: "scope of signals and sockets",
        holds: "No signal, ptrace or abstract socket leaves the app",
        by: "Landlock's scopes (ABI 6)",
        flag: "--landlock",
        audit: Seen::Fields(&[(Group::Privileges, "landlock")]),
        weaken: &["landlock"],
        tests: &[
            "isolation::siblings::abstract_sockets_of_a_sibling_and_of_the_host_are_out_of_reach",
        ],
        planned: state::landlock,
    },
    Defence {
        id: id::LOCKS,
        name: "mount locks",
        holds: "What is read-only or covered stays so, whatever the app is granted",
        by: "mounts of a namespace that the supervisor's user namespace owns; the app enters its own last",
        flag: "",
        audit: Seen::Fields(&[(Group::Mounts, "lock *")]),
        weaken: &["locks"],
        tests: &[
            "isolation::audit::what_is_taken_away_is_named",
            "isolation::issue576::a_read_only_volume_cannot_be_remounted_by_a_root_app",
            "isolation::issue576::a_read_only_volume_stays_so_with_every_capability_granted",
        ],
        planned: always,
    },
    Defence {
        id: id::MASKS,
        name: "hidden paths",
        holds: "Files of /proc and /sys that tell of the host or drive it are not seen",
        by: "locked mounts of an empty directory or a null device (stage1::rootfs)",
        flag: "--mask, --unmask",
        audit: Seen::Fields(&[(Group::Mounts, "mask *")]),
        weaken: &["masks"],
        tests: &[
            "isolation::isolators::paths_are_hidden_shown_and_made_read_only",
            "isolation::surroundings::masks_are_real_null_devices_and_empty_directories",
        ],
        planned: state::masked,
    },
    Defence {
        id: id::READ_ONLY,
        name: "read-only paths",
        holds: "Settings of the kernel can be read and not written",
        by: "locked read-only mounts over parts of /proc; /sys as a whole",
        flag: "--readonly-paths, --unmask",
        audit: Seen::Fields(&[
            (Group::Mounts, "read-only path *"),
            (Group::Mounts, "mount /sys"),
        ]),
        weaken: &["masks"],
        tests: &[
            "isolation::isolators::paths_are_hidden_shown_and_made_read_only",
            "isolation::surroundings::mounts_have_the_flags_of_the_policy",
        ],
        planned: state::read_only_paths,
    },
    Defence {
        id: id::HIDEPID,
        name: "invisible siblings",
        holds: "In a pod of several apps, /proc shows an app its own processes only",
        by: "hidepid=ptraceable on the app's procfs",
        flag: "",
        audit: Seen::Fields(&[(Group::Mounts, "mount /proc")]),
        weaken: &["hidepid"],
        tests: &["isolation::siblings::siblings_and_init_are_invisible_in_proc"],
        planned: state::hidepid,
    },
    Defence {
        id: id::LIMITS,
        name: "limits",
        holds: "Tasks of an app and of a pod are bounded; memory and processor time where it was asked for",
        by: "cgroups, written from outside (isolate::cgroup)",
        flag: "--pids, --memory, --cpu, --pod-pids, --pod-memory, --pod-cpu",
        audit: Seen::Fields(&[(Group::Cgroups, "limit *")]),
        weaken: &[],
        tests: &[
            "isolation::isolators::what_bounds_the_pod_bounds_all_its_apps",
            "isolation::surroundings::every_app_has_a_cgroup_of_its_own_with_a_bound_on_tasks",
        ],
        planned: state::tasks,
    },
    Defence {
        id: id::CGROUP_VIEW,
        name: "cgroup view",
        holds: "No cgroup of the host can be seen, frozen or joined; its own leaf is read-only",
        by: "a cgroup namespace for each app, and a read-only or empty /sys/fs/cgroup",
        flag: "",
        audit: Seen::Fields(&[
            (Group::Namespaces, "cgroup"),
            (Group::Mounts, "mount /sys/fs/cgroup"),
        ]),
        weaken: &["cgroup-view"],
        tests: &[
            "isolation::issue576::a_host_process_cannot_be_frozen_by_paths_that_lead_to_its_cgroup",
        ],
        planned: always,
    },
    Defence {
        id: id::PIVOT,
        name: "own root",
        holds: "There is nothing above the app's /: no path, link or chroot leads out",
        by: "pivot_root in the app's mount namespace, the old root forgotten",
        flag: "",
        audit: Seen::Fields(&[(Group::Mounts, "root"), (Group::Mounts, "mount /")]),
        weaken: &["pivot"],
        tests: &["isolation::issue576::the_chroot_cannot_be_left"],
        planned: always,
    },
    Defence {
        id: id::DEVICES,
        name: "devices",
        holds: "There are six harmless device nodes, and no other can be made or opened",
        by: "a read-only tmpfs with nodes of rkt's own; every other mount is nodev; the kernel refuses mknod in a user namespace",
        flag: "--device",
        audit: Seen::Fields(&[
            (Group::Mounts, "mount /dev"),
            (Group::Mounts, "mount /dev/*"),
        ]),
        weaken: &[],
        tests: &[
            "isolation::isolators::a_device_is_a_node_of_its_own_with_the_access_that_was_said",
            "isolation::surroundings::devices_are_the_few_of_the_policy",
        ],
        planned: state::devices,
    },
    Defence {
        id: id::DESCRIPTORS,
        name: "descriptors",
        holds: "An app starts with three descriptors, none of them a file, and everything it has open lies in its own mounts",
        by: "close-on-exec from 3 up before execve (stage2); pipes or a pty of its own",
        flag: "",
        audit: Seen::Fields(&[
            (Group::Descriptors, "descriptor *"),
            (Group::Descriptors, "descriptors"),
            (Group::Descriptors, "cwd"),
            (Group::Descriptors, "root"),
            (Group::Descriptors, "exe"),
        ]),
        weaken: &["pivot"],
        tests: &[
            "isolation::surroundings::an_app_has_three_descriptors_and_none_of_them_is_a_file",
        ],
        planned: always,
    },
    Defence {
        id: id::RLIMITS,
        name: "process limits",
        holds: "Open files are bounded and no core is written",
        by: "setrlimit before the user namespace is entered (stage2)",
        flag: "--rlimit",
        audit: Seen::Fields(&[(Group::Limits, "*")]),
        weaken: &[],
        tests: &[
            "isolation::isolators::limits_of_processes_are_what_was_said_or_told",
            "isolation::surroundings::limits_umask_and_environment_are_bounded",
        ],
        planned: always,
    },
    Defence {
        id: id::OOM,
        name: "OOM score",
        holds: "When memory is short, an app dies before its init and what keeps it",
        by: "oom_score_adj (stage2, stage1::sandbox)",
        flag: "--oom-score-adj",
        audit: Seen::Fields(&[(Group::Limits, "oom_score_adj")]),
        weaken: &[],
        tests: &["isolation::surroundings::limits_umask_and_environment_are_bounded"],
        planned: always,
    },
    Defence {
        id: id::KEYRING,
        name: "session keyring",
        holds: "Kernel keys of the operator cannot be found or read",
        by: "a new session keyring (stage2); the filter refuses the calls",
        flag: "",
        audit: Seen::Not("/proc does not show another process's keyrings"),
        weaken: &["seccomp"],
        tests: &["isolation::suite::no_attack_of_the_suite_works_by_default"],
        planned: always,
    },
    Defence {
        id: id::SPACES,
        name: "pod namespaces",
        holds: "Network, IPC objects, host name and processes are the pod's, and nobody in it can govern them",
        by: "namespaces owned by the pod's user namespace, the PID namespace by the supervisor's",
        flag: "--net",
        audit: Seen::Fields(&[
            (Group::Namespaces, "net"),
            (Group::Namespaces, "ipc"),
            (Group::Namespaces, "uts"),
            (Group::Namespaces, "pid"),
            (Group::Namespaces, "time"),
        ]),
        weaken: &[],
        tests: &["isolation::inventory::two_apps_share_net_ipc_uts_and_pid_and_nothing_else"],
        planned: state::network,
    },
    Defence {
        id: id::MOUNTS,
        name: "own mounts",
        holds: "An app has a mount namespace of its own with what its plan names, and no mount travels in or out",
        by: "a mount namespace for each app, made private (stage1::rootfs)",
        flag: "",
        audit: Seen::Fields(&[(Group::Namespaces, "mnt"), (Group::Mounts, "mount *")]),
        weaken: &["pivot"],
        tests: &["isolation::inventory::two_apps_share_net_ipc_uts_and_pid_and_nothing_else"],
        planned: always,
    },
    Defence {
        id: id::VOLUMES,
        name: "volumes",
        holds: "A volume is nosuid and nodev, read-only with all below it when it is said, and never lets an app leave files of the host's root",
        by: "recursive mount attributes and idmapped mounts (stage1::rootfs::volume)",
        flag: "--volume, --mount",
        audit: Seen::Fields(&[(Group::Mounts, "volume *")]),
        weaken: &[],
        tests: &["pods::volumes::a_read_only_volume_is_read_only_with_everything_below_it"],
        planned: state::volumes,
    },
    Defence {
        id: id::ROOT_FLAGS,
        name: "flags of /",
        holds: "The image's setuid programs and device nodes are inert",
        by: "/ is nodev, and nosuid together with no_new_privs",
        flag: "--no-new-privs, --readonly-rootfs",
        audit: Seen::Fields(&[(Group::Mounts, "mount /")]),
        weaken: &["no-new-privs"],
        tests: &["isolation::surroundings::nosuid_goes_with_no_new_privs"],
        planned: state::no_new_privs,
    },
    Defence {
        id: id::SYSCTLS,
        name: "settings of the network",
        holds: "Low ports and ping work without capabilities; redirects are not taken",
        by: "sysctls of the pod's own network namespace (net::sysctl)",
        flag: "--net, --sysctl",
        audit: Seen::Fields(&[(Group::Namespaces, "setting *")]),
        weaken: &[],
        tests: &[
            "isolation::isolators::sysctls_are_the_pods_own",
            "isolation::surroundings::low_ports_are_open_to_apps_without_a_capability",
        ],
        planned: state::network,
    },
    Defence {
        id: id::CGROUPS,
        name: "cgroup of its own",
        holds: "Every process of an app is in the app's cgroup, and ends with it",
        by: "CLONE_INTO_CGROUP by the launcher; v1 groups joined before",
        flag: "",
        audit: Seen::Fields(&[(Group::Cgroups, "cgroup *")]),
        weaken: &[],
        tests: &[
            "isolation::surroundings::every_app_has_a_cgroup_of_its_own_with_a_bound_on_tasks",
        ],
        planned: always,
    },
    Defence {
        id: id::SURROUNDINGS,
        name: "surroundings",
        holds: "The environment is made from scratch and the umask is 0022: nothing of the operator's comes along",
        by: "stage0::merge, stage2",
        flag: "--environment, --set-env, --inherit-env",
        audit: Seen::Not("a program changes both as it likes"),
        weaken: &[],
        tests: &["isolation::surroundings::limits_umask_and_environment_are_bounded"],
        planned: always,
    },
    Defence {
        id: id::START,
        name: "start and enter",
        holds: "A process on its way into an app is out of the app's reach until its execve, and enter is confined as the app is",
        by: "one path for start, restart and enter (stage1::launcher, stage2); not dumpable; a deadline of 5 s",
        flag: "",
        audit: Seen::Fields(&[(Group::Program, "program")]),
        weaken: &[],
        tests: &[
            "isolation::enter::enter_has_what_the_app_has_and_nothing_more",
            "isolation::enter::the_programs_of_rkt_cannot_be_reached_from_a_pod",
        ],
        planned: always,
    },
];
