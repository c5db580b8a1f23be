//! Facts of processes in, findings out.

use super::compare::{self, Finding, Wanted};
use super::facts::{self, Descriptor, Facts, Mount, NAMESPACES, Socket, Task};
use crate::idmap;
use rkt_spec::capability::CapSet;
use rkt_spec::codec::Bytes;
use rkt_spec::name::AppName;
use rkt_spec::network::{PortPlan, PortWay, Protocol};
use rkt_spec::plan::{
    AppPlan, INIT_ID, Knob, Limit, MountPlan, Net, Owner, Plan, Process, Rlimit, Stdio, UserSpace,
    VolumeKind, VolumePlan, Walls,
};
use std::collections::BTreeMap;

const BASE: u32 = 1 << 20;
const UUID: &str = "0d5a1c5e-0000-4000-8000-000000000001";

pub(crate) fn plan() -> Plan {
    let app = |name: &str, slot: u32, uid: u32| AppPlan {
        name: AppName::new(name).unwrap(),
        slot,
        layers: vec![],
        read_only: true,
        root_bytes: 0,
        process: Process {
            argv: vec![],
            env: vec![],
            uid,
            gid: uid,
            groups: vec![],
            cwd: "/".into(),
            make_cwd: false,
            umask: 0o22,
        },
        stdio: Stdio::Log,
        mounts: vec![MountPlan {
            volume: 0,
            target: "/data".into(),
            read_only: true,
        }],
        walls: Walls {
            user_space: UserSpace::Own,
            asked_paths: vec![],
            devices: vec![],
            bounding: CapSet(0b11),
            permitted: CapSet(0b11),
            ambient: CapSet::EMPTY,
            no_new_privs: true,
            seccomp: Bytes(vec![0; 8]),
            traced: Bytes(vec![]),
            landlock: true,
            max_user_namespaces: 0,
            masked: vec!["/proc/kcore".into(), "/proc/absent".into()],
            read_only_paths: vec!["/proc/sys".into()],
            rlimits: vec![Rlimit {
                resource: 1,
                soft: 10,
                hard: 20,
            }],
            oom_score_adj: 0,
            shm_bytes: 1,
        },
        limits: vec![Limit {
            knob: Knob::Pids,
            value: 9,
        }],
        stop_signal: 15,
        stop_timeout_ms: 0,
        log_max_bytes: 0,
        log_files: 1,
        image_name: String::new(),
        image_id: String::new(),
    };
    Plan {
        uuid: UUID.parse().unwrap(),
        pod_name: None,
        hostname: "h".into(),
        net: Net::None,
        networks: Vec::new(),
        ports: Vec::new(),
        run_dir: "/run/rkt".into(),
        cgroup_parent: "rkt".into(),
        slots: 16,
        hide_siblings: true,
        hosts: None,
        keep_hosts: false,
        grow_hosts: false,
        resolv_conf: None,
        resolver: None,
        sysctls: vec![],
        volumes: vec![VolumePlan {
            name: rkt_spec::name::VolumeName::new("data").unwrap(),
            kind: VolumeKind::Host,
            source: 3,
            source_path: "/srv".into(),
            directory: true,
            recursive: true,
            read_only: false,
            owner: Owner::App,
            mode: 0o755,
            uid: 0,
            gid: 0,
            bytes: 0,
        }],
        apps: vec![app("red", 1, 0), app("blue", 2, 1000)],
        limits: vec![],
        rkt_fd: None,
        plugin_directories: vec![],
        lock_fd: 3,
        ready_fd: None,
        owner: None,
        foreground: false,
        remove: false,
        debug: false,
        weaken: 0,
    }
}

/// Inodes: `100 *` this and the namespace's place.
fn spaces(own: u64, shared: u64) -> BTreeMap<&'static str, u64> {
    let inode = |(n, name): (usize, &&'static str)| {
        let own_one = matches!(*name, "user" | "mnt" | "cgroup");
        (*name, n as u64 + 100 * if own_one { own } else { shared })
    };
    NAMESPACES.iter().enumerate().map(inode).collect()
}

fn mount(id: u64, path: &str, kind: &str, options: &str) -> Mount {
    Mount {
        id,
        device: "0:9".into(),
        root: "/".into(),
        path: path.into(),
        options: options.split(',').map(str::to_owned).collect(),
        propagates: false,
        kind: kind.into(),
        super_options: vec!["hidepid=ptraceable".into()],
    }
}

