//! The life of a pod: shelves, lock, death of its owner.

use super::Scratch;
use crate::{Kind, Locked, Pods, Shelf, State};
use rkt_spec::Uuid;
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};

pub(super) fn uuid(n: u8) -> Uuid {
    Uuid::from_random([n; 16])
}

/// Another process (this same program) that makes a pod, lets it run, and waits to be killed.
pub(super) fn owner(dir: &Scratch, id: Uuid, name: Option<&str>) -> Child {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "tests::life::owner_process", "--nocapture"])
        .env("RKT_POD_TEST_DIR", &dir.path)
        .env("RKT_POD_TEST_UUID", id.to_string())
        .env("RKT_POD_TEST_NAME", name.unwrap_or(""))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    use std::io::BufRead as _;
    let mut lines = std::io::BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("OWNED")));
    child
}

/// Not a test by itself: the body of [`owner`]'s process.
#[test]
fn owner_process() {
    let Some(dir) = std::env::var_os("RKT_POD_TEST_DIR") else {
        return;
    };
    let id = Uuid::new(&std::env::var("RKT_POD_TEST_UUID").unwrap()).unwrap();
    let name = std::env::var("RKT_POD_TEST_NAME").unwrap();
    let pods = Pods::make(std::path::Path::new(&dir)).unwrap();
    let pod = pods.create(id).unwrap().to_prepare().unwrap();
    if !name.is_empty() {
        pod.claim_name(&name.parse().unwrap()).unwrap();
    }
    pod.write_manifest(b"{}").unwrap();
    let _held = pod.to_run().unwrap();
    {
        use std::io::Write as _;
        writeln!(std::io::stdout(), "OWNED").unwrap();
    }
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
}

#[test]
fn a_pod_walks_from_shelf_to_shelf_under_its_lock() {
    let dir = Scratch::new();
    let pods = Pods::make(&dir.path.join("data")).unwrap();
    let state = || pods.get(uuid(1)).unwrap().map(|p| p.state());
    assert_eq!(state(), None);
    let pod = pods.create(uuid(1)).unwrap();
    assert_eq!(state(), Some(State::Embryo));
    assert_eq!(pods.create(uuid(1)).unwrap_err().kind(), Kind::Taken);
    let pod = pod.to_prepare().unwrap();
    assert_eq!(state(), Some(State::Preparing));
    assert_eq!(pods.get(uuid(1)).unwrap().unwrap().created(), None);
    pod.write_manifest(b"{\"a\":1}").unwrap();
    let pod = pod.to_prepared().unwrap().to_run().unwrap();
    assert_eq!(state(), Some(State::Running));
    let found = pods.find("0101").unwrap();
    assert_eq!(found.manifest().unwrap().unwrap(), b"{\"a\":1}");
    assert!(found.created().unwrap() > 0 && found.is_locked().unwrap());
    assert_eq!(found.lock().unwrap_err().kind(), Kind::Taken);
    drop(pod.into_fd().unwrap());
    assert_eq!(state(), Some(State::Exited));
    assert!(pods.find("0101").unwrap().set_aside().unwrap());
    assert_eq!(state(), Some(State::ExitedGarbage));
    let held = pods.find("0101").unwrap().lock().unwrap();
    assert_eq!(state(), Some(State::ExitedDeleting));
    drop(held);
    pods.find("0101").unwrap().lock().unwrap().remove().unwrap();
    assert_eq!(state(), None);
    assert!(pods.uuids().unwrap().is_empty());
}

#[test]
fn everything_is_for_the_owner_only() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = Scratch::new();
    let pods = Pods::make(&dir.path.join("data")).unwrap();
    let pod = pods.create(uuid(1)).unwrap().to_prepare().unwrap();
    pod.write_manifest(b"{}").unwrap();
    let mode = |path: &str| {
        let meta = std::fs::metadata(dir.path.join("data").join(path)).unwrap();
        meta.permissions().mode() & 0o7777
    };
    assert_eq!(mode("pods"), 0o700);
    assert_eq!(mode("pods/prepare"), 0o700);
    assert_eq!(mode(&format!("pods/prepare/{}", uuid(1))), 0o700);
    assert_eq!(mode(&format!("pods/prepare/{}/pod", uuid(1))), 0o600);
    std::fs::set_permissions(
        dir.path.join("data/pods"),
        std::fs::Permissions::from_mode(0o777),
    )
    .unwrap();
    let open = Pods::make(&dir.path.join("data"));
    assert_eq!(open.unwrap_err().kind(), Kind::Refused);
}

