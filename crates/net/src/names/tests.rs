//! Names between pods: who is told, who is not, and that a death is seen.

use super::*;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::path::PathBuf;

struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("rkt-names-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        Self(dir)
    }

    fn join(&self, n: u8, names: &[&str], networks: &[(&str, &str)], hosts: &str) -> Names {
        let named: Vec<NetworkName> = networks
            .iter()
            .map(|(network, _)| NetworkName::new(*network).unwrap())
            .collect();
        let addresses = networks.iter().map(|(_, a)| vec![a.parse().unwrap()]);
        let card = Card {
            uuid: uuid(n),
            names: names.to_vec(),
            networks: named.iter().zip(addresses).collect(),
        };
        Names::join(&self.0, &card, hosts.as_bytes()).unwrap()
    }

    fn files(&self, network: &str) -> usize {
        let dir = std::fs::read_dir(self.0.join("net").join(network).join("names"));
        dir.unwrap().count()
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn uuid(n: u8) -> Uuid {
    Uuid::from_random([n; 16])
}

/// What a pod knows once it was told that something changed.
fn told(names: &mut Names) -> String {
    let watch = names.watch().expect("the kernel gives a watch");
    let mut ready = [PollFd::from_borrowed_fd(watch, PollFlags::IN)];
    let patience = Timespec {
        tv_sec: 5,
        tv_nsec: 0,
    };
    assert_eq!(poll(&mut ready, Some(&patience)).unwrap(), 1, "no word");
    names.look().unwrap();
    text(names)
}

fn text(names: &Names) -> String {
    String::from_utf8(names.lines()).unwrap()
}

#[test]
fn pods_hear_of_each_other_and_of_each_others_end() {
    let dir = Dir::new("come");
    let hosts = "127.0.0.1\tlocalhost one\n";
    let mut one = dir.join(1, &["one", "first"], &[("web", "10.0.0.1")], hosts);
    // The own name is in the file already, the pod's name is not.
    assert_eq!(
        text(&one),
        "\n# Pods on the same networks\n10.0.0.1\tfirst\n"
    );
    let two = dir.join(
        2,
        &["TWO", "LOCALHOST", "a b"],
        &[("web", "10.0.0.2"), ("db", "fd00::2")],
        "",
    );
    assert!(text(&two).contains("10.0.0.1\tone first\n"));
    assert_eq!(
        text(&two).matches("two\n").count(),
        2,
        "its own, an address each: {}",
        text(&two)
    );
    assert!(told(&mut one).ends_with("first\n10.0.0.2\ttwo\n"));
    let three = dir.join(3, &["three"], &[("db", "10.1.0.3")], "");
    assert!(!text(&three).contains("one"), "of another network");
    assert!(text(&three).contains("fd00::2\ttwo\n"));
    drop(two);
    assert!(!told(&mut one).contains("\ttwo"));
    assert_eq!((dir.files("web"), dir.files("db")), (1, 1));
}

#[test]
fn a_dead_pod_counts_for_nothing_and_is_swept() {
    let dir = Dir::new("dead");
    let mut one = dir.join(1, &["one"], &[("web", "10.0.0.1")], "");
    let mut two = dir.join(2, &["two"], &[("web", "10.0.0.2")], "");
    assert!(told(&mut one).contains("\ttwo"));
    // As the kernel does with a process that is killed: closed, and nothing removed.
    let room = two.rooms.pop().unwrap();
    let room = std::mem::ManuallyDrop::new(room);
    drop(rkt_sys::fd::inherit(rkt_sys::fd::number(&room._own)).unwrap());
    // The lock is freed after the word of it is sent.
    assert!(told(&mut one).len() < 200);
    for _ in 0..50 {
        if !text(&one).contains("\ttwo") {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
        one.rooms[0].look_at(uuid(2));
    }
    assert!(!text(&one).contains("\ttwo"));
    let three = dir.join(3, &["three"], &[("web", "10.0.0.3")], "");
    assert!(!text(&three).contains("\ttwo"));
    assert_eq!(dir.files("web"), 3);
    std::fs::write(dir.0.join("net/web/names/.half"), "").unwrap();
    let network = NetworkName::new("web").unwrap();
    sweep(&dir.0, &network).unwrap();
    assert_eq!(dir.files("web"), 2, "the living stay");
    sweep(&dir.0, &NetworkName::new("other").unwrap()).unwrap();
}

#[test]
fn without_a_watch_a_change_of_the_directory_tells() {
    let dir = Dir::new("blind");
    let mut one = dir.join(1, &["one"], &[("web", "10.0.0.1")], "");
    one.watch = None;
    for room in &mut one.rooms {
        room.watch = -1;
    }
    assert!(one.watch().is_none());
    let two = dir.join(2, &["two"], &[("web", "10.0.0.2")], "");
    one.look().unwrap();
    assert!(text(&one).contains("\ttwo"));
    drop(two);
    one.look().unwrap();
    assert!(!text(&one).contains("\ttwo"));
}

#[test]
fn no_pod_takes_a_name_that_is_somebodys() {
    let dir = Dir::new("taken");
    let hosts = "127.0.0.1\tlocalhost Web\n10.1.2.3 db db.example # not-this\n";
    let web = dir.join(1, &["web", "shop"], &[("web", "10.0.0.1")], hosts);
    let evil = dir.join(
        2,
        &["DB", "db.example", "web", "shop", "not-this", "localhost4"],
        &[("web", "10.0.0.2")],
        "",
    );
    let mut web = web;
    let text = told(&mut web);
    assert!(
        text.ends_with("10.0.0.1\tshop\n10.0.0.2\tnot-this\n"),
        "{text}"
    );
    // Two others of one name: both.
    let mut third = dir.join(3, &["third"], &[("web", "10.0.0.3")], "");
    let text = self::text(&third);
    assert!(text.contains("10.0.0.1\tweb shop\n"), "{text}");
    assert!(
        text.contains("10.0.0.2\tdb db.example web shop not-this\n"),
        "{text}"
    );
    drop(evil);
    assert!(!told(&mut third).contains("10.0.0.2"));
}

#[test]
fn names_that_mean_something_else_are_not_told() {
    for good in [
        "web",
        "a.b",
        "1a",
        "rkt-0d5a1c5e",
        "x_y",
        "local",
        "localhosts",
        "0x7g",
    ] {
        assert!(can_be_told(good), "{good}");
    }
    let long = "a".repeat(254);
    for bad in [
        "",
        "a b",
        "a\nb",
        "a#b",
        "ä",
        ".",
        "a.",
        ".a",
        "a..b",
        "localhost",
        "LocalHost",
        "localhost.localdomain",
        "x.localhost",
        "localhost4",
        "localhost6.localdomain6",
        "ip6-loopback",
        "gateway",
        "host.docker.internal",
        "10.0.0.1",
        "1",
        "10.1",
        "0x7f.1",
        "a.0x7f",
        "2130706433",
        "0x",
        &long,
    ] {
        assert!(!can_be_told(bad), "{bad:?}");
    }
    let dir = Dir::new("silent");
    let one = dir.join(1, &["localhost"], &[("web", "10.0.0.1")], "");
    assert_eq!(text(&one), "", "who cannot be called anything is not told");
}

#[test]
fn what_others_wrote_is_read_with_care() {
    for bad in [
        "",
        "\n",
        "10.0.0.1\n",
        "web\n",
        "10.0.0.1 localhost\n",
        "10.0.0 web\n",
        "\u{fffd}",
    ] {
        assert_eq!(Told::read(bad.as_bytes()), None, "{bad:?}");
    }
    assert_eq!(Told::read(b"10.0.0.1 \xff"), None);
    let told = Told::read(b"10.0.0.1 web WEB localhost\nfd00::1 web\n").unwrap();
    assert_eq!(told.text(), "10.0.0.1 web\nfd00::1 web\n");
}

#[test]
fn a_crowd_is_cut_to_what_fits_and_that_is_said() {
    let long = |n: usize| format!("{n}-{}", "a".repeat(240));
    let crowd: Vec<(Uuid, Told)> = (0..1000)
        .map(|n| {
            let pod = Uuid::from_random([u8::try_from(n % 251).unwrap(); 16]);
            (pod, Told::of(&["10.0.0.1".parse().unwrap()], &[&long(n)]))
        })
        .collect();
    let lines = Known::new(b"", &[]).lines(uuid(255), std::iter::once(crowd.as_slice()));
    assert!(lines.len() <= MAX_BYTES);
    let text = String::from_utf8(lines).unwrap();
    let there = text.matches("10.0.0.1").count();
    let said = format!("# and {} more, for which there is no room\n", 1000 - there);
    assert!(there > 500 && text.ends_with(&said), "{there}");
}
