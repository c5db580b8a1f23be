//! Every attack of the suite that can be made from inside, against a pod with nothing special.

use rkt_tests::attack::{Told, alone};
use rkt_tests::layout::Image;
use rkt_tests::tar::Entry;
use rkt_tests::{Done, Need, Rkt};
use std::fs;

const PROBE: &str = "builtin:probe";

/// Verdicts of `attack all`, in the order in which they were made.
fn all(done: &Done) -> Vec<Told> {
    done.out
        .lines()
        .filter(|l| l.starts_with('{'))
        .map(|line| {
            Told::read(&Done {
                out: line.to_owned(),
                ..done.clone()
            })
        })
        .collect()
}

/// In a pod of one app /proc is plain, so PID 1 is seen there; what it is good for is D01.
fn by_design(id: &serde_json::Value) -> bool {
    id == "D08"
}

#[test]
fn no_attack_of_the_suite_works_by_default() {
    let Some(rkt) = Rkt::needs(&[Need::Landlock]) else {
        return;
    };
    let dir = rkt.open_dir("volume");
    fs::write(dir.join("file"), "x").unwrap();
    let volume = format!("-v{}:/probe-volume:ro", dir.display());
    for user in ["--user=0", "--user=1000"] {
        let done = rkt.run(&[&volume, PROBE, user, "--", "attack", "all"]);
        let told = all(&done);
        assert!(told.len() > 40, "{done}");
        for one in told {
            let id = &one.value["id"];
            assert!(
                by_design(id) || one.worked().is_empty(),
                "{user} {id}: {:#?}",
                one.worked()
            );
        }
    }
}

#[test]
fn with_every_capability_granted_nothing_of_the_host_is_reached() {
    let Some(rkt) = Rkt::needs(&[Need::Landlock]) else {
        return;
    };
    let dir = rkt.open_dir("volume");
    fs::write(dir.join("file"), "x").unwrap();
    let volume = format!("-v{}:/probe-volume:ro", dir.display());
    let done = rkt.run(&[&volume, PROBE, "--caps-retain=all", "--", "attack", "all"]);
    for one in all(&done) {
        let id = &one.value["id"];
        // To raise what was granted is the app's own business, and so are the calls that a
        // capability is for: what they reach is its own namespace.
        assert!(
            by_design(id) || id == "A05" || id == "K05" || one.worked().is_empty(),
            "{id}: {:#?}",
            one.worked()
        );
    }
}

/// Attacks that one defence alone must stop, and that work when it is gone.
#[test]
fn seccomp_is_what_keeps_rare_calls_and_sockets_away() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    for id in ["K03", "K04", "K05", "K06"] {
        alone(&rkt, &["--weaken=seccomp"], id, &[]).succeeds();
        alone(&rkt, &[], id, &[]).is_refused();
    }
    let told = alone(&rkt, &[], "A06", &[]);
    told.is_refused();
    assert!(
        told.refused_with("clone3", "ENOSYS"),
        "libcs fall back on ENOSYS: {:#}",
        told.value
    );
    // Without the filter the limit on user namespaces stands: not EPERM but ENOSPC.
    let told = alone(&rkt, &["--weaken=seccomp"], "A06", &[]);
    told.is_refused();
    assert!(
        told.refused_with("clone(NEWUSER)", "ENOSPC"),
        "{:#}",
        told.value
    );
}

#[test]
fn masks_are_what_hides_the_kernels_files() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    for id in ["K11", "K12"] {
        alone(&rkt, &["--weaken=masks"], id, &[]).succeeds();
        alone(&rkt, &[], id, &[]).is_refused();
    }
    alone(
        &rkt,
        &["--weaken=masks,userns,caps,landlock,seccomp"],
        "K09",
        &[],
    )
    .succeeds();
    alone(&rkt, &["--weaken=userns,caps,landlock,seccomp"], "K09", &[]).is_refused();
    alone(&rkt, &["--weaken=masks,landlock,seccomp"], "K09", &[]).is_refused();
}

#[test]
fn no_new_privs_is_what_makes_setuid_files_plain() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let probe = fs::read(
        rkt_tests::need::binary()
            .unwrap()
            .with_file_name("rkt-probe"),
    )
    .unwrap();
    // Version 2, effective: what the kernel keeps for `setcap NAME+ep`.
    let caps = |bits: u32| {
        let mut value = vec![1, 0, 0, 2];
        value.extend(bits.to_le_bytes());
        value.extend([0; 12]);
        value
    };
    let key = "SCHILY.xattr.security.capability";
    let layout = Image::with_probe(&[
        Entry::file("setuid", &probe).mode(0o4755),
        // CHOWN is in the bounding set, NET_RAW and SYS_ADMIN are not.
        Entry::file("chown", &probe).mode(0o755).pax(key, caps(1)),
        Entry::file("beyond", &probe)
            .mode(0o755)
            .pax(key, caps(1 << 13 | 1 << 21)),
    ])
    .write(&rkt.file("layout"));
    let name = layout.reference();
    let attack = |id: &str, file: &str, more: &[&str]| {
        let mut words = vec![name.as_str(), "--user=1000"];
        words.extend(more);
        words.extend(["--", "attack", id, file]);
        Told::read(&rkt.run(&words))
    };
    attack("A03", "--file=/setuid", &[]).is_refused();
    attack("A03", "--file=/setuid", &["--no-new-privs=false"]).succeeds();
    attack("A04", "--file=/chown", &[]).is_refused();
    attack("A04", "--file=/chown", &["--no-new-privs=false"]).succeeds();
    // It runs, without them; a kernel that may not drop them would refuse to run it at all.
    let told = attack("A04", "--file=/beyond", &[]);
    told.is_refused();
    assert_eq!(told.value["errno"], "runs without them");
    let told = attack("A04", "--file=/beyond", &["--no-new-privs=false"]);
    told.is_refused();
}
