use super::*;
use crate::cgroup::{Controller, Layout};
use crate::host::ResourcePrivilege;
use rkt_spec::capability::CapSet;
use rkt_spec::plan::{Knob, Limit, Rlimit};

pub(crate) fn host() -> Host {
    Host {
        kernel: (6, 18),
        landlock_abi: 7,
        seccomp: true,
        user_namespaces: 1000,
        resource_privilege: ResourcePrivilege::Held,
        rlimits: vec![],
        nr_open: 1 << 20,
        oom_score_adj: 0,
        throttled_cpus: 0,
        cgroups: Layout {
            v2: Some("/sys/fs/cgroup".into()),
            v2_controllers: Controller::ALL.to_vec(),
            v1: vec![],
        },
    }
}

fn decide_for(isolators: &[Isolator], uid: u32) -> Result<(Walls, Report), Error> {
    walls(&WallsRequest::new(isolators, uid), &host())
}

fn retain(names: &[&str]) -> Isolator {
    Isolator::CapabilitiesRetain {
        set: names.iter().map(|&n| n.to_owned()).collect(),
    }
}

fn remove(names: &[&str]) -> Isolator {
    Isolator::CapabilitiesRemove {
        set: names.iter().map(|&n| n.to_owned()).collect(),
    }
}

#[test]
fn by_default_root_has_nine_capabilities_and_others_none() {
    let (root, report) = decide_for(&[], 0).unwrap();
    assert_eq!(root.bounding, defaults::CAPABILITIES);
    assert_eq!(root.permitted, defaults::CAPABILITIES);
    assert!(root.ambient.is_empty());
    assert!(root.no_new_privs && root.landlock);
    assert_eq!(root.max_user_namespaces, 0);
    assert!(root.seccomp.0.len() > 8 && root.seccomp.0.len().is_multiple_of(8));
    assert_eq!(report.shortfalls().count(), 0, "{report:?}");
    let (user, _) = decide_for(&[], 1000).unwrap();
    assert_eq!(user.bounding, defaults::CAPABILITIES);
    assert!(user.permitted.is_empty() && user.ambient.is_empty());
}

#[test]
fn an_explicit_grant_to_a_user_is_ambient() {
    let (walls, _) = decide_for(&[retain(&["CAP_CHOWN"])], 1000).unwrap();
    assert_eq!(walls.ambient, CapSet(1));
    assert_eq!(walls.bounding, CapSet(1));
    assert!(walls.permitted.is_empty());
    let (walls, _) = decide_for(&[remove(&["chown"])], 1000).unwrap();
    assert!(walls.ambient.is_empty());
    assert_eq!(walls.bounding, defaults::CAPABILITIES.without(CapSet(1)));
}

#[test]
fn contradictions_and_unknown_names_are_refused() {
    for isolators in [
        vec![retain(&["CAP_CHOWN"]), remove(&["CAP_KILL"])],
        vec![retain(&["CAP_CHOWN"]), retain(&["CAP_KILL"])],
        vec![retain(&["CAP_NOPE"])],
        vec![Isolator::OomScoreAdj(1001)],
        vec![Isolator::OomScoreAdj(1), Isolator::OomScoreAdj(2)],
    ] {
        let e = decide_for(&isolators, 0).unwrap_err();
        assert_eq!(e.kind(), Kind::Request, "{e}");
    }
    assert!(decide_for(&[], 65_536).is_err());
}

#[test]
fn a_capability_that_cannot_act_is_refused_with_what_does_its_work() {
    for (name, hint) in [
        ("CAP_NET_RAW", "--userns=pod"),
        ("CAP_NET_ADMIN", "--userns=pod"),
        ("CAP_IPC_LOCK", "--rlimit=memlock"),
        ("CAP_MKNOD", "--device="),
        ("CAP_SYS_TIME", "--caps-retain=CHOWN"),
    ] {
        let e = decide_for(&[retain(&[name, "CAP_CHOWN"])], 0).unwrap_err();
        assert_eq!(e.kind(), Kind::Request, "{e}");
        assert!(
            e.to_string().contains(name.trim_start_matches("CAP_")),
            "{e}"
        );
        assert!(e.hint().unwrap().contains(hint), "{:?}", e.hint());
    }
    let pod = Isolator::UserNamespace(rkt_spec::manifest::UserNamespace::Pod);
    let list = [retain(&["CAP_NET_RAW"]), pod.clone()];
    let (acting, _) = decide_for(&list, 0).unwrap();
    assert_eq!(acting.permitted, CapSet(1 << 13));
    assert_eq!(acting.user_space, rkt_spec::plan::UserSpace::Pod);
    assert!(decide_for(&[retain(&["CAP_SYS_TIME"]), pod.clone()], 0).is_err());
    let on_host = WallsRequest {
        net: Net::Host,
        ..WallsRequest::new(&list, 0)
    };
    assert!(
        walls(&on_host, &host())
            .unwrap_err()
            .hint()
            .unwrap()
            .contains("--net=host")
    );
    // What is met without it, and what is said of all, is no name to be refused.
    assert!(decide_for(&[retain(&["CAP_NET_BIND_SERVICE"])], 0).is_ok());
    let all = Isolator::CapabilitiesRetain {
        set: CapSet::ALL.names().map(str::to_owned).collect(),
    };
    let (_, report) = decide_for(&[all], 0).unwrap();
    assert!(
        report
            .shortfalls()
            .any(|row| row.what == "capability NET_RAW")
    );
}

