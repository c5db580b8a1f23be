//! `rkt audit`: clean for pods as they are, and it names what is taken away.

use rkt_tests::{Done, Need, Pod, Rkt};
use serde_json::Value;

const PROBE: &str = "builtin:probe";

fn audit(pod: &Pod<'_>, rkt: &Rkt) -> (Done, Value) {
    let done = rkt.rkt(&["audit", &pod.uuid, "--format=json"]);
    let value = serde_json::from_str(&done.out).unwrap_or_else(|e| panic!("{e}: {done}"));
    (done, value)
}

/// `(app or init, group, field)` of everything that is not as planned.
fn drift(value: &Value) -> Vec<(String, String, String)> {
    let mut all = Vec::new();
    for process in value["processes"].as_array().unwrap() {
        let app = process["app"].as_str().unwrap_or("init").to_owned();
        for finding in process["drift"].as_array().unwrap() {
            let word = |key: &str| finding[key].as_str().unwrap().to_owned();
            all.push((app.clone(), word("group"), word("field")));
        }
    }
    all
}

#[track_caller]
fn is_clean(pod: &Pod<'_>, rkt: &Rkt, processes: usize) {
    let (done, value) = audit(pod, rkt);
    assert_eq!(drift(&value), [], "{done}");
    assert_eq!(done.status, 0, "{done}");
    let seen = value["processes"].as_array().unwrap();
    assert_eq!(seen.len(), processes, "{done}");
    let pids: Vec<i64> = seen.iter().filter_map(|p| p["pid"].as_i64()).collect();
    for process in pod.processes() {
        assert!(pids.contains(&process.pid.into()), "{process:?}: {done}");
    }
}

/// A pod of two apps with something of everything.
fn two<'a>(rkt: &'a Rkt, more: &[&str]) -> Pod<'a> {
    let dir = rkt.open_dir("volume");
    std::fs::write(dir.join("file"), "x").unwrap();
    let volume = format!("-v{}:/volume:ro", dir.display());
    let mut words = more.to_vec();
    words.extend([
        &volume,
        PROBE,
        "--name=red",
        "--",
        "trap",
        "15",
        "---",
        PROBE,
        "--name=blue",
        "--user=1000",
        "--caps-retain=CAP_CHOWN,CAP_KILL",
        "--readonly-rootfs",
        "--",
        "trap",
        "15",
    ]);
    rkt.start(&words)
}

#[test]
fn a_pod_as_it_was_planned_is_clean_also_after_enter_and_restart() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let pod = two(&rkt, &[]);
    is_clean(&pod, &rkt, 3);
    let mut entered = rkt
        .command(&["enter", "--app=red", &pod.uuid, "/rkt-probe", "sleep"])
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    rkt_tests::wait_for("an entered process", 10, || {
        let programs = pod
            .app_processes("red")
            .iter()
            .filter(|p| {
                let program = std::fs::read_link(format!("/proc/{}/exe", p.pid));
                program.is_ok_and(|p| p.ends_with("rkt-probe"))
            })
            .count();
        programs == 2
    });
    is_clean(&pod, &rkt, 4);
    rkt.rkt(&["app", "restart", &pod.uuid, "--app=blue", "--force"])
        .ok();
    is_clean(&pod, &rkt, 4);
    let table = rkt.rkt(&["audit"]).ok();
    assert!(
        table.contains("capabilities") && !table.contains("drift"),
        "{table}"
    );
    pod.kill().ok();
    entered.wait().unwrap();
    let done = rkt.rkt(&["audit", &pod.uuid]);
    assert_eq!(done.status, 254, "{done}");
    assert!(done.err.contains("does not run: exited"), "{done}");
    rkt.rkt(&["audit"]).ok();
}

#[test]
fn every_kind_of_volume_network_and_grant_is_clean() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let dir = rkt.open_dir("here");
    let volume = format!("-v{}:/data/here", dir.display());
    let pod = rkt.start(&[
        "--net=host",
        &volume,
        "--volume=new,kind=empty",
        PROBE,
        "--name=all",
        "--caps-retain=all",
        "--no-new-privs=false",
        "--mount=volume=new,target=/new",
        "--",
        "sleep",
    ]);
    is_clean(&pod, &rkt, 2);
    let pod = rkt.start(&[PROBE, "--insecure-options=seccomp", "--", "sleep"]);
    is_clean(&pod, &rkt, 2);
}

