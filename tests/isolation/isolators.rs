//! Isolators by flag: each is obeyed, as the host sees it, or refused with the flag that would do.

use rkt_tests::attack::{Told, Verdict, alone};
use rkt_tests::eyes::Process;
use rkt_tests::images::BUSYBOX;
use rkt_tests::{Done, Need, Pod, Rkt, host};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};

const PROBE: &str = "builtin:probe";

/// Words that make no pod, and the words of the reason.
#[track_caller]
fn refused(rkt: &Rkt, words: &[&str], says: &[&str]) {
    let mut all = words.to_vec();
    all.extend([PROBE, "--", "exit", "3"]);
    let mut done = rkt.run(&all).is_one_clear_error();
    assert!([125, 254].contains(&done.status), "{done}");
    for word in says {
        done = done.says(word);
    }
    assert_eq!(rkt.pod_dirs().len(), 0, "{done}");
}

#[track_caller]
fn audit_is_clean(rkt: &Rkt, pod: &Pod<'_>) {
    rkt.rkt(&["audit", &pod.uuid]).ok();
}

fn shell(rkt: &Rkt, words: &[&str], script: &str) -> Done {
    let image = BUSYBOX.oci();
    let mut all = vec![image.as_str()];
    all.extend(words);
    all.extend(["--exec=/bin/sh", "--", "-c", script]);
    rkt.run(&all)
}

#[test]
fn a_capability_that_cannot_act_is_refused() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    for (flag, says) in [
        (
            "--caps-retain=CAP_NET_RAW",
            &["NET_RAW", "--userns=pod"][..],
        ),
        (
            "--caps-retain=CHOWN,MKNOD",
            &["MKNOD", "--device=", "--caps-retain=CHOWN"],
        ),
        ("--caps-retain=CAP_IPC_LOCK", &["--rlimit=memlock"]),
        ("--caps-retain=CAP_SYS_TIME", &["the host's"]),
        ("--caps-retain=CAP_ROOT", &["CAP_ROOT"]),
    ] {
        refused(&rkt, &[flag], says);
    }
    let both = ["--caps-retain=CHOWN", "--caps-remove=KILL"];
    refused(&rkt, &both, &["does not go with"]);
    let host = ["--net=host", "--userns=pod", "--caps-retain=CAP_NET_ADMIN"];
    let mut all = vec!["run", "--rm", "--quiet"];
    all.extend(host);
    all.extend([PROBE, "--", "exit", "3"]);
    rkt.rkt(&all)
        .ends_with(125)
        .is_one_clear_error()
        .says("--net=host");
}

#[test]
fn lists_of_system_calls_in_the_originals_words() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let try_it = "chmod 700 /tmp; echo chmod=$?; mkdir /tmp/x; echo mkdir=$?";
    let plain = shell(&rkt, &[], try_it).ok();
    assert!(
        plain.contains("chmod=0") && plain.contains("mkdir=0"),
        "{plain}"
    );
    let calls = "chmod,fchmodat,fchmodat2,fchmod";
    let remove = format!("--seccomp=mode=remove,errno=EACCES,{calls}");
    let done = shell(&rkt, &[&remove], try_it);
    assert!(
        done.out.contains("chmod=1") && done.out.contains("mkdir=0"),
        "{done}"
    );
    assert!(done.err.contains("Permission denied"), "{done}");
    // Without an errno the call is the end, by SIGSYS.
    let kill = "--seccomp=mode=remove,mkdir,mkdirat";
    shell(&rkt, &[kill], "exec mkdir /tmp/y").ends_with(128 + 31);
    let retain = "--seccomp=mode=retain,errno=EPERM,@docker/default-whitelist";
    let done = shell(&rkt, &[retain], try_it).ok();
    assert!(done.contains("mkdir=0"), "{done}");
    // A set of next to nothing: the program starts, and can do nothing but end.
    let few = "--seccomp=mode=retain,errno=EPERM,@appc.io/empty";
    let done = shell(&rkt, &[few], try_it);
    assert!(!done.out.contains("chmod"), "{done}");
    for (flag, says) in [
        ("--seccomp=mode=retain,opne", "opne"),
        (
            "--seccomp=mode=retain,@systemd/clock,read",
            "@docker/default-whitelist",
        ),
        ("--seccomp=mode=retain,errno=ENONE,read", "ENONE"),
        ("--seccomp=mode=remove,execve", "execve"),
        ("--seccomp=/no/such/file.json", "No such file"),
    ] {
        refused(&rkt, &[flag], &[says]);
    }
}

