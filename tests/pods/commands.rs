//! The other verbs, for what `run` has made.

use rkt_tests::{Pod, Rkt};
use std::fs;

const PROBE: &str = "builtin:probe";

#[test]
fn a_detached_pod_is_listed_entered_stopped_and_removed() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let pod = rkt.start(&["--pod-name=web", PROBE, "--name=app", "--", "sleep"]);
    let list = rkt.rkt(&["list"]).ok();
    assert!(
        list.contains(&pod.uuid[..8]) && list.contains("app") && list.contains("running"),
        "{list}"
    );
    assert!(rkt.rkt(&["ps"]).ok().contains(&pod.uuid[..8]), "the alias");
    assert_eq!(pod.state(), "running");
    pod.enter(None, &["/rkt-probe", "exit", "6"]).ends_with(6);
    rkt.rkt(&["exec", "web", "/rkt-probe", "exit", "5"])
        .ends_with(5);
    rkt.rkt(&["rm", &pod.uuid])
        .ends_with(254)
        .is_one_clear_error();
    pod.stop().ok();
    assert_eq!(pod.state(), "exited");
    assert!(pod.processes().is_empty());
    rkt.rkt(&["rm", "web"]).ok();
    rkt.leaves_nothing();
}

#[test]
fn a_pod_is_named_by_a_unique_beginning_of_its_uuid() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let pod = rkt.start(&[PROBE, "--", "sleep"]);
    let status = rkt.rkt(&["status", &pod.uuid[..6]]).ok();
    assert!(status.contains("state=running"), "{status}");
    rkt.rkt(&["status", "ffffffffff"])
        .ends_with(254)
        .is_one_clear_error();
}

#[test]
fn lists_and_states_are_json_for_programs() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let pod = rkt.start(&[
        PROBE, "--name=a", "--", "exit", "0", "---", PROBE, "--name=b", "--", "sleep",
    ]);
    rkt_tests::wait_for("the end of app a", 10, || {
        let status = pod.status();
        let apps = status["apps"].as_array().unwrap().clone();
        apps.iter().any(|a| a["name"] == "a" && a["exit_code"] == 0)
    });
    let status = pod.status();
    assert_eq!(status["name"], pod.uuid.as_str());
    assert_eq!(status["state"], "running");
    assert_eq!(status["app_names"], serde_json::json!(["a", "b"]));
    let list = rkt.rkt(&["list", "--format=json"]).ok();
    assert!(list.contains(&pod.uuid), "{list}");
    for words in [
        &["version", "--format=json"][..],
        &["doctor", "--format=json"],
        &["image", "list", "--format=json"],
    ] {
        let text = rkt.rkt(words).ok();
        for line in text.lines() {
            serde_json::from_str::<serde_json::Value>(line)
                .unwrap_or_else(|e| panic!("{words:?}: {e}: {line}"));
        }
    }
}

#[test]
fn logs_are_kept_per_app_and_followed() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let pod = rkt.start(&[
        PROBE, "--name=a", "--", "env", "---", PROBE, "--name=b", "--", "trap", "15",
    ]);
    pod.wait_for_log("b", "ready");
    assert!(pod.logs("a").contains("AC_APP_NAME=a"));
    assert!(!pod.logs("b").contains("AC_APP_NAME"));
    let follower = {
        let command = rkt.command(&["logs", "-f", &format!("{}:b", pod.uuid)]);
        std::thread::spawn(move || rkt_tests::command::run(command, None))
    };
    std::thread::sleep(std::time::Duration::from_millis(300));
    pod.stop().ok();
    let done = follower.join().unwrap().ends_with(0);
    assert!(
        done.out.contains("ready") && done.out.contains("got 15"),
        "{done}"
    );
    let file = fs::read_to_string(pod.dir().join("logs/b.log")).unwrap();
    assert!(file.lines().all(|l| l.contains(" stdout F ")), "{file}");
}

#[test]
fn enter_takes_the_only_app_or_asks_which() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let pod = rkt.start(&[
        PROBE, "--name=a", "--", "sleep", "---", PROBE, "--name=b", "--", "sleep",
    ]);
    let done = pod.enter(None, &["/rkt-probe", "exit", "0"]).ends_with(254);
    assert!(done.err.contains('a') && done.err.contains('b'), "{done}");
    pod.enter(Some("b"), &["/rkt-probe", "exit", "4"])
        .ends_with(4);
    pod.enter(Some("c"), &["/rkt-probe", "exit", "4"])
        .ends_with(254)
        .is_one_clear_error();
    pod.enter(Some("a"), &["/nowhere"])
        .ends_with(127)
        .is_one_clear_error();
    pod.kill().ok();
    pod.enter(Some("a"), &["/rkt-probe", "exit", "4"])
        .ends_with(254)
        .is_one_clear_error();
}

#[test]
fn gc_removes_what_has_ended_and_nothing_else() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let ended = rkt.start(&[PROBE, "--", "exit", "0"]);
    let runs = rkt.start(&[PROBE, "--", "sleep"]);
    ended.wait_for_end();
    rkt.rkt(&["gc"]).ok();
    assert!(ended.dir().exists(), "within the grace period");
    rkt.gc().ok();
    let left: Vec<String> = rkt
        .pod_dirs()
        .iter()
        .map(|d| d.display().to_string())
        .collect();
    assert!(left.len() == 1 && left[0].ends_with(&runs.uuid), "{left:?}");
    assert_eq!(runs.state(), "running");
}

#[test]
fn doctor_says_what_this_host_can_give() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let done = rkt.rkt(&["doctor"]);
    for word in [
        "Landlock",
        "cgroup",
        "user namespace",
        "seccomp",
        "EROFS",
        "frozen layers",
    ] {
        assert!(
            done.out.to_lowercase().contains(&word.to_lowercase()),
            "`{word}` is missing\n{done}"
        );
    }
}

#[test]
fn version_and_help_are_there() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let version = rkt.rkt(&["version"]).ok();
    assert!(version.starts_with("rkt Version: "), "{version}");
    for words in [
        &["help"][..],
        &["--help"],
        &["help", "run"],
        &["run", "--help"],
    ] {
        assert!(rkt.rkt(words).ok().contains("rkt"), "{words:?}");
    }
}

#[test]
fn a_detached_start_answers_a_program_in_json() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let begin = ["run", "--detach", "--quiet", "--net=none"];
    let end = [PROBE, "--", "sleep"];
    let run = |more: &[&str]| rkt.rkt(&[&begin, more, &end].concat());
    for (more, name) in [
        (&["--format=json", "--pod-name=web"][..], Some("web")),
        (&["--format=json"], None),
        (
            &["--format=json-pretty", "--pod-name=pretty"],
            Some("pretty"),
        ),
    ] {
        let done = run(more);
        let pretty = more[0] == "--format=json-pretty";
        assert_eq!(done.out.lines().count() == 1, !pretty, "{done}");
        let value = done.json();
        assert_eq!(value["name"].as_str(), name, "{value}");
        assert_eq!(value.as_object().unwrap().len(), 2, "{value}");
        let pod = Pod::new(&rkt, value["uuid"].as_str().unwrap().to_owned());
        assert_eq!(pod.state(), "running");
        pod.kill().ok();
    }
    let words = [
        "run",
        "--net=none",
        "--format=json",
        PROBE,
        "--",
        "exit",
        "0",
    ];
    rkt.rkt(&words)
        .ends_with(254)
        .is_one_clear_error()
        .says("--detach");
}
