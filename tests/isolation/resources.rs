//! Apps that take all they can get: what bounds them, and that sibling and host go on.

use rkt_tests::attack::record_held;
use rkt_tests::eyes::Process;
use rkt_tests::{Done, Need, Pod, Rkt, host, wait_for};
use std::fs;
use std::time::{Duration, Instant};

const PROBE: &str = "builtin:probe";

/// Blue, who counts ten times a second, and red, who sleeps until it is entered.
pub(super) fn two<'a>(rkt: &'a Rkt, pod: &[&str], red: &[&str]) -> Pod<'a> {
    let mut words = pod.to_vec();
    words.extend([PROBE, "--name=blue", "--", "victim", "@blue", "/counter"]);
    words.extend(["---", PROBE, "--name=red"]);
    words.extend(red);
    words.extend(["--", "sleep"]);
    let pod = rkt.start(&words);
    pod.wait_for_log("blue", "ready");
    pod
}

#[track_caller]
fn red(pod: &Pod<'_>, words: &[&str]) -> Done {
    let mut all = vec!["/rkt-probe"];
    all.extend(words);
    pod.enter(Some("red"), &all)
}

/// The number of a line `made N: why`, and why.
#[track_caller]
pub(super) fn made(done: &Done) -> (u64, String) {
    let parse = || {
        let (number, why) = done.out.trim().split_once(' ')?.1.split_once(": ")?;
        Some((number.parse().ok()?, why.to_owned()))
    };
    parse().unwrap_or_else(|| panic!("{done}"))
}

/// How far blue counts in so long a time.
fn counted(pod: &Pod<'_>, time: Duration) -> u64 {
    let path = pod.app("blue").path("/counter");
    let read = || -> Option<u64> { fs::read_to_string(&path).ok()?.trim().parse().ok() };
    let first = std::iter::repeat_with(read).flatten().next().unwrap();
    std::thread::sleep(time);
    std::iter::repeat_with(read).flatten().next().unwrap() - first
}

/// Those around red live and answer.
#[track_caller]
fn others_are_well(pod: &Pod<'_>) {
    assert!(
        counted(pod, Duration::from_secs(3)) >= 8,
        "blue hardly counts"
    );
    pod.enter(Some("blue"), &["/rkt-probe", "exit", "0"]).ok();
    assert_eq!(pod.state(), "running");
}

#[test]
fn a_fork_bomb_ends_at_the_apps_own_limit_and_its_sibling_goes_on() {
    let Some(rkt) = Rkt::needs(&[Need::Controller("pids")]) else {
        return;
    };
    let pod = two(&rkt, &[], &["--pids=100"]);
    let supervisor = pod.supervisor();
    let bomb = red(&pod, &["fork-bomb", "100000"]);
    let (number, why) = made(&bomb);
    assert_eq!(why, "EAGAIN", "{bomb}");
    assert!((80..100).contains(&number), "{bomb}");
    others_are_well(&pod);
    // Nobody fits in beside them, and that is said at once.
    let full = red(&pod, &["exit", "0"]);
    assert!(
        full.status == 0 || full.took < Duration::from_secs(10),
        "{full}"
    );
    if full.status != 0 {
        full.is_one_clear_error();
    }
    assert_eq!(pod.supervisor(), supervisor);
    pod.kill().ok();
    // The bomb is one: without a limit it makes as many as it wants.
    let pod = two(&rkt, &[], &["--pids=0"]);
    let free = made(&red(&pod, &["fork-bomb", "300"]));
    record_held("C08.1", number < 100, free == (300, "enough".to_owned()));
    pod.kill().ok();
}