#[test]
fn what_is_taken_away_is_named() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    for (switch, wanted) in [
        ("caps", ("blue", "capabilities", "bounding")),
        ("caps", ("blue", "capabilities", "effective")),
        ("no-new-privs", ("red", "privileges", "no_new_privs")),
        ("no-new-privs", ("red", "mounts", "mount /")),
        ("seccomp", ("red", "privileges", "seccomp")),
        ("userns", ("red", "namespaces", "user")),
        ("userns", ("red", "ids", "uid_map")),
        ("disjoint-ids", ("blue", "ids", "uid_map")),
        ("disjoint-ids", ("blue", "ids", "range")),
        ("landlock", ("red", "privileges", "landlock")),
        ("masks", ("red", "mounts", "mask /proc/kallsyms")),
        ("masks", ("red", "mounts", "read-only path /proc/sys")),
        ("hidepid", ("red", "mounts", "mount /proc")),
        ("cgroup-view", ("red", "mounts", "mount /sys/fs/cgroup")),
        ("locks", ("red", "mounts", "lock /proc/sys")),
        ("locks", ("red", "mounts", "lock /volume")),
        ("pivot", ("red", "mounts", "root")),
        ("init", ("init", "capabilities", "bounding")),
        ("init", ("init", "ids", "ids")),
    ] {
        let pod = two(&rkt, &[&format!("--weaken={switch}")]);
        let mounts = pod.app("red").proc("mountinfo");
        let (done, value) = audit(&pod, &rkt);
        // What was tried was tried in a copy.
        assert_eq!(pod.app("red").proc("mountinfo"), mounts, "{switch}");
        assert_eq!(done.status, 1, "{switch}: {done}");
        let (app, group, field) = wanted;
        let wanted = (app.to_owned(), group.to_owned(), field.to_owned());
        let found = drift(&value);
        assert!(
            found.contains(&wanted),
            "{switch}: no {wanted:?} in {found:#?}"
        );
        let table = rkt.rkt(&["audit", &pod.uuid]);
        assert_eq!(table.status, 1, "{table}");
        let line = format!(": {field}: wanted ");
        assert!(table.out.contains(&line), "{switch}: {table}");
        pod.kill().ok();
    }
}

#[test]
fn what_is_changed_from_outside_is_named() {
    let Some(rkt) = Rkt::needs(&[Need::Controller("pids")]) else {
        return;
    };
    let pod = rkt.start(&[
        "--sysctl=net.core.somaxconn=77",
        PROBE,
        "--name=red",
        "--pids=50",
        "--oom-score-adj=100",
        "--",
        "sleep",
    ]);
    is_clean(&pod, &rkt, 2);
    let red = pod.app("red");
    let inside = |spaces: &[&str], line: &str| {
        let mut command = std::process::Command::new("nsenter");
        for space in spaces {
            command.arg(format!("--{space}=/proc/{}/ns/{space}", red.pid));
        }
        command.args(["--", "sh", "-c", line]);
        rkt_tests::command::run(command, None).ok();
    };
    let limit = rkt_tests::host::controller_root("pids").unwrap();
    let limit = limit
        .join(&rkt.cgroup)
        .join(&pod.uuid)
        .join("app-red/pids.max");
    let score = format!("/proc/{}/oom_score_adj", red.pid);
    type Change<'a> = (&'a dyn Fn(), &'a dyn Fn(), (&'a str, &'a str));
    let changes: [Change<'_>; 4] = [
        (
            &|| std::fs::write(&limit, "5000").unwrap(),
            &|| std::fs::write(&limit, "50").unwrap(),
            ("cgroups", "limit pids.max"),
        ),
        (
            &|| std::fs::write(&score, "50").unwrap(),
            &|| std::fs::write(&score, "100").unwrap(),
            ("limits", "oom_score_adj"),
        ),
        (
            &|| inside(&["net"], "echo 99 > /proc/sys/net/core/somaxconn"),
            &|| inside(&["net"], "echo 77 > /proc/sys/net/core/somaxconn"),
            ("namespaces", "setting net/core/somaxconn"),
        ),
        (
            &|| inside(&["user"], "echo 3 > /proc/sys/user/max_user_namespaces"),
            &|| inside(&["user"], "echo 0 > /proc/sys/user/max_user_namespaces"),
            ("namespaces", "max_user_namespaces"),
        ),
    ];
    for (change, back, (group, field)) in changes {
        change();
        let (done, value) = audit(&pod, &rkt);
        assert_eq!(done.status, 1, "{field}: {done}");
        let wanted = [("red".to_owned(), group.to_owned(), field.to_owned())];
        assert_eq!(drift(&value), wanted, "{done}");
        back();
        is_clean(&pod, &rkt, 2);
    }
    pod.kill().ok();
}