fn set(names: &[&str], errno: &str) -> rkt_spec::manifest::SeccompSet {
    rkt_spec::manifest::SeccompSet {
        set: names.iter().map(|n| (*n).to_owned()).collect(),
        errno: errno.to_owned(),
        by: Default::default(),
    }
}

#[test]
fn lists_of_system_calls_are_compiled_or_refused() {
    let usual = decide_for(&[], 0).unwrap().0.seccomp;
    let own = Isolator::SeccompRetain(set(&["read", "@rkt/default-whitelist"], "EPERM"));
    let (walls, report) = decide_for(std::slice::from_ref(&own), 0).unwrap();
    assert!(!walls.seccomp.0.is_empty() && walls.seccomp != usual);
    let row = report.rows.iter().find(|r| r.id == id::SECCOMP).unwrap();
    assert!(
        row.enforced.contains("EPERM") && row.by.contains("always refuses"),
        "{row}"
    );
    let remove = Isolator::SeccompRemove(set(&["chmod"], ""));
    for (isolators, word) in [
        (vec![own, remove.clone()], "twice"),
        (vec![Isolator::SeccompRetain(set(&["opne"], ""))], "`opne`"),
        (
            vec![Isolator::SeccompRetain(set(&["@systemd/clock"], ""))],
            "@systemd/clock",
        ),
        (
            vec![Isolator::SeccompRetain(set(&["read"], "ENONE"))],
            "ENONE",
        ),
        (
            vec![Isolator::SeccompRemove(set(&["execve"], "EPERM"))],
            "`execve`",
        ),
        (
            vec![Isolator::SeccompRemove(set(&["@appc.io/all"], ""))],
            "`execve`",
        ),
        (
            vec![Isolator::SeccompProfile {
                source: "/p".into(),
                profile: String::new(),
            }],
            "`/p`",
        ),
        (
            vec![
                Isolator::SeccompUnconfined,
                Isolator::SocketFamilies {
                    add: vec!["AF_VSOCK".into()],
                    remove: vec![],
                },
            ],
            "socket families",
        ),
    ] {
        let e = decide_for(&isolators, 0).unwrap_err();
        assert!(e.to_string().contains(word), "{word}: {e}");
    }
    assert!(
        decide_for(&[Isolator::SeccompUnconfined], 0)
            .unwrap()
            .0
            .seccomp
            .0
            .is_empty()
    );
    assert!(decide_for(&[remove], 0).is_ok());
}

#[test]
fn families_and_nesting_change_the_filter_and_are_told() {
    let usual = decide_for(&[], 0).unwrap().0.seccomp;
    let families = |add: &[&str], remove: &[&str]| Isolator::SocketFamilies {
        add: add.iter().map(|n| (*n).to_owned()).collect(),
        remove: remove.iter().map(|n| (*n).to_owned()).collect(),
    };
    for (isolator, lost) in [
        (families(&["AF_VSOCK"], &[]), 1),
        (families(&[], &["inet6"]), 0),
        (Isolator::NestedUserNamespaces(3), 1),
    ] {
        let (walls, report) = decide_for(std::slice::from_ref(&isolator), 0).unwrap();
        assert_ne!(walls.seccomp, usual, "{isolator:?}");
        assert_eq!(
            report.shortfalls().count(),
            lost,
            "{isolator:?}: {report:?}"
        );
    }
    assert_eq!(
        decide_for(&[Isolator::NestedUserNamespaces(3)], 0)
            .unwrap()
            .0
            .max_user_namespaces,
        3
    );
    assert!(decide_for(&[families(&["AF_NOPE"], &[])], 0).is_err());
    assert!(decide_for(&[families(&["AF_VSOCK"], &["VSOCK"])], 0).is_err());
}

