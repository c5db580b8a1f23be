//! What a pull shows: a bar a layer on a terminal, lines elsewhere, nothing with `--quiet`.

use rkt_tests::images::TAG;
use rkt_tests::layout::{Image, Pack};
use rkt_tests::registry::Registry;
use rkt_tests::slow::Slow;
use rkt_tests::tar::Entry;
use rkt_tests::{Need, Rkt};
use rustix::fs::OFlags;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use std::fs::File;
use std::io::Read;
use std::process::Stdio;
use std::time::Duration;

const NEEDS: [Need; 2] = [Need::Tool("skopeo"), Need::Tool("docker-registry")];

/// Runs a command with stderr on a terminal of 100 columns; what it shows there.
fn on_a_terminal(rkt: &Rkt, words: &[&str]) -> String {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap();
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let slave = rustix::fs::open(&name, flags, rustix::fs::Mode::empty()).unwrap();
    let size = Winsize {
        ws_row: 30,
        ws_col: 100,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(&master, size).unwrap();
    let mut child = rkt
        .command(words)
        .env("TERM", "xterm")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::from(slave))
        .spawn()
        .unwrap();
    let reader = std::thread::spawn(move || {
        let (mut master, mut all) = (File::from(master), Vec::new());
        let mut buffer = [0; 4096];
        // EIO when nobody has the other side any more.
        while let Ok(n @ 1..) = master.read(&mut buffer) {
            all.extend_from_slice(&buffer[..n]);
        }
        String::from_utf8_lossy(&all).into_owned()
    });
    let status = rkt_tests::command::wait(&mut child, Duration::from_secs(60)).unwrap();
    assert!(status.success());
    reader.join().unwrap()
}

#[test]
fn a_pull_shows_a_bar_a_layer_on_a_terminal_and_lines_elsewhere() {
    let Some(rkt) = Rkt::needs(&NEEDS) else {
        return;
    };
    let registry = Registry::start(&rkt.file("registry"));
    let mut image = Image::new(&[]);
    for n in 0..2_u8 {
        let mut state = u64::from(n) + 1;
        let noise: Vec<u8> = std::iter::repeat_with(|| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        })
        .take(2 << 20)
        .collect();
        let entries = [Entry::file(format!("noise{n}"), noise)];
        image.layers.push(rkt_tests::tar::archive(&entries));
    }
    image.pack = Pack::Plain;
    let layout = image.write(&rkt.file("layout"));
    registry.push(&layout.dir, TAG, "noise");
    let layers: Vec<String> = layout.manifest()["layers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|l| l["digest"].as_str().unwrap()[7..19].to_owned())
        .collect();
    let slow = Slow::to(&registry.address);
    slow.limit(1 << 20);
    let name = format!("docker://{}/noise:{TAG}", slow.address);
    let forget = || {
        rkt.rkt(&["image", "rm", &name]).ok();
        rkt.rkt(&["image", "gc"]).ok();
    };

    let shown = on_a_terminal(&rkt, &["fetch", &name]);
    for layer in &layers {
        // Name, bar, how much of how much, speed and time left.
        let row = shown
            .split(['\r', '\n'])
            .find(|row| row.contains(layer.as_str()) && row.contains("iB/s") && row.contains('>'))
            .unwrap_or_else(|| panic!("no bar of {layer} in {shown}"));
        assert!(row.contains("MiB "), "{row}");
        let mut rest = row.split("iB/s").nth(1).unwrap().split_whitespace();
        let left = rest.next().unwrap();
        assert!(left.starts_with(|c: char| c.is_ascii_digit()), "{row}");
        assert!(left.ends_with('s'), "{row}");
    }
    forget();
    assert_eq!(on_a_terminal(&rkt, &["fetch", "--quiet", &name]), "");
    forget();
    let lines = rkt.rkt(&["fetch", &name]);
    assert!(!lines.err.contains(['\r', '\u{1b}']), "{lines}");
    for layer in &layers {
        let count = lines.err.lines().filter(|l| l.contains(layer.as_str()));
        assert_eq!(count.count(), 2, "{lines}");
    }
    forget();
    let quiet = rkt.rkt(&["fetch", "--quiet", &name]);
    assert_eq!(quiet.err, "");
}
