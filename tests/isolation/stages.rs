//! Attacks of the probe's table that need a stage: a caller that leaks, a friend outside, a
//! terminal, a socket. The controls are mostly the same attack made on the host, outside a pod.

use rkt_tests::attack::{Told, Verdict, Way, probe, record, record_absent};
use rkt_tests::host::{self, Canary};
use rkt_tests::{Need, Rkt, command};
use std::fs;
use std::path::Path;
use std::process::Command;

const PROBE: &str = "builtin:probe";

/// `rkt run` of `attack-each`, with words for the pod, the app and the probe.
fn words<'a>(pod: &[&'a str], app: &[&'a str], probe: &[&'a str]) -> Vec<&'a str> {
    let mut all = pod.to_vec();
    all.push(PROBE);
    all.extend(app);
    all.extend(["--", "attack-each"]);
    all.extend(probe);
    all
}

/// A plain pod, and one with every capability granted.
const WAYS: [(Way, &[&str]); 2] = [(Way::Walled, &[]), (Way::Harder, &["--caps-retain=all"])];

/// Attacks in a plain pod, and in one with every capability granted: all must be refused.
#[track_caller]
fn refused(rkt: &Rkt, pod: &[&str], probe: &[&str]) {
    for (way, app) in WAYS {
        let done = rkt.run(&words(pod, app, probe));
        let told = Told::each(&done.out);
        assert!(!told.is_empty(), "{done}");
        for one in told {
            record(one.id(), way, one.verdict);
            assert_eq!(one.verdict, Verdict::Refused, "{:#}", one.value);
        }
    }
}

/// Records positive controls: each must have worked, where the kernel has such a thing.
#[track_caller]
fn works(text: &str, count: usize) {
    let told = Told::each(text);
    assert_eq!(told.len(), count, "{text}");
    for one in told {
        if one.is_absent() {
            record_absent(one.id());
            continue;
        }
        record(one.id(), Way::Control, one.verdict);
        one.succeeds();
    }
}

/// The probe on the host, behind the words of another program.
fn on_host(before: &[&str], after: &[&str]) -> String {
    let probe = probe();
    let mut command = match before {
        [] => Command::new(&probe),
        [program, words @ ..] => {
            let mut command = Command::new(program);
            command.args(words).arg(&probe);
            command
        }
    };
    command.arg("attack-each").args(after);
    command::run(command, None).out
}

#[test]
fn ids_and_groups_of_the_caller_are_no_way_in() {
    let Some(rkt) = Rkt::needs(&[Need::Tool("setpriv"), Need::Tool("unshare")]) else {
        return;
    };
    refused(&rkt, &[], &["A05.1", "A09", "K05.18", "L03.1"]);
    let raise = ["--inh-caps=+chown", "--ambient-caps=+chown"];
    let raised = on_host(&["setpriv", raise[0], raise[1]], &["A05.1"]);
    works(&raised, 1);
    // A plain user's namespace that nobody has mapped yet; its program must be one it may reach.
    let program = rkt.file("probe");
    fs::copy(probe(), &program).unwrap();
    for id in ["A09.1", "A09.2", "A09.3"] {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=1000", "--regid=1000", "--clear-groups"]);
        command
            .args(["unshare", "--user", "--keep-caps"])
            .arg(&program);
        command.args(["attack-each", id]);
        works(&command::run(command, None).out, 1);
    }
    works(&on_host(&[], &["K05.18"]), 1);
    works(&on_host(&[], &["L03.1"]), 1);
    for (way, app) in WAYS {
        let app = [&["--user=1000"][..], app].concat();
        let pod = ["run", "--rm", "--quiet", "--net=none"];
        let inner = rkt.command(&words(&pod, &app, &["A10"]));
        let mut command = rkt.inside("setpriv");
        command.arg("--groups=4,27,1000");
        command.arg(inner.get_program()).args(inner.get_args());
        let told = Told::each(&command::run(command, None).out);
        record("A10.1", way, told[0].verdict);
        told[0].is_refused();
    }
    works(&on_host(&["setpriv", "--groups=4,27"], &["A10"]), 1);
}

