//! What an app does to volumes and to what was put into its root, as the host sees it; and what of
//! the caller's an app gets to see.

use rkt_tests::attack::{Told, Verdict, Way, record, record_held};
use rkt_tests::eyes::Process;
use rkt_tests::images::BUSYBOX;
use rkt_tests::layout::Image;
use rkt_tests::tar::Entry;
use rkt_tests::{Need, Rkt, command};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

const PROBE: &str = "builtin:probe";

/// A directory of a user, mounted on itself and shared, in this rkt's mount namespace.
fn shared(rkt: &Rkt) -> String {
    let dir = rkt.open_dir("volume");
    fs::create_dir(dir.join("sub")).unwrap();
    fs::write(dir.join("sub/below"), "below\n").unwrap();
    std::os::unix::fs::chown(dir.join("sub"), Some(4321), Some(4321)).unwrap();
    let path = dir.display().to_string();
    let script = "mount --bind \"$0\" \"$0\" && mount --make-shared \"$0\"";
    let mut mount = rkt.inside("sh");
    mount.args(["-c", script, &path]);
    command::run(mount, None).ok();
    path
}

/// Mounts below a path, as this rkt's mount namespace has them.
fn mounts(rkt: &Rkt, path: &str) -> usize {
    let mut cat = rkt.inside("cat");
    cat.arg("/proc/self/mountinfo");
    let text = command::run(cat, None).ok();
    text.lines().filter(|l| l.contains(path)).count()
}

/// B07, B08: what is mounted in an app does not come out, and what is mounted outside does not
/// come in.
#[test]
fn mounts_pass_through_no_volume_in_either_direction() {
    let Some(rkt) = Rkt::needs(&[Need::Landlock, Need::Tool("unshare")]) else {
        return;
    };
    let path = shared(&rkt);
    let volume = format!("-v{path}:/probe-volume");
    let before = mounts(&rkt, &path);
    let attack = ["attack-each", "B07.1"];
    for (way, granted) in [
        (Way::Walled, None),
        (Way::Harder, Some("--caps-retain=all")),
    ] {
        let mut words = vec![volume.as_str(), PROBE];
        words.extend(granted);
        words.push("--");
        words.extend(attack);
        let done = rkt.run(&words);
        let told = Told::each(&done.out);
        assert_eq!(told.len(), 1, "{done}");
        record("B07.1", way, told[0].verdict);
        assert_eq!(told[0].verdict, Verdict::Refused, "{:#}", told[0].value);
        assert_eq!(mounts(&rkt, &path), before, "it has come out");
    }
    // Where it may mount, in a copy of its mounts or at all, it mounts for itself only.
    for open in [
        "--weaken=seccomp,landlock",
        "--weaken=seccomp,landlock,locks",
    ] {
        let mut words = vec![volume.as_str(), open, PROBE, "--caps-retain=all", "--"];
        words.extend(attack);
        let told = Told::each(&rkt.run(&words).out);
        told[0].succeeds();
        assert_eq!(mounts(&rkt, &path), before, "it has come out");
    }
    // Somebody whose mounts are shared with the host's: that comes out.
    let script = "exec unshare --mount --propagation unchanged mount -t tmpfs none \"$0/sub\"";
    let mut other = rkt.inside("sh");
    other.args(["-c", script, &path]);
    command::run(other, None).ok();
    assert!(mounts(&rkt, &path) > before, "the positive control fails");
    record("B07.1", Way::Control, Verdict::Succeeded);
    let mut undo = rkt.inside("umount");
    undo.arg(format!("{path}/sub"));
    command::run(undo, None).ok();

    let pod = rkt.start(&[&volume, PROBE, "--name=a", "--", "sleep"]);
    let mut friend = rkt.inside("unshare");
    friend.args(["--mount", "--propagation", "slave", "cat"]);
    let mut friend = friend.stdin(std::process::Stdio::piped()).spawn().unwrap();
    let own = Process::own().namespace("mnt");
    rkt_tests::wait_for("a namespace that is told of mounts", 10, || {
        let it = Process::read(i32::try_from(friend.id()).unwrap());
        it.is_some_and(|p| p.field("Name") == "cat" && p.namespace("mnt") != own)
    });
    let mut late = rkt.inside("sh");
    let script = "mount -t tmpfs none \"$0/sub\" && echo late > \"$0/sub/late\"";
    late.args(["-c", script, &path]);
    command::run(late, None).ok();
    let seen = pod
        .enter(None, &["/rkt-probe", "list", "/probe-volume/sub"])
        .ok();
    let told = fs::read_dir(format!("/proc/{}/root{path}/sub", friend.id())).unwrap();
    let told: Vec<_> = told.flatten().map(|e| e.file_name()).collect();
    drop(friend.stdin.take());
    let _ = friend.wait();
    record_held("B08.1", seen.trim() == "below", told == ["late"]);
    pod.kill().ok();
    let mut undo = rkt.inside("umount");
    undo.args([format!("{path}/sub"), path.clone()]);
    command::run(undo, None).ok();
}