#[test]
fn what_rkt_always_refuses_no_list_opens() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let everything = "--seccomp=mode=retain,@appc.io/all";
    for id in ["K02", "K03", "K04", "K06"] {
        let done = rkt.run(&[everything, PROBE, "--", "attack", id]);
        let told = Told::each(&done.out);
        assert!(!told.is_empty(), "{done}");
        for one in told {
            assert_ne!(one.verdict, Verdict::Succeeded, "{:#}", one.value);
        }
    }
    // Control: without a filter some of it reaches the kernel.
    let open = alone(&rkt, &["--seccomp=unconfined"], "K03", &[]);
    assert_ne!(open.verdict, Verdict::Refused, "{:#}", open.value);
    let pod = rkt.start(&[PROBE, "--name=a", everything, "--", "sleep"]);
    assert_eq!(pod.app("a").seccomp(), 2);
    audit_is_clean(&rkt, &pod);
    let pod = rkt.start(&[PROBE, "--name=a", "--seccomp=unconfined", "--", "sleep"]);
    assert_eq!(pod.app("a").seccomp(), 0);
    audit_is_clean(&rkt, &pod);
}

#[test]
fn a_profile_in_dockers_json_is_obeyed() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let file = rkt.file("profile.json");
    let profile = r#"{"defaultAction":"SCMP_ACT_ALLOW",
        "archMap":[{"architecture":"SCMP_ARCH_X86_64","subArchitectures":["SCMP_ARCH_X86"]},
                   {"architecture":"SCMP_ARCH_AARCH64","subArchitectures":null}],
        "syscalls":[
          {"names":["mkdir","mkdirat","no_such_call"],"action":"SCMP_ACT_ERRNO","errnoRet":28},
          {"names":["chmod","fchmodat","fchmodat2"],"action":"SCMP_ACT_ERRNO","includes":{"caps":["CAP_SYS_ADMIN"]}},
          {"names":["mount","unshare"],"action":"SCMP_ACT_ALLOW"}]}"#;
    fs::write(&file, profile).unwrap();
    let flag = format!("--seccomp={}", file.display());
    let script = "mkdir /tmp/x; chmod 700 /tmp && echo fine; unshare -m true";
    for _ in 0..2 {
        let done = shell(&rkt, &[&flag], script);
        assert!(done.err.contains("No space left"), "{done}");
        assert!(done.out.contains("fine"), "{done}");
        assert!(done.err.contains("not permitted"), "the floor: {done}");
    }
    // Compiled once.
    let cache = rkt.data().join("seccomp");
    assert_eq!(fs::read_dir(&cache).unwrap().count(), 1);
    assert_eq!(fs::metadata(&cache).unwrap().mode() & 0o777, 0o700);
    // A condition on a capability holds with the grant.
    let done = shell(&rkt, &[&flag, "--caps-retain=all"], script);
    assert!(!done.out.contains("fine"), "{done}");
    assert_eq!(fs::read_dir(&cache).unwrap().count(), 2);
    // Names that this machine does not have are usual, and told.
    let image = BUSYBOX.oci();
    let words = [
        "run",
        "--rm",
        "--net=none",
        &image,
        &flag,
        "--exec=/bin/true",
    ];
    let done = rkt.rkt(&words);
    assert!(done.err.contains("no_such_call"), "{done}");
    // And so is what the profile allows in vain.
    assert!(
        done.err.contains("allows") && done.err.contains("unshare"),
        "{done}"
    );
    let pod = rkt.start(&[PROBE, "--name=a", &flag, "--", "sleep"]);
    audit_is_clean(&rkt, &pod);
    pod.kill().ok();
    rkt.rkt(&["rm", &pod.uuid]).ok();
    for (profile, says) in [
        ("{", "EOF"),
        (r#"{"defaultAction":"SCMP_ACT_MAYBE"}"#, "SCMP_ACT_MAYBE"),
        (r#"{"defaultAction":"SCMP_ACT_NOTIFY"}"#, "SCMP_ACT_NOTIFY"),
        (r#"{"defaultAction":"SCMP_ACT_ERRNO"}"#, "execve"),
        (
            r#"{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_MIPS"]}"#,
            "SCMP_ARCH_MIPS",
        ),
    ] {
        fs::write(&file, profile).unwrap();
        refused(&rkt, &[&flag], &[says]);
    }
}

#[test]
fn socket_families_are_added_and_taken_away() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let (packet, raw) = ("F01.3", "F01.1");
    let got = |flag: &[&str], id: &str, errno: &str| {
        let told = alone(&rkt, flag, id, &[]);
        assert!(
            told.refused_with("socket", errno),
            "{flag:?}: {:#}",
            told.value
        );
    };
    got(&[], packet, "EAFNOSUPPORT");
    got(&[], raw, "EPERM");
    got(&["--socket-family=+AF_PACKET"], packet, "EPERM");
    got(&["--socket-family=-AF_INET,-AF_INET6"], raw, "EAFNOSUPPORT");
    refused(&rkt, &["--socket-family=+AF_NOPE"], &["AF_NOPE"]);
    refused(&rkt, &["--socket-family=AF_VSOCK"], &["`+` or `-`"]);
    let none = ["--socket-family=+AF_VSOCK", "--seccomp=unconfined"];
    refused(&rkt, &none, &["socket families"]);
}

#[test]
fn user_namespaces_are_nested_only_when_it_is_said() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    alone(&rkt, &[], "A06", &[]).is_refused();
    alone(&rkt, &["--userns-nested=4"], "A06", &[]).succeeds();
    // The mounts stay what they are.
    alone(&rkt, &["--userns-nested=4"], "B06", &[]).is_refused();
    let pod = rkt.start(&[PROBE, "--name=a", "--userns-nested=4", "--", "sleep"]);
    let words = ["/rkt-probe", "cat", "/proc/sys/user/max_user_namespaces"];
    assert_eq!(pod.enter(None, &words).ok().trim(), "4");
    audit_is_clean(&rkt, &pod);
}