#[test]
fn what_may_be_read_of_a_volume_is_not_to_be_written() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let dir = rkt.open_dir("volume");
    fs::write(dir.join("canary"), "sings\n").unwrap();
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o666);
    fs::set_permissions(dir.join("canary"), open).unwrap();
    std::os::unix::fs::chown(dir.join("canary"), Some(4321), Some(4321)).unwrap();
    let fine = || {
        fs::read_dir(&dir).unwrap().count() == 1
            && fs::read_to_string(dir.join("canary")).unwrap() == "sings\n"
    };
    let flag = format!("-v{}:/probe-volume", dir.display());
    refused(&rkt, &[&format!("{flag}:ro")], &["B05"]);
    assert!(fine());
    works(&rkt.run(&words(&[&flag], &[], &["B05"])).out, 4);
    assert!(!fine(), "the host sees nothing of it");
}

#[test]
fn a_node_in_a_volume_is_no_device() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let dir = rkt.open_dir("volume");
    let node = dir.join("node");
    let mode = rustix::fs::Mode::from_raw_mode(0o666);
    let kind = rustix::fs::FileType::CharacterDevice;
    let null = rustix::fs::makedev(1, 3);
    rustix::fs::mknodat(rustix::fs::CWD, &node, kind, mode, null).unwrap();
    std::os::unix::fs::chown(&node, Some(4321), Some(4321)).unwrap();
    let flag = format!("-v{}:/probe-volume", dir.display());
    refused(&rkt, &[&flag], &["B17.3", "--file=/probe-volume/node"]);
    let here = format!("--file={}", node.display());
    works(&on_host(&[], &["B17.3", &here]), 1);
}

#[test]
fn the_hosts_cgroups_are_neither_seen_nor_killed() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let mut canary = Canary::start(&rkt.file(""));
    let option = format!("--canary={}", canary.cgroup);
    refused(&rkt, &[], &["C06", "C14", &option]);
    assert!(canary.is_alive() && !canary.is_dead());
    let group = host::v2_root().join(&canary.cgroup);
    let join = format!("echo $$ > {}/cgroup.procs; exec \"$@\"", group.display());
    works(&on_host(&["sh", "-c", &join, "join"], &["C06"]), 1);
    if !group.join("cgroup.kill").exists() {
        return record_absent("C14.1");
    }
    works(&on_host(&["unshare", "--mount"], &["C14", &option]), 1);
    rkt_tests::wait_for("the end of the canary", 5, || canary.is_dead());
}

/// The comment of 2015-03-11: a directory of the host, passed through a socket in a volume.
#[test]
fn a_directory_passed_from_outside_opens_nothing() {
    let Some(rkt) = Rkt::needs(&[Need::Landlock]) else {
        return;
    };
    let shared = rkt.open_dir("shared");
    let secret = rkt.open_dir("secret");
    fs::write(secret.join("readable"), "by everybody\n").unwrap();
    let socket = shared.join("friend");
    let mut friend = Command::new(probe())
        .arg("serve-fd")
        .args([&socket, &secret])
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    rkt_tests::wait_for("the friend outside", 10, || socket.exists());
    // Nobody may write to a file whose owner has no id in the app.
    std::os::unix::fs::chown(&socket, Some(4321), Some(4321)).unwrap();
    let volume = format!("-v{}:/shared", shared.display());
    let attack = ["D09", "--socket=/shared/friend", "--file=readable"];
    let left = |dir: &Path| fs::read_dir(dir).unwrap().count();
    refused(&rkt, &[&volume], &attack);
    let before = left(&secret);
    let weak = words(&[&volume, "--weaken=landlock,userns"], &[], &attack);
    let open = rkt.run(&weak).out;
    let after = left(&secret);
    let _ = friend.kill();
    let _ = friend.wait();
    assert_eq!(before, 1, "a file was made in the passed directory");
    works(&open, 5);
    assert!(after > 1, "the host sees no file that was made");
}

