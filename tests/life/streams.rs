//! Output of apps: whole, in order, bounded on disk, and never in the app's way.

use rkt_tests::{Rkt, wait_for};
use std::fs;

const PROBE: &str = "builtin:probe";

#[test]
fn logs_are_rotated_and_bounded() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let pod = rkt.start(&[
        PROBE,
        "--name=a",
        "--log-max-size=1Mi",
        "--log-files=3",
        "--",
        "write-output",
        "20000000",
    ]);
    pod.wait_for_end();
    let mut total = 0;
    let mut files = 0;
    for entry in fs::read_dir(pod.dir().join("logs")).unwrap().flatten() {
        total += entry.metadata().unwrap().len();
        files += 1;
    }
    assert_eq!(files, 3);
    assert!(total < 4 << 20, "{total} bytes");
    let text = pod.logs("a");
    assert!(text.ends_with("XYZ.\n"), "the last line is there");
}

#[test]
fn lines_keep_their_order_and_their_app() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let pod = rkt.start(&[
        PROBE,
        "--name=a",
        "--",
        "write-output",
        "640000",
        "---",
        PROBE,
        "--name=b",
        "--",
        "env",
    ]);
    pod.wait_for_end();
    assert_eq!(pod.logs("a").len(), 640_000);
    assert!(pod.logs("b").contains("AC_APP_NAME=b"));
    assert!(!pod.logs("b").contains("XYZ"));
}

#[test]
fn a_detached_app_whose_reader_is_gone_writes_on() {
    let Some(rkt) = Rkt::needs(&[]) else { return };
    let dir = rkt.open_dir("v");
    let volume = format!("-v{}:/data", dir.display());
    let pod = rkt.start(&[&volume, PROBE, "--name=a", "--", "count", "/data/n"]);
    let read = || fs::read_to_string(dir.join("n")).unwrap_or_default();
    let first = read();
    wait_for("the counter", 5, || read() != first);
    pod.stop().ok();
}