#[test]
fn sysctls_are_the_pods_own() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let host = |path: &str| fs::read_to_string(format!("/proc/sys/{path}")).unwrap();
    let settings = [
        ("net.core.somaxconn", "net/core/somaxconn", "77"),
        ("kernel.shmmax", "kernel/shmmax", "123456789"),
        ("fs.mqueue.msg_max", "fs/mqueue/msg_max", "20"),
    ];
    let before = settings.map(|(_, path, _)| host(path));
    let mut words: Vec<String> = settings
        .iter()
        .map(|(name, _, value)| format!("--sysctl={name}={value}"))
        .collect();
    words.extend([PROBE, "--name=a", "--", "sleep"].map(str::to_owned));
    let pod = rkt.start(&words);
    for (_, path, value) in settings {
        let path = format!("/proc/sys/{path}");
        let text = pod.enter(None, &["/rkt-probe", "cat", &path]).ok();
        assert_eq!(text.trim(), value, "{path}");
    }
    assert_eq!(settings.map(|(_, path, _)| host(path)), before);
    audit_is_clean(&rkt, &pod);
    super::inventory::is_powerless(&pod.init());
    pod.kill().ok();
    rkt.rkt(&["rm", &pod.uuid]).ok();
    for (flag, says) in [
        ("--sysctl=kernel.core_pattern=|/x", "whole host"),
        ("--sysctl=vm.swappiness=1", "whole host"),
        ("--sysctl=kernel.hostname=x", "--hostname"),
        (
            "--sysctl=net.ipv4.no_such_setting=1",
            "net/ipv4/no_such_setting",
        ),
        ("--sysctl=net/../kernel/core_pattern=x", "no name"),
        // CVE-2022-0811: one value that is several settings.
        (
            "--sysctl=net.core.somaxconn=77+kernel.core_pattern=|/x",
            "net/core/somaxconn",
        ),
        (
            "--sysctl=net.core.somaxconn=77\nkernel.core_pattern=|/x",
            "somaxconn",
        ),
    ] {
        refused(&rkt, &[flag], &[says]);
    }
    let words = [
        "run",
        "--rm",
        "--net=host",
        "--sysctl=net.core.somaxconn=77",
        PROBE,
        "--",
        "exit",
        "3",
    ];
    rkt.rkt(&words)
        .ends_with(254)
        .is_one_clear_error()
        .says("--net=host");
}