fn task(sets: [u64; 5], id: u32) -> Task {
    Task {
        id: 7,
        sets,
        no_new_privs: true,
        seccomp: 2,
        filters: Some(1),
        uids: vec![id; 4],
        gids: vec![id; 4],
        groups: vec![],
    }
}

fn init() -> Facts {
    Facts {
        pid: 6,
        parent: 5,
        inner_pid: 1,
        program: (1, 1),
        program_path: "/x/rkt-stage1".into(),
        proc_owner: BASE,
        tasks: vec![task([0; 5], BASE + INIT_ID)],
        uid_map: idmap::pod(BASE, 16),
        gid_map: idmap::pod(BASE, 16),
        namespaces: spaces(1, 1),
        cgroups: vec![(String::new(), format!("/rkt/{UUID}/init"))],
        root: "/".into(),
        mounts: vec![mount(1, "/", "tmpfs", "ro,nosuid,nodev,noexec")],
        ..Facts::default()
    }
}

fn app(name: &str, slot: u32, uid: u32) -> Facts {
    let id = BASE + slot * 65_536 + uid;
    let sets = if uid == 0 {
        [0, 3, 3, 3, 0]
    } else {
        [0, 0, 0, 3, 0]
    };
    let own = format!("/rkt/{UUID}/app-{name}");
    let inert = "rw,nosuid,nodev,noexec";
    let cover = "ro,nosuid,noexec";
    Facts {
        pid: 7,
        inner_pid: 2,
        program: (2, 2),
        program_path: "/sh".into(),
        tasks: vec![task(sets, id)],
        uid_map: idmap::app(BASE, slot),
        gid_map: idmap::app(BASE, slot),
        namespaces: spaces(10 + u64::from(slot), 1),
        cgroups: vec![("pids".into(), own.clone()), (String::new(), own)],
        limits: vec![(0, 0), (10, 20)],
        root: "/".into(),
        mounts: vec![
            mount(10, "/", "overlay", "ro,nosuid,nodev"),
            mount(11, "/proc", "proc", inert),
            mount(12, "/dev", "tmpfs", cover),
            mount(13, "/dev/pts", "devpts", "rw,nosuid,noexec"),
            mount(14, "/dev/shm", "tmpfs", inert),
            mount(15, "/sys", "sysfs", "ro,nosuid,nodev,noexec"),
            mount(16, "/proc/kcore", "tmpfs", cover),
            mount(17, "/proc/sys", "proc", "ro"),
            mount(18, "/data", "ext4", "ro,nosuid,nodev"),
            mount(19, "/data/below", "ext4", "ro,nosuid,nodev"),
        ],
        descriptors: vec![Descriptor {
            name: "1".into(),
            link: "/data/x".into(),
            mount: Some(18),
            device: "0:9".into(),
            socket: None,
        }],
        present: ["/proc/kcore".to_owned(), "/proc/sys".to_owned()].into(),
        places: [("/data".to_owned(), 18)].into(),
        ..Facts::default()
    }
}

fn names(findings: &[Finding]) -> Vec<&str> {
    findings.iter().map(|f| f.field.as_str()).collect()
}

fn judge_in(plan: &Plan, who: usize, facts: &Facts) -> Vec<Finding> {
    let host = spaces(0, 0);
    let wanted = Wanted {
        plan,
        host: &host,
        inherited_filters: 0,
        v2: true,
        v1: &["pids"],
    };
    let (other, slot, uid) = if who == 0 {
        ("blue", 2, 1000)
    } else {
        ("red", 1, 0)
    };
    let name = AppName::new(other).unwrap();
    let other = app(other, slot, uid);
    let first = match who {
        0 => app("red", 1, 0),
        _ => app("blue", 2, 1000),
    };
    let others = [(&name, &other)];
    compare::app(&wanted, &plan.apps[who], facts, &init(), &first, &others)
}

fn judge_init(facts: &Facts) -> Vec<Finding> {
    let (plan, host) = (plan(), spaces(0, 0));
    let wanted = Wanted {
        plan: &plan,
        host: &host,
        inherited_filters: 0,
        v2: true,
        v1: &[],
    };
    compare::init(&wanted, facts)
}

