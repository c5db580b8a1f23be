//! A thousand looks a second at every process of pods that start, are entered, restart and stop:
//! none ever holds a capability that its app was not granted (rkt#576, and attack A01).

use super::inventory::DEFAULT;
use rkt_tests::attack::record_held;
use rkt_tests::sampler::{Grant, Sampler, Seen};
use rkt_tests::{Rkt, host};
use std::sync::atomic::{AtomicU32, Ordering};

const PROBE: &str = "builtin:probe";
/// Starts, enters, restarts and stops of a pod of two apps.
const CYCLES: u32 = 300;

/// `red` is user 0 with what user 0 holds by default, `blue` another user who holds nothing.
const GRANTS: &[(&str, Grant)] = &[
    (
        "red",
        Grant {
            bounding: DEFAULT,
            permitted: DEFAULT,
        },
    ),
    (
        "blue",
        Grant {
            bounding: DEFAULT,
            permitted: 0,
        },
    ),
];

/// One pod from its start to its end; every other enters the other app.
fn cycle(rkt: &Rkt, weaken: Option<&str>, number: u32) {
    let mut words = vec!["--rm"];
    words.extend(weaken);
    words.extend([PROBE, "--name=red", "--", "sleep", "---"]);
    words.extend([PROBE, "--name=blue", "--user=1000", "--", "sleep"]);
    let pod = rkt.start(&words);
    let app = if number.is_multiple_of(2) {
        "red"
    } else {
        "blue"
    };
    pod.enter(Some(app), &["/rkt-probe", "exit", "0"]).ok();
    rkt.rkt(&["app", "restart", "--force", "--app=red", &pod.uuid])
        .ok();
    pod.kill().ok();
}

/// Cycles by two at once, under the eyes of a sampler.
fn watched(cycles: u32, weaken: Option<&str>) -> Option<Seen> {
    let rkt = Rkt::needs(&[])?;
    // The first start fetches the image and makes what stays.
    cycle(&rkt, weaken, 0);
    let sampler = Sampler::start(host::v2_root().join(&rkt.cgroup), GRANTS);
    let left = AtomicU32::new(cycles);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let take = |n: u32| n.checked_sub(1);
                while let Ok(number) = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
                {
                    cycle(&rkt, weaken, number);
                }
            });
        }
    });
    let seen = sampler.end();
    seen.say();
    seen.was_awake();
    Some(seen)
}

#[test]
fn no_process_ever_holds_what_was_not_granted() {
    let Some(seen) = watched(CYCLES, None) else {
        return;
    };
    let of = |group: &str| {
        let of = |place: &&(String, i32)| place.0.ends_with(group);
        seen.processes.iter().filter(of).count()
    };
    // Each init, each app and each restart lives long enough to be seen, but for a few where the
    // sampler had to wait; most of what enters, too.
    let most = CYCLES as usize * 9 / 10;
    for (group, times) in [("/init", 1), ("/app-blue", 1), ("/app-red", 2)] {
        assert!(of(group) >= times * most, "{} of {group}", of(group));
    }
    seen.was_right();
    let Some(weak) = watched(5, Some("--weaken=caps")) else {
        return;
    };
    record_held("A01.1", seen.wrong.is_empty(), !weak.wrong.is_empty());
    // The weakness is of the apps; init's is seen by itself.
    assert!(
        weak.wrong.iter().all(|w| !w.contains("/init")),
        "{:#?}",
        weak.wrong
    );
    let weak = watched(5, Some("--weaken=init"));
    assert!(weak.is_some_and(|seen| seen.wrong.iter().any(|w| w.contains("/init"))));
}
