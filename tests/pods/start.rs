//! `rkt run`: words in, a program with the right surroundings out.

use rkt_tests::{Need, Rkt};
use std::fs;

const PROBE: &str = "builtin:probe";

#[test]
fn a_pod_runs_and_ends_with_the_apps_exit_status() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    rkt.run(&[PROBE, "--", "exit", "0"]).ok();
    rkt.run(&[PROBE, "--", "exit", "7"]).ends_with(7);
    rkt.run(&[PROBE, "--", "signal", "9"]).ends_with(128 + 9);
    rkt.run(&[PROBE, "--", "signal", "11"]).ends_with(128 + 11);
    rkt.leaves_nothing();
}

#[test]
fn stdout_and_stderr_stay_apart_and_whole() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let done = rkt
        .run(&[PROBE, "--", "write-output", "1000000"])
        .ends_with(0);
    assert_eq!(done.out.len(), 1_000_000);
    let done = rkt.run(&[PROBE, "--", "cat", "/nowhere"]).ends_with(1);
    assert!(done.out.is_empty());
    done.says("/nowhere: ENOENT");
}

#[test]
fn stdin_reaches_an_interactive_app_and_nobody_else() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let words = [
        "run",
        "--rm",
        "--quiet",
        "--net=none",
        "-i",
        PROBE,
        "--",
        "cat",
        "-",
    ];
    let done = rkt.rkt_with(&words, b"one\ntwo\n");
    assert_eq!(done.ok(), "one\ntwo\n");
    let words = [
        "run",
        "--rm",
        "--quiet",
        "--net=none",
        PROBE,
        "--",
        "cat",
        "-",
    ];
    assert_eq!(rkt.rkt_with(&words, b"one\n").ok(), "");
}

#[test]
fn the_environment_is_made_from_scratch() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let file = rkt.file("env");
    fs::write(
        &file,
        "# a comment\nFROM_FILE=three words here\nBOTH=file\n",
    )
    .unwrap();
    let from_file = format!("--set-env-file={}", file.display());
    let mut command = rkt.command(&[
        "run",
        "--rm",
        "--quiet",
        "--net=none",
        "-e",
        "A=1",
        "--set-env=BOTH=flag",
        &from_file,
        PROBE,
        "--environment=B=two words",
        "--",
        "env",
    ]);
    command.env("SECRET_OF_THE_CALLER", "x");
    let out = rkt_tests::command::run(command, None).ok();
    let has = |line: &str| out.lines().any(|l| l == line);
    assert!(
        has("A=1") && has("B=two words") && has("FROM_FILE=three words here"),
        "{out}"
    );
    assert!(has("BOTH=flag"), "--set-env is stronger than a file: {out}");
    assert!(has("AC_APP_NAME=probe"), "{out}");
    assert!(out.contains("PATH="), "{out}");
    assert!(!out.contains("SECRET_OF_THE_CALLER"), "{out}");
}

#[test]
fn user_group_directory_and_program_can_be_chosen() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let facts = |words: &[&str]| {
        let mut all = words.to_vec();
        all.extend([PROBE, "--", "report", "--json", "--no-attacks"]);
        rkt.run(&all).json()
    };
    let plain = facts(&[]);
    assert_eq!((&plain["uid"], &plain["cwd"]), (&0.into(), &"/".into()));
    assert_eq!(plain["groups"].as_array().unwrap().len(), 0, "{plain}");
    let other = facts(&[
        "--user=1000",
        "--group=1001",
        "--supplementary-gids=7,8",
        "--working-dir=/work/here",
    ]);
    assert_eq!((&other["uid"], &other["gid"]), (&1000.into(), &1001.into()));
    assert_eq!(other["groups"], serde_json::json!([7, 8]));
    assert_eq!(
        other["cwd"], "/work/here",
        "a missing working directory is made"
    );
    let pair = facts(&["--user=33:44"]);
    assert_eq!((&pair["uid"], &pair["gid"]), (&33.into(), &44.into()));
    let exec = rkt.run(&["--exec=/rkt-probe", PROBE, "--", "exit", "5"]);
    exec.ends_with(5);
}