#[test]
fn what_is_as_planned_is_clean() {
    assert_eq!(judge_in(&plan(), 0, &app("red", 1, 0)), []);
    assert_eq!(judge_in(&plan(), 1, &app("blue", 2, 1000)), []);
    assert_eq!(judge_init(&init()), []);
}

#[test]
fn what_a_process_may_do_by_itself_is_no_drift() {
    let mut facts = app("red", 1, 0);
    facts.tasks[0].sets = [1, 1, 0, 3, 0];
    facts.tasks[0].filters = Some(4);
    facts.tasks[0].uids = vec![BASE + 65_536 + 33; 4];
    facts.limits[1] = (3, 3);
    facts.cgroups[1].1.push_str("/below");
    assert_eq!(judge_in(&plan(), 0, &facts), []);
    // Who has SETPCAP may also make its bounding set smaller.
    let mut plan = plan();
    plan.apps[0].walls.bounding = CapSet(0b11 | 1 << 8);
    assert_eq!(judge_in(&plan, 0, &facts), []);
}

type Change = fn(&mut Facts);

/// A field of an app's findings, and what makes one.
const CHANGES: &[(&str, Change)] = &[
    ("program", |f| f.program = (1, 1)),
    ("inheritable", |f| f.tasks[0].sets[0] = 1 << 21),
    ("permitted", |f| f.tasks[0].sets[1] = 0b111),
    ("effective", |f| f.tasks[0].sets[2] = 0b111),
    ("bounding", |f| f.tasks[0].sets[3] = 0b111),
    ("bounding", |f| f.tasks[0].sets[3] = 0b1),
    ("ambient", |f| f.tasks[0].sets[4] = 0b111),
    ("effective", |f| {
        f.tasks.push(task([0, 3, 7, 3, 0], BASE + 65_536))
    }),
    ("oom_score_adj", |f| f.oom_score_adj = Some(-5)),
    ("no_new_privs", |f| f.tasks[0].no_new_privs = false),
    ("seccomp", |f| f.tasks[0].seccomp = 0),
    ("seccomp filters", |f| f.tasks[0].filters = Some(0)),
    ("uid_map", |f| f.uid_map = idmap::app(0, 0)),
    ("gid_map", |f| f.gid_map.clear()),
    ("range", |f| f.uid_map = idmap::app(BASE, 2)),
    ("ids", |f| f.tasks[0].gids[2] = 0),
    ("ids", |f| f.tasks[0].groups = vec![4]),
    ("net", |f| {
        f.namespaces.insert("net", 3);
    }),
    ("ipc", |f| {
        f.namespaces.insert("ipc", 999);
    }),
    ("pid", |f| {
        f.namespaces.insert("pid", 2);
    }),
    ("user", |f| {
        f.namespaces.insert("user", 1200);
    }),
    ("mnt", |f| {
        f.namespaces.insert("mnt", 101);
    }),
    ("cgroup", |f| {
        f.namespaces.remove("cgroup");
    }),
    ("cgroup v2", |f| {
        f.cgroups[1].1 = format!("/rkt/{UUID}/app-redder")
    }),
    ("cgroup pids", |f| f.cgroups[0].1 = "/".into()),
    ("fsize", |f| f.limits[1] = (10, u64::MAX)),
    ("mount /", |f| f.mounts[0].options[0] = "rw".into()),
    ("mount /", |f| f.mounts[0].options[1] = "x".into()),
    ("mount /", |f| f.mounts[0].kind = "ext4".into()),
    ("mount /proc", |f| f.mounts[1].super_options.clear()),
    ("mount /sys", |f| {
        f.mounts.remove(5);
    }),
    ("mount /dev", |f| f.mounts[2].options[0] = "rw".into()),
    ("mask /proc/kcore", |f| {
        f.mounts.remove(6);
    }),
    ("read-only path /proc/sys", |f| {
        f.mounts[7].options[0] = "rw".into()
    }),
    ("volume /data", |f| f.mounts[8].options[0] = "rw".into()),
    ("volume /data", |f| {
        f.mounts.remove(8);
    }),
    ("mount /data/below", |f| {
        f.mounts[9].options[0] = "rw".into()
    }),
    ("mount /srv", |f| {
        f.mounts.push(mount(30, "/srv", "ext4", "ro,nosuid,nodev"))
    }),
    ("mount /data", |f| f.mounts[8].propagates = true),
    ("root", |f| f.root = "/mnt".into()),
    ("descriptors", |f| f.too_many_descriptors = true),
    ("descriptor 1", |f| f.descriptors[0].mount = Some(99)),
    ("cwd", |f| {
        f.descriptors[0].name = "cwd".into();
        f.descriptors[0].mount = Some(99);
    }),
];

