//! What rkt does on the host while pods start and are looked at, call by call, as strace sees it.

use rkt_tests::attack::record_held;
use rkt_tests::layout::Image;
use rkt_tests::tar::Entry;
use rkt_tests::{Done, Need, Rkt, command};
use rustix::pty::{OpenptFlags, openpt, ptsname, unlockpt};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

const PROBE: &str = "builtin:probe";
/// Calls that open files or execute them.
const FILES: &str = "trace=execve,execveat,open,openat,openat2,creat,mmap,write,ioctl";

/// One call of one process, whole, in the order of their ends.
struct Call {
    pid: String,
    text: String,
}

impl Call {
    fn succeeded(&self) -> bool {
        let result = self.text.rsplit_once(" = ").map_or("-", |(_, r)| r);
        !result.starts_with('-') && !result.starts_with('?')
    }

    /// The path of a program that it executes.
    fn program(&self) -> Option<&str> {
        let rest = self.text.strip_prefix("execve(\"")?;
        self.succeeded().then(|| rest.split('"').next()).flatten()
    }

    /// What a descriptor that it makes leads to, when that can be written to.
    fn opens_to_write(&self) -> Option<&str> {
        let opens = ["open(", "openat(", "openat2(", "creat("];
        let writes = ["O_WRONLY", "O_RDWR", "O_CREAT", "creat("];
        let fits = |all: &[&str]| all.iter().any(|w| self.text.contains(w));
        if !self.succeeded() || !opens.iter().any(|o| self.text.starts_with(o)) || !fits(&writes) {
            return None;
        }
        let (_, made) = self.text.rsplit_once(" = ")?;
        made.split_once('<')?.1.strip_suffix('>')
    }
}

/// Runs a command under strace.
fn traced(rkt: &Rkt, plain: &Command) -> (Done, Vec<Call>) {
    traced_for(rkt, plain, FILES)
}

fn traced_for(rkt: &Rkt, plain: &Command, calls: &str) -> (Done, Vec<Call>) {
    let file = rkt.file(&format!("trace-{}", rkt_tests::rkt::unique()));
    let mut strace = Command::new("strace");
    strace.args(["-f", "-y", "-qq", "-e", calls, "-e", "signal=none", "-o"]);
    strace
        .arg(&file)
        .arg(plain.get_program())
        .args(plain.get_args());
    let done = command::run(strace, None);
    let mut begun: BTreeMap<String, String> = BTreeMap::new();
    let mut calls = Vec::new();
    for line in fs::read_to_string(&file).unwrap().lines() {
        let Some((pid, text)) = line.split_once(' ') else {
            continue;
        };
        let (pid, text) = (pid.to_owned(), text.trim_start());
        if let Some(first) = text.strip_suffix(" <unfinished ...>") {
            begun.insert(pid, first.to_owned());
        } else if let Some((_, rest)) = text.split_once(" resumed>") {
            let text = begun.remove(&pid).unwrap_or_default() + rest;
            calls.push(Call { pid, text });
        } else {
            let text = text.to_owned();
            calls.push(Call { pid, text });
        }
    }
    (done, calls)
}

fn shell(script: &str, dir: &std::path::Path) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", script]).arg(dir);
    shell
}

/// Who executes a program whose path ends so, and when.
fn executes(calls: &[Call], program: &str) -> Option<usize> {
    calls
        .iter()
        .position(|c| c.program().is_some_and(|p| p.ends_with(program)))
}

/// Whether each of these files of cgroups is written before the program runs, and none by a process
/// that is the pod's.
fn limits_come_first(calls: &[Call], program: &str, files: &[&str]) -> bool {
    let Some(begin) = executes(calls, program) else {
        return false;
    };
    let app = &calls[begin].pid;
    let init = executes(calls, "/rkt-init").map(|at| &calls[at].pid);
    let writes = |c: &Call, file: &str| {
        c.text.starts_with("write(") && c.text.contains(&format!("/{file}>")) && c.succeeded()
    };
    let before = files
        .iter()
        .all(|file| calls[..begin].iter().any(|c| writes(c, file)));
    let after = calls[begin..]
        .iter()
        .any(|c| files.iter().any(|file| writes(c, file)));
    let inside = calls.iter().any(|c| {
        let theirs = c.pid == *app || Some(&c.pid) == init;
        theirs && c.opens_to_write().is_some_and(|p| p.contains("cgroup"))
    });
    before && !after && !inside
}

