//! What is on its way into an app, attacked from inside: until its execve such a process is rkt's
//! own, with rkt's program and memory (CVE-2016-9962, CVE-2019-5736). An app may stop or kill
//! it, and that is all; supervisor, launchers and init are out of its reach.

use rkt_tests::attack::{Told, Verdict, Way, record, record_held};
use rkt_tests::eyes::Process;
use rkt_tests::layout::{Image, digest};
use rkt_tests::tar::Entry;
use rkt_tests::{Done, Need, Pod, Rkt, host, wait_for};
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const PROBE: &str = "builtin:probe";
/// Everything that keeps an app from who enters it.
const OPEN: &str = "--weaken=userns,landlock,caps,seccomp,hidepid,disjoint-ids,no-new-privs";

/// Blue, who counts, and red, who sleeps.
fn two<'a>(rkt: &'a Rkt, pod: &[&str], red: &[&str]) -> Pod<'a> {
    let mut words = pod.to_vec();
    words.extend([PROBE, "--name=blue", "--", "victim", "@blue", "/counter"]);
    words.extend(["---", PROBE, "--name=red"]);
    words.extend(red);
    words.extend(["--", "sleep"]);
    let pod = rkt.start(&words);
    pod.wait_for_log("blue", "ready");
    pod
}

/// Says so when it goes, also when a test fails.
struct Ended<'a>(&'a AtomicBool);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Enters red for a moment, again and again, while something else goes on.
fn meanwhile<T>(pod: &Pod<'_>, entered: &[&str], doing: impl FnOnce() -> T) -> T {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let _: Done = pod.enter(Some("red"), entered);
            }
        });
        let _ended = Ended(&done);
        doing()
    })
}

/// Attacks of the probe on who enters red. They are races: one that has met nobody is made again, and
/// where they are to work one that came too late, too.
fn hunted(pod: &Pod<'_>, again: impl Fn(Verdict) -> bool) -> Vec<Told> {
    let entered = ["/rkt-probe", "sleep", "0.02"];
    let attack = |ids: &[&str]| {
        let mut words = vec!["/rkt-probe", "attack-each"];
        words.extend(ids);
        Told::each(&pod.enter(Some("red"), &words).out)
    };
    meanwhile(pod, &entered, || {
        let mut told = Vec::new();
        for row in ["E01", "E03", "L05"] {
            told.extend(attack(&[row]));
        }
        for one in &mut told {
            for _ in 0..8 {
                if again(one.verdict) {
                    *one = attack(&[one.id()]).remove(0);
                }
            }
        }
        told
    })
}

/// Digests of rkt and of its supervisor, as they lie on the disk.
fn programs(pod: &Pod<'_>) -> [String; 2] {
    let stage1 = fs::read(format!("/proc/{}/exe", pod.supervisor())).unwrap();
    let rkt = fs::read(rkt_tests::need::binary().unwrap()).unwrap();
    [digest(&stage1), digest(&rkt)]
}

#[test]
fn who_enters_cannot_be_read_debugged_or_overwritten_before_its_execve() {
    let Some(rkt) = Rkt::needs(&[Need::Landlock]) else {
        return;
    };
    for (way, red) in [
        (Way::Walled, &[][..]),
        (Way::Harder, &["--caps-retain=all"]),
        (Way::Harder, &["--userns=pod"]),
    ] {
        let pod = two(&rkt, &[], red);
        let before = programs(&pod);
        let told = hunted(&pod, |verdict| verdict == Verdict::Inconclusive);
        assert_eq!(told.len(), 14, "{told:?}");
        for one in told {
            record(one.id(), way, one.verdict);
            assert_eq!(one.verdict, Verdict::Refused, "{red:?}: {:#}", one.value);
        }
        assert_eq!(programs(&pod), before);
        assert_eq!(pod.state(), "running");
        pod.kill().ok();
    }
    let pod = two(&rkt, &[OPEN], &[]);
    for one in hunted(&pod, |verdict| verdict != Verdict::Succeeded) {
        record(one.id(), Way::Control, one.verdict);
        one.succeeds();
    }
}

/// The whole of a host's process, for comparison: nothing happened to it.
fn as_it_was(process: &Process) -> bool {
    Process::read(process.pid).is_some_and(|now| {
        !now.is_zombie()
            && !now.field("State").starts_with('T')
            && now.field("TracerPid") == "0"
            && now.field("Name") == process.field("Name")
    })
}

#[test]
fn a_set_up_child_that_is_held_up_is_killed_after_its_five_seconds() {
    let Some(rkt) = Rkt::needs(&[Need::Landlock]) else {
        return;
    };
    let pod = two(&rkt, &[], &[]);
    // What has become a program of the app stays stopped for as long as the app likes: so
    // would a child whose time were not bounded.
    let mut rest = rkt.command(&[
        "enter",
        "--app=red",
        &pod.uuid,
        "/rkt-probe",
        "sleep",
        "1000",
    ]);
    let mut rest = rest.spawn().unwrap();
    let mut other = None;
    wait_for("a process to be stopped", 20, || {
        let all = pod.app_processes("red");
        other = all
            .into_iter()
            .find(|p| p.proc("cmdline").ends_with("sleep\x001000\0"));
        other.is_some()
    });
    let other = other.unwrap();
    host::signal(other.pid, rustix::process::Signal::STOP);
    let ended = AtomicBool::new(false);
    let (holder, late) = std::thread::scope(|scope| {
        let holder = scope.spawn(|| {
            let _ended = Ended(&ended);
            pod.enter(Some("red"), &["/rkt-probe", "hold-up", "30"])
        });
        // Until one of those who enter is stopped, and has been for five seconds.
        let mut late = None;
        while !ended.load(Ordering::Relaxed) {
            let done = pod.enter(Some("red"), &["/rkt-probe", "sleep", "0.02"]);
            if done.status != 0 {
                late = Some(done);
            }
        }
        (holder.join().unwrap(), late)
    });
    let holder = holder.ok();
    assert!(holder.contains("stopped "), "{holder}");
    let gone: u64 = holder
        .split_once("gone after ")
        .and_then(|(_, rest)| rest.split(' ').next()?.parse().ok())
        .unwrap_or_else(|| panic!("{holder}"));
    // The deadline counts from the clone, the other clock from the stop.
    assert!((3000..15_000).contains(&gone), "{gone} ms");
    let late = late.expect("the enter that was held up has failed");
    late.ends_with(126)
        .is_one_clear_error()
        .says("held up for too long");
    let stays = Process::read(other.pid).is_some_and(|p| p.field("State").starts_with('T'));
    record_held("L06.1", gone < 15_000, stays);
    assert_eq!(pod.state(), "running");
    pod.enter(Some("red"), &["/rkt-probe", "exit", "7"])
        .ends_with(7);
    pod.kill().ok();
    let _ = rkt_tests::command::wait(&mut rest, Duration::from_secs(20));
}

