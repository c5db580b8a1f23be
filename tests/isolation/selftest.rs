//! `rkt selftest`: attacks from inside a pod that is made for it, on every binary that is released.

use rkt_tests::command::Done;
use rkt_tests::{Need, Rkt, host};
use serde_json::Value;
use std::process::{Child, Stdio};

/// Attacks of the table that need no stage: fewer would mean that some were lost.
const LEAST: u64 = 150;

fn of(done: &Done) -> Value {
    serde_json::from_str(&done.out).unwrap_or_else(|e| panic!("{e}\n{done}"))
}

fn attacks(value: &Value) -> Vec<&Value> {
    let apps = value["apps"].as_array().unwrap().iter();
    apps.flat_map(|a| a["attacks"].as_array().unwrap())
        .collect()
}

fn outcome<'a>(value: &'a Value, id: &str) -> &'a Value {
    let all = attacks(value);
    all.into_iter().find(|a| a["id"] == id).unwrap()
}

#[track_caller]
fn nothing_is_left(rkt: &Rkt) {
    assert_eq!(rkt.pod_dirs(), Vec::<std::path::PathBuf>::new());
    let left = |dir: &std::path::Path| {
        let names = std::fs::read_dir(dir).into_iter().flatten().flatten();
        names
            .map(|e| e.file_name().to_string_lossy().into_owned())
            .filter(|n| n.contains("selftest"))
            .collect::<Vec<_>>()
    };
    assert_eq!(left(&rkt.run_dir()), Vec::<String>::new());
}

#[test]
fn every_attack_is_refused_and_nothing_is_left() {
    let Some(rkt) = Rkt::needs(&[Need::Landlock]) else {
        return;
    };
    let done = rkt.rkt(&["selftest"]);
    assert_eq!(done.status, 0, "{done}");
    let line = |words: &str| done.out.lines().any(|l| l.contains(words));
    assert!(
        line("remount the volume read-write") && line("mount locks"),
        "{done}"
    );
    assert!(line(" 0 worked") && !line("WORKED"), "{done}");
    nothing_is_left(&rkt);
    let done = rkt.rkt(&["selftest", "--format=json"]);
    let value = of(&done);
    assert_eq!(
        (done.status, value["verdict"].as_str()),
        (0, Some("ok")),
        "{done}"
    );
    assert!(value["attacks"].as_u64() >= Some(LEAST), "{value:#}");
    assert_eq!(
        (&value["worked"], &value["unclear"]),
        (&0.into(), &0.into())
    );
    for attack in attacks(&value) {
        let held = attack["held_by"].as_array().unwrap();
        assert!(!held.is_empty(), "nothing holds {attack:#}");
    }
    nothing_is_left(&rkt);
}

#[test]
fn an_attack_that_works_is_told_of_also_when_the_host_alone_sees_it() {
    let Some(rkt) = Rkt::needs(&[Need::Landlock]) else {
        return;
    };
    let weak = "--weaken=caps,seccomp,landlock,locks";
    let done = rkt.rkt(&["selftest", weak, "--format=json"]);
    assert_eq!(done.status, 1, "{done}");
    let value = of(&done);
    assert_eq!(value["verdict"], "broken");
    let remount = outcome(&value, "B01.1");
    assert_eq!(remount["result"], "worked", "{remount:#}");
    let seen = remount["host"].to_string();
    assert!(seen.contains("volume was written to"), "{remount:#}");
    let holes = remount["holes"].as_array().unwrap();
    assert!(
        holes.iter().any(|h| h["name"] == "mount locks"),
        "{remount:#}"
    );
    assert!(!value["drift"].as_array().unwrap().is_empty());
    nothing_is_left(&rkt);
}