#[test]
fn memory_is_taken_from_the_app_that_takes_it_only() {
    let Some(rkt) = Rkt::needs(&[Need::V1("memory")]) else {
        return;
    };
    let pod = two(&rkt, &[], &["--memory=48Mi"]);
    let keepers: Vec<Process> = pod.launchers();
    let (init, supervisor) = (pod.init().pid, pod.supervisor());
    let done = red(&pod, &["eat-memory", "500000000"]);
    assert_eq!(done.status, 137, "{done}");
    let unharmed = || {
        others_are_well(&pod);
        assert_eq!((pod.init().pid, pod.supervisor()), (init, supervisor));
        for launcher in &keepers {
            let now = Process::read(launcher.pid).is_some_and(|p| !p.is_zombie());
            assert!(now, "{launcher:?} was killed");
        }
    };
    unharmed();
    // The memory of a file system is the app's too. Its processes may be killed for it.
    let (filled, _) = match red(&pod, &["fill", "/dev/shm/all", "60000000"]) {
        done if done.status == 137 => (0, String::new()),
        done => made(&done),
    };
    assert!(filled < 48 << 20, "{filled}");
    // The kernel may have chosen red's first process, whose end is the pod's; blue's was no choice.
    let oom = |name: &str| {
        let status = pod.status();
        let apps = status["apps"].as_array().unwrap();
        let app = apps.iter().find(|a| a["name"] == name).unwrap();
        app["oom"].as_u64().unwrap_or(0)
    };
    assert_eq!(oom("blue"), 0);
    if oom("red") > 0 || pod.app_processes("red").is_empty() {
        pod.wait_for_end();
    } else {
        unharmed();
        pod.kill().ok();
    }
    let pod = two(&rkt, &[], &[]);
    let free = red(&pod, &["fill", "/dev/shm/all", "60000000"]);
    record_held("C09.1", done.status == 137, made(&free).0 >= 60_000_000);
    pod.kill().ok();
}

/// Limits that the kernel keeps by user are by app, since apps have no user in common.
#[test]
fn objects_of_the_kernel_that_one_app_hoards_are_not_its_siblings() {
    let Some(rkt) = Rkt::needs(&[Need::Landlock]) else {
        return;
    };
    // What the kernel counts by user, and how many a sibling must still have.
    let by_user = [("C10.1", "inotify", "20")];
    let hoarding = |weaken: &[&str]| {
        let pod = two(&rkt, weaken, &["--pids=0"]);
        let mut all = Vec::new();
        for kind in ["inotify", "epoll", "eventfd", "pty", "pipe", "socket"] {
            let words = [
                "enter",
                "--app=red",
                &pod.uuid,
                "/rkt-probe",
                "hoard",
                kind,
                "5000",
                "stay",
            ];
            let mut child = rkt.command(&words);
            let mut child = child.stdout(std::process::Stdio::piped()).spawn().unwrap();
            let mut line = String::new();
            let mut out = std::io::BufReader::new(child.stdout.take().unwrap());
            std::io::BufRead::read_line(&mut out, &mut line).unwrap();
            assert!(line.starts_with("made "), "{kind}: {line:?}");
            all.push((child, out));
        }
        (pod, all)
    };
    let left = |pod: &Pod<'_>, kind: &str, most: &str| {
        let done = pod.enter(Some("blue"), &["/rkt-probe", "hoard", kind, most]);
        made(&done).0.to_string() == *most
    };
    let end = |(pod, all): (Pod<'_>, Vec<(std::process::Child, _)>)| {
        pod.kill().ok();
        for (mut child, _) in all {
            let _ = rkt_tests::command::wait(&mut child, Duration::from_secs(20));
        }
    };
    let (pod, all) = hoarding(&[]);
    for (kind, most) in [
        ("epoll", "100"),
        ("eventfd", "100"),
        ("pty", "60"),
        ("pipe", "100"),
        ("socket", "100"),
    ] {
        assert!(left(&pod, kind, most), "{kind}");
    }
    let walled: Vec<bool> = by_user
        .iter()
        .map(|(_, kind, most)| left(&pod, kind, most))
        .collect();
    let other = two(&rkt, &[], &[]);
    for (_, kind, most) in by_user {
        assert!(left(&other, kind, most), "{kind} of another pod");
    }
    others_are_well(&pod);
    end((pod, all));
    let (pod, all) = hoarding(&["--weaken=userns,disjoint-ids"]);
    for ((id, kind, most), held) in by_user.into_iter().zip(walled) {
        record_held(id, held, !left(&pod, kind, most));
    }
    end((pod, all));
}

/// Processor time of an app's processes, in hundredths of a second.
pub(super) fn ticks(pod: &Pod<'_>, app: &str) -> u64 {
    let one = |process: Process| -> u64 {
        let stat = process.proc("stat");
        let rest = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        let field = |n: usize| {
            rest.split_whitespace()
                .nth(n)
                .and_then(|w| w.parse::<u64>().ok())
        };
        field(11).unwrap_or(0) + field(12).unwrap_or(0)
    };
    pod.app_processes(app).into_iter().map(one).sum()
}

