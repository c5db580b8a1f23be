//! Every process of a pod, read from the host: capabilities, namespaces, ids.

use rkt_tests::eyes::{Process, SYS_ADMIN};
use rkt_tests::{Pod, Rkt};

const PROBE: &str = "builtin:probe";
/// CHOWN DAC_OVERRIDE FOWNER FSETID KILL SETGID SETUID SETPCAP SETFCAP.
pub(super) const DEFAULT: u64 =
    1 | 1 << 1 | 1 << 3 | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 7 | 1 << 8 | 1 << 31;

/// What holds for every process of every app.
#[track_caller]
pub(super) fn is_walled(process: &Process, bounding: u64) {
    let host = Process::own();
    let [inherited, permitted, effective, bound, ambient] = process.all_capabilities();
    assert_eq!((inherited, ambient), (0, 0), "{process:?}");
    assert_eq!(bound, bounding, "bounding set {bound:x}");
    assert_eq!(permitted & !bounding, 0, "permitted set {permitted:x}");
    assert_eq!(effective & !permitted, 0, "effective set {effective:x}");
    assert!(process.no_new_privs());
    assert_eq!(process.seccomp(), 2);
    for name in ["user", "mnt", "pid", "net", "ipc", "uts", "cgroup"] {
        assert_ne!(
            process.namespace(name),
            host.namespace(name),
            "{name} is the host's"
        );
    }
    let [first, base, count] = process.uid_map[0];
    assert_eq!(
        (process.uid_map.len(), first, count),
        (1, 0, 65_536),
        "{:?}",
        process.uid_map
    );
    assert_eq!(process.gid_map, process.uid_map);
    assert!(base >= 524_288 && base + count < 1 << 31, "{base}");
    assert_eq!(base % 65_536, 0);
    for id in process.uids().into_iter().chain(process.gids()) {
        assert!(
            (base..base + count).contains(&u64::from(id)),
            "id {id} is not of {base}.."
        );
    }
}

/// What holds for init: no power, nothing to reach, nothing of an app's.
#[track_caller]
pub(super) fn is_powerless(init: &Process) {
    let host = Process::own();
    assert_eq!(init.all_capabilities(), [0; 5], "{init:?}");
    assert!(init.no_new_privs());
    assert_eq!(init.seccomp(), 2);
    assert_eq!(init.inner_pid(), 1);
    for name in ["user", "mnt", "pid", "net", "ipc", "uts"] {
        assert_ne!(
            init.namespace(name),
            host.namespace(name),
            "{name} is the host's"
        );
    }
    assert!(
        init.uids().iter().all(|u| *u >= 524_288),
        "{:?}",
        init.uids()
    );
    assert_eq!(init.groups(), Vec::<u32>::new());
    let root: Vec<_> = std::fs::read_dir(init.path("/"))
        .unwrap()
        .flatten()
        .collect();
    assert!(root.is_empty(), "the root of init has {root:?}");
    let mounts = init.mounts();
    assert_eq!(mounts.len(), 1, "{mounts:?}");
    assert!(mounts[0].has("ro"), "{mounts:?}");
    // Not dumpable: its /proc files belong to the root of the pod's user namespace, an id that
    // nobody is, and not to init's own (proc(5), task_dump_owner in the kernel).
    let owner = std::os::unix::fs::MetadataExt::uid(
        &std::fs::metadata(format!("/proc/{}/mem", init.pid)).unwrap(),
    );
    let nobody = init
        .uids()
        .iter()
        .all(|own| own / 65_536 == owner / 65_536 && *own != owner);
    assert!(
        nobody && owner % 65_536 == 0,
        "init is dumpable: its files are of {owner}"
    );
    for (fd, link) in init.descriptors() {
        assert!(
            !link.starts_with('/') || link == "/dev/null",
            "descriptor {fd} of init is {link}"
        );
    }
}