#[test]
fn limits_of_processes_are_what_was_said_or_told() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let pod = rkt.start(&[
        PROBE,
        "--name=a",
        "--rlimit=nofile=100:200",
        "--ulimit=memlock=4Ki",
        "--supplementary-gids=7,8",
        "--oom-score-adj=321",
        "--",
        "sleep",
    ]);
    let app = pod.app("a");
    assert_eq!(app.limit("Max open files"), ("100".into(), "200".into()));
    assert_eq!(
        app.limit("Max locked memory"),
        ("4096".into(), "4096".into())
    );
    assert_eq!(app.limit("Max core file size"), ("0".into(), "0".into()));
    let base = u32::try_from(app.base()).unwrap();
    assert_eq!(app.groups(), [base + 7, base + 8]);
    assert_eq!(app.proc("oom_score_adj").trim(), "321");
    audit_is_clean(&rkt, &pod);
    let (_, hard) = Process::own().limit("Max open files");
    let hard: u64 = hard.parse().unwrap_or(u64::MAX);
    let words = [
        "run",
        "--rm",
        "--net=none",
        PROBE,
        "--rlimit=nofile=1024:999999999",
        "--",
        "exit",
        "3",
    ];
    let done = rkt.rkt(&words).ends_with(3);
    assert!(
        done.err.contains("rlimit nofile"),
        "less than {hard} is told: {done}"
    );
    pod.kill().ok();
    rkt.rkt(&["rm", &pod.uuid]).ok();
    refused(&rkt, &["--rlimit=files=3"], &["nofile"]);
    refused(&rkt, &["--rlimit=nofile=3:2"], &["above the hard"]);
}

#[test]
fn a_device_is_a_node_of_its_own_with_the_access_that_was_said() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let image = BUSYBOX.oci();
    let pod = rkt.start(&[
        &image,
        "--name=a",
        "--device=/dev/zero:/dev/nil/read:r",
        "--device=/dev/zero:/dev/both",
        "--caps-retain=all",
        "--exec=/bin/sleep",
        "--",
        "1000",
    ]);
    let app = pod.app("a");
    for (path, mode) in [("/dev/nil/read", 0o4), ("/dev/both", 0o6)] {
        let meta = fs::metadata(app.path(path)).unwrap();
        assert!(meta.file_type().is_char_device());
        assert_eq!(meta.rdev(), rustix::fs::makedev(1, 5), "{path}");
        assert_eq!(
            (meta.mode() & 0o7777, meta.uid(), meta.gid()),
            (mode, 0, 0),
            "{path}"
        );
    }
    let sh = |script: &str| pod.enter(None, &["/bin/sh", "-c", script]);
    sh("head -c 4 /dev/nil/read >/dev/null && echo x >/dev/both").ok();
    for script in [
        "echo x >/dev/nil/read",
        "chmod 666 /dev/nil/read",
        "chown 0 /dev/nil/read",
        "rm /dev/nil/read",
        "mknod /tmp/z c 1 5 && echo x >/tmp/z",
    ] {
        assert_ne!(sh(script).status, 0, "{script}");
    }
    audit_is_clean(&rkt, &pod);
    pod.kill().ok();
    rkt.rkt(&["rm", &pod.uuid]).ok();
    for (flag, says) in [
        ("--device=/dev/zero:/dev/z:rwm", "mknod"),
        ("--device=/dev/zero:/dev/null", "rkt's own"),
        ("--device=/etc/hostname:/dev/x", "no device"),
        ("--device=/dev/tty:/dev/x", "terminal"),
        ("-v/dev/zero:/z", "--device=/dev/zero"),
    ] {
        refused(&rkt, &[flag], &[says]);
    }
    if let Some(disk) = mounted_disk() {
        refused(
            &rkt,
            &[&format!("--device={disk}:/dev/disk")],
            &["mounted on the host"],
        );
    }
}

/// A block device of /dev with a mounted file system on it.
fn mounted_disk() -> Option<String> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let numbers: Vec<&str> = table.lines().filter_map(|l| l.split(' ').nth(2)).collect();
    fs::read_dir("/dev").unwrap().flatten().find_map(|e| {
        let meta = e.metadata().ok()?;
        let number = meta.rdev();
        let number = format!(
            "{}:{}",
            rustix::fs::major(number),
            rustix::fs::minor(number)
        );
        let is = meta.file_type().is_block_device() && numbers.contains(&number.as_str());
        is.then(|| e.path().display().to_string())
    })
}