#[test]
fn every_finding_is_of_a_defence_and_every_defence_that_is_seen_has_one() {
    use crate::defences::{DEFENCES, Seen, of_finding};
    let mut seen = std::collections::BTreeSet::new();
    for (field, change) in CHANGES {
        let mut facts = app("red", 1, 0);
        change(&mut facts);
        for f in judge_in(&plan(), 0, &facts) {
            let rows = of_finding(f.group, &f.field, false);
            assert!(!rows.is_empty(), "{field}: {f:?} is of no defence");
            seen.extend(rows.iter().map(|d| d.id));
        }
    }
    let init = of_finding(super::Group::Ids, "dumpable", true);
    // Found by trying, not by reading.
    let tried = [
        (super::Group::Mounts, "lock /proc"),
        (super::Group::Namespaces, "max_user_namespaces"),
        (super::Group::Namespaces, "setting net/core/somaxconn"),
        (super::Group::Cgroups, "limit pids.max"),
        (super::Group::Privileges, "landlock"),
        (super::Group::Privileges, "seccomp filter"),
    ];
    let tried = tried.iter().flat_map(|(g, f)| of_finding(*g, f, false));
    seen.extend(init.into_iter().chain(tried).map(|d| d.id));
    for d in DEFENCES {
        let wanted = matches!(d.audit, Seen::Fields(_));
        assert_eq!(seen.contains(d.id), wanted, "{} {}", d.id, d.name);
    }
}

#[test]
fn every_field_of_an_app_is_compared() {
    for (field, change) in CHANGES {
        let mut facts = app("red", 1, 0);
        change(&mut facts);
        let found = judge_in(&plan(), 0, &facts);
        assert!(names(&found).contains(field), "{field}: {found:#?}");
    }
    // Another user starts with nothing, and has nothing but by a process of root's.
    let mut facts = app("blue", 2, 1000);
    facts.tasks[0].sets[1] = 1;
    assert_eq!(names(&judge_in(&plan(), 1, &facts)), ["permitted"]);
    facts.tasks[0].uids = vec![BASE + 2 * 65_536; 4];
    assert_eq!(judge_in(&plan(), 1, &facts), []);
}

#[test]
fn descriptors_lie_in_the_apps_mounts() {
    for (link, mount, clean) in [
        ("/data/x", Some(18), true),
        ("/etc/passwd", Some(99), false),
        ("/memfd:x (deleted)", Some(99), true),
        ("pipe:[5]", None, true),
        ("mnt:[1101]", None, true),
        ("mnt:[1]", None, false),
        ("net:[3]", None, false),
    ] {
        let mut facts = app("red", 1, 0);
        facts.descriptors[0].link = link.into();
        facts.descriptors[0].mount = mount;
        let found = judge_in(&plan(), 0, &facts);
        assert_eq!(found.is_empty(), clean, "{link}: {found:#?}");
        assert!(names(&found).iter().all(|n| *n == "descriptor 1"));
    }
}

#[test]
fn sockets_of_other_networks_are_drift_but_those_that_were_given() {
    let mut plan = plan();
    let mut facts = app("red", 1, 0);
    let own = facts.namespaces["net"];
    let mut with = |network, address: Option<&str>, plan: &Plan| {
        facts.descriptors = vec![Descriptor {
            name: "3".into(),
            link: "socket:[5]".into(),
            socket: Some(Socket {
                network,
                address: address.map(|a| a.parse().unwrap()),
            }),
            ..Descriptor::default()
        }];
        names(&judge_in(plan, 0, &facts)).len()
    };
    assert_eq!(with(own, Some("10.0.0.1:1"), &plan), 0);
    assert_eq!(with(own + 1, None, &plan), 1);
    assert_eq!(with(own + 1, Some("127.0.0.1:80"), &plan), 1);
    plan.ports = vec![PortPlan {
        name: "http".into(),
        app: Some(AppName::new("red").unwrap()),
        protocol: Protocol::Tcp,
        host: "127.0.0.1".parse().unwrap(),
        host_port: 80,
        pod_port: 80,
        way: PortWay::Socket,
        socket: 9,
    }];
    assert_eq!(with(own + 1, Some("127.0.0.1:80"), &plan), 0);
    assert_eq!(with(own + 1, Some("127.0.0.2:80"), &plan), 1);
    assert_eq!(with(own + 1, Some("127.0.0.1:81"), &plan), 1);
    plan.ports[0].host = "0.0.0.0".parse().unwrap();
    assert_eq!(with(own + 1, Some("10.1.2.3:80"), &plan), 0);
    plan.ports[0].app = Some(AppName::new("blue").unwrap());
    assert_eq!(with(own + 1, Some("10.1.2.3:80"), &plan), 1);
}