fn two(rkt: &Rkt) -> Pod<'_> {
    rkt.start(&[
        PROBE,
        "--name=red",
        "--",
        "trap",
        "15",
        "---",
        PROBE,
        "--name=blue",
        "--user=1000",
        "--",
        "trap",
        "15",
    ])
}

#[test]
fn init_has_no_power_at_all() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    is_powerless(&two(&rkt).init());
}

#[test]
fn apps_hold_what_they_were_granted_and_nothing_over_the_host() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let pod = two(&rkt);
    let (red, blue) = (pod.app("red"), pod.app("blue"));
    is_walled(&red, DEFAULT);
    assert_eq!(
        red.capabilities("CapEff"),
        DEFAULT,
        "user 0 holds the default set"
    );
    assert_eq!(red.capabilities("CapPrm"), DEFAULT);
    is_walled(&blue, DEFAULT);
    assert_eq!(blue.capabilities("CapPrm"), 0, "another user holds none");
    assert_eq!(blue.uids()[0], u32::try_from(blue.base()).unwrap() + 1000);
    assert_eq!(red.groups(), Vec::<u32>::new());
    for process in pod.processes() {
        for set in process.all_capabilities() {
            assert_eq!(set & SYS_ADMIN, 0, "{process:?}");
        }
    }
}

#[test]
fn two_apps_share_net_ipc_uts_and_pid_and_nothing_else() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    are_apart(&two(&rkt));
}

/// What holds for two apps, red and blue, of one pod.
#[track_caller]
fn are_apart(pod: &Pod<'_>) {
    let (red, blue, init) = (pod.app("red"), pod.app("blue"), pod.init());
    for name in ["net", "ipc", "uts", "pid"] {
        assert_eq!(red.namespace(name), blue.namespace(name), "{name}");
        assert_eq!(red.namespace(name), init.namespace(name), "{name}");
    }
    for name in ["user", "mnt", "cgroup"] {
        assert_ne!(red.namespace(name), blue.namespace(name), "{name}");
        assert_ne!(red.namespace(name), init.namespace(name), "{name}");
        assert_ne!(blue.namespace(name), init.namespace(name), "{name}");
    }
    let (one, other) = (red.base(), blue.base());
    assert!(
        one.abs_diff(other) >= 65_536,
        "ranges {one} and {other} overlap"
    );
    let own = init.uids()[0];
    for base in [one, other] {
        assert!(
            !(base..base + 65_536).contains(&u64::from(own)),
            "init's id {own} is an app's"
        );
    }
}

#[test]
fn two_pods_share_nothing() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let (one, other) = (two(&rkt), two(&rkt));
    let (a, b) = (one.app("red"), other.app("red"));
    for name in ["user", "mnt", "pid", "net", "ipc", "uts", "cgroup"] {
        assert_ne!(a.namespace(name), b.namespace(name), "{name}");
    }
    let bases: Vec<u64> = [&one, &other]
        .iter()
        .flat_map(|p| [p.app("red").base(), p.app("blue").base()])
        .collect();
    for (i, base) in bases.iter().enumerate() {
        assert!(
            bases[i + 1..].iter().all(|b| b.abs_diff(*base) >= 65_536),
            "{bases:?}"
        );
    }
}

#[test]
fn grants_are_exact() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let pod = rkt.start(&[
        PROBE,
        "--name=few",
        "--caps-retain=CAP_CHOWN,CAP_KILL",
        "--",
        "sleep",
        "---",
        PROBE,
        "--name=less",
        "--caps-remove=CAP_CHOWN",
        "--",
        "sleep",
        "---",
        PROBE,
        "--name=user",
        "--user=1000",
        "--caps-retain=CAP_NET_BIND_SERVICE",
        "--",
        "sleep",
    ]);
    let few = 1 | 1 << 5;
    assert_eq!(pod.app("few").all_capabilities(), [0, few, few, few, 0]);
    let less = DEFAULT & !1;
    assert_eq!(pod.app("less").all_capabilities(), [0, less, less, less, 0]);
    let bind = 1 << 10;
    let [inherited, permitted, effective, bound, ambient] = pod.app("user").all_capabilities();
    assert_eq!(
        (permitted, effective, bound, ambient),
        (bind, bind, bind, bind),
        "an explicit grant is ambient"
    );
    assert_eq!(inherited, bind, "the kernel ties ambient to inheritable");
    is_powerless(&pod.init());
}