#[test]
fn limits_stand_before_the_app_runs_and_nobody_in_the_pod_writes_one() {
    let needs = [
        Need::Tool("strace"),
        Need::Controller("memory"),
        Need::Controller("pids"),
        Need::Controller("cpu"),
    ];
    let Some(rkt) = Rkt::needs(&needs) else {
        return;
    };
    let plain = rkt.command(&[
        "run",
        "--rm",
        "--quiet",
        PROBE,
        "--memory=64Mi",
        "--pids=50",
        "--cpu=500m",
        "--",
        "exit",
        "0",
    ]);
    let (done, calls) = traced(&rkt, &plain);
    done.ends_with(0);
    let v1 = Need::V1("memory").missing().is_none();
    let files: &[&str] = match v1 {
        true => &["memory.limit_in_bytes", "pids.max", "cpu.cfs_quota_us"],
        false => &["memory.max", "pids.max", "cpu.max"],
    };
    let held = limits_come_first(&calls, "/rkt-probe", files);
    // Who starts a program and then bounds it.
    let script = "for f in memory.max pids.max cpu.max; do busybox true; echo 1 > \"$0/$f\"; done";
    let (done, calls) = traced(&rkt, &shell(script, &rkt.open_dir("late")));
    done.ends_with(0);
    let files = ["memory.max", "pids.max", "cpu.max"];
    let late = executes(&calls, "/busybox").is_some();
    record_held(
        "S23.1",
        held,
        late && !limits_come_first(&calls, "/busybox", &files),
    );
}

/// Files of the kernel that are opened to be written to, but below a descriptor of procfs or of a
/// cgroup that is held, or in a root without following a link.
fn strays(calls: &[Call], app: &str) -> Vec<String> {
    let kernel = |path: &str| path.starts_with("/proc/") || path.starts_with("/sys/");
    let below = |text: &str| {
        let held = |what: &str| {
            text.split_once('<')
                .is_some_and(|(_, p)| p.starts_with(what))
        };
        (text.starts_with("openat(") || text.starts_with("openat2("))
            && !text.contains("(AT_FDCWD")
            && (held("/proc>, \"") || held("/sys/fs/cgroup"))
            && !text.contains("..")
    };
    let begin = executes(calls, app).unwrap_or(calls.len());
    let who = calls.get(begin).map(|c| c.pid.as_str());
    // Its own, by the procfs that only the supervisor mounts and that no volume can cover.
    let own = |c: &Call| {
        Some(c.pid.as_str()) == who && c.text.starts_with("open(\"/proc/self/oom_score_adj\"")
    };
    calls
        .iter()
        .filter(|c| c.opens_to_write().is_some_and(kernel) && !below(&c.text) && !own(c))
        .map(|c| c.text.clone())
        .collect()
}