#[test]
fn every_field_of_init_is_compared() {
    type Change = fn(&mut Facts);
    let changes: &[(&str, Change)] = &[
        ("pid in the pod", |f| f.inner_pid = 2),
        ("program", |f| f.program_path = "/bin/sh".into()),
        ("effective", |f| f.tasks[0].sets[2] = 1),
        ("bounding", |f| f.tasks[0].sets[3] = 1),
        ("no_new_privs", |f| f.tasks[0].no_new_privs = false),
        ("seccomp", |f| f.tasks[0].seccomp = 0),
        ("uid_map", |f| f.uid_map = idmap::pod(0, 16)),
        ("gid_map", |f| f.gid_map = idmap::pod(BASE, 17)),
        ("ids", |f| f.tasks[0].uids[1] = BASE + 65_536),
        ("groups", |f| f.tasks[0].groups = vec![1]),
        ("dumpable", |f| f.proc_owner = BASE + INIT_ID),
        ("mnt", |f| {
            f.namespaces.insert("mnt", 1);
        }),
        ("net", |f| {
            f.namespaces.insert("net", 3);
        }),
        ("cgroup v2", |f| f.cgroups[0].1 = "/".into()),
        ("mount /", |f| f.mounts[0].options[0] = "rw".into()),
        ("mounts", |f| f.mounts.push(mount(2, "/t", "tmpfs", "ro"))),
        ("root", |f| f.root_entries = 1),
        ("descriptor 1", |f| {
            f.descriptors = app("red", 1, 0).descriptors
        }),
    ];
    for (field, change) in changes {
        let mut facts = init();
        change(&mut facts);
        let found = judge_init(&facts);
        assert!(names(&found).contains(field), "{field}: {found:#?}");
    }
}

#[test]
fn texts_of_the_kernel_are_read() {
    let table = facts::mount_table(
        "67 74 254:0 /a\\040b /v\\134w ro,nosuid shared:3 - ext4 /dev/vda rw,discard\nnonsense\n",
    );
    let [one] = table.as_slice() else {
        panic!("{table:?}")
    };
    assert_eq!((one.id, one.device.as_str()), (67, "254:0"));
    assert_eq!((one.root.as_str(), one.path.as_str()), ("/a b", "/v\\w"));
    assert!(one.propagates && one.kind == "ext4");
    assert_eq!(one.super_options, ["rw", "discard"]);
    let limits = facts::limits(
        "Limit                     Soft Limit           Hard Limit           Units     \n\
         Max cpu time              unlimited            unlimited            seconds   \n\
         Max file size             5                    7                    bytes     \n",
    );
    assert_eq!(limits, [(u64::MAX, u64::MAX), (5, 7)]);
    assert_eq!(
        facts::id_map("         0    1048576      65536\n"),
        idmap::app(BASE, 0)
    );
    assert_ne!(facts::id_map("junk\n"), []);
    assert_eq!(facts::cgroups("8:pids:/a:b\n0::/c\n").len(), 2);
    let status = "Name:\tState: x\nState:\tS (sleeping)\nPid:\t7\nUid:\t1\t2\t3\t4\nGid:\t5\nGroups:\t \n\
         CapInh:\t0\nCapPrm:\t1\nCapEff:\t2\nCapBnd:\t1ff\nCapAmb:\t0\nNoNewPrivs:\t1\nSeccomp:\t2\n";
    let task = facts::task(status).unwrap();
    assert_eq!((task.sets, task.filters), ([0, 1, 2, 0x1ff, 0], None));
    assert_eq!(task.uids, [1, 2, 3, 4]);
    assert!(facts::task(&status.replace("S (sl", "Z (sl")).is_none());
}
