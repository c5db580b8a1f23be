//! rkt issue #576, "rkt pods should not be given CAP_SYS_ADMIN": its attacks, each with what
//! happens when the defences are taken away. The verdict is the host's.

use rkt_tests::attack::{Told, alone, each_defence_alone};
use rkt_tests::host::Canary;
use rkt_tests::{Need, Rkt};
use std::fs;
use std::path::Path;

const PROBE: &str = "builtin:probe";

/// A volume whose file modes deny nothing.
fn volume(rkt: &Rkt) -> (std::path::PathBuf, String) {
    let dir = rkt.open_dir("volume");
    fs::write(dir.join("canary"), "sings\n").unwrap();
    fs::set_permissions(
        dir.join("canary"),
        std::os::unix::fs::PermissionsExt::from_mode(0o666),
    )
    .unwrap();
    let flag = format!("-v{}:/probe-volume:ro", dir.display());
    (dir, flag)
}

/// Whether the volume is as it was; it is made so again.
fn untouched(dir: &Path) -> bool {
    let names: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .flatten()
        .map(|e| e.file_name())
        .collect();
    let fine = names.len() == 1 && fs::read_to_string(dir.join("canary")).unwrap() == "sings\n";
    for name in names.iter().filter(|n| *n != "canary") {
        let _ = fs::remove_file(dir.join(name));
    }
    fine
}

#[test]
fn a_read_only_volume_cannot_be_remounted_by_a_root_app() {
    let Some(rkt) = Rkt::needs(&[Need::Landlock]) else {
        return;
    };
    let (dir, flag) = volume(&rkt);
    // Landlock has no say in mount_setattr(2).
    for (id, defences) in [
        ("B01", &["caps", "seccomp", "landlock", "locks"][..]),
        ("B02", &["caps", "seccomp", "locks"]),
        ("B04", &["caps", "seccomp", "landlock", "locks"]),
    ] {
        each_defence_alone(
            &[],
            defences,
            |weaken| alone(&rkt, &words(&[&flag, weaken]), id, &[]),
            || untouched(&dir),
        );
    }
}

#[test]
fn a_read_only_volume_cannot_be_uncovered_or_reopened() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let (dir, flag) = volume(&rkt);
    for id in ["B03", "B05"] {
        alone(&rkt, &[&flag], id, &[]).is_refused();
        assert!(untouched(&dir));
    }
}

#[test]
fn a_read_only_volume_stays_so_with_every_capability_granted() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let (dir, flag) = volume(&rkt);
    for id in ["B01", "B02", "B03", "B04", "B05"] {
        for weaken in [
            "",
            "--weaken=seccomp",
            "--weaken=landlock",
            "--weaken=seccomp,landlock",
        ] {
            let told = granted(&rkt, &words(&[&flag, weaken]), id, &[]);
            told.is_refused();
            assert!(untouched(&dir), "{id} {weaken}");
        }
    }
}

/// Words that are not empty.
fn words<'a>(all: &[&'a str]) -> Vec<&'a str> {
    all.iter().copied().filter(|w| !w.is_empty()).collect()
}

/// An attack by an app that holds every capability in its namespace.
#[track_caller]
fn granted(rkt: &Rkt, pod: &[&str], id: &str, options: &[&str]) -> Told {
    let mut all = pod.to_vec();
    all.extend([PROBE, "--caps-retain=all", "--", "attack", id]);
    all.extend(options);
    Told::read(&rkt.run(&all))
}

#[test]
fn a_host_process_cannot_be_frozen_by_paths_that_lead_to_its_cgroup() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let canary = Canary::start(&rkt.file(""));
    let option = format!("--canary={}", canary.cgroup);
    each_defence_alone(
        &[],
        &["cgroup-view", "userns"],
        |weaken| alone(&rkt, &words(&[weaken]), "C02", &[&option]),
        || {
            let fine = canary.is_alive();
            canary.thaw();
            fine
        },
    );
}

#[test]
fn a_host_process_cannot_be_frozen_by_a_fresh_mount_of_the_freezer() {
    let Some(rkt) = Rkt::needs(&[Need::V1("freezer")]) else {
        return;
    };
    let canary = Canary::start(&rkt.file(""));
    let option = format!("--canary={}", canary.cgroup);
    // An app of user 0 with no capabilities makes a user namespace in which it has them all.
    each_defence_alone(
        &["caps"],
        &["userns", "seccomp", "landlock"],
        |weaken| alone(&rkt, &words(&[weaken]), "C02", &[&option]),
        || {
            let fine = canary.is_alive();
            canary.thaw();
            fine
        },
    );
}