#[test]
fn processor_time_over_the_limit_is_not_given() {
    let Some(rkt) = Rkt::needs(&[Need::Controller("cpu")]) else {
        return;
    };
    let used = |limit: &[&str]| {
        let pod = two(&rkt, &[], limit);
        let words = ["enter", "--app=red", &pod.uuid, "/rkt-probe", "spin"];
        // Not more: a tenth of a processor has to do for their own start too, within 5 s.
        let mut spinners: Vec<_> = (0..2)
            .map(|_| rkt.command(&words).spawn().unwrap())
            .collect();
        wait_for("two who spin", 20, || pod.app_processes("red").len() == 3);
        let (before, begin) = (ticks(&pod, "red"), Instant::now());
        std::thread::sleep(Duration::from_secs(3));
        let share = (ticks(&pod, "red") - before) as f64 / 100.0 / begin.elapsed().as_secs_f64();
        let counts = counted(&pod, Duration::from_secs(2));
        pod.kill().ok();
        for spinner in &mut spinners {
            let _ = rkt_tests::command::wait(spinner, Duration::from_secs(20));
        }
        (share, counts)
    };
    let (bounded, counts) = used(&["--cpu=100m"]);
    let (free, _) = used(&[]);
    assert!(counts >= 5, "blue hardly counts: {counts}");
    record_held("C11.1", bounded < 0.17, free > 0.2);
}

/// How late blue wakes up, one in a hundred excepted, in microseconds.
fn lateness(pod: &Pod<'_>) -> u64 {
    let words = ["/rkt-probe", "latency", "200"];
    let said = pod.enter(Some("blue"), &words).ok();
    let last = said.trim().rsplit(' ').next().unwrap();
    last.parse().unwrap_or_else(|e| panic!("{e}: {said}"))
}

/// C11: red spins twice as often as there are processors, and writes to the disk and waits for it
/// without end; blue has the greater weight.
#[test]
fn who_has_the_weight_is_served_while_others_storm() {
    let Some(rkt) = Rkt::needs(&[Need::Controller("cpu")]) else {
        return;
    };
    let cores = std::thread::available_parallelism().unwrap().get();
    // Whether blue is served as `wanted` in some of several looks: others use this machine too.
    let served = |blue: u32, red: u32, wanted: bool| {
        let shares = [blue, red].map(|n| format!("--cpu-shares={n}"));
        let mut words = vec![PROBE, "--name=blue", &shares[0], "--", "sleep", "---"];
        words.extend([PROBE, "--name=red", &shares[1], "--", "sleep"]);
        let pod = rkt.start(&words);
        let group = host::controller_root("cpu").unwrap();
        let group = group.join(&rkt.cgroup).join(&pod.uuid).join("app-blue");
        let weight = fs::read_to_string(group.join("cpu.shares"));
        if let Ok(weight) = weight {
            assert_eq!(weight.trim(), blue.to_string());
        }
        let idle = (0..3).map(|_| lateness(&pod)).min().unwrap().max(100);
        let spin = ["/rkt-probe", "spin"];
        let storm = ["/rkt-probe", "storm", "/storm"];
        let mut all = Vec::new();
        for words in std::iter::repeat_n(&spin[..], 2 * cores).chain([&storm[..]]) {
            let mut line = vec!["enter", "--app=red", &pod.uuid];
            line.extend(words);
            all.push(rkt.command(&line).spawn().unwrap());
        }
        wait_for("those who storm", 30, || {
            pod.app_processes("red").len() == 2 * cores + 2
        });
        let mut looks = Vec::new();
        let found = (0..6).any(|_| {
            looks.push(lateness(&pod));
            (looks[looks.len() - 1] < 10 * idle) == wanted
        });
        pod.kill().ok();
        for child in &mut all {
            let _ = rkt_tests::command::wait(child, Duration::from_secs(20));
        }
        assert!(found, "{shares:?}: idle {idle} us, then {looks:?}");
    };
    served(262_144, 2, true);
    served(64, 1024, false);
    record_held("C11.2", true, true);
}

