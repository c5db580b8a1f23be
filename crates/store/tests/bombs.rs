//! Small layers that ask for much: refused within ten seconds and 64 MiB.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout
)]

mod support;

use rkt_store::Kind;
use rkt_store::layer::Limits;
use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;
use support::TestStore;
use support::tarball::{Tarball, dir, file, hard, symlink};

/// Code that is not for release gets a tenth of each bomb, and a tenth of the memory to stand it.
fn scaled(n: usize) -> usize {
    if cfg!(debug_assertions) { n / 10 } else { n }
}

/// Gzips a start, then the same bytes many times, then an end.
fn bomb(start: &[u8], again: impl Fn(usize) -> Vec<u8>, times: usize) -> Vec<u8> {
    // The fast level makes a tenth of the ratio that is possible.
    let level = if again(0).len() == 1 << 20 { 9 } else { 1 };
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(level));
    out.write_all(start).unwrap();
    for n in 0..(if level == 9 { times } else { scaled(times) }) {
        out.write_all(&again(n)).unwrap();
    }
    out.write_all(&[0; 1024]).unwrap();
    out.finish().unwrap()
}

fn one(entry: support::tarball::Header) -> Vec<u8> {
    Tarball::new().put(entry).0
}

/// The largest resident memory that a child of ours ever had, in KiB, while `body` runs.
fn peak<T>(body: impl FnOnce() -> T) -> (T, u64) {
    let done = AtomicBool::new(false);
    let peak = AtomicU64::new(0);
    let result = std::thread::scope(|scope| {
        scope.spawn(|| {
            let me = std::process::id();
            let children = format!("/proc/{me}/task");
            while !done.load(Ordering::Relaxed) {
                for task in std::fs::read_dir(&children).unwrap().flatten() {
                    let list = std::fs::read_to_string(task.path().join("children"));
                    for child in list.unwrap_or_default().split_whitespace() {
                        let status = std::fs::read_to_string(format!("/proc/{child}/status"));
                        let text = status.unwrap_or_default();
                        // Before its exec a child still shows the memory of this process.
                        if !text.starts_with("Name:\trkt-layer-rea") {
                            continue;
                        }
                        let line = text.lines().find_map(|l| l.strip_prefix("VmHWM:"));
                        let kib = line.and_then(|l| l.trim().strip_suffix(" kB")?.parse().ok());
                        peak.fetch_max(kib.unwrap_or(0), Ordering::Relaxed);
                    }
                }
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
        });
        let result = body();
        done.store(true, Ordering::Relaxed);
        result
    });
    (result, peak.into_inner())
}

// One test, one bomb after the other: the measure is of all children of the process.
#[test]
fn bombs_cost_little() {
    let store = TestStore::new("bombs");
    let many = 700_000;
    let deep = "d/".repeat(1000);
    let links = |turn: &str| {
        // Forty links of two thousand steps each.
        let mut tar = Tarball::new().put(dir("a"));
        let turns = turn.repeat(4000 / turn.len());
        for n in 0..40 {
            let next = if n == 39 {
                "a".into()
            } else {
                format!("l{}", n + 1)
            };
            tar = tar.put(symlink(format!("l{n}"), format!("{turns}{next}")));
        }
        tar.0
    };
    let mut xattrs = symlink("s", "t");
    for n in 0..250 {
        xattrs = xattrs.xattr(&format!("user.{n}"), "");
    }
    let sparse = file("s", [b"1\n0\n1\n".as_slice(), &[0; 506], b"x"].concat())
        .pax("GNU.sparse.major", "1")
        .pax("GNU.sparse.minor", "0")
        .pax("GNU.sparse.realsize", (1u64 << 31).to_string());
    let zeros = file("z", "");
    let mut zeros_header = zeros.clone();
    zeros_header.size = Some(6 << 30);
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("files", bomb(&[], |n| one(file(format!("f{n}"), "")), many)),
        ("same name", bomb(&[], |_| one(file("f", "")), many)),
        (
            "hard links",
            bomb(
                &one(file("f", "")),
                |n| one(hard(format!("h{n}"), "f")),
                many,
            ),
        ),
        (
            "whiteouts",
            bomb(&[], |n| one(file(format!(".wh.{n}"), "")), many),
        ),
        (
            "deep paths",
            bomb(&[], |n| one(file(format!("{n}/{deep}f"), "")), 3000),
        ),
        (
            "entangled links",
            bomb(
                &links("a/../"),
                |n| one(file(format!("l0/{n}"), "")),
                400_000,
            ),
        ),
        (
            "slashes",
            bomb(&links("/"), |_| one(file("l0/f", "")), many),
        ),
        ("attributes", bomb(&[], |_| one(xattrs.clone()), 40_000)),
        (
            "holes",
            bomb(
                &[],
                |n| {
                    let mut s = sparse.clone();
                    s.name = format!("s{n}").into_bytes();
                    one(s)
                },
                20_000,
            ),
        ),
        (
            "long names",
            bomb(&[], |n| one(file(format!("{n:0>250}"), "")), 400_000),
        ),
        (
            "targets",
            bomb(
                &[],
                |n| one(symlink(format!("{n}"), "t".repeat(4000))),
                100_000,
            ),
        ),
        (
            "extended headers",
            bomb(
                &[],
                |_| one(file("f", "").pax("comment", "c".repeat(1 << 19))),
                2000,
            ),
        ),
        (
            "zeros",
            bomb(&zeros_header.block(), |_| vec![0; 1 << 20], 700),
        ),
        (
            "zeros after the end",
            bomb(&[0; 1024], |_| vec![0; 1 << 20], 700),
        ),
        (
            "zeros by zstd",
            zstd::encode_all(
                std::io::Read::take(std::io::repeat(0), 4 << 30).chain_after(&zeros_header.block()),
                1,
            )
            .unwrap(),
        ),
    ];
    let limits = Limits::default();
    let limits = Limits {
        metadata: scaled(limits.metadata as usize) as u64,
        ..limits
    };
    for (name, bytes) in cases {
        let start = Instant::now();
        let (result, kib) = peak(|| store.add_within(&bytes, &limits));
        let seconds = start.elapsed().as_secs_f64();
        println!(
            "{name}: {} bytes, {seconds:.2} s, {kib} KiB, {:?}",
            bytes.len(),
            result.as_ref().err().map(ToString::to_string)
        );
        assert!(kib <= 64 << 10, "{name}: {kib} KiB");
        assert!(seconds <= 10.0, "{name}: {seconds} s");
        if let Err(error) = result {
            assert!(
                matches!(error.kind(), Kind::TooLarge | Kind::Corrupt),
                "{name}: {error}"
            );
        }
        assert_eq!(store.left_over(), 0, "{name}");
    }
    if cfg!(debug_assertions) {
        println!("skip: bombs on lower layers: their bounds are for optimised code");
        return;
    }
    // What costs only on top of other layers.
    let deep = |last: &str| Tarball::new().put(file(format!("{deep}{last}"), "")).0;
    let base = |n: usize| match n {
        0 => deep("base"),
        _ => one(file(format!("f{n}"), "")),
    };
    let entangled = |n: usize| match n {
        0 => deep(".wh.base"),
        n if n % 2 == 0 => one(file(format!(".wh.f{n}"), "")),
        n => one(hard(format!("l{n}"), format!("f{n}"))),
    };
    let nested = |n: usize| one(file(format!("{}{n}/x", "d/".repeat(n % 900)), ""));
    for (name, top) in [
        ("whiteouts and links below", bomb(&[], entangled, 300_000)),
        ("missing parents below", bomb(&[], nested, 150_000)),
    ] {
        let layers = [bomb(&[], base, 300_000), top];
        let start = Instant::now();
        let (result, kib) = peak(|| store.chain(&layers));
        let seconds = start.elapsed().as_secs_f64();
        let verdict = result.map(|c| c.len()).map_err(|e| e.to_string());
        println!("{name}: {seconds:.2} s, {kib} KiB, {verdict:?}");
        assert!(kib <= 64 << 10, "{name}: {kib} KiB");
        // Two layers, each read and then indexed.
        assert!(
            cfg!(debug_assertions) || seconds <= 20.0,
            "{name}: {seconds} s"
        );
    }
}

trait ChainAfter: std::io::Read + Sized {
    fn chain_after(self, first: &[u8]) -> std::io::Chain<std::io::Cursor<Vec<u8>>, Self> {
        std::io::Read::chain(std::io::Cursor::new(first.to_vec()), self)
    }
}

impl<R: std::io::Read> ChainAfter for R {}