#[test]
fn while_a_child_is_held_up_the_supervisor_serves_the_others() {
    let Some(rkt) = Rkt::needs(&[Need::Landlock]) else {
        return;
    };
    let pod = two(&rkt, &[], &[]);
    let is_held = |p: &Process| {
        let program = fs::read_link(format!("/proc/{}/exe", p.pid));
        p.field("State").starts_with('T')
            && program.is_ok_and(|p| p.to_string_lossy().contains("rkt-stage1"))
    };
    let attack = || {
        std::thread::scope(|scope| {
            let holder = scope.spawn(|| pod.enter(Some("red"), &["/rkt-probe", "hold-up", "30"]));
            let mut held = None;
            wait_for("a stopped set-up child", 40, || {
                held = pod.app_processes("red").into_iter().find(is_held);
                held.is_some() || holder.is_finished()
            });
            let held = held.expect("a stopped set-up child is seen");
            // Not dumpable: its files in /proc are root's, although its ids are the app's.
            let meta = fs::metadata(format!("/proc/{}/mem", held.pid)).unwrap();
            assert_eq!(std::os::unix::fs::MetadataExt::uid(&meta), 0);
            let begin = Instant::now();
            let mut served = 0;
            while Process::read(held.pid).is_some_and(|p| is_held(&p)) {
                pod.enter(Some("blue"), &["/rkt-probe", "exit", "0"]).ok();
                assert_eq!(pod.state(), "running");
                served += 1;
            }
            assert!(served > 2, "{served} in {:?}", begin.elapsed());
        });
    };
    meanwhile(&pod, &["/rkt-probe", "sleep", "0.02"], attack);
}

/// Everything that an app can do to those who keep it, at once and with every right it can have.
#[test]
fn supervisor_launchers_and_init_are_out_of_reach() {
    let Some(rkt) = Rkt::needs(&[Need::Landlock]) else {
        return;
    };
    for red in [&[][..], &["--caps-retain=all"], &["--userns=pod"]] {
        let pod = two(&rkt, &[], red);
        let mut keepers = pod.launchers();
        keepers.extend([
            pod.init(),
            Process::read(pod.supervisor()).unwrap(),
            pod.app("blue"),
        ]);
        assert_eq!(keepers.len(), 5);
        // It stops red's own processes, the one that sends it excepted.
        pod.enter(Some("red"), &["/rkt-probe", "signal-all", "19"])
            .ok();
        wait_for("its own to be stopped", 20, || !as_it_was(&pod.app("red")));
        for keeper in &keepers {
            assert!(as_it_was(keeper), "{red:?}: hits {keeper:?}");
        }
        pod.kill().ok();
    }
    let pod = two(&rkt, &[OPEN], &[]);
    let blue = pod.app("blue");
    pod.enter(Some("red"), &["/rkt-probe", "signal-all", "19"])
        .ok();
    wait_for("blue to be stopped", 20, || !as_it_was(&blue));
    record_held("L07.1", true, true);
}

/// E02: the interpreter of a script is opened by the kernel for who executes it, and before the
/// execve that is rkt's program.
#[test]
fn a_script_whose_interpreter_is_proc_self_exe_never_runs_rkt() {
    let Some(rkt) = Rkt::needs(&[Need::Landlock]) else {
        return;
    };
    let trap = Entry::file("trap", "#!/proc/self/exe\n").mode(0o755);
    let name = Image::with_probe(&[trap])
        .write(&rkt.file("layout"))
        .reference();
    let enter = |weaken: &[&str]| {
        let mut words = weaken.to_vec();
        words.extend([&*name, "--name=a", "--", "sleep"]);
        let pod = rkt.start(&words);
        let before = programs(&pod);
        let done = pod.enter(None, &["/trap"]);
        assert_eq!(programs(&pod), before);
        pod.kill().ok();
        done
    };
    let walled = enter(&[]);
    let weak = enter(&["--weaken=landlock"]);
    // rkt-stage1 says that it is not for people.
    let ran = |done: &Done| done.err.contains("rkt-stage1") || done.out.contains("rkt-stage1");
    assert!(walled.status != 0, "{walled}");
    record_held("E02.1", !ran(&walled), ran(&weak));
    // The same by the image's own word.
    for words in [&["--exec=/trap"][..], &["--exec=/proc/self/exe"]] {
        let mut all = vec![name.as_str()];
        all.extend(words);
        rkt.run(&all).ends_with(126).is_one_clear_error();
    }
}