#[test]
fn shared_memory_and_its_files_end_at_the_pods_limit() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    // The pod has one, of the size that the app with the largest wish gets.
    let small = ["--shm-size=16Mi"];
    let mut words = vec![PROBE, "--name=blue"];
    words.extend(small);
    words.extend([
        "--",
        "victim",
        "@blue",
        "/counter",
        "---",
        PROBE,
        "--name=red",
    ]);
    words.extend(small);
    words.extend(["--", "sleep"]);
    let pod = rkt.start(&words);
    pod.wait_for_log("blue", "ready");
    let few = made(&red(&pod, &["fill", "/dev/shm/all", "40000000"]));
    assert_eq!(few.1, "ENOSPC");
    let litter = made(&red(&pod, &["litter", "/dev/shm", "200000"]));
    assert_eq!(litter.1, "ENOSPC");
    others_are_well(&pod);
    pod.kill().ok();
    let pod = two(&rkt, &[], &["--shm-size=64Mi"]);
    let many = made(&red(&pod, &["fill", "/dev/shm/all", "40000000"]));
    record_held("C12.1", few.0 <= 16 << 20, many.0 >= 40_000_000);
    // What makes litter makes as much as it wants where nobody counts: in its own root.
    let free = made(&red(&pod, &["litter", "/", "70000"]));
    record_held("C12.2", litter.0 < 70_000, free.0 == 70_000);
    pod.kill().ok();
}

/// KiB of a line of /proc/PID/status.
fn kib(process: &Process, field: &str) -> u64 {
    let value = process.field(field).split_whitespace().next();
    value.and_then(|n| n.parse().ok()).unwrap()
}

#[test]
fn a_flood_of_output_fills_neither_disk_nor_memory() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let flood = |limits: &[&str], bytes: &str| {
        let mut words = vec![PROBE, "--name=blue", "--", "victim", "@blue", "/counter"];
        words.extend(["---", PROBE, "--name=red"]);
        words.extend(limits);
        words.extend(["--", "write-output", bytes]);
        let pod = rkt.start(&words);
        let supervisor = pod.supervisor();
        let before = kib(&Process::read(supervisor).unwrap(), "VmRSS");
        wait_for("the end of the flood", 50, || {
            pod.app_processes("red").is_empty()
        });
        let peak = kib(&Process::read(supervisor).unwrap(), "VmHWM");
        let size = |name: fs::DirEntry| name.metadata().map_or(0, |m| m.len());
        let logs = fs::read_dir(pod.dir().join("logs")).unwrap().flatten();
        let red = logs.filter(|e| e.file_name().to_string_lossy().starts_with("red"));
        let total: u64 = red.map(size).sum();
        assert!(
            counted(&pod, Duration::from_secs(2)) >= 5,
            "blue hardly counts"
        );
        pod.kill().ok();
        (total, peak.saturating_sub(before))
    };
    let (total, grown) = flood(&["--log-max-size=1Mi", "--log-files=2"], "50000000");
    assert!(grown < 4096, "the supervisor grows by {grown} KiB");
    let (free, _) = flood(&["--log-max-size=1Gi", "--log-files=2"], "5000000");
    record_held("C13.1", total < 3 << 20, free > 4_000_000);
}

#[test]
fn a_storm_of_orphans_leaves_no_zombie_and_init_as_it_was() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let pod = two(&rkt, &[], &[]);
    let zombies = || pod.zombies().len();
    let (init, program) = (pod.init(), |pid| {
        fs::read_link(format!("/proc/{pid}/exe")).unwrap()
    });
    let before = (kib(&init, "VmRSS"), program(init.pid));
    red(&pod, &["orphans", "3000"]).ok();
    wait_for("no zombies", 5, || zombies() == 0);
    let after = pod.init();
    assert_eq!(after.pid, init.pid);
    assert_eq!(program(after.pid), before.1, "init has executed something");
    let grown = kib(&after, "VmRSS").saturating_sub(before.0);
    assert!(grown < 128, "init grows by {grown} KiB");
    super::inventory::is_powerless(&after);
    // One who does not wait for its children: they are seen.
    let words = [
        "enter",
        "--app=red",
        &pod.uuid,
        "/rkt-probe",
        "zombies",
        "50",
    ];
    let mut child = rkt.command(&words);
    let mut child = child.stdout(std::process::Stdio::null()).spawn().unwrap();
    wait_for("zombies of one who does not wait", 20, || zombies() >= 50);
    record_held("D16.1", true, zombies() >= 50);
    pod.kill().ok();
    let _ = rkt_tests::command::wait(&mut child, Duration::from_secs(20));
}
