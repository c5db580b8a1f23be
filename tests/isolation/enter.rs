//! `enter` is confined exactly like the app (rkt's CVE-2019-10144, -10145, -10147).

use super::inventory::{DEFAULT, is_walled};
use rkt_tests::eyes::Process;
use rkt_tests::{Rkt, images};
use serde_json::Value;
use std::fs;

const PROBE: &str = "builtin:probe";

/// What a process says of itself that must be the same for the app and for who enters it.
const SAME: &[&str] = &[
    "uid",
    "euid",
    "gid",
    "egid",
    "groups",
    "uid_map",
    "gid_map",
    "effective",
    "permitted",
    "inheritable",
    "ambient",
    "bounding",
    "no_new_privs",
    "seccomp",
    "seccomp_filters",
    "landlock_layers",
    "namespaces",
    "cgroups",
    "mounts",
    "limits",
    "umask",
    "hostname",
    "cwd",
];

#[track_caller]
fn report(text: &str) -> Value {
    let line = text
        .lines()
        .find(|l| l.starts_with('{'))
        .unwrap_or_else(|| panic!("no report: {text}"));
    serde_json::from_str(line).unwrap()
}

/// A pod whose app reports on itself and then waits; the app's report and one by `enter`.
fn both(rkt: &Rkt, options: &[&str]) -> (Value, Value) {
    let mut words = vec![PROBE, "--name=a"];
    words.extend(options);
    words.extend(["--", "report", "--json", "--no-attacks"]);
    let first = rkt.start(&words);
    first.wait_for_end();
    let of_app = report(&first.logs("a"));
    let mut words = vec![PROBE, "--name=a"];
    words.extend(options);
    words.extend(["--", "sleep"]);
    let second = rkt.start(&words);
    let entered = second.enter(None, &["/rkt-probe", "report", "--json", "--no-attacks"]);
    (of_app, report(&entered.out))
}

#[test]
fn enter_has_what_the_app_has_and_nothing_more() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    for options in [
        &[][..],
        &["--user=1000", "--group=1000"],
        &["--caps-retain=CAP_CHOWN"],
        &["--no-new-privs=false"],
        &["--caps-retain=all"],
    ] {
        let (app, entered) = both(&rkt, options);
        for key in SAME {
            let (a, b) = (&app[key], &entered[key]);
            // Two pods: their ids and namespaces differ in number, not in kind.
            let same = match *key {
                "uid_map" | "gid_map" => a[0][0] == b[0][0] && a[0][2] == b[0][2],
                "namespaces" => a.as_object().map(|o| o.len()) == b.as_object().map(|o| o.len()),
                "hostname" => true,
                _ => a == b,
            };
            assert!(
                same,
                "{options:?}: `{key}` differs: the app has {a}, enter has {b}"
            );
        }
    }
}

#[test]
fn an_entered_process_is_in_the_apps_namespaces_and_cgroups_as_the_host_sees_it() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let pod = rkt.start(&[
        PROBE, "--name=a", "--", "sleep", "---", PROBE, "--name=b", "--", "sleep",
    ]);
    let app = pod.app("a");
    let mut command = rkt.command(&["enter", "--app=a", &pod.uuid, "/rkt-probe", "sleep", "30"]);
    let mut child = command.spawn().unwrap();
    let mut entered: Option<Process> = None;
    rkt_tests::wait_for("the entered process", 10, || {
        entered = pod
            .app_processes("a")
            .into_iter()
            .find(|p| p.pid != app.pid && p.proc("cmdline").contains("sleep\x0030"));
        entered.is_some()
    });
    let entered = entered.unwrap();
    is_walled(&entered, DEFAULT);
    for name in ["user", "mnt", "pid", "net", "ipc", "uts", "cgroup"] {
        assert_eq!(entered.namespace(name), app.namespace(name), "{name}");
    }
    assert_eq!(entered.cgroups, app.cgroups);
    assert_eq!(entered.uid_map, app.uid_map);
    assert_eq!(entered.all_capabilities(), app.all_capabilities());
    for limit in [
        "Max open files",
        "Max core file size",
        "Max processes",
        "Max locked memory",
    ] {
        assert_eq!(entered.limit(limit), app.limit(limit), "{limit}");
    }
    assert_eq!(entered.field("Umask"), app.field("Umask"));
    assert_eq!(entered.proc("oom_score_adj"), app.proc("oom_score_adj"));
    assert_eq!(
        entered.field("Seccomp_filters"),
        app.field("Seccomp_filters")
    );
    pod.kill().ok();
    let status = rkt_tests::command::wait(&mut child, std::time::Duration::from_secs(10));
    assert_eq!(status.map(rkt_tests::command::shell_status), Some(137));
}

