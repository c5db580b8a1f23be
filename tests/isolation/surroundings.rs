//! What stands around an app: mounts, limits, descriptors, cgroups, its own /dev.

use rkt_tests::eyes::Process;
use rkt_tests::{Need, Rkt, host, wait_for};
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};

const PROBE: &str = "builtin:probe";

#[test]
fn mounts_have_the_flags_of_the_policy() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let pod = rkt.start(&[PROBE, "--name=a", "--", "sleep"]);
    let mounts = pod.app("a").mounts();
    let find = |path: &str| {
        // The last one at a path is the one that is seen.
        mounts
            .iter()
            .rev()
            .find(|m| m.path == path)
            .unwrap_or_else(|| panic!("no mount at {path}: {mounts:#?}"))
    };
    let root = find("/");
    assert!(
        root.has("nosuid") && root.has("nodev") && root.has("rw"),
        "{root:?}"
    );
    for (path, kind, flags) in [
        ("/proc", "proc", &["nosuid", "nodev", "noexec"][..]),
        ("/proc/sys", "proc", &["ro"]),
        ("/sys", "sysfs", &["ro", "nosuid", "nodev", "noexec"]),
        ("/dev", "tmpfs", &["ro", "nosuid", "noexec"]),
        ("/dev/pts", "devpts", &["nosuid", "noexec"]),
        ("/dev/shm", "tmpfs", &["nosuid", "nodev", "noexec"]),
        ("/dev/mqueue", "mqueue", &["nosuid", "nodev", "noexec"]),
    ] {
        let mount = find(path);
        assert_eq!(mount.kind, kind, "{path}");
        for flag in flags {
            assert!(mount.has(flag), "{path} lacks {flag}: {mount:?}");
        }
    }
    for mount in &mounts {
        assert!(
            mount.propagation.iter().all(|p| !p.starts_with("shared")),
            "{mount:?}"
        );
        let data = rkt.top.display().to_string();
        assert!(
            !mount.super_options.contains(&data),
            "a path of the host shows: {mount:?}"
        );
        assert!(
            !mount.root.contains(&data),
            "a path of the host shows: {mount:?}"
        );
    }
}

#[test]
fn nosuid_goes_with_no_new_privs() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let pod = rkt.start(&[PROBE, "--name=a", "--no-new-privs=false", "--", "sleep"]);
    let app = pod.app("a");
    assert!(!app.no_new_privs());
    assert_eq!(app.seccomp(), 2);
    let mounts = app.mounts();
    let root = mounts.iter().find(|m| m.path == "/").unwrap();
    assert!(!root.has("nosuid") && root.has("nodev"), "{root:?}");
}

#[test]
fn masks_are_real_null_devices_and_empty_directories() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let pod = rkt.start(&[PROBE, "--name=a", "--", "sleep"]);
    let app = pod.app("a");
    for name in [
        "kallsyms",
        "keys",
        "timer_list",
        "sysrq-trigger",
        "kcore",
        "interrupts",
        "slabinfo",
    ] {
        let Ok(host) = fs::metadata(format!("/proc/{name}")) else {
            continue;
        };
        let meta = fs::metadata(app.path(&format!("/proc/{name}"))).unwrap();
        assert!(
            host.is_file() && meta.file_type().is_char_device(),
            "/proc/{name} is not masked"
        );
        assert_eq!(meta.rdev(), rustix::fs::makedev(1, 3), "/proc/{name}");
    }
    for name in ["firmware", "module"] {
        if let Ok(list) = fs::read_dir(app.path(&format!("/sys/{name}"))) {
            assert_eq!(list.count(), 0, "/sys/{name}");
        }
    }
}

#[test]
fn devices_are_the_few_of_the_policy() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let pod = rkt.start(&[PROBE, "--name=a", "--", "sleep"]);
    let app = pod.app("a");
    for (name, major, minor) in [
        ("null", 1, 3),
        ("zero", 1, 5),
        ("full", 1, 7),
        ("random", 1, 8),
        ("urandom", 1, 9),
        ("tty", 5, 0),
    ] {
        let meta = fs::metadata(app.path(&format!("/dev/{name}"))).unwrap();
        assert!(meta.file_type().is_char_device(), "{name}");
        assert_eq!(meta.rdev(), rustix::fs::makedev(major, minor), "{name}");
    }
    let known = [
        "null", "zero", "full", "random", "urandom", "tty", "ptmx", "pts", "shm", "mqueue", "fd",
        "stdin", "stdout", "stderr", "console", "core",
    ];
    for entry in fs::read_dir(app.path("/dev")).unwrap().flatten() {
        let name = entry.file_name().into_string().unwrap();
        assert!(known.contains(&name.as_str()), "/dev/{name}");
    }
    // They work, and no more can be made.
    pod.enter(None, &["/rkt-probe", "write", "/dev/null", "x"])
        .ok();
    pod.enter(None, &["/rkt-probe", "write", "/dev/x", "x"])
        .ends_with(1)
        .says("EROFS");
}

#[test]
fn an_app_has_three_descriptors_and_none_of_them_is_a_file() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let pod = rkt.start(&[PROBE, "--name=a", "--", "sleep"]);
    // Its runtime looks at its own maps as it begins.
    let mut fds = pod.app("a").descriptors();
    wait_for("the program to have begun", 5, || {
        fds = pod.app("a").descriptors();
        !fds.values().any(|to| to.ends_with("/maps"))
    });
    assert_eq!(
        fds.keys().copied().collect::<Vec<_>>(),
        [0, 1, 2],
        "{fds:?}"
    );
    assert_eq!(fds[&0], "/dev/null");
    assert!(
        fds[&1].starts_with("pipe:") && fds[&2].starts_with("pipe:"),
        "{fds:?}"
    );
}