#[test]
fn every_capability_granted_is_still_nothing_over_the_host() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let pod = rkt.start(&[PROBE, "--name=all", "--caps-retain=all", "--", "sleep"]);
    let all = pod.app("all");
    assert_eq!(all.capabilities("CapEff") & SYS_ADMIN, SYS_ADMIN);
    assert_ne!(all.namespace("user"), Process::own().namespace("user"));
    is_powerless(&pod.init());
}

#[test]
fn launchers_are_out_of_reach() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let pod = two(&rkt);
    let launchers = pod.launchers();
    assert_eq!(launchers.len(), 2, "one for each app: {launchers:?}");
    let app = pod.app("red").namespace("pid");
    for launcher in launchers {
        assert_ne!(
            launcher.namespace("pid"),
            app,
            "a launcher is in the pod's PID namespace"
        );
        assert!(!launcher.no_new_privs(), "apps would inherit it");
        for (fd, link) in launcher.descriptors() {
            assert!(
                !link.contains("pods/"),
                "descriptor {fd} of a launcher is {link}"
            );
        }
    }
}

#[test]
fn nothing_changes_when_the_pod_is_entered_restarted_and_stopped() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let pod = two(&rkt);
    for _ in 0..3 {
        pod.enter(Some("red"), &["/rkt-probe", "who"]).ok();
        pod.enter(Some("blue"), &["/rkt-probe", "who"]).ok();
        rkt.rkt(&["app", "restart", &pod.uuid, "--force"]).ok();
    }
    let (red, blue) = (pod.app("red"), pod.app("blue"));
    is_walled(&red, DEFAULT);
    is_walled(&blue, DEFAULT);
    assert_eq!(red.capabilities("CapPrm"), DEFAULT);
    assert_eq!(blue.capabilities("CapPrm"), 0, "another user holds none");
    is_powerless(&pod.init());
    pod.stop().ok();
}

/// Whether a check of this inventory fails.
fn objects(check: impl FnOnce()) -> bool {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(check)).is_err()
}

/// The control of all of the above: an eye that never objects sees nothing.
#[test]
fn the_inventory_objects_to_every_wall_that_is_taken_away() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    for wall in ["", "caps", "no-new-privs", "seccomp", "userns", "init"] {
        let weaken = format!("--weaken={wall}");
        let mut words: Vec<&str> = Some(weaken.as_str())
            .filter(|_| !wall.is_empty())
            .into_iter()
            .collect();
        words.extend([
            PROBE,
            "--name=red",
            "--",
            "sleep",
            "---",
            PROBE,
            "--name=blue",
            "--",
            "sleep",
        ]);
        let pod = rkt.start(&words);
        let (red, init) = (pod.app("red"), pod.init());
        let of_apps = ["caps", "no-new-privs", "seccomp", "userns"].contains(&wall);
        assert_eq!(objects(|| is_walled(&red, DEFAULT)), of_apps, "`{wall}`");
        assert_eq!(objects(|| is_powerless(&init)), wall == "init", "`{wall}`");
        pod.kill().ok();
    }
    let shared = rkt.start(&[
        "--weaken=disjoint-ids",
        PROBE,
        "--name=red",
        "--",
        "sleep",
        "---",
        PROBE,
        "--name=blue",
        "--",
        "sleep",
    ]);
    assert!(objects(|| are_apart(&shared)));
}