#[test]
fn the_host_name_is_the_pods_own() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let name = |words: &[&str]| {
        let mut all = words.to_vec();
        all.extend([PROBE, "--", "report", "--json", "--no-attacks"]);
        rkt.run(&all).json()["hostname"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    assert_eq!(name(&["--hostname=web-1.example"]), "web-1.example");
    let own = name(&[]);
    assert!(own.starts_with("rkt-"), "{own}");
}

#[test]
fn a_pod_without_a_network_has_loopback_only() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let list = |net: &str| {
        let words = [
            "run",
            "--rm",
            "--quiet",
            net,
            PROBE,
            "--",
            "list",
            "/sys/class/net",
        ];
        rkt.rkt(&words).ok()
    };
    assert_eq!(list("--net=none"), "lo\n");
    let devices = fs::read_to_string("/proc/self/net/dev").unwrap();
    let host: usize = devices.lines().filter(|l| l.contains(':')).count();
    assert_eq!(list("--net=host").lines().count(), host);
}

#[test]
fn several_apps_each_have_their_own_words() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let pod = rkt.start(&[
        PROBE,
        "--name=red",
        "--environment=COLOUR=red",
        "--",
        "env",
        "---",
        PROBE,
        "--name=blue",
        "--environment=COLOUR=blue",
        "--user=5",
        "--",
        "report",
        "--json",
        "--no-attacks",
    ]);
    pod.wait_for_end();
    assert!(pod.logs("red").contains("COLOUR=red"));
    assert!(pod.logs("blue").contains("\"uid\":5"));
    assert!(!pod.logs("blue").contains("COLOUR=red"));
}

#[test]
fn the_first_app_that_fails_gives_the_pods_exit_status() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let two = |first: &[&str], second: &[&str]| {
        let mut words = vec![PROBE, "--name=a", "--"];
        words.extend(first);
        words.extend(["---", PROBE, "--name=b", "--"]);
        words.extend(second);
        rkt.run(&words).status
    };
    assert_eq!(two(&["exit", "0"], &["exit", "0"]), 0);
    assert_eq!(two(&["exit", "3"], &["sleep", "0.3"]), 3);
    assert_eq!(two(&["exit", "0"], &["exit", "4"]), 4);
}

#[test]
fn explain_prints_the_plan_runs_nothing_and_needs_no_root() {
    let Some(rkt) = Rkt::needs(&[Need::Tool("setpriv")]) else {
        return;
    };
    let mut command = rkt.inside("setpriv");
    command.args([
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
        "--inh-caps=-all",
    ]);
    let dir = rkt.open_dir("nobody");
    // Root's binary may lie where others cannot reach it; a copy is the same program.
    let copy = rkt.file("rkt");
    fs::copy(rkt_tests::need::binary().unwrap(), &copy).unwrap();
    command.arg(&copy).arg(format!("--dir={}", dir.display()));
    command.args([
        "run",
        "--explain",
        "--net=none",
        "--memory=64Mi",
        PROBE,
        "--name=red",
        "--",
        "exit",
        "9",
    ]);
    let done = rkt_tests::command::run(command, None).ends_with(0);
    for word in ["red", "exit", "64", "SETUID", "seccomp", "Landlock"] {
        assert!(
            done.out.to_lowercase().contains(&word.to_lowercase()),
            "`{word}` is missing\n{done}"
        );
    }
    assert!(rkt.pod_dirs().is_empty());
}

#[test]
fn a_pod_tells_systemd_when_it_is_ready() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let path = rkt.file("notify");
    let socket = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    socket
        .set_read_timeout(Some(std::time::Duration::from_secs(20)))
        .unwrap();
    let mut command = rkt.command(&[
        "run",
        "--rm",
        "--quiet",
        "--net=none",
        PROBE,
        "--",
        "sleep",
        "1",
    ]);
    command.env("NOTIFY_SOCKET", &path);
    let runner = std::thread::spawn(move || rkt_tests::command::run(command, None).ok());
    let mut buffer = [0; 4096];
    let n = socket.recv(&mut buffer).unwrap();
    let text = String::from_utf8_lossy(&buffer[..n]).into_owned();
    assert!(text.lines().any(|l| l == "READY=1"), "{text}");
    runner.join().unwrap();
}

#[test]
fn old_spellings_are_understood() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let words = [
        "--debug=false",
        "--insecure-skip-verify",
        "--net=none",
        "run",
        "--rm",
        PROBE,
        "--",
        "exit",
        "3",
    ];
    let done = rkt.rkt(&words).ends_with(3);
    done.says("--insecure-options=image");
}