/// B16: a setuid program of root's on the host's disk.
#[test]
fn no_app_leaves_a_setuid_program_of_root_in_a_volume() {
    let Some(rkt) = Rkt::needs(&[Need::Tool("busybox")]) else {
        return;
    };
    let image = BUSYBOX.oci();
    let plant = "cp /bin/busybox /data/plant && chmod 4755 /data/plant";
    let shell = |volume: &str, more: &[&str]| {
        let mut words = vec![volume];
        words.extend(more);
        words.extend([&*image, "--mount=volume=v,target=/data"]);
        words.extend(["--exec=/bin/sh", "--", "-c", plant]);
        rkt.run(&words)
    };
    // A user's directory: what is left there is that user's, and nobody else's.
    let users = rkt.open_dir("users");
    let volume = |dir: &std::path::Path, more: &str| {
        format!("--volume=v,kind=host,source={}{more}", dir.display())
    };
    shell(&volume(&users, ""), &[]).ok();
    let planted = fs::metadata(users.join("plant")).unwrap();
    assert_eq!((planted.uid(), planted.gid()), (4321, 4321));
    // Root's own: not to be written to at all.
    let roots = rkt.file("roots");
    fs::create_dir(&roots).unwrap();
    fs::set_permissions(&roots, fs::Permissions::from_mode(0o777)).unwrap();
    let refused = shell(&volume(&roots, ""), &[]);
    let held = refused.status != 0 && !roots.join("plant").exists();
    refused
        .ends_with(125)
        .is_one_clear_error()
        .says("owner=host-root");
    // Somebody may wish for just that, and then it is what it is.
    shell(&volume(&roots, ",owner=host-root"), &[]).ok();
    let planted = fs::metadata(roots.join("plant")).unwrap();
    let works = planted.uid() == 0 && planted.mode() & 0o4000 != 0;
    fs::remove_file(roots.join("plant")).unwrap();
    record_held("B16.1", held, works);
}

/// B11: the place of a volume is moved away and a link put there; the app restarts.
#[test]
fn a_link_in_the_place_of_a_volume_leads_a_restart_nowhere() {
    let Some(rkt) = Rkt::needs(&[Need::Tool("busybox")]) else {
        return;
    };
    let source = rkt.open_dir("source");
    fs::write(source.join("mark"), "of the volume\n").unwrap();
    let flag = format!("-v{}:/data/here", source.display());
    let image = BUSYBOX.oci();
    let words = [&flag, &image, "--name=a", "--exec=/bin/sleep", "--", "1000"];
    let pod = rkt.start(&words);
    let sh = |script: &str| pod.enter(None, &["/bin/sh", "-c", script]);
    sh("mv /data /old && mkdir /etc/here && ln -s /etc /data").ok();
    rkt.rkt(&["app", "restart", "--force", &pod.uuid]).ok();
    let app = pod.app("a");
    let of_volume: Vec<String> = app
        .mounts()
        .into_iter()
        .map(|m| m.path)
        .filter(|p| p.ends_with("/here"))
        .collect();
    let empty = sh("ls /etc/here").ok();
    // The control: who looks the place up again, as a start does, arrives at the link's end.
    let again = sh("mkdir -p /data/here/again && ls /etc/here").ok();
    let held = of_volume == ["/old/here"] && empty.is_empty();
    assert!(held, "{of_volume:?} {empty:?}");
    record_held("B11.1", held, again.trim() == "again");
    assert_eq!(fs::read_dir(&source).unwrap().count(), 1);
}

/// B10: what rkt puts into the root cannot be taken away, and is the host's no less after.
#[test]
fn files_that_were_put_in_cannot_be_taken_away() {
    let Some(rkt) = Rkt::needs(&[Need::Tool("busybox")]) else {
        return;
    };
    let image = BUSYBOX.oci();
    let host = fs::read("/etc/hosts").unwrap();
    let attack = "for f in hosts resolv.conf hostname; do
        for do in 'rm -f /etc/F' 'mv /etc/F /etc/gone' 'ln -sf /etc/passwd /etc/F' 'echo evil >> /etc/F'; do
            sh -c \"$(echo $do | sed s/F/$f/g)\" 2>/dev/null && echo \"$do $f\"; done; done; exit 0";
    let run = |net: &str, script: &str| {
        let words = [
            "run",
            "--rm",
            "--quiet",
            net,
            &image,
            "--exec=/bin/sh",
            "--",
            "-c",
            script,
        ];
        rkt.rkt(&words)
    };
    let mounted = "grep -o ' /etc/[a-z.]* ' /proc/self/mountinfo";
    for net in ["--net=none", "--net=host"] {
        let names = run(net, mounted).out;
        let put_in: Vec<&str> = names.split_whitespace().collect();
        assert!(put_in.contains(&"/etc/hosts"), "{names}");
        let worked = run(net, attack).ok();
        for line in worked.lines() {
            let file = format!("/etc/{}", line.rsplit(' ').next().unwrap());
            assert!(!put_in.contains(&file.as_str()), "{net}: {line}");
        }
    }
    assert_eq!(fs::read("/etc/hosts").unwrap(), host);
    // The same words on files that are the app's own.
    let own = run(
        "--net=none",
        &format!(
            "cd /tmp; {}",
            attack
                .replace("/etc/", "/tmp/")
                .replace("for f in", "touch hosts; for f in")
        ),
    )
    .ok();
    record_held("B10.3", true, own.contains("rm -f"));
}