#[test]
fn an_entered_process_sees_and_reaches_its_own_app_only() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let pod = rkt.start(&[
        PROBE, "--name=a", "--", "sleep", "---", PROBE, "--name=b", "--", "sleep",
    ]);
    let facts = report(
        &pod.enter(
            Some("a"),
            &["/rkt-probe", "report", "--json", "--no-attacks"],
        )
        .out,
    );
    let names: Vec<&Value> = facts["processes"].as_array().unwrap().iter().collect();
    assert_eq!(names.len(), 2, "itself and the app: {names:?}");
    let app = pod.app("a").inner_pid();
    let own_root = format!("/proc/{app}/root/rkt-probe");
    // Landlock domains are shared by fork only; this is what the launcher is for.
    pod.enter(
        Some("a"),
        &["/rkt-probe", "write", &format!("/proc/{app}/root/x"), "x"],
    )
    .ok();
    let done = pod.enter(
        Some("a"),
        &["/rkt-probe", "list", &format!("/proc/{app}/fd")],
    );
    assert!(done.ok().contains('0'), "{own_root}");
}

#[test]
fn the_programs_of_rkt_cannot_be_reached_from_a_pod() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    // CVE-2019-5736: an entrypoint that is the engine itself.
    let pod = rkt.start(&[PROBE, "--name=a", "--", "sleep"]);
    let before = pod.supervisor();
    let program = std::fs::read(format!("/proc/{before}/exe")).unwrap();
    for _ in 0..20 {
        let done = pod.enter(None, &["/proc/self/exe", "exit", "0"]);
        assert!(done.status != 0, "{done}");
    }
    for process in pod.processes().iter().filter(|p| p.inner_pid() != 1) {
        let exe = std::fs::read_link(format!("/proc/{}/exe", process.pid)).unwrap();
        assert!(exe.ends_with("rkt-probe"), "{exe:?}");
    }
    assert_eq!(
        std::fs::read(format!("/proc/{before}/exe")).unwrap(),
        program
    );
}

#[test]
fn a_user_by_name_is_one_of_the_apps_files_as_they_are_now() {
    let Some(rkt) = Rkt::needs(images::TOOLS) else {
        return;
    };
    let image = images::BUSYBOX.oci();
    let script = "echo late:x:4242:4343::/:/bin/sh >> /etc/passwd
        echo more:x:4444:late >> /etc/group; touch /ready; sleep 1000";
    let pod = rkt.start(&[&image, "--name=a", "--exec=/bin/sh", "--", "-c", script]);
    let enter = |user: &str, words: &[&str]| {
        let mut all = vec!["enter", user, pod.uuid.as_str()];
        all.extend(words);
        rkt.rkt(&all)
    };
    let sh = |script: &str| enter("--user=0", &["/bin/sh", "-c", script]);
    sh("while [ ! -e /ready ]; do usleep 1000; done").ok();
    let ids = enter("--user=late", &["/bin/id"]).ok();
    assert!(
        ids.starts_with("uid=4242") && ids.contains("gid=4343") && ids.contains("4444"),
        "{ids}"
    );
    // What only the host has is not the app's, also not by a link.
    fs::write(rkt.file("passwd"), "host:x:1:1::/:/bin/sh\n").unwrap();
    let outside = rkt.file("passwd");
    sh(&format!(
        "rm /etc/passwd; ln -s ../../../..{} /etc/passwd",
        outside.display()
    ))
    .ok();
    enter("--user=host", &["/bin/true"])
        .ends_with(254)
        .is_one_clear_error()
        .says("host");
    // Nothing is waited for, no device opened, nothing endless read; numbers go on working.
    for (make, says) in [
        ("mkfifo /etc/passwd", "no regular file"),
        ("mkdir /etc/passwd", "no regular file"),
        ("ln -s /dev/zero /etc/passwd", "no regular file"),
        ("truncate -s 2000000 /etc/passwd", "longer than 1 MiB"),
    ] {
        sh(&format!("rm -rf /etc/passwd; {make}")).ok();
        let done = enter("--user=late", &["/bin/true"]);
        done.ends_with(125).is_one_clear_error().says(says);
        enter("--user=4242", &["/bin/true"]).ok();
    }
}