#[test]
fn a_pods_own_walls_are_attacked_and_the_pod_is_not() {
    let Some(rkt) = Rkt::needs(&[Need::Landlock]) else {
        return;
    };
    let data = rkt.open_dir("data");
    std::fs::write(data.join("file"), "kept\n").unwrap();
    let volume = format!("--volume=data,kind=host,source={}", data.display());
    let pod = rkt.start(&[
        &volume,
        "builtin:probe",
        "--name=web",
        "--mount=volume=data,target=/data",
        "--user=1000",
        "--",
        "sleep",
        "---",
        "builtin:probe",
        "--name=db",
        "--unmask=/proc/kallsyms",
        "--caps-retain=CAP_SYS_ADMIN",
        "--",
        "sleep",
    ]);
    let before: Vec<i32> = pod.processes().iter().map(|p| p.pid).collect();
    let done = rkt.rkt(&["selftest", "--in", &pod.uuid, "--format=json"]);
    let value = of(&done);
    assert_eq!(value["in"], pod.uuid.as_str());
    let apps: Vec<_> = value["apps"].as_array().unwrap().iter().collect();
    assert_eq!(
        (apps[0]["app"].as_str(), apps[1]["app"].as_str()),
        (Some("web"), Some("db"))
    );
    // What was opened is open, and said to be so; nothing else is.
    let worked: Vec<_> = attacks(&value)
        .into_iter()
        .filter(|a| a["result"] == "worked")
        .collect();
    let ids: Vec<_> = worked.iter().filter_map(|a| a["id"].as_str()).collect();
    assert_eq!(
        (done.status, ids.as_slice()),
        (1, ["K11.1"].as_slice()),
        "{worked:#?}"
    );
    let why = worked[0]["holes"].to_string();
    assert!(
        why.contains("/proc/kallsyms") && why.contains("--unmask"),
        "{why}"
    );
    let own = attacks(&value)
        .into_iter()
        .filter(|a| a["result"] == "own")
        .count();
    assert!(own > 0, "CAP_SYS_ADMIN was not granted in the copy");
    // The pod and its volume are as they were.
    let after: Vec<i32> = pod.processes().iter().map(|p| p.pid).collect();
    assert_eq!(before, after);
    let names: Vec<_> = std::fs::read_dir(&data).unwrap().flatten().collect();
    assert_eq!(names.len(), 1, "{names:?}");
    assert_eq!(
        std::fs::read_to_string(data.join("file")).unwrap(),
        "kept\n"
    );
    rkt.rkt(&["audit", &pod.uuid]).ok();
    pod.kill().ok();
    let done = rkt.rkt(&["selftest", "--in", "no-such-pod"]);
    assert_eq!(done.status, 254, "{done}");
}

#[test]
fn the_binary_without_means_of_tests_attacks_as_well() {
    let Some(_) = Rkt::needs(&[Need::Landlock, Need::Plain]) else {
        return;
    };
    let rkt = Rkt::with(rkt_tests::need::plain().unwrap());
    let done = rkt.rkt(&["selftest", "--format=json"]);
    let value = of(&done);
    assert_eq!((done.status, &value["worked"]), (0, &0.into()), "{done}");
    assert!(value["attacks"].as_u64() >= Some(LEAST), "{value:#}");
    nothing_is_left(&rkt);
}

/// A self-test whose pod is there.
fn attacking(rkt: &Rkt) -> Child {
    let mut command = rkt.command(&["selftest"]);
    let quiet = command.stdout(Stdio::null()).stderr(Stdio::null());
    let child = quiet.spawn().unwrap();
    rkt_tests::wait_for("the pod of the self-test", 60, || {
        rkt.pod_dirs().iter().any(|d| d.join("apps").exists())
    });
    child
}

#[test]
fn one_that_is_interrupted_leaves_no_pod() {
    let Some(rkt) = Rkt::needs(&[Need::Landlock]) else {
        return;
    };
    let mut child = attacking(&rkt);
    host::signal(child.id().try_into().unwrap(), rustix::process::Signal::INT);
    let status = child.wait().unwrap();
    assert!(!status.success(), "{status}");
    rkt_tests::wait_for("the end of its pod", 20, || rkt.pod_dirs().is_empty());
    nothing_is_left(&rkt);
}

/// Killed without a chance to say a word: the pod is tied to it all the same.
#[test]
fn one_that_is_killed_takes_its_pod_along_and_gc_the_rest() {
    let Some(rkt) = Rkt::needs(&[Need::Landlock]) else {
        return;
    };
    let mut child = attacking(&rkt);
    let names = std::fs::read_dir(rkt.run_dir()).unwrap().flatten();
    let scene = names
        .map(|e| e.file_name().into_string().unwrap())
        .find(|n| n.contains("selftest"))
        .unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    rkt_tests::wait_for("the end of its pod", 20, || rkt.pod_dirs().is_empty());
    rkt_tests::wait_for("the end of its processes", 20, || {
        rkt.processes().is_empty()
    });
    rkt.gc().ok();
    nothing_is_left(&rkt);
    for (root, _) in host::cgroup_roots() {
        assert!(!root.join(&scene).exists(), "{}", root.display());
    }
}