/// Pods whose plans say another filter than what was loaded: for the app, and for one instruction.
#[test]
fn a_filter_that_is_not_the_planned_one_is_named() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let pod = rkt.start(&[
        PROBE,
        "--name=red",
        "--",
        "sleep",
        "---",
        PROBE,
        "--name=blue",
        "--trace-denials",
        "--",
        "sleep",
    ]);
    is_clean(&pod, &rkt, 3);
    let (done, value) = audit(&pod, &rkt);
    assert_eq!(value["unseen"], serde_json::json!([]), "{done}");
    let wait = |app: &str| {
        let status = pod.app(app).proc("status");
        let tracer = status.lines().find(|l| l.starts_with("TracerPid:"));
        let state = status.lines().find(|l| l.starts_with("State:")).unwrap();
        assert!(tracer.unwrap().ends_with("\t0"), "{status}");
        assert!(state.contains('S'), "{status}");
    };
    for app in ["red", "blue"] {
        wait(app);
    }
    let file = pod.dir().join("plan");
    let mut plan = rkt_spec::plan::Plan::decode(&std::fs::read(&file).unwrap()).unwrap();
    // The last instruction returns a verdict; its last bytes are the errno.
    let filter = &mut plan.apps[0].walls.seccomp.0;
    let last = filter.len() - 4;
    filter[last] ^= 1;
    std::fs::write(&file, plan.encode()).unwrap();
    let (done, value) = audit(&pod, &rkt);
    assert_eq!(done.status, 1, "{done}");
    let wanted = ["red", "privileges", "seccomp filter"].map(str::to_owned);
    let [app, group, field] = wanted;
    assert_eq!(drift(&value), [(app, group, field)], "{done}");
}

#[test]
fn what_a_stop_would_change_is_not_stopped() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    // It waits in accept, which may have a timeout and returns EINTR after a stop then.
    let pod = rkt.start(&[PROBE, "--name=red", "--", "serve-fd", "/s", "/rkt-probe"]);
    let (done, value) = audit(&pod, &rkt);
    assert_eq!(done.status, 0, "{done}");
    assert_eq!(value["unseen"][0]["field"], "seccomp filter", "{done}");
    let table = rkt.rkt(&["audit", &pod.uuid]).ok();
    assert!(table.contains("seccomp filter not seen"), "{table}");
    pod.kill().ok();
}

#[test]
fn a_process_of_the_host_in_an_apps_cgroup_is_named() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let pod = two(&rkt, &[]);
    // A process of the host that joins the app's cgroup: what a wrong tool might do.
    let mut stray = std::process::Command::new("sleep")
        .arg("60")
        .spawn()
        .unwrap();
    let procs = pod.cgroup().join("app-red/cgroup.procs");
    std::fs::write(procs, stray.id().to_string()).unwrap();
    let (done, value) = audit(&pod, &rkt);
    stray.kill().unwrap();
    stray.wait().unwrap();
    assert_eq!(done.status, 1, "{done}");
    let found = drift(&value);
    for (group, field) in [
        ("namespaces", "pid"),
        ("descriptors", "cwd"),
        ("capabilities", "bounding"),
    ] {
        let wanted = ("red".to_owned(), group.to_owned(), field.to_owned());
        assert!(found.contains(&wanted), "no {wanted:?} in {found:#?}");
    }
}

#[test]
fn a_watch_tells_what_changes_until_the_pod_ends() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let pod = two(&rkt, &[]);
    let out = rkt.file("watch");
    let mut watch = rkt
        .command(&["audit", "--watch=100ms", "--format=json", &pod.uuid])
        .stdout(std::fs::File::create(&out).unwrap())
        .spawn()
        .unwrap();
    let events = || -> Vec<Value> {
        let text = std::fs::read_to_string(&out).unwrap();
        let lines = text.lines().filter_map(|l| serde_json::from_str(l).ok());
        lines.collect()
    };
    let told = |event: &str| events().iter().filter(|e| e["event"] == event).count();
    rkt_tests::wait_for("the first look", 10, || told("running") == 1);
    let mut stray = std::process::Command::new("sleep")
        .arg("60")
        .spawn()
        .unwrap();
    let procs = pod.cgroup().join("app-red/cgroup.procs");
    std::fs::write(procs, stray.id().to_string()).unwrap();
    rkt_tests::wait_for("the stray process is told of", 10, || told("drift") > 0);
    assert_eq!(told("gone"), 0, "{:#?}", events());
    let drift = events()
        .into_iter()
        .find(|e| e["event"] == "drift")
        .unwrap();
    assert_eq!(drift["pid"], stray.id(), "{drift}");
    stray.kill().unwrap();
    stray.wait().unwrap();
    rkt_tests::wait_for("it is gone", 10, || told("gone") == told("drift"));
    pod.kill().ok();
    // Ends by itself, and does not forget what it saw.
    assert_eq!(watch.wait().unwrap().code(), Some(1), "{:#?}", events());
    assert_eq!(told("ended"), 1, "{:#?}", events());
    let words = ["audit", "--watch", &pod.uuid];
    rkt.rkt(&words).ends_with(254);
    rkt.rkt(&["audit", "--watch=soon"])
        .ends_with(254)
        .says("soon");
}

#[test]
fn processes_that_come_and_go_are_no_drift() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let pod = two(&rkt, &[]);
    std::thread::scope(|scope| {
        let busy = scope.spawn(|| {
            for _ in 0..40 {
                pod.enter(Some("red"), &["/rkt-probe", "who"]).ok();
            }
        });
        while !busy.is_finished() {
            let (done, value) = audit(&pod, &rkt);
            assert_eq!(drift(&value), [], "{done}");
            assert_eq!(done.status, 0, "{done}");
        }
    });
}