/// G15, CVE-2025-52881.
#[test]
fn the_supervisors_writes_go_through_descriptors_of_its_own() {
    let Some(rkt) = Rkt::needs(&[Need::Tool("strace"), Need::Tool("busybox")]) else {
        return;
    };
    // An image that leads /proc into a volume, where another app swaps a directory for a link.
    let (shared, outside) = (rkt.open_dir("shared"), rkt.open_dir("outside"));
    let flag = format!("-v{}:/shared", shared.display());
    let link = format!("/shared/link={}", outside.display());
    let red = rkt.start(&[&flag, PROBE, "--name=red", "--", "swap", "/shared/p", &link]);
    red.wait_for_log("red", "ready");
    let image = Image::with_probe(&[Entry::link("proc", "/shared/p")]);
    let name = image.write(&rkt.file("layout")).reference();
    for _ in 0..10 {
        let words = [
            &flag,
            &name,
            "--name=blue",
            "--oom-score-adj=500",
            "--",
            "sleep",
        ];
        let blue = rkt.start(&words);
        let app = blue.app("blue");
        assert_eq!(app.proc("oom_score_adj").trim(), "500");
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
        rkt.rkt(&["app", "restart", "--force", &blue.uuid]).ok();
        assert_eq!(blue.app("blue").proc("oom_score_adj").trim(), "500");
        blue.kill().ok();
    }
    let words = [
        "run",
        "--rm",
        "--quiet",
        &flag,
        &name,
        "--oom-score-adj=500",
        "--memory=64Mi",
        "--sysctl=net.core.somaxconn=100",
        "--",
        "exit",
        "0",
    ];
    let (done, calls) = traced(&rkt, &rkt.command(&words));
    done.ends_with(0);
    let by_rkt = strays(&calls, "/rkt-probe");
    assert_eq!(by_rkt, Vec::<String>::new());
    let seen = calls
        .iter()
        .filter_map(Call::opens_to_write)
        .filter(|p| p.starts_with("/proc/"));
    assert!(seen.count() > 5, "strace saw none of its writes");
    for dir in [&outside, &shared.join("p"), &shared.join("link")] {
        assert_eq!(
            fs::read_dir(dir).into_iter().flatten().count(),
            0,
            "{dir:?}"
        );
    }
    // Who goes by path writes where the other app wants it.
    let naive = shared.join("p/oom_score_adj");
    rkt_tests::wait_for("a write that is led astray", 20, || {
        let _ = fs::write(&naive, "500");
        outside.join("oom_score_adj").exists()
    });
    red.kill().ok();
    let script = "ln -s /proc/self \"$0/proc\" && echo 500 > \"$0/proc/oom_score_adj\"";
    let (done, calls) = traced(&rkt, &shell(script, &rkt.open_dir("naive")));
    done.ends_with(0);
    record_held(
        "G15.1",
        by_rkt.is_empty(),
        !strays(&calls, "/none").is_empty(),
    );
}

/// Terminals that are opened by a path; the kernel's /dev/tty of nobody in particular is none.
fn by_path(calls: &[Call]) -> Vec<String> {
    let named = |c: &&Call| {
        let path = c.text.split('"').nth(1).unwrap_or("");
        path.ends_with("/console")
            || path
                .rsplit_once("pts/")
                .is_some_and(|(_, n)| n.parse::<u32>().is_ok())
    };
    calls
        .iter()
        .filter(|c| c.text.starts_with("open") && c.succeeded())
        .filter(named)
        .map(|c| c.text.clone())
        .collect()
}

/// CVE-2025-52565: between the making of a pty and its use nobody can put another in its place,
/// for its other end is not looked up.
#[test]
fn the_other_end_of_a_terminal_is_never_looked_up() {
    let Some(rkt) = Rkt::needs(&[Need::Tool("strace")]) else {
        return;
    };
    let image = Image::with_probe(&[
        Entry::dir("dev"),
        Entry::link("dev/console", "/proc/sys/kernel/core_pattern"),
        Entry::link("dev/pts", "/proc/sys/kernel"),
        Entry::link("dev/ptmx", "/proc/sysrq-trigger"),
    ]);
    let name = image.write(&rkt.file("layout")).reference();
    let plain = rkt.command(&["run", "--rm", "--quiet", "--tty", &name, "--", "print-tty"]);
    let (done, calls) = traced(&rkt, &plain);
    assert!(done.ok().contains("name /dev/pts/0"));
    let app = executes(&calls, "/rkt-probe").unwrap();
    let peer = calls[..app].iter().any(|c| c.text.contains("TIOCGPTPEER"));
    let looked_up = by_path(&calls[..app]);
    // Who opens a terminal by its name.
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    unlockpt(&master).unwrap();
    let terminal = ptsname(&master, Vec::new()).unwrap();
    let terminal = std::path::PathBuf::from(terminal.to_str().unwrap());
    let (_, other) = traced(&rkt, &shell(": < \"$0\"", &terminal));
    record_held(
        "G12.2",
        peer && looked_up.is_empty(),
        !by_path(&other).is_empty(),
    );
}