#[test]
fn paths_are_hidden_shown_and_made_read_only() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let dir = rkt.open_dir("data");
    for name in ["secret", "keep", "free"] {
        fs::create_dir_all(dir.join(name)).unwrap();
        fs::write(dir.join(name).join("file"), "x").unwrap();
        for path in [dir.join(name), dir.join(name).join("file")] {
            let open = std::os::unix::fs::PermissionsExt::from_mode(0o777);
            fs::set_permissions(&path, open).unwrap();
            std::os::unix::fs::chown(&path, Some(4321), Some(4321)).unwrap();
        }
    }
    let volume = format!("-v{}:/data", dir.display());
    let pod = rkt.start(&[
        &volume,
        PROBE,
        "--name=a",
        "--caps-retain=all",
        "--mask=/data/secret",
        "--mask=/data/free/file",
        "--readonly-paths=/data/keep",
        "--unmask=/proc/kallsyms",
        "--",
        "sleep",
    ]);
    let app = pod.app("a");
    assert_eq!(fs::read_dir(app.path("/data/secret")).unwrap().count(), 0);
    let hidden = fs::metadata(app.path("/data/free/file")).unwrap();
    assert_eq!(hidden.rdev(), rustix::fs::makedev(1, 3));
    let shown = fs::metadata(app.path("/proc/kallsyms")).unwrap();
    assert!(shown.is_file(), "unmasked");
    assert!(
        fs::metadata(app.path("/proc/keys"))
            .unwrap()
            .file_type()
            .is_char_device()
    );
    let write = |path: &str| pod.enter(None, &["/rkt-probe", "write", path, "y"]);
    write("/data/keep/file").ends_with(1).says("EROFS");
    write("/data/free/new").ok();
    assert_eq!(fs::read_to_string(dir.join("keep/file")).unwrap(), "x");
    assert_eq!(fs::read_to_string(dir.join("free/file")).unwrap(), "x");
    audit_is_clean(&rkt, &pod);
    pod.kill().ok();
    rkt.rkt(&["rm", &pod.uuid]).ok();
    // All of /proc: nothing of it is covered, and still no setting can be written.
    let pod = rkt.start(&[PROBE, "--name=a", "--unmask=/proc", "--", "sleep"]);
    let app = pod.app("a");
    let covered: Vec<_> = app
        .mounts()
        .into_iter()
        .filter(|m| m.path.starts_with("/proc/"))
        .collect();
    assert!(covered.is_empty(), "{covered:?}");
    let done = pod.enter(
        None,
        &["/rkt-probe", "write", "/proc/sys/kernel/core_pattern", "y"],
    );
    done.ends_with(1).says("EACCES");
    audit_is_clean(&rkt, &pod);
    pod.kill().ok();
    rkt.rkt(&["rm", &pod.uuid]).ok();
    for (flag, says) in [
        ("--mask=/no/such/path", "/no/such/path"),
        ("--mask=relative", "absolute"),
        ("--mask=/", "apps need it"),
        ("--unmask=/home", "nothing covers"),
        ("--readonly-paths=/", "--readonly-rootfs"),
    ] {
        refused(&rkt, &[flag], &[says]);
    }
}

#[test]
fn in_the_pods_user_namespace_capabilities_act_on_its_network() {
    let Some(rkt) = Rkt::needs(&[Need::Landlock]) else {
        return;
    };
    let net = "--caps-retain=CAP_NET_RAW,CAP_NET_ADMIN,CAP_CHOWN";
    let raw = alone(&rkt, &["--userns=pod", net], "F01.1", &[]);
    assert_eq!(raw.verdict, Verdict::Succeeded, "{:#}", raw.value);
    let pod = rkt.start(&[
        PROBE,
        "--name=vpn",
        "--userns=pod",
        net,
        "--",
        "sleep",
        "---",
        PROBE,
        "--name=app",
        "--",
        "sleep",
    ]);
    let (vpn, app, init) = (pod.app("vpn"), pod.app("app"), pod.init());
    assert_eq!(vpn.namespace("user"), init.namespace("user"));
    assert_ne!(app.namespace("user"), init.namespace("user"));
    assert_ne!(vpn.namespace("mnt"), app.namespace("mnt"));
    let grant = 1 << 13 | 1 << 12 | 1;
    assert_eq!(vpn.capabilities("CapEff"), grant);
    assert_eq!(vpn.uids(), [u32::try_from(init.base()).unwrap(); 4]);
    super::inventory::is_powerless(&init);
    audit_is_clean(&rkt, &pod);
    // Landlock keeps it from its siblings and from init all the same.
    for id in ["D01", "D02", "D03", "D04", "D05", "D06"] {
        let done = pod.enter(Some("vpn"), &["/rkt-probe", "attack", id]);
        let told = Told::each(&done.out);
        assert!(!told.is_empty(), "{done}");
        for one in told {
            assert_ne!(one.verdict, Verdict::Succeeded, "{:#}", one.value);
        }
    }
    assert!(pod.state() == "running");
    let words = ["/rkt-probe", "cat", "/proc/sys/user/max_user_namespaces"];
    assert_eq!(pod.enter(Some("vpn"), &words).ok().trim(), "0");
    pod.kill().ok();
    rkt.rkt(&["rm", &pod.uuid]).ok();
    refused(&rkt, &["--userns=host"], &["host's user namespace"]);
    refused(
        &rkt,
        &["--userns=pod", "--userns-nested=2"],
        &["--userns=pod"],
    );
    refused(
        &rkt,
        &["--userns=pod", "--caps-retain=CAP_SYS_TIME"],
        &["the clock"],
    );
}