#[test]
fn a_start_that_fails_leaves_nothing() {
    let dir = Scratch::new();
    let pods = Pods::make(&dir.path).unwrap();
    drop(pods.create(uuid(1)).unwrap());
    let pod = pods.create(uuid(2)).unwrap().to_prepare().unwrap();
    pod.write_manifest(b"{}").unwrap();
    pod.claim_name(&"web".parse().unwrap()).unwrap();
    drop(pod);
    let pod = pods.create(uuid(3)).unwrap().to_prepare().unwrap();
    pod.to_run().unwrap().discard().unwrap();
    assert!(pods.uuids().unwrap().is_empty());
    assert!(pods.names().unwrap().is_empty());
}

#[test]
fn a_killed_owner_leaves_an_exited_pod_and_a_free_name() {
    let dir = Scratch::new();
    let pods = Pods::make(&dir.path).unwrap();
    let mut child = owner(&dir, uuid(1), Some("web"));
    let pod = pods.find("web").unwrap();
    assert_eq!(pod.state(), State::Running);
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!pod.is_locked().unwrap());
    assert_eq!(pods.find("web").unwrap().state(), State::Exited);
    let next = pods.create(uuid(2)).unwrap().to_prepare().unwrap();
    next.claim_name(&"web".parse().unwrap()).unwrap();
    assert_eq!(pods.find("web").unwrap().uuid(), uuid(2));
    // The old one does not take the name with it.
    pods.find(&uuid(1).to_string())
        .unwrap()
        .lock()
        .unwrap()
        .remove()
        .unwrap();
    assert_eq!(pods.find("web").unwrap().uuid(), uuid(2));
}

#[test]
fn a_killed_preparation_is_found_and_removed() {
    let dir = Scratch::new();
    let pods = Pods::make(&dir.path).unwrap();
    for (n, shelf) in [(1, "embryo"), (2, "prepare"), (3, "garbage")] {
        dir.mkdir(&format!("pods/{shelf}/{}/left", uuid(n)));
    }
    let states: Vec<_> = pods
        .uuids()
        .unwrap()
        .into_iter()
        .map(|(u, s)| pods.get_from(u, s).unwrap().unwrap())
        .map(|p| (p.state(), p.lock().unwrap().remove()))
        .collect();
    let want = [State::Embryo, State::AbortedPrepare, State::Garbage];
    assert!(states.iter().map(|(s, _)| *s).eq(want));
    assert!(states.iter().all(|(_, r)| r.is_ok()));
    assert!(pods.uuids().unwrap().is_empty());
}

#[test]
fn a_pod_is_found_by_uuid_name_or_prefix() {
    let dir = Scratch::new();
    let none = Pods::open(&dir.path.join("nothing")).unwrap();
    assert!(none.uuids().unwrap().is_empty() && none.names().unwrap().is_empty());
    assert_eq!(none.find("a").unwrap_err().kind(), Kind::NotFound);
    let pods = Pods::make(&dir.path).unwrap();
    let mut held = Vec::new();
    for (n, name) in [(0x1a, "web"), (0x1b, "1a"), (0x2c, "x")] {
        let pod = pods.create(uuid(n)).unwrap().to_prepare().unwrap();
        pod.claim_name(&name.parse().unwrap()).unwrap();
        held.push(pod);
    }
    let find = |text: &str| pods.find(text).map(|p| p.uuid());
    assert_eq!(find("web"), Ok(uuid(0x1a)));
    assert_eq!(find(&uuid(0x1a).to_string().to_uppercase()), Ok(uuid(0x1a)));
    assert_eq!(find("2C2c"), Ok(uuid(0x2c)));
    assert_eq!(find("1a"), Ok(uuid(0x1b)), "a name beats a prefix");
    for (text, message) in [
        ("1", "ambiguous uuid, 2 matches"),
        ("9", "no matches found for \"9\""),
        ("../x", "no matches found for \"../x\""),
        ("\x1b", "no matches found for \"\\u{1b}\""),
        ("", "UUID cannot be empty"),
        (
            &uuid(9).to_string(),
            &format!("no matches found for \"{}\"", uuid(9)),
        ),
    ] {
        assert_eq!(find(text).unwrap_err().to_string(), message);
    }
}