/// D17: the environment of who calls rkt.
#[test]
fn nothing_of_the_callers_environment_is_seen() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let mut start = rkt.command(&[
        "run",
        "--rm",
        "--quiet",
        "--net=none",
        PROBE,
        "--name=a",
        "--",
        "cat",
        "/proc/self/environ",
    ]);
    start.env("SECRET_OF_THE_CALLER", "1");
    let done = command::run(start, None);
    let app = done.clone().ok();
    let pod = rkt.start(&[PROBE, "--name=a", "--", "sleep"]);
    let mut enter = rkt.command(&[
        "enter",
        &pod.uuid,
        "/rkt-probe",
        "cat",
        "/proc/self/environ",
    ]);
    enter.env("SECRET_OF_THE_CALLER", "1");
    let entered = command::run(enter, None).ok();
    assert!(entered.contains("PATH="), "{entered:?}");
    let init = pod.enter(None, &["/rkt-probe", "cat", "/proc/1/environ"]);
    assert!(init.out.is_empty(), "{init}");
    let mut plain = std::process::Command::new(rkt_tests::attack::probe());
    plain
        .args(["cat", "/proc/self/environ"])
        .env("SECRET_OF_THE_CALLER", "1");
    let plain = command::run(plain, None).ok();
    let leaks = |text: &str| text.contains("SECRET_OF_THE_CALLER");
    record_held("D17.1", !leaks(&app) && !leaks(&entered), leaks(&plain));
}

/// G18: another user of the host and what rkt keeps.
#[test]
fn no_user_of_the_host_gets_into_the_data_directory() {
    let Some(rkt) = Rkt::needs(&[Need::Tool("setpriv")]) else {
        return;
    };
    // A data directory that rkt makes itself, where anybody could look.
    let data = rkt.open_dir("open").join("data");
    let mut fetch = rkt.inside(rkt_tests::need::binary().unwrap());
    fetch.arg(format!("--dir={}", data.display()));
    fetch.arg(format!("--run-dir={}", rkt.run_dir().display()));
    fetch.args(["fetch", "--quiet", PROBE]);
    command::run(fetch, None).ok();
    let find = |user: &str| {
        let mut find = std::process::Command::new("setpriv");
        find.args([user, "--clear-groups", "find"]).arg(&data);
        find.args(["-mindepth", "1"]);
        command::run(find, None).out.lines().count()
    };
    record_held("G18.1", find("--reuid=65534") == 0, find("--reuid=0") > 3);
}

/// G21: an app's output as the log keeps it, and as a terminal gets it.
#[test]
fn an_app_forges_no_lines_of_another_and_moves_no_cursor() {
    let Some(rkt) = Rkt::needs(&[Need::Tool("script")]) else {
        return;
    };
    let evil =
        "\x1b[2J\x1b]0;title\x07over\rwritten\n2026-01-01T00:00:00.000000000Z stdout F forged\n";
    let layout = Image::with_probe(&[Entry::file("evil", evil)]).write(&rkt.file("layout"));
    let name = layout.reference();
    let pod = rkt.start(&[
        &name,
        "--name=red",
        "--",
        "cat",
        "/evil",
        "---",
        PROBE,
        "--name=blue",
        "--",
        "sleep",
        "1000",
    ]);
    rkt_tests::wait_for("the end of red", 20, || pod.logs("red").contains("forged"));
    assert_eq!(pod.logs("blue"), "");
    // Every line of the file has rkt's own beginning, what the app says comes after it.
    let file = fs::read_to_string(pod.dir().join("logs/red.log")).unwrap();
    assert_eq!(file.lines().count(), 2, "{file:?}");
    assert!(
        file.lines()
            .all(|l| !l.starts_with("2026-01-01T00:00:00.0")),
        "{file:?}"
    );
    let on_terminal = |more: &str| {
        let inner = rkt.command(&["logs", &format!("{}:red", pod.uuid)]);
        let words: Vec<String> = std::iter::once(inner.get_program())
            .chain(inner.get_args())
            .map(|w| w.to_string_lossy().into_owned())
            .collect();
        let mut script = std::process::Command::new("script");
        script.args(["-qec", &format!("{}{more}", words.join(" ")), "/dev/null"]);
        command::run(script, None).out
    };
    let seen = on_terminal("");
    assert!(seen.contains("forged"), "{seen:?}");
    // A pipe gets the bytes as they are; then nothing stands between them and the terminal.
    record_held(
        "G21.1",
        !seen.contains('\x1b'),
        on_terminal(" | cat").contains("\x1b[2J"),
    );
    pod.kill().ok();
}
