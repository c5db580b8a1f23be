//! The store under accidents: writers at once, kills at any moment, gc beside starts.

use rkt_tests::Rkt;
use rkt_tests::layout::{Image, Layout};
use rkt_tests::tar::Entry;
use rustix::fs::{IFlags, ioctl_getflags};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

/// A number from the clock and a counter: moments to kill at need no better.
fn random(below: u64) -> u64 {
    let mut bytes = [0; 8];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()).unwrap();
    u64::from_le_bytes(bytes) % below
}

/// Images that share a base, with a second layer that means something only on the first.
fn images(rkt: &Rkt, count: u8) -> Vec<Layout> {
    let base = Image::with_probe(&[
        Entry::dir("etc"),
        Entry::file("etc/conf", vec![1; 300_000]),
        Entry::file("gone", "x"),
    ]);
    (0..count)
        .map(|n| {
            let own = [
                Entry::file(format!("own-{n}"), vec![n; 100_000]),
                Entry::file("etc/more", "more"),
                Entry::file(".wh.gone", ""),
            ];
            let mut image = Image::new(&[&own]);
            image.layers.insert(0, base.layers[0].clone());
            image.write(&rkt.file(&format!("layout-{n}")))
        })
        .collect()
}

fn spawn(rkt: &Rkt, words: &[&str]) -> Child {
    let mut command = rkt.command(words);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.spawn().unwrap()
}

/// Files of the store that a mount stands on.
fn mountable(data: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for (place, name) in [("layers/sha256", "tar"), ("chains/sha256", "index")] {
        for entry in fs::read_dir(data.join(place)).unwrap() {
            all.push(entry.unwrap().path().join(name));
        }
    }
    all
}

fn immutable(path: &Path) -> bool {
    let file = fs::File::open(path).unwrap();
    ioctl_getflags(&file).unwrap().contains(IFlags::IMMUTABLE)
}

/// That nothing is half done: all that is there is whole, and gc leaves only what is needed.
fn whole(rkt: &Rkt, images: &[Layout]) {
    rkt.rkt(&["image", "verify"]).ok();
    rkt.rkt(&["image", "gc"]).ok();
    assert_eq!(fs::read_dir(rkt.data().join("tmp")).unwrap().count(), 0);
    for layout in images {
        rkt.rkt(&["fetch", "--quiet", &layout.reference()]).ok();
    }
    rkt.rkt(&["image", "verify"]).ok();
    assert_eq!(
        rkt.rkt(&["image", "list", "-q"]).ok().lines().count(),
        images.len()
    );
}

#[test]
fn what_is_mounted_cannot_be_changed_even_by_root() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let images = images(&rkt, 2);
    for layout in &images {
        rkt.rkt(&["fetch", "--quiet", &layout.reference()]).ok();
    }
    for path in mountable(&rkt.data()) {
        let mode = fs::metadata(&path).unwrap().permissions();
        assert_eq!(
            std::os::unix::fs::PermissionsExt::mode(&mode) & 0o7777,
            0o400
        );
        assert!(
            !immutable(&path),
            "{} and nothing is mounted",
            path.display()
        );
    }
    let pod = rkt.start(&[&images[0].reference(), "--name=a", "--", "sleep"]);
    let frozen: Vec<PathBuf> = mountable(&rkt.data())
        .into_iter()
        .filter(|p| immutable(p))
        .collect();
    assert_eq!(frozen.len(), 4, "two tars, two indexes: {frozen:?}");
    for path in &frozen {
        for error in [
            fs::OpenOptions::new().write(true).open(path).unwrap_err(),
            fs::remove_file(path).unwrap_err(),
            fs::rename(path, rkt.file("away")).unwrap_err(),
        ] {
            assert_eq!(
                error.kind(),
                std::io::ErrorKind::PermissionDenied,
                "{error}"
            );
        }
    }
    // gc keeps them as they are while the pod runs, and takes them when nobody needs them.
    rkt.rkt(&["image", "rm", &images[0].reference()]).ok();
    rkt.rkt(&["image", "gc"]).ok();
    assert!(frozen.iter().all(|p| immutable(p)));
    assert_eq!(pod.enter(None, &["/rkt-probe", "exit", "3"]).status, 3);
    pod.stop().ok();
    rkt.rkt(&["rm", &pod.uuid]).ok();
    rkt.rkt(&["image", "gc"]).ok();
    assert_eq!(
        mountable(&rkt.data()).len(),
        4,
        "two layers, two chains of the other image"
    );
    // The layer that both have stays mounted for the next start, and so stays as it is.
    let still = mountable(&rkt.data())
        .iter()
        .filter(|p| immutable(p))
        .count();
    assert_eq!(still, 2);
    rkt.rkt(&["image", "gc", "--grace-period=0s"]).ok();
    assert_eq!(mountable(&rkt.data()), [] as [PathBuf; 0]);
}