#[test]
fn paths_are_covered_and_uncovered_by_name() {
    let paths = |mask: &[&str], unmask: &[&str], read_only: &[&str]| {
        let list = |l: &[&str]| l.iter().map(|p| (*p).to_owned()).collect();
        Isolator::Paths {
            mask: list(mask),
            unmask: list(unmask),
            read_only: list(read_only),
        }
    };
    let (walls, report) = decide_for(&[paths(&["/etc/secret"], &["/proc"], &["/srv"])], 0).unwrap();
    assert!(!walls.masked.iter().any(|p| p.starts_with("/proc/")));
    assert!(walls.masked.iter().any(|p| p == "/sys/firmware"));
    assert_eq!(walls.read_only_paths, ["/srv"]);
    assert_eq!(walls.asked_paths, ["/etc/secret", "/srv"]);
    assert_eq!(report.shortfalls().count(), 2);
    let (more, report) = decide_for(&[paths(&["/etc/secret/"], &[], &[])], 0).unwrap();
    assert_eq!(more.masked.len(), defaults::MASKED.len() + 1);
    assert_eq!(report.shortfalls().count(), 0);
    for (isolator, word) in [
        (paths(&["etc"], &[], &[]), "absolute"),
        (paths(&["/a/../b"], &[], &[]), "`..`"),
        (paths(&["/"], &[], &[]), "apps need it"),
        (paths(&[], &[], &["/"]), "apps need it"),
        (paths(&[], &["/home"], &[]), "nothing covers"),
        (paths(&[], &["/proc/sys/net"], &[]), "below `/proc/sys`"),
    ] {
        let e = decide_for(&[isolator], 0).unwrap_err();
        assert!(e.to_string().contains(word), "{word}: {e}");
    }
}

#[test]
fn limits_of_processes_are_taken_by_name() {
    let limit = |name: &str, soft, hard| Isolator::Rlimit {
        name: name.into(),
        soft,
        hard,
    };
    let (walls, report) = decide_for(
        &[
            limit("core", None, None),
            limit("memlock", Some(1), Some(2)),
        ],
        0,
    )
    .unwrap();
    assert_eq!(walls.rlimits.len(), 3);
    let of = |n: u32| walls.rlimits.iter().find(|l| l.resource == n).unwrap();
    assert_eq!((of(4).soft, of(8).soft, of(8).hard), (u64::MAX, 1, 2));
    assert_eq!(report.shortfalls().count(), 0);
    for bad in [
        limit("nofiles", None, None),
        limit("core", Some(2), Some(1)),
    ] {
        assert_eq!(decide_for(&[bad], 0).unwrap_err().kind(), Kind::Request);
    }
    let twice = [limit("core", None, None), limit("RLIMIT_CORE", None, None)];
    assert!(decide_for(&twice, 0).is_err());
}

#[test]
fn a_wall_that_cannot_stand_refuses_and_names_the_way_out() {
    let word = |host: &Host| {
        let e = walls(&WallsRequest::new(&[], 0), host).unwrap_err();
        assert_eq!(e.kind(), Kind::Host);
        e.hint().unwrap().to_owned()
    };
    let mut without = host();
    without.landlock_abi = 1;
    assert!(word(&without).contains("--insecure-options=landlock"));
    let mut without = host();
    without.seccomp = false;
    assert!(word(&without).contains("--seccomp=unconfined"));
    let mut without = host();
    without.user_namespaces = 0;
    assert!(word(&without).contains("user.max_user_namespaces"));
}

#[test]
fn what_the_user_takes_down_is_down_and_said() {
    let mut weak = host();
    weak.landlock_abi = 0;
    weak.seccomp = false;
    let all = [
        Insecure::CAPABILITIES,
        Insecure::PATHS,
        Insecure::SECCOMP,
        Insecure::LANDLOCK,
    ];
    let request = WallsRequest {
        insecure: all.into_iter().fold(Insecure::NONE, Insecure::with),
        ..WallsRequest::new(&[], 0)
    };
    let (walls, report) = walls(&request, &weak).unwrap();
    assert_eq!(walls.bounding, CapSet::ALL);
    assert!(walls.seccomp.0.is_empty() && !walls.landlock);
    assert!(walls.masked.is_empty() && walls.read_only_paths.is_empty());
    assert_eq!(report.shortfalls().count(), 7);
    assert!(report.shortfalls().all(|row| !row.flag.is_empty()));
}

#[test]
fn landlock_off_is_a_wish_of_its_own() {
    let request = WallsRequest {
        landlock: Landlock::Off,
        ..WallsRequest::new(&[], 0)
    };
    let (off, report) = walls(&request, &host()).unwrap();
    assert!(!off.landlock);
    let gone: Vec<_> = report.shortfalls().map(|row| row.id).collect();
    assert_eq!(gone, [id::DOMAIN, id::SCOPES]);
}