#[test]
fn what_bounds_the_pod_bounds_all_its_apps() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let pod = rkt.start(&[
        "--pod-caps-retain=CAP_CHOWN,CAP_KILL",
        PROBE,
        "--name=a",
        "--",
        "sleep",
        "---",
        PROBE,
        "--name=b",
        "--caps-retain=CAP_KILL",
        "--",
        "sleep",
    ]);
    assert_eq!(pod.app("a").capabilities("CapBnd"), 1 | 1 << 5);
    assert_eq!(pod.app("b").capabilities("CapBnd"), 1 << 5);
    let told = rkt.rkt(&["explain", &pod.uuid]).ok();
    let flags: Vec<&str> = told
        .lines()
        .filter(|l| l.trim_start().starts_with("bounding capabilities"))
        .filter_map(|l| l.split_once("  --"))
        .map(|(_, flags)| flags)
        .collect();
    assert_eq!(
        flags,
        ["pod-caps-retain", "caps-retain, --pod-caps-retain"],
        "{told}"
    );
    audit_is_clean(&rkt, &pod);
    pod.kill().ok();
    rkt.rkt(&["rm", &pod.uuid]).ok();
    let more = ["--pod-caps-retain=CAP_CHOWN", "--caps-retain=CAP_KILL"];
    refused(&rkt, &more, &["--pod-caps-retain"]);
    if Need::Controller("pids").missing().is_none() {
        let pod = rkt.start(&["--pod-pids=55", PROBE, "--name=a", "--", "sleep"]);
        let root = host::controller_root("pids")
            .unwrap()
            .join(&rkt.cgroup)
            .join(&pod.uuid);
        let limit = fs::read_to_string(root.join("pids.max")).unwrap();
        assert_eq!(limit.trim(), "55");
    }
}

#[test]
fn what_was_asked_for_is_in_the_manifest_and_explained() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let words = [
        "run",
        "--explain",
        "--format=json",
        "--net=none",
        PROBE,
        "--name=a",
        "--seccomp=mode=remove,errno=EPERM,chmod",
        "--rlimit=nofile=10",
        "--unmask=/proc/keys",
        "--device=/dev/zero:/dev/z:r",
        "--userns=pod",
    ];
    let value: Value = rkt.rkt(&words).json();
    let isolators = value["manifest"]["apps"][0]["app"]["isolators"].to_string();
    for name in [
        "seccomp-remove-set",
        "rkt/rlimit",
        "rkt/paths",
        "rkt/device",
        "rkt/user-namespace",
    ] {
        assert!(isolators.contains(name), "{name}: {isolators}");
    }
    let rows = value["sections"][1]["rows"].as_array().unwrap();
    for (id, flag) in [
        ("W01", "--userns"),
        ("W07", "--seccomp"),
        ("W13", "--mask, --unmask"),
        ("W19", "--device"),
        ("W21", "--rlimit"),
    ] {
        assert!(
            rows.iter().any(|r| r["id"] == id && r["flag"] == flag),
            "{id} {flag}: {rows:#?}"
        );
    }
}

