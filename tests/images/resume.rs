//! Pulls that are killed go on where they stopped.

use rkt_tests::images::TAG;
use rkt_tests::layout::{Image, Pack};
use rkt_tests::registry::Registry;
use rkt_tests::slow::Slow;
use rkt_tests::tar::Entry;
use rkt_tests::{Need, Rkt, wait_for};
use std::process::Stdio;
use std::time::Duration;

const NEEDS: [Need; 2] = [Need::Tool("skopeo"), Need::Tool("docker-registry")];

/// Bytes that do not compress.
fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    })
    .take(length)
    .collect()
}

/// The probe and four layers of 3 MiB, in a registry.
fn image(rkt: &Rkt, registry: &Registry) -> u64 {
    let mut image = Image::with_probe(&[]);
    for n in 0..4_u64 {
        let entries = [Entry::file(format!("noise{n}"), noise(3 << 20, n + 1))];
        image.layers.push(rkt_tests::tar::archive(&entries));
    }
    image.pack = Pack::Gzip;
    let layout = image.write(&rkt.file("layout"));
    registry.push(&layout.dir, TAG, "noise");
    let layers = layout.manifest()["layers"].clone();
    let sizes = layers.as_array().unwrap().iter();
    sizes.map(|l| l["size"].as_u64().unwrap()).sum()
}

/// Starts a fetch, and kills it with this signal when so many bytes have come and it has begun to
/// keep what is to be kept of them; its status.
fn fetch_and_signal(
    rkt: &Rkt,
    name: &str,
    (slow, bytes): (&Slow, u64),
    signal: rustix::process::Signal,
) -> Option<i32> {
    slow.stop_after(bytes);
    let mut child = rkt
        .command(&["fetch", "--quiet", name])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wait_for("the bytes", 30, || slow.has_stopped());
    // Manifest and configuration are less, and nothing of them is kept.
    if bytes > 1 << 20 {
        wait_for("something kept", 30, || keeps(rkt));
    }
    rkt_tests::host::signal(i32::try_from(child.id()).unwrap(), signal);
    let status = rkt_tests::command::wait(&mut child, Duration::from_secs(20));
    slow.go_on();
    status.map(rkt_tests::command::shell_status)
}

/// Whether a part of a layer, or a whole one, is in the store.
fn keeps(rkt: &Rkt) -> bool {
    left(rkt).iter().any(|file| {
        let some = std::fs::metadata(file).is_ok_and(|m| m.len() > 0);
        some && (file.contains("/partial/") || file.contains("/layers/"))
    })
}

/// Files of the data directory that hold anything of an image.
fn left(rkt: &Rkt) -> Vec<String> {
    let places = [
        "partial",
        "tmp",
        "layers",
        "chains",
        "blobs",
        "images",
        "refs",
        "distribution",
    ];
    let mut found = Vec::new();
    for place in places {
        let dir = rkt.data().join(place);
        if dir.exists() {
            let words = [&*dir.display().to_string(), "-type", "f"];
            found.extend(
                rkt_tests::command::tool("find", &words)
                    .lines()
                    .map(str::to_owned),
            );
        }
    }
    found
}

#[test]
fn a_pull_killed_in_fifty_places_goes_on_where_it_stopped() {
    let Some(rkt) = Rkt::needs(&NEEDS) else {
        return;
    };
    let registry = Registry::start(&rkt.file("registry"));
    let size = image(&rkt, &registry);
    let slow = Slow::to(&registry.address);
    let name = format!("docker://{}/noise:{TAG}", slow.address);
    rkt.rkt(&["fetch", "--quiet", &name]).ok();
    let (whole, _) = slow.taken();
    let forget = || {
        rkt.rkt(&["image", "rm", &name]).ok();
        rkt.rkt(&["image", "gc"]).ok();
    };
    forget();
    slow.taken();
    let (mut all, mut resumed) = (0, 0);
    for step in 0..50 {
        let bytes = whole * step / 50 + 1;
        fetch_and_signal(&rkt, &name, (&slow, bytes), rustix::process::Signal::KILL);
        // The readers of layers see the end of their pipes.
        wait_for("the readers to end", 10, || {
            rkt.processes().iter().all(|pid| {
                std::fs::read_to_string(format!("/proc/{pid}/cmdline"))
                    .is_ok_and(|line| !line.contains("__layer"))
            })
        });
        let told = rkt.rkt(&["fetch", &name]);
        resumed += u32::from(told.err.contains("going on after"));
        told.ok();
        all += slow.taken().0;
        if step % 5 == 0 {
            rkt.rkt(&["image", "verify", &name]).ok();
        }
        assert!(
            !rkt.data()
                .join("partial/sha256")
                .read_dir()
                .is_ok_and(|mut d| d.next().is_some())
        );
        forget();
        let left = left(&rkt);
        assert!(left.is_empty(), "step {step}: {left:?}");
    }
    // What the kernel held for the killed process, and the small documents, come again.
    let most = 50 * size * 5 / 4;
    assert!(all <= most, "{all} bytes came in 50 pulls of {size}");
    assert!(
        resumed >= 25,
        "only {resumed} of 50 have found something to go on with"
    );
    drop(registry);
}

#[test]
fn signals_end_a_pull_and_leave_what_has_come() {
    use rustix::process::Signal;
    let Some(rkt) = Rkt::needs(&NEEDS) else {
        return;
    };
    let registry = Registry::start(&rkt.file("registry"));
    image(&rkt, &registry);
    let slow = Slow::to(&registry.address);
    let name = format!("docker://{}/noise:{TAG}", slow.address);
    for (signal, status) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        slow.limit(4 << 20);
        let ended = fetch_and_signal(&rkt, &name, (&slow, 3 << 20), signal);
        assert_eq!(ended, Some(status));
        assert!(
            left(&rkt).iter().any(|f| f.contains("/partial/")),
            "{:?}",
            left(&rkt)
        );
        assert!(
            left(&rkt).iter().all(|f| !f.contains("/data/tmp/")),
            "{:?}",
            left(&rkt)
        );
        assert_eq!(rkt.rkt(&["image", "list", "--no-legend"]).ok(), "");
        slow.limit(0);
        rkt.rkt(&["fetch", &name]).says("going on after").ok();
        rkt.rkt(&["image", "rm", &name]).ok();
        rkt.rkt(&["image", "gc"]).ok();
    }
    drop(registry);
}

#[test]
fn a_pull_of_what_is_there_is_one_request() {
    let Some(rkt) = Rkt::needs(&NEEDS) else {
        return;
    };
    let registry = Registry::start(&rkt.file("registry"));
    image(&rkt, &registry);
    let slow = Slow::to(&registry.address);
    let name = format!("docker://{}/noise:{TAG}", slow.address);
    rkt.rkt(&["fetch", "--quiet", &name]).ok();
    slow.taken();
    let value = rkt
        .rkt(&["fetch", "--quiet", "--format=json", &name])
        .json();
    assert_eq!(slow.taken().1, 1);
    let pinned = format!(
        "docker://{}/noise@{}",
        slow.address,
        value["manifest"].as_str().unwrap()
    );
    rkt.rkt(&["fetch", "--quiet", &pinned]).ok();
    slow.taken();
    rkt.rkt(&["fetch", "--quiet", &pinned]).ok();
    rkt.rkt(&["fetch", "--quiet", "--pull-policy=new", &name])
        .ok();
    assert_eq!(
        slow.taken().1,
        0,
        "a digest cannot mean anything else tomorrow"
    );
    drop(registry);
}