#[test]
fn looking_never_disturbs_making_and_moving() {
    let dir = Scratch::new();
    let pods = Pods::make(&dir.path).unwrap();
    let over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !over.load(std::sync::atomic::Ordering::Relaxed) {
                    for (id, shelf) in pods.uuids().unwrap() {
                        if let Some(pod) = pods.get_from(id, shelf).unwrap() {
                            // Never seen: a running pod's two facts mixed from two moments.
                            assert_ne!(pod.state(), State::AbortedPrepare);
                            assert_ne!(pod.state(), State::Exited);
                        }
                    }
                }
            });
        }
        for n in 0..200 {
            let pod = pods.create(uuid(n)).unwrap().to_prepare().unwrap();
            let pod = pod.to_prepared().unwrap().to_run().unwrap();
            let locked = Locked::adopt(pod.into_fd().unwrap(), uuid(n)).unwrap();
            assert_eq!(locked.shelf(), Shelf::Run);
            locked.remove().unwrap();
        }
        over.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    assert!(pods.uuids().unwrap().is_empty());
}

#[test]
fn a_dead_pod_that_is_taken_over_never_looks_alive() {
    let dir = Scratch::new();
    let pods = Pods::make(&dir.path).unwrap();
    drop(pods.create(uuid(9)).unwrap());
    let over = std::sync::atomic::AtomicBool::new(false);
    let (watched, failed) = std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut alive = 0;
            while !over.load(std::sync::atomic::Ordering::Relaxed) {
                let pod = pods.get(uuid(1)).unwrap();
                alive += u32::from(pod.is_some_and(|p| p.state() == State::Running));
            }
            alive
        });
        let mut failed = 0;
        for _ in 0..100 {
            dir.mkdir(&format!("pods/run/{}", uuid(1)));
            // Two removers at once: one wins, and the other is told.
            let (a, b) = (pods.get(uuid(1)).unwrap(), pods.get(uuid(1)).unwrap());
            let other = scope.spawn(move || a.is_some_and(|p| removed(p.lock())));
            let mine = b.is_some_and(|p| removed(p.lock()));
            failed += u32::from(other.join().is_ok_and(|other| other == mine));
        }
        over.store(true, std::sync::atomic::Ordering::Relaxed);
        (watcher.join(), failed)
    });
    assert_eq!(watched.unwrap(), 0, "seen running");
    assert_eq!(failed, 0, "removed twice, or by nobody");
}

fn removed(locked: crate::Result<Locked>) -> bool {
    match locked {
        Ok(locked) => {
            locked.remove().unwrap();
            true
        }
        Err(e) => {
            assert!(matches!(e.kind(), Kind::Taken | Kind::NotFound), "{e}");
            false
        }
    }
}

#[test]
fn a_supervisor_adopts_only_a_directory_that_runs() {
    let dir = Scratch::new();
    let pods = Pods::make(&dir.path).unwrap();
    let fd = pods
        .create(uuid(1))
        .unwrap()
        .to_prepare()
        .unwrap()
        .to_run()
        .unwrap()
        .into_fd()
        .unwrap();
    let again = rustix::io::dup(&fd).unwrap();
    assert_eq!(
        Locked::adopt(again, uuid(2)).unwrap_err().kind(),
        Kind::State
    );
    let mine = Locked::adopt(fd, uuid(1)).unwrap();
    assert!(
        pods.get(uuid(1))
            .unwrap()
            .unwrap()
            .as_fd()
            .try_clone_to_owned()
            .is_ok()
    );
    mine.remove().unwrap();
    assert!(pods.get(uuid(1)).unwrap().is_none());
}