/// Programs that are executed, and files that are loaded as programs, but rkt's own.
fn foreign(calls: &[Call]) -> Vec<String> {
    let own = |path: &str| {
        let ends = ["/nsenter", "/rkt", "/rkt-stage1"].map(|own| path.ends_with(own));
        ends.contains(&true) || path == "/proc/self/exe"
    };
    // What comes before rkt is the harness's wrapper, which is linked dynamically.
    let begin = executes(calls, "/rkt").unwrap_or(0);
    let loaded = |c: &Call| {
        c.text.starts_with("mmap(") && c.text.contains("PROT_EXEC") && !c.text.contains(", -1,")
    };
    let strange = |c: &&Call| loaded(c) || c.program().is_some_and(|p| !own(p));
    let after = calls.get(begin..).unwrap_or_default();
    after
        .iter()
        .filter(strange)
        .map(|c| c.text.clone())
        .collect()
}

/// E05: nothing of an image is executed or loaded by the commands that look at a pod or take it apart.
#[test]
fn no_command_of_the_host_runs_or_loads_what_an_image_brings() {
    let Some(rkt) = Rkt::needs(&[Need::Tool("strace")]) else {
        return;
    };
    let names = [
        "lib/libnss_files.so.2",
        "lib/x86_64-linux-gnu/libc.so.6",
        "lib/x86_64-linux-gnu/libnss_dns.so.2",
        "etc/ld.so.preload",
        "bin/sh",
        "bin/tar",
        "bin/xz",
        "bin/unpigz",
    ];
    let mut entries: Vec<Entry> = ["lib", "lib/x86_64-linux-gnu", "etc", "bin"]
        .map(Entry::dir)
        .into();
    entries.extend(names.map(|name| Entry::file(name, "poison").mode(0o755)));
    let users = Entry::file("etc/passwd", "web:x:1000:1000::/:/bin/sh\n");
    entries.push(users);
    let name = Image::with_probe(&entries)
        .write(&rkt.file("layout"))
        .reference();
    let own = ["--name=a", "--user=web", "--trace-denials"];
    let pod = rkt.start(&[&[name.as_str()][..], &own, &["--", "sleep"]].concat());
    let file = |name: &str| rkt.file(name).display().to_string();
    fs::write(rkt.file("in"), "in").unwrap();
    fs::set_permissions(rkt.file("in"), fs::Permissions::from_mode(0o644)).unwrap();
    let uuid = pod.uuid.as_str();
    let (aci, oci, tree) = (file("a.aci"), file("oci.tar"), file("tree"));
    let (inside, outside) = (format!("{uuid}:/lib"), file("out"));
    let mut strange = Vec::new();
    for words in [
        &["list"][..],
        &["list", "--format=json", "--full"],
        &["status", uuid],
        &["status", uuid, "--format=json"],
        &["logs", uuid],
        &["logs", uuid, "--app=a", "--timestamps"],
        &["audit", uuid],
        &["explain", uuid],
        &["why", uuid],
        &["port", "list", uuid],
        &["cat-manifest", uuid],
        &["system", "df"],
        &["enter", uuid, "/rkt-probe", "exit", "0"],
        &["enter", "--user=web", uuid, "/rkt-probe", "exit", "0"],
        &["cp", &inside, &outside],
        &["image", "list"],
        &["image", "verify"],
        &["image", "history", &name],
        &["image", "cat-manifest", &name],
        &["image", "export", &name, &oci],
        &["image", "render", &name, &tree],
        &["app", "restart", "--force", uuid],
        &["stop", "--force", uuid],
        &["export", uuid, &aci],
        &["rm", uuid],
        &["gc", "--grace-period=0s"],
    ] {
        let (done, calls) = traced(&rkt, &rkt.command(words));
        done.ends_with(0);
        assert!(executes(&calls, "/rkt").is_some(), "{words:?}");
        strange.extend(foreign(&calls));
    }
    assert_eq!(strange, Vec::<String>::new());
    let mut control = Command::new("id");
    control.arg("nobody");
    let (_, calls) = traced(&rkt, &control);
    record_held("E05.1", strange.is_empty(), !foreign(&calls).is_empty());
}