#[test]
fn no_cgroup_of_the_host_is_reached_with_every_capability_granted() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let canary = Canary::start(&rkt.file(""));
    let option = format!("--canary={}", canary.cgroup);
    for weaken in [
        "",
        "--weaken=seccomp",
        "--weaken=landlock",
        "--weaken=seccomp,landlock",
    ] {
        for id in ["C01", "C02", "C03", "C04", "C05"] {
            let told = granted(&rkt, &words(&[weaken]), id, &[&option]);
            assert!(canary.is_alive(), "{id} {weaken}");
            told.is_refused();
        }
    }
}

/// Red attacks blue and PID 1, from a process that `enter` made and from the app's own.
fn pod_of_two(rkt: &Rkt, weaken: &str, id: &str) -> Told {
    let mut all = words(&[weaken, PROBE]);
    all.extend([
        "--name=blue",
        "--set-env=BLUE_TOKEN=secret",
        "--",
        "victim",
        "@rkt-probe-blue",
        "---",
        PROBE,
        "--name=red",
        "--",
        "sleep",
    ]);
    let pod = rkt.start(&all);
    pod.wait_for_log("blue", "ready");
    let told = Told::read(&pod.enter(Some("red"), &["/rkt-probe", "attack", id]));
    let planted = pod.app("blue").path("/rkt-probe-planted").exists();
    assert!(
        !planted || told.verdict == rkt_tests::attack::Verdict::Succeeded,
        "a file was planted"
    );
    pod.kill().ok();
    rkt.rkt(&["rm", &pod.uuid]).ok();
    told
}

#[test]
fn a_siblings_root_cannot_be_reached_through_proc() {
    let Some(rkt) = Rkt::needs(&[Need::Landlock]) else {
        return;
    };
    // With the capabilities of user 0 of the host there would be ways past Landlock that no
    // wall of a pod is meant for: CAP_PERFMON reads any process's maps.
    pod_of_two(&rkt, "--weaken=userns,landlock,hidepid,disjoint-ids", "D02").succeeds();
    pod_of_two(&rkt, "--weaken=landlock,hidepid,caps", "D02").is_refused();
    pod_of_two(&rkt, "--weaken=userns,hidepid,disjoint-ids", "D02").is_refused();
    pod_of_two(&rkt, "", "D02").is_refused();
}

#[test]
fn the_root_of_pid_1_cannot_be_reached_through_proc() {
    let Some(rkt) = Rkt::needs(&[Need::Landlock]) else {
        return;
    };
    pod_of_two(
        &rkt,
        "--weaken=userns,landlock,hidepid,caps,disjoint-ids,init",
        "D01",
    )
    .succeeds();
    pod_of_two(&rkt, "--weaken=landlock,hidepid,caps,init", "D01").is_refused();
    // This init has every capability of the host, and so must who reaches it: the kernel lets
    // CAP_PERFMON read its maps, but Landlock alone keeps its files, memory and root.
    let told = pod_of_two(
        &rkt,
        "--weaken=userns,hidepid,caps,disjoint-ids,init",
        "D01",
    );
    for way in told.worked() {
        let maps = ["maps", "auxv", "environ", "map_files"]
            .iter()
            .any(|m| way.contains(m));
        assert!(maps, "{way}");
    }
    pod_of_two(&rkt, "", "D01").is_refused();
}

#[test]
fn the_chroot_cannot_be_left() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let attack = |weaken: &str| alone(&rkt, &words(&[weaken]), "B09", &[]);
    attack("--weaken=pivot,caps,seccomp,landlock,userns").succeeds();
    attack("--weaken=caps,seccomp,landlock,userns").is_refused();
    attack("--weaken=pivot,seccomp,landlock,userns").is_refused();
    attack("").is_refused();
    granted(&rkt, &[], "B09", &[]).is_refused();
}

#[test]
fn the_report_of_the_demo_says_that_all_four_are_refused() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let (dir, flag) = volume(&rkt);
    let pod = rkt.start(&[
        &flag,
        PROBE,
        "--name=red",
        "---",
        PROBE,
        "--name=blue",
        "--caps-retain=all",
    ]);
    pod.wait_for_end();
    for app in ["red", "blue"] {
        let text = pod.logs(app);
        assert!(text.contains("0 of 4 attacks succeeded"), "{text}");
        assert!(text.contains("EPERM") && text.contains("EROFS"), "{text}");
    }
    assert_eq!(pod.status()["apps"][0]["exit_code"], 0);
    assert!(untouched(&dir));
}
