//! `rkt app restart`: one app again, in the walls that stand, while the others go on.

use rkt_tests::{Pod, Rkt, wait_for};

const PROBE: &str = "builtin:probe";

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
        "--",
        "sleep",
    ])
}

fn app<'a>(status: &'a serde_json::Value, name: &str) -> &'a serde_json::Value {
    let mut apps = status["apps"].as_array().unwrap().iter();
    apps.find(|a| a["name"] == name).unwrap()
}

#[test]
fn one_app_starts_again_and_the_other_does_not_notice() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let pod = two(&rkt);
    let (red, blue, init) = (pod.app("red"), pod.app("blue"), pod.init());
    pod.enter(
        Some("red"),
        &["/rkt-probe", "write", "/kept", "by the first"],
    )
    .ok();
    let said = rkt
        .rkt(&["app", "restart", &pod.uuid, "--app=red", "--force"])
        .ok();
    assert_eq!(said, "\"red\"\n");
    let again = pod.app("red");
    assert_ne!(again.pid, red.pid);
    assert_eq!((pod.app("blue").pid, pod.init().pid), (blue.pid, init.pid));
    for name in ["user", "mnt", "pid", "net", "ipc", "uts", "cgroup"] {
        assert_eq!(again.namespace(name), red.namespace(name), "{name}");
    }
    // What it wrote is still there, and logs go on.
    let kept = pod.enter(Some("red"), &["/rkt-probe", "cat", "/kept"]).ok();
    assert!(kept.contains("by the first"), "{kept}");
    let status = pod.status();
    assert_eq!(app(&status, "red")["restarts"], 1, "{status}");
    assert_eq!(app(&status, "red")["state"], "running", "{status}");
    assert_eq!(app(&status, "blue")["restarts"], serde_json::Value::Null);
    // Its end is not taken for a failure of the pod.
    assert_eq!(pod.state(), "running");
    // docker's word for it, and every app at once.
    let said = rkt
        .rkt(&["restart", &pod.uuid, "--force", "--format=json"])
        .ok();
    assert_eq!(said.lines().count(), 2, "{said}");
    assert_eq!(app(&pod.status(), "red")["restarts"], 2);
    assert_ne!(pod.app("blue").pid, blue.pid);
    pod.stop().ok();
    rkt.rkt(&["rm", &pod.uuid]).ok();
    rkt.leaves_nothing();
}

#[test]
fn a_restart_asks_first_and_ends_what_the_app_left_behind() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    // It ends by its stop signal with a status that would end the pod otherwise.
    let pod = two(&rkt);
    let first = pod.app("red").pid;
    std::thread::scope(|scope| {
        let entered = scope.spawn(|| pod.enter(Some("red"), &["/rkt-probe", "sleep"]));
        wait_for("the entered process", 10, || {
            pod.app_processes("red").len() == 2
        });
        rkt.rkt(&["app", "restart", &pod.uuid, "--app=red"]).ok();
        entered.join().unwrap().ends_with(137);
    });
    assert_eq!(pod.app_processes("red").len(), 1, "only the new one");
    assert_ne!(pod.app("red").pid, first);
    assert_eq!(pod.state(), "running");
}

#[test]
fn an_app_that_has_ended_is_just_started() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let pod = rkt.start(&[
        PROBE,
        "--name=once",
        "--",
        "exit",
        "0",
        "---",
        PROBE,
        "--name=stay",
        "--",
        "sleep",
    ]);
    let ended = || app(&pod.status(), "once")["exit_code"] == 0;
    wait_for("the end of app once", 10, ended);
    rkt.rkt(&["app", "restart", &pod.uuid, "--app=once"]).ok();
    wait_for("its second end", 10, || {
        let status = pod.status();
        app(&status, "once")["exit_code"] == 0 && app(&status, "once")["restarts"] == 1
    });
    assert_eq!(pod.state(), "running");
}

#[test]
fn a_restart_that_cannot_be_is_refused_with_the_reason() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let pod = two(&rkt);
    let wrong = rkt.rkt(&["app", "restart", &pod.uuid, "--app=green"]);
    wrong.is_one_clear_error().says("green").says("red, blue");
    let wrong = rkt.rkt(&["app", "restart"]).ends_with(254);
    wrong.is_one_clear_error();
    let wrong = rkt.rkt(&["app", "restart", "nosuch"]).ends_with(254);
    wrong.is_one_clear_error();
    pod.stop().ok();
    let wrong = rkt.rkt(&["app", "restart", &pod.uuid]).ends_with(254);
    wrong.is_one_clear_error().says("not running");
}

#[test]
fn a_program_that_has_gone_ends_the_pod_and_says_so() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let dir = rkt.open_dir("programs");
    std::fs::copy(
        rkt_tests::need::binary()
            .unwrap()
            .with_file_name("rkt-probe"),
        dir.join("nap"),
    )
    .unwrap();
    let volume = format!("--volume={}:/programs", dir.display());
    let pod = rkt.start(&[
        PROBE,
        "--name=red",
        &volume,
        "--exec=/programs/nap",
        "--",
        "sleep",
        "---",
        PROBE,
        "--name=blue",
        "--",
        "sleep",
    ]);
    std::fs::remove_file(dir.join("nap")).unwrap();
    let wrong = rkt
        .rkt(&["app", "restart", &pod.uuid, "--app=red", "--force"])
        .ends_with(127);
    wrong.is_one_clear_error().says("/programs/nap");
    wait_for("the end of the pod", 20, || pod.state() == "exited");
    assert_eq!(app(&pod.status(), "red")["exit_code"], 127);
}