#[test]
fn descriptors_of_the_caller_are_not_the_apps() {
    let Some(rkt) = Rkt::needs(&[Need::Tool("bash")]) else {
        return;
    };
    let leak = "exec 5</etc 6</etc/passwd 7<>/dev/null 9> >(cat >/dev/null); exec \"$@\"";
    for (way, app) in WAYS {
        let pod = ["run", "--rm", "--quiet", "--net=none"];
        let inner = rkt.command(&words(&pod, app, &["D12"]));
        let mut leaking = Command::new("bash");
        leaking.args(["-c", leak, "leak"]);
        leaking.arg(inner.get_program()).args(inner.get_args());
        let told = Told::each(&command::run(leaking, None).out);
        assert!(!told.is_empty());
        for one in told {
            record(one.id(), way, one.verdict);
            one.is_refused();
        }
    }
    works(&on_host(&["bash", "-c", leak, "leak"], &["D12.1"]), 1);
    // A log file at stdout is what the tampering is about; each attack gets its own.
    refused(&rkt, &[], &["D13"]);
    for id in ["D12.2", "D13.1", "D13.2", "D13.3", "D13.4"] {
        let file = rkt.file(id);
        let redirect = format!("exec \"$@\" > {}", file.display());
        on_host(&["sh", "-c", &redirect, "log"], &[id]);
        works(&String::from_utf8_lossy(&fs::read(&file).unwrap()), 1);
    }
}

#[test]
fn sockets_of_rkt_and_of_the_host_are_out_of_reach() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let service = format!("--socket={}", listener.local_addr().unwrap());
    refused(&rkt, &[], &["D14", "F04", &service]);
    let mut host = vec!["run", "--rm", "--quiet", "--net=host"];
    host.extend(words(&[], &[], &["F04", &service]));
    works(&rkt.rkt(&host).out, 1);
    // A socket of the app's own is found, so that one of ours would be.
    let pod = rkt.start(&[
        "--volume=run,kind=empty,mode=1777",
        PROBE,
        "--name=a",
        "--mount=volume=run,target=/run",
        "--",
        "serve-fd",
        "/run/socket",
        "/rkt-probe",
    ]);
    pod.wait_for_log("a", "ready");
    works(
        &pod.enter(None, &["/rkt-probe", "attack-each", "D14"]).out,
        1,
    );
}

#[test]
fn terminals_take_no_input_from_an_app() {
    let Some(rkt) = Rkt::needs(&[Need::Tool("script")]) else {
        return;
    };
    let on_terminal = |more: &[&str], app: &[&str]| {
        let mut all = vec!["run", "--rm", "--quiet", "--net=none", "--tty"];
        all.extend(words(more, app, &["K08"]));
        let inner = rkt.command(&all);
        let line: Vec<String> = std::iter::once(inner.get_program())
            .chain(inner.get_args())
            .map(|w| w.to_string_lossy().into_owned())
            .collect();
        let mut script = Command::new("script");
        script.args(["-qec", &line.join(" "), "/dev/null"]);
        command::run(script, None).out
    };
    for (way, app) in WAYS {
        let told = Told::each(&on_terminal(&[], app));
        record("K08.1", way, told[0].verdict);
        told[0].is_refused();
    }
    let allowed = fs::read_to_string("/proc/sys/dev/tty/legacy_tiocsti");
    if allowed.is_ok_and(|text| text.trim() == "0") {
        return record_absent("K08.1");
    }
    works(&on_terminal(&["--weaken=seccomp"], &[]), 1);
}

#[test]
fn a_crash_leaves_no_file() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    refused(&rkt, &[], &["K10"]);
    let raise = format!(
        "cd {}; ulimit -S -c \"$(ulimit -H -c)\"; exec \"$@\"",
        rkt.file("").display()
    );
    let told = on_host(&["sh", "-c", &raise, "raise"], &["K10"]);
    let none = rkt_tests::eyes::Process::own()
        .limit("Max core file size")
        .1
        == "0";
    if none {
        return record_absent("K10.1");
    }
    works(&told, 1);
}