#[test]
fn any_wish_for_no_new_privs_wins() {
    let of = |states: &[bool]| {
        let isolators: Vec<_> = states
            .iter()
            .map(|s| Isolator::NoNewPrivileges(*s))
            .collect();
        decide_for(&isolators, 0).unwrap().0.no_new_privs
    };
    assert!(of(&[]));
    assert!(!of(&[false]));
    assert!(of(&[false, true]));
}

#[test]
fn limits_of_processes_are_clamped_without_the_privilege() {
    let mut poor = host();
    poor.resource_privilege = ResourcePrivilege::Missing;
    poor.rlimits = vec![
        Rlimit {
            resource: defaults::RLIMIT_NOFILE,
            soft: 512,
            hard: 20_000,
        },
        Rlimit {
            resource: defaults::RLIMIT_CORE,
            soft: 0,
            hard: u64::MAX,
        },
    ];
    let (clamped, report) = walls(&WallsRequest::new(&[], 0), &poor).unwrap();
    let nofile = clamped.rlimits[0];
    assert_eq!((nofile.soft, nofile.hard), (1024, 20_000));
    assert_eq!(clamped.rlimits[1].hard, 0);
    assert_eq!(clamped.oom_score_adj, 100);
    let told: Vec<_> = report.shortfalls().collect();
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].enforced, "1024:20000");
    let refused = walls(&WallsRequest::new(&[Isolator::OomScoreAdj(-5)], 0), &poor).unwrap_err();
    assert!(refused.to_string().contains("CAP_SYS_RESOURCE"));
    assert_eq!(
        decide_for(&[Isolator::OomScoreAdj(-5)], 0)
            .unwrap()
            .0
            .oom_score_adj,
        -5
    );
}

#[test]
fn thermal_directories_are_masked_for_each_cpu() {
    let mut big = host();
    big.throttled_cpus = 2;
    let (walls, _) = walls(&WallsRequest::new(&[], 0), &big).unwrap();
    assert!(
        walls
            .masked
            .iter()
            .any(|p| p.ends_with("/cpu1/thermal_throttle"))
    );
    assert!(
        !walls
            .masked
            .iter()
            .any(|p| p.ends_with("/cpu2/thermal_throttle"))
    );
}

#[test]
fn tasks_are_bounded_by_default_and_a_zero_lifts_it() {
    let of = |isolators: &[Isolator], scope| limits(isolators, scope, &host()).unwrap().0;
    let pids = |value| Limit {
        knob: Knob::Pids,
        value,
    };
    assert_eq!(of(&[], Scope::App), [pids(1024)]);
    assert_eq!(of(&[], Scope::Pod), [pids(4096)]);
    assert_eq!(of(&[Isolator::Pids { limit: 7 }], Scope::App), [pids(7)]);
    assert_eq!(of(&[Isolator::Pids { limit: 0 }], Scope::App), []);
    let memory = Isolator::Memory {
        limit: "64Mi".into(),
    };
    let cpu = Isolator::Cpu {
        limit: "500m".into(),
    };
    let all = of(&[memory, cpu, Isolator::CpuShares(2)], Scope::App);
    assert_eq!(all[0].value, 64 << 20);
    assert_eq!(all[1].value, 500);
    assert_eq!((all[2].knob, all[2].value), (Knob::CpuShares, 2));
    assert_eq!(all[3], pids(1024));
    for shares in [0, 1, 262_145] {
        assert!(limits(&[Isolator::CpuShares(shares)], Scope::App, &host()).is_err());
    }
}

#[test]
fn a_missing_controller_refuses_a_wish_and_drops_a_default() {
    let mut bare = host();
    bare.cgroups.v2_controllers.clear();
    let (none, report) = limits(&[], Scope::App, &bare).unwrap();
    assert!(none.is_empty());
    assert!(report.shortfalls().next().unwrap().by.contains("`pids`"));
    for (isolator, name) in [
        (Isolator::Pids { limit: 1024 }, "`pids`"),
        (
            Isolator::Memory {
                limit: "1Gi".into(),
            },
            "`memory`",
        ),
    ] {
        let e = limits(&[isolator], Scope::App, &bare).unwrap_err();
        assert_eq!(e.kind(), Kind::Host);
        assert!(e.to_string().contains(name), "{e}");
    }
    let tiny = Isolator::Memory { limit: "64".into() };
    assert!(limits(std::slice::from_ref(&tiny), Scope::App, &host()).is_err());
    assert!(limits(&[tiny.clone(), tiny], Scope::App, &host()).is_err());
}