/// Programs that are executed once rkt is, in whatever way.
fn programs(calls: &[Call]) -> BTreeSet<String> {
    let begin = executes(calls, "/rkt").unwrap_or(0);
    let after = calls.get(begin..).unwrap_or_default().iter();
    after
        .filter(|c| c.text.starts_with("execve") && c.succeeded())
        .map(|c| match c.text.split('"').nth(1) {
            // By a descriptor: strace says what it leads to.
            Some("") => c.text.split(['<', '>']).nth(1),
            path => path,
        })
        .map(|path| path.unwrap_or("?").to_owned())
        .collect()
}

/// Calls by which a process comes into another network namespace, with or without success.
fn into_networks<'a>(calls: &'a [Call], by: impl Fn(&str) -> bool + 'a) -> Vec<&'a str> {
    let begin = executes(calls, "/rkt").unwrap_or(0);
    let enters = |text: &str| {
        text.starts_with("unshare(") && text.contains("CLONE_NEWNET")
            || text.starts_with("setns(")
                && (text.contains("CLONE_NEWNET") || text.contains("net:["))
    };
    let all = calls.get(begin..).unwrap_or_default().iter();
    all.filter(move |c| by(&c.pid) && enters(&c.text))
        .map(|c| c.text.as_str())
        .collect()
}

/// A network of the pod's own is made by messages to the kernel: nothing of the host is executed, and
/// only children go into the pod's network.
#[test]
fn the_default_network_takes_no_program_and_the_supervisor_stays_out_of_it() {
    let Some(rkt) = Rkt::networked(&[Need::Tool("strace")]) else {
        return;
    };
    let plain = rkt.command(&[
        "run",
        "--rm",
        "--quiet",
        "--net=default",
        "--port=8080:80",
        PROBE,
        "--",
        "exit",
        "0",
    ]);
    let trace = format!("{FILES},setns,unshare");
    let (done, calls) = traced_for(&rkt, &plain, &trace);
    done.ends_with(0);
    let own = ["/rkt", "/rkt-stage1", "/rkt-init", "/rkt-launcher"];
    let strange: Vec<String> = programs(&calls)
        .into_iter()
        .filter(|p| p != "/proc/self/exe" && p != "/rkt-probe")
        .filter(|p| !own.iter().any(|own| p.ends_with(own)))
        .collect();
    assert_eq!(strange, Vec::<String>::new());
    let supervisor = executes(&calls, "/rkt-stage1").map(|at| calls[at].pid.as_str());
    let is_supervisor = |pid: &str| Some(pid) == supervisor;
    assert!(supervisor.is_some());
    assert_eq!(into_networks(&calls, is_supervisor), Vec::<&str>::new());
    let children = into_networks(&calls, |pid| Some(pid) != supervisor);
    assert!(!children.is_empty(), "strace saw nobody enter a network");
    // Who makes a network with a program, and who enters one.
    let script = "unshare --net true; nsenter --net=/proc/self/ns/net true";
    let (_, calls) = traced_for(&rkt, &shell(script, &rkt.open_dir("naive")), &trace);
    assert!(programs(&calls).iter().any(|p| p.ends_with("/unshare")));
    assert_eq!(into_networks(&calls, |_| true).len(), 2);
}