#[test]
fn writers_at_once_make_each_layer_once_and_whole() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let images = images(&rkt, 3);
    for _ in 0..5 {
        let names: Vec<String> = images.iter().map(Layout::reference).collect();
        let fetches = names
            .iter()
            .chain(&names)
            .map(|name| spawn(&rkt, &["fetch", name]));
        for mut child in fetches.collect::<Vec<_>>() {
            assert!(child.wait().unwrap().success());
        }
        rkt.rkt(&["image", "verify"]).ok();
        assert_eq!(
            fs::read_dir(rkt.data().join("layers/sha256"))
                .unwrap()
                .count(),
            4
        );
        assert_eq!(fs::read_dir(rkt.data().join("tmp")).unwrap().count(), 0);
        let ids = rkt.rkt(&["image", "list", "-q"]).ok();
        let mut words = vec!["image", "rm"];
        words.extend(ids.lines());
        rkt.rkt(&words).ok();
        rkt.rkt(&["image", "gc"]).ok();
    }
}

/// Kills a fetch, a gc and an rm at random moments of their lives, many times over.
#[test]
fn a_kill_at_any_moment_leaves_a_whole_store() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let images = images(&rkt, 2);
    let names: Vec<String> = images.iter().map(Layout::reference).collect();
    // How long each takes when nobody kills it.
    let timed = |words: &[&str]| {
        let start = Instant::now();
        rkt.rkt(words).ok();
        u64::try_from(start.elapsed().as_micros()).unwrap()
    };
    let mut times = [
        timed(&["fetch", "--quiet", &names[0]]),
        timed(&["image", "rm", &names[0]]),
        timed(&["image", "gc"]),
    ];
    let mut killed = [0; 3];
    let end = Instant::now() + Duration::from_secs(20);
    let mut round = 0;
    let few = |killed: &[i32; 3]| killed.iter().any(|n| *n < 3);
    while round < 60 || (Instant::now() < end || few(&killed)) && round < 200 {
        round += 1;
        let name = &names[round % names.len()];
        let (kind, words) = match round % 5 {
            0..=2 => (0, vec!["fetch", "--quiet", name]),
            3 => (1, vec!["image", "rm", name]),
            _ => (2, vec!["image", "gc", "--grace-period=0s"]),
        };
        let mut child = spawn(&rkt, &words);
        std::thread::sleep(Duration::from_micros(random(times[kind] * 11 / 10)));
        child.kill().unwrap();
        match child.wait().unwrap().code() {
            None => killed[kind] += 1,
            // It was faster than before, on a machine that has less to do by now.
            Some(_) => times[kind] = times[kind] * 9 / 10 + 1,
        }
        // The reader of layers sees its parent gone and ends by itself.
        rkt_tests::wait_for("the reader of layers", 10, || rkt.processes().is_empty());
        // Whatever is there is whole, at every moment.
        let done = rkt.rkt(&["image", "verify"]);
        assert_eq!(done.status, 0, "after round {round}, {words:?}\n{done}");
        if round % 20 == 0 {
            whole(&rkt, &images);
        }
    }
    assert!(
        killed.iter().all(|n| *n >= 3),
        "kills that met a living process: {killed:?}"
    );
    whole(&rkt, &images);
    let ids = rkt.rkt(&["image", "list", "-q"]).ok();
    let mut words = vec!["image", "rm"];
    words.extend(ids.lines());
    rkt.rkt(&words).ok();
    rkt.rkt(&["image", "gc"]).ok();
    for place in [
        "blobs/sha256",
        "layers/sha256",
        "chains/sha256",
        "images",
        "refs",
        "forgotten",
        "tmp",
    ] {
        assert_eq!(
            fs::read_dir(rkt.data().join(place)).unwrap().count(),
            0,
            "{place}"
        );
    }
}

/// Pods start while others remove their image and clean up: each start succeeds, or says that the
/// image is gone; no pod is ever without its layers.
#[test]
fn gc_beside_starts_never_takes_what_a_pod_needs() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let images = images(&rkt, 1);
    let name = images[0].reference();
    let stop = std::sync::atomic::AtomicBool::new(false);
    let order = std::sync::atomic::Ordering::Relaxed;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(order) {
                // Either may come too late or too early, and say so.
                let _ = rkt.rkt(&["image", "rm", &name]);
                rkt.rkt(&["image", "gc", "--grace-period=0s"]).ok();
            }
        });
        for _ in 0..40 {
            let done = rkt.run(&[&name, "--", "cat", "/etc/more"]);
            assert_eq!((done.status, done.out.as_str()), (0, "more"), "{done}");
        }
        stop.store(true, order);
    });
    rkt.leaves_nothing();
    whole(&rkt, &images);
}