#[test]
fn a_pod_is_explained_as_it_was_started() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let words = [
        PROBE,
        "--name=a",
        "--no-new-privs=false",
        "--socket-family=+AF_VSOCK",
        "--",
        "sleep",
        "---",
        PROBE,
        "--name=b",
        "--",
        "sleep",
    ];
    let pod = rkt.start(&words);
    let value: Value = rkt.rkt(&["explain", &pod.uuid, "--format=json"]).json();
    let sections = value["sections"].as_array().unwrap();
    let titles: Vec<_> = sections
        .iter()
        .map(|s| s["title"].as_str().unwrap())
        .collect();
    assert_eq!(titles, ["pod", "app a", "app b"]);
    let standing = |app: usize, id: &str| {
        let all = value["sections"][app]["defences"].as_array().unwrap();
        let one = all.iter().find(|d| d["id"] == id).unwrap();
        one["state"].as_str().unwrap().to_owned()
    };
    assert_eq!(
        (standing(1, "W06").as_str(), standing(2, "W06").as_str()),
        ("off", "on")
    );
    assert_eq!(
        (standing(1, "W07").as_str(), standing(2, "W07").as_str()),
        ("less", "on")
    );
    let one = rkt.rkt(&["explain", &format!("{}:a", pod.uuid)]).ok();
    assert!(one.contains("APP a") && !one.contains("APP b"), "{one}");
    assert!(
        one.contains("VSOCK") && one.contains("--no-new-privs"),
        "{one}"
    );
    // What runs says the same to the host.
    assert!(!pod.app("a").no_new_privs() && pod.app("b").no_new_privs());
    pod.kill().ok();
    assert!(rkt.rkt(&["explain", &pod.uuid]).ok().contains("APP b"));
    rkt.rkt(&["explain", &format!("{}:c", pod.uuid)])
        .ends_with(254)
        .is_one_clear_error()
        .says("no app `c`");
}

#[test]
fn denials_are_told_with_their_rule_and_flag() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let image = BUSYBOX.oci();
    let script = "unshare -m true; for i in 1 2 3; do chroot / true; done; chmod 700 /tmp && echo fine; sleep 1000";
    let pod = rkt.start(&[
        &image,
        "--name=a",
        "--trace-denials",
        "--exec=/bin/sh",
        "--",
        "-c",
        script,
        "---",
        PROBE,
        "--name=b",
        "--",
        "sleep",
    ]);
    pod.wait_for_log("a", "fine");
    let why = || -> Value { rkt.rkt(&["why", &pod.uuid, "--format=json"]).json() };
    rkt_tests::wait_for("the notes of the denials", 10, || {
        why()["denials"].as_array().unwrap().len() >= 2
    });
    let value = why();
    let of = |call: &str| {
        let all = value["denials"].as_array().unwrap();
        let one = all.iter().find(|d| d["call"] == call);
        one.unwrap_or_else(|| panic!("no {call} in {value:#}"))
            .clone()
    };
    let chroot = of("chroot");
    assert_eq!(
        (&chroot["times"], &chroot["error"]),
        (&3.into(), &"EPERM".into())
    );
    assert!(
        chroot["flag"].as_str().unwrap().contains("SYS_CHROOT"),
        "{chroot}"
    );
    assert!(
        of("unshare")["flag"]
            .as_str()
            .unwrap()
            .contains("--userns-nested")
    );
    // The app was refused the same as one that is not traced, and runs behind the same walls.
    let log = pod.logs("a");
    assert!(log.contains("not permitted"), "{log}");
    assert_eq!(pod.app("a").seccomp(), 2);
    audit_is_clean(&rkt, &pod);
    // It is entered, restarted and stopped like any other.
    pod.enter(Some("a"), &["/bin/true"]).ok();
    rkt.rkt(&["app", "restart", &pod.uuid, "--app=a", "--force"])
        .ok();
    rkt_tests::wait_for("denials of the second run", 10, || {
        let value = why();
        let all = value["denials"].as_array().unwrap().clone();
        all.iter().any(|d| d["call"] == "chroot" && d["times"] == 6)
    });
    let table = rkt.rkt(&["why", &format!("{}:a", pod.uuid)]).ok();
    assert!(
        table.contains("chroot") && table.contains("--caps-retain"),
        "{table}"
    );
    let untraced = rkt.rkt(&["why", &format!("{}:b", pod.uuid)]);
    untraced
        .ends_with(254)
        .is_one_clear_error()
        .says("--trace-denials");
    pod.stop().ok();
    assert_eq!(why()["denials"].as_array().unwrap().len(), 2);
    rkt.rkt(&["rm", &pod.uuid]).ok();
    refused(
        &rkt,
        &["--trace-denials", "--seccomp=unconfined"],
        &["no filter"],
    );
}