#[test]
fn limits_umask_and_environment_are_bounded() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let pod = rkt.start(&[PROBE, "--name=a", "--", "sleep"]);
    let app = pod.app("a");
    assert_eq!(app.limit("Max core file size"), ("0".into(), "0".into()));
    let host: u64 = Process::own().limit("Max open files").1.parse().unwrap();
    let hard: u64 = app.limit("Max open files").1.parse().unwrap();
    assert!(hard <= host.min(524_288), "{hard}");
    assert_eq!(app.field("Umask"), "0022");
    let adjust: i32 = app.proc("oom_score_adj").trim().parse().unwrap();
    assert!(adjust >= 0, "{adjust}");
    let environment = app.proc("environ");
    assert!(!environment.contains("RKT_"), "{environment:?}");
}

#[test]
fn nested_user_namespaces_are_off() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let pod = rkt.start(&[PROBE, "--name=a", "--", "sleep"]);
    let text = pod
        .enter(
            None,
            &["/rkt-probe", "cat", "/proc/sys/user/max_user_namespaces"],
        )
        .ok();
    assert_eq!(text.trim(), "0");
    let host: u64 = fs::read_to_string("/proc/sys/user/max_user_namespaces")
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    assert!(host > 0);
}

#[test]
fn every_app_has_a_cgroup_of_its_own_with_a_bound_on_tasks() {
    let Some(rkt) = Rkt::needs(&[Need::Controller("pids")]) else {
        return;
    };
    let pod = rkt.start(&[
        PROBE,
        "--name=a",
        "--",
        "sleep",
        "---",
        PROBE,
        "--name=b",
        "--pids=33",
        "--",
        "sleep",
    ]);
    let root = host::controller_root("pids")
        .unwrap()
        .join(&rkt.cgroup)
        .join(&pod.uuid);
    let limit = |app: &str| {
        fs::read_to_string(root.join(format!("app-{app}/pids.max")))
            .unwrap()
            .trim()
            .to_owned()
    };
    // In version 1 the app's launcher is in its group, and is not one of its tasks.
    let launcher = u32::from(Need::V1("pids").missing().is_none());
    assert_eq!(limit("b"), (33 + launcher).to_string());
    assert!(
        limit("a").parse::<u64>().unwrap() <= 4096,
        "a default bound: {}",
        limit("a")
    );
    let done = pod.enter(Some("b"), &["/rkt-probe", "fork-bomb", "100"]);
    assert!(done.out.contains("EAGAIN"), "{done}");
    let view = pod
        .enter(Some("a"), &["/rkt-probe", "cat", "/proc/self/cgroup"])
        .ok();
    assert!(
        view.lines().all(|l| l.ends_with(":/")),
        "paths of the host show: {view}"
    );
}

#[test]
fn memory_over_the_limit_kills_that_app_only() {
    let Some(rkt) = Rkt::needs(&[Need::Controller("memory")]) else {
        return;
    };
    let pod = rkt.start(&[
        PROBE,
        "--name=hog",
        "--memory=32Mi",
        "--",
        "eat-memory",
        "200000000",
        "---",
        PROBE,
        "--name=calm",
        "--",
        "trap",
        "15",
    ]);
    rkt_tests::wait_for("the end of the hog", 20, || {
        let status = pod.status();
        status["apps"]
            .as_array()
            .unwrap()
            .iter()
            .any(|a| a["name"] == "hog" && a["exit_code"] == 137)
    });
    // An app that fails ends its pod; the others are asked to end.
    pod.wait_for_end();
    assert!(pod.logs("calm").contains("got 15"));
    let text = pod.status().to_string().to_lowercase();
    assert!(
        text.contains("oom") || text.contains("memory"),
        "the reason is told: {text}"
    );
}

#[test]
fn a_limit_that_cannot_be_held_is_never_ignored() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    if Need::Controller("cpu").missing().is_none() {
        // It can be held here: then it is.
        let pod = rkt.start(&[PROBE, "--name=a", "--cpu=500m", "--", "sleep"]);
        let root = host::controller_root("cpu")
            .unwrap()
            .join(&rkt.cgroup)
            .join(&pod.uuid)
            .join("app-a");
        let v1 = fs::read_to_string(root.join("cpu.cfs_quota_us")).unwrap_or_default();
        let v2 = fs::read_to_string(root.join("cpu.max")).unwrap_or_default();
        assert!(
            v1.trim() == "50000" || v2.starts_with("50000 "),
            "{v1} {v2}"
        );
    } else {
        let done = rkt.run(&[PROBE, "--cpu=500m", "--", "exit", "0"]);
        done.ends_with(125).is_one_clear_error().says("cpu");
    }
}

#[test]
fn low_ports_are_open_to_apps_without_a_capability() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let pod = rkt.start(&[PROBE, "--name=a", "--", "sleep"]);
    let text = pod
        .enter(
            None,
            &[
                "/rkt-probe",
                "cat",
                "/proc/sys/net/ipv4/ip_unprivileged_port_start",
            ],
        )
        .ok();
    assert_eq!(text.trim(), "0");
}
